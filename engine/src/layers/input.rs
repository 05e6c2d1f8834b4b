//! The vectors that come with a batch.

use super::{Extent, LayerOutput};
use std::ops::Range;

/// An input layer: its output is what the batch brought.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InputLayer {
    /// Whether there is a vector for each step rather than one a row.
    pub(crate) sequence: bool,
    pub(crate) width: usize,
}

impl InputLayer {
    /// Copies the vectors of these rows of a batch of `all` rows: those of the positions that are there.
    pub(crate) fn take(
        &self,
        vectors: &[f32],
        all: usize,
        rows: &Range<usize>,
        extent: &Extent,
        output: &mut LayerOutput,
    ) {
        let mut y = output.y_mut(extent.dims());
        for p in 0..y.rows() {
            let (t, n) = if self.sequence { extent.position(p) } else { (0, p) };
            let from = (t * all + rows.start + n) * self.width;
            y.row_mut(p).copy_from_slice(&vectors[from..from + self.width]);
        }
    }
}
