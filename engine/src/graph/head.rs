//! Heads, which take the place of the last dense layer: their parameters, and how words are divided among these.

use super::config::{Dense, HeadConfig, HeadKind, Initializer, LayerConfig, Loss, Noise, OutputConfig, WordOrder};
use super::layer::positive;
use super::output::Declared;
use super::params::{ParamList, Role};
use super::partition::{Ranks, TailShape, WordPartition, cluster_step, clusters, cutoffs, reduced};
use super::shape::Shape;
use super::{Graph, Output, Source, Words};
use crate::error::{Error, Result};
use crate::huffman::Huffman;
use std::sync::Arc;

/// A step may draw this many words, or as many as the vocabulary has, whichever is more.
const MOST_SAMPLES: usize = 1 << 16;

impl Graph {
    /// The counts of `classes` words: those that the graph was given, else Zipf's law for words in the order of their
    /// frequency.
    pub(crate) fn frequencies(&self, classes: usize) -> Arc<[u64]> {
        match &self.words {
            // A word that was never seen may come all the same.
            Some(Words { counts, .. }) if counts.len() == classes => counts.iter().map(|&count| count.max(1)).collect(),
            _ => (1..=classes as u64).map(|rank| (1 << 40) / rank).collect(),
        }
    }

    /// Refuses any head but a softmax, for `who`, which knows no other.
    pub(crate) fn require_softmax(&self, who: &str) -> Result<()> {
        match self.outputs.iter().map(|output| output.head().kind).find(|&kind| kind != HeadKind::Softmax) {
            None => Ok(()),
            Some(other) => Err(Error::usage(format!("{who} the head softmax, and the model's is {}", other.name()))
                .mend("use a model with the head softmax for it")),
        }
    }

    /// Refuses a head that divides the words: its parameters are not those of a softmax over all words.
    pub(crate) fn require_whole_words(&self, what: &str, mend: &str) -> Result<()> {
        match self.outputs.iter().map(|output| output.head().kind).find(|kind| kind.partitions_words()) {
            None => Ok(()),
            Some(kind) => Err(Error::usage(format!("{what} {}", kind.name())).mend(mend.to_owned())),
        }
    }

    /// The parameters of the head of an output, in the place of those of the dense layer that is declared.
    pub(super) fn resolve_head(
        &mut self,
        name: &str,
        config: &LayerConfig,
        (inputs, output): (&[Source], &mut Declared),
        list: &mut ParamList,
    ) -> Result<Shape> {
        let (head, classes) = (output.config.head.clone(), output.classes);
        let layer = dense_of_head(name, config, head.kind)?;
        if layer.tied_to.is_some() {
            if head.kind.samples_words() {
                // It reads rows of the table that it is tied to, and elements of its bias.
                let before = list.len();
                let shape = self.resolve(name, config, inputs, list)?;
                list.biases_by_words(before);
                return Ok(shape);
            }
            let what = format!("layer `{name}`: {} has no table of a vector a word to tie", head.kind.name());
            return Err(Error::usage(what).mend("leave tied_to out, or use the head softmax, sampled_softmax or nce"));
        }
        let input = inputs.first().map_or_else(|| Shape::tokens(None), |&source| self.shape_of(source));
        let (words, width) = (layer.units.unwrap_or(classes), input.width());
        if words != classes || input.is_tokens() || input.dims.len() != 1 {
            let what = format!("layer `{name}`: the head takes one axis after time and gives the {classes} words");
            return Err(Error::usage(what).mend("leave units out, and reshape its input first if it has more axes"));
        }
        positive(name, "the number of inputs", width)?;
        output.partition = self.partition_words(&head, classes, width);
        // A tree has one decision fewer than words; of one word, it has one that is never asked for.
        let rows = if head.kind == HeadKind::HierarchicalSoftmax { (words - 1).max(1) } else { words };
        self.push_head(name, layer, &output.partition, [rows, width], list)?;
        Ok(input.with_dims(vec![words]))
    }

