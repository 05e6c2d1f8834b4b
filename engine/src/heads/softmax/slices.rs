//! Slice after slice of the vocabulary, for all rows. A first pass finds each row's sum over the vocabulary; where
//! gradients are wanted, a second one goes from the last slice back to the first for the gradients of x, W and b. The
//! logits of the last slice are still there; those of the others are computed again from the same numbers in the same
//! order, so they are the same.

use super::shaping::Row;
use super::{CACHED, MOST_ROWS as MOST_CACHED, SoftmaxHead, for_chunks};
use crate::heads::{Backward, Scored};
use crate::layers::{Context, DenseParams};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use unroll_kernels::mat::padded;
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::softmax::{self, IGNORE, SliceGradient, Tally};
use unroll_kernels::{Mat, MatMut, rows};

/// Words of a slice are a multiple of this: whole panels of packed weights on any set.
pub(super) const GRANULE: usize = 256;

/// Rows at a time at most, so that slices have a thousand words or more.
pub(super) const MOST_ROWS: usize = 4096;

impl SoftmaxHead {
    /// The losses of some rows and, with `into`, their gradients, `words` words at a time.
    pub(super) fn slices(
        &mut self,
        ctx: &Context<'_>,
        (dense, words): (&DenseParams, usize),
        scored: &Scored<'_>,
        losses: &mut [f32],
        into: Option<Backward<'_>>,
    ) {
        let vocabulary = self.vocabulary;
        let count = vocabulary.div_ceil(words);
        let slice = |i: usize| i * words..vocabulary.min((i + 1) * words);
        self.tallies.clear();
        self.tallies.resize(scored.targets.len(), Tally::default());
        self.sums.clear();
        self.sums.resize(scored.targets.len(), 0.0);
        let narrows = self.narrows(ctx);
        for i in 0..count {
            if narrows {
                self.tally_through(ctx, dense, scored, slice(i));
            } else {
                self.slice_logits(ctx, dense, scored.x, slice(i));
                self.tally(ctx, scored.targets, slice(i));
            }
        }
        for ((loss, tally), &target) in losses.iter_mut().zip(&self.tallies).zip(scored.targets) {
            let weight = if into.is_some() { self.weight(target) } else { 1.0 };
            *loss = if target == IGNORE { 0.0 } else { tally.loss() * weight };
        }
        if into.is_some() && !self.shaping.is_nothing() {
            let rows = losses.iter_mut().zip(scored.targets).enumerate();
            for (r, (loss, &target)) in rows.filter(|(_, (_, target))| **target != IGNORE) {
                let row = Row::of(&self.tallies[r], self.sums[r]);
                *loss = self.shaping.loss(row, vocabulary) * self.weight(target);
            }
        }
        let Some(Backward { mut dx, grads }) = into else { return };
        let mut gradients = dense.gradients(grads);
        for i in (0..count).rev() {
            let (x, dx, rows, words) = (scored.x, dx.reborrow(), scored.x.rows(), slice(i));
            if narrows {
                self.gradient_through(ctx, dense, scored, words.clone());
                let _span = profile::enter(Phase::HeadGradient);
                dense.backward(ctx, (x, dx), self.kept(rows, words.len()), &mut gradients, words);
            } else {
                if i + 1 < count {
                    self.slice_logits(ctx, dense, x, words.clone());
                }
                self.slice_gradient(ctx, scored, words.clone());
                let _span = profile::enter(Phase::HeadGradient);
                dense.backward(ctx, (x, dx), self.view(rows, words.len()), &mut gradients, words);
            }
        }
    }

    pub(super) fn slice_logits(&mut self, ctx: &Context<'_>, dense: &DenseParams, x: Mat<'_>, words: Range<usize>) {
        let _span = profile::enter(Phase::Head);
        let (rows, cols) = (x.rows(), words.len());
        dense.forward(ctx, x, words, MatMut::new(&mut self.logits, rows, cols, padded(cols)));
    }

    /// Adds the logits of a slice to the tallies.
    fn tally(&mut self, ctx: &Context<'_>, targets: &[u32], words: Range<usize>) {
        let (rows, cols) = (targets.len(), words.len());
        let logits = MatMut::new(&mut self.logits, rows, cols, padded(cols));
        let (tallies, shaped) = (Mutex::new((&mut self.tallies[..], &mut self.sums[..])), !self.shaping.is_nothing());
        ctx.products().by_rows(logits, |range, part| {
            let mut local = [Tally::default(); MOST_CACHED];
            for_chunks(range, MOST_CACHED, part, |range, part| {
                let chunk = &mut local[..range.len()];
                let all = || tallies.lock().unwrap_or_else(PoisonError::into_inner);
                chunk.copy_from_slice(&all().0[range.clone()]);
                softmax::tally(ctx.isa, part.as_ref(), words.start, &targets[range.clone()], chunk);
                all().0[range.clone()].copy_from_slice(chunk);
                if shaped {
                    let mut sums = [0.0; MOST_CACHED];
                    rows::add_row_sums(ctx.isa, part.as_ref(), &mut sums[..range.len()]);
                    all().1[range].iter_mut().zip(sums).for_each(|(all, sum)| *all += sum);
                }
            });
        });
    }

    /// Turns the logits of a slice into their gradient.
    fn slice_gradient(&mut self, ctx: &Context<'_>, scored: &Scored<'_>, words: Range<usize>) {
        let (rows, cols) = (scored.targets.len(), words.len());
        let at_once = (CACHED / padded(cols)).clamp(1, MOST_CACHED);
        let Self { logits, tallies, sums, weights, shaping, vocabulary, .. } = self;
        let logits = MatMut::new(logits, rows, cols, padded(cols));
        ctx.products().by_rows(logits, |range, part| {
            for_chunks(range, at_once, part, |range, mut part| {
                let (targets, tallies, sums) = (&scored.targets[range.clone()], &tallies[range.clone()], &sums[range]);
                let (first, scale) = (words.start, scored.scale);
                softmax::slice_gradient(
                    ctx.isa,
                    SliceGradient { logits: part.reborrow(), first, targets, tallies, scale },
                );
                let scored = targets.iter().enumerate().filter(|&(_, &target)| target != IGNORE);
                for (r, &target) in scored.filter(|_| !shaping.is_nothing()) {
                    let target = (target as usize).checked_sub(first).filter(|&at| at < cols);
                    let row = Row::of(&tallies[r], sums[r]);
                    shaping.gradient(part.row_mut(r), target, (row, *vocabulary, scale));
                }
                for (r, &target) in targets.iter().enumerate().filter(|_| !weights.is_empty()) {
                    let weight = weights.get(target as usize).copied().unwrap_or(1.0);
                    part.row_mut(r).iter_mut().for_each(|g| *g *= weight);
                }
            });
        });
    }
}
