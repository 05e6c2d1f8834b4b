//! The state of a recurrent layer between one batch and the next.

use crate::graph::{Cell, Recurrent};
use unroll_kernels::{Buffer, Mat, MatMut};

/// The state of one direction of a layer: h, and c of an LSTM, each (N, H).
#[derive(Clone)]
pub(crate) struct CarriedState {
    name: String,
    rows: usize,
    units: usize,
    /// Whether the next batch starts from it.
    pub(crate) starts: bool,
    h: Buffer,
    c: Option<Buffer>,
    /// Only where other layers give the first state: (N), 0 for a row that begins with it, 1 for a row that goes on
    /// from here.
    begun: Option<Buffer>,
}

impl CarriedState {
    /// The zero state of `rows` rows; `given` where other layers give the state from which a text starts.
    pub(crate) fn new(name: String, rows: usize, cell: Cell, options: &Recurrent, given: bool) -> Self {
        let (units, starts) = (options.units, options.stateful);
        let state = || Buffer::new(rows * units);
        let c = (cell == Cell::Lstm).then(state);
        let begun = (starts && given).then(|| Buffer::new(rows));
        Self { name, rows, units, starts, h: state(), c, begun }
    }

    /// The layer, or the direction of it: `lstm_1`, `bidirectional/backward`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
    /// Whether it is a state of such a cell.
    pub(crate) fn fits(&self, cell: Cell, options: &Recurrent) -> bool {
        self.units == options.units && self.c.is_some() == (cell == Cell::Lstm)
    }
    /// Sets a row to zero, for a new text.
    pub(crate) fn reset_row(&mut self, row: usize) {
        let range = row * self.units..(row + 1) * self.units;
        self.h[range.clone()].fill(0.0);
        self.c.iter_mut().for_each(|c| c[range.clone()].fill(0.0));
        self.begun.iter_mut().for_each(|begun| begun[row] = 0.0);
    }
    /// `h`, and `c` and `begun` where the layer has them: name, columns and elements.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&'static str, usize, &[f32])> {
        let c = self.c.as_deref().map(|c| ("c", self.units, c));
        let begun = self.begun.as_deref().map(|begun| ("begun", 1, begun));
        std::iter::once(("h", self.units, &self.h[..])).chain(c).chain(begun)
    }
    /// One of [`Self::tensors`], to set.
    pub(crate) fn tensor_mut(&mut self, part: &str) -> Option<&mut [f32]> {
        match part {
            "h" => Some(&mut self.h),
            "c" => self.c.as_deref_mut(),
            "begun" => self.begun.as_deref_mut(),
            _ => None,
        }
    }

    /// h of `count` rows from `first` on.
    pub(crate) fn h(&self, first: usize, count: usize) -> Mat<'_> {
        Mat::dense(&self.h, self.rows, self.units).rows_range(first..first + count)
    }
    /// c of `count` rows from `first` on; empty for cells without it.
    pub(crate) fn c(&self, first: usize, count: usize) -> Mat<'_> {
        let c: &[f32] = self.c.as_ref().map_or(&[], |c| c);
        Mat::dense(c, self.rows, self.units).rows_range(first..first + count)
    }
    /// Whether a row goes on from this state rather than from the one that other layers give.
    pub(crate) fn has_begun(&self, row: usize) -> bool {
        self.begun.as_ref().is_none_or(|begun| begun[row] != 0.0)
    }
    /// Marks these rows as going on from this state.
    pub(crate) fn begin(&mut self, first: usize, count: usize) {
        self.begun.iter_mut().for_each(|begun| begun[first..first + count].fill(1.0));
    }
    pub(crate) fn h_mut(&mut self, first: usize, count: usize) -> MatMut<'_> {
        MatMut::dense(&mut self.h, self.rows, self.units).rows_range(first..first + count)
    }
    pub(crate) fn c_mut(&mut self, first: usize, count: usize) -> MatMut<'_> {
        let c: &mut [f32] = self.c.as_mut().map_or(&mut [], |c| c);
        MatMut::dense(c, self.rows, self.units).rows_range(first..first + count)
    }
}
