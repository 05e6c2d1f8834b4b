//! Models written as ONNX files give in ONNX Runtime what they give here. Needs Python with onnxruntime: `python3`, or the one
//! that `UNROLL_PYTHON` names; without it the test prints SKIPPED.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use unroll::graph::{Graph, ModelConfig, Words};
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

/// Every kind of layer, direction and mask.
const MODELS: [&str; 16] = [
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
    vectors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl Case {
    fn new(seed: usize, layers: &str) -> Case {
        let length = if layers.contains("reshape") { "input_length = 6\n" } else { "" };
        let model: ModelConfig = toml::from_str(&format!("{length}layers = [{layers}]")).unwrap();
        Case::of(seed, Graph::new(&model, VOCABULARY).unwrap())
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
        let params = (0..graph.arena()).map(|i| 0.6 * number(seed, i)).collect();
        let last = graph.vocabulary() as u32 - 1;
        let token = |i: usize| last.min(1 + (8.0 * (0.5 + 0.499 * number(seed + 100, i))) as u32);
        let mut tokens: Vec<u32> = (0..STEPS * ROWS).map(token).collect();
        // Padding in front of one row and behind another, and within the third.
        for (t, n) in [(0, 0), (1, 0), (4, 1), (5, 1), (2, 2)] {
            tokens[t * ROWS + n] = 0;
        }
        let vectors = graph.vector_inputs().map(|(node, input)| {
            let node = &graph.nodes()[node];
            let time = node.shape.time.is_some().then_some(STEPS);
            let shape: Vec<usize> = time.into_iter().chain([ROWS, input.width]).collect();
            let values = (0..shape.iter().product()).map(|i| number(seed + 200, i)).collect();
            (node.name.clone(), shape, values)
        });
        let vectors = vectors.collect();
        Case { params, tokens, vectors, graph }
    }

    /// What the model gives here, in front of a last softmax.
    fn expected(&self) -> Vec<f32> {
        let options = NetworkOptions { steps: STEPS, rows: ROWS, training: false, ..NetworkOptions::default() };
        let mut network = Network::new(&self.graph, options).unwrap();
        network.params_mut().copy_from_slice(&self.params);
        let vectors: Vec<&[f32]> = self.vectors.iter().map(|(_, _, values)| values.as_slice()).collect();
        let inputs: &[u32] = if self.graph.takes_tokens() { &self.tokens } else { &[] };
        let batch = Batch { steps: STEPS, rows: ROWS, inputs, vectors: &vectors, ..Batch::default() };
        let outputs = if self.graph.is_sequence() { STEPS * ROWS } else { ROWS };
        let words = self.graph.classes();
        let mut found = vec![f32::NAN; outputs * words];
        let mut state = network.new_state(ROWS);
        network.predict_each(&batch, &mut state, |t, n, logits| {
            found[(t * ROWS + n) * words..][..words].copy_from_slice(&logits[..words]);
        });
        found
    }

    /// Writes the model, and its batch in one part or, where it carries its state, in two.
    fn write(&self, folder: &Path) {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("model.onnx"), onnx(&self.graph, &self.params, "model").unwrap()).unwrap();
        let stateful = self.graph.nodes().iter().any(|n| n.config.recurrence().is_some_and(|(_, o, _)| o.stateful));
        let cut = if stateful { 4 } else { STEPS };
        let tokens: Vec<f32> = self.tokens.iter().map(|&token| token as f32).collect();
        for (i, part) in [0..cut, cut..STEPS].into_iter().filter(|part| !part.is_empty()).enumerate() {
            let mut tensors = Vec::new();
            if self.graph.takes_tokens() {
                let data = &tokens[part.start * ROWS..part.end * ROWS];
                tensors.push(TensorRef { name: "tokens".into(), shape: vec![part.len(), ROWS], data });
            }
            for (name, shape, values) in &self.vectors {
                tensors.push(TensorRef { name: name.clone(), shape: shape.clone(), data: values });
            }
            fs::write(folder.join(format!("{i}.in")), tensor_file(&tensors).unwrap()).unwrap();
        }
    }

    /// What ONNX Runtime gave, its parts behind each other.
    fn found(folder: &Path) -> Vec<f32> {
        let mut found = Vec::new();
        for part in 0..2 {
            let file = folder.join(format!("{part}.out"));
            if file.exists() {
                found.extend(WeightFile::open(file).unwrap().read("output").unwrap());
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
        let (expected, found) = (case.expected(), Case::found(folder));
        assert_eq!(found.len(), expected.len(), "{model}");
        let (mut worst, words) = (0.0f64, case.graph.classes());
        for (expected, found) in expected.chunks(words).zip(found.chunks(words)) {
            if expected[0].is_nan() {
                continue; // a masked step
            }
            let expected = if model.ends_with(r#""softmax" }"#) { softmax(expected) } else { widened(expected) };
            for (expected, found) in expected.iter().zip(found) {
                assert!(found.is_finite(), "{model}");
                worst = worst.max((f64::from(*found) - expected).abs() / (1e-5 + 1e-5 * expected.abs()));
            }
        }
        println!("{worst:.3} of the tolerance: {model}");
        assert!(worst <= 1.0, "{worst} of the tolerance\n{model}");
    }
}

fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

fn softmax(values: &[f32]) -> Vec<f64> {
    let powers: Vec<f64> = values.iter().map(|&x| f64::from(x).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|p| p / sum).collect()
}

#[test]
fn what_onnx_cannot_express_is_refused_by_name() {
    let refused = |layers: &str| {
        let case = Case::new(0, layers);
        onnx(&case.graph, &case.params, "model").unwrap_err().to_string()
    };
    insta::assert_snapshot!(refused(r#"{ type = "input", width = 5 }, { type = "masking", name = "hide" }, { type = "gru", units = 2 }, { type = "dense" }"#), @"layer `hide`: ONNX has no masking by a value (mask token 0 by mask_zero on the embedding)");
    insta::assert_snapshot!(refused(r#"{ type = "input", name = "frames", width = 5 }, { type = "embedding", inputs = ["sequence"], mask_zero = true, output_dim = 2 }, { type = "concatenate", inputs = ["frames", "embedding"] }, { type = "gru", units = 2 }, { type = "dense" }"#), @"layer `frames`: ONNX cannot mask its vectors by the tokens beside them (leave mask_zero out)");
}
