//! `unroll train`: from a text to a trained model.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use unroll::config::{Origins, RunConfig};
use unroll::corpus::{Streams, install_sigbus_handler};
use unroll::error::{Error, Result};
use unroll::eval::{Score, evaluate};
use unroll::generate::{Request, Sampler, UnknownInPrompt, encode_prompt, generate};
use unroll::graph::Graph;
use unroll::network::{Network, NetworkOptions};
use unroll::recipes;
use unroll::report::{bytes, count, duration, visible};
use unroll::run::{
    Reading, Speaker, Texts, config_file, identity, load_weights, read_initial_weights, rewrite_config, settle,
};
use unroll::train::storage::{Disk, Storage};
use unroll::train::{CONFIG, RunFolder, VOCABULARY, Which, is_run};
use unroll::train::{Ended, Outcome, Session, Trainer};

use crate::interrupt;
use crate::options::Configuration;
use crate::show::{Show, in_units};

/// Trains a model on a text, evaluates it and lets it write a sample.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll train                                     a first model, on an embedded text\n  \
    unroll train --data input.txt --out runs/plays   characters of your own text\n  \
    unroll train --recipe char-rnn --data input.txt  Karpathy's char-rnn as he published it\n  \
    unroll train --recipe zaremba-small --data ptb.train.txt --valid ptb.valid.txt --test ptb.test.txt\n  \
    unroll train --resume runs/plays --epochs 100    go on where the run stopped")]
pub(crate) struct Train {
    #[command(flatten)]
    configuration: Configuration,
    /// The folder of the run [default: runs/1, or the next number that is free]
    #[arg(long, value_name = "RUN", visible_alias = "save", help_heading = "Run")]
    out: Option<PathBuf>,
    /// Goes on with an earlier run, to the bytes that it would have reached unbroken
    #[arg(long, value_name = "RUN", visible_alias = "init-from", conflicts_with_all = ["out", "recipe", "config", "init_weights"], help_heading = "Run")]
    resume: Option<PathBuf>,
    /// Begins with the parameters of this file, by their names
    #[arg(long, value_name = "FILE.safetensors", help_heading = "Run")]
    init_weights: Option<PathBuf>,
    /// Threads [default: all cores]; the result does not depend on it
    #[arg(long, value_name = "N", help_heading = "Run")]
    threads: Option<usize>,
    /// Switches a fusion off; may be repeated
    #[arg(long, value_name = "NAME", help_heading = "Run")]
    no_fuse: Vec<String>,
    /// JSON lines instead of text
    #[arg(long, help_heading = "Run")]
    json: bool,
}

/// What a run is made of before it starts.
struct Prepared {
    config: RunConfig,
    texts: Texts,
    graph: Graph,
    network: Network,
    train: Streams<unroll::run::Tokens>,
    valid: Option<Streams<unroll::run::Tokens>>,
}

impl Train {
    pub(crate) fn run(self) -> Result<()> {
        install_sigbus_handler()?;
        let stop = interrupt::flag()?;
        match self.resume.clone() {
            Some(run) => self.resume(&run, &stop),
            None => self.begin(&stop),
        }
    }

    fn begin(&self, stop: &Arc<AtomicBool>) -> Result<()> {
        let configuration = &self.configuration;
        let first =
            configuration.recipe.is_none() && configuration.file.is_none() && !configuration.gives("data.train");
        let (mut config, _) = configuration.resolve(|resolver| match first {
            true => recipes::find(recipes::FIRST).and_then(|recipe| resolver.recipe(recipe.name, recipe.text)),
            false => Ok(()),
        })?;
        settle(&mut config.data)?;
        let path = match &self.out {
            Some(path) => path.clone(),
            None => free_run(),
        };
        if is_run(&Disk, &path)? {
            return Err(Error::option("--out", format!("{} is already a run", path.display())).mend(format!(
                "go on with it by `unroll train --resume {}`, or choose another folder",
                path.display()
            )));
        }
        let mut folder = NewFolder::make(&path)?;
        let reading = Reading { folder: &path, threads: self.threads()?, progress: None, cancel: Some(stop) };
        let texts = Texts::read(&config, reading)?;
        let mut prepared = self.prepare(config, texts)?;
        if let Some(file) = &self.init_weights {
            read_initial_weights(file, &prepared.graph, prepared.network.params_mut())?;
        }
        let storage: Rc<dyn Storage> = Rc::new(Disk);
        let files = [
            (VOCABULARY, prepared.texts.tokenizer.vocabulary().to_file().into_bytes()),
            (CONFIG, config_file(&prepared.config)?.into_bytes()),
        ];
        let files = files.each_ref().map(|(name, contents)| (*name, contents.as_slice()));
        let run = RunFolder::create(Rc::clone(&storage), &path, &files)?;
        folder.keep();
        self.train(&mut prepared, &run, storage, stop)
    }

