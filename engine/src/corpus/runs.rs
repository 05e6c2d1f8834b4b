//! Words and counts that memory does not hold: sorted lists in a file without a name, and their merging.
//!
//! An entry is the length of the word (u32), its count (u64), both of little end, and its bytes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::draft::nameless_file;
use crate::error::{Error, Result};
use crate::report;
use crate::text::Counter;

/// Bytes of a list that are read at once.
const PIECE: usize = 32 << 10;

/// Bytes of an entry before its word.
const START: usize = 12;

/// Sorted lists of words and counts.
pub(super) struct Runs<'a> {
    beside: &'a Path,
    file: Option<File>,
    /// Where each list ends in the file; it begins where the one before it ends.
    ends: Vec<u64>,
}

impl<'a> Runs<'a> {
    /// None yet; they will stand beside this file.
    pub(super) fn new(beside: &'a Path) -> Runs<'a> {
        Runs { beside, file: None, ends: Vec::new() }
    }

    /// How many lists there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io(self.beside, "cannot keep the words that memory does not hold beside it", error)
    }

    /// Writes the words of the counter, which it then has no more.
    pub(super) fn write(&mut self, counter: &mut Counter) -> Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => nameless_file(self.beside, "words")?,
        };
        let mut out = BufWriter::with_capacity(1 << 20, &file);
        let mut written = 0;
        let done = counter.drain_sorted(|word, count| {
            written += (START + word.len()) as u64;
            out.write_all(&(word.len() as u32).to_le_bytes())?;
            out.write_all(&count.to_le_bytes())?;
            out.write_all(word)
        });
        let done = done.and_then(|()| out.flush());
        drop(out);
        self.file = Some(file);
        done.map_err(|error| self.failed(error))?;
        self.ends.push(self.ends.last().copied().unwrap_or(0) + written);
        Ok(())
    }

    /// Adds up the lists and puts the words that the vocabulary may keep into the counter, whose table may grow to `most` bytes.
    ///
    /// # Errors
    /// [`Error::Usage`] if they do not fit; [`Error::Io`] if the file cannot be read.
    pub(super) fn merge(self, counter: &mut Counter, most: usize) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let failed = |error| self.failed(error);
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let mut lists: Vec<List> = starts.zip(&self.ends).map(|(at, &end)| List::new(at, end)).collect();
        let mut heads = BinaryHeap::new();
        for (index, list) in lists.iter_mut().enumerate() {
            heads.extend(list.next(file).map_err(failed)?.map(|(word, count)| Reverse((word, index, count))));
        }
        let mut sum: Option<(Vec<u8>, u64)> = None;
        while let Some(Reverse((word, index, count))) = heads.pop() {
            heads.extend(lists[index].next(file).map_err(failed)?.map(|(word, count)| Reverse((word, index, count))));
            match &mut sum {
                Some((last, total)) if *last == word => *total += count,
                _ => {
                    if let Some((last, total)) = sum.replace((word, count)) {
                        keep(counter, &last, total, most)?;
                    }
                }
            }
        }
        match sum {
            Some((last, total)) => keep(counter, &last, total, most),
            None => Ok(()),
        }
    }
}

fn keep(counter: &mut Counter, word: &[u8], count: u64, most: usize) -> Result<()> {
    counter.keep(word, count);
    if counter.memory() <= most {
        return Ok(());
    }
    let (words, memory) = (report::count(counter.strings() as u64), report::bytes(most as u64));
    Err(Error::usage(format!(
        "more than {words} words are frequent enough for the vocabulary, and do not fit into {memory}"
    ))
    .mend("raise --min-count, set --max-vocab, or allow four times as much memory as they need (--memory of unroll corpus)"))
}

/// A list being read.
struct List {
    at: u64,
    end: u64,
    bytes: Vec<u8>,
    place: usize,
}

impl List {
    fn new(at: u64, end: u64) -> List {
        List { at, end, bytes: Vec::new(), place: 0 }
    }

    /// The next word and its count.
    fn next(&mut self, file: &File) -> io::Result<Option<(Vec<u8>, u64)>> {
        if self.place == self.bytes.len() && self.at == self.end {
            return Ok(None);
        }
        let mut start = [0; START];
        start.copy_from_slice(self.take(file, START)?);
        let [a, b, c, d, count @ ..] = start;
        let word = self.take(file, u32::from_le_bytes([a, b, c, d]) as usize)?.to_vec();
        Ok(Some((word, u64::from_le_bytes(count))))
    }

    /// The next bytes.
    fn take(&mut self, mut file: &File, wanted: usize) -> io::Result<&[u8]> {
        if self.bytes.len() - self.place < wanted {
            self.bytes.drain(..self.place);
            self.place = 0;
            let more = (self.end - self.at).min(wanted.max(PIECE) as u64);
            file.seek(SeekFrom::Start(self.at))?;
            self.at += file.take(more).read_to_end(&mut self.bytes)? as u64;
        }
        self.place += wanted;
        self.bytes.get(self.place - wanted..self.place).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
