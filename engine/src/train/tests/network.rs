//! Runs of a real network: dropout, Adam, clipping by norm, a schedule, carried state, three replicas, two threads, and
//! sizes that are multiples of nothing.

use super::super::storage::simulated::{Fault, Simulated};
use super::*;
use crate::corpus::{MemoryTokens, Streams, VariableStreams};
use crate::graph::Graph;
use crate::graph::tests::with_cell;
use crate::network::{Batch, Network, NetworkOptions};
use unroll_kernels::gemm::Precision;
use unroll_kernels::optimizer::Rule;

const MODEL: &str = r#"
    initializer = { uniform = 0.3 }
    layers = [
        { type = "embedding", output_dim = 9 },
        { type = "CELL", units = 21, return_sequences = true, stateful = true },
        { type = "dropout", rate = 0.25 },
        { type = "CELL", units = 13, return_sequences = true, stateful = true },
        { type = "dense", activation = "softmax" },
    ]
"#;

const V: usize = 19;

fn train(disk: &Simulated, cell: &str, threads: usize, stop_after: u64) -> Result<(Outcome, Vec<u32>)> {
    // Six batches an epoch, the last of them shorter.
    let train = Streams::new(tokens(1, 200), 0..200, 7, 5)?;
    train_on(&train, &config(), disk, cell, (threads, stop_after))
}

fn tokens(seed: u64, n: u64) -> MemoryTokens {
    let key = Key::new(seed, Purpose::Source);
    MemoryTokens::new((0..n).map(|i| key.word(i / 2) % V as u32).collect(), V).unwrap()
}

/// Trains on the streams with so many threads until after a step.
fn train_on(
    train: &dyn Batches,
    config: &TrainConfig,
    disk: &Simulated,
    cell: &str,
    (threads, stop_after): (usize, u64),
) -> Result<(Outcome, Vec<u32>)> {
    let graph = Graph::new(&toml::from_str(&with_cell(MODEL, cell)).unwrap(), V)?;
    let options = NetworkOptions { threads, replicas: 3, steps: train.steps(), rows: 7, seed: 3, ..Default::default() };
    let mut network = Network::new(&graph, options)?;
    let valid = Streams::new(tokens(2, 90), 0..90, 4, 5)?;
    let storage: Rc<dyn Storage> = Rc::new(disk.clone());
    let folder = match is_run(&*storage, Path::new("run"))? {
        true => RunFolder::resume(storage, "run")?,
        false => RunFolder::create(storage, "run", &[(CONFIG, b"x = 1\n")])?,
    };
    let stop = AtomicBool::new(false);
    let mut observer = |event: &Event<'_>| {
        if let Event::Step(report) = event {
            stop.store(report.step >= stop_after, Ordering::Relaxed);
        }
    };
    let session = Session {
        learner: &mut network,
        vocabulary: V,
        train,
        valid: Some(&valid),
        folder: Some(&folder),
        identity: identity(),
        observer: &mut observer,
        sampler: None,
        measure: None,
        stop: &stop,
    };
    let outcome = Trainer::new(config, session)?.run()?;
    Ok((outcome, network.params().iter().map(|p| p.to_bits()).collect()))
}

/// Everything in the last checkpoint, and the metrics.
fn files(disk: &Simulated, step: u64) -> Vec<Vec<u8>> {
    let folder = Checkpoints::new(Rc::new(disk.clone()), "run/checkpoints").path(step);
    let names = [checkpoint::WEIGHTS, checkpoint::OPTIMIZER, checkpoint::CARRY, checkpoint::STATE];
    let mut files: Vec<_> = names.iter().map(|name| disk.contents(&folder.join(name)).unwrap()).collect();
    files.push(disk.contents(&Path::new("run").join(METRICS)).unwrap());
    files
}

#[test]
fn stopped_and_killed_runs_end_in_the_bytes_of_an_unbroken_one() {
    let held = "lstm, weight_drop = 0.3, recurrent_dropout = 0.2, zoneout = 0.2, zoneout_cell = 0.1";
    for cell in ["lstm", "gru", "simple_rnn", held] {
        let disk = Simulated::new();
        let unbroken = train(&disk, cell, 2, u64::MAX).unwrap();
        let (calls, step) = (disk.calls(), unbroken.0.step);
        assert_eq!(step, 18);
        let end = files(&disk, step);
        for stop in [1, 4, 6, 7, 11, 17] {
            let disk = Simulated::new();
            train(&disk, cell, 1, stop).unwrap();
            // Resumed with another number of threads, which changes nothing.
            let resumed = train(&disk, cell, 3, u64::MAX).unwrap();
            assert!(resumed == unbroken && files(&disk, step) == end, "{cell}, stopped after step {stop}");
        }
        for n in (20..calls).step_by(37) {
            let disk = Simulated::new();
            disk.set_fault(Fault::Kill(n));
            let _died = train(&disk, cell, 2, u64::MAX);
            let image = disk.after_kill();
            let resumed = train(&image, cell, 2, u64::MAX).unwrap();
            assert!(resumed == unbroken && files(&image, step) == end, "{cell}, killed in call {n} of {calls}");
        }
    }
}

