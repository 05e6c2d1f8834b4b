//! Samples as batches of the training loop.

use std::cell::RefCell;

use crate::corpus::IGNORE;
use crate::error::Result;
use crate::random::{Key, Purpose};
use crate::text::{PADDING, Side, start};
use crate::train::Batches;

use super::encoder::{Encoder, Sample};

/// Batches whose samples are put in order of length at a time, so that those of a batch are about as long.
const WINDOW: usize = 16;

/// How samples become batches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchOptions {
    /// N: samples of a batch.
    pub rows: usize,
    /// T: the most tokens of a sample.
    pub steps: usize,
    /// Whether every batch has T steps; else as many as its longest sample.
    pub fixed: bool,
    /// On which side shorter samples are padded.
    pub padding: Side,
    /// Whether there is a target a token rather than one a sample.
    pub sequence: bool,
    /// Outputs, each with targets of its own.
    pub outputs: usize,
    /// Of models that read a source: the numbers of a step of it, 0 where its steps are tokens.
    pub source: Option<usize>,
    /// The seed by which samples are put in another order each epoch; none: they stay in their order, and no word is hidden.
    pub shuffle: Option<u64>,
    /// How often words are hidden: [`crate::config::TaskConfig::word_dropout`].
    pub word_dropout: f64,
}

/// Samples as batches.
pub struct SampleBatches<'a> {
    samples: &'a [Sample],
    encoder: &'a Encoder,
    options: BatchOptions,
    /// The last epoch that was asked for, and its order of samples.
    order: RefCell<(Option<u64>, Vec<usize>)>,
}

impl<'a> SampleBatches<'a> {
    /// The batches of these samples.
    ///
    /// # Panics
    /// Where a sample has more than `options.steps` tokens.
    pub fn new(samples: &'a [Sample], encoder: &'a Encoder, options: BatchOptions) -> SampleBatches<'a> {
        let longest = samples.iter().map(|sample| sample.tokens.len()).max().unwrap_or(0);
        assert!(longest <= options.steps, "a sample of {longest} tokens, room for {}", options.steps);
        SampleBatches { samples, encoder, options, order: RefCell::new((None, Vec::new())) }
    }

    /// The samples of a batch.
    pub(super) fn of_batch(&self, epoch: u64, index: u64) -> Vec<usize> {
        let rows = self.options.rows;
        let first = index as usize * rows;
        let mut order = self.order.borrow_mut();
        let epoch = if self.options.shuffle.is_some() { epoch } else { 0 };
        if order.0 != Some(epoch) {
            *order = (Some(epoch), self.shuffled(epoch));
        }
        order.1[first..self.samples.len().min(first + rows)].to_vec()
    }

    /// The order of an epoch: random, then by length within windows, then whole batches random again.
    fn shuffled(&self, epoch: u64) -> Vec<usize> {
        let rows = self.options.rows;
        let mut order: Vec<usize> = (0..self.samples.len()).collect();
        let Some(seed) = self.options.shuffle else {
            order.sort_by_key(|&sample| self.samples[sample].tokens.len());
            return order;
        };
        let random = Key::new(seed, Purpose::Shuffle).step(epoch);
        shuffle(&mut order, random.layer(2));
        order.chunks_mut(WINDOW * rows).for_each(|window| window.sort_by_key(|&i| self.samples[i].tokens.len()));
        // The last batch may be smaller and stays the last.
        let whole = order.len() / rows;
        let mut batches: Vec<usize> = (0..whole).collect();
        shuffle(&mut batches, random.layer(3));
        let rest = order[whole * rows..].iter().copied();
        batches.iter().flat_map(|&batch| order[batch * rows..][..rows].iter().copied()).chain(rest).collect()
    }

    /// A token of the training, or what stands for an unknown one in its place.
    fn hide(&self, token: u32, random: Key, at: usize) -> u32 {
        let rate = self.options.word_dropout;
        match self.encoder.hidden(token) {
            Some((unknown, count)) if f64::from(random.uniform(at as u64)) < rate / (rate + count as f64) => unknown,
            _ => token,
        }
    }
}

fn shuffle(items: &mut [usize], random: Key) {
    for i in (1..items.len()).rev() {
        items.swap(i, random.below(i as u64, i as u64 + 1) as usize);
    }
}

