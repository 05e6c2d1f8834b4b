//! What training drops: words, recurrent weights, and units for all steps of a row.

use super::*;

/// What an AWD-LSTM drops: words, recurrent weights, and units for all steps of a row.
const DROPPING: &str = r#"
    initializer = { uniform = 0.3 }
    layers = [
        { type = "embedding", output_dim = 9, dropout = 0.2 },
        { type = "CELL", units = 21, return_sequences = true, stateful = true, weight_drop = 0.5 },
        { type = "dropout", rate = 0.25, variational = true },
        { type = "dense" },
    ]
"#;

#[test]
fn the_bits_of_what_is_dropped_do_not_depend_on_the_number_of_threads() {
    for (cell, precision) in CELLS.into_iter().flat_map(|cell| PRECISIONS.map(|p| (cell, p))) {
        let graph = model(DROPPING, cell);
        let options = NetworkOptions { precision, ..options(6, 70) };
        let alone = same_on_threads(cell, &options, &[2, 3], |options| trace(&graph, options));
        // Replicas drop the same.
        let (losses, _) = trace(&graph, NetworkOptions { replicas: 3, threads: 2, ..options });
        assert!(
            losses.iter().zip(&alone.0).all(|(a, b)| (a / b - 1.0).abs() < 1e-3),
            "{cell} {losses:?} {:?}",
            alone.0
        );
    }
}

#[test]
fn evaluation_drops_nothing_and_leaves_the_next_step_as_it_was() {
    for cell in CELLS {
        let (dropping, plain) = (
            model(DROPPING, cell),
            model(&DROPPING.replace("0.2 ", "0.0 ").replace("0.5", "0.0").replace("0.25", "0.0"), cell),
        );
        let (x, y) = (tokens(60, 1), tokens(60, 2));
        let batch = Batch { steps: 6, rows: 10, inputs: &x, targets: &y, ..Batch::default() };
        let network = |graph: &Graph| Network::new(graph, options(6, 10)).unwrap();
        let (mut one, mut two, mut none) = (network(&dropping), network(&dropping), network(&plain));
        let evaluate = |network: &mut Network| network.evaluate(&batch, &mut network.new_state(10));
        let train = |network: &mut Network, step| {
            let loss = network.train_step(&batch, &mut network.new_state(10), step);
            (loss, network.gradient().to_vec())
        };
        let first = train(&mut one, 1);
        assert_eq!(evaluate(&mut one), evaluate(&mut none), "{cell}");
        assert!(train(&mut one, 1) == first && train(&mut two, 1) == first, "{cell}");
        assert_ne!(train(&mut one, 2).0, first.0, "{cell}: each step drops others");
        assert_ne!(first.0, evaluate(&mut none), "{cell}");
    }
}
