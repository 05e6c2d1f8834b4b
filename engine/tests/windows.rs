//! Models that read windows of a running text, as users of the command meet them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::{Place, verses};

/// The neural probabilistic language model in a moment: the recipe's layers narrowed, the rest its own.
const SMALL: &str = r#"
[data]
level = "word"
[model.graph]
input_length = 3
layers = [
  { type = "embedding", output_dim = 8 },
  { type = "reshape", target_shape = [24] },
  { type = "dense", name = "hidden", units = 6, activation = "tanh" },
  { type = "dense", name = "pre_output_1" },
  { type = "dense", name = "pre_output_2", inputs = ["reshape"] },
  { type = "add", inputs = ["pre_output_1", "pre_output_2"] },
  { type = "activation", activation = "softmax" },
]
[train]
batch = 16
epochs = 2
[optimizer]
rule = "sgd"
lr = 0.5
clip_norm = 0.0
[sample]
length = 9
"#;

fn place() -> Place {
    let place = Place::new();
    place.file("small.toml", SMALL);
    place.file("verses.txt", verses());
    place
}

const TRAIN: [&str; 5] = ["train", "--config", "small.toml", "--data", "verses.txt"];

#[test]
fn a_text_is_learned_scored_and_gone_on_with() {
    let place = place();
    let said = place.ok(&[&TRAIN[..], &["--out", "run"]].concat());
    // Lines of ten tokens with their ends; the last twentieth validates.
    assert!(said.contains("16 windows of 3 words") && said.contains("3,000 words, 10 different"), "{said}");
    let greedy = ["generate", "run", "--prompt", "the quick", "--length", "7", "--temperature", "0"];
    assert_eq!(place.ok(&greedy).trim_end(), "the quick brown fox jumps over the lazy dog");
    assert_eq!(place.ok(&["generate", "run", "--length", "3", "--temperature", "0"]).trim_end(), "the quick brown");
    let score = |data: &[&str]| place.json(&[&["eval", "run", "--json"], data].concat())[0].clone();
    let own = score(&[]);
    assert_eq!(own["tokens"], 150, "the last twentieth of the text");
    assert!(own["perplexity"].as_f64().unwrap() < 1.3, "{own}");
    place.file("other.txt", "the lazy dog\n");
    let (one, two) = (score(&["--data", "other.txt"]), score(&["--data", "other.txt", "--batch", "1"]));
    assert_eq!((&one["tokens"], &one["loss"]), (&4.into(), &two["loss"]), "every word, and the end of the line");
}

#[test]
fn the_bytes_depend_neither_on_threads_nor_on_where_a_run_was_broken_off() {
    let place = place();
    let run = |name: &str, more: &[&str]| place.ok(&[&TRAIN[..], &["--out", name], more].concat());
    let checkpoint = |run: &str| {
        let path = place.path().join(run).join("checkpoints");
        let mut steps: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        steps.sort();
        std::fs::read(steps.last().unwrap().join("weights.safetensors")).unwrap()
    };
    run("one", &["--threads", "1"]);
    run("three", &["--threads", "3"]);
    run("broken", &["--epochs", "1"]);
    place.ok(&["train", "--resume", "broken", "--epochs", "2"]);
    let bytes = checkpoint("one");
    assert!(checkpoint("three") == bytes && checkpoint("broken") == bytes);
    run("other", &["--seed", "7"]);
    assert!(checkpoint("other") != bytes);
}

#[test]
fn what_is_about_streams_is_refused() {
    let place = place();
    place.file("one.txt", "a");
    let input = "type = \"reshape\", target_shape = [24]";
    let loose = SMALL.replace("input_length = 3", "").replace(input, "type = \"lstm\", name = \"reshape\", units = 3");
    place.file("loose.toml", loose);
    place.ok(&[&TRAIN[..], &["--out", "run", "--max-steps", "3"]].concat());
    let train = |more: &[&'static str]| [&TRAIN[..], &["--out", "no"], more].concat();
    let refused = [
        train(&["--seq-length", "9"]),
        train(&["--set", "train.variable_bptt=true"]),
        train(&["--set", "sample.state=carried"]),
        vec![
            "train",
            "--config",
            "small.toml",
            "--data",
            "one.txt",
            "--out",
            "no",
            "--set",
            "data.prepare.join_lines=true",
        ],
        vec!["train", "--config", "loose.toml", "--data", "verses.txt", "--out", "no"],
        vec!["eval", "run", "--data", "verses.txt", "--per-line"],
        vec!["eval", "run", "--warmup", "9"],
    ];
    let said: Vec<String> = refused.iter().map(|arguments| place.refused(arguments)).collect();
    insta::assert_snapshot!(said.join("\n"), @"
    2: error: --seq-length: must be what model.graph.input_length says, 3, got 9
    2: error: train.variable_bptt: applies to streams, and this model reads windows (leave it out)
    2: error: sample.state: is set to carried, and a model of windows carries no state (leave it out)
    3: error: one.txt: 0 tokens of text have none to predict (give a longer text)
    2: error: this model gives one output a text, not one a token (let its recurrent layers return sequences, or set model.graph.input_length for windows of that many tokens)
    2: error: --per-line: needs a carried state, and this model reads windows of a text (leave it out, and score the text as a whole)
    2: error: --warmup: is for models that carry a state; this one reads windows of a text
    ");
}
