//! The part of the text whose gradients all belong to the same vectors.

use super::group::{Group, Sizes};
use super::sampling::{Sampler, Text};
use crate::corpus::TokenSource;
use crate::error::Result;

/// Some groups of neighbouring words.
pub(super) struct Batch {
    /// Tokens of the text before it.
    pub(super) at: u64,
    pub(super) text: Text,
    pub(super) groups: Vec<Group>,
    /// Whether the groups are drawn.
    pub(super) drawn: bool,
}

impl Batch {
    /// Of so many groups of `group` words each.
    pub(super) fn new(groups: usize, group: usize) -> Self {
        let text = Text { first: 0, tokens: Vec::new(), epoch: 0, group };
        Self { at: 0, text, groups: (0..groups).map(|_| Group::default()).collect(), drawn: false }
    }

    /// Words of the text that it has at most.
    fn len(&self) -> u64 {
        (self.groups.len() * self.text.group) as u64
    }

    /// Reads its words, and as many before and after them as their neighbours need.
    pub(super) fn read(&mut self, place: (u64, u64), sampler: &Sampler, tokens: &dyn TokenSource) -> Result<()> {
        (self.text.epoch, self.at) = place;
        self.drawn = false;
        let (own, mut margin) = (self.at..(self.at + self.len()).min(tokens.len()), sampler.margin() as u64);
        loop {
            let (first, end) = (own.start.saturating_sub(margin), own.end.saturating_add(margin).min(tokens.len()));
            self.text.first = first;
            self.text.tokens.resize((end - first) as usize, 0);
            tokens.read(first, &mut self.text.tokens)?;
            if sampler.has_neighbours(&self.text, own.clone(), tokens.len()) {
                return Ok(());
            }
            margin *= 2;
        }
    }

    /// The place behind it: pass and tokens before.
    pub(super) fn end(&self, len: u64) -> (u64, u64) {
        match self.at + self.len() {
            end if end < len => (self.text.epoch, end),
            _ => (self.text.epoch + 1, 0),
        }
    }

    /// Lays the groups one behind the other; returns the sizes of all.
    pub(super) fn lay_out(&mut self) -> Sizes {
        let mut sum = Sizes::default();
        for group in &mut self.groups {
            group.first = sum;
            sum.inputs += group.sizes.inputs;
            sum.outputs += group.sizes.outputs;
            // Whole cache lines.
            sum.logits += group.sizes.logits.next_multiple_of(16);
        }
        sum
    }
}

/// The positions of group `i` of a batch whose groups have `group` words.
pub(super) fn range(at: u64, i: usize, group: usize, len: u64) -> std::ops::Range<u64> {
    let first = at + (i * group) as u64;
    first.min(len)..(first + group as u64).min(len)
}
