//! Vectors that come with a batch: what a layer sees of them, and what is refused.

use super::*;
use unroll_kernels::gemm::MOST_INT8_TERMS;

const WIDTH: usize = 5;

/// Vectors of each step, masked where they are all 2, and one vector a row.
const SEEN: &str = r#"
    initializer = { uniform = 0.4 }
    layers = [
        { type = "input", name = "frames", width = 5MASKING },
        { type = "bidirectional", layer = { type = "lstm", units = 11, return_sequences = true } },
        { type = "gru", units = 9 },
        { type = "input", name = "picture", width = 7, sequence = false },
        { type = "dense", name = "seen", units = 3 },
        { type = "concatenate", inputs = ["gru", "seen"] },
        { type = "dense" },
    ]
"#;

fn seen(masking: bool) -> Graph {
    let layer = " }, { type = \"masking\", mask_value = 2.0";
    Graph::new(&toml::from_str(&SEEN.replace("MASKING", if masking { layer } else { "" })).unwrap(), V).unwrap()
}

fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let key = Key::new(seed, Purpose::Bench);
    (0..n as u64).map(|i| 2.0 * key.uniform(i) - 1.0).collect()
}

/// The loss and the bits of the gradient of a step.
fn step(graph: &Graph, options: NetworkOptions, batch: &Batch<'_>) -> (u64, Vec<u32>) {
    let mut network = Network::new(graph, options).unwrap();
    let loss = network.train_step(batch, &mut network.new_state(batch.rows), 1).nats;
    (loss.to_bits(), network.gradient().iter().map(|g| g.to_bits()).collect())
}

#[test]
fn the_bits_of_a_model_of_vectors_do_not_depend_on_the_number_of_threads() {
    let (t, n, graph) = (6, 13, seen(true));
    let (mut frames, picture, y) = (numbers(t * n * WIDTH, 1), numbers(n * 7, 2), tokens(n, 3));
    frames[WIDTH..4 * WIDTH].fill(2.0);
    let vectors: [&[f32]; 2] = [&frames, &picture];
    let batch = Batch { steps: t, rows: n, vectors: &vectors, targets: &y, ..Batch::default() };
    for precision in PRECISIONS {
        let options = NetworkOptions { precision, ..options(t, n) };
        let alone = same_on_threads("vectors", &options, &[2, 3, 5], |options| step(&graph, options, &batch));
        assert!(alone.1.iter().any(|&g| g != 0));
    }
    // Each replica takes the vectors of its own rows.
    let close = |a: u64, b: u64| (f64::from_bits(a) / f64::from_bits(b) - 1.0).abs() < 1e-5;
    let replicated = step(&graph, NetworkOptions { replicas: 3, threads: 2, ..options(t, n) }, &batch);
    assert!(close(replicated.0, step(&graph, options(t, n), &batch).0));
}

#[test]
fn a_layer_of_more_inputs_than_sums_in_int8_have_runs_in_f32() {
    let width = MOST_INT8_TERMS + 3;
    let text = format!(
        "layers = [{{ type = \"input\", width = {width}, sequence = false }}, {{ type = \"dense\", units = 3 }}, \
         {{ type = \"dense\" }}]"
    );
    let graph = Graph::new(&toml::from_str(&text).unwrap(), V).unwrap();
    let (x, y) = (numbers(2 * width, 1), tokens(2, 3));
    let loss = |precision| {
        let options = NetworkOptions { precision, training: false, ..options(1, 2) };
        let mut network = Network::new(&graph, options).unwrap();
        let batch = Batch { steps: 1, rows: 2, vectors: &[&x], targets: &y, ..Batch::default() };
        network.evaluate(&batch, &mut network.new_state(2)).nats
    };
    let [f32, int8] = [Precision::F32, Precision::Int8].map(loss);
    assert!(f32 != int8 && (int8 / f32 - 1.0).abs() < 0.02, "{int8} for {f32}");
}