impl Batches for SampleBatches<'_> {
    fn batches(&self) -> u64 {
        self.samples.len().div_ceil(self.options.rows) as u64
    }
    fn steps(&self) -> usize {
        self.options.steps
    }
    fn rows(&self) -> usize {
        self.options.rows
    }
    fn targets(&self, steps: usize) -> usize {
        self.options.outputs * if self.options.sequence { steps * self.options.rows } else { self.options.rows }
    }
    /// Rows that the last batch lacks are padding and are not scored.
    fn batch(&self, epoch: u64, index: u64, inputs: &mut [u32], targets: &mut [u32]) -> Result<usize> {
        let BatchOptions { rows, steps, fixed, padding, sequence, outputs, shuffle, word_dropout, .. } = self.options;
        let chosen = self.of_batch(epoch, index);
        let longest = chosen.iter().map(|&sample| self.samples[sample].tokens.len()).max().unwrap_or(0);
        let steps = if fixed { steps } else { longest.max(1) };
        inputs[..steps * rows].fill(PADDING);
        let count = self.targets(steps);
        targets[..count].fill(IGNORE);
        for (n, &sample) in chosen.iter().enumerate() {
            let Sample { tokens, targets: own, .. } = &self.samples[sample];
            let first = start(tokens.len(), steps, padding);
            for (i, &token) in tokens.iter().enumerate() {
                inputs[(first + i) * rows + n] = match shuffle {
                    Some(seed) if word_dropout > 0.0 => {
                        let random = Key::new(seed, Purpose::Shuffle)
                            .layer(4)
                            .step(epoch * self.samples.len() as u64 + sample as u64);
                        self.hide(token, random, i)
                    }
                    _ => token,
                };
            }
            let each = own.len() / outputs;
            for (o, targets) in targets[..count].chunks_exact_mut(count / outputs).enumerate() {
                let own = &own[o * each..][..each];
                if sequence {
                    own.iter().enumerate().for_each(|(i, &target)| targets[(first + i) * rows + n] = target);
                } else {
                    targets[n] = own[0];
                }
            }
        }
        Ok(steps)
    }
    fn takes_tokens(&self) -> bool {
        self.encoder.has_tokens()
    }
    fn width(&self) -> usize {
        self.samples.first().map_or(0, |sample| sample.vector.len())
    }
    fn vectors(&self, epoch: u64, index: u64, out: &mut [f32]) {
        out.fill(0.0);
        let chosen = self.of_batch(epoch, index);
        let width = match self.options.source {
            Some(width) if width > 0 => width,
            _ => self.width() / self.encoder.vector_steps().max(1),
        };
        vectors_by_step(chosen.iter().map(|&sample| &self.samples[sample].vector[..]), [self.options.rows, width], out);
    }
    fn source_steps(&self) -> usize {
        self.samples.iter().map(|sample| steps_of_source(self.options.source, sample)).max().unwrap_or(0)
    }
    fn source(&self, epoch: u64, index: u64, out: &mut [u32]) -> (usize, usize) {
        let chosen = self.of_batch(epoch, index);
        let rows = self.options.rows;
        let steps = chosen.iter().map(|&sample| steps_of_source(self.options.source, &self.samples[sample])).max();
        let steps = steps.unwrap_or(0);
        if self.options.source != Some(0) {
            return (steps, 0);
        }
        source_by_step(chosen.iter().map(|&sample| &self.samples[sample].source[..]), rows, &mut out[..steps * rows]);
        (steps, steps * rows)
    }
}

/// Steps of the source of a sample; 0 where the model reads none.
fn steps_of_source(source: Option<usize>, sample: &Sample) -> usize {
    match source {
        None => 0,
        Some(0) => sample.source.len().max(1),
        Some(width) => sample.vector.len() / width,
    }
}

/// Vectors (steps, N, width) of `rows` rows, each of whose own stand step after step.
pub(super) fn vectors_by_step<'v>(
    of_rows: impl Iterator<Item = &'v [f32]>,
    [rows, width]: [usize; 2],
    out: &mut [f32],
) {
    for (n, vectors) in of_rows.enumerate() {
        for (t, vector) in vectors.chunks_exact(width.max(1)).enumerate() {
            out[(t * rows + n) * width..][..width].copy_from_slice(vector);
        }
    }
}

/// Tokens (S, N) of the sources of `rows` rows, filled at their end.
pub(super) fn source_by_step<'t>(of_rows: impl Iterator<Item = &'t [u32]>, rows: usize, out: &mut [u32]) {
    out.fill(PADDING);
    for (n, tokens) in of_rows.enumerate() {
        tokens.iter().enumerate().for_each(|(t, &token)| out[t * rows + n] = token);
    }
}