    fn resume(&self, path: &Path, stop: &Arc<AtomicBool>) -> Result<()> {
        let storage: Rc<dyn Storage> = Rc::new(Disk);
        let run = RunFolder::resume(Rc::clone(&storage), path)?;
        let file = path.join(CONFIG);
        let (config, origins) = self.configuration.resolve(|resolver| resolver.file(&file))?;
        refuse_other_texts(&origins)?;
        let texts = Texts::open(&config, path)?;
        let mut prepared = self.prepare(config, texts)?;
        self.train(&mut prepared, &run, storage, stop)
    }

    fn threads(&self) -> Result<usize> {
        threads(self.threads)
    }

    fn prepare(&self, config: RunConfig, texts: Texts) -> Result<Prepared> {
        let graph = Graph::new(&config.model.graph(), texts.tokenizer.vocabulary().len())?;
        let (train, valid) = texts.streams(&config)?;
        let options = NetworkOptions {
            threads: self.threads()?,
            replicas: config.train.replicas,
            steps: config.train.steps,
            rows: config.train.batch.max(config.eval_rows()),
            seed: config.seed,
            training: true,
            loss_scale: config.loss_scale(),
            no_fuse: self.no_fuse.clone(),
            ..NetworkOptions::default()
        };
        let network = Network::new(&graph, options)?;
        Ok(Prepared { config, texts, graph, network, train, valid })
    }

    fn train(
        &self,
        prepared: &mut Prepared,
        run: &RunFolder,
        storage: Rc<dyn Storage>,
        stop: &AtomicBool,
    ) -> Result<()> {
        let Prepared { config, texts, graph, network, train, valid } = prepared;
        let start = Instant::now();
        let settings = config.train_config(train.batches());
        let level = texts.tokenizer.options().level;
        let mut show = Show::new(config, level, settings.last_step(train.batches()), self.json);
        for line in introduction(config, texts, graph, network) {
            show.line(&line);
        }
        let prompt = encode_prompt(&texts.tokenizer, &config.sample.prompt, UnknownInPrompt::Refuse)?;
        let mut sampler = Sampler::new(config.sample.sampling())?;
        let mut speaker = Speaker::new(graph, 1, network.options().isa)?;
        let tokenizer = &texts.tokenizer;
        let (length, seed) = (config.sample.length, config.seed);
        let mut write = |params: &[f32], sample: usize| -> Result<String> {
            speaker.params_mut().copy_from_slice(params);
            let request = Request { prompt: &prompt, length, stop: None, seed, sample };
            let mut text = config.sample.prompt.clone();
            generate(&mut speaker, tokenizer, &mut sampler, &request, |part| {
                text.push_str(part);
                Ok(true)
            })?;
            Ok(text)
        };
        let mut sample = |network: &mut Network, step: u64| write(network.params(), step as usize);
        let session = Session {
            learner: &mut *network,
            vocabulary: graph.vocabulary(),
            train: &*train,
            valid: valid.as_ref().map(|valid| valid as &dyn unroll::train::Batches),
            folder: Some(run),
            identity: identity(config, texts)?,
            observer: &mut show,
            sampler: Some(&mut sample),
            stop,
        };
        let trainer = Trainer::new(&settings, session)?;
        // What was changed on resuming holds for the next time too.
        rewrite_config(&*storage, run.path(), config)?;
        let outcome = trainer.run()?;
        show.finish();
        let path = run.path().display();
        if outcome.ended == Ended::Interrupted {
            return Err(Error::interrupted(format!("interrupted after step {}; everything is saved", outcome.step))
                .mend(format!("go on with: unroll train --resume {path}")));
        }
        load_weights(storage, run.path(), Which::Best, graph, network.params_mut())?;
        let took = duration(start.elapsed());
        let why = if outcome.ended == Ended::EarlyStop { "stopped early" } else { "trained" };
        let (steps, tokens) = (count(outcome.step), count(outcome.tokens));
        show.line(&format!("{why}: {steps} steps, {} epochs, {tokens} tokens in {took}", outcome.epoch));
        report(&mut show, config, texts, network, &outcome)?;
        let text = write(network.params(), 0)?;
        show.line(&format!("\nA sample in the model's own words:\n\n{}\n", visible(&text)));
        show.line(&format!("The run is in {path}. Go on with:"));
        show.line(&format!("  unroll generate {path} --length 1000 --temperature 0.8"));
        let more = config.train.epochs.max(1) * 2;
        show.line(&format!("  unroll train --resume {path} --epochs {more}"));
        show.object(&json!({ "event": "finished", "run": run.path(), "step": outcome.step, "sample": text }));
        show.result()
    }
}

