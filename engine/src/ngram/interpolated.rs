//! The interpolated n-gram: relative frequencies of every order, mixed by how often the context was seen.
//!
//! ```text
//! p(w | h) = a_0(q) / V + a_1(q) f(w) + a_2(q) f(w | w_-1) + ... + a_n(q) f(w | w_-1 ... w_-(n-1))
//! q        = ceil(-ln((1 + c(h)) / T))
//! ```
//!
//! f are relative frequencies (0 where a context was never seen), c(h) the count of the longest context, T the words of
//! the text. The weights of each bin q sum to 1; expectation-maximisation finds those that make a validation text most
//! probable. Where an order's context was never seen its weight says nothing, so it is given to the others in
//! proportion.
//!
//! Source: F. Jelinek and R. Mercer, "Interpolated estimation of Markov source parameters from sparse data", 1980, as
//! Y. Bengio, R. Ducharme, P. Vincent and C. Jauvin, "A Neural Probabilistic Language Model", 2003, section 4.1,
//! compare with it.

use super::counts::Counts;

/// Times that the weights are improved at most; from one time to the next the validation text gains little after ten.
const ROUNDS: usize = 50;
/// The gain of a word, in nats, below which no more is looked for.
const GAIN: f64 = 1e-6;

/// The weights of the orders, from 0 (uniform) on, for each bin.
#[derive(Clone, Debug)]
pub(super) struct Interpolated {
    weights: Vec<Vec<f64>>,
}

impl Interpolated {
    /// Weights that are the same for every order.
    fn uniform(order: usize, total: u64) -> Self {
        let bins = bin(0, total) + 1;
        Self { weights: vec![vec![1.0 / (order + 1) as f64; order + 1]; bins] }
    }

    /// The weights that make `valid` most probable.
    pub(super) fn fit(counts: &Counts, valid: &[u32]) -> Self {
        let order = counts.levels.len();
        let mut fitted = Self::uniform(order, counts.total);
        // The same in every round.
        let words: Vec<(usize, Vec<Option<f64>>)> = (0..valid.len())
            .map(|at| {
                let context = &valid[at.saturating_sub(order - 1)..at];
                (bin_of(counts, context), frequencies(counts, context, valid[at]))
            })
            .collect();
        let mut before = f64::NEG_INFINITY;
        for _ in 0..ROUNDS {
            let mut shares = vec![vec![0.0; order + 1]; fitted.weights.len()];
            let mut sum = 0.0;
            for (bin, frequencies) in &words {
                let parts = parts(&fitted.weights[*bin], frequencies);
                let p: f64 = parts.iter().sum();
                sum += p.ln();
                shares[*bin].iter_mut().zip(&parts).for_each(|(share, part)| *share += part / p);
            }
            for (weights, shares) in fitted.weights.iter_mut().zip(shares) {
                let all: f64 = shares.iter().sum();
                // A bin that the validation text never falls into stays as it was.
                if all > 0.0 {
                    weights.iter_mut().zip(shares).for_each(|(weight, share)| *weight = share / all);
                    // No weight of the uniform part is lost for good: any word may come.
                    weights[0] = weights[0].max(1e-9);
                }
            }
            let mean = sum / words.len().max(1) as f64;
            if mean - before < GAIN {
                break;
            }
            before = mean;
        }
        fitted
    }

    /// p(word | context), the last words of which count.
    pub(super) fn probability(&self, counts: &Counts, context: &[u32], word: u32) -> f64 {
        parts(&self.weights[bin_of(counts, context)], &frequencies(counts, context, word)).iter().sum()
    }
}

/// What each order adds to the probability, the weights of contexts that were never seen given to the others.
fn parts(weights: &[f64], frequencies: &[Option<f64>]) -> Vec<f64> {
    let known: f64 = weights.iter().zip(frequencies).filter(|(_, f)| f.is_some()).map(|(w, _)| w).sum();
    weights.iter().zip(frequencies).map(|(w, f)| f.map_or(0.0, |f| w / known * f)).collect()
}

/// 1 / V, f(w), f(w | w_-1), ...; `None` where the context was never followed by anything.
fn frequencies(counts: &Counts, context: &[u32], word: u32) -> Vec<Option<f64>> {
    let mut all = vec![Some(1.0 / counts.vocabulary.max(1) as f64)];
    for k in 0..counts.levels.len() {
        let context = context.len().checked_sub(k).map(|first| &context[first..]);
        let followed = context.map_or(0, |context| counts.followed(context));
        all.push(context.filter(|_| followed > 0).map(|context| {
            counts.find(context, word).map_or(0.0, |at| counts.levels[k].counts[at] as f64 / followed as f64)
        }));
    }
    all
}

fn bin_of(counts: &Counts, context: &[u32]) -> usize {
    let longest = counts.levels.len() - 1;
    let seen = context.len().checked_sub(longest).map_or(0, |first| counts.followed(&context[first..]));
    bin(seen, counts.total)
}

fn bin(seen: u64, total: u64) -> usize {
    (-((1 + seen) as f64 / total.max(1) as f64).ln()).ceil().max(0.0) as usize
}
