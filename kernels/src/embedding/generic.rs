//! The vector bodies. A sum over the positions of a token keeps a block of columns in registers while it walks over
//! the rows, so each row is read once and the sum is written once.

use super::Distinct;
use crate::mat::{Mat, MatMut};
use crate::simd::{Kernel, Simd};

/// Vectors of a row that are summed together: enough to hide the latency of an addition.
const BLOCK: usize = 8;

/// out[r] = table[tokens[r]] + bias
pub(super) struct GatherAdd<'a> {
    pub(super) table: Mat<'a>,
    pub(super) bias: &'a [f32],
    pub(super) tokens: &'a [u32],
    pub(super) out: MatMut<'a>,
}

impl Kernel for GatherAdd<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for (r, &token) in self.tokens.iter().enumerate() {
            add(s, self.table.row(token as usize), self.bias, self.out.row_mut(r));
        }
    }
}

/// table[tokens[u]] += rows[u]
pub(super) struct AddRows<'a> {
    pub(super) rows: Mat<'a>,
    pub(super) tokens: &'a [u32],
    pub(super) table: MatMut<'a>,
}

impl Kernel for AddRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for (u, &token) in self.tokens.iter().enumerate() {
            add_to(s, self.rows.row(u), self.table.row_mut(token as usize));
        }
    }
}

/// out = a + b
#[inline(always)]
fn add<S: Simd>(s: S, a: &[f32], b: &[f32], out: &mut [f32]) {
    let whole = out.len() - out.len() % S::LANES;
    for c in (0..whole).step_by(S::LANES) {
        s.store(&mut out[c..], s.add(s.load(&a[c..]), s.load(&b[c..])));
    }
    s.store_partial(&mut out[whole..], s.add(s.load_partial(&a[whole..]), s.load_partial(&b[whole..])));
}

/// out += a
#[inline(always)]
fn add_to<S: Simd>(s: S, a: &[f32], out: &mut [f32]) {
    let whole = out.len() - out.len() % S::LANES;
    for c in (0..whole).step_by(S::LANES) {
        let sum = s.add(s.load(&out[c..]), s.load(&a[c..]));
        s.store(&mut out[c..], sum);
    }
    let sum = s.add(s.load_partial(&out[whole..]), s.load_partial(&a[whole..]));
    s.store_partial(&mut out[whole..], sum);
}

/// Sums rows of equal tokens: into row u of `out` if `KEEP` is false, else on top of row `tokens[u]`.
pub(super) struct SumByToken<'a, const KEEP: bool> {
    pub(super) dout: Mat<'a>,
    pub(super) distinct: &'a Distinct,
    pub(super) out: MatMut<'a>,
}

impl<const KEEP: bool> Kernel for SumByToken<'_, KEEP> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for (u, &token) in self.distinct.tokens().iter().enumerate() {
            let row = if KEEP { token as usize } else { u };
            sum_rows::<S, KEEP>(s, self.dout, self.distinct.positions(u), self.out.row_mut(row));
        }
    }
}

/// out = sum of the rows of `dout` at `positions`, in this order, started from `out` if `KEEP`, else from the first.
#[inline(always)]
fn sum_rows<S: Simd, const KEEP: bool>(s: S, dout: Mat<'_>, positions: &[u32], out: &mut [f32]) {
    let (first, rest) = if KEEP { (None, positions) } else { (positions.first(), &positions[1..]) };
    if let Some(&first) = first {
        out.copy_from_slice(dout.row(first as usize));
    }
    let width = BLOCK * S::LANES;
    let whole = out.len() - out.len() % width;
    for c in (0..whole).step_by(width) {
        let mut sums = [s.splat(0.0); BLOCK];
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = s.load(&out[c + i * S::LANES..]);
        }
        for &r in rest {
            let row = &dout.row(r as usize)[c..c + width];
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = s.add(*sum, s.load(&row[i * S::LANES..]));
            }
        }
        for (i, &sum) in sums.iter().enumerate() {
            s.store(&mut out[c + i * S::LANES..], sum);
        }
    }
    for c in (whole..out.len()).step_by(S::LANES) {
        let end = out.len().min(c + S::LANES);
        let mut sum = s.load_partial(&out[c..end]);
        for &r in rest {
            sum = s.add(sum, s.load_partial(&dout.row(r as usize)[c..end]));
        }
        s.store_partial(&mut out[c..end], sum);
    }
}
