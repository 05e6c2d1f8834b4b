//! Outputs and the inputs of their windows. A row's part of some vectors stays in registers while the inputs of its window
//! pass by; neighbouring windows share most of theirs, so that these come from the first-level cache.

use super::generic::{Columns, columns, load, logistic, store};
use super::{Descend, Window};
use crate::mat::{Mat, MatMut};
use crate::pairs::dot;
use crate::simd::{Kernel, Simd, Wide16, fetch, prefetch};

/// See [`super::pairs`].
pub(super) struct Bands<'a> {
    pub(super) inputs: Mat<'a>,
    pub(super) outputs: Mat<'a>,
    pub(super) windows: &'a [Window],
    /// One a pair, in the order of outputs and their inputs.
    pub(super) logits: &'a mut [f32],
    pub(super) dinputs: MatMut<'a>,
    pub(super) doutputs: MatMut<'a>,
}

impl Kernel for Bands<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let Self { inputs, outputs, windows, logits, dinputs, doutputs } = self;
        let mut pair = 0;
        for (m, window) in windows.iter().enumerate() {
            let y = outputs.row(m);
            for n in window.inputs() {
                logits[pair] = dot(s, inputs.row(n), y);
                pair += 1;
            }
        }
        let mut sum = Wide16::splat(s, 0.0);
        for logits in logits.chunks_mut(16) {
            let z = Wide16::load_or(s, logits, 0.0);
            let (slope, loss) = logistic(s, z, Wide16::splat(s, 1.0));
            if logits.len() == 16 {
                sum = sum.plus(s, loss);
            } else {
                // A pair that is not there has no loss.
                let mut some = [0.0; 16];
                loss.store_partial(s, &mut some[..logits.len()]);
                sum = sum.plus(s, Wide16::load(s, &some));
            }
            slope.store_partial(s, logits);
        }
        columns(s, inputs.cols(), Gradients { inputs, outputs, windows, slopes: logits, dinputs, doutputs });
        f64::from(sum.sum(s))
    }
}

struct Gradients<'a> {
    inputs: Mat<'a>,
    outputs: Mat<'a>,
    windows: &'a [Window],
    slopes: &'a [f32],
    dinputs: MatMut<'a>,
    doutputs: MatMut<'a>,
}

impl Columns for Gradients<'_> {
    const TILE: bool = false;

    #[inline(always)]
    fn run<S: Simd, const C: usize>(&mut self, s: S, at: usize, width: usize) {
        let part = at..at + width;
        let mut pair = 0;
        for (m, window) in self.windows.iter().enumerate() {
            let y: [S::F32; C] = load(s, &self.outputs.row(m)[part.clone()]);
            let mut sums = [s.splat(0.0); C];
            for n in window.inputs() {
                let g = s.splat(self.slopes[pair]);
                pair += 1;
                let x: [S::F32; C] = load(s, &self.inputs.row(n)[part.clone()]);
                let dx = &mut self.dinputs.row_mut(n)[part.clone()];
                let mut dxs: [S::F32; C] = load(s, dx);
                for c in 0..C {
                    sums[c] = s.mul_add(g, x[c], sums[c]);
                    dxs[c] = s.mul_add(g, y[c], dxs[c]);
                }
                store(s, dx, dxs);
            }
            store(s, &mut self.doutputs.row_mut(m)[part.clone()], sums);
        }
    }
}

/// See [`super::means`].
pub(super) struct Means<'a> {
    pub(super) inputs: Mat<'a>,
    pub(super) windows: &'a [Window],
    pub(super) means: MatMut<'a>,
}

impl Kernel for Means<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        columns(s, self.inputs.cols(), self);
    }
}

impl Columns for Means<'_> {
    const TILE: bool = false;

    #[inline(always)]
    fn run<S: Simd, const C: usize>(&mut self, s: S, at: usize, width: usize) {
        for (m, window) in self.windows.iter().enumerate() {
            let mut sums = [s.splat(0.0); C];
            for n in window.inputs() {
                let x: [S::F32; C] = load(s, &self.inputs.row(n)[at..at + width]);
                for c in 0..C {
                    sums[c] = s.add(sums[c], x[c]);
                }
            }
            let share = s.splat(1.0 / window.count().max(1) as f32);
            for sum in &mut sums {
                *sum = s.mul(*sum, share);
            }
            store(s, &mut self.means.row_mut(m)[at..at + width], sums);
        }
    }
}

/// See [`super::spread`].
pub(super) struct Spread<'a> {
    pub(super) errors: Mat<'a>,
    pub(super) windows: &'a [Window],
    pub(super) dinputs: MatMut<'a>,
}

impl Kernel for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        columns(s, self.errors.cols(), self);
    }
}

impl Columns for Spread<'_> {
    const TILE: bool = false;

    #[inline(always)]
    fn run<S: Simd, const C: usize>(&mut self, s: S, at: usize, width: usize) {
        for (m, window) in self.windows.iter().enumerate() {
            let error: [S::F32; C] = load(s, &self.errors.row(m)[at..at + width]);
            for n in window.inputs() {
                let dx = &mut self.dinputs.row_mut(n)[at..at + width];
                let mut sums: [S::F32; C] = load(s, dx);
                for c in 0..C {
                    sums[c] = s.add(sums[c], error[c]);
                }
                store(s, dx, sums);
            }
        }
    }
}

/// Gradients that are on their way while one is added.
const AHEAD: usize = 8;

impl Kernel for Descend<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { gradients, picks, scale, mut table } = self;
        let (scale, d) = (s.splat(scale), gradients.cols());
        for (i, &(from, to)) in picks.iter().enumerate() {
            if let Some(&(from, to)) = picks.get(i + AHEAD) {
                let (gradient, row) = (gradients.row(from as usize), table.row_mut(to as usize));
                for c in (0..d).step_by(16) {
                    prefetch::<{ fetch::NEAR }, _>(&gradient[c]);
                    prefetch::<{ fetch::WRITE }, _>(&row[c]);
                }
            }
            let (gradient, row) = (gradients.row(from as usize), table.row_mut(to as usize));
            let whole = d - d % S::LANES;
            for c in (0..whole).step_by(S::LANES) {
                let sum = s.mul_add(scale, s.load(&gradient[c..]), s.load(&row[c..]));
                s.store(&mut row[c..], sum);
            }
            let sum = s.mul_add(scale, s.load_partial(&gradient[whole..]), s.load_partial(&row[whole..]));
            s.store_partial(&mut row[whole..], sum);
        }
    }
}
