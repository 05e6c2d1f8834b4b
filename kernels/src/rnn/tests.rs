use super::reference::{self, Inputs, OutputGradients, Parameters};
use super::*;
use crate::Buffer;
use crate::cells::testing::{
    Field, Random, U, assert_same_bits, awkward, bits, check_gradients, check_with_faults, hidden_side, noise,
    product_bound, sizes, within,
};
use crate::check::{Claim, dot, wide};
use crate::gemm::{self, Init, Packed, Precision};
use crate::isa::sets_under_test;
use proptest::prelude::*;

proptest! {
    #[test]
    fn the_reference_backward_is_the_derivative_of_its_forward((dims, seed) in sizes(), which in 0..7usize) {
        let activation = Activation::ALL[which];
        let mut random = Random::new(seed);
        let x = random.many(dims.steps * dims.rows * dims.inputs, 1.0);
        let kernel = random.many(dims.inputs * dims.units, 1.0);
        let recurrent_kernel = random.many(dims.units * dims.units, 1.0);
        let (bias, h0) = (random.many(dims.units, 1.0), random.many(dims.state(), 1.0));
        let (dy, dh_last) = (random.many(dims.steps * dims.state(), 1.0), random.many(dims.state(), 1.0));

        let parameters = Parameters { kernel: &kernel, recurrent_kernel: &recurrent_kernel, bias: Some(&bias) };
        let inputs = Inputs { x: &x, h0: &h0 };
        let h = reference::forward(dims, activation, &parameters, &inputs);
        // A central difference means nothing where it steps across the corner.
        let kinks: &[f64] = match activation {
            Activation::Relu => &[0.0],
            Activation::HardSigmoid => &[-2.5, 2.5],
            Activation::HardSigmoid6 => &[-3.0, 3.0],
            _ => &[],
        };
        if !kinks.is_empty() {
            let mut pre = crate::cells::reference::input_part(dims, dims.units, &kernel, Some(&bias), &x);
            for t in 0..dims.steps {
                let h_prev = if t == 0 { &h0[..] } else { &h[dims.step(t - 1, dims.units)] };
                for n in 0..dims.rows {
                    for u in 0..dims.units {
                        let hidden: f64 = (0..dims.units)
                            .map(|k| h_prev[n * dims.units + k] * recurrent_kernel[k * dims.units + u])
                            .sum();
                        pre[dims.step(t, dims.units).start + n * dims.units + u] += hidden;
                    }
                }
            }
            prop_assume!(pre.iter().all(|a| kinks.iter().all(|kink| (a - kink).abs() > 1e-3)));
        }
        let outputs = OutputGradients { dy: &dy, dh_last: &dh_last, dc_last: &[] };
        let d = reference::backward(dims, activation, &parameters, &inputs, &h, &outputs);
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
            let h = reference::forward(dims, activation, &parameters, &Inputs { x, h0 });
            let last = if dims.steps == 0 { &h0[..] } else { &h[dims.step(dims.steps - 1, dims.units)] };
            dot(&h, &dy) + dot(last, &dh_last)
        });
        prop_assert!(result.is_ok(), "{dims:?} {activation:?}: {}", result.unwrap_err());
    }
}

/// Activations and precisions.
fn kinds() -> impl Iterator<Item = (Activation, Precision)> {
    let activations = Activation::ALL.into_iter();
    activations.flat_map(|activation| [Precision::F32, Precision::Bf16].map(|precision| (activation, precision)))
}

/// A sequence through the kernels: T steps of N rows and H units.
struct Sequence {
    precision: Precision,
    activation: Activation,
    steps: usize,
    rows: usize,
    units: usize,
    /// x W + b (T, N, H)
    pre: Vec<f32>,
    /// U (H, H)
    recurrent: Vec<f32>,
    h0: Vec<f32>,
    /// (T, N, H): the gradient of each output.
    dy: Vec<f32>,
}

