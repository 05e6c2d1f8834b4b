//! The cell over vectors. Forward runs on gates that the product has just left in the first-level cache; backward reads
//! each value once and writes each result once, in place of the gates. A row is a run of whole vectors and one partial
//! vector, whose unused lanes hold zeros.

use crate::cells::{Row, load, store, through_sigmoid, through_tanh};
use crate::math::{sigmoid, tanh};
use crate::simd::{Kernel, Simd};
use crate::{GroupsMut, Mat, MatMut};

/// The element-wise part of a step: gates hold the pre-activations.
pub(super) struct Forward<'a> {
    pub(super) c_prev: Mat<'a>,
    pub(super) gates: GroupsMut<'a>,
    pub(super) c: MatMut<'a>,
    pub(super) h: MatMut<'a>,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for n in 0..self.gates.rows() {
            let row = ForwardRow {
                gates: self.gates.row_groups_mut(n),
                c_prev: self.c_prev.row(n),
                c: self.c.row_mut(n),
                h: self.h.row_mut(n),
            };
            row.sweep(s, self.c_prev.cols());
        }
    }
}

struct ForwardRow<'a> {
    gates: [&'a mut [f32]; 4],
    c_prev: &'a [f32],
    c: &'a mut [f32],
    h: &'a mut [f32],
}

impl Row for ForwardRow<'_> {
    #[inline(always)]
    fn cell<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize) {
        let [gate_i, gate_f, gate_g, gate_o] = &mut self.gates;
        let i = sigmoid(s, load::<S, WHOLE>(s, gate_i, at));
        let f = sigmoid(s, load::<S, WHOLE>(s, gate_f, at));
        let g = tanh(s, load::<S, WHOLE>(s, gate_g, at));
        let o = sigmoid(s, load::<S, WHOLE>(s, gate_o, at));
        let c = s.mul_add(f, load::<S, WHOLE>(s, self.c_prev, at), s.mul(i, g));
        let h = s.mul(o, tanh(s, c));
        store::<S, WHOLE>(s, gate_i, at, i);
        store::<S, WHOLE>(s, gate_f, at, f);
        store::<S, WHOLE>(s, gate_g, at, g);
        store::<S, WHOLE>(s, gate_o, at, o);
        store::<S, WHOLE>(s, self.c, at, c);
        store::<S, WHOLE>(s, self.h, at, h);
    }
}

/// A step backward.
pub(super) struct Backward<'a>(pub(super) super::Backward<'a>);

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self(mut args) = self;
        for n in 0..args.gates.rows() {
            let row = BackwardRow {
                gates: args.gates.row_groups_mut(n),
                c: args.c.row(n),
                c_prev: args.c_prev.row(n),
                dh: args.dh.row(n),
                dc: args.dc.row_mut(n),
            };
            row.sweep(s, args.c_prev.cols());
        }
    }
}

struct BackwardRow<'a> {
    gates: [&'a mut [f32]; 4],
    c: &'a [f32],
    c_prev: &'a [f32],
    dh: &'a [f32],
    dc: &'a mut [f32],
}

impl Row for BackwardRow<'_> {
    #[inline(always)]
    fn cell<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize) {
        let [gate_i, gate_f, gate_g, gate_o] = &mut self.gates;
        let (i, f) = (load::<S, WHOLE>(s, gate_i, at), load::<S, WHOLE>(s, gate_f, at));
        let (g, o) = (load::<S, WHOLE>(s, gate_g, at), load::<S, WHOLE>(s, gate_o, at));
        let dh = load::<S, WHOLE>(s, self.dh, at);
        let tanh_c = tanh(s, load::<S, WHOLE>(s, self.c, at));
        let dc = s.add(load::<S, WHOLE>(s, self.dc, at), through_tanh(s, s.mul(dh, o), tanh_c));
        let c_prev = load::<S, WHOLE>(s, self.c_prev, at);
        store::<S, WHOLE>(s, gate_i, at, through_sigmoid(s, s.mul(dc, g), i));
        store::<S, WHOLE>(s, gate_f, at, through_sigmoid(s, s.mul(dc, c_prev), f));
        store::<S, WHOLE>(s, gate_g, at, through_tanh(s, s.mul(dc, i), g));
        store::<S, WHOLE>(s, gate_o, at, through_sigmoid(s, s.mul(dh, tanh_c), o));
        store::<S, WHOLE>(s, self.dc, at, s.mul(dc, f));
    }
}
