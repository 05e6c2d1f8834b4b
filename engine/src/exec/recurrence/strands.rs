//! How a time loop is cut among the members of a team.

use super::Block;
use crate::exec::cost::{BARRIER_S, Work};
use crate::exec::member::Member;
use std::ops::Range;
use unroll_kernels::Isa;
use unroll_kernels::gemm::Precision;

/// Rows of one register tile of the products in f32: cuts between rows are made between tiles.
const TILE: usize = 6;
/// The most rows of a tile in bf16.
const TILE_BF16: usize = 16;

/// The rows of a panel may be cut at multiples of this. In bf16 and int8, where panels are narrow, they are not cut.
pub(super) fn tile(precision: Precision, rows: usize) -> usize {
    match precision {
        Precision::F32 => TILE,
        Precision::Bf16 | Precision::Int8 => rows.max(1),
    }
}

/// A member's part of a step: a run of cells, where a cell is one tile of rows in one panel of units, panel after
/// panel. So it is some whole panels, and at either end perhaps some rows of a panel whose other rows are a
/// neighbour's: 41 panels are halved exactly.
///
/// Where members help each other, its panels come in pieces that another may take.
#[derive(Default)]
pub(super) struct Share {
    blocks: [Block; 3],
    len: usize,
    /// Units of a piece.
    piece: usize,
}

impl Share {
    /// The part of `member` in `units` units of these rows.
    pub(super) fn new(member: Member<'_>, rows: Range<usize>, units: usize, granule: usize, tile: usize) -> Self {
        let tiles = rows.len().div_ceil(tile);
        let cells = member.part(|rank| cut(rank, member.size(), [units, granule, tiles]));
        let row = |tile: usize| rows.start + rows.len() * tile / tiles;
        let unit = |panel: usize| (panel * granule).min(units);
        let mut share = Self { blocks: Default::default(), len: 0, piece: units.max(1) };
        let mut at = cells.start;
        while at < cells.end {
            let (panel, tile) = (at / tiles, at % tiles);
            let whole = (cells.end - at) / tiles;
            let (end, last) = if tile == 0 && whole > 0 {
                (panel + whole, tiles)
            } else {
                (panel + 1, tiles.min(tile + cells.end - at))
            };
            share.blocks[share.len] = Block { rows: row(tile)..row(last), units: unit(panel)..unit(end) };
            share.len += 1;
            at += (end - panel - 1) * tiles + last - tile;
        }
        share
    }

    /// The same share in about `pieces` pieces, each of whole panels of `granule` units.
    pub(super) fn in_pieces(mut self, pieces: usize, granule: usize) -> Self {
        let units: usize = self.runs().iter().map(|run| run.units.len()).sum();
        self.piece = units.div_ceil(pieces).next_multiple_of(granule).max(granule);
        self
    }

    /// What the pieces are cut from.
    fn runs(&self) -> &[Block] {
        &self.blocks[..self.len]
    }

    /// The number of pieces.
    pub(super) fn count(&self) -> usize {
        self.runs().iter().map(|run| run.units.len().div_ceil(self.piece)).sum()
    }

    /// A piece, from 0 to [`Self::count`].
    pub(super) fn block(&self, mut i: usize) -> Block {
        for run in self.runs() {
            let pieces = run.units.len().div_ceil(self.piece);
            if i < pieces {
                let start = run.units.start + i * self.piece;
                return Block { rows: run.rows.clone(), units: start..run.units.end.min(start + self.piece) };
            }
            i -= pieces;
        }
        unreachable!("piece {i} beyond the last")
    }

    /// All pieces.
    pub(super) fn blocks(&self) -> impl Iterator<Item = Block> {
        (0..self.count()).map(|i| self.block(i))
    }
}

/// The first cell of member `rank` of `size`: the last panel may have fewer units, so it is units that are shared
/// equally, to the nearest cell.
fn cut(rank: usize, size: usize, [units, granule, tiles]: [usize; 3]) -> usize {
    let target = units * tiles * rank / size;
    if target == 0 {
        return 0;
    }
    let panel = target / (granule * tiles);
    let width = granule.min(units - panel * granule).max(1);
    panel * tiles + (target - panel * granule * tiles + width / 2) / width
}

/// Seconds of work of one piece of a share: a piece costs a microsecond or two in addition, and members wait for the
/// last one. Pieces help on a core that other programs use too. On two quiet cores neither this nor [`PIECES`] matters:
/// word650 and gru650 with 10 us to 1 ms, and with 1 to 16 pieces, differ by no more than the noise (2026-11-23).
const PIECE_S: f64 = 3.0e-5;
/// The most pieces of a share.
const PIECES: usize = 8;

