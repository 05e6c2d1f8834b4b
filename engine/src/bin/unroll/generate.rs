//! `unroll generate`: text in a model's own words.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde::Serialize;
use unroll::config::{Resolver, RunConfig};
use unroll::error::{Error, Result};
use unroll::generate::{Ended, Request, Sampler, Sampling, UnknownInPrompt, encode_prompt, generate};
use unroll::graph::Graph;
use unroll::network::NetworkOptions;
use unroll::report::{Out, count, json_line, per_second, visible};
use unroll::run::{Speaker, load_weights};
use unroll::text::{Tokenizer, Vocabulary};
use unroll::train::storage::{Disk, Storage};
use unroll::train::{CONFIG, VOCABULARY, Which, is_run};

use unroll_kernels::gemm::Precision;

use crate::options::precision;
use crate::show::{per_second_unit, warn};
use crate::train::threads;

/// Writes text with a trained model.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll generate runs/1 --prompt \"ROMEO:\" --length 500 --temperature 0.8\n  \
    unroll generate runs/1 --samples 3 --top-p 0.9 --stop \"\\n\\n\"\n  \
    unroll generate runs/1 --json --seed 7\n\
    The same seed gives the same text; sample n of a seed is the same however many are asked for.")]
pub(crate) struct Generate {
    /// A run folder, or one of its checkpoints
    run: PathBuf,
    /// What the text goes on from
    #[arg(long, visible_aliases = ["primetext", "start-text"], default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    prompt: String,
    /// The most tokens to write
    #[arg(long, visible_alias = "words", default_value_t = 500)]
    length: usize,
    /// 1 samples from the model's distribution, less is more careful, 0 always takes the likeliest token
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    temperature: f64,
    /// Only the so many likeliest tokens, 0 for all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Then only the likeliest that together have this probability
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true)]
    top_p: f64,
    /// Then only those at least this times as probable as the likeliest
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    min_p: f64,
    /// Seed of the random numbers
    #[arg(long, default_value_t = 123)]
    seed: u64,
    /// Ends a sample where this text appears; \n, \t and \\ are understood
    #[arg(long, value_name = "TEXT")]
    stop: Option<String>,
    /// How many samples
    #[arg(long, default_value_t = 1, value_name = "N")]
    samples: usize,
    /// Shows the text while it is being written
    #[arg(long)]
    stream: bool,
    /// What happens to characters or words of the prompt that the model does not know
    #[arg(long, value_enum, default_value_t = Unk::Refuse)]
    unk: Unk,
    /// The checkpoint: best, newest, or its step
    #[arg(long, default_value = "best")]
    checkpoint: String,
    /// What the operands of products are rounded to [default: as in training]
    #[arg(long, value_name = "WORD", value_parser = precision())]
    precision: Option<Precision>,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// One JSON object a sample
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Unk {
    /// The prompt is refused, with the place
    Refuse,
    /// They are left out
    Skip,
    /// They are read as <unk>
    Map,
}

/// A sample where programs read.
#[derive(Serialize)]
struct Sample<'a> {
    sample: usize,
    seed: u64,
    prompt: &'a str,
    text: String,
    ended: Ended,
    seconds: f64,
}

