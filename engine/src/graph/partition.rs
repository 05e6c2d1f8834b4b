//! How a head partitions the words by their frequency and their use: ranks, clusters, and what they cost.

use std::ops::Range;
use std::sync::Arc;

/// Nanoseconds that a logit, a multiplication of it, and a parameter cost in a step of so many rows. A partition needs
/// only the order of magnitude, here that of a server's core.
const LOGIT_NS: f64 = 1.5;
const PRODUCT_NS: f64 = 0.05;
const PARAMETER_NS: f64 = 1.6;
const ROWS: f64 = 512.0;

/// How many words stand in the first softmax where the cut-offs are chosen, of larger vocabularies, and which part of
/// smaller ones. By cost it would have few hundred, but learns badly then: with 2,000 of 10,000 words zaremba-small
/// reaches a lower perplexity on the Penn Treebank than the exact head, with 300 it was a fifth higher (2026-11-22).
const FIRST: usize = 2_000;
const FIRST_PART: usize = 5;

/// By how much a tail more must lower the cost of a step, as its words have fewer inputs.
const WORTH: f64 = 0.9;

/// The most frequent words, which stand together by their use; of the others a text says too little.
const FREQUENT: usize = 1 << 16;

/// A partition of the words by rank: the most frequent word has rank 0, unless words that are used alike are
/// neighbours.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum WordPartition {
    /// All words together.
    #[default]
    Whole,
    /// How many words stand in the first softmax, beside one column a tail; and the tails.
    Clusters(usize, Vec<TailShape>),
}

/// Words in clusters, which have a softmax each of the same number of inputs; and where there are several, one over
/// them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TailShape {
    /// Where each begins by rank, and where the last ends.
    pub(crate) starts: Vec<u32>,
    /// What a projection gives them; `None`: they take what the head takes.
    pub(crate) inputs: Option<usize>,
}

impl TailShape {
    pub(crate) fn clusters(&self) -> usize {
        self.starts.len() - 1
    }
    pub(super) fn words(&self) -> usize {
        (self.starts[self.starts.len() - 1] - self.starts[0]) as usize
    }
}

/// What a head must know of a vocabulary to divide its words and to draw noise.
#[derive(Clone, Debug)]
pub struct Words {
    /// The count of each word.
    pub counts: Arc<[u64]>,
    /// All words, with words of like use next to each other, in the order of [`crate::text::alike::order`].
    pub order: Option<Arc<[u32]>>,
}

