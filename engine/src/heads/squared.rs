//! The squared error of one number a row: (y - t)^2, as Keras' `mean_squared_error` has it of one unit.

use super::{Backward, Scored};
use unroll_kernels::softmax::IGNORE;

/// The squared error. Its numbers are another layer's output, its targets the bits of f32s.
pub(crate) struct SquaredHead;

impl SquaredHead {
    pub(crate) fn run(&self, scored: &Scored<'_>, losses: &mut [f32], mut into: Option<Backward<'_>>) {
        for (r, (&target, loss)) in scored.targets.iter().zip(losses).enumerate() {
            if target == IGNORE {
                *loss = 0.0;
                continue;
            }
            let error = scored.x.row(r)[0] - f32::from_bits(target);
            *loss = error * error;
            if let Some(Backward { dx, .. }) = &mut into {
                dx.row_mut(r)[0] += 2.0 * scored.scale * error;
            }
        }
    }
}