/// Into how many pieces each of `members` members cuts its share of this work.
pub(super) fn pieces(work: Work, members: usize) -> usize {
    ((work.seconds() / members as f64 / PIECE_S) as usize).clamp(1, PIECES)
}

/// One step of a time loop, as far as its cost depends on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) isa: Isa,
    pub(super) precision: Precision,
    /// N
    pub(super) rows: usize,
    /// H
    pub(super) units: usize,
    pub(super) gates: usize,
    pub(super) barriers: usize,
}

impl Step {
    /// Into how many parts the rows are cut, where `loops` such loops run side by side on `members` members: as many as
    /// make a step the shortest by the model of `cost.rs`. More parts save barriers and cost reading the weights more
    /// often: 2 x LSTM on two threads with the rows halved took 0.97 of the time with the units halved at 50 x 256,
    /// 0.86 at 50 x 128, 0.88 at 50 x 64, 0.94 at 20 x 256, 0.97 at 64 x 512, and 1.03 at 20 x 650, whose weights are
    /// 6.8 MB (medians of a whole training step, turn by turn, 2026-11-21).
    pub(super) fn parts(self, loops: usize, members: usize) -> usize {
        let tile = if self.precision == Precision::F32 { TILE } else { TILE_BF16 };
        let useful = members.div_ceil(loops).min(self.rows.div_ceil(tile)).max(1);
        let seconds = |parts: usize| self.seconds(parts, loops, members);
        (1..=useful).min_by(|&a, &b| seconds(a).total_cmp(&seconds(b))).unwrap_or(1)
    }

    /// Seconds of a step with the rows cut into `parts`.
    fn seconds(self, parts: usize, loops: usize, members: usize) -> f64 {
        let strands = parts * loops;
        // Each member's share of a strand, or each one's turns where there are more strands than members.
        let (each, turns) = if strands < members { (members / strands, 1) } else { (1, strands.div_ceil(members)) };
        let rows = self.rows.div_ceil(parts);
        let step = Work::product(rows, self.units, (self.gates * self.units).div_ceil(each));
        let step = step.on(self.isa, self.precision);
        let waiting = if each > 1 { self.barriers as f64 * BARRIER_S } else { 0.0 };
        turns as f64 * step.seconds() + waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Crew;
    use std::sync::Mutex;

    #[test]
    fn shares_cover_every_row_and_unit_once() {
        for (size, rows, units, granule) in
            [(1, 20, 650, 16), (2, 20, 650, 64), (3, 7, 650, 64), (5, 64, 97, 16), (16, 50, 256, 64), (4, 1, 10, 64)]
        {
            let crew = Crew::new(size, 1).unwrap();
            let counts = Mutex::new(vec![0; 2 * rows * units]);
            let sizes = Mutex::new(Vec::new());
            crew.team().run(Work { flops: usize::MAX / 2, bytes: 0 }, |member| {
                let share = Share::new(member, rows..2 * rows, units, granule, TILE).in_pieces(size, granule);
                assert_eq!(share.blocks().count(), share.count());
                let mut cells = 0;
                for block in share.blocks() {
                    assert!(block.units.start.is_multiple_of(granule) && !block.rows.is_empty());
                    for r in block.rows.clone() {
                        for u in block.units.clone() {
                            counts.lock().unwrap()[r * units + u] += 1;
                            cells += 1;
                        }
                    }
                }
                sizes.lock().unwrap().push(cells);
            });
            let counts = counts.into_inner().unwrap();
            let (before, own) = counts.split_at(rows * units);
            assert!(before.iter().all(|&n| n == 0) && own.iter().all(|&n| n == 1), "{size} {rows} {units} {granule}");
            let sizes = sizes.into_inner().unwrap();
            let (least, most) = (*sizes.iter().min().unwrap(), *sizes.iter().max().unwrap());
            // A cell is at most a tile of one panel, and each end of a share at most half a cell from its place.
            assert!(most - least <= 2 * TILE * granule.min(units), "{sizes:?}");
        }
    }

    #[test]
    fn rows_are_cut_where_the_weights_are_small() {
        let (isa, precision) = (Isa::PORTABLE, Precision::F32);
        let step = |rows, units, gates| Step { isa, precision, rows, units, gates, barriers: 1 };
        for (rows, units, gates, loops, members, parts) in [
            (50, 256, 4, 1, 2, 2),
            (64, 512, 4, 1, 2, 2),
            (20, 650, 4, 1, 2, 1),
            (20, 650, 3, 1, 2, 1),
            // Two directions are two parts already.
            (64, 64, 4, 2, 2, 1),
            (64, 64, 4, 2, 4, 2),
            (1, 100, 1, 1, 2, 1),
            (64, 256, 4, 1, 1, 1),
        ] {
            assert_eq!(step(rows, units, gates).parts(loops, members), parts, "{rows} x {units}, {loops} on {members}");
        }
    }
}
