//! One step of training: what is timed is what trains.

use crate::Result;
use crate::network::{Batch, LossSum};

use unroll_kernels::profile::{self, Phase};

use super::learner::Learner;
use super::optimize::{Optimizer, UpdateStep};

/// The number and rates of one training step.
#[derive(Debug, Clone, Copy)]
pub struct StepAt {
    /// The step's number, from 1; it keys the random numbers and the optimiser's bias correction.
    pub number: u64,
    /// The learning rate.
    pub lr: f32,
    /// The weight with which the averages of the weights move towards those after this step
    /// ([`AverageState::weight`](super::AverageState::weight)).
    pub average: Option<f32>,
    /// Whether the norm of the gradient is wanted even where the update does not need it.
    pub norm: bool,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StepOutcome {
    /// Parameters are updated.
    Done {
        /// The losses before the update.
        loss: LossSum,
        /// The Euclidean norm of the gradient, before clipping; where the optimiser takes factors of it, only if it was
        /// asked for.
        norm: Option<f64>,
    },
    /// The loss is not finite; parameters are as they were.
    LossNotFinite(LossSum),
    /// The loss is finite and the gradient is not; parameters are as they were.
    GradientNotFinite,
}

/// Makes one training step: forward, loss, backward, clipping and update. `state` is carried on.
///
/// Where the optimiser takes the factors of a gradient ([`Optimizer::takes_factors`]), the kernel of the head is
/// updated without its gradient ever being written. Then that gradient is not tested for numbers that are not finite.
/// It need not be: its factors, the input of the head and the gradient of the logits, are finite where the loss and the
/// rest of the gradient are.
///
/// # Errors
///
/// What the learner returns.
pub fn step<L: Learner>(
    learner: &mut L,
    optimizer: &mut Optimizer,
    batch: &Batch<'_>,
    state: &mut L::State,
    at: StepAt,
) -> Result<StepOutcome> {
    let factors = optimizer.takes_factors();
    let loss = losses(learner, optimizer, batch, state, at)?;
    if !loss.nats.is_finite() {
        return Ok(StepOutcome::LossNotFinite(loss));
    }
    let norm = norm(learner, optimizer, at);
    if !norm.is_finite() {
        return Ok(StepOutcome::GradientNotFinite);
    }
    update(learner, optimizer, at, norm);
    Ok(StepOutcome::Done { loss, norm: Some(norm).filter(|_| at.norm || !factors) })
}

/// All the work of [`step`], whatever numbers come out of it: a simulated member ([`crate::exec::Crew::simulated`])
/// computes only its share, and what depends on the rest is garbage. The learning rate is 0, so that parameters are
/// written again but do not change where the gradient is finite.
pub(crate) fn step_simulated<L: Learner>(
    learner: &mut L,
    optimizer: &mut Optimizer,
    batch: &Batch<'_>,
    state: &mut L::State,
    at: StepAt,
) -> Result<LossSum> {
    let loss = losses(learner, optimizer, batch, state, at)?;
    norm(learner, optimizer, at);
    update(learner, optimizer, StepAt { lr: 0.0, ..at }, 1.0);
    Ok(loss)
}

fn losses<L: Learner>(
    learner: &mut L,
    optimizer: &Optimizer,
    batch: &Batch<'_>,
    state: &mut L::State,
    at: StepAt,
) -> Result<LossSum> {
    learner.want_factors(optimizer.takes_factors());
    learner.train_step(batch, state, at.number)
}

/// The norm of the gradient that the losses left, as far as the update needs it.
fn norm<L: Learner>(learner: &mut L, optimizer: &mut Optimizer, at: StepAt) -> f64 {
    let _span = profile::enter(Phase::Norm);
    let whole = at.norm || !optimizer.takes_factors();
    learner.gradient_norm(optimizer, whole)
}

fn update<L: Learner>(learner: &mut L, optimizer: &mut Optimizer, at: StepAt, norm: f64) {
    let _span = profile::enter(Phase::Update);
    learner.update(optimizer, UpdateStep { lr: at.lr, step: at.number, norm, average: at.average });
}
