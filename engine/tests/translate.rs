//! Pairs of texts as users of the command meet them: an encoder and a decoder are trained, searched and refused.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::Place;

/// Learns in a moment to write digits in the reverse order.
const REVERSE: &str = r#"
[data]
valid_fraction = 0.1
test_fraction = 0.1
[task]
kind = "translate"
[task.prepare]
char_level = true
[model.graph]
layers = [
  { type = "embedding", name = "read", inputs = ["source"], output_dim = 12, mask_zero = true },
  { type = "gru", name = "encoder", units = 48 },
  { type = "embedding", name = "written", inputs = ["sequence"], output_dim = 12, mask_zero = true },
  { type = "gru", units = 48, return_sequences = true, initial_state = ["encoder"] },
  { type = "dense", activation = "softmax" },
]
[train]
batch = 32
epochs = 25
[optimizer]
lr = 0.01
"#;

/// Strings of two and three of five digits, and what they are the other way round.
fn pairs() -> String {
    let mut text = String::new();
    for i in 0..400usize {
        let length = 2 + i % 2;
        let digits: String =
            (0..length).map(|k| char::from(b'1' + ((i * 131 + 17) / 5usize.pow(k as u32) % 5) as u8)).collect();
        let reversed: String = digits.chars().rev().collect();
        text += &format!("{digits}\t{reversed}\n");
    }
    text
}

#[test]
fn digits_are_learned_to_be_written_in_reverse() {
    let place = Place::new();
    place.file("pairs.tsv", pairs());
    place.file("run.toml", REVERSE);
    let events = place.json(&["train", "--config", "run.toml", "--data", "pairs.tsv", "--out", "run", "--json"]);
    let test = events.iter().find(|event| event["event"] == "scored" && event["data"] == "test").unwrap();
    assert!(test["figures"]["exact"].as_f64().unwrap() > 0.9, "{test}");

    // What a beam finds is at least as likely as what is found greedily.
    let [greedy, beam] = ["1", "4"].map(|beam| {
        let said = place.json(&["predict", "run", "--text", "153", "--text", "54", "--beam", beam, "--json"]);
        said.iter()
            .map(|found| (found["text"].as_str().unwrap().to_owned(), found["ln_p"].as_f64().unwrap()))
            .collect::<Vec<_>>()
    });
    assert_eq!((greedy[0].0.as_str(), greedy[1].0.as_str()), ("351", "45"));
    assert!(greedy.iter().zip(&beam).all(|(greedy, beam)| beam.1 >= greedy.1 - 1e-5), "{greedy:?} {beam:?}");
    // The same alone as beside a longer text.
    assert_eq!(place.ok(&["predict", "run", "--text", "54"]).trim(), "45");
    assert_eq!(place.ok_with(&["predict", "run"], "111\n321\n"), "111\n123\n");
    let again = &place.json(&["eval", "run", "--json"])[0];
    assert_eq!(again["figures"], test["figures"]);
    let table = place.ok(&["summary", "run"]);
    assert!(table.contains("source") && table.contains("encoder"), "{table}");
}

#[test]
fn a_run_that_goes_on_learns_what_the_unbroken_one_does() {
    let place = Place::new();
    place.file("pairs.tsv", pairs());
    place.file("run.toml", REVERSE);
    let train = |out: &str, epochs: &str| {
        place.ok(&["train", "--config", "run.toml", "--data", "pairs.tsv", "--out", out, "--epochs", epochs]);
    };
    train("whole", "2");
    train("parts", "1");
    place.ok(&["train", "--resume", "parts", "--epochs", "2"]);
    let [whole, parts] = ["whole", "parts"].map(|run| place.ok(&["predict", run, "--text", "123", "--json"]));
    assert_eq!(whole, parts);
}

#[test]
fn pairs_are_read_from_every_form_and_what_does_not_fit_is_named() {
    let place = Place::new();
    let train = |config: &str, data: &str| {
        place.file("run.toml", config);
        place.refused(&["train", "--config", "run.toml", "--data", data])
    };
    let names = |error: &str, parts: &[&str]| assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    place.file("pairs.tsv", "12\t21\n13\n");
    names(&train(REVERSE, "pairs.tsv"), &["pairs.tsv", "line 2", "1 fields"]);
    place.file("pairs.tsv", "12\t21\n \t31\n");
    names(&train(REVERSE, "pairs.tsv"), &["pairs.tsv", "line 2", "the source is empty"]);
    place.file("pairs.jsonl", "{\"source\": \"12\", \"text\": \"21\"}\n{\"text\": \"21\"}\n");
    names(&train(REVERSE, "pairs.jsonl"), &["pairs.jsonl", "line 2", "no `source`"]);
    place.file("pairs.tsv", pairs());
    names(
        &train(
            &REVERSE.replace("12, mask_zero = true },\n  { type = \"gru\", name", "12 },\n  { type = \"gru\", name"),
            "pairs.tsv",
        ),
        &["padding of its source", "mask_zero"],
    );
    names(&train(&REVERSE.replace("inputs = [\"source\"], ", ""), "pairs.tsv"), &["takes no source"]);
    names(&train(&REVERSE.replace("\"translate\"", "\"next\""), "pairs.tsv"), &["reads a `source`", "translate"]);
}

#[test]
fn characters_are_called_so() {
    let place = Place::new();
    place.file("pairs.tsv", pairs());
    place.file("run.toml", REVERSE.replace("epochs = 25", "epochs = 1"));
    let told = place.ok(&["train", "--config", "run.toml", "--data", "pairs.tsv", "--out", "run"]);
    assert!(told.contains(" characters\n") && told.contains(" bits/char") && !told.contains("words"), "{told}");
}
