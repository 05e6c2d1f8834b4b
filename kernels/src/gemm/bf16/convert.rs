//! Rounding to bf16 into words of two terms: what packs A and B.
//!
//! A word holds term 2p in its lower half and term 2p + 1 in its upper one. A *block* is 16 x 16 words, what one tile
//! register holds. It comes from 32 rows by 16 columns where the terms run down the rows (B as it lies, A for a product
//! with its transpose), or from 16 rows by 32 columns where they run along the rows (A as it lies, B given as its
//! transpose); in two of the four cases it is transposed on its way. A tile of A may have fewer than 16 rows: the others of its
//! block are zero, as is what the source lacks at its edges.

use crate::profile::{self, Phase};
use crate::simd::Kernel;
use crate::{Element, Isa, Mat};

/// Terms of a block, and words that they take.
pub(in crate::gemm) const TERMS: usize = 32;
/// Rows of a block, and words of each.
pub(in crate::gemm) const SIDE: usize = 16;

/// Blocks that `k` terms need.
pub(in crate::gemm) const fn blocks_of(k: usize) -> usize {
    k.div_ceil(TERMS)
}

/// Which way the terms run in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gemm) enum Terms {
    /// Down the rows: a block is 32 rows by up to 16 columns.
    Down,
    /// Along the rows: a block is up to 16 rows by 32 columns.
    Along,
}

impl Terms {
    /// Rows and columns of the source in a block of `side` lines.
    fn size(self, side: usize) -> [usize; 2] {
        match self {
            Self::Down => [TERMS, side],
            Self::Along => [side, TERMS],
        }
    }
}

/// Where the blocks go.
#[derive(Clone, Copy)]
pub(in crate::gemm) struct Places {
    /// Lines of the source (columns if terms run down, else rows) that go into one block, 1 to 16.
    pub(in crate::gemm) side: usize,
    /// Words from a block to that below it in the source, and to that right of it.
    pub(in crate::gemm) steps: [usize; 2],
    /// Whether rows of the written block run along the source's columns.
    pub(in crate::gemm) transposed: bool,
}

/// Converts all of `from`, block after block along its rows. Whole blocks are written.
///
/// # Panics
///
/// When the blocks do not fit into `to`.
#[track_caller]
pub(in crate::gemm) fn convert<E: Element>(isa: Isa, from: Mat<'_, E>, terms: Terms, to: &mut [u32], places: Places) {
    let [high, wide] = terms.size(places.side);
    let [below, right] = [from.rows().div_ceil(high), from.cols().div_ceil(wide)];
    if below == 0 || right == 0 {
        return;
    }
    let last = (below - 1) * places.steps[0] + (right - 1) * places.steps[1] + SIDE * SIDE;
    assert!(last <= to.len(), "no room for {below} x {right} blocks: {last} words, not {}", to.len());
    let _span = profile::enter(Phase::Packing);
    #[cfg(target_arch = "x86_64")]
    if let Some(token) = isa.avx512_bf16() {
        return native::convert(token, from, terms, to, places);
    }
    isa.run(Plain { from, terms, to, places });
}

