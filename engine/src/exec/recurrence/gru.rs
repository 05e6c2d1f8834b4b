//! The GRU's time loops, for a reset after and before the product.

use super::state_dropout::{self, Fresh, StateDropout};
use super::{Gates, Strand};
use crate::exec::shared::Shared;
use std::ops::Range;
use unroll_kernels::cells::Functions;
use unroll_kernels::gemm::{self, Init, Left, PackedRef};
use unroll_kernels::{Element, gru};

/// Forward, reset after the product.
pub(crate) struct GruForward<'a, E = f32> {
    pub(crate) functions: Functions,
    /// U (H, 3 x units), packed.
    pub(crate) recurrent: PackedRef<'a>,
    /// (3 H), if there is a bias.
    pub(crate) recurrent_bias: Option<&'a [f32]>,
    /// In: x W + b; out: the activated gates.
    pub(crate) gates: Gates<'a, E>,
    /// (T N, 3 H). Out: what backward needs of h U + b'.
    pub(crate) hidden: Shared<'a, E>,
    pub(crate) h: Shared<'a>,
    /// Recurrent dropout and zoneout, if there are any.
    pub(crate) state_dropout: Option<StateDropout<'a>>,
}

impl<E: Element> GruForward<'_, E> {
    pub(super) fn run(&self, strand: &Strand<'_>) {
        let (sweep, Self { functions, recurrent, recurrent_bias, gates, hidden, h, state_dropout }) =
            (strand.sweep, self);
        let operand = state_dropout::operand(state_dropout, h);
        let width = sweep.units;
        strand.forward(recurrent.granule(), |t, block| {
            let (rows, units, mut room) = (&block.rows, block.units.clone(), strand.room());
            let part = |bias: &'_ [f32], g: usize| -> Range<usize> {
                debug_assert_eq!(bias.len(), 3 * width);
                g * width + block.units.start..g * width + block.units.end
            };
            // SAFETY: own blocks of this step are written, the step before is read: see the top of the folder.
            unsafe {
                let args = gru::Forward {
                    h_prev: Left::of(*recurrent, operand.read(sweep.before(t, rows)), &mut room),
                    h_prev_own: h.read(sweep.before(t, rows)).cols_range(units.clone()),
                    recurrent: recurrent.cols_range(units.clone()),
                    recurrent_bias: recurrent_bias.map(|b| std::array::from_fn(|g| &b[part(b, g)])),
                    gates: gates.first(sweep.at(t, rows), units.clone()),
                    hidden: hidden.write_groups(sweep.at(t, rows), 3, units.clone()),
                    h: h.write(sweep.now(t, rows)).cols_range(units),
                };
                gru::forward_as(*functions, args);
                if let Some(state_dropout) = state_dropout {
                    state_dropout.after(sweep, (t, block), (h, None), Fresh::None);
                }
            }
        });
    }
}

/// Backward, reset after the product.
pub(crate) struct GruBackward<'a, E = f32> {
    pub(crate) functions: Functions,
    /// U^T (3 H, H), packed.
    pub(crate) transposed: PackedRef<'a>,
    /// In: the activated gates; out: the gradient of the input's side.
    pub(crate) gates: Shared<'a, E>,
    /// In: what forward left; out: the gradient of the hidden side.
    pub(crate) hidden: Shared<'a, E>,
    /// As forward left it.
    pub(crate) h: Shared<'a>,
    /// In: the gradient of the outputs; clobbered.
    pub(crate) dh: Shared<'a>,
    /// Recurrent dropout and zoneout, if there are any.
    pub(crate) state_dropout: Option<StateDropout<'a>>,
}

