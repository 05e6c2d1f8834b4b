//! The same values in another shape.
//!
//! Keras' axes are (batch, time, features) while a sequence here is stored time-major, so that joining time and
//! features gathers a row's steps from T blocks.

use super::{Context, Extent, Inputs, InputsMut, LayerOutput};
use std::ops::Range;

/// A reshape of (steps, width) to one axis.
pub(crate) struct ReshapeLayer {
    /// Whether the input has a time axis, which is joined.
    pub(crate) joins_time: bool,
    /// Whether a masked step has the output of the step before it; else it has zeros, as has one that none stands
    /// before.
    pub(crate) repeats: bool,
}

impl ReshapeLayer {
    pub(crate) fn forward(&self, ctx: &Context<'_>, inputs: Inputs<'_>, output: &mut LayerOutput) {
        let (x, extent) = (inputs.only(), ctx.extent);
        let width = x.cols();
        ctx.products().by_rows(output.y_mut(ctx.dims), |range, mut part| {
            for (r, n) in range.enumerate() {
                let row = part.row_mut(r);
                if !self.joins_time {
                    row.copy_from_slice(x.row(n));
                    continue;
                }
                row.fill(0.0);
                for p in (0..extent.length(n)).map(|i| extent.place(n, i)) {
                    for t in self.times(extent, p) {
                        row[t * width..(t + 1) * width].copy_from_slice(x.row(p));
                    }
                }
            }
        });
    }

    pub(crate) fn backward(&self, ctx: &Context<'_>, mut inputs: InputsMut<'_>, output: &mut LayerOutput) {
        let (dy, extent) = (output.dy(ctx.dims), ctx.extent);
        let (_, dx) = inputs.get(0);
        if !self.joins_time {
            return ctx.products().add(dy, dx);
        }
        let width = dx.cols();
        ctx.products().by_rows(dx, |range, mut part| {
            for (r, p) in range.enumerate() {
                let (_, n) = extent.position(p);
                for t in self.times(extent, p) {
                    let from = &dy.row(n)[t * width..(t + 1) * width];
                    part.row_mut(r).iter_mut().zip(from).for_each(|(x, d)| *x += d);
                }
            }
        });
    }

    /// The times at which the output is that of row `p` of the input.
    fn times(&self, extent: &Extent, p: usize) -> Range<usize> {
        let times = extent.times(p);
        if self.repeats { times } else { times.start..times.start + 1 }
    }
}
