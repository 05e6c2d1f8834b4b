//! Which words of the text a group trains on, with which neighbours and against which noise.
//!
//! Whether a word is kept, how wide its window is and which noise a group has follow from the seed, the epoch and the
//! position alone, so any thread can find out for any group.

use std::f64::consts::LN_2;

use unroll_kernels::skipgram::Window;

use super::options::{Context, Loss, TrainOptions};
use crate::error::{Error, Result};
use crate::huffman::Huffman;
use crate::noise::Alias;
use crate::random::{Key, Purpose};
use crate::text::Vocabulary;

/// Words of the text that a group is responsible for at most, kept or not. A multiple of [`STEP`].
pub(super) const GROUP: usize = 64;

/// Words that share a block of random numbers, and the fewest of a group: no two groups share a block.
pub(super) const STEP: usize = 4;

/// Tiles of a group, each of which has noise words of its own.
pub(super) const TILES: usize = 2;

/// Noise words of a tile, an even number: a vector's worth.
pub(super) const NOISE: usize = 16;

/// Words beyond a batch's that are looked at for its neighbours, for each word of the window; more where these do not suffice.
const REACH: usize = 16;

/// A word that is always kept.
const ALWAYS: u32 = 1 << 31;

/// The words of a text and how they are drawn.
pub(super) struct Sampler {
    /// (V) Of each word, the number of 2^31 draws in which it is kept; 0 for what is no word.
    keep: Vec<u32>,
    /// The words that have a vector, row after row, and (V) the row of each.
    ids: Vec<u32>,
    rows: Vec<u32>,
    /// The end of a sentence.
    eos: Option<u32>,
    words: Words,
    window: usize,
    context: Context,
    shrinks: bool,
    /// How much an input counts against each noise word of its tile, for each word that it is compared with.
    share: f32,
    key: Key,
    /// How much of a step's gradients goes to the vector that gets the most, and in the mean over the words of the text.
    heaviest: f64,
    typical: f64,
    /// The loss of a prediction before anything was learned.
    first_loss: f64,
}

/// What words are predicted by.
pub(super) enum Words {
    /// Words that they are told from.
    Noise(Alias),
    /// A tree whose leaves they are.
    Tree(Huffman),
    /// A softmax over all.
    All,
}

/// A batch's part of the text, with what stands around it.
pub(super) struct Text {
    /// Which words of the text `tokens` are.
    pub(super) first: u64,
    pub(super) tokens: Vec<u32>,
    /// The pass.
    pub(super) epoch: u64,
    /// The words of a group.
    pub(super) group: usize,
}

/// What a group trains on.
#[derive(Default)]
pub(super) struct Sample {
    /// The rows of the words that were kept: some of the text before the group, its own and some of those after it.
    pub(super) words: Vec<u32>,
    /// Which of them are the group's own.
    pub(super) own: std::ops::Range<usize>,
    /// Of each of its own, the neighbours among `words`.
    pub(super) windows: Vec<Window>,
    /// Words of the text that the group has, known and kept or not.
    pub(super) read: u64,
    /// Rows of words that are none of the neighbours, tile after tile.
    pub(super) noise: Vec<u32>,
    /// Of each of its own, where its sentence begins and ends.
    sentences: Vec<(usize, usize)>,
}

