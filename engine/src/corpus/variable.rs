//! Streams whose batches have as many steps as are drawn for each, as AWD-LSTM has them.
//!
//! With b steps wanted, a batch has max(5, floor(normal(m, 5))) steps, m = b with probability 0.95 and else b / 2, so
//! that a token is not at the end of its batch, where little is learned of it, in every epoch alike (S. Merity, N. S.
//! Keskar and R. Socher 2017, arXiv:1708.02182, section 5). Here no batch has more than b + 25 steps, five standard
//! deviations, so that its room is known. Draws depend on the seed, the epoch and the number of the batch alone.

use std::cell::Cell;

use super::{Streams, TokenSource};
use crate::error::Result;
use crate::random::{Key, Purpose};

/// The standard deviation of the steps, and the fewest.
const DEVIATION: f64 = 5.0;
const FEWEST: f64 = 5.0;
/// How often the steps are drawn about the number that is wanted.
const USUAL: f32 = 0.95;
/// Steps beyond those wanted that a batch may have.
const BEYOND: usize = 25;

/// Parallel streams, cut into batches of different lengths.
#[derive(Debug, Clone)]
pub struct VariableStreams<S> {
    streams: Streams<S>,
    seed: u64,
    /// The batch that comes next to the last that was asked for: its epoch, its number, its first step.
    next: Cell<(u64, u64, u64)>,
    /// The epoch whose batches were counted last, and how many they are.
    counted: Cell<Option<(u64, u64)>>,
}

impl<S: TokenSource> VariableStreams<S> {
    /// These streams with their steps drawn by this seed about the number that they have.
    pub fn new(streams: Streams<S>, seed: u64) -> Self {
        Self { streams, seed, next: Cell::new((0, 0, 0)), counted: Cell::new(None) }
    }

    /// The most steps of a batch, where so many are wanted.
    pub fn longest(steps: usize) -> usize {
        steps + BEYOND
    }

    /// The streams.
    pub fn streams(&self) -> &Streams<S> {
        &self.streams
    }

    /// The steps drawn for batch `index` of `epoch`.
    fn drawn(&self, epoch: u64, index: u64) -> u64 {
        let key = Key::new(self.seed, Purpose::Steps).step(epoch);
        let wanted = self.streams.steps() as f64;
        // Words 4 i to 4 i + 3 are this batch's: one for the choice, the last two for the normal number.
        let mean = if key.uniform(4 * index) < USUAL { wanted } else { wanted / 2.0 };
        let drawn = mean + DEVIATION * f64::from(key.normal(2 * index + 1));
        drawn.max(FEWEST).min(Self::longest(self.streams.steps()) as f64) as u64
    }

    /// The first step of batch `index`, and its steps.
    fn place(&self, epoch: u64, index: u64) -> (u64, u64) {
        let (known, at, first) = self.next.get();
        let (mut at, mut first) = if known == epoch && at <= index { (at, first) } else { (0, 0) };
        while at < index {
            first += self.drawn(epoch, at);
            at += 1;
        }
        let steps = self.drawn(epoch, index);
        self.next.set((epoch, index + 1, first + steps));
        (first, steps)
    }

    /// Batches of an epoch, from 0.
    pub fn batches_in(&self, epoch: u64) -> u64 {
        if let Some((_, batches)) = self.counted.get().filter(|&(counted, _)| counted == epoch) {
            return batches;
        }
        let (mut batches, mut first) = (0, 0);
        while first < self.streams.longest() {
            first += self.drawn(epoch, batches);
            batches += 1;
        }
        self.counted.set(Some((epoch, batches)));
        batches
    }

    /// Fills batch `index` of `epoch`, as [`Streams::batch`] does.
    ///
    /// # Errors
    /// As [`Streams::batch`].
    ///
    /// # Panics
    /// Panics if there is no such batch, or a slice is shorter than its steps times the rows.
    #[track_caller]
    pub fn batch(&self, epoch: u64, index: u64, inputs: &mut [u32], targets: &mut [u32]) -> Result<usize> {
        let (first, steps) = self.place(epoch, index);
        let longest = self.streams.longest();
        assert!(first < longest, "batch {index} of epoch {epoch} begins at step {first} of {longest}");
        self.streams.fill(first, steps.min(longest - first) as usize, inputs, targets)
    }

