//! `unroll train`: from a text to a trained model.

mod folder;
mod folds;
mod labelled;
mod tell;
mod voice;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use unroll::arena::Home;
use unroll::config::{DataConfig, Origin, Origins, RunConfig, SampleState, TOKENS, check_shares};
use unroll::corpus::install_sigbus_handler;
use unroll::error::{Error, Result};
use unroll::graph::{Graph, WordOrder};
use unroll::interop::{Mapping, WeightFile};
use unroll::network::{MOST_THREADS, Network, NetworkOptions, Room, State, require_memory};
use unroll::recipes;
use unroll::report::{argument, count, duration, visible};
use unroll::run::{
    Cut, Reading, Speaker, Texts, WORDS_ALIKE, config_file, find_parts, find_speakers, identity, is_token_file,
    keep_known_speakers, learn_order, load_weights, make_absolute, order_file, restore_words, resumed_order,
    rewrite_config, text_graph, window_length,
};
use unroll::text::{Tokenizer, Vocabulary};
use unroll::train::storage::{Disk, Paced, Storage};
use unroll::train::{Batches, Ended, Optimizer, Session, TrainConfig, Trainer};
use unroll::train::{CONFIG, CheckpointChoice, RunFolder, VOCABULARY, is_run};

use crate::import::Naming;
use crate::interrupt;
use crate::options::Configuration;
use crate::show::{Show, Unit, warn};
use crate::trained::heads_beside;
use folder::free_run;
use tell::{ended, further, introduction, report};
use voice::{Voice, first_input};

pub(crate) use folder::NewFolder;

/// Trains a model on a text or on labelled samples, evaluates it and writes a sample.
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
    /// Folder of the run [default: runs/1, or the next free number]
    #[arg(long, value_name = "RUN", visible_alias = "save", help_heading = "Run")]
    out: Option<PathBuf>,
    /// Resume an earlier run; the result is bit-identical to that of an uninterrupted run
    #[arg(long, value_name = "RUN", visible_alias = "init-from", conflicts_with_all = ["out", "recipe", "config", "init_weights"], help_heading = "Run")]
    resume: Option<PathBuf>,
    /// Start from the weights in this file, of a checkpoint, PyTorch or Keras (see `unroll import`)
    #[arg(long, value_name = "FILE.safetensors", help_heading = "Run")]
    init_weights: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Run")]
    naming: Naming,
    /// Number of threads [default: all cores]; the result does not depend on it
    #[arg(long, value_name = "N", help_heading = "Run")]
    threads: Option<usize>,
    /// Train once for each fold of labelled samples (task.folds), and report the mean of the test results
    #[arg(long, conflicts_with = "resume", help_heading = "Run")]
    all_folds: bool,
    /// Switch off a fusion; may be repeated
    #[arg(long, value_name = "NAME", help_heading = "Run")]
    no_fuse: Vec<String>,
    /// Pin each thread to one core
    #[arg(long, help_heading = "Run")]
    pin: bool,
    /// Keep parameters, gradients and optimiser state in files in this folder, for tables larger than memory
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    memory_map: Option<PathBuf>,
    /// Report at the end where the time went: each phase's share of all threads' time
    #[arg(long, help_heading = "Run")]
    profile: bool,
    /// Print JSON lines instead of text
    #[arg(long, help_heading = "Run")]
    json: bool,
    /// Milliseconds to wait before each change of a file of the run, for tests that kill it there
    #[arg(long, value_name = "MS", hide = true)]
    pause_storage: Option<u64>,
}

/// What a run is made of before it starts.
struct Prepared {
    config: RunConfig,
    texts: Texts,
    graph: Graph,
    /// The order of the words, where the head needs one.
    order: Option<Arc<[u32]>>,
    network: Network,
    voice: Voice,
    train: Box<dyn Batches>,
    valid: Option<Cut>,
    settings: TrainConfig,
}

impl Train {
    pub(crate) fn run(self) -> Result<()> {
        install_sigbus_handler()?;
        let stop = interrupt::flag("finishing the step and saving")?;
        match self.resume.clone() {
            Some(run) => self.resume(&run, &stop),
            None => self.begin(&stop),
        }
    }

