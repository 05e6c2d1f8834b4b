//! Whole runs: from a text to a sample, what is told on the way, going on, evaluating, and what happens to a run whose files
//! are damaged.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Place, TINY, text, tiny, verses};

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
    insta::assert_snapshot!(place.refused(&["train", "--data", "verses.txt", "--out", "run"]), @"2: error: --out: run is already a run (resume it with `unroll train --resume run`, or choose another folder)");
    insta::assert_snapshot!(place.refused(&["train", "--resume", "run", "--rnn-size", "13"]), @"2: error: the run cannot be resumed: model.hidden is 12 in the checkpoint and 13 now (resume with the settings and the text of the run, or start a new one with --out)");
    insta::assert_snapshot!(place.refused(&["train", "--resume", "run", "--data", "other.txt"]), @"2: error: --data: a run resumes with the texts it began with; start a new run for others");

    // A run that goes on needs no text and keeps what was changed.
    fs::remove_file(place.path().join("verses.txt")).unwrap();
    let more = place.ok(&["train", "--init_from", "run", "--epochs", "5"]);
    assert!(more.contains("resuming after step"), "{more}");
    let config = fs::read_to_string(place.path().join("run/config.toml")).unwrap();
    assert!(config.contains("epochs = 5"), "{config}");
}

#[test]
fn what_a_run_is_told_to_go_on_with_goes_on() {
    let place = Place::new();
    place.file("verses.txt", verses());
    // Ended by its epochs beside a limit of steps, by that limit, by both, and by a rate that nothing is learned with.
    for (run, options) in [
        ("epochs", &["--max-steps", "1000"][..]),
        ("steps", &["--max-steps", "5"]),
        ("both", &["--max-steps", "468"]),
        ("early", &["--early-stop", "1", "--lr", "1e-30"]),
    ] {
        let told = place.ok(&tiny(&[options, &["--out", run]].concat()));
        let line = told.lines().find_map(|line| line.trim().strip_prefix("unroll train ")).expect("how to go on");
        let more: Vec<&str> = ["train", "--json"].into_iter().chain(line.split(' ')).collect();
        let steps = || place.json(&more).iter().filter(|event| event["event"] == "evaluated").count();
        assert!(steps() > 0, "{run}: unroll train {line}");
    }
    let told = place.ok(&tiny(&["--max-steps", "1", "--out", "a run"]));
    assert!(told.contains("in a run. ") && told.contains("unroll train --resume 'a run' --max-steps 2"), "{told}");
}

#[test]
fn a_run_that_was_moved_is_the_same_run() {
    let place = Place::new();
    place.file("verses.txt", verses());
    place.ok(&tiny(&["--out", "run", "--test-fraction", "0.1"]));
    let rows = |i: usize| format!("{} number {i}\n", ["ham\tsee you at lunch", "spam\tyou win a prize"][i % 2]);
    place.file("messages.tsv", (0..60).map(rows).collect::<String>());
    let train = ["train", "--recipe", "sms-spam", "--data", "messages.tsv", "--epochs", "2", "--out", "filter"];
    place.ok(&[&train[..], &["--set", "task.folds=3"]].concat());
    let text = |run: &str| place.ok(&["generate", run, "--prompt", "the ", "--length", "40"]);
    let filter = |run: &str| place.ok(&["predict", run, "--text", "win the prize", "--json"]);
    let figures = |run: &str| place.ok(&["eval", run, "--json"]);
    let before = [text("run"), figures("run"), filter("filter"), figures("filter")];

    fs::create_dir(place.path().join("elsewhere")).unwrap();
    for (from, to) in [("run", "elsewhere/plays"), ("filter", "elsewhere/spam")] {
        fs::rename(place.path().join(from), place.path().join(to)).unwrap();
    }
    // The run has its text as tokens; samples with labels are read from their file again.
    fs::remove_file(place.path().join("verses.txt")).unwrap();
    let [plays, spam] = ["elsewhere/plays", "elsewhere/spam"];
    assert_eq!(before, [text(plays), figures(plays), filter(spam), figures(spam)]);
    for (run, epochs) in [(plays, "4"), (spam, "3")] {
        let more = place.ok(&["train", "--resume", run, "--epochs", epochs]);
        assert!(more.contains("resuming after step") && more.contains(run), "{more}");
    }
    assert!(!place.exists("run") && !place.exists("filter"), "nothing is written to the old places");
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
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "greek.txt"]), @r#"3: error: greek.txt, byte 4: the character "α" (U+03B1) is not in the vocabulary (build the vocabulary from a text that has it, or with `<unk>`: --min-count 2)"#);
    insta::assert_snapshot!(place.refused(&["eval", "nowhere"]), @"3: error: nowhere: is not a run: it has no config.toml (name a folder that `unroll train` has written)");
    insta::assert_snapshot!(place.refused(&["eval", "run", "--checkpoint", "7"]), @"3: error: run: there is no checkpoint of step 7 (the steps with checkpoints are 165, 330, 495)");
}

