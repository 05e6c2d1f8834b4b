//! A direction with a mask or with zoneout, in f64, by their meaning: every step is computed, one after the other, and
//! where it is masked, or a unit zoned out, the state before it stays. (The network computes the steps that are there,
//! and nothing of the others.)

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

/// The part of each state before a step that stays: 1 where the step is masked, else what zoneout says.
#[derive(Clone, Debug)]
pub(super) struct Keep {
    /// (T, N, H)
    pub(super) h: Vec<f64>,
    /// (T, N, H), empty for cells without it.
    pub(super) c: Vec<f64>,
}

impl Keep {
    /// The same of a part of the rows or steps.
    pub(super) fn map(&self, of: impl Fn(&[f64]) -> Vec<f64>) -> Self {
        Self { h: of(&self.h), c: if self.c.is_empty() { Vec::new() } else { of(&self.c) } }
    }
}

/// keep old + (1 - keep) new
fn mixed(keep: &[f64], new: &[f64], old: &[f64]) -> Vec<f64> {
    keep.iter().zip(new).zip(old).map(|((keep, new), old)| keep * old + (1.0 - keep) * new).collect()
}

/// keep d, and (1 - keep) d
fn divided(keep: &[f64], d: &[f64]) -> [Vec<f64>; 2] {
    let part = |of: fn(f64) -> f64| keep.iter().zip(d).map(|(keep, d)| of(*keep) * d).collect();
    [part(|keep| keep), part(|keep| 1.0 - keep)]
}

fn add(sum: &mut [f64], x: &[f64]) {
    sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
}

