//! N-gram models as users of the command meet them, and against figures that others published.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::Place;

/// Lines of words, each of which says more or less what the next one is.
fn text(seed: usize, lines: usize) -> String {
    const WORDS: [&str; 6] = ["rain", "falls", "on", "the", "old", "roof"];
    let word = |i: usize| WORDS[(i + usize::from((i * i + seed) % 11 == 3)) % 6];
    (0..lines).map(|line| (0..8).map(|i| word(line * 5 + i)).collect::<Vec<_>>().join(" ") + "\n").collect()
}

#[test]
fn a_table_of_smoothings_and_mixtures_with_a_network() {
    let place = Place::new();
    for (name, seed, lines) in [("train.txt", 1, 60), ("valid.txt", 2, 12), ("test.txt", 3, 12)] {
        place.file(name, text(seed, lines));
    }
    let texts = ["--data", "train.txt", "--valid", "valid.txt", "--test", "test.txt"];
    let alone = place.json(&[&["ngram"], &texts[..], &["--json"]].concat());
    let models: Vec<_> = alone.iter().map(|line| line["model"].as_str().unwrap()).collect();
    assert_eq!(models, ["3-gram, interpolated", "3-gram, kneser-ney", "3-gram, kneser-ney-backoff"]);
    let bigger =
        place.json(&[&["ngram"], &texts[..], &["--json", "--order", "1", "--smoothing", "kneser-ney"]].concat());
    let figure = |line: &serde_json::Value, name: &str| line[name].as_f64().unwrap();
    assert!(figure(&bigger[0], "test_perplexity") > figure(&alone[1], "test_perplexity"));
    let table = place.ok(&[&["ngram"], &texts[..]].concat());
    // Six words, the end of a line, and what is unknown.
    assert!(table.contains("vocabulary: 8"), "{table}");

    let train = ["train", "--level", "word", "--hidden", "8", "--embedding", "6", "--batch", "2", "--steps", "8"];
    let run = ["--epochs", "2", "--optimizer", "adam", "--lr", "0.01", "--out", "run"];
    place.ok(&[&train[..], &texts, &run].concat());
    let mixed = place.json(&["ngram", "run", "--smoothing", "interpolated", "--json"]);
    let told: Vec<_> = mixed.iter().map(|line| (line["model"].as_str().unwrap(), line["mixed"].as_str())).collect();
    let name = "3-gram, interpolated";
    let mixtures = [(name, Some("half and half")), (name, Some("by the validation text"))];
    assert_eq!(told, [&[("the network", None), (name, None)][..], &mixtures].concat());
    let valid: Vec<f64> = mixed.iter().map(|line| figure(line, "valid_perplexity")).collect();
    assert_eq!(valid.len(), 4, "the network, the model, and two mixtures");
    let scored = &place.json(&["eval", "run", "--json"])[0];
    assert!((figure(scored, "perplexity") - figure(&mixed[0], "test_perplexity")).abs() < 1e-4);
    // A mixture by the best weight is no worse than its parts, or than any other mixture.
    assert!(valid[..3].iter().all(|other| valid[3] <= other + 1e-9), "{valid:?}");
    // One word more is scored: the first, after the end of a line.
    assert!((valid[1] / figure(&alone[0], "valid_perplexity") - 1.0).abs() < 0.02);

    place.ok(&[&train[..], &["--data", "train.txt", "--epochs", "1", "--out", "held"]].concat());
    insta::assert_snapshot!(place.refused(&["ngram", "held"]), @"2: error: the run validates on a part of its training text, which would be counted along with the rest (train it with a validation text of its own: --valid FILE)");
    insta::assert_snapshot!(place.refused(&[&["ngram"], &texts[..], &["--order", "12"]].concat()), @"2: error: an n-gram model of order 12 (the order is from 1 to 9)");
    insta::assert_snapshot!(place.refused(&["ngram", "run", "--batch", "0"]), @"2: error: --batch: must be from 1 to 4096, got 0");
    insta::assert_snapshot!(place.refused(&[&["ngram"], &texts[..], &["--precision", "bf16"]].concat()), @"2: error: --precision: is for the network of a run (leave it out, or name a run)");
}

#[test]
fn texts_are_prepared_as_a_recipe_says() {
    let place = Place::new();
    place.file("train", text(1, 60) + "thunder\n");
    place.file("valid", text(2, 12));
    let texts = ["ngram", "--data", "train", "--valid", "valid"];
    let count = |more: &[&str]| place.ok(&[&texts[..], more].concat());
    let by_recipe = count(&["--recipe", "nnlm-brown"]);
    // Six words and what is unknown, and no ends of lines.
    assert!(by_recipe.contains("counted: 481 tokens; validation: 96; vocabulary: 7"), "{by_recipe}");
    assert_eq!(by_recipe, count(&["--prepare", "join_lines", "--min-count", "4"]));
    // What is given wins over the recipe.
    let all = count(&["--recipe", "nnlm-brown", "--min-count", "1"]);
    assert!(all.contains("vocabulary: 8") && all == count(&["--prepare", "join_lines"]), "{all}");
    assert!(count(&["--min-count", "4"]).contains("counted: 542 tokens; validation: 108; vocabulary: 8"));
    let refused = |recipe: &str| place.refused(&["ngram", "--data", "train", "--valid", "valid", "--recipe", recipe]);
    insta::assert_snapshot!(refused("imdb"), @"2: error: --recipe: this recipe learns from labelled samples, not from running text (name the recipe of a language model)");
    assert!(refused("brown").contains("recipe"));
}

/// Modified Kneser-Ney on the Penn Treebank: 148.3 with three words and 141.2 with five (T. Mikolov, "Statistical Language
/// Models Based on Neural Networks", 2012, table 4.1: KN3, KN5).
#[test]
fn the_penn_treebank_has_the_published_perplexities() {
    let Some(folder) = std::env::var_os("UNROLL_DATA") else {
        println!("SKIPPED: UNROLL_DATA names no folder");
        return;
    };
    let part = |name: &str| std::path::Path::new(&folder).join(format!("ptb/ptb.{name}.txt")).display().to_string();
    let place = Place::new();
    let [train, valid, test] = ["train", "valid", "test"].map(part);
    for (order, published) in [("3", 148.3), ("5", 141.2)] {
        let texts = ["--data", &train, "--valid", &valid, "--test", &test, "--order", order];
        let line = &place.json(&[&["ngram", "--smoothing", "kneser-ney", "--json"], &texts[..]].concat())[0];
        let found = line["test_perplexity"].as_f64().unwrap();
        assert!((found - published).abs() < 0.3, "order {order}: {found}, published {published}");
    }
}
