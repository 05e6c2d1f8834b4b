use super::reference as meaning;
use super::*;
use crate::check::{self, Claim, Framed, assert_close, dot, narrow, numbers, on_every_set, wide};
use proptest::prelude::*;

/// 2^-24
const U: f64 = 1.0 / 16_777_216.0;
/// Around the lengths of vectors and blocks.
const WIDTHS: [usize; 15] = [1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 130, 650];
const ROWS: usize = 3;
const EPSILON: f32 = 1e-3;

/// Numbers of a given spread about a mean, gains and offsets.
struct Case {
    width: usize,
    x: Vec<f32>,
    gain: Vec<f32>,
    offset: Vec<f32>,
    dy: Vec<f32>,
}

fn case(width: usize, spread: f64, mean: f64, seed: u64) -> Case {
    let of = |n: usize, seed: u64| narrow(&numbers(n, seed));
    let x = numbers(ROWS * width, seed).iter().map(|x| (mean + spread * x) as f32).collect();
    let (gain, offset) = (of(width, seed ^ 91), of(width, seed ^ 92));
    Case { width, x, gain, offset, dy: of(ROWS * width, seed ^ 93) }
}

/// y, then n, then r, on every set.
fn run(case: &Case, affine: bool) -> Vec<(Isa, Vec<f32>)> {
    let Case { width, x, gain, offset, .. } = case;
    on_every_set("layer_norm forward", |isa| {
        let nan = vec![f32::NAN; ROWS * width];
        let (mut y, mut normal) = (Framed::new(ROWS, *width, &nan), Framed::new(ROWS, *width, &nan));
        let mut scale = Framed::new(ROWS, 1, &nan[..ROWS]);
        let (frame, gain, offset) = (Framed::new(ROWS, *width, x), &gain[..], &offset[..]);
        let args = Forward {
            x: frame.mat(),
            gain: affine.then_some(gain),
            offset: affine.then_some(offset),
            epsilon: EPSILON,
            normal: normal.mat_mut(),
            scale: scale.mat_mut(),
            y: y.mat_mut(),
        };
        forward(isa, args);
        [y.values(), normal.values(), scale.values()].concat()
    })
}

/// What is added to `into`, on every set.
fn run_backward(case: &Case, normal: &[f32], scale: &[f32], into: &[f32], affine: bool) -> Vec<(Isa, Vec<f32>)> {
    let Case { width, gain, dy, .. } = case;
    on_every_set("layer_norm backward", |isa| {
        let mut dx = Framed::new(ROWS, *width, into);
        let frames = [(*width, normal), (1, scale), (*width, dy)].map(|(cols, x)| Framed::new(ROWS, cols, x));
        let gain = &gain[..];
        let args = Backward {
            normal: frames[0].mat(),
            scale: frames[1].mat(),
            gain: affine.then_some(gain),
            dy: frames[2].mat(),
            dx: dx.mat_mut(),
        };
        backward(isa, args);
        dx.values()
    })
}

fn compare(case: &Case, affine: bool) {
    let width = case.width;
    let (gain, offset) =
        if affine { (wide(&case.gain), wide(&case.offset)) } else { (vec![1.0; width], vec![0.0; width]) };
    let x = wide(&case.x);
    let want = meaning::forward(&x, &gain, &offset, f64::from(EPSILON));
    let k = width as f64 / 64.0 + 11.0;
    let normal_bound = |i: usize| {
        let row = &x[i / width * width..][..width];
        let size = row.iter().map(|x| x.abs()).sum::<f64>() / width as f64;
        let mean = row.iter().sum::<f64>() / width as f64;
        let (r, n) = (want.scale[i / width], want.normal[i].abs());
        U * (r * (k * size + (x[i] - mean).abs()) + n * (k * r * size + k / 2.0 + 6.0))
    };
    let bound = |i: usize| {
        let (gain, offset) = (gain[i % width].abs(), offset[i % width].abs());
        gain * normal_bound(i) + 2.0 * U * (gain * want.normal[i].abs() + offset)
    };
    let results = run(case, affine);
    for (isa, got) in &results {
        let (y, rest) = got.split_at(ROWS * width);
        assert_close(&format!("{isa} y, D {width}"), y, &want.y, bound);
        assert_close(&format!("{isa} n, D {width}"), &rest[..ROWS * width], &want.normal, normal_bound);
    }
    let (normal, scale) = results[0].1[ROWS * width..].split_at(ROWS * width);
    let (n, r, dy) = (wide(normal), wide(scale), wide(&case.dy));
    let want = meaning::backward(&n, &r, &gain, &dy);
    let k = width as f64 / 16.0 + 7.0;
    let bound = |i: usize| {
        let row = i / width * width;
        let g = |j: usize| (dy[row + j] * gain[j]).abs();
        let mean = (0..width).map(g).sum::<f64>() / width as f64;
        let along = (0..width).map(|j| g(j) * n[row + j].abs()).sum::<f64>() / width as f64;
        U * r[i / width] * (4.0 * g(i % width) + (k + 4.0) * mean + n[i].abs() * (k + 6.0) * along)
    };
    for (isa, got) in run_backward(case, normal, scale, &vec![0.0; ROWS * width], affine) {
        assert_close(&format!("{isa} dx, D {width}"), &got, &want.dx, bound);
    }
}

