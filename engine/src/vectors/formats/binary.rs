//! word2vec's binary format: `V D` and a line feed; for each word its bytes, a space and D f32 of little end; behind each
//! vector word2vec writes a line feed, and gensim does not. Both are read, and told apart by what follows the first vector; all
//! others must be alike, and no word has a line feed in it.

use std::io::Write;

use super::input::Input;
use super::text::{header, require};
use super::{Format, Loaded, Out, ReadOptions, Rows, check_word, shown};
use crate::error::{At, Result};
use crate::text::MAX_TOKEN_BYTES;
use crate::vectors::WordVectors;

pub(super) fn read(mut input: Input<'_>, options: &ReadOptions) -> Result<Loaded> {
    let path = input.path();
    // At least one letter, a space and the values.
    let header = header(&mut input, |dim| 4 * dim + 2, options)?;
    let words = header.words.min(options.limit.map_or(u64::MAX, |limit| limit as u64));
    let mut rows = Rows::new(path, header.dim, false, options);
    if input.size().is_some() {
        let most = options.most(words);
        require(most, header.dim)?;
        rows.vectors.reserve(usize::try_from(most).unwrap_or(usize::MAX));
    }
    let (bytes, mut row) = (4 * header.dim, vec![0.0_f32; header.dim]);
    let (mut feeds, mut strange) = (None, None);
    for number in 1..=words {
        let start = input.at();
        let Some(length) = input.until(b' ', MAX_TOKEN_BYTES)?.map(<[u8]>::len) else {
            let what = match input.peek(MAX_TOKEN_BYTES)?.len() {
                0 => format!("the file ends after {} of {} words", number - 1, header.words),
                left if left < MAX_TOKEN_BYTES => {
                    format!("the file ends within word {number} of {}, before its vector", header.words)
                }
                _ => format!("word {number} does not end within {MAX_TOKEN_BYTES} bytes: the file is damaged before"),
            };
            return Err(input.wrong(start, what));
        };
        let record = input.peek(length + 1 + bytes)?;
        let (word, found) = (&record[..length], record.len() - length - 1);
        if found < bytes {
            let what = format!(
                "the file ends within the vector of word {number} of {}, {}: {found} of its {bytes} bytes are there",
                header.words,
                shown(word)
            );
            return Err(input.wrong(start, what));
        }
        let (values, _) = record[length + 1..][..bytes].as_chunks::<4>();
        row.iter_mut().zip(values).for_each(|(x, &four)| *x = f32::from_le_bytes(four));
        if let Some(place) = word.iter().position(|&byte| byte == b'\n') {
            let what = format!(
                "a line feed stands in word {number} of {}, {}: the file is damaged here or before",
                header.words,
                shown(word)
            );
            return Err(input.wrong(start + place as u64, what));
        }
        if strange.is_none() && std::str::from_utf8(word).map_or(true, |word| word.contains(char::is_control)) {
            strange = Some(format!("word {number} is {}, which is not text", shown(word)));
        }
        rows.push(word, 0, &row, At::Byte(start))?;
        input.consume(length + 1 + bytes);
        let feed = input.peek(1)?.first() == Some(&b'\n');
        if feed != *feeds.get_or_insert(feed) {
            let what = match feed {
                true => format!("a line feed follows the vector of word {number}, and none those before"),
                false => format!("no line feed follows the vector of word {number}, as it does those before"),
            };
            return Err(input.wrong(input.at(), what));
        }
        input.consume(usize::from(feed));
    }
    let at = input.at();
    let left = input.peek(1)?.len();
    if left > 0 && words == header.words {
        let what = format!("more bytes follow the {} words that the first line says there are", header.words);
        return Err(input.wrong(at, what));
    }
    let format = if feeds == Some(true) { Format::Word2VecBinary } else { Format::GensimBinary };
    // Line feeds show that each vector ends where it should; without them, only the words can.
    if let Some(strange) = strange.filter(|_| format == Format::GensimBinary) {
        rows.doubts.push(format!("{strange}: the file may be damaged before"));
    }
    rows.loaded(format)
}

pub(super) fn write<W: Write>(out: &mut Out<W>, vectors: &WordVectors, format: Format) -> Result<()> {
    out.put(format!("{} {}\n", vectors.len(), vectors.dim()).as_bytes())?;
    let mut record = Vec::new();
    for (row, word) in vectors.words().enumerate() {
        check_word(word, row, format)?;
        record.clear();
        record.extend_from_slice(word);
        record.push(b' ');
        record.extend(vectors.row(row).iter().flat_map(|value| value.to_le_bytes()));
        if format == Format::Word2VecBinary {
            record.push(b'\n');
        }
        out.put(&record)?;
    }
    Ok(())
}
