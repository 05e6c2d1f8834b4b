//! Two-level softmax: one over classes of words of similar frequency, and one over the words of the target's class.
//!
//! ```text
//! p(w) = softmax(x C + c)[class of w] softmax(x K_class^T + b_class)[w]
//! ```
//!
//! Rows whose target is of the same class stand together, and each class is computed for its rows by one thread: there are many of
//! them, and each is small. A step reads and changes the kernel's rows of those classes only. The probabilities add up to 1, so
//! evaluations need no other form.
//!
//! Sources: J. Goodman, "Classes for fast maximum entropy training", 2001; T. Mikolov et al., "Extensions of recurrent neural network
//! language model", 2011, whose classes by the square root of the frequency these are.

use super::words::WordParams;
use super::{Into, Scored, SoftmaxHead};
use crate::exec::{Right, Start, Work};
use crate::graph::Ranks;
use crate::layers::Cx;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use unroll_kernels::embedding::{self, Distinct};
use unroll_kernels::gemm::{self, DirectProduct, Init, OuterProduct};
use unroll_kernels::mat::padded;
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::softmax::{self, CrossEntropy, IGNORE};
use unroll_kernels::{Buffer, Mat, MatMut, rows};

/// Rows of a class that are computed at a time.
const ROWS: usize = 256;

/// The head; see the top of the file.
pub(crate) struct ClassHead {
    /// Over the classes.
    first: SoftmaxHead,
    params: WordParams,
    /// Where each class begins by rank, and the number of words.
    starts: Vec<u32>,
    ranks: Ranks,
    /// The class of each row's target.
    targets: Vec<u32>,
    /// The rows that are scored, their classes and their targets within them; the classes without repeats.
    scored: Vec<u32>,
    classes: Vec<u32>,
    within: Vec<u32>,
    distinct: Distinct,
    /// The rows that are scored, those of a class together: which they are, their targets, x, its gradient, their losses.
    order: Vec<u32>,
    wanted: Vec<u32>,
    x: Buffer,
    dx: Buffer,
    losses: Vec<f32>,
    /// The words of those classes, and the gradient of their biases.
    touched: Vec<u32>,
    dbias: Vec<f32>,
    /// What threads work in.
    rooms: Mutex<Vec<Room>>,
    words: Buffer,
}

/// What a thread works in.
#[derive(Default)]
struct Room {
    logits: Buffer,
    scratch: Buffer,
}

/// Some classes that follow one another, and what is computed of them.
struct Piece<'a> {
    /// Numbers among the distinct classes.
    groups: Range<usize>,
    losses: &'a mut [f32],
    /// The rank of the first row of `dkernel`, the gradients of the kernel from there on, of the biases and of x.
    gradients: Option<(usize, MatMut<'a>, &'a mut [f32], MatMut<'a>)>,
}

impl ClassHead {
    pub(crate) fn new(first: SoftmaxHead, params: WordParams, starts: Vec<u32>, ranks: Ranks) -> Self {
        Self {
            first,
            params,
            starts,
            ranks,
            targets: Vec::new(),
            scored: Vec::new(),
            classes: Vec::new(),
            within: Vec::new(),
            distinct: Distinct::default(),
            order: Vec::new(),
            wanted: Vec::new(),
            x: Buffer::default(),
            dx: Buffer::default(),
            losses: Vec::new(),
            touched: Vec::new(),
            dbias: Vec::new(),
            rooms: Mutex::default(),
            words: Buffer::default(),
        }
    }

    pub(crate) fn run(&mut self, cx: &Cx<'_>, scored: &Scored<'_>, losses: &mut [f32], mut into: Option<Into<'_>>) {
        self.sort(scored.targets);
        let first = Scored { x: scored.x, targets: &self.targets, scale: scored.scale };
        self.first.run(cx, &first, losses, into.as_mut().map(Into::reborrow));
        let _span = profile::enter(if into.is_some() { Phase::HeadGradient } else { Phase::Head });
        self.group(cx, scored.x);
        self.within(cx, scored.scale, into);
        self.order.iter().zip(&self.losses).for_each(|(&r, loss)| losses[r as usize] += loss);
    }

