//! Softmax and the cross-entropies against the reference.

use super::input::Input;
use super::{Probe, U, Wanted};
use crate::check::{Framed, bits, dot, on_every_set, wide};
use crate::softmax::{
    BinaryCrossEntropy, CrossEntropy, IGNORE, binary_cross_entropy, cross_entropy, cross_entropy_forward,
    log_softmax_rows, reference, softmax_rows,
};

/// The smallest subnormal number, to which the documentation's bounds refer.
const LEAST: f64 = 1.401_298_464_324_817e-45;

/// How far f64 itself is off where it takes 1 - p from p.
const F64: f64 = 1e-15;

/// Reads rows of logits and targets, and compares the losses, the gradients and the two plain forms.
pub(super) fn run(data: &[u8], probe: Probe<'_>) {
    let mut input = Input::new(data);
    let rows = input.up_to(6);
    let v = if input.byte() < 200 { input.size(80) } else { 960 + input.size(200) };
    let spread = input.pick([3.0, 0.01, 90.0, 1e4, 1e30]);
    let x = input.values(rows * v, spread);
    let scale = input.pick([1.0f32, 0.37, 1e-4]);
    let targets: Vec<u32> =
        input.tokens(rows, v).iter().map(|&t| if input.byte() % 4 == 3 { IGNORE } else { t }).collect();
    losses(&x, v, &targets, scale, probe);
    if spread <= 1e4 {
        plain(&x, v, probe);
    }
    let y: Vec<f32> =
        input.values(x.len(), 1.0).iter().map(|y| if y.abs() > 0.5 { y.abs().round() } else { y.abs() }).collect();
    binary(&x, &y, scale, probe);
}

/// |x_j - max| of one row, and its average under the weights `p`.
fn distances(x: &[f64], p: &[f64]) -> (Vec<f64>, f64) {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let d: Vec<f64> = x.iter().map(|x| max - x).collect();
    let weight: f64 = p.iter().sum();
    let average = if weight > 0.0 { dot(&d, p) / weight } else { 0.0 };
    (d, average)
}

fn losses(x: &[f32], v: usize, targets: &[u32], scale: f32, probe: Probe<'_>) {
    let rows = targets.len();
    let results = on_every_set("cross_entropy", |isa| {
        let mut logits = Framed::new(rows, v, x);
        let (mut losses, mut alone) = (vec![f32::NAN; rows], vec![f32::NAN; rows]);
        cross_entropy(isa, CrossEntropy { logits: logits.mat_mut(), targets, scale, losses: &mut losses });
        cross_entropy_forward(isa, Framed::new(rows, v, x).mat(), targets, &mut alone);
        assert_eq!(bits(&alone), bits(&losses), "{isa}: the forward alone differs");
        [losses, logits.values()].concat()
    });
    let (x, scale) = (wide(x), f64::from(scale));
    let mut losses = Wanted { values: reference::cross_entropy(&x, v, targets), bounds: Vec::new() };
    let mut gradient = Wanted { values: reference::cross_entropy_backward(&x, v, targets, scale), bounds: Vec::new() };
    for (r, row) in x.chunks(v).enumerate() {
        if targets[r] == IGNORE {
            losses.bounds.push(0.0);
            gradient.bounds.extend(vec![0.0; v]);
            continue;
        }
        let t = targets[r] as usize;
        let p = reference::softmax(row);
        let (d, average) = distances(row, &p);
        let mut others = p.clone();
        others[t] = 0.0;
        let (_, average_of_others) = distances(row, &others);
        let rest: f64 = others.iter().sum();
        losses.bounds.push(U * (losses.values[r] + rest * (average_of_others + 76.0)) + F64);
        gradient.bounds.extend((0..v).map(|j| {
            let (q, d) = if j == t { (rest, 0.0) } else { (p[j], d[j]) };
            scale * (U * q * (d + average + 77.0) + F64) + LEAST
        }));
    }
    Wanted::concat([losses, gradient]).compare("cross-entropy", results, probe);
}

fn plain(x: &[f32], v: usize, probe: Probe<'_>) {
    let rows = x.len() / v;
    let (mut softmax, mut logarithm) = (Wanted::default(), Wanted::default());
    for row in wide(x).chunks(v) {
        let p = reference::softmax(row);
        let (d, average) = distances(row, &p);
        for (j, ln) in reference::log_softmax(row).into_iter().enumerate() {
            softmax.push(p[j], U * p[j] * (d[j] + average + 76.0) + LEAST);
            logarithm.push(ln, U * (2.0 * ln.abs() + d[j] + average + 78.0));
        }
    }
    let results = on_every_set("softmax_rows", |isa| {
        let [mut p, mut ln] = [(); 2].map(|()| Framed::new(rows, v, x));
        softmax_rows(isa, p.mat_mut());
        log_softmax_rows(isa, ln.mat_mut());
        [p.values(), ln.values()].concat()
    });
    Wanted::concat([softmax, logarithm]).compare("softmax and its logarithm", results, probe);
}

fn binary(x: &[f32], y: &[f32], scale: f32, probe: Probe<'_>) {
    let n = x.len();
    let results = on_every_set("binary_cross_entropy", |isa| {
        let [mut logits, mut losses] = [(); 2].map(|()| Framed::new(1, n, x));
        let (mut to, mut out) = (logits.mat_mut(), losses.mat_mut());
        let (logits_row, losses_row) = (to.row_mut(0), out.row_mut(0));
        binary_cross_entropy(isa, BinaryCrossEntropy { logits: logits_row, targets: y, scale, losses: losses_row });
        [losses.values(), logits.values()].concat()
    });
    let (x, y, scale) = (wide(x), wide(y), f64::from(scale));
    let values = reference::binary_cross_entropy(&x, &y);
    // The difference max(x, 0) - x y is exact where y is 0 or 1.
    let part = |i: usize| if y[i] == 1.0 { 0.0 } else { 2.0 * x[i].max(0.0) };
    let bounds = (0..n).map(|i| U * (part(i) + 4.0 * values[i]) + 2.0 * LEAST).collect();
    let gradient = reference::binary_cross_entropy_backward(&x, &y, scale);
    let gradient = Wanted { values: gradient, bounds: vec![scale * 4.0 * U; n] };
    Wanted::concat([Wanted { values, bounds }, gradient]).compare("binary cross-entropy", results, probe);
}
