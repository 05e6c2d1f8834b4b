//! The training loop.
//!
//! ```text
//! for each step:
//!     at an epoch's start: check that the corpus has not changed; reset the carried state if asked
//!     take the next T tokens of each of the N streams
//!     forward and backward from the carried state        the learner; loss and gradient must be finite
//!     clip, update                                        the optimiser, at the schedule's rate
//!     report, evaluate, sample, save                      whatever is due, in this order
//! ```
//!
//! Everything that later numbers depend on is in [`TrainerState`] and the three sets of tensors (parameters, optimiser
//! slots, carried state), so that a run resumed from a checkpoint ends in the same bytes as one that never stopped. The
//! clock decides only when checkpoints are written. A checkpoint comes last in a step, so that it records finished work
//! only.

mod divergence;
mod evaluation;
mod persistence;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::network::{Batch, LossSum};
use crate::{Error, Result};
use unroll_kernels::profile::{self, Phase};

use super::average::AverageState;
use super::config::TrainConfig;
use super::learner::{Batches, Learner};
use super::observer::{Event, Figures, Metric, Observer, Start, StepReport};
use super::optimize::Optimizer;
use super::pace::Pace;
use super::run::RunFolder;
use super::run_files::RunFiles;
use super::state::{Best, Identity, Tally, TrainerState};
use super::step::{StepAt, StepOutcome, step};
use evaluation::Evaluated;

/// Writes a sample of the model, for `--sample-every`. Must not change parameters.
pub type Sampler<'a, L> = dyn FnMut(&mut L, &<L as Learner>::State, u64) -> Result<String> + 'a;

/// Measures the model on the validation data beyond its loss, after each evaluation: figures by name, which go into the
/// metrics and to the observer. Must not change parameters.
pub type Measure<'a, L> = dyn FnMut(&mut L) -> Result<Figures> + 'a;

/// Everything that a run works with: model, data, folder and callbacks.
pub struct Session<'a, L: Learner> {
    /// The model, with its initial parameters.
    pub learner: &'a mut L,
    /// V: the smoothed loss starts from that of a uniform guess among this many.
    pub vocabulary: usize,
    /// The training text.
    pub train: &'a dyn Batches,
    /// The validation text.
    pub valid: Option<&'a dyn Batches>,
    /// Where the run is kept; without a folder nothing is written.
    pub folder: Option<&'a RunFolder>,
    /// What must be the same when the run is resumed.
    pub identity: Identity,
    /// Is told what happens.
    pub observer: &'a mut dyn Observer,
    /// Writes samples.
    pub sampler: Option<&'a mut Sampler<'a, L>>,
    /// Measures more than the loss.
    pub measure: Option<&'a mut Measure<'a, L>>,
    /// Set, such as by Ctrl-C, to end the run after the step.
    pub stop: &'a AtomicBool,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Why.
    pub ended: Ended,
    /// Steps done.
    pub step: u64,
    /// Epochs completed.
    pub epoch: u64,
    /// Scored targets.
    pub tokens: u64,
    /// The best evaluation.
    pub best: Option<Best>,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All epochs or steps are done.
    Complete,
    /// The validation loss did not improve any more.
    EarlyStop,
    /// The user asked for it; the state is saved.
    Interrupted,
}

/// A run.
pub struct Trainer<'a, L: Learner> {
    config: &'a TrainConfig,
    session: Session<'a, L>,
    state: TrainerState,
    optimizer: Optimizer,
    /// The learner has the averages of the weights, and the optimiser the weights in their place.
    averaged: bool,
    carry: L::State,
    run_files: Option<RunFiles>,
    pace: Pace,
    last_step: Option<u64>,
    resumed: bool,
    inputs: Vec<u32>,
    targets: Vec<u32>,
    vectors: Vec<f32>,
    source: Vec<u32>,
}

