//! Models with masked steps, rows that are masked wholly among them.

use super::*;

/// A tagger: every cell, both ways and each, above one another.
const TAGGER: &str = r#"
    layers = [
        { type = "embedding", output_dim = 6, mask_zero = true },
        { type = "bidirectional", layer = { type = "lstm", units = 4, return_sequences = true } },
        { type = "simple_rnn", units = 5, return_sequences = true, stateful = true },
        { type = "dropout", rate = 0.3 },
        { type = "gru", units = 4, return_sequences = true, go_backwards = true },
        { type = "concatenate", inputs = ["gru", "dropout"] },
        { type = "gru", name = "before", units = 6, return_sequences = true, reset_after = false, stateful = true },
        { type = "bidirectional", name = "two",
          layer = { type = "gru", units = 3, return_sequences = true, reset_after = false } },
        { type = "concatenate", name = "all", inputs = ["before", "two"] },
        { type = "lstm", units = 7, return_sequences = true, stateful = true },
        { type = "dense", activation = "softmax" },
    ]
"#;

/// A classifier of last states.
const CLASSIFIER: &str = r#"
    loss = "binary_cross_entropy"
    layers = [
        { type = "embedding", output_dim = 5, mask_zero = true },
        { type = "bidirectional", layer = { type = "lstm", units = 3, return_sequences = true } },
        { type = "bidirectional", name = "second", layer = { type = "CELL", units = 4 } },
        { type = "CELL", name = "carried", inputs = ["bidirectional"], units = 3, stateful = true },
        { type = "concatenate", inputs = ["second", "carried"] },
        { type = "dense", name = "out", units = 1 },
    ]
"#;

/// All outputs of a layer at once, those of masked steps among them.
const JOINED: &str = r#"
    input_length = 5
    layers = [
        { type = "embedding", output_dim = 5, mask_zero = true },
        { type = "gru", units = 4, return_sequences = true, zero_output_for_mask = ZERO },
        { type = "reshape", target_shape = [20] },
        { type = "dense" },
    ]
"#;

#[test]
fn gradients_of_masked_models_pass() {
    let mut cases = vec![(TAGGER.to_owned(), 9)];
    for cell in ["simple_rnn", "lstm", "gru"] {
        cases.push((with_cell(CLASSIFIER, cell), 7));
    }
    cases.extend(["true", "false"].map(|zero| (JOINED.replace("ZERO", zero), 6)));
    for (text, vocabulary) in cases {
        let graph = graph(&text, vocabulary);
        let mut options = Options { rows: 4, steps: Some(5), entries: 40, ..options() };
        for (seed, threads) in [(1, 1), (2, 3)] {
            (options.seed, options.threads) = (seed, threads);
            assert_passes(&graph, &options);
        }
        // What is drawn has masked steps, and a row that has nothing else.
        let drawn = draw::tokens(&graph, 5, 4, 1, 1).remove(0).inputs;
        assert!((0..4).any(|n| drawn.iter().skip(n).step_by(4).all(|&token| token == 0)), "{drawn:?}");
        assert!((0..4).any(|n| drawn.iter().skip(n).step_by(4).any(|&token| token != 0)), "{drawn:?}");
    }
}

#[test]
fn a_mask_that_is_forgotten_is_caught() {
    for (text, vocabulary, tensor) in [(TAGGER, 9, "lstm/kernel"), (&with_cell(CLASSIFIER, "gru"), 7, "out/kernel")] {
        let graph = graph(text, vocabulary);
        let unmasked = super::graph(&text.replace("mask_zero = true", "mask_zero = false"), vocabulary);
        let faults = Faults { graph: Some(&unmasked), ..Faults::NONE };
        let options = Options { rows: 4, steps: Some(5), entries: 1, sets: vec![Isa::best()], ..options() };
        let report = run_with(&graph, &options, &faults).unwrap();
        assert!(!report.passed && wrong(&report).contains(&tensor), "{tensor}: {:?}", wrong(&report));
    }
}
