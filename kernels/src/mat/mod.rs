//! Matrix views and their storage: the one audited place where the columns of a matrix are split.
//!
//! [`Mat`] and [`MatMut`] view row-major matrices (of f32, unless another type is named) with a row stride. Views can
//! be split by rows and by columns, so that threads write disjoint columns of one matrix. [`GroupsMut`] views a matrix
//! whose columns form groups of equal width (the gates of a cell), and is split by the columns *within* the groups: the
//! part for units `a..b` has columns `a..b` of every gate. [`Buffer`] is storage aligned to 64 bytes.
//!
//! The promise that pays for the `unsafe` here: a view is made from a slice or split from another view, its constructor
//! checks that the last element lies within, and two mutable views never share an element.

mod buffer;
mod groups;

pub use buffer::Buffer;
pub use groups::GroupsMut;

use std::marker::PhantomData;
use std::ops::Range;

/// A number in bf16: the upper half of an f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(pub u16);

impl Bf16 {
    /// Rounds to bf16: to the nearest, ties to even; NaN stays NaN; subnormal numbers become zero. This is what AVX-512
    /// BF16's VCVTNEPS2BF16 does.
    #[inline(always)]
    pub fn round(x: f32) -> Self {
        let bits = x.to_bits();
        let magnitude = bits & 0x7fff_ffff;
        let nearest = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
        let quiet = bits | 0x0040_0000;
        let zero = bits & 0x8000_0000;
        let rounded = if magnitude < 0x0080_0000 { zero } else { nearest };
        Self(((if magnitude > 0x7f80_0000 { quiet } else { rounded }) >> 16) as u16)
    }
}

// SAFETY: a u16; every bit pattern is valid.
unsafe impl bytemuck::Zeroable for Bf16 {}
// SAFETY: as above.
unsafe impl bytemuck::Pod for Bf16 {}

impl From<Bf16> for f32 {
    #[inline(always)]
    fn from(x: Bf16) -> Self {
        Self::from_bits(u32::from(x.0) << 16)
    }
}

/// The stride that activations use: columns rounded up so that every row starts on a cache line, and a line more where the
/// rows would be a multiple of 2 KB apart. A tile's sixteen rows would then fall into one or two sets of the first-level
/// cache, which hold twelve lines each.
pub fn padded(cols: usize) -> usize {
    let lines = cols.div_ceil(16);
    16 * if lines > 0 && lines.is_multiple_of(32) { lines + 1 } else { lines }
}

/// Panics unless a view of this shape fits into `len` elements.
#[track_caller]
#[inline]
fn check(len: usize, rows: usize, cols: usize, stride: usize) {
    assert!(cols <= stride || rows <= 1, "a row of {cols} columns does not fit a stride of {stride}");
    let need = if rows == 0 || cols == 0 {
        0
    } else {
        (rows - 1).checked_mul(stride).and_then(|n| n.checked_add(cols)).unwrap_or(usize::MAX)
    };
    assert!(need <= len, "a {rows} x {cols} view of stride {stride} needs {need} elements, the slice has {len}");
}

/// A matrix that is read: `rows` x `cols`, row-major, rows `stride` elements apart.
#[derive(Clone, Copy)]
pub struct Mat<'a, T = f32> {
    ptr: *const T,
    rows: usize,
    cols: usize,
    stride: usize,
    life: PhantomData<&'a [T]>,
}

// SAFETY: a view is a shared reference to its elements.
unsafe impl<T: Sync> Send for Mat<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Mat<'_, T> {}

impl<'a, T: Copy> Mat<'a, T> {
    /// A view of `data`. Panics if the last row does not fit.
    #[track_caller]
    #[inline]
    pub fn new(data: &'a [T], rows: usize, cols: usize, stride: usize) -> Self {
        check(data.len(), rows, cols, stride);
        Self { ptr: data.as_ptr(), rows, cols, stride, life: PhantomData }
    }

    /// A view without gaps between the rows.
    #[track_caller]
    #[inline]
    pub fn dense(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::new(data, rows, cols, cols)
    }

