//! The products on AMX tiles.
//!
//! A kernel holds one or two row tiles by one to three column tiles of C in the registers 0 to 5 for all its blocks of
//! terms; register 6 takes a tile of A, 7 one of B, each loaded as it is needed: the order goes down one column tile and up
//! the next, so that two row tiles by three column tiles take seven loads for six products. A tile product takes
//! about as many cycles as A has rows (16 rows: 15; 10: 11.5; 8: 9.3; 4: 8.5), whatever it waits for, and a load 8 from
//! the first-level cache; so the products are what limits as long as B comes in time.
//!
//! Measured 2026-11-22 on one core of a Sapphire-Rapids-class Xeon, GFLOP/s with B and C in the second-level cache:
//!
//! | M x K x N | 1 x 1 | 1 x 4 | 4 x 1 | 2 x 2 | 2 x 3 |
//! |---|---|---|---|---|---|
//! | 20 x 650 x 1312 | 717 | 805 | | 993 | 1036 |
//! | 50 x 256 x 512 | 1311 | 1452 | 1675 | 1360 | 1659 |
//! | 64 x 512 x 1024 | 1296 | 1425 | 1360 | 1612 | 1732 |
//!
//! Asking for B ahead (PREFETCHT0, 1 to 8 KB) lost 5 to 25 % in every one of these: the processor does it by itself.
//!
//! A tile of C is loaded from where it starts (rows 0 apart for a row of biases or zeros) and stored where it belongs.
//! At the edges, where it has fewer rows or columns than its registers, it goes through a tile in memory ([`Bounce`]).

use super::{BLOCK_WORDS, Operands, SIDE};
use crate::gemm::generic::Start;
use crate::simd::amx::Tiles;
use std::arch::asm;

/// Row tiles and column tiles of the largest kernel.
const HIGH: usize = 2;
const WIDE: usize = 3;

/// Blocks of terms between two visits to C where there are more rows than one kernel takes: three column tiles of B
/// (36 KB at 12) should stay in the first-level cache for all rows.
const DEPTH: usize = 10;

/// Where one tile of C comes from and goes to: addresses, and bytes from row to row.
#[derive(Clone, Copy)]
#[repr(C)]
struct Port {
    from: *const f32,
    from_stride: usize,
    to: *mut f32,
    to_stride: usize,
}

/// The operands of a kernel.
struct Call {
    a: [*const u32; HIGH],
    /// Bytes from row to row.
    lda: usize,
    b: [*const u32; WIDE],
    blocks: usize,
    /// Of tile (r, j) at r * (column tiles of the kernel) + j.
    ports: [Port; HIGH * WIDE],
}

