use super::reference::{self, Inputs, OutputGradients, Parameters};
use super::*;
use crate::Buffer;
use crate::activation::{self, Activation};
use crate::cells::testing::{
    Field, PRECISIONS, Random, U, assert_same_bits, awkward, bits, check_gradients, check_with_faults, cuts,
    function_bound, hidden_side, noise, product_bound, sizes, within,
};
use crate::check::{Claim, dot, wide};
use crate::gemm::{self, Init, Packed, Precision};
use crate::isa::{sets_under_test, who_differs};
use proptest::prelude::*;

proptest! {
    #[test]
    fn the_reference_backward_is_the_derivative_of_its_forward(
        (dims, seed) in sizes(), with_bias: bool, smooth in (0..3usize, 0..2usize), peep: bool
    ) {
        // Differences would see the kinks of the others, and gates without a bound would multiply to anything.
        let named = [Activation::Tanh, Activation::Sigmoid, Activation::Linear];
        let functions = Functions { activation: named[smooth.0], recurrent: named[smooth.1] };
        let mut random = Random::new(seed);
        let width = 4 * dims.units;
        let x = random.many(dims.steps * dims.rows * dims.inputs, 1.0);
        let kernel = random.many(dims.inputs * width, 1.0);
        let recurrent_kernel = random.many(dims.units * width, 1.0);
        let bias = random.many(if with_bias { width } else { 0 }, 1.0);
        let (h0, c0) = (random.many(dims.state(), 1.0), random.many(dims.state(), 1.5));
        let peephole = random.many(if peep { 3 * dims.units } else { 0 }, 0.5);
        fn form(functions: Functions, p: &[f64]) -> reference::Form<'_> {
            reference::Form { functions, peephole: (!p.is_empty()).then_some(p) }
        }
        let dy = random.many(dims.steps * dims.state(), 1.0);
        let (dh_last, dc_last) = (random.many(dims.state(), 1.0), random.many(dims.state(), 1.0));

        let parameters = Parameters { kernel: &kernel, recurrent_kernel: &recurrent_kernel, bias: with_bias.then_some(&bias[..]) };
        let inputs = Inputs { x: &x, h0: &h0, c0: &c0 };
        let trace = reference::forward_as((dims, form(functions, &peephole)), &parameters, &inputs);
        let outputs = OutputGradients { dy: &dy, dh_last: &dh_last, dc_last: &dc_last };
        let what = (dims, form(functions, &peephole));
        let d = reference::backward_as(what, &parameters, &inputs, &trace, &outputs);
        let claims = [
            Claim { name: "x", at: &x, gradient: &d.dx },
            Claim { name: "kernel", at: &kernel, gradient: &d.dkernel },
            Claim { name: "recurrent_kernel", at: &recurrent_kernel, gradient: &d.drecurrent_kernel },
            Claim { name: "bias", at: &bias, gradient: &d.dbias[..bias.len()] },
            Claim { name: "h0", at: &h0, gradient: &d.dh0 },
            Claim { name: "c0", at: &c0, gradient: &d.dc0 },
            Claim { name: "peephole", at: &peephole, gradient: &d.dpeephole[..peephole.len()] },
        ];
        let result = check_gradients(&claims, |at| {
            let [x, kernel, recurrent_kernel, bias, h0, c0, peephole] = at else { unreachable!() };
            let parameters = Parameters { kernel, recurrent_kernel, bias: with_bias.then_some(&bias[..]) };
            let what = (dims, form(functions, peephole));
            let trace = reference::forward_as(what, &parameters, &Inputs { x, h0, c0 });
            let last = dims.steps.saturating_sub(1);
            let (h, c) = if dims.steps == 0 { (&h0[..], &c0[..]) } else {
                (&trace.h[dims.step(last, dims.units)], &trace.c[dims.step(last, dims.units)])
            };
            dot(&trace.h, &dy) + dot(h, &dh_last) + dot(c, &dc_last)
        });
        prop_assert!(result.is_ok(), "{dims:?}: {}", result.unwrap_err());
    }
}

