//! An order of the words in which those that are used alike are neighbours.
//!
//! A head that partitions the words decides between groups of them, and learns more from a decision if the words of a
//! group follow the same words. All words are split in two so that the side of a word says as much as possible about
//! the word before it; then each side is split again, down to single words:
//!
//! ```text
//! maximise  sum over words v before, sides s:  N(v, s) ln N(v, s)   -   sum over s:  N(s) ln N(s)
//! ```
//!
//! which is the log-likelihood of the decisions given the word before, up to a constant. Words are placed one by one,
//! the most frequent first, then exchanged as long as that helps. Each split gives either side room for half of
//! Huffman's tree: with l(w) the depth of w in that tree, both sides have the same sum of 2^-l(w). So the splits form a
//! tree as short as Huffman's, and the order of the words together with their l describes it completely. The result
//! depends on the counts alone.
//!
//! Sources: P. Brown et al., "Class-based n-gram models of natural language", 1992; the criterion that looks at the
//! class of the following word only: J. Uszkoreit and T. Brants, "Distributed word clustering for large scale
//! class-based language modeling", 2008; a tree of such cuts for a hierarchical softmax: A. Mnih and G. Hinton, "A
//! scalable hierarchical distributed language model", 2008. Giving each side room is ours.

use crate::huffman::Huffman;
use rayon::slice::ParallelSliceMut;

/// Passes over the words of a cut at most.
const PASSES: usize = 10;
/// Numbers whose x ln x is looked up.
const TABLE: usize = 1 << 14;

/// Which words come before each word, and how often.
#[derive(Debug, Default)]
pub struct Bigrams {
    /// Where the list of each word begins, and the last ends (V + 1).
    starts: Vec<usize>,
    before: Vec<(u32, u32)>,
}

impl Bigrams {
    /// Of a text of the words `0..words`.
    ///
    /// # Panics
    ///
    /// When the text has another word.
    pub fn count(words: usize, text: &[u32]) -> Self {
        Self::of_parts(words, [text])
    }

    /// Of parts of a text, which do not follow one another.
    ///
    /// # Panics
    ///
    /// As [`count`](Self::count).
    pub fn of_parts<'a>(words: usize, parts: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let pair = |pair: &[u32]| u64::from(pair[1]) << 32 | u64::from(pair[0]);
        let mut pairs: Vec<u64> = parts.into_iter().flat_map(|part| part.windows(2).map(pair)).collect();
        pairs.par_sort_unstable();
        let mut bigrams = Self { starts: vec![0; words + 1], before: Vec::new() };
        for same in pairs.chunk_by(|a, b| a == b) {
            bigrams.before.push((same[0] as u32, same.len() as u32));
            bigrams.starts[(same[0] >> 32) as usize + 1] += 1;
        }
        for word in 0..words {
            bigrams.starts[word + 1] += bigrams.starts[word];
        }
        bigrams
    }

    fn words(&self) -> usize {
        self.starts.len() - 1
    }

    fn of(&self, word: u32) -> &[(u32, u32)] {
        &self.before[self.starts[word as usize]..self.starts[word as usize + 1]]
    }

    /// How often a word comes.
    fn times(&self, word: u32) -> u64 {
        self.of(word).iter().map(|&(_, n)| u64::from(n)).sum()
    }
}

/// All words, those that are used alike together: as they stand from the first side to the second of a tree that is as short as
/// `tree`.
///
/// ```
/// use unroll::huffman::Huffman;
/// use unroll::text::alike::{Bigrams, order};
/// // 0 and 1 come after 4, 2 and 3 after 5.
/// let text = [4, 0, 5, 2, 4, 1, 5, 3, 4, 0, 5, 3, 4, 1, 5, 2];
/// let words = order(&Bigrams::count(6, &text), &Huffman::new(&[2, 2, 2, 2, 4, 4])?);
/// let place = |word| words.iter().position(|&w| w == word).unwrap_or_default();
/// assert_eq!(place(0).abs_diff(place(1)), 1);
/// assert_eq!(place(2).abs_diff(place(3)), 1);
/// # Ok::<(), unroll::Error>(())
/// ```
///
/// # Panics
///
/// When the tree has another number of words.
pub fn order(bigrams: &Bigrams, tree: &Huffman) -> Vec<u32> {
    assert_eq!(bigrams.words(), tree.words(), "words of the tree");
    let mut cut = Cut::new(bigrams, tree);
    let mut words: Vec<u32> = (0..bigrams.words() as u32).collect();
    words.sort_by_key(|&word| (cut.steps[word as usize], std::cmp::Reverse(cut.times[word as usize])));
    let mut rest = vec![(0..words.len(), 0)];
    while let Some((range, depth)) = rest.pop() {
        if range.len() > 1 {
            let middle = range.start + cut.in_two(&mut words[range.clone()], depth);
            rest.extend([(range.start..middle, depth + 1), (middle..range.end, depth + 1)]);
        }
    }
    words
}

