//! One step of the LSTM for a block of units, forward and backward.
//!
//! ```text
//! a       = x W + b + h_prev U          the pre-activations of i, f, g, o; x W + b comes in, ready for all steps
//! i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)
//! g       = tanh(a_g)
//! c       = f c_prev + i g
//! h       = o tanh(c)
//! ```
//!
//! and backward, from dh (of this step's output and of step t + 1's product) and dc (from step t + 1):
//!
//! ```text
//! dc'     = dc + dh o (1 - tanh(c)^2)
//! da_i    = dc' g i (1 - i)             da_f = dc' c_prev f (1 - f)
//! da_g    = dc' i (1 - g^2)             da_o = dh tanh(c) o (1 - o)
//! dc_prev = dc' f
//! ```
//!
//! Other functions may replace the sigmoid (R) and tanh (A), and peepholes p let the gates see c ([`Form`]):
//!
//! ```text
//! a_i += p_i c_prev     a_f += p_f c_prev     a_o += p_o c
//! dc' += da_o p_o       dc_prev += da_i p_i + da_f p_f
//! ```
//!
//! The caller adds dh_prev += da U^T and, after the last step, dW, dU, db and dp. Backward computes tanh(c) again,
//! which costs less than writing and reading it.
//!
//! Hochreiter and Schmidhuber, Long Short-Term Memory, 1997, with the forget gate of Gers, Schmidhuber and Cummins,
//! Learning to Forget, 2000; peepholes: Gers, Schraudolph and Schmidhuber, Learning Precise Timing with LSTM Recurrent
//! Networks, 2002; gates and parameters in Keras' order (Keras' c is g here).
//!
//! **Shapes.** N rows, H units of the layer, `units` of them in the block; gates (N, 4, units) in the order i, f, g, o;
//! c, h and their gradients (N, units); h_prev (N, H); U (H, 4 x units) packed. Any size may be zero.
//!
//! **Kept in bf16** ([`Element`]), x W + b, the activated gates and their gradients are rounded when they are stored,
//! each by a part in 2^9; all sums are in f32, and h of this step sees the gates before they are rounded.
//!
//! **Error.** With u = 2^-24, e = 2 (H + 1) u (|x W + b| + sum |h_prev| |U|) for the largest pre-activation of a unit
//! (the product's bound), and functions off by v of their value, to first order in u (v = 4 u: 2 units of the last
//! place; in bf16 2^-15 forward, see [`crate::math::rough`])
//!
//! ```text
//! |error of a gate|      <= e + v
//! |error of c|           <= (1 + |c_prev|) (5/4 e + 3 v)
//! |error of h|           <= |error of c| + e / 4 + 3 v
//! |error of da, dc_prev| <= (32 u (|dc| + |dh|) + 2^-79) (1 + |c_prev|)
//! ```
//!
//! where the error of backward is that against the exact result for the values that it is given. The functions of other
//! forms are no steeper than 1 and err by 4 u max(1, |value|): their errors follow from the same lines with 1 for every
//! slope. Results are equal on AVX2 and AVX-512, and do not depend on how units or rows are split.
//!
//! **Speed.** One core of a Xeon (Sapphire Rapids) whose register-only peak was 192 GFLOP/s (AVX-512) and 96 (AVX2) in
//! the same run; best of 2,000 passes over 16 steps in turn, 2026-11-21. The time includes the cell, but GFLOP/s and
//! the share of the peak count the product only:
//!
//! | N x H | forward, AVX-512 | share | forward, AVX2 | share | backward, AVX-512 |
//! |---|---|---|---|---|---|
//! | 20 x 650 | 507 us, 133 GFLOP/s | 70 % | 825 us | 85 % | 10.6 us, 64 GB/s |
//! | 50 x 256 | 183 us, 143 GFLOP/s | 75 % | 343 us | 80 % | 9.8 us, 68 GB/s |
//! | 64 x 128 | 72 us, 117 GFLOP/s | 61 % | 113 us | 78 % | 5.7 us, 74 GB/s |
//!
//! Adding 1 to the gates, a pass without arithmetic, ran at 56, 58 and 82 GB/s: backward is bound by memory. The cell
//! takes about 33 ns for 16 units on AVX-512 when everything is in the first-level cache, 14 % of the step at 50 x 256.

