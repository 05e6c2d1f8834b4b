//! Counts of word sequences, as a trie whose levels are sorted arrays.
//!
//! Level k holds every different sequence of k words that the text has, in the order of the words' numbers, with its
//! count; the sequences that go on from one stand together in the next level. A sequence is found by one binary search
//! a level.

use std::ops::Range;

/// One length of sequences.
#[derive(Clone, Debug, Default)]
pub(super) struct Level {
    /// The last word of each.
    pub(super) words: Vec<u32>,
    pub(super) counts: Vec<u64>,
    /// Where those that go on from each begin in the next level, and the end of the last; empty in the last level.
    pub(super) next: Vec<usize>,
}

/// The counts of all sequences of up to `order` words.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    pub(super) vocabulary: usize,
    /// Words of the text.
    pub(super) total: u64,
    /// Of length 1, 2, ...
    pub(super) levels: Vec<Level>,
}

impl Counts {
    /// Of a text whose words are below `vocabulary`.
    pub(super) fn of(tokens: &[u32], order: usize, vocabulary: usize) -> Self {
        let sequence = |&at: &usize| &tokens[at..tokens.len().min(at + order)];
        let mut starts: Vec<usize> = (0..tokens.len()).collect();
        starts.sort_unstable_by(|a, b| sequence(a).cmp(sequence(b)));
        let mut levels = vec![Level::default(); order];
        let mut before: &[u32] = &[];
        for start in &starts {
            let now = sequence(start);
            let same = before.iter().zip(now).take_while(|(a, b)| a == b).count();
            for (k, level) in levels.iter_mut().enumerate().take(now.len()) {
                if k >= same {
                    level.words.push(now[k]);
                    level.counts.push(0);
                    level.next.push(0);
                }
                if let Some(count) = level.counts.last_mut() {
                    *count += 1;
                }
            }
            // Where the sequences that go on from the last of each level end, as far as they have come.
            for k in 1..order {
                let end = levels[k].words.len();
                if let Some(next) = levels[k - 1].next.last_mut() {
                    *next = end;
                }
            }
            before = now;
        }
        for level in &mut levels[..order - 1] {
            level.next.insert(0, 0);
        }
        levels[order - 1].next.clear();
        Self { vocabulary, total: tokens.len() as u64, levels }
    }

    /// The sequences that go on from a context, in the level of its length (0: single words); `None` if it does not stand in the
    /// text or nothing goes on from it.
    pub(super) fn after(&self, context: &[u32]) -> Option<Range<usize>> {
        let mut range = 0..self.levels[0].words.len();
        for (level, &word) in self.levels.iter().zip(context) {
            let at = find(level, range, word)?;
            range = level.next[at]..level.next[at + 1];
        }
        (!range.is_empty()).then_some(range)
    }

    /// The place of a sequence in the level of its length, if it stands in the text.
    pub(super) fn find(&self, context: &[u32], word: u32) -> Option<usize> {
        find(&self.levels[context.len()], self.after(context)?, word)
    }

    /// How often a context is followed by anything.
    pub(super) fn followed(&self, context: &[u32]) -> u64 {
        self.after(context).map_or(0, |range| self.levels[context.len()].counts[range].iter().sum())
    }

    /// Calls `body` with every sequence of `length` words and its place in the level.
    pub(super) fn for_each(&self, length: usize, mut body: impl FnMut(&[u32], usize)) {
        let mut words = vec![0; length];
        self.walk(&mut words, 0, 0..self.levels[0].words.len(), &mut body);
    }

    fn walk(&self, words: &mut [u32], k: usize, range: Range<usize>, body: &mut impl FnMut(&[u32], usize)) {
        let level = &self.levels[k];
        for at in range {
            words[k] = level.words[at];
            if k + 1 == words.len() {
                body(words, at);
            } else {
                self.walk(words, k + 1, level.next[at]..level.next[at + 1], body);
            }
        }
    }
}

/// The place of a word in part of a level.
fn find(level: &Level, range: Range<usize>, word: u32) -> Option<usize> {
    let start = range.start;
    level.words[range].binary_search(&word).ok().map(|at| start + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Key, Purpose};
    use std::collections::BTreeMap;

    #[test]
    fn every_sequence_is_counted_as_often_as_it_stands_in_the_text() {
        let key = Key::new(5, Purpose::Source);
        for (len, vocabulary, order) in [(300, 7, 3), (50, 3, 4), (2, 2, 3), (1, 1, 2), (0, 4, 2), (40, 5, 1)] {
            let tokens: Vec<u32> = (0..len).map(|i| key.word(i) % vocabulary).collect();
            let counts = Counts::of(&tokens, order, vocabulary as usize);
            for length in 1..=order {
                let mut want = BTreeMap::new();
                tokens.windows(length).for_each(|words| *want.entry(words.to_vec()).or_insert(0u64) += 1);
                let mut found = BTreeMap::new();
                counts.for_each(length, |words, at| {
                    assert_eq!(counts.find(&words[..length - 1], words[length - 1]), Some(at));
                    found.insert(words.to_vec(), counts.levels[length - 1].counts[at]);
                });
                assert_eq!(found, want, "{len} words, length {length}");
                if length > 1 {
                    for context in tokens.windows(length - 1) {
                        let all =
                            want.iter().filter(|(words, _)| words.starts_with(context)).map(|(_, n)| n).sum::<u64>();
                        assert_eq!(counts.followed(context), all);
                    }
                }
            }
            assert_eq!(counts.find(&[], vocabulary), None);
        }
    }
}
