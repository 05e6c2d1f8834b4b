//! What a model says of samples.

use crate::corpus::IGNORE;
use crate::error::Result;
use crate::network::{Batch, Network};
use crate::train::Batches;

use super::batches::{BatchOptions, SampleBatches};
use super::encoder::{Encoder, Sample};
use crate::config::TaskKind;

/// The class of a text or a word.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// The class, by its number.
    pub class: u32,
    /// Its probability.
    pub probability: f32,
}

/// What one output says of each sample: the probabilities of every class, or a number, one row a text, or one a word of a sentence.
/// Of a step that the model masks it says nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    classes: usize,
    of_sample: Vec<Rows>,
}

/// What is said of each text or word of a sample.
#[derive(Debug, Clone, PartialEq)]
struct Rows {
    values: Vec<f32>,
    /// Whether anything is.
    said: Vec<bool>,
}

impl Predictions {
    /// Samples.
    pub fn len(&self) -> usize {
        self.of_sample.len()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.of_sample.is_empty()
    }
    /// The probabilities of a sample, C a text or word; none of a step that is masked.
    pub fn probabilities(&self, sample: usize) -> impl Iterator<Item = Option<&[f32]>> {
        let Rows { values, said } = &self.of_sample[sample];
        values.chunks_exact(self.classes).zip(said).map(|(row, said)| said.then_some(row))
    }
    /// The likeliest class of each text or word of a sample; of two classes the second from `threshold` on.
    pub fn of(&self, sample: usize, threshold: f32) -> impl Iterator<Item = Option<Prediction>> {
        self.probabilities(sample).map(move |row| row.map(|row| decide(row, threshold)))
    }
}

/// The likeliest class, the first of equals; of two the second from `threshold` on.
fn decide(row: &[f32], threshold: f32) -> Prediction {
    let class = match row {
        [_, second] => usize::from(*second >= threshold),
        _ => (1..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best }),
    };
    Prediction { class: class as u32, probability: row[class] }
}

/// Predicts samples, and gives what each output says of them; their targets have no part in it. `options.shuffle` has none either.
///
/// # Errors
/// What the batches return.
///
/// # Panics
/// Where the samples exceed the network's capacity, or it has more than one replica.
pub fn predict(
    network: &mut Network,
    encoder: &Encoder,
    samples: &[Sample],
    options: BatchOptions,
) -> Result<Vec<Predictions>> {
    let batches = SampleBatches::new(samples, encoder, BatchOptions { shuffle: None, ..options });
    let (rows, most) = (options.rows, options.steps);
    let (mut inputs, mut targets) = (vec![0; rows * most], vec![IGNORE; batches.targets(most)]);
    let mut vectors = vec![0.0; rows * batches.width()];
    let mut state = network.new_state(rows);
    let words = |sample: &Sample| match encoder.kind() {
        TaskKind::Tag => sample.tokens.iter().filter(|&&token| encoder.is_word(token)).count(),
        _ => 1,
    };
    let empty = |classes: usize| {
        let rows = |n| Rows { values: vec![0.0; classes * n], said: vec![false; n] };
        Predictions { classes, of_sample: samples.iter().map(|sample| rows(words(sample))).collect() }
    };
    let mut outputs: Vec<Predictions> = encoder.all_targets().into_iter().map(empty).collect();
    // The place of each word among the words of its sentence.
    let mut places = vec![usize::MAX; rows * most];
    for index in 0..batches.batches() {
        let chosen = batches.of_batch(0, index);
        let steps = batches.batch(0, index, &mut inputs, &mut targets)?;
        let inputs = &inputs[..steps * rows];
        for n in 0..chosen.len() {
            let mut place = 0;
            for t in 0..steps {
                let is_word = !options.sequence && t == 0 || encoder.is_word(inputs[t * rows + n]);
                places[t * rows + n] = if is_word { place } else { usize::MAX };
                place += usize::from(is_word);
            }
        }
        batches.vectors(0, index, &mut vectors);
        let vectors = [vectors.as_slice()];
        let vectors = &vectors[..usize::from(batches.width() > 0)];
        let inputs = if batches.takes_tokens() { inputs } else { &[] };
        let batch = Batch { steps, rows, inputs, vectors, ..Batch::default() };
        network.predict_outputs(&batch, &mut state, |o, t, n, logits| {
            let Some(&sample) = chosen.get(n) else { return };
            let place = places[t * rows + n];
            if place != usize::MAX {
                let Predictions { classes, of_sample } = &mut outputs[o];
                let Rows { values, said } = &mut of_sample[sample];
                let row = &mut values[place * *classes..][..*classes];
                said[place] = true;
                if encoder.is_number(o) { row[0] = logits[0] } else { probabilities(logits, row) }
            }
        });
    }
    Ok(outputs)
}

/// The softmax of a row of logits, or of one logit the sigmoid: its complement, then itself.
fn probabilities(logits: &[f32], out: &mut [f32]) {
    if let ([logit], [first, second]) = (logits, &mut *out) {
        let p = 1.0 / (1.0 + (-f64::from(*logit)).exp());
        (*first, *second) = ((1.0 - p) as f32, p as f32);
        return;
    }
    let logits = &logits[..out.len()];
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
    out.iter_mut().zip(logits).for_each(|(p, &x)| *p = (f64::from(x - most).exp() / sum) as f32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_become_probabilities_and_those_a_class() {
        let mut out = [0.0; 3];
        probabilities(&[1.0, 3.0, 2.0], &mut out);
        assert!((out.iter().sum::<f32>() - 1.0).abs() < 1e-6 && out[1] > out[2] && out[2] > out[0]);
        assert_eq!(decide(&out, 0.5).class, 1);
        let mut two = [0.0; 2];
        probabilities(&[-3.0f32.ln()], &mut two);
        assert!((two[1] - 0.25).abs() < 1e-6 && (two[0] - 0.75).abs() < 1e-6);
        assert_eq!((decide(&two, 0.5).class, decide(&two, 0.2).class), (0, 1));
    }
}
