//! Weights of small models whose every element says where it came from, in the names and layouts of other programs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use unroll::Result;
use unroll::graph::{Graph, ModelConfig, Role, Words};
use unroll::interop::{Form, Mapping, WeightFile, export, onnx, read_vocabulary};
use unroll::text::{Level, TextOptions, Vocabulary};
use unroll::train::{NamedTensor, TensorRef, tensor_file, weight_file};

const VOCABULARY: usize = 7;

fn graph(layers: &str) -> Graph {
    let model: ModelConfig = toml::from_str(&format!("layers = [{layers}]")).unwrap();
    Graph::new(&model, VOCABULARY).unwrap()
}

/// A file of these tensors.
fn file(tensors: &[NamedTensor]) -> WeightFile {
    WeightFile::from_bytes("weights.safetensors", bytes(tensors)).unwrap()
}

fn bytes(tensors: &[NamedTensor]) -> Vec<u8> {
    let tensors: Vec<TensorRef> = tensors.iter().map(NamedTensor::as_ref).collect();
    tensor_file(&tensors).unwrap()
}

/// A file that says how the heads of this graph lie, as a checkpoint does.
fn own_file(graph: &Graph, arena: &[f32]) -> WeightFile {
    let own = export(graph, arena, Form::Unroll, &Mapping::default()).unwrap();
    let tensors: Vec<TensorRef> = own.iter().map(NamedTensor::as_ref).collect();
    WeightFile::from_bytes("own.safetensors", weight_file(&tensors, &graph.head_layouts().unwrap()).unwrap()).unwrap()
}

fn load_own(mut file: WeightFile, graph: &Graph) -> Result<Vec<f32>> {
    let mut params = vec![f32::NAN; graph.arena()];
    file.load(graph, &Mapping::default(), &mut params)?;
    Ok(params)
}

