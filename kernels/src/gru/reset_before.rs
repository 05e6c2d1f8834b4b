//! One step of the GRU whose reset gate comes before the product, for a block of units, in two phases.
//!
//! ```text
//! gates       z, r = sigmoid(x W_z + b_z + h_prev U_z), sigmoid(x W_r + b_r + h_prev U_r)
//!             s    = r h_prev
//! candidate   n    = tanh(x W_n + b_n + s U_n)
//!             h    = z h_prev + (1 - z) n
//! ```
//!
//! The candidate of any unit needs s of all units, so all blocks of one phase are done before the next phase begins; so
//! it is backward, where the caller computes ds = da_n U_n^T in between:
//!
//! ```text
//! candidate   da_n = dh (1 - z) (1 - n^2)      da_z = dh (h_prev - n) z (1 - z)      dh_prev += dh z
//! gates       da_r = ds h_prev r (1 - r)       dh_prev += ds r
//! ```
//!
//! The caller adds dh_prev += (da_z, da_r) U_zr^T and, after the last step, dW, dU (that of n over s) and db.
//!
//! Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, 2014; Keras' `reset_after=False`. Gates and
//! parameters in Keras' order z, r, h (Keras' h is n here): U's first 2 H columns are packed as two groups, the last H
//! as one. A block of units must fall on the panels of both.
//!
//! **Shapes** as in [`super`]; s (N, units) in, (N, H) when read.
//!
//! **Error.** With u = 2^-24 and e the bound of the phase's product, 2 (H + 1) u (|x W + b| + sum |h_prev or s| |U|),
//! each phase measured from the values that it is given, and functions off by v of their value ([`super`]), to first
//! order in u
//!
//! ```text
//! |error of z, r| <= e / 4 + v                 |error of s| <= |h_prev| (e / 4 + v + 2 u)
//! |error of n|    <= e + v                     |error of h| <= |error of n| + 8 u (1 + |h_prev|)
//! |error of da, dh_prev| <= 16 u ((|dh| + |ds|) (1 + |h_prev|) + |dh_prev|) + 2^-80 (1 + |h_prev|)
//! ```
//!
//! Gates that are kept in bf16 ([`Element`]) are rounded in addition, by a part in 2^9 of each, and so is the z that
//! the second phase reads: h is off by 2^-9 |z| |h_prev - n| more.

use super::{check_gates, generic};
use crate::cells::{Apply, Block, Functions, Room, Rough, Standard, blocks, check_shape};
use crate::element::Element;
use crate::faults::{Fault, spoil};
use crate::gemm::{Left, PackedRef, Precision, PreparedProduct};
use crate::profile::{self, Phase};
use crate::{GroupsMut, Isa, Mat, MatMut};

/// The arguments of [`forward_gates`], the first phase forward.
pub struct ForwardGates<'a, E = f32> {
    /// (N, H): h of all units before the step, in the precision of U.
    pub h_prev: Left<'a>,
    /// (N, units): h of the block's units before the step.
    pub h_prev_own: Mat<'a>,
    /// U_z, U_r (H, 2 x units): the block's columns of the recurrent kernel.
    pub recurrent: PackedRef<'a>,
    /// In: x W + b (N, 3, units). Out: the activated z and r; group 2 is left alone.
    pub gates: GroupsMut<'a, E>,
    /// Out: s = r h_prev (N, units).
    pub reset_h: MatMut<'a>,
}

/// Computes z, r and s for a block of units, with the instruction set for which the recurrent kernel is packed.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn forward_gates<E: Element>(args: ForwardGates<'_, E>) {
    forward_gates_as(Functions::default(), args);
}

/// [`forward_gates`] with any functions. The standard ones have code of their own; others are chosen once a vector.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn forward_gates_as<E: Element>(functions: Functions, args: ForwardGates<'_, E>) {
    match (functions.are_standard(), args.recurrent.precision()) {
        (true, Precision::Bf16) => forward_gates_step(Rough, args),
        (true, _) => forward_gates_step(Standard, args),
        (false, _) => forward_gates_step(functions, args),
    }
}

