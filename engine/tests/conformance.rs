//! Numbers that others wrote: the recurrent layers against the test suites of Keras, ONNX, PyTorch and TensorFlow.js.
//!
//! The cases are JSON files in the folder `conformance` of the one that `UNROLL_DATA` names. They give vectors, not
//! tokens, so each vector becomes a row of an embedding table, and the outputs are read through a dense layer with the
//! identity as its kernel, which changes no bit: what runs is the network that trains, on every instruction set, with
//! fusions and without.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use serde_json::Value;
use unroll::graph::{Graph, ModelConfig};
use unroll::network::FUSIONS;
use unroll::{Batch, Network, NetworkOptions, State};
use unroll_kernels::Isa;
use unroll_kernels::isa::sets_under_test;

/// The files, and how many cases of each must have been run.
const FILES: [(&str, usize); 4] = [
    ("keras_rnn_cases.json", 61),
    ("onnx_rnn_cases.json", 12),
    ("pytorch_rnn_cases.json", 1),
    ("tfjs_training_cases.json", 10),
];

/// A nested array of numbers, flattened, with its shape.
#[derive(Clone, Debug)]
struct Tensor {
    shape: Vec<usize>,
    data: Vec<f64>,
}

impl Tensor {
    fn read(value: &Value) -> Self {
        let Value::Array(items) = value else {
            return Self { shape: Vec::new(), data: vec![value.as_f64().expect("a number")] };
        };
        let items: Vec<Tensor> = items.iter().map(Tensor::read).collect();
        let inner = items.first().map_or(Vec::new(), |first| first.shape.clone());
        let shape = [vec![items.len()], inner].concat();
        Self { shape, data: items.into_iter().flat_map(|item| item.data).collect() }
    }

    fn optional(value: &Value) -> Option<Self> {
        (!value.is_null()).then(|| Self::read(value))
    }

    /// (a, b, ...) to (b, a, ...).
    fn transposed(self) -> Self {
        let [a, b] = [self.shape[0], self.shape[1]];
        let width: usize = self.shape[2..].iter().product();
        let row = |j: usize, i: usize| &self.data[(i * b + j) * width..][..width];
        let data = (0..b).flat_map(|j| (0..a).flat_map(move |i| row(j, i))).copied().collect();
        let mut shape = self.shape.clone();
        shape.swap(0, 1);
        Self { shape, data }
    }
}

/// Vectors that are fed as tokens: (T, N, D).
struct Sequence {
    steps: usize,
    rows: usize,
    width: usize,
    data: Vec<f64>,
}

impl Sequence {
    fn read(case: &Value, input: &Value) -> Self {
        let x = Tensor::read(input);
        let x = if case["input_layout"] == "time_major" { x } else { x.transposed() };
        Self { steps: x.shape[0], rows: x.shape[1], width: x.shape[2], data: x.data }
    }

    /// One token a vector.
    fn tokens(&self) -> Vec<u32> {
        (0..(self.steps * self.rows) as u32).collect()
    }
}

/// How a case's model is run.
#[derive(Clone, Copy)]
struct Way {
    isa: Isa,
    fused: bool,
}

fn ways() -> Vec<Way> {
    sets_under_test().into_iter().flat_map(|isa| [true, false].map(|fused| Way { isa, fused })).collect()
}

/// A network for `model` with the sequence as its embedding table, and every other parameter zero.
fn network(model: &str, x: &Sequence, way: Way) -> Network {
    let model = format!("initializer = \"zeros\"\n{model}");
    let config: ModelConfig = toml::from_str(&model).unwrap_or_else(|e| panic!("{e}\n{model}"));
    let graph = Graph::new(&config, x.steps * x.rows).unwrap_or_else(|e| panic!("{e}\n{model}"));
    let no_fuse = if way.fused { Vec::new() } else { FUSIONS.map(String::from).to_vec() };
    let options = NetworkOptions { isa: way.isa, steps: x.steps, rows: x.rows, no_fuse, ..NetworkOptions::default() };
    let mut network = Network::new(&graph, options).unwrap();
    set(&mut network, "table/embeddings", &x.data);
    network
}

