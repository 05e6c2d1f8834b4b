//! Files without a name, which stand in for memory.

use std::io;
use std::ops::{Deref, DerefMut};
use std::path::Path;

/// So many f32 in a file without a name, zero at first.
pub(crate) struct Own {
    map: memmap2::MmapMut,
}

impl Own {
    /// A file of `len` elements on the disk that `folder` is on.
    pub(crate) fn new(folder: &Path, len: usize) -> io::Result<Self> {
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

impl Deref for Own {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // A map begins on a page and has a multiple of four bytes.
        bytemuck::cast_slice(&self.map)
    }
}

impl DerefMut for Own {
    fn deref_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.map)
    }
}
