//! N-gram models of words or characters: the baselines that neural language models are measured against and mixed with.
//!
//! ```
//! use unroll::ngram::{NGram, Smoothing};
//! let text: Vec<u32> = (0..200).map(|i| i % 5).collect(); // 0 1 2 3 4 0 1 ...
//! let model = NGram::new(&text, 5, 3, Smoothing::KneserNey, &[])?;
//! assert!(model.probability(&[2, 3], 4) > 0.9);
//! let all: f64 = (0..5).map(|word| model.probability(&[2, 3], word)).sum();
//! assert!((all - 1.0).abs() < 1e-9);
//! # Ok::<(), unroll::Error>(())
//! ```

mod counts;
mod interpolated;
mod kneser_ney;
mod mixture;

use crate::error::{Error, Result};
use counts::Counts;
use interpolated::Interpolated;
use kneser_ney::KneserNey;

pub use mixture::Pairs;

/// The longest sequences that are counted.
pub const MOST_ORDER: usize = 9;

/// How the probability of what was never seen is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Smoothing {
    /// Frequencies of all orders, mixed by weights fitted to a validation text (Jelinek and Mercer 1980).
    #[default]
    Interpolated,
    /// Modified Kneser-Ney, interpolated (Chen and Goodman 1998).
    KneserNey,
    /// Modified Kneser-Ney with back-off.
    KneserNeyBackoff,
}

impl std::fmt::Display for Smoothing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Interpolated => "interpolated",
            Self::KneserNey => "kneser-ney",
            Self::KneserNeyBackoff => "kneser-ney-backoff",
        })
    }
}

/// A model of the next word from the `order` - 1 words before it.
#[derive(Clone, Debug)]
pub struct NGram {
    counts: Counts,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Interpolated(Interpolated),
    KneserNey(KneserNey),
}

impl NGram {
    /// Counts `text`, whose words are below `vocabulary`. `valid` is what the weights of [`Smoothing::Interpolated`] are fitted to.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] for an empty text, an order that is not 1 to [`MOST_ORDER`], a word beyond the vocabulary, or an
    /// interpolated model without a validation text.
    pub fn new(text: &[u32], vocabulary: usize, order: usize, smoothing: Smoothing, valid: &[u32]) -> Result<Self> {
        if !(1..=MOST_ORDER).contains(&order) {
            return Err(Error::usage(format!("an n-gram model of order {order}"))
                .mend(format!("the order is from 1 to {MOST_ORDER}")));
        }
        if text.is_empty() {
            return Err(Error::usage("a text without a word has no n-grams").mend("give it a longer text"));
        }
        if let Some(word) = text.iter().chain(valid).find(|&&word| word as usize >= vocabulary) {
            return Err(Error::usage(format!("word {word} of a vocabulary of {vocabulary}")));
        }
        let counts = Counts::of(text, order, vocabulary);
        let form = match smoothing {
            Smoothing::Interpolated if valid.is_empty() => {
                return Err(Error::usage("an interpolated model needs a text to fit its weights to")
                    .mend("name a validation text, or choose kneser-ney"));
            }
            Smoothing::Interpolated => Form::Interpolated(Interpolated::fit(&counts, valid)),
            Smoothing::KneserNey => Form::KneserNey(KneserNey::new(&counts, false)),
            Smoothing::KneserNeyBackoff => Form::KneserNey(KneserNey::new(&counts, true)),
        };
        Ok(Self { counts, form })
    }

    /// The longest sequence that it knows.
    pub fn order(&self) -> usize {
        self.counts.levels.len()
    }

    /// How many different sequences of each length the text had, from single words on.
    pub fn sequences(&self) -> Vec<usize> {
        self.counts.levels.iter().map(|level| level.words.len()).collect()
    }

    /// The probability of a word after a context, of which the last [`Self::order`] - 1 words count; it may be shorter.
    pub fn probability(&self, context: &[u32], word: u32) -> f64 {
        match &self.form {
            Form::Interpolated(model) => model.probability(&self.counts, context, word),
            Form::KneserNey(model) => model.probability(&self.counts, context, word),
        }
    }

    /// The mean of -ln p of the words of a text from `first` on, each after those before it.
    pub fn loss(&self, text: &[u32], first: usize) -> f64 {
        let context = |at: usize| &text[at.saturating_sub(self.order() - 1)..at];
        let sum: f64 = (first..text.len()).map(|at| -self.probability(context(at), text[at]).ln()).sum();
        sum / text.len().saturating_sub(first).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Key, Purpose};

    const ALL: [Smoothing; 3] = [Smoothing::Interpolated, Smoothing::KneserNey, Smoothing::KneserNeyBackoff];

