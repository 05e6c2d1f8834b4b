//! The products on AMX tiles.
//!
//! A kernel holds one or two row tiles by one or two column tiles of C in the registers 0 to 3 for all its blocks of terms,
//! tiles of A in 4 and 5 and of B in 6 and 7. Each tile of A or B is loaded for the next block right after its last use in
//! this one. A tile product takes about as many cycles as A has rows (16 rows: 15; 10: 11.5; 8: 9.3; 4: 8.5), however long
//! the chain that it belongs to, and a load 8 from the first-level cache.
//!
//! **A busy sibling.** Where the other hardware thread of the core is at work, as it often is on rented machines, a load no
//! longer overlaps with products, and a pair of them takes 70 cycles in place of 16. About ten other instructions after each
//! of them make that 41, of whatever kind; with the core alone they cost nothing, since they go where the decoder would
//! wait. So the loop is filled up with prefetches of the operand that streams by and with instructions that do nothing.
//!
//! Measured 2026-11-22 on one core of a Sapphire-Rapids-class Xeon, medians in GFLOP/s of kernels of 16 rows a tile, with the
//! core alone and with a busy sibling: all operands in the first-level cache; A streaming from the second-level cache; B
//! streaming from there.
//!
//! | kernel | L1 | A streams | B streams | L1 | A streams | B streams |
//! |---|---|---|---|---|---|---|
//! | 2 x 3 tiles, loads before use | 2850 | 2080 | 1720 | 591 | 484 | 441 |
//! | 2 x 2, loads before use | 2840 | 2140 | 1770 | 642 | 486 | 471 |
//! | the same, 8 idle after each | 2830 | 2250 | 1810 | 1003 | 710 | 704 |
//! | 2 x 2, loads after use, 12 idle | 2850 | 2410 | 2040 | 1083 | 710 | 735 |
//! | this one: 4 prefetches a block ahead and 8 idle | 2850 | 2210 | 1910 | 1067 | 841 | 820 |
//! | prefetches of A and of B | 2850 | 2080 | 1820 | 1059 | 881 | 898 |
//!
//! (1 x 4 and 4 x 1 tiles were slower than 2 x 2 wherever both had been tried.)
//!
//! A tile of C is loaded from where it starts (rows 0 apart for a row of biases or zeros) and stored where it belongs.
//! At the edges, where it has fewer rows or columns than its registers, it goes through a tile in memory ([`Bounce`]).

use super::{BLOCK_WORDS, Operands, SIDE};
use crate::gemm::generic::Start;
use crate::simd::amx::Tiles;
use std::arch::asm;

/// Row tiles and column tiles of the largest kernel.
const HIGH: usize = 2;
const WIDE: usize = 2;

/// The most blocks of terms between two visits to C where there are more rows than one kernel takes: two column tiles of B
/// (32 KB) should stay in the first-level cache for all rows.
const DEPTH: usize = 16;

/// Where one tile of C comes from and goes to: addresses, and bytes from row to row.
#[derive(Clone, Copy)]
#[repr(C)]
struct Port {
    from: *const f32,
    from_stride: usize,
    to: *mut f32,
    to_stride: usize,
}

impl Port {
    /// The port of a tile that lies `rows` rows further down, for a C of `stride` bytes from row to row.
    fn down(self, rows: usize, stride: usize) -> Self {
        // Biases and zeros are the same for every row.
        let from = if self.from_stride == 0 { 0 } else { rows * stride };
        Self { from: self.from.wrapping_byte_add(from), to: self.to.wrapping_byte_add(rows * stride), ..self }
    }
}

/// The operands of a kernel.
struct Call {
    a: [*const u32; HIGH],
    b: [*const u32; WIDE],
    /// What streams by, two tiles: these of A or those of B.
    stream: [*const u32; 2],
    blocks: usize,
    /// Of tile (r, j) at r * (column tiles of the kernel) + j.
    ports: [Port; HIGH * WIDE],
}

