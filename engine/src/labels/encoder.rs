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
//!
//! A text whose own words are learned is its words too: where the next word is, it gives a sample for each of its prefixes; a
//! caption, or a translation, stands between two tokens behind those of the words, its start and its end.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::config::{TaskConfig, TaskKind};
use crate::corpus::IGNORE;
use crate::error::{Error, Result};
use crate::text::{PrepareOptions, WordIndex, truncate};

use super::arrays::class_of;
use super::{Content, Record, Records, Word};

/// The file of a run that keeps its encoder.
pub const TASK: &str = "task.json";

/// The format that this version writes and reads.
const FORMAT: u32 = 1;

/// A labelled sample in numbers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Its class or next word alone, or a target a token, [`IGNORE`] where none is scored. Of several outputs those of each in turn;
    /// a number is the bits of an f32.
    pub targets: Vec<u32>,
    /// What a caption is of, or the numbers of all steps of a row of an array; empty of others.
    pub vector: Vec<f32>,
    /// The tokens of the text that is read before; empty of others.
    pub source: Vec<u32>,
}

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

/// [`Encoder::outputs`] as a run keeps them: the classes alone where there is one output.
mod stored {
    use super::Labels;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        One(Vec<String>),
        Several(Vec<Labels>),
    }

    pub(super) fn one() -> Vec<Labels> {
        vec![Labels::default()]
    }

    pub(super) fn is_plain(outputs: &[Labels]) -> bool {
        outputs == one()
    }

    pub(super) fn serialize<S: Serializer>(outputs: &[Labels], serializer: S) -> Result<S::Ok, S::Error> {
        match outputs {
            [one] => one.classes.serialize(serializer),
            several => several.serialize(serializer),
        }
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Vec<Labels>, D::Error> {
        Ok(match Stored::deserialize(deserializer)? {
            Stored::One(classes) => vec![Labels { name: String::new(), classes }],
            Stored::Several(outputs) => outputs,
        })
    }
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
        Encoder::with_numbers(task, records, train, &[])
    }

    /// The same, where `numbers` says of outputs whether their labels are numbers rather than classes.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_numbers(task: &TaskConfig, records: &Records, train: &[bool], numbers: &[bool]) -> Result<Encoder> {
        let arrays = Arrays::of(task, records)?;
        let is_number = |o: usize| numbers.get(o).copied().unwrap_or(false);
        let outputs = (0..task.labels.len().max(1)).map(|o| {
            let name = task.labels.get(o).cloned().unwrap_or_default();
            let classes = match task.kind.has_labels() && !is_number(o) {
                true => classes(task, records, o)?,
                false => Vec::new(),
            };
            Ok(Labels { name, classes })
        });
        let outputs = outputs.collect::<Result<Vec<_>>>()?;
        let numbers = outputs.len() == 1 && is_number(0);
        let prepare = task.prepare.clone();
        let chosen =
            || records.records.iter().zip(train).filter(|(_, train)| **train).map(|(record, _)| &record.content);
        let words = match task.kind {
            TaskKind::Tag => WordIndex::of_words(chosen().flat_map(Content::words).map(|word| prepare.clean(word))),
            _ => WordIndex::of_texts(chosen().filter_map(Content::text), &prepare),
        };
        if words.is_empty() && arrays.is_none() {
            return Err(Error::usage("no word is left of the training texts").mend("let task.prepare filter less"));
        }
        let characters: BTreeSet<char> = match task.kind {
            TaskKind::Tag => chosen().flat_map(Content::words).flat_map(str::chars).collect(),
            _ => BTreeSet::new(),
        };
        let longest = match (task.kind, prepare.maxlen) {
            (TaskKind::Tag, _) => 0,
            (_, 0) if arrays.is_some() => {
                let rows = chosen().filter_map(Content::array);
                rows.map(|(tokens, steps, _)| tokens.len().max(steps)).max().unwrap_or(0)
            }
            (_, 0) => {
                chosen().filter_map(Content::text).map(|text| words.encode(text, &prepare).len()).max().unwrap_or(0)
            }
            (_, most) => most,
        };
        let characters = characters.into_iter().collect();
        let source = (task.kind == TaskKind::Translate).then(|| {
            let words = WordIndex::of_texts(chosen().filter_map(Content::source), &prepare);
            let longest = match prepare.maxlen {
                0 => chosen().filter_map(Content::source).map(|text| words.encode(text, &prepare).len()).max(),
                most => Some(most),
            };
            (words, longest.unwrap_or(0))
        });
        let kind = task.kind;
        Ok(Encoder { format: FORMAT, kind, outputs, numbers, words, longest, characters, arrays, source, prepare })
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
        let labels = !task.kind.has_labels()
            || encoder.outputs.len() == task.labels.len().max(1)
                && (0..encoder.outputs.len()).all(|o| encoder.outputs[o].classes.len() >= 2 || encoder.is_number(o));
        let source = encoder.source.is_some() == (task.kind == TaskKind::Translate);
        if encoder.kind != task.kind || !labels || !source || encoder.words.is_empty() && encoder.arrays.is_none() {
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
            return Err(format!("the token id {id} is none of the model's, which are less than {}", arrays.vocabulary));
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

    /// The first word of a text that is none of the model's and would be left out.
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

    /// The number of a class.
    ///
    /// # Errors
    /// [`Error::Input`] with file and line where it is none of the model's.
    fn class(&self, output: usize, label: &str, wrong: impl FnOnce(String) -> Error) -> Result<u32> {
        let classes = &self.outputs[output].classes;
        match classes.iter().position(|class| class == label) {
            Some(place) => Ok(place as u32),
            None => {
                let shown: Vec<&str> = classes.iter().take(20).map(String::as_str).collect();
                let more = if classes.len() > shown.len() { ", ..." } else { "" };
                Err(wrong(format!("the label `{label}` is none of the model's"))
                    .mend(format!("the model has {}{more}; mend the label, or train with it", shown.join(", "))))
            }
        }
    }

    /// The target that a label of an output is: a class, or the bits of a number.
    fn target(&self, output: usize, label: &str, wrong: impl FnOnce(String) -> Error) -> Result<u32> {
        if !self.is_number(output) {
            return self.class(output, label, wrong);
        }
        match label.parse::<f32>().ok().filter(|number| number.is_finite()) {
            Some(number) => Ok(number.to_bits()),
            None => Err(wrong(format!("the label `{label}` is no number")).mend(
                "the output's loss is mean_squared_error, whose labels are numbers; choose another column or loss",
            )),
        }
    }

    /// The target that a label of an array is.
    fn array_target(&self, output: usize, label: f32, wrong: impl Fn(String) -> Error) -> Result<u32> {
        if self.is_number(output) {
            return Ok(label.to_bits());
        }
        match class_of(label, self.kind == TaskKind::Tag).map_err(|(what, mend)| wrong(what).mend(mend))? {
            Some(class) if class < self.outputs[output].classes.len() => Ok(class as u32),
            // One of a class that nothing is known of is told by its number.
            Some(class) => self.class(output, &format!("number {class}"), wrong),
            None => Ok(IGNORE),
        }
    }

    /// The samples of records.
    ///
    /// # Errors
    /// As [`Self::samples_of`].
    pub fn samples(&self, records: &Records) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        records.records.iter().try_for_each(|record| self.samples_of(records, record, &mut samples))?;
        Ok(samples)
    }

    /// Appends the samples of a record: of a text whose next words are learned one for each of them, else one.
    ///
    /// # Errors
    /// [`Error::Input`] with file and line where a label, or a word of a caption, is none of the model's.
    pub fn samples_of(&self, records: &Records, record: &Record, samples: &mut Vec<Sample>) -> Result<()> {
        match &record.content {
            Content::Text { text, labels } => {
                let target = |(o, label): (usize, &String)| {
                    self.target(o, label, |what| records.wrong(record, record.line, what))
                };
                let targets = labels.iter().enumerate().map(target).collect::<Result<Vec<u32>>>()?;
                samples.push(Sample { tokens: self.text(text), targets, ..Sample::default() });
            }
            Content::Sentence(words) => {
                let tokens = self.sentence(words.iter().map(|word| word.text.as_str()));
                let mut targets = vec![IGNORE; self.outputs.len() * tokens.len()];
                for (o, targets) in targets.chunks_exact_mut(tokens.len().max(1)).enumerate() {
                    let places = tokens.iter().zip(targets).filter(|(token, _)| self.is_word(**token));
                    for (Word { tags, line, .. }, (_, target)) in words.iter().zip(places) {
                        *target = self.target(o, &tags[o], |what| records.wrong(record, *line, what))?;
                    }
                }
                samples.push(Sample { tokens, targets, ..Sample::default() });
            }
            Content::Array { tokens, steps, labels, .. } => {
                let wrong = |what: String| records.wrong(record, record.line, what);
                let tokens = self.array(tokens, *steps).map_err(|what| {
                    wrong(what).mend(
                        "give samples like those of the training; task.prepare.num_words sets how many ids there are",
                    )
                })?;
                let each = labels.iter().enumerate().flat_map(|(o, own)| own.iter().map(move |&label| (o, label)));
                let targets = each.map(|(o, label)| self.array_target(o, label, wrong)).collect::<Result<_>>()?;
                samples.push(Sample { tokens, targets, vector: record.vector.clone(), ..Sample::default() });
            }
            Content::Pair { text, .. } | Content::Words(text) if self.kind.writes() => {
                if let Some(word) = self.unknown(text) {
                    let what = format!("the word `{word}` is none of the model's");
                    return Err(records.wrong(record, record.line, what).mend(
                        "train with it, or set task.prepare.oov_token, which stands for all words that are not known",
                    ));
                }
                let source = record.content.source().map_or_else(Vec::new, |text| self.source(text));
                samples.push(Sample { source, ..self.caption(text, record.vector.clone()) });
            }
            Content::Pair { text, .. } | Content::Words(text) => {
                let words = self.words.encode(text, &self.prepare);
                samples.extend((1..words.len()).map(|next| {
                    let mut tokens = words[..next].to_vec();
                    truncate(&mut tokens, self.longest(), self.prepare.truncating);
                    Sample { tokens, targets: vec![words[next]], ..Sample::default() }
                }));
            }
        }
        Ok(())
    }

    /// A caption and what it is of: behind the start each word, its target the next one, and at last the end.
    pub fn caption(&self, text: &str, vector: Vec<f32>) -> Sample {
        let ((start, end), words) = (self.start_and_end(), self.text(text));
        let tokens = std::iter::once(start).chain(words.iter().copied()).collect();
        Sample { tokens, targets: words.into_iter().chain([end]).collect(), vector, source: Vec::new() }
    }

    /// A hash of what decides the tokens of a text.
    pub fn hash(&self) -> u64 {
        let words: String = self.words.iter().map(|(word, count)| format!("{word}\t{count}\n")).collect();
        let rest: String = self
            .outputs
            .iter()
            .flat_map(|output| &output.classes)
            .map(|class| format!("{class}\n"))
            .chain(self.characters.iter().map(char::to_string))
            .chain(self.arrays.map(|arrays| format!("{} {}", arrays.vocabulary, arrays.steps)))
            .chain(
                self.source
                    .iter()
                    .flat_map(|(words, _)| words.iter().map(|(word, count)| format!("{word}\t{count}\n"))),
            )
            .collect();
        u64::from(crc32c::crc32c(words.as_bytes())) << 32 | u64::from(crc32c::crc32c(rest.as_bytes()))
    }
}

