//! A profile of a crew: the clocks of its threads ([`unroll_kernels::profile`]) added up.

use std::time::{Duration, Instant};
use unroll_kernels::profile::{Counts, Phase};
use unroll_kernels::simd::ticks;

/// When a profile began, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProfileStart {
    at: Instant,
    ticks: u64,
}

impl ProfileStart {
    pub(super) fn now() -> Self {
        Self { at: Instant::now(), ticks: ticks() }
    }

    /// What `threads` threads have counted since then.
    pub(super) fn end(self, threads: usize, counts: Counts) -> Profile {
        let (wall, passed) = (self.at.elapsed(), (ticks() - self.ticks).max(1));
        let total = counts.ticks.iter().sum::<u64>().max(1) as f64;
        let phases = Phase::ALL.iter().zip(counts.ticks).zip(counts.flops);
        let phases = phases.filter(|((_, ticks), _)| *ticks > 0).map(|((phase, ticks), flops)| {
            let thread_seconds = ticks as f64 / passed as f64 * wall.as_secs_f64();
            let gflops = (flops > 0).then(|| flops as f64 / thread_seconds / 1e9);
            PhaseTime { phase: phase.name().to_owned(), share: ticks as f64 / total, thread_seconds, gflops }
        });
        Profile { threads, wall, phases: phases.collect() }
    }
}

/// Where the time of all threads went. The shares of the phases add up to 1.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Profile {
    /// How many threads were watched.
    pub threads: usize,
    /// For how long.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub wall: Duration,
    /// The phases in which any time was spent.
    pub phases: Vec<PhaseTime>,
}

/// The time spent in one phase.
#[derive(Clone, Debug, serde::Serialize)]
pub struct PhaseTime {
    /// The phase's name ([`Phase::name`]).
    pub phase: String,
    /// Its part of all threads' time.
    pub share: f64,
    /// Seconds, summed over threads.
    pub thread_seconds: f64,
    /// The rate of its products on one thread, in 10^9 floating-point operations a second; absent without products.
    pub gflops: Option<f64>,
}

fn seconds<S: serde::Serializer>(wall: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(wall.as_secs_f64())
}
