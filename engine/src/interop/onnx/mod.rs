//! A trained model as an ONNX file, which needs neither this program nor Python to run.
//!
//! | in the file | shape | of |
//! |---|---|---|
//! | input `tokens` | (T, N) int64 | models that read tokens |
//! | input `source` | (S, N) int64 | models that read the tokens of a second sequence |
//! | input of an input layer's name | (T, N, width), (S, N, width) or (N, width) | its vectors |
//! | input `lstm/h`, `lstm/c`, ... | (N, H) | layers that carry their state: zero at the beginning of a text |
//! | output `output` | (T, N, K) or (N, K) | the last layer, behind its activation |
//! | output `output/stars`, ... | the same | instead of it, each output of a model with several |
//! | output `lstm/h_next`, ... | (N, H) | the same layers' states, to be given with the next tokens; layers with `return_state` too |
//!
//! T, S and N are free. Recurrent layers are ONNX's LSTM, GRU and RNN (<https://onnx.ai/onnx/operators/>), with their
//! orders of gates (i, o, f, c and z, r, h); those with zoneout are a Scan of them. ONNX masks at the end of a row
//! alone, by its length: where a layer masks steps, the file's first operations move what is there to the front, and
//! its last ones move the outputs back. At a masked step the output is that of the step before it.
//!
//! Of a head that parts the words, the last layer gives the logarithm of each word's probability, or behind a softmax
//! the probability.

mod proto;
mod recurrent;
mod sequences;
mod words;
mod zoneout;

use crate::error::{Error, Result};
use crate::graph::{
    Activation, Axis, Dense, Graph, LayerConfig, LayerNormalization, Node, Output, Part, Role, Source, Time,
};

use super::layout::to_torch;
use proto::{Attribute, Constant, Dim, Operation, Program, Type, Value};
use sequences::Sequence;

/// The bytes of an ONNX file of a model; `params` is its arena.
///
/// # Errors
/// [`Error::Usage`] that names a layer which ONNX cannot express.
///
/// # Panics
/// Where `params` is not as long as the graph's arena.
pub fn onnx(graph: &Graph, params: &[f32], name: &str) -> Result<Vec<u8>> {
    assert_eq!(params.len(), graph.arena(), "the arena of parameters");
    let values = graph.nodes().iter().map(|node| node.name.clone()).collect();
    let mut writer = Writer { graph, params, program: Program::default(), sequences: Sequence::all(), values };
    Axis::ALL.into_iter().for_each(|axis| writer.begin(axis));
    for (i, node) in graph.nodes().iter().enumerate() {
        writer.layer(i, node)?;
    }
    writer.end();
    Ok(writer.program.encode(name))
}

/// The attribute of operations along one axis.
fn axis(number: i64) -> [(&'static str, Attribute); 1] {
    [("axis", Attribute::Int(number))]
}

struct Writer<'a> {
    graph: &'a Graph,
    params: &'a [f32],
    program: Program,
    /// In the order of [`Axis::ALL`].
    sequences: [Sequence; 2],
    /// The name of what each node gives.
    values: Vec<String>,
}

