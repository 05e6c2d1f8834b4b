//! Layer normalisation in f64.

/// What the forward pass leaves.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// (R, D) Rows of mean 0 and variance 1.
    pub normal: Vec<f64>,
    /// (R) 1 / sqrt(variance + epsilon)
    pub scale: Vec<f64>,
    /// (R, D)
    pub y: Vec<f64>,
}

/// The gradients of everything that went in.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    /// (R, D)
    pub dx: Vec<f64>,
    /// (D)
    pub dgain: Vec<f64>,
    /// (D)
    pub doffset: Vec<f64>,
}

/// Normalises the rows of `x` (R, D); `gain` and `offset` are (D).
pub fn forward(x: &[f64], gain: &[f64], offset: &[f64], epsilon: f64) -> Trace {
    let width = gain.len();
    let mut trace = Trace::default();
    for row in x.chunks_exact(width) {
        let mean = row.iter().sum::<f64>() / width as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
        let scale = 1.0 / (variance + epsilon).sqrt();
        trace.scale.push(scale);
        for (j, x) in row.iter().enumerate() {
            let n = (x - mean) * scale;
            trace.normal.push(n);
            trace.y.push(gain[j] * n + offset[j]);
        }
    }
    trace
}

/// The gradients, from that of the outputs, `dy` (R, D), and from what [`forward`] left.
pub fn backward(normal: &[f64], scale: &[f64], gain: &[f64], dy: &[f64]) -> Gradients {
    let width = gain.len();
    let mut d = Gradients { dx: Vec::new(), dgain: vec![0.0; width], doffset: vec![0.0; width] };
    for ((n, scale), dy) in normal.chunks_exact(width).zip(scale).zip(dy.chunks_exact(width)) {
        let g: Vec<f64> = dy.iter().zip(gain).map(|(dy, gain)| dy * gain).collect();
        let mean = g.iter().sum::<f64>() / width as f64;
        let along = g.iter().zip(n).map(|(g, n)| g * n).sum::<f64>() / width as f64;
        for j in 0..width {
            d.dx.push(scale * (g[j] - mean - n[j] * along));
            d.dgain[j] += dy[j] * n[j];
            d.doffset[j] += dy[j];
        }
    }
    d
}
