//! Recurrent dropout and zoneout, which change a state between two steps.
//!
//! ```text
//! recurrent dropout   the product takes h_prev m, m one mask a row for all steps; a GRU's mix of h_prev stays whole
//! zoneout             h = d h_prev + (1 - d) (the cell's h), c likewise; d is 0 or 1 in training, the rate otherwise
//! ```
//!
//! Both work on a member's own blocks, after the cell's kernel and before it in the backward pass. Layers without them
//! have no [`StateDropout`], and pay one test a block.
//!
//! Sources: Y. Gal and Z. Ghahramani, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks",
//! 2016 (one mask for all steps, as Keras' `recurrent_dropout`); D. Krueger et al., "Zoneout: Regularizing RNNs by
//! Randomly Preserving Hidden Activations", 2017.

use super::{Block, Sweep};
use crate::exec::shared::Shared;
use unroll_kernels::gemm::{self, Init, Left, PackedRef};
use unroll_kernels::{Mat, MatMut};

/// The masks of one direction, and the room that they need. Matrices that are not needed have no rows.
pub(crate) struct StateDropout<'a> {
    /// (N, H), the longest row's first: what h is multiplied by on its way into the recurrent product.
    pub(crate) drop: Option<Mat<'a>>,
    /// (P, H) of h and of c: the part of the state before each step that stays.
    pub(crate) zone: [Option<Mat<'a>>; 2],
    /// (P + 2 N, H), with the state before the first step in place: h multiplied by `drop`.
    pub(crate) dropped: Shared<'a>,
    /// (P + 2 N, H): c of an LSTM, or h of a simple recurrence, as the cell gave it.
    pub(crate) fresh: Shared<'a>,
    /// Whether it is kept: there will be a backward pass.
    pub(crate) keeps: bool,
    /// (N, H): backward, what comes back through a product or a reset gate before `drop` is applied.
    pub(crate) through: Shared<'a>,
    /// (N, H): backward, the gradient of c that does not go through the cell.
    pub(crate) past: Shared<'a>,
}

/// Which state's fresh values are kept for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fresh {
    /// Neither's: the cell's derivative needs gates alone.
    None,
    /// h of a simple recurrence.
    H,
    /// c of an LSTM.
    C,
}

/// The matrix that the recurrent product takes: that of h without what is dropped, or h.
pub(super) fn operand<'s, 'a>(state_dropout: &'s Option<StateDropout<'a>>, h: &'s Shared<'a>) -> &'s Shared<'a> {
    state_dropout
        .as_ref()
        .filter(|state_dropout| state_dropout.drop.is_some())
        .map_or(h, |state_dropout| &state_dropout.dropped)
}

/// The matrix of what the cell gave: where zoneout has changed this state (0 h, 1 c) it stands apart.
pub(super) fn fresh<'s, 'a>(
    state_dropout: &'s Option<StateDropout<'a>>,
    state: usize,
    whole: &'s Shared<'a>,
) -> &'s Shared<'a> {
    state_dropout
        .as_ref()
        .filter(|state_dropout| state_dropout.zone[state].is_some())
        .map_or(whole, |state_dropout| &state_dropout.fresh)
}

/// a b
fn multiply(mut a: MatMut<'_>, by: Mat<'_>) {
    for r in 0..by.rows() {
        a.row_mut(r).iter_mut().zip(by.row(r)).for_each(|(a, b)| *a *= b);
    }
}

/// sum += a b
fn add_product(mut sum: MatMut<'_>, a: Mat<'_>, b: Mat<'_>) {
    for r in 0..a.rows() {
        let pairs = a.row(r).iter().zip(b.row(r));
        sum.row_mut(r).iter_mut().zip(pairs).for_each(|(sum, (a, b))| *sum += a * b);
    }
}

/// a (1 - d)
fn multiply_rest(mut a: MatMut<'_>, d: Mat<'_>) {
    for r in 0..d.rows() {
        a.row_mut(r).iter_mut().zip(d.row(r)).for_each(|(a, d)| *a *= 1.0 - d);
    }
}

/// to = from
fn copy(mut to: MatMut<'_>, from: Mat<'_>) {
    (0..from.rows()).for_each(|r| to.row_mut(r).copy_from_slice(from.row(r)));
}