/// A cut of some words in two.
struct Cut<'a> {
    bigrams: &'a Bigrams,
    /// Of each word, how often it comes after another, and its steps from the tree's root.
    times: Vec<u64>,
    steps: Vec<u32>,
    /// Of each word before, how often it comes before each side; and of both sides, how often they come.
    before: Vec<[u64; 2]>,
    sides: [u64; 2],
    table: Vec<f64>,
}

impl<'a> Cut<'a> {
    fn new(bigrams: &'a Bigrams, tree: &Huffman) -> Self {
        let words = 0..bigrams.words() as u32;
        let table = (0..TABLE).map(|x| if x == 0 { 0.0 } else { x as f64 * (x as f64).ln() }).collect();
        Self {
            bigrams,
            times: words.clone().map(|word| bigrams.times(word)).collect(),
            steps: words.map(|word| tree.path(word).count() as u32).collect(),
            before: vec![[0; 2]; bigrams.words()],
            sides: [0; 2],
            table,
        }
    }

    /// x ln x
    fn x_ln_x(&self, x: u64) -> f64 {
        self.table.get(x as usize).copied().unwrap_or_else(|| x as f64 * (x as f64).ln())
    }

    /// What it gains to put a word that is on neither side there.
    fn gain(&self, word: u32, side: usize) -> f64 {
        let more = |x: u64, n: u64| self.x_ln_x(x + n) - self.x_ln_x(x);
        let of_words = self.bigrams.of(word).iter();
        let sum: f64 = of_words.map(|&(v, n)| more(self.before[v as usize][side], u64::from(n))).sum();
        sum - more(self.sides[side], self.times[word as usize])
    }

    fn put(&mut self, word: u32, side: usize) {
        let bigrams = self.bigrams;
        bigrams.of(word).iter().for_each(|&(v, n)| self.before[v as usize][side] += u64::from(n));
        self.sides[side] += self.times[word as usize];
    }

    fn take(&mut self, word: u32, side: usize) {
        let bigrams = self.bigrams;
        bigrams.of(word).iter().for_each(|&(v, n)| self.before[v as usize][side] -= u64::from(n));
        self.sides[side] -= self.times[word as usize];
    }

    /// Sorts the words below a node this far from the root, those with fewer steps first, into two sides that keep this order;
    /// returns the size of the first.
    fn in_two(&mut self, words: &mut [u32], depth: u32) -> usize {
        // In parts of 2^-127: a tree over counts of 64 bits has fewer steps.
        let mut room = [1u128 << (126 - depth); 2];
        let mut side: Vec<usize> = Vec::with_capacity(words.len());
        for &word in &*words {
            let size = 1u128 << (127 - self.steps[word as usize]);
            let wanted = usize::from(self.gain(word, 1) > self.gain(word, 0));
            // Sizes fall by powers of two, so that one side has room in any case.
            let own = if room[wanted] >= size { wanted } else { 1 - wanted };
            room[own] -= size;
            self.put(word, own);
            side.push(own);
        }
        for _ in 0..PASSES {
            let (mut exchanged, mut start) = (0, 0);
            while start < words.len() {
                let steps = self.steps[words[start] as usize];
                let end = start + words[start..].partition_point(|&word| self.steps[word as usize] == steps);
                exchanged += self.exchange(&words[start..end], &mut side[start..end]);
                start = end;
            }
            if exchanged * 1000 < words.len() {
                break;
            }
        }
        words.iter().zip(&side).for_each(|(&word, &side)| self.take(word, side));
        let (first, second): (Vec<_>, Vec<_>) = words.iter().zip(&side).partition(|&(_, &side)| side == 0);
        let middle = first.len();
        let sorted: Vec<u32> = first.into_iter().chain(second).map(|(&word, _)| word).collect();
        words.copy_from_slice(&sorted);
        middle
    }

