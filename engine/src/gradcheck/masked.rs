//! A direction with a mask, in f64, by the meaning of masks: every step is computed, one after the other, and where it is
//! masked the state before it stays. (The network computes the steps that are there, and nothing of the others.)

use super::recurrent::{Carried, Direction, Trace};
use unroll_kernels::cells::reference::Gradients;

/// The trace of each step, and the states after it.
#[derive(Clone, Debug)]
pub(super) struct Masked {
    pub(super) steps: Vec<Trace>,
    /// (T, N, H)
    pub(super) h: Vec<f64>,
    /// (T, N, H), empty for cells without it.
    pub(super) c: Vec<f64>,
}

/// What a masked step gives out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// What the step before it gave; zero at first.
    Repeated,
    Zero,
}

/// Rows of `new` where they are there, else of `old`.
fn choose(there: &[bool], new: &[f64], old: &[f64]) -> Vec<f64> {
    let width = new.len() / there.len();
    let row = |n: usize| n * width..(n + 1) * width;
    (0..there.len()).flat_map(|n| if there[n] { &new[row(n)] } else { &old[row(n)] }).copied().collect()
}

impl Direction<'_> {
    /// This direction for one step from a state.
    fn one(&self, before: Carried) -> Self {
        let mut one = self.clone();
        (one.dims.steps, one.before, one.there) = (1, before, None);
        one
    }

    /// All steps of `x` (T, N, D), of which `there` (T, N) says whether it is masked.
    pub(super) fn forward_masked(&self, x: &[f64], there: &[bool]) -> Masked {
        let mut masked = Masked { steps: Vec::new(), h: Vec::new(), c: Vec::new() };
        let mut state = self.before.clone();
        for (x, there) in x.chunks_exact(x.len() / self.dims.steps).zip(there.chunks_exact(self.dims.rows)) {
            let trace = self.one(state.clone()).forward(x);
            state.h = choose(there, trace.h(), &state.h);
            if !state.c.is_empty() {
                state.c = choose(there, trace.c(), &state.c);
            }
            masked.steps.push(trace);
            masked.h.extend_from_slice(&state.h);
            masked.c.extend_from_slice(&state.c);
        }
        masked
    }

    /// The gradient of everything that went in, from that of the states after each step (T, N, H), which counts where the
    /// step is not masked, and of the state after the last.
    pub(super) fn backward_masked(
        &self,
        x: &[f64],
        there: &[bool],
        masked: &Masked,
        (dy, after): (&[f64], &Carried),
    ) -> Gradients {
        let (dims, state) = (self.dims, self.dims.state());
        let zeros = vec![0.0; state];
        let mut d = after.clone();
        let mut sum: Option<Gradients> = None;
        let width = x.len() / dims.steps;
        for t in (0..dims.steps).rev() {
            let there = &there[t * dims.rows..(t + 1) * dims.rows];
            let before = if t == 0 {
                self.before.clone()
            } else {
                let at = |x: &[f64]| if x.is_empty() { Vec::new() } else { x[(t - 1) * state..t * state].to_vec() };
                Carried { h: at(&masked.h), c: at(&masked.c) }
            };
            // A row that is masked here has no part in the step.
            let dy = choose(there, &dy[t * state..(t + 1) * state], &zeros);
            let own = |d: &[f64]| if d.is_empty() { Vec::new() } else { choose(there, d, &zeros) };
            let after = Carried { h: own(&d.h), c: own(&d.c) };
            let step = self.one(before);
            let gradients = step.backward(&x[t * width..(t + 1) * width], &masked.steps[t], &dy, &after);
            d.h = choose(there, &gradients.dh0, &d.h);
            if !d.c.is_empty() {
                d.c = choose(there, &gradients.dc0, &d.c);
            }
            sum = Some(match sum {
                None => gradients,
                Some(later) => joined(gradients, later),
            });
        }
        let sum = sum.unwrap_or_else(|| self.backward(x, &masked.steps[0], dy, &d));
        Gradients { dh0: d.h, dc0: d.c, ..sum }
    }

    /// The outputs of all steps, from the states after them.
    pub(super) fn outputs(&self, trace: &Trace, output: Output) -> Vec<f64> {
        let mut y = trace.h().to_vec();
        let Some(there) = &self.there else { return y };
        let (units, rows) = (self.dims.units, self.dims.rows);
        for (i, _) in there.iter().enumerate().filter(|(_, there)| !**there) {
            let at = i * units..(i + 1) * units;
            match (output, i.checked_sub(rows)) {
                (Output::Repeated, Some(before)) => y.copy_within(before * units..(before + 1) * units, at.start),
                _ => y[at].fill(0.0),
            }
        }
        y
    }

    /// The gradient of the states after each step, from that of the outputs of all steps.
    pub(super) fn outputs_backward(&self, mut dy: Vec<f64>, output: Output) -> Vec<f64> {
        let Some(there) = &self.there else { return dy };
        let (units, rows) = (self.dims.units, self.dims.rows);
        for (i, _) in there.iter().enumerate().rev().filter(|(_, there)| !**there) {
            for u in i * units..(i + 1) * units {
                let d = std::mem::take(&mut dy[u]);
                if let (Output::Repeated, Some(before)) = (output, u.checked_sub(rows * units)) {
                    dy[before] += d;
                }
            }
        }
        dy
    }
}

/// The gradients of steps that follow one another.
fn joined(mut first: Gradients, later: Gradients) -> Gradients {
    first.dx.extend(later.dx);
    first.dpre.extend(later.dpre);
    let sums = [
        (&mut first.dkernel, later.dkernel),
        (&mut first.drecurrent_kernel, later.drecurrent_kernel),
        (&mut first.dbias, later.dbias),
        (&mut first.dpeephole, later.dpeephole),
    ];
    for (sum, more) in sums {
        sum.iter_mut().zip(more).for_each(|(sum, x)| *sum += x);
    }
    first
}
