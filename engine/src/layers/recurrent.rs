//! Recurrent layers: one direction or both, the whole sequence or the last state.

use super::direction::{Direction, DirectionPlan};
use super::projection::{InputKind, Value};
use super::{CarriedState, CellParams, Context, Dims, Extent, Inputs, InputsMut, LayerOutput};
use crate::exec::{self, Products};
use crate::gradient::Gradient;
use crate::graph::{Cell, MergeMode, Reading, Shape, Time};
use std::ops::Range;
use unroll_kernels::gemm::Precision;
use unroll_kernels::{Bf16, Element, Mat, MatMut};

/// A recurrent layer.
pub(crate) struct RecurrentLayer {
    directions: Vec<Direction>,
    /// The number of this layer's first cell among those of [`PackSet`](super::PackSet).
    pack: usize,
    /// The outputs of all steps, directions side by side. Only where the layer's own output is something else: the last
    /// step's, the directions merged, or all steps' in reverse order.
    steps: Option<LayerOutput>,
    merge: MergeMode,
    return_sequences: bool,
    /// Whether the outputs of all steps are in the order of reading, the last step's first: Keras' `go_backwards`.
    reversed: bool,
    /// For each direction: whether the last pass began each row with the state that other layers give.
    begins: [Vec<bool>; 2],
}

/// How a recurrent layer is made.
pub(crate) struct RecurrentPlan {
    pub(crate) cells: Vec<CellParams>,
    pub(crate) reading: Reading,
    pub(crate) pack: usize,
    pub(crate) return_sequences: bool,
    pub(crate) room: DirectionPlan,
}

impl RecurrentLayer {
    pub(crate) fn new(plan: RecurrentPlan, origin: impl Fn() -> InputKind) -> Self {
        let RecurrentPlan { cells, reading, pack, return_sequences, room } = plan;
        let width = cells.iter().map(|c| c.units).sum();
        let directions = cells.into_iter().zip(reading.directions());
        let directions = directions.map(|(cell, &reverse)| Direction::new(cell, origin(), reverse, &room));
        let shape = Shape { time: Some(Time::Any), dims: vec![width] };
        let merge = match reading {
            // What is not merged stands side by side, and others take it apart.
            Reading::Both(MergeMode::None) | Reading::One { .. } => MergeMode::Concat,
            Reading::Both(merge) => merge,
        };
        let reversed = return_sequences && matches!(reading, Reading::One { reverse: true });
        let own = !return_sequences || merge != MergeMode::Concat || reversed;
        let steps = own.then(|| LayerOutput::new(&shape, room.capacity, room.backward));
        let begins = [(); 2].map(|()| Vec::with_capacity(room.capacity.rows));
        Self { directions: directions.collect(), pack, steps, merge, return_sequences, reversed, begins }
    }

    pub(crate) fn forward(
        &mut self,
        ctx: &Context<'_>,
        inputs: Inputs<'_>,
        output: &mut LayerOutput,
        carried: &[CarriedState],
    ) {
        match ctx.precision {
            Precision::Bf16 => self.forward_as::<Bf16>(ctx, inputs, output, carried),
            Precision::F32 | Precision::Int8 => self.forward_as::<f32>(ctx, inputs, output, carried),
        }
    }

    /// With gates of elements E.
    fn forward_as<E: Element>(
        &mut self,
        ctx: &Context<'_>,
        inputs: Inputs<'_>,
        output: &mut LayerOutput,
        carried: &[CarriedState],
    ) {
        let dims = ctx.dims;
        let tokens = self.directions[0].takes_tokens();
        let value = if tokens { Value::Tokens(inputs.tokens) } else { Value::Numbers(inputs.only()) };
        for (d, direction) in self.directions.iter_mut().enumerate() {
            direction.project::<E>(ctx, &value);
            let columns = columns(direction, d);
            let h = joint(&mut self.steps, output).y_with_edges_mut(dims).cols_range(columns.clone());
            let initial = direction.sweep(ctx).initial();
            let carried = carried.get(d).filter(|carried| carried.starts);
            let starts = direction.cell.starts;
            let begins = &mut self.begins[d];
            begins.clear();
            begins.extend((0..dims.rows).map(|n| starts && !carried.is_some_and(|s| s.has_begun(ctx.first_row + n))));
            let given = |state: usize| starts.then(|| inputs.get(first_state(direction, d) + state));
            let first = [given(0), carried.map(|s| s.h(ctx.first_row, dims.rows))];
            start(ctx, h.rows_range(initial.clone()), first, begins);
            if direction.cell.cell == Cell::Lstm {
                let first = [given(1), carried.map(|s| s.c(ctx.first_row, dims.rows))];
                start(ctx, direction.c_mut(dims).rows_range(initial), first, &self.begins[d]);
            }
            let h = joint(&mut self.steps, output).y_with_edges(dims).cols_range(columns.clone());
            direction.draw(ctx, h);
        }
        let h = joint(&mut self.steps, output).y_with_edges_mut(dims);
        let packs = &ctx.packs.cells[self.pack..];
        match &mut self.directions[..] {
            [one, two] => {
                let (h_one, h_two) = h.split_cols_at(one.cell.units);
                exec::run_loops(
                    ctx.products(),
                    &[one.forward::<E>(ctx, &packs[0], &value, h_one), two.forward(ctx, &packs[1], &value, h_two)],
                );
            }
            directions => exec::run_loops(ctx.products(), &[directions[0].forward::<E>(ctx, &packs[0], &value, h)]),
        }
        self.merge(ctx, output);
    }

