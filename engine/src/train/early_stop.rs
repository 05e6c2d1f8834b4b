//! Early stopping: a run ends when its validation loss has not improved for some evaluations.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// When to stop before the last epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct EarlyStopping {
    /// The run ends after this many evaluations in a row without improvement; at least 1.
    pub patience: u64,
    /// The least improvement that counts, in nats.
    pub min_delta: f64,
}

/// What early stopping remembers: saved with every checkpoint.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopState {
    /// The best validation loss.
    pub best: Option<f64>,
    /// The number of evaluations since then.
    pub bad: u64,
}

impl EarlyStopping {
    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Usage`] for a value that means nothing, or where nothing is evaluated.
    pub fn check(&self, evaluates: bool) -> Result<()> {
        if self.patience == 0 {
            return Err(Error::option("--early-stop", "must be at least 1, got 0"));
        }
        if !(self.min_delta.is_finite() && self.min_delta >= 0.0) {
            return Err(Error::option("train.early_stop_min_delta", format!("{} must be 0 or more", self.min_delta)));
        }
        if !evaluates {
            return Err(Error::option("--early-stop", "needs a validation loss, and nothing is evaluated")
                .mend("give validation text, or remove it"));
        }
        Ok(())
    }

    /// Records a validation loss.
    pub fn evaluated(&self, state: &mut EarlyStopState, loss: f64) {
        if state.best.is_none_or(|best| loss < best - self.min_delta) {
            state.best = Some(loss);
            state.bad = 0;
        } else {
            state.bad += 1;
        }
    }

    /// Whether the run is to end now.
    pub fn is_due(&self, state: &EarlyStopState) -> bool {
        state.bad >= self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_after_patience() {
        let rule = EarlyStopping { patience: 2, min_delta: 0.5 };
        let mut state = EarlyStopState::default();
        let due = [3.0, 2.75, 2.25, 2.0, 1.8, 1.9].map(|loss| {
            rule.evaluated(&mut state, loss);
            rule.is_due(&state)
        });
        assert_eq!(due, [false, false, false, false, true, true]);
        assert_eq!(state, EarlyStopState { best: Some(2.25), bad: 3 });
    }

    #[test]
    fn bad_values_are_refused() {
        assert!(EarlyStopping { patience: 1, min_delta: f64::NAN }.check(true).is_err());
        assert!(EarlyStopping { patience: 0, min_delta: 0.0 }.check(true).is_err());
        assert!(EarlyStopping { patience: 1, min_delta: 0.0 }.check(false).is_err());
        assert!(EarlyStopping { patience: 1, min_delta: 0.0 }.check(true).is_ok());
    }
}
