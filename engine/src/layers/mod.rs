//! The layers: forward stands directly above backward in each file.
//!
//! A layer works on a *plan* made for a capacity; every step runs with its actual sizes ([`Dims`]). It owns the
//! activations that its backward pass needs; its output and the output's gradient live in an [`Act`]. Parameters and
//! their gradients are slices of arenas, found by ranges.

mod activation;
mod carried;
mod concat;
mod dense;
mod direction;
mod dropout;
mod extent;
mod held;
mod input;
mod layer_norm;
mod lookup;
mod packs;
mod part;
mod projection;
mod recurrent;
mod regularize;
mod repeat;
mod reshape;
mod weights;

pub(crate) use activation::ActivationRun;
pub(crate) use carried::Carried;
pub(crate) use concat::{AddRun, ConcatenateRun};
pub(crate) use dense::{DenseParams, DenseRun};
pub(crate) use direction::{CellPack, CellParams, DirectionPlan};
pub(crate) use dropout::{DropoutRun, Mask};
pub(crate) use extent::Extent;
pub(crate) use held::HeldParams;
pub(crate) use input::InputRun;
pub(crate) use layer_norm::{LayerNormParams, LayerNormRun};
pub(crate) use lookup::{EmbeddingRun, OneHotRun};
pub(crate) use packs::PackSet;
pub(crate) use part::PartRun;
pub(crate) use projection::Origin;
pub(crate) use recurrent::{RecurrentPlan, RecurrentRun};
pub(crate) use regularize::{Objective, RegularizeRun};
pub(crate) use repeat::RepeatRun;
pub(crate) use reshape::ReshapeRun;
pub(crate) use weights::Weights;

use crate::exec::{Products, Scratch, Team};
use crate::gradient::Gradient;
use crate::graph::{Axis, Shape};
use crate::random::Key;
use std::ops::Range;
use unroll_kernels::gemm::Precision;
use unroll_kernels::mat::padded;
use unroll_kernels::{Buffer, Isa, Mat, MatMut};

/// The sizes of one step: T time steps of N rows, or fewer where some are masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dims {
    /// T: the steps of the longest row.
    pub(crate) steps: usize,
    /// N
    pub(crate) rows: usize,
    /// P: the steps of all rows, T N without a mask.
    pub(crate) tokens: usize,
}

impl Dims {
    /// T steps of N rows.
    pub(crate) fn full(steps: usize, rows: usize) -> Self {
        Self { steps, rows, tokens: steps * rows }
    }
    /// The rows of a sequence with a block of N before it and one after it.
    pub(crate) fn with_edges(self) -> usize {
        self.tokens + 2 * self.rows
    }
}

/// What a step is computed with.
#[derive(Clone, Copy)]
pub(crate) struct Cx<'a> {
    pub(crate) team: &'a Team<'a>,
    pub(crate) isa: Isa,
    pub(crate) precision: Precision,
    pub(crate) scratch: &'a Scratch,
    pub(crate) dims: Dims,
    /// Which positions of the batch there are.
    pub(crate) extent: &'a Extent,
    /// The same of the sequence that the layer does not work along.
    pub(crate) other: &'a Extent,
    /// The arena of parameters.
    pub(crate) params: &'a [f32],
    /// Recurrent weights packed for this step.
    pub(crate) packs: &'a PackSet,
    /// Whether dropout is on.
    pub(crate) training: bool,
    /// Random numbers of this training step.
    pub(crate) key: Key,
    /// The first row of this replica in the batch, and the batch's rows: random numbers are keyed by the whole batch.
    pub(crate) first_row: usize,
    pub(crate) batch_rows: usize,
    /// Of a training step: what layers that add to the objective need.
    pub(crate) objective: Objective,
}

impl<'a> Cx<'a> {
    /// The same for a layer that works along this sequence, of a step whose own is the main one.
    pub(crate) fn on(&self, axis: Axis) -> Self {
        match axis {
            Axis::Main => *self,
            Axis::Source => Self { dims: self.other.dims(), extent: self.other, other: self.extent, ..*self },
        }
    }

    /// Products on this step's team.
    pub(crate) fn products(&self) -> Products<'a> {
        Products { team: self.team, isa: self.isa, precision: self.precision, scratch: self.scratch }
    }
}

/// The output of a layer and its gradient.
///
/// A sequence is time-major, packed as [`Extent`] says, and has a block of N rows before its first step and one after its
/// last, where recurrent layers keep the state that they start from.
pub(crate) struct Act {
    y: Buffer,
    dy: Buffer,
    cols: usize,
    sequence: bool,
}

