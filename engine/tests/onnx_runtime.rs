//! Models written as ONNX files give in ONNX Runtime what they give here. Needs Python with onnxruntime: `python3`, or the one
//! that `UNROLL_PYTHON` names; without it the test prints SKIPPED.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use unroll::graph::{Activation, Axis, Graph, LayerConfig, MaskRule, ModelConfig, Output, Words};
use unroll::huffman::Huffman;
use unroll::interop::{WeightFile, onnx};
use unroll::text::alike;
use unroll::train::{TensorRef, tensor_file};
use unroll::{Batch, Network, NetworkOptions};

const VOCABULARY: usize = 9;
/// Words of the models whose heads part them.
const WORDS: usize = 70;
const STEPS: usize = 6;
const ROWS: usize = 3;
/// Steps of the second sequence, of models that read two.
const SOURCE_STEPS: usize = 5;

/// Every kind of layer, direction and mask.
const MODELS: [&str; 27] = [
    // Word models that carry their state, with everything that only training looks at.
    r#"{ type = "embedding", name = "table", output_dim = 4, dropout = 0.1 }, { type = "dropout", rate = 0.5 }, { type = "lstm", units = 4, return_sequences = true, stateful = true, weight_drop = 0.2, recurrent_bias = true }, { type = "lstm", units = 4, return_sequences = true, stateful = true }, { type = "dense", tied_to = "table" }"#,
    r#"{ type = "one_hot" }, { type = "gru", units = 5, return_sequences = true, stateful = true }, { type = "dense", activation = "softmax" }"#,
    r#"{ type = "one_hot" }, { type = "gru", units = 5, return_sequences = true, reset_after = false, stateful = true }, { type = "dense" }, { type = "activation", activation = "softmax" }"#,
    r#"{ type = "embedding", output_dim = 4 }, { type = "simple_rnn", units = 5, activation = "relu", return_sequences = true, stateful = true, use_bias = false }, { type = "time_distributed", layer = { type = "dense", use_bias = false } }"#,
    r#"{ type = "embedding", output_dim = 4 }, { type = "lstm", units = 5, activation = "softsign", recurrent_activation = "hard_sigmoid", peephole = true }, { type = "dense", activation = "hard_sigmoid_6", units = 6 }, { type = "dense" }"#,
    r#"{ type = "embedding", output_dim = 4 }, { type = "gru", units = 5, activation = "linear", recurrent_activation = "hard_sigmoid_6", go_backwards = true, return_sequences = true }, { type = "gru", units = 3, go_backwards = true }, { type = "dense", units = 9 }"#,
    // Both directions, padded, one row with a hole.
    r#"{ type = "embedding", output_dim = 4, mask_zero = true }, { type = "bidirectional", layer = { type = "lstm", units = 3, return_sequences = true } }, { type = "bidirectional", layer = { type = "lstm", units = 3, return_sequences = true }, merge_mode = "ave" }, { type = "dense" }"#,
    r#"{ type = "embedding", output_dim = 4, mask_zero = true }, { type = "bidirectional", layer = { type = "gru", units = 3, return_sequences = true }, merge_mode = "mul" }, { type = "bidirectional", layer = { type = "simple_rnn", units = 4 } }, { type = "dense", activation = "tanh", units = 7 }, { type = "dense" }"#,
    r#"{ type = "embedding", output_dim = 4, mask_zero = true }, { type = "bidirectional", layer = { type = "gru", units = 3 }, merge_mode = "sum" }, { type = "dense" }"#,
    // Several inputs, and states of others.
    r#"{ type = "input", name = "picture", width = 5, sequence = false }, { type = "dense", name = "h0", units = 4, activation = "tanh" }, { type = "dense", name = "c0", inputs = ["picture"], units = 4 }, { type = "repeat_vector", name = "each", inputs = ["h0"] }, { type = "embedding", inputs = ["sequence"], output_dim = 4 }, { type = "add", inputs = ["embedding", "each"] }, { type = "lstm", units = 4, return_sequences = true, initial_state = ["h0", "c0"] }, { type = "dense" }"#,
    r#"{ type = "input", name = "frames", width = 5 }, { type = "bidirectional", name = "both", merge_mode = "none", layer = { type = "lstm", units = 3, return_state = true, return_sequences = true } }, { type = "concatenate", inputs = ["both/forward", "both/backward", "frames"] }, { type = "bidirectional", layer = { type = "gru", units = 3, return_sequences = true }, initial_state = ["both/forward/h", "both/backward/h"] }, { type = "dense" }"#,
    r#"{ type = "input", name = "frames", width = 5 }, { type = "lstm", units = 4, return_state = true, go_backwards = true }, { type = "concatenate", inputs = ["lstm", "lstm/h", "lstm/c"] }, { type = "dense" }"#,
    r#"{ type = "embedding", output_dim = 2 }, { type = "reshape", target_shape = [12] }, { type = "dense", units = 8, activation = "sigmoid" }, { type = "activation", activation = "relu" }, { type = "dense" }"#,
    r#"{ type = "embedding", output_dim = 4 }, { type = "layer_normalization" }, { type = "gru", units = 4, return_sequences = true }, { type = "layer_normalization", scale = false, epsilon = 0.1 }, { type = "dense" }"#,
    r#"{ type = "embedding", output_dim = 4, mask_zero = true }, { type = "lstm", units = 4, return_sequences = true, stateful = true }, { type = "dense" }"#,
    r#"{ type = "embedding", output_dim = 4, mask_zero = true }, { type = "simple_rnn", units = 4, recurrent_bias = true, go_backwards = true, return_sequences = true }, { type = "dense" }"#,
    // Masks by values, of vectors and of the rows of a table; vectors beside tokens that are masked.
    r#"{ type = "input", name = "frames", width = 3 }, { type = "masking", mask_value = 0.5 }, { type = "bidirectional", layer = { type = "gru", units = 4, return_sequences = true } }, { type = "dense" }"#,
    r#"{ type = "embedding", output_dim = 3 }, { type = "masking", mask_value = 0.25 }, { type = "lstm", units = 4, return_sequences = true, go_backwards = true }, { type = "dense" }"#,
    r#"{ type = "input", name = "frames", width = 5 }, { type = "embedding", inputs = ["sequence"], mask_zero = true, output_dim = 2 }, { type = "concatenate", inputs = ["frames", "embedding"] }, { type = "gru", units = 3, return_sequences = true }, { type = "dense" }"#,
    // Two sequences, of which both are masked or neither.
    r#"{ type = "embedding", name = "words", inputs = ["source"], output_dim = 4, mask_zero = true }, { type = "bidirectional", name = "encoder", layer = { type = "gru", units = 3, return_state = true } }, { type = "embedding", inputs = ["sequence"], output_dim = 3, mask_zero = true }, { type = "repeat_vector", name = "each", inputs = ["encoder/backward/h"] }, { type = "add", inputs = ["embedding", "each"] }, { type = "gru", units = 3, return_sequences = true, initial_state = ["encoder/forward/h"] }, { type = "dense" }"#,
    r#"{ type = "input", name = "frames", inputs = ["source"], width = 5 }, { type = "lstm", name = "encoder", units = 4, return_state = true, go_backwards = true }, { type = "embedding", inputs = ["sequence"], output_dim = 3 }, { type = "lstm", units = 4, return_sequences = true, initial_state = ["encoder/h", "encoder/c"] }, { type = "dense" }"#,
    // Zoneout.
    r#"{ type = "embedding", output_dim = 4 }, { type = "lstm", units = 4, return_sequences = true, stateful = true, zoneout = 0.3, zoneout_cell = 0.6 }, { type = "lstm", units = 5, return_sequences = true, stateful = true, zoneout_cell = 0.4, peephole = true, recurrent_bias = true }, { type = "dense" }"#,
    r#"{ type = "embedding", output_dim = 4, mask_zero = true }, { type = "bidirectional", layer = { type = "gru", units = 3, return_sequences = true, zoneout = 0.2 } }, { type = "gru", units = 3, zoneout = 0.4, go_backwards = true, return_sequences = true, reset_after = false }, { type = "dense" }"#,
    r#"{ type = "input", name = "picture", width = 5, sequence = false }, { type = "dense", name = "h0", units = 4, activation = "tanh" }, { type = "embedding", inputs = ["sequence"], output_dim = 4 }, { type = "simple_rnn", units = 4, zoneout = 0.7, activation = "relu", use_bias = false, initial_state = ["h0"] }, { type = "dense" }"#,
    r#"{ type = "embedding", output_dim = 4, mask_zero = true }, { type = "bidirectional", merge_mode = "sum", layer = { type = "lstm", units = 3, zoneout = 0.2, zoneout_cell = 0.1 } }, { type = "dense" }"#,
    // Several outputs, over time and of rows.
    r#"{ type = "embedding", output_dim = 4, mask_zero = true }, { type = "gru", name = "all", units = 3, return_sequences = true }, { type = "dense", name = "tags", units = 5, activation = "softmax" }, { type = "dense", name = "words", inputs = ["all"] }, { type = "lstm", inputs = ["all"], units = 2 }, { type = "dense", name = "stars", units = 1 }"#,
    r#"{ type = "embedding", output_dim = 4 }, { type = "gru", name = "last", units = 3 }, { type = "dense", name = "mood", units = 1, activation = "sigmoid" }, { type = "dense", name = "topic", inputs = ["last"], units = 4, activation = "softmax" }"#,
];

