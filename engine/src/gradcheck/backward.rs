//! The whole graph backward in f64, together with what rounding may do to it.
//!
//! Beside the gradient g, two figures are kept that the tolerances are made of (see `tolerance.rs`):
//!
//! - `sizes`, a tensor beside each gradient: where g = sum over r of x_r d_r, the size is the sum of (|x_r| + its row's
//!   root mean square) (|d_r| + its row's root mean square): what an error relative to each factor can amount to,
//!   however much the sum cancels. An entry that no row reaches has size 0, and so no tolerance.
//! - `noise`: the sum over every operation of the forward pass of (its result times the loss's derivative by it)^2, by
//!   which rounding errors of the loss are estimated.

use super::model::{Model, Params, Step, Value, add, drop, element_wise, recurrent, row};
use crate::graph::{Activation, LayerConfig, Loss, Node, Source};
use crate::layers::Mask;
use unroll_kernels::softmax::IGNORE;
use unroll_kernels::{activation, embedding, gemm};

/// A gradient and what bounds the errors of its comparisons.
pub(super) struct Gradient {
    /// One a parameter tensor.
    pub(super) tensors: Vec<Vec<f64>>,
    /// As `tensors`.
    pub(super) sizes: Vec<Vec<f64>>,
    /// The sum over the operations of the forward pass; see the top of the file.
    pub(super) noise: f64,
}

/// Called with a node and the gradient that it hands to one of its inputs: the place where a test puts a fault.
pub(super) type Flow<'a> = &'a (dyn Fn(usize, &mut [f64]) + Sync);

/// A row-major matrix, and whether its values are exact in any precision (ones and zeros).
#[derive(Clone, Copy)]
struct Rows<'a> {
    data: &'a [f64],
    width: usize,
    exact: bool,
}

impl<'a> Rows<'a> {
    fn new(data: &'a [f64], width: usize) -> Self {
        Self { data, width, exact: false }
    }
    fn rows(self) -> usize {
        self.data.len() / self.width
    }
    fn row(self, r: usize) -> &'a [f64] {
        &self.data[row(r, self.width)]
    }
    /// |x| + the root mean square of its row.
    fn sizes(self) -> Vec<f64> {
        let row = |row: &'a [f64]| {
            let rms = if self.exact { 0.0 } else { (square(row) / self.width as f64).sqrt() };
            row.iter().map(move |x| x.abs() + rms)
        };
        self.data.chunks_exact(self.width).flat_map(row).collect()
    }
    /// The sums of the columns.
    fn column_sums(self) -> Vec<f64> {
        let mut sums = vec![0.0; self.width];
        self.data.chunks_exact(self.width).for_each(|row| add(&mut sums, row));
        sums
    }
}

struct Pass<'a> {
    model: &'a Model<'a>,
    step: &'a Step<'a>,
    params: Params<'a>,
    values: &'a [Value],
    /// The gradient of each node's output.
    dy: Vec<Vec<f64>>,
    result: Gradient,
    flow: Flow<'a>,
}

/// The gradient of the loss of one step.
pub(super) fn backward(
    model: &Model<'_>,
    step: &Step<'_>,
    params: Params<'_>,
    values: &[Value],
    flow: Flow<'_>,
) -> Gradient {
    let zeros = || model.graph.params().iter().map(|p| vec![0.0; p.len()]).collect();
    let mut pass = Pass {
        model,
        step,
        params,
        values,
        dy: values.iter().map(|value| vec![0.0; value.y.len()]).collect(),
        result: Gradient { tensors: zeros(), sizes: zeros(), noise: 0.0 },
        flow,
    };
    let logits = model.graph.logits();
    pass.dy[logits] = model.losses_backward(step, &values[logits].y);
    pass.loss_noise(&values[logits].y);
    for i in (0..=logits).rev() {
        pass.node(i);
    }
    pass.result
}

