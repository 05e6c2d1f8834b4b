//! Gates that are kept in bf16 beside the same step with gates in f32, of every cell.

use super::Functions;
use super::testing::Random;
use crate::gemm::{Left, Packed, Precision};
use crate::isa::{sets_under_test, who_differs};
use crate::{Bf16, Buffer, Element, Isa, Mat, MatMut, gru, lstm, rnn};

const ROWS: usize = 37;
const UNITS: usize = 45;

/// What a step leaves: forward h (and c), backward the gradients beside the gates'; and the gates after both.
struct Outcome {
    forward: Vec<f32>,
    gates: Vec<f32>,
    backward: Vec<f32>,
    dgates: Vec<f32>,
}

/// A step on a set, backward from these gates where they are given.
type Run = fn(Isa, Option<&[f32]>) -> Outcome;

/// The operands of a step of a cell with `gates` gates.
struct Step {
    recurrent: Packed,
    candidate: Packed,
    h: Vec<f32>,
    c: Vec<f32>,
    dh: Vec<f32>,
    /// Numbers that bf16 holds.
    pre: Vec<f32>,
}

impl Step {
    fn new(isa: Isa, gates: usize, first: usize) -> Self {
        let mut random = Random::new(gates as u64);
        let mut many = |n: usize, scale: f64| random.many(n, scale).into_iter().map(|x| x as f32).collect::<Vec<_>>();
        let weights = many(UNITS * gates * UNITS, 0.5);
        let weights = Mat::dense(&weights, UNITS, gates * UNITS);
        let mut recurrent = Packed::new(isa, Precision::Bf16, UNITS, first, UNITS);
        recurrent.pack(weights.cols_range(0..first * UNITS));
        let mut candidate = Packed::new(isa, Precision::Bf16, UNITS, 1, UNITS);
        candidate.pack(weights.cols_range((gates - 1) * UNITS..gates * UNITS));
        let [h, c, dh] = [0; 3].map(|_| many(ROWS * UNITS, 1.0));
        let pre = many(ROWS * gates * UNITS, 2.0).into_iter().map(|x| Bf16::of(x).value()).collect();
        Self { recurrent, candidate, h, c, dh, pre }
    }

    /// Values as they are kept.
    fn kept<E: Element>(&self, values: &[f32]) -> Vec<E> {
        values.iter().map(|&x| E::of(x)).collect()
    }

    fn left<'a>(&'a self, room: &'a mut Buffer) -> Left<'a> {
        Left::of(self.recurrent.view(), mat(&self.h), room)
    }
}

fn mat(values: &[f32]) -> Mat<'_> {
    Mat::dense(values, ROWS, UNITS)
}

fn mat_mut<E: Element>(values: &mut [E]) -> MatMut<'_, E> {
    let cols = values.len() / ROWS;
    MatMut::dense(values, ROWS, cols)
}

fn widened<E: Element>(values: &[E]) -> Vec<f32> {
    values.iter().map(|x| x.value()).collect()
}

fn zeros() -> Vec<f32> {
    vec![0.0; ROWS * UNITS]
}

fn lstm_step<E: Element>(isa: Isa, activated: Option<&[f32]>) -> Outcome {
    let step = Step::new(isa, 4, 4);
    let (mut gates, [mut c, mut h]) = (step.kept::<E>(&step.pre), [zeros(), zeros()]);
    lstm::forward(lstm::Forward {
        h_prev: step.left(&mut Buffer::default()),
        recurrent: step.recurrent.view(),
        c_prev: mat(&step.c),
        gates: mat_mut(&mut gates).into_groups(4),
        c: mat_mut(&mut c),
        h: mat_mut(&mut h),
    });
    let after = widened(&gates);
    let mut gates = activated.map_or(gates, |gates| step.kept(gates));
    let mut dc = step.h.clone();
    let (c_prev, dh) = (mat(&step.c), mat(&step.dh));
    let groups = mat_mut(&mut gates).into_groups(4);
    lstm::backward(isa, lstm::Backward { gates: groups, c: mat(&step.h), c_prev, dh, dc: mat_mut(&mut dc) });
    c.extend(h);
    Outcome { forward: c, gates: after, backward: dc, dgates: widened(&gates) }
}

fn gru_step<E: Element>(isa: Isa, activated: Option<&[f32]>) -> Outcome {
    let step = Step::new(isa, 3, 3);
    let (mut gates, mut hidden, mut h) = (step.kept::<E>(&step.pre), step.kept::<E>(&step.pre), zeros());
    gru::forward(gru::Forward {
        h_prev: step.left(&mut Buffer::default()),
        h_prev_own: mat(&step.h),
        recurrent: step.recurrent.view(),
        recurrent_bias: Some([&step.c[..UNITS], &step.c[UNITS..2 * UNITS], &step.c[2 * UNITS..3 * UNITS]]),
        gates: mat_mut(&mut gates).into_groups(3),
        hidden: mat_mut(&mut hidden).into_groups(3),
        h: mat_mut(&mut h),
    });
    let q = hidden.chunks(3 * UNITS).flat_map(|row| widened(&row[2 * UNITS..]));
    let after = widened(&gates).into_iter().chain(q).collect();
    let mut gates = activated.map_or(gates, |gates| step.kept(&gates[..ROWS * 3 * UNITS]));
    let mut hidden = step.kept::<E>(&step.pre);
    let mut dh_prev = step.c.clone();
    let args = gru::Backward {
        gates: mat_mut(&mut gates).into_groups(3),
        hidden: mat_mut(&mut hidden).into_groups(3),
        h_prev: mat(&step.h),
        dh: mat(&step.dh),
        dh_prev: mat_mut(&mut dh_prev),
    };
    gru::backward(isa, args);
    let dgates = widened(&gates).into_iter().chain(widened(&hidden)).collect();
    Outcome { forward: h, gates: after, backward: dh_prev, dgates }
}

