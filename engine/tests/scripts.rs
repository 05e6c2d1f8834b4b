//! Scripts and lists as users of the command meet them: speakers as prompts and in scores, tables as texts, n-best lists.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::Place;

/// Two who say the same all the time, in turn.
const TURNS: [(&str, &str); 2] = [("ANNA", "the sea is wide: and blue"), ("BEN", "no")];

fn script() -> String {
    let turn = |(name, text): (&str, &str)| format!("{name}: {text}\n");
    TURNS.map(turn).concat().repeat(120)
}

/// The same as a table, whose fields have line ends and quotes.
fn table() -> String {
    let row = |(name, text): (&str, &str)| format!("x,{name},\"{}\"\n", text.replace(" is ", "\nis "));
    format!("scene,who,said\n{}", TURNS.map(row).concat().repeat(120) + "x,BEN,\n")
}

const SMALL: &[&str] =
    &["--rnn-size", "32", "--num-layers", "1", "--seq-length", "32", "--batch-size", "8", "--lr", "0.01"];

#[test]
fn a_speaker_is_a_prompt_and_the_next_one_an_end() {
    let place = Place::new();
    place.file("script.txt", script());
    place.file("table.csv", table());
    let train = ["train", "--recipe", "dialogue-char", "--dropout", "0", "--epochs", "15"];
    place.ok(&[&train[..], SMALL, &["--data", "script.txt", "--out", "run"]].concat());
    let columns = ["--set", "data.columns=[\"who\", \"said\"]"];
    place.ok(&[&train[..], SMALL, &["--data", "table.csv", "--out", "table"], &columns].concat());
    assert_eq!(place.read("run/vocabulary"), place.read("table/vocabulary"), "both are the same text");
    let greedy = ["--temperature", "0", "--length", "200"];
    for run in ["run", "table"] {
        let text = place.ok(&[&["generate", run, "--speaker", "ANNA"][..], &greedy].concat());
        assert_eq!(text.trim_end(), "ANNA: the sea is wide: and blue");
        let text = place.ok(&[&["generate", run, "--prompt", "BEN:"][..], &greedy].concat());
        assert_eq!(text.trim_end(), "BEN: no");
    }
    let text = place.ok(&[&["generate", "run", "--speaker", "ANNA", "--prompt", "the"][..], &greedy].concat());
    assert_eq!(text.trim_end(), "ANNA: the sea is wide: and blue");
    // A prompt without a speaker goes on through turns.
    assert!(place.ok(&[&["generate", "run", "--prompt", "no"][..], &greedy].concat()).contains("\nANNA: the sea"));

    // Each speaker's part is scored, and all parts are the whole text but for what nobody says.
    let score = &place.json(&["eval", "run", "--data", "script.txt", "--json", "--batch", "1"])[0];
    let speakers = score["speakers"].as_array().unwrap();
    let names: Vec<&str> = speakers.iter().map(|speaker| speaker["speaker"].as_str().unwrap()).collect();
    assert_eq!(names, ["ANNA", "BEN"]);
    let sum =
        |key: &str| speakers.iter().map(|s| s[key].as_f64().unwrap() * s["tokens"].as_f64().unwrap()).sum::<f64>();
    assert_eq!(sum("tokens").sqrt() as u64, ((32.0f64 * 120.0 - 1.0).powi(2) + (8.0f64 * 120.0).powi(2)).sqrt() as u64);
    let whole = score["loss"].as_f64().unwrap() * score["tokens"].as_f64().unwrap();
    assert!((sum("loss") - whole).abs() < 1e-4 * whole, "{score}");
    assert!(place.ok(&["eval", "run"]).contains("speaker   tokens   nats a token   perplexity"));

    insta::assert_snapshot!(place.refused(&["generate", "run", "--speaker", "ANNE"]), @"2: error: --speaker: `ANNE` does not speak in the training text (did you mean `ANNA`?)");
    place.file("prose.txt", "nobody speaks here.\n".repeat(200));
    insta::assert_snapshot!(place.refused(&["train", "--recipe", "dialogue-char", "--data", "prose.txt", "--out", "other"]), @"2: error: data.dialogue: no line of the text begins with a speaker (`NAME: line`) (give a script, or name the columns of a table by data.columns)");
    let wrong = [
        "train",
        "--recipe",
        "dialogue-char",
        "--data",
        "table.csv",
        "--out",
        "other",
        "--set",
        "data.columns=[\"name\", \"said\"]",
    ];
    insta::assert_snapshot!(place.refused(&wrong), @"3: error: table.csv, line 1: there is no column `name` for data.columns; there are scene, who, said (name columns by the words of the first row, or by numbers from 0 where it has none)");
}

