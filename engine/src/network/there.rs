//! Which positions of a batch are there: those that neither its own mask nor the model's rule masks.

use super::Batch;
use crate::graph::{Graph, MaskRule};

/// Says of the positions of a batch whether they are there.
#[derive(Clone, Copy)]
pub(crate) struct There<'a> {
    given: Option<&'a [bool]>,
    tokens: &'a [u32],
    rule: Rule<'a>,
}

/// [`MaskRule`] with what it looks at.
#[derive(Clone, Copy)]
enum Rule<'a> {
    Nothing,
    Zero,
    Rows { table: &'a [f32], width: usize, value: f32 },
}

impl<'a> There<'a> {
    /// Those of `batch`; `None` where every position is there. `params` is the arena of parameters.
    pub(super) fn new(graph: &'a Graph, batch: &Batch<'a>, params: &'a [f32]) -> Option<Self> {
        let rule = match graph.mask_rule() {
            None => Rule::Nothing,
            Some(MaskRule::TokenZero) => Rule::Zero,
            Some(MaskRule::Rows { table, value }) => {
                let spec = &graph.params()[table];
                Rule::Rows { table: &params[spec.range.clone()], width: spec.shape[1], value }
            }
        };
        let all = batch.mask.is_none() && matches!(rule, Rule::Nothing);
        (!all).then_some(Self { given: batch.mask, tokens: batch.inputs, rule })
    }

    /// Whether position `t N + n` is there.
    pub(super) fn at(self, at: usize) -> bool {
        let token = self.tokens[at] as usize;
        let by_rule = match self.rule {
            Rule::Nothing => true,
            Rule::Zero => token != 0,
            Rule::Rows { table, width, value } => table[token * width..][..width].iter().any(|&x| x != value),
        };
        by_rule && self.given.is_none_or(|mask| mask[at])
    }
}