/// The rows and columns of block (i, j).
fn part<E: Element>(from: Mat<'_, E>, [high, wide]: [usize; 2], [i, j]: [usize; 2]) -> Mat<'_, E> {
    let (rows, cols) = (from.rows(), from.cols());
    from.rows_range(i * high..rows.min((i + 1) * high)).cols_range(j * wide..cols.min((j + 1) * wide))
}

/// Plain loops, which the compiler turns into vectors of the set.
struct Plain<'a, 't, E> {
    from: Mat<'a, E>,
    terms: Terms,
    to: &'t mut [u32],
    places: Places,
}

impl<E: Element> Kernel for Plain<'_, '_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: crate::simd::Simd>(self, _: S) {
        let Self { from, terms, to, places: Places { side, steps, transposed } } = self;
        let size = terms.size(side);
        for i in 0..from.rows().div_ceil(size[0]) {
            for j in 0..from.cols().div_ceil(size[1]) {
                let part = part(from, size, [i, j]);
                let block = if terms == Terms::Down { block_down(part) } else { block_along(part) };
                let to = &mut to[i * steps[0] + j * steps[1]..];
                for r in 0..SIDE {
                    let row = &mut to[r * SIDE..(r + 1) * SIDE];
                    for c in 0..SIDE {
                        row[c] = if transposed { block[c][r] } else { block[r][c] };
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn block_down<E: Element>(from: Mat<'_, E>) -> [[u32; SIDE]; SIDE] {
    let mut block = [[0; SIDE]; SIDE];
    for r in 0..from.rows() {
        let mut row = [E::zeroed(); SIDE];
        row[..from.cols()].copy_from_slice(from.row(r));
        for (word, x) in block[r / 2].iter_mut().zip(row) {
            *word |= u32::from(x.half().0) << (16 * (r % 2));
        }
    }
    block
}

#[inline(always)]
fn block_along<E: Element>(from: Mat<'_, E>) -> [[u32; SIDE]; SIDE] {
    let mut block = [[0; SIDE]; SIDE];
    for r in 0..from.rows() {
        let mut row = [E::zeroed(); TERMS];
        row[..from.cols()].copy_from_slice(from.row(r));
        for (word, x) in block[r].iter_mut().zip(row.as_chunks::<2>().0) {
            *word = u32::from(x[0].half().0) | u32::from(x[1].half().0) << 16;
        }
    }
    block
}

/// With the conversions of AVX-512 BF16: a block in sixteen registers.
#[cfg(target_arch = "x86_64")]
mod native {
    use super::{Places, SIDE, Terms, part};
    use crate::simd::fetch::FAR;
    use crate::simd::{Avx512Bf16, prefetch};
    use crate::{Element, Mat};
    use std::arch::x86_64::*;

    pub(super) fn convert<E: Element>(
        _proof: Avx512Bf16,
        from: Mat<'_, E>,
        terms: Terms,
        to: &mut [u32],
        places: Places,
    ) {
        // SAFETY: the token proves AVX-512 with BF16; the caller has checked that all blocks fit into `to`.
        unsafe {
            match terms {
                Terms::Down => down(from, to.as_mut_ptr(), places),
                Terms::Along => along(from, to.as_mut_ptr(), places),
            }
        }
    }

    /// The mask of the first `n` lanes of sixteen; none for n <= 0.
    #[inline(always)]
    fn lanes(n: isize) -> __mmask16 {
        if n >= 16 { !0 } else { ((1u32 << n.max(0)) - 1) as u16 }
    }

    /// How many blocks ahead lines are asked for, into the second-level cache. nnlm32, whose weights come from memory, trains 1,932
    /// samples a second with 4, 1,984 with 6, 1,801 with 2, and 1,747 with 2 into the first-level cache; word650, char256 and
    /// nnlm256 do alike with all of these (two threads of Zen 4, medians of six, 2026-11-23).
    const AHEAD: usize = 4;

    /// Asks for the lines of the block [`AHEAD`] to the right of block (i, j), or as far into the blocks below. Every row of a
    /// block may lie in a page of its own, more pages than the processor itself looks ahead in.
    #[inline(always)]
    fn ahead<E: Element>(from: Mat<'_, E>, [high, wide]: [usize; 2], [i, j]: [usize; 2]) {
        let right = from.cols().div_ceil(wide);
        let (i, j) = if j + AHEAD < right { (i, j + AHEAD) } else { (i + 1, (j + AHEAD - right).min(right - 1)) };
        let rows = from.rows().min((i + 1) * high);
        for r in i * high..rows {
            let at = from.as_ptr().wrapping_add(r * from.stride() + j * wide).cast::<i8>();
            for line in (0..size_of::<E>() * wide).step_by(64) {
                prefetch::<FAR, _>(at.wrapping_add(line));
            }
        }
    }

    /// # Safety
    ///
    /// All blocks must fit into `to`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn down<E: Element>(from: Mat<'_, E>, to: *mut u32, places: Places) {
        // Halves of the words: lane i of the lower row, then lane i of the upper one.
        let mut order = [0u16; 32];
        for i in 0..16u16 {
            order[2 * usize::from(i)] = i;
            order[2 * usize::from(i) + 1] = 16 + i;
        }
        // SAFETY: 32 halves of a word.
        let order = unsafe { _mm512_loadu_si512(order.as_ptr().cast()) };
        let size @ [high, wide] = Terms::Down.size(places.side);
        for i in 0..from.rows().div_ceil(high) {
            for j in 0..from.cols().div_ceil(wide) {
                let part = part(from, size, [i, j]);
                ahead(from, size, [i, j]);
                let mut block = [_mm512_setzero_si512(); SIDE];
                for p in 0..SIDE {
                    let row = |r: usize| {
                        let cols = if r < part.rows() { part.cols() } else { 0 };
                        (part.as_ptr().wrapping_add(r * part.stride()), lanes(cols as isize))
                    };
                    // SAFETY: the masks keep the part's columns of the rows that it has; other lanes are not read.
                    let both = unsafe { pair(row(2 * p), row(2 * p + 1)) };
                    block[p] = _mm512_permutexvar_epi16(order, both);
                }
                // SAFETY: the caller promises room for every block.
                unsafe { write(block, to.add(i * places.steps[0] + j * places.steps[1]), places.transposed) };
            }
        }
    }

    /// # Safety
    ///
    /// All blocks must fit into `to`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn along<E: Element>(from: Mat<'_, E>, to: *mut u32, places: Places) {
        let size @ [high, wide] = Terms::Along.size(places.side);
        for i in 0..from.rows().div_ceil(high) {
            for j in 0..from.cols().div_ceil(wide) {
                let part = part(from, size, [i, j]);
                ahead(from, size, [i, j]);
                let masks = [lanes(part.cols() as isize), lanes(part.cols() as isize - 16)];
                let mut block = [_mm512_setzero_si512(); SIDE];
                for r in 0..SIDE {
                    let half = |h: usize| {
                        let mask = if r < part.rows() { masks[h] } else { 0 };
                        (part.as_ptr().wrapping_add(r * part.stride() + 16 * h), mask)
                    };
                    // SAFETY: as above.
                    block[r] = unsafe { pair(half(0), half(1)) };
                }
                // SAFETY: the caller promises room for every block.
                unsafe { write(block, to.add(i * places.steps[0] + j * places.steps[1]), places.transposed) };
            }
        }
    }

    /// Sixteen elements, then sixteen others, in bf16.
    ///
    /// # Safety
    ///
    /// The elements that the masks name must be readable.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn pair<E: Element>(first: (*const E, __mmask16), second: (*const E, __mmask16)) -> __m512i {
        // SAFETY: the caller's promise; other lanes are not read.
        unsafe {
            if E::PLAIN {
                let [first, second] = [first, second].map(|(at, mask)| _mm512_maskz_loadu_ps(mask, at.cast()));
                cast(_mm512_cvtne2ps_pbh(second, first))
            } else {
                let [first, second] = [first, second].map(|(at, mask)| _mm256_maskz_loadu_epi16(mask, at.cast()));
                _mm512_inserti64x4::<1>(_mm512_castsi256_si512(first), second)
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn cast(x: __m512bh) -> __m512i {
        // SAFETY: both are 64 bytes without invalid patterns.
        unsafe { std::mem::transmute(x) }
    }

    /// # Safety
    ///
    /// The block's 256 words must be writable.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn write(block: [__m512i; SIDE], to: *mut u32, transposed: bool) {
        let block = if transposed { transpose(block) } else { block };
        for (r, row) in block.into_iter().enumerate() {
            // SAFETY: the caller promises rows of sixteen words.
            unsafe { _mm512_storeu_si512(to.add(r * SIDE).cast(), row) };
        }
    }

    /// Columns of words become rows: pairs and fours of neighbouring rows within their quarters, then the quarters.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn transpose(r: [__m512i; SIDE]) -> [__m512i; SIDE] {
        let mut pairs = r;
        for i in (0..SIDE).step_by(2) {
            pairs[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
            pairs[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
        }
        // fours[4 g + c]: in each quarter q, column 4 q + c of rows 4 g to 4 g + 3.
        let mut fours = pairs;
        for g in (0..SIDE).step_by(4) {
            fours[g] = _mm512_unpacklo_epi64(pairs[g], pairs[g + 2]);
            fours[g + 1] = _mm512_unpackhi_epi64(pairs[g], pairs[g + 2]);
            fours[g + 2] = _mm512_unpacklo_epi64(pairs[g + 1], pairs[g + 3]);
            fours[g + 3] = _mm512_unpackhi_epi64(pairs[g + 1], pairs[g + 3]);
        }
        let mut out = fours;
        for c in 0..4 {
            let [a, b, d, e] = [fours[c], fours[4 + c], fours[8 + c], fours[12 + c]];
            // Quarters 0 and 2, then 1 and 3, of two fours at a time.
            let (ab, de) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0x88>(d, e));
            out[c] = _mm512_shuffle_i32x4::<0x88>(ab, de);
            out[8 + c] = _mm512_shuffle_i32x4::<0xdd>(ab, de);
            let (ab, de) = (_mm512_shuffle_i32x4::<0xdd>(a, b), _mm512_shuffle_i32x4::<0xdd>(d, e));
            out[4 + c] = _mm512_shuffle_i32x4::<0x88>(ab, de);
            out[12 + c] = _mm512_shuffle_i32x4::<0xdd>(ab, de);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bf16;
    use crate::isa::sets_under_test;

    #[test]
    fn rounding_is_to_the_nearest_even_and_keeps_nan() {
        let bits = |x: f32| Bf16::round(x).0;
        assert_eq!([bits(0.0), bits(-0.0), bits(1.0), bits(f32::INFINITY)], [0, 0x8000, 0x3f80, 0x7f80]);
        // Half way between two: to the even one; a bit above: up.
        assert_eq!(bits(f32::from_bits(0x3f80_8000)), 0x3f80);
        assert_eq!(bits(f32::from_bits(0x3f81_8000)), 0x3f82);
        assert_eq!(bits(f32::from_bits(0x3f80_8001)), 0x3f81);
        assert_eq!(bits(f32::MAX), 0x7f80);
        assert_eq!([bits(f32::MIN_POSITIVE), bits(-f32::MIN_POSITIVE / 2.0), bits(1e-40)], [0x0080, 0x8000, 0]);
        for nan in [0x7f80_0001, 0xff80_0001, 0x7fff_ffff, 0x7fc0_0000] {
            let rounded = f32::from_bits(u32::from(bits(f32::from_bits(nan))) << 16);
            assert!(rounded.is_nan(), "{nan:x}");
        }
    }

    /// Every upper half with lower halves about the ties, on every set, in all four ways.
    #[test]
    fn every_set_packs_the_same_words() {
        let lows = [0u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff];
        let all: Vec<f32> = (0..=0xffffu32).flat_map(|high| lows.map(|low| f32::from_bits(high << 16 | low))).collect();
        let (rows, cols) = (96, all.len() / 96);
        assert_eq!(rows * cols, all.len());
        // Odd sizes: neither rows nor columns fill their blocks.
        let from = Mat::new(&all, rows - 3, cols - 5, cols);
        let kept: Vec<Bf16> = all.iter().map(|x| x.half()).collect();
        let kept = Mat::new(&kept, rows - 3, cols - 5, cols);
        for (terms, side) in [Terms::Down, Terms::Along].into_iter().flat_map(|terms| [1, 13, 16].map(|s| (terms, s))) {
            let [high, wide] = terms.size(side);
            let [below, right] = [from.rows().div_ceil(high), from.cols().div_ceil(wide)];
            for transposed in [false, true] {
                for isa in sets_under_test() {
                    let mut words = vec![0xdead_beef; below * right * SIDE * SIDE];
                    let places = Places { side, steps: [right * SIDE * SIDE, SIDE * SIDE], transposed };
                    convert(isa, from, terms, &mut words, places);
                    let mut again = vec![0xdead_beef; words.len()];
                    convert(isa, kept, terms, &mut again, places);
                    assert!(words == again, "{isa} {terms:?} {side} transposed {transposed}: what is rounded already");
                    for (at, &word) in words.iter().enumerate() {
                        let (block, mut r, mut c) = (at / 256, at / 16 % 16, at % 16);
                        if transposed {
                            std::mem::swap(&mut r, &mut c);
                        }
                        let (i, j) = (block / right, block % right);
                        let value = |half: usize| {
                            let (line, r, c) = match terms {
                                Terms::Down => (c, i * TERMS + 2 * r + half, j * side + c),
                                Terms::Along => (r, i * side + r, j * TERMS + 2 * c + half),
                            };
                            if line < side && r < from.rows() && c < from.cols() {
                                Bf16::round(from.row(r)[c]).0
                            } else {
                                0
                            }
                        };
                        let want = u32::from(value(0)) | u32::from(value(1)) << 16;
                        assert_eq!(word, want, "{isa} {terms:?} {side} transposed {transposed}: word {at}");
                    }
                }
            }
        }
    }
}
