//! Labelled samples as users of the command meet them: training, scoring, predicting, going on, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::Place;
use serde_json::Value;

/// A classifier that learns in no time.
const CLASSIFIER: &str = r#"
[data]
valid_fraction = 0.2
test_fraction = 0.2
[task]
threshold = "f1"
[task.prepare]
maxlen = 12
ascii = true
[model.graph]
loss = "binary_cross_entropy"
layers = [
  { type = "embedding", output_dim = 8, mask_zero = true },
  { type = "dropout", rate = 0.1 },
  { type = "bidirectional", layer = { type = "lstm", units = 6 } },
  { type = "dense", units = 1, activation = "sigmoid" },
]
[train]
batch = 16
epochs = 6
[optimizer]
lr = 0.02
"#;

const CLASSES: &str = r#"
[task]
class_weights = "balanced"
[model.graph]
layers = [
  { type = "embedding", output_dim = 8, mask_zero = true },
  { type = "gru", units = 8 },
  { type = "dense", activation = "softmax" },
]
[train]
batch = 16
epochs = 6
[optimizer]
lr = 0.02
"#;

const TAGGER: &str = r#"
[task]
kind = "tag"
word_dropout = 0.3
[model.graph]
layers = [
  { type = "embedding", output_dim = 8, mask_zero = true },
  { type = "bidirectional", layer = { type = "lstm", units = 12, return_sequences = true } },
  { type = "dense", activation = "softmax" },
]
[train]
batch = 16
epochs = 8
[optimizer]
lr = 0.02
"#;

const WORDS: [[&str; 6]; 3] = [
    ["lunch", "home", "later", "thanks", "sorry", "tomorrow"],
    ["win", "prize", "free", "call", "claim", "cash"],
    ["goal", "match", "team", "league", "coach", "score"],
];

/// Messages of `classes` classes, each of two words of its class among some that all share; the later classes are rarer.
fn messages(classes: usize) -> String {
    let names = ["ham", "spam", "sport"];
    let mut text = String::new();
    for i in 0..240 {
        let class = if i % 4 == 0 { 1 + i / 4 % (classes - 1) } else { 0 };
        let word = |k: usize| WORDS[class][(i * 7 + k * 5) % 6];
        text += &format!("{}\tplease {} the {} now {i}\n", names[class], word(0), word(1));
    }
    text
}

fn figure<'v>(events: &'v [Value], data: &str) -> &'v Value {
    let event = events.iter().find(|event| event["event"] == "scored" && event["data"] == data);
    event.unwrap_or_else(|| panic!("no score of the {data}"))
}

#[test]
fn a_filter_is_trained_scored_and_used() {
    let place = Place::new();
    place.file("messages.tsv", messages(2));
    place.file("run.toml", CLASSIFIER);
    let train = ["train", "--config", "run.toml", "--data", "messages.tsv", "--out", "run", "--json"];
    let events = place.json(&train);
    let measured = events.iter().filter(|event| event["event"] == "measured").count();
    assert_eq!(measured, 6, "figures each epoch");
    let test = figure(&events, "test");
    assert!(test["figures"]["f1"].as_f64().unwrap() > 0.9, "{test}");
    let counts: Vec<u64> = test["confusion"]["counts"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .map(|n| n.as_u64().unwrap())
        .collect();
    assert_eq!(counts.iter().sum::<u64>(), 48, "a fifth of 240");
    assert_eq!(counts[2] + counts[3], 12, "each class is shared out alike");
    assert!(String::from_utf8(place.read("run/metrics.jsonl")).unwrap().contains("\"kind\":\"measured\""));

    // The run's own test samples give the same figures again; a file of its own is scored too.
    let again = &place.json(&["eval", "run", "--json"])[0];
    assert_eq!((&again["figures"], &again["confusion"]), (&test["figures"], &test["confusion"]));
    place.file("other.tsv", "spam\twin the prize\nham\tsorry lunch tomorrow\n");
    let other = place.ok(&["eval", "run", "--data", "other.tsv"]);
    assert!(
        other.contains("other.tsv: 2 scored, accuracy 100.00 %") && other.contains("true \\ predicted   ham   spam"),
        "{other}"
    );

    // A prompt is prepared as the training texts were, accents and capitals away, one by one or in lines.
    let prompt = &place.json(&["predict", "run", "--text", "CLAIM the frée Prize!", "--json"])[0];
    assert_eq!((&prompt["class"], &prompt["known_words"]), (&"spam".into(), &4.into()));
    let same = &place.json(&["predict", "run", "--text", "claim the free prize", "--json"])[0];
    assert_eq!(prompt["probabilities"], same["probabilities"]);
    let lines = place.ok_with(&["predict", "run"], "thanks, later\nfree cash\n");
    let classes: Vec<&str> = lines.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(classes, ["ham", "spam"], "{lines}");
    let rows: Vec<_> = place.ok(&["summary", "run"]).lines().map(str::to_owned).collect();
    assert!(rows.iter().any(|row| row.contains("Bidirectional")), "{rows:?}");

    // What is none of it.
    insta::assert_snapshot!(place.refused(&["generate", "run"]), @"3: error: run: the run learned to classify and is not a language model (use `unroll predict`)");
    place.file("unknown.tsv", "ham\thello\neggs\tbacon\n");
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "unknown.tsv"]), @"3: error: unknown.tsv, line 2: the model does not know the label `eggs` (the model has ham, spam; fix the label, or train with it)");
    place.file("messages.tsv", messages(2).replace("lunch", "dinner"));
    let changed = place.refused(&["train", "--resume", "run", "--epochs", "7"]);
    assert!(
        changed.starts_with("2: error: the run cannot be resumed: the vocabulary is")
            && changed.contains("the corpus is"),
        "{changed}"
    );
    insta::assert_snapshot!(place.refused(&["eval", "run"]), @"3: error: run: the run's samples have changed since training (name the samples to score with --data)");
}

