//! Element-wise functions as layers of their own, and softmax along the last axis.

use super::{Context, Inputs, InputsMut, LayerOutput};
use unroll_kernels::activation::{self, Activation};
use unroll_kernels::{rows, softmax};

/// The function of an activation layer.
pub(crate) enum ActivationLayer {
    ElementWise(Activation),
    Softmax,
}

impl ActivationLayer {
    pub(crate) fn forward(&self, ctx: &Context<'_>, inputs: Inputs<'_>, output: &mut LayerOutput) {
        let x = inputs.only();
        ctx.products().by_rows(output.y_mut(ctx.dims), |range, mut part| {
            rows::copy(x.rows_range(range), part.reborrow());
            match self {
                Self::ElementWise(function) => activation::forward(ctx.isa, *function, part),
                Self::Softmax => softmax::softmax_rows(ctx.isa, part),
            }
        });
    }

    pub(crate) fn backward(&self, ctx: &Context<'_>, mut inputs: InputsMut<'_>, output: &mut LayerOutput) {
        let (y, dy) = output.y_and_dy(ctx.dims);
        ctx.products().by_rows(dy, |range, part| match self {
            Self::ElementWise(function) => activation::backward(ctx.isa, *function, y.rows_range(range), part),
            Self::Softmax => activation::softmax_backward(ctx.isa, y.rows_range(range), part),
        });
        let (_, dx) = inputs.get(0);
        let dy = output.dy(ctx.dims);
        ctx.products().add(dy, dx);
    }
}
