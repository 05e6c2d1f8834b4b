//! Masks: padding of every pattern changes nothing that a text alone would give.

use super::*;

/// Texts of these lengths, one of them empty.
const LENGTHS: [usize; 7] = [5, 1, 9, 0, 4, 9, 2];
const STEPS: usize = 9;

/// A model of every cell and direction, several layers deep, with one output a step.
const TAGGER: &str = r#"
    initializer = { uniform = 0.4 }
    layers = [
        { type = "embedding", output_dim = 9 },
        { type = "bidirectional", layer = { type = "CELL", units = 21, return_sequences = true } },
        { type = "dropout", rate = 0.0 },
        { type = "CELL", name = "back", units = 13, return_sequences = true, go_backwards = true },
        { type = "CELL", inputs = ["dropout"], name = "on", units = 13, return_sequences = true, stateful = true },
        { type = "add", inputs = ["on", "back"] },
        { type = "concatenate", inputs = ["add", "dropout"] },
        { type = "dense", activation = "softmax" },
    ]
"#;

/// What else a model may have between its cells, with states that the first layer gives to the last.
const HELD: &str = r#"
    initializer = { uniform = 0.4 }
    layers = [
        { type = "embedding", output_dim = 9 },
        { type = "bidirectional", merge_mode = "sum", layer = { type = "CELL", units = 11, return_sequences = true, stateful = true } },
        { type = "layer_normalization" },
        { type = "CELL", name = "held", units = 7, return_sequences = true, return_state = true, stateful = true, zoneout = 0.2, recurrent_dropout = 0.3 },
        { type = "bidirectional", name = "ave", merge_mode = "ave", layer = { type = "CELL", units = 7, return_sequences = true } },
        { type = "bidirectional", name = "mul", merge_mode = "mul", layer = { type = "CELL", units = 5, return_sequences = true } },
        { type = "CELL", name = "begun", units = 7, return_sequences = true, initial_state = [STATES] },
        { type = "dense", activation = "softmax" },
    ]
"#;

const CELLS: [&str; 4] = ["simple_rnn", "lstm", "gru", "gru, reset_after = false"];

/// Where the steps of a text of this length stand among all.
type Pattern = (&'static str, fn(usize, usize) -> Vec<bool>);

const PATTERNS: [Pattern; 3] = [
    ("behind", |length, steps| (0..steps).map(|t| t < length).collect()),
    ("in front", |length, steps| (0..steps).map(|t| t >= steps - length).collect()),
    // Steps 4 apart, then those between.
    ("in between", |length, steps| {
        let mut order: Vec<usize> = (0..steps).collect();
        order.sort_by_key(|t| (t * 4 % steps, *t));
        let mut there = vec![false; steps];
        order[..length].iter().for_each(|&t| there[t] = true);
        there
    }),
];

/// A padded batch: tokens, targets and mask, (T, N).
struct Padded {
    inputs: Vec<u32>,
    targets: Vec<u32>,
    mask: Vec<bool>,
}

fn text(n: usize) -> (Vec<u32>, Vec<u32>) {
    (tokens(LENGTHS[n], 10 + n as u64), tokens(LENGTHS[n], 50 + n as u64))
}

fn pad(pattern: Pattern, filler: u32) -> Padded {
    let rows = LENGTHS.len();
    let mut padded = Padded {
        inputs: vec![filler; STEPS * rows],
        targets: vec![filler; STEPS * rows],
        mask: vec![false; STEPS * rows],
    };
    for n in 0..rows {
        let ((x, y), mut i) = (text(n), 0);
        for (t, there) in pattern.1(LENGTHS[n], STEPS).into_iter().enumerate() {
            if there {
                let at = t * rows + n;
                (padded.inputs[at], padded.targets[at], padded.mask[at]) = (x[i], y[i], true);
                i += 1;
            }
        }
    }
    padded
}

impl Padded {
    fn batch(&self) -> Batch<'_> {
        let Self { inputs, targets, mask } = self;
        Batch { steps: STEPS, rows: LENGTHS.len(), inputs, targets, mask: Some(mask), ..Batch::default() }
    }
}