    fn begin(&self, stop: &Arc<AtomicBool>) -> Result<()> {
        let configuration = &self.configuration;
        let first =
            configuration.recipe.is_none() && configuration.file.is_none() && !configuration.gives("data.train");
        let (mut config, origins) = configuration.resolve(|resolver| match first {
            true => recipes::find(recipes::FIRST).and_then(|recipe| resolver.recipe(recipe.name, recipe.text)),
            false => Ok(()),
        })?;
        find_parts(&mut config.data);
        check_shares(&config.data, &origins)?;
        let path = match &self.out {
            Some(path) => path.clone(),
            None => free_run(),
        };
        if is_run(&Disk, &path)? {
            let run = argument(&path);
            return Err(Error::option("--out", format!("{} is already a run", path.display()))
                .mend(format!("resume it with `unroll train --resume {run}`, or choose another folder")));
        }
        let storage = self.storage();
        if self.all_folds {
            return self.begin_folds(&config, &path, &storage, stop);
        }
        let folder = NewFolder::claim(&storage, &path)?;
        if config.task.is_some() {
            return self.begin_labelled(config, folder, storage, stop).map(|_figures| ());
        }
        refuse_cutting(&config.data, &origins)?;
        find_speakers(&mut config.data)?;
        let columns = &config.data.columns;
        let (errors, threads) = (None, self.threads()?);
        let reading = Reading { folder: &path, errors, threads, progress: None, cancel: Some(stop), warn, columns };
        let texts = Texts::read(&config, reading, None)?;
        config.data.describe(texts.tokenizer.options());
        keep_known_speakers(&mut config.data, &texts.tokenizer)?;
        let head = config.model.head_mut();
        if head.kind.partitions_words() {
            head.order.get_or_insert(WordOrder::Context);
        }
        let order = learn_order(&config, &texts)?;
        let mut prepared = self.prepare(config, texts, order)?;
        self.initial_weights(&mut prepared.network)?;
        make_absolute(&mut prepared.config.data)?;
        let mut files = vec![
            (VOCABULARY, prepared.texts.tokenizer.vocabulary().to_file().into_bytes()),
            (CONFIG, config_file(&prepared.config)?.into_bytes()),
        ];
        files.extend(prepared.order.as_ref().map(|order| (WORDS_ALIKE, order_file(order).into_bytes())));
        let files: Vec<_> = files.iter().map(|(name, contents)| (*name, contents.as_slice())).collect();
        let run = folder.begin(&files)?;
        self.train(&mut prepared, &run, storage, stop)
    }

    fn resume(&self, path: &Path, stop: &Arc<AtomicBool>) -> Result<()> {
        let storage = self.storage();
        let run = RunFolder::resume(Rc::clone(&storage), path)?;
        let file = path.join(CONFIG);
        let (mut config, origins) = self.configuration.resolve(|resolver| resolver.file(&file))?;
        // Weights that were imported have learned from no text of the run yet.
        let begun = run.checkpoints().before_training()?.is_none();
        if begun {
            refuse_other_texts(&origins)?;
        }
        if config.task.is_some() {
            make_absolute(&mut config.data)?;
            return self.resume_labelled(config, &run, storage, stop).map(|_figures| ());
        }
        let texts = if begun {
            Texts::open(&config, path)?
        } else {
            for key in TOKENS {
                if matches!(origins.of(key), Some(Origin::Flag(_))) {
                    return Err(origins.refuse(key, "the tokens were fixed when the weights were imported"));
                }
            }
            find_parts(&mut config.data);
            let known = Tokenizer::new(Vocabulary::read(path.join(VOCABULARY))?);
            find_speakers(&mut config.data)?;
            let (threads, columns) = (self.threads()?, &config.data.columns);
            let errors = Some(config.data.encoding_errors);
            let reading = Reading { folder: path, errors, threads, progress: None, cancel: Some(stop), warn, columns };
            let texts = Texts::read(&config, reading, Some(known))?;
            keep_known_speakers(&mut config.data, &texts.tokenizer)?;
            texts
        };
        let order = resumed_order(&run.checkpoints(), &config, path, &texts)?;
        let mut prepared = self.prepare(config, texts, order)?;
        make_absolute(&mut prepared.config.data)?;
        self.train(&mut prepared, &run, storage, stop)
    }

