//! The softmax where products round to bf16: logits are never written to memory. While a block of them is in the cache,
//! it is turned into what is kept of it, in half the room: its exponentials, or, once the sum over the vocabulary is
//! known, its gradient.

use super::shaping::Row;
use super::{MOST_ROWS, SoftmaxHead, for_chunks};
use crate::exec::{Finish, block_columns};
use crate::heads::{Backward, Scored};
use crate::layers::{Context, DenseParams};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::softmax::{self, IGNORE, Keep, KeptGradient, NOTE, RowGradient, SliceGradient, Tally};
use unroll_kernels::{Bf16, Buffer, Element, Mat, MatMut, rows};

impl SoftmaxHead {
    /// The losses of some rows and their gradients. The exponentials of all words are kept.
    pub(super) fn kept_block(
        &mut self,
        ctx: &Context<'_>,
        dense: &DenseParams,
        scored: &Scored<'_>,
        losses: &mut [f32],
        Backward { dx, grads }: Backward<'_>,
    ) {
        let (count, all) = (scored.x.rows(), 0..self.vocabulary);
        self.keep(ctx, dense, scored, all.clone(), true);
        self.gradient_of_kept(ctx, scored, losses);
        let _span = profile::enter(Phase::HeadGradient);
        let mut gradients = match self.left() {
            Some(_) => dense.gradient_of_bias(grads),
            None => dense.gradients(grads),
        };
        dense.backward(ctx, (scored.x, dx), self.kept(count, all.len()), &mut gradients, all);
    }

