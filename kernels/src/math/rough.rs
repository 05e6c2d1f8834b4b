//! Sigmoid and tanh for cells in bf16: cheaper than the exact ones, and still about 60 times finer than the rounding of
//! h to the next product's operand.
//!
//! ```text
//! sigmoid x = 1 / (1 + z)          z = e^-x
//! tanh x    = (1 - z) / (1 + z)    z = e^-2x
//! ```
//!
//! With -x log2 e = n + f, |f| <= 1/2, z = 2^n (1 + f q(f)), so that 1 - z = (1 - 2^n) - 2^n f q(f) loses nothing where
//! z is near 1. Instead of a division, which takes as long as 16 other operations on AVX-512, an integer subtraction
//! gives the reciprocal within 0.0505 of itself, and two steps of Newton's method within 2^-17. There is no operation
//! that sets round differently, as the processors' own approximations of reciprocals do: AVX2 and AVX-512 give the same
//! bits.
//!
//! **Error.** |error| <= [`ERROR`] |value|, and of the sigmoid ERROR 2^-115 below -80; NaN in gives NaN out. Measured
//! over the arguments of the test: sigmoid 2^-16.2, tanh 2^-15.5.

use super::{ROUNDER, polynomial};
use crate::simd::Simd;
use std::f32::consts::LOG2_E;

/// The relative error bound of both functions.
pub const ERROR: f32 = 1.0 / 32_768.0;

/// (2^f - 1) / f for |f| <= 1/2, lowest order first; relative error 2^-16.02.
const POWER: [f32; 4] = [0.693_136_9, 0.240_232_53, 0.055_837_255, 0.009_618_09];

/// What gives a first approximation of 1 / y when the bits of y > 0 are subtracted from it: its relative error lies evenly
/// about zero, +-0.0505 (found by trying).
const RECIPROCAL: i32 = 0x7ef3_11c7;

/// 2^n, and 2^n f q(f), for n + f = `factor` x with |f| <= 1/2. |factor x| must be below 126.
#[inline(always)]
fn power<S: Simd>(s: S, x: S::F32, factor: f32) -> [S::F32; 2] {
    let (factor, rounder) = (s.splat(factor), s.splat(ROUNDER));
    let t = s.mul_add(x, factor, rounder);
    let f = s.mul_add(x, factor, s.sub(rounder, t));
    // 2^n, put together from the low bits of `t`.
    let whole = s.f32_from_bits(s.add_i32(s.shl::<23>(s.bits(t)), s.splat_i32(0x3f80_0000)));
    [whole, s.mul(s.mul(whole, f), polynomial(s, f, POWER))]
}

/// 1 / y for normal y > 0 below 2^126, never above it but for roundings.
#[inline(always)]
fn reciprocal<S: Simd>(s: S, y: S::F32) -> S::F32 {
    let mut r = s.f32_from_bits(s.sub_i32(s.splat_i32(RECIPROCAL), s.bits(y)));
    for _ in 0..2 {
        r = s.mul_add(r, s.neg_mul_add(y, r, s.splat(1.0)), r);
    }
    r
}

/// 1 / (1 + e^-x)
#[inline(always)]
pub fn sigmoid<S: Simd>(s: S, x: S::F32) -> S::F32 {
    // The constants come first: `min` and `max` hand on a NaN in their second operand.
    let x = s.max(s.splat(-80.0), s.min(s.splat(80.0), x));
    let [whole, part] = power(s, x, -LOG2_E);
    reciprocal(s, s.add(s.add(whole, s.splat(1.0)), part))
}

/// The hyperbolic tangent.
#[inline(always)]
pub fn tanh<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let x = s.max(s.splat(-10.0), s.min(s.splat(10.0), x));
    let [whole, part] = power(s, x, -2.0 * LOG2_E);
    let one = s.splat(1.0);
    let y = reciprocal(s, s.add(s.add(whole, one), part));
    s.mul(s.sub(s.sub(one, whole), part), y)
}

#[cfg(test)]
mod tests {
    use super::super::map_slice;
    use super::*;
    use crate::isa::{Isa, sets_under_test};
    use crate::simd::Kernel;

    struct Both<'a> {
        tanh: bool,
        x: &'a mut [f32],
    }

    impl Kernel for Both<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            if self.tanh {
                map_slice(
                    s,
                    self.x,
                    #[inline(always)]
                    |x| tanh(s, x),
                );
            } else {
                map_slice(
                    s,
                    self.x,
                    #[inline(always)]
                    |x| sigmoid(s, x),
                );
            }
        }
    }

    /// Every 2,049th bit pattern, infinities and NaN among them, and a million arguments in [-20, 20).
    #[test]
    fn within_the_bound_and_of_the_same_bits_on_every_set() {
        let mut x: Vec<f32> = (0..=u32::MAX / 2049).map(|i| f32::from_bits(i * 2049)).collect();
        x.extend((0..1_000_000).map(|i| (i as f32 - 500_000.0) * 4e-5));
        x.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 80.0, -80.0, 10.0, -10.0]);
        for tanh in [false, true] {
            let mut fused: Option<Vec<f32>> = None;
            for isa in sets_under_test() {
                let mut y = x.clone();
                isa.run(Both { tanh, x: &mut y });
                let mut worst = (0.0, 0.0);
                for (&x, &y) in x.iter().zip(&y) {
                    assert_eq!(x.is_nan(), y.is_nan(), "{isa} tanh {tanh} of {x:e}");
                    let wide = f64::from(x);
                    let want = if tanh { wide.tanh() } else { 1.0 / (1.0 + (-wide).exp()) };
                    let tiny = if tanh { 2f64.powi(-148) } else { 2f64.powi(-115) };
                    let error = ((f64::from(y) - want).abs() - tiny).max(0.0) / want.abs().max(f64::MIN_POSITIVE);
                    assert!(error <= f64::from(ERROR), "{isa} tanh {tanh} of {x:e}: {y:e}, not {want:e}");
                    if error > worst.0 {
                        worst = (error, x);
                    }
                }
                println!("{isa}, tanh {tanh}: 2^{:.2} at {:e}", worst.0.log2(), worst.1);
                if isa != Isa::PORTABLE {
                    let y: Vec<f32> = y.into_iter().map(|y| if y.is_nan() { f32::NAN } else { y }).collect();
                    let fused = fused.get_or_insert_with(|| y.clone());
                    let same = fused.iter().zip(&y).all(|(a, b)| a.to_bits() == b.to_bits());
                    assert!(same, "{isa}, tanh {tanh}: other bits");
                }
            }
        }
    }
}