/// Sets a parameter.
fn set(network: &mut Network, name: &str, values: &[f64]) {
    let range = place(network, name);
    assert_eq!(range.len(), values.len(), "{name}");
    network.params_mut()[range].iter_mut().zip(values).for_each(|(p, &x)| *p = x as f32);
}

fn place(network: &Network, name: &str) -> std::ops::Range<usize> {
    let spec = network.graph().params().iter().find(|spec| spec.name == name);
    spec.unwrap_or_else(|| panic!("no parameter {name}")).range.clone()
}

/// The parameters of one direction.
struct Weights {
    kernel: Vec<f64>,
    recurrent_kernel: Vec<f64>,
    /// Absent where the case has none, or says `use_bias = false`.
    bias: Option<Vec<f64>>,
    /// Of i, f and o.
    peephole: Option<Vec<f64>>,
}

impl Weights {
    fn read(case: &Value, direction: &Value) -> Self {
        let (b, b_rec) = (Tensor::optional(&direction["b"]), Tensor::optional(&direction["b_rec"]));
        let no_bias = case["keras_args"]["use_bias"] == false;
        let after = case["cell"] == "gru" && case["reset_after"] != false;
        let bias = match (b, b_rec) {
            _ if no_bias => None,
            (None, _) => None,
            (Some(b), b_rec) => {
                let zeros = || vec![0.0; b.data.len()];
                let b_rec = b_rec.map_or_else(zeros, |b| b.data);
                // A GRU that resets after the product keeps the two apart; elsewhere only their sum matters.
                Some(if after {
                    [b.data, b_rec].concat()
                } else {
                    b.data.iter().zip(b_rec).map(|(a, b)| a + b).collect()
                })
            }
        };
        let read = |key: &str| Tensor::read(&direction[key]).data;
        let peephole =
            direction.get("peephole").map(|p| ["i", "f", "o"].map(|gate| Tensor::read(&p[gate]).data).concat());
        Self { kernel: read("W"), recurrent_kernel: read("U"), bias, peephole }
    }

    fn set(&self, network: &mut Network, layer: &str) {
        set(network, &format!("{layer}/kernel"), &self.kernel);
        set(network, &format!("{layer}/recurrent_kernel"), &self.recurrent_kernel);
        if let Some(bias) = &self.bias {
            set(network, &format!("{layer}/bias"), bias);
        }
        if let Some(peephole) = &self.peephole {
            set(network, &format!("{layer}/peephole"), peephole);
        }
    }
}

/// The mask of a case, (T, N): given, or by the lengths of the rows.
fn mask(case: &Value, x: &Sequence) -> Option<Vec<bool>> {
    let there = |t: usize, n: usize| match (&case["mask"], &case["seq_lens"]) {
        (Value::Array(rows), _) => rows[n][t].as_bool().expect("true or false"),
        (_, Value::Array(lengths)) => (t as u64) < lengths[n].as_u64().expect("a length"),
        _ => unreachable!("asked for below"),
    };
    let masked = !case["mask"].is_null() || !case["seq_lens"].is_null();
    masked.then(|| (0..x.steps * x.rows).map(|i| there(i / x.rows, i % x.rows)).collect())
}

/// What a forward case expects.
struct Expected<'a> {
    key: &'a str,
    values: Tensor,
    /// The only row of the batch that is known, if not all are.
    row: Option<usize>,
    absolute: f64,
    relative: f64,
}