impl Pass<'_> {
    fn node(&mut self, i: usize) {
        let (model, step) = (self.model, self.step);
        let node = &model.graph.nodes()[i];
        let dy = std::mem::take(&mut self.dy[i]);
        let y = &self.values[i].y[..];
        match &node.config {
            LayerConfig::Embedding(_) => self.embedding(node, &dy),
            LayerConfig::OneHot(_) => {}
            LayerConfig::SimpleRnn(_) | LayerConfig::Lstm(_) | LayerConfig::Gru(_) | LayerConfig::Bidirectional(_) => {
                self.recurrence(i, &dy);
            }
            LayerConfig::Dense(layer) => self.dense(i, model.dense_function(i, layer.activation), &dy),
            LayerConfig::Dropout(layer) => {
                let mut dx = dy;
                drop(&Mask::new(i, layer.rate, node.shape.width()), step.key, &mut dx);
                self.element_noise(y, &dx, 1.0);
                self.give(i, 0, dx);
            }
            LayerConfig::Activation(layer) => {
                let dx = if layer.activation == Activation::Softmax {
                    let width = node.shape.width();
                    let rows = y.chunks_exact(width).zip(dy.chunks_exact(width));
                    rows.flat_map(|(y, dy)| activation::reference::softmax_backward(y, dy)).collect()
                } else {
                    through(element_wise(layer.activation), y, dy)
                };
                // Twice the width for the sum of a softmax's exponentials.
                self.element_noise(y, &dx, 4.0 + 2.0 * node.shape.width() as f64);
                self.give(i, 0, dx);
            }
            LayerConfig::Add(_) => {
                self.element_noise(y, &dy, node.inputs.len() as f64);
                (0..node.inputs.len()).for_each(|k| self.give(i, k, dy.clone()));
            }
            LayerConfig::Concatenate(_) => {
                let (width, mut at) = (node.shape.width(), 0);
                for k in 0..node.inputs.len() {
                    let part = model.width(node.inputs[k]);
                    let columns = at..at + part;
                    at += part;
                    let dx = dy.chunks_exact(width).flat_map(|row| &row[columns.clone()]).copied().collect();
                    self.give(i, k, dx);
                }
            }
            LayerConfig::Reshape(_) => {
                let width = model.width(node.inputs[0]);
                let mut dx = vec![0.0; dy.len()];
                for (block, from) in model.reshape_blocks(node, step).zip(dy.chunks_exact(width)) {
                    dx[row(block, width)].copy_from_slice(from);
                }
                self.give(i, 0, dx);
            }
        }
    }

    /// Adds to the gradient of input `k` of node `i`.
    fn give(&mut self, i: usize, k: usize, mut dx: Vec<f64>) {
        (self.flow)(i, &mut dx);
        if let Source::Node(n) = self.model.graph.nodes()[i].inputs[k] {
            add(&mut self.dy[n], &dx);
        }
    }

    /// What node `i` takes first.
    fn input(&self, i: usize) -> Rows<'_> {
        let source = self.model.graph.nodes()[i].inputs[0];
        let Source::Node(n) = source else { return Rows::new(&[], 1) };
        let exact = matches!(self.model.graph.nodes()[n].config, LayerConfig::OneHot(_));
        Rows { data: &self.values[n].y, width: self.model.width(source), exact }
    }

    fn embedding(&mut self, node: &Node, dy: &[f64]) {
        let (table, width) = (self.model.table(node), node.shape.width());
        let rows = self.result.tensors[table].len() / width;
        let scatter = |d: &[f64]| embedding::reference::project_one_hot_backward(d, self.step.tokens, rows, width);
        let (sum, size) = (scatter(dy), scatter(&Rows::new(dy, width).sizes()));
        add(&mut self.result.tensors[table], &sum);
        add(&mut self.result.sizes[table], &size);
    }

    fn dense(&mut self, i: usize, function: activation::Activation, dy: &[f64]) {
        let node = &self.model.graph.nodes()[i];
        let Some(tensors) = self.model.dense_tensors(node) else { return };
        let dz = through(function, &self.values[i].y, dy.to_vec());
        let x = self.input(i);
        let (x, width, exact) = (x.data.to_vec(), x.width, x.exact);
        let (x, dz) = (Rows { data: &x, width, exact }, Rows::new(&dz, node.shape.width()));
        let shape = [x.width, x.rows(), dz.width];
        let kernel = self.params.get(tensors.kernel);
        let mut dx = vec![0.0; x.data.len()];
        let (dkernel, size) = (&mut self.result.tensors[tensors.kernel], &mut self.result.sizes[tensors.kernel]);
        if tensors.tied {
            let shape = [dz.width, x.rows(), x.width];
            gemm::reference::outer_product(shape, dz.data, x.data, dkernel);
            gemm::reference::outer_product(shape, &dz.sizes(), &x.sizes(), size);
            gemm::reference::product([x.rows(), dz.width, x.width], dz.data, kernel, &mut dx);
        } else {
            gemm::reference::outer_product(shape, x.data, dz.data, dkernel);
            gemm::reference::outer_product(shape, &x.sizes(), &dz.sizes(), size);
            gemm::reference::transposed_product([x.rows(), dz.width, x.width], dz.data, kernel, &mut dx);
        }
        if let Some(bias) = tensors.bias {
            add(&mut self.result.tensors[bias], &dz.column_sums());
            add(&mut self.result.sizes[bias], &Rows::new(&dz.sizes(), dz.width).column_sums());
        }
        let bias = tensors.bias.map_or(&[][..], |b| self.params.get(b));
        // The function itself rounds a few times more.
        self.product_noise(dz, &[(x, kernel)], bias, 4.0);
        self.give(i, 0, dx);
    }

    fn recurrence(&mut self, i: usize, dy: &[f64]) {
        let Some((_, options, _)) = recurrent(&self.model.graph.nodes()[i].config) else { return };
        let node = &self.model.graph.nodes()[i];
        let directions = self.model.directions(i, self.step, self.params);
        let (units, joint) = (options.units, node.shape.width());
        let inputs = self.input(i);
        let (width, exact, mut dx_all) = (inputs.width, inputs.exact, vec![0.0; inputs.data.len()]);
        for (d, (direction, tensors)) in directions.iter().zip(self.model.cell_tensors(node)).enumerate() {
            let trace = &self.values[i].traces[d];
            let own: Vec<f64> = dy.chunks_exact(joint).flat_map(|row| &row[d * units..][..units]).copied().collect();
            let own = if options.return_sequences {
                direction.in_order(&own).into_owned()
            } else {
                // Only the step that was read last is an output.
                let mut all = vec![0.0; trace.h().len() - own.len()];
                all.extend_from_slice(&own);
                all
            };
            let x = direction.in_order(self.input(i).data).into_owned();
            let gradients = direction.backward(&x, trace, &own);
            add(&mut dx_all, &direction.in_order(&gradients.dx));

            let before = direction.h_before(trace);
            let dpre = Rows::new(&gradients.dpre, self.params.get(tensors.kernel).len() / width);
            let (x, h) = (Rows { data: &x, width, exact }, Rows::new(&before, units));
            let result = &mut self.result;
            add(&mut result.tensors[tensors.kernel], &gradients.dkernel);
            add(&mut result.tensors[tensors.recurrent_kernel], &gradients.drecurrent_kernel);
            let outer = |x: Rows<'_>, size: &mut [f64]| {
                let shape = [x.width, x.rows(), dpre.width];
                gemm::reference::outer_product(shape, &x.sizes(), &dpre.sizes(), size);
            };
            outer(x, &mut result.sizes[tensors.kernel]);
            outer(h, &mut result.sizes[tensors.recurrent_kernel]);
            for bias in [tensors.bias, tensors.recurrent_bias].into_iter().flatten() {
                add(&mut result.tensors[bias], &gradients.dbias);
                // A second bias, that of the hidden side, sees gradients that the reset gate makes smaller at most.
                let size = Rows::new(&dpre.sizes(), dpre.width).column_sums();
                result.sizes[bias].chunks_exact_mut(dpre.width).for_each(|part| add(part, &size));
            }
            let p = direction.parameters();
            // A cell's element-wise part is counted as sixteen roundings.
            self.product_noise(dpre, &[(x, p.kernel), (h, p.recurrent_kernel)], p.bias.unwrap_or(&[]), 16.0);
        }
        self.give(i, 0, dx_all);
    }

    /// Notes the operations of z = sum of products + bias, from the gradient of z, and `more` operations beside them:
    /// no partial sum exceeds the sum of |x| max |w|, and products with zeros round nothing.
    fn product_noise(&mut self, dz: Rows<'_>, products: &[(Rows<'_>, &[f64])], bias: &[f64], more: f64) {
        let largest = |w: &[f64]| w.iter().fold(0.0, |max: f64, w| max.max(w.abs()));
        let bias = largest(bias);
        let weights: Vec<f64> = products.iter().map(|(_, w)| largest(w)).collect();
        for r in 0..dz.rows() {
            let (mut size, mut operations) = (1.0 + bias, 2.0 + more);
            for ((x, _), weight) in products.iter().zip(&weights) {
                size += x.row(r).iter().map(|x| x.abs()).sum::<f64>() * weight;
                operations += 2.0 * x.row(r).iter().filter(|&&x| x != 0.0).count() as f64;
            }
            self.result.noise += operations * size * size * square(dz.row(r));
        }
    }

    /// Notes `operations` operations an element of results `y`.
    fn element_noise(&mut self, y: &[f64], dx: &[f64], operations: f64) {
        let largest = y.iter().fold(1.0, |max: f64, y| max.max(y.abs()));
        self.result.noise += operations * largest * largest * square(dx);
    }

    /// Notes the operations of the loss.
    fn loss_noise(&mut self, logits: &[f64]) {
        let factor = self.model.factor(self.step);
        let width = match self.model.graph.config().loss {
            Loss::CrossEntropy => logits.len() / self.step.targets.len(),
            Loss::BinaryCrossEntropy => 1,
        };
        let mut total = 0.0;
        for (logits, &target) in logits.chunks_exact(width).zip(self.step.targets) {
            if target != IGNORE {
                // Each exponential and each partial sum is at most the whole sum; eight more operations on logits.
                let largest = logits.iter().fold(1.0, |max: f64, z| max.max(z.abs()));
                self.result.noise += factor * factor * (2.0 * width as f64 + 8.0 * largest * largest);
                total += factor * (largest + (width as f64).ln());
            }
        }
        self.result.noise += (self.step.targets.len() as f64 + 1.0) * total * total;
    }
}

/// Through an element-wise function, from its output.
fn through(function: activation::Activation, y: &[f64], dy: Vec<f64>) -> Vec<f64> {
    dy.into_iter().zip(y).map(|(dy, &y)| activation::reference::backward(function, y, dy)).collect()
}

/// The sum of squares.
fn square(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum()
}
