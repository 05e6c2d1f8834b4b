//! Matrix products: packed (an input projection, recurrent steps, one row), A^T B (a weight gradient) and A B^T (an
//! input gradient). The peers are matrixmultiply and the gemm crate, each with its best set, one thread, and B as it
//! lies; packing is not in the time of the packed products, because weights are packed once an optimiser step.
//!
//! In bf16 the rows of A are rounded within the time, as at every step. The peers have no bf16 on processors.
//!
//! Elements a second are floating-point operations. Every result is compared with f64 before it is measured.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use unroll_kernels::gemm::{self as kernels, DirectProduct, Init, Left, OuterProduct, Packed, Precision, Product};
use unroll_kernels::mat::padded;
use unroll_kernels::{Buffer, Isa, Mat, MatMut};

/// M, K, N: the input projection of 35 steps of 20 rows, one recurrent step of 20 and of 64 rows, one of one row.
const PACKED: [[usize; 3]; 4] = [[700, 650, 2600], [20, 650, 2600], [64, 512, 2048], [1, 512, 2048]];
/// The gradients that belong to the first: dW (650, 2600) over 700 rows, and dX (700, 650) over 2600 columns.
const OUTER: [usize; 3] = [650, 700, 2600];
const TURNED: [usize; 3] = [700, 2600, 650];

/// A row-major matrix whose rows begin on cache lines, filled with numbers in [-1, 1).
struct Matrix {
    data: Buffer,
    rows: usize,
    cols: usize,
}

impl Matrix {
    fn new(rows: usize, cols: usize, seed: u32) -> Self {
        let mut data = Buffer::new(rows * padded(cols));
        let mut x = seed;
        for value in data.iter_mut() {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *value = (x >> 8) as f32 / (1 << 23) as f32 - 1.0;
        }
        Self { data, rows, cols }
    }
    fn view(&self) -> Mat<'_> {
        Mat::new(&self.data, self.rows, self.cols, padded(self.cols))
    }
    fn view_mut(&mut self) -> MatMut<'_> {
        MatMut::new(&mut self.data, self.rows, self.cols, padded(self.cols))
    }
}

/// Whether a stored operand is the transpose of the product's.
#[derive(Clone, Copy, Default)]
struct Turned {
    a: bool,
    b: bool,
}

/// C = A B with stored operands that may be transposed.
struct Case {
    sizes: [usize; 3],
    turned: Turned,
    a: Matrix,
    b: Matrix,
    c: Matrix,
}

impl Case {
    fn new([m, k, n]: [usize; 3], turned: Turned) -> Self {
        let a = if turned.a { Matrix::new(k, m, 1) } else { Matrix::new(m, k, 1) };
        let b = if turned.b { Matrix::new(n, k, 2) } else { Matrix::new(k, n, 2) };
        Self { sizes: [m, k, n], turned, a, b, c: Matrix::new(m, n, 3) }
    }

    /// Runs `compute` once and compares about a thousand elements of C with f64 on operands of that precision, within the
    /// bound that `gemm` states for it.
    fn check(&mut self, who: &str, precision: Precision, mut compute: impl FnMut(&mut Self)) {
        let [m, k, n] = self.sizes;
        self.c.data.fill(f32::NAN);
        compute(self);
        for at in (0..m * n).step_by((m * n / 1000).max(1)) {
            let (i, j) = (at / n, at % n);
            let term = |l: usize| {
                let a = if self.turned.a { self.a.view().row(l)[i] } else { self.a.view().row(i)[l] };
                let b = if self.turned.b { self.b.view().row(j)[l] } else { self.b.view().row(l)[j] };
                [a, b].map(|x| f64::from(precision.round(x)))
            };
            let [mut sum, mut magnitude, mut sizes] = [0.0; 3];
            for [a, b] in (0..k).map(term) {
                sum += a * b;
                magnitude += (a * b).abs();
                sizes += a.abs() + b.abs();
            }
            let got = f64::from(self.c.view().row(i)[j]);
            let bound = match precision {
                Precision::F32 => 2.0 * k as f64 * 2f64.powi(-24) * magnitude,
                Precision::Bf16 => (34.0 + k as f64 / 16.0) * 2f64.powi(-24) * magnitude,
                // Operands are below 1, so their scales are below 1 / 127.
                Precision::Int8 => sizes / 254.0 + k as f64 / (4.0 * 127.0 * 127.0),
            };
            assert!((got - sum).abs() <= bound, "{who} {:?}: C[{i}][{j}] is {got}, not {sum}", self.sizes);
        }
    }

