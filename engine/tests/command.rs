//! The command as its users meet it: what it refuses, with which words and exit codes, and a whole run from text to sample.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Place, text};

/// A text that repeats itself, so that a tiny model learns it in no time.
fn verses() -> String {
    "the quick brown fox jumps over the lazy dog\n".repeat(300)
}

/// A run that takes a moment.
const TINY: [&str; 15] = [
    "train",
    "--data",
    "verses.txt",
    "--rnn-size",
    "12",
    "--num-layers",
    "1",
    "--batch",
    "4",
    "--bptt",
    "20",
    "--epochs",
    "3",
    "--sample-length",
    "30",
];

fn tiny<'a>(more: &[&'a str]) -> Vec<&'a str> {
    TINY.into_iter().chain(more.iter().copied()).collect()
}

#[test]
fn bad_texts_are_refused_and_leave_nothing_behind() {
    let place = Place::new();
    place.file("empty.txt", "");
    place.file("short.txt", "short");
    place.file("latin1.txt", b"caf\xe9 au lait");
    fs::create_dir(place.path().join("folder")).unwrap();
    place.file("folder/picture.png", b"\x89PNG\0\0\0");
    let refused = |data: &str| place.refused(&["train", "--data", data, "--out", "run"]);
    insta::assert_snapshot!(refused("empty.txt"), @"3: error: empty.txt: the text is empty (give a file with text)");
    insta::assert_snapshot!(refused("short.txt"), @"3: error: short.txt: the text has 5 tokens, fewer than one batch of 50 rows of 50 steps (give a longer text, or fewer rows (--batch-size) or steps (--seq-length))");
    insta::assert_snapshot!(refused("latin1.txt"), @"3: error: latin1.txt, byte 3: the byte 0xe9 is not valid UTF-8 here (convert the text to UTF-8, or set encoding errors to replace or skip, or use the level byte)");
    insta::assert_snapshot!(refused("missing.txt"), @"3: error: missing.txt: no such file (check the path)");
    insta::assert_snapshot!(refused("folder"), @"3: error: folder: no text file in this folder (name a folder with .txt or .txt.gz files)");
    assert!(!place.exists("run"), "a run that never began leaves no folder");
    place.refused(&["train", "--data", "empty.txt"]);
    assert!(!place.exists("runs"), "nor does the folder of runs stay");
}

#[test]
fn text_that_is_not_utf8_is_mended_where_asked() {
    let place = Place::new();
    place.file("latin1.txt", b"caf\xe9 au lait");
    let build = |how: &str| {
        place.ok(&["corpus", "build", "latin1.txt", "--encoding-errors", how, "--out", "x.tokens"]);
        let info = place.ok(&["corpus", "info", "x.tokens", "--json"]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        let top = info["top"].as_array().unwrap().iter().map(|entry| entry[0].as_str().unwrap().to_owned());
        (info["tokens"].as_u64().unwrap(), top.collect::<String>().contains('\u{fffd}'))
    };
    assert_eq!((build("replace"), build("skip")), ((12, true), (11, false)));
    insta::assert_snapshot!(place.refused(&["corpus", "build", "latin1.txt", "--out", "x.tokens"]), @"3: error: latin1.txt, byte 3: the byte 0xe9 is not valid UTF-8 here (convert the text to UTF-8, or set encoding errors to replace or skip, or use the level byte)");
    assert!(
        place.ok(&["corpus", "info", "x.tokens"]).contains("tokens            11\n"),
        "what stood there is untouched"
    );
}

#[test]
fn an_unreadable_text_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.file("secret.txt", verses());
    let path = place.path().join("secret.txt");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&path).is_ok() {
        println!("SKIPPED: this user may read every file");
        return;
    }
    insta::assert_snapshot!(
        place.refused(&["train", "--data", "secret.txt"]),
        @"3: error: secret.txt: the file may not be read (check its permissions)"
    );
}

