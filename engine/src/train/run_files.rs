//! Keeps a run: its growing files and its checkpoints, and what happens when they cannot be written.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::{Error, Result};

use super::checkpoint::{Checkpoints, Snapshot};
use super::log::Log;
use super::observer::{Event, Metric, Observer, StepReport};
use super::run::{METRICS, RunFolder, SAMPLES, TIMING};
use super::state::TrainerState;
use super::tensors::TensorRef;

/// The number of failures in a row after which a run stops, with exit code 5: a full or broken disk does not mend
/// itself, and the user should know that the work of the run cannot be kept.
pub const FAILURES_TO_STOP: u32 = 3;

/// What a checkpoint holds beside the state.
pub(crate) struct Tensors<'a> {
    pub(crate) weights: Vec<TensorRef<'a>>,
    pub(crate) optimizer: Vec<TensorRef<'a>>,
    pub(crate) carry: Vec<TensorRef<'a>>,
}

/// What a step's evaluation changes is saved once more after it.
fn moment(state: &TrainerState) -> (u64, u64) {
    (state.step, state.evaluated)
}

/// The run folder's files while a run goes on.
pub(crate) struct RunFiles {
    checkpoints: Checkpoints,
    metrics: Log,
    samples: Log,
    timing: Log,
    failures: u32,
    /// The step of the newest checkpoint, and that of the last evaluation that it knows of.
    last_saved: Option<(u64, u64)>,
    /// The step that `best.json` names.
    recorded_best: Option<u64>,
    last_attempt: Instant,
}

impl RunFiles {
    /// Opens the files of a run that goes on from `state`, or begins if there is none.
    pub(crate) fn open(folder: &RunFolder, state: Option<&TrainerState>, observer: &mut dyn Observer) -> Result<Self> {
        let mut open = |name: &str, len: u64| {
            let log = folder.log(name, len)?;
            if log.len() < len {
                let (path, found) = (folder.path().join(name), log.len());
                let text = format!("{}: has {found} bytes where the checkpoint recorded {len}", path.display());
                observer.event(&Event::Notice(&text));
            }
            Ok::<_, Error>(log)
        };
        let metrics = open(METRICS, state.map_or(0, |state| state.metrics_bytes))?;
        let samples = open(SAMPLES, state.map_or(0, |state| state.samples_bytes))?;
        let checkpoints = folder.checkpoints();
        Ok(Self {
            recorded_best: checkpoints.best(),
            checkpoints,
            metrics,
            samples,
            timing: folder.log_at_end(TIMING)?,
            failures: 0,
            last_saved: state.map(moment),
            last_attempt: Instant::now(),
        })
    }

    /// Adds a line to the metrics.
    pub(crate) fn metric(&mut self, metric: &Metric<'_>) {
        if let Ok(mut line) = serde_json::to_vec(metric) {
            line.push(b'\n');
            self.metrics.append(&line);
        }
    }

    /// Adds a line to the speeds, which are not part of the run's result.
    pub(crate) fn timing(&mut self, report: &StepReport) {
        let line = format!(
            "{{\"step\":{},\"seconds\":{:.3},\"tokens_per_second\":{:.1}}}\n",
            report.step,
            report.elapsed.as_secs_f64(),
            report.tokens_per_second
        );
        self.timing.append(line.as_bytes());
    }

    /// Adds a sample.
    pub(crate) fn sample(&mut self, step: u64, text: &str) {
        self.samples.append(format!("---- step {step} ----\n{text}\n").as_bytes());
    }

    /// Time since the last attempt to save, or since the start.
    pub(crate) fn since_last_attempt(&self) -> Duration {
        self.last_attempt.elapsed()
    }

    /// The step of the newest checkpoint.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.last_saved.map(|(step, _)| step)
    }

    /// Whether the newest checkpoint is of this step, after its evaluation if there was one.
    pub(crate) fn has_saved(&self, state: &TrainerState) -> bool {
        self.last_saved == Some(moment(state))
    }

    /// Saves a checkpoint. A failure is told to the observer and is an error only if it is the third in a row.
    pub(crate) fn save(
        &mut self,
        state: &mut TrainerState,
        tensors: &Tensors,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let step = state.step;
        let start = Instant::now();
        let saved = self.try_save(state, tensors);
        self.last_attempt = Instant::now();
        match saved {
            Ok(path) => {
                self.failures = 0;
                self.last_saved = Some(moment(state));
                observer.event(&Event::Saved { step, path: &path, took: start.elapsed() });
                self.tidy(state, observer);
                Ok(())
            }
            Err(error) => {
                self.failures += 1;
                observer.event(&Event::SaveFailed { step, error: &error, in_a_row: self.failures });
                if self.failures < FAILURES_TO_STOP { Ok(()) } else { Err(self.stop(error)) }
            }
        }
    }

    fn stop(&self, error: Error) -> Error {
        let kept = match self.newest() {
            Some(step) => format!("the checkpoint of step {step} is valid"),
            None => "there is no earlier checkpoint".to_owned(),
        };
        error.mend(format!("{FAILURES_TO_STOP} attempts in a row have failed; {kept}; make room, then resume the run"))
    }

    fn try_save(&mut self, state: &mut TrainerState, tensors: &Tensors) -> Result<PathBuf> {
        // What the checkpoint says of these files must be on the disk before it.
        for log in [&mut self.metrics, &mut self.samples] {
            log.sync().map_err(|e| Error::io(log.path(), "cannot write, so the checkpoint cannot be saved", e))?;
        }
        state.metrics_bytes = self.metrics.len();
        state.samples_bytes = self.samples.len();
        let path = self.checkpoints.save(&Snapshot {
            state,
            weights: &tensors.weights,
            optimizer: &tensors.optimizer,
            carry: &tensors.carry,
        })?;
        Ok(path)
    }

    /// Records the best checkpoint and deletes old ones. Nothing depends on its success.
    fn tidy(&mut self, state: &TrainerState, observer: &mut dyn Observer) {
        let tell = |error: Error, observer: &mut dyn Observer| observer.event(&Event::Notice(&error.to_string()));
        if let Some(best) = state.best.filter(|best| best.step == state.step) {
            match self.checkpoints.set_best(best) {
                Ok(()) => self.recorded_best = Some(best.step),
                // The earlier best one stays recorded and is kept; this one is kept as long as it is among the last.
                Err(error) => tell(error, observer),
            }
        }
        if let Err(error) = self.checkpoints.prune(state.step, self.recorded_best) {
            tell(error, observer);
        }
        if let Err(error) = self.timing.sync() {
            tell(Error::io(self.timing.path(), "cannot write", error), observer);
        }
    }
}
