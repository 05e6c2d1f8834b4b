//! Linear + softmax + cross-entropy over the vocabulary, by blocks of rows.
//!
//! A block's logits are computed, turned into losses and their own gradient in place, and used for the gradients of x,
//! W and b before the next block takes their room: nothing is computed twice, and memory does not grow with the batch.
//! Where products round to bf16, the gradient is rounded once, while a few rows of it are in the cache.

use super::{Into, Scored};
use crate::layers::{Cx, DenseParams};
use std::ops::Range;
use unroll_kernels::gemm::Precision;
use unroll_kernels::mat::padded;
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::softmax::{self, CrossEntropy};
use unroll_kernels::{Bf16, Buffer, Element, Mat, MatMut, rows};

/// Elements of logits that are kept at a time: 64 MiB. Fewer rows a block would read the weights more often.
const BLOCK: usize = 1 << 24;

/// Elements of logits that are worked on at a time, so that they stay in the second-level cache, and rows at most.
const CACHED: usize = 1 << 16;
const MOST_ROWS: usize = 64;

/// The softmax head.
pub(crate) struct SoftmaxHead {
    /// The dense layer that gives the logits; absent where the logits are another layer's output.
    dense: Option<DenseParams>,
    vocabulary: usize,
    /// The factor of each class; empty: 1.
    weights: Vec<f32>,
    logits: Buffer,
}

impl SoftmaxHead {
    pub(crate) fn new(dense: Option<DenseParams>, vocabulary: usize, weights: Vec<f32>) -> Self {
        Self { dense, vocabulary, weights, logits: Buffer::default() }
    }

    /// Rows of one block.
    fn block(vocabulary: usize) -> usize {
        (BLOCK / padded(vocabulary)).max(16)
    }

    /// Bytes that `rows` rows need.
    pub(crate) fn bytes(vocabulary: usize, rows: usize) -> u64 {
        4 * padded(vocabulary) as u64 * rows.min(Self::block(vocabulary)) as u64
    }

    pub(crate) fn run(&mut self, cx: &Cx<'_>, scored: &Scored<'_>, losses: &mut [f32], mut into: Option<Into<'_>>) {
        let total = scored.x.rows();
        let block = Self::block(self.vocabulary);
        for first in (0..total).step_by(block) {
            let range = first..total.min(first + block);
            self.compute_logits(cx, scored.x.rows_range(range.clone()));
            let (targets, losses) = (&scored.targets[range.clone()], &mut losses[range.clone()]);
            self.losses(cx, targets, scored.scale, losses, into.is_some());
            let _span = profile::enter(Phase::HeadGradient);
            if let Some(Into { dx, grads }) = &mut into {
                let (dx, count) = (dx.reborrow().rows_range(range.clone()), range.len());
                match &self.dense {
                    Some(dense) if self.narrows(cx) => {
                        dense.backward(cx, scored.x.rows_range(range), self.view::<Bf16>(count), dx, grads);
                    }
                    Some(dense) => dense.backward(cx, scored.x.rows_range(range), self.view::<f32>(count), dx, grads),
                    None => {
                        let dz = self.view(count);
                        cx.products().by_rows(dx, |r, part| rows::add(cx.isa, dz.rows_range(r), part));
                    }
                }
            }
        }
    }

    /// Whether the gradient is kept in bf16, since only products read it.
    fn narrows(&self, cx: &Cx<'_>) -> bool {
        cx.precision == Precision::Bf16 && self.dense.is_some()
    }

    /// Turns the logits of a block into losses and, with `gradient`, into their gradient.
    fn losses(&mut self, cx: &Cx<'_>, targets: &[u32], scale: f32, losses: &mut [f32], gradient: bool) {
        let (rows, stride, narrows) = (targets.len(), padded(self.vocabulary), gradient && self.narrows(cx));
        let at_once = (CACHED / stride).clamp(1, MOST_ROWS);
        let (logits, weights) = (MatMut::new(&mut self.logits, rows, self.vocabulary, stride), &self.weights);
        // Losses travel as a column beside the logits, so that one split by rows serves both.
        let column = std::sync::Mutex::new(losses);
        cx.products().by_rows(logits, |range: Range<usize>, part| {
            let targets = &targets[range.clone()];
            let mut local = [0.0f32; MOST_ROWS];
            for_chunks(range, at_once, part, targets, |range, mut part, targets| {
                let chunk = &mut local[..targets.len()];
                if gradient {
                    let logits = part.reborrow();
                    softmax::cross_entropy(cx.isa, CrossEntropy { logits, targets, scale, losses: chunk });
                } else {
                    softmax::cross_entropy_forward(cx.isa, part.as_ref(), targets, chunk);
                }
                for (r, loss) in chunk.iter_mut().enumerate().filter(|_| gradient && !weights.is_empty()) {
                    let weight = weights.get(targets[r] as usize).copied().unwrap_or(1.0);
                    *loss *= weight;
                    part.row_mut(r).iter_mut().for_each(|g| *g *= weight);
                }
                if narrows {
                    rows::narrow(cx.isa, part);
                }
                let mut all = column.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                all[range].copy_from_slice(chunk);
            });
        });
    }

    fn compute_logits(&mut self, cx: &Cx<'_>, x: Mat<'_>) {
        let _span = profile::enter(Phase::Head);
        let (count, stride) = (x.rows(), padded(self.vocabulary));
        self.logits.reserve(count * stride);
        let mut logits = MatMut::new(&mut self.logits, count, self.vocabulary, stride);
        match &self.dense {
            Some(dense) => cx.products().product(x, dense.weights().right(cx), dense.start(cx.params), logits),
            None => rows::copy(x, logits.reborrow()),
        }
    }

    /// The logits of a block, or their gradient as it is kept.
    fn view<E: Element>(&self, rows: usize) -> Mat<'_, E> {
        let stride = E::in_f32() * padded(self.vocabulary);
        Mat::new(bytemuck::cast_slice(&self.logits), rows, self.vocabulary, stride)
    }

    pub(crate) fn logits<'s>(&'s mut self, cx: &Cx<'_>, x: Mat<'s>) -> Mat<'s> {
        if self.dense.is_none() {
            return x;
        }
        self.compute_logits(cx, x);
        self.view(x.rows())
    }
}

/// Calls `body` for pieces of at most `most` rows.
fn for_chunks(
    range: Range<usize>,
    most: usize,
    mut part: MatMut<'_>,
    targets: &[u32],
    mut body: impl FnMut(Range<usize>, MatMut<'_>, &[u32]),
) {
    for at in (0..range.len()).step_by(most) {
        let end = range.len().min(at + most);
        let piece = part.reborrow().rows_range(at..end);
        body(range.start + at..range.start + end, piece, &targets[at..end]);
    }
}
