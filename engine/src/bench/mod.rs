//! Timing: the standard cases that are compared with other engines, and what this machine can do.
//!
//! A step here is a whole training step (forward, loss, backward, clipping, update), run by the same function that
//! training calls, on tokens drawn uniformly at random and afresh for each step.
//!
//! ```text
//! models.rs         the models, sizes and optimisers of the standard cases
//! cases.rs          how a step of each is timed            training.rs      a case in training
//! own.rs            a case made of a configuration         machine.rs       the rates of the machine itself
//! products.rs       single matrix products                 word_vectors.rs  the training of word vectors on a text
//! vocabulary.rs     counting the vocabulary of a text      plan.rs          a model of a step's time on more cores
//! ```

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
pub use own::DataSizes;
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
