//! The left operand: as it lies for f32, its rows rounded for bf16 and int8.

use super::bf16::{Places, SIDE, Terms, blocks_of, convert};
use super::int8::Quantized;
use super::{PackedRef, Precision};
use crate::{Buffer, Isa, Mat};
use std::ops::Range;

/// The left operand of products, in the form that a precision reads.
///
/// In f32 it is the matrix itself. In bf16 and int8 its rows are rounded once, by [`Left::new`], and then serve every product.
#[derive(Clone, Copy)]
pub struct Left<'a>(pub(super) Operand<'a>);

#[derive(Clone, Copy)]
pub(super) enum Operand<'a> {
    F32(Mat<'a>),
    Bf16(Rounded<'a>),
    Int8(Quantized<'a>),
}

/// Rows of bf16 in words of two terms, rows beginning on cache lines; terms beyond `k` are zero up to whole blocks.
#[derive(Clone, Copy)]
pub(super) struct Rounded<'a> {
    pub(super) words: &'a [u32],
    pub(super) rows: usize,
    pub(super) k: usize,
    /// Words from row to row.
    pub(super) stride: usize,
}

/// Words from row to row for `k` terms: an odd number of cache lines, so that the sixteen rows of a tile do not fall into
/// the same sets of the first-level cache.
pub(super) fn stride_of(k: usize) -> usize {
    (blocks_of(k) | 1) * SIDE
}

impl<'a> Rounded<'a> {
    /// Rounds `a` (M, K), or the transpose of `a` (K, M) where `turned`, into `room`.
    pub(super) fn new(isa: Isa, a: Mat, turned: bool, room: &'a mut [u32]) -> Self {
        let (rows, k) = if turned { (a.cols(), a.rows()) } else { (a.rows(), a.cols()) };
        let stride = stride_of(k);
        let (below, right) = (SIDE * stride, SIDE);
        let (terms, steps) = if turned { (Terms::Down, [right, below]) } else { (Terms::Along, [below, right]) };
        convert(isa, a, terms, room, Places { steps, stride, turned });
        Self { words: room, rows, k, stride }
    }

    /// Words that [`Self::new`] needs for `rows` x `k`: whole blocks.
    pub(super) fn words(rows: usize, k: usize) -> usize {
        rows.next_multiple_of(SIDE) * stride_of(k)
    }
}

impl<'a> Left<'a> {
    /// `a` for products with a matrix of `precision` on `isa`; `scratch` grows at first use to [`Left::room`].
    pub fn new(isa: Isa, precision: Precision, a: Mat<'a>, scratch: &'a mut Buffer) -> Self {
        match precision {
            Precision::F32 => a.into(),
            Precision::Bf16 => {
                scratch.reserve(Self::room(precision, a.rows(), a.cols()));
                let room = bytemuck::cast_slice_mut(scratch.as_mut_slice());
                Self(Operand::Bf16(Rounded::new(isa, a, false, room)))
            }
            Precision::Int8 => {
                scratch.reserve(Self::room(precision, a.rows(), a.cols()));
                Self(Operand::Int8(Quantized::new(isa, a, scratch.as_mut_slice())))
            }
        }
    }

    /// `a` as products with `b` read it.
    pub fn of(b: PackedRef<'_>, a: Mat<'a>, scratch: &'a mut Buffer) -> Self {
        Self::new(b.isa(), b.precision(), a, scratch)
    }

    /// Elements of scratch that [`Left::new`] takes for (rows, k).
    pub fn room(precision: Precision, rows: usize, k: usize) -> usize {
        match precision {
            Precision::F32 => 0,
            Precision::Bf16 => Rounded::words(rows, k),
            Precision::Int8 => Quantized::room(rows, k),
        }
    }

    /// M
    pub fn rows(self) -> usize {
        match self.0 {
            Operand::F32(a) => a.rows(),
            Operand::Bf16(a) => a.rows,
            Operand::Int8(a) => a.rows(),
        }
    }

    /// K
    pub fn k(self) -> usize {
        match self.0 {
            Operand::F32(a) => a.cols(),
            Operand::Bf16(a) => a.k,
            Operand::Int8(a) => a.k,
        }
    }

    /// The precision that it is in.
    pub fn precision(self) -> Precision {
        match self.0 {
            Operand::F32(_) => Precision::F32,
            Operand::Bf16(_) => Precision::Bf16,
            Operand::Int8(_) => Precision::Int8,
        }
    }

    /// Rows `range`.
    ///
    /// # Panics
    ///
    /// When there are not as many.
    #[track_caller]
    pub fn rows_range(self, range: Range<usize>) -> Self {
        Self(match self.0 {
            Operand::F32(a) => Operand::F32(a.rows_range(range)),
            Operand::Int8(a) => Operand::Int8(a.rows_range(range)),
            Operand::Bf16(a) => {
                assert!(range.start <= range.end && range.end <= a.rows, "rows {range:?} of {}", a.rows);
                Operand::Bf16(Rounded { words: &a.words[range.start * a.stride..], rows: range.len(), ..a })
            }
        })
    }
}

impl<'a> From<Mat<'a>> for Left<'a> {
    fn from(a: Mat<'a>) -> Self {
        Self(Operand::F32(a))
    }
}
