//! `unroll gradcheck`: whether a model's gradients are right.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use unroll::error::{Error, Result};
use unroll::gradcheck::{Options, Report, check_with};
use unroll::report::{Out, Progress, count, json_line};

use crate::options::Configuration;
use crate::summary::Model;

/// Checks a model's gradients, from its tokens to its loss.
///
/// The gradient in double precision is compared with central differences of the loss; then the gradient that training
/// computes is compared with it on every instruction set of this machine, with fusions and without. Parameters and tokens
/// are random, there are two batches with the state carried from one to the next, and a sixth of the targets is not scored. If a
/// gradient is wrong, the exit code is 1 and the worst parameter is named.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  unroll gradcheck --recipe char-rnn\n  unroll gradcheck --config my.toml --vocab 1000 --steps 5 --batch 3\n  unroll gradcheck runs/1 --json\n\
    \n--steps and --batch default to 3 and 2, because the values used for training would take too long."
)]
pub(crate) struct Gradcheck {
    /// A run folder
    run: Option<PathBuf>,
    /// Size of the vocabulary, if no run is given [default: as for `unroll summary`]
    #[arg(long, value_name = "N", conflicts_with = "run")]
    vocab: Option<usize>,
    /// Number of entries of each parameter to check; all entries of smaller parameters
    #[arg(long, value_name = "N", default_value_t = 200)]
    entries: usize,
    /// Number of threads [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: Configuration,
}

#[derive(Serialize)]
struct Json<'a> {
    model: &'a str,
    worst: Option<String>,
    #[serde(flatten)]
    report: &'a Report,
}

impl Gradcheck {
    pub(crate) fn run(self) -> Result<()> {
        for (name, value) in [("--entries", Some(self.entries)), ("--threads", self.threads)] {
            if value == Some(0) {
                return Err(Error::option(name, "must be at least 1"));
            }
        }
        let Model { title, config, graph } = Model::find(self.run.as_deref(), self.vocab, &self.configuration)?;
        let defaults = Options::default();
        let options = Options {
            steps: self.configuration.gives("train.steps").then_some(config.train.steps),
            rows: match graph.batch_size() {
                _ if self.configuration.gives("train.batch") => config.train.batch,
                declared => declared.unwrap_or(defaults.rows),
            },
            entries: self.entries,
            seed: config.seed,
            loss_scale: config.loss_scale(),
            threads: self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
            ..defaults
        };
        let mut progress = Progress::new(graph.params().len() as u64, !self.json);
        let report = check_with(&graph, &options, &mut |tensor, name| progress.at(tensor as u64, name));
        progress.finish();
        let report = report?;
        let mut out = Out::stdout();
        if self.json {
            out.line(&json_line(&Json { model: &title, worst: report.worst(), report: &report })?)?;
        } else {
            print(&mut out, &title, &report)?;
        }
        match report.worst() {
            Some(worst) if !report.passed => Err(Error::run(format!("a gradient is wrong: {worst}"))),
            _ => Ok(()),
        }
    }
}

fn print<W: std::io::Write>(out: &mut Out<W>, title: &str, report: &Report) -> Result<()> {
    out.line(&format!(
        "{title}: {} parameters, vocabulary {}; {} steps of {} x {} tokens, seed {}",
        count(report.parameters),
        count(report.vocabulary as u64),
        report.batches,
        report.steps,
        report.rows,
        report.seed,
    ))?;
    out.line(&format!(
        "f64 against central differences: rtol {:e}, floor {:.1e}; f32 against f64: {:.1e} of an entry's size",
        report.rtol, report.floor, report.single,
    ))?;
    out.line("Each figure is the largest difference divided by its tolerance; more than 1 is wrong.\n")?;
    for line in report.lines() {
        out.line(&line)?;
    }
    if report.passed
        && let Some(worst) = report.worst()
    {
        out.line(&format!("\nAll gradients are right. The largest difference: {worst}"))?;
    }
    Ok(())
}
