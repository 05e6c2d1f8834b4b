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
