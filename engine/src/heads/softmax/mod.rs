//! Linear + softmax + cross-entropy over a vocabulary of any size, without ever storing all logits.
//!
//! ```text
//! blocks.rs   some rows, all words     three products; weights are read, and their gradient is read and written, once a block
//! slices.rs   all rows, some words     four products; weights are read twice and their gradient is written once, however many rows
//! kept.rs     either in bf16           the same, and no logit is written to memory
//! ```
//!
//! Where there are gradients, slices compute each logit twice: once for the sum over the vocabulary, then for the
//! gradient. They are chosen where a block would have too few rows to be worth reading all weights for. Threads divide
//! each product by words, so that they never have to add up gradients of weights, and no bit depends on their number.

mod best;
mod blocks;
mod kept;
mod shaping;
mod slices;

pub(crate) use shaping::Shaping;
use slices::GRANULE;

use super::{Backward, Scored};
use crate::exec::{Products, Start};
use crate::layers::{Context, DenseParams};
use std::ops::Range;
use unroll_kernels::gemm::Precision;
use unroll_kernels::mat::padded;
use unroll_kernels::softmax::Tally;
use unroll_kernels::{Bf16, Buffer, Element, Mat, MatMut, rows};

/// Elements of logits that are kept at a time unless the network's options say otherwise: 28 MiB in f32, half of it in
/// bf16.
pub(crate) const LOGITS: usize = 7 << 20;

/// Into how many parts that room is cut where not all logits fit into it and some words of them are kept: each part is
/// enough for a product. For some rows into fewer, since each block reads the weights, and reads and writes their
/// gradient (1,024 rows, 10,000 words: in bf16 25 % slower with blocks of 208 rows than with 512).
const PIECES: usize = 3;

/// Elements of logits that are worked on at a time, so that they stay in the second-level cache, and rows at most.
const CACHED: usize = 1 << 16;
const MOST_ROWS: usize = 64;

/// The softmax head.
pub(crate) struct SoftmaxHead {
    /// The dense layer that gives the logits; absent where the logits are another layer's output.
    dense: Option<DenseParams>,
    vocabulary: usize,
    /// The factor of each class; empty: 1.
    weights: Vec<f32>,
    shaping: Shaping,
    /// Elements of logits that may be kept at a time.
    room: usize,
    logits: Buffer,
    /// Of each row, where the vocabulary is cut: the softmax's sums, and that of the logits.
    tallies: Vec<Tally>,
    sums: Vec<f64>,
    /// What is known of the blocks of logits that were not kept.
    notes: Buffer,
    factors: Factors,
}

/// Whether the gradient of the kernel, x^T dz, is left as its two factors, which take far less memory than it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Factors {
    /// It is written out.
    #[default]
    Never,
    /// It is left where all rows are there at once.
    Wanted,
    /// It was left in the last step, of so many rows; in bf16 or not.
    Left { rows: usize, narrow: bool },
}

/// How the logits of some rows are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// So many rows at a time.
    Rows(usize),
    /// So many rows, and so many words of them, at a time.
    Words(usize, usize),
}

impl Cut {
    /// For so many rows of logits that the head computes and keeps as E, of which a block has `least` rows or more.
    fn new<E: Element>(room: usize, [rows, vocabulary]: [usize; 2], least: usize) -> Self {
        if rows * E::padded(vocabulary) <= room {
            return Self::Rows(rows.max(1));
        }
        let fit = (room * E::in_f32() / 2 / E::padded(vocabulary)).max(1);
        if fit >= least {
            // Blocks of about the same size.
            return Self::Rows(rows.div_ceil(rows.div_ceil(fit).max(1)).next_multiple_of(16).min(fit));
        }
        let rows = rows.min(slices::MOST_ROWS);
        let words = (room / PIECES / rows / GRANULE * GRANULE).max(GRANULE);
        // Slices of about the same size.
        let slices = vocabulary.div_ceil(words);
        Self::Words(rows, vocabulary.div_ceil(slices).next_multiple_of(GRANULE))
    }

    /// Elements, in f32's, of what is kept at a time.
    fn elements<E: Element>(self, vocabulary: usize) -> usize {
        let (Self::Rows(rows) | Self::Words(rows, _)) = self;
        let words = if let Self::Words(_, words) = self { words } else { vocabulary };
        rows * E::padded(words) / E::in_f32()
    }
}

/// Rows of a block below which slices of the vocabulary are faster.
fn least_rows(precision: Precision, gradient: bool) -> usize {
    match (gradient, precision) {
        // Nothing is computed twice.
        (false, _) => usize::MAX,
        (true, Precision::F32) => 128,
        (true, Precision::Bf16 | Precision::Int8) => 192,
    }
}

impl SoftmaxHead {
    pub(crate) fn new(dense: Option<DenseParams>, vocabulary: usize, weights: Vec<f32>, room: usize) -> Self {
        Self {
            dense,
            vocabulary,
            weights,
            shaping: Shaping::default(),
            room,
            logits: Buffer::default(),
            tallies: Vec::new(),
            sums: Vec::new(),
            notes: Buffer::default(),
            factors: Factors::Never,
        }
    }

    /// Whether the gradient of the kernel may be left as its factors from now on.
    pub(crate) fn want_factors(&mut self, want: bool) {
        let own = self.dense.as_ref().is_some_and(|dense| !dense.tied);
        self.factors = if want && own { Factors::Wanted } else { Factors::Never };
    }

    /// The dense layer whose kernel's gradient the last step left as its factors.
    pub(crate) fn left(&self) -> Option<&DenseParams> {
        self.dense.as_ref().filter(|_| matches!(self.factors, Factors::Left { .. }))
    }

