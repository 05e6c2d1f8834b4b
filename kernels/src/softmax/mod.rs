//! Softmax, log-softmax and cross-entropy over rows of logits, and binary cross-entropy over single logits.
//!
//! For a row x of V logits with maximum m and target t, and for a single logit x with target y in [0, 1]:
//!
//! ```text
//! softmax            p_j = e^(x_j - m) / sum_k e^(x_k - m)
//! log-softmax        ln p_j = x_j - m - ln sum_k e^(x_k - m)
//! cross-entropy      L = -ln p_t                                  dx_j = (p_j - [j = t]) scale
//! binary             L = max(x, 0) - x y + ln(1 + e^-|x|)         dx   = (sigmoid(x) - y) scale
//! ```
//!
//! Logits are (R, V), R rows of all time steps and streams together. No exponential has a positive argument, so logits
//! of any finite size are safe. A NaN or +inf among a row's logits gives a NaN loss and a NaN row; a logit of -inf is
//! an impossible word, whose loss as a target is +inf. V = 1 gives the loss 0.
//!
//! # Error
//!
//! Sums run in f32 over blocks of 1024 logits, the blocks in f64. The target's own term is kept apart from the sum of
//! the others, s: the loss is ln(1 + s) where the target is the maximum, and its gradient -s / (1 + s), so that losses
//! and gradients far below 2^-24 keep their relative accuracy. With u = 2^-24, d_j = |x_j - m|, D the average of d
//! under p, and D' under p without the target:
//!
//! ```text
//! |error of p_j|        <= u p_j (d_j + D + 76) + 2^-149
//! |error of L|          <= u (L + (1 - p_t) (D' + 76))
//! |error of ln p_j|     <= u (2 |ln p_j| + d_j + D + 78)
//! |error of dx_j|       <= scale (error of p_j, with 1 - p_t for p_t, + u |dx_j|)
//! |error of binary L|   <= u (2 max(x, 0) + 4 L)
//! |error of binary dx|  <= scale 4 u
//! ```
//!
//! # Slices
//!
//! Where a row's logits never exist all at once, [`tally`] takes them slice by slice and keeps, for each row, the
//! maximum so far, the sum of the other exponentials relative to it, and the target's logit; [`slice_gradient`] takes
//! the slices a second time. When the maximum grows, the sum is rescaled in f64, so the bounds above hold for any
//! number of slices up to 2^20.
//!
//! Where products round to bf16 anyway, [`keep`] takes a block of logits while it is in the cache and keeps their
//! exponentials in bf16, from which [`kept_gradient`] makes the gradient in place (`kept.rs`).
//!
//! Source: J. S. Bridle, "Probabilistic Interpretation of Feedforward Classification Network Outputs", 1990; the safe
//! form: N. J. Higham et al., "Accurately Computing the Log-Sum-Exp and Softmax Functions", 2021; the sum over slices:
//! M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax", 2018.

mod generic;
mod kept;
pub mod reference;
mod slices;

pub(crate) use generic::softplus_of_minus_abs;
pub use kept::{Keep, KeptGradient, NOTE, RowGradient, add_notes, keep, kept_gradient};
pub use slices::{SliceGradient, Tally, slice_gradient, tally};

use crate::faults::{Fault, spoil};
use crate::isa::Isa;
use crate::mat::{Mat, MatMut};

/// The target of a row that is not scored: the row's loss is 0 and its gradient is 0, whatever its logits.
pub const IGNORE: u32 = u32::MAX;

/// The arguments of [`cross_entropy`].
pub struct CrossEntropy<'a> {
    /// (R, V). In: logits. Out: their gradient, (softmax - onehot(target)) scale; 0 in rows that are not scored.
    pub logits: MatMut<'a>,
    /// (R) Tokens below V, or [`IGNORE`].
    pub targets: &'a [u32],
    /// The factor of every row's gradient: 1 if the total loss is a sum over rows, 1 / (scored rows) if it is a mean.
    pub scale: f32,
    /// (R) Out: the loss -ln p of each target in nats, without `scale`; 0 in rows that are not scored.
    pub losses: &'a mut [f32],
}

