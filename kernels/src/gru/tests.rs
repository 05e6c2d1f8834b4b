use super::reference::{self, Inputs, OutputGradients, Parameters, Reset};
use super::*;
use crate::activation::{self, Activation};
use crate::cells::reference::sigmoid;
use crate::cells::testing::{
    Field, PRECISIONS, Random, U, assert_same_bits, awkward, bits, check_gradients, check_with_faults, cuts,
    function_bound, hidden_side, noise, product_bound, sizes, within,
};
use crate::check::{Claim, dot, wide};
use crate::gemm::{Packed, Precision};
use crate::isa::{sets_under_test, who_differs};
use proptest::prelude::*;
use sequence::{Outcome, Sequence};

mod sequence;

proptest! {
    #[test]
    fn the_reference_backward_is_the_derivative_of_its_forward(
        (dims, seed) in sizes(), before: bool, smooth in (0..3usize, 0..2usize)
    ) {
        // Differences would see the kinks of the others, and gates without a bound would multiply to anything.
        let named = [Activation::Tanh, Activation::Sigmoid, Activation::Linear];
        let functions = Functions { activation: named[smooth.0], recurrent: named[smooth.1] };
        let reset = reference::Form { reset: if before { Reset::Before } else { Reset::After }, functions };
        let mut random = Random::new(seed);
        let width = 3 * dims.units;
        let x = random.many(dims.steps * dims.rows * dims.inputs, 1.0);
        let kernel = random.many(dims.inputs * width, 1.0);
        let recurrent_kernel = random.many(dims.units * width, 1.0);
        let (bias, h0) = (random.many(if before { width } else { 2 * width }, 1.0), random.many(dims.state(), 1.0));
        let (dy, dh_last) = (random.many(dims.steps * dims.state(), 1.0), random.many(dims.state(), 1.0));

        let parameters = Parameters { kernel: &kernel, recurrent_kernel: &recurrent_kernel, bias: Some(&bias) };
        let inputs = Inputs { x: &x, h0: &h0 };
        let trace = reference::forward(dims, reset, &parameters, &inputs);
        let outputs = OutputGradients { dy: &dy, dh_last: &dh_last, dc_last: &[] };
        let d = reference::backward(dims, reset, &parameters, &inputs, &trace, &outputs);
        let claims = [
            Claim { name: "x", at: &x, gradient: &d.dx },
            Claim { name: "kernel", at: &kernel, gradient: &d.dkernel },
            Claim { name: "recurrent_kernel", at: &recurrent_kernel, gradient: &d.drecurrent_kernel },
            Claim { name: "bias", at: &bias, gradient: &d.dbias },
            Claim { name: "h0", at: &h0, gradient: &d.dh0 },
        ];
        let result = check_gradients(&claims, |at| {
            let [x, kernel, recurrent_kernel, bias, h0] = at else { unreachable!() };
            let parameters = Parameters { kernel, recurrent_kernel, bias: Some(bias) };
            let h = reference::forward(dims, reset, &parameters, &Inputs { x, h0 }).h;
            let last = if dims.steps == 0 { &h0[..] } else { &h[dims.step(dims.steps - 1, dims.units)] };
            dot(&h, &dy) + dot(last, &dh_last)
        });
        prop_assert!(result.is_ok(), "{dims:?} {reset:?}: {}", result.unwrap_err());
    }
}

const RESETS: [Reset; 2] = [Reset::After, Reset::Before];

