use super::reference as meaning;
use super::*;
use crate::check::{Framed, assert_close, bits, narrow, numbers, on_every_set, wide};
use crate::isa::sets_under_test;

/// 2^-24
const U: f64 = 1.0 / 16_777_216.0;

const RULES: [Rule; 8] = [
    Rule::Sgd,
    Rule::Momentum { momentum: 0.9 },
    Rule::Nesterov { momentum: 0.85 },
    Rule::Adagrad { epsilon: 1e-8, epsilon_inside: true },
    Rule::Adagrad { epsilon: 1e-3, epsilon_inside: false },
    Rule::RmsProp { decay: 0.95, epsilon: 1e-8 },
    Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
    Rule::AdamW { beta1: 0.8, beta2: 0.99, epsilon: 1e-4, weight_decay: 0.3 },
];

/// One step's arguments, owned.
#[derive(Clone)]
struct Case {
    param: Vec<f32>,
    grad: Vec<f32>,
    slots: [Vec<f32>; 2],
    lr: f32,
    grad_scale: f32,
    clip_value: Option<f32>,
    weight_decay: f32,
    step: u64,
}

impl Case {
    fn new(rule: Rule, n: usize, seed: u64) -> Self {
        let numbers = |k: u64| narrow(&numbers(n, 4 * seed + k));
        let mut slots = [numbers(2), numbers(3)];
        // A mean square is not negative; a momentum may be.
        let squares = if rule.slots() == 2 { 1 } else { 0 };
        if !matches!(rule, Rule::Momentum { .. } | Rule::Nesterov { .. }) {
            slots[squares].iter_mut().for_each(|v| *v *= *v);
        }
        let (param, grad) = (numbers(0), numbers(1));
        Self { param, grad, slots, lr: 0.013, grad_scale: 1.0, clip_value: None, weight_decay: 0.0, step: 1 }
    }

    /// The step on one set; all slices in one list, the frames of NaN around them checked.
    fn run(&self, isa: Isa, rule: Rule) -> Vec<f32> {
        let n = self.param.len();
        let framed = |x: &[f32]| Framed::new(1, n, x);
        let (mut p, mut a, mut b) = (framed(&self.param), framed(&self.slots[0]), framed(&self.slots[1]));
        let grad = framed(&self.grad);
        let (mut pm, mut am, mut bm) = (p.mat_mut(), a.mat_mut(), b.mat_mut());
        let mut slots: [&mut [f32]; 2] = [am.row_mut(0), bm.row_mut(0)];
        slots[rule.slots()..].iter_mut().for_each(|slot| *slot = &mut []);
        update(
            isa,
            rule,
            Update {
                param: pm.row_mut(0),
                grad: grad.mat().row(0),
                slots,
                lr: self.lr,
                grad_scale: self.grad_scale,
                clip_value: self.clip_value,
                weight_decay: self.weight_decay,
                step: self.step,
            },
        );
        [p.values(), a.values(), b.values()].concat()
    }

    /// Compares every set with the reference within the bounds of the module's documentation.
    fn compare(&self, rule: Rule) {
        let n = self.param.len();
        let (mut want, mut bounds) = (vec![0.0; 3 * n], vec![0.0; 3 * n]);
        for i in 0..n {
            let mut p = f64::from(self.param[i]);
            let (grad, scale, decay) = (self.grad[i], self.grad_scale, self.weight_decay);
            let g = meaning::prepared(f64::from(grad), f64::from(scale), self.clip_value, f64::from(decay), p);
            let mut slots = [0, 1].map(|k| f64::from(self.slots[k][i]));
            // The same step from 0 with everything of one sign gives the magnitudes.
            let (mut size, mut sums) = (0.0, slots.map(f64::abs));
            let start = p.abs();
            meaning::step(rule, &mut size, g.abs(), &mut sums, f64::from(self.lr), self.step);
            meaning::step(rule, &mut p, g, &mut slots, f64::from(self.lr), self.step);
            let values = [p, slots[0], slots[1]];
            let limits = [2.0 * U * start + 12.0 * U * size.abs(), 4.0 * U * sums[0], 4.0 * U * sums[1]];
            for k in 0..3 {
                want[k * n + i] = values[k];
                bounds[k * n + i] = limits[k];
            }
        }
        for (isa, got) in on_every_set("update", |isa| self.run(isa, rule)) {
            assert_close(&format!("{isa} {rule:?}, step {}", self.step), &got, &want, |i| bounds[i]);
        }
    }
}