    /// The number of rows.
    #[inline]
    pub fn rows(self) -> usize {
        self.rows
    }
    /// The number of columns.
    #[inline]
    pub fn cols(self) -> usize {
        self.cols
    }
    /// Elements from one row to the next.
    #[inline]
    pub fn stride(self) -> usize {
        self.stride
    }
    /// The first element.
    #[inline]
    pub fn as_ptr(self) -> *const T {
        self.ptr
    }

    /// Row `r`.
    ///
    /// # Panics
    /// When there is no such row.
    #[track_caller]
    #[inline(always)]
    pub fn row(self, r: usize) -> &'a [T] {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        // `wrapping_add`: rows without columns may lie beyond the slice, whatever their stride.
        let row = self.ptr.wrapping_add(r * self.stride);
        // SAFETY: a row of some columns lies within the slice that the view was made from.
        unsafe { std::slice::from_raw_parts(row, self.cols) }
    }

    /// Rows `range`.
    ///
    /// # Panics
    /// When the range does not lie within the rows.
    #[track_caller]
    #[inline]
    pub fn rows_range(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.rows, "rows {range:?} of {}", self.rows);
        // `wrapping_add`: the start of an empty range may lie a stride beyond the end.
        Self { ptr: self.ptr.wrapping_add(range.start * self.stride), rows: range.len(), ..self }
    }

    /// Columns `range` of every row.
    ///
    /// # Panics
    /// When the range does not lie within the columns.
    #[track_caller]
    #[inline]
    pub fn cols_range(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.cols, "columns {range:?} of {}", self.cols);
        Self { ptr: self.ptr.wrapping_add(range.start), cols: range.len(), ..self }
    }
}

/// A matrix that is written: `rows` x `cols`, row-major, rows `stride` elements apart.
pub struct MatMut<'a, T = f32> {
    ptr: *mut T,
    rows: usize,
    cols: usize,
    stride: usize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: a view is an exclusive reference to its elements.
unsafe impl<T: Send> Send for MatMut<'_, T> {}
// SAFETY: as above; a shared `MatMut` only reads.
unsafe impl<T: Sync> Sync for MatMut<'_, T> {}

impl<'a, T: Copy> MatMut<'a, T> {
    /// A view of `data`. Panics if the last row does not fit.
    #[track_caller]
    #[inline]
    pub fn new(data: &'a mut [T], rows: usize, cols: usize, stride: usize) -> Self {
        check(data.len(), rows, cols, stride);
        Self { ptr: data.as_mut_ptr(), rows, cols, stride, life: PhantomData }
    }

    /// A view without gaps between the rows.
    #[track_caller]
    #[inline]
    pub fn dense(data: &'a mut [T], rows: usize, cols: usize) -> Self {
        Self::new(data, rows, cols, cols)
    }

