//! A barrier that spins briefly, then yields, then parks; a member that panics poisons it and frees the others.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::yield_now;

/// Turns of `spin_loop` before the first yield: about 5 µs, some times the cost of a barrier between running cores.
const SPINS: usize = 2_000;
/// Yields before parking, some hundred microseconds: as long as what a leader mostly does alone between two jobs, so
/// that members are seldom asleep when work comes. When cores are fewer than members, the others get the core
/// meanwhile.
const YIELDS: usize = 1_000;

/// A number that only rises, and threads that wait for it to pass a value.
#[derive(Default)]
pub(super) struct Counter {
    value: AtomicUsize,
    sleepers: Mutex<usize>,
    wake: Condvar,
}

impl Counter {
    pub(super) fn get(&self) -> usize {
        self.value.load(Ordering::Acquire)
    }

    /// Adds one and wakes whoever sleeps. What was written before is seen by those who see the new value.
    pub(super) fn raise(&self) -> usize {
        // Sequentially consistent, as the sleepers' count must not be read before the value is written.
        let new = self.value.fetch_add(1, Ordering::SeqCst) + 1;
        let sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        if *sleepers > 0 {
            self.wake.notify_all();
        }
        new
    }

    /// Waits until the value is at least `target`, or `stop` is set. Returns whether the value was reached.
    pub(super) fn wait(&self, target: usize, stop: &AtomicBool) -> bool {
        let reached = || self.value.load(Ordering::SeqCst) >= target;
        for turn in 0..SPINS + YIELDS {
            if reached() {
                return true;
            }
            if stop.load(Ordering::SeqCst) {
                return reached();
            }
            if turn < SPINS { spin_loop() } else { yield_now() }
        }
        let mut sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        *sleepers += 1;
        while !reached() && !stop.load(Ordering::SeqCst) {
            sleepers = self.wake.wait(sleepers).unwrap_or_else(PoisonError::into_inner);
        }
        *sleepers -= 1;
        reached()
    }

    /// Wakes every sleeper, so that it sees a stop flag set before.
    pub(super) fn wake_all(&self) {
        let _sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        self.wake.notify_all();
    }
}

/// A reusable barrier for a fixed number of members.
pub(super) struct Barrier {
    arrived: AtomicUsize,
    generation: Counter,
    poisoned: AtomicBool,
}

impl Barrier {
    pub(super) fn new() -> Self {
        Self { arrived: AtomicUsize::new(0), generation: Counter::default(), poisoned: AtomicBool::new(false) }
    }

    /// Waits until `members` threads have called this. Everything written before is seen by all after.
    ///
    /// # Panics
    ///
    /// When another member has panicked.
    pub(super) fn wait(&self, members: usize) {
        if members == 1 {
            return;
        }
        let target = self.generation.get() + 1;
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == members {
            self.arrived.store(0, Ordering::Relaxed);
            self.generation.raise();
        } else {
            self.generation.wait(target, &self.poisoned);
        }
        assert!(!self.is_poisoned(), "another member of the team panicked");
    }

    pub(super) fn poison(&self) {
        self.poisoned.store(true, Ordering::SeqCst);
        self.generation.wake_all();
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::SeqCst)
    }
}
