//! One direction of a recurrent layer: projection, time loop, and the gradients of both.

use super::cell::kept;
use super::packs::CellPack;
use super::projection::{InputKind, Projection, Value};
use super::state_dropout::StateDropoutRoom;
use super::{CellParams, Context, Dims};
use crate::exec::{
    Gates, GruBackward, GruForward, GruResetBeforeBackward, GruResetBeforeForward, Loop, LstmBackward, LstmForward,
    Products, RnnBackward, RnnForward, Start, StateDropout, Sweep,
};
use crate::gradient::Gradient;
use crate::graph::Cell;
use unroll_kernels::gemm::Precision;
use unroll_kernels::mat::padded;
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::{Buffer, Element, Mat, MatMut};

/// What both directions of a layer have in common when they are made.
pub(crate) struct DirectionPlan {
    pub(crate) precision: Precision,
    pub(crate) capacity: Dims,
    pub(crate) backward: bool,
}

/// One direction. Its gates are kept as elements E: bf16 where products round to it, else f32.
pub(crate) struct Direction {
    pub(crate) cell: CellParams,
    projection: Projection,
    reverse: bool,
    room: Room,
}

impl Direction {
    pub(crate) fn new(cell: CellParams, origin: InputKind, reverse: bool, plan: &DirectionPlan) -> Self {
        let &DirectionPlan { precision, capacity, backward } = plan;
        let biases = [cell.biases().0, cell.recurrent_bias.clone()];
        let projection = Projection::new(origin, cell.kernel.clone(), biases, cell.inputs);
        let (tokens, state) = (capacity.tokens, padded(cell.units));
        let c = if cell.cell == Cell::Lstm { capacity.with_edges() * state } else { 0 };
        let room = Room {
            gates: Buffer::new(tokens * kept(precision, cell.width())),
            hidden: Buffer::new(tokens * kept(precision, cell.hidden_width())),
            reset_h: Buffer::new(tokens * padded(cell.reset_width())),
            c: Buffer::new(c),
            carry: Buffer::new(if backward { capacity.rows * state } else { 0 }),
            before: Buffer::default(),
            first: Buffer::new(if backward && cell.starts { capacity.rows * kept(precision, cell.width()) } else { 0 }),
            state_dropout: StateDropoutRoom::new(cell.state_dropout.clone(), cell.units, capacity, backward),
            most: tokens,
        };
        Self { cell, projection, reverse, room }
    }

    pub(crate) fn takes_tokens(&self) -> bool {
        self.projection.takes_tokens()
    }

