mod packing;

use super::*;
use crate::isa::sets_under_test;
use proptest::prelude::*;

/// Which entry computes C (m, n) with a sum over k.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Entry {
    Panels,
    PanelsTransposed,
    Direct,
    DirectTransposed,
    Outer,
}
use Entry::*;
const ENTRIES: [Entry; 5] = [Panels, PanelsTransposed, Direct, DirectTransposed, Outer];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Initial {
    Zero,
    Keep,
    Bias,
}
const STARTS: [Initial; 3] = [Initial::Zero, Initial::Keep, Initial::Bias];

const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// A product of `m` rows, `k` terms and `groups * n` columns.
#[derive(Clone, Copy, Debug)]
struct Case {
    precision: Precision,
    entry: Entry,
    from: Initial,
    m: usize,
    k: usize,
    groups: usize,
    n: usize,
}

/// A matrix with a margin of NaN right of each row, in a vector that ends with the last row's last element.
struct Padded {
    data: Vec<f32>,
    rows: usize,
    cols: usize,
    stride: usize,
}

impl Padded {
    fn new(rows: usize, cols: usize, margin: usize, value: impl Fn(usize, usize) -> f32) -> Self {
        let stride = cols + margin;
        let len = if rows == 0 { 0 } else { (rows - 1) * stride + cols };
        let data = (0..len).map(|at| (at / stride, at % stride));
        let data = data.map(|(r, c)| if c < cols { value(r, c) } else { f32::NAN }).collect();
        Self { data, rows, cols, stride }
    }
    fn view(&self) -> Mat<'_> {
        Mat::new(&self.data, self.rows, self.cols, self.stride)
    }
    fn view_mut(&mut self) -> MatMut<'_> {
        MatMut::new(&mut self.data, self.rows, self.cols, self.stride)
    }
    /// The elements without the margin, which must still be NaN.
    fn dense(&self) -> Vec<f32> {
        for (at, x) in self.data.iter().enumerate() {
            assert!(at % self.stride < self.cols || x.is_nan(), "the margin was written at {at}: {x}");
        }
        (0..self.rows).flat_map(|r| self.view().row(r)).copied().collect()
    }
}

/// A number in [-1, 1) that depends on all three arguments.
fn noise(which: u32, r: usize, c: usize) -> f32 {
    let mut x = (which ^ (r as u32).wrapping_mul(0x9e37_79b9) ^ (c as u32).wrapping_mul(0x85eb_ca6b)).wrapping_add(1);
    for _ in 0..2 {
        x = (x ^ (x >> 15)).wrapping_mul(0x2c1b_3c6d);
        x = (x ^ (x >> 12)).wrapping_mul(0x297a_2d39);
    }
    (x >> 8) as f32 / (1 << 23) as f32 - 1.0
}

/// A whole number in -3..=3.
fn whole(which: u32, r: usize, c: usize) -> f32 {
    (noise(which, r, c) * 3.4).trunc()
}

/// The parts that a product is computed in: column cuts (in granules of panels) and row cuts.
#[derive(Clone, Debug, Default)]
struct Cuts {
    cols: Vec<usize>,
    rows: Vec<usize>,
}

fn parts(cuts: &[usize], total: usize) -> Vec<Range<usize>> {
    let mut ends: Vec<usize> = cuts.iter().map(|&c| c.min(total)).chain([0, total]).collect();
    ends.sort_unstable();
    ends.windows(2).map(|w| w[0]..w[1]).collect()
}

