//! AVX-512 (F, BW, DQ, VL): sixteen lanes, thirty-two registers.

use super::{Kernel, Simd};
use crate::mat::Bf16;
use std::arch::x86_64::*;

/// The token of Avx512's set: holding one proves that the processor has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Avx512 {
    /// Whether it also has AVX-512 BF16, whose one conversion [`Simd::store_bf16`] uses.
    bf16: bool,
}

impl Avx512 {
    /// The token, if the processor has AVX-512 F, BW, DQ and VL.
    pub fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        has.then(|| Self { bf16: is_x86_feature_detected!("avx512bf16") })
    }
}

/// The token of AVX-512 with the conversions and dot products of bf16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Avx512Bf16(Avx512);

impl Avx512Bf16 {
    /// The token, if the processor has AVX-512 F, BW, DQ, VL and BF16.
    pub fn detect() -> Option<Self> {
        Avx512::detect().filter(|avx512| avx512.bf16).map(Self)
    }

    /// The token of the vector set that goes with it.
    pub fn avx512(self) -> Avx512 {
        self.0
    }
}

/// Compiles the kernel with the set's features on.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn with_features<K: Kernel>(token: Avx512, kernel: K) -> K::Output {
    kernel.run(token)
}

/// VCVTNEPS2BF16, spelt out: within code that is compiled for the set, which need not have it, neither its intrinsic nor its
/// name can be used.
///
/// # Safety
///
/// The processor must have AVX-512 BF16.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
unsafe fn native_bf16(x: __m512) -> __m256i {
    let half: __m256i;
    // SAFETY: the caller promises the instruction: from zmm0 to ymm0.
    unsafe {
        std::arch::asm!(
            ".byte 0x62, 0xf2, 0x7e, 0x48, 0x72, 0xc0",
            in("zmm0") x,
            lateout("ymm0") half,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    half
}

/// Calls an intrinsic of the set.
macro_rules! op {
    ($call:expr) => {{
        // SAFETY: `self` is the proof that the processor has the instruction; operands are values.
        unsafe { $call }
    }};
}

impl Simd for Avx512 {
    type F32 = __m512;
    type I32 = __m512i;
    type Mask = __mmask16;
    const LANES: usize = 16;
    const REGISTERS: usize = 32;

    #[inline]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        // SAFETY: `self` is the proof that the processor has the features.
        unsafe { with_features(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        op!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    fn load(self, x: &[f32]) -> __m512 {
        assert!(x.len() >= 16);
        // SAFETY: 16 elements are there, checked above; `self` proves the instruction.
        unsafe { _mm512_loadu_ps(x.as_ptr()) }
    }
    #[inline(always)]
    fn load_partial(self, x: &[f32]) -> __m512 {
        // SAFETY: masked lanes are not read; `self` proves the instruction.
        unsafe { _mm512_maskz_loadu_ps(tail(x.len()), x.as_ptr()) }
    }
    #[inline(always)]
    fn load_or(self, x: &[f32], fill: __m512) -> __m512 {
        // SAFETY: masked lanes are not read; `self` proves the instruction.
        unsafe { _mm512_mask_loadu_ps(fill, tail(x.len()), x.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, to: &mut [f32], x: __m512) {
        assert!(to.len() >= 16);
        // SAFETY: 16 elements are there, checked above; `self` proves the instruction.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
    }
    #[inline(always)]
    fn store_partial(self, to: &mut [f32], x: __m512) {
        // SAFETY: masked lanes are not written; `self` proves the instruction.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), tail(to.len()), x) }
    }
    #[inline(always)]
    fn load_bf16(self, x: &[Bf16]) -> __m512 {
        // SAFETY: masked lanes are not read; `self` proves the instructions.
        unsafe {
            let half = _mm256_maskz_loadu_epi16(tail(x.len()), x.as_ptr().cast());
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(half)))
        }
    }
    #[inline(always)]
    fn store_bf16(self, to: &mut [Bf16], x: __m512) {
        // SAFETY: masked lanes are not written; `self` proves the instructions.
        unsafe {
            if self.bf16 {
                return _mm256_mask_storeu_epi16(to.as_mut_ptr().cast(), tail(to.len()), native_bf16(x));
            }
            let bits = _mm512_castps_si512(x);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let nearest = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
            // NaN is made quiet, subnormal numbers zero.
            let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
            let rounded = _mm512_mask_mov_epi32(nearest, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x), quiet);
            let small = _mm512_testn_epi32_mask(bits, _mm512_set1_epi32(0x7f80_0000));
            let sign = _mm512_and_si512(bits, _mm512_set1_epi32(i32::MIN));
            let rounded = _mm512_mask_mov_epi32(rounded, small, sign);
            let half = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded));
            _mm256_mask_storeu_epi16(to.as_mut_ptr().cast(), tail(to.len()), half);
        }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, p: *const f32) -> __m512 {
        // SAFETY: the caller promises 16 readable elements.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, p: *mut f32, x: __m512) {
        // SAFETY: the caller promises 16 writable elements.
        unsafe { _mm512_storeu_ps(p, x) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        op!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn neg_mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        op!(_mm512_fnmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_min_ps(a, b))
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        op!(_mm512_sqrt_ps(a))
    }
    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        op!(_mm512_andnot_ps(_mm512_set1_ps(-0.0), a))
    }
    #[inline(always)]
    fn copysign(self, a: __m512, sign: __m512) -> __m512 {
        op!({
            let bit = _mm512_set1_ps(-0.0);
            _mm512_or_ps(_mm512_andnot_ps(bit, a), _mm512_and_ps(bit, sign))
        })
    }
    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        op!(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a))
    }

    #[inline(always)]
    fn lt(self, a: __m512, b: __m512) -> __mmask16 {
        op!(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b))
    }
    #[inline(always)]
    fn le(self, a: __m512, b: __m512) -> __mmask16 {
        op!(_mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b))
    }
    #[inline(always)]
    fn eq(self, a: __m512, b: __m512) -> __mmask16 {
        op!(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b))
    }
    #[inline(always)]
    fn select(self, m: __mmask16, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_mask_blend_ps(m, b, a))
    }
    #[inline(always)]
    fn any(self, m: __mmask16) -> bool {
        m != 0
    }

    #[inline(always)]
    fn splat_i32(self, x: i32) -> __m512i {
        op!(_mm512_set1_epi32(x))
    }
    #[inline(always)]
    fn to_i32(self, a: __m512) -> __m512i {
        op!(_mm512_cvtps_epi32(a))
    }
    #[inline(always)]
    fn to_f32(self, a: __m512i) -> __m512 {
        op!(_mm512_cvtepi32_ps(a))
    }
    #[inline(always)]
    fn bits(self, a: __m512) -> __m512i {
        op!(_mm512_castps_si512(a))
    }
    #[inline(always)]
    fn f32_from_bits(self, a: __m512i) -> __m512 {
        op!(_mm512_castsi512_ps(a))
    }
    #[inline(always)]
    fn add_i32(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_add_epi32(a, b))
    }
    #[inline(always)]
    fn sub_i32(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_sub_epi32(a, b))
    }
    #[inline(always)]
    fn and_i32(self, a: __m512i, b: __m512i) -> __m512i {
        op!(_mm512_and_si512(a, b))
    }
    #[inline(always)]
    fn shl<const BY: i32>(self, a: __m512i) -> __m512i {
        op!(_mm512_sll_epi32(a, _mm_cvtsi32_si128(BY)))
    }
    #[inline(always)]
    fn shr<const BY: i32>(self, a: __m512i) -> __m512i {
        op!(_mm512_sra_epi32(a, _mm_cvtsi32_si128(BY)))
    }

    #[inline(always)]
    fn scale(self, a: __m512, n: __m512) -> __m512 {
        op!(_mm512_scalef_ps(a, n))
    }
}

/// The mask of the first `min(n, 16)` lanes.
#[inline(always)]
fn tail(n: usize) -> __mmask16 {
    if n >= 16 { !0 } else { (1 << n) - 1 }
}
