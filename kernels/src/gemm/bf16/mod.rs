//! Products of operands rounded to bf16.
//!
//! ```text
//! c = init
//! for each block of 32 terms, in ascending order:
//!     even = the chain of fused multiply-adds of the terms 0, 2, 4, ... of the block, from zero
//!     odd  = the same of the terms 1, 3, 5, ...
//!     c    = c + (even + odd)
//! ```
//!
//! That is what one TDPBF16PS does with a block (Intel, Software Developer's Manual, volume 2), and the emulation does
//! the same sums in the same order: as long as no sum or product is subnormal, which tiles flush to zero, AMX,
//! AVX-512 and AVX2 give the same bits. The portable set rounds its products where its target has no fused form.
//!
//! A processor with AVX-512 BF16 and no tiles (Zen 4) has VDPBF16PS, twice as fast as its f32, which takes the terms of a pair
//! one after the other, the odd one first, and so has an order of its own (`dots.rs`):
//!
//! ```text
//! c = init
//! for each pair of terms, in ascending order:
//!     c = the fused multiply-add of term 1, then that of term 0, to c
//! ```
//!
//! **Operands.** Each is rounded once, to the nearest bf16, ties to even; NaN stays NaN and subnormal numbers become
//! zero (`convert.rs`). A word holds two neighbouring terms, a block 16 x 16 words. A stands in *row tiles*: up to 16 rows by
//! all terms, block after block of 16 rows by 16 words. B stands in *column tiles*: 16 columns of all terms, block after
//! block of 16 words by 16 columns. K is filled up to whole blocks with zeros.
//!
//! **Error** of the sum of the rounded operands. A term goes through at most 16 roundings of its chain, one where the
//! chains meet and one a block in c (twice as many with products rounded apart). With u = 2^-24, to first order:
//!
//! ```text
//! |error| <= (34 + K / 16) u (|init| + sum |a| |b|) + K 2^-126
//! ```
//!
//! one a term, (1 + K) u, by dot products; and the rounding of the operands themselves adds at most (2^-7 + 2^-16) sum |a| |b| (each is off by a part in 2^8).

#[cfg(target_arch = "x86_64")]
mod amx;
mod convert;
#[cfg(target_arch = "x86_64")]
mod dots;
mod emulated;

pub(super) use convert::{Places, SIDE, TERMS, Terms, blocks_of, convert};

#[cfg(test)]
mod tests;

use super::block::{Source, Unpacked};
use super::generic::Start;
use super::left::Rounded;
use super::pack::PackedRef;
use crate::{Element, GroupsMut, Isa, Mat};
use std::ops::Range;

/// Words of one block of a tile.
pub(super) const BLOCK_WORDS: usize = SIDE * SIDE;

/// Words of A that a product with an unpacked operand keeps where that is all of its terms: 1 MB, half of the second-level
/// cache. Else half of that, so that B and C have room beside it.
const A_ROOM: usize = 1 << 18;
/// Words of B that are packed together: 256 KB. 700x650x10000 with 64, 128, 256, 512 KB, GFLOP/s of one thread: 171, 176, 178, 179
/// (Zen 4, 2026-11-23).
const B_ROOM: usize = 1 << 16;
/// Rows and blocks along K of such a part at most. From 256 to 2,048 rows, and from 16 to 64 blocks, all do within the noise (Zen 4).
const MOST_ROWS: usize = 1024;
const MOST_BLOCKS: usize = 64;
/// Column tiles that are packed together at most; with few, each row of B is read in pieces too short to be fetched ahead
/// (4 tiles: a sixth slower than 12; Zen 4, 2026-11-23).
const MOST_TILES: usize = 12;

/// Words of scratch that a product with an unpacked operand takes at most.
pub(super) const SCRATCH: usize = A_ROOM + B_ROOM;

/// The operands of a run: rows of A by neighbouring column tiles of B, over some blocks of terms.
#[derive(Clone, Copy)]
struct Operands {
    /// The first row tile at the first block, words from tile to tile, and rows of a tile.
    a: *const u32,
    lda: usize,
    high: usize,
    /// Which rows are computed; the first is the first of a tile.
    rows: [usize; 2],
    /// Blocks of 32 terms.
    blocks: usize,
    /// The first column tile at the first block, and words from tile to tile.
    b: *const u32,
    ldb: usize,
    tiles: usize,
    /// Tile i belongs to group i mod `groups`, and is the (i / groups)-th of its columns.
    groups: usize,
    start: Start,
    /// Element (0, 0) of C for row 0, elements from row to row and from group to group.
    c: *mut f32,
    ldc: usize,
    apart: usize,
    /// Columns of a group.
    cols: usize,
}

