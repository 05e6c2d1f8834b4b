//! Labelled samples in NumPy arrays: token ids (N, T) or numbers (N, D) or (N, T, D), with labels (N) or (N, T).
//!
//! An archive (`.npz`) has both, as `x` and `y` unless the task says otherwise; the labels of `a.npy` are in
//! `a.labels.npy`. Token 0 is padding: what stands of it before and behind a row is taken away, and put back as the
//! configuration says. A label is the number of a class; of a tagged sequence -1 is not scored. Captions have vectors
//! (N, D), or over time (N, S, D), and, as labels, token ids (N, T). Where the next token is learned there are token
//! ids alone, which are the words of texts.

use std::path::{Path, PathBuf};

use crate::config::{TaskConfig, TaskKind};
use crate::corpus::{IGNORE, read_file};
use crate::error::{Error, Result};

use super::encoder::{Encoder, Sample};
use super::npy::{Array, NOT_FINITE, parse_npy};
use super::npz::members;
use super::{Content, Push};

/// Token ids and labels are less than this: an f32 has them all.
const LARGEST: f32 = 16_777_216.0;

/// The arrays of a file and their names in messages.
struct Arrays {
    samples: (Array, String),
    labels: Vec<(Array, String)>,
    fingerprint: u64,
}

/// What is wrong in a file, and how to mend it.
fn wrong(path: &Path, what: impl Into<String>, mend: &str) -> Error {
    Error::input(path, what).mend(mend)
}

/// What is wrong in a row; the first is 1.
fn wrong_row(path: &Path, row: usize, what: impl Into<String>, mend: &str) -> Error {
    Error::input(path, format!("row {}: {}", row + 1, what.into())).mend(mend)
}

/// The names in an archive of what the samples and the labels are.
fn names(task: &TaskConfig) -> (&str, Vec<&str>) {
    match task.kind {
        TaskKind::Caption => (task.vector.as_deref().unwrap_or("x"), vec![task.text.as_deref().unwrap_or("y")]),
        _ => {
            let labels = task.label_columns().into_iter().map(|name| name.unwrap_or("y"));
            (task.text.as_deref().unwrap_or("x"), labels.collect())
        }
    }
}

fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npz"))
}

fn hash(bytes: &[u8]) -> u64 {
    u64::from(crc32c::crc32c(bytes)) << 32 | bytes.len() as u64 & 0xffff_ffff
}

/// An array from its bytes.
fn array(path: &Path, name: &str, bytes: &[u8]) -> Result<Array> {
    let wrong = |what: String, mend| {
        let what = if is_archive(path) { format!("`{name}` {what}") } else { what };
        wrong(path, what, mend)
    };
    let mend = "write it by numpy.save or numpy.savez, rows of one length, of numpy.ascontiguousarray(array, dtype='<f4'), ids and \
                labels with '<i8'";
    let array = parse_npy(bytes).map_err(|what| wrong(what, mend))?;
    array.check_finite().map_err(|what| wrong(what, NOT_FINITE))?;
    Ok(array)
}

/// The array `name` of an archive.
fn member(path: &Path, bytes: &[u8], name: &str) -> Result<Array> {
    let mend = "write it by numpy.savez(file, x=..., y=...)";
    let found = members(bytes).map_err(|what| wrong(path, what, mend))?;
    let Some(member) = found.iter().find(|member| member.name == name) else {
        let names: Vec<&str> = found.iter().map(|member| member.name).collect();
        let what = format!("has no array `{name}`, but {}", names.join(", "));
        return Err(wrong(
            path,
            what,
            "name the arrays by task.text and task.label (of captions task.vector and task.text)",
        ));
    };
    array(path, name, &member.unpack().map_err(|what| wrong(path, what, mend))?)
}

/// The rows of a `.npy`, or of the array of samples of an archive.
pub(super) fn read_samples(task: &TaskConfig, path: &Path) -> Result<Array> {
    samples(task, path, &read_file(path)?)
}

fn samples(task: &TaskConfig, path: &Path, bytes: &[u8]) -> Result<Array> {
    if is_archive(path) { member(path, bytes, names(task).0) } else { array(path, "", bytes) }
}

/// The samples of a file without labels, for predictions by this encoder.
///
/// # Errors
/// [`Error::Input`] that says what the file is not, or the row that is not like those of the training.
pub fn read_array(task: &TaskConfig, encoder: &Encoder, path: &Path) -> Result<Vec<Sample>> {
    let array = read_samples(task, path)?;
    let tokens = encoder.has_tokens();
    let axes = if encoder.vector_steps() > 0 { 3 } else { 2 };
    if array.shape.len() != axes || tokens && !array.integers {
        let what = format!("has the shape {}, the run learned from {}", array.shown(), encoder.form());
        return Err(wrong(path, what, "give samples like those of the training"));
    }
    let steps = if axes == 3 { array.shape[1] } else { 0 };
    let sample = |row: usize| {
        let ids = if tokens { token_ids(path, row, array.row(row))?.1 } else { Vec::new() };
        let encoded = encoder.array(&ids, steps);
        let tokens = encoded.map_err(|what| wrong_row(path, row, what, "give samples like those of the training"))?;
        let vector = if !encoder.has_tokens() { array.scaled(row, task.vector_scale) } else { Vec::new() };
        let targets = vec![IGNORE; encoder.outputs().len() * tokens.len().max(1)];
        Ok(Sample { targets, tokens, vector, ..Sample::default() })
    };
    (0..array.rows).map(sample).collect()
}

