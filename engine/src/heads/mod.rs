//! Heads: what stands at the end of a model and gives its loss.
//!
//! A head takes the values of the layer before it (or finished logits), the targets and the scale of the loss, and
//! leaves the losses of every position and, in training, the gradients. `softmax/` has the softmax with cross-entropy
//! over a vocabulary, `binary.rs` the binary cross-entropy of one logit.

mod binary;
mod softmax;

pub(crate) use binary::BinaryHead;
pub(crate) use softmax::{LOGITS, SoftmaxHead};

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

/// A head, by its kind.
pub(crate) enum Head {
    Softmax(SoftmaxHead),
    Binary(BinaryHead),
}

impl Head {
    /// Computes the losses (0 where not scored) and, with `into`, the gradients.
    pub(crate) fn run(&mut self, cx: &Cx<'_>, scored: &Scored<'_>, losses: &mut [f32], into: Option<Into<'_>>) {
        match self {
            Self::Softmax(head) => head.run(cx, scored, losses, into),
            Self::Binary(head) => head.run(cx, scored, losses, into),
        }
    }

    /// The logits of the rows of `x`: (R, V), or (R, 1) of a binary head.
    pub(crate) fn logits<'s>(&'s mut self, cx: &Cx<'_>, x: Mat<'s>) -> Mat<'s> {
        match self {
            Self::Softmax(head) => head.logits(cx, x),
            Self::Binary(_) => x,
        }
    }
}
