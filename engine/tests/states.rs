//! The final states of layers with `return_state`: those that a stateful layer would carry on, and carried nowhere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use unroll::graph::Graph;
use unroll::{Batch, Network, NetworkOptions, State};

const STEPS: usize = 4;
const ROWS: usize = 3;

fn network(layer: &str) -> Network {
    let text = format!(
        "initializer = {{ uniform = 0.5 }}\nlayers = [{{ type = \"embedding\", output_dim = 5 }}, {{ {layer} }}, \
         {{ type = \"dense\" }}]"
    );
    let graph = Graph::new(&toml::from_str(&text).unwrap(), 7).unwrap();
    Network::new(&graph, NetworkOptions { steps: STEPS, rows: ROWS, ..NetworkOptions::default() }).unwrap()
}

/// The loss of a batch, and the states after it by name.
fn run(network: &mut Network, state: &mut State) -> (f64, Vec<(String, Vec<f32>)>) {
    let inputs: Vec<u32> = (0..STEPS * ROWS).map(|i| (i * 5 % 7) as u32).collect();
    let targets = &inputs[..if network.graph().is_sequence() { STEPS * ROWS } else { ROWS }];
    let batch = Batch { steps: STEPS, rows: ROWS, inputs: &inputs, targets, ..Batch::default() };
    let loss = network.evaluate(&batch, state).nats;
    (loss, state.tensors().map(|t| (t.name, t.values.to_vec())).collect())
}

#[test]
fn states_that_are_returned_are_those_that_would_be_carried_and_are_not() {
    for (layer, names) in [
        ("type = \"lstm\", units = 3", &["lstm/h", "lstm/c"][..]),
        ("type = \"gru\", units = 3, return_sequences = true, go_backwards = true", &["gru/h"]),
    ] {
        let mut returning = network(&format!("{layer}, return_state = true"));
        let mut state = returning.new_state(ROWS);
        let (loss, states) = run(&mut returning, &mut state);
        assert_eq!(states.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
        assert!(states.iter().all(|(_, values)| values.len() == ROWS * 3 && values.iter().all(|&x| x != 0.0)));
        assert_eq!(run(&mut returning, &mut state), (loss, states.clone()), "{layer}: a state was carried");

        let mut carrying = network(&format!("{layer}, stateful = true"));
        let mut state = carrying.new_state(ROWS);
        assert_eq!(run(&mut carrying, &mut state), (loss, states), "{layer}");
        assert_ne!(run(&mut carrying, &mut state).0, loss, "{layer}: no state was carried");
    }
}

#[test]
fn both_directions_return_their_states() {
    let mut network = network("type = \"bidirectional\", layer = { type = \"lstm\", units = 3, return_state = true }");
    let mut state = network.new_state(ROWS);
    let (_, states) = run(&mut network, &mut state);
    let names: Vec<&str> = states.iter().map(|(name, _)| name.as_str()).collect();
    let prefix = "bidirectional/";
    assert_eq!(names, ["forward/h", "forward/c", "backward/h", "backward/c"].map(|name| format!("{prefix}{name}")));
    assert_ne!(states[0].1, states[2].1);
}
