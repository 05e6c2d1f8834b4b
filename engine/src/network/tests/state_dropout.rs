//! Recurrent dropout, zoneout and activation regularisation.

use super::*;

/// Both directions, a carried state and a state that another layer gives.
const HELD: &str = r#"
    initializer = { uniform = 0.3 }
    layers = [
        { type = "embedding", output_dim = 9, mask_zero = true },
        { type = "CELL", name = "on", units = 21, return_sequences = true, return_state = true, stateful = true, HELD },
        { type = "bidirectional", merge_mode = "ave", layer = { type = "CELL", units = 21, return_sequences = true, HELD } },
        { type = "layer_normalization" },
        { type = "CELL", units = 21, name = "end", return_sequences = true, initial_state = START, HELD },
        { type = "dense" },
    ]
"#;

const CELLS: [(&str, &str); 4] = [
    ("simple_rnn", "recurrent_dropout = 0.3, zoneout = 0.2"),
    ("lstm", "recurrent_dropout = 0.3, zoneout = 0.1, zoneout_cell = 0.4, peephole = true"),
    ("gru", "recurrent_dropout = 0.3, zoneout = 0.2"),
    ("gru", "recurrent_dropout = 0.3, zoneout = 0.2, reset_after = false"),
];

fn held((cell, options): (&str, &str)) -> Graph {
    let start = if cell == "lstm" { "[\"on/h\", \"on/c\"]" } else { "[\"on/h\"]" };
    model(&HELD.replace("START", start).replace("HELD", options), cell)
}

#[test]
fn the_bits_of_what_is_dropped_and_kept_do_not_depend_on_threads_or_set() {
    for (cell, precision) in CELLS.into_iter().flat_map(|cell| PRECISIONS.map(|p| (cell, p))) {
        let graph = held(cell);
        for rows in [5, 70] {
            let options = NetworkOptions { precision, ..options(4, rows) };
            let what = format!("{cell:?}, {rows} rows");
            same_on_threads(&what, &options, &[2, 3, 5], |options| trace_steps(&graph, options, 2));
            same_on_sets(&what, &options, |options| trace_steps(&graph, options, 2));
        }
    }
}

/// The losses of two batches, not trained on.
fn evaluated(graph: &Graph, training: bool) -> [f64; 2] {
    let mut network = Network::new(graph, NetworkOptions { training, ..options(6, 4) }).unwrap();
    let mut state = network.new_state(4);
    [0, 1].map(|step| {
        let (x, y) = (tokens(24, step), tokens(24, 100 + step));
        network.evaluate(&Batch { steps: 6, rows: 4, inputs: &x, targets: &y, ..Batch::default() }, &mut state).nats
    })
}

#[test]
fn nothing_is_dropped_where_nothing_is_trained_and_masks_differ_from_step_to_step() {
    for (cell, options_of_cell) in CELLS {
        let rest = options_of_cell.replace("recurrent_dropout = 0.3", "recurrent_dropout = 0.0");
        let (dropping, whole) = (held((cell, options_of_cell)), held((cell, &rest)));
        assert_eq!(evaluated(&dropping, true), evaluated(&whole, false), "{cell}");
        // The same batch twice, from the same parameters.
        let mut network = Network::new(&dropping, options(6, 4)).unwrap();
        let (x, y) = (tokens(24, 0), tokens(24, 100));
        let batch = Batch { steps: 6, rows: 4, inputs: &x, targets: &y, ..Batch::default() };
        let mut loss = |step| {
            let mut state = network.new_state(4);
            network.train_step(&batch, &mut state, step).nats
        };
        let losses = [loss(3), loss(4), loss(3)];
        assert!(losses[0] != losses[1] && losses[0] == losses[2], "{cell}: {losses:?}");
    }
}

