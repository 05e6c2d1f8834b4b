//! One step of the LSTM, forward and backward, against the reference's cell.

use super::input::{Input, cut_at};
use super::{Probe, TINY, U, Wanted, same_bits_in_blocks, with_hidden_side};
use crate::cells::VANISHED;
use crate::check::{Framed, on_every_set};
use crate::gemm::{Packed, Precision};
use crate::lstm::{Backward, Forward, backward, forward, reference};

/// Reads a step forward and one backward, which has gates and gradients of its own, and compares both.
pub(super) fn run(data: &[u8], probe: Probe<'_>) {
    let mut input = Input::new(data);
    let (rows, units, cut) = (input.up_to(13), input.size(70), input.byte());
    step_forward(&mut input, [rows, units], cut, probe);
    step_backward(&mut input, [rows, units], cut, probe);
}

fn step_forward(input: &mut Input<'_>, [rows, units]: [usize; 2], cut: u8, probe: Probe<'_>) {
    let (state, width) = (rows * units, 4 * units);
    let scale = input.pick([3.0, 0.1, 50.0]);
    let x = input.values(state * 4, scale);
    let u = input.values(units * width, 2.0 / (units as f64).sqrt());
    let h_prev = input.values(state, 1.0);
    let scale = input.pick([2.0, 0.1, 100.0]);
    let c_prev = input.values(state, scale);
    let results = on_every_set("lstm forward", |isa| {
        let mut packed = Packed::new(isa, Precision::F32, units, 4, units);
        packed.pack(Framed::new(units, width, &u).mat());
        same_bits_in_blocks(isa, units, cut_at(cut, units, packed.granule()), |cut| {
            let (h_prev, c_prev) = (Framed::new(rows, units, &h_prev), Framed::new(rows, units, &c_prev));
            let mut gates = Framed::new(rows, width, &x);
            let [mut c, mut h] = [(); 2].map(|()| Framed::new(rows, units, &vec![f32::NAN; state]));
            for block in [0..cut, cut..units] {
                forward(Forward {
                    h_prev: h_prev.mat().into(),
                    recurrent: packed.view().cols_range(block.clone()),
                    c_prev: c_prev.mat().cols_range(block.clone()),
                    gates: gates.mat_mut().into_groups(4).cols_range(block.clone()),
                    c: c.mat_mut().cols_range(block.clone()),
                    h: h.mat_mut().cols_range(block),
                });
            }
            [gates.values(), c.values(), h.values()].concat()
        })
    });
    let [pre, size] = with_hidden_side(&x, &h_prev, &u, [rows, units, width]);
    let (mut gates, mut cs, mut hs) = (Wanted::zeros(rows * width), Wanted::default(), Wanted::default());
    for at in 0..state {
        let places: [usize; 4] = std::array::from_fn(|k| at / units * width + k * units + at % units);
        let e = places.iter().map(|&p| 2.0 * (units + 1) as f64 * U * size[p]).fold(0.0, f64::max);
        let before = f64::from(c_prev[at]);
        let (activated, c, h) = reference::cell(places.map(|p| pre[p]), before);
        for (place, gate) in places.into_iter().zip(activated) {
            gates.set(place, gate, e + 4.0 * U);
        }
        let c_bound = (1.0 + before.abs()) * (1.25 * e + 12.0 * U);
        cs.push(c, c_bound);
        hs.push(h, c_bound + e / 4.0 + 12.0 * U);
    }
    Wanted::concat([gates, cs, hs]).compare("forward", results, probe);
}

fn step_backward(input: &mut Input<'_>, [rows, units]: [usize; 2], cut: u8, probe: Probe<'_>) {
    let (state, width) = (rows * units, 4 * units);
    let mut gates = input.values(state * 4, 1.0);
    // i, f and o are between 0 and 1.
    for (at, gate) in gates.iter_mut().enumerate() {
        if at % width / units != 2 {
            *gate = gate.abs();
        }
    }
    let scale = input.pick([2.0, 0.1, 100.0]);
    let [c, c_prev] = [(); 2].map(|()| input.values(state, scale));
    let scale = input.pick([1.0, 1e-6, 1e3]);
    let [dh, dc] = [(); 2].map(|()| input.values(state, scale));
    let results = on_every_set("lstm backward", |isa| {
        same_bits_in_blocks(isa, units, cut_at(cut, units, 1), |cut| {
            let [c, c_prev, dh] = [&c, &c_prev, &dh].map(|x| Framed::new(rows, units, x));
            let (mut gates, mut dc) = (Framed::new(rows, width, &gates), Framed::new(rows, units, &dc));
            for block in [0..cut, cut..units] {
                let args = Backward {
                    gates: gates.mat_mut().into_groups(4).cols_range(block.clone()),
                    c: c.mat().cols_range(block.clone()),
                    c_prev: c_prev.mat().cols_range(block.clone()),
                    dh: dh.mat().cols_range(block.clone()),
                    dc: dc.mat_mut().cols_range(block),
                };
                backward(isa, args);
            }
            [gates.values(), dc.values()].concat()
        })
    });
    let (mut dgates, mut dcs) = (Wanted::zeros(rows * width), Wanted::default());
    for at in 0..state {
        let places: [usize; 4] = std::array::from_fn(|k| at / units * width + k * units + at % units);
        let activated = places.map(|p| f64::from(gates[p]));
        let [c, c_prev, dh, dc] = [&c, &c_prev, &dh, &dc].map(|x| f64::from(x[at]));
        let (d, dc_prev) = reference::cell_backward(activated, c, c_prev, dh, dc);
        let vanished = 2.0 * f64::from(VANISHED);
        let bound = (32.0 * U * (dc.abs() + dh.abs()) + vanished) * (1.0 + c_prev.abs()) + TINY;
        for (place, d) in places.into_iter().zip(d) {
            dgates.set(place, d, bound);
        }
        dcs.push(dc_prev, bound);
    }
    Wanted::concat([dgates, dcs]).compare("backward", results, probe);
}
