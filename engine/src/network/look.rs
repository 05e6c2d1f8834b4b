//! Looking into a network: what its layers put out, where an infinity came from, and how the loss depends on its
//! states.

use super::{Batch, LossSum, Network, Pass, State, lock, lock_mut};
use crate::error::{Error, Result};
use crate::layers::Objective;

/// The gradient by the state of one row of a batch after one step.
#[derive(Clone, Copy, Debug)]
pub struct StateGradient<'a> {
    /// The layer's name.
    pub layer: &'a str,
    /// Its place in [`Graph::nodes`](crate::graph::Graph::nodes).
    pub node: usize,
    /// 0 forward, or the only one; 1 backward.
    pub direction: usize,
    /// Whether the direction reads from the end.
    pub reverse: bool,
    /// The time in the batch.
    pub time: usize,
    /// The row of the batch.
    pub row: usize,
    /// (H) of h.
    pub gradient: &'a [f32],
}

impl Network {
    /// The losses of a batch and their gradients by h after every step of every recurrent layer, all of its later effects
    /// included; nothing is dropped, and nothing added to the objective. `found` is called with every position that is there of
    /// every direction. `state` is carried on.
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

    /// Runs a batch and gives a layer's output at every position that is there, or of every row: `found` is called with the
    /// time, the row and the numbers. Of a recurrent layer it is h after each step, of both directions side by side, whatever
    /// the layer gives to others. `state` is carried on.
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
        self.forward(batch, state, |replica, cx| {
            let Some(y) = replica.output(node, cx) else {
                return Err(Error::usage(format!("layer `{layer}` is computed as a part of another, or not at all"))
                    .mend("inspect a recurrent layer, or a layer before the last"));
            };
            let extent = cx.on(axis).extent;
            for p in 0..y.rows() {
                let (t, n) = if sequence { extent.position(p) } else { (0, p) };
                found(t, n, y.row(p));
            }
            Ok(())
        })
    }

    /// The name of the first layer whose output in the last step was not finite: where an infinity or NaN came from.
    pub fn first_non_finite_layer(&self) -> Option<&str> {
        let replicas = self.replicas.iter().zip(&self.extents);
        let node = replicas.filter_map(|(replica, extent)| lock(replica).first_non_finite(&lock(extent))).min()?;
        Some(&self.graph.nodes()[node].name)
    }
}
