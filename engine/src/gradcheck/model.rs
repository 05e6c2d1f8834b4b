//! A whole graph in f64, forward: the meaning that the network's gradients are the gradients of.
//!
//! Everything is written in terms of the kernels' references and of the graph's declaration, and nothing of the network's
//! plan is used, so that a fault there cannot hide by being made twice. The one thing shared is the dropout mask: which
//! elements fall is a choice, not a computation.

use super::masked::{Keep, Output};
use super::recurrent::{Carried, Direction, Trace, pattern};
use crate::graph::{
    Activation, Cell, Dropout, Graph, LayerConfig, Loss, MaskRule, MergeMode, Node, Part, Reading, Recurrent, Role,
    Source,
};
use crate::layers::Mask;
use crate::network::LossScale;
use crate::random::Key;
use std::ops::Range;
use unroll_kernels::cells::reference::Dims;
use unroll_kernels::softmax::IGNORE;
use unroll_kernels::{activation, embedding, gemm, gru, layer_norm, softmax};

/// A graph to run in f64.
#[derive(Clone, Copy)]
pub(super) struct Model<'a> {
    pub(super) graph: &'a Graph,
    pub(super) loss_scale: LossScale,
}

/// One batch, the state before it and the key of its dropout masks.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    /// T
    pub(super) steps: usize,
    /// N
    pub(super) rows: usize,
    /// (T, N); empty where no layer takes tokens.
    pub(super) tokens: &'a [u32],
    /// Of each input layer: (T, N, width), or (N, width) where there is one vector a row.
    pub(super) vectors: &'a [Vec<f64>],
    /// (T, N), or (N) where the model gives one output a row.
    pub(super) targets: &'a [u32],
    pub(super) key: Key,
    /// One a direction of each node that carries a state, none of others.
    pub(super) before: &'a [Vec<Carried>],
}

/// The parameters, one tensor each, of which one may be changed.
#[derive(Clone, Copy)]
pub(super) struct Params<'a> {
    pub(super) tensors: &'a [Vec<f64>],
    pub(super) changed: Option<(usize, &'a [f64])>,
}

impl<'a> Params<'a> {
    pub(super) fn get(self, tensor: usize) -> &'a [f64] {
        match self.changed {
            Some((changed, values)) if changed == tensor => values,
            _ => &self.tensors[tensor],
        }
    }
}

/// What a node computes.
#[derive(Clone, Debug, Default)]
pub(super) struct Value {
    /// (T, N, width), or (N, width) without a time axis.
    pub(super) y: Vec<f64>,
    /// Of a recurrent node: one a direction.
    pub(super) traces: Vec<Trace>,
    /// Of a node whose functions have kinks: a hash of the sides on which its values lie. The loss has a kink where it changes.
    pub(super) pattern: u64,
}

/// The parameters of a dense layer: indices of its tensors.
#[derive(Clone, Copy)]
pub(super) struct DenseTensors {
    pub(super) kernel: usize,
    /// Whether the kernel is the transposed table of an embedding.
    pub(super) tied: bool,
    pub(super) bias: Option<usize>,
}

/// The tensors of one direction.
#[derive(Clone, Copy)]
pub(super) struct CellTensors {
    pub(super) kernel: usize,
    pub(super) recurrent_kernel: usize,
    pub(super) bias: Option<usize>,
    pub(super) recurrent_bias: Option<usize>,
    pub(super) peephole: Option<usize>,
}

impl<'a> Model<'a> {
    /// The values of every node up to the logits.
    pub(super) fn forward(&self, step: &Step<'_>, params: Params<'_>) -> Vec<Value> {
        let mut values: Vec<Value> = Vec::with_capacity(self.graph.nodes().len());
        for i in 0..=self.graph.logits() {
            let value = self.node(i, step, params, |n| &values[n]);
            values.push(value);
        }
        values
    }