mod generic;
#[cfg(test)]
mod tests;

pub mod reference;

use crate::cells::{Apply, Block, Functions, Prefetch, Room, Rough, Standard, blocks, check_shape};
use crate::element::Element;
use crate::faults::{Fault, spoil};
use crate::gemm::{Left, PackedRef, Precision, PreparedProduct};
use crate::profile::{self, Phase};
use crate::{GroupsMut, Isa, Mat, MatMut};

/// The functions of a cell and, if it has them, its peephole weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Form<'a> {
    /// The functions in the places of sigmoid and tanh.
    pub functions: Functions,
    /// p_i, p_f, p_o (units each), where the cell has peepholes.
    pub peephole: Option<[&'a [f32]; 3]>,
}

impl<'a> Form<'a> {
    /// The form of a block of units: the same functions, and these units' peepholes.
    ///
    /// # Panics
    ///
    /// When `units` reaches beyond the peepholes.
    #[track_caller]
    pub fn units(self, units: std::ops::Range<usize>) -> Self {
        Self { peephole: self.peephole.map(|gates| gates.map(|gate: &'a [f32]| &gate[units.clone()])), ..self }
    }

    fn is_standard(&self) -> bool {
        self.functions.are_standard() && self.peephole.is_none()
    }

    #[track_caller]
    fn check(&self, units: usize) {
        for peephole in self.peephole.iter().flatten() {
            assert_eq!(peephole.len(), units, "{} peepholes of a gate, {units} units", peephole.len());
        }
    }
}

/// The arguments of [`forward`].
pub struct Forward<'a, E = f32> {
    /// (N, H): h of all units before the step, in the precision of U.
    pub h_prev: Left<'a>,
    /// U (H, 4 x units): the block's columns of the recurrent kernel.
    pub recurrent: PackedRef<'a>,
    /// (N, units): c before the step.
    pub c_prev: Mat<'a>,
    /// In: x W + b (N, 4, units). Out: the activated gates i, f, g, o.
    pub gates: GroupsMut<'a, E>,
    /// Out: c (N, units).
    pub c: MatMut<'a>,
    /// Out: h (N, units).
    pub h: MatMut<'a>,
}

/// Computes one step for a block of units, with the instruction set for which the recurrent kernel is packed.
///
/// # Panics
///
/// When the shapes do not agree.
///
/// ```
/// use unroll_kernels::gemm::{Packed, Precision};
/// use unroll_kernels::lstm::{Forward, forward};
/// use unroll_kernels::{Isa, Mat, MatMut};
///
/// let (rows, units) = (1, 2);
/// let mut recurrent = Packed::new(Isa::best(), Precision::F32, units, 4, units); // once for many steps
/// recurrent.pack(Mat::dense(&[0.0; 16], units, 4 * units));
/// let mut gates = [0.0; 8]; // x W + b: every gate is then sigmoid(0) = 1/2, and g is tanh(0) = 0
/// let (mut c, mut h) = ([0.0; 2], [0.0; 2]);
/// forward(Forward {
///     h_prev: Mat::dense(&[0.3, -0.7], rows, units).into(),
///     recurrent: recurrent.view(),
///     c_prev: Mat::dense(&[1.0, -2.0], rows, units),
///     gates: MatMut::dense(&mut gates, rows, 4 * units).into_groups(4),
///     c: MatMut::dense(&mut c, rows, units),
///     h: MatMut::dense(&mut h, rows, units),
/// });
/// assert_eq!(c, [0.5, -1.0]);
/// assert!((h[0] - 0.5 * 0.5f32.tanh()).abs() < 1e-6);
/// ```
#[track_caller]
pub fn forward<E: Element>(args: Forward<'_, E>) {
    forward_as(Form::default(), args);
}

/// [`forward`] for a cell of any form. The standard form has code of its own; any other form chooses its functions once a
/// vector.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn forward_as<E: Element>(form: Form<'_>, args: Forward<'_, E>) {
    form.check(args.recurrent.cols());
    match (form.is_standard(), args.recurrent.precision()) {
        (true, Precision::Bf16) => step(Rough, None, args),
        (true, _) => step(Standard, None, args),
        (false, _) => step(form.functions, form.peephole, args),
    }
}

#[track_caller]
fn step<F: Apply, E: Element>(functions: F, peephole: Option<[&[f32]; 3]>, args: Forward<'_, E>) {
    let Forward { h_prev, recurrent, c_prev, mut gates, mut c, mut h } = args;
    let (rows, units) = (h_prev.rows(), recurrent.cols());
    assert_eq!(recurrent.groups(), 4, "the recurrent kernel has {} gates, an LSTM 4", recurrent.groups());
    check_shape("gates", [gates.rows(), gates.cols()], [rows, units]);
    check_shape("c_prev", [c_prev.rows(), c_prev.cols()], [rows, units]);
    check_shape("c", [c.rows(), c.cols()], [rows, units]);
    check_shape("h", [h.rows(), h.cols()], [rows, units]);
    let prepared = PreparedProduct::new(h_prev, recurrent);
    let mut room = Room::new::<E>();
    let mut blocks = blocks(rows, recurrent).peekable();
    while let Some((n, u)) = blocks.next() {
        let ahead = blocks.peek().cloned().map(|(n, u)| Prefetch::new(gates.reborrow().rows_range(n).cols_range(u)));
        let kept = gates.reborrow().rows_range(n.clone()).cols_range(u.clone());
        let mut gates = Block::new(kept, &mut room);
        let (init, sum) = gates.sum();
        prepared.product(n.clone(), u.clone(), init, sum);
        let _span = profile::enter(Phase::ElementWise);
        recurrent.isa().run(generic::Forward {
            functions,
            peephole: peephole.map(|gates| gates.map(|gate| &gate[u.clone()])),
            c_prev: c_prev.rows_range(n.clone()).cols_range(u.clone()),
            gates,
            ahead,
            c: c.reborrow().rows_range(n.clone()).cols_range(u.clone()),
            h: h.reborrow().rows_range(n).cols_range(u),
        });
    }
}

/// The arguments of [`backward`].
pub struct Backward<'a, E = f32> {
    /// In: the activated gates (N, 4, units). Out: the gradient of the pre-activations.
    pub gates: GroupsMut<'a, E>,
    /// (N, units): c after the step.
    pub c: Mat<'a>,
    /// (N, units): c before the step.
    pub c_prev: Mat<'a>,
    /// (N, units): the gradient of h, from the output and from step t + 1.
    pub dh: Mat<'a>,
    /// In: the gradient of c from step t + 1 (N, units). Out: that of c_prev, for step t - 1.
    pub dc: MatMut<'a>,
}

