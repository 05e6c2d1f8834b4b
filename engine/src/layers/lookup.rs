//! Layers that turn tokens into vectors: rows of a table, or one-hot vectors.

use super::{Context, Inputs, InputsMut, LayerOutput, Mask};
use crate::gradient::Gradient;
use std::ops::Range;
use unroll_kernels::embedding::{self, Distinct};
use unroll_kernels::{Buffer, Mat, MatMut};

/// `y[r] = table[token[r]]`; in training, the vectors of dropped words are zero.
pub(crate) struct EmbeddingLayer {
    table: Range<usize>,
    width: usize,
    rows: usize,
    drop: Option<Mask>,
    distinct: Distinct,
    sums: Buffer,
}

impl EmbeddingLayer {
    pub(crate) fn new(table: Range<usize>, width: usize, drop: Option<Mask>) -> Self {
        let rows = table.len() / width;
        Self { table, width, rows, drop, distinct: Distinct::default(), sums: Buffer::default() }
    }

    pub(crate) fn forward(&mut self, ctx: &Context<'_>, inputs: Inputs<'_>, output: &mut LayerOutput) {
        let table = Mat::dense(&ctx.params[self.table.clone()], self.rows, self.width);
        let drop = self.drop.filter(|_| ctx.training);
        ctx.products().by_rows(output.y_mut(ctx.dims), |rows, mut out| {
            let tokens = &inputs.tokens[rows];
            embedding::gather(table, tokens, out.reborrow());
            if let Some(mask) = drop {
                mask.apply_to_words(ctx.key, tokens, out);
            }
        });
    }

    /// Sums the gradient by token first: repeated tokens are added in the order of their positions.
    pub(crate) fn backward(
        &mut self,
        ctx: &Context<'_>,
        inputs: InputsMut<'_>,
        output: &mut LayerOutput,
        grads: &mut Gradient,
    ) {
        self.distinct.build(inputs.tokens, self.rows);
        let count = self.distinct.tokens().len();
        self.sums.reserve(inputs.tokens.len().min(self.rows) * self.width);
        let mut sums = MatMut::dense(&mut self.sums, count, self.width);
        let tokens = self.distinct.tokens();
        ctx.products().sum_by_token(output.dy(ctx.dims), &self.distinct, sums.reborrow());
        if let Some(mask) = &self.drop {
            mask.apply_to_words(ctx.key, tokens, sums.reborrow());
        }
        grads.add_rows(ctx.products(), &self.table, tokens, (&mut self.sums, self.width));
    }
}

/// `y[r][token[r]] = 1`, else 0. Only run where no fusion takes the tokens as they are.
pub(crate) struct OneHotLayer;

impl OneHotLayer {
    pub(crate) fn forward(&self, ctx: &Context<'_>, inputs: Inputs<'_>, output: &mut LayerOutput) {
        let mut y = output.y_mut(ctx.dims);
        for (r, &token) in inputs.tokens.iter().enumerate() {
            let row = y.row_mut(r);
            row.fill(0.0);
            row[token as usize] = 1.0;
        }
    }
}
