//! Keras' table of a model: layers, output shapes, parameters, connections.

use super::config::{Cell, LayerConfig, MergeMode, ModelConfig, Reading};
use super::settings::HeadSettings;
use super::{Graph, INPUT, Node, SOURCE, Shape, Source};
use crate::error::Result;

/// A row of [`Description`]: one layer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SummaryRow {
    /// The layer's name.
    pub name: String,
    /// Its type.
    pub class: String,
    /// `(None, None, 128)`
    pub output_shape: String,
    /// How many parameters it adds.
    pub params: u64,
    /// The layers it takes.
    pub connected_to: Vec<String>,
}

/// A summary of a model, as Keras' `summary` prints it.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Its rows, the input first.
    pub rows: Vec<SummaryRow>,
    /// How many parameters there are.
    pub parameters: u64,
    /// The heads of its outputs, where these are those of the loss.
    pub heads: Vec<HeadSettings>,
}

impl Node {
    /// The shape of the output as Keras prints it: where there are several a list, the states of `return_state` last.
    fn output_shape(&self) -> String {
        let Some((cell, options, reading)) = self.config.recurrence() else { return self.shape.to_string() };
        let mut shapes = match reading {
            Reading::Both(MergeMode::None) => vec![self.shape.with_dims(vec![options.units]); 2],
            _ => vec![self.shape.clone()],
        };
        if options.return_state {
            let states = reading.directions().len() * if cell == Cell::Lstm { 2 } else { 1 };
            shapes.resize(shapes.len() + states, Shape { time: None, dims: vec![options.units] });
        }
        match shapes.as_slice() {
            [one] => one.to_string(),
            several => format!("[{}]", several.iter().map(Shape::to_string).collect::<Vec<_>>().join(", ")),
        }
    }
}

impl Graph {
    /// Describes a declared model for a vocabulary of this size, with as many classes for each output as
    /// [`Self::with_classes`] takes. The outputs need not fit the loss.
    ///
    /// # Errors
    ///
    /// As [`Self::new`], but for the last layer.
    pub fn describe(config: &ModelConfig, vocabulary: usize, classes: Option<&[usize]>) -> Result<Description> {
        if let Ok(graph) = Graph::build(config, [vocabulary; 2], classes, None) {
            return Ok(graph.description());
        }
        let (graph, declared, nodes) = Graph::resolve_layers(config, [vocabulary; 2], classes, None)?;
        graph.check_used(&declared, &nodes)?;
        graph.check_masks()?;
        Ok(graph.description())
    }

    /// Keras' table.
    pub fn description(&self) -> Description {
        Description { rows: self.rows(), parameters: self.parameter_count(), heads: self.heads() }
    }

    /// The rows of Keras' table, the input first.
    pub fn rows(&self) -> Vec<SummaryRow> {
        // The dropout of a recurrent layer is a part of it.
        let within = |node: &Node| matches!(node.config, LayerConfig::Dropout(_)) && node.name.contains('/');
        let source_name = |source: &Source| match *source {
            Source::Node(i) if within(&self.nodes[i]) => match self.nodes[i].inputs[0] {
                Source::Input => INPUT.to_owned(),
                Source::Second => SOURCE.to_owned(),
                Source::Node(before) => self.nodes[before].name.clone(),
            },
            Source::Input => INPUT.to_owned(),
            Source::Second => SOURCE.to_owned(),
            Source::Node(i) => self.nodes[i].name.clone(),
        };
        let rows = self.batch_size();
        let shape = |shape: String| match rows {
            // The axis behind a bracket is that of the batch's rows.
            Some(rows) => shape.replace("(None,", &format!("({rows},")),
            None => shape,
        };
        let input = |name: &str, length| SummaryRow {
            name: name.into(),
            class: "InputLayer".into(),
            output_shape: shape(Shape::tokens(length).to_string()),
            params: 0,
            connected_to: Vec::new(),
        };
        let layer = |node: &Node| SummaryRow {
            name: node.name.clone(),
            class: node.class.into(),
            output_shape: shape(node.output_shape()),
            params: self.params[node.params.clone()].iter().map(|p| p.len() as u64).sum(),
            connected_to: match node.config {
                LayerConfig::Input(_) => Vec::new(),
                _ => node.inputs.iter().map(source_name).collect(),
            },
        };
        let source = self.takes_source_tokens().then(|| input(SOURCE, None));
        let input = self.takes_tokens().then(|| input(INPUT, self.config.input_length));
        let declared = self.nodes.iter().filter(|node| !matches!(node.config, LayerConfig::Part(_)) && !within(node));
        source.into_iter().chain(input).chain(declared.map(layer)).collect()
    }
}
