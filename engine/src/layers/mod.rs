//! The layers: forward stands directly above backward in each file.
//!
//! A layer is built for a capacity and runs every step with that step's actual sizes ([`Dims`]). It owns whatever its
//! backward pass needs; its output and the output's gradient live in a [`LayerOutput`]. Parameters and their gradients
//! are ranges of two arenas.
//!
//! ```text
//! output.rs      an output and its gradient               extent.rs         which positions of a batch exist, and where
//! input.rs       vectors that come with a batch           lookup.rs         embedding and one-hot vectors
//! dense.rs       x W + b                                  weights.rs        W as the right operand of a product
//! recurrent.rs   a recurrent layer: its directions,       direction.rs      one direction: projection, time loop, gradients
//!                merged                                   projection.rs     x W + b of all steps
//! cell.rs        a direction's parameters and sizes       packs.rs          its weights, packed for the products
//! carried.rs     its state from batch to batch            part.rs           a state or a direction as an output
//! dropout.rs     dropout, and every mask                  state_dropout.rs  recurrent dropout and zoneout
//! regularize.rs  activation regularisation                layer_norm.rs, activation.rs
//! concat.rs      layers added, or side by side            repeat.rs, reshape.rs
//! ```

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
mod output;
mod packs;
mod part;
mod projection;
mod recurrent;
mod regularize;
mod repeat;
mod reshape;
mod state_dropout;
mod weights;

pub(crate) use activation::ActivationLayer;
pub(crate) use carried::CarriedState;
pub(crate) use cell::CellParams;
pub(crate) use concat::{AddLayer, ConcatenateLayer};
pub(crate) use dense::{DenseLayer, DenseParams};
pub(crate) use direction::DirectionPlan;
pub(crate) use dropout::{DropoutLayer, Mask};
pub(crate) use extent::Extent;
pub(crate) use input::InputLayer;
pub(crate) use layer_norm::{LayerNormLayer, LayerNormParams};
pub(crate) use lookup::{EmbeddingLayer, OneHotLayer};
pub(crate) use output::{Dims, LayerOutput};
pub(crate) use packs::PackSet;
pub(crate) use part::PartLayer;
pub(crate) use projection::InputKind;
pub(crate) use recurrent::{RecurrentLayer, RecurrentPlan};
pub(crate) use regularize::{Objective, RegularizeLayer};
pub(crate) use repeat::RepeatLayer;
pub(crate) use reshape::ReshapeLayer;
pub(crate) use state_dropout::StateDropoutParams;
pub(crate) use weights::Weights;

use crate::exec::{Products, Scratch, Team};
use crate::gradient::Gradient;
use crate::graph::{Axis, Source};
use crate::random::Key;
use unroll_kernels::gemm::Precision;
use unroll_kernels::{Isa, Mat, MatMut};

/// What a forward or backward pass of a layer is given beside its inputs: the step's sizes, parameters, threads and
/// noise.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) team: &'a Team<'a>,
    pub(crate) isa: Isa,
    pub(crate) precision: Precision,
    pub(crate) scratch: &'a Scratch,
    pub(crate) dims: Dims,
    /// Which positions of the batch exist, of the sequence that the layer works along.
    pub(crate) extent: &'a Extent,
    /// The same of the other sequence, where the model reads two.
    pub(crate) other: &'a Extent,
    /// The arena of parameters.
    pub(crate) params: &'a [f32],
    /// Recurrent weights packed for this step.
    pub(crate) packs: &'a PackSet,
    /// Whether dropout is on.
    pub(crate) training: bool,
    /// The key of this training step's random numbers.
    pub(crate) key: Key,
    /// The first row of this replica in the batch.
    pub(crate) first_row: usize,
    /// The rows of the whole batch, by which random numbers are keyed.
    pub(crate) batch_rows: usize,
    /// In training: what layers that add to the objective need.
    pub(crate) objective: Objective,
}

impl<'a> Context<'a> {
    /// The context of a layer that works along `axis`, from that of the main sequence.
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

/// The inputs of a layer: the outputs of layers before it, or the batch's tokens.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) tokens: &'a [u32],
    pub(crate) before: &'a [Slot],
    pub(crate) sources: &'a [Source],
    pub(crate) dims: Dims,
}

/// The place of a node in a replica: the layer that it runs as, and its output.
pub(crate) struct Slot {
    pub(crate) layer: Layer,
    pub(crate) output: LayerOutput,
}

impl Slot {
    /// Sets to zero every gradient to which later layers will add.
    pub(crate) fn clear_gradient(&mut self, products: Products<'_>, dims: Dims) {
        self.output.clear_gradient(products, dims);
        if let Layer::Recurrent(layer) = &mut self.layer {
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
            Source::Node(n) => self.before[n].output.y(self.dims),
            Source::Input | Source::Second => panic!("the input is tokens, not numbers"),
        }
    }
    /// How many inputs there are.
    pub(crate) fn len(&self) -> usize {
        self.sources.len()
    }
}

