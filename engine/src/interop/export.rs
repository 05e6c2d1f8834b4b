//! The parameters of a model under the names of another program.

use crate::error::{Error, Result};
use crate::graph::{Cell, Graph, LayerConfig, Node, ParamSpec, Reading, Recurrent, Role};
use crate::train::NamedTensor;

use super::adaptive::{Part, parts};
use super::layout::{add, bias_to_torch, to_torch, torch_gates};
use super::load::torch_can;
use super::matching::{Mapping, has_weights};

/// Whose names and layouts tensors are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A state dictionary of PyTorch.
    PyTorch,
    /// Keras' variables.
    Keras,
    /// As a checkpoint has them.
    Unroll,
}

/// The tensors of a model in another form. `values` is an arena laid out as the graph says: its parameters, or their gradient.
///
/// Layers bear the names that the mapping gives them, else their own; a language model of the usual shape (embedding or
/// one-hot, a stack of equal recurrent layers, a dense layer) those of PyTorch's example: `encoder`, `rnn`, `decoder`.
///
/// # Errors
/// [`Error::Usage`] that names a layer which the other program cannot compute, or one that the model does not have.
///
/// # Panics
/// Where `values` is not as long as the graph's arena.
pub fn export(graph: &Graph, values: &[f32], form: Form, mapping: &Mapping) -> Result<Vec<NamedTensor>> {
    assert_eq!(values.len(), graph.arena(), "the arena of parameters");
    mapping.check(graph)?;
    if form == Form::Unroll {
        let own = |spec: &ParamSpec| tensor(spec.name.clone(), &spec.shape, values[spec.range.clone()].to_vec());
        return Ok(graph.params().iter().map(own).collect());
    }
    if form == Form::Keras {
        graph.require_whole_words(
            "Keras has no layer with the weights of the head",
            "--to unroll writes them as a checkpoint has them, --to onnx the whole model",
        )?;
    }
    let usual = if form == Form::PyTorch { language_model(graph) } else { Vec::new() };
    let mut tensors = Vec::new();
    for node in graph.nodes().iter().filter(|node| has_weights(node)) {
        let usual = usual.iter().find(|(layer, _)| *layer == node.name).map(|(_, name)| name.as_str());
        let label = mapping.name_of(&node.name).or(usual).unwrap_or(&node.name);
        let layer = Layer { graph, values, node, label };
        match form {
            Form::PyTorch => layer.torch(&mut tensors)?,
            _ => layer.keras(&mut tensors)?,
        }
    }
    let mut names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::option("--map", format!("two layers would have the tensor `{}`", pair[0]))),
        None => Ok(tensors),
    }
}

fn tensor(name: String, shape: &[usize], data: Vec<f32>) -> NamedTensor {
    NamedTensor { name, shape: shape.to_vec(), data }
}

/// The names of PyTorch's example (`word_language_model`), where the model is of its shape.
pub(super) fn language_model(graph: &Graph) -> Vec<(String, String)> {
    let nodes: Vec<&Node> = graph.nodes().iter().filter(|node| !node.params.is_empty() || has_weights(node)).collect();
    let mut names = Vec::new();
    let (mut stack, mut first) = (0, None);
    for (at, node) in nodes.iter().enumerate() {
        let name = match &node.config {
            LayerConfig::Embedding(_) if at == 0 => "encoder".to_owned(),
            LayerConfig::Dense(_) if at + 1 == nodes.len() && stack > 0 => "decoder".to_owned(),
            config => {
                let Some((cell, options, reading)) = config.recurrence() else { return Vec::new() };
                let kind = (cell, options.units, options.activation, reading.directions().len(), options.use_bias);
                if *first.get_or_insert(kind) != kind {
                    return Vec::new();
                }
                stack += 1;
                format!("rnn.l{}", stack - 1)
            }
        };
        names.push((node.name.clone(), name));
    }
    let ends = nodes.last().is_some_and(|node| matches!(node.config, LayerConfig::Dense(_)));
    if stack > 0 && ends { names } else { Vec::new() }
}

/// `rnn.l0` and the kernel are `rnn.weight_ih_l0`.
pub(super) fn torch_name(label: &str, recurrent: bool, direction: usize, role: Role) -> String {
    if !recurrent {
        return format!(
            "{label}.{}",
            if matches!(role, Role::Bias | Role::WordBias | Role::Beta) { "bias" } else { "weight" }
        );
    }
    let numbered = label.rsplit_once(".l").filter(|(_, digits)| digits.bytes().all(|b| b.is_ascii_digit()));
    let (module, number) = numbered.unwrap_or((label, "0"));
    let reverse = if direction == 1 { "_reverse" } else { "" };
    let part = match role {
        Role::RecurrentKernel => "weight_hh",
        Role::Bias => "bias_ih",
        Role::RecurrentBias => "bias_hh",
        _ => "weight_ih",
    };
    format!("{module}.{part}_l{number}{reverse}")
}

struct Layer<'a> {
    graph: &'a Graph,
    values: &'a [f32],
    node: &'a Node,
    label: &'a str,
}

