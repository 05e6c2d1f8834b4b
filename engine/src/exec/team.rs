//! A team: the members that share jobs, and how a job is cut and shared.

use super::barrier::{Barrier, Counter};
use super::claims::Claims;
use super::cost::Work;
use super::member::{Member, Simulated, Wait};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use unroll_kernels::profile::{self, Phase};

/// A job: called once by every member.
type Job = dyn Fn(Member<'_>) + Sync;

/// What the members of one group share: the job's slot and the counters around it.
pub(super) struct Group {
    /// The job in progress and its phase. The leader writes it before it raises `given`; members read it after they see
    /// that.
    job: Mutex<Option<(&'static Job, Phase)>>,
    given: Counter,
    done: Counter,
    barrier: Barrier,
    /// One for each strand of members that wait for each other only.
    strands: Vec<Barrier>,
    claims: Claims,
    stop: AtomicBool,
    never: AtomicBool,
    /// Whether a job is in progress.
    busy: AtomicBool,
    pub(super) size: usize,
    /// Present where the calling thread does the work of one of `size` members and the others do not exist.
    pub(super) simulated: Option<Simulated>,
    panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
}

impl Group {
    pub(super) fn new(size: usize) -> Self {
        Self {
            job: Mutex::new(None),
            given: Counter::default(),
            done: Counter::default(),
            barrier: Barrier::new(),
            strands: (0..size).map(|_| Barrier::new()).collect(),
            claims: Claims::new(size),
            stop: AtomicBool::new(false),
            never: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            size,
            simulated: None,
            panic: Mutex::new(None),
        }
    }

    /// A group whose calling thread does the work of one of `size` members; the others do not exist.
    pub(super) fn simulated(size: usize) -> Self {
        Self { simulated: Some(Simulated::default()), ..Self::new(size) }
    }

    /// Runs the job on all members and waits for them; the calling thread is member 0.
    pub(super) fn run(&self, job: &(dyn Fn(Member<'_>) + Sync)) {
        assert!(!self.barrier.is_poisoned(), "the team was left by a panic");
        if self.size == 1 {
            return job(Member::alone());
        }
        if let Some(simulated) = &self.simulated {
            simulated.jobs.fetch_add(1, Ordering::Relaxed);
            job(Member { rank: 0, size: self.size, wait: Wait::Nobody(Some(simulated)), strands: &[], left: &[] });
            return simulated.meet();
        }
        assert!(!self.busy.swap(true, Ordering::Acquire), "{NESTED}");
        let target = self.done.get() + self.size - 1;
        // SAFETY: the reference is used by members only between `given` and `done`, and this function does not return
        // (or unwind) before every member is done; the lifetime is only longer on paper.
        let lasting: &'static Job = unsafe { std::mem::transmute::<&(dyn Fn(Member<'_>) + Sync), &'static Job>(job) };
        *self.job.lock().unwrap_or_else(PoisonError::into_inner) = Some((lasting, profile::current()));
        self.given.raise();
        self.call(job, 0);
        {
            let _span = profile::enter(Phase::Waiting);
            self.done.wait(target, &self.never);
        }
        self.busy.store(false, Ordering::Release);
        if let Some(panic) = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take() {
            resume_unwind(panic);
        }
    }

    /// Calls the job as one member, keeping a panic for the leader.
    fn call(&self, job: &(dyn Fn(Member<'_>) + Sync), rank: usize) {
        let (wait, strands, left) = (Wait::At(&self.barrier), self.strands.as_slice(), self.claims.all());
        let member = Member { rank, size: self.size, wait, strands, left };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(member))) {
            // The first to panic is the cause; those freed from the barrier only follow.
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(panic);
            drop(first);
            self.barrier.poison();
            self.strands.iter().for_each(Barrier::poison);
        }
    }

    /// The loop of a member: waits for jobs and runs them until the group stops.
    pub(super) fn serve(&self, rank: usize) {
        let mut seen = 0;
        while self.given.wait(seen + 1, &self.stop) {
            seen += 1;
            let job = *self.job.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((job, phase)) = job {
                let _span = profile::enter(phase);
                self.call(job, rank);
            }
            self.done.raise();
        }
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.given.wake_all();
    }
}

/// The members that work on one replica. A job given while another runs (from within it) is a panic.
pub struct Team<'a> {
    pub(super) group: &'a Group,
}

impl Team<'_> {
    /// How many members the team has.
    pub fn size(&self) -> usize {
        self.group.size
    }

    /// Runs `job` on all members, or on the leader alone where the work is too little to share.
    ///
    /// # Panics
    ///
    /// When a member panics, with its panic.
    pub fn run(&self, work: Work, job: impl Fn(Member<'_>) + Sync) {
        if self.shares(work) {
            self.group.run(&job);
        } else {
            job(Member::alone());
        }
    }
}

pub(super) const NESTED: &str = "a job was given while another runs";

/// A range that [`Team::divide`] cuts.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Its length.
    pub len: usize,
    /// Parts begin at multiples of this, which is 1 at least.
    pub granule: usize,
    /// The most parts into which a member's share is cut: so few that the work of a part is large against what each
    /// part costs in addition.
    pub parts: usize,
}

