//! What turns labelled texts, and later prompts, into tokens: the classes and the words of the training samples.
//!
//! A text to classify becomes its words ([`WordIndex`]). A sentence to tag becomes, for each word, its unchanged
//! characters followed by the prepared word itself, whose target is the tag. So one sequence of tokens carries both,
//! with one table of vectors:
//!
//! ```text
//! 0           padding
//! 1 ..= W     words, the most frequent first
//! W + 1       a word that is not known
//! W + 2       a character that is not known
//! W + 3 ..    characters, in the order of Unicode
//! ```
//!
//! A text whose own words are the targets becomes its words too. To learn the next word, it gives a sample for each of
//! its prefixes; a caption or a translation is enclosed by two further tokens, its start and its end, numbered after
//! the words.

mod learned;
mod samples;
mod stored;

pub use samples::{LeftOut, Sample, Samples};

use serde::{Deserialize, Serialize};

use crate::config::TaskKind;
use crate::labels::content::Form;
use crate::text::{PrepareOptions, WordIndex, truncate};

/// The file of a run that keeps its encoder.
pub const TASK: &str = "task.json";

/// The format that this version writes and reads.
const FORMAT: u32 = 1;

/// What the samples of arrays are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arrays {
    /// Token ids are less than this; 0: the samples are numbers.
    vocabulary: usize,
    /// Steps of the numbers of a sample; 0: they are one vector.
    steps: usize,
}

/// What one output of a model is learned from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// What the configuration calls it, where it names several.
    pub name: String,
    /// The classes in their order; none where the labels are numbers, or words of the texts.
    pub classes: Vec<String>,
}

/// Stands for a step of numbers, which has no token.
const STEP: u32 = 1;

/// The classes and words of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoder {
    format: u32,
    kind: TaskKind,
    #[serde(rename = "classes", default = "stored::one", skip_serializing_if = "stored::is_plain", with = "stored")]
    outputs: Vec<Labels>,
    /// Whether the labels of the one output are numbers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    numbers: bool,
    words: WordIndex,
    /// Words of the longest training text, or of the longest that is let be; 0 of sentences.
    #[serde(default)]
    longest: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    characters: Vec<char>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arrays: Option<Arrays>,
    /// The words of the texts that are read before others are written, and those of the longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<(WordIndex, usize)>,
    /// Of each output whose targets are classes or words, how often each comes among the training samples; empty of numbers, and in runs
    /// that were begun before this was kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    counts: Vec<Vec<u64>>,
    /// Those of the configuration, which the run keeps too.
    #[serde(skip)]
    prepare: PrepareOptions,
}

impl Encoder {
    /// What is predicted.
    pub fn kind(&self) -> TaskKind {
        self.kind
    }
    /// The classes of the first output in their order.
    pub fn classes(&self) -> &[String] {
        &self.outputs[0].classes
    }
    /// The words of the training samples.
    pub fn words(&self) -> &WordIndex {
        &self.words
    }
    /// How texts are prepared.
    pub fn prepare(&self) -> &PrepareOptions {
        &self.prepare
    }

    /// Whether the samples are rows of arrays, and no texts.
    pub fn is_of_arrays(&self) -> bool {
        self.arrays.is_some()
    }

    /// Whether samples have tokens; else they are numbers alone.
    pub fn has_tokens(&self) -> bool {
        self.arrays.is_none_or(|arrays| arrays.vocabulary > 0)
    }

    /// What the samples of the training were.
    pub(super) fn form(&self) -> Form {
        match self.arrays {
            None => Form::Texts,
            Some(Arrays { vocabulary: 1.., .. }) => Form::Ids,
            Some(Arrays { steps: 0, .. }) => Form::Vectors,
            Some(_) => Form::Steps,
        }
    }

    /// Steps of the numbers of a sample; 0 where they are one vector or there are none.
    pub fn vector_steps(&self) -> usize {
        self.arrays.map_or(0, |arrays| arrays.steps)
    }