/// What an update packs in its own pass is what packing apart gives: both cells of the GRU, both directions, in both
/// precisions, and where bands are not all of an arena.
#[test]
fn an_update_packs_what_packing_apart_packs() {
    const LAYERS: [&str; 4] = [
        r#"type = "lstm", units = 70"#,
        r#"type = "gru", units = 37, reset_after = false"#,
        r#"type = "gru", units = 33"#,
        r#"type = "bidirectional", layer = { type = "simple_rnn", units = 67, return_sequences = true }"#,
    ];
    for (layer, precision) in LAYERS.into_iter().flat_map(|layer| [Precision::F32, Precision::Bf16].map(|p| (layer, p)))
    {
        let text = format!(
            "layers = [{{ type = \"embedding\", output_dim = 9 }}, {{ type = \"lstm\", units = 21, return_sequences = true }}, \
             {{ {layer}{} }}, {{ type = \"dense\", activation = \"softmax\" }}]",
            if layer.contains("bidirectional") { "" } else { ", return_sequences = true" }
        );
        let graph = Graph::new(&toml::from_str(&text).unwrap(), V).unwrap();
        let train = |threads, apart| {
            let options = NetworkOptions { threads, precision, steps: 5, rows: 4, seed: 3, ..Default::default() };
            let mut network = Network::new(&graph, options).unwrap();
            let rule = Rule::Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 };
            let options = OptimizerOptions { clip_norm: Some(1.0), ..OptimizerOptions::new(rule) };
            let mut optimizer = Optimizer::new(network.isa(), options, network.params().len());
            let tokens = |seed| {
                let key = Key::new(seed, Purpose::Source);
                (0..20).map(|i| key.word(i) % V as u32).collect::<Vec<_>>()
            };
            let mut state = network.new_state(4);
            for step in 1..4 {
                let (inputs, targets) = (tokens(step), tokens(step + 1));
                let batch = Batch { steps: 5, rows: 4, inputs: &inputs, targets: &targets, ..Batch::default() };
                network.train_step(&batch, &mut state, step);
                let norm = network.gradient_norm(&mut optimizer, true);
                Learner::update(&mut network, &mut optimizer, UpdateStep { lr: 0.1, step, norm, average: None });
                assert!(!network.is_stale(), "every band was packed");
                if apart {
                    network.params_mut();
                }
            }
            network.params().iter().map(|p| p.to_bits()).collect::<Vec<_>>()
        };
        let apart = train(1, true);
        for threads in [1, 2, 3] {
            assert!(train(threads, false) == apart, "{layer}, {precision}, {threads} threads");
        }
    }
}

/// A table and a sampled head: what is told of a word depends on whether it is in the batch.
#[test]
fn lazy_rules_leave_words_alone_that_are_not_in_the_batch() {
    let text = "head = { kind = \"sampled_softmax\", samples = 2 }\nlayers = [{ type = \"embedding\", output_dim = 5 }, { type = \"dense\" }]";
    let graph = Graph::new(&toml::from_str(text).unwrap(), 40).unwrap();
    let run = |rule: Rule, lazy: bool, steps: usize| {
        let options = NetworkOptions { rows: 3, ..Default::default() };
        let mut network = Network::new(&graph, options).unwrap();
        let options = OptimizerOptions { lazy, weight_decay: 0.01, ..OptimizerOptions::new(rule) };
        let mut optimizer = Optimizer::new(network.isa(), options, network.params().len());
        let mut state = network.new_state(3);
        for (i, words) in [[3, 7, 3], [7, 9, 9]][..steps].iter().enumerate() {
            let batch = Batch { steps: 1, rows: 3, inputs: words, targets: words, ..Batch::default() };
            let step = i as u64 + 1;
            network.train_step(&batch, &mut state, step);
            let norm = network.gradient_norm(&mut optimizer, true);
            Learner::update(&mut network, &mut optimizer, UpdateStep { lr: 0.1, step, norm, average: None });
        }
        let table = graph.params()[0].range.clone();
        network.params()[table].chunks_exact(5).map(|row| row.to_vec()).collect::<Vec<_>>()
    };
    for rule in [
        Rule::Sgd,
        Rule::Adagrad { epsilon: 1e-8, epsilon_inside: false },
        Rule::Momentum { momentum: 0.9 },
        Rule::Nesterov { momentum: 0.9 },
        Rule::RmsProp { decay: 0.9, epsilon: 1e-8 },
        Rule::Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 },
        Rule::AdamW { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.1 },
    ] {
        let [dense, lazy] = [false, true].map(|lazy| [0, 1, 2].map(|steps| run(rule, lazy, steps)));
        let same = |a: &[Vec<Vec<f32>>; 3], word: usize, steps: [usize; 2]| a[steps[0]][word] == a[steps[1]][word];
        assert!(lazy[1][3] == dense[1][3] && lazy[1][7] == dense[1][7], "{rule:?}: the first step is the rule's own");
        assert!(same(&lazy, 3, [1, 2]) && !same(&dense, 3, [1, 2]), "{rule:?}: word 3 is not in the second batch");
        assert!(same(&lazy, 20, [0, 2]) && !same(&dense, 20, [0, 2]), "{rule:?}: word 20 is in none");
        assert!(!same(&lazy, 7, [1, 2]) && !same(&lazy, 9, [1, 2]), "{rule:?}: these are");
    }
}