impl<'a, L: Learner> Trainer<'a, L> {
    /// Prepares a run: from the newest checkpoint in its folder that is in order, or from the start if there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if a setting is wrong, or if the checkpoint belongs to other settings, another vocabulary or
    /// another corpus, all of which are named; [`Error::Input`] if there are checkpoints and all are damaged.
    pub fn new(config: &'a TrainConfig, session: Session<'a, L>) -> Result<Self> {
        config.check(session.valid.is_some())?;
        let (train, learner) = (session.train, &*session.learner);
        if train.batches() == 0 {
            return Err(Error::usage("the training text is shorter than one step of its streams")
                .mend("use fewer streams (--batch-size), shorter steps (--seq-length), or more text"));
        }
        let optimizer =
            Optimizer::new_in(&learner.home(), learner.isa(), config.optimizer.clone(), learner.params().len())?;
        let tokens = train.steps() * train.rows();
        let state = TrainerState {
            writer: concat!("unroll ", env!("CARGO_PKG_VERSION")).into(),
            isa: learner.isa().to_string(),
            identity: session.identity.clone(),
            seed: config.seed,
            smooth_loss: train.steps() as f64 * (session.vocabulary as f64).ln(),
            average: AverageState::new(config.optimizer.average),
            ..TrainerState::default()
        };
        let mut trainer = Self {
            carry: learner.new_state(train.rows()),
            last_step: config.last_step(|epochs| train.batches_of(epochs)),
            config,
            state,
            optimizer,
            averaged: false,
            run_files: None,
            pace: Pace::new(),
            resumed: false,
            inputs: vec![0; tokens],
            targets: vec![0; tokens.max(session.train.targets(session.train.steps()))],
            vectors: vec![0.0; train.rows() * train.width()],
            source: vec![0; train.rows() * train.source_steps()],
            session,
        };
        if let Some(folder) = trainer.session.folder {
            trainer.resumed = trainer.resume(folder)?;
            let state = trainer.resumed.then_some(&trainer.state);
            trainer.run_files = Some(RunFiles::open(folder, state, trainer.session.observer)?);
        }
        Ok(trainer)
    }

    /// Trains to the end. The learner is left with the averages of the weights where there are any.
    ///
    /// # Errors
    ///
    /// [`Error::Diverged`] if the loss, the gradient or a parameter is not finite: the last checkpoint is from before;
    /// [`Error::Io`] if three attempts in a row to save have failed; [`Error::Input`] if a text turns out to be changed
    /// or damaged, after the steps that are done were saved; what else the data and the learner return.
    pub fn run(mut self) -> Result<Outcome> {
        let (resumed_from, batches) = (self.state.step, self.session.train.batches());
        let parameters = self.session.learner.specs().iter().map(|spec| spec.range.len() as u64).sum();
        let (resumed, last_step) = (self.resumed, self.last_step);
        let validates = self.session.valid.is_some();
        let start = Start { resumed_from, resumed, batches, last_step, parameters, validates };
        self.session.observer.event(&Event::Started(&start));
        self.pace = Pace::new();
        let ended = self.steps();
        match &ended {
            Ok(_) => self.save_at_last()?,
            // A text that was changed or damaged spoils none of the steps that are done. If saving fails too, the
            // observer was told, and the first failure is the one to end with.
            Err(Error::Input { .. }) => _ = self.save_at_last(),
            Err(_) => {}
        }
        self.take_averages();
        Ok(self.outcome(ended?))
    }

    /// Gives the learner the averages of the weights, if there are any yet.
    fn take_averages(&mut self) {
        if !self.averaged && self.state.average.has_begun(self.state.step) {
            self.swap_averages();
        }
    }

    /// Gives the learner the weights again.
    fn leave_averages(&mut self) {
        if self.averaged {
            self.swap_averages();
        }
    }

    fn swap_averages(&mut self) {
        let (params, _) = self.session.learner.arenas();
        params.swap_with_slice(self.optimizer.averages_mut());
        self.session.learner.params_changed();
        self.averaged = !self.averaged;
    }

