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
fn run(case: &Case, call: impl Fn(Isa, &Case, [Mat<'_>; 2], [MatMut<'_>; 2]) -> f64) -> Vec<(Isa, Vec<f32>)> {
    let Case { d, x, y, dx, .. } = case;
    on_every_set("skipgram", |isa| {
        let (n, rows) = (x.len() / d, y.len() / d);
        let (x, y) = (Framed::new(n, *d, x), Framed::new(rows, *d, y));
        let mut dinputs = Framed::new(n, *d, dx);
        let mut doutputs = Framed::new(rows, *d, &vec![f32::NAN; rows * d]);
        let loss = call(isa, case, [x.mat(), y.mat()], [dinputs.mat_mut(), doutputs.mat_mut()]);
        let mut all = dinputs.values();
        all.extend(doutputs.values());
        all.push(loss as f32);
        all
    })
}

/// Slopes of these logits, the columns of which were multiplied in two blocks.
fn in_blocks(
    isa: Isa,
    [x, y]: [Mat<'_>; 2],
    [weights, labels]: [&[f32]; 2],
    call: impl Fn([Mat<'_>; 2], &mut [f32]),
) -> (Vec<f32>, f64) {
    let (count, d) = (weights.len(), x.cols());
    let mut logits = Framed::new(2, count, &vec![f32::NAN; 2 * count]);
    for (block, cols) in [0..d / 2, d / 2..d].into_iter().enumerate() {
        call([x.cols_range(cols.clone()), y.cols_range(cols)], logits.mat_mut().row_mut(block));
    }
    let mut out = vec![f32::NAN; count];
    let of = |loss, to: &mut [f32]| {
        slopes(isa, Slopes { logits: logits.mat(), weights, labels, scale: 1.0, loss, slopes: to })
    };
    let loss = of(true, &mut out);
    let mut again = vec![f32::NAN; count];
    assert_eq!((of(false, &mut again), &again), (0.0, &out));
    (out, loss)
}

fn run_shared(case: &Case) -> Vec<(Isa, Vec<f32>)> {
    run(case, |isa, case, [x, y], [dinputs, doutputs]| {
        let (n, s) = (x.rows(), y.rows());
        let labels = case.labels.repeat(n);
        let (slopes, loss) = in_blocks(isa, [x, y], [&case.weights, &labels], |[x, y], to| {
            products(isa, x, y, MatMut::dense(to, n, s), &mut Room::default());
        });
        // What is not added to is what is added to zeros.
        let mut alone = Framed::new(n, case.d, &vec![f32::NAN; n * case.d]);
        let mut zeros = Framed::new(n, case.d, &vec![0.0; n * case.d]);
        for (add, dinputs) in [(false, &mut alone), (true, &mut zeros)] {
            let mut doutputs = Framed::new(s, case.d, &case.y);
            let (dinputs, doutputs) = (dinputs.mat_mut(), doutputs.mat_mut());
            gradients(isa, Mat::dense(&slopes, n, s), add, Gradients { inputs: x, outputs: y, dinputs, doutputs });
        }
        assert_eq!(alone.values(), zeros.values());
        gradients(isa, Mat::dense(&slopes, n, s), true, Gradients { inputs: x, outputs: y, dinputs, doutputs });
        loss
    })
}

fn run_pairs(case: &Case) -> Vec<(Isa, Vec<f32>)> {
    let count = case.windows.iter().map(|w| w.count()).sum();
    let ones = vec![1.0; count];
    run(case, |isa, case, [x, y], [dinputs, doutputs]| {
        let (slopes, loss) =
            in_blocks(isa, [x, y], [&ones; 2], |[x, y], to| pair_products(isa, x, y, &case.windows, to));
        pair_gradients(isa, &slopes, &case.windows, Gradients { inputs: x, outputs: y, dinputs, doutputs });
        loss
    })
}

/// Rows of X with those of Y that have the same number, which are also the rows of the table that change, last first.
fn run_rows(case: &Case, windows: &[Window]) -> Vec<(Isa, Vec<f32>)> {
    let (weights, ones): (Vec<f32>, _) = (windows.iter().map(|w| w.count() as f32).collect(), vec![1.0; windows.len()]);
    run(case, |isa, case, [x, y], [mut dinputs, mut doutputs]| {
        let n = windows.len();
        let [x, y] = [x, y].map(|rows| rows.rows_range(0..n));
        let (slopes, loss) = in_blocks(isa, [x, y], [&weights, &ones], |[x, y], to| row_products(isa, x, y, to));
        let rows: Vec<u32> = (0..n as u32).rev().collect();
        let mut table = Framed::new(n, case.d, &vec![0.0; n * case.d]);
        let (dinputs, args) = (dinputs.reborrow().rows_range(0..n), table.mat_mut());
        row_gradients(isa, RowGradients { inputs: x, outputs: y, slopes: &slopes, dinputs, rows: &rows, table: args });
        for r in 0..doutputs.rows() {
            match n.checked_sub(r + 1) {
                Some(from) => doutputs.row_mut(r).copy_from_slice(table.mat().row(from)),
                None => doutputs.row_mut(r).fill(0.0),
            }
        }
        loss
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
fn rows_are_the_reference_s() {
    for (i, shape) in SHAPES.into_iter().enumerate() {
        let case = case(shape, 300 + i as u64);
        let n = shape[0].min(shape[1]);
        // Each row with itself alone, but for some with none.
        let windows = (0..n as u32).map(|i| {
            let after = if i % 3 == 1 { i } else { i + 1 };
            Window { first: i, own: after, after, end: after }
        });
        let windows: Vec<Window> = windows.collect();
        let y = &wide(&case.y)[..n * case.d];
        let mut want = meaning::pairs(&wide(&case.x), y, case.d, &windows);
        want.doutputs.resize(case.y.len(), 0.0);
        let list: Vec<_> = windows.iter().enumerate().flat_map(|(m, w)| w.inputs().map(move |n| (n, m, 1.0))).collect();
        compare(&case, &run_rows(&case, &windows), &want, &list);
    }
}

/// Rows of a table of `count`, some of them more than once.
fn picks(n: usize, count: usize) -> Vec<u32> {
    (0..n).map(|i| ((7 * i * i + i) % count) as u32).collect()
}

#[test]
fn means_are_the_reference_s() {
    for (i, [n, m, d]) in SHAPES.into_iter().enumerate() {
        let case = case([n, m, d], 200 + i as u64);
        let rows = picks(n, n);
        let x: Vec<f64> = rows.iter().flat_map(|&r| wide(&case.x[r as usize * d..][..d])).collect();
        let want = meaning::means(&x, d, &case.windows);
        let table = Framed::new(n, d, &case.x);
        let got = on_every_set("means", |isa| {
            let mut out = Framed::new(m, d, &vec![f32::NAN; m * d]);
            let mut sums = Framed::new(n + 1, d, &vec![f32::NAN; (n + 1) * d]);
            let (windows, sums, to) = (&case.windows, sums.mat_mut(), out.mat_mut());
            means(isa, Means { table: table.mat(), rows: &rows, ahead: &rows, windows, sums, means: to });
            out.values()
        });
        let all = |c: usize| -> f64 { (0..n).map(|r| x[r * d + c].abs()).sum() };
        for (isa, got) in got {
            let bound = |i: usize| 4.0 * (n + 4) as f64 * U * all(i % d) / case.windows[i / d].count().max(1) as f64;
            assert_close(&format!("{isa} means"), &got, &want, |i| bound(i) + 1e-30);
        }
    }
}

#[test]
fn what_is_spread_is_the_reference_s() {
    for (i, [n, m, d]) in SHAPES.into_iter().enumerate() {
        let case = case([n, m, d], 200 + i as u64);
        let (rows, errors) = (picks(n, n), Framed::new(m, d, &case.y));
        let got = on_every_set("spread", |isa| {
            let mut table = Framed::new(n, d, &case.dx);
            let mut sums = Framed::new(n + 1, d, &vec![f32::NAN; (n + 1) * d]);
            let (windows, sums, to) = (&case.windows, sums.mat_mut(), table.mat_mut());
            spread(isa, Spread { errors: errors.mat(), windows, rows: &rows, sums, table: to });
            table.values()
        });
        let (mut want, mut largest) = (wide(&case.dx), wide(&case.dx).iter().map(|x| x.abs()).collect::<Vec<_>>());
        let changes = meaning::spread(&wide(&case.y), d, &case.windows, n);
        for (n, &r) in rows.iter().enumerate() {
            for c in 0..d {
                want[r as usize * d + c] += changes[n * d + c];
                // Each error is added and taken away twice at most.
                largest[r as usize * d + c] += (0..m).map(|m| 4.0 * f64::from(case.y[m * d + c].abs())).sum::<f64>();
            }
        }
        for (isa, got) in got {
            assert_close(&format!("{isa} spread"), &got, &want, |i| U * (4 * m + 2 * n + 2) as f64 * largest[i]);
        }
    }
}

#[test]
fn rows_are_copied_and_added_to() {
    for (i, [n, m, d]) in SHAPES.into_iter().enumerate() {
        let case = case([n, m, d], 400 + i as u64);
        let (rows, table) = (picks(m, n), Framed::new(n, d, &case.x));
        for isa in crate::isa::sets_under_test() {
            let mut to = Framed::new(m, d, &vec![f32::NAN; m * d]);
            gather(isa, Gather { table: table.mat(), rows: &rows, ahead: &[0], to: to.mat_mut() });
            let want: Vec<f32> = rows.iter().flat_map(|&r| case.x[r as usize * d..][..d].to_vec()).collect();
            assert_eq!(to.values(), want, "{isa}");
            let mut changed = Framed::new(n, d, &case.x);
            add_rows(isa, Framed::new(m, d, &case.y).mat(), &rows, changed.mat_mut());
            let mut want = case.x.clone();
            for (i, &r) in rows.iter().enumerate() {
                (0..d).for_each(|c| want[r as usize * d + c] += case.y[i * d + c]);
            }
            assert_eq!(changed.values(), want, "{isa}");
        }
    }
}

#[test]
fn far_logits_have_finite_losses() {
    for isa in crate::isa::sets_under_test() {
        let (mut slopes, logits) = ([0.0; 2], [200.0, -200.0]);
        let (logits, weights, labels) = (Mat::dense(&logits, 1, 2), &[1.0; 2], &[1.0; 2]);
        let loss = super::slopes(isa, Slopes { logits, weights, labels, scale: 2.0, loss: true, slopes: &mut slopes });
        assert_eq!((loss, slopes), (200.0, [0.0, -2.0]), "{isa}");
    }
}

/// A logit that is not finite is told by the loss, and spoils no slope but its own.
#[test]
fn faults_stay_where_they_are() {
    for isa in crate::isa::sets_under_test() {
        for (fault, slope) in [(f32::NAN, f32::NAN), (f32::INFINITY, 0.0), (f32::NEG_INFINITY, -1.0)] {
            let mut logits = vec![0.5; 37];
            logits[20] = fault;
            let (weights, labels, mut slopes) = ([1.0; 37], [1.0; 37], [0.0; 37]);
            let logits = Mat::dense(&logits, 1, 37);
            let args =
                Slopes { logits, weights: &weights, labels: &labels, scale: 1.0, loss: true, slopes: &mut slopes };
            let loss = super::slopes(isa, args);
            assert!(!loss.is_finite(), "{isa} {fault}: a loss of {loss}");
            assert_eq!(slopes[20].to_bits() & 0x7fff_ffff, slope.abs().to_bits() & 0x7fff_ffff, "{isa} {fault}");
            assert!(slopes.iter().enumerate().all(|(i, g)| i == 20 || *g == slopes[0] && g.is_finite()), "{isa}");
            let (x, y) = (Framed::new(37, 3, &[1.0; 111]), Framed::new(37, 3, &[2.0; 111]));
            let (mut dx, mut dy) = (Framed::new(37, 3, &[0.0; 111]), Framed::new(37, 3, &[0.0; 111]));
            let rows: Vec<u32> = (0..37).collect();
            let args = RowGradients {
                inputs: x.mat(),
                outputs: y.mat(),
                slopes: &slopes,
                dinputs: dx.mat_mut(),
                rows: &rows,
                table: dy.mat_mut(),
            };
            row_gradients(isa, args);
            for values in [dx.values(), dy.values()] {
                assert!(values.iter().enumerate().all(|(i, g)| i / 3 == 20 || g.is_finite()), "{isa} {fault}");
                assert_eq!(values[60].is_nan(), fault.is_nan(), "{isa} {fault}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "of 3 inputs")]
fn a_window_beyond_the_inputs_is_refused() {
    let windows = [Window { first: 0, own: 1, after: 2, end: 4 }];
    let (inputs, outputs) = (Mat::dense(&[1.0; 3], 3, 1), Mat::dense(&[1.0], 1, 1));
    pair_products(Isa::best(), inputs, outputs, &windows, &mut [0.0; 3]);
}

#[test]
#[should_panic(expected = "3 of 2 pairs")]
fn logits_are_one_a_pair() {
    let windows = [Window { first: 0, own: 1, after: 2, end: 3 }];
    let (inputs, outputs) = (Mat::dense(&[1.0; 3], 3, 1), Mat::dense(&[1.0], 1, 1));
    pair_products(Isa::best(), inputs, outputs, &windows, &mut [0.0; 3]);
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
