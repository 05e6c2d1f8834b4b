//! Dense layers that are added: as one product they give what they give apart.

use super::vocabulary::assert_near;
use super::*;
use crate::gradcheck;

/// Models in which dense layers are added: at the end over one output a text or one a step, with and without biases,
/// three of them, and in the middle.
const MODELS: [&str; 5] = [
    r#"{ type = "reshape", target_shape = [35] }, { type = "dense", name = "h", units = 6, activation = "tanh" },
       { type = "dense", name = "a" }, { type = "dense", name = "b", inputs = ["reshape"] },
       { type = "add", inputs = ["a", "b"] }, { type = "activation", activation = "softmax" }"#,
    r#"{ type = "reshape", target_shape = [35] }, { type = "dense", name = "h", units = 6, activation = "tanh" },
       { type = "dense", name = "a", use_bias = false }, { type = "dense", name = "b", inputs = ["reshape"], use_bias = false },
       { type = "add", inputs = ["b", "a"] }"#,
    r#"{ type = "reshape", target_shape = [35] }, { type = "dense", name = "h", units = 6, activation = "tanh" },
       { type = "dense", name = "a", use_bias = false }, { type = "dense", name = "b", inputs = ["reshape"] },
       { type = "dense", name = "c", inputs = ["h"] }, { type = "add", inputs = ["a", "b", "c"] }"#,
    r#"{ type = "lstm", units = 5, return_sequences = true }, { type = "dense", name = "a" },
       { type = "dense", name = "b", inputs = ["embedding"] }, { type = "add", inputs = ["a", "b"] }"#,
    r#"{ type = "gru", units = 5, return_sequences = true }, { type = "dense", name = "a", units = 9 },
       { type = "dense", name = "b", units = 9, inputs = ["embedding"] }, { type = "add", inputs = ["a", "b"] },
       { type = "activation", activation = "tanh" }, { type = "dense" }"#,
];

fn graph(layers: &str) -> Graph {
    let text = format!(
        "input_length = 5\ninitializer = {{ uniform = 0.4 }}\nlayers = [{{ type = \"embedding\", output_dim = 7 }}, {layers}]"
    );
    Graph::new(&toml::from_str(&text).unwrap(), V).unwrap()
}

/// Losses in training and in use, the logits of the last position, and the gradient of each parameter by its name.
fn step(graph: &Graph, change: impl Fn(&mut NetworkOptions)) -> (Vec<f32>, Vec<f32>) {
    let mut options = NetworkOptions { steps: 5, rows: 6, ..Default::default() };
    change(&mut options);
    let mut network = Network::new(graph, options.clone()).unwrap();
    let tokens = |seed| {
        let key = Key::new(seed, Purpose::Source);
        (0..30).map(|i| key.word(i) % V as u32).collect::<Vec<_>>()
    };
    let (inputs, targets) = (tokens(1), tokens(2));
    let targets = &targets[..if graph.is_sequence() { 30 } else { 6 }];
    let batch = Batch { steps: 5, rows: 6, inputs: &inputs, targets, ..Batch::default() };
    let mut state = network.new_state(6);
    network.train_step(&batch, &mut state, 1);
    let mut losses = vec![0.0; targets.len()];
    network.losses(&mut losses);
    let gradient = graph.params().iter().flat_map(|spec| network.gradient()[spec.range.clone()].to_vec()).collect();
    // In use, where bf16 packs weights beforehand.
    let options = NetworkOptions { training: false, replicas: 1, ..options };
    let mut used = Network::new(graph, options).unwrap();
    used.params_mut().copy_from_slice(network.params());
    state.reset();
    used.evaluate(&batch, &mut state);
    let mut again = vec![0.0; targets.len()];
    used.losses(&mut again);
    state.reset();
    let logits = used.logits(&inputs, 6, &mut state);
    let logits = (0..6).flat_map(|n| logits.row(n)[..V].to_vec());
    (losses.into_iter().chain(again).chain(logits).collect(), gradient)
}

/// Each number is off by at most 2 K 2^-24 times the sum of the absolute products of its chain, K = 41 at most;
/// measured by the largest number of its kind, whose chains are as long, a tenth of that is seen. bf16 rounds biases
/// that are rows to 2^-9.
#[test]
fn a_sum_of_dense_layers_is_one_product_with_the_same_result() {
    for (i, layers) in MODELS.into_iter().enumerate() {
        let graph = graph(layers);
        for (precision, tolerance) in [(Precision::F32, 4e-6), (Precision::Bf16, 2e-2)] {
            let set = |o: &mut NetworkOptions, names: &[&str], threads| {
                (o.precision, o.threads) = (precision, threads);
                o.no_fuse = names.iter().map(|&name| name.to_owned()).collect();
            };
            let apart = step(&graph, |o| set(o, &["dense_sum"], 1));
            for names in [&[][..], &["softmax_head"]] {
                let joint = step(&graph, |o| set(o, names, 1));
                assert_near(&format!("model {i} {precision} losses"), &joint.0, &apart.0, tolerance);
                assert_near(&format!("model {i} {precision} gradient"), &joint.1, &apart.1, tolerance);
                for threads in [2, 3] {
                    assert!(step(&graph, |o| set(o, names, threads)) == joint, "model {i}, {threads} threads");
                }
            }
            let replicas = step(&graph, |o| {
                set(o, &[], 1);
                o.replicas = 2;
            });
            assert_near(&format!("model {i} {precision} of replicas"), &replicas.1, &apart.1, tolerance);
        }
    }
}

#[test]
fn the_gradients_of_a_sum_are_those_of_central_differences() {
    for layers in MODELS {
        let report =
            gradcheck::check(&graph(layers), &gradcheck::Options { entries: 30, ..Default::default() }).unwrap();
        assert!(report.passed, "{report:?}");
    }
}

/// What others take, what has a function or the table of an embedding stays a layer of its own.
#[test]
fn a_dense_layer_that_is_more_than_a_term_is_computed_by_itself() {
    let of = |layers: &str| graph(layers).sum_of(3).is_some();
    let reshape = r#"{ type = "reshape", target_shape = [35] }, { type = "dense", name = "h", units = 7 }"#;
    assert!(of(&format!(
        r#"{reshape}, {{ type = "dense", name = "a" }},
        {{ type = "dense", name = "b", inputs = ["h"] }}, {{ type = "add", inputs = ["a", "b"] }}"#
    )));
    for (a, end) in [
        ("activation = \"tanh\"", "inputs = [\"a\", \"b\"]"),
        ("tied_to = \"embedding\"", "inputs = [\"a\", \"b\"]"),
        ("units = 37", "inputs = [\"a\", \"b\", \"a\"]"),
        ("units = 37", "inputs = [\"a\", \"b\", \"h2\"]"),
    ] {
        let h2 = if end.contains("h2") {
            "{ type = \"activation\", name = \"h2\", inputs = [\"a\"], activation = \"tanh\" },"
        } else {
            ""
        };
        let layers = format!(
            r#"{reshape}, {{ type = "dense", name = "a", {a} }}, {h2}
            {{ type = "dense", name = "b", inputs = ["h"] }}, {{ type = "add", {end} }}"#
        );
        assert!(!of(&layers), "{layers}");
    }
}