impl Expected<'_> {
    fn read<'a>(case: &'a Value) -> Vec<Expected<'a>> {
        let tolerance = |key: &str| case["tol"][key].as_f64().expect("a tolerance");
        let expected = case["expect"].as_object().expect("expected values").iter().map(|(key, value)| Expected {
            key,
            values: Tensor::read(value),
            row: case["expect_batch_index"].as_u64().map(|row| row as usize),
            absolute: tolerance("atol"),
            relative: tolerance("rtol"),
        });
        expected.collect()
    }

    /// `got` is (N, width).
    #[track_caller]
    fn compare(&self, id: &str, way: Way, got: &[f32], rows: usize) {
        let width = got.len() / rows;
        let got = self.row.map_or(got, |row| &got[row * width..][..width]);
        assert_eq!(got.len(), self.values.data.len(), "{id}: {}", self.key);
        for (i, (&got, &want)) in got.iter().zip(&self.values.data).enumerate() {
            let error = (f64::from(got) - want).abs();
            let tolerance = self.absolute + self.relative * want.abs();
            let (isa, fused) = (way.isa, way.fused);
            assert!(error <= tolerance, "{id} on {isa}, fused {fused}: {}[{i}] is {got}, not {want}", self.key);
        }
    }
}

/// The options of a case's cell, one a line.
fn options(case: &Value, bias: bool) -> Vec<String> {
    let cell = case["cell"].as_str().expect("a cell");
    let text = |key: &str| case[key].as_str().map(|name| format!("{key} = \"{name}\""));
    let mut options = vec![format!("units = {}", case["units"]), format!("use_bias = {bias}")];
    options.extend(text("activation"));
    if cell != "simple_rnn" {
        options.extend(text("recurrent_activation"));
    }
    if cell == "gru" {
        options.push(format!("reset_after = {}", case["reset_after"] != false));
    }
    options
}

/// The declaration of a case's recurrent layer, and the names of its directions.
fn layers(case: &Value, x: &Sequence, sequence: bool) -> (String, Vec<String>) {
    let cell = case["cell"].as_str().expect("a cell");
    let dirs = case["dirs"].as_array().expect("directions");
    let weights = Weights::read(case, &dirs[0]);
    let mut options = options(case, weights.bias.is_some());
    options.push(format!("return_sequences = {sequence}"));
    // What is carried is also what can be set and read.
    options.push("stateful = true".into());
    if case["zero_output_for_mask"] == true {
        options.push("zero_output_for_mask = true".into());
    }
    if weights.peephole.is_some() {
        options.push("peephole = true".into());
    }
    let table = format!("[[layers]]\nname = \"table\"\ntype = \"embedding\"\noutput_dim = {}\n", x.width);
    if dirs.len() == 1 {
        let (reverse, options) = (dirs[0]["reverse"] == true, options.join("\n"));
        let layer = format!("[[layers]]\nname = \"cell\"\ntype = \"{cell}\"\ngo_backwards = {reverse}\n{options}\n");
        return (table + &layer, vec!["cell".into()]);
    }
    // Without a merge the outputs are checked one by one, and found side by side.
    let (merge, options) = (case["merge"].as_str().unwrap_or("concat"), options.join(", "));
    let both = format!(
        "[[layers]]\nname = \"cell\"\ntype = \"bidirectional\"\nmerge_mode = \"{merge}\"\n\
         layer = {{ type = \"{cell}\", {options} }}\n"
    );
    (table + &both, vec!["cell/forward".into(), "cell/backward".into()])
}

