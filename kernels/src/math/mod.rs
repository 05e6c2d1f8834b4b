//! exp, tanh, sigmoid and ln of f32 vectors, written once over [`Simd`].
//!
//! Each is straight-line code, made only of operations that AVX2 and AVX-512 round alike, so that both give the same
//! bits. NaN in gives NaN out; zeros, infinities and subnormals are handled, as arguments and as results.
//!
//! ```
//! use unroll_kernels::{Isa, math};
//! let mut x = [-100.0, 0.0, 100.0, f32::NAN];
//! math::sigmoid_slice(Isa::best(), &mut x);
//! assert!((x[0] / 3.720_076e-44 - 1.0).abs() < 0.05 && x[1] == 0.5 && x[2] == 1.0 && x[3].is_nan());
//! ```
//!
//! # Error
//!
//! The distance to the f64 value in units of the last place of the f32 result, the worst over all 2^32 arguments, as
//! the test `every_argument` measures it. Every test run checks a sample of arguments against [`MAX_ULP`].
//!
//! | function | AVX2 and AVX-512 | portable |
//! |---|---|---|
//! | exp | 0.891 | 1.167 |
//! | tanh | 1.340 | 1.389 |
//! | sigmoid | 1.679 | 1.817 |
//! | ln | 0.852 | 0.860 |
//! | inverse_root | 0.993 | 1.466 |
//!
//! [`rough`] holds a cheaper sigmoid and tanh for cells in bf16.
//!
//! # Where the constants come from
//!
//! Polynomials and the rational function are minimax in the relative error of the whole function over the stated
//! interval (Lawson's iteratively re-weighted least squares at 30 digits). Coefficients were rounded to f32 one at a
//! time, from the lowest order up, and the remaining ones fitted again after each, so that they make up for its
//! rounding. Reductions follow W. J. Cody and W. Waite, "Software Manual for the Elementary Functions", 1980.

pub mod rough;

use crate::isa::Isa;
use crate::simd::{Kernel, Simd};
use std::f32::consts::{LN_2, LOG2_E, SQRT_2};

/// The error bound that the tests assert, in units of the last place.
pub const MAX_ULP: f64 = 2.0;

/// 1.5 2^23: a float of magnitude below 2^22 that is added to it is rounded to an integer, ties to even, which then
/// stands in the low bits.
const ROUNDER: f32 = 12_582_912.0;
/// ln 2 to 15 bits, so that a product with an integer below 2^9 is exact even without a fused multiply-add.
const LN2_HIGH: f32 = 0.693_145_75;
/// ln 2 - `LN2_HIGH`.
const LN2_LOW: f32 = 1.428_606_8e-6;

/// (e^r - 1 - r) / r^2 for |r| <= ln(2)/2, lowest order first; relative error of e^r 2^-28.2.
const EXP: [f32; 5] = [0.499_999_94, 0.166_665_21, 0.041_668_266, 0.008_368_678, 0.001_382_075_1];

/// (ln(1+f) - f + f^2/2) / f^3 for sqrt(1/2) <= 1+f <= sqrt(2), lowest order first; relative error of ln 2^-27.3.
const LN: [f32; 8] =
    [0.333_333_3, -0.250_008_2, 0.200_012_43, -0.166_234_09, 0.142_015_38, -0.131_595_76, 0.127_625_2, -0.076_369_02];

/// c[0] + c[1] x + c[2] x^2 ..., by Horner's rule.
#[inline(always)]
pub(crate) fn polynomial<S: Simd, const N: usize>(s: S, x: S::F32, c: [f32; N]) -> S::F32 {
    let mut sum = s.splat(c[N - 1]);
    for i in (0..N - 1).rev() {
        sum = s.mul_add(sum, x, s.splat(c[i]));
    }
    sum
}

/// e^x; +inf above 88.72, 0 below -103.97. x = n ln 2 + r with |r| <= ln(2)/2 and e^x = 2^n e^r.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::F32) -> S::F32 {
    // The constants come first: `min` and `max` hand on a NaN in their second operand.
    let x = s.max(s.splat(-104.0), s.min(s.splat(89.0), x));
    let n = s.sub(s.mul_add(x, s.splat(LOG2_E), s.splat(ROUNDER)), s.splat(ROUNDER));
    let r = s.neg_mul_add(n, s.splat(LN2_LOW), s.neg_mul_add(n, s.splat(LN2_HIGH), x));
    let [c2, c3, c4, c5, c6] = EXP;
    s.scale(polynomial(s, r, [1.0, 1.0, c2, c3, c4, c5, c6]), n)
}

