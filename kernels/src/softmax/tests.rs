use super::reference as meaning;
use super::*;
use crate::check::{self, Claim, Framed, assert_close, narrow, numbers, on_every_set, wide};
use crate::isa::sets_under_test;
use crate::{Bf16, Element};
use proptest::prelude::*;

/// 2^-24
const U: f64 = 1.0 / 16_777_216.0;
/// Vocabularies around the vectors' and the blocks' lengths.
const VOCABULARIES: [usize; 14] = [1, 2, 7, 8, 9, 15, 16, 17, 63, 65, 1023, 1024, 1025, 2300];

/// Rows of logits of a given spread, every third target not scored.
fn case(r: usize, v: usize, spread: f64, seed: u64) -> (Vec<f32>, Vec<u32>) {
    let x = numbers(r * v, seed).iter().map(|x| (x * spread) as f32).collect();
    let pick = numbers(r, seed ^ 77).into_iter().enumerate();
    let targets = pick.map(|(r, t)| if r % 3 == 2 { IGNORE } else { (t.abs() * v as f64) as u32 }).collect();
    (x, targets)
}

/// d_j = |x_j - max| of one row, and the average of it under the weights `p`.
fn distances(x: &[f64], p: &[f64]) -> (Vec<f64>, f64) {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let d: Vec<f64> = x.iter().map(|x| max - x).collect();
    let weight: f64 = p.iter().sum();
    let average = if weight > 0.0 { check::dot(&d, p) / weight } else { 0.0 };
    (d, average)
}

/// Runs cross-entropy on every set, over whole rows and over slices of a few columns: losses, then the gradient, in one list.
fn run(x: &[f32], v: usize, targets: &[u32], scale: f32) -> Vec<(Isa, Vec<f32>)> {
    let mut all = run_rows(x, v, targets, scale);
    for width in [5, 1024] {
        all.extend(on_every_set("slices", |isa| run_slices(isa, (x, v), targets, scale, width)));
    }
    all
}

/// Over slices, the last first where gradients are computed.
fn run_slices(isa: Isa, (x, v): (&[f32], usize), targets: &[u32], scale: f32, width: usize) -> Vec<f32> {
    let mut logits = Framed::new(targets.len(), v, x);
    let mut tallies = vec![Tally::default(); targets.len()];
    let slices: Vec<_> = (0..v).step_by(width).map(|first| first..v.min(first + width)).collect();
    for slice in &slices {
        tally(isa, logits.mat().cols_range(slice.clone()), slice.start, targets, &mut tallies);
    }
    let losses = tallies.iter().zip(targets).map(|(tally, &t)| if t == IGNORE { 0.0 } else { tally.loss() });
    let mut all: Vec<f32> = losses.collect();
    for slice in slices.into_iter().rev() {
        let (first, logits) = (slice.start, logits.mat_mut().cols_range(slice));
        slice_gradient(isa, SliceGradient { logits, first, targets, tallies: &tallies, scale });
    }
    all.extend(logits.values());
    all
}

