//! What stands in the place of the last dense layer: the parameters of each head, and how words are parted among them.

use super::config::{HeadKind, Initializer, LayerConfig, Loss};
use super::params::{ParamList, Role, positive};
use super::shape::Shape;
use super::{Graph, Source};
use crate::error::{Error, Result};
use std::ops::Range;
use std::sync::Arc;

/// How the words are parted, by rank: the most frequent word has rank 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Parting {
    /// Not at all.
    #[default]
    Whole,
    /// How many words stand in the first softmax, and the clusters of the others.
    Clusters(usize, Vec<Cluster>),
    /// Where each class begins, and the number of words.
    Classes(Vec<u32>),
}

/// Words that have a softmax of their own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cluster {
    /// Ranks.
    pub(crate) words: Range<usize>,
    /// Inputs of its softmax.
    pub(crate) inputs: usize,
}

/// Nanoseconds that a logit, a multiplication of it, and a parameter in a step of so many rows cost: of the order that a core of
/// a server has, which is what cut-offs need.
const LOGIT_NS: f64 = 1.5;
const PRODUCT_NS: f64 = 0.05;
const PARAMETER_NS: f64 = 1.6;
const ROWS: f64 = 512.0;

/// Most clusters that are chosen.
const MOST_CLUSTERS: usize = 5;

/// Words and their order by frequency.
#[derive(Clone, Debug)]
pub(crate) struct Ranks {
    /// The word of each rank; empty where words stand in that order.
    words: Vec<u32>,
    /// The rank of each word; empty alike.
    ranks: Vec<u32>,
}

impl Ranks {
    /// The most frequent word first; of words that are as frequent, the one with the lower number.
    pub(crate) fn new(counts: &[u64]) -> Self {
        if counts.is_sorted_by(|a, b| a >= b) {
            return Self { words: Vec::new(), ranks: Vec::new() };
        }
        let mut words: Vec<u32> = (0..counts.len() as u32).collect();
        words.sort_by_key(|&word| std::cmp::Reverse(counts[word as usize]));
        let mut ranks = vec![0; words.len()];
        words.iter().enumerate().for_each(|(rank, &word)| ranks[word as usize] = rank as u32);
        Self { words, ranks }
    }

    /// The rank of a word.
    pub(crate) fn of(&self, word: u32) -> u32 {
        self.ranks.get(word as usize).copied().unwrap_or(word)
    }

    /// The word of a rank.
    pub(crate) fn word(&self, rank: usize) -> usize {
        self.words.get(rank).map_or(rank, |&word| word as usize)
    }
}

impl Graph {
    /// How often each word comes: as the graph was told, else by Zipf's law, the words in the order of their frequency.
    pub(crate) fn frequencies(&self) -> Arc<[u64]> {
        match &self.counts {
            // A word that was never seen may come all the same.
            Some(counts) => counts.iter().map(|&count| count.max(1)).collect(),
            None => (1..=self.classes as u64).map(|rank| (1 << 40) / rank).collect(),
        }
    }

    /// Refuses a head that `who` knows nothing of.
    pub(crate) fn require_softmax(&self, who: &str) -> Result<()> {
        match self.config.head.kind {
            HeadKind::Softmax => Ok(()),
            other => Err(Error::usage(format!("{who} the head softmax, and the model's is {}", other.name()))
                .mend("use a model with the head softmax for it")),
        }
    }

    /// How the head parts the words.
    pub(crate) fn parting(&self) -> &Parting {
        &self.parting
    }

