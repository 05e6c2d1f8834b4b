use super::*;
use crate::graph::ModelConfig;
use crate::graph::tests::with_cell;
use unroll_kernels::isa::sets_under_test;

mod drops;
mod masks;
mod outputs;
mod parts;
mod random;
mod source;
mod state_dropout;
mod vectors;
mod words;

fn graph(text: &str, vocabulary: usize) -> Graph {
    let model: ModelConfig = toml::from_str(text).unwrap();
    Graph::new(&model, vocabulary).unwrap()
}

fn options() -> Options {
    Options { sets: sets_under_test(), ..Options::default() }
}

fn run_with(graph: &Graph, options: &Options, faults: &Faults<'_>) -> Result<Report> {
    run(graph, options, &mut |_, _| {}, faults)
}

#[track_caller]
fn assert_passes(graph: &Graph, options: &Options) -> Report {
    let report = check(graph, options).unwrap();
    assert!(report.passed, "{}\n{}", report.worst().unwrap(), report.lines().join("\n"));
    report
}

/// A language model with layers of every kind that has parameters of its own, and most others.
const LANGUAGE: &str = r#"
    layers = [
        { type = "embedding", output_dim = 6 },
        { type = "simple_rnn", units = 5, return_sequences = true, stateful = true },
        { type = "lstm", units = 7, recurrent_bias = true, return_sequences = true, stateful = true },
        { type = "dropout", rate = 0.3 },
        { type = "gru", units = 4, return_sequences = true, stateful = true },
        { type = "concatenate", inputs = ["gru", "dropout"] },
        { type = "gru", name = "before", units = 6, return_sequences = true, stateful = true, reset_after = false },
        { type = "add", inputs = ["before", "embedding"] },
        { type = "activation", activation = "sigmoid" },
        { type = "dense", activation = "softmax", tied_to = "embedding" },
    ]
"#;

/// A classifier that reads both ways.
const CLASSIFIER: &str = r#"
    loss = "binary_cross_entropy"
    layers = [
        { type = "one_hot" },
        { type = "bidirectional", layer = { type = "lstm", units = 3, return_sequences = true } },
        { type = "bidirectional", layer = { type = "gru", units = 4 } },
        { type = "dense", units = 5, activation = "relu" },
        { type = "dense", name = "out", units = 1, activation = "sigmoid" },
    ]
"#;

/// A window of tokens, the next one being told from all of them at once.
const WINDOW: &str = r#"
    input_length = 3
    layers = [
        { type = "embedding", output_dim = 4 },
        { type = "reshape", target_shape = [12] },
        { type = "dense", name = "hidden", units = 7, activation = "tanh" },
        { type = "activation", activation = "softmax" },
        { type = "dense" },
        { type = "activation", name = "end", activation = "softmax" },
    ]
"#;

/// Cells with other functions and peepholes, one read backwards, the states of both directions carried.
const FORMS: &str = r#"
    layers = [
        { type = "embedding", output_dim = 6 },
        { type = "lstm", units = 5, peephole = true, activation = "softsign", recurrent_activation = "hard_sigmoid",
          return_sequences = true, stateful = true, go_backwards = true },
        { type = "bidirectional", merge_mode = "mul",
          layer = { type = "lstm", units = 4, peephole = true, return_sequences = true, stateful = true } },
        { type = "simple_rnn", units = 4, activation = "sigmoid", return_sequences = true },
        { type = "dense" },
    ]
"#;

/// Directions merged in every way, of whole sequences and of last states.
const MERGES: &str = r#"
    layers = [
        { type = "embedding", output_dim = 6 },
        { type = "bidirectional", merge_mode = "sum",
          layer = { type = "gru", units = 5, activation = "linear", return_sequences = true, stateful = true } },
        { type = "bidirectional", name = "before", merge_mode = "ave",
          layer = { type = "gru", units = 3, recurrent_activation = "hard_sigmoid_6", reset_after = false, return_sequences = true, stateful = true } },
        { type = "bidirectional", name = "last", merge_mode = "mul",
          layer = { type = "simple_rnn", units = 4, activation = "softsign" } },
        { type = "dense" },
    ]
"#;

#[test]
fn label_smoothing_and_z_loss_are_in_the_gradient() {
    for head in ["label_smoothing = 0.3", "z_loss = 0.05", "label_smoothing = 0.1, z_loss = 0.2"] {
        let report = assert_passes(&graph(&format!("head = {{ {head} }}\n{LANGUAGE}"), 7), &options());
        let plain = assert_passes(&graph(LANGUAGE, 7), &options());
        assert_ne!(report.comparisons[0].loss, plain.comparisons[0].loss);
    }
}

