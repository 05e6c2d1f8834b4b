//! All steps of a few rows, one after the other, over weights that stay in the first-level cache.
//!
//! The bits are those of [`super::forward`] and [`super::backward`] step by step. Nothing is called in between, and a
//! row's sums stay where its state will: of a step of one row with 100 units, 0.5 us called step by step, more than
//! half would be views, checks and calls.

use super::generic::through_row;
use super::{Activation, SequenceBackward, SequenceForward, SequenceInput};
use crate::activation::generic::value;
use crate::embedding::look_up_row;
use crate::faults::{Fault, spoil};
use crate::gemm::CachedPanels;
use crate::math::{map_slice, tanh};
use crate::simd::{Kernel, Simd};

/// The times of `steps` in the order of reading.
#[inline(always)]
fn times(steps: usize, reverse: bool) -> impl DoubleEndedIterator<Item = usize> {
    (0..steps).map(move |i| if reverse { steps - 1 - i } else { i })
}

/// Forward.
pub(super) struct Forward<'a> {
    pub(super) cached: CachedPanels<'a>,
    pub(super) args: SequenceForward<'a>,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { cached, args: SequenceForward { activation, input, rows, reverse, mut h, .. } } = self;
        for t in times(h.rows() / rows - 1, reverse) {
            for at in t * rows..(t + 1) * rows {
                // The rows of a time and of the time after are `rows` apart; one is the state before, the other after.
                let (mut above, mut below) = h.reborrow().split_rows_at(at + rows);
                let (one, two) = (above.row_mut(at), below.row_mut(0));
                let (before, now) = if reverse { (two, one) } else { (one, two) };
                match &input {
                    SequenceInput::Ready(pre) => now.copy_from_slice(pre.row(at)),
                    SequenceInput::LookedUp { table, bias, tokens } => look_up_row(s, *table, *bias, tokens[at], now),
                }
                cached.add_row(s, before, now);
                activate(s, activation, now);
            }
        }
    }
}

/// x = act(x)
#[inline(always)]
fn activate<S: Simd>(s: S, activation: Activation, x: &mut [f32]) {
    match activation {
        Activation::Tanh => map_slice(
            s,
            x,
            #[inline(always)]
            |x| tanh(s, x),
        ),
        other => map_slice(
            s,
            x,
            #[inline(always)]
            |x| value(s, other, x),
        ),
    }
}

/// Backward.
pub(super) struct Backward<'a> {
    pub(super) cached: CachedPanels<'a>,
    pub(super) args: SequenceBackward<'a>,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { cached, args: SequenceBackward { activation, h, rows, reverse, mut dh, mut dpre, .. } } = self;
        let steps = h.rows() / rows;
        for t in times(steps, reverse).rev() {
            let later = if reverse { t.checked_sub(1) } else { Some(t + 1).filter(|&t| t < steps) };
            for n in 0..rows {
                let at = t * rows + n;
                if let Some(later) = later {
                    cached.add_row(s, dpre.as_ref().row(later * rows + n), dh.row_mut(at));
                }
                through_row(s, activation, [h.row(at), dh.row_mut(at)], dpre.row_mut(at));
            }
            spoil(Fault::Rnn, dpre.reborrow().rows_range(t * rows..(t + 1) * rows));
        }
    }
}