/// [`Inputs`] in the backward pass, which adds to their gradients.
pub(crate) struct InputsMut<'a> {
    pub(crate) tokens: &'a [u32],
    pub(crate) before: &'a mut [Slot],
    pub(crate) sources: &'a [Source],
    pub(crate) dims: Dims,
}

impl InputsMut<'_> {
    /// Input `i`'s numbers and their gradient.
    #[track_caller]
    pub(crate) fn get(&mut self, i: usize) -> (Mat<'_>, MatMut<'_>) {
        match self.sources[i] {
            Source::Node(n) => self.before[n].output.y_and_dy(self.dims),
            Source::Input | Source::Second => panic!("the input is tokens, not numbers"),
        }
    }
    /// How many inputs there are.
    pub(crate) fn len(&self) -> usize {
        self.sources.len()
    }
}

/// The layer that a node runs as.
pub(crate) enum Layer {
    /// Computed as part of another node, or not at all.
    Fused,
    /// Written when a batch is taken.
    Input(InputLayer),
    Embedding(EmbeddingLayer),
    OneHot(OneHotLayer),
    Recurrent(RecurrentLayer),
    Dense(DenseLayer),
    Dropout(DropoutLayer),
    Normalization(LayerNormLayer),
    Regularize(RegularizeLayer),
    Activation(ActivationLayer),
    Add(AddLayer),
    Concatenate(ConcatenateLayer),
    /// The inputs of dense layers whose sum is one product, side by side; in the place of the last of these layers.
    Joint(ConcatenateLayer),
    Repeat(RepeatLayer),
    Reshape(ReshapeLayer),
    Part(PartLayer),
}

impl Layer {
    /// Computes the output from the inputs. `carried` has the state from which each direction of a stateful layer
    /// starts.
    pub(crate) fn forward(
        &mut self,
        ctx: &Context<'_>,
        inputs: Inputs<'_>,
        output: &mut LayerOutput,
        carried: &[CarriedState],
    ) {
        match self {
            Self::Fused | Self::Input(_) => {}
            Self::Embedding(layer) => layer.forward(ctx, inputs, output),
            Self::OneHot(layer) => layer.forward(ctx, inputs, output),
            Self::Recurrent(layer) => layer.forward(ctx, inputs, output, carried),
            Self::Dense(layer) => layer.forward(ctx, inputs, output),
            Self::Dropout(layer) => layer.forward(ctx, inputs, output),
            Self::Normalization(layer) => layer.forward(ctx, inputs, output),
            Self::Regularize(layer) => layer.forward(ctx, inputs, output),
            Self::Activation(layer) => layer.forward(ctx, inputs, output),
            Self::Add(layer) => layer.forward(ctx, inputs, output),
            Self::Concatenate(layer) | Self::Joint(layer) => layer.forward(ctx, inputs, output),
            Self::Repeat(layer) => layer.forward(ctx, inputs, output),
            Self::Reshape(layer) => layer.forward(ctx, inputs, output),
            Self::Part(layer) => layer.forward(ctx, inputs, output),
        }
    }

    /// Adds to the gradients of the inputs and of the parameters. The contents of the output's gradient are undefined
    /// after it.
    pub(crate) fn backward(
        &mut self,
        ctx: &Context<'_>,
        inputs: InputsMut<'_>,
        output: &mut LayerOutput,
        grads: &mut Gradient,
    ) {
        match self {
            Self::Fused | Self::Input(_) => {}
            Self::Embedding(layer) => layer.backward(ctx, inputs, output, grads),
            Self::OneHot(_) => {}
            Self::Recurrent(layer) => layer.backward(ctx, inputs, output, grads),
            Self::Dense(layer) => layer.backward(ctx, inputs, output, grads),
            Self::Dropout(layer) => layer.backward(ctx, inputs, output),
            Self::Normalization(layer) => layer.backward(ctx, inputs, output, grads),
            Self::Regularize(layer) => layer.backward(ctx, inputs, output),
            Self::Activation(layer) => layer.backward(ctx, inputs, output),
            Self::Add(layer) => layer.backward(ctx, inputs, output),
            Self::Concatenate(layer) | Self::Joint(layer) => layer.backward(ctx, inputs, output),
            Self::Repeat(layer) => layer.backward(ctx, inputs, output),
            Self::Reshape(layer) => layer.backward(ctx, inputs, output),
            Self::Part(layer) => layer.backward(ctx, inputs, output),
        }
    }
}
