//! One step of the LSTM, forward and backward. The peer is the same step as a plain product and a scalar cell.
//!
//! Elements a second are floating-point operations of the product in forward; bytes a second are what backward must
//! read and write.

use criterion::{Criterion, criterion_group, criterion_main};
use unroll_benches::cells::{
    Plain, SIZES, Way, agree, bytes, dense, flops, group, measure, pad, plain_product, sets, sigmoid, state, step, ways,
};
use unroll_kernels::gemm::{Left, Packed, Precision};
use unroll_kernels::lstm::{self, reference};
use unroll_kernels::{Buffer, Isa, Mat};

/// The peer: a step as a plain product and a scalar cell.
trait Peer {
    fn forward(&self, gates: &mut [f32], c: &mut [f32], h: &mut [f32]);
    /// `h_prev` stands in for c.
    fn backward(&self, gates: &mut [f32], dc: &mut [f32]);
}

impl Peer for Plain {
    fn forward(&self, gates: &mut [f32], c: &mut [f32], h: &mut [f32]) {
        let (units, width) = (self.units, 4 * self.units);
        plain_product([self.rows, units, width], &self.h_prev, &self.recurrent, gates);
        for n in 0..self.rows {
            let row = &mut gates[n * width..][..width];
            for u in 0..units {
                let (i, f) = (sigmoid(row[u]), sigmoid(row[units + u]));
                let (g, o) = (row[2 * units + u].tanh(), sigmoid(row[3 * units + u]));
                let at = n * units + u;
                c[at] = f * self.c_prev[at] + i * g;
                h[at] = o * c[at].tanh();
                [row[u], row[units + u], row[2 * units + u], row[3 * units + u]] = [i, f, g, o];
            }
        }
    }

