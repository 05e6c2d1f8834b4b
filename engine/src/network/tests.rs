use super::*;
use crate::graph::tests::with_cell;
use crate::random::Key;
use unroll_kernels::Isa;
use unroll_kernels::gemm::Precision;
use unroll_kernels::isa::{sets_under_test, who_differs};
use unroll_kernels::softmax::IGNORE;

mod classes;
mod drops;
mod masks;
mod normal;
mod parts;
mod source;
mod state_dropout;
mod sums;
mod vectors;
mod vocabulary;

/// A model with every kind of layer that a language model may have, sizes that are multiples of nothing.
const LANGUAGE: &str = r#"
    initializer = { uniform = 0.3 }
    layers = [
        { type = "embedding", output_dim = 9 },
        { type = "CELL", units = 21, return_sequences = true, stateful = true },
        { type = "dropout", rate = 0.25 },
        { type = "CELL", units = 13, return_sequences = true, stateful = true, name = "top" },
        { type = "concatenate", inputs = ["top", "dropout"] },
        { type = "dense", units = 11, activation = "tanh" },
        { type = "dense", activation = "softmax" },
    ]
"#;

const CELLS: [&str; 5] = ["simple_rnn", "lstm", "gru", "gru, reset_after = false", "lstm, recurrent_bias = true"];

const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

const V: usize = 37;

fn model(text: &str, cell: &str) -> Graph {
    Graph::new(&toml::from_str(&with_cell(text, cell)).unwrap(), V).unwrap()
}

fn options(steps: usize, rows: usize) -> NetworkOptions {
    NetworkOptions { steps, rows, ..Default::default() }
}

fn tokens(n: usize, seed: u64) -> Vec<u32> {
    let key = Key::new(seed, Purpose::Bench);
    (0..n).map(|i| key.below(i as u64, V as u64) as u32).collect()
}

/// Losses and gradients of three steps with carried state and plain gradient descent between them.
fn trace(graph: &Graph, options: NetworkOptions) -> (Vec<f64>, Vec<u32>) {
    trace_steps(graph, options, 3)
}

fn trace_steps(graph: &Graph, options: NetworkOptions, steps: u64) -> (Vec<f64>, Vec<u32>) {
    let (t, n) = (options.steps, options.rows);
    let mut network = Network::new(graph, options).unwrap();
    let mut state = network.new_state(n);
    let (mut losses, mut bits) = (Vec::new(), Vec::new());
    for step in 0..steps {
        let (x, mut y) = (tokens(t * n, step), tokens(t * n, 100 + step));
        y[3] = IGNORE;
        let batch = Batch { steps: t, rows: n, inputs: &x, targets: &y, ..Batch::default() };
        losses.push(network.train_step(&batch, &mut state, step).nats);
        bits.extend(network.gradient().iter().map(|g| g.to_bits()));
        let (params, grads) = network.params_and_gradient();
        params.iter_mut().zip(grads).for_each(|(p, g)| *p -= 0.5 * *g);
    }
    (losses, bits)
}

/// Checks that a network with these options, on one thread, gives the same bits on other numbers of threads; what it
/// gives.
#[track_caller]
fn same_on_threads<T: PartialEq>(
    what: &str,
    options: &NetworkOptions,
    numbers: &[usize],
    run: impl Fn(NetworkOptions) -> T,
) -> T {
    let alone = run(options.clone());
    for &threads in numbers {
        let threaded = run(NetworkOptions { threads, ..options.clone() });
        assert!(alone == threaded, "{what} in {} with {threads} threads", options.precision);
    }
    alone
}

/// Checks that the instruction sets that agree in the options' precision give the same bits.
#[track_caller]
fn same_on_sets<T: PartialEq>(what: &str, options: &NetworkOptions, run: impl Fn(NetworkOptions) -> T) {
    let on = |isa| (isa, run(NetworkOptions { isa, ..options.clone() }));
    let results: Vec<_> = sets_under_test().into_iter().map(on).collect();
    assert_eq!(who_differs(options.precision, &results), None, "{what} in {}", options.precision);
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    for (cell, precision) in CELLS.into_iter().flat_map(|cell| PRECISIONS.map(|p| (cell, p))) {
        let graph = model(LANGUAGE, cell);
        let options = NetworkOptions { precision, ..options(6, 10) };
        same_on_threads(cell, &options, &[2, 3, 5, 8], |options| trace(&graph, options));
    }
}