/// 1 / (1 + e^-x), with relative accuracy for very negative x too.
///
/// With x = n ln 2 + r it is 2^n / (2^n + e^-r): the numerator is exact and the denominator, 2^n + 1 + r p(r), is
/// rounded once, which is what keeps the error within bounds; e^x / (1 + e^x) was tried and reaches 2.2 units.
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::F32) -> S::F32 {
    // From 17 on the value rounds to 1.
    let x = s.max(s.splat(-104.0), s.min(s.splat(30.0), x));
    let n = s.sub(s.mul_add(x, s.splat(LOG2_E), s.splat(ROUNDER)), s.splat(ROUNDER));
    let r = s.neg_mul_add(n, s.splat(LN2_LOW), s.neg_mul_add(n, s.splat(LN2_HIGH), x));
    let [c2, c3, c4, c5, c6] = EXP;
    let p = polynomial(s, r, [-1.0, c2, -c3, c4, -c5, c6]);
    let power = s.scale(s.splat(1.0), n);
    let sum = s.add(power, s.splat(1.0));
    // At n = -24 and -25 the sum loses 2^n, which would cost a unit; p is near -1, so r can carry it.
    let lost = s.sub(power, s.sub(sum, s.splat(1.0)));
    s.div(power, s.mul_add(p, s.sub(r, lost), sum))
}

/// (tanh x - x) / x^3 as a polynomial of x^2 for |x| < 0.5494, lowest order first; relative error of tanh 2^-24.7.
const TANH: [f32; 4] = [-0.333_329_5, 0.133_208_02, -0.052_676_9, 0.016_447_53];

/// The hyperbolic tangent; 1 from 9.02 on.
///
/// Below 0.549 (= atanh 1/2) it is an odd polynomial, above it 1 - 2 / (e^(2|x|) + 1), computed as [`sigmoid`] is; both
/// are computed and one is selected. A rational function of x^2, which would need half the operations, was tried and
/// is off by up to 4.7 units where tanh comes near 1.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let y = s.min(s.splat(9.1), s.abs(x));
    let square = s.mul(y, y);
    let small = s.mul_add(s.mul(square, y), polynomial(s, square, TANH), y);
    // 2|x| = -n ln 2 + 2r. One constant for ln 2 is enough: what is subtracted from 1 is small where n is large.
    let t = s.mul_add(y, s.splat(-2.0 * LOG2_E), s.splat(ROUNDER));
    let n = s.sub(t, s.splat(ROUNDER));
    let r = s.mul_add(n, s.splat(0.5 * LN_2), y);
    let [c2, c3, c4, c5, c6] = EXP;
    let p = polynomial(s, r, [2.0, 4.0 * c2, 8.0 * c3, 16.0 * c4, 32.0 * c5, 64.0 * c6]);
    // 2^n, put together from the low bits of `t`: n lies in -27..=0.
    let power = s.f32_from_bits(s.add_i32(s.shl::<23>(s.bits(t)), s.splat_i32(0x3f80_0000)));
    let half = s.div(power, s.mul_add(p, r, s.add(power, s.splat(1.0))));
    let large = s.neg_mul_add(half, s.splat(2.0), s.splat(1.0));
    s.copysign(s.select(s.lt(y, s.splat(0.549_3)), small, large), x)
}

