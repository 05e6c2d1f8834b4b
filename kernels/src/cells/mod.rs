//! What the recurrent cells share: the walk over the blocks of a step, and their common arithmetic.
//!
//! A step of a cell is a product (the hidden side of every gate) followed by element-wise work on its result. If all
//! units went through the one before the other, the gates would travel to the second-level cache and back in between;
//! so a step is walked in blocks of rows and units (`blocks`) that are small enough to stay in the first-level cache.

mod block;
mod functions;
pub mod reference;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub(crate) use block::{Block, Gate, Prefetch, Room};
pub use functions::Functions;
pub(crate) use functions::{Apply, Rough, Standard};

use crate::element::Element;
use crate::gemm::{self, PackedRef, Precision};
use crate::simd::Simd;
use std::ops::Range;

/// Elements of the gates that one block holds at most where a single panel allows: a third of a first-level cache of
/// 48 KB, the rest being left to the operands of the product.
const BLOCK: usize = 4096;

/// Rows of a block: ten register tiles of six rows; in bf16 a pair of tiles, for which the tile registers are configured.
fn block_rows(precision: Precision, rows: usize) -> usize {
    match precision {
        Precision::F32 => 60,
        Precision::Int8 => 64,
        Precision::Bf16 => 2 * gemm::tile_rows(rows),
    }
}

/// The blocks of a step of `rows` rows: (rows, units), whole panels of `recurrent`. All rows of some units go before the next
/// units, so that panels are read from the second-level cache once for each block of rows; in bf16 all units of some rows
/// before the next rows.
pub(crate) fn blocks(rows: usize, recurrent: PackedRef<'_>) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
    let (units, granule) = (recurrent.cols(), recurrent.granule());
    let precision = recurrent.precision();
    let high = block_rows(precision, rows);
    let panel = rows.clamp(1, high) * granule * recurrent.groups();
    let width = granule * (BLOCK / panel).max(1);
    let [down, right] = [rows.div_ceil(high), units.div_ceil(width)];
    (0..down * right).map(move |i| {
        let (n, u) = if precision == Precision::Bf16 { (i / right, i % right) } else { (i % down, i / down) };
        (n * high..rows.min((n + 1) * high), u * width..units.min((u + 1) * width))
    })
}

/// The vector at `at`: `LANES` elements if `WHOLE`, else those that are left, the other lanes 0.
#[inline(always)]
pub(crate) fn load<S: Simd, const WHOLE: bool>(s: S, row: &[impl Element], at: usize) -> S::F32 {
    if WHOLE { Element::load(s, &row[at..]) } else { Element::load_partial(s, &row[at..]) }
}

/// Writes the vector at `at`: `LANES` elements if `WHOLE`, else those that are left.
#[inline(always)]
pub(crate) fn store<S: Simd, const WHOLE: bool>(s: S, row: &mut [impl Element], at: usize, x: S::F32) {
    if WHOLE { Element::store(s, &mut row[at..], x) } else { Element::store_partial(s, &mut row[at..], x) }
}

/// The slices of one row of `units`, and the cell over one vector of them.
pub(crate) trait Row: Sized {
    /// One vector: `LANES` units from `at` on if `WHOLE`, else those that are left.
    fn cell<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize);

    /// The whole row: a run of whole vectors and at most one partial vector, whose unused lanes hold zeros.
    #[inline(always)]
    fn sweep<S: Simd>(mut self, s: S, units: usize) {
        let whole = units - units % S::LANES;
        for at in (0..whole).step_by(S::LANES) {
            self.cell::<S, true>(s, at);
        }
        if whole < units {
            self.cell::<S, false>(s, whole);
        }
    }
}

/// Gradients of a state below this magnitude, 2^-80, count as zero.
pub(crate) const VANISHED: f32 = f32::from_bits((127 - 80) << 23);

/// The gradient that reaches a state, as a step backward takes it: 0 where its magnitude is below [`VANISHED`], NaN as it is.
///
/// What vanishes through hundreds of steps ends among the subnormal numbers, on which processors take a hundred cycles
/// an operation: a bidirectional LSTM on texts of 600 words then trains at a twelfth of its rate. A gradient of 2^-80 adds
/// nothing to a sum over time whose other terms are larger than 2^-56, and 2^-80 leaves room for a step's factors: what it
/// is multiplied with, slopes, weights and states, must shrink it by 2^46 more before a product is subnormal. To have the
/// processor flush (FTZ and DAZ of MXCSR) would do as well on x86, but other processors would give other bits, and Rust
/// does not define what its own arithmetic means under such a mode.
#[inline(always)]
pub(crate) fn reaching<S: Simd>(s: S, d: S::F32) -> S::F32 {
    s.select(s.lt(s.abs(d), s.splat(VANISHED)), s.splat(0.0), d)
}

/// Panics unless an operand has the shape that the others ask for.
#[track_caller]
pub(crate) fn check_shape(name: &str, shape: [usize; 2], want: [usize; 2]) {
    assert_eq!(shape, want, "{name} is {} x {}, not {} x {}", shape[0], shape[1], want[0], want[1]);
}
