//! Matrix products and passes over rows, split over a team.
//!
//! A product's bits do not depend on how it is split (each element is one chain over k), so the split follows the shape
//! and the team alone. Sums as long as a vocabulary are cut into chains of a fixed length ([`Products::add_product`]),
//! since the rounding error of a chain grows with its length.

use super::blocks::{Block, LeftSource};
use super::cost::Work;
use super::right::Right;
use super::scratch::{GRANULE, Scratch, block_columns, lock};
use super::shared::Shared;
use super::team::{Cut, Team};
use std::ops::Range;
use unroll_kernels::embedding::{self, Distinct};
use unroll_kernels::gemm::{self, Init, Left, Packed, PackedRef, Precision};
use unroll_kernels::mat::padded;
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::{Buffer, Element, Isa, Mat, MatMut, rows};

/// Elements of a cache line.
const LINE: usize = 16;

/// How many terms one chain has of a sum that may be as long as a vocabulary. Each chain costs a pass over the result.
///
/// The gradient of one row of inputs of a head of 300,002 words, with values from -2.7 to 1.5, was off by 8.1e-4 as one
/// chain, by 8.3e-6 in chains of 2,048, and by 3.1e-6 in NumPy. In bf16 chains are longer: operands are rounded anyway,
/// and a pass costs more beside the faster product.
fn chain(precision: Precision) -> usize {
    if precision == Precision::Bf16 { 8192 } else { 2048 }
}

/// How the result of a product is cut among members, where operands are read in place and not packed.
struct Parts {
    rows: usize,
    cols: usize,
    /// All rows and some columns, or else some rows and all columns.
    wide: bool,
    cut: Cut,
}

impl Parts {
    fn new(members: usize, rows: usize, cols: usize) -> Self {
        // Columns keep each thread's part of the right operand its own; rows serve narrow results.
        let wide = cols >= 2 * GRANULE * members || rows < 8 * members;
        let (len, granule) = if wide { (cols, GRANULE) } else { (rows, 16) };
        Self { rows, cols, wide, cut: Cut { len, granule, parts: 8 } }
    }

    /// The rows and columns of a part.
    fn of(&self, part: Range<usize>) -> (Range<usize>, Range<usize>) {
        if self.wide { (0..self.rows, part) } else { (part, 0..self.cols) }
    }
}

/// A block of a product for [`Products::product_through`], whose `finish` turns it into what is kept.
pub(crate) struct Finish<'a, E> {
    /// Its rows and columns in C.
    pub(crate) rows: Range<usize>,
    pub(crate) cols: Range<usize>,
    /// The block itself, which nobody reads afterwards.
    pub(crate) block: MatMut<'a>,
    /// The place in C for what is kept of it.
    pub(crate) c: MatMut<'a, E>,
    /// The place for its notes.
    pub(crate) notes: MatMut<'a>,
}

/// The initial value of C, to which a product is added.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    Zero,
    /// What C holds.
    Keep,
    /// The same N values in every row.
    Bias(&'a [f32]),
}

impl<'a> Start<'a> {
    pub(super) fn columns(self, cols: Range<usize>) -> Init<'a> {
        match self {
            Self::Zero => Init::Zero,
            Self::Keep => Init::Keep,
            Self::Bias(bias) => Init::Bias(&bias[cols]),
        }
    }
}

/// Products on a team, with its scratch.
#[derive(Clone, Copy)]
pub(crate) struct Products<'a> {
    pub(crate) team: &'a Team<'a>,
    pub(crate) isa: Isa,
    /// What the operands of products are rounded to.
    pub(crate) precision: Precision,
    pub(crate) scratch: &'a Scratch,
}