impl Direction<'_> {
    /// This direction for one step from a state.
    fn one(&self, before: Carried) -> Self {
        let mut one = self.clone();
        (one.dims.steps, one.before, one.there, one.keep) = (1, before, None, None);
        one
    }

    /// All steps of `x` (T, N, D), of which `keep` says what stays.
    pub(super) fn forward_masked(&self, x: &[f64], keep: &Keep) -> Masked {
        let mut masked = Masked { steps: Vec::new(), h: Vec::new(), c: Vec::new() };
        let (mut state, size) = (self.before.clone(), self.dims.state());
        for (t, x) in x.chunks_exact(x.len() / self.dims.steps).enumerate() {
            let trace = self.one(state.clone()).forward(x);
            let at = t * size..(t + 1) * size;
            state.h = mixed(&keep.h[at.clone()], trace.h(), &state.h);
            if !state.c.is_empty() {
                state.c = mixed(&keep.c[at], trace.c(), &state.c);
            }
            masked.steps.push(trace);
            masked.h.extend_from_slice(&state.h);
            masked.c.extend_from_slice(&state.c);
        }
        masked
    }

    /// The gradient of everything that went in, from that of the states after each step (T, N, H), which counts where
    /// the step is not masked, and of the state after the last.
    pub(super) fn backward_masked(&self, x: &[f64], masked: &Masked, (dy, after): (&[f64], &Carried)) -> Gradients {
        let (dims, state) = (self.dims, self.dims.state());
        let zeros = vec![0.0; state];
        let Some(keep) = &self.keep else { return self.backward(x, &masked.steps[0], dy, after) };
        let mut d = after.clone();
        let mut sum: Option<Gradients> = None;
        let width = x.len() / dims.steps;
        for t in (0..dims.steps).rev() {
            let at = t * state..(t + 1) * state;
            let before = if t == 0 {
                self.before.clone()
            } else {
                let at = |x: &[f64]| if x.is_empty() { Vec::new() } else { x[(t - 1) * state..t * state].to_vec() };
                Carried { h: at(&masked.h), c: at(&masked.c) }
            };
            for (u, dh) in d.h.iter_mut().enumerate() {
                // A row that is masked here has no output.
                let there = self.there.as_ref().is_none_or(|there| there[t * dims.rows + u / dims.units]);
                *dh += if there { dy[at.start + u] } else { 0.0 };
            }
            let [past_h, through_h] = divided(&keep.h[at.clone()], &d.h);
            let [past_c, through_c] =
                if d.c.is_empty() { [const { Vec::new() }; 2] } else { divided(&keep.c[at], &d.c) };
            let after = Carried { h: through_h, c: through_c };
            let step = self.one(before);
            let gradients = step.backward(&x[t * width..(t + 1) * width], &masked.steps[t], &zeros, &after);
            d = Carried { h: gradients.dh0.clone(), c: gradients.dc0.clone() };
            add(&mut d.h, &past_h);
            add(&mut d.c, &past_c);
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
        self.fill(&mut y, self.there.as_deref(), output);
        y
    }

    /// The gradient of the states after each step, from that of the outputs of all steps.
    pub(super) fn outputs_backward(&self, mut dy: Vec<f64>, output: Output) -> Vec<f64> {
        self.fill_backward(&mut dy, self.there.as_deref(), output);
        dy
    }

    /// The outputs of a layer that gives them in the order of reading, from the last step on: those of the steps of a
    /// row that are there take the places of these steps, the one that was read first the first.
    pub(super) fn turned_outputs(&self, trace: &Trace, output: Output) -> Vec<f64> {
        let (units, h) = (self.dims.units, trace.h());
        let mut y = vec![0.0; h.len()];
        for (to, from) in self.turned_places() {
            y[to * units..][..units].copy_from_slice(&h[from * units..][..units]);
        }
        self.fill(&mut y, self.there_in_time().as_deref(), output);
        y
    }

    /// The gradient of the states after each step, in the order of reading, from that of [`Self::turned_outputs`].
    pub(super) fn turned_outputs_backward(&self, mut dy: Vec<f64>, output: Output) -> Vec<f64> {
        self.fill_backward(&mut dy, self.there_in_time().as_deref(), output);
        let (units, mut dh) = (self.dims.units, vec![0.0; dy.len()]);
        for (from, to) in self.turned_places() {
            dh[to * units..][..units].copy_from_slice(&dy[from * units..][..units]);
        }
        dh
    }

    /// Which steps are there, in the order of time.
    fn there_in_time(&self) -> Option<Vec<bool>> {
        self.there.as_ref().map(|there| there.chunks_exact(self.dims.rows).rev().flatten().copied().collect())
    }

    /// The places t N + n, in the order of time, of steps that are there, and those, in the order of reading, of the
    /// outputs that they are given.
    fn turned_places(&self) -> Vec<(usize, usize)> {
        let (steps, rows) = (self.dims.steps, self.dims.rows);
        let read = move |at: &usize| self.there.as_ref().is_none_or(|there| there[*at]);
        let of_row = |n: usize| {
            let times = (0..steps).filter(move |t| read(&((steps - 1 - t) * rows + n))).map(move |t| t * rows + n);
            times.zip((0..steps).map(move |k| k * rows + n).filter(move |at| read(at)))
        };
        (0..rows).flat_map(of_row).collect()
    }

    /// Sets what is given at the steps that are not there.
    fn fill(&self, y: &mut [f64], there: Option<&[bool]>, output: Output) {
        let (units, rows) = (self.dims.units, self.dims.rows);
        for i in missing(there) {
            let at = i * units..(i + 1) * units;
            match (output, i.checked_sub(rows)) {
                (Output::Repeated, Some(before)) => y.copy_within(before * units..(before + 1) * units, at.start),
                _ => y[at].fill(0.0),
            }
        }
    }

    /// The gradient of what was there before [`Self::fill`], in the place of that after it.
    fn fill_backward(&self, dy: &mut [f64], there: Option<&[bool]>, output: Output) {
        let (units, rows) = (self.dims.units, self.dims.rows);
        for i in missing(there).rev() {
            for u in i * units..(i + 1) * units {
                let d = std::mem::take(&mut dy[u]);
                if let (Output::Repeated, Some(before)) = (output, u.checked_sub(rows * units)) {
                    dy[before] += d;
                }
            }
        }
    }
}

/// The places that are not there.
fn missing(there: Option<&[bool]>) -> impl DoubleEndedIterator<Item = usize> {
    there.unwrap_or_default().iter().enumerate().filter(|(_, there)| !**there).map(|(i, _)| i)
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
    sums.into_iter().for_each(|(sum, more)| add(sum, &more));
    first
}