#[test]
fn several_classes_and_weights() {
    let place = Place::new();
    place.file("messages.tsv", messages(3));
    place.file("run.toml", CLASSES);
    let events = place.json(&["train", "--config", "run.toml", "--data", "messages.tsv", "--out", "run", "--json"]);
    let valid = figure(&events, "validation");
    assert!(valid["figures"]["macro_f1"].as_f64().unwrap() > 0.9, "{valid}");
    let lines = place.ok_with(&["predict", "run"], "the coach and the team\n");
    assert!(lines.starts_with("sport\t"), "{lines}");
    let binary = CLASSES
        .replace("[model.graph]", "[model.graph]\nloss = \"binary_cross_entropy\"")
        .replace("\"dense\",", "\"dense\", units = 1,")
        .replace("softmax", "sigmoid");
    place.file("binary.toml", binary);
    insta::assert_snapshot!(place.refused(&["train", "--config", "binary.toml", "--data", "messages.tsv", "--out", "other"]), @"2: error: binary_cross_entropy is for two classes, there are 3 (leave the loss out, and end the model in a dense layer without units)");
    insta::assert_snapshot!(place.refused(&["train", "--config", "run.toml", "--data", "messages.tsv", "--out", "other", "--set", "task.fold=3", "--set", "task.folds=3"]), @"2: error: --set task.fold: must be less than task.folds, got 3 of 3");
    assert!(!place.path().join("other").exists(), "a run that never began leaves no folder");
}

