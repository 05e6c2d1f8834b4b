//! Counting the tokens of a text, and choosing the vocabulary.

use std::cmp::Reverse;
use std::convert::Infallible;
use std::io;

use rayon::slice::ParallelSliceMut;

use super::table::Table;
use super::tokenizer::clusters;
use super::words::{Piece, Splitter};
use super::{END_OF_SENTENCE, Level, MAX_TOKEN_BYTES, TextOptions, UNKNOWN, Vocabulary};
use crate::error::{Error, Result};

/// A string of a vocabulary, in its order: the most frequent first, and of those as frequent the one whose bytes come first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Kept<'a> {
    count: Reverse<u64>,
    /// The first eight bytes as a number, which tells nearly all strings apart without looking them up in memory.
    start: u64,
    text: &'a str,
}

impl<'a> Kept<'a> {
    fn new(text: &'a str, count: u64) -> Kept<'a> {
        let mut start = [0; 8];
        let bytes = &text.as_bytes()[..text.len().min(8)];
        start[..bytes.len()].copy_from_slice(bytes);
        Kept { count: Reverse(count), start: u64::from_be_bytes(start), text }
    }

    fn count(&self) -> u64 {
        self.count.0
    }
}

/// Counts tokens of one level. Counters of parts of a text can be added in any order.
#[derive(Debug)]
pub(crate) struct Counter {
    options: TextOptions,
    splitter: Splitter,
    /// One counter a byte (byte level), an ASCII character (grapheme level) or a code point (char level).
    flat: Vec<u64>,
    /// Clusters and words.
    table: Table,
    lines: u64,
    total: u64,
    /// Tokens of words that are left out of the vocabulary, and are in no table any more.
    dropped: u64,
}

impl Counter {
    pub(crate) fn new(options: &TextOptions) -> Counter {
        let flat = match options.level {
            Level::Byte => 256,
            // Nine megabytes of address space, of which only the pages of the scripts in use become memory.
            Level::Char => char::MAX as usize + 1,
            Level::Grapheme => 128,
            Level::Word => 0,
        };
        Counter {
            options: options.clone(),
            splitter: Splitter::new(options),
            flat: vec![0; flat],
            table: Table::new(),
            lines: 0,
            total: 0,
            dropped: 0,
        }
    }

    /// How many tokens were counted.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// How many entries the table of strings holds: the part of a counter that can grow large.
    pub(crate) fn strings(&self) -> usize {
        self.table.len()
    }

    /// Bytes that the table of strings takes.
    pub(crate) fn memory(&self) -> usize {
        self.table.memory()
    }

    /// Hands out the strings and their counts in the order of their bytes, and forgets them. All that was counted but for
    /// these strings stays.
    ///
    /// # Errors
    /// The first of `each`.
    pub(crate) fn drain_sorted(&mut self, mut each: impl FnMut(&[u8], u64) -> io::Result<()>) -> io::Result<()> {
        // A new table, not an empty one of the old size: it is to be small.
        let empty = self.table.another();
        let table = std::mem::replace(&mut self.table, empty);
        let mut order: Vec<u32> = (0..table.len() as u32).collect();
        order.sort_unstable_by_key(|&index| table.get_bytes(index as usize));
        order.into_iter().try_for_each(|index| each(table.get_bytes(index as usize), table.count(index as usize)))
    }

    /// Takes back a string that [`drain_sorted`](Self::drain_sorted) gave, with its whole count, if the vocabulary may keep it;
    /// else it is only remembered how many tokens it stood for.
    pub(crate) fn keep(&mut self, word: &[u8], count: u64) {
        let special = word == UNKNOWN.as_bytes() || word == END_OF_SENTENCE.as_bytes();
        if count < self.options.min_count && !special {
            self.dropped += count;
            return;
        }
        self.table.add_bytes(word, 0..word.len(), count);
        // Of twice as many words as may be kept, half are dropped. One more than the vocabulary has room for stays, so that it
        // knows that it is full.
        if let Ok(most) = usize::try_from(self.options.max_size)
            && most > 0
            && self.options.has_unknown()
            && self.table.len() > 2 * most + 64
        {
            self.drop_all_but(most + 1);
        }
    }

    /// Drops all strings but the most frequent, and those that are not words.
    fn drop_all_but(&mut self, most: usize) {
        let mut entries: Vec<Kept<'_>> = self.table.iter().map(|(text, count)| Kept::new(text, count)).collect();
        entries.select_nth_unstable(most);
        let mut table = self.table.another();
        for (at, entry) in entries.iter().enumerate() {
            if at < most || entry.text == UNKNOWN || entry.text == END_OF_SENTENCE {
                table.add(entry.text, entry.count());
            } else {
                self.dropped += entry.count();
            }
        }
        self.table = table;
    }

    /// Counts the bytes of a piece of text (byte level).
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        // Four histograms, so that a run of equal bytes does not wait for its own counter.
        let mut parts = [[0_u64; 256]; 4];
        let (fours, rest) = bytes.as_chunks::<4>();
        for four in fours {
            for (part, &byte) in parts.iter_mut().zip(four) {
                part[byte as usize] += 1;
            }
        }
        for &byte in rest {
            parts[0][byte as usize] += 1;
        }
        for part in &parts {
            self.flat.iter_mut().zip(part).for_each(|(sum, count)| *sum += count);
        }
        self.total += bytes.len() as u64;
    }