    /// The loss after a change that reaches the `affected` nodes only, and whether every relu is as it was in `base`.
    pub(super) fn loss_again(
        &self,
        step: &Step<'_>,
        params: Params<'_>,
        base: &[Value],
        affected: &[bool],
    ) -> (f64, bool) {
        let mut again: Vec<Option<Value>> = Vec::with_capacity(base.len());
        let mut same = true;
        for i in 0..base.len() {
            let value = affected[i].then(|| self.node(i, step, params, |n| again[n].as_ref().unwrap_or(&base[n])));
            same &= value.as_ref().is_none_or(|value| value.pattern == base[i].pattern);
            again.push(value);
        }
        let logits = self.graph.logits();
        let value = |n: usize| again[n].as_ref().unwrap_or(&base[n]);
        (self.loss(step, &value(logits).y) + self.penalty(step, params, value), same)
    }

    /// The nodes that a change of this tensor reaches.
    pub(super) fn affected(&self, tensor: usize) -> Vec<bool> {
        let mut affected: Vec<bool> = Vec::new();
        for node in &self.graph.nodes()[..=self.graph.logits()] {
            let own = node.params.contains(&tensor) || self.dense_tensors(node).is_some_and(|d| d.kernel == tensor);
            let before = node.inputs.iter().any(|&s| matches!(s, Source::Node(n) if affected[n]));
            affected.push(own || before);
        }
        affected
    }

