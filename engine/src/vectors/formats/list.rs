//! The words of the rows of a matrix: a list with a line a word, or the second table of the Embedding Projector.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::input::{Input, LONGEST_LINE};
use super::text::skip_mark;
use super::{Format, Out, ReadOptions, check_word};
use crate::error::{At, Error, Result};
use crate::vectors::WordVectors;

/// The file that the words of a matrix are written to: each matrix has its own.
pub(super) fn name_of(path: &Path, format: Format) -> Option<PathBuf> {
    let name = |name: &Path, end: &str| {
        let mut name = name.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let ends_in = |path: &Path, end: &str| path.extension().is_some_and(|extension| extension == end);
    match format {
        Format::Safetensors | Format::NumPy => Some(name(path, ".words")),
        Format::Projector => {
            let unpacked = if ends_in(path, "gz") { path.with_extension("") } else { path.to_owned() };
            let stem = if ends_in(&unpacked, "tsv") { unpacked.with_extension("") } else { unpacked };
            Some(name(&stem, ".metadata.tsv"))
        }
        Format::Word2VecText | Format::Word2VecBinary | Format::GensimBinary | Format::Glove => None,
    }
}

/// The file that has the words of this matrix: the one that is named, else its own, else the one that matrices of its name
/// shared before they had their own.
pub(super) fn found(path: &Path, format: Format, options: &ReadOptions) -> Result<PathBuf> {
    let own = match &options.words {
        Some(named) => named.clone(),
        None => name_of(path, format).unwrap_or_default(),
    };
    if own.exists() {
        return Ok(own);
    }
    let shared = path.with_extension("words");
    if options.words.is_none() && format != Format::Projector && shared.exists() {
        return Ok(shared);
    }
    let mend = match format {
        Format::Projector => format!(
            "name that of {} with --words FILE, or say --from glove if its first column is of words",
            path.display()
        ),
        _ => format!("name that of {} with --words FILE", path.display()),
    };
    Err(Error::input(own, "no such file: the list of the words of a matrix, one a line").mend(mend))
}

/// The words, one a line.
pub(super) struct List<'a> {
    input: Input<'a>,
    /// The line that is read next, from 1.
    number: u64,
    lines: Lines,
}

/// What a line is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    /// A word.
    Words,
    /// A word, a tab, and how often it was seen.
    Counted,
    /// As many columns as the first line, of which one is the word, and another how often it was seen.
    Columns { all: usize, word: usize, count: Option<usize> },
}

impl<'a> List<'a> {
    /// The list of a matrix.
    pub(super) fn new(mut input: Input<'a>) -> Result<List<'a>> {
        let counted = split(first_line(&mut input)?).is_some();
        Ok(List { input, number: 1, lines: if counted { Lines::Counted } else { Lines::Words } })
    }

    /// The second table of the Projector, whose first line names the columns where there are several. The words are in that
    /// of the name `word`, or the first.
    pub(super) fn of_projector(mut input: Input<'a>) -> Result<List<'a>> {
        let line = first_line(&mut input)?;
        let headings: Vec<&[u8]> = line.split(|&byte| byte == b'\t').collect();
        if headings.len() < 2 {
            return Ok(List { input, number: 1, lines: Lines::Words });
        }
        let column = |name: &[u8]| headings.iter().position(|heading| heading.eq_ignore_ascii_case(name));
        let word = column(b"word").unwrap_or(0);
        let count = column(b"count").filter(|&count| count != word);
        let lines = Lines::Columns { all: headings.len(), word, count };
        input.line(1)?;
        Ok(List { input, number: 2, lines })
    }

    pub(super) fn path(&self) -> &'a Path {
        self.input.path()
    }

    /// The line that is read next.
    pub(super) fn at(&self) -> At {
        At::Line(self.number)
    }

    /// Whether it tells how often words were seen.
    pub(super) fn is_counted(&self) -> bool {
        matches!(self.lines, Lines::Counted | Lines::Columns { count: Some(_), .. })
    }

    /// The next word, and how often it was seen, 0 where that is not told.
    pub(super) fn next(&mut self) -> Result<Option<(Vec<u8>, u64)>> {
        let (path, at) = (self.input.path(), self.at());
        let wrong = |what: String| Error::input_at(path, at, what);
        let Some(line) = self.input.line(self.number)? else { return Ok(None) };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let entry = match self.lines {
            Lines::Words => (line.to_vec(), 0),
            Lines::Counted => {
                let (word, count) = split(line)
                    .ok_or_else(|| wrong("has no tab and number behind the word, as the first line has".to_owned()))?;
                (word.to_vec(), count)
            }
            Lines::Columns { all, word, count } => {
                let parts: Vec<&[u8]> = line.split(|&byte| byte == b'\t').collect();
                if parts.len() != all {
                    return Err(wrong(format!("has {} columns, the first line {all}", parts.len())));
                }
                let count = count.map_or(Ok(0), |count| {
                    number(parts[count])
                        .ok_or_else(|| wrong(format!("column {} is not how often a word was seen", count + 1)))
                });
                (parts[word].to_vec(), count?)
            }
        };
        self.number += 1;
        Ok(Some(entry))
    }
}

/// The first line, which is not consumed, but a byte-order mark before it is.
fn first_line<'i>(input: &'i mut Input<'_>) -> Result<&'i [u8]> {
    skip_mark(input)?;
    let length = input.until(b'\n', LONGEST_LINE)?.map(<[u8]>::len);
    let line = input.peek(length.unwrap_or(LONGEST_LINE))?;
    let line = &line[..length.unwrap_or(line.len())];
    Ok(line.strip_suffix(b"\r").unwrap_or(line))
}

/// A word, a tab and a number.
fn split(line: &[u8]) -> Option<(&[u8], u64)> {
    let tab = line.iter().position(|&byte| byte == b'\t')?;
    Some((&line[..tab], number(&line[tab + 1..])?))
}

fn number(part: &[u8]) -> Option<u64> {
    std::str::from_utf8(part).ok()?.parse().ok()
}

/// Writes the words of vectors that `format` keeps apart from them.
pub(super) fn write<W: Write>(out: &mut Out<W>, vectors: &WordVectors, format: Format) -> Result<()> {
    if format == Format::Projector && vectors.is_counted() {
        out.put(b"word\tcount\n")?;
    }
    for (row, word) in vectors.words().enumerate() {
        check_word(word, row, format)?;
        out.put(word)?;
        if let Some(count) = vectors.count(row) {
            out.put(format!("\t{count}").as_bytes())?;
        }
        out.put(b"\n")?;
    }
    Ok(())
}
