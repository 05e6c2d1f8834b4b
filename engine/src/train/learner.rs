//! What the loop needs of a model and of its data.

use unroll_kernels::Isa;
use unroll_kernels::gemm::Precision;

use crate::Result;
use crate::arena::Home;
use crate::corpus::{Streams, TokenSource, VariableStreams, Windows};
use crate::gradient::GradientRef;
use crate::graph::ParamSpec;
use crate::network::{Batch, LogPartitions, LossSum};

use super::optimize::{Optimizer, UpdateStep};
use super::tensors::TensorRef;

/// A model that is trained: parameters and gradients in two arenas of the same layout, and a state outside it.
pub trait Learner {
    /// What is carried from one batch to the next.
    type State;

    /// The tensors in the arenas.
    fn specs(&self) -> &[ParamSpec];
    /// Parameters and gradients.
    fn arenas(&mut self) -> (&mut [f32], GradientRef<'_>);
    /// Parameters.
    fn params(&self) -> &[f32];
    /// The instruction set of its kernels.
    fn isa(&self) -> Isa;
    /// What the operands of its products are rounded to.
    fn precision(&self) -> Precision {
        Precision::F32
    }

    /// Where its arenas live.
    fn home(&self) -> Home {
        Home::Memory
    }

    /// The zero state of `rows` streams.
    fn new_state(&self, rows: usize) -> Self::State;
    /// Sets the state to zero: the start of a text.
    fn reset(&self, state: &mut Self::State);
    /// The state's tensors.
    fn state_tensors<'s>(&self, state: &'s Self::State) -> Vec<TensorRef<'s>>;
    /// The elements of a tensor of the state, to set.
    fn state_tensor_mut<'s>(&self, state: &'s mut Self::State, name: &str) -> Option<&'s mut [f32]>;

    /// Computes the losses of a batch and leaves the gradient of the scaled loss in the arena. The state becomes that
    /// after the batch. `step`, from 1, keys the random numbers.
    fn train_step(&mut self, batch: &Batch, state: &mut Self::State, step: u64) -> Result<LossSum>;

    /// Computes the losses of a batch as in use: no dropout, no gradient.
    fn evaluate(&mut self, batch: &Batch, state: &mut Self::State) -> Result<LossSum>;

    /// What ln Z was in the evaluations since the last training step, of outputs that learn without it.
    fn log_partitions(&mut self) -> LogPartitions {
        LogPartitions::default()
    }

    /// Whether the optimiser needs no number of the gradient but as a part of the parameters: steps may then leave some
    /// of it as the factors of a product.
    fn want_factors(&mut self, _want: bool) {}

    /// The Euclidean norm of the gradient, or where not the `whole` is asked for, of what is not left as factors. By
    /// default on the calling thread.
    fn gradient_norm(&mut self, optimizer: &mut Optimizer, _whole: bool) -> f64 {
        optimizer.norm(self.arenas().1)
    }

    /// Applies the optimiser. By default on the calling thread.
    fn update(&mut self, optimizer: &mut Optimizer, step: UpdateStep) {
        let (params, gradient) = self.arenas();
        optimizer.update(params, gradient, step);
    }

    /// Parameters were set from outside, such as from a checkpoint: what is derived from them is made anew.
    fn params_changed(&mut self) {}

    /// The first layer whose output in the last batch was not finite.
    fn first_non_finite_layer(&self) -> Option<String> {
        None
    }
}

