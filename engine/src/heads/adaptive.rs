//! Adaptive softmax: one over the most frequent words and the clusters of the others, and one over the words of each cluster.
//!
//! ```text
//! p(w) = softmax(x W + b)[w]                                              w one of the S most frequent
//! p(w) = softmax(x W + b)[S + i] softmax(x P_i W_i + b_i)[w - start_i]    w in cluster i
//! ```
//!
//! A cluster is computed for the rows whose target is in it, which stand together, and has fewer inputs the rarer its words are. The
//! probabilities add up to 1, so evaluations need no other form.
//!
//! Source: E. Grave, A. Joulin, M. Cissé, D. Grangier and H. Jégou, "Efficient softmax approximation for GPUs", 2017; biases and the
//! choice of cut-offs are ours.

use super::{Into, Scored, SoftmaxHead};
use crate::graph::Ranks;
use crate::layers::{Cx, DenseParams};
use std::ops::Range;
use unroll_kernels::embedding;
use unroll_kernels::mat::padded;
use unroll_kernels::softmax::{self, IGNORE};
use unroll_kernels::{Buffer, Mat, MatMut};

/// A softmax over the words of a cluster.
pub(crate) struct ClusterHead {
    /// Ranks.
    words: Range<usize>,
    /// P (D, D_i)
    projection: DenseParams,
    head: SoftmaxHead,
    /// The rows whose target is one of its words, and these targets, from 0.
    rows: Vec<u32>,
    targets: Vec<u32>,
    losses: Vec<f32>,
    /// x, x P and their gradients, of those rows.
    x: Buffer,
    dx: Buffer,
    h: Buffer,
    dh: Buffer,
}

impl ClusterHead {
    pub(crate) fn new(words: Range<usize>, projection: DenseParams, head: SoftmaxHead) -> Self {
        Self {
            words,
            projection,
            head,
            rows: Vec::new(),
            targets: Vec::new(),
            losses: Vec::new(),
            x: Buffer::default(),
            dx: Buffer::default(),
            h: Buffer::default(),
            dh: Buffer::default(),
        }
    }

    /// The losses of the rows within the cluster, added to `losses`, and the gradients.
    fn run(&mut self, cx: &Cx<'_>, scored: &Scored<'_>, losses: &mut [f32], into: Option<Into<'_>>) {
        let (count, inputs, units) = (self.rows.len(), self.projection.inputs, self.projection.units);
        if count == 0 {
            return;
        }
        let (all, rows) = (scored.x, &self.rows);
        self.x.reserve(count * padded(inputs));
        let x = MatMut::new(&mut self.x, count, inputs, padded(inputs));
        cx.products().by_rows(x, |range, part| embedding::gather(all, &rows[range], part));
        let x = Mat::new(&self.x, count, inputs, padded(inputs));
        self.h.reserve(count * padded(units));
        self.projection.forward(cx, x, 0..units, MatMut::new(&mut self.h, count, units, padded(units)));
        let h = Mat::new(&self.h, count, units, padded(units));
        self.losses.clear();
        self.losses.resize(count, 0.0);
        let within = Scored { x: h, targets: &self.targets, scale: scored.scale };
        match into {
            None => self.head.run(cx, &within, &mut self.losses, None),
            Some(Into { dx, grads }) => {
                self.dh.reserve(count * padded(units));
                self.dx.reserve(count * padded(inputs));
                let mut dh = MatMut::new(&mut self.dh, count, units, padded(units));
                (0..count).for_each(|r| dh.row_mut(r).fill(0.0));
                let into = Into { dx: dh.reborrow(), grads: &mut *grads };
                self.head.run(cx, &within, &mut self.losses, Some(into));
                let mut dx_of = MatMut::new(&mut self.dx, count, inputs, padded(inputs));
                (0..count).for_each(|r| dx_of.row_mut(r).fill(0.0));
                let mut gradients = self.projection.gradients(grads);
                self.projection.backward(cx, (x, dx_of.reborrow()), dh.as_ref(), &mut gradients, 0..units);
                cx.products().add_rows(dx_of.as_ref(), &self.rows, dx);
            }
        }
        self.rows.iter().zip(&self.losses).for_each(|(&r, loss)| losses[r as usize] += loss);
    }

