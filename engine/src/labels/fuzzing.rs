//! The bodies of the fuzz targets `samples` and `encoder`.

use std::path::Path;

use super::{Content, Encoder, Record, Word, arrays, conllu, lines, table};
use crate::config::{FormatName, TaskConfig, TaskKind};
use crate::error::Result;

const KINDS: [TaskKind; 5] =
    [TaskKind::Classify, TaskKind::Tag, TaskKind::Next, TaskKind::Caption, TaskKind::Translate];

/// Any bytes as the encoder that a run keeps; the first says of which task, and whether of several outputs. One that is accepted is written and read back unchanged,
/// and gives tokens of its vocabulary.
///
/// # Panics
///
/// When it is not, or does not.
pub fn encoder(bytes: &[u8]) {
    let Some((&first, file)) = bytes.split_first() else { return };
    let labels = if first & 8 > 0 { vec!["topic".to_owned(), "stars".to_owned()] } else { Vec::new() };
    let task = TaskConfig { kind: KINDS[usize::from(first & 7) % KINDS.len()], labels, ..TaskConfig::default() };
    let Ok(encoder) = Encoder::from_json(&task, file) else { return };
    let again = encoder.to_json().ok().and_then(|json| Encoder::from_json(&task, &json).ok());
    assert_eq!(again.map(|again| again.hash()), Some(encoder.hash()), "what was written is not read back");
    assert_eq!(encoder.all_targets()[0], encoder.targets());
    let (longest, targets) = (encoder.longest(), encoder.all_targets());
    (0..targets.len()).for_each(|output| assert!(encoder.counts(output).is_none_or(|c| c.len() == targets[output])));
    if encoder.is_of_arrays() {
        return;
    }
    let tokens = match task.kind {
        TaskKind::Tag => encoder.sentence(["a", "bc", "a"]),
        _ => encoder.text("a bc a d"),
    };
    assert!(tokens.iter().all(|&token| (token as usize) < encoder.vocabulary()), "a token outside the vocabulary");
    assert!(longest == 0 || task.kind == TaskKind::Tag || tokens.len() <= longest + 1, "a text that was not cut");
    let source = encoder.source("a bc");
    assert!(source.iter().all(|&token| (token as usize) < encoder.source_vocabulary()), "a token outside the source's");
    tokens.iter().for_each(|&token| _ = encoder.name(token).len());
}

/// Any bytes as a file of labelled samples; the first two say of which task, in which format, and how it is read. What is accepted
/// has texts and labels in order, and numbers that are finite.
///
/// # Panics
///
/// When it has not.
pub fn samples(bytes: &[u8]) {
    let Some((&[kind, how], file)) = bytes.split_first_chunk::<2>() else { return };
    let task = TaskConfig {
        kind: KINDS[usize::from(kind) % KINDS.len()],
        header: how & 8 > 0,
        drop: if how & 16 > 0 { vec![String::new()] } else { Vec::new() },
        ..TaskConfig::default()
    };
    let mut records = Vec::new();
    if read(&task, how & 7, file, &mut records).is_err() {
        return;
    }
    assert!(records.is_sorted_by_key(|record| record.line), "samples out of order");
    for record in &records {
        assert!(record.vector.iter().all(|number| number.is_finite()), "{record:?}");
        check(&record.content);
        let _key = record.content.key(&task.prepare);
    }
}

fn read(task: &TaskConfig, format: u8, file: &[u8], records: &mut Vec<Record>) -> Result<()> {
    let mut push = |line, content, vector| records.push(Record { file: 0, line, content, vector });
    let (path, text) = (Path::new("fuzz"), String::from_utf8_lossy(file));
    match format {
        0 => table::read(task, FormatName::Tsv, path, &text, &mut push),
        1 => table::read(task, FormatName::Csv, path, &text, &mut push),
        2 => table::read(task, FormatName::JsonLines, path, &text, &mut push),
        3 => conllu::read(task, path, &text, &mut push),
        // The vectors of captions are in a file beside their lines.
        4 if task.kind != TaskKind::Caption => lines::read(task, path, &text, &mut push).map(drop),
        5 => arrays::parse(task, Path::new("fuzz.npz"), file, &mut push).map(drop),
        _ => arrays::parse(task, Path::new("fuzz.npy"), file, &mut push).map(drop),
    }
}

fn check(content: &Content) {
    let is_text = |text: &str| !text.trim().is_empty();
    let right = match content {
        Content::Text { text, labels } => {
            is_text(text) && !labels.is_empty() && labels.iter().all(|label| is_text(label))
        }
        Content::Sentence(words) => {
            let is_word =
                |word: &Word| is_text(&word.text) && !word.tags.is_empty() && word.tags.iter().all(|tag| is_text(tag));
            !words.is_empty() && words.iter().all(is_word) && words.is_sorted_by_key(|word| word.line)
        }
        Content::Words(text) => is_text(text),
        Content::Pair { source, text } => is_text(source) && is_text(text),
        Content::Array { labels, .. } => labels.iter().flatten().all(|label| label.is_finite()),
    };
    assert!(right, "{content:?}");
}
