//! The simple recurrent cell in f64 and plain loops: the meaning that every kernel is compared with.

use super::Activation;
use crate::activation::reference as function;
pub use crate::cells::reference::{Dims, Gradients, OutputGradients, Parameters};
use crate::cells::reference::{
    View, ViewMut, add_outer_product, add_product, add_product_transposed, before, check_len, input_part,
    input_part_backward,
};

/// What goes into a sequence.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// (T, N, D)
    pub x: &'a [f64],
    /// (N, H): h before the first step.
    pub h0: &'a [f64],
}

/// One cell: h of the pre-activation.
pub fn cell(activation: Activation, pre: f64) -> f64 {
    function::forward(activation, pre)
}

/// One cell backward: the gradient of the pre-activation from h and dh.
pub fn cell_backward(activation: Activation, h: f64, dh: f64) -> f64 {
    function::backward(activation, h, dh)
}

/// A whole sequence forward: the outputs y, which are h after every step, (T, N, H); the last step's is the final h.
///
/// # Panics
///
/// When a slice does not have the size that `dims` asks for; so does [`backward`].
pub fn forward(dims: Dims, activation: Activation, parameters: &Parameters<'_>, inputs: &Inputs<'_>) -> Vec<f64> {
    parameters.check(dims, 1, 1);
    check_len("h0", inputs.h0, dims.state());
    let recurrent = View::new(parameters.recurrent_kernel, dims.units);
    let mut h = input_part(dims, dims.units, parameters.kernel, parameters.bias, inputs.x);
    for t in 0..dims.steps {
        let (done, rest) = h.split_at_mut(t * dims.state());
        let (h_prev, h) = (before(dims, t, inputs.h0, done), &mut rest[..dims.state()]);
        add_product(ViewMut::new(h, dims.units), View::new(h_prev, dims.units), recurrent, dims.rows);
        h.iter_mut().for_each(|h| *h = cell(activation, *h));
    }
    h
}

/// A whole sequence backward: the gradient of everything that went into [`forward`], whose result is `h`.
pub fn backward(
    dims: Dims,
    activation: Activation,
    parameters: &Parameters<'_>,
    inputs: &Inputs<'_>,
    h: &[f64],
    outputs: &OutputGradients<'_>,
) -> Gradients {
    parameters.check(dims, 1, 1);
    check_len("dy", outputs.dy, dims.steps * dims.state());
    check_len("dh_last", outputs.dh_last, dims.state());
    let units = dims.units;
    let recurrent = View::new(parameters.recurrent_kernel, units);
    let mut dh = outputs.dh_last.to_vec();
    let mut dpre = vec![0.0; dims.steps * dims.state()];
    let mut drecurrent = vec![0.0; parameters.recurrent_kernel.len()];
    for t in (0..dims.steps).rev() {
        let step = dims.step(t, units);
        let d = &mut dpre[step.clone()];
        for at in 0..dims.state() {
            d[at] = cell_backward(activation, h[step.start + at], dh[at] + outputs.dy[step.start + at]);
        }
        dh.fill(0.0);
        let d = View::new(d, units);
        add_product_transposed(ViewMut::new(&mut dh, units), d, recurrent, dims.rows);
        let h_prev = View::new(before(dims, t, inputs.h0, h), units);
        add_outer_product(ViewMut::new(&mut drecurrent, units), h_prev, d, dims.rows);
    }
    let common = input_part_backward(dims, units, parameters.kernel, inputs.x, dpre);
    Gradients { drecurrent_kernel: drecurrent, dh0: dh, ..common }
}
