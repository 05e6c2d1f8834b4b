//! What the benches of the recurrent cells share.

use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use std::time::Duration;
use unroll_kernels::gemm::Precision;
use unroll_kernels::mat::padded;
use unroll_kernels::{Buffer, Isa, Mat, MatMut};

/// Rows and units: one stream of a large cell, and the models `word650` and `char256` at their batch sizes.
pub const SIZES: [[usize; 2]; 3] = [[1, 512], [20, 650], [50, 256]];

/// Time steps whose gates a bench goes round, as a sequence does: more than the second-level cache holds.
pub const STEPS: usize = 16;

/// Repeatable numbers in (-scale, scale).
pub fn noise(n: usize, scale: f32, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        // xorshift32 (Marsaglia, Xorshift RNGs, 2003)
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next() * scale).collect()
}

/// The operands of a step without gaps, which a bench's peer takes as they are.
pub struct Plain {
    /// N
    pub rows: usize,
    /// H
    pub units: usize,
    gates: usize,
    /// x W + b for all steps (T, N, gates H).
    pub pre: Vec<f32>,
    /// (H, gates H)
    pub recurrent: Vec<f32>,
    /// (N, H)
    pub h_prev: Vec<f32>,
    /// (N, H)
    pub c_prev: Vec<f32>,
    /// (N, H)
    pub dh: Vec<f32>,
}

impl Plain {
    /// Numbers for a cell of so many gates, the same every time.
    pub fn new([rows, units]: [usize; 2], gates: usize) -> Self {
        let state = |seed| noise(rows * units, 1.0, seed);
        Self {
            rows,
            units,
            gates,
            pre: noise(STEPS * rows * gates * units, 1.0, 1),
            recurrent: noise(units * gates * units, 1.0 / (units as f32).sqrt(), 2),
            h_prev: state(3),
            c_prev: state(4),
            dh: state(5),
        }
    }

    /// Values of one step's gates.
    pub fn width(&self) -> usize {
        self.rows * self.gates * self.units
    }
}

/// A group with the time that keeps a whole file near twenty seconds.
pub fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.warm_up_time(Duration::from_millis(150)).measurement_time(Duration::from_millis(600)).sample_size(20);
    group
}

/// The floating-point operations of a step's product, as Criterion's elements: Gelem/s are GFLOP/s.
pub fn flops([rows, units]: [usize; 2], gates: usize) -> Throughput {
    Throughput::Elements((2 * rows * units * units * gates) as u64)
}

/// The sets to measure, the best first; those that differ from `avx512` in products in bf16 only are left out.
pub fn sets() -> Vec<Isa> {
    let mut sets = Isa::available();
    sets.retain(|isa| isa.vectors() == *isa);
    sets.reverse();
    sets
}

/// One way to compute a step with a product in it.
pub struct Way {
    /// The set.
    pub isa: Isa,
    /// What the operands of the product are rounded to.
    pub precision: Precision,
    /// The set, and `-bf16` where its operands are rounded.
    pub name: String,
    /// How far results may be from those in f32: a sum of products, each off by 2^-8 of itself at most.
    pub tolerance: f32,
}

/// Every way: bf16 on all sets, then f32.
pub fn ways() -> Vec<Way> {
    let rounded = Isa::available().into_iter().rev().map(|isa| Way {
        isa,
        precision: Precision::Bf16,
        name: format!("{isa}-bf16"),
        tolerance: 0.03,
    });
    let exact = sets().into_iter().map(|isa| Way {
        isa,
        precision: Precision::F32,
        name: isa.name().to_owned(),
        tolerance: 1e-4,
    });
    rounded.chain(exact).collect()
}

/// Panics unless all of `got` are within `tolerance` of `want`.
#[track_caller]
pub fn agree(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}: sizes");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance, "{what}[{i}] is {got}, not {want}");
    }
}

/// C += A B by matrixmultiply: A (rows, k), B (k, cols) and C without gaps.
pub fn plain_product([rows, k, cols]: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32]) {
    assert!(a.len() == rows * k && b.len() == k * cols && c.len() == rows * cols);
    // SAFETY: the slices hold the three matrices, checked above.
    unsafe {
        let (k_stride, cols_stride) = (k as isize, cols as isize);
        let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        matrixmultiply::sgemm(rows, k, cols, 1.0, a, k_stride, 1, b, cols_stride, 1, 1.0, c, cols_stride, 1);
    }
}

/// 1 / (1 + e^-x)
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// `data` (rows, cols) in rows padded to cache lines, as the engine keeps them.
pub fn pad(data: &[f32], cols: usize) -> Buffer {
    let mut buffer = Buffer::new(data.len() / cols * padded(cols));
    for (to, from) in buffer.chunks_exact_mut(padded(cols)).zip(data.chunks_exact(cols)) {
        to[..cols].copy_from_slice(from);
    }
    buffer
}

/// Back to `rows` rows without gaps.
pub fn dense(data: &Buffer, rows: usize, cols: usize) -> Vec<f32> {
    let view = Mat::new(data, rows, cols, padded(cols));
    (0..rows).flat_map(|n| view.row(n)).copied().collect()
}

/// Measures `pass` over the steps of a sequence in turn.
pub fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    [rows, units]: [usize; 2],
    mut pass: impl FnMut(usize),
) {
    let mut t = 0;
    group.bench_function(BenchmarkId::new(name, format!("{rows}x{units}")), |b| {
        b.iter(|| {
            t = (t + 1) % STEPS;
            pass(t);
        });
    });
}

/// Step `t` of a padded sequence, (rows, cols).
pub fn step(data: &mut Buffer, t: usize, rows: usize, cols: usize) -> MatMut<'_> {
    let size = rows * padded(cols);
    MatMut::new(&mut data[t * size..(t + 1) * size], rows, cols, padded(cols))
}

/// A padded state, (rows, cols).
pub fn state(data: &Buffer, rows: usize, cols: usize) -> Mat<'_> {
    Mat::new(data, rows, cols, padded(cols))
}

/// The bytes of `values` values of every row and unit.
pub fn bytes([rows, units]: [usize; 2], values: usize) -> Throughput {
    Throughput::Bytes((4 * rows * units * values) as u64)
}
