//! Damaged checkpoints: every truncation and every changed bit is noticed, and the one before is taken.

use super::super::checkpoint::{BEST, CARRY, Expected, OPTIMIZER, STATE, WEIGHTS};
use super::super::manifest::MANIFEST;
use super::super::storage::simulated::Simulated;
use super::*;

const FILES: [&str; 5] = [WEIGHTS, OPTIMIZER, CARRY, STATE, MANIFEST];

/// A disk with the checkpoints of steps 3, 6 and 7.
fn disk() -> Simulated {
    let disk = Simulated::new();
    Setup { stop_after: 7, valid: false, ..constant() }.run(&disk).unwrap();
    assert_eq!(checkpoints(&disk).steps().unwrap(), [3, 6, 7]);
    disk
}

fn constant() -> Setup<'static> {
    let mut setup = Setup { valid: false, ..Setup::new() };
    setup.config.schedule = Schedule::constant(0.05);
    setup
}

/// The step of the checkpoint that is loaded, and why newer ones were not.
fn load(disk: &Simulated) -> Result<(u64, Vec<String>)> {
    let toy = Toy::new();
    let optimizer = Optimizer::new(toy.isa(), config().optimizer, 32);
    let specs = |tensors: Vec<TensorRef>| -> Vec<TensorSpec> {
        tensors.into_iter().map(|t| TensorSpec { name: t.name, shape: t.shape }).collect()
    };
    let weights: Vec<_> =
        toy.specs().iter().map(|s| TensorSpec { name: s.name.clone(), shape: s.shape.clone() }).collect();
    let expected = Expected {
        weights: &weights,
        optimizer: &specs(optimizer.tensors(toy.specs())),
        carry: &specs(toy.state_tensors(&toy.new_state(ROWS))),
        accept: &|_| Ok(()),
    };
    let loaded = checkpoints(disk).load_newest(&expected)?.expect("there are checkpoints");
    Ok((loaded.state.step, loaded.passed_over.into_iter().map(|p| p.reason).collect()))
}

#[test]
fn every_bit_and_every_length() {
    let disk = disk();
    assert_eq!(load(&disk).unwrap(), (7, vec![]));
    for name in FILES {
        let path = checkpoints(&disk).path(7).join(name);
        let whole = disk.contents(&path).unwrap();
        for len in 0..whole.len() {
            disk.damage(&path, |data| data.truncate(len));
            let (step, reasons) = load(&disk).unwrap_or_else(|e| panic!("{name} cut to {len} bytes: {e}"));
            assert_eq!((step, reasons.len()), (6, 1), "{name} cut to {len} bytes");
            disk.damage(&path, |data| data.clone_from(&whole));
        }
        for bit in 0..whole.len() * 8 {
            disk.damage(&path, |data| data[bit / 8] ^= 1 << (bit % 8));
            let (step, reasons) = load(&disk).unwrap_or_else(|e| panic!("{name}, bit {bit}: {e}"));
            assert_eq!((step, reasons.len()), (6, 1), "{name}, bit {bit}");
            disk.damage(&path, |data| data.clone_from(&whole));
        }
        disk.damage(&path, |data| data.push(0));
        assert_eq!(load(&disk).unwrap().0, 6, "{name} with a byte more");
        disk.damage(&path, |data| data.clone_from(&whole));
    }
    assert_eq!(load(&disk).unwrap(), (7, vec![]));
}

#[test]
fn swapped_and_missing_files() {
    let disk = disk();
    let (six, seven) = (checkpoints(&disk).path(6), checkpoints(&disk).path(7));
    for name in FILES {
        let whole = disk.contents(&seven.join(name)).unwrap();
        let other = disk.contents(&six.join(name)).unwrap();
        assert_ne!(whole, other, "{name} of two steps");
        disk.damage(&seven.join(name), |data| *data = other);
        let (step, reasons) = load(&disk).unwrap();
        assert_eq!((step, reasons.len()), (6, 1), "{name} from another checkpoint");
        disk.damage(&seven.join(name), |data| data.clone_from(&whole));

        let aside = Path::new("aside");
        disk.rename(&seven.join(name), aside).unwrap();
        let (step, reasons) = load(&disk).unwrap();
        assert_eq!(step, 6, "{name} missing");
        assert!(reasons[0].contains(name) && reasons[0].contains("cannot be read"), "{reasons:?}");
        disk.rename(aside, &seven.join(name)).unwrap();
    }
    // A whole folder under another name.
    disk.rename(&seven, &checkpoints(&disk).path(9)).unwrap();
    let (step, reasons) = load(&disk).unwrap();
    assert_eq!((step, reasons), (6, vec!["it is the checkpoint of step 7, moved here".to_owned()]));
}

