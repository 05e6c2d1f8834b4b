//! What a model is trained on: its outputs, each with a loss and a head of its own. Nearly every model has one.

use super::config::{Activation, Dense, HeadConfig, HeadKind, LayerConfig, Loss, ModelConfig, OutputConfig, Reading};
use super::head::check_head;
use super::partition::WordPartition;
use super::{Axis, Graph, Node, SOURCE, Source};
use crate::error::{Error, Result};
use std::ops::Range;

/// An output of a model, with its loss.
#[derive(Clone, Debug)]
pub struct Output {
    config: OutputConfig,
    classes: usize,
    logits: usize,
    /// The softmax or sigmoid behind the logits where nothing else takes it: the loss contains it.
    bare: Option<usize>,
    sequence: bool,
    partition: WordPartition,
}

impl Output {
    /// The name of its layer.
    pub fn name(&self) -> &str {
        &self.config.layer
    }
    /// Its loss.
    pub fn loss(&self) -> Loss {
        self.config.loss
    }
    /// The weight of its loss in the sum that training minimises.
    pub fn weight(&self) -> f32 {
        self.config.weight
    }
    /// How its cross-entropy is computed.
    pub fn head(&self) -> &HeadConfig {
        &self.config.head
    }
    /// The number of classes: targets are less than this. 1 for a mean squared error, whose targets are the bits of an
    /// f32.
    pub fn classes(&self) -> usize {
        self.classes
    }
    /// The node that gives its logits: the loss takes that node's output before any softmax or sigmoid.
    pub fn logits(&self) -> usize {
        self.logits
    }
    /// Whether there is an output for each step, rather than one for a sequence.
    pub fn is_sequence(&self) -> bool {
        self.sequence
    }
    /// How the head parts the words.
    pub(crate) fn partition(&self) -> &WordPartition {
        &self.partition
    }
    /// The node that is not computed, since the loss contains it.
    pub(crate) fn bare(&self) -> Option<usize> {
        self.bare
    }
    /// The number of outputs of a batch with `steps` steps and `rows` rows.
    pub fn positions(&self, steps: usize, rows: usize) -> usize {
        if self.sequence { steps * rows } else { rows }
    }
}

/// A declared output, before the nodes are made.
pub(super) struct Declared {
    pub(super) config: OutputConfig,
    pub(super) classes: usize,
    /// The layer that it names, and the one that gives the logits: places in [`ModelConfig::layers`].
    last: usize,
    pub(super) layer: usize,
    pub(super) partition: WordPartition,
}

impl Declared {
    /// The outputs of a model of a vocabulary of this size; `classes` says of each what a target may be, where that is
    /// known.
    pub(super) fn all(config: &ModelConfig, vocabulary: usize, classes: Option<&[usize]>) -> Result<Vec<Self>> {
        let outputs = outputs(config)?;
        if let Some(given) = classes.filter(|given| given.len() != outputs.len()) {
            let what = format!("the data have labels for {} outputs, the model has {}", given.len(), outputs.len());
            return Err(Error::usage(what).mend("declare one output for each label: [[model.graph.outputs]]"));
        }
        let all = outputs.into_iter().enumerate().map(|(i, (last, config_of))| {
            let layer = logits_of(config, last, config_of.loss);
            let units = match &config.layers[layer] {
                LayerConfig::Dense(dense) if !config.outputs.is_empty() => dense.units,
                _ => None,
            };
            let classes = classes.map(|classes| classes[i]).or(units).unwrap_or(vocabulary);
            check_head(&config_of, classes)?;
            Ok(Self { config: config_of, classes, last, layer, partition: WordPartition::Whole })
        });
        all.collect()
    }

    /// The declaration of the layer that gives the logits, with as many units as there are classes unless it says how
    /// many.
    pub(super) fn with_units(&self, config: &LayerConfig) -> Option<LayerConfig> {
        match config {
            LayerConfig::Dense(dense) if dense.units.is_none() => {
                let units = if self.config.loss == Loss::CrossEntropy { self.classes } else { 1 };
                Some(LayerConfig::Dense(Dense { units: Some(units), ..dense.clone() }))
            }
            _ => None,
        }
    }
}