impl Arrays {
    fn parse(task: &TaskConfig, path: &Path, bytes: &[u8]) -> Result<Arrays> {
        if is_archive(path) {
            let (samples, labels) = names(task);
            let of = |name: &str| Ok::<_, Error>((member(path, bytes, name)?, format!("`{name}`")));
            let labels = labels.into_iter().map(of).collect::<Result<_>>()?;
            return Ok(Arrays { samples: of(samples)?, labels, fingerprint: hash(bytes) });
        }
        if task.labels.len() > 1 {
            let what = "has one array, and the samples have several labels";
            return Err(wrong(path, what, "save all arrays in one file by numpy.savez(file, x=..., y=..., z=...)"));
        }
        let beside: PathBuf = path.with_extension("labels.npy");
        if !beside.exists() {
            let what = format!("its labels are looked for in {}, which is not there", beside.display());
            return Err(wrong(path, what, "save them there, or both in one file by numpy.savez(file, x=..., y=...)"));
        }
        let own = read_file(&beside)?;
        Ok(Arrays {
            samples: (array(path, "", bytes)?, "the array".to_owned()),
            labels: vec![(array(&beside, "", &own)?, beside.display().to_string())],
            fingerprint: hash(bytes).rotate_left(7) ^ hash(&own),
        })
    }
}

/// Reads rows of token ids whose next ones are learned. Returns a hash of the file's bytes.
fn parse_next(task: &TaskConfig, path: &Path, bytes: &[u8], push: Push<'_>) -> Result<u64> {
    let samples = samples(task, path, bytes)?;
    if samples.shape.len() != 2 || !samples.integers {
        let what = format!("has the shape {}, the samples of the task next are token ids (N, T)", samples.shown());
        return Err(wrong(path, what, "give whole numbers, rows filled with 0 to one length"));
    }
    for row in 0..samples.rows {
        push(row as u64 + 1, Content::Words(words(path, row, samples.row(row))?), Vec::new());
    }
    Ok(hash(bytes))
}

/// The token ids of a row as the words of a text.
fn words(path: &Path, row: usize, numbers: &[f32]) -> Result<String> {
    let words: Vec<String> = token_ids(path, row, numbers)?.1.iter().map(u32::to_string).collect();
    match words.is_empty() {
        true => Err(wrong_row(path, row, "the row has no token but padding (0)", "remove the row")),
        false => Ok(words.join(" ")),
    }
}

/// Refuses labels of another shape than the task's, or of another number than the samples'.
fn check_labels(task: &TaskConfig, path: &Path, samples: (&Array, &str), labels: (&Array, &str)) -> Result<()> {
    let ((samples, name), (labels, of_labels)) = (samples, labels);
    if samples.rows != labels.rows {
        let what = format!("{name} has {} rows, {of_labels} has {}", samples.rows, labels.rows);
        return Err(wrong(path, what, "give a label for each sample"));
    }
    let (axes, tag) = (labels.shape.len(), task.kind == TaskKind::Tag);
    let expected = if tag || task.kind == TaskKind::Caption { 2 } else { 1 };
    if axes != expected || task.kind == TaskKind::Caption && !labels.integers {
        let (shape, kind) = (labels.shown(), if labels.integers { "whole numbers" } else { "numbers with a fraction" });
        let what = format!("{of_labels} has the shape {shape} and {kind}, the labels of the task {} are ", task.kind);
        let what = what + if expected == 1 { "whole numbers of shape (N)" } else { "whole numbers of shape (N, T)" };
        let mend = if axes == 2 && expected == 1 {
            "give the number of the class, such as y.argmax(axis=1) of one-hot rows, or learn tags: task.kind = \"tag\""
        } else {
            WHOLE
        };
        return Err(wrong(path, what, mend));
    }
    if tag && samples.shape[1] != labels.width {
        let what = format!("{name} has {} steps a row, {of_labels} has {}", samples.shape[1], labels.width);
        return Err(wrong(path, what, "give a tag for each step; -1 is not scored"));
    }
    Ok(())
}

/// Reads the samples of a file. Returns a hash of its bytes.
pub(super) fn read(task: &TaskConfig, path: &Path, push: Push<'_>) -> Result<u64> {
    parse(task, path, &read_file(path)?, push)
}