/// Through exponentials that are kept in bf16, in blocks of `width` columns: losses, then the gradient, in one list.
fn run_kept(x: &[f32], v: usize, targets: &[u32], factors: RowGradient, width: usize) -> Vec<(Isa, Vec<f32>)> {
    on_every_set("kept", |isa| {
        let (rows, blocks) = (targets.len(), v.div_ceil(width));
        let mut logits = Framed::new(rows, v, x);
        let (mut kept, mut notes) = (vec![Bf16(0x7fc0); rows * v], vec![f32::NAN; rows * blocks * NOTE]);
        for (i, first) in (0..v).step_by(width).enumerate() {
            let (cols, own) = (first..v.min(first + width), NOTE * i..NOTE * (i + 1));
            let mut block = Framed::new(rows, v, x);
            for room in [true, false] {
                let logits = if room { logits.mat_mut() } else { block.mat_mut() }.cols_range(cols.clone());
                let kept = MatMut::dense(&mut kept, rows, v).cols_range(if room { cols.clone() } else { 0..0 });
                let notes = MatMut::dense(&mut notes, rows, NOTE * blocks).cols_range(own.clone());
                // The notes are those of the second, which keeps nothing else.
                keep(isa, Keep { logits, first, targets, sums: room, kept, notes });
            }
        }
        let (mut tallies, mut sums) = (vec![Tally::default(); rows], vec![0.0; rows]);
        let notes = Mat::dense(&notes, rows, NOTE * blocks);
        add_notes(notes, targets, &mut tallies, &mut sums);
        let losses = tallies.iter().zip(targets).map(|(tally, &t)| if t == IGNORE { 0.0 } else { tally.loss() });
        let mut all: Vec<f32> = losses.collect();
        let (matrix, factors) = (MatMut::dense(&mut kept, rows, v), vec![factors; rows]);
        kept_gradient(isa, KeptGradient { kept: matrix, notes, width, targets, tallies: &tallies, rows: &factors });
        all.extend(kept.iter().map(|x| x.value()));
        all
    })
}

/// The gradient of a sum of the losses alone.
fn of_scale(scale: f32) -> RowGradient {
    RowGradient { probabilities: scale, every: 0.0, target: scale }
}

fn run_rows(x: &[f32], v: usize, targets: &[u32], scale: f32) -> Vec<(Isa, Vec<f32>)> {
    on_every_set("cross_entropy", |isa| {
        let mut logits = Framed::new(targets.len(), v, x);
        let mut losses = vec![f32::NAN; targets.len()];
        cross_entropy(isa, CrossEntropy { logits: logits.mat_mut(), targets, scale, losses: &mut losses });
        let mut alone = vec![f32::NAN; targets.len()];
        cross_entropy_forward(isa, Framed::new(targets.len(), v, x).mat(), targets, &mut alone);
        assert_eq!(check::bits(&alone), check::bits(&losses), "{isa}: the forward alone differs");
        losses.extend(logits.values());
        losses
    })
}

/// Compares losses and gradients with the reference, within the bounds of the module's documentation.
fn compare(x: &[f32], v: usize, targets: &[u32], scale: f32) {
    let (x64, scale64) = (wide(x), f64::from(scale));
    let losses = meaning::cross_entropy(&x64, v, targets);
    let gradient = meaning::cross_entropy_backward(&x64, v, targets, scale64);
    let (mut loss_bounds, mut gradient_bounds) = (Vec::new(), Vec::new());
    for (r, row) in x64.chunks(v).enumerate() {
        if targets[r] == IGNORE {
            loss_bounds.push(0.0);
            gradient_bounds.extend(vec![0.0; v]);
            continue;
        }
        let t = targets[r] as usize;
        let p = meaning::softmax(row);
        let (d, average) = distances(row, &p);
        let mut others = p.clone();
        others[t] = 0.0;
        let (_, average_of_others) = distances(row, &others);
        let rest: f64 = others.iter().sum();
        // The reference itself is off by some 2^-52 where 1 - p is taken from p.
        loss_bounds.push(U * (losses[r] + rest * (average_of_others + 76.0)) + 1e-15);
        gradient_bounds.extend((0..v).map(|j| {
            let q = if j == t { rest } else { p[j] };
            scale64 * (U * q * (d[j] * f64::from(u8::from(j != t)) + average + 77.0) + 2f64.powi(-149) + 1e-15)
        }));
    }
    for (isa, got) in run(x, v, targets, scale) {
        let (got_losses, got_gradient) = got.split_at(targets.len());
        assert_close(&format!("{isa} loss, V {v}"), got_losses, &losses, |i| loss_bounds[i]);
        assert_close(&format!("{isa} gradient, V {v}"), got_gradient, &gradient, |i| gradient_bounds[i]);
    }
    let factors = [of_scale(scale), RowGradient { probabilities: scale, every: -scale / 50.0, target: 0.9 * scale }];
    for (factors, width) in factors.into_iter().flat_map(|factors| [3, 64, 1024].map(|width| (factors, width))) {
        let row = |i: usize| &x64[i / v * v..(i / v + 1) * v];
        let all: Vec<Vec<f64>> = (0..targets.len()).map(|r| meaning::softmax(row(r * v))).collect();
        let [a, b, c] = [factors.probabilities, factors.every, factors.target].map(f64::from);
        let scored = |i: usize| f64::from(u8::from(targets[i / v] != IGNORE));
        let is_target = |i: usize| f64::from(u8::from(targets[i / v] as usize == i % v));
        // p - 1 of the reference has lost nothing where a is c.
        let want: Vec<f64> = (0..x.len()).map(|i| gradient[i] + scored(i) * (b + is_target(i) * (a - c))).collect();
        let bound = |i: usize| {
            let p = all[i / v][i % v] * (1.0 - is_target(i));
            let kept = a * p * (2f64.powi(-7) + 2f64.powi(-16)) + 2f64.powi(-8) * want[i].abs();
            scored(i) * (gradient_bounds[i] + kept + (a + 1.0) * 2f64.powi(-126) + 4.0 * U * (a + c + b.abs()))
        };
        for (isa, got) in run_kept(x, v, targets, factors, width) {
            let (got_losses, got_gradient) = got.split_at(targets.len());
            assert_close(&format!("{isa} loss of notes, V {v}"), got_losses, &losses, |i| loss_bounds[i]);
            assert_close(&format!("{isa} gradient of what is kept, V {v}"), got_gradient, &want, bound);
        }
    }
}

