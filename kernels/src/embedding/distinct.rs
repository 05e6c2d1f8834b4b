//! The distinct tokens of a batch, found without sorting the batch.

use super::check_tokens;
use crate::profile::{self, Phase};
use std::ops::Range;

/// No number yet, in [`Distinct::number`].
const NONE: u32 = u32::MAX;

/// The distinct tokens of a list, in ascending order, and the positions where each stands.
///
/// Made to be reused: once it has seen the longest list and the largest vocabulary (or was made by
/// [`Distinct::with_capacity`]), [`Distinct::build`] allocates nothing.
///
/// ```
/// let mut distinct = unroll_kernels::embedding::Distinct::default();
/// distinct.build(&[7, 2, 7, 7, 5], 10);
/// assert_eq!(distinct.tokens(), [2, 5, 7]);
/// assert_eq!(distinct.index(), [2, 0, 2, 2, 1]);
/// assert_eq!(distinct.positions(2), [0, 2, 3]);
/// assert_eq!(distinct.first_position(2), 2);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Distinct {
    /// The distinct tokens, ascending (U).
    tokens: Vec<u32>,
    /// The number of each position's token in `tokens` (R).
    index: Vec<u32>,
    /// All positions, those of one token together and ascending (R).
    positions: Vec<u32>,
    /// Where each token's positions start in `positions`, and their end (U + 1).
    starts: Vec<u32>,
    /// The number of each token of the vocabulary, `NONE` between two builds (V at most).
    number: Vec<u32>,
    /// The vocabulary of the last build.
    vocabulary: usize,
}

impl Distinct {
    /// Room for lists of `positions` tokens from a vocabulary of `v`.
    pub fn with_capacity(positions: usize, v: usize) -> Self {
        let mut new = Self::default();
        new.reserve(positions, v);
        new
    }

    fn reserve(&mut self, positions: usize, v: usize) {
        let distinct = positions.min(v);
        self.tokens.reserve(distinct);
        self.index.reserve(positions);
        self.positions.reserve(positions);
        self.starts.reserve(distinct + 2);
        if self.number.len() < v {
            self.number.resize(v, NONE);
        }
    }

    /// Finds the distinct tokens of `tokens`, R tokens below `v`. Its time is of the order of R + U log U for U distinct
    /// tokens, whatever the size of the vocabulary.
    ///
    /// # Panics
    ///
    /// When a token is not below `v`, or there are 2^32 tokens or more.
    #[track_caller]
    pub fn build(&mut self, tokens: &[u32], v: usize) {
        let _span = profile::enter(Phase::ElementWise);
        check_tokens(tokens, v);
        assert!(u32::try_from(tokens.len()).is_ok(), "{} tokens, at most {} are possible", tokens.len(), u32::MAX);
        self.tokens.clear();
        self.index.clear();
        self.positions.clear();
        self.starts.clear();
        self.reserve(tokens.len(), v);
        self.vocabulary = v;
        for &token in tokens {
            let number = &mut self.number[token as usize];
            if *number == NONE {
                *number = 0;
                self.tokens.push(token);
            }
        }
        self.tokens.sort_unstable();
        for (u, &token) in self.tokens.iter().enumerate() {
            self.number[token as usize] = u as u32;
        }
        // A counting sort: starts[u + 2] counts token u, then starts[u + 1] is where its next position goes.
        self.starts.resize(self.tokens.len() + 2, 0);
        for &token in tokens {
            let u = self.number[token as usize];
            self.index.push(u);
            self.starts[u as usize + 2] += 1;
        }
        for u in 2..self.starts.len() {
            self.starts[u] += self.starts[u - 1];
        }
        self.positions.resize(tokens.len(), 0);
        for (r, &u) in self.index.iter().enumerate() {
            let next = &mut self.starts[u as usize + 1];
            self.positions[*next as usize] = r as u32;
            *next += 1;
        }
        self.starts.truncate(self.tokens.len() + 1);
        for &token in &self.tokens {
            self.number[token as usize] = NONE;
        }
    }

    /// The distinct tokens in ascending order (U).
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// For each position of the list, which of [`Distinct::tokens`] stands there (R).
    pub fn index(&self) -> &[u32] {
        &self.index
    }

    /// The positions of the u-th distinct token, ascending.
    ///
    /// # Panics
    ///
    /// When there is no such token.
    #[track_caller]
    pub fn positions(&self, u: usize) -> &[u32] {
        assert!(u < self.tokens.len(), "distinct token {u} of {}", self.tokens.len());
        let range: Range<usize> = self.starts[u] as usize..self.starts[u + 1] as usize;
        &self.positions[range]
    }

    /// How many positions the distinct tokens before the u-th have together.
    ///
    /// # Panics
    ///
    /// When there is no such token.
    #[track_caller]
    pub fn first_position(&self, u: usize) -> usize {
        assert!(u < self.tokens.len(), "distinct token {u} of {}", self.tokens.len());
        self.starts[u] as usize
    }

    /// The size of the vocabulary that the list was checked against.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_within_the_capacity_allocates_nothing() {
        let mut d = Distinct::with_capacity(100, 300);
        let capacities = |d: &Distinct| {
            let vectors = [&d.tokens, &d.index, &d.positions, &d.starts, &d.number];
            vectors.map(|vector| (vector.as_ptr(), vector.capacity()))
        };
        let before = capacities(&d);
        for step in [0, 1, 3] {
            let tokens: Vec<u32> = (0..100).map(|i| i * step % 300).collect();
            d.build(&tokens, 300);
            assert_eq!(capacities(&d), before, "step {step}");
        }
    }
}
