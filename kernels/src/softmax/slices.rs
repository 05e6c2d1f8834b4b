//! The softmax of rows whose logits are computed slice by slice, and never all kept.

use super::IGNORE;
use super::generic::{Score, exponentials, maximum, scale_by, sum_of_exponentials};
use crate::isa::Isa;
use crate::mat::{Mat, MatMut};
use crate::simd::{Kernel, Simd};

/// Logits that are copied at a time where one of them must not count.
const PIECE: usize = 1024;

/// The softmax of a row after some slices of its logits: running maximum and sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tally {
    /// The largest logit so far.
    max: f32,
    /// The sum of e^(x - max) of all but the target.
    others: f64,
    /// The target's logit, once it has come.
    target: f32,
}

/// Before the first slice.
impl Default for Tally {
    fn default() -> Self {
        Self { max: f32::NEG_INFINITY, others: 0.0, target: f32::NEG_INFINITY }
    }
}

impl Tally {
    /// -ln p of the target in nats, after all slices. NaN where a logit was NaN or +inf; +inf where the target's was -inf.
    pub fn loss(&self) -> f32 {
        self.score().loss
    }

    /// ln of the sum of e^x over all logits, after all slices.
    pub fn log_partition(&self) -> f64 {
        f64::from(self.max) + self.score().total.ln()
    }

    /// The target's logit, once its slice has come.
    pub fn target(&self) -> f32 {
        self.target
    }

    fn score(&self) -> Score {
        Score::new(self.max, self.target, self.others)
    }

    /// The largest logit.
    pub(super) fn max(&self) -> f32 {
        self.max
    }

    /// The sum of e^(x - max) of all but the target.
    pub(super) fn others(&self) -> f64 {
        self.others
    }

    /// The sum of e^(x - max) over all logits, after all slices.
    pub(super) fn total(&self) -> f64 {
        self.score().total
    }

    /// Adds a slice: its largest logit, the sum of e^(x - max) of its logits but the target's, and that one or -inf.
    pub(super) fn add(&mut self, max: f32, others: f32, target: f32) {
        if max > self.max {
            self.others *= (f64::from(self.max) - f64::from(max)).exp();
            self.max = max;
        }
        // Nothing that can come adds 0, or what a NaN made of it.
        let factor = if max < self.max { (f64::from(max) - f64::from(self.max)).exp() } else { 1.0 };
        self.others += f64::from(others) * factor;
        if target != f32::NEG_INFINITY {
            self.target = target;
        }
    }
}

/// The slice's column of a row's target, if it falls into the slice.
#[inline(always)]
fn column(target: u32, first: usize, cols: usize) -> Option<usize> {
    (target as usize).checked_sub(first).filter(|&column| column < cols)
}

/// Adds a slice to every row's tally: columns `first..` of the logits, (R, columns). Rows whose target is [`IGNORE`] are passed
/// over. Slices may come in any order, each once; the bits depend on the order.
///
/// # Panics
///
/// When `targets` or `tallies` have not R elements.
#[track_caller]
pub fn tally(isa: Isa, logits: Mat<'_>, first: usize, targets: &[u32], tallies: &mut [Tally]) {
    let rows = logits.rows();
    assert!(
        targets.len() == rows && tallies.len() == rows,
        "{} targets, {} tallies for {rows} rows",
        targets.len(),
        tallies.len()
    );
    isa.run(Add { logits, first, targets, tallies });
}

struct Add<'a> {
    logits: Mat<'a>,
    first: usize,
    targets: &'a [u32],
    tallies: &'a mut [Tally],
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut copy = [0.0; PIECE];
        for (r, (&target, tally)) in self.targets.iter().zip(self.tallies).enumerate() {
            if target == IGNORE {
                continue;
            }
            let row = self.logits.row(r);
            let top = maximum(s, row);
            // Also where it is NaN, which no comparison shows: the sum below becomes NaN then.
            if top > tally.max {
                tally.others *= (f64::from(tally.max) - f64::from(top)).exp();
                tally.max = top;
            }
            let column = column(target, self.first, row.len());
            if let Some(column) = column {
                tally.target = row[column];
            }
            if tally.max == f32::NEG_INFINITY {
                // Nothing that could come so far; a NaN would have been seen as one.
                tally.others += row.iter().map(|&x| if x.is_nan() { f64::NAN } else { 0.0 }).sum::<f64>();
                continue;
            }
            for (i, mut piece) in row.chunks(PIECE).enumerate() {
                if let Some(column) = column.filter(|column| column / PIECE == i) {
                    copy[..piece.len()].copy_from_slice(piece);
                    copy[column % PIECE] = f32::NEG_INFINITY;
                    piece = &copy[..piece.len()];
                }
                tally.others += sum_of_exponentials(s, piece, tally.max);
            }
        }
    }
}

/// The arguments of [`slice_gradient`].
pub struct SliceGradient<'a> {
    /// (R, columns). In: columns `first..` of the logits. Out: their gradient.
    pub logits: MatMut<'a>,
    /// The class of the first column.
    pub first: usize,
    /// (R) As [`tally`] was given them.
    pub targets: &'a [u32],
    /// (R) After all slices.
    pub tallies: &'a [Tally],
    /// The gradient of the total loss by each row's loss.
    pub scale: f32,
}

/// In the logits' place their gradient, (softmax - onehot(target)) scale; 0 in rows that are not scored.
///
/// # Panics
///
/// When `targets` or `tallies` have not R elements.
#[track_caller]
pub fn slice_gradient(isa: Isa, args: SliceGradient<'_>) {
    let rows = args.logits.rows();
    let found = [args.targets.len(), args.tallies.len()];
    assert!(found == [rows; 2], "{} targets, {} tallies for {rows} rows", found[0], found[1]);
    isa.run(args);
}

impl Kernel for SliceGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for (r, (&target, tally)) in self.targets.iter().zip(self.tallies).enumerate() {
            let row = self.logits.row_mut(r);
            if target == IGNORE {
                row.fill(0.0);
                continue;
            }
            let column = column(target, self.first, row.len());
            if let Some(column) = column {
                row[column] = f32::NEG_INFINITY;
            }
            exponentials(s, row, tally.max);
            let factor = f64::from(self.scale) / tally.score().total;
            scale_by(s, row, factor as f32);
            if let Some(column) = column {
                // As for whole rows: no cancellation, no -0.
                row[column] = (0.0 - tally.others * factor) as f32;
            }
        }
    }
}
