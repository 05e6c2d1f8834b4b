use super::*;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A body with its probe.
type Probed = fn(&[u8], Probe<'_>);

const PROBED: [(&str, Probed); 9] = [
    ("embedding", embedding::run),
    ("gemm", gemm::run),
    ("gru", gru::run),
    ("lstm", lstm::run),
    ("math", math::run),
    ("optimizer", optimizer::run),
    ("rnn", rnn::run),
    ("skipgram", skipgram::run),
    ("softmax", softmax::run),
];

/// Bytes that make different cases of every kernel.
fn bytes(seed: u8) -> Vec<u8> {
    let mut x = u32::from(seed).wrapping_mul(2_654_435_761) + 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        (x >> 8) as u8
    };
    (0..96).map(|_| next()).collect()
}

#[test]
fn arbitrary_bytes_pass_and_none_too() {
    for (name, body) in TARGETS {
        body(&[]);
        for seed in 0..24 {
            println!("{name} {seed}");
            body(&bytes(seed));
            body(&bytes(seed)[..usize::from(seed % 9)]);
        }
    }
}

#[test]
fn a_fault_in_any_result_is_caught() {
    for (name, run) in PROBED {
        let mut caught = BTreeMap::<String, usize>::new();
        let mut places = BTreeMap::<String, usize>::new();
        for seed in 0..40 {
            let data = bytes(seed);
            // The results of this case: how often each kind is compared, and how long it is.
            let lengths = RefCell::new(Vec::new());
            run(&data, &|what, got| lengths.borrow_mut().push((what.to_owned(), got.len())));
            for (which, (what, len)) in lengths.into_inner().into_iter().enumerate().filter(|(_, (_, n))| *n > 0) {
                // A different entry of each case is spoiled: wrong by a hundredth and a hundred-thousandth more.
                let at = (usize::from(seed) * 7919) % len;
                let turn = Cell::new(0);
                let fault = |_: &str, got: &mut [f32]| {
                    if turn.replace(turn.get() + 1) == which {
                        got[at] +=
                            got[at].abs() * 0.01 + 1e-5 * got.iter().fold(0.0, |m: f32, x| m.max(x.abs())) + 1e-5;
                    }
                };
                let failed = catch_unwind(AssertUnwindSafe(|| run(&data, &fault))).is_err();
                *caught.entry(what.clone()).or_default() += usize::from(failed);
                *places.entry(what).or_default() += 1;
            }
        }
        for (what, places) in places {
            let caught = caught[&what];
            // Where numbers are huge by design, a bound may be wider than the fault; most are not.
            assert!(4 * caught >= 3 * places, "{name}, {what}: only {caught} of {places} faults were caught");
        }
    }
}

#[test]
fn the_targets_are_those_that_are_probed() {
    assert_eq!(TARGETS.map(|(name, _)| name), PROBED.map(|(name, _)| name));
}