#[test]
fn every_step_is_within_its_bound() {
    for isa in sets_under_test() {
        for (rows, units) in awkward(isa.lanes()) {
            let kinds = [(Reset::After, 6), (Reset::After, 7), (Reset::Before, 7)];
            for ((reset, seed), precision) in kinds.into_iter().flat_map(|kind| PRECISIONS.map(|p| (kind, p))) {
                let sequence = Sequence { precision, ..Sequence::new(reset, [2, rows, units], seed) };
                let outcome = sequence.run(isa, &[0, units]);
                let state = rows * units;
                for at in 0..sequence.steps * state {
                    let unit = Unit {
                        sequence: &sequence,
                        outcome: &outcome,
                        t: at / state,
                        n: at % state / units,
                        j: at % units,
                    };
                    let name =
                        format!("{isa} {reset:?} {rows} x {units} step {} row {} unit {}", unit.t, unit.n, unit.j);
                    match reset {
                        Reset::After => unit.check_forward_after(&name),
                        Reset::Before => unit.check_forward_before(&name),
                    }
                    unit.check_backward(&name);
                }
            }
        }
    }
}

/// One unit of one row and step, to be compared with the reference of the values that it was given, by the bounds of
/// the modules' documentation.
struct Unit<'a> {
    sequence: &'a Sequence,
    outcome: &'a Outcome,
    t: usize,
    n: usize,
    j: usize,
}

impl Unit<'_> {
    /// The place in (T, N, H).
    fn at(&self) -> usize {
        (self.t * self.sequence.rows + self.n) * self.sequence.units + self.j
    }

    /// The place of gate `k` in (T, N, 3 H).
    fn gate(&self, k: usize) -> usize {
        ((self.t * self.sequence.rows + self.n) * 3 + k) * self.sequence.units + self.j
    }

    fn gates(&self) -> [f64; 3] {
        std::array::from_fn(|k| f64::from(self.outcome.gates[self.gate(k)]))
    }

    fn h_prev(&self) -> f64 {
        f64::from(self.outcome.h[self.at()])
    }

    /// h after the step.
    fn h(&self) -> f32 {
        self.outcome.h[self.at() + self.sequence.rows * self.sequence.units]
    }

    fn pre(&self, k: usize) -> f64 {
        f64::from(self.sequence.pre[self.gate(k)])
    }

    /// The hidden side of gate `k` over the rows `a` of this step, and the same of magnitudes.
    fn hidden(&self, a: &[f32], k: usize) -> (f64, f64) {
        let units = self.sequence.units;
        let (sum, size) =
            hidden_side(self.sequence.precision, [a, &self.sequence.recurrent], 3 * units, self.n, k * units + self.j);
        let bias = self.sequence.recurrent_bias.as_ref().map_or(0.0, |bias| f64::from(bias[k * units + self.j]));
        (sum + bias, size + bias.abs())
    }

    fn check_forward_after(&self, name: &str) {
        let (sequence, outcome) = (self.sequence, self.outcome);
        let function = function_bound(sequence.precision);
        let h_prev = &outcome.h[self.t * sequence.rows * sequence.units..];
        let hidden = [0, 1, 2].map(|k| self.hidden(h_prev, k));
        let size = (0..3).map(|k| self.pre(k).abs() + hidden[k].1).fold(0.0, f64::max);
        let e = product_bound(sequence.precision, sequence.units) * size;
        let [z, r] = [0, 1].map(|k| sigmoid(self.pre(k) + hidden[k].0));
        let q = hidden[2].0;
        let n = (self.pre(2) + r * q).tanh();
        for (k, gate) in [z, r].into_iter().enumerate() {
            within(&format!("{name}: gate {k}"), outcome.gates[self.gate(k)], gate, e / 4.0 + function);
        }
        within(&format!("{name}: q"), outcome.hidden[self.at()], q, e);
        let n_bound = (1.0 + q.abs()) * (1.25 * e + 2.0 * function);
        within(&format!("{name}: n"), outcome.gates[self.gate(2)], n, n_bound);
        let bound = n_bound + (1.0 + self.h_prev().abs()) * (e / 4.0 + 2.0 * function);
        within(&format!("{name}: h"), self.h(), reference::blend(z, n, self.h_prev()), bound);
    }

    fn check_forward_before(&self, name: &str) {
        let (sequence, outcome) = (self.sequence, self.outcome);
        let function = function_bound(sequence.precision);
        let state = sequence.rows * sequence.units;
        let terms = product_bound(sequence.precision, sequence.units);
        for k in [0, 1] {
            let (sum, size) = self.hidden(&outcome.h[self.t * state..], k);
            let e = terms * (self.pre(k).abs() + size);
            let want = sigmoid(self.pre(k) + sum);
            within(&format!("{name}: gate {k}"), outcome.gates[self.gate(k)], want, e / 4.0 + function);
            if k == 1 {
                let bound = self.h_prev().abs() * (e / 4.0 + function + 2.0 * U);
                within(&format!("{name}: s"), outcome.hidden[self.at()], want * self.h_prev(), bound);
            }
        }
        let (sum, size) = self.hidden(&outcome.hidden[self.t * state..], 2);
        let e = terms * (self.pre(2).abs() + size);
        let n = (self.pre(2) + sum).tanh();
        within(&format!("{name}: n"), outcome.gates[self.gate(2)], n, e + function);
        let bound = e + function + 8.0 * U * (1.0 + self.h_prev().abs());
        within(&format!("{name}: h"), self.h(), reference::blend(self.gates()[0], n, self.h_prev()), bound);
    }

    fn check_backward(&self, name: &str) {
        let (sequence, outcome) = (self.sequence, self.outcome);
        let ([z, r, n], h_prev) = (self.gates(), self.h_prev());
        let dh = f64::from(outcome.dh[self.at() + sequence.rows * sequence.units]);
        let (dz, dn, mut direct) = reference::blend_backward(z, n, h_prev, dh);
        let hidden = f64::from(outcome.hidden[self.at()]);
        let close = |what, got, want, bound| within(&format!("{name}: {what}"), got, want, bound);
        let (dr, bound) = if sequence.reset == Reset::After {
            let bound = 16.0 * U * dh.abs() * (1.0 + h_prev.abs()) * (1.0 + hidden.abs());
            let dr = dn * hidden * r * (1.0 - r);
            for (k, d) in [dz, dr, dn * r].into_iter().enumerate() {
                close("the hidden side", outcome.dhidden[self.gate(k)], d, bound);
            }
            (dr, bound)
        } else {
            let ds = f64::from(outcome.dhidden[self.at()]);
            direct += ds * r;
            (ds * h_prev * r * (1.0 - r), 16.0 * U * (dh.abs() + ds.abs()) * (1.0 + h_prev.abs()))
        };
        for (k, d) in [dz, dr, dn].into_iter().enumerate() {
            close("da", outcome.dpre[self.gate(k)], d, bound);
        }
        close("dh_prev", outcome.dh_direct[self.at()], direct, bound);
    }
}

