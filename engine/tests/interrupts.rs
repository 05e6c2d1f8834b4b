//! Ctrl-C while the command waits for text that does not come: from a pipe that nobody writes to, or that gives no more.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Place, TINY, text, verses};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};

/// Long enough for a start, and to have read what there is.
const MOMENT: Duration = Duration::from_millis(700);

fn fifo(place: &Place, name: &str) {
    mknodat(CWD, place.path().join(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// The command with its temporary files in `tmp`, and an open pipe on standard input.
fn start(place: &Place, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unroll"));
    command.current_dir(place.path()).env("TMPDIR", place.path().join("tmp")).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Ctrl-C ends it at once, with nothing left of it; returns standard error.
#[track_caller]
fn interrupt(place: &Place, mut child: Child) -> String {
    let pipe = child.stdin.take();
    std::thread::sleep(MOMENT);
    assert!(child.try_wait().unwrap().is_none(), "it waits");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let since = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if since.elapsed() > Duration::from_secs(10) {
            child.kill().unwrap();
            panic!("it waits on");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(pipe);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert_eq!(place.path().join("tmp").read_dir().unwrap().count(), 0, "no temporary file is left");
    text(&output.stderr)
}

#[test]
fn a_text_that_does_not_come_holds_up_no_interrupt() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("tmp")).unwrap();
    fifo(&place, "pipe");
    // Nobody has opened the pipe.
    let told = interrupt(&place, start(&place, &["train", "--data", "pipe", "--out", "run"]));
    assert!(told.contains("interrupted while reading the text"), "{told}");
    assert!(!place.exists("run"), "the run did not begin");
    // Standard input gave some text, and gives no more.
    for arguments in [
        &["train", "--data", "-", "--out", "run"][..],
        &["corpus", "build", "-", "--out", "text.tokens"],
        &["corpus", "vocabulary", "-", "--out", "text.vocabulary"],
        &["vectors", "train", "-", "--out", "vectors.bin"],
    ] {
        let mut child = start(&place, arguments);
        child.stdin.as_mut().unwrap().write_all(verses().as_bytes()).unwrap();
        let told = interrupt(&place, child);
        assert!(told.contains("interrupted while reading the text"), "{arguments:?}: {told}");
        let output = arguments.last().unwrap();
        assert!(!place.exists(output), "{arguments:?}: {output} is left");
    }
}

#[test]
fn an_interrupted_evaluation_leaves_no_temporary_file() {
    let place = Place::new();
    std::fs::create_dir(place.path().join("tmp")).unwrap();
    place.file("verses.txt", verses());
    place.ok(&[&TINY[..], &["--out", "run"]].concat());
    for arguments in [&["eval", "run", "--data", "-"][..], &["ngram", "--data", "-", "--valid", "verses.txt"]] {
        interrupt(&place, start(&place, arguments));
    }
}