    /// All steps that are left, and what follows each.
    fn steps(&mut self) -> Result<Ended> {
        if self.was_interrupted_in_evaluation() {
            self.follow_step()?;
        }
        loop {
            if let Some(ended) = self.end() {
                let left = self.session.valid.is_some() && self.state.evaluated != self.state.step;
                let interrupted = left && self.evaluate(false)? == Evaluated::Interrupted;
                return Ok(if interrupted { Ended::Interrupted } else { ended });
            }
            if self.session.stop.load(Ordering::Relaxed) {
                return Ok(Ended::Interrupted);
            }
            let epochs = self.step()?;
            self.after_step(epochs)?;
        }
    }

    /// Whether the run is at its end.
    fn end(&self) -> Option<Ended> {
        if self.last_step.is_some_and(|last| self.state.step >= last) {
            return Some(Ended::Complete);
        }
        let rule = self.config.early_stop.as_ref()?;
        rule.is_due(&self.state.early_stop).then_some(Ended::EarlyStop)
    }

    fn outcome(&self, ended: Ended) -> Outcome {
        let TrainerState { step, epoch, tokens, best, .. } = self.state;
        Outcome { ended, step, epoch, tokens, best }
    }

    // ---- one step

    /// One step of the optimiser. Returns the number of epochs completed, if this step completed one.
    fn step(&mut self) -> Result<Option<u64>> {
        let start = Instant::now();
        if self.state.batch == 0 {
            self.begin_epoch()?;
        }
        let train = self.session.train;
        let (steps, (source_steps, source)) = self.read()?;
        let source = &self.source[..source];
        let rows = train.rows();
        let tokens = if train.takes_tokens() { steps * rows } else { 0 };
        let (inputs, targets) = (&self.inputs[..tokens], &self.targets[..train.targets(steps)]);
        let vectors = [self.vectors.as_slice()];
        let vectors = &vectors[..usize::from(train.width() > 0)];
        let batch = Batch { steps, rows, inputs, targets, vectors, source_steps, source, mask: None };
        let number = self.state.step + 1;
        let lr = self.config.schedule.rate(&self.state.schedule, number, self.state.epoch) * train.rate(steps);
        let log = self.config.log_every;
        let logs = log > 0 && number.is_multiple_of(log);
        let at = StepAt { number, lr: lr as f32, average: self.state.average.weight(number), norm: logs };
        let done = step(self.session.learner, &mut self.optimizer, &batch, &mut self.carry, at)?;
        let (loss, norm) = match done {
            StepOutcome::Done { loss, norm } => (loss, norm),
            StepOutcome::LossNotFinite(loss) => return Err(self.diverged_loss(number, lr, loss.nats)),
            StepOutcome::GradientNotFinite => return Err(self.diverged_gradient(number, lr)),
        };

        let batch = self.state.batch + 1;
        let epoch = self.state.epoch + 1;
        let batches = train.batches_in(self.state.epoch);
        self.count(loss, rows);
        self.pace.step(start.elapsed(), loss.count);
        let logged = if logs { self.log_training(lr, norm) } else { None };
        let report = StepReport {
            step: number,
            epoch,
            batch,
            batches,
            last_step: self.last_step,
            loss: (loss.count > 0).then(|| loss.nats / loss.count as f64),
            smooth_loss: self.state.smooth_loss,
            lr,
            grad_norm: norm,
            tokens: self.state.tokens,
            tokens_per_second: self.pace.tokens_per_second(),
            elapsed: self.pace.elapsed(),
            eta: self.last_step.and_then(|last| self.pace.eta(last.saturating_sub(number))),
            logged,
        };
        if let (Some(run_files), Some(_)) = (&mut self.run_files, logged) {
            run_files.timing(&report);
        }
        self.session.observer.event(&Event::Step(&report));
        Ok((self.state.batch == 0).then_some(self.state.epoch))
    }

    fn begin_epoch(&mut self) -> Result<()> {
        self.session.train.recheck()?;
        self.state.epoch_tally = Tally::default();
        if self.config.reset_state {
            self.session.learner.reset(&mut self.carry);
        }
        Ok(())
    }

