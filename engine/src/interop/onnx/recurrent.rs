//! Recurrent layers as ONNX's LSTM, GRU and RNN.

use unroll_kernels::activation::Activation as Function;

use crate::error::{Error, Result};
use crate::graph::{Cell, LayerConfig, MergeMode, Node, ParamSpec, Reading, Recurrent, Role};

use super::Writer;
use super::proto::{Attribute, Dim, Type};
use super::zoneout::Zoned;
use crate::interop::layout::{bias_to_torch, to_torch};

/// At place g of ONNX's gates stands gate `[g]` of ours.
fn gates(cell: Cell) -> &'static [usize] {
    match cell {
        Cell::SimpleRnn => &[0],
        Cell::Lstm => &[0, 3, 1, 2], // i, o, f, c
        Cell::Gru => &[0, 1, 2],     // z, r, h
    }
}

/// ONNX's operator of a cell.
pub(super) fn operator(cell: Cell) -> &'static str {
    match cell {
        Cell::SimpleRnn => "RNN",
        Cell::Lstm => "LSTM",
        Cell::Gru => "GRU",
    }
}

impl Writer<'_> {
    pub(super) fn recurrent(&mut self, node: &Node, inputs: &[&str]) -> Result<()> {
        let Some((cell, options, reading)) = node.config.recurrence() else { return Ok(()) };
        let name = node.name.as_str();
        let lacks = |what: &str, mend: &str| {
            Err(Error::usage(format!("layer `{name}`: ONNX has no {what}")).mend(mend.to_owned()))
        };
        if options.stateful && inputs.len() > 1 {
            return lacks("state that is carried on from one that layers give", "leave stateful or initial_state out");
        }
        let directions = reading.directions().len();
        let weights = self.weights(node, cell, directions);
        let states = self.initial(node, (cell, options, directions), &inputs[1..]);
        if options.zoneout > 0.0 || options.zoneout_cell > 0.0 {
            let (of, input, weights, states) = (node.axis, inputs[0], &weights, &states);
            self.zoned(&Zoned { name, of, cell, options, reading, input, weights, states });
        } else {
            let lengths = self.sequences[node.axis as usize].lengths.clone().unwrap_or_default();
            let mut taken = vec![inputs[0], &weights[0], &weights[1], &weights[2], &lengths, &states[0]];
            if cell == Cell::Lstm {
                taken.extend([states[1].as_str(), weights[3].as_str()]);
            }
            while taken.last().is_some_and(|last| last.is_empty()) {
                taken.pop();
            }
            let outputs = if cell == Cell::Lstm { 3 } else { 2 };
            let names = ["Y", "h", "c"].map(|part| format!("{name}:{part}"));
            let names: Vec<&str> = names[..outputs].iter().map(String::as_str).collect();
            self.operations(operator(cell), &names, &taken, &attributes(cell, options, reading));
        }
        self.join(node, options, reading);
        if options.stateful || options.return_state {
            self.final_states(node, (cell, options, directions));
        }
        Ok(())
    }

    /// W, R, B and P, each of all directions; an empty name where there is none.
    fn weights(&mut self, node: &Node, cell: Cell, directions: usize) -> [String; 4] {
        let specs = &self.graph.params()[node.params.clone()];
        let each = specs.len() / directions;
        let (mut w, mut r, mut b, mut p) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut inputs, mut units) = (0, 0);
        for specs in specs.chunks(each) {
            let of = |role| specs.iter().find(|spec: &&ParamSpec| spec.role == role);
            let values = |spec: &ParamSpec| &self.params[spec.range.clone()];
            if let (Some(kernel), Some(recurrent)) = (of(Role::Kernel), of(Role::RecurrentKernel)) {
                (inputs, units) = (kernel.shape[0], recurrent.shape[0]);
                w.extend(to_torch(values(kernel), gates(cell), inputs));
                r.extend(to_torch(values(recurrent), gates(cell), units));
            }
            let columns = cell.gates() * units;
            if let Some(bias) = of(Role::Bias) {
                let zeros = vec![0.0; columns];
                let both = values(bias);
                let second = of(Role::RecurrentBias).map(values).or(both.get(columns..).filter(|x| !x.is_empty()));
                b.extend(bias_to_torch(&both[..columns], gates(cell)));
                b.extend(bias_to_torch(second.unwrap_or(&zeros), gates(cell)));
            }
            if let Some(peephole) = of(Role::Peephole) {
                p.extend(bias_to_torch(values(peephole), &[0, 2, 1])); // i, o, f
            }
        }
        let (rows, name) = (cell.gates() * units, &node.name);
        let shapes = [vec![directions, rows, inputs], vec![directions, rows, units], vec![directions, 2 * rows]];
        let peephole = vec![directions, 3 * units];
        let tensors = [("W", &shapes[0], w), ("R", &shapes[1], r), ("B", &shapes[2], b), ("P", &peephole, p)];
        tensors.map(|(part, shape, values)| match values.is_empty() {
            true => String::new(),
            false => self.floats(&format!("{name}:{part}"), shape, &values),
        })
    }

    /// The states before the first step, h and c (directions, N, H); an empty name where they are zero.
    fn initial(
        &mut self,
        node: &Node,
        (cell, options, directions): (Cell, &Recurrent, usize),
        given: &[&str],
    ) -> [String; 2] {
        let kinds = if cell == Cell::Lstm { &["h", "c"][..] } else { &["h"] };
        let mut states = [String::new(), String::new()];
        if given.is_empty() && !options.stateful {
            return states;
        }
        for (k, kind) in kinds.iter().enumerate() {
            let mut parts = Vec::new();
            for direction in 0..directions {
                let state = match given.get(direction * kinds.len() + k) {
                    Some(given) => (*given).to_owned(),
                    None => {
                        let name = state_name(node, direction, kind);
                        self.input(&name, Type::Float, vec![Dim::Name("rows"), Dim::Size(options.units)]);
                        name
                    }
                };
                let first = format!("{}:initial_{kind}{direction}", node.name);
                let axis = self.ints(&format!("{first}:axis"), &[0]);
                parts.push(self.operation("Unsqueeze", &first, &[&state, &axis], &[]));
            }
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let all = format!("{}:initial_{kind}", node.name);
            states[k] = self.operation("Concat", &all, &parts, &[("axis", Attribute::Int(0))]);
        }
        states
    }

    /// The layer's output of what the directions give.
    fn join(&mut self, node: &Node, options: &Recurrent, reading: Reading) {
        let name = node.name.as_str();
        let timed = options.return_sequences;
        // The axis of the directions: (T, directions, N, H), or (directions, N, H).
        let (from, axis) = if timed { (format!("{name}:Y"), 1) } else { (format!("{name}:h"), 0) };
        let mode = match reading {
            Reading::One { reverse } => {
                let axes = self.ints(&format!("{name}:axis"), &[axis]);
                // Keras' order of a layer that goes backwards.
                let turned = reverse && timed;
                let to = if turned { format!("{name}:time") } else { name.to_owned() };
                let steps = self.operation("Squeeze", &to, &[&from, &axes], &[]);
                if turned {
                    self.turn(node.axis, name, &steps);
                }
                return;
            }
            Reading::Both(mode) => mode,
        };
        let keep = ("keepdims", Attribute::Int(0));
        match mode {
            MergeMode::Concat => {
                let order = if timed { vec![0, 2, 1, 3] } else { vec![1, 0, 2] };
                let turned = [("perm", Attribute::Ints(order))];
                let rows = self.operation("Transpose", &format!("{name}:rows"), &[&from], &turned);
                let sizes: &[i64] = if timed { &[0, 0, -1] } else { &[0, -1] };
                let shape = self.ints(&format!("{name}:shape"), sizes);
                self.operation("Reshape", name, &[&rows, &shape], &[]);
            }
            MergeMode::Sum => {
                let axes = self.ints(&format!("{name}:axis"), &[axis]);
                self.operation("ReduceSum", name, &[&from, &axes], &[keep]);
            }
            MergeMode::Mul | MergeMode::Ave => {
                let kind = if mode == MergeMode::Mul { "ReduceProd" } else { "ReduceMean" };
                self.operation(kind, name, &[&from], &[("axes", Attribute::Ints(vec![axis])), keep]);
            }
            MergeMode::None => {} // its parts are taken one by one
        }
    }

    /// The states after the last step as outputs of the model.
    fn final_states(&mut self, node: &Node, (cell, options, directions): (Cell, &Recurrent, usize)) {
        let kinds = if cell == Cell::Lstm { &["h", "c"][..] } else { &["h"] };
        for direction in 0..directions {
            for kind in kinds {
                let name = format!("{}_next", state_name(node, direction, kind));
                self.pick(&name, &format!("{}:{kind}", node.name), direction, 0);
                self.output(&name, vec![Dim::Name("rows"), Dim::Size(options.units)]);
            }
        }
    }
}