    /// The parameters of the head, in the place of those of the dense layer that is declared.
    pub(super) fn resolve_head(
        &mut self,
        name: &str,
        config: &LayerConfig,
        inputs: &[Source],
        list: &mut ParamList,
    ) -> Result<Shape> {
        let head = self.config.head.clone();
        let LayerConfig::Dense(layer) = config else {
            let what =
                format!("layer `{name}`: a head of kind {} ends a model in place of a dense layer", head.kind.name());
            return Err(Error::usage(what).mend("end the model in a dense layer"));
        };
        let own = matches!(head.kind, HeadKind::SampledSoftmax | HeadKind::Nce);
        if own && layer.tied_to.is_some() {
            // It reads rows of the table that it is tied to, and elements of its bias.
            let shape = self.resolve(name, config, inputs, list)?;
            list.bias_by_words();
            return Ok(shape);
        }
        if layer.tied_to.is_some() {
            let what = format!("layer `{name}`: {} has no table of a vector a word to tie", head.kind.name());
            return Err(Error::usage(what).mend("leave tied_to out, or use the head softmax, sampled_softmax or nce"));
        }
        let input = inputs.first().map_or_else(|| Shape::tokens(None), |&source| self.shape_of(source));
        let (words, width) = (layer.units.unwrap_or(self.classes), input.width());
        if words != self.classes || input.is_tokens() || input.dims.len() != 1 {
            let what =
                format!("layer `{name}`: the head takes one axis after time and gives the {} words", self.classes);
            return Err(Error::usage(what).mend("leave units out, and reshape its input first if it has more axes"));
        }
        positive(name, "the number of inputs", width)?;
        self.parting = self.part_words(width)?;
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
        match &self.parting {
            Parting::Clusters(first, clusters) => {
                let columns = first + clusters.len();
                push("kernel", Role::Kernel, &[width, columns])?;
                push("bias", Role::Bias, &[columns])?;
                for (i, Cluster { words, inputs }) in clusters.iter().enumerate() {
                    push(&format!("cluster_{i}_projection"), Role::Kernel, &[width, *inputs])?;
                    push(&format!("cluster_{i}_kernel"), Role::Kernel, &[*inputs, words.len()])?;
                    push(&format!("cluster_{i}_bias"), Role::Bias, &[words.len()])?;
                }
            }
            Parting::Classes(starts) => {
                push("class_kernel", Role::Kernel, &[width, starts.len() - 1])?;
                push("class_bias", Role::Bias, &[starts.len() - 1])?;
                push("kernel", Role::WordKernel, &[words, width])?;
                push("bias", Role::WordBias, &[words])?;
            }
            Parting::Whole => {
                // Of a tree, one fewer decisions than words; of one word, one that is never asked for.
                let rows = if head.kind == HeadKind::HierarchicalSoftmax { (words - 1).max(1) } else { words };
                push("kernel", Role::WordKernel, &[rows, width])?;
                push("bias", Role::WordBias, &[rows])?;
            }
        }
        Ok(input.with_dims(vec![words]))
    }

    /// Parts the words among clusters or classes.
    fn part_words(&self, width: usize) -> Result<Parting> {
        let (head, words) = (&self.config.head, self.classes);
        match head.kind {
            HeadKind::AdaptiveSoftmax => {
                let reduction = head.reduction.unwrap_or(4.0);
                let inputs = |i: usize| ((width as f64 / reduction.powi(i as i32 + 1)) as usize).max(1);
                let cutoffs = match &head.cutoffs[..] {
                    [] => cheapest(&self.masses(), width, inputs),
                    given => given.to_vec(),
                };
                let ends = cutoffs[1..].iter().copied().chain([words]);
                let ranges = cutoffs.iter().zip(ends).map(|(&start, end)| start..end);
                let clusters = ranges.enumerate().map(|(i, words)| Cluster { words, inputs: inputs(i) });
                Ok(Parting::Clusters(cutoffs[0], clusters.filter(|cluster| !cluster.words.is_empty()).collect()))
            }
            HeadKind::ClassSoftmax => Ok(Parting::Classes(classes(&self.masses(), head.classes))),
            _ => Ok(Parting::Whole),
        }
    }

    /// The share of each rank, the largest first.
    fn masses(&self) -> Vec<f64> {
        let mut counts = self.frequencies().to_vec();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let total = counts.iter().map(|&count| count as f64).sum::<f64>();
        counts.into_iter().map(|count| count as f64 / total).collect()
    }

