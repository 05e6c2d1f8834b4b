//! The number whose gradient is taken: the losses of a batch, their mean or sum, and what layers add to it.

use super::model::{Model, Params, Step, Value, row};
use crate::graph::{LayerConfig, Loss};
use crate::network::LossScale;
use unroll_kernels::softmax::{self, IGNORE};

impl Model<'_> {
    /// What layers add to the objective.
    pub(super) fn penalty<'v>(&self, step: &Step<'_>, params: Params<'_>, value: impl Fn(usize) -> &'v Value) -> f64 {
        let nodes = self.graph.nodes()[..=self.graph.logits()].iter().enumerate();
        let penalties = nodes.map(|(i, node)| match &node.config {
            LayerConfig::ActivationRegularization(_) => self.regularized(i, step, params).of(&value(i).y).0,
            _ => 0.0,
        });
        penalties.sum()
    }

    /// What activation regularisation `i` looks at.
    pub(super) fn regularized(&self, i: usize, step: &Step<'_>, params: Params<'_>) -> Regularized {
        let node = &self.graph.nodes()[i];
        let (rows, width) = (step.rows, node.shape.width());
        let (alpha, beta) = match &node.config {
            LayerConfig::ActivationRegularization(layer) => (layer.alpha, layer.beta),
            _ => (0.0, 0.0),
        };
        let sequence = node.shape.time.is_some();
        let count = if sequence { step.steps * rows } else { rows };
        let there = self.there(step, params).filter(|_| sequence);
        let there = |at: usize| there.as_ref().is_none_or(|there| there[at]);
        let places: Vec<usize> = (0..count).filter(|&at| there(at)).collect();
        // Steps that follow one another in a row, whatever is masked between them.
        let next = |at: usize| (1..).map(|t| at + t * rows).take_while(|&next| next < count).find(|&next| there(next));
        let pairs: Vec<[usize; 2]> = places.iter().filter_map(|&at| Some([at, next(at)?])).collect();
        let scored = step.targets.iter().filter(|&&t| t != IGNORE).count() as f64;
        let over = |rate: f32, n: usize| f64::from(rate) * self.factor(step) * scored / (n.max(1) * width) as f64;
        Regularized { alpha: over(alpha, places.len()), beta: over(beta, pairs.len()), width, places, pairs }
    }

    /// The mean, or sum, of the losses that is reported.
    pub(super) fn loss(&self, step: &Step<'_>, logits: &[f64]) -> f64 {
        self.factor(step) * self.losses(step, logits).iter().sum::<f64>()
    }

    /// The factor of each loss.
    pub(super) fn factor(&self, step: &Step<'_>) -> f64 {
        match self.loss_scale {
            LossScale::Mean => 1.0 / step.targets.iter().filter(|&&t| t != IGNORE).count() as f64,
            LossScale::Sum => 1.0,
            LossScale::SumOverTime => 1.0 / step.rows as f64,
        }
    }

    /// The factors of label smoothing and of ln^2 Z.
    fn shaping(&self) -> [f64; 2] {
        let head = &self.graph.config().head;
        // As numbers that f32 has too.
        [head.label_smoothing, head.z_loss].map(|factor| f64::from(factor.unwrap_or(0.0) as f32))
    }

    /// -ln p of every target and what the head adds to it, 0 where it is not scored.
    pub(super) fn losses(&self, step: &Step<'_>, logits: &[f64]) -> Vec<f64> {
        match self.graph.config().loss {
            Loss::CrossEntropy => {
                let width = self.graph.nodes()[self.graph.logits()].shape.width();
                let mut losses = softmax::reference::cross_entropy(logits, width, step.targets);
                let [s, c] = self.shaping();
                for ((loss, row), _) in
                    losses.iter_mut().zip(logits.chunks_exact(width)).zip(step.targets).filter(is_scored)
                {
                    let z = row[0] - softmax::reference::log_softmax(row)[0];
                    let mean = row.iter().sum::<f64>() / width as f64;
                    *loss = (1.0 - s) * *loss + s * (z - mean) + c * z * z;
                }
                losses
            }
            Loss::BinaryCrossEntropy => {
                let losses = softmax::reference::binary_cross_entropy(logits, &binary_targets(step.targets));
                let scored = losses.into_iter().zip(step.targets);
                scored.map(|(loss, &t)| if t == IGNORE { 0.0 } else { loss }).collect()
            }
        }
    }

    /// The gradient of the logits.
    pub(super) fn losses_backward(&self, step: &Step<'_>, logits: &[f64]) -> Vec<f64> {
        let factor = self.factor(step);
        match self.graph.config().loss {
            Loss::CrossEntropy => {
                let width = self.graph.nodes()[self.graph.logits()].shape.width();
                let mut d = softmax::reference::cross_entropy_backward(logits, width, step.targets, factor);
                let [s, c] = self.shaping();
                let rows = d.chunks_exact_mut(width).zip(logits.chunks_exact(width)).zip(step.targets);
                for ((d, row), &target) in rows.filter(is_scored) {
                    let (z, p) = (row[0] - softmax::reference::log_softmax(row)[0], softmax::reference::softmax(row));
                    for (j, d) in d.iter_mut().enumerate() {
                        let wanted = if j == target as usize { s } else { 0.0 } - s / width as f64;
                        *d += factor * (wanted + 2.0 * c * z * p[j]);
                    }
                }
                d
            }
            Loss::BinaryCrossEntropy => {
                let targets = binary_targets(step.targets);
                let d = softmax::reference::binary_cross_entropy_backward(logits, &targets, factor);
                d.into_iter().zip(step.targets).map(|(d, &t)| if t == IGNORE { 0.0 } else { d }).collect()
            }
        }
    }
}

/// Whether a position is scored, the target of which stands last.
fn is_scored<T>((_, target): &(T, &u32)) -> bool {
    **target != IGNORE
}

/// The positions and the pairs of positions that an activation regularisation looks at, and the factor of each square.
pub(super) struct Regularized {
    alpha: f64,
    beta: f64,
    width: usize,
    places: Vec<usize>,
    pairs: Vec<[usize; 2]>,
}

impl Regularized {
    /// What it adds to the objective, and the gradient of that.
    pub(super) fn of(&self, y: &[f64]) -> (f64, Vec<f64>) {
        let (mut sum, mut gradient) = (0.0, vec![0.0; y.len()]);
        for at in self.places.iter().flat_map(|&at| row(at, self.width)) {
            sum += self.alpha * y[at] * y[at];
            gradient[at] += 2.0 * self.alpha * y[at];
        }
        for [one, two] in &self.pairs {
            for (one, two) in row(*one, self.width).zip(row(*two, self.width)) {
                let d = y[two] - y[one];
                sum += self.beta * d * d;
                gradient[two] += 2.0 * self.beta * d;
                gradient[one] -= 2.0 * self.beta * d;
            }
        }
        (sum, gradient)
    }

    /// The most that an entry of the gradient moves by where every value moves by 1 at most.
    pub(super) fn slope(&self) -> f64 {
        2.0 * self.alpha + 8.0 * self.beta
    }
}

fn binary_targets(targets: &[u32]) -> Vec<f64> {
    targets.iter().map(|&t| if t == 0 { 0.0 } else { 1.0 }).collect()
}
