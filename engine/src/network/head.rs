//! The head of a plan: what its kind and the graph's frequencies make of it.

use super::plan::Plan;
use crate::error::Result;
use crate::graph::{Graph, HeadKind, LayerConfig, Loss, Noise, Parting, Ranks, Role};
use crate::heads::{
    AdaptiveHead, BinaryHead, ClassHead, ClusterHead, Estimate, Head, SampledHead, Sampler, SoftmaxHead, TreeHead,
    WordParams,
};
use crate::huffman::Huffman;
use crate::layers::DenseParams;
use crate::noise::Alias;

/// Words drawn for a training step unless the head says otherwise.
const SAMPLES: usize = 1024;

/// Which words the head of a graph draws, and how often.
pub(crate) fn sampler(graph: &Graph) -> Result<Sampler> {
    let (counts, head) = (graph.frequencies(), &graph.config().head);
    let noise = match head.noise.unwrap_or_default() {
        Noise::Uniform => Alias::new(&vec![1.0; counts.len()])?,
        Noise::Unigram => Alias::unigram(&counts, head.power.unwrap_or(0.75))?,
        Noise::LogUniform => {
            let ranks = Ranks::new(&counts);
            let weight = |word: u32| (1.0 / (f64::from(ranks.of(word)) + 1.0)).ln_1p();
            Alias::new(&(0..counts.len() as u32).map(weight).collect::<Vec<_>>())?
        }
    };
    let estimate = match head.kind {
        HeadKind::Nce => Estimate::Nce {
            log_partition: head.log_partition.unwrap_or(0.0),
            remove_hits: head.remove_hits.unwrap_or(true),
        },
        _ => Estimate::Softmax,
    };
    Ok(Sampler { noise, samples: head.samples.unwrap_or(SAMPLES), estimate })
}

impl Plan<'_> {
    /// The head.
    pub(super) fn head(&self) -> Result<Head> {
        let logits = &self.graph.nodes()[self.graph.logits()];
        let weights = self.options.class_weights.clone();
        if self.graph.config().loss == Loss::BinaryCrossEntropy {
            return Ok(Head::Binary(BinaryHead::new(weights)));
        }
        if !weights.is_empty() {
            self.graph.require_softmax("class weights are for")?;
        }
        let (head, words, room) = (&self.graph.config().head, logits.shape.width(), self.options.logits);
        let softmax = |dense, words| SoftmaxHead::new(dense, words, Vec::new(), room);
        Ok(match (head.kind, self.graph.parting()) {
            (HeadKind::Softmax, _) => {
                let dense = self.dense(self.graph.logits()).filter(|_| self.has_fused_head());
                Head::Softmax(SoftmaxHead::new(dense, words, weights, room))
            }
            (_, Parting::Clusters(frequent, clusters)) => {
                let heads = clusters.iter().enumerate().map(|(i, cluster)| {
                    let projection = self.cluster_dense(1 + 2 * i, usize::MAX, [self.head_width(), cluster.inputs]);
                    let dense = self.cluster_dense(2 + 2 * i, 1 + i, [cluster.inputs, cluster.words.len()]);
                    ClusterHead::new(cluster.words.clone(), projection, softmax(Some(dense), cluster.words.len()))
                });
                let columns = frequent + clusters.len();
                let first = softmax(Some(self.cluster_dense(0, 0, [self.head_width(), columns])), columns);
                let ranks = Ranks::new(&self.graph.frequencies());
                Head::Adaptive(AdaptiveHead::new(first, *frequent, heads.collect(), ranks))
            }
            (_, Parting::Classes(starts)) => {
                let classes = starts.len() - 1;
                let first = softmax(Some(self.cluster_dense(0, 0, [self.head_width(), classes])), classes);
                let ranks = Ranks::new(&self.graph.frequencies());
                Head::Classes(ClassHead::new(first, self.word_params(), starts.clone(), ranks))
            }
            (HeadKind::HierarchicalSoftmax, _) => {
                let tree = Huffman::new(&self.graph.frequencies())?;
                Head::Tree(TreeHead::new(self.word_params(), tree))
            }
            _ => {
                let exact = softmax(self.dense(self.graph.logits()), words);
                Head::Sampled(SampledHead::new(self.word_params(), sampler(self.graph)?, exact))
            }
        })
    }

    /// Inputs of the head.
    fn head_width(&self) -> usize {
        self.graph.shape_of(self.graph.nodes()[self.graph.logits()].inputs[0]).width()
    }

    /// A dense layer within the head: its kernel and its bias are the so-manieth of the node's.
    fn cluster_dense(&self, kernel: usize, bias: usize, [inputs, units]: [usize; 2]) -> DenseParams {
        let node = &self.graph.nodes()[self.graph.logits()];
        let range = |role, nth| self.spec(node, role, nth).map(|spec| spec.range.clone());
        let kernel = range(Role::Kernel, kernel).unwrap_or_default();
        DenseParams { kernel, tied: false, bias: range(Role::Bias, bias), inputs, units }
    }

    /// The parameters of the head that have a row a word: its own, or the table that it is tied to.
    fn word_params(&self) -> WordParams {
        let node = &self.graph.nodes()[self.graph.logits()];
        let tied = match &node.config {
            LayerConfig::Dense(dense) if dense.tied_to.is_some() => {
                self.dense(self.graph.logits()).map(|dense| (dense.kernel, dense.bias))
            }
            _ => None,
        };
        let own = |role| self.spec(node, role, 0).map(|spec| spec.range.clone());
        let (kernel, bias) = tied.unwrap_or_else(|| (own(Role::WordKernel).unwrap_or_default(), own(Role::WordBias)));
        WordParams { kernel, bias, inputs: self.head_width() }
    }

    /// Bytes that the losses of so many positions need.
    pub(super) fn head_bytes(&self, positions: usize) -> u64 {
        let (room, words) = (self.options.logits, self.graph.nodes()[self.graph.logits()].shape.width());
        let (head, inputs) = (&self.graph.config().head, self.head_width());
        let exact = SoftmaxHead::bytes(words, positions, room);
        match head.kind {
            HeadKind::Softmax | HeadKind::AdaptiveSoftmax | HeadKind::ClassSoftmax => exact,
            HeadKind::SampledSoftmax | HeadKind::Nce => {
                exact + SampledHead::bytes(head.samples.unwrap_or(SAMPLES), [positions, inputs, words])
            }
            HeadKind::HierarchicalSoftmax => TreeHead::bytes([positions, inputs, words]),
        }
    }
}
