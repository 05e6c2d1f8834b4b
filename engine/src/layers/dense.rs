//! y = activation(x W + b)

use super::{Act, Cx, Inputs, Upstream, Weights};
use crate::exec::{Right, Start};
use crate::network::Gradient;
use std::ops::Range;
use unroll_kernels::activation::{self, Activation};
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::{Element, Mat, MatMut};

/// The parameters of a dense layer: its own kernel (D, units), or a table (units, D) that it is tied to.
#[derive(Clone, Debug)]
pub(crate) struct DenseParams {
    pub(crate) kernel: Range<usize>,
    pub(crate) tied: bool,
    pub(crate) bias: Option<Range<usize>>,
    pub(crate) inputs: usize,
    pub(crate) units: usize,
}

impl DenseParams {
    /// The kernel as it is multiplied.
    pub(crate) fn weights(&self) -> Weights {
        Weights { range: self.kernel.clone(), inputs: self.inputs, units: self.units, transposed: self.tied }
    }

    /// What x W is added to.
    pub(crate) fn start<'a>(&self, params: &'a [f32]) -> Start<'a> {
        self.bias.clone().map_or(Start::Zero, |b| Start::Bias(&params[b]))
    }

    /// Adds the gradients of kernel and bias, and x's to `dx`, from the gradient `dz` of x W + b.
    pub(crate) fn backward<E: Element>(
        &self,
        cx: &Cx<'_>,
        x: Mat<'_>,
        dz: Mat<'_, E>,
        dx: MatMut<'_>,
        grads: &mut Gradient,
    ) {
        let products = cx.products();
        if let Some(bias) = self.bias.clone() {
            products.add_column_sums(dz, grads.add(&bias));
        }
        let (start, dweights) = grads.write(&self.kernel);
        let weights = &cx.params[self.kernel.clone()];
        if self.tied {
            products.outer(dz, x, start, MatMut::dense(dweights, self.units, self.inputs));
            products.product(dz, Right::Plain(Mat::dense(weights, self.units, self.inputs)), Start::Keep, dx);
        } else {
            products.outer(x, dz, start, MatMut::dense(dweights, self.inputs, self.units));
            products.product(dz, Right::Transposed(Mat::dense(weights, self.inputs, self.units)), Start::Keep, dx);
        }
    }
}

/// A dense layer.
pub(crate) struct DenseRun {
    params: DenseParams,
    activation: Activation,
}

impl DenseRun {
    pub(crate) fn new(params: DenseParams, activation: Activation) -> Self {
        Self { params, activation }
    }

    pub(crate) fn forward(&self, cx: &Cx<'_>, inputs: Inputs<'_>, act: &mut Act) {
        let _span = profile::enter(Phase::Projection);
        let (right, start) = (self.params.weights().right(cx), self.params.start(cx.params));
        let mut y = act.y_mut(cx.dims);
        cx.products().product(inputs.only(), right, start, y.reborrow());
        cx.products().by_rows(y, |_, part| activation::forward(cx.isa, self.activation, part));
    }

    pub(crate) fn backward(&self, cx: &Cx<'_>, mut up: Upstream<'_>, act: &mut Act, grads: &mut Gradient) {
        let _span = profile::enter(Phase::Gradient);
        let (y, dy) = act.both(cx.dims);
        cx.products().by_rows(dy, |rows, part| {
            activation::backward(cx.isa, self.activation, y.rows_range(rows), part);
        });
        let (x, dx) = up.get(0);
        self.params.backward(cx, x, act.dy(cx.dims), dx, grads);
    }
}