/// 1 / sqrt(x) for x >= 2^-126, within 2 units of the last place; a smaller x counts as 2^-126, an infinite one as the
/// largest number.
///
/// A root and a division block their unit for some twenty cycles a vector of sixteen; these fourteen operations take
/// seven. The first guess is that of the exponent halved, its first correction has constants by L. Moroz et al., "Modified
/// Fast Inverse Square Root and Square Root Approximation Algorithms", 2021 (relative error 2^-10.6); the second is of the
/// third order and leaves 2^-30 and the roundings of its residual and its sum.
#[inline(always)]
pub fn inverse_root<S: Simd>(s: S, x: S::F32) -> S::F32 {
    // The constants come first: `min` and `max` hand on a NaN in their second operand.
    let x = s.max(s.splat(f32::MIN_POSITIVE), s.min(s.splat(f32::MAX), x));
    let y = s.f32_from_bits(s.sub_i32(s.splat_i32(0x5f1f_fff9), s.shr::<1>(s.bits(x))));
    let scaled = s.mul(y, s.splat(0.703_952_25));
    let y = s.mul(scaled, s.neg_mul_add(s.mul(x, y), y, s.splat(2.389_244_6)));
    let residual = s.neg_mul_add(s.mul(x, y), y, s.splat(1.0));
    s.mul_add(s.mul(y, residual), s.mul_add(residual, s.splat(0.375), s.splat(0.5)), y)
}

/// The natural logarithm; -inf at 0, NaN below.
#[inline(always)]
pub fn ln<S: Simd>(s: S, x: S::F32) -> S::F32 {
    // x = 2^e m with sqrt(1/2) <= m < sqrt(2); a subnormal is first raised by 2^23.
    let tiny = s.lt(x, s.splat(f32::MIN_POSITIVE));
    let raised = s.select(tiny, s.mul(x, s.splat(8_388_608.0)), x);
    let root = s.splat_i32((0.5 * SQRT_2).to_bits() as i32);
    let bits = s.sub_i32(s.bits(raised), root);
    let e = s.add(s.to_f32(s.shr::<23>(bits)), s.select(tiny, s.splat(-23.0), s.splat(0.0)));
    let m = s.f32_from_bits(s.add_i32(s.and_i32(bits, s.splat_i32(0x007f_ffff)), root));
    // ln x = e ln 2 + f - f^2/2 + f^3 R(f), summed from the smallest term on.
    let f = s.sub(m, s.splat(1.0));
    let square = s.mul(f, f);
    let tail = s.mul(s.mul(square, f), polynomial(s, f, LN));
    let tail = s.mul_add(e, s.splat(LN2_LOW), tail);
    let tail = s.neg_mul_add(square, s.splat(0.5), tail);
    let y = s.mul_add(e, s.splat(LN2_HIGH), s.add(f, tail));
    // +inf and NaN are their own logarithms; zeros and negative numbers have none.
    let y = s.select(s.lt(x, s.splat(f32::INFINITY)), y, x);
    let y = s.select(s.lt(x, s.splat(0.0)), s.splat(f32::NAN), y);
    s.select(s.eq(x, s.splat(0.0)), s.splat(f32::NEG_INFINITY), y)
}

/// Replaces every element by `f` of it, a whole vector at a time and the rest in one partial vector.
#[inline(always)]
pub(crate) fn map_slice<S: Simd>(s: S, x: &mut [f32], f: impl Fn(S::F32) -> S::F32) {
    let mut blocks = x.chunks_exact_mut(S::LANES);
    for block in &mut blocks {
        let y = f(s.load(block));
        s.store(block, y);
    }
    let rest = blocks.into_remainder();
    let y = f(s.load_partial(rest));
    s.store_partial(rest, y);
}

macro_rules! slice_form {
    ($(#[$doc:meta])* $name:ident, $kernel:ident, $f:ident) => {
        struct $kernel<'a>(&'a mut [f32]);

        impl Kernel for $kernel<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, s: S) {
                map_slice(s, self.0, #[inline(always)] |x| $f(s, x));
            }
        }

        $(#[$doc])*
        pub fn $name(isa: Isa, x: &mut [f32]) {
            isa.run($kernel(x));
        }
    };
}

slice_form!(
    /// Replaces every element by [`exp`] of it.
    exp_slice, ExpSlice, exp
);
slice_form!(
    /// Replaces every element by [`tanh`] of it.
    tanh_slice, TanhSlice, tanh
);
slice_form!(
    /// Replaces every element by [`sigmoid`] of it.
    sigmoid_slice, SigmoidSlice, sigmoid
);
slice_form!(
    /// Replaces every element by [`ln`] of it.
    ln_slice, LnSlice, ln
);
slice_form!(
    /// Replaces every element by [`inverse_root`] of it.
    inverse_root_slice, InverseRootSlice, inverse_root
);

#[cfg(test)]
mod tests;
