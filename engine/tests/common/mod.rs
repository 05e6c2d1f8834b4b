//! A folder to run the command in and a run that takes a moment, for the tests that meet it as its users do.

#![allow(dead_code, reason = "no test needs all of it")]

use std::fs;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), contents).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path().join(name)).unwrap()
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.path().join(name).exists()
    }

    pub(crate) fn unroll(&self, arguments: &[&str]) -> Output {
        self.unroll_with(arguments, "")
    }

    /// With this on standard input.
    pub(crate) fn unroll_with(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = assert_cmd::Command::cargo_bin("unroll").unwrap();
        command.current_dir(self.path()).args(arguments).write_stdin(input).output().unwrap()
    }

    /// Runs what must succeed; returns standard output.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        self.ok_with(arguments, "")
    }

    /// The same with this on standard input.
    #[track_caller]
    pub(crate) fn ok_with(&self, arguments: &[&str], input: &str) -> String {
        let output = self.unroll_with(arguments, input);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{arguments:?}\n{out}\n{err}");
        out
    }

    /// The JSON lines of a command that must succeed.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        self.ok(arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Runs what must be refused; returns the exit code and standard error, with the folder's name replaced.
    #[track_caller]
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let output = self.unroll(arguments);
        let code = output.status.code().expect("no signal ends the command");
        assert_ne!(code, 0, "{arguments:?}\n{}", text(&output.stdout));
        let error = text(&output.stderr).replace(&self.path().display().to_string(), "DIR");
        format!("{code}: {}", error.trim_end())
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A text that repeats itself, so that a tiny model learns it in no time.
pub(crate) fn verses() -> String {
    "the quick brown fox jumps over the lazy dog\n".repeat(300)
}

/// A run that takes a moment.
pub(crate) const TINY: [&str; 15] = [
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

/// [`TINY`] with more options.
pub(crate) fn tiny<'a>(more: &[&'a str]) -> Vec<&'a str> {
    TINY.into_iter().chain(more.iter().copied()).collect()
}
