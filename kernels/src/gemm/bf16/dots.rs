//! The products by the dot products of AVX-512 BF16 (VDPBF16PS), on processors without tiles.
//!
//! A register tile holds some rows of C by one to four column tiles. For each word of terms the column tiles' vectors are
//! loaded, and each row's word, the same in every lane, is multiplied with all of them: two terms an instruction, twice the
//! rate of f32 on Zen 4 (226 of 113 GFLOP/s a core, 2026-11-22).

use super::{BLOCK_WORDS, Operands, SIDE, Start};
use crate::simd::Avx512Bf16;
use std::arch::x86_64::*;

/// The most blocks of terms between two visits to C. GFLOP/s of one thread of Zen 4 (2026-11-23) with 8, 11, 16, 24, 48 of
/// them: 700x650x2600 204, 205, 203, 207, 209; 700x10000x650 137, 138, 143, 141, 139; 512x3200x2048 195, 204, 206, 212, 219:
/// a visit costs more than column tiles that are read from the second-level cache.
const DEPTH: usize = 24;
/// The most rows of a register tile beside one to four column tiles: at most 28 sums. Four column tiles read each row's words
/// and visit C half as often as two: 700x650x10000 at 205 GFLOP/s where 8 rows by two had 185.
const MOST_ROWS: [usize; 4] = [14, 14, 8, 6];

/// # Safety
///
/// As for [`super::Runner::run`].
pub(super) unsafe fn run(_proof: Avx512Bf16, o: &Operands) {
    // SAFETY: the token proves the features; the caller's promise is the same.
    unsafe { all(o) };
}

/// # Safety
///
/// As for [`run`], which proves the features.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn all(o: &Operands) {
    let [first, end] = o.rows;
    let high = o.high.min(end - first);
    for at in (0..o.tiles).step_by(MOST_ROWS.len()) {
        let wide = (o.tiles - at).min(MOST_ROWS.len());
        // Rows of a tile of A spread evenly over as few register tiles as hold them.
        let step = high.div_ceil(high.div_ceil(MOST_ROWS[wide - 1]).max(1)).max(1);
        let visits = if end - first <= step { 1 } else { o.blocks.div_ceil(DEPTH).max(1) };
        for visit in 0..visits {
            let [k0, k1] = [visit, visit + 1].map(|v| o.blocks * v / visits);
            for tile in (first..end).step_by(o.high) {
                let rows = (end - tile).min(o.high);
                for r in (0..rows).step_by(step) {
                    let part = Part { o, row: tile + r, at, k0, blocks: k1 - k0 };
                    // SAFETY: the caller's promise covers these rows, tiles and blocks.
                    unsafe { part.dispatch((rows - r).min(step), wide) };
                }
            }
        }
    }
}

/// Rows of one tile of A, from `row` on, by neighbouring column tiles from `at` on, over the blocks `k0..k0 + blocks`.
#[derive(Clone, Copy)]
struct Part<'a> {
    o: &'a Operands,
    row: usize,
    at: usize,
    k0: usize,
    blocks: usize,
}

impl Part<'_> {
    /// # Safety
    ///
    /// As for [`run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn dispatch(self, rows: usize, wide: usize) {
        macro_rules! ladder {
            ($($mr:literal: $($nt:literal)*;)*) => {
                match (rows, wide) {
                    // SAFETY: the caller's promise is the same.
                    $($(($mr, $nt) => unsafe { self.sums::<$mr, $nt>() },)*)*
                    _ => unreachable!("a register tile of {rows} rows by {wide} tiles"),
                }
            };
        }
        ladder! {
            1: 1 2 3 4; 2: 1 2 3 4; 3: 1 2 3 4; 4: 1 2 3 4; 5: 1 2 3 4; 6: 1 2 3 4;
            7: 1 2 3; 8: 1 2 3; 9: 1 2; 10: 1 2; 11: 1 2; 12: 1 2; 13: 1 2; 14: 1 2;
        }
    }

    /// # Safety
    ///
    /// As for [`run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn sums<const MR: usize, const NT: usize>(self) {
        let Self { o, row, at, k0, blocks } = self;
        let masks: [__mmask16; NT] = std::array::from_fn(|j| ((1u32 << o.columns(at + j)) - 1) as u16);
        let to: [*mut f32; NT] = std::array::from_fn(|j| o.c(row, at + j));
        let mut c = [[_mm512_setzero_ps(); NT]; MR];
        for j in 0..NT {
            let (from, stride) = match (k0, o.start) {
                (0, Start::Row { .. }) => (o.initial(row, at + j), 0),
                (0, _) => (o.initial(row, at + j), o.ldc),
                _ => (Some(to[j].cast_const()), o.ldc),
            };
            let Some(from) = from else { continue };
            for i in 0..MR {
                // SAFETY: the mask keeps the tile's columns, which the caller promises.
                c[i][j] = unsafe { _mm512_maskz_loadu_ps(masks[j], from.wrapping_add(i * stride)) };
            }
        }
        let mut a = o.a.wrapping_add(row / o.high * o.lda + k0 * BLOCK_WORDS + row % o.high * SIDE);
        let mut b: [*const u32; NT] = std::array::from_fn(|j| o.b.wrapping_add((at + j) * o.ldb + k0 * BLOCK_WORDS));
        for _ in 0..blocks {
            for p in 0..SIDE {
                // SAFETY: the caller promises whole blocks of the rows of A and of the column tiles.
                unsafe {
                    let mut right = [_mm512_setzero_si512(); NT];
                    for j in 0..NT {
                        right[j] = _mm512_loadu_si512(b[j].add(p * SIDE).cast());
                    }
                    for i in 0..MR {
                        let left = _mm512_set1_epi32(*a.add(i * SIDE + p) as i32);
                        for j in 0..NT {
                            c[i][j] = _mm512_dpbf16_ps(c[i][j], halves(left), halves(right[j]));
                        }
                    }
                }
            }
            a = a.wrapping_add(BLOCK_WORDS);
            b = b.map(|b| b.wrapping_add(BLOCK_WORDS));
        }
        for j in 0..NT {
            for i in 0..MR {
                // SAFETY: the mask keeps the tile's columns, which the caller promises.
                unsafe { _mm512_mask_storeu_ps(to[j].wrapping_add(i * o.ldc), masks[j], c[i][j]) };
            }
        }
    }
}

/// Words as pairs of bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn halves(words: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes without invalid patterns.
    unsafe { std::mem::transmute(words) }
}

/// Multiplies `turns` times 28 sums in registers; returns the floating-point operations of it.
pub(super) fn spin(_proof: Avx512Bf16, turns: usize) -> usize {
    // SAFETY: the token proves the features.
    unsafe { spun(turns) }
}

/// # Safety
///
/// The processor must have the features.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn spun(turns: usize) -> usize {
    const SUMS: usize = 2 * MOST_ROWS[1];
    const TIMES: usize = 32;
    let word = halves(_mm512_set1_epi32(std::hint::black_box(0x3f00_3f00)));
    let mut sums = [_mm512_setzero_ps(); SUMS];
    for _ in 0..turns * TIMES {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, word, word);
        }
    }
    std::hint::black_box(sums);
    TIMES * SUMS * 4 * SIDE
}
