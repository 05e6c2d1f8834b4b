//! Where the time goes: one clock a thread, which is always in exactly one phase.
//!
//! [`enter`] puts the calling thread's clock into a phase until the span that it returns is dropped; the time since the
//! last change is charged to the phase that was left. So the phases of a thread add up to all of its time, and nested
//! spans need no arithmetic: the innermost one counts. The counters belong to their thread: nothing is shared, locked
//! or allocated. A span costs one load and one branch while the clock is off, and two readings of the time stamp
//! counter (20 to 40 ns) while it is on, so spans enclose blocks of microseconds, not single rows.

use crate::simd::ticks;
use std::cell::Cell;
use std::marker::PhantomData;

/// What a thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// h U of a time step forward.
    Recurrent,
    /// da U^T of a time step backward.
    RecurrentBack,
    /// x W of all steps at once, and other dense layers forward.
    Projection,
    /// The head's logits.
    Head,
    /// The gradients of the head's weights and input.
    HeadGradient,
    /// The gradients of all other weights and inputs.
    Gradient,
    /// Cells, activations, softmax, look-ups and sums: whatever passes over elements.
    ElementWise,
    /// Operands of products brought into their form.
    Packing,
    /// At a barrier, or at the end of shared work until the others are done.
    Waiting,
    /// Without work: what the first thread does is not shared.
    Idle,
    /// The norm of the gradient.
    Norm,
    /// The optimiser.
    Update,
    /// Taking tokens from the corpus.
    Data,
    /// All else.
    Other,
}

impl Phase {
    /// Every phase, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Recurrent,
        Self::RecurrentBack,
        Self::Projection,
        Self::Head,
        Self::HeadGradient,
        Self::Gradient,
        Self::ElementWise,
        Self::Packing,
        Self::Waiting,
        Self::Idle,
        Self::Norm,
        Self::Update,
        Self::Data,
        Self::Other,
    ];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recurrent => "recurrent",
            Self::RecurrentBack => "recurrent_back",
            Self::Projection => "projection",
            Self::Head => "head",
            Self::HeadGradient => "head_gradient",
            Self::Gradient => "gradient",
            Self::ElementWise => "element_wise",
            Self::Packing => "packing",
            Self::Waiting => "waiting",
            Self::Idle => "idle",
            Self::Norm => "norm",
            Self::Update => "update",
            Self::Data => "data",
            Self::Other => "other",
        }
    }
}

const PHASES: usize = Phase::ALL.len();

/// What a clock has counted, by the phases' numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ticks of [`ticks`].
    pub ticks: [u64; PHASES],
    /// Floating-point operations of products.
    pub flops: [u64; PHASES],
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        for i in 0..PHASES {
            self.ticks[i] += other.ticks[i];
            self.flops[i] += other.flops[i];
        }
    }
}

struct Clock {
    on: Cell<bool>,
    phase: Cell<Phase>,
    since: Cell<u64>,
    ticks: [Cell<u64>; PHASES],
    flops: [Cell<u64>; PHASES],
}

thread_local! {
    static CLOCK: Clock = const {
        Clock {
            on: Cell::new(false),
            phase: Cell::new(Phase::Other),
            since: Cell::new(0),
            ticks: [const { Cell::new(0) }; PHASES],
            flops: [const { Cell::new(0) }; PHASES],
        }
    };
}

impl Clock {
    /// Counts the time until now and goes on in `phase`. Returns the phase that was left.
    #[inline(never)]
    fn change(&self, phase: Phase) -> Phase {
        let (now, before) = (ticks(), self.phase.replace(phase));
        let counter = &self.ticks[before as usize];
        counter.set(counter.get() + now.saturating_sub(self.since.replace(now)));
        before
    }
}

/// Until it is dropped, the thread's clock is in the phase that was entered.
#[must_use = "the phase ends when this is dropped"]
pub struct Span {
    before: Option<Phase>,
    /// Of one thread's clock: neither sent nor shared.
    of_thread: PhantomData<*const ()>,
}

impl Drop for Span {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(before) = self.before {
            CLOCK.with(|clock| {
                if clock.on.get() {
                    clock.change(before);
                }
            });
        }
    }
}

/// Enters a phase on this thread.
#[inline(always)]
pub fn enter(phase: Phase) -> Span {
    let before = CLOCK.with(|clock| clock.on.get().then(|| clock.change(phase)));
    Span { before, of_thread: PhantomData }
}

/// The phase that this thread's clock is in; `Other` where it is off.
#[inline]
pub fn current() -> Phase {
    CLOCK.with(|clock| clock.phase.get())
}

/// Counts the floating-point operations of a product in the phase that this thread is in.
#[inline(always)]
pub fn count_flops(flops: usize) {
    CLOCK.with(|clock| {
        if clock.on.get() {
            let counter = &clock.flops[clock.phase.get() as usize];
            counter.set(counter.get() + flops as u64);
        }
    });
}

/// Switches this thread's clock on, all counters zero. `base` is the phase outside of all spans.
pub fn start(base: Phase) {
    CLOCK.with(|clock| {
        clock.ticks.iter().chain(&clock.flops).for_each(|counter| counter.set(0));
        clock.phase.set(base);
        clock.since.set(ticks());
        clock.on.set(true);
    });
}

/// Switches this thread's clock off and returns what it has counted: nothing if it was off.
pub fn stop() -> Counts {
    CLOCK.with(|clock| {
        if !clock.on.get() {
            return Counts::default();
        }
        clock.change(Phase::Other);
        clock.on.set(false);
        Counts {
            ticks: std::array::from_fn(|i| clock.ticks[i].get()),
            flops: std::array::from_fn(|i| clock.flops[i].get()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn wait(length: Duration) {
        let start = Instant::now();
        while start.elapsed() < length {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn the_inner_span_counts_and_all_time_is_counted_once() {
        let (first, length) = (ticks(), Duration::from_millis(3));
        start(Phase::Idle);
        {
            let _outer = enter(Phase::Head);
            wait(length);
            {
                let _inner = enter(Phase::Packing);
                assert_eq!(current(), Phase::Packing);
                count_flops(7);
                wait(2 * length);
            }
            assert_eq!(current(), Phase::Head);
            count_flops(5);
        }
        wait(length);
        let counts = stop();
        let all = ticks() - first;
        let of = |phase: Phase| counts.ticks[phase as usize];
        assert!(of(Phase::Packing) > of(Phase::Head) && of(Phase::Head) > 0 && of(Phase::Idle) > 0, "{counts:?}");
        let sum: u64 = counts.ticks.iter().sum();
        assert_eq!(sum, of(Phase::Packing) + of(Phase::Head) + of(Phase::Idle));
        assert!(sum <= all && sum as f64 > 0.5 * all as f64, "{sum} of {all}");
        assert_eq!((counts.flops[Phase::Packing as usize], counts.flops[Phase::Head as usize]), (7, 5));
    }

    #[test]
    fn a_clock_that_is_off_counts_nothing() {
        {
            let _span = enter(Phase::Head);
            count_flops(3);
            assert_eq!(stop(), Counts::default());
            // A span that began before the clock was on does not end what began after.
            start(Phase::Idle);
        }
        assert_eq!(current(), Phase::Idle);
        assert_eq!(stop().flops, [0; PHASES]);
        assert!(Phase::ALL.iter().enumerate().all(|(i, &phase)| phase as usize == i));
    }
}
