//! Sums of products of integers: some rows of A by some column tiles of B in registers, for all terms.

use super::{Line, SIDE, depth_of, lines_of};
use crate::Isa;

/// Rows of A and column tiles of B.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a> {
    /// (rows, lines of K) words of four integers.
    pub(super) a: &'a [u32],
    /// The tiles, one after the other.
    pub(super) lines: &'a [Line],
    pub(super) k: usize,
    pub(super) rows: usize,
}

/// What an instruction set does with a line.
trait Dot: Copy {
    /// Sixteen sums.
    type Sums: Copy;
    fn zero(self) -> Self::Sums;
    /// Adds the products of the four integers of `a` with those of every column.
    fn add(self, sums: Self::Sums, line: &Line, a: u32) -> Self::Sums;
    /// The sums; `of_b` are the sums of B's integers.
    fn sums(self, sums: Self::Sums, of_b: &Line) -> [i32; SIDE];
}

/// Calls `done(row, tile, sums)` for every row and tile.
pub(super) fn run(isa: Isa, o: Operands, done: impl FnMut(usize, usize, [i32; SIDE])) {
    #[cfg(target_arch = "x86_64")]
    {
        if isa.avx512().is_some() && is_x86_feature_detected!("avx512vnni") {
            // SAFETY: the processor has the features, as just found.
            return unsafe { x86::vnni(o, done) };
        }
        if isa != Isa::PORTABLE {
            // SAFETY: every set but the portable one includes AVX2.
            return unsafe { x86::avx2(o, done) };
        }
    }
    let _ = isa;
    all(Plain, o, done);
}

/// Eight tiles for a single row, whose sums would else wait for each other; four rows by four tiles where there are more.
#[inline(always)]
fn all<D: Dot>(d: D, o: Operands, mut done: impl FnMut(usize, usize, [i32; SIDE])) {
    let tiles = o.lines.len() / depth_of(o.k);
    let mut row = 0;
    while row < o.rows {
        let several = o.rows - row >= 4;
        let mut tile = 0;
        while tile < tiles {
            let left = tiles - tile;
            tile += match (several, left) {
                (false, 8..) => part::<D, 1, 8>(d, o, [row, tile], &mut done),
                (false, 4..) => part::<D, 1, 4>(d, o, [row, tile], &mut done),
                (false, _) => part::<D, 1, 1>(d, o, [row, tile], &mut done),
                (true, 4..) => part::<D, 4, 4>(d, o, [row, tile], &mut done),
                (true, _) => part::<D, 4, 1>(d, o, [row, tile], &mut done),
            };
        }
        row += if several { 4 } else { 1 };
    }
}

/// `ROWS` rows by `TILES` tiles; returns `TILES`.
#[inline(always)]
fn part<D: Dot, const ROWS: usize, const TILES: usize>(
    d: D,
    o: Operands,
    [row, tile]: [usize; 2],
    done: &mut impl FnMut(usize, usize, [i32; SIDE]),
) -> usize {
    let (depth, count) = (depth_of(o.k), lines_of(o.k));
    let mut a: [&[u32]; ROWS] = [&[]; ROWS];
    for i in 0..ROWS {
        a[i] = &o.a[(row + i) * count..(row + i + 1) * count];
    }
    let mut b: [&[Line]; TILES] = [&[]; TILES];
    for j in 0..TILES {
        b[j] = &o.lines[(tile + j) * depth..(tile + j) * depth + count];
    }
    let mut sums = [[d.zero(); TILES]; ROWS];
    for k in 0..count {
        for i in 0..ROWS {
            let x = a[i][k];
            for j in 0..TILES {
                sums[i][j] = d.add(sums[i][j], &b[j][k], x);
            }
        }
    }
    for i in 0..ROWS {
        for j in 0..TILES {
            done(row + i, tile + j, d.sums(sums[i][j], &o.lines[(tile + j + 1) * depth - 1]));
        }
    }
    TILES
}

/// Plain loops.
#[derive(Clone, Copy)]
struct Plain;

impl Dot for Plain {
    type Sums = [i32; SIDE];

    #[inline(always)]
    fn zero(self) -> Self::Sums {
        [0; SIDE]
    }

