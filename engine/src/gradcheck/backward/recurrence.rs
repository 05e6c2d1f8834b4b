//! Backward through the recurrent layers and the parts of their outputs.

use super::super::directions::{CellTensors, merge_backward};
use super::super::drops::drop_weights;
use super::super::masked::Output;
use super::super::model::add;
use super::super::recurrent::{Carried, Direction, Trace};
use super::super::sizes::{mean_square, square, squares, state_size};
use super::{Pass, Rows, with_magnitudes};
use crate::graph::{Cell, Node, Part, Reading, Recurrent, Source};
use std::borrow::Cow;
use unroll_kernels::cells::reference::Gradients;
use unroll_kernels::gemm;

/// One direction of a layer on its way back, in the order in which it reads.
struct Side<'a> {
    /// Its node, and its number.
    place: [usize; 2],
    direction: &'a Direction<'a>,
    trace: &'a Trace,
    tensors: CellTensors,
    /// (T N, D), and what their errors may amount to.
    x: Cow<'a, [f64]>,
    x_size: Cow<'a, [f64]>,
    gradients: Gradients,
    /// What errors of the gradients by the pre-activations (T N, gates H) may amount to.
    dpre_size: Vec<f64>,
    /// What errors of the states may amount to beyond their magnitude.
    absolute: f64,
}

impl Side<'_> {
    fn units(&self) -> usize {
        self.direction.dims.units
    }

    fn inputs(&self) -> usize {
        self.direction.dims.inputs
    }

    /// The columns of the pre-activations, and how many rows they have.
    fn gates_and_rows(&self) -> [usize; 2] {
        let gates = self.direction.kernel.len() / self.inputs();
        [gates, self.dpre_size.len() / gates]
    }

    /// The squares of what errors of dx may amount to.
    fn dx_squares(&self) -> Vec<f64> {
        let ([gates, rows], mut back) = (self.gates_and_rows(), vec![0.0; self.x.len()]);
        let kernel = squares(self.direction.kernel);
        gemm::reference::transposed_product(
            [rows, gates, self.inputs()],
            &squares(&self.dpre_size),
            &kernel,
            &mut back,
        );
        back
    }

    /// The gradients of the given first states, h and c, with their sizes: they came back through the same steps as the
    /// gradients of the pre-activations, and what those have of more than themselves, `excess`, these have.
    fn first_states(&self, excess: f64) -> impl Iterator<Item = (Vec<f64>, Vec<f64>)> {
        let typical = mean_square(&self.gradients.dpre).sqrt();
        let recurrent = square(&self.direction.recurrent_kernel).sqrt();
        let sizes = move |d: &[f64]| -> Vec<f64> {
            let typical = mean_square(d).sqrt().max(typical * recurrent);
            d.iter().map(|d| excess * (d.abs() + typical)).collect()
        };
        let given = [self.gradients.dh0.clone(), self.gradients.dc0.clone()];
        given.into_iter().filter(|d| !d.is_empty()).map(move |d| (d.clone(), sizes(&d)))
    }
}

