//! Softmax without keeping the logits: each block of columns is computed once, and only its exponentials are kept, in
//! bf16.
//!
//! ```text
//! keep           for each block of columns, while its logits x are in the cache:
//!                u_j = e^(x_j - m), in bf16, where m is the largest logit of the row in this block;
//!                and a note: m, the sum of u, the target's logit
//! add_notes      the notes of a row's blocks together:  M, the row's largest logit, and Z = sum of e^x_j
//! kept_gradient  from u, the notes, M and Z:            dx_j = a e^(m - M) u_j / (Z e^-M) + b - [j = t] c, in bf16
//! ```
//!
//! So logits are never written to memory, and their exponentials take half of their room. A gradient is rounded to bf16
//! twice, each time by at most a part in 2^8; a gradient that is computed in f32 and then rounded is rounded once:
//!
//! ```text
//! |error of dx_j| <= that of f32 + a p_j (2^-7 + 2^-16) + 2^-8 |dx_j| + (a + 1) 2^-126       j not the target
//! |error of dx_t| <= that of f32 + 2^-8 |dx_t| + 2^-126
//! ```
//!
//! (2^-126: bf16 has no subnormal numbers here, smaller values become zero.) Losses are as accurate as in f32.

use super::generic::{exponentials, maximum, sum_of_exponentials};
use super::{IGNORE, Tally};
use crate::Element;
use crate::isa::Isa;
use crate::mat::{Bf16, Mat, MatMut};
use crate::profile::{self, Phase};
use crate::simd::{Kernel, Simd};

/// The columns that one block of logits has in the notes.
pub const NOTE: usize = 4;

/// What [`keep`] notes of one row's logits in one block.
#[derive(Clone, Copy, Debug)]
struct Note {
    /// m, the largest logit.
    max: f32,
    /// The sum of u without the target's.
    others: f32,
    /// The target's logit; -inf where the target is not in the block.
    target: f32,
    /// The sum of the logits, where it was asked for.
    sum: f32,
}

impl Note {
    fn of(row: &[f32], block: usize) -> Self {
        let at = NOTE * block;
        Self { max: row[at], others: row[at + 1], target: row[at + 2], sum: row[at + 3] }
    }

    fn write(self, to: &mut [f32]) {
        to.copy_from_slice(&[self.max, self.others, self.target, self.sum]);
    }
}

/// The arguments of [`keep`].
pub struct Keep<'a> {
    /// (R, C) In: the logits of C classes from `first` on, C at most 1024. Their contents afterwards are undefined.
    pub logits: MatMut<'a>,
    /// The class of the first column.
    pub first: usize,
    /// (R) Tokens, or [`IGNORE`].
    pub targets: &'a [u32],
    /// Whether the sum of the logits is noted too.
    pub sums: bool,
    /// (R, C) Out: u; 0 for the target and in rows that are not scored. Or (R, 0), where u is not wanted.
    pub kept: MatMut<'a, Bf16>,
    /// (R, [`NOTE`]) Out: the notes of the block.
    pub notes: MatMut<'a>,
}

/// Turns a block of logits into exponentials and notes.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn keep(isa: Isa, args: Keep<'_>) {
    let (rows, cols) = (args.logits.rows(), args.logits.cols());
    assert!(cols <= 1024, "a block of {cols} columns");
    assert_eq!(args.targets.len(), rows, "targets of {rows} rows");
    assert!(args.kept.rows() == rows && [0, cols].contains(&args.kept.cols()), "room for {rows} x {cols}");
    assert_eq!([args.notes.rows(), args.notes.cols()], [rows, NOTE], "notes of {rows} rows");
    let _span = profile::enter(Phase::ElementWise);
    isa.run(args);
}

impl Kernel for Keep<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for (r, &target) in self.targets.iter().enumerate() {
            let row = self.logits.row_mut(r);
            if target == IGNORE {
                self.kept.row_mut(r).fill(Bf16::of(0.0));
                continue;
            }
            let sum = if self.sums { row.iter().map(|&x| f64::from(x)).sum::<f64>() as f32 } else { 0.0 };
            let max = maximum(s, row);
            let column = (target as usize).checked_sub(self.first).filter(|&column| column < row.len());
            let target = column.map_or(f32::NEG_INFINITY, |at| std::mem::replace(&mut row[at], f32::NEG_INFINITY));
            let others = if max == f32::NEG_INFINITY {
                // Nothing that can come; a NaN would have been seen as one.
                let others = if row.iter().any(|x| x.is_nan()) { f32::NAN } else { 0.0 };
                row.fill(others);
                others
            } else if self.kept.cols() == 0 {
                sum_of_exponentials(s, row, max) as f32
            } else {
                exponentials(s, row, max) as f32
            };
            if self.kept.cols() > 0 {
                let to = self.kept.row_mut(r);
                for at in (0..row.len()).step_by(S::LANES) {
                    let end = row.len().min(at + S::LANES);
                    Bf16::store_partial(s, &mut to[at..end], s.load_partial(&row[at..end]));
                }
            }
            Note { max, others, target, sum }.write(self.notes.row_mut(r));
        }
    }
}

