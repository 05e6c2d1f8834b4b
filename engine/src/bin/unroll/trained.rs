//! Opens trained models for the commands that use them.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use unroll::config::{Resolver, RunConfig};
use unroll::error::{Error, Result};
use unroll::graph::{Graph, HeadLayouts};
use unroll::network::NetworkOptions;
use unroll::run::{TextModel, load_weights, open_text_model, open_weights};
use unroll::text::Tokenizer;
use unroll::train::storage::{Disk, Storage};
use unroll::train::{CHECKPOINTS, CONFIG, CheckpointChoice, Weights, is_run, not_a_run};
use unroll_kernels::gemm::Precision;

use crate::labels::TrainedTask;
use crate::options::precision;
use crate::show::{hint, warn};
use crate::train::threads;

/// Which parameters of a run are used, and how the network runs.
#[derive(Debug, Args)]
pub(crate) struct Using {
    /// Checkpoint to use: best, newest, or the number of a step
    #[arg(long, default_value = "best")]
    checkpoint: String,
    /// Precision of the operands of matrix products [default: as in training]
    #[arg(long, value_name = "WORD", value_parser = precision())]
    precision: Option<Precision>,
    /// Number of threads [default: all cores]; the result does not depend on it
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Keep the parameters in a file in this folder, for tables larger than memory
    #[arg(long, value_name = "DIR")]
    memory_map: Option<PathBuf>,
}

impl Using {
    /// The checkpoint.
    pub(crate) fn which(&self) -> Result<CheckpointChoice> {
        which(&self.checkpoint)
    }

    /// Refuses options that need a trained model where there is none.
    pub(crate) fn refuse(&self, why: &str) -> Result<()> {
        for (option, given) in [
            ("--checkpoint", self.checkpoint != "best"),
            ("--precision", self.precision.is_some()),
            ("--memory-map", self.memory_map.is_some()),
        ] {
            if given {
                return Err(Error::option(option, why).mend("leave it out, or name a run"));
            }
        }
        Ok(())
    }

    /// The precision of matrix products: the one asked for, otherwise that of the training.
    pub(crate) fn precision(&self, config: &RunConfig) -> Precision {
        self.precision.unwrap_or(config.train.precision.into())
    }

    /// Says how to find out what int8 costs the model of a run, where a command does not measure it.
    pub(crate) fn hint_at_cost(&self, run: &Path) {
        if self.precision == Some(Precision::Int8) {
            let of =
                if self.checkpoint == "best" { String::new() } else { format!(" --checkpoint {}", self.checkpoint) };
            let measure = format!("unroll eval {}{of} --precision int8", run.display());
            hint(&format!("int8 costs some accuracy; `{measure}` measures how much"));
        }
    }

    /// The threads.
    pub(crate) fn threads(&self) -> Result<usize> {
        threads(self.threads)
    }

    /// How a run's network is executed, apart from its sizes, in the precision of the training unless another is asked for.
    pub(crate) fn network_options(&self, config: &RunConfig) -> Result<NetworkOptions> {
        Ok(NetworkOptions {
            threads: self.threads()?,
            precision: self.precision(config),
            home: self.memory_map.clone().into(),
            training: false,
            ..NetworkOptions::default()
        })
    }
}

/// Copies the parameters of a run's checkpoint.
pub(crate) fn load(run: &Path, which: CheckpointChoice, graph: &Graph, params: &mut [f32]) -> Result<u64> {
    let storage: Rc<dyn Storage> = Rc::new(Disk);
    load_weights(storage, run, which, graph, params, &mut warn)
}

/// Which checkpoint `--checkpoint` means.
pub(crate) fn which(word: &str) -> Result<CheckpointChoice> {
    match (word, word.parse()) {
        ("best", _) => Ok(CheckpointChoice::Best),
        ("newest" | "last" | "latest", _) => Ok(CheckpointChoice::Newest),
        (_, Ok(step)) => Ok(CheckpointChoice::Step(step)),
        _ => Err(Error::option("--checkpoint", format!("`{word}` is not best, newest or the number of a step"))),
    }
}

/// An opened run folder, before it is known what the model predicts.
pub(crate) struct Opened {
    /// As the user named it: the folder, or one of its checkpoints.
    pub(crate) path: PathBuf,
    /// The run folder.
    pub(crate) folder: PathBuf,
    /// How it was trained.
    pub(crate) config: RunConfig,
}

impl Opened {
    /// Opens a run folder, or the run of one of its checkpoints.
    pub(crate) fn open(path: &Path) -> Result<Opened> {
        let folder = match path.parent().and_then(Path::parent) {
            Some(run) if !is_run(&Disk, path)? && is_run(&Disk, run)? => run.to_owned(),
            _ => path.to_owned(),
        };
        if !is_run(&Disk, &folder)? {
            return Err(not_a_run(&Disk, path));
        }
        let mut resolver = Resolver::new();
        resolver.file(&folder.join(CONFIG))?;
        let (config, _) = resolver.finish()?;
        Ok(Opened { path: path.to_owned(), folder, config })
    }
}

/// The layouts of the heads in the run whose checkpoint this file of weights is; nothing where no such run opens.
pub(crate) fn heads_beside(weights: &Path) -> HeadLayouts {
    let checkpoint = weights.parent().filter(|path| path.parent().is_some_and(|all| all.ends_with(CHECKPOINTS)));
    let Some(opened) = checkpoint.and_then(|checkpoint| Opened::open(checkpoint).ok()) else {
        return HeadLayouts::default();
    };
    let graph = match opened.config.task {
        Some(_) => TrainedTask::of(opened).map(|trained| trained.graph),
        None => Trained::of(opened).map(|trained| trained.graph),
    };
    graph.and_then(|graph| graph.head_layouts()).unwrap_or_default()
}

/// A language model that was trained: its configuration, vocabulary and graph.
pub(crate) struct Trained {
    path: PathBuf,
    /// The run folder.
    pub(crate) folder: PathBuf,
    /// How it was trained.
    pub(crate) config: RunConfig,
    /// Its tokenizer.
    pub(crate) tokenizer: Tokenizer,
    /// Its model.
    pub(crate) graph: Graph,
}

impl Trained {
    /// The language model in a run.
    pub(crate) fn of(opened: Opened) -> Result<Trained> {
        let Opened { path, folder, config } = opened;
        if let Some(task) = &config.task {
            let what = format!("the run learned to {} and is not a language model", task.kind.doing());
            return Err(Error::input(&folder, what).mend("use `unroll predict`"));
        }
        let TextModel { vocabulary, graph, .. } = open_text_model(Rc::new(Disk), &config, &folder)?;
        Ok(Trained { path, folder, config, tokenizer: Tokenizer::new(vocabulary), graph })
    }

    /// The parameters of a checkpoint, where they are.
    pub(crate) fn weights(&self, which: CheckpointChoice) -> Result<Weights> {
        let storage: Rc<dyn Storage> = Rc::new(Disk);
        Ok(open_weights(storage, &self.path, which, &self.graph, &mut warn)?.1)
    }

    /// Copies the parameters of a checkpoint.
    pub(crate) fn load(&self, which: CheckpointChoice, params: &mut [f32]) -> Result<u64> {
        load(&self.path, which, &self.graph, params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_have_words_and_numbers() {
        assert_eq!(which("best").unwrap(), CheckpointChoice::Best);
        assert_eq!(which("newest").unwrap(), CheckpointChoice::Newest);
        assert_eq!(which("1200").unwrap(), CheckpointChoice::Step(1200));
        assert_eq!(which("bets").unwrap_err().exit_code(), 2);
    }
}