impl Operands {
    /// Columns that tile `i` has in the matrix.
    fn columns(&self, i: usize) -> usize {
        (self.cols - i / self.groups * SIDE).min(SIDE)
    }

    /// C at row `r` of tile `i`.
    fn c(&self, r: usize, i: usize) -> *mut f32 {
        self.c.wrapping_add(r * self.ldc + i % self.groups * self.apart + i / self.groups * SIDE)
    }

    /// What row `r` of tile `i` starts from; `None` for zero.
    fn initial(&self, r: usize, i: usize) -> Option<*const f32> {
        match self.start {
            Start::Zero => None,
            Start::Load => Some(self.c(r, i).cast_const()),
            Start::Row { ptr, stride } => Some(ptr.wrapping_add(i % self.groups * stride + i / self.groups * SIDE)),
        }
    }
}

/// How runs are computed: with tiles, configured for as long as this lives, or emulated.
enum Runner {
    #[cfg(target_arch = "x86_64")]
    Amx(crate::simd::amx::Tiles),
    #[cfg(target_arch = "x86_64")]
    Dots(crate::simd::Avx512Bf16),
    Emulated(Isa),
}

impl Runner {
    /// For products whose A has tiles of `high` rows.
    fn new(isa: Isa, high: usize) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = isa.amx() {
            return Self::Amx(crate::simd::amx::Tiles::configure(token, [high; 2]));
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = isa.avx512_bf16() {
            return Self::Dots(token);
        }
        Self::Emulated(isa)
    }

    /// # Safety
    ///
    /// What [`Operands`] describes must be there: the rows of A and the tiles of B readable; the columns of C, and of the
    /// biases, readable, those of C writable. A must have the tiles that `new` was told of.
    unsafe fn run(&self, o: &Operands) {
        // SAFETY: the caller's promise is the same.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Amx(tiles) => amx::run(tiles, o),
                #[cfg(target_arch = "x86_64")]
                Self::Dots(token) => dots::run(*token, o),
                Self::Emulated(isa) => emulated::run(*isa, o),
            }
        }
    }
}

/// See [`super::spin_bf16`].
pub(super) fn spin(isa: Isa, turns: usize) -> usize {
    match Runner::new(isa, SIDE) {
        #[cfg(target_arch = "x86_64")]
        Runner::Amx(tiles) => amx::spin(&tiles, turns),
        #[cfg(target_arch = "x86_64")]
        Runner::Dots(token) => dots::spin(token, turns),
        Runner::Emulated(_) => 0,
    }
}

/// Products of one A with a packed B, part after part.
pub(super) struct PreparedProduct<'a> {
    a: Rounded<'a>,
    b: PackedRef<'a>,
    runner: Runner,
}

impl<'a> PreparedProduct<'a> {
    pub(super) fn new(a: Rounded<'a>, b: PackedRef<'a>) -> Self {
        Self { a, b, runner: Runner::new(b.isa(), a.high) }
    }

    /// K, and the groups of B.
    pub(super) fn terms_and_groups(&self) -> [usize; 2] {
        [self.a.k, self.b.groups()]
    }

    /// Rows `rows` of A by columns `cols` of B, into the whole of C; `start` is that of these columns.
    pub(super) fn product(&self, rows: Range<usize>, cols: Range<usize>, start: Start, c: &mut GroupsMut<'_>) {
        let (a, b) = (self.a, self.b.cols_range(cols));
        let words: &[u32] = bytemuck::cast_slice(b.data());
        let o = Operands {
            a: a.words.as_ptr(),
            lda: a.tile(),
            high: a.high,
            rows: [rows.start, rows.end],
            blocks: blocks_of(a.k),
            b: words.as_ptr(),
            ldb: blocks_of(a.k) * BLOCK_WORDS,
            tiles: b.cols().div_ceil(SIDE) * b.groups(),
            groups: b.groups(),
            start,
            c: c.as_mut_ptr().wrapping_sub(rows.start * c.stride()),
            ldc: c.stride(),
            apart: c.group_stride(),
            cols: b.cols(),
        };
        assert!(rows.start.is_multiple_of(a.high) && rows.end <= a.rows, "rows {rows:?} of tiles of {}", a.high);
        // SAFETY: the shapes of A, B, C and the biases were compared by the entry; `rows` lies within A and is as long as
        // C has rows; `ldb` and `tiles` are the layout of a packed matrix.
        unsafe { self.runner.run(&o) };
    }
}

