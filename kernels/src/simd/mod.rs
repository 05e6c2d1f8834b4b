//! One token type for each instruction set, and one trait of operations on all of them.
//!
//! A token such as [`Avx512`] exists only where the processor has the features, so its methods are safe to call; the
//! `unsafe` that this takes is confined to this folder. A vector body is written once as a [`Kernel`], generic over
//! [`Simd`], with `#[inline(always)]` on every function that it calls: [`Simd::vectorize`] compiles it inside a
//! function that has the set's features switched on. Closures passed to such a body must be inlined too.
//!
//! **Same bits.** AVX2 and AVX-512 offer the same operations with the same rounding (fused multiply-add, round to even,
//! correctly rounded division and square root), so element-wise code gives the same bits on both by construction.
//! Horizontal results use 16 virtual lanes: see [`Wide16`].

use crate::mat::Bf16;

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub use amx::Amx;
#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::{Avx512, Avx512Bf16};
pub use portable::Portable;

/// A counter that rises steadily with time, read in about ten nanoseconds: the processor's time stamp counter, which
/// runs at one rate whatever the clock does; elsewhere nanoseconds.
#[inline]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86-64 processor has the instruction, and it touches no memory.
        #[allow(unused_unsafe, reason = "newer compilers know that the intrinsic is safe")]
        unsafe {
            std::arch::x86_64::_rdtsc()
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
        START.elapsed().as_nanos() as u64
    }
}

/// Where a line that is asked for goes.
pub(crate) mod fetch {
    /// Into the first-level cache.
    pub(crate) const NEAR: u8 = 0;
    /// Into the first-level cache, to be written soon.
    pub(crate) const WRITE: u8 = 1;
    /// Into the second-level cache.
    pub(crate) const FAR: u8 = 2;
}