/// What the kernels made of it.
struct Outcome {
    /// (T + 1, N, H): the first is h0.
    h: Vec<f32>,
    dpre: Vec<f32>,
    /// (T + 1, N, H): the gradient that each step received; the first is dh0.
    dh: Vec<f32>,
}

impl Sequence {
    fn new(activation: Activation, [steps, rows, units]: [usize; 3], seed: u64) -> Self {
        let state = rows * units;
        Self {
            precision: Precision::F32,
            activation,
            steps,
            rows,
            units,
            pre: noise(steps * state, 2.0, seed),
            recurrent: noise(units * units, 2.0 / (units as f64).sqrt(), seed + 1),
            h0: noise(state, 1.0, seed + 2),
            dy: noise(steps * state, 1.0, seed + 3),
        }
    }

    /// Runs all steps forward and backward in blocks of units that end at `cuts`.
    fn run(&self, isa: Isa, cuts: &[usize]) -> Outcome {
        let (activation, steps, rows, units) = (self.activation, self.steps, self.rows, self.units);
        let mut packed = Packed::new(isa, self.precision, units, 1, units);
        packed.pack(Mat::dense(&self.recurrent, units, units));
        let mut transposed = Packed::new(isa, self.precision, units, 1, units);
        transposed.pack_transposed(Mat::dense(&self.recurrent, units, units));
        let mut room = Buffer::default();
        let blocks = || cuts.windows(2).map(|cut| cut[0]..cut[1]);
        let mut pre = Field::of(steps * rows, units, &self.pre);
        let mut h = Field::new((steps + 1) * rows, units);
        (0..rows).for_each(|n| h.view_mut().row_mut(n).copy_from_slice(&self.h0[n * units..][..units]));
        for t in 0..steps {
            let (h_prev, mut h) = h.view_mut().rows_range(t * rows..(t + 2) * rows).split_rows_at(rows);
            let mut pre = pre.step(t, rows).into_groups(1);
            for u in blocks() {
                forward(Forward {
                    activation,
                    h_prev: Left::of(packed.view(), h_prev.as_ref(), &mut room),
                    recurrent: packed.view().cols_range(u.clone()),
                    pre: pre.reborrow().cols_range(u.clone()),
                    h: h.reborrow().cols_range(u),
                });
            }
        }
        pre.dense();
        let state = rows * units;
        let mut dhs = vec![0.0; (steps + 1) * state];
        let mut dpre = Field::new(steps * rows, units);
        let mut dh = Field::of(rows, units, &dhs[..state]);
        for t in (0..steps).rev() {
            for n in 0..rows {
                let dy = &self.dy[(t * rows + n) * units..][..units];
                dh.view_mut().row_mut(n).iter_mut().zip(dy).for_each(|(dh, dy)| *dh += dy);
            }
            dhs[(t + 1) * state..(t + 2) * state].copy_from_slice(&dh.dense());
            for u in blocks() {
                let h = h.view().rows_range((t + 1) * rows..(t + 2) * rows).cols_range(u.clone());
                let dpre = dpre.step(t, rows).cols_range(u.clone());
                backward(isa, Backward { activation, h, dh: dh.view().cols_range(u), dpre });
            }
            gemm::product(gemm::Product {
                a: Left::of(transposed.view(), dpre.view().rows_range(t * rows..(t + 1) * rows), &mut room),
                b: transposed.view(),
                init: Init::Zero,
                c: dh.view_mut().into(),
            });
        }
        dhs[..state].copy_from_slice(&dh.dense());
        Outcome { h: h.dense(), dpre: dpre.dense(), dh: dhs }
    }
}

#[test]
fn gradients_that_have_vanished_are_zero() {
    for (isa, activation) in sets_under_test().into_iter().flat_map(|isa| Activation::ALL.map(|a| (isa, a))) {
        let units = isa.lanes() + 3;
        let scaled = |scale: f32| {
            let mut sequence = Sequence::new(activation, [3, 2, units], 53);
            sequence.dy.iter_mut().for_each(|d| *d *= scale);
            sequence.run(isa, &[0, units]).dpre
        };
        // Backward is linear in what it is given, so a power of two goes through it exactly.
        let expected: Vec<f32> = scaled(1.0).iter().map(|d| d * 2f32.powi(-30)).collect();
        assert!(bits(&[&scaled(2f32.powi(-30))]) == bits(&[&expected]), "{isa} {activation:?}");
        assert!(scaled(2f32.powi(-81)).iter().all(|&d| d == 0.0), "{isa} {activation:?}: not zero");
    }
}

