//! Learning-rate schedules.
//!
//! The rate of step s (from 1) in epoch e (from 1), with b the configured rate and `warmup_steps` = w:
//!
//! | kind | rate |
//! |---|---|
//! | constant | b |
//! | decay | b factor^k, k = ceil((e - after) / every) for e > after, else 0 |
//! | plateau | b factor^p, p = how often the validation loss failed to improve `patience` times in a row |
//! | inverse | b / (1 + d (s - 1)) |
//! | cosine | m + (b - m) (1 + cos(pi (s - w) / (n - w))) / 2, m = `min_lr`, n = `steps`; m from step n on |
//!
//! and, whatever the kind, times s / w while s < w; never below `min_lr` once warm. `decay` with factor 0.97 and after
//! = 10 is char-rnn's, 0.5 and 4 is that of Zaremba et al. (2014) for the small model, 0.5 with after = every = 5 is
//! torch-rnn's; `inverse` is that of Bengio, Ducharme, Vincent and Jauvin (2003), with d = 1e-8 for each example;
//! `plateau` with factor 0.25 and patience 1 is that of PyTorch's word language model; `cosine` is Loshchilov and
//! Hutter's (2017) without restarts.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the learning rate changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The full rate.
    pub lr: f64,
    /// How it changes.
    pub kind: ScheduleKind,
    /// The lowest rate, except while warming up.
    pub min_lr: f64,
    /// The number of steps over which the rate first rises linearly to its full value.
    pub warmup_steps: u64,
}

/// The kinds of schedule.
#[derive(Debug, Clone, PartialEq)]
pub enum ScheduleKind {
    /// The full rate throughout.
    Constant,
    /// The rate is multiplied by a factor every few epochs, after a number of epochs at the full rate.
    Decay {
        /// The rate is multiplied by this.
        factor: f64,
        /// The last epoch with the full rate.
        after: u64,
        /// Epochs between two changes.
        every: u64,
    },
    /// The rate is multiplied by a factor whenever the validation loss stops improving.
    Plateau {
        /// The rate is multiplied by this.
        factor: f64,
        /// Evaluations in a row without improvement that bring the change; at least 1.
        patience: u64,
        /// What counts as an improvement, in nats.
        min_delta: f64,
    },
    /// The full rate over 1 and a share of the steps before.
    Inverse {
        /// The share.
        decay: f64,
    },
    /// Half a cosine wave from the full rate to the lowest.
    Cosine {
        /// The step at which the lowest rate is reached.
        steps: u64,
    },
}

/// What a schedule remembers: saved with every checkpoint.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleState {
    /// plateau: the best validation loss.
    pub best: Option<f64>,
    /// plateau: evaluations since then or since the last reduction.
    pub bad: u64,
    /// plateau: reductions so far.
    pub reductions: u64,
}

impl Schedule {
    /// The same rate all the time.
    pub fn constant(lr: f64) -> Self {
        Self { lr, kind: ScheduleKind::Constant, min_lr: 0.0, warmup_steps: 0 }
    }

    /// Checks the values; `evaluates` says whether there is a validation loss.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] that names the key.
    pub fn check(&self, evaluates: bool) -> Result<()> {
        let wrong = |key: &str, what: String| Err(Error::option(&format!("schedule.{key}"), what));
        if !(self.lr.is_finite() && self.lr > 0.0) {
            return Err(Error::option("optimizer.lr", format!("{} must be more than 0", self.lr)));
        }
        if !(self.min_lr >= 0.0 && self.min_lr <= self.lr) {
            return wrong("min_lr", format!("{} must lie between 0 and the rate {}", self.min_lr, self.lr));
        }
        match self.kind {
            ScheduleKind::Decay { factor, .. } | ScheduleKind::Plateau { factor, .. }
                if !(factor > 0.0 && factor < 1.0) =>
            {
                wrong("factor", format!("{factor} must lie between 0 and 1"))
            }
            ScheduleKind::Decay { every: 0, .. } => wrong("every", "must be at least 1, got 0".into()),
            ScheduleKind::Inverse { decay } if !(decay.is_finite() && decay >= 0.0) => {
                wrong("decay", format!("{decay} must be 0 or more"))
            }
            ScheduleKind::Plateau { patience: 0, .. } => wrong("patience", "must be at least 1, got 0".into()),
            ScheduleKind::Plateau { min_delta, .. } if !(min_delta.is_finite() && min_delta >= 0.0) => {
                wrong("min_delta", format!("{min_delta} must be 0 or more"))
            }
            ScheduleKind::Plateau { .. } if !evaluates => {
                let what = "plateau needs a validation loss, and nothing is evaluated";
                Err(Error::option("schedule.kind", what).mend("give validation text, or choose decay"))
            }
            ScheduleKind::Cosine { steps } if steps <= self.warmup_steps => {
                wrong("warmup", format!("{} steps of warm-up leave nothing of {steps} steps", self.warmup_steps))
            }
            _ => Ok(()),
        }
    }

