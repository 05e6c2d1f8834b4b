//! One step of the simple recurrent cell (tanh), forward and backward, and all steps of one row of a small cell at once. The
//! peer is the same step, or one after the other, as a plain product and a scalar cell.
//!
//! Elements a second are floating-point operations of the product in forward; bytes a second are what backward must
//! read and write.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use unroll_benches::cells::{
    Plain, SIZES, Way, agree, bytes, dense, flops, group, measure, noise, pad, plain_product, sets, state, step, ways,
};
use unroll_kernels::gemm::{Left, Packed, Precision};
use unroll_kernels::rnn::{self, Activation, SequenceBackward, SequenceForward, SequenceInput};
use unroll_kernels::{Buffer, Isa, Mat};

/// The peer: a step as a plain product and a scalar cell.
trait Peer {
    fn forward(&self, pre: &mut [f32], h: &mut [f32]);
    /// `h_prev` stands in for h.
    fn backward(&self, dpre: &mut [f32]);
}

impl Peer for Plain {
    fn forward(&self, pre: &mut [f32], h: &mut [f32]) {
        plain_product([self.rows, self.units, self.units], &self.h_prev, &self.recurrent, pre);
        h.iter_mut().zip(pre).for_each(|(h, a)| *h = a.tanh());
    }

    fn backward(&self, dpre: &mut [f32]) {
        for (at, d) in dpre.iter_mut().enumerate() {
            *d = self.dh[at] * (1.0 - self.h_prev[at] * self.h_prev[at]);
        }
    }
}

/// The same operands as the engine keeps them.
struct Kernel {
    isa: Isa,
    rows: usize,
    units: usize,
    room: Buffer,
    packed: Packed,
    pre: Buffer,
    h_prev: Buffer,
    dh: Buffer,
    h: Buffer,
}

impl Kernel {
    fn new(isa: Isa, precision: Precision, plain: &Plain) -> Self {
        let (rows, units) = (plain.rows, plain.units);
        let mut packed = Packed::new(isa, precision, units, 1, units);
        packed.pack(Mat::dense(&plain.recurrent, units, units));
        let [h_prev, dh, h] = [&plain.h_prev, &plain.dh, &plain.dh].map(|x| pad(x, units));
        Self { isa, rows, units, room: Buffer::default(), packed, pre: pad(&plain.pre, units), h_prev, dh, h }
    }

    fn forward(&mut self, t: usize) {
        let (rows, units) = (self.rows, self.units);
        rnn::forward(rnn::Forward {
            activation: Activation::Tanh,
            h_prev: Left::of(self.packed.view(), state(&self.h_prev, rows, units), &mut self.room),
            recurrent: self.packed.view(),
            pre: step(&mut self.pre, t, rows, units).into(),
            h: step(&mut self.h, 0, rows, units),
        });
    }

    /// `h_prev` stands in for h.
    fn backward(&mut self, t: usize) {
        let (rows, units) = (self.rows, self.units);
        let args = rnn::Backward {
            activation: Activation::Tanh,
            h: state(&self.h_prev, rows, units),
            dh: state(&self.dh, rows, units),
            dpre: step(&mut self.pre, t, rows, units),
        };
        rnn::backward(self.isa, args);
    }
}

fn forward(criterion: &mut Criterion) {
    let mut group = group(criterion, "rnn/forward");
    for size @ [rows, units] in SIZES {
        group.throughput(flops(size, 1));
        let plain = Plain::new(size, 1);
        let (mut pre, mut h) = (plain.pre.clone(), plain.h_prev.clone());
        plain.forward(&mut pre[..rows * units], &mut h);
        for Way { isa, precision, name, tolerance } in ways() {
            let mut kernel = Kernel::new(isa, precision, &plain);
            kernel.forward(0);
            agree("h", &dense(&kernel.h, rows, units), &h, tolerance);
            // Pre-activations stay in place and grow from pass to pass; the time does not depend on them.
            measure(&mut group, &name, size, |t| kernel.forward(t));
        }
        measure(&mut group, "matrixmultiply", size, |t| {
            plain.forward(&mut pre[t * rows * units..][..rows * units], &mut h);
        });
    }
}

fn backward(criterion: &mut Criterion) {
    let mut group = group(criterion, "rnn/backward");
    for size @ [rows, units] in SIZES {
        group.throughput(bytes(size, 3)); // h and dh in, da out
        let plain = Plain::new(size, 1);
        let mut dpre = plain.pre.clone();
        plain.backward(&mut dpre[..rows * units]);
        for isa in sets() {
            let mut kernel = Kernel::new(isa, Precision::F32, &plain);
            kernel.backward(0);
            agree("da", &dense(&kernel.pre, rows, units), &dpre[..rows * units], 1e-4);
            measure(&mut group, isa.name(), size, |t| kernel.backward(t));
        }
        measure(&mut group, "scalar", size, |t| plain.backward(&mut dpre[t * rows * units..][..rows * units]));
    }
}

/// min-char-rnn's: 25 steps of one row of 100 units, whose weights stay in the first-level cache.
const SEQUENCE: [usize; 2] = [25, 100];

/// The recurrent kernel (H, H) and its transpose, the numbers of all steps (T, H) and h before the first.
struct Sequence {
    recurrent: Vec<f32>,
    transposed: Vec<f32>,
    pre: Vec<f32>,
    dh: Vec<f32>,
    h0: Vec<f32>,
}

