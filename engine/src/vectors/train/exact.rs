//! The full softmax: the cross-entropy of each prediction over all words that have a vector.
//!
//! With the inputs X (N, D) of a batch, which are vectors of neighbours or their means, and the transpose U (D, V) of all output
//! vectors:
//!
//! ```text
//! Z = X U                          (N, V)
//! L = sum over the words w that row n predicts, of which there are c:  ln sum_k e^(z_nk) - z_nw
//! dZ = c softmax(Z) - how often each word is predicted      dX = dZ U^T      dU = X^T dZ
//! ```
//!
//! so a row of logits is made once, however many words its input predicts. Logits are never all there at once: a block of rows
//! takes the room of the one before it, and the gradients of U are added up beside it until the batch ends. Threads share each
//! product by its words, the softmax by its rows, and no sum is ever cut: the same bits for any number of threads.

use std::ops::Range;

use unroll_kernels::gemm::Precision;
use unroll_kernels::mat::padded;
use unroll_kernels::softmax::{CrossEntropy, cross_entropy};
use unroll_kernels::{Buffer, Isa, Mat, MatMut, rows};

use super::group::Group;
use crate::exec::{Products, Right, Scratch, Start, Team};

/// An input that predicts a word, one of those that have a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Aim {
    /// The row of X, or of H, of its group.
    pub(super) input: u32,
    /// The column of U.
    pub(super) word: u32,
}

/// The output vectors of all words, and what a step needs beside them.
pub(super) struct Exact {
    isa: Isa,
    scratch: Scratch,
    dim: usize,
    words: usize,
    /// Elements of logits that are there at a time.
    room: usize,
    /// U (D, V)
    outputs: Buffer,
    /// dU (D, V)
    changes: Buffer,
    /// Of a block of rows.
    logits: Buffer,
    /// dX, rows as wide as those of X.
    errors: Buffer,
    /// The words that the rows of a batch predict, row after row, and where those of each row begin and end.
    aims: Vec<u32>,
    starts: Vec<usize>,
    /// (N) The loss of each row.
    losses: Buffer,
}

impl Exact {
    /// Output vectors of `words` words of `dim` elements, zeros, for a team of `threads`; `room` elements of logits are there at
    /// a time, or a row.
    pub(super) fn zeros(isa: Isa, threads: usize, [dim, words]: [usize; 2], room: usize) -> Self {
        Self {
            isa,
            scratch: Scratch::new(threads, isa, Precision::F32),
            dim,
            words,
            room,
            outputs: Buffer::new(dim * padded(words)),
            changes: Buffer::new(dim * padded(words)),
            logits: Buffer::default(),
            errors: Buffer::default(),
            aims: Vec::new(),
            starts: Vec::new(),
            losses: Buffer::default(),
        }
    }

    /// V, the words that each prediction is scored against.
    pub(super) fn words(&self) -> usize {
        self.words
    }

    /// Sets the output vector of a word.
    pub(super) fn set(&mut self, word: usize, vector: &[f32]) {
        let column = self.outputs[word..].iter_mut().step_by(padded(self.words));
        column.zip(vector).for_each(|(to, &u)| *to = u);
    }

    /// The output vectors as rows, (V, D), [`padded`]`(D)` apart.
    pub(super) fn into_outputs(self) -> Buffer {
        let Self { dim, words, outputs, .. } = self;
        let mut rows = Buffer::new(words * padded(dim));
        for (word, row) in rows.chunks_exact_mut(padded(dim)).enumerate() {
            row[..dim].iter_mut().zip(outputs[word..].iter().step_by(padded(words))).for_each(|(to, &u)| *to = u);
        }
        rows
    }

    /// Adds `scale` times the gradients of a batch to the output vectors and keeps those of its inputs `x`, whose rows are those of
    /// the groups one after the other; returns the loss.
    pub(super) fn train(&mut self, team: &Team<'_>, groups: &[Group], x: Mat<'_>, scale: f32) -> f64 {
        self.list(groups, x.rows());
        if x.rows() == 0 {
            return 0.0;
        }
        let Self { isa, scratch, dim, words, room, outputs, changes, logits, errors, aims, starts, losses } = self;
        let (isa, dim, words, stride, count) = (*isa, *dim, *words, padded(*words), x.rows());
        let products = Products { team, isa, precision: Precision::F32, scratch };
        let at_once = (*room / stride).clamp(1, count);
        logits.reserve(at_once * stride);
        errors.reserve(count * padded(x.cols()));
        losses.reserve(count);
        let table = Mat::new(outputs, dim, words, stride);
        errors.fill(0.0);
        let mut dx = MatMut::new(errors, count, dim, padded(x.cols()));
        for first in (0..count).step_by(at_once) {
            let range = first..count.min(first + at_once);
            let x = x.rows_range(range.clone()).cols_range(0..dim);
            let mut z = MatMut::new(logits, range.len(), words, stride);
            products.product(x, Right::Plain(table), Start::Zero, z.reborrow());
            let (starts, losses) = (&starts[first..], MatMut::dense(&mut losses[range.clone()], range.len(), 1));
            products.by_rows_of([z.reborrow(), losses], |rows, [mut z, mut losses]| {
                for (i, row) in rows.enumerate() {
                    let aims = &aims[starts[row]..starts[row + 1]];
                    losses.row_mut(i)[0] = predict(isa, z.row_mut(i), aims, scale);
                }
            });
            products.add_product(z.as_ref(), Right::Transposed(table), dx.reborrow().rows_range(range));
            let start = if first == 0 { Start::Zero } else { Start::Keep };
            products.outer(x, z.as_ref(), start, MatMut::new(changes, dim, words, stride));
        }
        products.by_rows(MatMut::new(outputs, dim, words, stride), |range, part| {
            rows::add(isa, Mat::new(changes, dim, words, stride).rows_range(range), part);
        });
        losses[..count].iter().map(|&loss| f64::from(loss)).sum()
    }

    /// `scale` times the gradients of the last batch by its inputs, (N, the columns of X): those of these rows.
    pub(super) fn errors(&self, range: Range<usize>, cols: usize) -> Mat<'_> {
        let stride = padded(cols);
        Mat::new(&self.errors[range.start * stride..range.end * stride], range.len(), cols, stride)
    }

    /// Lists which words each of the batch's rows predicts.
    fn list(&mut self, groups: &[Group], rows: usize) {
        self.aims.clear();
        self.starts.clear();
        self.starts.resize(rows + 1, 0);
        for group in groups {
            for aim in &group.aims {
                self.aims.push(aim.word);
                self.starts[group.first.inputs + aim.input as usize + 1] += 1;
            }
        }
        for row in 0..rows {
            self.starts[row + 1] += self.starts[row];
        }
    }
}

/// Turns the logits of a row into `scale` times their gradient; returns the sum of the losses of the words that it predicts.
fn predict(isa: Isa, row: &mut [f32], words: &[u32], scale: f32) -> f32 {
    let [first, others @ ..] = words else {
        row.fill(0.0);
        return 0.0;
    };
    // The losses of two words of a row differ by their logits.
    let logit = |word: &u32| row[*word as usize];
    let differences: f32 = others.iter().map(|word| logit(first) - logit(word)).sum();
    let (cols, count, mut loss) = (row.len(), words.len() as f32, [0.0]);
    let logits = MatMut::dense(row, 1, cols);
    cross_entropy(isa, CrossEntropy { logits, targets: &[*first], scale: count * scale, losses: &mut loss });
    for &word in others {
        row[*first as usize] += scale;
        row[word as usize] -= scale;
    }
    count * loss[0] + differences
}

#[cfg(test)]
mod tests;
