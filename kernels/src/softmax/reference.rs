//! Softmax and the cross-entropies in f64 and plain loops: the meaning.

use super::IGNORE;

/// ln p for one row of logits.
pub fn log_softmax(x: &[f64]) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = x.iter().map(|x| (x - max).exp()).sum();
    x.iter().map(|x| x - max - sum.ln()).collect()
}

/// p for one row of logits.
pub fn softmax(x: &[f64]) -> Vec<f64> {
    log_softmax(x).into_iter().map(f64::exp).collect()
}

/// The loss of each row: -ln p of its target, 0 where that is [`IGNORE`]. `x` (R, V).
///
/// # Panics
///
/// When a target is neither below `v` nor [`IGNORE`]; so does [`cross_entropy_backward`].
pub fn cross_entropy(x: &[f64], v: usize, targets: &[u32]) -> Vec<f64> {
    let rows = x.chunks(v).zip(targets);
    rows.map(|(row, &t)| if t == IGNORE { 0.0 } else { -log_softmax(row)[t as usize] }).collect()
}

/// The gradient of scale times the sum of the losses: (p - onehot) scale. `x` (R, V).
pub fn cross_entropy_backward(x: &[f64], v: usize, targets: &[u32], scale: f64) -> Vec<f64> {
    let mut dx = Vec::new();
    for (row, &t) in x.chunks(v).zip(targets) {
        let p = softmax(row);
        dx.extend(
            (0..v).map(|j| if t == IGNORE { 0.0 } else { (p[j] - f64::from(u8::from(j == t as usize))) * scale }),
        );
    }
    dx
}

/// The loss of each logit: -y ln sigmoid(x) - (1 - y) ln sigmoid(-x).
pub fn binary_cross_entropy(x: &[f64], y: &[f64]) -> Vec<f64> {
    // -ln sigmoid(x) = softplus(-x)
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    x.iter().zip(y).map(|(&x, &y)| y * softplus(-x) + (1.0 - y) * softplus(x)).collect()
}

/// The gradient of scale times the sum of the losses.
pub fn binary_cross_entropy_backward(x: &[f64], y: &[f64], scale: f64) -> Vec<f64> {
    x.iter().zip(y).map(|(&x, &y)| (1.0 / (1.0 + (-x).exp()) - y) * scale).collect()
}