/// Writes a kernel: the tiles of C by number and the body of its loop.
macro_rules! kernel {
    ($(#[$doc:meta])* $name:ident, $($c:literal)*, $($body:literal)*) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// Tiles must be configured; what the call describes must be readable, and writable where C goes.
        unsafe fn $name(call: &Call) {
            // SAFETY: the caller's promise; the registers of the tiles and flags are all that is lost.
            unsafe {
                asm!(
                    $(concat!("mov {p}, qword ptr [{ports} + 32 * ", $c, "]"),
                    concat!("mov {q}, qword ptr [{ports} + 32 * ", $c, " + 8]"),
                    concat!("tileloadd tmm", $c, ", [{p} + {q} * 1]"),)*
                    "test {n}, {n}",
                    "jz 3f",
                    "2:",
                    $($body,)*
                    "add {a0}, 64",
                    "add {a1}, 64",
                    "add {b0}, 1024",
                    "add {b1}, 1024",
                    "add {b2}, 1024",
                    "dec {n}",
                    "jnz 2b",
                    "3:",
                    $(concat!("mov {p}, qword ptr [{ports} + 32 * ", $c, " + 16]"),
                    concat!("mov {q}, qword ptr [{ports} + 32 * ", $c, " + 24]"),
                    concat!("tilestored [{p} + {q} * 1], tmm", $c),)*
                    // Every kernel names all operands.
                    "# {lda} {line}",
                    ports = in(reg) call.ports.as_ptr(),
                    p = out(reg) _,
                    q = out(reg) _,
                    n = inout(reg) call.blocks => _,
                    a0 = inout(reg) call.a[0] => _,
                    a1 = inout(reg) call.a[1] => _,
                    lda = in(reg) call.lda,
                    b0 = inout(reg) call.b[0] => _,
                    b1 = inout(reg) call.b[1] => _,
                    b2 = inout(reg) call.b[2] => _,
                    line = in(reg) 64usize,
                    options(nostack),
                );
            }
        }
    };
}

kernel!(
    /// One row tile, one column tile.
    one_by_one, "0",
    "tileloadd tmm7, [{b0} + {line} * 1]"
    "tileloadd tmm6, [{a0} + {lda} * 1]"
    "tdpbf16ps tmm0, tmm6, tmm7"
);
kernel!(
    /// One row tile, two column tiles.
    one_by_two, "0" "1",
    "tileloadd tmm6, [{a0} + {lda} * 1]"
    "tileloadd tmm7, [{b0} + {line} * 1]"
    "tdpbf16ps tmm0, tmm6, tmm7"
    "tileloadd tmm7, [{b1} + {line} * 1]"
    "tdpbf16ps tmm1, tmm6, tmm7"
);
kernel!(
    /// One row tile, three column tiles.
    one_by_three, "0" "1" "2",
    "tileloadd tmm6, [{a0} + {lda} * 1]"
    "tileloadd tmm7, [{b0} + {line} * 1]"
    "tdpbf16ps tmm0, tmm6, tmm7"
    "tileloadd tmm7, [{b1} + {line} * 1]"
    "tdpbf16ps tmm1, tmm6, tmm7"
    "tileloadd tmm7, [{b2} + {line} * 1]"
    "tdpbf16ps tmm2, tmm6, tmm7"
);
kernel!(
    /// Two row tiles, one column tile.
    two_by_one, "0" "1",
    "tileloadd tmm7, [{b0} + {line} * 1]"
    "tileloadd tmm6, [{a0} + {lda} * 1]"
    "tdpbf16ps tmm0, tmm6, tmm7"
    "tileloadd tmm6, [{a1} + {lda} * 1]"
    "tdpbf16ps tmm1, tmm6, tmm7"
);
kernel!(
    /// Two row tiles, two column tiles.
    two_by_two, "0" "1" "2" "3",
    "tileloadd tmm7, [{b0} + {line} * 1]"
    "tileloadd tmm6, [{a0} + {lda} * 1]"
    "tdpbf16ps tmm0, tmm6, tmm7"
    "tileloadd tmm6, [{a1} + {lda} * 1]"
    "tdpbf16ps tmm2, tmm6, tmm7"
    "tileloadd tmm7, [{b1} + {line} * 1]"
    "tdpbf16ps tmm3, tmm6, tmm7"
    "tileloadd tmm6, [{a0} + {lda} * 1]"
    "tdpbf16ps tmm1, tmm6, tmm7"
);
kernel!(
    /// Two row tiles, three column tiles.
    two_by_three, "0" "1" "2" "3" "4" "5",
    "tileloadd tmm7, [{b0} + {line} * 1]"
    "tileloadd tmm6, [{a0} + {lda} * 1]"
    "tdpbf16ps tmm0, tmm6, tmm7"
    "tileloadd tmm6, [{a1} + {lda} * 1]"
    "tdpbf16ps tmm3, tmm6, tmm7"
    "tileloadd tmm7, [{b1} + {line} * 1]"
    "tdpbf16ps tmm4, tmm6, tmm7"
    "tileloadd tmm6, [{a0} + {lda} * 1]"
    "tdpbf16ps tmm1, tmm6, tmm7"
    "tileloadd tmm7, [{b2} + {line} * 1]"
    "tdpbf16ps tmm2, tmm6, tmm7"
    "tileloadd tmm6, [{a1} + {lda} * 1]"
    "tdpbf16ps tmm5, tmm6, tmm7"
);

/// `turns` times six products of whole tiles that never leave the registers: what the tiles can do at most.
pub(super) fn spin(tiles: &Tiles, turns: usize) -> usize {
    if turns == 0 {
        return 0;
    }
    // SAFETY: `Tiles` exists, so tiles are configured; no memory is touched.
    unsafe {
        asm!(
            "2:",
            "tdpbf16ps tmm0, tmm6, tmm7",
            "tdpbf16ps tmm1, tmm6, tmm7",
            "tdpbf16ps tmm2, tmm6, tmm7",
            "tdpbf16ps tmm3, tmm6, tmm7",
            "tdpbf16ps tmm4, tmm6, tmm7",
            "tdpbf16ps tmm5, tmm6, tmm7",
            "dec {n}",
            "jnz 2b",
            n = inout(reg) turns => _,
            options(nostack, nomem),
        );
    }
    2 * HIGH * WIDE * turns * tiles.rows() * SIDE * super::TERMS
}

/// A tile of C in memory, for tiles that reach beyond the matrix.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Bounce([[f32; SIDE]; SIDE]);

/// What tiles start from that start from zero.
static ZEROS: Bounce = Bounce([[0.0; SIDE]; SIDE]);

/// Bytes from row to row of a tile in memory.
const LINE: usize = size_of::<[f32; SIDE]>();

/// # Safety
///
/// As for [`super::Runner::run`].
pub(super) unsafe fn run(tiles: &Tiles, o: &Operands) {
    let [first, end] = o.rows;
    let high = HIGH * tiles.rows();
    let depth = if end - first <= high { o.blocks } else { DEPTH };
    let mut bounces = [ZEROS; HIGH * WIDE];
    let mut at = 0;
    while at < o.tiles {
        // Threes, but two and two rather than three and one.
        let wide = match o.tiles - at {
            left @ 1..=3 => left,
            4 => 2,
            _ => WIDE,
        };
        let mut k0 = 0;
        loop {
            let blocks = (o.blocks - k0).min(depth);
            let part = Part { at, wide, k0, blocks };
            for r in (first..end).step_by(high) {
                // SAFETY: the caller's promise covers all rows, tiles and blocks.
                unsafe { part.rows(tiles.rows(), o, r, &mut bounces) };
            }
            k0 += blocks;
            if k0 >= o.blocks {
                break;
            }
        }
        at += wide;
    }
}

/// One to three column tiles from `at` on, over the blocks `k0..k0 + blocks`.
struct Part {
    at: usize,
    wide: usize,
    k0: usize,
    blocks: usize,
}

impl Part {
    /// One kernel: one or two row tiles of `height` rows from row `r` on.
    ///
    /// # Safety
    ///
    /// As for [`run`].
    unsafe fn rows(&self, height: usize, o: &Operands, r: usize, bounces: &mut [Bounce; HIGH * WIDE]) {
        let end = o.rows[1];
        let high = if r + height < end { HIGH } else { 1 };
        let nowhere = Port { from: std::ptr::null(), from_stride: 0, to: std::ptr::null_mut(), to_stride: 0 };
        let mut call = Call {
            a: [o.a; HIGH],
            lda: 4 * o.lda,
            b: std::array::from_fn(|j| o.b.wrapping_add((self.at + j) * o.ldb + self.k0 * BLOCK_WORDS)),
            blocks: self.blocks,
            ports: [nowhere; HIGH * WIDE],
        };
        for i in 0..high {
            // The last tile moves up so that it reads no row beyond A; it then writes those rows only that are its own.
            let (own, top) = (r + i * height, (r + i * height).min(end - height));
            call.a[i] = o.a.wrapping_add(top * o.lda + self.k0 * SIDE);
            for j in 0..self.wide {
                let edge = Edge { own, top, end: end.min(own + height), tile: self.at + j };
                let at = i * self.wide + j;
                // SAFETY: the tile's columns of C and of the biases are readable, the caller promises.
                call.ports[at] = unsafe { edge.port(o, self.k0, &mut bounces[at]) };
            }
        }
        // SAFETY: `Tiles` exists, so tiles are configured; the rows of A from `top` on and the blocks of B are readable,
        // the ports lead to C, the biases or tiles of this function.
        unsafe {
            match (high, self.wide) {
                (1, 1) => one_by_one(&call),
                (1, 2) => one_by_two(&call),
                (1, 3) => one_by_three(&call),
                (2, 1) => two_by_one(&call),
                (2, 2) => two_by_two(&call),
                (2, 3) => two_by_three(&call),
                (high, wide) => unreachable!("a kernel of {high} x {wide} tiles"),
            }
        }
        for i in 0..high {
            let (own, top) = (r + i * height, (r + i * height).min(end - height));
            for j in 0..self.wide {
                let edge = Edge { own, top, end: end.min(own + height), tile: self.at + j };
                // SAFETY: the tile's columns of C are writable, the caller promises.
                unsafe { edge.write_back(o, &bounces[i * self.wide + j]) };
            }
        }
    }
}

/// One tile of C: its registers stand for the rows from `top` on, of which it writes `own..end`.
struct Edge {
    own: usize,
    top: usize,
    end: usize,
    tile: usize,
}

impl Edge {
    /// Whether the registers stand for more than is to be written.
    fn is_cut(&self, o: &Operands) -> bool {
        self.top < self.own || o.columns(self.tile) < SIDE
    }

    /// Where the tile is loaded from and stored to.
    ///
    /// # Safety
    ///
    /// The tile's columns of C and of the biases must be readable.
    unsafe fn port(&self, o: &Operands, k0: usize, bounce: &mut Bounce) -> Port {
        let (cut, cols) = (self.is_cut(o), o.columns(self.tile));
        let o = Operands { start: if k0 == 0 { o.start } else { Start::Load }, ..*o };
        let c = o.c(self.top, self.tile);
        let (to, to_stride) = if cut { (bounce.0.as_mut_ptr().cast(), LINE) } else { (c, 4 * o.ldc) };
        let (from, from_stride) = match (o.start, o.initial(self.top, self.tile)) {
            (_, None) => (ZEROS.0.as_ptr().cast(), 0),
            (Start::Row { .. }, Some(row)) if cols < SIDE => {
                // SAFETY: the caller promises the tile's columns.
                bounce.0[0][..cols].copy_from_slice(unsafe { std::slice::from_raw_parts(row, cols) });
                (to.cast_const(), 0)
            }
            (Start::Row { .. }, Some(row)) => (row, 0),
            (_, Some(_)) if cut => {
                for r in self.own..self.end {
                    // SAFETY: the caller promises the tile's columns.
                    let row = unsafe { std::slice::from_raw_parts(o.c(r, self.tile), cols) };
                    bounce.0[r - self.top][..cols].copy_from_slice(row);
                }
                (to.cast_const(), LINE)
            }
            (_, Some(c)) => (c, 4 * o.ldc),
        };
        Port { from, from_stride, to, to_stride }
    }

    /// Copies the rows and columns of a cut tile to C.
    ///
    /// # Safety
    ///
    /// The tile's columns of C must be writable.
    unsafe fn write_back(&self, o: &Operands, bounce: &Bounce) {
        if self.is_cut(o) {
            let cols = o.columns(self.tile);
            for r in self.own..self.end {
                // SAFETY: the caller promises the tile's columns.
                let row = unsafe { std::slice::from_raw_parts_mut(o.c(r, self.tile), cols) };
                row.copy_from_slice(&bounce.0[r - self.top][..cols]);
            }
        }
    }
}
