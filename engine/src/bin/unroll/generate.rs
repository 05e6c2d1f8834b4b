//! `unroll generate`: text in a model's own words.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde::Serialize;
use unroll::error::{Error, Result};
use unroll::generate::{Ended, Request, Sampler, Sampling, UnknownInPrompt, encode_prompt, generate};
use unroll::network::NetworkOptions;
use unroll::report::{Out, count, json_line, per_second, visible};
use unroll::run::Speaker;

use crate::show::per_second_unit;
use crate::trained::{Opened, Trained, Using};

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
    #[command(flatten)]
    using: Using,
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
        let which = self.using.which()?;
        let trained = Trained::of(Opened::open(&self.run)?)?;
        let tokenizer = &trained.tokenizer;
        let unknown = match self.unk {
            Unk::Refuse => UnknownInPrompt::Refuse,
            Unk::Skip => UnknownInPrompt::Skip,
            Unk::Map => UnknownInPrompt::Map,
        };
        let prompt = encode_prompt(tokenizer, &self.prompt, unknown)?;
        let precision = self.using.precision(&trained.config);
        let options = NetworkOptions { threads: self.using.threads()?, precision, ..NetworkOptions::default() };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_text_may_hold_line_breaks() {
        assert_eq!(unescape(r"a\nb\\n\x"), "a\nb\\n\\x");
    }
}
