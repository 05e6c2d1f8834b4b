//! Masks: padding of every pattern changes nothing that a text alone would give.

use super::*;

/// Texts of these lengths, one of them empty.
const LENGTHS: [usize; 7] = [5, 1, 9, 0, 4, 9, 2];
const STEPS: usize = 9;

/// A model of every cell and direction, several layers deep, with one output a step.
const TAGGER: &str = r#"
    initializer = { uniform = 0.4 }
    [[layers]]
    type = "embedding"
    output_dim = 9
    [[layers]]
    type = "bidirectional"
    layer = { type = "CELL", units = 21, return_sequences = true }
    [[layers]]
    type = "dropout"
    rate = 0.0
    [[layers]]
    type = "CELL"
    name = "back"
    units = 13
    return_sequences = true
    go_backwards = true
    [[layers]]
    type = "CELL"
    inputs = ["dropout"]
    name = "on"
    units = 13
    return_sequences = true
    stateful = true
    [[layers]]
    type = "add"
    inputs = ["on", "back"]
    [[layers]]
    type = "concatenate"
    inputs = ["add", "dropout"]
    [[layers]]
    type = "dense"
    activation = "softmax"
"#;

/// The cells, and whether a GRU resets before the product.
const CELLS: [(&str, bool); 4] = [("simple_rnn", false), ("lstm", false), ("gru", false), ("gru", true)];

fn graph(text: &str, (cell, before): (&str, bool)) -> Graph {
    let (inline, line) = if before { (", reset_after = false", "reset_after = false") } else { ("", "") };
    let text = text.replace("CELL\",", &format!("{cell}\"{inline},"));
    Graph::new(&toml::from_str(&text.replace("CELL\"\n", &format!("{cell}\"\n{line}\n"))).unwrap(), V).unwrap()
}

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
        Batch { steps: STEPS, rows: LENGTHS.len(), inputs, targets, mask: Some(mask) }
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
        for text_of_model in [TAGGER, BOTH_WAYS] {
            let graph = graph(text_of_model, cell);
            let mut alone = Network::new(&graph, NetworkOptions { precision, ..options(STEPS, 1) }).unwrap();
            let mut singles = Vec::new();
            for n in (0..rows).filter(|&n| LENGTHS[n] > 0) {
                let (x, y) = text(n);
                let targets = if graph.is_sequence() { &y[..] } else { &y[..1] };
                let batch = Batch { steps: LENGTHS[n], rows: 1, inputs: &x, targets, mask: None };
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