    /// The logarithms of the probabilities of its words: those of the cluster, in column `column` of `first`, and within it.
    fn log_probabilities(
        &mut self,
        cx: &Cx<'_>,
        x: Mat<'_>,
        (first, column): (Mat<'_>, usize),
        ranks: &Ranks,
        out: &mut MatMut<'_>,
    ) {
        let (rows, units) = (x.rows(), self.projection.units);
        self.h.reserve(rows * padded(units));
        self.projection.forward(cx, x, 0..units, MatMut::new(&mut self.h, rows, units, padded(units)));
        let logits = self.head.logits(cx, Mat::new(&self.h, rows, units, padded(units)));
        for r in 0..rows {
            let mut row = logits.row(r)[..self.words.len()].to_vec();
            softmax::log_softmax_rows(cx.isa, MatMut::dense(&mut row, 1, self.words.len()));
            let cluster = first.row(r)[column];
            let to = out.row_mut(r);
            self.words.clone().zip(&row).for_each(|(rank, within)| to[ranks.word(rank)] = cluster + within);
        }
    }
}

/// The head; see the top of the file.
pub(crate) struct AdaptiveHead {
    /// Over S words and the clusters.
    first: SoftmaxHead,
    /// S
    frequent: usize,
    words: usize,
    clusters: Vec<ClusterHead>,
    ranks: Ranks,
    targets: Vec<u32>,
    all: Buffer,
}

impl AdaptiveHead {
    pub(crate) fn new(first: SoftmaxHead, frequent: usize, clusters: Vec<ClusterHead>, ranks: Ranks) -> Self {
        let words = clusters.last().map_or(frequent, |cluster| cluster.words.end);
        Self { first, frequent, words, clusters, ranks, targets: Vec::new(), all: Buffer::default() }
    }

    pub(crate) fn run(&mut self, cx: &Cx<'_>, scored: &Scored<'_>, losses: &mut [f32], mut into: Option<Into<'_>>) {
        self.sort(scored.targets);
        let first = Scored { x: scored.x, targets: &self.targets, scale: scored.scale };
        self.first.run(cx, &first, losses, into.as_mut().map(Into::reborrow));
        for cluster in &mut self.clusters {
            cluster.run(cx, scored, losses, into.as_mut().map(Into::reborrow));
        }
    }

    /// Gives each row's target to the first softmax, or its cluster there and the word to the cluster.
    fn sort(&mut self, targets: &[u32]) {
        self.targets.clear();
        for cluster in &mut self.clusters {
            cluster.rows.clear();
            cluster.targets.clear();
        }
        for (r, &target) in targets.iter().enumerate() {
            if target == IGNORE {
                self.targets.push(IGNORE);
                continue;
            }
            let rank = self.ranks.of(target) as usize;
            if rank < self.frequent {
                self.targets.push(rank as u32);
                continue;
            }
            let i = self.clusters.partition_point(|cluster| cluster.words.end <= rank);
            self.targets.push((self.frequent + i) as u32);
            let cluster = &mut self.clusters[i];
            cluster.rows.push(r as u32);
            cluster.targets.push((rank - cluster.words.start) as u32);
        }
    }

    /// The logarithms of the probabilities of every word, (R, V).
    pub(crate) fn logits<'s>(&'s mut self, cx: &Cx<'_>, x: Mat<'s>) -> Mat<'s> {
        let (rows, columns) = (x.rows(), self.frequent + self.clusters.len());
        let mut first = Buffer::new(rows * padded(columns));
        let mut of_first = MatMut::new(&mut first, rows, columns, padded(columns));
        unroll_kernels::rows::copy(self.first.logits(cx, x), of_first.reborrow());
        cx.products().by_rows(of_first, |_, part| softmax::log_softmax_rows(cx.isa, part));
        let first = Mat::new(&first, rows, columns, padded(columns));
        self.all.reserve(rows * padded(self.words));
        let mut out = MatMut::new(&mut self.all, rows, self.words, padded(self.words));
        for r in 0..rows {
            let to = out.row_mut(r);
            (0..self.frequent).for_each(|rank| to[self.ranks.word(rank)] = first.row(r)[rank]);
        }
        for (i, cluster) in self.clusters.iter_mut().enumerate() {
            cluster.log_probabilities(cx, x, (first, self.frequent + i), &self.ranks, &mut out);
        }
        Mat::new(&self.all, rows, self.words, padded(self.words))
    }
}
