//! Work that is handed out as members come for it.
//!
//! Members seldom run equally fast: a core may have other work, or share its units with a busy neighbour. Each member
//! begins with its own contiguous share, so that it usually touches the memory that it touched before. It claims half
//! of what is left of its share at a time, and when that is done, takes from the end of what another has left. The bits
//! of a result do not depend on who does what, since no sum is ever cut.
//!
//! A job may also go in *turns*, the steps of a time loop, with a barrier after each ([`turn`]).

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// What one member has left: blocks `front..back`, in the halves of one word. Alone on its cache line.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Remaining(AtomicU64);

impl Remaining {
    fn set(&self, blocks: Range<usize>) {
        self.0.store(Self::word(blocks), Ordering::Relaxed);
    }

    fn get(&self) -> Range<usize> {
        Self::blocks(self.0.load(Ordering::Relaxed))
    }

    fn word(blocks: Range<usize>) -> u64 {
        (blocks.end as u64) << 32 | blocks.start as u64
    }

    fn blocks(word: u64) -> Range<usize> {
        (word & u64::from(u32::MAX)) as usize..(word >> 32) as usize
    }

    /// Takes `count(n)` of the n blocks that are left, from the front if `front`, else from the back; `None` if nothing
    /// is left.
    fn take(&self, front: bool, count: impl Fn(usize) -> usize) -> Option<Range<usize>> {
        let mut taken = None;
        let cut = |word| {
            let Range { start, end } = Self::blocks(word);
            let n = count(end - start).min(end - start);
            let (part, rest) = if front { (start..start + n, start + n..end) } else { (end - n..end, start..end - n) };
            taken = Some(part);
            (n > 0).then(|| Self::word(rest))
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, cut).ok().and(taken)
    }
}

/// Takes blocks from the member that has the most left; returns its rank and the blocks, `None` when nothing is left
/// anywhere.
fn help(all: &[Remaining], take: impl Fn(&Remaining) -> Option<Range<usize>>) -> Option<(usize, Range<usize>)> {
    loop {
        let (rank, most) = all.iter().enumerate().max_by_key(|(_, left)| left.get().len())?;
        if most.get().is_empty() {
            return None;
        }
        // Nothing is taken if its owner was quicker: then another may have more.
        if let Some(blocks) = take(most) {
            return Some((rank, blocks));
        }
    }
}

/// Calls `body(owner, block)` for the `blocks` blocks of member `rank` in this turn, one after the other, and then for
/// those that others have left in theirs.
///
/// A member's blocks appear when its own turn begins, and are gone when the turn is over: nobody can take blocks of a
/// member that has not begun. All members must pass a barrier between two turns.
pub(super) fn turn(all: &[Remaining], rank: usize, blocks: usize, mut body: impl FnMut(usize, usize)) {
    let one = |_| 1;
    all[rank].set(0..blocks);
    while let Some(block) = all[rank].take(true, one) {
        body(rank, block.start);
    }
    while let Some((owner, block)) = help(all, |left| left.take(false, one)) {
        body(owner, block.start);
    }
}

/// What the members of a group have left of a job.
pub(super) struct Claims(Vec<Remaining>);

impl Claims {
    pub(super) fn new(members: usize) -> Self {
        Self((0..members).map(|_| Remaining::default()).collect())
    }

    /// Gives each member its share of `0..blocks`. While no member claims.
    pub(super) fn share_out(&self, blocks: usize) {
        assert!(u32::try_from(blocks).is_ok(), "{blocks} blocks in one job");
        let members = self.0.len();
        for (rank, left) in self.0.iter().enumerate() {
            left.set(blocks * rank / members..blocks * (rank + 1) / members);
        }
    }

    /// The next blocks of member `rank`, `least` or more unless fewer are left; `None` when nothing is left anywhere.
    pub(super) fn next(&self, rank: usize, least: usize) -> Option<Range<usize>> {
        let half = |left: usize| left.div_ceil(2).max(least);
        let own = self.0[rank].take(true, half);
        own.or_else(|| help(&self.0, |left| left.take(false, half)).map(|(_, blocks)| blocks))
    }

    /// What each member has left.
    pub(super) fn all(&self) -> &[Remaining] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn every_block_is_claimed_once_however_fast_members_are() {
        for (members, blocks, least) in [(1, 5, 1), (2, 79, 1), (3, 0, 1), (3, 2, 4), (5, 1000, 3)] {
            let claims = Claims::new(members);
            claims.share_out(blocks);
            let seen: Vec<AtomicUsize> = (0..blocks).map(|_| AtomicUsize::new(0)).collect();
            std::thread::scope(|scope| {
                for rank in 0..members {
                    let (claims, seen) = (&claims, &seen);
                    scope.spawn(move || {
                        while let Some(range) = claims.next(rank, least) {
                            assert!(!range.is_empty());
                            range.for_each(|i| _ = seen[i].fetch_add(1, Ordering::Relaxed));
                            std::thread::sleep(std::time::Duration::from_micros(50 * rank as u64));
                        }
                    });
                }
            });
            assert!(seen.iter().all(|seen| seen.load(Ordering::Relaxed) == 1), "{members} members, {blocks} blocks");
        }
    }

    #[test]
    fn a_member_that_never_comes_is_helped_out() {
        let claims = Claims::new(3);
        claims.share_out(60);
        let mine: Vec<_> = std::iter::from_fn(|| claims.next(1, 1)).collect();
        assert_eq!(mine[0], 20..30, "half of its own share comes first");
        assert_eq!(mine.iter().map(ExactSizeIterator::len).sum::<usize>(), 60);
        assert_eq!(claims.next(0, 1), None);
    }

    #[test]
    fn every_block_of_a_turn_is_done_once_however_fast_members_are() {
        const TURNS: usize = 50;
        for (members, blocks) in [(1, 3), (2, 8), (3, 5), (5, 1)] {
            let claims = Claims::new(members);
            let barrier = std::sync::Barrier::new(members);
            let seen: Vec<AtomicUsize> = (0..TURNS * members * blocks).map(|_| AtomicUsize::new(0)).collect();
            std::thread::scope(|scope| {
                for rank in 0..members {
                    let (claims, seen, barrier) = (&claims, &seen, &barrier);
                    scope.spawn(move || {
                        for t in 0..TURNS {
                            turn(claims.all(), rank, blocks, |owner, block| {
                                seen[(t * members + owner) * blocks + block].fetch_add(1, Ordering::Relaxed);
                                std::thread::sleep(std::time::Duration::from_micros(20 * rank as u64));
                            });
                            barrier.wait();
                        }
                    });
                }
            });
            assert!(seen.iter().all(|seen| seen.load(Ordering::Relaxed) == 1), "{members} members, {blocks} blocks");
        }
    }
}
