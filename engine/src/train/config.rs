//! What a run is to do.

use crate::{Error, Result};

use super::early_stop::EarlyStopping;
use super::optimize::OptimizerOptions;
use super::schedule::Schedule;

/// The settings of the training loop. The learner decides how the gradient is scaled (mean, sum, sum over time).
#[derive(Debug, Clone, PartialEq)]
pub struct TrainConfig {
    /// The seed of every random number, recorded in checkpoints.
    pub seed: u64,
    /// The number of passes over the training text.
    pub epochs: Option<u64>,
    /// The number of steps after which the run ends.
    pub max_steps: Option<u64>,
    /// The learning rate.
    pub schedule: Schedule,
    /// The optimiser.
    pub optimizer: OptimizerOptions,
    /// Whether the carried state is set to zero at the start of each epoch, as Zaremba and PyTorch's example do;
    /// char-rnn carries it on.
    pub reset_state: bool,
    /// Steps between two lines of the metrics; 0: none.
    pub log_every: u64,
    /// When the validation text is evaluated, besides the end of the run.
    pub eval_every: Every,
    /// Steps between two samples; 0: none.
    pub sample_every: u64,
    /// When a checkpoint is saved, besides the end of the run, an interruption, and every best evaluation.
    pub save_every: Every,
    /// A checkpoint is also saved when this many minutes have passed since the last.
    pub save_minutes: Option<f64>,
    /// When the run ends early.
    pub early_stop: Option<EarlyStopping>,
    /// The figure ([`super::Measure`]) that decides which evaluation is the best and when the run ends early, the
    /// higher the better. Absent: the loss decides, the lower the better.
    pub best_by: Option<String>,
}

/// An interval of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// Never.
    Never,
    /// Each time that this many steps are done.
    Steps(u64),
    /// Each time that this many epochs are complete.
    Epochs(u64),
}

impl Every {
    /// Whether the interval ends after `step` steps, with `epochs` epochs completed by this step or `None`.
    pub(crate) fn is_due(self, step: u64, epochs: Option<u64>) -> bool {
        match (self, epochs) {
            (Self::Steps(n), _) => step.is_multiple_of(n),
            (Self::Epochs(n), Some(epochs)) => epochs.is_multiple_of(n),
            _ => false,
        }
    }
}

impl TrainConfig {
    /// `max_steps` steps and nothing else: no reports, evaluations, samples or checkpoints.
    pub fn steps(max_steps: u64, schedule: Schedule, optimizer: OptimizerOptions) -> Self {
        Self {
            seed: 123,
            epochs: None,
            max_steps: Some(max_steps),
            schedule,
            optimizer,
            reset_state: false,
            log_every: 0,
            eval_every: Every::Never,
            sample_every: 0,
            save_every: Every::Never,
            save_minutes: None,
            early_stop: None,
            best_by: None,
        }
    }

    /// Checks the values; `evaluates` says whether there is validation text.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] that names the key.
    pub fn check(&self, evaluates: bool) -> Result<()> {
        if self.epochs.is_none() && self.max_steps.is_none() {
            return Err(Error::option("train.epochs", "training would never end").mend("set it, or train.max_steps"));
        }
        for (key, every) in [("train.eval_every", self.eval_every), ("train.save_every", self.save_every)] {
            if matches!(every, Every::Steps(0) | Every::Epochs(0)) {
                return Err(Error::option(key, "must be at least 1, got 0"));
            }
        }
        if let Some(minutes) = self.save_minutes.filter(|m| !(m.is_finite() && *m > 0.0)) {
            return Err(Error::option("train.save_minutes", format!("{minutes} must be more than 0")));
        }
        if let Some(norm) = self.optimizer.clip_norm.filter(|n| !(n.is_finite() && *n > 0.0)) {
            return Err(Error::option("optimizer.clip_norm", format!("{norm} must be more than 0")));
        }
        if let Some(value) = self.optimizer.clip_value.filter(|v| !(v.is_finite() && *v > 0.0)) {
            return Err(Error::option("optimizer.clip_value", format!("{value} must be more than 0")));
        }
        if !(self.optimizer.weight_decay.is_finite() && self.optimizer.weight_decay >= 0.0) {
            let decay = self.optimizer.weight_decay;
            return Err(Error::option("optimizer.weight_decay", format!("{decay} must be 0 or more")));
        }
        self.optimizer.average.map_or(Ok(()), |rule| rule.check(evaluates))?;
        self.schedule.check(evaluates)?;
        self.early_stop.as_ref().map_or(Ok(()), |rule| rule.check(evaluates))
    }

    /// The last step of the run, if nothing ends it earlier; `batches_of(n)` is the number of batches of n epochs.
    pub fn last_step(&self, batches_of: impl Fn(u64) -> u64) -> Option<u64> {
        let by_epochs = self.epochs.map(batches_of);
        match (self.max_steps, by_epochs) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}