    /// Words of a skewed distribution that depends on the word before.
    fn text(seed: u64, len: u64, vocabulary: u32) -> Vec<u32> {
        let key = Key::new(seed, Purpose::Source);
        let mut before = 0;
        (0..len)
            .map(|i| {
                let u = key.uniform_f64(i);
                before = (before * 3 + (u * u * f64::from(vocabulary)) as u32) % vocabulary;
                before
            })
            .collect()
    }

    #[test]
    fn probabilities_after_any_context_sum_to_one() {
        for (len, vocabulary) in [(400, 11), (30, 7), (3, 4), (1, 3)] {
            let (train, valid) = (text(1, len, vocabulary), text(2, 60, vocabulary));
            for (order, smoothing) in (1..=4).flat_map(|order| ALL.map(|s| (order, s))) {
                let model = NGram::new(&train, vocabulary as usize, order, smoothing, &valid).unwrap();
                assert_eq!(model.order(), order);
                let contexts = (0..valid.len() - 5).map(|at| &valid[at..at + at % 5]).chain([&train[..1], &train[..]]);
                for context in contexts {
                    let p: Vec<f64> = (0..vocabulary).map(|word| model.probability(context, word)).collect();
                    let sum: f64 = p.iter().sum();
                    assert!((sum - 1.0).abs() < 1e-9, "{smoothing} of order {order} after {context:?}: {sum}");
                    assert!(
                        p.iter().all(|&p| p > 0.0 || len < 10),
                        "{smoothing} of order {order} after {context:?}: {p:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_longer_context_that_tells_the_next_word_helps() {
        let (train, test) = (text(1, 20_000, 50), text(3, 5_000, 50));
        for smoothing in ALL {
            let loss = |order| NGram::new(&train, 50, order, smoothing, &test).unwrap().loss(&test, 0);
            let losses = [1, 2, 3].map(loss);
            assert!(losses[1] < losses[0] - 0.1, "{smoothing}: {losses:?}");
            assert!(losses[2] < losses[1] + 0.2, "{smoothing}: {losses:?}");
        }
    }

    /// What is taken from the counts of single words does not all go to the one that follows nothing.
    #[test]
    fn a_word_that_only_begins_a_text_is_as_rare_as_one_that_never_came() {
        let train: Vec<u32> = [50].into_iter().chain(text(1, 400, 50)).collect();
        for smoothing in [Smoothing::KneserNey, Smoothing::KneserNeyBackoff] {
            let model = NGram::new(&train, 52, 2, smoothing, &[]).unwrap();
            let [first, never] = [50, 51].map(|word| model.probability(&[], word));
            assert!((first / never - 1.0).abs() < 1e-12 && first < 0.01, "{smoothing}: {first}, {never}");
        }
    }

    /// Counts by hand: "a b a c a b", Kneser-Ney of order 2 with discounts worked out on paper.
    #[test]
    fn a_small_text_by_hand() {
        let text = [0, 1, 0, 2, 0, 1];
        let model = NGram::new(&text, 3, 2, Smoothing::KneserNey, &[]).unwrap();
        // Bigrams: ab 2, ac 1, ba 1, ca 1. n_1 = 3, n_2 = 1: Y = 3/5, D_1 = 1 - 2 (3/5) (1/3) = 3/5, D_2 = 2 - 0 = 1.9 at most.
        // Words that single words follow: a 2 (b, c), b 1, c 1. n_1 = 2, n_2 = 1: Y = 1/2, D_1 = 1 - 2 (1/2) (1/2) = 1/2, D_2 = 1.9.
        let left = (1.9 + 0.5 + 0.5) / 4.0;
        let single = |count: f64, discount: f64| (count - discount) / 4.0 + left / 3.0;
        let (a, b) = (single(2.0, 1.9), single(1.0, 0.5));
        let after_a = (1.9 + 0.6) / 3.0;
        for (context, word, want) in [
            (&[][..], 0, a),
            (&[], 1, b),
            (&[0], 1, (2.0 - 1.9) / 3.0 + after_a * b),
            (&[0], 0, after_a * a),
            (&[1], 0, 0.4 + 0.6 * a),
        ] {
            let got = model.probability(context, word);
            assert!((got - want).abs() < 1e-12, "{context:?} {word}: {got}, not {want}");
        }
    }

    #[test]
    fn wrong_use_is_named() {
        for (text, order, smoothing, said) in [
            (&[][..], 2, Smoothing::KneserNey, "without a word"),
            (&[0], 0, Smoothing::KneserNey, "order 0"),
            (&[0, 9], 2, Smoothing::KneserNey, "word 9 of a vocabulary of 3"),
            (&[0], 2, Smoothing::Interpolated, "needs a text"),
        ] {
            let error = NGram::new(text, 3, order, smoothing, &[]).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