/// What a case computes on a set, with operands from `value`, in parts.
fn compute(isa: Isa, case: Case, cuts: &Cuts, value: fn(u32, usize, usize) -> f32) -> Vec<f32> {
    let Case { precision, entry, from, m, k, groups, n } = case;
    let width = groups * n;
    let a_of = |r, c| value(1, r, c);
    let b_of = |r, c| value(2, r, c);
    let a = if entry == Outer { Padded::new(k, m, 3, |r, c| a_of(c, r)) } else { Padded::new(m, k, 3, a_of) };
    let turned = matches!(entry, PanelsTransposed | DirectTransposed);
    let b = if turned { Padded::new(width, k, 1, |r, c| b_of(c, r)) } else { Padded::new(k, width, 1, b_of) };
    let bias: Vec<f32> = (0..width).map(|c| value(3, 0, c)).collect();
    let mut c = Padded::new(m, width, 5, |r, c| if from == Initial::Keep { value(4, r, c) } else { f32::NAN });

    let mut packed = Packed::new(isa, precision, k, groups, n);
    match entry {
        Panels => packed.pack(b.view()),
        PanelsTransposed => packed.pack_transposed(b.view()),
        _ => {}
    }
    let granule = if matches!(entry, Panels | PanelsTransposed) { packed.granule() } else { 1 };
    let cols: Vec<usize> = cuts.cols.iter().map(|c| c * granule).collect();
    let [mut scratch, mut room] = [(); 2].map(|()| Buffer::default());
    for rows in parts(&cuts.rows, m) {
        for cols in parts(&cols, n) {
            let init = match from {
                Initial::Zero => Init::Zero,
                Initial::Keep => Init::Keep,
                Initial::Bias if groups == 1 => Init::Bias(&bias[cols.clone()]),
                Initial::Bias if cols == (0..n) => Init::Bias(&bias),
                Initial::Bias => Init::GroupBias { bias: &bias[cols.start..], stride: n },
            };
            let part = c.view_mut().rows_range(rows.clone());
            match entry {
                Panels | PanelsTransposed => product(Product {
                    a: Left::of(packed.view(), a.view().rows_range(rows.clone()), &mut room),
                    b: packed.view().cols_range(cols.clone()),
                    init,
                    c: part.into_groups(groups).cols_range(cols),
                }),
                Direct | DirectTransposed => {
                    let turned = entry == DirectTransposed;
                    let b = if turned { b.view().rows_range(cols.clone()) } else { b.view().cols_range(cols.clone()) };
                    let (a, c) = (a.view().rows_range(rows.clone()), part.cols_range(cols));
                    let scratch = &mut scratch;
                    direct_product(isa, DirectProduct { a, b, b_transposed: turned, precision, init, c, scratch });
                }
                Outer => {
                    let (a, b) = (a.view().cols_range(rows.clone()), b.view().cols_range(cols.clone()));
                    let (c, scratch) = (part.cols_range(cols), &mut scratch);
                    outer_product(isa, OuterProduct { a, b, precision, init, c, scratch });
                }
            }
        }
    }
    c.dense()
}

/// The value of an operand or initial element as the precision rounds it.
fn seen(precision: Precision, value: fn(u32, usize, usize) -> f32) -> impl Fn(u32, usize, usize) -> f32 {
    move |which, r, c| if which <= 2 { precision.round(value(which, r, c)) } else { value(which, r, c) }
}

/// The same in f64 by the plain loops on rounded operands, and the sum of magnitudes that the error bound needs.
fn expected(case: Case, value: fn(u32, usize, usize) -> f32) -> (Vec<f64>, Vec<f64>) {
    let Case { precision, entry, from, m, k, groups, n } = case;
    let (width, value) = (groups * n, seen(precision, value));
    let run = |of: fn(f64) -> f64| {
        let of = |which, r, c| of(f64::from(value(which, r, c)));
        let mut c: Vec<f64> = (0..m * width)
            .map(|at| match from {
                Initial::Zero => 0.0,
                Initial::Keep => of(4, at / width, at % width),
                Initial::Bias => of(3, 0, at % width),
            })
            .collect();
        let a: Vec<f64> = (0..m * k).map(|at| of(1, at / k, at % k)).collect();
        let b: Vec<f64> = (0..k * width).map(|at| of(2, at / width, at % width)).collect();
        let turned = |x: &[f64], rows: usize, cols: usize| -> Vec<f64> {
            (0..rows * cols).map(|at| x[at % rows * cols + at / rows]).collect()
        };
        match entry {
            Panels | Direct => reference::product([m, k, width], &a, &b, &mut c),
            PanelsTransposed | DirectTransposed => {
                reference::transposed_product([m, k, width], &a, &turned(&b, k, width), &mut c);
            }
            Outer => reference::outer_product([m, k, width], &turned(&a, m, k), &b, &mut c),
        }
        c
    };
    (run(|x| x), run(f64::abs))
}

