//! Row by row, a vector at a time, the tail by partial loads; softmax's inner product on sixteen virtual lanes.

use super::Activation;
use crate::math;
use crate::simd::{Kernel, Simd, Wide16};
use crate::{Mat, MatMut};

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
                let y = match self.function {
                    Activation::Linear => x,
                    Activation::Tanh => math::tanh(s, x),
                    // `max` gives its second operand for NaN, so NaN stays NaN.
                    Activation::Relu => s.max(s.splat(0.0), x),
                    Activation::Sigmoid => math::sigmoid(s, x),
                };
                s.store_partial(part, y);
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
        let one = s.splat(1.0);
        for r in 0..self.y.rows() {
            for (y, part) in self.y.row(r).chunks(S::LANES).zip(self.dy.row_mut(r).chunks_mut(S::LANES)) {
                let (y, dy) = (s.load_partial(y), s.load_partial(part));
                let dx = match self.function {
                    Activation::Linear => dy,
                    Activation::Tanh => s.mul(dy, s.neg_mul_add(y, y, one)),
                    Activation::Relu => s.select(s.lt(s.splat(0.0), y), dy, s.splat(0.0)),
                    Activation::Sigmoid => s.mul(dy, s.mul(y, s.sub(one, y))),
                };
                s.store_partial(part, dx);
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
                let product = Wide16::load_or(s, y, 0.0).zip(
                    Wide16::load_or(s, dy, 0.0),
                    #[inline(always)]
                    |a, b| s.mul(a, b),
                );
                inner = inner.zip(
                    product,
                    #[inline(always)]
                    |a, b| s.add(a, b),
                );
            }
            let inner = s.splat(inner.sum(s));
            for (y, part) in y.chunks(S::LANES).zip(dy.chunks_mut(S::LANES)) {
                let dx = s.mul(s.load_partial(y), s.sub(s.load_partial(part), inner));
                s.store_partial(part, dx);
            }
        }
    }
}