/// The place of the layer of each output, and its declaration.
fn outputs(config: &ModelConfig) -> Result<Vec<(usize, OutputConfig)>> {
    if config.outputs.is_empty() {
        let last = config.layers.len() - 1;
        let one = OutputConfig { loss: config.loss, head: config.head.clone(), ..OutputConfig::default() };
        return Ok(vec![(last, one)]);
    }
    if config.loss != Loss::default() || config.head != HeadConfig::default() {
        let what = "the model has `outputs`, and a loss or a head beside them";
        return Err(Error::usage(what).mend("give each output its own loss and head"));
    }
    let mut all: Vec<(usize, OutputConfig)> = Vec::with_capacity(config.outputs.len());
    for output in &config.outputs {
        let named = |layer: &LayerConfig| layer.name_and_inputs().0 == Some(output.layer.as_str());
        let Some(last) = config.layers.iter().position(named) else {
            let what = format!("an output is layer `{}`, and no layer has this name", output.layer);
            return Err(Error::usage(what).mend("give the layer a `name`, and the output that name as its `layer`"));
        };
        if all.iter().any(|&(other, _)| other == last) {
            return Err(Error::usage(format!("layer `{}` is two outputs", output.layer)).mend("name it once"));
        }
        if !(output.weight.is_finite() && output.weight >= 0.0) {
            let what = format!("output `{}`: weight must be at least 0, got {}", output.layer, output.weight);
            return Err(Error::usage(what));
        }
        all.push((last, output.clone()));
    }
    Ok(all)
}

/// Whether a layer is the function that a loss contains.
fn is_ending(layer: &LayerConfig, loss: Loss) -> bool {
    matches!(layer, LayerConfig::Activation(layer) if Some(layer.activation) == loss.ending())
}

/// The place of the layer before the function that the loss contains, where that is a layer of its own.
fn logits_of(config: &ModelConfig, last: usize, loss: Loss) -> usize {
    let layer = &config.layers[last];
    if !is_ending(layer, loss) {
        return last;
    }
    let named = |name: &String| config.layers.iter().position(|l| l.name_and_inputs().0 == Some(name));
    match layer.name_and_inputs().1.first() {
        Some(name) => named(name).unwrap_or(last),
        None => last.saturating_sub(1),
    }
}

impl Graph {
    /// The outputs, in the order of their targets in a batch.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Each output with the range of its targets among the targets of a batch of `steps` steps and `rows` rows.
    pub fn targets(&self, steps: usize, rows: usize) -> impl Iterator<Item = (&Output, Range<usize>)> {
        self.outputs.iter().scan(0, move |first, output| {
            let range = *first..*first + output.positions(steps, rows);
            *first = range.end;
            Some((output, range))
        })
    }

    /// Whether node `i` is a function that a loss contains and that nothing else takes.
    pub(crate) fn is_bare(&self, i: usize) -> bool {
        self.outputs.iter().any(|output| output.bare == Some(i))
    }

    /// Refuses a model with several outputs, for callers that can use one only.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] that names the outputs.
    pub fn require_one_output(&self, who: &str) -> Result<()> {
        match self.outputs.as_slice() {
            [_] => Ok(()),
            several => {
                let names: Vec<&str> = several.iter().map(Output::name).collect();
                Err(Error::usage(format!("{who} models with one output, this one has {}", names.join(", ")))
                    .mend("use a model with one output for it"))
            }
        }
    }

    /// The first layer by which an output of a step knows later steps of its sequence: one that reads backwards or both
    /// ways, or that gives one value for all steps. A model with one output a sequence may have any.
    fn reads_ahead(&self) -> Option<&str> {
        let steps = |source: &Source| self.shape_of(*source).time.is_some();
        let ahead = |node: &&Node| {
            let reading = node.config.recurrence().map(|(_, _, reading)| reading);
            let backwards = matches!(reading, Some(Reading::Both(_) | Reading::One { reverse: true }));
            let joins = node.shape.time.is_none() && !matches!(node.config, LayerConfig::Input(_));
            node.axis == Axis::Main && node.inputs.first().is_some_and(steps) && (backwards || joins)
        };
        self.nodes.iter().find(ahead).map(|node| node.name.as_str()).filter(|_| self.is_sequence())
    }

    /// Refuses a model whose output at a step depends on later steps, for callers that train it to predict these.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] that names the layer.
    pub fn require_causal(&self) -> Result<()> {
        match self.reads_ahead() {
            None => Ok(()),
            Some(layer) => {
                let what = format!("layer `{layer}` sees the tokens that the model should learn to predict");
                Err(Error::usage(what)
                    .mend("read forwards only, and return a value for each step (return_sequences = true)"))
            }
        }
    }