#[test]
fn cross_entropy_follows_the_reference_on_every_set() {
    for (i, v) in VOCABULARIES.into_iter().enumerate() {
        for spread in [0.01, 3.0, 90.0, 1e4, 1e30] {
            let (x, targets) = case(5, v, spread, i as u64);
            compare(&x, v, &targets, 0.37);
        }
    }
}

#[test]
fn a_loss_far_below_the_last_place_is_still_accurate() {
    // p = 1 - 2e-9 and so on: 1 - p and ln p would both be 0 in f32.
    for gap in [20.0f32, 40.0, 80.0] {
        let x = [gap, 0.0, -1.0, gap];
        for (isa, got) in run(&x, 2, &[0, 1], 1.0) {
            let want = f64::from(-gap).exp();
            let less = f64::from(-gap - 1.0).exp();
            assert!((f64::from(got[0]) - want).abs() < 1e-5 * want, "{isa}: loss {} not {want}", got[0]);
            assert!((f64::from(-got[2]) - want).abs() < 1e-5 * want, "{isa}: gradient {} not {want}", got[2]);
            assert!((f64::from(got[1]) - less).abs() < 1e-5 * less, "{isa}: loss {} not {less}", got[1]);
        }
    }
}

#[test]
fn awkward_rows() {
    let inf = f32::INFINITY;
    let rows = [
        [1.0, f32::NAN, 3.0], // a NaN
        [1.0, 2.0, f32::NAN], // a NaN as target
        [1.0, inf, 3.0],
        [1.0, -inf, 3.0],
        [1.0, 2.0, -inf],     // impossible, and the target
        [f32::NAN, 2.0, 3.0], // not scored
        [3e38, -3e38, 3e38],
    ];
    let targets = [0, 2, 0, 0, 2, IGNORE, 0];
    let kept = [1, 2, 3].map(|width| run_kept(&rows.concat(), 3, &targets, of_scale(1.0), width)).concat();
    for (isa, got) in run(&rows.concat(), 3, &targets, 1.0).into_iter().chain(kept) {
        let (losses, gradient) = got.split_at(rows.len());
        let row = |r: usize| &gradient[3 * r..3 * r + 3];
        for r in 0..3 {
            assert!(
                losses[r].is_nan() && row(r).iter().all(|x| x.is_nan()),
                "{isa}: row {r}, {} {:?}",
                losses[r],
                row(r)
            );
        }
        assert!((losses[3] - 2.126_928).abs() < 1e-6 && row(3)[1] == 0.0, "{isa}: {} {:?}", losses[3], row(3));
        assert_eq!(losses[4], inf, "{isa}");
        assert_eq!((losses[5], row(5)), (0.0, &[0.0; 3][..]), "{isa}");
        assert_eq!((losses[6], row(6)), (std::f32::consts::LN_2, &[-0.5, 0.0, 0.5][..]), "{isa}");
    }
    let kept = run_kept(&[7.5, -1e30], 1, &[0, 0], of_scale(2.0), 1);
    for (isa, got) in run(&[7.5, -1e30], 1, &[0, 0], 2.0).into_iter().chain(kept) {
        assert_eq!(check::bits(&got), check::bits(&[0.0; 4]), "{isa}: one word");
    }
}