    pub(crate) fn sweep<'a>(&self, ctx: &Context<'a>) -> Sweep<'a> {
        let (offsets, rows) = (ctx.extent.offsets(), ctx.dims.rows);
        Sweep { isa: ctx.isa, offsets, rows, units: self.cell.units, reverse: self.reverse }
    }

    /// Whether the sequence is read from its end.
    pub(crate) fn reverse(&self) -> bool {
        self.reverse
    }

    /// c with the blocks around it: (P + 2 N, H). LSTM only.
    pub(crate) fn c_mut(&mut self, dims: Dims) -> MatMut<'_> {
        let units = self.cell.units;
        MatMut::new(&mut self.room.c, dims.with_edges(), units, padded(units))
    }

    /// The same, to read.
    pub(crate) fn c(&self, dims: Dims) -> Mat<'_> {
        let units = self.cell.units;
        Mat::new(&self.room.c, dims.with_edges(), units, padded(units))
    }

    /// The gradient of c, (N, H), the longest row first: before the backward pass, of the state after the last step;
    /// after it, of the state before the first. LSTM only.
    pub(crate) fn dc(&mut self, dims: Dims) -> MatMut<'_> {
        let units = self.cell.units;
        MatMut::new(&mut self.room.carry, dims.rows, units, padded(units))
    }

    /// Sets the gradient of c to zero.
    pub(crate) fn clear_gradient(&mut self) {
        if self.cell.cell == Cell::Lstm {
            self.room.carry.fill(0.0);
        }
    }

    /// x W + b of all steps, into the gates.
    pub(crate) fn project<E: Element>(&mut self, ctx: &Context<'_>, value: &Value<'_>) {
        let gates = view_mut::<E>(&mut self.room.gates, ctx.dims.tokens, self.cell.width());
        self.projection.forward(ctx, value, gates);
    }

    /// Draws the masks of recurrent dropout and zoneout for this pass. `h` (P + 2 N, H) has the state before the first
    /// step in place.
    pub(crate) fn draw(&mut self, ctx: &Context<'_>, h: Mat<'_>) {
        let sweep = self.sweep(ctx);
        self.room.state_dropout.draw(ctx, sweep, h);
    }

    /// The time loop that computes h of all steps, after [`Self::project`] and [`Self::draw`]. `h` is (P + 2 N, H); its
    /// state before the first step is in place, as is that of c.
    pub(crate) fn forward<'a, E: Element>(
        &'a mut self,
        ctx: &Context<'a>,
        pack: &'a CellPack,
        value: &Value<'a>,
        h: MatMut<'a>,
    ) -> (Sweep<'a>, Loop<'a, E>) {
        let sweep = self.sweep(ctx);
        let Buffers { gates, hidden, reset_h, c, state_dropout, .. } = Buffers::new(ctx, &self.cell, &mut self.room);
        let gates = Gates::new(gates, self.cell.cell.gates(), self.projection.lookup(ctx, value));
        let (hidden, reset_h, c) = (hidden.into(), reset_h.into(), c.into());
        let (cell, recurrent, h) = (&self.cell, pack.forward.view(), h.into());
        let time_loop = match cell.cell {
            Cell::SimpleRnn => {
                Loop::Rnn(RnnForward { activation: cell.functions.activation, recurrent, pre: gates, h, state_dropout })
            }
            Cell::Lstm => {
                Loop::Lstm(LstmForward { form: cell.form(ctx.params), recurrent, gates, c, h, state_dropout })
            }
            Cell::Gru => match &pack.candidate {
                None => {
                    let recurrent_bias = cell.biases().1.map(|b| &ctx.params[b]);
                    let functions = cell.functions;
                    Loop::Gru(GruForward { functions, recurrent, recurrent_bias, gates, hidden, h, state_dropout })
                }
                Some((candidate, _)) => {
                    let recurrent = [recurrent, candidate.view()];
                    let functions = cell.functions;
                    Loop::GruResetBefore(GruResetBeforeForward {
                        functions,
                        recurrent,
                        gates,
                        reset_h,
                        h,
                        state_dropout,
                    })
                }
            },
        };
        (sweep, time_loop)
    }

    /// The time loop that turns the gates into the gradient of the pre-activations. `h` and `dh` are (P + 2 N, H); `dh`
    /// is clobbered.
    pub(crate) fn backward<'a, E: Element>(
        &'a mut self,
        ctx: &Context<'a>,
        pack: &'a CellPack,
        h: MatMut<'a>,
        dh: MatMut<'a>,
    ) -> (Sweep<'a>, Loop<'a, E>) {
        let sweep = self.sweep(ctx);
        let Buffers { gates, hidden, c, carry, state_dropout, .. } = Buffers::new(ctx, &self.cell, &mut self.room);
        let (gates, hidden, c, carry) = (gates.into(), hidden.into(), c.into(), carry.into());
        let (transposed, functions, h, dh) = (pack.backward.view(), self.cell.functions, h.into(), dh.into());
        let time_loop = match self.cell.cell {
            Cell::SimpleRnn => Loop::RnnBack(RnnBackward {
                activation: functions.activation,
                transposed,
                pre: gates,
                h,
                dh,
                state_dropout,
            }),
            Cell::Lstm => {
                let form = self.cell.form(ctx.params);
                Loop::LstmBack(LstmBackward { form, transposed, gates, c, dh, dc: carry, state_dropout })
            }
            Cell::Gru => match &pack.candidate {
                None => Loop::GruBack(GruBackward { functions, transposed, gates, hidden, h, dh, state_dropout }),
                Some((_, candidate)) => {
                    let transposed = [transposed, candidate.view()];
                    Loop::GruResetBeforeBack(GruResetBeforeBackward {
                        functions,
                        transposed,
                        gates,
                        h,
                        dh,
                        dreset: carry,
                        state_dropout,
                    })
                }
            },
        };
        (sweep, time_loop)
    }

    /// Completes the gradient of h before the first step, in its block of `dh` (P + 2 N, H), after the time loop of
    /// [`Self::backward`]: what comes through the products of each row's first step.
    pub(crate) fn initial_gradient<E: Element>(&mut self, ctx: &Context<'_>, pack: &CellPack, dh: MatMut<'_>) {
        let (cell, rows, initial) = (&self.cell, ctx.dims.rows, self.sweep(ctx).initial());
        let Room { gates, hidden, first, state_dropout, .. } = &mut self.room;
        let (from, width) = match cell.cell {
            Cell::Gru if cell.reset_after => (&*hidden, cell.hidden_width()),
            _ => (&*gates, cell.width()),
        };
        let from = view::<E>(from, ctx.dims.tokens, width);
        let mut first = view_mut::<E>(first, rows, width);
        for (r, &n) in ctx.extent.order().iter().enumerate() {
            match ctx.extent.length(n) {
                0 => first.row_mut(r).fill(E::zeroed()),
                length => {
                    let step = if self.reverse { length - 1 } else { 0 };
                    first.row_mut(r).copy_from_slice(from.row(ctx.extent.place(n, step)));
                }
            }
        }
        // A GRU that resets before the product multiplies the candidate's part within the loop.
        let width = if cell.resets_before() { 2 * cell.units } else { width };
        let first = first.as_ref().cols_range(0..width);
        let mut dh = dh.rows_range(initial);
        let Some((drop, mut through)) = state_dropout.undrop(ctx) else {
            return ctx.products().packed_product(first, pack.backward.view(), Start::Keep, dh);
        };
        ctx.products().packed_product(first, pack.backward.view(), Start::Zero, through.reborrow());
        for r in 0..rows {
            let pairs = through.row_mut(r).iter().zip(drop.row(r));
            dh.row_mut(r).iter_mut().zip(pairs).for_each(|(dh, (d, drop))| *dh += d * drop);
        }
    }

    /// Adds to the gradients of the parameters, and of the input to `dx`, after the time loop of [`Self::backward`].
    /// `h` is (P + 2 N, H).
    pub(crate) fn gradients<E: Element>(
        &mut self,
        ctx: &Context<'_>,
        value: &Value<'_>,
        h: Mat<'_>,
        dx: Option<MatMut<'_>>,
        grads: &mut Gradient,
    ) {
        let _span = profile::enter(Phase::Gradient);
        let (cell, units, width, tokens) = (&self.cell, self.cell.units, self.cell.width(), ctx.dims.tokens);
        let products = ctx.products();
        let sweep = self.sweep(ctx);
        // Room for the largest batch, so that later steps allocate nothing.
        let most = self.room.most * padded(units);
        let h = self.room.state_dropout.dropped(ctx).unwrap_or(h);
        let before = before_each(products, sweep, h, (&mut self.room.before, most));
        let gates = view::<E>(&self.room.gates, tokens, width);
        let hidden = view::<E>(&self.room.hidden, tokens, cell.hidden_width());
        let reset_h = view::<f32>(&self.room.reset_h, tokens, cell.reset_width());
        let (start, dweights) = grads.write(&cell.recurrent_kernel);
        let mut dweights = MatMut::dense(dweights, units, width);
        if cell.resets_after() {
            products.outer(before, hidden, start, dweights.reborrow());
        } else if cell.resets_before() {
            let (zr, n) = (gates.cols_range(0..2 * units), gates.cols_range(2 * units..width));
            products.outer(before, zr, start, dweights.reborrow().cols_range(0..2 * units));
            products.outer(reset_h, n, start, dweights.reborrow().cols_range(2 * units..width));
        } else {
            products.outer(before, gates, start, dweights.reborrow());
        }
        if let Some(mask) = &cell.drop {
            // Nothing else writes this gradient.
            products.by_rows(dweights, |rows, mut part| {
                rows.enumerate().for_each(|(r, row)| mask.apply(ctx.key, row, part.row_mut(r)));
            });
        }
        if let Some(bias) = cell.biases().1 {
            products.add_column_sums(hidden, grads.add(&bias));
        }
        if let Some(peephole) = &cell.peephole {
            let c = Mat::new(&self.room.c, ctx.dims.with_edges(), units, padded(units));
            let after = self.room.state_dropout.fresh_c(ctx.dims).unwrap_or(c).rows_range(sweep.after_all());
            let before = before_each(products, sweep, c, (&mut self.room.before, most));
            for (k, (gate, seen)) in [(0, before), (1, before), (3, after)].into_iter().enumerate() {
                let range = peephole.start + k * units..peephole.start + (k + 1) * units;
                products.add_product_sums(gates.cols_range(gate * units..(gate + 1) * units), seen, grads.add(&range));
            }
        }
        self.projection.backward(ctx, value, gates, dx, grads);
    }
}

