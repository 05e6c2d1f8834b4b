//! Embedding and one-hot projection in f64 and plain loops: the meaning.

/// `X[r] = E[tokens[r]]`. `table` (V, D) -> (R, D).
///
/// # Panics
///
/// When a token is not below V; so do the others here.
pub fn gather(table: &[f64], d: usize, tokens: &[u32]) -> Vec<f64> {
    tokens.iter().flat_map(|&token| &table[token as usize * d..][..d]).copied().collect()
}

/// `Y[r] = onehot(tokens[r]) K + b`, with the one-hot product written out. `kernel` (V, D), `bias` (D) -> (R, D).
pub fn project_one_hot(kernel: &[f64], bias: &[f64], tokens: &[u32]) -> Vec<f64> {
    let d = bias.len();
    let mut y = Vec::new();
    for &token in tokens {
        for c in 0..d {
            let product = (0..kernel.len() / d).map(|v| f64::from(u8::from(v == token as usize)) * kernel[v * d + c]);
            y.push(product.sum::<f64>() + bias[c]);
        }
    }
    y
}

/// dK = onehot^T dY. `dout` (R, D) -> (V, D).
pub fn project_one_hot_backward(dout: &[f64], tokens: &[u32], v: usize, d: usize) -> Vec<f64> {
    let mut dkernel = vec![0.0; v * d];
    for (r, &token) in tokens.iter().enumerate() {
        for c in 0..d {
            dkernel[token as usize * d + c] += dout[r * d + c];
        }
    }
    dkernel
}
