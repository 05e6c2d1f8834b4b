//! One step of the GRU with the reset gate after the product, and of the one with the reset gate before it, forward and
//! backward. The peer is the same step as plain products and a scalar cell.
//!
//! Elements a second are floating-point operations of the products in forward; bytes a second are what backward must
//! read and write.

use criterion::{Criterion, criterion_group, criterion_main};
use unroll_benches::cells::{
    Plain, SIZES, Way, agree, bytes, dense, flops, group, measure, pad, plain_product, sets, sigmoid, state, step, ways,
};
use unroll_kernels::gemm::{Left, Packed, Precision};
use unroll_kernels::gru::{self, reset_before};
use unroll_kernels::{Buffer, Isa, Mat};

/// The peer: a step as plain products and a scalar cell.
trait Peer {
    fn forward(&self, gates: &mut [f32], hidden: &mut [f32], h: &mut [f32]);
    /// Two products of dense operands: the parts of the recurrent kernel, (H, 2 H) of z and r and (H, H) of the candidate.
    fn forward_before(&self, parts: [&[f32]; 2], pre: &[f32], scratch: &mut [Vec<f32>; 3], h: &mut [f32]);
    fn backward(&self, gates: &mut [f32], hidden: &mut [f32], dh_prev: &mut [f32]);
    /// Without the product between its two phases: `c_prev` stands in for da_n U_n^T.
    fn backward_before(&self, gates: &mut [f32], dh_prev: &mut [f32]);
}

impl Peer for Plain {
    fn forward(&self, gates: &mut [f32], hidden: &mut [f32], h: &mut [f32]) {
        let (units, width) = (self.units, 3 * self.units);
        hidden.fill(0.0);
        plain_product([self.rows, units, width], &self.h_prev, &self.recurrent, hidden);
        for n in 0..self.rows {
            let (row, side) = (&mut gates[n * width..][..width], &hidden[n * width..][..width]);
            for u in 0..units {
                let z = sigmoid(row[u] + side[u]);
                let r = sigmoid(row[units + u] + side[units + u]);
                let new = (row[2 * units + u] + r * side[2 * units + u]).tanh();
                h[n * units + u] = z * self.h_prev[n * units + u] + (1.0 - z) * new;
                [row[u], row[units + u], row[2 * units + u]] = [z, r, new];
            }
        }
    }

    fn forward_before(&self, [zr, new]: [&[f32]; 2], pre: &[f32], scratch: &mut [Vec<f32>; 3], h: &mut [f32]) {
        let (rows, units) = (self.rows, self.units);
        let [gates, reset_h, candidate] = scratch;
        for n in 0..rows {
            let row = &pre[n * 3 * units..][..3 * units];
            gates[n * 2 * units..][..2 * units].copy_from_slice(&row[..2 * units]);
            candidate[n * units..][..units].copy_from_slice(&row[2 * units..]);
        }
        plain_product([rows, units, 2 * units], &self.h_prev, zr, gates);
        for at in 0..rows * units {
            let r = sigmoid(gates[(at / units * 2 + 1) * units + at % units]);
            reset_h[at] = r * self.h_prev[at];
        }
        plain_product([rows, units, units], reset_h, new, candidate);
        for at in 0..rows * units {
            let z = sigmoid(gates[at / units * 2 * units + at % units]);
            h[at] = z * self.h_prev[at] + (1.0 - z) * candidate[at].tanh();
        }
    }

    fn backward(&self, gates: &mut [f32], hidden: &mut [f32], dh_prev: &mut [f32]) {
        for (at, dh_prev) in dh_prev.iter_mut().enumerate() {
            let (n, u) = (at / self.units, at % self.units);
            let gate = |k: usize| (n * 3 + k) * self.units + u;
            let [z, r, new] = std::array::from_fn(|k| gates[gate(k)]);
            let (dh, h_prev) = (self.dh[at], self.h_prev[at]);
            let dz = dh * (h_prev - new) * z * (1.0 - z);
            let dn = dh * (1.0 - z) * (1.0 - new * new);
            let dr = dn * hidden[gate(2)] * r * (1.0 - r);
            [gates[gate(0)], gates[gate(1)], gates[gate(2)]] = [dz, dr, dn];
            [hidden[gate(0)], hidden[gate(1)], hidden[gate(2)]] = [dz, dr, dn * r];
            *dh_prev += dh * z;
        }
    }

