//! The two sequences that a batch may have: the main one, which outputs belong to, and a source, which an encoder
//! reads.
//!
//! Each has its own number of steps and its own padding; they share the rows. A layer works along the axis of the
//! sequence that it takes. Only what has no time axis (a state, or one vector a row) passes from one to the other.

use super::{Graph, LayerConfig, Node, Source};
use crate::error::{Error, Result};

/// The name of the second sequence in `inputs`.
pub const SOURCE: &str = "source";

/// The sequence of a batch along which a layer works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Axis {
    /// The main sequence, for which there are outputs: the text of a language model, the target of a translation.
    #[default]
    Main,
    /// The second sequence, which is read first: the source of a translation.
    Source,
}

impl Axis {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Main, Self::Source];
}

impl Graph {
    /// Whether a layer reads the second sequence of a batch.
    pub fn has_source(&self) -> bool {
        self.nodes.iter().any(|node| node.inputs.contains(&Source::Second))
    }
    /// Whether a layer takes the tokens of the second sequence.
    pub fn takes_source_tokens(&self) -> bool {
        let takes =
            |node: &Node| node.inputs.contains(&Source::Second) && !matches!(node.config, LayerConfig::Input(_));
        self.nodes.iter().any(takes)
    }
    /// The size of the vocabulary of the second sequence.
    pub fn source_vocabulary(&self) -> usize {
        self.source_vocabulary
    }
    /// Refuses a model that reads two sequences, for callers that can give it one only.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] that says so.
    pub fn require_one_sequence(&self, who: &str) -> Result<()> {
        match self.has_source() {
            false => Ok(()),
            true => Err(Error::usage(format!("{who} models of one sequence, this one reads a `{SOURCE}` too"))
                .mend("use a model without it")),
        }
    }

    /// The tokens that a layer behind `source` is of.
    pub(super) fn tokens_of(&self, source: Source) -> usize {
        if source == Source::Second { self.source_vocabulary } else { self.vocabulary }
    }

    /// Along which sequence a layer works that takes these.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] where it takes sequences of both.
    pub(super) fn axis_of(&self, name: &str, config: &LayerConfig, inputs: &[Source]) -> Result<Axis> {
        let of = |source: &Source| match *source {
            Source::Input => Axis::Main,
            Source::Second => Axis::Source,
            Source::Node(i) => self.nodes[i].axis,
        };
        if matches!(config, LayerConfig::Part(_)) {
            return Ok(inputs.first().map_or(Axis::Main, of));
        }
        let mut axes = inputs.iter().filter(|&&source| self.shape_of(source).time.is_some()).map(of);
        let Some(first) = axes.next() else { return Ok(Axis::Main) };
        match axes.all(|axis| axis == first) {
            true => Ok(first),
            false => {
                let what = format!("layer `{name}` takes a sequence of the `{SOURCE}` and one of the text");
                Err(Error::usage(what)
                    .mend("their numbers of steps differ: let it take the source's last output or states"))
            }
        }
    }
}
