//! The cell of one direction of a recurrent layer: its parameters, and the sizes that follow from them.

use super::state_dropout::StateDropoutParams;
use super::{Dims, Mask};
use crate::graph::Cell;
use std::ops::Range;
use unroll_kernels::cells::Functions;
use unroll_kernels::gemm::Precision;
use unroll_kernels::mat::padded;
use unroll_kernels::{Bf16, Element, lstm};

/// A recurrent cell: its kind, its sizes, its masks, and the places of its parameters in the arena.
#[derive(Clone, Debug)]
pub(crate) struct CellParams {
    pub(crate) cell: Cell,
    pub(crate) functions: Functions,
    /// GRU only: whether the reset gate applies after the recurrent product.
    pub(crate) reset_after: bool,
    pub(crate) inputs: usize,
    pub(crate) units: usize,
    pub(crate) kernel: Range<usize>,
    pub(crate) recurrent_kernel: Range<usize>,
    pub(crate) bias: Option<Range<usize>>,
    /// A second bias, on the hidden side, of a simple recurrent cell or LSTM.
    pub(crate) recurrent_bias: Option<Range<usize>>,
    /// Peephole weights (3, H) of an LSTM, if it has them.
    pub(crate) peephole: Option<Range<usize>>,
    /// Whether other layers give its first state; gradients flow back to them.
    pub(crate) starts: bool,
    /// Weight dropout of the recurrent weights, in training.
    pub(crate) drop: Option<Mask>,
    /// Recurrent dropout and zoneout.
    pub(crate) state_dropout: StateDropoutParams,
}

impl CellParams {
    pub(super) fn resets_after(&self) -> bool {
        self.cell == Cell::Gru && self.reset_after
    }
    pub(super) fn resets_before(&self) -> bool {
        self.cell == Cell::Gru && !self.reset_after
    }
    /// The form of an LSTM.
    pub(super) fn form<'a>(&self, params: &'a [f32]) -> lstm::Form<'a> {
        let units = self.units;
        let peephole = self.peephole.clone().map(|p| std::array::from_fn(|k| &params[p.clone()][k * units..][..units]));
        lstm::Form { functions: self.functions, peephole }
    }
    /// Columns of the gates: gates H.
    pub(super) fn width(&self) -> usize {
        self.cell.gates() * self.units
    }
    /// The number of states: h, and c of an LSTM.
    pub(crate) fn states(&self) -> usize {
        if self.cell == Cell::Lstm { 2 } else { 1 }
    }
    /// Columns of the hidden side, which a GRU that resets after the product keeps; else 0.
    pub(super) fn hidden_width(&self) -> usize {
        if self.resets_after() { self.width() } else { 0 }
    }
    /// Columns of r h, which a GRU that resets before the product keeps; else 0.
    pub(super) fn reset_width(&self) -> usize {
        if self.resets_before() { self.units } else { 0 }
    }
    /// The bias on the input's side, and that on the hidden side.
    pub(super) fn biases(&self) -> (Option<Range<usize>>, Option<Range<usize>>) {
        match &self.bias {
            Some(bias) if self.resets_after() => {
                let middle = bias.start + self.width();
                (Some(bias.start..middle), Some(middle..bias.end))
            }
            bias => (bias.clone(), None),
        }
    }
    /// Bytes that one direction needs at this capacity; `ragged` where it trains on rows of different lengths.
    pub(crate) fn bytes(&self, precision: Precision, capacity: Dims, ragged: bool) -> u64 {
        let tokens = capacity.tokens as u64;
        let state = capacity.with_edges() as u64;
        let row = kept(precision, self.width()) + kept(precision, self.hidden_width()) + padded(self.reset_width());
        let before = if ragged { tokens } else { 0 };
        let first = if self.starts { capacity.rows as u64 * kept(precision, self.width()) as u64 } else { 0 };
        let states = first + (state + before) * padded(self.units) as u64;
        4 * (tokens * row as u64 + states) + self.state_dropout.bytes(capacity, self.units)
    }
}

/// The elements of a row of `cols` gates, counted in f32: gates are kept in bf16 where products round to it.
pub(super) fn kept(precision: Precision, cols: usize) -> usize {
    if precision == Precision::Bf16 { Bf16::padded(cols) / Bf16::in_f32() } else { padded(cols) }
}
