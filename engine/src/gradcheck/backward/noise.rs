//! The noise of a gradient: what the roundings of each operation of the forward pass do to the loss.

use super::super::objective::Scored;
use super::super::sizes::square;
use super::{Pass, Rows};
use crate::graph::Loss;
use unroll_kernels::softmax::IGNORE;

impl Pass<'_> {
    /// Notes the operations of z = sum of products + bias, from the gradient of z, and `more` operations beside them:
    /// no partial sum exceeds the sum of |x| max |w|, and products with zeros round nothing.
    pub(super) fn product_noise(&mut self, dz: Rows<'_>, products: &[(Rows<'_>, &[f64])], bias: &[f64], more: f64) {
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
    pub(super) fn element_noise(&mut self, y: &[f64], dx: &[f64], operations: f64) {
        let largest = y.iter().fold(1.0, |max: f64, y| max.max(y.abs()));
        self.result.noise += operations * largest * largest * square(dx);
    }

    /// Notes the operations of the loss.
    pub(super) fn loss_noise(&mut self, scored: &Scored<'_>, logits: &[f64]) {
        let (factor, width, loss) = (scored.factor, logits.len() / scored.targets.len(), scored.output.loss());
        let mut total = 0.0;
        for (logits, &target) in logits.chunks_exact(width).zip(scored.targets) {
            if target != IGNORE && loss == Loss::MeanSquaredError {
                // A difference of two numbers, and its square.
                let error = logits[0] - f64::from(f32::from_bits(target));
                self.result.noise += factor * factor * 5.0 * error.powi(4);
                total += factor * error * error;
            } else if target != IGNORE {
                // Each exponential and each partial sum is at most the whole sum; eight more operations on logits.
                let largest = logits.iter().fold(1.0, |max: f64, z| max.max(z.abs()));
                self.result.noise += factor * factor * (2.0 * width as f64 + 8.0 * largest * largest);
                total += factor * (largest + (width as f64).ln());
            }
        }
        self.result.noise += (scored.targets.len() as f64 + 1.0) * total * total;
    }
}
