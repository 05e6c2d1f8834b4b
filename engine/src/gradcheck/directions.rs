//! The recurrent layers of a graph: the directions that each is read in, the states that it starts from and leaves,
//! which of its steps are there, and what it makes of its directions' outputs.

use super::drops::drop_weights;
use super::masked::Output;
use super::model::{Model, Params, Step, Value, row};
use super::recurrent::{Carried, Direction, Trace};
use crate::graph::{Cell, MaskRule, MergeMode, Node, Part, Reading, Recurrent, Role};
use unroll_kernels::cells::reference::Dims;
use unroll_kernels::gru;

/// The tensors of one direction.
#[derive(Clone, Copy)]
pub(super) struct CellTensors {
    pub(super) kernel: usize,
    pub(super) recurrent_kernel: usize,
    pub(super) bias: Option<usize>,
    pub(super) recurrent_bias: Option<usize>,
    pub(super) peephole: Option<usize>,
}

impl Model<'_> {
    /// The tensors of each direction of a recurrent node.
    pub(super) fn cell_tensors(&self, node: &Node) -> Vec<CellTensors> {
        let direction = |d| {
            Some(CellTensors {
                kernel: self.tensor(node, Role::Kernel, d)?,
                recurrent_kernel: self.tensor(node, Role::RecurrentKernel, d)?,
                bias: self.tensor(node, Role::Bias, d),
                recurrent_bias: self.tensor(node, Role::RecurrentBias, d),
                peephole: self.tensor(node, Role::Peephole, d),
            })
        };
        (0..2).map_while(direction).collect()
    }

    /// The directions of a recurrent node; none of any other. `initial` has the states that other layers give, if they
    /// do.
    pub(super) fn directions<'p>(
        &self,
        i: usize,
        step: &Step<'_>,
        params: Params<'p>,
        initial: &[&[f64]],
    ) -> Vec<Direction<'p>> {
        let Some((cell, options, reading)) = self.graph.nodes()[i].config.recurrence() else { return Vec::new() };
        let node = &self.graph.nodes()[i];
        let inputs = self.width(node.inputs[0]);
        let dims = Dims { steps: step.steps, rows: step.rows, inputs, units: options.units };
        let tensors = self.cell_tensors(node);
        let there = self.there(step, params);
        let reverse = |d: usize| reading.directions()[d];
        let directions = tensors.iter().enumerate().map(|(d, tensors)| {
            let zeros = || vec![0.0; dims.state()];
            let states = initial.len() / reading.directions().len();
            let carries = options.stateful && !step.before[i][d].h.is_empty();
            let before = if states > 0 && !carries {
                let given = |k: usize| if k < states { initial[d * states + k].to_vec() } else { Vec::new() };
                Carried { h: given(0), c: given(1) }
            } else if carries {
                step.before[i][d].clone()
            } else {
                Carried { h: zeros(), c: if cell == Cell::Lstm { zeros() } else { Vec::new() } }
            };
            let after = options.reset_after.unwrap_or(true);
            Direction {
                cell,
                functions: options.functions(),
                peephole: tensors.peephole.map(|p| params.get(p)),
                reset: if after { gru::reference::Reset::After } else { gru::reference::Reset::Before },
                reverse: reverse(d),
                dims,
                kernel: params.get(tensors.kernel),
                recurrent_kernel: {
                    let mut kept = params.get(tensors.recurrent_kernel).to_vec();
                    drop_weights(&self.weight_mask(i, d), step.key, &mut kept);
                    kept
                },
                // The references have one bias; what a second one adds is its sum with the first.
                bias: tensors.bias.map(|b| {
                    let mut bias = params.get(b).to_vec();
                    let second = tensors.recurrent_bias.map(|b| params.get(b));
                    bias.iter_mut().zip(second.unwrap_or(&[])).for_each(|(sum, b)| *sum += b);
                    bias
                }),
                before,
                there: there.as_ref().map(|there| in_order(there, step.rows, reverse(d))),
                keep: self
                    .keep(i, d, step, there.as_deref())
                    .map(|keep| keep.map(|x| in_order(x, dims.state(), reverse(d)))),
                drop: self.state_drop(i, d, step),
            }
        });
        directions.collect()
    }

    /// The state that every node leaves.
    pub(super) fn carry(&self, step: &Step<'_>, params: Params<'_>, values: &[Value]) -> Vec<Vec<Carried>> {
        let nodes = self.graph.nodes().iter().enumerate();
        let carried = nodes.map(|(i, node)| match node.config.recurrence() {
            Some((_, options, _)) if options.stateful => {
                let directions = self.directions(i, &step.on(node.axis), params, &[]);
                directions.iter().zip(&values[i].traces).map(|(direction, trace)| direction.after(trace)).collect()
            }
            _ => Vec::new(),
        });
        carried.collect()
    }

    /// The zero state.
    pub(super) fn start(&self, rows: usize) -> Vec<Vec<Carried>> {
        let nodes = self.graph.nodes().iter();
        let zero = nodes.map(|node| match node.config.recurrence() {
            // A row begins where other layers say: there is nothing yet to go on from.
            Some((_, options, reading)) if options.stateful && node.inputs.len() > 1 => {
                vec![Carried::default(); reading.directions().len()]
            }
            Some((cell, options, reading)) if options.stateful => {
                let zeros = vec![0.0; rows * options.units];
                let carried = Carried { c: if cell == Cell::Lstm { zeros.clone() } else { Vec::new() }, h: zeros };
                vec![carried; reading.directions().len()]
            }
            _ => Vec::new(),
        });
        zero.collect()
    }

    /// Which steps (T, N) are there, if the graph masks any.
    pub(super) fn there(&self, step: &Step<'_>, params: Params<'_>) -> Option<Vec<bool>> {
        let rule = self.graph.mask_rule_of(step.axis)?;
        let other = |vector: &[f64], value: f32| vector.iter().any(|&x| x != f64::from(value));
        let there = |at: usize| match rule {
            MaskRule::TokenZero => step.tokens[at] != 0,
            MaskRule::Rows { table, value } => {
                let width = self.graph.params()[table].shape[1];
                other(&params.get(table)[row(step.tokens[at] as usize, width)], value)
            }
            MaskRule::Vectors { input, value } => {
                let width = step.vectors[input].len() / (step.steps * step.rows);
                other(&step.vectors[input][row(at, width)], value)
            }
        };
        Some((0..step.steps * step.rows).map(there).collect())
    }

    /// What the masked steps of a recurrent node give out.
    pub(super) fn output(&self, i: usize) -> Output {
        match self.graph.nodes()[i].config.recurrence() {
            Some((_, _, Reading::Both(_))) => Output::Zero,
            Some((_, options, _)) if options.zero_output_for_mask => Output::Zero,
            _ => Output::Repeated,
        }
    }

    /// Whether a recurrent node gives its outputs in the order of reading, from the last step on.
    pub(super) fn is_turned(&self, i: usize) -> bool {
        let recurrence = self.graph.nodes()[i].config.recurrence();
        recurrence
            .is_some_and(|(_, o, reading)| o.return_sequences && matches!(reading, Reading::One { reverse: true }))
    }

    /// The outputs of each direction that the layer gives: every step's, in the order of time or turned, or the last
    /// one's.
    pub(super) fn outputs(
        &self,
        i: usize,
        directions: &[Direction<'_>],
        options: &Recurrent,
        traces: &[Trace],
    ) -> Vec<Vec<f64>> {
        let output = if options.return_sequences { self.output(i) } else { Output::Repeated };
        let given = |(d, trace): (&Direction<'_>, &Trace)| {
            if self.is_turned(i) {
                return d.turned_outputs(trace, output);
            }
            let y = d.outputs(trace, output);
            if options.return_sequences { d.in_order(&y).into_owned() } else { y[y.len() - d.dims.state()..].to_vec() }
        };
        directions.iter().zip(traces).map(given).collect()
    }

    /// A recurrent layer: the directions' outputs merged.
    pub(super) fn recurrence(&self, i: usize, step: &Step<'_>, params: Params<'_>, inputs: &[&[f64]]) -> Value {
        let (x, initial) = (inputs[0], &inputs[1..]);
        let directions = self.directions(i, step, params, initial);
        let Some((_, options, reading)) = self.graph.nodes()[i].config.recurrence() else { return Value::default() };
        let traces: Vec<Trace> = directions.iter().map(|d| d.forward(&d.in_order(x))).collect();
        let parts = self.outputs(i, &directions, options, &traces);
        let y = match (reading, &parts[..]) {
            (Reading::Both(mode), [one, two]) => merge(mode, options.units, [one, two]),
            _ => parts.concat(),
        };
        let patterns = directions.iter().zip(&traces).map(|(d, trace)| d.pattern(trace));
        let pattern = patterns.fold(0, |a: u64, b| a.rotate_left(1) ^ b);
        Value { y, traces, pattern }
    }

    /// A part of what recurrent node `of` gives.
    pub(super) fn part(
        &self,
        of: usize,
        part: Part,
        (step, params): (&Step<'_>, Params<'_>),
        value: &Value,
    ) -> Vec<f64> {
        match part {
            Part::Output { direction } => {
                let width = self.graph.nodes()[of].shape.width();
                merge_backward(MergeMode::Concat, width / 2, direction, &[], &value.y)
            }
            Part::State { direction, cell } => {
                // What the direction started from has no part in what it left.
                let after = self.directions(of, step, params, &[])[direction].after(&value.traces[direction]);
                if cell { after.c } else { after.h }
            }
        }
    }
}