/// The arguments of [`binary_cross_entropy`].
pub struct BinaryCrossEntropy<'a> {
    /// (R) In: logits. Out: their gradient, (sigmoid - target) scale.
    pub logits: &'a mut [f32],
    /// (R) The probability of the positive class, 0 to 1.
    pub targets: &'a [f32],
    /// The factor of every gradient: 1 if the total loss is a sum, 1 / R if it is a mean.
    pub scale: f32,
    /// (R) Out: the losses in nats, without `scale`.
    pub losses: &'a mut [f32],
}

/// Computes the cross-entropy of every row, and replaces the logits by their gradient.
///
/// ```
/// use unroll_kernels::softmax::{CrossEntropy, IGNORE, cross_entropy};
/// use unroll_kernels::{Isa, MatMut};
/// let mut x = [0.0, 0.0, 5.0, 7.0]; // two rows of two logits
/// let mut losses = [0.0; 2];
/// let (logits, targets) = (MatMut::dense(&mut x, 2, 2), &[1, IGNORE]);
/// cross_entropy(Isa::best(), CrossEntropy { logits, targets, scale: 1.0, losses: &mut losses });
/// assert_eq!(losses, [std::f32::consts::LN_2, 0.0]);
/// assert_eq!(x, [0.5, -0.5, 0.0, 0.0]);
/// ```
///
/// # Panics
///
/// When `targets` or `losses` have not R elements, or a target is neither below V nor [`IGNORE`].
#[track_caller]
pub fn cross_entropy(isa: Isa, args: CrossEntropy<'_>) {
    check(args.logits.rows(), args.logits.cols(), args.targets, args.losses);
    let CrossEntropy { mut logits, targets, scale, losses } = args;
    isa.run(CrossEntropy { logits: logits.reborrow(), targets, scale, losses });
    spoil(Fault::CrossEntropy, logits);
}

/// Computes the cross-entropy of every row and leaves the logits as they are. The bits are those of [`cross_entropy`].
///
/// # Panics
///
/// As [`cross_entropy`].
#[track_caller]
pub fn cross_entropy_forward(isa: Isa, logits: Mat<'_>, targets: &[u32], losses: &mut [f32]) {
    check(logits.rows(), logits.cols(), targets, losses);
    isa.run(generic::Losses { logits, targets, losses });
}

/// Replaces every row of logits by its softmax.
pub fn softmax_rows(isa: Isa, logits: MatMut<'_>) {
    isa.run(generic::Softmax(logits));
}

/// Replaces every row of logits by the logarithm of its softmax.
pub fn log_softmax_rows(isa: Isa, logits: MatMut<'_>) {
    isa.run(generic::LogSoftmax(logits));
}

/// Computes the binary cross-entropy of every logit, and replaces the logits by their gradient.
///
/// # Panics
///
/// When the lengths differ.
#[track_caller]
pub fn binary_cross_entropy(isa: Isa, args: BinaryCrossEntropy<'_>) {
    let rows = args.logits.len();
    assert_eq!(args.targets.len(), rows, "{} targets for {rows} logits", args.targets.len());
    assert_eq!(args.losses.len(), rows, "{} losses for {rows} logits", args.losses.len());
    let BinaryCrossEntropy { logits, targets, scale, losses } = args;
    isa.run(BinaryCrossEntropy { logits: &mut *logits, targets, scale, losses });
    spoil(Fault::BinaryCrossEntropy, logits);
}

#[track_caller]
fn check(rows: usize, v: usize, targets: &[u32], losses: &[f32]) {
    assert_eq!(targets.len(), rows, "{} targets for {rows} rows", targets.len());
    assert_eq!(losses.len(), rows, "{} losses for {rows} rows", losses.len());
    if let Some(r) = targets.iter().position(|&t| t != IGNORE && t as usize >= v) {
        panic!("target {} of row {r}, but the vocabulary has {v}", targets[r]);
    }
}

#[cfg(test)]
mod tests;
