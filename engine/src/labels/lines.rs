//! Texts without labels, one a line, and the vectors of captions.

use std::path::{Path, PathBuf};

use crate::config::{FormatName, TaskConfig, TaskKind};
use crate::corpus::Whole;
use crate::error::{At, Error, Result};

use super::arrays::read_samples;
use super::npy::{Array, read_npy};
use super::table::{Row, json_vector, sample};
use super::{Push, format_of, read_text};

/// Reads the texts of a file; of captions the vectors are those of the array beside it. Returns a hash of that file, 0 where
/// there is none.
pub(super) fn read(task: &TaskConfig, path: &Path, text: &str, push: Push<'_>) -> Result<u64> {
    let (vectors, hash) = match task.kind {
        TaskKind::Caption => {
            let beside = array_of(path);
            if !beside.exists() {
                let what = format!("its vectors are not beside it, in {}", beside.display());
                return Err(Error::input(path, what).mend("give the array this name, with a row for each line"));
            }
            let (array, hash) = read_npy(&beside)?;
            (Some(array), hash)
        }
        _ => (None, 0),
    };
    let lines = text.lines().count();
    if let Some(Array { rows, .. }) = vectors
        && rows != lines
    {
        let what = format!("has {lines} captions, but {} has {rows} vectors", array_of(path).display());
        return Err(Error::input(path, what).mend("give a line for each row of the array"));
    }
    for (place, line) in text.lines().enumerate() {
        // Between the texts of a corpus; a caption that is missing is told.
        if line.trim().is_empty() && vectors.is_none() {
            continue;
        }
        let vector = vectors.as_ref().map_or_else(Vec::new, |array| scaled(array.row(place), task.vector_scale));
        sample(task, path, Row { line: place as u64 + 1, labels: Vec::new(), source: None, text: line, vector }, push)?;
    }
    Ok(hash)
}

/// The file of the vectors of a file of captions: `a.txt` and `a.txt.gz` have theirs in `a.npy`.
fn array_of(path: &Path) -> PathBuf {
    let path =
        if path.extension().is_some_and(|ending| ending == "gz") { path.with_extension("") } else { path.into() };
    path.with_extension("npy")
}

fn scaled(row: &[f32], scale: f32) -> Vec<f32> {
    row.iter().map(|number| number * scale).collect()
}

/// The vectors of a file that has nothing else: the rows of a NumPy array (`.npy`), of CSV or TSV, or the vectors of JSON lines.
///
/// # Errors
/// [`Error::Input`] with the line where something is no number, or a vector has not `width` numbers, or not as many for each of some
/// steps where `of_steps` says that it has several.
pub fn read_vectors(task: &TaskConfig, path: &Path, (width, of_steps): (usize, bool)) -> Result<Vec<Vec<f32>>> {
    let vectors: Vec<(u64, Vec<f32>)> = if path.extension().is_some_and(|ending| ending == "npy" || ending == "npz") {
        let array = read_samples(task, path)?;
        (0..array.rows).map(|row| (row as u64 + 1, scaled(array.row(row), task.vector_scale))).collect()
    } else {
        let (text, format) =
            (read_text(path, Whole::default())?, format_of(&TaskConfig { format: None, ..task.clone() }, path)?);
        let rows = (1..).zip(text.lines()).filter(|(_, row)| !row.trim().is_empty());
        rows.map(|(line, row)| Ok((line, numbers(task, format, row).map_err(|what| wrong(path, line, what))?)))
            .collect::<Result<_>>()?
    };
    let fits = |len: usize| if of_steps { len > 0 && len.is_multiple_of(width.max(1)) } else { len == width };
    if let Some((line, vector)) = vectors.iter().find(|(_, vector)| !fits(vector.len())) {
        let each = if of_steps { " for each step" } else { "" };
        let what = format!("the vector has {} numbers, the model takes {width}{each}", vector.len());
        return Err(wrong(path, *line, what).mend("give vectors like those of the training"));
    }
    Ok(vectors.into_iter().map(|(_, vector)| vector).collect())
}

fn wrong(path: &Path, line: u64, what: impl Into<String>) -> Error {
    Error::input_at(path, At::Line(line), what)
}

/// The numbers of a row.
fn numbers(task: &TaskConfig, format: FormatName, row: &str) -> Result<Vec<f32>, String> {
    if format == FormatName::JsonLines {
        let object = serde_json::from_str(row).map_err(|error| format!("is not valid JSON: {error}"))?;
        return json_vector(task, &object);
    }
    let number = |field: &str| {
        let number = field.trim().parse().ok().filter(|number: &f32| number.is_finite());
        number.map(|number| number * task.vector_scale).ok_or_else(|| format!("`{field}` is not a number of a vector"))
    };
    row.split([',', '\t']).map(number).collect()
}
