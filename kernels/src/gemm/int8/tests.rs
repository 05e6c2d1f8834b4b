use crate::gemm::{Init, Left, Packed, Precision, Product, product};
use crate::isa::sets_under_test;
use crate::{Buffer, Isa, Mat, MatMut};
use std::ops::Range;

/// A number in [-1, 1) that depends on its arguments.
fn noise(seed: usize, at: usize) -> f32 {
    let x = (at as u32).wrapping_mul(0x9e37_79b9) ^ (seed as u32).wrapping_mul(0x85eb_ca6b);
    let x = (x ^ (x >> 15)).wrapping_mul(0x2c1b_3c6d);
    (((x ^ (x >> 13)) & 0xffff) as f32 / 32_768.0) - 1.0
}

fn numbers(seed: usize, len: usize) -> Vec<f32> {
    (0..len).map(|at| noise(seed, at)).collect()
}

/// M, K, groups, columns of a group.
const SIZES: [[usize; 4]; 9] = [
    [1, 1, 1, 1],
    [1, 3, 4, 16],
    [1, 65, 4, 200],
    [2, 40, 3, 17],
    [3, 4, 2, 15],
    [4, 33, 1, 64],
    [5, 130, 4, 33],
    [9, 7, 1, 49],
    [20, 650, 1, 90],
];

/// C of rows `rows` and columns `cols`, the rest as it was.
#[derive(Clone, Copy)]
struct Operands<'a> {
    size: [usize; 4],
    a: &'a [f32],
    b: &'a [f32],
    transposed: bool,
}

fn compute(isa: Isa, o: Operands, init: Init, parts: &[(Range<usize>, Range<usize>)]) -> Vec<f32> {
    let [m, k, groups, cols] = o.size;
    let width = groups * cols;
    let mut packed = Packed::new(isa, Precision::Int8, k, groups, cols);
    if o.transposed {
        let turned: Vec<f32> = (0..width * k).map(|at| o.b[at % k * width + at / k]).collect();
        packed.pack_transposed(Mat::dense(&turned, width, k));
    } else {
        packed.pack(Mat::dense(o.b, k, width));
    }
    let mut c: Vec<f32> = numbers(4, m * width);
    let mut room = Buffer::default();
    for (rows, cols) in parts {
        let a = Left::of(packed.view(), Mat::dense(o.a, m, k).rows_range(rows.clone()), &mut room);
        let whole = MatMut::dense(&mut c, m, width).rows_range(rows.clone()).into_groups(groups);
        let init = match init {
            Init::Bias(bias) if *cols != (0..o.size[3]) => {
                Init::GroupBias { bias: &bias[cols.start..], stride: o.size[3] }
            }
            other => other,
        };
        let b = packed.view().cols_range(cols.clone());
        product(Product { a, b, init, c: whole.cols_range(cols.clone()) });
    }
    c
}

#[test]
fn every_set_is_within_the_bound_and_all_give_the_same_bits() {
    for size in SIZES {
        let [m, k, groups, cols] = size;
        let width = groups * cols;
        let (a, b, bias) = (numbers(1, m * k), numbers(2, k * width), numbers(3, width));
        let whole = [(0..m, 0..cols)];
        let o = Operands { size, a: &a, b: &b, transposed: false };
        let first = compute(Isa::PORTABLE, o, Init::Bias(&bias), &whole);
        let top = |x: &mut dyn Iterator<Item = f32>| f64::from(x.fold(0.0, |top: f32, x| top.max(x.abs()))) / 127.0;
        for (i, j) in (0..m).flat_map(|i| (0..width).map(move |j| (i, j))) {
            let s = top(&mut (0..k).map(|k_| a[i * k + k_]));
            let t = top(&mut (0..k).map(|k_| b[k_ * width + j]));
            let (mut exact, mut bound) = (f64::from(bias[j]), 0.0);
            for term in 0..k {
                let (x, y) = (f64::from(a[i * k + term]), f64::from(b[term * width + j]));
                exact += x * y;
                bound += x.abs() * t / 2.0 + y.abs() * s / 2.0 + s * t / 4.0;
            }
            let got = f64::from(first[i * width + j]);
            assert!((got - exact).abs() <= bound + 1e-6 * (1.0 + exact.abs()), "{size:?} ({i}, {j}): {got}, {exact}");
        }
        for isa in sets_under_test() {
            for transposed in [false, true] {
                assert_eq!(
                    compute(isa, Operands { transposed, ..o }, Init::Bias(&bias), &whole),
                    first,
                    "{isa} {size:?}"
                );
            }
        }
    }
}