impl Layer<'_> {
    fn specs(&self) -> &[ParamSpec] {
        &self.graph.params()[self.node.params.clone()]
    }

    /// The direction of parameter `i` of a recurrent layer: those of the backward one stand behind.
    fn direction(&self, i: usize) -> usize {
        let both = matches!(self.node.config, LayerConfig::Bidirectional(_));
        usize::from(both && i >= self.specs().len() / 2)
    }

    fn values(&self, spec: &ParamSpec) -> &[f32] {
        &self.values[spec.range.clone()]
    }

    fn torch(&self, out: &mut Vec<NamedTensor>) -> Result<()> {
        let Some((cell, options, _)) = self.node.config.recurrence() else {
            return self.torch_matrix(out);
        };
        torch_can(self.node, cell, options)?;
        let gates = torch_gates(cell);
        let two = options.recurrent_bias == Some(true);
        for (i, spec) in self.specs().iter().enumerate() {
            let direction = self.direction(i);
            let name = |role| torch_name(self.label, true, direction, role);
            let (values, columns) = (self.values(spec), spec.shape[spec.shape.len() - 1]);
            match spec.role {
                Role::Bias if cell == Cell::Gru => {
                    for (role, row) in [Role::Bias, Role::RecurrentBias].into_iter().zip(values.chunks_exact(columns)) {
                        out.push(tensor(name(role), &[columns], bias_to_torch(row, gates)));
                    }
                }
                Role::Bias | Role::RecurrentBias => {
                    out.push(tensor(name(spec.role), &[columns], bias_to_torch(values, gates)));
                    if !two {
                        out.push(tensor(name(Role::RecurrentBias), &[columns], vec![0.0; columns]));
                    }
                }
                _ => {
                    let weight = to_torch(values, gates, spec.shape[0]);
                    out.push(tensor(name(spec.role), &[columns, spec.shape[0]], weight));
                }
            }
        }
        Ok(())
    }

    fn torch_matrix(&self, out: &mut Vec<NamedTensor>) -> Result<()> {
        let parts = parts(self.graph, &self.node.name)?;
        if !parts.is_empty() {
            let part = |part: &Part| {
                let name = format!("{}.{}", self.label, part.name);
                tensor(name, &part.shape, part.export(self.graph, self.values))
            };
            out.extend(parts.iter().map(part));
            return Ok(());
        }
        let name = |role| torch_name(self.label, false, 0, role);
        if let Some(table) = self.table() {
            out.push(tensor(name(Role::Kernel), &table.shape, self.values(table).to_vec()));
        }
        for spec in self.specs() {
            let values = self.values(spec);
            out.push(match spec.role {
                Role::Kernel => {
                    let turned = [spec.shape[1], spec.shape[0]];
                    tensor(name(spec.role), &turned, to_torch(values, &[0], spec.shape[0]))
                }
                // By words already, as PyTorch has them.
                role => tensor(name(role), &spec.shape, values.to_vec()),
            });
        }
        Ok(())
    }

    /// The table of the embedding that a dense layer is tied to.
    fn table(&self) -> Option<&ParamSpec> {
        let LayerConfig::Dense(dense) = &self.node.config else { return None };
        let name = format!("{}/embeddings", dense.tied_to.as_ref()?);
        self.graph.params().iter().find(|spec| spec.name == name)
    }

    fn keras(&self, out: &mut Vec<NamedTensor>) -> Result<()> {
        let label = self.label;
        if let Some(table) = self.table() {
            let turned = [table.shape[1], table.shape[0]];
            let kernel = to_torch(self.values(table), &[0], table.shape[0]);
            out.push(tensor(format!("{label}/kernel"), &turned, kernel));
        }
        let recurrence = self.node.config.recurrence();
        let kind = match recurrence {
            Some((Cell::SimpleRnn, ..)) => "simple_rnn",
            Some((Cell::Gru, ..)) => "gru",
            _ => "lstm",
        };
        let lacks = |(_, options, _): (Cell, &Recurrent, Reading)| match () {
            () if options.peephole => Some("peephole"),
            () if options.zoneout > 0.0 || options.zoneout_cell > 0.0 => Some("zoneout"),
            () => None,
        };
        if let Some(option) = recurrence.and_then(lacks) {
            let what = format!("layer `{}`: Keras' layers have no {option}", self.node.name);
            return Err(Error::usage(what).mend("leave it out"));
        }
        for (i, spec) in self.specs().iter().enumerate() {
            let way = ["forward", "backward"][self.direction(i)];
            let path = match &self.node.config {
                LayerConfig::Bidirectional(_) => format!("{label}/{way}_{kind}/{kind}_cell"),
                _ if recurrence.is_some() => format!("{label}/{kind}_cell"),
                _ => label.to_owned(),
            };
            let name = format!("{path}/{}", last(&spec.name));
            match spec.role {
                // Keras has one bias, which here is that of the same cell just before.
                Role::RecurrentBias => {
                    let bias = format!("{path}/bias");
                    if let Some(first) = out.iter_mut().find(|tensor| tensor.name == bias) {
                        add(&mut first.data, self.values(spec));
                    }
                }
                Role::WordKernel => {
                    let turned = [spec.shape[1], spec.shape[0]];
                    out.push(tensor(name, &turned, to_torch(self.values(spec), &[0], spec.shape[0])));
                }
                _ => out.push(tensor(name, &spec.shape, self.values(spec).to_vec())),
            }
        }
        Ok(())
    }
}

/// The part of a parameter's name behind its layer's.
fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
