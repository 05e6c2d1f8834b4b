//! One direction of a recurrent layer in f64, from the references of its cell.

use super::by_row::ByRow;
use super::masked::{Keep, Masked};
use crate::graph::Cell;
use std::borrow::Cow;
use unroll_kernels::activation::{self, Activation};
use unroll_kernels::cells::Functions;
use unroll_kernels::cells::reference::{Dims, Gradients, OutputGradients, Parameters};
use unroll_kernels::{gru, lstm, rnn};

/// The state before a first step, each (N, H); c is empty for cells without it.
#[derive(Clone, Debug, Default)]
pub(super) struct Carried {
    pub(super) h: Vec<f64>,
    pub(super) c: Vec<f64>,
}

/// One direction. Its sequences stand in the order of reading: the last step comes first where it reads backwards.
#[derive(Clone)]
pub(super) struct Direction<'a> {
    pub(super) cell: Cell,
    pub(super) functions: Functions,
    /// Of the GRU.
    pub(super) reset: gru::reference::Reset,
    pub(super) reverse: bool,
    pub(super) dims: Dims,
    pub(super) kernel: &'a [f64],
    /// Without what is dropped of it.
    pub(super) recurrent_kernel: Vec<f64>,
    pub(super) bias: Option<Vec<f64>>,
    /// (3, H), of the LSTM.
    pub(super) peephole: Option<&'a [f64]>,
    pub(super) before: Carried,
    /// (T, N), in the order of reading: `false` where a step is masked.
    pub(super) there: Option<Vec<bool>>,
    /// What stays of the state before each step, in the order of reading, where steps are masked or zoned out.
    pub(super) keep: Option<Keep>,
    /// (N, H): what h is multiplied by in recurrent products.
    pub(super) drop: Option<Vec<f64>>,
}

/// What a forward pass leaves for the backward pass.
#[derive(Clone, Debug)]
pub(super) enum Trace {
    Rnn(Vec<f64>),
    Lstm(lstm::reference::Trace),
    Gru(gru::reference::Trace),
    Masked(Box<Masked>),
    ByRow(Box<ByRow>),
}

impl Trace {
    /// (T, N, H): h after every step.
    pub(super) fn h(&self) -> &[f64] {
        match self {
            Self::Rnn(h) => h,
            Self::Lstm(trace) => &trace.h,
            Self::Gru(trace) => &trace.h,
            Self::Masked(trace) => &trace.h,
            Self::ByRow(trace) => &trace.h,
        }
    }

    /// The largest magnitude of a gate, of c and of h.
    pub(super) fn largest(&self) -> f64 {
        let gates: &[f64] = match self {
            Self::Rnn(_) => &[],
            Self::Lstm(trace) => &trace.gates,
            Self::Gru(trace) => &trace.gates,
            Self::Masked(trace) => return trace.steps.iter().map(Self::largest).fold(0.0, f64::max),
            Self::ByRow(trace) => return trace.rows.iter().map(Self::largest).fold(0.0, f64::max),
        };
        gates.iter().chain(self.c()).chain(self.h()).fold(0.0, |max, x| max.max(x.abs()))
    }

    /// (T, N, H): c after every step; empty for cells without it.
    pub(super) fn c(&self) -> &[f64] {
        match self {
            Self::Lstm(trace) => &trace.c,
            Self::Rnn(_) | Self::Gru(_) => &[],
            Self::Masked(trace) => &trace.c,
            Self::ByRow(trace) => &trace.c,
        }
    }
}