#[test]
fn wrong_options_are_refused_with_what_is_meant() {
    let place = Place::new();
    place.file("verses.txt", verses());
    place.file("unknown.toml", "[train]\nbatch = 4\nlerning_rate = 3\n");
    place.file(
        "graph.toml",
        "[[model.graph.layers]]\ntype = \"one_hot\"\n[[model.graph.layers]]\ntype = \"dense\"\nunits = 5\n",
    );
    let refused = |arguments: &[&str]| {
        let all: Vec<&str> =
            ["train", "--data", "verses.txt", "--out", "run"].into_iter().chain(arguments.iter().copied()).collect();
        place.refused(&all)
    };
    insta::assert_snapshot!(refused(&["--rnn-sise", "3"]), @r#"
2: error: unexpected argument '--rnn-sise' found

  tip: a similar argument exists: '--rnn-size'

Usage: unroll train --data <FILE>... --out <RUN> --rnn-size <N>

For more information, try '--help'.
"#);
    insta::assert_snapshot!(refused(&["--model", "lsmt"]), @r#"
2: error: invalid value 'lsmt' for '--model <WORD>'
  [possible values: lstm, gru, rnn, rnn_tanh, rnn_relu]

  tip: a similar value exists: 'lstm'

For more information, try '--help'.
"#);
    insta::assert_snapshot!(refused(&["--recipe", "char-rn"]), @"2: error: there is no recipe `char-rn` (did you mean `char-rnn`? `unroll recipes` lists them)");
    insta::assert_snapshot!(refused(&["--set", "model.hiden=3"]), @"2: error: --set model.hiden: unknown key `hiden`; did you mean `hidden`?");
    insta::assert_snapshot!(refused(&["--config", "unknown.toml"]), @"3: error: unknown.toml, line 3, column 1: unknown key `lerning_rate`; did you mean `optimizer.lr`?");
    insta::assert_snapshot!(refused(&["--config", "missing.toml"]), @"3: error: missing.toml: no such file (check the path)");
    insta::assert_snapshot!(refused(&["--config", "graph.toml"]), @"2: error: the model ends in shape (None, None, 5), the loss needs 28 outputs (end it in a dense layer of that many units)");
    insta::assert_snapshot!(refused(&["--lr", "-1"]), @"2: error: --lr: must be a number greater than 0, got -1");
    insta::assert_snapshot!(refused(&["--dropout", "1.5"]), @"2: error: --dropout: must be at least 0 and less than 1, got 1.5");
    insta::assert_snapshot!(refused(&["--batch", "0"]), @"2: error: --batch-size: must be from 1 to 16777216, got 0");
    insta::assert_snapshot!(refused(&["--threads", "0"]), @"2: error: --threads: must be from 1 to 1024, got 0");
    insta::assert_snapshot!(refused(&["--no-fuse", "everything"]), @"2: error: no fusion is named `everything` (known: token_input, softmax_head)");
    insta::assert_snapshot!(refused(&["--split", "none", "--early-stop", "3"]), @"2: error: train.early_stop: needs a validation loss, and nothing is evaluated (give validation text, or remove it)");
    insta::assert_snapshot!(refused(&["--primetext", "Ω"]), @r#"2: error: the character "Ω" (U+03A9) at byte 0 (line 1, column 1) is not in the vocabulary (leave it out, or use --unk skip)"#);
    insta::assert_snapshot!(refused(&["--tied", "--emsize", "7"]), @"2: error: --tied: needs an embedding as large as the hidden layer, got embedding 7 and hidden 128");
    assert!(!place.exists("run"), "a run that never began leaves no folder");
}

#[test]
fn a_model_that_does_not_fit_in_memory_is_refused_with_figures() {
    let place = Place::new();
    place.file("verses.txt", verses());
    let refused = place.refused(&["train", "--data", "verses.txt", "--rnn-size", "2000000", "--out", "run"]);
    // 2 layers x 4 gates x 2,000,000 units x (inputs + 2,000,000) weights of 4 bytes alone are 180 TB.
    let (needed, _) = refused.strip_prefix("2: error: training this model needs ").unwrap().split_once(" GiB").unwrap();
    assert!(needed.parse::<f64>().unwrap() > 160_000.0, "{refused}");
    assert!(refused.contains("GiB are available"), "{refused}");
    assert!(!place.exists("run"));
}

#[test]
fn options_win_over_the_file_which_wins_over_the_recipe() {
    let place = Place::new();
    place.file("mine.toml", "[model]\nhidden = 64\nlayers = 3\n");
    let parameters = |arguments: &[&str]| {
        let all: Vec<&str> = ["summary", "--json"].into_iter().chain(arguments.iter().copied()).collect();
        let summary: serde_json::Value = serde_json::from_str(&place.ok(&all)).unwrap();
        summary["parameters"].as_u64().unwrap()
    };
    // Parameters of a stack whose cells have two biases: 4 H (V + H + 2) + (L - 1) 4 H (2 H + 2) + (H + 1) V, with V = 65.
    let stack = |h: u64, l: u64| 4 * h * (65 + h + 2) + (l - 1) * 4 * h * (2 * h + 2) + (h + 1) * 65;
    assert_eq!(parameters(&["--recipe", "char-rnn"]), stack(128, 2));
    assert_eq!(parameters(&["--recipe", "char-rnn", "--config", "mine.toml"]), stack(64, 3));
    assert_eq!(parameters(&["--recipe", "char-rnn", "--config", "mine.toml", "-rnn_size", "32"]), stack(32, 3));
    assert_eq!(
        parameters(&["--recipe", "char-rnn", "--config", "mine.toml", "--nhid=32", "--nlayers=1"]),
        stack(32, 1)
    );
}

#[test]
fn a_model_of_vectors_has_a_table_and_takes_no_text() {
    let place = Place::new();
    let layers = "layers = [{ type = \"input\", width = 10, batch_size = 8 }, { type = \"lstm\", units = 3 }, { type = \"dense\" }]";
    place.file("vectors.toml", format!("[model.graph]\n{layers}\n"));
    place.file("verses.txt", verses());
    let refused = place.refused(&["train", "--config", "vectors.toml", "--data", "verses.txt", "--out", "run"]);
    let want = "2: error: layer `input` takes vectors of 10, and a text has none";
    assert!(refused.starts_with(want), "{refused}");
    assert!(!place.exists("run"));
    let table = place.ok(&["summary", "--config", "vectors.toml", "--vocab", "3"]);
    assert!(table.contains("(8, None, 10)") && table.contains("(8, 3)"), "{table}");
    place.ok(&["gradcheck", "--config", "vectors.toml", "--vocab", "3"]);
    let refused = place.refused(&["gradcheck", "--config", "vectors.toml", "--vocab", "3", "--batch", "2"]);
    assert!(refused.starts_with("2: error: 2 rows, but the model's batch_size is 8"), "{refused}");
}

#[test]
fn summary_is_kerass_table() {
    insta::assert_snapshot!(Place::new().ok(&["summary", "--recipe", "char-rnn"]));
}

#[test]
fn recipes_that_nobody_ran_say_so() {
    let place = Place::new();
    let list = place.ok(&["recipes"]);
    for name in ["min-char-rnn", "char-rnn", "char-gru", "zaremba-small", "zaremba-medium", "awd-lstm"] {
        assert!(list.contains(name), "{list}");
        let shown = place.ok(&["recipes", "show", name]);
        assert!(shown.contains("run_to_end = true") || shown.starts_with("# NOTE: "), "{shown}");
        // What is shown is a configuration that --config takes.
        place.file("shown.toml", &shown);
        let of = |source: &str, name: &str| place.ok(&["summary", "--json", source, name]).replace(name, "");
        assert_eq!(of("--config", "shown.toml").replace("model\":\"model", "model\":\""), of("--recipe", name));
    }
    assert_eq!(place.ok(&["recipes", "--json"]).lines().count(), list.lines().count() - 2);
}

#[test]
fn from_text_to_sample_and_on() {
    let place = Place::new();
    place.file("verses.txt", verses());
    let out = place.ok(&tiny(&["--out", "run", "--primetext", "the "]));
    assert!(!out.contains('\r'), "a log has full lines only");
    assert!(out.contains("best validation loss") && out.contains("unroll generate run"), "{out}");
    assert!(out.contains("\nthe "), "the sample goes on from the prompt: {out}");

    // The same seed gives the same text, whatever the threads; sample 1 is the same alone and among others.
    let generate = |more: &[&str]| {
        let all: Vec<&str> = ["generate", "run", "--length", "40"].into_iter().chain(more.iter().copied()).collect();
        place.ok(&all)
    };
    let two = generate(&["--samples", "2", "--prompt", "fox "]);
    assert_eq!(two, generate(&["--samples", "2", "--prompt", "fox ", "--threads", "3", "--stream"]));
    assert!(two.starts_with(generate(&["--prompt", "fox "]).trim_end()), "{two}");
    assert_ne!(generate(&[]), generate(&["--seed", "5"]));
    assert_eq!(generate(&["--temperature", "0"]), generate(&["--temperature", "0", "--seed", "5"]));
    let json: serde_json::Value = serde_json::from_str(&generate(&["--json", "--prompt", "fox "])).unwrap();
    assert!(two.starts_with(&format!("fox {}", json["text"].as_str().unwrap())), "{json}");

    insta::assert_snapshot!(place.refused(&["generate", "run", "--prompt", "the Ωmega"]), @r#"2: error: the character "Ω" (U+03A9) at byte 4 (line 1, column 5) is not in the vocabulary (leave it out, or use --unk skip)"#);
    insta::assert_snapshot!(place.refused(&["train", "--data", "verses.txt", "--out", "run"]), @"2: error: --out: run is already a run (go on with it by `unroll train --resume run`, or choose another folder)");
    insta::assert_snapshot!(place.refused(&["train", "--resume", "run", "--rnn-size", "13"]), @"2: error: the run cannot be resumed: model.hidden is 12 in the checkpoint and 13 now (resume with the settings and the text of the run, or begin a new one with --out)");
    insta::assert_snapshot!(place.refused(&["train", "--resume", "run", "--data", "other.txt"]), @"2: error: --data: a run goes on with the texts it began with; begin a new run for others");

    // A run that goes on needs no text and keeps what was changed.
    fs::remove_file(place.path().join("verses.txt")).unwrap();
    let more = place.ok(&["train", "--init_from", "run", "--epochs", "5"]);
    assert!(more.contains("going on after step"), "{more}");
    let config = fs::read_to_string(place.path().join("run/config.toml")).unwrap();
    assert!(config.contains("epochs = 5"), "{config}");
}

#[test]
fn evaluation_does_not_depend_on_threads_or_rows() {
    let place = Place::new();
    place.file("verses.txt", verses());
    place.file("other.txt", "the lazy dog jumps over the quick brown fox\n".repeat(30));
    place.ok(&tiny(&["--out", "run", "--valid", "other.txt"]));
    let score = |more: &[&str]| {
        let all: Vec<&str> = ["eval", "run", "--json"].into_iter().chain(more.iter().copied()).collect();
        let score: serde_json::Value = serde_json::from_str(&place.ok(&all)).unwrap();
        (score["loss"].as_f64().unwrap(), score["tokens"].as_u64().unwrap())
    };
    let (loss, tokens) = score(&[]);
    assert_eq!(tokens, 44 * 30 - 1, "every token but the first, which nothing stands before");
    assert_eq!((loss, tokens), score(&["--threads", "3"]));
    let (alone, _) = score(&["--batch", "1"]);
    assert!((loss - alone).abs() < 1e-5 * alone, "{loss} {alone}");
    assert_eq!((loss, tokens), score(&["--data", "other.txt"]));

    // Line by line: sums of log-probabilities, each line on its own.
    place.file("lines.txt", "the fox\n\nthe dog\nthe fox\n");
    let lines = place.ok(&["eval", "run", "--data", "lines.txt", "--per-line", "--batch", "3"]);
    let alone = place.ok(&["eval", "run", "--data", "lines.txt", "--per-line", "--batch", "1"]);
    let parse = |table: &str| -> Vec<(u64, f64)> {
        let rows = table.lines().skip(1).map(|line| line.split('\t').collect::<Vec<_>>());
        rows.map(|row| (row[1].parse().unwrap(), row[2].parse().unwrap())).collect()
    };
    let (lines, alone) = (parse(&lines), parse(&alone));
    assert_eq!(lines.iter().map(|line| line.0).collect::<Vec<_>>(), [8, 1, 8, 8]);
    assert_eq!(lines[0].1, lines[3].1);
    assert!(lines.iter().zip(&alone).all(|(a, b)| (a.1 - b.1).abs() < 1e-4), "{lines:?} {alone:?}");

    place.file("empty.txt", "");
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "empty.txt"]), @"3: error: empty.txt: the text is empty (give a file with text)");
    place.file("greek.txt", "the αβγ\n");
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "greek.txt"]), @r#"3: error: greek.txt, byte 4: the character "α" (U+03B1) is not in the vocabulary (build the vocabulary from a text that has it, or with `<unk>`)"#);
    insta::assert_snapshot!(place.refused(&["eval", "nowhere"]), @"3: error: nowhere: is not a run: it has no config.toml (name the folder that `unroll train` has written)");
    insta::assert_snapshot!(place.refused(&["eval", "run", "--checkpoint", "7"]), @"3: error: run: there is no checkpoint of step 7 (there are those of the steps 165, 330, 495)");
}

