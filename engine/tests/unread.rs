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
fn a_text_alone_and_beside_longer_ones_is_of_the_same_class_and_tags() {
    let place = Place::new();
    // Padding is masked, is none where there are vectors of one value, or is seen and then always as long.
    for (layer, masked) in [("", true), (", { type = \"masking\" }", false), ("", false)] {
        let embedding = CLASSIFIER
            .replace(", mask_zero = true }", &format!("{} }}{layer}", if masked { ", mask_zero = true" } else { "" }));
        train(&place, &embedding, ("data.tsv", MESSAGES));
        let alone = place.ok(&["predict", "run", "--text", "a prize"]);
        let beside = place.ok(&["predict", "run", "--text", "a prize", "--text", "see you at home"]);
        assert_eq!(alone.lines().next(), beside.lines().next(), "{layer} {masked}");
        std::fs::remove_dir_all(place.path().join("run")).unwrap();
    }
    let word = |n: usize, word: &str, tag: &str| format!("{n}\t{word}\t_\t{tag}\t_\t_\t_\t_\t_\t_\n");
    place.file("data.conllu", [word(1, "the", "DET"), word(2, "cat", "NOUN"), "\n".to_owned()].concat());
    let tagger = CLASSIFIER.replace("units = 4 }", "units = 4, return_sequences = true }").replace("classify", "tag");
    place.file("run.toml", tagger.replace(", mask_zero = true", ""));
    let refused = place.refused(&["train", "--config", "run.toml", "--data", "data.conllu", "--out", "never"]);
    assert!(refused.contains("padding behind shorter sentences") && refused.contains("mask_zero = true"), "{refused}");
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

/// A model of the next word, of a few steps.
fn next_words() -> String {
    CLASSIFIER.replace("classify", "next")
}

const LINES: &str = "경마장에 있는 말이 뛰고 있다\n그의 말이 법이다\n가는 말이 고와야 오는 말이 곱다\n";

#[test]
fn words_that_a_model_of_the_next_word_does_not_know_are_counted() {
    let place = Place::new();
    train(&place, &next_words(), ("lines.txt", LINES));
    place.file("other.txt", "경마장에 xx 말이 뛰고\n경마장에 있는 말이 xx\n");
    let told = place.ok(&["eval", "run", "--data", "other.txt"]);
    assert!(told.contains("other.txt: 4 words scored"), "{told}");
    assert!(told.ends_with("other.txt: words that the model does not know, neither predicted nor read: 2\n"), "{told}");
    let told = &place.json(&["eval", "run", "--data", "other.txt", "--json"])[0];
    assert_eq!((&told["words"], &told["left_out"]), (&json!(4), &json!({ "texts": 0, "words": 2 })));
    // Every word behind another is either scored or counted, that of a line that has no known one too.
    place.file("other.txt", "xx 말이 뛰고\nxx yy\n말이\n");
    let told = &place.json(&["eval", "run", "--data", "other.txt", "--json"])[0];
    assert_eq!((&told["words"], &told["left_out"]), (&json!(1), &json!({ "texts": 1, "words": 2 })));
    // Words that are held out and that no training line has.
    place.file("valid.txt", "그의 말이 xx\n");
    let valid = ["train", "--config", "run.toml", "--data", "lines.txt", "--out"];
    let told = place.ok(&[&valid[..], &["valid", "--valid", "valid.txt"]].concat());
    assert_eq!(
        told.matches("validation: words that the model does not know, neither predicted nor read: 1").count(),
        2
    );

    place.file("ones.txt", "말이\n그의\n");
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "ones.txt"]), @"3: error: ones.txt: gives no sample: no text has two words that the model knows (give texts of two words and more)");
    for option in ["--valid", "--test"] {
        let told = place.refused(&[&valid[..], &["never", option, "ones.txt"]].concat());
        assert!(told.contains("ones.txt: gives no sample: no text has two words"), "{told}");
    }
    place.file("lines.txt", "말이\n그의\n");
    let told = place.refused(&[&valid[..], &["never"]].concat());
    assert!(told.contains("lines.txt: gives no sample: no text has two words"), "{told}");
}

#[test]
fn the_next_word_of_a_text_is_that_of_the_words_that_are_known() {
    let place = Place::new();
    train(&place, &next_words(), ("lines.txt", LINES));
    let told = place.json(&["predict", "run", "--text", "그의 없는", "--text", "그의", "--text", "없는", "--json"]);
    assert_eq!((&told[0]["known_words"], &told[0]["probabilities"]), (&json!(1), &told[1]["probabilities"]));
    let why = "no word that the model can read";
    assert_eq!(told[2], json!({ "text": "없는", "known_words": 0, "word": null, "unread": why }));
}

