//! Models that read a source of other steps than the text: encoders and decoders.

use super::*;
use crate::graph::ModelConfig;

/// An encoder of both directions, whose states a decoder of another vocabulary begins with, and whose outputs it sees
/// at each step.
const TRANSLATOR: &str = r#"
    layers = [
        { type = "embedding", name = "read", inputs = ["source"], output_dim = 5, mask_zero = true },
        { type = "bidirectional", name = "both", merge_mode = "sum", layer = { type = "gru", units = 4, return_sequences = true } },
        { type = "dropout", rate = 0.2 },
        { type = "lstm", name = "encoder", units = 3, return_state = true },
        { type = "repeat_vector", name = "context" },
        { type = "embedding", name = "written", inputs = ["sequence"], output_dim = 6, mask_zero = true },
        { type = "concatenate", inputs = ["written", "context"] },
        { type = "lstm", units = 3, return_sequences = true, initial_state = ["encoder/h", "encoder/c"] },
        { type = "dense", activation = "softmax" },
    ]
"#;

/// Vectors over time, some of them masked, to words.
const FRAMES: &str = r#"
    layers = [
        { type = "input", name = "frames", inputs = ["source"], width = 4 },
        { type = "masking", mask_value = 0.25 },
        { type = "gru", name = "encoder", units = 5 },
        { type = "one_hot", name = "words", inputs = ["sequence"] },
        { type = "gru", units = 5, return_sequences = true, initial_state = ["encoder"] },
        { type = "dense" },
    ]
"#;

fn with_source(text: &str) -> Graph {
    let config: ModelConfig = toml::from_str(text).unwrap();
    Graph::with_source(&config, 7, 11).unwrap()
}

#[test]
fn gradients_flow_from_the_text_into_a_source_of_other_steps() {
    for text in [TRANSLATOR, FRAMES] {
        let report = assert_passes(&with_source(text), &Options { rows: 3, steps: Some(4), ..options() });
        let difference = &report.comparisons[0];
        assert!(difference.tensors.iter().all(|row| row.checked > 0), "{}", report.lines().join("\n"));
    }
}

#[test]
fn an_encoder_that_is_not_read_is_caught() {
    let graph = with_source(TRANSLATOR);
    let without = with_source(&TRANSLATOR.replace(", initial_state = [\"encoder/h\", \"encoder/c\"]", ""));
    let faults = Faults { graph: Some(&without), ..Faults::NONE };
    assert!(!run(&graph, &Options { rows: 3, ..options() }, &mut |_, _| {}, &faults).unwrap().passed);
}

#[test]
fn sequences_of_both_do_not_meet() {
    let config: ModelConfig =
        toml::from_str(&TRANSLATOR.replace("inputs = [\"written\", \"context\"]", "inputs = [\"written\", \"both\"]"))
            .unwrap();
    let error = Graph::with_source(&config, 7, 11).unwrap_err().to_string();
    assert!(error.contains("`concatenate` takes a sequence of the `source` and one of the text"), "{error}");
}
