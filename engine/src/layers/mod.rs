//! The layers: forward stands directly above backward in each file.
//!
//! A layer is built for a capacity and runs every step with that step's actual sizes ([`Dims`]). It owns whatever its
//! backward pass needs; its output and the output's gradient live in an [`Act`]. Parameters and their gradients are
//! ranges of two arenas.

mod act;
mod activation;
mod carried;
mod cell;
mod concat;
mod dense;
mod direction;
mod dropout;
mod extent;
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
mod state_dropout;
mod weights;

pub(crate) use act::{Act, Dims};
pub(crate) use activation::ActivationRun;
pub(crate) use carried::Carried;
pub(crate) use cell::CellParams;
pub(crate) use concat::{AddRun, ConcatenateRun};
pub(crate) use dense::{DenseParams, DenseRun};
pub(crate) use direction::DirectionPlan;
pub(crate) use dropout::{DropoutRun, Mask};
pub(crate) use extent::Extent;
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
pub(crate) use state_dropout::StateDropoutParams;
pub(crate) use weights::Weights;

use crate::exec::{Products, Scratch, Team};
use crate::gradient::Gradient;
use crate::graph::Axis;
use crate::random::Key;
use unroll_kernels::gemm::Precision;
use unroll_kernels::{Isa, Mat, MatMut};

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
