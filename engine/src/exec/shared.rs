//! A matrix that the members of a team write together, each its own part.

use std::ops::Range;
use unroll_kernels::{Element, GroupsMut, Mat, MatMut};

/// A matrix handed to all members of a job.
///
/// The promise that pays for the `unsafe` of its users in this folder: within one step of a time loop a member writes
/// only its own columns (or rows), and reads only what was complete before the last barrier.
pub(crate) struct Shared<'a, E = f32>(MatMut<'a, E>);

impl<'a, E> From<MatMut<'a, E>> for Shared<'a, E> {
    fn from(matrix: MatMut<'a, E>) -> Self {
        Self(matrix)
    }
}

impl<'a, E: Element> Shared<'a, E> {
    pub(crate) fn new(matrix: MatMut<'a, E>) -> Self {
        Self(matrix)
    }

    /// Rows `rows`, all columns, to read.
    ///
    /// # Safety
    ///
    /// No member writes any of these elements while the view is used.
    pub(crate) unsafe fn read(&self, rows: Range<usize>) -> Mat<'_, E> {
        self.0.as_ref().rows_range(rows)
    }

    /// Rows `rows`, all columns, to write.
    ///
    /// # Safety
    ///
    /// Only elements that no other member touches at the same time are accessed through the view.
    pub(crate) unsafe fn write(&self, rows: Range<usize>) -> MatMut<'_, E> {
        // SAFETY: passed on to the caller.
        unsafe { self.0.alias() }.rows_range(rows)
    }

    /// Rows `rows`, columns `cols` of each of `groups` groups, to write.
    ///
    /// # Safety
    ///
    /// As for [`Self::write`].
    pub(crate) unsafe fn write_groups(
        &self,
        rows: Range<usize>,
        groups: usize,
        cols: Range<usize>,
    ) -> GroupsMut<'_, E> {
        // SAFETY: passed on to the caller.
        unsafe { self.0.alias() }.rows_range(rows).into_groups(groups).cols_range(cols)
    }
}
