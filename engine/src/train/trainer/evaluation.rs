//! Scoring the validation text while a run goes on.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::Result;

use super::super::learner::Learner;
use super::super::observer::{EvaluationReport, Event, Metric};
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

    /// Scores the validation text from a zero state of its own. `decides`: whether the schedule and early stopping take
    /// note; the end of a run that would otherwise go on must not.
    ///
    /// A long text takes longer than all the steps that a user may be ready to lose: what is trained is saved in between,
    /// and the evaluation ends where the user asks for it; the next session begins it anew.
    pub(super) fn evaluate(&mut self, decides: bool) -> Result<Evaluated> {
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
        let is_best = state.best.is_none_or(|best| mean < best.loss);
        let best = state.best.filter(|_| !is_best).unwrap_or(Best { step: state.step, loss: mean });
        state.best = Some(best);
        if decides {
            self.config.schedule.evaluated(&mut state.schedule, mean);
            if let Some(rule) = &self.config.early_stop {
                rule.evaluated(&mut state.early_stop, mean);
            }
        }
        self.tell_evaluation(loss.count, Best { step: self.state.step, loss: mean }, start);
        self.measure()?;
        Ok(if is_best { Evaluated::Best } else { Evaluated::NotBest })
    }

    fn measure(&mut self) -> Result<()> {
        let Some(measure) = &mut self.session.measure else { return Ok(()) };
        let figures = measure(self.session.learner)?;
        let (step, epoch) = (self.state.step, self.state.epoch);
        if let Some(keeper) = &mut self.keeper {
            keeper.metric(&Metric::Measured { step, epoch, figures: &figures });
        }
        self.session.observer.event(&Event::Measured { step, epoch, figures: &figures });
        Ok(())
    }

    fn tell_evaluation(&mut self, tokens: u64, found: Best, start: Instant) {
        let state = &self.state;
        let (step, epoch, best) = (state.step, state.epoch, state.best.unwrap_or(found));
        let is_best = best == found;
        if let Some(keeper) = &mut self.keeper {
            keeper.metric(&Metric::Valid { step, epoch, loss: found.loss, tokens, best: is_best });
        }
        let report = EvaluationReport {
            step,
            epoch,
            loss: found.loss,
            tokens,
            train_loss: state.epoch_tally.mean(),
            is_best,
            best,
            lr: self.config.schedule.rate(&state.schedule, step + 1, epoch),
            took: start.elapsed(),
        };
        self.session.observer.event(&Event::Evaluated(&report));
    }
}
