//! Text in pieces that cut no token.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use unicode_segmentation::UnicodeSegmentation;

use super::build::Progress;
use super::format::MAGIC;
use super::source::{Input, Raw, stopped};
use crate::error::{At, Error, Result};
use crate::text::{EncodingErrors, Level, decode_into, last_whitespace_end};

/// Bytes read at a time. Two buffers of this size and what they become are all that a thread holds.
const PIECE: usize = 1 << 20;

/// A piece of text.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    /// Its bytes, at byte level.
    pub(super) bytes: Vec<u8>,
    /// Its text, at the other levels.
    pub(super) text: String,
    /// Which input it is from.
    pub(super) input: usize,
    /// Where it starts in that input, in bytes of the text.
    pub(super) offset: u64,
    /// Whether it ends the input without a line feed.
    pub(super) open_line: bool,
}

/// How the text is read.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    pub(super) level: Level,
    pub(super) errors: EncodingErrors,
    /// Whether the text is prepared, which may join characters and looks at what stands before them.
    pub(super) cleans: bool,
    /// Beside which file to put a copy of what cannot be read twice, if it will be.
    pub(super) again: Option<&'a Path>,
    /// Which pass over the text this is, from 1.
    pub(super) pass: u32,
    pub(super) progress: Option<&'a (dyn Fn(Progress) + Sync)>,
    pub(super) cancel: Option<&'a AtomicBool>,
}

/// The pieces of all inputs, in order.
pub(super) struct Chunks<'a> {
    inputs: &'a mut [Input],
    reading: Reading<'a>,
    current: Option<Current<'a>>,
    next: usize,
    bytes: u64,
}

/// The input being read.
struct Current<'a> {
    reader: Raw<'a>,
    /// Bytes that are no whole character yet, and where they start in the input.
    raw: Vec<u8>,
    raw_offset: u64,
    /// Text that is no whole token yet.
    carry: String,
    /// Where the next piece starts.
    offset: u64,
    /// The last byte of the last piece.
    last: Option<u8>,
}

impl<'a> Chunks<'a> {
    pub(super) fn new(inputs: &'a mut [Input], reading: Reading<'a>) -> Chunks<'a> {
        Chunks { inputs, reading, current: None, next: 0, bytes: 0 }
    }

    /// Fills the chunk with the next piece; false when there is none.
    pub(super) fn fill(&mut self, chunk: &mut Chunk) -> Result<bool> {
        if self.reading.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
            return Err(stopped());
        }
        if self.current.is_none() {
            let Some(input) = self.inputs.get_mut(self.next) else { return Ok(false) };
            self.current =
                Some(Current::new(input.open(self.reading.again, self.reading.cancel, self.reading.errors)?));
            self.next += 1;
        }
        let Some(current) = &mut self.current else { return Ok(false) };
        let input = &self.inputs[self.next - 1];
        chunk.input = self.next - 1;
        let ended = match self.reading.level {
            Level::Byte => current.fill_bytes(chunk, input)?,
            _ => current.fill_text(chunk, input, &self.reading)?,
        };
        self.bytes += chunk.len();
        if ended {
            self.current = None;
        }
        if let Some(progress) = self.reading.progress {
            progress(Progress { pass: self.reading.pass, bytes: self.bytes });
        }
        Ok(true)
    }
}

impl Chunk {
    /// Bytes of text.
    pub(super) fn len(&self) -> u64 {
        (self.bytes.len() + self.text.len()) as u64
    }

    /// Unicode scalar values; at byte level bytes that start one.
    pub(super) fn chars(&self) -> u64 {
        let continues = self.bytes.iter().filter(|&&byte| byte & 0xc0 == 0x80).count();
        (self.bytes.len() - continues + self.text.chars().count()) as u64
    }
}

