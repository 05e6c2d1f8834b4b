//! A whole graph in f64, forward: the meaning that the network's gradients are the gradients of.
//!
//! Everything is written in terms of the kernels' references and of the graph's declaration, and nothing of the
//! network's plan is used, so that a fault there cannot hide by being made twice. The one thing shared is the dropout
//! mask: which elements fall is a choice, not a computation.

use super::drops::{drop, drop_words, dropout};
use super::recurrent::{Carried, Trace, pattern};
use super::words::WordHead;
use crate::graph::{Activation, Axis, Graph, LayerConfig, Node, Output, Role, Source};
use crate::layers::Mask;
use crate::network::LossScale;
use crate::random::Key;
use std::ops::Range;
use unroll_kernels::{activation, embedding, gemm, layer_norm, softmax};

/// A graph to run in f64.
#[derive(Clone, Copy)]
pub(super) struct Model<'a> {
    pub(super) graph: &'a Graph,
    /// One an output.
    pub(super) heads: &'a [Option<WordHead<'a>>],
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
    /// Which of the two sequences these are.
    pub(super) axis: Axis,
    /// Steps and tokens of the other one.
    pub(super) other: (usize, &'a [u32]),
    /// Of each input layer: (T, N, width), or (N, width) where there is one vector a row.
    pub(super) vectors: &'a [Vec<f64>],
    /// (T, N), or (N) where the model gives one output a row.
    pub(super) targets: &'a [u32],
    pub(super) key: Key,
    /// One a direction of each node that carries a state, none of others.
    pub(super) before: &'a [Vec<Carried>],
}

impl Step<'_> {
    /// The same as a layer sees it that works along this sequence.
    pub(super) fn on(&self, axis: Axis) -> Self {
        if axis == self.axis {
            return *self;
        }
        let (steps, tokens) = self.other;
        Self { steps, tokens, axis, other: (self.steps, self.tokens), ..*self }
    }
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
    /// Of a node whose functions have kinks: a hash of the sides on which its values lie. The loss has a kink where it
    /// changes.
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

impl<'a> Model<'a> {
    /// The values of every node up to the logits.
    pub(super) fn forward(&self, step: &Step<'_>, params: Params<'_>) -> Vec<Value> {
        let mut values: Vec<Value> = Vec::with_capacity(self.graph.nodes().len());
        for i in 0..self.graph.nodes().len() {
            let bare = self.graph.is_bare(i);
            let value = if bare { Value::default() } else { self.node(i, step, params, |n| &values[n]) };
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
            let value = (affected[i] && !self.graph.is_bare(i))
                .then(|| self.node(i, step, params, |n| again[n].as_ref().unwrap_or(&base[n])));
            same &= value.as_ref().is_none_or(|value| value.pattern == base[i].pattern);
            again.push(value);
        }
        let value = |n: usize| again[n].as_ref().unwrap_or(&base[n]);
        (self.loss(step, params, value) + self.penalty(step, params, value), same)
    }

    /// The nodes that a change of this tensor reaches.
    pub(super) fn affected(&self, tensor: usize) -> Vec<bool> {
        let mut affected: Vec<bool> = Vec::new();
        for node in self.graph.nodes() {
            let own = node.params.contains(&tensor) || self.dense_tensors(node).is_some_and(|d| d.kernel == tensor);
            let before = node.inputs.iter().any(|&s| matches!(s, Source::Node(n) if affected[n]));
            affected.push(own || before);
        }
        affected
    }

    /// The width of what flows from a source.
    pub(super) fn width(&self, source: Source) -> usize {
        self.graph.shape_of(source).width()
    }

    /// The `nth` tensor of a node that has this role.
    pub(super) fn tensor(&self, node: &Node, role: Role, nth: usize) -> Option<usize> {
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

    /// The function of a dense node; the one that the loss contains is left to it.
    pub(super) fn dense_function(&self, i: usize, function: Activation) -> activation::Activation {
        let contained = |output: &Output| output.logits() == i && output.loss().ending() == Some(function);
        match self.graph.outputs().iter().any(contained) {
            true => activation::Activation::Linear,
            false => element_wise(function),
        }
    }

    /// One node.
    fn node<'v>(&self, i: usize, step: &Step<'_>, params: Params<'_>, value: impl Fn(usize) -> &'v Value) -> Value {
        let node = &self.graph.nodes()[i];
        let step = &step.on(node.axis);
        // Lookups take tokens, input layers the vectors of the batch; every other layer takes nodes.
        let input = |k: usize| match node.inputs[k] {
            Source::Node(n) => &value(n).y[..],
            Source::Input | Source::Second => &[],
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
            LayerConfig::Dense(_) if self.is_word_head(i) => input(0).to_vec(),
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
                Source::Input | Source::Second => Vec::new(),
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
