//! Element-wise functions as layers of their own, and softmax along the last axis.

use super::{Act, Cx, Inputs, Upstream};
use unroll_kernels::activation::{self, Activation};
use unroll_kernels::{rows, softmax};

/// The function of an activation layer.
pub(crate) enum ActivationRun {
    ElementWise(Activation),
    Softmax,
}

impl ActivationRun {
    pub(crate) fn forward(&self, cx: &Cx<'_>, inputs: Inputs<'_>, act: &mut Act) {
        let x = inputs.only();
        cx.products().by_rows(act.y_mut(cx.dims), |range, mut part| {
            rows::copy(x.rows_range(range), part.reborrow());
            match self {
                Self::ElementWise(function) => activation::forward(cx.isa, *function, part),
                Self::Softmax => softmax::softmax_rows(cx.isa, part),
            }
        });
    }

    pub(crate) fn backward(&self, cx: &Cx<'_>, mut up: Upstream<'_>, act: &mut Act) {
        let (y, dy) = act.both(cx.dims);
        cx.products().by_rows(dy, |range, part| match self {
            Self::ElementWise(function) => activation::backward(cx.isa, *function, y.rows_range(range), part),
            Self::Softmax => activation::softmax_backward(cx.isa, y.rows_range(range), part),
        });
        let (_, dx) = up.get(0);
        let dy = act.dy(cx.dims);
        cx.products().by_rows(dx, |range, part| rows::add(cx.isa, dy.rows_range(range), part));
    }
}
