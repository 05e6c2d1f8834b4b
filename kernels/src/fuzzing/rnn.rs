//! One step of the simple recurrent cell, forward and backward, against the reference's cell.

use super::input::{Input, cut_at};
use super::{Probe, U, Wanted, same_bits_in_blocks, with_hidden_side};
use crate::cells::VANISHED;
use crate::check::{Framed, on_every_set};
use crate::gemm::{Packed, Precision};
use crate::rnn::{Activation, Backward, Forward, backward, forward, reference};

/// Reads a step forward and one backward, which has an h of its own, and compares both.
pub(super) fn run(data: &[u8], probe: Probe<'_>) {
    let mut input = Input::new(data);
    let activation = input.pick([Activation::Tanh, Activation::Relu]);
    let (rows, units, cut) = (input.up_to(13), input.size(140), input.byte());
    let state = rows * units;
    let scale = input.pick([2.0, 0.1, 50.0]);
    let x = input.values(state, scale);
    let u = input.values(units * units, 2.0 / (units as f64).sqrt());
    let h_prev = input.values(state, 1.0);
    let results = on_every_set("rnn forward", |isa| {
        let mut packed = Packed::new(isa, Precision::F32, units, 1, units);
        packed.pack(Framed::new(units, units, &u).mat());
        same_bits_in_blocks(isa, units, cut_at(cut, units, packed.granule()), |cut| {
            let h_prev = Framed::new(rows, units, &h_prev);
            let (mut pre, mut h) = (Framed::new(rows, units, &x), Framed::new(rows, units, &vec![f32::NAN; state]));
            for block in [0..cut, cut..units] {
                forward(Forward {
                    activation,
                    h_prev: h_prev.mat().into(),
                    recurrent: packed.view().cols_range(block.clone()),
                    pre: pre.mat_mut().into_groups(1).cols_range(block.clone()),
                    h: h.mat_mut().cols_range(block),
                });
            }
            pre.values(); // the frame around it
            h.values()
        })
    });
    let [pre, size] = with_hidden_side(&x, &h_prev, &u, [rows, units, units]);
    let mut want = Wanted::default();
    for (pre, size) in pre.into_iter().zip(size) {
        let e = 2.0 * (units + 1) as f64 * U * size;
        want.push(reference::cell(activation, pre), e + 4.0 * U);
    }
    want.compare("forward", results, probe);

    let h = input.values(state, 1.0);
    let scale = input.pick([1.0, 1e-6, 1e3]);
    let dh = input.values(state, scale);
    let results = on_every_set("rnn backward", |isa| {
        same_bits_in_blocks(isa, units, cut_at(cut, units, 1), |cut| {
            let [h, dh] = [&h, &dh].map(|x| Framed::new(rows, units, x));
            let mut dpre = Framed::new(rows, units, &vec![f32::NAN; state]);
            for block in [0..cut, cut..units] {
                let (h, dh) = (h.mat().cols_range(block.clone()), dh.mat().cols_range(block.clone()));
                backward(isa, Backward { activation, h, dh, dpre: dpre.mat_mut().cols_range(block) });
            }
            dpre.values()
        })
    });
    let mut want = Wanted::default();
    for (&h, &dh) in h.iter().zip(&dh) {
        let (h, dh) = (f64::from(h), f64::from(dh));
        want.push(reference::cell_backward(activation, h, dh), 4.0 * U * dh.abs() + f64::from(VANISHED));
    }
    want.compare("backward", results, probe);
}