#[test]
fn every_step_is_within_its_bound() {
    for isa in sets_under_test() {
        for (rows, units) in awkward(isa.lanes()) {
            for (activation, precision) in kinds() {
                let sequence = Sequence { precision, ..Sequence::new(activation, [3, rows, units], 7) };
                check_steps(isa, &sequence, &sequence.run(isa, &[0, units]));
            }
        }
    }
}

/// Compares each step with the reference of the values that it was given, by the bounds of the module's documentation.
fn check_steps(isa: Isa, sequence: &Sequence, outcome: &Outcome) {
    let (activation, rows, units) = (sequence.activation, sequence.rows, sequence.units);
    let state = rows * units;
    for at in 0..sequence.steps * state {
        let (t, n, j) = (at / state, at % state / units, at % units);
        let name = |what| format!("{isa} {activation:?} {rows} x {units} step {t} row {n} unit {j}: {what}");
        let (sum, size) = hidden_side(sequence.precision, [&outcome.h[t * state..], &sequence.recurrent], units, n, j);
        let x = f64::from(sequence.pre[at]);
        let e = product_bound(sequence.precision, units) * (x.abs() + size);
        let h = outcome.h[state + at];
        within(&name("h"), h, reference::cell(activation, x + sum), e + 4.0 * U * (x + sum).abs().max(1.0));
        let dh = f64::from(outcome.dh[state + at]);
        let want = reference::cell_backward(activation, f64::from(h), dh);
        within(&name("da"), outcome.dpre[at], want, 4.0 * U * dh.abs());
    }
}

#[test]
fn the_bits_depend_neither_on_blocks_nor_on_the_width_of_registers() {
    for (rows, units) in awkward(16) {
        for (activation, precision) in kinds() {
            let sequence = Sequence { precision, ..Sequence::new(activation, [2, rows, units], 11) };
            assert_same_bits(&format!("{activation:?} {rows} x {units}"), precision, [1, units], |isa, cuts| {
                let Outcome { h, dpre, dh } = sequence.run(isa, cuts);
                bits(&[&h, &dpre, &dh])
            });
        }
    }
}

#[test]
fn a_whole_backward_is_the_derivative_and_faults_in_it_are_caught() {
    for isa in sets_under_test() {
        for activation in Activation::ALL {
            let sequence = Sequence::new(activation, [3, 2, isa.lanes() + 1], 23);
            let (steps, rows, units) = (sequence.steps, sequence.rows, sequence.units);
            let outcome = sequence.run(isa, &[0, units]);
            // With W = 1 and x = x W + b the reference's loss is a function of what the kernels were given.
            let dims = reference::Dims { steps, rows, inputs: units, units };
            let mut kernel = vec![0.0; units * units];
            (0..units).for_each(|i| kernel[i * units + i] = 1.0);
            let [pre, recurrent, h0, dy] =
                [&sequence.pre, &sequence.recurrent, &sequence.h0, &sequence.dy].map(|x| wide(x));
            let loss = |pre: &[f64], h0: &[f64]| {
                let parameters = Parameters { kernel: &kernel, recurrent_kernel: &recurrent, bias: None };
                dot(&reference::forward(dims, activation, &parameters, &Inputs { x: pre, h0 }), &dy)
            };
            let name = |what| format!("{isa} {activation:?} {what}");
            check_with_faults(&name("pre"), &pre, &outcome.dpre, |pre| loss(pre, &h0));
            check_with_faults(&name("h0"), &h0, &outcome.dh[..dims.state()], |h0| loss(&pre, h0));
        }
    }
}

