//! Whole runs of a toy learner: small enough that every call of the storage can be made to fail in turn.

mod average;
mod damage;
mod endings;
mod factors;
mod faults;
mod network;
mod resume;

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use unroll_kernels::Isa;

use super::storage::Storage;
use super::storage::simulated::Simulated;
use super::*;
use crate::gradient::GradientRef;
use crate::graph::{Initializer, ParamSpec, Role};
use crate::random::{Key, Purpose};
use crate::{Error, Result};

const STEPS: usize = 3;
const ROWS: usize = 2;
const UNITS: usize = 3;
const TOKENS: usize = 4;

/// h = h / 2 + w[x]; the loss is half the squared distance of a randomly masked h + b to a point that belongs to the
/// target. It has what matters here: parameters with gaps between them, a carried state, and random numbers by step.
pub(super) struct Toy {
    specs: Vec<ParamSpec>,
    params: Vec<f32>,
    grads: Vec<f32>,
    /// The step whose loss, or the gradient of whose first parameter, is not finite.
    pub(super) bad_loss: Option<u64>,
    pub(super) bad_gradient: Option<u64>,
}

impl Toy {
    pub(super) fn new() -> Self {
        let spec = |name: &str, shape: &[usize], start: usize| ParamSpec {
            name: name.into(),
            role: Role::Kernel,
            shape: shape.into(),
            range: start..start + shape.iter().product::<usize>(),
            initializer: Initializer::Zeros,
            ones: None,
        };
        let specs = vec![spec("toy/kernel", &[TOKENS, UNITS], 0), spec("toy/bias", &[UNITS], 16)];
        let mut params = vec![0.0; 32];
        for (i, p) in params[..12].iter_mut().enumerate() {
            *p = Key::new(5, Purpose::Init).uniform(i as u64) - 0.5;
        }
        Self { specs, params, grads: vec![0.0; 32], bad_loss: None, bad_gradient: None }
    }

    fn run(&mut self, batch: &Batch, h: &mut [f32], step: Option<u64>) -> LossSum {
        let mut loss = LossSum::default();
        self.grads.fill(0.0);
        for (i, (&x, &y)) in batch.inputs.iter().zip(batch.targets).enumerate() {
            let row = i % batch.rows;
            for j in 0..UNITS {
                let h = &mut h[row * UNITS + j];
                *h = 0.5 * *h + self.params[x as usize * UNITS + j];
                let mask = match step {
                    Some(step) => Key::new(7, Purpose::Dropout).step(step).uniform((i * UNITS + j) as u64) + 0.5,
                    None => 1.0,
                };
                let error = *h * mask + self.params[16 + j] - 0.3 * (y as f32 - j as f32);
                loss.nats += 0.5 * f64::from(error) * f64::from(error);
                self.grads[x as usize * UNITS + j] += error * mask;
                self.grads[16 + j] += error;
            }
            loss.count += 1;
        }
        loss
    }
}

pub(super) struct ToyState(Vec<f32>, usize);

impl Learner for Toy {
    type State = ToyState;

    fn specs(&self) -> &[ParamSpec] {
        &self.specs
    }
    fn arenas(&mut self) -> (&mut [f32], GradientRef<'_>) {
        (&mut self.params, self.grads[..].into())
    }
    fn params(&self) -> &[f32] {
        &self.params
    }
    fn isa(&self) -> Isa {
        Isa::from_name("portable").expect("always there")
    }
    fn new_state(&self, rows: usize) -> ToyState {
        ToyState(vec![0.0; rows * UNITS], rows)
    }
    fn reset(&self, state: &mut ToyState) {
        state.0.fill(0.0);
    }
    fn state_tensors<'s>(&self, state: &'s ToyState) -> Vec<TensorRef<'s>> {
        vec![TensorRef { name: "toy/h".into(), shape: vec![state.1, UNITS], data: &state.0 }]
    }
    fn state_tensor_mut<'s>(&self, state: &'s mut ToyState, name: &str) -> Option<&'s mut [f32]> {
        (name == "toy/h").then_some(&mut state.0)
    }
    fn train_step(&mut self, batch: &Batch, state: &mut ToyState, step: u64) -> Result<LossSum> {
        let mut loss = self.run(batch, &mut state.0, Some(step));
        if self.bad_loss == Some(step) {
            loss.nats = f64::NAN;
        }
        if self.bad_gradient == Some(step) {
            self.grads[17] = f32::INFINITY;
        }
        Ok(loss)
    }
    fn evaluate(&mut self, batch: &Batch, state: &mut ToyState) -> Result<LossSum> {
        Ok(self.run(batch, &mut state.0, None))
    }
    fn first_non_finite_layer(&self) -> Option<String> {
        Some("toy".into())
    }
}