#[test]
fn every_rule_follows_the_reference_on_every_set() {
    for rule in RULES {
        for (i, n) in [1, 7, 8, 9, 15, 16, 17, 31, 33, 100].into_iter().enumerate() {
            let mut case = Case::new(rule, n, i as u64);
            case.compare(rule);
            case.step = 2;
            case.grad_scale = 0.37;
            case.compare(rule);
            case.step = 10_000;
            case.clip_value = Some(0.1);
            case.compare(rule);
        }
    }
}

/// Rounded so that a product of two has no more bits than an f32.
fn coarse(x: &mut [f32]) {
    x.iter_mut().for_each(|x| *x = (*x * 256.0).round() / 256.0);
}

#[test]
fn the_decay_is_added_to_the_clipped_gradient() {
    for rule in RULES {
        for (scale, clip_value) in [(1.0, None), (0.5, Some(0.25))] {
            // Without rounding in the sum the bound of the reference holds with the decay's gradient too.
            let mut case = Case { grad_scale: scale, clip_value, weight_decay: 0.75, ..Case::new(rule, 37, 5) };
            coarse(&mut case.param);
            coarse(&mut case.grad);
            case.compare(rule);
            let limit = clip_value.unwrap_or(f32::INFINITY);
            let sum = |(g, p): (&f32, &f32)| (g * scale).clamp(-limit, limit) + 0.75 * p;
            let grad = case.grad.iter().zip(&case.param).map(sum).collect();
            let plain = Case { grad, grad_scale: 1.0, clip_value: None, weight_decay: 0.0, ..case.clone() };
            for isa in sets_under_test() {
                assert_eq!(bits(&case.run(isa, rule)), bits(&plain.run(isa, rule)), "{isa} {rule:?}");
            }
        }
    }
}

#[test]
fn averages_are_the_means_of_what_they_were_given() {
    for n in [1, 7, 8, 15, 16, 17, 100] {
        let params: Vec<Vec<f32>> = (0..9).map(|k| narrow(&numbers(n, 50 + k))).collect();
        let mean = |i: usize| params.iter().map(|p| f64::from(p[i])).sum::<f64>() / 9.0;
        let want: Vec<f64> = (0..n).map(mean).collect();
        let results = on_every_set("average", |isa| {
            // What stood there before the first does not count.
            let mut framed = Framed::new(1, n, &vec![7.0; n]);
            for (k, params) in params.iter().enumerate() {
                let params = Framed::new(1, n, params);
                average(isa, framed.mat_mut().row_mut(0), params.mat().row(0), 1.0 / (k + 1) as f32);
            }
            framed.values()
        });
        for (isa, got) in results {
            // Nine calls, each with errors of three units of numbers below 2.
            assert_close(&format!("{isa}, {n} averages"), &got, &want, |_| 9.0 * 3.0 * 2.0 * U);
        }
    }
}

#[test]
fn many_steps_follow_the_reference() {
    // The first steps from an empty state are where bias correction matters.
    for rule in RULES {
        for isa in sets_under_test() {
            let mut case = Case::new(rule, 5, 3);
            case.slots = [vec![0.0; 5], vec![0.0; 5]];
            let (mut p, mut slots) = (wide(&case.param), [[0.0; 2]; 5]);
            for t in 1..=50 {
                case.step = t;
                case.grad = narrow(&numbers(5, 100 + t));
                for i in 0..5 {
                    meaning::step(rule, &mut p[i], f64::from(case.grad[i]), &mut slots[i], f64::from(case.lr), t);
                }
                let all = case.run(isa, rule);
                case.param = all[..5].to_vec();
                case.slots = [all[5..10].to_vec(), all[10..].to_vec()];
            }
            assert_close(&format!("{isa} {rule:?}"), &case.param, &p, |_| 1e-5);
        }
    }
}

#[test]
fn a_step_changes_the_state_it_has_and_no_other() {
    // Faults of bookkeeping: a slot that is not written, or one that is and should not be.
    for rule in RULES {
        let case = Case::new(rule, 20, 9);
        for isa in sets_under_test() {
            let all = case.run(isa, rule);
            for (k, before) in [&case.param, &case.slots[0], &case.slots[1]].into_iter().enumerate() {
                let changed = all[20 * k..20 * (k + 1)] != before[..];
                assert_eq!(changed, k <= rule.slots(), "{isa} {rule:?}: slot {k}");
            }
        }
    }
}