impl StateDropout<'_> {
    /// After a step of the forward pass: keeps what the cell gave, zones out, and drops for the next step's product.
    ///
    /// # Safety
    ///
    /// As the top of the folder says of a step: the block of time `t` is the member's own, and that before it complete.
    pub(super) unsafe fn after(
        &self,
        sweep: Sweep<'_>,
        (t, block): (usize, &Block),
        (h, c): (&Shared<'_>, Option<&Shared<'_>>),
        keep: Fresh,
    ) {
        let (now, before, units) = (sweep.now(t, &block.rows), sweep.before(t, &block.rows), block.units.clone());
        for (state, (zone, kind)) in [Some(h), c].into_iter().zip(self.zone.into_iter().zip([Fresh::H, Fresh::C])) {
            let (Some(state), Some(zone)) = (state, zone) else { continue };
            let zone = zone.rows_range(sweep.at(t, &block.rows)).cols_range(units.clone());
            // SAFETY: passed on to the caller; `fresh` is cut as the states are.
            unsafe {
                let mut own = state.write(now.clone()).cols_range(units.clone());
                if self.keeps && keep == kind {
                    copy(self.fresh.write(now.clone()).cols_range(units.clone()), own.as_ref());
                }
                multiply_rest(own.reborrow(), zone);
                add_product(own, zone, state.read(before.clone()).cols_range(units.clone()));
            }
        }
        if let Some(drop) = self.drop {
            // SAFETY: as above.
            unsafe {
                let mut dropped = self.dropped.write(now.clone()).cols_range(units.clone());
                copy(dropped.reborrow(), h.read(now).cols_range(units.clone()));
                multiply(dropped, drop.rows_range(block.rows.clone()).cols_range(units));
            }
        }
    }

    /// Before the cell in the backward pass: splits the gradients of the states into the part that goes past the cell,
    /// to the step before, and the part that goes through it. [`Self::join`] follows the cell.
    ///
    /// # Safety
    ///
    /// As the top of the folder says of a step backward.
    pub(super) unsafe fn split(
        &self,
        sweep: Sweep<'_>,
        (t, block): (usize, &Block),
        dh: &Shared<'_>,
        dc: Option<&Shared<'_>>,
    ) {
        let (rows, units) = (&block.rows, block.units.clone());
        let zone = self.zone.map(|zone| zone.map(|z| z.rows_range(sweep.at(t, rows)).cols_range(units.clone())));
        // SAFETY: passed on to the caller; the state before the step is the block's own too.
        unsafe {
            if let Some(zone) = zone[0] {
                let mut own = dh.write(sweep.now(t, rows)).cols_range(units.clone());
                add_product(dh.write(sweep.before(t, rows)).cols_range(units.clone()), own.as_ref(), zone);
                multiply_rest(own.reborrow(), zone);
            }
            if let (Some(zone), Some(dc)) = (zone[1], dc) {
                let mut own = dc.write(rows.clone()).cols_range(units.clone());
                let mut past = self.past.write(rows.clone()).cols_range(units.clone());
                copy(past.reborrow(), own.as_ref());
                multiply(past, zone);
                multiply_rest(own.reborrow(), zone);
            }
        }
    }

    /// After the cell in the backward pass: adds the gradient of c that went past it.
    ///
    /// # Safety
    ///
    /// As the top of the folder says of a step backward.
    pub(super) unsafe fn join(&self, block: &Block, dc: &Shared<'_>) {
        if self.zone[1].is_some() {
            // SAFETY: passed on to the caller.
            unsafe {
                let past = self.past.read(block.rows.clone()).cols_range(block.units.clone());
                let mut own = dc.write(block.rows.clone()).cols_range(block.units.clone());
                for r in 0..past.rows() {
                    own.row_mut(r).iter_mut().zip(past.row(r)).for_each(|(own, past)| *own += past);
                }
            }
        }
    }

    /// Adds to the gradient `sum` of the state before a step what `body` computes, times the mask of recurrent dropout.
    ///
    /// # Safety
    ///
    /// `block` is the member's own.
    unsafe fn undrop(&self, drop: Mat<'_>, block: &Block, sum: MatMut<'_>, body: impl FnOnce(MatMut<'_>)) {
        // SAFETY: passed on to the caller.
        let mut through = unsafe { self.through.write(block.rows.clone()) }.cols_range(block.units.clone());
        (0..through.rows()).for_each(|r| through.row_mut(r).fill(0.0));
        body(through.reborrow());
        let drop = drop.rows_range(block.rows.clone()).cols_range(block.units.clone());
        add_product(sum, through.as_ref(), drop);
    }
}

/// Calls `body` with the gradient to which it adds: `sum` or, with recurrent dropout, scratch that is then multiplied
/// by the mask and added to `sum`.
///
/// # Safety
///
/// `block` is the member's own.
pub(super) unsafe fn undropped(
    state_dropout: &Option<StateDropout<'_>>,
    block: &Block,
    sum: MatMut<'_>,
    body: impl FnOnce(MatMut<'_>),
) {
    match state_dropout.as_ref().and_then(|state_dropout| Some((state_dropout, state_dropout.drop?))) {
        // SAFETY: passed on to the caller.
        Some((state_dropout, drop)) => unsafe { state_dropout.undrop(drop, block, sum, body) },
        None => body(sum),
    }
}

/// sum += A B, where `sum` is the gradient of h after a step and A that of the pre-activations of the step that took
/// it.
///
/// # Safety
///
/// `block` is the member's own.
pub(super) unsafe fn back(
    state_dropout: &Option<StateDropout<'_>>,
    block: &Block,
    (a, b): (Left<'_>, PackedRef<'_>),
    sum: MatMut<'_>,
) {
    // SAFETY: passed on to the caller.
    unsafe {
        undropped(state_dropout, block, sum, |c| gemm::product(gemm::Product { a, b, init: Init::Keep, c: c.into() }));
    }
}
