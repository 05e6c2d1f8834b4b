//! Heads: what stands at the end of a model and gives its loss.
//!
//! A head takes the values of the layer before it (or finished logits), the targets and the scale of the loss, and
//! leaves the losses of every position and, in training, the gradients.
//!
//! ```text
//! softmax/      every logit of a vocabulary of any size                          exact
//! sampled.rs    the target and a sample: sampled softmax, NCE                    evaluations are exact
//! clusters.rs   frequent words and clusters, then the words of one               exact
//! tree.rs       decisions along a Huffman tree                                   exact
//! binary.rs     the binary cross-entropy of one logit
//! ```

mod binary;
mod clusters;
mod sampled;
mod softmax;
mod tree;
mod words;

pub(crate) use binary::BinaryHead;
pub(crate) use clusters::{ClusterHead, Tail};
pub(crate) use sampled::{Estimate, SampledHead, Sampler};
pub(crate) use softmax::{LOGITS, Shaping, SoftmaxHead};
pub(crate) use tree::TreeHead;
pub(crate) use words::WordParams;

use crate::layers::Cx;
use crate::network::Gradient;
use unroll_kernels::{Mat, MatMut};

/// What a head works on: R rows, one a position that may be scored.
pub(crate) struct Scored<'a> {
    /// (R, D)
    pub(crate) x: Mat<'a>,
    /// The target of each row; [`unroll_kernels::softmax::IGNORE`] is not scored.
    pub(crate) targets: &'a [u32],
    /// The factor of every loss in the gradient.
    pub(crate) scale: f32,
}

/// The gradients that a head adds to.
pub(crate) struct Into<'a> {
    /// (R, D)
    pub(crate) dx: MatMut<'a>,
    /// The arena of gradients.
    pub(crate) grads: &'a mut Gradient,
}

impl Into<'_> {
    /// The same for a while.
    fn reborrow(&mut self) -> Into<'_> {
        Into { dx: self.dx.reborrow(), grads: self.grads }
    }
}

/// A head, by its kind.
pub(crate) enum Head {
    Softmax(SoftmaxHead),
    Sampled(Box<SampledHead>),
    Clusters(ClusterHead),
    Tree(Box<TreeHead>),
    Binary(BinaryHead),
}

impl Head {
    /// Computes the losses (0 where not scored) and, with `into`, the gradients.
    pub(crate) fn run(&mut self, cx: &Cx<'_>, scored: &Scored<'_>, losses: &mut [f32], into: Option<Into<'_>>) {
        match self {
            Self::Softmax(head) => head.run(cx, scored, losses, into),
            Self::Sampled(head) => head.run(cx, scored, losses, into),
            Self::Clusters(head) => head.run(cx, scored, losses, into),
            Self::Tree(head) => head.run(cx, scored, losses, into),
            Self::Binary(head) => head.run(cx, scored, losses, into),
        }
    }

    /// The logits of the rows of `x`: (R, V), or (R, 1) of a binary head. Those of a head that has none of its own are the
    /// logarithms of the probabilities.
    pub(crate) fn logits<'s>(&'s mut self, cx: &Cx<'_>, x: Mat<'s>) -> Mat<'s> {
        match self {
            Self::Softmax(head) => head.logits(cx, x),
            Self::Sampled(head) => head.logits(cx, x),
            Self::Clusters(head) => head.logits(cx, x),
            Self::Tree(head) => head.logits(cx, x),
            Self::Binary(_) => x,
        }
    }
}

#[cfg(test)]
mod tests;
