//! One step of the simple recurrent cell (tanh), forward and backward. The peer is the same step as a plain product and
//! a scalar cell.
//!
//! Elements a second are floating-point operations of the product in forward; bytes a second are what backward must
//! read and write.

use criterion::{Criterion, criterion_group, criterion_main};
use unroll_benches::cells::{
    Plain, SIZES, Way, agree, bytes, dense, flops, group, measure, pad, plain_product, sets, state, step, ways,
};
use unroll_kernels::gemm::{Left, Packed, Precision};
use unroll_kernels::rnn::{self, Activation};
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

criterion_group!(benches, forward, backward);
criterion_main!(benches);
