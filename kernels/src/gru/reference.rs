//! The GRU in f64 and plain loops, with the reset gate after and before the product: the meaning that every kernel is
//! compared with.

use crate::activation::reference as function;
use crate::cells::Functions;
pub use crate::cells::reference::{Dims, Gradients, OutputGradients, Parameters};
use crate::cells::reference::{
    View, ViewMut, add_column_sums, add_outer_product, add_product, add_product_transposed, before, check_len,
    input_part, input_part_backward,
};

/// Where the reset gate acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// n = tanh(x W_n + b_n + r (h U_n + b'_n)): Keras' `reset_after=True`, cuDNN and PyTorch. The bias is (2, 3 H).
    After,
    /// n = tanh(x W_n + b_n + (r h) U_n): Keras' `reset_after=False`, as Cho et al. wrote it. The bias is (3 H).
    Before,
}

/// What a cell is made of beside its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Where the reset gate acts.
    pub reset: Reset,
    /// Its functions.
    pub functions: Functions,
}

impl From<Reset> for Form {
    fn from(reset: Reset) -> Self {
        Self { reset, functions: Functions::default() }
    }
}

/// What goes into a sequence.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// (T, N, D)
    pub x: &'a [f64],
    /// (N, H): h before the first step.
    pub h0: &'a [f64],
}

/// What a forward pass computes, and backward reads.
#[derive(Clone, Debug)]
pub struct Trace {
    /// (T, N, 3 H): the activated gates z, r, n.
    pub gates: Vec<f64>,
    /// (T, N, H): h U_n + b'_n where the reset gate comes after; r h where it comes before.
    pub hidden: Vec<f64>,
    /// (T, N, H): the outputs y, which are h after every step; the last step's is the final h.
    pub h: Vec<f64>,
}

/// h of the gates z and n and the h before.
pub fn blend(z: f64, n: f64, h_prev: f64) -> f64 {
    z * h_prev + (1.0 - z) * n
}

/// [`blend`] backward: the gradients of the pre-activations of z and n, and of the h before.
pub fn blend_backward(z: f64, n: f64, h_prev: f64, dh: f64) -> (f64, f64, f64) {
    blend_backward_as(Functions::default(), z, n, h_prev, dh)
}

/// The same with any functions.
pub fn blend_backward_as(functions: Functions, z: f64, n: f64, h_prev: f64, dh: f64) -> (f64, f64, f64) {
    let dz = function::backward(functions.recurrent, z, dh * (h_prev - n));
    (dz, function::backward(functions.activation, n, dh * (1.0 - z)), dh * z)
}

/// The parts of the bias: the input's (3 H), and the hidden one (3 H) where the reset gate comes after.
fn biases(reset: Reset, bias: Option<&[f64]>, width: usize) -> (Option<&[f64]>, Option<&[f64]>) {
    match (reset, bias) {
        (_, None) => (None, None),
        (Reset::Before, Some(bias)) => (Some(bias), None),
        (Reset::After, Some(bias)) => (Some(&bias[..width]), Some(&bias[width..])),
    }
}

/// A whole sequence forward.
///
/// # Panics
///
/// When a slice does not have the size that `dims` asks for; so does [`backward`].
pub fn forward(dims: Dims, form: impl Into<Form>, parameters: &Parameters<'_>, inputs: &Inputs<'_>) -> Trace {
    let Form { reset, functions } = form.into();
    parameters.check(dims, 3, if reset == Reset::After { 2 } else { 1 });
    check_len("h0", inputs.h0, dims.state());
    let (units, width) = (dims.units, 3 * dims.units);
    let recurrent = View::new(parameters.recurrent_kernel, width);
    let (bias, recurrent_bias) = biases(reset, parameters.bias, width);
    let mut gates = input_part(dims, width, parameters.kernel, bias, inputs.x);
    let mut hidden = vec![0.0; dims.steps * dims.state()];
    let mut h = vec![0.0; dims.steps * dims.state()];
    for t in 0..dims.steps {
        let step = dims.step(t, units);
        let h_prev = before(dims, t, inputs.h0, &h).to_vec();
        let gates = &mut gates[dims.step(t, width)];
        let hidden = &mut hidden[step.clone()];
        // The hidden side of all three gates; with the reset gate before the product, of z and r.
        let first = if reset == Reset::After { width } else { 2 * units };
        let mut side = recurrent_bias.map_or(vec![0.0; dims.rows * width], |b| b.repeat(dims.rows));
        add_product(
            ViewMut::new(&mut side, width).cols(0, first),
            View::new(&h_prev, units),
            recurrent.cols(0, first),
            dims.rows,
        );
        for n in 0..dims.rows {
            let (gates, side) = (&mut gates[n * width..][..width], &side[n * width..][..width]);
            for u in 0..2 * units {
                gates[u] = function::forward(functions.recurrent, gates[u] + side[u]);
            }
            for u in 0..units {
                let (r, at) = (gates[units + u], n * units + u);
                hidden[at] = if reset == Reset::After { side[2 * units + u] } else { r * h_prev[at] };
                if reset == Reset::After {
                    gates[2 * units + u] += r * hidden[at];
                }
            }
        }
        if reset == Reset::Before {
            add_product(
                ViewMut::new(gates, width).cols(2 * units, units),
                View::new(hidden, units),
                recurrent.cols(2 * units, units),
                dims.rows,
            );
        }
        for n in 0..dims.rows {
            for u in 0..units {
                let at = n * units + u;
                let new = function::forward(functions.activation, gates[n * width + 2 * units + u]);
                gates[n * width + 2 * units + u] = new;
                h[step.start + at] = blend(gates[n * width + u], new, h_prev[at]);
            }
        }
    }
    Trace { gates, hidden, h }
}

