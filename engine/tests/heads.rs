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
    assert!(shown.lines().any(|line| line.contains("valid ") && line.contains(" | ln Z ")), "{shown}");
    assert!(place.ok(&["summary", "run"]).ends_with(head));
    let summary = &place.json(&["summary", "run", "--json"])[0];
    assert_eq!((&summary["heads"][0]["kind"], &summary["heads"][0]["samples"]), (&"nce".into(), &20.into()));
    // The same is told where programs read, and kept: of the last evaluation, what `eval` finds of the same parameters.
    let other = Place::new();
    other.file("verses.txt", verses());
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
        assert!(place.refused(&["train", "--resume", "run", "--epochs", "4"]).contains("words-alike"));
    }
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
