//! The activations in f64.

use super::Activation;

/// The function's value at `x`.
pub fn forward(function: Activation, x: f64) -> f64 {
    match function {
        Activation::Linear => x,
        Activation::Tanh => x.tanh(),
        Activation::Relu => x.max(0.0),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::HardSigmoid => (x / 5.0 + 0.5).clamp(0.0, 1.0),
        Activation::HardSigmoid6 => (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Activation::Softsign => x / (1.0 + x.abs()),
    }
}

/// The gradient of the input, from the output `y` and its gradient.
pub fn backward(function: Activation, y: f64, dy: f64) -> f64 {
    match function {
        Activation::Linear => dy,
        Activation::Tanh => dy * (1.0 - y * y),
        Activation::Relu => {
            if y > 0.0 {
                dy
            } else {
                0.0
            }
        }
        Activation::Sigmoid => dy * y * (1.0 - y),
        Activation::HardSigmoid if 0.0 < y && y < 1.0 => dy / 5.0,
        Activation::HardSigmoid6 if 0.0 < y && y < 1.0 => dy / 6.0,
        Activation::HardSigmoid | Activation::HardSigmoid6 => 0.0,
        Activation::Softsign => dy * (1.0 - y.abs()).powi(2),
    }
}

/// The gradient of a softmax's inputs, from a row of outputs and their gradient.
pub fn softmax_backward(y: &[f64], dy: &[f64]) -> Vec<f64> {
    let inner: f64 = y.iter().zip(dy).map(|(y, dy)| y * dy).sum();
    y.iter().zip(dy).map(|(y, dy)| y * (dy - inner)).collect()
}
