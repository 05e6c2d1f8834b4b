//! Choosing a token from the model's logits.

use std::cmp::Ordering;

use crate::error::{Error, Result};

/// How a token is chosen from the logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// The logits are divided by this; 0 always chooses the most likely token.
    pub temperature: f64,
    /// Only this many of the most likely tokens may be chosen; 0 allows all.
    pub top_k: usize,
    /// Only the fewest most likely tokens whose probabilities add up to this may be chosen; 1 allows all.
    pub top_p: f64,
    /// Only tokens at least this times as probable as the most likely one may be chosen; 0 allows all.
    pub min_p: f64,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0 }
    }
}

impl Sampling {
    /// Refuses values out of range.
    ///
    /// # Errors
    /// [`Error::Usage`] names the option.
    pub fn check(&self) -> Result<()> {
        let refuse = |name: &str, what: &str, got: f64| Err(Error::option(name, format!("must be {what}, got {got}")));
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return refuse("--temperature", "a number that is 0 or more", self.temperature);
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse("--top-p", "more than 0 and at most 1", self.top_p);
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return refuse("--min-p", "from 0 to 1", self.min_p);
        }
        Ok(())
    }
}

/// Chooses tokens; keeps its buffers between calls.
///
/// With p the softmax of the logits over the temperature, the filters narrow the choice one after the other: `top_k`,
/// then `top_p` within what is left (its probabilities adding up to 1 again), then `min_p`. Equal logits are ranked by
/// index. The probabilities that are left are added up in the order of indices, in f64, until they exceed u times their
/// sum.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
    /// exp((logit - largest) / temperature), 0 where a token is out; one a token.
    weights: Vec<f64>,
    /// Tokens from the likeliest down, as far as the filters need it.
    ranked: Vec<u32>,
}

impl Sampler {
    /// A sampler.
    ///
    /// # Errors
    /// [`Error::Usage`] for values out of range.
    pub fn new(sampling: Sampling) -> Result<Sampler> {
        sampling.check()?;
        Ok(Sampler { sampling, weights: Vec::new(), ranked: Vec::new() })
    }

    /// The token that the uniform number `u` in [0, 1) chooses. A logit of minus infinity is never chosen.
    ///
    /// # Errors
    /// [`Error::Diverged`] where a logit is NaN or plus infinity, or all are minus infinity.
    ///
    /// # Panics
    /// Where there are no logits.
    #[track_caller]
    pub fn choose(&mut self, logits: &[f32], u: f64) -> Result<u32> {
        assert!(!logits.is_empty(), "there is no token to choose from");
        let best = likeliest(logits)?;
        if self.sampling.temperature == 0.0 {
            return Ok(best);
        }
        let largest = f64::from(logits[best as usize]);
        let inverse = 1.0 / self.sampling.temperature;
        self.weights.clear();
        // A temperature near 0 makes the inverse infinite, and infinity times 0 is NaN: the likeliest has weight 1.
        self.weights.extend(logits.iter().map(|&logit| match f64::from(logit) - largest {
            0.0 => 1.0,
            below => (below * inverse).exp(),
        }));
        self.filter(logits);
        Ok(self.cut(u).unwrap_or(best))
    }

    /// Sets the weights of tokens that are out to 0.
    fn filter(&mut self, logits: &[f32]) {
        let Sampling { top_k, top_p, min_p, .. } = self.sampling;
        let keep = if top_k == 0 { logits.len() } else { top_k.min(logits.len()) };
        if keep < logits.len() || top_p < 1.0 {
            let order = |&a: &u32, &b: &u32| by_rank(logits, a, b);
            self.ranked.clear();
            self.ranked.extend(0..logits.len() as u32);
            if keep < logits.len() {
                self.ranked.select_nth_unstable_by(keep, order);
                for &out in &self.ranked[keep..] {
                    self.weights[out as usize] = 0.0;
                }
                self.ranked.truncate(keep);
            }
            if top_p < 1.0 {
                self.ranked.sort_unstable_by(order);
                self.nucleus(top_p);
            }
        }
        if min_p > 0.0 {
            // The likeliest weighs 1.
            self.weights.iter_mut().filter(|weight| **weight < min_p).for_each(|weight| *weight = 0.0);
        }
    }

