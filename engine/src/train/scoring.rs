//! An evaluation, batch by batch, so that whoever runs it can look up in between.

use crate::Result;
use crate::network::{Batch, LossSum};

use super::learner::{Batches, Learner};

/// Scores every batch of a text once, from the zero state; each batch goes on from the state after the one before.
pub struct Scoring<'a, L: Learner> {
    data: &'a dyn Batches,
    state: L::State,
    inputs: Vec<u32>,
    targets: Vec<u32>,
    vectors: Vec<f32>,
    source: Vec<u32>,
    next: u64,
    sum: LossSum,
}

impl<'a, L: Learner> Scoring<'a, L> {
    /// Starts at the first batch, with the zero state.
    ///
    /// # Errors
    /// Where the data are no longer what was opened.
    pub fn new(learner: &L, data: &'a dyn Batches) -> Result<Self> {
        data.recheck()?;
        let size = data.steps() * data.rows();
        Ok(Scoring {
            state: learner.new_state(data.rows()),
            inputs: vec![0; size],
            targets: vec![0; size.max(data.targets(data.steps()))],
            vectors: vec![0.0; data.rows() * data.width()],
            source: vec![0; data.rows() * data.source_steps()],
            next: 0,
            sum: LossSum::default(),
            data,
        })
    }

    /// Scores the next batch; false if there is none.
    ///
    /// # Errors
    /// What the data and the learner return.
    pub fn advance(&mut self, learner: &mut L) -> Result<bool> {
        if self.next == self.data.batches() {
            return Ok(false);
        }
        let rows = self.data.rows();
        let steps = self.data.batch(0, self.next, &mut self.inputs, &mut self.targets)?;
        let tokens = if self.data.takes_tokens() { steps * rows } else { 0 };
        let (inputs, targets) = (&self.inputs[..tokens], &self.targets[..self.data.targets(steps)]);
        let (vectors, any) = (&mut self.vectors, self.data.width() > 0);
        if any {
            self.data.vectors(0, self.next, vectors);
        }
        let vectors = [vectors.as_slice()];
        let vectors = &vectors[..usize::from(any)];
        let (source_steps, tokens) =
            if self.source.is_empty() { (0, 0) } else { self.data.source(0, self.next, &mut self.source) };
        let source = &self.source[..tokens];
        let batch = Batch { steps, rows, inputs, targets, vectors, source_steps, source, mask: None };
        self.sum += learner.evaluate(&batch, &mut self.state)?;
        self.next += 1;
        Ok(true)
    }

    /// The losses so far.
    pub fn sum(&self) -> LossSum {
        self.sum
    }
}
