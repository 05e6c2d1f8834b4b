//! How the weights of a model's heads lie, so that files of weights can say it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Graph, HeadKind, Loss, Output, ParamSpec, Role, WordPartition};
use crate::error::Result;

/// The kind of each head, by the name of the layer that gives its logits. A head that divides the words has a checksum
/// of the place of each word after its kind: `{"dense": "class_softmax 0f9c2b6d"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HeadLayouts(BTreeMap<String, String>);

impl HeadLayouts {
    /// Whether no head is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The head of a layer: its kind, and the checksum where it parts the words.
    pub(crate) fn of(&self, layer: &str) -> Option<&str> {
        self.0.get(layer).map(String::as_str)
    }

    /// Whether the kernel of a layer's head lies by words.
    pub(crate) fn by_words(&self, layer: &str) -> Option<bool> {
        self.of(layer).map(|head| [HeadKind::SampledSoftmax, HeadKind::Nce].iter().any(|kind| kind.name() == head))
    }

    /// The layer whose head is of the same kind in `other`, but has its words in other places there.
    pub fn moved<'a>(&'a self, other: &HeadLayouts) -> Option<&'a str> {
        let kind = |head: &str| head.split(' ').next().map(str::to_owned);
        let moved = |(layer, head): &(&String, &String)| {
            other.of(layer).is_some_and(|theirs| theirs != *head && kind(theirs) == kind(head))
        };
        self.0.iter().find(moved).map(|(layer, _)| layer.as_str())
    }
}

impl Graph {
    /// The layouts of this model's heads.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Usage`] where no tree of these counts has the words in their order.
    pub fn head_layouts(&self) -> Result<HeadLayouts> {
        let layout = |output: &Output| {
            let (layer, kind) = (self.nodes[output.logits()].name.clone(), output.head().kind);
            let head = match kind.partitions_words() {
                true => format!("{} {:08x}", kind.name(), self.checksum_of_words(output)?),
                false => kind.name().to_owned(),
            };
            Ok((layer, head))
        };
        Ok(HeadLayouts(self.outputs.iter().map(layout).collect::<Result<_>>()?))
    }

    /// The kernel, among the parameters, of an output whose head is a softmax over all words once it is trained; none
    /// where it is tied to a table.
    pub(crate) fn whole_kernel(&self, output: &Output) -> Option<usize> {
        let of_words = |spec: &ParamSpec| matches!(spec.role, Role::Kernel | Role::WordKernel);
        let range = self.nodes[output.logits()].params.clone();
        let whole = output.loss() == Loss::CrossEntropy && !output.head().kind.partitions_words();
        range.filter(|_| whole).find(|&i| of_words(&self.params[i]))
    }

    /// Where an output's head has each word.
    fn checksum_of_words(&self, output: &Output) -> Result<u32> {
        let feed = |sum: u32, number: u32| crc32c::crc32c_append(sum, &number.to_le_bytes());
        let words = 0..output.classes() as u32;
        Ok(match output.partition() {
            WordPartition::Whole => {
                let tree = self.tree(output)?;
                let turns = words.flat_map(|word| tree.path(word).map(|turn| turn.node << 1 | u32::from(turn.second)));
                turns.fold(0, feed)
            }
            WordPartition::Clusters(first, tails) => {
                let ranks = self.word_ranks(output);
                let starts = tails.iter().flat_map(|tail| tail.starts.iter().copied());
                starts.chain(words.map(|word| ranks.of(word))).fold(*first as u32, feed)
            }
        })
    }
}