    /// Exchanges words that are as far from the root where that gains; returns how many pairs.
    fn exchange(&mut self, words: &[u32], side: &mut [usize]) -> usize {
        let mut wishes: [Vec<(f64, usize)>; 2] = Default::default();
        for (i, (&word, &own)) in words.iter().zip(&*side).enumerate() {
            self.take(word, own);
            wishes[own].push((self.gain(word, 1 - own) - self.gain(word, own), i));
            self.put(word, own);
        }
        wishes.iter_mut().for_each(|wishes| wishes.sort_by(|a, b| b.0.total_cmp(&a.0)));
        let mut exchanged = 0;
        for (&(gain, i), &(other, j)) in wishes[0].iter().zip(&wishes[1]) {
            if gain + other <= 0.0 {
                break;
            }
            // What each gains alone is not what both gain, and others have moved since.
            let [a, b] = [words[i], words[j]];
            self.take(a, 0);
            self.take(b, 1);
            let [stay, go] = [[0, 1], [1, 0]].map(|[of_a, of_b]| {
                let first = self.gain(a, of_a);
                self.put(a, of_a);
                let both = first + self.gain(b, of_b);
                self.take(a, of_a);
                both
            });
            let goes = go > stay + 1e-9;
            (side[i], side[j]) = if goes { (1, 0) } else { (0, 1) };
            self.put(a, side[i]);
            self.put(b, side[j]);
            exchanged += usize::from(goes);
        }
        exchanged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A text in which word `4 g + i` comes after word `4 g' + j` only where g follows g' in a ring of `groups`.
    fn ring(groups: u64, length: u64) -> Vec<u32> {
        let key = crate::random::Key::new(3, crate::random::Purpose::Check);
        (0..length).map(|at| (4 * (at % groups) + key.below(at, 4)) as u32).collect()
    }

    fn tree(words: usize, text: &[u32]) -> Huffman {
        let mut counts = vec![0; words];
        text.iter().for_each(|&word| counts[word as usize] += 1);
        Huffman::new(&counts).unwrap()
    }

    #[test]
    fn words_that_come_after_the_same_words_stand_together() {
        // As many groups as a tree of equal ways has.
        for groups in [2, 4, 16, 64] {
            let (text, words) = (ring(groups, 64 * groups), 4 * groups as usize);
            let equal = Huffman::new(&vec![1; words]).unwrap();
            let sorted = order(&Bigrams::count(words, &text), &equal);
            let whole = sorted.chunks(4).filter(|group| group.iter().all(|word| word / 4 == group[0] / 4)).count();
            // An exchange of pairs may end before the best cut; one group in ten may be torn.
            assert!(whole * 10 >= 9 * groups as usize, "{whole} of {groups} groups: {sorted:?}");
        }
    }

    proptest! {
        #[test]
        fn every_word_stands_once_and_the_gain_is_that_of_the_likelihood(
            text in prop::collection::vec(0u32..30, 0..300),
        ) {
            let (bigrams, tree) = (Bigrams::count(30, &text), tree(30, &text));
            let mut sorted = order(&bigrams, &tree);
            sorted.sort_unstable();
            prop_assert!(sorted.into_iter().eq(0..30));
            // Gains of putting words one after the other add up to the criterion.
            let mut cut = Cut::new(&bigrams, &tree);
            let mut sum = 0.0;
            for word in 0..30 {
                sum += cut.gain(word, usize::from(word % 3 == 0));
                cut.put(word, usize::from(word % 3 == 0));
            }
            let mut counts = [[0.0f64; 2]; 30];
            text.windows(2).for_each(|pair| counts[pair[0] as usize][usize::from(pair[1] % 3 == 0)] += 1.0);
            let term = |x: f64| if x > 0.0 { x * x.ln() } else { 0.0 };
            let sides = [0, 1].map(|side| counts.iter().map(|of| of[side]).sum::<f64>());
            let want = counts.iter().flatten().map(|&x| term(x)).sum::<f64>() - term(sides[0]) - term(sides[1]);
            prop_assert!((sum - want).abs() < 1e-9 * want.abs().max(1.0), "{} {}", sum, want);
        }
    }
}