    /// Keeps the shortest beginning of the ranking that has `top_p` of its weight.
    fn nucleus(&mut self, top_p: f64) {
        let total: f64 = self.ranked.iter().map(|&token| self.weights[token as usize]).sum();
        let mut sum = 0.0;
        let mut inside = true;
        for &token in &self.ranked {
            let weight = &mut self.weights[token as usize];
            if !inside {
                *weight = 0.0;
                continue;
            }
            sum += *weight;
            inside = sum < top_p * total;
        }
    }

    /// The token at `u` of the weights' sum.
    fn cut(&self, u: f64) -> Option<u32> {
        let total: f64 = self.weights.iter().sum();
        let target = u * total;
        let mut sum = 0.0;
        let mut last = None;
        for (token, &weight) in self.weights.iter().enumerate() {
            if weight > 0.0 {
                sum += weight;
                last = Some(token as u32);
                if sum > target {
                    break;
                }
            }
        }
        last
    }
}

/// The first of the largest logits.
fn likeliest(logits: &[f32]) -> Result<u32> {
    let mut best = 0;
    for (token, &logit) in logits.iter().enumerate() {
        if logit.is_nan() || logit == f32::INFINITY {
            return Err(Error::diverged(format!("the model's output for token {token} is {logit}"))
                .mend("its parameters are damaged or the training diverged; go back to an earlier checkpoint"));
        }
        if logit > logits[best] {
            best = token;
        }
    }
    if logits[best] == f32::NEG_INFINITY {
        return Err(Error::diverged("every output of the model is minus infinity"));
    }
    Ok(best as u32)
}