#[test]
fn weights_of_classes_are_a_word_or_a_table() {
    let place = Place::new();
    place.file("run.toml", CLASSES.replace("epochs = 6", "epochs = 1").replace("class_weights = \"balanced\"", ""));
    // Of 8 samples 6 are ham and 2 are spam: balanced they weigh 4/6 and 4/2.
    let rows: Vec<String> = (0..8).map(|i| format!("{}\tword{} and\n", ["ham", "spam"][i / 6], i % 3)).collect();
    place.file("few.tsv", rows.concat());
    let tags: Vec<String> =
        (0..8).map(|i| format!("1\tword{}\t_\t{}\t_\t_\t_\t_\t_\t_\n\n", i % 3, ["ham", "spam"][i / 6])).collect();
    place.file("few.conllu", tags.concat());
    place.file("tags.toml", TAGGER.replace("epochs = 8", "epochs = 1"));
    for (data, config) in [("few.tsv", "run.toml"), ("few.conllu", "tags.toml")] {
        let train =
            ["train", "--config", config, "--data", data, "--set", "data.valid_fraction=0", "--seed", "3", "--out"];
        let learned = |name: &str, more: &[&str]| {
            let out = format!("{data}-{name}");
            place.ok(&[&train[..], &[&out], more].concat());
            place.ok(&["predict", &out, "--text", "word1", "--json"])
        };
        let balanced = learned("balanced", &["--set", "task.class_weights=balanced"]);
        let table = "task.class_weights={ ham = 0.6666666666666666, spam = 2 }";
        assert_eq!(learned("table", &["--set", table]), balanced);
        let (one, other) = ("task.class_weights.ham=0.6666666666666666", "task.class_weights.spam=2");
        assert_eq!(learned("keys", &["--set", one, "--set", other]), balanced);
        let unweighted = learned("none", &[]);
        assert_ne!(unweighted, balanced);
        assert_eq!(
            learned("ones", &["--set", "task.class_weights={ ham = 1 }"]),
            unweighted,
            "what is not named weighs 1"
        );
        let refused = |set: &str| place.refused(&[&train[..], &["never", "--set", set]].concat());
        insta::allow_duplicates! {
            insta::assert_snapshot!(refused("task.class_weights={ eggs = 2 }"), @"2: error: task.class_weights: `eggs` is not one of the classes (there are ham, spam)");
            insta::assert_snapshot!(refused("task.class_weights.ham=0"), @"2: error: --set task.class_weights.ham: must be numbers greater than 0, `ham` has 0");
            insta::assert_snapshot!(refused("task.class_weights={ ham = -1 }"), @"2: error: --set task.class_weights: must be numbers greater than 0, `ham` has -1");
            insta::assert_snapshot!(refused("task.class_weights=balance"), @"2: error: --set task.class_weights: unknown value `balance`; did you mean `balanced`?");
            insta::assert_snapshot!(refused("task.class_weights=2"), @"2: error: --set task.class_weights: invalid type: integer `2`, expected `none`, `balanced` or a table of labels and their weights, { ham = 1.0, spam = 2.0 }");
        }
    }
    // In a file, and kept with the run.
    place.file("file.toml", CLASSES.replace("class_weights = \"balanced\"", "class_weights = { ham = nan }"));
    insta::assert_snapshot!(place.refused(&["train", "--config", "file.toml", "--data", "few.tsv"]), @"3: error: file.toml, line 3: `task.class_weights.ham` must be numbers greater than 0, `ham` has NaN");
    place.file("file.toml", CLASSES.replace("class_weights = \"balanced\"", "class_weights = { spam = 2.5 }"));
    place.ok(&["train", "--config", "file.toml", "--data", "few.tsv", "--out", "kept", "--epochs", "1"]);
    place.ok(&["train", "--resume", "kept", "--epochs", "2"]);
}

#[test]
fn a_share_that_no_sample_falls_to_is_told() {
    let place = Place::new();
    place.file("run.toml", CLASSES);
    place.file("two.tsv", "ham\tlunch at home\nspam\twin a prize\n");
    let train = ["train", "--config", "run.toml", "--data", "two.tsv", "--out", "never", "--set"];
    let refused = |set: &[&str]| place.refused(&[&train[..], set].concat());
    insta::assert_snapshot!(refused(&["train.early_stop=2"]), @"2: error: --early-stop: needs a validation loss, and nothing is evaluated (a fraction of 0.1 holds out none of these samples: set data.valid_fraction, or give --valid FILE)");
    insta::assert_snapshot!(refused(&["train.early_stop=2", "--set", "data.valid_fraction=0"]), @"2: error: --early-stop: needs a validation loss, and nothing is evaluated (hold samples out by data.valid_fraction, or give --valid FILE)");
    insta::assert_snapshot!(refused(&["schedule.kind=plateau"]), @"2: error: schedule.kind: plateau needs a validation loss, and nothing is evaluated (a fraction of 0.1 holds out none of these samples: set data.valid_fraction, or give --valid FILE)");
    insta::assert_snapshot!(refused(&["data.valid_fraction=0.1"]), @"2: error: data.valid_fraction: 0.1 of 2 samples leaves none to validate (hold out a larger fraction (equal samples stay together), or leave it out)");
    insta::assert_snapshot!(refused(&["data.test_fraction=0.1"]), @"2: error: data.test_fraction: 0.1 of 2 samples leaves none to test (hold out a larger fraction (equal samples stay together), or leave it out)");
    insta::assert_snapshot!(refused(&["task.folds=5", "--set", "task.fold=4"]), @"2: error: task.fold: none of 2 samples is in fold 4 of 5 (ask for fewer folds)");
    place.ok(&["train", "--config", "run.toml", "--data", "two.tsv", "--out", "run", "--epochs", "1"]);
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "-"]), @"2: error: labelled samples are read from files, not from standard input (write them to a file first)");
}

