//! Where arenas of parameters, gradients and optimiser slots live: in memory, or in files that stand in for memory.
//!
//! A table of a hundred million vectors is larger than the memory of many machines, while a step reads few of its rows.
//! If the table is in a file, the system keeps the pages in memory that are used and writes the others back. The files
//! have no name, so nobody else can reach them, and they vanish with the process; what lasts are checkpoints.

use std::ops::Range;
use std::path::PathBuf;

use unroll_kernels::Buffer;

use crate::corpus::Own;
use crate::error::{Error, Result};

/// Where arenas live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Home {
    /// In the process's own memory.
    #[default]
    Memory,
    /// In files without a name on the disk that this folder is on.
    Files(PathBuf),
}

/// The files of a folder, if one is named.
impl From<Option<PathBuf>> for Home {
    fn from(folder: Option<PathBuf>) -> Home {
        folder.map_or(Home::Memory, Home::Files)
    }
}

impl Home {
    /// Whether arenas take memory of the process's own.
    pub fn is_memory(&self) -> bool {
        *self == Self::Memory
    }

    /// An arena of `len` zeros.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the file cannot be made or the disk has no room for it.
    pub fn arena(&self, len: usize) -> Result<Buffer> {
        match self {
            Self::Files(folder) if len > 0 => {
                let map = Own::file(folder, len).map_err(|error| Error::write(folder, error))?;
                Ok(Buffer::elsewhere(Box::new(map)))
            }
            _ => Ok(Buffer::new(len)),
        }
    }

    /// An arena of `len` zeros, for one who hardly ever writes to these ranges, which ascend: in memory they take no room until then.
    ///
    /// # Errors
    ///
    /// As [`Self::arena`]; [`Error::Run`] where the system has no room for it.
    pub(crate) fn sparse_arena(&self, len: usize, sparse: &[Range<usize>]) -> Result<Buffer> {
        match self {
            Self::Memory if !sparse.is_empty() => {
                let refused = |error| Error::run(format!("no room for {len} numbers: {error}"));
                Ok(Buffer::elsewhere(Box::new(Own::memory(len, sparse).map_err(refused)?)))
            }
            _ => self.arena(len),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arena_in_a_file_begins_at_zero_and_keeps_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut arena = Home::Files(folder.path().to_owned()).arena(100_003).unwrap();
        assert!(arena.iter().all(|&x| x == 0.0));
        arena[100_002] = 3.5;
        assert_eq!((arena.len(), arena[100_002]), (100_003, 3.5));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
        assert_eq!(Home::Files("/nowhere/at/all".into()).arena(5).err().unwrap().exit_code(), 5);
        assert_eq!(Home::Files("/nowhere/at/all".into()).arena(0).unwrap().len(), 0);
    }

    #[test]
    fn a_sparse_arena_begins_at_zero_and_keeps_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        // Ranges at the ends, that touch, and all of it; in small and in large pages.
        for len in [1, 5_000, 3 << 20] {
            for sparse in [
                std::iter::once(0..len).collect(),
                vec![0..len / 3, len / 3..len / 2],
                vec![len / 3..len / 2, len / 2 + 1..len],
                vec![],
            ] {
                for home in [Home::Memory, Home::Files(folder.path().to_owned())] {
                    let mut arena = home.sparse_arena(len, &sparse).unwrap();
                    assert!(arena.len() == len && arena.iter().all(|&x| x == 0.0));
                    arena.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
                    assert!(arena.iter().enumerate().all(|(i, &x)| x == i as f32), "{len}, {sparse:?}");
                }
            }
        }
    }
}