    /// The rate of `step` (from 1) in `epoch` (from 0, the number of epochs completed).
    pub fn rate(&self, state: &ScheduleState, step: u64, epoch: u64) -> f64 {
        let rate = match self.kind {
            ScheduleKind::Constant => self.lr,
            ScheduleKind::Decay { factor, after, every } => {
                self.lr * power(factor, (epoch + 1).saturating_sub(after).div_ceil(every))
            }
            ScheduleKind::Plateau { factor, .. } => self.lr * power(factor, state.reductions),
            ScheduleKind::Inverse { decay } => self.lr / (1.0 + decay * step.saturating_sub(1) as f64),
            ScheduleKind::Cosine { steps } => {
                let done = step.clamp(self.warmup_steps, steps) - self.warmup_steps;
                let phase = done as f64 / (steps - self.warmup_steps) as f64;
                self.min_lr + (self.lr - self.min_lr) * 0.5 * (1.0 + (std::f64::consts::PI * phase).cos())
            }
        };
        let rate = rate.max(self.min_lr);
        if step < self.warmup_steps { rate * (step as f64 / self.warmup_steps as f64) } else { rate }
    }

    /// Records a validation loss. Returns whether the rate was reduced.
    pub fn evaluated(&self, state: &mut ScheduleState, loss: f64) -> bool {
        let ScheduleKind::Plateau { patience, min_delta, .. } = self.kind else { return false };
        if state.best.is_none_or(|best| loss < best - min_delta) {
            state.best = Some(loss);
            state.bad = 0;
            return false;
        }
        state.bad += 1;
        let reduce = state.bad >= patience;
        if reduce {
            state.bad = 0;
            state.reductions += 1;
        }
        reduce
    }
}

