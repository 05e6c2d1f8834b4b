//! One block of a step forward: what a product adds up, and where the gates are kept.
//!
//! In f32 both are the same memory. Gates that are kept in bf16 hold x W + b at first; the product leaves the hidden
//! side in a room in the first-level cache, the cell adds both in f32, and what it leaves is rounded once.

use super::{BLOCK, load, store};
use crate::element::Element;
use crate::gemm::Init;
use crate::simd::fetch::WRITE;
use crate::simd::{Simd, prefetch};
use crate::{GroupsMut, MatMut};

/// The room for what a product leaves of one block.
#[repr(C, align(64))]
pub(crate) struct Room([f32; BLOCK]);

impl Room {
    /// None where the gates' own memory serves.
    pub(crate) fn new<E: Element>() -> Option<Self> {
        (!E::PLAIN).then_some(Self([0.0; BLOCK]))
    }
}

/// The gates of the block that comes next, which the cell asks for row by row: every row lies in a page of its own, more
/// pages than the processor itself looks ahead in, and a product that goes to a [`Room`] does not touch them.
pub(crate) struct Prefetch<E> {
    at: *const E,
    rows: usize,
    groups: usize,
    cols: usize,
    strides: [usize; 2],
}

impl<E: Element> Prefetch<E> {
    pub(crate) fn new(mut next: GroupsMut<'_, E>) -> Self {
        let strides = [next.stride(), next.group_stride()];
        Self { at: next.as_mut_ptr(), rows: next.rows(), groups: next.groups(), cols: next.cols(), strides }
    }

    /// Asks for row `n`.
    #[inline(always)]
    pub(crate) fn row(&self, n: usize) {
        if n < self.rows {
            for g in 0..self.groups {
                let at = self.at.wrapping_add(n * self.strides[0] + g * self.strides[1]);
                for c in (0..self.cols).step_by(64 / size_of::<E>()) {
                    prefetch::<WRITE, E>(at.wrapping_add(c));
                }
            }
        }
    }
}

/// A block's gates.
pub(crate) struct Block<'a, E> {
    /// Empty where `kept` is f32.
    hidden: GroupsMut<'a>,
    kept: GroupsMut<'a, E>,
}

impl<'a, E: Element> Block<'a, E> {
    /// The block `kept`.
    ///
    /// # Panics
    ///
    /// When the room is too small.
    #[track_caller]
    pub(crate) fn new(kept: GroupsMut<'a, E>, room: &'a mut Option<Room>) -> Self {
        let room = room.as_mut().map_or(&mut [][..], |room| &mut room.0[..]);
        let (rows, groups, cols) = if E::PLAIN { (0, 1, 0) } else { (kept.rows(), kept.groups(), kept.cols()) };
        Self { hidden: MatMut::dense(room, rows, groups * cols).into_groups(groups), kept }
    }

    /// What a product starts from and where it goes to that adds to what is kept.
    pub(crate) fn sum(&mut self) -> (Init<'static>, GroupsMut<'_>) {
        (if E::PLAIN { Init::Keep } else { Init::Zero }, self.hidden())
    }

    /// Where a product goes to.
    pub(crate) fn hidden(&mut self) -> GroupsMut<'_> {
        E::plain_groups(self.kept.reborrow()).unwrap_or_else(|_| self.hidden.reborrow())
    }

    pub(crate) fn rows(&self) -> usize {
        self.kept.rows()
    }

    /// The gates of row `n`.
    #[inline(always)]
    pub(crate) fn row<const G: usize>(&mut self, n: usize) -> [Gate<'_, E>; G] {
        let kept = self.kept.row_groups_mut::<G>(n);
        if E::PLAIN {
            return kept.map(
                #[inline(always)]
                |kept| Gate { hidden: &[], kept },
            );
        }
        let mut hidden = self.hidden.row_groups_mut::<G>(n).into_iter();
        kept.map(
            #[inline(always)]
            |kept| Gate { hidden: hidden.next().unwrap_or_default(), kept },
        )
    }
}

/// One gate of a row.
pub(crate) struct Gate<'a, E> {
    hidden: &'a [f32],
    kept: &'a mut [E],
}

impl<E: Element> Gate<'_, E> {
    /// At `at`, what was kept with what the product of [`Block::sum`] has added.
    #[inline(always)]
    pub(crate) fn sum<S: Simd, const WHOLE: bool>(&self, s: S, at: usize) -> S::F32 {
        let kept = load::<S, WHOLE>(s, self.kept, at);
        if E::PLAIN { kept } else { s.add(kept, load::<S, WHOLE>(s, self.hidden, at)) }
    }

    /// At `at`, what the product into [`Block::hidden`] has left.
    #[inline(always)]
    pub(crate) fn hidden<S: Simd, const WHOLE: bool>(&self, s: S, at: usize) -> S::F32 {
        if E::PLAIN { load::<S, WHOLE>(s, self.kept, at) } else { load::<S, WHOLE>(s, self.hidden, at) }
    }

    /// Keeps the gate's values at `at`.
    #[inline(always)]
    pub(crate) fn store<S: Simd, const WHOLE: bool>(&mut self, s: S, at: usize, x: S::F32) {
        store::<S, WHOLE>(s, self.kept, at, x);
    }
}
