//! The heads of a plan: what the kind of each and the graph's frequencies make of it.

use super::plan::Plan;
use crate::error::{Error, Result};
use crate::graph::{Graph, HeadKind, Loss, Node, Noise, Output, Ranks, Role, TailShape, WordPartition};
use crate::heads::{
    BinaryHead, ClusterHead, Estimate, Head, SampledHead, Sampler, Shaping, SoftmaxHead, SquaredHead, Tail, TreeHead,
    WordParams,
};
use crate::layers::DenseParams;
use crate::noise::Alias;
use std::ops::Range;

/// From which words the head of an output draws, and with which probabilities.
pub(crate) fn sampler(graph: &Graph, output: &Output) -> Result<Sampler> {
    let (counts, head) = (graph.frequencies(output.classes()), output.head());
    let noise = match head.noise.unwrap_or_default() {
        Noise::Uniform => Alias::new(&vec![1.0; counts.len()])?,
        Noise::Unigram => Alias::unigram(&counts, head.noise_power())?,
        Noise::LogUniform => {
            let ranks = Ranks::new(&counts);
            let weight = |word: u32| (1.0 / (f64::from(ranks.of(word)) + 1.0)).ln_1p();
            Alias::new(&(0..counts.len() as u32).map(weight).collect::<Vec<_>>())?
        }
    };
    let estimate = match head.kind {
        HeadKind::Nce => {
            Estimate::Nce { log_partition: head.taken_log_partition(counts.len()), remove_hits: head.removes_hits() }
        }
        _ => Estimate::Softmax,
    };
    Ok(Sampler { noise, samples: head.sample_size(), estimate })
}