#[test]
fn vectors_are_what_an_embedding_of_the_same_rows_gives() {
    let (t, n) = (4, 6);
    let text = |first: &str| {
        format!(
            "initializer = {{ uniform = 0.4 }}\nlayers = [{{ {first} }}, \
             {{ type = \"gru\", units = 7, return_sequences = true }}, {{ type = \"dense\" }}]"
        )
    };
    let (by_table, by_vectors) =
        (model(&text("type = \"embedding\", output_dim = 5"), ""), model(&text("type = \"input\", width = 5"), ""));
    let no_fuse = vec!["token_input".to_owned()];
    let mut looked_up = Network::new(&by_table, NetworkOptions { no_fuse, ..options(t, n) }).unwrap();
    let mut given = Network::new(&by_vectors, options(t, n)).unwrap();
    let table = by_table.params()[0].range.clone();
    for (from, to) in by_table.params()[1..].iter().zip(by_vectors.params()) {
        let values = looked_up.params()[from.range.clone()].to_vec();
        given.params_mut()[to.range.clone()].copy_from_slice(&values);
    }
    let (x, y) = (tokens(t * n, 1), tokens(t * n, 2));
    let table = &looked_up.params()[table];
    let vectors: Vec<f32> = x.iter().flat_map(|&x| &table[x as usize * WIDTH..][..WIDTH]).copied().collect();
    let batch = Batch { steps: t, rows: n, inputs: &x, targets: &y, ..Batch::default() };
    let state = &mut looked_up.new_state(n);
    let a = looked_up.train_step(&batch, state, 1);
    let b = given.train_step(&Batch { inputs: &[], vectors: &[&vectors], ..batch }, state, 1);
    assert_eq!(a, b);
    for (from, to) in by_table.params()[1..].iter().zip(by_vectors.params()) {
        assert_eq!(looked_up.gradient()[from.range.clone()], given.gradient()[to.range.clone()], "{}", to.name);
    }
}

#[test]
fn a_masked_vector_is_as_if_it_were_not_there() {
    let (t, n) = (5, 3);
    let (mut frames, picture, y) = (numbers(t * n * WIDTH, 4), numbers(n * 7, 5), tokens(n, 6));
    // Row 1 lacks its first and its third step, row 2 all.
    for at in [1, 2 * n + 1].into_iter().chain((0..t).map(|t| t * n + 2)) {
        frames[at * WIDTH..(at + 1) * WIDTH].fill(2.0);
    }
    let there: Vec<bool> = frames.chunks_exact(WIDTH).map(|v| v.iter().any(|&x| x != 2.0)).collect();
    assert_eq!(there.iter().filter(|there| !**there).count(), 7);
    let vectors: [&[f32]; 2] = [&frames, &picture];
    let batch = Batch { steps: t, rows: n, vectors: &vectors, targets: &y, ..Batch::default() };
    let by_layer = step(&seen(true), options(t, n), &batch);
    assert!(by_layer == step(&seen(false), options(t, n), &Batch { mask: Some(&there), ..batch }));
    // A vector of which one number is another is there.
    assert!(by_layer != step(&seen(false), options(t, n), &batch));
}