/// One wide layer, whose steps are long enough for members to take work from each other.
const WIDE: &str = r#"
    initializer = { uniform = 0.05 }
    layers = [
        { type = "embedding", output_dim = 5 },
        { type = "CELL", units = 530, return_sequences = true },
        { type = "dense", activation = "softmax" },
    ]
"#;

#[test]
fn the_bits_do_not_depend_on_who_helps_whom() {
    let held = ", recurrent_dropout = 0.3, zoneout = 0.2";
    let cells = ["lstm", "gru, reset_after = false"].map(|cell| (cell.to_owned(), Precision::F32));
    let held = ["lstm", "gru"].map(|cell| (format!("{cell}{held}"), Precision::F32));
    for (cell, precision) in cells.into_iter().chain(held).chain([("lstm".to_owned(), Precision::Bf16)]) {
        let graph = model(WIDE, &cell);
        let options = NetworkOptions { precision, ..options(3, 23) };
        same_on_threads(&cell, &options, &[2, 3], |options| trace_steps(&graph, options, 1));
    }
}

/// Both directions of two layers, which run side by side: all steps, then the last state.
const BOTH_WAYS: &str = r#"
    initializer = { uniform = 0.3 }
    layers = [
        { type = "embedding", output_dim = 9 },
        { type = "bidirectional", layer = { type = "CELL", units = 21, return_sequences = true } },
        { type = "bidirectional", layer = { type = "CELL", units = 13 } },
        { type = "dense", activation = "softmax" },
    ]
"#;

#[test]
fn the_bits_of_both_directions_do_not_depend_on_the_number_of_threads() {
    for cell in ["simple_rnn", "lstm", "gru", "gru, reset_after = false"] {
        let graph = model(BOTH_WAYS, cell);
        // Few rows and many: rows are cut too where there are enough of them.
        for (steps, rows) in [(6, 5), (4, 70)] {
            let what = format!("{cell}, {rows} rows");
            same_on_threads(&what, &options(steps, rows), &[2, 3, 5, 8], |options| trace_last(&graph, options));
        }
    }
}

/// The loss and gradient of one step of a model with one target a row.
fn trace_last(graph: &Graph, options: NetworkOptions) -> (f64, Vec<u32>) {
    let (t, n) = (options.steps, options.rows);
    let mut network = Network::new(graph, options).unwrap();
    let (x, y) = (tokens(t * n, 1), tokens(n, 2));
    let batch = Batch { steps: t, rows: n, inputs: &x, targets: &y, ..Batch::default() };
    let mut state = network.new_state(n);
    let loss = network.train_step(&batch, &mut state, 1).nats;
    (loss, network.gradient().iter().map(|g| g.to_bits()).collect())
}

#[test]
fn the_bits_do_not_depend_on_how_rows_and_units_are_cut() {
    // So much work that threads share it: rows are cut at 60, units at 20 rows of many units.
    for (units, rows) in [(70, 60), (330, 7)] {
        for cell in CELLS {
            let graph = model(&LANGUAGE.replace("units = 21", &format!("units = {units}")), cell);
            let what = format!("{cell}, {rows} x {units}");
            same_on_threads(&what, &options(5, rows), &[2, 3, 5, 16], |options| trace_steps(&graph, options, 1));
        }
    }
}

#[test]
fn sets_that_agree_do_so_to_the_bit() {
    let sets = sets_under_test();
    for (cell, precision) in CELLS.into_iter().flat_map(|cell| PRECISIONS.map(|p| (cell, p))) {
        let graph = model(LANGUAGE, cell);
        let trace = |&isa| (isa, trace(&graph, NetworkOptions { isa, precision, ..options(5, 7) }));
        let traces: Vec<_> = sets.iter().map(trace).collect();
        assert_eq!(who_differs(precision, &traces), None, "{cell} in {precision}");
    }
}