/// The product that rounds and packs both operands on the way.
pub(super) fn unpacked<A: Element, B: Element>(args: Unpacked<'_, A, B>) {
    let depth = args.depth();
    let Unpacked { isa, a: Source { mat: a, transposed }, b, start, mut c, scratch } = args;
    let Source { mat: b, transposed: b_transposed } = b;
    let (m, n, ldc) = (c.rows(), c.cols(), c.stride());
    scratch.reserve(SCRATCH);
    let words: &mut [u32] = bytemuck::cast_slice_mut(scratch.as_mut_slice());
    let (room, tiles) = words.split_at_mut(A_ROOM);
    let rows_at_once = m.min(MOST_ROWS);
    let blocks_at_once = blocks_at_once(rows_at_once, blocks_of(depth));
    let tiles_at_once = (B_ROOM / (blocks_at_once * BLOCK_WORDS)).min(MOST_TILES);
    for k0 in (0..depth.max(1)).step_by(blocks_at_once * TERMS) {
        let k = (depth - k0).min(blocks_at_once * TERMS);
        for m0 in (0..m).step_by(rows_at_once) {
            let rows = (m - m0).min(rows_at_once);
            let left = part(k0..k0 + k, m0..m0 + rows, transposed, a);
            let left = Rounded::new(isa, left, transposed, room);
            let runner = Runner::new(isa, left.high);
            for col in (0..n).step_by(tiles_at_once * SIDE) {
                let cols = (n - col).min(tiles_at_once * SIDE);
                let right = part(k0..k0 + k, col..col + cols, !b_transposed, b);
                pack_tiles(isa, right, b_transposed, tiles, blocks_of(k) * BLOCK_WORDS);
                let o = Operands {
                    a: left.words.as_ptr(),
                    lda: left.tile(),
                    high: left.high,
                    rows: [0, rows],
                    blocks: blocks_of(k),
                    b: tiles.as_ptr(),
                    ldb: blocks_of(k) * BLOCK_WORDS,
                    tiles: cols.div_ceil(SIDE),
                    groups: 1,
                    start: start.at(k0, col),
                    c: c.as_mut_ptr().wrapping_add(m0 * ldc + col),
                    ldc,
                    apart: 0,
                    cols,
                };
                // SAFETY: the shapes of A, B, C and the biases were compared by the entry; rows m0.. and columns col..
                // lie within them; A and B were just rounded for this block.
                unsafe { runner.run(&o) };
            }
        }
    }
}

/// Blocks of terms of one part of a product with `rows` rows and `all` blocks.
fn blocks_at_once(rows: usize, all: usize) -> usize {
    let block = rows.div_ceil(SIDE) * BLOCK_WORDS;
    let most = if all * block <= A_ROOM { all } else { A_ROOM / 2 / block };
    let parts = all.div_ceil(most.clamp(1, MOST_BLOCKS)).max(1);
    all.div_ceil(parts).max(1)
}

/// Terms and columns (or rows) of an operand whose terms run down its rows, or along them.
fn part<E: Element>(terms: Range<usize>, others: Range<usize>, down: bool, mat: Mat<'_, E>) -> Mat<'_, E> {
    if down { mat.rows_range(terms).cols_range(others) } else { mat.rows_range(others).cols_range(terms) }
}

/// Packs B (K, N), or its transpose (N, K), into column tiles `apart` words apart.
pub(super) fn pack_tiles<E: Element>(isa: Isa, b: Mat<'_, E>, transposed: bool, to: &mut [u32], apart: usize) {
    let (terms, steps) =
        if transposed { (Terms::Along, [apart, BLOCK_WORDS]) } else { (Terms::Down, [BLOCK_WORDS, apart]) };
    convert(isa, b, terms, to, Places { side: SIDE, steps, transposed });
}
