//! The plan: what each node of a graph runs as, which nodes are fused, and how much memory that takes.

use super::replica::Scoring;
use super::{NetworkOptions, Replica};
use crate::error::{Error, Result};
use crate::gradient::Gradient;
use crate::graph::{
    self, Cell, Graph, HeadKind, JointParams, LayerConfig, LayerNormalization, Loss, Node, Output, ParamSpec, Reading,
    Recurrent, Role, Shape, Source, Sum,
};
use crate::layers::{
    ActivationLayer, AddLayer, CellParams, ConcatenateLayer, DenseLayer, DenseParams, Dims, DirectionPlan,
    DropoutLayer, EmbeddingLayer, Extent, InputKind, InputLayer, Layer, LayerNormLayer, LayerNormParams, LayerOutput,
    Mask, OneHotLayer, PartLayer, RecurrentLayer, RecurrentPlan, RegularizeLayer, RepeatLayer, ReshapeLayer, Slot,
    StateDropoutParams, Weights,
};
use unroll_kernels::activation::Activation;
use unroll_kernels::gemm::{MOST_INT8_TERMS, Precision};

/// The fusions by name: each can be switched off.
pub const FUSIONS: [&str; 3] = ["token_input", "softmax_head", "dense_sum"];

/// How a graph runs: what each of its nodes becomes.
pub(super) struct Plan<'a> {
    pub(super) graph: &'a Graph,
    pub(super) options: &'a NetworkOptions,
    /// The most steps of each sequence, and rows of one replica.
    pub(super) capacities: [Dims; 2],
}

impl<'a> Plan<'a> {
    pub(super) fn new(graph: &'a Graph, options: &'a NetworkOptions) -> Result<Self> {
        if let Some(name) = options.no_fuse.iter().find(|name| !FUSIONS.contains(&name.as_str())) {
            return Err(
                Error::usage(format!("no fusion is named `{name}`")).mend(format!("known: {}", FUSIONS.join(", ")))
            );
        }
        let rows = options.rows.div_ceil(options.replicas.max(1));
        Ok(Self {
            graph,
            options,
            capacities: [options.steps, options.source_steps].map(|steps| Dims::full(steps, rows)),
        })
    }

    /// The steps and rows of the sequence that node `i` works along.
    pub(super) fn capacity(&self, i: usize) -> Dims {
        self.capacities[self.graph.nodes()[i].axis as usize]
    }

    fn fuses(&self, name: &str) -> bool {
        !self.options.no_fuse.iter().any(|n| n == name)
    }

