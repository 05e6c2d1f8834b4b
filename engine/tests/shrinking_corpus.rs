//! A corpus file that shrinks while it is mapped ends the process with a message and exit code 5, not with a bare signal.
#![cfg(unix)]

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use unroll::corpus::{Build, Corpus, Encoding, Source, TokenSource, build, install_sigbus_handler};
use unroll::text::{Level, TextOptions};

const CHILD: &str = "UNROLL_TEST_SHRINKING_CORPUS";

/// Not a test of its own: what the child process of the test below does.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let (text, output) = (Path::new(&folder).join("text"), Path::new(&folder).join("corpus"));
    fs::write(&text, vec![b'x'; 8 << 20]).expect("written");
    build(Build {
        sources: &[Source::Path(text)],
        output: &output,
        encoding: Encoding::New(&TextOptions::new(Level::Byte)),
        errors: None,
        threads: 1,
        memory: None,
        entropy_rate: None,
        progress: None,
        cancel: None,
    })
    .expect("built");
    install_sigbus_handler().expect("installed");
    install_sigbus_handler().expect("installed twice does no harm");
    // Another map, to be told from the one that shrinks.
    let whole = Path::new(&folder).join("whole");
    fs::copy(&output, &whole).expect("copied");
    let whole = Corpus::open(whole).expect("a good file");
    let corpus = Corpus::open(&output).expect("a good file");
    File::options().write(true).open(&output).and_then(|file| file.set_len(4096)).expect("cut short");
    assert!(corpus.recheck().expect_err("cut short").to_string().contains("cut short while it was in use"));
    let mut tokens = [0; 100];
    whole.read(7 << 20, &mut tokens).expect("a good file");
    corpus.read(7 << 20, &mut tokens).expect("never returns");
}

#[test]
fn a_shrinking_file_ends_the_process_with_a_message() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, folder.path())
        .output()
        .expect("run");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{message}");
    let expected = format!("error: {}: the file shrank", folder.path().join("corpus").display());
    assert!(message.contains(&expected), "{message}");
}
