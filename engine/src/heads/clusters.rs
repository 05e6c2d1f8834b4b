//! Softmax over the most frequent words and the tails of the others, one over the clusters of a tail, and one over the words of a
//! cluster: the adaptive softmax, and with a single tail that of two levels.
//!
//! ```text
//! p(w) = softmax(x W + b)[w]                                                                 w one of the S most frequent words
//! p(w) = softmax(x W + b)[S + t] softmax(h C_t + b_t)[c] softmax(h K_c + b_c)[w]             w in cluster c of tail t
//!    h = x P_t                                                                               P_t (D, D_t)
//! ```
//!
//! A softmax over one thing is left out; where a tail has all of the inputs, h is x.
//! Rows whose target is in the same cluster stand together. A cluster is computed by one thread: there are many of them, and each is
//! small. A step reads and changes the kernels of those clusters only. The probabilities add up to 1, so evaluations need no other
//! form.
//!
//! Sources: E. Grave, A. Joulin, M. Cissé, D. Grangier and H. Jégou, "Efficient softmax approximation for GPUs", 2017; J. Goodman,
//! "Classes for fast maximum entropy training", 2001; T. Mikolov et al., "Extensions of recurrent neural network language model",
//! 2011. Biases, and many clusters a tail, are ours.

use super::words::WordParams;
use super::{Into, Scored, SoftmaxHead};
use crate::exec::{Products, Right, Start, Work};
use crate::graph::Ranks;
use crate::layers::{Cx, DenseParams};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use unroll_kernels::embedding::{self, Distinct};
use unroll_kernels::gemm::{self, DirectProduct, Init, OuterProduct};
use unroll_kernels::mat::padded;
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::softmax::{self, CrossEntropy, IGNORE};
use unroll_kernels::{Buffer, Mat, MatMut, rows};

