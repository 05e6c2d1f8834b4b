//! Timing: the standard cases that are set beside other engines, and what this machine can do.
//!
//! A step here is everything that a training step does (forward, loss, backward, clipping, update), by the same function
//! that training calls; tokens are drawn uniformly at random, fresh for each step. `models.rs` has the models of the cases, `own.rs` makes
//! a case of a configuration, `cases.rs` has how they are timed, `training.rs` a case in training, `machine.rs`
//! the rates of the machine itself, `word_vectors.rs` the training of word vectors on a text, `vocabulary.rs` the making of its vocabulary, `products.rs` single matrix products, `plan.rs` a model of a step's time on more cores.

mod cases;
mod machine;
mod models;
mod own;
mod plan;
mod products;
mod training;
mod vocabulary;
mod word_vectors;

pub use cases::{Case, CaseOptions, CaseSizes, Outcome};
pub use machine::{KernelRate, Machine, MemoryRate};
pub use own::Unread;
pub use plan::{Plan, PlanRates, Split};
pub use products::{Shape, time_product};
pub use training::{Stream, Training};
pub use vocabulary::{VocabularyRate, time_vocabulary};
pub use word_vectors::time_word_vectors;

use std::time::{Duration, Instant};

/// Calls `step` twice to warm up, then at least three times and for about `length`; returns the median duration.
pub fn median(length: Duration, mut step: impl FnMut()) -> Duration {
    step();
    step();
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || start.elapsed() < length {
        let at = Instant::now();
        step();
        times.push(at.elapsed());
    }
    times.sort();
    times[times.len() / 2]
}

/// The most memory this process has held so far, in bytes; 0 where the system does not tell.
pub fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
