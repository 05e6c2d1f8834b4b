//! Training: the loop, the optimiser's pass, schedules, the run folder, checkpoints.
//!
//! [`Trainer`] (`trainer/`) is the loop: it trains a [`Learner`] on [`Batches`] and reports to an [`Observer`]. It
//! leaves behind a [`RunFolder`] (`run.rs`), whose [`Checkpoints`] (`checkpoint/`) survive a kill, a full disk and a
//! power loss; they reach the file system only through the calls of [`storage`].

mod average;
pub mod checkpoint;
mod config;
mod early_stop;
pub mod fuzzing;
mod learner;
mod log;
pub mod manifest;
mod network;
mod observer;
mod optimize;
mod pace;
mod run;
mod run_files;
mod schedule;
mod scoring;
mod state;
mod step;
pub mod storage;
mod tensors;
mod trainer;

#[cfg(test)]
mod tests;

pub use crate::network::{Batch, LossSum};
pub use average::{AverageState, Averaging};
pub use checkpoint::{Checkpoints, Weights};
pub use config::{Every, TrainConfig};
pub use early_stop::{EarlyStopState, EarlyStopping};
pub use learner::{Batches, Learner};
pub use observer::{EvaluationReport, Event, Figures, NoObserver, Observer, Start, StepReport};
pub use optimize::{BLOCK, Optimizer, OptimizerOptions, Part, UpdateStep};
pub use run::{
    CHECKPOINTS, CONFIG, CheckpointChoice, FoundCheckpoint, METRICS, RunFolder, SAMPLES, TIMING, VOCABULARY, find,
    is_run, not_a_run,
};
pub use run_files::FAILURES_TO_STOP;
pub use schedule::{Schedule, ScheduleKind, ScheduleState};
pub use scoring::Scoring;
pub use state::{Best, Identity, Tally, TrainerState};
pub(crate) use step::step_simulated;
pub use step::{StepAt, StepOutcome, step};
pub(crate) use tensors::{HEADS, file_start, parse_header};
pub use tensors::{NamedTensor, TensorRef, TensorSpec, tensor_file, weight_file};
pub use trainer::{Ended, Measure, Outcome, Sampler, Session, Trainer};
pub use unroll_kernels::optimizer::Rule;