    /// Finds the class of each target, and its place in it.
    fn sort(&mut self, targets: &[u32]) {
        for list in [&mut self.targets, &mut self.scored, &mut self.classes, &mut self.within] {
            list.clear();
        }
        for (r, &target) in targets.iter().enumerate() {
            if target == IGNORE {
                self.targets.push(IGNORE);
                continue;
            }
            let rank = self.ranks.of(target);
            let class = self.starts.partition_point(|&start| start <= rank) - 1;
            self.targets.push(class as u32);
            self.scored.push(r as u32);
            self.classes.push(class as u32);
            self.within.push(rank - self.starts[class]);
        }
        self.distinct.build(&self.classes, self.starts.len() - 1);
    }

    /// Puts the rows of each class together.
    fn group(&mut self, cx: &Cx<'_>, x: Mat<'_>) {
        self.order.clear();
        self.wanted.clear();
        for u in 0..self.distinct.tokens().len() {
            for &at in self.distinct.positions(u) {
                self.order.push(self.scored[at as usize]);
                self.wanted.push(self.within[at as usize]);
            }
        }
        let (count, inputs, order) = (self.order.len(), self.params.inputs, &self.order);
        self.x.reserve(count * padded(inputs));
        let to = MatMut::new(&mut self.x, count, inputs, padded(inputs));
        cx.products().by_rows(to, |range, part| embedding::gather(x, &order[range], part));
        self.losses.clear();
        self.losses.resize(count, 0.0);
    }

    /// The losses within the classes, and the gradients.
    fn within(&mut self, cx: &Cx<'_>, scale: f32, into: Option<Into<'_>>) {
        let (count, inputs, classes) = (self.order.len(), self.params.inputs, self.distinct.tokens());
        let words = |class: u32| self.starts[class as usize]..self.starts[class as usize + 1];
        let work: usize =
            classes.iter().enumerate().map(|(u, &c)| words(c).len() * self.distinct.positions(u).len()).sum();
        let (step, products) = (if into.is_some() { 3 } else { 1 }, cx.products());
        let total = Work::product(step * work, inputs, 1);
        self.touched.clear();
        self.touched.extend(classes.iter().flat_map(|&class| words(class)));
        self.dbias.clear();
        self.dbias.resize(self.touched.len(), 0.0);
        let (mut grads, mut dx) = (None, None);
        if let Some(Into { dx: to, grads: all }) = into {
            self.dx.reserve(count * padded(inputs));
            let mut own = MatMut::new(&mut self.dx, count, inputs, padded(inputs));
            products
                .by_rows(own.reborrow(), |range, mut part| (0..range.len()).for_each(|r| part.row_mut(r).fill(0.0)));
            (grads, dx) = (Some(all), Some((own, to)));
        }
        let job = Job {
            cx,
            scale,
            params: &self.params,
            starts: &self.starts,
            distinct: &self.distinct,
            wanted: &self.wanted,
            x: Mat::new(&self.x, count, inputs, padded(inputs)),
            rooms: &self.rooms,
        };
        let rest = grads.as_mut().zip(dx.as_mut()).map(|(grads, (own, _))| {
            (0, self.params.kernel_gradient(grads, &self.touched), &mut self.dbias[..], own.reborrow())
        });
        job.share(total, work, &mut self.losses, rest);
        if let (Some(grads), Some((own, to))) = (grads, dx) {
            products.add_rows(own.as_ref(), &self.order, to);
            self.params.add_bias_gradient(grads, &self.touched, &self.dbias);
        }
    }

    /// The logarithms of the probabilities of every word, (R, V).
    pub(crate) fn logits<'s>(&'s mut self, cx: &Cx<'_>, x: Mat<'s>) -> Mat<'s> {
        let (rows, words, classes) = (x.rows(), self.params.words(), self.starts.len() - 1);
        let mut first = Buffer::new(rows * padded(classes));
        let mut of_first = MatMut::new(&mut first, rows, classes, padded(classes));
        rows::copy(self.first.logits(cx, x), of_first.reborrow());
        cx.products().by_rows(of_first, |_, part| softmax::log_softmax_rows(cx.isa, part));
        let first = Mat::new(&first, rows, classes, padded(classes));
        self.words.reserve(rows * padded(words));
        let mut out = MatMut::new(&mut self.words, rows, words, padded(words));
        let start = match &self.params.bias {
            Some(bias) => Start::Bias(&cx.params[bias.clone()]),
            None => Start::Zero,
        };
        cx.products().product(x, Right::Transposed(self.params.kernel(cx)), start, out.reborrow());
        let (starts, ranks) = (&self.starts, &self.ranks);
        cx.products().by_rows(out, |range, mut part| {
            let mut sorted = vec![0.0; words];
            for (i, r) in range.enumerate() {
                for (class, within) in starts.windows(2).enumerate() {
                    let (from, to) = (within[0] as usize, within[1] as usize);
                    let row = &mut part.row_mut(i)[from..to];
                    softmax::log_softmax_rows(cx.isa, MatMut::dense(row, 1, to - from));
                    row.iter().enumerate().for_each(|(k, lp)| sorted[ranks.word(from + k)] = lp + first.row(r)[class]);
                }
                part.row_mut(i).copy_from_slice(&sorted);
            }
        });
        Mat::new(&self.words, rows, words, padded(words))
    }
}

