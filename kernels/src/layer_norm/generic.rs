//! Three passes over a row, which stays in the first-level cache: the mean, the variance about it, and the outputs.
//! Sums run on sixteen virtual lanes, those of the forward pass in four chains, so that their bits do not depend on the
//! registers' width. Backward one pass sums g and g n, a second writes.

use super::{Backward, Forward};
use crate::simd::{Kernel, Simd, Wide16};

/// The sum of `term` over the elements, in four chains; what stands beyond the row's end counts as `beyond`.
#[inline(always)]
fn sum<S: Simd>(s: S, x: &[f32], beyond: f32, term: impl Fn(S::F32) -> S::F32 + Copy) -> f32 {
    let mut sums = [Wide16::splat(s, 0.0); 4];
    let mut blocks = x.chunks_exact(64);
    for block in &mut blocks {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = sum.plus(s, Wide16::load(s, &block[16 * i..]).map(term));
        }
    }
    for piece in blocks.remainder().chunks(16) {
        sums[0] = sums[0].plus(s, Wide16::load_or(s, piece, beyond).map(term));
    }
    sums[0].plus(s, sums[1]).plus(s, sums[2].plus(s, sums[3])).sum(s)
}

/// The elements of a column vector from `at` on, or `usual` where there is none.
#[inline(always)]
fn columns<S: Simd>(s: S, of: Option<&[f32]>, at: usize, usual: f32) -> S::F32 {
    match of {
        Some(of) => s.load_partial(&of[at..]),
        None => s.splat(usual),
    }
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let width = self.x.cols();
        for r in 0..self.x.rows() {
            let x = self.x.row(r);
            let total = sum(
                s,
                x,
                0.0,
                #[inline(always)]
                |x| x,
            );
            let mean = total / width as f32;
            let middle = s.splat(mean);
            let squares = sum(
                s,
                x,
                mean,
                #[inline(always)]
                |x| {
                    let d = s.sub(x, middle);
                    s.mul(d, d)
                },
            );
            let scale = 1.0 / (squares / width as f32 + self.epsilon).sqrt();
            self.scale.row_mut(r)[0] = scale;
            let factor = s.splat(scale);
            let (normal, y) = (self.normal.row_mut(r), self.y.row_mut(r));
            for at in (0..width).step_by(S::LANES) {
                let n = s.mul(s.sub(s.load_partial(&x[at..]), middle), factor);
                s.store_partial(&mut normal[at..], n);
                let (gain, offset) = (columns(s, self.gain, at, 1.0), columns(s, self.offset, at, 0.0));
                s.store_partial(&mut y[at..], s.mul_add(n, gain, offset));
            }
        }
    }
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let width = self.dy.cols();
        for r in 0..self.dy.rows() {
            let (n, dy, scale) = (self.normal.row(r), self.dy.row(r), self.scale.row(r)[0]);
            let mut sums = [Wide16::splat(s, 0.0); 2];
            for at in (0..width).step_by(16) {
                let mut g = Wide16::load_or(s, &dy[at..], 0.0);
                if let Some(gain) = self.gain {
                    g = g.times(s, Wide16::load_or(s, &gain[at..], 0.0));
                }
                sums[0] = sums[0].plus(s, g);
                sums[1] = sums[1].plus(s, g.times(s, Wide16::load_or(s, &n[at..], 0.0)));
            }
            let mean = |sum: Wide16<S>| s.splat(sum.sum(s) / width as f32);
            let (mean, along, factor) = (mean(sums[0]), mean(sums[1]), s.splat(scale));
            let dx = self.dx.row_mut(r);
            for at in (0..width).step_by(S::LANES) {
                let g = s.mul(s.load_partial(&dy[at..]), columns(s, self.gain, at, 1.0));
                let inner = s.neg_mul_add(s.load_partial(&n[at..]), along, s.sub(g, mean));
                let sum = s.mul_add(inner, factor, s.load_partial(&dx[at..]));
                s.store_partial(&mut dx[at..], sum);
            }
        }
    }
}
