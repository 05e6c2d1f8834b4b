//! The time loops of the recurrent cells, each run by a whole team.
//!
//! Two things may be cut. **Rows** of the batch, and the two directions of a layer, know nothing of each other: a *strand*
//! is one direction of some rows, run through all steps by its own members, with no barrier between strands. Within a
//! strand the **units** are cut: every member owns a run of panels of the recurrent weights, which stay in its own
//! second-level cache for the whole sequence; a step reads h of all units of the step before and writes the member's
//! units, and a barrier parts the steps. `strands.rs` decides how many there are. No bit depends on either cut.
//!
//! **Layout.** h, c and their gradients are `((T + 2) N, H)`: time `t` stands in block `t + 1`, so that the state before
//! the first step has a place at either end, whichever direction the layer reads. Gates are `(T N, gates H)`.
//!
//! The promise that pays for the `unsafe` here: at a step a member writes only its own blocks (rows and units) of that
//! step and of gradients flowing to the step before, which no other member touches; and it reads, of the rows of its
//! strand, what was complete before the strand's last barrier.

mod gates;
mod gru;
mod lstm;
mod rnn;
mod strands;

pub(crate) use gates::{Gates, Lookup};
pub(crate) use gru::{GruBackward, GruBeforeBackward, GruBeforeForward, GruForward};
pub(crate) use lstm::{LstmBackward, LstmForward};
pub(crate) use rnn::{RnnBackward, RnnForward};

use super::cost::Work;
use super::member::Member;
use super::products::Products;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use strands::Share;
use unroll_kernels::gemm::Precision;
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::{Buffer, Isa};

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
    /// Rows of time `t` in gates, of these rows of the batch.
    fn at(self, t: usize, rows: &Range<usize>) -> Range<usize> {
        t * self.rows + rows.start..t * self.rows + rows.end
    }
    /// Rows of the state after time `t`.
    fn now(self, t: usize, rows: &Range<usize>) -> Range<usize> {
        self.at(t + 1, rows)
    }
    /// Rows of the state before time `t`, in the direction of reading.
    fn before(self, t: usize, rows: &Range<usize>) -> Range<usize> {
        self.at(if self.reverse { t + 2 } else { t }, rows)
    }
    /// The first row of the state before each step: all steps' previous states are `T N` rows from here on.
    pub(crate) fn before_all(self) -> Range<usize> {
        let first = if self.reverse { 2 * self.rows } else { 0 };
        first..first + self.steps * self.rows
    }
    /// Rows of the state before the first step.
    pub(crate) fn initial(self) -> Range<usize> {
        self.before(self.time(0), &(0..self.rows))
    }
    /// Rows of the state after the last step.
    pub(crate) fn last(self) -> Range<usize> {
        self.now(self.time(self.steps.saturating_sub(1)), &(0..self.rows))
    }
}

/// Some rows and units: what a member works on at one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Block {
    rows: Range<usize>,
    units: Range<usize>,
}

/// Some rows of a time loop, which its members run through all steps.
#[derive(Clone)]
struct Strand<'a> {
    sweep: Sweep,
    rows: Range<usize>,
    member: Member<'a>,
    precision: Precision,
    room: &'a Mutex<Buffer>,
}

impl Strand<'_> {
    /// The blocks of this member, cut at panels of `granule` units.
    fn share(&self, granule: usize) -> Share {
        let tile = strands::tile(self.precision, self.rows.len());
        Share::new(self.member, self.rows.clone(), self.sweep.units, granule, tile)
    }

    /// Where this member rounds the left operands of its products.
    fn room(&self) -> MutexGuard<'_, Buffer> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs the steps of the forward pass, a barrier after each.
    fn forward(&self, granule: usize, step: impl Fn(usize, &Block)) {
        let share = self.share(granule);
        for t in (0..self.sweep.steps).map(|i| self.sweep.time(i)) {
            share.blocks().iter().for_each(|block| step(t, block));
            self.member.barrier();
        }
    }

    /// The times of the backward pass in its order, each with the one processed before.
    fn backward_times(&self) -> impl Iterator<Item = (usize, Option<usize>)> {
        let sweep = self.sweep;
        (0..sweep.steps).rev().map(move |i| (sweep.time(i), (i + 1 < sweep.steps).then(|| sweep.time(i + 1))))
    }

    /// Runs the steps of the backward pass, a barrier after each. The second argument is the time processed before.
    fn backward(&self, granule: usize, step: impl Fn(usize, Option<usize>, &Block)) {
        let share = self.share(granule);
        for (t, later) in self.backward_times() {
            share.blocks().iter().for_each(|block| step(t, later, block));
            self.member.barrier();
        }
    }
}