#[test]
fn words_of_a_script_know_their_speakers_too() {
    let place = Place::new();
    // A name that comes once is no word of the model's.
    place.file("script.txt", script() + "JANICE: no\n");
    let train = ["train", "--recipe", "dialogue-word", "--dropout", "0", "--epochs", "20", "--emsize", "16"];
    place.ok(&[&train[..], SMALL, &["--data", "script.txt", "--out", "run"]].concat());
    let text = place.ok(&["generate", "run", "--speaker", "ANNA", "--temperature", "0", "--length", "50"]);
    assert_eq!(text.trim_end(), "ANNA: the sea is wide: and blue");
    let score = &place.json(&["eval", "run", "--data", "script.txt", "--json"])[0];
    let speakers = score["speakers"].as_array().unwrap();
    let told: Vec<_> = speakers.iter().map(|speaker| speaker["speaker"].as_str()).collect();
    assert_eq!(told, [Some("ANNA"), Some("BEN"), None], "{score}");
    assert_eq!(speakers[2]["tokens"], 3, "<unk> no <eos>");
    assert!(!common::text(&place.read("run/config.toml")).contains("JANICE"));
    insta::assert_snapshot!(place.refused(&["generate", "run", "--speaker", "JANICE"]), @"2: error: --speaker: `JANICE` does not speak in the training text, or its words are there less than 2 times (data.min_count) (there are ANNA, BEN)");
    let rare = [&train[..], SMALL, &["--data", "script.txt", "--out", "rare", "--min-count", "1000"]].concat();
    insta::assert_snapshot!(place.refused(&rare), @r"
    2: warning: script.txt: 82 % of its words are not in the vocabulary and are read as `<unk>`: its figures say little about them
    error: data.dialogue: the vocabulary contains no speaker's name followed by a colon (put a space after the colons of the text, or keep more of its words by data.min_count and data.max_vocab)
    ");
}

#[test]
fn names_in_a_column_may_be_of_any_form() {
    let place = Place::new();
    let rows = "Monica,so it is\nMr. Heckles,\"oh, no\"\nthe waiter,yes: sir\n".repeat(80);
    place.file("table.csv", format!("\u{feff}speaker,line\n{rows}"));
    let train = ["train", "--recipe", "dialogue-char", "--dropout", "0", "--epochs", "15", "--data", "table.csv"];
    place.ok(&[&train[..], SMALL, &["--out", "run", "--set", "data.columns=[\"speaker\", \"line\"]"]].concat());
    let greedy = ["--temperature", "0", "--length", "200"];
    for (name, said) in [("Monica", "so it is"), ("Mr. Heckles", "oh, no"), ("the waiter", "yes: sir")] {
        let text = place.ok(&[&["generate", "run", "--speaker", name][..], &greedy].concat());
        assert_eq!(text.trim_end(), format!("{name}: {said}"));
    }
    // Who is not in the training text is nobody of those who are.
    place.file("other.csv", format!("line,speaker\nso it is,Monica\n{}", "no,the other waiter\n".repeat(9)));
    let score = &place.json(&["eval", "run", "--data", "other.csv", "--json", "--batch", "1"])[0];
    let speakers = score["speakers"].as_array().unwrap();
    assert_eq!((&speakers[0]["speaker"], &speakers[0]["tokens"]), (&"Monica".into(), &16.into()), "{score}");
    assert_eq!((&speakers[1]["speaker"], &speakers[1]["tokens"]), (&serde_json::Value::Null, &(9 * 21).into()));
    assert!(place.ok(&["eval", "run", "--data", "other.csv"]).contains("\n(others, whom the run does not know)"));

    let refused = |columns| place.refused(&[&train[..], &["--out", "other", "--set", columns]].concat());
    insta::assert_snapshot!(refused("data.columns=[2, 1]"), @"3: error: table.csv, line 1: the row has 2 fields and none is column 2 of data.columns (name columns by the words of the first row, or by numbers from 0 where it has none)");
    insta::assert_snapshot!(refused("data.columns=[0]"), @"2: error: data.dialogue: no row of the column begins with a speaker (`NAME: line`) (name the speaker's column before it in data.columns, or set data.dialogue=false for a text without speakers)");
    place.file("table.csv", format!("speaker,line\n{rows}Monica,\"so it is\nMonica,so\n"));
    insta::assert_snapshot!(refused("data.columns=[0, 1]"), @"3: error: table.csv, line 242: a quoted field is not closed (close it, and double the quotes within a field)");
}

#[test]
fn lists_are_scored_and_their_best_lines_told() {
    let place = Place::new();
    place.file("text.txt", "the cat sat on the mat\na dog ran to the cat\n".repeat(60));
    let options = [
        "--data",
        "text.txt",
        "--level",
        "word",
        "--emsize",
        "16",
        "--epochs",
        "20",
        "--min-count",
        "2",
        "--out",
        "run",
    ];
    place.ok(&[&["train"][..], SMALL, &options].concat());
    place.file("lists.tsv", "u1\tthe cat sat on the mat\nu1\tthe mat sat on the cat\nu2\tdog a ran to cat the\nu2\ta dog ran to the cat\nu2\ta zebra ran\n");
    let scored = place.json(&["eval", "run", "--data", "lists.tsv", "--n-best", "--json"]);
    let number = |at: usize, key: &str| scored[at][key].as_f64().unwrap();
    assert!(number(0, "ln_p") > number(1, "ln_p") && number(3, "ln_p") > number(2, "ln_p"));
    assert_eq!((number(0, "tokens"), number(0, "unknown"), number(4, "unknown")), (7.0, 0.0, 1.0));
    let best = place.ok(&["eval", "run", "--data", "lists.tsv", "--n-best", "--best"]);
    assert_eq!(best, "u1\tthe cat sat on the mat\nu2\ta dog ran to the cat\n");
    // A score is the log-probability of a token where the power is one; lines without a tab are lists of their own.
    let lines = "the cat sat on the mat\na dog\n";
    let told = place.ok_with(&["eval", "run", "--data", "-", "--n-best", "--length-power", "1"], lines);
    let rows: Vec<Vec<&str>> = told.lines().map(|row| row.split('\t').collect()).collect();
    assert_eq!(rows[0], ["id", "ln p", "tokens", "<unk>", "score", "text"]);
    let value = |row: usize, column: usize| rows[row][column].parse::<f64>().unwrap();
    assert!((value(1, 4) - value(1, 1) / 7.0).abs() < 1e-6 && rows[2][0] == "2", "{told}");
    // The same log-probability as a line of --per-line.
    place.file("lines.txt", lines);
    let per_line = place.ok(&["eval", "run", "--data", "lines.txt", "--per-line"]);
    assert_eq!(per_line.lines().nth(1).unwrap().split('\t').nth(2).unwrap(), rows[1][1]);

    place.file("empty.tsv", "u1\tthe cat\nu1\t\n");
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "empty.tsv", "--n-best"]), @"3: error: empty.tsv, line 2: there is no text to score (give ID, a tab and a text)");
    place.file("scores.tsv", "u1\tthe cat\t-3.5\n");
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "scores.tsv", "--n-best"]), @"3: error: scores.tsv, line 1: has more columns than ID and text (remove the other scores, and add them to the scores printed here)");
    place.file("none.tsv", "");
    for how in ["--n-best", "--per-line"] {
        let none = place.refused(&["eval", "run", "--data", "none.tsv", how]);
        assert_eq!(none, "3: error: none.tsv: the text is empty (give one text per line)");
    }
    // A mark of the byte order, as spreadsheets write it, is no part of the first ID.
    place.file("marked.tsv", "\u{feff}u1\tthe cat sat on the mat\nu1\tcat the mat sat on the\n");
    let marked = place.ok(&["eval", "run", "--data", "marked.tsv", "--n-best", "--best"]);
    assert_eq!(marked, "u1\tthe cat sat on the mat\n");
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "lists.tsv", "--skip-unknown"]), @"2: error: --skip-unknown: is for lines that are scored on their own (give --per-line or --n-best; in a running text, words missing from the vocabulary are scored as <unk>)");
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "lists.tsv", "--length-power", "1"]), @"2: error: --length-power: is for captions, translations and n-best lists, this is a language model");
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "lists.tsv", "--n-best", "--beam", "2"]), @"2: error: --beam: is for captions and translations, this is a language model");
}

#[test]
fn what_a_vocabulary_has_not_is_refused_with_its_place_or_left_out_and_counted() {
    let place = Place::new();
    place.file("text.txt", "the cat sat on the mat\n".repeat(40));
    place.ok(&[&["train", "--data", "text.txt", "--epochs", "1", "--out", "run"][..], SMALL].concat());
    place.file("lists.tsv", "u1\tthe cat\nu1\tthe xcat?\n");
    let eval = ["eval", "run", "--data", "lists.tsv", "--n-best"];
    insta::assert_snapshot!(place.refused(&eval), @r#"3: error: lists.tsv: line 2, column 5: the character "x" (U+0078) is not in the vocabulary (use --skip-unknown to leave them out, or use a model whose vocabulary has `<unk>`)"#);
    let scored = place.json(&[&eval[..], &["--skip-unknown", "--json"]].concat());
    assert_eq!((&scored[0]["unknown"], &scored[1]["unknown"]), (&0.into(), &2.into()));
    assert_eq!((&scored[0]["ln_p"], &scored[0]["tokens"]), (&scored[1]["ln_p"], &scored[1]["tokens"]));
}
