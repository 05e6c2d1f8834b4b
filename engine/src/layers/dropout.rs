//! Dropout (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014), inverted: what is kept is scaled by
//! 1 / (1 - rate) while training, and nothing happens otherwise.
//!
//! The mask is a function of (seed, layer, training step, time, row of the whole batch, column) and is made again for
//! the backward pass, so it takes no memory and does not depend on threads or replicas.

use super::{Act, Cx, Dims, Inputs, Upstream};
use crate::random::Key;
use unroll_kernels::rows;

/// A dropout layer.
pub(crate) struct DropoutRun {
    layer: usize,
    /// Random words below this keep their element.
    keep_below: u32,
    scale: f32,
    columns: usize,
}

impl DropoutRun {
    pub(crate) fn new(layer: usize, rate: f32, columns: usize) -> Self {
        let keep = 1.0 - f64::from(rate);
        // A rate of 0 keeps all but one word in 2^32, which is why it is not run at all (see `forward`).
        Self {
            layer,
            keep_below: (keep * 4_294_967_296.0).min(4_294_967_295.0) as u32,
            scale: (1.0 / keep) as f32,
            columns,
        }
    }

    pub(crate) fn forward(&self, cx: &Cx<'_>, inputs: Inputs<'_>, act: &mut Act) {
        let x = inputs.only();
        cx.products().by_rows(act.y_mut(cx.dims), |range, mut part| {
            rows::copy(x.rows_range(range.clone()), part.reborrow());
            if self.drops(cx) {
                for (r, row) in range.enumerate() {
                    self.mask(cx, row, part.row_mut(r));
                }
            }
        });
    }

    pub(crate) fn backward(&self, cx: &Cx<'_>, mut up: Upstream<'_>, act: &mut Act) {
        if self.drops(cx) {
            cx.products().by_rows(act.dy_mut(cx.dims), |range, mut part| {
                for (r, row) in range.enumerate() {
                    self.mask(cx, row, part.row_mut(r));
                }
            });
        }
        let (_, dx) = up.get(0);
        let dy = act.dy(cx.dims);
        cx.products().by_rows(dx, |range, part| rows::add(cx.isa, dy.rows_range(range), part));
    }

    fn drops(&self, cx: &Cx<'_>) -> bool {
        cx.training && self.scale != 1.0
    }

    /// Drops and scales a row of (T N, columns).
    fn mask(&self, cx: &Cx<'_>, row: usize, x: &mut [f32]) {
        let Dims { rows, .. } = cx.dims;
        let (time, row) = (row / rows, row % rows + cx.first_row);
        let key: Key = cx.key.layer(self.layer);
        let blocks = self.columns.div_ceil(4) as u64;
        let first = (time * cx.batch_rows + row) as u64 * blocks;
        for (block, four) in x.chunks_mut(4).enumerate() {
            let words = key.words_at(first + block as u64);
            for (x, word) in four.iter_mut().zip(words) {
                *x = if word < self.keep_below { *x * self.scale } else { 0.0 };
            }
        }
    }
}
