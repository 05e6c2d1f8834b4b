//! A sequence through the kernels, as a layer drives them.

use super::*;
use crate::Buffer;
use crate::gemm::{self, Init, Packed};
use std::ops::Range;

/// A sequence through the kernels: T steps of N rows and H units.
pub(super) struct Sequence {
    pub(super) precision: Precision,
    pub(super) reset: Reset,
    pub(super) functions: Functions,
    pub(super) steps: usize,
    pub(super) rows: usize,
    pub(super) units: usize,
    /// x W + b (T, N, 3 H)
    pub(super) pre: Vec<f32>,
    /// U (H, 3 H)
    pub(super) recurrent: Vec<f32>,
    /// b' (3 H), where the reset gate comes after the product.
    pub(super) recurrent_bias: Option<Vec<f32>>,
    pub(super) h0: Vec<f32>,
    /// (T, N, H): the gradient of each output.
    pub(super) dy: Vec<f32>,
}

/// What the kernels made of it.
pub(super) struct Outcome {
    pub(super) gates: Vec<f32>,
    /// (T, N, H): q, or s.
    pub(super) hidden: Vec<f32>,
    /// (T + 1, N, H): the first is h0.
    pub(super) h: Vec<f32>,
    pub(super) dpre: Vec<f32>,
    /// (T, N, 3 H): the gradient of the hidden side where the reset gate comes after; (T, N, H): ds where before.
    pub(super) dhidden: Vec<f32>,
    /// (T + 1, N, H): the gradient that each step received; the first is dh0.
    pub(super) dh: Vec<f32>,
    /// (T, N, H): the element-wise part of the gradient of h before each step.
    pub(super) dh_direct: Vec<f32>,
}

impl Sequence {
    pub(super) fn new(reset: Reset, [steps, rows, units]: [usize; 3], seed: u64) -> Self {
        let state = rows * units;
        let bias = noise(3 * units, 1.0, seed + 4);
        Self {
            precision: Precision::F32,
            reset,
            functions: Functions::default(),
            steps,
            rows,
            units,
            pre: noise(steps * state * 3, 2.0, seed),
            recurrent: noise(units * units * 3, 2.0 / (units as f64).sqrt(), seed + 1),
            recurrent_bias: (reset == Reset::After && seed % 2 == 1).then_some(bias),
            h0: noise(state, 1.0, seed + 2),
            dy: noise(steps * state, 1.0, seed + 3),
        }
    }

    /// U's columns of these gates, packed or packed transposed.
    fn pack(&self, isa: Isa, gates: Range<usize>, transposed: bool) -> Packed {
        let (units, count) = (self.units, gates.len());
        let u = Mat::dense(&self.recurrent, units, 3 * units).cols_range(gates.start * units..gates.end * units);
        if transposed {
            let mut packed = Packed::new(isa, self.precision, count * units, 1, units);
            packed.pack_transposed(u);
            packed
        } else {
            let mut packed = Packed::new(isa, self.precision, units, count, units);
            packed.pack(u);
            packed
        }
    }

