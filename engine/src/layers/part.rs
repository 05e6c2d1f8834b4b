//! A part of what a recurrent layer gives: a final state, or the output of one direction.

use super::{Act, Cx, Inputs, Run, Slot, Upstream};
use crate::graph::{Part, Source};
use unroll_kernels::rows;

/// A copy of a part, so that other layers take it as they take any output.
pub(crate) struct PartRun {
    part: Part,
}

/// The slot of the layer that a part is of.
fn of(sources: &[Source]) -> usize {
    match sources {
        [Source::Node(n)] => *n,
        _ => panic!("a part of no layer"),
    }
}

impl PartRun {
    pub(crate) fn new(part: Part) -> Self {
        Self { part }
    }

    pub(crate) fn forward(&self, cx: &Cx<'_>, inputs: Inputs<'_>, act: &mut Act) {
        let Slot { run, act: from } = &inputs.before[of(inputs.sources)];
        match (self.part, run) {
            (Part::State { direction, cell }, Run::Recurrent(layer)) => {
                layer.state(from, cx.extent, (direction, cell), act.y_mut(cx.dims));
            }
            (Part::Output { direction }, _) => {
                let units = act.cols();
                let x = from.y(cx.dims).cols_range(direction * units..(direction + 1) * units);
                cx.products().by_rows(act.y_mut(cx.dims), |range, part| rows::copy(x.rows_range(range), part));
            }
            _ => panic!("a state of a layer that has none"),
        }
    }

    pub(crate) fn backward(&self, cx: &Cx<'_>, up: Upstream<'_>, act: &mut Act) {
        let Slot { run, act: from } = &mut up.before[of(up.sources)];
        match (self.part, run) {
            (Part::State { direction, cell }, Run::Recurrent(layer)) => {
                layer.add_state_gradient(from, cx.extent, (direction, cell), act.dy(cx.dims));
            }
            (Part::Output { direction }, _) => {
                let units = act.cols();
                let dx = from.dy_mut(cx.dims).cols_range(direction * units..(direction + 1) * units);
                let dy = act.dy(cx.dims);
                cx.products().by_rows(dx, |range, part| rows::add(cx.isa, dy.rows_range(range), part));
            }
            _ => panic!("a state of a layer that has none"),
        }
    }
}