    /// Lists the parameters of a head over words that are divided like this, (rows, width) where they are all together.
    fn push_head(
        &self,
        name: &str,
        layer: &Dense,
        partition: &WordPartition,
        [rows, width]: [usize; 2],
        list: &mut ParamList,
    ) -> Result<()> {
        let bias = layer.use_bias.unwrap_or(true);
        let drawn = layer.kernel_initializer.or(self.config.initializer).unwrap_or(Initializer::GlorotUniform);
        let start = layer.bias_initializer.or(self.config.initializer).unwrap_or(Initializer::Zeros);
        let mut push = |what: &str, role: Role, shape: &[usize]| {
            let is_bias = matches!(role, Role::Bias | Role::WordBias);
            if is_bias && !bias {
                return Ok(());
            }
            list.push(format!("{name}/{what}"), role, shape, if is_bias { start } else { drawn }).map(|_| ())
        };
        match partition {
            WordPartition::Clusters(first, tails) => {
                let columns = first + tails.len();
                if columns > 1 {
                    push("kernel", Role::Kernel, &[width, columns])?;
                    push("bias", Role::Bias, &[columns])?;
                }
                for (i, tail) in tails.iter().enumerate() {
                    let inputs = tail.inputs.unwrap_or(width);
                    if tail.inputs.is_some() {
                        push(&format!("tail_{i}_projection"), Role::Kernel, &[width, inputs])?;
                    }
                    if tail.clusters() > 1 {
                        push(&format!("tail_{i}_clusters_kernel"), Role::Kernel, &[inputs, tail.clusters()])?;
                        push(&format!("tail_{i}_clusters_bias"), Role::Bias, &[tail.clusters()])?;
                    }
                    push(&format!("tail_{i}_kernel"), Role::WordKernel, &[tail.words(), inputs])?;
                    push(&format!("tail_{i}_bias"), Role::WordBias, &[tail.words()])?;
                }
            }
            WordPartition::Whole => {
                push("kernel", Role::WordKernel, &[rows, width])?;
                push("bias", Role::WordBias, &[rows])?;
            }
        }
        Ok(())
    }

    /// All words of an output's head, with words of like use together, where the head asks for that order and the graph
    /// knows it.
    pub(super) fn order(&self, head: &HeadConfig, classes: usize) -> Option<&[u32]> {
        let order = self.words.as_ref()?.order.as_deref()?;
        (head.order == Some(WordOrder::Context) && order.len() == classes).then_some(order)
    }

    /// The ranks of the words of a head; `bounds` are where its tails begin and the last one ends.
    fn ranks(&self, head: &HeadConfig, classes: usize, bounds: &[usize]) -> Ranks {
        let ranks = Ranks::new(&self.frequencies(classes));
        let tails = bounds.windows(2).map(|tail| tail[0]..tail[1]);
        match self.order(head, classes) {
            Some(order) => ranks.arranged(tails, order),
            None => ranks,
        }
    }

    /// The ranks of the words of an output's head.
    pub(crate) fn word_ranks(&self, output: &Output) -> Ranks {
        let words = output.classes();
        let bounds: Vec<usize> = match output.partition() {
            WordPartition::Clusters(_, tails) => {
                tails.iter().map(|tail| tail.starts[0] as usize).chain([words]).collect()
            }
            WordPartition::Whole => vec![words],
        };
        self.ranks(output.head(), words, &bounds)
    }

    /// The tree of an output's head.
    pub(crate) fn tree(&self, output: &Output) -> Result<Huffman> {
        let counts = self.frequencies(output.classes());
        match self.order(output.head(), output.classes()) {
            Some(order) => Huffman::ordered(&counts, order),
            None => Huffman::new(&counts),
        }
    }

    /// Divides the words among clusters, where the head does.
    fn partition_words(&self, head: &HeadConfig, classes: usize, width: usize) -> WordPartition {
        let counts = self.frequencies(classes);
        let reduction = head.tail_reduction();
        let bounds: Vec<usize> = match head.kind {
            HeadKind::AdaptiveSoftmax if head.cutoffs.is_empty() => {
                cutoffs(&Ranks::new(&counts).masses(&counts), width, reduction)
            }
            HeadKind::AdaptiveSoftmax => head.cutoffs.iter().copied().chain([classes]).collect(),
            HeadKind::ClassSoftmax => vec![0, classes],
            _ => return WordPartition::Whole,
        };
        let masses = self.ranks(head, classes, &bounds).masses(&counts);
        let tail = |(i, bounds): (usize, &[usize])| {
            let words = bounds[0]..bounds[1];
            let inputs = (head.kind == HeadKind::AdaptiveSoftmax).then(|| reduced(width, reduction, i));
            let roots = || masses[words.clone()].iter().map(|mass| mass.sqrt()).sum::<f64>();
            let step = match head.classes {
                Some(count) => roots() / count as f64,
                // Where frequent and rare words stand together, classes of equal size cost least: as many as each has
                // words.
                None if self.order(head, classes).is_some() => roots() / (words.len() as f64).sqrt(),
                None => cluster_step(&masses, words.clone(), inputs.unwrap_or(width)),
            };
            let starts = match head.cutoffs.is_empty() {
                true => clusters(&masses, words, step),
                false => vec![words.start as u32, words.end as u32],
            };
            TailShape { starts, inputs }
        };
        WordPartition::Clusters(bounds[0], bounds.windows(2).enumerate().map(tail).collect())
    }
}