#[track_caller]
fn forward_gates_step<E: Element>(functions: impl Apply, args: ForwardGates<'_, E>) {
    let ForwardGates { h_prev, h_prev_own, recurrent, gates, mut reset_h } = args;
    let (rows, units) = (h_prev.rows(), recurrent.cols());
    assert_eq!(recurrent.groups(), 2, "the recurrent kernel of z and r has {} gates, not 2", recurrent.groups());
    check_gates("gates", &gates, [rows, units]);
    check_shape("h_prev_own", [h_prev_own.rows(), h_prev_own.cols()], [rows, units]);
    check_shape("reset_h", [reset_h.rows(), reset_h.cols()], [rows, units]);
    let (mut gates, _) = gates.split_groups_at(2);
    let prepared = PreparedProduct::new(h_prev, recurrent);
    let mut room = Room::new::<E>();
    for (n, u) in blocks(rows, recurrent) {
        let kept = gates.reborrow().rows_range(n.clone()).cols_range(u.clone());
        let mut gates = Block::new(kept, &mut room);
        let (init, sum) = gates.sum();
        prepared.product(n.clone(), u.clone(), init, sum);
        let _span = profile::enter(Phase::ElementWise);
        recurrent.isa().run(generic::ForwardGates {
            functions,
            h_prev: h_prev_own.rows_range(n.clone()).cols_range(u.clone()),
            gates,
            reset_h: reset_h.reborrow().rows_range(n).cols_range(u),
        });
    }
}

/// The arguments of [`forward_candidate`], the second phase forward.
pub struct ForwardCandidate<'a, E = f32> {
    /// (N, H): s of all units, in the precision of U_n.
    pub reset_h: Left<'a>,
    /// U_n (H, 1 x units): the block's columns of the recurrent kernel.
    pub recurrent: PackedRef<'a>,
    /// (N, units): h of the block's units before the step.
    pub h_prev: Mat<'a>,
    /// In: z and r of the first phase and x W_n + b_n (N, 3, units). Out: the activated gates z, r, n.
    pub gates: GroupsMut<'a, E>,
    /// Out: h (N, units).
    pub h: MatMut<'a>,
}

/// Computes n and h for a block of units, with the instruction set for which the recurrent kernel is packed.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn forward_candidate<E: Element>(args: ForwardCandidate<'_, E>) {
    forward_candidate_as(Functions::default(), args);
}

/// [`forward_candidate`] with any functions. The standard ones have code of their own; others are chosen once a vector.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn forward_candidate_as<E: Element>(functions: Functions, args: ForwardCandidate<'_, E>) {
    match (functions.are_standard(), args.recurrent.precision()) {
        (true, Precision::Bf16) => forward_candidate_step(Rough, args),
        (true, _) => forward_candidate_step(Standard, args),
        (false, _) => forward_candidate_step(functions, args),
    }
}

#[track_caller]
fn forward_candidate_step<E: Element>(functions: impl Apply, args: ForwardCandidate<'_, E>) {
    let ForwardCandidate { reset_h, recurrent, h_prev, gates, mut h } = args;
    let (rows, units) = (reset_h.rows(), recurrent.cols());
    assert_eq!(recurrent.groups(), 1, "the recurrent kernel of n has {} gates, not 1", recurrent.groups());
    check_gates("gates", &gates, [rows, units]);
    check_shape("h_prev", [h_prev.rows(), h_prev.cols()], [rows, units]);
    check_shape("h", [h.rows(), h.cols()], [rows, units]);
    let (mut zr, mut candidate) = gates.split_groups_at(2);
    let prepared = PreparedProduct::new(reset_h, recurrent);
    let mut room = Room::new::<E>();
    for (n, u) in blocks(rows, recurrent) {
        let kept = candidate.reborrow().rows_range(n.clone()).cols_range(u.clone());
        let mut candidate = Block::new(kept, &mut room);
        let (init, sum) = candidate.sum();
        prepared.product(n.clone(), u.clone(), init, sum);
        let _span = profile::enter(Phase::ElementWise);
        recurrent.isa().run(generic::ForwardCandidate {
            functions,
            h_prev: h_prev.rows_range(n.clone()).cols_range(u.clone()),
            zr: zr.reborrow().rows_range(n.clone()).cols_range(u.clone()),
            candidate,
            h: h.reborrow().rows_range(n).cols_range(u),
        });
    }
}

