//! One fault after the other in the backward pass of every kernel: the check of gradients finds each of them, in every model
//! that runs the kernel, and blames no gradient in double precision, whose kernels are others.
#![allow(clippy::unwrap_used, reason = "what cannot be done has failed")]

use unroll::gradcheck::{Options, check};
use unroll::graph::Graph;
use unroll::{Batch, LossScale, Network, NetworkOptions};
use unroll_kernels::faults::{Fault, inject};

/// Layers of every kind that has a kernel of its own, in three models.
const MODELS: [(&str, usize); 3] = [
    (
        r#"
        layers = [
            { type = "embedding", output_dim = 6 },
            { type = "simple_rnn", units = 5, return_sequences = true, stateful = true },
            { type = "lstm", units = 7, peephole = true, return_sequences = true, stateful = true },
            { type = "gru", units = 4, return_sequences = true, stateful = true },
            { type = "gru", name = "before", units = 6, return_sequences = true, stateful = true, reset_after = false },
            { type = "dense", name = "hidden", units = 6, activation = "sigmoid" },
            { type = "dropout", rate = 0.3 },
            { type = "activation", activation = "tanh" },
            { type = "layer_normalization", epsilon = 0.1 },
            { type = "dense", activation = "softmax", tied_to = "embedding" },
        ]
        "#,
        11,
    ),
    (
        r#"
        loss = "binary_cross_entropy"
        layers = [
            { type = "one_hot" },
            { type = "bidirectional", layer = { type = "lstm", units = 3, return_sequences = true } },
            { type = "bidirectional", layer = { type = "gru", units = 4 } },
            { type = "dense", units = 5, activation = "relu" },
            { type = "dense", name = "out", units = 1, activation = "sigmoid" },
        ]
        "#,
        6,
    ),
    (
        r#"
        input_length = 3
        layers = [
            { type = "embedding", output_dim = 4 },
            { type = "reshape", target_shape = [12] },
            { type = "dense", units = 7, activation = "tanh" },
            { type = "activation", activation = "softmax" },
            { type = "dense", name = "out", activation = "softmax" },
        ]
        "#,
        5,
    ),
];

#[test]
fn a_fault_in_the_backward_pass_of_any_kernel_is_found() {
    if inject(None).is_none() {
        println!("SKIPPED: this build has no faults to inject; it has no debug assertions");
        return;
    }
    let graphs = MODELS.map(|(text, vocabulary)| Graph::new(&toml::from_str(text).unwrap(), vocabulary).unwrap());
    // Differences have no part in this: one entry of each tensor will do.
    let options = Options { entries: 1, ..Options::default() };
    for graph in &graphs {
        let report = check(graph, &options).unwrap();
        assert!(report.passed, "without a fault: {:?}", report.worst());
    }
    for fault in Fault::ALL.into_iter().filter(|fault| *fault != Fault::AddWeighted) {
        let mut found = 0;
        for (model, graph) in graphs.iter().enumerate() {
            inject(Some(fault));
            let report = check(graph, &options).unwrap();
            let spoiled = inject(None).unwrap();
            assert_eq!(report.passed, spoiled == 0, "{fault:?} spoiled {spoiled} results of model {model}");
            let double = &report.comparisons[0];
            assert_eq!(double.gradient, "f64");
            assert!(double.tensors.iter().all(|row| row.wrong == 0), "{fault:?} is no fault of the references");
            found += usize::from(spoiled > 0);
        }
        assert!(found > 0, "no model runs the backward pass of {fault:?}");
    }
    // Gradients of heads that read few rows are not among those that `check` knows.
    for kind in ["sampled_softmax", "nce", "hierarchical_softmax"] {
        let text = format!(
            "head = {{ kind = \"{kind}\" }}\nlayers = [{{ type = \"embedding\", output_dim = 5 }}, {{ type = \"dense\" }}]"
        );
        let graph = Graph::new(&toml::from_str(&text).unwrap(), 9).unwrap();
        assert!(is_difference(&graph), "{kind} without a fault");
        inject(Some(Fault::AddWeighted));
        let passed = is_difference(&graph);
        assert!(inject(None).unwrap() > 0 && !passed, "{kind} with a fault");
    }
}

/// Whether the gradient of a training step is the difference of its losses.
fn is_difference(graph: &Graph) -> bool {
    let options = NetworkOptions { rows: 4, loss_scale: LossScale::Sum, ..NetworkOptions::default() };
    let Ok(mut network) = Network::new(graph, options) else { return false };
    let batch = Batch { steps: 1, rows: 4, inputs: &[1, 2, 3, 2], targets: &[4, 5, 6, 4], ..Batch::default() };
    let mut state = network.new_state(4);
    network.train_step(&batch, &mut state, 1);
    let gradient = network.gradient().to_vec();
    let mut loss = |i: usize, by: f32| {
        let before = network.params()[i];
        network.params_mut()[i] = before + by;
        let sum = network.train_step(&batch, &mut state, 1).nats;
        network.params_mut()[i] = before;
        sum
    };
    // A loss of about 10 has an error of 1e-6; a fault is a hundredth.
    let near = |i: usize| (f64::from(gradient[i]) - (loss(i, 0.01) - loss(i, -0.01)) / 0.02).abs() < 1e-3;
    graph.params().iter().flat_map(|spec| spec.range.clone()).all(near)
}