/// Seven batches of a sequence that repeats itself.
pub(super) struct ToyText<'a> {
    pub(super) seed: u64,
    pub(super) batches: u64,
    /// Happens when a batch is asked for.
    pub(super) on_batch: &'a dyn Fn(u64) -> Result<()>,
}

impl ToyText<'_> {
    pub(super) fn new(batches: u64) -> ToyText<'static> {
        ToyText { seed: 1, batches, on_batch: &|_| Ok(()) }
    }
}

impl Batches for ToyText<'_> {
    fn batches(&self) -> u64 {
        self.batches
    }
    fn steps(&self) -> usize {
        STEPS
    }
    fn rows(&self) -> usize {
        ROWS
    }
    fn batch(&self, _epoch: u64, index: u64, inputs: &mut [u32], targets: &mut [u32]) -> Result<usize> {
        (self.on_batch)(index)?;
        let token = |i: u64| Key::new(self.seed, Purpose::Source).word(i) % TOKENS as u32;
        for (i, (x, y)) in inputs.iter_mut().zip(targets).enumerate() {
            let (t, n) = (i / ROWS, i % ROWS);
            let at = n as u64 * 1000 + index * STEPS as u64 + t as u64;
            (*x, *y) = (token(at), token(at + 1));
        }
        // The last batch of an epoch is shorter.
        Ok(if index + 1 == self.batches { STEPS - 1 } else { STEPS })
    }
}

/// A run that uses everything: Adam, clipping by norm, a schedule that remembers, evaluations, samples.
pub(super) fn config() -> TrainConfig {
    let kind = ScheduleKind::Plateau { factor: 0.5, patience: 1, min_delta: 0.01 };
    TrainConfig {
        seed: 11,
        epochs: Some(3),
        max_steps: None,
        schedule: Schedule { lr: 0.05, kind, min_lr: 0.001, warmup_steps: 4 },
        optimizer: OptimizerOptions {
            clip_norm: Some(0.5),
            ..OptimizerOptions::new(Rule::Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 })
        },
        reset_state: false,
        log_every: 2,
        eval_every: Every::Steps(4),
        sample_every: 5,
        save_every: Every::Steps(3),
        save_minutes: None,
        early_stop: None,
        best_by: None,
    }
}

pub(super) fn identity() -> Identity {
    let settings = [("train.batch".to_owned(), ROWS.to_string())].into();
    Identity { settings, vocabulary: "00aa".into(), corpus: "00bb".into(), ..Identity::default() }
}

/// What a run ends in: everything that must be equal to the bit.
#[derive(Debug, PartialEq, Clone)]
pub(super) struct End {
    pub(super) outcome: Outcome,
    pub(super) params: Vec<u32>,
    /// Of the last checkpoint.
    pub(super) weights: Vec<u8>,
    pub(super) optimizer: Vec<u8>,
    pub(super) carry: Vec<u8>,
    pub(super) state: String,
    pub(super) metrics: String,
    pub(super) samples: String,
}

/// How a session is run.
pub(super) struct Setup<'a> {
    pub(super) config: TrainConfig,
    pub(super) identity: Identity,
    pub(super) toy: Toy,
    pub(super) valid: bool,
    /// The session is told to stop after this step.
    pub(super) stop_after: u64,
    /// The session is told to stop within the evaluation after this step.
    pub(super) stop_in_evaluation: u64,
    /// The step whose text turns out to be damaged.
    pub(super) damaged: u64,
    /// What was told.
    pub(super) heard: &'a RefCell<Vec<String>>,
}

