//! A model as a graph of layers: its declaration ([`ModelConfig`]), and what follows from it.
//!
//! [`Graph::new`] checks the declaration and resolves names, shapes and parameters, with errors in the user's terms. It
//! allocates nothing, so that even a model too large for the memory can be described and its sizes shown.

mod axis;
mod config;
mod describe;
mod head;
mod layer;
mod layouts;
mod mask;
mod output;
mod params;
mod partition;
mod parts;
mod resolve;
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
pub use partition::Words;
pub(crate) use partition::{Ranks, TailShape, WordPartition};
pub use settings::HeadSettings;
pub use shape::{Shape, Time};

use crate::error::{Error, Result};
pub(crate) use sums::{JointParams, Sum};

/// The name of the input in tables and in `inputs`.
pub const INPUT: &str = "sequence";

/// Where an input of a layer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The batch: its tokens or, for an input layer, its vectors.
    Input,
    /// The tokens of the batch's second sequence.
    Second,
    /// The output of node `i`.
    Node(usize),
}

/// A layer in its place in the graph.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its unique name.
    pub name: String,
    /// Its declaration. For a layer within `time_distributed`, the inner layer's.
    pub config: LayerConfig,
    /// Its type as Keras' table spells it.
    pub class: &'static str,
    /// Where its inputs come from.
    pub inputs: Vec<Source>,
    /// The shape of its output.
    pub shape: Shape,
    /// The sequence along which it works.
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

    /// Resolves a declaration for a vocabulary of this size and a number of classes for each output, below which its
    /// targets are. [`Self::new`] gives an output as many classes as its layer has units, or as the vocabulary has
    /// tokens.
    ///
    /// # Errors
    ///
    /// As [`Self::new`]; and where `classes` has not one number for each output.
    pub fn with_classes(config: &ModelConfig, vocabulary: usize, classes: &[usize]) -> Result<Self> {
        Self::build(config, [vocabulary; 2], Some(classes), None)
    }

    /// Resolves a declaration for two vocabularies of these sizes: `vocabulary` of the text, whose tokens are the
    /// targets, and `source` of the sequence that an encoder reads.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn with_source(config: &ModelConfig, vocabulary: usize, source: usize) -> Result<Self> {
        Self::build(config, [vocabulary, source], None, None)
    }

    /// Resolves a declaration for vocabularies of these sizes, that of the text and that of its source, and outputs
    /// whose targets are each one of so many; `words` says what is known of the first output's.
    ///
    /// # Errors
    ///
    /// As [`Self::with_classes`].
    pub(crate) fn labelled(
        config: &ModelConfig,
        vocabularies: [usize; 2],
        targets: &[usize],
        words: Option<Words>,
    ) -> Result<Self> {
        Self::build(config, vocabularies, Some(targets), words)
    }

    /// Resolves a declaration for a vocabulary of known counts, by which heads divide the words and from which they
    /// draw noise. The other constructors assume that tokens are numbered by descending frequency, and that it follows
    /// Zipf's law.
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
                    "the order of the words does not contain each of the {size} words once"
                )));
            }
        }
        Self::build(config, [size; 2], None, Some(words))
    }

    /// The declaration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }
    /// The size of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }
    /// The number of classes of the first output: its targets are less than this.
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
    /// The number of elements of the arena of parameters, padding included.
    pub fn arena(&self) -> usize {
        self.arena
    }
    /// How many trained numbers there are.
    pub fn parameter_count(&self) -> u64 {
        self.params.iter().map(|p| p.len() as u64).sum()
    }
    /// The node that gives the logits of the first output: the loss takes its output before any softmax or sigmoid.
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
    /// The number of rows that every batch must have, where an input layer declares it.
    pub fn batch_size(&self) -> Option<usize> {
        self.vector_inputs().find_map(|(_, input)| input.batch_size)
    }
    /// Refuses a model that takes vectors beside the tokens, for callers that have texts only.
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

    /// The same model made to read a text piece by piece: every layer that reads forward from a zero state carries its
    /// state on to the next piece. After each piece, its output is that of this model for all pieces so far.
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

    /// The shape of what `source` gives.
    pub fn shape_of(&self, source: Source) -> Shape {
        match source {
            Source::Input => Shape::tokens(self.config.input_length),
            Source::Second => Shape::tokens(None),
            Source::Node(i) => self.nodes[i].shape.clone(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
