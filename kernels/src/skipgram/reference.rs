//! The products of word2vec in f64 and plain loops: the meaning.

use super::Window;

/// What a call gives: the loss, dX and dY.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// The loss.
    pub loss: f64,
    /// dX (N, D)
    pub dinputs: Vec<f64>,
    /// dY, the outputs' shape.
    pub doutputs: Vec<f64>,
}

/// ln(1 + e^z) - t z
pub fn loss(z: f64, t: f64) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p() - t * z
}

/// sigmoid(z) - t
fn slope(z: f64, t: f64) -> f64 {
    1.0 / (1.0 + (-z).exp()) - t
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// Each (input, output, label, weight) of the list. `x` (N, D), `y` (M, D).
fn products(x: &[f64], y: &[f64], d: usize, list: impl Iterator<Item = (usize, usize, f64, f64)>) -> Gradients {
    let mut all = Gradients { loss: 0.0, dinputs: vec![0.0; x.len()], doutputs: vec![0.0; y.len()] };
    for (n, m, label, weight) in list {
        let (x, y) = (&x[n * d..(n + 1) * d], &y[m * d..(m + 1) * d]);
        let z = dot(x, y);
        let g = weight * slope(z, label);
        all.loss += weight * loss(z, label);
        for i in 0..d {
            all.dinputs[n * d + i] += g * y[i];
            all.doutputs[m * d + i] += g * x[i];
        }
    }
    all
}

/// Every input with every output. `x` (N, D), `y` (S, D), `weights` (N, S), `labels` (S).
pub fn shared(x: &[f64], y: &[f64], d: usize, weights: &[f64], labels: &[f64]) -> Gradients {
    let s = labels.len();
    products(x, y, d, (0..weights.len()).map(|i| (i / s, i % s, labels[i % s], weights[i])))
}

/// Each output with the inputs of its window. `x` (N, D), `y` (M, D).
pub fn pairs(x: &[f64], y: &[f64], d: usize, windows: &[Window]) -> Gradients {
    let list = windows.iter().enumerate().flat_map(|(m, w)| w.inputs().map(move |n| (n, m, 1.0, 1.0)));
    products(x, y, d, list)
}

/// The mean of each window's inputs. `x` (N, D).
pub fn means(x: &[f64], d: usize, windows: &[Window]) -> Vec<f64> {
    let mean = |w: &Window, i: usize| match w.count() {
        0 => 0.0,
        count => w.inputs().map(|n| x[n * d + i]).sum::<f64>() / count as f64,
    };
    windows.iter().flat_map(|w| (0..d).map(move |i| mean(w, i))).collect()
}

/// The sum for each of `n` inputs of the errors of the windows that it is in. `errors` (M, D).
pub fn spread(errors: &[f64], d: usize, windows: &[Window], n: usize) -> Vec<f64> {
    let mut sums = vec![0.0; n * d];
    for (m, w) in windows.iter().enumerate() {
        for n in w.inputs() {
            (0..d).for_each(|i| sums[n * d + i] += errors[m * d + i]);
        }
    }
    sums
}