impl Sequence {
    fn new() -> Self {
        let [steps, units] = SEQUENCE;
        let recurrent = noise(units * units, 1.0 / (units as f32).sqrt(), 1);
        let transposed = (0..units * units).map(|at| recurrent[at % units * units + at / units]).collect();
        let [pre, dh] = [2, 3].map(|seed| noise(steps * units, 1.0, seed));
        Self { recurrent, transposed, pre, dh, h0: noise(units, 1.0, 4) }
    }

    /// `h` (T + 1, H) begins with h before the first step.
    fn forward(&self, h: &mut [f32]) {
        let [steps, units] = SEQUENCE;
        for t in 0..steps {
            let (before, after) = h.split_at_mut((t + 1) * units);
            let after = &mut after[..units];
            after.copy_from_slice(&self.pre[t * units..][..units]);
            plain_product([1, units, units], &before[t * units..], &self.recurrent, after);
            after.iter_mut().for_each(|h| *h = h.tanh());
        }
    }

    /// `h` (T, H) is that after each step.
    fn backward(&self, h: &[f32], dh: &mut [f32], dpre: &mut [f32]) {
        let [steps, units] = SEQUENCE;
        for t in (0..steps).rev() {
            let at = t * units..(t + 1) * units;
            for ((d, dh), h) in dpre[at.clone()].iter_mut().zip(&dh[at.clone()]).zip(&h[at.clone()]) {
                *d = dh * (1.0 - h * h);
            }
            if t > 0 {
                plain_product(
                    [1, units, units],
                    &dpre[at.clone()],
                    &self.transposed,
                    &mut dh[(t - 1) * units..][..units],
                );
            }
        }
    }
}

/// `data` (H, H) as the engine keeps it for a set.
fn packed(isa: Isa, data: &[f32], units: usize) -> Packed {
    let mut packed = Packed::new(isa, Precision::F32, units, 1, units);
    packed.pack(Mat::dense(data, units, units));
    assert!(rnn::takes_sequences(packed.view(), 1), "{isa}");
    packed
}

fn sequences(criterion: &mut Criterion) {
    let ([steps, units], plain) = (SEQUENCE, Sequence::new());
    let (h0, size) = (&plain.h0, format!("{steps}x{units}"));
    let start = |rows: usize| -> Vec<f32> { h0.iter().copied().chain(vec![0.0; rows * units]).collect() };
    let mut want = start(steps);
    plain.forward(&mut want);
    let flops = Throughput::Elements((2 * steps * units * units) as u64);
    let mut forward = group(criterion, "rnn/forward_sequence");
    forward.throughput(flops.clone());
    for isa in sets() {
        let (recurrent, pre) = (packed(isa, &plain.recurrent, units), pad(&plain.pre, units));
        let mut h = pad(&start(steps), units);
        let call = |h: &mut Buffer| {
            rnn::forward_sequence(SequenceForward {
                activation: Activation::Tanh,
                recurrent: recurrent.view(),
                input: SequenceInput::Ready(state(&pre, steps, units)),
                rows: 1,
                reverse: false,
                h: step(h, 0, steps + 1, units),
            });
        };
        call(&mut h);
        agree("h", &dense(&h, steps + 1, units), &want, 1e-4);
        forward.bench_function(BenchmarkId::new(isa.name(), &size), |b| b.iter(|| call(&mut h)));
    }
    let mut h = want.clone();
    forward.bench_function(BenchmarkId::new("matrixmultiply", &size), |b| b.iter(|| plain.forward(&mut h)));
    forward.finish();

    let after = &want[units..];
    let (mut want_dh, mut want_dpre) = (plain.dh.clone(), vec![0.0; steps * units]);
    plain.backward(after, &mut want_dh, &mut want_dpre);
    let mut backward = group(criterion, "rnn/backward_sequence");
    backward.throughput(flops);
    for isa in sets() {
        let (transposed, h) = (packed(isa, &plain.transposed, units), pad(after, units));
        let (start, mut dpre) = (pad(&plain.dh, units), pad(&want_dpre, units));
        let mut dh = pad(&plain.dh, units);
        let call = |dh: &mut Buffer, dpre: &mut Buffer| {
            dh.copy_from_slice(&start);
            rnn::backward_sequence(SequenceBackward {
                activation: Activation::Tanh,
                transposed: transposed.view(),
                rows: 1,
                reverse: false,
                h: state(&h, steps, units),
                dh: step(dh, 0, steps, units),
                dpre: step(dpre, 0, steps, units),
            });
        };
        dpre.fill(f32::NAN);
        call(&mut dh, &mut dpre);
        agree("da", &dense(&dpre, steps, units), &want_dpre, 1e-4);
        backward.bench_function(BenchmarkId::new(isa.name(), &size), |b| b.iter(|| call(&mut dh, &mut dpre)));
    }
    let (mut dh, mut dpre) = (plain.dh.clone(), want_dpre.clone());
    backward.bench_function(BenchmarkId::new("matrixmultiply", &size), |b| {
        b.iter(|| {
            dh.copy_from_slice(&plain.dh);
            plain.backward(after, &mut dh, &mut dpre);
        });
    });
}

criterion_group!(benches, forward, backward, sequences);
criterion_main!(benches);
