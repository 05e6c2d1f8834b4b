//! Single rows times a matrix that stays in the first-level cache meanwhile: the steps of a small recurrence.
//!
//! A row of a hundred elements takes a sixth of a microsecond, and as long again goes by between a product's entry and its
//! first multiply-add. So what is the same for all rows is looked at once, and a row is a loop and nothing else: up to
//! [`CHUNK`] vectors of C stay in registers and are chains enough to hide the latency of a multiply-add.

use super::pack::vectors;
use super::{PackedRef, Precision};
use crate::simd::Simd;

/// Vectors of C at a time: two panels on AVX-512, four elsewhere.
const CHUNK: usize = 8;

/// Panels of a chunk at most.
const PANELS: usize = 4;

/// Elements that B has at most: 64 KB. What does not stay in the first-level cache comes from the second as fast as single
/// rows can use it.
const MOST: usize = 1 << 14;

/// A packed matrix with one group, in f32.
#[derive(Clone, Copy)]
pub(crate) struct CachedPanels<'a> {
    panels: &'a [f32],
    k: usize,
    cols: usize,
    lanes: usize,
}

impl<'a> CachedPanels<'a> {
    /// `b`, if it is small enough, in f32 and of one group.
    pub(crate) fn new(b: PackedRef<'a>) -> Option<Self> {
        let fits = b.precision() == Precision::F32 && b.groups() == 1 && b.data().len() <= MOST;
        fits.then(|| Self { panels: b.data(), k: b.k(), cols: b.cols(), lanes: b.isa().lanes() })
    }

    /// c += a B, each element one chain of multiply-adds in the order of k: the bits of [`super::product`].
    ///
    /// # Panics
    ///
    /// When `a` has not K elements, `c` not one for each column, or B is packed for registers of another width.
    #[inline(always)]
    pub(crate) fn add_row<S: Simd>(&self, s: S, a: &[f32], c: &mut [f32]) {
        assert_eq!([a.len(), c.len(), S::LANES], [self.k, self.cols, self.lanes], "a, c and lanes of a row's product");
        let width = CHUNK * S::LANES;
        for (i, c) in c.chunks_mut(width).enumerate() {
            // All panels before a chunk's are full.
            let panels = &self.panels[i * width * self.k..];
            match c.len().div_ceil(S::LANES) {
                1 => chunk::<S, 1>(s, a, panels, c),
                2 => chunk::<S, 2>(s, a, panels, c),
                3 => chunk::<S, 3>(s, a, panels, c),
                4 => chunk::<S, 4>(s, a, panels, c),
                5 => chunk::<S, 5>(s, a, panels, c),
                6 => chunk::<S, 6>(s, a, panels, c),
                7 => chunk::<S, 7>(s, a, panels, c),
                _ => chunk::<S, CHUNK>(s, a, panels, c),
            }
        }
    }
}

/// The part of a row that NV vectors hold, the last of them perhaps in part.
#[inline(always)]
fn chunk<S: Simd, const NV: usize>(s: S, a: &[f32], panels: &[f32], c: &mut [f32]) {
    let per = const { vectors(S::LANES) };
    let count = NV.div_ceil(per);
    // The last panel has only the vectors that it needs.
    let width = |q: usize| S::LANES * if q + 1 < count { per } else { NV - q * per };
    assert!(panels.len() >= NV * S::LANES * a.len(), "the panels of {NV} vectors");
    let mut at = [panels.as_ptr(); PANELS];
    for q in 0..count {
        at[q] = panels.as_ptr().wrapping_add(q * per * S::LANES * a.len());
    }
    let (whole, rest) = c.split_at_mut((NV - 1) * S::LANES);
    let mut sums = [s.splat(0.0); NV];
    for v in 0..NV - 1 {
        sums[v] = s.load(&whole[v * S::LANES..]);
    }
    sums[NV - 1] = s.load_partial(rest);
    for &x in a {
        let x = s.splat(x);
        for v in 0..NV {
            // SAFETY: panel q has as many rows of `width(q)` as `a` has elements, and all panels lie within the slice, which
            // was looked at above; `at[q]` is at the row of `x`.
            let y = unsafe { s.load_ptr(at[v / per].add(v % per * S::LANES)) };
            sums[v] = s.mul_add(x, y, sums[v]);
        }
        for q in 0..count {
            // After the last row these may leave the slice.
            at[q] = at[q].wrapping_add(width(q));
        }
    }
    for v in 0..NV - 1 {
        s.store(&mut whole[v * S::LANES..], sums[v]);
    }
    s.store_partial(rest, sums[NV - 1]);
}