/// Batches of N rows: pieces of parallel streams for truncated back-propagation through time, or samples with labels.
pub trait Batches {
    /// Batches of an epoch; of the first, where epochs are cut differently.
    fn batches(&self) -> u64;
    /// Batches of this epoch, from 0.
    fn batches_in(&self, _epoch: u64) -> u64 {
        self.batches()
    }
    /// Batches of the first so many epochs together.
    fn batches_of(&self, epochs: u64) -> u64 {
        epochs.saturating_mul(self.batches())
    }
    /// What the learning rate is multiplied by for a batch of so many steps.
    fn rate(&self, _steps: usize) -> f64 {
        1.0
    }
    /// T, of the longest batch.
    fn steps(&self) -> usize;
    /// N
    fn rows(&self) -> usize;
    /// Fills tokens and targets, each (T, N), of batch `index` of an epoch (from 0), and says how many steps it has.
    /// Where there is one target a row, only the first N targets are filled.
    fn batch(&self, epoch: u64, index: u64, inputs: &mut [u32], targets: &mut [u32]) -> Result<usize>;
    /// Targets of a batch of so many steps: T N, or N where there is one a row.
    fn targets(&self, steps: usize) -> usize {
        steps * self.rows()
    }
    /// Whether a batch has tokens; else its rows are vectors alone.
    fn takes_tokens(&self) -> bool {
        true
    }
    /// Numbers of the vector that each row brings beside its tokens, or of the vectors of all its steps; 0: none.
    fn width(&self) -> usize {
        0
    }
    /// Fills the vectors, (N, width) or by steps (T, N, width / T), of the batch that was filled last, `index` of
    /// `epoch`. Called where there are any.
    fn vectors(&self, _epoch: u64, _index: u64, _out: &mut [f32]) {}
    /// S, of the longest source that rows bring beside their tokens; 0: they bring none.
    fn source_steps(&self) -> usize {
        0
    }
    /// Fills the tokens (S, N) of the sources of the batch that was filled last, `index` of `epoch`, and says how many
    /// steps it has and how many tokens. Called where there is a source.
    fn source(&self, _epoch: u64, _index: u64, _out: &mut [u32]) -> (usize, usize) {
        (0, 0)
    }
    /// Looks whether the file behind it is still the one that was opened; called once an epoch.
    fn recheck(&self) -> Result<()> {
        Ok(())
    }
}

impl<S: TokenSource> Batches for Streams<S> {
    fn batches(&self) -> u64 {
        Streams::batches(self)
    }
    fn steps(&self) -> usize {
        Streams::steps(self)
    }
    fn rows(&self) -> usize {
        Streams::rows(self)
    }
    fn batch(&self, _epoch: u64, index: u64, inputs: &mut [u32], targets: &mut [u32]) -> Result<usize> {
        Streams::batch(self, index, inputs, targets)
    }
    fn recheck(&self) -> Result<()> {
        self.source().recheck()
    }
}

impl<S: TokenSource> Batches for VariableStreams<S> {
    fn batches(&self) -> u64 {
        self.batches_in(0)
    }
    fn batches_in(&self, epoch: u64) -> u64 {
        VariableStreams::batches_in(self, epoch)
    }
    fn batches_of(&self, epochs: u64) -> u64 {
        (0..epochs).map(|epoch| self.batches_in(epoch)).sum()
    }
    fn rate(&self, steps: usize) -> f64 {
        VariableStreams::rate(self, steps)
    }
    fn steps(&self) -> usize {
        Self::longest(self.streams().steps())
    }
    fn rows(&self) -> usize {
        self.streams().rows()
    }
    fn batch(&self, epoch: u64, index: u64, inputs: &mut [u32], targets: &mut [u32]) -> Result<usize> {
        VariableStreams::batch(self, epoch, index, inputs, targets)
    }
    fn recheck(&self) -> Result<()> {
        self.streams().source().recheck()
    }
}

impl<S: TokenSource> Batches for Windows<S> {
    fn batches(&self) -> u64 {
        Windows::batches(self)
    }
    fn steps(&self) -> usize {
        self.sizes().1
    }
    fn rows(&self) -> usize {
        self.sizes().0
    }
    fn batch(&self, epoch: u64, index: u64, inputs: &mut [u32], targets: &mut [u32]) -> Result<usize> {
        Windows::batch(self, epoch, index, inputs, targets)?;
        Ok(self.sizes().1)
    }
    fn targets(&self, _steps: usize) -> usize {
        self.sizes().0
    }
    fn recheck(&self) -> Result<()> {
        self.source().recheck()
    }
}
