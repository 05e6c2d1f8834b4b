//! A declaration made into a graph: names, inputs, shapes and parameters, layer after layer.

use super::output::Declared;
use super::params::{self, ParamList};
use super::{Dropout, Graph, HeadKind, INPUT, LayerConfig, ModelConfig, Node, SOURCE, Source, Words};
use crate::error::{Error, Result};

impl Graph {
    pub(super) fn build(
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
    pub(super) fn resolve_layers(
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

    /// The layer that is computed: the one within, where each step has it by itself. Those layers work on each step
    /// anyway.
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
            return Err(wrong("the layer within has a name or inputs").mend("set them on time_distributed"));
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
                Err(Error::usage(format!("`{name}` is not a valid layer name")).mend("use letters, digits and _"))
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
    pub(super) fn find(&mut self, name: &str, input: &str) -> Result<Source> {
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