/// A sequence through the kernels: T steps of N rows and H units.
struct Sequence {
    precision: Precision,
    steps: usize,
    rows: usize,
    units: usize,
    /// x W + b (T, N, 4 H)
    pre: Vec<f32>,
    /// U (H, 4 H)
    recurrent: Vec<f32>,
    h0: Vec<f32>,
    c0: Vec<f32>,
    /// (T, N, H): the gradient of each output.
    dy: Vec<f32>,
    /// The gradient of the last c.
    dc_last: Vec<f32>,
    functions: Functions,
    /// p (3, H), or none.
    peephole: Option<Vec<f32>>,
}

/// What the kernels made of it.
struct Outcome {
    gates: Vec<f32>,
    c: Vec<f32>,
    h: Vec<f32>,
    dpre: Vec<f32>,
    /// (T + 1, N, H): the gradients that each step received; the first is dh0 and dc0.
    dh: Vec<f32>,
    dc: Vec<f32>,
}

impl Outcome {
    fn bits(&self) -> Vec<u32> {
        bits(&[&self.gates, &self.c, &self.h, &self.dpre, &self.dh, &self.dc])
    }
}

impl Sequence {
    fn new(steps: usize, rows: usize, units: usize, seed: u64) -> Self {
        let state = rows * units;
        Self {
            precision: Precision::F32,
            steps,
            rows,
            units,
            pre: noise(steps * state * 4, 3.0, seed),
            recurrent: noise(units * units * 4, 2.0 / (units as f64).sqrt(), seed + 1),
            h0: noise(state, 1.0, seed + 2),
            c0: noise(state, 2.0, seed + 3),
            dy: noise(steps * state, 1.0, seed + 4),
            dc_last: noise(state, 1.0, seed + 5),
            functions: Functions::default(),
            peephole: None,
        }
    }

    /// Runs all steps forward and backward in blocks of units that end at `cuts`.
    fn run(&self, isa: Isa, cuts: &[usize]) -> Outcome {
        let (steps, rows, units) = (self.steps, self.rows, self.units);
        let mut packed = Packed::new(isa, self.precision, units, 4, units);
        packed.pack(Mat::dense(&self.recurrent, units, 4 * units));
        let mut room = Buffer::default();
        let blocks = || cuts.windows(2).map(|cut| cut[0]..cut[1]);
        let peephole = self.peephole.as_ref().map(|p| std::array::from_fn(|k| &p[k * units..(k + 1) * units]));
        let form = Form { functions: self.functions, peephole };
        let mut gates = Field::of(steps * rows, 4 * units, &self.pre);
        // Row block 0 holds the initial state, t + 1 what step t leaves.
        let mut c = Field::new((steps + 1) * rows, units);
        let mut h = Field::new((steps + 1) * rows, units);
        for (field, initial) in [(&mut h, &self.h0), (&mut c, &self.c0)] {
            (0..rows).for_each(|n| field.view_mut().row_mut(n).copy_from_slice(&initial[n * units..][..units]));
        }
        for t in 0..steps {
            let (h_prev, mut h) = h.view_mut().rows_range(t * rows..(t + 2) * rows).split_rows_at(rows);
            let (c_prev, mut c) = c.view_mut().rows_range(t * rows..(t + 2) * rows).split_rows_at(rows);
            let mut gates = gates.step(t, rows).into_groups(4);
            for u in blocks() {
                forward_as(
                    form.units(u.clone()),
                    Forward {
                        h_prev: Left::of(packed.view(), h_prev.as_ref(), &mut room),
                        recurrent: packed.view().cols_range(u.clone()),
                        c_prev: c_prev.as_ref().cols_range(u.clone()),
                        gates: gates.reborrow().cols_range(u.clone()),
                        c: c.reborrow().cols_range(u.clone()),
                        h: h.reborrow().cols_range(u),
                    },
                );
            }
        }
        let mut outcome = Outcome {
            gates: gates.dense(),
            c: c.dense(),
            h: h.dense(),
            dpre: Vec::new(),
            dh: vec![0.0; (steps + 1) * rows * units],
            dc: vec![0.0; (steps + 1) * rows * units],
        };
        let mut transposed = Packed::new(isa, self.precision, 4 * units, 1, units);
        transposed.pack_transposed(Mat::dense(&self.recurrent, units, 4 * units));
        let mut dpre = gates; // backward writes in place
        let mut dh = Field::of(rows, units, &vec![0.0; rows * units]);
        let mut dc = Field::of(rows, units, &self.dc_last);
        for t in (0..steps).rev() {
            for n in 0..rows {
                let dy = &self.dy[(t * rows + n) * units..][..units];
                dh.view_mut().row_mut(n).iter_mut().zip(dy).for_each(|(dh, dy)| *dh += dy);
            }
            let at = (t + 1) * rows * units..(t + 2) * rows * units;
            outcome.dh[at.clone()].copy_from_slice(&dh.dense());
            outcome.dc[at].copy_from_slice(&dc.dense());
            let mut gates = dpre.step(t, rows).into_groups(4);
            for u in blocks() {
                backward_as(
                    isa,
                    form.units(u.clone()),
                    Backward {
                        gates: gates.reborrow().cols_range(u.clone()),
                        c: c.view().rows_range((t + 1) * rows..(t + 2) * rows).cols_range(u.clone()),
                        c_prev: c.view().rows_range(t * rows..(t + 1) * rows).cols_range(u.clone()),
                        dh: dh.view().cols_range(u.clone()),
                        dc: dc.view_mut().cols_range(u),
                    },
                );
            }
            gemm::product(gemm::Product {
                a: Left::of(transposed.view(), dpre.view().rows_range(t * rows..(t + 1) * rows), &mut room),
                b: transposed.view(),
                init: Init::Zero,
                c: dh.view_mut().into(),
            });
        }
        let state = rows * units;
        outcome.dh[..state].copy_from_slice(&dh.dense());
        outcome.dc[..state].copy_from_slice(&dc.dense());
        outcome.dpre = dpre.dense();
        outcome
    }
}

