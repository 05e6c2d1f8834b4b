//! Texts that a model cannot read, and words that it does not know, as users of the command meet them: in predictions, evaluations and
//! training files.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::Place;
use serde_json::json;

/// A classifier of a few steps.
const CLASSIFIER: &str = r#"
[data]
valid_fraction = 0
[task]
kind = "classify"
[model.graph]
layers = [
  { type = "embedding", output_dim = 4, mask_zero = true },
  { type = "gru", units = 4 },
  { type = "dense", activation = "softmax" },
]
[train]
batch = 4
epochs = 1
"#;

const MESSAGES: &str = "ham\tsee you at home\nspam\twin a prize\nham\tlunch at home\nspam\tclaim a prize\n";

/// Trains with this configuration and these samples in `data.EXT`.
fn train(place: &Place, config: &str, (file, data): (&str, &str)) {
    place.file("run.toml", config);
    place.file(file, data);
    place.ok(&["train", "--config", "run.toml", "--data", file, "--out", "run"]);
}

#[test]
fn a_blank_sentence_has_no_tags_and_the_others_keep_theirs() {
    let place = Place::new();
    let word = |n: usize, word: &str, tag: &str| format!("{n}\t{word}\t_\t{tag}\t_\t_\t_\t_\t_\t_\n");
    let data = [word(1, "the", "DET"), word(2, "cat", "NOUN"), "\n".to_owned(), word(1, "a", "DET")].concat();
    let layers = CLASSIFIER.replace("units = 4 }", "units = 4, return_sequences = true }");
    train(&place, &layers.replace("classify", "tag"), ("data.conllu", &data));
    for blank in ["", "   "] {
        assert_eq!(place.ok(&["predict", "run", "--text", blank, "--words"]), "\n");
        assert_eq!(place.ok(&["predict", "run", "--text", blank]), "\n");
    }
    let lines = place.ok_with(&["predict", "run"], "the cat\n\na cat\n");
    let words: Vec<usize> = lines.lines().map(|line| line.split_whitespace().count()).collect();
    assert_eq!(words, [2, 0, 2], "{lines}");
    let told = place.json(&["predict", "run", "--text", "the", "--text", " ", "--json"]);
    assert_eq!(told[0]["words"][0]["word"], "the");
    assert_eq!(told[1], json!({ "words": [], "unread": "no word that the model can read" }));
}

#[test]
fn a_text_that_no_class_is_said_of_is_named_and_the_others_keep_theirs() {
    let place = Place::new();
    train(&place, CLASSIFIER, ("data.tsv", MESSAGES));
    let known = place.ok(&["predict", "run", "--text", "a prize"]);
    let lines = place.ok_with(&["predict", "run"], "\na prize\n!!!\nqqqq zzzz\n");
    let lines: Vec<&str> = lines.lines().collect();
    let why = "no word that the model can read";
    assert_eq!(lines[0], format!("-\t{why}\t"));
    assert_eq!(lines[1], known.trim_end());
    assert_eq!(lines[2..], [format!("-\t{why}\t!!!"), format!("-\t{why}\tqqqq zzzz")]);
    let told = &place.json(&["predict", "run", "--text", "!!!", "--json"])[0];
    assert_eq!(*told, json!({ "text": "!!!", "known_words": 0, "class": null, "unread": why }));
}