/// Element i of a tensor: another number for each name and place, exact in f32.
fn element(name: &str, i: usize) -> f32 {
    let name = name.bytes().fold(17u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    (f64::from(name % 4096) / 64.0 + i as f64 / 65536.0) as f32
}

fn numbered(name: &str, shape: &[usize]) -> NamedTensor {
    let data = (0..shape.iter().product()).map(|i| element(name, i)).collect();
    NamedTensor { name: name.into(), shape: shape.into(), data }
}

/// An arena in which no two numbers are alike, but for a few zeros of either sign.
fn arena(graph: &Graph) -> Vec<f32> {
    let mut arena = vec![0.0; graph.arena()];
    for spec in graph.params() {
        arena[spec.range.clone()].iter_mut().enumerate().for_each(|(i, x)| *x = element(&spec.name, i) - 32.0);
        arena[spec.range.start] = -0.0;
        arena[spec.range.end - 1] = 0.0;
    }
    arena
}

fn bits(graph: &Graph, arena: &[f32]) -> Vec<u32> {
    graph.params().iter().flat_map(|spec| arena[spec.range.clone()].iter().map(|x| x.to_bits())).collect()
}

fn load(tensors: &[NamedTensor], graph: &Graph, mapping: &Mapping) -> Result<Vec<f32>> {
    let mut params = vec![f32::NAN; graph.arena()];
    file(tensors).load(graph, mapping, &mut params)?;
    Ok(params)
}

fn refused(tensors: &[NamedTensor], graph: &Graph) -> String {
    load(tensors, graph, &Mapping::default()).unwrap_err().to_string()
}

const MODELS: [&str; 9] = [
    r#"{ type = "embedding", output_dim = 5 }, { type = "lstm", units = 3, return_sequences = true }, { type = "lstm", units = 3, return_sequences = true }, { type = "dense", activation = "softmax" }"#,
    r#"{ type = "one_hot" }, { type = "lstm", units = 3, return_sequences = true, recurrent_bias = true }, { type = "dense" }"#,
    r#"{ type = "embedding", output_dim = 5 }, { type = "gru", units = 3, return_sequences = true }, { type = "dense", use_bias = false }"#,
    r#"{ type = "embedding", output_dim = 4 }, { type = "bidirectional", layer = { type = "gru", units = 3, return_sequences = true } }, { type = "bidirectional", layer = { type = "lstm", units = 2 } }, { type = "dense", units = 6, activation = "relu" }, { type = "dense" }"#,
    r#"{ type = "embedding", output_dim = 4 }, { type = "simple_rnn", units = 3, activation = "relu", use_bias = false, return_sequences = true }, { type = "simple_rnn", units = 2, recurrent_bias = true, return_sequences = true }, { type = "time_distributed", layer = { type = "dense" } }"#,
    r#"{ type = "embedding", name = "table", output_dim = 3 }, { type = "lstm", units = 3, return_sequences = true }, { type = "dense", tied_to = "table" }"#,
    r#"{ type = "embedding", name = "table", output_dim = 3 }, { type = "lstm", units = 3, return_sequences = true }, { type = "dense", tied_to = "table", use_bias = false }"#,
    r#"{ type = "embedding", output_dim = 4 }, { type = "bidirectional", layer = { type = "simple_rnn", units = 3, recurrent_bias = true, return_sequences = true } }, { type = "dense", units = 6 }, { type = "dense", units = 6 }, { type = "dense" }"#,
    r#"{ type = "embedding", output_dim = 4 }, { type = "layer_normalization" }, { type = "gru", units = 4, return_sequences = true }, { type = "layer_normalization", center = false }, { type = "dense" }"#,
];

#[test]
fn what_was_exported_is_read_back_to_the_bit() {
    for model in MODELS {
        let graph = graph(model);
        let arena = arena(&graph);
        for form in [Form::PyTorch, Form::Keras, Form::Unroll] {
            if form == Form::Keras && model.contains("recurrent_bias") {
                continue; // Keras has one bias
            }
            let tensors = export(&graph, &arena, form, &Mapping::default()).unwrap();
            let read = load(&tensors, &graph, &Mapping::default()).unwrap_or_else(|e| panic!("{form:?} {model}\n{e}"));
            assert_eq!(bits(&graph, &read), bits(&graph, &arena), "{form:?} {model}");
        }
    }
}

#[test]
fn gates_come_to_their_columns() {
    // PyTorch's GRU: r, z, n in rows; ours: z, r, n in columns.
    let graph = graph(MODELS[2]);
    let (d, h) = (5, 3);
    let tensors = [
        numbered("encoder.weight", &[VOCABULARY, d]),
        numbered("rnn.weight_ih_l0", &[3 * h, d]),
        numbered("rnn.weight_hh_l0", &[3 * h, h]),
        numbered("rnn.bias_ih_l0", &[3 * h]),
        numbered("rnn.bias_hh_l0", &[3 * h]),
        numbered("decoder.weight", &[VOCABULARY, h]),
    ];
    let params = load(&tensors, &graph, &Mapping::default()).unwrap();
    let of = |name: &str| &params[graph.params().iter().find(|spec| spec.name == name).unwrap().range.clone()];
    let theirs = |ours: usize| [1, 0, 2][ours / h] * h + ours % h;
    for row in 0..3 * h {
        for column in 0..d {
            assert_eq!(of("gru/kernel")[column * 3 * h + row], element("rnn.weight_ih_l0", theirs(row) * d + column));
        }
        for column in 0..h {
            let found = of("gru/recurrent_kernel")[column * 3 * h + row];
            assert_eq!(found, element("rnn.weight_hh_l0", theirs(row) * h + column));
        }
        assert_eq!(of("gru/bias")[row], element("rnn.bias_ih_l0", theirs(row)));
        assert_eq!(of("gru/bias")[3 * h + row], element("rnn.bias_hh_l0", theirs(row)));
    }
    assert_eq!(of("dense/kernel")[2 * VOCABULARY + 4], element("decoder.weight", 4 * h + 2), "turned over");
    assert_eq!(of("embedding/embeddings")[12], element("encoder.weight", 12));
}

#[test]
fn two_biases_become_one_where_the_layer_has_one() {
    let graph = graph(MODELS[0]);
    let tensors = export(&graph, &arena(&graph), Form::PyTorch, &Mapping::default()).unwrap();
    let mut two = tensors.clone();
    for tensor in two.iter_mut().filter(|tensor| tensor.name.contains("bias_hh")) {
        tensor.data.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
    }
    let params = load(&two, &graph, &Mapping::default()).unwrap();
    let spec = graph.params().iter().find(|spec| spec.name == "lstm_1/bias").unwrap();
    let first = tensors.iter().find(|tensor| tensor.name == "rnn.bias_ih_l1").unwrap();
    let sum: Vec<f32> = first.data.iter().enumerate().map(|(i, x)| x + i as f32).collect();
    assert_eq!(params[spec.range.clone()], sum);
}

#[test]
fn short_floats_are_read() {
    let graph = graph(r#"{ type = "embedding", output_dim = 2 }, { type = "dense", units = 7, use_bias = false }"#);
    let header = r#"{"e.weight":{"dtype":"BF16","shape":[7,2],"data_offsets":[0,28]},"d.weight":{"dtype":"F16","shape":[7,2],"data_offsets":[28,56]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend((0..14).flat_map(|i| ((i as f32).to_bits().wrapping_shr(16) as u16).to_le_bytes()));
    bytes.extend((0..14u16).flat_map(|i| (0x3c00 + i).to_le_bytes())); // 1 + i / 1024
    let mapping = Mapping::parse(&["embedding=e".into(), "dense=d".into()], &[]).unwrap();
    let mut params = vec![0.0; graph.arena()];
    WeightFile::from_bytes("w", bytes).unwrap().load(&graph, &mapping, &mut params).unwrap();
    assert_eq!(params[..14], std::array::from_fn::<f32, 14, _>(|i| i as f32));
    let kernel = &params[graph.params()[1].range.clone()];
    assert_eq!(kernel[1], 1.0 + 2.0 / 1024.0, "of the second row's first column");
}

#[test]
fn names_that_do_not_fit_are_told_with_those_that_would() {
    let graph = graph(MODELS[0]);
    let whole = export(&graph, &arena(&graph), Form::PyTorch, &Mapping::default()).unwrap();
    let without = |name: &str| whole.iter().filter(|t| t.name != name).cloned().collect::<Vec<_>>();
    insta::assert_snapshot!(refused(&without("rnn.bias_hh_l1"), &graph), @"weights.safetensors: the tensor `rnn.bias_hh_l1` [12] of layer `lstm_1` is missing (where it has no bias, set use_bias = false on layer `lstm_1`)");
    insta::assert_snapshot!(refused(&without("encoder.weight"), &graph), @"weights.safetensors: nothing in it matches layer `embedding` (Embedding), which has `embedding/embeddings` [7, 5]; the file has `decoder` [7, 3], `rnn.l0` [12, 5], `rnn.l1` [12, 3] (name it with --map embedding=NAME, or describe the model as it is)");
    let mut other = whole.clone();
    other.iter_mut().find(|t| t.name == "rnn.weight_hh_l1").unwrap().shape = vec![3, 12];
    insta::assert_snapshot!(refused(&other, &graph), @"weights.safetensors: `rnn.weight_hh_l1` is F32 [3, 12], but layer `lstm_1` of the model has F32 [12, 3] there (describe the model with its sizes)");
    let more = [whole.clone(), vec![numbered("conv1.weight", &[2, 2, 3]), numbered("rnn.weight_hr_l0", &[2])]].concat();
    insta::assert_snapshot!(refused(&more, &graph), @"weights.safetensors: the model has no place for `conv1.weight` F32 [2, 2, 3] (and 1 more) (describe the model as it is, or leave it out with --ignore conv1.weight)");
    let ignore = Mapping::parse(&[], &["conv".into(), "rnn.weight_hr".into()]).unwrap();
    assert!(load(&more, &graph, &ignore).is_ok());
    let mut nan = whole.clone();
    nan[2].data[4] = f32::NAN;
    insta::assert_snapshot!(refused(&nan, &graph), @"weights.safetensors, byte 1204: element 4 of `rnn.weight_hh_l0` is not finite");
    let one_layer = self::graph(MODELS[1]);
    insta::assert_snapshot!(refused(&whole, &one_layer), @"weights.safetensors: `rnn.weight_ih_l0` is F32 [12, 5], but layer `lstm` of the model has F32 [12, 7] there (describe the model with its sizes)");
}

#[test]
fn layers_that_names_do_not_tell_apart_are_asked_for() {
    let graph = graph(MODELS[7]);
    let mapping = Mapping::parse(
        &["dense=a".into(), "dense_1=b".into(), "dense_2=c".into(), "bidirectional=net.rnn".into()],
        &[],
    )
    .unwrap();
    let tensors = export(&graph, &arena(&graph), Form::PyTorch, &mapping).unwrap();
    assert!(tensors.iter().any(|t| t.name == "net.rnn.weight_ih_l0_reverse"));
    insta::assert_snapshot!(refused(&tensors, &graph), @"weights.safetensors: the layers `dense`, `dense_1` cannot be distinguished by the names `a` [6, 6], `b` [6, 6] (assign them with --map LAYER=NAME)");
    let read = load(&tensors, &graph, &mapping).unwrap();
    assert_eq!(bits(&graph, &read), bits(&graph, &arena(&graph)));
    // The third is told by its shape; two that are left are told by what is said of one.
    let one = Mapping::parse(&["dense_1=b".into()], &[]).unwrap();
    assert_eq!(bits(&graph, &load(&tensors, &graph, &one).unwrap()), bits(&graph, &arena(&graph)));
    let wrong = Mapping::parse(&["dense_3=b".into()], &[]).unwrap();
    insta::assert_snapshot!(load(&tensors, &graph, &wrong).unwrap_err(), @"--map: the model has no layer `dense_3` with weights (it has embedding, bidirectional, dense, dense_1, dense_2)");
    let wrong = Mapping::parse(&["dense=fc".into()], &[]).unwrap();
    insta::assert_snapshot!(load(&tensors, &graph, &wrong).unwrap_err(), @"--map: there is no `fc` in weights.safetensors (it has `a` [6, 6], `b` [6, 6], `c` [7, 6], `embedding` [7, 4], `net.rnn.l0` [3, 4])");
    insta::assert_snapshot!(Mapping::parse(&["dense".into()], &[]).unwrap_err(), @"--map: `dense` is not LAYER=NAME, such as lstm=rnn.l0");
}

#[test]
fn keras_numbers_are_an_order_and_no_names() {
    // Keras numbers the layers of a whole session: here those of a second model.
    let graph = graph(MODELS[4]);
    let arena = arena(&graph);
    let mapping = ["simple_rnn=simple_rnn_1", "simple_rnn_1=simple_rnn_2", "embedding=embedding_9"];
    let mapping = Mapping::parse(&mapping.map(String::from), &[]).unwrap();
    let mut tensors = export(&graph, &arena, Form::Keras, &mapping).unwrap();
    let read = load(&tensors, &graph, &Mapping::default()).unwrap();
    let second_bias = graph.params().iter().find(|spec| spec.name == "simple_rnn_1/recurrent_bias").unwrap();
    assert!(read[second_bias.range.clone()].iter().all(|&x| x == 0.0), "Keras has one bias, the sum of both");
    // Those of Keras 2 have another ending and a repeated layer.
    for tensor in &mut tensors {
        let (layer, rest) = tensor.name.split_once('/').unwrap();
        tensor.name = format!("{layer}/{layer}/{rest}:0");
    }
    assert_eq!(bits(&graph, &load(&tensors, &graph, &Mapping::default()).unwrap()), bits(&graph, &read));
}

#[test]
fn a_tied_table_is_one_table() {
    let graph = graph(MODELS[5]);
    let mut tensors = export(&graph, &arena(&graph), Form::PyTorch, &Mapping::default()).unwrap();
    let names: Vec<&str> = tensors.iter().map(|t| t.name.as_str()).collect();
    assert!(names.contains(&"encoder.weight") && names.contains(&"decoder.weight"), "{names:?}");
    tensors.iter_mut().find(|t| t.name == "decoder.weight").unwrap().data[5] += 1.0;
    insta::assert_snapshot!(refused(&tensors, &graph), @"weights.safetensors: `decoder.weight` is not the table of `table`, to which layer `dense` is tied (describe the layer without tied_to)");
    tensors.retain(|t| t.name != "decoder.weight");
    assert_eq!(bits(&graph, &load(&tensors, &graph, &Mapping::default()).unwrap()), bits(&graph, &arena(&graph)));
}

#[test]
fn what_another_program_cannot_compute_is_refused() {
    let refuse = |layer: &str, form| {
        let layers = format!(
            r#"{{ type = "one_hot" }}, {{ {layer}, units = 2, return_sequences = true }}, {{ type = "dense" }}"#
        );
        let graph = graph(&layers);
        export(&graph, &arena(&graph), form, &Mapping::default()).unwrap_err().to_string()
    };
    insta::assert_snapshot!(refuse(r#"type = "gru", reset_after = false"#, Form::PyTorch), @"layer `gru`: PyTorch's layers have no gru with reset_after = false (leave it out, or exchange weights with Keras)");
    insta::assert_snapshot!(refuse(r#"type = "lstm", activation = "relu""#, Form::PyTorch), @"layer `lstm`: PyTorch's layers have no such activation (leave activation out, or exchange weights with Keras)");
    insta::assert_snapshot!(refuse(r#"type = "lstm", recurrent_activation = "hard_sigmoid""#, Form::PyTorch), @"layer `lstm`: PyTorch's layers have no such recurrent_activation (leave it out, or exchange weights with Keras)");
    insta::assert_snapshot!(refuse(r#"type = "lstm", peephole = true"#, Form::Keras), @"layer `lstm`: Keras' layers have no peephole (leave it out)");
}

#[test]
fn damaged_files_are_refused_before_anything_is_read() {
    let open = |bytes: &[u8]| match WeightFile::from_bytes("weights.h5", bytes.to_vec()) {
        Ok(_) => "accepted".to_owned(),
        Err(error) => error.to_string(),
    };
    let whole = bytes(&[numbered("a.weight", &[2, 3])]);
    assert_eq!(open(&whole), "accepted");
    insta::assert_snapshot!(open(b"\x89HDF\r\n\x1a\n and so on"), @"weights.h5, byte 0: is not a safetensors file: a header of 727905341903489161 bytes in a file of 18 (turn it into one by benches/peers/keras_weights.py)");
    insta::assert_snapshot!(open(&whole[..whole.len() - 1]), @"weights.h5, byte 95: is not a safetensors file: the tensors have 24 bytes, the file has 23 for them (turn it into one by benches/peers/keras_weights.py)");
    insta::assert_snapshot!(open(&whole[..7]), @"weights.h5, byte 7: is not a safetensors file: it has 7 bytes (turn it into one by benches/peers/keras_weights.py)");
    // A shape that is larger than the memory of any machine is no reason to ask for it.
    let header = r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4611686018427387904],"data_offsets":[0,0]}}"#;
    let huge = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    assert!(open(&huge).starts_with("weights.h5, byte 8: is not a safetensors file"), "{}", open(&huge));
}

fn vocabulary(contents: &str, level: Level) -> Result<Vocabulary> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.json");
    std::fs::write(&path, contents).unwrap();
    read_vocabulary(&path, &TextOptions::new(level))
}

#[test]
fn lists_in_json_are_read_in_the_order_of_ids() {
    let tokens = |known: &Vocabulary| known.iter().map(|(token, _)| token.to_owned()).collect::<Vec<_>>();
    let words = vocabulary(r#"["the", "<eos>", "cat"]"#, Level::Word).unwrap();
    assert_eq!(tokens(&words), ["the", "<eos>", "cat"]);
    assert_eq!((words.eos(), words.unknown()), (Some(1), None));
    let chars = vocabulary(r#"{"b": 0, "a": 2, "\n": 1}"#, Level::Char).unwrap();
    assert_eq!(tokens(&chars), ["b", "\n", "a"]);
    let keras = vocabulary(r#"{"b": 1, "a": 2}"#, Level::Char).unwrap();
    assert_eq!(tokens(&keras), ["\0", "b", "a"]);
    // And again from the file of a run.
    let again = vocabulary(&keras.to_file(), Level::Word).unwrap();
    assert_eq!(again.hash(), keras.hash());
}

#[test]
fn lists_with_gaps_are_refused() {
    let refused = |contents: &str| {
        let error = vocabulary(contents, Level::Char).unwrap_err().to_string();
        error.split_once("tokens.json: ").unwrap().1.to_owned()
    };
    insta::assert_snapshot!(refused(r#"{"b": 0, "a": 2}"#), @r#""a" has the id 2 where 1 is expected: ids go from 0 without gaps"#);
    insta::assert_snapshot!(refused(r#"{"b": 0, "a": 0}"#), @r#""b" has the id 0 where 1 is expected: ids go from 0 without gaps"#);
    insta::assert_snapshot!(refused(r#"["b", "b"]"#), @"2 tokens, only 1 of them different");
    insta::assert_snapshot!(refused(r#"["b", "ab"]"#), @r#"token 1: "ab" is more than one character, but the level is char"#);
    insta::assert_snapshot!(refused("[]"), @"there are no tokens");
    insta::assert_snapshot!(refused("b\na\n"), @r#"is neither a vocabulary nor a list of tokens in JSON (expected value at line 1 column 1) (give ["a", "b", ...] in the order of the ids, or {"a": 0, "b": 1, ...})"#);
}

/// The same model with other heads, and an arena in which each has the same weights.
fn with_heads(layers: &str) -> Vec<(Graph, Vec<f32>)> {
    let heads = ["softmax", "sampled_softmax", "nce"].map(|kind| {
        let text = format!("head = {{ kind = \"{kind}\" }}\nlayers = [{layers}]");
        let graph = Graph::new(&toml::from_str::<ModelConfig>(&text).unwrap(), VOCABULARY).unwrap();
        let mut params = arena(&graph);
        for spec in graph.params().iter().filter(|spec| spec.role == Role::WordKernel) {
            let [words, inputs] = spec.shape[..] else { panic!("{}", spec.name) };
            let own = params[spec.range.clone()].to_vec();
            (0..words * inputs).for_each(|i| params[spec.range.start + i] = own[i % inputs * words + i / inputs]);
        }
        (graph, params)
    });
    heads.into()
}

#[test]
fn heads_that_are_a_softmax_over_all_words_are_written_as_one() {
    for layers in MODELS.into_iter().filter(|layers| !layers.contains("time_distributed")) {
        let heads = with_heads(layers);
        let (plain, params) = &heads[0];
        let whole = onnx(plain, params, "model").unwrap();
        for (graph, params_by_words) in &heads[1..] {
            assert!(onnx(graph, params_by_words, "model").unwrap() == whole, "{layers}");
            for form in [Form::PyTorch, Form::Keras] {
                let expected = bytes(&export(plain, params, form, &Mapping::default()).unwrap());
                let found = export(graph, params_by_words, form, &Mapping::default()).unwrap();
                assert!(bytes(&found) == expected, "{form:?} {layers}");
                if form == Form::Keras && layers.contains("recurrent_bias") {
                    continue; // Keras has one bias
                }
                let read = load(&found, graph, &Mapping::default()).unwrap();
                assert_eq!(bits(graph, &read), bits(graph, params_by_words), "{form:?} {layers}");
            }
            let own = export(graph, params_by_words, Form::Unroll, &Mapping::default()).unwrap();
            let read = load(&own, graph, &Mapping::default()).unwrap();
            assert_eq!(bits(graph, &read), bits(graph, params_by_words), "{layers}");
            // Either reads the other's.
            assert_eq!(bits(plain, &load(&own, plain, &Mapping::default()).unwrap()), bits(plain, params), "{layers}");
            let read = load_own(own_file(plain, params), graph).unwrap();
            assert_eq!(bits(graph, &read), bits(graph, params_by_words), "{layers}");
        }
    }
}

#[test]
fn heads_that_part_the_words_are_exchanged_as_a_checkpoint_has_them() {
    for head in ["adaptive_softmax", "class_softmax", "hierarchical_softmax"] {
        let text = format!("head = {{ kind = \"{head}\" }}\nlayers = [{}]", MODELS[0]);
        let graph = Graph::new(&toml::from_str::<ModelConfig>(&text).unwrap(), VOCABULARY).unwrap();
        let arena = arena(&graph);
        let mut own = export(&graph, &arena, Form::Unroll, &Mapping::default()).unwrap();
        assert_eq!(bits(&graph, &load_own(own_file(&graph, &arena), &graph).unwrap()), bits(&graph, &arena));
        assert!(refused(&own, &graph).contains("does not say which words the weights of layer `dense` belong to"));
        // With other counts, the weights are of other words.
        let model = graph.config();
        let words = Words { counts: [1, 1, 50, 3, 1, 2, 9].into(), order: None };
        let other = Graph::with_words(model, words).unwrap();
        let error = load_own(own_file(&other, &vec![0.5; other.arena()]), &graph).unwrap_err().to_string();
        assert!(error.contains("words in another order or with other counts") && error.contains("--like"), "{error}");
        let error = export(&graph, &arena, Form::Keras, &Mapping::default()).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "Keras has no layer with the weights of the head {head} (--to unroll writes them as a checkpoint has them, --to onnx the whole model)"
            )
        );
        own.pop();
        let error = refused(&own, &graph);
        assert!(error.contains(head) && error.contains("--to unroll"), "{error}");
    }
}

#[test]
fn a_square_kernel_of_words_says_who_wrote_it() {
    let layers = r#"{ type = "embedding", output_dim = 7 }, { type = "dense", use_bias = false }"#;
    let (graph, params) = &with_heads(layers)[2];
    let keras = export(graph, params, Form::Keras, &Mapping::default()).unwrap();
    insta::assert_snapshot!(refused(&keras, graph), @"weights.safetensors: `dense/kernel` is square, and the file does not say whether each row is a word's or each column (`unroll export RUN --to unroll` writes a file that says it; --map dense=dense reads it as Keras wrote it)");
    let mapping = Mapping::parse(&["dense=dense".into()], &[]).unwrap();
    assert_eq!(bits(graph, &load(&keras, graph, &mapping).unwrap()), bits(graph, params));
    // Files that say it are read by every head.
    let layers = r#"{ type = "embedding", output_dim = 4 }, { type = "gru", units = 7, return_sequences = true }, { type = "dense" }"#;
    let heads = with_heads(layers);
    for ((from, theirs), (to, ours)) in heads.iter().flat_map(|from| heads.iter().map(move |to| (from, to))) {
        assert_eq!(bits(to, &load_own(own_file(from, theirs), to).unwrap()), bits(to, ours));
        let silent = export(from, theirs, Form::Unroll, &Mapping::default()).unwrap();
        assert!(refused(&silent, to).contains("is square"));
    }
}

/// An adaptive softmax without biases behind an embedding and an LSTM.
fn adaptive(head: &str, bias: &str, words: Option<Words>) -> Graph {
    let text = format!(
        r#"head = {{ {head} }}
        layers = [{{ type = "embedding", output_dim = 5 }}, {{ type = "lstm", units = 4, return_sequences = true }}, {{ type = "dense"{bias} }}]"#
    );
    let model: ModelConfig = toml::from_str(&text).unwrap();
    match words {
        Some(words) => Graph::with_words(&model, words).unwrap(),
        None => Graph::new(&model, VOCABULARY).unwrap(),
    }
}

const CUT: &str = "kind = 'adaptive_softmax', cutoffs = [2, 5], reduction = 2.0";

#[test]
fn an_adaptive_softmax_is_pytorchs_where_its_words_stand_by_frequency() {
    // Words 3 and 4 share a tail and are not in order.
    let counts = [90, 80, 60, 30, 40, 20, 10];
    let graph = adaptive(CUT, ", use_bias = false", Some(Words { counts: counts.into(), order: None }));
    let params = arena(&graph);
    let tensors = export(&graph, &params, Form::PyTorch, &Mapping::default()).unwrap();
    let of = |name: &str| tensors.iter().find(|tensor| tensor.name == format!("decoder.{name}")).unwrap();
    let own =
        |name: &str| &params[graph.params().iter().find(|s| s.name == format!("dense/{name}")).unwrap().range.clone()];
    let shapes = ["head.weight", "tail.0.0.weight", "tail.0.1.weight", "tail.1.0.weight", "tail.1.1.weight"];
    assert_eq!(shapes.map(|name| of(name).shape.clone()), [[4, 4], [2, 4], [3, 2], [1, 4], [2, 1]]);
    for k in 0..4 {
        assert_eq!(
            [0, 3].map(|row| of("head.weight").data[row * 4 + k]),
            [0, 3].map(|column| own("kernel")[k * 4 + column])
        );
        assert_eq!(of("tail.0.0.weight").data[4 + k], own("tail_0_projection")[k * 2 + 1]);
    }
    for k in 0..2 {
        // Rows of the words 2, 3, 4, which have the ranks 2, 4, 3.
        let rows = [0, 1, 2].map(|row| of("tail.0.1.weight").data[row * 2 + k]);
        assert_eq!(rows, [0, 2, 1].map(|place| own("tail_0_kernel")[k * 3 + place]));
    }
    let mut read = load(&tensors, &graph, &Mapping::default()).unwrap();
    assert_eq!(bits(&graph, &read), bits(&graph, &params));
    let renamed = Mapping::parse(&["dense=out".into()], &[]).unwrap();
    read = load(&export(&graph, &params, Form::PyTorch, &renamed).unwrap(), &graph, &renamed).unwrap();
    assert_eq!(bits(&graph, &read), bits(&graph, &params));
    // To another model they are dense layers of these names.
    let dense = self::graph(
        r#"{ type = "one_hot" }, { type = "dense", name = "head", units = 4, use_bias = false }, { type = "dense", use_bias = false }"#,
    );
    let named = [numbered("net.head.weight", &[4, VOCABULARY]), numbered("net.tail.0.0.weight", &[VOCABULARY, 4])];
    assert!(load(&named, &dense, &Mapping::default()).is_ok());
    let lacks: Vec<NamedTensor> = tensors.iter().filter(|tensor| !tensor.name.contains("tail.1.1")).cloned().collect();
    insta::assert_snapshot!(refused(&lacks, &graph), @"weights.safetensors: the tensor `decoder.tail.1.1.weight` [2, 1] of layer `dense` is missing (describe the model with its cutoffs)");
    let other = adaptive("kind = 'adaptive_softmax', cutoffs = [3, 5], reduction = 2.0", ", use_bias = false", None);
    insta::assert_snapshot!(refused(&tensors, &other), @"weights.safetensors: `decoder.head.weight` is F32 [4, 4], but layer `dense` of the model has F32 [5, 4] there (describe the model with its sizes)");
}

#[test]
fn an_adaptive_softmax_that_is_not_pytorchs_is_refused() {
    let refuse = |head: &str, bias: &str, counts: Option<[u64; VOCABULARY]>| {
        let graph = adaptive(head, bias, counts.map(|counts| Words { counts: counts.into(), order: None }));
        export(&graph, &arena(&graph), Form::PyTorch, &Mapping::default()).unwrap_err().to_string()
    };
    let bare = ", use_bias = false";
    insta::assert_snapshot!(refuse("kind = 'adaptive_softmax'", bare, None), @"layer `dense`: PyTorch's adaptive softmax has tails of one cluster each (set model.head.cutoffs, or exchange it by --to unroll, or as a whole by --to onnx)");
    insta::assert_snapshot!(refuse(CUT, "", None), @"layer `dense`: PyTorch's adaptive softmax has no biases in its tails (set use_bias = false on the layer, or exchange it by --to unroll, or as a whole by --to onnx)");
    insta::assert_snapshot!(refuse(CUT, bare, Some([90, 10, 60, 30, 40, 20, 80])), @"layer `dense`: PyTorch's adaptive softmax parts the words by their numbers, and word 1 has rank 6 by frequency (number the words by their frequency, or exchange it by --to unroll, or as a whole by --to onnx)");
    insta::assert_snapshot!(refuse("kind = 'class_softmax'", bare, None), @"layer `dense`: PyTorch's adaptive softmax is no class_softmax (use another head, or exchange it by --to unroll, or as a whole by --to onnx)");
    insta::assert_snapshot!(refuse("kind = 'hierarchical_softmax'", bare, None), @"layer `dense`: PyTorch's adaptive softmax is no hierarchical_softmax (use another head, or exchange it by --to unroll, or as a whole by --to onnx)");
}