/// Larger logits first, equal ones by index.
fn by_rank(logits: &[f32], a: u32, b: u32) -> Ordering {
    logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sampler(change: impl FnOnce(&mut Sampling)) -> Sampler {
        let mut sampling = Sampling::default();
        change(&mut sampling);
        Sampler::new(sampling).unwrap()
    }

    /// The tokens that can be chosen, with their probabilities, found by trying many numbers.
    fn shares(sampler: &mut Sampler, logits: &[f32]) -> Vec<f64> {
        const TRIES: usize = 4000;
        let mut shares = vec![0.0; logits.len()];
        for i in 0..TRIES {
            shares[sampler.choose(logits, i as f64 / TRIES as f64).unwrap() as usize] += 1.0 / TRIES as f64;
        }
        shares
    }

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3)
    }

    /// Logits of these probabilities.
    fn logits(p: &[f32]) -> Vec<f32> {
        p.iter().map(|p| p.ln() + 3.0).collect()
    }

    #[test]
    fn shares_are_the_softmax_over_the_temperature() {
        let p = logits(&[0.1, 0.2, 0.3, 0.4]);
        assert!(close(&shares(&mut sampler(|_| ()), &p), &[0.1, 0.2, 0.3, 0.4]));
        // At temperature 1/2 probabilities are squared: 1, 4, 9, 16 of 30.
        let cold = shares(&mut sampler(|s| s.temperature = 0.5), &p);
        assert!(close(&cold, &[1.0 / 30.0, 4.0 / 30.0, 9.0 / 30.0, 16.0 / 30.0]), "{cold:?}");
    }

    #[test]
    fn filters_narrow_the_choice_one_after_the_other() {
        let p = logits(&[0.1, 0.2, 0.3, 0.4]);
        assert!(close(&shares(&mut sampler(|s| s.top_k = 2), &p), &[0.0, 0.0, 3.0 / 7.0, 4.0 / 7.0]));
        assert!(close(&shares(&mut sampler(|s| s.top_p = 0.65), &p), &[0.0, 0.0, 3.0 / 7.0, 4.0 / 7.0]));
        assert!(close(&shares(&mut sampler(|s| s.top_p = 0.75), &p), &[0.0, 2.0 / 9.0, 3.0 / 9.0, 4.0 / 9.0]));
        assert!(close(&shares(&mut sampler(|s| s.min_p = 0.6), &p), &[0.0, 0.0, 3.0 / 7.0, 4.0 / 7.0]));
        // Within the first two, 4/7 of the weight is more than half: top_p counts after top_k.
        let both = |s: &mut Sampling| (s.top_k, s.top_p) = (2, 0.5);
        assert!(close(&shares(&mut sampler(both), &p), &[0.0, 0.0, 0.0, 1.0]));
        // Alone, 0.4 is less than half, so a second token is in.
        assert!(close(&shares(&mut sampler(|s| s.top_p = 0.5), &p), &[0.0, 0.0, 3.0 / 7.0, 4.0 / 7.0]));
        assert!(close(&shares(&mut sampler(|s| s.top_k = 9), &p), &[0.1, 0.2, 0.3, 0.4]), "more than there are");
    }

    #[test]
    fn ties_go_to_the_lower_index() {
        let even = [0.5; 5];
        assert_eq!(sampler(|s| s.temperature = 0.0).choose(&even, 0.9).unwrap(), 0);
        assert!(close(&shares(&mut sampler(|s| s.top_k = 2), &even), &[0.5, 0.5, 0.0, 0.0, 0.0]));
        assert!(close(&shares(&mut sampler(|s| s.top_p = 0.4), &even), &[0.5, 0.5, 0.0, 0.0, 0.0]));
        assert_eq!(sampler(|s| s.top_k = 1).choose(&[1.0, 3.0, 3.0], 0.99).unwrap(), 1);
    }

    #[test]
    fn extreme_logits_and_temperatures_are_safe() {
        let wide = [-3e38, 0.0, 3e38];
        assert_eq!(sampler(|_| ()).choose(&wide, 0.999).unwrap(), 2);
        assert_eq!(sampler(|s| s.temperature = 1e-320).choose(&[1.0, 1.0, 0.0], 0.6).unwrap(), 1);
        assert_eq!(sampler(|s| s.temperature = 1e300).choose(&[f32::NEG_INFINITY, 1.0], 0.0).unwrap(), 1);
        assert_eq!(sampler(|_| ()).choose(&[7.0], 0.5).unwrap(), 0);
    }

    #[test]
    fn outputs_that_are_no_numbers_are_refused() {
        for bad in [[f32::NAN, 1.0], [1.0, f32::INFINITY], [f32::NEG_INFINITY; 2]] {
            assert_eq!(sampler(|_| ()).choose(&bad, 0.5).unwrap_err().exit_code(), 4);
        }
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let refused = |change: fn(&mut Sampling)| {
            let mut sampling = Sampling::default();
            change(&mut sampling);
            Sampler::new(sampling).unwrap_err().to_string()
        };
        assert_eq!(refused(|s| s.temperature = -1.0), "--temperature: must be a number that is 0 or more, got -1");
        assert_eq!(refused(|s| s.temperature = f64::NAN), "--temperature: must be a number that is 0 or more, got NaN");
        assert_eq!(refused(|s| s.top_p = 0.0), "--top-p: must be more than 0 and at most 1, got 0");
        assert_eq!(refused(|s| s.min_p = 1.5), "--min-p: must be from 0 to 1, got 1.5");
    }

    proptest! {
        #[test]
        fn the_choice_is_always_among_what_the_filters_leave(
            logits in proptest::collection::vec(-9.0f32..9.0, 1..40),
            top_k in 0usize..12,
            top_p in 0.01f64..=1.0,
            min_p in 0.0f64..=1.0,
            u in 0.0f64..1.0,
        ) {
            let sampling = Sampling { temperature: 0.8, top_k, top_p, min_p };
            let token = Sampler::new(sampling).unwrap().choose(&logits, u).unwrap() as usize;
            let above = logits.iter().filter(|&&logit| logit > logits[token]).count();
            prop_assert!(top_k == 0 || above < top_k);
            let largest = logits.iter().copied().fold(f32::MIN, f32::max);
            let relative = (f64::from(logits[token] - largest) / 0.8).exp();
            prop_assert!(relative >= min_p * 0.999_999);
        }
    }
}
