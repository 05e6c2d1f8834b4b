//! Which positions of a batch count: those that neither its own mask nor the model's rule masks.

use super::Batch;
use crate::graph::{Axis, Graph, MaskRule};

/// The positions of a sequence of a batch that are not masked.
#[derive(Clone, Copy)]
pub(crate) struct Unmasked<'a> {
    given: Option<&'a [bool]>,
    rule: Rule<'a>,
}

/// A [`MaskRule`] with the data that it looks at.
#[derive(Clone, Copy)]
enum Rule<'a> {
    Nothing,
    Zero { tokens: &'a [u32] },
    Rows { tokens: &'a [u32], table: &'a [f32], width: usize, value: f32 },
    Vectors { vectors: &'a [f32], width: usize, value: f32 },
}

impl<'a> Unmasked<'a> {
    /// Those of a sequence of `batch`; `None` where no position is masked. `params` is the arena of parameters.
    pub(super) fn new(graph: &'a Graph, axis: Axis, batch: &Batch<'a>, params: &'a [f32]) -> Option<Self> {
        let (tokens, given) = match axis {
            Axis::Main => (batch.inputs, batch.mask),
            Axis::Source => (batch.source, None),
        };
        let rule = match graph.mask_rule_of(axis) {
            None => Rule::Nothing,
            Some(MaskRule::TokenZero) => Rule::Zero { tokens },
            Some(MaskRule::Rows { table, value }) => {
                let spec = &graph.params()[table];
                let table = &params[spec.range.clone()];
                Rule::Rows { tokens, table, width: spec.shape[1], value }
            }
            Some(MaskRule::Vectors { input, value }) => match graph.vector_inputs().nth(input) {
                Some((_, layer)) => Rule::Vectors { vectors: batch.vectors[input], width: layer.width, value },
                None => Rule::Nothing,
            },
        };
        let all = given.is_none() && matches!(rule, Rule::Nothing);
        (!all).then_some(Self { given, rule })
    }

    /// Whether position `t N + n` is not masked.
    pub(super) fn contains(self, at: usize) -> bool {
        let by_rule = match self.rule {
            Rule::Nothing => true,
            Rule::Zero { tokens } => tokens[at] != 0,
            Rule::Rows { tokens, table, width, value } => {
                table[tokens[at] as usize * width..][..width].iter().any(|&x| x != value)
            }
            Rule::Vectors { vectors, width, value } => vectors[at * width..][..width].iter().any(|&x| x != value),
        };
        by_rule && self.given.is_none_or(|mask| mask[at])
    }
}
