//! The backward pass of the whole graph in f64, and what rounding may do to its results.
//!
//! Beside the gradient it keeps the two figures from which `tolerance.rs` makes tolerances:
//!
//! - `sizes`, a tensor beside each gradient. A gradient is the sum over r of x_r d_r; its size is the sum of the
//!   products of their sizes, however much the sum itself cancels. An entry that no row reaches has size 0, and so no
//!   tolerance.
//! - `noise`, the sum over all operations of the forward pass of (the operation's result times the derivative of the
//!   loss with respect to it)^2, from which rounding errors of the loss are estimated.

mod noise;
mod recurrence;
mod words;

use super::drops::{drop, drop_words, dropout};
use super::model::{Model, Params, Step, Value, add, element_wise, row};
use super::recurrent::Carried;
use super::sizes::{mean_square, normal_sizes, sizes, softmax, square, squares};
use crate::graph::{Activation, LayerConfig, Node, Source};
use crate::layers::Mask;
use recurrence::no_states;
use unroll_kernels::{activation, embedding, gemm, layer_norm};

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

/// A row-major matrix.
#[derive(Clone, Copy)]
struct Rows<'a> {
    data: &'a [f64],
    width: usize,
}

impl<'a> Rows<'a> {
    fn new(data: &'a [f64], width: usize) -> Self {
        Self { data, width }
    }
    fn rows(self) -> usize {
        self.data.len() / self.width
    }
    fn row(self, r: usize) -> &'a [f64] {
        &self.data[row(r, self.width)]
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
    /// As the node sees it that is passed.
    step: Step<'a>,
    params: Params<'a>,
    values: &'a [Value],
    /// The sizes of each node's values.
    value_sizes: Vec<Vec<f64>>,
    /// The gradient of each node's output, and its sizes.
    dy: Vec<(Vec<f64>, Vec<f64>)>,
    /// Of a recurrent node: the gradient of each direction's final state, and its sizes.
    after: Vec<Vec<[Carried; 2]>>,
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
        step: *step,
        params,
        values,
        value_sizes: sizes(model, step, params, values),
        dy: values.iter().map(|value| (vec![0.0; value.y.len()], vec![0.0; value.y.len()])).collect(),
        after: model.graph.nodes().iter().map(|node| no_states(node, step.rows)).collect(),
        result: Gradient { tensors: zeros(), sizes: zeros(), noise: 0.0 },
        flow,
    };
    for scored in model.scored(step) {
        let logits = scored.output.logits();
        if scored.is_word_head() {
            let (dx, dx_size) = pass.decide(&scored, logits);
            add(&mut pass.dy[logits].0, &dx);
            add(&mut pass.dy[logits].1, &dx_size);
            continue;
        }
        let dlogits = scored.losses_backward(&values[logits].y);
        let dsizes = scored.gradient_sizes(&dlogits, &pass.value_sizes[logits]);
        add(&mut pass.dy[logits].0, &dlogits);
        add(&mut pass.dy[logits].1, &dsizes);
        pass.loss_noise(&scored, &values[logits].y);
    }
    for i in (0..values.len()).rev().filter(|&i| !model.graph.is_bare(i)) {
        pass.node(i);
    }
    pass.result
}

