//! The vector bodies. A row is walked over three times: for the maximum, for the exponentials (stored in place) and
//! their sum, and to scale them; it stays in the first- or second-level cache in between. While the exponentials are
//! summed, -inf stands in the target's place, so that the target adds exactly 0 and enters the sum in f64 afterwards.

use super::{BinaryCrossEntropy, CrossEntropy, IGNORE};
use crate::mat::{Mat, MatMut};
use crate::math;
use crate::simd::{Kernel, Simd, Wide16};

/// Logits that are summed in f32 before the sum goes into the f64 tally.
const BLOCK: usize = 1024;

/// The largest element; may be any other than a NaN if there is one.
#[inline(always)]
pub(super) fn maximum<S: Simd>(s: S, x: &[f32]) -> f32 {
    // Four chains, for a maximum takes several cycles and a load does not.
    let mut tops = [Wide16::splat(s, f32::NEG_INFINITY); 4];
    let mut blocks = x.chunks_exact(64);
    for block in &mut blocks {
        for (i, top) in tops.iter_mut().enumerate() {
            *top = larger(s, *top, Wide16::load(s, &block[16 * i..]));
        }
    }
    for piece in blocks.remainder().chunks(16) {
        tops[0] = larger(s, tops[0], Wide16::load_or(s, piece, f32::NEG_INFINITY));
    }
    larger(s, larger(s, tops[0], tops[1]), larger(s, tops[2], tops[3])).max(s)
}

#[inline(always)]
fn larger<S: Simd>(s: S, a: Wide16<S>, b: Wide16<S>) -> Wide16<S> {
    a.zip(
        b,
        #[inline(always)]
        |a, b| s.max(a, b),
    )
}

/// Below this, e^x is 0 in f32.
const NOTHING: f32 = -104.0;

/// e^(x - max), lane by lane. Where it is 0, as for the target and beyond the row's end, it is not computed: an underflow
/// takes processors 150 cycles, half of the time of a row of 65 logits.
#[inline(always)]
fn exps<S: Simd>(s: S, x: Wide16<S>, max: S::F32) -> Wide16<S> {
    x.map(
        #[inline(always)]
        |x| {
            let (below, zero) = (s.sub(x, max), s.splat(0.0));
            let nothing = s.lt(below, s.splat(NOTHING));
            s.select(nothing, zero, math::exp(s, s.select(nothing, zero, below)))
        },
    )
}

/// Replaces every element by e^(x - max) and returns their sum.
#[inline(always)]
pub(super) fn exponentials<S: Simd>(s: S, x: &mut [f32], max: f32) -> f64 {
    let top = s.splat(max);
    let mut total = 0.0;
    for block in x.chunks_mut(BLOCK) {
        let mut sum = Wide16::splat(s, 0.0);
        let mut pieces = block.chunks_exact_mut(16);
        for piece in &mut pieces {
            let e = exps(s, Wide16::load(s, piece), top);
            e.store(s, piece);
            sum = sum.plus(s, e);
        }
        let rest = pieces.into_remainder();
        if !rest.is_empty() {
            let e = exps(s, Wide16::load_or(s, rest, f32::NEG_INFINITY), top);
            e.store_partial(s, rest);
            sum = sum.plus(s, e);
        }
        total += f64::from(sum.sum(s));
    }
    total
}

/// The sum of e^(x - max) over a block, the same bits as [`exponentials`] gives.
#[inline(always)]
pub(super) fn sum_of_exponentials<S: Simd>(s: S, block: &[f32], max: f32) -> f64 {
    let top = s.splat(max);
    let mut sum = Wide16::splat(s, 0.0);
    let mut pieces = block.chunks_exact(16);
    for piece in &mut pieces {
        sum = sum.plus(s, exps(s, Wide16::load(s, piece), top));
    }
    let rest = pieces.remainder();
    if !rest.is_empty() {
        sum = sum.plus(s, exps(s, Wide16::load_or(s, rest, f32::NEG_INFINITY), top));
    }
    f64::from(sum.sum(s))
}

/// Replaces x by x factor.
#[inline(always)]
pub(super) fn scale_by<S: Simd>(s: S, x: &mut [f32], factor: f32) {
    let factor = s.splat(factor);
    math::map_slice(
        s,
        x,
        #[inline(always)]
        |x| s.mul(x, factor),
    );
}

/// What a row's loss and gradient are made of.
pub(super) struct Score {
    /// -ln p of the target.
    pub(super) loss: f32,
    /// The sum of the exponentials, the target's included.
    pub(super) total: f64,
}