    /// Checks `compute`, then measures it.
    fn measure(&mut self, group: &mut BenchmarkGroup<WallTime>, way: &Way, mut compute: impl FnMut(&mut Self)) {
        let who = way.name.as_str();
        self.check(who, way.precision, &mut compute);
        let [m, k, n] = self.sizes;
        group.throughput(Throughput::Elements(2 * (m * k * n) as u64));
        let id = BenchmarkId::new(who, format!("{m}x{k}x{n}"));
        group.bench_function(id, |bencher| bencher.iter(|| compute(self)));
    }

    /// Measures the peers on the stored operands.
    fn measure_peers(&mut self, group: &mut BenchmarkGroup<WallTime>) {
        let [m, k, n] = self.sizes;
        let strides = |matrix: &Matrix, turned: bool| {
            let stride = padded(matrix.cols) as isize;
            if turned { (1, stride) } else { (stride, 1) }
        };
        let ((rsa, csa), (rsb, csb)) = (strides(&self.a, self.turned.a), strides(&self.b, self.turned.b));
        let rsc = padded(n) as isize;
        self.measure(group, &peer("matrixmultiply"), |case| {
            let (a, b, c) = (case.a.data.as_ptr(), case.b.data.as_ptr(), case.c.data.as_mut_ptr());
            // SAFETY: the matrices have these sizes at these strides; C is another allocation than A and B.
            unsafe { matrixmultiply::sgemm(m, k, n, 1.0, a, rsa, csa, b, rsb, csb, 0.0, c, rsc, 1) }
        });
        self.measure(group, &peer("gemm"), |case| {
            let (a, b, c) = (case.a.data.as_ptr(), case.b.data.as_ptr(), case.c.data.as_mut_ptr());
            let one = gemm::Parallelism::None;
            // SAFETY: as above.
            unsafe {
                gemm::gemm(m, n, k, c, 1, rsc, false, a, csa, rsa, b, csb, rsb, 0.0, 1.0, false, false, false, one);
            }
        });
    }
}

/// One way to compute a product.
struct Way {
    isa: Isa,
    precision: Precision,
    name: String,
}

/// Every set in f32, then every set in bf16; those with products of their own in bf16 are `avx512` in f32 and int8.
fn ways() -> Vec<Way> {
    let name = |isa: Isa, precision| if precision == Precision::F32 { isa.to_string() } else { format!("{isa}-bf16") };
    let way = |isa, precision| Way { isa, precision, name: name(isa, precision) };
    let exact = Isa::available().into_iter().filter(|isa| isa.vectors() == *isa).map(|isa| way(isa, Precision::F32));
    exact.chain(Isa::available().into_iter().map(|isa| way(isa, Precision::Bf16))).collect()
}

/// Those and every set in int8, which only a packed operand has.
fn packed_ways() -> Vec<Way> {
    let sets = Isa::available().into_iter().filter(|isa| isa.vectors() == *isa);
    let in_int8 = sets.map(|isa| Way { isa, precision: Precision::Int8, name: format!("{isa}-int8") });
    ways().into_iter().chain(in_int8).collect()
}

fn peer(name: &str) -> Way {
    Way { isa: Isa::PORTABLE, precision: Precision::F32, name: name.to_owned() }
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800));
    group
}

