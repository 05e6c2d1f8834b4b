//! Recurrent dropout and zoneout: the masks of a pass, and the memory that the time loops need for them.

use super::{Context, Dims, Mask};
use crate::exec::{StateDropout, Sweep};
use unroll_kernels::mat::padded;
use unroll_kernels::{Buffer, Mat, MatMut};

/// The recurrent dropout and zoneout of one direction.
#[derive(Clone, Debug, Default)]
pub(crate) struct StateDropoutParams {
    /// Recurrent dropout, in training: the mask of h in the recurrent products, one a row for all steps.
    pub(crate) drop: Option<Mask>,
    /// Zoneout of h and of c: what a mask drops stays as it was before the step.
    pub(crate) zone: [Option<Mask>; 2],
}

impl StateDropoutParams {
    fn is_empty(&self) -> bool {
        self.drop.is_none() && self.zone.iter().all(Option::is_none)
    }

    /// Bytes that a direction of `units` units needs for it at this capacity.
    pub(crate) fn bytes(&self, capacity: Dims, units: usize) -> u64 {
        let (states, rows) = (capacity.with_edges(), capacity.rows);
        let zones = self.zone.iter().flatten().count();
        let drop = if self.drop.is_some() { states + 2 * rows } else { 0 };
        let zone = if zones > 0 { zones * capacity.tokens + states + rows } else { 0 };
        4 * ((drop + zone) * padded(units)) as u64
    }
}

/// The masks of one direction, and its memory for them.
pub(crate) struct StateDropoutRoom {
    params: StateDropoutParams,
    units: usize,
    /// (N, H), the longest row first: the factors of recurrent dropout.
    drop: Buffer,
    /// (P, H): the parts of h and of c that stay.
    zone: [Buffer; 2],
    /// (P + 2 N, H)
    dropped: Buffer,
    fresh: Buffer,
    /// (N, H)
    through: Buffer,
    past: Buffer,
}

impl StateDropoutRoom {
    pub(crate) fn new(params: StateDropoutParams, units: usize, capacity: Dims, backward: bool) -> Self {
        let room = |needed: bool, rows: usize| Buffer::new(if needed { rows * padded(units) } else { 0 });
        let (drops, zones) = (params.drop.is_some(), params.zone.each_ref().map(Option::is_some));
        Self {
            units,
            drop: room(drops, capacity.rows),
            zone: zones.map(|zone| room(zone, capacity.tokens)),
            dropped: room(drops, capacity.with_edges()),
            fresh: room(zones.contains(&true) && backward, capacity.with_edges()),
            through: room(drops && backward, capacity.rows),
            past: room(zones[1] && backward, capacity.rows),
            params,
        }
    }

    /// Draws the masks of a pass. `h` is (P + 2 N, H) with the state before the first step in place.
    pub(crate) fn draw(&mut self, ctx: &Context<'_>, sweep: Sweep<'_>, h: Mat<'_>) {
        if self.params.is_empty() {
            return;
        }
        let (dims, units) = (ctx.dims, self.units);
        if let (Some(mask), true) = (&self.params.drop, ctx.training) {
            let drop = room(&mut self.drop, dims.rows, units);
            ctx.products().by_rows(drop, |range, mut part| {
                for (r, rank) in range.enumerate() {
                    let (row, of) = (part.row_mut(r), ctx.extent.order()[rank] + ctx.first_row);
                    row.fill(1.0);
                    mask.apply(ctx.key, of, row);
                }
            });
            let drop = view(&self.drop, dims.rows, units);
            let first = room(&mut self.dropped, dims.with_edges(), units).rows_range(sweep.initial());
            let h = h.rows_range(sweep.initial());
            ctx.products().by_rows(first, |range, mut part| {
                for (r, row) in range.enumerate() {
                    let pairs = h.row(row).iter().zip(drop.row(row));
                    part.row_mut(r).iter_mut().zip(pairs).for_each(|(to, (h, drop))| *to = h * drop);
                }
            });
        }
        for (mask, zone) in self.params.zone.iter().zip(&mut self.zone) {
            let Some(mask) = mask else { continue };
            let zone = room(zone, dims.tokens, units);
            ctx.products().by_rows(zone, |range, mut part| {
                for (r, p) in range.enumerate() {
                    let row = part.row_mut(r);
                    if !ctx.training {
                        row.fill(mask.rate());
                        continue;
                    }
                    let (time, of) = ctx.extent.position(p);
                    let keeps = mask.keeps(ctx.key, mask.position(time, of + ctx.first_row, ctx.batch_rows));
                    row.iter_mut().zip(keeps.flatten()).for_each(|(d, keep)| *d = if keep { 0.0 } else { 1.0 });
                }
            });
        }
    }

    /// h times its mask, (P + 2 N, H), where this pass has recurrent dropout.
    pub(crate) fn dropped(&self, ctx: &Context<'_>) -> Option<Mat<'_>> {
        let drops = self.params.drop.is_some() && ctx.training;
        drops.then(|| view(&self.dropped, ctx.dims.with_edges(), self.units))
    }

    /// c before zoneout, (P + 2 N, H), where there is zoneout of c.
    pub(crate) fn fresh_c(&self, dims: Dims) -> Option<Mat<'_>> {
        self.params.zone[1].is_some().then(|| view(&self.fresh, dims.with_edges(), self.units))
    }

    /// The mask of h (N, H) and scratch of that size, where this pass has recurrent dropout.
    pub(crate) fn undrop(&mut self, ctx: &Context<'_>) -> Option<(Mat<'_>, MatMut<'_>)> {
        let (rows, units) = (ctx.dims.rows, self.units);
        let drops = self.params.drop.is_some() && ctx.training;
        drops.then(|| (view(&self.drop, rows, units), room(&mut self.through, rows, units)))
    }

    /// What the time loops take; `None` for a direction without recurrent dropout and zoneout.
    pub(crate) fn view(&mut self, dims: Dims, training: bool) -> Option<StateDropout<'_>> {
        if self.params.is_empty() {
            return None;
        }
        let units = self.units;
        let (keeps, [h, c]) = (!self.fresh.is_empty(), &self.zone);
        let zone = |state: usize, buffer| self.params.zone[state].as_ref().map(|_| view(buffer, dims.tokens, units));
        Some(StateDropout {
            drop: self.params.drop.as_ref().filter(|_| training).map(|_| view(&self.drop, dims.rows, units)),
            zone: [zone(0, h), zone(1, c)],
            dropped: room(&mut self.dropped, dims.with_edges(), units).into(),
            fresh: room(&mut self.fresh, dims.with_edges(), units).into(),
            keeps,
            through: room(&mut self.through, dims.rows, units).into(),
            past: room(&mut self.past, dims.rows, units).into(),
        })
    }
}

fn view(buffer: &Buffer, rows: usize, units: usize) -> Mat<'_> {
    Mat::new(buffer, rows, units, padded(units))
}

/// To write; without rows where there is no room.
fn room(buffer: &mut Buffer, rows: usize, units: usize) -> MatMut<'_> {
    let rows = if buffer.is_empty() { 0 } else { rows };
    MatMut::new(buffer, rows, units, padded(units))
}
