//! What a file of word vectors is, by its first bytes.

use std::path::Path;

use super::input::Input;
use super::list;
use super::projector::is_vectors;
use super::text::{MARK, numbers_at_end, says_sizes, sizes};
use super::{Format, shown};
use crate::error::{Error, Result};

/// Bytes that are looked at: a first line may be long.
const LOOKED_AT: usize = 1 << 20;

/// The first bytes of a model of fastText (793712314).
const FASTTEXT: [u8; 4] = [0xba, 0x16, 0x4f, 0x2f];

/// The format of the file, of which nothing is consumed.
pub(super) fn format(input: &mut Input<'_>) -> Result<Format> {
    let path = input.path();
    let start = input.peek(LOOKED_AT)?;
    if start.is_empty() {
        return Err(Error::input(path, "is empty"));
    }
    if start.starts_with(b"\x93NUMPY") {
        return Ok(Format::NumPy);
    }
    if start.len() > 9 && start[8] == b'{' && start[4..8] == [0; 4] {
        return Ok(Format::Safetensors);
    }
    let start = start.strip_prefix(MARK).unwrap_or(start);
    let line_end = start.iter().position(|&byte| byte == b'\n');
    let line = &start[..line_end.unwrap_or(start.len())];
    let name = path.as_os_str().as_encoded_bytes();
    let tsv = name.ends_with(b".tsv") || name.ends_with(b".tsv.gz");
    if is_vectors(line, says_sizes(line), tsv) {
        return Ok(Format::Projector);
    }
    // Words stand beside it: a first line of anything but values is damaged.
    let beside = |path: &Path| list::name_of(path, Format::Projector).is_some_and(|words| words.is_file());
    if tsv && !says_sizes(line) && beside(path) {
        return Ok(Format::Projector);
    }
    if let (Some(sizes), Some(end)) = (sizes(line), line_end) {
        let rest = &start[end + 1..];
        // A few binary values can look like text; a file that is all there is one of the two from its beginning to its end.
        let binary = start.len() < LOOKED_AT && is_whole_binary(rest, sizes) && !is_whole_text(rest, sizes);
        let text = !binary && is_text(rest, sizes.1);
        return Ok(if text { Format::Word2VecText } else { Format::Word2VecBinary });
    }
    if says_sizes(line) {
        return Ok(Format::Word2VecText);
    }
    if start.starts_with(&FASTTEXT) || is_old_fasttext(start) {
        return Err(Error::input(path, "is a model of fastText, with the vectors of parts of words").mend(
            "read the file of vectors beside it, which ends in .vec, or write it with `fasttext print-word-vectors`",
        ));
    }
    if numbers_at_end(line) > 0 {
        return Ok(Format::Glove);
    }
    if line.contains(&0) {
        return Err(Error::input(path, "is not a file of word vectors: its first bytes match no known format"));
    }
    let what = format!("is not a file of word vectors: its first line does not end in numbers, {}", shown(line));
    Err(Error::input(path, what).mend("to make vectors of the words of a text, use `unroll vectors train`"))
}

/// Whether a record is text: D numbers stand at the end of its line or, should that be damaged, as many bytes as its D values
/// would take, up to the end of the line, could be those of numbers.
fn is_text(record: &[u8], dim: u64) -> bool {
    let line = record.iter().position(|&byte| byte == b'\n').map_or(record, |end| &record[..end]);
    if numbers_at_end(line) as u64 >= dim {
        return true;
    }
    let Some(space) = record.iter().position(|&byte| byte == b' ' || byte == b'\t') else { return false };
    let bytes = usize::try_from(dim).map_or(usize::MAX, |dim| dim.saturating_mul(4));
    let values = line.get(space + 1..).unwrap_or_default().iter().take(bytes);
    let mut length = 0;
    values.inspect(|_| length += 1).all(|byte| b"0123456789+-.,eE \t\rnaifNAIFty".contains(byte)) && length > 0
}

/// Whether these bytes are as many lines as there are words, each with the numbers of its vector.
fn is_whole_text(bytes: &[u8], (words, dim): (u64, u64)) -> bool {
    let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    let mut count = 0;
    lines.inspect(|_| count += 1).all(|line| numbers_at_end(line) as u64 >= dim) && count == words
}

/// Whether these bytes are as many binary records as there are words, with a line feed behind each or not.
fn is_whole_binary(mut bytes: &[u8], (words, dim): (u64, u64)) -> bool {
    let values = usize::try_from(dim).map_or(usize::MAX, |dim| dim.saturating_mul(4));
    for _ in 0..words {
        let Some(space) = bytes.iter().position(|&byte| byte == b' ').filter(|&end| !bytes[..end].contains(&b'\n'))
        else {
            return false;
        };
        let Some(rest) = bytes.get((space + 1).saturating_add(values)..) else { return false };
        bytes = rest.strip_prefix(b"\n").unwrap_or(rest);
    }
    bytes.is_empty()
}

/// Whether the file begins with the settings of a model of fastText from before its files had a magic number: twelve numbers
/// (dimension, window, epochs, least count, negatives, n-grams of words, loss, kind, buckets, shortest and longest n-gram, rate
/// of updates) and the threshold of subsampling.
fn is_old_fasttext(start: &[u8]) -> bool {
    let Some((settings, _)) = start.split_first_chunk::<56>() else { return false };
    let (fours, threshold) = settings.split_at(48);
    let (fours, _) = fours.as_chunks::<4>();
    let settings: Vec<i32> = fours.iter().map(|&four| i32::from_le_bytes(four)).collect();
    let threshold = threshold.first_chunk().map_or(f64::NAN, |&eight| f64::from_le_bytes(eight));
    (1..10_000).contains(&settings[0])
        && (1..1000).contains(&settings[1])
        && (1..=3).contains(&settings[6])
        && (1..=3).contains(&settings[7])
        && settings.iter().all(|&setting| setting >= 0)
        && (0.0..1.0).contains(&threshold)
}