    /// The layer's output from those of all steps and directions.
    fn merge(&mut self, ctx: &Context<'_>, output: &mut LayerOutput) {
        let (dims, units, merge) = (ctx.dims, self.directions[0].cell.units, self.merge);
        let given = self.given(ctx);
        let Some(steps) = &mut self.steps else { return };
        let h = steps.y_with_edges_mut(dims);
        let h = h.as_ref();
        ctx.products().by_rows(output.y_mut(dims), |range, mut part| {
            for (r, row) in range.enumerate() {
                let to = part.row_mut(r);
                let [Some(one), Some(two)] = given.map(|given| given.row(row)) else {
                    // Keras: the output of a row that is masked wholly is zero, whatever the state.
                    to.fill(0.0);
                    continue;
                };
                let (one, two) = (&h.row(one)[..units], &h.row(two)[h.cols() - units..]);
                let pairs = one.iter().zip(two);
                match merge {
                    MergeMode::Concat | MergeMode::None => {
                        let last = to.len() - units;
                        to[..units].copy_from_slice(one);
                        to[last..].copy_from_slice(two);
                    }
                    MergeMode::Sum => to.iter_mut().zip(pairs).for_each(|(y, (a, b))| *y = a + b),
                    MergeMode::Mul => to.iter_mut().zip(pairs).for_each(|(y, (a, b))| *y = a * b),
                    MergeMode::Ave => to.iter_mut().zip(pairs).for_each(|(y, (a, b))| *y = 0.5 * (a + b)),
                }
            }
        });
    }

    /// Sets the gradients of the outputs of all steps and directions, and of c, to zero.
    pub(crate) fn clear_gradient(&mut self, products: Products<'_>, dims: Dims) {
        self.steps.iter_mut().for_each(|steps| steps.clear_gradient(products, dims));
        self.directions.iter_mut().for_each(Direction::clear_gradient);
    }

    /// Adds the gradient of the layer's output to the gradients of the outputs of all steps and directions.
    fn unmerge(&mut self, ctx: &Context<'_>, output: &LayerOutput) {
        let (dims, units, merge) = (ctx.dims, self.directions[0].cell.units, self.merge);
        let given = self.given(ctx);
        let Some(steps) = &mut self.steps else { return };
        let dy = output.dy(dims);
        for d in 0..self.directions.len() {
            let (h, mut dh) = steps.y_and_dy_with_edges(dims);
            let (h, columns) = (h.as_ref(), d * units..(d + 1) * units);
            let others = if d == 0 { h.cols() - units..h.cols() } else { 0..units };
            for row in 0..dy.rows() {
                let [Some(own), Some(other)] = [given[d], given[1 - d]].map(|given| given.row(row)) else { continue };
                let (to, dy) = (&mut dh.row_mut(own)[columns.clone()], dy.row(row));
                match merge {
                    MergeMode::Concat | MergeMode::None => add(to, &dy[columns.clone()]),
                    MergeMode::Sum => add(to, dy),
                    MergeMode::Mul => {
                        let pairs = dy.iter().zip(&h.row(other)[others.clone()]);
                        to.iter_mut().zip(pairs).for_each(|(to, (dy, other))| *to += dy * other);
                    }
                    MergeMode::Ave => to.iter_mut().zip(dy).for_each(|(to, dy)| *to += 0.5 * dy),
                }
            }
        }
    }