#[test]
fn texts_that_preparation_empties_are_left_out_and_counted() {
    let place = Place::new();
    train(&place, CLASSIFIER, ("data.tsv", &format!("{MESSAGES}ham\t!!!\n")));
    let other = format!("{MESSAGES}ham\t:-)\nspam\tqqqq zzzz\n");
    place.file("other.tsv", other);
    let told = place.ok(&["eval", "run", "--data", "other.tsv"]);
    assert!(told.starts_with("other.tsv: 4 scored"), "{told}");
    assert!(told.ends_with("other.tsv: texts without a word that the model can read, left out: 2\n"), "{told}");
    let again = place.ok(&["train", "--config", "run.toml", "--data", "data.tsv", "--out", "again"]);
    assert!(again.contains("samples: 4 to train on") && again.contains("training: texts without a word"), "{again}");
    place.file("none.tsv", "ham\t!!!\n");
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "none.tsv"]), @"3: error: none.tsv: gives no sample: no text has a word that the model can read (give texts with words of the training)");
    // A field that is empty is missing, and its row is refused.
    place.file("none.tsv", "ham\t\n");
    assert!(place.refused(&["eval", "run", "--data", "none.tsv"]).contains("none.tsv, line 1: the text is empty"));
}

#[test]
fn what_stands_for_unknown_words_is_none_of_the_known_ones() {
    let place = Place::new();
    let oov = CLASSIFIER.replace("[model.graph]", "[task.prepare]\noov_token = \"<oov>\"\n[model.graph]");
    train(&place, &oov, ("data.tsv", MESSAGES));
    let told = place.json(&["predict", "run", "--text", "qqqq zzzz", "--text", "qqqq prize", "--json"]);
    assert_eq!((&told[0]["known_words"], &told[1]["known_words"]), (&json!(0), &json!(1)));
    assert!(told[0]["class"].is_string(), "it reads them as one word: {}", told[0]);
}

#[test]
fn a_source_without_words_has_no_translation() {
    let place = Place::new();
    let translate = r#"
[data]
valid_fraction = 0
[task]
kind = "translate"
[model.graph]
layers = [
  { type = "embedding", name = "read", inputs = ["source"], output_dim = 4, mask_zero = true },
  { type = "gru", name = "encoder", units = 4 },
  { type = "embedding", name = "written", inputs = ["sequence"], output_dim = 4, mask_zero = true },
  { type = "gru", units = 4, return_sequences = true, initial_state = ["encoder"] },
  { type = "dense", activation = "softmax" },
]
[train]
batch = 4
epochs = 1
"#;
    train(&place, translate, ("pairs.tsv", "one two\tb a\ntwo one\ta b\n"));
    let lines = place.ok_with(&["predict", "run"], "one\n\nxx\ntwo\n");
    let each: Vec<String> = ["one", "two"].map(|text| place.ok(&["predict", "run", "--text", text])).into();
    assert_eq!(lines, format!("{}\n\n{}", each[0], each[1]));
    let told = place.json(&["predict", "run", "--text", "one", "--text", "xx", "--json"]);
    assert_eq!(told[1], json!({ "source": 1, "text": null, "unread": "no word that the model can read" }));
    place.file("other.tsv", "one\ta\nxx\tb\none\t!\n");
    let told = &place.json(&["eval", "run", "--data", "other.tsv", "--json"])[0];
    assert_eq!((&told["texts"], &told["left_out"]["texts"]), (&json!(1), &json!(2)));
}

#[test]
fn a_model_of_characters_is_told_of_in_characters() {
    let place = Place::new();
    let letters = next_words().replace("\"next\"", "\"next\"\nprepare.char_level = true");
    train(&place, &letters, ("data.txt", "abab\nbaba\nabba\n"));
    place.file("other.txt", "abab\nabz\n");
    let told = place.ok(&["eval", "run", "--data", "other.txt"]);
    assert!(told.contains(" characters scored, ") && told.contains(" bits/char\n"), "{told}");
    assert!(
        told.ends_with("other.txt: characters that the model does not know, neither predicted nor read: 1\n"),
        "{told}"
    );
    place.file("none.txt", "z\n");
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "none.txt"]), @"3: error: none.txt: gives no sample: no text has two characters that the model knows (give texts of two characters and more)");
    insta::assert_snapshot!(place.refused(&["generate", "run", "--prompt", "az"]), @"2: error: --prompt: the model does not know the character `z` (leave it out, or use --unk skip)");
    assert_eq!(place.ok_with(&["predict", "run"], "z\n"), "-\tno character that the model can read\tz\n");
}

