//! The most probable words of each row, without storing all logits: for each row, slice after slice of the vocabulary
//! updates the best words so far, and the sum that turns their scores into probabilities.

use super::{GRANULE, SoftmaxHead};
use crate::best::Best;
use crate::layers::Context;
use unroll_kernels::Mat;
use unroll_kernels::mat::padded;
use unroll_kernels::softmax::{self, Tally};

impl SoftmaxHead {
    /// The `k` most probable words of each row of `x` (R, D) and ln p of each, the most probable first; of words that
    /// are as probable, the one with the lower number.
    pub(crate) fn best(&mut self, ctx: &Context<'_>, x: Mat<'_>, k: usize) -> Vec<Vec<(u32, f32)>> {
        let (rows, words) = (x.rows(), self.vocabulary);
        let width = match &self.dense {
            Some(_) => (self.room / rows.max(1) / GRANULE * GRANULE).max(GRANULE).min(words),
            None => words,
        };
        let (mut best, mut tallies) = (vec![Best::new(k); rows], vec![Tally::default(); rows]);
        // A tally is of some target; of which does not matter to its sum.
        let targets = vec![0; rows];
        for first in (0..words).step_by(width) {
            let slice = first..words.min(first + width);
            self.logits.reserve(rows * padded(slice.len()));
            let logits = match &self.dense {
                Some(dense) => {
                    let dense = dense.clone();
                    self.slice_logits(ctx, &dense, x, slice.clone());
                    self.view(rows, slice.len())
                }
                None => x,
            };
            softmax::tally(ctx.isa, logits, first, &targets, &mut tallies);
            best.iter_mut().enumerate().for_each(|(r, best)| best.take(first as u32, logits.row(r)));
        }
        let logarithms = |(best, tally): (Best, Tally)| {
            best.finish(|word, logit| (word, (f64::from(logit) - tally.log_partition()) as f32))
        };
        best.into_iter().zip(tallies).map(logarithms).collect()
    }
}
