//! Random sources of text whose true entropy rate is known, so that a model can be measured against the limit.
//!
//! [`Markov`] is a sparse Markov chain; [`Brackets`] nests brackets, so that the next symbol depends on one that may
//! lie far back. Each is a [`SyntheticSource`]. The same source gives as many independent texts as wanted: walk 0 to
//! train on, walk 1 to validate, and so on. Everything follows from the seed by integer arithmetic alone, so a text is
//! the same on every machine.

mod brackets;
mod markov;

pub use brackets::Brackets;
pub use markov::Markov;

use std::io::{self, Write};

/// A true entropy rate in nats a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EntropyRate {
    /// Nats a token.
    pub nats: f64,
    /// Standard error of the figure: 0 where it was computed exactly, more where it was estimated.
    pub standard_error: f64,
}

/// A random source of symbols.
pub trait SyntheticSource {
    /// How many different symbols there are.
    fn symbols(&self) -> usize;

    /// The source's entropy rate.
    fn entropy(&self) -> EntropyRate;

    /// An endless walk through the source, the same each time for the same number.
    fn walk(&self, number: u64) -> Box<dyn Iterator<Item = u32> + '_>;

    /// How a symbol is written: one printable ASCII character if there are at most 94, else a word.
    fn text(&self, symbol: u32) -> String {
        if self.symbols() <= PRINTABLE { char::from(b'!' + symbol as u8).to_string() } else { format!("w{symbol}") }
    }

    /// The entropy rate in nats a token.
    fn entropy_rate(&self) -> f64 {
        self.entropy().nats
    }

    /// Writes the first `tokens` symbols of walk 0: characters without anything between them, to be read at level
    /// char, or words with one space between two, to be read at level word. Then a token is a symbol.
    ///
    /// # Errors
    /// Whatever the stream answers.
    fn write(&self, out: &mut dyn Write, tokens: u64) -> io::Result<()> {
        self.write_walk(out, tokens, 0)
    }

    /// Writes the first `tokens` symbols of a walk; see [`write`](Self::write).
    ///
    /// # Errors
    /// Whatever the stream answers.
    fn write_walk(&self, out: &mut dyn Write, tokens: u64, number: u64) -> io::Result<()> {
        let written: Vec<String> = (0..self.symbols() as u32).map(|symbol| self.text(symbol)).collect();
        let gap = if self.symbols() <= PRINTABLE { "" } else { " " };
        let mut buffer = Vec::with_capacity(FLUSH + 64);
        for (index, symbol) in (0..tokens).zip(self.walk(number)) {
            if index > 0 {
                buffer.extend_from_slice(gap.as_bytes());
            }
            buffer.extend_from_slice(written[symbol as usize].as_bytes());
            if buffer.len() >= FLUSH {
                out.write_all(&buffer)?;
                buffer.clear();
            }
        }
        out.write_all(&buffer)
    }
}

/// Printable ASCII characters other than the space.
const PRINTABLE: usize = 94;

const FLUSH: usize = 64 << 10;

/// SplitMix64 (Steele, Lea and Flood 2014): random numbers from a counter.
#[derive(Debug, Clone)]
struct SplitMix(u64);

impl SplitMix {
    /// A sequence of its own for each pair.
    fn keyed(seed: u64, key: u64) -> SplitMix {
        let mut outer = SplitMix(seed);
        let mixed = outer.next() ^ key.wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mut inner = SplitMix(mixed);
        SplitMix(inner.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`, each as likely as the others but for 1 in 2^64 / limit.
    fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests;
