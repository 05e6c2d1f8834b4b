//! One step of the GRU, forward and backward, the reset gate after and before the product, against the reference.

use super::input::{Input, cut_at};
use super::{Probe, TINY, U, Wanted, same_bits_in_blocks, with_hidden_side};
use crate::cells::VANISHED;
use crate::cells::reference::sigmoid;
use crate::check::{Framed, on_every_set};
use crate::gemm::{Packed, Precision};
use crate::gru::reference::{blend, blend_backward};
use crate::gru::{Backward, Forward, backward, forward, reset_before};
use crate::{Isa, Mat};

/// Reads which form and which pass, and compares one step of it.
pub(super) fn run(data: &[u8], probe: Probe<'_>) {
    let mut input = Input::new(data);
    let pass = input.pick([after_forward, after_backward, before_forward, before_backward]);
    let (rows, units, cut) = (input.up_to(13), input.size(70), input.byte());
    let step = Step::read(&mut input, rows, units);
    pass(&step, cut, probe);
}

/// The values of a step; each pass takes what it needs of them as given.
struct Step {
    rows: usize,
    units: usize,
    /// x W + b (N, 3, H).
    x: Vec<f32>,
    /// z, r (0 to 1) and n (-1 to 1) for backward, (N, 3, H).
    gates: Vec<f32>,
    /// What forward left on the hidden side (N, 3, H).
    hidden: Vec<f32>,
    /// U (H, 3 H).
    u: Vec<f32>,
    /// b' (3 H), if there is one.
    bias: Option<Vec<f32>>,
    h_prev: Vec<f32>,
    /// s, the h that the reset gate let through, where the reset gate comes before.
    reset_h: Vec<f32>,
    dh: Vec<f32>,
    dh_prev: Vec<f32>,
    dreset_h: Vec<f32>,
}

impl Step {
    fn read(input: &mut Input<'_>, rows: usize, units: usize) -> Self {
        let state = rows * units;
        let scale = input.pick([2.0, 0.1, 50.0]);
        let x = input.values(3 * state, scale);
        let mut gates = input.values(3 * state, 1.0);
        for (at, gate) in gates.iter_mut().enumerate() {
            if at % (3 * units) / units != 2 {
                *gate = gate.abs();
            }
        }
        let hidden = input.values(3 * state, scale);
        let u = input.values(3 * units * units, 2.0 / (units as f64).sqrt());
        let bias = input.flag().then(|| input.values(3 * units, 1.0));
        let h_prev = input.values(state, 1.0);
        let reset_h = input.values(state, 1.0);
        let scale = input.pick([1.0, 1e-6, 1e3]);
        let [dh, dh_prev, dreset_h] = [(); 3].map(|()| input.values(state, scale));
        Self { rows, units, x, gates, hidden, u, bias, h_prev, reset_h, dh, dh_prev, dreset_h }
    }

    fn state(&self) -> usize {
        self.rows * self.units
    }

    /// A state (N, H) in a frame.
    fn framed(&self, x: &[f32]) -> Framed {
        Framed::new(self.rows, self.units, x)
    }

    /// Three groups (N, 3, H) in a frame.
    fn framed_gates(&self, x: &[f32]) -> Framed {
        Framed::new(self.rows, 3 * self.units, x)
    }

    fn unwritten(&self) -> Framed {
        self.framed(&vec![f32::NAN; self.state()])
    }

    /// Packs `groups` gates of U from gate `first` on.
    fn packed(&self, isa: Isa, first: usize, groups: usize) -> Packed {
        let units = self.units;
        let mut packed = Packed::new(isa, Precision::F32, units, groups, units);
        packed.pack(Mat::dense(&self.u, units, 3 * units).cols_range(first * units..(first + groups) * units));
        packed
    }

    /// The place of gate `k` of unit `at` in (N, 3, H).
    fn gate(&self, at: usize, k: usize) -> usize {
        (at / self.units * 3 + k) * self.units + at % self.units
    }