    /// The number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }
    /// The number of columns.
    #[inline]
    pub fn cols(&self) -> usize {
        self.cols
    }
    /// Elements from one row to the next.
    #[inline]
    pub fn stride(&self) -> usize {
        self.stride
    }
    /// The first element.
    #[inline]
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.ptr
    }

    /// Row `r`.
    ///
    /// # Panics
    /// When there is no such row.
    #[track_caller]
    #[inline(always)]
    pub fn row_mut(&mut self, r: usize) -> &mut [T] {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        // As in `Mat::row`.
        let row = self.ptr.wrapping_add(r * self.stride);
        // SAFETY: a row of some columns lies within the view, which is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(row, self.cols) }
    }

    /// All elements of a matrix without gaps between the rows.
    ///
    /// # Panics
    /// When there are gaps.
    #[track_caller]
    #[inline]
    pub fn into_slice(self) -> &'a mut [T] {
        assert!(self.cols == self.stride || self.rows <= 1, "{} columns with a stride of {}", self.cols, self.stride);
        // SAFETY: without gaps these are the elements of the view, which is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.ptr, self.rows * self.cols) }
    }

    /// The same matrix, read.
    #[inline]
    pub fn as_ref(&self) -> Mat<'_, T> {
        Mat { ptr: self.ptr, rows: self.rows, cols: self.cols, stride: self.stride, life: PhantomData }
    }

    /// The same matrix for a shorter time.
    #[inline]
    pub fn reborrow(&mut self) -> MatMut<'_, T> {
        MatMut { life: PhantomData, ..*self }
    }

    /// Rows `..r` and `r..`.
    ///
    /// # Panics
    /// When `r` is beyond the rows.
    #[track_caller]
    #[inline]
    pub fn split_rows_at(self, r: usize) -> (Self, Self) {
        assert!(r <= self.rows, "row {r} of {}", self.rows);
        let below = Self { ptr: self.ptr.wrapping_add(r * self.stride), rows: self.rows - r, ..self };
        (Self { rows: r, ..self }, below)
    }

    /// Columns `..c` and `c..`.
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

    /// Rows `range`.
    ///
    /// # Panics
    /// When the range does not lie within the rows.
    #[track_caller]
    #[inline]
    pub fn rows_range(self, range: Range<usize>) -> Self {
        self.split_rows_at(range.end).0.split_rows_at(range.start).1
    }

    /// Columns `range`.
    ///
    /// # Panics
    /// When the range does not lie within the columns.
    #[track_caller]
    #[inline]
    pub fn cols_range(self, range: Range<usize>) -> Self {
        self.split_cols_at(range.end).0.split_cols_at(range.start).1
    }

    /// A second view of the same elements.
    ///
    /// # Safety
    ///
    /// While both live, no element may be written through one and touched through the other at the same time.
    #[inline]
    pub unsafe fn alias(&self) -> MatMut<'a, T> {
        MatMut { life: PhantomData, ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_cover_the_matrix_once() {
        let mut data: Vec<f32> = vec![0.0; 4 * 7];
        let m = MatMut::new(&mut data, 4, 6, 7);
        let (left, right) = m.split_cols_at(2);
        let (top, bottom) = right.split_rows_at(3);
        for (mut part, value) in [(left, 1.0), (top, 2.0), (bottom, 3.0)] {
            for r in 0..part.rows() {
                part.row_mut(r).iter_mut().for_each(|x| *x += value);
            }
        }
        assert_eq!(data[..7], [1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 0.0]);
        assert_eq!(data[21..], [1.0, 1.0, 3.0, 3.0, 3.0, 3.0, 0.0]);
    }

    #[test]
    fn groups_split_within_each_gate() {
        let mut data: Vec<f32> = vec![0.0; 2 * 12];
        let (mut left, mut right) = MatMut::dense(&mut data, 2, 12).into_groups(4).split_cols_at(1);
        for r in 0..2 {
            for g in 0..4 {
                left.row_mut(r, g).fill(g as f32);
                right.row_mut(r, g).fill(10.0 + g as f32);
            }
        }
        assert_eq!(data[..12], [0.0, 10.0, 10.0, 1.0, 11.0, 11.0, 2.0, 12.0, 12.0, 3.0, 13.0, 13.0]);
    }

    #[test]
    fn groups_part_whole_gates() {
        let mut data: Vec<f32> = vec![0.0; 2 * 6];
        let (mut zr, mut n) = MatMut::dense(&mut data, 2, 6).into_groups(3).split_groups_at(2);
        for r in 0..2 {
            let [z, _] = zr.row_groups_mut(r);
            z.fill(1.0);
            n.row_mut(r, 0).fill(2.0);
        }
        assert_eq!(data[..6], [1.0, 1.0, 0.0, 0.0, 2.0, 2.0]);
    }

    #[test]
    #[should_panic(expected = "needs 25 elements, the slice has 24")]
    fn a_view_that_does_not_fit_is_refused() {
        Mat::new(&[0.0; 24], 3, 5, 10);
    }

    #[test]
    fn empty_views_are_allowed() {
        let m = Mat::<f32>::new(&[], 0, 5, 8);
        assert_eq!(m.rows_range(0..0).rows(), 0);
    }
}
