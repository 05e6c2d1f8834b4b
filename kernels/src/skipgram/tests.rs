use super::reference as meaning;
use super::*;
use crate::check::{self, Claim, Framed, assert_close, narrow, numbers, on_every_set, wide};
use proptest::prelude::*;

/// 2^-24
const U: f64 = 1.0 / 16_777_216.0;
/// N, S (or M) and D: around tiles and vectors.
const SHAPES: [[usize; 3]; 12] = [
    [1, 1, 1],
    [2, 1, 7],
    [3, 15, 8],
    [5, 16, 9],
    [6, 17, 15],
    [7, 3, 16],
    [42, 32, 100],
    [11, 33, 17],
    [13, 6, 33],
    [40, 5, 64],
    [9, 31, 130],
    [4, 40, 300],
];

struct Case {
    d: usize,
    x: Vec<f32>,
    y: Vec<f32>,
    weights: Vec<f32>,
    labels: Vec<f32>,
    dx: Vec<f32>,
    windows: Vec<Window>,
}

/// Vectors whose products are some units large; windows of up to ten inputs, empty ones among them.
fn case([n, s, d]: [usize; 3], seed: u64) -> Case {
    let of =
        |len: usize, scale: f64, seed: u64| narrow(&numbers(len, seed).iter().map(|x| x * scale).collect::<Vec<_>>());
    let scale = 3.0 / (d as f64).powf(0.25);
    let places = numbers(4 * s, seed ^ 5);
    let windows = places.chunks(4).map(|p| {
        let place = |p: f64, limit: usize| (p.abs() * (limit + 1) as f64) as usize;
        let own = place(p[0], n);
        let after = own + place(p[1], (n - own).min(1));
        let [first, end] = [own - place(p[2], own.min(5)), after + place(p[3], (n - after).min(5))];
        let [first, own, after, end] = [first, own, after, end].map(|i| i as u32);
        Window { first, own, after, end }
    });
    Case {
        d,
        windows: windows.collect(),
        x: of(n * d, scale, seed),
        y: of(s * d, scale, seed ^ 1),
        weights: numbers(n * s, seed ^ 2).iter().map(|x| (x.abs() * 6.0).floor() as f32).collect(),
        labels: numbers(s, seed ^ 3).iter().map(|x| f32::from(u8::from(*x > 0.0))).collect(),
        dx: of(n * d, 1.0, seed ^ 4),
    }
}

