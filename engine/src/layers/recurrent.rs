//! Recurrent layers: one direction or both, the whole sequence or the last state.

use super::direction::{CellParams, Direction};
use super::projection::{Origin, Value};
use super::{Act, Cx, Dims, Extent, Inputs, Upstream};
use crate::exec;
use crate::graph::{Cell, Shape, Time};
use crate::network::{Carried, Gradient};
use std::ops::Range;
use unroll_kernels::{Mat, MatMut};

/// Where a layer's packed weights stand, and the directions that it reads in.
pub(crate) enum Merge {
    /// From the first step to the last, or the other way where `true`.
    One { reverse: bool },
    /// Both ways, outputs side by side.
    Concat,
}

/// A recurrent layer.
pub(crate) struct RecurrentRun {
    directions: Vec<Direction>,
    /// The first of this layer's packs.
    pack: usize,
    /// The outputs of all steps where the layer itself gives only the last.
    steps: Option<Act>,
}

/// How a recurrent layer is made.
pub(crate) struct RecurrentPlan {
    pub(crate) cells: Vec<CellParams>,
    pub(crate) merge: Merge,
    pub(crate) pack: usize,
    pub(crate) return_sequences: bool,
    pub(crate) capacity: Dims,
    pub(crate) backward: bool,
}

impl RecurrentRun {
    pub(crate) fn new(plan: RecurrentPlan, origin: impl Fn() -> Origin) -> Self {
        let RecurrentPlan { cells, merge, pack, return_sequences, capacity, backward } = plan;
        let width = cells.iter().map(|c| c.units).sum();
        let first = matches!(merge, Merge::One { reverse: true });
        let directions = cells.into_iter().enumerate();
        let directions =
            directions.map(|(d, cell)| Direction::new(cell, origin(), first || d == 1, capacity, backward));
        let shape = Shape { time: Some(Time::Any), dims: vec![width] };
        let steps = (!return_sequences).then(|| Act::new(&shape, capacity, backward));
        Self { directions: directions.collect(), pack, steps }
    }

    pub(crate) fn forward(&mut self, cx: &Cx<'_>, inputs: Inputs<'_>, act: &mut Act, carried: Option<&Carried>) {
        let dims = cx.dims;
        let tokens = self.directions[0].takes_tokens();
        let value = if tokens { Value::Tokens(inputs.tokens) } else { Value::Numbers(inputs.only()) };
        for (d, direction) in self.directions.iter_mut().enumerate() {
            direction.project(cx, &value);
            let columns = columns(direction, d);
            let h = joint(&mut self.steps, act).y_all(dims).cols_range(columns);
            let initial = direction.sweep(cx).initial();
            start(cx, h.rows_range(initial.clone()), carried.map(|s| s.h(cx.first_row, dims.rows)));
            if direction.cell.cell == Cell::Lstm {
                start(cx, direction.c(dims).rows_range(initial), carried.map(|s| s.c(cx.first_row, dims.rows)));
            }
        }
        let h = joint(&mut self.steps, act).y_all(dims);
        let packs = &cx.packs.cells[self.pack..];
        match &mut self.directions[..] {
            [one, two] => {
                let (h_one, h_two) = h.split_cols_at(one.cell.units);
                exec::run(
                    cx.products(),
                    &[one.forward(cx, &packs[0], &value, h_one), two.forward(cx, &packs[1], &value, h_two)],
                );
            }
            directions => exec::run(cx.products(), &[directions[0].forward(cx, &packs[0], &value, h)]),
        }
        if let Some(steps) = &mut self.steps {
            for (d, direction) in self.directions.iter().enumerate() {
                let columns = columns(direction, d);
                let from = steps.y_all(dims).cols_range(columns.clone());
                let mut to = act.y_mut(dims).cols_range(columns);
                for n in 0..dims.rows {
                    match cx.extent.length(n) {
                        // Keras: the output of a row that is masked wholly is zero, whatever the state.
                        0 => to.row_mut(n).fill(0.0),
                        _ => to.row_mut(n).copy_from_slice(from.as_ref().row(cx.extent.last(n, direction.reverse()))),
                    }
                }
            }
        }
    }

