//! Storage that fails: the run goes on where it can, and never loses what it had.

use std::io::ErrorKind::{Other, PermissionDenied, StorageFull};

use super::super::storage::simulated::{Fault, Loss, Simulated};
use super::*;

/// Every single call fails once. A run that has begun ends as if nothing had been; one that could not begin says why,
/// with the exit code of an I/O failure, and can be begun again.
#[test]
fn any_call_fails_once() {
    let unbroken = unbroken();
    let disk = Simulated::new();
    end(Setup::new(), &disk).unwrap();
    let calls = disk.calls();
    let mut survived = 0;
    for n in 0..calls + 40 {
        for fault in [Fault::Fail(n, Other), Fault::Fail(n, StorageFull), Fault::Short(n)] {
            let disk = Simulated::new();
            disk.set_fault(fault);
            let first = Setup::new().run(&disk);
            disk.set_fault(Fault::None);
            match first {
                Ok(_) => survived += 1,
                Err(error) => assert_eq!(error.exit_code(), 5, "{fault:?}: {error}"),
            }
            let image = disk.after_power_loss(Loss::Everything);
            let again = end(Setup::new(), &image).unwrap_or_else(|e| panic!("{fault:?}: {e}"));
            assert_eq!(again, unbroken, "{fault:?}");
        }
    }
    assert!(survived as f64 > 0.8 * 3.0 * calls as f64, "{survived} of {} runs survived", 3 * calls);
}

/// From some call on everything fails. The run stops after three failures in a row, and what was saved stays.
#[test]
fn every_later_call_fails() {
    let unbroken = unbroken();
    let disk = Simulated::new();
    end(Setup::new(), &disk).unwrap();
    for n in 0..disk.calls() {
        let disk = Simulated::new();
        disk.set_fault(Fault::FailFrom(n, StorageFull));
        let heard = RefCell::default();
        let error = match (Setup { heard: &heard, ..Setup::new() }.run(&disk)) {
            Err(error) => error,
            // What failed came after the last checkpoint: deleting the oldest one.
            Ok(_) => {
                let heard = heard.take();
                assert!(heard.iter().any(|text| text.contains("cannot")), "call {n}: {heard:?}");
                continue;
            }
        };
        assert_eq!(error.exit_code(), 5, "{error}");
        let failures = heard.take().iter().filter(|text| text.contains("failure")).count();
        assert!(failures == 0 || failures == 3, "{failures} failures from call {n} on");
        if failures == 3 {
            assert!(error.to_string().contains("3 attempts in a row have failed"), "{error}");
        }
        disk.set_fault(Fault::None);
        assert_eq!(end(Setup::new(), &disk).unwrap(), unbroken, "from call {n} on");
    }
}

/// Disks of every size from nothing to more than enough.
#[test]
fn full_disk() {
    let unbroken = unbroken();
    let disk = Simulated::new();
    end(Setup::new(), &disk).unwrap();
    let needed = disk.used();
    let (mut stopped, mut completed) = (0, 0);
    for capacity in (0..2 * needed).step_by(97) {
        let disk = Simulated::new();
        disk.set_capacity(Some(capacity));
        match Setup::new().run(&disk) {
            Ok(_) => completed += 1,
            Err(error) => {
                assert_eq!(error.exit_code(), 5, "{capacity} bytes: {error}");
                stopped += 1;
            }
        }
        // With room made, the run goes on from what was saved.
        let image = disk.after_power_loss(Loss::Everything);
        let again = end(Setup::new(), &image).unwrap_or_else(|e| panic!("{capacity} bytes: {e}"));
        assert_eq!(again, unbroken, "{capacity} bytes");
        let left = image.list(Path::new("out/run/checkpoints")).unwrap();
        assert!(left.iter().all(|name| !name.starts_with('.')), "litter: {left:?}");
    }
    assert!(stopped > 10 && completed > 10, "{stopped} stopped, {completed} completed");
}

/// A failure is told with its step and the state of the earlier checkpoint, and what comes next has a new name.
#[test]
fn failures_are_told() {
    // The first call from which on everything fails after the run has been taken up: within a save.
    let told = (20..60).find_map(|n| {
        let disk = Simulated::new();
        Setup { stop_after: 6, ..Setup::new() }.run(&disk).unwrap();
        disk.set_fault(Fault::FailFrom(n, PermissionDenied));
        let heard = RefCell::default();
        let error = Setup { heard: &heard, ..Setup::new() }.run(&disk).unwrap_err().to_string();
        let heard = heard.take();
        (heard.len() > 3).then_some((disk, heard, error))
    });
    let (disk, heard, error) = told.expect("a failure that is told");
    assert!(heard[1].contains(": failure 1: out/run/") && heard[1].contains("permission denied"), "{heard:?}");
    assert!(heard[3].contains(": failure 3: out/run/"), "{heard:?}");
    assert!(error.contains("the checkpoint of step 6 is valid"), "{error}");
    disk.set_fault(Fault::None);
    assert_eq!(checkpoints(&disk).newest_state().unwrap().unwrap().0.step, 6);
}