#[test]
fn a_state_is_the_mean_of_what_zoneout_chooses_where_nothing_is_trained() {
    // One unit that adds its input to half of its state: h = rate h + (1 - rate) (x + h / 2).
    let text = r#"
        layers = [
            { type = "input", width = 1 },
            { type = "simple_rnn", units = 1, activation = "linear", return_sequences = true, zoneout = 0.25, use_bias = false,
              kernel_initializer = "ones", recurrent_initializer = { constant = 0.5 } },
            { type = "dense", units = 37, use_bias = false, kernel_initializer = "ones" },
        ]"#;
    let graph = model(text, "");
    let mut network = Network::new(&graph, NetworkOptions { training: false, ..options(3, 1) }).unwrap();
    let x = [1.0, -2.0, 4.0];
    let mut found = Vec::new();
    let batch = Batch { steps: 3, rows: 1, vectors: &[&x], ..Batch::default() };
    let mut state = network.new_state(1);
    network.predict_each(&batch, &mut state, |_, _, logits| found.push(logits[0]));
    let mut h = 0.0;
    let want = x.map(|x| {
        h = 0.25 * h + 0.75 * (x + 0.5 * h);
        h
    });
    assert_eq!(found, want);
}

#[test]
fn zoneout_keeps_units_as_they_were_in_training() {
    // A unit that is kept has no gradient through its step: with a rate near 1 the state hardly moves from its zeros,
    // and the loss is that of the bias alone for most positions.
    let model_of = |rate: &str| {
        let text = r#"
            layers = [
                { type = "embedding", output_dim = 4, embeddings_initializer = { uniform = 1.0 } },
                { type = "gru", units = 64, return_sequences = true, RATE },
                { type = "dense", units = 37, kernel_initializer = "zeros" },
            ]"#;
        model(&text.replace("RATE", rate), "")
    };
    let share = |rate: &str| {
        let graph = model_of(rate);
        let mut network = Network::new(&graph, options(1, 40)).unwrap();
        let (x, y) = (tokens(40, 1), tokens(40, 2));
        let batch = Batch { steps: 1, rows: 40, inputs: &x, targets: &y, ..Batch::default() };
        let mut state = network.new_state(40);
        network.train_step(&batch, &mut state, 0);
        // The gradient of the dense kernel's rows is that of units that moved.
        let spec = graph.params().iter().find(|p| p.name == "dense/kernel").unwrap().range.clone();
        let gradient = network.gradient()[spec].iter().map(|g| f64::from(*g).powi(2)).sum::<f64>();
        gradient.sqrt()
    };
    assert!(share("zoneout = 0.9") < 0.7 * share("zoneout = 0.0"));
}

#[test]
fn what_activations_cost_is_in_the_gradient_and_not_in_the_loss() {
    let text = r#"
        initializer = { uniform = 0.3 }
        layers = [
            { type = "embedding", output_dim = 9, mask_zero = true },
            { type = "lstm", units = 21, return_sequences = true, stateful = true },
            { type = "activation_regularization", BETA },
            { type = "dropout", rate = 0.3, variational = true },
            { type = "activation_regularization", ALPHA },
            { type = "dense" },
        ]"#;
    let graph = |alpha: &str, beta: &str| model(&text.replace("ALPHA", alpha).replace("BETA", beta), "");
    let (none, both) = (graph("alpha = 0.0", "beta = 0.0"), graph("alpha = 2.0", "beta = 1.0"));
    let plain = trace_steps(&none, options(6, 10), 1);
    let costly = trace_steps(&both, options(6, 10), 1);
    assert!(plain.0 == costly.0 && plain.1 != costly.1);
    for (threads, replicas) in [(2, 1), (3, 1), (5, 1)] {
        let threaded = trace_steps(&both, NetworkOptions { threads, replicas, ..options(6, 10) }, 1);
        assert!(costly == threaded, "{threads} threads");
    }
    // Replicas add their gradients, of the same objective.
    let two = trace_steps(&both, NetworkOptions { replicas: 2, ..options(6, 10) }, 1).1;
    let near = |a: &u32, b: &u32| (f32::from_bits(*a) - f32::from_bits(*b)).abs() < 1e-6;
    assert!(costly.1.iter().zip(&two).all(|(a, b)| near(a, b)));
}
