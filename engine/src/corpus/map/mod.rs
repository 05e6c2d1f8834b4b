//! Memory maps: of files that may change under the reader, and of files that nobody else can reach ([`Own`]).
//!
//! This is the only place where files are mapped. Another process may change a file at any moment, so no reference to
//! mapped bytes is ever made: [`Map::copy`] reads them as volatile words into memory of our own, and only the copy is
//! used. Its contents must be checked by the caller.
//!
//! If the file shrinks, touching a page beyond its new end raises SIGBUS; see [`install_sigbus_handler`].

mod own;
mod sigbus;

pub(crate) use own::Own;
pub use sigbus::install_sigbus_handler;

use std::fs::File;
use std::io;
use std::path::Path;

/// A file mapped for reading.
#[derive(Debug)]
pub(super) struct Map {
    map: memmap2::MmapRaw,
    _watch: sigbus::Watch,
}

impl Map {
    /// Maps the whole file, which bears this name in messages.
    pub(super) fn new(file: &File, path: &Path) -> io::Result<Map> {
        let map = memmap2::MmapOptions::new().map_raw_read_only(file)?;
        let start = map.as_ptr() as usize;
        let watch = sigbus::Watch::new(start..start + map.len(), path);
        Ok(Map { map, _watch: watch })
    }

    /// Bytes mapped.
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// Copies the bytes from `start` on into `out`.
    ///
    /// # Panics
    /// Panics if the range goes beyond the map.
    pub(super) fn copy(&self, start: usize, out: &mut [u8]) {
        let fits = start.checked_add(out.len()).is_some_and(|end| end <= self.map.len());
        assert!(fits, "bytes {start}..{start}+{} of a map of {}", out.len(), self.map.len());
        let mut at = self.map.as_ptr().wrapping_add(start);
        let head = at.align_offset(size_of::<u64>()).min(out.len());
        let (head, rest) = out.split_at_mut(head);
        let (words, tail) = rest.as_chunks_mut::<8>();
        for byte in head {
            // SAFETY: `at` is within the map: it starts at `start` and moves on by one for each byte of `out`, whose
            // length was checked above. The map lives as long as `self`. A volatile read may find any value.
            *byte = unsafe { at.read_volatile() };
            at = at.wrapping_add(1);
        }
        for word in words {
            // SAFETY: as above, for eight bytes; `at` is aligned after the head, and stays so.
            *word = unsafe { at.cast::<u64>().read_volatile() }.to_ne_bytes();
            at = at.wrapping_add(8);
        }
        for byte in tail {
            // SAFETY: as for the head.
            *byte = unsafe { at.read_volatile() };
            at = at.wrapping_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn copies_any_range() {
        let content: Vec<u8> = (0..1000_u32).map(|i| (i * 7 % 251) as u8).collect();
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&content).expect("written");
        let map = Map::new(&file, Path::new("m")).expect("mapped");
        assert_eq!(map.len(), 1000);
        for start in 0..20 {
            for len in 0..40 {
                let mut out = vec![0xee; len];
                map.copy(start, &mut out);
                assert_eq!(out, content[start..start + len]);
            }
        }
        let mut all = vec![0; 1000];
        map.copy(0, &mut all);
        assert_eq!(all, content);
    }

    #[test]
    #[should_panic(expected = "bytes 990..990+11 of a map of 1000")]
    fn refuses_what_lies_beyond() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(1000).expect("long enough");
        Map::new(&file, Path::new("m")).expect("mapped").copy(990, &mut [0; 11]);
    }
}
