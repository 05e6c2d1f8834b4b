//! Maps that nobody else can reach: files without a name, which stand in for memory, and memory that takes room when it
//! is touched.

use std::io;
use std::ops::{Deref, DerefMut, Range};
use std::path::Path;

/// So many f32, zero at first.
pub(crate) struct Own {
    map: memmap2::MmapMut,
}

impl Own {
    /// A file of `len` elements on the disk that `folder` is on.
    pub(crate) fn file(folder: &Path, len: usize) -> io::Result<Self> {
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

    /// Memory of `len` elements, of which these ranges, which ascend, take no room before they are written to. The others are in large
    /// pages where the system leaves the choice to programs, as those of [`unroll_kernels::Buffer`].
    pub(crate) fn memory(len: usize, sparse: &[Range<usize>]) -> io::Result<Self> {
        let map = memmap2::MmapMut::map_anon(4 * len)?;
        #[cfg(target_os = "linux")]
        {
            const PAGE: usize = 2 << 20;
            let (address, ends) = (map.as_ptr() as usize, sparse.iter().map(|range| range.end));
            for (from, to) in std::iter::once(0).chain(ends).zip(sparse.iter().map(|range| range.start).chain([len])) {
                let start = (address + 4 * from).next_multiple_of(PAGE) - address;
                let bytes = (4 * to).saturating_sub(start);
                if bytes >= PAGE {
                    // A wish only: the system may refuse it.
                    _ = map.advise_range(memmap2::Advice::HugePage, start, bytes / PAGE * PAGE);
                }
            }
        }
        #[cfg(not(target_os = "linux"))]
        let _ = sparse;
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
