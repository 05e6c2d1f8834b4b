//! The output of a layer with its gradient, and the sizes of a step.

use crate::exec::Products;
use crate::graph::Shape;
use std::ops::Range;
use unroll_kernels::mat::padded;
use unroll_kernels::{Buffer, Mat, MatMut};

/// The sizes of one step: T time steps of N rows, or fewer where some are masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dims {
    /// T: the steps of the longest row.
    pub(crate) steps: usize,
    /// N
    pub(crate) rows: usize,
    /// P: the steps of all rows, T N without a mask.
    pub(crate) tokens: usize,
}

impl Dims {
    /// T steps of N rows.
    pub(crate) fn full(steps: usize, rows: usize) -> Self {
        Self { steps, rows, tokens: steps * rows }
    }
    /// P + 2 N: the rows of a sequence with a block of N before it and one after it.
    pub(crate) fn with_edges(self) -> usize {
        self.tokens + 2 * self.rows
    }
}

/// The output of a layer and its gradient.
///
/// A sequence is time-major and packed ([`super::Extent`]). It has edges: a block of N rows before its first step and
/// one after its last, where recurrent layers keep the state from which they start.
pub(crate) struct LayerOutput {
    y: Buffer,
    dy: Buffer,
    cols: usize,
    sequence: bool,
}

impl LayerOutput {
    /// An output of this shape; it has a gradient only where there is a backward pass.
    pub(crate) fn new(shape: &Shape, capacity: Dims, backward: bool) -> Self {
        let (cols, sequence) = (shape.width(), shape.time.is_some());
        let rows = if sequence { capacity.with_edges() } else { capacity.rows };
        let len = rows * padded(cols);
        Self { y: Buffer::new(len), dy: Buffer::new(if backward { len } else { 0 }), cols, sequence }
    }

    /// The width of the output.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Which rows are the output, and how many there are with its edges.
    fn rows(&self, dims: Dims) -> (Range<usize>, usize) {
        if self.sequence { (dims.rows..dims.rows + dims.tokens, dims.with_edges()) } else { (0..dims.rows, dims.rows) }
    }

    /// The output: (P, cols) of a sequence, else (N, cols).
    pub(crate) fn y(&self, dims: Dims) -> Mat<'_> {
        self.y_with_edges(dims).rows_range(self.rows(dims).0)
    }
    /// The output, to write.
    pub(crate) fn y_mut(&mut self, dims: Dims) -> MatMut<'_> {
        let (rows, _) = self.rows(dims);
        self.y_with_edges_mut(dims).rows_range(rows)
    }
    /// The output with its edges: (P + 2 N, cols).
    pub(crate) fn y_with_edges(&self, dims: Dims) -> Mat<'_> {
        let (_, all) = self.rows(dims);
        Mat::new(&self.y, all, self.cols, padded(self.cols))
    }
    /// The output with its edges, to write.
    pub(crate) fn y_with_edges_mut(&mut self, dims: Dims) -> MatMut<'_> {
        let (_, all) = self.rows(dims);
        MatMut::new(&mut self.y, all, self.cols, padded(self.cols))
    }
    /// The gradient of the output.
    pub(crate) fn dy(&self, dims: Dims) -> Mat<'_> {
        let (rows, all) = self.rows(dims);
        Mat::new(&self.dy, all, self.cols, padded(self.cols)).rows_range(rows)
    }
    /// The gradient of the output, to write.
    pub(crate) fn dy_mut(&mut self, dims: Dims) -> MatMut<'_> {
        self.y_and_dy(dims).1
    }
    /// The output, and its gradient to write.
    pub(crate) fn y_and_dy(&mut self, dims: Dims) -> (Mat<'_>, MatMut<'_>) {
        let (rows, all) = self.rows(dims);
        let y = Mat::new(&self.y, all, self.cols, padded(self.cols)).rows_range(rows.clone());
        (y, MatMut::new(&mut self.dy, all, self.cols, padded(self.cols)).rows_range(rows))
    }
    /// The output and its gradient, both with their edges, to write.
    pub(crate) fn y_and_dy_with_edges(&mut self, dims: Dims) -> (MatMut<'_>, MatMut<'_>) {
        let (_, all) = self.rows(dims);
        let y = MatMut::new(&mut self.y, all, self.cols, padded(self.cols));
        (y, MatMut::new(&mut self.dy, all, self.cols, padded(self.cols)))
    }
    /// Sets the gradient to zero.
    pub(crate) fn clear_gradient(&mut self, products: Products<'_>, dims: Dims) {
        let (_, all) = self.rows(dims);
        let len = self.dy.len().min(all * padded(self.cols));
        products.by_blocks(&mut self.dy[..len], 4096, |_, part| part.fill(0.0));
    }
    /// Bytes that an output of this shape takes.
    pub(crate) fn bytes(shape: &Shape, capacity: Dims, backward: bool) -> u64 {
        let rows = if shape.time.is_some() { capacity.with_edges() } else { capacity.rows } as u64;
        rows * padded(shape.width()) as u64 * if backward { 8 } else { 4 }
    }
}
