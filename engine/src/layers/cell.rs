//! The cell of one direction of a recurrent layer: its parameters, and the sizes that follow from them.

use super::state_dropout::StateDropoutParams;
use super::{Dims, Mask};
use crate::graph::Cell;
use std::ops::Range;
use unroll_kernels::cells::Functions;
use unroll_kernels::gemm::Precision;
use unroll_kernels::mat::padded;
use unroll_kernels::{Bf16, Element, lstm};

/// Which cell, its size and its parameters' places in the arena.
#[derive(Clone, Debug)]
pub(crate) struct CellParams {
    pub(crate) cell: Cell,
    pub(crate) functions: Functions,
    /// Of the GRU.
    pub(crate) reset_after: bool,
    pub(crate) inputs: usize,
    pub(crate) units: usize,
    pub(crate) kernel: Range<usize>,
    pub(crate) recurrent_kernel: Range<usize>,
    pub(crate) bias: Option<Range<usize>>,
    /// A second bias of the simple recurrent cell or LSTM.
    pub(crate) recurrent_bias: Option<Range<usize>>,
    /// (3, H), of the LSTM.
    pub(crate) peephole: Option<Range<usize>>,
    /// Whether its first state comes from other layers, to which gradients go back.
    pub(crate) starts: bool,
    /// What is dropped of the recurrent weights in training.
    pub(crate) drop: Option<Mask>,
    /// What is dropped of its state, and what stays from step to step.
    pub(crate) state_dropout: StateDropoutParams,
}

impl CellParams {
    pub(super) fn resets_after(&self) -> bool {
        self.cell == Cell::Gru && self.reset_after
    }
    pub(super) fn resets_before(&self) -> bool {
        self.cell == Cell::Gru && !self.reset_after
    }
    /// Of the LSTM.
    pub(super) fn form<'a>(&self, params: &'a [f32]) -> lstm::Form<'a> {
        let units = self.units;
        let peephole = self.peephole.clone().map(|p| std::array::from_fn(|k| &params[p.clone()][k * units..][..units]));
        lstm::Form { functions: self.functions, peephole }
    }
    /// Columns of the gates' buffer.
    pub(super) fn width(&self) -> usize {
        self.cell.gates() * self.units
    }
    /// States: h, and c of an LSTM.
    pub(crate) fn states(&self) -> usize {
        if self.cell == Cell::Lstm { 2 } else { 1 }
    }
    /// Columns of what the GRU keeps of its hidden side.
    pub(super) fn hidden_width(&self) -> usize {
        if self.resets_after() { self.width() } else { 0 }
    }
    /// Columns of r h, which a GRU that resets before the product keeps.
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
    /// Bytes that one direction needs for this capacity; `ragged` where it trains on rows of different lengths.
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

/// What a row of `cols` gates takes, counted in f32: products in bf16 round them, so that they are kept so.
pub(super) fn kept(precision: Precision, cols: usize) -> usize {
    if precision == Precision::Bf16 { Bf16::padded(cols) / Bf16::in_f32() } else { padded(cols) }
}
