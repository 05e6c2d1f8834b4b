//! The cell over vectors, with the reset gate after and before the product. Forward runs on the block that the product
//! has just left in the first-level cache; backward reads each value once and writes each result once, in place. A row
//! is a run of whole vectors and one partial vector, whose unused lanes hold zeros ([`Row::sweep`]).

use super::before;
use crate::cells::{Row, load, store, through_sigmoid, through_tanh};
use crate::math::{sigmoid, tanh};
use crate::simd::{Kernel, Simd};
use crate::{GroupsMut, Mat, MatMut};

/// z h_prev + (1 - z) n
#[inline(always)]
fn blend<S: Simd>(s: S, z: S::F32, n: S::F32, h_prev: S::F32) -> S::F32 {
    s.mul_add(z, s.sub(h_prev, n), n)
}

/// da_z, da_n: through [`blend`] to the pre-activations.
#[inline(always)]
fn through_blend<S: Simd>(s: S, z: S::F32, n: S::F32, h_prev: S::F32, dh: S::F32) -> [S::F32; 2] {
    let dz = through_sigmoid(s, s.mul(dh, s.sub(h_prev, n)), z);
    let dn = through_tanh(s, s.mul(dh, s.sub(s.splat(1.0), z)), n);
    [dz, dn]
}

/// The element-wise part of a step: gates hold x W + b, hidden h_prev U.
pub(super) struct Forward<'a> {
    pub(super) h_prev: Mat<'a>,
    pub(super) bias: Option<[&'a [f32]; 3]>,
    pub(super) gates: GroupsMut<'a>,
    pub(super) hidden: GroupsMut<'a>,
    pub(super) h: MatMut<'a>,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for n in 0..self.gates.rows() {
            let row = ForwardRow {
                h_prev: self.h_prev.row(n),
                bias: self.bias,
                gates: self.gates.row_groups_mut(n),
                hidden: self.hidden.row_groups_mut(n),
                h: self.h.row_mut(n),
            };
            row.sweep(s, self.h_prev.cols());
        }
    }
}

struct ForwardRow<'a> {
    h_prev: &'a [f32],
    bias: Option<[&'a [f32]; 3]>,
    gates: [&'a mut [f32]; 3],
    hidden: [&'a mut [f32]; 3],
    h: &'a mut [f32],
}

impl Row for ForwardRow<'_> {
    #[inline(always)]
    fn cell<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize) {
        let [gate_z, gate_r, gate_n] = &mut self.gates;
        let [mut z, mut r, mut q] = [s.splat(0.0); 3];
        if let Some([bias_z, bias_r, bias_n]) = self.bias {
            z = load::<S, WHOLE>(s, bias_z, at);
            r = load::<S, WHOLE>(s, bias_r, at);
            q = load::<S, WHOLE>(s, bias_n, at);
        }
        z = s.add(z, load::<S, WHOLE>(s, self.hidden[0], at));
        r = s.add(r, load::<S, WHOLE>(s, self.hidden[1], at));
        q = s.add(q, load::<S, WHOLE>(s, self.hidden[2], at));
        let z = sigmoid(s, s.add(z, load::<S, WHOLE>(s, gate_z, at)));
        let r = sigmoid(s, s.add(r, load::<S, WHOLE>(s, gate_r, at)));
        let n = tanh(s, s.mul_add(r, q, load::<S, WHOLE>(s, gate_n, at)));
        let h = blend(s, z, n, load::<S, WHOLE>(s, self.h_prev, at));
        store::<S, WHOLE>(s, gate_z, at, z);
        store::<S, WHOLE>(s, gate_r, at, r);
        store::<S, WHOLE>(s, gate_n, at, n);
        store::<S, WHOLE>(s, self.hidden[2], at, q);
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
                hidden: args.hidden.row_groups_mut(n),
                h_prev: args.h_prev.row(n),
                dh: args.dh.row(n),
                dh_prev: args.dh_prev.row_mut(n),
            };
            row.sweep(s, args.h_prev.cols());
        }
    }
}

struct BackwardRow<'a> {
    gates: [&'a mut [f32]; 3],
    hidden: [&'a mut [f32]; 3],
    h_prev: &'a [f32],
    dh: &'a [f32],
    dh_prev: &'a mut [f32],
}

impl Row for BackwardRow<'_> {
    #[inline(always)]
    fn cell<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize) {
        let [gate_z, gate_r, gate_n] = &mut self.gates;
        let [hidden_z, hidden_r, hidden_n] = &mut self.hidden;
        let (z, r) = (load::<S, WHOLE>(s, gate_z, at), load::<S, WHOLE>(s, gate_r, at));
        let (n, q) = (load::<S, WHOLE>(s, gate_n, at), load::<S, WHOLE>(s, hidden_n, at));
        let dh = load::<S, WHOLE>(s, self.dh, at);
        let [dz, dn] = through_blend(s, z, n, load::<S, WHOLE>(s, self.h_prev, at), dh);
        let dr = through_sigmoid(s, s.mul(dn, q), r);
        store::<S, WHOLE>(s, gate_z, at, dz);
        store::<S, WHOLE>(s, gate_r, at, dr);
        store::<S, WHOLE>(s, gate_n, at, dn);
        store::<S, WHOLE>(s, hidden_z, at, dz);
        store::<S, WHOLE>(s, hidden_r, at, dr);
        store::<S, WHOLE>(s, hidden_n, at, s.mul(dn, r));
        let dh_prev = load::<S, WHOLE>(s, self.dh_prev, at);
        store::<S, WHOLE>(s, self.dh_prev, at, s.mul_add(dh, z, dh_prev));
    }
}

