//! One step of the simple recurrent cell for a block of units, forward and backward.
//!
//! ```text
//! h   = act(x W + b + h_prev U)         act as in [`crate::activation`]; x W + b comes in, ready for all steps
//! da  = dh (1 - h^2)                    tanh
//! da  = dh where h > 0, else 0          relu; the others likewise, from h
//! ```
//!
//! The caller adds dh_prev += da U^T and, after the last step, dW, dU and db. Elman, Finding Structure in Time, 1990;
//! the rectified form with parameters and gradient (0 at 0) as Keras' `SimpleRNN`.
//!
//! **Shapes.** N rows, H units of the layer, `units` of them in the block; pre (N, 1, units); h and gradients (N,
//! units); h_prev (N, H); U (H, 1 x units) packed. Any size may be zero.
//!
//! **Error.** With u = 2^-24 and e = 2 (H + 1) u (|x W + b| + sum |h_prev| |U|), the product's bound, h is within e + 4
//! u of the exact value (tanh is within 2 units of the last place), and exactly the rectified pre-activation for relu.
//! da is within 4 u |dh| + 2^-80 of the exact result for the h that is given (a |dh| below 2^-80 counts as zero).
//! Results are equal on AVX2 and AVX-512, and do not depend on how units or rows are split. Every activation maps NaN
//! to NaN.

mod generic;
mod sequence;
#[cfg(test)]
mod tests;

pub mod reference;

pub use crate::activation::Activation;

use crate::cells::{Block, Room, blocks, check_shape};
use crate::element::Element;
use crate::embedding::check_tokens;
use crate::faults::{Fault, spoil};
use crate::gemm::{CachedPanels, Left, PackedRef, PreparedProduct};
use crate::profile::{self, Phase};
use crate::{GroupsMut, Isa, Mat, MatMut};

/// The arguments of [`forward`].
pub struct Forward<'a, E = f32> {
    /// The activation.
    pub activation: Activation,
    /// (N, H): h of all units before the step, in the precision of U.
    pub h_prev: Left<'a>,
    /// U (H, 1 x units): the block's columns of the recurrent kernel.
    pub recurrent: PackedRef<'a>,
    /// In: x W + b (N, 1, units). Its contents afterwards are undefined.
    pub pre: GroupsMut<'a, E>,
    /// Out: h (N, units).
    pub h: MatMut<'a>,
}

/// Computes one step for a block of units, with the instruction set for which the recurrent kernel is packed.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn forward<E: Element>(args: Forward<'_, E>) {
    let Forward { activation, h_prev, recurrent, mut pre, mut h } = args;
    let (rows, units) = (h_prev.rows(), recurrent.cols());
    assert_eq!(recurrent.groups(), 1, "the recurrent kernel has {} groups, a simple cell 1", recurrent.groups());
    check_shape("pre", [pre.rows(), pre.cols()], [rows, units]);
    check_shape("h", [h.rows(), h.cols()], [rows, units]);
    let prepared = PreparedProduct::new(h_prev, recurrent);
    let mut room = Room::new::<E>();
    for (n, u) in blocks(rows, recurrent) {
        let kept = pre.reborrow().rows_range(n.clone()).cols_range(u.clone());
        let mut pre = Block::new(kept, &mut room);
        let (init, sum) = pre.sum();
        prepared.product(n.clone(), u.clone(), init, sum);
        let h = h.reborrow().rows_range(n).cols_range(u);
        let _span = profile::enter(Phase::ElementWise);
        recurrent.isa().run(generic::Forward { activation, pre, h });
    }
}

/// The arguments of [`backward`].
pub struct Backward<'a, E = f32> {
    /// The activation.
    pub activation: Activation,
    /// (N, units): h after the step.
    pub h: Mat<'a>,
    /// (N, units): the gradient of h, from the output and from step t + 1.
    pub dh: Mat<'a>,
    /// Out: the gradient of the pre-activations (N, units).
    pub dpre: MatMut<'a, E>,
}

/// Computes the element-wise part of one step backward for a block of units.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn backward<E: Element>(isa: Isa, args: Backward<'_, E>) {
    let (rows, units) = (args.h.rows(), args.h.cols());
    check_shape("dh", [args.dh.rows(), args.dh.cols()], [rows, units]);
    check_shape("dpre", [args.dpre.rows(), args.dpre.cols()], [rows, units]);
    let _span = profile::enter(Phase::ElementWise);
    let Backward { activation, h, dh, mut dpre } = args;
    isa.run(generic::Backward(Backward { activation, h, dh, dpre: dpre.reborrow() }));
    spoil(Fault::Rnn, dpre);
}

/// The most rows with which [`forward_sequence`] and [`backward_sequence`] compute a whole sequence at once. Each row reads
/// the weights again, so that more rows gain less: with 1, 2, 3, 4 and 6 rows, 25 steps forward of 100 units take 0.53,
/// 0.63, 0.81, 0.93 and 1.12 of the time of [`forward`] called step by step (measured 2026-11-22).
pub const FEW_ROWS: usize = 4;