impl Team<'_> {
    /// Whether more than one member takes part in such work.
    pub fn shares(&self, work: Work) -> bool {
        self.group.size > 1 && work.pays()
    }

    /// Runs `job` on parts that cover the range once, whichever member comes for them; on the leader alone, and at
    /// once, where the work is too little to share.
    ///
    /// # Panics
    ///
    /// When a member panics, with its panic.
    pub fn divide(&self, work: Work, cut: Cut, job: impl Fn(Member<'_>, Range<usize>) + Sync) {
        let Cut { len, granule, parts } = cut;
        if len == 0 {
            return;
        }
        if !self.shares(work) {
            return job(Member::alone(), 0..len);
        }
        if self.group.simulated.is_some() {
            return self.group.run(&|member| job(member, member.share(len, granule)));
        }
        let (claims, blocks) = (&self.group.claims, len.div_ceil(granule));
        // What a job that is still running has left must not be shared out anew.
        assert!(!self.group.busy.load(Ordering::Acquire), "{NESTED}");
        claims.share_out(blocks);
        let parts = parts.min(work.parts(self.group.size));
        let least = (blocks / (self.group.size * parts)).max(1);
        self.group.run(&|member| {
            while let Some(part) = claims.next(member.rank, least) {
                job(member, part.start * granule..(part.end * granule).min(len));
            }
        });
    }
}

/// Pieces for each member in [`Team::share_out`]: several, since pieces of the same size may not be the same work, for
/// instance where rows of a table had no gradient. A step of word650, where all work is even, takes the same time with
/// 1 to 16.
const PIECES: usize = 8;

/// The most pieces in all. More members than this do not all take part: such work is bound by memory.
const MOST_PARTS: usize = 64;

impl Team<'_> {
    /// The number of pieces that [`Self::share_out`] takes.
    pub fn parts(&self) -> usize {
        if self.size() == 1 { 1 } else { (PIECES * self.size()).min(MOST_PARTS) }
    }

    /// Makes [`Self::parts`] pieces by calling `next` with 0, 1, ..., and runs each on whichever member comes for it.
    /// Allocates nothing.
    pub fn share_out<T: Send>(&self, work: Work, mut next: impl FnMut(usize) -> Option<T>, run: impl Fn(T) + Sync) {
        let parts = self.parts();
        if !self.shares(work) {
            return (0..parts).filter_map(next).for_each(run);
        }
        let pieces: [Mutex<Option<T>>; MOST_PARTS] =
            std::array::from_fn(|i| Mutex::new(if i < parts { next(i) } else { None }));
        let cut = Cut { len: parts, granule: 1, parts: PIECES };
        self.divide(work, cut, |_, part| {
            for piece in &pieces[part] {
                let piece = piece.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(piece) = piece {
                    run(piece);
                }
            }
        });
    }
}
