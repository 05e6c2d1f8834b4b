//! Layer normalisation: each row is brought to mean 0 and variance 1, then each column has a gain and an offset.
//!
//! For a row x of D numbers:
//!
//! ```text
//! m = sum_j x_j / D        v = sum_j (x_j - m)^2 / D        r = 1 / sqrt(v + epsilon)
//! n_j = (x_j - m) r
//! y_j = gain_j n_j + offset_j
//!
//! g_j      = dy_j gain_j
//! dx_j     = r (g_j - sum_k g_k / D - n_j sum_k g_k n_k / D)
//! dgain_j  = sum over rows of dy_j n_j            ([`crate::rows::add_product_sums`])
//! doffset_j = sum over rows of dy_j               ([`crate::rows::add_column_sums`])
//! ```
//!
//! A gain that is left out is 1, an offset 0. A row with a NaN or an infinity becomes NaN; a row of equal numbers
//! becomes the offset, or nearly.
//!
//! # Error
//!
//! A second pass takes the deviations from the rounded mean, so that nothing cancels but x - m itself.
//! With u = 2^-24, k = D / 64 + 11 roundings of a sum, and A = sum |x_j| / D:
//!
//! ```text
//! |error of n_j|  <= u (r (k A + |x_j - m|) + |n_j| (k r A + k / 2 + 6))
//! |error of y_j|  <= |gain_j| error of n_j + 2 u (|gain_j n_j| + |offset_j|)
//! |error of dx_j| <= u r (4 |g_j| + (k' + 4) sum |g| / D + |n_j| (k' + 6) sum |g n| / D),   k' = D / 16 + 7
//! ```
//!
//! where dx is compared with the exact result for the n and r that are given. Source: J. L. Ba, J. R. Kiros and G. E.
//! Hinton, "Layer Normalization", 2016.

mod generic;
pub mod reference;
#[cfg(test)]
mod tests;

use crate::faults::{Fault, spoil};
use crate::{Isa, Mat, MatMut};

/// The arguments of [`forward`].
pub struct Forward<'a> {
    /// (R, D)
    pub x: Mat<'a>,
    /// (D)
    pub gain: Option<&'a [f32]>,
    /// (D)
    pub offset: Option<&'a [f32]>,
    /// Added to the variance before its root is taken.
    pub epsilon: f32,
    /// (R, D) Out: n, for [`backward`].
    pub normal: MatMut<'a>,
    /// (R, 1) Out: r, for [`backward`].
    pub scale: MatMut<'a>,
    /// (R, D) Out.
    pub y: MatMut<'a>,
}

/// The arguments of [`backward`].
pub struct Backward<'a> {
    /// (R, D) As [`forward`] left it.
    pub normal: Mat<'a>,
    /// (R, 1) As [`forward`] left it.
    pub scale: Mat<'a>,
    /// (D)
    pub gain: Option<&'a [f32]>,
    /// (R, D)
    pub dy: Mat<'a>,
    /// (R, D) The gradient of x is added to it.
    pub dx: MatMut<'a>,
}

/// Normalises every row.
///
/// ```
/// use unroll_kernels::layer_norm::{Forward, forward};
/// use unroll_kernels::{Isa, Mat, MatMut};
/// let x = [1.0, 3.0, 5.0, 5.0]; // two rows of two numbers
/// let (mut normal, mut scale, mut y) = ([0.0; 4], [0.0; 2], [0.0; 4]);
/// forward(Isa::best(), Forward {
///     x: Mat::dense(&x, 2, 2),
///     gain: Some(&[2.0, 2.0]),
///     offset: Some(&[0.5, 0.5]),
///     epsilon: 0.0,
///     normal: MatMut::dense(&mut normal, 2, 2),
///     scale: MatMut::dense(&mut scale, 2, 1),
///     y: MatMut::dense(&mut y, 2, 2),
/// });
/// assert_eq!(y[..2], [-1.5, 2.5]);
/// assert!(y[2].is_nan()); // equal numbers have no variance, and epsilon is 0
/// ```
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn forward(isa: Isa, args: Forward<'_>) {
    let (rows, width) = (args.x.rows(), args.x.cols());
    check((rows, width), (args.y.rows(), args.y.cols()), "outputs");
    check((rows, width), (args.normal.rows(), args.normal.cols()), "normalised rows");
    check((rows, 1), (args.scale.rows(), args.scale.cols()), "scales");
    check_columns(width, args.gain, "gains");
    check_columns(width, args.offset, "offsets");
    isa.run(args);
}

/// Adds the gradient of the inputs to `dx`.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn backward(isa: Isa, args: Backward<'_>) {
    let (rows, width) = (args.dy.rows(), args.dy.cols());
    check((rows, width), (args.dx.rows(), args.dx.cols()), "gradients of inputs");
    check((rows, width), (args.normal.rows(), args.normal.cols()), "normalised rows");
    check((rows, 1), (args.scale.rows(), args.scale.cols()), "scales");
    check_columns(width, args.gain, "gains");
    let Backward { normal, scale, gain, dy, mut dx } = args;
    isa.run(Backward { normal, scale, gain, dy, dx: dx.reborrow() });
    spoil(Fault::LayerNorm, dx);
}

#[track_caller]
fn check(want: (usize, usize), found: (usize, usize), what: &str) {
    assert_eq!(found, want, "{what} of another shape");
}

#[track_caller]
fn check_columns(width: usize, found: Option<&[f32]>, what: &str) {
    if let Some(found) = found {
        assert_eq!(found.len(), width, "{} {what} for {width} columns", found.len());
    }
}