    /// Refuses options of the head that are out of range or have no meaning.
    pub(super) fn check_head(&self) -> Result<()> {
        let (head, words) = (&self.config.head, self.classes);
        let wrong = |what: String| Error::usage(format!("head: {what}"));
        if let Some(key) = head.stray() {
            return Err(wrong(format!("{key} has no meaning for {}", head.kind.name())).mend("leave it out"));
        }
        if head.kind == HeadKind::Softmax {
            return Ok(());
        }
        if self.config.loss != Loss::CrossEntropy {
            return Err(wrong(format!("{} is of the loss cross_entropy", head.kind.name())));
        }
        if head.samples == Some(0) {
            return Err(wrong("samples must be at least 1".into()));
        }
        for (key, value) in [("power", head.power), ("log_partition", head.log_partition)] {
            if value.is_some_and(|value| !value.is_finite() || (key == "power" && value < 0.0)) {
                return Err(wrong(format!("{key} = {} is out of range", value.unwrap_or_default())));
            }
        }
        if head.reduction.is_some_and(|reduction| !(reduction.is_finite() && reduction >= 1.0)) {
            return Err(wrong(format!("reduction must be at least 1, got {}", head.reduction.unwrap_or_default())));
        }
        let ascend = head.cutoffs.is_sorted_by(|a, b| a < b) && head.cutoffs.first() != Some(&0);
        if !ascend || head.cutoffs.last().is_some_and(|&last| last >= words) {
            let what = format!("cutoffs {:?} must ascend between 0 and the {words} words", head.cutoffs);
            return Err(wrong(what).mend("leave them out for those that cost least"));
        }
        if head.classes.is_some_and(|classes| classes == 0 || classes > words) {
            let given = head.classes.unwrap_or_default();
            return Err(wrong(format!("classes must be from 1 to the {words} words, got {given}")));
        }
        Ok(())
    }
}

/// The cut-offs of an adaptive softmax that cost least, of at most [`MOST_CLUSTERS`] clusters.
///
/// Each is moved along a grid of ranks a fifth apart while that makes a row cheaper, from ranks that are evenly apart by their
/// logarithms.
fn cheapest(masses: &[f64], width: usize, inputs: impl Fn(usize) -> usize) -> Vec<usize> {
    let words = masses.len();
    let mut grid: Vec<usize> = Vec::new();
    let mut at = 1.0f64;
    while (at as usize) < words {
        if grid.last() != Some(&(at as usize)) {
            grid.push(at as usize);
        }
        at *= 1.2;
    }
    if grid.is_empty() {
        // One word.
        return vec![words];
    }
    let mut sums = vec![0.0];
    masses.iter().for_each(|mass| sums.push(sums[sums.len() - 1] + mass));
    let part = |share: f64, words: usize, inputs: usize| {
        let (words, inputs) = (words as f64, inputs as f64);
        share * words * (inputs * PRODUCT_NS + LOGIT_NS) + words * inputs * PARAMETER_NS / ROWS
    };
    let cost = |places: &[usize]| {
        let ends = places[1..].iter().map(|&place| grid[place]).chain([words]);
        let clusters = places.iter().zip(ends).enumerate().map(|(i, (&place, end))| {
            let (start, inputs) = (grid[place], inputs(i));
            let share = sums[end] - sums[start];
            part(share, end - start, inputs) + part(share, inputs, width)
        });
        part(1.0, grid[places[0]] + places.len(), width) + clusters.sum::<f64>()
    };
    let descend = |count: usize| {
        let mut places: Vec<usize> = (1..=count).map(|i| grid.len() * i / (count + 1)).collect();
        places.dedup();
        let mut best = cost(&places);
        loop {
            let before = best;
            for i in 0..places.len() {
                let from = if i == 0 { 0 } else { places[i - 1] + 1 };
                let to = places.get(i + 1).copied().unwrap_or(grid.len());
                for place in from..to {
                    let old = std::mem::replace(&mut places[i], place);
                    let new = cost(&places);
                    if new < best {
                        best = new;
                    } else {
                        places[i] = old;
                    }
                }
            }
            if best >= before {
                return (best, places);
            }
        }
    };
    let tried = (1..=MOST_CLUSTERS.min(grid.len())).map(descend);
    let best = tried.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, places)| places).unwrap_or_default();
    best.into_iter().map(|place| grid[place]).collect()
}

