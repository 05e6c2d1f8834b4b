//! Rows of labelled texts: TSV, CSV, JSON lines.

use std::path::Path;

use crate::config::{FormatName, TaskConfig, TaskKind};
use crate::corpus::{TableBytes, TableError};
use crate::error::{At, Error, Result};

use super::{Content, Push};

/// Reads the rows of a file.
pub(super) fn read(task: &TaskConfig, format: FormatName, path: &Path, text: &str, push: Push<'_>) -> Result<()> {
    match format {
        FormatName::JsonLines => json_lines(task, path, text, push),
        FormatName::Csv => {
            let bytes = TableBytes::new(text.as_bytes(), true);
            let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
            let mut rows = Rows::new(task, path);
            for record in reader.records() {
                let record = record.map_err(|error| no_row(path, &error))?;
                let line = record.position().map_or(1, csv::Position::line);
                rows.row(line, &record.iter().collect::<Vec<_>>(), push)?;
            }
            Ok(())
        }
        FormatName::Tsv | FormatName::Conllu | FormatName::Lines | FormatName::Npy => {
            let mut rows = Rows::new(task, path);
            for (line, row) in (1..).zip(text.lines()) {
                rows.row(line, &row.split('\t').collect::<Vec<_>>(), push)?;
            }
            Ok(())
        }
    }
}

/// The error of what is no row of CSV.
fn no_row(path: &Path, error: &csv::Error) -> Error {
    if let csv::ErrorKind::Io(error) = error.kind()
        && let Some(TableError { line, what, mend }) = TableError::of(error)
    {
        return Error::input_at(path, At::Line(*line), what.clone()).mend(*mend);
    }
    let line = error.position().map_or(1, csv::Position::line);
    Error::input_at(path, At::Line(line), format!("is not a valid CSV row: {error}"))
}

/// Rows of one file, which have as many fields as the first.
struct Rows<'a> {
    task: &'a TaskConfig,
    path: &'a Path,
    columns: Option<Columns>,
}

/// Fields of the first row, and the places of the labels, where there are any, and of the text among them.
#[derive(Clone)]
struct Columns {
    count: usize,
    labels: Vec<usize>,
    source: Option<usize>,
    text: usize,
}

impl<'a> Rows<'a> {
    fn new(task: &'a TaskConfig, path: &'a Path) -> Self {
        Rows { task, path, columns: None }
    }

    fn row(&mut self, line: u64, fields: &[&str], push: Push<'_>) -> Result<()> {
        let columns = match &self.columns {
            Some(columns) => columns,
            None => {
                let columns = self.columns(line, fields)?;
                let columns = self.columns.insert(columns);
                if self.task.header {
                    return Ok(());
                }
                columns
            }
        };
        let (count, text, source) = (columns.count, columns.text, columns.source);
        let labels: Vec<usize> = columns.labels.clone();
        if fields.len() != count {
            let what = format!("the row has {} fields, the first row has {count}", fields.len());
            return Err(Error::input_at(self.path, At::Line(line), what)
                .mend("fix the row, or set task.format if columns are separated differently"));
        }
        let vector = if self.task.kind == TaskKind::Caption {
            let others = fields.iter().enumerate().filter(|(place, _)| *place != text);
            let numbers = others.map(|(place, field)| self.number(line, place, field));
            numbers.collect::<Result<Vec<f32>>>()?
        } else {
            Vec::new()
        };
        let labels = labels.into_iter().map(|label| fields.get(label).copied().unwrap_or_default()).collect();
        let source = source.map(|source| fields[source]);
        let row = Row { line, labels, source, text: fields[text], vector };
        sample(self.task, self.path, row, push)
    }

    fn columns(&self, line: u64, fields: &[&str]) -> Result<Columns> {
        let header = self.task.header.then_some(fields);
        let column = |key, given: Option<&str>, usual: [&str; 2]| {
            let name = given.unwrap_or(usual[usize::from(header.is_none())]);
            self.column(line, key, name, header, fields.len())
        };
        let has_labels = self.task.kind.has_labels();
        let labels = match self.task.label_columns() {
            _ if !has_labels => Vec::new(),
            columns => {
                let key = if self.task.labels.is_empty() { "label" } else { "labels" };
                let place = |given: Option<&str>| column(key, given, ["label", "0"]);
                columns.into_iter().map(place).collect::<Result<_>>()?
            }
        };
        let translates = self.task.kind == TaskKind::Translate;
        let source = || column("source", self.task.source.as_deref(), ["source", "0"]);
        let source = translates.then(source).transpose()?;
        let second = has_labels || translates;
        let text = column("text", self.task.text.as_deref(), ["text", if second { "1" } else { "0" }])?;
        Ok(Columns { count: fields.len(), labels, source, text })
    }

