//! Dropout (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014), inverted: what is kept is scaled by
//! 1 / (1 - rate) while training, and nothing happens otherwise.
//!
//! The mask is a function of (seed, layer, training step, time, row of the whole batch, column) and is made again for
//! the backward pass, so it takes no memory and does not depend on threads or replicas.

use super::{Act, Cx, Inputs, Upstream};
use crate::random::Key;
use unroll_kernels::rows;

/// Which elements a dropout layer keeps, and what it scales them by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask {
    layer: usize,
    /// Random words below this keep their element.
    keep_below: u32,
    scale: f64,
    columns: usize,
}

impl Mask {
    pub(crate) fn new(layer: usize, rate: f32, columns: usize) -> Self {
        let keep = 1.0 - f64::from(rate);
        // A rate of 0 keeps all but one word in 2^32, which is why it is not applied at all (see `drops`).
        Self { layer, keep_below: (keep * 4_294_967_296.0).min(4_294_967_295.0) as u32, scale: 1.0 / keep, columns }
    }

    /// Whether anything is dropped.
    pub(crate) fn drops(&self) -> bool {
        self.scale != 1.0
    }

    /// 1 / (1 - rate)
    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }

    /// Columns of a row.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Which columns are kept, four at a time, at `position` = time * rows of the whole batch + row in it. `key` is that
    /// of the training step.
    pub(crate) fn keeps(&self, key: Key, position: usize) -> impl Iterator<Item = [bool; 4]> {
        let (key, keep_below) = (key.layer(self.layer), self.keep_below);
        let blocks = self.columns.div_ceil(4) as u64;
        let first = position as u64 * blocks;
        (first..first + blocks).map(move |block| key.words_at(block).map(|word| word < keep_below))
    }
}

/// A dropout layer.
pub(crate) struct DropoutRun {
    mask: Mask,
    /// Whether its input has a time axis.
    sequence: bool,
}

impl DropoutRun {
    pub(crate) fn new(layer: usize, rate: f32, columns: usize, sequence: bool) -> Self {
        Self { mask: Mask::new(layer, rate, columns), sequence }
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
        cx.training && self.mask.drops()
    }

    /// Drops and scales a row of (P, columns), or of (N, columns) as if it were the first step's.
    fn mask(&self, cx: &Cx<'_>, row: usize, x: &mut [f32]) {
        let (time, row) = if self.sequence { cx.extent.position(row) } else { (0, row) };
        let row = row + cx.first_row;
        let scale = self.mask.scale() as f32;
        for (four, keeps) in x.chunks_mut(4).zip(self.mask.keeps(cx.key, time * cx.batch_rows + row)) {
            for (x, keep) in four.iter_mut().zip(keeps) {
                *x = if keep { *x * scale } else { 0.0 };
            }
        }
    }
}