/// A state that is zero nowhere.
fn state(network: &Network, first: usize, rows: usize) -> State {
    let mut state = network.new_state(rows);
    let names: Vec<String> = state.tensors().map(|tensor| tensor.name).collect();
    for (k, name) in names.iter().enumerate() {
        let key = Key::new(k as u64, Purpose::Bench);
        let values = state.tensor_mut(name).unwrap();
        let first = (first * values.len() / rows) as u64;
        values.iter_mut().enumerate().for_each(|(i, x)| *x = key.uniform(first + i as u64) - 0.5);
    }
    state
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn a_text_gives_the_same_bits_alone_and_in_a_padded_batch() {
    let rows = LENGTHS.len();
    for (cell, precision) in CELLS.into_iter().flat_map(|cell| PRECISIONS.map(|p| (cell, p))) {
        let states = if cell == "lstm" { "\"held/h\", \"held/c\"" } else { "\"held/h\"" };
        for text_of_model in [TAGGER, BOTH_WAYS, &HELD.replace("STATES", states)] {
            let graph = model(text_of_model, cell);
            let mut alone = Network::new(&graph, NetworkOptions { precision, ..options(STEPS, 1) }).unwrap();
            let mut singles = Vec::new();
            for n in (0..rows).filter(|&n| LENGTHS[n] > 0) {
                let (x, y) = text(n);
                let targets = if graph.is_sequence() { &y[..] } else { &y[..1] };
                let batch = Batch { steps: LENGTHS[n], rows: 1, inputs: &x, targets, ..Batch::default() };
                let mut carried = state(&alone, n, 1);
                let logits = bits(alone.predict(&batch, &mut carried).row(0));
                let mut carried = state(&alone, n, 1);
                alone.evaluate(&batch, &mut carried);
                let mut losses = vec![0.0; targets.len()];
                alone.losses(&mut losses);
                let after: Vec<Vec<u32>> = carried.tensors().map(|tensor| bits(tensor.values)).collect();
                singles.push((n, logits, losses, after));
            }
            for pattern in PATTERNS {
                for (filler, replicas, threads) in [(0, 1, 1), (3, 1, 3), (5, 3, 2)] {
                    let padded = pad(pattern, filler);
                    let what = format!("{cell:?} in {precision}, padding {}, {replicas} replicas", pattern.0);
                    let options = NetworkOptions { precision, replicas, threads, ..options(STEPS, rows) };
                    let mut network = Network::new(&graph, options).unwrap();
                    let mut batch = padded.batch();
                    let firsts: Vec<u32> = (0..rows).map(|n| text(n).1.first().copied().unwrap_or(0)).collect();
                    if !graph.is_sequence() {
                        batch.targets = &firsts;
                    }
                    let mut carried = state(&network, 0, rows);
                    network.evaluate(&batch, &mut carried);
                    let mut losses = vec![0.0; batch.targets.len()];
                    network.losses(&mut losses);
                    if replicas == 1 {
                        let mut carried = state(&network, 0, rows);
                        let logits = network.predict(&batch, &mut carried);
                        for (n, single, ..) in &singles {
                            assert_eq!(bits(logits.row(*n)), *single, "{what}: the logits of text {n}");
                        }
                    }
                    for (n, _, single, after) in &singles {
                        let own = (*n..batch.targets.len()).step_by(rows);
                        let own: Vec<f32> = match graph.is_sequence() {
                            true => own.filter(|&at| padded.mask[at]).map(|at| losses[at]).collect(),
                            false => own.map(|at| losses[at]).collect(),
                        };
                        assert_eq!(bits(&own), bits(single), "{what}: the losses of text {n}");
                        for (tensor, single) in carried.tensors().zip(after) {
                            let units = tensor.shape[1];
                            let row = &tensor.values[n * units..][..units];
                            assert_eq!(bits(row), *single, "{what}: the state after text {n}");
                        }
                    }
                    if graph.is_sequence() {
                        let unscored = losses.iter().zip(&padded.mask).filter(|(_, there)| !**there);
                        assert!(unscored.map(|(loss, _)| *loss).all(|loss| loss == 0.0), "{what}: padding has a loss");
                    }
                    // A text without a step leaves the state as it was.
                    let (empty, before) = (3, state(&network, 0, rows));
                    for (tensor, before) in carried.tensors().zip(before.tensors()) {
                        let units = tensor.shape[1];
                        let row = empty * units..(empty + 1) * units;
                        assert_eq!(tensor.values[row.clone()], before.values[row], "{what}");
                    }
                }
            }
        }
    }
}

/// The gradient of one step of a padded batch of many rows, with losses and the states after it.
fn masked_step(graph: &Graph, options: NetworkOptions) -> (f64, Vec<u32>) {
    let (t, n) = (options.steps, options.rows);
    let (x, y) = (tokens(t * n, 1), tokens(if graph.is_sequence() { t * n } else { n }, 2));
    let key = Key::new(3, Purpose::Bench);
    // A third of the rows is whole, others lack steps behind and in front.
    let span = |n: usize| match n % 3 {
        0 => 0..t,
        1 => 0..key.below(n as u64, t as u64 + 1) as usize,
        _ => key.below(n as u64, t as u64 + 1) as usize..t,
    };
    let mask: Vec<bool> = (0..t * n).map(|i| span(i % n).contains(&(i / n))).collect();
    let batch = Batch { steps: t, rows: n, inputs: &x, targets: &y, mask: Some(&mask), ..Batch::default() };
    let mut network = Network::new(graph, options).unwrap();
    let mut carried = state(&network, 0, n);
    let loss = network.train_step(&batch, &mut carried, 1).nats;
    let after = carried.tensors().flat_map(|tensor| bits(tensor.values)).collect::<Vec<_>>();
    (loss, [bits(network.gradient()), after].concat())
}

#[test]
fn the_bits_of_a_padded_batch_do_not_depend_on_the_number_of_threads() {
    for cell in CELLS {
        // Rows are cut where units are few, units where they are many.
        for (units, rows, text) in [(21, 70, TAGGER), (21, 70, BOTH_WAYS), (330, 9, TAGGER)] {
            let graph = model(&text.replace("units = 21", &format!("units = {units}")), cell);
            for precision in if units == 21 { &PRECISIONS[..] } else { &PRECISIONS[..1] } {
                let options = NetworkOptions { precision: *precision, ..options(6, rows) };
                let what = format!("{cell:?}, {rows} x {units}");
                same_on_threads(&what, &options, &[2, 3, 5], |options| masked_step(&graph, options));
            }
        }
    }
}

#[test]
fn padding_of_a_batch_changes_neither_loss_nor_gradient() {
    // The same texts padded in two ways are the same batch to every layer; dropout is keyed by position and off here.
    for cell in CELLS {
        let graph = model(TAGGER, cell);
        let run = |pattern, filler| {
            let padded = pad(pattern, filler);
            let mut network = Network::new(&graph, options(STEPS, LENGTHS.len())).unwrap();
            let mut carried = state(&network, 0, LENGTHS.len());
            let loss = network.train_step(&padded.batch(), &mut carried, 0);
            (loss.nats.to_bits(), loss.count, bits(network.gradient()))
        };
        let behind = run(PATTERNS[0], 0);
        assert_eq!(behind.1, LENGTHS.iter().sum::<usize>() as u64);
        for pattern in PATTERNS {
            assert!(run(pattern, 7) == behind, "{cell:?}, padding {}", pattern.0);
        }
    }
}

#[test]
fn tokens_of_padding_mask_as_a_given_mask_does() {
    let masked = TAGGER.replace("output_dim = 9", "output_dim = 9, mask_zero = true");
    for cell in CELLS {
        let (plain, masked) = (model(TAGGER, cell), model(&masked, cell));
        let mut padded = pad(PATTERNS[2], 0);
        padded.inputs.iter_mut().zip(&padded.mask).filter(|(_, there)| **there).for_each(|(x, _)| *x = (*x).max(1));
        let run = |graph: &Graph, mask| {
            let mut network = Network::new(graph, options(STEPS, LENGTHS.len())).unwrap();
            let batch = Batch { mask, ..padded.batch() };
            let mut carried = network.new_state(LENGTHS.len());
            let loss = network.train_step(&batch, &mut carried, 0);
            (loss.nats.to_bits(), bits(network.gradient()))
        };
        assert!(run(&plain, Some(&padded.mask)) == run(&masked, None), "{cell:?}");
    }
}

#[test]
fn a_masking_layer_masks_tokens_whose_vector_is_the_value() {
    let text = TAGGER.replacen("output_dim = 9", "output_dim = 9 }, { type = \"masking\", mask_value = 0.5", 1);
    let graph = model(&text, CELLS[1]);
    let padded = pad(PATTERNS[1], 36);
    let mut network = Network::new(&graph, options(STEPS, LENGTHS.len())).unwrap();
    let table = graph.params()[0].range.clone();
    network.params_mut()[table][36 * 9..].fill(0.5);
    let mut run = |mask| {
        let loss = network.evaluate(&Batch { mask, ..padded.batch() }, &mut State::new(&graph, LENGTHS.len()));
        (loss.nats.to_bits(), loss.count)
    };
    let expected = padded.inputs.iter().filter(|&&token| token != 36).count() as u64;
    assert_eq!(run(None).1, expected);
    assert_eq!(run(None), run(Some(&padded.inputs.iter().map(|&token| token != 36).collect::<Vec<_>>())));
}

#[test]
#[should_panic(expected = "a mask of 5 positions for a batch of 2 x 3")]
fn a_mask_of_the_wrong_shape_is_named() {
    let graph = model(TAGGER, CELLS[0]);
    let mut network = Network::new(&graph, options(2, 3)).unwrap();
    let batch =
        Batch { steps: 2, rows: 3, inputs: &[1; 6], targets: &[1; 6], mask: Some(&[true; 5]), ..Batch::default() };
    network.evaluate(&batch, &mut State::new(&graph, 3));
}
