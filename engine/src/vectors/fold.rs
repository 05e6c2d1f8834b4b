//! Words in whichever case, for questions that others wrote.

use std::collections::HashMap;

use super::WordVectors;

/// The first words of a table, found in their own case or in any.
pub(super) struct Folded {
    fold: bool,
    first: HashMap<Vec<u8>, u32>,
    /// The row of the first word that differs from a row's in case alone.
    class: Vec<u32>,
}

impl Folded {
    /// Of the first `words` of a table; with `fold`, words that differ in case alone are the first of them.
    pub(super) fn new(vectors: &WordVectors, words: usize, fold: bool) -> Folded {
        let mut folded = Folded { fold, first: HashMap::new(), class: Vec::new() };
        for (row, word) in vectors.words().take(words).enumerate() {
            let word = folded.form(word);
            let class = *folded.first.entry(word).or_insert(row as u32);
            folded.class.push(class);
        }
        folded
    }

    /// Upper case, as gensim compares words. What is no UTF-8 has none.
    fn form(&self, word: &[u8]) -> Vec<u8> {
        match std::str::from_utf8(word) {
            Ok(text) if self.fold => text.to_uppercase().into_bytes(),
            _ => word.to_vec(),
        }
    }

    /// The row of a word.
    pub(super) fn find(&self, word: &str) -> Option<usize> {
        self.first.get(&self.form(word.as_bytes())).map(|&row| row as usize)
    }

    /// The row that stands for this row's word in any case.
    pub(super) fn class(&self, row: usize) -> usize {
        self.class[row] as usize
    }
}
