//! One step of the simple recurrent cell for a block of units, forward and backward.
//!
//! ```text
//! h   = act(x W + b + h_prev U)         act as in [`crate::activation`]; x W + b comes in, ready for all steps
//! da  = dh (1 - h^2)                    tanh
//! da  = dh where h > 0, else 0          relu; the others likewise, from h
//! ```
//!
//! The caller adds dh_prev += da U^T and, after the last step, dW, dU and db. Elman, Finding Structure in Time, 1990; the
//! rectified form with parameters and gradient (0 at 0) as Keras' `SimpleRNN`.
//!
//! **Shapes.** N rows, H units of the layer, `units` of them in the block; pre (N, 1, units); h and gradients (N, units);
//! h_prev (N, H); U (H, 1 x units) packed. Any size may be zero.
//!
//! **Error.** With u = 2^-24 and e = 2 (H + 1) u (|x W + b| + sum |h_prev| |U|), the product's bound, h is within e + 4 u of
//! the exact value (tanh is within 2 units of the last place) and exactly the rectified pre-activation for relu; da is
//! within 4 u |dh| + 2^-80 of the value that follows from the h given (a |dh| below 2^-80 counts as zero). Results are equal on AVX2 and AVX-512, and do not depend
//! on how units or rows are split. A NaN goes through every activation.

mod generic;
#[cfg(test)]
mod tests;

pub mod reference;

pub use crate::activation::Activation;

use crate::cells::{Block, Room, blocks, check_shape};
use crate::element::Element;
use crate::faults::{Fault, spoil};
use crate::gemm::{Left, PackedRef, Walk};
use crate::profile::{self, Phase};
use crate::{GroupsMut, Isa, Mat, MatMut};

/// One step forward for a block of units.
pub struct Forward<'a, E = f32> {
    /// The activation.
    pub activation: Activation,
    /// (N, H): h of all units before the step, in the precision of U.
    pub h_prev: Left<'a>,
    /// U (H, 1 x units): the block's columns of the recurrent kernel.
    pub recurrent: PackedRef<'a>,
    /// In: x W + b (N, 1, units); clobbered.
    pub pre: GroupsMut<'a, E>,
    /// Out: h (N, units).
    pub h: MatMut<'a>,
}

/// Computes a step with the instruction set that the recurrent kernel is packed for.
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
    let walk = Walk::new(h_prev, recurrent);
    let mut room = Room::new::<E>();
    for (n, u) in blocks(rows, recurrent) {
        let kept = pre.reborrow().rows_range(n.clone()).cols_range(u.clone());
        let mut pre = Block::new(kept, &mut room);
        let (init, sum) = pre.sum();
        walk.product(n.clone(), u.clone(), init, sum);
        let h = h.reborrow().rows_range(n).cols_range(u);
        let _span = profile::enter(Phase::ElementWise);
        recurrent.isa().run(generic::Forward { activation, pre, h });
    }
}

/// One step backward for a block of units: the element-wise part.
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

/// Computes a step backward.
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
