//! Masks in a graph: which layer begins one, which pass it on, and what a model may not do with it.
//!
//! Along each axis of a model one rule says which steps are masked, so all layers along it lack the same steps. Keras
//! lets outputs with different masks meet, and keeps every step that any of them has; here that is refused, since the
//! others' values at such a step mean nothing. Vectors that come with a batch are masked wherever the tokens beside
//! them are.

use super::{Axis, Graph, LayerConfig, Node, Source};
use crate::error::{Error, Result};

/// What masks a step, besides a mask that comes with a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaskRule {
    /// Token 0: an embedding with `mask_zero`.
    TokenZero,
    /// A masking layer after an embedding masks the tokens whose row in the table has nothing but one value.
    Rows {
        /// The table: an index into [`Graph::params`].
        table: usize,
        /// The value.
        value: f32,
    },
    /// A masking layer after an input layer masks the vectors that have nothing but one value.
    Vectors {
        /// Which input: a place in [`Graph::vector_inputs`].
        input: usize,
        /// The value.
        value: f32,
    },
}

impl Graph {
    /// What masks a step; `None` where no layer does.
    pub fn mask_rule(&self) -> Option<MaskRule> {
        self.mask_rule_of(Axis::Main)
    }

    /// What masks a step of this sequence; `None` where no layer does.
    pub fn mask_rule_of(&self, axis: Axis) -> Option<MaskRule> {
        self.masks[axis as usize].as_ref().map(|(rule, _)| *rule)
    }

    /// Whether token 0, which texts are padded with, is masked wherever it stands.
    pub fn masks_padding(&self) -> bool {
        self.mask_rule() == Some(MaskRule::TokenZero)
    }

    /// Refuses a model with a layer that masks steps, for callers whose texts are not padded: it would mask words.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] that names the layer.
    pub fn require_unmasked(&self, why: &str) -> Result<()> {
        match self.masks.iter().flatten().next() {
            None => Ok(()),
            Some((_, layer)) => Err(Error::usage(format!("layer `{layer}` masks steps, and {why}"))
                .mend("leave mask_zero out, and masking layers")),
        }
    }

    /// The first layer that joins all steps of a sequence, masked ones included, as a reshape does. A model with such a
    /// layer takes no mask.
    pub fn refuses_masks(&self) -> Option<&str> {
        self.joins_steps(Axis::Main)
    }

    /// The same of one sequence.
    fn joins_steps(&self, axis: Axis) -> Option<&str> {
        let joins = |node: &&Node| {
            let joins = node.axis == axis && matches!(node.config, LayerConfig::Reshape(_));
            joins && matches!(node.inputs[0], Source::Node(n) if self.loses_masked(&self.nodes[n]))
        };
        self.nodes.iter().find(joins).map(|node| node.name.as_str())
    }

    /// Whether this is a sequence of a layer that does not say what the output of a masked step is.
    fn loses_masked(&self, node: &Node) -> bool {
        let recurrent = node.config.recurrence().is_some() || matches!(node.config, LayerConfig::Part(_));
        node.shape.time.is_some() && !recurrent
    }

    /// Notes the rule that `node`, which comes next, masks by.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] where another layer masks by another rule.
    pub(super) fn note_mask(&mut self, node: &Node) -> Result<()> {
        let rule = match &node.config {
            LayerConfig::Embedding(layer) if layer.mask_zero => MaskRule::TokenZero,
            LayerConfig::Masking(layer) => {
                let (source, value) = (node.inputs[0], layer.mask_value);
                if value.is_nan() {
                    let what = format!("layer `{}`: mask_value is not a number, and nothing equals it", node.name);
                    return Err(Error::usage(what).mend("mark the steps by a number"));
                }
                let config = if let Source::Node(n) = source { Some((n, &self.nodes[n].config)) } else { None };
                match config {
                    Some((n, LayerConfig::Embedding(_))) => MaskRule::Rows { table: self.nodes[n].params.start, value },
                    Some((n, LayerConfig::Input(input))) if input.sequence.unwrap_or(true) => {
                        MaskRule::Vectors { input: self.vector_inputs().take_while(|&(i, _)| i < n).count(), value }
                    }
                    _ => {
                        let what = "masking takes the vectors of an embedding, or those of each step of an input layer";
                        let what = format!("layer `{}`: {what}", node.name);
                        return Err(Error::usage(what).mend("put it after the embedding or input layer"));
                    }
                }
            }
            _ => return Ok(()),
        };
        match &self.masks[node.axis as usize] {
            Some((other, first)) if *other != rule => {
                let what = format!("layers `{first}` and `{}` mask different steps", node.name);
                Err(Error::usage(what).mend("let one of them mask, or both by mask_zero"))
            }
            Some(_) => Ok(()),
            None => {
                self.masks[node.axis as usize] = Some((rule, node.name.clone()));
                Ok(())
            }
        }
    }

    /// Checks that every sequence of a model that masks is masked, and that none is joined.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] that names the layers.
    pub(super) fn check_masks(&self) -> Result<()> {
        Axis::ALL.into_iter().try_for_each(|axis| self.check_masks_of(axis))
    }

    fn check_masks_of(&self, axis: Axis) -> Result<()> {
        let Some((rule, first)) = &self.masks[axis as usize] else { return Ok(()) };
        let behind = |i: usize| self.consumers(i).any(|c| !matches!(self.nodes[c].config, LayerConfig::Masking(_)));
        for (i, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.axis == axis) {
            let unmasked = match (&node.config, rule) {
                (LayerConfig::OneHot(_), _) | (LayerConfig::Embedding(_), MaskRule::Vectors { .. }) => true,
                (LayerConfig::Embedding(layer), MaskRule::TokenZero) => !layer.mask_zero,
                (LayerConfig::Embedding(_), MaskRule::Rows { .. }) => behind(i),
                (LayerConfig::Input(input), MaskRule::Vectors { .. }) => input.sequence.unwrap_or(true) && behind(i),
                _ => false,
            };
            if unmasked {
                let what = format!("layer `{first}` masks steps, layer `{}` gives them all", node.name);
                return Err(Error::usage(what).mend("mask the sequences of a model all alike, or none"));
            }
        }
        match self.joins_steps(axis) {
            Some(layer) => {
                let what = format!("layer `{first}` masks steps, and layer `{layer}` joins all steps of its input");
                Err(Error::usage(what).mend("put a recurrent layer between them, or let no step be masked"))
            }
            None => Ok(()),
        }
    }
}