/// Whether [`forward_sequence`] and [`backward_sequence`] accept steps of `rows` rows with this recurrent kernel or its
/// transpose: at most [`FEW_ROWS`] rows, and weights in f32 that fit the first-level cache.
pub fn takes_sequences(recurrent: PackedRef<'_>, rows: usize) -> bool {
    (1..=FEW_ROWS).contains(&rows) && CachedPanels::new(recurrent).is_some()
}

/// The input part x W + b of every step of a sequence, (T N, H).
#[derive(Clone, Copy)]
pub enum SequenceInput<'a> {
    /// Computed already.
    Ready(Mat<'a>),
    /// To be looked up for one-hot inputs: row r is row `tokens[r]` of `table` plus `bias`.
    LookedUp {
        /// (V, H): the input kernel.
        table: Mat<'a>,
        /// (H), or nothing.
        bias: Option<&'a [f32]>,
        /// T N tokens below V.
        tokens: &'a [u32],
    },
}

/// The arguments of [`forward_sequence`]: all T steps of N rows, every row with every step.
pub struct SequenceForward<'a> {
    /// The activation.
    pub activation: Activation,
    /// U (H, 1 x H); must satisfy [`takes_sequences`].
    pub recurrent: PackedRef<'a>,
    /// x W + b (T N, H)
    pub input: SequenceInput<'a>,
    /// N
    pub rows: usize,
    /// Whether the sequence is read from its last step to its first.
    pub reverse: bool,
    /// ((T + 1) N, H). In: h before the first step, in the first N rows, or in the last N where `reverse`. Out: h after each
    /// step, in the order of time.
    pub h: MatMut<'a>,
}

/// Computes all steps forward: the same bits as [`forward`] step by step.
///
/// # Panics
///
/// When the shapes do not agree, a token is not in the table, or the kernel does not satisfy [`takes_sequences`].
#[track_caller]
pub fn forward_sequence(args: SequenceForward<'_>) {
    let (cached, units) = (cached(args.recurrent, args.rows), args.recurrent.cols());
    let steps = (args.h.rows() / args.rows).saturating_sub(1);
    check_shape("h", [args.h.rows(), args.h.cols()], [(steps + 1) * args.rows, units]);
    match &args.input {
        SequenceInput::Ready(pre) => check_shape("pre", [pre.rows(), pre.cols()], [steps * args.rows, units]),
        SequenceInput::LookedUp { table, bias, tokens } => {
            assert_eq!(tokens.len(), steps * args.rows, "{} tokens, {steps} steps", tokens.len());
            check_shape("the table", [table.rows(), table.cols()], [table.rows(), units]);
            assert!(bias.is_none_or(|bias| bias.len() == units), "a bias for {units} units");
            check_tokens(tokens, table.rows());
        }
    }
    profile::count_flops(2 * steps * args.rows * units * units);
    args.recurrent.isa().run(sequence::Forward { cached, args });
}

/// The arguments of [`backward_sequence`]: all T steps of N rows, every row with every step.
pub struct SequenceBackward<'a> {
    /// The activation.
    pub activation: Activation,
    /// U^T (H, 1 x H); must satisfy [`takes_sequences`].
    pub transposed: PackedRef<'a>,
    /// N
    pub rows: usize,
    /// Whether the forward pass read from the last step to the first.
    pub reverse: bool,
    /// (T N, H): h after each step.
    pub h: Mat<'a>,
    /// (T N, H). In: the gradient of each h from the output. Out: including the gradient from the step after.
    pub dh: MatMut<'a>,
    /// Out: the gradient of the pre-activations (T N, H).
    pub dpre: MatMut<'a>,
}

/// Computes all steps backward: the same bits as [`backward`] step by step with the products between.
///
/// # Panics
///
/// When the shapes do not agree, or the kernel does not satisfy [`takes_sequences`].
#[track_caller]
pub fn backward_sequence(args: SequenceBackward<'_>) {
    let (cached, units) = (cached(args.transposed, args.rows), args.transposed.cols());
    let shape = [args.h.rows(), units];
    assert!(args.h.rows().is_multiple_of(args.rows), "{} rows in steps of {}", args.h.rows(), args.rows);
    check_shape("h", [args.h.rows(), args.h.cols()], shape);
    check_shape("dh", [args.dh.rows(), args.dh.cols()], shape);
    check_shape("dpre", [args.dpre.rows(), args.dpre.cols()], shape);
    profile::count_flops(2 * args.h.rows().saturating_sub(args.rows) * units * units);
    args.transposed.isa().run(sequence::Backward { cached, args });
}

/// The recurrent kernel of a sequence, checked.
#[track_caller]
fn cached(recurrent: PackedRef<'_>, rows: usize) -> CachedPanels<'_> {
    assert_eq!(recurrent.k(), recurrent.cols(), "the recurrent kernel's rows and columns");
    assert!((1..=FEW_ROWS).contains(&rows), "steps of {rows} rows");
    let Some(cached) = CachedPanels::new(recurrent) else {
        panic!("a recurrent kernel too large for sequences, or not in f32")
    };
    cached
}
