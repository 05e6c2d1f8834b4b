//! One step of the GRU for a block of units, forward and backward. Here the reset gate applies after the product; in
//! [`reset_before`], before it.
//!
//! ```text
//! z, r = sigmoid(x W_z + b_z + h_prev U_z + b'_z), sigmoid(x W_r + b_r + h_prev U_r + b'_r)
//! q    = h_prev U_n + b'_n
//! n    = tanh(x W_n + b_n + r q)        x W + b comes in, ready for all steps
//! h    = z h_prev + (1 - z) n
//! ```
//!
//! and backward, from dh (of this step's output and of step t + 1):
//!
//! ```text
//! da_n = dh (1 - z) (1 - n^2)           da_z = dh (h_prev - n) z (1 - z)
//! da_r = da_n q r (1 - r)               dq   = da_n r
//! dh_prev += dh z
//! ```
//!
//! The gradient of the input's side is (da_z, da_r, da_n), that of the hidden side (da_z, da_r, dq). The caller adds
//! dh_prev += (da_z, da_r, dq) U^T and, after the last step, dW, dU, db and db'.
//!
//! Other functions may replace the sigmoid and tanh ([`Functions`]).
//!
//! Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, 2014, in the form of cuDNN and PyTorch
//! (Keras' `reset_after=True`); gates and parameters in Keras' order z, r, h (Keras' h is n here).
//!
//! **Shapes.** N rows, H units of the layer, `units` of them in the block; gates and the hidden side (N, 3, units); h
//! and gradients (N, units); h_prev (N, H); U (H, 3 x units) packed. Any size may be zero.
//!
//! **Kept in bf16** ([`Element`]), x W + b, the activated gates and their gradients are rounded when they are stored,
//! each by a part in 2^9; all sums are in f32, and h of this step sees the gates before they are rounded.
//!
//! **Error.** With u = 2^-24, e = 2 (H + 2) u (|x W + b| + |b'| + sum |h_prev| |U|) for the largest pre-activation of a
//! unit, and functions off by v of their value, to first order in u (v = 4 u: 2 units of the last place; in bf16 2^-15
//! forward, see [`crate::math::rough`])
//!
//! ```text
//! |error of z, r| <= e / 4 + v
//! |error of n|    <= (1 + |q|) (5/4 e + 2 v)
//! |error of h|    <= |error of n| + (1 + |h_prev|) (e / 4 + 2 v)
//! |error of da, dq, dh_prev| <= 16 u (|dh| (1 + |h_prev|) (1 + |q|) + |dh_prev|) + 2^-80 (1 + |h_prev|) (1 + |q|)
//! ```
//!
//! where backward is measured from the values that it is given. Results are equal on AVX2 and AVX-512, and do not
//! depend on how units or rows are split. Other functions are no steeper than 1 and err by 4 u max(1, |value|).

mod generic;
#[cfg(test)]
mod tests;

pub mod reference;
pub mod reset_before;

use crate::cells::{Apply, Block, Functions, Prefetch, Room, Rough, Standard, blocks, check_shape};
use crate::element::Element;
use crate::faults::{Fault, spoil};
use crate::gemm::{Init, Left, PackedRef, Precision, PreparedProduct};
use crate::profile::{self, Phase};
use crate::{GroupsMut, Isa, Mat, MatMut};

/// The arguments of [`forward`].
pub struct Forward<'a, E = f32> {
    /// (N, H): h of all units before the step, in the precision of U.
    pub h_prev: Left<'a>,
    /// (N, units): h of the block's units before the step.
    pub h_prev_own: Mat<'a>,
    /// U (H, 3 x units): the block's columns of the recurrent kernel.
    pub recurrent: PackedRef<'a>,
    /// b'_z, b'_r, b'_n (units each), if there is a bias on the hidden side.
    pub recurrent_bias: Option<[&'a [f32]; 3]>,
    /// In: x W + b (N, 3, units). Out: the activated gates z, r, n.
    pub gates: GroupsMut<'a, E>,
    /// Out: (N, 3, units). Group 2 holds q, which backward reads; groups 0 and 1 are scratch.
    pub hidden: GroupsMut<'a, E>,
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
    forward_as(Functions::default(), args);
}

/// [`forward`] with any functions. The standard ones have code of their own; others are chosen once a vector.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn forward_as<E: Element>(functions: Functions, args: Forward<'_, E>) {
    match (functions.are_standard(), args.recurrent.precision()) {
        (true, Precision::Bf16) => forward_step(Rough, args),
        (true, _) => forward_step(Standard, args),
        (false, _) => forward_step(functions, args),
    }
}