impl Sequence {
    /// Turns a time of the order of reading into one of the sequence.
    fn time(&self, i: usize, reverse: bool) -> usize {
        if reverse { self.steps - 1 - i } else { i }
    }

    /// h in the order of time with that before the first step, dh as every step received it, and dpre: step by step as a
    /// team computes them, from the sequence's numbers.
    fn by_steps(&self, isa: Isa, reverse: bool) -> Vec<u32> {
        let (activation, steps, rows, units) = (self.activation, self.steps, self.rows, self.units);
        let [mut packed, mut transposed] = [(); 2].map(|()| Packed::new(isa, Precision::F32, units, 1, units));
        packed.pack(Mat::dense(&self.recurrent, units, units));
        transposed.pack_transposed(Mat::dense(&self.recurrent, units, units));
        let (mut pre, mut dh) = (Field::of(steps * rows, units, &self.pre), Field::of(steps * rows, units, &self.dy));
        let (mut h, mut dpre) = (self.initial(reverse), Field::new(steps * rows, units));
        // The state after time t stands `rows` rows behind that before it, or before it.
        let now = usize::from(!reverse);
        for t in (0..steps).map(|i| self.time(i, reverse)) {
            let (mut above, mut below) = h.view_mut().rows_range(t * rows..(t + 2) * rows).split_rows_at(rows);
            let (h_prev, h) =
                if reverse { (below.as_ref(), above.reborrow()) } else { (above.as_ref(), below.reborrow()) };
            forward(Forward {
                activation,
                h_prev: h_prev.into(),
                recurrent: packed.view(),
                pre: pre.step(t, rows).into_groups(1),
                h,
            });
        }
        for t in (0..steps).rev().map(|i| self.time(i, reverse)) {
            let later = if reverse { t.checked_sub(1) } else { Some(t + 1).filter(|&t| t < steps) };
            if let Some(later) = later {
                let a = dpre.view().rows_range(later * rows..(later + 1) * rows).into();
                gemm::product(gemm::Product { a, b: transposed.view(), init: Init::Keep, c: dh.step(t, rows).into() });
            }
            let h = h.view().rows_range((t + now) * rows..(t + now + 1) * rows);
            let dh = dh.view().rows_range(t * rows..(t + 1) * rows);
            backward(isa, Backward { activation, h, dh, dpre: dpre.step(t, rows) });
        }
        bits(&[&h.dense(), &dh.dense(), &dpre.dense()])
    }

    /// Room for h of every step, with that before the first in its place.
    fn initial(&self, reverse: bool) -> Field {
        let (steps, rows, units) = (self.steps, self.rows, self.units);
        let mut h = Field::new((steps + 1) * rows, units);
        let first = if reverse { steps * rows } else { 0 };
        (0..rows).for_each(|n| h.view_mut().row_mut(first + n).copy_from_slice(&self.h0[n * units..][..units]));
        h
    }

    /// The same at once; with `tokens` x W + b is looked up.
    fn at_once(&self, isa: Isa, reverse: bool, tokens: Option<&[u32]>) -> Vec<u32> {
        let (activation, steps, rows, units) = (self.activation, self.steps, self.rows, self.units);
        let [mut packed, mut transposed] = [(); 2].map(|()| Packed::new(isa, Precision::F32, units, 1, units));
        packed.pack(Mat::dense(&self.recurrent, units, units));
        transposed.pack_transposed(Mat::dense(&self.recurrent, units, units));
        assert!(takes_sequences(packed.view(), rows));
        let (pre, mut dh) = (Field::of(steps * rows, units, &self.pre), Field::of(steps * rows, units, &self.dy));
        let (mut h, mut dpre) = (self.initial(reverse), Field::new(steps * rows, units));
        let input = match tokens {
            // The rows of x W + b are those of a table, the bias zero.
            Some(tokens) => SequenceInput::LookedUp { table: pre.view(), bias: None, tokens },
            None => SequenceInput::Ready(pre.view()),
        };
        forward_sequence(SequenceForward {
            activation,
            recurrent: packed.view(),
            input,
            rows,
            reverse,
            h: h.view_mut(),
        });
        let after = if reverse { 0..steps * rows } else { rows..(steps + 1) * rows };
        backward_sequence(SequenceBackward {
            activation,
            transposed: transposed.view(),
            rows,
            reverse,
            h: h.view().rows_range(after),
            dh: dh.view_mut(),
            dpre: dpre.view_mut(),
        });
        bits(&[&h.dense(), &dh.dense(), &dpre.dense()])
    }
}

