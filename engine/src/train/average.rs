//! Averages of the weights: averaged stochastic gradient descent (B. T. Polyak and A. B. Juditsky 1992).
//!
//! With t the last step before averaging begins, p_s the weights after step s and a_s their average:
//!
//! ```text
//! a_s = p_s                                  s = t + 1
//! a_s = a_{s-1} + (p_s - a_{s-1}) / max(1, s - t - 1)
//! ```
//!
//! which is the mean of p_{t+2} ... p_s: PyTorch's `torch.optim.ASGD` with `lambd` = 0 and `t0` = t (its divisor of the
//! first two steps is 1). `t` is given, or found by the non-monotonic trigger of S. Merity, N. S. Keskar and R. Socher
//! (2017, arXiv:1708.02182, algorithm 1): after the first evaluation whose loss is above the lowest of all but the last
//! `nonmono` evaluations before it. Averages are what is evaluated, sampled from and saved; the steps go on from the
//! weights themselves.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// When averaging begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Averaging {
    /// After a number of steps.
    After {
        /// t; 0: the run begins with it.
        t0: u64,
    },
    /// When the validation loss has stopped falling.
    NonMonotonic {
        /// The latest evaluations, whose losses do not count; at least 1.
        nonmono: u64,
    },
}

/// What averaging remembers: saved with every checkpoint.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AverageState {
    /// The last step before averaging begins; none: it has not been triggered.
    pub t0: Option<u64>,
    /// The validation losses before the trigger.
    pub losses: Vec<f64>,
}

impl AverageState {
    /// The state before the first step.
    pub fn new(averaging: Option<Averaging>) -> Self {
        let t0 = match averaging {
            Some(Averaging::After { t0 }) => Some(t0),
            _ => None,
        };
        Self { t0, losses: Vec::new() }
    }

    /// Whether there is nothing to save.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether there are averages after `step`.
    pub fn has_begun(&self, step: u64) -> bool {
        self.t0.is_some_and(|t0| step > t0)
    }

    /// The weight with which the averages move towards the weights of `step`; `None` before averaging begins.
    pub fn weight(&self, step: u64) -> Option<f32> {
        let t0 = self.t0.filter(|&t0| step > t0)?;
        Some((1.0 / (step - t0 - 1).max(1) as f64) as f32)
    }
}

impl Averaging {
    /// Checks the values; `evaluates` says whether there is a validation loss.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] that names the key.
    pub fn check(&self, evaluates: bool) -> Result<()> {
        match self {
            Self::NonMonotonic { nonmono: 0 } => Err(Error::option("optimizer.nonmono", "must be at least 1, got 0")),
            Self::NonMonotonic { .. } if !evaluates => {
                let what = "nt_asgd needs a validation loss, and nothing is evaluated";
                Err(Error::option("optimizer.average", what)
                    .mend("give validation text, or choose asgd with optimizer.t0"))
            }
            _ => Ok(()),
        }
    }

    /// Takes note of the validation loss after `step`.
    pub fn evaluated(&self, state: &mut AverageState, step: u64, loss: f64) {
        let (Self::NonMonotonic { nonmono }, None) = (self, state.t0) else { return };
        let counted = state.losses.len().saturating_sub(*nonmono as usize);
        if state.losses[..counted].iter().any(|&before| loss > before) {
            *state = AverageState { t0: Some(step), losses: Vec::new() };
        } else {
            state.losses.push(loss);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_those_of_a_mean() {
        let state = AverageState { t0: Some(3), losses: Vec::new() };
        assert_eq!(
            [2, 3, 4, 5, 6, 7].map(|step| state.weight(step)),
            [None, None, Some(1.0), Some(1.0), Some(0.5), Some(1.0 / 3.0)]
        );
        assert_eq!([3, 4].map(|step| state.has_begun(step)), [false, true]);
        assert_eq!(AverageState::default().weight(9), None);
    }

    #[test]
    fn the_trigger_is_the_papers() {
        let begun = |nonmono, losses: &[f64]| {
            let rule = Averaging::NonMonotonic { nonmono };
            let mut state = AverageState::new(Some(rule));
            (1..).zip(losses).for_each(|(step, &loss)| rule.evaluated(&mut state, 10 * step, loss));
            state.t0
        };
        // The paper's condition, v_t > min over l < t - n of v_l, has all but the last two before it.
        let losses = [5.0, 4.0, 4.5, 4.2, 4.1];
        assert_eq!(begun(2, &losses[..3]), None, "no loss is old enough");
        assert_eq!(begun(2, &losses[..4]), None, "only 5.0 is old enough");
        assert_eq!(begun(2, &losses), Some(50), "4.0 is, and 4.1 is above it");
        assert_eq!(begun(3, &losses), None);
        assert_eq!(begun(1, &[5.0, 4.0, 4.0, 4.0, 4.0]), None, "as good as the best is not above it");
        assert_eq!(begun(1, &[5.0, 4.0, 3.0, 4.5, 1.0, 9.0]), Some(40), "the first counts");
    }

    #[test]
    fn bad_values_are_refused() {
        let error = |rule: Averaging, evaluates| rule.check(evaluates).unwrap_err().to_string();
        assert!(error(Averaging::NonMonotonic { nonmono: 0 }, true).contains("optimizer.nonmono: must be at least 1"));
        assert!(error(Averaging::NonMonotonic { nonmono: 5 }, false).contains("needs a validation loss"));
        Averaging::After { t0: 0 }.check(false).unwrap();
    }
}