#[test]
fn training_in_bf16_stays_near_training_in_f32() {
    for cell in CELLS {
        let graph = model(LANGUAGE, cell);
        let run = |precision, isa| trace_steps(&graph, NetworkOptions { precision, isa, ..options(6, 10) }, 20).0;
        let exact = run(Precision::F32, Isa::best());
        for isa in sets_under_test() {
            let rounded = run(Precision::Bf16, isa);
            let off = exact.iter().zip(&rounded).map(|(a, b)| (a / b - 1.0).abs());
            let (worst, mean) = (off.clone().fold(0.0, f64::max), off.sum::<f64>() / 20.0);
            // Operands are off by 2^-9 of themselves on average, with signs that cancel.
            assert!(worst < 5e-3 && mean > 1e-7, "{cell} on {isa}: {worst:e} at most, {mean:e} on average");
        }
    }
}

#[test]
fn running_in_a_lower_precision_stays_near_and_depends_on_neither_threads_nor_set() {
    let sets: Vec<_> = sets_under_test().into_iter().filter(|isa| isa.name() != "portable").collect();
    for cell in CELLS {
        let graph = model(LANGUAGE, cell);
        let losses = |precision, isa, threads| {
            let options = NetworkOptions { precision, isa, threads, training: false, ..options(6, 10) };
            let mut network = Network::new(&graph, options).unwrap();
            let mut state = network.new_state(10);
            let mut run = |step| {
                let (x, y) = (tokens(60, step), tokens(60, 100 + step));
                network
                    .evaluate(&Batch { steps: 6, rows: 10, inputs: &x, targets: &y, ..Batch::default() }, &mut state)
                    .nats
            };
            [run(0), run(1)]
        };
        let exact = losses(Precision::F32, Isa::best(), 1);
        for (precision, most) in [(Precision::Bf16, 2e-3), (Precision::Int8, 1e-2)] {
            let first = losses(precision, Isa::best(), 1);
            let off = exact.iter().zip(&first).map(|(a, b)| (a / b - 1.0).abs()).fold(0.0, f64::max);
            assert!(off < most && off > 1e-7, "{cell} in {precision}: {off:e}");
            for &isa in &sets {
                let alone = losses(precision, isa, 1);
                assert!(alone == first || !isa.agrees(Isa::best(), precision), "{cell} in {precision}, {isa}");
                for threads in [2, 3, 5] {
                    assert_eq!(
                        losses(precision, isa, threads),
                        alone,
                        "{cell} in {precision}, {isa}, {threads} threads"
                    );
                }
            }
        }
    }
}

#[test]
fn training_in_int8_is_refused() {
    let options = NetworkOptions { precision: Precision::Int8, ..options(2, 2) };
    let error = Network::new(&model(LANGUAGE, "lstm"), options).err().unwrap();
    assert!(error.to_string().contains("int8 is for running a trained model"), "{error}");
}

fn largest_difference(a: &[u32], b: &[u32]) -> f32 {
    a.iter().zip(b).map(|(&a, &b)| (f32::from_bits(a) - f32::from_bits(b)).abs()).fold(0.0, f32::max)
}

#[test]
fn replicas_and_fusions_change_rounding_only() {
    for cell in CELLS {
        let graph = model(LANGUAGE, cell);
        let (losses, bits) = trace(&graph, options(6, 10));
        let others = [
            NetworkOptions { replicas: 3, threads: 2, ..options(6, 10) },
            NetworkOptions { no_fuse: FUSIONS.map(String::from).to_vec(), ..options(6, 10) },
        ];
        for other in others {
            let what = format!("{cell} {} replicas, without {:?}", other.replicas, other.no_fuse);
            let (l, b) = trace(&graph, other);
            assert!(losses.iter().zip(&l).all(|(a, b)| (a / b - 1.0).abs() < 1e-5), "{what}: {losses:?} {l:?}");
            assert!(largest_difference(&bits, &b) < 1e-5, "{what}: {}", largest_difference(&bits, &b));
        }
    }
}