/// The factor of (|init| + sum |a| |b|) in the bound of `gemm` and of `gemm::bf16`; a product over nothing is exact.
fn bound(isa: Isa, precision: Precision, k: usize) -> f64 {
    let roundings = match precision {
        _ if k == 0 => 0.0,
        Precision::F32 | Precision::Int8 => 2.0 * k as f64,
        // A chain of all terms: by dot products.
        Precision::Bf16 if isa.name() == "avx512_bf16" => 1.0 + k as f64,
        Precision::Bf16 => 34.0 + k as f64 / 16.0,
    };
    roundings * 2f64.powi(-24)
}

fn check_close(isa: Isa, case: Case, got: &[f32]) {
    let (want, magnitude) = expected(case, noise);
    for (at, (&got, (want, magnitude))) in got.iter().zip(want.into_iter().zip(magnitude)).enumerate() {
        let bound = bound(isa, case.precision, case.k) * magnitude;
        let error = (f64::from(got) - want).abs();
        assert!(error <= bound, "{isa} {case:?}, element {at}: {got}, not {want}: {error:e} > {bound:e}");
    }
}

fn case(precision: Precision, entry: Entry, from: Initial, [m, k, groups, n]: [usize; 4]) -> Case {
    let groups = if matches!(entry, Panels | PanelsTransposed) { groups } else { 1 };
    Case { precision, entry, from, m, k, groups, n }
}

const SIZES: [[usize; 4]; 18] = [
    [1, 1, 1, 1],
    [1, 67, 1, 129],
    [2, 7, 4, 9],
    [3, 128, 1, 15],
    [5, 9, 3, 17],
    [6, 64, 1, 64],
    [7, 65, 1, 63],
    [8, 127, 4, 16],
    [9, 31, 3, 8],
    [11, 33, 2, 31],
    [12, 129, 1, 16],
    [13, 16, 1, 8],
    [17, 15, 4, 1],
    [20, 257, 1, 33],
    [67, 3, 1, 67],
    [127, 20, 1, 48],
    [4, 513, 1, 65],
    [15, 17, 2, 7],
];

#[test]
fn every_set_is_within_the_bound_of_the_reference() {
    for isa in sets_under_test() {
        for precision in PRECISIONS {
            for entry in ENTRIES {
                for (i, &sizes) in SIZES.iter().enumerate() {
                    let case = case(precision, entry, STARTS[i % 3], sizes);
                    check_close(isa, case, &compute(isa, case, &Cuts::default(), noise));
                }
            }
        }
    }
}

#[test]
fn large_products_cross_every_block_and_equal_dgemm() {
    let cases = [
        (Panels, [129, 257, 255]),
        (Panels, [2100, 140, 70]),
        (PanelsTransposed, [20, 650, 300]),
        (Direct, [128, 1030, 257]),
        (DirectTransposed, [600, 127, 300]),
        (Outer, [255, 1100, 520]),
        (Outer, [600, 513, 67]),
        (Outer, [1030, 300, 67]),
        (Direct, [40, 2100, 70]),
    ];
    for (precision, (entry, [m, k, n])) in PRECISIONS.into_iter().flat_map(|p| cases.map(|case| (p, case))) {
        let case = case(precision, entry, Initial::Keep, [m, k, 1, n]);
        let of = |which, of: fn(f32) -> f32| move |r, c| f64::from(of(seen(precision, noise)(which, r, c)));
        let dgemm = |sign: fn(f32) -> f32| {
            let dense = |rows: usize, cols: usize, f: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
                (0..rows * cols).map(|at| f(at / cols, at % cols)).collect()
            };
            let (a, b) = (dense(m, k, &of(1, sign)), dense(k, n, &of(2, sign)));
            let mut c = dense(m, n, &of(4, sign));
            let (q, r) = (k as isize, n as isize);
            // SAFETY: dense row-major (m, k), (k, n) and (m, n).
            unsafe {
                matrixmultiply::dgemm(m, k, n, 1.0, a.as_ptr(), q, 1, b.as_ptr(), r, 1, 1.0, c.as_mut_ptr(), r, 1);
            }
            c
        };
        let (want, magnitude) = (dgemm(|x| x), dgemm(f32::abs));
        for isa in sets_under_test() {
            let got = compute(isa, case, &Cuts::default(), noise);
            for at in 0..m * n {
                let error = (f64::from(got[at]) - want[at]).abs();
                let bound = bound(isa, precision, k) * magnitude[at];
                assert!(error <= bound, "{isa} {case:?}, element {at}: {error:e} > {bound:e}");
            }
        }
    }
}

