//! Products block after block: the left operand is prepared once for all members, the right one by the member that has
//! its columns.
//!
//! ```text
//! for some rows of A, and some terms:
//!     all members: convert A to the precision's form, in shared room
//!     for each block of columns, whichever member claims it:
//!         pack B, unless it is packed
//!         for as many of those rows at a time as the second-level cache holds beside B's block:
//!             compute A B and what is made of it
//! ```
//!
//! In bf16 each operand is thus rounded once a product, whatever the number of members. Each element is one chain over
//! k, so neither blocks nor members change a bit.

use super::cost::Work;
use super::member::Member;
use super::products::{Products, Start};
use super::right::Right;
use super::scratch::{BLOCK_RIGHT, BLOCK_ROWS, GRANULE, block_columns, lock};
use super::shared::Shared;
use super::team::Cut;
use std::ops::Range;
use unroll_kernels::gemm::{self, Init, Left, LeftTiles, PackedRef, Precision};
use unroll_kernels::{Buffer, Element, Mat, MatMut};

/// The most elements of the room for the left operand, 8 MB; each holds two terms in bf16.
const LEFT_ROOM: usize = 1 << 21;

/// The most elements of A for one block: half a megabyte of bf16. It bounds how many terms are added between two visits
/// to C. Blocks of fewer rows have more terms, since each part of the terms is a job for the team, but no more than fit
/// the narrowest block of B ([`MOST_TERMS`]).
const BLOCK_LEFT: usize = 1 << 18;
const MOST_TERMS: usize = 2 * BLOCK_RIGHT / GRANULE;

/// Terms are cut at multiples of this: whole blocks of bf16.
const TERMS: usize = 32;

/// The least rows of a block.
const LEAST_ROWS: usize = 32;

/// How many blocks each member gets at least, where there are enough. With one, char256 in bf16 is a sixth slower on
/// two threads; with eight it is no faster (Zen 4, 2026-11-23).
const BLOCKS: usize = 4;

/// The left operand as it lies: (M, K), or its transpose where `transposed`.
#[derive(Clone, Copy)]
pub(super) struct LeftSource<'a, A> {
    pub(super) mat: Mat<'a, A>,
    pub(super) transposed: bool,
}

impl<A: Element> LeftSource<'_, A> {
    /// M, K
    pub(super) fn shape(self) -> [usize; 2] {
        let Self { mat, transposed } = self;
        if transposed { [mat.cols(), mat.rows()] } else { [mat.rows(), mat.cols()] }
    }

    /// Parts of the rows, all terms of which fit into the room.
    pub(super) fn rows_in_room(self) -> impl Iterator<Item = Range<usize>> {
        let [m, k] = self.shape();
        parts(m, (2 * LEFT_ROOM / k.max(1)).max(BLOCK_ROWS), 1)
    }

    pub(super) fn part(self, rows: Range<usize>, terms: Range<usize>) -> Self {
        let (down, across) = if self.transposed { (terms, rows) } else { (rows, terms) };
        Self { mat: self.mat.rows_range(down).cols_range(across), ..self }
    }
}

/// A block of a product.
pub(super) struct Block<'a> {
    pub(super) member: Member<'a>,
    pub(super) rows: Range<usize>,
    pub(super) cols: Range<usize>,
    pub(super) a: Left<'a>,
    pub(super) b: PackedRef<'a>,
}

/// Ranges that cover `0..len`, of at most `most` each, and but for the last multiples of `granule` about as long as
/// each other.
fn parts(len: usize, most: usize, granule: usize) -> impl Iterator<Item = Range<usize>> {
    let count = len.div_ceil(most.max(granule)).max(1);
    let each = len.div_ceil(count).next_multiple_of(granule);
    (0..count)
        .map(move |i| (i * each).min(len)..((i + 1) * each).min(len))
        .filter(move |part| len == 0 || !part.is_empty())
}