#[test]
fn softmax_and_its_logarithm_follow_the_reference_on_every_set() {
    for (i, v) in VOCABULARIES.into_iter().enumerate() {
        for spread in [0.01, 3.0, 90.0, 1e4] {
            let (x, _) = case(3, v, spread, 50 + i as u64);
            let rows: Vec<_> = wide(&x)
                .chunks(v)
                .map(|row| {
                    let p = meaning::softmax(row);
                    let (d, average) = distances(row, &p);
                    (meaning::log_softmax(row), p, d, average)
                })
                .collect();
            let apply = |what: &str, f: fn(Isa, MatMut<'_>)| {
                on_every_set(what, |isa| {
                    let mut m = Framed::new(3, v, &x);
                    f(isa, m.mat_mut());
                    m.values()
                })
            };
            let p: Vec<f64> = rows.iter().flat_map(|row| row.1.clone()).collect();
            for (isa, got) in apply("softmax", softmax_rows) {
                let bound = |i: usize| {
                    let (_, p, d, average) = &rows[i / v];
                    U * p[i % v] * (d[i % v] + average + 76.0) + 2f64.powi(-149)
                };
                assert_close(&format!("{isa} softmax, V {v}"), &got, &p, bound);
            }
            let ln: Vec<f64> = rows.iter().flat_map(|row| row.0.clone()).collect();
            for (isa, got) in apply("log_softmax", log_softmax_rows) {
                let bound = |i: usize| {
                    let (ln, _, d, average) = &rows[i / v];
                    U * (2.0 * ln[i % v].abs() + d[i % v] + average + 78.0)
                };
                assert_close(&format!("{isa} log_softmax, V {v}"), &got, &ln, bound);
            }
        }
    }
}

/// Losses, then gradients, of binary cross-entropy on every set.
fn run_binary(x: &[f32], y: &[f32], scale: f32) -> Vec<(Isa, Vec<f32>)> {
    on_every_set("binary_cross_entropy", |isa| {
        let mut logits = Framed::new(1, x.len(), x);
        let mut losses = Framed::new(1, x.len(), x);
        let (mut l, mut o) = (logits.mat_mut(), losses.mat_mut());
        binary_cross_entropy(isa, BinaryCrossEntropy { logits: l.row_mut(0), targets: y, scale, losses: o.row_mut(0) });
        let mut all = losses.values();
        all.extend(logits.values());
        all
    })
}