impl<E: Element> GruBackward<'_, E> {
    pub(super) fn run(&self, strand: &Strand<'_>) {
        let (sweep, Self { functions, transposed, gates, hidden, h, dh, state_dropout }) = (strand.sweep, self);
        strand.backward(transposed.granule(), |t, later, block| {
            let (rows, units, mut room) = (&block.rows, block.units.clone(), strand.room());
            // SAFETY: own blocks of this step (and of the gradient flowing to the step before) are written, `hidden` of
            // the step after is read: see the top of the folder.
            unsafe {
                let mut now = dh.write(sweep.now(t, rows)).cols_range(units.clone());
                if let Some(later) = later {
                    let a = Left::of(*transposed, hidden.read(sweep.at(later, rows)), &mut room);
                    let b = transposed.cols_range(units.clone());
                    state_dropout::back(state_dropout, block, (a, b), now.reborrow());
                }
                if let Some(state_dropout) = state_dropout {
                    state_dropout.split(sweep, (t, block), dh, None);
                }
                gru::backward_as(
                    sweep.isa,
                    *functions,
                    gru::Backward {
                        gates: gates.write_groups(sweep.at(t, rows), 3, units.clone()),
                        hidden: hidden.write_groups(sweep.at(t, rows), 3, units.clone()),
                        h_prev: h.read(sweep.before(t, rows)).cols_range(units.clone()),
                        dh: now.as_ref(),
                        dh_prev: dh.write(sweep.before(t, rows)).cols_range(units),
                    },
                );
            }
        });
    }
}

/// Forward, reset before the product: two phases and two barriers a step.
pub(crate) struct GruResetBeforeForward<'a, E = f32> {
    pub(crate) functions: Functions,
    /// U_z, U_r (H, 2 x units) and U_n (H, units), packed.
    pub(crate) recurrent: [PackedRef<'a>; 2],
    /// In: x W + b; out: the activated gates.
    pub(crate) gates: Gates<'a, E>,
    /// (T N, H). Out: r h_prev.
    pub(crate) reset_h: Shared<'a>,
    pub(crate) h: Shared<'a>,
    /// Recurrent dropout and zoneout, if there are any.
    pub(crate) state_dropout: Option<StateDropout<'a>>,
}

impl<E: Element> GruResetBeforeForward<'_, E> {
    pub(super) fn run(&self, strand: &Strand<'_>) {
        let (sweep, Self { functions, recurrent: [zr, n], gates, reset_h, h, state_dropout }) = (strand.sweep, self);
        let operand = state_dropout::operand(state_dropout, h);
        let mut member_blocks = strand.blocks(zr.granule().max(n.granule()));
        for t in strand.times() {
            let blocks = member_blocks.at(t);
            blocks.forward(|block| {
                let (rows, units, mut room) = (&block.rows, block.units.clone(), strand.room());
                // SAFETY: own blocks of this step are written, the step before is read: see the top of the folder.
                unsafe {
                    let args = gru::reset_before::ForwardGates {
                        h_prev: Left::of(*zr, operand.read(sweep.before(t, rows)), &mut room),
                        h_prev_own: operand.read(sweep.before(t, rows)).cols_range(units.clone()),
                        recurrent: zr.cols_range(units.clone()),
                        gates: gates.first(sweep.at(t, rows), units.clone()),
                        reset_h: reset_h.write(sweep.at(t, rows)).cols_range(units),
                    };
                    gru::reset_before::forward_gates_as(*functions, args);
                }
            });
            strand.member.barrier();
            blocks.forward(|block| {
                let (rows, units, mut room) = (&block.rows, block.units.clone(), strand.room());
                // SAFETY: as above; r h_prev of all units is complete since the barrier.
                unsafe {
                    let args = gru::reset_before::ForwardCandidate {
                        reset_h: Left::of(*n, reset_h.read(sweep.at(t, rows)), &mut room),
                        recurrent: n.cols_range(units.clone()),
                        h_prev: h.read(sweep.before(t, rows)).cols_range(units.clone()),
                        gates: gates.again(sweep.at(t, rows), units.clone()),
                        h: h.write(sweep.now(t, rows)).cols_range(units),
                    };
                    gru::reset_before::forward_candidate_as(*functions, args);
                    if let Some(state_dropout) = state_dropout {
                        state_dropout.after(sweep, (t, block), (h, None), Fresh::None);
                    }
                }
            });
            strand.member.barrier();
        }
    }
}

