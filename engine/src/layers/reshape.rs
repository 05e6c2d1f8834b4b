//! The same values in another shape.
//!
//! Keras' axes are (batch, time, features) while a sequence here is stored time-major, so that joining time and
//! features gathers a row's steps from T blocks.

use super::{Act, Cx, Dims, Inputs, Upstream};

/// A reshape of (steps, width) to one axis.
pub(crate) struct ReshapeRun {
    /// Whether the input has a time axis, which is joined.
    pub(crate) joins_time: bool,
}

impl ReshapeRun {
    fn steps(&self, dims: Dims) -> usize {
        if self.joins_time { dims.steps } else { 1 }
    }

    pub(crate) fn forward(&self, cx: &Cx<'_>, inputs: Inputs<'_>, act: &mut Act) {
        let (x, rows, steps) = (inputs.only(), cx.dims.rows, self.steps(cx.dims));
        cx.products().by_rows(act.y_mut(cx.dims), |range, mut part| {
            for (r, n) in range.enumerate() {
                for (t, to) in part.row_mut(r).chunks_exact_mut(x.cols()).take(steps).enumerate() {
                    to.copy_from_slice(x.row(t * rows + n));
                }
            }
        });
    }

    pub(crate) fn backward(&self, cx: &Cx<'_>, mut up: Upstream<'_>, act: &mut Act) {
        let (dy, rows) = (act.dy(cx.dims), cx.dims.rows);
        let (_, dx) = up.get(0);
        let width = dx.cols();
        cx.products().by_rows(dx, |range, mut part| {
            for (r, row) in range.enumerate() {
                let (t, n) = (row / rows, row % rows);
                let from = &dy.row(n)[t * width..(t + 1) * width];
                part.row_mut(r).iter_mut().zip(from).for_each(|(x, d)| *x += d);
            }
        });
    }
}