/// Words and their ranks.
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
        Self::of_words(words)
    }

    fn of_words(words: Vec<u32>) -> Self {
        let mut ranks = vec![0; words.len()];
        words.iter().enumerate().for_each(|(rank, &word)| ranks[word as usize] = rank as u32);
        Self { words, ranks }
    }

    /// The same, but that the frequent words of each of these ranges of ranks stand as they do in `order`, which has
    /// all words.
    pub(crate) fn arranged(self, ranges: impl IntoIterator<Item = Range<usize>>, order: &[u32]) -> Self {
        let mut places = vec![0; order.len()];
        order.iter().enumerate().for_each(|(place, &word)| places[word as usize] = place);
        let mut words: Vec<u32> = (0..order.len()).map(|rank| self.word(rank) as u32).collect();
        for range in ranges {
            words[range.start.min(FREQUENT)..range.end.min(FREQUENT)]
                .sort_unstable_by_key(|&word| places[word as usize]);
        }
        Self::of_words(words)
    }

    /// The share that each rank has of the text.
    pub(super) fn masses(&self, counts: &[u64]) -> Vec<f64> {
        let total = counts.iter().map(|&count| count as f64).sum::<f64>();
        (0..counts.len()).map(|rank| counts[self.word(rank)] as f64 / total).collect()
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

/// Nanoseconds of a softmax of these columns in a step, over so many rows of so many inputs; its parameters apart.
fn softmax(rows: f64, columns: f64, inputs: usize) -> f64 {
    rows * columns * (inputs as f64 * PRODUCT_NS + LOGIT_NS)
}

/// Nanoseconds of an adaptive softmax in a step, which takes so many inputs and whose tails begin at these ranks: as
/// many clusters stand in a tail as each has words.
fn cost(masses: &[f64], bounds: &[usize], width: usize, reduction: f64) -> f64 {
    let columns = (bounds[0] + bounds.len() - 1) as f64;
    let first = softmax(ROWS, columns, width) + columns * width as f64 * PARAMETER_NS;
    let tail = |(i, bounds): (usize, &[usize])| {
        let inputs = reduced(width, reduction, i);
        let words = (bounds[1] - bounds[0]) as f64;
        let (rows, clusters) = (ROWS * masses[bounds[0]..bounds[1]].iter().sum::<f64>(), words.sqrt());
        let products = softmax(rows, 2.0 * clusters, inputs) + rows * (width * inputs) as f64 * PRODUCT_NS;
        // The words of the clusters that come are read and written.
        let parameters = (clusters + words.min(rows * clusters) + width as f64) * inputs as f64;
        products + parameters * PARAMETER_NS
    };
    first + bounds.windows(2).enumerate().map(tail).sum::<f64>()
}

/// How many inputs a tail has.
pub(super) fn reduced(width: usize, reduction: f64, tail: usize) -> usize {
    ((width as f64 / reduction.powi(tail as i32 + 1)) as usize).max(1)
}

/// Where the tails of an adaptive softmax begin by rank, and the last ends: after the words of the first softmax, and
/// wherever else a step becomes cheaper by a tenth.
pub(super) fn cutoffs(masses: &[f64], width: usize, reduction: f64) -> Vec<usize> {
    let words = masses.len();
    let first = (words / FIRST_PART).clamp(1, FIRST);
    let mut bounds = if first < words { vec![first, words] } else { vec![words] };
    let mut least = cost(masses, &bounds, width, reduction);
    loop {
        let with = |rank: &usize| {
            let mut more = bounds.clone();
            more.push(*rank);
            more.sort_unstable();
            (cost(masses, &more, width, reduction), more)
        };
        // Each twice the one before.
        let ranks = std::iter::successors(Some(2 * first), |rank| Some(2 * rank)).take_while(|&rank| rank < words);
        let cheapest =
            ranks.filter(|rank| !bounds.contains(rank)).map(|rank| with(&rank)).min_by(|a, b| a.0.total_cmp(&b.0));
        match cheapest {
            Some((cheaper, more)) if cheaper < WORTH * least => (least, bounds) = (cheaper, more),
            _ => return bounds,
        }
    }
}

/// The sum of the square roots of shares at which a cluster of these words ends: that for which one cluster more, a
/// column of the softmax over them, costs what it saves in the softmax over their words.
pub(super) fn cluster_step(masses: &[f64], ranks: Range<usize>, inputs: usize) -> f64 {
    let rows = ROWS * masses[ranks].iter().sum::<f64>();
    let (logit, parameters) = (inputs as f64 * PRODUCT_NS + LOGIT_NS, inputs as f64 * PARAMETER_NS);
    let (column, word) = (rows * logit + parameters, ROWS * (logit + parameters));
    (column / word).sqrt()
}

/// Where clusters begin that have about the same sum of square roots of their words' shares, which is where the softmax
/// over them and those over their words together cost least (Mikolov et al. 2011); and where the last ends.
pub(super) fn clusters(masses: &[f64], ranks: Range<usize>, step: f64) -> Vec<u32> {
    let (mut starts, mut sum, mut cluster) = (vec![ranks.start as u32], 0.0, 0);
    for rank in ranks.clone() {
        let now = (sum / step) as usize;
        if now > cluster && rank > ranks.start {
            starts.push(rank as u32);
            cluster = now;
        }
        sum += masses[rank].sqrt();
    }
    starts.push(ranks.end as u32);
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
    fn clusters_cover_the_words_and_cost_about_the_least() {
        for words in [1, 2, 10, 10_000] {
            let masses = zipf(words);
            let total: f64 = masses.iter().map(|mass| mass.sqrt()).sum();
            for step in [total, total / 7.0, 0.3] {
                let starts = clusters(&masses, 0..words, step);
                assert!(starts.is_sorted_by(|a, b| a < b), "{starts:?}");
                assert_eq!((starts[0], starts[starts.len() - 1]), (0, words as u32));
                assert!(starts.len() - 1 <= (total / step) as usize + 1, "{} of {}", starts.len() - 1, total / step);
            }
        }
        let masses = zipf(10_000);
        let cost = |step: f64| {
            let starts = clusters(&masses, 0..10_000, step);
            let cluster = |c: &[u32]| {
                let share: f64 = masses[c[0] as usize..c[1] as usize].iter().sum();
                share * f64::from(c[1] - c[0])
            };
            starts.len() as f64 - 1.0 + starts.windows(2).map(cluster).sum::<f64>()
        };
        let best = cost(1.0);
        for step in [0.2, 0.5, 2.0, 5.0] {
            assert!(best <= cost(step), "{step}");
        }
        // 4 sqrt(V / ln V) by the integral of the square root of Zipf's law.
        assert!((best / (4.0 * (10_000.0f64 / 9.79).sqrt()) - 1.0).abs() < 0.1, "{best}");
    }

    #[test]
    fn the_tails_of_an_adaptive_softmax_cover_the_words_and_a_tail_more_costs_no_less() {
        for words in [1, 2, 3, 50, 10_000, 1_000_000] {
            let masses = zipf(words);
            let bounds = cutoffs(&masses, 256, 4.0);
            assert!(bounds.is_sorted_by(|a, b| a < b) && bounds[0] == (words / 5).clamp(1, 2000), "{bounds:?}");
            assert_eq!(bounds[bounds.len() - 1], words);
            let least = cost(&masses, &bounds, 256, 4.0);
            let others = (words >= 10_000).then(|| (bounds[0] + 1..words).step_by(words / 50));
            for rank in others.into_iter().flatten() {
                let mut more = bounds.clone();
                more.push(rank);
                more.sort_unstable();
                more.dedup();
                assert!(cost(&masses, &more, 256, 4.0) > 0.88 * least, "{bounds:?}, {rank}");
            }
        }
        assert_eq!(cutoffs(&zipf(10_000), 200, 4.0), [2_000, 10_000]);
        // A vocabulary that is a hundred times as large costs half as much again at most.
        let of = |words: usize| {
            let masses = zipf(words);
            cost(&masses, &cutoffs(&masses, 256, 4.0), 256, 4.0)
        };
        assert!(of(1_000_000) < 1.5 * of(10_000));
    }

    #[test]
    fn words_that_are_used_alike_stand_together_within_their_range() {
        let ranks = Ranks::new(&[5, 9, 5, 7, 1]).arranged([1..4, 4..5], &[4, 2, 3, 1, 0]);
        assert_eq!([0, 1, 2, 3, 4].map(|rank| ranks.word(rank)), [1, 2, 3, 0, 4]);
        assert_eq!([0, 1, 2, 3, 4].map(|word| ranks.of(word)), [3, 0, 1, 2, 4]);
        assert_eq!(ranks.masses(&[5, 9, 5, 7, 1]), [9.0, 5.0, 7.0, 5.0, 1.0].map(|count| count / 27.0));
    }
}
