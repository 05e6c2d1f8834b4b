//! Rows of mean 0 and variance 1, then a gain and an offset a column.

use super::{Context, Dims, Inputs, InputsMut, LayerOutput};
use crate::gradient::Gradient;
use crate::graph::Shape;
use std::ops::Range;
use unroll_kernels::layer_norm::{self, Backward, Forward};
use unroll_kernels::mat::padded;
use unroll_kernels::{Buffer, Mat, MatMut};

/// The parameters of a layer normalisation, and what it adds to a variance.
#[derive(Clone, Debug)]
pub(crate) struct LayerNormParams {
    pub(crate) gain: Option<Range<usize>>,
    pub(crate) offset: Option<Range<usize>>,
    pub(crate) epsilon: f32,
}

/// A layer normalisation.
pub(crate) struct LayerNormLayer {
    params: LayerNormParams,
    /// (R, D) and (R, 1): the rows without gain and offset, and what they were multiplied by. R is P, or N without
    /// time.
    normal: Buffer,
    scale: Buffer,
    width: usize,
}

impl LayerNormLayer {
    /// Elements of a row that is kept for the backward pass.
    fn row(width: usize) -> usize {
        padded(width) + 1
    }

    /// For an input of this shape.
    pub(crate) fn new(params: LayerNormParams, shape: &Shape, capacity: Dims) -> Self {
        let (rows, width) = (rows(shape, capacity), shape.width());
        Self { params, normal: Buffer::new(rows * padded(width)), scale: Buffer::new(rows), width }
    }

    /// Bytes beside the output.
    pub(crate) fn bytes(shape: &Shape, capacity: Dims) -> u64 {
        4 * rows(shape, capacity) as u64 * Self::row(shape.width()) as u64
    }

    pub(crate) fn forward(&mut self, ctx: &Context<'_>, inputs: Inputs<'_>, output: &mut LayerOutput) {
        let (x, width, epsilon) = (inputs.only(), self.width, self.params.epsilon);
        let [gain, offset] = [&self.params.gain, &self.params.offset].map(|p| p.clone().map(|p| &ctx.params[p]));
        let normal = MatMut::new(&mut self.normal, x.rows(), width, padded(width));
        let scale = MatMut::dense(&mut self.scale, x.rows(), 1);
        ctx.products().by_rows_of([output.y_mut(ctx.dims), normal, scale], |range, [y, normal, scale]| {
            let x = x.rows_range(range);
            layer_norm::forward(ctx.isa, Forward { x, gain, offset, epsilon, normal, scale, y });
        });
    }

    pub(crate) fn backward(
        &mut self,
        ctx: &Context<'_>,
        mut inputs: InputsMut<'_>,
        output: &mut LayerOutput,
        grads: &mut Gradient,
    ) {
        let dy = output.dy(ctx.dims);
        let normal = Mat::new(&self.normal, dy.rows(), self.width, padded(self.width));
        let scale = Mat::dense(&self.scale, dy.rows(), 1);
        if let Some(gain) = &self.params.gain {
            ctx.products().add_product_sums(dy, normal, grads.add(gain));
        }
        if let Some(offset) = &self.params.offset {
            ctx.products().add_column_sums(dy, grads.add(offset));
        }
        let gain = self.params.gain.clone().map(|gain| &ctx.params[gain]);
        let (_, dx) = inputs.get(0);
        ctx.products().by_rows(dx, |range, dx| {
            let [normal, scale, dy] = [normal, scale, dy].map(|of| of.rows_range(range.clone()));
            layer_norm::backward(ctx.isa, Backward { normal, scale, gain, dy, dx });
        });
    }
}

/// R at most.
fn rows(shape: &Shape, capacity: Dims) -> usize {
    if shape.time.is_some() { capacity.tokens } else { capacity.rows }
}