#[test]
fn whole_numbers_are_exact() {
    for isa in sets_under_test() {
        for (precision, entry) in PRECISIONS.into_iter().flat_map(|p| ENTRIES.map(|entry| (p, entry))) {
            for from in STARTS {
                for sizes in [[6, 130, 1, 67], [20, 65, 4, 19], [31, 33, 3, 8], [1, 255, 2, 33], [3, 0, 1, 20]] {
                    let case = case(precision, entry, from, sizes);
                    let got = compute(isa, case, &Cuts::default(), whole);
                    let want = expected(case, whole).0;
                    assert!(got.iter().map(|&x| f64::from(x)).eq(want), "{isa} {case:?}");
                }
            }
        }
    }
}

/// The sum of one element as `gemm` and `gemm::bf16` state it.
fn stated(
    (isa, precision): (Isa, Precision),
    k: usize,
    start: f32,
    a: impl Fn(usize) -> f32,
    b: impl Fn(usize) -> f32,
) -> f32 {
    match precision {
        Precision::F32 | Precision::Int8 => (0..k).fold(start, |c, l| a(l).mul_add(b(l), c)),
        Precision::Bf16 if isa.name() == "avx512_bf16" => (0..k)
            .step_by(2)
            .flat_map(|pair| [pair + 1, pair])
            .filter(|&l| l < k)
            .fold(start, |c, l| a(l).mul_add(b(l), c)),
        Precision::Bf16 => (0..k).step_by(32).fold(start, |c, block| {
            let chain = |first: usize| {
                (block + first..k.min(block + 32)).step_by(2).fold(0.0f32, |sum, l| a(l).mul_add(b(l), sum))
            };
            c + (chain(0) + chain(1))
        }),
    }
}

#[test]
fn all_but_the_portable_set_give_the_same_bits_which_are_the_stated_sums() {
    let sets: Vec<Isa> = sets_under_test().into_iter().filter(|&isa| isa != Isa::PORTABLE).collect();
    for (precision, entry) in PRECISIONS.into_iter().flat_map(|p| ENTRIES.map(|entry| (p, entry))) {
        for sizes in [[13, 700, 1, 130], [20, 131, 4, 33], [9, 300, 3, 17], [2, 1100, 2, 40], [70, 400, 4, 21]] {
            let case = case(precision, entry, Initial::Keep, sizes);
            let value = seen(precision, noise);
            let width = case.groups * case.n;
            for &isa in &sets {
                let got = compute(isa, case, &Cuts::default(), noise);
                for (at, &got) in got.iter().enumerate() {
                    let (i, j) = (at / width, at % width);
                    let want = stated((isa, precision), case.k, noise(4, i, j), |l| value(1, i, l), |l| value(2, l, j));
                    assert_eq!(got.to_bits(), want.to_bits(), "{isa} {case:?}, element ({i}, {j})");
                }
            }
        }
    }
}