#[test]
fn train_speaks_json_where_asked() {
    let place = Place::new();
    place.file("verses.txt", verses());
    let out = place.ok(&tiny(&["--json", "--log-interval", "10", "--sample-every", "20"]));
    let events: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let count = |kind: &str| events.iter().filter(|event| event["event"] == kind).count();
    assert_eq!((count("started"), count("finished")), (1, 1));
    assert!(count("step") >= 9 && count("evaluated") >= 3 && count("sample") >= 4, "{out}");
    let losses: Vec<f64> = events.iter().filter_map(|event| event["loss"].as_f64()).collect();
    assert!(losses.last() < losses.first(), "{losses:?}");
    assert!(place.exists("runs/1/config.toml"), "the first free folder in runs");
}

#[test]
fn min_char_rnn_prints_the_lines_people_know() {
    let place = Place::new();
    place.file("verses.txt", verses());
    let out = place.ok(&["train", "--recipe", "min-char-rnn", "--data", "verses.txt", "--max-steps", "201"]);
    let lines: Vec<&str> = out.lines().filter(|line| line.starts_with("iter ")).collect();
    assert_eq!(lines.len(), 3, "{out}");
    let smooth: Vec<f64> = lines.iter().map(|line| line.split("loss: ").nth(1).unwrap().parse().unwrap()).collect();
    // 27 letters with the space, and the line break: S starts at 25 ln 28, less a thousandth of what the first step saves.
    let start = 25.0 * 28.0_f64.ln();
    assert!(lines[0].starts_with("iter 0, loss: ") && (smooth[0] - start).abs() < 0.01 * start, "{lines:?}");
    // Adagrad's first steps, each of 0.1, overshoot: S may rise for a while before it falls.
    assert!(lines[1].starts_with("iter 100, loss: ") && smooth[2] < smooth[1] && smooth[2] < smooth[0], "{lines:?}");
    assert_eq!(out.matches("\n----\n").count(), 4, "a sample at 100 and at 200: {out}");
}

