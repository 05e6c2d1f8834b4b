//! Activation regularisation: passes its input on, and adds to its gradient that of a penalty in the objective:
//!
//! ```text
//! alpha sum x^2 / (P D) + beta sum (x_t - x_(t-1))^2 / (Q D)
//! ```
//!
//! over the P positions of a batch that are there, and over the Q pairs of positions that follow one another in a row
//! (S. Merity, B. McCann and R. Socher, "Revisiting Activation Regularization for Language RNNs", 2017). It is added to
//! the mean loss; where the objective is a sum, it is multiplied as the mean loss would be.

use super::{Context, Inputs, InputsMut, LayerOutput};

/// What penalties need to know of a training step's objective.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Objective {
    /// The factor by which the objective counts a mean over the batch.
    pub(crate) mean: f32,
    /// P of the whole batch.
    pub(crate) positions: usize,
    /// Q of the whole batch.
    pub(crate) pairs: usize,
}

/// An activation regularisation.
pub(crate) struct RegularizeLayer {
    pub(crate) alpha: f32,
    pub(crate) beta: f32,
    /// Whether its input has a time axis.
    pub(crate) sequence: bool,
}

impl RegularizeLayer {
    pub(crate) fn forward(&self, ctx: &Context<'_>, inputs: Inputs<'_>, output: &mut LayerOutput) {
        let x = inputs.only();
        ctx.products().copy(x, output.y_mut(ctx.dims));
    }

    pub(crate) fn backward(&self, ctx: &Context<'_>, mut inputs: InputsMut<'_>, output: &mut LayerOutput) {
        let (y, dy, (_, dx)) = (output.y(ctx.dims), output.dy(ctx.dims), inputs.get(0));
        let Objective { mean, positions, pairs } = ctx.objective;
        let over = |rate: f32, count: usize| 2.0 * rate * mean / (count.max(1) * y.cols()) as f32;
        let (each, step) =
            (over(self.alpha, if self.sequence { positions } else { ctx.batch_rows }), over(self.beta, pairs));
        ctx.products().by_rows(dx, |range, mut part| {
            for (r, p) in range.enumerate() {
                let (dx, own) = (part.row_mut(r), y.row(p));
                dx.iter_mut().zip(dy.row(p)).for_each(|(dx, dy)| *dx += dy);
                if each != 0.0 {
                    dx.iter_mut().zip(own).for_each(|(dx, y)| *dx += each * y);
                }
                if step != 0.0 && self.sequence {
                    for other in ctx.extent.neighbours(p).into_iter().flatten() {
                        let pairs = own.iter().zip(y.row(other));
                        dx.iter_mut().zip(pairs).for_each(|(dx, (y, other))| *dx += step * (y - other));
                    }
                }
            }
        });
    }
}
