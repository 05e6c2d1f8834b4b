//! Layers that join others: the sum of their outputs, or their outputs side by side.

use super::{Context, Inputs, InputsMut, LayerOutput};
use unroll_kernels::rows;

/// y = x_0 + x_1 + ...
pub(crate) struct AddLayer;

impl AddLayer {
    pub(crate) fn forward(&self, ctx: &Context<'_>, inputs: Inputs<'_>, output: &mut LayerOutput) {
        ctx.products().by_rows(output.y_mut(ctx.dims), |range, mut part| {
            rows::copy(inputs.get(0).rows_range(range.clone()), part.reborrow());
            for i in 1..inputs.len() {
                rows::add(ctx.isa, inputs.get(i).rows_range(range.clone()), part.reborrow());
            }
        });
    }

    pub(crate) fn backward(&self, ctx: &Context<'_>, mut inputs: InputsMut<'_>, output: &mut LayerOutput) {
        let dy = output.dy(ctx.dims);
        for i in 0..inputs.len() {
            let (_, dx) = inputs.get(i);
            ctx.products().add(dy, dx);
        }
    }
}

/// y = [x_0, x_1, ..., 1, ...]
pub(crate) struct ConcatenateLayer {
    /// Columns of ones at the end.
    pub(crate) ones: usize,
}

impl ConcatenateLayer {
    pub(crate) fn forward(&self, ctx: &Context<'_>, inputs: Inputs<'_>, output: &mut LayerOutput) {
        ctx.products().by_rows(output.y_mut(ctx.dims), |range, mut part| {
            let mut at = 0;
            for i in 0..inputs.len() {
                let x = inputs.get(i).rows_range(range.clone());
                rows::copy(x, part.reborrow().cols_range(at..at + x.cols()));
                at += x.cols();
            }
            for r in (0..part.rows()).filter(|_| self.ones > 0) {
                part.row_mut(r)[at..].fill(1.0);
            }
        });
    }

    pub(crate) fn backward(&self, ctx: &Context<'_>, mut inputs: InputsMut<'_>, output: &mut LayerOutput) {
        let (dy, mut at) = (output.dy(ctx.dims), 0);
        for i in 0..inputs.len() {
            let (_, dx) = inputs.get(i);
            let from = dy.cols_range(at..at + dx.cols());
            at += dx.cols();
            ctx.products().add(from, dx);
        }
    }
}