impl Sampler {
    /// Draws of the words of `vocabulary` that come often enough.
    ///
    /// # Errors
    /// [`Error::Usage`] where no word does.
    pub(super) fn new(vocabulary: &Vocabulary, options: &TrainOptions) -> Result<Self> {
        let special = [vocabulary.unknown(), vocabulary.eos()];
        let ids = 0..vocabulary.len() as u32;
        let count = |id: u32| match vocabulary.count(id) {
            count if special.contains(&Some(id)) || count < options.min_count => 0,
            count => count,
        };
        let counts: Vec<u64> = ids.map(count).collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            let what = format!("no word of the text comes {} times", options.min_count);
            return Err(Error::option("--min-count", what).mend("give a longer text, or a smaller number"));
        }
        // word2vec's formula; see `train`.
        let limit = options.sample * total as f64;
        let keep = |&count: &u64| {
            let share = if limit > 0.0 { limit / count as f64 } else { 1.0 };
            let kept = (share.sqrt() + share).min(1.0);
            if count == 0 { 0 } else { ((kept * f64::from(ALWAYS)) as u32).max(1) }
        };
        let keep: Vec<u32> = counts.iter().map(keep).collect();
        // What is read of each word, kept, and its share of all that is.
        let read = |(&count, &keep): (&u64, &u32)| count as f64 * f64::from(keep) / f64::from(ALWAYS);
        let kept: f64 = counts.iter().zip(&keep).map(read).sum();
        let most = counts.iter().zip(&keep).map(read).fold(0.0, f64::max) / kept;
        let mean = counts.iter().zip(&keep).map(|word| (read(word) / kept).powi(2)).sum::<f64>();
        let noise = Alias::unigram(&counts, 0.75)?;
        let noisiest = (0..counts.len() as u32).map(|word| noise.probability(word)).fold(0.0, f64::max);
        let (mut ids, mut rows) = (Vec::new(), vec![0; counts.len()]);
        for id in (0..counts.len()).filter(|&id| keep[id] > 0) {
            rows[id] = ids.len() as u32;
            ids.push(id as u32);
        }
        let of_words: Vec<u64> = ids.iter().map(|&id| counts[id as usize]).collect();
        let words = match options.loss {
            Loss::Negative => Words::Noise(noise),
            Loss::Hierarchical => Words::Tree(Huffman::new(&of_words)?),
            Loss::Softmax => Words::All,
        };
        let (heaviest, typical, first_loss) = match &words {
            Words::Noise(_) => {
                let noise = options.negative as f64;
                (most + noise * noisiest, (1.0 + noise) * mean, (1.0 + noise) * LN_2)
            }
            // Every path begins at the root.
            Words::Tree(tree) => {
                let steps = |(row, &id): (u32, &u32)| {
                    tree.path(row).count() as f64 * read((&counts[id as usize], &keep[id as usize])) / kept
                };
                let steps: f64 = (0..).zip(&ids).map(steps).sum();
                (1.0, steps * mean, steps * LN_2)
            }
            // A word's gradients: once where it is predicted, and by its probability, which is its share, wherever one is.
            Words::All => (2.0 * most, 2.0 * mean, (ids.len() as f64).ln()),
        };
        Ok(Self {
            heaviest: heaviest * kept / total as f64,
            typical: typical * kept / total as f64,
            first_loss,
            eos: vocabulary.eos(),
            words,
            ids,
            rows,
            keep,
            window: options.window,
            context: options.context,
            shrinks: options.shrink_windows,
            share: options.negative as f32 / NOISE as f32,
            key: Key::new(options.seed, Purpose::Vectors),
        })
    }

    /// How much an input counts against each noise word of its tile, for each word that it is compared with.
    pub(super) fn share(&self) -> f32 {
        self.share
    }

    /// How many words have a vector.
    pub(super) fn words(&self) -> usize {
        self.ids.len()
    }

    /// The groups of a batch and the words of each: `batch` words, or fewer so that no vector moves too far by gradients that
    /// belong to where it was.
    ///
    /// A vector that takes part in n predictions of a batch moves by up to n times the rate. For the one that has the most, n times
    /// the rate may be 8, as its inputs differ. For that of a word of the text in the mean it may be 1: where few words are all that is
    /// read, all of them move together. Skip-gram on a newspaper's 1,500 words, all kept, grew without bound where that was 2.8, went
    /// astray and came back at 1.4, and did neither at 0.7; books at the defaults have 0.8.
    pub(super) fn groups(&self, batch: usize, rate: f64) -> (usize, usize) {
        const MOST: [f64; 2] = [8.0, 1.0];
        let each = rate * (self.window + 1) as f64;
        let words = |most: f64, share: f64| (most / (each * share)) as usize;
        let most = words(MOST[0], self.heaviest).max(GROUP).min(words(MOST[1], self.typical)).min(batch);
        match most / GROUP {
            0 => (1, (most / STEP * STEP).max(STEP)),
            groups => (groups, GROUP),
        }
    }

    /// The most rows of inputs and of outputs of a group of so many words; with a tree, about.
    pub(super) fn most_rows(&self, group: usize) -> [usize; 2] {
        let outputs = match &self.words {
            Words::Noise(_) => group + TILES * NOISE,
            Words::Tree(_) => group * (self.first_loss / LN_2).ceil() as usize,
            Words::All => 0,
        };
        [group + 2 * self.window, outputs]
    }

    /// The loss of a prediction by vectors that have learned nothing.
    pub(super) fn first_loss(&self) -> f64 {
        self.first_loss
    }

    /// What words are predicted by.
    pub(super) fn predicted_by(&self) -> &Words {
        &self.words
    }

    /// Words around a batch that are looked at first.
    pub(super) fn margin(&self) -> usize {
        (REACH * self.window).next_multiple_of(4)
    }

    /// The words that have a vector, row after row.
    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Whether all neighbours of the positions `range` stand in the text that is at hand, of `len` tokens in all.
    pub(super) fn has_neighbours(&self, text: &Text, range: std::ops::Range<u64>, len: u64) -> bool {
        let key = self.key.step(text.epoch);
        let at = |position: u64| text.tokens[(position - text.first) as usize];
        let last = text.first + text.tokens.len() as u64;
        let full = |places: &mut dyn Iterator<Item = u64>| {
            let mut kept = 0;
            for p in places {
                kept += usize::from(self.keeps(key, p, at(p)));
                if kept == self.window || Some(at(p)) == self.eos {
                    return true;
                }
            }
            false
        };
        let after = self.context == Context::Previous || last == len || full(&mut (range.end..last));
        after && (text.first == 0 || full(&mut (text.first..range.start).rev()))
            || !range.clone().any(|p| self.keeps(key, p, at(p)))
    }

    fn keeps(&self, key: Key, at: u64, word: u32) -> bool {
        let limit = self.keep[word as usize];
        limit == ALWAYS || limit > 0 && key.word(at) >> 1 < limit
    }

    /// What the group of the positions `range` trains on.
    pub(super) fn draw(&self, text: &Text, range: std::ops::Range<u64>, sample: &mut Sample) {
        let Sample { words, own, windows, read, noise, sentences } = sample;
        let key = self.key.step(text.epoch);
        let at = |position: u64| text.tokens[(position - text.first) as usize];
        let ends = |word: u32| Some(word) == self.eos;
        let row = |word: u32| self.rows[word as usize];
        words.clear();
        // Neighbours before the group, the nearest first.
        let before = (text.first..range.start).rev().map(|p| (p, at(p))).take_while(|&(_, word)| !ends(word));
        words.extend(before.filter(|&(p, word)| self.keeps(key, p, word)).map(|(_, word)| row(word)).take(self.window));
        words.reverse();
        own.start = words.len();
        sentences.clear();
        *read = range.end - range.start;
        let mut first = 0;
        for block in range.clone().step_by(4) {
            let draws = key.words_at(block / 4);
            for (p, draw) in (block..range.end).zip(draws) {
                let word = at(p);
                if ends(word) {
                    close(sentences, words.len());
                    first = words.len();
                    *read -= 1;
                } else if draw >> 1 < self.keep[word as usize] {
                    words.push(row(word));
                    sentences.push((first, usize::MAX));
                }
            }
        }
        own.end = words.len();
        if sentences.last().is_some_and(|sentence| sentence.1 == usize::MAX) {
            let last = text.first + text.tokens.len() as u64;
            let after = (range.end..last).map(|p| (p, at(p))).take_while(|&(_, word)| !ends(word));
            let window = if self.context == Context::Both { self.window } else { 0 };
            words.extend(after.filter(|&(p, word)| self.keeps(key, p, word)).map(|(_, word)| row(word)).take(window));
            close(sentences, words.len());
        }
        windows.clear();
        let widths = key.layer(1);
        for (block, sentences) in sentences.chunks(4).enumerate() {
            let draws = widths.words_at(range.start / 4 + block as u64);
            for (&(first, end), draw) in sentences.iter().zip(draws) {
                let own = own.start + windows.len();
                let drawn = 1 + ((u64::from(draw) * self.window as u64) >> 32) as usize;
                let width = if self.shrinks { drawn } else { self.window };
                let end = if self.context == Context::Both { end.min(own + 1 + width) } else { own + 1 };
                let window = [first.max(own.saturating_sub(width)), own, own + 1, end];
                let [first, own, after, end] = window.map(|i| i as u32);
                windows.push(Window { first, own, after, end });
            }
        }
        noise.clear();
        let Words::Noise(alias) = &self.words else { return };
        let (key, number) = (key.layer(2), range.start / text.group as u64);
        let blocks = (TILES * NOISE / 2) as u64;
        for block in 0..blocks {
            let [a, b, c, d] = key.words_at(number * blocks + block);
            noise.extend([(a, b), (c, d)].map(|(a, b)| row(alias.sample(u64::from(a) << 32 | u64::from(b)))));
        }
    }
}

#[cfg(test)]
impl Sampler {
    /// Whether the word at this place of the text is kept in this pass.
    pub(super) fn would_keep(&self, epoch: u64, at: u64, word: u32) -> bool {
        self.keeps(self.key.step(epoch), at, word)
    }
}

/// Ends the sentence that the last words belong to.
fn close(sentences: &mut [(usize, usize)], end: usize) {
    sentences.iter_mut().rev().take_while(|sentence| sentence.1 == usize::MAX).for_each(|sentence| sentence.1 = end);
}
