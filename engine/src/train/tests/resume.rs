//! A run that was interrupted and resumed equals one that was not, to the byte.

use super::super::storage::simulated::{Fault, Loss, Simulated};
use super::*;

#[test]
fn the_run_uses_what_is_to_be_resumed() {
    let end = unbroken();
    assert_eq!(end.outcome.ended, Ended::Complete);
    assert_eq!((end.outcome.step, end.outcome.epoch, end.outcome.tokens), (21, 3, 120));
    let losses: Vec<f64> = end
        .metrics
        .lines()
        .filter_map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            (line["kind"] == "valid").then(|| line["loss"].as_f64().unwrap())
        })
        .collect();
    assert_eq!(losses.len(), 6, "steps 4, 8, 12, 16, 20 and the end");
    assert!(losses[5] < 0.9 * losses[0], "it learns: {losses:?}");
    assert!(losses.windows(2).any(|w| w[1] > w[0]), "the schedule has something to do: {losses:?}");
    let state: TrainerState = serde_json::from_str(&end.state).unwrap();
    assert!(state.schedule.reductions > 0, "{state:?}");
    assert_eq!(end.samples.lines().filter(|line| line.starts_with("----")).count(), 4);
    assert_eq!(end.metrics.lines().filter(|line| line.contains("\"train\"")).count(), 10);
    assert!(end.carry.len() > 24 && end.optimizer.len() > 2 * 4 * 15);
}

#[test]
fn stopped_after_any_step() {
    let unbroken = unbroken();
    for step in 1..21 {
        let disk = Simulated::new();
        let (outcome, _) = Setup { stop_after: step, ..Setup::new() }.run(&disk).unwrap();
        assert_eq!((outcome.ended, outcome.step), (Ended::Interrupted, step));
        let heard = RefCell::default();
        let resumed = end(Setup { heard: &heard, ..Setup::new() }, &disk).unwrap();
        assert_eq!(resumed, unbroken, "stopped after step {step}");
        assert_eq!(heard.take(), [format!("resumed from {step}")]);
    }
}

#[test]
fn stopped_within_any_evaluation() {
    let unbroken = unbroken();
    for step in [4, 8, 12, 16, 20, 21] {
        let disk = Simulated::new();
        let (outcome, _) = Setup { stop_in_evaluation: step, ..Setup::new() }.run(&disk).unwrap();
        assert_eq!((outcome.ended, outcome.step), (Ended::Interrupted, step));
        assert_eq!(checkpoints(&disk).newest_state().unwrap().unwrap().0.step, step, "what is trained is saved");
        // Once more, and then to the end.
        let again = Setup { stop_in_evaluation: step, ..Setup::new() }.run(&disk).unwrap().0;
        assert_eq!((again.ended, again.step), (Ended::Interrupted, step));
        assert_eq!(end(Setup::new(), &disk).unwrap(), unbroken, "stopped in the evaluation after step {step}");
    }
}

/// Whatever takes long is interrupted by saving: here after every step and after every batch of an evaluation.
#[test]
fn saved_within_evaluations_and_killed() {
    let setup = || {
        let mut setup = Setup::new();
        setup.config.save_minutes = Some(1e-12);
        setup
    };
    let disk = Simulated::new();
    let unbroken = end(setup(), &disk).unwrap();
    assert_eq!(unbroken, super::unbroken());
    let calls = disk.calls();
    for n in (0..calls).step_by(7) {
        let disk = Simulated::new();
        disk.set_fault(Fault::Kill(n));
        let _died = setup().run(&disk);
        let image = disk.after_power_loss(Loss::Everything);
        assert_eq!(end(setup(), &image).unwrap(), unbroken, "killed in call {n} of {calls}");
    }
    assert!(calls > 1500, "{calls} calls: there were checkpoints within evaluations");
}

#[test]
fn a_damaged_text_spoils_no_step_that_is_done() {
    let unbroken = unbroken();
    for step in [1, 2, 5, 8, 21] {
        let disk = Simulated::new();
        let error = Setup { damaged: step, ..Setup::new() }.run(&disk).unwrap_err();
        assert_eq!((error.exit_code(), error.to_string().as_str()), (3, "text: damaged"));
        assert_eq!(checkpoints(&disk).newest_state().unwrap().unwrap().0.step, step - 1);
        assert_eq!(end(Setup::new(), &disk).unwrap(), unbroken, "damaged before step {step}");
    }
}

#[test]
fn a_finished_run_is_not_run_again() {
    let disk = Simulated::new();
    let first = end(Setup::new(), &disk).unwrap();
    assert_eq!(end(Setup::new(), &disk).unwrap(), first);
    let longer = |mut setup: Setup<'static>| {
        setup.config.epochs = Some(4);
        setup
    };
    let extended = end(longer(Setup::new()), &disk).unwrap();
    assert_eq!(extended.outcome.step, 28);
    assert_eq!(extended.params, end(longer(Setup::new()), &Simulated::new()).unwrap().params);
}

