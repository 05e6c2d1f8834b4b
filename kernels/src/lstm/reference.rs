//! The LSTM in f64 and plain loops: the meaning that every kernel is compared with.

use crate::activation::reference as function;
use crate::cells::Functions;
pub use crate::cells::reference::{Dims, Gradients, OutputGradients, Parameters};
use crate::cells::reference::{
    View, ViewMut, add_outer_product, add_product, add_product_transposed, before, check_len, input_part,
    input_part_backward,
};

/// What a cell is made of beside its weights.
#[derive(Clone, Copy, Debug, Default)]
pub struct Form<'a> {
    /// Its functions.
    pub functions: Functions,
    /// p: (3, H), of i, f and o, if it has peepholes.
    pub peephole: Option<&'a [f64]>,
}

impl Form<'_> {
    /// Those of one unit.
    fn peephole(&self, u: usize) -> [f64; 3] {
        self.peephole.map_or([0.0; 3], |p| std::array::from_fn(|k| p[k * p.len() / 3 + u]))
    }
}

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
    cell_as(Functions::default(), [0.0; 3], pre, c_prev)
}

/// The same with any functions and peepholes (of i, f, o).
pub fn cell_as(functions: Functions, peephole: [f64; 3], pre: [f64; 4], c_prev: f64) -> ([f64; 4], f64, f64) {
    let gate = |x| function::forward(functions.recurrent, x);
    let activation = |x| function::forward(functions.activation, x);
    let (i, f) = (gate(pre[0] + peephole[0] * c_prev), gate(pre[1] + peephole[1] * c_prev));
    let g = activation(pre[2]);
    let c = f * c_prev + i * g;
    let o = gate(pre[3] + peephole[2] * c);
    ([i, f, g, o], c, o * activation(c))
}

/// One cell backward: from the activated gates, c, the c before, dh and dc (from later steps) to the gradient of the
/// pre-activations and of the c before.
pub fn cell_backward(gates: [f64; 4], c: f64, c_prev: f64, dh: f64, dc: f64) -> ([f64; 4], f64) {
    cell_backward_as((Functions::default(), [0.0; 3]), gates, [c_prev, c], [dh, dc])
}

/// The same with any functions and peepholes (of i, f, o); `cs` are the c before and after, `d` dh and dc.
pub fn cell_backward_as(
    (functions, peephole): (Functions, [f64; 3]),
    gates: [f64; 4],
    cs: [f64; 2],
    d: [f64; 2],
) -> ([f64; 4], f64) {
    let through_gate = |y, d| function::backward(functions.recurrent, y, d);
    let through_activation = |y, d| function::backward(functions.activation, y, d);
    let ([i, f, g, o], [c_prev, c], [dh, dc]) = (gates, cs, d);
    let act_c = function::forward(functions.activation, c);
    let d_o = through_gate(o, dh * act_c);
    let dc = dc + through_activation(act_c, dh * o) + d_o * peephole[2];
    let (di, df) = (through_gate(i, dc * g), through_gate(f, dc * c_prev));
    let dg = through_activation(g, dc * i);
    ([di, df, dg, d_o], dc * f + di * peephole[0] + df * peephole[1])
}

/// A whole sequence forward.
///
/// # Panics
///
/// When a slice does not have the size that `dims` asks for; so does [`backward`].
pub fn forward(dims: Dims, parameters: &Parameters<'_>, inputs: &Inputs<'_>) -> Trace {
    forward_as((dims, Form::default()), parameters, inputs)
}

/// The same for a cell of any form.
///
/// # Panics
///
/// As [`forward`].
pub fn forward_as((dims, form): (Dims, Form<'_>), parameters: &Parameters<'_>, inputs: &Inputs<'_>) -> Trace {
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
                let (activated, c_new, h_new) = cell_as(form.functions, form.peephole(u), pre, c_prev[at]);
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
    backward_as((dims, Form::default()), parameters, inputs, trace, outputs)
}

/// The same for a cell of any form.
///
/// # Panics
///
/// As [`forward`].
pub fn backward_as(
    (dims, form): (Dims, Form<'_>),
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
    let mut dpeephole = vec![0.0; 3 * units];
    for t in (0..dims.steps).rev() {
        dh.iter_mut().zip(&outputs.dy[dims.step(t, units)]).for_each(|(dh, &dy)| *dh += dy);
        let (gates, c) = (&trace.gates[dims.step(t, width)], &trace.c[dims.step(t, units)]);
        let c_prev = before(dims, t, inputs.c0, &trace.c);
        let dgates = &mut dpre[dims.step(t, width)];
        for n in 0..dims.rows {
            for u in 0..units {
                let at = n * units + u;
                let activated = std::array::from_fn(|k| gates[n * width + k * units + u]);
                let what = (form.functions, form.peephole(u));
                let (d, dc_prev) = cell_backward_as(what, activated, [c_prev[at], c[at]], [dh[at], dc[at]]);
                dc[at] = dc_prev;
                for (k, seen) in [(0, c_prev[at]), (1, c_prev[at]), (3, c[at])] {
                    dpeephole[k.min(2) * units + u] += d[k] * seen;
                }
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
    Gradients { drecurrent_kernel: drecurrent, dpeephole, dh0: dh, dc0: dc, ..common }
}