/// Where classes begin that have about the same sum of square roots of their words' shares: those for which the logits of a row,
/// one a class and one a word of the target's class, are fewest. As many as that says, or so many at most.
fn classes(masses: &[f64], count: Option<usize>) -> Vec<u32> {
    let total: f64 = masses.iter().map(|mass| mass.sqrt()).sum();
    let step = count.map_or(1.0, |count| total / count as f64);
    let (mut starts, mut sum, mut class) = (vec![0], 0.0, 0);
    for (rank, mass) in masses.iter().enumerate() {
        let now = (sum / step) as usize;
        if now > class && rank > 0 {
            starts.push(rank as u32);
            class = now;
        }
        sum += mass.sqrt();
    }
    starts.push(masses.len() as u32);
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zipf(words: usize) -> Vec<f64> {
        let total: f64 = (1..=words).map(|rank| 1.0 / rank as f64).sum();
        (1..=words).map(|rank| 1.0 / rank as f64 / total).collect()
    }

    #[test]
    fn ranks_follow_the_counts() {
        let ranks = Ranks::new(&[5, 9, 5, 7]);
        assert_eq!([0, 1, 2, 3].map(|word| ranks.of(word)), [2, 0, 3, 1]);
        assert_eq!([0, 1, 2, 3].map(|rank| ranks.word(rank)), [1, 3, 0, 2]);
        let sorted = Ranks::new(&[4, 4, 1]);
        assert_eq!(([0, 1, 2].map(|word| sorted.of(word)), sorted.word(2)), ([0, 1, 2], 2));
    }

    #[test]
    fn classes_cover_the_words_and_cost_about_the_least() {
        for words in [1, 2, 10, 10_000] {
            for count in [None, Some(1), Some(words.min(100))] {
                let masses = zipf(words);
                let starts = classes(&masses, count);
                assert!(
                    starts.is_sorted_by(|a, b| a < b) && starts[0] == 0 && starts[starts.len() - 1] as usize == words
                );
                assert!(count.is_none_or(|count| starts.len() - 1 <= count), "{} of {count:?}", starts.len() - 1);
            }
        }
        let masses = zipf(10_000);
        let cost = |starts: &[u32]| {
            let class = |c: &[u32]| {
                let share: f64 = masses[c[0] as usize..c[1] as usize].iter().sum();
                share * f64::from(c[1] - c[0])
            };
            starts.len() as f64 - 1.0 + starts.windows(2).map(class).sum::<f64>()
        };
        let best = cost(&classes(&masses, None));
        for count in [5, 20, 40, 200, 500] {
            assert!(best <= cost(&classes(&masses, Some(count))), "{count} classes");
        }
        // 4 sqrt(V / ln V) by the integral of the square root of Zipf's law.
        assert!((best / (4.0 * (10_000.0f64 / 9.79).sqrt()) - 1.0).abs() < 0.1, "{best}");
    }

    #[test]
    fn cut_offs_ascend_and_are_no_worse_than_others() {
        for words in [1, 2, 3, 50, 10_000, 1_000_000] {
            let cutoffs = cheapest(&zipf(words), 256, |i| (256 >> (2 * i + 2)).max(1));
            assert!(cutoffs.is_sorted_by(|a, b| a < b) && cutoffs[0] > 0 && cutoffs[cutoffs.len() - 1] <= words);
            assert!(words < 10_000 || cutoffs.len() > 1, "{cutoffs:?}");
        }
    }
}
