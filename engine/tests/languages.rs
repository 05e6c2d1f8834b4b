//! Language models in other scripts than ours, as users of the command meet them: trained, prompted and scored.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::Place;

const KOREAN: &str = "경마장에 있는 말이 뛰고 있다\n그의 말이 법이다\n";
const JAPANESE: &str = "吾輩は猫である。名前はまだ無い。\nどこで生れたか見当がつかぬ。\n";
/// Parted into words beforehand.
const PARTED: &str = "吾輩 は 猫 で ある 。\n名前 は まだ 無い 。\n";

/// Trains for a moment, enough to learn two lines by heart.
#[track_caller]
fn train(place: &Place, text: &str, run: &str, more: &[&str]) {
    let name = format!("{run}.txt");
    place.file(&name, text.repeat(80));
    let train = ["train", "--data", &name, "--out", run, "--rnn-size", "48", "--num-layers", "1", "--seq-length", "20"];
    let options = ["--batch-size", "4", "--epochs", "12", "--lr", "0.02", "--sample-length", "20"];
    place.ok(&[&train[..], &options, more].concat());
}

/// What the likeliest `length` tokens behind a prompt are, the prompt with them.
#[track_caller]
fn written(place: &Place, run: &str, prompt: &str, length: &str) -> String {
    place.ok(&["generate", run, "--prompt", prompt, "--temperature", "0", "--length", length])
}

const WORDS: [&str; 4] = ["--level", "word", "--emsize", "16"];

#[test]
fn korean_is_learned_by_characters_and_by_words() {
    let place = Place::new();
    train(&place, KOREAN, "chars", &["--set", "data.prepare.normalize=nfc"]);
    train(&place, KOREAN, "words", &WORDS);
    assert_eq!(written(&place, "chars", "경마장에", "12"), "경마장에 있는 말이 뛰고 있다\n");
    assert_eq!(written(&place, "words", "경마장에", "4"), "경마장에 있는 말이 뛰고 있다\n");
    // The same letters, each for itself: prepared as the text was, and shown as they were given.
    let letters = "\u{1100}\u{1167}\u{11bc}\u{1106}\u{1161}\u{110c}\u{1161}\u{11bc}\u{110b}\u{1166}";
    assert_eq!(written(&place, "chars", letters, "12"), format!("{letters} 있는 말이 뛰고 있다\n"));
    // What is drawn by chance is text of the same characters.
    let drawn = place.ok(&["generate", "chars", "--prompt", "그의", "--length", "60", "--temperature", "1.5"]);
    let own = |c: char| KOREAN.contains(c);
    assert!(drawn.starts_with("그의") && drawn.chars().all(own) && drawn.chars().count() == 63, "{drawn}");
    // A word that is none of the model's is refused, unless it is asked to be read as <unk>.
    insta::assert_snapshot!(place.refused(&["generate", "words", "--prompt", "그의 소가"]), @r#"2: error: prompt, character 4: "소가" is not in the vocabulary (use --unk map to read it as <unk>, or --unk skip to leave it out)"#);
    let mapped = place.ok(&["generate", "words", "--prompt", "그의 소가", "--unk", "map", "--length", "3"]);
    assert!(mapped.starts_with("그의 소가") && mapped.split_whitespace().count() >= 3, "{mapped}");
    let score = &place.json(&["eval", "words", "--data", "words.txt", "--json"])[0];
    assert!(score["perplexity"].as_f64().unwrap() < 2.0, "{score}");
}

#[test]
fn japanese_is_learned_by_characters_and_by_words_that_are_parted() {
    let place = Place::new();
    train(&place, JAPANESE, "chars", &[]);
    train(&place, JAPANESE, "clusters", &["--level", "grapheme"]);
    train(&place, PARTED, "words", &WORDS);
    for run in ["chars", "clusters"] {
        assert_eq!(written(&place, run, "吾輩は", "13"), "吾輩は猫である。名前はまだ無い。\n");
        let drawn = place.ok(&["generate", run, "--prompt", "猫", "--length", "60", "--temperature", "1.5"]);
        let own = |c: char| JAPANESE.contains(c);
        assert!(drawn.starts_with('猫') && drawn.chars().all(own) && drawn.chars().count() == 62, "{drawn}");
    }
    assert_eq!(written(&place, "words", "吾輩 は", "4"), "吾輩 は 猫 で ある 。\n");
    // Without spaces a line is a word, and so is a prompt.
    insta::assert_snapshot!(place.refused(&["generate", "words", "--prompt", "吾輩は"]), @r#"2: error: prompt, character 1: "吾輩は" is not in the vocabulary (use --unk map to read it as <unk>, or --unk skip to leave it out)"#);
}