    fn backward(&self, gates: &mut [f32], dc: &mut [f32]) {
        for (at, dc) in dc.iter_mut().enumerate() {
            let (n, u) = (at / self.units, at % self.units);
            let gate = |k: usize| (n * 4 + k) * self.units + u;
            let [i, f, g, o] = std::array::from_fn(|k| gates[gate(k)]);
            let (tanh_c, dh) = (self.h_prev[at].tanh(), self.dh[at]);
            let d = *dc + dh * o * (1.0 - tanh_c * tanh_c);
            gates[gate(0)] = d * g * i * (1.0 - i);
            gates[gate(1)] = d * self.c_prev[at] * f * (1.0 - f);
            gates[gate(2)] = d * i * (1.0 - g * g);
            gates[gate(3)] = dh * tanh_c * o * (1.0 - o);
            *dc = d * f;
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
    gates: Buffer,
    h_prev: Buffer,
    c_prev: Buffer,
    dh: Buffer,
    c: Buffer,
    h: Buffer,
}

impl Kernel {
    fn new(isa: Isa, precision: Precision, plain: &Plain) -> Self {
        let (rows, units) = (plain.rows, plain.units);
        let mut packed = Packed::new(isa, precision, units, 4, units);
        packed.pack(Mat::dense(&plain.recurrent, units, 4 * units));
        Self {
            isa,
            rows,
            units,
            room: Buffer::default(),
            packed,
            gates: pad(&plain.pre, 4 * units),
            h_prev: pad(&plain.h_prev, units),
            c_prev: pad(&plain.c_prev, units),
            dh: pad(&plain.dh, units),
            c: pad(&plain.dh, units),
            h: pad(&plain.dh, units),
        }
    }

    fn forward(&mut self, t: usize) {
        let (rows, units) = (self.rows, self.units);
        lstm::forward(lstm::Forward {
            h_prev: Left::of(self.packed.view(), state(&self.h_prev, rows, units), &mut self.room),
            recurrent: self.packed.view(),
            c_prev: state(&self.c_prev, rows, units),
            gates: step(&mut self.gates, t, rows, 4 * units).into_groups(4),
            c: step(&mut self.c, 0, rows, units),
            h: step(&mut self.h, 0, rows, units),
        });
    }

    /// `h_prev` stands in for c; dc is in `c`.
    fn backward(&mut self, t: usize) {
        let (rows, units) = (self.rows, self.units);
        let args = lstm::Backward {
            gates: step(&mut self.gates, t, rows, 4 * units).into_groups(4),
            c: state(&self.h_prev, rows, units),
            c_prev: state(&self.c_prev, rows, units),
            dh: state(&self.dh, rows, units),
            dc: step(&mut self.c, 0, rows, units),
        };
        lstm::backward(self.isa, args);
    }
}

fn forward(criterion: &mut Criterion) {
    check_peer();
    let mut group = group(criterion, "lstm/forward");
    for size @ [rows, units] in SIZES {
        group.throughput(flops(size, 4));
        let plain = Plain::new(size, 4);
        let (mut gates, mut c, mut h) = (plain.pre.clone(), plain.c_prev.clone(), plain.h_prev.clone());
        plain.forward(&mut gates[..plain.width()], &mut c, &mut h);
        for Way { isa, precision, name, tolerance } in ways() {
            let mut kernel = Kernel::new(isa, precision, &plain);
            kernel.forward(0);
            agree("c", &dense(&kernel.c, rows, units), &c, tolerance);
            agree("h", &dense(&kernel.h, rows, units), &h, tolerance);
            measure(&mut group, &name, size, |t| kernel.forward(t));
        }
        measure(&mut group, "matrixmultiply", size, |t| {
            plain.forward(&mut gates[t * plain.width()..][..plain.width()], &mut c, &mut h);
        });
    }
}

fn backward(criterion: &mut Criterion) {
    let mut group = group(criterion, "lstm/backward");
    for size @ [rows, units] in SIZES {
        group.throughput(bytes(size, 2 * 5 + 3)); // gates and dc in and out; c, c_prev and dh in
        let plain = Plain::new(size, 4);
        let (mut gates, mut dc) = (plain.pre.clone(), plain.dh.clone());
        plain.backward(&mut gates[..plain.width()], &mut dc);
        for isa in sets() {
            let mut kernel = Kernel::new(isa, Precision::F32, &plain);
            kernel.backward(0);
            agree("da", &dense(&kernel.gates, rows, 4 * units), &gates[..plain.width()], 1e-4);
            agree("dc", &dense(&kernel.c, rows, units), &dc, 1e-4);
            // What one pass leaves is gates to the next: from a half it goes to 0 at once, and 0 takes as long.
            kernel.gates.fill(0.5);
            measure(&mut group, isa.name(), size, |t| kernel.backward(t));
        }
        gates.fill(0.5);
        measure(&mut group, "scalar", size, |t| {
            plain.backward(&mut gates[t * plain.width()..][..plain.width()], &mut dc);
        });
    }
}

/// The peer's cell is the reference's.
fn check_peer() {
    let plain = Plain::new([3, 5], 4);
    let (mut gates, mut c, mut h) = (plain.pre[..60].to_vec(), vec![0.0; 15], vec![0.0; 15]);
    plain.forward(&mut gates, &mut c, &mut h);
    for at in 0..15 {
        let (n, u) = (at / 5, at % 5);
        let pre = std::array::from_fn(|k| {
            let hidden = (0..5).map(|j| f64::from(plain.h_prev[n * 5 + j] * plain.recurrent[j * 20 + k * 5 + u]));
            f64::from(plain.pre[n * 20 + k * 5 + u]) + hidden.sum::<f64>()
        });
        let (_, want_c, want_h) = reference::cell(pre, f64::from(plain.c_prev[at]));
        agree("the peer's c, h", &[c[at], h[at]], &[want_c as f32, want_h as f32], 1e-5);
    }
}

criterion_group!(benches, forward, backward);
criterion_main!(benches);