impl<'a> Current<'a> {
    fn new(reader: Raw<'a>) -> Current<'a> {
        Current { reader, raw: Vec::new(), raw_offset: 0, carry: String::new(), offset: 0, last: None }
    }

    /// Whether the input has ended.
    fn fill_bytes(&mut self, chunk: &mut Chunk, input: &Input) -> Result<bool> {
        chunk.bytes.clear();
        let reader = self.reader.by_ref().take(PIECE as u64);
        let count = { reader }.read_to_end(&mut chunk.bytes).map_err(|e| input.read_error(e))?;
        chunk.offset = self.offset;
        self.offset += count as u64;
        Ok(count < PIECE)
    }

    /// Whether the input has ended.
    fn fill_text(&mut self, chunk: &mut Chunk, input: &Input, reading: &Reading<'_>) -> Result<bool> {
        chunk.text.clear();
        std::mem::swap(&mut chunk.text, &mut self.carry);
        chunk.offset = self.offset;
        chunk.open_line = false;
        let ended = loop {
            let count = self.reader.by_ref().take(PIECE as u64).read_to_end(&mut self.raw);
            let ended = count.map_err(|e| input.read_error(e))? < PIECE;
            let used = decode_into(&self.raw, ended, reading.errors, &mut chunk.text).map_err(|bad| {
                let place = At::Byte(self.raw_offset + bad.offset as u64);
                invalid(&input.name, place, self.raw_offset, &self.raw, bad.offset)
            })?;
            self.raw.drain(..used);
            self.raw_offset += used as u64;
            if ended {
                break true;
            }
            let cut = match reading.level {
                Level::Word => last_whitespace_end(&chunk.text).unwrap_or(0),
                Level::Char | Level::Grapheme if reading.cleans => last_whitespace_end(&chunk.text)
                    .or_else(|| chunk.text.grapheme_indices(true).next_back().map(|(at, _)| at))
                    .unwrap_or(0),
                Level::Grapheme => chunk.text.grapheme_indices(true).next_back().map_or(0, |(at, _)| at),
                Level::Byte | Level::Char => chunk.text.len(),
            };
            if cut > 0 {
                self.carry.push_str(&chunk.text[cut..]);
                chunk.text.truncate(cut);
                break false;
            }
            if chunk.text.len() >= PIECE {
                let what = match reading.level {
                    Level::Word => "no white space in a mebibyte of text, so it has no words",
                    _ => "a single character, with all its marks, of more than a mebibyte",
                };
                return Err(
                    Error::input_at(&input.name, At::Byte(self.offset), what).mend("use the level char or byte")
                );
            }
        };
        self.offset += chunk.text.len() as u64;
        self.last = chunk.text.bytes().last().or(self.last);
        chunk.open_line = ended && self.last.is_some_and(|byte| byte != b'\n');
        // A byte order mark is no part of the first word. Lossless levels keep it.
        if chunk.offset == 0 && reading.level == Level::Word && chunk.text.starts_with('\u{feff}') {
            chunk.text.drain(..3);
            chunk.offset = 3;
        }
        Ok(ended)
    }
}

/// How a text is mended that is not UTF-8.
pub(super) const NOT_UTF8: &str = "convert it: iconv -f LATIN1 -t UTF-8; or give --encoding-errors replace or skip";

/// The error of a byte that is no UTF-8, at `at` of the bytes that start at `offset` of the input; to be told as this place.
pub(super) fn invalid(name: &Path, place: At, offset: u64, bytes: &[u8], at: usize) -> Error {
    if offset == 0 && matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
        return Error::input_at(name, place, "the text is not UTF-8; it begins as UTF-16 does")
            .mend("convert it: iconv -f UTF-16 -t UTF-8");
    }
    if offset == 0 && bytes.starts_with(&MAGIC) {
        return Error::input(name, "is a token file, not text")
            .mend("give it alone: `unroll train --data FILE`; or name the texts that it was built from");
    }
    Error::input_at(name, place, format!("the byte 0x{:02x} is not valid UTF-8 here", bytes[at])).mend(NOT_UTF8)
}
