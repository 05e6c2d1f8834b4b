//! A model as a graph of layers: its declaration ([`ModelConfig`]), and what follows from it.
//!
//! [`Graph::new`] checks the declaration and resolves names, shapes and parameters, with errors in the user's terms.
//! Nothing is allocated here: the graph of a model that would not fit in memory can be made and its sizes shown.

mod axis;
mod config;
mod describe;
mod head;
mod layer;
mod layouts;
mod mask;
mod output;
mod params;
mod parting;
mod parts;
mod settings;
mod shape;
mod sums;

pub use axis::{Axis, SOURCE};
pub use config::{
    Activation, ActivationLayer, ActivationRegularization, Add, Bidirectional, Cell, Concatenate, Dense, Dropout,
    Embedding, HeadConfig, HeadKind, Initializer, Input, LayerConfig, LayerNormalization, Loss, Masking, MergeMode,
    ModelConfig, Noise, OneHot, OutputConfig, Part, Reading, Recurrent, RecurrentConfig, RepeatVector, Reshape,
    TimeDistributed, WordOrder,
};
pub use describe::{Description, SummaryRow};
pub use layouts::HeadLayouts;
pub use mask::MaskRule;
pub use output::Output;
pub use params::{ParamSpec, Role};
pub use parting::Words;
pub(crate) use parting::{Parting, Ranks, TailShape};
pub use settings::HeadSettings;
pub use shape::{Shape, Time};

use crate::error::{Error, Result};
use output::Declared;
use params::ParamList;
pub(crate) use sums::{JointParams, Sum};

/// The name of the input in tables and in `inputs`.
pub const INPUT: &str = "sequence";

/// What a layer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// What comes with the batch: its tokens, and of an input layer its vectors.
    Input,
    /// The second sequence that comes with the batch.
    Second,
    /// The output of node `i`.
    Node(usize),
}

/// A layer in its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its unique name.
    pub name: String,
    /// Its declaration; of a layer that is applied to each step, that of the layer.
    pub config: LayerConfig,
    /// Its type as Keras' table spells it.
    pub class: &'static str,
    /// What it takes.
    pub inputs: Vec<Source>,
    /// The shape of its output.
    pub shape: Shape,
    /// Along which sequence it works.
    pub axis: Axis,
    /// Its parameters: indices into [`Graph::params`].
    pub params: std::ops::Range<usize>,
}

/// A model's layers, shapes and parameters, resolved and checked.
#[derive(Clone, Debug)]
pub struct Graph {
    config: ModelConfig,
    vocabulary: usize,
    source_vocabulary: usize,
    /// What a target of the first output may be: the vocabulary's tokens, or classes of their own.
    classes: usize,
    outputs: Vec<Output>,
    nodes: Vec<Node>,
    params: Vec<ParamSpec>,
    arena: usize,
    /// What masks steps of each sequence, and the first layer that does.
    masks: [Option<(MaskRule, String)>; 2],
    /// How often each token comes and which are used alike, where that is known.
    words: Option<Words>,
    /// Dense layers that are added.
    sums: Vec<Sum>,
}

impl Graph {
    /// Resolves a declaration for a vocabulary of this size.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] that names the layer: unknown or repeated names, shapes that do not fit, values out of range,
    /// a last layer that does not fit the loss.
    pub fn new(config: &ModelConfig, vocabulary: usize) -> Result<Self> {
        Self::build(config, [vocabulary; 2], None, None)
    }

    /// Resolves a declaration for a vocabulary of this size and targets of each output that are one of so many classes. Without them
    /// they are as many as the units of the layers that are named as outputs, or as the vocabulary has tokens.
    ///
    /// # Errors
    ///
    /// As [`Self::new`]; and where there are not as many numbers as outputs.
    pub fn with_outputs(config: &ModelConfig, vocabulary: usize, classes: &[usize]) -> Result<Self> {
        Self::build(config, [vocabulary; 2], Some(classes), None)
    }