impl Pass<'_> {
    /// Back through a recurrent layer: to its parameters, to its input, and to the layers that give its first states.
    pub(super) fn recurrence(&mut self, i: usize, dy: &[f64], size: &[f64]) {
        let (model, values) = (self.model, self.values);
        let node = &model.graph.nodes()[i];
        let Some((_, options, reading)) = node.config.recurrence() else { return };
        let states: Vec<usize> =
            node.inputs[1..].iter().filter_map(|s| if let Source::Node(n) = s { Some(*n) } else { None }).collect();
        let given: Vec<&[f64]> = states.iter().map(|&n| &values[n].y[..]).collect();
        let directions = model.directions(i, &self.step, self.params, &given);
        let parts = model.outputs(i, &directions, options, &values[i].traces);
        let (x, x_size) = self.input(i);
        let (x, x_size) = (x.data.to_vec(), x_size.data.to_vec());
        let given_sizes = states.iter().map(|&n| &self.value_sizes[n][..]);
        let sizes: Vec<&[f64]> = [&x_size[..]].into_iter().chain(given_sizes).collect();
        let absolute = state_size(model, i, &self.step, self.params, (&sizes, &values[i].traces));
        let after = std::mem::take(&mut self.after[i]);
        // How much larger the sizes are than what they are the sizes of: much where all of it cancels.
        let total = |which: usize, dy: &[f64]| {
            let states = after.iter().map(|d| square(&d[which].h) + square(&d[which].c));
            square(dy) + states.sum::<f64>()
        };
        let (came, came_size) = (total(0, dy), total(1, size));
        let excess = (came > 0.0).then(|| (came_size / came).sqrt().max(1.0));
        let (mut dx, mut dx_squares, mut given_back) = (vec![0.0; x.len()], vec![0.0; x.len()], Vec::new());
        for (d, (direction, tensors)) in directions.iter().zip(model.cell_tensors(node)).enumerate() {
            let own = match reading {
                Reading::Both(mode) => merge_backward(mode, options.units, d, &parts[1 - d], dy),
                Reading::One { .. } => dy.to_vec(),
            };
            let (trace, own) = (&values[i].traces[d], self.outputs_in_order(i, direction, own, options));
            let x = direction.in_order(&x);
            let gradients = direction.backward(&x, trace, &own, &after[d][0]);
            // Gradients come back from every step through the same sums: one typical size serves all.
            let typical = mean_square(&gradients.dpre).sqrt();
            let dpre_size: Vec<f64> = match excess {
                Some(excess) => gradients.dpre.iter().map(|d| excess * (d.abs() + typical)).collect(),
                // No gate has a slope above 1.
                None => vec![(came_size / size.len().max(1) as f64).sqrt(); gradients.dpre.len()],
            };
            let x_size = direction.in_order(&x_size);
            let side = Side { place: [i, d], direction, trace, tensors, x, x_size, gradients, dpre_size, absolute };
            add(&mut dx, &direction.in_order(&side.gradients.dx));
            add(&mut dx_squares, &direction.in_order(&side.dx_squares()));
            if !states.is_empty() {
                // A row that goes on from the step before has nothing of the given state.
                let begins = !options.stateful || self.step.before[i][d].h.is_empty();
                let of = |(d, size): (Vec<f64>, _)| (if begins { d } else { vec![0.0; d.len()] }, size);
                given_back.extend(side.first_states(excess.unwrap_or(1.0)).map(of));
            }
            self.cell_gradients(&side);
        }
        let dx_size = with_magnitudes(dx_squares, &dx);
        self.give(i, 0, dx, dx_size);
        for (k, (d, size)) in given_back.into_iter().enumerate() {
            self.give(i, 1 + k, d, size);
        }
    }

    /// The gradients of h after each step that a direction read, from those of its outputs.
    fn outputs_in_order(&self, i: usize, direction: &Direction<'_>, own: Vec<f64>, options: &Recurrent) -> Vec<f64> {
        let output = self.model.output(i);
        if self.model.is_turned(i) {
            return direction.turned_outputs_backward(own, output);
        }
        if options.return_sequences {
            return direction.outputs_backward(direction.in_order(&own).into_owned(), output);
        }
        // Only the step that was read last is an output.
        let mut all = vec![0.0; direction.dims.steps * own.len()];
        let last = all.len() - own.len();
        all[last..].copy_from_slice(&own);
        direction.outputs_backward(all, Output::Repeated)
    }

    /// The gradients of a direction's parameters, their sizes, and the roundings of its steps.
    fn cell_gradients(&mut self, side: &Side<'_>) {
        let Side { place: [i, d], direction, tensors, gradients, dpre_size, .. } = side;
        let ([gates, rows], units) = (side.gates_and_rows(), side.units());
        let before = direction.h_before(side.trace);
        // The state before a text is zero, and exact.
        let before_size: Vec<f64> =
            before.iter().map(|&h| if h == 0.0 { 0.0 } else { h.abs() + side.absolute }).collect();
        let mask = self.model.weight_mask(*i, *d);
        let mut drecurrent_kernel = gradients.drecurrent_kernel.clone();
        drop_weights(&mask, self.step.key, &mut drecurrent_kernel);
        let result = &mut self.result;
        let (kernel, recurrent) = (tensors.kernel, tensors.recurrent_kernel);
        add(&mut result.tensors[kernel], &gradients.dkernel);
        add(&mut result.tensors[recurrent], &drecurrent_kernel);
        let inputs = [side.inputs(), rows, gates];
        gemm::reference::outer_product(inputs, &side.x_size, dpre_size, &mut result.sizes[kernel]);
        gemm::reference::outer_product([units, rows, gates], &before_size, dpre_size, &mut result.sizes[recurrent]);
        // Nothing else has a part in this tensor.
        drop_weights(&mask, self.step.key, &mut result.sizes[recurrent]);
        for bias in [tensors.bias, tensors.recurrent_bias].into_iter().flatten() {
            add(&mut result.tensors[bias], &gradients.dbias);
            // A second bias, that of the hidden side, sees gradients that the reset gate makes smaller at most.
            let size = Rows::new(dpre_size, gates).column_sums();
            result.sizes[bias].chunks_exact_mut(gates).for_each(|part| add(part, &size));
        }
        if let Some(peephole) = tensors.peephole {
            self.peephole_gradients(side, peephole);
        }
        let (x, h, dpre) =
            (Rows::new(&side.x, side.inputs()), Rows::new(&before, units), Rows::new(&gradients.dpre, gates));
        let p = direction.parameters();
        let mut products = vec![(x, p.kernel), (h, p.recurrent_kernel)];
        // What the gates see of the c after a step is not what they see of that before it, but as large.
        products.extend(direction.peephole.map(|p| (Rows::new(side.trace.c(), units), p)));
        // A cell's element-wise part is counted as sixteen roundings.
        self.product_noise(dpre, &products, p.bias.unwrap_or(&[]), 16.0);
    }

    /// Those of what the gates i and f see of the cell state before a step, and o of that after it.
    fn peephole_gradients(&mut self, side: &Side<'_>, tensor: usize) {
        add(&mut self.result.tensors[tensor], &side.gradients.dpeephole);
        let ([gates, _], units) = (side.gates_and_rows(), side.units());
        let (c, first) = (side.trace.c(), &side.direction.before.c);
        let before = [&first[..], &c[..c.len() - first.len()]].concat();
        for (k, (gate, seen)) in [(0, &before[..]), (1, &before[..]), (3, c)].into_iter().enumerate() {
            for (at, c) in seen.iter().enumerate() {
                let (r, u) = (at / units, at % units);
                let size = side.dpre_size[r * gates + gate * units + u] * (c.abs() + side.absolute);
                self.result.sizes[tensor][k * units + u] += size;
            }
        }
    }

    /// Back through a part of a recurrent layer's outputs: to that layer.
    pub(super) fn part(&mut self, i: usize, part: Part, (mut dy, size): (Vec<f64>, Vec<f64>)) {
        let Source::Node(of) = self.model.graph.nodes()[i].inputs[0] else { return };
        (self.flow)(i, &mut dy);
        match part {
            Part::Output { direction } => {
                let (to, units) = (&mut self.dy[of], self.model.graph.nodes()[i].shape.width());
                for (to, from) in [(&mut to.0, &dy), (&mut to.1, &size)] {
                    let rows = to.chunks_exact_mut(2 * units).zip(from.chunks_exact(units));
                    rows.for_each(|(to, from)| add(&mut to[direction * units..][..units], from));
                }
            }
            Part::State { direction, cell } => {
                for (to, from) in self.after[of][direction].iter_mut().zip([&dy, &size]) {
                    add(if cell { &mut to.c } else { &mut to.h }, from);
                }
            }
        }
    }
}

/// Zeros as large as the final states of a recurrent node's directions, twice; none of another node.
pub(super) fn no_states(node: &Node, rows: usize) -> Vec<[Carried; 2]> {
    let Some((cell, options, reading)) = node.config.recurrence() else { return Vec::new() };
    let zeros = || vec![0.0; rows * options.units];
    let state = || Carried { h: zeros(), c: if cell == Cell::Lstm { zeros() } else { Vec::new() } };
    reading.directions().iter().map(|_| [state(), state()]).collect()
}
