//! Softmax over the most frequent words and the tails of the others, one over the clusters of a tail, and one over the
//! words of a cluster: the adaptive softmax, and with a single tail that of two levels.
//!
//! ```text
//! p(w) = softmax(x W + b)[w]                                                                 w one of the S most frequent words
//! p(w) = softmax(x W + b)[S + t] softmax(h C_t + b_t)[c] softmax(h K_c + b_c)[w]             w in cluster c of tail t
//!    h = x P_t                                                                               P_t (D, D_t)
//! ```
//!
//! A softmax over a single choice is left out; where a tail takes all inputs, h is x. Rows whose targets are in the
//! same cluster are grouped. Each cluster is computed by one thread: there are many, and each is small. A step reads
//! and changes the kernels of those clusters only. The probabilities add up to 1, so evaluation needs no other form.
//!
//! Sources: E. Grave, A. Joulin, M. Cissé, D. Grangier and H. Jégou, "Efficient softmax approximation for GPUs", 2017;
//! J. Goodman, "Classes for fast maximum entropy training", 2001; T. Mikolov et al., "Extensions of recurrent neural
//! network language model",
//! 2011. Biases, and many clusters a tail, are ours.

mod job;

use super::words::WordParams;
use super::{Backward, Scored, SoftmaxHead};
use crate::exec::{Products, Right, Start};
use crate::graph::Ranks;
use crate::layers::{Context, DenseParams};
use job::{ClusterGradients, Job, Room, cluster_kernel};
use std::ops::Range;
use std::sync::Mutex;
use unroll_kernels::embedding::{self, Distinct};
use unroll_kernels::mat::padded;
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::softmax::{self, IGNORE};
use unroll_kernels::{Buffer, Mat, MatMut, rows};

/// The head; see the top of the file.
pub(crate) struct ClusterHead {
    /// Over the S frequent words and the tails.
    first: Option<SoftmaxHead>,
    tails: Vec<Tail>,
    /// S
    frequent: usize,
    ranks: Ranks,
    /// What the first softmax is to give of each row.
    targets: Vec<u32>,
    words: Buffer,
}

impl ClusterHead {
    pub(crate) fn new(first: Option<SoftmaxHead>, frequent: usize, tails: Vec<Tail>, ranks: Ranks) -> Self {
        Self { first, tails, frequent, ranks, targets: Vec::new(), words: Buffer::default() }
    }

    pub(crate) fn run(
        &mut self,
        ctx: &Context<'_>,
        scored: &Scored<'_>,
        losses: &mut [f32],
        mut into: Option<Backward<'_>>,
    ) {
        self.sort(scored.targets);
        let first = Scored { x: scored.x, targets: &self.targets, scale: scored.scale };
        match &mut self.first {
            Some(head) => head.run(ctx, &first, losses, into.as_mut().map(Backward::reborrow)),
            None => losses.fill(0.0),
        }
        let _span = profile::enter(if into.is_some() { Phase::HeadGradient } else { Phase::Head });
        for tail in self.tails.iter_mut().filter(|tail| !tail.rows.is_empty()) {
            tail.run(ctx, scored, losses, into.as_mut().map(Backward::reborrow));
        }
    }

    /// Gives each target to the first softmax, or its tail there and the word to the tail.
    fn sort(&mut self, targets: &[u32]) {
        self.targets.clear();
        self.tails.iter_mut().for_each(Tail::clear);
        for (r, &target) in targets.iter().enumerate() {
            if target == IGNORE {
                self.targets.push(IGNORE);
                continue;
            }
            let rank = self.ranks.of(target);
            let tail = self.tails.iter().rposition(|tail| tail.starts[0] <= rank);
            tail.into_iter().for_each(|t| self.tails[t].take(r, rank));
            self.targets.push(tail.map_or(rank, |t| (self.frequent + t) as u32));
        }
        self.tails.iter_mut().for_each(Tail::group);
    }

