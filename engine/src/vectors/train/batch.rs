//! The part of the text whose gradients all belong to the same vectors.

use super::group::{Group, Sizes};
use super::sampling::Text;
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

    /// Reads its words, and some before and after them.
    pub(super) fn read(&mut self, place: (u64, u64), margin: u64, tokens: &dyn TokenSource) -> Result<()> {
        (self.text.epoch, self.at) = place;
        let first = self.at.saturating_sub(margin);
        let end = (self.at + self.len() + margin).min(tokens.len());
        self.text.first = first;
        self.text.tokens.resize((end - first) as usize, 0);
        self.drawn = false;
        tokens.read(first, &mut self.text.tokens)
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
