//! Heads that are no softmax over all words, in f64: the decisions that lead to a target.
//!
//! | head | decisions, each over scores h . w + b |
//! |---|---|
//! | `sampled_softmax` | one of the target and the words of the sample |
//! | `nce` | of the target, and of each word of the noise, whether it is the target |
//! | `adaptive_softmax`, `class_softmax` | one of the frequent words and tails; of a tail's clusters; of a cluster's words |
//! | `hierarchical_softmax` | at each node on the way, whether it goes on to the second child |
//!
//! Which words a step draws, how words are divided among parts and the tree are choices and no computations: they are
//! the network's own.

use crate::error::Result;
use crate::graph::{Graph, HeadKind, LayerConfig, Node, Output, Ranks, WordPartition};
use crate::heads::{Estimate, Sampler};
use crate::huffman::{Branch, Huffman};
use crate::network::sampler;
use crate::random::Key;
use std::ops::Range;

/// A head of decisions.
pub(crate) struct WordHead<'a> {
    graph: &'a Graph,
    output: &'a Output,
    ranks: Ranks,
    /// Of a sampled head.
    sampler: Option<Sampler>,
    /// Of a hierarchical one.
    tree: Option<Huffman>,
}

/// A row or a column of a kernel, whose elements stand a stride apart, and its bias.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Score {
    pub(crate) start: usize,
    /// Its place in the tensor of biases.
    pub(crate) bias: usize,
    /// What is added to it.
    pub(crate) offset: f64,
    /// Whether it is what is to be.
    pub(crate) wanted: bool,
    /// How often it counts, where each counts by itself.
    pub(crate) times: f64,
}

/// A choice of one among scores, or of each whether it is wanted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decision {
    /// The tensor (D, inputs) that makes h of x; `None`: h is x.
    pub(crate) projection: Option<usize>,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) bias: Option<usize>,
    pub(crate) one: bool,
    pub(crate) scores: Vec<Score>,
}

/// Elements of a tensor that stand a stride apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Places {
    pub(super) start: usize,
    pub(super) stride: usize,
    pub(super) count: usize,
}

impl<'a> WordHead<'a> {
    /// The head of each output; `None` of one that is computed of logits.
    pub(crate) fn all(graph: &'a Graph) -> Result<Vec<Option<Self>>> {
        graph.outputs().iter().map(|output| Self::new(graph, output)).collect()
    }

    fn new(graph: &'a Graph, output: &'a Output) -> Result<Option<Self>> {
        let (mut drawn, mut tree) = (None, None);
        match output.head().kind {
            HeadKind::Softmax => return Ok(None),
            HeadKind::SampledSoftmax | HeadKind::Nce => drawn = Some(sampler(graph, output)?),
            HeadKind::AdaptiveSoftmax | HeadKind::ClassSoftmax => {}
            HeadKind::HierarchicalSoftmax => tree = Some(graph.tree(output)?),
        }
        Ok(Some(Self { graph, output, ranks: graph.word_ranks(output), sampler: drawn, tree }))
    }

    /// The words that a step of this key draws.
    pub(crate) fn draw(&self, key: Key) -> Vec<u32> {
        let mut drawn = Vec::new();
        self.sampler.iter().for_each(|sampler| sampler.draw(key, &mut drawn));
        drawn
    }

    /// The decisions that lead to a target, beside the words that the step has drawn.
    pub(crate) fn decisions(&self, target: u32, drawn: &[u32]) -> Vec<Decision> {
        match (self.output.partition(), &self.tree, &self.sampler) {
            (WordPartition::Clusters(..), ..) => self.clusters(self.ranks.of(target)),
            (_, Some(tree), _) => {
                let turn = |turn: Branch| self.row(turn.node, turn.second, (0.0, 1.0));
                vec![self.by_rows(false, tree.path(target).map(turn).collect())]
            }
            (.., Some(sampler)) => vec![self.sampled(sampler, target, drawn)],
            _ => Vec::new(),
        }
    }

    /// The decision of a sampled head in use: one of all words.
    #[cfg(test)]
    pub(crate) fn of_all(&self, target: u32) -> Decision {
        let words = self.output.classes() as u32;
        self.by_rows(true, (0..words).map(|word| self.row(word, word == target, (0.0, 1.0))).collect())
    }

