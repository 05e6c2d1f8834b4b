//! The time loops of the recurrent cells, each run by a whole team.
//!
//! Every member owns a block of hidden units, and so the block's columns of the recurrent weights, which stay in its own
//! second-level cache for the whole sequence. A step reads h of all units of the step before and writes the member's
//! units; a barrier parts the steps.
//!
//! **Layout.** h, c and their gradients are `((T + 2) N, H)`: time `t` stands in block `t + 1`, so that the state before
//! the first step has a place at either end, whichever direction the layer reads. Gates are `(T N, gates H)`.
//!
//! The promise that pays for the `unsafe` here: at a step a member writes its own columns of that step's blocks (and of
//! gradients flowing to the step before), and reads whole rows only of blocks completed before the last barrier.

use super::crew::{Member, Team, Work};
use super::shared::Shared;
use std::ops::Range;
use unroll_kernels::gemm::{self, Init, PackedRef};
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::{Isa, MatMut, gru, lstm, rnn};

/// The extent and direction of a time loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sweep {
    pub(crate) isa: Isa,
    /// T
    pub(crate) steps: usize,
    /// N
    pub(crate) rows: usize,
    /// H
    pub(crate) units: usize,
    /// Whether the sequence is read from its end.
    pub(crate) reverse: bool,
}

impl Sweep {
    /// The time of the i-th step of the forward pass.
    fn time(self, i: usize) -> usize {
        if self.reverse { self.steps - 1 - i } else { i }
    }
    /// Rows of time `t` in gates.
    fn at(self, t: usize) -> Range<usize> {
        t * self.rows..(t + 1) * self.rows
    }
    /// Rows of the state after time `t`.
    fn now(self, t: usize) -> Range<usize> {
        self.at(t + 1)
    }
    /// Rows of the state before time `t`, in the direction of reading.
    fn before(self, t: usize) -> Range<usize> {
        self.at(if self.reverse { t + 2 } else { t })
    }
    /// The first row of the state before each step: all steps' previous states are `T N` rows from here on.
    pub(crate) fn before_all(self) -> Range<usize> {
        let first = if self.reverse { 2 * self.rows } else { 0 };
        first..first + self.steps * self.rows
    }
    /// Rows of the state before the first step.
    pub(crate) fn initial(self) -> Range<usize> {
        self.before(self.time(0))
    }
    /// Rows of the state after the last step.
    pub(crate) fn last(self) -> Range<usize> {
        self.now(self.time(self.steps.saturating_sub(1)))
    }

    /// The work between two barriers, of which a step makes as many.
    fn work(self, gates: usize, barriers: usize) -> Work {
        Work::product(self.rows, self.units, gates * self.units).parted(barriers)
    }

    /// Runs the steps of the forward pass, a barrier after each.
    fn forward(self, team: &Team<'_>, gates: usize, granule: usize, step: impl Fn(usize, &Range<usize>) + Sync) {
        let _span = profile::enter(Phase::Recurrent);
        team.run(self.work(gates, 1), |member| {
            let units = member.share(self.units, granule);
            for i in 0..self.steps {
                step(self.time(i), &units);
                member.barrier();
            }
        });
    }

    /// Runs the steps of the backward pass, a barrier after each. The second argument is the time processed before.
    fn backward(
        self,
        team: &Team<'_>,
        gates: usize,
        granule: usize,
        step: impl Fn(usize, Option<usize>, &Range<usize>, Member<'_>) + Sync,
    ) {
        let _span = profile::enter(Phase::RecurrentBack);
        team.run(self.work(gates, 1), |member| {
            let units = member.share(self.units, granule);
            for i in (0..self.steps).rev() {
                let later = (i + 1 < self.steps).then(|| self.time(i + 1));
                step(self.time(i), later, &units, member);
                member.barrier();
            }
        });
    }
}

/// LSTM forward: gates hold x W + b and receive the activated gates; c and h have their initial state in place.
pub(crate) fn lstm_forward(
    team: &Team<'_>,
    sweep: Sweep,
    recurrent: PackedRef<'_>,
    gates: MatMut<'_>,
    c: MatMut<'_>,
    h: MatMut<'_>,
) {
    let (gates, c, h) = (Shared::new(gates), Shared::new(c), Shared::new(h));
    sweep.forward(team, 4, recurrent.granule(), |t, units| {
        // SAFETY: own columns of this step are written, the step before is read: see the top of the file.
        unsafe {
            lstm::forward(lstm::Forward {
                h_prev: h.read(sweep.before(t)),
                recurrent: recurrent.cols_range(units.clone()),
                c_prev: c.read(sweep.before(t)).cols_range(units.clone()),
                gates: gates.write_groups(sweep.at(t), 4, units.clone()),
                c: c.write(sweep.now(t)).cols_range(units.clone()),
                h: h.write(sweep.now(t)).cols_range(units.clone()),
            });
        }
    });
}

/// What the backward pass of an LSTM works on.
pub(crate) struct LstmBackward<'a> {
    /// U^T (4 H, H), packed.
    pub(crate) transposed: PackedRef<'a>,
    /// In: the activated gates; out: the gradient of the pre-activations.
    pub(crate) gates: MatMut<'a>,
    /// As forward left it.
    pub(crate) c: MatMut<'a>,
    /// In: the gradient of the outputs; clobbered.
    pub(crate) dh: MatMut<'a>,
    /// (N, H): zero at first.
    pub(crate) dc: MatMut<'a>,
}