    /// The activated gates, h before, dh, as f64.
    fn given(&self, at: usize) -> ([f64; 3], f64, f64) {
        let gates = std::array::from_fn(|k| f64::from(self.gates[self.gate(at, k)]));
        (gates, f64::from(self.h_prev[at]), f64::from(self.dh[at]))
    }
}

fn after_forward(step: &Step, cut: u8, probe: Probe<'_>) {
    let (rows, units) = (step.rows, step.units);
    let results = on_every_set("gru forward", |isa| {
        let packed = step.packed(isa, 0, 3);
        same_bits_in_blocks(isa, units, cut_at(cut, units, packed.granule()), |cut| {
            let h_prev = step.framed(&step.h_prev);
            let (mut gates, mut h) = (step.framed_gates(&step.x), step.unwritten());
            let mut hidden = step.framed_gates(&vec![f32::NAN; 3 * step.state()]);
            for block in [0..cut, cut..units] {
                let bias = step.bias.as_ref();
                forward(Forward {
                    h_prev: h_prev.mat().into(),
                    h_prev_own: h_prev.mat().cols_range(block.clone()),
                    recurrent: packed.view().cols_range(block.clone()),
                    recurrent_bias: bias.map(|b| [0, 1, 2].map(|k| &b[k * units + block.start..k * units + block.end])),
                    gates: gates.mat_mut().into_groups(3).cols_range(block.clone()),
                    hidden: hidden.mat_mut().into_groups(3).cols_range(block.clone()),
                    h: h.mat_mut().cols_range(block),
                });
            }
            let q: Vec<f32> = hidden.values().chunks(3 * units).flat_map(|row| row[2 * units..].to_vec()).collect();
            [gates.values(), q, h.values()].concat()
        })
    });
    let start = step.bias.as_ref().map_or(vec![0.0; 3 * step.state()], |bias| bias.repeat(rows));
    let [hidden, size] = with_hidden_side(&start, &step.h_prev, &step.u, [rows, units, 3 * units]);
    let (mut gates, mut qs, mut hs) = (Wanted::zeros(3 * step.state()), Wanted::default(), Wanted::default());
    for at in 0..step.state() {
        let places = [0, 1, 2].map(|k| step.gate(at, k));
        let size = places.iter().map(|&p| f64::from(step.x[p]).abs() + size[p]).fold(0.0, f64::max);
        let e = 2.0 * (units + 2) as f64 * U * size;
        let h_prev = f64::from(step.h_prev[at]);
        let x = places.map(|p| f64::from(step.x[p]));
        let [z, r] = [0, 1].map(|k| sigmoid(x[k] + hidden[places[k]]));
        let q = hidden[places[2]];
        let n = (x[2] + r * q).tanh();
        let n_bound = (1.0 + q.abs()) * (1.25 * e + 8.0 * U);
        gates.set(places[0], z, e / 4.0 + 4.0 * U);
        gates.set(places[1], r, e / 4.0 + 4.0 * U);
        gates.set(places[2], n, n_bound);
        qs.push(q, e);
        hs.push(blend(z, n, h_prev), n_bound + (1.0 + h_prev.abs()) * (e / 4.0 + 8.0 * U));
    }
    Wanted::concat([gates, qs, hs]).compare("forward, reset after", results, probe);
}

