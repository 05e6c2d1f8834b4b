//! Targets that are classes, and factors of their losses.

use super::*;

const CLASSES: usize = 3;

const CLASSIFIER: &str = r#"
    initializer = { uniform = 0.3 }
    layers = [
        { type = "embedding", output_dim = 5, mask_zero = true },
        { type = "CELL", units = 7 },
        { type = "dense" },
    ]
"#;

const BINARY: &str = r#"
    initializer = { uniform = 0.3 }
    loss = "binary_cross_entropy"
    layers = [
        { type = "embedding", output_dim = 5, mask_zero = true },
        { type = "CELL", units = 7 },
        { type = "dense", units = 1 },
    ]
"#;

const TAGGER: &str = r#"
    initializer = { uniform = 0.3 }
    layers = [
        { type = "embedding", output_dim = 5, mask_zero = true },
        { type = "bidirectional", layer = { type = "CELL", units = 7, return_sequences = true } },
        { type = "dense" },
    ]
"#;

fn graph(text: &str, classes: usize) -> Graph {
    Graph::with_classes(&toml::from_str(&with_cell(text, "lstm")).unwrap(), V, &[classes]).unwrap()
}

#[test]
fn class_weights_that_are_not_those_of_the_classes_are_refused() {
    let refused = |graph: &Graph, weights: &[f32]| {
        let options = NetworkOptions { class_weights: vec![weights.to_vec()], ..options(6, 4) };
        Network::new(graph, options).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let (several, two) = (graph(CLASSIFIER, CLASSES), graph(BINARY, 2));
    for (found, expected) in [
        (refused(&several, &[1.0, 2.0]), "2 class weights for output `dense`, which has 3 classes"),
        (refused(&two, &[1.0; 3]), "3 class weights for output `dense`, which has 2 classes"),
        (refused(&several, &[1.0, f32::NAN, 1.0]), "NaN is no class weight"),
        (refused(&several, &[1.0, -1.0, 1.0]), "-1 is no class weight"),
    ] {
        assert!(found.contains(expected), "{found}");
    }
}

fn network(graph: &Graph, class_weights: Vec<f32>, no_fuse: &[&str]) -> Network {
    let no_fuse = no_fuse.iter().map(|&name| name.to_owned()).collect();
    Network::new(graph, NetworkOptions { class_weights: vec![class_weights], no_fuse, ..options(6, 4) }).unwrap()
}

/// Six steps of four rows, the second padded in front and the third wholly padding.
fn inputs() -> Vec<u32> {
    let mut inputs: Vec<u32> = tokens(24, 5).iter().map(|token| token.max(&1)).copied().collect();
    (0..6).for_each(|t| inputs[t * 4 + 2] = 0);
    (0..3).for_each(|t| inputs[t * 4 + 1] = 0);
    inputs
}

#[test]
fn a_dense_layer_without_units_has_one_a_class() {
    let graph = graph(CLASSIFIER, CLASSES);
    assert_eq!((graph.vocabulary(), graph.classes(), graph.rows().last().unwrap().params), (V, CLASSES, 8 * 3));
}

fn batch<'a>(inputs: &'a [u32], targets: &'a [u32]) -> Batch<'a> {
    Batch { steps: 6, rows: 4, inputs, targets, ..Batch::default() }
}

/// With weights the gradient is that of w(target) loss, summed: the sum over rows of w times the gradient of each
/// alone.
#[test]
fn class_weights_are_factors_of_losses_and_gradients_in_training_alone() {
    let weights = [0.5, 2.0, 0.0];
    for (text, classes, no_fuse) in
        [(CLASSIFIER, CLASSES, &[][..]), (CLASSIFIER, CLASSES, &["softmax_head"]), (BINARY, 2, &[])]
    {
        let graph = graph(text, classes);
        let inputs = inputs();
        let targets = [1, 0, IGNORE, classes as u32 - 1];
        let mut weighted = network(&graph, weights[..classes].to_vec(), no_fuse);
        let sum = weighted.train_step(&batch(&inputs, &targets), &mut State::new(&graph, 4), 1);
        let mut plain = network(&graph, Vec::new(), no_fuse);
        let (mut nats, mut gradient) = (0.0, vec![0.0f64; plain.params().len()]);
        for row in [0, 1, 3] {
            let mut alone = [IGNORE; 4];
            alone[row] = targets[row];
            let loss = plain.train_step(&batch(&inputs, &alone), &mut State::new(&graph, 4), 1);
            let weight = f64::from(weights[targets[row] as usize]);
            nats += weight * loss.nats;
            // The mean of the batch is over three scored rows, that of a row alone over one.
            gradient.iter_mut().zip(plain.gradient()).for_each(|(sum, &g)| *sum += weight * f64::from(g) / 3.0);
        }
        assert_eq!(sum.count, 3);
        assert!((sum.nats - nats).abs() < 1e-5, "{} {nats}", sum.nats);
        let scale = gradient.iter().fold(0.0f64, |most, g| most.max(g.abs()));
        assert!(scale > 1e-3, "something is learned");
        for (&found, expected) in weighted.gradient().iter().zip(&gradient) {
            assert!((f64::from(found) - expected).abs() < 1e-5 * scale, "{found} {expected}");
        }
        let evaluated =
            [&mut weighted, &mut plain].map(|n| n.evaluate(&batch(&inputs, &targets), &mut State::new(&graph, 4)).nats);
        assert_eq!(evaluated[0], evaluated[1], "evaluations are not weighted");
    }
}

/// The logits of each position give the losses that the head finds, and stand where the batch has them.
#[test]
fn each_position_has_its_logits() {
    for (text, classes) in [(TAGGER, CLASSES), (CLASSIFIER, CLASSES), (BINARY, 2)] {
        let graph = graph(text, classes);
        let inputs = inputs();
        let positions = if graph.is_sequence() { 24 } else { 4 };
        let targets: Vec<u32> = (0..positions).map(|p| (p % classes) as u32).collect();
        let mut network = network(&graph, Vec::new(), &[]);
        let batch = batch(&inputs, &targets);
        network.evaluate(&batch, &mut State::new(&graph, 4));
        let mut losses = vec![0.0; positions];
        network.losses(&mut losses);
        let mut seen = vec![false; positions];
        network.predict_each(&batch, &mut State::new(&graph, 4), |t, n, logits| {
            let at = t * 4 + n;
            seen[at] = true;
            let target = targets[at] as usize;
            let loss = match logits {
                [logit] => (1.0 + (if target == 1 { -logit } else { *logit }).exp()).ln(),
                _ => logits[..classes].iter().map(|x| x.exp()).sum::<f32>().ln() - logits[target],
            };
            assert!((loss - losses[at]).abs() < 1e-5, "{loss} {}", losses[at]);
        });
        let there = |at: usize| !graph.is_sequence() || inputs[at] != 0;
        assert!(seen.iter().enumerate().all(|(at, &seen)| seen == there(at)));
    }
}