    /// The logarithms of the probabilities of every word, (R, V).
    pub(crate) fn logits<'s>(&'s mut self, ctx: &Context<'_>, x: Mat<'s>) -> Mat<'s> {
        let (rows, columns) = (x.rows(), self.frequent + self.tails.len());
        let words = self.tails.last().map_or(self.frequent, Tail::end);
        let mut first = Buffer::new(rows * padded(columns));
        if let Some(head) = &mut self.first {
            let mut of_first = MatMut::new(&mut first, rows, columns, padded(columns));
            rows::copy(head.logits(ctx, x), of_first.reborrow());
            softmax::log_softmax_rows(ctx.isa, of_first);
        }
        let first = Mat::new(&first, rows, columns, padded(columns));
        let mut sorted = Buffer::new(rows * padded(words));
        let mut by_rank = MatMut::new(&mut sorted, rows, words, padded(words));
        rows::copy(first.cols_range(0..self.frequent), by_rank.reborrow().cols_range(0..self.frequent));
        for (t, tail) in self.tails.iter_mut().enumerate() {
            let own = by_rank.reborrow().cols_range(tail.starts[0] as usize..tail.end());
            tail.log_probabilities(ctx, x, first.cols_range(self.frequent + t..self.frequent + t + 1), own);
        }
        self.words.reserve(rows * padded(words));
        let (ranks, by_rank) = (&self.ranks, by_rank.as_ref());
        ctx.products().by_rows(MatMut::new(&mut self.words, rows, words, padded(words)), |range, mut part| {
            for (i, r) in range.enumerate() {
                let to = part.row_mut(i);
                by_rank.row(r).iter().enumerate().for_each(|(rank, &lp)| to[ranks.word(rank)] = lp);
            }
        });
        Mat::new(&self.words, rows, words, padded(words))
    }
}

/// Clusters of words of similar frequency.
pub(crate) struct Tail {
    /// Where each cluster begins by rank, and where the last ends.
    starts: Vec<u32>,
    /// Over the clusters.
    over: Option<SoftmaxHead>,
    /// P_t
    projection: Option<DenseParams>,
    /// K, cluster after cluster as (inputs, |c|), and b.
    params: WordParams,
    /// The rows whose target is here, their clusters and their targets within these; the clusters without repeats.
    rows: Vec<u32>,
    classes: Vec<u32>,
    within: Vec<u32>,
    distinct: Distinct,
    /// The same rows, those of a cluster together: which they are, their clusters, their targets in these, x, h, the
    /// gradients of both, the losses of cluster and word.
    order: Vec<u32>,
    chosen: Vec<u32>,
    wanted: Vec<u32>,
    x: Buffer,
    h: Buffer,
    dx: Buffer,
    dh: Buffer,
    losses: [Vec<f32>; 2],
    /// The words of those clusters, from 0, and the gradient of their biases.
    touched: Vec<Range<u32>>,
    dbias: Vec<f32>,
    /// What threads work in.
    rooms: Mutex<Vec<Room>>,
}

impl Tail {
    pub(crate) fn new(
        starts: Vec<u32>,
        over: Option<SoftmaxHead>,
        projection: Option<DenseParams>,
        params: WordParams,
    ) -> Self {
        Self {
            starts,
            over,
            projection,
            params,
            rows: Vec::new(),
            classes: Vec::new(),
            within: Vec::new(),
            distinct: Distinct::default(),
            order: Vec::new(),
            chosen: Vec::new(),
            wanted: Vec::new(),
            x: Buffer::default(),
            h: Buffer::default(),
            dx: Buffer::default(),
            dh: Buffer::default(),
            losses: [Vec::new(), Vec::new()],
            touched: Vec::new(),
            dbias: Vec::new(),
            rooms: Mutex::default(),
        }
    }

    fn clusters(&self) -> usize {
        self.starts.len() - 1
    }

    fn end(&self) -> usize {
        self.starts[self.starts.len() - 1] as usize
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.classes.clear();
        self.within.clear();
    }

    /// Takes the target of a row.
    fn take(&mut self, row: usize, rank: u32) {
        let cluster = self.starts.partition_point(|&start| start <= rank) - 1;
        self.rows.push(row as u32);
        self.classes.push(cluster as u32);
        self.within.push(rank - self.starts[cluster]);
    }

    /// Puts the rows of each cluster together.
    fn group(&mut self) {
        let clusters = self.clusters();
        self.distinct.build(&self.classes, clusters);
        self.order.clear();
        self.chosen.clear();
        self.wanted.clear();
        for u in 0..self.distinct.tokens().len() {
            for &at in self.distinct.positions(u) {
                self.order.push(self.rows[at as usize]);
                self.chosen.push(self.classes[at as usize]);
                self.wanted.push(self.within[at as usize]);
            }
        }
    }