    /// What was left has been written out.
    pub(crate) fn settle(&mut self) {
        if self.left().is_some() {
            self.factors = Factors::Wanted;
        }
    }

    /// `kernel` = start + x^T dz, where dz is the factor that the last step left and x the other, perhaps scaled.
    ///
    /// # Panics
    ///
    /// Where none was left.
    pub(crate) fn add_factors(&self, products: Products<'_>, x: Mat<'_>, start: Start<'_>, kernel: &mut [f32]) {
        let (Factors::Left { rows, narrow }, Some(dense)) = (self.factors, &self.dense) else {
            panic!("no factors of a gradient were left")
        };
        let kernel = MatMut::dense(kernel, dense.inputs, dense.units);
        if narrow {
            products.outer(x, self.kept(rows, dense.units), start, kernel);
        } else {
            products.outer(x, self.view(rows, dense.units), start, kernel);
        }
    }

    /// The same with what training adds to the losses.
    pub(crate) fn shaped(self, shaping: Shaping) -> Self {
        Self { shaping, ..self }
    }

    /// Bytes that the losses of `rows` rows need at most.
    pub(crate) fn bytes(vocabulary: usize, rows: usize, room: usize) -> u64 {
        4 * (padded(vocabulary) * rows.min((room / padded(vocabulary)).max(1))) as u64
    }

    /// How so many rows are cut, and the elements that are kept at a time.
    fn cut(&self, ctx: &Context<'_>, rows: usize, gradient: bool) -> (Cut, usize) {
        // Logits that another layer gave are all there.
        let least = if self.dense.is_some() { least_rows(ctx.precision, gradient) } else { 0 };
        let sizes = [rows, self.vocabulary];
        if self.narrows(ctx) {
            let cut = Cut::new::<Bf16>(self.room, sizes, least);
            (cut, if gradient { cut.elements::<Bf16>(self.vocabulary) } else { 0 })
        } else {
            let cut = Cut::new::<f32>(self.room, sizes, least);
            (cut, cut.elements::<f32>(self.vocabulary))
        }
    }

    pub(crate) fn run(
        &mut self,
        ctx: &Context<'_>,
        scored: &Scored<'_>,
        losses: &mut [f32],
        mut into: Option<Backward<'_>>,
    ) {
        let total = scored.x.rows();
        let (cut, elements) = self.cut(ctx, total, into.is_some());
        self.logits.reserve(elements);
        let (Cut::Rows(block) | Cut::Words(block, _)) = cut;
        if self.factors != Factors::Never {
            let leave = matches!(cut, Cut::Rows(_)) && block >= total && into.is_some();
            self.factors =
                if leave { Factors::Left { rows: total, narrow: self.narrows(ctx) } } else { Factors::Wanted };
        }
        for first in (0..total).step_by(block.max(1)) {
            let range = first..total.min(first + block);
            let Scored { x, targets, scale } = *scored;
            let scored = Scored { x: x.rows_range(range.clone()), targets: &targets[range.clone()], scale };
            let losses = &mut losses[range.clone()];
            let into =
                into.as_mut().map(|Backward { dx, grads }| Backward { dx: dx.reborrow().rows_range(range), grads });
            let dense = self.dense.clone();
            match (cut, dense, into) {
                (Cut::Words(_, words), Some(dense), into) => self.slices(ctx, (&dense, words), &scored, losses, into),
                (_, Some(dense), Some(into)) if self.narrows(ctx) => {
                    self.kept_block(ctx, &dense, &scored, losses, into);
                }
                (_, Some(dense), None) if self.narrows(ctx) => {
                    self.slices(ctx, (&dense, self.vocabulary), &scored, losses, None);
                }
                (_, _, into) => self.block(ctx, &scored, losses, into),
            }
        }
    }

    /// Whether logits are not kept, and their gradient in bf16, since only products read it.
    fn narrows(&self, ctx: &Context<'_>) -> bool {
        ctx.precision == Precision::Bf16 && self.dense.is_some()
    }

    /// The factor of the loss of a target.
    fn weight(&self, target: u32) -> f32 {
        self.weights.get(target as usize).copied().unwrap_or(1.0)
    }

    /// The logits of some words, or their gradient.
    fn view(&self, rows: usize, words: usize) -> Mat<'_> {
        Mat::new(&self.logits, rows, words, padded(words))
    }

    pub(crate) fn logits<'s>(&'s mut self, ctx: &Context<'_>, x: Mat<'s>) -> Mat<'s> {
        if self.dense.is_none() {
            return x;
        }
        self.compute_logits(ctx, x);
        self.view(x.rows(), self.vocabulary)
    }

    /// All logits of these rows.
    fn compute_logits(&mut self, ctx: &Context<'_>, x: Mat<'_>) {
        let (count, stride) = (x.rows(), padded(self.vocabulary));
        self.logits.reserve(count * stride);
        let mut logits = MatMut::new(&mut self.logits, count, self.vocabulary, stride);
        match &self.dense {
            Some(dense) => dense.forward(ctx, x, 0..self.vocabulary, logits),
            None => rows::copy(x, logits.reborrow()),
        }
    }
}

/// Calls `body` for pieces of at most `most` rows.
fn for_chunks<E: Element>(
    range: Range<usize>,
    most: usize,
    mut part: MatMut<'_, E>,
    mut body: impl FnMut(Range<usize>, MatMut<'_, E>),
) {
    for at in (0..range.len()).step_by(most) {
        let end = range.len().min(at + most);
        body(range.start + at..range.start + end, part.reborrow().rows_range(at..end));
    }
}
