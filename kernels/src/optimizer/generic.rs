//! The vector bodies: one formula a rule, written for one vector of parameters, and one loop that applies it.

use super::{NORM_BLOCK, Update};
use crate::math::inverse_root;
use crate::simd::{Kernel, Simd, Wide16};

/// The vectors of one place: parameters, clipped gradients, state.
#[derive(Clone, Copy)]
pub(super) struct Place<S: Simd> {
    p: S::F32,
    g: S::F32,
    slots: [S::F32; 2],
}

/// A rule for one vector.
pub(super) trait Formula: Copy {
    /// Vectors of state it uses.
    const SLOTS: usize;
    /// New parameters and state in the place of the old.
    fn step<S: Simd>(self, s: S, place: Place<S>) -> Place<S>;
}

/// Vectors that a pass works on together. A rule is a chain of a dozen operations, each waiting for the one before; the
/// processor looks ahead over a few vectors only.
const TOGETHER: usize = 4;

/// See [`super::Rule::Sgd`].
#[derive(Clone, Copy)]
pub(super) struct Sgd {
    pub(super) lr: f32,
}

impl Formula for Sgd {
    const SLOTS: usize = 0;

    #[inline(always)]
    fn step<S: Simd>(self, s: S, place: Place<S>) -> Place<S> {
        Place { p: s.neg_mul_add(place.g, s.splat(self.lr), place.p), ..place }
    }
}

/// See [`super::Rule::Momentum`] and [`super::Rule::Nesterov`].
#[derive(Clone, Copy)]
pub(super) struct Momentum<const NESTEROV: bool> {
    pub(super) lr: f32,
    pub(super) mu: f32,
}

impl<const NESTEROV: bool> Formula for Momentum<NESTEROV> {
    const SLOTS: usize = 1;

    #[inline(always)]
    fn step<S: Simd>(self, s: S, Place { p, g, slots: [b, unused] }: Place<S>) -> Place<S> {
        let mu = s.splat(self.mu);
        let b = s.mul_add(mu, b, g);
        let direction = if NESTEROV { s.mul_add(mu, b, g) } else { b };
        Place { p: s.neg_mul_add(direction, s.splat(self.lr), p), g, slots: [b, unused] }
    }
}

/// See [`super::Rule::Adagrad`].
#[derive(Clone, Copy)]
pub(super) struct Adagrad<const INSIDE: bool> {
    pub(super) lr: f32,
    pub(super) epsilon: f32,
}

impl<const INSIDE: bool> Formula for Adagrad<INSIDE> {
    const SLOTS: usize = 1;

    #[inline(always)]
    fn step<S: Simd>(self, s: S, Place { p, g, slots: [m, unused] }: Place<S>) -> Place<S> {
        let epsilon = s.splat(self.epsilon);
        let m = s.mul_add(g, g, m);
        let size = s.mul(g, s.splat(self.lr));
        let step = if INSIDE {
            s.mul(size, inverse_root(s, s.add(m, epsilon)))
        } else {
            s.div(size, s.add(s.mul(m, inverse_root(s, m)), epsilon))
        };
        let p = s.sub(p, step);
        Place { p, g, slots: [m, unused] }
    }
}

/// See [`super::Rule::RmsProp`].
#[derive(Clone, Copy)]
pub(super) struct RmsProp {
    pub(super) lr: f32,
    pub(super) decay: f32,
    /// 1 - decay, rounded from f64.
    pub(super) rest: f32,
    pub(super) epsilon: f32,
}

impl Formula for RmsProp {
    const SLOTS: usize = 1;

    #[inline(always)]
    fn step<S: Simd>(self, s: S, Place { p, g, slots: [v, unused] }: Place<S>) -> Place<S> {
        let v = s.mul_add(s.mul(g, g), s.splat(self.rest), s.mul(v, s.splat(self.decay)));
        let root = s.add(s.sqrt(v), s.splat(self.epsilon));
        let p = s.sub(p, s.div(s.mul(g, s.splat(self.lr)), root));
        Place { p, g, slots: [v, unused] }
    }
}

