//! Lines of words and numbers: word2vec's text and GloVe's.
//!
//! A line is read from its end: D numbers, and the word is what stands before them, so that words with spaces (`. . .` in
//! GloVe's 840 billion) are words. A word whose last part is a number would hide a line of too many numbers, and is refused.

use std::io::Write as _;

use super::input::{Input, LONGEST_LINE};
use super::{Format, Loaded, Out, ReadOptions, Rows, check_word, shown};
use crate::error::{At, Error, Result};
use crate::network::require_memory;
use crate::vectors::WordVectors;
use unroll_kernels::mat::padded;

/// Most values of a vector: as f32 they are as long as the longest line.
pub(super) const LARGEST_DIM: usize = LONGEST_LINE / 4;

/// The byte-order mark that some programs write before a text of UTF-8. It is no part of the text.
pub(in crate::vectors) const MARK: &[u8] = b"\xef\xbb\xbf";

/// Consumes it.
pub(super) fn skip_mark(input: &mut Input<'_>) -> Result<()> {
    if input.peek(MARK.len())?.starts_with(MARK) {
        input.consume(MARK.len());
    }
    Ok(())
}

/// The sizes at the beginning of word2vec's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) words: u64,
    pub(super) dim: usize,
}

/// The two whole numbers of a line `V D`, if it is one, however large and of whichever sign.
fn two_numbers(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = line.trim_ascii().split(|&byte| byte == b' ' || byte == b'\t').filter(|part| !part.is_empty());
    let (words, dim) = (parts.next()?, parts.next()?);
    let whole = |part: &[u8]| {
        let digits = part.strip_prefix(b"-").or(part.strip_prefix(b"+")).unwrap_or(part);
        !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
    };
    (parts.next().is_none() && whole(words) && whole(dim)).then_some((words, dim))
}

/// Whether a line says sizes, possible ones or not.
pub(super) fn says_sizes(line: &[u8]) -> bool {
    two_numbers(line).is_some()
}

/// The sizes in such a line.
pub(super) fn sizes(line: &[u8]) -> Option<(u64, u64)> {
    let (words, dim) = two_numbers(line)?;
    let number = |part: &[u8]| match part.iter().all(u8::is_ascii_digit) {
        true => std::str::from_utf8(part).ok()?.parse().ok(),
        false => None,
    };
    Some((number(words)?, number(dim)?))
}

/// Reads the line of sizes, and compares them with the length of the file: each word needs at least `least(D)` bytes.
pub(super) fn header(input: &mut Input<'_>, least: impl Fn(u64) -> u64, options: &ReadOptions) -> Result<Header> {
    let (path, size) = (input.path(), input.size());
    let line = input.until(b'\n', 64)?;
    let Some((words, dim)) = line.and_then(sizes) else {
        let what = match line.and_then(two_numbers) {
            Some((words, dim)) => {
                let [words, dim] = [words, dim].map(String::from_utf8_lossy);
                format!("announces {words} words with vectors of {dim} values")
            }
            None => "does not begin with a line of two numbers, how many words there are and how many values a \
                     vector has"
                .to_owned(),
        };
        return Err(Error::input_at(path, At::Line(1), what));
    };
    let length = line.map_or(0, <[u8]>::len) + 1;
    let wrong = |what: String| Err(Error::input_at(path, At::Line(1), what));
    if words == 0 || dim == 0 {
        return wrong(format!("announces {words} words with vectors of {dim} values"));
    }
    if dim > LARGEST_DIM as u64 {
        return wrong(format!("announces vectors of {dim} values, more than {LARGEST_DIM}"));
    }
    let need = words.checked_mul(least(dim));
    if let Some(size) = size
        && need.is_none_or(|need| need > size - length as u64)
        && options.limit.is_none()
    {
        let left = size - length as u64;
        return wrong(format!("announces {words} words with vectors of {dim} values, and {left} bytes follow"));
    }
    input.consume(length);
    Ok(Header { words, dim: dim as usize })
}

/// Refuses vectors that memory cannot hold.
pub(super) fn require(words: u64, dim: usize) -> Result<()> {
    require_memory("reading these vectors", words.saturating_mul(4 * padded(dim) as u64))
}

