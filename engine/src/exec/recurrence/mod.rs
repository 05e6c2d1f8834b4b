//! The time loops of the recurrent cells, each run by a whole team.
//!
//! The work is cut in two ways. **Rows** of the batch, and the two directions of a layer, are independent: a *strand*
//! is one direction of some rows, which its own members run through all steps, without a barrier between strands.
//! Within a strand the **units** are cut: every member owns a run of panels of the recurrent weights, which stay in its
//! own second-level cache for the whole sequence. In each step it reads h of all units from the step before and writes
//! h of its own units; a barrier separates the steps. `strands.rs` decides how many strands there are. No bit depends
//! on either cut.
//!
//! **Layout.** The rows of a batch are ordered longest first, so that the rows that still have a step at time `t` are
//! always the first ones. A sequence is packed: time after time, each with the rows that it has. Gates are (P, gates
//! H), with P rows in all. h, c and their gradients are (P + 2 N, H): a block of N rows stands before these and another
//! after them, so that the state before the first step has a place whichever direction the layer reads. A layer that
//! reads backwards begins each row at that row's own last time. Without a mask every time has all rows, and P = T N.
//! Gates and what is kept of a hidden side are [`Element`]s: f32, or bf16 where products round to it.
//!
//! The promise that pays for the `unsafe` here: in a step a member writes only its own blocks (rows and units) of that
//! step, and of the gradients that flow to the step before, which no other member touches; and of the rows of its
//! strand it reads only what was complete before the strand's last barrier.

mod gates;
mod gru;
mod lstm;
mod rnn;
mod state_dropout;
mod strands;

pub(crate) use gates::{Gates, Lookup};
pub(crate) use gru::{GruBackward, GruForward, GruResetBeforeBackward, GruResetBeforeForward};
pub(crate) use lstm::{LstmBackward, LstmForward};
pub(crate) use rnn::{RnnBackward, RnnForward};
pub(crate) use state_dropout::StateDropout;

use super::cost::Work;
use super::member::Member;
use super::products::Products;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use strands::Share;
use unroll_kernels::gemm::Precision;
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::{Buffer, Element, Isa};

/// The sizes and direction of a time loop, and which rows belong to which time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sweep<'a> {
    pub(crate) isa: Isa,
    /// T + 1 numbers: the first row of each time in a packed sequence, and P.
    pub(crate) offsets: &'a [usize],
    /// N
    pub(crate) rows: usize,
    /// H
    pub(crate) units: usize,
    /// Whether the sequence is read from its end.
    pub(crate) reverse: bool,
}

impl Sweep<'_> {
    /// T: the steps of the longest row.
    fn steps(self) -> usize {
        self.offsets.len() - 1
    }
    /// P
    fn all(self) -> usize {
        self.offsets[self.steps()]
    }
    /// How many rows have the time `t`.
    fn count(self, t: usize) -> usize {
        if t < self.steps() { self.offsets[t + 1] - self.offsets[t] } else { 0 }
    }
    /// The time of the i-th step of the forward pass.
    fn time(self, i: usize) -> usize {
        if self.reverse { self.steps() - 1 - i } else { i }
    }
    /// Rows of time `t` in gates, of these rows of the batch.
    fn at(self, t: usize, rows: &Range<usize>) -> Range<usize> {
        self.offsets[t] + rows.start..self.offsets[t] + rows.end
    }
    /// Rows of the state after time `t`.
    fn now(self, t: usize, rows: &Range<usize>) -> Range<usize> {
        let first = self.rows + self.offsets[t];
        first + rows.start..first + rows.end
    }
    /// Rows of the state before time `t`, in the direction of reading, of rows that [`Self::parts`] does not divide.
    fn before(self, t: usize, rows: &Range<usize>) -> Range<usize> {
        let first = match (self.reverse, t) {
            (false, 0) => 0,
            (false, _) => self.rows + self.offsets[t - 1],
            (true, _) if rows.start < self.count(t + 1) => self.rows + self.offsets[t + 1],
            (true, _) => self.rows + self.all(),
        };
        first + rows.start..first + rows.end
    }
    /// The time that the backward pass processes just before `t`, of rows that [`Self::parts`] does not divide.
    fn later(self, t: usize, rows: &Range<usize>) -> Option<usize> {
        if self.reverse { t.checked_sub(1) } else { (rows.start < self.count(t + 1)).then_some(t + 1) }
    }
    /// These rows divided into those that go on after time `t` and those that end there.
    fn parts(self, t: usize, rows: &Range<usize>) -> [Range<usize>; 2] {
        let cut = self.count(t + 1).clamp(rows.start, rows.end);
        [rows.start..cut, cut..rows.end]
    }
    /// The first row of part `part` of `parts`: parts have about the same number of steps.
    fn cut(self, part: usize, parts: usize) -> usize {
        let (target, mut steps, mut sum) = (self.all() * part / parts, self.steps(), 0);
        for row in 0..self.rows {
            while steps > 0 && self.count(steps - 1) <= row {
                steps -= 1;
            }
            sum += steps;
            if sum > target {
                return row;
            }
        }
        self.rows
    }
    /// The rows of the state after each step of the packed sequence.
    pub(crate) fn after_all(self) -> Range<usize> {
        self.rows..self.rows + self.all()
    }
    /// Rows of the state before the first step, in the direction of reading.
    pub(crate) fn initial(self) -> Range<usize> {
        let first = if self.reverse { self.rows + self.all() } else { 0 };
        first..first + self.rows
    }
    /// The rows of the state before the first step and after each.
    fn with_initial(self) -> Range<usize> {
        let first = if self.reverse { self.rows } else { 0 };
        first..first + self.all() + self.rows
    }
    /// The rows of the state before each step of the packed sequence where they stand one after the other.
    pub(crate) fn before_all(self) -> Option<Range<usize>> {
        let first = if self.reverse { 2 * self.rows } else { 0 };
        (self.all() == self.rows * self.steps()).then(|| first..first + self.all())
    }
    /// The row of the state before each of these rows of the packed sequence.
    pub(crate) fn before_each(self, rows: Range<usize>) -> impl Iterator<Item = usize> {
        let mut t = self.offsets.partition_point(|&first| first <= rows.start).saturating_sub(1);
        rows.map(move |p| {
            while self.offsets[t + 1] <= p {
                t += 1;
            }
            let row = p - self.offsets[t];
            self.before(t, &(row..row + 1)).start
        })
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
    sweep: Sweep<'a>,
    rows: Range<usize>,
    member: Member<'a>,
    precision: Precision,
    /// Into how many pieces a member's share of a step is cut, so that others may take some.
    pieces: usize,
    room: &'a Mutex<Buffer>,
}

