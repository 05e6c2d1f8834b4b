//! How a network is run: threads, precision, room, and what its gradient is of.

use crate::arena::Home;
use crate::error::{Error, Result};
use crate::exec::{Products, Scratch, Team};
use crate::heads;
use unroll_kernels::Isa;
use unroll_kernels::gemm::Precision;

/// How a network runs.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// Threads, from 1 to [`MOST_THREADS`](super::MOST_THREADS).
    pub threads: usize,
    /// Replicas: into how many parts the rows of a batch are divided, whose gradients are computed separately; at least
    /// 1.
    pub replicas: usize,
    /// The instruction set.
    pub isa: Isa,
    /// Precision of the operands of matrix products.
    pub precision: Precision,
    /// Maximum number of time steps T of a batch.
    pub steps: usize,
    /// Maximum number of time steps of the second sequence of a batch.
    pub source_steps: usize,
    /// Maximum number of rows N of a batch.
    pub rows: usize,
    /// The seed of initial weights and dropout.
    pub seed: u64,
    /// Whether there is room for gradients.
    pub training: bool,
    /// Whether there is room for parameters; otherwise it borrows those of another network
    /// ([`Speaker::speak_as`](crate::run::Speaker::speak_as)).
    pub own_params: bool,
    /// How the losses of a batch make the one number that training minimises.
    pub loss_scale: LossScale,
    /// For each output, the factor of the losses of each class in training, and of their gradients; 1 for all if empty.
    /// A mean still divides by the number of scored positions, and evaluations are not weighted, as in Keras.
    pub class_weights: Vec<Vec<f32>>,
    /// The most logits over the vocabulary that are kept at a time, in elements of 4 bytes. Where there are more, they
    /// are computed in blocks of rows or of words; blocks of words are computed twice in training.
    pub logits: usize,
    /// Where parameters, gradients and optimiser state are kept.
    pub home: Home,
    /// Whether each thread is pinned to one core and is the first to write the memory that it works on, so that this
    /// memory is near that core.
    pub pin: bool,
    /// Fusions that are switched off, by name ([`FUSIONS`](super::FUSIONS)).
    pub no_fuse: Vec<String>,
}

/// Threads at most.
pub const MOST_THREADS: usize = 1024;

/// Positions of a batch at most, so that sizes that follow from them are numbers of 64 bits.
const MOST_POSITIONS: usize = 1 << 32;

impl NetworkOptions {
    /// Refuses what no network can be run with.
    pub(super) fn check(&self) -> Result<()> {
        let at_least_one = [
            ("the number of replicas", self.replicas),
            ("the number of time steps", self.steps),
            ("the batch size", self.rows),
            ("the number of time steps of the source", self.source_steps),
        ];
        if let Some((name, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(Error::usage(format!("{name} must be at least 1, got 0")));
        }
        if !(1..=MOST_THREADS).contains(&self.threads) {
            let what = format!("must be from 1 to {MOST_THREADS}, got {}", self.threads);
            return Err(Error::option("--threads", what));
        }
        for steps in [self.steps, self.source_steps] {
            if steps.checked_mul(self.rows).is_none_or(|positions| positions > MOST_POSITIONS) {
                let what =
                    format!("a batch of {steps} steps x {} rows has more than {MOST_POSITIONS} positions", self.rows);
                return Err(Error::usage(what).mend("use fewer rows (--batch-size) or steps (--seq-length)"));
            }
        }
        if self.replicas > self.rows {
            let what = format!("{} replicas cannot share {} rows", self.replicas, self.rows);
            return Err(Error::usage(what).mend("use at most one replica a row"));
        }
        if self.training && self.precision == Precision::Int8 {
            let what = "int8 is for running a trained model, not for training";
            return Err(Error::option("--precision", what).mend("train in f32 or bf16"));
        }
        Ok(())
    }

    /// Matrix products with these options, on `team` with `scratch`.
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

/// How the losses of a batch make the one number that training minimises.
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