/// The classes of an output, in their order.
fn classes(task: &TaskConfig, records: &Records, output: usize) -> Result<Vec<String>> {
    let mut classes = task.classes.clone();
    if classes.is_empty() {
        let mut most: Option<f32> = None;
        for record in &records.records {
            let Some((.., labels)) = record.content.array() else { continue };
            for &label in &labels[output] {
                let wrong = |(what, mend): (String, &str)| records.wrong(record, record.line, what).mend(mend);
                class_of(label, task.kind == TaskKind::Tag).map_err(wrong)?;
                most = Some(most.map_or(label, |most| most.max(label)));
            }
        }
        classes = most.map_or_else(Vec::new, |most| (0..=most.max(0.0) as u32).map(|c| c.to_string()).collect());
    }
    if classes.is_empty() {
        let labels = records.records.iter().flat_map(|record| record.content.labels(output));
        classes = labels.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect();
    }
    if classes.len() < 2 {
        let label = task.labels.get(output).map_or_else(String::new, |name| format!(" by the label `{name}`"));
        return Err(Error::usage(format!("all samples are of one class{label}, `{}`", classes.concat()))
            .mend("give samples of two classes at least, or choose another column by task.label"));
    }
    Ok(classes)
}

impl Arrays {
    /// What the samples of these records are; none where they are texts.
    fn of(task: &TaskConfig, records: &Records) -> Result<Option<Arrays>> {
        let mut rows = records.records.iter().filter_map(|record| record.content.array());
        let Some((first, steps, _)) = rows.next() else { return Ok(None) };
        if rows.clone().count() + 1 < records.records.len() {
            return Err(
                Error::usage("some samples are rows of arrays and some are texts").mend("give files of one kind")
            );
        }
        let other = |(tokens, of_steps, _): OfArray<'_>| tokens.is_empty() != first.is_empty() || of_steps != steps;
        if rows.clone().any(other) {
            return Err(Error::usage("the arrays of the files have different axes").mend("give files of one kind"));
        }
        let largest = rows.flat_map(|(tokens, ..)| tokens).chain(first).max().copied();
        let vocabulary = match (largest, task.prepare.num_words) {
            (None, _) => 0,
            (Some(largest), 0) => largest as usize + 1,
            (Some(_), most) => most,
        };
        Ok(Some(Arrays { vocabulary, steps }))
    }
}

