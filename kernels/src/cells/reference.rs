//! What the f64 references of the recurrent cells share: sizes, parameters, gradients, and three plain products.

/// The sizes of one sequence through one recurrent layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dims {
    /// T: time steps.
    pub steps: usize,
    /// N: rows of the batch.
    pub rows: usize,
    /// D: inputs of the layer.
    pub inputs: usize,
    /// H: hidden units.
    pub units: usize,
}

impl Dims {
    /// N H: elements of one state.
    pub fn state(self) -> usize {
        self.rows * self.units
    }

    /// The elements of step `t` in an array of `width` columns, (T, N, width).
    pub(crate) fn step(self, t: usize, width: usize) -> std::ops::Range<usize> {
        t * self.rows * width..(t + 1) * self.rows * width
    }
}

/// The parameters of a recurrent layer of G gates, as Keras stores them.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    /// W: (D, G H).
    pub kernel: &'a [f64],
    /// U: (H, G H).
    pub recurrent_kernel: &'a [f64],
    /// b: (G H); for the GRU with the reset gate after the product (2, G H), the input's bias and then the hidden
    /// one. Zero if there is none.
    pub bias: Option<&'a [f64]>,
}

impl Parameters<'_> {
    #[track_caller]
    pub(crate) fn check(&self, dims: Dims, gates: usize, biases: usize) {
        let width = gates * dims.units;
        check_len("kernel", self.kernel, dims.inputs * width);
        check_len("recurrent_kernel", self.recurrent_kernel, dims.units * width);
        if let Some(bias) = self.bias {
            check_len("bias", bias, biases * width);
        }
    }
}

/// The gradient of a loss with respect to the outputs of a layer.
#[derive(Clone, Copy, Debug)]
pub struct OutputGradients<'a> {
    /// (T, N, H): of every step's output, not counting what comes back through later steps.
    pub dy: &'a [f64],
    /// (N, H): of the final h, added to that of the last output.
    pub dh_last: &'a [f64],
    /// (N, H): of the final c; empty for cells without one.
    pub dc_last: &'a [f64],
}

/// The gradient of a loss with respect to everything that went into a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// (T, N, D)
    pub dx: Vec<f64>,
    /// (T, N, G H): of x W + b.
    pub dpre: Vec<f64>,
    /// (D, G H)
    pub dkernel: Vec<f64>,
    /// (H, G H)
    pub drecurrent_kernel: Vec<f64>,
    /// As the bias.
    pub dbias: Vec<f64>,
    /// (3, H): of an LSTM's peepholes; empty for other cells.
    pub dpeephole: Vec<f64>,
    /// (N, H)
    pub dh0: Vec<f64>,
    /// (N, H); empty for cells without c.
    pub dc0: Vec<f64>,
}

#[track_caller]
pub(crate) fn check_len(name: &str, data: &[f64], want: usize) {
    assert_eq!(data.len(), want, "{name} has {} elements, the sizes ask for {want}", data.len());
}

/// 1 / (1 + e^-x)
pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Some columns of a row-major matrix that is read.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    data: &'a [f64],
    stride: usize,
    cols: usize,
}

impl<'a> View<'a> {
    /// A matrix of `cols` columns.
    pub(crate) fn new(data: &'a [f64], cols: usize) -> Self {
        Self { data, stride: cols, cols }
    }

    /// Columns `from..from + cols` of it.
    pub(crate) fn cols(self, from: usize, cols: usize) -> Self {
        Self { data: &self.data[from..], stride: self.stride, cols }
    }

    fn row(self, r: usize) -> &'a [f64] {
        &self.data[r * self.stride..][..self.cols]
    }
}

/// Some columns of a row-major matrix that is written.
pub(crate) struct ViewMut<'a> {
    data: &'a mut [f64],
    stride: usize,
    cols: usize,
}

impl<'a> ViewMut<'a> {
    /// A matrix of `cols` columns.
    pub(crate) fn new(data: &'a mut [f64], cols: usize) -> Self {
        Self { data, stride: cols, cols }
    }

