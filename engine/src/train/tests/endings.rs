//! How runs end: at the last step, early, diverged; and the run folder on the real file system.

use super::super::storage::Disk;
use super::super::storage::simulated::Simulated;
use super::*;

#[test]
fn a_loss_that_is_not_finite_stops_the_run_at_its_step() {
    let disk = Simulated::new();
    let toy = Toy { bad_loss: Some(11), ..Toy::new() };
    let error = Setup { toy, ..Setup::new() }.run(&disk).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    let error = error.to_string();
    assert!(error.contains("the loss is NaN at step 11"), "{error}");
    assert!(error.contains("layer toy is the first that is not finite"), "{error}");
    assert!(error.contains("the checkpoint of step 9 is the last good one"), "{error}");
    assert_eq!(end(Setup::new(), &disk).unwrap(), unbroken(), "the last good checkpoint is what the run was");
}

#[test]
fn a_gradient_that_is_not_finite_is_named() {
    let disk = Simulated::new();
    let toy = Toy { bad_gradient: Some(10), ..Toy::new() };
    let error = Setup { toy, ..Setup::new() }.run(&disk).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("element 1 of the gradient of toy/bias is inf at step 10"), "{error}");
}

#[test]
fn parameters_that_are_not_finite_are_not_saved() {
    let disk = Simulated::new();
    let mut setup = Setup { valid: false, ..Setup::new() };
    // Finite gradients, and a step from them that is not.
    setup.config.schedule = Schedule::constant(1e39);
    setup.config.optimizer.rule = Rule::Sgd;
    setup.config.save_every = Every::Steps(1);
    let error = setup.run(&disk).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("of toy/kernel is"), "{error}");
    assert_eq!(checkpoints(&disk).steps().unwrap(), [0u64; 0]);
}

#[test]
fn early_stopping_ends_the_run_once() {
    let setup = || {
        let mut setup = Setup::new();
        setup.config.schedule = Schedule::constant(0.5);
        setup.config.early_stop = Some(EarlyStopping { patience: 2, min_delta: 0.0 });
        setup.config.epochs = Some(100);
        setup
    };
    let disk = Simulated::new();
    let first = end(setup(), &disk).unwrap();
    assert_eq!(first.outcome.ended, Ended::EarlyStop);
    assert!(first.outcome.step < 700);
    let best = first.outcome.best.unwrap();
    assert_eq!(best.step, first.outcome.step - 8, "two evaluations, four steps apart, after the best");
    assert_eq!(end(setup(), &disk).unwrap(), first);
}

#[test]
fn smoothed_loss_is_min_char_rnns() {
    let heard = RefCell::new(Vec::new());
    let mut observer = |event: &Event<'_>| {
        if let Event::Step(report) = event {
            heard.borrow_mut().push((report.loss.unwrap() * STEPS as f64, report.smooth_loss));
        }
    };
    let session = Session {
        learner: &mut Toy::new(),
        vocabulary: TOKENS,
        train: &ToyText::new(7),
        valid: None,
        folder: None,
        identity: identity(),
        observer: &mut observer,
        sampler: None,
        measure: None,
        stop: &AtomicBool::new(false),
    };
    let config = TrainConfig { schedule: Schedule::constant(0.1), max_steps: Some(5), ..config() };
    let outcome = Trainer::new(&config, session).unwrap().run().unwrap();
    assert_eq!((outcome.step, outcome.ended), (5, Ended::Complete));
    let mut smooth = 3.0 * 4f64.ln();
    for (loss, reported) in heard.take() {
        smooth = 0.999 * smooth + 0.001 * loss;
        assert!((smooth - reported).abs() < 1e-12, "{smooth} {reported}");
    }
}