#[test]
fn parts_give_the_bits_of_the_whole() {
    for isa in sets_under_test() {
        for (precision, entry) in PRECISIONS.into_iter().flat_map(|p| ENTRIES.map(|entry| (p, entry))) {
            for sizes in [[41, 600, 1, 270], [20, 70, 4, 70], [33, 140, 3, 50], [5, 300, 2, 100]] {
                for from in STARTS {
                    let case = case(precision, entry, from, sizes);
                    let whole = compute(isa, case, &Cuts::default(), noise);
                    for (rows, cols) in [(vec![], vec![1]), (vec![1, 3, 20], vec![]), (vec![4, 5], vec![1, 2, 3])] {
                        let cuts = Cuts { rows, cols };
                        let parts = compute(isa, case, &cuts, noise);
                        let same = parts.iter().zip(&whole).all(|(a, b)| a.to_bits() == b.to_bits());
                        assert!(same, "{isa} {case:?} {cuts:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn nan_and_infinity_reach_c() {
    for (isa, precision) in sets_under_test().into_iter().flat_map(|isa| PRECISIONS.map(|p| (isa, p))) {
        let b = [1.0, f32::INFINITY, 2.0, 1.0];
        let mut packed = Packed::new(isa, precision, 2, 1, 2);
        packed.pack(Mat::dense(&b, 2, 2));
        let mut c = [0.0; 4];
        let a = [1.0, 1.0, f32::NAN, 0.0];
        let mut room = Buffer::default();
        let (a, b) = (Left::of(packed.view(), Mat::dense(&a, 2, 2), &mut room), packed.view());
        product(Product { a, b, init: Init::Zero, c: MatMut::dense(&mut c, 2, 2).into() });
        assert_eq!([c[0], c[1]], [3.0, f32::INFINITY], "{isa} {precision:?}");
        assert!(c[2].is_nan() && c[3].is_nan(), "{isa} {precision:?}");
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let packed = Packed::new(Isa::PORTABLE, Precision::F32, 3, 1, 5);
    let attempt = |m: usize, k: usize, n: usize, init: Init<'static>| {
        let packed = &packed;
        std::panic::catch_unwind(move || {
            let (a, mut c) = (vec![0.0; m * k], vec![0.0; 2 * n]);
            let c = MatMut::dense(&mut c, 2, n).into();
            product(Product { a: Mat::dense(&a, m, k).into(), b: packed.view(), init, c });
        })
        .is_ok()
    };
    assert!(attempt(2, 3, 5, Init::Zero) && attempt(2, 3, 5, Init::Bias(&[0.0; 5])));
    assert!(!attempt(2, 4, 5, Init::Zero) && !attempt(3, 3, 5, Init::Zero) && !attempt(2, 3, 6, Init::Zero));
    assert!(!attempt(2, 3, 5, Init::Bias(&[0.0; 4])) && !attempt(2, 3, 5, Init::Bias(&[0.0; 6])));
    assert!(!attempt(2, 3, 5, Init::GroupBias { bias: &[0.0; 4], stride: 9 }));
    let granule = Packed::new(Isa::PORTABLE, Precision::F32, 1, 1, 1).granule();
    let wide = Packed::new(Isa::PORTABLE, Precision::F32, 1, 1, 3 * granule + 1);
    let range = |range| std::panic::catch_unwind(|| wide.view().cols_range(range).cols()).ok();
    assert_eq!(range(granule..3 * granule + 1), Some(2 * granule + 1));
    let rounded = Packed::new(Isa::PORTABLE, Precision::Bf16, 3, 1, 5);
    let mixed = std::panic::catch_unwind(|| {
        let (a, mut c) = ([0.0; 6], [0.0; 10]);
        let c = MatMut::dense(&mut c, 2, 5).into();
        product(Product { a: Mat::dense(&a, 2, 3).into(), b: rounded.view(), init: Init::Zero, c });
    });
    assert!(mixed.is_err(), "rows that were not rounded went through");
    assert_eq!((range(1..granule), range(0..granule + 1), range(0..4 * granule)), (None, None, None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_shapes_and_parts(
        precision in prop::sample::select(PRECISIONS.to_vec()),
        entry in prop::sample::select(ENTRIES.to_vec()),
        from in prop::sample::select(STARTS.to_vec()),
        (m, k, groups, n) in (0..40usize, 0..300usize, 1..=4usize, 0..150usize),
        (rows, cols) in (prop::collection::vec(0..40usize, 0..3), prop::collection::vec(0..10usize, 0..3)),
    ) {
        let case = case(precision, entry, from, [m, k, groups, n]);
        for isa in sets_under_test() {
            let whole = compute(isa, case, &Cuts::default(), noise);
            check_close(isa, case, &whole);
            let parts = compute(isa, case, &Cuts { rows: rows.clone(), cols: cols.clone() }, noise);
            prop_assert!(parts.iter().zip(&whole).all(|(a, b)| a.to_bits() == b.to_bits()), "{isa} {case:?}");
        }
    }
}