impl Products<'_> {
    /// C = start + A B for A (M, K), C (M, N).
    pub(crate) fn product<E: Element>(self, a: Mat<'_, E>, b: Right<'_>, start: Start<'_>, c: MatMut<'_>) {
        let (m, n) = (c.rows(), c.cols());
        if self.precision == Precision::Bf16 {
            return self.product_in_blocks(LeftSource { mat: a, transposed: false }, b, start, c);
        }
        let (b, b_transposed) = match b {
            Right::Packed(b) => return self.packed_product(a, b, start, c),
            Right::Plain(b) => (b, false),
            Right::Transposed(b) => (b, true),
        };
        let c = Shared::new(c);
        let parts = Parts::new(self.team.size(), m, n);
        self.team.divide(Work::product(m, a.cols(), n).on(self.isa, self.precision), parts.cut, |member, part| {
            let (rows, cols) = parts.of(part);
            let b = if b_transposed { b.rows_range(cols.clone()) } else { b.cols_range(cols.clone()) };
            // SAFETY: parts do not overlap.
            let c = unsafe { c.write(rows.clone()) }.cols_range(cols.clone());
            self.scratch.with(member, |scratch| {
                let a = a.rows_range(rows);
                let (precision, init) = (self.precision, start.columns(cols));
                gemm::direct_product(self.isa, gemm::DirectProduct { a, b, b_transposed, precision, init, c, scratch });
            });
        });
    }

    /// C += A B for A (M, K), C (M, N) and a K of any length: so many terms are one chain ([`chain`]), and chains are
    /// added to C in their order.
    pub(crate) fn add_product<E: Element>(self, a: Mat<'_, E>, b: Right<'_>, mut c: MatMut<'_>) {
        let (m, n, k, chain) = (c.rows(), c.cols(), a.cols(), chain(self.precision));
        if k <= chain {
            return self.product(a, b, Start::Keep, c);
        }
        let mut room = lock(&self.scratch.chain);
        room.reserve(m * padded(n));
        for first in (0..k).step_by(chain) {
            let terms = first..k.min(first + chain);
            let mut sum = MatMut::new(&mut room, m, n, padded(n));
            self.product(a.cols_range(terms.clone()), b.terms(terms), Start::Zero, sum.reborrow());
            self.add(sum.as_ref(), c.reborrow());
        }
    }

    /// C = start + A B for A (M, K) and a packed B with one group, C (M, N).
    pub(crate) fn packed_product<E: Element>(self, a: Mat<'_, E>, b: PackedRef<'_>, start: Start<'_>, c: MatMut<'_>) {
        if self.precision == Precision::Bf16 {
            return self.product_in_blocks(LeftSource { mat: a, transposed: false }, Right::<f32>::Packed(b), start, c);
        }
        let (m, n) = (c.rows(), c.cols());
        let c = Shared::new(c);
        let cut = Cut { len: n, granule: b.granule(), parts: if self.precision == Precision::F32 { 8 } else { 1 } };
        self.team.divide(Work::product(m, a.cols(), n).on(self.isa, self.precision), cut, |member, cols| {
            // SAFETY: parts do not overlap.
            let c = unsafe { c.write(0..m) }.cols_range(cols.clone());
            self.scratch.with(member, |scratch| {
                let a = Left::of(b, a, scratch);
                let (b, init) = (b.cols_range(cols.clone()), start.columns(cols));
                gemm::product(gemm::Product { a, b, init, c: c.into() });
            });
        });
    }

    /// The same into a C that may be kept in bf16: block after block, each rounded while it is in the second-level
    /// cache.
    pub(crate) fn product_into<A: Element, E: Element>(
        self,
        a: Mat<'_, A>,
        b: Right<'_>,
        start: Start<'_>,
        c: MatMut<'_, E>,
    ) {
        match E::plain_mut(c) {
            Ok(c) => self.product(a, b, start, c),
            Err(c) => {
                let (n, nothing) = (c.cols(), MatMut::dense(&mut [], c.rows(), 0));
                self.product_through((a, b, start), n, (c, nothing), |Finish { block, c, .. }| {
                    rows::convert(self.isa, block.as_ref(), c);
                });
            }
        }
    }

    /// C = start + A B block after block, each of which `finish` turns into what is kept of it while it is in the
    /// second-level cache. Blocks of columns are [`block_columns`] wide and begin at multiples of it.
    ///
    /// `c` is (M, N), or (M, 0) where nothing is kept; `notes` are (M, n) for each block of columns, side by side.
    pub(crate) fn product_through<A: Element, E: Element>(
        self,
        (a, b, start): (Mat<'_, A>, Right<'_>, Start<'_>),
        n: usize,
        (c, notes): (MatMut<'_, E>, MatMut<'_>),
        finish: impl Fn(Finish<'_, E>) + Sync,
    ) {
        let (k, wide) = (a.cols(), block_columns(a.cols()));
        let (columns, note) = (c.cols(), notes.cols() / n.div_ceil(wide).max(1));
        let (c, notes) = (Shared::new(c), Shared::new(notes));
        let mut room = lock(&self.scratch.left);
        let a = LeftSource { mat: a, transposed: false };
        for rows in a.rows_in_room() {
            let left = self.left(a.part(rows.clone(), 0..k), &mut room);
            self.blocks(left, b, n, |Block { member, rows: own, cols, a, b }| {
                let rows = rows.start + own.start..rows.start + own.end;
                let mut block = lock(&self.scratch.blocks[member.rank()]);
                let mut block = MatMut::dense(&mut block, rows.len(), cols.len());
                gemm::product(gemm::Product { a, b, init: start.columns(cols.clone()), c: block.reborrow().into() });
                // SAFETY: blocks do not overlap.
                let (c, notes) = unsafe { (c.write(rows.clone()), notes.write(rows.clone())) };
                let (c, at) = (c.cols_range(cols.start.min(columns)..cols.end.min(columns)), cols.start / wide * note);
                let notes = notes.cols_range(at..at + note);
                finish(Finish { rows, cols, block, c, notes });
            });
        }
    }

    /// C = start + A^T B for A (R, M), B (R, N), C (M, N): the gradient of weights.
    pub(crate) fn outer<A: Element, B: Element>(self, a: Mat<'_, A>, b: Mat<'_, B>, start: Start<'_>, c: MatMut<'_>) {
        let (m, n) = (c.rows(), c.cols());
        let work = Work::product(m, a.rows(), n).on(self.isa, self.precision);
        if self.precision == Precision::Bf16 {
            return self.product_in_blocks(LeftSource { mat: a, transposed: true }, Right::Plain(b), start, c);
        }
        if self.precision == Precision::F32 && self.isa != Isa::PORTABLE && self.team.shares(work) {
            let mut room = lock(&self.scratch.left);
            let (Some(a), Some(b)) = (A::plain(a), B::plain(b)) else {
                unreachable!("operands in bf16 of a product in f32")
            };
            let a = self.transpose(a, &mut room);
            return self.product(a, Right::Plain(b), start, c);
        }
        let parts = Parts::new(self.team.size(), m, n);
        let c = Shared::new(c);
        self.team.divide(work, parts.cut, |member, part| {
            let (rows, cols) = parts.of(part);
            // SAFETY: parts do not overlap.
            let c = unsafe { c.write(rows.clone()) }.cols_range(cols.clone());
            self.scratch.with(member, |scratch| {
                let (a, b) = (a.cols_range(rows), b.cols_range(cols.clone()));
                let (precision, init) = (self.precision, start.columns(cols));
                gemm::outer_product(self.isa, gemm::OuterProduct { a, b, precision, init, c, scratch });
            });
        });
    }

    /// The transpose of `a` (R, M), in `room`. One for the team: otherwise each member would transpose all of it, a
    /// twentieth of the whole product where two share 1,024 columns.
    fn transpose<'r>(self, a: Mat<'_>, room: &'r mut Buffer) -> Mat<'r> {
        // Whole lines, and never a power of two, whose rows would meet in the same sets of the cache.
        let (rows, width) = (a.cols(), a.rows().next_multiple_of(LINE) + LINE);
        room.reserve(rows * width);
        let room = &mut room[..rows * width];
        let to = Shared::new(MatMut::dense(room, rows, width));
        self.team.divide(Work::pass(2 * rows * width), Cut { len: rows, granule: LINE, parts: 4 }, |_, rows| {
            // SAFETY: parts do not overlap.
            gemm::transpose(self.isa, a.cols_range(rows.clone()), unsafe { to.write(rows) });
        });
        Mat::new(room, rows, a.rows(), width)
    }

    /// Calls `body(rows, part)` with disjoint row ranges of `c` that cover it.
    pub(crate) fn by_rows<E: Element>(self, c: MatMut<'_, E>, body: impl Fn(Range<usize>, MatMut<'_, E>) + Sync) {
        self.by_rows_of([c], |rows, [part]| body(rows, part));
    }

    /// The same for matrices of as many rows, cut alike.
    pub(crate) fn by_rows_of<const C: usize, E: Element>(
        self,
        c: [MatMut<'_, E>; C],
        body: impl Fn(Range<usize>, [MatMut<'_, E>; C]) + Sync,
    ) {
        let (m, n) = (c[0].rows(), c.iter().map(MatMut::cols).sum::<usize>());
        assert!(c.iter().all(|c| c.rows() == m), "matrices of different numbers of rows");
        let c = c.map(Shared::new);
        let _span = profile::enter(Phase::ElementWise);
        self.team.divide(Work::pass(m * n), Cut { len: m, granule: 1, parts: 8 }, |_, rows| {
            // SAFETY: parts do not overlap.
            body(rows.clone(), std::array::from_fn(|i| unsafe { c[i].write(rows.clone()) }));
        });
    }

    /// Calls `body(columns, part)` with disjoint column ranges of `c` that cover it, cut at multiples of `granule`.
    pub(crate) fn by_columns(
        self,
        work: Work,
        c: MatMut<'_>,
        granule: usize,
        body: impl Fn(Range<usize>, MatMut<'_>) + Sync,
    ) {
        let (m, n) = (c.rows(), c.cols());
        let c = Shared::new(c);
        self.team.divide(work, Cut { len: n, granule, parts: 8 }, |_, cols| {
            // SAFETY: parts do not overlap.
            body(cols.clone(), unsafe { c.write(0..m) }.cols_range(cols));
        });
    }

    /// y = x
    pub(crate) fn copy(self, x: Mat<'_>, y: MatMut<'_>) {
        self.by_rows(y, |rows, part| rows::copy(x.rows_range(rows), part));
    }

    /// y += x
    pub(crate) fn add(self, x: Mat<'_>, y: MatMut<'_>) {
        self.by_rows(y, |rows, part| rows::add(self.isa, x.rows_range(rows), part));
    }

    /// `sums[j] += the sum of column j of x`.
    pub(crate) fn add_column_sums<E: Element>(self, x: Mat<'_, E>, sums: &mut [f32]) {
        let n = sums.len();
        self.by_columns(Work::pass(x.rows() * n), MatMut::dense(sums, 1, n), GRANULE, |cols, mut part| {
            rows::add_column_sums(self.isa, x.cols_range(cols), part.row_mut(0));
        });
    }

    /// `sums[j] += the sum of column j of a b`, a product element by element.
    pub(crate) fn add_product_sums<E: Element>(self, a: Mat<'_, E>, b: Mat<'_>, sums: &mut [f32]) {
        let n = sums.len();
        self.by_columns(Work::pass(2 * a.rows() * n), MatMut::dense(sums, 1, n), GRANULE, |cols, mut part| {
            rows::add_product_sums(self.isa, a.cols_range(cols.clone()), b.cols_range(cols), part.row_mut(0));
        });
    }

    /// Row u of `sums` = the sum of the rows of `x` whose token is the u-th distinct one.
    pub(crate) fn sum_by_token<E: Element>(self, x: Mat<'_, E>, distinct: &Distinct, sums: MatMut<'_>) {
        self.by_columns(Work::pass(x.rows() * x.cols()), sums, GRANULE, |cols, part| {
            embedding::sum_by_token(self.isa, x.cols_range(cols), distinct, part);
        });
    }

    /// `table[tokens[u]] += rows[u]`
    pub(crate) fn add_rows(self, rows: Mat<'_>, tokens: &[u32], table: MatMut<'_>) {
        self.by_columns(Work::pass(rows.rows() * rows.cols()), table, GRANULE, |cols, part| {
            embedding::add_rows(self.isa, rows.cols_range(cols), tokens, part);
        });
    }

    /// Packs B, (K, groups x columns) or its transpose.
    pub(crate) fn pack<E: Element>(self, packed: &mut Packed, b: Mat<'_, E>, transposed: bool) {
        let (granule, whole) = (packed.granule(), packed.view_mut());
        let (blocks, parts) = (whole.cols().div_ceil(granule), self.team.parts());
        let mut rest = Some(whole);
        let next = |i: usize| {
            let whole = rest.take()?;
            let cut = (blocks * (i + 1) / parts - blocks * i / parts) * granule;
            let cut = cut.min(whole.cols());
            let (part, after) = whole.split_cols_at(cut);
            rest = Some(after);
            Some(part)
        };
        self.team.share_out(Work::pass(b.rows() * b.cols()), next, |mut part| {
            if transposed { part.pack_transposed(b) } else { part.pack(b) }
        });
    }

    /// Calls `body(elements, part)` with disjoint ranges of `data` that cover it, cut at multiples of `granule`.
    pub(crate) fn by_blocks(self, data: &mut [f32], granule: usize, body: impl Fn(Range<usize>, &mut [f32]) + Sync) {
        let len = data.len();
        let row = Shared::new(MatMut::dense(data, 1, len));
        let _span = profile::enter(Phase::ElementWise);
        self.team.divide(Work::pass(len), Cut { len, granule, parts: 8 }, |_, range| {
            // SAFETY: parts do not overlap.
            let mut part = unsafe { row.write(0..1) }.cols_range(range.clone());
            body(range, part.row_mut(0));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Crew;

    /// What is added is small beside the sum, as the shares of rare words are: a chain rounds most of it away.
    #[test]
    fn a_sum_as_long_as_a_vocabulary_stays_exact() {
        let (m, k, n) = (3, 150_001, 5);
        let value = |i: usize, j: usize| ((i * 7919 + j * 104_729) % 1000) as f32 / 1000.0;
        let a: Vec<f32> = (0..m * k).map(|i| value(i / k, i % k) / k as f32).collect();
        let b: Vec<f32> = (0..k * n).map(|i| 1.0 + value(i % n, i / n)).collect();
        let transposed: Vec<f32> = (0..n * k).map(|i| b[i % k * n + i / k]).collect();
        for (isa, threads) in [(Isa::best(), 1), (Isa::best(), 2), (Isa::PORTABLE, 1)] {
            let (crew, scratch) = (Crew::new(threads, 1).unwrap(), Scratch::new(threads, isa, Precision::F32));
            let products = Products { team: &crew.team(), isa, precision: Precision::F32, scratch: &scratch };
            for right in [Right::Plain(Mat::dense(&b, k, n)), Right::Transposed(Mat::dense(&transposed, n, k))] {
                let mut c = vec![0.25; m * n];
                products.add_product(Mat::dense(&a, m, k), right, MatMut::dense(&mut c, m, n));
                for (i, &found) in c.iter().enumerate() {
                    let terms = (0..k).map(|t| f64::from(a[i / n * k + t]) * f64::from(b[t * n + i % n]));
                    let meant = 0.25 + terms.sum::<f64>();
                    // A chain rounds each of its terms once, the sum each chain.
                    assert!((f64::from(found) / meant - 1.0).abs() < 1e-5, "{}: {found} for {meant}", isa.name());
                }
            }
        }
    }
}
