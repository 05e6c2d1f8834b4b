//! The portable set: `wide`'s eight f32 lanes, at the width that the compiler's target offers.
//!
//! `wide` chooses its instructions when it is compiled, which on x86-64 means SSE2 and on ARM NEON. `mul_add` rounds
//! twice where that target has no fused form, so these bits differ from those of the AVX sets.

use super::{Kernel, Simd};
use wide::{f32x8, i32x8};

/// The token of the portable set; every processor has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Portable;

impl Simd for Portable {
    type F32 = f32x8;
    type I32 = i32x8;
    type Mask = f32x8;
    const LANES: usize = 8;
    // A vector is two of the 128-bit registers, of which SSE2 has sixteen and NEON thirty-two.
    const REGISTERS: usize = if cfg!(target_arch = "aarch64") { 16 } else { 8 };

    #[inline]
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> f32x8 {
        f32x8::splat(x)
    }
    #[inline(always)]
    fn load(self, x: &[f32]) -> f32x8 {
        let mut lanes = [0.0; 8];
        lanes.copy_from_slice(&x[..8]);
        f32x8::new(lanes)
    }
    #[inline(always)]
    fn load_partial(self, x: &[f32]) -> f32x8 {
        let mut lanes = [0.0; 8];
        let n = x.len().min(8);
        lanes[..n].copy_from_slice(&x[..n]);
        f32x8::new(lanes)
    }
    #[inline(always)]
    fn load_or(self, x: &[f32], fill: f32x8) -> f32x8 {
        let mut lanes = fill.to_array();
        let n = x.len().min(8);
        lanes[..n].copy_from_slice(&x[..n]);
        f32x8::new(lanes)
    }
    #[inline(always)]
    fn store(self, to: &mut [f32], x: f32x8) {
        to[..8].copy_from_slice(&x.to_array());
    }
    #[inline(always)]
    fn store_partial(self, to: &mut [f32], x: f32x8) {
        let n = to.len().min(8);
        to[..n].copy_from_slice(&x.to_array()[..n]);
    }
    #[inline(always)]
    unsafe fn load_ptr(self, p: *const f32) -> f32x8 {
        // SAFETY: the caller promises eight readable elements.
        f32x8::new(unsafe { p.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store_ptr(self, p: *mut f32, x: f32x8) {
        // SAFETY: the caller promises eight writable elements.
        unsafe { p.cast::<[f32; 8]>().write_unaligned(x.to_array()) }
    }

    #[inline(always)]
    fn add(self, a: f32x8, b: f32x8) -> f32x8 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32x8, b: f32x8) -> f32x8 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32x8, b: f32x8) -> f32x8 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f32x8, b: f32x8) -> f32x8 {
        a / b
    }
    #[inline(always)]
    fn mul_add(self, a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    fn neg_mul_add(self, a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
        a.mul_neg_add(b, c)
    }
    #[inline(always)]
    fn min(self, a: f32x8, b: f32x8) -> f32x8 {
        a.simd_lt(b).select(a, b)
    }
    #[inline(always)]
    fn max(self, a: f32x8, b: f32x8) -> f32x8 {
        b.simd_lt(a).select(a, b)
    }
    #[inline(always)]
    fn sqrt(self, a: f32x8) -> f32x8 {
        a.sqrt()
    }
    #[inline(always)]
    fn abs(self, a: f32x8) -> f32x8 {
        a.abs()
    }
    #[inline(always)]
    fn copysign(self, a: f32x8, sign: f32x8) -> f32x8 {
        let bit = self.splat(-0.0);
        a.abs() | (sign & bit)
    }
    #[inline(always)]
    fn round(self, a: f32x8) -> f32x8 {
        // `wide`'s own form rounds ties away from zero on SSE2. Adding 2^23 leaves no room for a fraction.
        let (magnitude, limit) = (a.abs(), self.splat(8_388_608.0));
        let whole = self.copysign((magnitude + limit) - limit, a);
        magnitude.simd_lt(limit).select(whole, a)
    }
    #[inline(always)]
    fn lt(self, a: f32x8, b: f32x8) -> f32x8 {
        a.simd_lt(b)
    }
    #[inline(always)]
    fn le(self, a: f32x8, b: f32x8) -> f32x8 {
        a.simd_le(b)
    }
    #[inline(always)]
    fn eq(self, a: f32x8, b: f32x8) -> f32x8 {
        a.simd_eq(b)
    }
    #[inline(always)]
    fn select(self, m: f32x8, a: f32x8, b: f32x8) -> f32x8 {
        m.select(a, b)
    }
    #[inline(always)]
    fn any(self, m: f32x8) -> bool {
        m.to_array().iter().any(|lane| lane.to_bits() != 0)
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> i32x8 {
        i32x8::splat(x)
    }
    #[inline(always)]
    fn to_i32(self, a: f32x8) -> i32x8 {
        a.round_int()
    }
    #[inline(always)]
    fn to_f32(self, a: i32x8) -> f32x8 {
        f32x8::from_i32x8(a)
    }
    #[inline(always)]
    fn bits(self, a: f32x8) -> i32x8 {
        bytemuck::cast(a)
    }
    #[inline(always)]
    fn f32_from_bits(self, a: i32x8) -> f32x8 {
        bytemuck::cast(a)
    }
    #[inline(always)]
    fn add_i32(self, a: i32x8, b: i32x8) -> i32x8 {
        a + b
    }
    #[inline(always)]
    fn sub_i32(self, a: i32x8, b: i32x8) -> i32x8 {
        a - b
    }
    #[inline(always)]
    fn and_i32(self, a: i32x8, b: i32x8) -> i32x8 {
        a & b
    }
    #[inline(always)]
    fn shl<const BY: i32>(self, a: i32x8) -> i32x8 {
        a << BY
    }
    #[inline(always)]
    fn shr<const BY: i32>(self, a: i32x8) -> i32x8 {
        a >> BY
    }
}