    /// Refuses a layer that nothing takes and that is no output; `nodes` are those of the declared layers. Returns
    /// those of the outputs.
    pub(super) fn check_used(&self, declared: &[Declared], nodes: &[usize]) -> Result<Vec<usize>> {
        let ends: Vec<usize> = declared.iter().map(|output| nodes[output.last]).collect();
        let unused = |i: &usize| self.consumers(*i).next().is_none() && !ends.contains(i);
        if let Some(i) = (0..self.nodes.len()).find(unused) {
            let name = &self.nodes[i].name;
            return Err(Error::usage(format!("nothing takes the output of layer `{name}`"))
                .mend("name it in another layer's `inputs`, or remove it"));
        }
        Ok(ends)
    }

    /// Finds the logits of every output among the nodes.
    pub(super) fn find_outputs(&self, declared: Vec<Declared>, nodes: &[usize]) -> Result<Vec<Output>> {
        let ends = self.check_used(&declared, nodes)?;
        let several = declared.len() > 1;
        declared.into_iter().zip(ends).map(|(output, end)| self.find_output(output, end, several)).collect()
    }

    /// The logits' node of an output: its last, or the one before a softmax (sigmoid) that ends it.
    fn find_output(&self, declared: Declared, end: usize, several: bool) -> Result<Output> {
        let Declared { mut config, classes, partition, .. } = declared;
        let loss = config.loss;
        config.layer.clone_from(&self.nodes[end].name);
        let (mut logits, mut bare) = (end, None);
        if let (true, [Source::Node(before)]) = (is_ending(&self.nodes[end].config, loss), &self.nodes[end].inputs[..])
        {
            logits = *before;
            bare = Some(end).filter(|&end| self.consumers(end).next().is_none());
        }
        self.whole(logits)?;
        let node = &self.nodes[logits];
        let want = if loss == Loss::CrossEntropy { classes } else { 1 };
        let width = node.shape.width();
        if node.shape.is_tokens() || node.shape.dims.len() != 1 || (width != want && want == 1) || width < want {
            let what = if several { format!("output `{}`", config.layer) } else { "the model".to_owned() };
            return Err(Error::usage(format!("{what} ends in shape {}, the loss needs {want} outputs", node.shape))
                .mend("end it in a dense layer of that many units"));
        }
        let contained = |function: Activation| function == Activation::Linear || Some(function) == loss.ending();
        if let LayerConfig::Dense(dense) = &node.config
            && !contained(dense.activation)
            && loss != Loss::MeanSquaredError
        {
            let what = format!("the last layer `{}` has an activation that the loss cannot take", node.name);
            return Err(
                Error::usage(what).mend("use softmax for cross_entropy, sigmoid for binary_cross_entropy, or linear")
            );
        }
        if node.shape.time.is_some() && node.axis == Axis::Source {
            let what = format!("output `{}` is a sequence of the `{SOURCE}`, outputs are of the text", config.layer);
            return Err(Error::usage(what).mend("let the encoder read `sequence`, or give its last output"));
        }
        self.check_taken(logits, bare, &config)?;
        Ok(Output { sequence: node.shape.time.is_some(), config, classes, logits, bare, partition })
    }

    /// Refuses an output that other layers take and that is not computed as they would see it.
    fn check_taken(&self, logits: usize, bare: Option<usize>, config: &OutputConfig) -> Result<()> {
        if self.consumers(logits).all(|i| Some(i) == bare) {
            return Ok(());
        }
        let name = &self.nodes[logits].name;
        if config.head.kind != HeadKind::Softmax {
            let what =
                format!("layer `{name}` is a head of kind {}, and other layers take it", config.head.kind.name());
            return Err(Error::usage(what).mend("let them take the layer before it, or use the head softmax"));
        }
        match &self.nodes[logits].config {
            LayerConfig::Dense(dense) if dense.activation != Activation::Linear && config.loss.ending().is_some() => {
                let what = format!(
                    "layer `{name}` is an output whose activation is part of its loss, and other layers take it"
                );
                Err(Error::usage(what).mend("add the activation as a separate layer after it"))
            }
            _ => Ok(()),
        }
    }
}
