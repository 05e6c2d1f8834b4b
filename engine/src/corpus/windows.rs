//! Windows of a text: the words before each word, for models that read so many of them and no more.
//!
//! ```text
//! tokens      3 1 4 1 5      a filler f, windows of three
//! samples     f f 3 -> 1     f 3 1 -> 4     3 1 4 -> 1     1 4 1 -> 5
//! ```
//!
//! Before the first token of the text stands the filler, as often as a window needs it. Every token is a target once,
//! but for the first where nothing is known to stand before it. A training text is read in another order each epoch, a
//! permutation that is computed and not kept: a window of a text larger than memory costs one read of the map, and
//! batch i of an epoch is known without those before it.

use std::ops::Range;

use super::{IGNORE, TokenSource};
use crate::error::{Error, Result};
use crate::random::{Key, Permutation, Purpose};

/// The longest window.
pub const LONGEST_WINDOW: usize = 256;

/// How a text is cut into windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowOptions {
    /// N: windows of a batch.
    pub rows: usize,
    /// T: tokens of a window.
    pub length: usize,
    /// The token that stands before the beginning of the text.
    pub filler: u32,
    /// Whether the first token of the text is a target, predicted from fillers alone.
    pub first: bool,
    /// The seed by which windows are put in another order each epoch; none: they stay in their order.
    pub shuffle: Option<u64>,
}

/// Windows of a range of a text, as batches.
#[derive(Debug, Clone)]
pub struct Windows<S> {
    source: S,
    /// The positions of the targets.
    targets: Range<u64>,
    options: WindowOptions,
}

impl<S: TokenSource> Windows<S> {
    /// The windows before the tokens of a range; they reach back beyond its beginning.
    ///
    /// # Errors
    /// [`Error::Usage`] if the range has no token to predict.
    ///
    /// # Panics
    /// Panics if rows or length are 0, the length is beyond [`LONGEST_WINDOW`], or the range is not within the source.
    pub fn new(source: S, range: Range<u64>, options: WindowOptions) -> Result<Windows<S>> {
        let WindowOptions { rows, length, first, .. } = options;
        assert!(rows > 0 && (1..=LONGEST_WINDOW).contains(&length), "{rows} rows of windows of {length}");
        assert!(range.start <= range.end && range.end <= source.len(), "tokens {range:?} of {}", source.len());
        let targets = range.start + u64::from(range.start == 0 && !first)..range.end;
        if targets.is_empty() {
            let len = range.end - range.start;
            return Err(Error::usage(format!("{len} tokens of text have none to predict")).mend("give a longer text"));
        }
        Ok(Windows { source, targets, options })
    }

    /// Targets of an epoch.
    pub fn scored(&self) -> u64 {
        self.targets.end - self.targets.start
    }

    /// Batches of an epoch; the last may have fewer windows.
    pub fn batches(&self) -> u64 {
        self.scored().div_ceil(self.options.rows as u64)
    }

    /// N and T.
    pub fn sizes(&self) -> (usize, usize) {
        (self.options.rows, self.options.length)
    }