#[test]
fn three_replicas_and_one_agree_over_twenty_steps() {
    for cell in CELLS {
        let graph = model(LANGUAGE, cell);
        let (one, _) = trace_steps(&graph, options(6, 10), 20);
        let (three, _) = trace_steps(&graph, NetworkOptions { replicas: 3, ..options(6, 10) }, 20);
        let worst = one.iter().zip(&three).map(|(a, b)| (a / b - 1.0).abs()).fold(0.0, f64::max);
        assert!(worst < 1e-4, "{cell}: {worst}");
    }
}

#[test]
fn a_batch_smaller_than_the_capacity_gives_the_same_losses() {
    let graph = model(LANGUAGE, "lstm");
    let (x, y) = (tokens(8, 1), tokens(8, 2));
    let batch = Batch { steps: 4, rows: 2, inputs: &x, targets: &y, ..Batch::default() };
    let mut exact = Network::new(&graph, options(4, 2)).unwrap();
    let mut roomy = Network::new(&graph, NetworkOptions { replicas: 4, ..options(9, 5) }).unwrap();
    let a = exact.evaluate(&batch, &mut exact.new_state(2));
    let b = roomy.evaluate(&batch, &mut roomy.new_state(2));
    assert_eq!(a, b);
}

#[test]
fn carried_state_makes_two_short_steps_equal_one_long() {
    for cell in CELLS {
        let graph = model(LANGUAGE, cell);
        let mut network = Network::new(&graph, options(8, 3)).unwrap();
        let (x, y) = (tokens(24, 5), tokens(24, 6));
        let batch = |from: usize, to: usize| Batch {
            steps: to - from,
            rows: 3,
            inputs: &x[from * 3..to * 3],
            targets: &y[from * 3..to * 3],
            ..Batch::default()
        };
        let whole = network.evaluate(&batch(0, 8), &mut network.new_state(3)).nats;
        let mut state = network.new_state(3);
        let parts = network.evaluate(&batch(0, 3), &mut state).nats + network.evaluate(&batch(3, 8), &mut state).nats;
        assert!((whole - parts).abs() < 1e-9, "{cell}: {whole} {parts}");
        // One step at a time, as text is generated: the logits' own softmax gives the same losses.
        let mut state = network.new_state(3);
        let mut sum = 0.0;
        for t in 0..8 {
            let logits = network.logits(&x[t * 3..t * 3 + 3], 3, &mut state);
            for n in 0..3 {
                let row: Vec<f64> = logits.row(n).iter().map(|&z| f64::from(z)).collect();
                sum += row.iter().map(|z| z.exp()).sum::<f64>().ln() - row[y[t * 3 + n] as usize];
            }
        }
        assert!((whole - sum).abs() < 1e-4, "{cell}: {whole} {sum}");
    }
}

#[test]
fn classifiers_and_windows_run_and_learn() {
    let classifier = r#"
        loss = "binary_cross_entropy"
        layers = [
            { type = "embedding", output_dim = 8 },
            { type = "bidirectional", layer = { type = "lstm", units = 10 } },
            { type = "dense", units = 6, activation = "relu" },
            { type = "dense", units = 1, activation = "sigmoid" },
        ]
    "#;
    let window = r#"
        input_length = 4
        layers = [
            { type = "embedding", output_dim = 5 },
            { type = "reshape", target_shape = [20] },
            { type = "dense", name = "hidden", units = 12, activation = "tanh" },
            { type = "dense", name = "a" },
            { type = "dense", name = "b", inputs = ["reshape"] },
            { type = "add", inputs = ["a", "b"] },
            { type = "activation", activation = "softmax" },
        ]
    "#;
    for (text, binary) in [(classifier, true), (window, false)] {
        let graph = model(text, "");
        let mut network = Network::new(&graph, NetworkOptions { threads: 2, ..options(4, 6) }).unwrap();
        let x = tokens(24, 7);
        let y: Vec<u32> = (0..6).map(|n| if binary { n % 2 } else { n * 3 }).collect();
        let batch = Batch { steps: 4, rows: 6, inputs: &x, targets: &y, ..Batch::default() };
        let mut state = network.new_state(6);
        let first = network.evaluate(&batch, &mut state).mean();
        for step in 0..300 {
            network.train_step(&batch, &mut state, step);
            let (params, grads) = network.params_and_gradient();
            params.iter_mut().zip(grads).for_each(|(p, g)| *p -= 0.5 * *g);
        }
        let last = network.evaluate(&batch, &mut state).mean();
        assert!(last < 0.1 * first, "{first} -> {last}");
    }
}

