//! What an f32 rounding error may amount to, place by place: the *sizes* that tolerances are relative to.
//!
//! Relative to a value itself no bound holds, since a sum may cancel. The size of a sum is therefore the root of the
//! sum of its terms' squared sizes, which is what independent errors of the terms add up to; a size is never below the
//! value's magnitude. Sizes are computed forward for the values here, and backward for the gradients in `backward`.

use super::directions::merge_backward;
use super::drops::{drop, dropout};
use super::model::{Model, Params, Step, Value, add, element_wise};
use super::recurrent::Trace;
use crate::graph::{Activation, LayerConfig, MergeMode, Part, Source};
use unroll_kernels::{activation, gemm, layer_norm};

/// The sizes of every node's values, laid out as they are; none of a dense layer's logits that nothing takes.
pub(super) fn sizes(model: &Model<'_>, step: &Step<'_>, params: Params<'_>, values: &[Value]) -> Vec<Vec<f64>> {
    let mut sizes: Vec<Vec<f64>> = Vec::with_capacity(values.len());
    for i in 0..model.graph.nodes().len() {
        let bare = model.graph.is_bare(i);
        let size = if bare { Vec::new() } else { node(model, i, step, params, (values, &sizes)) };
        sizes.push(size);
    }
    sizes
}

fn node(
    model: &Model<'_>,
    i: usize,
    step: &Step<'_>,
    params: Params<'_>,
    (values, sizes): (&[Value], &[Vec<f64>]),
) -> Vec<f64> {
    let (node, y) = (&model.graph.nodes()[i], &values[i].y);
    let step = &step.on(node.axis);
    let input = |k: usize| match node.inputs[k] {
        Source::Node(n) => &sizes[n][..],
        Source::Input | Source::Second => &[],
    };
    let width = node.shape.width();
    match &node.config {
        // Given or looked up, not computed.
        LayerConfig::Input(_) | LayerConfig::Embedding(_) | LayerConfig::OneHot(_) => magnitudes(y),
        LayerConfig::LayerNormalization(_) => {
            let Source::Node(n) = node.inputs[0] else { return Vec::new() };
            normalized(model, i, params, (&values[n].y, input(0)), y)
        }
        LayerConfig::Masking(_) | LayerConfig::ActivationRegularization(_) => input(0).to_vec(),
        LayerConfig::SimpleRnn(_) | LayerConfig::Lstm(_) | LayerConfig::Gru(_) | LayerConfig::Bidirectional(_) => {
            let inputs: Vec<&[f64]> = (0..node.inputs.len()).map(input).collect();
            let absolute = state_size(model, i, step, params, (&inputs, &values[i].traces));
            y.iter().map(|y| y.abs() + absolute).collect()
        }
        LayerConfig::Dense(_) if model.is_word_head(i) => input(0).to_vec(),
        LayerConfig::Dense(_) if model.is_untaken(i) => Vec::new(),
        LayerConfig::Dense(layer) => {
            let z = pre_activations(model, i, params, input(0), y.len());
            through(model.dense_function(i, layer.activation), y, &z)
        }
        LayerConfig::Dropout(layer) => {
            let mut size = input(0).to_vec();
            drop(&dropout(i, layer, width), step, &mut size);
            size
        }
        LayerConfig::Activation(layer) if layer.activation == Activation::Softmax => {
            let mut size = softmax(y, input(0), width);
            add(&mut size, y);
            size
        }
        LayerConfig::Activation(layer) => through(element_wise(layer.activation), y, input(0)),
        LayerConfig::Add(_) => {
            let mut size = input(0).to_vec();
            (1..node.inputs.len()).for_each(|k| add(&mut size, input(k)));
            size
        }
        LayerConfig::Concatenate(_) => model.concatenate(node, step, input),
        LayerConfig::RepeatVector(_) => input(0).repeat(step.steps),
        LayerConfig::Reshape(_) => model.reshape(node, step, input(0)),
        LayerConfig::Part(Part::Output { direction }) => {
            let width = model.width(node.inputs[0]);
            merge_backward(MergeMode::Concat, width / 2, *direction, &[], input(0))
        }
        LayerConfig::Part(Part::State { .. }) => {
            let Source::Node(of) = node.inputs[0] else { return Vec::new() };
            let sources = model.graph.nodes()[of].inputs.iter();
            let inputs: Vec<&[f64]> =
                sources.map(|s| if let Source::Node(n) = s { &sizes[*n][..] } else { &[] }).collect();
            let absolute = state_size(model, of, step, params, (&inputs, &values[of].traces));
            y.iter().map(|y| y.abs() + absolute).collect()
        }
        LayerConfig::TimeDistributed(_) => Vec::new(),
    }
}