    /// The source.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Fills batch `index` of `epoch`: `inputs[t * N + n]` is token t of window n, `targets[n]` the one behind it. Windows that
    /// the last batch lacks are fillers, and their targets [`IGNORE`]. Allocates nothing.
    ///
    /// # Errors
    /// [`Error::Input`] if the file behind the tokens turns out to be damaged.
    ///
    /// # Panics
    /// Panics if there is no such batch, or a slice is too short.
    #[track_caller]
    pub fn batch(&self, epoch: u64, index: u64, inputs: &mut [u32], targets: &mut [u32]) -> Result<()> {
        let WindowOptions { rows, length, filler, shuffle, .. } = self.options;
        assert!(index < self.batches(), "batch {index} of {}", self.batches());
        let order = shuffle.map(|seed| Permutation::new(Key::new(seed, Purpose::Shuffle).step(epoch), self.scored()));
        let mut window = [0; LONGEST_WINDOW + 1];
        for (n, target) in targets[..rows].iter_mut().enumerate() {
            let sample = index * rows as u64 + n as u64;
            let window = &mut window[..=length];
            window.fill(filler);
            *target = IGNORE;
            if sample < self.scored() {
                let at = self.targets.start + order.map_or(sample, |order| order.at(sample));
                let there = (length as u64).min(at) as usize;
                self.source.read(at - there as u64, &mut window[length - there..])?;
                *target = window[length];
            }
            window[..length].iter().enumerate().for_each(|(t, &token)| inputs[t * rows + n] = token);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemoryTokens;
    use super::*;

    fn windows(tokens: &[u32], range: Range<u64>, options: WindowOptions) -> Windows<MemoryTokens> {
        Windows::new(MemoryTokens::new(tokens.to_vec(), 10).unwrap(), range, options).unwrap()
    }

    /// Windows with their targets, in the order of the batches.
    fn samples(windows: &Windows<MemoryTokens>, epoch: u64) -> Vec<(Vec<u32>, u32)> {
        let (rows, length) = windows.sizes();
        let (mut inputs, mut targets) = (vec![77; rows * length], vec![77; rows]);
        let mut all = Vec::new();
        for index in 0..windows.batches() {
            windows.batch(epoch, index, &mut inputs, &mut targets).unwrap();
            let rows = (0..rows).map(|n| ((0..length).map(|t| inputs[t * rows + n]).collect(), targets[n]));
            all.extend(rows);
        }
        all
    }

    const PLAIN: WindowOptions = WindowOptions { rows: 2, length: 3, filler: 9, first: false, shuffle: None };

    #[test]
    fn every_token_is_a_target_behind_those_before_it() {
        let text = [3, 1, 4, 1, 5];
        let want = |all: &[(&[u32], u32)]| all.iter().map(|&(w, t)| (w.to_vec(), t)).collect::<Vec<_>>();
        let four: [(&[u32], u32); 4] = [(&[9, 9, 3], 1), (&[9, 3, 1], 4), (&[3, 1, 4], 1), (&[1, 4, 1], 5)];
        assert_eq!(samples(&windows(&text, 0..5, PLAIN), 0), want(&four));
        let begun = windows(&text, 0..5, WindowOptions { first: true, ..PLAIN });
        assert_eq!((begun.scored(), begun.batches()), (5, 3));
        let mut five = vec![(&[9, 9, 9][..], 3)];
        five.extend(four);
        five.push((&[9, 9, 9], IGNORE));
        assert_eq!(samples(&begun, 0), want(&five));
        // A part of a text sees what stands before it.
        assert_eq!(samples(&windows(&text, 3..5, PLAIN), 0), want(&four[2..]));
        let one = WindowOptions { rows: 1, length: 1, ..PLAIN };
        assert_eq!(samples(&windows(&text, 0..2, one), 0), want(&[(&[3], 1)]));
    }

    #[test]
    fn an_epoch_has_every_window_once_in_an_order_of_its_own() {
        let text: Vec<u32> = (0..1000).map(|i| i * i % 10).collect();
        let shuffled = |seed| windows(&text, 0..1000, WindowOptions { rows: 37, shuffle: Some(seed), ..PLAIN });
        let plain = samples(&windows(&text, 0..1000, WindowOptions { rows: 37, ..PLAIN }), 0);
        let sorted = |mut all: Vec<(Vec<u32>, u32)>| {
            all.sort();
            all
        };
        let (first, second, other) = (samples(&shuffled(1), 0), samples(&shuffled(1), 1), samples(&shuffled(2), 0));
        assert!(first != plain && first != second && first != other);
        assert_eq!(first, samples(&shuffled(1), 0));
        for all in [first, second, other] {
            assert_eq!(sorted(all), sorted(plain.clone()));
        }
    }

    #[test]
    fn a_text_without_a_target_is_refused() {
        let refused = |range, first| {
            let source = MemoryTokens::new(vec![1, 2], 10).unwrap();
            Windows::new(source, range, WindowOptions { first, ..PLAIN }).map(|windows| windows.scored())
        };
        assert!(refused(0..1, false).is_err() && refused(1..1, true).is_err());
        assert_eq!((refused(0..1, true).unwrap(), refused(1..2, false).unwrap()), (1, 1));
    }
}