/// The same of a file with these bytes.
pub(super) fn parse(task: &TaskConfig, path: &Path, bytes: &[u8], push: Push<'_>) -> Result<u64> {
    if task.kind == TaskKind::Next {
        return parse_next(task, path, bytes, push);
    }
    let Arrays { samples: (samples, name), labels, fingerprint } = Arrays::parse(task, path, bytes)?;
    let (caption, tag) = (task.kind == TaskKind::Caption, task.kind == TaskKind::Tag);
    let axes = samples.shape.len();
    let tokens = samples.integers && axes == 2 && !caption && task.vector.is_none();
    samples.check(task, path, (&name, tokens))?;
    for (array, of_labels) in &labels {
        check_labels(task, path, (&samples, &name), (array, of_labels))?;
    }
    for row in 0..samples.rows {
        if caption {
            let vector = samples.scaled(row, task.vector_scale);
            push(row as u64 + 1, Content::Words(words(path, row, labels[0].0.row(row))?), vector);
            continue;
        }
        let mut own: Vec<Vec<f32>> = labels.iter().map(|(labels, _)| labels.row(row).to_vec()).collect();
        let label = if tag { String::new() } else { own[0][0].to_string() };
        let (tokens, vector) = if tokens {
            let (first, ids) = token_ids(path, row, samples.row(row))?;
            if tag {
                own.iter_mut().for_each(|labels| *labels = labels[first..first + ids.len()].to_vec());
            }
            (ids, Vec::new())
        } else {
            (Vec::new(), samples.scaled(row, task.vector_scale))
        };
        if tokens.is_empty() && vector.is_empty() {
            return Err(wrong_row(path, row, "the sample has no token but padding (0)", "remove the row"));
        }
        let steps = if axes == 3 { samples.shape[1] } else { 0 };
        push(row as u64 + 1, Content::Array { tokens, steps, labels: own, label }, vector);
    }
    Ok(fingerprint)
}

/// How labels are made whole numbers.
const WHOLE: &str =
    "give whole numbers, such as y.astype(\"int64\"), or learn the numbers themselves by loss = \"mean_squared_error\"";

/// The class, by its number, that a label of an array names; `None` where it is not scored. Only steps of a sequence, `tag`, may
/// be so.
///
/// # Errors
/// What it is instead, and how to mend it.
pub(super) fn class_of(label: f32, tag: bool) -> Result<Option<usize>, (String, &'static str)> {
    if label.fract() != 0.0 {
        return Err((
            format!("the label {label} is none: the labels are numbers with a fraction, classes whole ones"),
            WHOLE,
        ));
    }
    match label {
        -1.0 if tag => Ok(None),
        label if (0.0..LARGEST).contains(&label) => Ok(Some(label as usize)),
        _ => {
            let more = if tag { ", or -1, which is not scored" } else { "" };
            Err((
                format!("the label {label} is none: labels are the numbers of classes, from 0{more}"),
                "fix the labels",
            ))
        }
    }
}

/// The token ids of a row without the padding before and behind them, and how much was before.
fn token_ids(path: &Path, row: usize, numbers: &[f32]) -> Result<(usize, Vec<u32>)> {
    let first = numbers.iter().position(|&number| number != 0.0).unwrap_or(numbers.len());
    let end = numbers.iter().rposition(|&number| number != 0.0).map_or(first, |last| last + 1);
    let ids = numbers[first..end].iter().map(|&number| match number {
        0.0 => {
            let mend = "0 is padding, before and behind the tokens: add 1 to every id, or remove it";
            Err(wrong_row(path, row, "a 0 stands between tokens", mend))
        }
        number if (0.0..LARGEST).contains(&number) => Ok(number as u32),
        number => {
            Err(wrong_row(path, row, format!("{number} is no token id"), "ids are whole numbers from 1; 0 is padding"))
        }
    });
    Ok((first, ids.collect::<Result<_>>()?))
}

impl Array {
    /// Its shape as NumPy shows it.
    fn shown(&self) -> String {
        let axes: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        format!("({})", axes.join(", "))
    }

    /// A row of numbers, each times `scale`.
    fn scaled(&self, row: usize, scale: f32) -> Vec<f32> {
        self.row(row).iter().map(|number| number * scale).collect()
    }

    /// Refuses samples of a shape that the task has no meaning for; `tokens`: they are token ids.
    fn check(&self, task: &TaskConfig, path: &Path, (name, tokens): (&str, bool)) -> Result<()> {
        let axes = self.shape.len();
        let fits = match task.kind {
            TaskKind::Caption => axes == 2 || axes == 3,
            TaskKind::Tag => tokens || axes == 3,
            _ => tokens || axes == 2 || axes == 3,
        };
        if fits {
            return Ok(());
        }
        let may = match task.kind {
            TaskKind::Caption => "vectors (N, D) or (N, S, D)",
            TaskKind::Tag => "token ids (N, T), whole numbers, or numbers (N, T, D)",
            _ => "token ids (N, T), whole numbers, or numbers (N, D) or (N, T, D)",
        };
        let what = format!("{name} has the shape {}, the samples of the task {} are {may}", self.shown(), task.kind);
        Err(wrong(
            path,
            what,
            "give it such a shape, by reshape, or by numpy.stack of rows that were padded to one length",
        ))
    }
}