#[test]
fn the_bits_depend_neither_on_blocks_nor_on_the_width_of_registers() {
    for (rows, units) in awkward(16) {
        for (reset, precision) in RESETS.into_iter().flat_map(|reset| PRECISIONS.map(|p| (reset, p))) {
            let sequence = Sequence { precision, ..Sequence::new(reset, [2, rows, units], 11) };
            // The candidate's panels are multiples of the gates'.
            let groups = if reset == Reset::After { 3 } else { 1 };
            assert_same_bits(&format!("{reset:?} {rows} x {units}"), precision, [groups, units], |isa, cuts| {
                let o = sequence.run(isa, cuts);
                bits(&[&o.gates, &o.hidden, &o.h, &o.dpre, &o.dhidden, &o.dh])
            });
        }
    }
}

#[test]
fn a_whole_backward_is_the_derivative_and_faults_in_it_are_caught() {
    for isa in sets_under_test() {
        for reset in RESETS {
            let sequence = Sequence::new(reset, [3, 2, isa.lanes() + 1], 23);
            let (steps, rows, units) = (sequence.steps, sequence.rows, sequence.units);
            let outcome = sequence.run(isa, &[0, units]);
            // With W = 1 and x = x W + b the reference's loss is a function of what the kernels were given.
            let dims = reference::Dims { steps, rows, inputs: 3 * units, units };
            let mut kernel = vec![0.0; 9 * units * units];
            (0..3 * units).for_each(|i| kernel[i * 3 * units + i] = 1.0);
            let [pre, recurrent, h0, dy] =
                [&sequence.pre, &sequence.recurrent, &sequence.h0, &sequence.dy].map(|x| wide(x));
            let bias = sequence.recurrent_bias.as_ref().map(|bias| {
                let mut both = vec![0.0; 3 * units];
                both.extend(wide(bias));
                both
            });
            let loss = |pre: &[f64], h0: &[f64]| {
                let bias = bias.as_deref();
                let parameters = Parameters { kernel: &kernel, recurrent_kernel: &recurrent, bias };
                dot(&reference::forward(dims, reset, &parameters, &Inputs { x: pre, h0 }).h, &dy)
            };
            let name = |what| format!("{isa} {reset:?} {what}");
            check_with_faults(&name("pre"), &pre, &outcome.dpre, |pre| loss(pre, &h0));
            check_with_faults(&name("h0"), &h0, &outcome.dh[..dims.state()], |h0| loss(&pre, h0));
        }
    }
}

