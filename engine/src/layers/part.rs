//! A part of what a recurrent layer computes, as an output of its own: a final state, or the output of one direction.

use super::{Context, Inputs, InputsMut, Layer, LayerOutput, Slot};
use crate::graph::{Part, Source};

/// Copies the part, so that other layers take it as they take any output.
pub(crate) struct PartLayer {
    part: Part,
}

/// The recurrent layer's slot.
fn of(sources: &[Source]) -> usize {
    match sources {
        [Source::Node(n)] => *n,
        _ => panic!("a part of no layer"),
    }
}

impl PartLayer {
    pub(crate) fn new(part: Part) -> Self {
        Self { part }
    }

    pub(crate) fn forward(&self, ctx: &Context<'_>, inputs: Inputs<'_>, output: &mut LayerOutput) {
        let Slot { layer, output: from } = &inputs.before[of(inputs.sources)];
        match (self.part, layer) {
            (Part::State { direction, cell }, Layer::Recurrent(layer)) => {
                layer.state(from, ctx.extent, (direction, cell), output.y_mut(ctx.dims));
            }
            (Part::Output { direction }, _) => {
                let units = output.cols();
                let x = from.y(ctx.dims).cols_range(direction * units..(direction + 1) * units);
                ctx.products().copy(x, output.y_mut(ctx.dims));
            }
            _ => panic!("a state of a layer that has none"),
        }
    }

    pub(crate) fn backward(&self, ctx: &Context<'_>, inputs: InputsMut<'_>, output: &mut LayerOutput) {
        let Slot { layer, output: from } = &mut inputs.before[of(inputs.sources)];
        match (self.part, layer) {
            (Part::State { direction, cell }, Layer::Recurrent(layer)) => {
                layer.add_state_gradient(from, ctx.extent, (direction, cell), output.dy(ctx.dims));
            }
            (Part::Output { direction }, _) => {
                let units = output.cols();
                let dx = from.dy_mut(ctx.dims).cols_range(direction * units..(direction + 1) * units);
                let dy = output.dy(ctx.dims);
                ctx.products().add(dy, dx);
            }
            _ => panic!("a state of a layer that has none"),
        }
    }
}
