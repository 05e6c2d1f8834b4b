//! One direction of a recurrent layer: projection, time loop, and the gradients of both.

use super::projection::{Origin, Projection, Value};
use super::{Cx, Dims};
use crate::exec::{self, GruBackward, GruBeforeForward, GruForward, LstmBackward, Products, Right, RnnBackward, Sweep};
use crate::graph::Cell;
use crate::network::Gradient;
use std::ops::Range;
use unroll_kernels::gemm::Packed;
use unroll_kernels::mat::padded;
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::rnn::Activation;
use unroll_kernels::{Buffer, Isa, Mat, MatMut};

/// Which cell, its size and its parameters' places in the arena.
#[derive(Clone, Debug)]
pub(crate) struct CellParams {
    pub(crate) cell: Cell,
    /// Of the simple recurrent cell.
    pub(crate) activation: Activation,
    /// Of the GRU.
    pub(crate) reset_after: bool,
    pub(crate) inputs: usize,
    pub(crate) units: usize,
    pub(crate) kernel: Range<usize>,
    pub(crate) recurrent_kernel: Range<usize>,
    pub(crate) bias: Option<Range<usize>>,
    /// A second bias of the simple recurrent cell or LSTM.
    pub(crate) recurrent_bias: Option<Range<usize>>,
}

impl CellParams {
    fn resets_after(&self) -> bool {
        self.cell == Cell::Gru && self.reset_after
    }
    fn resets_before(&self) -> bool {
        self.cell == Cell::Gru && !self.reset_after
    }
    /// Columns of the gates' buffer.
    fn width(&self) -> usize {
        self.cell.gates() * self.units
    }
    /// Columns of what the GRU keeps of its hidden side.
    fn hidden_width(&self) -> usize {
        match self.cell {
            Cell::Gru if self.reset_after => 3 * self.units,
            Cell::Gru => self.units,
            _ => 0,
        }
    }
    /// The bias on the input's side, and that on the hidden side.
    fn biases(&self) -> (Option<Range<usize>>, Option<Range<usize>>) {
        match &self.bias {
            Some(bias) if self.resets_after() => {
                let middle = bias.start + self.width();
                (Some(bias.start..middle), Some(middle..bias.end))
            }
            bias => (bias.clone(), None),
        }
    }
    /// Bytes that one direction needs for this capacity.
    pub(crate) fn bytes(&self, capacity: Dims) -> u64 {
        let tokens = capacity.tokens() as u64;
        let state = (capacity.steps as u64 + 2) * capacity.rows as u64;
        let gates = tokens * padded(self.width()) as u64 + tokens * padded(self.hidden_width()) as u64;
        4 * (gates + state * padded(self.units) as u64)
    }
}

/// The recurrent weights of a cell as products read them, packed once when the parameters have changed.
pub(crate) struct CellPack {
    forward: Packed,
    backward: Packed,
    /// Of a GRU that resets before the product: U_n, forward and transposed.
    candidate: Option<(Packed, Packed)>,
}

impl CellPack {
    pub(crate) fn new(isa: Isa, cell: &CellParams) -> Self {
        let (h, gates) = (cell.units, cell.cell.gates());
        let first = if cell.resets_before() { 2 } else { gates };
        let candidate = cell.resets_before().then(|| (Packed::new(isa, h, 1, h), Packed::new(isa, h, 1, h)));
        Self { forward: Packed::new(isa, h, first, h), backward: Packed::new(isa, first * h, 1, h), candidate }
    }

    /// Packs the weights; those of the backward pass only where there will be one.
    pub(crate) fn pack(&mut self, products: Products<'_>, cell: &CellParams, params: &[f32], backward: bool) {
        let (h, width) = (cell.units, cell.width());
        let weights = Mat::dense(&params[cell.recurrent_kernel.clone()], h, width);
        let first = self.forward.view().groups() * h;
        products.pack(&mut self.forward, Right::Plain(weights.cols_range(0..first)));
        if backward {
            products.pack(&mut self.backward, Right::Transposed(weights.cols_range(0..first)));
        }
        if let Some((forward, transposed)) = &mut self.candidate {
            products.pack(forward, Right::Plain(weights.cols_range(first..width)));
            if backward {
                products.pack(transposed, Right::Transposed(weights.cols_range(first..width)));
            }
        }
    }
}

/// One direction.
pub(crate) struct Direction {
    pub(crate) cell: CellParams,
    projection: Projection,
    reverse: bool,
    gates: Buffer,
    hidden: Buffer,
    c: Buffer,
    /// (N, H): dc of an LSTM; ds of a GRU that resets before the product.
    carry: Buffer,
}

impl Direction {
    pub(crate) fn new(cell: CellParams, origin: Origin, reverse: bool, capacity: Dims, backward: bool) -> Self {
        let biases = [cell.biases().0, cell.recurrent_bias.clone()];
        let projection = Projection::new(origin, cell.kernel.clone(), biases, cell.inputs);
        let (tokens, state) = (capacity.tokens(), padded(cell.units));
        let c = if cell.cell == Cell::Lstm { (capacity.steps + 2) * capacity.rows * state } else { 0 };
        Self {
            projection,
            reverse,
            gates: Buffer::new(tokens * padded(cell.width())),
            hidden: Buffer::new(tokens * padded(cell.hidden_width())),
            c: Buffer::new(c),
            carry: Buffer::new(if backward { capacity.rows * state } else { 0 }),
            cell,
        }
    }

    pub(crate) fn takes_tokens(&self) -> bool {
        self.projection.takes_tokens()
    }

