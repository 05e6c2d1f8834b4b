//! One of the threads that run a job together, and the parts of work that are its own.

use super::barrier::Barrier;
use super::claims::{self, Remaining};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use unroll_kernels::profile::{self, Phase};

/// Where simulated members ([`super::Crew::simulated`]) wait for each other, as often as the members of a team would.
pub struct Meeting {
    barrier: Barrier,
    members: usize,
}

impl Meeting {
    /// Of this many threads.
    pub fn new(members: usize) -> Self {
        Self { barrier: Barrier::new(), members }
    }

    fn wait(&self) {
        let _span = profile::enter(Phase::Waiting);
        self.barrier.wait(self.members);
    }

    /// Frees the others, who then panic too, if the thread panics while this is held.
    pub fn attend(&self) -> impl Drop + '_ {
        Attendance(self)
    }
}

struct Attendance<'a>(&'a Meeting);

impl Drop for Attendance<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.barrier.poison();
        }
    }
}

/// What a simulated member counts, and where it meets others like it: see [`super::Crew::simulated`].
#[derive(Default)]
pub(super) struct Simulated {
    pub(super) jobs: AtomicUsize,
    pub(super) barriers: AtomicUsize,
    pub(super) meeting: OnceLock<Arc<Meeting>>,
}

impl Simulated {
    /// Waits for the other simulated members, if there are any.
    pub(super) fn meet(&self) {
        if let Some(meeting) = self.meeting.get() {
            meeting.wait();
        }
    }
}

/// Whom a member waits for.
#[derive(Clone, Copy)]
pub(super) enum Wait<'a> {
    /// The other members.
    At(&'a Barrier),
    /// Nobody: it is alone, or it is simulated, and then counts its barriers and may meet others like it.
    Nobody(Option<&'a Simulated>),
}

/// One of the threads that run a job together.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    pub(super) rank: usize,
    pub(super) size: usize,
    pub(super) wait: Wait<'a>,
    /// As many as there are members; none for members of a strand.
    pub(super) strands: &'a [Barrier],
    /// What each member has left of a turn; none where there are no others.
    pub(super) left: &'a [Remaining],
}

impl<'a> Member<'a> {
    /// One that works alone.
    pub(super) fn alone() -> Self {
        Member { rank: 0, size: 1, wait: Wait::Nobody(None), strands: &[], left: &[] }
    }

    /// This member's number, from 0.
    pub fn rank(self) -> usize {
        self.rank
    }
    /// How many members share the job.
    pub fn size(self) -> usize {
        self.size
    }
    /// Waits for the other members. All members must make the same number of calls.
    pub fn barrier(self) {
        match self.wait {
            Wait::At(barrier) if self.size > 1 => {
                let _span = profile::enter(Phase::Waiting);
                barrier.wait(self.size);
            }
            Wait::Nobody(Some(simulated)) => {
                simulated.barriers.fetch_add(1, Ordering::Relaxed);
                simulated.meet();
            }
            _ => {}
        }
    }
    /// Calls `body(strand, member)` for this member's part of `0..strands`: several strands one after the other, each
    /// on its own, or one strand together with other members, whose barriers the members of other strands do not pass.
    ///
    /// # Panics
    ///
    /// From within a strand, when the strand's members would have to be divided again.
    pub fn strands(self, strands: usize, body: impl Fn(usize, Member<'_>)) {
        if strands >= self.size {
            return (self.rank..strands).step_by(self.size).for_each(|strand| body(strand, Member::alone()));
        }
        if strands == 1 {
            return body(0, self);
        }
        let strand = self.rank * strands / self.size;
        let first = |strand: usize| (strand * self.size).div_ceil(strands);
        let size = first(strand + 1) - first(strand);
        let wait = match self.wait {
            Wait::At(_) => Wait::At(&self.strands[strand]),
            nobody => nobody,
        };
        let left = self.left.get(first(strand)..first(strand + 1)).unwrap_or_default();
        body(strand, Member { rank: self.rank - first(strand), size, wait, strands: &[], left });
    }
    /// Calls `body(owner, block)` for each of this member's `blocks` blocks of a turn, and for those that the members
    /// `owner` have left when it is done. Every member calls this once between two barriers, or none.
    pub(super) fn turn(self, blocks: usize, mut body: impl FnMut(Self, usize)) {
        if self.left.len() > 1 {
            claims::turn(self.left, self.rank, blocks, |rank, block| body(Member { rank, ..self }, block));
        } else {
            (0..blocks).for_each(|block| body(self, block));
        }
    }
    /// The part of this member where member r has `cut(r)..cut(r + 1)`. A simulated member stands for the slowest, and
    /// so takes the largest part.
    pub(super) fn part(self, cut: impl Fn(usize) -> usize) -> Range<usize> {
        let part = |rank: usize| cut(rank)..cut(rank + 1);
        match self.wait {
            Wait::Nobody(Some(_)) => (0..self.size).map(part).max_by_key(ExactSizeIterator::len).unwrap_or(0..0),
            _ => part(self.rank),
        }
    }
    /// This member's contiguous share of `0..n`, cut at multiples of `granule`. May be empty.
    pub fn share(self, n: usize, granule: usize) -> Range<usize> {
        let blocks = n.div_ceil(granule);
        self.part(|rank| (blocks * rank / self.size * granule).min(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_everything_once_at_multiples_of_the_granule() {
        for (n, granule, size) in [(650, 16, 2), (10, 64, 3), (97, 8, 5), (0, 16, 2), (128, 16, 16)] {
            let mut at = 0;
            let simulated = Simulated::default();
            let member =
                |rank, simulated| Member { rank, size, wait: Wait::Nobody(simulated), strands: &[], left: &[] };
            let largest = member(0, Some(&simulated)).share(n, granule).len();
            for rank in 0..size {
                let share = member(rank, None).share(n, granule);
                assert_eq!(share.start, at.min(share.start.max(at)));
                assert!(share.start.is_multiple_of(granule) || share.start == n);
                assert!(share.len() <= largest);
                at = share.end;
            }
            assert_eq!(at, n);
        }
    }
}
