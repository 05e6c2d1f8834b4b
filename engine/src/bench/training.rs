//! A case in training, and the tokens that it trains on.

use super::cases::{Case, CaseOptions, Task};
use crate::error::Result;
use crate::exec::{Meeting, Profile};
use crate::graph::{Graph, Input, Loss, Output};
use crate::network::{Batch, Network, State};
use crate::random::{Key, Purpose};
use crate::train::{Optimizer, StepAt, StepOutcome, step, step_simulated};
use std::ops::Range;
use std::sync::Arc;
use unroll_kernels::profile::{self, Phase};

/// The tokens of a bench: N endless streams drawn at random, uniformly or by Zipf's law.
///
/// Token `p` of stream `n` is a function of the two, so that a corpus with the same tokens can be written and trained
/// on.
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
    /// (T, N) tokens and those that follow them.
    inputs: Vec<u32>,
    next: Vec<u32>,
    /// (T, N) tokens of the second sequence, where the model reads one.
    source: Vec<u32>,
    /// Of each input layer.
    vectors: Vec<Vec<f32>>,
    targets: Vec<u32>,
    /// Where the targets of each output stand, and what they are below; none of numbers.
    outputs: Vec<(Range<usize>, Option<u32>)>,
    mask: Option<Vec<bool>>,
    done: u64,
    simulated: bool,
}

impl<'a> Training<'a> {
    /// `simulated`: the network does the share of one thread only.
    pub(super) fn new(case: &'a Case, network: Network, simulated: bool) -> Result<Self> {
        let graph = network.graph();
        let (steps, rows) = (case.steps, case.rows);
        let outputs: Vec<_> = graph.targets(steps, rows).map(|(output, range)| (range, below(graph, output))).collect();
        let (isa, home) = (network.options().isa, network.options().home.clone());
        Ok(Self {
            vectors: vectors(graph, steps, rows),
            optimizer: Optimizer::new_in(&home, isa, case.optimizer.clone(), network.params().len())?,
            state: network.new_state(rows),
            inputs: vec![0; steps * rows],
            next: vec![0; steps * rows],
            source: vec![0; if graph.takes_source_tokens() { steps * rows } else { 0 }],
            targets: vec![0; outputs.last().map_or(0, |(range, _)| range.end)],
            outputs,
            mask: case.lengths.as_ref().map(|lengths| {
                let lengths = lengths.iter();
                (0..case.steps).flat_map(|t| lengths.clone().map(move |&length| t < length)).collect()
            }),
            network,
            case,
            done: 0,
            simulated,
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

    /// [`Network::take_counts`] of the case's network.
    pub(super) fn take_counts(&self) -> [usize; 2] {
        self.network.take_counts()
    }

    /// One step; returns its mean loss.
    pub fn step(&mut self) -> f64 {
        let (steps, rows) = (self.case.steps, self.case.rows);
        {
            let _span = profile::enter(Phase::Data);
            self.draw();
        }
        self.done += 1;
        let graph = self.network.graph();
        let vectors: Vec<&[f32]> = self.vectors.iter().map(|vectors| &vectors[..]).collect();
        let batch = Batch {
            steps,
            rows,
            inputs: if graph.takes_tokens() { &self.inputs } else { &[] },
            source_steps: if graph.has_source() { steps } else { 0 },
            source: &self.source,
            vectors: &vectors,
            targets: &self.targets,
            mask: self.mask.as_deref(),
        };
        if let Task::Gradient { .. } = self.case.task {
            return self.network.train_step(&batch, &mut self.state, self.done).mean();
        }
        let at = StepAt { number: self.done, lr: self.case.lr, average: None, norm: false };
        let Self { network, optimizer, state, .. } = self;
        if self.simulated {
            return step_simulated(network, optimizer, &batch, state, at).map_or(f64::NAN, |loss| loss.mean());
        }
        match step(network, optimizer, &batch, state, at) {
            Ok(StepOutcome::Done { loss, .. } | StepOutcome::LossNotFinite(loss)) => loss.mean(),
            Ok(StepOutcome::GradientNotFinite) | Err(_) => f64::NAN,
        }
    }

    /// Draws the tokens of the next step. What follows a token is its target, in the form of each output.
    fn draw(&mut self) {
        let (rows, stream) = (self.case.rows, self.case.stream());
        stream.batch(self.done, rows, &mut self.inputs, &mut self.next);
        for (range, below) in &self.outputs {
            for (target, &next) in self.targets[range.clone()].iter_mut().zip(&self.next) {
                *target = below.map_or_else(|| (next as f32).to_bits(), |classes| next % classes);
            }
        }
        let first = self.done * self.case.steps as u64;
        for (i, token) in self.source.iter_mut().enumerate() {
            // Streams of their own, beside those of the text.
            *token = stream.token(rows + i % rows, first + (i / rows) as u64);
        }
    }
}

/// What the targets of an output are below; none where they are numbers.
fn below(graph: &Graph, output: &Output) -> Option<u32> {
    match output.loss() {
        Loss::CrossEntropy => Some(output.classes().min(graph.nodes()[output.logits()].shape.width()) as u32),
        Loss::BinaryCrossEntropy => Some(2),
        Loss::MeanSquaredError => None,
    }
}

/// Random vectors of each input layer.
fn vectors(graph: &Graph, steps: usize, rows: usize) -> Vec<Vec<f32>> {
    let (key, mut drawn) = (Key::new(1, Purpose::Bench), 0..);
    let of = |(node, input): (usize, &Input)| {
        let positions = if graph.nodes()[node].shape.time.is_some() { steps * rows } else { rows };
        drawn.by_ref().take(positions * input.width).map(|i| key.uniform(i) - 0.5).collect()
    };
    graph.vector_inputs().map(of).collect()
}