/// Every pair of functions with either reset.
fn forms() -> impl Iterator<Item = (Reset, Functions)> {
    let pairs = Activation::ALL.into_iter().flat_map(|activation| Activation::ALL.map(|r| (activation, r)));
    pairs.flat_map(|(activation, recurrent)| RESETS.map(|reset| (reset, Functions { activation, recurrent })))
}

#[test]
fn every_form_is_within_its_bound() {
    for isa in sets_under_test() {
        for (reset, functions) in forms() {
            let units = isa.lanes() + 1;
            let sequence = Sequence { functions, ..Sequence::new(reset, [2, 3, units], 7) };
            let outcome = sequence.run(isa, &[0, units]);
            for at in 0..sequence.steps * 3 * units {
                let (t, n, j) = (at / (3 * units), at % (3 * units) / units, at % units);
                let unit = Unit { sequence: &sequence, outcome: &outcome, t, n, j };
                unit.check_form(&format!("{isa} {reset:?} {functions:?} step {t} row {n} unit {j}"));
            }
        }
    }
}

impl Unit<'_> {
    /// As the other checks, by the same lines with 1 for every slope: a gate's value may be any number.
    fn check_form(&self, name: &str) {
        let (sequence, outcome) = (self.sequence, self.outcome);
        let Functions { activation, recurrent } = sequence.functions;
        let state = sequence.rows * sequence.units;
        let terms = product_bound(sequence.precision, sequence.units);
        let rounded = |x: f64| 4.0 * U * x.abs().max(1.0);
        let close = |what: &str, got, want, bound| within(&format!("{name}: {what}"), got, want, bound);
        let h_prev = self.h_prev();
        let gate = |k: usize| {
            let (sum, size) = self.hidden(&outcome.h[self.t * state..], k);
            let y = activation::reference::forward(recurrent, self.pre(k) + sum);
            (y, terms * (self.pre(k).abs() + size) + rounded(y))
        };
        let ((z, e_z), (r, e_r)) = (gate(0), gate(1));
        close("z", outcome.gates[self.gate(0)], z, e_z);
        close("r", outcome.gates[self.gate(1)], r, e_r);
        let (pre_n, e_n) = if sequence.reset == Reset::After {
            let (q, size) = self.hidden(&outcome.h[self.t * state..], 2);
            let e_q = terms * size;
            close("q", outcome.hidden[self.at()], q, e_q);
            let pre = self.pre(2) + r * q;
            (pre, e_r * q.abs() + e_q * (r.abs() + e_r) + 2.0 * U * ((r * q).abs() + pre.abs()))
        } else {
            close("s", outcome.hidden[self.at()], r * h_prev, e_r * h_prev.abs() + 2.0 * U * (r * h_prev).abs());
            // Measured from the s that the product was given.
            let (sum, size) = self.hidden(&outcome.hidden[self.t * state..], 2);
            (self.pre(2) + sum, terms * (self.pre(2).abs() + size))
        };
        let n = activation::reference::forward(activation, pre_n);
        let e_n = e_n + rounded(n);
        close("n", outcome.gates[self.gate(2)], n, e_n);
        let size = (z * h_prev).abs() + (1.0 + z.abs()) * n.abs();
        let bound = e_z * (h_prev.abs() + n.abs() + e_n) + (1.0 + z.abs()) * e_n + 4.0 * U * size;
        close("h", self.h(), reference::blend(z, n, h_prev), bound);

        let ([z, r, n], hidden) = (self.gates(), f64::from(outcome.hidden[self.at()]));
        let dh = f64::from(outcome.dh[self.at() + state]);
        let (dz, dn, mut direct) = reference::blend_backward_as(sequence.functions, z, n, h_prev, dh);
        let through = |d| activation::reference::backward(recurrent, r, d);
        let size_z = dh.abs() * (h_prev.abs() + n.abs());
        let size_n = dh.abs() * (1.0 + z.abs());
        let mut size_h = (dh * z).abs();
        let (dr, size_r) = if sequence.reset == Reset::After {
            close("dq", outcome.dhidden[self.gate(2)], dn * r, 16.0 * U * size_n * r.abs());
            (through(dn * hidden), size_n * hidden.abs())
        } else {
            let ds = f64::from(outcome.dhidden[self.at()]);
            direct += ds * r;
            size_h += (ds * r).abs();
            (through(ds * h_prev), (ds * h_prev).abs())
        };
        for (k, (d, size)) in [(dz, size_z), (dr, size_r), (dn, size_n)].into_iter().enumerate() {
            close("da", outcome.dpre[self.gate(k)], d, 16.0 * U * size);
        }
        close("dh_prev", outcome.dh_direct[self.at()], direct, 16.0 * U * size_h);
    }
}