#[test]
fn a_pass_may_be_cut_anywhere() {
    for rule in RULES {
        let case = Case::new(rule, 50, 4);
        let part = |range: std::ops::Range<usize>| Case {
            param: case.param[range.clone()].to_vec(),
            grad: case.grad[range.clone()].to_vec(),
            slots: [0, 1].map(|k| case.slots[k][range.clone()].to_vec()),
            ..case.clone()
        };
        for isa in sets_under_test() {
            let (whole, left, right) = (case.run(isa, rule), part(0..13).run(isa, rule), part(13..50).run(isa, rule));
            let joined: Vec<f32> =
                (0..3).flat_map(|k| [&left[13 * k..13 * (k + 1)], &right[37 * k..37 * (k + 1)]].concat()).collect();
            assert_eq!(bits(&joined), bits(&whole), "{isa} {rule:?}");
        }
    }
}

#[test]
fn a_nan_gradient_reaches_its_parameter_and_no_other() {
    for rule in RULES {
        let mut case = Case::new(rule, 20, 6);
        case.grad[11] = f32::NAN;
        case.clip_value = Some(1.0);
        for isa in sets_under_test() {
            let all = case.run(isa, rule);
            assert!((0..20).all(|i| all[i].is_nan() == (i == 11)), "{isa} {rule:?}");
        }
    }
}

#[test]
fn the_norm_follows_f64_and_depends_on_no_cut_at_blocks() {
    for n in [0, 1, 15, 16, 17, 63, 64, 65, 4095, 4096, 4097, 20_000] {
        let x = narrow(&numbers(n, n as u64));
        let want: f64 = wide(&x).iter().map(|x| x * x).sum();
        let sums = on_every_set("sum_of_squares", |isa| {
            let framed = Framed::new(1, n, &x);
            let sum = sum_of_squares(isa, framed.mat().row(0));
            let blocks: f64 = x.chunks(NORM_BLOCK).map(|block| sum_of_squares(isa, block)).sum();
            assert_eq!(sum, blocks, "{isa}: {n} elements, block by block");
            assert!((sum - want).abs() <= 70.0 * U * want, "{isa}: {n} elements, {sum} not {want}");
            // Sixteen bits at a time, for f64 does not fit into f32.
            (0..4).map(|k| (sum.to_bits() >> (16 * k) & 0xffff) as f32).collect()
        });
        assert_eq!(sums.len(), sets_under_test().len());
    }
}

#[test]
fn what_is_not_finite_is_found_wherever_it_stands() {
    for isa in sets_under_test() {
        for n in [1, 8, 17, 63, 64, 65, 130, 4097, 8200] {
            let mut x = narrow(&numbers(n, 1));
            x[n / 3] = f32::MAX;
            assert!(is_finite(isa, &x), "{isa}, {n} elements");
            for at in [0, n / 2, n - 1] {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let good = std::mem::replace(&mut x[at], bad);
                    assert!(!is_finite(isa, &x), "{isa}: {bad} at {at} of {n}");
                    x[at] = good;
                }
            }
        }
        assert!(is_finite(isa, &[]));
    }
}

#[test]
fn the_clip_factor_is_pytorchs() {
    assert_eq!(clip_factor(0.0, 5.0), 1.0);
    assert_eq!(clip_factor(4.9, 5.0), 1.0);
    assert_eq!(clip_factor(10.0, 5.0), (5.0f64 / (10.0 + 1e-6)) as f32);
    assert_eq!(clip_factor(f64::INFINITY, 5.0), 0.0);
    assert!(clip_factor(f64::NAN, 5.0).is_nan());
}

#[test]
#[should_panic(expected = "a state of 3 for 4 parameters")]
fn a_state_of_another_length_is_refused() {
    let slots: [&mut [f32]; 2] = [&mut [0.0; 3], &mut []];
    let (param, grad) = (&mut [0.0; 4][..], &[0.0; 4][..]);
    let args = Update { param, grad, slots, lr: 0.1, grad_scale: 1.0, clip_value: None, weight_decay: 0.0, step: 1 };
    update(Isa::PORTABLE, Rule::Momentum { momentum: 0.9 }, args);
}