    /// A number of a vector.
    fn number(&self, line: u64, column: usize, field: &str) -> Result<f32> {
        let number = field.trim().parse().ok().filter(|number: &f32| number.is_finite());
        number.map(|number| number * self.task.vector_scale).ok_or_else(|| {
            Error::input_at(self.path, At::Line(line), format!("column {column}: `{field}` is not a number of a vector"))
                .mend("all columns but that of task.text are the vector; set task.header = true where the first row names them")
        })
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
                        "count columns from 0, or set task.header = true where the first row names them, or task.format where \
                         something else parts them (csv, tsv)"
                            .to_owned(),
                    ),
                };
                Err(Error::input_at(self.path, At::Line(line), what).mend(mend))
            }
        }
    }
}

fn json_lines(task: &TaskConfig, path: &Path, text: &str, push: Push<'_>) -> Result<()> {
    let labels: Vec<&str> = match task.kind.has_labels() {
        true => task.label_columns().into_iter().map(|label| label.unwrap_or("label")).collect(),
        false => Vec::new(),
    };
    let content = task.text.as_deref().unwrap_or("text");
    for (line, row) in (1..).zip(text.lines()).filter(|(_, row)| !row.trim().is_empty()) {
        let wrong = |what: String| Error::input_at(path, At::Line(line), what);
        let object: serde_json::Value =
            serde_json::from_str(row).map_err(|error| wrong(format!("is not valid JSON: {error}")))?;
        let field = |key: &str| match object.get(key) {
            Some(serde_json::Value::String(text)) => Ok(text.clone()),
            Some(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => Ok(value.to_string()),
            Some(value) => Err(wrong(format!("`{key}` is {value}, not a text")).mend("give it as a string")),
            None => {
                let label = if task.kind == TaskKind::Translate { "task.source" } else { "task.label" };
                Err(wrong(format!("the object has no `{key}`")).mend(format!("set {label} and task.text to its keys")))
            }
        };
        let vector = match task.kind {
            TaskKind::Caption => json_vector(task, &object).map_err(&wrong)?,
            _ => Vec::new(),
        };
        let own = labels.iter().map(|label| field(label)).collect::<Result<Vec<String>>>()?;
        let labels = own.iter().map(String::as_str).collect();
        let translates = task.kind == TaskKind::Translate;
        let source = translates.then(|| field(task.source.as_deref().unwrap_or("source"))).transpose()?;
        let row = Row { line, labels, source: source.as_deref(), text: &field(content)?, vector };
        sample(task, path, row, push)?;
    }
    Ok(())
}

/// The vector of an object, or what is wrong with it.
pub(super) fn json_vector(task: &TaskConfig, object: &serde_json::Value) -> Result<Vec<f32>, String> {
    let key = task.vector.as_deref().unwrap_or("vector");
    let Some(numbers) = object.get(key).and_then(serde_json::Value::as_array) else {
        return Err(format!("the object has no array `{key}` (task.vector names the key of the vector)"));
    };
    let number = |value: &serde_json::Value| {
        let number = value.as_f64().map(|number| number as f32).filter(|number| number.is_finite());
        number
            .map(|number| number * task.vector_scale)
            .ok_or_else(|| format!("`{key}` has {value}, which is not a number"))
    };
    numbers.iter().map(number).collect()
}

/// A row whose fields were found.
pub(super) struct Row<'a> {
    pub(super) line: u64,
    pub(super) labels: Vec<&'a str>,
    pub(super) source: Option<&'a str>,
    pub(super) text: &'a str,
    pub(super) vector: Vec<f32>,
}

/// Hands on what a row says, unless its text is one that is dropped.
pub(super) fn sample(task: &TaskConfig, path: &Path, row: Row<'_>, push: Push<'_>) -> Result<()> {
    let Row { line, labels, source, text, vector } = row;
    let is_dropped = |text: &str| task.drop.iter().any(|value| value.trim() == text.trim());
    if is_dropped(text) || source.is_some_and(is_dropped) {
        return Ok(());
    }
    let empty = |what| Error::input_at(path, At::Line(line), what);
    if text.trim().is_empty() {
        return Err(
            empty("the text is empty").mend("remove the row, or leave such rows out by --set task.drop='[\"\"]'")
        );
    }
    let labels: Vec<String> = labels.into_iter().map(|label| label.trim().to_owned()).collect();
    if labels.iter().any(String::is_empty) {
        return Err(empty("the label is empty").mend("give the row a label, or remove it"));
    }
    let text = text.to_owned();
    let content = match source {
        Some(source) if source.trim().is_empty() => {
            return Err(
                empty("the source is empty").mend("remove the row, or leave such rows out by --set task.drop='[\"\"]'")
            );
        }
        Some(source) => Content::Pair { source: source.to_owned(), text },
        None if labels.is_empty() => Content::Words(text),
        None => Content::Text { text, labels },
    };
    push(line, content, vector);
    Ok(())
}