#[test]
fn every_step_is_within_its_bound() {
    for isa in sets_under_test() {
        for (rows, units) in awkward(isa.lanes()) {
            for precision in PRECISIONS {
                let sequence = Sequence { precision, ..Sequence::new(3, rows, units, 7) };
                check_steps(isa, &sequence, &sequence.run(isa, &[0, units]));
            }
        }
    }
}

/// What the gates of step t, row n and unit j are functions of, and the bound of the error of each.
fn before_gates(sequence: &Sequence, outcome: &Outcome, [t, n, j]: [usize; 3]) -> ([f64; 4], f64) {
    let (rows, units) = (sequence.rows, sequence.units);
    let h_prev = &outcome.h[t * rows * units..];
    let mut e = 0f64;
    let pre = std::array::from_fn(|k| {
        let (sum, size) = hidden_side(sequence.precision, [h_prev, &sequence.recurrent], 4 * units, n, k * units + j);
        let x = f64::from(sequence.pre[(t * rows + n) * 4 * units + k * units + j]);
        e = e.max(product_bound(sequence.precision, units) * (x.abs() + size));
        x + sum
    });
    (pre, e)
}

/// Compares each step with the reference of the values that it was given, by the bounds of the module's documentation.
fn check_steps(isa: Isa, sequence: &Sequence, outcome: &Outcome) {
    let (rows, units, state) = (sequence.rows, sequence.units, sequence.rows * sequence.units);
    for t in 0..sequence.steps {
        for (n, j) in (0..rows).flat_map(|n| (0..units).map(move |j| (n, j))) {
            let at = |step: usize| step * state + n * units + j;
            let gate = |k: usize| (t * rows + n) * 4 * units + k * units + j;
            let name = |what: &str| format!("{isa} {rows} x {units} step {t} row {n} unit {j}: {what}");
            let wide = |x: &[f32], at: usize| f64::from(x[at]);

            let (pre, e) = before_gates(sequence, outcome, [t, n, j]);
            let c_prev = wide(&outcome.c, at(t));
            let (gates, c, h) = reference::cell(pre, c_prev);
            let function = function_bound(sequence.precision);
            let c_bound = (1.0 + c_prev.abs()) * (1.25 * e + 3.0 * function);
            (0..4).for_each(|k| within(&name("gate"), outcome.gates[gate(k)], gates[k], e + function));
            within(&name("c"), outcome.c[at(t + 1)], c, c_bound);
            within(&name("h"), outcome.h[at(t + 1)], h, c_bound + e / 4.0 + 3.0 * function);

            let (dh, dc) = (wide(&outcome.dh, at(t + 1)), wide(&outcome.dc, at(t + 1)));
            let gates = std::array::from_fn(|k| wide(&outcome.gates, gate(k)));
            let (dpre, dc_prev) = reference::cell_backward(gates, wide(&outcome.c, at(t + 1)), c_prev, dh, dc);
            let bound = 32.0 * U * (dc.abs() + dh.abs()) * (1.0 + c_prev.abs());
            (0..4).for_each(|k| within(&name("da"), outcome.dpre[gate(k)], dpre[k], bound));
            within(&name("dc_prev"), outcome.dc[at(t)], dc_prev, bound);
        }
    }
}

