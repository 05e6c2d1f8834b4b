//! Backward through the recurrent layers and the parts of their outputs.

use super::super::directions::merge_backward;
use super::super::drops::drop_weights;
use super::super::masked::Output;
use super::super::model::add;
use super::super::recurrent::Carried;
use super::super::sizes::{mean_square, square, squares, state_size};
use super::{Pass, Rows, with_magnitudes};
use crate::graph::{Cell, Node, Part, Reading, Source};
use unroll_kernels::gemm;

impl Pass<'_> {
    pub(super) fn recurrence(&mut self, i: usize, dy: &[f64], size: &[f64]) {
        let Some((_, options, reading)) = self.model.graph.nodes()[i].config.recurrence() else { return };
        let node = &self.model.graph.nodes()[i];
        let model = self.model;
        let states: Vec<usize> =
            node.inputs[1..].iter().filter_map(|s| if let Source::Node(n) = s { Some(*n) } else { None }).collect();
        let values = self.values;
        let given: Vec<&[f64]> = states.iter().map(|&n| &values[n].y[..]).collect();
        let given_sizes: Vec<&[f64]> = states.iter().map(|&n| &self.value_sizes[n][..]).collect();
        let directions = model.directions(i, &self.step, self.params, &given);
        let units = options.units;
        let parts = model.outputs(i, &directions, options, &self.values[i].traces);
        let (x, x_size) = self.input(i);
        let width = x.width;
        let (x_all, x_size_all) = (x.data.to_vec(), x_size.data.to_vec());
        let traces = &self.values[i].traces[..];
        let sizes = [&[&x_size_all[..]], &given_sizes[..]].concat();
        let absolute = state_size(self.model, i, &self.step, self.params, (&sizes, traces));
        let after = std::mem::take(&mut self.after[i]);
        let mut dx_all = vec![0.0; x_all.len()];
        let mut dx_squares = vec![0.0; x_all.len()];
        let mut given_back = Vec::new();
        // How much larger the sizes are than what they are the sizes of: much where all of it cancels.
        let total = |which: usize, dy: &[f64]| {
            let states = after.iter().map(|d| square(&d[which].h) + square(&d[which].c));
            square(dy) + states.sum::<f64>()
        };
        let (came, came_size) = (total(0, dy), total(1, size));
        let excess = (came > 0.0).then(|| (came_size / came).sqrt().max(1.0));
        for (d, (direction, tensors)) in directions.iter().zip(self.model.cell_tensors(node)).enumerate() {
            let trace = &self.values[i].traces[d];
            let own = match reading {
                Reading::Both(mode) => merge_backward(mode, units, d, &parts[1 - d], dy),
                Reading::One { .. } => dy.to_vec(),
            };
            let turned = model.is_turned(i);
            let own = if turned {
                direction.turned_outputs_backward(own, model.output(i))
            } else if options.return_sequences {
                direction.in_order(&own).into_owned()
            } else {
                // Only the step that was read last is an output.
                let mut all = vec![0.0; trace.h().len() - own.len()];
                all.extend_from_slice(&own);
                all
            };
            let output = if options.return_sequences { model.output(i) } else { Output::Repeated };
            let own = if turned { own } else { direction.outputs_backward(own, output) };
            let (x, x_size) = (direction.in_order(&x_all), direction.in_order(&x_size_all));
            let gradients = direction.backward(&x, trace, &own, &after[d][0]);
            add(&mut dx_all, &direction.in_order(&gradients.dx));

            let p = direction.parameters();
            let before = direction.h_before(trace);
            // The state before a text is zero, and exact.
            let before_size: Vec<f64> =
                before.iter().map(|&h| if h == 0.0 { 0.0 } else { h.abs() + absolute }).collect();
            // Gradients come back from every step through the same sums: one typical size serves all.
            let typical = mean_square(&gradients.dpre).sqrt();
            let dpre_size: Vec<f64> = match excess {
                Some(excess) => gradients.dpre.iter().map(|d| excess * (d.abs() + typical)).collect(),
                // No gate has a slope above 1.
                None => vec![(came_size / size.len().max(1) as f64).sqrt(); gradients.dpre.len()],
            };
            let gates = p.kernel.len() / width;
            let rows = dpre_size.len() / gates;
            let mut back = vec![0.0; x.len()];
            let shape = [rows, gates, width];
            gemm::reference::transposed_product(shape, &squares(&dpre_size), &squares(p.kernel), &mut back);
            add(&mut dx_squares, &direction.in_order(&back));
            if !states.is_empty() {
                // They came back through the same steps as the gradients of the pre-activations, and what those have of
                // more than themselves, these have.
                let more = |d: &[f64]| -> Vec<f64> {
                    let typical = mean_square(d).sqrt().max(typical * square(p.recurrent_kernel).sqrt());
                    d.iter().map(|d| excess.unwrap_or(1.0) * (d.abs() + typical)).collect()
                };
                // A row that goes on from the step before has nothing of the given state.
                let begins = !options.stateful || self.step.before[i][d].h.is_empty();
                let of = |d: Vec<f64>| if begins { d } else { vec![0.0; d.len()] };
                let state = [&gradients.dh0, &gradients.dc0].map(|d| (of(d.clone()), of(more(d))));
                given_back.extend(state.into_iter().filter(|(d, _)| !d.is_empty()));
            }

            let mask = model.weight_mask(i, d);
            let mut drecurrent_kernel = gradients.drecurrent_kernel.clone();
            drop_weights(&mask, self.step.key, &mut drecurrent_kernel);
            let result = &mut self.result;
            add(&mut result.tensors[tensors.kernel], &gradients.dkernel);
            add(&mut result.tensors[tensors.recurrent_kernel], &drecurrent_kernel);
            let (kernel, recurrent) = (tensors.kernel, tensors.recurrent_kernel);
            gemm::reference::outer_product([width, rows, gates], &x_size, &dpre_size, &mut result.sizes[kernel]);
            let hidden = [units, rows, gates];
            gemm::reference::outer_product(hidden, &before_size, &dpre_size, &mut result.sizes[recurrent]);
            // Nothing else has a part in this tensor.
            drop_weights(&mask, self.step.key, &mut result.sizes[recurrent]);
            for bias in [tensors.bias, tensors.recurrent_bias].into_iter().flatten() {
                add(&mut result.tensors[bias], &gradients.dbias);
                // A second bias, that of the hidden side, sees gradients that the reset gate makes smaller at most.
                let size = Rows::new(&dpre_size, gates).column_sums();
                result.sizes[bias].chunks_exact_mut(gates).for_each(|part| add(part, &size));
            }
            let c = trace.c();
            if let Some(peephole) = tensors.peephole {
                add(&mut result.tensors[peephole], &gradients.dpeephole);
                let state = &direction.before.c;
                let before = [&state[..], &c[..c.len() - state.len()]].concat();
                for (k, (gate, seen)) in [(0, &before[..]), (1, &before[..]), (3, c)].into_iter().enumerate() {
                    for (at, c) in seen.iter().enumerate() {
                        let (r, u) = (at / units, at % units);
                        let size = dpre_size[r * gates + gate * units + u] * (c.abs() + absolute);
                        result.sizes[peephole][k * units + u] += size;
                    }
                }
            }
            let (x, h, dpre) = (Rows::new(&x, width), Rows::new(&before, units), Rows::new(&gradients.dpre, gates));
            // A cell's element-wise part is counted as sixteen roundings.
            let mut products = vec![(x, p.kernel), (h, p.recurrent_kernel)];
            // What the gates see of the c after a step is not what they see of that before it, but as large.
            products.extend(direction.peephole.map(|p| (Rows::new(c, units), p)));
            self.product_noise(dpre, &products, p.bias.unwrap_or(&[]), 16.0);
        }
        let dx_size = with_magnitudes(dx_squares, &dx_all);
        self.give(i, 0, dx_all, dx_size);
        for (k, (d, size)) in given_back.into_iter().enumerate() {
            self.give(i, 1 + k, d, size);
        }
    }

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
