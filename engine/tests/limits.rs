//! The command where the system grants no more. A disk that takes no more: the command says so, ends with exit code 5, and the
//! checkpoint before is what the run goes on from. The disk is the system's limit on the size of a file, which any user may
//! lower; it answers a write with an error as a full disk does. Memory that is not enough: the command says so with figures.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "what cannot be done has failed")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn unroll(folder: &Path, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unroll"));
    command.current_dir(folder).args(arguments.split_whitespace()).output().unwrap()
}

/// No file may have more than 16 blocks of at most 1 KiB. The signal that a longer write sends ends a process that has not
/// asked for the error instead.
const DISK: &str = "trap '' XFSZ; ulimit -f 16";

/// Data may take 200,000 KiB.
#[cfg(target_os = "linux")]
const MEMORY: &str = "ulimit -d 200000";

/// The same within a limit.
fn unroll_within(folder: &Path, limit: &str, arguments: &str) -> Output {
    let script = format!("{limit}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.current_dir(folder).args(["-c", &script, env!("CARGO_BIN_EXE_unroll")]);
    command.args(arguments.split_whitespace()).output().unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const BEGIN: &str = "train --data text --rnn-size 40 --num-layers 1 --batch 4 --bptt 10 --save-every 10 --threads 1 \
    --print-every 1000 --sample-length 10";

/// What the run ends in.
fn files(folder: &Path, run: &str) -> Vec<Vec<u8>> {
    let last = folder.join(run).join("checkpoints/step-00000060");
    let of_checkpoint = ["weights.safetensors", "optimizer.safetensors", "carry.safetensors", "state.json"];
    let mut files: Vec<_> = of_checkpoint.iter().map(|name| fs::read(last.join(name)).unwrap()).collect();
    files.push(fs::read(folder.join(run).join("metrics.jsonl")).unwrap());
    files
}

#[test]
fn a_run_on_a_full_disk_keeps_its_earlier_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("text"), "the quick brown fox jumps over the lazy dog\n".repeat(200)).unwrap();
    let ok = |arguments: &str| {
        let output = unroll(folder, arguments);
        assert!(output.status.success(), "{}", error(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for run in ["undisturbed", "run"] {
        ok(&format!("{BEGIN} --out {run} --max-steps 20"));
    }
    ok("train --resume undisturbed --max-steps 60");

    // The parameters alone have (28 + 40 + 1) x 160 + 41 x 28 numbers of 4 bytes: 48 KB.
    let full = unroll_within(folder, DISK, "train --resume run --max-steps 60");
    let message = error(&full);
    assert_eq!(full.status.code(), Some(5), "{message}");
    for step in [30, 40, 50] {
        let told = format!("warning: step {step}: run/checkpoints/step-{step:08}: cannot save the checkpoint");
        assert!(message.contains(&told), "{message}");
    }
    assert!(message.contains("the checkpoint of step 20 is valid; make room, then resume the run"), "{message}");
    let left: Vec<_> = fs::read_dir(folder.join("run/checkpoints")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "nothing half-written is left: {left:?}");

    assert!(ok("train --resume run --max-steps 60").contains("resuming after step 20"));
    assert!(files(folder, "run") == files(folder, "undisturbed"), "it ends in the bytes of the undisturbed run");
}

#[test]
fn a_corpus_on_a_full_disk_leaves_nothing_and_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("text"), "to be or not to be\n".repeat(10_000)).unwrap();
    fs::write(folder.join("old.tokens"), "what stood here before").unwrap();
    let full = unroll_within(folder, DISK, "corpus build text --out old.tokens");
    let message = error(&full);
    assert_eq!(full.status.code(), Some(5), "{message}");
    assert!(message.starts_with("error: old.tokens: cannot write: "), "{message}");
    assert_eq!(fs::read(folder.join("old.tokens")).unwrap(), b"what stood here before");
    assert_eq!(fs::read_dir(folder).unwrap().count(), 2, "nothing else is left");
}

/// The parameters of one LSTM layer of H units take about 16 H^2 bytes, and training with Adam 8 times as many: parameters,
/// gradients, two copies packed for the products, two slots, and parameters and a copy of them for the samples.
#[cfg(target_os = "linux")]
#[test]
fn training_that_does_not_fit_in_memory_is_refused_and_what_fits_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("text"), "to be or not to be\n".repeat(100)).unwrap();
    let train = "train --data text --num-layers 1 --batch 1 --bptt 2 --max-steps 1 --sample-length 1 --init uniform \
        --init-scale 0.01 --threads 1";
    let large = unroll_within(folder, MEMORY, &format!("{train} --rnn-size 1300 --out large"));
    let message = error(&large);
    assert_eq!(large.status.code(), Some(2), "{message}");
    assert!(message.starts_with("error: training this model needs 0.2"), "{message}");
    assert!(message.contains("GiB are available"), "{message}");
    assert!(!folder.join("large").exists());
    let smaller = unroll_within(folder, MEMORY, &format!("{train} --rnn-size 1000 --out smaller"));
    assert!(smaller.status.success(), "{}", error(&smaller));
}

