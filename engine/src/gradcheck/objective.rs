//! The number whose gradient is taken: the losses of a batch, their mean or sum, and what layers add to it.

use super::model::{Model, Params, Step, Value, row};
use super::sizes::mean_square;
use super::words::{Decision, Places, WordHead};
use crate::graph::{Axis, LayerConfig, Loss, Output};
use crate::network::LossScale;
use unroll_kernels::softmax::{self, IGNORE};

/// An output of a model, and its targets in a step.
pub(super) struct Scored<'a> {
    pub(super) output: &'a Output,
    pub(super) targets: &'a [u32],
    /// The factor of each loss, the output's weight in it.
    pub(super) factor: f64,
    width: usize,
    /// Of a head of decisions, with the words that the step has drawn; its values are what the head takes.
    head: Option<(&'a WordHead<'a>, Vec<u32>)>,
}

impl Model<'_> {
    /// What layers add to the objective.
    pub(super) fn penalty<'v>(&self, step: &Step<'_>, params: Params<'_>, value: impl Fn(usize) -> &'v Value) -> f64 {
        let penalties = self.graph.nodes().iter().enumerate().map(|(i, node)| match &node.config {
            LayerConfig::ActivationRegularization(_) => self.regularized(i, step, params).of(&value(i).y).0,
            _ => 0.0,
        });
        penalties.sum()
    }

    /// What activation regularisation `i` looks at.
    pub(super) fn regularized(&self, i: usize, step: &Step<'_>, params: Params<'_>) -> Regularized {
        let node = &self.graph.nodes()[i];
        let (main, step) = (step.on(Axis::Main), &step.on(node.axis));
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
        let first = self.graph.targets(main.steps, rows).next().map_or(0..0, |(_, range)| range);
        let scored = count_of(&step.targets[first]) as f64;
        let over = |rate: f32, n: usize| {
            f64::from(rate) * self.factor(rows, scored as usize) * scored / (n.max(1) * width) as f64
        };
        Regularized { alpha: over(alpha, places.len()), beta: over(beta, pairs.len()), width, places, pairs }
    }

    /// The outputs and their targets.
    pub(super) fn scored<'a>(&'a self, step: &Step<'a>) -> impl Iterator<Item = Scored<'a>> {
        let (targets, rows, key) = (step.targets, step.rows, step.key);
        self.graph.targets(step.steps, rows).zip(self.heads).map(move |((output, range), head)| {
            let targets = &targets[range];
            let factor = f64::from(output.weight()) * self.factor(rows, count_of(targets));
            let head = head.as_ref().map(|head| (head, head.draw(key)));
            Scored { output, targets, factor, width: self.graph.nodes()[output.logits()].shape.width(), head }
        })
    }

    /// The mean, or sum, of the losses that is reported.
    pub(super) fn loss<'v>(&self, step: &Step<'_>, params: Params<'_>, value: impl Fn(usize) -> &'v Value) -> f64 {
        let of = |scored: Scored<'_>| {
            let losses = scored.losses(&value(scored.output.logits()).y, params);
            scored.factor * losses.iter().sum::<f64>()
        };
        self.scored(step).map(of).sum()
    }

    /// The factor of each of so many losses.
    fn factor(&self, rows: usize, count: usize) -> f64 {
        match self.loss_scale {
            LossScale::Mean => 1.0 / count.max(1) as f64,
            LossScale::Sum => 1.0,
            LossScale::SumOverTime => 1.0 / rows as f64,
        }
    }

    /// The factor of the losses of the output that has most, by which a network's sum becomes the loss that is
    /// reported.
    pub(super) fn largest_factor(&self, step: &Step<'_>) -> f64 {
        let most = self.scored(step).map(|scored| count_of(scored.targets)).max();
        self.factor(step.rows, most.unwrap_or_default())
    }

    /// Whether node `i` is a head of decisions, which hands on what it takes.
    pub(super) fn is_word_head(&self, i: usize) -> bool {
        self.graph.outputs().iter().zip(self.heads).any(|(output, head)| output.logits() == i && head.is_some())
    }

    /// Whether a dense layer gives logits whose sizes nothing asks for.
    pub(super) fn is_untaken(&self, i: usize) -> bool {
        let is = |output: &Output| output.logits() == i && output.loss() != Loss::MeanSquaredError;
        if self.is_word_head(i) {
            return false;
        }
        let taken = self.graph.consumers(i).any(|consumer| !self.graph.is_bare(consumer));
        self.graph.outputs().iter().any(is) && !taken
    }
}

