//! How fast a run goes. Nothing of its result depends on this.

use std::time::{Duration, Instant};

/// Seconds over which speed is averaged: short enough to show a change, long enough to be read.
const WINDOW: f64 = 5.0;

/// Smoothed time and tokens of a step; evaluation, sampling and saving do not count.
#[derive(Debug)]
pub(crate) struct Pace {
    start: Instant,
    /// Exponentially weighted sums over steps, of steps, seconds and tokens.
    steps: f64,
    seconds: f64,
    tokens: f64,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), steps: 0.0, seconds: 0.0, tokens: 0.0 }
    }

    pub(crate) fn step(&mut self, took: Duration, tokens: u64) {
        let took = took.as_secs_f64();
        let keep = (-took / WINDOW).exp();
        self.steps = self.steps * keep + 1.0;
        self.seconds = self.seconds * keep + took;
        self.tokens = self.tokens * keep + tokens as f64;
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    pub(crate) fn tokens_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.tokens / self.seconds } else { 0.0 }
    }

    /// The time that `steps` more steps take, `None` before the first.
    pub(crate) fn eta(&self, steps: u64) -> Option<Duration> {
        let seconds = steps as f64 * self.seconds / self.steps;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_follows_the_last_seconds() {
        let mut pace = Pace::new();
        assert_eq!((pace.tokens_per_second(), pace.eta(3)), (0.0, None));
        for _ in 0..50 {
            pace.step(Duration::from_millis(100), 10);
        }
        assert!((pace.tokens_per_second() - 100.0).abs() < 1e-9);
        assert!((pace.eta(600).unwrap().as_secs_f64() - 60.0).abs() < 1e-6);
        for _ in 0..50 {
            pace.step(Duration::from_secs(1), 10);
        }
        assert!((pace.tokens_per_second() - 10.0).abs() < 0.1);
    }
}
