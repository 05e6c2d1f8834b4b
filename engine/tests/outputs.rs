//! Models with several outputs as users of the command meet them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::Place;
use serde_json::Value;

/// The topic, the stars and the mood of a review.
const REVIEWS: &str = r#"
[data]
valid_fraction = 0.2
test_fraction = 0.2
[task]
header = true
labels = ["topic", "stars", "mood"]
threshold = "accuracy"
class_weights = "balanced"
[model.graph]
outputs = [
  { layer = "topic", weight = 1.0 },
  { layer = "stars", loss = "mean_squared_error", weight = 0.5 },
  { layer = "mood", loss = "binary_cross_entropy", weight = 0.7 },
]
layers = [
  { type = "embedding", output_dim = 8, mask_zero = true },
  { type = "lstm", name = "text", units = 12 },
  { type = "dense", name = "topic", inputs = ["text"] },
  { type = "dense", name = "stars", inputs = ["text"] },
  { type = "dense", name = "mood", inputs = ["text"], activation = "sigmoid" },
]
[train]
batch = 16
epochs = 40
best_by = "stars.r2"
[optimizer]
lr = 0.02
"#;

const TOPICS: [&str; 3] = ["films", "books", "games"];
const MOODS: [(&str, &str, f64); 4] =
    [("bad", "awful", 1.0), ("bad", "poor", 2.0), ("good", "fine", 3.5), ("good", "great", 5.0)];

fn reviews() -> String {
    let mut text = "text,topic,stars,mood\n".to_owned();
    for i in 0..240 {
        let (topic, (mood, word, stars)) = (TOPICS[i * 7 % 3], MOODS[i * 5 % 4]);
        text += &format!("\"{word} {topic}, number {i}\",{topic},{stars},{mood}\n");
    }
    text
}

fn figures(events: &[Value], data: &str) -> Value {
    let event = events.iter().find(|event| event["event"] == "scored" && event["data"] == data);
    event.unwrap_or_else(|| panic!("no score of the {data}"))["figures"].clone()
}

#[test]
fn a_class_a_number_and_a_mood_are_learned_at_once() {
    let place = Place::new();
    place.file("reviews.csv", reviews());
    place.file("run.toml", REVIEWS);
    let events = place.json(&["train", "--config", "run.toml", "--data", "reviews.csv", "--out", "run", "--json"]);
    let test = figures(&events, "test");
    let of = |name: &str| test[name].as_f64().unwrap_or_else(|| panic!("no {name} in {test}"));
    assert!(of("topic.accuracy") > 0.9 && of("mood.f1") > 0.9, "{test}");
    assert!(of("stars.mean_squared_error") < 0.2 && of("stars.r2") > 0.9, "{test}");

    // What the run says later is what it said then, and `eval` and `predict` tell every output.
    let again = &place.json(&["eval", "run", "--json"])[0];
    assert_eq!(again["figures"], test);
    assert!(again["outputs"]["topic"]["confusion"]["counts"].is_array());
    let text = ["predict", "run", "--text", "great films, number 7", "--text", "awful books, number 9"];
    let said = place.ok(&text);
    let fields: Vec<Vec<&str>> = said.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!((fields[0][0], fields[0][3]), ("films", "good"), "{said}");
    assert_eq!((fields[1][0], fields[1][3]), ("books", "bad"), "{said}");
    assert!((fields[0][2].parse::<f64>().unwrap() - 5.0).abs() < 1.0, "{said}");
    let said = place.json(&[&text[..4], &["--json"]].concat());
    assert_eq!(said[0]["topic"]["class"], "films");
    assert!(said[0]["stars"]["number"].as_f64().is_some_and(|stars| stars > 4.0));
    let report = place.ok(&["eval", "run"]);
    assert!(report.contains("topic: ") && report.contains("stars: ") && report.contains("R2"), "{report}");

    // The losses are one number, whose parts weigh what the model says.
    let table = place.ok(&["summary", "run"]);
    assert!(["topic", "stars", "mood"].iter().all(|name| table.contains(name)), "{table}");
    place.ok(&["train", "--resume", "run", "--epochs", "41"]);
}

/// Sentences of words with their parts of speech and numbers.
fn tagged() -> String {
    let mut text = String::new();
    for i in 0..80 {
        let nouns = [("cat", "Sing"), ("cats", "Plur"), ("dog", "Sing"), ("dogs", "Plur")];
        let (noun, number) = nouns[i * 3 % 4];
        let row =
            |at: usize, word: &str, tag: &str, feats: &str| format!("{at}\t{word}\t_\t{tag}\t_\t{feats}\t_\t_\t_\t_\n");
        text += &row(1, "the", "DET", "_");
        text += &row(2, noun, "NOUN", &format!("Number={number}"));
        text += &row(3, ["ran", "sat", "ate"][i % 3], "VERB", "_");
        text += "\n";
    }
    text
}

/// Both tags of a word.
const TAGS: &str = r#"
        [data]
        valid_fraction = 0.2
        [task]
        kind = "tag"
        labels = ["upos", "feats"]
        [model.graph]
        outputs = [{ layer = "upos" }, { layer = "feats", weight = 0.5 }]
        layers = [
          { type = "embedding", output_dim = 8, mask_zero = true },
          { type = "lstm", name = "words", units = 8, return_sequences = true },
          { type = "dense", name = "upos" },
          { type = "dense", name = "feats", inputs = ["words"] },
        ]
        [train]
        batch = 16
        epochs = 20
        [optimizer]
        lr = 0.03
    "#;