/// Runs a case that gives outputs and states of one layer.
fn run_forward(case: &Value, way: Way) {
    let id = case["id"].as_str().expect("an id");
    let x = Sequence::read(case, &case["input"]);
    let dirs: Vec<Weights> =
        case["dirs"].as_array().expect("directions").iter().map(|d| Weights::read(case, d)).collect();
    let units = case["units"].as_u64().expect("units") as usize;
    for expected in Expected::read(case) {
        let sequence = expected.key == "seq";
        let (mut text, names) = layers(case, &x, sequence);
        let joined = dirs.len() == 2 && (case["merge"].is_null() || case["merge"] == "concat");
        let mut width = if joined { 2 * units } else { units };
        if sequence {
            width *= x.steps;
            text = format!("input_length = {}\n{text}", x.steps);
            text += &format!("[[layers]]\ntype = \"reshape\"\ntarget_shape = [{width}]\n");
        }
        // The loss asks for an output a token.
        let outputs = width.max(x.steps * x.rows);
        text += &format!("[[layers]]\nname = \"read\"\ntype = \"dense\"\nunits = {outputs}\nuse_bias = false\n");
        let mut network = network(&text, &x, way);
        dirs.iter().zip(&names).for_each(|(weights, name)| weights.set(&mut network, name));
        let identity: Vec<f64> =
            (0..width * outputs).map(|i| if i / outputs == i % outputs { 1.0 } else { 0.0 }).collect();
        set(&mut network, "read/kernel", &identity);

        let mut state = network.new_state(x.rows);
        for (name, initial) in names.iter().zip(case["initial_state"].as_array().unwrap_or(&Vec::new())) {
            for (part, values) in initial.as_object().expect("a state") {
                let values = Tensor::read(values).data;
                let to = state.tensor_mut(&format!("{name}/{part}")).expect("a carried state");
                to.iter_mut().zip(values).for_each(|(s, x)| *s = x as f32);
            }
        }
        let (mut output, tokens, mask) = (Vec::new(), x.tokens(), mask(case, &x));
        let batch = Batch {
            steps: x.steps,
            rows: x.rows,
            inputs: &tokens,
            targets: &[],
            mask: mask.as_deref(),
            ..Batch::default()
        };
        for _ in 0..case["calls"].as_u64().unwrap_or(1) {
            let logits = network.predict(&batch, &mut state);
            output = (0..x.rows).flat_map(|n| logits.row(n)[..width].to_vec()).collect();
        }
        let part = |columns: std::ops::Range<usize>| -> Vec<f32> {
            output.chunks_exact(width).flat_map(|row| &row[columns.clone()]).copied().collect()
        };
        let carried = |d: usize, part: &str| -> Vec<f32> {
            let name = format!("{}/{part}", names[d]);
            let tensor = state.tensors().find(|tensor| tensor.name == name);
            tensor.unwrap_or_else(|| panic!("{id}: no state {name}")).values.to_vec()
        };
        let expected = if case["input_layout"] == "time_major" && sequence {
            Expected { values: expected.values.clone().transposed(), ..expected }
        } else {
            expected
        };
        let got = match expected.key {
            "last" | "seq" => output.clone(),
            "last0" => part(0..units),
            "last1" => part(units..2 * units),
            "h" | "c" => carried(0, expected.key),
            "h0" | "c0" => carried(0, &expected.key[..1]),
            "h1" | "c1" => carried(1, &expected.key[..1]),
            other => panic!("{id} expects {other}, which is not known"),
        };
        expected.compare(id, way, &got, x.rows);
    }
}

/// A regression trained by gradient descent on the mean square error of y, the output of the last step. All rows of
/// these cases are alike, and so the gradient of y is one vector: that of a binary cross-entropy, which the network has,
/// times a number. The square's is that vector times 2 mean(y - target).
struct Regression {
    network: Network,
    state: State,
    lr: f64,
    trained: Vec<String>,
}

impl Regression {
    fn new(case: &Value, x: &Sequence, way: Way) -> Self {
        let bias = case["use_bias"] == true;
        let stateful = case["kind"] == "train_stateful_loss";
        let text = format!(
            "loss = \"binary_cross_entropy\"\n[[layers]]\nname = \"table\"\ntype = \"embedding\"\noutput_dim = {}\n\
             [[layers]]\nname = \"cell\"\ntype = {}\nstateful = {stateful}\n{}\n\
             [[layers]]\nname = \"read\"\ntype = \"dense\"\nunits = 1\nuse_bias = {}\n",
            x.width,
            case["cell"],
            options(case, bias).join("\n"),
            case["dense_use_bias"],
        );
        let mut network = network(&text, x, way);
        let mut trained = vec![("cell/kernel", "W"), ("cell/recurrent_kernel", "U"), ("read/kernel", "dense_W")];
        if bias {
            trained.push(("cell/bias", "b"));
        }
        for (name, key) in &trained {
            set(&mut network, name, &Tensor::read(&case[*key]).data);
        }
        let lr = case["optimizer"]["lr"].as_f64().expect("a learning rate");
        let trained = trained.into_iter().map(|(name, _)| name.to_owned()).collect();
        Self { state: network.new_state(x.rows), network, lr, trained }
    }

