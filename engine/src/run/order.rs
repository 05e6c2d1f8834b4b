//! The order of a run's words by their use, where its head parts them by it: learned once from the text, then kept with
//! the run.
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
        return Err(Error::input(&path, format!("is larger than {most} bytes, so not an order of {words} words")));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::MemoryTokens;
    use crate::random::{Key, Purpose};
    use crate::text::{Level, TextOptions, Tokenizer};

    /// Words of which `4 g + i` comes after `4 g' + j` only where g follows g' in a ring of four groups.
    fn ring() -> Vec<u32> {
        (0..4000).map(|at| (4 * (at % 4) + Key::new(3, Purpose::Check).below(at, 4)) as u32).collect()
    }

    #[test]
    fn what_is_held_out_does_not_order_the_words() {
        let config: RunConfig = toml::from_str(
            "[model.head]\nkind = \"class_softmax\"\norder = \"context\"\n[train]\nbatch = 2\nsteps = 4\n[data]\nvalid_fraction = 0.4",
        )
        .unwrap();
        let options = TextOptions { eos: Some(false), unknown: Some(false), ..TextOptions::new(Level::Word) };
        let names: Vec<String> = ring().iter().map(|word| format!("w{word:02}")).collect();
        let tokenizer = Tokenizer::from_text(&names.join(" "), &options).unwrap();
        let tokens: Vec<u32> = names.iter().map(|name| tokenizer.vocabulary().id(name).unwrap()).collect();
        let texts = |tokens: Vec<u32>| Texts {
            train: Arc::new(MemoryTokens::new(tokens, 16).unwrap()),
            tokenizer: tokenizer.clone(),
            valid: None,
            test: None,
            entropy_rate: None,
        };
        let parts = texts(tokens.clone()).training_parts(&config).unwrap();
        let [first, second] = &parts[..] else { panic!("{parts:?}") };
        let mut other = tokens.clone();
        other[first.end as usize..second.start as usize].sort_unstable();
        other[second.end as usize..].sort_unstable();
        let learned = |tokens: &[u32]| learn_order(&config, &texts(tokens.to_vec())).unwrap().unwrap();
        assert_eq!(learned(&tokens), learned(&other));
        // The first part of the whole text would tell them apart.
        let tree = Huffman::new(&[1; 16]).unwrap();
        let whole = |tokens: &[u32]| alike::order(&Bigrams::count(16, &tokens[..2400]), &tree);
        assert_ne!(whole(&tokens), whole(&other));
    }
}