#[test]
fn two_tags_of_a_word_are_learned_at_once() {
    let place = Place::new();
    place.file("tags.conllu", tagged());
    place.file("run.toml", TAGS);
    let events = place.json(&["train", "--config", "run.toml", "--data", "tags.conllu", "--out", "run", "--json"]);
    let valid = figures(&events, "validation");
    let all_right =
        ["upos.accuracy", "feats.accuracy", "feats.known_accuracy"].map(|name| valid[name].as_f64().unwrap());
    assert!(all_right.iter().all(|&accuracy| accuracy > 0.95), "{valid}");
    let said = place.ok(&["predict", "run", "--text", "the dogs sat", "--words"]);
    assert_eq!(said.trim(), "the/DET/_ dogs/NOUN/Number=Plur sat/VERB/_");
}

#[test]
fn each_output_that_learns_without_its_sum_tells_it() {
    let place = Place::new();
    place.file("tags.conllu", tagged());
    let sampled = TAGS
        .replace("layer = \"upos\"", "layer = \"upos\", head = { kind = \"nce\", samples = 2 }")
        .replace("layer = \"feats\"", "layer = \"feats\", head = { kind = \"sampled_softmax\", samples = 2 }");
    place.file("run.toml", &sampled);
    let train = ["train", "--config", "run.toml", "--data", "tags.conllu", "--epochs", "1", "--out"];
    let events = place.json(&[&train[..], &["run", "--json"]].concat());
    let told = &events.iter().find(|event| event["event"] == "evaluated").unwrap()["log_partition"];
    let metrics = common::text(&place.read("run/metrics.jsonl"));
    let kept: Vec<Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kept.iter().find(|line| line["kind"] == "valid").unwrap()["log_partition"], *told);
    let of = |name: &str| [0, 1].map(|i| told[name][i].as_f64().unwrap_or_else(|| panic!("no {name} in {told}")));
    let (upos, feats) = (of("upos"), of("feats"));
    assert_ne!(upos, feats);
    let shown = place.ok(&[&train[..], &["shown"]].concat());
    let line = format!(
        " | ln Z of upos {:.3}, deviation {:.3} | ln Z of feats {:.3}, deviation {:.3}",
        upos[0], upos[1], feats[0], feats[1]
    );
    assert!(shown.contains(&line), "{shown}");
    // The only one has no name.
    place.file("run.toml", sampled.replace("kind = \"nce\", samples = 2", ""));
    let one = place.json(&[&train[..], &["one", "--json"]].concat());
    let told = &one.iter().find(|event| event["event"] == "evaluated").unwrap()["log_partition"];
    assert!(told[0].is_f64() && told[1].is_f64(), "{told}");
}

#[test]
fn one_number_is_learned_without_outputs() {
    let place = Place::new();
    place.file("reviews.csv", reviews());
    let config = r#"
        [data]
        valid_fraction = 0.2
        [task]
        header = true
        label = "stars"
        [model.graph]
        loss = "mean_squared_error"
        layers = [
          { type = "embedding", output_dim = 8, mask_zero = true },
          { type = "gru", units = 12 },
          { type = "dense", units = 1 },
        ]
        [train]
        batch = 16
        epochs = 25
        [optimizer]
        lr = 0.02
    "#;
    place.file("run.toml", config);
    let events = place.json(&["train", "--config", "run.toml", "--data", "reviews.csv", "--out", "run", "--json"]);
    let valid = figures(&events, "validation");
    assert!(valid["r2"].as_f64().unwrap() > 0.9, "{valid}");
    let said = place.ok(&["predict", "run", "--text", "poor games, number 3"]);
    assert!((said.split('\t').next().unwrap().parse::<f64>().unwrap() - 2.0).abs() < 0.7, "{said}");
}

#[test]
fn what_does_not_fit_is_named() {
    let place = Place::new();
    place.file("reviews.csv", reviews().replace(",5,", ",five,"));
    place.file("run.toml", REVIEWS);
    let train = |config: &str| {
        place.file("run.toml", config);
        place.refused(&["train", "--config", "run.toml", "--data", "reviews.csv"])
    };
    let names = |error: &str, parts: &[&str]| assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    names(&train(REVIEWS), &["reviews.csv", "line", "`five` is not a number", "mean_squared_error"]);
    place.file("reviews.csv", reviews());
    names(&train(&REVIEWS.replace(", \"mood\"]", "]")), &["labels for 2", "the model has 3"]);
    names(&train(&REVIEWS.replace("layer = \"mood\"", "layer = \"tone\"")), &["`tone`", "no layer has this name"]);
    names(&train(&REVIEWS.replace("\"stars\", \"mood\"]", "\"starz\", \"mood\"]")), &["`starz`", "task.labels"]);
    names(&train(&REVIEWS.replace("weight = 0.5", "weight = -1.0")), &["`stars`", "weight must be at least 0"]);
    names(&train(&REVIEWS.replace("stars.r2", "r2")), &["no metric `r2`", "stars.r2", "topic.accuracy"]);
    names(
        &train(&REVIEWS.replace("layers = [\n", "loss = \"cross_entropy\"\nhead = { z_loss = 0.1 }\nlayers = [\n")),
        &["`outputs`", "beside them"],
    );
    let (before, rest) = REVIEWS.split_once("outputs = [").unwrap();
    let text = train(&format!("{before}{}", rest.split_once("]\n").unwrap().1));
    names(&text, &["labels for 3", "the model has 1"]);
}
