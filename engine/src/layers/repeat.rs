//! A vector a row, at every step of it.

use super::{Context, Inputs, InputsMut, LayerOutput};

/// `y[p] = x[row of p]`
pub(crate) struct RepeatLayer;

impl RepeatLayer {
    pub(crate) fn forward(&self, ctx: &Context<'_>, inputs: Inputs<'_>, output: &mut LayerOutput) {
        let x = inputs.only();
        ctx.products().by_rows(output.y_mut(ctx.dims), |range, mut part| {
            for (r, p) in range.enumerate() {
                part.row_mut(r).copy_from_slice(x.row(ctx.extent.position(p).1));
            }
        });
    }

    /// The steps of a row are added in their order.
    pub(crate) fn backward(&self, ctx: &Context<'_>, mut inputs: InputsMut<'_>, output: &mut LayerOutput) {
        let (dy, (_, dx)) = (output.dy(ctx.dims), inputs.get(0));
        ctx.products().by_rows(dx, |range, mut part| {
            for (r, n) in range.enumerate() {
                for step in 0..ctx.extent.length(n) {
                    let from = dy.row(ctx.extent.place(n, step));
                    part.row_mut(r).iter_mut().zip(from).for_each(|(x, d)| *x += d);
                }
            }
        });
    }
}
