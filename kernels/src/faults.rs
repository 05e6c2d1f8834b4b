//! Faults that a test puts into the kernels' backward passes, to see that a gradient check finds every one of them.
//!
//! They exist only in builds with debug assertions, as tests are; in others they compile to nothing. A fault holds for
//! the whole process, so a test that injects one runs in a process of its own.

use crate::{Element, GroupsMut, MatMut};
#[cfg(debug_assertions)]
use std::sync::atomic::{AtomicUsize, Ordering};

/// The kernel whose backward pass is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Fault {
    /// [`crate::rnn::backward`]
    Rnn = 1,
    /// [`crate::lstm::backward`], the gradient of the gates.
    Lstm,
    /// The same, that of c.
    LstmCarry,
    /// [`crate::gru::backward`], the gradient of the input side's gates.
    Gru,
    /// The same, that of the hidden side's.
    GruHidden,
    /// The same, that of h.
    GruCarry,
    /// [`crate::gru::reset_before::backward_candidate`]
    GruBeforeCandidate,
    /// [`crate::gru::reset_before::backward_gates`], the gradient of the gates.
    GruBeforeGates,
    /// The same, that of h.
    GruBeforeCarry,
    /// [`crate::embedding::sum_by_token`]
    SumByToken,
    /// [`crate::embedding::add_rows`]
    AddRows,
    /// [`crate::softmax::cross_entropy`]
    CrossEntropy,
    /// [`crate::softmax::binary_cross_entropy`]
    BinaryCrossEntropy,
    /// [`crate::activation::backward`]
    Activation,
    /// [`crate::activation::softmax_backward`]
    Softmax,
    /// [`crate::gemm::outer_product`]
    OuterProduct,
    /// [`crate::gemm::direct_product`] by a transpose.
    DirectProduct,
    /// [`crate::rows::add_column_sums`]
    ColumnSums,
    /// [`crate::rows::add_product_sums`]
    ProductSums,
    /// [`crate::layer_norm::backward`]
    LayerNorm,
    /// [`crate::pairs::add_weighted`]
    AddWeighted,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Fault; 21] = [
        Fault::Rnn,
        Fault::Lstm,
        Fault::LstmCarry,
        Fault::Gru,
        Fault::GruHidden,
        Fault::GruCarry,
        Fault::GruBeforeCandidate,
        Fault::GruBeforeGates,
        Fault::GruBeforeCarry,
        Fault::SumByToken,
        Fault::AddRows,
        Fault::CrossEntropy,
        Fault::BinaryCrossEntropy,
        Fault::Activation,
        Fault::Softmax,
        Fault::OuterProduct,
        Fault::DirectProduct,
        Fault::ColumnSums,
        Fault::ProductSums,
        Fault::LayerNorm,
        Fault::AddWeighted,
    ];
}

/// The fault that is injected, 0 for none, and how often it has spoiled something.
#[cfg(debug_assertions)]
static INJECTED: (AtomicUsize, AtomicUsize) = (AtomicUsize::new(0), AtomicUsize::new(0));

/// From now on this kernel's result is wrong by a hundredth, or with `None` every kernel's is right. Returns how often the
/// fault before it has spoiled a result; `None` where this build has no faults.
pub fn inject(fault: Option<Fault>) -> Option<usize> {
    #[cfg(debug_assertions)]
    {
        INJECTED.0.store(fault.map_or(0, |fault| fault as usize), Ordering::SeqCst);
        Some(INJECTED.1.swap(0, Ordering::SeqCst))
    }
    #[cfg(not(debug_assertions))]
    {
        let _none = fault;
        None
    }
}

/// What a kernel has written.
pub(crate) trait Written {
    /// Multiplies everything by a number.
    #[cfg_attr(not(debug_assertions), allow(dead_code, reason = "such a build has no faults"))]
    fn scale(self, by: f32);
}

impl Written for &mut [f32] {
    fn scale(self, by: f32) {
        self.iter_mut().for_each(|x| *x *= by);
    }
}

impl<E: Element> Written for MatMut<'_, E> {
    fn scale(self, by: f32) {
        GroupsMut::from(self).scale(by);
    }
}

impl<E: Element> Written for GroupsMut<'_, E> {
    fn scale(mut self, by: f32) {
        let groups = self.groups();
        for at in 0..self.rows() * groups {
            self.row_mut(at / groups, at % groups).iter_mut().for_each(|x| *x = E::of(x.value() * by));
        }
    }
}

/// Makes the result of a kernel wrong if that is its fault.
#[inline(always)]
pub(crate) fn spoil(fault: Fault, written: impl Written) {
    #[cfg(debug_assertions)]
    if INJECTED.0.load(Ordering::Relaxed) == fault as usize {
        INJECTED.1.fetch_add(1, Ordering::Relaxed);
        written.scale(1.01);
    }
    #[cfg(not(debug_assertions))]
    let _right = (fault, written);
}
