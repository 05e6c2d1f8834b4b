//! Layer normalisation.

use super::*;

const NORMAL: &str = r#"
    initializer = { uniform = 0.3 }
    layers = [
        { type = "embedding", output_dim = 9 },
        { type = "layer_normalization" },
        { type = "lstm", units = 21, return_sequences = true, stateful = true },
        { type = "layer_normalization", name = "above", scale = false },
        { type = "dense", units = 65, activation = "relu" },
        { type = "layer_normalization", name = "last", center = false, epsilon = 0.01 },
        { type = "dense", name = "out" },
    ]
"#;

#[test]
fn the_bits_do_not_depend_on_threads_or_set() {
    let graph = model(NORMAL, "");
    for (precision, rows) in PRECISIONS.into_iter().flat_map(|p| [5, 70].map(|rows| (p, rows))) {
        let options = NetworkOptions { precision, ..options(6, rows) };
        let what = format!("{rows} rows");
        same_on_threads(&what, &options, &[2, 3, 5], |options| trace(&graph, options));
        same_on_sets(&what, &options, |options| trace(&graph, options));
    }
}

#[test]
fn keras_gives_the_same_numbers() {
    // keras.layers.LayerNormalization() of Keras 3.15 with these weights.
    let text = r#"
        layers = [
            { type = "input", width = 3, sequence = false },
            { type = "layer_normalization" },
            { type = "dense", units = 37, use_bias = false, kernel_initializer = "identity" },
        ]"#;
    let graph = model(text, "");
    let names: Vec<&str> = graph.params().iter().map(|p| &p.name[..]).collect();
    assert_eq!(names, ["layer_normalization/gamma", "layer_normalization/beta", "dense/kernel"]);
    let mut network = Network::new(&graph, NetworkOptions { training: false, ..options(1, 2) }).unwrap();
    let (gamma, beta) = (graph.params()[0].range.clone(), graph.params()[1].range.clone());
    assert_eq!((&network.params()[gamma.clone()], &network.params()[beta.clone()]), (&[1.0; 3][..], &[0.0; 3][..]));
    network.params_mut()[gamma].copy_from_slice(&[1.0, 2.0, -1.0]);
    network.params_mut()[beta].copy_from_slice(&[0.5, 0.0, 1.0]);
    let x = [1.0, 2.0, 4.0, 0.0, 0.0, 3.0];
    let batch = Batch { steps: 1, rows: 2, vectors: &[&x], ..Batch::default() };
    let mut state = network.new_state(2);
    let logits = network.predict(&batch, &mut state);
    let want = [[-0.568_701_45, -0.534_350_63, -0.335_876_94], [-0.206_930_1, -1.413_860_2, -0.413_860_08_f32]];
    for (r, want) in want.iter().enumerate() {
        for (got, want) in logits.row(r).iter().zip(want) {
            assert!((got - want).abs() < 1e-6, "row {r}: {got}, not {want}");
        }
    }
}