    pub(crate) fn backward(&mut self, cx: &Cx<'_>, mut up: Upstream<'_>, act: &mut Act, grads: &mut Gradient) {
        let dims = cx.dims;
        if let Some(steps) = &mut self.steps {
            steps.clear_gradient(cx.products(), dims);
            for (d, direction) in self.directions.iter().enumerate() {
                let columns = columns(direction, d);
                let mut to = steps.both_all(dims).1.cols_range(columns.clone());
                let dy = act.dy(dims).cols_range(columns);
                for n in (0..dims.rows).filter(|&n| cx.extent.length(n) > 0) {
                    to.row_mut(cx.extent.last(n, direction.reverse())).copy_from_slice(dy.row(n));
                }
            }
        }
        let (h, dh) = joint(&mut self.steps, act).both_all(dims);
        let packs = &cx.packs.cells[self.pack..];
        match &mut self.directions[..] {
            [one, two] => {
                let units = one.cell.units;
                let ((h_one, h_two), (dh_one, dh_two)) = (h.split_cols_at(units), dh.split_cols_at(units));
                let loops = [one.backward(cx, &packs[0], h_one, dh_one), two.backward(cx, &packs[1], h_two, dh_two)];
                exec::run(cx.products(), &loops);
            }
            directions => exec::run(cx.products(), &[directions[0].backward(cx, &packs[0], h, dh)]),
        }
        // The gradients of the pre-activations are complete: all steps at once from here on.
        for (d, direction) in self.directions.iter_mut().enumerate() {
            let columns = columns(direction, d);
            let h = joint(&mut self.steps, act).y_all(dims).cols_range(columns);
            let (value, dx) = if direction.takes_tokens() {
                (Value::Tokens(up.tokens), None)
            } else {
                let (x, dx) = up.get(0);
                (Value::Numbers(x), Some(dx))
            };
            direction.gradients(cx, &value, h.as_ref(), dx, grads);
        }
    }

    /// Writes the state after the last step into the rows of this replica.
    pub(crate) fn carry(&mut self, act: &mut Act, extent: &Extent, first_row: usize, into: &mut Carried) {
        let (dims, direction) = (extent.dims(), &mut self.directions[0]);
        let last = |n: usize| extent.last(n, direction.reverse());
        let h = joint(&mut self.steps, act).y_all(dims);
        let mut to = into.h_mut(first_row, dims.rows);
        (0..dims.rows).for_each(|n| to.row_mut(n).copy_from_slice(h.as_ref().row(last(n))));
        if direction.cell.cell == Cell::Lstm {
            let reverse = direction.reverse();
            let (c, mut to) = (direction.c(dims), into.c_mut(first_row, dims.rows));
            (0..dims.rows).for_each(|n| to.row_mut(n).copy_from_slice(c.as_ref().row(extent.last(n, reverse))));
        }
    }
}

/// The columns of direction `d` in the joint output.
fn columns(direction: &Direction, d: usize) -> Range<usize> {
    let units = direction.cell.units;
    d * units..(d + 1) * units
}

/// The outputs of all steps: the layer's own, or its output.
fn joint<'a>(steps: &'a mut Option<Act>, act: &'a mut Act) -> &'a mut Act {
    steps.as_mut().unwrap_or(act)
}

/// Sets the state before the first step, the longest row's first: that carried, or zero.
fn start(cx: &Cx<'_>, mut to: MatMut<'_>, carried: Option<Mat<'_>>) {
    for (r, &n) in cx.extent.order().iter().enumerate() {
        match carried {
            Some(from) => to.row_mut(r).copy_from_slice(from.row(n)),
            None => to.row_mut(r).fill(0.0),
        }
    }
}