    fn backward_before(&self, gates: &mut [f32], dh_prev: &mut [f32]) {
        for (at, dh_prev) in dh_prev.iter_mut().enumerate() {
            let (n, u) = (at / self.units, at % self.units);
            let gate = |k: usize| (n * 3 + k) * self.units + u;
            let [z, r, new] = std::array::from_fn(|k| gates[gate(k)]);
            let (dh, h_prev, ds) = (self.dh[at], self.h_prev[at], self.c_prev[at]);
            gates[gate(0)] = dh * (h_prev - new) * z * (1.0 - z);
            gates[gate(1)] = ds * h_prev * r * (1.0 - r);
            gates[gate(2)] = dh * (1.0 - z) * (1.0 - new * new);
            *dh_prev += dh * z + ds * r;
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
    packed_zr: Packed,
    packed_new: Packed,
    gates: Buffer,
    hidden: Buffer,
    h_prev: Buffer,
    dh: Buffer,
    dreset_h: Buffer,
    reset_h: Buffer,
    h: Buffer,
}

impl Kernel {
    fn new(isa: Isa, precision: Precision, plain: &Plain) -> Self {
        let (rows, units) = (plain.rows, plain.units);
        let recurrent = Mat::dense(&plain.recurrent, units, 3 * units);
        let pack = |gates: std::ops::Range<usize>| {
            let mut packed = Packed::new(isa, precision, units, gates.len(), units);
            packed.pack(recurrent.cols_range(gates.start * units..gates.end * units));
            packed
        };
        let [h_prev, dh, dreset_h, reset_h, h] =
            [&plain.h_prev, &plain.dh, &plain.c_prev, &plain.dh, &plain.dh].map(|x| pad(x, units));
        let (gates, hidden) = (pad(&plain.pre, 3 * units), pad(&plain.pre, 3 * units));
        let (packed, packed_zr, packed_new) = (pack(0..3), pack(0..2), pack(2..3));
        Self {
            isa,
            rows,
            units,
            room: Buffer::default(),
            packed,
            packed_zr,
            packed_new,
            gates,
            hidden,
            h_prev,
            dh,
            dreset_h,
            reset_h,
            h,
        }
    }

    fn forward(&mut self, t: usize) {
        let (rows, units) = (self.rows, self.units);
        gru::forward(gru::Forward {
            h_prev: Left::of(self.packed.view(), state(&self.h_prev, rows, units), &mut self.room),
            h_prev_own: state(&self.h_prev, rows, units),
            recurrent: self.packed.view(),
            recurrent_bias: None,
            gates: step(&mut self.gates, t, rows, 3 * units).into_groups(3),
            hidden: step(&mut self.hidden, t, rows, 3 * units).into_groups(3),
            h: step(&mut self.h, 0, rows, units),
        });
    }

    fn forward_before(&mut self, t: usize) {
        let (rows, units) = (self.rows, self.units);
        reset_before::forward_gates(reset_before::ForwardGates {
            h_prev: Left::of(self.packed_zr.view(), state(&self.h_prev, rows, units), &mut self.room),
            h_prev_own: state(&self.h_prev, rows, units),
            recurrent: self.packed_zr.view(),
            gates: step(&mut self.gates, t, rows, 3 * units).into_groups(3),
            reset_h: step(&mut self.reset_h, 0, rows, units),
        });
        reset_before::forward_candidate(reset_before::ForwardCandidate {
            reset_h: Left::of(self.packed_new.view(), state(&self.reset_h, rows, units), &mut self.room),
            recurrent: self.packed_new.view(),
            h_prev: state(&self.h_prev, rows, units),
            gates: step(&mut self.gates, t, rows, 3 * units).into_groups(3),
            h: step(&mut self.h, 0, rows, units),
        });
    }

    /// The gradient of h before is added to `h`.
    fn backward(&mut self, t: usize) {
        let (rows, units) = (self.rows, self.units);
        let args = gru::Backward {
            gates: step(&mut self.gates, t, rows, 3 * units).into_groups(3),
            hidden: step(&mut self.hidden, t, rows, 3 * units).into_groups(3),
            h_prev: state(&self.h_prev, rows, units),
            dh: state(&self.dh, rows, units),
            dh_prev: step(&mut self.h, 0, rows, units),
        };
        gru::backward(self.isa, args);
    }

    /// The gradient of h before is added to `h`.
    fn backward_before(&mut self, t: usize) {
        let (rows, units) = (self.rows, self.units);
        let candidate = reset_before::BackwardCandidate {
            gates: step(&mut self.gates, t, rows, 3 * units).into_groups(3),
            h_prev: state(&self.h_prev, rows, units),
            dh: state(&self.dh, rows, units),
            dh_prev: step(&mut self.h, 0, rows, units),
        };
        reset_before::backward_candidate(self.isa, candidate);
        let gates = reset_before::BackwardGates {
            gates: step(&mut self.gates, t, rows, 3 * units).into_groups(3),
            h_prev: state(&self.h_prev, rows, units),
            dreset_h: state(&self.dreset_h, rows, units),
            dh_prev: step(&mut self.h, 0, rows, units),
        };
        reset_before::backward_gates(self.isa, gates);
    }
}

fn forward(criterion: &mut Criterion) {
    let mut group = group(criterion, "gru/forward");
    for size @ [rows, units] in SIZES {
        group.throughput(flops(size, 3));
        let plain = Plain::new(size, 3);
        let (mut gates, mut hidden, mut h) = (plain.pre.clone(), plain.pre.clone(), plain.h_prev.clone());
        plain.forward(&mut gates[..plain.width()], &mut hidden[..plain.width()], &mut h);
        for Way { isa, precision, name, tolerance } in ways() {
            let mut kernel = Kernel::new(isa, precision, &plain);
            kernel.forward(0);
            agree("h", &dense(&kernel.h, rows, units), &h, tolerance);
            measure(&mut group, &name, size, |t| kernel.forward(t));
        }
        measure(&mut group, "matrixmultiply", size, |t| {
            let range = t * plain.width()..(t + 1) * plain.width();
            plain.forward(&mut gates[range.clone()], &mut hidden[range], &mut h);
        });
    }
}

fn forward_before(criterion: &mut Criterion) {
    let mut group = group(criterion, "gru_before/forward");
    let size @ [rows, units] = SIZES[1];
    group.throughput(flops(size, 3));
    let plain = Plain::new(size, 3);
    let mut h = plain.h_prev.clone();
    let mut scratch = [2 * rows * units, rows * units, rows * units].map(|n| vec![0.0; n]);
    let rows_of = |cols: std::ops::Range<usize>| -> Vec<f32> {
        plain.recurrent.chunks_exact(3 * units).flat_map(|row| &row[cols.clone()]).copied().collect()
    };
    let (zr, new) = (rows_of(0..2 * units), rows_of(2 * units..3 * units));
    plain.forward_before([&zr, &new], &plain.pre[..plain.width()], &mut scratch, &mut h);
    for Way { isa, precision, name, tolerance } in ways() {
        let mut kernel = Kernel::new(isa, precision, &plain);
        kernel.forward_before(0);
        agree("h", &dense(&kernel.h, rows, units), &h, tolerance);
        measure(&mut group, &name, size, |t| kernel.forward_before(t));
    }
    measure(&mut group, "matrixmultiply", size, |t| {
        plain.forward_before([&zr, &new], &plain.pre[t * plain.width()..][..plain.width()], &mut scratch, &mut h);
    });
}

fn backward(criterion: &mut Criterion) {
    let mut group = group(criterion, "gru/backward");
    for size @ [rows, units] in SIZES {
        group.throughput(bytes(size, 3 + 3 + 1 + 3 + 2 + 2)); // gates in and out, q in, hidden out, dh_prev in and out; h_prev, dh in
        let plain = Plain::new(size, 3);
        let (mut gates, mut hidden, mut dh_prev) = (plain.pre.clone(), plain.pre.clone(), plain.dh.clone());
        plain.backward(&mut gates[..plain.width()], &mut hidden[..plain.width()], &mut dh_prev);
        for isa in sets() {
            let mut kernel = Kernel::new(isa, Precision::F32, &plain);
            kernel.backward(0);
            agree("da", &dense(&kernel.gates, rows, 3 * units), &gates[..plain.width()], 1e-4);
            agree("the hidden side", &dense(&kernel.hidden, rows, 3 * units), &hidden[..plain.width()], 1e-4);
            agree("dh_prev", &dense(&kernel.h, rows, units), &dh_prev, 1e-4);
            // What one pass leaves is gates to the next: from a half it goes to 0 at once, and 0 takes as long.
            kernel.gates.fill(0.5);
            measure(&mut group, isa.name(), size, |t| kernel.backward(t));
        }
        gates.fill(0.5);
        measure(&mut group, "scalar", size, |t| {
            let range = t * plain.width()..(t + 1) * plain.width();
            plain.backward(&mut gates[range.clone()], &mut hidden[range], &mut dh_prev);
        });
    }
}

fn backward_before(criterion: &mut Criterion) {
    let mut group = group(criterion, "gru_before/backward");
    for size @ [rows, units] in SIZES {
        // Of z and n the gates in and out, h_prev, dh, dh_prev in and out; of r the gate in and out, h_prev, ds, dh_prev in and out.
        group.throughput(bytes(size, 4 + 1 + 1 + 2 + 2 + 1 + 1 + 2));
        let plain = Plain::new(size, 3);
        let (mut gates, mut dh_prev) = (plain.pre.clone(), plain.dh.clone());
        plain.backward_before(&mut gates[..plain.width()], &mut dh_prev);
        for isa in sets() {
            let mut kernel = Kernel::new(isa, Precision::F32, &plain);
            kernel.backward_before(0);
            agree("da", &dense(&kernel.gates, rows, 3 * units), &gates[..plain.width()], 1e-4);
            agree("dh_prev", &dense(&kernel.h, rows, units), &dh_prev, 1e-4);
            // As in `backward`.
            kernel.gates.fill(0.5);
            measure(&mut group, isa.name(), size, |t| kernel.backward_before(t));
        }
        gates.fill(0.5);
        measure(&mut group, "scalar", size, |t| {
            plain.backward_before(&mut gates[t * plain.width()..][..plain.width()], &mut dh_prev);
        });
    }
}

criterion_group!(benches, forward, forward_before, backward, backward_before);
criterion_main!(benches);
