//! What `unroll train` prints while it trains.

use std::time::{Duration, Instant};

use serde_json::json;
use unroll::config::{ReportStyle, RunConfig};
use unroll::error::Result;
use unroll::graph::{Graph, HeadSettings, Loss};
use unroll::report::{Progress, count, duration, json_line, per_second, short_float, visible};
use unroll::text::Level;
use unroll::train::{EvaluationReport, Event, Observer, Start, StepReport};

/// Where nobody watches a bar, a line comes at least this often.
const AT_LEAST_EVERY: Duration = Duration::from_secs(15);

/// A loss of this many times that of a guess means that the training has diverged.
const ASTRAY: f64 = 10.0;

/// The unit that a run counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Tokens of a text.
    Tokens(Level),
    /// Texts with a class.
    Texts,
    /// Words with a tag.
    Tags,
    /// Words that are predicted.
    Words,
}

impl Unit {
    /// What a second's are called.
    fn per_second(self) -> &'static str {
        match self {
            Unit::Tokens(level) => per_second_unit(level),
            Unit::Texts => "texts/s",
            Unit::Tags | Unit::Words => "words/s",
        }
    }

    /// A loss as people compare it, with a bar before it; nothing where they compare other figures.
    fn compared(self, loss: f64) -> String {
        match self {
            Unit::Tokens(level) => format!(" | {}", in_units(level, loss)),
            Unit::Words => format!(" | {}", in_units(Level::Word, loss)),
            Unit::Texts | Unit::Tags => String::new(),
        }
    }
}

/// Prints the events of a run.
pub(crate) struct Show {
    progress: Progress,
    style: ReportStyle,
    every: u64,
    epochs: u64,
    unit: Unit,
    heads: Vec<HeadSettings>,
    /// ln V, the loss of a guess among V classes; of numbers there is none.
    guess: Option<f64>,
    /// Whether the losses of the training tell of a divergence: no validation does, and they are those of all classes.
    watches: bool,
    /// Whether the last loss that was looked at was astray.
    astray: bool,
    json: bool,
    last_line: Instant,
    failed: Result<()>,
}

impl Show {
    pub(crate) fn new(config: &RunConfig, graph: &Graph, unit: Unit, last_step: Option<u64>, json: bool) -> Show {
        let live = !json && config.report.style == ReportStyle::Standard && last_step.is_some();
        Show {
            progress: Progress::new(last_step.unwrap_or(0), live),
            style: config.report.style,
            every: config.report.every.max(1),
            epochs: config.train.epochs,
            unit,
            heads: graph.heads(),
            guess: classifies(graph).then(|| (graph.classes() as f64).ln()),
            watches: false,
            astray: false,
            json,
            last_line: Instant::now(),
            failed: Ok(()),
        }
    }

    /// Prints a line of text; nothing with --json.
    pub(crate) fn line(&mut self, text: &str) {
        if !self.json {
            self.print(text);
        }
    }

