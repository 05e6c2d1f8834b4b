//! Every recipe is a model: it is built with the parameters that its layers have on paper, and trains from a file of its kind.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::{Place, verses};
use unroll::config::TaskKind;
use unroll::graph::Graph;
use unroll::recipes::{RECIPES, find};

/// Parameters of each recipe: tokens of its vocabulary, classes or tokens of its source, and the sum by hand. A dense layer has
/// (D + 1) U, an LSTM 4 U (D + U + 1), one with two biases 4 U more; tied tables count once.
const PARAMETERS: [(&str, usize, usize, u64); 27] = [
    ("cicero", 65, 0, 4 * 128 * (65 + 128 + 1) + 129 * 65),
    ("min-char-rnn", 65, 0, 100 * (65 + 100 + 1) + 101 * 65),
    // What train.lua prints for tiny Shakespeare.
    ("char-rnn", 65, 0, 240_321),
    ("char-rnn-large", 65, 0, 4 * 512 * (65 + 512 + 2) + 4 * 512 * (1024 + 2) + 513 * 65),
    ("war-and-peace", 87, 0, 4 * 128 * (87 + 128 + 2) + 129 * 87),
    ("char-gru", 65, 0, 3 * 128 * (65 + 128 + 1) + 3 * 128 * (256 + 1) + 129 * 65),
    ("zaremba-small", 10_000, 0, 2_000_000 + 2 * 800 * 402 + 201 * 10_000),
    ("zaremba-medium", 10_000, 0, 6_500_000 + 2 * 2600 * 1302 + 651 * 10_000),
    ("zaremba-large", 10_000, 0, 15_000_000 + 2 * 6000 * 3002 + 1501 * 10_000),
    ("tied-650", 10_000, 0, 6_500_000 + 2 * 2600 * 1302 + 10_000),
    // The paper's 24 million on the Penn Treebank.
    ("awd-lstm", 10_000, 0, 24_221_600),
    ("nnlm", 17_964, 0, 1_796_400 + 601 * 60 + 61 * 17_964 + 601 * 17_964),
    // The paper's formulas, |V| (1 + m + h) + h (1 + (n-1) m) without direct connections and |V| (1 + nm + h) + h (1 + (n-1) m).
    ("nnlm-brown", 16_383, 0, 16_383 * (1 + 30 + 100) + 100 * (1 + 4 * 30)),
    ("nnlm-brown-direct", 16_383, 0, 16_383 * (1 + 5 * 60 + 50) + 50 * (1 + 4 * 60)),
    ("nnlm-brown-adam", 16_383, 0, 16_383 * (1 + 60 + 128) + 128 * (1 + 4 * 60)),
    ("sms-spam", 10_000, 2, 640_000 + 2 * 256 * 129 + 129 * 64 + 65),
    ("imdb", 20_000, 2, 2_560_000 + 2 * 256 * 193 + 129 * 64 + 65),
    ("topics", 10_000, 4, 640_000 + 2 * 256 * 129 + 129 * 64 + 65 * 4),
    ("ud-ewt", 10_000, 17, 640_000 + 2 * 512 * 193 + 2 * 512 * 385 + 257 * 17),
    // The tutorial's twelve words, and its 3,494 of headlines.
    ("next-word", 12, 0, 120 + 1_376 + 396),
    ("headlines", 3_494, 0, 34_940 + 512 * 139 + 129 * 3_494),
    ("next-char", 56, 0, 1024 * (56 + 257) + 1024 * 513 + 257 * 56),
    ("dialogue-char", 65, 0, 1024 * (65 + 257) + 1024 * 513 + 257 * 65),
    ("dialogue-word", 10_000, 0, 1_280_000 + 1024 * 385 + 257 * 10_000),
    // Ten digits, padding, a start and an end.
    ("digit-captions", 13, 0, 257 * 1024 + 2 * 1025 * 128 + 16 * 13 + 512 * 145 + 129 * 13),
    ("captions-each-step", 13, 0, 257 * 1024 + 16 * 13 + 512 * (1040 + 129) + 129 * 13),
    ("translate-char", 60, 80, 64 * 80 + 1024 * 321 + 64 * 60 + 1024 * 321 + 257 * 60),
];

#[test]
fn every_recipe_is_built_with_the_parameters_that_it_has_on_paper() {
    for recipe in RECIPES {
        let found = PARAMETERS.iter().find(|(name, ..)| *name == recipe.name);
        let (_, vocabulary, others, parameters) = *found.unwrap_or_else(|| panic!("{}: count it", recipe.name));
        let (config, _) = recipe.config().unwrap();
        let model = config.model.graph();
        let graph = match config.task.as_ref().map(|task| task.kind) {
            Some(TaskKind::Classify | TaskKind::Tag) => Graph::with_classes(&model, vocabulary, &[others]),
            Some(TaskKind::Translate) => Graph::with_source(&model, vocabulary, others),
            _ => Graph::new(&model, vocabulary),
        };
        let graph = graph.unwrap_or_else(|error| panic!("{}: {error}", recipe.name));
        assert_eq!(graph.description().parameters, parameters, "{}", recipe.name);
    }
    assert_eq!(PARAMETERS.len(), RECIPES.len(), "recipes that are no more");
}

