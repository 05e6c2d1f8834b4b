//! The clusters of a tail: cut into pieces of about the same cost, each computed by one thread.

use crate::exec::Work;
use crate::heads::words::WordParams;
use crate::layers::Context;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use unroll_kernels::embedding::Distinct;
use unroll_kernels::gemm::{self, DirectProduct, Init, OuterProduct};
use unroll_kernels::mat::padded;
use unroll_kernels::softmax::{self, CrossEntropy};
use unroll_kernels::{Buffer, Mat, MatMut, rows};

/// Rows of a cluster that are computed at a time.
const ROWS: usize = 256;

/// What a thread works in.
#[derive(Default)]
pub(super) struct Room {
    logits: Buffer,
    scratch: Buffer,
}

/// K of the cluster of these words, counted from the tail's first: (inputs, |c|).
pub(super) fn cluster_kernel<'a>(params: &WordParams, ctx: &Context<'a>, words: Range<usize>) -> Mat<'a> {
    let (inputs, start) = (params.inputs, params.kernel.start);
    let own = start + words.start * inputs..start + words.end * inputs;
    Mat::dense(&ctx.params[own], inputs, words.len())
}

/// The gradients of clusters that follow one another.
pub(super) struct ClusterGradients<'a> {
    /// The first word that the kernels' are of, counted from the tail's first.
    pub(super) base: usize,
    pub(super) kernel: &'a mut [f32],
    /// Those of the words of the step's clusters.
    pub(super) bias: &'a mut [f32],
    /// (rows, inputs)
    pub(super) dx: MatMut<'a>,
}

impl<'a> ClusterGradients<'a> {
    /// The first part, up to the word `end`, of so many `words` of the step and `rows` of x; and the rest.
    fn split(self, inputs: usize, end: usize, words: usize, rows: usize) -> (Self, Self) {
        let Self { base, kernel, bias, dx } = self;
        let (kernel, other_kernel) = kernel.split_at_mut((end - base) * inputs);
        let (bias, other_bias) = bias.split_at_mut(words);
        let (dx, other_dx) = dx.split_rows_at(rows);
        (Self { base, kernel, bias, dx }, Self { base: end, kernel: other_kernel, bias: other_bias, dx: other_dx })
    }
}

/// Some clusters that follow one another, and what is computed of them.
struct Piece<'a> {
    /// Numbers among the distinct clusters.
    groups: Range<usize>,
    losses: &'a mut [f32],
    gradients: Option<ClusterGradients<'a>>,
}

/// Some rows of one cluster.
struct Block {
    /// The cluster's words, counted from the tail's first, and from the first of the piece.
    words: Range<usize>,
    word: usize,
    /// The rows' numbers among all, and in the piece.
    rows: Range<usize>,
    own: Range<usize>,
    /// Whether these are the cluster's first rows.
    first: bool,
}

/// What is computed of every cluster of a tail.
pub(super) struct Job<'a> {
    pub(super) ctx: &'a Context<'a>,
    pub(super) scale: f32,
    pub(super) params: &'a WordParams,
    pub(super) starts: &'a [u32],
    pub(super) distinct: &'a Distinct,
    pub(super) wanted: &'a [u32],
    pub(super) x: Mat<'a>,
    pub(super) rooms: &'a Mutex<Vec<Room>>,
}

