//! A vector a row, at every step of it.

use super::{Act, Cx, Inputs, Upstream};

/// `y[p] = x[row of p]`
pub(crate) struct RepeatRun;

impl RepeatRun {
    pub(crate) fn forward(&self, cx: &Cx<'_>, inputs: Inputs<'_>, act: &mut Act) {
        let x = inputs.only();
        cx.products().by_rows(act.y_mut(cx.dims), |range, mut part| {
            for (r, p) in range.enumerate() {
                part.row_mut(r).copy_from_slice(x.row(cx.extent.position(p).1));
            }
        });
    }

    /// The steps of a row are added in their order.
    pub(crate) fn backward(&self, cx: &Cx<'_>, mut up: Upstream<'_>, act: &mut Act) {
        let (dy, (_, dx)) = (act.dy(cx.dims), up.get(0));
        cx.products().by_rows(dx, |range, mut part| {
            for (r, n) in range.enumerate() {
                for step in 0..cx.extent.length(n) {
                    let from = dy.row(cx.extent.place(n, step));
                    part.row_mut(r).iter_mut().zip(from).for_each(|(x, d)| *x += d);
                }
            }
        });
    }
}
