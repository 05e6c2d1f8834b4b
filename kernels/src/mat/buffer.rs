//! Storage of f32 that begins on a cache line and asks for large pages.

/// A row of sixteen f32 aligned to a cache line: the unit of [`Buffer`].
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

// SAFETY: sixteen f32 without padding (64 bytes, alignment 64); every bit pattern is valid.
unsafe impl bytemuck::Zeroable for Line {}
// SAFETY: as above.
unsafe impl bytemuck::Pod for Line {}

/// f32 storage aligned to 64 bytes, zero at first.
#[derive(Clone, Default)]
pub struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    /// `len` zeros.
    pub fn new(len: usize) -> Self {
        let mut buffer = Self::default();
        buffer.reserve(len);
        buffer
    }

    /// The elements.
    #[inline]
    pub fn as_slice(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    /// The elements.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }

    /// Grows to at least `len` elements, the new ones zero; never shrinks.
    pub fn reserve(&mut self, len: usize) {
        if len > self.len {
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
/// It is a wish only.
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

impl std::ops::DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [f32] {
        self.as_mut_slice()
    }
}
