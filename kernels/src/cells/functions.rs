//! The functions of a cell: those that every cell has unless said otherwise, inlined where they stand, and any others
//! by name, chosen a vector at a time.

use crate::activation::Activation;
use crate::activation::generic::{self, through_sigmoid, through_tanh};
use crate::math::{rough, sigmoid, tanh};
use crate::simd::Simd;

/// The functions of a recurrent cell, in Keras' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Functions {
    /// Of what is remembered and of the output (A in the equations): tanh unless said otherwise.
    pub activation: Activation,
    /// Of the gates (R in the equations): sigmoid unless said otherwise.
    pub recurrent: Activation,
}

impl Default for Functions {
    fn default() -> Self {
        Self { activation: Activation::Tanh, recurrent: Activation::Sigmoid }
    }
}

impl Functions {
    /// Whether they are the usual ones.
    pub fn are_standard(self) -> bool {
        self == Self::default()
    }
}

/// Functions as a vector body uses them: values, and gradients through them from their values, those of sigmoid and tanh
/// unless another function says otherwise.
pub(crate) trait Apply: Copy {
    /// Whether the cell has nothing but the usual functions: no peepholes either.
    const PLAIN: bool;
    fn gate<S: Simd>(self, s: S, x: S::F32) -> S::F32;
    fn activation<S: Simd>(self, s: S, x: S::F32) -> S::F32;
    #[inline(always)]
    fn through_gate<S: Simd>(self, s: S, d: S::F32, y: S::F32) -> S::F32 {
        through_sigmoid(s, d, y)
    }
    #[inline(always)]
    fn through_activation<S: Simd>(self, s: S, d: S::F32, y: S::F32) -> S::F32 {
        through_tanh(s, d, y)
    }
}

/// Sigmoid and tanh.
#[derive(Clone, Copy)]
pub(crate) struct Standard;

impl Apply for Standard {
    const PLAIN: bool = true;

    #[inline(always)]
    fn gate<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        sigmoid(s, x)
    }
    #[inline(always)]
    fn activation<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        tanh(s, x)
    }
}

/// Sigmoid and tanh for a forward step in bf16. Their gradients are computed like the exact functions', from the values alone.
#[derive(Clone, Copy)]
pub(crate) struct Rough;

impl Apply for Rough {
    const PLAIN: bool = true;

    #[inline(always)]
    fn gate<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        rough::sigmoid(s, x)
    }
    #[inline(always)]
    fn activation<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        rough::tanh(s, x)
    }
}

impl Apply for Functions {
    const PLAIN: bool = false;

    #[inline(always)]
    fn gate<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        generic::value(s, self.recurrent, x)
    }
    #[inline(always)]
    fn through_gate<S: Simd>(self, s: S, d: S::F32, y: S::F32) -> S::F32 {
        generic::through(s, self.recurrent, d, y)
    }
    #[inline(always)]
    fn activation<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        generic::value(s, self.activation, x)
    }
    #[inline(always)]
    fn through_activation<S: Simd>(self, s: S, d: S::F32, y: S::F32) -> S::F32 {
        generic::through(s, self.activation, d, y)
    }
}