#[test]
fn a_threshold_may_be_given_as_a_number_and_a_column_as_one() {
    let place = Place::new();
    let rows: Vec<String> = (0..8).map(|i| format!("x\t{}\tword{} and\n", ["ham", "spam"][i / 6], i % 3)).collect();
    place.file("few.tsv", rows.concat());
    place.file("run.toml", CLASSES.replace("epochs = 6", "epochs = 1"));
    let train = [
        "train",
        "--config",
        "run.toml",
        "--data",
        "few.tsv",
        "--set",
        "task.label=1",
        "--set",
        "task.text=2",
        "--out",
    ];
    place.ok(&[&train[..], &["run", "--set", "task.threshold=0.3"]].concat());
    let said = &place.json(&["predict", "run", "--text", "word1", "--json"])[0];
    let spam = said["probabilities"]["spam"].as_f64().unwrap();
    let decision: Value = serde_json::from_slice(&place.read("run/decision.json")).unwrap();
    assert!((decision["threshold"].as_f64().unwrap() - 0.3).abs() < 1e-6, "{decision}");
    assert_eq!(said["class"] == "spam", spam >= f64::from(0.3f32), "{said}");
    let refused = |set: &str| place.refused(&[&train[..], &["never", "--set", set]].concat());
    place.file("three.tsv", rows.concat() + "x\tsport\tword1\n");
    let three = ["--data", "three.tsv", "--set", "task.threshold=0.3"];
    insta::assert_snapshot!(place.refused(&[&train[..3], &three, &train[5..], &["never"]].concat()), @"2: error: task.threshold: is for two classes, there are 3 (leave it out)");
    insta::assert_snapshot!(refused("task.threshold=1"), @"2: error: --set task.threshold: must be more than 0 and less than 1, got 1");
    insta::assert_snapshot!(refused("task.threshold=best"), @"2: error: --set task.threshold: unknown value `best`; valid are half, accuracy, f1, a number such as 0.3");
    insta::assert_snapshot!(refused("task.threshold=true"), @"2: error: --set task.threshold: invalid type: boolean `true`, expected `half`, `accuracy`, `f1` or a probability");
    insta::assert_snapshot!(refused("task.label=true"), @"2: error: --set task.label: invalid type: boolean `true`, expected the name of a column or its number from 0");
    insta::assert_snapshot!(refused("task.labels=[1.5]"), @"2: error: --set task.labels: invalid type: floating point `1.5`, expected the name of a column or its number from 0");
}

#[test]
fn every_fold_is_trained_and_the_best_evaluation_chosen_by_a_figure() {
    let place = Place::new();
    place.file("messages.tsv", messages(2));
    place.file("run.toml", CLASSIFIER.replace("test_fraction = 0.2\n[task]", "[task]\nfolds = 3"));
    let train = ["train", "--config", "run.toml", "--data", "messages.tsv", "--epochs", "4", "--set"];
    let by_f1 = [&train[..], &["train.best_by=\"f1\""]].concat();
    let events = place.json(&[&by_f1[..], &["--all-folds", "--out", "folds", "--json"]].concat());
    let tests: Vec<f64> = events
        .iter()
        .filter(|event| event["event"] == "scored" && event["data"] == "test")
        .map(|event| event["figures"]["accuracy"].as_f64().unwrap())
        .collect();
    let last = events.last().unwrap();
    assert_eq!((tests.len(), &last["event"], &last["folds"]), (3, &"folds".into(), &3.into()));
    let mean = last["figures"]["accuracy"]["mean"].as_f64().unwrap();
    assert!((mean - tests.iter().sum::<f64>() / 3.0).abs() < 1e-12 && place.exists("folds/fold-2/decision.json"));
    // The evaluation that is kept is the first with the highest F1, whatever the loss was.
    let fold: Vec<&Value> =
        events.iter().skip_while(|e| e["event"] != "started").skip(1).take_while(|e| e["event"] != "started").collect();
    let f1 = |event: &&&Value| event["figures"]["f1"].as_f64().unwrap();
    let measured = || fold.iter().filter(|event| event["event"] == "measured");
    let best = measured().map(|event| f1(&event)).fold(f64::NEG_INFINITY, f64::max);
    let first = measured().find(|event| f1(event) == best).unwrap();
    let chosen = fold.iter().find(|event| event["event"] == "best").unwrap();
    assert_eq!(chosen["step"], first["step"], "{fold:?}");

    let refused = [&train[..], &["train.best_by=\"bleu\"", "--out", "other"]].concat();
    insta::assert_snapshot!(place.refused(&refused), @"2: error: train.best_by: evaluations have no metric `bleu` (they have accuracy, f1, precision, recall)");
    insta::assert_snapshot!(place.refused(&[&by_f1[..], &["--all-folds", "--out", "folds"]].concat()), @"2: error: --out: folds/fold-0 is already a run (choose another folder)");
    insta::assert_snapshot!(place.refused(&["train", "--all-folds", "--out", "other"]), @"2: error: --all-folds: needs folds of labelled samples (add --set task.folds=5)");
    insta::assert_snapshot!(place.refused(&["train", "--out", "other", "--set", "train.best_by=\"f1\""]), @"2: error: --set train.best_by: is for labelled samples; a text has no figure but its loss");
}