    /// What is kept of some words.
    pub(super) fn kept(&self, rows: usize, words: usize) -> Mat<'_, Bf16> {
        Mat::new(bytemuck::cast_slice(&self.logits), rows, words, Bf16::padded(words))
    }

    /// The notes of some words and, where `all`, their exponentials.
    fn keep(&mut self, ctx: &Context<'_>, dense: &DenseParams, scored: &Scored<'_>, words: Range<usize>, all: bool) {
        let _span = profile::enter(Phase::Head);
        let (count, sums) = (scored.targets.len(), !self.shaping.is_nothing());
        let blocks = words.len().div_ceil(block_columns(dense.inputs));
        let Self { logits, notes, .. } = self;
        let kept = room(logits, count, if all { words.len() } else { 0 });
        notes.reserve(NOTE * blocks * count);
        let notes = MatMut::dense(notes, count, NOTE * blocks);
        dense.forward_through(ctx, scored.x, words.clone(), (kept, notes), |part| {
            let Finish { rows, cols, block, c, notes } = part;
            let (first, targets) = (words.start + cols.start, &scored.targets[rows]);
            softmax::keep(ctx.isa, Keep { logits: block, first, targets, sums, kept: c, notes });
        });
    }

    /// Turns the exponentials of all words into losses and, in their place, their gradient.
    fn gradient_of_kept(&mut self, ctx: &Context<'_>, scored: &Scored<'_>, losses: &mut [f32]) {
        let width = self.dense.as_ref().map_or(1, |dense| block_columns(dense.inputs));
        let (count, words) = (scored.targets.len(), self.vocabulary);
        let blocks = words.div_ceil(width);
        let Self { logits, notes, weights, shaping, .. } = self;
        let notes = Mat::dense(notes, count, NOTE * blocks);
        // Losses travel as a column beside what is kept, so that one split by rows serves both.
        let column = Mutex::new(losses);
        ctx.products().by_rows(room(logits, count, words), |range, part| {
            for_chunks(range, MOST_ROWS, part, |range, kept| {
                let (targets, notes) = (&scored.targets[range.clone()], notes.rows_range(range.clone()));
                let mut tallies = [Tally::default(); MOST_ROWS];
                let (mut sums, mut losses) = ([0.0; MOST_ROWS], [0.0; MOST_ROWS]);
                let mut rows = [RowGradient::default(); MOST_ROWS];
                let (tallies, rows) = (&mut tallies[..targets.len()], &mut rows[..targets.len()]);
                softmax::add_notes(notes, targets, tallies, &mut sums[..targets.len()]);
                for (r, &target) in targets.iter().enumerate().filter(|&(_, &target)| target != IGNORE) {
                    let weight = weights.get(target as usize).copied().unwrap_or(1.0);
                    let row = Row::of(&tallies[r], sums[r]);
                    let loss = if shaping.is_nothing() { tallies[r].loss() } else { shaping.loss(row, words) };
                    losses[r] = loss * weight;
                    rows[r] = shaping.of_row(row, words, scored.scale * weight);
                }
                softmax::kept_gradient(ctx.isa, KeptGradient { kept, notes, width, targets, tallies, rows });
                let mut all = column.lock().unwrap_or_else(PoisonError::into_inner);
                let count = range.len();
                all[range].copy_from_slice(&losses[..count]);
            });
        });
    }

    /// Adds some words to the tallies.
    pub(super) fn tally_through(
        &mut self,
        ctx: &Context<'_>,
        dense: &DenseParams,
        scored: &Scored<'_>,
        words: Range<usize>,
    ) {
        let blocks = words.len().div_ceil(block_columns(dense.inputs));
        self.keep(ctx, dense, scored, words, false);
        let Self { notes, tallies, sums, .. } = self;
        let all = Mutex::new((&mut tallies[..], &mut sums[..]));
        ctx.products().by_rows(MatMut::dense(notes, scored.targets.len(), NOTE * blocks), |range, notes| {
            for_chunks(range, MOST_ROWS, notes, |range, notes| {
                let (mut tallies, mut sums) = ([Tally::default(); MOST_ROWS], [0.0; MOST_ROWS]);
                let (tallies, sums) = (&mut tallies[..range.len()], &mut sums[..range.len()]);
                let all = || all.lock().unwrap_or_else(PoisonError::into_inner);
                tallies.copy_from_slice(&all().0[range.clone()]);
                sums.copy_from_slice(&all().1[range.clone()]);
                softmax::add_notes(notes.as_ref(), &scored.targets[range.clone()], tallies, sums);
                let mut all = all();
                all.0[range.clone()].copy_from_slice(tallies);
                all.1[range].copy_from_slice(sums);
            });
        });
    }

    /// Keeps the gradient of the logits of some words, once the tallies are complete.
    pub(super) fn gradient_through(
        &mut self,
        ctx: &Context<'_>,
        dense: &DenseParams,
        scored: &Scored<'_>,
        words: Range<usize>,
    ) {
        let _span = profile::enter(Phase::Head);
        let (count, vocabulary) = (scored.targets.len(), self.vocabulary);
        let Self { logits, tallies, sums, weights, shaping, .. } = self;
        let kept = room(logits, count, words.len());
        let nothing = MatMut::dense(&mut [], count, 0);
        dense.forward_through(ctx, scored.x, words.clone(), (kept, nothing), |part| {
            let Finish { rows: range, cols, mut block, c, .. } = part;
            let (first, scale) = (words.start + cols.start, scored.scale);
            let (targets, tallies, sums) = (&scored.targets[range.clone()], &tallies[range.clone()], &sums[range]);
            let _span = profile::enter(Phase::ElementWise);
            let logits = block.reborrow();
            softmax::slice_gradient(ctx.isa, SliceGradient { logits, first, targets, tallies, scale });
            for (r, &target) in targets.iter().enumerate().filter(|&(_, &target)| target != IGNORE) {
                if !shaping.is_nothing() {
                    let target = (target as usize).checked_sub(first).filter(|&at| at < cols.len());
                    let row = Row::of(&tallies[r], sums[r]);
                    shaping.gradient(block.row_mut(r), target, (row, vocabulary, scale));
                }
                if let Some(&weight) = weights.get(target as usize) {
                    block.row_mut(r).iter_mut().for_each(|g| *g *= weight);
                }
            }
            rows::convert(ctx.isa, block.as_ref(), c);
        });
    }
}

/// Room for what is kept of so many words.
fn room(logits: &mut Buffer, rows: usize, words: usize) -> MatMut<'_, Bf16> {
    MatMut::new(bytemuck::cast_slice_mut(logits), rows, words, Bf16::padded(words))
}
