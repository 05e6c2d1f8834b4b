//! What training drops beside single elements: words, weights, and units for all steps of a row.

use super::*;

/// The regularisers of an AWD-LSTM, whose table is tied.
const AWD: &str = r#"
    layers = [
        { type = "embedding", output_dim = 6, dropout = 0.4, mask_zero = MASK },
        { type = "CELL", units = 7, return_sequences = true, stateful = true, weight_drop = 0.5 },
        { type = "dropout", rate = 0.3, variational = true },
        { type = "bidirectional", merge_mode = "sum",
          layer = { type = "CELL", units = 6, return_sequences = true, weight_drop = 0.3 } },
        { type = "time_distributed", layer = { type = "dropout", rate = 0.4, variational = true } },
        { type = "dense", tied_to = "embedding" },
    ]
"#;

fn awd(cell: &str, mask: bool) -> Graph {
    graph(&with_cell(AWD, cell).replace("MASK", &mask.to_string()), 11)
}

const CELLS: [&str; 4] = ["simple_rnn", "lstm", "gru", "gru, reset_after = false"];

#[test]
fn gradients_of_models_that_drop_words_and_weights_pass() {
    for (cell, mask) in CELLS.into_iter().flat_map(|cell| [false, true].map(|mask| (cell, mask))) {
        let graph = awd(cell, mask);
        for (seed, threads) in [(1, 1), (2, 2)] {
            assert_passes(&graph, &Options { rows: 3, steps: Some(4), entries: 60, seed, threads, ..options() });
        }
    }
}

#[test]
fn what_is_dropped_otherwise_is_caught() {
    let asked = awd("lstm", false);
    for (from, to) in [
        ("dropout = 0.4", "dropout = 0.0"),
        ("dropout = 0.4", "dropout = 0.5"),
        ("weight_drop = 0.5", "weight_drop = 0.0"),
        ("weight_drop = 0.3", "weight_drop = 0.4"),
        ("variational = true },", "variational = false },"),
        ("variational = true } }", "variational = false } }"),
    ] {
        let text = with_cell(AWD, "lstm").replace("MASK", "false");
        let other = graph(&text.replacen(from, to, 1), 11);
        let options = Options { rows: 3, steps: Some(4), entries: 1, sets: vec![Isa::best()], ..options() };
        let report = run_with(&asked, &options, &Faults { graph: Some(&other), ..Faults::NONE }).unwrap();
        assert!(!report.passed, "{to}");
    }
}
