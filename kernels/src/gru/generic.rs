//! The cell over vectors, with the reset gate after and before the product. Forward runs on the block that the product
//! has just left in the first-level cache; backward reads each value once and writes each result once, in place. A row
//! is a run of whole vectors and one partial vector, whose unused lanes hold zeros ([`Row::sweep`]).

use super::reset_before;
use crate::cells::{Apply, Block, Gate, Prefetch, Row, load, reaching, store};
use crate::element::Element;
use crate::simd::{Kernel, Simd};
use crate::{GroupsMut, Mat, MatMut};

/// z h_prev + (1 - z) n
#[inline(always)]
fn blend<S: Simd>(s: S, z: S::F32, n: S::F32, h_prev: S::F32) -> S::F32 {
    s.mul_add(z, s.sub(h_prev, n), n)
}

/// da_z, da_n: through [`blend`] to the pre-activations.
#[inline(always)]
fn through_blend<S: Simd>(s: S, f: impl Apply, [z, n, h_prev, dh]: [S::F32; 4]) -> [S::F32; 2] {
    let dz = f.through_gate(s, s.mul(dh, s.sub(h_prev, n)), z);
    let dn = f.through_activation(s, s.mul(dh, s.sub(s.splat(1.0), z)), n);
    [dz, dn]
}

/// The element-wise part of a step: gates hold x W + b, hidden h_prev U.
pub(super) struct Forward<'a, F, E> {
    pub(super) functions: F,
    pub(super) h_prev: Mat<'a>,
    pub(super) bias: Option<[&'a [f32]; 3]>,
    pub(super) gates: GroupsMut<'a, E>,
    pub(super) hidden: Block<'a, E>,
    pub(super) ahead: Option<[Prefetch<E>; 2]>,
    pub(super) h: MatMut<'a>,
}

impl<F: Apply, E: Element> Kernel for Forward<'_, F, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for n in 0..self.gates.rows() {
            if let Some(ahead) = &self.ahead {
                ahead.iter().for_each(|ahead| ahead.row(n));
            }
            let row = ForwardRow {
                functions: self.functions,
                h_prev: self.h_prev.row(n),
                bias: self.bias,
                gates: self.gates.row_groups_mut(n),
                hidden: self.hidden.row(n),
                h: self.h.row_mut(n),
            };
            row.sweep(s, self.h_prev.cols());
        }
    }
}

struct ForwardRow<'a, F, E> {
    functions: F,
    h_prev: &'a [f32],
    bias: Option<[&'a [f32]; 3]>,
    gates: [&'a mut [E]; 3],
    hidden: [Gate<'a, E>; 3],
    h: &'a mut [f32],
}

impl<F: Apply, E: Element> Row for ForwardRow<'_, F, E> {
    #[inline(always)]
    fn cell<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize) {
        let [gate_z, gate_r, gate_n] = &mut self.gates;
        let [mut z, mut r, mut q] = [s.splat(0.0); 3];
        if let Some([bias_z, bias_r, bias_n]) = self.bias {
            z = load::<S, WHOLE>(s, bias_z, at);
            r = load::<S, WHOLE>(s, bias_r, at);
            q = load::<S, WHOLE>(s, bias_n, at);
        }
        z = s.add(z, self.hidden[0].hidden::<S, WHOLE>(s, at));
        r = s.add(r, self.hidden[1].hidden::<S, WHOLE>(s, at));
        q = s.add(q, self.hidden[2].hidden::<S, WHOLE>(s, at));
        let z = self.functions.gate(s, s.add(z, load::<S, WHOLE>(s, gate_z, at)));
        let r = self.functions.gate(s, s.add(r, load::<S, WHOLE>(s, gate_r, at)));
        let n = self.functions.activation(s, s.mul_add(r, q, load::<S, WHOLE>(s, gate_n, at)));
        let h = blend(s, z, n, load::<S, WHOLE>(s, self.h_prev, at));
        store::<S, WHOLE>(s, gate_z, at, z);
        store::<S, WHOLE>(s, gate_r, at, r);
        store::<S, WHOLE>(s, gate_n, at, n);
        self.hidden[2].store::<S, WHOLE>(s, at, q);
        store::<S, WHOLE>(s, self.h, at, h);
    }
}

