//! `unroll train` of labelled samples.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde_json::json;
use unroll::config::{RunConfig, TaskConfig, TaskKind, VALID_SAMPLES};
use unroll::error::{Error, Result};
use unroll::graph::Graph;
use unroll::labels::{BatchOptions, Encoder, Labels, LeftOut, Part, SampleBatches, TASK, predict};
use unroll::network::{Network, NetworkOptions, Room, require_memory};
use unroll::report::{argument, bytes, count, duration};
use unroll::run::{
    Decision, LABELLED_LOSS, Labelled, check_vectors, config_file, labelled_graph, load_weights, make_absolute,
    rewrite_config, sample_batches,
};
use unroll::text::Level;
use unroll::train::storage::{Storage, replace_file};
use unroll::train::{
    Batches, CONFIG, CheckpointChoice, Ended, Figures, Optimizer, RunFolder, Session, TrainConfig, Trainer,
};

use super::{NewFolder, REST, Train, ended, further, tell};
use crate::scores::{Measuring, Scores, check_best_by, left_out_lines};
use crate::show::{Show, Unit, plural, warn};

/// A labelled run before it starts.
struct Prepared {
    config: RunConfig,
    task: TaskConfig,
    data: Labelled,
    graph: Graph,
    network: Network,
    settings: TrainConfig,
    /// How evaluation samples become batches.
    scoring: BatchOptions,
}

