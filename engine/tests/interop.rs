//! Weights that come from elsewhere and go there, as users of the command meet them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use common::{Place, text};
use serde_json::Value;
use unroll::graph::{Graph, ModelConfig};
use unroll::interop::{Form, Mapping, WeightFile, export};

/// A language model that learns in a moment.
const MODEL: [&str; 8] = ["--rnn-size", "12", "--num-layers", "2", "--emsize", "6", "--model", "gru"];

fn verses() -> String {
    "the quick brown fox jumps over the lazy dog\n".repeat(100)
}

/// A place with a run of a text.
fn trained() -> Place {
    let place = Place::new();
    place.file("verses.txt", verses());
    let train = ["train", "--data", "verses.txt", "--batch", "4", "--bptt", "20", "--epochs", "2", "--out", "run"];
    place.ok(&[&train[..], &MODEL, &["--sample-length", "5"]].concat());
    place
}

fn json(place: &Place, arguments: &[&str]) -> Value {
    serde_json::from_str(&place.ok(arguments)).unwrap()
}

/// The tokens of a run's vocabulary as a JSON array.
fn tokens(place: &Place, run: &str) -> String {
    let file = text(&place.read(&format!("{run}/vocabulary")));
    let lines = file.split_once("\n\n").unwrap().1.lines();
    let unescaped = |token: &str| token.replace("\\n", "\n").replace("\\u{20}", " ");
    let tokens: Vec<String> = lines.map(|line| unescaped(line.split_once('\t').unwrap().1)).collect();
    serde_json::to_string(&tokens).unwrap()
}

#[test]
fn a_model_goes_to_pytorch_and_comes_back() {
    let place = trained();
    let eval = |run: &str| json(&place, &["eval", run, "--data", "verses.txt", "--json"]);
    for to in ["pytorch", "keras", "unroll"] {
        place.ok(&["export", "run", "--to", to, "--out", "there.safetensors"]);
        let back = format!("back-{to}");
        let told = json(&place, &["import", "there.safetensors", "--like", "run", "--out", &back, "--json"]);
        assert_eq!(told["layers"].as_object().unwrap().len(), 4, "{told}");
        assert_eq!(eval(&back), eval("run"), "{to}");
        place.ok(&["export", &back, "--to", to, "--out", "again.safetensors"]);
        assert_eq!(place.read("again.safetensors"), place.read("there.safetensors"), "{to}");
    }
    let generate = |run| place.ok(&["generate", run, "--length", "40", "--seed", "7"]);
    assert_eq!(generate("back-pytorch"), generate("run"));

    // It learns more from a text, in its own tokens, and can be stopped and resumed as any other run.
    place.file("more.txt", verses().replace("fox", "dog"));
    insta::assert_snapshot!(place.refused(&["train", "--resume", "back-keras", "--data", "verses.txt", "--level", "byte"]), @"2: error: --level: the tokens were fixed when the weights were imported");
    let more = ["train", "--resume", "back-keras", "--data", "more.txt", "--epochs", "2", "--sample-length", "5"];
    let learned = place.ok(&more);
    assert!(learned.contains("best validation loss"), "{learned}");
    assert_eq!(tokens(&place, "back-keras"), tokens(&place, "run"));
    place.ok(&["train", "--resume", "back-keras", "--epochs", "3"]);
}