/// Tokens, steps and labels of a row of an array.
type OfArray<'a> = (&'a [u32], usize, &'a [Vec<f32>]);

impl Content {
    /// Tokens, steps and labels of a row of an array.
    pub(super) fn array(&self) -> Option<OfArray<'_>> {
        match self {
            Content::Array { tokens, steps, labels, .. } => Some((tokens, *steps, labels)),
            _ => None,
        }
    }

    /// Its labels of an output.
    pub fn labels(&self, output: usize) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Content::Text { labels, .. } => (labels.get(output).map(String::as_str), &[][..]),
            Content::Array { label, .. } => (Some(label.as_str()).filter(|label| !label.is_empty()), &[][..]),
            Content::Sentence(words) => (None, words.as_slice()),
            Content::Words(_) | Content::Pair { .. } => (None, &[][..]),
        };
        one.into_iter().chain(many.iter().filter_map(move |word| word.tags.get(output)).map(String::as_str))
    }

    /// The text, of what is no sentence of single words.
    pub fn text(&self) -> Option<&str> {
        match self {
            Content::Text { text, .. } | Content::Words(text) | Content::Pair { text, .. } => Some(text),
            Content::Sentence(_) | Content::Array { .. } => None,
        }
    }

    /// The text that is read before this one is written.
    pub fn source(&self) -> Option<&str> {
        if let Content::Pair { source, .. } = self { Some(source) } else { None }
    }

    /// The words of a sentence.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        let words = match self {
            Content::Text { .. } | Content::Words(_) | Content::Pair { .. } | Content::Array { .. } => &[][..],
            Content::Sentence(words) => words.as_slice(),
        };
        words.iter().map(|word| word.text.as_str())
    }

    /// What two samples share that are the same text once they are prepared.
    pub fn key(&self, prepare: &PrepareOptions) -> String {
        let mut key = String::new();
        match self {
            // Equal sources stand on one side, whatever is written for them.
            Content::Text { text, .. } | Content::Words(text) | Content::Pair { source: text, .. } => {
                prepare.words(text, |word| {
                    key.push_str(word);
                    key.push('\n');
                });
            }
            Content::Sentence(words) => words.iter().for_each(|word| {
                key.push_str(&prepare.clean(&word.text));
                key.push('\n');
            }),
            Content::Array { tokens, .. } => tokens.iter().for_each(|token| key.push_str(&format!("{token} "))),
        }
        // What is left of it is nothing: such texts are not all one.
        match (self, key.is_empty()) {
            (Content::Text { text, .. } | Content::Words(text) | Content::Pair { source: text, .. }, true) => {
                text.clone()
            }
            _ => key,
        }
    }
}