/// Backward, reset before the product.
pub(crate) struct GruResetBeforeBackward<'a, E = f32> {
    pub(crate) functions: Functions,
    /// U_zr^T (2 H, H) and U_n^T (H, H), packed.
    pub(crate) transposed: [PackedRef<'a>; 2],
    /// In: the activated gates; out: the gradient of the pre-activations.
    pub(crate) gates: Shared<'a, E>,
    /// As forward left it.
    pub(crate) h: Shared<'a>,
    /// In: the gradient of the outputs; clobbered.
    pub(crate) dh: Shared<'a>,
    /// (N, H): scratch.
    pub(crate) dreset: Shared<'a>,
    /// Recurrent dropout and zoneout, if there are any.
    pub(crate) state_dropout: Option<StateDropout<'a>>,
}

impl<E: Element> GruResetBeforeBackward<'_, E> {
    pub(super) fn run(&self, strand: &Strand<'_>) {
        let (sweep, Self { functions, transposed: [zr, n], gates, h, dh, dreset, state_dropout }) =
            (strand.sweep, self);
        let operand = state_dropout::operand(state_dropout, h);
        let width = sweep.units;
        let mut member_blocks = strand.blocks(zr.granule().max(n.granule()));
        for t in strand.backward_times() {
            let blocks = member_blocks.at(t);
            blocks.backward(|later, block| {
                let (rows, units, mut room) = (&block.rows, block.units.clone(), strand.room());
                // SAFETY: own blocks of this step (and of the gradient flowing to the step before) are written, the
                // gates of the step after are read: see the top of the folder.
                unsafe {
                    let mut now = dh.write(sweep.now(t, rows)).cols_range(units.clone());
                    if let Some(later) = later {
                        let a = gates.read(sweep.at(later, rows)).cols_range(0..2 * width);
                        let (a, b) = (Left::of(*zr, a, &mut room), zr.cols_range(units.clone()));
                        state_dropout::back(state_dropout, block, (a, b), now.reborrow());
                    }
                    if let Some(state_dropout) = state_dropout {
                        state_dropout.split(sweep, (t, block), dh, None);
                    }
                    gru::reset_before::backward_candidate_as(
                        sweep.isa,
                        *functions,
                        gru::reset_before::BackwardCandidate {
                            gates: gates.write_groups(sweep.at(t, rows), 3, units.clone()),
                            h_prev: h.read(sweep.before(t, rows)).cols_range(units.clone()),
                            dh: now.as_ref(),
                            dh_prev: dh.write(sweep.before(t, rows)).cols_range(units),
                        },
                    );
                }
            });
            strand.member.barrier();
            blocks.backward(|_, block| {
                let (rows, units, mut room) = (&block.rows, block.units.clone(), strand.room());
                // SAFETY: as above; da_n of all units is complete since the barrier, and this phase writes other
                // columns.
                unsafe {
                    let mut ds = dreset.write(rows.clone()).cols_range(units.clone());
                    let a = gates.read(sweep.at(t, rows)).cols_range(2 * width..3 * width);
                    let (a, b) = (Left::of(*n, a, &mut room), n.cols_range(units.clone()));
                    gemm::product(gemm::Product { a, b, init: Init::Zero, c: ds.reborrow().into() });
                    let before = dh.write(sweep.before(t, rows)).cols_range(units.clone());
                    state_dropout::undropped(state_dropout, block, before, |dh_prev| {
                        let args = gru::reset_before::BackwardGates {
                            gates: gates.write_groups(sweep.at(t, rows), 3, units.clone()),
                            h_prev: operand.read(sweep.before(t, rows)).cols_range(units.clone()),
                            dreset_h: ds.as_ref(),
                            dh_prev,
                        };
                        gru::reset_before::backward_gates_as(sweep.isa, *functions, args);
                    });
                }
            });
            strand.member.barrier();
        }
    }
}
