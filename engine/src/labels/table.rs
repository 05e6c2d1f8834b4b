//! Rows of labelled texts: TSV, CSV, JSON lines.

use std::path::Path;

use crate::config::{FormatName, TaskConfig};
use crate::error::{At, Error, Result};

use super::Content;

/// What is called for every sample, with its line.
type Push<'a> = &'a mut dyn FnMut(u64, Content);

/// Reads the rows of a file.
pub(super) fn read(task: &TaskConfig, format: FormatName, path: &Path, text: &str, push: Push<'_>) -> Result<()> {
    match format {
        FormatName::JsonLines => json_lines(task, path, text, push),
        FormatName::Csv => {
            let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
            let mut rows = Rows::new(task, path);
            for record in reader.records() {
                let record = record.map_err(|error| {
                    let line = error.position().map_or(1, csv::Position::line);
                    Error::input_at(path, At::Line(line), format!("is no row of CSV: {error}"))
                })?;
                let line = record.position().map_or(1, csv::Position::line);
                rows.row(line, &record.iter().collect::<Vec<_>>(), push)?;
            }
            Ok(())
        }
        FormatName::Tsv | FormatName::Conllu => {
            let mut rows = Rows::new(task, path);
            for (line, row) in (1..).zip(text.lines()) {
                rows.row(line, &row.split('\t').collect::<Vec<_>>(), push)?;
            }
            Ok(())
        }
    }
}

/// Rows of one file, which have as many fields as the first.
struct Rows<'a> {
    task: &'a TaskConfig,
    path: &'a Path,
    /// Fields of the first row, and the places of label and text among them.
    columns: Option<(usize, usize, usize)>,
}

impl<'a> Rows<'a> {
    fn new(task: &'a TaskConfig, path: &'a Path) -> Self {
        Rows { task, path, columns: None }
    }

    fn row(&mut self, line: u64, fields: &[&str], push: Push<'_>) -> Result<()> {
        let (count, label, text) = match self.columns {
            Some(columns) => columns,
            None => {
                let header = self.task.header.then_some(fields);
                let column = |key, given: &Option<String>, usual: [&str; 2]| {
                    let name = given.as_deref().unwrap_or(usual[usize::from(header.is_none())]);
                    self.column(line, key, name, header, fields.len())
                };
                let label = column("label", &self.task.label, ["label", "0"])?;
                let text = column("text", &self.task.text, ["text", "1"])?;
                self.columns = Some((fields.len(), label, text));
                if self.task.header {
                    return Ok(());
                }
                (fields.len(), label, text)
            }
        };
        if fields.len() != count {
            let what = format!("the row has {} fields, the first row has {count}", fields.len());
            return Err(Error::input_at(self.path, At::Line(line), what)
                .mend("mend the row, or set task.format if columns are parted otherwise"));
        }
        sample(self.task, self.path, line, fields[label], fields[text], push)
    }

    /// The place of a column, by its name or number.
    fn column(&self, line: u64, key: &str, name: &str, header: Option<&[&str]>, count: usize) -> Result<usize> {
        let named = header.and_then(|names| names.iter().position(|column| column.trim() == name));
        match named.or_else(|| name.parse().ok().filter(|&number| number < count)) {
            Some(place) => Ok(place),
            None => {
                let (what, mend) = match header {
                    Some(names) => (
                        format!("there is no column `{name}` for task.{key}"),
                        format!("there are {}", names.join(", ")),
                    ),
                    None => (
                        format!("the row has {count} fields and none is column `{name}` of task.{key}"),
                        "count columns from 0, or set task.header = true where the first row names them".to_owned(),
                    ),
                };
                Err(Error::input_at(self.path, At::Line(line), what).mend(mend))
            }
        }
    }
}

fn json_lines(task: &TaskConfig, path: &Path, text: &str, push: Push<'_>) -> Result<()> {
    let keys = [&task.label, &task.text].map(|key| key.as_deref());
    let (label, content) = (keys[0].unwrap_or("label"), keys[1].unwrap_or("text"));
    for (line, row) in (1..).zip(text.lines()).filter(|(_, row)| !row.trim().is_empty()) {
        let wrong = |what: String| Error::input_at(path, At::Line(line), what);
        let object: serde_json::Value =
            serde_json::from_str(row).map_err(|error| wrong(format!("is no JSON: {error}")))?;
        let field = |key: &str| match object.get(key) {
            Some(serde_json::Value::String(text)) => Ok(text.clone()),
            Some(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => Ok(value.to_string()),
            Some(value) => Err(wrong(format!("`{key}` is {value}, not a text")).mend("give it as a string")),
            None => Err(wrong(format!("the object has no `{key}`")).mend("set task.label and task.text to its keys")),
        };
        sample(task, path, line, &field(label)?, &field(content)?, push)?;
    }
    Ok(())
}

/// A row whose fields were found.
fn sample(task: &TaskConfig, path: &Path, line: u64, label: &str, text: &str, push: Push<'_>) -> Result<()> {
    if task.drop.iter().any(|value| value == text) {
        return Ok(());
    }
    let (label, empty) = (label.trim(), |what| Error::input_at(path, At::Line(line), what));
    if text.trim().is_empty() {
        return Err(
            empty("the text is empty").mend("remove the row, or leave such rows out by --set task.drop='[\"\"]'")
        );
    }
    if label.is_empty() {
        return Err(empty("the label is empty").mend("give the row a label, or remove it"));
    }
    push(line, Content::Text { text: text.to_owned(), label: label.to_owned() });
    Ok(())
}