/// Computes the element-wise part of one step backward for a block of units.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn backward<E: Element>(isa: Isa, args: Backward<'_, E>) {
    step_back(isa, Standard, None, args);
}

/// [`backward`] for a cell of any form.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn backward_as<E: Element>(isa: Isa, form: Form<'_>, args: Backward<'_, E>) {
    form.check(args.gates.cols());
    if form.is_standard() {
        step_back(isa, Standard, None, args);
    } else {
        step_back(isa, form.functions, form.peephole, args);
    }
}

#[track_caller]
fn step_back<F: Apply, E: Element>(isa: Isa, functions: F, peephole: Option<[&[f32]; 3]>, args: Backward<'_, E>) {
    let (rows, units) = (args.gates.rows(), args.gates.cols());
    assert_eq!(args.gates.groups(), 4, "{} gates, an LSTM has 4", args.gates.groups());
    check_shape("c", [args.c.rows(), args.c.cols()], [rows, units]);
    check_shape("c_prev", [args.c_prev.rows(), args.c_prev.cols()], [rows, units]);
    check_shape("dh", [args.dh.rows(), args.dh.cols()], [rows, units]);
    check_shape("dc", [args.dc.rows(), args.dc.cols()], [rows, units]);
    let _span = profile::enter(Phase::ElementWise);
    let Backward { mut gates, c, c_prev, dh, mut dc } = args;
    let args = Backward { gates: gates.reborrow(), c, c_prev, dh, dc: dc.reborrow() };
    isa.run(generic::Backward { functions, peephole, args });
    spoil(Fault::Lstm, gates);
    spoil(Fault::LstmCarry, dc);
}