/// What is computed of every class.
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

impl<'a> Job<'a> {
    /// Ranks of the words of group `u`.
    fn words(&self, u: usize) -> Range<usize> {
        let class = self.distinct.tokens()[u] as usize;
        self.starts[class] as usize..self.starts[class + 1] as usize
    }

    /// Cuts the groups into pieces of about the same work, whatever the number of threads does with them.
    fn share(
        &self,
        total: Work,
        work: usize,
        losses: &mut [f32],
        mut rest: Option<(usize, MatMut<'_>, &mut [f32], MatMut<'_>)>,
    ) {
        let (team, groups) = (self.cx.team, self.distinct.tokens().len());
        let (pieces, mut losses, mut done, mut next) = (team.parts(), losses, 0, 0);
        let cut = |i: usize| {
            let (first, mut rows) = (next, 0);
            while next < groups && (i + 1 == pieces || done < work * (i + 1) / pieces) {
                let count = self.distinct.positions(next).len();
                rows += count;
                done += count * self.words(next).len();
                next += 1;
            }
            if first == next {
                return None;
            }
            let of_rows = losses.split_off_mut(..rows).unwrap_or_default();
            let gradients = rest.take().map(|(base, kernel, bias, dx)| {
                let end = self.words(next - 1).end;
                let words: usize = (first..next).map(|u| self.words(u).len()).sum();
                let (own, kernel) = kernel.split_rows_at(end - base);
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

    /// Some rows of a class: numbers `rows` among all, `own` in the piece; the class's words are the piece's from `word` on.
    fn some_rows(
        &self,
        (words, word): (Range<usize>, usize),
        (rows, own, first): (Range<usize>, Range<usize>, bool),
        piece: &mut Piece<'_>,
        Room { logits, scratch }: &mut Room,
    ) {
        let (isa, precision) = (self.cx.isa, self.cx.precision);
        let (n, width) = (rows.len(), words.len());
        logits.reserve(n * padded(width));
        logits[..n * padded(width)].fill(0.0);
        let mut z = MatMut::new(logits, n, width, padded(width));
        let (a, b) = (self.x.rows_range(rows.clone()), self.params.kernel(self.cx).rows_range(words.clone()));
        let init = match &self.params.bias {
            Some(bias) => Init::Bias(&self.cx.params[bias.clone()][words.clone()]),
            None => Init::Zero,
        };
        gemm::direct_product(
            isa,
            DirectProduct { a, b, b_transposed: true, precision, init, c: z.reborrow(), scratch },
        );
        let (targets, losses, scale) = (&self.wanted[rows], &mut piece.losses[own.clone()], self.scale);
        let Some((base, dkernel, dbias, dx)) = &mut piece.gradients else {
            return softmax::cross_entropy_forward(isa, z.as_ref(), targets, losses);
        };
        softmax::cross_entropy(isa, CrossEntropy { logits: z.reborrow(), targets, scale, losses });
        let (dz, c) = (z.as_ref(), dx.reborrow().rows_range(own));
        gemm::direct_product(
            isa,
            DirectProduct { a: dz, b, b_transposed: false, precision, init: Init::Zero, c, scratch },
        );
        let c = dkernel.reborrow().rows_range(words.start - *base..words.end - *base);
        let init = if first { Init::Zero } else { Init::Keep };
        gemm::outer_product(isa, OuterProduct { a: dz, b: a, precision, init, c, scratch });
        rows::add_column_sums(isa, dz, &mut dbias[word..word + width]);
    }
}
