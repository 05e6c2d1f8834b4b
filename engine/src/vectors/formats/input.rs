//! A file read from its beginning through a window, with the place of every byte known.

use std::io::Read;
use std::path::Path;

use crate::corpus::{open_unpacked, read_failed};
use crate::error::{At, Error, Result};

/// Bytes that are asked for at once.
const PIECE: usize = 1 << 20;

/// A line of text or a word is at most as long: what is longer is no file of word vectors, and must not fill the memory.
pub(super) const LONGEST_LINE: usize = 1 << 26;

/// Bytes of a file that may hold anything.
pub(super) struct Input<'a> {
    path: &'a Path,
    reader: Box<dyn Read + 'a>,
    /// The length of the whole, where it is known before it is read.
    size: Option<u64>,
    plain: bool,
    window: Vec<u8>,
    /// The part of the window that has been read from the file and was not consumed.
    start: usize,
    end: usize,
    /// How many bytes stand before `start` in the file.
    at: u64,
    ended: bool,
    /// The last line that was read, where no line feed ended it.
    open_line: Option<u64>,
}

impl<'a> Input<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Input<'a>> {
        let (reader, size) = open_unpacked(path)?;
        Ok(Input { plain: size.is_some(), ..Input::new(path, reader, size) })
    }

    pub(super) fn of_bytes(path: &'a Path, bytes: &'a [u8]) -> Input<'a> {
        Input::new(path, Box::new(bytes), Some(bytes.len() as u64))
    }

    fn new(path: &'a Path, reader: Box<dyn Read + 'a>, size: Option<u64>) -> Input<'a> {
        Input {
            path,
            reader,
            size,
            plain: false,
            window: Vec::new(),
            start: 0,
            end: 0,
            at: 0,
            ended: false,
            open_line: None,
        }
    }

    /// The name in messages.
    pub(super) fn path(&self) -> &'a Path {
        self.path
    }

    /// Bytes of the whole, where that is known.
    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Whether this is the file that bears the name, as it lies there.
    pub(super) fn is_plain_file(&self) -> bool {
        self.plain
    }

    /// How many bytes were consumed.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// What can be looked at: at least `wanted` bytes, or fewer where the file ends before.
    pub(super) fn peek(&mut self, wanted: usize) -> Result<&[u8]> {
        while self.end - self.start < wanted && !self.ended {
            self.read_on(wanted)?;
        }
        Ok(&self.window[self.start..self.end])
    }

    /// Reads at least one more byte, or finds the end.
    fn read_on(&mut self, wanted: usize) -> Result<()> {
        if self.start > 0 {
            self.window.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        // Twice what is there, so that a long line is not asked for piece by piece, but never what is only claimed.
        let piece = self.size.map_or(PIECE, |size| size.saturating_add(1).min(PIECE as u64) as usize);
        let room = piece.max(wanted.min(2 * self.end));
        if self.window.len() < room.max(self.end + 1) {
            self.window.resize(room.max(2 * self.end), 0);
        }
        let read = loop {
            match self.reader.read(&mut self.window[self.end..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let read = read.map_err(|error| self.failed(error, self.at + (self.end - self.start) as u64))?;
        self.end += read;
        self.ended = read == 0;
        Ok(())
    }

    /// Goes on by bytes that were looked at.
    pub(super) fn consume(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.end - self.start);
        self.start += bytes;
        self.at += bytes as u64;
    }

    /// The bytes before the next `end`, if it comes within `limit` bytes. Nothing is consumed.
    pub(super) fn until(&mut self, end: u8, limit: usize) -> Result<Option<&[u8]>> {
        let mut seen = 0;
        loop {
            let window = &self.window[self.start..self.end];
            if let Some(place) = window[seen..].iter().position(|&byte| byte == end) {
                let place = seen + place;
                return Ok((place <= limit).then(|| &self.window[self.start..self.start + place]));
            }
            seen = window.len();
            if seen > limit || self.ended {
                return Ok(None);
            }
            let wanted = seen + 1;
            self.peek(wanted)?;
        }
    }

    /// The next line, without its line feed, which the last need not have; `None` at the end of the file. `number` names
    /// the line in messages.
    pub(super) fn line(&mut self, number: u64) -> Result<Option<&[u8]>> {
        let whole = self.until(b'\n', LONGEST_LINE)?.map(<[u8]>::len);
        let (length, feed) = match whole {
            Some(length) => (length, 1),
            None if self.end - self.start > LONGEST_LINE => {
                let what = format!("the line does not end within {LONGEST_LINE} bytes");
                return Err(Error::input_at(self.path, At::Line(number), what));
            }
            None if self.end == self.start => return Ok(None),
            None => {
                self.open_line = Some(number);
                (self.end - self.start, 0)
            }
        };
        let line = self.start..self.start + length;
        self.consume(length + feed);
        Ok(Some(&self.window[line]))
    }

    /// Whether the last line that was read may have been cut off: every usual writer ends it.
    pub(super) fn doubt(&self) -> Option<String> {
        self.open_line.map(|line| format!("line {line}, the last, has no line feed: the file may have been cut off"))
    }

    /// All bytes that are left.
    pub(super) fn rest(mut self) -> Result<Vec<u8>> {
        let mut bytes = self.window[self.start..self.end].to_vec();
        match self.reader.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(self.failed(error, self.at + bytes.len() as u64)),
        }
    }

    /// What a failure to read on at a byte means; damage of a packed file is told by the byte of what it holds.
    fn failed(&self, error: std::io::Error, at: u64) -> Error {
        let mut error = read_failed(self.path, error);
        if let Error::Input { place, message } = &mut error {
            place.at = At::Byte(at);
            message.what += ", at this byte of what it holds";
        }
        error
    }

    /// What is wrong at a byte of the file.
    pub(super) fn wrong(&self, at: u64, what: impl Into<String>) -> Error {
        Error::input_at(self.path, At::Byte(at), what)
    }
}
