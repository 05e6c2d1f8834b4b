//! What an encoder learns from the training samples: classes, words, lengths.

use std::collections::{BTreeSet, HashMap};

use crate::config::{TaskConfig, TaskKind};
use crate::error::{Error, Result};
use crate::labels::arrays::class_of;
use crate::labels::content::OfArray;
use crate::labels::{Content, Records};
use crate::text::{PrepareOptions, WordIndex};

use super::{Arrays, Encoder, FORMAT, Labels};

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
        let counts = match kind.has_labels() {
            true => (0..outputs.len()).map(|o| class_counts(&outputs[o].classes, chosen(), o)).collect(),
            false => vec![word_counts(&words, &prepare, kind, chosen().count())],
        };
        let format = FORMAT;
        Ok(Encoder { format, kind, outputs, numbers, words, longest, characters, arrays, source, counts, prepare })
    }
}

/// How often each class of an output comes.
fn class_counts<'c>(classes: &[String], samples: impl Iterator<Item = &'c Content>, output: usize) -> Vec<u64> {
    let places: HashMap<&str, usize> = classes.iter().enumerate().map(|(i, class)| (class.as_str(), i)).collect();
    let mut counts = vec![0; classes.len()];
    for sample in samples {
        let named = sample.labels(output).filter_map(|label| places.get(label).copied());
        let numbered = sample.array().into_iter().flat_map(|(.., labels)| labels.get(output).into_iter().flatten());
        let numbered = numbered.filter_map(|&label| class_of(label, true).ok().flatten());
        named.chain(numbered).for_each(|class| counts.get_mut(class).into_iter().for_each(|count| *count += 1));
    }
    counts
}

/// How often each token of the texts that are learned comes: padding never does, and the end of a caption once a text.
fn word_counts(words: &WordIndex, prepare: &PrepareOptions, kind: TaskKind, texts: usize) -> Vec<u64> {
    let of_words = (1..words.vocabulary(prepare) as u32).map(|index| words.count(index).unwrap_or(0));
    let ends = matches!(kind, TaskKind::Caption | TaskKind::Translate).then_some([0, texts as u64]);
    std::iter::once(0).chain(of_words).chain(ends.into_iter().flatten()).collect()
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
    if let [class] = task.classes.as_slice() {
        return Err(Error::option("task.classes", format!("has one class, `{class}`"))
            .mend("name at least two, or leave it out to use those of the samples"));
    }
    if classes.len() < 2 {
        let label = task.labels.get(output).map_or_else(String::new, |name| format!(" by the label `{name}`"));
        return Err(Error::usage(format!("all samples are of one class{label}, `{}`", classes.concat()))
            .mend("give samples of at least two classes, or choose another column by task.label"));
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
