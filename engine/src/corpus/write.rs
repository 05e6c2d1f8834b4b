//! Writing token files.

use std::io::{self, Seek, Write};
use std::path::Path;

use super::draft::Draft;
use super::format::{self, CHUNK, HEADER, Header};
use crate::error::{Error, Result};
use crate::text::Vocabulary;

/// A token file being written. If it is dropped before it is whole, nothing is left.
#[derive(Debug)]
pub(super) struct Writer {
    draft: Draft,
    count: u64,
    checksums: Vec<u32>,
    /// The checksum of the chunk being written, and its bytes so far.
    crc: u32,
    filled: usize,
}

/// What the header is told when all tokens are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    pub(super) text_bytes: u64,
    pub(super) text_chars: u64,
    pub(super) entropy_rate: Option<f64>,
}

impl Writer {
    pub(super) fn create(path: &Path) -> Result<Writer> {
        let mut draft = Draft::create(path)?;
        draft.file().write_all(&[0; HEADER]).map_err(|e| Error::write(path, e))?;
        Ok(Writer { draft, count: 0, checksums: Vec::new(), crc: 0, filled: 0 })
    }

    /// Appends the bytes of `count` tokens.
    pub(super) fn tokens(&mut self, count: u64, mut bytes: &[u8]) -> Result<()> {
        self.draft.file().write_all(bytes).map_err(|e| Error::write(self.draft.path(), e))?;
        self.count += count;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.filled));
            self.crc = crc32c::crc32c_append(self.crc, now);
            self.filled += now.len();
            if self.filled == CHUNK {
                self.end_chunk();
            }
            bytes = later;
        }
        Ok(())
    }

    fn end_chunk(&mut self) {
        self.checksums.push(self.crc);
        (self.crc, self.filled) = (0, 0);
    }

    /// Writes what follows the tokens and the header, and gives the file its name. Returns its length.
    pub(super) fn finish(mut self, vocabulary: &Vocabulary, totals: Totals) -> Result<u64> {
        if self.filled > 0 {
            self.end_chunk();
        }
        let list: Vec<u8> = self.checksums.iter().flat_map(|crc| crc.to_le_bytes()).collect();
        let text = vocabulary.to_file();
        let header = Header {
            width: format::width(vocabulary.len() as u64),
            count: self.count,
            vocabulary_size: vocabulary.len() as u64,
            vocabulary_hash: vocabulary.hash(),
            vocabulary_bytes: text.len() as u64,
            text_bytes: totals.text_bytes,
            text_chars: totals.text_chars,
            entropy_rate: totals.entropy_rate.unwrap_or(f64::NAN),
            checksums_crc: crc32c::crc32c(&list),
            vocabulary_crc: crc32c::crc32c(text.as_bytes()),
        };
        let tokens = header.count * u64::from(header.width);
        let length = (HEADER + list.len() + text.len()) as u64 + tokens;
        let path = self.draft.path().to_owned();
        self.end(&list, text.as_bytes(), &header.to_bytes()).map_err(|e| Error::write(path, e))?;
        Ok(length)
    }

    fn end(mut self, list: &[u8], vocabulary: &[u8], header: &[u8]) -> io::Result<()> {
        let file = self.draft.file();
        file.write_all(list)?;
        file.write_all(vocabulary)?;
        file.rewind()?;
        file.write_all(header)?;
        self.draft.keep()
    }
}