fn after_backward(step: &Step, cut: u8, probe: Probe<'_>) {
    let units = step.units;
    let results = on_every_set("gru backward", |isa| {
        same_bits_in_blocks(isa, units, cut_at(cut, units, 1), |cut| {
            let [h_prev, dh] = [&step.h_prev, &step.dh].map(|x| step.framed(x));
            let [mut gates, mut hidden] = [&step.gates, &step.hidden].map(|x| step.framed_gates(x));
            let mut dh_prev = step.framed(&step.dh_prev);
            for block in [0..cut, cut..units] {
                let args = Backward {
                    gates: gates.mat_mut().into_groups(3).cols_range(block.clone()),
                    hidden: hidden.mat_mut().into_groups(3).cols_range(block.clone()),
                    h_prev: h_prev.mat().cols_range(block.clone()),
                    dh: dh.mat().cols_range(block.clone()),
                    dh_prev: dh_prev.mat_mut().cols_range(block),
                };
                backward(isa, args);
            }
            [gates.values(), hidden.values(), dh_prev.values()].concat()
        })
    });
    let [mut input_side, mut hidden_side] = [(); 2].map(|()| Wanted::zeros(3 * step.state()));
    let mut direct = Wanted::default();
    for at in 0..step.state() {
        let ([z, r, n], h_prev, dh) = step.given(at);
        let q = f64::from(step.hidden[step.gate(at, 2)]);
        let (dz, dn, through) = blend_backward(z, n, h_prev, dh);
        let dr = dn * q * r * (1.0 - r);
        let before = f64::from(step.dh_prev[at]);
        let steep = (1.0 + h_prev.abs()) * (1.0 + q.abs());
        let bound = 16.0 * U * (dh.abs() * steep + before.abs()) + f64::from(VANISHED) * steep + TINY;
        for (k, d) in [dz, dr, dn].into_iter().enumerate() {
            input_side.set(step.gate(at, k), d, bound);
        }
        for (k, d) in [dz, dr, dn * r].into_iter().enumerate() {
            hidden_side.set(step.gate(at, k), d, bound);
        }
        direct.push(before + through, bound);
    }
    Wanted::concat([input_side, hidden_side, direct]).compare("backward, reset after", results, probe);
}

/// Both phases, each measured from the values that it is given: the candidate's s and gates are not the first phase's.
fn before_forward(step: &Step, cut: u8, probe: Probe<'_>) {
    let (rows, units, state) = (step.rows, step.units, step.state());
    let results = on_every_set("gru before, gates", |isa| {
        let packed = step.packed(isa, 0, 2);
        same_bits_in_blocks(isa, units, cut_at(cut, units, packed.granule()), |cut| {
            let h_prev = step.framed(&step.h_prev);
            let (mut gates, mut reset_h) = (step.framed_gates(&step.x), step.unwritten());
            for block in [0..cut, cut..units] {
                reset_before::forward_gates(reset_before::ForwardGates {
                    h_prev: h_prev.mat().into(),
                    h_prev_own: h_prev.mat().cols_range(block.clone()),
                    recurrent: packed.view().cols_range(block.clone()),
                    gates: gates.mat_mut().into_groups(3).cols_range(block.clone()),
                    reset_h: reset_h.mat_mut().cols_range(block),
                });
            }
            [gates.values(), reset_h.values()].concat()
        })
    });
    let [pre, size] = with_hidden_side(&step.x, &step.h_prev, &step.u, [rows, units, 3 * units]);
    let terms = 2.0 * (units + 1) as f64 * U;
    let (mut gates, mut resets) = (Wanted::zeros(3 * state), Wanted::default());
    for at in 0..state {
        let h_prev = f64::from(step.h_prev[at]);
        let [z, r, n] = [0, 1, 2].map(|k| step.gate(at, k));
        let e = [z, r].map(|place| terms * size[place] / 4.0);
        gates.set(z, sigmoid(pre[z]), e[0] + 4.0 * U);
        gates.set(r, sigmoid(pre[r]), e[1] + 4.0 * U);
        gates.set(n, f64::from(step.x[n]), 0.0); // left alone
        resets.push(sigmoid(pre[r]) * h_prev, h_prev.abs() * (e[1] + 6.0 * U) + TINY);
    }
    Wanted::concat([gates, resets]).compare("gates forward, reset before", results, probe);

    // z and r as given; the third group is x W_n + b_n.
    let mut start = step.gates.clone();
    for at in 0..state {
        start[step.gate(at, 2)] = step.x[step.gate(at, 2)];
    }
    let results = on_every_set("gru before, candidate", |isa| {
        let packed = step.packed(isa, 2, 1);
        same_bits_in_blocks(isa, units, cut_at(cut, units, packed.granule()), |cut| {
            let [reset_h, h_prev] = [&step.reset_h, &step.h_prev].map(|x| step.framed(x));
            let (mut gates, mut h) = (step.framed_gates(&start), step.unwritten());
            for block in [0..cut, cut..units] {
                reset_before::forward_candidate(reset_before::ForwardCandidate {
                    reset_h: reset_h.mat().into(),
                    recurrent: packed.view().cols_range(block.clone()),
                    h_prev: h_prev.mat().cols_range(block.clone()),
                    gates: gates.mat_mut().into_groups(3).cols_range(block.clone()),
                    h: h.mat_mut().cols_range(block),
                });
            }
            [gates.values(), h.values()].concat()
        })
    });
    let [pre, size] = with_hidden_side(&step.x, &step.reset_h, &step.u, [rows, units, 3 * units]);
    let (mut gates, mut hs) = (Wanted::zeros(3 * state), Wanted::default());
    for at in 0..state {
        let ([z, r, _], h_prev, _) = step.given(at);
        let place = step.gate(at, 2);
        let (n, bound) = (pre[place].tanh(), terms * size[place] + 4.0 * U);
        gates.set(step.gate(at, 0), z, 0.0);
        gates.set(step.gate(at, 1), r, 0.0);
        gates.set(place, n, bound);
        hs.push(blend(z, n, h_prev), bound + 8.0 * U * (1.0 + h_prev.abs()));
    }
    Wanted::concat([gates, hs]).compare("candidate forward, reset before", results, probe);
}