/// Two tables of 500,000 x 64, 256 MB, and as much for their gradients.
#[cfg(target_os = "linux")]
#[test]
fn tables_larger_than_memory_train_in_files_to_the_same_losses() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let bench = "bench zipf:500000:sampled_softmax:adagrad --hidden 64 --batch 4 --steps 3 --threads 2 --losses 3";
    let refused = unroll_within(folder, MEMORY, bench);
    assert_eq!(refused.status.code(), Some(2), "{}", error(&refused));
    let within = unroll_within(folder, MEMORY, &format!("{bench} --memory-map ."));
    assert!(within.status.success(), "{}", error(&within));
    let free = unroll(folder, bench);
    assert!(free.status.success() && free.stdout == within.stdout && free.stdout.split(|&b| b == b'\n').count() == 4);
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0, "nothing is left of the files");
}

/// Two tables of 60,000 x 100, 48 MB, whose gradients are reserved, and count as data, though a step writes to few rows of them.
#[cfg(target_os = "linux")]
#[test]
fn a_run_of_large_tables_is_refused_by_whoever_has_no_room_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let words: Vec<_> = (0..60_000).map(|i| format!("w{i}{}", if i % 10 == 9 { "\n" } else { "" })).collect();
    fs::write(folder.join("text"), words.join(" ")).unwrap();
    fs::write(folder.join("short"), "w1 w2 w3\n").unwrap();
    let train = "train --data text --level word --min-count 1 --max-vocab 0 --split none --emsize 100 --rnn-size 100 \
        --num-layers 1 --head sampled_softmax --optimizer sgd --batch 4 --bptt 5 --max-steps 1 --sample-length 1 --threads 1";
    let within = |kib: u32, arguments: &str| unroll_within(folder, &format!("ulimit -d {kib}"), arguments);
    let refused = |kib: u32, arguments: &str, start: &str| {
        let output = within(kib, arguments);
        let message = error(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {message}");
        assert!(message.starts_with(&format!("error: {start} needs 0.")), "{arguments}: {message}");
    };
    let ok = |kib: u32, arguments: &str| {
        let output = within(kib, arguments);
        assert!(output.status.success(), "{arguments}: {}", error(&output));
        output.stdout
    };
    refused(120_000, &format!("{train} --out run"), "training this model");
    assert!(!folder.join("run").exists());
    ok(120_000, &format!("{train} --out run --memory-map ."));
    refused(120_000, "train --resume run --max-steps 2", "training this model");
    ok(120_000, "train --resume run --max-steps 2 --memory-map .");
    for to in ["pytorch", "unroll", "onnx"] {
        refused(120_000, &format!("export run --to {to} --out file"), "exporting this model");
    }
    refused(60_000, "vectors near run w5", "reading this embedding");
    refused(60_000, "vectors export run --out v.bin", "reading this embedding");
    ok(60_000, "vectors export run --out v.bin --limit 1000");
    refused(50_000, "eval run --data short --batch 1 --threads 1", "the model");
    refused(50_000, "generate run --length 3 --threads 1", "the model");
    let eval = "eval run --data short --batch 1 --threads 1";
    assert_eq!(ok(120_000, eval), ok(50_000, &format!("{eval} --memory-map .")));
    let generate = "generate run --length 3 --threads 1";
    assert_eq!(ok(120_000, generate), ok(50_000, &format!("{generate} --memory-map .")));
}
