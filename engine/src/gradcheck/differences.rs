//! Central differences of the f64 loss, entry by entry, against the f64 gradient.

use super::backward::Gradient;
use super::model::{Model, Params, Step, Value};
use super::report::{Comparison, Finding, TensorRow};
use super::tolerance::RTOL;
use super::words::Places;
use crate::exec::{Team, Work};
use crate::graph::{Axis, Role, Source};
use crate::random::{Key, Purpose};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// The step h: a power of two, so that x ± h is exact. Larger steps leave more to the four points, smaller ones make
/// rounding weigh more.
pub(super) const STEP: f64 = 1.0 / 2048.0;

/// The smallest step that is tried beside a kink of a relu.
const LEAST_STEP: f64 = STEP / 64.0;

/// What all tensors of a step are compared with.
pub(super) struct Differences<'a> {
    pub(super) model: &'a Model<'a>,
    pub(super) step: &'a Step<'a>,
    pub(super) tensors: &'a [Vec<f64>],
    /// The forward pass without a change.
    pub(super) values: &'a [Value],
    /// What rounding may do to one loss.
    pub(super) floor: f64,
    /// Entries a tensor, at least.
    pub(super) entries: usize,
    pub(super) seed: u64,
}

/// One entry's outcome.
enum Outcome {
    Compared(Finding),
    /// A relu changes its side within every step that was tried: there is no derivative to compare with.
    Kink,
}

