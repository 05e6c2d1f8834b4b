//! Sentences with tags from CoNLL-U (<https://universaldependencies.org/format.html>).

use std::path::Path;

use crate::config::TaskConfig;
use crate::error::{At, Error, Result};

use super::{Content, Push, Word};

/// Columns of a word's line.
const COLUMNS: usize = 10;

/// What they are called.
const NAMES: [&str; COLUMNS] = ["id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc"];
const LEMMA: usize = 2;
const FEATS: usize = 5;

/// The column of a tag.
fn column(label: Option<&str>) -> Result<usize> {
    let label = label.unwrap_or("upos");
    let tags = [LEMMA, 3, 4, FEATS, 7];
    let named = |&column: &usize| label.eq_ignore_ascii_case(NAMES[column]) || label == column.to_string();
    tags.into_iter().find(named).ok_or_else(|| {
        Error::usage(format!("task.label: `{label}` is not a tag of CoNLL-U"))
            .mend("use upos, xpos, lemma, feats or deprel")
    })
}

/// Reads the sentences of a file. Lines of words that were written as one (`3-4`) and of words that were left out (`5.1`)
/// are passed over, as the format's own tools do.
pub(super) fn read(task: &TaskConfig, path: &Path, text: &str, push: Push<'_>) -> Result<()> {
    let columns = task.label_columns().into_iter().map(column).collect::<Result<Vec<usize>>>()?;
    let (mut words, mut first) = (Vec::new(), 1);
    for (line, row) in (1..).zip(text.lines()) {
        let row = row.strip_suffix('\r').unwrap_or(row);
        if row.trim().is_empty() {
            if !words.is_empty() {
                push(first, Content::Sentence(std::mem::take(&mut words)), Vec::new());
            }
            continue;
        }
        if row.starts_with('#') {
            continue;
        }
        let fields: Vec<&str> = row.split('\t').collect();
        let wrong = |what: String| Error::input_at(path, At::Line(line), what);
        if fields.len() != COLUMNS {
            let what = format!("a word has {COLUMNS} columns in CoNLL-U, this line has {}", fields.len());
            return Err(wrong(what).mend("separate the columns by single tabs, with _ for an empty one"));
        }
        let id = fields[0];
        if id.contains(['-', '.']) {
            continue;
        }
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_digit()) {
            return Err(
                wrong(format!("`{id}` is not the number of a word")).mend("number the words of a sentence from 1")
            );
        }
        if fields[1].trim().is_empty() {
            return Err(wrong("the word is empty".to_owned()).mend("give it in the second column"));
        }
        // Without features a word has `_`, which says that it has none; a lemma may be a low line.
        let lacks = |&&column: &&usize| match fields[column].trim() {
            "" => true,
            "_" => !matches!(column, LEMMA | FEATS),
            _ => false,
        };
        if let Some(&column) = columns.iter().find(lacks) {
            let name = NAMES[column].to_uppercase();
            return Err(wrong(format!("the word `{}` has no {name} tag", fields[1]))
                .mend(format!("give it in column {}, or remove the sentence", column + 1)));
        }
        if words.is_empty() {
            first = line;
        }
        let tags = columns.iter().map(|&column| fields[column].trim().to_owned()).collect();
        words.push(Word { text: fields[1].to_owned(), tags, line });
    }
    if !words.is_empty() {
        push(first, Content::Sentence(words), Vec::new());
    }
    Ok(())
}