#[test]
fn both_passes_follow_the_reference_on_every_set() {
    for (i, width) in WIDTHS.into_iter().enumerate() {
        for (spread, mean) in [(1.0, 0.0), (1e-4, 0.0), (3.0, 50.0), (1e6, -1e5)] {
            let case = case(width, spread, mean, i as u64);
            compare(&case, true);
            compare(&case, false);
        }
    }
}

#[test]
fn the_gradient_is_added_to_what_is_there() {
    let case = case(19, 1.0, 0.5, 7);
    let got = run(&case, true)[0].1[3 * 19..].to_vec();
    let (normal, scale) = got.split_at(3 * 19);
    let before = narrow(&numbers(3 * 19, 5));
    let alone = run_backward(&case, normal, scale, &[0.0; 3 * 19], true);
    for ((_, alone), (isa, sum)) in alone.iter().zip(run_backward(&case, normal, scale, &before, true)) {
        let want: Vec<f64> = alone.iter().zip(&before).map(|(a, b)| f64::from(*a) + f64::from(*b)).collect();
        assert_close(&format!("{isa} sum"), &sum, &want, |i| 2.0 * U * (want[i].abs() + f64::from(alone[i].abs())));
    }
}

#[test]
fn awkward_rows() {
    for (isa, got) in run(
        &Case {
            width: 3,
            x: vec![7.0, 7.0, 7.0, 1.0, f32::NAN, 3.0, 1.0, f32::INFINITY, 3.0],
            gain: vec![2.0; 3],
            offset: vec![0.25; 3],
            dy: vec![0.0; 9],
        },
        true,
    ) {
        assert_eq!(got[..3], [0.25; 3], "{isa}: equal numbers");
        assert!(got[3..9].iter().all(|y| y.is_nan()), "{isa}: {got:?}");
    }
    // One number is its own mean.
    for (isa, got) in
        run(&Case { width: 1, x: vec![5.0, -2.0, 1e30], gain: vec![3.0], offset: vec![-1.5], dy: vec![0.0; 3] }, true)
    {
        assert_eq!(got[..3], [-1.5; 3], "{isa}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_reference_gradients_are_the_central_differences(width in 1usize..7, seed: u64) {
        let case = case(width, 1.5, 0.3, seed);
        let (x, gain, offset, dy) = (wide(&case.x), wide(&case.gain), wide(&case.offset), wide(&case.dy));
        // Two numbers that are nearly equal bend the loss much where epsilon is small.
        let epsilon = 0.1;
        let trace = meaning::forward(&x, &gain, &offset, epsilon);
        let d = meaning::backward(&trace.normal, &trace.scale, &gain, &dy);
        let loss = |x: &[f64], gain: &[f64], offset: &[f64]| dot(&dy, &meaning::forward(x, gain, offset, epsilon).y);
        let results = [
            check::gradient(Claim { name: "x", at: &x, gradient: &d.dx }, 1e-7, |x| loss(x, &gain, &offset)),
            check::gradient(Claim { name: "gain", at: &gain, gradient: &d.dgain }, 1e-7, |g| loss(&x, g, &offset)),
            check::gradient(Claim { name: "offset", at: &offset, gradient: &d.doffset }, 1e-7, |o| loss(&x, &gain, o)),
        ];
        for result in results {
            prop_assert!(result.is_ok(), "{:?}", result);
        }
    }
}

#[test]
fn faults_in_the_gradients_are_caught() {
    let case = case(13, 2.0, 0.5, 12);
    let (x, gain, offset, dy) = (wide(&case.x), wide(&case.gain), wide(&case.offset), wide(&case.dy));
    let trace = meaning::forward(&x, &gain, &offset, 1e-3);
    let truth = meaning::backward(&trace.normal, &trace.scale, &gain, &dy).dx;
    let accepted = |g: &[f64]| {
        let loss = |x: &[f64]| dot(&dy, &meaning::forward(x, &gain, &offset, 1e-3).y);
        check::gradient(Claim { name: "x", at: &x, gradient: g }, 1e-7, loss).is_ok()
    };
    check::assert_faults_caught("layer_norm, reference", &truth, accepted);
    let got = run_backward(&case, &narrow(&trace.normal), &narrow(&trace.scale), &[0.0; 39], true);
    for (_, got) in got {
        let accepted = |g: &[f64]| check::close("x", &narrow(g), &truth, |_| 100.0 * U).is_ok();
        check::assert_faults_caught("layer_norm", &wide(&got), accepted);
    }
}

#[test]
#[should_panic(expected = "4 gains for 5 columns")]
fn a_wrong_shape_is_refused() {
    let (x, mut rest) = ([0.0; 5], [0.0; 11]);
    let (normal, rest) = rest.split_at_mut(5);
    let (y, scale) = rest.split_at_mut(5);
    let args = Forward {
        x: Mat::dense(&x, 1, 5),
        gain: Some(&[1.0; 4]),
        offset: None,
        epsilon: 1.0,
        normal: MatMut::dense(normal, 1, 5),
        scale: MatMut::dense(scale, 1, 1),
        y: MatMut::dense(y, 1, 5),
    };
    forward(Isa::PORTABLE, args);
}