impl Strand<'_> {
    /// This member's blocks of every step, cut at panels of `granule` units.
    fn blocks(&self, granule: usize) -> MemberBlocks<'_> {
        MemberBlocks { strand: self, granule, rows: 0..0, share: Share::default() }
    }

    /// The share of a member in these rows.
    fn share(&self, member: Member<'_>, rows: &Range<usize>, granule: usize) -> Share {
        let tile = strands::tile(self.precision, rows.len());
        Share::new(member, rows.clone(), self.sweep.units, granule, tile).in_pieces(self.pieces, granule)
    }

    /// Scratch where this member rounds the left operands of its products.
    fn room(&self) -> MutexGuard<'_, Buffer> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The times of the forward pass in its order: those at which the strand has rows.
    fn times(&self) -> impl Iterator<Item = usize> {
        let (sweep, first) = (self.sweep, self.rows.start);
        (0..sweep.steps()).map(move |i| sweep.time(i)).filter(move |&t| sweep.count(t) > first)
    }

    /// The times of the backward pass in its order.
    fn backward_times(&self) -> impl Iterator<Item = usize> {
        let (sweep, first) = (self.sweep, self.rows.start);
        (0..sweep.steps()).rev().map(move |i| sweep.time(i)).filter(move |&t| sweep.count(t) > first)
    }

    /// Whether one member has all rows of a sequence without gaps: it may then compute all steps in one call, since
    /// there are no barriers between them.
    fn is_whole(&self) -> bool {
        let sweep = self.sweep;
        self.member.size() == 1 && self.rows == (0..sweep.rows) && sweep.all() == sweep.rows * sweep.steps()
    }

    /// Runs the steps of the forward pass, a barrier after each.
    fn forward(&self, granule: usize, step: impl Fn(usize, &Block)) {
        let mut blocks = self.blocks(granule);
        for t in self.times() {
            blocks.at(t).forward(|block| step(t, block));
            self.member.barrier();
        }
    }

    /// Runs the steps of the backward pass, a barrier after each. The second argument is the time processed before.
    fn backward(&self, granule: usize, step: impl Fn(usize, Option<usize>, &Block)) {
        let mut blocks = self.blocks(granule);
        for t in self.backward_times() {
            blocks.at(t).backward(|later, block| step(t, later, block));
            self.member.barrier();
        }
    }
}

/// The blocks of a member at every step.
struct MemberBlocks<'a> {
    strand: &'a Strand<'a>,
    granule: usize,
    /// The rows of which `share` is this member's part.
    rows: Range<usize>,
    share: Share,
}

impl MemberBlocks<'_> {
    /// The blocks of time `t`.
    fn at(&mut self, t: usize) -> StepBlocks<'_> {
        let Strand { sweep, rows, member, .. } = self.strand;
        let rows = rows.start..rows.end.min(sweep.count(t)).max(rows.start);
        if rows != self.rows {
            self.share = self.strand.share(*member, &rows, self.granule);
            self.rows = rows;
        }
        StepBlocks { all: self, t }
    }
}

/// The blocks of a member at one step.
#[derive(Clone, Copy)]
struct StepBlocks<'a> {
    all: &'a MemberBlocks<'a>,
    t: usize,
}