    /// Runs all steps forward and backward in blocks of units that end at `cuts`.
    pub(super) fn run(&self, isa: Isa, cuts: &[usize]) -> Outcome {
        let (steps, rows, units) = (self.steps, self.rows, self.units);
        let mut gates = Field::of(steps * rows, 3 * units, &self.pre);
        let mut h = Field::new((steps + 1) * rows, units);
        (0..rows).for_each(|n| h.view_mut().row_mut(n).copy_from_slice(&self.h0[n * units..][..units]));
        let width = if self.reset == Reset::After { 3 * units } else { units };
        let mut hidden = Field::new(steps * rows, width);
        for t in 0..steps {
            let (h_prev, h) = h.view_mut().rows_range(t * rows..(t + 2) * rows).split_rows_at(rows);
            let gates = gates.step(t, rows).into_groups(3);
            let hidden = hidden.step(t, rows);
            let step = StepForward { h_prev: h_prev.as_ref(), gates, hidden, h };
            match self.reset {
                Reset::After => self.forward_after(isa, cuts, step),
                Reset::Before => self.forward_before(isa, cuts, step),
            }
        }
        let state = rows * units;
        let mut outcome = Outcome {
            gates: gates.dense(),
            hidden: hidden.dense().chunks_exact(width.max(1)).flat_map(|row| &row[width - units..]).copied().collect(),
            h: h.dense(),
            dpre: Vec::new(),
            dhidden: Vec::new(),
            dh: vec![0.0; (steps + 1) * state],
            dh_direct: vec![0.0; steps * state],
        };
        let mut dh = Field::of(rows, units, &outcome.dh[..state]);
        for t in (0..steps).rev() {
            for n in 0..rows {
                let dy = &self.dy[(t * rows + n) * units..][..units];
                dh.view_mut().row_mut(n).iter_mut().zip(dy).for_each(|(dh, dy)| *dh += dy);
            }
            outcome.dh[(t + 1) * state..(t + 2) * state].copy_from_slice(&dh.dense());
            let mut dh_prev = Field::of(rows, units, &vec![0.0; state]);
            let step = StepBackward {
                gates: gates.step(t, rows),
                hidden: hidden.step(t, rows),
                h_prev: h.view().rows_range(t * rows..(t + 1) * rows),
                dh: dh.view(),
                dh_prev: dh_prev.view_mut(),
            };
            let direct = match self.reset {
                Reset::After => self.backward_after(isa, cuts, step),
                Reset::Before => self.backward_before(isa, cuts, step),
            };
            outcome.dh_direct[t * state..(t + 1) * state].copy_from_slice(&direct);
            dh = dh_prev;
        }
        outcome.dh[..state].copy_from_slice(&dh.dense());
        outcome.dpre = gates.dense();
        outcome.dhidden = hidden.dense();
        outcome
    }

    fn forward_after(&self, isa: Isa, cuts: &[usize], step: StepForward<'_>) {
        let packed = self.pack(isa, 0..3, false);
        let StepForward { h_prev, mut gates, hidden, mut h } = step;
        let mut room = Buffer::default();
        let left = Left::of(packed.view(), h_prev, &mut room);
        let mut hidden = hidden.into_groups(3);
        for u in cuts.windows(2).map(|cut| cut[0]..cut[1]) {
            let bias = |g: usize, bias: &'_ [f32]| bias[g * self.units..][u.clone()].to_vec();
            let bias = self.recurrent_bias.as_deref().map(|b| [bias(0, b), bias(1, b), bias(2, b)]);
            forward_as(
                self.functions,
                Forward {
                    h_prev: left,
                    h_prev_own: h_prev.cols_range(u.clone()),
                    recurrent: packed.view().cols_range(u.clone()),
                    recurrent_bias: bias.as_ref().map(|[z, r, n]| [&z[..], &r[..], &n[..]]),
                    gates: gates.reborrow().cols_range(u.clone()),
                    hidden: hidden.reborrow().cols_range(u.clone()),
                    h: h.reborrow().cols_range(u.clone()),
                },
            );
        }
    }

    fn forward_before(&self, isa: Isa, cuts: &[usize], step: StepForward<'_>) {
        let zr = self.pack(isa, 0..2, false);
        let new = self.pack(isa, 2..3, false);
        let StepForward { h_prev, mut gates, hidden: mut reset_h, mut h } = step;
        let [mut room, mut reset_room] = [(); 2].map(|()| Buffer::default());
        let left = Left::of(zr.view(), h_prev, &mut room);
        for u in cuts.windows(2).map(|cut| cut[0]..cut[1]) {
            reset_before::forward_gates_as(
                self.functions,
                reset_before::ForwardGates {
                    h_prev: left,
                    h_prev_own: h_prev.cols_range(u.clone()),
                    recurrent: zr.view().cols_range(u.clone()),
                    gates: gates.reborrow().cols_range(u.clone()),
                    reset_h: reset_h.reborrow().cols_range(u),
                },
            );
        }
        let left = Left::of(new.view(), reset_h.as_ref(), &mut reset_room);
        for u in cuts.windows(2).map(|cut| cut[0]..cut[1]) {
            reset_before::forward_candidate_as(
                self.functions,
                reset_before::ForwardCandidate {
                    reset_h: left,
                    recurrent: new.view().cols_range(u.clone()),
                    h_prev: h_prev.cols_range(u.clone()),
                    gates: gates.reborrow().cols_range(u.clone()),
                    h: h.reborrow().cols_range(u),
                },
            );
        }
    }