#[test]
fn a_known_source_shows_its_limit() {
    let place = Place::new();
    place.file("s.tmp.txt", "a file of the user");
    let synthesized = place.ok(&[
        "corpus",
        "synthesize",
        "--symbols",
        "5",
        "--order",
        "1",
        "--branching",
        "3",
        "--tokens",
        "40000",
        "--out",
        "s.tokens",
        "--json",
    ]);
    // The text on the way there is gone, and nothing else.
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
    let synthesized: serde_json::Value = serde_json::from_str(&synthesized).unwrap();
    let rate = synthesized["entropy_rate"].as_f64().unwrap();
    let info: serde_json::Value = serde_json::from_str(&place.ok(&["corpus", "info", "s.tokens", "--json"])).unwrap();
    assert_eq!((info["tokens"].as_u64(), info["vocabulary"].as_u64()), (Some(40_000), Some(5)));
    assert_eq!(info["entropy_rate"].as_f64(), Some(rate));
    let out = place.ok(&[
        "train",
        "--data",
        "s.tokens",
        "--rnn-size",
        "16",
        "--num-layers",
        "1",
        "--batch",
        "20",
        "--seq-length",
        "25",
        "--epochs",
        "8",
        "--lr",
        "0.02",
        "--split",
        "tail",
        "--out",
        "run",
    ]);
    assert!(out.contains("the source's entropy rate is"), "{out}");
    let score: serde_json::Value = serde_json::from_str(&place.ok(&["eval", "run", "--json"])).unwrap();
    let excess = score["excess"].as_f64().unwrap();
    // 2,000 tokens validate: their own mean may lie a little below the rate.
    assert!((-0.05..0.05).contains(&excess), "{score}");
}

