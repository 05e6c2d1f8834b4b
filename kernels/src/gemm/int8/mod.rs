//! Products with weights in int8, for running a trained model.
//!
//! ```text
//! s[i] = max over k of |A[i][k]| / 127        p[i][k] = A[i][k] / s[i], to the nearest integer, ties to even
//! t[j] = max over k of |B[k][j]| / 127        q[k][j] = B[k][j] / t[j], likewise
//! c    = init + (s t) (sum over k of p q)
//! ```
//!
//! The scale of a weight is that of its unit, the row of the weight matrix as PyTorch stores it, and is found when B is
//! packed; the scale of an activation is that of its row of A, found anew for each product. The sum is one of integers
//! and exact, so the bits are the same on every instruction set and in any order. A matrix that does not come packed is
//! multiplied in f32.
//!
//! **Error.** An operand is off by at most half its scale, so, but for the three roundings of f32 at the end,
//! |error| <= sum over k of (|A| t / 2 + |B| s / 2 + s t / 4). NaN and infinity in a row or column make all of it NaN.
//!
//! **Form.** B stands in column tiles of 16 columns: for every four terms a line of 16 words, a word the four weights of
//! a column, which is what one VPDPBUSD reads; then a line of the 16 scales and one of the sums of q, which take the
//! offset away that makes that instruction's left operand unsigned. Zero terms fill K up to a multiple of four.

mod dot;
#[cfg(test)]
mod tests;

use super::Init;
use super::pack::PackedRef;
use crate::profile::{self, Phase};
use crate::simd::{Kernel, Simd};
use crate::{GroupsMut, Isa, Mat};
use std::ops::Range;

/// Columns of a tile.
pub(super) const SIDE: usize = 16;
/// The largest integer of either operand.
const MOST: f32 = 127.0;
/// Terms of a product in int8 at most, whose sum cannot leave i32: 255 * 127 each.
pub const MOST_TERMS: usize = 1 << 16;

/// A line of a column tile: a word for each column.
type Line = [u32; SIDE];

/// Lines of integers of `k` terms.
pub(super) const fn lines_of(k: usize) -> usize {
    k.div_ceil(4)
}

/// Lines of a column tile of `k` terms: the integers, the scales, the sums.
pub(super) const fn depth_of(k: usize) -> usize {
    lines_of(k) + 2
}

/// Rows of integers, four to a word, with their scales.
#[derive(Clone, Copy)]
pub(in crate::gemm) struct Quantized<'a> {
    words: &'a [u32],
    scales: &'a [f32],
    pub(in crate::gemm) k: usize,
}

impl<'a> Quantized<'a> {
    /// Rounds the rows of `a` (M, K) into `room`.
    pub(in crate::gemm) fn new(isa: Isa, a: Mat, room: &'a mut [f32]) -> Self {
        let _span = profile::enter(Phase::Packing);
        let (rows, k) = (a.rows(), a.cols());
        assert!(k <= MOST_TERMS, "{k} terms: products in int8 have at most {MOST_TERMS}");
        let (scales, words) = room.split_at_mut(rows);
        let words: &mut [u32] = bytemuck::cast_slice_mut(&mut words[..rows * lines_of(k)]);
        isa.run(Rows { a, words: &mut *words, scales: &mut *scales });
        Self { words, scales, k }
    }

    /// Elements that [`Self::new`] needs.
    pub(in crate::gemm) fn room(rows: usize, k: usize) -> usize {
        rows * (1 + lines_of(k))
    }

    pub(in crate::gemm) fn rows(self) -> usize {
        self.scales.len()
    }

    pub(in crate::gemm) fn rows_range(self, range: Range<usize>) -> Self {
        let words = lines_of(self.k);
        Self { words: &self.words[range.start * words..range.end * words], scales: &self.scales[range], ..self }
    }
}

/// Rounds rows, a loop that the compiler turns into vectors of the set.
struct Rows<'a, 'o> {
    a: Mat<'a>,
    words: &'o mut [u32],
    scales: &'o mut [f32],
}

impl Kernel for Rows<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let lines = lines_of(self.a.cols());
        for (r, scale) in self.scales.iter_mut().enumerate() {
            let row = self.a.row(r);
            let mut top = 0;
            for x in row {
                top = top.max(magnitude(*x));
            }
            let (unit, inverse) = scale_of(top);
            *scale = unit;
            let words = &mut self.words[r * lines..(r + 1) * lines];
            let mut fours = row.chunks_exact(4);
            for (word, x) in words.iter_mut().zip(&mut fours) {
                *word = word_of([x[0], x[1], x[2], x[3]], inverse);
            }
            if let Some(word) = words.get_mut(row.len() / 4) {
                let mut rest = [0.0; 4];
                rest[..row.len() % 4].copy_from_slice(fours.remainder());
                *word = word_of(rest, inverse);
            }
        }
    }
}