/// The state before each step of a sequence, (P, H), from its states (P + 2 N, H): in place where these rows are
/// contiguous, else gathered in `room`, which grows to `most` elements.
fn before_each<'a>(
    products: Products<'_>,
    sweep: Sweep<'_>,
    states: Mat<'a>,
    (room, most): (&'a mut Buffer, usize),
) -> Mat<'a> {
    let Some(rows) = sweep.before_all() else {
        let (count, units) = (sweep.after_all().len(), states.cols());
        room.reserve(most);
        let mut before = MatMut::new(room, count, units, padded(units));
        products.by_rows(before.reborrow(), |rows, mut part| {
            for (r, from) in sweep.before_each(rows).enumerate() {
                part.row_mut(r).copy_from_slice(states.row(from));
            }
        });
        return Mat::new(room, count, units, padded(units));
    };
    states.rows_range(rows)
}

/// The memory of a direction: what the time loops read, write and keep for the backward pass, for the largest batch.
struct Room {
    /// Of elements E.
    gates: Buffer,
    hidden: Buffer,
    reset_h: Buffer,
    c: Buffer,
    /// (N, H): dc of an LSTM; ds of a GRU that resets before the product.
    carry: Buffer,
    /// (P, H): h before each step, where those rows of h are not contiguous.
    before: Buffer,
    /// (N, gates H): the gradient of the gates at the first step of each row, where other layers give the first state.
    first: Buffer,
    state_dropout: StateDropoutRoom,
    /// The largest P.
    most: usize,
}

