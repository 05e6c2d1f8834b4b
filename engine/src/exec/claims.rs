//! Work that is handed out as members come for it.
//!
//! Members seldom run equally fast: a core has other work, or shares its units with a neighbour that has. Each begins with
//! its own contiguous share, so that in the usual case it reads and writes what it read and wrote before, takes half of
//! what is left of it at a time, and when it is done takes from the end of what another has left. Nothing may depend on
//! who does what: the bits of a result do not, as a sum is never cut.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// What one member has left: blocks `front..back`, in the halves of one word. Alone on its cache line.
#[derive(Default)]
#[repr(align(128))]
struct Left(AtomicU64);

impl Left {
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

    /// Takes half of what is left, at least `least` blocks, from the front or else from the back; `None` if nothing is left.
    fn take(&self, least: usize, front: bool) -> Option<Range<usize>> {
        let mut taken = None;
        let cut = |word| {
            let Range { start, end } = Self::blocks(word);
            let half = (end - start).div_ceil(2).max(least).min(end - start);
            let (part, rest) =
                if front { (start..start + half, start + half..end) } else { (end - half..end, start..end - half) };
            taken = Some(part);
            (half > 0).then(|| Self::word(rest))
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, cut).ok().and(taken)
    }
}

/// What the members of a group have left of a job.
pub(super) struct Claims(Vec<Left>);

impl Claims {
    pub(super) fn new(members: usize) -> Self {
        Self((0..members).map(|_| Left::default()).collect())
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
        self.0[rank].take(least, true).or_else(|| {
            loop {
                let most = self.0.iter().max_by_key(|left| left.get().len())?;
                if most.get().is_empty() {
                    return None;
                }
                // Nothing is taken if its owner was quicker: then another may have more.
                if let Some(blocks) = most.take(least, false) {
                    return Some(blocks);
                }
            }
        })
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
}