impl Job<'_> {
    /// The words of group `u`, counted from the tail's first.
    fn words(&self, u: usize) -> Range<usize> {
        let (cluster, base) = (self.distinct.tokens()[u] as usize, self.starts[0]);
        (self.starts[cluster] - base) as usize..(self.starts[cluster + 1] - base) as usize
    }

    /// What group `u` costs: its logits, and the weights that they come from.
    fn cost(&self, u: usize) -> usize {
        self.words(u).len() * (self.distinct.positions(u).len() + 2)
    }

    /// Cuts the groups into pieces of about the same cost.
    pub(super) fn share(&self, mut losses: &mut [f32], mut rest: Option<ClusterGradients<'_>>) {
        let (team, groups, inputs) = (self.ctx.team, self.distinct.tokens().len(), self.params.inputs);
        let all: usize = (0..groups).map(|u| self.cost(u)).sum();
        let (pieces, mut done, mut next) = (team.parts(), 0, 0);
        let total = Work::product(if rest.is_some() { 3 } else { 1 } * all, inputs, 1);
        let cut = |i: usize| {
            let (first, mut rows) = (next, 0);
            while next < groups && (i + 1 == pieces || done < all * (i + 1) / pieces) {
                rows += self.distinct.positions(next).len();
                done += self.cost(next);
                next += 1;
            }
            if first == next {
                return None;
            }
            let of_rows = losses.split_off_mut(..rows).unwrap_or_default();
            let gradients = rest.take().map(|all| {
                let words = (first..next).map(|u| self.words(u).len()).sum();
                let (own, other) = all.split(inputs, self.words(next - 1).end, words, rows);
                rest = Some(other);
                own
            });
            Some(Piece { groups: first..next, losses: of_rows, gradients })
        };
        team.share_out(total, cut, |piece| self.run(piece));
    }

    fn run(&self, mut piece: Piece<'_>) {
        let lock = || self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let mut room = lock().pop().unwrap_or_default();
        room.scratch.reserve(gemm::SCRATCH);
        let mut row = self.distinct.first_position(piece.groups.start);
        let (mut at, mut word) = (0, 0);
        for u in piece.groups.clone() {
            let (words, count) = (self.words(u), self.distinct.positions(u).len());
            for first in (0..count).step_by(ROWS) {
                let n = (count - first).min(ROWS);
                let (rows, own) = (row + first..row + first + n, at + first..at + first + n);
                let block = Block { words: words.clone(), word, rows, own, first: first == 0 };
                self.some_rows(block, &mut piece, &mut room);
            }
            row += count;
            at += count;
            word += words.len();
        }
        lock().push(room);
    }

    fn some_rows(&self, block: Block, piece: &mut Piece<'_>, Room { logits, scratch }: &mut Room) {
        let Block { words, word, rows, own, first } = block;
        let (isa, precision, inputs) = (self.ctx.isa, self.ctx.precision, self.params.inputs);
        let (n, width) = (rows.len(), words.len());
        logits.reserve(n * padded(width));
        // Beside a row's end there may be what is left of a wider cluster.
        (0..n).for_each(|r| logits[r * padded(width) + width..(r + 1) * padded(width)].fill(0.0));
        let mut z = MatMut::new(logits, n, width, padded(width));
        let (a, b) = (self.x.rows_range(rows.clone()), cluster_kernel(self.params, self.ctx, words.clone()));
        let init = match &self.params.bias {
            Some(bias) => Init::Bias(&self.ctx.params[bias.clone()][words.clone()]),
            None => Init::Zero,
        };
        gemm::direct_product(
            isa,
            DirectProduct { a, b, b_transposed: false, precision, init, c: z.reborrow(), scratch },
        );
        let (targets, losses, scale) = (&self.wanted[rows], &mut piece.losses[own.clone()], self.scale);
        let Some(ClusterGradients { base, kernel, bias, dx }) = &mut piece.gradients else {
            return softmax::cross_entropy_forward(isa, z.as_ref(), targets, losses);
        };
        softmax::cross_entropy(isa, CrossEntropy { logits: z.reborrow(), targets, scale, losses });
        let (dz, c) = (z.as_ref(), dx.reborrow().rows_range(own));
        gemm::direct_product(
            isa,
            DirectProduct { a: dz, b, b_transposed: true, precision, init: Init::Keep, c, scratch },
        );
        let c = MatMut::dense(&mut kernel[(words.start - *base) * inputs..(words.end - *base) * inputs], inputs, width);
        let init = if first { Init::Zero } else { Init::Keep };
        gemm::outer_product(isa, OuterProduct { a, b: dz, precision, init, c, scratch });
        rows::add_column_sums(isa, dz, &mut bias[word..word + width]);
    }
}
