//! Models whose vectors come with the batch.

use super::*;

/// Frames, each masked where it has nothing but 0.25, and a picture that they are about.
const FRAMES: &str = r#"
    layers = [
        { type = "input", width = 3 },
        { type = "masking", mask_value = 0.25 },
        { type = "lstm", units = 5, return_sequences = true, stateful = true },
        { type = "time_distributed", layer = { type = "dense", units = 4, activation = "tanh" } },
        { type = "bidirectional", layer = { type = "gru", units = 4 } },
        { type = "input", name = "picture", width = 6, sequence = false },
        { type = "dense", name = "seen", units = 2 },
        { type = "concatenate", inputs = ["bidirectional", "seen"] },
        { type = "dense" },
    ]
"#;

/// Features of each token beside its embedding, both masked by the tokens.
const FEATURES: &str = r#"
    layers = [
        { type = "embedding", output_dim = 4, mask_zero = true },
        { type = "input", name = "features", width = 3 },
        { type = "concatenate", inputs = ["embedding", "features"] },
        { type = "simple_rnn", units = 6, return_sequences = true },
        { type = "dense" },
    ]
"#;

/// A picture beside every word.
const CAPTION: &str = r#"
    layers = [
        { type = "input", name = "picture", width = 5, sequence = false },
        { type = "dense", name = "seen", units = 3, activation = "tanh" },
        { type = "repeat_vector" },
        { type = "embedding", inputs = ["sequence"], output_dim = 4, mask_zero = true },
        { type = "concatenate", inputs = ["embedding", "repeat_vector"] },
        { type = "lstm", units = 4, return_sequences = true },
        { type = "dense" },
    ]
"#;

#[test]
fn gradients_of_models_of_vectors_pass() {
    let unmasked = CAPTION.replace("mask_zero = true", "mask_zero = false");
    for (text, vocabulary) in [(FRAMES, 5), (FEATURES, 7), (CAPTION, 7), (&unmasked, 7)] {
        let graph = graph(text, vocabulary);
        for (seed, threads) in [(1, 1), (2, 2)] {
            assert_passes(&graph, &Options { rows: 4, steps: Some(5), seed, threads, ..options() });
        }
    }
    // Some frames are masked, and those of one row all are.
    let drawn = draw::tokens(&graph(FRAMES, 5), 5, 4, 1, 1).remove(0);
    let masked: Vec<bool> = drawn.vectors[0].chunks_exact(3).map(|v| v.iter().all(|&x| x == 0.25)).collect();
    assert!((0..4).any(|n| masked.iter().skip(n).step_by(4).all(|&m| m)), "{masked:?}");
    assert!(masked.contains(&false) && drawn.inputs.is_empty(), "{masked:?}");
}

#[test]
fn a_mask_of_vectors_that_is_forgotten_is_caught() {
    let unmasked = graph(&FRAMES.replace("mask_value = 0.25", "mask_value = 0.5"), 5);
    let faults = Faults { graph: Some(&unmasked), ..Faults::NONE };
    let options = Options { rows: 4, steps: Some(5), entries: 1, sets: vec![Isa::best()], ..options() };
    assert!(!run_with(&graph(FRAMES, 5), &options, &faults).unwrap().passed);
}