impl Train {
    /// Starts a run on labelled samples; returns the figures of its test.
    pub(super) fn begin_labelled(
        &self,
        mut config: RunConfig,
        folder: NewFolder,
        storage: Rc<dyn Storage>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Figures> {
        make_absolute(&mut config.data)?;
        let mut prepared = self.prepare_labelled(config, stop)?;
        self.initial_weights(&mut prepared.network)?;
        let (task, config) = (prepared.data.encoder.to_json()?, config_file(&prepared.config)?.into_bytes());
        let run = folder.begin(&[(TASK, task.as_slice()), (CONFIG, config.as_slice())])?;
        self.train_labelled(&mut prepared, &run, storage, stop)
    }

    /// Resumes a run on labelled samples.
    pub(super) fn resume_labelled(
        &self,
        config: RunConfig,
        run: &RunFolder,
        storage: Rc<dyn Storage>,
        stop: &Arc<AtomicBool>,
    ) -> Result<Figures> {
        let mut prepared = self.prepare_labelled(config, stop)?;
        self.train_labelled(&mut prepared, run, storage, stop)
    }

    fn prepare_labelled(&self, config: RunConfig, stop: &AtomicBool) -> Result<Prepared> {
        let Some(task) = config.task.clone() else { return Err(Error::run("the run has no task")) };
        let data = Labelled::read(&config, &task, Some(stop))?;
        let graph = labelled_graph(&config, &data.encoder)?;
        data.check_threshold(&task)?;
        let mend = |found| format!("set width = {found}, or give other data");
        check_vectors(&graph, &data.train, data.first.as_ref(), mend)?;
        check_best_by(&config, &data.encoder, !data.valid.is_empty())?;
        let rows = config.train.batch.max(config.eval_rows());
        let scoring = sample_batches(&graph, &task, config.eval_rows(), data.longest());
        let batches = data.train.len().div_ceil(config.train.batch) as u64;
        let settings = config.train_config(|epochs| epochs.saturating_mul(batches));
        check_settings(&settings, &config, !data.valid.is_empty())?;
        let options = NetworkOptions {
            threads: self.threads()?,
            precision: config.train.precision.into(),
            // A caption that is searched may become longer than any that was read.
            steps: scoring.steps.max(Measuring::steps(&data.encoder)),
            source_steps: data.longest_source(scoring),
            rows,
            seed: config.seed,
            loss_scale: LABELLED_LOSS,
            class_weights: data.class_weights(&task)?,
            pin: self.pin,
            home: self.home(),
            no_fuse: self.no_fuse.clone(),
            ..NetworkOptions::default()
        };
        let slots = Optimizer::bytes(&settings.optimizer, graph.arena());
        let slots = if options.home.is_memory() { slots } else { 0 };
        require_memory("training this model", Network::room(&graph, &options)? + Room::from(slots + REST))?;
        let network = Network::new(&graph, options)?;
        Ok(Prepared { config, task, data, graph, network, settings, scoring })
    }

    /// What is chosen on the validation samples.
    fn decide(
        &self,
        task: &TaskConfig,
        data: &Labelled,
        network: &mut Network,
        scoring: BatchOptions,
    ) -> Result<Decision> {
        if task.kind != TaskKind::Classify {
            return Ok(Decision::default());
        }
        let predictions = predict(network, &data.encoder, &data.valid, scoring)?;
        Ok(Decision::choose(task, &data.valid, &predictions))
    }

    fn train_labelled(
        &self,
        prepared: &mut Prepared,
        run: &RunFolder,
        storage: Rc<dyn Storage>,
        stop: &AtomicBool,
    ) -> Result<Figures> {
        let start = Instant::now();
        let lines = introduction(prepared);
        if self.profile {
            prepared.network.start_profile();
        }
        let Prepared { config, task, data, graph, network, settings, scoring } = prepared;
        let encoder = &data.encoder;
        let measuring = Measuring { encoder, batches: *scoring, beam: 1, length_power: 0.0 };
        let scoring = *scoring;
        let train = data.train_batches(config, task, scoring);
        let valid = SampleBatches::new(&data.valid, encoder, scoring);
        let last_step = settings.last_step(|epochs| train.batches_of(epochs));
        let mut show = Show::new(config, graph, unit(task), last_step, self.json);
        lines.iter().for_each(|line| show.line(line));
        let mut measure =
            |network: &mut Network| Ok(measuring.scores(network, &data.valid, &Decision::default())?.figures());
        let session = Session {
            learner: &mut *network,
            vocabulary: graph.classes(),
            train: &train,
            valid: (!data.valid.is_empty()).then_some(&valid as &dyn Batches),
            folder: Some(run),
            identity: data.identity(config, graph)?,
            observer: &mut show,
            sampler: None,
            measure: Some(&mut measure),
            stop,
        };
        let trainer = Trainer::new(settings, session)?;
        rewrite_config(&*storage, run.path(), config)?;
        let file = run.path().join(TASK);
        replace_file(&*storage, &file, &encoder.to_json()?).map_err(|error| Error::write(&file, error))?;
        let outcome = trainer.run()?;
        show.finish();
        let path = argument(run.path());
        ended(&mut show, network.take_profile(), &outcome, run, graph)?;
        load_weights(Rc::clone(&storage), run.path(), CheckpointChoice::Best, graph, network.params_mut(), &mut warn)?;
        let why = if outcome.ended == Ended::EarlyStop { "stopped early" } else { "trained" };
        let (steps, took) = (count(outcome.step), duration(start.elapsed()));
        show.line(&format!("{why}: {steps} steps, {} epochs in {took}", outcome.epoch));
        if let Some(best) = outcome.best {
            let by = config.train.best_by.as_ref().map_or_else(String::new, |name| format!(" (chosen by {name})"));
            show.line(&format!("best validation loss {:.4} nats after step {}{by}", best.loss, count(best.step)));
            show.object(&json!({ "event": "best", "step": best.step, "loss": best.loss }));
        }
        let decision = self.decide(task, data, network, scoring)?;
        decision.write(&*storage, run.path())?;
        for (o, labels) in encoder.outputs().iter().enumerate() {
            if let [_, second] = labels.classes.as_slice() {
                show.line(&format!("`{second}` from probability {:.4} on", decision.of(o)));
            }
        }
        let mut figures = Figures::new();
        for (name, samples, part) in [("validation", &data.valid, Part::Valid), ("test", &data.test, Part::Test)] {
            if !samples.is_empty() {
                let scores = measuring.scores(network, samples, &decision)?;
                tell(&mut show, (name, encoder.prepare().level()), &scores, data.left_out[part as usize]);
                figures = scores.figures();
            }
        }
        show.line(&format!("\nThe run is in {}. Next:", run.path().display()));
        show.line(&format!("  {}", use_of(task.kind, encoder.is_of_arrays(), &path)));
        show.line(&format!("  unroll train --resume {path} {}", further(config, &outcome)));
        show.object(&json!({
            "event": "finished", "run": run.path(), "step": outcome.step, "threshold": decision.threshold,
        }));
        show.result().map(|()| figures)
    }
}

/// Checks the settings. Where they need a validation loss and no sample is held out, the error says why there is none.
fn check_settings(settings: &TrainConfig, config: &RunConfig, validates: bool) -> Result<()> {
    let share = config.data.valid_fraction.unwrap_or(VALID_SAMPLES);
    settings.check(validates).map_err(|error| match settings.check(true) {
        Ok(()) if share > 0.0 => error.mend(format!(
            "a fraction of {share} holds out none of these samples: set data.valid_fraction, or give --valid FILE"
        )),
        Ok(()) => error.mend("hold samples out by data.valid_fraction, or give --valid FILE"),
        Err(_) => error,
    })
}

/// The command that uses a run.
fn use_of(kind: TaskKind, arrays: bool, path: &str) -> String {
    match kind {
        TaskKind::Classify | TaskKind::Tag if arrays => format!("unroll predict {path} --array FILE.npy"),
        TaskKind::Classify | TaskKind::Tag => format!("unroll predict {path} --text \"...\""),
        TaskKind::Next => format!("unroll generate {path} --prompt \"...\" --length 10 --temperature 0"),
        TaskKind::Caption => format!("unroll predict {path} --vectors FILE --beam 4"),
        TaskKind::Translate => format!("unroll predict {path} --text \"...\" --beam 4"),
    }
}

/// What is counted.
fn unit(task: &TaskConfig) -> Unit {
    match task.kind {
        TaskKind::Classify => Unit::Texts,
        TaskKind::Tag => Unit::Tags,
        TaskKind::Next | TaskKind::Caption | TaskKind::Translate if task.prepare.char_level => {
            Unit::Tokens(Level::Char)
        }
        TaskKind::Next | TaskKind::Caption | TaskKind::Translate => Unit::Words,
    }
}

fn tell(show: &mut Show, (name, level): (&str, Level), scores: &Scores, left_out: LeftOut) {
    scores.lines(name).iter().chain(&left_out_lines(name, left_out, level)).for_each(|line| show.line(line));
    let mut object = scores.json();
    object["left_out"] = json!(left_out);
    object["event"] = "scored".into();
    object["data"] = name.into();
    show.object(&object);
}

/// What tokens there are.
fn known(encoder: &Encoder) -> String {
    match (encoder.is_of_arrays(), encoder.has_tokens()) {
        (false, _) => format!("{} {}", count(encoder.words().len() as u64), plural(encoder.prepare().level())),
        (true, true) => format!("token ids below {}", count(encoder.vocabulary() as u64)),
        (true, false) => "numbers".to_owned(),
    }
}

/// The classes of an output.
fn shown_classes(encoder: &Encoder, o: usize) -> String {
    let Labels { name, classes } = &encoder.outputs()[o];
    let name = if name.is_empty() { "classes" } else { name };
    if encoder.is_number(o) {
        return format!("{name}: numbers; ");
    }
    let shown = classes.iter().take(20).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if classes.len() > 20 { ", ..." } else { "" };
    if classes.is_empty() { String::new() } else { format!("{name}: {shown}{more}; ") }
}

/// What is trained on what.
fn introduction(prepared: &Prepared) -> Vec<String> {
    let Prepared { config, data, graph, network, .. } = prepared;
    let layers: Vec<String> = graph.rows().iter().skip(1).map(|row| format!("{} ({})", row.name, row.class)).collect();
    let memory = Network::bytes(graph, network.options()).map_or_else(|_| String::new(), |n| format!(", {}", bytes(n)));
    let options = network.options();
    let classes: String = (0..data.encoder.outputs().len()).map(|o| shown_classes(&data.encoder, o)).collect();
    let [train, valid, test] = [&data.train, &data.valid, &data.test].map(|samples| count(samples.len() as u64));
    let mut lines = vec![format!("samples: {train} to train on, {valid} to validate, {test} to test")];
    let parts = ["training", "validation", "test"].into_iter().zip(data.left_out);
    let level = data.encoder.prepare().level();
    lines.extend(parts.flat_map(|(name, left_out)| left_out_lines(name, left_out, level)));
    lines.extend([
        format!("{classes}{}", known(&data.encoder)),
        format!("model: {}, {} parameters{memory}", layers.join(" > "), count(graph.parameter_count())),
    ]);
    lines.extend(tell::heads(graph, config));
    lines.push(format!(
        "batch: {} samples, {}, {} threads, {}",
        config.train.batch, options.precision, options.threads, options.isa
    ));
    lines
}