    /// Returns the element-wise part of the gradient of h before the step.
    fn backward_after(&self, isa: Isa, cuts: &[usize], step: StepBackward<'_>) -> Vec<f32> {
        let StepBackward { gates, mut hidden, h_prev, dh, mut dh_prev } = step;
        let mut gates = gates.into_groups(3);
        for u in cuts.windows(2).map(|cut| cut[0]..cut[1]) {
            let args = Backward {
                gates: gates.reborrow().cols_range(u.clone()),
                hidden: hidden.reborrow().into_groups(3).cols_range(u.clone()),
                h_prev: h_prev.cols_range(u.clone()),
                dh: dh.cols_range(u.clone()),
                dh_prev: dh_prev.reborrow().cols_range(u),
            };
            backward_as(isa, self.functions, args);
        }
        let direct = dense(dh_prev.as_ref());
        let packed = self.pack(isa, 0..3, true);
        let mut room = Buffer::default();
        let (a, b) = (Left::of(packed.view(), hidden.as_ref(), &mut room), packed.view());
        gemm::product(gemm::Product { a, b, init: Init::Keep, c: dh_prev.into() });
        direct
    }

    /// As [`Self::backward_after`]; leaves ds in place of s.
    fn backward_before(&self, isa: Isa, cuts: &[usize], step: StepBackward<'_>) -> Vec<f32> {
        let StepBackward { mut gates, hidden: mut ds, h_prev, dh, mut dh_prev } = step;
        for u in cuts.windows(2).map(|cut| cut[0]..cut[1]) {
            let args = reset_before::BackwardCandidate {
                gates: gates.reborrow().into_groups(3).cols_range(u.clone()),
                h_prev: h_prev.cols_range(u.clone()),
                dh: dh.cols_range(u.clone()),
                dh_prev: dh_prev.reborrow().cols_range(u),
            };
            reset_before::backward_candidate_as(isa, self.functions, args);
        }
        let (zr, new) = (0..2 * self.units, 2 * self.units..3 * self.units);
        let packed = self.pack(isa, 2..3, true);
        let mut room = Buffer::default();
        let (a, b) = (Left::of(packed.view(), gates.as_ref().cols_range(new), &mut room), packed.view());
        gemm::product(gemm::Product { a, b, init: Init::Zero, c: ds.reborrow().into() });
        for u in cuts.windows(2).map(|cut| cut[0]..cut[1]) {
            let args = reset_before::BackwardGates {
                gates: gates.reborrow().into_groups(3).cols_range(u.clone()),
                h_prev: h_prev.cols_range(u.clone()),
                dreset_h: ds.as_ref().cols_range(u.clone()),
                dh_prev: dh_prev.reborrow().cols_range(u),
            };
            reset_before::backward_gates_as(isa, self.functions, args);
        }
        let direct = dense(dh_prev.as_ref());
        let packed = self.pack(isa, 0..2, true);
        let (a, b) = (Left::of(packed.view(), gates.as_ref().cols_range(zr), &mut room), packed.view());
        gemm::product(gemm::Product { a, b, init: Init::Keep, c: dh_prev.into() });
        direct
    }
}

/// One step of [`Sequence::run`] forward.
struct StepForward<'a> {
    h_prev: Mat<'a>,
    gates: GroupsMut<'a>,
    hidden: MatMut<'a>,
    h: MatMut<'a>,
}

/// One step of [`Sequence::run`] backward.
struct StepBackward<'a> {
    gates: MatMut<'a>,
    hidden: MatMut<'a>,
    h_prev: Mat<'a>,
    dh: Mat<'a>,
    dh_prev: MatMut<'a>,
}

fn dense(m: Mat<'_>) -> Vec<f32> {
    (0..m.rows()).flat_map(|r| m.row(r)).copied().collect()
}