    /// The tokens of a row of an array: its ids, cut as the configuration says, or what stands for its steps.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn array(&self, tokens: &[u32], steps: usize) -> Result<Vec<u32>, String> {
        let Some(arrays) = self.arrays else { return Err("the run learned from texts, not from arrays".to_owned()) };
        if arrays.vocabulary == 0 {
            return match steps == arrays.steps {
                true => Ok(vec![STEP; steps]),
                false => Err(format!("the numbers have {steps} steps, those of the training have {}", arrays.steps)),
            };
        }
        if let Some(id) = tokens.iter().find(|&&id| id as usize >= arrays.vocabulary) {
            return Err(format!("the token id {id} is out of range: the model's ids are below {}", arrays.vocabulary));
        }
        let mut tokens = tokens.to_vec();
        if self.longest > 0 {
            truncate(&mut tokens, self.longest, self.prepare.truncating);
        }
        Ok(tokens)
    }

    /// Tokens: rows of the embedding's table.
    pub fn vocabulary(&self) -> usize {
        if let Some(arrays) = self.arrays {
            return arrays.vocabulary.max(1);
        }
        match self.kind {
            TaskKind::Classify | TaskKind::Next => self.words.vocabulary(&self.prepare),
            TaskKind::Caption | TaskKind::Translate => self.words.vocabulary(&self.prepare) + 2,
            TaskKind::Tag => self.words.len() + 3 + self.characters.len(),
        }
    }

    /// Tokens of the texts that are read before others are written; those of the text where there are none.
    pub fn source_vocabulary(&self) -> usize {
        self.source.as_ref().map_or_else(|| self.vocabulary(), |(words, _)| words.vocabulary(&self.prepare))
    }

    /// Tokens of the longest text that is read before another is written; 0 where none is.
    pub fn longest_source(&self) -> usize {
        self.source.as_ref().map_or(0, |(_, longest)| *longest)
    }

    /// The tokens of a text that is read before another is written, cut as the configuration says.
    pub fn source(&self, text: &str) -> Vec<u32> {
        let Some((words, _)) = &self.source else { return Vec::new() };
        let mut tokens = words.encode(text, &self.prepare);
        if self.prepare.maxlen > 0 {
            truncate(&mut tokens, self.prepare.maxlen, self.prepare.truncating);
        }
        tokens
    }

    /// What each output is learned from.
    pub fn outputs(&self) -> &[Labels] {
        &self.outputs
    }

    /// Whether the labels of an output are numbers.
    pub fn is_number(&self, output: usize) -> bool {
        let named = self.outputs.len() > 1 && self.outputs[output].classes.is_empty();
        self.numbers || named
    }

    /// What a target of each output may be: less than this; 1 of numbers.
    pub fn all_targets(&self) -> Vec<usize> {
        let of = |o: usize| if self.is_number(o) { 1 } else { self.outputs[o].classes.len() };
        if self.kind.has_labels() { (0..self.outputs.len()).map(of).collect() } else { vec![self.vocabulary()] }
    }

    /// How often each target of an output comes among the training samples, where that is known.
    pub fn counts(&self, output: usize) -> Option<&[u64]> {
        self.counts.get(output).map(Vec::as_slice).filter(|counts| counts.len() == self.all_targets()[output])
    }

    /// What a target of the first output may be: less than this.
    pub fn targets(&self) -> usize {
        self.all_targets()[0]
    }

    /// What a target is called: a class or a word; nothing for padding, and for the tokens around a caption.
    pub fn name(&self, target: u32) -> &str {
        let class = self.classes().get(target as usize).map(String::as_str);
        class.or_else(|| self.words.word(target)).unwrap_or_default()
    }

    /// Tokens of the longest sample that is trained on: every text is cut to so many. 0 of sentences, which are never cut.
    pub fn longest(&self) -> usize {
        match self.kind {
            TaskKind::Classify | TaskKind::Tag => self.longest,
            // The last word is a target alone.
            TaskKind::Next => self.longest.saturating_sub(1),
            // The start stands before the first.
            TaskKind::Caption | TaskKind::Translate => self.longest + 1,
        }
    }

    /// The tokens before and behind a caption.
    pub fn start_and_end(&self) -> (u32, u32) {
        let words = self.words.vocabulary(&self.prepare) as u32;
        (words, words + 1)
    }

    /// The tokens of a text, cut as the configuration says.
    pub fn text(&self, text: &str) -> Vec<u32> {
        let mut tokens = self.words.encode(text, &self.prepare);
        if self.longest > 0 {
            truncate(&mut tokens, self.longest, self.prepare.truncating);
        }
        tokens
    }

    /// Words among the tokens of a text: all but those that stand for unknown ones.
    pub fn known_words(&self, tokens: &[u32]) -> usize {
        let unknown = self.prepare.oov_token.as_ref().and_then(|oov| self.words.index_of(oov));
        tokens.iter().filter(|token| Some(**token) != unknown).count()
    }

    /// The first word of a text that the model does not know and would leave out.
    pub fn unknown(&self, text: &str) -> Option<String> {
        if self.prepare.oov_token.is_some() {
            return None;
        }
        let mut unknown = None;
        let vocabulary = self.vocabulary() as u32;
        self.prepare.words(text, |word| {
            if unknown.is_none() && self.words.index_of(word).is_none_or(|index| index >= vocabulary) {
                unknown = Some(word.to_owned());
            }
        });
        unknown
    }

    /// The tokens of a sentence: of each word its characters, then itself.
    pub fn sentence<'w>(&self, words: impl IntoIterator<Item = &'w str>) -> Vec<u32> {
        let mut tokens = Vec::new();
        let first = self.unknown_word() + 2;
        for word in words {
            tokens.extend(word.chars().map(|c| match self.characters.binary_search(&c) {
                Ok(place) => first + place as u32,
                Err(_) => first - 1,
            }));
            tokens.push(self.words.index_of(&self.prepare.clean(word)).unwrap_or(self.unknown_word()));
        }
        tokens
    }

    fn unknown_word(&self) -> u32 {
        self.words.len() as u32 + 1
    }

    /// Whether a token of a sentence is a word, and not a character of one.
    pub fn is_word(&self, token: u32) -> bool {
        let last = if self.arrays.is_some() { u32::MAX } else { self.unknown_word() };
        self.kind == TaskKind::Tag && (1..=last).contains(&token)
    }

    /// Whether a token of a sentence stands for a word that no training sample has.
    pub fn is_unknown(&self, token: u32) -> bool {
        self.kind == TaskKind::Tag && self.arrays.is_none() && token == self.unknown_word()
    }

    /// What hides a word of a sentence in training, and how often the word was seen.
    pub(super) fn hidden(&self, token: u32) -> Option<(u32, u64)> {
        let count = self.words.count(token).filter(|_| self.kind == TaskKind::Tag)?;
        Some((self.unknown_word(), count))
    }
}