/// See [`super::Rule::Adam`] and [`super::Rule::AdamW`].
#[derive(Clone, Copy)]
pub(super) struct Adam<const DECAYS: bool> {
    betas: [f32; 2],
    /// 1 - beta, rounded from f64.
    rests: [f32; 2],
    /// l / (1 - b1^t)
    size: f32,
    /// 1 / sqrt(1 - b2^t)
    root_scale: f32,
    epsilon: f32,
    /// 1 - l weight_decay
    shrink: f32,
}

impl<const DECAYS: bool> Adam<DECAYS> {
    pub(super) fn new(lr: f64, betas: [f64; 2], epsilon: f64, weight_decay: f64, step: u64) -> Self {
        let corrections = betas.map(|beta| 1.0 - beta.powf(step as f64));
        Self {
            betas: betas.map(|beta| beta as f32),
            rests: betas.map(|beta| (1.0 - beta) as f32),
            size: (lr / corrections[0]) as f32,
            root_scale: (1.0 / corrections[1].sqrt()) as f32,
            epsilon: epsilon as f32,
            shrink: (1.0 - lr * weight_decay) as f32,
        }
    }
}

impl<const DECAYS: bool> Formula for Adam<DECAYS> {
    const SLOTS: usize = 2;

    #[inline(always)]
    fn step<S: Simd>(self, s: S, Place { p, g, slots: [m, v] }: Place<S>) -> Place<S> {
        let [beta1, beta2] = self.betas;
        let [rest1, rest2] = self.rests;
        let m = s.mul_add(g, s.splat(rest1), s.mul(m, s.splat(beta1)));
        let v = s.mul_add(s.mul(g, g), s.splat(rest2), s.mul(v, s.splat(beta2)));
        let root = s.mul_add(s.sqrt(v), s.splat(self.root_scale), s.splat(self.epsilon));
        let p = if DECAYS { s.mul(p, s.splat(self.shrink)) } else { p };
        let p = s.sub(p, s.div(s.mul(m, s.splat(self.size)), root));
        Place { p, g, slots: [m, v] }
    }
}

/// One pass of a formula.
pub(super) struct Apply<'a, F> {
    pub(super) formula: F,
    pub(super) args: Update<'a>,
}

impl<F: Formula> Kernel for Apply<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { formula, args } = self;
        let scale = s.splat(args.grad_scale);
        let limit = args.clip_value.unwrap_or(f32::INFINITY);
        let (low, high) = (s.splat(-limit), s.splat(limit));
        let [first, second] = args.slots;
        let (param, grad) = (args.param, args.grad);
        let zero = s.splat(0.0);
        let clip = Clip {
            scale,
            low,
            high,
            decay: if args.weight_decay != 0.0 { Some(s.splat(args.weight_decay)) } else { None },
        };
        let width = TOGETHER * S::LANES;
        let whole = param.len() - param.len() % width;
        for i in (0..whole).step_by(width) {
            let (param, grad) = (&mut param[i..i + width], &grad[i..i + width]);
            let mut places = [Place { p: zero, g: zero, slots: [zero; 2] }; TOGETHER];
            for v in 0..TOGETHER {
                let (at, place) = (v * S::LANES, &mut places[v]);
                let p = s.load(&param[at..]);
                *place = Place { p, g: clip.of(s, p, s.load(&grad[at..])), slots: [zero; 2] };
                if F::SLOTS > 0 {
                    place.slots[0] = s.load(&first[i + at..]);
                }
                if F::SLOTS > 1 {
                    place.slots[1] = s.load(&second[i + at..]);
                }
            }
            for v in 0..TOGETHER {
                places[v] = formula.step(s, places[v]);
            }
            for v in 0..TOGETHER {
                let (at, place) = (v * S::LANES, places[v]);
                s.store(&mut param[at..], place.p);
                if F::SLOTS > 0 {
                    s.store(&mut first[i + at..], place.slots[0]);
                }
                if F::SLOTS > 1 {
                    s.store(&mut second[i + at..], place.slots[1]);
                }
            }
        }
        for i in (whole..param.len()).step_by(S::LANES) {
            let p = s.load_partial(&param[i..]);
            let mut place = Place { p, g: clip.of(s, p, s.load_partial(&grad[i..])), slots: [zero; 2] };
            if F::SLOTS > 0 {
                place.slots[0] = s.load_partial(&first[i..]);
            }
            if F::SLOTS > 1 {
                place.slots[1] = s.load_partial(&second[i..]);
            }
            let place = formula.step(s, place);
            s.store_partial(&mut param[i..], place.p);
            if F::SLOTS > 0 {
                s.store_partial(&mut first[i..], place.slots[0]);
            }
            if F::SLOTS > 1 {
                s.store_partial(&mut second[i..], place.slots[1]);
            }
        }
    }
}