#[test]
fn of_two_runs_in_one_folder_the_second_is_refused_before_it_writes() {
    let place = Place::new();
    place.file("verses.txt", verses());
    let from_stdin: Vec<&str> =
        TINY.iter().map(|&word| if word == "verses.txt" { "-" } else { word }).chain(["--out", "run"]).collect();
    let mut first = Command::new(assert_cmd::cargo::cargo_bin!("unroll"))
        .current_dir(place.path())
        .args(from_stdin)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while !place.exists("run/.lock") && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    // The first still waits for its text.
    insta::assert_snapshot!(place.refused(&tiny(&["--out", "run"])), @"2: error: another process is training in run (wait for it, stop it, or choose another folder)");
    first.stdin.take().unwrap().write_all(verses().as_bytes()).unwrap();
    assert!(first.wait().unwrap().success());
    assert!(place.ok(&["eval", "run"]).contains("perplexity"));
}

#[test]
fn corpora_are_built_shown_and_refused() {
    let place = Place::new();
    place.file("verses.txt", verses());
    place.file("empty.txt", "");
    let built = place.ok(&["corpus", "build", "verses.txt", "--level", "word", "--out", "v.tokens"]);
    assert!(built.starts_with("v.tokens: 3,000 tokens, 10 different, 0 unknown"), "{built}");
    let info = place.ok(&["corpus", "info", "v.tokens"]);
    assert!(info.contains("level             word\ntokens            3,000\n"), "{info}");
    insta::assert_snapshot!(place.refused(&["corpus", "build", "empty.txt", "--out", "e.tokens"]), @"3: error: empty.txt: the text is empty (give a file with text)");
    insta::assert_snapshot!(place.refused(&["corpus", "info", "verses.txt"]), @"3: error: verses.txt: not a corpus file (make one from text with `unroll corpus build`)");
    insta::assert_snapshot!(place.refused(&["corpus", "synthesize", "--symbols", "1", "--out", "x.tokens"]), @"2: error: symbols: must be from 2 to 16777216, got 1");
    let whole = fs::read(place.path().join("v.tokens")).unwrap();
    place.file("cut.tokens", &whole[..whole.len() - 10]);
    let cut = place.refused(&["train", "--data", "cut.tokens"]);
    assert!(cut.starts_with("3: error: cut.tokens"), "{cut}");
    assert!(!place.exists("e.tokens") && !place.exists("runs/1"));
}