#[test]
fn the_bits_of_every_form_are_those_of_any_set_and_cut() {
    let units = 37;
    for (reset, functions) in forms() {
        let sequence = Sequence { functions, ..Sequence::new(reset, [2, 3, units], 11) };
        let mut found: Vec<(Isa, Vec<u32>)> = Vec::new();
        for isa in sets_under_test() {
            let groups = if reset == Reset::After { 3 } else { 1 };
            let granule = Packed::new(isa, Precision::F32, units, groups, units).granule();
            let [whole, panels] = cuts(units, granule).map(|cuts| {
                let o = sequence.run(isa, &cuts);
                bits(&[&o.gates, &o.hidden, &o.h, &o.dpre, &o.dhidden, &o.dh])
            });
            assert!(whole == panels, "{isa} {reset:?} {functions:?}: blocks of one panel give other bits");
            found.push((isa, whole));
        }
        assert_eq!(who_differs(Precision::F32, &found), None, "{reset:?} {functions:?}");
    }
}

#[test]
fn the_gradient_of_h_prev_is_added_to_what_is_there() {
    for isa in sets_under_test() {
        let units = isa.lanes() + 1;
        let [gates, hidden] = [1, 2].map(|seed| noise(3 * units, 1.0, seed));
        let [h_prev, dh, there] = [3, 4, 5].map(|seed| noise(units, 1.0, seed));
        let (mut out_gates, mut out_hidden, mut dh_prev) = (gates.clone(), hidden, there.clone());
        backward(
            isa,
            Backward {
                gates: MatMut::dense(&mut out_gates, 1, 3 * units).into_groups(3),
                hidden: MatMut::dense(&mut out_hidden, 1, 3 * units).into_groups(3),
                h_prev: Mat::dense(&h_prev, 1, units),
                dh: Mat::dense(&dh, 1, units),
                dh_prev: MatMut::dense(&mut dh_prev, 1, units),
            },
        );
        for j in 0..units {
            let want = f64::from(there[j]) + f64::from(dh[j]) * f64::from(gates[j]);
            within(&format!("{isa} dh_prev[{j}]"), dh_prev[j], want, 16.0 * U);
        }
    }
}