    /// Resolves a declaration for vocabularies of these sizes: that of the text, whose tokens are the targets, and that of the source
    /// which an encoder reads.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn with_source(config: &ModelConfig, vocabulary: usize, source: usize) -> Result<Self> {
        Self::build(config, [vocabulary, source], None, None)
    }

    /// Resolves a declaration for a vocabulary of this size and targets that are one of so many classes.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn with_classes(config: &ModelConfig, vocabulary: usize, classes: usize) -> Result<Self> {
        Self::build(config, [vocabulary; 2], Some(&[classes]), None)
    }

    /// Resolves a declaration for vocabularies of these sizes, those of the text and of its source, and targets of each output that are one
    /// of so many; `words` says what is known of the first output's.
    ///
    /// # Errors
    ///
    /// As [`Self::with_outputs`].
    pub(crate) fn labelled(
        config: &ModelConfig,
        vocabularies: [usize; 2],
        targets: &[usize],
        words: Option<Words>,
    ) -> Result<Self> {
        Self::build(config, vocabularies, Some(targets), words)
    }

    /// Resolves a declaration for a vocabulary of which more is known than its size: heads part words by it and draw noise from it.
    /// Without it they take the tokens to stand in the order of their frequency, which follows Zipf's law.
    ///
    /// # Errors
    ///
    /// As [`Self::new`]; and where the order does not have each word once.
    pub fn with_words(config: &ModelConfig, words: Words) -> Result<Self> {
        let size = words.counts.len();
        if let Some(order) = &words.order {
            let mut seen = vec![false; size];
            let fresh = |&word: &u32| seen.get_mut(word as usize).is_some_and(|seen| !std::mem::replace(seen, true));
            if order.len() != size || !order.iter().all(fresh) {
                return Err(Error::usage(format!(
                    "the order of the words does not have each of the {size} words once"
                )));
            }
        }
        Self::build(config, [size; 2], None, Some(words))
    }

    fn build(
        config: &ModelConfig,
        vocabularies: [usize; 2],
        classes: Option<&[usize]>,
        words: Option<Words>,
    ) -> Result<Self> {
        let joined = Self::join_sums(config, vocabularies, classes)?;
        let config = joined.as_ref().unwrap_or(config);
        let (mut graph, declared, nodes) = Self::resolve_layers(config, vocabularies, classes, words)?;
        graph.outputs = graph.find_outputs(declared, &nodes)?;
        graph.check_masks()?;
        Ok(graph)
    }

    /// All but the outputs; and what those are declared to be, and the nodes of the declared layers.
    fn resolve_layers(
        config: &ModelConfig,
        [vocabulary, source_vocabulary]: [usize; 2],
        classes: Option<&[usize]>,
        words: Option<Words>,
    ) -> Result<(Self, Vec<Declared>, Vec<usize>)> {
        if config.layers.is_empty() {
            return Err(Error::usage("the model has no layers").mend("name some in `layers`"));
        }
        if vocabulary == 0 || source_vocabulary == 0 {
            return Err(Error::usage("the vocabulary is empty").mend("give a text with at least one token"));
        }
        let mut declared = Declared::all(config, vocabulary, classes)?;
        let mut graph = Self {
            config: config.clone(),
            vocabulary,
            source_vocabulary,
            classes: declared[0].classes,
            outputs: Vec::new(),
            nodes: Vec::with_capacity(config.layers.len()),
            params: Vec::new(),
            arena: 0,
            masks: [None, None],
            words,
            sums: Vec::new(),
        };
        let (mut list, mut nodes) = (ParamList::default(), Vec::with_capacity(config.layers.len()));
        for (i, layer) in config.layers.iter().enumerate() {
            let output = declared.iter_mut().find(|output| output.layer == i);
            graph.add(layer, output, &mut list)?;
            nodes.push(graph.nodes.len() - 1);
        }
        (graph.params, graph.arena) = list.finish();
        graph.sums = graph.find_sums();
        let joint: Vec<Vec<usize>> = graph.sums.iter().map(|sum| sum.joint(&graph)).collect();
        graph.arena = params::lay_out(&mut graph.params, &joint);
        Ok((graph, declared, nodes))
    }

    /// The declaration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }
    /// The size of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }
    /// What a target of the first output may be: less than this.
    pub fn classes(&self) -> usize {
        self.classes
    }
    /// The layers in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }
    /// Every parameter, with its place in the arena.
    pub fn params(&self) -> &[ParamSpec] {
        &self.params
    }
    /// Elements of the parameters' arena, padding included.
    pub fn arena(&self) -> usize {
        self.arena
    }
    /// How many numbers are trained.
    pub fn parameter_count(&self) -> u64 {
        self.params.iter().map(|p| p.len() as u64).sum()
    }
    /// The node whose output (before its softmax or sigmoid) the loss of the first output takes.
    pub fn logits(&self) -> usize {
        self.outputs[0].logits()
    }
    /// Whether the first output is one for each step (rather than one a sequence).
    pub fn is_sequence(&self) -> bool {
        self.outputs[0].is_sequence()
    }

    /// The input layers, in the order in which a batch brings their vectors: each one's node and declaration.
    pub fn vector_inputs(&self) -> impl Iterator<Item = (usize, &Input)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(i, node)| if let LayerConfig::Input(input) = &node.config { Some((i, input)) } else { None })
    }
    /// Whether a layer takes the tokens of the batch.
    pub fn takes_tokens(&self) -> bool {
        let takes = |node: &Node| node.inputs.contains(&Source::Input) && !matches!(node.config, LayerConfig::Input(_));
        self.nodes.iter().any(takes)
    }
    /// Whether a layer adds to the objective of training.
    pub(crate) fn regularizes(&self) -> bool {
        self.nodes.iter().any(|node| matches!(node.config, LayerConfig::ActivationRegularization(_)))
    }
    /// The rows that every batch has, where an input layer says so.
    pub fn batch_size(&self) -> Option<usize> {
        self.vector_inputs().find_map(|(_, input)| input.batch_size)
    }
    /// Refuses a model that takes more than a text has, for those that give it texts.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] that names the layer that takes vectors.
    pub fn require_text_alone(&self) -> Result<()> {
        let Some((node, input)) = self.vector_inputs().next() else { return Ok(()) };
        let name = &self.nodes[node].name;
        let what = format!("layer `{name}` takes vectors of {}, and a text has none", input.width);
        Err(Error::usage(what).mend("train such a model on data that has vectors, or begin it with an embedding layer"))
    }

    /// The same model as one that is fed piece by piece: every layer that reads forward from a zero state carries its state on.
    /// Fed a text from the zero state, it says after each piece what this model says of all that was fed.
    ///
    /// # Errors
    ///
    /// As [`Self::with_classes`], which accepted this model.
    pub fn carrying(&self) -> Result<Self> {
        let mut config = self.config.clone();
        for layer in &mut config.layers {
            if let LayerConfig::SimpleRnn(options) | LayerConfig::Lstm(options) | LayerConfig::Gru(options) = layer
                && !options.go_backwards
                && options.initial_state.is_empty()
            {
                options.stateful = true;
            }
        }
        self.redeclared(&config)
    }

    /// The same vocabularies, words and classes under another declaration.
    ///
    /// # Errors
    ///
    /// As [`Self::with_classes`].
    pub(crate) fn redeclared(&self, config: &ModelConfig) -> Result<Self> {
        let classes: Vec<usize> = self.outputs.iter().map(Output::classes).collect();
        Self::build(config, [self.vocabulary, self.source_vocabulary], Some(&classes), self.words.clone())
    }

    /// The nodes that take the output of `node`.
    pub fn consumers(&self, node: usize) -> impl Iterator<Item = usize> {
        let takes = move |n: &Node| n.inputs.contains(&Source::Node(node));
        self.nodes.iter().enumerate().filter(move |(_, n)| takes(n)).map(|(i, _)| i)
    }

    /// The recurrent layer that took the steps from what flows from `source`, where one did.
    fn recurrent_before(&self, source: Source) -> Option<&str> {
        let Source::Node(i) = source else { return None };
        let node = &self.nodes[i];
        match (&node.shape.time, node.config.recurrence()) {
            (Some(_), _) => None,
            (None, Some(_)) => Some(&node.name),
            (None, None) => node.inputs.first().and_then(|&source| self.recurrent_before(source)),
        }
    }

    /// The shape of what flows from `source`.
    pub fn shape_of(&self, source: Source) -> Shape {
        match source {
            Source::Input => Shape::tokens(self.config.input_length),
            Source::Second => Shape::tokens(None),
            Source::Node(i) => self.nodes[i].shape.clone(),
        }
    }

    /// Adds a layer, which may give the logits of an output.
    fn add(&mut self, config: &LayerConfig, output: Option<&mut Declared>, list: &mut ParamList) -> Result<()> {
        let (name, inputs) = config.name_and_inputs();
        let name = self.choose_name(name, config.kind())?;
        let inputs = match config {
            LayerConfig::Input(_) if inputs.is_empty() => vec![Source::Input],
            LayerConfig::Input(_) if inputs == [SOURCE] => vec![Source::Second],
            LayerConfig::Input(_) => {
                let what = format!("layer `{name}`: input takes what comes with the batch, no other layer's output");
                return Err(Error::usage(what).mend(format!("leave `inputs` out, or name `{SOURCE}`")));
            }
            _ => self.resolve_inputs(&name, inputs)?,
        };
        let inputs = self.with_initial_state(&name, config, inputs)?;
        let inputs = self.with_dropout(&name, config, inputs, list)?;
        let first = list.len();
        let class = config.class();
        let config = self.each_step(&name, config, &inputs)?;
        let with_units = output.as_ref().filter(|_| !self.config.outputs.is_empty()).and_then(|o| o.with_units(config));
        let config = with_units.as_ref().unwrap_or(config);
        let shape = match output.filter(|output| output.config.head.kind != HeadKind::Softmax) {
            Some(output) => self.resolve_head(&name, config, (&inputs, output), list)?,
            None => self.resolve(&name, config, &inputs, list)?,
        };
        let axis = self.axis_of(&name, config, &inputs)?;
        let node = Node { name, config: config.clone(), class, inputs, shape, axis, params: first..list.len() };
        self.note_mask(&node)?;
        self.nodes.push(node);
        Ok(())
    }

    /// The inputs of a layer, what it reads behind the dropout layer that its `dropout` is.
    fn with_dropout(
        &mut self,
        name: &str,
        config: &LayerConfig,
        mut inputs: Vec<Source>,
        list: &mut ParamList,
    ) -> Result<Vec<Source>> {
        let rate = config.recurrence().map_or(0.0, |(_, options, _)| options.dropout);
        if rate == 0.0 {
            return Ok(inputs);
        }
        let config = LayerConfig::Dropout(Dropout { rate, variational: true, ..Dropout::default() });
        let inner = format!("{name}/dropout");
        let (class, first) = (config.class(), list.len());
        let shape = self.resolve(&inner, &config, &inputs[..1], list)?;
        let axis = self.axis_of(&inner, &config, &inputs[..1])?;
        let node = Node { name: inner, config, class, inputs: vec![inputs[0]], shape, axis, params: first..first };
        self.note_mask(&node)?;
        inputs[0] = Source::Node(self.nodes.len());
        self.nodes.push(node);
        Ok(inputs)
    }

    /// The layer that is computed: the one within, where each step has it by itself. Those layers work on each step anyway.
    fn each_step<'c>(&self, name: &str, config: &'c LayerConfig, inputs: &[Source]) -> Result<&'c LayerConfig> {
        let LayerConfig::TimeDistributed(wrapper) = config else { return Ok(config) };
        let inner = &*wrapper.layer;
        let wrong = |what: &str| Error::usage(format!("layer `{name}`: {what}"));
        let (of_values, of_widths) = (
            matches!(inner, LayerConfig::Activation(_) | LayerConfig::Dropout(_)),
            matches!(inner, LayerConfig::Dense(_) | LayerConfig::LayerNormalization(_)),
        );
        if !of_values && !of_widths {
            let what = format!("time_distributed has no form of {}", inner.kind());
            return Err(wrong(&what).mend("apply it to dense, activation, dropout or layer_normalization"));
        }
        if inner.name_and_inputs() != (None, &[][..]) {
            return Err(wrong("the layer within has a name or inputs").mend("give them to time_distributed"));
        }
        match inputs.first().map(|&source| self.shape_of(source)) {
            Some(shape) if shape.time.is_none() => {
                let what = format!("time_distributed needs a value for each step, its input is {shape}");
                let before = inputs.first().and_then(|&source| self.recurrent_before(source));
                Err(wrong(&what).mend(match before {
                    Some(name) => format!("set return_sequences = true on layer `{name}`"),
                    None => format!("use {} by itself: there are no steps", inner.kind()),
                }))
            }
            _ => Ok(inner),
        }
    }

    fn choose_name(&self, given: Option<&str>, kind: &str) -> Result<String> {
        let taken = |name: &str| name == INPUT || name == SOURCE || self.nodes.iter().any(|n| n.name == name);
        match given {
            Some(name) if taken(name) => {
                Err(Error::usage(format!("two layers are named `{name}`")).mend("give each layer a name of its own"))
            }
            Some(name) if name.is_empty() || name.contains('/') => {
                Err(Error::usage(format!("`{name}` is no name for a layer")).mend("use letters, digits and _"))
            }
            Some(name) => Ok(name.to_owned()),
            None => {
                let numbered = (1..).map(|i| format!("{kind}_{i}"));
                let name = std::iter::once(kind.to_owned()).chain(numbered).find(|name| !taken(name));
                Ok(name.unwrap_or_default())
            }
        }
    }

    fn resolve_inputs(&mut self, name: &str, inputs: &[String]) -> Result<Vec<Source>> {
        if inputs.is_empty() {
            let Some(last) = self.nodes.len().checked_sub(1) else { return Ok(vec![Source::Input]) };
            return Ok(vec![self.whole(last)?]);
        }
        inputs.iter().map(|input| self.find(name, input)).collect()
    }

    /// What layer `name` takes as `input`: the batch's tokens, a layer's output or a part of it.
    fn find(&mut self, name: &str, input: &str) -> Result<Source> {
        if input == INPUT {
            return Ok(Source::Input);
        }
        if input == SOURCE {
            return Ok(Source::Second);
        }
        if let Some(node) = self.nodes.iter().position(|n| n.name == *input) {
            return self.whole(node);
        }
        if let Some((layer, part)) = input.split_once('/')
            && let Some(node) = self.nodes.iter().position(|n| n.name == layer)
        {
            return self.part(name, node, part);
        }
        let declared = self.nodes.iter().filter(|node| !matches!(node.config, LayerConfig::Part(_)));
        let known: Vec<&str> = std::iter::once(INPUT).chain(declared.map(|n| n.name.as_str())).collect();
        Err(Error::usage(format!("layer `{name}` takes `{input}`, which does not stand before it"))
            .mend(format!("layers before it are {}", known.join(", "))))
    }
}

#[cfg(test)]
pub(crate) mod tests;
