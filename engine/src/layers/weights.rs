//! A matrix of weights on the right of a forward product.

use super::Context;
use crate::exec::Right;
use std::ops::Range;
use unroll_kernels::Mat;

/// (K, N) weights in the arena, or their transpose (N, K).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Weights {
    pub(crate) range: Range<usize>,
    /// K
    pub(crate) inputs: usize,
    /// N
    pub(crate) units: usize,
    pub(crate) transposed: bool,
}

impl Weights {
    /// As they lie in the arena.
    pub(crate) fn mat<'a>(&self, params: &'a [f32]) -> Mat<'a> {
        let (rows, cols) = if self.transposed { (self.units, self.inputs) } else { (self.inputs, self.units) };
        Mat::dense(&params[self.range.clone()], rows, cols)
    }

    /// The same of some of the units, a multiple of a panel's but for the last.
    pub(crate) fn right_of<'a>(&self, ctx: &Context<'a>, units: Range<usize>) -> Right<'a> {
        match self.right(ctx) {
            Right::Packed(packed) => Right::Packed(packed.cols_range(units)),
            Right::Plain(mat) => Right::Plain(mat.cols_range(units)),
            Right::Transposed(mat) => Right::Transposed(mat.rows_range(units)),
        }
    }

    /// The right operand of x W: packed, where the network keeps it so, else as it lies.
    pub(crate) fn right<'a>(&self, ctx: &Context<'a>) -> Right<'a> {
        match ctx.packs.weights(self) {
            Some(packed) => Right::Packed(packed),
            None if self.transposed => Right::Transposed(self.mat(ctx.params)),
            None => Right::Plain(self.mat(ctx.params)),
        }
    }
}
