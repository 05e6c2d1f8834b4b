//! `unroll inspect`: what a network has learned.

mod gradient;
mod units;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use unroll::config::RunConfig;
use unroll::error::Result;
use unroll::graph::Graph;
use unroll::text::Tokenizer;

use crate::labels::TrainedTask;
use crate::summary::name_of;
use crate::trained::{Opened, Trained};

/// Shows what a network has learned: how far back its gradients reach, and how its units respond to a text.
#[derive(Debug, Args)]
pub(crate) struct InspectCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Gradient(gradient::GradientCommand),
    Units(units::UnitsCommand),
}

impl InspectCommand {
    pub(crate) fn run(self) -> Result<()> {
        match self.what {
            What::Gradient(command) => command.run(),
            What::Units(command) => command.run(),
        }
    }
}

/// The most steps, rows and units of a range.
const MOST: usize = 100_000;

/// The model to inspect.
struct Subject {
    title: String,
    config: RunConfig,
    graph: Graph,
    /// Of a trained one.
    run: Option<Run>,
}

struct Run {
    path: PathBuf,
    folder: PathBuf,
    /// Of a language model.
    tokenizer: Option<Tokenizer>,
}

/// A run, or the run of a checkpoint.
fn trained(path: &Path) -> Result<Subject> {
    let opened = Opened::open(path)?;
    let title = name_of(path);
    let (path, folder) = (opened.path.clone(), opened.folder.clone());
    let config = opened.config.clone();
    let (graph, tokenizer) = match config.task {
        Some(_) => (TrainedTask::of(opened)?.graph, None),
        None => {
            let trained = Trained::of(opened)?;
            (trained.graph, Some(trained.tokenizer))
        }
    };
    Ok(Subject { title, config, graph, run: Some(Run { path, folder, tokenizer }) })
}
