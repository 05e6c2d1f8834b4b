//! A training step allocates nothing after the first: every allocation of the process is counted.
//!
//! That is said of the vector sets. The portable one leaves large products to matrixmultiply, which allocates room for its
//! packed operands in each of them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use unroll::bench::{Case, CaseOptions};
use unroll_kernels::gemm::Precision;

/// The system's allocator with a count of its calls.
struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(p, layout) }
    }
    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(p, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Waits until nothing is allocated while this thread does nothing: the test harness has a thread of its own, which on a busy
/// machine may still be setting itself up.
fn wait_for_others() {
    loop {
        let before = CALLS.load(Ordering::Relaxed);
        std::thread::sleep(std::time::Duration::from_millis(50));
        if CALLS.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

#[test]
fn a_step_allocates_nothing_after_the_first() {
    let isa = unroll_kernels::Isa::best();
    if isa.name() == "portable" {
        println!("SKIPPED: the portable set's products go through matrixmultiply, which allocates");
        return;
    }
    let (hidden, rows, steps) = (Some(40), Some(6), Some(7));
    let options = CaseOptions { threads: 2, isa, hidden, rows, steps, ..CaseOptions::default() };
    let names = ["char256", "word650", "gru650", "minchar", "bilstm", "ragged"];
    let ways = [(Precision::F32, false), (Precision::F32, true), (Precision::Bf16, false), (Precision::Bf16, true)];
    for (name, (precision, profile)) in names.into_iter().flat_map(|name| ways.map(|way| (name, way))) {
        let options = CaseOptions { profile, precision, ..options.clone() };
        let case = Case::new(name, &options).unwrap();
        let mut training = case.training(&options).unwrap();
        // The first step sizes what depends on the batch.
        training.step();
        wait_for_others();
        let before = CALLS.load(Ordering::Relaxed);
        let losses = (0..10).map(|_| training.step()).sum::<f64>();
        let calls = CALLS.load(Ordering::Relaxed) - before;
        assert!(losses.is_finite());
        assert_eq!(calls, 0, "{name} in {precision} allocated {calls} times in ten steps, profiled: {profile}");
        let found = training.take_profile();
        assert_eq!(found.is_some(), profile);
        if let Some(found) = found {
            let sum = found.phases.iter().map(|phase| phase.share).sum::<f64>();
            assert!((sum - 1.0).abs() < 1e-9 && found.threads == 2, "{name}: {found:?}");
            for phase in ["recurrent", "recurrent_back", "gradient", "element_wise", "update"] {
                assert!(found.phases.iter().any(|p| p.phase == phase), "{name} has no time in {phase}");
            }
        }
        // Its threads stay: those that end allocate while the next case is counted.
        std::mem::forget(training);
    }
}