#[test]
fn all_damaged_is_an_error_that_names_the_newest() {
    let disk = disk();
    for step in [3, 6, 7] {
        disk.damage(&checkpoints(&disk).path(step).join(STATE), |data| data[5] ^= 4);
    }
    let error = load(&disk).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    let error = error.to_string();
    assert!(
        error.contains("step-00000007: all 3 checkpoints are damaged; the newest: state.json is damaged"),
        "{error}"
    );
}

/// The run goes back to the checkpoint before, says so, and writes the damaged one anew when it comes there again.
#[test]
fn the_run_goes_on_from_the_one_before() {
    let unbroken = end(constant(), &Simulated::new()).unwrap();
    let disk = Simulated::new();
    Setup { stop_after: 9, ..constant() }.run(&disk).unwrap();
    disk.damage(&checkpoints(&disk).path(9).join(CARRY), |data| data[90] ^= 1);
    let heard = RefCell::default();
    let resumed = end(Setup { heard: &heard, stop_after: 9, ..constant() }, &disk).unwrap();
    assert_eq!(resumed.outcome.step, 9);
    let heard = heard.take();
    assert!(heard[0].contains("step-00000009: passed over: carry.safetensors is damaged between"), "{heard:?}");
    assert_eq!(heard[1], "resumed from 6");
    assert_eq!(load(&disk).unwrap(), (9, vec![]));
    assert_eq!(end(constant(), &disk).unwrap(), unbroken);
}

#[test]
fn the_last_three_and_the_best_are_kept() {
    let disk = Simulated::new();
    let mut setup = Setup::new();
    // The first evaluation is the best: afterwards the rate is too high to learn.
    setup.config.schedule = Schedule { lr: 3.0, kind: ScheduleKind::Constant, min_lr: 0.0, warmup_steps: 0 };
    setup.config.optimizer.clip_norm = None;
    setup.run(&disk).unwrap();
    let steps = checkpoints(&disk).steps().unwrap();
    let best = checkpoints(&disk).best().expect("a best checkpoint");
    assert!(best < 18 && steps == [best, 15, 18, 21], "{steps:?}, best {best}");

    // The hint is believed only if the checkpoint says that it was the best.
    let hint = Path::new("out/run/checkpoints").join(BEST);
    disk.damage(&hint, |data| *data = b"{\"step\":18,\"loss\":0.1}".to_vec());
    assert_eq!(checkpoints(&disk).best(), None);
    disk.damage(&hint, |data| data.truncate(3));
    assert_eq!(checkpoints(&disk).best(), None);
}

/// A length in the manifest or a shape in a header that would need all memory is refused before anything is allocated.
#[test]
fn sizes_are_checked_before_they_are_allocated() {
    let disk = disk();
    let path = checkpoints(&disk).path(7).join(MANIFEST);
    let text = String::from_utf8(disk.contents(&path).unwrap()).unwrap();
    let mut manifest = manifest::Manifest::decode(text.as_bytes()).unwrap();
    manifest.files[0].bytes = 1 << 50;
    manifest.files[0].chunks = vec!["00000000".into(); 1 << 10];
    disk.damage(&path, |data| *data = manifest.encode().unwrap());
    assert_eq!(load(&disk).unwrap().0, 6, "chunk checksums that do not cover the file");
    manifest.files[0].bytes = 1 << 30;
    disk.damage(&path, |data| *data = manifest.encode().unwrap());
    let error = load(&disk).unwrap_err().to_string();
    assert!(error.contains("weights.safetensors has 1073741824 bytes, and the model's tensors at most"), "{error}");
}
