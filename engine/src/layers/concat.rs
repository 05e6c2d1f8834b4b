//! Layers that join others: the sum of their outputs, or their outputs side by side.

use super::{Act, Cx, Inputs, Upstream};
use unroll_kernels::rows;

/// y = x_0 + x_1 + ...
pub(crate) struct AddRun;

impl AddRun {
    pub(crate) fn forward(&self, cx: &Cx<'_>, inputs: Inputs<'_>, act: &mut Act) {
        cx.products().by_rows(act.y_mut(cx.dims), |range, mut part| {
            rows::copy(inputs.get(0).rows_range(range.clone()), part.reborrow());
            for i in 1..inputs.len() {
                rows::add(cx.isa, inputs.get(i).rows_range(range.clone()), part.reborrow());
            }
        });
    }

    pub(crate) fn backward(&self, cx: &Cx<'_>, mut up: Upstream<'_>, act: &mut Act) {
        let dy = act.dy(cx.dims);
        for i in 0..up.len() {
            let (_, dx) = up.get(i);
            cx.products().by_rows(dx, |range, part| rows::add(cx.isa, dy.rows_range(range), part));
        }
    }
}

/// y = [x_0, x_1, ..., 1, ...]
pub(crate) struct ConcatenateRun {
    /// Columns of ones at the end.
    pub(crate) ones: usize,
}

impl ConcatenateRun {
    pub(crate) fn forward(&self, cx: &Cx<'_>, inputs: Inputs<'_>, act: &mut Act) {
        cx.products().by_rows(act.y_mut(cx.dims), |range, mut part| {
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

    pub(crate) fn backward(&self, cx: &Cx<'_>, mut up: Upstream<'_>, act: &mut Act) {
        let (dy, mut at) = (act.dy(cx.dims), 0);
        for i in 0..up.len() {
            let (_, dx) = up.get(i);
            let from = dy.cols_range(at..at + dx.cols());
            at += dx.cols();
            cx.products().by_rows(dx, |range, part| rows::add(cx.isa, from.rows_range(range), part));
        }
    }
}