/// Asks for the line at any address, to go to a place of [`fetch`].
#[inline(always)]
pub(crate) fn prefetch<const TO: u8, T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and faults on no address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_ET0, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        match TO {
            fetch::NEAR => _mm_prefetch::<_MM_HINT_T0>(at.cast()),
            fetch::WRITE => _mm_prefetch::<_MM_HINT_ET0>(at.cast()),
            _ => _mm_prefetch::<_MM_HINT_T1>(at.cast()),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// A computation written once for every instruction set. `run` must be `#[inline(always)]`.
pub trait Kernel {
    /// What the kernel returns.
    type Output;
    /// The body.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// The operations of an instruction set on vectors of [`Simd::LANES`] 32-bit lanes.
///
/// Comparisons with NaN are false. `min` and `max` return the second operand when one is NaN.
pub trait Simd: Copy + Send + Sync + 'static {
    /// A vector of f32.
    type F32: Copy;
    /// A vector of i32.
    type I32: Copy;
    /// One truth value a lane.
    type Mask: Copy;
    /// Lanes of a vector; divides 16.
    const LANES: usize;
    /// Vectors that the register file holds: what a register tile may use.
    const REGISTERS: usize;

    /// Runs the kernel with this set's features on.
    fn vectorize<K: Kernel>(self, kernel: K) -> K::Output;

    /// The same value in every lane.
    fn splat(self, x: f32) -> Self::F32;
    /// The first `LANES` elements. Panics if there are fewer.
    fn load(self, x: &[f32]) -> Self::F32;
    /// The first `min(x.len(), LANES)` elements, the other lanes 0.
    fn load_partial(self, x: &[f32]) -> Self::F32;
    /// The first `min(x.len(), LANES)` elements, the other lanes those of `fill`.
    fn load_or(self, x: &[f32], fill: Self::F32) -> Self::F32;
    /// Writes to the first `LANES` elements. Panics if there are fewer.
    fn store(self, to: &mut [f32], x: Self::F32);
    /// Writes to the first `min(to.len(), LANES)` elements.
    fn store_partial(self, to: &mut [f32], x: Self::F32);
    /// The first `min(x.len(), LANES)` elements of bf16, the other lanes 0.
    #[inline(always)]
    fn load_bf16(self, x: &[Bf16]) -> Self::F32 {
        let mut wide = [0.0; 16];
        wide[..Self::LANES].iter_mut().zip(x).for_each(|(wide, &x)| *wide = x.into());
        self.load(&wide)
    }
    /// Writes to the first `min(to.len(), LANES)` elements, rounded by [`Bf16::round`].
    #[inline(always)]
    fn store_bf16(self, to: &mut [Bf16], x: Self::F32) {
        let mut wide = [0.0; 16];
        self.store(&mut wide, x);
        to.iter_mut().zip(&wide[..Self::LANES]).for_each(|(to, &x)| *to = Bf16::round(x));
    }
    /// Loads without a check.
    ///
    /// # Safety
    ///
    /// `LANES` elements from `p` on must be readable.
    unsafe fn load_ptr(self, p: *const f32) -> Self::F32;
    /// Stores without a check.
    ///
    /// # Safety
    ///
    /// `LANES` elements from `p` on must be writable.
    unsafe fn store_ptr(self, p: *mut f32, x: Self::F32);

    /// a + b
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// a - b
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// a b
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// a / b
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// a b + c, rounded once where the set has a fused multiply-add (AVX2, AVX-512), else twice.
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// c - a b, rounded as `mul_add`.
    fn neg_mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// The smaller; `b` if one is NaN.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The larger; `b` if one is NaN.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The square root.
    fn sqrt(self, a: Self::F32) -> Self::F32;
    /// |a|
    fn abs(self, a: Self::F32) -> Self::F32;
    /// |a| with the sign bit of `sign`.
    fn copysign(self, a: Self::F32, sign: Self::F32) -> Self::F32;
    /// To the nearest integer, ties to even.
    fn round(self, a: Self::F32) -> Self::F32;

    /// a < b
    fn lt(self, a: Self::F32, b: Self::F32) -> Self::Mask;
    /// a <= b
    fn le(self, a: Self::F32, b: Self::F32) -> Self::Mask;
    /// a = b
    fn eq(self, a: Self::F32, b: Self::F32) -> Self::Mask;
    /// `a` where the mask is set, else `b`.
    fn select(self, m: Self::Mask, a: Self::F32, b: Self::F32) -> Self::F32;
    /// Whether any lane is set.
    fn any(self, m: Self::Mask) -> bool;

    /// The same integer in every lane.
    fn splat_i32(self, x: i32) -> Self::I32;
    /// To integer, rounding to nearest even. Lanes outside i32 give `i32::MIN` on x86 and are unspecified elsewhere.
    fn to_i32(self, a: Self::F32) -> Self::I32;
    /// To floating point, rounding to nearest even.
    fn to_f32(self, a: Self::I32) -> Self::F32;
    /// The bits as integers.
    fn bits(self, a: Self::F32) -> Self::I32;
    /// The bits as floating point.
    fn f32_from_bits(self, a: Self::I32) -> Self::F32;
    /// a + b, wrapping.
    fn add_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// a - b, wrapping.
    fn sub_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// a & b
    fn and_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// a << `BY`
    fn shl<const BY: i32>(self, a: Self::I32) -> Self::I32;
    /// a >> `BY`, keeping the sign.
    fn shr<const BY: i32>(self, a: Self::I32) -> Self::I32;

    /// a 2^n, rounded once, for integral `n` in -252..=254 and |a| in [1/2, 4); NaN if `a` is NaN.
    #[inline(always)]
    fn scale(self, a: Self::F32, n: Self::F32) -> Self::F32 {
        // Two steps, because 2^n alone may overflow or be subnormal; the first is exact, as half of n leaves the
        // range of normal numbers in neither direction.
        let n = self.to_i32(n);
        let half = self.shr::<1>(n);
        let one = self.splat_i32(127);
        let first = self.f32_from_bits(self.shl::<23>(self.add_i32(half, one)));
        let second = self.f32_from_bits(self.shl::<23>(self.add_i32(self.sub_i32(n, half), one)));
        self.mul(self.mul(a, first), second)
    }

    /// The lanes as an array, the lanes beyond `LANES` unspecified.
    #[inline(always)]
    fn to_array(self, a: Self::F32) -> [f32; 16] {
        let mut out = [0.0; 16];
        self.store(&mut out, a);
        out
    }
}

/// Sixteen virtual lanes: one AVX-512 register, two AVX2 registers or two portable vectors.
///
/// Element `i` of a slice always falls into virtual lane `i % 16`, and the lanes are folded in one fixed order
/// ([`fold16`]), so sums and maxima do not depend on the width of the registers.
#[derive(Clone, Copy)]
pub struct Wide16<S: Simd> {
    parts: [S::F32; 2],
}

impl<S: Simd> Wide16<S> {
    const PARTS: usize = 16 / S::LANES;

    /// The same value in every lane.
    #[inline(always)]
    pub fn splat(s: S, x: f32) -> Self {
        Self { parts: [s.splat(x); 2] }
    }

    /// The first 16 elements. Panics if there are fewer.
    #[inline(always)]
    pub fn load(s: S, x: &[f32]) -> Self {
        let mut parts = [s.splat(0.0); 2];
        for i in 0..Self::PARTS {
            parts[i] = s.load(&x[i * S::LANES..]);
        }
        Self { parts }
    }

    /// The first `min(x.len(), 16)` elements, the other lanes `fill`.
    #[inline(always)]
    pub fn load_or(s: S, x: &[f32], fill: f32) -> Self {
        let fill = s.splat(fill);
        let mut parts = [fill; 2];
        for i in 0..Self::PARTS {
            parts[i] = s.load_or(&x[(i * S::LANES).min(x.len())..], fill);
        }
        Self { parts }
    }

    /// Writes to the first 16 elements. Panics if there are fewer.
    #[inline(always)]
    pub fn store(self, s: S, to: &mut [f32]) {
        for i in 0..Self::PARTS {
            s.store(&mut to[i * S::LANES..], self.parts[i]);
        }
    }

    /// Writes to the first `min(to.len(), 16)` elements.
    #[inline(always)]
    pub fn store_partial(self, s: S, to: &mut [f32]) {
        for i in 0..Self::PARTS {
            let at = (i * S::LANES).min(to.len());
            s.store_partial(&mut to[at..], self.parts[i]);
        }
    }

    /// Applies `f` lane by lane.
    #[inline(always)]
    pub fn map(mut self, f: impl Fn(S::F32) -> S::F32) -> Self {
        for i in 0..Self::PARTS {
            self.parts[i] = f(self.parts[i]);
        }
        self
    }

    /// Applies `f` lane by lane to two vectors.
    #[inline(always)]
    pub fn zip(mut self, other: Self, f: impl Fn(S::F32, S::F32) -> S::F32) -> Self {
        for i in 0..Self::PARTS {
            self.parts[i] = f(self.parts[i], other.parts[i]);
        }
        self
    }

    /// a + b, lane by lane.
    #[inline(always)]
    pub fn plus(self, s: S, other: Self) -> Self {
        self.zip(
            other,
            #[inline(always)]
            |a, b| s.add(a, b),
        )
    }

    /// a b, lane by lane.
    #[inline(always)]
    pub fn times(self, s: S, other: Self) -> Self {
        self.zip(
            other,
            #[inline(always)]
            |a, b| s.mul(a, b),
        )
    }

    /// self + a b, lane by lane, rounded once.
    #[inline(always)]
    pub fn plus_product(self, s: S, a: Self, b: Self) -> Self {
        let mut sum = self;
        for i in 0..Self::PARTS {
            sum.parts[i] = s.mul_add(a.parts[i], b.parts[i], sum.parts[i]);
        }
        sum
    }

    /// The sixteen lanes.
    #[inline(always)]
    pub fn to_array(self, s: S) -> [f32; 16] {
        let mut out = [0.0; 16];
        self.store(s, &mut out);
        out
    }

    /// The sum of the lanes, in [`fold16`]'s order.
    #[inline(always)]
    pub fn sum(self, s: S) -> f32 {
        fold16(self.to_array(s), |a, b| a + b)
    }

    /// The maximum of the lanes; NaN if a lane is NaN.
    #[inline(always)]
    pub fn max(self, s: S) -> f32 {
        fold16(self.to_array(s), |a, b| if a > b || a.is_nan() { a } else { b })
    }
}

/// Folds sixteen lanes as a tree: lanes 8 apart, then 4, 2, 1.
#[inline(always)]
pub fn fold16(mut lanes: [f32; 16], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = 8;
    while width > 0 {
        for i in 0..width {
            lanes[i] = f(lanes[i], lanes[i + width]);
        }
        width /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests;