#[test]
fn parts_give_the_bits_of_the_whole() {
    for size in SIZES {
        let [m, k, groups, cols] = size;
        let width = groups * cols;
        let (a, b, bias) = (numbers(5, m * k), numbers(6, k * width), numbers(7, width));
        let o = Operands { size, a: &a, b: &b, transposed: false };
        let cut = (cols / 32 * 16, m / 2);
        let parts = [(0..cut.1, 0..cut.0), (0..cut.1, cut.0..cols), (cut.1..m, 0..cut.0), (cut.1..m, cut.0..cols)];
        for isa in sets_under_test() {
            for init in [Init::Zero, Init::Keep, Init::Bias(&bias)] {
                let whole = compute(isa, o, init, &[(0..m, 0..cols)]);
                assert_eq!(compute(isa, o, init, &parts), whole, "{isa} {size:?} {init:?}");
            }
        }
    }
}

#[test]
fn whole_numbers_up_to_127_are_exact() {
    let (m, k, n) = (3, 300, 40);
    let whole = |seed, len: usize| -> Vec<f32> {
        // Every row and column has a 127, so that scales are 1.
        (0..len).map(|at| if at % 7 == 0 { 127.0 } else { (noise(seed, at) * 127.0).round() }).collect()
    };
    let (a, b) = (whole(1, m * k), whole(2, k * n));
    let o = Operands { size: [m, k, 1, n], a: &a, b: &b, transposed: false };
    for isa in sets_under_test() {
        let c = compute(isa, o, Init::Zero, &[(0..m, 0..n)]);
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let sum: f32 = (0..k).map(|t| a[i * k + t] as i64 * b[t * n + j] as i64).sum::<i64>() as f32;
            assert_eq!(c[i * n + j], sum, "{isa} ({i}, {j})");
        }
    }
}

#[test]
fn zero_rows_and_numbers_that_are_not_finite() {
    let (m, k, n) = (4, 21, 20);
    let (mut a, mut b) = (numbers(1, m * k), numbers(2, k * n));
    a[k..2 * k].fill(0.0);
    a[2 * k + 5] = f32::NAN;
    a[3 * k + 20] = f32::INFINITY;
    (0..k).for_each(|t| b[t * n + 7] = 0.0);
    b[3 * n + 11] = f32::NAN;
    let o = Operands { size: [m, k, 1, n], a: &a, b: &b, transposed: false };
    for isa in sets_under_test() {
        let c = compute(isa, o, Init::Zero, &[(0..m, 0..n)]);
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let x = c[i * n + j];
            match (i, j) {
                (2.., _) | (_, 11) => assert!(x.is_nan(), "{isa} ({i}, {j}): {x}"),
                (1, _) | (_, 7) => assert_eq!(x, 0.0, "{isa} ({i}, {j})"),
                _ => assert!(x.is_finite() && x != 0.0, "{isa} ({i}, {j}): {x}"),
            }
        }
    }
}

#[test]
#[should_panic(expected = "products in int8 have at most")]
fn sums_that_could_leave_their_integers_are_refused() {
    let k = super::MOST_TERMS + 1;
    Packed::new(Isa::PORTABLE, Precision::Int8, k, 1, 1).pack(Mat::dense(&vec![0.0; k], k, 1));
}