impl Pass<'_> {
    fn node(&mut self, i: usize) {
        let model = self.model;
        let node = &model.graph.nodes()[i];
        self.step = self.step.on(node.axis);
        let step = self.step;
        let step = &step;
        let (dy, size) = std::mem::take(&mut self.dy[i]);
        let y = &self.values[i].y[..];
        let width = node.shape.width();
        match &node.config {
            LayerConfig::Embedding(layer) => {
                let (mut dy, mut size) = (dy, size);
                let mask = Mask::new(i, layer.dropout, 1);
                drop_words(&mask, step, &mut dy);
                drop_words(&mask, step, &mut size);
                self.embedding(node, &dy, &size);
            }
            LayerConfig::Input(_) | LayerConfig::OneHot(_) | LayerConfig::TimeDistributed(_) => {}
            LayerConfig::SimpleRnn(_) | LayerConfig::Lstm(_) | LayerConfig::Gru(_) | LayerConfig::Bidirectional(_) => {
                self.recurrence(i, &dy, &size);
            }
            LayerConfig::Dense(_) if model.is_word_head(i) => self.give(i, 0, dy, size),
            LayerConfig::Dense(layer) => self.dense(i, model.dense_function(i, layer.activation), (&dy, &size)),
            LayerConfig::Dropout(layer) => {
                let (mut dx, mut size) = (dy, size);
                let mask = dropout(i, layer, width);
                drop(&mask, step, &mut dx);
                drop(&mask, step, &mut size);
                self.element_noise(y, &dx, 1.0);
                self.give(i, 0, dx, size);
            }
            LayerConfig::LayerNormalization(_) => self.normalization(i, &dy, &size),
            LayerConfig::ActivationRegularization(_) => self.regularization(i, (dy, size)),
            LayerConfig::Masking(_) => self.give(i, 0, dy, size),
            LayerConfig::Part(part) => self.part(i, *part, (dy, size)),
            LayerConfig::Activation(layer) => self.activation(i, layer.activation, (&dy, &size)),
            LayerConfig::Add(_) => {
                self.element_noise(y, &dy, node.inputs.len() as f64);
                (0..node.inputs.len()).for_each(|k| self.give(i, k, dy.clone(), size.clone()));
            }
            LayerConfig::Concatenate(_) => self.concatenation(i, (&dy, &size)),
            LayerConfig::RepeatVector(_) => {
                let of = |d: &[f64]| {
                    let mut sum = vec![0.0; step.rows * width];
                    d.chunks_exact(sum.len()).for_each(|step| add(&mut sum, step));
                    sum
                };
                self.give(i, 0, of(&dy), of(&size));
            }
            LayerConfig::Reshape(_) => {
                let width = model.width(node.inputs[0]);
                let of = |y: &[f64]| {
                    let mut x = vec![0.0; y.len()];
                    for (block, from) in model.reshape_blocks(node, step).zip(y.chunks_exact(width)) {
                        x[row(block, width)].copy_from_slice(from);
                    }
                    x
                };
                self.give(i, 0, of(&dy), of(&size));
            }
        }
    }

    fn regularization(&mut self, i: usize, (mut dx, mut size): (Vec<f64>, Vec<f64>)) {
        let y = &self.values[i].y;
        let regularized = self.model.regularized(i, &self.step, self.params);
        let (penalty, own) = regularized.of(y);
        // Each value meets itself and its neighbours in time, whose errors are at most the largest.
        let largest = self.value_sizes[i].iter().fold(0.0, |max: f64, size| max.max(*size));
        let more = regularized.slope() * largest;
        size.iter_mut().for_each(|size| *size += more);
        add(&mut dx, &own);
        self.result.noise += (4.0 + y.len() as f64) * penalty * penalty;
        self.give(i, 0, dx, size);
    }

    fn activation(&mut self, i: usize, function: Activation, (dy, size): (&[f64], &[f64])) {
        let (y, width) = (&self.values[i].y[..], self.model.graph.nodes()[i].shape.width());
        let (dx, size) = if function == Activation::Softmax {
            let rows = y.chunks_exact(width).zip(dy.chunks_exact(width));
            let dx = rows.flat_map(|(y, dy)| activation::reference::softmax_backward(y, dy)).collect();
            (dx, softmax(y, size, width))
        } else {
            self.through(i, element_wise(function), (dy, size))
        };
        // Twice the width for the sum of a softmax's exponentials.
        self.element_noise(y, &dx, 4.0 + 2.0 * width as f64);
        self.give(i, 0, dx, size);
    }

    fn concatenation(&mut self, i: usize, (dy, size): (&[f64], &[f64])) {
        let node = &self.model.graph.nodes()[i];
        let (width, mut at) = (node.shape.width(), 0);
        for (k, &input) in node.inputs.iter().enumerate() {
            let columns = at..at + self.model.width(input);
            at = columns.end;
            let of = |x: &[f64]| x.chunks_exact(width).flat_map(|row| &row[columns.clone()]).copied().collect();
            self.give(i, k, of(dy), of(size));
        }
    }

    /// Adds to the gradient of input `k` of node `i`, and to its sizes.
    fn give(&mut self, i: usize, k: usize, mut dx: Vec<f64>, size: Vec<f64>) {
        (self.flow)(i, &mut dx);
        if let Source::Node(n) = self.model.graph.nodes()[i].inputs[k] {
            add(&mut self.dy[n].0, &dx);
            add(&mut self.dy[n].1, &size);
        }
    }

    /// The values that node `i` takes first, and their sizes.
    fn input(&self, i: usize) -> (Rows<'_>, Rows<'_>) {
        let source = self.model.graph.nodes()[i].inputs[0];
        let Source::Node(n) = source else { return (Rows::new(&[], 1), Rows::new(&[], 1)) };
        let width = self.model.width(source);
        (Rows::new(&self.values[n].y, width), Rows::new(&self.value_sizes[n], width))
    }

    /// Through an element-wise function, with sizes: the slope times those that came, and what the value's own error
    /// makes of the slope.
    fn through(&self, i: usize, function: activation::Activation, dy: (&[f64], &[f64])) -> (Vec<f64>, Vec<f64>) {
        let y = &self.values[i].y;
        let slope = |y: f64, dy: f64| activation::reference::backward(function, y, dy);
        let dz: Vec<f64> = y.iter().zip(dy.0).map(|(&y, &dy)| slope(y, dy)).collect();
        let mut size: Vec<f64> = y.iter().zip(dy.1).map(|(&y, &size)| slope(y, size)).collect();
        if matches!(function, activation::Activation::Tanh | activation::Activation::Sigmoid) {
            let own = self.value_sizes[i].iter().zip(dy.0);
            size.iter_mut().zip(own).for_each(|(size, (own, dy))| *size += own * dy.abs());
        }
        (dz, size)
    }

    fn embedding(&mut self, node: &Node, dy: &[f64], size: &[f64]) {
        let (table, width) = (self.model.table(node), node.shape.width());
        let rows = self.result.tensors[table].len() / width;
        let scatter = |d: &[f64]| embedding::reference::project_one_hot_backward(d, self.step.tokens, rows, width);
        let (sum, size) = (scatter(dy), scatter(size));
        add(&mut self.result.tensors[table], &sum);
        add(&mut self.result.sizes[table], &size);
    }

    fn dense(&mut self, i: usize, function: activation::Activation, dy: (&[f64], &[f64])) {
        let node = &self.model.graph.nodes()[i];
        let Some(tensors) = self.model.dense_tensors(node) else { return };
        let (dz, size) = self.through(i, function, dy);
        let (x, x_size) = self.input(i);
        let (inputs, units, rows) = (x.width, node.shape.width(), x.rows());
        let (x, x_size) = (x.data.to_vec(), x_size.data.to_vec());
        let kernel = self.params.get(tensors.kernel);
        let Gradient { tensors: gradients, sizes, .. } = &mut self.result;
        for (x, dz, to) in [(&x, &dz, gradients), (&x_size, &size, sizes)] {
            if tensors.tied {
                gemm::reference::outer_product([units, rows, inputs], dz, x, &mut to[tensors.kernel]);
            } else {
                gemm::reference::outer_product([inputs, rows, units], x, dz, &mut to[tensors.kernel]);
            }
            if let Some(bias) = tensors.bias {
                add(&mut to[bias], &Rows::new(dz, units).column_sums());
            }
        }
        let back = |dz: &[f64], kernel: &[f64]| {
            let mut dx = vec![0.0; rows * inputs];
            if tensors.tied {
                gemm::reference::product([rows, units, inputs], dz, kernel, &mut dx);
            } else {
                gemm::reference::transposed_product([rows, units, inputs], dz, kernel, &mut dx);
            }
            dx
        };
        let dx = back(&dz, kernel);
        let dx_size = with_magnitudes(back(&squares(&size), &squares(kernel)), &dx);
        let bias = tensors.bias.map_or(&[][..], |b| self.params.get(b));
        // The function itself rounds a few times more.
        self.product_noise(Rows::new(&dz, units), &[(Rows::new(&x, inputs), kernel)], bias, 4.0);
        self.give(i, 0, dx, dx_size);
    }

    /// Layer normalisation. Sizes: those that came go through the sums of a row as errors do; and n and r, which the
    /// gradient is made of, have errors of their own.
    fn normalization(&mut self, i: usize, dy: &[f64], size: &[f64]) {
        let (model, width) = (self.model, self.model.graph.nodes()[i].shape.width());
        let (x, x_size) = self.input(i);
        let trace = model.normalize(i, self.params, x.data);
        let largest = x.data.iter().fold(1.0, |max: f64, x| max.max(x.abs()));
        let normal = normal_sizes(&trace, x_size.data, width);
        let typical: Vec<f64> = x_size.data.chunks_exact(width).map(|row| mean_square(row).sqrt()).collect();
        let [gain, _] = model.affine_values(i, self.params);
        let d = layer_norm::reference::backward(&trace.normal, &trace.scale, &gain, dy);
        let (mut dx_size, mut gain_size) = (Vec::new(), vec![0.0; width]);
        for (r, scale) in trace.scale.iter().enumerate() {
            let at = row(r, width);
            let (n, own, s, dx) =
                (&trace.normal[at.clone()], &normal[at.clone()], &size[at.clone()], &d.dx[at.clone()]);
            let g: Vec<f64> = dy[at].iter().zip(&gain).map(|(dy, gain)| dy * gain).collect();
            let come: Vec<f64> = s.iter().zip(&gain).map(|(s, gain)| s * gain.abs()).collect();
            let (sum, along) = (g.iter().sum::<f64>(), g.iter().zip(n).map(|(g, n)| g * n).sum::<f64>());
            let [come_typical, own_typical] = [&come[..], own].map(|x| mean_square(x).sqrt());
            let mean = g.iter().map(|g| g.abs()).sum::<f64>() / width as f64;
            for j in 0..width {
                let came = come[j] + come_typical * (1.0 + n[j].abs());
                let made = own[j] * along.abs() / width as f64 + n[j].abs() * mean * own_typical;
                dx_size.push(scale * (came + made + typical[r] * dx[j].abs()) + dx[j].abs());
                gain_size[j] += s[j] * own[j];
            }
            // The mean's roundings, the variance's, and those of each element.
            let each: f64 = g.iter().zip(n).map(|(g, n)| square(&[g * largest * scale, g * n])).sum();
            self.result.noise += width as f64 * square(&[largest * scale * sum, along]) + 4.0 * each;
        }
        self.element_noise(&self.values[i].y, dy, 2.0);
        let [gain, offset] = model.affine(i);
        let offset_size = Rows::new(size, width).column_sums();
        for (p, gradient, size) in [(gain, &d.dgain, gain_size), (offset, &d.doffset, offset_size)] {
            if let Some(p) = p {
                add(&mut self.result.tensors[p], gradient);
                add(&mut self.result.sizes[p], &size);
            }
        }
        self.give(i, 0, d.dx, dx_size);
    }
}

/// Sizes from their squares, with the magnitudes of what they are the sizes of.
fn with_magnitudes(squares: Vec<f64>, x: &[f64]) -> Vec<f64> {
    squares.into_iter().zip(x).map(|(square, x)| square.sqrt() + x.abs()).collect()
}
