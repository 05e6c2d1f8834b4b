//! The kernels: one or two row tiles by one or two column tiles of C, which stay in registers for all blocks of terms.
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

use super::super::{BLOCK_WORDS, SIDE, TERMS};
use crate::simd::amx::Tiles;
use std::arch::asm;

/// Row tiles and column tiles of the largest kernel.
pub(super) const HIGH: usize = 2;
pub(super) const WIDE: usize = 2;

/// Where one tile of C comes from and goes to: addresses, and bytes from row to row.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct TileAddress {
    pub(super) from: *const f32,
    pub(super) from_stride: usize,
    pub(super) to: *mut f32,
    pub(super) to_stride: usize,
}

impl TileAddress {
    /// The port of a tile that lies `rows` rows further down, for a C of `stride` bytes from row to row.
    pub(super) fn down(self, rows: usize, stride: usize) -> Self {
        // Biases and zeros are the same for every row.
        let from = if self.from_stride == 0 { 0 } else { rows * stride };
        Self { from: self.from.wrapping_byte_add(from), to: self.to.wrapping_byte_add(rows * stride), ..self }
    }
}

/// The operands of a kernel.
#[repr(C)]
pub(super) struct Call {
    pub(super) a: [*const u32; HIGH],
    pub(super) b: [*const u32; WIDE],
    /// Whether B streams by; else A does.
    pub(super) b_streams: bool,
    pub(super) blocks: usize,
    /// What to fetch meanwhile.
    pub(super) ahead: Prefetch,
    /// Of tile (r, j) at r * (column tiles of the kernel) + j.
    pub(super) ports: [TileAddress; HIGH * WIDE],
}

impl Call {
    /// The i-th tile of what streams by, a block ahead of what the loop loads, which is a block ahead itself. Taken from the
    /// operands one by one: copied as a pair, a vector load of what two stores have just written waits until all stores
    /// before them have reached the cache, those of the last tiles of C among them (17 % of the time of word650's products).
    fn stream(&self, i: usize) -> *const u32 {
        if self.b_streams { self.b[i] } else { self.a[i] }.wrapping_add(2 * BLOCK_WORDS)
    }
}

/// The part of C that the next kernel will come to, which a kernel fetches between its products: all at once before them,
/// the requests filled the buffers of the first-level cache, and nothing else moved (9 % of the time of word650's products).
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Prefetch {
    pub(super) c: *const f32,
    /// Bytes from row to row, and from its first to its second tile.
    pub(super) stride: usize,
    pub(super) apart: usize,
    /// Blocks of terms during which rows are fetched, [`ROWS_A_BLOCK`] in each; never the last block.
    pub(super) blocks: usize,
}

/// Rows of C that a kernel fetches in each block of terms: one for each `fill`.
pub(super) const ROWS_A_BLOCK: usize = 8;

/// Writes a kernel: the registers of C, each with the number of its port, the first loads, the loop's body with the loads for
/// the next block, and the products of the last block. `fill` stands for instructions that go between the others.
macro_rules! kernel {
    ($(#[$doc:meta])* $name:ident, $($c:literal: $port:literal)*, [$($first:literal)*], [$($body:literal)*], [$($end:literal)*]) => {
        $(#[$doc])*
        ///
        /// # Safety
        ///
        /// Tiles must be configured; what the call describes must be readable, and writable where C goes.
        pub(super) unsafe fn $name(call: &Call) {
            // SAFETY: the caller's promise; the registers of the tiles and flags are all that is lost.
            unsafe {
                asm!(
                    $(concat!("mov {p}, qword ptr [{call} + {ports} + 32 * ", $port, "]"),
                    concat!("mov {q}, qword ptr [{call} + {ports} + 32 * ", $port, " + 8]"),
                    concat!("tileloadd tmm", $c, ", [{p} + {q} * 1]"),)*
                    "test {n}, {n}",
                    "jz 4f",
                    $($first,)*
                    "dec {n}",
                    "sub {n}, {m}",
                    "mov {p}, qword ptr [{call} + {ahead}]",
                    "mov {q}, qword ptr [{call} + {ahead} + 8]",
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
                    "unroll_four",
                    "add {s0}, 128",
                    "add {s1}, 128",
                    ".endm",
                    // Four of the idle ones give way to a row of C, whose tiles may begin anywhere in a line.
                    ".macro unroll_four",
                    "prefetchw [{p}]",
                    "prefetchw [{p} + 63]",
                    "prefetchw [{p} + {apart} + 63]",
                    "add {p}, {q}",
                    ".endm",
                    "test {m}, {m}",
                    "jz 5f",
                    "2:",
                    $($body,)*
                    "add {a0}, 1024",
                    "add {a1}, 1024",
                    "add {b0}, 1024",
                    "add {b1}, 1024",
                    "dec {m}",
                    "jnz 2b",
                    "5:",
                    ".purgem unroll_four",
                    ".macro unroll_four",
                    ".rept 4",
                    "nop",
                    ".endr",
                    ".endm",
                    "test {n}, {n}",
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
                    ".purgem unroll_four",
                    ".purgem unroll_fill",
                    $($end,)*
                    "4:",
                    $(concat!("mov {p}, qword ptr [{call} + {ports} + 32 * ", $port, " + 16]"),
                    concat!("mov {q}, qword ptr [{call} + {ports} + 32 * ", $port, " + 24]"),
                    concat!("tilestored [{p} + {q} * 1], tmm", $c),)*
                    call = in(reg) call,
                    ports = const std::mem::offset_of!(Call, ports),
                    ahead = const std::mem::offset_of!(Call, ahead),
                    apart = in(reg) call.ahead.apart,
                    p = out(reg) _,
                    q = out(reg) _,
                    // Blocks but the last, whose products come after the loops: with a part of C ahead, and without.
                    m = inout(reg) call.ahead.blocks => _,
                    n = inout(reg) call.blocks => _,
                    a0 = inout(reg) call.a[0] => _,
                    a1 = inout(reg) call.a[1] => _,
                    b0 = inout(reg) call.b[0] => _,
                    b1 = inout(reg) call.b[1] => _,
                    s0 = inout(reg) call.stream(0) => _,
                    s1 = inout(reg) call.stream(1) => _,
                    line = in(reg) 64usize,
                    options(nostack),
                );
            }
        }
    };
}

kernel!(
    /// One row tile, one column tile.
    one_by_one, "0": "0",
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
    one_by_two, "0": "0" "1": "1",
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
    two_by_one, "0": "0" "2": "1",
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
        "tdpbf16ps tmm2, tmm5, tmm6"
        "unroll_fill"
        "unroll_fill"
        "tileloadd tmm6, [{b0} + {line} * 1 + 1024]"
        "unroll_fill"
        "tileloadd tmm5, [{a1} + {line} * 1 + 1024]"
        "unroll_fill"
        "unroll_fill"
    ],
    ["tdpbf16ps tmm0, tmm4, tmm6" "tdpbf16ps tmm2, tmm5, tmm6"]
);
kernel!(
    /// Two row tiles, two column tiles.
    two_by_two, "0": "0" "1": "1" "2": "2" "3": "3",
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
pub(in crate::gemm::bf16) fn spin(tiles: &Tiles, turns: usize) -> usize {
    tiles.set_rows([SIDE; 2]);
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
    2 * HIGH * WIDE * turns * SIDE * SIDE * TERMS
}