impl Act {
    /// Room for an output of this shape; its gradient only where there is a backward pass.
    pub(crate) fn new(shape: &Shape, capacity: Dims, backward: bool) -> Self {
        let (cols, sequence) = (shape.width(), shape.time.is_some());
        let rows = if sequence { capacity.with_edges() } else { capacity.rows };
        let len = rows * padded(cols);
        Self { y: Buffer::new(len), dy: Buffer::new(if backward { len } else { 0 }), cols, sequence }
    }

    /// The width of the output.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Rows of the output, and of the whole storage with the blocks around it.
    fn rows(&self, dims: Dims) -> (Range<usize>, usize) {
        if self.sequence { (dims.rows..dims.rows + dims.tokens, dims.with_edges()) } else { (0..dims.rows, dims.rows) }
    }

    /// The output: (P, cols) of a sequence, else (N, cols).
    pub(crate) fn y(&self, dims: Dims) -> Mat<'_> {
        let (rows, all) = self.rows(dims);
        Mat::new(&self.y, all, self.cols, padded(self.cols)).rows_range(rows)
    }
    /// The output, to write.
    pub(crate) fn y_mut(&mut self, dims: Dims) -> MatMut<'_> {
        let (rows, all) = self.rows(dims);
        MatMut::new(&mut self.y, all, self.cols, padded(self.cols)).rows_range(rows)
    }
    /// The output with the blocks around it: (P + 2 N, cols), to read.
    pub(crate) fn all(&self, dims: Dims) -> Mat<'_> {
        let (_, all) = self.rows(dims);
        Mat::new(&self.y, all, self.cols, padded(self.cols))
    }
    /// The output with the blocks around it: (P + 2 N, cols).
    pub(crate) fn y_all(&mut self, dims: Dims) -> MatMut<'_> {
        let (_, all) = self.rows(dims);
        MatMut::new(&mut self.y, all, self.cols, padded(self.cols))
    }
    /// The gradient of the output.
    pub(crate) fn dy(&self, dims: Dims) -> Mat<'_> {
        let (rows, all) = self.rows(dims);
        Mat::new(&self.dy, all, self.cols, padded(self.cols)).rows_range(rows)
    }
    /// The gradient of the output, to write.
    pub(crate) fn dy_mut(&mut self, dims: Dims) -> MatMut<'_> {
        let (rows, all) = self.rows(dims);
        MatMut::new(&mut self.dy, all, self.cols, padded(self.cols)).rows_range(rows)
    }
    /// The output and its gradient.
    pub(crate) fn both(&mut self, dims: Dims) -> (Mat<'_>, MatMut<'_>) {
        let (rows, all) = self.rows(dims);
        let y = Mat::new(&self.y, all, self.cols, padded(self.cols)).rows_range(rows.clone());
        (y, MatMut::new(&mut self.dy, all, self.cols, padded(self.cols)).rows_range(rows))
    }
    /// The output and its gradient, both with the blocks around them.
    pub(crate) fn both_all(&mut self, dims: Dims) -> (MatMut<'_>, MatMut<'_>) {
        let (_, all) = self.rows(dims);
        let y = MatMut::new(&mut self.y, all, self.cols, padded(self.cols));
        (y, MatMut::new(&mut self.dy, all, self.cols, padded(self.cols)))
    }
    /// Sets the gradient to zero.
    pub(crate) fn clear_gradient(&mut self, products: Products<'_>, dims: Dims) {
        let (_, all) = self.rows(dims);
        let len = self.dy.len().min(all * padded(self.cols));
        products.by_blocks(&mut self.dy[..len], 4096, |_, part| part.fill(0.0));
    }
    /// Bytes that an output of this shape takes.
    pub(crate) fn bytes(shape: &Shape, capacity: Dims, backward: bool) -> u64 {
        let rows = if shape.time.is_some() { capacity.with_edges() } else { capacity.rows } as u64;
        rows * padded(shape.width()) as u64 * if backward { 8 } else { 4 }
    }
}

/// What a layer takes: the outputs of layers before it, or the batch's tokens.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) tokens: &'a [u32],
    pub(crate) before: &'a [Slot],
    pub(crate) sources: &'a [crate::graph::Source],
    pub(crate) dims: Dims,
}

/// A node of a plan: its layer and its output.
pub(crate) struct Slot {
    pub(crate) run: Run,
    pub(crate) act: Act,
}

impl Slot {
    /// Sets every gradient to zero that layers above will add to.
    pub(crate) fn clear_gradient(&mut self, products: Products<'_>, dims: Dims) {
        self.act.clear_gradient(products, dims);
        if let Run::Recurrent(layer) = &mut self.run {
            layer.clear_gradient(products, dims);
        }
    }
}

