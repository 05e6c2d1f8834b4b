//! y = activation(x W + b)

use super::{Context, Inputs, InputsMut, LayerOutput, Weights};
use crate::exec::{Finish, Right, Start};
use crate::gradient::Gradient;
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

    /// x W + b of some units, into `y` (R, units).
    pub(crate) fn forward(&self, ctx: &Context<'_>, x: Mat<'_>, units: Range<usize>, y: MatMut<'_>) {
        let start = self.start(ctx, units.clone());
        ctx.products().product(x, self.weights().right_of(ctx, units), start, y);
    }

    /// x W + b of some units, (R, units), block after block, none of which is kept: `finish` writes what is kept of
    /// each to its place in `kept` and in the notes (see [`product_through`](crate::exec::Products::product_through)).
    pub(crate) fn forward_through<E: Element>(
        &self,
        ctx: &Context<'_>,
        x: Mat<'_>,
        units: Range<usize>,
        (kept, notes): (MatMut<'_, E>, MatMut<'_>),
        finish: impl Fn(Finish<'_, E>) + Sync,
    ) {
        let (start, n) = (self.start(ctx, units.clone()), units.len());
        let right = self.weights().right_of(ctx, units);
        ctx.products().product_through((x, right, start), n, (kept, notes), finish);
    }

    /// b of some units, to which the product is added.
    fn start<'a>(&self, ctx: &Context<'a>, units: Range<usize>) -> Start<'a> {
        match &self.bias {
            Some(bias) => Start::Bias(&ctx.params[bias.clone()][units]),
            None => Start::Zero,
        }
    }

    /// The gradients of kernel and bias, for calls of [`Self::backward`] that have every unit once.
    pub(crate) fn gradients<'g>(&self, grads: &'g mut Gradient) -> DenseGradients<'g> {
        let (start, kernel, bias) = grads.write_and_add(&self.kernel, self.bias.as_ref());
        DenseGradients { start, kernel: Some(kernel), bias }
    }

    /// The gradient of the bias alone: that of the kernel is left as its factors, x and dz.
    pub(crate) fn gradient_of_bias<'g>(&self, grads: &'g mut Gradient) -> DenseGradients<'g> {
        DenseGradients { start: Start::Keep, kernel: None, bias: self.bias.as_ref().map(|bias| grads.add(bias)) }
    }

    /// Adds the gradients of kernel and bias of some units, and x's to `dx`, from the gradient `dz` of x W + b, (R,
    /// units).
    pub(crate) fn backward<E: Element>(
        &self,
        ctx: &Context<'_>,
        (x, dx): (Mat<'_>, MatMut<'_>),
        dz: Mat<'_, E>,
        DenseGradients { start, kernel, bias }: &mut DenseGradients<'_>,
        units: Range<usize>,
    ) {
        let products = ctx.products();
        if let Some(bias) = bias {
            products.add_column_sums(dz, &mut bias[units.clone()]);
        }
        let weights = &ctx.params[self.kernel.clone()];
        if self.tied {
            let weights = Mat::dense(weights, self.units, self.inputs).rows_range(units.clone());
            if let Some(kernel) = kernel {
                products.outer(dz, x, *start, MatMut::dense(kernel, self.units, self.inputs).rows_range(units));
            }
            products.add_product(dz, Right::Plain(weights), dx);
        } else {
            let weights = Mat::dense(weights, self.inputs, self.units).cols_range(units.clone());
            if let Some(kernel) = kernel {
                products.outer(x, dz, *start, MatMut::dense(kernel, self.inputs, self.units).cols_range(units));
            }
            products.add_product(dz, Right::Transposed(weights), dx);
        }
    }
}

/// The gradients of a dense layer's parameters.
pub(crate) struct DenseGradients<'g> {
    /// The initial value of the kernel's gradient.
    start: Start<'static>,
    /// Absent where it is left as its factors.
    kernel: Option<&'g mut [f32]>,
    bias: Option<&'g mut [f32]>,
}

/// A dense layer.
pub(crate) struct DenseLayer {
    params: DenseParams,
    activation: Activation,
}

impl DenseLayer {
    pub(crate) fn new(params: DenseParams, activation: Activation) -> Self {
        Self { params, activation }
    }

    pub(crate) fn forward(&self, ctx: &Context<'_>, inputs: Inputs<'_>, output: &mut LayerOutput) {
        let _span = profile::enter(Phase::Projection);
        let mut y = output.y_mut(ctx.dims);
        self.params.forward(ctx, inputs.only(), 0..self.params.units, y.reborrow());
        ctx.products().by_rows(y, |_, part| activation::forward(ctx.isa, self.activation, part));
    }

    pub(crate) fn backward(
        &self,
        ctx: &Context<'_>,
        mut inputs: InputsMut<'_>,
        output: &mut LayerOutput,
        grads: &mut Gradient,
    ) {
        let _span = profile::enter(Phase::Gradient);
        let (y, dy) = output.y_and_dy(ctx.dims);
        ctx.products().by_rows(dy, |rows, part| {
            activation::backward(ctx.isa, self.activation, y.rows_range(rows), part);
        });
        let (x, dx) = inputs.get(0);
        let params = &self.params;
        params.backward(ctx, (x, dx), output.dy(ctx.dims), &mut params.gradients(grads), 0..params.units);
    }
}