impl Generate {
    pub(crate) fn run(self) -> Result<()> {
        let sampling =
            Sampling { temperature: self.temperature, top_k: self.top_k, top_p: self.top_p, min_p: self.min_p };
        let mut sampler = Sampler::new(sampling)?;
        if self.samples == 0 || self.samples > MOST_SAMPLES {
            let what = format!("must be from 1 to {MOST_SAMPLES}, got {}", self.samples);
            return Err(Error::option("--samples", what));
        }
        let which = which(&self.checkpoint)?;
        let trained = Trained::of(Opened::open(&self.run)?)?;
        let tokenizer = &trained.tokenizer;
        let unknown = match self.unk {
            Unk::Refuse => UnknownInPrompt::Refuse,
            Unk::Skip => UnknownInPrompt::Skip,
            Unk::Map => UnknownInPrompt::Map,
        };
        let prompt = encode_prompt(tokenizer, &self.prompt, unknown)?;
        let precision = trained.precision(self.precision);
        let options = NetworkOptions { threads: threads(self.threads)?, precision, ..NetworkOptions::default() };
        let mut speaker = Speaker::new(&trained.graph, options)?;
        trained.load(which, speaker.params_mut())?;
        let stop = self.stop.as_deref().map(unescape);
        let mut out = Out::stdout();
        let safe = out.is_terminal();
        let start = Instant::now();
        let mut written = 0;
        for sample in 0..self.samples {
            let request =
                Request { prompt: &prompt, length: self.length, stop: stop.as_deref(), seed: self.seed, sample };
            let begun = Instant::now();
            let mut text = String::new();
            let streams = self.stream && !self.json;
            if !self.json {
                let gap = if sample > 0 { "----\n" } else { "" };
                out.write(&shown(&format!("{gap}{}", self.prompt), safe))?;
            }
            let ended = generate(&mut speaker, tokenizer, &mut sampler, &request, |part| {
                written += part.chars().count() as u64;
                if streams {
                    out.write(&shown(part, safe))?;
                } else {
                    text.push_str(part);
                }
                Ok(!out.closed())
            })?;
            if self.json {
                let seconds = begun.elapsed().as_secs_f64();
                let (prompt, seed) = (self.prompt.as_str(), self.seed);
                out.line(&json_line(&Sample { sample, seed, prompt, text, ended, seconds })?)?;
            } else {
                out.line(&shown(&text, safe))?;
            }
            if out.closed() {
                break;
            }
        }
        if std::io::stderr().is_terminal() {
            let seconds = start.elapsed().as_secs_f64();
            let unit = per_second_unit(tokenizer.options().level);
            eprintln!("{} characters, {} characters/s ({unit})", count(written), per_second(written as f64 / seconds));
        }
        Ok(())
    }
}

/// Samples have numbers below 2^24.
const MOST_SAMPLES: usize = 1 << 24;

fn shown(text: &str, safe: bool) -> String {
    if safe { visible(text) } else { text.to_owned() }
}

/// `\n`, `\t` and `\\` as what they stand for.
fn unescape(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let escaped = match (letter, letters.peek()) {
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('t')) => Some('\t'),
            ('\\', Some('\\')) => Some('\\'),
            _ => None,
        };
        if escaped.is_some() {
            letters.next();
        }
        result.push(escaped.unwrap_or(letter));
    }
    result
}

/// Which checkpoint `--checkpoint` means.
pub(crate) fn which(word: &str) -> Result<Which> {
    match (word, word.parse()) {
        ("best", _) => Ok(Which::Best),
        ("newest" | "last" | "latest", _) => Ok(Which::Newest),
        (_, Ok(step)) => Ok(Which::Step(step)),
        _ => Err(Error::option("--checkpoint", format!("`{word}` is not best, newest or the number of a step"))),
    }
}

/// A run folder that was opened: what it is, before it is known what it predicts.
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
            return Err(Error::input(path, format!("is not a run: it has no {CONFIG}"))
                .mend("name the folder that `unroll train` has written"));
        }
        let mut resolver = Resolver::new();
        resolver.file(&folder.join(CONFIG))?;
        let (config, _) = resolver.finish()?;
        Ok(Opened { path: path.to_owned(), folder, config })
    }
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
            let what = format!("the run learned to {}, not to write", task.kind);
            return Err(Error::input(&folder, what).mend("use `unroll predict`"));
        }
        let tokenizer = Tokenizer::new(Vocabulary::read(folder.join(VOCABULARY))?);
        let graph = Graph::new(&config.model.graph(), tokenizer.vocabulary().len())?;
        graph.require_text_alone()?;
        Ok(Trained { path, folder, config, tokenizer, graph })
    }

    /// The precision of products: that asked for, else that of the training.
    pub(crate) fn precision(&self, asked: Option<Precision>) -> Precision {
        asked.unwrap_or(self.config.train.precision.into())
    }

    /// Copies the parameters of a checkpoint.
    pub(crate) fn load(&self, which: Which, params: &mut [f32]) -> Result<u64> {
        let storage: Rc<dyn Storage> = Rc::new(Disk);
        load_weights(storage, &self.path, which, &self.graph, params, &mut warn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_text_may_hold_line_breaks() {
        assert_eq!(unescape(r"a\nb\\n\x"), "a\nb\\n\\x");
    }

    #[test]
    fn checkpoints_have_words_and_numbers() {
        assert_eq!(which("best").unwrap(), Which::Best);
        assert_eq!(which("newest").unwrap(), Which::Newest);
        assert_eq!(which("1200").unwrap(), Which::Step(1200));
        assert_eq!(which("bets").unwrap_err().exit_code(), 2);
    }
}
