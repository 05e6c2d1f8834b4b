//! Scoring the validation text while a run goes on.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::network::LogPartitions;
use crate::{Error, Result};

use super::super::learner::Learner;
use super::super::observer::{EvaluationReport, Event, Figures, Metric};
use super::super::scoring::Scoring;
use super::super::state::{Best, Tally};
use super::Trainer;

/// How an evaluation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evaluated {
    /// With the lowest loss so far.
    Best,
    NotBest,
    /// The user asked for it before the end: nothing of it counts.
    Interrupted,
}

impl<L: Learner> Trainer<'_, L> {
    pub(super) fn evaluation_is_due(&self) -> bool {
        self.session.valid.is_some() && self.config.eval_every.is_due(self.state.step, self.epochs_completed())
    }

    /// Whether the last session ended in the evaluation after its last step: nothing else saves between the two.
    pub(super) fn was_interrupted_in_evaluation(&self) -> bool {
        self.state.step > 0 && self.state.evaluated != self.state.step && self.evaluation_is_due()
    }

    /// Scores the validation text with the averages of the weights where there are any, from a zero state of its own.
    /// `decides`: whether the schedule and early stopping take note; the end of a run that would otherwise go on must
    /// not.
    ///
    /// A long text takes longer than all the steps that a user may be ready to lose: what is trained is saved in
    /// between, and the evaluation ends where the user asks for it; the next session begins it anew.
    pub(super) fn evaluate(&mut self, decides: bool) -> Result<Evaluated> {
        self.take_averages();
        let evaluated = self.evaluate_taken(decides);
        self.leave_averages();
        evaluated
    }

    fn evaluate_taken(&mut self, decides: bool) -> Result<Evaluated> {
        let Some(valid) = self.session.valid else { return Ok(Evaluated::NotBest) };
        let start = Instant::now();
        let mut scoring = Scoring::new(&*self.session.learner, valid)?;
        while scoring.advance(self.session.learner)? {
            if self.session.stop.load(Ordering::Relaxed) {
                return Ok(Evaluated::Interrupted);
            }
            if self.saving_is_overdue() {
                self.save()?;
            }
        }
        let sum = scoring.sum();
        let loss = Tally { nats: sum.nats, count: sum.count };
        let state = &mut self.state;
        state.evaluated = state.step;
        let Some(mean) = loss.mean() else { return Ok(Evaluated::NotBest) };
        if !mean.is_finite() {
            return Err(self.diverged(format!("the validation loss is {mean} after step {}", self.state.step)));
        }
        let log_partitions = self.session.learner.log_partitions();
        let figures = match &mut self.session.measure {
            Some(measure) => Some(measure(self.session.learner)?),
            None => None,
        };
        let figure = match &self.config.best_by {
            Some(name) => Some(figure_of(name, figures.as_ref())?),
            None => None,
        };
        // The lower, the better.
        let (found, before) = match figure {
            Some(figure) => (-figure, state.best_figure.map(|best| -best)),
            None => (mean, state.best.map(|best| best.loss)),
        };
        let is_best = before.is_none_or(|before| found < before);
        if is_best {
            state.best = Some(Best { step: state.step, loss: mean });
            state.best_figure = figure;
        }
        if decides {
            self.config.schedule.evaluated(&mut state.schedule, mean);
            if let Some(rule) = &self.config.optimizer.average {
                rule.evaluated(&mut state.average, state.step, mean);
            }
            if let Some(rule) = &self.config.early_stop {
                rule.evaluated(&mut state.early_stop, found);
            }
        }
        let found = Best { step: self.state.step, loss: mean };
        self.tell_evaluation((loss.count, log_partitions), found, start);
        if let Some(figures) = &figures {
            self.tell_figures(figures);
        }
        Ok(if is_best { Evaluated::Best } else { Evaluated::NotBest })
    }

    fn tell_figures(&mut self, figures: &Figures) {
        let (step, epoch) = (self.state.step, self.state.epoch);
        if let Some(run_files) = &mut self.run_files {
            run_files.metric(&Metric::Measured { step, epoch, figures });
        }
        self.session.observer.event(&Event::Measured { step, epoch, figures });
    }

    fn tell_evaluation(&mut self, (tokens, log_partitions): (u64, LogPartitions), found: Best, start: Instant) {
        let state = &self.state;
        let (step, epoch, best) = (state.step, state.epoch, state.best.unwrap_or(found));
        let is_best = best == found;
        if let Some(run_files) = &mut self.run_files {
            let (loss, log_partitions) = (found.loss, &log_partitions);
            run_files.metric(&Metric::Valid { step, epoch, loss, tokens, best: is_best, log_partitions });
        }
        let report = EvaluationReport {
            step,
            epoch,
            loss: found.loss,
            tokens,
            log_partitions,
            train_loss: state.epoch_tally.mean(),
            is_best,
            best,
            lr: self.config.schedule.rate(&state.schedule, step + 1, epoch),
            took: start.elapsed(),
        };
        self.session.observer.event(&Event::Evaluated(&report));
    }
}

/// The figure of this name, or what there is.
fn figure_of(name: &str, figures: Option<&Figures>) -> Result<f64> {
    let found = figures.and_then(|figures| figures.get(name)).and_then(serde_json::Value::as_f64);
    found.ok_or_else(|| {
        let names: Vec<&str> = figures.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let error = Error::option("train.best_by", format!("evaluations have no metric `{name}`"));
        if names.is_empty() {
            error.mend("leave it out")
        } else {
            error.mend(format!("they have {}", names.join(", ")))
        }
    })
}
