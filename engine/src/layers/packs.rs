//! The weights that are kept packed between products.

use super::{CellParams, Weights};
use crate::exec::{BandedWeights, Packing, PackingRoom, Products, Target};
use crate::random::Key;
use unroll_kernels::gemm::{Packed, PackedRef, Precision};
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::{Buffer, Isa, Mat, MatMut, rows};

/// The weights that are packed once for many products: the recurrent weights of all layers and, in a network of lower
/// precision, other weights too, which are then read in that precision.
pub(crate) struct PackSet {
    pub(crate) cells: Vec<CellPack>,
    params: Vec<CellParams>,
    others: Vec<(Weights, Packed)>,
    room: PackingRoom,
}

impl PackSet {
    /// Room for the panels of these cells and of these other weights.
    pub(crate) fn new((isa, precision): (Isa, Precision), params: Vec<CellParams>, others: Vec<Weights>) -> Self {
        let packed = |w: Weights| {
            let room = Packed::new(isa, precision, w.inputs, 1, w.units);
            (w, room)
        };
        Self {
            cells: params.iter().map(|p| CellPack::new(isa, precision, p)).collect(),
            params,
            others: others.into_iter().map(packed).collect(),
            room: PackingRoom::default(),
        }
    }

    /// These weights, if they are kept packed.
    pub(crate) fn weights(&self, weights: &Weights) -> Option<PackedRef<'_>> {
        self.others.iter().find(|(w, _)| w == weights).map(|(_, packed)| packed.view())
    }

    /// Whether a training step drops some of the weights.
    pub(crate) fn drops(&self) -> bool {
        self.params.iter().any(|cell| cell.drop.is_some())
    }

    /// Calls `pass`, which changes the parameters, with a [`Packing`] that packs weights as they change. Returns
    /// whether all weights are then packed: not where the pass leaves some out, or where a training step drops some.
    pub(crate) fn packing(&mut self, pass: impl FnOnce(&Packing<'_>)) -> bool {
        let Self { cells, params, others, room } = self;
        let cells = cells.iter_mut().zip(&*params).filter_map(|(pack, cell)| pack.banded(cell));
        let others = others.iter_mut().filter(|(weights, _)| !weights.transposed).map(|(weights, packed)| {
            let columns = Target::new(0..weights.units, packed, None);
            BandedWeights::new(weights.range.clone(), weights.units, [Some(columns), None])
        });
        let packing = Packing::new(std::mem::take(room), cells.chain(others));
        pass(&packing);
        let complete;
        (*room, complete) = packing.finish();
        complete && !self.drops() && self.others.iter().all(|(weights, _)| !weights.transposed)
    }

    /// Packs all weights if they have `changed`, else only those with weight dropout: for a training step with the key
    /// `dropping`, or for a pass that drops nothing. Packs for the backward pass only where `backward`.
    pub(crate) fn pack(
        &mut self,
        products: Products<'_>,
        arena: &[f32],
        (backward, changed): (bool, bool),
        dropping: Option<Key>,
    ) {
        let _span = profile::enter(Phase::Packing);
        for (pack, cell) in self.cells.iter_mut().zip(&self.params).filter(|(_, cell)| changed || cell.drop.is_some()) {
            pack.pack(products, cell, arena, (backward, dropping));
        }
        for (weights, packed) in self.others.iter_mut().filter(|_| changed) {
            products.pack(packed, weights.mat(arena), weights.transposed);
        }
    }
}

/// The recurrent weights of a cell, packed for its forward and backward products.
pub(crate) struct CellPack {
    pub(super) forward: Packed,
    pub(super) backward: Packed,
    /// Of a GRU that resets before the product: U_n, forward and transposed.
    pub(super) candidate: Option<(Packed, Packed)>,
    /// (H, gates H): the recurrent weights after weight dropout.
    kept: Buffer,
}

impl CellPack {
    pub(crate) fn new(isa: Isa, precision: Precision, cell: &CellParams) -> Self {
        let (h, gates) = (cell.units, cell.cell.gates());
        let first = if cell.resets_before() { 2 } else { gates };
        let packed = |k, groups| Packed::new(isa, precision, k, groups, h);
        let candidate = cell.resets_before().then(|| (packed(h, 1), packed(h, 1)));
        let kept = Buffer::new(if cell.drop.is_some() { cell.recurrent_kernel.len() } else { 0 });
        Self { forward: packed(h, first), backward: packed(first * h, 1), candidate, kept }
    }

    /// Packs the weights, for the backward pass only where `backward`. `dropping` is the key of a training step, which
    /// applies weight dropout.
    pub(crate) fn pack(
        &mut self,
        products: Products<'_>,
        cell: &CellParams,
        params: &[f32],
        (backward, dropping): (bool, Option<Key>),
    ) {
        let (h, width) = (cell.units, cell.width());
        let Self { forward, backward: transposed, candidate, kept } = self;
        let mut weights = Mat::dense(&params[cell.recurrent_kernel.clone()], h, width);
        if let (Some(mask), Some(key)) = (&cell.drop, dropping) {
            products.by_rows(MatMut::dense(kept, h, width), |rows, mut part| {
                rows::copy(weights.rows_range(rows.clone()), part.reborrow());
                rows.enumerate().for_each(|(r, row)| mask.apply(key, row, part.row_mut(r)));
            });
            weights = Mat::dense(kept, h, width);
        }
        let first = forward.view().groups() * h;
        products.pack(forward, weights.cols_range(0..first), false);
        if backward {
            products.pack(transposed, weights.cols_range(0..first), true);
        }
        if let Some((forward, transposed)) = candidate {
            products.pack(forward, weights.cols_range(first..width), false);
            if backward {
                products.pack(transposed, weights.cols_range(first..width), true);
            }
        }
    }

    /// The weights for an update that packs as it goes; `None` with weight dropout, where each training step packs
    /// anew.
    pub(crate) fn banded(&mut self, cell: &CellParams) -> Option<BandedWeights<'_>> {
        let Self { forward, backward, candidate, .. } = self;
        let (width, first) = (cell.width(), forward.view().groups() * cell.units);
        let rest = candidate.as_mut().map(|(forward, backward)| Target::new(first..width, forward, Some(backward)));
        let targets = [Some(Target::new(0..first, forward, Some(backward))), rest];
        cell.drop.is_none().then(|| BandedWeights::new(cell.recurrent_kernel.clone(), width, targets))
    }
}
