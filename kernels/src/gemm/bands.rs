//! Packing band by band: rows of a matrix are packed as soon as they have changed, by whoever changed them.
//!
//! A band of rows of B falls on the same rows of every panel, and a band of rows of its transpose on whole panels, so bands
//! that do not overlap never write the same element.
//!
//! The promise that pays for the `unsafe` here: the view borrows the packed matrix for its own lifetime, and its users
//! pack no band twice at the same time.

use super::pack::{Layout, PackedMut, copy};
use super::{Precision, bf16};
use crate::{Isa, Mat};
use std::marker::PhantomData;
use std::ops::Range;

/// A packed matrix that several threads write, each its own bands.
pub struct PackedBands<'a> {
    isa: Isa,
    layout: Layout,
    data: *mut f32,
    life: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a `&mut [f32]`, whose elements are reached through `unsafe` functions only, which promise disjoint bands.
unsafe impl Send for PackedBands<'_> {}
// SAFETY: as above.
unsafe impl Sync for PackedBands<'_> {}

impl<'a> PackedBands<'a> {
    pub(super) fn new(isa: Isa, layout: Layout, data: &'a mut [f32]) -> Self {
        assert!(layout.precision != Precision::Int8, "int8 scales whole columns, which have no bands");
        Self { isa, layout, data: data.as_mut_ptr(), life: PhantomData }
    }

    /// The granule of bands of rows of B: each begins at a multiple of it.
    pub fn rows(&self) -> usize {
        if self.layout.precision == Precision::F32 { 1 } else { bf16::TERMS }
    }

    /// The granule of bands of rows of the transpose: each begins at a multiple of it.
    pub fn transposed_rows(&self) -> usize {
        self.layout.granule()
    }

    /// Elements of the packed matrix.
    ///
    /// # Safety
    ///
    /// They must be there, and nobody else may touch them while the slice is used.
    unsafe fn part(&self, range: Range<usize>) -> &'a mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(range.start), range.len()) }
    }

    /// Packs rows `first..` of B from `band` (rows, groups * cols).
    ///
    /// # Safety
    ///
    /// Nobody else packs any of these rows, and nobody reads the matrix, at the same time.
    ///
    /// # Panics
    ///
    /// When `first` or the shape of `band` does not fit B.
    pub unsafe fn pack(&self, first: usize, band: Mat<'_>) {
        let Layout { precision, k, groups, cols, lanes } = self.layout;
        let (rows, end) = (band.rows(), first + band.rows());
        assert_eq!(band.cols(), groups * cols, "columns of a band");
        assert!(first.is_multiple_of(self.rows()) && end <= k, "rows {first}..{end} of {k}");
        assert!(end == k || end.is_multiple_of(self.rows()), "a band that ends at {end} of {k}");
        for p in 0..self.layout.panels() {
            let (offset, width) = (self.layout.offset(p), self.layout.width(p));
            let col = p * self.layout.granule();
            let count = self.layout.granule().min(cols - col);
            for g in 0..groups {
                let from = band.cols_range(g * cols + col..g * cols + col + count);
                if precision == Precision::F32 {
                    // SAFETY: rows `first..end` of panel p, which is K rows of `width`: this band's alone.
                    let panel = unsafe { self.part(offset + first * width..offset + end * width) };
                    copy(self.isa, &mut panel[g * lanes..], width, from);
                } else {
                    // A tile for each group, one word for two terms.
                    let tile = offset + g * self.layout.depth() * bf16::SIDE;
                    let blocks = first / bf16::TERMS..end.div_ceil(bf16::TERMS);
                    let words = tile + blocks.start * bf16::BLOCK_WORDS..tile + blocks.end * bf16::BLOCK_WORDS;
                    // SAFETY: the blocks of these terms in one tile: this band's alone.
                    let words = bytemuck::cast_slice_mut(unsafe { self.part(words) });
                    debug_assert_eq!(words.len(), rows.div_ceil(bf16::TERMS) * bf16::BLOCK_WORDS);
                    bf16::pack_tiles(self.isa, from, false, words, 0);
                }
            }
        }
    }

    /// Packs columns `first..` of B, which has one group, from `band`, these rows (rows, K) of its transpose.
    ///
    /// # Safety
    ///
    /// As for [`Self::pack`], of these columns.
    ///
    /// # Panics
    ///
    /// When `first` or the shape of `band` does not fit the transpose.
    pub unsafe fn pack_transposed(&self, first: usize, band: Mat<'_>) {
        let layout = self.layout;
        let end = first + band.rows();
        assert_eq!(layout.groups, 1, "the transpose of several groups");
        layout.check_range(&(first..end));
        let [from, to] = [first, end].map(|col| layout.offset(layout.panel_at(col)));
        // SAFETY: the panels of these columns: this band's alone.
        let data = unsafe { self.part(from.min(to)..to) };
        PackedMut::band(self.isa, Layout { cols: band.rows(), ..layout }, data).pack_transposed(band);
    }
}
