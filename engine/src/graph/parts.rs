//! What layers take of a recurrent layer beside its output: its final states, and the outputs of its directions; and
//! the states that a recurrent layer starts from.

use super::config::{Cell, LayerConfig, MergeMode, Part, Reading};
use super::{Graph, Node, Shape, Source};
use crate::error::{Error, Result};

/// States of one direction: h, and c of an LSTM.
fn states(cell: Cell) -> usize {
    if cell == Cell::Lstm { 2 } else { 1 }
}

/// The parts that a layer gives, by name.
fn parts(config: &LayerConfig) -> Vec<(String, Part)> {
    let Some((cell, options, reading)) = config.recurrence() else { return Vec::new() };
    let mut parts = Vec::new();
    let names = if let Reading::Both(_) = reading { &["forward", "backward"][..] } else { &[""] };
    for (direction, name) in names.iter().enumerate() {
        if reading == Reading::Both(MergeMode::None) {
            parts.push(((*name).to_owned(), Part::Output { direction }));
        }
        if options.return_state {
            let slash = if name.is_empty() { "" } else { "/" };
            parts.push((format!("{name}{slash}h"), Part::State { direction, cell: false }));
            if cell == Cell::Lstm {
                parts.push((format!("{name}{slash}c"), Part::State { direction, cell: true }));
            }
        }
    }
    parts
}

impl Graph {
    /// The output of a node.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] where it has two.
    pub(super) fn whole(&self, node: usize) -> Result<Source> {
        let Node { name, config, .. } = &self.nodes[node];
        if matches!(config.recurrence(), Some((.., Reading::Both(MergeMode::None)))) {
            let what = format!("layer `{name}` has merge_mode = \"none\" and so two outputs, not one");
            return Err(Error::usage(what).mend(format!("name `{name}/forward` and `{name}/backward` in `inputs`")));
        }
        Ok(Source::Node(node))
    }

    /// The node that is part `part` of another, made where it is named first. `taker` is the layer that names it.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] where there is no such part.
    pub(super) fn part(&mut self, taker: &str, of: usize, part: &str) -> Result<Source> {
        let from = &self.nodes[of];
        let (name, parts) = (format!("{}/{part}", from.name), parts(&from.config));
        let Some((_, part)) = parts.iter().find(|(given, _)| given == part) else {
            let what = format!("layer `{taker}` takes `{name}`, which layer `{}` does not give", from.name);
            let given: Vec<String> = parts.iter().map(|(given, _)| format!("`{}/{given}`", from.name)).collect();
            return Err(Error::usage(what).mend(match (from.config.recurrence(), &given[..]) {
                (None, _) => "it is not a recurrent layer and has one output".to_owned(),
                (_, []) => "set return_state = true on it for its final states".to_owned(),
                _ => format!("it gives {}", given.join(", ")),
            }));
        };
        let units = from.config.recurrence().map_or(0, |(_, options, _)| options.units);
        let time = from.shape.time.filter(|_| matches!(part, Part::Output { .. }));
        let (end, axis) = (from.params.end, from.axis);
        let node = Node {
            name,
            config: LayerConfig::Part(*part),
            class: LayerConfig::Part(*part).class(),
            inputs: vec![Source::Node(of)],
            shape: Shape { time, dims: vec![units] },
            axis,
            params: end..end,
        };
        self.nodes.push(node);
        Ok(Source::Node(self.nodes.len() - 1))
    }

    /// The inputs of a layer and, after them, the states that it starts from.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] where these are too many or too few, or of another shape than the layer's states.
    pub(super) fn with_initial_state(
        &mut self,
        name: &str,
        config: &LayerConfig,
        mut inputs: Vec<Source>,
    ) -> Result<Vec<Source>> {
        let Some((cell, options, reading)) = config.recurrence() else { return Ok(inputs) };
        let given = config.initial_state();
        let wrong = |what: String| Error::usage(format!("layer `{name}`: {what}"));
        if let Reading::Both(_) = reading
            && !options.initial_state.is_empty()
        {
            let what = "the layer within has an initial_state".to_owned();
            return Err(wrong(what).mend("set it on the bidirectional layer"));
        }
        if given.is_empty() {
            return Ok(inputs);
        }
        let want = reading.directions().len() * states(cell);
        if given.len() != want {
            let parts = if cell == Cell::Lstm { "h and c" } else { "h" };
            let each = if let Reading::Both(_) = reading { " of each direction, the forward one first" } else { "" };
            let what = format!("initial_state names {}, the layer begins from {want}: {parts}{each}", given.len());
            return Err(wrong(what).mend("name a layer for each"));
        }
        let state = Shape { time: None, dims: vec![options.units] };
        for from in given {
            let source = self.find(name, from)?;
            let shape = self.shape_of(source);
            if shape != state {
                return Err(wrong(format!("initial_state `{from}` is {shape}, the layer's states are {state}"))
                    .mend("take it through a dense layer of that many units, after the last step of a sequence"));
            }
            inputs.push(source);
        }
        Ok(inputs)
    }
}