/// A step backward.
pub(super) struct Backward<'a, F, E> {
    pub(super) functions: F,
    pub(super) args: super::Backward<'a, E>,
}

impl<F: Apply, E: Element> Kernel for Backward<'_, F, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { functions, mut args } = self;
        for n in 0..args.gates.rows() {
            let row = BackwardRow {
                functions,
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

struct BackwardRow<'a, F, E> {
    functions: F,
    gates: [&'a mut [E]; 3],
    hidden: [&'a mut [E]; 3],
    h_prev: &'a [f32],
    dh: &'a [f32],
    dh_prev: &'a mut [f32],
}

impl<F: Apply, E: Element> Row for BackwardRow<'_, F, E> {
    #[inline(always)]
    fn cell<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize) {
        let [gate_z, gate_r, gate_n] = &mut self.gates;
        let [hidden_z, hidden_r, hidden_n] = &mut self.hidden;
        let (z, r) = (load::<S, WHOLE>(s, gate_z, at), load::<S, WHOLE>(s, gate_r, at));
        let (n, q) = (load::<S, WHOLE>(s, gate_n, at), load::<S, WHOLE>(s, hidden_n, at));
        let dh = reaching(s, load::<S, WHOLE>(s, self.dh, at));
        let h_prev = load::<S, WHOLE>(s, self.h_prev, at);
        let [dz, dn] = through_blend(s, self.functions, [z, n, h_prev, dh]);
        let dr = self.functions.through_gate(s, s.mul(dn, q), r);
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
pub(super) struct ForwardGates<'a, F, E> {
    pub(super) functions: F,
    pub(super) h_prev: Mat<'a>,
    pub(super) gates: Block<'a, E>,
    pub(super) reset_h: MatMut<'a>,
}

impl<F: Apply, E: Element> Kernel for ForwardGates<'_, F, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for n in 0..self.gates.rows() {
            let [z, r] = self.gates.row(n);
            let (functions, h_prev, reset_h) = (self.functions, self.h_prev.row(n), self.reset_h.row_mut(n));
            let row = ForwardGatesRow { functions, z, r, h_prev, reset_h };
            row.sweep(s, self.h_prev.cols());
        }
    }
}

struct ForwardGatesRow<'a, F, E> {
    functions: F,
    z: Gate<'a, E>,
    r: Gate<'a, E>,
    h_prev: &'a [f32],
    reset_h: &'a mut [f32],
}

impl<F: Apply, E: Element> Row for ForwardGatesRow<'_, F, E> {
    #[inline(always)]
    fn cell<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize) {
        let z = self.functions.gate(s, self.z.sum::<S, WHOLE>(s, at));
        let r = self.functions.gate(s, self.r.sum::<S, WHOLE>(s, at));
        self.z.store::<S, WHOLE>(s, at, z);
        self.r.store::<S, WHOLE>(s, at, r);
        store::<S, WHOLE>(s, self.reset_h, at, s.mul(r, load::<S, WHOLE>(s, self.h_prev, at)));
    }
}

/// Reset before, second phase: `zr` holds z and r, the candidate the pre-activation of n.
pub(super) struct ForwardCandidate<'a, F, E> {
    pub(super) functions: F,
    pub(super) h_prev: Mat<'a>,
    pub(super) zr: GroupsMut<'a, E>,
    pub(super) candidate: Block<'a, E>,
    pub(super) h: MatMut<'a>,
}

impl<F: Apply, E: Element> Kernel for ForwardCandidate<'_, F, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for row in 0..self.zr.rows() {
            let ([z, _], [n]) = (self.zr.row_groups_mut(row), self.candidate.row(row));
            let (functions, h_prev, h) = (self.functions, self.h_prev.row(row), self.h.row_mut(row));
            let row = ForwardCandidateRow { functions, z, n, h_prev, h };
            row.sweep(s, self.h_prev.cols());
        }
    }
}