/// |x| as bits, which grow with it; those of infinity and then NaN are the greatest.
#[inline(always)]
fn magnitude(x: f32) -> u32 {
    x.to_bits() & 0x7fff_ffff
}

/// The scale and its inverse for numbers up to this magnitude.
#[inline(always)]
fn scale_of(top: u32) -> (f32, f32) {
    let top = f32::from_bits(top);
    (top / MOST, if top == 0.0 { 0.0 } else { MOST / top })
}

#[inline(always)]
fn integer(x: f32, inverse: f32) -> i8 {
    // As far as the scale is finite, the product is at most 127 but for a rounding.
    (x * inverse).round_ties_even() as i32 as i8
}

#[inline(always)]
fn word_of(x: [f32; 4], inverse: f32) -> u32 {
    let byte = |x| u32::from(integer(x, inverse) as u8);
    byte(x[0]) | byte(x[1]) << 8 | byte(x[2]) << 16 | byte(x[3]) << 24
}

/// Packs B (K, N), or its transpose (N, K), into column tiles `apart` words apart.
pub(super) fn pack_tiles(b: Mat, transposed: bool, to: &mut [u32], apart: usize) {
    let (k, n) = if transposed { (b.cols(), b.rows()) } else { (b.rows(), b.cols()) };
    assert!(k <= MOST_TERMS, "{k} terms: products in int8 have at most {MOST_TERMS}");
    let at = |k: usize, c: usize| if transposed { b.row(c)[k] } else { b.row(k)[c] };
    for (tile, first) in (0..n).step_by(SIDE).enumerate() {
        let cols = (n - first).min(SIDE);
        let words = &mut to[tile * apart..tile * apart + depth_of(k) * SIDE];
        let (lines, _) = words.as_chunks_mut::<SIDE>();
        let (mut tops, mut sums, mut inverses) = ([0; SIDE], [0i32; SIDE], [0.0; SIDE]);
        for i in 0..k {
            for c in 0..cols {
                tops[c] = magnitude(at(i, first + c)).max(tops[c]);
            }
        }
        for c in 0..SIDE {
            let (unit, inverse) = scale_of(tops[c]);
            lines[lines_of(k)][c] = unit.to_bits();
            inverses[c] = inverse;
        }
        for (i, line) in lines[..lines_of(k)].iter_mut().enumerate() {
            *line = [0; SIDE];
            for c in 0..cols {
                for term in 0..(k - 4 * i).min(4) {
                    let q = integer(at(4 * i + term, first + c), inverses[c]);
                    sums[c] += i32::from(q);
                    line[c] |= u32::from(q as u8) << (8 * term);
                }
            }
        }
        lines[lines_of(k) + 1] = sums.map(|sum| sum as u32);
    }
}

/// Products of one A with a packed B, part after part.
pub(super) struct PreparedProduct<'a> {
    a: Quantized<'a>,
    b: PackedRef<'a>,
}

impl<'a> PreparedProduct<'a> {
    pub(super) fn new(a: Quantized<'a>, b: PackedRef<'a>) -> Self {
        Self { a, b }
    }

    /// K, and the groups of B.
    pub(super) fn terms_and_groups(&self) -> [usize; 2] {
        [self.a.k, self.b.groups()]
    }

    /// Rows `rows` of A by columns `cols` of B, into the whole of C; `init` is that of these columns.
    pub(super) fn product(&self, rows: Range<usize>, cols: Range<usize>, init: Init, c: &mut GroupsMut<'_>) {
        let (a, b) = (self.a.rows_range(rows), self.b.cols_range(cols));
        let words: &[u32] = bytemuck::cast_slice(b.data());
        let (lines, _) = words.as_chunks::<SIDE>();
        dot::run(self.b.isa(), dot::Operands { a: a.words, lines, k: a.k, rows: a.rows() }, |row, tile, sums| {
            let (g, first) = (tile % b.groups(), tile / b.groups() * SIDE);
            let n = (b.cols() - first).min(SIDE);
            let [.., scales, _] = &lines[tile * depth_of(a.k)..(tile + 1) * depth_of(a.k)] else { return };
            let to = &mut c.row_mut(row, g)[first..first + n];
            let from: Option<&[f32]> = match init {
                Init::Zero => None,
                Init::Keep => None,
                Init::Bias(bias) => Some(&bias[g * b.cols() + first..][..n]),
                Init::GroupBias { bias, stride } => Some(&bias[g * stride + first..][..n]),
            };
            match (init, from) {
                (_, Some(from)) => to.copy_from_slice(from),
                (Init::Zero, None) => to.fill(0.0),
                _ => {}
            }
            for (j, c) in to.iter_mut().enumerate() {
                *c += a.scales[row] * f32::from_bits(scales[j]) * sums[j] as f32;
            }
        });
    }
}