    /// What a decision reads of a tensor, one entry a score.
    pub(super) fn read(&self, decision: &Decision, tensor: usize) -> Vec<Places> {
        let inputs = self.inputs(decision.projection);
        let scores = decision.scores.iter();
        if tensor == decision.kernel {
            return scores.map(|s| Places { start: s.start, stride: decision.stride, count: inputs }).collect();
        }
        let own = scores.filter(|_| decision.bias == Some(tensor));
        own.map(|score| Places { start: score.bias, stride: 1, count: 1 }).collect()
    }

    /// How wide h is.
    fn inputs(&self, projection: Option<usize>) -> usize {
        projection.map_or(self.width(), |p| self.graph.params()[p].shape[1])
    }

    fn node(&self) -> &Node {
        &self.graph.nodes()[self.output.logits()]
    }

    /// What the head takes.
    fn width(&self) -> usize {
        self.graph.shape_of(self.node().inputs[0]).width()
    }

    /// A tensor of the head.
    fn tensor(&self, part: &str) -> Option<usize> {
        self.tensor_of(&self.node().name, part)
    }

    fn tensor_of(&self, layer: &str, part: &str) -> Option<usize> {
        let name = format!("{layer}/{part}");
        self.graph.params().iter().position(|spec| spec.name == name)
    }

    /// The score of a row of the kernel, what is added to it, and how often it counts.
    fn row(&self, row: u32, wanted: bool, (offset, times): (f64, f64)) -> Score {
        Score { start: row as usize * self.width(), bias: row as usize, offset, wanted, times }
    }

    /// A decision over rows of the kernel, which may be the table of an embedding.
    fn by_rows(&self, one: bool, scores: Vec<Score>) -> Decision {
        let tied = if let LayerConfig::Dense(dense) = &self.node().config { dense.tied_to.as_ref() } else { None };
        let kernel = match tied {
            Some(table) => self.tensor_of(table, "embeddings"),
            None => self.tensor("kernel"),
        };
        let kernel = kernel.unwrap_or_default();
        Decision { projection: None, kernel, stride: 1, bias: self.tensor("bias"), one, scores }
    }

    fn sampled(&self, sampler: &Sampler, target: u32, drawn: &[u32]) -> Decision {
        let samples = sampler.samples as f64;
        let q = |word: u32| sampler.noise.probability(word);
        let mut distinct = drawn.to_vec();
        distinct.sort_unstable();
        let others = distinct.chunk_by(|a, b| a == b);
        match sampler.estimate {
            Estimate::Softmax => {
                // By the chance to be in the sample at all.
                let offset = |word: u32| -(-(samples * (-q(word)).ln_1p()).exp_m1()).ln();
                let others = others.map(|same| same[0]).filter(|&word| word != target);
                let others = others.map(|word| self.row(word, false, (offset(word), 1.0)));
                self.by_rows(true, others.chain([self.row(target, true, (0.0, 1.0))]).collect())
            }
            Estimate::Nce { log_partition, remove_hits } => {
                let offset = |word: u32| -log_partition - (samples * q(word)).ln();
                let noise = others.filter(|same| !(remove_hits && same[0] == target));
                let noise = noise.map(|same| self.row(same[0], false, (offset(same[0]), same.len() as f64)));
                self.by_rows(false, noise.chain([self.row(target, true, (offset(target), 1.0))]).collect())
            }
        }
    }

    fn clusters(&self, rank: u32) -> Vec<Decision> {
        let WordPartition::Clusters(frequent, tails) = self.output.partition() else { return Vec::new() };
        let tail = tails.iter().rposition(|tail| tail.starts[0] <= rank);
        let chosen = tail.map_or(rank as usize, |t| frequent + t);
        // A choice of one thing has no parameters.
        let mut decisions = Vec::new();
        decisions.extend(self.one_of("", None, 0..frequent + tails.len(), chosen));
        let Some(t) = tail else { return decisions };
        let tail = &tails[t];
        let cluster = tail.starts.partition_point(|&start| start <= rank) - 1;
        let projection = tail.inputs.and_then(|_| self.tensor(&format!("tail_{t}_projection")));
        decisions.extend(self.one_of(&format!("tail_{t}_clusters_"), projection, 0..tail.clusters(), cluster));
        let place = |rank: u32| (rank - tail.starts[0]) as usize;
        let words = place(tail.starts[cluster])..place(tail.starts[cluster + 1]);
        decisions.extend(self.one_of(&format!("tail_{t}_"), projection, words, place(rank)));
        decisions
    }

