//! Sampled softmax and noise-contrastive estimation: a training step sees the targets and a sample of the words.
//!
//! K words are drawn with replacement from the noise q, the same for all rows of a step. C is the set of the words
//! drawn, and word u of C was drawn m_u times. With z_u = x . W_u + b_u and y a row's target:
//!
//! ```text
//! sampled softmax   L = ln(e^z_y + sum over u in C but y, e^z_u / pi_u) - z_y      pi_u = 1 - (1 - q_u)^K
//! NCE               L = softplus(-s_y) + sum over u in C, m_u softplus(s_u)        s_u = z_u - c - ln(K q_u)
//! ```
//!
//! pi_u is the probability that u is in C, so the expectation of the sum is that of the full softmax (Horvitz and
//! Thompson 1952). c is the assumed value of ln Z; in NCE, e^(z - c) learns to be normalised.
//!
//! The rows of W that a step reads are gathered in a small matrix, so the work is three products of (R, |C|) and one
//! scalar product a row. Evaluation and generation compute every logit and their softmax.
//!
//! Sources: Y. Bengio and J.-S. Senécal, "Quick training of probabilistic neural nets by importance sampling", 2003; S.
//! Jean et al., "On using very large target vocabulary for neural machine translation", 2015; M. Gutmann and A.
//! Hyvärinen, "Noise-contrastive estimation", 2010; A. Mnih and Y. W. Teh, "A fast and simple algorithm for training
//! neural probabilistic language models", 2012.

use super::words::{Grouped, WordParams};
use super::{Backward, Scored, SoftmaxHead};
use crate::exec::{Right, Start};
use crate::layers::Context;
use crate::noise::Alias;
use crate::random::{Key, Purpose};
use unroll_kernels::embedding::{self, Distinct};
use unroll_kernels::mat::padded;
use unroll_kernels::pairs::{self, Pairs, Weighted};
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::softmax::{self, BinaryCrossEntropy, CrossEntropy, IGNORE};
use unroll_kernels::{Buffer, Mat, MatMut};

/// What the sample estimates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Estimate {
    /// Sampled softmax: the sum of the softmax.
    Softmax,
    /// NCE: noise, from which training tells the target.
    Nce {
        /// c
        log_partition: f64,
        /// Whether a drawn word does not count as noise in rows whose target it is.
        remove_hits: bool,
    },
}

/// Draws the words of a step.
#[derive(Clone, Debug)]
pub(crate) struct Sampler {
    pub(crate) noise: Alias,
    /// K
    pub(crate) samples: usize,
    pub(crate) estimate: Estimate,
}

impl Sampler {
    /// The words of a training step, into `drawn`.
    pub(crate) fn draw(&self, key: Key, drawn: &mut Vec<u32>) {
        let key = key.purpose(Purpose::Noise);
        drawn.clear();
        drawn.extend((0..self.samples as u64).map(|i| self.noise.draw(key, i)));
    }

    /// The term that is added to the logit of a word in the sample.
    pub(crate) fn offset(&self, word: u32) -> f64 {
        let (q, k) = (self.noise.probability(word), self.samples as f64);
        match self.estimate {
            // The logarithm of the chance to be drawn at all: that of 1 - (1 - q)^K.
            Estimate::Softmax => -(-(k * (-q).ln_1p()).exp_m1()).ln(),
            Estimate::Nce { log_partition, .. } => -log_partition - (k * q).ln(),
        }
    }

    /// The term that is added to the logit of a target.
    pub(crate) fn target_offset(&self, word: u32) -> f64 {
        if self.estimate == Estimate::Softmax { 0.0 } else { self.offset(word) }
    }
}

/// The logit of a decision that must not count: so low that its loss and gradient are 0.
const NEVER: f32 = -1.0e4;

/// How many decisions have their losses computed at a time.
const DECISIONS: usize = 256;