/// Sizes of rows `x` of these sizes, normalised.
fn normalized(model: &Model<'_>, i: usize, params: Params<'_>, (x, sizes): (&[f64], &[f64]), y: &[f64]) -> Vec<f64> {
    let width = model.graph.nodes()[i].shape.width();
    let [gain, offset] = model.affine_values(i, params);
    let normal = normal_sizes(&model.normalize(i, params, x), sizes, width);
    let rows = normal.chunks_exact(width).zip(y.chunks_exact(width));
    let row = |(n, y): (&[f64], &[f64])| -> Vec<f64> {
        (0..width).map(|j| gain[j].abs() * n[j] + offset[j].abs() + y[j].abs()).collect()
    };
    rows.flat_map(row).collect()
}

/// Sizes of the `len` pre-activations of a dense layer over inputs of these sizes.
fn pre_activations(model: &Model<'_>, i: usize, params: Params<'_>, sizes: &[f64], len: usize) -> Vec<f64> {
    let node = &model.graph.nodes()[i];
    let Some(tensors) = model.dense_tensors(node) else { return Vec::new() };
    let width = node.shape.width();
    let (rows, inputs) = (len / width, model.width(node.inputs[0]));
    let mut z = tensors.bias.map_or(vec![0.0; len], |b| squares(params.get(b)).repeat(rows));
    let (x, kernel) = (squares(sizes), squares(params.get(tensors.kernel)));
    if tensors.tied {
        gemm::reference::transposed_product([rows, inputs, width], &x, &kernel, &mut z);
    } else {
        gemm::reference::product([rows, inputs, width], &x, &kernel, &mut z);
    }
    z.into_iter().map(f64::sqrt).collect()
}

/// What the errors of h amount to beyond its magnitude: a quarter (the steepest that a gate's sigmoid is) of a typical
/// pre-activation's size; and the typical size of the states that other layers give, which come through gates below 1.
pub(super) fn state_size(
    model: &Model<'_>,
    i: usize,
    step: &Step<'_>,
    params: Params<'_>,
    (inputs, traces): (&[&[f64]], &[Trace]),
) -> f64 {
    let node = &model.graph.nodes()[i];
    let Some((cell, options, _)) = node.config.recurrence() else { return 0.0 };
    let directions = model.directions(i, step, params, &[]);
    let (x, initial) = (inputs[0], &inputs[1..]);
    let of = |p: Option<&[f64]>| p.map_or(0.0, square);
    let given = mean_square(&initial.concat());
    let width = (cell.gates() * options.units * directions.len()) as f64;
    let total: f64 = directions
        .iter()
        // A row of x meets every row of W: mean squares times the sum of the squared weights. |h| is at most 1 or so,
        // but for that which is given.
        .map(|d| {
            let p = d.parameters();
            // What is kept of h is scaled.
            let kept = 1.0 / (1.0 - f64::from(options.recurrent_dropout)).powi(2);
            mean_square(x) * square(p.kernel)
                + given.max(1.0) * (kept * square(p.recurrent_kernel) + of(d.peephole))
                + of(p.bias)
        })
        .sum();
    let size = (total / width).sqrt();
    if options.functions().are_standard() {
        return 0.25 * size + given.sqrt();
    }
    // No slope of another function is above 1, but a value may be: h is a product of up to three, each of whose errors
    // the others multiply.
    let largest = traces.iter().map(Trace::largest).fold(1.0, f64::max);
    largest * largest * (size + given.sqrt())
}

/// Through an element-wise function: its slope times the size that came, and the value itself.
fn through(function: activation::Activation, y: &[f64], size: &[f64]) -> Vec<f64> {
    let slope = |y: f64, size: f64| activation::reference::backward(function, y, size);
    y.iter().zip(size).map(|(&y, &size)| slope(y, size) + y.abs()).collect()
}

/// Through a softmax, in either direction: y (size + the mean size under y).
pub(super) fn softmax(y: &[f64], size: &[f64], width: usize) -> Vec<f64> {
    let row = |(y, size): (&[f64], &[f64])| -> Vec<f64> {
        let mean: f64 = y.iter().zip(size).map(|(y, size)| y * size).sum();
        y.iter().zip(size).map(|(y, size)| y * (size + mean)).collect()
    };
    y.chunks_exact(width).zip(size.chunks_exact(width)).flat_map(row).collect()
}

/// The sizes of normalised rows: an error of x comes by itself, through the mean and through the variance.
pub(super) fn normal_sizes(trace: &layer_norm::reference::Trace, size: &[f64], width: usize) -> Vec<f64> {
    let rows = trace.normal.chunks_exact(width).zip(size.chunks_exact(width)).zip(&trace.scale);
    let row = |((n, size), scale): ((&[f64], &[f64]), &f64)| -> Vec<f64> {
        let typical = mean_square(size).sqrt();
        n.iter().zip(size).map(|(n, size)| scale * (size + typical * (1.0 + n.abs())) + n.abs()).collect()
    };
    rows.flat_map(row).collect()
}

/// |x|
fn magnitudes(x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| x.abs()).collect()
}

/// x^2
pub(super) fn squares(x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| x * x).collect()
}

/// The sum of squares.
pub(super) fn square(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum()
}

/// The mean of the squares; 0 of nothing.
pub(super) fn mean_square(x: &[f64]) -> f64 {
    if x.is_empty() { 0.0 } else { square(x) / x.len() as f64 }
}