/// A time loop: a cell's forward or backward pass with its operands.
pub(crate) enum Loop<'a> {
    Rnn(RnnForward<'a>),
    RnnBack(RnnBackward<'a>),
    Lstm(LstmForward<'a>),
    LstmBack(LstmBackward<'a>),
    Gru(GruForward<'a>),
    GruBack(GruBackward<'a>),
    GruBefore(GruBeforeForward<'a>),
    GruBeforeBack(GruBeforeBackward<'a>),
}

impl Loop<'_> {
    fn phase(&self) -> Phase {
        match self {
            Self::Rnn(_) | Self::Lstm(_) | Self::Gru(_) | Self::GruBefore(_) => Phase::Recurrent,
            Self::RnnBack(_) | Self::LstmBack(_) | Self::GruBack(_) | Self::GruBeforeBack(_) => Phase::RecurrentBack,
        }
    }

    fn gates(&self) -> usize {
        match self {
            Self::Rnn(_) | Self::RnnBack(_) => 1,
            Self::Lstm(_) | Self::LstmBack(_) => 4,
            Self::Gru(_) | Self::GruBack(_) | Self::GruBefore(_) | Self::GruBeforeBack(_) => 3,
        }
    }

    /// Barriers of a step.
    fn barriers(&self) -> usize {
        if matches!(self, Self::GruBefore(_) | Self::GruBeforeBack(_)) { 2 } else { 1 }
    }

    fn run(&self, strand: &Strand<'_>) {
        match self {
            Self::Rnn(args) => args.run(strand),
            Self::RnnBack(args) => args.run(strand),
            Self::Lstm(args) => args.run(strand),
            Self::LstmBack(args) => args.run(strand),
            Self::Gru(args) => args.run(strand),
            Self::GruBack(args) => args.run(strand),
            Self::GruBefore(args) => args.run(strand),
            Self::GruBeforeBack(args) => args.run(strand),
        }
    }
}

/// Runs time loops of the same cell and extent side by side: one, or the two directions of a layer.
///
/// # Panics
///
/// When there is none.
pub(crate) fn run(products: Products<'_>, loops: &[(Sweep, Loop<'_>)]) {
    let Products { team, isa, precision, scratch } = products;
    let (sweep, first) = &loops[0];
    let _span = profile::enter(first.phase());
    let step = strands::Step {
        isa,
        precision,
        rows: sweep.rows,
        units: sweep.units,
        gates: first.gates(),
        barriers: first.barriers(),
    };
    let parts = step.parts(loops.len(), team.size());
    let work = Work::product(sweep.rows, sweep.units, first.gates() * sweep.units).on(isa, precision);
    // The work between two barriers: of all steps where there is none.
    let free = loops.len() * parts >= team.size();
    let work =
        if free { work.times(loops.len() * sweep.steps) } else { work.times(loops.len()).parted(first.barriers()) };
    team.run(work, |member| {
        let room = scratch.of(member);
        member.strands(loops.len() * parts, |strand, member| {
            let ((sweep, args), part) = (&loops[strand / parts], strand % parts);
            let rows = sweep.rows * part / parts..sweep.rows * (part + 1) / parts;
            args.run(&Strand { sweep: *sweep, rows, member, precision, room });
        });
    });
}