/// LSTM backward.
pub(crate) fn lstm_backward(team: &Team<'_>, sweep: Sweep, args: LstmBackward<'_>) {
    let transposed = args.transposed;
    let (gates, c, dh, dc) = (Shared::new(args.gates), Shared::new(args.c), Shared::new(args.dh), Shared::new(args.dc));
    sweep.backward(team, 4, transposed.granule(), |t, later, units, _| {
        // SAFETY: own columns of this step are written, the gates of the step after are read: see the top of the file.
        unsafe {
            let mut dh = dh.write(sweep.now(t)).cols_range(units.clone());
            if let Some(later) = later {
                let (a, b) = (gates.read(sweep.at(later)), transposed.cols_range(units.clone()));
                gemm::product(gemm::Product { a, b, init: Init::Keep, c: dh.reborrow().into() });
            }
            lstm::backward(
                sweep.isa,
                lstm::Backward {
                    gates: gates.write_groups(sweep.at(t), 4, units.clone()),
                    c: c.read(sweep.now(t)).cols_range(units.clone()),
                    c_prev: c.read(sweep.before(t)).cols_range(units.clone()),
                    dh: dh.as_ref(),
                    dc: dc.write(0..sweep.rows).cols_range(units.clone()),
                },
            );
        }
    });
}

/// Simple recurrence forward: `pre` holds x W + b and is clobbered; h has its initial state in place.
pub(crate) fn rnn_forward(
    team: &Team<'_>,
    sweep: Sweep,
    activation: rnn::Activation,
    recurrent: PackedRef<'_>,
    pre: MatMut<'_>,
    h: MatMut<'_>,
) {
    let (pre, h) = (Shared::new(pre), Shared::new(h));
    sweep.forward(team, 1, recurrent.granule(), |t, units| {
        // SAFETY: own columns of this step are written, the step before is read: see the top of the file.
        unsafe {
            rnn::forward(rnn::Forward {
                activation,
                h_prev: h.read(sweep.before(t)),
                recurrent: recurrent.cols_range(units.clone()),
                pre: pre.write_groups(sweep.at(t), 1, units.clone()),
                h: h.write(sweep.now(t)).cols_range(units.clone()),
            });
        }
    });
}

/// What the backward pass of the simple recurrence works on.
pub(crate) struct RnnBackward<'a> {
    pub(crate) activation: rnn::Activation,
    /// U^T (H, H), packed.
    pub(crate) transposed: PackedRef<'a>,
    /// Out: the gradient of the pre-activations.
    pub(crate) pre: MatMut<'a>,
    /// As forward left it.
    pub(crate) h: MatMut<'a>,
    /// In: the gradient of the outputs; clobbered.
    pub(crate) dh: MatMut<'a>,
}

/// Simple recurrence backward.
pub(crate) fn rnn_backward(team: &Team<'_>, sweep: Sweep, args: RnnBackward<'_>) {
    let (activation, transposed) = (args.activation, args.transposed);
    let (pre, h, dh) = (Shared::new(args.pre), Shared::new(args.h), Shared::new(args.dh));
    sweep.backward(team, 1, transposed.granule(), |t, later, units, _| {
        // SAFETY: own columns of this step are written, `pre` of the step after is read: see the top of the file.
        unsafe {
            let mut dh = dh.write(sweep.now(t)).cols_range(units.clone());
            if let Some(later) = later {
                let (a, b) = (pre.read(sweep.at(later)), transposed.cols_range(units.clone()));
                gemm::product(gemm::Product { a, b, init: Init::Keep, c: dh.reborrow().into() });
            }
            rnn::backward(
                sweep.isa,
                rnn::Backward {
                    activation,
                    h: h.read(sweep.now(t)).cols_range(units.clone()),
                    dh: dh.as_ref(),
                    dpre: pre.write(sweep.at(t)).cols_range(units.clone()),
                },
            );
        }
    });
}

