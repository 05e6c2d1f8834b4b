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
    /// The matrix as it is stored in the arena.
    pub(crate) fn mat<'a>(&self, params: &'a [f32]) -> Mat<'a> {
        let (rows, cols) = if self.transposed { (self.units, self.inputs) } else { (self.inputs, self.units) };
        Mat::dense(&params[self.range.clone()], rows, cols)
    }

    /// [`Self::right`] for some of the units. The range begins and ends at panels, or at the last unit.
    pub(crate) fn right_of<'a>(&self, ctx: &Context<'a>, units: Range<usize>) -> Right<'a> {
        match self.right(ctx) {
            Right::Packed(packed) => Right::Packed(packed.cols_range(units)),
            Right::Plain(mat) => Right::Plain(mat.cols_range(units)),
            Right::Transposed(mat) => Right::Transposed(mat.rows_range(units)),
        }
    }

    /// The right operand of x W: packed where the network keeps it packed, else the matrix in the arena.
    pub(crate) fn right<'a>(&self, ctx: &Context<'a>) -> Right<'a> {
        match ctx.packs.weights(self) {
            Some(packed) => Right::Packed(packed),
            None if self.transposed => Right::Transposed(self.mat(ctx.params)),
            None => Right::Plain(self.mat(ctx.params)),
        }
    }
}