    /// A decision over consecutive scores, whose kernels stand side by side as (inputs, scores); `None` where there is
    /// no such tensor.
    fn one_of(&self, prefix: &str, projection: Option<usize>, of: Range<usize>, chosen: usize) -> Option<Decision> {
        let kernel = self.tensor(&format!("{prefix}kernel"))?;
        let inputs = self.inputs(projection);
        // Blocks of other scores stand before.
        let start = of.start * inputs;
        let score = |at: usize| {
            let start = start + at - of.start;
            Score { start, bias: at, offset: 0.0, wanted: at == chosen, times: 1.0 }
        };
        let (bias, scores) = (self.tensor(&format!("{prefix}bias")), of.clone().map(score).collect());
        Some(Decision { projection, kernel, stride: of.len(), bias, one: true, scores })
    }
}

impl Decision {
    /// h
    pub(crate) fn input<'t>(&self, x: &[f64], tensor: impl Fn(usize) -> &'t [f64]) -> Vec<f64> {
        self.projection.map_or_else(|| x.to_vec(), |projection| project(x, tensor(projection)))
    }

    /// The elements of a score's kernel.
    pub(crate) fn places(&self, score: &Score, inputs: usize) -> impl Iterator<Item = usize> + use<> {
        let (start, stride) = (score.start, self.stride);
        (0..inputs).map(move |k| start + k * stride)
    }

    /// The scores of h.
    pub(crate) fn values<'t>(&self, h: &[f64], tensor: impl Fn(usize) -> &'t [f64]) -> Vec<f64> {
        let (kernel, bias) = (tensor(self.kernel), self.bias.map(tensor));
        let value = |score: &Score| {
            let product: f64 = h.iter().zip(self.places(score, h.len())).map(|(h, at)| h * kernel[at]).sum();
            product + bias.map_or(0.0, |bias| bias[score.bias]) + score.offset
        };
        self.scores.iter().map(value).collect()
    }

    /// The loss at these scores.
    pub(crate) fn loss(&self, values: &[f64]) -> f64 {
        let each = self.scores.iter().zip(values);
        if !self.one {
            return each.map(|(score, &z)| score.times * softplus(if score.wanted { -z } else { z })).sum();
        }
        let wanted: f64 = each.filter(|(score, _)| score.wanted).map(|(_, z)| z).sum();
        ln_sum_exp(values) - wanted
    }

    /// The sizes of scores of h whose sizes are these.
    pub(super) fn sizes<'t>(&self, h_size: &[f64], values: &[f64], tensor: impl Fn(usize) -> &'t [f64]) -> Vec<f64> {
        let (kernel, bias) = (tensor(self.kernel), self.bias.map(tensor));
        let size = |(score, value): (&Score, &f64)| {
            let product =
                h_size.iter().zip(self.places(score, h_size.len())).map(|(size, at)| (size * kernel[at]).powi(2));
            let bias = bias.map_or(0.0, |bias| bias[score.bias]);
            (product.sum::<f64>() + bias * bias).sqrt() + score.offset.abs() + value.abs()
        };
        self.scores.iter().zip(values).map(size).collect()
    }

    /// The gradient of each score and its size: p less what is wanted. A score's error moves its own probability and,
    /// of a choice of one, every other.
    pub(super) fn gradient(&self, values: &[f64], sizes: &[f64]) -> Vec<[f64; 2]> {
        let whole = if self.one { ln_sum_exp(values) } else { 0.0 };
        let p: Vec<f64> =
            values.iter().map(|&z| if self.one { (z - whole).exp() } else { (-softplus(-z)).exp() }).collect();
        let mean = if self.one { p.iter().zip(sizes).map(|(p, size)| p * size).sum::<f64>() } else { 0.0 };
        let each = self.scores.iter().zip(&p).zip(sizes);
        let of = |((score, p), size): ((&Score, &f64), &f64)| {
            let d = p - if score.wanted { 1.0 } else { 0.0 };
            [d, d.abs() + p * (1.0 + size + mean)].map(|d| score.times * d)
        };
        each.map(of).collect()
    }
}

/// x P
pub(super) fn project(x: &[f64], matrix: &[f64]) -> Vec<f64> {
    let units = matrix.len() / x.len();
    (0..units).map(|j| x.iter().enumerate().map(|(k, x)| x * matrix[k * units + j]).sum()).collect()
}

pub(crate) fn ln_sum_exp(terms: &[f64]) -> f64 {
    let top = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    top + terms.iter().map(|t| (t - top).exp()).sum::<f64>().ln()
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
