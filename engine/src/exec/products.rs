//! Matrix products and passes over rows, split over a team.
//!
//! A product's bits do not depend on how it is split (each element is one chain over k), so the split follows the shape
//! and the team alone.

use super::cost::Work;
use super::crew::Team;
use super::member::Member;
use super::shared::Shared;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use unroll_kernels::embedding::{self, Distinct};
use unroll_kernels::gemm::{self, Init, Left, Packed, PackedRef, Precision};
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::{Buffer, Isa, Mat, MatMut, rows};

/// Columns are split at multiples of this: a multiple of every set's plain panel.
const GRANULE: usize = 64;

/// One buffer for each member of a team, that products pack blocks of operands into. Made at its full size, so that it
/// does not matter in which step a member first takes part.
pub(crate) struct Scratch(Vec<Mutex<Buffer>>);

impl Scratch {
    pub(crate) fn new(members: usize) -> Self {
        Self((0..members).map(|_| Mutex::new(Buffer::new(gemm::SCRATCH))).collect())
    }

    /// The buffer of a member.
    pub(super) fn of(&self, member: Member<'_>) -> &Mutex<Buffer> {
        &self.0[member.rank()]
    }

    fn with<R>(&self, member: Member<'_>, body: impl FnOnce(&mut Buffer) -> R) -> R {
        body(&mut self.of(member).lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A member's part of a product's result: all rows and some columns, or some rows and all columns.
fn part(member: Member<'_>, precision: Precision, rows: usize, cols: usize) -> (Range<usize>, Range<usize>) {
    let wide = match precision {
        // Columns keep each thread's part of the right operand its own; rows serve narrow results.
        Precision::F32 | Precision::Int8 => cols >= 2 * GRANULE * member.size() || rows < 8 * member.size(),
        // Each thread rounds all of the operand that is not cut: the smaller one.
        Precision::Bf16 => cols >= rows || rows < GRANULE * member.size(),
    };
    if wide { (0..rows, member.share(cols, GRANULE)) } else { (member.share(rows, 16), 0..cols) }
}

/// An operand on the right, as it lies in memory.
#[derive(Clone, Copy)]
pub(crate) enum Right<'a> {
    /// (K, N)
    Plain(Mat<'a>),
    /// (N, K), used transposed.
    Transposed(Mat<'a>),
    /// (K, N), packed with one group.
    Packed(PackedRef<'a>),
}

/// What a product starts from.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    Zero,
    Keep,
    /// N values, the same for every row.
    Bias(&'a [f32]),
}

impl<'a> Start<'a> {
    fn columns(self, cols: Range<usize>) -> Init<'a> {
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
    pub(crate) fn product(self, a: Mat<'_>, b: Right<'_>, start: Start<'_>, c: MatMut<'_>) {
        let (m, n) = (c.rows(), c.cols());
        let (b, b_transposed) = match b {
            Right::Packed(b) => return self.packed_product(a, b, start, c),
            Right::Plain(b) => (b, false),
            Right::Transposed(b) => (b, true),
        };
        let c = Shared::new(c);
        self.team.run(Work::product(m, a.cols(), n).on(self.isa, self.precision), |member| {
            let (rows, cols) = part(member, self.precision, m, n);
            if rows.is_empty() || cols.is_empty() {
                return;
            }
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

    /// C = start + A B for A (M, K) and a packed B with one group, C (M, N).
    pub(crate) fn packed_product(self, a: Mat<'_>, b: PackedRef<'_>, start: Start<'_>, c: MatMut<'_>) {
        let (m, n) = (c.rows(), c.cols());
        let c = Shared::new(c);
        self.team.run(Work::product(m, a.cols(), n).on(self.isa, self.precision), |member| {
            let cols = member.share(n, b.granule());
            if cols.is_empty() {
                return;
            }
            // SAFETY: parts do not overlap.
            let c = unsafe { c.write(0..m) }.cols_range(cols.clone());
            self.scratch.with(member, |scratch| {
                let a = Left::of(b, a, scratch);
                let (b, init) = (b.cols_range(cols.clone()), start.columns(cols));
                gemm::product(gemm::Product { a, b, init, c: c.into() });
            });
        });
    }

    /// C = start + A^T B for A (R, M), B (R, N), C (M, N): the gradient of weights.
    pub(crate) fn outer(self, a: Mat<'_>, b: Mat<'_>, start: Start<'_>, c: MatMut<'_>) {
        let (m, n) = (c.rows(), c.cols());
        let c = Shared::new(c);
        self.team.run(Work::product(m, a.rows(), n).on(self.isa, self.precision), |member| {
            let (rows, cols) = part(member, self.precision, m, n);
            if rows.is_empty() || cols.is_empty() {
                return;
            }
            // SAFETY: parts do not overlap.
            let c = unsafe { c.write(rows.clone()) }.cols_range(cols.clone());
            self.scratch.with(member, |scratch| {
                let (a, b) = (a.cols_range(rows), b.cols_range(cols.clone()));
                let (precision, init) = (self.precision, start.columns(cols));
                gemm::outer_product(self.isa, gemm::OuterProduct { a, b, precision, init, c, scratch });
            });
        });
    }

    /// Calls `body(rows, part)` with disjoint row ranges of `c` that cover it.
    pub(crate) fn by_rows(self, c: MatMut<'_>, body: impl Fn(Range<usize>, MatMut<'_>) + Sync) {
        let (m, n) = (c.rows(), c.cols());
        let c = Shared::new(c);
        let _span = profile::enter(Phase::ElementWise);
        self.team.run(Work::pass(m * n), |member| {
            let rows = member.share(m, 1);
            if !rows.is_empty() {
                // SAFETY: parts do not overlap.
                body(rows.clone(), unsafe { c.write(rows) });
            }
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
        self.team.run(work, |member| {
            let cols = member.share(n, granule);
            if !cols.is_empty() {
                // SAFETY: parts do not overlap.
                body(cols.clone(), unsafe { c.write(0..m) }.cols_range(cols));
            }
        });
    }

    /// `sums[j] += the sum of column j of x`.
    pub(crate) fn add_column_sums(self, x: Mat<'_>, sums: &mut [f32]) {
        let n = sums.len();
        self.by_columns(Work::pass(x.rows() * n), MatMut::dense(sums, 1, n), GRANULE, |cols, mut part| {
            rows::add_column_sums(self.isa, x.cols_range(cols), part.row_mut(0));
        });
    }

    /// Row u of `sums` = the sum of the rows of `x` whose token is the u-th distinct one.
    pub(crate) fn sum_by_token(self, x: Mat<'_>, distinct: &Distinct, sums: MatMut<'_>) {
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
    pub(crate) fn pack(self, packed: &mut Packed, b: Mat<'_>, transposed: bool) {
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
        self.team.run(Work::pass(len), |member| {
            let range = member.share(len, granule);
            if !range.is_empty() {
                // SAFETY: parts do not overlap.
                let mut part = unsafe { row.write(0..1) }.cols_range(range.clone());
                body(range, part.row_mut(0));
            }
        });
    }
}
