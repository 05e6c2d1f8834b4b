//! The products on AMX tiles.
//!
//! `kernels.rs` holds the kernels of one or two row tiles by one or two column tiles; here they are led over a whole run.
//!
//! A tile of C is loaded from where it starts (rows 0 apart for a row of biases or zeros) and stored where it belongs.
//! At the edges, where it has fewer rows or columns than its registers, it goes through a tile in memory ([`EdgeTile`]).

mod kernels;

pub(super) use kernels::spin;

use super::{BLOCK_WORDS, Operands, SIDE};
use crate::gemm::generic::Start;
use crate::simd::amx::Tiles;
use crate::simd::fetch::NEAR;
use crate::simd::prefetch;
use kernels::{Call, HIGH, Prefetch, ROWS_A_BLOCK, TileAddress, WIDE, one_by_one, one_by_two, two_by_one, two_by_two};

/// The most blocks of terms between two visits to C where there are more rows than one kernel takes: two column tiles of B
/// (32 KB) should stay in the first-level cache for all rows (24
/// blocks: word650 and gru650 11 and 18 % slower, 2026-11-22).
const DEPTH: usize = 16;

/// A tile of C in memory, for tiles that reach beyond the matrix.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct EdgeTile([[f32; SIDE]; SIDE]);

/// What tiles start from that start from zero.
static ZEROS: EdgeTile = EdgeTile([[0.0; SIDE]; SIDE]);

/// Bytes from row to row of a tile in memory.
const LINE: usize = size_of::<[f32; SIDE]>();

/// # Safety
///
/// As for [`super::Runner::run`].
pub(super) unsafe fn run(tiles: &Tiles, o: &Operands) {
    let [first, end] = o.rows;
    // Whole pairs of row tiles, then what is left.
    let group = HIGH * o.high;
    let whole = first + (end - first) / group * group;
    for rows @ [first, end] in [[first, whole], [whole, end]] {
        if first == end {
            continue;
        }
        let upper = (end - first).min(o.high);
        let lower = if end - first > upper { (end - first - upper).min(o.high) } else { upper };
        tiles.set_rows([upper, lower]);
        // SAFETY: the caller's promise covers all rows; tiles are configured for these.
        unsafe { run_rows(&Operands { rows, ..*o }) };
    }
}

/// Rows whose tiles are all as the registers are configured.
///
/// # Safety
///
/// As for [`run`].
unsafe fn run_rows(o: &Operands) {
    let mut edges = [ZEROS; HIGH * WIDE];
    // As few visits to C as `DEPTH` allows, at equal distances; one where B is used once.
    let few = o.rows[1] - o.rows[0] <= HIGH * o.high;
    let visits = if few { 1 } else { o.blocks.div_ceil(DEPTH).max(1) };
    for at in (0..o.tiles).step_by(WIDE) {
        let wide = (o.tiles - at).min(WIDE);
        for visit in 0..visits {
            let [k0, end] = [visit, visit + 1].map(|v| o.blocks * v / visits);
            let part = Part { o, at, wide, k0, blocks: end - k0, last: visit + 1 == visits, few };
            // SAFETY: the caller's promise covers all rows, tiles and blocks.
            unsafe { part.run(&mut edges) };
        }
    }
}

/// One or two column tiles from `at` on, over the blocks `k0..k0 + blocks`.
struct Part<'a> {
    o: &'a Operands,
    at: usize,
    wide: usize,
    k0: usize,
    blocks: usize,
    /// Whether the next tiles follow.
    last: bool,
    /// Whether one kernel takes all rows: then B streams by, else A.
    few: bool,
}