    /// One update; returns the loss before it.
    fn step(&mut self, x: &Sequence, target: &[f64]) -> f64 {
        let tokens = x.tokens();
        let logits = self.network.logits(&tokens, x.rows, &mut self.state.clone());
        let y: Vec<f64> = (0..x.rows).map(|n| f64::from(logits.row(n)[0])).collect();
        assert!(y.iter().all(|&other| other == y[0]), "the rows are not alike: {y:?}");
        let count = target.len() as f64;
        let loss = target.iter().map(|t| (y[0] - t).powi(2)).sum::<f64>() / count;
        let slope = 2.0 * target.iter().map(|t| y[0] - t).sum::<f64>() / count;
        // Of -ln(1 - sigmoid(y)), the cross-entropy against 0.
        let other = 1.0 / (1.0 + (-y[0]).exp());
        let zeros = vec![0; x.rows];
        let batch = Batch { steps: x.steps, rows: x.rows, inputs: &tokens, targets: &zeros, ..Batch::default() };
        self.network.train_step(&batch, &mut self.state, 0);
        for name in &self.trained {
            let range = place(&self.network, name);
            let (params, gradient) = self.network.params_and_gradient();
            for (p, g) in params[range.clone()].iter_mut().zip(&gradient[range]) {
                *p -= (self.lr * slope / other * f64::from(*g)) as f32;
            }
        }
        loss
    }
}

/// Runs a case that trains.
fn run_training(case: &Value, way: Way) {
    let id = case["id"].as_str().expect("an id");
    let tolerance = |key: &str| case["tol"][key].as_f64().expect("a tolerance");
    let close = |what: &str, got: f64, want: f64| {
        let error = (got - want).abs();
        assert!(
            error <= tolerance("atol") + tolerance("rtol") * want.abs(),
            "{id} on {}: {what} {got}, not {want}",
            way.isa
        );
    };
    let batches = match &case["batches"] {
        Value::Array(batches) => batches.clone(),
        _ => vec![case.clone(); case["updates"].as_u64().expect("a number of updates") as usize],
    };
    let first = Sequence::read(case, &batches[0]["input"]);
    let mut regression = Regression::new(case, &first, way);
    let mut losses = Vec::new();
    for batch in &batches {
        let x = Sequence::read(case, &batch["input"]);
        set(&mut regression.network, "table/embeddings", &x.data);
        losses.push(regression.step(&x, &Tensor::read(&batch["target"]).data));
    }
    for (key, want) in case["expect"].as_object().expect("expected values") {
        let want = Tensor::read(want).data;
        let got = match key.as_str() {
            "mean_loss" => vec![losses.iter().sum::<f64>() / losses.len() as f64],
            "W" | "U" | "dense_W" => {
                let name = match key.as_str() {
                    "W" => "cell/kernel",
                    "U" => "cell/recurrent_kernel",
                    _ => "read/kernel",
                };
                let range = place(&regression.network, name);
                regression.network.params()[range].iter().map(|&p| f64::from(p)).collect()
            }
            other => panic!("{id} expects {other}, which is not known"),
        };
        assert_eq!(got.len(), want.len(), "{id}: {key}");
        got.iter().zip(&want).for_each(|(&got, &want)| close(key, got, want));
    }
}