/// Rows of a cluster that are computed at a time.
const ROWS: usize = 256;

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

    pub(crate) fn run(&mut self, cx: &Cx<'_>, scored: &Scored<'_>, losses: &mut [f32], mut into: Option<Into<'_>>) {
        self.sort(scored.targets);
        let first = Scored { x: scored.x, targets: &self.targets, scale: scored.scale };
        match &mut self.first {
            Some(head) => head.run(cx, &first, losses, into.as_mut().map(Into::reborrow)),
            None => losses.fill(0.0),
        }
        let _span = profile::enter(if into.is_some() { Phase::HeadGradient } else { Phase::Head });
        for tail in self.tails.iter_mut().filter(|tail| !tail.rows.is_empty()) {
            tail.run(cx, scored, losses, into.as_mut().map(Into::reborrow));
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
    pub(crate) fn logits<'s>(&'s mut self, cx: &Cx<'_>, x: Mat<'s>) -> Mat<'s> {
        let (rows, columns) = (x.rows(), self.frequent + self.tails.len());
        let words = self.tails.last().map_or(self.frequent, Tail::end);
        let mut first = Buffer::new(rows * padded(columns));
        if let Some(head) = &mut self.first {
            let mut of_first = MatMut::new(&mut first, rows, columns, padded(columns));
            rows::copy(head.logits(cx, x), of_first.reborrow());
            softmax::log_softmax_rows(cx.isa, of_first);
        }
        let first = Mat::new(&first, rows, columns, padded(columns));
        let mut sorted = Buffer::new(rows * padded(words));
        let mut by_rank = MatMut::new(&mut sorted, rows, words, padded(words));
        rows::copy(first.cols_range(0..self.frequent), by_rank.reborrow().cols_range(0..self.frequent));
        for (t, tail) in self.tails.iter_mut().enumerate() {
            let own = by_rank.reborrow().cols_range(tail.starts[0] as usize..tail.end());
            tail.log_probabilities(cx, x, first.cols_range(self.frequent + t..self.frequent + t + 1), own);
        }
        self.words.reserve(rows * padded(words));
        let (ranks, by_rank) = (&self.ranks, by_rank.as_ref());
        cx.products().by_rows(MatMut::new(&mut self.words, rows, words, padded(words)), |range, mut part| {
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
    /// The same rows, those of a cluster together: which they are, their clusters, their targets in these, x, h, the gradients of both,
    /// the losses of cluster and word.
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

/// What a thread works in.
#[derive(Default)]
struct Room {
    logits: Buffer,
    scratch: Buffer,
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
    fn run(&mut self, cx: &Cx<'_>, scored: &Scored<'_>, losses: &mut [f32], into: Option<Into<'_>>) {
        let (count, width, inputs) = (self.order.len(), scored.x.cols(), self.params.inputs);
        let (all, order, products) = (scored.x, &self.order, cx.products());
        self.x.reserve(count * padded(width));
        let to = MatMut::new(&mut self.x, count, width, padded(width));
        products.by_rows(to, |range, part| embedding::gather(all, &order[range], part));
        let x = Mat::new(&self.x, count, width, padded(width));
        let h = match &self.projection {
            None => x,
            Some(projection) => {
                self.h.reserve(count * padded(inputs));
                projection.forward(cx, x, 0..inputs, MatMut::new(&mut self.h, count, inputs, padded(inputs)));
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
        let job = Job { cx, scale: scored.scale, params, starts, distinct, wanted, x: h, rooms };
        let clusters = Scored { x: h, targets: &self.chosen, scale: scored.scale };
        match into {
            None => {
                self.over.iter_mut().for_each(|over| over.run(cx, &clusters, of_cluster, None));
                job.share(of_word, None);
            }
            Some(Into { dx: to, grads }) => {
                self.dh.reserve(count * padded(inputs));
                let mut dh = cleared(products, &mut self.dh, count, inputs);
                if let Some(over) = &mut self.over {
                    over.run(cx, &clusters, of_cluster, Some(Into { dx: dh.reborrow(), grads: &mut *grads }));
                }
                self.dbias.clear();
                self.dbias.resize(self.touched.iter().map(ExactSizeIterator::len).sum(), 0.0);
                let kernel = grads.add_spans(&self.params.kernel, &self.touched);
                job.share(of_word, Some((0, kernel, &mut self.dbias, dh.reborrow())));
                self.params.add_bias_spans(grads, &self.touched, &self.dbias);
                match &self.projection {
                    None => products.add_rows(dh.as_ref(), order, to),
                    Some(projection) => {
                        self.dx.reserve(count * padded(width));
                        let mut dx = cleared(products, &mut self.dx, count, width);
                        let mut gradients = projection.gradients(grads);
                        projection.backward(cx, (x, dx.reborrow()), dh.as_ref(), &mut gradients, 0..inputs);
                        products.add_rows(dx.as_ref(), order, to);
                    }
                }
            }
        }
        for ((&r, of_cluster), of_word) in order.iter().zip(of_cluster).zip(of_word) {
            losses[r as usize] += *of_cluster + *of_word;
        }
    }

    /// The logarithms of the probabilities of its words in the order of their ranks, that of the tail being `tail` (R, 1).
    fn log_probabilities(&mut self, cx: &Cx<'_>, x: Mat<'_>, tail: Mat<'_>, mut out: MatMut<'_>) {
        let (rows, inputs, base) = (x.rows(), self.params.inputs, self.starts[0] as usize);
        let h = match &self.projection {
            None => x,
            Some(projection) => {
                self.h.reserve(rows * padded(inputs));
                projection.forward(cx, x, 0..inputs, MatMut::new(&mut self.h, rows, inputs, padded(inputs)));
                Mat::new(&self.h, rows, inputs, padded(inputs))
            }
        };
        let clusters = self.clusters();
        let mut over = Buffer::new(rows * padded(clusters));
        let mut of_clusters = MatMut::new(&mut over, rows, clusters, padded(clusters));
        if let Some(head) = &mut self.over {
            rows::copy(head.logits(cx, h), of_clusters.reborrow());
            softmax::log_softmax_rows(cx.isa, of_clusters.reborrow());
        }
        for (c, cluster) in self.starts.windows(2).enumerate() {
            let words = cluster[0] as usize - base..cluster[1] as usize - base;
            let mut own = out.reborrow().cols_range(words.clone());
            let start = match &self.params.bias {
                Some(bias) => Start::Bias(&cx.params[bias.clone()][words.clone()]),
                None => Start::Zero,
            };
            cx.products().product(h, Right::Plain(cluster_kernel(&self.params, cx, words)), start, own.reborrow());
            softmax::log_softmax_rows(cx.isa, own.reborrow());
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

/// K of the cluster of these words, counted from the tail's first: (inputs, |c|).
fn cluster_kernel<'a>(params: &WordParams, cx: &Cx<'a>, words: Range<usize>) -> Mat<'a> {
    let (inputs, start) = (params.inputs, params.kernel.start);
    let own = start + words.start * inputs..start + words.end * inputs;
    Mat::dense(&cx.params[own], inputs, words.len())
}

/// The gradients of what has not been given to a piece yet, and the first word that they are of: of the kernels, of the biases of
/// the step's words, and of the rows of x.
type Gradients<'a> = (usize, &'a mut [f32], &'a mut [f32], MatMut<'a>);

/// Some clusters that follow one another, and what is computed of them.
struct Piece<'a> {
    /// Numbers among the distinct clusters.
    groups: Range<usize>,
    losses: &'a mut [f32],
    gradients: Option<Gradients<'a>>,
}

/// What is computed of every cluster of a tail.
struct Job<'a> {
    cx: &'a Cx<'a>,
    scale: f32,
    params: &'a WordParams,
    starts: &'a [u32],
    distinct: &'a Distinct,
    wanted: &'a [u32],
    x: Mat<'a>,
    rooms: &'a Mutex<Vec<Room>>,
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
    fn share(&self, mut losses: &mut [f32], mut rest: Option<Gradients<'_>>) {
        let (team, groups, inputs) = (self.cx.team, self.distinct.tokens().len(), self.params.inputs);
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
            let gradients = rest.take().map(|(base, kernel, bias, dx)| {
                let end = self.words(next - 1).end;
                let words: usize = (first..next).map(|u| self.words(u).len()).sum();
                let (own, kernel) = kernel.split_at_mut((end - base) * inputs);
                let (own_bias, bias) = bias.split_at_mut(words);
                let (own_dx, dx) = dx.split_rows_at(rows);
                rest = Some((end, kernel, bias, dx));
                (base, own, own_bias, own_dx)
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
                self.some_rows((words.clone(), word), (rows, own, first == 0), &mut piece, &mut room);
            }
            row += count;
            at += count;
            word += words.len();
        }
        lock().push(room);
    }

    /// Some rows of a cluster: numbers `rows` among all, `own` in the piece; its words are those of the piece from `word` on.
    fn some_rows(
        &self,
        (words, word): (Range<usize>, usize),
        (rows, own, first): (Range<usize>, Range<usize>, bool),
        piece: &mut Piece<'_>,
        Room { logits, scratch }: &mut Room,
    ) {
        let (isa, precision, inputs) = (self.cx.isa, self.cx.precision, self.params.inputs);
        let (n, width) = (rows.len(), words.len());
        logits.reserve(n * padded(width));
        // Beside a row's end there may be what is left of a wider cluster.
        (0..n).for_each(|r| logits[r * padded(width) + width..(r + 1) * padded(width)].fill(0.0));
        let mut z = MatMut::new(logits, n, width, padded(width));
        let (a, b) = (self.x.rows_range(rows.clone()), cluster_kernel(self.params, self.cx, words.clone()));
        let init = match &self.params.bias {
            Some(bias) => Init::Bias(&self.cx.params[bias.clone()][words.clone()]),
            None => Init::Zero,
        };
        gemm::direct_product(
            isa,
            DirectProduct { a, b, b_transposed: false, precision, init, c: z.reborrow(), scratch },
        );
        let (targets, losses, scale) = (&self.wanted[rows], &mut piece.losses[own.clone()], self.scale);
        let Some((base, kernel, dbias, dx)) = &mut piece.gradients else {
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
        rows::add_column_sums(isa, dz, &mut dbias[word..word + width]);
    }
}