#[test]
fn binary_cross_entropy_follows_the_reference_on_every_set() {
    for n in [1, 7, 8, 9, 15, 16, 17, 100] {
        for spread in [1e-3, 2.0, 30.0, 200.0, 1e30] {
            let x: Vec<f32> = narrow(&numbers(n, 3).iter().map(|x| x * spread).collect::<Vec<_>>());
            let y: Vec<f32> = (0..n).map(|i| [0.0, 1.0, 0.25][i % 3]).collect();
            let (x64, y64, scale) = (wide(&x), wide(&y), 0.7f32);
            let losses = meaning::binary_cross_entropy(&x64, &y64);
            let gradient = meaning::binary_cross_entropy_backward(&x64, &y64, f64::from(scale));
            for (isa, got) in run_binary(&x, &y, scale) {
                let bound = |i: usize| {
                    U * (2.0 * x64[i].max(0.0) * f64::from(u8::from(y[i] != 1.0)) + 4.0 * losses[i]) + 2f64.powi(-148)
                };
                assert_close(&format!("{isa} binary loss"), &got[..n], &losses, bound);
                assert_close(&format!("{isa} binary gradient"), &got[n..], &gradient, |_| 0.7 * 4.0 * U);
            }
        }
    }
    for (isa, got) in run_binary(&[f32::NAN], &[1.0], 1.0) {
        assert!(got[0].is_nan() && got[1].is_nan(), "{isa}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_reference_gradients_are_the_central_differences(r in 1usize..5, v in 1usize..7, seed: u64) {
        let (x, targets) = case(r, v, 3.0, seed);
        let x = wide(&x);
        let claimed = meaning::cross_entropy_backward(&x, v, &targets, 0.3);
        let claim = Claim { name: "logits", at: &x, gradient: &claimed };
        let result = check::gradient(claim, 1e-7, |x| 0.3 * meaning::cross_entropy(x, v, &targets).iter().sum::<f64>());
        prop_assert!(result.is_ok(), "{:?}", result);

        let y: Vec<f64> = numbers(x.len(), seed ^ 5).iter().map(|y| y.abs()).collect();
        let claimed = meaning::binary_cross_entropy_backward(&x, &y, 0.3);
        let claim = Claim { name: "logits", at: &x, gradient: &claimed };
        let result = check::gradient(claim, 1e-7, |x| 0.3 * meaning::binary_cross_entropy(x, &y).iter().sum::<f64>());
        prop_assert!(result.is_ok(), "{:?}", result);
    }
}

#[test]
fn faults_in_the_gradients_are_caught() {
    let (r, v) = (4, 13);
    let (x, targets) = case(r, v, 2.0, 12);
    let x64 = wide(&x);
    let truth = meaning::cross_entropy_backward(&x64, v, &targets, 1.0);
    let accepted = |g: &[f64]| {
        let loss = |x: &[f64]| meaning::cross_entropy(x, v, &targets).iter().sum();
        check::gradient(Claim { name: "logits", at: &x64, gradient: g }, 1e-7, loss).is_ok()
    };
    check::assert_faults_caught("cross-entropy, reference", &truth, accepted);
    for (_, got) in run(&x, v, &targets, 1.0) {
        let accepted = |g: &[f64]| check::close("logits", &narrow(g), &truth, |_| 100.0 * U).is_ok();
        check::assert_faults_caught("cross-entropy", &wide(&got[r..]), accepted);
    }

    let y: Vec<f32> = (0..x.len()).map(|i| [0.0, 1.0, 0.25][i % 3]).collect();
    let y64 = wide(&y);
    let truth = meaning::binary_cross_entropy_backward(&x64, &y64, 1.0);
    let accepted = |g: &[f64]| {
        let loss = |x: &[f64]| meaning::binary_cross_entropy(x, &y64).iter().sum();
        check::gradient(Claim { name: "logits", at: &x64, gradient: g }, 1e-7, loss).is_ok()
    };
    check::assert_faults_caught("binary cross-entropy, reference", &truth, accepted);
    for (_, got) in run_binary(&x, &y, 1.0) {
        let accepted = |g: &[f64]| check::close("logits", &narrow(g), &truth, |_| 4.0 * U).is_ok();
        check::assert_faults_caught("binary cross-entropy", &wide(&got[x.len()..]), accepted);
    }
}

#[test]
#[should_panic(expected = "target 5 of row 1, but the vocabulary has 5")]
fn a_target_outside_the_vocabulary_is_refused() {
    cross_entropy_forward(sets_under_test()[0], Mat::dense(&[0.0; 10], 2, 5), &[4, 5], &mut [0.0; 2]);
}