fn packed(criterion: &mut Criterion) {
    let mut group = group(criterion, "gemm/product");
    for sizes in PACKED {
        let mut case = Case::new(sizes, Turned::default());
        for way in packed_ways() {
            let mut packed = Packed::new(way.isa, way.precision, sizes[1], 1, sizes[2]);
            packed.pack(case.b.view());
            let mut room = Buffer::default();
            case.measure(&mut group, &way, |case| {
                let (b, c) = (packed.view(), case.c.view_mut().into());
                let a = Left::of(b, case.a.view(), &mut room);
                kernels::product(Product { a, b, init: Init::Zero, c });
            });
        }
        case.measure_peers(&mut group);
    }
}

fn outer(criterion: &mut Criterion) {
    let mut group = group(criterion, "gemm/outer_product");
    let (mut case, mut scratch) = (Case::new(OUTER, Turned { a: true, b: false }), Buffer::default());
    for way in ways() {
        let (isa, precision) = (way.isa, way.precision);
        case.measure(&mut group, &way, |case| {
            let (a, b, c, scratch) = (case.a.view(), case.b.view(), case.c.view_mut(), &mut scratch);
            kernels::outer_product(isa, OuterProduct { a, b, precision, init: Init::Zero, c, scratch });
        });
    }
    case.measure_peers(&mut group);
}

fn turned(criterion: &mut Criterion) {
    let mut group = group(criterion, "gemm/direct_product_transposed");
    let (mut case, mut scratch) = (Case::new(TURNED, Turned { a: false, b: true }), Buffer::default());
    for way in ways() {
        let (isa, precision) = (way.isa, way.precision);
        case.measure(&mut group, &way, |case| {
            let (a, b, c, scratch) = (case.a.view(), case.b.view(), case.c.view_mut(), &mut scratch);
            kernels::direct_product(
                isa,
                DirectProduct { a, b, b_transposed: true, precision, init: Init::Zero, c, scratch },
            );
        });
    }
    case.measure_peers(&mut group);
}

/// One row that picks row l of B must give that row.
fn check_packing(packed: &mut Packed, b: &Matrix, turned: &Matrix, from_transpose: bool) {
    if from_transpose {
        packed.pack_transposed(turned.view());
    } else {
        packed.pack(b.view());
    }
    for l in (0..b.rows).step_by(50) {
        let (mut pick, mut row) = (vec![0.0; b.rows], vec![f32::NAN; b.cols]);
        pick[l] = 1.0;
        let mut room = Buffer::default();
        let (a, c) = (Mat::dense(&pick, 1, b.rows), MatMut::dense(&mut row, 1, b.cols).into());
        let (a, precision) = (Left::of(packed.view(), a, &mut room), packed.view().precision());
        kernels::product(Product { a, b: packed.view(), init: Init::Zero, c });
        let wanted = |j: usize| if from_transpose { turned.view().row(j)[l] } else { b.view().row(l)[j] };
        assert!((0..b.cols).all(|j| row[j] == precision.round(wanted(j))), "row {l} of B was packed wrong");
    }
}

/// Packing, for its share in an optimiser step: bytes read and written.
fn packing(criterion: &mut Criterion) {
    let mut group = group(criterion, "gemm/pack");
    let (k, n) = (650, 2600);
    let (b, turned) = (Matrix::new(k, n, 1), Matrix::new(n, k, 1));
    group.throughput(Throughput::Bytes(8 * (k * n) as u64));
    for Way { isa, precision, name } in ways() {
        let mut packed = Packed::new(isa, precision, k, 1, n);
        for from_transpose in [false, true] {
            check_packing(&mut packed, &b, &turned, from_transpose);
        }
        group.bench_function(BenchmarkId::new(&name, format!("{k}x{n}")), |bencher| {
            bencher.iter(|| packed.pack(b.view()));
        });
        group.bench_function(BenchmarkId::new(format!("{name}-transposed"), format!("{k}x{n}")), |bencher| {
            bencher.iter(|| packed.pack_transposed(turned.view()));
        });
    }
}

criterion_group!(benches, packed, outer, turned, packing);
criterion_main!(benches);