    pub(crate) fn sweep(&self, cx: &Cx<'_>) -> Sweep {
        let Dims { steps, rows } = cx.dims;
        Sweep { isa: cx.isa, steps, rows, units: self.cell.units, reverse: self.reverse }
    }

    /// c with the blocks around it: ((T + 2) N, H). LSTM only.
    pub(crate) fn c(&mut self, dims: Dims) -> MatMut<'_> {
        let units = self.cell.units;
        MatMut::new(&mut self.c, (dims.steps + 2) * dims.rows, units, padded(units))
    }

    /// Computes h for all steps. `h` is ((T + 2) N, H) with the state before the first step in place, as is c.
    pub(crate) fn forward(&mut self, cx: &Cx<'_>, pack: &CellPack, value: &Value<'_>, h: MatMut<'_>) {
        let (dims, sweep, cell) = (cx.dims, self.sweep(cx), &self.cell);
        let (tokens, units) = (dims.tokens(), cell.units);
        let mut gates = MatMut::new(&mut self.gates, tokens, cell.width(), padded(cell.width()));
        self.projection.forward(cx, value, gates.reborrow());
        let hidden = MatMut::new(&mut self.hidden, tokens, cell.hidden_width(), padded(cell.hidden_width()));
        let recurrent = pack.forward.view();
        match cell.cell {
            Cell::SimpleRnn => exec::rnn_forward(cx.team, sweep, cell.activation, recurrent, gates, h),
            Cell::Lstm => {
                let c = MatMut::new(&mut self.c, (dims.steps + 2) * dims.rows, units, padded(units));
                exec::lstm_forward(cx.team, sweep, recurrent, gates, c, h);
            }
            Cell::Gru => match &pack.candidate {
                None => {
                    let recurrent_bias = cell.biases().1.map(|b| &cx.params[b]);
                    exec::gru_forward(cx.team, sweep, GruForward { recurrent, recurrent_bias, gates, hidden, h });
                }
                Some((candidate, _)) => {
                    let recurrent = [recurrent, candidate.view()];
                    exec::gru_before_forward(cx.team, sweep, GruBeforeForward { recurrent, gates, reset_h: hidden, h });
                }
            },
        }
    }

    /// Adds to the gradients of the parameters and of the input. `h` and `dh` are ((T + 2) N, H); `dh` is clobbered.
    pub(crate) fn backward(&mut self, cx: &Cx<'_>, pack: &CellPack, args: DirectionBackward<'_>, grads: &mut Gradient) {
        let DirectionBackward { value, mut h, dh, dx } = args;
        let (dims, sweep, cell) = (cx.dims, self.sweep(cx), &self.cell);
        let (tokens, units, width) = (dims.tokens(), cell.units, cell.width());
        let mut gates = MatMut::new(&mut self.gates, tokens, width, padded(width));
        let mut hidden = MatMut::new(&mut self.hidden, tokens, cell.hidden_width(), padded(cell.hidden_width()));
        let mut carry = MatMut::new(&mut self.carry, dims.rows, units, padded(units));
        let transposed = pack.backward.view();
        match cell.cell {
            Cell::SimpleRnn => {
                let (activation, pre, h) = (cell.activation, gates.reborrow(), h.reborrow());
                exec::rnn_backward(cx.team, sweep, RnnBackward { activation, transposed, pre, h, dh });
            }
            Cell::Lstm => {
                (0..dims.rows).for_each(|n| carry.row_mut(n).fill(0.0));
                let c = MatMut::new(&mut self.c, (dims.steps + 2) * dims.rows, units, padded(units));
                let gates = gates.reborrow();
                exec::lstm_backward(cx.team, sweep, LstmBackward { transposed, gates, c, dh, dc: carry });
            }
            Cell::Gru => {
                let args = GruBackward { transposed, gates: gates.reborrow(), h: h.reborrow(), dh };
                match &pack.candidate {
                    None => exec::gru_backward(cx.team, sweep, args, hidden.reborrow()),
                    Some((_, candidate)) => exec::gru_before_backward(cx.team, sweep, args, candidate.view(), carry),
                }
            }
        }
        // The gradient of the pre-activations is complete: all steps at once from here on.
        let _span = profile::enter(Phase::Gradient);
        let products = cx.products();
        let before = h.as_ref().rows_range(sweep.before_all());
        let (start, dweights) = grads.write(&cell.recurrent_kernel);
        let mut dweights = MatMut::dense(dweights, units, width);
        if cell.resets_after() {
            products.outer(before, hidden.as_ref(), start, dweights);
            if let Some(bias) = cell.biases().1 {
                products.add_column_sums(hidden.as_ref(), grads.add(&bias));
            }
        } else if cell.resets_before() {
            let (zr, n) = (gates.as_ref().cols_range(0..2 * units), gates.as_ref().cols_range(2 * units..width));
            products.outer(before, zr, start, dweights.reborrow().cols_range(0..2 * units));
            products.outer(hidden.as_ref(), n, start, dweights.cols_range(2 * units..width));
        } else {
            products.outer(before, gates.as_ref(), start, dweights);
        }
        self.projection.backward(cx, &value, gates.as_ref(), dx, grads);
    }
}

/// What the backward pass of a direction works on.
pub(crate) struct DirectionBackward<'a> {
    pub(crate) value: Value<'a>,
    /// The outputs with the blocks around them, as forward left them.
    pub(crate) h: MatMut<'a>,
    /// In: the gradient of the outputs; clobbered.
    pub(crate) dh: MatMut<'a>,
    /// The gradient of a numeric input, added to.
    pub(crate) dx: Option<MatMut<'a>>,
}