/// Texts of three classes, each told by its own words: column 0 the class, column `text` the text.
fn table(classes: [&str; 3], text: usize) -> String {
    let words = [["home", "later", "lunch"], ["prize", "cash", "win"], ["goal", "team", "coach"]];
    let row = |i: usize| {
        let between = "x\t".repeat(text - 1);
        let word = |k: usize| words[i % 3][(i + k) % 3];
        format!("{}\t{between}please {} the {} now {}\n", classes[i % 3], word(0), word(1), i / 3)
    };
    (0..120).map(row).collect()
}

/// Vectors of as many numbers as a picture of the recipes has, and captions that name where they are bright.
fn pictures() -> String {
    let row = |i: usize| {
        let numbers: Vec<String> = (0..256).map(|k| if k % 4 == i % 4 { "16" } else { "0" }.to_owned()).collect();
        format!("{},{}\n", ["one", "two one", "three", "four two"][i % 4], numbers.join(","))
    };
    (0..40).map(row).collect()
}

fn sentences() -> String {
    let word = |at: usize, word: &str, tag: &str| format!("{at}\t{word}\t_\t{tag}\t_\t_\t_\t_\t_\t_\n");
    let sentence = |i: usize| {
        let noun = ["cat", "dog", "sea", "tree"][i % 4];
        word(1, "the", "DET") + &word(2, noun, "NOUN") + &word(3, "sleeps", "VERB") + "\n"
    };
    (0..40).map(sentence).collect()
}

#[test]
fn recipes_train_from_files_of_their_kind() {
    let place = Place::new();
    place.file("text.txt", verses());
    place.file("script.txt", "ANNA: the sea is blue\nBEN: no\n".repeat(100));
    place.file("messages.tsv", table(["ham", "spam", "ham"], 1));
    place.file("reviews.tsv", table(["neg", "pos", "neg"], 3));
    place.file("topics.tsv", table(["home", "money", "sport"], 1));
    place.file("tags.conllu", sentences());
    place.file("lines.txt", "the cat sat on the mat\na dog ran to the cat\n".repeat(5));
    place.file("titles.csv", "id,headline\n".to_owned() + &"1,\"The sea, again\"\n2,Two cats of one house\n".repeat(5));
    place.file("pictures.csv", pictures());
    let pairs: String = (10..60).map(|i| format!("{i}\t{}{}\n", i % 10, i / 10)).collect();
    place.file("pairs.tsv", pairs);
    for recipe in RECIPES {
        let (config, _) = recipe.config().unwrap();
        let data = match recipe.name {
            // A step of these takes longer than all of the others.
            "zaremba-large" | "awd-lstm" => continue,
            "sms-spam" => "messages.tsv",
            "imdb" => "reviews.tsv",
            "topics" => "topics.tsv",
            "ud-ewt" => "tags.conllu",
            "next-word" => "lines.txt",
            "headlines" => "titles.csv",
            "digit-captions" | "captions-each-step" => "pictures.csv",
            "translate-char" => "pairs.tsv",
            _ if config.data.dialogue => "script.txt",
            _ => "text.txt",
        };
        let mut options = vec!["train", "--recipe", recipe.name, "--data", data, "--out", recipe.name];
        options.extend(["--max-steps", "2", "--batch-size", "4"]);
        if config.task.is_none() {
            options.extend(["--sample-length", "5"]);
            // Models of windows have the length of theirs.
            let windows = config.model.graph().input_length.is_some();
            options.extend(if windows { &[][..] } else { &["--seq-length", "10"] });
        }
        place.ok(&options);
        assert!(place.exists(&format!("{}/checkpoints/step-00000002", recipe.name)), "{}", recipe.name);
    }
    // By its name, and its state goes on where it writes.
    let text = place.ok(&["generate", "next-char", "--prompt", "the quick", "--length", "20"]);
    assert!(text.starts_with("the quick") && text.trim_end().chars().count() > 9, "{text}");
}

#[test]
fn several_classes_are_learned_by_their_recipe() {
    let place = Place::new();
    place.file("topics.tsv", table(["home", "money", "sport"], 1));
    let train =
        ["train", "--recipe", "topics", "--data", "topics.tsv", "--out", "run", "--test-fraction", "0.2", "--json"];
    let events = place.json(&[&train[..], &["--epochs", "6", "--batch-size", "8", "--lr", "0.005"]].concat());
    let test = events.iter().find(|event| event["event"] == "scored" && event["data"] == "test").unwrap();
    assert!(test["figures"]["macro_f1"].as_f64().unwrap() > 0.9, "{test}");
    let told = &place.json(&["predict", "run", "--text", "The goal of the team!", "--json"])[0];
    assert_eq!((&told["class"], told["probabilities"].as_object().unwrap().len()), (&"sport".into(), 3), "{told}");
    // The page's words: `imdb` is for its two classes, and its files are read by `topics` with the text's column named.
    place.file("reviews.tsv", table(["neg", "pos", "so-so"], 3));
    let refused = place.refused(&["train", "--recipe", "imdb", "--data", "reviews.tsv", "--out", "other"]);
    assert!(refused.contains("the model does not know the label `so-so`"), "{refused}");
    let train = ["train", "--recipe", "topics", "--data", "reviews.tsv", "--max-steps", "2", "--out", "reviews"];
    place.ok(&[&train[..], &["--set", "task.text=3", "--set", "task.class_weights={ so-so = 2.0 }"]].concat());
    assert!(find("captions_each_step").is_ok());
}