    pub(super) fn spec(&self, node: &Node, role: Role, nth: usize) -> Option<&'a ParamSpec> {
        self.graph.params()[node.params.clone()].iter().filter(|p| p.role == role).nth(nth)
    }

    /// Whether node `i` turns tokens into vectors and is fused with the recurrent layers that take these.
    fn is_fused_lookup(&self, i: usize) -> bool {
        let node = &self.graph.nodes()[i];
        let lookup = matches!(node.config, LayerConfig::Embedding(_) | LayerConfig::OneHot(_));
        let recurrent = |c: usize| {
            let config = &self.graph.nodes()[c].config;
            config.recurrent().is_some() || matches!(config, LayerConfig::Bidirectional(_))
        };
        lookup && self.fuses("token_input") && self.graph.consumers(i).all(recurrent)
    }

    /// The sum of dense layers that node `i` computes as one dense layer.
    fn sum(&self, i: usize) -> Option<&'a Sum> {
        self.graph.sum(i).filter(|_| self.fuses("dense_sum"))
    }

    /// The sum whose inputs node `i`, the last of its terms, puts side by side.
    fn joint(&self, i: usize) -> Option<&'a Sum> {
        self.sum_of(i).filter(|sum| self.joint_node(sum) == i)
    }

    /// The sum that node `i` is a part of.
    fn sum_of(&self, i: usize) -> Option<&'a Sum> {
        self.graph.sum_of(i).filter(|_| self.fuses("dense_sum"))
    }

    /// The node in whose place the inputs of a sum stand side by side: the last term, so that all inputs come before
    /// it.
    fn joint_node(&self, sum: &Sum) -> usize {
        sum.terms.iter().copied().max().unwrap_or(sum.node)
    }

    /// Whether the dense layer that gives the logits of an output, or the sum of several, is part of its head.
    pub(super) fn fuses_head(&self, output: &Output) -> bool {
        if output.head().kind != HeadKind::Softmax {
            return true;
        }
        let logits = output.logits();
        let dense = matches!(self.graph.nodes()[logits].config, LayerConfig::Dense(_)) || self.sum(logits).is_some();
        let alone = self.graph.consumers(logits).all(|i| output.bare() == Some(i));
        output.loss() == Loss::CrossEntropy && self.fuses("softmax_head") && dense && alone
    }

    /// Whether node `i` is computed as part of another, or as part of a loss.
    fn is_fused(&self, i: usize) -> bool {
        let in_head = |output: &Output| output.logits() == i && self.fuses_head(output);
        let term = self.sum_of(i).is_some() && self.joint(i).is_none();
        self.graph.is_bare(i) || self.graph.outputs().iter().any(in_head) || self.is_fused_lookup(i) || term
    }

    /// The inputs of node `i`, after fusions.
    fn sources(&self, i: usize) -> Vec<Source> {
        let nodes = self.graph.nodes();
        match (self.joint(i), self.sum(i)) {
            (Some(sum), _) => sum.terms.iter().map(|&term| nodes[term].inputs[0]).collect(),
            (None, Some(sum)) => vec![Source::Node(self.joint_node(sum))],
            (None, None) => nodes[i].inputs.clone(),
        }
    }

    /// The shape of the output of node `i`, after fusions.
    pub(super) fn shape(&self, i: usize) -> Shape {
        let shape = &self.graph.nodes()[i].shape;
        if self.is_fused(i) {
            return Shape { time: None, dims: vec![0] };
        }
        match self.joint(i).and_then(|sum| self.graph.joint_params(sum)) {
            Some(JointParams { inputs, .. }) => shape.with_dims(vec![inputs]),
            None => shape.clone(),
        }
    }

    /// The cells of a recurrent node: one, or two of a bidirectional layer.
    pub(super) fn cells(&self, node: &Node) -> Vec<CellParams> {
        let Some((cell, options, reading)) = node.config.recurrence() else { return Vec::new() };
        let place = self.graph.nodes().iter().position(|n| n.name == node.name).unwrap_or_default();
        let drop = |d| Mask::of_weights(place, d, options.weight_drop, cell.gates() * options.units);
        let cells = (0..reading.directions().len()).filter_map(|d| {
            Some(CellParams {
                cell,
                functions: options.functions(),
                peephole: self.spec(node, Role::Peephole, d).map(|p| p.range.clone()),
                reset_after: cell == Cell::Gru && options.reset_after.unwrap_or(true),
                inputs: self.spec(node, Role::Kernel, d)?.shape[0],
                units: options.units,
                kernel: self.spec(node, Role::Kernel, d)?.range.clone(),
                recurrent_kernel: self.spec(node, Role::RecurrentKernel, d)?.range.clone(),
                bias: self.spec(node, Role::Bias, d).map(|p| p.range.clone()),
                recurrent_bias: self.spec(node, Role::RecurrentBias, d).map(|p| p.range.clone()),
                starts: node.inputs.len() > 1,
                drop: Some(drop(d)).filter(|mask| mask.drops() && self.options.training),
                state_dropout: self.state_dropout(place, d, options),
            })
        });
        cells.collect()
    }

    /// Recurrent dropout and zoneout of direction `d` of the recurrent node at `place`.
    fn state_dropout(&self, place: usize, d: usize, options: &Recurrent) -> StateDropoutParams {
        let Recurrent { units, recurrent_dropout, zoneout, zoneout_cell, .. } = *options;
        let zone = |state, rate| Some(Mask::of_zone(place, d, state, rate, units)).filter(Mask::drops);
        let drop = Mask::of_state(place, d, recurrent_dropout, units);
        StateDropoutParams {
            drop: Some(drop).filter(|mask| mask.drops() && self.options.training),
            zone: [zone(0, zoneout), zone(1, zoneout_cell)],
        }
    }

    /// The recurrent weights to pack, in the order of the nodes.
    pub(super) fn packs(&self) -> Vec<CellParams> {
        self.graph.nodes().iter().flat_map(|node| self.cells(node)).collect()
    }

    /// The weights that are kept packed besides the recurrent ones, in lower precisions: in training only those whose
    /// product is computed in many blocks, else all. Other products pack what they need as they go.
    pub(super) fn other_packs(&self) -> Vec<Weights> {
        let NetworkOptions { precision, training, .. } = *self.options;
        if precision == Precision::F32 {
            return Vec::new();
        }
        let nodes = self.graph.nodes().iter();
        let projections = nodes.clone().filter(|node| match self.origin(node.inputs[0]) {
            InputKind::Numbers => true,
            InputKind::Table(..) => !training,
            InputKind::OneHot => false,
        });
        let projections = projections.flat_map(|node| self.cells(node)).map(|cell| Weights {
            units: cell.kernel.len() / cell.inputs,
            range: cell.kernel,
            inputs: cell.inputs,
            transposed: false,
        });
        // The heads that part their words multiply with some of the weights at a time.
        let parts =
            |i| self.graph.outputs().iter().any(|output| output.logits() == i && output.head().kind.partitions_words());
        let dense = (0..self.graph.nodes().len()).filter(|&i| !training && !parts(i)).filter_map(|i| self.dense(i));
        let dense = dense.map(|dense| dense.weights());
        // What is not packed is multiplied in f32 where others are in int8.
        let fits = |weights: &Weights| precision != Precision::Int8 || weights.inputs <= MOST_INT8_TERMS;
        projections.chain(dense).filter(fits).collect()
    }

    /// The parameters of a dense layer, or of a sum of several as one layer; `None` for the terms of such a sum.
    pub(super) fn dense(&self, i: usize) -> Option<DenseParams> {
        let node = &self.graph.nodes()[i];
        if let Some(sum) = self.sum(i) {
            let JointParams { kernel, inputs, bias, .. } = self.graph.joint_params(sum)?;
            return Some(DenseParams { kernel, tied: false, bias, inputs, units: node.shape.width() });
        }
        let LayerConfig::Dense(layer) = &node.config else { return None };
        if self.sum_of(i).is_some() {
            return None;
        }
        let bias = self.spec(node, Role::Bias, 0).or(self.spec(node, Role::WordBias, 0)).map(|p| p.range.clone());
        let inputs = self.graph.shape_of(node.inputs[0]).width();
        let units = node.shape.width();
        let (kernel, tied) = match &layer.tied_to {
            Some(table) => {
                let table = self.graph.nodes().iter().find(|n| n.name == *table)?;
                (self.spec(table, Role::Embeddings, 0)?.range.clone(), true)
            }
            None => match self.spec(node, Role::WordKernel, 0) {
                Some(rows) => (rows.range.clone(), true),
                None => (self.spec(node, Role::Kernel, 0)?.range.clone(), false),
            },
        };
        Some(DenseParams { kernel, tied, bias, inputs, units })
    }

    /// The kind of input that a recurrent layer's projection takes.
    fn origin(&self, source: Source) -> InputKind {
        let Source::Node(i) = source else { return InputKind::OneHot };
        let node = &self.graph.nodes()[i];
        match &node.config {
            _ if !self.is_fused_lookup(i) => InputKind::Numbers,
            LayerConfig::Embedding(layer) => match self.spec(node, Role::Embeddings, 0) {
                Some(table) => InputKind::Table(table.range.clone(), layer.output_dim, self.words(i, layer.dropout)),
                None => InputKind::Numbers,
            },
            _ => InputKind::OneHot,
        }
    }

    /// The mask of the words that an embedding drops.
    fn words(&self, node: usize, rate: f32) -> Option<Mask> {
        Some(Mask::new(node, rate, 1)).filter(Mask::drops)
    }

    /// A dense layer. The activation that is part of the loss is left to the loss.
    fn dense_layer(&self, i: usize, activation: graph::Activation) -> Result<Layer> {
        let in_loss = |output: &Output| output.logits() == i && output.loss().ending() == Some(activation);
        let function = match self.graph.outputs().iter().any(in_loss) {
            true => Some(Activation::Linear),
            false => activation.element_wise(),
        };
        let Some(function) = function else {
            let what = format!("layer `{}`: softmax inside a model is a layer of its own", self.graph.nodes()[i].name);
            return Err(Error::usage(what).mend("use activation = \"linear\" and an activation layer after it"));
        };
        let params = self.dense(i).ok_or_else(|| self.no_parameters(i))?;
        Ok(Layer::Dense(DenseLayer::new(params, function)))
    }

    fn layer_norm(&self, i: usize, layer: &LayerNormalization) -> Layer {
        let node = &self.graph.nodes()[i];
        let range = |role| self.spec(node, role, 0).map(|p| p.range.clone());
        let (gain, offset) = (range(Role::Gamma), range(Role::Beta));
        let params = LayerNormParams { gain, offset, epsilon: layer.epsilon() };
        Layer::Normalization(LayerNormLayer::new(params, &node.shape, self.capacity(i)))
    }

    fn no_parameters(&self, i: usize) -> Error {
        Error::run(format!("layer `{}` has no parameters to run with", self.graph.nodes()[i].name))
    }

    /// What node `i` runs as. `pack` is the number of recurrent cells in the nodes before it.
    fn layer(&self, i: usize, pack: &mut usize) -> Result<Layer> {
        let node = &self.graph.nodes()[i];
        if self.is_fused(i) {
            return Ok(Layer::Fused);
        }
        if let Some(sum) = self.joint(i) {
            let JointParams { ones, .. } = self.graph.joint_params(sum).ok_or_else(|| self.no_parameters(i))?;
            return Ok(Layer::Joint(ConcatenateLayer { ones }));
        }
        Ok(match &node.config {
            LayerConfig::Input(layer) => {
                Layer::Input(InputLayer { sequence: node.shape.time.is_some(), width: layer.width })
            }
            LayerConfig::Embedding(layer) => {
                let table = self.spec(node, Role::Embeddings, 0).ok_or_else(|| self.no_parameters(i))?;
                let drop = self.words(i, layer.dropout);
                Layer::Embedding(EmbeddingLayer::new(table.range.clone(), layer.output_dim, drop))
            }
            LayerConfig::OneHot(_) => Layer::OneHot(OneHotLayer),
            LayerConfig::TimeDistributed(_) => return Err(self.no_parameters(i)),
            LayerConfig::Part(part) => Layer::Part(PartLayer::new(*part)),
            LayerConfig::SimpleRnn(o) | LayerConfig::Lstm(o) | LayerConfig::Gru(o) => {
                self.recurrent(node, Reading::One { reverse: o.go_backwards }, o.return_sequences, pack)
            }
            LayerConfig::Bidirectional(layer) => {
                let reading = Reading::Both(layer.merge_mode);
                self.recurrent(node, reading, layer.layer.parts().1.return_sequences, pack)
            }
            LayerConfig::Dense(layer) => self.dense_layer(i, layer.activation)?,
            LayerConfig::LayerNormalization(layer) => self.layer_norm(i, layer),
            LayerConfig::Dropout(layer) => {
                let mask = Mask::new(i, layer.rate, node.shape.width()).for_all_steps(layer.variational);
                Layer::Dropout(DropoutLayer::new(mask, node.shape.time.is_some()))
            }
            LayerConfig::ActivationRegularization(layer) => Layer::Regularize(RegularizeLayer {
                alpha: layer.alpha,
                beta: layer.beta,
                sequence: node.shape.time.is_some(),
            }),
            // The steps that it masks are not there.
            LayerConfig::Masking(_) => Layer::Activation(ActivationLayer::ElementWise(Activation::Linear)),
            LayerConfig::Activation(layer) => Layer::Activation(
                layer.activation.element_wise().map_or(ActivationLayer::Softmax, ActivationLayer::ElementWise),
            ),
            LayerConfig::Add(_) => match self.dense(i) {
                Some(params) => Layer::Dense(DenseLayer::new(params, Activation::Linear)),
                None => Layer::Add(AddLayer),
            },
            LayerConfig::Concatenate(_) => Layer::Concatenate(ConcatenateLayer { ones: 0 }),
            LayerConfig::RepeatVector(_) => Layer::Repeat(RepeatLayer),
            LayerConfig::Reshape(_) => Layer::Reshape(ReshapeLayer {
                joins_time: self.graph.shape_of(node.inputs[0]).time.is_some(),
                repeats: self.repeats(node.inputs[0]),
            }),
        })
    }

    /// Whether the output of a masked step of this source is that of the step before it, rather than zero.
    fn repeats(&self, source: Source) -> bool {
        let Source::Node(n) = source else { return false };
        let recurrent = self.graph.nodes()[n].config.recurrent();
        recurrent.is_some_and(|(_, options)| !options.zero_output_for_mask)
    }

    fn recurrent(&self, node: &Node, reading: Reading, return_sequences: bool, pack: &mut usize) -> Layer {
        let cells = self.cells(node);
        let first = *pack;
        *pack += cells.len();
        let NetworkOptions { precision, training, .. } = *self.options;
        let capacity = self.capacities[node.axis as usize];
        let room = DirectionPlan { precision, capacity, backward: training };
        let plan = RecurrentPlan { cells, reading, pack: first, return_sequences, room };
        Layer::Recurrent(RecurrentLayer::new(plan, || self.origin(node.inputs[0])))
    }

    /// The node whose output is the input of the head of `output`.
    fn head_input(&self, output: &Output) -> Result<usize> {
        let logits = output.logits();
        let source = if self.fuses_head(output) { self.sources(logits)[0] } else { Source::Node(logits) };
        match source {
            Source::Node(node) => Ok(node),
            Source::Input | Source::Second => Err(Error::usage("the model's last layer takes tokens")
                .mend("put an embedding, one_hot or input layer before it")),
        }
    }

    /// An extent for each sequence, for the batches of one replica.
    pub(super) fn extents(&self) -> [Extent; 2] {
        self.capacities.map(Extent::with_capacity)
    }

    /// Builds one replica.
    pub(super) fn replica(&self) -> Result<Replica> {
        let mut pack = 0;
        let mut slots = Vec::with_capacity(self.graph.nodes().len());
        let nodes = 0..self.graph.nodes().len();
        for i in nodes.clone() {
            let layer = self.layer(i, &mut pack)?;
            slots.push(Slot {
                layer,
                output: LayerOutput::new(&self.shape(i), self.capacity(i), self.options.training),
            });
        }
        let sources = nodes.map(|i| self.sources(i)).collect();
        let heads = self.graph.outputs().iter().enumerate();
        let heads = heads.map(|(o, output)| {
            let positions = output.positions(self.capacities[0].steps, self.capacities[0].rows);
            Ok(Scoring::new(self.head(o, output)?, self.head_input(output)?, output.is_sequence(), positions))
        });
        let (params, len) =
            if self.options.training { (self.graph.params(), self.graph.arena()) } else { (&[][..], 0) };
        let grads = Gradient::new(params, len, &self.tables(), &self.options.home)?;
        Ok(Replica::new((slots, sources), heads.collect::<Result<_>>()?, self.graph, self.capacities, grads))
    }
}