/// The outputs of models that have several, by the layer that the first of them is, and how many classes each has.
const OUTPUTS: [(&str, &str, &[usize]); 2] = [
    ("tags", "{ layer = 'tags' }, { layer = 'words' }, { layer = 'stars', loss = 'mean_squared_error' }", &[5, 9, 1]),
    ("mood", "{ layer = 'mood', loss = 'binary_cross_entropy' }, { layer = 'topic' }", &[1, 4]),
];

/// Every head that parts the words, before models with steps, without and with masks, some of which end in a softmax.
const HEADS: [&str; 10] = [
    "kind = 'adaptive_softmax'",
    "kind = 'adaptive_softmax', order = 'context'",
    "kind = 'adaptive_softmax', cutoffs = [5, 20], reduction = 1.5",
    "kind = 'class_softmax'",
    "kind = 'class_softmax', classes = 1",
    "kind = 'class_softmax', classes = 9, order = 'context'",
    "kind = 'hierarchical_softmax'",
    "kind = 'hierarchical_softmax', order = 'context'",
    "kind = 'sampled_softmax'",
    "kind = 'nce'",
];

const BEHIND: [&str; 4] = [
    r#"{ type = "embedding", output_dim = 4 }, { type = "lstm", units = 5, return_sequences = true, stateful = true }, { type = "dense" }"#,
    r#"{ type = "embedding", output_dim = 4 }, { type = "gru", units = 5 }, { type = "dense", use_bias = false }"#,
    r#"{ type = "embedding", output_dim = 4, mask_zero = true }, { type = "gru", units = 5, return_sequences = true }, { type = "dense" }"#,
    r#"{ type = "embedding", output_dim = 4 }, { type = "gru", units = 6, return_sequences = true }, { type = "dense", activation = "softmax" }"#,
];

