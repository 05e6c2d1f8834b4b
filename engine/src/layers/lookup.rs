//! Layers that turn tokens into vectors: a table, or a one at the token's place.

use super::{Act, Cx, Inputs, Mask, Upstream};
use crate::gradient::Gradient;
use std::ops::Range;
use unroll_kernels::embedding::{self, Distinct};
use unroll_kernels::{Buffer, Mat, MatMut};

/// `y[r] = table[token[r]]`, dropped words apart.
pub(crate) struct EmbeddingRun {
    table: Range<usize>,
    width: usize,
    rows: usize,
    drop: Option<Mask>,
    distinct: Distinct,
    sums: Buffer,
}

impl EmbeddingRun {
    pub(crate) fn new(table: Range<usize>, width: usize, drop: Option<Mask>) -> Self {
        let rows = table.len() / width;
        Self { table, width, rows, drop, distinct: Distinct::default(), sums: Buffer::default() }
    }

    pub(crate) fn forward(&mut self, cx: &Cx<'_>, inputs: Inputs<'_>, act: &mut Act) {
        let table = Mat::dense(&cx.params[self.table.clone()], self.rows, self.width);
        let drop = self.drop.filter(|_| cx.training);
        cx.products().by_rows(act.y_mut(cx.dims), |rows, mut out| {
            let tokens = &inputs.tokens[rows];
            embedding::gather(table, tokens, out.reborrow());
            if let Some(mask) = drop {
                mask.apply_to_words(cx.key, tokens, out);
            }
        });
    }

    /// Sums the gradient by token first: repeated tokens are added in the order of their positions.
    pub(crate) fn backward(&mut self, cx: &Cx<'_>, up: Upstream<'_>, act: &mut Act, grads: &mut Gradient) {
        self.distinct.build(up.tokens, self.rows);
        let count = self.distinct.tokens().len();
        self.sums.reserve(up.tokens.len().min(self.rows) * self.width);
        let mut sums = MatMut::dense(&mut self.sums, count, self.width);
        let tokens = self.distinct.tokens();
        cx.products().sum_by_token(act.dy(cx.dims), &self.distinct, sums.reborrow());
        if let Some(mask) = &self.drop {
            mask.apply_to_words(cx.key, tokens, sums.reborrow());
        }
        grads.add_rows(cx.products(), &self.table, tokens, (&mut self.sums, self.width));
    }
}

/// `y[r][token[r]] = 1`, else 0. Only run where no fusion takes the tokens as they are.
pub(crate) struct OneHotRun;

impl OneHotRun {
    pub(crate) fn forward(&self, cx: &Cx<'_>, inputs: Inputs<'_>, act: &mut Act) {
        let mut y = act.y_mut(cx.dims);
        for (r, &token) in inputs.tokens.iter().enumerate() {
            let row = y.row_mut(r);
            row.fill(0.0);
            row[token as usize] = 1.0;
        }
    }
}
