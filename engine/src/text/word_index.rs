//! Words by their frequency, as Keras' Tokenizer numbers them.
//!
//! Index 1 is the most frequent word of the texts that it was made from; words as frequent stand in the order in which
//! they came up first. 0 is padding. With `oov_token` that has index 1 and all others follow.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::prepare::{PrepareOptions, Side};

/// The token of padding.
pub const PADDING: u32 = 0;

/// The words of some texts and their indices.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<(String, u64)>", into = "Vec<(String, u64)>")]
pub struct WordIndex {
    /// Word `i` has index `i + 1`; with how often it was seen.
    words: Vec<(String, u64)>,
    index: HashMap<String, u32>,
}

impl From<Vec<(String, u64)>> for WordIndex {
    fn from(words: Vec<(String, u64)>) -> WordIndex {
        let index = words.iter().zip(1..).map(|((word, _), index)| (word.clone(), index)).collect();
        WordIndex { words, index }
    }
}

impl From<WordIndex> for Vec<(String, u64)> {
    fn from(index: WordIndex) -> Vec<(String, u64)> {
        index.words
    }
}

impl WordIndex {
    /// The index of the words of these texts.
    pub fn of_texts<'t>(texts: impl IntoIterator<Item = &'t str>, options: &PrepareOptions) -> WordIndex {
        let mut counted = Counted::default();
        texts.into_iter().for_each(|text| options.words(text, |word| counted.word(word)));
        counted.index(options.oov_token.as_deref())
    }

    /// The index of these words as they stand.
    pub fn of_words(words: impl IntoIterator<Item = impl AsRef<str>>) -> WordIndex {
        let mut counted = Counted::default();
        words.into_iter().for_each(|word| counted.word(word.as_ref()));
        counted.index(None)
    }

    /// Words, however rare.
    pub fn len(&self) -> usize {
        self.words.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
    /// Words from the most frequent on, with how often each was seen.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.words.iter().map(|(word, count)| (word.as_str(), *count))
    }

    /// Indices in use, 0 among them: rows of the embedding's table.
    pub fn vocabulary(&self, options: &PrepareOptions) -> usize {
        let all = self.words.len() + 1;
        if options.num_words == 0 { all } else { all.min(options.num_words) }
    }

    /// The indices of a text's words (Keras' `texts_to_sequences`).
    pub fn encode(&self, text: &str, options: &PrepareOptions) -> Vec<u32> {
        let mut indices = Vec::new();
        let below = if options.num_words == 0 { u32::MAX } else { options.num_words as u32 };
        let unknown = options.oov_token.as_ref().and_then(|oov| self.index.get(oov)).copied();
        options.words(text, |word| {
            let known = self.index.get(word).copied().filter(|&index| index < below);
            indices.extend(known.or(unknown));
        });
        indices
    }

    /// The index of one word as it stands.
    pub fn index_of(&self, word: &str) -> Option<u32> {
        self.index.get(word).copied()
    }

    /// The word of an index.
    pub fn word(&self, index: u32) -> Option<&str> {
        Some(&self.words.get((index as usize).checked_sub(1)?)?.0)
    }

    /// How often the word of an index was seen.
    pub fn count(&self, index: u32) -> Option<u64> {
        Some(self.words.get((index as usize).checked_sub(1)?)?.1)
    }
}

/// Words with how often they were seen, in the order in which they came up.
#[derive(Default)]
struct Counted {
    places: HashMap<String, usize>,
    words: Vec<(String, u64)>,
}

impl Counted {
    fn word(&mut self, word: &str) {
        match self.places.get(word) {
            Some(&place) => self.words[place].1 += 1,
            None => {
                self.places.insert(word.to_owned(), self.words.len());
                self.words.push((word.to_owned(), 1));
            }
        }
    }

    fn index(self, oov: Option<&str>) -> WordIndex {
        let mut words = self.words;
        // The sort is stable: words as frequent keep the order in which they came up.
        words.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        if let Some(oov) = oov {
            words.retain(|(word, _)| word != oov);
            words.insert(0, (oov.to_owned(), 0));
        }
        WordIndex::from(words)
    }
}

/// Cuts a text to `maxlen` words (Keras' `pad_sequences`).
pub fn truncate(tokens: &mut Vec<u32>, maxlen: usize, side: Side) {
    match side {
        _ if tokens.len() <= maxlen => {}
        Side::Pre => drop(tokens.drain(..tokens.len() - maxlen)),
        Side::Post => tokens.truncate(maxlen),
    }
}

/// The first place of a text of `len` words in `steps` places.
pub fn start(len: usize, steps: usize, side: Side) -> usize {
    match side {
        Side::Pre => steps - len,
        Side::Post => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [&str; 3] = ["The cat sat on the mat.", "The dog sat!", "a cat, a dog"];

    fn index(options: &PrepareOptions) -> WordIndex {
        WordIndex::of_texts(TEXTS, options)
    }

    #[test]
    fn words_are_numbered_by_frequency_then_by_first_appearance() {
        // tf.keras.preprocessing.text.Tokenizer().fit_on_texts(TEXTS); its word_index.
        let plain = PrepareOptions::default();
        let words: Vec<_> = index(&plain).iter().map(|(word, count)| format!("{word} {count}")).collect();
        assert_eq!(words, ["the 3", "cat 2", "sat 2", "dog 2", "a 2", "on 1", "mat 1"]);
        assert_eq!(index(&plain).encode("a dog and the mat", &plain), [5, 4, 1, 7]);
        assert_eq!(index(&plain).vocabulary(&plain), 8);
    }

    #[test]
    fn num_words_and_oov_token_are_those_of_keras() {
        let limited = PrepareOptions { num_words: 4, ..PrepareOptions::default() };
        assert_eq!(index(&limited).encode("the cat sat on the dog", &limited), [1, 2, 3, 1]);
        assert_eq!(index(&limited).vocabulary(&limited), 4);
        let oov = PrepareOptions { oov_token: Some("<OOV>".into()), ..limited };
        assert_eq!(index(&oov).encode("the cat sat on the dog", &oov), [2, 3, 1, 1, 2, 1]);
    }

    #[test]
    fn texts_are_cut_and_padded_on_either_side() {
        let cut = |side| {
            let mut tokens = vec![1, 2, 3, 4];
            truncate(&mut tokens, 3, side);
            tokens
        };
        assert_eq!((cut(Side::Pre), cut(Side::Post)), (vec![2, 3, 4], vec![1, 2, 3]));
        assert_eq!((start(2, 5, Side::Pre), start(2, 5, Side::Post)), (3, 0));
    }

    #[test]
    fn an_index_is_written_and_read_back() {
        let options = PrepareOptions { oov_token: Some("<OOV>".into()), ..PrepareOptions::default() };
        let made = index(&options);
        let read: WordIndex = serde_json::from_str(&serde_json::to_string(&made).unwrap()).unwrap();
        assert_eq!(read.encode(TEXTS[0], &options), made.encode(TEXTS[0], &options));
        assert_eq!(read.len(), made.len());
    }
}
