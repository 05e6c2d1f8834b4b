//! Vocabularies that are cut: losses and gradients as from logits that are all there.

use super::*;

const V: usize = 600;

/// With what losses and gradients of slices and of blocks may differ by.
const PRECISIONS: [(Precision, f32); 2] = [(Precision::F32, 2e-6), (Precision::Bf16, 1e-2)];

fn model(dense: &str) -> Graph {
    shaped(dense, "")
}

fn shaped(dense: &str, head: &str) -> Graph {
    let text = format!(
        "head = {{ {head} }}\ninitializer = {{ uniform = 0.4 }}\nlayers = [{{ type = \"embedding\", output_dim = 11 }}, \
         {{ type = \"simple_rnn\", units = 11, return_sequences = true }}, {{ type = \"dense\", activation = \"softmax\"{dense} }}]"
    );
    Graph::new(&toml::from_str(&text).unwrap(), V).unwrap()
}

/// Losses and gradient of a batch whose every fifth target is not scored, with room for so many logits.
fn step(graph: &Graph, logits: usize, change: impl Fn(&mut NetworkOptions)) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let mut options = NetworkOptions { steps: 5, rows: 7, logits, ..Default::default() };
    change(&mut options);
    let mut network = Network::new(graph, options).unwrap();
    let tokens = |seed| {
        let key = Key::new(seed, Purpose::Source);
        (0..35).map(|i| key.word(i) % V as u32).collect::<Vec<_>>()
    };
    let (inputs, mut targets) = (tokens(1), tokens(2));
    targets.iter_mut().step_by(5).for_each(|t| *t = IGNORE);
    let batch = Batch { steps: 5, rows: 7, inputs: &inputs, targets: &targets, ..Batch::default() };
    let (mut losses, mut alone) = (vec![0.0; 35], vec![0.0; 35]);
    let mut state = network.new_state(7);
    network.train_step(&batch, &mut state, 1);
    network.losses(&mut losses);
    let gradient = network.gradient().to_vec();
    state.reset();
    network.evaluate(&batch, &mut state);
    network.losses(&mut alone);
    (losses, alone, gradient)
}

/// 1e-6 of the largest: both ways round each product once, and sums over the vocabulary in another order.
pub(super) fn assert_near(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    let most = want.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    assert!(most > 0.0);
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance * most, "{what} {i}: {got}, not {want}");
    }
}

#[test]
fn a_vocabulary_that_is_cut_gives_the_same_losses_and_gradients() {
    for dense in ["", ", tied_to = \"embedding\"", ", use_bias = false"] {
        let graph = model(dense);
        for (precision, tolerance) in PRECISIONS {
            let whole = step(&graph, 1 << 20, |o| o.precision = precision);
            assert_eq!(whole.0, whole.1);
            // Three slices of all rows.
            let sliced = step(&graph, 7 << 10, |o| o.precision = precision);
            assert_near("loss", &sliced.0, &whole.0, tolerance);
            assert_eq!(sliced.0, sliced.1);
            assert_near("gradient", &sliced.2, &whole.2, tolerance);
            for threads in [2, 3] {
                let other = step(&graph, 7 << 10, |o| (o.precision, o.threads) = (precision, threads));
                assert!(other == sliced, "{threads} threads, {precision}{dense}");
            }
        }
    }
}

#[test]
fn classes_are_weighted_in_slices_as_in_blocks() {
    for (precision, tolerance) in PRECISIONS {
        let weights = |o: &mut NetworkOptions| {
            (o.precision, o.class_weights) = (precision, vec![(0..V).map(|i| 0.5 + (i % 3) as f32).collect()]);
        };
        let [whole, sliced] = [1 << 20, 7 << 10].map(|logits| step(&model(""), logits, weights));
        assert_near("loss", &sliced.0, &whole.0, tolerance);
        assert_near("gradient", &sliced.2, &whole.2, tolerance);
        assert_ne!(whole.0, step(&model(""), 1 << 20, |o| o.precision = precision).0);
    }
}

#[test]
fn what_training_adds_to_the_loss_is_the_same_in_slices_as_in_blocks() {
    let graph = shaped("", "label_smoothing = 0.2, z_loss = 0.01");
    let [whole, in_bf16] = PRECISIONS.map(|(precision, tolerance)| {
        let [whole, sliced] = [1 << 20, 7 << 10].map(|logits| step(&graph, logits, |o| o.precision = precision));
        assert_near("loss", &sliced.0, &whole.0, tolerance);
        assert_near("gradient", &sliced.2, &whole.2, tolerance);
        whole
    });
    assert_near("gradient in bf16", &in_bf16.2, &whole.2, 0.02);
    let plain = step(&model(""), 1 << 20, |_| ());
    assert_eq!(whole.1, plain.1, "evaluations stay as they are");
    // ln Z is about 6.4: the last term adds 0.4 to each of the 28; what smoothing adds is of either sign.
    let sum = |losses: &[f32]| losses.iter().sum::<f32>();
    assert!((sum(&whole.0) - sum(&plain.0) - 11.5).abs() < 3.0, "{} {}", sum(&whole.0), sum(&plain.0));
}
