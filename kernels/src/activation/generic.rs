//! Row by row, a vector at a time, the tail by partial loads; softmax's inner product on sixteen virtual lanes.

use super::Activation;
use crate::math;
use crate::simd::{Kernel, Simd, Wide16};
use crate::{Mat, MatMut};

/// d y (1 - y): through a sigmoid whose value is y.
#[inline(always)]
pub(crate) fn through_sigmoid<S: Simd>(s: S, d: S::F32, y: S::F32) -> S::F32 {
    s.mul(d, s.neg_mul_add(y, y, y))
}

/// d (1 - y^2): through a tanh whose value is y.
#[inline(always)]
pub(crate) fn through_tanh<S: Simd>(s: S, d: S::F32, y: S::F32) -> S::F32 {
    s.mul(d, s.neg_mul_add(y, y, s.splat(1.0)))
}

/// slope x + 1/2, cut to 0..1.
#[inline(always)]
fn hard<S: Simd>(s: S, slope: f32, x: S::F32) -> S::F32 {
    let line = s.mul_add(x, s.splat(slope), s.splat(0.5));
    s.max(s.splat(0.0), s.min(s.splat(1.0), line))
}

/// d slope where 0 < y < 1, else 0.
#[inline(always)]
fn through_hard<S: Simd>(s: S, slope: f32, d: S::F32, y: S::F32) -> S::F32 {
    let rising = s.select(s.lt(y, s.splat(1.0)), s.mul(d, s.splat(slope)), s.splat(0.0));
    s.select(s.lt(s.splat(0.0), y), rising, s.splat(0.0))
}

/// The function's value at x. `min` and `max` give their second operand for NaN, so NaN stays NaN.
#[inline(always)]
pub(crate) fn value<S: Simd>(s: S, function: Activation, x: S::F32) -> S::F32 {
    match function {
        Activation::Linear => x,
        Activation::Tanh => math::tanh(s, x),
        Activation::Relu => s.max(s.splat(0.0), x),
        Activation::Sigmoid => math::sigmoid(s, x),
        Activation::HardSigmoid => hard(s, 0.2, x),
        Activation::HardSigmoid6 => hard(s, 1.0 / 6.0, x),
        Activation::Softsign => s.div(x, s.add(s.splat(1.0), s.abs(x))),
    }
}

/// d times the slope where the value is y.
#[inline(always)]
pub(crate) fn through<S: Simd>(s: S, function: Activation, d: S::F32, y: S::F32) -> S::F32 {
    let zero = s.splat(0.0);
    match function {
        Activation::Linear => d,
        Activation::Tanh => through_tanh(s, d, y),
        Activation::Relu => s.select(s.le(y, zero), zero, d),
        Activation::Sigmoid => through_sigmoid(s, d, y),
        Activation::HardSigmoid => through_hard(s, 0.2, d, y),
        Activation::HardSigmoid6 => through_hard(s, 1.0 / 6.0, d, y),
        Activation::Softsign => {
            let slope = s.sub(s.splat(1.0), s.abs(y));
            s.mul(s.mul(d, slope), slope)
        }
    }
}

pub(super) struct Forward<'a> {
    pub(super) function: Activation,
    pub(super) x: MatMut<'a>,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for r in 0..self.x.rows() {
            for part in self.x.row_mut(r).chunks_mut(S::LANES) {
                let x = s.load_partial(part);
                s.store_partial(part, value(s, self.function, x));
            }
        }
    }
}

pub(super) struct Backward<'a> {
    pub(super) function: Activation,
    pub(super) y: Mat<'a>,
    pub(super) dy: MatMut<'a>,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for r in 0..self.y.rows() {
            for (y, part) in self.y.row(r).chunks(S::LANES).zip(self.dy.row_mut(r).chunks_mut(S::LANES)) {
                let (y, dy) = (s.load_partial(y), s.load_partial(part));
                s.store_partial(part, through(s, self.function, dy, y));
            }
        }
    }
}

pub(super) struct SoftmaxBackward<'a> {
    pub(super) y: Mat<'a>,
    pub(super) dy: MatMut<'a>,
}

impl Kernel for SoftmaxBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for r in 0..self.y.rows() {
            let (y, dy) = (self.y.row(r), self.dy.row_mut(r));
            let mut inner = Wide16::splat(s, 0.0);
            for (y, dy) in y.chunks(16).zip(dy.chunks(16)) {
                let product = Wide16::load_or(s, y, 0.0).times(s, Wide16::load_or(s, dy, 0.0));
                inner = inner.plus(s, product);
            }
            let inner = s.splat(inner.sum(s));
            for (y, part) in y.chunks(S::LANES).zip(dy.chunks_mut(S::LANES)) {
                let dx = s.mul(s.load_partial(y), s.sub(s.load_partial(part), inner));
                s.store_partial(part, dx);
            }
        }
    }
}