#[test]
fn a_model_of_others_needs_its_tokens_and_its_names() {
    let place = trained();
    place.ok(&["export", "run", "--out", "theirs.safetensors"]);
    place.file("tokens.json", tokens(&place, "run"));
    let import = |more: &[&str]| {
        let all: Vec<String> = ["import", "theirs.safetensors", "--out", "new"]
            .into_iter()
            .chain(more.iter().copied())
            .map(str::to_owned)
            .collect();
        all
    };
    let refused = |more: &[&str]| {
        let refused = place.refused(&import(more).iter().map(String::as_str).collect::<Vec<_>>());
        assert!(!place.exists("new"), "what was refused leaves no folder");
        refused
    };
    insta::assert_snapshot!(refused(&MODEL), @"2: error: the tokens of the model are not given (give them by --vocabulary FILE, or name a run with the same ones by --like RUN)");
    let known = |more: &[&'static str]| [&["--vocabulary", "tokens.json"], more].concat();
    insta::assert_snapshot!(refused(&known(&["--model", "gru", "--rnn-size", "13", "--num-layers", "2", "--emsize", "6"])), @"3: error: theirs.safetensors: `rnn.weight_ih_l0` is F32 [36, 6], but layer `gru` of the model has F32 [39, 6] there (describe the model with its sizes)");
    insta::assert_snapshot!(refused(&known(&["--model", "gru", "--rnn-size", "12", "--num-layers", "1", "--emsize", "6"])), @"3: error: theirs.safetensors: the model has no place for `rnn.bias_hh_l1` F32 [36] (and 3 more) (describe the model as it is, or leave it out with --ignore rnn.bias_hh_l1)");
    insta::assert_snapshot!(refused(&known(&["--model", "gru", "--rnn-size", "12", "--num-layers", "2"])), @"3: error: theirs.safetensors: `rnn.weight_ih_l0` is F32 [36, 6], but layer `gru` of the model has F32 [36, 28] there (describe the model with its sizes)");
    insta::assert_snapshot!(refused(&known(&[&MODEL[..], &["--map", "gru=rnn.l7"]].concat())), @"2: error: --map: there is no `rnn.l7` in theirs.safetensors (it has `decoder` [28, 12], `encoder` [28, 6], `rnn.l0` [36, 6], `rnn.l1` [36, 12])");
    insta::assert_snapshot!(refused(&known(&[&MODEL[..], &["--set", "model.reset_after=false"]].concat())), @"2: error: layer `gru`: PyTorch's layers have no gru with reset_after = false (leave it out, or exchange weights with Keras)");

    let done = import(&known(&MODEL));
    let told = place.ok(&done.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(told.contains("gru_1") && told.contains("rnn.l1"), "{told}");
    let eval = |run: &str| json(&place, &["eval", run, "--data", "verses.txt", "--json"]);
    assert_eq!(eval("new"), eval("run"));
    insta::assert_snapshot!(place.refused(&["train", "--resume", "new"]), @"2: error: --data: the model has a vocabulary and no text yet (name a text to train it on)");

    // Training may begin with them at once, in a vocabulary that the text gives.
    let begin = ["train", "--data", "verses.txt", "--batch", "4", "--bptt", "20", "--epochs", "1", "--out", "begun"];
    let begin = [&begin[..], &MODEL, &["--init-weights", "theirs.safetensors", "--sample-length", "5"]].concat();
    place.ok(&begin);
    let small = ["train", "--data", "verses.txt", "--batch", "4", "--bptt", "20", "--map", "gru=rnn", "--out", "x"];
    insta::assert_snapshot!(place.refused(&small), @"2: error: --map and --ignore are about the names in --init-weights, which is not given");
}

#[test]
fn a_classifier_comes_back_with_its_classes() {
    let place = Place::new();
    let message = |i: usize| {
        if i.is_multiple_of(3) { format!("spam\twin a prize {i}\n") } else { format!("ham\tsee you at home {i}\n") }
    };
    place.file("messages.tsv", (0..60).map(message).collect::<String>());
    place.file(
        "run.toml",
        r#"
        [task]
        [model.graph]
        layers = [
          { type = "embedding", output_dim = 4, mask_zero = true },
          { type = "bidirectional", layer = { type = "lstm", units = 3 } },
          { type = "dense", units = 4, activation = "relu" },
          { type = "dense", activation = "softmax" },
        ]
        [train]
        batch = 8
        epochs = 2
        "#,
    );
    place.ok(&["train", "--config", "run.toml", "--data", "messages.tsv", "--out", "run"]);
    place.ok(&["export", "run", "--out", "there.safetensors"]);
    place.ok(&["import", "there.safetensors", "--like", "run", "--out", "back"]);
    let predict = |run| place.ok(&["predict", run, "--text", "win at home", "--json"]);
    assert_eq!(predict("back"), predict("run"));
    place.ok(&["train", "--resume", "back", "--epochs", "1"]);
    place.file("other.tsv", "eggs\tbacon\nham\tand\neggs\tmore\nham\twhat\nham\twho\neggs\twhy\nham\tso\n".repeat(5));
    place.ok(&["import", "there.safetensors", "--like", "run", "--out", "other"]);
    let other = place.refused(&["train", "--resume", "other", "--data", "other.tsv", "--epochs", "1"]);
    assert!(other.starts_with("2: error: "), "{other}");
    insta::assert_snapshot!(place.refused(&["import", "there.safetensors", "--config", "run.toml", "--out", "x"]), @"2: error: the classes and words of the model are not given (name a run with the same ones by --like RUN)");
}

/// The LSTM within a network of convolutions that detects voices (Silero VAD 16k), as its authors published it.
#[test]
fn a_published_cell_is_read_without_loss_and_what_surrounds_it_refused() {
    let Some(data) = std::env::var_os("UNROLL_DATA") else {
        println!("SKIPPED: UNROLL_DATA names no folder");
        return;
    };
    let path = Path::new(&data).join("pretrained/silero-vad/silero_vad_16k.safetensors");
    if !path.exists() {
        println!("SKIPPED: there is no {}", path.display());
        return;
    }
    let model: ModelConfig = toml::from_str(
        r#"layers = [{ type = "input", width = 128 }, { type = "lstm", name = "lstm_cell", units = 128, recurrent_bias = true }]"#,
    )
    .unwrap();
    let graph = Graph::with_classes(&model, 1, &[128]).unwrap();
    let mut params = vec![0.0; graph.arena()];
    let mut file = WeightFile::open(&path).unwrap();
    let refused = file.load(&graph, &Mapping::default(), &mut params).unwrap_err().to_string();
    assert!(refused.contains("no place for `conv1.bias` F32 [128] (and 10 more)"), "{refused}");
    let ignore = ["conv", "stft_conv", "final_conv"].map(String::from);
    file.load(&graph, &Mapping::parse(&[], &ignore).unwrap(), &mut params).unwrap();
    let written = export(&graph, &params, Form::PyTorch, &Mapping::default()).unwrap();
    assert_eq!(written.len(), 4);
    for tensor in written {
        assert_eq!(file.read(tensor.name.trim_end_matches("_l0")).unwrap(), tensor.data, "{}", tensor.name);
    }
}

#[test]
fn models_with_other_heads_are_exchanged() {
    let place = Place::new();
    place.file("verses.txt", verses());
    let eval = |run: &str| json(&place, &["eval", run, "--data", "verses.txt", "--json"]);
    for head in ["nce", "adaptive_softmax", "hierarchical_softmax"] {
        let train =
            ["train", "--data", "verses.txt", "--level", "word", "--batch", "4", "--bptt", "10", "--epochs", "1"];
        let more = ["--head", head, "--out", head, "--sample-length", "5"];
        place.ok(&[&train[..], &MODEL, &more].concat());
        place.ok(&["export", head, "--out", "model.onnx"]);
        let forms: &[&str] = if head == "nce" { &["pytorch", "keras", "unroll"] } else { &["unroll"] };
        for to in forms {
            place.ok(&["export", head, "--to", to, "--out", "there.safetensors"]);
            let back = format!("{head}-{to}");
            place.ok(&["import", "there.safetensors", "--like", head, "--out", &back]);
            assert_eq!(eval(&back), eval(head), "{head} {to}");
        }
    }
    // Trained with noise, it is the softmax of the same weights.
    place.ok(&["export", "nce", "--out", "there.safetensors"]);
    let like = ["--like", "nce", "--head", "softmax", "--out", "plain"];
    place.ok(&[&["import", "there.safetensors"][..], &like].concat());
    let loss = |run| eval(run)["loss"].as_f64().unwrap();
    assert!((loss("plain") - loss("nce")).abs() < 1e-6, "{} {}", loss("plain"), loss("nce"));
    insta::assert_snapshot!(place.refused(&["export", "hierarchical_softmax", "--out", "x.safetensors"]), @"2: error: layer `dense`: PyTorch's adaptive softmax is no hierarchical_softmax (use another head, or exchange it by --to unroll, or as a whole by --to onnx)");
}
