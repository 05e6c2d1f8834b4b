//! Heads: the ends of a model, which compute its losses.
//!
//! A head takes the values of the layer before it (or finished logits), the targets and the scale of the loss, and
//! leaves the losses of every position and, in training, the gradients.
//!
//! ```text
//! softmax/      every logit of a vocabulary of any size                          exact
//! sampled.rs    the target and a sample: sampled softmax, NCE                    evaluations are exact
//! clusters/     frequent words and clusters, then the words of one               exact
//! tree.rs       decisions along a Huffman tree                                   exact
//! binary.rs     the binary cross-entropy of one logit
//! squared.rs    the squared error of one number
//! ```

mod binary;
mod clusters;
mod sampled;
mod softmax;
mod squared;
mod tree;
mod words;

pub(crate) use binary::BinaryHead;
pub(crate) use clusters::{ClusterHead, Tail};
pub(crate) use sampled::{Estimate, LogPartitionSums, SampledHead, Sampler};
pub(crate) use softmax::{LOGITS, Shaping, SoftmaxHead};
pub(crate) use squared::SquaredHead;
pub(crate) use tree::TreeHead;
pub(crate) use words::WordParams;

use crate::best::Best;
use crate::gradient::Gradient;
use crate::layers::Context;
use unroll_kernels::{Mat, MatMut};

/// The input of a head: R rows, one for each position that may be scored.
pub(crate) struct Scored<'a> {
    /// x (R, D), the output of the layer before.
    pub(crate) x: Mat<'a>,
    /// The target of each row; [`unroll_kernels::softmax::IGNORE`] is not scored.
    pub(crate) targets: &'a [u32],
    /// The factor of every loss in the gradient.
    pub(crate) scale: f32,
}

/// Where a head's backward pass adds its gradients.
pub(crate) struct Backward<'a> {
    /// (R, D)
    pub(crate) dx: MatMut<'a>,
    /// The arena of gradients.
    pub(crate) grads: &'a mut Gradient,
}

impl Backward<'_> {
    /// The same for a shorter time.
    fn reborrow(&mut self) -> Backward<'_> {
        Backward { dx: self.dx.reborrow(), grads: self.grads }
    }
}

/// A head, by its kind.
pub(crate) enum Head {
    Softmax(SoftmaxHead),
    Sampled(Box<SampledHead>),
    Clusters(ClusterHead),
    Tree(Box<TreeHead>),
    Binary(BinaryHead),
    Squared(SquaredHead),
}

impl Head {
    /// Computes the losses (0 where not scored) and, with `into`, the gradients.
    pub(crate) fn run(
        &mut self,
        ctx: &Context<'_>,
        scored: &Scored<'_>,
        losses: &mut [f32],
        into: Option<Backward<'_>>,
    ) {
        match self {
            Self::Softmax(head) => head.run(ctx, scored, losses, into),
            Self::Sampled(head) => head.run(ctx, scored, losses, into),
            Self::Clusters(head) => head.run(ctx, scored, losses, into),
            Self::Tree(head) => head.run(ctx, scored, losses, into),
            Self::Binary(head) => head.run(ctx, scored, losses, into),
            Self::Squared(head) => head.run(scored, losses, into),
        }
    }

    /// The `k` most probable words for each row of `x`, with ln p of each. The exact softmax never has all logits at
    /// once.
    pub(crate) fn best(&mut self, ctx: &Context<'_>, x: Mat<'_>, k: usize) -> Vec<Vec<(u32, f32)>> {
        match self {
            Self::Softmax(head) => head.best(ctx, x, k),
            Self::Sampled(head) => head.best(ctx, x, k),
            _ => {
                let logits = self.logits(ctx, x);
                let row = |r: usize| {
                    let mut best = Best::new(k);
                    best.take(0, logits.row(r));
                    best.finish(|word, logarithm| (word, logarithm))
                };
                (0..logits.rows()).map(row).collect()
            }
        }
    }

    /// The values of ln Z in the evaluations since the last training step, for a head whose training does not compute
    /// it.
    pub(crate) fn log_partition(&self) -> Option<LogPartitionSums> {
        if let Self::Sampled(head) = self { Some(head.log_partition()) } else { None }
    }

    /// The logits of the rows of `x`: (R, V), or (R, 1) for a binary head and for a squared error. A head that has no
    /// logits gives the logarithms of the probabilities.
    pub(crate) fn logits<'s>(&'s mut self, ctx: &Context<'_>, x: Mat<'s>) -> Mat<'s> {
        match self {
            Self::Softmax(head) => head.logits(ctx, x),
            Self::Sampled(head) => head.logits(ctx, x),
            Self::Clusters(head) => head.logits(ctx, x),
            Self::Tree(head) => head.logits(ctx, x),
            Self::Binary(_) | Self::Squared(_) => x,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
