//! Block after block of rows: the logits of a block are computed, turned into losses and, in place, into their own
//! gradient, and used for the gradients of x, W and b, before the next block takes their room. Nothing is computed
//! twice.

use super::shaping::Row;
use super::{CACHED, MOST_ROWS, SoftmaxHead, for_chunks};
use crate::heads::{Backward, Scored};
use crate::layers::Context;
use std::sync::{Mutex, PoisonError};
use unroll_kernels::mat::padded;
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::softmax::{self, CrossEntropy, IGNORE};
use unroll_kernels::{Mat, MatMut, rows};

impl SoftmaxHead {
    /// The losses of some rows and, with `into`, their gradients.
    pub(super) fn block(
        &mut self,
        ctx: &Context<'_>,
        scored: &Scored<'_>,
        losses: &mut [f32],
        into: Option<Backward<'_>>,
    ) {
        {
            let _span = profile::enter(Phase::Head);
            self.compute_logits(ctx, scored.x);
        }
        self.losses(ctx, scored, losses, into.is_some());
        let Some(Backward { dx, grads }) = into else { return };
        let _span = profile::enter(Phase::HeadGradient);
        let (x, all) = (scored.x, 0..self.vocabulary);
        let dz = self.view(x.rows(), all.len());
        match &self.dense {
            Some(dense) => {
                let mut gradients = match self.left() {
                    Some(_) => dense.gradient_of_bias(grads),
                    None => dense.gradients(grads),
                };
                dense.backward(ctx, (x, dx), dz, &mut gradients, all);
            }
            None => ctx.products().add(dz, dx),
        }
    }

    /// Turns the logits of a block into losses and, with `gradient`, into their gradient.
    fn losses(&mut self, ctx: &Context<'_>, scored: &Scored<'_>, losses: &mut [f32], gradient: bool) {
        let &Scored { targets, scale, .. } = scored;
        let (rows, stride) = (targets.len(), padded(self.vocabulary));
        let at_once = (CACHED / stride).clamp(1, MOST_ROWS);
        let Self { logits, weights, vocabulary, shaping, .. } = self;
        let (words, shaping) = (*vocabulary, Some(*shaping).filter(|shaping| gradient && !shaping.is_nothing()));
        let logits = MatMut::new(logits, rows, *vocabulary, stride);
        // Losses travel as a column beside the logits, so that one split by rows serves both.
        let column = Mutex::new(losses);
        ctx.products().by_rows(logits, |range, part| {
            let mut local = [0.0f32; MOST_ROWS];
            for_chunks(range, at_once, part, |range, mut part| {
                let targets = &targets[range.clone()];
                let chunk = &mut local[..targets.len()];
                if gradient {
                    let mut rows = [Row::default(); MOST_ROWS];
                    if shaping.is_some() {
                        look(ctx, part.as_ref(), targets, &mut rows[..targets.len()]);
                    }
                    let logits = part.reborrow();
                    softmax::cross_entropy(ctx.isa, CrossEntropy { logits, targets, scale, losses: chunk });
                    for (r, &target) in targets.iter().enumerate().filter(|&(_, &t)| t != IGNORE) {
                        let Some(shaping) = shaping else { break };
                        let row = Row { log_partition: f64::from(chunk[r]) + rows[r].target, ..rows[r] };
                        shaping.gradient(part.row_mut(r), Some(target as usize), (row, words, scale));
                        chunk[r] = shaping.loss(row, words);
                    }
                } else {
                    softmax::cross_entropy_forward(ctx.isa, part.as_ref(), targets, chunk);
                }
                for (r, loss) in chunk.iter_mut().enumerate().filter(|_| gradient && !weights.is_empty()) {
                    let weight = weights.get(targets[r] as usize).copied().unwrap_or(1.0);
                    *loss *= weight;
                    part.row_mut(r).iter_mut().for_each(|g| *g *= weight);
                }
                let mut all = column.lock().unwrap_or_else(PoisonError::into_inner);
                all[range].copy_from_slice(chunk);
            });
        });
    }
}

/// Takes down of each row what its gradient will have been written over.
fn look(ctx: &Context<'_>, logits: Mat<'_>, targets: &[u32], rows: &mut [Row]) {
    let mut sums = [0.0; MOST_ROWS];
    let sums = &mut sums[..rows.len()];
    rows::add_row_sums(ctx.isa, logits, sums);
    for (r, ((row, &sum), &target)) in rows.iter_mut().zip(&*sums).zip(targets).enumerate() {
        let target = if target == IGNORE { 0.0 } else { f64::from(logits.row(r)[target as usize]) };
        *row = Row { sum, target, log_partition: 0.0 };
    }
}