/// See [`super::average`].
pub(super) struct Average<'a> {
    pub(super) averages: &'a mut [f32],
    pub(super) params: &'a [f32],
    pub(super) weight: f32,
}

impl Kernel for Average<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let weight = s.splat(self.weight);
        for (a, p) in self.averages.chunks_mut(S::LANES).zip(self.params.chunks(S::LANES)) {
            let old = load(s, a);
            store(s, a, s.mul_add(weight, s.sub(load(s, p), old), old));
        }
    }
}

/// What is done to gradients before the rule.
#[derive(Clone, Copy)]
struct Clip<S: Simd> {
    scale: S::F32,
    low: S::F32,
    high: S::F32,
    decay: Option<S::F32>,
}

impl<S: Simd> Clip<S> {
    /// The gradient `g` of `p`, scaled, clamped and with its decay.
    #[inline(always)]
    fn of(self, s: S, p: S::F32, g: S::F32) -> S::F32 {
        // The constants come first, so that a NaN goes on into the parameters, where it is found.
        let g = s.max(self.low, s.min(self.high, s.mul(g, self.scale)));
        match self.decay {
            Some(decay) => s.mul_add(decay, p, g),
            None => g,
        }
    }
}

/// A whole vector, or what is left of one.
#[inline(always)]
fn load<S: Simd>(s: S, x: &[f32]) -> S::F32 {
    if x.len() >= S::LANES { s.load(x) } else { s.load_partial(x) }
}

#[inline(always)]
fn store<S: Simd>(s: S, to: &mut [f32], x: S::F32) {
    if to.len() >= S::LANES {
        s.store(to, x);
    } else {
        s.store_partial(to, x);
    }
}

/// sum + x^2, lane by lane.
#[inline(always)]
fn add_square<S: Simd>(s: S, sum: Wide16<S>, x: Wide16<S>) -> Wide16<S> {
    sum.zip(
        x,
        #[inline(always)]
        |sum, x| s.mul_add(x, x, sum),
    )
}

/// The sum of squares.
pub(super) struct SumOfSquares<'a>(pub(super) &'a [f32]);

impl Kernel for SumOfSquares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let mut tally = 0.0;
        for block in self.0.chunks(NORM_BLOCK) {
            // Four chains, for a sum takes several cycles and a load does not.
            let mut sums = [Wide16::splat(s, 0.0); 4];
            let mut pieces = block.chunks_exact(64);
            for piece in &mut pieces {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = add_square(s, *sum, Wide16::load(s, &piece[16 * i..]));
                }
            }
            for (i, piece) in pieces.remainder().chunks(16).enumerate() {
                sums[i] = add_square(s, sums[i], Wide16::load_or(s, piece, 0.0));
            }
            let sum = sums[0].plus(s, sums[1]).plus(s, sums[2].plus(s, sums[3]));
            tally += f64::from(sum.sum(s));
        }
        tally
    }
}

/// Whether all elements are finite.
pub(super) struct IsFinite<'a>(pub(super) &'a [f32]);

impl Kernel for IsFinite<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        // 0 x is NaN where x is not finite, and a NaN stays in the sum.
        self.0.chunks(NORM_BLOCK).all(
            #[inline(always)]
            |block| {
                let mut sums = [s.splat(0.0); 4];
                let mut pieces = block.chunks_exact(4 * S::LANES);
                for piece in &mut pieces {
                    for (i, sum) in sums.iter_mut().enumerate() {
                        *sum = s.mul_add(s.load(&piece[i * S::LANES..]), s.splat(0.0), *sum);
                    }
                }
                for (i, piece) in pieces.remainder().chunks(S::LANES).enumerate() {
                    sums[i] = s.mul_add(load(s, piece), s.splat(0.0), sums[i]);
                }
                let sum = s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]));
                s.to_array(sum)[..S::LANES].iter().all(|&lane| lane == 0.0)
            },
        )
    }
}