impl Scored<'_> {
    /// The factors of label smoothing and of ln^2 Z.
    fn shaping(&self) -> [f64; 2] {
        let head = self.output.head();
        // As numbers that f32 has too.
        [head.label_smoothing, head.z_loss].map(|factor| f64::from(factor.unwrap_or(0.0) as f32))
    }

    /// Whether the head is one of decisions.
    pub(super) fn is_word_head(&self) -> bool {
        self.head.is_some()
    }

    /// The decisions of a target; none of other heads.
    pub(super) fn decisions(&self, target: u32) -> Vec<Decision> {
        self.head.as_ref().map_or_else(Vec::new, |(head, drawn)| head.decisions(target, drawn))
    }

    /// What the decisions read of a tensor.
    pub(super) fn read(&self, tensor: usize) -> Vec<Places> {
        let targets = self.targets.iter().filter(|&&target| target != IGNORE);
        let decisions = targets.flat_map(|&target| self.decisions(target));
        let head = self.head.as_ref().map(|(head, _)| *head);
        head.map_or_else(Vec::new, |head| decisions.flat_map(|decision| head.read(&decision, tensor)).collect())
    }

    /// The loss of every target and what the head adds to it, 0 where it is not scored.
    fn losses(&self, logits: &[f64], params: Params<'_>) -> Vec<f64> {
        let Scored { targets, width, .. } = *self;
        if self.is_word_head() {
            let rows = logits.chunks_exact(logits.len() / targets.len()).zip(targets).filter(is_scored);
            let tensor = |p: usize| params.get(p);
            let of = |x: &[f64], decision: Decision| {
                let h = decision.input(x, tensor);
                decision.loss(&decision.values(&h, tensor))
            };
            return rows.map(|(x, &target)| self.decisions(target).into_iter().map(|d| of(x, d)).sum()).collect();
        }
        match self.output.loss() {
            Loss::CrossEntropy => {
                let mut losses = softmax::reference::cross_entropy(logits, width, targets);
                let [s, c] = self.shaping();
                for ((loss, row), _) in losses.iter_mut().zip(logits.chunks_exact(width)).zip(targets).filter(is_scored)
                {
                    let z = row[0] - softmax::reference::log_softmax(row)[0];
                    let mean = row.iter().sum::<f64>() / width as f64;
                    *loss = (1.0 - s) * *loss + s * (z - mean) + c * z * z;
                }
                losses
            }
            Loss::BinaryCrossEntropy => {
                let losses = softmax::reference::binary_cross_entropy(logits, &binary_targets(targets));
                let scored = losses.into_iter().zip(targets);
                scored.map(|(loss, &t)| if t == IGNORE { 0.0 } else { loss }).collect()
            }
            Loss::MeanSquaredError => logits.iter().zip(targets).map(|(y, &t)| error(*y, t).powi(2)).collect(),
        }
    }

    /// The gradient of the logits.
    pub(super) fn losses_backward(&self, logits: &[f64]) -> Vec<f64> {
        let Scored { targets, factor, width, .. } = *self;
        match self.output.loss() {
            Loss::CrossEntropy => {
                let mut d = softmax::reference::cross_entropy_backward(logits, width, targets, factor);
                let [s, c] = self.shaping();
                let rows = d.chunks_exact_mut(width).zip(logits.chunks_exact(width)).zip(targets);
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
                let d = softmax::reference::binary_cross_entropy_backward(logits, &binary_targets(targets), factor);
                d.into_iter().zip(targets).map(|(d, &t)| if t == IGNORE { 0.0 } else { d }).collect()
            }
            Loss::MeanSquaredError => logits.iter().zip(targets).map(|(y, &t)| 2.0 * factor * error(*y, t)).collect(),
        }
    }

    /// The sizes of the gradient of the logits, whose own are `sizes`.
    pub(super) fn gradient_sizes(&self, dlogits: &[f64], sizes: &[f64]) -> Vec<f64> {
        if self.output.loss() == Loss::MeanSquaredError {
            // The difference of two numbers, both of which err.
            let size = |(size, &t): (&f64, &u32)| {
                let target = || f64::from(f32::from_bits(t)).abs();
                if t == IGNORE { 0.0 } else { 2.0 * self.factor * (size + target()) }
            };
            return sizes.iter().zip(self.targets).map(size).collect();
        }
        // A logit's error moves every probability of its row.
        let row = |row: &[f64]| -> Vec<f64> {
            let rms = mean_square(row).sqrt();
            row.iter().map(|d| d.abs() + rms).collect()
        };
        dlogits.chunks_exact(self.width).flat_map(row).collect()
    }
}

/// y - t, 0 where it is not scored.
fn error(y: f64, target: u32) -> f64 {
    if target == IGNORE { 0.0 } else { y - f64::from(f32::from_bits(target)) }
}

/// How many targets are scored.
fn count_of(targets: &[u32]) -> usize {
    targets.iter().filter(|&&target| target != IGNORE).count()
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
