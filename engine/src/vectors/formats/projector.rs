//! The two tables that the Embedding Projector of TensorFlow loads: the vectors, a line each with tabs between the values, and
//! what they are of. With one column that second table has no heading; with more it must have one.

use std::io::Write;

use super::input::{Input, LONGEST_LINE};
use super::list::List;
use super::matrix::Taken;
use super::text::{LARGEST_DIM, skip_mark, value};
use super::{Format, Loaded, Out, ReadOptions, shown};
use crate::error::{At, Error, Result};
use crate::vectors::WordVectors;

/// Whether the first line of a file has values alone, with tabs between them. A line of two whole numbers begins word2vec's files
/// as well: then the file's name decides. In a file that is named as a table, values that are separated otherwise are not taken
/// for a word and its vector either.
pub(super) fn is_vectors(line: &[u8], sizes: bool, tsv: bool) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let number = |part: &[u8]| part.iter().any(u8::is_ascii_digit) && value(part).is_some();
    let tabs = line.contains(&b'\t') && line.split(|&byte| byte == b'\t').all(number);
    match sizes {
        true => tsv && tabs,
        false => tabs || tsv && line.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty()).all(number),
    }
}

/// Reads the table of vectors, with that of the words at hand.
pub(super) fn read(mut input: Input<'_>, list: List<'_>, options: &ReadOptions) -> Result<Loaded> {
    let path = input.path();
    skip_mark(&mut input)?;
    let length = input.until(b'\n', LONGEST_LINE)?.map(<[u8]>::len);
    let first = input.peek(length.unwrap_or(LONGEST_LINE))?;
    let dim = first[..length.unwrap_or(first.len())].split(|&byte| byte == b'\t').count();
    if dim > LARGEST_DIM {
        return Err(Error::input_at(path, At::Line(1), format!("has {dim} values, more than {LARGEST_DIM}")));
    }
    let mut taken = Taken::new(path, dim, None, list, options);
    let (mut row, mut number) = (vec![0.0; dim], 1);
    while options.limit.is_none_or(|limit| number <= limit as u64) {
        let Some(line) = input.line(number)? else { break };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        split(line, &mut row).map_err(|what| Error::input_at(path, At::Line(number), what))?;
        taken.row(&row, |_| At::Line(number))?;
        number += 1;
    }
    taken.rows.doubts.extend(input.doubt());
    taken.end(Format::Projector)
}

/// The values of a line, which are put into `row`; or what is wrong.
fn split(line: &[u8], row: &mut [f32]) -> Result<(), String> {
    let dim = row.len();
    let found = line.split(|&byte| byte == b'\t').count();
    if found != dim {
        return Err(format!("has {found} values with tabs between them, the first line {dim}"));
    }
    for (column, part) in line.split(|&byte| byte == b'\t').enumerate() {
        row[column] = value(part).ok_or_else(|| {
            format!("{} stands where value {} of {dim} of the vector is expected", shown(part), column + 1)
        })?;
    }
    Ok(())
}

pub(super) fn write<W: Write>(out: &mut Out<W>, vectors: &WordVectors) -> Result<()> {
    let mut line = Vec::new();
    for row in 0..vectors.len() {
        line.clear();
        for (column, value) in vectors.row(row).iter().enumerate() {
            let gap = if column > 0 { "\t" } else { "" };
            // Writing to memory does not fail.
            let _ = write!(line, "{gap}{value:?}");
        }
        line.push(b'\n');
        out.put(&line)?;
    }
    Ok(())
}