impl Products<'_> {
    /// C = start + A B in bf16 for A (M, K) or its transpose, C (M, N).
    pub(super) fn product_in_blocks<A: Element, B: Element>(
        self,
        a: LeftSource<'_, A>,
        b: Right<'_, B>,
        start: Start<'_>,
        c: MatMut<'_>,
    ) {
        let ([m, k], n) = (a.shape(), c.cols());
        // What is packed is so with all of its terms.
        let most_terms = match b {
            Right::Packed(_) => k,
            _ => {
                let most = (2 * LEFT_ROOM / m.max(1)).min(BLOCK_LEFT / m.clamp(1, BLOCK_ROWS));
                most.clamp(TERMS, MOST_TERMS) / TERMS * TERMS
            }
        };
        let most_rows = (2 * LEFT_ROOM / most_terms.max(1)).max(BLOCK_ROWS);
        let c = Shared::new(c);
        let mut room = lock(&self.scratch.left);
        for rows in parts(m, most_rows, 1) {
            for terms in parts(k, most_terms, TERMS) {
                let left = self.left(a.part(rows.clone(), terms.clone()), &mut room);
                self.blocks(left, b.terms(terms.clone()), n, |block| {
                    let init = if terms.start == 0 { start.columns(block.cols.clone()) } else { Init::Keep };
                    let rows = rows.start + block.rows.start..rows.start + block.rows.end;
                    // SAFETY: blocks do not overlap.
                    let c = unsafe { c.write(rows) }.cols_range(block.cols);
                    gemm::product(gemm::Product { a: block.a, b: block.b, init, c: c.into() });
                });
            }
        }
    }

    /// A as products of this precision read it.
    pub(super) fn left<'r, A: Element>(self, a: LeftSource<'r, A>, room: &'r mut Buffer) -> Left<'r> {
        let [m, k] = a.shape();
        if self.precision != Precision::Bf16 {
            assert!(!a.transposed, "the transpose of what is not rounded");
            return Left::new(self.isa, self.precision, a.mat, room);
        }
        let tiles = LeftTiles::new(m, k);
        room.reserve(tiles.count() * tiles.len());
        let room = &mut room[..tiles.count() * tiles.len()];
        let to = Shared::new(MatMut::dense(room, tiles.count(), tiles.len()));
        self.team.divide(Work::pass(m * k), Cut { len: tiles.count(), granule: 1, parts: BLOCKS }, |_, part| {
            // SAFETY: parts do not overlap.
            let to = unsafe { to.write(part.clone()) };
            tiles.round(self.isa, a.mat, a.transposed, part, to.into_slice());
        });
        tiles.left(room)
    }

    /// Calls `each` with blocks that cover A B, (M, N), once. Blocks of columns are [`block_columns`] wide and begin at
    /// multiples of it.
    pub(super) fn blocks<B: Element>(self, a: Left<'_>, b: Right<'_, B>, n: usize, each: impl Fn(Block<'_>) + Sync) {
        let (m, k, wide) = (a.rows(), a.k(), block_columns(a.k()));
        let work = Work::product(m, k, n).on(self.isa, self.precision);
        let members = if self.team.shares(work) { self.team.size() } else { 1 };
        // Where there are too few columns for all members, rows are cut too, by whole tiles.
        let (across, granule) = (n.div_ceil(wide), a.granule());
        let wanted = if members == 1 { 1 } else { (BLOCKS * members).div_ceil(across.max(1)) };
        let tall = m.div_ceil(wanted).max(LEAST_ROWS).next_multiple_of(granule);
        let down = m.div_ceil(tall).max(1);
        let at_once = BLOCK_ROWS / granule * granule;
        self.team.divide(work, Cut { len: across * down, granule: 1, parts: BLOCKS }, |member, part| {
            let mut right = lock(&self.scratch.rights[member.rank()]);
            for column in part.start / down..part.end.div_ceil(down) {
                let [first, end] = [part.start, part.end].map(|at| at.clamp(column * down, (column + 1) * down));
                let (rows, cols) = ((first - column * down) * tall..m.min((end - column * down) * tall), column * wide);
                let cols = cols..n.min(cols + wide);
                let b = b.packed(&mut right, cols.clone());
                for r0 in rows.clone().step_by(at_once) {
                    let rows = r0..rows.end.min(r0 + at_once);
                    each(Block { member, a: a.rows_range(rows.clone()), b, rows, cols: cols.clone() });
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_whole_range_once() {
        for (len, most, granule) in
            [(0, 5, 1), (1, 1, 32), (700, 1024, 32), (10_000, 1024, 32), (650, 300, 1), (97, 32, 32)]
        {
            let found: Vec<Range<usize>> = parts(len, most, granule).collect();
            assert_eq!(found.iter().map(ExactSizeIterator::len).sum::<usize>(), len, "{len} {most} {granule}");
            assert!(
                found.windows(2).all(|pair| pair[0].end == pair[1].start && pair[0].end % granule == 0),
                "{found:?}"
            );
            assert!(found.iter().all(|part| part.len() <= most.max(granule).next_multiple_of(granule)), "{found:?}");
            assert!(!found.is_empty());
        }
    }
}
