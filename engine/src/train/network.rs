//! A network as what is trained.

use unroll_kernels::Isa;
use unroll_kernels::gemm::Precision;
use unroll_kernels::profile::{self, Phase};

use crate::Result;
use crate::arena::Home;
use crate::gradient::GradientRef;
use crate::graph::ParamSpec;
use crate::network::{Batch, LogPartitions, LossSum, Network, State};

use super::learner::Learner;
use super::optimize::{Optimizer, UpdateStep};
use super::tensors::TensorRef;

impl Learner for Network {
    type State = State;

    fn specs(&self) -> &[ParamSpec] {
        self.graph().params()
    }
    fn arenas(&mut self) -> (&mut [f32], GradientRef<'_>) {
        let (_, params, gradient) = self.team_and_arenas();
        (params, gradient)
    }
    fn params(&self) -> &[f32] {
        Network::params(self)
    }
    fn isa(&self) -> Isa {
        self.options().isa
    }
    fn precision(&self) -> Precision {
        self.options().precision
    }

    fn home(&self) -> Home {
        self.options().home.clone()
    }

    fn new_state(&self, rows: usize) -> State {
        Network::new_state(self, rows)
    }
    fn reset(&self, state: &mut State) {
        state.reset();
    }
    fn state_tensors<'s>(&self, state: &'s State) -> Vec<TensorRef<'s>> {
        state.tensors().map(|t| TensorRef { name: t.name, shape: t.shape.to_vec(), data: t.values }).collect()
    }
    fn state_tensor_mut<'s>(&self, state: &'s mut State, name: &str) -> Option<&'s mut [f32]> {
        state.tensor_mut(name)
    }

    fn train_step(&mut self, batch: &Batch, state: &mut State, step: u64) -> Result<LossSum> {
        self.try_train_step(batch, state, step)
    }
    fn evaluate(&mut self, batch: &Batch, state: &mut State) -> Result<LossSum> {
        self.try_evaluate(batch, state)
    }
    fn log_partitions(&mut self) -> LogPartitions {
        Network::log_partitions(self)
    }
    fn want_factors(&mut self, want: bool) {
        Network::want_factors(self, want);
    }
    fn gradient_norm(&mut self, optimizer: &mut Optimizer, whole: bool) -> f64 {
        self.norm_of(whole, |team, gradient| optimizer.norm_by(team, gradient))
    }
    fn update(&mut self, optimizer: &mut Optimizer, step: UpdateStep) {
        if optimizer.takes_factors() {
            let _span = profile::enter(Phase::HeadGradient);
            self.descend(-step.lr);
        } else {
            self.settle();
        }
        self.change(|team, params, gradient, packing| optimizer.update_by(team, params, gradient, step, packing));
    }
    fn first_non_finite_layer(&self) -> Option<String> {
        Network::first_non_finite_layer(self).map(str::to_owned)
    }
}
