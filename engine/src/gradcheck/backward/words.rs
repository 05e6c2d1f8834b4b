//! Heads of decisions, backward.

use super::super::model::{add, row};
use super::super::objective::Scored;
use super::super::sizes::{square, squares};
use super::super::words::{Decision, project};
use super::{Gradient, Pass};
use unroll_kernels::softmax::IGNORE;

impl Pass<'_> {
    /// The gradient that the decisions of an output hand to what its head takes, and its sizes; those of the parameters
    /// are added.
    pub(super) fn decide(&mut self, scored: &Scored<'_>, head: usize) -> (Vec<f64>, Vec<f64>) {
        let (x, x_size) = (&self.values[head].y[..], self.value_sizes[head].clone());
        let (mut dx, mut size) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        let (width, mut total) = (x.len() / scored.targets.len(), 0.0);
        for (r, &target) in scored.targets.iter().enumerate().filter(|(_, target)| **target != IGNORE) {
            let at = row(r, width);
            for decision in scored.decisions(target) {
                let own = [&x[at.clone()], &x_size[at.clone()]];
                total += self.decision(&decision, scored.factor, own, [&mut dx[at.clone()], &mut size[at.clone()]]);
            }
            let sizes = size[at.clone()].iter_mut().zip(&dx[at]);
            sizes.for_each(|(size, dx)| *size = size.sqrt() + dx.abs());
        }
        self.result.noise += (scored.targets.len() as f64 + 1.0) * total * total;
        (dx, size)
    }

    /// Adds the gradient of one decision, and the squares of its sizes to those of x. Returns its loss.
    fn decision(
        &mut self,
        decision: &Decision,
        factor: f64,
        [x, x_size]: [&[f64]; 2],
        [dx, dx_squares]: [&mut [f64]; 2],
    ) -> f64 {
        let params = self.params;
        let tensor = |p: usize| params.get(p);
        let (kernel, projection) = (tensor(decision.kernel), decision.projection.map(tensor));
        let h = decision.input(x, tensor);
        let h_size: Vec<f64> = match projection {
            None => x_size.to_vec(),
            Some(projection) => {
                let sizes = project(&squares(x_size), &squares(projection));
                sizes.iter().zip(&h).map(|(size, h)| size.sqrt() + h.abs()).collect()
            }
        };
        let values = decision.values(&h, tensor);
        let sizes = decision.sizes(&h_size, &values, tensor);
        let d: Vec<[f64; 2]> = decision.gradient(&values, &sizes).iter().map(|d| d.map(|d| factor * d)).collect();

        let (mut dh, mut dh_squares) = (vec![0.0; h.len()], vec![0.0; h.len()]);
        let Gradient { tensors, sizes, noise } = &mut self.result;
        for (score, &[d, d_size]) in decision.scores.iter().zip(&d) {
            let mut largest = 1.0 + score.offset.abs();
            for (k, at) in decision.places(score, h.len()).enumerate() {
                tensors[decision.kernel][at] += d * h[k];
                sizes[decision.kernel][at] += d_size * h_size[k];
                dh[k] += d * kernel[at];
                dh_squares[k] += square(&[d_size * kernel[at]]);
                largest += (h[k] * kernel[at]).abs();
            }
            if let Some(bias) = decision.bias {
                tensors[bias][score.bias] += d;
                sizes[bias][score.bias] += d_size;
                largest += tensor(bias)[score.bias].abs();
            }
            *noise += (2.0 * h.len() as f64 + 6.0) * square(&[largest * d]);
        }
        // Each exponential and each partial sum is at most the whole sum; eight more operations on scores and on
        // losses.
        let (count, loss) = (values.len() as f64, factor * decision.loss(&values));
        let largest = values.iter().fold(1.0, |max: f64, z| max.max(z.abs()));
        *noise += factor * factor * (2.0 * count + 8.0 * largest * largest) + 8.0 * count * loss * loss;
        let Some((p, projection)) = decision.projection.zip(projection) else {
            add(dx, &dh);
            add(dx_squares, &dh_squares);
            return loss;
        };
        for (k, (x, x_size)) in x.iter().zip(x_size).enumerate() {
            let row = row(k, h.len());
            for (j, at) in row.enumerate() {
                let dh_size = dh_squares[j].sqrt() + dh[j].abs();
                tensors[p][at] += x * dh[j];
                sizes[p][at] += x_size * dh_size;
                dx[k] += dh[j] * projection[at];
                dx_squares[k] += square(&[dh_size * projection[at]]);
            }
        }
        let largest =
            1.0 + x.iter().map(|x| x.abs()).sum::<f64>() * projection.iter().fold(0.0, |max: f64, w| max.max(w.abs()));
        *noise += (2.0 * x.len() as f64 + 2.0) * square(&[largest]) * square(&dh);
        loss
    }
}
