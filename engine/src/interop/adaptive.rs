//! An adaptive softmax as PyTorch's `nn.AdaptiveLogSoftmaxWithLoss` has it.
//!
//! | PyTorch | here |
//! |---|---|
//! | `head.weight` (S + tails, D) | `kernel` (D, S + tails) |
//! | `tail.i.0.weight` (inputs, D) | `tail_i_projection` (D, inputs) |
//! | `tail.i.1.weight` (words, inputs) | `tail_i_kernel`, the words by rank, (inputs, words) of a tail that is one cluster |
//!
//! Biases, which PyTorch has in its head alone if at all, are left out. In PyTorch the first S words are the frequent
//! ones, and each tail has the words that follow. There, row r of a tail is the tail's r-th word; here it may be
//! another word of the same tail, if the order puts words that are used alike together.

use crate::error::{Error, Result};
use crate::graph::{Graph, HeadKind, TailShape, WordPartition};

/// A tensor of PyTorch's.
pub(super) struct Part {
    /// Behind the layer's name.
    pub(super) name: String,
    /// The parameter with the same numbers.
    param: usize,
    /// (rows, inputs)
    pub(super) shape: [usize; 2],
    /// The column there of each row here.
    places: Vec<usize>,
}

impl Part {
    /// The parameter as PyTorch has it.
    pub(super) fn export(&self, graph: &Graph, values: &[f32]) -> Vec<f32> {
        let ours = &values[graph.params()[self.param].range.clone()];
        self.pairs().map(|(_, at)| ours[at]).collect()
    }

    /// Sets the parameter.
    pub(super) fn load(&self, graph: &Graph, theirs: &[f32], values: &mut [f32]) {
        let ours = &mut values[graph.params()[self.param].range.clone()];
        self.pairs().for_each(|(from, at)| ours[at] = theirs[from]);
    }

    /// Each place there, and its place here.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let [columns, inputs] = self.shape;
        let rows = self.places.iter().enumerate();
        rows.flat_map(move |(row, place)| (0..inputs).map(move |k| (row * inputs + k, k * columns + place)))
    }
}

/// The tensors of a layer that is a head which parts the words; none of other layers.
///
/// # Errors
/// [`Error::Usage`] where PyTorch has no such layer.
pub(super) fn parts(graph: &Graph, layer: &str) -> Result<Vec<Part>> {
    let named = |name: &str| graph.params().iter().position(|spec| spec.name == format!("{layer}/{name}"));
    let mut outputs = graph.outputs().iter().filter(|output| output.head().kind.partitions_words());
    let Some(output) = outputs.find(|output| graph.nodes()[output.logits()].name == layer) else {
        return Ok(Vec::new());
    };
    let refuse = |what: &str, mend: &str| {
        let what = format!("layer `{layer}`: PyTorch's adaptive softmax {what}");
        Err(Error::usage(what).mend(format!("{mend}, or exchange it by --to unroll, or as a whole by --to onnx")))
    };
    let WordPartition::Clusters(frequent, tails) = output.partition() else {
        return refuse("is no hierarchical_softmax", "use another head");
    };
    if output.head().kind != HeadKind::AdaptiveSoftmax {
        return refuse("is no class_softmax", "use another head");
    }
    if tails.iter().any(|tail| tail.clusters() > 1) || tails.is_empty() {
        return refuse("has tails of one cluster each", "set model.head.cutoffs");
    }
    if named("tail_0_bias").is_some() {
        return refuse("has no biases in its tails", "set use_bias = false on the layer");
    }
    let (ranks, words) = (graph.word_ranks(output), output.classes());
    let bounds = |tail: &TailShape| tail.starts[0] as usize..tail.starts[1] as usize;
    let rank = |word: usize| ranks.of(word as u32) as usize;
    let part = |rank: usize| tails.iter().rposition(|tail| bounds(tail).start <= rank);
    if let Some(word) = (0..words).find(|&word| part(word) != part(rank(word))) {
        let what = format!("parts the words by their numbers, and word {word} has rank {} by frequency", rank(word));
        return refuse(&what, "number the words by their frequency");
    }
    let mut all = Vec::new();
    let mut push = |name: String, own: &str, places: Vec<usize>| {
        if let Some(param) = named(own) {
            let shape = [places.len(), graph.params()[param].len() / places.len()];
            all.push(Part { name, param, shape, places });
        }
    };
    let first: Vec<usize> = (0..*frequent).map(rank).chain(*frequent..frequent + tails.len()).collect();
    push("head.weight".into(), "kernel", first);
    for (t, tail) in tails.iter().enumerate() {
        let inputs = tail.inputs.unwrap_or_default();
        push(format!("tail.{t}.0.weight"), &format!("tail_{t}_projection"), (0..inputs).collect());
        let words = bounds(tail).map(|word| rank(word) - bounds(tail).start).collect();
        push(format!("tail.{t}.1.weight"), &format!("tail_{t}_kernel"), words);
    }
    Ok(all)
}