fn gru_before_step<E: Element>(isa: Isa, activated: Option<&[f32]>) -> Outcome {
    let step = Step::new(isa, 3, 2);
    let (mut gates, [mut reset_h, mut h]) = (step.kept::<E>(&step.pre), [zeros(), zeros()]);
    gru::reset_before::forward_gates(gru::reset_before::ForwardGates {
        h_prev: step.left(&mut Buffer::default()),
        h_prev_own: mat(&step.h),
        recurrent: step.recurrent.view(),
        gates: mat_mut(&mut gates).into_groups(3),
        reset_h: mat_mut(&mut reset_h),
    });
    gru::reset_before::forward_candidate(gru::reset_before::ForwardCandidate {
        reset_h: Left::of(step.candidate.view(), mat(&step.c), &mut Buffer::default()),
        recurrent: step.candidate.view(),
        h_prev: mat(&step.h),
        gates: mat_mut(&mut gates).into_groups(3),
        h: mat_mut(&mut h),
    });
    let after = widened(&gates);
    let mut gates = activated.map_or(gates, |gates| step.kept(gates));
    let mut dh_prev = step.c.clone();
    let candidate = gru::reset_before::BackwardCandidate {
        gates: mat_mut(&mut gates).into_groups(3),
        h_prev: mat(&step.h),
        dh: mat(&step.dh),
        dh_prev: mat_mut(&mut dh_prev),
    };
    gru::reset_before::backward_candidate(isa, candidate);
    let rest = gru::reset_before::BackwardGates {
        gates: mat_mut(&mut gates).into_groups(3),
        h_prev: mat(&step.h),
        dreset_h: mat(&step.dh),
        dh_prev: mat_mut(&mut dh_prev),
    };
    gru::reset_before::backward_gates(isa, rest);
    reset_h.extend(h);
    Outcome { forward: reset_h, gates: after, backward: dh_prev, dgates: widened(&gates) }
}

fn rnn_step<E: Element>(isa: Isa, _: Option<&[f32]>) -> Outcome {
    let step = Step::new(isa, 1, 1);
    let (mut pre, mut h) = (step.kept::<E>(&step.pre), zeros());
    rnn::forward(rnn::Forward {
        activation: Functions::default().activation,
        h_prev: step.left(&mut Buffer::default()),
        recurrent: step.recurrent.view(),
        pre: mat_mut(&mut pre).into_groups(1),
        h: mat_mut(&mut h),
    });
    let (activation, h_after, dh) = (Functions::default().activation, mat(&step.h), mat(&step.dh));
    rnn::backward(isa, rnn::Backward { activation, h: h_after, dh, dpre: mat_mut(&mut pre) });
    Outcome { forward: h, gates: Vec::new(), backward: Vec::new(), dgates: widened(&pre) }
}

/// Forward both see the same sums but for the order of one addition, a part in 2^20 of the largest, and h is off by at most
/// `rounded` beside it; backward, from the same gates, the same but for one rounding at the end.
fn check(name: &str, rounded: f32, step: [Run; 2]) {
    let [plain, kept] = step;
    let mut found: Vec<(Isa, Vec<u32>)> = Vec::new();
    for isa in sets_under_test() {
        let got = kept(isa, None);
        let want = plain(isa, Some(&got.gates));
        for (k, (got, want)) in got.forward.iter().zip(&want.forward).enumerate() {
            assert!((got - want).abs() <= 4e-6 + rounded, "{name} {isa}: {k} forward is {got}, not {want}");
        }
        for (k, (got, want)) in got.gates.iter().zip(&want.gates).enumerate() {
            // Half of the last place of bf16, and what the order moves.
            assert!((got - want).abs() <= want.abs() / 256.0 + 4e-6, "{name} {isa}: gate {k} is {got}, not {want}");
            assert_eq!(Bf16::of(*got).value(), *got, "{name} {isa}: gate {k} is no bf16");
        }
        assert_eq!(got.backward, want.backward, "{name} {isa}: what goes on backward");
        let rounded: Vec<f32> = want.dgates.iter().map(|&x| Bf16::of(x).value()).collect();
        assert_eq!(got.dgates, rounded, "{name} {isa}: the gradient of the gates");
        assert!(got.forward.iter().chain(&got.dgates).all(|x| x.is_finite()) && got.dgates.iter().any(|&x| x != 0.0));
        let all = [&got.forward, &got.gates, &got.backward, &got.dgates];
        found.push((isa, all.into_iter().flatten().map(|x| x.to_bits()).collect()));
    }
    assert_eq!(who_differs(Precision::Bf16, &found), None, "{name}");
}

#[test]
fn gates_kept_in_bf16_are_those_of_f32_rounded() {
    check("LSTM", 0.0, [lstm_step::<f32>, lstm_step::<Bf16>]);
    check("GRU", 0.0, [gru_step::<f32>, gru_step::<Bf16>]);
    // z is rounded between its two phases, by a part in 2^9: |h_prev - n| <= 2.
    check("GRU, reset before", 2.0 / 512.0, [gru_before_step::<f32>, gru_before_step::<Bf16>]);
    check("simple", 0.0, [rnn_step::<f32>, rnn_step::<Bf16>]);
}