impl StepBlocks<'_> {
    /// Calls `step` with each block of this member, and with those that it takes from others who are behind.
    fn each(self, mut step: impl FnMut(Block)) {
        let MemberBlocks { strand, granule, rows, share } = self.all;
        if strand.pieces == 1 {
            return share.blocks().for_each(step);
        }
        let own = strand.member.rank();
        strand.member.turn(share.count(), |owner, i| {
            step(if owner.rank() == own { share.block(i) } else { strand.share(owner, rows, *granule).block(i) });
        });
    }

    /// Calls `step` with each block; where the direction of reading is reversed, rows that begin here apart from
    /// others, since the state before them stands elsewhere.
    fn forward(self, mut step: impl FnMut(&Block)) {
        if !self.all.strand.sweep.reverse {
            return self.each(|block| step(&block));
        }
        self.backward(|_, block| step(block));
    }

    /// Calls `step` with each block and the time that the backward pass has processed before: rows that end here apart
    /// from others, since nothing flows back to them.
    fn backward(self, mut step: impl FnMut(Option<usize>, &Block)) {
        let (sweep, t) = (self.all.strand.sweep, self.t);
        self.each(|block| {
            for rows in sweep.parts(t, &block.rows) {
                if !rows.is_empty() {
                    step(sweep.later(t, &rows), &Block { rows, units: block.units.clone() });
                }
            }
        });
    }
}

/// A time loop: a cell's forward or backward pass with its operands.
pub(crate) enum Loop<'a, E> {
    Rnn(RnnForward<'a, E>),
    RnnBack(RnnBackward<'a, E>),
    Lstm(LstmForward<'a, E>),
    LstmBack(LstmBackward<'a, E>),
    Gru(GruForward<'a, E>),
    GruBack(GruBackward<'a, E>),
    GruResetBefore(GruResetBeforeForward<'a, E>),
    GruResetBeforeBack(GruResetBeforeBackward<'a, E>),
}

impl<E: Element> Loop<'_, E> {
    fn phase(&self) -> Phase {
        match self {
            Self::Rnn(_) | Self::Lstm(_) | Self::Gru(_) | Self::GruResetBefore(_) => Phase::Recurrent,
            Self::RnnBack(_) | Self::LstmBack(_) | Self::GruBack(_) | Self::GruResetBeforeBack(_) => {
                Phase::RecurrentBack
            }
        }
    }

    fn gates(&self) -> usize {
        match self {
            Self::Rnn(_) | Self::RnnBack(_) => 1,
            Self::Lstm(_) | Self::LstmBack(_) => 4,
            Self::Gru(_) | Self::GruBack(_) | Self::GruResetBefore(_) | Self::GruResetBeforeBack(_) => 3,
        }
    }

    /// Barriers of a step.
    fn barriers(&self) -> usize {
        if matches!(self, Self::GruResetBefore(_) | Self::GruResetBeforeBack(_)) { 2 } else { 1 }
    }

    fn run(&self, strand: &Strand<'_>) {
        match self {
            Self::Rnn(args) => args.run(strand),
            Self::RnnBack(args) => args.run(strand),
            Self::Lstm(args) => args.run(strand),
            Self::LstmBack(args) => args.run(strand),
            Self::Gru(args) => args.run(strand),
            Self::GruBack(args) => args.run(strand),
            Self::GruResetBefore(args) => args.run(strand),
            Self::GruResetBeforeBack(args) => args.run(strand),
        }
    }
}

/// Runs time loops of the same cell and extent side by side: one, or the two directions of a layer.
///
/// # Panics
///
/// When there is none.
pub(crate) fn run_loops<E: Element>(products: Products<'_>, loops: &[(Sweep<'_>, Loop<'_, E>)]) {
    let Products { team, isa, precision, scratch } = products;
    let (sweep, first) = &loops[0];
    let steps = sweep.steps();
    if steps == 0 {
        return;
    }
    let _span = profile::enter(first.phase());
    // As many as a step has on average.
    let rows = sweep.all().div_ceil(steps);
    let step =
        strands::Step { isa, precision, rows, units: sweep.units, gates: first.gates(), barriers: first.barriers() };
    let parts = step.parts(loops.len(), team.size());
    let work = Work::product(rows, sweep.units, first.gates() * sweep.units).on(isa, precision);
    // The work between two barriers: of all steps where there is none.
    let free = loops.len() * parts >= team.size();
    let work = if free { work.times(loops.len() * steps) } else { work.times(loops.len()).divided(first.barriers()) };
    // Members that wait for each other at every step help each other; rows that need no barrier have nobody to wait
    // for.
    let pieces = if free { 1 } else { strands::pieces(work, team.size()) };
    team.run(work, |member| {
        let room = scratch.of(member);
        member.strands(loops.len() * parts, |strand, member| {
            let ((sweep, args), part) = (&loops[strand / parts], strand % parts);
            let rows = sweep.cut(part, parts)..sweep.cut(part + 1, parts);
            args.run(&Strand { sweep: *sweep, rows, member, precision, pieces, room });
        });
    });
}
