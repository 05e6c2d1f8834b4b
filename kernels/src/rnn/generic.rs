//! The cell over vectors. Forward runs on pre-activations that the product has just left in the first-level cache. A row
//! is a run of whole vectors and one partial vector, whose unused lanes hold zeros.

use super::Activation;
use crate::activation::generic::{through, value};
use crate::cells::{load, reaching, store, through_tanh};
use crate::math::tanh;
use crate::simd::{Kernel, Simd};
use crate::{GroupsMut, MatMut};

/// The element-wise part of a step.
pub(super) struct Forward<'a> {
    pub(super) activation: Activation,
    pub(super) pre: GroupsMut<'a>,
    pub(super) h: MatMut<'a>,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for n in 0..self.pre.rows() {
            let (pre, h) = (&*self.pre.row_mut(n, 0), self.h.row_mut(n));
            match self.activation {
                Activation::Tanh => map(
                    s,
                    [pre, pre],
                    h,
                    #[inline(always)]
                    |a, _| tanh(s, a),
                ),
                other => map(
                    s,
                    [pre, pre],
                    h,
                    #[inline(always)]
                    |a, _| value(s, other, a),
                ),
            }
        }
    }
}

/// A step backward.
pub(super) struct Backward<'a>(pub(super) super::Backward<'a>);

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self(mut args) = self;
        for n in 0..args.h.rows() {
            let (h, dh, dpre) = (args.h.row(n), args.dh.row(n), args.dpre.row_mut(n));
            match args.activation {
                Activation::Tanh => map(
                    s,
                    [h, dh],
                    dpre,
                    #[inline(always)]
                    |h, dh| through_tanh(s, reaching(s, dh), h),
                ),
                other => map(
                    s,
                    [h, dh],
                    dpre,
                    #[inline(always)]
                    |h, dh| through(s, other, reaching(s, dh), h),
                ),
            }
        }
    }
}

/// out = f(a, b), element by element.
#[inline(always)]
fn map<S: Simd>(s: S, [a, b]: [&[f32]; 2], out: &mut [f32], f: impl Fn(S::F32, S::F32) -> S::F32) {
    let whole = out.len() - out.len() % S::LANES;
    for at in (0..whole).step_by(S::LANES) {
        let (a, b) = (load::<S, true>(s, a, at), load::<S, true>(s, b, at));
        store::<S, true>(s, out, at, f(a, b));
    }
    if whole < out.len() {
        let (a, b) = (load::<S, false>(s, a, whole), load::<S, false>(s, b, whole));
        store::<S, false>(s, out, whole, f(a, b));
    }
}
