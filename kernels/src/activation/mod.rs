//! Activations of dense layers, in place, and their gradients from the outputs.
//!
//! ```text
//! linear   y = x                     dx = dy
//! tanh     y = tanh x                dx = dy (1 - y^2)
//! relu     y = max(x, 0)             dx = dy where y > 0, else 0
//! sigmoid  y = 1 / (1 + exp(-x))     dx = dy y (1 - y)
//! softmax  y = exp x / sum exp x     dx = y (dy - sum dy y)     (gradient only: see `softmax` for the forward pass)
//! ```
//!
//! Forward errs by at most 2 units in the last place ([`crate::math`]), backward by at most 4 roundings of the largest
//! intermediate value; softmax's gradient by (V + 4) 2^-24 (|y dy| + |y| sum |y dy|).

mod generic;
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