/// Runs a case that gives every output of a stateful layer after one call and after two.
fn run_stateful(case: &Value, way: Way) {
    let id = case["id"].as_str().expect("an id");
    let x = Sequence::read(case, &case["input"]);
    let units = case["units"].as_u64().expect("units") as usize;
    let outputs = units.max(x.steps * x.rows);
    let text = format!(
        "[[layers]]\nname = \"table\"\ntype = \"embedding\"\noutput_dim = {}\n\
         [[layers]]\nname = \"cell\"\ntype = {}\nstateful = true\n{}\n\
         [[layers]]\nname = \"read\"\ntype = \"dense\"\nunits = {outputs}\nuse_bias = false\n",
        x.width,
        case["cell"],
        options(case, true).join("\n"),
    );
    let mut network = network(&text, &x, way);
    Weights::read(case, case).set(&mut network, "cell");
    let identity = |i: usize| if i / outputs == i % outputs { 1.0 } else { 0.0 };
    set(&mut network, "read/kernel", &(0..units * outputs).map(identity).collect::<Vec<_>>());
    let mut state = network.new_state(x.rows);
    let tolerance = |key: &str| case["tol"][key].as_f64().expect("a tolerance");
    for call in ["call1", "call2"] {
        let want = case["expect"][call].as_f64().expect("a number");
        let logits = network.logits(&x.tokens(), x.rows, &mut state);
        for got in (0..x.rows).flat_map(|n| &logits.row(n)[..units]) {
            let error = (f64::from(*got) - want).abs();
            let most = tolerance("atol") + tolerance("rtol") * want.abs();
            assert!(error <= most, "{id} on {}: {call} {got}, not {want}", way.isa);
        }
    }
}

/// Runs a case that reads tokens, of which one is padding, and gives one number a row.
fn run_tokens(case: &Value, way: Way) {
    let id = case["id"].as_str().expect("an id");
    assert_eq!(case["mask_id"], 0);
    let (table, tokens) = (Tensor::read(&case["embedding"]), Tensor::read(&case["tokens"]).transposed());
    let [steps, rows] = [tokens.shape[0], tokens.shape[1]];
    let text = format!(
        "initializer = \"zeros\"\nloss = \"binary_cross_entropy\"\n\
         [[layers]]\nname = \"table\"\ntype = \"embedding\"\noutput_dim = {}\nmask_zero = true\n\
         [[layers]]\nname = \"cell\"\ntype = {}\ngo_backwards = {}\n{}\n\
         [[layers]]\nname = \"read\"\ntype = \"dense\"\nunits = 1\n",
        table.shape[1],
        case["cell"],
        case["reverse"],
        options(case, true).join("\n"),
    );
    let config: ModelConfig = toml::from_str(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let graph = Graph::new(&config, table.shape[0]).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let no_fuse = if way.fused { Vec::new() } else { FUSIONS.map(String::from).to_vec() };
    let options = NetworkOptions { isa: way.isa, steps, rows, no_fuse, ..NetworkOptions::default() };
    let mut network = Network::new(&graph, options).unwrap();
    set(&mut network, "table/embeddings", &table.data);
    Weights::read(case, case).set(&mut network, "cell");
    set(&mut network, "read/kernel", &Tensor::read(&case["dense_W"]).data);
    set(&mut network, "read/bias", &Tensor::read(&case["dense_b"]).data);
    let tokens: Vec<u32> = tokens.data.iter().map(|&token| token as u32).collect();
    let logits = network.logits(&tokens, rows, &mut network.new_state(rows));
    let got: Vec<f32> = (0..rows).map(|n| logits.row(n)[0]).collect();
    Expected::read(case).iter().for_each(|expected| expected.compare(id, way, &got, rows));
}

#[test]
fn the_published_cases_come_out_as_written() {
    let Ok(folder) = std::env::var("UNROLL_DATA") else {
        println!("SKIPPED: UNROLL_DATA is not set");
        return;
    };
    let mut short = Vec::new();
    println!("{:<28} {:>4}", "file", "run");
    for (file, least) in FILES {
        let path = std::path::Path::new(&folder).join("conformance").join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let cases: Value = serde_json::from_str(&text).expect("a JSON file");
        let mut run = 0;
        for case in cases["cases"].as_array().expect("cases") {
            run += 1;
            for way in ways() {
                match case["kind"].as_str() {
                    None => run_forward(case, way),
                    Some("forward_stateful") => run_stateful(case, way),
                    Some("forward") => run_tokens(case, way),
                    Some(_) => run_training(case, way),
                }
            }
        }
        println!("{file:<28} {run:>4}");
        if run < least {
            short.push(format!("{file}: {run} of at least {least}"));
        }
    }
    assert!(short.is_empty(), "too few cases were run: {}", short.join(", "));
}
