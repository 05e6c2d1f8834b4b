//! The simple recurrence's time loops.

use super::state_dropout::{self, Fresh, StateDropout};
use super::{Gates, Strand};
use crate::exec::shared::Shared;
use unroll_kernels::gemm::{Left, PackedRef};
use unroll_kernels::{Element, rnn};

/// Forward: `pre` holds x W + b and is clobbered; h has its initial state in place.
pub(crate) struct RnnForward<'a, E = f32> {
    pub(crate) activation: rnn::Activation,
    /// U (H, units), packed.
    pub(crate) recurrent: PackedRef<'a>,
    pub(crate) pre: Gates<'a, E>,
    pub(crate) h: Shared<'a>,
    /// Recurrent dropout and zoneout, if there are any.
    pub(crate) state_dropout: Option<StateDropout<'a>>,
}

impl<E: Element> RnnForward<'_, E> {
    pub(super) fn run(&self, strand: &Strand<'_>) {
        let (sweep, Self { activation, recurrent, pre, h, state_dropout }) = (strand.sweep, self);
        if self.run_whole(strand) {
            return;
        }
        let operand = state_dropout::operand(state_dropout, h);
        strand.forward(recurrent.granule(), |t, block| {
            let (rows, units, mut room) = (&block.rows, block.units.clone(), strand.room());
            // SAFETY: own blocks of this step are written, the step before is read: see the top of the folder.
            unsafe {
                rnn::forward(rnn::Forward {
                    activation: *activation,
                    h_prev: Left::of(*recurrent, operand.read(sweep.before(t, rows)), &mut room),
                    recurrent: recurrent.cols_range(units.clone()),
                    pre: pre.first(sweep.at(t, rows), units.clone()),
                    h: h.write(sweep.now(t, rows)).cols_range(units),
                });
                if let Some(state_dropout) = state_dropout {
                    state_dropout.after(sweep, (t, block), (h, None), Fresh::H);
                }
            }
        });
    }

    /// Runs all steps in one call, if they are such as the cell takes at once.
    fn run_whole(&self, strand: &Strand<'_>) -> bool {
        let (sweep, Self { activation, recurrent, pre, h, state_dropout }) = (strand.sweep, self);
        let (activation, recurrent, rows, reverse) = (*activation, *recurrent, sweep.rows, sweep.reverse);
        if state_dropout.is_some() || !strand.is_whole() || !rnn::takes_sequences(recurrent, rows) {
            return false;
        }
        // SAFETY: the member is alone with all rows and units.
        let (Some(input), h) = (unsafe { (pre.input(sweep.all()), h.write(sweep.with_initial())) }) else {
            return false;
        };
        rnn::forward_sequence(rnn::SequenceForward { activation, recurrent, input, rows, reverse, h });
        true
    }
}

/// Backward.
pub(crate) struct RnnBackward<'a, E = f32> {
    pub(crate) activation: rnn::Activation,
    /// U^T (H, H), packed.
    pub(crate) transposed: PackedRef<'a>,
    /// Out: the gradient of the pre-activations.
    pub(crate) pre: Shared<'a, E>,
    /// As forward left it.
    pub(crate) h: Shared<'a>,
    /// In: the gradient of the outputs; clobbered.
    pub(crate) dh: Shared<'a>,
    /// Recurrent dropout and zoneout, if there are any.
    pub(crate) state_dropout: Option<StateDropout<'a>>,
}

impl<E: Element> RnnBackward<'_, E> {
    pub(super) fn run(&self, strand: &Strand<'_>) {
        let (sweep, Self { activation, transposed, pre, h, dh, state_dropout }) = (strand.sweep, self);
        if self.run_whole(strand) {
            return;
        }
        let fresh = state_dropout::fresh(state_dropout, 0, h);
        strand.backward(transposed.granule(), |t, later, block| {
            let (rows, units, mut room) = (&block.rows, block.units.clone(), strand.room());
            // SAFETY: own blocks of this step are written, `pre` of the step after is read: see the top of the folder.
            unsafe {
                let mut now = dh.write(sweep.now(t, rows)).cols_range(units.clone());
                if let Some(later) = later {
                    let a = Left::of(*transposed, pre.read(sweep.at(later, rows)), &mut room);
                    let b = transposed.cols_range(units.clone());
                    state_dropout::back(state_dropout, block, (a, b), now.reborrow());
                }
                if let Some(state_dropout) = state_dropout {
                    state_dropout.split(sweep, (t, block), dh, None);
                }
                rnn::backward(
                    sweep.isa,
                    rnn::Backward {
                        activation: *activation,
                        h: fresh.read(sweep.now(t, rows)).cols_range(units.clone()),
                        dh: now.as_ref(),
                        dpre: pre.write(sweep.at(t, rows)).cols_range(units),
                    },
                );
            }
        });
    }

    /// As in the forward pass.
    fn run_whole(&self, strand: &Strand<'_>) -> bool {
        let (sweep, Self { activation, transposed, pre, h, dh, state_dropout }) = (strand.sweep, self);
        let (activation, transposed, rows, reverse) = (*activation, *transposed, sweep.rows, sweep.reverse);
        if state_dropout.is_some() || !strand.is_whole() || !rnn::takes_sequences(transposed, rows) {
            return false;
        }
        // SAFETY: the member is alone with all rows and units.
        let (h, dh, dpre) = unsafe {
            (h.read(sweep.after_all()), dh.write(sweep.after_all()), E::plain_mut(pre.write(0..sweep.all())))
        };
        let Ok(dpre) = dpre else { return false };
        rnn::backward_sequence(rnn::SequenceBackward { activation, transposed, rows, reverse, h, dh, dpre });
        true
    }
}