    /// Which outputs of each direction make the layer's output; twice the same for a single direction.
    fn given<'a>(&self, ctx: &Context<'a>) -> [OutputRows<'a>; 2] {
        [0, self.directions.len() - 1].map(|d| {
            if self.reversed {
                OutputRows::Reversed { first: ctx.dims.rows, extent: ctx.extent }
            } else if self.return_sequences {
                OutputRows::Every { first: ctx.dims.rows }
            } else {
                OutputRows::Last { extent: ctx.extent, reverse: self.directions[d].reverse() }
            }
        })
    }

    pub(crate) fn backward(
        &mut self,
        ctx: &Context<'_>,
        inputs: InputsMut<'_>,
        output: &mut LayerOutput,
        grads: &mut Gradient,
    ) {
        match ctx.precision {
            Precision::Bf16 => self.backward_as::<Bf16>(ctx, inputs, output, grads),
            Precision::F32 | Precision::Int8 => self.backward_as::<f32>(ctx, inputs, output, grads),
        }
    }

    /// With gates of elements E.
    fn backward_as<E: Element>(
        &mut self,
        ctx: &Context<'_>,
        mut inputs: InputsMut<'_>,
        output: &mut LayerOutput,
        grads: &mut Gradient,
    ) {
        let dims = ctx.dims;
        self.unmerge(ctx, output);
        let (h, dh) = joint(&mut self.steps, output).y_and_dy_with_edges(dims);
        let packs = &ctx.packs.cells[self.pack..];
        match &mut self.directions[..] {
            [one, two] => {
                let units = one.cell.units;
                let ((h_one, h_two), (dh_one, dh_two)) = (h.split_cols_at(units), dh.split_cols_at(units));
                let loops =
                    [one.backward::<E>(ctx, &packs[0], h_one, dh_one), two.backward(ctx, &packs[1], h_two, dh_two)];
                exec::run_loops(ctx.products(), &loops);
            }
            directions => exec::run_loops(ctx.products(), &[directions[0].backward::<E>(ctx, &packs[0], h, dh)]),
        }
        if self.directions[0].cell.starts {
            self.initial_gradients::<E>(ctx, &mut inputs, output);
        }
        // The gradients of the pre-activations are complete: all steps at once from here on.
        for (d, direction) in self.directions.iter_mut().enumerate() {
            let columns = columns(direction, d);
            let h = joint(&mut self.steps, output).y_with_edges_mut(dims).cols_range(columns);
            let (value, dx) = if direction.takes_tokens() {
                (Value::Tokens(inputs.tokens), None)
            } else {
                let (x, dx) = inputs.get(0);
                (Value::Numbers(x), Some(dx))
            };
            direction.gradients::<E>(ctx, &value, h.as_ref(), dx, grads);
        }
    }

    /// Adds to the gradients of the layers that give the first states.
    fn initial_gradients<E: Element>(
        &mut self,
        ctx: &Context<'_>,
        inputs: &mut InputsMut<'_>,
        output: &mut LayerOutput,
    ) {
        let dims = ctx.dims;
        let packs = &ctx.packs.cells[self.pack..];
        for (d, direction) in self.directions.iter_mut().enumerate() {
            let (state, columns) = (first_state(direction, d), columns(direction, d));
            let (_, mut dh) = joint(&mut self.steps, output).y_and_dy_with_edges(dims);
            direction.initial_gradient::<E>(ctx, &packs[d], dh.reborrow().cols_range(columns.clone()));
            let initial = direction.sweep(ctx).initial();
            let dh = dh.as_ref().rows_range(initial).cols_range(columns);
            add_initial(ctx, dh, inputs.get(state).1, &self.begins[d]);
            if direction.cell.cell == Cell::Lstm {
                add_initial(ctx, direction.dc(dims).as_ref(), inputs.get(state + 1).1, &self.begins[d]);
            }
        }
    }

    /// h of every direction side by side after every step, (P, directions H).
    pub(crate) fn states<'a>(&'a self, output: &'a LayerOutput, dims: Dims) -> Mat<'a> {
        self.steps.as_ref().unwrap_or(output).y(dims)
    }

    /// The gradients by h of the last backward pass: direction, whether it reads from the end, time and row of the
    /// batch.
    pub(crate) fn state_gradients(
        &mut self,
        output: &mut LayerOutput,
        extent: &Extent,
        mut found: impl FnMut(usize, bool, [usize; 2], &[f32]),
    ) {
        let dims = extent.dims();
        let dh = joint(&mut self.steps, output).dy(dims);
        let mut whole = Vec::new();
        for (d, direction) in self.directions.iter().enumerate() {
            // Of a unit that stays in part as it was, the loop leaves what goes through the cell.
            let through = direction.cell.state_dropout.zone[0].as_ref().map_or(1.0, |zone| 1.0 - zone.rate());
            for p in 0..dh.rows() {
                let (time, row) = extent.position(p);
                whole.clear();
                whole.extend(dh.row(p)[columns(direction, d)].iter().map(|d| d / through));
                found(d, direction.reverse(), [time, row], &whole);
            }
        }
    }

    /// Writes the state after the last step into the rows of this replica; one state a direction, or none.
    pub(crate) fn carry(&self, output: &LayerOutput, extent: &Extent, first_row: usize, into: &mut [CarriedState]) {
        let rows = extent.dims().rows;
        for (d, (direction, into)) in self.directions.iter().zip(into).enumerate() {
            self.state(output, extent, (d, false), into.h_mut(first_row, rows));
            if direction.cell.cell == Cell::Lstm {
                self.state(output, extent, (d, true), into.c_mut(first_row, rows));
            }
            into.begin(first_row, rows);
        }
    }

    /// Writes h (or c) of direction `d` after the last step of each row of the batch, (N, H).
    pub(crate) fn state(&self, output: &LayerOutput, extent: &Extent, (d, cell): (usize, bool), mut to: MatMut<'_>) {
        let (dims, direction) = (extent.dims(), &self.directions[d]);
        let states = if cell {
            direction.c(dims)
        } else {
            self.steps.as_ref().unwrap_or(output).y_with_edges(dims).cols_range(columns(direction, d))
        };
        (0..dims.rows).for_each(|n| to.row_mut(n).copy_from_slice(states.row(extent.last(n, direction.reverse()))));
    }

    /// Adds to the gradient of what [`Self::state`] writes, before the backward pass.
    pub(crate) fn add_state_gradient(
        &mut self,
        output: &mut LayerOutput,
        extent: &Extent,
        (d, cell): (usize, bool),
        from: Mat<'_>,
    ) {
        let (dims, direction) = (extent.dims(), &mut self.directions[d]);
        if cell {
            let mut dc = direction.dc(dims);
            return extent.order().iter().enumerate().for_each(|(r, &n)| add(dc.row_mut(r), from.row(n)));
        }
        let (reverse, columns) = (direction.reverse(), columns(direction, d));
        let (_, dh) = joint(&mut self.steps, output).y_and_dy_with_edges(dims);
        let mut dh = dh.cols_range(columns);
        (0..dims.rows).for_each(|n| add(dh.row_mut(extent.last(n, reverse)), from.row(n)));
    }
}