/// Every pair of functions, without peepholes and with them.
fn forms(units: usize) -> impl Iterator<Item = (Functions, Option<Vec<f32>>)> {
    let pairs = Activation::ALL.into_iter().flat_map(|activation| Activation::ALL.map(|r| (activation, r)));
    pairs.flat_map(move |(activation, recurrent)| {
        [None, Some(noise(3 * units, 1.0, 43))].map(|peephole| (Functions { activation, recurrent }, peephole))
    })
}

#[test]
fn every_form_is_within_its_bound() {
    for isa in sets_under_test() {
        for units in [isa.lanes() - 1, 2 * isa.lanes() + 1] {
            for (functions, peephole) in forms(units) {
                let sequence = Sequence { functions, peephole, ..Sequence::new(2, 3, units, 41) };
                check_form(isa, &sequence, &sequence.run(isa, &[0, units]));
            }
        }
    }
}

/// As `check_steps`, by the same lines with 1 for every slope: a gate's value may be any number.
fn check_form(isa: Isa, sequence: &Sequence, outcome: &Outcome) {
    let (rows, units, state, functions) =
        (sequence.rows, sequence.units, sequence.rows * sequence.units, sequence.functions);
    let rounded = |x: f64| 4.0 * U * x.abs().max(1.0);
    for t in 0..sequence.steps {
        for (n, j) in (0..rows).flat_map(|n| (0..units).map(move |j| (n, j))) {
            let at = |step: usize| step * state + n * units + j;
            let gate = |k: usize| (t * rows + n) * 4 * units + k * units + j;
            let peephole =
                std::array::from_fn(|k| sequence.peephole.as_ref().map_or(0.0, |p| f64::from(p[k * units + j])));
            let name = |what: &str| format!("{isa} {functions:?} {peephole:?} step {t} row {n} unit {j}: {what}");
            let wide = |x: &[f32], at: usize| f64::from(x[at]);

            let (pre, e) = before_gates(sequence, outcome, [t, n, j]);
            let c_prev = wide(&outcome.c, at(t));
            let (gates, c, h) = reference::cell_as(functions, peephole, pre, c_prev);
            let [i, f, g, o] = gates;
            let [p_i, p_f, p_o] = peephole;
            let errors = [(i, p_i * c_prev), (f, p_f * c_prev), (g, 0.0)];
            let [e_i, e_f, e_g] = errors.map(|(y, seen)| e + 4.0 * U * seen.abs() + rounded(y));
            let e_c = e_f * c_prev.abs()
                + e_i * g.abs()
                + e_g * (i.abs() + e_i)
                + 2.0 * U * ((f * c_prev).abs() + (i * g).abs());
            let e_o = e + p_o.abs() * e_c + 4.0 * U * (p_o * c).abs() + rounded(o);
            let act_c = activation::reference::forward(functions.activation, c);
            let e_h = (o.abs() + e_o) * (e_c + rounded(act_c)) + e_o * act_c.abs() + 2.0 * U * h.abs();
            for (k, bound) in [e_i, e_f, e_g, e_o].into_iter().enumerate() {
                within(&name("gate"), outcome.gates[gate(k)], gates[k], bound);
            }
            within(&name("c"), outcome.c[at(t + 1)], c, e_c);
            within(&name("h"), outcome.h[at(t + 1)], h, e_h);

            let (dh, dc) = (wide(&outcome.dh, at(t + 1)), wide(&outcome.dc, at(t + 1)));
            let gates = std::array::from_fn(|k| wide(&outcome.gates, gate(k)));
            let c = wide(&outcome.c, at(t + 1));
            let (dpre, dc_prev) = reference::cell_backward_as((functions, peephole), gates, [c_prev, c], [dh, dc]);
            let [i, f, g, o] = gates.map(f64::abs);
            let size_o = dh.abs() * (1.0 + activation::reference::forward(functions.activation, c).abs());
            let size_c = dc.abs() + dh.abs() * o + size_o * p_o.abs();
            let sizes = [size_c * g, size_c * c_prev.abs(), size_c * i, size_o];
            for k in 0..4 {
                within(&name("da"), outcome.dpre[gate(k)], dpre[k], 32.0 * U * sizes[k]);
            }
            let size = size_c * f + sizes[0] * p_i.abs() + sizes[1] * p_f.abs();
            within(&name("dc_prev"), outcome.dc[at(t)], dc_prev, 32.0 * U * size);
        }
    }
}