/// Both phases one after the other, as in a training step.
fn before_backward(step: &Step, cut: u8, probe: Probe<'_>) {
    let units = step.units;
    let results = on_every_set("gru before, backward", |isa| {
        same_bits_in_blocks(isa, units, cut_at(cut, units, 1), |cut| {
            let [h_prev, dh, dreset_h] = [&step.h_prev, &step.dh, &step.dreset_h].map(|x| step.framed(x));
            let (mut gates, mut dh_prev) = (step.framed_gates(&step.gates), step.framed(&step.dh_prev));
            for block in [0..cut, cut..units] {
                let args = reset_before::BackwardCandidate {
                    gates: gates.mat_mut().into_groups(3).cols_range(block.clone()),
                    h_prev: h_prev.mat().cols_range(block.clone()),
                    dh: dh.mat().cols_range(block.clone()),
                    dh_prev: dh_prev.mat_mut().cols_range(block.clone()),
                };
                reset_before::backward_candidate(isa, args);
                let args = reset_before::BackwardGates {
                    gates: gates.mat_mut().into_groups(3).cols_range(block.clone()),
                    h_prev: h_prev.mat().cols_range(block.clone()),
                    dreset_h: dreset_h.mat().cols_range(block.clone()),
                    dh_prev: dh_prev.mat_mut().cols_range(block),
                };
                reset_before::backward_gates(isa, args);
            }
            [gates.values(), dh_prev.values()].concat()
        })
    });
    let (mut gates, mut direct) = (Wanted::zeros(3 * step.state()), Wanted::default());
    for at in 0..step.state() {
        let ([z, r, n], h_prev, dh) = step.given(at);
        let (ds, before) = (f64::from(step.dreset_h[at]), f64::from(step.dh_prev[at]));
        let (dz, dn, through) = blend_backward(z, n, h_prev, dh);
        let size = (dh.abs() + ds.abs()) * (1.0 + h_prev.abs());
        let vanished = f64::from(VANISHED) * (1.0 + h_prev.abs()) + TINY;
        for (k, d) in [dz, ds * h_prev * r * (1.0 - r), dn].into_iter().enumerate() {
            gates.set(step.gate(at, k), d, 16.0 * U * size + vanished);
        }
        // Two phases add to it, each with its rounding.
        direct.push(before + through + ds * r, 16.0 * U * (2.0 * size + before.abs()) + vanished);
    }
    Wanted::concat([gates, direct]).compare("backward, reset before", results, probe);
}
