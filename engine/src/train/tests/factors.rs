//! Plain descent takes the gradient of the head's kernel as its factors: the same numbers, but for the order of
//! roundings.

use super::*;
use crate::graph::Graph;
use crate::network::{Batch, Network, NetworkOptions};
use unroll_kernels::gemm::Precision;

const V: usize = 53;
const ROWS: usize = 6;

/// Two dense layers that are added, with a bias each.
const WINDOWS: &str = r#"input_length = 3
    layers = [{ type = "embedding", output_dim = 9 }, { type = "reshape", target_shape = [27] },
        { type = "dense", name = "h", units = 7, activation = "tanh" }, { type = "dense", name = "a" },
        { type = "dense", name = "b", inputs = ["reshape"] }, { type = "add", inputs = ["a", "b"] }]"#;
const TIED: &str = r#"layers = [{ type = "embedding", output_dim = 9 }, { type = "lstm", units = 9, return_sequences = true },
        { type = "dense", tied_to = "embedding" }]"#;
const STEPS: [&str; 2] = [
    r#"layers = [{ type = "one_hot" }, { type = "gru", units = 11, return_sequences = true }, { type = "dense" }]"#,
    TIED,
];

/// How three steps are made.
#[derive(Clone, Copy, Debug)]
struct How {
    precision: Precision,
    threads: usize,
    replicas: usize,
    /// Whether norms are asked for.
    norm: bool,
    /// Whether the gradient is written out, and everything changed by the optimiser's pass.
    written: bool,
    /// Elements of logits that there is room for.
    logits: usize,
}

const PLAIN: How =
    How { precision: Precision::F32, threads: 1, replicas: 1, norm: false, written: false, logits: 1 << 20 };

/// Parameters after three steps, and the norms that were told.
fn train(text: &str, options: &OptimizerOptions, how: How) -> (Vec<f32>, Vec<Option<f64>>) {
    let graph = Graph::new(&toml::from_str(text).unwrap(), V).unwrap();
    let How { precision, threads, replicas, logits, .. } = how;
    let room = NetworkOptions { precision, threads, replicas, logits, steps: 3, rows: ROWS, ..Default::default() };
    let mut network = Network::new(&graph, room).unwrap();
    let mut optimizer = Optimizer::new(network.isa(), options.clone(), network.params().len());
    let (mut state, mut norms) = (network.new_state(ROWS), Vec::new());
    for number in 1..4 {
        let key = Key::new(number, Purpose::Source);
        let tokens: Vec<u32> = (0..2 * 3 * ROWS as u64).map(|i| key.word(i) % V as u32).collect();
        let (inputs, targets) = tokens.split_at(3 * ROWS);
        let targets = &targets[..if graph.is_sequence() { 3 * ROWS } else { ROWS }];
        let batch = Batch { steps: 3, rows: ROWS, inputs, targets, ..Batch::default() };
        let at = StepAt { number, lr: 0.7, average: None, norm: how.norm };
        if how.written {
            network.train_step(&batch, &mut state, number);
            let norm = network.gradient_norm(&mut optimizer, true);
            norms.push(Some(norm));
            Learner::update(&mut network, &mut optimizer, UpdateStep { lr: at.lr, step: number, norm, average: None });
        } else {
            match step(&mut network, &mut optimizer, &batch, &mut state, at).unwrap() {
                StepOutcome::Done { norm, .. } => norms.push(norm),
                other => panic!("{other:?}"),
            }
        }
    }
    (network.params().to_vec(), norms)
}

fn bits(params: &[f32]) -> Vec<u32> {
    params.iter().map(|p| p.to_bits()).collect()
}