#[test]
fn a_vocabulary_that_does_not_fit_the_model_is_refused() {
    let place = Place::new();
    place.file("verses.txt", verses());
    place.file("digits.txt", "0123456789\n".repeat(500));
    for (text, level, out) in [("verses.txt", "char", "v"), ("digits.txt", "char", "d"), ("verses.txt", "word", "w")] {
        place.ok(&["corpus", "build", text, "--level", level, "--out", out]);
    }
    insta::assert_snapshot!(place.refused(&["train", "--data", "v", "--valid", "d", "--out", "run"]), @"3: error: d: the vocabulary does not fit the model: the text's vocabulary has 11 tokens, the model's 28 (build it with the model's own: `unroll corpus build TEXT --vocabulary FROM --out FILE`, FROM being the run or the training text's token file)");
    place.ok(&tiny(&["--out", "run"]));
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "w"]), @"3: error: w: the vocabulary does not fit the model: the text is cut into words, but the model knows chars (build it with the model's own: `unroll corpus build TEXT --vocabulary FROM --out FILE`, FROM being the run or the training text's token file)");
    // What the message says helps.
    place.ok(&["corpus", "build", "verses.txt", "--vocabulary", "run", "--out", "fits"]);
    place.ok(&["eval", "run", "--data", "fits"]);
    insta::assert_snapshot!(place.refused(&["corpus", "build", "verses.txt", "--out", "missing/x"]), @"5: error: missing/x: cannot write: there is no such folder; make it first, or choose another");
    insta::assert_snapshot!(place.refused(&["corpus", "build", "verses.txt", "--out", "run"]), @"5: error: run: cannot write: it is a folder; name a file");
    insta::assert_snapshot!(place.refused(&["corpus", "build", "verses.txt", "v", "--out", "x"]), @"3: error: v: is a token file, not text (give it alone: `unroll train --data FILE`; or name the texts that it was built from)");
}

