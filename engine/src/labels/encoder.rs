//! What turns labelled texts, and later prompts, into tokens: the classes and the words of the training samples.
//!
//! A text of one class is its words ([`WordIndex`]). A sentence that is tagged is, for each word, the word's characters as they
//! stand and then the word itself, prepared; the tag is the target of the latter. So one sequence of tokens carries both, in one
//! table of vectors:
//!
//! ```text
//! 0           padding
//! 1 ..= W     words, the most frequent first
//! W + 1       a word that is not known
//! W + 2       a character that is not known
//! W + 3 ..    characters, in the order of Unicode
//! ```

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::config::{TaskConfig, TaskKind};
use crate::corpus::IGNORE;
use crate::error::{Error, Result};
use crate::text::{PrepareOptions, WordIndex, truncate};

use super::{Content, Record, Records};

/// The file of a run that keeps its encoder.
pub const TASK: &str = "task.json";

/// The format that this version writes and reads.
const FORMAT: u32 = 1;

/// A labelled sample in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Its class alone, or a target a token, [`IGNORE`] where none is scored.
    pub targets: Vec<u32>,
}

/// The classes and words of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoder {
    format: u32,
    kind: TaskKind,
    classes: Vec<String>,
    words: WordIndex,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    characters: Vec<char>,
    /// Those of the configuration, which the run keeps too.
    #[serde(skip)]
    prepare: PrepareOptions,
}

impl Encoder {
    /// The encoder of these training samples. `records` are all samples that classes are looked for in, `train` says of each
    /// whether its words are taken.
    ///
    /// # Errors
    /// [`Error::Usage`] where there are fewer than two classes or no words; [`Error::Input`] with file and line where a label is
    /// none of `task.classes`.
    pub fn new(task: &TaskConfig, records: &Records, train: &[bool]) -> Result<Encoder> {
        let mut classes = task.classes.clone();
        if classes.is_empty() {
            let labels = records.records.iter().flat_map(|record| record.content.labels());
            classes = labels.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect();
        }
        if classes.len() < 2 {
            return Err(Error::usage(format!("all samples are of one class, `{}`", classes.concat()))
                .mend("give samples of two classes at least, or choose another column by task.label"));
        }
        let prepare = task.prepare.clone();
        let chosen =
            || records.records.iter().zip(train).filter(|(_, train)| **train).map(|(record, _)| &record.content);
        let words = match task.kind {
            TaskKind::Classify => WordIndex::of_texts(chosen().filter_map(Content::text), &prepare),
            TaskKind::Tag => WordIndex::of_words(chosen().flat_map(Content::words).map(|word| prepare.clean(word))),
        };
        if words.is_empty() {
            return Err(Error::usage("no word is left of the training texts").mend("let task.prepare filter less"));
        }
        let characters: BTreeSet<char> = match task.kind {
            TaskKind::Classify => BTreeSet::new(),
            TaskKind::Tag => chosen().flat_map(Content::words).flat_map(str::chars).collect(),
        };
        let characters = characters.into_iter().collect();
        Ok(Encoder { format: FORMAT, kind: task.kind, classes, words, characters, prepare })
    }