impl Writer<'_> {
    /// An operation with one output, whose name is returned.
    fn operation(
        &mut self,
        kind: &'static str,
        output: &str,
        inputs: &[&str],
        attributes: &[(&'static str, Attribute)],
    ) -> String {
        self.operations(kind, &[output], inputs, attributes);
        output.to_owned()
    }

    fn operations(
        &mut self,
        kind: &'static str,
        outputs: &[&str],
        inputs: &[&str],
        attributes: &[(&'static str, Attribute)],
    ) {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        self.program.operations.push(Operation {
            kind,
            name: outputs[0].to_owned(),
            inputs: names(inputs),
            outputs: names(outputs),
            attributes: attributes.to_vec(),
        });
    }

    fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let constant = Constant { name: name.to_owned(), element: Type::Float, shape: shape.to_vec(), bytes };
        self.program.constants.push(constant);
        name.to_owned()
    }

    /// A whole number.
    fn int(&mut self, name: &str, value: i64) -> String {
        let bytes = value.to_le_bytes().to_vec();
        self.program.constants.push(Constant { name: name.to_owned(), element: Type::Int64, shape: Vec::new(), bytes });
        name.to_owned()
    }

    /// A vector of whole numbers.
    fn ints(&mut self, name: &str, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let constant = Constant { name: name.to_owned(), element: Type::Int64, shape: vec![values.len()], bytes };
        self.program.constants.push(constant);
        name.to_owned()
    }

    fn input(&mut self, name: &str, element: Type, shape: Vec<Dim>) {
        self.program.inputs.push(Value { name: name.to_owned(), element, shape });
    }

    fn output(&mut self, name: &str, shape: Vec<Dim>) {
        self.program.outputs.push(Value { name: name.to_owned(), element: Type::Float, shape });
    }

    /// A parameter as it lies, by its own name.
    fn parameter(&mut self, name: &str) -> String {
        if self.program.constants.iter().any(|constant| constant.name == name) {
            return name.to_owned();
        }
        let Some(spec) = self.graph.params().iter().find(|spec| spec.name == name) else { return String::new() };
        let (shape, values) = (spec.shape.clone(), &self.params[spec.range.clone()]);
        let values = values.to_vec();
        self.floats(name, &shape, &values)
    }

    /// x W + b of a layer, which has that bias or none.
    fn product(&mut self, layer: &str, part: &str, x: &str, kernel: &str) -> String {
        let product = self.operation("MatMul", &format!("{layer}:{part}product"), &[x, kernel], &[]);
        let bias = self.parameter(&format!("{layer}/{part}bias"));
        match bias.is_empty() {
            true => product,
            false => self.operation("Add", &format!("{layer}:{part}sum"), &[&product, &bias], &[]),
        }
    }

    /// A kernel with a column an output, also where it lies by words.
    fn kernel(&mut self, name: &str) -> String {
        match self.graph.params().iter().find(|spec| spec.name == name && spec.role == Role::WordKernel) {
            Some(spec) => {
                let turned = to_torch(&self.params[spec.range.clone()], &[0], spec.shape[0]);
                self.floats(name, &[spec.shape[1], spec.shape[0]], &turned)
            }
            None => self.parameter(name),
        }
    }

    fn end(&mut self) {
        let graph = self.graph;
        let one = graph.outputs().len() == 1;
        let mut outputs = Vec::new();
        for output in graph.outputs() {
            let Some(at) = graph.nodes().iter().position(|node| node.name == output.name()) else { continue };
            let node = &graph.nodes()[at];
            let (mut last, timed) = (self.values[at].clone(), node.shape.time.is_some());
            if timed && self.sequences[node.axis as usize].lengths.is_some() {
                last = self.move_back(node.axis, &last, node.shape.width());
            }
            let name = if one { "output".to_owned() } else { format!("output/{}", output.name()) };
            self.operation("Identity", &name, &[&last], &[]);
            let time = timed.then_some(Dim::Name(self.sequences[node.axis as usize].steps));
            let dims = node.shape.dims.iter().map(|&size| Dim::Size(size));
            let shape = time.into_iter().chain([Dim::Name("rows")]).chain(dims).collect();
            outputs.push(Value { name, element: Type::Float, shape });
        }
        // Before the states.
        self.program.outputs.splice(0..0, outputs);
    }

    /// The name of what a layer takes.
    fn source(&self, source: Source) -> String {
        match source {
            Source::Input => self.sequences[Axis::Main as usize].tokens.clone(),
            Source::Second => self.sequences[Axis::Source as usize].tokens.clone(),
            Source::Node(node) => self.values[node].clone(),
        }
    }

    fn layer(&mut self, at: usize, node: &Node) -> Result<()> {
        let inputs: Vec<String> = node.inputs.iter().map(|&source| self.source(source)).collect();
        let all: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let (name, first) = (node.name.as_str(), all.first().copied().unwrap_or_default());
        match &node.config {
            LayerConfig::Input(_) => {}
            LayerConfig::Embedding(_) => {
                let table = self.parameter(&format!("{name}/embeddings"));
                self.operation("Gather", name, &[&table, first], &[("axis", Attribute::Int(0))]);
            }
            LayerConfig::OneHot(_) => {
                let depth = self.ints(&format!("{name}:depth"), &[node.shape.width() as i64]);
                let values = self.floats(&format!("{name}:values"), &[2], &[0.0, 1.0]);
                self.operation("OneHot", name, &[first, &depth, &values], &[("axis", Attribute::Int(-1))]);
            }
            LayerConfig::SimpleRnn(_) | LayerConfig::Lstm(_) | LayerConfig::Gru(_) | LayerConfig::Bidirectional(_) => {
                self.recurrent(node, &all)?;
            }
            LayerConfig::Dense(dense) => {
                let value = self.dense(at, dense, first)?;
                self.activation(dense.activation, name, &value);
            }
            LayerConfig::LayerNormalization(layer) => self.layer_norm(node, layer, first),
            // Which steps a masking layer masks is known before any layer.
            LayerConfig::Dropout(_) | LayerConfig::ActivationRegularization(_) | LayerConfig::Masking(_) => {
                self.operation("Identity", name, &[first], &[]);
            }
            LayerConfig::Add(_) => {
                self.operation("Sum", name, &all, &[]);
            }
            LayerConfig::Concatenate(_) => {
                self.operation("Concat", name, &all, &[("axis", Attribute::Int(-1))]);
            }
            LayerConfig::Activation(layer) => self.activation(layer.activation, name, first),
            LayerConfig::Reshape(layer) => self.reshape(node, first, &layer.target_shape),
            LayerConfig::RepeatVector(_) => self.repeat(node, first),
            LayerConfig::Part(part) => self.part(at, *part),
            LayerConfig::TimeDistributed(_) => {
                return Err(Error::usage(format!("layer `{name}`: ONNX has no {}", node.config.kind())));
            }
        }
        Ok(())
    }

    /// What the dense layer of node `at` gives before its activation: a product, or a head that divides the words.
    fn dense(&mut self, at: usize, layer: &Dense, input: &str) -> Result<String> {
        let (graph, name) = (self.graph, self.graph.nodes()[at].name.as_str());
        let partitioned = |output: &&Output| output.logits() == at && output.head().kind.partitions_words();
        if let Some(output) = graph.outputs().iter().find(partitioned) {
            return self.words(output, input);
        }
        let kernel = match &layer.tied_to {
            Some(table) => {
                let table = self.parameter(&format!("{table}/embeddings"));
                let turned = [("perm", Attribute::Ints(vec![1, 0]))];
                self.operation("Transpose", &format!("{name}:kernel"), &[&table], &turned)
            }
            None => self.kernel(&format!("{name}/kernel")),
        };
        Ok(self.product(name, "", input, &kernel))
    }

    fn layer_norm(&mut self, node: &Node, layer: &LayerNormalization, input: &str) {
        let (name, width) = (node.name.as_str(), node.shape.width());
        let mut taken = vec![input.to_owned()];
        taken.push(match layer.scale.unwrap_or(true) {
            true => self.parameter(&format!("{name}/gamma")),
            false => self.floats(&format!("{name}:gain"), &[width], &vec![1.0; width]),
        });
        if layer.center.unwrap_or(true) {
            taken.push(self.parameter(&format!("{name}/beta")));
        }
        let taken: Vec<&str> = taken.iter().map(String::as_str).collect();
        let attributes = [("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(layer.epsilon()))];
        self.operation("LayerNormalization", name, &taken, &attributes);
    }

    fn repeat(&mut self, node: &Node, input: &str) {
        let (name, steps) = (node.name.as_str(), self.steps(node.axis));
        let zero = self.ints(&format!("{name}:axis"), &[0]);
        let row = self.operation("Unsqueeze", &format!("{name}:row"), &[input, &zero], &[]);
        let ones = self.ints(&format!("{name}:ones"), &[1, 1]);
        let axis = [("axis", Attribute::Int(0))];
        let shape = self.operation("Concat", &format!("{name}:shape"), &[&steps, &ones], &axis);
        self.operation("Expand", name, &[&row, &shape], &[]);
    }

    fn activation(&mut self, activation: Activation, output: &str, input: &str) {
        let hard = |alpha: f32| vec![("alpha", Attribute::Float(alpha)), ("beta", Attribute::Float(0.5))];
        let (kind, attributes) = match activation {
            Activation::Linear => ("Identity", Vec::new()),
            Activation::Tanh => ("Tanh", Vec::new()),
            Activation::Relu => ("Relu", Vec::new()),
            Activation::Sigmoid => ("Sigmoid", Vec::new()),
            Activation::HardSigmoid => ("HardSigmoid", hard(0.2)),
            Activation::HardSigmoid6 => ("HardSigmoid", hard(1.0 / 6.0)),
            Activation::Softsign => ("Softsign", Vec::new()),
            Activation::Softmax => ("Softmax", vec![("axis", Attribute::Int(-1))]),
        };
        self.operation(kind, output, &[input], &attributes);
    }

    fn reshape(&mut self, node: &Node, input: &str, target: &[usize]) {
        let name = node.name.as_str();
        let from = self.graph.shape_of(node.inputs[0]);
        let mut value = input.to_owned();
        if matches!(from.time, Some(Time::Fixed(_))) {
            // Rows first: the steps of a row stand side by side in its new shape.
            let order = [1, 0].into_iter().chain(2..2 + from.dims.len() as i64).collect();
            let turned = [("perm", Attribute::Ints(order))];
            value = self.operation("Transpose", &format!("{name}:rows"), &[&value], &turned);
        }
        let sizes: Vec<i64> = [-1].into_iter().chain(target.iter().map(|&size| size as i64)).collect();
        let shape = self.ints(&format!("{name}:shape"), &sizes);
        self.operation("Reshape", name, &[&value, &shape], &[]);
    }

    /// A direction's output or state of the recurrent layer before.
    fn part(&mut self, at: usize, part: Part) {
        let node = &self.graph.nodes()[at];
        let [Source::Node(of)] = node.inputs[..] else { return };
        let layer = self.graph.nodes()[of].name.clone();
        let timed = node.shape.time.is_some();
        let (from, direction, axis) = match part {
            Part::Output { direction } if timed => (format!("{layer}:Y"), direction, 1),
            Part::Output { direction } | Part::State { direction, cell: false } => (format!("{layer}:h"), direction, 0),
            Part::State { direction, cell: true } => (format!("{layer}:c"), direction, 0),
        };
        let name = node.name.clone();
        self.pick(&name, &from, direction, axis);
    }

    /// Entry `index` along an axis, which goes away.
    fn pick(&mut self, output: &str, from: &str, index: usize, axis: i64) {
        let number = self.ints(&format!("{output}:index"), &[index as i64]);
        let at = [("axis", Attribute::Int(axis))];
        let picked = self.operation("Gather", &format!("{output}:picked"), &[from, &number], &at);
        let axes = self.ints(&format!("{output}:axis"), &[axis]);
        self.operation("Squeeze", output, &[&picked, &axes], &[]);
    }
}
