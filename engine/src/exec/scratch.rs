//! The buffers that products pack operands into, and the sizes of their blocks.

use super::member::Member;
use std::sync::{Mutex, MutexGuard, PoisonError};
use unroll_kernels::gemm::{self, Packed, Precision};
use unroll_kernels::{Buffer, Isa};

/// Columns are split at multiples of this: a multiple of every set's plain panel.
pub(super) const GRANULE: usize = 64;

/// The most rows and columns of a block of C that is computed in f32 but not kept so: 256 KB, an eighth of the
/// second-level cache.
pub(super) const BLOCK_ROWS: usize = 256;
const BLOCK_COLS: usize = 256;

/// The elements of the right operand that are packed for such a block, counted in f32: another 256 KB.
pub(super) const BLOCK_RIGHT: usize = 1 << 16;

/// Columns of a block of a product whose sums have `terms` terms.
pub(crate) fn block_columns(terms: usize) -> usize {
    (2 * BLOCK_RIGHT / terms.max(1) / GRANULE * GRANULE).clamp(GRANULE, BLOCK_COLS)
}

/// The buffers of a team's products.
pub(crate) struct Scratch {
    /// One for each member of a team, for blocks of operands. Made at its full size, so that it does not matter in
    /// which step a member first takes part.
    members: Vec<Mutex<Buffer>>,
    /// The same for blocks of C.
    pub(super) blocks: Vec<Mutex<Buffer>>,
    /// The same for the part of a right operand that such blocks share.
    pub(super) rights: Vec<Mutex<Packed>>,
    /// For a left operand that the team rounds or transposes together.
    pub(super) left: Mutex<Buffer>,
    /// For the chains of a long sum.
    pub(super) chain: Mutex<Buffer>,
}

impl Scratch {
    /// For products of `members` on `isa` in `precision`.
    pub(crate) fn new(members: usize, isa: Isa, precision: Precision) -> Self {
        let rooms = |len| (0..members).map(|_| Mutex::new(Buffer::new(len))).collect();
        // In other precisions nothing is kept otherwise than in f32.
        let terms = if precision == Precision::Bf16 { 2 * BLOCK_RIGHT / BLOCK_COLS } else { 0 };
        let right = || Mutex::new(Packed::new(isa, precision, terms, 1, BLOCK_COLS));
        Self {
            members: rooms(gemm::SCRATCH),
            blocks: rooms(BLOCK_ROWS * BLOCK_COLS),
            rights: (0..members).map(|_| right()).collect(),
            left: Mutex::new(Buffer::new(0)),
            chain: Mutex::new(Buffer::new(0)),
        }
    }

    /// The buffer of a member.
    pub(super) fn of(&self, member: Member<'_>) -> &Mutex<Buffer> {
        &self.members[member.rank()]
    }

    /// Calls `body` with the buffer of a member.
    pub(super) fn with<R>(&self, member: Member<'_>, body: impl FnOnce(&mut Buffer) -> R) -> R {
        body(&mut lock(self.of(member)))
    }
}

pub(super) fn lock<T>(room: &Mutex<T>) -> MutexGuard<'_, T> {
    room.lock().unwrap_or_else(PoisonError::into_inner)
}