#[test]
fn a_damaged_checkpoint_gives_way_to_the_one_before() {
    let place = Place::new();
    place.file("verses.txt", verses());
    place.ok(&tiny(&["--out", "run"]));
    let steps = ["step-00000156", "step-00000312", "step-00000468"];
    let weights = |step: &str| place.path().join("run/checkpoints").join(step).join("weights.safetensors");
    let whole = steps.map(|step| fs::read(weights(step)).unwrap());
    let warned = |arguments: &[&str]| {
        let output = place.unroll(arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    let length = ["generate", "run", "--length", "5"];
    assert_eq!(warned(&length), "", "nothing to tell of a run in order");
    let of_312 = place.ok(&["generate", "run/checkpoints/step-00000312", "--length", "5"]);

    // Cut short: the best, which is the newest.
    fs::write(weights(steps[2]), &whole[2][..1000]).unwrap();
    insta::assert_snapshot!(warned(&length).trim(), @"warning: run/checkpoints/step-00000468: passed over for step 312: weights.safetensors has 1000 bytes instead of 9704");
    assert_eq!(place.ok(&length), of_312);
    insta::assert_snapshot!(warned(&["eval", "run", "--checkpoint", "newest"]).trim(), @"warning: run/checkpoints/step-00000468: passed over for step 312: weights.safetensors has 1000 bytes instead of 9704");
    insta::assert_snapshot!(place.refused(&["generate", "run", "--checkpoint", "468"]), @"3: error: run/checkpoints/step-00000468: weights.safetensors has 1000 bytes instead of 9704 (name another checkpoint of the run, or restore this one from a copy)");
    // Swapped: that of another step.
    fs::write(weights(steps[2]), &whole[1]).unwrap();
    insta::assert_snapshot!(warned(&["train", "--resume", "run"]).trim(), @"warning: run/checkpoints/step-00000468: passed over: weights.safetensors is damaged between bytes 0 and 9704: its checksum does not fit");
    assert_eq!(fs::read(weights(steps[2])).unwrap(), whole[2], "trained again, to the same bytes");

    // A vocabulary that was lost comes back from the tokens.
    fs::remove_file(place.path().join("run/vocabulary")).unwrap();
    insta::assert_snapshot!(place.refused(&length), @"3: error: run/vocabulary: no such file (check the path)");
    place.ok(&["train", "--resume", "run"]);
    place.ok(&length);

    for step in steps {
        fs::write(weights(step), "nonsense").unwrap();
    }
    insta::assert_snapshot!(place.refused(&length), @"3: error: run/checkpoints/step-00000468: all 3 checkpoints are damaged; the newest: weights.safetensors has 8 bytes instead of 9704 (restore one from a copy, or train anew in another folder)");
    insta::assert_snapshot!(place.refused(&["train", "--resume", "run"]), @"3: error: run/checkpoints/step-00000468: all 3 checkpoints are damaged; the newest: weights.safetensors has 8 bytes instead of 9704 (restore one from a copy, or train anew in another folder)");
}

#[test]
fn weights_from_a_file_are_checked() {
    let place = Place::new();
    place.file("verses.txt", verses());
    place.file("nonsense.safetensors", "nonsense");
    place.ok(&tiny(&["--out", "run"]));
    let refused = |file: &str, more: &[&str]| {
        let all: Vec<&str> =
            ["--init-weights", file, "--out", "other"].into_iter().chain(more.iter().copied()).collect();
        place.refused(&tiny(&all))
    };
    insta::assert_snapshot!(refused("nonsense.safetensors", &[]), @"3: error: nonsense.safetensors: is no safetensors file: a header of 7310308002159816558 bytes in a file of 8");
    let newest = fs::read_dir(place.path().join("run/checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    let newest = newest.filter(|path| path.is_dir()).max().unwrap();
    fs::copy(newest.join("weights.safetensors"), place.path().join("weights.safetensors")).unwrap();
    insta::assert_snapshot!(refused("weights.safetensors", &["--set", "model.layers=2"]), @"3: error: weights.safetensors: nothing in it is layer `lstm_1` (LSTM), which has `lstm_1/kernel` [12, 48], `lstm_1/recurrent_kernel` [12, 48], `lstm_1/bias` [48]; the file has `dense` [12, 28], `lstm` [28, 48] (say which it is with --map lstm_1=NAME, or describe the model as it is)");
    insta::assert_snapshot!(refused("weights.safetensors", &["--set", "model.hidden=13"]), @"3: error: weights.safetensors: `lstm/kernel` is F32 [28, 48], but layer `lstm` of the model has F32 [28, 52] there (describe the model with its sizes)");
    let begun = place.ok(&tiny(&["--init-weights", "weights.safetensors", "--out", "other"]));
    assert!(begun.contains("best validation loss"), "{begun}");
}

#[test]
fn gradients_are_checked_and_reported() {
    let place = Place::new();
    let small = ["gradcheck", "--vocab", "7", "--rnn-size", "5", "--num-layers", "1", "--entries", "20"];
    let table = place.ok(&small);
    assert!(table.contains("vocabulary 7; 2 steps of 3 x 2 tokens"), "{table}");
    assert!(table.contains("All gradients are right."), "{table}");
    let json = place.ok(&[&small[..], &["--json", "--steps", "2", "--batch", "4"]].concat());
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&report["passed"], &report["steps"], &report["rows"]), (&true.into(), &2.into(), &4.into()));
    assert_eq!(report["comparisons"][0]["tensors"][0]["checked"], 20);
    assert_eq!(place.refused(&["gradcheck", "--entries", "0"]), "2: error: --entries: must be at least 1");
}

#[test]
fn benches_say_where_time_goes_and_plan_for_other_machines() {
    let place = Place::new();
    let small = ["--hidden", "16", "--steps", "3", "--batch", "4", "--seconds", "0.01", "--json"];
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&place.ok(&[&["bench"], arguments, &small].concat())).unwrap()
    };
    let profile = &json(&["char256", "--profile", "--pin", "--threads", "2"])["profile"];
    let shares = profile["phases"].as_array().unwrap().iter().map(|phase| phase["share"].as_f64().unwrap());
    assert!((shares.sum::<f64>() - 1.0).abs() < 1e-9, "{profile}");
    assert!(json(&["char256"]).get("profile").is_none());
    let splits = json(&["--plan", "gru650", "--cores", "3"])["splits"].as_array().unwrap().clone();
    assert_eq!(splits.iter().map(|split| split["cores"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 2, 3, 3]);
    let text =
        place.ok(&["bench", "--plan", "min-char-rnn", "--vocabulary", "50", "--cores", "1", "--seconds", "0.01"]);
    assert!(text.contains("Choose one team of 1"), "{text}");

    let needs = place.refused(&["bench", "--plan", "min-char-rnn", "--cores", "2"]);
    assert!(needs.starts_with("2: ") && needs.contains("--vocabulary"), "{needs}");
    let neither = place.refused(&["bench", "--plan", "char25", "--cores", "2"]);
    assert!(neither.contains("char256"), "{neither}");
    let own = place.refused(&["bench", "--plan", "char256", "--vocabulary", "9", "--cores", "2"]);
    assert!(own.contains("--vocabulary"), "{own}");
    for what in ["--profile", "--pin"] {
        assert!(place.refused(&["bench", what]).contains(what));
    }
}