    /// Columns `from..from + cols` of it.
    pub(crate) fn cols(self, from: usize, cols: usize) -> Self {
        Self { data: &mut self.data[from..], stride: self.stride, cols }
    }

    fn row(&mut self, r: usize) -> &mut [f64] {
        &mut self.data[r * self.stride..][..self.cols]
    }
}

/// C += A B for `rows` rows of A and C. A row of B serves all rows of A before the next one is read.
pub(crate) fn add_product(mut c: ViewMut<'_>, a: View<'_>, b: View<'_>, rows: usize) {
    for k in 0..a.cols {
        let b = b.row(k);
        for r in 0..rows {
            let a = a.row(r)[k];
            c.row(r).iter_mut().zip(b).for_each(|(c, &b)| *c += a * b);
        }
    }
}

/// C += A B^T for `rows` rows of A and C.
pub(crate) fn add_product_transposed(mut c: ViewMut<'_>, a: View<'_>, b: View<'_>, rows: usize) {
    for r in 0..rows {
        for (k, c) in c.row(r).iter_mut().enumerate() {
            *c += a.row(r).iter().zip(b.row(k)).map(|(&a, &b)| a * b).sum::<f64>();
        }
    }
}

/// C += A^T B for `rows` rows of A and B.
pub(crate) fn add_outer_product(mut c: ViewMut<'_>, a: View<'_>, b: View<'_>, rows: usize) {
    for r in 0..rows {
        for (k, &a) in a.row(r).iter().enumerate() {
            c.row(k).iter_mut().zip(b.row(r)).for_each(|(c, &b)| *c += a * b);
        }
    }
}

/// x W + b for all steps, (T, N, width). `x` is (T, N, D), W (D, width).
pub(crate) fn input_part(dims: Dims, width: usize, kernel: &[f64], bias: Option<&[f64]>, x: &[f64]) -> Vec<f64> {
    check_len("x", x, dims.steps * dims.rows * dims.inputs);
    let rows = dims.steps * dims.rows;
    let mut pre = match bias {
        Some(bias) => bias.repeat(rows),
        None => vec![0.0; rows * width],
    };
    add_product(ViewMut::new(&mut pre, width), View::new(x, dims.inputs), View::new(kernel, width), rows);
    pre
}

/// The gradient of x W + b carried on to x, W and b: the part of [`Gradients`] that every cell has in common. Leaves
/// the hidden side's empty.
pub(crate) fn input_part_backward(dims: Dims, width: usize, kernel: &[f64], x: &[f64], dpre: Vec<f64>) -> Gradients {
    let rows = dims.steps * dims.rows;
    let mut dx = vec![0.0; x.len()];
    let mut dkernel = vec![0.0; kernel.len()];
    let mut dbias = vec![0.0; width];
    let d = View::new(&dpre, width);
    add_product_transposed(ViewMut::new(&mut dx, dims.inputs), d, View::new(kernel, width), rows);
    add_outer_product(ViewMut::new(&mut dkernel, width), View::new(x, dims.inputs), d, rows);
    add_column_sums(&mut dbias, &dpre);
    let empty = || Vec::new();
    let (drecurrent_kernel, dpeephole, dh0, dc0) = (empty(), empty(), empty(), empty());
    Gradients { dx, dpre, dkernel, drecurrent_kernel, dbias, dpeephole, dh0, dc0 }
}

/// sums += the sum of each column of `rows`.
pub(crate) fn add_column_sums(sums: &mut [f64], rows: &[f64]) {
    for row in rows.chunks_exact(sums.len().max(1)) {
        sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
    }
}

/// The state before step `t`: the initial one, or step t - 1 of `states` (T, N, H).
pub(crate) fn before<'a>(dims: Dims, t: usize, initial: &'a [f64], states: &'a [f64]) -> &'a [f64] {
    if t == 0 { initial } else { &states[dims.step(t - 1, dims.units)] }
}