#[track_caller]
fn forward_step<E: Element>(functions: impl Apply, args: Forward<'_, E>) {
    let Forward { h_prev, h_prev_own, recurrent, recurrent_bias, mut gates, mut hidden, mut h } = args;
    let (rows, units) = (h_prev.rows(), recurrent.cols());
    assert_eq!(recurrent.groups(), 3, "the recurrent kernel has {} gates, a GRU 3", recurrent.groups());
    check_gates("gates", &gates, [rows, units]);
    check_gates("hidden", &hidden, [rows, units]);
    check_shape("h_prev_own", [h_prev_own.rows(), h_prev_own.cols()], [rows, units]);
    check_shape("h", [h.rows(), h.cols()], [rows, units]);
    for bias in recurrent_bias.iter().flatten() {
        assert_eq!(bias.len(), units, "{} recurrent biases of a gate, {units} units", bias.len());
    }
    let prepared = PreparedProduct::new(h_prev, recurrent);
    let mut room = Room::new::<E>();
    let mut blocks = blocks(rows, recurrent).peekable();
    while let Some((n, u)) = blocks.next() {
        let ahead = blocks.peek().cloned().map(|(n, u)| {
            let q = hidden.reborrow().split_groups_at(2).1;
            [gates.reborrow(), q].map(|next| Prefetch::new(next.rows_range(n.clone()).cols_range(u.clone())))
        });
        let kept = hidden.reborrow().rows_range(n.clone()).cols_range(u.clone());
        let mut hidden = Block::new(kept, &mut room);
        prepared.product(n.clone(), u.clone(), Init::Zero, hidden.hidden());
        let _span = profile::enter(Phase::ElementWise);
        recurrent.isa().run(generic::Forward {
            functions,
            h_prev: h_prev_own.rows_range(n.clone()).cols_range(u.clone()),
            bias: recurrent_bias.map(|bias| bias.map(|gate| &gate[u.clone()])),
            gates: gates.reborrow().rows_range(n.clone()).cols_range(u.clone()),
            hidden,
            ahead,
            h: h.reborrow().rows_range(n).cols_range(u),
        });
    }
}

/// The arguments of [`backward`].
pub struct Backward<'a, E = f32> {
    /// In: the activated gates (N, 3, units). Out: the gradient of the input's side, da_z, da_r, da_n.
    pub gates: GroupsMut<'a, E>,
    /// (N, 3, units). In: what forward left, of which q is read. Out: the gradient of the hidden side, da_z, da_r, dq.
    pub hidden: GroupsMut<'a, E>,
    /// (N, units): h of the block's units before the step.
    pub h_prev: Mat<'a>,
    /// (N, units): the gradient of h, from the output and from step t + 1.
    pub dh: Mat<'a>,
    /// In and out: the gradient of h_prev (N, units), to which dh z is added.
    pub dh_prev: MatMut<'a>,
}

/// Computes the element-wise part of one step backward for a block of units.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn backward<E: Element>(isa: Isa, args: Backward<'_, E>) {
    backward_step(isa, Standard, args);
}

/// [`backward`] with any functions. The standard ones have code of their own; others are chosen once a vector.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn backward_as<E: Element>(isa: Isa, functions: Functions, args: Backward<'_, E>) {
    if functions.are_standard() {
        backward_step(isa, Standard, args);
    } else {
        backward_step(isa, functions, args);
    }
}

#[track_caller]
fn backward_step<E: Element>(isa: Isa, functions: impl Apply, args: Backward<'_, E>) {
    let shape = [args.gates.rows(), args.gates.cols()];
    check_gates("gates", &args.gates, shape);
    check_gates("hidden", &args.hidden, shape);
    check_shape("h_prev", [args.h_prev.rows(), args.h_prev.cols()], shape);
    check_shape("dh", [args.dh.rows(), args.dh.cols()], shape);
    check_shape("dh_prev", [args.dh_prev.rows(), args.dh_prev.cols()], shape);
    let _span = profile::enter(Phase::ElementWise);
    let Backward { mut gates, mut hidden, h_prev, dh, mut dh_prev } = args;
    let args = Backward { gates: gates.reborrow(), hidden: hidden.reborrow(), h_prev, dh, dh_prev: dh_prev.reborrow() };
    isa.run(generic::Backward { functions, args });
    spoil(Fault::Gru, gates);
    spoil(Fault::GruHidden, hidden);
    spoil(Fault::GruCarry, dh_prev);
}

#[track_caller]
fn check_gates<E: Element>(name: &str, gates: &GroupsMut<'_, E>, want: [usize; 2]) {
    assert_eq!(gates.groups(), 3, "{name} has {} gates, a GRU 3", gates.groups());
    check_shape(name, [gates.rows(), gates.cols()], want);
}
