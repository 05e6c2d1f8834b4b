//! The token file's header and sections; the format is described in the parent module.

use std::path::Path;

use crate::error::{At, Error, Result};
use crate::text::MAX_TOKEN_BYTES;

pub(super) const HEADER: usize = 128;
pub(super) const VERSION: u32 = 1;
pub(super) const MAGIC: [u8; 8] = *b"\x93UNROLL\n";

/// Bytes of tokens under one checksum.
pub(super) const CHUNK: usize = 1 << 20;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Header {
    pub(super) width: u32,
    pub(super) count: u64,
    pub(super) vocabulary_size: u64,
    pub(super) vocabulary_hash: u64,
    pub(super) vocabulary_bytes: u64,
    pub(super) text_bytes: u64,
    pub(super) text_chars: u64,
    pub(super) entropy_rate: f64,
    pub(super) checksums_crc: u32,
    pub(super) vocabulary_crc: u32,
}

impl Header {
    pub(super) fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = Vec::with_capacity(HEADER);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.width.to_le_bytes());
        for field in [
            self.count,
            self.vocabulary_size,
            self.vocabulary_hash,
            self.vocabulary_bytes,
            self.text_bytes,
            self.text_chars,
            self.entropy_rate.to_bits(),
        ] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(self.checksums_crc.to_le_bytes());
        bytes.extend(self.vocabulary_crc.to_le_bytes());
        let mut header = [0; HEADER];
        header[..bytes.len()].copy_from_slice(&bytes);
        let crc = crc32c::crc32c(&header[..HEADER - 4]);
        header[HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
        header
    }

    /// Reads and checks the header of a file of `len` bytes.
    pub(super) fn parse(start: &[u8], len: u64, path: &Path) -> Result<Header> {
        let Some(header) = start.first_chunk::<HEADER>() else {
            return Err(if MAGIC.starts_with(&start[..start.len().min(MAGIC.len())]) {
                cut_short(path, len, HEADER as u64)
            } else {
                not_a_corpus(path)
            });
        };
        if header[..8] != MAGIC {
            return Err(not_a_corpus(path));
        }
        let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | (u64::from(u32_at(at + 4)) << 32);
        let version = u32_at(8);
        if version != VERSION {
            let what = format!("version {version} of the corpus format; this program reads version {VERSION}");
            return Err(Error::input_at(path, At::Byte(8), what).mend(REBUILD));
        }
        if crc32c::crc32c(&header[..HEADER - 4]) != u32_at(HEADER - 4) {
            return Err(Error::input(path, "the header is damaged: its checksum does not match").mend(REBUILD));
        }
        let parsed = Header {
            width: u32_at(12),
            count: u64_at(16),
            vocabulary_size: u64_at(24),
            vocabulary_hash: u64_at(32),
            vocabulary_bytes: u64_at(40),
            text_bytes: u64_at(48),
            text_chars: u64_at(56),
            entropy_rate: f64::from_bits(u64_at(64)),
            checksums_crc: u32_at(72),
            vocabulary_crc: u32_at(76),
        };
        parsed.check(len, path)?;
        Ok(parsed)
    }

    fn check(&self, len: u64, path: &Path) -> Result<()> {
        let wrong = |what: String| Err(Error::input(path, what).mend(REBUILD));
        if self.vocabulary_size == 0 || self.vocabulary_size > u64::from(u32::MAX) {
            return wrong(format!("the header says a vocabulary of {} tokens", self.vocabulary_size));
        }
        if self.width != width(self.vocabulary_size) {
            return wrong(format!(
                "the header says {} bytes a token for a vocabulary of {}",
                self.width, self.vocabulary_size
            ));
        }
        // Each token of the vocabulary is a line of at least 3 bytes, and at most an escape of ten a byte.
        if self.vocabulary_bytes / 3 < self.vocabulary_size
            || self.vocabulary_bytes / (10 * MAX_TOKEN_BYTES as u64 + 32) > self.vocabulary_size
        {
            return wrong(format!(
                "the header says {} bytes for a vocabulary of {} tokens",
                self.vocabulary_bytes, self.vocabulary_size
            ));
        }
        let Some(expected) = self.file_len() else {
            return wrong(format!("the header says {} tokens, more than any file holds", self.count));
        };
        if len < expected {
            return Err(cut_short(path, len, expected));
        }
        if len > expected {
            return wrong(format!("the file has {} bytes after its end", len - expected));
        }
        Ok(())
    }

    /// Bytes of the token section.
    pub(super) fn token_bytes(&self) -> Option<u64> {
        self.count.checked_mul(u64::from(self.width))
    }

    /// Chunks of tokens, each with a checksum.
    pub(super) fn chunks(&self) -> Option<u64> {
        Some(self.token_bytes()?.div_ceil(CHUNK as u64))
    }

    fn file_len(&self) -> Option<u64> {
        (HEADER as u64)
            .checked_add(self.token_bytes()?)?
            .checked_add(self.chunks()?.checked_mul(4)?)?
            .checked_add(self.vocabulary_bytes)
    }
}

pub(super) const REBUILD: &str = "build it again with `unroll corpus build`";

fn not_a_corpus(path: &Path) -> Error {
    Error::input(path, "not a corpus file").mend("make one from text with `unroll corpus build`")
}

fn cut_short(path: &Path, len: u64, expected: u64) -> Error {
    Error::input(path, format!("the file was cut short: {len} bytes where there should be {expected}")).mend(REBUILD)
}

/// The fewest of 1, 2 or 4 bytes that hold every token of a vocabulary.
pub(super) fn width(vocabulary_size: u64) -> u32 {
    match vocabulary_size {
        0..=0x100 => 1,
        0x101..=0x1_0000 => 2,
        _ => 4,
    }
}

/// Appends tokens in `width` bytes each.
pub(super) fn narrow(tokens: &[u32], width: u32, out: &mut Vec<u8>) {
    match width {
        1 => out.extend(tokens.iter().map(|&token| token as u8)),
        2 => out.extend(tokens.iter().flat_map(|&token| (token as u16).to_le_bytes())),
        _ => out.extend(tokens.iter().flat_map(|&token| token.to_le_bytes())),
    }
}

/// A number that is equal for equal tokens: FNV-1a over their count, the vocabulary's size and the chunks' checksums.
pub(super) fn fingerprint(count: u64, vocabulary_size: u64, checksums: impl Iterator<Item = u32>) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325;
    [count, vocabulary_size].into_iter().chain(checksums.map(u64::from)).fold(start, |state, number| {
        number
            .to_le_bytes()
            .iter()
            .fold(state, |state: u64, &byte| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    })
}

/// `start`, if so many tokens can be read there.
#[track_caller]
pub(super) fn checked_start(start: u64, tokens: usize, len: u64) -> u64 {
    let fits = start.checked_add(tokens as u64).is_some_and(|end| end <= len);
    assert!(fits, "tokens {start}..{start}+{tokens} of {len}");
    start
}
