//! Activations of dense layers, in place, and their gradients from the outputs.
//!
//! ```text
//! linear        y = x                        dx = dy
//! tanh          y = tanh x                   dx = dy (1 - y^2)
//! relu          y = max(x, 0)                dx = dy where y > 0, else 0
//! sigmoid       y = 1 / (1 + exp(-x))        dx = dy y (1 - y)
//! hard_sigmoid  y = x/5 + 1/2 within 0..1    dx = dy / 5 where 0 < y < 1, else 0
//! hard_sigmoid_6  y = x/6 + 1/2 within 0..1    dx = dy / 6 where 0 < y < 1, else 0
//! softsign      y = x / (1 + |x|)            dx = dy (1 - |y|)^2
//! softmax       y = exp x / sum exp x        dx = y (dy - sum dy y)     (gradient only: see `softmax` for the forward pass)
//! ```
//!
//! The hard sigmoid with 1/5 is that of Theano, Keras 1 and 2, TensorFlow.js and ONNX' default; Keras 3 and PyTorch
//! have 1/6.
//!
//! # Error
//!
//! Forward at most 2 units in the last place ([`crate::math`]), the hard sigmoids at most 2^-23; backward at most 4
//! roundings of the largest intermediate value; softmax's gradient at most (V + 4) 2^-24 (|y dy| + |y| sum |y dy|).

pub(crate) mod generic;
pub mod reference;
#[cfg(test)]
mod tests;

use crate::faults::{Fault, spoil};
use crate::{Isa, Mat, MatMut};

/// An element-wise function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x
    Linear,
    /// The hyperbolic tangent.
    Tanh,
    /// max(x, 0)
    Relu,
    /// 1 / (1 + exp(-x))
    Sigmoid,
    /// x / 5 + 1/2, clamped to 0..1
    HardSigmoid,
    /// x / 6 + 1/2, clamped to 0..1
    HardSigmoid6,
    /// x / (1 + |x|)
    Softsign,
}

impl Activation {
    /// Every function.
    pub const ALL: [Self; 7] =
        [Self::Linear, Self::Tanh, Self::Relu, Self::Sigmoid, Self::HardSigmoid, Self::HardSigmoid6, Self::Softsign];

    /// Whether the first or second derivative of the function jumps somewhere (relu at 0; softsign's second at 0). Numeric
    /// differences across such a kink are less accurate than elsewhere.
    pub fn has_kink(self) -> bool {
        matches!(self, Self::Relu | Self::HardSigmoid | Self::HardSigmoid6 | Self::Softsign)
    }
}

/// Applies the function to every element of `x` (any shape).
pub fn forward(isa: Isa, function: Activation, x: MatMut<'_>) {
    if function != Activation::Linear {
        isa.run(generic::Forward { function, x });
    }
}

/// Turns the gradient `dy` of the outputs `y` into that of the inputs, in place.
///
/// # Panics
///
/// When the shapes differ.
#[track_caller]
pub fn backward(isa: Isa, function: Activation, y: Mat<'_>, mut dy: MatMut<'_>) {
    assert_eq!((y.rows(), y.cols()), (dy.rows(), dy.cols()), "outputs and gradient of different shapes");
    if function != Activation::Linear {
        isa.run(generic::Backward { function, y, dy: dy.reborrow() });
        spoil(Fault::Activation, dy);
    }
}

/// Turns the gradient `dy` of a softmax's outputs `y`, row by row, into that of its inputs, in place.
///
/// # Panics
///
/// When the shapes differ.
#[track_caller]
pub fn softmax_backward(isa: Isa, y: Mat<'_>, mut dy: MatMut<'_>) {
    assert_eq!((y.rows(), y.cols()), (dy.rows(), dy.cols()), "outputs and gradient of different shapes");
    isa.run(generic::SoftmaxBackward { y, dy: dy.reborrow() });
    spoil(Fault::Softmax, dy);
}