/// Adds the notes of some blocks to the tallies of their rows, and the noted sums of logits to `sums`. Rows whose target is
/// [`IGNORE`] are left as they are.
///
/// # Panics
///
/// When `notes` (R, [`NOTE`] x blocks), `targets`, `tallies` or `sums` have another number of rows.
#[track_caller]
pub fn add_notes(notes: Mat<'_>, targets: &[u32], tallies: &mut [Tally], sums: &mut [f64]) {
    let rows = notes.rows();
    assert_eq!([targets.len(), tallies.len(), sums.len()], [rows; 3], "targets, tallies and sums of {rows} rows");
    let scored = (0..rows).filter(|&r| targets[r] != IGNORE);
    for r in scored {
        for block in 0..notes.cols() / NOTE {
            let note = Note::of(notes.row(r), block);
            tallies[r].add(note.max, note.others, note.target);
            sums[r] += f64::from(note.sum);
        }
    }
}

/// The factors a, b and c of a row's gradient, dx_j = a p_j + b - \[j = t\] c. For cross-entropy with scale s: a = c = s,
/// b = 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowGradient {
    /// a: the factor of the probabilities.
    pub probabilities: f32,
    /// b: added to every entry.
    pub every: f32,
    /// c: subtracted from the target's entry.
    pub target: f32,
}

/// The arguments of [`kept_gradient`].
pub struct KeptGradient<'a> {
    /// (R, V). In: u. Out: the gradient; 0 in rows that are not scored.
    pub kept: MatMut<'a, Bf16>,
    /// (R, [`NOTE`] x blocks): the notes of all blocks.
    pub notes: Mat<'a>,
    /// The columns of each block except the last, which may have fewer.
    pub width: usize,
    /// (R) The targets that [`keep`] was given.
    pub targets: &'a [u32],
    /// (R) The tallies of all blocks' notes ([`add_notes`]).
    pub tallies: &'a [Tally],
    /// (R) The factors of each row.
    pub rows: &'a [RowGradient],
}

/// Replaces the kept exponentials by the gradient of the logits.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn kept_gradient(isa: Isa, args: KeptGradient<'_>) {
    let (rows, cols) = (args.kept.rows(), args.kept.cols());
    let found = [args.notes.rows(), args.targets.len(), args.tallies.len(), args.rows.len()];
    assert_eq!(found, [rows; 4], "notes, targets, tallies and factors of {rows} rows");
    assert_eq!(args.notes.cols(), NOTE * cols.div_ceil(args.width), "notes of {cols} columns");
    isa.run(args);
}

impl Kernel for KeptGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for (r, &target) in self.targets.iter().enumerate() {
            let (row, tally, factors) = (self.kept.row_mut(r), &self.tallies[r], self.rows[r]);
            if target == IGNORE {
                row.fill(Bf16::of(0.0));
                continue;
            }
            let (max, total) = (f64::from(tally.max()), tally.total());
            let whole = f64::from(factors.probabilities) / total;
            let every = s.splat(factors.every);
            for (block, part) in row.chunks_mut(self.width).enumerate() {
                let below = f64::from(Note::of(self.notes.row(r), block).max) - max;
                // A block of nothing but -inf has 0 everywhere.
                let factor = s.splat((whole * below.exp()) as f32);
                for at in (0..part.len()).step_by(S::LANES) {
                    let end = part.len().min(at + S::LANES);
                    let u = Bf16::load_partial(s, &part[at..end]);
                    Bf16::store_partial(s, &mut part[at..end], s.mul_add(u, factor, every));
                }
            }
            // p - 1 without the cancellation, as for whole rows; 0 - x, so that nothing becomes -0.
            let rest = f64::from(factors.probabilities) - f64::from(factors.target) + f64::from(factors.every);
            row[target as usize] = Bf16::of((rest - whole * tally.others()) as f32);
        }
    }
}
