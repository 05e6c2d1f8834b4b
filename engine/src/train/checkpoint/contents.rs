//! Files of a checkpoint, read chunk by chunk: each chunk is compared with its checksum whenever it is read, so that a
//! large model needs no second copy of itself in memory.

use std::cell::RefCell;

use super::super::manifest::{CHUNK, FileEntry};
use super::super::storage::StorageReader;
use super::super::tensors::Pieces;

/// A file of a checkpoint.
pub(super) struct Contents {
    entry: FileEntry,
    reader: RefCell<Reader>,
}

/// An open file, and the chunk of it that was read last.
struct Reader {
    file: Box<dyn StorageReader>,
    chunk: Vec<u8>,
    number: Option<usize>,
}

impl Contents {
    /// The file of this entry, which has the length that the entry says.
    pub(super) fn new(entry: &FileEntry, file: Box<dyn StorageReader>) -> Self {
        Self { entry: entry.clone(), reader: RefCell::new(Reader { file, chunk: Vec::new(), number: None }) }
    }

    /// Compares all chunks with their checksums.
    pub(super) fn verify(&self) -> Result<(), String> {
        (0..self.entry.chunks.len()).try_for_each(|i| self.with_chunk(i, |_| ()))
    }

    /// Calls `look` with chunk `i`.
    fn with_chunk<R>(&self, i: usize, look: impl FnOnce(&[u8]) -> R) -> Result<R, String> {
        let Reader { file, chunk, number } = &mut *self.reader.borrow_mut();
        if *number != Some(i) {
            *number = None;
            let start = i as u64 * CHUNK as u64;
            chunk.resize((self.entry.bytes - start).min(CHUNK as u64) as usize, 0);
            let name = &self.entry.name;
            file.read_exact_at(start, chunk).map_err(|e| format!("{name} cannot be read: {e}"))?;
            self.entry.verify_chunk(i, chunk)?;
            *number = Some(i);
        }
        Ok(look(chunk))
    }
}

impl Pieces for Contents {
    fn len(&self) -> u64 {
        self.entry.bytes
    }

    fn read(&self, at: u64, mut out: &mut [u8]) -> Result<(), String> {
        let mut at = at;
        while !out.is_empty() {
            let (i, within) = ((at / CHUNK as u64) as usize, (at % CHUNK as u64) as usize);
            let copied = self.with_chunk(i, |chunk| {
                let part = &chunk[within..chunk.len().min(within + out.len())];
                out[..part.len()].copy_from_slice(part);
                part.len()
            })?;
            at += copied as u64;
            out = &mut out[copied..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::manifest::Checksums;
    use std::io;
    use std::rc::Rc;

    /// A file that others may change.
    struct Shared(Rc<RefCell<Vec<u8>>>);

    impl StorageReader for Shared {
        fn read_exact_at(&mut self, start: u64, out: &mut [u8]) -> io::Result<()> {
            let (bytes, start) = (self.0.borrow(), start as usize);
            out.copy_from_slice(bytes.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }
    }

    #[test]
    fn any_range_is_read_and_nothing_that_changed_is_believed() {
        let bytes: Vec<u8> = (0..2 * CHUNK as u32 + 100).map(|i| (i * 7 % 251) as u8).collect();
        let mut sums = Checksums::default();
        sums.update(&bytes);
        let shared = Rc::new(RefCell::new(bytes.clone()));
        let contents = Contents::new(&sums.entry("w"), Box::new(Shared(shared.clone())));
        contents.verify().unwrap();
        assert_eq!(contents.len(), bytes.len() as u64);
        for range in [0..10, 5..5, CHUNK - 3..CHUNK + 4, 7..2 * CHUNK + 99, 2 * CHUNK..2 * CHUNK + 100] {
            let mut out = vec![0; range.len()];
            contents.read(range.start as u64, &mut out).unwrap();
            assert!(out == bytes[range.clone()], "{range:?}");
        }
        // The last chunk was read a moment ago; the one before it is read again.
        shared.borrow_mut()[CHUNK + 9] ^= 1;
        contents.read(2 * CHUNK as u64, &mut [0; 4]).unwrap();
        let error = contents.read(CHUNK as u64 - 1, &mut [0; 4]).unwrap_err();
        assert_eq!(error, "w is damaged between bytes 1048576 and 2097152: its checksum does not fit");
        shared.borrow_mut().truncate(CHUNK);
        assert!(contents.verify().unwrap_err().starts_with("w cannot be read"));
    }
}