#[test]
fn a_sequence_at_once_has_the_bits_of_its_steps() {
    for isa in sets_under_test() {
        for (rows, units) in [(1, 1), (1, 100), (1, 120), (2, 17), (FEW_ROWS, 33), (2, 128)] {
            for activation in Activation::ALL {
                for (steps, reverse) in [(1, false), (5, false), (4, true)] {
                    let sequence = Sequence::new(activation, [steps, rows, units], 3);
                    let name = format!("{isa} {activation:?} {steps} x {rows} x {units}, reverse {reverse}");
                    let want = sequence.by_steps(isa, reverse);
                    assert!(sequence.at_once(isa, reverse, None) == want, "{name}");
                    let tokens: Vec<u32> = (0..(steps * rows) as u32).collect();
                    assert!(sequence.at_once(isa, reverse, Some(&tokens)) == want, "{name}, looked up");
                }
            }
        }
    }
}

#[test]
fn sequences_are_of_few_rows_and_small_weights_in_f32() {
    for isa in sets_under_test() {
        for (precision, rows, groups, units, takes) in [
            (Precision::F32, 1, 1, 128, true),
            (Precision::F32, FEW_ROWS, 1, 100, true),
            (Precision::F32, 0, 1, 100, false),
            (Precision::F32, FEW_ROWS + 1, 1, 100, false),
            (Precision::F32, 1, 1, 160, false),
            (Precision::F32, 1, 4, 16, false),
            (Precision::Bf16, 1, 1, 100, false),
        ] {
            let packed = Packed::new(isa, precision, units, groups, units);
            assert_eq!(takes_sequences(packed.view(), rows), takes, "{isa} {precision} {rows} {groups} {units}");
        }
    }
}

#[test]
fn huge_values_and_nan_go_through() {
    for isa in sets_under_test() {
        let units = isa.lanes() + 3;
        for activation in Activation::ALL {
            let mut sequence = Sequence::new(activation, [1, 2, units], 31);
            sequence.pre[units - 1] = f32::NAN;
            sequence.pre[0] = 1e30;
            let outcome = sequence.run(isa, &[0, units]);
            let h = &outcome.h[2 * units..];
            assert!(h[units - 1].is_nan(), "{isa} {activation:?}: a NaN was lost");
            assert_eq!(h.iter().filter(|h| h.is_nan()).count(), 1, "{isa} {activation:?}: a NaN spread");
            let unbounded = matches!(activation, Activation::Relu | Activation::Linear);
            assert_eq!(h[0], if unbounded { 1e30 } else { 1.0 }, "{activation:?}");
        }
    }
}

#[test]
#[should_panic(expected = "dh is 2 x 4, not 2 x 5")]
fn a_wrong_shape_is_refused() {
    let (x, mut dpre) = ([0.0; 10], [0.0; 10]);
    let (h, dh) = (Mat::dense(&x, 2, 5), Mat::dense(&x, 2, 4));
    backward(Isa::PORTABLE, Backward { activation: Activation::Tanh, h, dh, dpre: MatMut::dense(&mut dpre, 2, 5) });
}

#[test]
fn nothing_to_do_is_fine() {
    for (rows, units) in [(0, 5), (3, 0)] {
        let outcome = Sequence::new(Activation::Tanh, [2, rows, units], 1).run(Isa::best(), &[0, units]);
        assert!(outcome.h.is_empty());
    }
}