#[test]
fn the_bits_of_every_form_are_those_of_any_set_and_cut() {
    let units = 37;
    for (functions, peephole) in forms(units) {
        let sequence = Sequence { functions, peephole, ..Sequence::new(2, 3, units, 47) };
        let mut found: Vec<(Isa, Vec<u32>)> = Vec::new();
        for isa in sets_under_test() {
            let granule = Packed::new(isa, Precision::F32, units, 4, units).granule();
            let [whole, panels] = cuts(units, granule).map(|cuts| sequence.run(isa, &cuts).bits());
            assert!(whole == panels, "{isa} {functions:?}: blocks of one panel give other bits");
            found.push((isa, whole));
        }
        assert_eq!(who_differs(Precision::F32, &found), None, "{functions:?}");
    }
}

#[test]
fn the_bits_depend_neither_on_blocks_nor_on_the_width_of_registers() {
    for ((rows, units), precision) in awkward(16).into_iter().flat_map(|size| PRECISIONS.map(|p| (size, p))) {
        let sequence = Sequence { precision, ..Sequence::new(2, rows, units, 11) };
        let what = format!("{rows} x {units}");
        assert_same_bits(&what, precision, [4, units], |isa, cuts| sequence.run(isa, cuts).bits());
    }
}

#[test]
fn a_whole_backward_is_the_derivative_and_faults_in_it_are_caught() {
    for isa in sets_under_test() {
        let sequence = Sequence::new(3, 2, isa.lanes() + 1, 23);
        let (steps, rows, units) = (sequence.steps, sequence.rows, sequence.units);
        let outcome = sequence.run(isa, &[0, units]);
        // With W = 1 and x = x W + b the reference's loss is a function of what the kernels were given.
        let dims = reference::Dims { steps, rows, inputs: 4 * units, units };
        let mut kernel = vec![0.0; 16 * units * units];
        (0..4 * units).for_each(|i| kernel[i * 4 * units + i] = 1.0);
        let [pre, recurrent, h0, c0, dy, dc_last] =
            [&sequence.pre, &sequence.recurrent, &sequence.h0, &sequence.c0, &sequence.dy, &sequence.dc_last]
                .map(|x| wide(x));
        let loss = |pre: &[f64], h0: &[f64], c0: &[f64]| {
            let parameters = Parameters { kernel: &kernel, recurrent_kernel: &recurrent, bias: None };
            let trace = reference::forward(dims, &parameters, &Inputs { x: pre, h0, c0 });
            dot(&trace.h, &dy) + dot(&trace.c[dims.step(steps - 1, units)], &dc_last)
        };
        let state = dims.state();
        check_with_faults(&format!("{isa} pre"), &pre, &outcome.dpre, |pre| loss(pre, &h0, &c0));
        check_with_faults(&format!("{isa} h0"), &h0, &outcome.dh[..state], |h0| loss(&pre, h0, &c0));
        check_with_faults(&format!("{isa} c0"), &c0, &outcome.dc[..state], |c0| loss(&pre, &h0, c0));
    }
}