/// Reset before, first phase: gates holds the pre-activations of z and r only.
pub(super) struct ForwardGates<'a> {
    pub(super) h_prev: Mat<'a>,
    pub(super) gates: GroupsMut<'a>,
    pub(super) reset_h: MatMut<'a>,
}

impl Kernel for ForwardGates<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for n in 0..self.gates.rows() {
            let [z, r] = self.gates.row_groups_mut(n);
            let row = ForwardGatesRow { z, r, h_prev: self.h_prev.row(n), reset_h: self.reset_h.row_mut(n) };
            row.sweep(s, self.h_prev.cols());
        }
    }
}

struct ForwardGatesRow<'a> {
    z: &'a mut [f32],
    r: &'a mut [f32],
    h_prev: &'a [f32],
    reset_h: &'a mut [f32],
}

impl Row for ForwardGatesRow<'_> {
    #[inline(always)]
    fn cell<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize) {
        let z = sigmoid(s, load::<S, WHOLE>(s, self.z, at));
        let r = sigmoid(s, load::<S, WHOLE>(s, self.r, at));
        store::<S, WHOLE>(s, self.z, at, z);
        store::<S, WHOLE>(s, self.r, at, r);
        store::<S, WHOLE>(s, self.reset_h, at, s.mul(r, load::<S, WHOLE>(s, self.h_prev, at)));
    }
}

/// Reset before, second phase: gates holds z, r and the pre-activation of n.
pub(super) struct ForwardCandidate<'a> {
    pub(super) h_prev: Mat<'a>,
    pub(super) gates: GroupsMut<'a>,
    pub(super) h: MatMut<'a>,
}

impl Kernel for ForwardCandidate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for row in 0..self.gates.rows() {
            let [z, _, n] = self.gates.row_groups_mut(row);
            let row = ForwardCandidateRow { z, n, h_prev: self.h_prev.row(row), h: self.h.row_mut(row) };
            row.sweep(s, self.h_prev.cols());
        }
    }
}

struct ForwardCandidateRow<'a> {
    z: &'a [f32],
    n: &'a mut [f32],
    h_prev: &'a [f32],
    h: &'a mut [f32],
}

impl Row for ForwardCandidateRow<'_> {
    #[inline(always)]
    fn cell<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize) {
        let n = tanh(s, load::<S, WHOLE>(s, self.n, at));
        let h = blend(s, load::<S, WHOLE>(s, self.z, at), n, load::<S, WHOLE>(s, self.h_prev, at));
        store::<S, WHOLE>(s, self.n, at, n);
        store::<S, WHOLE>(s, self.h, at, h);
    }
}

/// Reset before, first phase backward.
pub(super) struct BackwardCandidate<'a>(pub(super) before::BackwardCandidate<'a>);

impl Kernel for BackwardCandidate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self(mut args) = self;
        for row in 0..args.gates.rows() {
            let [z, _, n] = args.gates.row_groups_mut(row);
            let (h_prev, dh, dh_prev) = (args.h_prev.row(row), args.dh.row(row), args.dh_prev.row_mut(row));
            BackwardCandidateRow { z, n, h_prev, dh, dh_prev }.sweep(s, args.h_prev.cols());
        }
    }
}

struct BackwardCandidateRow<'a> {
    z: &'a mut [f32],
    n: &'a mut [f32],
    h_prev: &'a [f32],
    dh: &'a [f32],
    dh_prev: &'a mut [f32],
}

impl Row for BackwardCandidateRow<'_> {
    #[inline(always)]
    fn cell<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize) {
        let (z, n) = (load::<S, WHOLE>(s, self.z, at), load::<S, WHOLE>(s, self.n, at));
        let dh = load::<S, WHOLE>(s, self.dh, at);
        let [dz, dn] = through_blend(s, z, n, load::<S, WHOLE>(s, self.h_prev, at), dh);
        store::<S, WHOLE>(s, self.z, at, dz);
        store::<S, WHOLE>(s, self.n, at, dn);
        let dh_prev = load::<S, WHOLE>(s, self.dh_prev, at);
        store::<S, WHOLE>(s, self.dh_prev, at, s.mul_add(dh, z, dh_prev));
    }
}

/// Reset before, second phase backward.
pub(super) struct BackwardGates<'a>(pub(super) before::BackwardGates<'a>);

impl Kernel for BackwardGates<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self(mut args) = self;
        for n in 0..args.gates.rows() {
            let (r, h_prev) = (args.gates.row_mut(n, 1), args.h_prev.row(n));
            let (dreset_h, dh_prev) = (args.dreset_h.row(n), args.dh_prev.row_mut(n));
            BackwardGatesRow { r, h_prev, dreset_h, dh_prev }.sweep(s, args.h_prev.cols());
        }
    }
}

struct BackwardGatesRow<'a> {
    r: &'a mut [f32],
    h_prev: &'a [f32],
    dreset_h: &'a [f32],
    dh_prev: &'a mut [f32],
}

impl Row for BackwardGatesRow<'_> {
    #[inline(always)]
    fn cell<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize) {
        let (r, ds) = (load::<S, WHOLE>(s, self.r, at), load::<S, WHOLE>(s, self.dreset_h, at));
        let h_prev = load::<S, WHOLE>(s, self.h_prev, at);
        store::<S, WHOLE>(s, self.r, at, through_sigmoid(s, s.mul(ds, h_prev), r));
        let dh_prev = load::<S, WHOLE>(s, self.dh_prev, at);
        store::<S, WHOLE>(s, self.dh_prev, at, s.mul_add(ds, r, dh_prev));
    }
}