/// Text that is not UTF-8 is handled as in training, or as it is asked for, by whatever reads it.
#[test]
fn bytes_that_are_no_utf_8_are_handled_alike() {
    let place = Place::new();
    let latin = b"the caf\xe9 and the caf\xe9\n".repeat(200);
    place.file("latin.txt", &latin);
    let words =
        ["--level", "word", "--rnn-size", "4", "--num-layers", "1", "--epochs", "1", "--bptt", "10", "--batch", "2"];
    let begin = |out: &str, more: &[&str]| place.ok(&[&["train", "--out", out][..], &words, more].concat());
    begin("mended", &["--data", "latin.txt", "--encoding-errors", "skip"]);
    place.file("plain.txt", "the caf and the caf\n".repeat(200));
    begin("strict", &["--data", "plain.txt"]);
    let perplexity = |arguments: &[&str]| {
        let told = place.ok(arguments);
        told.lines().find(|line| line.starts_with("perplexity")).unwrap_or(&told).to_owned()
    };
    let plain = perplexity(&["eval", "strict", "--data", "plain.txt"]);
    let skip = &["--encoding-errors", "skip"][..];
    assert_eq!(
        perplexity(&["eval", "mended", "--data", "latin.txt"]),
        perplexity(&["eval", "mended", "--data", "plain.txt"])
    );
    assert_eq!(perplexity(&[&["eval", "strict", "--data", "latin.txt"], skip].concat()), plain);
    for way in ["--per-line", "--n-best"] {
        let scored = |file| place.ok(&[&["eval", "strict", way, "--data", file][..], skip].concat());
        assert_eq!(scored("latin.txt"), scored("plain.txt"), "{way}");
        let refused = place.refused(&["eval", "strict", "--data", "latin.txt", way]);
        assert!(
            refused.starts_with("3: error: latin.txt, line 1: the byte 0xe9 is not valid UTF-8 here (convert"),
            "{refused}"
        );
    }
    let ngram = |file| place.ok(&[&["ngram", "--data", "plain.txt", "--valid", file][..], skip].concat());
    assert_eq!(ngram("latin.txt"), ngram("plain.txt"));
    let units = ["inspect", "units", "strict", "--unit", "lstm:0", "--json", "--data"];
    assert_eq!(
        place.ok(&[&units[..], &["latin.txt"], skip].concat()),
        place.ok(&[&units[..], &["plain.txt"]].concat())
    );
    assert!(
        place
            .refused(&[&units[..6], &["--text", "the"], skip].concat())
            .contains("--encoding-errors: is for a text that is read")
    );
    assert!(
        place.refused(&[&["eval", "strict"], skip].concat()).contains("--encoding-errors: is for a text that is read")
    );
    // A vocabulary that is known says nothing against it.
    let built = place
        .ok(&[&["corpus", "build", "latin.txt", "--vocabulary", "strict", "--out", "x.tokens"][..], skip].concat());
    assert!(built.contains(" 0 unknown"), "{built}");
}

#[test]
fn labelled_samples_that_are_no_utf_8_are_handled_alike() {
    let place = Place::new();
    let latin = b"ham\tsee you at caf\xe9\nspam\twin a prize\nham\tlunch at home\nspam\tclaim a prize\n";
    place.file("latin.tsv", latin);
    place.file("run.toml", CLASSIFIER);
    let begin = ["train", "--config", "run.toml", "--data", "latin.tsv", "--out", "run"];
    assert!(place.refused(&begin).contains("latin.tsv, line 1: the byte 0xe9 is not valid UTF-8 here"));
    place.ok(&[&begin[..], &["--encoding-errors", "skip"]].concat());
    let plain = String::from_utf8_lossy(latin).replace('\u{fffd}', "");
    place.file("plain.tsv", plain);
    let scores = |file| place.ok(&["eval", "run", "--data", file]).replace(file, "");
    assert_eq!(scores("latin.tsv"), scores("plain.tsv"));
    assert!(place.refused(&["eval", "run", "--data", "latin.tsv", "--encoding-errors", "strict"]).contains("0xe9"));
    let mut predict = assert_cmd::Command::cargo_bin("unroll").unwrap();
    let told = predict
        .current_dir(place.path())
        .args(["predict", "run"])
        .write_stdin(&b"at caf\xe9\r\nhome\r\n"[..])
        .output()
        .unwrap();
    assert_eq!(common::text(&told.stdout), place.ok_with(&["predict", "run"], "at caf\nhome\n"));
}