/// The place among a layer's inputs of direction `d`'s first state.
fn first_state(direction: &Direction, d: usize) -> usize {
    1 + d * direction.cell.states()
}

/// Adds the gradient `from` of first states, the longest row's first, to that of the layer that gives them, `to`, for
/// the rows that began with them.
fn add_initial(ctx: &Context<'_>, from: Mat<'_>, mut to: MatMut<'_>, begins: &[bool]) {
    let order = ctx.extent.order().iter().enumerate();
    order.filter(|&(_, &n)| begins[n]).for_each(|(r, &n)| add(to.row_mut(n), from.row(r)));
}

fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

/// The rows of states ((P + 2 N), H) that make a layer's output.
#[derive(Clone, Copy)]
enum OutputRows<'a> {
    /// Every step's, from this one on.
    Every { first: usize },
    /// Every step's, for each row of the batch in reverse order.
    Reversed { first: usize, extent: &'a Extent },
    /// For each row of the batch, that of the step that is read last.
    Last { extent: &'a Extent, reverse: bool },
}

impl OutputRows<'_> {
    /// The row of states for row `r` of the layer's output; `None` where the batch's row has no step.
    fn row(self, r: usize) -> Option<usize> {
        match self {
            Self::Every { first } => Some(first + r),
            Self::Reversed { first, extent } => Some(first + extent.reversed(r)),
            Self::Last { extent, reverse } => (extent.length(r) > 0).then(|| extent.last(r, reverse)),
        }
    }
}

/// The columns of direction `d` in the joint output.
fn columns(direction: &Direction, d: usize) -> Range<usize> {
    let units = direction.cell.units;
    d * units..(d + 1) * units
}

/// The outputs of all steps: the layer's own, or its output.
fn joint<'a>(steps: &'a mut Option<LayerOutput>, output: &'a mut LayerOutput) -> &'a mut LayerOutput {
    steps.as_mut().unwrap_or(output)
}

/// Sets the state before the first step, the longest row's first: that given where a row begins, that carried, or zero.
fn start(ctx: &Context<'_>, mut to: MatMut<'_>, [given, carried]: [Option<Mat<'_>>; 2], begins: &[bool]) {
    for (r, &n) in ctx.extent.order().iter().enumerate() {
        match if begins[n] { given } else { carried } {
            Some(from) => to.row_mut(r).copy_from_slice(from.row(n)),
            None => to.row_mut(r).fill(0.0),
        }
    }
}