impl Plan<'_> {
    /// The factors of the classes of output `o`: one a class, or none.
    fn class_weights(&self, o: usize, output: &Output) -> Result<Vec<f32>> {
        let weights = self.options.class_weights.get(o).cloned().unwrap_or_default();
        let classes = match output.loss() {
            Loss::CrossEntropy => self.graph.nodes()[output.logits()].shape.width(),
            Loss::BinaryCrossEntropy => 2,
            Loss::MeanSquaredError => 0,
        };
        let name = output.name();
        if !weights.is_empty() && weights.len() != classes {
            let what = format!("{} class weights for output `{name}`, which has {classes} classes", weights.len());
            return Err(Error::usage(what).mend("give one a class, or none"));
        }
        match weights.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0)) {
            Some(weight) => {
                Err(Error::usage(format!("{weight} is no class weight, of output `{name}`"))
                    .mend("give numbers from 0 up"))
            }
            None => Ok(weights),
        }
    }

    /// The head of output `o`.
    pub(super) fn head(&self, o: usize, output: &Output) -> Result<Head> {
        let logits = &self.graph.nodes()[output.logits()];
        let weights = self.class_weights(o, output)?;
        match output.loss() {
            Loss::BinaryCrossEntropy => return Ok(Head::Binary(BinaryHead::new(weights))),
            Loss::MeanSquaredError => return Ok(Head::Squared(SquaredHead)),
            Loss::CrossEntropy => {}
        }
        if !weights.is_empty() {
            self.graph.require_softmax("class weights are for")?;
        }
        let (head, words, room) = (output.head(), logits.shape.width(), self.options.logits);
        let softmax = |dense, words| SoftmaxHead::new(dense, words, Vec::new(), room);
        Ok(match (head.kind, output.partition()) {
            (HeadKind::Softmax, _) => {
                let dense = self.dense(output.logits()).filter(|_| self.fuses_head(output));
                let factor = |given: Option<f64>| given.unwrap_or(0.0) as f32;
                let shaping = Shaping { smoothing: factor(head.label_smoothing), z_loss: factor(head.z_loss) };
                Head::Softmax(SoftmaxHead::new(dense, words, weights, room).shaped(shaping))
            }
            (_, WordPartition::Clusters(frequent, tails)) => {
                let (width, columns) = (self.head_width(output), frequent + tails.len());
                let first =
                    (columns > 1).then(|| softmax(Some(self.head_dense(logits, "", [width, columns])), columns));
                let tail = |(i, tail): (usize, &TailShape)| {
                    let inputs = tail.inputs.unwrap_or(width);
                    let projection = DenseParams {
                        kernel: self.head_range(logits, &format!("tail_{i}_projection")).unwrap_or_default(),
                        tied: false,
                        bias: None,
                        inputs: width,
                        units: inputs,
                    };
                    let over = || self.head_dense(logits, &format!("tail_{i}_clusters_"), [inputs, tail.clusters()]);
                    let clusters = (tail.clusters() > 1).then(|| softmax(Some(over()), tail.clusters()));
                    let projection = tail.inputs.map(|_| projection);
                    Tail::new(tail.starts.clone(), clusters, projection, self.word_params(output, i, inputs))
                };
                let tails = tails.iter().enumerate().map(tail).collect();
                Head::Clusters(ClusterHead::new(first, *frequent, tails, self.graph.word_ranks(output)))
            }
            (HeadKind::HierarchicalSoftmax, _) => {
                let params = self.word_params(output, 0, self.head_width(output));
                Head::Tree(Box::new(TreeHead::new(params, self.graph.tree(output)?)))
            }
            _ => {
                let exact = softmax(self.dense(output.logits()), words);
                Head::Sampled(Box::new(SampledHead::new(
                    self.word_params(output, 0, self.head_width(output)),
                    sampler(self.graph, output)?,
                    exact,
                )))
            }
        })
    }

    /// Inputs of the head of an output.
    fn head_width(&self, output: &Output) -> usize {
        self.graph.shape_of(self.graph.nodes()[output.logits()].inputs[0]).width()
    }

    /// A parameter of a head, by its name within the layer.
    fn head_range(&self, node: &Node, name: &str) -> Option<Range<usize>> {
        let name = format!("{}/{name}", node.name);
        let specs = &self.graph.params()[node.params.clone()];
        specs.iter().find(|spec| spec.name == name).map(|spec| spec.range.clone())
    }

    /// A dense layer within a head.
    fn head_dense(&self, node: &Node, prefix: &str, [inputs, units]: [usize; 2]) -> DenseParams {
        let kernel = self.head_range(node, &format!("{prefix}kernel")).unwrap_or_default();
        DenseParams { kernel, tied: false, bias: self.head_range(node, &format!("{prefix}bias")), inputs, units }
    }

    /// The `nth` parameters of a head that have a row for each word: its own, or the table to which it is tied.
    fn word_params(&self, output: &Output, nth: usize, inputs: usize) -> WordParams {
        let node = &self.graph.nodes()[output.logits()];
        let own = |role| self.spec(node, role, nth).map(|spec| spec.range.clone());
        let tied = || self.dense(output.logits()).map(|dense| dense.kernel);
        let kernel = own(Role::WordKernel).or_else(tied).unwrap_or_default();
        WordParams { kernel, bias: own(Role::WordBias), inputs }
    }

    /// Bytes that the losses of an output need.
    pub(super) fn head_bytes(&self, output: &Output) -> u64 {
        let positions = output.positions(self.capacities[0].steps, self.capacities[0].rows);
        let (room, words) = (self.options.logits, self.graph.nodes()[output.logits()].shape.width());
        let (head, inputs) = (output.head(), self.head_width(output));
        let exact = SoftmaxHead::bytes(words, positions, room);
        match head.kind {
            HeadKind::Softmax | HeadKind::AdaptiveSoftmax | HeadKind::ClassSoftmax => exact,
            HeadKind::SampledSoftmax | HeadKind::Nce => {
                exact + SampledHead::bytes(head.sample_size(), [positions, inputs, words])
            }
            HeadKind::HierarchicalSoftmax => TreeHead::bytes([positions, inputs, words]),
        }
    }
}
