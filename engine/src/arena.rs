//! Where arenas of parameters, gradients and optimiser slots live: in memory, or in files that stand in for it.
//!
//! A table of a hundred million vectors is larger than many a machine's memory, and of its rows a step reads few. In files, the
//! system keeps those pages in memory that are used and writes the others back. The files bear no name, so nobody else can reach
//! them, and they are gone with the process; what lasts are checkpoints.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use unroll_kernels::Buffer;

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
                let map = Mapped::new(folder, len).map_err(|error| Error::write(folder, error))?;
                Ok(Buffer::elsewhere(Box::new(map)))
            }
            _ => Ok(Buffer::new(len)),
        }
    }
}

/// A file without a name, mapped.
struct Mapped {
    map: memmap2::MmapMut,
}

impl Mapped {
    fn new(folder: &std::path::Path, len: usize) -> std::io::Result<Self> {
        let (file, bytes) = (tempfile::tempfile_in(folder)?, 4 * len as u64);
        // Room is taken now: a disk that is full is an error here, and the end of the process later.
        #[cfg(target_os = "linux")]
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)?;
        #[cfg(not(target_os = "linux"))]
        file.set_len(bytes)?;
        // SAFETY: the file has no name and this is its only handle, so that nobody else changes or cuts it while it is mapped.
        let map = unsafe { memmap2::MmapMut::map_mut(&file)? };
        Ok(Self { map })
    }
}

impl Deref for Mapped {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // A map begins on a page and has a multiple of four bytes.
        bytemuck::cast_slice(&self.map)
    }
}

impl DerefMut for Mapped {
    fn deref_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.map)
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
}