    /// The losses of the rows within their clusters, added to `losses`, and the gradients.
    fn run(&mut self, ctx: &Context<'_>, scored: &Scored<'_>, losses: &mut [f32], into: Option<Backward<'_>>) {
        let (count, width, inputs) = (self.order.len(), scored.x.cols(), self.params.inputs);
        let (all, order, products) = (scored.x, &self.order, ctx.products());
        self.x.reserve(count * padded(width));
        let to = MatMut::new(&mut self.x, count, width, padded(width));
        products.by_rows(to, |range, part| embedding::gather(all, &order[range], part));
        let x = Mat::new(&self.x, count, width, padded(width));
        let h = match &self.projection {
            None => x,
            Some(projection) => {
                self.h.reserve(count * padded(inputs));
                projection.forward(ctx, x, 0..inputs, MatMut::new(&mut self.h, count, inputs, padded(inputs)));
                Mat::new(&self.h, count, inputs, padded(inputs))
            }
        };
        let [of_cluster, of_word] = &mut self.losses;
        [&mut *of_cluster, of_word].into_iter().for_each(|losses| {
            losses.clear();
            losses.resize(count, 0.0);
        });
        let base = self.starts[0];
        let words = |c: u32| self.starts[c as usize] - base..self.starts[c as usize + 1] - base;
        self.touched.clear();
        self.touched.extend(self.distinct.tokens().iter().map(|&c| words(c)));
        let (starts, params, distinct, wanted, rooms) =
            (&self.starts, &self.params, &self.distinct, &self.wanted, &self.rooms);
        let job = Job { ctx, scale: scored.scale, params, starts, distinct, wanted, x: h, rooms };
        let clusters = Scored { x: h, targets: &self.chosen, scale: scored.scale };
        match into {
            None => {
                self.over.iter_mut().for_each(|over| over.run(ctx, &clusters, of_cluster, None));
                job.share(of_word, None);
            }
            Some(Backward { dx: to, grads }) => {
                self.dh.reserve(count * padded(inputs));
                let mut dh = cleared(products, &mut self.dh, count, inputs);
                if let Some(over) = &mut self.over {
                    over.run(ctx, &clusters, of_cluster, Some(Backward { dx: dh.reborrow(), grads: &mut *grads }));
                }
                self.dbias.clear();
                self.dbias.resize(self.touched.iter().map(ExactSizeIterator::len).sum(), 0.0);
                let kernel = grads.add_spans(&self.params.kernel, self.touched.iter().cloned());
                let bias = &mut self.dbias[..];
                job.share(of_word, Some(ClusterGradients { base: 0, kernel, bias, dx: dh.reborrow() }));
                self.params.add_bias_spans(grads, &self.touched, &self.dbias);
                match &self.projection {
                    None => products.add_rows(dh.as_ref(), order, to),
                    Some(projection) => {
                        self.dx.reserve(count * padded(width));
                        let mut dx = cleared(products, &mut self.dx, count, width);
                        let mut gradients = projection.gradients(grads);
                        projection.backward(ctx, (x, dx.reborrow()), dh.as_ref(), &mut gradients, 0..inputs);
                        products.add_rows(dx.as_ref(), order, to);
                    }
                }
            }
        }
        for ((&r, of_cluster), of_word) in order.iter().zip(of_cluster).zip(of_word) {
            losses[r as usize] += *of_cluster + *of_word;
        }
    }

    /// The logarithms of the probabilities of its words in the order of their ranks, that of the tail being `tail` (R,
    /// 1).
    fn log_probabilities(&mut self, ctx: &Context<'_>, x: Mat<'_>, tail: Mat<'_>, mut out: MatMut<'_>) {
        let (rows, inputs, base) = (x.rows(), self.params.inputs, self.starts[0] as usize);
        let h = match &self.projection {
            None => x,
            Some(projection) => {
                self.h.reserve(rows * padded(inputs));
                projection.forward(ctx, x, 0..inputs, MatMut::new(&mut self.h, rows, inputs, padded(inputs)));
                Mat::new(&self.h, rows, inputs, padded(inputs))
            }
        };
        let clusters = self.clusters();
        let mut over = Buffer::new(rows * padded(clusters));
        let mut of_clusters = MatMut::new(&mut over, rows, clusters, padded(clusters));
        if let Some(head) = &mut self.over {
            rows::copy(head.logits(ctx, h), of_clusters.reborrow());
            softmax::log_softmax_rows(ctx.isa, of_clusters.reborrow());
        }
        for (c, cluster) in self.starts.windows(2).enumerate() {
            let words = cluster[0] as usize - base..cluster[1] as usize - base;
            let mut own = out.reborrow().cols_range(words.clone());
            let start = match &self.params.bias {
                Some(bias) => Start::Bias(&ctx.params[bias.clone()][words.clone()]),
                None => Start::Zero,
            };
            ctx.products().product(h, Right::Plain(cluster_kernel(&self.params, ctx, words)), start, own.reborrow());
            softmax::log_softmax_rows(ctx.isa, own.reborrow());
            for r in 0..rows {
                let above = tail.row(r)[0] + of_clusters.row_mut(r)[c];
                own.row_mut(r).iter_mut().for_each(|lp| *lp += above);
            }
        }
    }
}

/// A matrix of zeros.
fn cleared<'b>(products: Products<'_>, buffer: &'b mut Buffer, rows: usize, cols: usize) -> MatMut<'b> {
    let mut zeros = MatMut::new(buffer, rows, cols, padded(cols));
    products.by_rows(zeros.reborrow(), |range, mut part| (0..range.len()).for_each(|r| part.row_mut(r).fill(0.0)));
    zeros
}
