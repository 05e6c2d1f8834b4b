//! What a run tells while it goes on. The library prints nothing.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use crate::Error;
use crate::network::LogPartitions;

use super::state::Best;

/// Figures by name, as JSON has them.
pub type Figures = serde_json::Map<String, serde_json::Value>;

/// Is told of the events of a run, on the thread that trains.
pub trait Observer {
    /// Something happened.
    fn event(&mut self, event: &Event<'_>);
}

/// An observer that ignores everything.
pub struct NoObserver;

impl Observer for NoObserver {
    fn event(&mut self, _event: &Event<'_>) {}
}

impl<F: FnMut(&Event<'_>)> Observer for F {
    fn event(&mut self, event: &Event<'_>) {
        self(event);
    }
}

/// What happens in a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// The first step comes next.
    Started(&'a Start),
    /// Something that the user should know and that does not stop the run: a checkpoint passed over, another
    /// instruction set, a file that could not be written.
    Notice(&'a str),
    /// A step was done. Comes after every step.
    Step(&'a StepReport),
    /// The validation text was evaluated.
    Evaluated(&'a EvaluationReport),
    /// The validation data were measured beyond their loss; comes after [`Event::Evaluated`].
    Measured {
        /// After which step.
        step: u64,
        /// Epochs begun.
        epoch: u64,
        /// The figures by name.
        figures: &'a Figures,
    },
    /// A sample was written.
    Sample {
        /// After which step.
        step: u64,
        /// The sample.
        text: &'a str,
    },
    /// A checkpoint is durable.
    Saved {
        /// After which step.
        step: u64,
        /// Its folder.
        path: &'a Path,
        /// What writing took.
        took: Duration,
    },
    /// A checkpoint could not be written. The earlier ones are as they were; the run goes on.
    SaveFailed {
        /// After which step.
        step: u64,
        /// Why.
        error: &'a Error,
        /// Failures since the last success; with the third the run stops.
        in_a_row: u32,
    },
}

/// What the run is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// The step after which the run continues; 0 for a new run.
    pub resumed_from: u64,
    /// Whether a checkpoint was loaded.
    pub resumed: bool,
    /// The number of batches of an epoch.
    pub batches: u64,
    /// The step after which the run ends at the latest, if that is known.
    pub last_step: Option<u64>,
    /// The number of parameters.
    pub parameters: u64,
    /// Whether there is something to validate on.
    pub validates: bool,
}

/// A step that was done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// Its number, from 1.
    pub step: u64,
    /// The epoch it belongs to, from 1.
    pub epoch: u64,
    /// Its place in the epoch, from 1.
    pub batch: u64,
    /// The number of batches of an epoch.
    pub batches: u64,
    /// The step after which the run ends at the latest.
    pub last_step: Option<u64>,
    /// Mean loss of this step's targets in nats; `None` if none was scored.
    pub loss: Option<f64>,
    /// min-char-rnn's S: see [`super::state::TrainerState::smooth_loss`].
    pub smooth_loss: f64,
    /// The learning rate.
    pub lr: f64,
    /// The norm of the gradient before clipping. Absent in steps that write no line of metrics, where the update does
    /// not need it.
    pub grad_norm: Option<f64>,
    /// Targets scored so far in the whole run, earlier sessions included.
    pub tokens: u64,
    /// Scored targets a second, smoothed.
    pub tokens_per_second: f64,
    /// Time since this session's start.
    pub elapsed: Duration,
    /// The estimated time to the end.
    pub eta: Option<Duration>,
    /// Mean loss since the last line of the metrics, if this step writes one.
    pub logged: Option<f64>,
}

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationReport {
    /// After which step.
    pub step: u64,
    /// Epochs begun.
    pub epoch: u64,
    /// Mean loss in nats.
    pub loss: f64,
    /// Scored targets.
    pub tokens: u64,
    /// The values of ln Z, for outputs whose training does not compute it.
    pub log_partitions: LogPartitions,
    /// Mean training loss of the epoch so far.
    pub train_loss: Option<f64>,
    /// Whether it is the lowest loss so far.
    pub is_best: bool,
    /// The best one, this one included.
    pub best: Best,
    /// The learning rate of the next step.
    pub lr: f64,
    /// The time that it took.
    pub took: Duration,
}

/// A line of `metrics.jsonl`. It has no times: the file of a resumed run equals that of an unbroken one.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Metric<'a> {
    /// Training since the line before.
    Train {
        step: u64,
        epoch: u64,
        batch: u64,
        tokens: u64,
        loss: Option<f64>,
        smooth_loss: f64,
        lr: f64,
        grad_norm: Option<f64>,
    },
    /// An evaluation.
    Valid {
        step: u64,
        epoch: u64,
        loss: f64,
        tokens: u64,
        best: bool,
        #[serde(rename = "log_partition", skip_serializing_if = "LogPartitions::is_empty")]
        log_partitions: &'a LogPartitions,
    },
    /// What an evaluation gave beyond its loss.
    Measured {
        step: u64,
        epoch: u64,
        #[serde(flatten)]
        figures: &'a Figures,
    },
    /// An epoch's training loss.
    Epoch { step: u64, epoch: u64, loss: Option<f64> },
}