/// Turns the logits of a row, the last of which is the target's, into the gradient of its decisions, each of which
/// counts so many times, and returns their loss.
fn decide(ctx: &Context<'_>, row: &mut [f32], times: &[f32], scale: f32) -> f32 {
    let (mut wanted, mut losses, mut sum) = ([0.0; DECISIONS], [0.0; DECISIONS], 0.0f64);
    let last = row.len() - 1;
    for (i, (logits, times)) in row.chunks_mut(DECISIONS).zip(times.chunks(DECISIONS)).enumerate() {
        let (n, target) = (logits.len(), last.checked_sub(i * DECISIONS).filter(|&at| at < DECISIONS));
        target.into_iter().for_each(|at| wanted[at] = 1.0);
        let (targets, losses) = (&wanted[..n], &mut losses[..n]);
        softmax::binary_cross_entropy(ctx.isa, BinaryCrossEntropy { logits: &mut *logits, targets, scale, losses });
        logits.iter_mut().zip(times).for_each(|(d, times)| *d *= times);
        sum += losses.iter().zip(times).map(|(loss, times)| f64::from(times * loss)).sum::<f64>();
    }
    sum as f32
}

/// The head; see the top of the file.
pub(crate) struct SampledHead {
    params: WordParams,
    sampler: Sampler,
    /// The full softmax, for evaluation and generation.
    exact: SoftmaxHead,
    /// The words that were drawn, with repeats.
    drawn: Vec<u32>,
    /// The sample C.
    sample: Distinct,
    targets: Distinct,
    /// The target of each row; in rows that are not scored, that of another row.
    scored: Vec<u32>,
    /// 0, 1, ..., R
    places: Vec<u32>,
    /// b + offset of the sample, (|C|)
    offsets: Vec<f32>,
    /// W of the sample, (|C|, D)
    kernel: Buffer,
    /// The gradient of these rows of W.
    dkernel: Buffer,
    /// (R, |C| + 1) The last column is the target's.
    logits: Buffer,
    /// How often each word of the sample was drawn, and 1 for the target.
    times: Vec<f32>,
    /// The gradient of the target's logit in each row.
    d: Vec<f32>,
    /// The rows of each target together.
    grouped: Grouped,
    /// The gradients of the biases, of the targets or of the sample.
    sums: Vec<f32>,
    log_partition: LogPartitionSums,
}

/// The values of ln Z in the rows that were evaluated since the last training step: their number, sum, and sum of
/// squares.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct LogPartitionSums {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) squares: f64,
}

impl SampledHead {
    pub(crate) fn new(params: WordParams, sampler: Sampler, exact: SoftmaxHead) -> Self {
        Self {
            params,
            sampler,
            exact,
            drawn: Vec::new(),
            sample: Distinct::default(),
            targets: Distinct::default(),
            scored: Vec::new(),
            places: Vec::new(),
            offsets: Vec::new(),
            kernel: Buffer::default(),
            dkernel: Buffer::default(),
            logits: Buffer::default(),
            times: Vec::new(),
            d: Vec::new(),
            grouped: Grouped::default(),
            sums: Vec::new(),
            log_partition: LogPartitionSums::default(),
        }
    }

    /// Bytes that the losses of `rows` rows need beside those of evaluations.
    pub(crate) fn bytes(samples: usize, [rows, inputs, words]: [usize; 3]) -> u64 {
        // Two matrices of the sample, the logits, and the lists of words.
        4 * (samples.min(words) * (2 * padded(inputs) + 4) + rows * (padded(samples.min(words) + 1) + 8) + 6 * words)
            as u64
    }