impl<'a> Inputs<'a> {
    /// The first input's numbers.
    pub(crate) fn only(&self) -> Mat<'a> {
        self.get(0)
    }
    /// Input `i`'s numbers.
    #[track_caller]
    pub(crate) fn get(&self, i: usize) -> Mat<'a> {
        match self.sources[i] {
            crate::graph::Source::Node(n) => self.before[n].act.y(self.dims),
            crate::graph::Source::Input | crate::graph::Source::Second => panic!("the input is tokens, not numbers"),
        }
    }
    /// How many inputs there are.
    pub(crate) fn len(&self) -> usize {
        self.sources.len()
    }
}

/// The same for the backward pass, with the gradients of the inputs to add to.
pub(crate) struct Upstream<'a> {
    pub(crate) tokens: &'a [u32],
    pub(crate) before: &'a mut [Slot],
    pub(crate) sources: &'a [crate::graph::Source],
    pub(crate) dims: Dims,
}

impl Upstream<'_> {
    /// Input `i`'s numbers and their gradient.
    #[track_caller]
    pub(crate) fn get(&mut self, i: usize) -> (Mat<'_>, MatMut<'_>) {
        match self.sources[i] {
            crate::graph::Source::Node(n) => self.before[n].act.both(self.dims),
            crate::graph::Source::Input | crate::graph::Source::Second => panic!("the input is tokens, not numbers"),
        }
    }
    /// How many inputs there are.
    pub(crate) fn len(&self) -> usize {
        self.sources.len()
    }
}

/// A layer that is run.
pub(crate) enum Run {
    /// Computed as part of another node (a fusion), or not at all.
    Fused,
    /// Written when a batch is taken.
    Input(InputRun),
    Embedding(EmbeddingRun),
    OneHot(OneHotRun),
    Recurrent(RecurrentRun),
    Dense(DenseRun),
    Dropout(DropoutRun),
    LayerNorm(LayerNormRun),
    Regularize(RegularizeRun),
    Activation(ActivationRun),
    Add(AddRun),
    Concatenate(ConcatenateRun),
    /// What dense layers that are added take, in the place of the last of them.
    Joint(ConcatenateRun),
    Repeat(RepeatRun),
    Reshape(ReshapeRun),
    Part(PartRun),
}

impl Run {
    /// Computes the output from the inputs. `carried` is the state that each direction of a stateful layer starts from.
    pub(crate) fn forward(&mut self, cx: &Cx<'_>, inputs: Inputs<'_>, act: &mut Act, carried: &[Carried]) {
        match self {
            Self::Fused | Self::Input(_) => {}
            Self::Embedding(layer) => layer.forward(cx, inputs, act),
            Self::OneHot(layer) => layer.forward(cx, inputs, act),
            Self::Recurrent(layer) => layer.forward(cx, inputs, act, carried),
            Self::Dense(layer) => layer.forward(cx, inputs, act),
            Self::Dropout(layer) => layer.forward(cx, inputs, act),
            Self::LayerNorm(layer) => layer.forward(cx, inputs, act),
            Self::Regularize(layer) => layer.forward(cx, inputs, act),
            Self::Activation(layer) => layer.forward(cx, inputs, act),
            Self::Add(layer) => layer.forward(cx, inputs, act),
            Self::Concatenate(layer) | Self::Joint(layer) => layer.forward(cx, inputs, act),
            Self::Repeat(layer) => layer.forward(cx, inputs, act),
            Self::Reshape(layer) => layer.forward(cx, inputs, act),
            Self::Part(layer) => layer.forward(cx, inputs, act),
        }
    }

    /// Adds to the gradients of the inputs and of the parameters. The output's gradient may be clobbered.
    pub(crate) fn backward(&mut self, cx: &Cx<'_>, up: Upstream<'_>, act: &mut Act, grads: &mut Gradient) {
        match self {
            Self::Fused | Self::Input(_) => {}
            Self::Embedding(layer) => layer.backward(cx, up, act, grads),
            Self::OneHot(_) => {}
            Self::Recurrent(layer) => layer.backward(cx, up, act, grads),
            Self::Dense(layer) => layer.backward(cx, up, act, grads),
            Self::Dropout(layer) => layer.backward(cx, up, act),
            Self::LayerNorm(layer) => layer.backward(cx, up, act, grads),
            Self::Regularize(layer) => layer.backward(cx, up, act),
            Self::Activation(layer) => layer.backward(cx, up, act),
            Self::Add(layer) => layer.backward(cx, up, act),
            Self::Concatenate(layer) | Self::Joint(layer) => layer.backward(cx, up, act),
            Self::Repeat(layer) => layer.backward(cx, up, act),
            Self::Reshape(layer) => layer.backward(cx, up, act),
            Self::Part(layer) => layer.backward(cx, up, act),
        }
    }
}