/// As a [`crate::State`] has it: `lstm/h`, `bidirectional/backward/c`.
fn state_name(node: &Node, direction: usize, kind: &str) -> String {
    match (&node.config, direction) {
        (LayerConfig::Bidirectional(_), 0) => format!("{}/forward/{kind}", node.name),
        (LayerConfig::Bidirectional(_), _) => format!("{}/backward/{kind}", node.name),
        _ => format!("{}/{kind}", node.name),
    }
}

pub(super) fn attributes(cell: Cell, options: &Recurrent, reading: Reading) -> Vec<(&'static str, Attribute)> {
    let direction = match reading {
        Reading::Both(_) => "bidirectional",
        Reading::One { reverse: true } => "reverse",
        Reading::One { reverse: false } => "forward",
    };
    let functions = options.functions();
    let each: &[Function] = match cell {
        Cell::SimpleRnn => &[functions.activation],
        Cell::Gru => &[functions.recurrent, functions.activation],
        Cell::Lstm => &[functions.recurrent, functions.activation, functions.activation],
    };
    let all: Vec<Function> = each.repeat(reading.directions().len());
    // Functions with numbers take them from the lists in turn, the others take none.
    let numbers: Vec<[f32; 2]> = all.iter().filter_map(|&function| numbers(function)).collect();
    let mut attributes = vec![
        ("hidden_size", Attribute::Int(options.units as i64)),
        ("direction", Attribute::String(direction)),
        ("activations", Attribute::Strings(all.iter().map(|&function| function_name(function)).collect())),
    ];
    if !numbers.is_empty() {
        attributes.push(("activation_alpha", Attribute::Floats(numbers.iter().map(|[alpha, _]| *alpha).collect())));
        attributes.push(("activation_beta", Attribute::Floats(numbers.iter().map(|[_, beta]| *beta).collect())));
    }
    if cell == Cell::Gru {
        let after = options.reset_after.unwrap_or(true);
        attributes.push(("linear_before_reset", Attribute::Int(after.into())));
    }
    attributes
}

fn function_name(function: Function) -> &'static str {
    match function {
        Function::Linear => "Affine",
        Function::Tanh => "Tanh",
        Function::Relu => "Relu",
        Function::Sigmoid => "Sigmoid",
        Function::HardSigmoid | Function::HardSigmoid6 => "HardSigmoid",
        Function::Softsign => "Softsign",
    }
}

/// alpha and beta of functions that have them.
fn numbers(function: Function) -> Option<[f32; 2]> {
    match function {
        Function::Linear => Some([1.0, 0.0]),
        Function::HardSigmoid => Some([0.2, 0.5]),
        Function::HardSigmoid6 => Some([1.0 / 6.0, 0.5]),
        Function::Tanh | Function::Relu | Function::Sigmoid | Function::Softsign => None,
    }
}