    pub(crate) fn logits<'s>(&'s mut self, ctx: &Context<'_>, x: Mat<'s>) -> Mat<'s> {
        self.exact.logits(ctx, x)
    }

    pub(crate) fn best(&mut self, ctx: &Context<'_>, x: Mat<'_>, k: usize) -> Vec<Vec<(u32, f32)>> {
        self.exact.best(ctx, x, k)
    }

    pub(crate) fn run(
        &mut self,
        ctx: &Context<'_>,
        scored: &Scored<'_>,
        losses: &mut [f32],
        into: Option<Backward<'_>>,
    ) {
        let Some(into) = into else {
            self.exact.run(ctx, scored, losses, None);
            return self.note_log_partition(ctx, scored, losses);
        };
        self.log_partition = LogPartitionSums::default();
        let Some(&some) = scored.targets.iter().find(|&&target| target != IGNORE) else {
            return losses.fill(0.0);
        };
        {
            let _span = profile::enter(Phase::Head);
            self.choose(ctx, scored.targets, some);
            self.compute_logits(ctx, scored.x);
            self.losses(ctx, scored, losses);
        }
        let _span = profile::enter(Phase::HeadGradient);
        self.backward(ctx, scored.x, into);
    }

    /// What ln Z was in the evaluations since the last training step.
    pub(crate) fn log_partition(&self) -> LogPartitionSums {
        self.log_partition
    }

    /// Records ln Z of each row, from its loss and the score of its target.
    fn note_log_partition(&mut self, ctx: &Context<'_>, scored: &Scored<'_>, losses: &[f32]) {
        let kernel = self.params.kernel(ctx);
        for (r, (&target, &loss)) in scored.targets.iter().zip(losses).enumerate().filter(|(_, (t, _))| **t != IGNORE) {
            let mut score = [0.0];
            pairs::dots(ctx.isa, scored.x, kernel, Pairs { left: &[r as u32], right: &[target] }, &mut score);
            let log = f64::from(loss) + f64::from(score[0]) + f64::from(self.params.bias(ctx, target));
            self.log_partition.count += 1;
            self.log_partition.sum += log;
            self.log_partition.squares += log * log;
        }
    }

    /// Draws the sample and gathers its rows of W.
    fn choose(&mut self, ctx: &Context<'_>, targets: &[u32], some: u32) {
        let words = self.params.words();
        self.sampler.draw(ctx.key, &mut self.drawn);
        self.sample.build(&self.drawn, words);
        self.scored.clear();
        self.scored.extend(targets.iter().map(|&target| if target == IGNORE { some } else { target }));
        self.targets.build(&self.scored, words);
        let (chosen, inputs) = (self.sample.tokens(), self.params.inputs);
        self.offsets.clear();
        let offset = |&word: &u32| self.params.bias(ctx, word) + self.sampler.offset(word) as f32;
        self.offsets.extend(chosen.iter().map(offset));
        self.kernel.reserve(chosen.len() * padded(inputs));
        let (kernel, to) =
            (self.params.kernel(ctx), MatMut::new(&mut self.kernel, chosen.len(), inputs, padded(inputs)));
        ctx.products().by_rows(to, |range, part| embedding::gather(kernel, &chosen[range], part));
    }

    /// The logits of the sample and of each row's target, with their offsets.
    fn compute_logits(&mut self, ctx: &Context<'_>, x: Mat<'_>) {
        let (rows, count, inputs) = (x.rows(), self.sample.tokens().len(), self.params.inputs);
        let stride = padded(count + 1);
        self.logits.reserve(rows * stride);
        // Beside a row's end there may be what is left of a longer one.
        (0..rows).for_each(|r| self.logits[r * stride + count..(r + 1) * stride].fill(0.0));
        let mut logits = MatMut::new(&mut self.logits, rows, count + 1, stride);
        let kernel = Mat::new(&self.kernel, count, inputs, padded(inputs));
        let start = Start::Bias(&self.offsets);
        ctx.products().product(x, Right::Transposed(kernel), start, logits.reborrow().cols_range(0..count));
        self.places.clear();
        self.places.extend(0..=rows as u32);
        self.d.clear();
        self.d.resize(rows, 0.0);
        let (places, targets, kernel) = (&self.places, &self.scored, self.params.kernel(ctx));
        ctx.products().by_rows(MatMut::dense(&mut self.d, rows, 1), |range, part| {
            let pairs = Pairs { left: &places[range.clone()], right: &targets[range] };
            pairs::dots(ctx.isa, x, kernel, pairs, part.into_slice());
        });
        for (r, &target) in self.scored.iter().enumerate() {
            let offset = self.params.bias(ctx, target) + self.sampler.target_offset(target) as f32;
            logits.row_mut(r)[count] = self.d[r] + offset;
        }
    }

    /// The losses, and in the place of the logits their gradient.
    fn losses(&mut self, ctx: &Context<'_>, scored: &Scored<'_>, losses: &mut [f32]) {
        let chosen = self.sample.tokens();
        let (rows, count, estimate) = (scored.targets.len(), chosen.len(), self.sampler.estimate);
        self.times.clear();
        self.times.extend((0..count).map(|u| self.sample.positions(u).len() as f32).chain([1.0]));
        let (times, own) = (&self.times, &self.scored);
        let logits = MatMut::new(&mut self.logits, rows, count + 1, padded(count + 1));
        let losses = MatMut::dense(losses, rows, 1);
        ctx.products().by_rows_of([logits, losses], |range, [mut logits, losses]| {
            for ((i, r), loss) in range.enumerate().zip(losses.into_slice()) {
                let row = logits.row_mut(i);
                if scored.targets[r] == IGNORE {
                    row.fill(0.0);
                    *loss = 0.0;
                    continue;
                }
                let hit = chosen.binary_search(&own[r]).ok();
                match estimate {
                    Estimate::Softmax => {
                        hit.into_iter().for_each(|hit| row[hit] = f32::NEG_INFINITY);
                        let (losses, logits) = (std::slice::from_mut(loss), MatMut::dense(row, 1, count + 1));
                        let (targets, scale) = (&[count as u32][..], scored.scale);
                        softmax::cross_entropy(ctx.isa, CrossEntropy { logits, targets, scale, losses });
                    }
                    Estimate::Nce { remove_hits, .. } => {
                        hit.filter(|_| remove_hits).into_iter().for_each(|hit| row[hit] = NEVER);
                        *loss = decide(ctx, row, times, scored.scale);
                    }
                }
            }
        });
    }

    /// The gradients of x, W and b from that of the logits.
    fn backward(&mut self, ctx: &Context<'_>, x: Mat<'_>, Backward { mut dx, grads }: Backward<'_>) {
        let products = ctx.products();
        let (rows, inputs) = (x.rows(), self.params.inputs);
        let count = self.sample.tokens().len();
        let all = Mat::new(&self.logits, rows, count + 1, padded(count + 1));
        self.d.iter_mut().enumerate().for_each(|(r, d)| *d = all.row(r)[count]);
        let Self { sample, targets, places, scored, d, grouped, .. } = self;
        grouped.build(targets, |r| (r, d[r as usize]));
        let (chosen, dz) =
            (sample.tokens(), Mat::new(&self.logits, rows, count + 1, padded(count + 1)).cols_range(0..count));
        let kernel = Mat::new(&self.kernel, count, inputs, padded(inputs));
        products.add_product(dz, Right::Plain(kernel), dx.reborrow());
        let table = self.params.kernel(ctx);
        products.by_rows(dx, |range, part| {
            let weighted = Weighted { starts: &places[range.start..=range.end], sources: scored, weights: d };
            pairs::add_weighted(ctx.isa, table, weighted, part);
        });
        let stride = padded(inputs);
        self.dkernel.reserve(count * stride);
        products.outer(dz, x, Start::Zero, MatMut::new(&mut self.dkernel, count, inputs, stride));
        grads.add_rows(products, &self.params.kernel, chosen, (&mut self.dkernel, stride));
        grouped.add_rows(ctx, x, targets.tokens(), (&self.params.kernel, grads));
        if self.params.bias.is_some() {
            self.sums.clear();
            self.sums.resize(count, 0.0);
            products.add_column_sums(dz, &mut self.sums);
            self.params.add_bias_gradient(grads, chosen, &self.sums);
            self.params.add_bias_gradient(grads, targets.tokens(), grouped.sums());
        }
    }
}