impl Differences<'_> {
    /// Compares every tensor of a gradient, of a step with this loss.
    pub(super) fn compare(
        &self,
        team: &Team<'_>,
        loss: f64,
        gradient: &Gradient,
        progress: &mut dyn FnMut(usize, &str),
    ) -> Comparison {
        let rows = gradient.tensors.iter().zip(self.model.graph.params()).enumerate();
        let tensors = rows.map(|(p, (gradient, spec))| {
            progress(p, &spec.name);
            self.tensor(team, p, gradient)
        });
        let (tensors, against) = (tensors.collect(), "central differences".into());
        Comparison { gradient: "f64".into(), against, fused: None, loss, tensors }
    }

    /// Compares `entries` entries of a tensor's gradient, or all if there are fewer.
    fn tensor(&self, team: &Team<'_>, tensor: usize, gradient: &[f64]) -> TensorRow {
        let spec = &self.model.graph.params()[tensor];
        let mut candidates = self.choose(tensor).into_iter();
        let want = self.entries.min(spec.len());
        let affected = self.model.affected(tensor);
        let mut row = TensorRow::new(spec);
        loop {
            let some: Vec<usize> = candidates.by_ref().take(want - row.checked as usize).collect();
            if some.is_empty() {
                return row;
            }
            let outcomes = Mutex::new(Vec::with_capacity(some.len()));
            // Enough work for every thread, whatever it is measured in.
            let work = Work { flops: usize::MAX / 2, bytes: 0 };
            team.run(work, |member| {
                let share = member.share(some.len(), 1);
                let mut changed = if share.is_empty() { Vec::new() } else { self.tensors[tensor].clone() };
                for i in share {
                    let entry = Entry { tensor, index: some[i], claimed: gradient[some[i]] };
                    let outcome = self.entry(entry, &mut changed, &affected);
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((i, outcome));
                }
            });
            let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
            outcomes.sort_unstable_by_key(|(i, _)| *i);
            for (_, outcome) in outcomes {
                match outcome {
                    Outcome::Compared(finding) => row.add(finding),
                    Outcome::Kink => row.kinks += 1,
                }
            }
        }
    }

    /// The entries to compare, in order; more than asked for, where some may stand at kinks. Of a tensor that has a row
    /// a token, three in four are of rows whose tokens the batch has; of a head that reads few of its rows, of such.
    fn choose(&self, tensor: usize) -> Vec<usize> {
        let spec = &self.model.graph.params()[tensor];
        let (len, want) = (spec.len(), (2 * self.entries).min(spec.len()));
        if len <= self.entries {
            return (0..len).collect();
        }
        let key = Key::new(self.seed, Purpose::Check).step(3).layer(tensor);
        let width = spec.shape.last().copied().unwrap_or(1);
        // A table of the source has its tokens.
        let owner = self.model.graph.nodes().iter().find(|node| node.params.contains(&tensor));
        let mut present = Vec::new();
        if self.has_a_row_a_token(tensor) {
            let mut tokens = self.step.on(owner.map_or(Axis::Main, |node| node.axis)).tokens.to_vec();
            tokens.sort_unstable();
            tokens.dedup();
            present.extend(tokens.into_iter().map(|token| Places {
                start: token as usize * width,
                stride: 1,
                count: width,
            }));
        }
        present.extend(self.model.scored(self.step).flat_map(|scored| scored.read(tensor)));
        let (mut chosen, mut seen) = (Vec::with_capacity(want), BTreeSet::new());
        // Rows that are present may have fewer entries than are asked for: after so many draws any entry will do.
        for draw in 0.. {
            if chosen.len() == want {
                break;
            }
            let entry = if !present.is_empty() && draw % 4 != 0 && draw < 4 * want as u64 {
                let places = present[key.below(3 * draw, present.len() as u64) as usize];
                places.start + places.stride * key.below(3 * draw + 1, places.count as u64) as usize
            } else {
                key.below(3 * draw + 2, len as u64) as usize
            };
            if seen.insert(entry) {
                chosen.push(entry);
            }
        }
        chosen
    }

    fn has_a_row_a_token(&self, tensor: usize) -> bool {
        let graph = self.model.graph;
        match graph.params()[tensor].role {
            Role::Embeddings => true,
            Role::Kernel => graph.nodes().iter().any(|node| {
                let source = node.params.contains(&tensor).then(|| node.inputs[0]);
                matches!(source, Some(Source::Node(n)) if graph.nodes()[n].config.kind() == "one_hot")
            }),
            Role::RecurrentKernel
            | Role::Bias
            | Role::WordKernel
            | Role::WordBias
            | Role::RecurrentBias
            | Role::Peephole
            | Role::Gamma
            | Role::Beta => false,
        }
    }

    fn entry(&self, entry: Entry, changed: &mut [f64], affected: &[bool]) -> Outcome {
        let mut difference = |h: f64| self.difference(entry, h, changed, affected);
        let mut h = STEP;
        let two = loop {
            match difference(h) {
                Some(two) => break two,
                None if h > LEAST_STEP => h /= 4.0,
                None => return Outcome::Kink,
            }
        };
        let finding = self.judge(entry, two, self.floor / h);
        if finding.ratio <= 1.0 {
            return Outcome::Compared(finding);
        }
        match difference(h / 2.0) {
            // (4 D(h/2) - D(h)) / 3, whose rounding errors are (4 * 2 + 1) / 3 of one difference's.
            Some(near) => {
                let four = (4.0 * near - two) / 3.0;
                Outcome::Compared(self.judge(entry, four, 3.0 * self.floor / h))
            }
            None => Outcome::Kink,
        }
    }

    /// (L(x + h) - L(x - h)) / 2h; `None` where a relu changes its side on the way.
    fn difference(&self, entry: Entry, h: f64, changed: &mut [f64], affected: &[bool]) -> Option<f64> {
        let x = changed[entry.index];
        let mut loss = |x: f64| {
            changed[entry.index] = x;
            let params = Params { tensors: self.tensors, changed: Some((entry.tensor, changed)) };
            self.model.loss_again(self.step, params, self.values, affected)
        };
        let (above, below) = (loss(x + h), loss(x - h));
        changed[entry.index] = x;
        (above.1 && below.1).then(|| (above.0 - below.0) / (2.0 * h))
    }

    fn judge(&self, entry: Entry, numeric: f64, floor: f64) -> Finding {
        let tolerance = RTOL * entry.claimed.abs().max(numeric.abs()) + floor;
        Finding::new(entry.index, entry.claimed, numeric, tolerance)
    }
}

/// An entry of a tensor and its claimed derivative.
#[derive(Clone, Copy)]
struct Entry {
    tensor: usize,
    index: usize,
    claimed: f64,
}
