//! How a network is run: threads, precision, room, and what its gradient is of.

use crate::arena::Home;
use crate::exec::{Products, Scratch, Team};
use crate::heads;
use unroll_kernels::Isa;
use unroll_kernels::gemm::Precision;

/// How a network is run.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Threads, at least 1.
    pub threads: usize,
    /// Parts of the batch with gradients of their own, at least 1.
    pub replicas: usize,
    /// The instruction set.
    pub isa: Isa,
    /// What the operands of products are rounded to.
    pub precision: Precision,
    /// The most time steps T of a batch.
    pub steps: usize,
    /// The most time steps of the second sequence of a batch.
    pub source_steps: usize,
    /// The most rows N of a batch.
    pub rows: usize,
    /// The seed of initial weights and dropout.
    pub seed: u64,
    /// Whether there is room for gradients.
    pub training: bool,
    /// Whether there is room for parameters; else another network's are lent to it ([`Speaker::speak_as`](crate::run::Speaker::speak_as)).
    pub own_params: bool,
    /// What the gradient is of.
    pub loss_scale: LossScale,
    /// Of each output the factor of the losses of each class in training, and of their gradients; empty: 1 for all. A mean stays
    /// one over the number of scored positions, and evaluations are not weighted, as in Keras.
    pub class_weights: Vec<Vec<f32>>,
    /// Logits over the vocabulary that are kept at a time at most, in elements of 4 bytes: more than these are computed by blocks
    /// of rows or of words, and in training a second time where blocks of rows would be small.
    pub logits: usize,
    /// Where parameters, gradients and what an optimiser remembers live.
    pub home: Home,
    /// Whether each thread is kept on one core, and writes first what it will work on, so that its memory is near.
    pub pin: bool,
    /// Fusions that are switched off, by name ([`FUSIONS`](super::FUSIONS)).
    pub no_fuse: Vec<String>,
}

impl NetworkOptions {
    /// The products of a network run so, by `team` with `scratch`.
    pub(super) fn products<'a>(&self, team: &'a Team<'a>, scratch: &'a Scratch) -> Products<'a> {
        Products { team, isa: self.isa, precision: self.precision, scratch }
    }
}

impl Default for NetworkOptions {
    fn default() -> Self {
        Self {
            threads: 1,
            replicas: 1,
            isa: Isa::best(),
            precision: Precision::F32,
            steps: 1,
            source_steps: 1,
            rows: 1,
            seed: 123,
            training: true,
            own_params: true,
            loss_scale: LossScale::Mean,
            class_weights: Vec::new(),
            logits: heads::LOGITS,
            home: Home::default(),
            pin: false,
            no_fuse: Vec::new(),
        }
    }
}

/// What turns the losses of a batch into the one number whose gradient is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossScale {
    /// The mean over all scored positions.
    #[default]
    Mean,
    /// The sum over all positions (min-char-rnn).
    Sum,
    /// The sum over time, the mean over rows (Zaremba's models).
    SumOverTime,
}

impl LossScale {
    /// The factor of each loss.
    pub(super) fn factor(self, rows: usize, count: u64) -> f32 {
        match self {
            Self::Mean => 1.0 / count.max(1) as f32,
            Self::Sum => 1.0,
            Self::SumOverTime => 1.0 / rows.max(1) as f32,
        }
    }
}