/// The dense layer whose place a head takes.
fn dense_of_head<'a>(name: &str, config: &'a LayerConfig, kind: HeadKind) -> Result<&'a Dense> {
    let mend = match config {
        LayerConfig::Dense(layer) => return Ok(layer),
        LayerConfig::Add(_) => "add only dense layers without an activation, or end the model in a dense layer",
        _ => "end the model in a dense layer",
    };
    let what = format!("layer `{name}`: a head of kind {} ends a model in place of a dense layer", kind.name());
    Err(Error::usage(what).mend(mend))
}

/// Refuses options of the head of an output that are out of range or have no meaning.
pub(super) fn check_head(OutputConfig { head, loss, .. }: &OutputConfig, words: usize) -> Result<()> {
    let wrong = |what: String| Error::usage(format!("head: {what}"));
    if head.power.is_some() && head.noise != Some(Noise::Unigram) && head.kind.samples_words() {
        let what = "power is that of the counts, which the noise unigram follows alone".to_owned();
        return Err(wrong(what).mend("set noise = \"unigram\", or leave power out"));
    }
    if let Some(key) = head.stray() {
        return Err(wrong(format!("{key} has no meaning for {}", head.kind.name())).mend("leave it out"));
    }
    let smoothing = head.label_smoothing.unwrap_or(0.0);
    if !(0.0..1.0).contains(&smoothing) {
        return Err(wrong(format!("label_smoothing must be at least 0 and less than 1, got {smoothing}")));
    }
    let z_loss = head.z_loss.unwrap_or(0.0);
    if !(z_loss >= 0.0 && z_loss.is_finite()) {
        return Err(wrong(format!("z_loss must be at least 0, got {z_loss}")));
    }
    if head.is_default() {
        return Ok(());
    }
    if *loss != Loss::CrossEntropy {
        let what = format!("{} computes the loss cross_entropy, and the output's is another", head.kind.name());
        return Err(wrong(what).mend("leave the head out, or end the model in a softmax over its classes"));
    }
    // Of a small vocabulary a sample may be larger than all of it, but no sample is worth more than the sum over all
    // words.
    let most = words.max(MOST_SAMPLES);
    if let Some(samples) = head.samples.filter(|&samples| samples == 0 || samples > most) {
        return Err(wrong(format!("samples must be from 1 to {most}, got {samples}"))
            .mend("use the head softmax to sum over all words"));
    }
    // Of counts below 2^64, the tenth power is a number.
    if let Some(power) = head.power.filter(|power| !(0.0..=10.0).contains(power)) {
        return Err(wrong(format!("power must be from 0 to 10, got {power}")));
    }
    if let Some(given) = head.log_partition.filter(|given| !given.is_finite()) {
        return Err(wrong(format!("log_partition must be a number, got {given}")));
    }
    if head.reduction.is_some_and(|reduction| !(reduction.is_finite() && reduction >= 1.0)) {
        return Err(wrong(format!("reduction must be at least 1, got {}", head.reduction.unwrap_or_default())));
    }
    let ascend = head.cutoffs.is_sorted_by(|a, b| a < b) && head.cutoffs.first() != Some(&0);
    if !ascend || head.cutoffs.last().is_some_and(|&last| last >= words) {
        let what = format!("cutoffs {:?} must ascend between 0 and the {words} words", head.cutoffs);
        return Err(wrong(what).mend("leave them out to have them chosen"));
    }
    if head.classes.is_some_and(|classes| classes == 0 || classes > words) {
        let given = head.classes.unwrap_or_default();
        return Err(wrong(format!("classes must be from 1 to the {words} words, got {given}")));
    }
    Ok(())
}