#[test]
fn batches_that_do_not_fit_are_refused_with_what_was_expected_and_found() {
    let (t, n, graph) = (2, 3, seen(false));
    let (frames, picture, y) = (numbers(t * n * WIDTH, 1), numbers(n * 7, 2), tokens(n, 3));
    let vectors: [&[f32]; 2] = [&frames, &picture];
    let right = Batch { steps: t, rows: n, vectors: &vectors, targets: &y, ..Batch::default() };
    right.check(&graph, &options(t, n)).unwrap();
    let (narrow, few): ([&[f32]; 2], [&[f32]; 2]) = ([&frames[..t * n * 4], &picture], [&frames, &picture[1..]]);
    let wrong = [
        (Batch { vectors: &narrow, ..right }, "layer `frames` takes vectors of width 5, these have width 4"),
        (Batch { vectors: &few, ..right }, "layer `picture` takes (3, 7) = 21 numbers, 20 are given"),
        (Batch { vectors: &vectors[..1], ..right }, "vectors for 1 input layers, the model has 2"),
        (Batch { inputs: &[1; 6], ..right }, "6 tokens for a batch of 2 x 3, the model takes 0"),
        (Batch { targets: &y[1..], ..right }, "2 targets, 3 outputs"),
        (Batch { targets: &[0, V as u32, 1], ..right }, "target 37 of output `dense`, which has 37 classes"),
        (Batch { mask: Some(&[true; 7]), ..right }, "a mask of 7 positions for a batch of 2 x 3"),
        (Batch { steps: 3, ..right }, "a batch of 3 x 3, room for 2 x 3"),
    ];
    for (batch, want) in wrong {
        let error = batch.check(&graph, &options(t, n)).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    let tokens_alone = model(LANGUAGE, "gru");
    let error = right.check(&tokens_alone, &options(t, n)).unwrap_err().to_string();
    assert!(error.contains("0 tokens for a batch of 2 x 3, the model takes 6"), "{error}");
    let fixed = Graph::new(&toml::from_str(&SEEN.replace("MASKING", ", batch_size = 8")).unwrap(), V);
    let error = right.check(&fixed.unwrap(), &options(t, n)).unwrap_err().to_string();
    assert!(error.contains("a batch of 2 x 3, the model's batch_size is 8"), "{error}");
    let error = graph.require_text_alone().unwrap_err().to_string();
    assert!(error.contains("layer `frames` takes vectors of 5, and a text has none"), "{error}");
    tokens_alone.require_text_alone().unwrap();
}

#[test]
#[should_panic(expected = "layer `input` takes vectors of width 4, these have width 3")]
fn a_step_with_other_vectors_panics_with_the_same_words() {
    let graph = model("layers = [{ type = \"input\", width = 4, sequence = false }, { type = \"dense\" }]", "");
    let mut network = Network::new(&graph, options(1, 2)).unwrap();
    let batch = Batch { steps: 1, rows: 2, vectors: &[&[0.0; 6]], targets: &[0, 1], ..Batch::default() };
    network.train_step(&batch, &mut State::new(&graph, 2), 0);
}

#[test]
fn the_tutorials_layers_give_outputs_of_the_tutorials_shapes() {
    // A classifier of the layer's own outputs: the logits are what the layer gives.
    let outputs = |length: usize, input: &str, layer: &str, rows: usize, width: usize| {
        let text = format!("input_length = {length}\nlayers = [{{ type = \"input\", {input} }}, {{ {layer} }}]");
        let graph = Graph::new(&toml::from_str(&text).unwrap(), 3).unwrap();
        let mut network = Network::new(&graph, options(length, rows)).unwrap();
        let vectors = numbers(length * rows * width, 7);
        let batch = Batch { steps: length, rows, vectors: &[&vectors], ..Batch::default() };
        let mut state = network.new_state(rows);
        let y = network.predict(&batch, &mut state);
        let y: Vec<Vec<f32>> = (0..y.rows()).map(|n| y.row(n).to_vec()).collect();
        (y, state.tensors().map(|t| (t.name, t.shape, t.values.to_vec())).collect::<Vec<_>>())
    };
    let rnn = "type = \"simple_rnn\", units = 3";
    let (y, _) = outputs(2, "width = 10, batch_size = 8", rnn, 8, 10);
    assert_eq!((y.len(), y[0].len()), (8, 3));
    // The last step of all that are returned is the state that the layer gives without them.
    let (every, _) = outputs(2, "width = 10, batch_size = 8", &format!("{rnn}, return_sequences = true"), 8, 10);
    assert_eq!(every, y);
    let lstm = "type = \"lstm\", units = 3, return_state = true";
    let (y, states) = outputs(4, "width = 5, batch_size = 1", lstm, 1, 5);
    let names: Vec<&str> = states.iter().map(|(name, ..)| &name[..]).collect();
    assert_eq!((names, states[0].1), (vec!["lstm/h", "lstm/c"], [1, 3]));
    assert_eq!(y[0], states[0].2);
    assert_ne!(states[0].2, states[1].2);
}
