//! The gates of a forward pass, and where their x W + b comes from.

use crate::exec::shared::Shared;
use std::ops::Range;
use unroll_kernels::embedding;
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::rnn::SequenceInput;
use unroll_kernels::{Element, GroupsMut, Isa, Mat, MatMut};

/// x W + b of all steps by look-up: row `index[r]` of `table`, plus `bias`.
///
/// A member fetches its part of a step just before the step, into its own cache; all steps beforehand would be written
/// to memory and read back.
#[derive(Clone, Copy)]
pub(crate) struct Lookup<'a> {
    pub(crate) isa: Isa,
    /// (U, gates H)
    pub(crate) table: Mat<'a>,
    /// (gates H)
    pub(crate) bias: Option<&'a [f32]>,
    /// (T N)
    pub(crate) index: &'a [u32],
}

/// (T N, gates H). In: x W + b, unless it is looked up. Out: what the cell leaves.
pub(crate) struct Gates<'a, E = f32> {
    matrix: Shared<'a, E>,
    groups: usize,
    lookup: Option<Lookup<'a>>,
}

impl<'a, E: Element> Gates<'a, E> {
    /// Gates of `groups` groups.
    pub(crate) fn new(matrix: MatMut<'a, E>, groups: usize, lookup: Option<Lookup<'a>>) -> Self {
        Self { matrix: matrix.into(), groups, lookup }
    }

    /// Where a cell that computes a whole sequence reads x W + b; `None` of gates in bf16.
    ///
    /// # Safety
    ///
    /// As for [`Shared::read`], of all rows.
    pub(super) unsafe fn input(&self, rows: usize) -> Option<SequenceInput<'_>> {
        Some(match self.lookup {
            Some(Lookup { table, bias, index, .. }) => SequenceInput::LookedUp { table, bias, tokens: &index[..rows] },
            // SAFETY: passed on to the caller.
            None => SequenceInput::Ready(E::plain(unsafe { self.matrix.read(0..rows) })?),
        })
    }

    /// x W + b of these rows and units.
    ///
    /// # Safety
    ///
    /// As for [`Shared::write`].
    pub(super) unsafe fn first(&self, rows: Range<usize>, units: Range<usize>) -> GroupsMut<'_, E> {
        if let Some(Lookup { isa, table, bias, index }) = self.lookup {
            let _span = profile::enter(Phase::ElementWise);
            let width = table.cols() / self.groups;
            // All units of all gates stand side by side.
            let (parts, len) = if units.len() == width { (1, table.cols()) } else { (self.groups, units.len()) };
            for part in 0..parts {
                let first = part * width + units.start;
                let cols = first..first + len;
                // SAFETY: a part of what the caller may write.
                let out = unsafe { self.matrix.write(rows.clone()) }.cols_range(cols.clone());
                let (table, bias) = (table.cols_range(cols.clone()), bias.map(|bias| &bias[cols]));
                embedding::project_one_hot(isa, table, bias, &index[rows.clone()], out);
            }
        }
        // SAFETY: passed on to the caller.
        unsafe { self.again(rows, units) }
    }

    /// The gates of these rows and units as they are.
    ///
    /// # Safety
    ///
    /// As for [`Shared::write`].
    pub(super) unsafe fn again(&self, rows: Range<usize>, units: Range<usize>) -> GroupsMut<'_, E> {
        // SAFETY: passed on to the caller.
        unsafe { self.matrix.write_groups(rows, self.groups, units) }
    }
}