#[test]
fn right_gradients_pass() {
    let cases = [
        (LANGUAGE, 11, LossScale::Mean),
        (LANGUAGE, 11, LossScale::SumOverTime),
        (CLASSIFIER, 6, LossScale::Mean),
        (WINDOW, 5, LossScale::Sum),
        (FORMS, 7, LossScale::Mean),
        (MERGES, 7, LossScale::Mean),
    ];
    for (text, vocabulary, loss_scale) in cases {
        let graph = graph(text, vocabulary);
        let report = assert_passes(&graph, &Options { loss_scale, rows: 3, ..options() });
        println!("{}\n{}", report.lines().join("\n"), report.worst().unwrap());
        // Every tensor was compared, by every entry (all have fewer than 200), and none with a tolerance so wide that
        // the comparison says nothing.
        for row in &report.comparisons[0].tensors {
            let len: usize = row.shape.iter().product();
            assert_eq!(row.checked + row.kinks, len.min(200) as u64, "{}", row.tensor);
        }
        assert_eq!(report.comparisons.len(), 1 + 2 * options().sets.len());
        assert!(report.floor < 1e-8 && report.single < 1e-4, "{} {}", report.floor, report.single);
    }
}

#[test]
fn last_states_are_merged_in_every_way() {
    for (merge, cell) in [("concat", "gru"), ("sum", "lstm"), ("ave", "simple_rnn"), ("mul", "lstm"), ("sum", "gru")] {
        let layer = format!(
            "{{ type = \"bidirectional\", merge_mode = \"{merge}\", layer = {{ type = \"{cell}\", units = 4 }} }}"
        );
        let text = format!(
            "layers = [{{ type = \"embedding\", output_dim = 3, mask_zero = true }}, {layer}, {{ type = \"dense\" }}]"
        );
        assert_passes(&graph(&text, 6), &Options { rows: 3, ..options() });
    }
}

