//! A case in training, and the tokens that it trains on.

use super::cases::{Case, CaseOptions, Task};
use crate::error::Result;
use crate::exec::{Meeting, Profile};
use crate::network::{Batch, Network, State};
use crate::random::{Key, Purpose};
use crate::train::{Optimizer, StepAt, Stepped, pose, step};
use std::sync::Arc;
use unroll_kernels::profile::{self, Phase};

/// The tokens of a bench: N endless streams drawn at random, uniformly or by Zipf's law.
///
/// Token `p` of stream `n` is a function of the two, so that a corpus with the same tokens can be written and trained on.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Tokens are below this.
    pub vocabulary: usize,
    /// Token r comes with probability ln((r + 2) / (r + 1)) / ln(V + 1) rather than 1 / V.
    pub zipf: bool,
}

impl Stream {
    /// Token `position` of stream `row`.
    pub fn token(self, row: usize, position: u64) -> u32 {
        let key = Key::new(1, Purpose::Bench).layer(row);
        if !self.zipf {
            return key.below(position, self.vocabulary as u64) as u32;
        }
        // The inverse of the distribution's sum, ln(r + 2) / ln(V + 1).
        let rank = (key.uniform_f64(position) * (self.vocabulary as f64 + 1.0).ln()).exp() - 1.0;
        (rank as u32).min(self.vocabulary as u32 - 1)
    }

    /// Fills inputs and next tokens, each (T, N), of batch `index`.
    pub fn batch(self, index: u64, rows: usize, inputs: &mut [u32], targets: &mut [u32]) {
        let steps = inputs.len() / rows;
        let first = index * steps as u64;
        for t in 0..=steps {
            for n in 0..rows {
                let token = self.token(n, first + t as u64);
                if t < steps {
                    inputs[t * rows + n] = token;
                }
                // The next token of the step before.
                if let Some(target) = t.checked_sub(1).and_then(|t| targets.get_mut(t * rows + n)) {
                    *target = token;
                }
            }
        }
    }
}

/// A case in training: the same step that the trainer makes.
pub struct Training<'a> {
    case: &'a Case,
    pub(super) network: Network,
    optimizer: Optimizer,
    state: State,
    inputs: Vec<u32>,
    vectors: Vec<f32>,
    targets: Vec<u32>,
    mask: Option<Vec<bool>>,
    done: u64,
    posing: bool,
}

impl<'a> Training<'a> {
    /// `posing`: the network does the share of one thread only.
    pub(super) fn new(case: &'a Case, network: Network, posing: bool) -> Result<Self> {
        let tokens = case.steps * case.rows;
        let key = Key::new(1, Purpose::Bench);
        let numbers = if let Task::Gradient { width } = case.task { case.rows * width } else { 0 };
        let (isa, home) = (network.options().isa, network.options().home.clone());
        Ok(Self {
            vectors: (0..numbers as u64).map(|i| key.uniform(i) - 0.5).collect(),
            optimizer: Optimizer::new_in(&home, isa, case.optimizer.clone(), network.params().len())?,
            state: network.new_state(case.rows),
            inputs: vec![0; tokens],
            targets: vec![0; if matches!(case.task, Task::Classify { .. }) { case.rows } else { tokens }],
            mask: case.lengths.as_ref().map(|lengths| {
                let lengths = lengths.iter();
                (0..case.steps).flat_map(|t| lengths.clone().map(move |&length| t < length)).collect()
            }),
            network,
            case,
            done: 0,
            posing,
        })
    }

    pub(super) fn start_profile(&mut self, options: &CaseOptions) {
        if options.profile {
            self.network.start_profile();
        }
    }

    /// Where the time went since the first step, if the options asked for it.
    pub fn take_profile(&mut self) -> Option<Profile> {
        self.network.take_profile()
    }

    /// [`Network::meet_at`] of the case's network.
    pub(super) fn meet_at(&self, meeting: Arc<Meeting>) {
        self.network.meet_at(meeting);
    }

    /// [`Network::take_posed`] of the case's network.
    pub(super) fn take_posed(&self) -> [usize; 2] {
        self.network.take_posed()
    }

    /// One step; returns its mean loss.
    pub fn step(&mut self) -> f64 {
        let (steps, rows) = (self.case.steps, self.case.rows);
        {
            let _span = profile::enter(Phase::Data);
            self.case.stream().batch(self.done, rows, &mut self.inputs, &mut self.targets);
            if let Task::Classify { classes } = self.case.task {
                self.targets.iter_mut().for_each(|t| *t %= classes);
            }
        }
        self.done += 1;
        let (vectors, mut inputs) = ([&self.vectors[..]], &self.inputs[..]);
        let vectors = if let Task::Gradient { .. } = self.case.task {
            inputs = &[];
            &vectors[..]
        } else {
            &[]
        };
        let batch = Batch {
            steps,
            rows,
            inputs,
            vectors,
            targets: &self.targets,
            mask: self.mask.as_deref(),
            ..Batch::default()
        };
        if let Task::Gradient { .. } = self.case.task {
            return self.network.train_step(&batch, &mut self.state, self.done).mean();
        }
        let at = StepAt { number: self.done, lr: self.case.lr, average: None, norm: false };
        let Self { network, optimizer, state, .. } = self;
        if self.posing {
            return pose(network, optimizer, &batch, state, at).map_or(f64::NAN, |loss| loss.mean());
        }
        match step(network, optimizer, &batch, state, at) {
            Ok(Stepped::Done { loss, .. } | Stepped::LossNotFinite(loss)) => loss.mean(),
            Ok(Stepped::GradientNotFinite) | Err(_) => f64::NAN,
        }
    }
}