#[test]
fn gradients_that_have_vanished_are_zero() {
    for isa in sets_under_test() {
        let units = isa.lanes() + 3;
        let scaled = |scale: f32| {
            let mut sequence = Sequence::new(3, 2, units, 53);
            sequence.dy.iter_mut().chain(&mut sequence.dc_last).for_each(|d| *d *= scale);
            sequence.run(isa, &[0, units])
        };
        let (plain, small, vanished) = (scaled(1.0), scaled(2f32.powi(-30)), scaled(2f32.powi(-81)));
        // Backward is linear in what it is given, so a power of two goes through it exactly.
        let expected = |d: &[f32]| -> Vec<f32> { d.iter().map(|d| d * 2f32.powi(-30)).collect() };
        assert!(bits(&[&small.dpre, &small.dc]) == bits(&[&expected(&plain.dpre), &expected(&plain.dc)]), "{isa}");
        assert!(vanished.dpre.iter().chain(&vanished.dc[..2 * units]).all(|&d| d == 0.0), "{isa}: not zero");
    }
}

#[test]
fn huge_values_saturate_and_nan_goes_through() {
    for isa in sets_under_test() {
        let units = isa.lanes() + 3;
        let mut sequence = Sequence::new(1, 2, units, 31);
        sequence.pre.iter_mut().for_each(|x| *x *= 1e30);
        let outcome = sequence.run(isa, &[0, units]);
        assert!(outcome.h.iter().chain(&outcome.dpre).all(|x| x.is_finite()), "{isa}: not finite");
        assert!(outcome.gates.iter().all(|g| [-1.0, 0.0, 1.0].contains(g)), "{isa}: not saturated");
        for k in 0..4 {
            let mut sequence = Sequence::new(1, 2, units, 31);
            sequence.pre[k * units + units - 1] = f32::NAN;
            let outcome = sequence.run(isa, &[0, units]);
            let nans = |x: &[f32]| x.iter().filter(|x| x.is_nan()).count();
            assert!(outcome.h[2 * units + units - 1].is_nan(), "{isa}: a NaN in gate {k} was lost");
            assert_eq!([nans(&outcome.gates), nans(&outcome.h)], [1, 1], "{isa}: a NaN in gate {k} spread");
        }
    }
}

#[test]
#[should_panic(expected = "c_prev is 2 x 4, not 2 x 5")]
fn a_wrong_shape_is_refused() {
    let (x, mut gates, mut c, mut h) = ([0.0; 10], [0.0; 40], [0.0; 10], [0.0; 10]);
    forward(Forward {
        h_prev: Mat::dense(&x, 2, 5).into(),
        recurrent: Packed::new(Isa::PORTABLE, Precision::F32, 5, 4, 5).view(),
        c_prev: Mat::dense(&x, 2, 4),
        gates: MatMut::dense(&mut gates, 2, 20).into_groups(4),
        c: MatMut::dense(&mut c, 2, 5),
        h: MatMut::dense(&mut h, 2, 5),
    });
}

#[test]
fn nothing_to_do_is_fine() {
    for (rows, units) in [(0, 5), (3, 0)] {
        let outcome = Sequence::new(2, rows, units, 1).run(Isa::best(), &[0, units]);
        assert!(outcome.h.is_empty());
    }
}