/// AWD-LSTM's loop: batches of different lengths, decay of the weights, averages.
#[test]
fn variable_steps_and_averages_end_in_the_same_bytes() {
    let mut config = config();
    config.schedule = Schedule::constant(0.2);
    config.optimizer = OptimizerOptions {
        clip_norm: Some(0.25),
        weight_decay: 1e-3,
        average: Some(Averaging::After { t0: 4 }),
        ..OptimizerOptions::new(Rule::Adagrad { epsilon: 1e-8, epsilon_inside: false })
    };
    let text = || VariableStreams::new(Streams::new(tokens(1, 350), 0..350, 7, 9).unwrap(), 3);
    let train = |disk: &Simulated, how| train_on(&text(), &config, disk, "lstm", how).unwrap();
    let disk = Simulated::new();
    let unbroken = train(&disk, (2, u64::MAX));
    let step = unbroken.0.step;
    let (epochs, each) = (unbroken.0.epoch, (0..3).map(|epoch| text().batches_in(epoch)).collect::<Vec<_>>());
    assert_eq!((epochs, step), (3, each.iter().sum()), "{each:?}");
    assert!(each.iter().any(|&batches| batches != each[0]), "epochs differ: {each:?}");
    let end = files(&disk, step);
    for stop in 1..step {
        let disk = Simulated::new();
        train(&disk, (1, stop));
        let resumed = train(&disk, (3, u64::MAX));
        assert!(resumed == unbroken && files(&disk, step) == end, "stopped after step {stop} of {step}");
    }
}

#[test]
fn what_a_network_cannot_take_is_an_error_of_the_step() {
    let graph = Graph::new(&toml::from_str(&with_cell(MODEL, "lstm")).unwrap(), V).unwrap();
    let options = NetworkOptions { steps: 2, rows: 2, ..NetworkOptions::default() };
    let mut network = Network::new(&graph, options.clone()).unwrap();
    let mut optimizer = Optimizer::new(options.isa, OptimizerOptions::new(Rule::Sgd), graph.arena());
    let at = StepAt { number: 1, lr: 0.1, average: None, norm: false };
    let batch = Batch { steps: 2, rows: 2, inputs: &[1, 2, 3, 19], targets: &[2, 3, 4, 5], ..Batch::default() };
    let mut state = network.new_state(2);
    let error = step(&mut network, &mut optimizer, &batch, &mut state, at).unwrap_err();
    assert!(error.to_string().contains("token 19 in a vocabulary of 19"), "{error}");
    assert!(Learner::evaluate(&mut network, &batch, &mut state).is_err());

    let batch = Batch { inputs: &[1, 2, 3, 4], ..batch };
    let mut of_one_row = network.new_state(1);
    let error = step(&mut network, &mut optimizer, &batch, &mut of_one_row, at).unwrap_err();
    assert!(error.to_string().contains("a state of 1 rows for a batch of 2"), "{error}");
    assert!(matches!(step(&mut network, &mut optimizer, &batch, &mut state, at), Ok(StepOutcome::Done { .. })));

    let mut network = Network::new(&graph, NetworkOptions { own_params: false, ..options.clone() }).unwrap();
    let error = Learner::train_step(&mut network, &batch, &mut state, 1).unwrap_err();
    assert!(error.to_string().contains("without parameters"), "{error}");
    let mut network = Network::new(&graph, NetworkOptions { training: false, ..options }).unwrap();
    let error = Learner::train_step(&mut network, &batch, &mut state, 1).unwrap_err();
    assert!(error.to_string().contains("without room for gradients"), "{error}");
}
