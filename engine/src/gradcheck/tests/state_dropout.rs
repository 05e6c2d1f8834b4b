//! Recurrent dropout, zoneout and what large activations cost, with rows that are normalised between the layers.

use super::*;

/// Every way of reading, states that are carried and states that others give.
const HELD: &str = r#"
    layers = [
        { type = "embedding", output_dim = 6, mask_zero = MASK },
        { type = "CELL", name = "on", units = 7, return_sequences = true, return_state = true, stateful = true, HELD },
        { type = "layer_normalization" },
        { type = "CELL", name = "back", units = 5, return_sequences = true, go_backwards = true, HELD },
        { type = "dropout", rate = 0.3, variational = true },
        { type = "bidirectional", merge_mode = "sum", layer = { type = "CELL", units = 7, return_sequences = true, HELD } },
        { type = "time_distributed", layer = { type = "layer_normalization", scale = false } },
        { type = "CELL", name = "last", units = 7, initial_state = START, HELD },
        { type = "layer_normalization", center = false, epsilon = 0.01 },
        { type = "dense" },
    ]
"#;

/// Cells, and options beside.
const CELLS: [(&str, &str); 5] = [
    ("simple_rnn", ""),
    ("lstm", ""),
    ("lstm", ", peephole = true, zoneout_cell = 0.4"),
    ("gru", ""),
    ("gru", ", reset_after = false"),
];

fn held((kind, more): (&str, &str), options: &str, mask: bool) -> Graph {
    let options = format!("{options}{more}");
    let start = if kind == "lstm" { "[\"on/h\", \"on/c\"]" } else { "[\"on/h\"]" };
    let text = with_cell(HELD, kind).replace("HELD", &options).replace("START", start);
    graph(&text.replace("MASK", &mask.to_string()), 11)
}

#[test]
fn gradients_of_models_that_drop_and_keep_states_pass() {
    for (cell, mask) in CELLS.into_iter().flat_map(|cell| [false, true].map(|mask| (cell, mask))) {
        for rates in
            ["recurrent_dropout = 0.4", "zoneout = 0.3", "recurrent_dropout = 0.2, zoneout = 0.5, weight_drop = 0.3"]
        {
            let graph = held(cell, rates, mask);
            let (seed, threads) = if mask { (1, 1) } else { (2, 2) };
            assert_passes(&graph, &Options { rows: 3, steps: Some(4), entries: 8, seed, threads, ..options() });
        }
    }
}

#[test]
fn what_is_dropped_or_kept_otherwise_is_caught() {
    for cell in ["lstm", "gru", "simple_rnn"] {
        let own = "recurrent_dropout = 0.4, zoneout = 0.3";
        let asked = held((cell, ""), own, true);
        let mut others = vec!["zoneout = 0.3", "recurrent_dropout = 0.4", "recurrent_dropout = 0.4, zoneout = 0.4"];
        if cell == "lstm" {
            others.push("recurrent_dropout = 0.4, zoneout = 0.3, zoneout_cell = 0.1");
        }
        for other in others {
            let other_graph = held((cell, ""), other, true);
            let options = Options { rows: 3, steps: Some(4), entries: 1, sets: vec![Isa::best()], ..options() };
            let report = run_with(&asked, &options, &Faults { graph: Some(&other_graph), ..Faults::NONE }).unwrap();
            assert!(!report.passed, "{cell}: {other}");
        }
    }
}

/// The last two layers of an AWD-LSTM.
const REGULARIZED: &str = r#"
    layers = [
        { type = "embedding", output_dim = 6, mask_zero = MASK },
        { type = "lstm", units = 6, return_sequences = true, stateful = true },
        { type = "activation_regularization", beta = 1.5 },
        { type = "dropout", rate = 0.3, variational = true },
        { type = "activation_regularization", alpha = 2.0, name = "ar" },
        { type = "dense", tied_to = "embedding" },
    ]
"#;

#[test]
fn gradients_of_models_whose_activations_cost_pass() {
    for (mask, loss_scale) in [false, true]
        .into_iter()
        .flat_map(|mask| [LossScale::Mean, LossScale::Sum, LossScale::SumOverTime].map(|s| (mask, s)))
    {
        let text = REGULARIZED.replace("MASK", &mask.to_string());
        let asked = graph(&text, 9);
        for (seed, threads) in [(1, 1), (2, 2)] {
            assert_passes(
                &asked,
                &Options { rows: 3, steps: Some(5), entries: 30, seed, threads, loss_scale, ..options() },
            );
        }
        for (from, to) in [("beta = 1.5", "beta = 1.6"), ("alpha = 2.0", "alpha = 0.0"), ("beta = 1.5", "alpha = 1.5")]
        {
            let other = graph(&text.replace(from, to), 9);
            let options = Options { rows: 3, entries: 1, sets: vec![Isa::best()], loss_scale, ..options() };
            let report = run_with(&asked, &options, &Faults { graph: Some(&other), ..Faults::NONE }).unwrap();
            assert!(!report.passed, "{to}");
        }
    }
}