#[test]
fn gradients_agree_with_differences_of_the_loss() {
    for cell in CELLS {
        let graph = model(LANGUAGE, cell);
        let mut network = Network::new(&graph, options(4, 3)).unwrap();
        let (x, y) = (tokens(12, 8), tokens(12, 9));
        let batch = Batch { steps: 4, rows: 3, inputs: &x, targets: &y, ..Batch::default() };
        let state = network.new_state(3);
        network.train_step(&batch, &mut state.clone(), 5);
        let gradient = network.gradient().to_vec();
        for spec in graph.params().to_vec() {
            // Along the gradient itself the loss must fall at the rate of its squared norm.
            let part = spec.range.clone();
            let norm = gradient[part.clone()].iter().map(|g| f64::from(*g).powi(2)).sum::<f64>();
            let step = 1e-2 / norm.sqrt().max(1e-3);
            let mut at = |sign: f64| {
                let saved = network.params().to_vec();
                let params = &mut network.params_mut()[part.clone()];
                params
                    .iter_mut()
                    .zip(&gradient[part.clone()])
                    .for_each(|(p, g)| *p += (sign * step * f64::from(*g)) as f32);
                let loss = network.train_step(&batch, &mut state.clone(), 5).mean();
                network.params_mut().copy_from_slice(&saved);
                loss
            };
            let slope = (at(1.0) - at(-1.0)) / (2.0 * step);
            assert!((slope / norm - 1.0).abs() < 2e-2, "{cell} {}: {slope} {norm}", spec.name);
        }
    }
}

#[test]
fn options_out_of_range_are_refused() {
    let with = |change: &dyn Fn(&mut NetworkOptions)| {
        let mut options = options(3, 2);
        change(&mut options);
        Network::new(&model(LANGUAGE, "lstm"), options).err().unwrap().to_string()
    };
    let positions = "more than 4294967296 positions";
    for (found, expected) in [
        (with(&|o| o.rows = 0), "the batch size must be at least 1"),
        (with(&|o| o.threads = 0), "must be from 1 to 1024, got 0"),
        (with(&|o| o.threads = 100_000), "must be from 1 to 1024, got 100000"),
        (with(&|o| o.replicas = 3), "3 replicas cannot share 2 rows"),
        (with(&|o| o.rows = usize::MAX), positions),
        (with(&|o| o.steps = usize::MAX / 2), positions),
        (with(&|o| o.source_steps = 1 << 32), positions),
    ] {
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn a_model_that_does_not_fit_is_refused_with_figures() {
    let text = LANGUAGE.replace("units = 21", "units = 600000");
    let error = Network::new(&model(&text, "lstm"), options(6, 10)).err().unwrap();
    assert_eq!(error.exit_code(), 2);
    let message = error.to_string();
    assert!(message.contains("the model needs") && message.contains("GiB are available"), "{message}");
}

#[test]
fn initial_values_follow_the_declaration() {
    let text = LANGUAGE.replace("initializer = { uniform = 0.3 }", "");
    let graph = model(&text, "lstm");
    let network = Network::new(&graph, options(2, 2)).unwrap();
    let find = |name: &str| graph.params().iter().find(|p| p.name == name).unwrap().range.clone();
    let u = &network.params()[find("lstm/recurrent_kernel")];
    for (a, b) in [(0, 0), (0, 1), (5, 20)] {
        let inner: f32 = (0..84).map(|j| u[a * 84 + j] * u[b * 84 + j]).sum();
        assert!((inner - if a == b { 1.0 } else { 0.0 }).abs() < 1e-5);
    }
    let bias = &network.params()[find("lstm/bias")];
    assert!(bias[..21].iter().all(|&b| b == 0.0) && bias[21..42].iter().all(|&b| b == 1.0));
}