/// What the forward pass of a GRU that resets after the product works on.
pub(crate) struct GruForward<'a> {
    pub(crate) recurrent: PackedRef<'a>,
    /// (3 H), if there is a bias.
    pub(crate) recurrent_bias: Option<&'a [f32]>,
    /// In: x W + b; out: the activated gates.
    pub(crate) gates: MatMut<'a>,
    /// (T N, 3 H). Out: what backward needs of h U + b'.
    pub(crate) hidden: MatMut<'a>,
    pub(crate) h: MatMut<'a>,
}

/// GRU forward, reset after the product.
pub(crate) fn gru_forward(team: &Team<'_>, sweep: Sweep, args: GruForward<'_>) {
    let (recurrent, bias, width) = (args.recurrent, args.recurrent_bias, sweep.units);
    let (gates, hidden, h) = (Shared::new(args.gates), Shared::new(args.hidden), Shared::new(args.h));
    sweep.forward(team, 3, recurrent.granule(), |t, units| {
        let part = |bias: &'_ [f32], g: usize| -> Range<usize> {
            debug_assert_eq!(bias.len(), 3 * width);
            g * width + units.start..g * width + units.end
        };
        // SAFETY: own columns of this step are written, the step before is read: see the top of the file.
        unsafe {
            gru::forward(gru::Forward {
                h_prev: h.read(sweep.before(t)),
                h_prev_own: h.read(sweep.before(t)).cols_range(units.clone()),
                recurrent: recurrent.cols_range(units.clone()),
                recurrent_bias: bias.map(|b| std::array::from_fn(|g| &b[part(b, g)])),
                gates: gates.write_groups(sweep.at(t), 3, units.clone()),
                hidden: hidden.write_groups(sweep.at(t), 3, units.clone()),
                h: h.write(sweep.now(t)).cols_range(units.clone()),
            });
        }
    });
}

/// What the backward pass of a GRU works on, in either form.
pub(crate) struct GruBackward<'a> {
    /// Reset after: U^T (3 H, H). Reset before: U_zr^T (2 H, H). Packed.
    pub(crate) transposed: PackedRef<'a>,
    /// In: the activated gates; out: the gradient of the input's side.
    pub(crate) gates: MatMut<'a>,
    /// As forward left it.
    pub(crate) h: MatMut<'a>,
    /// In: the gradient of the outputs; clobbered.
    pub(crate) dh: MatMut<'a>,
}

/// GRU backward, reset after the product. `hidden` holds what forward left and receives the gradient of its side.
pub(crate) fn gru_backward(team: &Team<'_>, sweep: Sweep, args: GruBackward<'_>, hidden: MatMut<'_>) {
    let transposed = args.transposed;
    let (gates, hidden, h, dh) =
        (Shared::new(args.gates), Shared::new(hidden), Shared::new(args.h), Shared::new(args.dh));
    sweep.backward(team, 3, transposed.granule(), |t, later, units, _| {
        // SAFETY: own columns of this step (and of the gradient flowing to the step before) are written, `hidden` of
        // the step after is read: see the top of the file.
        unsafe {
            let mut now = dh.write(sweep.now(t)).cols_range(units.clone());
            if let Some(later) = later {
                let (a, b) = (hidden.read(sweep.at(later)), transposed.cols_range(units.clone()));
                gemm::product(gemm::Product { a, b, init: Init::Keep, c: now.reborrow().into() });
            }
            gru::backward(
                sweep.isa,
                gru::Backward {
                    gates: gates.write_groups(sweep.at(t), 3, units.clone()),
                    hidden: hidden.write_groups(sweep.at(t), 3, units.clone()),
                    h_prev: h.read(sweep.before(t)).cols_range(units.clone()),
                    dh: now.as_ref(),
                    dh_prev: dh.write(sweep.before(t)).cols_range(units.clone()),
                },
            );
        }
    });
}

/// What the forward pass of a GRU that resets before the product works on.
pub(crate) struct GruBeforeForward<'a> {
    /// U_z, U_r (H, 2 x units) and U_n (H, units).
    pub(crate) recurrent: [PackedRef<'a>; 2],
    /// In: x W + b; out: the activated gates.
    pub(crate) gates: MatMut<'a>,
    /// (T N, H). Out: r h_prev.
    pub(crate) reset_h: MatMut<'a>,
    pub(crate) h: MatMut<'a>,
}

