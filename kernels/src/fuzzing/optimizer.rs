//! A step of every rule against the reference, and what clipping and the search for NaN read.

use super::input::Input;
use super::{Probe, TINY, U, Wanted};
use crate::check::{Framed, on_every_set};
use crate::optimizer::{Rule, Update, is_finite, reference, sum_of_squares, update};

const RULES: [Rule; 8] = [
    Rule::Sgd,
    Rule::Momentum { momentum: 0.9 },
    Rule::Nesterov { momentum: 0.9 },
    Rule::Adagrad { epsilon: 1e-8, epsilon_inside: false },
    Rule::Adagrad { epsilon: 1e-8, epsilon_inside: true },
    Rule::RmsProp { decay: 0.95, epsilon: 1e-8 },
    Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
    Rule::AdamW { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.01 },
];

/// Reads parameters, gradients and state, and compares one step and the sums over the gradient.
pub(super) fn run(data: &[u8], probe: Probe<'_>) {
    let mut input = Input::new(data);
    let rule = input.pick(RULES);
    let n = input.up_to(200);
    let param = input.values(n, 1.0);
    let scale = input.pick([1.0, 1e-6, 1e3]);
    let grad = input.values(n, scale);
    let mut slots = [input.values(n, scale), input.values(n, scale)];
    // A mean square is not negative; a momentum may be.
    if !matches!(rule, Rule::Momentum { .. } | Rule::Nesterov { .. }) {
        let square = usize::from(rule.slots() == 2);
        slots[square].iter_mut().for_each(|v| *v *= *v);
    }
    let lr = input.pick([0.01f32, 1.0, 1e-5]);
    let grad_scale = input.pick([1.0f32, 0.37]);
    let clip_value = input.pick([None, Some(0.1f32), Some(5.0)]);
    let step = input.pick([1u64, 2, 3, 1000, 100_000]);
    let results = on_every_set("update", |isa| {
        let (mut p, g) = (Framed::new(1, n, &param), Framed::new(1, n, &grad));
        let [mut a, mut b] = [&slots[0], &slots[1]].map(|slot| Framed::new(1, n, slot));
        let (mut p_mat, mut a_mat, mut b_mat) = (p.mat_mut(), a.mat_mut(), b.mat_mut());
        let mut slots: [&mut [f32]; 2] = [a_mat.row_mut(0), b_mat.row_mut(0)];
        slots[rule.slots()..].iter_mut().for_each(|slot| *slot = &mut []);
        let (param, grad) = (p_mat.row_mut(0), g.mat().row(0));
        update(isa, rule, Update { param, grad, slots, lr, grad_scale, clip_value, weight_decay: 0.0, step });
        [p.values(), a.values(), b.values()].concat()
    });
    let mut want = [(); 3].map(|()| Wanted::default());
    for i in 0..n {
        let g = reference::prepared(f64::from(grad[i]), f64::from(grad_scale), clip_value, 0.0, 0.0);
        let mut p = f64::from(param[i]);
        let mut state = [0, 1].map(|k| f64::from(slots[k][i]));
        // The same step from 0 with everything of one sign gives the magnitudes.
        let (mut size, mut sums) = (0.0, state.map(f64::abs));
        let start = p.abs();
        reference::step(rule, &mut size, g.abs(), &mut sums, f64::from(lr), step);
        reference::step(rule, &mut p, g, &mut state, f64::from(lr), step);
        // What underflows in a state is divided by epsilon and, in Adam's first step, by 1 - beta1.
        want[0].push(p, 2.0 * U * start + 12.0 * U * size.abs() + TINY / (1e-8 * 0.1));
        for k in 0..2 {
            want[k + 1].push(state[k], 4.0 * U * sums[k] + TINY);
        }
    }
    Wanted::concat(want).compare("update", results, probe);
    sums(&grad, &mut input, probe);
}

fn sums(grad: &[f32], input: &mut Input<'_>, probe: Probe<'_>) {
    let results = on_every_set("sum_of_squares", |isa| vec![sum_of_squares(isa, grad) as f32]);
    let value = grad.iter().map(|&g| f64::from(g) * f64::from(g)).sum();
    // The documented 2^-24 (4096 / 64 + 6), once more for the f32 that it is compared in, and squares that underflow.
    let bound = U * (4096.0 / 64.0 + 7.0) * value + (grad.len() + 1) as f64 * TINY;
    Wanted { values: vec![value], bounds: vec![bound] }.compare("sum of squares", results, probe);

    let mut grad = grad.to_vec();
    let spoiled = input.pick([0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX]);
    let at = usize::from(input.byte());
    if let Some(g) = grad.get_mut(at) {
        *g = spoiled;
    }
    let want = grad.iter().all(|g| g.is_finite());
    let results = on_every_set("is_finite", |isa| vec![if is_finite(isa, &grad) { 1.0 } else { 0.0 }]);
    Wanted { values: vec![f64::from(u8::from(want))], bounds: vec![0.0] }.compare("finite", results, probe);
}