/// The process dies in every single call that it makes to the storage, and the run is resumed.
#[test]
fn killed_in_any_call() {
    let unbroken = unbroken();
    let disk = Simulated::new();
    end(Setup::new(), &disk).unwrap();
    let calls = disk.calls();
    let (mut in_checkpoint, mut from_start, mut resumed) = (0, 0, 0);
    for n in 0..calls {
        let disk = Simulated::new();
        disk.set_fault(Fault::Kill(n));
        let _died = Setup::new().run(&disk);
        let images = [disk.after_kill(), disk.after_power_loss(Loss::Everything), disk.after_power_loss(Loss::Bytes)];
        let names = images[0].list(Path::new("out/run/checkpoints")).unwrap_or_default();
        in_checkpoint += u64::from(names.iter().any(|name| name.starts_with(".tmp-0")));
        for (i, image) in images.iter().enumerate() {
            let heard = RefCell::default();
            let again = end(Setup { heard: &heard, ..Setup::new() }, image);
            let again = again.unwrap_or_else(|e| panic!("killed in call {n}, image {i}: {e}"));
            assert_eq!(again, unbroken, "killed in call {n} of {calls}, image {i}");
            for text in heard.take() {
                assert!(
                    text.starts_with("resumed from"),
                    "nothing is damaged by a kill in call {n}, image {i}: {text}"
                );
                resumed += 1;
            }
            from_start += 1;
            let left = image.list(Path::new("out/run/checkpoints")).unwrap();
            assert!(left.iter().all(|name| !name.starts_with('.')), "litter: {left:?}");
        }
    }
    assert!(calls > 200 && in_checkpoint > 100, "{in_checkpoint} of {calls} calls are inside a checkpoint");
    assert!(resumed > 200 && from_start > resumed);
}

#[test]
fn evaluation_does_not_disturb_training() {
    let constant = |valid| {
        let mut setup = Setup { valid, ..Setup::new() };
        setup.config.schedule = Schedule::constant(0.05);
        end(setup, &Simulated::new()).unwrap()
    };
    let (with, without) = (constant(true), constant(false));
    assert_eq!((&with.params, &with.carry), (&without.params, &without.carry));
    assert_ne!(with.metrics, without.metrics);
}

#[test]
fn the_carried_state_is_reset_only_if_asked() {
    let run = |reset_state| {
        let mut setup = Setup::new();
        setup.config.reset_state = reset_state;
        end(setup, &Simulated::new()).unwrap()
    };
    let (reset, carried) = (run(true), run(false));
    assert_ne!(reset.params, carried.params);
    let resumed = |step| {
        let disk = Simulated::new();
        let setup = |stop_after| {
            let mut setup = Setup { stop_after, ..Setup::new() };
            setup.config.reset_state = true;
            setup
        };
        setup(step).run(&disk).unwrap();
        end(setup(u64::MAX), &disk).unwrap()
    };
    for step in [6, 7, 8] {
        assert_eq!(resumed(step), reset, "stopped after step {step}");
    }
}

#[test]
fn another_run_is_refused_by_name() {
    let disk = Simulated::new();
    Setup { stop_after: 5, ..Setup::new() }.run(&disk).unwrap();
    let refused = |change: &dyn Fn(&mut Setup)| {
        let mut setup = Setup::new();
        change(&mut setup);
        let error = setup.run(&disk).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    };
    let message = refused(&|setup| setup.identity.vocabulary = "00cc".into());
    assert!(message.contains("the vocabulary is 00aa in the checkpoint and 00cc now"), "{message}");
    let message = refused(&|setup| setup.identity.corpus = "00dd".into());
    assert!(message.contains("the corpus is 00bb in the checkpoint and 00dd now"), "{message}");
    let message = refused(&|setup| drop(setup.identity.settings.insert("train.batch".into(), "9".into())));
    assert!(message.contains("train.batch is 2 in the checkpoint and 9 now"), "{message}");
    let message = refused(&|setup| setup.config.seed = 12);
    assert!(message.contains("seed is 11 in the checkpoint and 12 now"), "{message}");

    let mut setup = Setup::new();
    setup.config.optimizer.rule = Rule::Momentum { momentum: 0.9 };
    let error = setup.run(&disk).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("optimizer.safetensors has tensors that the model lacks"), "{error}");
}

#[test]
fn another_instruction_set_is_told() {
    let disk = Simulated::new();
    Setup { stop_after: 5, ..Setup::new() }.run(&disk).unwrap();
    let path = checkpoints(&disk).path(5);
    let state = disk.contents(&path.join(checkpoint::STATE)).unwrap();
    let mut other: TrainerState = serde_json::from_slice(&state).unwrap();
    other.isa = "avx2048".into();
    // A new manifest is needed for the changed state: the checkpoint is saved again through the front door.
    let loaded = Toy::new();
    let (weights, optimizer) = (Toy::new(), Optimizer::new(loaded.isa(), config().optimizer, 32));
    let carry = weights.new_state(ROWS);
    let weights: Vec<_> = loaded
        .specs()
        .iter()
        .map(|s| TensorRef { name: s.name.clone(), shape: s.shape.clone(), data: &loaded.params()[s.range.clone()] })
        .collect();
    let snapshot = checkpoint::Snapshot {
        state: &other,
        weights: &weights,
        optimizer: &optimizer.tensors(loaded.specs()),
        carry: &loaded.state_tensors(&carry),
    };
    checkpoints(&disk).save(&snapshot).unwrap();
    let heard = RefCell::default();
    Setup { heard: &heard, ..Setup::new() }.run(&disk).unwrap();
    let heard = heard.take();
    assert!(heard[0].contains("computed with avx2048 and goes on with portable"), "{heard:?}");
}
