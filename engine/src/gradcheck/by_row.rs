//! A direction with recurrent dropout, in f64: every row of the batch by itself, with recurrent weights of its own.
//!
//! A row whose h is multiplied by m in recurrent products is one whose recurrent weights U are diag(m) U, in every
//! cell: h has no other product. (The network multiplies h, and has one U.)

use super::recurrent::{Carried, Direction, Trace};
use unroll_kernels::cells::reference::Gradients;

/// The trace of each row, and the states after each step.
#[derive(Clone, Debug)]
pub(super) struct ByRow {
    pub(super) rows: Vec<Trace>,
    /// (T, N, H)
    pub(super) h: Vec<f64>,
    /// (T, N, H), empty for cells without it.
    pub(super) c: Vec<f64>,
}

/// Row `n` of each step of a sequence (T, N, width).
fn row(x: &[f64], (n, rows): (usize, usize), steps: usize) -> Vec<f64> {
    let width = x.len() / (steps * rows);
    (0..steps).flat_map(|t| &x[(t * rows + n) * width..][..width]).copied().collect()
}

/// The sequence (T, N, width) whose rows are these.
fn joined(of: &[Vec<f64>], steps: usize) -> Vec<f64> {
    let width = of[0].len() / steps;
    (0..steps).flat_map(|t| of.iter().flat_map(move |x| &x[t * width..(t + 1) * width])).copied().collect()
}

/// weights (H, columns), each row times its unit's factor.
fn scaled(weights: &[f64], by: &[f64]) -> Vec<f64> {
    let columns = weights.len() / by.len();
    weights.chunks_exact(columns).zip(by).flat_map(|(row, by)| row.iter().map(move |w| w * by)).collect()
}

impl Direction<'_> {
    /// Row `n` alone, with what is multiplied into its recurrent weights.
    fn alone(&self, n: usize, drop: &[f64]) -> Self {
        let (mut alone, rows, units) = (self.clone(), self.dims.rows, self.dims.units);
        let state = |x: &[f64]| if x.is_empty() { Vec::new() } else { x[n * units..(n + 1) * units].to_vec() };
        alone.dims.rows = 1;
        alone.before = Carried { h: state(&self.before.h), c: state(&self.before.c) };
        alone.there = self.there.as_ref().map(|there| there.iter().skip(n).step_by(rows).copied().collect());
        alone.keep = self.keep.as_ref().map(|keep| keep.map(|x| row(x, (n, rows), self.dims.steps)));
        alone.recurrent_kernel = scaled(&self.recurrent_kernel, &drop[n * units..(n + 1) * units]);
        alone.drop = None;
        alone
    }

    /// All steps of `x` (T, N, D).
    pub(super) fn forward_by_row(&self, x: &[f64], drop: &[f64]) -> ByRow {
        let (rows, steps) = (self.dims.rows, self.dims.steps);
        let traces: Vec<Trace> = (0..rows).map(|n| self.alone(n, drop).forward(&row(x, (n, rows), steps))).collect();
        let all = |of: fn(&Trace) -> &[f64]| {
            joined(&traces.iter().map(|trace| of(trace).to_vec()).collect::<Vec<_>>(), steps)
        };
        let (h, c) = (all(Trace::h), all(Trace::c));
        ByRow { rows: traces, h, c }
    }

    /// The gradients, from those of the outputs (T, N, H) and of the state after the last step.
    pub(super) fn backward_by_row(&self, x: &[f64], traces: &ByRow, dy: &[f64], after: &Carried) -> Gradients {
        let (rows, steps, units) = (self.dims.rows, self.dims.steps, self.dims.units);
        let drop = self.drop.as_deref().unwrap_or(&[]);
        let state = |x: &[f64], n: usize| {
            if x.is_empty() { Vec::new() } else { x[n * units..(n + 1) * units].to_vec() }
        };
        let mut each: Vec<Gradients> = Vec::new();
        for (n, trace) in traces.rows.iter().enumerate() {
            let after = Carried { h: state(&after.h, n), c: state(&after.c, n) };
            let alone = self.alone(n, drop);
            let mut d = alone.backward(&row(x, (n, rows), steps), trace, &row(dy, (n, rows), steps), &after);
            d.drecurrent_kernel = scaled(&d.drecurrent_kernel, &drop[n * units..(n + 1) * units]);
            each.push(d);
        }
        let sequence =
            |of: fn(&Gradients) -> &Vec<f64>| joined(&each.iter().map(|d| of(d).clone()).collect::<Vec<_>>(), steps);
        let sum = |of: fn(&Gradients) -> &Vec<f64>| {
            let mut sum = vec![0.0; of(&each[0]).len()];
            each.iter().for_each(|d| sum.iter_mut().zip(of(d)).for_each(|(sum, d)| *sum += d));
            sum
        };
        let states = |of: fn(&Gradients) -> &Vec<f64>| each.iter().flat_map(of).copied().collect();
        Gradients {
            dx: sequence(|d| &d.dx),
            dpre: sequence(|d| &d.dpre),
            dkernel: sum(|d| &d.dkernel),
            drecurrent_kernel: sum(|d| &d.drecurrent_kernel),
            dbias: sum(|d| &d.dbias),
            dpeephole: sum(|d| &d.dpeephole),
            dh0: states(|d| &d.dh0),
            dc0: states(|d| &d.dc0),
        }
    }
}
