//! Batches that bring a source beside their text.

use super::*;

const MODEL: &str = r#"
    layers = [
        { type = "embedding", name = "read", inputs = ["source"], output_dim = 5, mask_zero = true },
        { type = "bidirectional", name = "encoder", layer = { type = "gru", units = 3 } },
        { type = "embedding", name = "written", inputs = ["sequence"], output_dim = 4, mask_zero = true },
        { type = "gru", units = 6, return_sequences = true, initial_state = ["encoder"] },
        { type = "dense", activation = "softmax" },
    ]
"#;

/// A source and a text.
type Pair = (&'static [u32], &'static [u32]);

/// Sources and texts of different lengths, of vocabularies of their own.
const PAIRS: [Pair; 4] =
    [(&[3, 9, 4, 8, 2], &[1, 2]), (&[7], &[4, 3, 2, 5, 1]), (&[6, 6, 10], &[5]), (&[1, 2, 3, 4, 5, 6, 7], &[2, 1, 4])];

/// (T, N), filled with 0 at the end.
fn laid_out(rows: &[&[u32]], steps: usize) -> Vec<u32> {
    let token = |t: usize, n: usize| rows[n].get(t).copied().unwrap_or(0);
    (0..steps * rows.len()).map(|at| token(at / rows.len(), at % rows.len())).collect()
}

/// The losses (T, N) of some pairs side by side, and the gradient.
fn step(graph: &Graph, options: NetworkOptions, pairs: &[Pair]) -> (Vec<f32>, Vec<f32>) {
    let mut network = Network::new(graph, options).unwrap();
    let source_steps = pairs.iter().map(|pair| pair.0.len()).max().unwrap();
    let steps = pairs.iter().map(|pair| pair.1.len()).max().unwrap();
    let (sources, texts): (Vec<&[u32]>, Vec<&[u32]>) = pairs.iter().copied().unzip();
    let (source, inputs) = (laid_out(&sources, source_steps), laid_out(&texts, steps));
    let targets: Vec<u32> = inputs.iter().map(|token| (token * 3 + 1) % 6).collect();
    let rows = pairs.len();
    let batch =
        Batch { steps, rows, inputs: &inputs, targets: &targets, source_steps, source: &source, ..Batch::default() };
    let mut state = network.new_state(rows);
    network.train_step(&batch, &mut state, 1);
    let mut losses = vec![0.0; steps * rows];
    network.losses(&mut losses);
    (losses, network.gradient().to_vec())
}

fn graph() -> Graph {
    Graph::with_source(&toml::from_str(MODEL).unwrap(), 6, 11).unwrap()
}

fn options(threads: usize, replicas: usize) -> NetworkOptions {
    NetworkOptions { threads, replicas, steps: 5, source_steps: 7, rows: 4, ..NetworkOptions::default() }
}

#[test]
fn a_pair_gives_the_same_bits_alone_and_beside_longer_ones() {
    let together = step(&graph(), options(1, 1), &PAIRS).0;
    for (n, pair) in PAIRS.iter().enumerate() {
        let alone = step(&graph(), options(1, 1), &[*pair]).0;
        let own: Vec<f32> = (0..pair.1.len()).map(|t| together[t * PAIRS.len() + n]).collect();
        assert_eq!(alone, own, "{n}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let one = step(&graph(), options(1, 1), &PAIRS);
    assert!(one.0.iter().any(|&loss| loss > 0.1) && one.1.iter().any(|&d| d != 0.0));
    for threads in [2, 5] {
        assert_eq!(step(&graph(), options(threads, 1), &PAIRS), one, "{threads} threads");
    }
    let replicated = step(&graph(), options(2, 2), &PAIRS);
    assert_eq!(replicated.0, one.0, "replicas");
    assert!(replicated.1.iter().zip(&one.1).all(|(a, b)| (a - b).abs() <= 1e-5 * (1.0 + b.abs())));
}

#[test]
fn a_source_that_does_not_fit_is_refused() {
    let (graph, options) = (graph(), options(1, 1));
    let right = Batch { steps: 2, rows: 1, inputs: &[1, 2], source_steps: 3, source: &[1, 2, 3], ..Batch::default() };
    right.check(&graph, &options).unwrap();
    let refused = |batch: &Batch<'_>| batch.check(&graph, &options).unwrap_err().to_string();
    let cases = [
        (Batch { source_steps: 0, source: &[], ..right }, "a `source` is missing, which the model reads"),
        (Batch { source_steps: 8, source: &[1; 8], ..right }, "a `source` of 8 steps, room for 7"),
        (Batch { source: &[1, 2], ..right }, "2 tokens of the `source` for 3 x 1, the model takes 3"),
        (Batch { source: &[1, 2, 11], ..right }, "token 11 in a vocabulary of 11"),
    ];
    for (batch, message) in cases {
        assert_eq!(refused(&batch), message);
    }
}
