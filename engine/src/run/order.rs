//! The order of a run's words by their use, where its head parts them by it: learned once from the text, then kept with the run.
//!
//! ```text
//! RUN/words-alike      one line a word: its number in the vocabulary; words that are used alike stand together
//! ```

use super::Texts;
use crate::config::RunConfig;
use crate::error::{At, Error, Result};
use crate::graph::WordOrder;
use crate::huffman::Huffman;
use crate::text::alike::{self, Bigrams};
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// The file.
pub const WORDS_ALIKE: &str = "words-alike";

/// The most tokens of a text that are read for it.
const MOST: u64 = 1 << 25;

/// Whether the head of a language model asks for an order of the words by their use.
pub(super) fn needs_order(config: &RunConfig) -> bool {
    config.model.head().order == Some(WordOrder::Context)
}

/// The order that the head of a language model over this text asks for, if it asks for one. What is held out is not looked at.
///
/// # Errors
/// As [`Texts::training_parts`] and [`crate::corpus::TokenSource::read`].
pub fn learn_order(config: &RunConfig, texts: &Texts) -> Result<Option<Arc<[u32]>>> {
    if !needs_order(config) {
        return Ok(None);
    }
    let (mut left, mut parts) = (MOST, Vec::new());
    for range in texts.training_parts(config)? {
        let mut part = vec![0; (range.end - range.start).min(left) as usize];
        texts.train.read(range.start, &mut part)?;
        left -= part.len() as u64;
        parts.push(part);
    }
    let vocabulary = texts.tokenizer.vocabulary();
    let counts: Vec<u64> = vocabulary.iter().map(|(_, count)| count.max(1)).collect();
    let bigrams = Bigrams::of_parts(counts.len(), parts.iter().map(Vec::as_slice));
    Ok(Some(alike::order(&bigrams, &Huffman::new(&counts)?).into()))
}

/// The order in a run of so many words, if its head asks for one.
///
/// # Errors
/// [`Error::Input`] if the file is missing or has not each word once.
pub(super) fn read_order(config: &RunConfig, run: &Path, words: usize) -> Result<Option<Arc<[u32]>>> {
    if !needs_order(config) {
        return Ok(None);
    }
    let path = run.join(WORDS_ALIKE);
    // A line a word, of at most ten digits.
    let (most, mut text) = (12 * words as u64, String::new());
    let file = File::open(&path).map_err(|error| Error::read(&path, error))?;
    file.take(most + 1).read_to_string(&mut text).map_err(|error| Error::read(&path, error))?;
    if text.len() as u64 > most {
        return Err(Error::input(&path, format!("is larger than {most} bytes, so no order of {words} words")));
    }
    let mut seen = vec![false; words];
    let mut order = Vec::with_capacity(words);
    for (i, line) in text.lines().enumerate() {
        let word = line.parse::<u32>().ok();
        let fresh =
            word.and_then(|word| seen.get_mut(word as usize)).is_some_and(|seen| !std::mem::replace(seen, true));
        let Some(word) = word.filter(|_| fresh) else {
            let what = format!("`{line}` is not the number of one of the {words} words that has not stood here yet");
            return Err(Error::input_at(&path, At::Line(i as u64 + 1), what));
        };
        order.push(word);
    }
    if order.len() != words {
        return Err(Error::input(&path, format!("has {} of the {words} words", order.len())));
    }
    Ok(Some(order.into()))
}

/// What the file holds.
pub fn order_file(order: &[u32]) -> String {
    let mut text = String::with_capacity(6 * order.len());
    order.iter().for_each(|word| _ = writeln!(text, "{word}")); // Writing to a string cannot fail.
    text
}
