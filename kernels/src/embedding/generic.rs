//! The vector bodies. A sum over the positions of a token keeps a block of columns in registers while it walks over
//! the rows, so each row is read once and the sum is written once.

use super::Distinct;
use crate::element::Element;
use crate::mat::{Mat, MatMut};
use crate::simd::{Kernel, Simd};

/// Vectors of a row that are summed together: enough to hide the latency of an addition.
const BLOCK: usize = 8;

/// out[r] = table[tokens[r]] + bias, rounded if `out` is in bf16
pub(super) struct GatherAdd<'a, E> {
    pub(super) table: Mat<'a>,
    /// None adds nothing.
    pub(super) bias: Option<&'a [f32]>,
    pub(super) tokens: &'a [u32],
    pub(super) out: MatMut<'a, E>,
}

impl<E: Element> Kernel for GatherAdd<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { table, bias, tokens, mut out } = self;
        for (r, &token) in tokens.iter().enumerate() {
            look_up_row(s, table, bias, token, out.row_mut(r));
        }
    }
}

/// out = table[token] + bias
#[inline(always)]
pub(crate) fn look_up_row<S: Simd, E: Element>(s: S, table: Mat<'_>, bias: Option<&[f32]>, token: u32, out: &mut [E]) {
    let row = table.row(token as usize);
    match bias {
        Some(bias) => add(s, row, bias, out),
        None => keep(s, row, out),
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
fn add<S: Simd, E: Element>(s: S, a: &[f32], b: &[f32], out: &mut [E]) {
    let whole = out.len() - out.len() % S::LANES;
    for c in (0..whole).step_by(S::LANES) {
        E::store(s, &mut out[c..], s.add(s.load(&a[c..]), s.load(&b[c..])));
    }
    E::store_partial(s, &mut out[whole..], s.add(s.load_partial(&a[whole..]), s.load_partial(&b[whole..])));
}

/// out = a
#[inline(always)]
fn keep<S: Simd, E: Element>(s: S, a: &[f32], out: &mut [E]) {
    let whole = out.len() - out.len() % S::LANES;
    for c in (0..whole).step_by(S::LANES) {
        E::store(s, &mut out[c..], s.load(&a[c..]));
    }
    E::store_partial(s, &mut out[whole..], s.load_partial(&a[whole..]));
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
pub(super) struct SumByToken<'a, E, const KEEP: bool> {
    pub(super) dout: Mat<'a, E>,
    pub(super) distinct: &'a Distinct,
    pub(super) out: MatMut<'a>,
}

impl<E: Element, const KEEP: bool> Kernel for SumByToken<'_, E, KEEP> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for (u, &token) in self.distinct.tokens().iter().enumerate() {
            let row = if KEEP { token as usize } else { u };
            sum_rows::<S, E, KEEP>(s, self.dout, self.distinct.positions(u), self.out.row_mut(row));
        }
    }
}

/// out = sum of the rows of `dout` at `positions`, in this order, started from `out` if `KEEP`, else from the first.
#[inline(always)]
fn sum_rows<S: Simd, E: Element, const KEEP: bool>(s: S, dout: Mat<'_, E>, positions: &[u32], out: &mut [f32]) {
    let (first, rest) = if KEEP { (None, positions) } else { (positions.first(), &positions[1..]) };
    if let Some(&first) = first {
        let first = dout.row(first as usize);
        for c in (0..out.len()).step_by(S::LANES) {
            s.store_partial(&mut out[c..], E::load_partial(s, &first[c..]));
        }
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
                *sum = s.add(*sum, E::load(s, &row[i * S::LANES..]));
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
            sum = s.add(sum, E::load_partial(s, &dout.row(r as usize)[c..end]));
        }
        s.store_partial(&mut out[c..end], sum);
    }
}
