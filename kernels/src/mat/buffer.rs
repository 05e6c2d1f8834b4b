//! Storage of f32 that begins on a cache line and asks for large pages.

use std::ops::DerefMut;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A row of sixteen f32 aligned to a cache line: the unit of [`Buffer`].
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

// SAFETY: sixteen f32 without padding (64 bytes, alignment 64); every bit pattern is valid.
unsafe impl bytemuck::Zeroable for Line {}
// SAFETY: as above.
unsafe impl bytemuck::Pod for Line {}

/// Memory that something else owns, such as a map of a file.
pub trait Memory: DerefMut<Target = [f32]> + Send + Sync + UnwindSafe + RefUnwindSafe {}

impl<T: DerefMut<Target = [f32]> + Send + Sync + UnwindSafe + RefUnwindSafe> Memory for T {}

/// f32 storage aligned to 64 bytes, zero at first.
#[derive(Default)]
pub struct Buffer {
    lines: Vec<Line>,
    len: usize,
    /// The memory that holds the elements, where `lines` does not.
    elsewhere: Option<Box<dyn Memory>>,
}

impl Clone for Buffer {
    /// A copy in memory of its own, whoever owns the original's memory.
    fn clone(&self) -> Self {
        let mut copy = Self::new(self.len);
        copy.as_mut_slice().copy_from_slice(self.as_slice());
        copy
    }
}

impl Buffer {
    /// A buffer of the elements of `memory`, which stay there until the buffer grows.
    ///
    /// # Panics
    ///
    /// When they do not begin on a cache line.
    pub fn elsewhere(memory: Box<dyn Memory>) -> Self {
        assert!(memory.as_ptr().cast::<Line>().is_aligned(), "elements that do not begin on a cache line");
        Self { lines: Vec::new(), len: memory.len(), elsewhere: Some(memory) }
    }

    /// `len` zeros.
    pub fn new(len: usize) -> Self {
        let mut buffer = Self::default();
        buffer.reserve(len);
        buffer
    }

    /// The elements.
    #[inline]
    pub fn as_slice(&self) -> &[f32] {
        match &self.elsewhere {
            None => &bytemuck::cast_slice(&self.lines)[..self.len],
            Some(memory) => memory,
        }
    }

    /// The elements.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        match &mut self.elsewhere {
            None => &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len],
            Some(memory) => memory,
        }
    }

    /// Grows to at least `len` elements, the new ones zero; never shrinks.
    pub fn reserve(&mut self, len: usize) {
        if len > self.len {
            if let Some(memory) = self.elsewhere.take() {
                self.len = 0;
                self.reserve(memory.len());
                self.as_mut_slice().copy_from_slice(&memory);
            }
            let count = len.div_ceil(16);
            self.lines.reserve_exact(count - self.lines.len());
            ask_for_huge_pages(self.lines.spare_capacity_mut());
            self.lines.resize(count, Line([0.0; 16]));
            self.len = len;
        }
    }
}

/// Asks the system to back memory that is not touched yet with pages of 2 MiB, where it leaves the choice to programs:
/// rows of a matrix are far apart, so that products miss the translations of small pages (word650 is 3 to 5 % faster).
/// The system may ignore it.
fn ask_for_huge_pages(memory: &mut [std::mem::MaybeUninit<Line>]) {
    #[cfg(target_os = "linux")]
    {
        const PAGE: usize = 2 << 20;
        let start = memory.as_mut_ptr().cast::<u8>();
        let skip = start.align_offset(PAGE);
        let len = size_of_val(memory).saturating_sub(skip) / PAGE * PAGE;
        if len > 0 {
            // SAFETY: the range lies within `memory`; this advice changes no content.
            let _ = unsafe { rustix::mm::madvise(start.add(skip).cast(), len, rustix::mm::Advice::LinuxHugepage) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

impl std::ops::Deref for Buffer {
    type Target = [f32];
    #[inline]
    fn deref(&self) -> &[f32] {
        self.as_slice()
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [f32] {
        self.as_mut_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_elsewhere_are_read_written_copied_and_grown() {
        struct Borrowed(Buffer);
        impl std::ops::Deref for Borrowed {
            type Target = [f32];
            fn deref(&self) -> &[f32] {
                &self.0
            }
        }
        impl DerefMut for Borrowed {
            fn deref_mut(&mut self) -> &mut [f32] {
                &mut self.0
            }
        }
        let mut buffer = Buffer::elsewhere(Box::new(Borrowed(Buffer::new(40))));
        buffer[39] = 7.0;
        let copy = buffer.clone();
        buffer[0] = 1.0;
        assert_eq!((copy[0], copy[39], copy.len()), (0.0, 7.0, 40));
        buffer.reserve(20);
        assert!(buffer.elsewhere.is_some());
        buffer.reserve(100);
        assert!(buffer.elsewhere.is_none());
        assert_eq!((buffer[0], buffer[39], buffer[99], buffer.len()), (1.0, 7.0, 0.0, 100));
    }
}