    /// What layers add to the objective.
    fn penalty<'v>(&self, step: &Step<'_>, params: Params<'_>, value: impl Fn(usize) -> &'v Value) -> f64 {
        let nodes = self.graph.nodes()[..=self.graph.logits()].iter().enumerate();
        let penalties = nodes.map(|(i, node)| match &node.config {
            LayerConfig::ActivationRegularization(_) => self.regularized(i, step, params).of(&value(i).y).0,
            _ => 0.0,
        });
        penalties.sum()
    }

    /// What activation regularisation `i` looks at.
    pub(super) fn regularized(&self, i: usize, step: &Step<'_>, params: Params<'_>) -> Regularized {
        let node = &self.graph.nodes()[i];
        let (rows, width) = (step.rows, node.shape.width());
        let (alpha, beta) = match &node.config {
            LayerConfig::ActivationRegularization(layer) => (layer.alpha, layer.beta),
            _ => (0.0, 0.0),
        };
        let sequence = node.shape.time.is_some();
        let count = if sequence { step.steps * rows } else { rows };
        let there = self.there(step, params).filter(|_| sequence);
        let there = |at: usize| there.as_ref().is_none_or(|there| there[at]);
        let places: Vec<usize> = (0..count).filter(|&at| there(at)).collect();
        // Steps that follow one another in a row, whatever is masked between them.
        let next = |at: usize| (1..).map(|t| at + t * rows).take_while(|&next| next < count).find(|&next| there(next));
        let pairs: Vec<[usize; 2]> = places.iter().filter_map(|&at| Some([at, next(at)?])).collect();
        let scored = step.targets.iter().filter(|&&t| t != IGNORE).count() as f64;
        let over = |rate: f32, n: usize| f64::from(rate) * self.factor(step) * scored / (n.max(1) * width) as f64;
        Regularized { alpha: over(alpha, places.len()), beta: over(beta, pairs.len()), width, places, pairs }
    }

    /// The mean, or sum, of the losses that is reported.
    pub(super) fn loss(&self, step: &Step<'_>, logits: &[f64]) -> f64 {
        self.factor(step) * self.losses(step, logits).iter().sum::<f64>()
    }

    /// The factor of each loss.
    pub(super) fn factor(&self, step: &Step<'_>) -> f64 {
        match self.loss_scale {
            LossScale::Mean => 1.0 / step.targets.iter().filter(|&&t| t != IGNORE).count() as f64,
            LossScale::Sum => 1.0,
            LossScale::SumOverTime => 1.0 / step.rows as f64,
        }
    }

    /// -ln p of every target, 0 where it is not scored.
    pub(super) fn losses(&self, step: &Step<'_>, logits: &[f64]) -> Vec<f64> {
        match self.graph.config().loss {
            Loss::CrossEntropy => {
                let width = self.graph.nodes()[self.graph.logits()].shape.width();
                softmax::reference::cross_entropy(logits, width, step.targets)
            }
            Loss::BinaryCrossEntropy => {
                let losses = softmax::reference::binary_cross_entropy(logits, &binary_targets(step.targets));
                let scored = losses.into_iter().zip(step.targets);
                scored.map(|(loss, &t)| if t == IGNORE { 0.0 } else { loss }).collect()
            }
        }
    }

    /// The gradient of the logits.
    pub(super) fn losses_backward(&self, step: &Step<'_>, logits: &[f64]) -> Vec<f64> {
        let factor = self.factor(step);
        match self.graph.config().loss {
            Loss::CrossEntropy => {
                let width = self.graph.nodes()[self.graph.logits()].shape.width();
                softmax::reference::cross_entropy_backward(logits, width, step.targets, factor)
            }
            Loss::BinaryCrossEntropy => {
                let targets = binary_targets(step.targets);
                let d = softmax::reference::binary_cross_entropy_backward(logits, &targets, factor);
                d.into_iter().zip(step.targets).map(|(d, &t)| if t == IGNORE { 0.0 } else { d }).collect()
            }
        }
    }

    /// The state that every node leaves.
    pub(super) fn carry(&self, step: &Step<'_>, params: Params<'_>, values: &[Value]) -> Vec<Vec<Carried>> {
        let nodes = self.graph.nodes().iter().enumerate();
        let carried = nodes.map(|(i, node)| match node.config.recurrence() {
            Some((_, options, _)) if options.stateful => {
                let directions = self.directions(i, step, params, &[]);
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

    /// The width of what flows from a source.
    pub(super) fn width(&self, source: Source) -> usize {
        self.graph.shape_of(source).width()
    }

    fn tensor(&self, node: &Node, role: Role, nth: usize) -> Option<usize> {
        node.params.clone().filter(|&p| self.graph.params()[p].role == role).nth(nth)
    }

    /// The table of an embedding node.
    pub(super) fn table(&self, node: &Node) -> usize {
        node.params.start
    }

    /// The tensors of a dense node.
    pub(super) fn dense_tensors(&self, node: &Node) -> Option<DenseTensors> {
        let LayerConfig::Dense(layer) = &node.config else { return None };
        let bias = self.tensor(node, Role::Bias, 0);
        match &layer.tied_to {
            Some(table) => {
                let table = self.graph.nodes().iter().find(|n| n.name == *table)?;
                Some(DenseTensors { kernel: self.table(table), tied: true, bias })
            }
            None => Some(DenseTensors { kernel: self.tensor(node, Role::Kernel, 0)?, tied: false, bias }),
        }
    }

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

    /// The function of a dense node; the one that the loss contains is left to it.
    pub(super) fn dense_function(&self, i: usize, function: Activation) -> activation::Activation {
        if i == self.graph.logits() { activation::Activation::Linear } else { element_wise(function) }
    }

    /// The directions of a recurrent node; none of any other. `initial` has the states that other layers give, if they do.
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

    /// What stays of the states before each step of direction `d` of recurrent node `i`, in the order of time.
    fn keep(&self, i: usize, d: usize, step: &Step<'_>, there: Option<&[bool]>) -> Option<Keep> {
        let (cell, options, _) = self.graph.nodes()[i].config.recurrence()?;
        let (units, rows) = (options.units, step.rows);
        let rates = [options.zoneout, options.zoneout_cell];
        if there.is_none() && rates == [0.0; 2] {
            return None;
        }
        let of = |state: usize| -> Vec<f64> {
            let mask = Mask::of_zone(i, d, state, rates[state], units);
            let row = |at: usize| -> Vec<f64> {
                if there.is_some_and(|there| !there[at]) {
                    return vec![1.0; units];
                }
                if !mask.drops() {
                    return vec![0.0; units];
                }
                let keeps = mask.keeps(step.key, mask.position(at / rows, at % rows, rows)).flatten().take(units);
                keeps.map(|keep| if keep { 0.0 } else { 1.0 }).collect()
            };
            (0..step.steps * rows).flat_map(row).collect()
        };
        Some(Keep { h: of(0), c: if cell == Cell::Lstm { of(1) } else { Vec::new() } })
    }

    /// What h is multiplied by in the recurrent products of direction `d` of recurrent node `i`, (N, H).
    fn state_drop(&self, i: usize, d: usize, step: &Step<'_>) -> Option<Vec<f64>> {
        let (_, options, _) = self.graph.nodes()[i].config.recurrence()?;
        let mask = Mask::of_state(i, d, options.recurrent_dropout, options.units);
        let mut ones = vec![1.0; step.rows * options.units];
        drop_at(&mask, step.key, |row| row, &mut ones);
        mask.drops().then_some(ones)
    }

    /// What is dropped of the recurrent weights of direction `d` of a recurrent node.
    pub(super) fn weight_mask(&self, i: usize, d: usize) -> Mask {
        let recurrence = self.graph.nodes()[i].config.recurrence();
        let (rate, columns) = recurrence.map_or((0.0, 1), |(cell, o, _)| (o.weight_drop, cell.gates() * o.units));
        Mask::of_weights(i, d, rate, columns)
    }

    /// Which steps (T, N) are there, if the graph masks any.
    fn there(&self, step: &Step<'_>, params: Params<'_>) -> Option<Vec<bool>> {
        let rule = self.graph.mask_rule()?;
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

    /// One node.
    fn node<'v>(&self, i: usize, step: &Step<'_>, params: Params<'_>, value: impl Fn(usize) -> &'v Value) -> Value {
        let node = &self.graph.nodes()[i];
        // Lookups take tokens, input layers the vectors of the batch; every other layer takes nodes.
        let input = |k: usize| match node.inputs[k] {
            Source::Node(n) => &value(n).y[..],
            Source::Input => &[],
        };
        let width = node.shape.width();
        let y = match &node.config {
            LayerConfig::Input(_) => {
                let place = self.graph.vector_inputs().position(|(n, _)| n == i);
                place.map_or(Vec::new(), |k| step.vectors[k].clone())
            }
            LayerConfig::Embedding(layer) => {
                let mut y = embedding::reference::gather(params.get(self.table(node)), width, step.tokens);
                drop_words(&Mask::new(i, layer.dropout, 1), step, &mut y);
                y
            }
            LayerConfig::OneHot(_) => one_hot(step.tokens, width),
            LayerConfig::SimpleRnn(_) | LayerConfig::Lstm(_) | LayerConfig::Gru(_) | LayerConfig::Bidirectional(_) => {
                let inputs: Vec<&[f64]> = (0..node.inputs.len()).map(input).collect();
                return self.recurrence(i, step, params, &inputs);
            }
            LayerConfig::Dense(layer) => {
                let Some(tensors) = self.dense_tensors(node) else { return Value::default() };
                let y = self.dense(tensors, width, params, input(0));
                return with_pattern(self.dense_function(i, layer.activation), y);
            }
            LayerConfig::Dropout(layer) => {
                let mut y = input(0).to_vec();
                drop(&dropout(i, layer, width), step, &mut y);
                y
            }
            LayerConfig::LayerNormalization(_) => self.normalize(i, params, input(0)).y,
            LayerConfig::Masking(_) | LayerConfig::ActivationRegularization(_) => input(0).to_vec(),
            LayerConfig::Activation(layer) if layer.activation == Activation::Softmax => {
                input(0).chunks_exact(width).flat_map(softmax::reference::softmax).collect()
            }
            LayerConfig::Activation(layer) => {
                return with_pattern(element_wise(layer.activation), input(0).to_vec());
            }
            LayerConfig::Add(_) => {
                let mut y = input(0).to_vec();
                (1..node.inputs.len()).for_each(|k| add(&mut y, input(k)));
                y
            }
            LayerConfig::Concatenate(_) => self.concatenate(node, step, input),
            LayerConfig::RepeatVector(_) => input(0).repeat(step.steps),
            LayerConfig::Reshape(_) => self.reshape(node, step, input(0)),
            LayerConfig::Part(part) => match node.inputs[0] {
                Source::Node(of) => self.part(of, *part, (step, params), value(of)),
                Source::Input => Vec::new(),
            },
            // A node has the layer within.
            LayerConfig::TimeDistributed(_) => Vec::new(),
        };
        Value { y, ..Value::default() }
    }

    /// The gain and the offset of a layer normalisation: tensors where it has them.
    pub(super) fn affine(&self, i: usize) -> [Option<usize>; 2] {
        [Role::Gamma, Role::Beta].map(|role| self.tensor(&self.graph.nodes()[i], role, 0))
    }

    /// What a layer normalisation multiplies by, and what it adds.
    pub(super) fn affine_values(&self, i: usize, params: Params<'_>) -> [Vec<f64>; 2] {
        let width = self.graph.nodes()[i].shape.width();
        let [gain, offset] = self.affine(i).map(|p| p.map(|p| params.get(p).to_vec()));
        [gain.unwrap_or_else(|| vec![1.0; width]), offset.unwrap_or_else(|| vec![0.0; width])]
    }

    /// A layer normalisation.
    pub(super) fn normalize(&self, i: usize, params: Params<'_>, x: &[f64]) -> layer_norm::reference::Trace {
        let LayerConfig::LayerNormalization(layer) = &self.graph.nodes()[i].config else {
            return layer_norm::reference::Trace::default();
        };
        let [gain, offset] = self.affine_values(i, params);
        layer_norm::reference::forward(x, &gain, &offset, f64::from(layer.epsilon()))
    }

    /// x W + b.
    fn dense(&self, tensors: DenseTensors, units: usize, params: Params<'_>, x: &[f64]) -> Vec<f64> {
        let kernel = params.get(tensors.kernel);
        let inputs = kernel.len() / units;
        let rows = x.len() / inputs;
        let mut z = tensors.bias.map_or(vec![0.0; rows * units], |b| params.get(b).repeat(rows));
        if tensors.tied {
            gemm::reference::transposed_product([rows, inputs, units], x, kernel, &mut z);
        } else {
            gemm::reference::product([rows, inputs, units], x, kernel, &mut z);
        }
        z
    }

    /// The outputs of each direction that the layer gives, in the order of time: every step's, or the last one's.
    pub(super) fn outputs(
        &self,
        i: usize,
        directions: &[Direction<'_>],
        options: &Recurrent,
        traces: &[Trace],
    ) -> Vec<Vec<f64>> {
        let output = if options.return_sequences { self.output(i) } else { Output::Repeated };
        let given = |(d, trace): (&Direction<'_>, &Trace)| {
            let y = d.outputs(trace, output);
            if options.return_sequences { d.in_order(&y).into_owned() } else { y[y.len() - d.dims.state()..].to_vec() }
        };
        directions.iter().zip(traces).map(given).collect()
    }

    /// A recurrent layer: the directions' outputs merged.
    fn recurrence(&self, i: usize, step: &Step<'_>, params: Params<'_>, inputs: &[&[f64]]) -> Value {
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
    fn part(&self, of: usize, part: Part, (step, params): (&Step<'_>, Params<'_>), value: &Value) -> Vec<f64> {
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

    /// The inputs' rows side by side.
    pub(super) fn concatenate<'v>(&self, node: &Node, step: &Step<'_>, input: impl Fn(usize) -> &'v [f64]) -> Vec<f64> {
        let parts: Vec<(&[f64], usize)> =
            (0..node.inputs.len()).map(|k| (input(k), self.width(node.inputs[k]))).collect();
        let rows = if node.shape.time.is_some() { step.steps * step.rows } else { step.rows };
        (0..rows).flat_map(|r| parts.iter().flat_map(move |(x, w)| &x[r * w..][..*w])).copied().collect()
    }

    /// Joins time and features, which stand time-major, row by row.
    pub(super) fn reshape(&self, node: &Node, step: &Step<'_>, x: &[f64]) -> Vec<f64> {
        let width = self.width(node.inputs[0]);
        self.reshape_blocks(node, step).flat_map(|block| &x[block * width..][..width]).copied().collect()
    }

    /// The rows of a reshape's input in the order in which they stand in its output.
    pub(super) fn reshape_blocks(&self, node: &Node, step: &Step<'_>) -> impl Iterator<Item = usize> + use<> {
        let steps = if self.graph.shape_of(node.inputs[0]).time.is_some() { step.steps } else { 1 };
        let rows = step.rows;
        (0..rows).flat_map(move |n| (0..steps).map(move |t| t * rows + n))
    }
}

/// The positions and the pairs of positions that an activation regularisation looks at, and the factor of each square.
pub(super) struct Regularized {
    alpha: f64,
    beta: f64,
    width: usize,
    places: Vec<usize>,
    pairs: Vec<[usize; 2]>,
}

impl Regularized {
    /// What it adds to the objective, and the gradient of that.
    pub(super) fn of(&self, y: &[f64]) -> (f64, Vec<f64>) {
        let (mut sum, mut gradient) = (0.0, vec![0.0; y.len()]);
        for at in self.places.iter().flat_map(|&at| row(at, self.width)) {
            sum += self.alpha * y[at] * y[at];
            gradient[at] += 2.0 * self.alpha * y[at];
        }
        for [one, two] in &self.pairs {
            for (one, two) in row(*one, self.width).zip(row(*two, self.width)) {
                let d = y[two] - y[one];
                sum += self.beta * d * d;
                gradient[two] += 2.0 * self.beta * d;
                gradient[one] -= 2.0 * self.beta * d;
            }
        }
        (sum, gradient)
    }

    /// The most that an entry of the gradient moves by where every value moves by 1 at most.
    pub(super) fn slope(&self) -> f64 {
        2.0 * self.alpha + 8.0 * self.beta
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

/// The gradient of direction `d`'s outputs from that of what they are merged to; `other` is the other direction's outputs.
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

/// The mask of a dropout layer.
pub(super) fn dropout(node: usize, layer: &Dropout, width: usize) -> Mask {
    Mask::new(node, layer.rate, width).for_all_steps(layer.variational)
}

/// Drops and scales the rows of `x` (T N or N, columns), forward and backward alike.
pub(super) fn drop(mask: &Mask, step: &Step<'_>, x: &mut [f64]) {
    let rows = step.rows;
    drop_at(mask, step.key, |at| mask.position(at / rows, at % rows, rows), x);
}

/// Drops and scales recurrent weights, or their gradient.
pub(super) fn drop_weights(mask: &Mask, key: Key, x: &mut [f64]) {
    drop_at(mask, key, |row| row, x);
}

fn drop_at(mask: &Mask, key: Key, position: impl Fn(usize) -> usize, x: &mut [f64]) {
    if !mask.drops() {
        return;
    }
    for (at, row) in x.chunks_exact_mut(mask.columns()).enumerate() {
        for (x, keep) in row.iter_mut().zip(mask.keeps(key, position(at)).flatten()) {
            *x = if keep { *x * mask.scale() } else { 0.0 };
        }
    }
}

/// Drops and scales the rows of `x` (T N, columns), each that of a token, forward and backward alike.
pub(super) fn drop_words(mask: &Mask, step: &Step<'_>, x: &mut [f64]) {
    if !mask.drops() {
        return;
    }
    let width = x.len() / step.tokens.len();
    for (row, &token) in x.chunks_exact_mut(width).zip(step.tokens) {
        let factor = if mask.keeps_word(step.key, token) { mask.scale() } else { 0.0 };
        row.iter_mut().for_each(|x| *x *= factor);
    }
}

/// a += b
pub(super) fn add(a: &mut [f64], b: &[f64]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
}

/// The element-wise functions; linear for softmax, which is none.
pub(super) fn element_wise(function: Activation) -> activation::Activation {
    function.element_wise().unwrap_or(activation::Activation::Linear)
}

/// The elements of one row of a matrix of `width` columns.
pub(super) fn row(r: usize, width: usize) -> Range<usize> {
    r * width..(r + 1) * width
}

fn with_pattern(function: activation::Activation, mut y: Vec<f64>) -> Value {
    y.iter_mut().for_each(|y| *y = activation::reference::forward(function, *y));
    let pattern = pattern(function, y.iter().copied());
    Value { y, traces: Vec::new(), pattern }
}

fn one_hot(tokens: &[u32], width: usize) -> Vec<f64> {
    let mut y = vec![0.0; tokens.len() * width];
    tokens.iter().enumerate().for_each(|(r, &token)| y[r * width + token as usize] = 1.0);
    y
}

fn binary_targets(targets: &[u32]) -> Vec<f64> {
    targets.iter().map(|&t| if t == 0 { 0.0 } else { 1.0 }).collect()
}
