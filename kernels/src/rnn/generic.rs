//! The cell over vectors. Forward runs on pre-activations that the product has just left in the first-level cache. A
//! row is a run of whole vectors and one partial vector, whose unused lanes hold zeros.

use super::Activation;
use crate::MatMut;
use crate::activation::generic::{through, through_tanh, value};
use crate::cells::{Block, Gate, Row, load, reaching, store};
use crate::element::Element;
use crate::math::tanh;
use crate::simd::{Kernel, Simd};

/// The element-wise part of a step.
pub(super) struct Forward<'a, E> {
    pub(super) activation: Activation,
    pub(super) pre: Block<'a, E>,
    pub(super) h: MatMut<'a>,
}

impl<E: Element> Kernel for Forward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let units = self.h.cols();
        for n in 0..self.pre.rows() {
            let ([pre], h) = (self.pre.row(n), self.h.row_mut(n));
            ForwardRow { activation: self.activation, pre, h }.sweep(s, units);
        }
    }
}

struct ForwardRow<'a, E> {
    activation: Activation,
    pre: Gate<'a, E>,
    h: &'a mut [f32],
}

impl<E: Element> Row for ForwardRow<'_, E> {
    #[inline(always)]
    fn cell<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize) {
        let pre = self.pre.sum::<S, WHOLE>(s, at);
        let h = if self.activation == Activation::Tanh { tanh(s, pre) } else { value(s, self.activation, pre) };
        store::<S, WHOLE>(s, self.h, at, h);
    }
}

/// A step backward.
pub(super) struct Backward<'a, E>(pub(super) super::Backward<'a, E>);

impl<E: Element> Kernel for Backward<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self(mut args) = self;
        for n in 0..args.h.rows() {
            through_row(s, args.activation, [args.h.row(n), args.dh.row(n)], args.dpre.row_mut(n));
        }
    }
}

/// The gradient of a row's pre-activations from h and its gradient.
#[inline(always)]
pub(super) fn through_row<S: Simd>(s: S, activation: Activation, [h, dh]: [&[f32]; 2], dpre: &mut [impl Element]) {
    match activation {
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

/// out = f(a, b), element by element.
#[inline(always)]
fn map<S: Simd>(s: S, [a, b]: [&[f32]; 2], out: &mut [impl Element], f: impl Fn(S::F32, S::F32) -> S::F32) {
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