/// A whole sequence backward: the gradient of everything that went into [`forward`].
pub fn backward(
    dims: Dims,
    form: impl Into<Form>,
    parameters: &Parameters<'_>,
    inputs: &Inputs<'_>,
    trace: &Trace,
    outputs: &OutputGradients<'_>,
) -> Gradients {
    let Form { reset, functions } = form.into();
    parameters.check(dims, 3, if reset == Reset::After { 2 } else { 1 });
    check_len("dy", outputs.dy, dims.steps * dims.state());
    check_len("dh_last", outputs.dh_last, dims.state());
    let (units, width) = (dims.units, 3 * dims.units);
    let recurrent = View::new(parameters.recurrent_kernel, width);
    let mut dh = outputs.dh_last.to_vec();
    let mut dpre = vec![0.0; dims.steps * dims.rows * width];
    let mut dhidden_bias = vec![0.0; width];
    let mut drecurrent = vec![0.0; parameters.recurrent_kernel.len()];
    for t in (0..dims.steps).rev() {
        let step = dims.step(t, units);
        let (gates, hidden) = (&trace.gates[dims.step(t, width)], &trace.hidden[step.clone()]);
        let h_prev = before(dims, t, inputs.h0, &trace.h);
        let d = &mut dpre[dims.step(t, width)];
        let mut dh_prev = vec![0.0; dims.state()];
        for at in 0..dims.state() {
            let (n, u) = (at / units, at % units);
            let [z, new] = [gates[n * width + u], gates[n * width + 2 * units + u]];
            let dh = dh[at] + outputs.dy[step.start + at];
            let (dz, dn, through) = blend_backward_as(functions, z, new, h_prev[at], dh);
            (d[n * width + u], d[n * width + 2 * units + u], dh_prev[at]) = (dz, dn, through);
        }
        let step = HiddenSide { dims, functions, recurrent, gates, hidden, h_prev };
        match reset {
            Reset::After => step.backward_after(d, &mut dh_prev, &mut drecurrent, &mut dhidden_bias),
            Reset::Before => step.backward_before(d, &mut dh_prev, &mut drecurrent),
        }
        dh = dh_prev;
    }
    let mut common = input_part_backward(dims, width, parameters.kernel, inputs.x, dpre);
    if reset == Reset::After {
        common.dbias.extend_from_slice(&dhidden_bias);
    }
    Gradients { drecurrent_kernel: drecurrent, dh0: dh, ..common }
}

/// What the hidden side of one step backward reads.
struct HiddenSide<'a> {
    dims: Dims,
    functions: Functions,
    recurrent: View<'a>,
    gates: &'a [f64],
    hidden: &'a [f64],
    h_prev: &'a [f64],
}

impl HiddenSide<'_> {
    /// From dz and dn in `d` to dr; adds to the gradients of the h before, of U and of the hidden bias. The product
    /// sees dz, dr and r dn.
    fn backward_after(&self, d: &mut [f64], dh_prev: &mut [f64], drecurrent: &mut [f64], dbias: &mut [f64]) {
        let (rows, units, width) = (self.dims.rows, self.dims.units, 3 * self.dims.units);
        let mut side = d.to_vec();
        for at in 0..self.dims.state() {
            let (n, u) = (at / units, at % units);
            let (r, dn) = (self.gates[n * width + units + u], d[n * width + 2 * units + u]);
            let dr = function::backward(self.functions.recurrent, r, dn * self.hidden[at]);
            (d[n * width + units + u], side[n * width + units + u]) = (dr, dr);
            side[n * width + 2 * units + u] = r * dn;
        }
        let dside = View::new(&side, width);
        add_product_transposed(ViewMut::new(dh_prev, units), dside, self.recurrent, rows);
        add_outer_product(ViewMut::new(drecurrent, width), View::new(self.h_prev, units), dside, rows);
        add_column_sums(dbias, &side);
    }

    /// The same where the reset gate comes before: through n to r h, from there to r and h, then through z and r.
    fn backward_before(&self, d: &mut [f64], dh_prev: &mut [f64], drecurrent: &mut [f64]) {
        let (rows, units, width) = (self.dims.rows, self.dims.units, 3 * self.dims.units);
        let mut dreset_h = vec![0.0; self.dims.state()];
        let dn = View::new(d, width).cols(2 * units, units);
        let to = ViewMut::new(&mut dreset_h, units);
        add_product_transposed(to, dn, self.recurrent.cols(2 * units, units), rows);
        let to = ViewMut::new(drecurrent, width).cols(2 * units, units);
        add_outer_product(to, View::new(self.hidden, units), dn, rows);
        for at in 0..self.dims.state() {
            let (n, u) = (at / units, at % units);
            let r = self.gates[n * width + units + u];
            let dr = dreset_h[at] * self.h_prev[at];
            d[n * width + units + u] = function::backward(self.functions.recurrent, r, dr);
            dh_prev[at] += dreset_h[at] * r;
        }
        let dzr = View::new(d, width).cols(0, 2 * units);
        add_product_transposed(ViewMut::new(dh_prev, units), dzr, self.recurrent.cols(0, 2 * units), rows);
        let to = ViewMut::new(drecurrent, width).cols(0, 2 * units);
        add_outer_product(to, View::new(self.h_prev, units), dzr, rows);
    }
}