/// GRU forward, reset before the product: two phases and two barriers a step.
pub(crate) fn gru_before_forward(team: &Team<'_>, sweep: Sweep, args: GruBeforeForward<'_>) {
    let [zr, n] = args.recurrent;
    let granule = zr.granule().max(n.granule());
    let (gates, reset_h, h) = (Shared::new(args.gates), Shared::new(args.reset_h), Shared::new(args.h));
    let _span = profile::enter(Phase::Recurrent);
    team.run(sweep.work(3, 2), |member| {
        let units = member.share(sweep.units, granule);
        for t in (0..sweep.steps).map(|i| sweep.time(i)) {
            // SAFETY: own columns of this step are written, the step before is read: see the top of the file.
            unsafe {
                gru::before::forward_gates(gru::before::ForwardGates {
                    h_prev: h.read(sweep.before(t)),
                    h_prev_own: h.read(sweep.before(t)).cols_range(units.clone()),
                    recurrent: zr.cols_range(units.clone()),
                    gates: gates.write_groups(sweep.at(t), 3, units.clone()),
                    reset_h: reset_h.write(sweep.at(t)).cols_range(units.clone()),
                });
            }
            member.barrier();
            // SAFETY: as above; r h_prev of all units is complete since the barrier.
            unsafe {
                gru::before::forward_candidate(gru::before::ForwardCandidate {
                    reset_h: reset_h.read(sweep.at(t)),
                    recurrent: n.cols_range(units.clone()),
                    h_prev: h.read(sweep.before(t)).cols_range(units.clone()),
                    gates: gates.write_groups(sweep.at(t), 3, units.clone()),
                    h: h.write(sweep.now(t)).cols_range(units.clone()),
                });
            }
            member.barrier();
        }
    });
}

/// GRU backward, reset before the product. `dreset` (N, H) is scratch; `transposed_n` is U_n^T (H, H), packed.
pub(crate) fn gru_before_backward(
    team: &Team<'_>,
    sweep: Sweep,
    args: GruBackward<'_>,
    transposed_n: PackedRef<'_>,
    dreset: MatMut<'_>,
) {
    let transposed = args.transposed;
    let (gates, dreset, h, dh) =
        (Shared::new(args.gates), Shared::new(dreset), Shared::new(args.h), Shared::new(args.dh));
    let (granule, width) = (transposed.granule().max(transposed_n.granule()), sweep.units);
    let _span = profile::enter(Phase::RecurrentBack);
    team.run(sweep.work(3, 2), |member| {
        let units = member.share(width, granule);
        for i in (0..sweep.steps).rev() {
            let t = sweep.time(i);
            // SAFETY: own columns of this step (and of the gradient flowing to the step before) are written, the gates
            // of the step after are read: see the top of the file.
            unsafe {
                let mut now = dh.write(sweep.now(t)).cols_range(units.clone());
                if i + 1 < sweep.steps {
                    let a = gates.read(sweep.at(sweep.time(i + 1))).cols_range(0..2 * width);
                    let b = transposed.cols_range(units.clone());
                    gemm::product(gemm::Product { a, b, init: Init::Keep, c: now.reborrow().into() });
                }
                gru::before::backward_candidate(
                    sweep.isa,
                    gru::before::BackwardCandidate {
                        gates: gates.write_groups(sweep.at(t), 3, units.clone()),
                        h_prev: h.read(sweep.before(t)).cols_range(units.clone()),
                        dh: now.as_ref(),
                        dh_prev: dh.write(sweep.before(t)).cols_range(units.clone()),
                    },
                );
            }
            member.barrier();
            // SAFETY: as above; da_n of all units is complete since the barrier, and this phase writes other columns.
            unsafe {
                let mut ds = dreset.write(0..sweep.rows).cols_range(units.clone());
                let a = gates.read(sweep.at(t)).cols_range(2 * width..3 * width);
                gemm::product(gemm::Product {
                    a,
                    b: transposed_n.cols_range(units.clone()),
                    init: Init::Zero,
                    c: ds.reborrow().into(),
                });
                gru::before::backward_gates(
                    sweep.isa,
                    gru::before::BackwardGates {
                        gates: gates.write_groups(sweep.at(t), 3, units.clone()),
                        h_prev: h.read(sweep.before(t)).cols_range(units.clone()),
                        dreset_h: ds.as_ref(),
                        dh_prev: dh.write(sweep.before(t)).cols_range(units.clone()),
                    },
                );
            }
            member.barrier();
        }
    });
}
