//! The cell over vectors, for the usual functions and for any. Forward runs on gates that the product has just left in
//! the first-level cache; backward reads each value once and writes each result once, in place of the gates. A row is a
//! run of whole vectors and one partial vector, whose unused lanes hold zeros.

use crate::cells::{Apply, Block, Gate, Prefetch, Row, load, reaching, store};
use crate::element::Element;
use crate::simd::{Kernel, Simd};
use crate::{Mat, MatMut};

/// The element-wise part of a step: gates hold the pre-activations.
pub(super) struct Forward<'a, F, E> {
    pub(super) functions: F,
    pub(super) peephole: Option<[&'a [f32]; 3]>,
    pub(super) c_prev: Mat<'a>,
    pub(super) gates: Block<'a, E>,
    pub(super) ahead: Option<Prefetch<E>>,
    pub(super) c: MatMut<'a>,
    pub(super) h: MatMut<'a>,
}

impl<F: Apply, E: Element> Kernel for Forward<'_, F, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for n in 0..self.gates.rows() {
            if let Some(ahead) = &self.ahead {
                ahead.row(n);
            }
            let row = ForwardRow {
                functions: self.functions,
                peephole: self.peephole,
                gates: self.gates.row(n),
                c_prev: self.c_prev.row(n),
                c: self.c.row_mut(n),
                h: self.h.row_mut(n),
            };
            row.sweep(s, self.c_prev.cols());
        }
    }
}

struct ForwardRow<'a, F, E> {
    functions: F,
    peephole: Option<[&'a [f32]; 3]>,
    gates: [Gate<'a, E>; 4],
    c_prev: &'a [f32],
    c: &'a mut [f32],
    h: &'a mut [f32],
}

impl<F: Apply, E: Element> Row for ForwardRow<'_, F, E> {
    #[inline(always)]
    fn cell<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize) {
        let [gate_i, gate_f, gate_g, gate_o] = &mut self.gates;
        let peephole = if F::PLAIN { None } else { self.peephole };
        let c_prev = load::<S, WHOLE>(s, self.c_prev, at);
        let (mut a_i, mut a_f) = (gate_i.sum::<S, WHOLE>(s, at), gate_f.sum::<S, WHOLE>(s, at));
        if let Some([peep_i, peep_f, _]) = peephole {
            a_i = s.mul_add(load::<S, WHOLE>(s, peep_i, at), c_prev, a_i);
            a_f = s.mul_add(load::<S, WHOLE>(s, peep_f, at), c_prev, a_f);
        }
        let i = self.functions.gate(s, a_i);
        let f = self.functions.gate(s, a_f);
        let g = self.functions.activation(s, gate_g.sum::<S, WHOLE>(s, at));
        let mut a_o = gate_o.sum::<S, WHOLE>(s, at);
        let c = s.mul_add(f, c_prev, s.mul(i, g));
        if let Some([_, _, peep_o]) = peephole {
            a_o = s.mul_add(load::<S, WHOLE>(s, peep_o, at), c, a_o);
        }
        let o = self.functions.gate(s, a_o);
        let h = s.mul(o, self.functions.activation(s, c));
        gate_i.store::<S, WHOLE>(s, at, i);
        gate_f.store::<S, WHOLE>(s, at, f);
        gate_g.store::<S, WHOLE>(s, at, g);
        gate_o.store::<S, WHOLE>(s, at, o);
        store::<S, WHOLE>(s, self.c, at, c);
        store::<S, WHOLE>(s, self.h, at, h);
    }
}

/// A step backward.
pub(super) struct Backward<'a, F, E> {
    pub(super) functions: F,
    pub(super) peephole: Option<[&'a [f32]; 3]>,
    pub(super) args: super::Backward<'a, E>,
}

impl<F: Apply, E: Element> Kernel for Backward<'_, F, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { functions, peephole, mut args } = self;
        for n in 0..args.gates.rows() {
            let row = BackwardRow {
                functions,
                peephole,
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

struct BackwardRow<'a, F, E> {
    functions: F,
    peephole: Option<[&'a [f32]; 3]>,
    gates: [&'a mut [E]; 4],
    c: &'a [f32],
    c_prev: &'a [f32],
    dh: &'a [f32],
    dc: &'a mut [f32],
}

impl<F: Apply, E: Element> Row for BackwardRow<'_, F, E> {
    #[inline(always)]
    fn cell<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize) {
        let [gate_i, gate_f, gate_g, gate_o] = &mut self.gates;
        let (i, f) = (load::<S, WHOLE>(s, gate_i, at), load::<S, WHOLE>(s, gate_f, at));
        let (g, o) = (load::<S, WHOLE>(s, gate_g, at), load::<S, WHOLE>(s, gate_o, at));
        let dh = reaching(s, load::<S, WHOLE>(s, self.dh, at));
        let peephole = if F::PLAIN { None } else { self.peephole };
        let functions = self.functions;
        let act_c = functions.activation(s, load::<S, WHOLE>(s, self.c, at));
        let dc = reaching(s, load::<S, WHOLE>(s, self.dc, at));
        let mut dc = s.add(dc, functions.through_activation(s, s.mul(dh, o), act_c));
        let d_o = functions.through_gate(s, s.mul(dh, act_c), o);
        if let Some([_, _, peep_o]) = peephole {
            dc = s.mul_add(d_o, load::<S, WHOLE>(s, peep_o, at), dc);
        }
        let c_prev = load::<S, WHOLE>(s, self.c_prev, at);
        let di = functions.through_gate(s, s.mul(dc, g), i);
        let df = functions.through_gate(s, s.mul(dc, c_prev), f);
        store::<S, WHOLE>(s, gate_i, at, di);
        store::<S, WHOLE>(s, gate_f, at, df);
        store::<S, WHOLE>(s, gate_g, at, functions.through_activation(s, s.mul(dc, i), g));
        store::<S, WHOLE>(s, gate_o, at, d_o);
        let mut dc_prev = s.mul(dc, f);
        if let Some([peep_i, peep_f, _]) = peephole {
            dc_prev = s.mul_add(di, load::<S, WHOLE>(s, peep_i, at), dc_prev);
            dc_prev = s.mul_add(df, load::<S, WHOLE>(s, peep_f, at), dc_prev);
        }
        store::<S, WHOLE>(s, self.dc, at, dc_prev);
    }
}