thread_local! {
    static NOBODY: &'static RefCell<Vec<String>> = Box::leak(Box::default());
}

impl Setup<'_> {
    pub(super) fn new() -> Setup<'static> {
        Setup {
            config: config(),
            identity: identity(),
            toy: Toy::new(),
            valid: true,
            stop_after: u64::MAX,
            stop_in_evaluation: u64::MAX,
            damaged: u64::MAX,
            heard: NOBODY.with(|n| *n),
        }
    }

    /// Begins the run in `run` of the disk, or goes on with it.
    pub(super) fn run(mut self, disk: &Simulated) -> Result<(Outcome, Vec<u32>)> {
        let storage: Rc<dyn Storage> = Rc::new(disk.clone());
        let path = Path::new("out/run");
        let folder = if is_run(&*storage, path)? {
            RunFolder::resume(storage, path)?
        } else {
            RunFolder::create(storage, path, &[(CONFIG, b"x = 1\n"), (VOCABULARY, b"abcd")])?
        };
        let (stop, done) = (AtomicBool::new(false), Cell::new(0));
        let (after, heard) = (self.stop_after, self.heard);
        let mut observer = |event: &Event<'_>| match event {
            Event::Step(report) => {
                done.set(report.step);
                stop.fetch_or(report.step >= after, Ordering::Relaxed);
            }
            Event::Notice(text) => heard.borrow_mut().push((*text).to_owned()),
            Event::SaveFailed { step, error, in_a_row } => {
                heard.borrow_mut().push(format!("{step}: failure {in_a_row}: {error}"));
            }
            Event::Started(start) if start.resumed => {
                done.set(start.resumed_from);
                heard.borrow_mut().push(format!("resumed from {}", start.resumed_from));
            }
            _ => {}
        };
        let mut sampler = |toy: &mut Toy, _: &_, step: u64| Ok(format!("{:08x} at {step}", toy.params[0].to_bits()));
        let on_valid = |index| {
            stop.fetch_or(index == 1 && done.get() == self.stop_in_evaluation, Ordering::Relaxed);
            Ok(())
        };
        let on_train = |_| match done.get() + 1 == self.damaged {
            true => Err(Error::input("text", "damaged")),
            false => Ok(()),
        };
        let valid = ToyText { on_batch: &on_valid, ..ToyText::new(3) };
        let session = Session {
            learner: &mut self.toy,
            vocabulary: TOKENS,
            train: &ToyText { on_batch: &on_train, ..ToyText::new(7) },
            valid: self.valid.then_some(&valid as &dyn Batches),
            folder: Some(&folder),
            identity: self.identity.clone(),
            observer: &mut observer,
            sampler: Some(&mut sampler),
            measure: None,
            stop: &stop,
        };
        let outcome = Trainer::new(&self.config, session)?.run()?;
        Ok((outcome, self.toy.params.iter().map(|p| p.to_bits()).collect()))
    }
}

pub(super) fn checkpoints(disk: &Simulated) -> Checkpoints {
    Checkpoints::new(Rc::new(disk.clone()), "out/run/checkpoints")
}

/// Runs to the end and collects what it ends in.
pub(super) fn end(setup: Setup, disk: &Simulated) -> Result<End> {
    let (outcome, params) = setup.run(disk)?;
    let step = outcome.step;
    let file = |name: &str| {
        let path = checkpoints(disk).path(step).join(name);
        disk.contents(&path).ok_or_else(|| Error::run(format!("{} is missing", path.display())))
    };
    let text = |name: &str| {
        let contents = disk.contents(&Path::new("out/run").join(name)).unwrap_or_default();
        String::from_utf8(contents).expect("text")
    };
    Ok(End {
        params,
        weights: file(checkpoint::WEIGHTS)?,
        optimizer: file(checkpoint::OPTIMIZER)?,
        carry: file(checkpoint::CARRY)?,
        state: String::from_utf8(file(checkpoint::STATE)?).expect("text"),
        metrics: text(METRICS),
        samples: text(SAMPLES),
        outcome,
    })
}

/// The end of a run that nothing disturbs.
pub(super) fn unbroken() -> End {
    end(Setup::new(), &Simulated::new()).expect("an undisturbed run")
}
