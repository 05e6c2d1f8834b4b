//! The vector bodies. A scalar product has four chains of sixteen lanes; a weighted sum keeps a block of columns in
//! registers while it walks over the rows.

use super::{Pairs, Weighted};
use crate::mat::{Mat, MatMut};
use crate::simd::{Kernel, Simd, Wide16};

/// Chains of a scalar product: enough to hide the latency of a multiply-add.
const CHAINS: usize = 4;

/// Vectors of a row that are summed together, for the same reason.
const BLOCK: usize = 8;

pub(super) struct Dots<'a> {
    pub(super) a: Mat<'a>,
    pub(super) b: Mat<'a>,
    pub(super) pairs: Pairs<'a>,
    pub(super) out: &'a mut [f32],
}

impl Kernel for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { a, b, pairs: Pairs { left, right }, out } = self;
        for ((&l, &r), out) in left.iter().zip(right).zip(out) {
            *out = dot(s, a.row(l as usize), b.row(r as usize));
        }
    }
}

/// a . b, the same bits on every set.
#[inline(always)]
pub(crate) fn dot<S: Simd>(s: S, a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [Wide16::splat(s, 0.0); CHAINS];
    let whole = a.len() - a.len() % (16 * CHAINS);
    for c in (0..whole).step_by(16 * CHAINS) {
        for (i, sum) in sums.iter_mut().enumerate() {
            let at = c + 16 * i;
            *sum = sum.plus_product(s, Wide16::load(s, &a[at..]), Wide16::load(s, &b[at..]));
        }
    }
    for c in (whole..a.len()).step_by(16) {
        let chain = &mut sums[(c - whole) / 16];
        *chain = chain.plus_product(s, Wide16::load_or(s, &a[c..], 0.0), Wide16::load_or(s, &b[c..], 0.0));
    }
    sums[0].plus(s, sums[1]).plus(s, sums[2].plus(s, sums[3])).sum(s)
}

pub(super) struct AddWeighted<'a> {
    pub(super) x: Mat<'a>,
    pub(super) weighted: Weighted<'a>,
    pub(super) out: MatMut<'a>,
}

impl Kernel for AddWeighted<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let Weighted { starts, sources, weights } = self.weighted;
        for (g, group) in starts.windows(2).enumerate() {
            let entries = group[0] as usize..group[1] as usize;
            add_group(s, self.x, &sources[entries.clone()], &weights[entries], self.out.row_mut(g));
        }
    }
}

/// out += the sum of the weighted rows, in their order.
#[inline(always)]
fn add_group<S: Simd>(s: S, x: Mat<'_>, sources: &[u32], weights: &[f32], out: &mut [f32]) {
    if sources.is_empty() {
        return;
    }
    let width = BLOCK * S::LANES;
    let whole = out.len() - out.len() % width;
    for c in (0..whole).step_by(width) {
        let mut sums = [s.splat(0.0); BLOCK];
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = s.load(&out[c + i * S::LANES..]);
        }
        for (&source, &weight) in sources.iter().zip(weights) {
            let (row, weight) = (&x.row(source as usize)[c..c + width], s.splat(weight));
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = s.mul_add(weight, s.load(&row[i * S::LANES..]), *sum);
            }
        }
        for (i, &sum) in sums.iter().enumerate() {
            s.store(&mut out[c + i * S::LANES..], sum);
        }
    }
    for c in (whole..out.len()).step_by(S::LANES) {
        let end = out.len().min(c + S::LANES);
        let mut sum = s.load_partial(&out[c..end]);
        for (&source, &weight) in sources.iter().zip(weights) {
            sum = s.mul_add(s.splat(weight), s.load_partial(&x.row(source as usize)[c..end]), sum);
        }
        s.store_partial(&mut out[c..end], sum);
    }
}
