//! Looking into a network: what its layers put out, where an infinity came from, and how the loss depends on its
//! states.

use super::{Batch, LossSum, Network, Pass, State, lock, lock_mut};
use crate::error::{Error, Result};
use crate::layers::Objective;

/// The gradient of the state h of one row of a batch after one step.
#[derive(Clone, Copy, Debug)]
pub struct StateGradient<'a> {
    /// The layer's name.
    pub layer: &'a str,
    /// Its place in [`Graph::nodes`](crate::graph::Graph::nodes).
    pub node: usize,
    /// The direction: 0 for forward or the only one, 1 for backward.
    pub direction: usize,
    /// Whether the direction reads from the end.
    pub reverse: bool,
    /// The time in the batch.
    pub time: usize,
    /// The row of the batch.
    pub row: usize,
    /// (H): the gradient of h.
    pub gradient: &'a [f32],
}

impl Network {
    /// The losses of a batch and the gradients of h after every step of every recurrent layer, which include all later
    /// effects of h. Without dropout and penalties. Calls `found` for every direction and every position that exists.
    /// `state` is carried on.
    ///
    /// # Panics
    ///
    /// As [`Self::train_step`]; and on a network of more than one replica.
    pub fn state_gradients(
        &mut self,
        batch: &Batch<'_>,
        state: &mut State,
        mut found: impl FnMut(&StateGradient<'_>),
    ) -> LossSum {
        assert!(self.options.training, "this network was made without room for gradients");
        assert_eq!(self.options.replicas, 1, "gradients of states are given by one replica");
        self.require(batch, state);
        self.set_scales(batch);
        let objective = Objective::default();
        let sum = self.run(batch, state, Pass { step: 0, backward: true, objective, drops: false });
        let nodes = self.graph.nodes();
        let (replica, extents) = (lock_mut(&mut self.replicas[0]), lock_mut(&mut self.extents[0]));
        replica.state_gradients(extents, |node, direction, reverse, [time, row], gradient| {
            found(&StateGradient { layer: &nodes[node].name, node, direction, reverse, time, row, gradient });
        });
        sum
    }

    /// Runs a batch and calls `found` with the time, the row and a layer's output, for every position that exists or
    /// for every row. For a recurrent layer this is h after each step, both directions side by side, whatever the
    /// layer's own output is. `state` is carried on.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] where no layer has this name, or where it is computed as a part of another.
    ///
    /// # Panics
    ///
    /// As [`Self::logits`].
    pub fn outputs(
        &mut self,
        batch: &Batch<'_>,
        state: &mut State,
        layer: &str,
        mut found: impl FnMut(usize, usize, &[f32]),
    ) -> Result<()> {
        let nodes = self.graph.nodes();
        let Some(node) = nodes.iter().position(|node| node.name == layer) else {
            let names: Vec<&str> = nodes.iter().map(|node| &node.name[..]).collect();
            return Err(Error::usage(format!("the model has no layer `{layer}`"))
                .mend(format!("its layers are {}", names.join(", "))));
        };
        let sequence = nodes[node].shape.time.is_some() || nodes[node].config.recurrence().is_some();
        let axis = nodes[node].axis;
        self.forward(batch, state, |replica, ctx| {
            let Some(y) = replica.output(node, ctx) else {
                return Err(Error::usage(format!("layer `{layer}` is computed as a part of another, or not at all"))
                    .mend("inspect a recurrent layer, or a layer before the last"));
            };
            let extent = ctx.on(axis).extent;
            for p in 0..y.rows() {
                let (t, n) = if sequence { extent.position(p) } else { (0, p) };
                found(t, n, y.row(p));
            }
            Ok(())
        })
    }

    /// The name of the first layer whose output in the last step was not finite, from which an infinity or NaN came.
    pub fn first_non_finite_layer(&self) -> Option<&str> {
        let replicas = self.replicas.iter().zip(&self.extents);
        let node = replicas.filter_map(|(replica, extent)| lock(replica).first_non_finite(&lock(extent))).min()?;
        Some(&self.graph.nodes()[node].name)
    }
}