    /// Counts the tokens of a piece of text that cuts no token.
    pub(crate) fn text(&mut self, text: &str) {
        let text = &*self.options.clean.clean(text);
        match self.options.level {
            Level::Byte => self.bytes(text.as_bytes()),
            Level::Char => {
                for c in text.chars() {
                    self.flat[c as usize] += 1;
                    self.total += 1;
                }
            }
            Level::Grapheme => {
                for cluster in clusters(text) {
                    match cluster.as_bytes() {
                        [byte] => self.flat[*byte as usize] += 1,
                        _ => _ = self.table.add(cluster, 1),
                    }
                    self.total += 1;
                }
            }
            Level::Word => {
                let Counter { splitter, table, lines, total, .. } = self;
                let Ok(()) = splitter.split(text, |piece| {
                    match piece {
                        Piece::Word(word) => _ = table.add_in(word.buffer, word.range, 1),
                        Piece::EndOfLine => *lines += 1,
                    }
                    *total += 1;
                    Ok::<(), Infallible>(())
                });
            }
        }
    }

    /// Counts the end of a file whose last line has no line feed.
    pub(crate) fn end_of_line(&mut self) {
        self.lines += 1;
        self.total += 1;
    }

    /// An empty counter of the same tokens, for a part of a text, which [`take`](Self::take) takes.
    pub(crate) fn another(&self) -> Counter {
        Counter { table: self.table.another(), ..Counter::new(&self.options) }
    }

    /// Moves all that `other`, from [`another`](Self::another), counted into this counter.
    ///
    /// # Panics
    /// Panics if it is from elsewhere.
    pub(crate) fn take(&mut self, other: &mut Counter) {
        self.flat.iter_mut().zip(&mut other.flat).for_each(|(sum, count)| *sum += std::mem::take(count));
        self.table.absorb(&other.table);
        other.table.clear();
        self.lines += std::mem::take(&mut other.lines);
        self.total += std::mem::take(&mut other.total);
    }

    /// The vocabulary of what was counted.
    ///
    /// # Errors
    /// [`Error::Usage`] if tokens must be dropped and nothing stands for them.
    pub(crate) fn vocabulary(&self) -> Result<Vocabulary> {
        if self.options.level == Level::Byte {
            let mut counts = [0; 256];
            counts.copy_from_slice(&self.flat);
            return Ok(Vocabulary::of_bytes(&counts));
        }
        let mut encoded = String::new();
        let mut ends = Vec::new();
        for (code, _) in self.flat.iter().enumerate().filter(|&(_, &count)| count > 0) {
            encoded.extend(char::from_u32(code as u32));
            ends.push((encoded.len(), code));
        }
        let starts = std::iter::once(0).chain(ends.iter().map(|&(end, _)| end));
        let flat = starts.zip(&ends).map(|(start, &(end, code))| (&encoded[start..end], self.flat[code]));
        let (mut unknown, mut lines) = (self.dropped, self.lines);
        let has_unknown = self.options.has_unknown();
        let mut kept: Vec<Kept<'_>> = Vec::new();
        for (text, count) in flat.chain(self.table.iter()) {
            if has_unknown && text == UNKNOWN {
                unknown += count;
            } else if self.options.has_eos() && text == END_OF_SENTENCE {
                lines += count;
            } else if count < self.options.min_count {
                unknown += count;
            } else {
                kept.push(Kept::new(text, count));
            }
        }
        let specials = usize::from(has_unknown) + usize::from(self.options.has_eos());
        let room = match usize::try_from(self.options.max_size) {
            Ok(max) if max > 0 => max.saturating_sub(specials),
            _ => usize::MAX,
        };
        if kept.len() > room {
            if !has_unknown {
                return Err(Error::option(
                    "--max-vocab",
                    format!("the text has {} different tokens, but at most {room} may be kept", kept.len()),
                )
                .mend("allow more, or set unknown to true so that `<unk>` stands for the others"));
            }
            kept.select_nth_unstable(room);
            unknown += kept.drain(room..).map(|kept| kept.count()).sum::<u64>();
        }
        if let Some(Kept { text: long, .. }) = kept.iter().find(|kept| kept.text.len() > MAX_TOKEN_BYTES) {
            let start: String = long.chars().take(20).collect();
            let what = format!("the text has a word of {} bytes, which begins with {start:?}", long.len());
            return Err(Error::usage(what).mend("use the level char or byte, or a minimum count that leaves it out"));
        }
        if has_unknown {
            kept.push(Kept::new(UNKNOWN, unknown));
        }
        if self.options.has_eos() {
            kept.push(Kept::new(END_OF_SENTENCE, lines));
        }
        // No two are equal, so that the order is the same for any number of threads.
        kept.par_sort_unstable();
        Ok(Vocabulary::from_ordered(&self.options, kept.into_iter().map(|kept| (kept.text, kept.count()))))
    }
}