/// What the model is scored with at the end, with the best parameters.
fn report(show: &mut Show, config: &RunConfig, texts: &Texts, network: &mut Network, outcome: &Outcome) -> Result<()> {
    let level = texts.tokenizer.options().level;
    if let Some(best) = outcome.best {
        let limit = Score::new(unroll::LossSum { nats: best.loss, count: 1 }, texts.entropy_rate);
        let beyond = limit.excess.map_or_else(String::new, |excess| {
            format!(
                "; the source's entropy rate is {:.4}, the model is {:.2} % above it",
                texts.entropy_rate.unwrap_or(f64::NAN),
                100.0 * excess
            )
        });
        let units = in_units(level, best.loss);
        show.line(&format!(
            "best validation loss {:.4} nats ({units}) after step {}{beyond}",
            best.loss,
            count(best.step)
        ));
        show.object(&json!({ "event": "best", "step": best.step, "loss": best.loss, "excess": limit.excess }));
    }
    if let Some(test) = &texts.test {
        let how = Texts::evaluation(&texts.tokenizer);
        let rows = config.eval_rows();
        let streams = Streams::evaluation(Arc::clone(test), 0..test.len(), rows, config.train.steps, how)?;
        let score = Score::new(evaluate(network, &streams)?, None);
        let units = in_units(level, score.loss);
        show.line(&format!("test loss {:.4} nats ({units}) over {} tokens", score.loss, count(score.tokens)));
        show.object(&json!({ "event": "tested", "score": score }));
    }
    Ok(())
}

/// What is trained on what.
fn introduction(config: &RunConfig, texts: &Texts, graph: &Graph, network: &Network) -> Vec<String> {
    let level = texts.tokenizer.options().level;
    let text = match config.data.train.as_slice() {
        [] => "embedded text (Cicero)".to_owned(),
        [path] => path.display().to_string(),
        paths => format!("{} and {} more", paths[0].display(), paths.len() - 1),
    };
    let kinds: Vec<String> = graph.rows().iter().skip(1).map(|row| format!("{} ({})", row.name, row.class)).collect();
    let memory = Network::bytes(graph, network.options()).map_or_else(|_| String::new(), |n| format!(", {}", bytes(n)));
    let options = network.options();
    vec![
        format!(
            "text: {text}, {} tokens of {level}s, {} different",
            count(texts.train.len()),
            count(graph.vocabulary() as u64)
        ),
        format!("model: {}, {} parameters{memory}", kinds.join(" > "), count(graph.parameter_count())),
        format!(
            "batch: {} streams x {} steps, {} threads, {}",
            config.train.batch, config.train.steps, options.threads, options.isa
        ),
    ]
}

/// Refuses options that would change the texts of a run that goes on.
fn refuse_other_texts(origins: &Origins) -> Result<()> {
    for key in ["data.train", "data.valid", "data.test", "data.level"] {
        if matches!(origins.of(key), Some(unroll::config::Origin::Flag(_))) {
            return Err(origins.refuse(key, "a run goes on with the texts it began with; begin a new run for others"));
        }
    }
    Ok(())
}

/// The threads asked for, or one for each core.
pub(crate) fn threads(asked: Option<usize>) -> Result<usize> {
    match asked {
        Some(threads) if (1..=1024).contains(&threads) => Ok(threads),
        Some(threads) => Err(Error::option("--threads", format!("must be from 1 to 1024, got {threads}"))),
        None => Ok(std::thread::available_parallelism().map_or(1, |cores| cores.get().min(1024))),
    }
}

/// `runs/N` with the first number that is free.
fn free_run() -> PathBuf {
    let runs = Path::new("runs");
    (1..).map(|number: u64| runs.join(number.to_string())).find(|path| !path.exists()).unwrap_or_default()
}

/// A folder that goes away again unless the run in it begins.
struct NewFolder {
    path: PathBuf,
    made: bool,
    keep: bool,
}

impl NewFolder {
    fn make(path: &Path) -> Result<NewFolder> {
        let made = !path.exists();
        std::fs::create_dir_all(path).map_err(|error| Error::io(path, "cannot make the run folder", error))?;
        Ok(NewFolder { path: path.to_owned(), made, keep: false })
    }

    fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        for name in ["train", "valid", "test"] {
            let _absent = std::fs::remove_file(self.path.join(format!("{name}.tokens")));
        }
        if self.made {
            // Removed only if nothing else is in it.
            let _not_empty = std::fs::remove_dir(&self.path);
        }
    }
}