#[test]
fn what_int8_costs_is_measured_where_labels_are_known_and_hinted_at_elsewhere() {
    let place = Place::new();
    place.file("messages.tsv", messages(3));
    place.file("run.toml", CLASSES);
    place.ok(&["train", "--config", "run.toml", "--epochs", "2", "--data", "messages.tsv", "--out", "run"]);
    let eval = |more: &[&str]| place.json(&[&["eval", "run", "--json"][..], more].concat()).remove(0);
    let (exact, rounded) = (eval(&[]), eval(&["--precision", "int8"]));
    assert!(exact.get("f32").is_none());
    assert_ne!(rounded["loss"], exact["loss"]);
    for key in ["loss", "figures", "confusion"] {
        assert_eq!(rounded["f32"][key], exact[key]);
    }
    let loss = |scores: &Value| scores["loss"].as_f64().unwrap();
    let accuracy = |scores: &Value| 100.0 * scores["figures"]["accuracy"].as_f64().unwrap();
    let shown = place.ok(&["eval", "run", "--precision", "int8"]);
    for line in [
        format!("loss in f32: {:.4}; int8 costs {:.4}", loss(&exact), loss(&rounded) - loss(&exact)),
        format!(
            "accuracy in f32: {:.2} %; int8 costs {:.2} points",
            accuracy(&exact),
            accuracy(&exact) - accuracy(&rounded)
        ),
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
    assert!(!place.ok(&["eval", "run"]).contains("int8"));
    let said = |more: &[&str]| {
        let output = place.unroll(&[&["predict", "run", "--text", "win the prize"][..], more].concat());
        assert!(output.status.success());
        common::text(&output.stderr)
    };
    assert_eq!(said(&[]), "");
    assert_eq!(
        said(&["--precision", "int8", "--checkpoint", "newest"]),
        "hint: int8 costs some accuracy; `unroll eval run --checkpoint newest --precision int8` measures how much\n"
    );
}

#[test]
fn the_words_and_classes_of_another_run_are_refused() {
    let place = Place::new();
    place.file("run.toml", CLASSES);
    let train = ["train", "--config", "run.toml", "--epochs", "1", "--data"];
    for (name, samples) in [("one", messages(3)), ("other", messages(3).replace("league", "season"))] {
        place.file(&format!("{name}.tsv"), samples);
        place.ok(&[&train[..], &[&format!("{name}.tsv"), "--out", name]].concat());
    }
    let (own, predict) = (place.read("one/task.json"), ["predict", "one", "--text", "win the prize"]);
    let said = place.ok(&predict);
    place.file("one/task.json", place.read("other/task.json"));
    let refused = place.refused(&predict);
    let (what, mend) = (
        "3: error: one/task.json: is not the list of words and classes that the model was trained with: ",
        "(restore it from a copy, or by `unroll train --resume one`)",
    );
    assert!(refused.starts_with(what) && refused.ends_with(mend), "{refused}");
    let import = ["import", "one/task.json", "--like", "one", "--out", "new"];
    for command in [&["eval", "one"][..], &["summary", "one"], &["export", "one", "--out", "one.onnx"], &import] {
        assert_eq!(place.refused(command), refused, "{command:?}");
    }
    place.ok(&["train", "--resume", "one", "--epochs", "1"]);
    assert_eq!((place.ok(&predict), place.read("one/task.json")), (said, own));
}

/// Sentences of a determiner, an adjective that ends in -y, a noun that ends in -er and a verb that ends in -ed.
fn sentences(first: usize, count: usize) -> String {
    let stem =
        |i: usize| -> String { [i % 7, i / 7 % 5, i % 11].iter().map(|k| char::from(b"bdfgklmprst"[*k])).collect() };
    let mut text = String::new();
    for i in first..first + count {
        let words = [
            ("the".to_owned(), "DET"),
            (stem(i) + "y", "ADJ"),
            (stem(i + 3) + "er", "NOUN"),
            (stem(i + 5) + "ed", "VERB"),
        ];
        for (n, (word, tag)) in words.iter().enumerate().filter(|(n, _)| i % 3 > 0 || *n != 1) {
            text += &format!("{}\t{word}\t_\t{tag}\t_\t_\t_\t_\t_\t_\n", n + 1);
        }
        text.push('\n');
    }
    text
}

#[test]
fn a_tagger_knows_unknown_words_by_their_characters() {
    let place = Place::new();
    place.file("train.conllu", sentences(0, 150));
    place.file("test.conllu", sentences(500, 30));
    place.file("run.toml", TAGGER);
    let data = ["--data", "train.conllu", "--test", "test.conllu", "--out", "run", "--json"];
    let events = place.json(&[&["train", "--config", "run.toml"][..], &data].concat());
    let test = figure(&events, "test");
    assert!(test["figures"]["unknown_accuracy"].as_f64().unwrap() > 0.95, "{test}");
    assert_eq!(
        place.ok(&["predict", "run", "--text", "the zopy kazer glibbed", "--words"]).trim_end(),
        "the/DET zopy/ADJ kazer/NOUN glibbed/VERB"
    );
    place.file("bad.conllu", "# one\n1\tthe\tDET\n");
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "bad.conllu"]), @"3: error: bad.conllu, line 2: a word has 10 columns in CoNLL-U, this line has 3 (separate the columns by single tabs, with _ for an empty one)");
}