    /// Sets the initial weights of a new run, where a file of them is named.
    fn initial_weights(&self, network: &mut Network) -> Result<()> {
        let mapping = self.naming.mapping()?;
        let Some(file) = &self.init_weights else {
            return match mapping == Mapping::default() {
                true => Ok(()),
                false => {
                    Err(Error::usage("--map and --ignore are about the names in --init-weights, which is not given"))
                }
            };
        };
        let graph = network.graph().clone();
        let mut weights = WeightFile::open(file)?;
        weights.set_heads(heads_beside(file));
        weights.load(&graph, &mapping, network.params_mut())?;
        Ok(())
    }

    fn storage(&self) -> Rc<dyn Storage> {
        match self.pause_storage {
            Some(pause) => Rc::new(Paced::new(Disk, Duration::from_millis(pause))),
            None => Rc::new(Disk),
        }
    }

    fn threads(&self) -> Result<usize> {
        threads(self.threads)
    }

    /// Where parameters, gradients and optimiser state are kept.
    fn home(&self) -> Home {
        self.memory_map.clone().into()
    }

    /// Everything that can be refused is refused here, before the run has a folder.
    fn prepare(&self, mut config: RunConfig, texts: Texts, order: Option<Arc<[u32]>>) -> Result<Prepared> {
        let graph = text_graph(&config, texts.tokenizer.vocabulary(), order.clone())?;
        let (train, valid) = texts.batches(&config, &graph)?;
        if let Some(length) = window_length(&graph)? {
            config.train.steps = length;
            if config.sample.state == SampleState::Carried {
                return Err(Error::option(
                    "sample.state",
                    "is set to carried, and a model of windows carries no state",
                )
                .mend("leave it out"));
            }
        }
        let settings = config.train_config(|epochs| train.batches_of(epochs));
        settings.check(valid.is_some())?;
        let options = NetworkOptions {
            threads: self.threads()?,
            replicas: config.train.replicas,
            precision: config.train.precision.into(),
            steps: train.steps().max(config.train.steps),
            rows: config.train.batch.max(config.eval_rows()),
            seed: config.seed,
            training: true,
            loss_scale: config.loss_scale(),
            pin: self.pin,
            home: self.home(),
            no_fuse: self.no_fuse.clone(),
            ..NetworkOptions::default()
        };
        let in_memory = |bytes: u64| if options.home.is_memory() { bytes } else { 0 };
        let slots = in_memory(Optimizer::bytes(&settings.optimizer, graph.arena()));
        let needed = Network::room(&graph, &options)?
            + Network::room(&graph, &Speaker::options(&graph, &Voice::options(&options)))?
            + Room::from(slots + REST);
        require_memory("training this model", needed)?;
        let network = Network::new(&graph, options)?;
        let voice = Voice::new(&config, &texts, &graph, network.options())?;
        Ok(Prepared { config, texts, graph, order, network, voice, train, valid, settings })
    }