struct ForwardCandidateRow<'a, F, E> {
    functions: F,
    z: &'a [E],
    n: Gate<'a, E>,
    h_prev: &'a [f32],
    h: &'a mut [f32],
}

impl<F: Apply, E: Element> Row for ForwardCandidateRow<'_, F, E> {
    #[inline(always)]
    fn cell<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize) {
        let n = self.functions.activation(s, self.n.sum::<S, WHOLE>(s, at));
        let h = blend(s, load::<S, WHOLE>(s, self.z, at), n, load::<S, WHOLE>(s, self.h_prev, at));
        self.n.store::<S, WHOLE>(s, at, n);
        store::<S, WHOLE>(s, self.h, at, h);
    }
}

/// Reset before, first phase backward.
pub(super) struct BackwardCandidate<'a, F, E> {
    pub(super) functions: F,
    pub(super) args: reset_before::BackwardCandidate<'a, E>,
}

impl<F: Apply, E: Element> Kernel for BackwardCandidate<'_, F, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { functions, mut args } = self;
        for row in 0..args.gates.rows() {
            let [z, _, n] = args.gates.row_groups_mut(row);
            let (h_prev, dh, dh_prev) = (args.h_prev.row(row), args.dh.row(row), args.dh_prev.row_mut(row));
            BackwardCandidateRow { functions, z, n, h_prev, dh, dh_prev }.sweep(s, args.h_prev.cols());
        }
    }
}

struct BackwardCandidateRow<'a, F, E> {
    functions: F,
    z: &'a mut [E],
    n: &'a mut [E],
    h_prev: &'a [f32],
    dh: &'a [f32],
    dh_prev: &'a mut [f32],
}

impl<F: Apply, E: Element> Row for BackwardCandidateRow<'_, F, E> {
    #[inline(always)]
    fn cell<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize) {
        let (z, n) = (load::<S, WHOLE>(s, self.z, at), load::<S, WHOLE>(s, self.n, at));
        let dh = reaching(s, load::<S, WHOLE>(s, self.dh, at));
        let h_prev = load::<S, WHOLE>(s, self.h_prev, at);
        let [dz, dn] = through_blend(s, self.functions, [z, n, h_prev, dh]);
        store::<S, WHOLE>(s, self.z, at, dz);
        store::<S, WHOLE>(s, self.n, at, dn);
        let dh_prev = load::<S, WHOLE>(s, self.dh_prev, at);
        store::<S, WHOLE>(s, self.dh_prev, at, s.mul_add(dh, z, dh_prev));
    }
}

/// Reset before, second phase backward.
pub(super) struct BackwardGates<'a, F, E> {
    pub(super) functions: F,
    pub(super) args: reset_before::BackwardGates<'a, E>,
}

impl<F: Apply, E: Element> Kernel for BackwardGates<'_, F, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { functions, mut args } = self;
        for n in 0..args.gates.rows() {
            let (r, h_prev) = (args.gates.row_mut(n, 1), args.h_prev.row(n));
            let (dreset_h, dh_prev) = (args.dreset_h.row(n), args.dh_prev.row_mut(n));
            BackwardGatesRow { functions, r, h_prev, dreset_h, dh_prev }.sweep(s, args.h_prev.cols());
        }
    }
}

struct BackwardGatesRow<'a, F, E> {
    functions: F,
    r: &'a mut [E],
    h_prev: &'a [f32],
    dreset_h: &'a [f32],
    dh_prev: &'a mut [f32],
}

impl<F: Apply, E: Element> Row for BackwardGatesRow<'_, F, E> {
    #[inline(always)]
    fn cell<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize) {
        let (r, ds) = (load::<S, WHOLE>(s, self.r, at), load::<S, WHOLE>(s, self.dreset_h, at));
        let h_prev = load::<S, WHOLE>(s, self.h_prev, at);
        store::<S, WHOLE>(s, self.r, at, self.functions.through_gate(s, s.mul(ds, h_prev), r));
        let dh_prev = load::<S, WHOLE>(s, self.dh_prev, at);
        store::<S, WHOLE>(s, self.dh_prev, at, s.mul_add(ds, r, dh_prev));
    }
}
