//! The LSTM's time loops.

use super::state_dropout::{self, Fresh, StateDropout};
use super::{Gates, Strand};
use crate::exec::shared::Shared;
use unroll_kernels::gemm::{Left, PackedRef};
use unroll_kernels::{Element, lstm};

/// LSTM forward: gates hold x W + b and receive the activated gates; c and h have their initial state in place.
pub(crate) struct LstmForward<'a, E = f32> {
    /// Of all units.
    pub(crate) form: lstm::Form<'a>,
    /// U (H, 4 x units), packed.
    pub(crate) recurrent: PackedRef<'a>,
    pub(crate) gates: Gates<'a, E>,
    pub(crate) c: Shared<'a>,
    pub(crate) h: Shared<'a>,
    /// Recurrent dropout and zoneout, if there are any.
    pub(crate) state_dropout: Option<StateDropout<'a>>,
}

impl<E: Element> LstmForward<'_, E> {
    pub(super) fn run(&self, strand: &Strand<'_>) {
        let (sweep, Self { form, recurrent, gates, c, h, state_dropout }) = (strand.sweep, self);
        let operand = state_dropout::operand(state_dropout, h);
        strand.forward(recurrent.granule(), |t, block| {
            let (rows, units, mut room) = (&block.rows, block.units.clone(), strand.room());
            // SAFETY: own blocks of this step are written, the step before is read: see the top of the folder.
            unsafe {
                let form = form.units(units.clone());
                let args = lstm::Forward {
                    h_prev: Left::of(*recurrent, operand.read(sweep.before(t, rows)), &mut room),
                    recurrent: recurrent.cols_range(units.clone()),
                    c_prev: c.read(sweep.before(t, rows)).cols_range(units.clone()),
                    gates: gates.first(sweep.at(t, rows), units.clone()),
                    c: c.write(sweep.now(t, rows)).cols_range(units.clone()),
                    h: h.write(sweep.now(t, rows)).cols_range(units),
                };
                lstm::forward_as(form, args);
                if let Some(state_dropout) = state_dropout {
                    state_dropout.after(sweep, (t, block), (h, Some(c)), Fresh::C);
                }
            }
        });
    }
}

/// LSTM backward.
pub(crate) struct LstmBackward<'a, E = f32> {
    /// Of all units.
    pub(crate) form: lstm::Form<'a>,
    /// U^T (4 H, H), packed.
    pub(crate) transposed: PackedRef<'a>,
    /// In: the activated gates; out: the gradient of the pre-activations.
    pub(crate) gates: Shared<'a, E>,
    /// As forward left it.
    pub(crate) c: Shared<'a>,
    /// In: the gradient of the outputs; clobbered.
    pub(crate) dh: Shared<'a>,
    /// (N, H): zero at first.
    pub(crate) dc: Shared<'a>,
    /// Recurrent dropout and zoneout, if there are any.
    pub(crate) state_dropout: Option<StateDropout<'a>>,
}

impl<E: Element> LstmBackward<'_, E> {
    pub(super) fn run(&self, strand: &Strand<'_>) {
        let (sweep, Self { form, transposed, gates, c, dh, dc, state_dropout }) = (strand.sweep, self);
        let fresh_c = state_dropout::fresh(state_dropout, 1, c);
        strand.backward(transposed.granule(), |t, later, block| {
            let (rows, units, mut room) = (&block.rows, block.units.clone(), strand.room());
            // SAFETY: own blocks of this step are written, the gates of the step after are read: see the top of the
            // folder.
            unsafe {
                let mut now = dh.write(sweep.now(t, rows)).cols_range(units.clone());
                if let Some(later) = later {
                    let a = Left::of(*transposed, gates.read(sweep.at(later, rows)), &mut room);
                    let b = transposed.cols_range(units.clone());
                    state_dropout::back(state_dropout, block, (a, b), now.reborrow());
                }
                if let Some(state_dropout) = state_dropout {
                    state_dropout.split(sweep, (t, block), dh, Some(dc));
                }
                lstm::backward_as(
                    sweep.isa,
                    form.units(units.clone()),
                    lstm::Backward {
                        gates: gates.write_groups(sweep.at(t, rows), 4, units.clone()),
                        c: fresh_c.read(sweep.now(t, rows)).cols_range(units.clone()),
                        c_prev: c.read(sweep.before(t, rows)).cols_range(units.clone()),
                        dh: now.as_ref(),
                        dc: dc.write(rows.clone()).cols_range(units),
                    },
                );
                if let Some(state_dropout) = state_dropout {
                    state_dropout.join(block, dc);
                }
            }
        });
    }
}
