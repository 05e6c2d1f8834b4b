//! Heads that part the words by their use: the order is learned with the run, kept with it, and checked before it is believed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::{Place, verses};
use std::fs;

fn train<'a>(head: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let usual = [
        "train",
        "--data",
        "verses.txt",
        "--level",
        "word",
        "--rnn-size",
        "8",
        "--emsize",
        "6",
        "--num-layers",
        "1",
        "--batch",
        "4",
        "--seq-length",
        "5",
        "--epochs",
        "2",
        "--out",
        "run",
        "--head",
        head,
    ];
    usual.into_iter().chain(more.iter().copied()).collect()
}

#[test]
fn heads_are_told_with_their_settings_and_what_their_scores_sum_to() {
    let place = Place::new();
    place.file("verses.txt", verses());
    let shown = place.ok(&train("nce", &["--set", "model.head.samples=20"]));
    let head = "head of dense: kind = \"nce\", samples = 20, noise = \"log_uniform\", log_partition = 2.302585092994046, \
                remove_hits = false\n";
    assert!(shown.contains(head), "{shown}");
    assert!(shown.contains("hint: adam divides the large gradients"), "{shown}");
    assert!(shown.lines().any(|line| line.contains("valid ") && line.contains(" | ln Z ")), "{shown}");
    assert!(place.ok(&["summary", "run"]).ends_with(head));
    let summary = &place.json(&["summary", "run", "--json"])[0];
    assert_eq!((&summary["heads"][0]["kind"], &summary["heads"][0]["samples"]), (&"nce".into(), &20.into()));
    // The same is told where programs read, and kept: of the last evaluation, what `eval` finds of the same parameters.
    let other = Place::new();
    other.file("verses.txt", verses());
    let adagrad = Place::new();
    adagrad.file("verses.txt", verses());
    let unhinted = adagrad.ok(&train("nce", &["--optimizer", "adagrad", "--max-steps", "1"]));
    assert!(!unhinted.contains("hint:"), "{unhinted}");
    let events = other.json(&train("nce", &["--set", "model.head.samples=20", "--json", "--threads", "2"]));
    assert_eq!(events[0]["heads"], summary["heads"]);
    let told: Vec<_> = events.iter().filter(|event| event["event"] == "evaluated").collect();
    let metrics = common::text(&place.read("run/metrics.jsonl"));
    let kept: Vec<serde_json::Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kept: Vec<_> = kept.iter().filter(|line| line["kind"] == "valid").collect();
    assert_eq!((told.len(), kept.len()), (2, 2));
    for (told, kept) in told.iter().zip(&kept) {
        assert!(kept["log_partition"][0].as_f64().is_some(), "{kept}");
        assert_eq!(told["log_partition"], kept["log_partition"]);
    }
    let scored = &place.json(&["eval", "run", "--json", "--checkpoint", "newest"])[0];
    let [found, last] = [scored, kept[1]].map(|line| line["log_partition"][0].as_f64().unwrap());
    assert!((found - last).abs() < 1e-6, "{found} {last}");
    // A softmax that learns its sum has none to tell.
    let usual = Place::new();
    usual.file("verses.txt", verses());
    let shown = usual.ok(&train("softmax", &[]));
    assert!(!shown.contains("head of") && !shown.contains("ln Z"), "{shown}");
    assert!(!common::text(&usual.read("run/metrics.jsonl")).contains("log_partition"));
}