    /// The encoder that a run keeps.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(task: &TaskConfig, bytes: &[u8]) -> Result<Encoder, String> {
        let mut encoder: Encoder = serde_json::from_slice(bytes).map_err(|error| format!("does not parse: {error}"))?;
        if encoder.format != FORMAT {
            return Err(format!("has format {}, this version reads format {FORMAT}", encoder.format));
        }
        if encoder.kind != task.kind || encoder.classes.len() < 2 || encoder.words.is_empty() {
            return Err("does not belong to this run's configuration".to_owned());
        }
        encoder.prepare = task.prepare.clone();
        Ok(encoder)
    }

    /// As the run keeps it.
    ///
    /// # Errors
    /// [`Error::Run`] where it cannot be written as JSON.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::run(format!("cannot write {TASK}: {error}")))
    }

    /// What is predicted.
    pub fn kind(&self) -> TaskKind {
        self.kind
    }
    /// The classes in their order.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }
    /// The words of the training samples.
    pub fn words(&self) -> &WordIndex {
        &self.words
    }
    /// How texts are prepared.
    pub fn prepare(&self) -> &PrepareOptions {
        &self.prepare
    }

    /// Tokens: rows of the embedding's table.
    pub fn vocabulary(&self) -> usize {
        match self.kind {
            TaskKind::Classify => self.words.vocabulary(&self.prepare),
            TaskKind::Tag => self.words.len() + 3 + self.characters.len(),
        }
    }

    /// The tokens of a text, cut as the configuration says.
    pub fn text(&self, text: &str) -> Vec<u32> {
        let mut tokens = self.words.encode(text, &self.prepare);
        if self.prepare.maxlen > 0 {
            truncate(&mut tokens, self.prepare.maxlen, self.prepare.truncating);
        }
        tokens
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
        self.kind == TaskKind::Tag && (1..=self.unknown_word()).contains(&token)
    }

    /// Whether a token of a sentence stands for a word that no training sample has.
    pub fn is_unknown(&self, token: u32) -> bool {
        self.kind == TaskKind::Tag && token == self.unknown_word()
    }

    /// What hides a word of a sentence in training, and how often the word was seen.
    pub(super) fn hidden(&self, token: u32) -> Option<(u32, u64)> {
        let count = self.words.count(token).filter(|_| self.kind == TaskKind::Tag)?;
        Some((self.unknown_word(), count))
    }

    /// The number of a class.
    ///
    /// # Errors
    /// [`Error::Input`] with file and line where it is none of the model's.
    fn class(&self, label: &str, wrong: impl FnOnce(String) -> Error) -> Result<u32> {
        match self.classes.iter().position(|class| class == label) {
            Some(place) => Ok(place as u32),
            None => {
                let shown: Vec<&str> = self.classes.iter().take(20).map(String::as_str).collect();
                let more = if self.classes.len() > shown.len() { ", ..." } else { "" };
                Err(wrong(format!("the label `{label}` is none of the model's"))
                    .mend(format!("the model has {}{more}; mend the label, or train with it", shown.join(", "))))
            }
        }
    }

    /// The samples of records.
    ///
    /// # Errors
    /// [`Error::Input`] with file and line where a label is none of the model's.
    pub fn samples(&self, records: &Records) -> Result<Vec<Sample>> {
        records.records.iter().map(|record| self.sample(records, record)).collect()
    }

    fn sample(&self, records: &Records, record: &Record) -> Result<Sample> {
        match &record.content {
            Content::Text { text, label } => {
                let class = self.class(label, |what| records.wrong(record, record.line, what))?;
                Ok(Sample { tokens: self.text(text), targets: vec![class] })
            }
            Content::Sentence(words) => {
                let tokens = self.sentence(words.iter().map(|(word, ..)| word.as_str()));
                let mut targets = vec![IGNORE; tokens.len()];
                let places = tokens.iter().zip(&mut targets).filter(|(token, _)| self.is_word(**token));
                for ((_, tag, line), (_, target)) in words.iter().zip(places) {
                    *target = self.class(tag, |what| records.wrong(record, *line, what))?;
                }
                Ok(Sample { tokens, targets })
            }
        }
    }

    /// A hash of what decides the tokens of a text.
    pub fn hash(&self) -> u64 {
        let words: String = self.words.iter().map(|(word, count)| format!("{word}\t{count}\n")).collect();
        let rest: String = self
            .classes
            .iter()
            .map(|class| format!("{class}\n"))
            .chain(self.characters.iter().map(char::to_string))
            .collect();
        u64::from(crc32c::crc32c(words.as_bytes())) << 32 | u64::from(crc32c::crc32c(rest.as_bytes()))
    }
}

impl Content {
    /// Its labels.
    pub fn labels(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Content::Text { label, .. } => (Some(label.as_str()), &[][..]),
            Content::Sentence(words) => (None, words.as_slice()),
        };
        one.into_iter().chain(many.iter().map(|(_, tag, _)| tag.as_str()))
    }

    /// The text of one class.
    pub fn text(&self) -> Option<&str> {
        match self {
            Content::Text { text, .. } => Some(text),
            Content::Sentence(_) => None,
        }
    }

    /// The words of a sentence.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        let words = match self {
            Content::Text { .. } => &[][..],
            Content::Sentence(words) => words.as_slice(),
        };
        words.iter().map(|(word, ..)| word.as_str())
    }

    /// What two samples share that are the same text once they are prepared.
    pub fn key(&self, prepare: &PrepareOptions) -> String {
        let mut key = String::new();
        match self {
            Content::Text { text, .. } => prepare.words(text, |word| {
                key.push_str(word);
                key.push('\n');
            }),
            Content::Sentence(words) => words.iter().for_each(|(word, ..)| {
                key.push_str(&prepare.clean(word));
                key.push('\n');
            }),
        }
        // What is left of it is nothing: such texts are not all one.
        match (self, key.is_empty()) {
            (Content::Text { text, .. }, true) => text.clone(),
            _ => key,
        }
    }
}