    fn train(
        &self,
        prepared: &mut Prepared,
        run: &RunFolder,
        storage: Rc<dyn Storage>,
        stop: &AtomicBool,
    ) -> Result<()> {
        let start = Instant::now();
        let lines = introduction(prepared);
        if self.profile {
            prepared.network.start_profile();
        }
        let Prepared { config, texts, graph, order, network, voice, train, valid, settings } = prepared;
        let tokenizer = &texts.tokenizer;
        let last_step = settings.last_step(|epochs| train.batches_of(epochs));
        let mut show = Show::new(config, graph, Unit::Tokens(tokenizer.options().level), last_step, self.json);
        lines.iter().for_each(|line| show.line(line));
        let carried = config.sample.state == SampleState::Carried;
        let mut sample = |network: &mut Network, state: &State, step: u64| {
            if carried {
                voice.begin_at(state, first_input(&**train, step)?);
            }
            let text = voice.write(tokenizer, network, step as usize);
            voice.begin_anew();
            text
        };
        let session = Session {
            learner: &mut *network,
            vocabulary: graph.vocabulary(),
            train: &**train,
            valid: valid.as_ref().map(Cut::batches),
            folder: Some(run),
            identity: identity(config, texts, graph)?,
            observer: &mut show,
            sampler: Some(&mut sample),
            measure: None,
            stop,
        };
        let trainer = Trainer::new(settings, session)?;
        rewrite_config(&*storage, run.path(), config)?;
        restore_words(&*storage, run.path(), tokenizer.vocabulary(), order.as_deref())?;
        let outcome = trainer.run()?;
        show.finish();
        let path = argument(run.path());
        ended(&mut show, network.take_profile(), &outcome, run, graph)?;
        // After the best step the network has its weights still; a large model is not read a second time beside itself.
        if outcome.best.is_some_and(|best| best.step != outcome.step) {
            load_weights(storage, run.path(), CheckpointChoice::Best, graph, network.params_mut(), &mut warn)?;
        }
        let took = duration(start.elapsed());
        let why = if outcome.ended == Ended::EarlyStop { "stopped early" } else { "trained" };
        let (steps, tokens) = (count(outcome.step), count(outcome.tokens));
        show.line(&format!("{why}: {steps} steps, {} epochs, {tokens} tokens in {took}", outcome.epoch));
        report(&mut show, config, texts, network, &outcome, stop).map_err(|error| match error {
            Error::Interrupted(_) => {
                error.mend(format!("the trained model is saved; test it with: unroll eval {path}"))
            }
            error => error,
        })?;
        let text = voice.write(tokenizer, network, 0)?;
        show.line(&format!("\nA sample in the model's own words:\n\n{}\n", visible(&text)));
        show.line(&format!("The run is in {}. Next:", run.path().display()));
        show.line(&format!("  unroll generate {path} --length 1000 --temperature 0.8"));
        show.line(&format!("  unroll train --resume {path} {}", further(config, &outcome)));
        show.object(&json!({ "event": "finished", "run": run.path(), "step": outcome.step, "sample": text }));
        show.result()
    }
}

/// The memory of a run beside networks and optimiser: the stacks of its threads, batches, checksums, lines.
pub(crate) const REST: u64 = 16 << 20;

/// Refuses options that would change the texts of a resumed run.
fn refuse_other_texts(origins: &Origins) -> Result<()> {
    for key in ["data.train", "data.valid", "data.test", "data.level"] {
        if matches!(origins.of(key), Some(Origin::Flag(_))) {
            return Err(origins.refuse(key, "a run resumes with the texts it began with; start a new run for others"));
        }
    }
    Ok(())
}

/// Refuses options about how a text is read and cut into tokens, where it is a token file.
fn refuse_cutting(data: &DataConfig, origins: &Origins) -> Result<()> {
    let [path] = data.train.as_slice() else { return Ok(()) };
    let mut keys = TOKENS.into_iter().chain(["data.columns", "data.encoding_errors"]);
    match keys.find(|key| matches!(origins.of(key), Some(Origin::Flag(_)))) {
        Some(key) if is_token_file(path)? => Err(origins.refuse(key, TOKENS_ARE_MADE)),
        _ => Ok(()),
    }
}

/// Why options about tokens are refused for a token file.
pub(crate) const TOKENS_ARE_MADE: &str = "has no meaning for a token file, whose tokens were made when it was built";

/// The threads asked for, or one for each core.
pub(crate) fn threads(asked: Option<usize>) -> Result<usize> {
    match asked {
        Some(threads) if (1..=MOST_THREADS).contains(&threads) => Ok(threads),
        Some(threads) => Err(Error::option("--threads", format!("must be from 1 to {MOST_THREADS}, got {threads}"))),
        None => Ok(std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_THREADS))),
    }
}