/// dX, dY and the loss on every set, with NaN around and in what is written.
fn run(case: &Case, call: impl Fn(Isa, &Case, [MatMut<'_>; 2], &mut Room) -> f64) -> Vec<(Isa, Vec<f32>)> {
    let Case { d, y, dx, .. } = case;
    let mut room = Room::default();
    on_every_set("skipgram", |isa| {
        let (mut dinputs, rows) = (Framed::new(dx.len() / d, *d, dx), y.len() / d);
        let mut doutputs = Framed::new(rows, *d, &vec![f32::NAN; rows * d]);
        let loss = call(isa, case, [dinputs.mat_mut(), doutputs.mat_mut()], &mut room);
        let mut all = dinputs.values();
        all.extend(doutputs.values());
        all.push(loss as f32);
        all
    })
}

fn run_shared(case: &Case) -> Vec<(Isa, Vec<f32>)> {
    run(case, |isa, case, [dinputs, doutputs], room| {
        let Case { d, x, y, weights, labels, .. } = case;
        let (n, s) = (x.len() / d, labels.len());
        let (x, y, w) = (Framed::new(n, *d, x), Framed::new(s, *d, y), Framed::new(n, s, weights));
        let (inputs, outputs, weights) = (x.mat(), y.mat(), w.mat());
        shared(isa, Shared { inputs, outputs, weights, labels, dinputs, doutputs, room })
    })
}

fn run_pairs(case: &Case) -> Vec<(Isa, Vec<f32>)> {
    run(case, |isa, case, [dinputs, doutputs], room| {
        let Case { d, x, y, windows, .. } = case;
        let (x, y) = (Framed::new(x.len() / d, *d, x), Framed::new(windows.len(), *d, y));
        pairs(isa, Pairs { inputs: x.mat(), outputs: y.mat(), windows, dinputs, doutputs, room })
    })
}

/// Compares with the reference, within the bounds of the module's documentation: `list` are the (input, output, weight).
fn compare(case: &Case, all: &[(Isa, Vec<f32>)], want: &meaning::Gradients, list: &[(usize, usize, f64)]) {
    let (d, x, y) = (case.d, wide(&case.x), wide(&case.y));
    let mut bounds = vec![0.0; x.len() + y.len() + 1];
    let (mut terms_x, mut terms_y) = (vec![1.0; x.len() / d], vec![0.0; y.len() / d]);
    for &(n, m, _) in list {
        terms_x[n] += 1.0;
        terms_y[m] += 1.0;
    }
    let mut total = 0.0;
    for &(n, m, w) in list {
        let (x, y) = (&x[n * d..][..d], &y[m * d..][..d]);
        let z: f64 = x.iter().zip(y).map(|(x, y)| (x * y).abs()).sum();
        // That of the logit, of its slope (whose terms are at most 1), and of each chain that it goes into.
        let slope = w * (d as f64 * z + 4.0);
        for i in 0..d {
            bounds[n * d + i] += U * y[i].abs() * (slope + w * terms_x[n]);
            bounds[case.x.len() + m * d + i] += U * x[i].abs() * (slope + w * terms_y[m]);
        }
        total += slope + w * (z + 4.0) * (4.0 + list.len() as f64 / 16.0 + 5.0);
    }
    case.dx.iter().zip(&mut bounds).enumerate().for_each(|(i, (dx, b))| *b += U * f64::from(dx.abs()) * terms_x[i / d]);
    let last = bounds.len() - 1;
    bounds[last] = U * total;
    let mut values: Vec<f64> = wide(&case.dx).iter().zip(&want.dinputs).map(|(a, b)| a + b).collect();
    values.extend(&want.doutputs);
    values.push(want.loss);
    for (isa, got) in all {
        // Twice, for terms of second order and where no set fuses.
        assert_close(&format!("{isa} dX, dY, loss"), got, &values, |i| 2.0 * bounds[i] + 1e-30);
    }
}

#[test]
fn shared_outputs_are_the_reference_s() {
    for (i, shape) in SHAPES.into_iter().enumerate() {
        let case = case(shape, i as u64);
        let [n, s, d] = shape;
        let weights = wide(&case.weights);
        let want = meaning::shared(&wide(&case.x), &wide(&case.y), d, &weights, &wide(&case.labels));
        let list: Vec<_> = (0..n * s).map(|i| (i / s, i % s, weights[i])).collect();
        compare(&case, &run_shared(&case), &want, &list);
    }
}

#[test]
fn pairs_are_the_reference_s() {
    for (i, shape) in SHAPES.into_iter().enumerate() {
        let case = case(shape, 100 + i as u64);
        let want = meaning::pairs(&wide(&case.x), &wide(&case.y), case.d, &case.windows);
        let list: Vec<_> =
            case.windows.iter().enumerate().flat_map(|(m, w)| w.inputs().map(move |n| (n, m, 1.0))).collect();
        assert!(i < 6 || list.len() > 3, "windows have inputs");
        compare(&case, &run_pairs(&case), &want, &list);
    }
}

#[test]
fn means_and_what_is_spread_are_the_reference_s() {
    for (i, [n, m, d]) in SHAPES.into_iter().enumerate() {
        let case = case([n, m, d], 200 + i as u64);
        let want = meaning::means(&wide(&case.x), d, &case.windows);
        let x = Framed::new(n, d, &case.x);
        let got = on_every_set("means", |isa| {
            let mut out = Framed::new(m, d, &vec![f32::NAN; m * d]);
            means(isa, x.mat(), &case.windows, out.mat_mut());
            out.values()
        });
        for (isa, got) in got {
            assert_close(&format!("{isa} means"), &got, &want, |_| 12.0 * U * 3.0);
        }
        let want = meaning::spread(&wide(&case.y), d, &case.windows, n);
        let errors = Framed::new(m, d, &case.y);
        let got = on_every_set("spread", |isa| {
            let mut out = Framed::new(n, d, &case.dx);
            spread(isa, errors.mat(), &case.windows, out.mat_mut());
            out.values()
        });
        let want: Vec<f64> = want.iter().zip(&case.dx).map(|(a, b)| a + f64::from(*b)).collect();
        for (isa, got) in got {
            let terms = (m + 1) as f64;
            assert_close(&format!("{isa} spread"), &got, &want, |_| U * terms * terms * 3.0);
        }
    }
}

#[test]
fn far_logits_have_finite_losses() {
    let windows = [Window { first: 0, own: 1, after: 1, end: 2 }];
    let (x, y) = ([100.0, -100.0], [2.0]);
    for isa in crate::isa::sets_under_test() {
        let (mut dx, mut dy) = ([0.0; 2], [0.0]);
        let mut room = Room::default();
        let (inputs, outputs) = (Mat::dense(&x, 2, 1), Mat::dense(&y, 1, 1));
        let (dinputs, doutputs) = (MatMut::dense(&mut dx, 2, 1), MatMut::dense(&mut dy, 1, 1));
        let loss = pairs(isa, Pairs { inputs, outputs, windows: &windows, dinputs, doutputs, room: &mut room });
        assert_eq!((loss, dx, dy), (200.0, [0.0, -2.0], [100.0]), "{isa}");
    }
}

#[test]
#[should_panic(expected = "of 3 inputs")]
fn a_window_beyond_the_inputs_is_refused() {
    let mut room = Room::default();
    let windows = [Window { first: 0, own: 1, after: 2, end: 4 }];
    let (mut dx, mut dy) = ([0.0; 3], [0.0]);
    let (inputs, outputs) = (Mat::dense(&[1.0; 3], 3, 1), Mat::dense(&[1.0], 1, 1));
    let (dinputs, doutputs) = (MatMut::dense(&mut dx, 3, 1), MatMut::dense(&mut dy, 1, 1));
    pairs(Isa::best(), Pairs { inputs, outputs, windows: &windows, dinputs, doutputs, room: &mut room });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_reference_gradients_are_the_central_differences(n in 1usize..6, s in 1usize..5, d in 1usize..5, seed: u64) {
        let case = case([n, s, d], seed);
        let (x, y, weights, labels) = (wide(&case.x), wide(&case.y), wide(&case.weights), wide(&case.labels));
        let whole = |x: &[f64], y: &[f64]| {
            let banded = meaning::pairs(x, y, d, &case.windows);
            let all = meaning::shared(x, y, d, &weights, &labels);
            [banded, all]
        };
        for (i, claimed) in whole(&x, &y).into_iter().enumerate() {
            let results = [
                check::gradient(Claim { name: "x", at: &x, gradient: &claimed.dinputs }, 1e-7, |x| whole(x, &y)[i].loss),
                check::gradient(Claim { name: "y", at: &y, gradient: &claimed.doutputs }, 1e-7, |y| whole(&x, y)[i].loss),
            ];
            for result in results {
                prop_assert!(result.is_ok(), "{:?}", result);
            }
        }
    }

    #[test]
    fn what_is_spread_is_the_means_gradient_times_their_count(n in 1usize..6, m in 1usize..5, d in 1usize..4, seed: u64) {
        let case = case([n, m, d], seed);
        let (x, dh) = (wide(&case.x), numbers(m * d, seed ^ 9));
        // Each window's error divided by its inputs is the gradient of the mean.
        let divided: Vec<f64> = (0..m * d).map(|i| dh[i] / case.windows[i / d].count().max(1) as f64).collect();
        let claimed = meaning::spread(&divided, d, &case.windows, n);
        let loss = |x: &[f64]| check::dot(&dh, &meaning::means(x, d, &case.windows));
        let result = check::gradient(Claim { name: "x", at: &x, gradient: &claimed }, 1e-7, loss);
        prop_assert!(result.is_ok(), "{:?}", result);
    }
}
