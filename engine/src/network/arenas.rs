//! The arenas of a network: its parameters, the gradient of the last step, and passes over both.

use std::ops::Range;
use std::sync::PoisonError;

use super::{Network, lock_mut};
use crate::exec::{Packing, Team};
use crate::gradient::GradientRef;

impl Network {
    /// The arena of parameters; [`Graph::params`](crate::graph::Graph::params) says what stands where.
    pub fn params(&self) -> &[f32] {
        &self.params
    }
    /// The arena of parameters, to change.
    pub fn params_mut(&mut self) -> &mut [f32] {
        self.stale = true;
        &mut self.params
    }
    /// Exchanges the parameters with another network of the same layers. The other network keeps its packed weights, so
    /// it must get its parameters back before it runs.
    pub(crate) fn exchange_params(&mut self, other: &mut Self) {
        assert_eq!(self.graph.arena(), other.graph.arena(), "networks of the same layers");
        std::mem::swap(&mut self.params, &mut other.params);
        self.stale = true;
    }
    /// Allows training steps to leave the gradient of the head's kernel, x^T dz, as its two factors, where there is one
    /// replica and the kernel is the head's own. It is written out as soon as the gradient is read; an update that
    /// takes factors does without.
    pub fn want_factors(&mut self, want: bool) {
        let want = want && self.options.replicas == 1;
        self.replicas.iter_mut().for_each(|replica| lock_mut(replica).want_factors(want));
    }

    /// Writes out the gradient that the last step left as its factors; returns which elements these are.
    pub(super) fn write_factors(&mut self) -> Option<Range<usize>> {
        let Self { options, crew, scratch, replicas, extents, .. } = self;
        let team = crew.team();
        let products = options.products(&team, &scratch[0]);
        lock_mut(&mut replicas[0]).write_factors(products, lock_mut(&mut extents[0])[0].dims())
    }

    /// Writes out the gradient that the last step left as its factors, for good.
    pub(crate) fn settle(&mut self) {
        self.write_factors();
        lock_mut(&mut self.replicas[0]).settle_factors();
    }

    /// The norm that `norm` finds of the whole gradient, or of the gradient without what the last step left as its
    /// factors.
    pub(crate) fn norm_of(&mut self, whole: bool, norm: impl FnOnce(&Team<'_>, GradientRef<'_>) -> f64) -> f64 {
        let written = if whole { self.write_factors() } else { None };
        let (team, first) = (self.crew.team(), lock_mut(&mut self.replicas[0]));
        let norm = norm(&team, first.grads.view());
        if let Some(written) = written {
            first.grads.forget(&written);
        }
        norm
    }

    /// Adds `factor` times the gradient that the last step left as its factors, if it did, to the parameters.
    pub(crate) fn descend(&mut self, factor: f32) {
        let Self { options, crew, scratch, replicas, extents, params, .. } = self;
        let team = crew.team();
        let products = options.products(&team, &scratch[0]);
        let dims = lock_mut(&mut extents[0])[0].dims();
        lock_mut(&mut replicas[0]).add_factors(products, dims, factor, params);
        self.stale = true;
    }

    /// The gradient of the last [`Self::train_step`], laid out as the parameters.
    pub fn gradient(&mut self) -> &[f32] {
        self.settle();
        let first = self.replicas[0].get_mut().unwrap_or_else(PoisonError::into_inner);
        first.grads.whole()
    }
    /// Parameters and the gradient of the last step.
    pub fn params_and_gradient(&mut self) -> (&mut [f32], &mut [f32]) {
        self.stale = true;
        self.settle();
        let first = self.replicas[0].get_mut().unwrap_or_else(PoisonError::into_inner);
        (&mut self.params, first.grads.whole_mut())
    }
    /// All threads, parameters and the gradient of the last step, for passes over the arenas.
    pub fn team_and_arenas(&mut self) -> (Team<'_>, &mut [f32], GradientRef<'_>) {
        self.stale = true;
        self.settle();
        let first = self.replicas[0].get_mut().unwrap_or_else(PoisonError::into_inner);
        (self.crew.team(), &mut self.params, first.grads.view())
    }
    /// Calls `pass` with all threads, the parameters, the gradient of the last step, and a [`Packing`] that packs
    /// weights for the next step as the pass changes them.
    pub(crate) fn change(&mut self, pass: impl FnOnce(&Team<'_>, &mut [f32], GradientRef<'_>, &Packing<'_>)) {
        let first = self.replicas[0].get_mut().unwrap_or_else(PoisonError::into_inner);
        let (team, params, gradient) = (self.crew.team(), &mut self.params, first.grads.view());
        self.stale = true;
        self.stale = !self.packs.packing(|packing| pass(&team, params, gradient, packing));
    }
    /// Whether weights must be packed before the next step.
    #[cfg(test)]
    pub(crate) fn is_stale(&self) -> bool {
        self.stale
    }

    /// Adds the gradients of all replicas into that of the first, in their order.
    pub(super) fn reduce(&mut self) {
        let Some((first, others)) = self.replicas.split_first_mut() else { return };
        let team = self.crew.team();
        let products = self.options.products(&team, &self.scratch[0]);
        for other in others {
            lock_mut(first).grads.add_all(products, &lock_mut(other).grads);
        }
    }
}
