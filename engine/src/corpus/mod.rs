//! Corpora: text turned into tokens once, in a file that is mapped and read by training and evaluation.
//!
//! [`build`] makes a token file from files, folders, gzip or standard input, in bounded memory; [`Corpus::open`] opens
//! it. [`Streams`] cuts it into batches for truncated back-propagation through time, [`Windows`] into the words before
//! each word; [`Split`] says which parts are for validation and test. [`MemoryTokens`] holds a text that fits in
//! memory. [`synthetic`] writes text whose entropy is known.
//!
//! # The token file
//!
//! One file holds the tokens and the vocabulary, so that neither can be lost or swapped without the other. Numbers are
//! little-endian. Sections follow each other without gaps, and the file ends with the last:
//!
//! | section | bytes |
//! |---|---|
//! | header | 128 |
//! | tokens | count x width |
//! | checksums | 4 for each 1 MiB of tokens or part of it: their CRC32C |
//! | vocabulary | a vocabulary file ([`crate::text`]) |
//!
//! | header bytes | content |
//! |---|---|
//! | 0..8 | `93 55 4e 52 4f 4c 4c 0a` (`\x93UNROLL\n`) |
//! | 8..12 | version, 1 |
//! | 12..16 | width of a token in bytes: 1, 2 or 4 |
//! | 16..24 | count of tokens |
//! | 24..32 | size of the vocabulary |
//! | 32..40 | hash of the vocabulary |
//! | 40..48 | length of the vocabulary section |
//! | 48..56 | bytes of text that the tokens stand for |
//! | 56..64 | characters (Unicode scalar values) of that text |
//! | 64..72 | true entropy rate of the text's source in nats a token (f64), NaN if it is not known |
//! | 72..76 | CRC32C of the checksum section |
//! | 76..80 | CRC32C of the vocabulary section |
//! | 80..124 | zero |
//! | 124..128 | CRC32C of header bytes 0..124 |
//!
//! Nothing of a file is believed before it is checked; see [`Corpus::open`].

mod build;
mod chunks;
mod count;
mod draft;
mod format;
mod map;
mod memory;
mod open;
mod parallel;
mod quotes;
mod runs;
mod source;
mod streams;
pub mod synthetic;
mod table;
mod variable;
mod waiting;
mod whole;
mod windows;
mod write;

pub use build::{Build, BuildReport, Encoding, Progress, build};
pub use count::{Counted, Counting, vocabulary};
pub(crate) use draft::{Draft, target};
pub use draft::{is_same_output, write_file};
pub(crate) use map::Own;
pub use map::install_sigbus_handler;
pub use memory::MemoryTokens;
pub use open::{Corpus, Info};
pub(crate) use quotes::{TableBytes, TableError};
pub use source::{Source, check_output, speakers};
pub(crate) use source::{open_unpacked, read_failed, read_file};
pub use streams::{Evaluation, Held, HeldShares, IGNORE, Split, Streams};
pub use table::Columns;
pub use variable::VariableStreams;
pub use whole::Whole;
pub use windows::{LONGEST_WINDOW, WindowOptions, Windows};

use std::sync::Arc;

use crate::error::Result;

/// A sequence of tokens that batches are cut from.
pub trait TokenSource: Send + Sync {
    /// How many tokens there are.
    fn len(&self) -> u64;

    /// Whether there is no token.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many different tokens there can be; every token is less.
    fn vocabulary_size(&self) -> usize;

    /// Copies the tokens from `start` on into `out`.
    ///
    /// # Errors
    /// [`crate::Error::Input`] if the file behind them turns out to be damaged.
    ///
    /// # Panics
    /// Panics if the range goes beyond the end.
    fn read(&self, start: u64, out: &mut [u32]) -> Result<()>;

    /// Looks whether the file behind the tokens is still the one that was opened; done once an epoch.
    ///
    /// # Errors
    /// [`crate::Error::Input`] if it was cut short, changed, replaced or removed.
    fn recheck(&self) -> Result<()> {
        Ok(())
    }

    /// A number that is equal for equal tokens, wherever they are stored.
    fn fingerprint(&self) -> u64;
}

macro_rules! forward {
    ($($pointer:ty),*) => {$(
        impl<S: TokenSource + ?Sized> TokenSource for $pointer {
            fn len(&self) -> u64 {
                (**self).len()
            }
            fn vocabulary_size(&self) -> usize {
                (**self).vocabulary_size()
            }
            fn read(&self, start: u64, out: &mut [u32]) -> Result<()> {
                (**self).read(start, out)
            }
            fn recheck(&self) -> Result<()> {
                (**self).recheck()
            }
            fn fingerprint(&self) -> u64 {
                (**self).fingerprint()
            }
        }
    )*};
}

forward!(&S, Arc<S>, Box<S>);

#[cfg(test)]
mod tests;