/// Writes a kernel: the tiles of C by number, the first loads, the loop's body with the loads for the next block, and the
/// products of the last block. `fill` stands for instructions that go between the others.
macro_rules! kernel {
    ($(#[$doc:meta])* $name:ident, $($c:literal)*, [$($first:literal)*], [$($body:literal)*], [$($end:literal)*]) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// Tiles must be configured; what the call describes must be readable, and writable where C goes.
        unsafe fn $name(call: &Call) {
            // SAFETY: the caller's promise; the registers of the tiles and flags are all that is lost.
            unsafe {
                asm!(
                    // `fill`: two lines of each streaming tile a block ahead, and eight idle instructions. The lines go on
                    // from one to the next: eight times two make the sixteen of a tile.
                    ".macro unroll_fill",
                    "prefetcht0 [{s0}]",
                    "prefetcht0 [{s1}]",
                    ".rept 4",
                    "nop",
                    ".endr",
                    "prefetcht0 [{s0} + 64]",
                    "prefetcht0 [{s1} + 64]",
                    ".rept 4",
                    "nop",
                    ".endr",
                    "add {s0}, 128",
                    "add {s1}, 128",
                    ".endm",
                    $(concat!("mov {p}, qword ptr [{ports} + 32 * ", $c, "]"),
                    concat!("mov {q}, qword ptr [{ports} + 32 * ", $c, " + 8]"),
                    concat!("tileloadd tmm", $c, ", [{p} + {q} * 1]"),)*
                    "test {n}, {n}",
                    "jz 4f",
                    $($first,)*
                    "dec {n}",
                    "jz 3f",
                    "2:",
                    $($body,)*
                    "add {a0}, 1024",
                    "add {a1}, 1024",
                    "add {b0}, 1024",
                    "add {b1}, 1024",
                    "dec {n}",
                    "jnz 2b",
                    "3:",
                    $($end,)*
                    "4:",
                    $(concat!("mov {p}, qword ptr [{ports} + 32 * ", $c, " + 16]"),
                    concat!("mov {q}, qword ptr [{ports} + 32 * ", $c, " + 24]"),
                    concat!("tilestored [{p} + {q} * 1], tmm", $c),)*
                    ".purgem unroll_fill",
                    ports = in(reg) call.ports.as_ptr(),
                    p = out(reg) _,
                    q = out(reg) _,
                    n = inout(reg) call.blocks => _,
                    a0 = inout(reg) call.a[0] => _,
                    a1 = inout(reg) call.a[1] => _,
                    b0 = inout(reg) call.b[0] => _,
                    b1 = inout(reg) call.b[1] => _,
                    // A block ahead of what the loop loads, which is a block ahead itself.
                    s0 = inout(reg) call.stream[0].wrapping_add(2 * BLOCK_WORDS) => _,
                    s1 = inout(reg) call.stream[1].wrapping_add(2 * BLOCK_WORDS) => _,
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
    ["tileloadd tmm4, [{a0} + {line} * 1]" "tileloadd tmm6, [{b0} + {line} * 1]"],
    [
        "tdpbf16ps tmm0, tmm4, tmm6"
        "unroll_fill"
        "unroll_fill"
        "unroll_fill"
        "unroll_fill"
        "tileloadd tmm4, [{a0} + {line} * 1 + 1024]"
        "unroll_fill"
        "unroll_fill"
        "tileloadd tmm6, [{b0} + {line} * 1 + 1024]"
        "unroll_fill"
        "unroll_fill"
    ],
    ["tdpbf16ps tmm0, tmm4, tmm6"]
);
kernel!(
    /// One row tile, two column tiles.
    one_by_two, "0" "1",
    [
        "tileloadd tmm4, [{a0} + {line} * 1]"
        "tileloadd tmm6, [{b0} + {line} * 1]"
        "tileloadd tmm7, [{b1} + {line} * 1]"
    ],
    [
        "tdpbf16ps tmm0, tmm4, tmm6"
        "unroll_fill"
        "unroll_fill"
        "tileloadd tmm6, [{b0} + {line} * 1 + 1024]"
        "unroll_fill"
        "tdpbf16ps tmm1, tmm4, tmm7"
        "unroll_fill"
        "unroll_fill"
        "tileloadd tmm4, [{a0} + {line} * 1 + 1024]"
        "unroll_fill"
        "tileloadd tmm7, [{b1} + {line} * 1 + 1024]"
        "unroll_fill"
        "unroll_fill"
    ],
    ["tdpbf16ps tmm0, tmm4, tmm6" "tdpbf16ps tmm1, tmm4, tmm7"]
);
kernel!(
    /// Two row tiles, one column tile.
    two_by_one, "0" "1",
    [
        "tileloadd tmm6, [{b0} + {line} * 1]"
        "tileloadd tmm4, [{a0} + {line} * 1]"
        "tileloadd tmm5, [{a1} + {line} * 1]"
    ],
    [
        "tdpbf16ps tmm0, tmm4, tmm6"
        "unroll_fill"
        "unroll_fill"
        "tileloadd tmm4, [{a0} + {line} * 1 + 1024]"
        "unroll_fill"
        "tdpbf16ps tmm1, tmm5, tmm6"
        "unroll_fill"
        "unroll_fill"
        "tileloadd tmm6, [{b0} + {line} * 1 + 1024]"
        "unroll_fill"
        "tileloadd tmm5, [{a1} + {line} * 1 + 1024]"
        "unroll_fill"
        "unroll_fill"
    ],
    ["tdpbf16ps tmm0, tmm4, tmm6" "tdpbf16ps tmm1, tmm5, tmm6"]
);
kernel!(
    /// Two row tiles, two column tiles.
    two_by_two, "0" "1" "2" "3",
    [
        "tileloadd tmm6, [{b0} + {line} * 1]"
        "tileloadd tmm4, [{a0} + {line} * 1]"
        "tileloadd tmm5, [{a1} + {line} * 1]"
        "tileloadd tmm7, [{b1} + {line} * 1]"
    ],
    [
        "tdpbf16ps tmm0, tmm4, tmm6"
        "unroll_fill"
        "tdpbf16ps tmm2, tmm5, tmm6"
        "unroll_fill"
        "tileloadd tmm6, [{b0} + {line} * 1 + 1024]"
        "unroll_fill"
        "tdpbf16ps tmm1, tmm4, tmm7"
        "unroll_fill"
        "tileloadd tmm4, [{a0} + {line} * 1 + 1024]"
        "unroll_fill"
        "tdpbf16ps tmm3, tmm5, tmm7"
        "unroll_fill"
        "tileloadd tmm7, [{b1} + {line} * 1 + 1024]"
        "unroll_fill"
        "tileloadd tmm5, [{a1} + {line} * 1 + 1024]"
        "unroll_fill"
    ],
    [
        "tdpbf16ps tmm0, tmm4, tmm6"
        "tdpbf16ps tmm2, tmm5, tmm6"
        "tdpbf16ps tmm1, tmm4, tmm7"
        "tdpbf16ps tmm3, tmm5, tmm7"
    ]
);

/// `turns` times four products of whole tiles that never leave the registers: what the tiles can do at most.
pub(super) fn spin(tiles: &Tiles, turns: usize) -> usize {
    if turns == 0 {
        return 0;
    }
    // SAFETY: `Tiles` exists, so tiles are configured; no memory is touched.
    unsafe {
        asm!(
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm6",
            "tdpbf16ps tmm2, tmm4, tmm6",
            "tdpbf16ps tmm3, tmm4, tmm6",
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
    debug_assert_eq!(tiles.rows(), o.high, "rows of a tile");
    let mut bounces = [ZEROS; HIGH * WIDE];
    // As few visits to C as `DEPTH` allows, at equal distances; one where B is used once.
    let few = o.rows[1] - o.rows[0] <= HIGH * o.high;
    let visits = if few { 1 } else { o.blocks.div_ceil(DEPTH).max(1) };
    let mut at = 0;
    while at < o.tiles {
        let wide = (o.tiles - at).min(WIDE);
        for visit in 0..visits {
            let [k0, end] = [visit, visit + 1].map(|v| o.blocks * v / visits);
            let part = Part { o, at, wide, k0, blocks: end - k0, last: visit + 1 == visits, few };
            // SAFETY: the caller's promise covers all rows, tiles and blocks.
            unsafe { part.run(&mut bounces) };
        }
        at += wide;
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
    unsafe fn run(&self, bounces: &mut [Bounce; HIGH * WIDE]) {
        let (o, [first, end]) = (self.o, self.o.rows);
        let ports: [Port; WIDE] = std::array::from_fn(|j| self.port(first, self.at + j));
        let narrow = (self.at..self.at + self.wide).any(|tile| o.columns(tile) < SIDE);
        let nowhere = Port { from: std::ptr::null(), from_stride: 0, to: std::ptr::null_mut(), to_stride: 0 };
        let mut call = Call {
            a: [o.a; HIGH],
            b: std::array::from_fn(|j| o.b.wrapping_add((self.at + j) * o.ldb + self.k0 * BLOCK_WORDS)),
            stream: [o.a; 2],
            blocks: self.blocks,
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
            call.stream = if self.few { call.b } else { call.a };
            self.fetch_ahead(r + high * o.high);
            let cut = narrow || r + high * o.high > end;
            if cut {
                // SAFETY: the caller promises the columns of C and of the biases.
                unsafe { self.bounce(r, high, &mut call, bounces) };
            }
            // SAFETY: tiles are configured, as `run` was given them; the tiles of A and B are readable, and the ports lead to
            // C, the biases, zeros or tiles in memory.
            unsafe {
                match (high, self.wide) {
                    (1, 1) => one_by_one(&call),
                    (1, 2) => one_by_two(&call),
                    (2, 1) => two_by_one(&call),
                    (2, 2) => two_by_two(&call),
                    (high, wide) => unreachable!("a kernel of {high} x {wide} tiles"),
                }
            }
            if cut {
                // SAFETY: the caller promises the columns of C.
                unsafe { self.write_back(r, high, bounces) };
            }
        }
    }

    /// What the tile starts from at this visit to C.
    fn start(&self) -> Start {
        if self.k0 == 0 { self.o.start } else { Start::Load }
    }

    /// Where the tile whose first row is `r` comes from and goes to, if it is whole.
    fn port(&self, r: usize, tile: usize) -> Port {
        let o = Operands { start: self.start(), ..*self.o };
        let (to, stride) = (o.c(r, tile), 4 * o.ldc);
        let (from, from_stride) = match (o.start, o.initial(r, tile)) {
            (_, None) => (ZEROS.0.as_ptr().cast(), 0),
            (Start::Row { .. }, Some(row)) => (row, 0),
            (_, Some(c)) => (c, stride),
        };
        Port { from, from_stride, to, to_stride: stride }
    }

    /// Asks for the part of C that the next kernel loads or stores: rows from `r` on of these tiles, or the first rows of the
    /// next tiles, also those that the next run will come to.
    fn fetch_ahead(&self, r: usize) {
        let (o, [first, end]) = (self.o, self.o.rows);
        let (top, tile) = match (r < end, self.last) {
            (true, _) => (r, self.at),
            (false, true) => (first, self.at + self.wide),
            (false, false) => return,
        };
        for row in top..end.min(top + HIGH * o.high) {
            for j in 0..self.wide {
                prefetch_to_write(o.c(row, tile + j));
            }
        }
    }

    /// The rows that tile `i` of the kernel from row `r` on has in the matrix.
    fn own(&self, r: usize, i: usize) -> std::ops::Range<usize> {
        let top = r + i * self.o.high;
        top..self.o.rows[1].min(top + self.o.high)
    }

    /// Leads the tiles of a kernel at an edge of C through tiles in memory.
    ///
    /// # Safety
    ///
    /// The tiles' columns of C and of the biases must be readable.
    unsafe fn bounce(&self, r: usize, high: usize, call: &mut Call, bounces: &mut [Bounce; HIGH * WIDE]) {
        let o = Operands { start: self.start(), ..*self.o };
        for (at, bounce) in bounces.iter_mut().enumerate().take(high * self.wide) {
            let (rows, tile) = (self.own(r, at / self.wide), self.at + at % self.wide);
            let cols = o.columns(tile);
            let lines = match o.start {
                Start::Zero => 0,
                Start::Load => rows.len(),
                Start::Row { .. } => 1,
            };
            for (line, row) in rows.take(lines).enumerate() {
                if let Some(from) = o.initial(row, tile) {
                    // SAFETY: the caller promises the tile's columns.
                    bounce.0[line][..cols].copy_from_slice(unsafe { std::slice::from_raw_parts(from, cols) });
                }
            }
            let memory = bounce.0.as_mut_ptr().cast::<f32>();
            let port = &mut call.ports[at];
            (port.to, port.to_stride) = (memory, LINE);
            if lines > 0 {
                (port.from, port.from_stride) = (memory, if lines == 1 { 0 } else { LINE });
            }
        }
    }

    /// Copies the rows and columns that such tiles have in C.
    ///
    /// # Safety
    ///
    /// The tiles' columns of C must be writable.
    unsafe fn write_back(&self, r: usize, high: usize, bounces: &[Bounce; HIGH * WIDE]) {
        for (at, bounce) in bounces.iter().enumerate().take(high * self.wide) {
            let tile = self.at + at % self.wide;
            let cols = self.o.columns(tile);
            for (line, row) in self.own(r, at / self.wide).enumerate() {
                // SAFETY: the caller promises the tile's columns.
                let to = unsafe { std::slice::from_raw_parts_mut(self.o.c(row, tile), cols) };
                to.copy_from_slice(&bounce.0[line][..cols]);
            }
        }
    }
}

/// Asks for the line at any address, to be written.
fn prefetch_to_write(p: *mut f32) {
    use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing and faults on no address.
    unsafe { _mm_prefetch::<_MM_HINT_ET0>(p.cast_const().cast()) }
}