#[test]
fn words_that_are_parted_by_their_use_are_so_wherever_the_run_is_read() {
    for head in ["class_softmax", "adaptive_softmax", "hierarchical_softmax"] {
        let place = Place::new();
        place.file("verses.txt", verses());
        let out = place.ok(&train(head, &[]));
        assert!(out.contains("best validation loss"), "{head}: {out}");
        let run = place.path().join("run");
        let config = fs::read_to_string(run.join("config.toml")).unwrap();
        assert!(config.contains("order = \"context\""), "{head}: {config}");
        let order = fs::read_to_string(run.join("words-alike")).unwrap();
        let mut words: Vec<u32> = order.lines().map(|line| line.parse().unwrap()).collect();
        assert!(!words.is_sorted(), "{head}: some other order than that of frequency");
        words.sort_unstable();
        assert!(words.into_iter().eq(0..order.lines().count() as u32));

        let score = place.ok(&["eval", "run", "--data", "verses.txt", "--json"]);
        assert_eq!(score, place.ok(&["eval", "run", "--data", "verses.txt", "--json", "--threads", "3"]));
        place.ok(&["generate", "run", "--length", "5"]);
        place.ok(&["summary", "run"]);
        place.ok(&["train", "--resume", "run", "--epochs", "3"]);

        // In another order, or with other counts, the words are not those that the weights are of.
        let reversed: String = order.lines().rev().map(|line| format!("{line}\n")).collect();
        let vocabulary = fs::read_to_string(run.join("vocabulary")).unwrap();
        let rare = vocabulary.lines().rfind(|line| line.contains('\t')).unwrap();
        let often = format!("999999\t{}", rare.split_once('\t').unwrap().1);
        for (name, damaged) in [("words-alike", reversed), ("vocabulary", vocabulary.replace(rare, &often))] {
            let whole = fs::read(run.join(name)).unwrap();
            fs::write(run.join(name), damaged).unwrap();
            for command in [&["eval", "run", "--data", "verses.txt"][..], &["generate", "run"], &["summary", "run"]] {
                let refused = place.refused(command);
                assert!(refused.starts_with("3: error: run/words-alike: "), "{head}: {refused}");
                assert!(refused.contains("--resume run"), "{head}: {refused}");
            }
            place.ok(&["train", "--resume", "run", "--epochs", "3"]);
            assert!(fs::read(run.join(name)).unwrap() == whole, "{head}: {name} was not restored");
        }

        // Damaged, it is named with the line.
        fs::write(run.join("words-alike"), order.replacen('\n', "\n7x\n", 1)).unwrap();
        let refused = place.refused(&["eval", "run", "--data", "verses.txt"]);
        assert!(refused.contains("words-alike") && refused.contains("line 2") && refused.contains("7x"), "{refused}");
        let short: String = order.lines().skip(1).map(|line| format!("{line}\n")).collect();
        fs::write(run.join("words-alike"), short).unwrap();
        let refused = place.refused(&["generate", "run"]);
        assert!(refused.contains("words-alike") && refused.contains("words"), "{refused}");
        fs::write(run.join("words-alike"), "0\n".repeat(100_000)).unwrap();
        assert!(place.refused(&["eval", "run", "--data", "verses.txt"]).contains("larger than"));
        fs::remove_file(run.join("words-alike")).unwrap();
        place.ok(&["train", "--resume", "run", "--epochs", "4"]);
        assert_eq!(fs::read_to_string(run.join("words-alike")).unwrap(), order);
    }
}

#[test]
fn weights_come_to_the_words_that_they_are_of() {
    let place = Place::new();
    place.file("verses.txt", verses());
    place.ok(&train("hierarchical_softmax", &[]));
    let weights = fs::read_dir(place.path().join("run/checkpoints")).unwrap().filter_map(|entry| {
        let file = entry.unwrap().path().join("weights.safetensors");
        file.exists().then_some(file)
    });
    let weights = weights.max().unwrap();
    let weights = weights.to_str().unwrap();
    let vocabulary = ["--level", "word", "--vocabulary", "run/vocabulary"];
    let model = ["--rnn-size", "8", "--emsize", "6", "--num-layers", "1", "--head", "hierarchical_softmax"];
    let import = |more: &[&'static str]| {
        let all: Vec<&str> = ["import", weights, "--out", "in"].into_iter().chain(more.iter().copied()).collect();
        place.refused(&all)
    };
    let named = [vocabulary, ["--set", "model.head.order=context", "--model", "lstm"]].concat();
    let refused = import(&[&named[..], &model].concat());
    assert!(refused.contains("model.head.order") && refused.contains("--like"), "{refused}");
    let refused = import(&[&vocabulary[..], &["--model", "lstm"], &model].concat());
    assert!(refused.contains("words in another order") && refused.contains("--like"), "{refused}");
    place.ok(&["import", weights, "--like", "run", "--out", "in"]);
    let eval = |run| place.ok(&["eval", run, "--data", "verses.txt", "--json", "--checkpoint", "newest"]);
    let loss = |shown: String| serde_json::from_str::<serde_json::Value>(&shown).unwrap()["loss"].clone();
    assert_eq!(loss(eval("in")), loss(eval("run")));
    // The same words, which are used otherwise.
    let text: String =
        verses().lines().rev().map(|line| line.split(' ').rev().collect::<Vec<_>>().join(" ") + "\n").collect();
    place.file("verses.txt", text);
    let args: Vec<&str> = train("hierarchical_softmax", &["--init-weights", weights]);
    let args: Vec<&str> = args.into_iter().map(|arg| if arg == "run" { "other" } else { arg }).collect();
    let refused = place.refused(&args);
    assert!(refused.contains("words in another order") && refused.contains("--like"), "{refused}");
}