/// The arguments of [`backward_candidate`], the first phase backward.
pub struct BackwardCandidate<'a, E = f32> {
    /// (N, 3, units). In: the activated gates z, r, n. Out: da_z, r unchanged, da_n.
    pub gates: GroupsMut<'a, E>,
    /// (N, units): h of the block's units before the step.
    pub h_prev: Mat<'a>,
    /// (N, units): the gradient of h, from the output and from step t + 1.
    pub dh: Mat<'a>,
    /// In and out: the gradient of h_prev (N, units), to which dh z is added.
    pub dh_prev: MatMut<'a>,
}

/// Computes da_z and da_n for a block of units, and adds dh z to dh_prev.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn backward_candidate<E: Element>(isa: Isa, args: BackwardCandidate<'_, E>) {
    backward_candidate_step(isa, Standard, args);
}

/// [`backward_candidate`] with any functions. The standard ones have code of their own; others are chosen once a vector.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn backward_candidate_as<E: Element>(isa: Isa, functions: Functions, args: BackwardCandidate<'_, E>) {
    if functions.are_standard() {
        backward_candidate_step(isa, Standard, args);
    } else {
        backward_candidate_step(isa, functions, args);
    }
}

#[track_caller]
fn backward_candidate_step<E: Element>(isa: Isa, functions: impl Apply, args: BackwardCandidate<'_, E>) {
    let shape = [args.gates.rows(), args.gates.cols()];
    check_gates("gates", &args.gates, shape);
    check_shape("h_prev", [args.h_prev.rows(), args.h_prev.cols()], shape);
    check_shape("dh", [args.dh.rows(), args.dh.cols()], shape);
    check_shape("dh_prev", [args.dh_prev.rows(), args.dh_prev.cols()], shape);
    let _span = profile::enter(Phase::ElementWise);
    let BackwardCandidate { mut gates, h_prev, dh, dh_prev } = args;
    let args = BackwardCandidate { gates: gates.reborrow(), h_prev, dh, dh_prev };
    isa.run(generic::BackwardCandidate { functions, args });
    spoil(Fault::GruBeforeCandidate, gates);
}

/// The arguments of [`backward_gates`], the second phase backward.
pub struct BackwardGates<'a, E = f32> {
    /// (N, 3, units). In: what the first phase left, of which r is read. Out: da_z, da_r, da_n.
    pub gates: GroupsMut<'a, E>,
    /// (N, units): h of the block's units before the step.
    pub h_prev: Mat<'a>,
    /// ds (N, units): the block's columns of da_n U_n^T.
    pub dreset_h: Mat<'a>,
    /// In and out: the gradient of h_prev (N, units), to which ds r is added.
    pub dh_prev: MatMut<'a>,
}

/// Computes da_r for a block of units, and adds ds r to dh_prev.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn backward_gates<E: Element>(isa: Isa, args: BackwardGates<'_, E>) {
    backward_gates_step(isa, Standard, args);
}

/// [`backward_gates`] with any functions. The standard ones have code of their own; others are chosen once a vector.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn backward_gates_as<E: Element>(isa: Isa, functions: Functions, args: BackwardGates<'_, E>) {
    if functions.are_standard() {
        backward_gates_step(isa, Standard, args);
    } else {
        backward_gates_step(isa, functions, args);
    }
}

#[track_caller]
fn backward_gates_step<E: Element>(isa: Isa, functions: impl Apply, args: BackwardGates<'_, E>) {
    let shape = [args.gates.rows(), args.gates.cols()];
    check_gates("gates", &args.gates, shape);
    check_shape("h_prev", [args.h_prev.rows(), args.h_prev.cols()], shape);
    check_shape("dreset_h", [args.dreset_h.rows(), args.dreset_h.cols()], shape);
    check_shape("dh_prev", [args.dh_prev.rows(), args.dh_prev.cols()], shape);
    let _span = profile::enter(Phase::ElementWise);
    let BackwardGates { mut gates, h_prev, dreset_h, mut dh_prev } = args;
    let (of_gates, of_h) = (gates.reborrow(), dh_prev.reborrow());
    let args = BackwardGates { gates: of_gates, h_prev, dreset_h, dh_prev: of_h };
    isa.run(generic::BackwardGates { functions, args });
    spoil(Fault::GruBeforeGates, gates);
    spoil(Fault::GruBeforeCarry, dh_prev);
}