/// A number in ±1 for each place, the same every time.
fn number(seed: usize, i: usize) -> f32 {
    let mut x = (seed as u64) << 32 | (i as u64 + 1);
    for _ in 0..3 {
        x = (x ^ x >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    (x >> 40) as f32 / 8_388_608.0 - 1.0
}

struct Case {
    graph: Graph,
    params: Vec<f32>,
    tokens: Vec<u32>,
    source: Vec<u32>,
    vectors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

/// What is there of an output: at each time and row, or none where it is masked.
struct Expected {
    name: String,
    ending: Activation,
    width: usize,
    positions: Vec<Option<Vec<f32>>>,
}

/// Padding in front of one row and behind another, and within the third.
const MASKED: [(usize, usize); 5] = [(0, 0), (1, 0), (4, 1), (3, 1), (2, 2)];

impl Case {
    fn new(seed: usize, layers: &str) -> Case {
        let length = if layers.contains("reshape") { "input_length = 6\n" } else { "" };
        let outputs = OUTPUTS.iter().find(|(first, _, _)| layers.contains(&format!("name = \"{first}\"")));
        let list = outputs.map_or_else(String::new, |(_, outputs, _)| format!("outputs = [{outputs}]\n"));
        let model: ModelConfig = toml::from_str(&format!("{length}{list}layers = [{layers}]")).unwrap();
        let graph = match outputs {
            Some((_, _, classes)) => Graph::with_classes(&model, VOCABULARY, classes),
            None => Graph::new(&model, VOCABULARY),
        };
        Case::of(seed, graph.unwrap())
    }

    /// Of a head, and words of which more is known than their number.
    fn with_head(seed: usize, head: &str, layers: &str, words: usize) -> Case {
        let model: ModelConfig = toml::from_str(&format!("head = {{ {head} }}\nlayers = [{layers}]")).unwrap();
        let counts: Vec<u64> = (0..words as u64).map(|word| 1 + (word * 7 + 3) % 11 * (word % 5) * 40).collect();
        let text: Vec<u32> = (0..900).map(|i| i * i % 31 * i % words as u32).collect();
        let tree = Huffman::new(&counts).unwrap();
        let order = alike::order(&alike::Bigrams::count(words, &text), &tree).into();
        let words = Words { counts: counts.into(), order: Some(order) };
        Case::of(seed, Graph::with_words(&model, words).unwrap())
    }

    fn of(seed: usize, graph: Graph) -> Case {
        let mut params: Vec<f32> = (0..graph.arena()).map(|i| 0.6 * number(seed, i)).collect();
        let last = graph.vocabulary() as u32 - 1;
        let token = |i: usize| last.min(1 + (8.0 * (0.5 + 0.499 * number(seed + 100, i))) as u32);
        let mut tokens: Vec<u32> = (0..STEPS * ROWS).map(token).collect();
        let mut source: Vec<u32> = (0..SOURCE_STEPS * ROWS).map(|i| token(1000 + i)).collect();
        for (t, n) in MASKED {
            tokens[t * ROWS + n] = 0;
            source[t * ROWS + (n + 1) % ROWS] = 0;
        }
        let vectors = graph.vector_inputs().map(|(node, input)| {
            let node = &graph.nodes()[node];
            let steps = if node.axis == Axis::Source { SOURCE_STEPS } else { STEPS };
            let time = node.shape.time.is_some().then_some(steps);
            let shape: Vec<usize> = time.into_iter().chain([ROWS, input.width]).collect();
            let values = (0..shape.iter().product()).map(|i| number(seed + 200, i)).collect();
            (node.name.clone(), shape, values)
        });
        let mut vectors: Vec<(String, Vec<usize>, Vec<f32>)> = vectors.collect();
        match graph.mask_rule() {
            Some(MaskRule::Rows { table, value }) => {
                let spec = &graph.params()[table];
                params[spec.range.start..][..spec.shape[1]].fill(value);
            }
            Some(MaskRule::Vectors { input, value }) => {
                let (_, shape, values) = &mut vectors[input];
                let width = shape[2];
                MASKED.iter().for_each(|(t, n)| values[(t * ROWS + n) * width..][..width].fill(value));
            }
            Some(MaskRule::TokenZero) | None => {}
        }
        Case { graph, params, tokens, source, vectors }
    }

    /// What the model gives here.
    fn expected(&self) -> Vec<Expected> {
        let graph = &self.graph;
        let source_steps = if graph.has_source() { SOURCE_STEPS } else { 0 };
        let options = NetworkOptions {
            steps: STEPS,
            source_steps: SOURCE_STEPS,
            rows: ROWS,
            training: false,
            ..NetworkOptions::default()
        };
        let mut network = Network::new(graph, options).unwrap();
        network.params_mut().copy_from_slice(&self.params);
        let vectors: Vec<&[f32]> = self.vectors.iter().map(|(_, _, values)| values.as_slice()).collect();
        let inputs: &[u32] = if graph.takes_tokens() { &self.tokens } else { &[] };
        let source: &[u32] = if graph.takes_source_tokens() { &self.source } else { &[] };
        let batch =
            Batch { steps: STEPS, rows: ROWS, inputs, source_steps, source, vectors: &vectors, ..Batch::default() };
        let of = |output: &Output| {
            let node = graph.nodes().iter().find(|node| node.name == output.name()).unwrap();
            let ending = match &node.config {
                LayerConfig::Dense(layer) => layer.activation,
                LayerConfig::Activation(layer) => layer.activation,
                _ => Activation::Linear,
            };
            let positions = vec![None; if output.is_sequence() { STEPS * ROWS } else { ROWS }];
            Expected { name: output.name().to_owned(), ending, width: node.shape.width(), positions }
        };
        let mut found: Vec<Expected> = graph.outputs().iter().map(of).collect();
        let mut state = network.new_state(ROWS);
        network.predict_outputs(&batch, &mut state, |output, t, n, logits| {
            let output = &mut found[output];
            output.positions[t * ROWS + n] = Some(logits[..output.width].to_vec());
        });
        found
    }

    /// Writes the model, and its batch in one part or, where it carries its state, in two.
    fn write(&self, folder: &Path) {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("model.onnx"), onnx(&self.graph, &self.params, "model").unwrap()).unwrap();
        let stateful = self.graph.nodes().iter().any(|n| n.config.recurrence().is_some_and(|(_, o, _)| o.stateful));
        let cut = if stateful { 4 } else { STEPS };
        let floats = |tokens: &[u32]| -> Vec<f32> { tokens.iter().map(|&token| token as f32).collect() };
        let (tokens, source) = (floats(&self.tokens), floats(&self.source));
        for (i, part) in [0..cut, cut..STEPS].into_iter().filter(|part| !part.is_empty()).enumerate() {
            let mut tensors = Vec::new();
            if self.graph.takes_tokens() {
                let data = &tokens[part.start * ROWS..part.end * ROWS];
                tensors.push(TensorRef { name: "tokens".into(), shape: vec![part.len(), ROWS], data });
            }
            if self.graph.takes_source_tokens() {
                tensors.push(TensorRef { name: "source".into(), shape: vec![SOURCE_STEPS, ROWS], data: &source });
            }
            for (name, shape, values) in &self.vectors {
                tensors.push(TensorRef { name: name.clone(), shape: shape.clone(), data: values });
            }
            fs::write(folder.join(format!("{i}.in")), tensor_file(&tensors).unwrap()).unwrap();
        }
    }

    /// What ONNX Runtime gave of an output, its parts behind each other.
    fn found(&self, folder: &Path, output: &str) -> Vec<f32> {
        let name = if self.graph.outputs().len() == 1 { "output".to_owned() } else { format!("output/{output}") };
        let mut found = Vec::new();
        for part in 0..2 {
            let file = folder.join(format!("{part}.out"));
            if file.exists() {
                found.extend(WeightFile::open(file).unwrap().read(&name).unwrap());
            }
        }
        found
    }
}

#[test]
fn onnx_runtime_computes_the_same() {
    let python = std::env::var_os("UNROLL_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let there = Command::new(&python).args(["-c", "import onnxruntime"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: {} has no onnxruntime", python.display());
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let plain = MODELS.iter().enumerate().map(|(i, layers)| (Case::new(i, layers), (*layers).to_owned()));
    let pairs = HEADS.iter().enumerate().flat_map(|(i, head)| BEHIND.map(|layers| (i, *head, layers)));
    let headed = pairs.map(|(i, head, layers)| (Case::with_head(i, head, layers, WORDS), format!("{head}: {layers}")));
    let of_one = HEADS[..8].iter().filter(|head| !head.contains("cutoffs") && !head.contains("classes = 9"));
    let one = of_one.map(|head| (Case::with_head(0, head, BEHIND[0], 1), format!("{head}, one word")));
    let (cases, models): (Vec<Case>, Vec<String>) = plain.chain(headed).chain(one).unzip();
    let folders: Vec<PathBuf> = (0..cases.len()).map(|i| place.path().join(i.to_string())).collect();
    cases.iter().zip(&folders).for_each(|(case, folder)| case.write(folder));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/peers/onnx_run.py");
    let output = Command::new(&python).arg(script).args(&folders).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for ((case, folder), model) in cases.iter().zip(&folders).zip(&models) {
        let mut worst = 0.0f64;
        for output in case.expected() {
            let found = case.found(folder, &output.name);
            assert_eq!(found.len(), output.positions.len() * output.width, "{model}");
            let mut there = 0;
            for (expected, found) in output.positions.iter().zip(found.chunks(output.width)) {
                let Some(expected) = expected else { continue };
                there += 1;
                for (expected, found) in behind(output.ending, expected).iter().zip(found) {
                    assert!(found.is_finite(), "{model}");
                    worst = worst.max((f64::from(*found) - expected).abs() / (1e-5 + 1e-5 * expected.abs()));
                }
            }
            let masked = output.positions.len() > ROWS && case.graph.mask_rule().is_some();
            assert_eq!(there, output.positions.len() - if masked { MASKED.len() } else { 0 }, "{model}");
        }
        println!("{worst:.3} of the tolerance: {model}");
        assert!(worst <= 1.0, "{worst} of the tolerance\n{model}");
    }
}

/// Logits behind the function that a loss contains.
fn behind(ending: Activation, logits: &[f32]) -> Vec<f64> {
    let logits = logits.iter().map(|&x| f64::from(x));
    match ending {
        Activation::Softmax => {
            let powers: Vec<f64> = logits.map(f64::exp).collect();
            let sum: f64 = powers.iter().sum();
            powers.iter().map(|p| p / sum).collect()
        }
        Activation::Sigmoid => logits.map(|x| 1.0 / (1.0 + (-x).exp())).collect(),
        _ => logits.collect(),
    }
}

#[test]
fn what_onnx_cannot_express_is_refused_by_name() {
    let refused = |layers: &str| {
        let case = Case::new(0, layers);
        onnx(&case.graph, &case.params, "model").unwrap_err().to_string()
    };
    insta::assert_snapshot!(refused(r#"{ type = "input", name = "picture", width = 5, sequence = false }, { type = "dense", name = "h0", units = 2 }, { type = "embedding", inputs = ["sequence"], output_dim = 2 }, { type = "gru", name = "reader", units = 2, stateful = true, initial_state = ["h0"] }, { type = "dense" }"#), @"layer `reader`: ONNX has no state that is carried on from one that layers give (leave stateful or initial_state out)");
}