#[test]
fn a_foreign_vocabulary_is_not_believed() {
    let place = Place::new();
    place.file("verses.txt", verses());
    place.ok(&train("softmax", &[]));
    let own = place.read("run/vocabulary");
    place.file("other.txt", verses().replace('a', "x"));
    place.ok(&["corpus", "vocabulary", "other.txt", "--level", "word", "--out", "run/vocabulary"]);
    for command in [
        &["eval", "run", "--data", "verses.txt"][..],
        &["generate", "run"],
        &["summary", "run"],
        &["export", "run", "--out", "x.safetensors"],
        &["import", "x.safetensors", "--like", "run", "--out", "in"],
    ] {
        let refused = place.refused(command);
        assert!(refused.contains("run/vocabulary: is not the vocabulary that the model was trained with"), "{refused}");
    }
    place.ok(&["train", "--resume", "run", "--epochs", "3"]);
    assert!(place.read("run/vocabulary") == own);
    place.ok(&["eval", "run", "--data", "verses.txt"]);
    // A token file that is gone is named.
    fs::remove_file(place.path().join("run/train.tokens")).unwrap();
    let refused = place.refused(&["train", "--resume", "run", "--epochs", "4"]);
    assert!(refused.contains("run/train.tokens: no such file") && refused.contains("corpus build"), "{refused}");
    place.ok(&["corpus", "build", "verses.txt", "--vocabulary", "run", "--out", "run/train.tokens"]);
    place.ok(&["train", "--resume", "run", "--epochs", "4"]);
}

#[test]
fn an_output_that_is_declared_has_its_words_in_the_order_of_their_use_too() {
    let place = Place::new();
    place.file("verses.txt", verses());
    let model = r#"
        [data]
        train = ["verses.txt"]
        level = "word"
        [train]
        max_steps = 2
        batch = 2
        steps = 4
        [model.graph]
        layers = [
            { type = "embedding", output_dim = 4 },
            { type = "gru", units = 4, return_sequences = true },
            { type = "dense", name = "words" },
        ]
        [[model.graph.outputs]]
        layer = "words"
        head = { kind = "class_softmax" }
    "#;
    place.file("model.toml", model);
    place.ok(&["train", "--config", "model.toml", "--out", "run"]);
    assert!(place.path().join("run/words-alike").exists());
    assert!(common::text(&place.read("run/config.toml")).contains("order = \"context\""));
    place.ok(&["eval", "run", "--data", "verses.txt"]);
}

#[test]
fn the_order_of_frequency_needs_no_file() {
    let place = Place::new();
    place.file("verses.txt", verses());
    place.ok(&train("class_softmax", &["--set", "model.head.order=frequency"]));
    assert!(!place.path().join("run/words-alike").exists());
    place.ok(&["eval", "run", "--data", "verses.txt"]);
    let place = Place::new();
    place.file("verses.txt", verses());
    let refused = place.refused(&train("nce", &["--set", "model.head.order=context"]));
    assert!(refused.contains("order has no meaning for nce"), "{refused}");
}