/// [`Room`] as matrices of the sizes of this batch.
struct Buffers<'a, E> {
    /// (P, gates H)
    gates: MatMut<'a, E>,
    /// (P, 3 H): what a GRU keeps of its hidden side.
    hidden: MatMut<'a, E>,
    /// (P, H) of a GRU that resets before the product.
    reset_h: MatMut<'a>,
    /// (P + 2 N, H) of an LSTM.
    c: MatMut<'a>,
    /// (N, H)
    carry: MatMut<'a>,
    state_dropout: Option<StateDropout<'a>>,
}

impl<'a, E: Element> Buffers<'a, E> {
    fn new(ctx: &Context<'_>, cell: &CellParams, room: &'a mut Room) -> Self {
        let dims = ctx.dims;
        Self {
            gates: view_mut(&mut room.gates, dims.tokens, cell.width()),
            hidden: view_mut(&mut room.hidden, dims.tokens, cell.hidden_width()),
            reset_h: view_mut(&mut room.reset_h, dims.tokens, cell.reset_width()),
            c: view_mut(&mut room.c, dims.with_edges(), cell.units),
            carry: view_mut(&mut room.carry, dims.rows, cell.units),
            state_dropout: room.state_dropout.view(dims, ctx.training),
        }
    }
}

/// A buffer as a matrix; without rows where a cell does not need it and has no room for it.
fn view_mut<E: Element>(buffer: &mut Buffer, rows: usize, cols: usize) -> MatMut<'_, E> {
    let rows = if buffer.is_empty() { 0 } else { rows };
    MatMut::new(bytemuck::cast_slice_mut(buffer.as_mut_slice()), rows, cols, E::padded(cols))
}

/// The same, read.
fn view<E: Element>(buffer: &Buffer, rows: usize, cols: usize) -> Mat<'_, E> {
    let rows = if buffer.is_empty() { 0 } else { rows };
    Mat::new(bytemuck::cast_slice(buffer.as_slice()), rows, cols, E::padded(cols))
}
