//! How the elements of a matrix are stored: as f32, or rounded to bf16 in half the memory.
//!
//! Where products round their operands to bf16 anyway, nothing more is lost by storing in bf16 what only they read:
//! values that a training step keeps for its backward pass, and gradients. A pass that is bound by memory then takes
//! half the time. Arithmetic is always in f32: an element is widened when it is loaded and rounded when it is stored.

use crate::mat::{Bf16, GroupsMut, Mat, MatMut, padded};
use crate::simd::Simd;

/// Keeps [`Element`] to the two types that the kernels know how to read.
mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for super::Bf16 {}
}

/// A type of elements: f32 or [`Bf16`].
pub trait Element: sealed::Sealed + bytemuck::Pod + Send + Sync + std::fmt::Debug {
    /// Whether it is f32.
    const PLAIN: bool;

    /// The first `LANES` elements. Panics if there are fewer.
    fn load<S: Simd>(s: S, x: &[Self]) -> S::F32;
    /// The first `min(x.len(), LANES)` elements, the other lanes 0.
    fn load_partial<S: Simd>(s: S, x: &[Self]) -> S::F32;
    /// Writes to the first `LANES` elements. Panics if there are fewer.
    fn store<S: Simd>(s: S, to: &mut [Self], x: S::F32);
    /// Writes to the first `min(to.len(), LANES)` elements.
    fn store_partial<S: Simd>(s: S, to: &mut [Self], x: S::F32);
    /// The element's value rounded to bf16.
    fn half(self) -> Bf16;
    /// The view itself if it is one of f32.
    fn plain(x: Mat<'_, Self>) -> Option<Mat<'_>>;
    /// The view itself if it is one of f32.
    fn plain_mut(x: MatMut<'_, Self>) -> Result<MatMut<'_>, MatMut<'_, Self>>;
    /// The view itself if it is one of f32.
    fn plain_groups(x: GroupsMut<'_, Self>) -> Result<GroupsMut<'_>, GroupsMut<'_, Self>>;
    /// The element nearest to `x`.
    fn of(x: f32) -> Self;
    /// Its value.
    fn value(self) -> f32;

    /// The stride of rows of `cols` elements, as [`padded`] has it for f32.
    fn padded(cols: usize) -> usize {
        Self::in_f32() * padded(cols.div_ceil(Self::in_f32()))
    }

    /// Elements in the place of one f32.
    fn in_f32() -> usize {
        size_of::<f32>() / size_of::<Self>()
    }
}

impl Element for f32 {
    const PLAIN: bool = true;

    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[Self]) -> S::F32 {
        s.load(x)
    }
    #[inline(always)]
    fn load_partial<S: Simd>(s: S, x: &[Self]) -> S::F32 {
        s.load_partial(x)
    }
    #[inline(always)]
    fn store<S: Simd>(s: S, to: &mut [Self], x: S::F32) {
        s.store(to, x);
    }
    #[inline(always)]
    fn store_partial<S: Simd>(s: S, to: &mut [Self], x: S::F32) {
        s.store_partial(to, x);
    }
    #[inline(always)]
    fn half(self) -> Bf16 {
        Bf16::round(self)
    }
    fn plain(x: Mat<'_, Self>) -> Option<Mat<'_>> {
        Some(x)
    }
    fn plain_mut(x: MatMut<'_, Self>) -> Result<MatMut<'_>, MatMut<'_, Self>> {
        Ok(x)
    }
    fn plain_groups(x: GroupsMut<'_, Self>) -> Result<GroupsMut<'_>, GroupsMut<'_, Self>> {
        Ok(x)
    }
    fn of(x: f32) -> Self {
        x
    }
    fn value(self) -> f32 {
        self
    }
}

impl Element for Bf16 {
    const PLAIN: bool = false;

    #[inline(always)]
    fn load<S: Simd>(s: S, x: &[Self]) -> S::F32 {
        s.load_bf16(&x[..S::LANES])
    }
    #[inline(always)]
    fn load_partial<S: Simd>(s: S, x: &[Self]) -> S::F32 {
        s.load_bf16(x)
    }
    #[inline(always)]
    fn store<S: Simd>(s: S, to: &mut [Self], x: S::F32) {
        s.store_bf16(&mut to[..S::LANES], x);
    }
    #[inline(always)]
    fn store_partial<S: Simd>(s: S, to: &mut [Self], x: S::F32) {
        s.store_bf16(to, x);
    }
    #[inline(always)]
    fn half(self) -> Bf16 {
        self
    }
    fn plain(_: Mat<'_, Self>) -> Option<Mat<'_>> {
        None
    }
    fn plain_mut(x: MatMut<'_, Self>) -> Result<MatMut<'_>, MatMut<'_, Self>> {
        Err(x)
    }
    fn plain_groups(x: GroupsMut<'_, Self>) -> Result<GroupsMut<'_>, GroupsMut<'_, Self>> {
        Err(x)
    }
    fn of(x: f32) -> Self {
        Bf16::round(x)
    }
    fn value(self) -> f32 {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::sets_under_test;
    use crate::rows;

    #[test]
    fn every_set_rounds_and_widens_as_the_scalar_does() {
        let lows = [0u32, 1, 0x7fff, 0x8000, 0x8001, 0xffff];
        let all: Vec<f32> = (0..=0xffffu32).flat_map(|high| lows.map(|low| f32::from_bits(high << 16 | low))).collect();
        for isa in sets_under_test() {
            for cols in [1, 13, 16, 96] {
                let rows = all.len() / cols;
                let x = Mat::dense(&all[..rows * cols], rows, cols);
                let mut kept = vec![Bf16(0xdead); rows * (cols + 1)];
                rows::convert(isa, x, MatMut::new(&mut kept, rows, cols, cols + 1));
                for (r, row) in kept.chunks(cols + 1).enumerate() {
                    let want = x.row(r).iter().map(|x| x.half());
                    assert!(want.eq(row[..cols].iter().copied()), "{isa}: row {r} of {cols}");
                    assert_eq!(row[cols], Bf16(0xdead), "{isa} wrote beyond the row");
                }
                if cols > 13 {
                    continue;
                }
                let mut sums = vec![0.0; cols];
                let one = Mat::new(&kept, 1, cols, cols + 1);
                rows::add_column_sums(isa, one, &mut sums);
                assert!(sums.iter().zip(one.row(0)).all(|(sum, x)| *sum == x.value()), "{isa}: {cols} columns");
            }
        }
        assert_eq!(Bf16::of(-1.5).value(), -1.5);
        assert!(Bf16::plain(Mat::dense(&[Bf16(0)], 1, 1)).is_none() && f32::plain(Mat::dense(&[0.0], 1, 1)).is_some());
    }

    #[test]
    fn rows_of_either_type_begin_on_a_line() {
        for cols in [1, 31, 32, 33, 512, 1024, 2600] {
            assert!(Bf16::padded(cols) >= cols && (2 * Bf16::padded(cols)).is_multiple_of(64), "{cols}");
            assert_eq!(f32::padded(cols), padded(cols));
        }
    }
}