impl Direction<'_> {
    /// As the references take them.
    pub(super) fn parameters(&self) -> Parameters<'_> {
        Parameters { kernel: self.kernel, recurrent_kernel: &self.recurrent_kernel, bias: self.bias.as_deref() }
    }

    fn form(&self) -> lstm::reference::Form<'_> {
        lstm::reference::Form { functions: self.functions, peephole: self.peephole }
    }

    /// A hash of the side of each kink on which every value of a forward pass lies; 0 for cells without kinks.
    pub(super) fn pattern(&self, trace: &Trace) -> u64 {
        let Functions { activation, recurrent } = self.functions;
        let units = self.dims.units;
        // Of gate k of a row; the last of a GRU and the third of an LSTM are no gates, but what is remembered.
        let gates = |gates: &[f64], own: usize, count: usize| {
            let chunks = gates.chunks_exact(units).enumerate();
            chunks.fold(0, |hash: u64, (at, y)| {
                let function = if at % count == own { activation } else { recurrent };
                hash.rotate_left(1) ^ pattern(function, y.iter().copied())
            })
        };
        match trace {
            Trace::Masked(trace) => {
                trace.steps.iter().fold(0, |hash: u64, step| hash.rotate_left(1) ^ self.pattern(step))
            }
            Trace::ByRow(trace) => trace.rows.iter().fold(0, |hash: u64, row| hash.rotate_left(1) ^ self.pattern(row)),
            Trace::Rnn(h) => pattern(activation, h.iter().copied()),
            Trace::Gru(trace) => gates(&trace.gates, 2, 3),
            Trace::Lstm(trace) => {
                let c = trace.c.iter().map(|&c| activation::reference::forward(activation, c));
                gates(&trace.gates, 2, 4).rotate_left(1) ^ pattern(activation, c)
            }
        }
    }

    /// All steps of `x` (T, N, D).
    pub(super) fn forward(&self, x: &[f64]) -> Trace {
        if let Some(drop) = &self.drop {
            return Trace::ByRow(Box::new(self.forward_by_row(x, drop)));
        }
        if let Some(keep) = &self.keep {
            return Trace::Masked(Box::new(self.forward_masked(x, keep)));
        }
        let (dims, p, Carried { h, c }) = (self.dims, &self.parameters(), &self.before);
        let form = gru::reference::Form { reset: self.reset, functions: self.functions };
        match self.cell {
            Cell::SimpleRnn => {
                let inputs = rnn::reference::Inputs { x, h0: h };
                Trace::Rnn(rnn::reference::forward(dims, self.functions.activation, p, &inputs))
            }
            Cell::Lstm => {
                let inputs = lstm::reference::Inputs { x, h0: h, c0: c };
                Trace::Lstm(lstm::reference::forward_as((dims, self.form()), p, &inputs))
            }
            Cell::Gru => {
                let inputs = gru::reference::Inputs { x, h0: h };
                Trace::Gru(gru::reference::forward(dims, form, p, &inputs))
            }
        }
    }

    /// The gradient of everything that went in, from that of the outputs (T, N, H) and of the state after the last
    /// step.
    pub(super) fn backward(&self, x: &[f64], trace: &Trace, dy: &[f64], after: &Carried) -> Gradients {
        let (dims, p, Carried { h, c }) = (self.dims, &self.parameters(), &self.before);
        let form = gru::reference::Form { reset: self.reset, functions: self.functions };
        let outputs = OutputGradients { dy, dh_last: &after.h, dc_last: &after.c };
        match trace {
            Trace::ByRow(rows) => self.backward_by_row(x, rows, dy, after),
            Trace::Masked(masked) => self.backward_masked(x, masked, (dy, after)),
            Trace::Rnn(y) => {
                let inputs = rnn::reference::Inputs { x, h0: h };
                rnn::reference::backward(dims, self.functions.activation, p, &inputs, y, &outputs)
            }
            Trace::Lstm(trace) => {
                let inputs = lstm::reference::Inputs { x, h0: h, c0: c };
                lstm::reference::backward_as((dims, self.form()), p, &inputs, trace, &outputs)
            }
            Trace::Gru(trace) => {
                let inputs = gru::reference::Inputs { x, h0: h };
                gru::reference::backward(dims, form, p, &inputs, trace, &outputs)
            }
        }
    }

    /// h before every step as recurrent products take it, (T, N, H).
    pub(super) fn h_before(&self, trace: &Trace) -> Vec<f64> {
        let h = trace.h();
        let mut before = [&self.before.h[..], &h[..h.len() - self.before.h.len()]].concat();
        if let Some(drop) = &self.drop {
            before.iter_mut().zip(drop.iter().cycle()).for_each(|(h, drop)| *h *= drop);
        }
        before
    }

    /// A sequence (T, N, width) in the order of reading, or from there back.
    pub(super) fn in_order<'x>(&self, x: &'x [f64]) -> Cow<'x, [f64]> {
        if !self.reverse {
            return Cow::Borrowed(x);
        }
        let step = x.len() / self.dims.steps;
        Cow::Owned(x.chunks_exact(step).rev().flatten().copied().collect())
    }

    /// The final h and c.
    pub(super) fn after(&self, trace: &Trace) -> Carried {
        let last = |x: &[f64]| x[x.len().saturating_sub(self.dims.state())..].to_vec();
        Carried { h: last(trace.h()), c: last(trace.c()) }
    }
}

/// A hash (FNV-1a) of the side of the function's kinks on which each of its values lies; 0 without kinks.
pub(super) fn pattern(function: Activation, y: impl Iterator<Item = f64>) -> u64 {
    if !function.has_kink() {
        return 0;
    }
    let side = |y: f64| u64::from(y > 0.0) + u64::from(function != Activation::Relu && y >= 1.0);
    y.fold(0xcbf2_9ce4_8422_2325, |hash: u64, y| (hash ^ side(y)).wrapping_mul(0x0100_0000_01b3))
}