#[test]
fn bad_settings_are_named() {
    let message = |change: &dyn Fn(&mut TrainConfig)| {
        let mut setup = Setup::new();
        change(&mut setup.config);
        let error = setup.run(&Simulated::new()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    };
    assert!(message(&|c| c.epochs = None).contains("training would never end"));
    assert!(message(&|c| c.save_every = Every::Steps(0)).contains("train.save_every: must be at least 1"));
    assert!(message(&|c| c.save_minutes = Some(0.0)).contains("train.save_minutes"));
    assert!(message(&|c| c.optimizer.clip_norm = Some(-1.0)).contains("optimizer.clip_norm"));
    assert!(message(&|c| c.optimizer.clip_value = Some(f32::NAN)).contains("optimizer.clip_value"));
    assert!(message(&|c| c.schedule.lr = 0.0).contains("optimizer.lr"));
}

#[test]
fn a_run_folder_on_the_real_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/run");
    let storage = || Rc::new(Disk) as Rc<dyn Storage>;
    let files: [(&str, &[u8]); 2] = [(CONFIG, b"x = 1\n"), (VOCABULARY, b"abcd")];
    let train = |folder: &RunFolder, stop: &AtomicBool| {
        let mut toy = Toy::new();
        let session = Session {
            learner: &mut toy,
            vocabulary: TOKENS,
            train: &ToyText::new(7),
            valid: Some(&ToyText::new(3)),
            folder: Some(folder),
            identity: identity(),
            observer: &mut NoObserver,
            sampler: None,
            measure: None,
            stop,
        };
        let outcome = Trainer::new(&config(), session).unwrap().run().unwrap();
        (outcome, toy)
    };

    let not_a_run = RunFolder::resume(storage(), &path).err().unwrap();
    assert!(not_a_run.to_string().contains("is not a run"), "{not_a_run}");
    let folder = RunFolder::create(storage(), &path, &files).unwrap();
    let locked = RunFolder::resume(storage(), &path).err().unwrap();
    assert!(locked.to_string().contains("another process is training"), "{locked}");
    let (outcome, _) = train(&folder, &AtomicBool::new(true));
    assert_eq!((outcome.ended, outcome.step), (Ended::Interrupted, 0));
    drop(folder);

    let again = RunFolder::create(storage(), &path, &files).err().unwrap();
    assert!(again.to_string().contains("is already a run (resume it with --resume"), "{again}");
    assert_eq!(again.exit_code(), 2);
    std::fs::create_dir(path.join("checkpoints/.tmp-00000009-1-0")).unwrap();
    std::fs::write(path.join("checkpoints/.tmp-00000009-1-0/state.json"), "x").unwrap();
    std::fs::write(path.join(".tmp-metrics.jsonl-1-0"), "x").unwrap();
    let folder = RunFolder::resume(storage(), &path).unwrap();
    assert!(!path.join("checkpoints/.tmp-00000009-1-0").exists() && !path.join(".tmp-metrics.jsonl-1-0").exists());
    let (outcome, toy) = train(&folder, &AtomicBool::new(false));
    assert_eq!(outcome.step, 21);
    let unbroken = unbroken();
    assert_eq!(std::fs::read_to_string(path.join(METRICS)).unwrap(), unbroken.metrics);

    let specs: Vec<_> =
        toy.specs().iter().map(|s| TensorSpec { name: s.name.clone(), shape: s.shape.clone() }).collect();
    let best = outcome.best.unwrap().step;
    let step = |path: &Path, which| find(storage(), path, which).map(|found| found.step);
    assert_eq!(step(&path, CheckpointChoice::Newest).unwrap(), 21);
    assert_eq!(step(&path, CheckpointChoice::Best).unwrap(), best);
    assert_eq!(step(&path.join("checkpoints/step-00000018"), CheckpointChoice::Best).unwrap(), 18);
    let missing = step(&path, CheckpointChoice::Step(1)).unwrap_err().to_string();
    assert!(missing.contains("there is no checkpoint of step 1 (the steps with checkpoints are"), "{missing}");
    assert!(
        step(dir.path(), CheckpointChoice::Best)
            .unwrap_err()
            .to_string()
            .contains("there is no checkpoint (name a run")
    );
    let FoundCheckpoint { checkpoints, step: newest, .. } = find(storage(), &path, CheckpointChoice::Newest).unwrap();
    let weights = checkpoints.load_weights(newest, &specs).unwrap();
    let mut bias = [0.0; UNITS];
    weights.copy("toy/bias", &mut bias).unwrap();
    assert_eq!(bias, toy.params()[16..19]);
}