    #[inline(always)]
    fn add(self, mut sums: Self::Sums, line: &Line, a: u32) -> Self::Sums {
        let a = a.to_le_bytes();
        for (sum, word) in sums.iter_mut().zip(line) {
            let b = word.to_le_bytes();
            for term in 0..4 {
                *sum += i32::from(a[term] as i8) * i32::from(b[term] as i8);
            }
        }
        sums
    }

    #[inline(always)]
    fn sums(self, sums: Self::Sums, _: &Line) -> [i32; SIDE] {
        sums
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Dot, Line, Operands, SIDE, all};
    use std::arch::x86_64::*;

    /// VPDPBUSD: four products of unsigned by signed bytes and their sum, for sixteen columns.
    #[derive(Clone, Copy)]
    struct Vnni;

    /// # Safety
    ///
    /// The processor must have AVX-512 F and VNNI.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
    pub(super) unsafe fn vnni(o: Operands, done: impl FnMut(usize, usize, [i32; SIDE])) {
        all(Vnni, o, done);
    }

    impl Dot for Vnni {
        type Sums = __m512i;

        #[inline(always)]
        fn zero(self) -> __m512i {
            // SAFETY: only `vnni` makes a token, whose caller promises the instructions; likewise below.
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        fn add(self, sums: __m512i, line: &Line, a: u32) -> __m512i {
            // SAFETY: as above; a line is 64 bytes.
            unsafe {
                // p + 128 as an unsigned byte is p with its sign bit turned.
                let a = _mm512_set1_epi32((a ^ 0x8080_8080) as i32);
                _mm512_dpbusd_epi32(sums, a, _mm512_loadu_si512(line.as_ptr().cast()))
            }
        }

        #[inline(always)]
        fn sums(self, sums: __m512i, of_b: &Line) -> [i32; SIDE] {
            let mut out = [0; SIDE];
            // SAFETY: as above; both are 64 bytes.
            unsafe {
                let offset = _mm512_slli_epi32::<7>(_mm512_loadu_si512(of_b.as_ptr().cast()));
                _mm512_storeu_si512(out.as_mut_ptr().cast(), _mm512_sub_epi32(sums, offset));
            }
            out
        }
    }

    /// Bytes widened to 16 bits, products added in pairs, and these once more.
    #[derive(Clone, Copy)]
    struct Wide;

    /// # Safety
    ///
    /// The processor must have AVX2.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2(o: Operands, done: impl FnMut(usize, usize, [i32; SIDE])) {
        all(Wide, o, done);
    }

    impl Dot for Wide {
        type Sums = [__m256i; 2];

        #[inline(always)]
        fn zero(self) -> [__m256i; 2] {
            // SAFETY: only `avx2` makes a token, whose caller promises the instructions; likewise below.
            unsafe { [_mm256_setzero_si256(); 2] }
        }

        #[inline(always)]
        fn add(self, sums: [__m256i; 2], line: &Line, a: u32) -> [__m256i; 2] {
            let mut out = sums;
            for (half, sum) in out.iter_mut().enumerate() {
                // SAFETY: as above; a line is four times 16 bytes.
                unsafe {
                    let a = _mm256_cvtepi8_epi16(_mm_set1_epi32(a as i32));
                    let four = line.as_ptr().add(8 * half).cast::<__m128i>();
                    let left = _mm256_madd_epi16(_mm256_cvtepi8_epi16(_mm_loadu_si128(four)), a);
                    let right = _mm256_madd_epi16(_mm256_cvtepi8_epi16(_mm_loadu_si128(four.add(1))), a);
                    *sum = _mm256_add_epi32(*sum, _mm256_hadd_epi32(left, right));
                }
            }
            out
        }

        #[inline(always)]
        fn sums(self, sums: [__m256i; 2], _: &Line) -> [i32; SIDE] {
            let mut out = [0; SIDE];
            for (half, sum) in sums.into_iter().enumerate() {
                // SAFETY: as above. The horizontal sums stand as columns 0 1 4 5 2 3 6 7.
                unsafe {
                    let ordered = _mm256_permute4x64_epi64::<0b11_01_10_00>(sum);
                    _mm256_storeu_si256(out.as_mut_ptr().add(8 * half).cast(), ordered);
                }
            }
            out
        }
    }
}