    /// Prints a JSON object with --json.
    pub(crate) fn object(&mut self, value: &serde_json::Value) {
        if self.json {
            match json_line(value) {
                Ok(line) => self.print(&line),
                Err(error) => self.failed = Err(error),
            }
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(&mut self) {
        self.progress.finish();
    }

    /// The first failure to print, such as a full disk behind a redirection.
    pub(crate) fn result(&mut self) -> Result<()> {
        std::mem::replace(&mut self.failed, Ok(()))
    }

    fn print(&mut self, text: &str) {
        let printed = self.progress.line(text);
        if self.failed.is_ok() {
            self.failed = printed;
        }
    }

    fn started(&mut self, start: &Start) {
        self.watches = !start.validates && !self.heads.iter().any(|of| of.head.kind.samples_words());
        let again =
            if start.resumed { format!("resuming after step {}; ", count(start.resumed_from)) } else { String::new() };
        let steps = start.last_step.map_or_else(|| "no last step".to_owned(), |last| format!("{} steps", count(last)));
        self.line(&format!("{again}{steps}, {} an epoch", count(start.batches)));
        self.object(&json!({
            "event": "started", "resumed_from": start.resumed_from, "batches": start.batches,
            "last_step": start.last_step, "parameters": start.parameters, "heads": self.heads,
        }));
    }

    fn step(&mut self, step: &StepReport) {
        if self.style == ReportStyle::MinCharRnn && !self.json {
            // The gist counts from 0 and prints the first of every hundred.
            let iteration = step.step - 1;
            if iteration.is_multiple_of(self.every) {
                self.line(&format!("iter {iteration}, loss: {:.6}", step.smooth_loss));
            }
            return;
        }
        let line = || {
            let epoch = if self.epochs == 0 { String::new() } else { format!("/{}", self.epochs) };
            let last = step.last_step.map_or_else(String::new, |last| format!("/{}", count(last)));
            let loss = step.logged.or(step.loss).map_or_else(|| "-".to_owned(), |loss| format!("{loss:.4}"));
            let left = step.eta.map_or_else(String::new, |eta| format!(" | {} left", duration(eta)));
            format!(
                "epoch {}{epoch} | step {}{last} | loss {loss} | {} {} | lr {}{left}",
                step.epoch,
                count(step.step),
                per_second(step.tokens_per_second),
                self.unit.per_second(),
                short_float(step.lr),
            )
        };
        if self.progress.is_live() {
            let left = step.eta.map_or_else(String::new, |eta| format!("  {} left", duration(eta)));
            let loss = step.loss.map_or_else(String::new, |loss| format!("loss {loss:.4}  "));
            let unit = self.unit.per_second();
            let speed = per_second(step.tokens_per_second);
            self.progress.at(step.step, format!("{loss}{speed} {unit}{left}"));
        }
        let due = step.logged.is_some() || (!self.progress.is_live() && self.last_line.elapsed() >= AT_LEAST_EVERY);
        if due {
            let text = line();
            self.line(&text);
            self.last_line = Instant::now();
        }
        if let Some(loss) = step.logged.filter(|_| self.watches) {
            let (before, now) = (self.astray, self.is_astray(loss));
            self.astray = now;
            if now && !before {
                self.warn_of_divergence("training", loss, step.step);
            }
        }
        if step.logged.is_some() {
            self.object(&json!({
                "event": "step", "step": step.step, "epoch": step.epoch, "loss": step.logged,
                "smooth_loss": step.smooth_loss, "lr": step.lr, "grad_norm": step.grad_norm, "tokens": step.tokens,
                "per_s": step.tokens_per_second, "elapsed_s": step.elapsed.as_secs_f64(),
            }));
        }
    }

    /// Whether a loss is so far above that of a guess that the training diverges.
    fn is_astray(&self, loss: f64) -> bool {
        self.guess.is_some_and(|guess| loss > ASTRAY * guess.max(1.0))
    }

    fn warn_of_divergence(&self, of: &str, loss: f64, step: u64) {
        let guess = self.guess.unwrap_or_default();
        warn(&format!(
            "the {of} loss is {loss:.3e} nats after step {}, where a guess has {guess:.2}: the training diverges, unless the loss falls \
             again; lower the learning rate (--lr) or clip the gradient (--clip-norm 5)",
            count(step),
        ));
    }

    fn evaluated(&mut self, report: &EvaluationReport) {
        let train = report.train_loss.map_or_else(String::new, |loss| format!("train {loss:.4} | "));
        self.astray = self.is_astray(report.loss);
        let best = if report.is_best && !self.astray { " | best so far" } else { "" };
        let after = if report.epoch == 0 { String::new() } else { format!("epoch {} | ", report.epoch) };
        let partitions = report.log_partitions.named("ln Z");
        let partitions: String =
            partitions.map(|(name, of)| format!(" | {name} {:.3}, deviation {:.3}", of.mean, of.deviation)).collect();
        self.line(&format!(
            "{after}step {} | {train}valid {:.4}{}{partitions}{best} | {}",
            count(report.step),
            report.loss,
            self.unit.compared(report.loss),
            duration(report.took),
        ));
        if self.astray {
            self.warn_of_divergence("validation", report.loss, report.step);
        }
        let several = &report.log_partitions;
        self.object(&json!({
            "event": "evaluated", "step": report.step, "epoch": report.epoch, "loss": report.loss,
            "perplexity": report.loss.exp(), "tokens": report.tokens, "best": report.is_best,
            "train_loss": report.train_loss, "log_partition": (!several.is_empty()).then_some(several),
        }));
    }
}

impl Observer for Show {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Started(start) => self.started(start),
            Event::Notice(text) => warn(text),
            Event::Step(step) => self.step(step),
            Event::Evaluated(report) => self.evaluated(report),
            Event::Measured { step, epoch, figures } => {
                let share = |value: &serde_json::Value| format!("{:.2} %", 100.0 * value.as_f64().unwrap_or(f64::NAN));
                let shown = figures.iter().map(|(name, value)| format!("{} {}", name.replace('_', " "), share(value)));
                self.line(&format!("    {}", shown.collect::<Vec<_>>().join(" | ")));
                self.object(&json!({ "event": "measured", "step": step, "epoch": epoch, "figures": figures }));
            }
            Event::Sample { step, text } => {
                self.line(&format!("----\n{}\n----", visible(text)));
                self.object(&json!({ "event": "sample", "step": step, "text": text }));
            }
            Event::Saved { step, path, took } => self.object(&json!({
                "event": "saved", "step": step, "path": path, "took_s": took.as_secs_f64(),
            })),
            Event::SaveFailed { step, error, in_a_row } => warn(&format!(
                "step {step}: {error}; the earlier checkpoints are as they were (failure {in_a_row} of 3 in a row)"
            )),
        }
    }
}

/// Whether every loss of the model is of classes, whose guess has a loss that is known.
pub(crate) fn classifies(graph: &Graph) -> bool {
    graph.outputs().iter().all(|output| output.loss() != Loss::MeanSquaredError)
}

/// Prints a warning.
pub(crate) fn warn(text: &str) {
    eprintln!("warning: {text}");
}

/// Prints a hint.
pub(crate) fn hint(text: &str) {
    eprintln!("hint: {text}");
}

/// What tokens are called.
pub(crate) fn plural(level: Level) -> &'static str {
    match level {
        Level::Byte => "bytes",
        Level::Char => "characters",
        Level::Grapheme => "graphemes",
        Level::Word => "words",
    }
}

/// What a second's tokens are called.
pub(crate) fn per_second_unit(level: Level) -> &'static str {
    match level {
        Level::Byte => "bytes/s",
        Level::Char => "chars/s",
        Level::Grapheme => "graphemes/s",
        Level::Word => "words/s",
    }
}

/// A loss in the units that people compare at this level: perplexity of words, bits of characters.
pub(crate) fn in_units(level: Level, loss: f64) -> String {
    let bits = loss / std::f64::consts::LN_2;
    match level {
        Level::Byte => format!("{bits:.4} bits/byte"),
        Level::Char => format!("{bits:.4} bits/char"),
        Level::Grapheme => format!("{bits:.4} bits/grapheme"),
        Level::Word => format!("perplexity {:.2}", loss.exp()),
    }
}
