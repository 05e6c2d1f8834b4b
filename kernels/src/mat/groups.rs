//! Matrices whose columns are groups of equal width, the gates of a cell, split within the groups.

use super::MatMut;
use std::marker::PhantomData;
use std::ops::Range;

/// A matrix that is written, its columns in `groups` groups of `cols`: element (r, g, c) stands at
/// `r stride + g group_stride + c`.
pub struct GroupsMut<'a, T = f32> {
    ptr: *mut T,
    rows: usize,
    groups: usize,
    cols: usize,
    stride: usize,
    group_stride: usize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: a view is an exclusive reference to its elements.
unsafe impl<T: Send> Send for GroupsMut<'_, T> {}
// SAFETY: as above; a shared `GroupsMut` only reads.
unsafe impl<T: Sync> Sync for GroupsMut<'_, T> {}

impl<T: Copy> GroupsMut<'_, T> {
    /// The number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// The number of groups (gates).
    #[inline]
    pub fn groups(&self) -> usize {
        self.groups
    }
    /// Columns (units) of one group.
    #[inline]
    pub fn cols(&self) -> usize {
        self.cols
    }
    /// Elements from one row to the next.
    #[inline]
    pub fn stride(&self) -> usize {
        self.stride
    }
    /// Elements from one group to the next.
    #[inline]
    pub fn group_stride(&self) -> usize {
        self.group_stride
    }
    /// The first element.
    #[inline]
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.ptr
    }

    /// The same matrix for a shorter time.
    #[inline]
    pub fn reborrow(&mut self) -> GroupsMut<'_, T> {
        GroupsMut { life: PhantomData, ..*self }
    }

    /// Group `g` of row `r`.
    ///
    /// # Panics
    /// When there is no such row or group.
    #[track_caller]
    #[inline(always)]
    pub fn row_mut(&mut self, r: usize, g: usize) -> &mut [T] {
        assert!(r < self.rows && g < self.groups, "row {r} of {}, group {g} of {}", self.rows, self.groups);
        // SAFETY: the piece lies within the view, which is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(r * self.stride + g * self.group_stride), self.cols) }
    }

    /// All groups of row `r`; `G` must be the number of groups.
    ///
    /// # Panics
    /// When there is no such row, or `G` is another number.
    #[track_caller]
    #[inline(always)]
    pub fn row_groups_mut<const G: usize>(&mut self, r: usize) -> [&mut [T]; G] {
        assert!(r < self.rows && G == self.groups, "row {r} of {}, {G} groups of {}", self.rows, self.groups);
        let (ptr, cols) = (self.ptr.wrapping_add(r * self.stride), self.cols);
        // SAFETY: the pieces lie within the view, which is borrowed exclusively, and groups do not overlap.
        std::array::from_fn(|g| unsafe { std::slice::from_raw_parts_mut(ptr.add(g * self.group_stride), cols) })
    }

    /// Columns `..c` and `c..` of every group.
    ///
    /// # Panics
    /// When `c` is beyond the columns.
    #[track_caller]
    #[inline]
    pub fn split_cols_at(self, c: usize) -> (Self, Self) {
        assert!(c <= self.cols, "column {c} of {}", self.cols);
        let right = Self { ptr: self.ptr.wrapping_add(c), cols: self.cols - c, ..self };
        (Self { cols: c, ..self }, right)
    }

    /// Columns `range` of every group.
    ///
    /// # Panics
    /// When the range does not lie within the columns.
    #[track_caller]
    #[inline]
    pub fn cols_range(self, range: Range<usize>) -> Self {
        self.split_cols_at(range.end).0.split_cols_at(range.start).1
    }

    /// Groups `..g` and `g..`.
    ///
    /// # Panics
    /// When `g` is beyond the groups.
    #[track_caller]
    #[inline]
    pub fn split_groups_at(self, g: usize) -> (Self, Self) {
        assert!(g <= self.groups, "group {g} of {}", self.groups);
        let rest = Self { ptr: self.ptr.wrapping_add(g * self.group_stride), groups: self.groups - g, ..self };
        (Self { groups: g, ..self }, rest)
    }

    /// Rows `range`.
    ///
    /// # Panics
    /// When the range does not lie within the rows.
    #[track_caller]
    #[inline]
    pub fn rows_range(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.rows, "rows {range:?} of {}", self.rows);
        Self { ptr: self.ptr.wrapping_add(range.start * self.stride), rows: range.len(), ..self }
    }
}

impl<'a, T: Copy> MatMut<'a, T> {
    /// The columns as `groups` groups of equal width.
    ///
    /// # Panics
    /// When `groups` is 0 or does not divide the columns.
    #[track_caller]
    #[inline]
    pub fn into_groups(self, groups: usize) -> GroupsMut<'a, T> {
        assert!(groups > 0 && self.cols.is_multiple_of(groups), "{} columns in {groups} groups", self.cols);
        let cols = self.cols / groups;
        GroupsMut {
            ptr: self.ptr,
            rows: self.rows,
            groups,
            cols,
            stride: self.stride,
            group_stride: cols,
            life: PhantomData,
        }
    }
}

impl<'a, T: Copy> From<MatMut<'a, T>> for GroupsMut<'a, T> {
    #[inline]
    fn from(m: MatMut<'a, T>) -> Self {
        m.into_groups(1)
    }
}
