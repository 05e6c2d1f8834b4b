//! The sums of a tile product with vectors, written once for every instruction set.
//!
//! A few rows of A are spread out into f32 (the terms of a pair apart), then every column tile passes by: for each
//! block of terms a register tile of rows by sixteen columns holds the two chains, which are added to C at the
//! block's end. A word of B gives two vectors by a shift and a mask, and each of them serves all rows.

use super::{BLOCK_WORDS, Operands, SIDE};
use crate::simd::{Kernel, Simd};

/// Blocks of terms whose part of A is spread out at a time.
const DEPTH: usize = 8;
/// The tallest register tile.
const MOST_ROWS: usize = 12;

/// Rows of the register tile: two chains for sixteen columns each, the two vectors of B and one that moves.
const fn rows_of(registers: usize, lanes: usize) -> usize {
    let rows = (registers - 4) / (2 * (SIDE / lanes));
    if rows > MOST_ROWS { MOST_ROWS } else { rows }
}

/// Terms of A: of each row the even ones, then the odd ones.
type Spread = [[[f32; DEPTH * SIDE]; 2]; MOST_ROWS];

/// # Safety
///
/// As for [`super::Runner::run`].
pub(super) unsafe fn run(isa: crate::Isa, o: &Operands) {
    isa.run(Run(o));
}

/// Only [`run`] makes one, whose caller promises what the pointers need.
struct Run<'a>(&'a Operands);

impl Kernel for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let o = self.0;
        let most = const { rows_of(S::REGISTERS, S::LANES) };
        let mut spread: Spread = [[[0.0; DEPTH * SIDE]; 2]; MOST_ROWS];
        for k0 in (0..o.blocks.max(1)).step_by(DEPTH) {
            let blocks = (o.blocks - k0).min(DEPTH);
            for r0 in (o.rows[0]..o.rows[1]).step_by(most) {
                let rows = (o.rows[1] - r0).min(most);
                for r in 0..rows {
                    let (tile, row) = ((r0 + r) / o.high, (r0 + r) % o.high);
                    let a = o.a.wrapping_add(tile * o.lda + k0 * BLOCK_WORDS + row * SIDE);
                    for block in 0..blocks {
                        // SAFETY: the caller promises the row's words of all blocks.
                        let words = unsafe { std::slice::from_raw_parts(a.add(block * BLOCK_WORDS), SIDE) };
                        for (p, &word) in words.iter().enumerate() {
                            spread[r][0][block * SIDE + p] = f32::from_bits(word << 16);
                            spread[r][1][block * SIDE + p] = f32::from_bits(word & 0xffff_0000);
                        }
                    }
                }
                for i in 0..o.tiles {
                    let b = o.b.wrapping_add(i * o.ldb + k0 * BLOCK_WORDS);
                    let tile = Tile { o, a: &spread, b, blocks, first: k0 == 0, r0, i };
                    tile.dispatch(s, rows);
                }
            }
        }
    }
}

/// Some rows of one column tile over some blocks of terms.
#[derive(Clone, Copy)]
struct Tile<'a> {
    o: &'a Operands,
    a: &'a Spread,
    b: *const u32,
    blocks: usize,
    first: bool,
    r0: usize,
    i: usize,
}

impl Tile<'_> {
    #[inline(always)]
    fn dispatch<S: Simd>(self, s: S, rows: usize) {
        macro_rules! ladder {
            ($($mr:literal)*) => {
                match rows {
                    // Only the heights that fit the set's registers are compiled, each a function of its own.
                    $($mr => if const { $mr <= rows_of(S::REGISTERS, S::LANES) } { s.vectorize(Rows::<$mr>(self)) },)*
                    _ => unreachable!("a tile of {rows} rows"),
                }
            };
        }
        ladder!(1 2 3 4 5 6 7 8 9 10 11 12);
    }

    /// Vector `v` of row `r` at `p`, 0 beyond the matrix.
    ///
    /// # Safety
    ///
    /// The vector's columns must be readable.
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, s: S, p: *const f32, v: usize) -> S::F32 {
        let n = self.o.columns(self.i).saturating_sub(v * S::LANES).min(S::LANES);
        let p = p.wrapping_add(v * S::LANES);
        // SAFETY: the caller's promise is the same.
        unsafe { if n == S::LANES { s.load_ptr(p) } else { s.load_partial(std::slice::from_raw_parts(p, n)) } }
    }

    /// # Safety
    ///
    /// The vector's columns must be writable.
    #[inline(always)]
    unsafe fn store<S: Simd>(&self, s: S, p: *mut f32, v: usize, x: S::F32) {
        let n = self.o.columns(self.i).saturating_sub(v * S::LANES).min(S::LANES);
        let p = p.wrapping_add(v * S::LANES);
        // SAFETY: the caller's promise is the same.
        unsafe {
            if n == S::LANES { s.store_ptr(p, x) } else { s.store_partial(std::slice::from_raw_parts_mut(p, n), x) }
        }
    }
}

struct Rows<'a, const MR: usize>(Tile<'a>);

impl<const MR: usize> Kernel for Rows<'_, MR> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self(tile) = self;
        let vectors = SIDE / S::LANES;
        // Without terms C still receives its initial values.
        for block in 0..tile.blocks.max(1) {
            let sums = if tile.blocks == 0 { [[s.splat(0.0); 2]; MR] } else { block_sums::<S, MR>(s, &tile, block) };
            for i in 0..MR {
                let (row, to) = (tile.r0 + i, tile.o.c(tile.r0 + i, tile.i));
                let from = if tile.first && block == 0 { tile.o.initial(row, tile.i) } else { Some(to.cast_const()) };
                for v in 0..vectors {
                    // SAFETY: the tile's columns of C and of the biases are there, see `run`.
                    unsafe {
                        let c = match from {
                            Some(from) => tile.load(s, from, v),
                            None => s.splat(0.0),
                        };
                        tile.store(s, to, v, s.add(c, sums[i][v]));
                    }
                }
            }
        }
    }
}

/// even + odd of one block of terms.
#[inline(always)]
fn block_sums<S: Simd, const MR: usize>(s: S, tile: &Tile<'_>, block: usize) -> [[S::F32; 2]; MR] {
    let vectors = SIDE / S::LANES;
    let mut chains = [[[s.splat(0.0); 2]; 2]; MR];
    let upper = s.splat_i32(0xffff_0000_u32 as i32);
    for p in 0..SIDE {
        for v in 0..vectors {
            let b = tile.b.wrapping_add(block * BLOCK_WORDS + p * SIDE + v * S::LANES);
            // SAFETY: the blocks of the column tile are readable, see `run`; words and f32 have the same size.
            let words = s.bits(unsafe { s.load_ptr(b.cast()) });
            let (even, odd) = (s.f32_from_bits(s.shl::<16>(words)), s.f32_from_bits(s.and_i32(words, upper)));
            for i in 0..MR {
                let [a_even, a_odd] = &tile.a[i];
                let at = block * SIDE + p;
                chains[i][0][v] = s.mul_add(s.splat(a_even[at]), even, chains[i][0][v]);
                chains[i][1][v] = s.mul_add(s.splat(a_odd[at]), odd, chains[i][1][v]);
            }
        }
    }
    let mut sums = [[s.splat(0.0); 2]; MR];
    for i in 0..MR {
        for v in 0..vectors {
            sums[i][v] = s.add(chains[i][0][v], chains[i][1][v]);
        }
    }
    sums
}