impl Part<'_> {
    /// All rows.
    ///
    /// # Safety
    ///
    /// As for [`run`].
    unsafe fn run(&self, edges: &mut [EdgeTile; HIGH * WIDE]) {
        let (o, [first, end]) = (self.o, self.o.rows);
        let ports: [TileAddress; WIDE] = std::array::from_fn(|j| self.port(first, self.at + j));
        let narrow = o.columns(self.at + self.wide - 1) < SIDE || o.columns(self.at) < SIDE;
        let nowhere = TileAddress { from: std::ptr::null(), from_stride: 0, to: std::ptr::null_mut(), to_stride: 0 };
        let mut call = Call {
            a: [o.a; HIGH],
            b: std::array::from_fn(|j| o.b.wrapping_add((self.at + j) * o.ldb + self.k0 * BLOCK_WORDS)),
            b_streams: self.few,
            blocks: self.blocks,
            ahead: Prefetch { c: o.c, stride: 4 * o.ldc, apart: 0, blocks: 0 },
            ports: [nowhere; HIGH * WIDE],
        };
        for r in (first..end).step_by(HIGH * o.high) {
            let high = if r + o.high < end { HIGH } else { 1 };
            for i in 0..high {
                call.a[i] = o.a.wrapping_add((r / o.high + i) * o.lda + self.k0 * BLOCK_WORDS);
                for j in 0..self.wide {
                    call.ports[i * self.wide + j] = ports[j].down(r - first + i * o.high, 4 * o.ldc);
                }
            }
            call.ahead = self.ahead(r + high * o.high);
            if narrow {
                // SAFETY: the caller promises the columns of C and of the biases.
                unsafe { self.through_edges(r, high, &mut call, edges) };
            }
            // SAFETY: tiles are configured; those of A and B are readable, and the ports lead to C, the biases, zeros or
            // tiles in memory.
            unsafe {
                match (high, self.wide) {
                    (1, 1) => one_by_one(&call),
                    (1, 2) => one_by_two(&call),
                    (2, 1) => two_by_one(&call),
                    (2, 2) => two_by_two(&call),
                    (high, wide) => unreachable!("a kernel of {high} x {wide} tiles"),
                }
            }
            if narrow {
                // SAFETY: the caller promises the columns of C.
                unsafe { self.write_back(r, high, edges) };
            }
        }
    }

    /// What the tile starts from at this visit to C.
    fn start(&self) -> Start {
        if self.k0 == 0 { self.o.start } else { Start::Load }
    }

    /// Where the tile whose first row is `r` comes from and goes to, if it has all its columns.
    fn port(&self, r: usize, tile: usize) -> TileAddress {
        let o = Operands { start: self.start(), ..*self.o };
        let (to, stride) = (o.c(r, tile), 4 * o.ldc);
        let (from, from_stride) = match (o.start, o.initial(r, tile)) {
            (_, None) => (ZEROS.0.as_ptr().cast(), 0),
            (Start::Row { .. }, Some(row)) => (row, 0),
            (_, Some(c)) => (c, stride),
        };
        TileAddress { from, from_stride, to, to_stride: stride }
    }

    /// The part of C that the next kernel loads or stores: rows from `r` on of these tiles, or the first rows of the next
    /// tiles, also those that the next run will come to. Rows that the kernel has too few blocks for are asked for at once.
    fn ahead(&self, r: usize) -> Prefetch {
        let (o, [first, end]) = (self.o, self.o.rows);
        let (top, tile) = match (r < end, self.last) {
            (true, _) => (r, self.at),
            (false, true) => (first, self.at + self.wide),
            (false, false) => (first, self.at),
        };
        let rows = (end - top).min(HIGH * o.high);
        let blocks = (rows / ROWS_A_BLOCK).min(self.blocks.saturating_sub(1));
        let tiles = [o.c(top, tile), o.c(top, tile + self.wide - 1)];
        for row in blocks * ROWS_A_BLOCK..rows {
            tiles.into_iter().for_each(|c| prefetch::<NEAR, _>(c.wrapping_add(row * o.ldc)));
        }
        let apart = (tiles[1] as usize).wrapping_sub(tiles[0] as usize);
        Prefetch { c: tiles[0], stride: 4 * o.ldc, apart, blocks }
    }

    /// The tiles of the kernel from row `r` on that have not all their columns: their numbers, rows, and columns.
    fn narrow_tiles(&self, r: usize, high: usize) -> impl Iterator<Item = (usize, std::ops::Range<usize>, usize)> {
        let (o, at, wide) = (self.o, self.at, self.wide);
        (0..high * wide).filter_map(move |i| {
            let (top, tile) = (r + i / wide * o.high, at + i % wide);
            let cols = o.columns(tile);
            (cols < SIDE).then(|| (i, top..o.rows[1].min(top + o.high), cols))
        })
    }

    /// Leads the narrow tiles of a kernel through tiles in memory.
    ///
    /// # Safety
    ///
    /// The tiles' columns of C and of the biases must be readable.
    unsafe fn through_edges(&self, r: usize, high: usize, call: &mut Call, edges: &mut [EdgeTile; HIGH * WIDE]) {
        let start = self.start();
        for (i, rows, cols) in self.narrow_tiles(r, high) {
            let (port, memory) = (&mut call.ports[i], edges[i].0.as_mut_ptr().cast::<f32>());
            (port.to, port.to_stride) = (memory, LINE);
            let lines = match start {
                Start::Zero => continue,
                Start::Load => rows.len(),
                Start::Row { .. } => 1,
            };
            // SAFETY: the caller promises the tile's columns of these rows; the tile in memory has all of them.
            unsafe { copy_columns(cols, lines, [port.from.cast_mut(), memory], [port.from_stride, LINE]) };
            (port.from, port.from_stride) = (memory, if lines == 1 { 0 } else { LINE });
        }
    }

    /// Copies the columns that such tiles have to C.
    ///
    /// # Safety
    ///
    /// The tiles' columns of C must be writable.
    unsafe fn write_back(&self, r: usize, high: usize, edges: &mut [EdgeTile; HIGH * WIDE]) {
        for (i, rows, cols) in self.narrow_tiles(r, high) {
            let (memory, c) = (edges[i].0.as_mut_ptr().cast::<f32>(), self.o.c(rows.start, self.at + i % self.wide));
            // SAFETY: the caller promises the tile's columns of these rows.
            unsafe { copy_columns(cols, rows.len(), [memory, c], [LINE, 4 * self.o.ldc]) };
        }
    }
}

/// Copies `rows` rows of `cols` elements, fewer than sixteen; strides are in bytes.
///
/// # Safety
///
/// The set must be there; the elements must be readable and writable.
#[target_feature(enable = "avx512f")]
unsafe fn copy_columns(cols: usize, rows: usize, [from, to]: [*mut f32; 2], strides: [usize; 2]) {
    use std::arch::x86_64::{_mm512_mask_storeu_ps, _mm512_maskz_loadu_ps};
    let mask = (1u16 << cols) - 1;
    for r in 0..rows {
        // SAFETY: the mask keeps the elements that the caller promises.
        unsafe {
            let row = _mm512_maskz_loadu_ps(mask, from.byte_add(r * strides[0]));
            _mm512_mask_storeu_ps(to.byte_add(r * strides[1]), mask, row);
        }
    }
}
