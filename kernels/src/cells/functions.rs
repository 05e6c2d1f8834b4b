//! The functions of a recurrent cell: sigmoid and tanh, inlined into the kernels, and any others by name, chosen once a
//! vector.

use crate::activation::Activation;
use crate::activation::generic::{self, through_sigmoid, through_tanh};
use crate::math::{rough, sigmoid, tanh};
use crate::simd::Simd;

/// The functions of a recurrent cell, in Keras' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Functions {
    /// The function of the candidate and of the output (A in the equations); tanh by default.
    pub activation: Activation,
    /// The function of the gates (R in the equations); sigmoid by default.
    pub recurrent: Activation,
}

impl Default for Functions {
    fn default() -> Self {
        Self { activation: Activation::Tanh, recurrent: Activation::Sigmoid }
    }
}

impl Functions {
    /// Whether they are the defaults, sigmoid and tanh.
    pub fn are_standard(self) -> bool {
        self == Self::default()
    }
}

/// Functions as the vector code uses them: their values, and the gradients through them, computed from the values. The
/// provided methods are those of sigmoid and tanh.
pub(crate) trait Apply: Copy {
    /// Whether the cell is the standard one: sigmoid and tanh, and no peepholes.
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
