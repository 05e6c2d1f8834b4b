//! Records as samples in numbers.

use std::path::Path;

use serde::Serialize;

use crate::config::TaskKind;
use crate::corpus::IGNORE;
use crate::error::{Error, Result};
use crate::labels::arrays::class_of;
use crate::labels::{Content, Record, Records, Word};
use crate::text::truncate;

use super::Encoder;

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

/// What of some records gives no sample.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Texts without a word that the model can read, or write.
    pub texts: u64,
    /// Where next words are learned: words behind others that the model does not know. They are neither predicted nor read.
    pub words: u64,
}

/// Samples of some records.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    /// The samples, in the order of the records.
    pub samples: Vec<Sample>,
    /// What gave none.
    pub left_out: LeftOut,
}

impl Encoder {
    /// The number of a class.
    ///
    /// # Errors
    /// [`Error::Input`] with file and line where the model does not know it.
    fn class(&self, output: usize, label: &str, wrong: impl FnOnce(String) -> Error) -> Result<u32> {
        let classes = &self.outputs[output].classes;
        match classes.iter().position(|class| class == label) {
            Some(place) => Ok(place as u32),
            None => {
                let shown: Vec<&str> = classes.iter().take(20).map(String::as_str).collect();
                let more = if classes.len() > shown.len() { ", ..." } else { "" };
                Err(wrong(format!("the model does not know the label `{label}`"))
                    .mend(format!("the model has {}{more}; fix the label, or train with it", shown.join(", "))))
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
            None => Err(wrong(format!("the label `{label}` is not a number")).mend(
                "the output's loss is mean_squared_error, which needs numbers as labels; choose another column or loss",
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
    /// As [`Self::samples_of`]; [`Error::Input`] that names the file where there is none.
    pub fn samples(&self, records: &Records) -> Result<Samples> {
        let mut all = Samples::default();
        records.records.iter().try_for_each(|record| self.samples_of(records, record, &mut all))?;
        match records.files.first() {
            Some(path) if all.samples.is_empty() => Err(self.nothing(path)),
            _ => Ok(all),
        }
    }

    /// The error of a file whose records give no sample.
    pub(crate) fn nothing(&self, path: &Path) -> Error {
        let word = self.prepare.level().unit();
        let (has, give) = match self.kind {
            TaskKind::Next => (format!("two {word}s that the model knows"), format!("texts of two {word}s and more")),
            _ => (format!("a {word} that the model can read"), format!("texts with {word}s of the training")),
        };
        Error::input(path, format!("gives no sample: no text has {has}")).mend(format!("give {give}"))
    }

    /// Appends the samples of a record: of a text whose next words are learned one for each of them, else one. A text without a word
    /// that the model can read gives none and is counted.
    ///
    /// # Errors
    /// [`Error::Input`] with file and line where the model does not know a label, or a word of a caption.
    pub fn samples_of(&self, records: &Records, record: &Record, all: &mut Samples) -> Result<()> {
        let Samples { samples, left_out } = all;
        if record.content.form() != self.form() {
            let what = format!("has {}, the run learned from {}", record.content.form(), self.form());
            return Err(Error::input(&records.files[record.file], what).mend("give samples like those of the training"));
        }
        match &record.content {
            Content::Text { text, labels } => {
                let target = |(o, label): (usize, &String)| {
                    self.target(o, label, |what| records.wrong(record, record.line, what))
                };
                let targets = labels.iter().enumerate().map(target).collect::<Result<Vec<u32>>>()?;
                match self.text(text) {
                    tokens if tokens.is_empty() => left_out.texts += 1,
                    tokens => samples.push(Sample { tokens, targets, ..Sample::default() }),
                }
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
                    let unit = self.prepare.level().unit();
                    let what = format!("the model does not know the {unit} `{word}`");
                    return Err(records.wrong(record, record.line, what).mend(format!(
                        "train with it, or set task.prepare.oov_token, which stands for all {unit}s that are not known"
                    )));
                }
                let source = record.content.source().map_or_else(Vec::new, |text| self.source(text));
                let sample = Sample { source, ..self.caption(text, record.vector.clone()) };
                // One target is the end alone.
                let unread = self.source.is_some() && sample.source.is_empty();
                match unread || sample.targets.len() == 1 {
                    true => left_out.texts += 1,
                    false => samples.push(sample),
                }
            }
            Content::Pair { text, .. } | Content::Words(text) => {
                let words = self.words.encode(text, &self.prepare);
                let mut all = 0;
                self.prepare.words(text, |_| all += 1);
                left_out.texts += u64::from(words.is_empty());
                left_out.words += all.max(1) - words.len().max(1) as u64;
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
}
