//! Models with several outputs.

use super::*;

/// Tags of every word, a class and a number of the whole text: the second tags see the first, and the number sees the
/// class.
const SEVERAL: &str = r#"
    outputs = [
        { layer = "tag", weight = 0.7 },
        { layer = "class", weight = 1.3, head = { label_smoothing = 0.2 } },
        { layer = "stars", loss = "mean_squared_error", weight = 0.4 },
        { layer = "fine", weight = 0.9 },
        { layer = "good", loss = "binary_cross_entropy", weight = 2.0 },
    ]
    layers = [
        { type = "embedding", output_dim = 5, mask_zero = true },
        { type = "lstm", name = "words", units = 4, return_sequences = true, return_state = true },
        { type = "dense", name = "tag_logits", units = 3 },
        { type = "activation", name = "tag", activation = "softmax" },
        { type = "concatenate", name = "both", inputs = ["words", "tag"] },
        { type = "dense", name = "fine", units = 6, activation = "softmax" },
        { type = "dense", name = "class", inputs = ["words/h"], units = 8 },
        { type = "concatenate", name = "seen", inputs = ["words/c", "class"] },
        { type = "dense", name = "stars", inputs = ["seen"], units = 1, activation = "tanh" },
        { type = "dense", name = "good", inputs = ["words/h"], units = 1, activation = "sigmoid" },
    ]
"#;

#[test]
fn the_gradient_of_several_losses_is_that_of_their_weighted_sum() {
    for loss_scale in [LossScale::Mean, LossScale::Sum, LossScale::SumOverTime] {
        let graph = graph(SEVERAL, 9);
        let report = assert_passes(&graph, &Options { loss_scale, rows: 3, steps: Some(4), ..options() });
        let difference = &report.comparisons[0];
        assert!(difference.tensors.iter().all(|row| row.checked > 0), "{}", report.lines().join("\n"));
    }
}

#[test]
fn a_weight_scales_the_gradient_of_its_output_alone() {
    let loss = |weight: &str| {
        let text = SEVERAL.replace("weight = 0.4", weight);
        assert_passes(&graph(&text, 9), &Options { rows: 3, ..options() }).comparisons[0].loss
    };
    let [none, one, two] = ["weight = 0.0", "weight = 1.0", "weight = 2.0"].map(loss);
    assert!(one > none && (two - one - (one - none)).abs() < 1e-12, "{none} {one} {two}");
}

#[test]
fn a_wrong_gradient_of_an_output_behind_the_first_is_found() {
    let graph = graph(SEVERAL, 9);
    let stars = graph.params().iter().position(|spec| spec.name == "stars/kernel").unwrap();
    let wide = |tensors: &mut [Vec<f64>]| tensors[stars][0] += 1e-3;
    let faults = Faults { wide: &wide, ..Faults::NONE };
    let report = run(&graph, &Options { rows: 3, ..options() }, &mut |_, _| {}, &faults).unwrap();
    assert!(!report.passed);
}