    /// What the learning rate is multiplied by for a batch of so many steps, whose loss is a mean: the share of the steps that
    /// are wanted.
    pub fn rate(&self, steps: usize) -> f64 {
        steps as f64 / self.streams.steps() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{IGNORE, MemoryTokens};

    const LEN: u64 = 9_001;

    fn drawn_by(seed: u64) -> VariableStreams<MemoryTokens> {
        let tokens = (0..LEN as u32).collect();
        VariableStreams::new(
            Streams::new(MemoryTokens::new(tokens, LEN as usize).unwrap(), 0..LEN, 3, 70).unwrap(),
            seed,
        )
    }

    /// The targets of the rows in order, and the steps of each batch.
    fn walk(streams: &VariableStreams<MemoryTokens>, epoch: u64) -> (Vec<Vec<u32>>, Vec<usize>) {
        let (mut rows, mut lengths) = (vec![Vec::new(); 3], Vec::new());
        let size = 3 * VariableStreams::<MemoryTokens>::longest(70);
        for index in 0..streams.batches_in(epoch) {
            let (mut inputs, mut targets) = (vec![0; size], vec![0; size]);
            let steps = streams.batch(epoch, index, &mut inputs, &mut targets).unwrap();
            for (i, &target) in targets[..3 * steps].iter().enumerate() {
                assert_eq!(inputs[i] + 1, if target == IGNORE { inputs[i] + 1 } else { target });
                rows[i % 3].push(target);
            }
            lengths.push(steps);
        }
        (rows, lengths)
    }

    #[test]
    fn every_epoch_has_every_token_in_other_batches() {
        let streams = drawn_by(1);
        let (first, second) = (walk(&streams, 0), walk(&streams, 1));
        assert_eq!(first.0, second.0);
        assert_ne!(first.1, second.1);
        for (n, row) in first.0.iter().enumerate() {
            let want: Vec<u32> = (1..=3000).map(|t| n as u32 * 3000 + t).collect();
            assert_eq!(row, &want);
        }
        assert_eq!(walk(&drawn_by(1), 0), first, "the seed decides");
        assert_ne!(walk(&drawn_by(2), 0).1, first.1);
    }

    #[test]
    fn lengths_are_as_published() {
        let streams = drawn_by(3);
        let drawn: Vec<f64> = (0..20_000).map(|i| streams.drawn(i % 50, i / 50) as f64).collect();
        let (long, short): (Vec<f64>, Vec<f64>) = drawn.iter().partition(|&&steps| steps > 52.0);
        let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
        let deviation = |of: &[f64]| (of.iter().map(|x| (x - mean(of)).powi(2)).sum::<f64>() / of.len() as f64).sqrt();
        // The whole part of a number is half below it in the mean. Six standard deviations of 1,000 and of 19,000 draws.
        assert!((short.len() as f64 - 1000.0).abs() < 6.0 * 31.0, "{}", short.len());
        assert!(
            (mean(&long) - 69.5).abs() < 0.25 && (mean(&short) - 34.5).abs() < 1.0,
            "{} {}",
            mean(&long),
            mean(&short)
        );
        assert!((deviation(&long) - 5.0).abs() < 0.2 && (deviation(&short) - 5.0).abs() < 0.7);
        assert_eq!((streams.rate(70), streams.rate(35)), (1.0, 0.5));
    }

    #[test]
    fn a_batch_is_the_same_whatever_was_asked_for_before() {
        let streams = drawn_by(1);
        let size = 3 * VariableStreams::<MemoryTokens>::longest(70);
        let batch = |streams: &VariableStreams<MemoryTokens>, epoch, index| {
            let (mut inputs, mut targets) = (vec![0; size], vec![0; size]);
            let steps = streams.batch(epoch, index, &mut inputs, &mut targets).unwrap();
            (steps, inputs, targets)
        };
        for (epoch, index) in [(0, 7), (0, 8), (0, 3), (4, 5), (0, 8)] {
            assert_eq!(batch(&streams, epoch, index), batch(&drawn_by(1), epoch, index));
        }
    }
}
