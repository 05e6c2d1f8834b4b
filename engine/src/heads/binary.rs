//! Binary cross-entropy of one logit a row, against targets 0 and 1.

use super::{Backward, Scored};
use crate::layers::Context;
use unroll_kernels::Buffer;
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::softmax::{self, BinaryCrossEntropy, IGNORE};

/// The binary head. Its logits are another layer's output.
#[derive(Default)]
pub(crate) struct BinaryHead {
    logits: Buffer,
    targets: Buffer,
    /// The factors of the two classes; empty: 1.
    weights: Vec<f32>,
}

impl BinaryHead {
    pub(crate) fn new(weights: Vec<f32>) -> Self {
        Self { weights, ..Self::default() }
    }

    pub(crate) fn run(
        &mut self,
        ctx: &Context<'_>,
        scored: &Scored<'_>,
        losses: &mut [f32],
        into: Option<Backward<'_>>,
    ) {
        let _span = profile::enter(Phase::ElementWise);
        let count = scored.x.rows();
        self.logits.reserve(count);
        self.targets.reserve(count);
        for (r, &target) in scored.targets.iter().enumerate() {
            self.logits[r] = scored.x.row(r)[0];
            self.targets[r] = if target == 0 { 0.0 } else { 1.0 };
        }
        let (logits, targets) = (&mut self.logits[..count], &self.targets[..count]);
        softmax::binary_cross_entropy(ctx.isa, BinaryCrossEntropy { logits, targets, scale: scored.scale, losses });
        for (loss, &target) in losses.iter_mut().zip(scored.targets) {
            if target == IGNORE {
                *loss = 0.0;
            }
        }
        if let Some(Backward { mut dx, .. }) = into {
            for (r, &target) in scored.targets.iter().enumerate() {
                if target != IGNORE {
                    losses[r] *= self.weight(target);
                    dx.row_mut(r)[0] += self.weight(target) * self.logits[r];
                }
            }
        }
    }

    /// The factor of a target's loss.
    fn weight(&self, target: u32) -> f32 {
        self.weights.get(usize::from(target != 0)).copied().unwrap_or(1.0)
    }
}
