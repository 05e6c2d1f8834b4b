//! How well words are predicted: those behind a prefix, and those of a caption behind the true ones before them.

use serde::Serialize;

use crate::corpus::IGNORE;
use crate::error::Result;
use crate::network::{Batch, Network};
use crate::train::Batches;

use super::batches::{BatchOptions, SampleBatches};
use super::encoder::{Encoder, Sample};

/// The figures of words that were predicted from the true ones before them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct WordScores {
    /// Words; the end of a caption is one.
    pub words: u64,
    /// The mean of -ln p of the true words.
    pub loss: f64,
    /// The share of the words that were the likeliest.
    pub accuracy: f64,
    /// The share of the words that were among the five likeliest.
    pub top_5: f64,
}

impl WordScores {
    /// exp(loss).
    pub fn perplexity(&self) -> f64 {
        self.loss.exp()
    }
}

/// Scores the words of samples. `options.shuffle` has no part in it.
///
/// # Errors
/// What the batches return.
///
/// # Panics
/// Where the samples exceed the network's capacity, or it has more than one replica.
pub fn score_words(
    network: &mut Network,
    encoder: &Encoder,
    samples: &[Sample],
    options: BatchOptions,
) -> Result<WordScores> {
    let batches = SampleBatches::new(samples, encoder, BatchOptions { shuffle: None, word_dropout: 0.0, ..options });
    let (rows, size, of_words) = (options.rows, options.rows * options.steps, encoder.targets());
    let (mut inputs, mut targets) = (vec![0; size], vec![IGNORE; size]);
    let mut vectors = vec![0.0; rows * batches.width()];
    let mut source = vec![0; rows * batches.source_steps()];
    let mut state = network.new_state(rows);
    let (mut words, mut nats, mut first, mut among_5) = (0, 0.0, 0, 0);
    for index in 0..batches.batches() {
        let steps = batches.batch(0, index, &mut inputs, &mut targets)?;
        batches.vectors(0, index, &mut vectors);
        let vectors = [vectors.as_slice()];
        let vectors = &vectors[..usize::from(batches.width() > 0)];
        let (source_steps, tokens) = if source.is_empty() { (0, 0) } else { batches.source(0, index, &mut source) };
        let (inputs, source) = (&inputs[..steps * rows], &source[..tokens]);
        let batch = Batch { steps, rows, inputs, vectors, source_steps, source, ..Batch::default() };
        network.predict_each(&batch, &mut state, |t, n, logits| {
            let target = targets[t * rows + n];
            if target == IGNORE {
                return;
            }
            let logits = &logits[..of_words];
            let own = logits[target as usize];
            let before = logits.iter().take(target as usize).filter(|logit| **logit == own).count();
            let rank = before + logits.iter().filter(|logit| **logit > own).count();
            words += 1;
            nats -= log_probability(logits, target);
            first += u64::from(rank == 0);
            among_5 += u64::from(rank < 5);
        });
    }
    let share = |count: u64| count as f64 / words.max(1) as f64;
    Ok(WordScores { words, loss: nats / words.max(1) as f64, accuracy: share(first), top_5: share(among_5) })
}

/// ln of the softmax of a row of logits at `target`, in f64.
fn log_probability(logits: &[f32], target: u32) -> f64 {
    f64::from(logits[target as usize]) - log_sum(logits)
}

/// ln of the sum of the exponentials of a row of logits.
pub(super) fn log_sum(logits: &[f32]) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    f64::from(most) + logits.iter().map(|&x| (f64::from(x) - f64::from(most)).exp()).sum::<f64>().ln()
}