/// The bytes of a run's last checkpoint and its metrics.
fn end(place: &Place, run: &str) -> Vec<Vec<u8>> {
    let folder = place.path().join(run).join("checkpoints");
    let mut steps: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    steps.sort();
    let last = steps.last().unwrap();
    let mut files: Vec<_> = ["weights.safetensors", "optimizer.safetensors", "state.json"]
        .map(|name| fs::read(last.join(name)).unwrap())
        .into();
    files.extend(["metrics.jsonl", "task.json", "decision.json"].map(|name| place.read(&format!("{run}/{name}"))));
    files
}

#[test]
fn a_run_that_is_killed_ends_as_the_unbroken_one() {
    let place = Place::new();
    place.file("messages.tsv", messages(2));
    place.file("run.toml", CLASSIFIER);
    let options =
        ["--config", "run.toml", "--data", "messages.tsv", "--save-every", "3", "--print-every", "2", "--threads", "2"];
    place.ok(&[&["train", "--out", "unbroken"][..], &options].concat());
    let mut broken = Command::new(env!("CARGO_BIN_EXE_unroll"));
    broken.current_dir(place.path()).args(["train", "--out", "broken", "--pause-storage", "4"]).args(options);
    let mut child = broken.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Some steps into the second epoch, wherever that is.
    let begin = Instant::now();
    let reached = || place.path().join("broken/checkpoints/step-00000015").exists();
    while !reached() && begin.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    assert!(child.wait().unwrap().code().is_none(), "it was killed before its end");
    place.ok(&["train", "--resume", "broken"]);
    assert!(end(&place, "broken") == end(&place, "unbroken"));
}

/// Real messages, where a folder of them is named.
#[test]
fn real_messages_are_filtered() {
    let Some(folder) = std::env::var_os("UNROLL_DATA") else {
        println!("SKIPPED: UNROLL_DATA names no folder");
        return;
    };
    let file = Path::new(&folder).join("sms-spam/SMSSpamCollection");
    if !file.exists() {
        println!("SKIPPED: {} is not there", file.display());
        return;
    }
    let place = Place::new();
    let data = file.display().to_string();
    let events = place.json(&[
        "train",
        "--recipe",
        "sms-spam",
        "--data",
        &data,
        "--epochs",
        "1",
        "--out",
        "run",
        "--json",
        "--set",
        "task.folds=5",
    ]);
    let accuracy = figure(&events, "test")["figures"]["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.96, "always ham is right in 0.866: {accuracy}");
}