impl Score {
    /// From the maximum, the target's logit and the sum of the other exponentials.
    #[inline(always)]
    pub(super) fn new(max: f32, target: f32, others: f64) -> Self {
        if target == max {
            return Self { loss: others.ln_1p() as f32, total: 1.0 + others };
        }
        let below = f64::from(max) - f64::from(target);
        let total = others + (-below).exp();
        Self { loss: (below + total.ln()) as f32, total }
    }
}

impl Kernel for CrossEntropy<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for (r, &target) in self.targets.iter().enumerate() {
            let row = self.logits.row_mut(r);
            if target == IGNORE {
                row.fill(0.0);
                self.losses[r] = 0.0;
                continue;
            }
            let t = target as usize;
            let max = maximum(s, row);
            let logit = std::mem::replace(&mut row[t], f32::NEG_INFINITY);
            let others = exponentials(s, row, max);
            let score = Score::new(max, logit, others);
            self.losses[r] = score.loss;
            let factor = f64::from(self.scale) / score.total;
            scale_by(s, row, factor as f32);
            // p - 1 = -(others / total), without the cancellation; 0 - x, so that nothing becomes -0.
            row[t] = (0.0 - others * factor) as f32;
        }
    }
}

/// The losses alone.
pub(super) struct Losses<'a> {
    pub(super) logits: Mat<'a>,
    pub(super) targets: &'a [u32],
    pub(super) losses: &'a mut [f32],
}

impl Kernel for Losses<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut copy = [0.0; BLOCK];
        for (r, &target) in self.targets.iter().enumerate() {
            if target == IGNORE {
                self.losses[r] = 0.0;
                continue;
            }
            let (row, t) = (self.logits.row(r), target as usize);
            let max = maximum(s, row);
            let mut others = 0.0;
            for (i, mut block) in row.chunks(BLOCK).enumerate() {
                if i == t / BLOCK {
                    copy[..block.len()].copy_from_slice(block);
                    copy[t % BLOCK] = f32::NEG_INFINITY;
                    block = &copy[..block.len()];
                }
                others += sum_of_exponentials(s, block, max);
            }
            self.losses[r] = Score::new(max, row[t], others).loss;
        }
    }
}

/// Rows of logits to rows of probabilities.
pub(super) struct Softmax<'a>(pub(super) MatMut<'a>);

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for r in 0..self.0.rows() {
            let row = self.0.row_mut(r);
            let max = maximum(s, row);
            let total = exponentials(s, row, max);
            scale_by(s, row, (1.0 / total) as f32);
        }
    }
}

/// Rows of logits to rows of logarithms of probabilities.
pub(super) struct LogSoftmax<'a>(pub(super) MatMut<'a>);

impl Kernel for LogSoftmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for r in 0..self.0.rows() {
            let row = self.0.row_mut(r);
            let max = maximum(s, row);
            let mut total = 0.0;
            for block in row.chunks(BLOCK) {
                total += sum_of_exponentials(s, block, max);
            }
            let (top, ln) = (s.splat(max), s.splat(total.ln() as f32));
            math::map_slice(
                s,
                row,
                #[inline(always)]
                |x| s.sub(s.sub(x, top), ln),
            );
        }
    }
}

/// (ln(1+u) - 2z) / z^3 as a polynomial of z^2, where z = u / (2 + u) and 0 <= u <= 1, lowest order first; the relative
/// error of ln(1+u) = 2 artanh z is 2^-27.7. Made as the polynomials of [`math`].
const LN_1P: [f32; 4] = [0.666_664_2, 0.400_214_34, 0.280_030_9, 0.280_064_34];

/// ln(1 + e^-|x|), with relative accuracy where e^-|x| is small.
#[inline(always)]
pub(crate) fn softplus_of_minus_abs<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let u = math::exp(s, s.sub(s.splat(0.0), s.abs(x)));
    let z = s.div(u, s.add(s.splat(2.0), u));
    let square = s.mul(z, z);
    let tail = s.mul(s.mul(square, z), math::polynomial(s, square, LN_1P));
    s.mul_add(z, s.splat(2.0), tail)
}

impl Kernel for BinaryCrossEntropy<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let scale = s.splat(self.scale);
        for i in (0..self.logits.len()).step_by(S::LANES) {
            let end = self.logits.len().min(i + S::LANES);
            let (x, y) = (s.load_partial(&self.logits[i..end]), s.load_partial(&self.targets[i..end]));
            let linear = s.neg_mul_add(x, y, s.max(s.splat(0.0), x));
            s.store_partial(&mut self.losses[i..end], s.add(linear, softplus_of_minus_abs(s, x)));
            let gradient = s.mul(s.sub(math::sigmoid(s, x), y), scale);
            s.store_partial(&mut self.logits[i..end], gradient);
        }
    }
}