/// What two directions' outputs of `units` columns are merged to.
fn merge(mode: MergeMode, units: usize, [one, two]: [&[f64]; 2]) -> Vec<f64> {
    let pairs = one.iter().zip(two);
    match mode {
        MergeMode::Concat | MergeMode::None => {
            let rows = one.chunks_exact(units).zip(two.chunks_exact(units));
            rows.flat_map(|(a, b)| a.iter().chain(b)).copied().collect()
        }
        MergeMode::Sum => pairs.map(|(a, b)| a + b).collect(),
        MergeMode::Mul => pairs.map(|(a, b)| a * b).collect(),
        MergeMode::Ave => pairs.map(|(a, b)| (a + b) / 2.0).collect(),
    }
}

/// The gradient of direction `d`'s outputs from that of what they are merged to; `other` is the other direction's
/// outputs.
pub(super) fn merge_backward(mode: MergeMode, units: usize, d: usize, other: &[f64], dy: &[f64]) -> Vec<f64> {
    match mode {
        MergeMode::Concat | MergeMode::None => {
            dy.chunks_exact(2 * units).flat_map(|row| &row[d * units..][..units]).copied().collect()
        }
        MergeMode::Sum => dy.to_vec(),
        MergeMode::Mul => dy.iter().zip(other).map(|(dy, other)| dy * other).collect(),
        MergeMode::Ave => dy.iter().map(|dy| dy / 2.0).collect(),
    }
}

/// Steps of `size` elements each in the order of reading.
fn in_order<T: Clone>(x: &[T], size: usize, reverse: bool) -> Vec<T> {
    if reverse { x.chunks_exact(size).rev().flatten().cloned().collect() } else { x.to_vec() }
}
