//! Predictions: the forward pass without losses, up to the logits or to any layer.

use super::replica::Replica;
use super::unmasked::Unmasked;
use super::{Batch, Network, State, lock_mut};
use crate::graph::{Axis, Output};
use crate::layers::{Context, Objective};
use crate::random::{Key, Purpose};
use unroll_kernels::Mat;

impl Network {
    /// The logits of the first output after the last step of `inputs` (T, N): (N, V). `state` is carried on.
    ///
    /// # Panics
    ///
    /// As [`Self::train_step`]; and on a network of more than one replica.
    pub fn logits(&mut self, inputs: &[u32], rows: usize, state: &mut State) -> Mat<'_> {
        self.predict(&Batch { steps: inputs.len() / rows.max(1), rows, inputs, ..Batch::default() }, state)
    }

    /// The logits of the first output of a batch, after each row's last step: (N, V). `state` is carried on; targets
    /// are not used.
    ///
    /// # Panics
    ///
    /// As [`Self::logits`].
    pub fn predict(&mut self, batch: &Batch<'_>, state: &mut State) -> Mat<'_> {
        self.forward(batch, state, |replica, ctx| replica.logits(ctx))
    }

    /// The `k` most probable tokens after each row's last step, the most probable first, with ln p of each. `state` is
    /// carried on. A softmax over a large vocabulary never has all logits at once. For ln p of given tokens see
    /// [`Self::evaluate`] and [`Self::losses`].
    ///
    /// # Panics
    ///
    /// As [`Self::logits`]; and of a model whose loss is no cross-entropy over words.
    pub fn top_k(&mut self, batch: &Batch<'_>, state: &mut State, k: usize) -> Vec<Vec<(u32, f32)>> {
        let words = self.graph.outputs()[0].loss() == crate::graph::Loss::CrossEntropy;
        assert!(words, "the most probable of the tokens of a model that has none");
        self.forward(batch, state, |replica, ctx| replica.best(ctx, k))
    }

    /// The logits of the first output at every position of a batch that exists: calls `found` with the time, the row
    /// and the logits (V) of each. For a model with one output a row, once for each row, with time 0. `state` is
    /// carried on; targets are not used.
    ///
    /// # Panics
    ///
    /// As [`Self::logits`].
    pub fn predict_each(&mut self, batch: &Batch<'_>, state: &mut State, mut found: impl FnMut(usize, usize, &[f32])) {
        self.predict_outputs(batch, state, |output, t, n, logits| {
            if output == 0 {
                found(t, n, logits);
            }
        });
    }

    /// [`Self::predict_each`] for every output: `found` is called with the output's number first. The one number of an
    /// output with a mean squared error takes the place of logits.
    ///
    /// # Panics
    ///
    /// As [`Self::logits`].
    pub fn predict_outputs(
        &mut self,
        batch: &Batch<'_>,
        state: &mut State,
        mut found: impl FnMut(usize, usize, usize, &[f32]),
    ) {
        let sequences: Vec<bool> = self.graph.outputs().iter().map(Output::is_sequence).collect();
        self.forward(batch, state, |replica, ctx| {
            for (o, sequence) in sequences.into_iter().enumerate() {
                let logits = replica.all_logits(ctx, o);
                for p in 0..logits.rows() {
                    let (t, n) = if sequence { ctx.extent.position(p) } else { (0, p) };
                    found(o, t, n, logits.row(p));
                }
            }
        });
    }

    /// Runs the forward pass of the one replica up to the head; `then` does the rest.
    pub(super) fn forward<'s, R>(
        &'s mut self,
        batch: &Batch<'_>,
        state: &mut State,
        then: impl FnOnce(&'s mut Replica, &Context<'_>) -> R,
    ) -> R {
        assert_eq!(self.options.replicas, 1, "predictions are made by one replica");
        self.require(batch, state);
        self.refresh(None);
        let rows = batch.rows;
        let unmasked = Axis::ALL.map(|axis| Unmasked::new(&self.graph, axis, batch, &self.params));
        let (replica, extents) = (lock_mut(&mut self.replicas[0]), lock_mut(&mut self.extents[0]));
        replica.take(batch, 0..rows, extents, unmasked);
        let extents = &*extents;
        let [extent, other] = extents;
        let team = self.crew.team();
        let ctx = Context {
            team: &team,
            isa: self.options.isa,
            precision: self.options.precision,
            scratch: &self.scratch[0],
            dims: extent.dims(),
            extent,
            other,
            params: &self.params,
            packs: &self.packs,
            training: false,
            key: Key::new(self.options.seed, Purpose::Dropout),
            first_row: 0,
            batch_rows: rows,
            objective: Objective::default(),
        };
        replica.forward(&ctx, state);
        replica.carry(extents, state);
        then(replica, &ctx)
    }
}