pub(super) fn read(mut input: Input<'_>, format: Format, options: &ReadOptions) -> Result<Loaded> {
    let path = input.path();
    skip_mark(&mut input)?;
    let mut number = 1;
    let header = match format {
        Format::Word2VecText => {
            // A word, a space, a digit; then a space and a digit for each further value; a line feed but behind the last.
            let header = header(&mut input, |dim| 2 * dim + 1, options)?;
            number += 1;
            Some(header)
        }
        _ => None,
    };
    let wanted = options.limit.map_or(u64::MAX, |limit| limit as u64).min(header.map_or(u64::MAX, |h| h.words));
    let dim = match header {
        Some(header) => header.dim,
        None => match input.until(b'\n', LONGEST_LINE)?.map(<[u8]>::len) {
            Some(length) => numbers_at_end(&input.peek(length)?[..length]),
            None => numbers_at_end(input.peek(LONGEST_LINE)?),
        },
    };
    if dim == 0 || dim > LARGEST_DIM {
        return Err(Error::input_at(path, At::Line(1), format!("has {dim} numbers after a word")));
    }
    let mut rows = Rows::new(path, dim, false, options);
    if let (Some(header), Some(_)) = (header, input.size()) {
        let words = options.most(header.words);
        require(words, header.dim)?;
        rows.vectors.reserve(words as usize);
    }
    let (mut row, mut read) = (vec![0.0; dim], 0);
    while read < wanted {
        let Some(line) = input.line(number)? else { break };
        if line.trim_ascii().is_empty() {
            let what = "an empty line stands where a word is expected";
            if header.is_some() || input.line(number + 1)?.is_some() {
                return Err(Error::input_at(path, At::Line(number), what));
            }
            break; // one at the end
        }
        let word = split(line, &mut row).map_err(|what| Error::input_at(path, At::Line(number), what))?;
        rows.push(word, 0, &row, At::Line(number))?;
        (read, number) = (read + 1, number + 1);
    }
    if let Some(header) = header.filter(|_| options.limit.is_none()) {
        if read < header.words {
            let what = format!("the file ends after {read} words, its first line says {}", header.words);
            return Err(Error::input_at(path, At::Line(number), what).mend("download it again, or fix that line"));
        }
        while let Some(line) = input.line(number)? {
            if !line.trim_ascii().is_empty() {
                let what = format!("a line follows the {} words that the first line says there are", header.words);
                return Err(Error::input_at(path, At::Line(number), what));
            }
            number += 1;
        }
    }
    rows.doubts.extend(input.doubt());
    rows.loaded(format)
}

/// How many numbers stand at the end of a line, behind at least one other part.
pub(super) fn numbers_at_end(line: &[u8]) -> usize {
    let mut rest = line.trim_ascii_end();
    let mut numbers = 0;
    while let Some((before, part)) = last_part(rest) {
        if part.len() > LONGEST_NUMBER || value(part).is_none() {
            break;
        }
        (rest, numbers) = (before, numbers + 1);
    }
    numbers
}

/// What stands before the last separator, and behind it.
fn last_part(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let place = line.iter().rposition(|&byte| byte == b' ' || byte == b'\t')?;
    Some((&line[..place], &line[place + 1..]))
}

/// Letters of a number at most; the longest f64 in full has fewer.
const LONGEST_NUMBER: usize = 1100;

/// The value of a number.
pub(super) fn value(part: &[u8]) -> Option<f32> {
    std::str::from_utf8(part).ok()?.parse().ok()
}

/// The word of a line, whose numbers are put into `row`; or what is wrong.
fn split<'l>(line: &'l [u8], row: &mut [f32]) -> Result<&'l [u8], String> {
    let dim = row.len();
    let mut rest = line.trim_ascii_end();
    for column in (0..dim).rev() {
        let Some((before, part)) = last_part(rest) else {
            let found = dim - 1 - column;
            return Err(format!("{found} numbers stand behind the word {}, the others have {dim}", shown(rest)));
        };
        let Some(number) = value(part) else {
            let place = column + 1;
            return Err(format!("{} stands where value {place} of {dim} of the vector is expected", shown(part)));
        };
        row[column] = number;
        // Between numbers, any number of separators; before the first, one: what stands before that is the word.
        rest = if column > 0 { before.trim_ascii_end() } else { before };
    }
    if holds_number_at_end(rest) {
        return Err(format!("more than the {dim} numbers of the other words follow a word"));
    }
    Ok(rest)
}

fn holds_number_at_end(word: &[u8]) -> bool {
    last_part(word).is_some_and(|(_, part)| value(part).is_some())
}

/// Whether a line that begins with the word gives it back.
pub(super) fn fits(word: &[u8]) -> bool {
    let plain = !word.iter().any(|byte| byte.is_ascii_whitespace());
    plain || !word.contains(&b'\n') && !word.trim_ascii().is_empty() && !holds_number_at_end(word)
}

pub(super) fn write<W: std::io::Write>(out: &mut Out<W>, vectors: &WordVectors, format: Format) -> Result<()> {
    if format == Format::Word2VecText {
        out.put(format!("{} {}\n", vectors.len(), vectors.dim()).as_bytes())?;
    }
    let mut line = Vec::new();
    for (row, word) in vectors.words().enumerate() {
        check_word(word, row, format)?;
        line.clear();
        line.extend_from_slice(word);
        for value in vectors.row(row) {
            // The shortest that is read as this f32, with a point or an exponent. Writing to memory does not fail.
            let _ = write!(line, " {value:?}");
        }
        line.push(b'\n');
        out.put(&line)?;
    }
    Ok(())
}