#[test]
fn a_part_of_the_text_is_kept_for_the_test() {
    let place = Place::new();
    place.file("verses.txt", verses());
    // 165 batches of 4 x 20 of 13,200 characters, the last of which has no target: 140 train, 8 validate, 17 test.
    for (split, scored) in [("streams", 17 * 80 - 1), ("tail", 1320)] {
        let told = place.json(&tiny(&["--split", split, "--test-fraction", "0.1", "--out", split, "--json"]));
        let tested = told.iter().find(|event| event["event"] == "tested").expect("a test at the end");
        let (loss, tokens) = (tested["score"]["loss"].as_f64().unwrap(), tested["score"]["tokens"].as_u64().unwrap());
        assert_eq!(tokens, scored, "{split}");
        let again = &place.json(&["eval", split, "--json"])[0];
        assert_eq!(again["tokens"], scored, "{split}");
        assert!((again["loss"].as_f64().unwrap() - loss).abs() < 1e-5, "{split}: {loss} {again}");
        assert!(place.ok(&["eval", split]).starts_with("text: the run's test part, "));
    }
    place.file("other.txt", "the lazy dog\n".repeat(30));
    // A text of one's own goes before what a configuration says.
    place.file("tested.toml", "[data]\ntest_fraction = 0.1\n");
    place.ok(&tiny(&["--config", "tested.toml", "--test", "other.txt", "--out", "own"]));
    assert!(place.ok(&["eval", "own"]).starts_with("text: the run's test text, 389 tokens"));
    let refused = |more: &[&str]| place.refused(&tiny(&[&["--out", "never"], more].concat()));
    insta::assert_snapshot!(refused(&["--test-fraction", "0.1", "--test", "other.txt"]), @"2: error: --test-fraction: has no meaning beside a test text (--test)");
    insta::assert_snapshot!(refused(&["--valid-fraction", "0.1", "--valid", "other.txt"]), @"2: error: --valid-fraction: has no meaning beside a validation text (--valid)");
    fs::create_dir(place.path().join("parts")).unwrap();
    ["train.txt", "valid.txt"].iter().for_each(|name| place.file(&format!("parts/{name}"), verses()));
    insta::assert_snapshot!(place.refused(&["train", "--data", "parts", "--valid-fraction", "0.1"]), @"2: error: --valid-fraction: has no meaning beside a validation text");
    insta::assert_snapshot!(refused(&["--test-fraction", "0.5", "--valid-fraction", "0.5"]), @"2: error: --test-fraction: and data.valid_fraction leave nothing to train on");
    insta::assert_snapshot!(refused(&["--test-fraction", "1"]), @"2: error: --test-fraction: must be at least 0 and less than 1, got 1");
    insta::assert_snapshot!(refused(&["--test-fraction", "0.1", "--split", "none"]), @"2: error: --test-fraction: has no meaning where data.split is none");
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
    insta::assert_snapshot!(warned(&length).trim(), @"warning: run/checkpoints/step-00000468: passed over for step 312: weights.safetensors has 1000 bytes instead of 9760");
    assert_eq!(place.ok(&length), of_312);
    insta::assert_snapshot!(warned(&["eval", "run", "--checkpoint", "newest"]).trim(), @"warning: run/checkpoints/step-00000468: passed over for step 312: weights.safetensors has 1000 bytes instead of 9760");
    insta::assert_snapshot!(place.refused(&["generate", "run", "--checkpoint", "468"]), @"3: error: run/checkpoints/step-00000468: weights.safetensors has 1000 bytes instead of 9760 (name another checkpoint of the run, or restore this one from a copy)");
    // Swapped: that of another step.
    fs::write(weights(steps[2]), &whole[1]).unwrap();
    insta::assert_snapshot!(warned(&["train", "--resume", "run"]).trim(), @"warning: run/checkpoints/step-00000468: passed over: weights.safetensors is damaged between bytes 0 and 9760: its checksum does not fit");
    assert_eq!(fs::read(weights(steps[2])).unwrap(), whole[2], "trained again, to the same bytes");

    // A vocabulary that was lost comes back from the tokens.
    fs::remove_file(place.path().join("run/vocabulary")).unwrap();
    insta::assert_snapshot!(place.refused(&length), @"3: error: run/vocabulary: no such file (check the path)");
    place.ok(&["train", "--resume", "run"]);
    place.ok(&length);

    for step in steps {
        fs::write(weights(step), "nonsense").unwrap();
    }
    insta::assert_snapshot!(place.refused(&length), @"3: error: run/checkpoints/step-00000468: all 3 checkpoints are damaged; the newest: weights.safetensors has 8 bytes instead of 9760 (restore one from a copy, or train again in another folder)");
    insta::assert_snapshot!(place.refused(&["train", "--resume", "run"]), @"3: error: run/checkpoints/step-00000468: all 3 checkpoints are damaged; the newest: weights.safetensors has 8 bytes instead of 9760 (restore one from a copy, or train again in another folder)");
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
    insta::assert_snapshot!(refused("nonsense.safetensors", &[]), @"3: error: nonsense.safetensors, byte 0: is not a safetensors file: a header of 7310308002159816558 bytes in a file of 8");
    let newest = fs::read_dir(place.path().join("run/checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    let newest = newest.filter(|path| path.is_dir()).max().unwrap();
    fs::copy(newest.join("weights.safetensors"), place.path().join("weights.safetensors")).unwrap();
    insta::assert_snapshot!(refused("weights.safetensors", &["--set", "model.layers=2"]), @"3: error: weights.safetensors: nothing in it matches layer `lstm_1` (LSTM), which has `lstm_1/kernel` [12, 48], `lstm_1/recurrent_kernel` [12, 48], `lstm_1/bias` [48]; the file has `dense` [12, 28], `lstm` [28, 48] (name it with --map lstm_1=NAME, or describe the model as it is)");
    insta::assert_snapshot!(refused("weights.safetensors", &["--set", "model.hidden=13"]), @"3: error: weights.safetensors: `lstm/kernel` is F32 [28, 48], but layer `lstm` of the model has F32 [28, 52] there (describe the model with its sizes)");
    let begun = place.ok(&tiny(&["--init-weights", "weights.safetensors", "--out", "other"]));
    assert!(begun.contains("best validation loss"), "{begun}");
}

#[test]
fn a_loss_beyond_sense_is_told_and_in_the_end_refused() {
    let place = Place::new();
    place.file("verses.txt", verses());
    let steps = ["--max-steps", "60", "--lr"];
    let diverged = place.refused(&tiny(&[&steps[..], &["1e30", "--out", "far"]].concat()));
    assert!(diverged.starts_with("4: warning: the validation loss is "), "{diverged}");
    assert!(diverged.contains("error: the best validation loss is ") && diverged.contains("(--lr)"), "{diverged}");
    // A loss that may fall again ends nothing.
    let high = place.unroll(&tiny(&[&steps[..], &["30", "--out", "high"]].concat()));
    assert!(high.status.success());
    assert!(text(&high.stderr).starts_with("warning: the validation loss is "), "{}", text(&high.stderr));
    assert!(!text(&high.stdout).contains("best so far"));
    let usual = place.unroll(&tiny(&["--out", "usual"]));
    assert_eq!((text(&usual.stderr).as_str(), usual.status.code()), ("", Some(0)));
    assert!(text(&usual.stdout).contains("best so far"));
}

#[test]
fn a_folder_of_folds_names_its_runs() {
    let place = Place::new();
    fs::create_dir_all(place.path().join("folds/fold-0")).unwrap();
    place.file("folds/fold-0/config.toml", "");
    for command in [&["train", "--resume", "folds"][..], &["eval", "folds"]] {
        insta::allow_duplicates! {
            insta::assert_snapshot!(place.refused(command), @"3: error: folds: is not a run: it has no config.toml (its folds are runs; name one of them, such as folds/fold-0)");
        }
    }
}

#[test]
fn another_seed_is_told_once() {
    let place = Place::new();
    place.file("verses.txt", verses());
    place.ok(&tiny(&["--max-steps", "1", "--out", "run"]));
    insta::assert_snapshot!(place.refused(&["train", "--resume", "run", "--seed", "9"]), @"2: error: the run cannot be resumed: seed is 123 in the checkpoint and 9 now (resume with the settings and the text of the run, or start a new one with --out)");
}

/// Where nothing validates, the losses of the training tell that it diverges, once as long as it does.
#[test]
fn a_training_that_diverges_without_validation_is_warned_of() {
    let place = Place::new();
    place.file("verses.txt", verses());
    let wild = ["--split", "none", "--out", "run", "--optimizer", "sgd", "--lr", "1e4", "--set", "report.every=5"];
    let wild = [&wild[..], &["--set", "optimizer.clip_norm=0"]].concat();
    let output = place.unroll(&tiny(&wild));
    let told = text(&output.stderr);
    assert_eq!(told.matches("warning: the training loss is ").count(), 1, "{told}");
    assert!(told.contains("the training diverges, unless the loss falls again; lower the learning rate"), "{told}");
    let calm = place.unroll(&tiny(&["--split", "none", "--out", "calm"]));
    assert!(calm.status.success() && !text(&calm.stderr).contains("diverges"), "{}", text(&calm.stderr));
}

/// Figures of a text whose words are all unknown look good and mean nothing.
#[test]
fn a_text_of_unknown_words_is_warned_of() {
    let place = Place::new();
    place.file("verses.txt", verses());
    place.file("other.txt", "der schnelle braune fuchs springt\n".repeat(20));
    let warning = "warning: other.txt: 83 % of its words are not in the vocabulary and are read as `<unk>`";
    let begun = place.unroll(&tiny(&["--level", "word", "--valid", "other.txt", "--out", "run"]));
    assert!(begun.status.success() && text(&begun.stderr).contains(warning), "{}", text(&begun.stderr));
    for (file, told) in [("other.txt", true), ("verses.txt", false)] {
        let scored = place.unroll(&["eval", "run", "--data", file]);
        assert_eq!((scored.status.success(), text(&scored.stderr).contains("% of its words")), (true, told), "{file}");
    }
}

/// A text that only its form of Unicode keeps from being read says so, as a prompt does.
#[test]
fn a_text_in_another_form_of_unicode_is_told_how_to_be_read() {
    let place = Place::new();
    place.file("joined.txt", "안녕하세요 세계\n".repeat(100));
    place.file("parted.txt", "\u{110b}\u{1161}\u{11ab}\u{1102}\u{1167}\u{11bc} \n".repeat(20));
    place.ok(&[
        "train",
        "--data",
        "joined.txt",
        "--out",
        "run",
        "--rnn-size",
        "4",
        "--batch",
        "2",
        "--bptt",
        "10",
        "--epochs",
        "1",
    ]);
    insta::assert_snapshot!(place.refused(&["eval", "run", "--data", "parted.txt"]), @r#"3: error: parted.txt, byte 0: the character "ᄋ" (U+110B) is not in the vocabulary (it is in the other normal form of Unicode: write it so, or train with --set data.prepare.normalize=nfc for both)"#);
}