/// `factor` to the n-th by repeated products, whose bits (unlike `powi`'s) are the same everywhere. Ends at zero.
fn power(factor: f64, n: u64) -> f64 {
    let mut product = 1.0;
    for _ in 0..n {
        product *= factor;
        if product == 0.0 {
            break;
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(lr: f64, kind: ScheduleKind) -> Schedule {
        let schedule = Schedule { lr, kind, min_lr: 0.0, warmup_steps: 0 };
        schedule.check(true).unwrap();
        schedule
    }

    fn rates(schedule: &Schedule, epochs: &[u64]) -> Vec<f64> {
        epochs.iter().map(|&e| schedule.rate(&ScheduleState::default(), 1000, e - 1)).collect()
    }

    #[test]
    fn char_rnn_decays_from_the_eleventh_epoch() {
        let schedule = schedule(2e-3, ScheduleKind::Decay { factor: 0.97, after: 10, every: 1 });
        assert_eq!(rates(&schedule, &[1, 10, 11, 12]), [2e-3, 2e-3, 2e-3 * 0.97, 2e-3 * (0.97 * 0.97)]);
    }

    #[test]
    fn zaremba_and_torch_rnn_halve() {
        let small = schedule(1.0, ScheduleKind::Decay { factor: 0.5, after: 4, every: 1 });
        assert_eq!(rates(&small, &[1, 4, 5, 6, 13]), [1.0, 1.0, 0.5, 0.25, 0.5f64.powi(9)]);
        let torch_rnn = schedule(1.0, ScheduleKind::Decay { factor: 0.5, after: 5, every: 5 });
        assert_eq!(rates(&torch_rnn, &[5, 6, 10, 11]), [1.0, 0.5, 0.5, 0.25]);
    }

    #[test]
    fn the_inverse_halves_after_one_over_its_decay() {
        let schedule = schedule(1e-3, ScheduleKind::Inverse { decay: 0.01 });
        let rate = |step| schedule.rate(&ScheduleState::default(), step, 0);
        assert_eq!([rate(1), rate(101), rate(301)], [1e-3, 0.5e-3, 0.25e-3]);
        let wrong = Schedule { kind: ScheduleKind::Inverse { decay: -1.0 }, ..schedule };
        assert!(wrong.check(true).is_err());
    }

    #[test]
    fn pytorch_quarters_when_validation_does_not_improve() {
        let schedule = schedule(20.0, ScheduleKind::Plateau { factor: 0.25, patience: 1, min_delta: 0.0 });
        let mut state = ScheduleState::default();
        let mut rate_after = |loss| {
            schedule.evaluated(&mut state, loss);
            schedule.rate(&state, 7, 0)
        };
        assert_eq!([5.0, 4.9, 4.9, 4.95, 4.8, 4.81].map(&mut rate_after), [20.0, 20.0, 5.0, 1.25, 1.25, 0.3125]);
    }

    #[test]
    fn plateau_has_patience_and_a_floor() {
        let kind = ScheduleKind::Plateau { factor: 0.5, patience: 3, min_delta: 0.1 };
        let schedule = Schedule { min_lr: 0.3, ..schedule(1.0, kind) };
        let mut state = ScheduleState::default();
        let losses = [2.0, 1.95, 1.95, 1.95, 1.8, 1.8, 1.8, 1.8, 1.8, 1.8, 1.8];
        let reduced = losses.map(|loss| schedule.evaluated(&mut state, loss));
        assert_eq!(reduced, [false, false, false, true, false, false, false, true, false, false, true]);
        assert_eq!(schedule.rate(&state, 1, 0), 0.3);
    }

    #[test]
    fn cosine_after_warm_up() {
        let schedule = Schedule { min_lr: 0.1, warmup_steps: 20, ..schedule(1.0, ScheduleKind::Cosine { steps: 100 }) };
        let rate = |step| schedule.rate(&ScheduleState::default(), step, 0);
        assert_eq!([rate(1), rate(10), rate(20)], [0.05, 0.5, 1.0]);
        assert!((rate(60) - 0.55).abs() < 1e-12);
        assert!((rate(40) - (0.1 + 0.9 * (0.5 + 0.125f64.sqrt()))).abs() < 1e-12);
        assert_eq!([rate(100), rate(5000)], [0.1, 0.1]);
    }

    #[test]
    fn warm_up_composes_with_decay() {
        let decay = schedule(1.0, ScheduleKind::Decay { factor: 0.5, after: 1, every: 1 });
        let schedule = Schedule { warmup_steps: 8, ..decay };
        let state = ScheduleState::default();
        assert_eq!(
            [schedule.rate(&state, 4, 0), schedule.rate(&state, 4, 1), schedule.rate(&state, 8, 1)],
            [0.5, 0.25, 0.5]
        );
    }

    #[test]
    fn bad_values_are_refused() {
        let error = |kind, min_lr, evaluates| {
            let schedule = Schedule { lr: 1.0, kind, min_lr, warmup_steps: 5 };
            schedule.check(evaluates).unwrap_err().to_string()
        };
        let decay = |factor, every| ScheduleKind::Decay { factor, after: 0, every };
        let plateau = |patience, min_delta| ScheduleKind::Plateau { factor: 0.5, patience, min_delta };
        assert!(error(decay(1.5, 1), 0.0, true).contains("schedule.factor: 1.5 must lie between 0 and 1"));
        assert!(error(decay(f64::NAN, 1), 0.0, true).contains("between 0 and 1"));
        assert!(error(decay(0.5, 0), 0.0, true).contains("schedule.every: must be at least 1"));
        assert!(error(decay(0.5, 1), 2.0, true).contains("between 0 and the rate 1"));
        assert!(error(plateau(0, 0.0), 0.0, true).contains("schedule.patience"));
        assert!(error(plateau(1, -1.0), 0.0, true).contains("schedule.min_delta"));
        assert!(error(plateau(1, 0.0), 0.0, false).contains("needs a validation loss"));
        assert!(error(ScheduleKind::Cosine { steps: 5 }, 0.0, true).contains("leave nothing of 5 steps"));
    }
}
