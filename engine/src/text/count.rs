//! Counting the tokens of a text, and choosing the vocabulary.

use std::convert::Infallible;

use super::table::Table;
use super::tokenizer::clusters;
use super::words::{Piece, Splitter};
use super::{END_OF_SENTENCE, Level, MAX_TOKEN_BYTES, TextOptions, UNKNOWN, Vocabulary};
use crate::error::{Error, Result};

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

    /// Moves all that `other` counted into this counter.
    pub(crate) fn take(&mut self, other: &mut Counter) {
        self.flat.iter_mut().zip(&mut other.flat).for_each(|(sum, count)| *sum += std::mem::take(count));
        for (text, count) in other.table.iter() {
            self.table.add(text, count);
        }
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
        let (mut unknown, mut lines) = (0, self.lines);
        let has_unknown = self.options.has_unknown();
        let mut kept: Vec<(&str, u64)> = Vec::new();
        for (text, count) in flat.chain(self.table.iter()) {
            if has_unknown && text == UNKNOWN {
                unknown += count;
            } else if self.options.has_eos() && text == END_OF_SENTENCE {
                lines += count;
            } else if count < self.options.min_count {
                unknown += count;
            } else {
                kept.push((text, count));
            }
        }
        let specials = usize::from(has_unknown) + usize::from(self.options.has_eos());
        let room = match usize::try_from(self.options.max_size) {
            Ok(max) if max > 0 => max.saturating_sub(specials),
            _ => usize::MAX,
        };
        let by_order = |a: &(&str, u64), b: &(&str, u64)| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0));
        if kept.len() > room {
            if !has_unknown {
                return Err(Error::option(
                    "max_size",
                    format!("the text has {} different tokens, but at most {room} may be kept", kept.len()),
                )
                .mend("allow more, or set unknown to true so that `<unk>` stands for the others"));
            }
            kept.select_nth_unstable_by(room, by_order);
            unknown += kept.drain(room..).map(|(_, count)| count).sum::<u64>();
        }
        if let Some((long, _)) = kept.iter().find(|(text, _)| text.len() > MAX_TOKEN_BYTES) {
            let start: String = long.chars().take(20).collect();
            let what = format!("the text has a word of {} bytes, which begins with {start:?}", long.len());
            return Err(Error::usage(what).mend("use the level char or byte, or a minimum count that leaves it out"));
        }
        if has_unknown {
            kept.push((UNKNOWN, unknown));
        }
        if self.options.has_eos() {
            kept.push((END_OF_SENTENCE, lines));
        }
        kept.sort_unstable_by(by_order);
        Ok(Vocabulary::from_ordered(&self.options, kept))
    }
}