/// In f32 both chains of a weight have one rounding a row, R = 18 at most, of terms that are below the rate: off by no
/// more than 2 (R + 2) 2^-24 of the largest weight or change, in each of three steps; in bf16 the scaled factor is
/// rounded where the plain one was, 2^-8 of a change.
#[test]
fn factors_change_the_parameters_as_the_gradient_does() {
    let sgd = OptimizerOptions::new(Rule::Sgd);
    for text in [WINDOWS, STEPS[0]] {
        for (precision, tolerance) in [(Precision::F32, 2e-6), (Precision::Bf16, 6e-3)] {
            let how = How { precision, ..PLAIN };
            let (written, norms) = train(text, &sgd, How { written: true, ..how });
            let (direct, none) = train(text, &sgd, how);
            assert_eq!(none, [None; 3]);
            let most = written.iter().fold(0.0f32, |most, p| most.max(p.abs()));
            let far = |(a, b): (&f32, &f32)| (a - b).abs() > tolerance * most;
            assert!(!direct.iter().zip(&written).any(far), "{precision}: {text}");
            assert!(bits(&direct) != bits(&written), "{precision}: no other way was taken: {text}");
            // Asking for the norm, and the number of threads, change no bit.
            let (asked, told) = train(text, &sgd, How { norm: true, ..how });
            assert_eq!(bits(&asked), bits(&direct));
            for (told, norm) in told.iter().zip(norms) {
                let (told, norm) = (told.unwrap(), norm.unwrap());
                assert!((told - norm).abs() <= 100.0 * f64::from(tolerance) * norm, "{told} {norm}");
            }
            for threads in [2, 3] {
                assert_eq!(bits(&train(text, &sgd, How { threads, ..how }).0), bits(&direct));
            }
        }
    }
}

#[test]
fn where_the_gradient_is_needed_it_is_written() {
    let sgd = OptimizerOptions::new(Rule::Sgd);
    let same = |text: &str, options: &OptimizerOptions, how: How| {
        let (written, norms) = train(text, options, How { written: true, ..how });
        let (params, told) = train(text, options, how);
        assert_eq!((bits(&params), told[2].is_some()), (bits(&written), !options_are_plain(options)), "{options:?}");
        assert!(told[2].is_none() || told == norms);
    };
    for options in [
        OptimizerOptions { clip_norm: Some(0.5), ..sgd.clone() },
        OptimizerOptions { clip_value: Some(0.01), ..sgd.clone() },
        OptimizerOptions { weight_decay: 0.1, ..sgd.clone() },
        OptimizerOptions::new(Rule::Momentum { momentum: 0.9 }),
    ] {
        same(WINDOWS, &options, PLAIN);
    }
    same(TIED, &sgd, PLAIN);
    same(WINDOWS, &sgd, How { replicas: 2, ..PLAIN });
    // Blocks of rows, whose logits are not all there at the end.
    same(WINDOWS, &sgd, How { logits: 150, ..PLAIN });
}

fn options_are_plain(options: &OptimizerOptions) -> bool {
    *options == OptimizerOptions::new(Rule::Sgd)
}

/// Whoever asks for the gradient gets all of it, and the update is made once.
#[test]
fn a_gradient_that_is_asked_for_is_whole() {
    let graph = Graph::new(&toml::from_str(WINDOWS).unwrap(), V).unwrap();
    let options = NetworkOptions { steps: 3, rows: ROWS, ..Default::default() };
    let gradient = |want| {
        let mut network = Network::new(&graph, options.clone()).unwrap();
        network.want_factors(want);
        let mut optimizer = Optimizer::new(network.isa(), OptimizerOptions::new(Rule::Sgd), network.params().len());
        let inputs: Vec<u32> = (0..3 * ROWS as u32).map(|i| i * i % V as u32).collect();
        let batch = Batch { steps: 3, rows: ROWS, inputs: &inputs, targets: &inputs[..ROWS], ..Batch::default() };
        let mut state = network.new_state(ROWS);
        network.train_step(&batch, &mut state, 1);
        let gradient = bits(network.gradient());
        Learner::update(&mut network, &mut optimizer, UpdateStep { lr: 0.5, step: 1, norm: 1.0, average: None });
        (gradient, bits(network.params()))
    };
    assert!(gradient(true) == gradient(false));
}
