//! Copies a transpose: what packs B from (N, K), and A from (R, M).
//!
//! The AVX form transposes squares of 8 x 8 in registers, along eight rows of the source; the shuffles are the same on
//! AVX2 and AVX-512. Against plain loops it packs a (2600, 650) transpose 1.6 to 2.7 times as fast.

use crate::{Isa, Mat};
#[cfg(target_arch = "x86_64")]
use std::ops::Range;

/// Rows of the target that are filled before the next eight columns: with rows of 64 elements 32 KB, which stay in the
/// first-level cache until the row's lines are whole. From 32 to 1,024 a step of word650 takes the same time within 3 % (Zen 4,
/// 2026-11-23).
const STRIP: usize = 128;

/// Copies the transpose of `b` (p, q) into q rows of `width`, of which the first p elements are written.
pub(super) fn transpose(isa: Isa, to: &mut [f32], width: usize, b: Mat) {
    let (p, q) = (b.rows(), b.cols());
    if p == 0 || q == 0 {
        return;
    }
    assert!(p <= width && (q - 1) * width + p <= to.len(), "no room for {q} rows of {p}, {width} apart");
    #[cfg(target_arch = "x86_64")]
    if isa != Isa::PORTABLE && p >= 8 && q >= 8 {
        for q0 in (0..q - q % 8).step_by(STRIP) {
            let strip = q0..(q0 + STRIP).min(q - q % 8);
            eights(p).for_each(|p0| squares(to, width, b, p0, strip.clone()));
        }
        if !q.is_multiple_of(8) {
            eights(p).for_each(|p0| squares(to, width, b, p0, q - 8..q));
        }
        return;
    }
    for q0 in (0..q).step_by(16) {
        let q1 = (q0 + 16).min(q);
        for p in 0..p {
            for (q, &x) in (q0..q1).zip(&b.row(p)[q0..q1]) {
                to[q * width + p] = x;
            }
        }
    }
}

/// Where eight rows begin, so that all of `p` are among them: the last ones, where they are no multiple of eight, are copied
/// with some of those before again.
#[cfg(target_arch = "x86_64")]
fn eights(p: usize) -> impl Iterator<Item = usize> {
    (0..p - p % 8).step_by(8).chain((!p.is_multiple_of(8)).then(|| p - 8))
}

/// Rows p0..p0 + 8 and columns `strip`, a multiple of eight of them, on a set that has AVX.
#[cfg(target_arch = "x86_64")]
fn squares(to: &mut [f32], width: usize, b: Mat, p0: usize, strip: Range<usize>) {
    assert!(p0 + 8 <= b.rows().min(width) && strip.end <= b.cols() && (strip.end - 1) * width + p0 + 8 <= to.len());
    // SAFETY: the set is AVX2 or AVX-512, both of which have AVX. The rows and columns lie within `b`, and the target has room
    // for them, checked above.
    unsafe {
        let from = b.as_ptr().add(p0 * b.stride() + strip.start);
        let to = to.as_mut_ptr().add(strip.start * width + p0);
        avx::eight_rows(strip.len(), from, b.stride(), to, width);
    }
}

#[cfg(target_arch = "x86_64")]
mod avx {
    use std::arch::x86_64::*;

    /// Eight rows of `cols` elements, a multiple of eight, become `cols` rows of eight elements.
    ///
    /// # Safety
    ///
    /// The elements must be readable and writable.
    #[target_feature(enable = "avx")]
    pub(super) unsafe fn eight_rows(cols: usize, from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        for q in (0..cols).step_by(8) {
            // SAFETY: the caller promises eight rows of `cols` elements.
            let row = |p: usize| unsafe { _mm256_loadu_ps(from.add(p * from_stride + q)) };
            let r = [row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7)];
            // Pairs of neighbouring rows, then fours, each within its half; then the halves.
            let pair = |a, b| [_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)];
            let [a, b, c, d] = [pair(r[0], r[1]), pair(r[2], r[3]), pair(r[4], r[5]), pair(r[6], r[7])];
            let four = |a, b| [_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xee>(a, b)];
            let low = [four(a[0], b[0]), four(a[1], b[1])];
            let high = [four(c[0], d[0]), four(c[1], d[1])];
            for i in 0..4 {
                let (l, h) = (low[i / 2][i % 2], high[i / 2][i % 2]);
                // SAFETY: the caller promises `cols` rows of eight elements.
                unsafe {
                    _mm256_storeu_ps(to.add((q + i) * to_stride), _mm256_permute2f128_ps::<0x20>(l, h));
                    _mm256_storeu_ps(to.add((q + i + 4) * to_stride), _mm256_permute2f128_ps::<0x31>(l, h));
                }
            }
        }
    }
}