/// The tensors with wrong entries, of all comparisons.
fn wrong(report: &Report) -> Vec<&str> {
    let rows = report.comparisons.iter().flat_map(|c| &c.tensors).filter(|row| row.wrong > 0);
    let mut names: Vec<&str> = rows.map(|row| row.tensor.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Asserts that a report fails, and names this tensor and no other.
#[track_caller]
fn assert_names(report: &Report, tensor: &str, fault: &str) {
    assert!(!report.passed, "{tensor}: {fault} was not caught");
    assert_eq!(wrong(report), [tensor], "{fault}");
    let worst = report.worst().unwrap();
    assert!(worst.starts_with(&format!("{tensor}[")), "{tensor}: {fault}: {worst}");
}

/// The index of the largest entry, and of the one that differs most from it.
fn extremes(g: &[f64]) -> (usize, usize) {
    let top = (0..g.len()).max_by(|&a, &b| g[a].abs().total_cmp(&g[b].abs())).unwrap();
    let other = (0..g.len()).max_by(|&a, &b| (g[a] - g[top]).abs().total_cmp(&(g[b] - g[top]).abs())).unwrap();
    (top, other)
}

/// A fault and its name.
type Fault = (&'static str, fn(&mut [f64]));

/// What may go wrong in the gradient of one tensor.
const FAULTS: [Fault; 5] = [
    ("one entry off by a thousandth", |g| {
        let (top, _) = extremes(g);
        g[top] *= 1.001;
    }),
    ("everything doubled", |g| g.iter_mut().for_each(|g| *g *= 2.0)),
    ("nothing computed", |g| g.fill(0.0)),
    ("two entries exchanged", |g| {
        let (top, other) = extremes(g);
        if top == other { g[top] = -g[top] } else { g.swap(top, other) }
    }),
    ("one entry no number", |g| {
        let (top, _) = extremes(g);
        g[top] = f64::NAN;
    }),
];

/// Puts a fault into the f32 gradient of one tensor.
fn spoil(gradient: &mut [f32], fault: fn(&mut [f64])) {
    let mut wide: Vec<f64> = gradient.iter().map(|&g| f64::from(g)).collect();
    fault(&mut wide);
    gradient.iter_mut().zip(wide).for_each(|(g, faulty)| *g = faulty as f32);
}

#[test]
fn every_fault_in_an_f32_gradient_is_caught_and_named() {
    for (text, vocabulary) in [(LANGUAGE, 11), (CLASSIFIER, 6), (WINDOW, 5)] {
        let graph = graph(text, vocabulary);
        // Differences have no part in this: one entry of each tensor will do.
        let options = Options { entries: 1, sets: vec![Isa::best()], ..options() };
        for spec in graph.params() {
            for (name, fault) in FAULTS {
                let narrow = |arena: &mut [f32]| spoil(&mut arena[spec.range.clone()], fault);
                let report = run_with(&graph, &options, &Faults { narrow: &narrow, ..Faults::NONE }).unwrap();
                assert_names(&report, &spec.name, name);
            }
        }
    }
}

#[test]
fn every_fault_in_an_f64_gradient_is_caught_and_named() {
    for (text, vocabulary) in [(LANGUAGE, 11), (CLASSIFIER, 6), (WINDOW, 5)] {
        let graph = graph(text, vocabulary);
        let options = Options { sets: Vec::new(), batches: 1, ..options() };
        for (p, spec) in graph.params().iter().enumerate() {
            for (name, fault) in FAULTS {
                let wide = |tensors: &mut [Vec<f64>]| fault(&mut tensors[p]);
                let report = run_with(&graph, &options, &Faults { wide: &wide, ..Faults::NONE }).unwrap();
                assert_names(&report, &spec.name, name);
            }
        }
    }
}

/// The names of the tensors whose gradients pass through node `at`.
fn before(graph: &Graph, at: usize) -> Vec<&str> {
    let mut reached = vec![false; at + 1];
    reached[at] = true;
    for i in (0..=at).rev().filter(|&i| i == at || graph.consumers(i).any(|c| c <= at)) {
        let feeds = graph.consumers(i).any(|c| c <= at && reached[c]);
        reached[i] |= feeds;
    }
    let nodes = (0..at).filter(|&i| reached[i]);
    nodes.flat_map(|i| graph.params()[graph.nodes()[i].params.clone()].iter().map(|p| p.name.as_str())).collect()
}

#[test]
fn a_fault_in_the_backward_pass_of_any_layer_is_caught_before_it() {
    let mut kinds = Vec::new();
    for (text, vocabulary) in [(LANGUAGE, 11), (CLASSIFIER, 6), (WINDOW, 5)] {
        let graph = graph(text, vocabulary);
        let options = Options { sets: Vec::new(), batches: 1, ..options() };
        for (i, node) in graph.nodes().iter().enumerate().take(graph.logits() + 1) {
            let suspects = before(&graph, i);
            if suspects.is_empty() {
                continue;
            }
            kinds.push(node.config.kind());
            let flow = |at: usize, dx: &mut [f64]| {
                if at == i {
                    dx.iter_mut().for_each(|d| *d *= 1.01);
                }
            };
            let report = run_with(&graph, &options, &Faults { flow: &flow, ..Faults::NONE }).unwrap();
            let wrong = wrong(&report);
            assert!(!wrong.is_empty(), "{}", node.name);
            assert!(wrong.iter().all(|name| suspects.contains(name)), "{}: {wrong:?} {suspects:?}", node.name);
        }
    }
    let all = [
        "activation",
        "add",
        "bidirectional",
        "concatenate",
        "dense",
        "dropout",
        "gru",
        "lstm",
        "reshape",
        "simple_rnn",
    ];
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, all);
}

/// A layer of every kind whose effect another declaration of the same parameters changes.
const VARIANTS: &str = r#"
    layers = [
        { type = "embedding", output_dim = 6 },
        { type = "simple_rnn", units = 6, return_sequences = true, activation = "tanh" },
        { type = "lstm", units = 6, return_sequences = true, stateful = true },
        { type = "gru", units = 6, return_sequences = true, use_bias = false, go_backwards = false, reset_after = true },
        { type = "dropout", rate = 0.3 },
        { type = "concatenate", inputs = ["dropout", "lstm"] },
        { type = "dense", name = "hidden", units = 6, activation = "sigmoid" },
        { type = "add", inputs = ["hidden", "embedding"] },
        { type = "activation", activation = "tanh" },
        { type = "dense" },
    ]
"#;

#[test]
fn a_network_that_computes_something_else_is_caught() {
    let graph_of = |text: &str| graph(text, 9);
    let asked = graph_of(VARIANTS);
    assert_passes(&asked, &options());
    let changes = [
        ("return_sequences = true, activation = \"tanh\"", "return_sequences = true, activation = \"relu\""),
        ("stateful = true", "stateful = false"),
        ("stateful = true", "stateful = true, recurrent_activation = \"hard_sigmoid\""),
        ("reset_after = true", "reset_after = true, activation = \"softsign\""),
        ("go_backwards = false", "go_backwards = true"),
        ("reset_after = true", "reset_after = false"),
        ("rate = 0.3", "rate = 0.31"),
        ("rate = 0.3", "rate = 0.0"),
        ("inputs = [\"dropout\", \"lstm\"]", "inputs = [\"lstm\", \"dropout\"]"),
        ("activation = \"sigmoid\"", "activation = \"tanh\""),
        ("inputs = [\"hidden\", \"embedding\"]", "inputs = [\"hidden\", \"hidden\"]"),
        ("\"activation\", activation = \"tanh\"", "\"activation\", activation = \"linear\""),
    ];
    for (from, to) in changes {
        let text = VARIANTS.replacen(from, to, 1);
        assert_ne!(text, VARIANTS, "{from}");
        let other = graph_of(&text);
        let options = Options { entries: 1, sets: vec![Isa::best()], ..options() };
        let report = run_with(&asked, &options, &Faults { graph: Some(&other), ..Faults::NONE }).unwrap();
        assert!(!report.passed, "{to}");
        assert_eq!(report.comparisons[0].tensors.iter().map(|row| row.wrong).sum::<u64>(), 0, "{to}");
    }
}

#[test]
fn a_gradient_where_none_belongs_is_caught_however_small() {
    let graph = graph(WINDOW, 50);
    let options = Options { entries: 1, sets: vec![Isa::best()], ..options() };
    let tokens = draw::tokens(&graph, 3, options.rows, options.batches, options.seed);
    let absent = (0..50).find(|token| tokens.iter().all(|batch| !batch.inputs.contains(token))).unwrap();
    let narrow = |arena: &mut [f32]| arena[absent as usize * 4 + 1] = 1e-30;
    let report = run_with(&graph, &options, &Faults { narrow: &narrow, ..Faults::NONE }).unwrap();
    assert_names(&report, "embedding/embeddings", "a gradient of a token that is absent");
    assert!(report.worst().unwrap().starts_with(&format!("embedding/embeddings[{absent}, 1]")));
}

#[test]
fn threads_do_not_change_a_report() {
    let graph = graph(LANGUAGE, 11);
    let alone = check(&graph, &options()).unwrap();
    assert_eq!(check(&graph, &Options { threads: 3, ..options() }).unwrap(), alone);
}

#[test]
fn a_large_table_is_checked_where_its_tokens_are() {
    let graph = graph(WINDOW, 700);
    let report = assert_passes(&graph, &options());
    assert_eq!(report.comparisons[0].tensors[0].checked, 200);
    // A fault in the rows of one token is found among 2,800 entries.
    let tokens = draw::tokens(&graph, 3, 2, 2, 123);
    let row = tokens[1].inputs[0] as usize;
    let wide = |tensors: &mut [Vec<f64>]| tensors[0][row * 4..row * 4 + 4].iter_mut().for_each(|g| *g *= 1.01);
    let options = Options { sets: Vec::new(), ..options() };
    assert_names(
        &run_with(&graph, &options, &Faults { wide: &wide, ..Faults::NONE }).unwrap(),
        "embedding/embeddings",
        "a row",
    );
}

#[test]
fn reports_can_be_read_by_programs() {
    let graph = graph(WINDOW, 5);
    let narrow = |arena: &mut [f32]| arena[0] = f32::NAN;
    let options = Options { sets: vec![Isa::best()], ..options() };
    let report = run_with(&graph, &options, &Faults { narrow: &narrow, ..Faults::NONE }).unwrap();
    let json: serde_json::Value = serde_json::to_value(&report).unwrap();
    assert_eq!(json["passed"], false);
    assert_eq!(json["comparisons"][0]["tensors"][0]["checked"], 20);
    assert_eq!(json["comparisons"][1]["gradient"], Isa::best().name());
    assert_eq!(json["comparisons"][1]["tensors"][0]["worst"]["index"], 0);
    assert!(json["comparisons"][1]["tensors"][0]["worst"]["ratio"].as_f64().unwrap() > 1.0);
}

#[test]
fn what_cannot_be_checked_is_refused() {
    let graph_of = |text: &str| graph(text, 5);
    let refused = |text: &str, options: Options| check(&graph_of(text), &options).unwrap_err();
    let error = refused(WINDOW, Options { steps: Some(4), ..options() });
    assert_eq!(
        error.to_string(),
        "4 time steps, but the model's input_length is 3 (leave the number of time steps out)"
    );
    assert_eq!(refused(LANGUAGE, Options { steps: Some(0), ..options() }).exit_code(), 2);
    assert_eq!(refused(LANGUAGE, Options { rows: 0, ..options() }).exit_code(), 2);
    let inner = WINDOW.replace("activation = \"tanh\"", "activation = \"softmax\"");
    assert!(refused(&inner, options()).to_string().contains("`hidden`: softmax inside a model"));
    let huge = LANGUAGE.replace("units = 7", "units = 300000");
    let message = refused(&huge, options()).to_string();
    assert!(message.contains("checking this model takes") && message.contains("GiB are available"), "{message}");
}
