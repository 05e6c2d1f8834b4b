//! The command is killed with SIGKILL at thirty random moments, at least ten of them while it writes a checkpoint, and
//! every time the resumed run ends in the bytes of the one that was left alone.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "what cannot be done has failed")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use unroll::random::{Key, Purpose};

const STEPS: usize = 48;

/// Dropout, Adam, clipping by norm, a schedule that remembers, carried state, three replicas, two threads, and sizes that
/// are no multiple of a panel.
const SETTINGS: &str = "--model lstm --rnn-size 21 --num-layers 2 --emsize 13 --dropout 0.2 --batch-size 7 --seq-length 5 \
    --replicas 3 --threads 2 --optimizer adam --clip-norm 0.5 --schedule plateau --epochs 9 --eval-every 16 \
    --save-every 6 --sample-every 10 --sample-length 20 --print-every 4 --valid-fraction 0.2";

struct Runs {
    dir: tempfile::TempDir,
}

impl Runs {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Begins the run, or goes on with it, and lets its files take their time.
    fn start(&self, name: &str, pause: u32) -> Child {
        let path = self.path(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_unroll"));
        command.arg("train");
        if path.join("config.toml").exists() {
            command.arg("--resume").arg(path);
        } else {
            command.args(SETTINGS.split_whitespace()).args(["--max-steps", &STEPS.to_string()]);
            command.arg("--data").arg(self.path("text")).arg("--out").arg(path);
        }
        command.args(["--pause-storage", &pause.to_string()]);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn finish(&self, name: &str) -> Vec<Vec<u8>> {
        let output = self.start(name, 0).wait_with_output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let run = self.path(name);
        let last = last(&run);
        let of_checkpoint = ["weights.safetensors", "optimizer.safetensors", "carry.safetensors", "state.json"];
        let mut files: Vec<_> = of_checkpoint.iter().map(|name| std::fs::read(last.join(name)).unwrap()).collect();
        files.extend(["metrics.jsonl", "samples.txt"].map(|name| std::fs::read(run.join(name)).unwrap()));
        files
    }

    /// Whether a checkpoint is being written: something was, and it has not its name yet.
    fn writes_a_checkpoint(&self, name: &str) -> bool {
        let Ok(entries) = std::fs::read_dir(self.path(name).join("checkpoints")) else { return false };
        let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.any(|name| name.starts_with(".tmp-0"))
    }
}

fn last(run: &Path) -> PathBuf {
    run.join(format!("checkpoints/step-{STEPS:08}"))
}

/// Kills the child. False if it had ended before.
fn kill(mut child: Child) -> bool {
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}

/// Lets the child go on until it is seen writing its `nth` checkpoint.
fn wait_for_checkpoint(runs: &Runs, name: &str, child: &mut Child, nth: u32) {
    let mut seen = 0;
    let mut before = false;
    while child.try_wait().unwrap().is_none() {
        let now = runs.writes_a_checkpoint(name);
        seen += u32::from(now && !before);
        before = now;
        if seen == nth {
            return;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn killed_at_thirty_moments() {
    let runs = Runs { dir: tempfile::tempdir().unwrap() };
    let key = Key::new(u64::from(std::process::id()), Purpose::Bench);
    let text: String = (0..3000).map(|i| char::from(b'a' + (key.word(i / 3) % 17) as u8)).collect();
    std::fs::write(runs.path("text"), text).unwrap();
    let begin = Instant::now();
    let unbroken = runs.finish("unbroken");
    let whole = begin.elapsed();

    let (mut kills, mut in_checkpoint, mut tries) = (0, 0, 0);
    while kills < 30 || in_checkpoint < 10 {
        assert!(tries < 90, "{kills} kills, {in_checkpoint} of them in a checkpoint, in {tries} runs");
        let name = format!("run-{tries}");
        let word = key.layer(1).word(tries);
        tries += 1;
        let mut child = runs.start(&name, 1);
        if tries % 2 == 0 {
            wait_for_checkpoint(&runs, &name, &mut child, 1 + word % 5);
            std::thread::sleep(Duration::from_micros(u64::from(word >> 8) % 15_000));
        } else {
            std::thread::sleep(whole.mul_f64(f64::from(word) / f64::from(u32::MAX)));
        }
        if !kill(child) {
            continue;
        }
        kills += 1;
        in_checkpoint += u32::from(runs.writes_a_checkpoint(&name));
        let resumed = runs.finish(&name);
        assert!(resumed == unbroken, "the run {name} was killed and does not end as the unbroken one");
        assert!(!runs.writes_a_checkpoint(&name), "{name}: leftovers");
        std::fs::remove_dir_all(runs.path(&name)).unwrap();
    }
    println!("{kills} kills, {in_checkpoint} of them between a checkpoint's first write and its rename");
}

/// Ctrl-C ends the step, saves, and names the command that goes on.
#[test]
fn interrupted_by_the_user() {
    let runs = Runs { dir: tempfile::tempdir().unwrap() };
    std::fs::write(runs.path("text"), "the quick brown fox jumps over the lazy dog. ".repeat(60)).unwrap();
    let unbroken = runs.finish("unbroken");
    let mut child = runs.start("run", 1);
    wait_for_checkpoint(&runs, "run", &mut child, 2);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{message}");
    let run = runs.path("run");
    assert!(message.contains(&format!("unroll train --resume {}", run.display())), "{message}");
    assert!(!last(&run).exists(), "it was interrupted before its end");
    assert!(runs.finish("run") == unbroken);
}