#[test]
fn gradients_that_have_vanished_are_zero() {
    for (isa, reset) in sets_under_test().into_iter().flat_map(|isa| RESETS.map(|reset| (isa, reset))) {
        let units = isa.lanes() + 3;
        let scaled = |scale: f32| {
            let mut sequence = Sequence::new(reset, [3, 2, units], 53);
            sequence.dy.iter_mut().for_each(|d| *d *= scale);
            sequence.run(isa, &[0, units])
        };
        let (plain, small, vanished) = (scaled(1.0), scaled(2f32.powi(-30)), scaled(2f32.powi(-81)));
        // Backward is linear in what it is given, so a power of two goes through it exactly.
        let expected = |d: &[f32]| -> Vec<f32> { d.iter().map(|d| d * 2f32.powi(-30)).collect() };
        assert!(bits(&[&small.dpre, &small.dh]) == bits(&[&expected(&plain.dpre), &expected(&plain.dh)]), "{isa}");
        let state = 2 * units;
        let mut left = vanished.dpre.iter().chain(&vanished.dhidden).chain(&vanished.dh[..state]);
        assert!(left.all(|&d| d == 0.0), "{isa} {reset:?}: not zero");
    }
}

#[test]
fn huge_values_saturate_and_nan_goes_through() {
    for isa in sets_under_test() {
        let units = isa.lanes() + 3;
        for reset in RESETS {
            let mut sequence = Sequence::new(reset, [1, 2, units], 31);
            sequence.pre.iter_mut().for_each(|x| *x *= 1e30);
            let outcome = sequence.run(isa, &[0, units]);
            assert!(outcome.h.iter().chain(&outcome.dpre).all(|x| x.is_finite()), "{isa} {reset:?}: not finite");
            assert!(outcome.gates.iter().all(|g| [-1.0, 0.0, 1.0].contains(g)), "{isa} {reset:?}: not saturated");
            for k in 0..3 {
                let mut sequence = Sequence::new(reset, [1, 2, units], 31);
                sequence.pre[k * units + units - 1] = f32::NAN;
                let outcome = sequence.run(isa, &[0, units]);
                let h = &outcome.h[2 * units..];
                assert!(h[units - 1].is_nan(), "{isa} {reset:?}: a NaN in gate {k} was lost");
                let spread = h[units..].iter().any(|h| h.is_nan());
                assert!(!spread, "{isa} {reset:?}: a NaN in gate {k} spread to another row");
            }
        }
    }
}

#[test]
#[should_panic(expected = "hidden is 2 x 4, not 2 x 5")]
fn a_wrong_shape_is_refused() {
    let (x, mut gates, mut hidden, mut dh_prev) = ([0.0; 10], [0.0; 30], [0.0; 24], [0.0; 10]);
    let args = Backward {
        gates: MatMut::dense(&mut gates, 2, 15).into_groups(3),
        hidden: MatMut::dense(&mut hidden, 2, 12).into_groups(3),
        h_prev: Mat::dense(&x, 2, 5),
        dh: Mat::dense(&x, 2, 5),
        dh_prev: MatMut::dense(&mut dh_prev, 2, 5),
    };
    backward(Isa::PORTABLE, args);
}

#[test]
fn nothing_to_do_is_fine() {
    for (rows, units) in [(0, 5), (3, 0)] {
        for reset in RESETS {
            let outcome = Sequence::new(reset, [2, rows, units], 1).run(Isa::best(), &[0, units]);
            assert!(outcome.h.is_empty());
        }
    }
}
