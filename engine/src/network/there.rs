//! Which positions of a batch are there: those that neither its own mask nor the model's rule masks.

use super::Batch;
use crate::graph::{Graph, MaskRule};

/// Says of the positions of a batch whether they are there.
#[derive(Clone, Copy)]
pub(crate) struct There<'a> {
    given: Option<&'a [bool]>,
    rule: Rule<'a>,
}

/// [`MaskRule`] with what it looks at.
#[derive(Clone, Copy)]
enum Rule<'a> {
    Nothing,
    Zero { tokens: &'a [u32] },
    Rows { tokens: &'a [u32], table: &'a [f32], width: usize, value: f32 },
    Vectors { vectors: &'a [f32], width: usize, value: f32 },
}

impl<'a> There<'a> {
    /// Those of `batch`; `None` where every position is there. `params` is the arena of parameters.
    pub(super) fn new(graph: &'a Graph, batch: &Batch<'a>, params: &'a [f32]) -> Option<Self> {
        let rule = match graph.mask_rule() {
            None => Rule::Nothing,
            Some(MaskRule::TokenZero) => Rule::Zero { tokens: batch.inputs },
            Some(MaskRule::Rows { table, value }) => {
                let spec = &graph.params()[table];
                let table = &params[spec.range.clone()];
                Rule::Rows { tokens: batch.inputs, table, width: spec.shape[1], value }
            }
            Some(MaskRule::Vectors { input, value }) => match graph.vector_inputs().nth(input) {
                Some((_, layer)) => Rule::Vectors { vectors: batch.vectors[input], width: layer.width, value },
                None => Rule::Nothing,
            },
        };
        let all = batch.mask.is_none() && matches!(rule, Rule::Nothing);
        (!all).then_some(Self { given: batch.mask, rule })
    }

    /// Whether position `t N + n` is there.
    pub(super) fn at(self, at: usize) -> bool {
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
