//! The LSTM in f64 and plain loops: the meaning that every kernel is compared with.

pub use crate::cells::reference::{Dims, Gradients, OutputGradients, Parameters};
use crate::cells::reference::{
    View, ViewMut, add_outer_product, add_product, add_product_transposed, before, check_len, input_part,
    input_part_backward, sigmoid,
};

/// What goes into a sequence.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// (T, N, D)
    pub x: &'a [f64],
    /// (N, H): h before the first step.
    pub h0: &'a [f64],
    /// (N, H): c before the first step.
    pub c0: &'a [f64],
}

/// What a forward pass computes, and backward reads.
#[derive(Clone, Debug)]
pub struct Trace {
    /// (T, N, 4 H): the activated gates i, f, g, o.
    pub gates: Vec<f64>,
    /// (T, N, H): c after every step; the last step's is the final c.
    pub c: Vec<f64>,
    /// (T, N, H): the outputs y, which are h after every step; the last step's is the final h.
    pub h: Vec<f64>,
}

/// One cell: from the four pre-activations (i, f, g, o) and the c before to the activated gates, c and h.
pub fn cell(pre: [f64; 4], c_prev: f64) -> ([f64; 4], f64, f64) {
    let [i, f, g, o] = [sigmoid(pre[0]), sigmoid(pre[1]), pre[2].tanh(), sigmoid(pre[3])];
    let c = f * c_prev + i * g;
    ([i, f, g, o], c, o * c.tanh())
}

/// One cell backward: from the activated gates, c, the c before, dh and dc (from later steps) to the gradient of the
/// pre-activations and of the c before.
pub fn cell_backward(gates: [f64; 4], c: f64, c_prev: f64, dh: f64, dc: f64) -> ([f64; 4], f64) {
    let [i, f, g, o] = gates;
    let tanh_c = c.tanh();
    let dc = dc + dh * o * (1.0 - tanh_c * tanh_c);
    let di = dc * g * i * (1.0 - i);
    let df = dc * c_prev * f * (1.0 - f);
    let dg = dc * i * (1.0 - g * g);
    let d_o = dh * tanh_c * o * (1.0 - o);
    ([di, df, dg, d_o], dc * f)
}

/// A whole sequence forward.
///
/// # Panics
///
/// When a slice does not have the size that `dims` asks for; so does [`backward`].
pub fn forward(dims: Dims, parameters: &Parameters<'_>, inputs: &Inputs<'_>) -> Trace {
    parameters.check(dims, 4, 1);
    check_len("h0", inputs.h0, dims.state());
    check_len("c0", inputs.c0, dims.state());
    let (units, width) = (dims.units, 4 * dims.units);
    let recurrent = View::new(parameters.recurrent_kernel, width);
    let mut gates = input_part(dims, width, parameters.kernel, parameters.bias, inputs.x);
    let mut c = vec![0.0; dims.steps * dims.state()];
    let mut h = vec![0.0; dims.steps * dims.state()];
    for t in 0..dims.steps {
        let gates = &mut gates[dims.step(t, width)];
        let h_prev = View::new(before(dims, t, inputs.h0, &h), units);
        add_product(ViewMut::new(gates, width), h_prev, recurrent, dims.rows);
        let c_prev = before(dims, t, inputs.c0, &c).to_vec();
        for n in 0..dims.rows {
            for u in 0..units {
                let (at, to) = (n * units + u, dims.step(t, units).start + n * units + u);
                let pre = std::array::from_fn(|k| gates[n * width + k * units + u]);
                let (activated, c_new, h_new) = cell(pre, c_prev[at]);
                (c[to], h[to]) = (c_new, h_new);
                (0..4).for_each(|k| gates[n * width + k * units + u] = activated[k]);
            }
        }
    }
    Trace { gates, c, h }
}

/// A whole sequence backward: the gradient of everything that went into [`forward`].
pub fn backward(
    dims: Dims,
    parameters: &Parameters<'_>,
    inputs: &Inputs<'_>,
    trace: &Trace,
    outputs: &OutputGradients<'_>,
) -> Gradients {
    parameters.check(dims, 4, 1);
    check_len("dy", outputs.dy, dims.steps * dims.state());
    check_len("dh_last", outputs.dh_last, dims.state());
    check_len("dc_last", outputs.dc_last, dims.state());
    let (units, width) = (dims.units, 4 * dims.units);
    let recurrent = View::new(parameters.recurrent_kernel, width);
    let (mut dh, mut dc) = (outputs.dh_last.to_vec(), outputs.dc_last.to_vec());
    let mut dpre = vec![0.0; dims.steps * dims.rows * width];
    let mut drecurrent = vec![0.0; parameters.recurrent_kernel.len()];
    for t in (0..dims.steps).rev() {
        dh.iter_mut().zip(&outputs.dy[dims.step(t, units)]).for_each(|(dh, &dy)| *dh += dy);
        let (gates, c) = (&trace.gates[dims.step(t, width)], &trace.c[dims.step(t, units)]);
        let c_prev = before(dims, t, inputs.c0, &trace.c);
        let dgates = &mut dpre[dims.step(t, width)];
        for n in 0..dims.rows {
            for u in 0..units {
                let at = n * units + u;
                let activated = std::array::from_fn(|k| gates[n * width + k * units + u]);
                let (d, dc_prev) = cell_backward(activated, c[at], c_prev[at], dh[at], dc[at]);
                dc[at] = dc_prev;
                (0..4).for_each(|k| dgates[n * width + k * units + u] = d[k]);
            }
        }
        dh.fill(0.0);
        let d = View::new(dgates, width);
        add_product_transposed(ViewMut::new(&mut dh, units), d, recurrent, dims.rows);
        let h_prev = View::new(before(dims, t, inputs.h0, &trace.h), units);
        add_outer_product(ViewMut::new(&mut drecurrent, width), h_prev, d, dims.rows);
    }
    let common = input_part_backward(dims, width, parameters.kernel, inputs.x, dpre);
    Gradients { drecurrent_kernel: drecurrent, dh0: dh, dc0: dc, ..common }
}