    /// Reads the next batch: its steps, and the steps and tokens of its source.
    fn read(&mut self) -> Result<(usize, (usize, usize))> {
        let _span = profile::enter(Phase::Data);
        let (train, epoch, batch) = (self.session.train, self.state.epoch, self.state.batch);
        let steps = train.batch(epoch, batch, &mut self.inputs, &mut self.targets)?;
        if train.width() > 0 {
            train.vectors(epoch, batch, &mut self.vectors);
        }
        let any = !self.source.is_empty();
        Ok((steps, if any { train.source(epoch, batch, &mut self.source) } else { (0, 0) }))
    }

    fn count(&mut self, loss: LossSum, rows: usize) {
        let state = &mut self.state;
        state.step += 1;
        state.batch += 1;
        state.tokens += loss.count;
        state.report.add(loss.nats, loss.count);
        state.epoch_tally.add(loss.nats, loss.count);
        // The sum over a stream's T steps, averaged over the streams; min-char-rnn has one stream.
        state.smooth_loss = 0.999 * state.smooth_loss + 0.001 * (loss.nats / rows as f64);
        if state.batch == self.session.train.batches_in(state.epoch) {
            state.batch = 0;
            state.epoch += 1;
        }
    }

    fn log_training(&mut self, lr: f64, grad_norm: Option<f64>) -> Option<f64> {
        let loss = self.state.report.mean();
        self.state.report = Tally::default();
        let TrainerState { step, epoch, batch, tokens, smooth_loss, .. } = self.state;
        if let Some(run_files) = &mut self.run_files {
            run_files.metric(&Metric::Train { step, epoch, batch, tokens, loss, smooth_loss, lr, grad_norm });
        }
        loss
    }

    /// Reports the end of an epoch, and what follows a step. `epochs`: how many are complete, if the step completed
    /// one.
    fn after_step(&mut self, epochs: Option<u64>) -> Result<()> {
        let step = self.state.step;
        if let (Some(epoch), Some(run_files)) = (epochs, &mut self.run_files) {
            run_files.metric(&Metric::Epoch { step, epoch, loss: self.state.epoch_tally.mean() });
        }
        self.follow_step()
    }

    /// Evaluates, samples and saves what is due. An evaluation that is interrupted leaves all of it for the next
    /// session.
    fn follow_step(&mut self) -> Result<()> {
        let (config, step) = (self.config, self.state.step);
        let mut save = config.save_every.is_due(step, self.epochs_completed());
        if self.evaluation_is_due() {
            match self.evaluate(true)? {
                Evaluated::Interrupted => return Ok(()),
                Evaluated::Best => save = true,
                Evaluated::NotBest => {}
            }
        }
        if config.sample_every > 0 && step.is_multiple_of(config.sample_every) {
            self.sample()?;
        }
        // The end of the run evaluates before it saves.
        if (save || self.saving_is_overdue()) && self.end().is_none() { self.save() } else { Ok(()) }
    }

    /// How many epochs are complete, if the last step completed one.
    fn epochs_completed(&self) -> Option<u64> {
        (self.state.batch == 0).then_some(self.state.epoch)
    }

    fn saving_is_overdue(&self) -> bool {
        let minutes = self.config.save_minutes.unwrap_or(f64::INFINITY);
        self.run_files.as_ref().is_some_and(|run_files| run_files.since_last_attempt().as_secs_f64() >= 60.0 * minutes)
    }

    fn sample(&mut self) -> Result<()> {
        if self.session.sampler.is_none() {
            return Ok(());
        }
        let step = self.state.step;
        self.take_averages();
        let Some(sampler) = &mut self.session.sampler else { return Ok(()) };
        let text = sampler(self.session.learner, &self.carry, step);
        self.leave_averages();
        let text = text?;
        if let Some(run_files) = &mut self.run_files {
            run_files.sample(step, &text);
        }
        self.session.observer.event(&Event::Sample { step, text: &text });
        Ok(())
    }
}
