//! `unroll generate`: text in a model's own words.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde::Serialize;
use unroll::config::{DataConfig, TaskKind, nearest};
use unroll::error::{Error, Result};
use unroll::generate::{
    Ended, Request, Sampler, Sampling, UnknownInPrompt, beginning, encode_prompt, generate, generate_side_by_side,
    write,
};
use unroll::labels::{NextWord, WordDecoder};
use unroll::report::{Out, count, json_line, per_second, visible};
use unroll::run::Speaker;
use unroll::text::{Cast, NextTurn, Tokenizer, turn_of};

use crate::labels::TrainedTask;
use crate::show::per_second_unit;
use crate::trained::{Opened, Trained, Using};

/// Writes text with a trained model.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll generate runs/1 --prompt \"ROMEO:\" --length 500 --temperature 0.8\n  \
    unroll generate runs/1 --samples 3 --top-p 0.9 --stop \"\\n\\n\"\n  \
    unroll generate runs/1 --json --seed 7\n\
    The same seed gives the same text, and sample n does not depend on the number of samples.")]
pub(crate) struct Generate {
    /// A run folder, or one of its checkpoints
    run: PathBuf,
    /// Text to continue
    #[arg(long, visible_aliases = ["primetext", "start-text"], default_value = "", hide_default_value = true, allow_hyphen_values = true)]
    prompt: String,
    /// Maximum number of tokens to write
    #[arg(long, visible_alias = "words", default_value_t = 500)]
    length: usize,
    /// Sampling temperature: 1 samples from the model's distribution, below 1 favours likely tokens, 0 always takes the likeliest
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,
    /// Sample from the K likeliest tokens only, 0 for all
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Then keep only the likeliest tokens whose probabilities add up to P
    #[arg(long, default_value_t = 1.0)]
    top_p: f64,
    /// Then keep only tokens at least P times as probable as the likeliest
    #[arg(long, default_value_t = 0.0)]
    min_p: f64,
    /// Seed of the random numbers
    #[arg(long, default_value_t = 123)]
    seed: u64,
    /// For a model of a script: who speaks; the sample ends where the next speaker begins
    #[arg(long, value_name = "NAME")]
    speaker: Option<String>,
    /// End a sample where this text appears; \n, \t and \\ are understood; may be repeated
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stop: Vec<String>,
    /// Number of samples
    #[arg(long, default_value_t = 1, value_name = "N")]
    samples: usize,
    /// Print the text as it is generated
    #[arg(long)]
    stream: bool,
    /// What to do with characters or words of the prompt that the model does not know
    #[arg(long, value_enum, default_value_t = Unk::Refuse)]
    unk: Unk,
    #[command(flatten)]
    using: Using,
    /// Print one JSON object per sample
    #[arg(long)]
    json: bool,
}

/// What a sample starts from, and what ends it.
struct Start<'a> {
    prompt: String,
    tokens: Vec<u32>,
    stop: Vec<String>,
    /// Where the next turn of a script begins.
    turn: Option<NextTurn<'a>>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Unk {
    /// Refuse the prompt and report the position
    Refuse,
    /// Leave them out
    Skip,
    /// Read them as <unk>
    Map,
}

/// A sample as JSON.
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
        let opened = Opened::open(&self.run)?;
        if opened.config.task.as_ref().is_some_and(|task| task.kind == TaskKind::Next) {
            return self.next_words(&TrainedTask::of(opened)?, &mut sampler);
        }
        let trained = Trained::of(opened)?;
        let tokenizer = &trained.tokenizer;
        let unknown = match self.unk {
            Unk::Refuse => UnknownInPrompt::Refuse,
            Unk::Skip => UnknownInPrompt::Skip,
            Unk::Map => UnknownInPrompt::Map,
        };
        let data = &trained.config.data;
        let prompt = self.prompt(data, tokenizer)?;
        let tokens = encode_prompt(tokenizer, &prompt, unknown)?;
        let cast = data.cast(tokenizer);
        let turn = self.turn(&tokenizer.decode(&tokens), &cast);
        let start = Start { prompt, tokens, stop: self.stop(), turn };
        let options = self.using.network_options(&trained.config)?;
        let together = if self.stream { 1 } else { self.samples.min(TOGETHER) };
        let mut speaker = Speaker::of_texts(&trained.graph, beginning(tokenizer), options, together)?;
        trained.load(self.using.which()?, speaker.params_mut())?;
        let mut written = VecDeque::new();
        self.samples(&start, per_second_unit(tokenizer.options().level), |request, show| {
            if together == 1 {
                return timed(1, || generate(&mut speaker, tokenizer, &mut sampler, request, show));
            }
            if written.is_empty() {
                let count = together.min(self.samples - request.sample);
                let all = || generate_side_by_side(&mut speaker, tokenizer, &mut sampler, request, count);
                let (texts, seconds) = timed(count, all)?;
                written.extend(texts.into_iter().map(|text| (text, seconds)));
            }
            let ((text, ended), seconds) = written.pop_front().unwrap_or(((String::new(), Ended::Length), 0.0));
            Ok((if show(&text)? { ended } else { Ended::Closed }, seconds))
        })
    }

    /// The prompt, with the speaker's name before it.
    fn prompt(&self, data: &DataConfig, tokenizer: &Tokenizer) -> Result<String> {
        let Some(name) = &self.speaker else { return Ok(self.prompt.clone()) };
        if !data.dialogue {
            return Err(Error::option("--speaker", "this run was not trained on a script")
                .mend("train with --set data.dialogue=true, or give --prompt"));
        }
        if !data.speakers.contains(name) {
            return Err(unknown_speaker(name, data));
        }
        let opening = turn_of(name, tokenizer).unwrap_or_else(|| format!("{name}:"));
        Ok(if self.prompt.is_empty() { opening } else { format!("{opening} {}", self.prompt) })
    }

    /// Where the next turn of a script begins, if the last line of the prompt, as the model reads it, begins one.
    fn turn<'a>(&self, prompt: &str, cast: &'a Cast) -> Option<NextTurn<'a>> {
        let begins = prompt.trim_end_matches('\n').rfind('\n').map_or(0, |at| at + 1);
        let line = &prompt[begins..];
        (self.speaker.is_some() || cast.knows(line)).then(|| NextTurn::after(line, cast))
    }

    fn stop(&self) -> Vec<String> {
        self.stop.iter().map(|text| unescape(text)).collect()
    }

    /// Continues a prompt with a model of the next word.
    fn next_words(&self, trained: &TrainedTask, sampler: &mut Sampler) -> Result<()> {
        if self.speaker.is_some() {
            return Err(Error::option("--speaker", "is for scripts; this run learned to predict the next word"));
        }
        let encoder = &trained.encoder;
        let (unknown, word) = (encoder.unknown(&self.prompt), encoder.prepare().level().unit());
        match (self.unk, unknown) {
            (Unk::Refuse, Some(unknown)) => {
                return Err(Error::option("--prompt", format!("the model does not know the {word} `{unknown}`"))
                    .mend("leave it out, or use --unk skip"));
            }
            (Unk::Map, Some(unknown)) => {
                return Err(Error::option("--unk", format!("this model has no <unk> to map `{unknown}` to"))
                    .mend("train with task.prepare.oov_token, or use --unk skip"));
            }
            _ => {}
        }
        let tokens = encoder.words().encode(&self.prompt, encoder.prepare());
        if tokens.is_empty() {
            return Err(
                Error::option("--prompt", format!("has no {word} that the model knows")).mend("give --prompt TEXT")
            );
        }
        let (network, batches) = trained.network(&[], &self.using, 1)?;
        let mut model = NextWord::new(network, encoder, batches);
        let start = Start { prompt: self.prompt.clone(), tokens, stop: self.stop(), turn: None };
        self.samples(&start, "", |request, show| {
            let decoder = WordDecoder::new(encoder, &self.prompt);
            timed(1, || write(&mut model, decoder, sampler, request, show))
        })
    }

    /// Writes the samples; `write` returns why each one ended and how many seconds it took.
    fn samples(
        &self,
        begin: &Start<'_>,
        unit: &str,
        mut write: impl FnMut(&Request<'_>, &mut dyn FnMut(&str) -> Result<bool>) -> Result<(Ended, f64)>,
    ) -> Result<()> {
        self.using.hint_at_cost(&self.run);
        let mut out = Out::stdout();
        let safe = out.is_terminal();
        let start = Instant::now();
        let mut written = 0;
        for sample in 0..self.samples {
            let request = Request {
                prompt: &begin.tokens,
                length: self.length,
                stop: &begin.stop,
                turn: begin.turn.clone(),
                seed: self.seed,
                sample,
            };
            let mut text = String::new();
            let streams = self.stream && !self.json;
            if !self.json {
                let gap = if sample > 0 { "----\n" } else { "" };
                out.write(&shown(&format!("{gap}{}", begin.prompt), safe))?;
            }
            let (ended, seconds) = write(&request, &mut |part| {
                written += part.chars().count() as u64;
                if streams {
                    out.write(&shown(part, safe))?;
                } else {
                    text.push_str(part);
                }
                Ok(!out.closed())
            })?;
            if self.json {
                let (prompt, seed) = (begin.prompt.as_str(), self.seed);
                out.line(&json_line(&Sample { sample, seed, prompt, text, ended, seconds })?)?;
            } else {
                out.line(&shown(&text, safe))?;
            }
            if out.closed() {
                break;
            }
        }
        if std::io::stderr().is_terminal() {
            let speed = per_second(written as f64 / start.elapsed().as_secs_f64());
            let unit = if unit.is_empty() { String::new() } else { format!(" ({unit})") };
            eprintln!("{} characters, {speed} characters/s{unit}", count(written));
        }
        Ok(())
    }
}

/// The results of `write`, each with its share of the seconds.
fn timed<T>(samples: usize, write: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let begun = Instant::now();
    let written = write()?;
    Ok((written, begun.elapsed().as_secs_f64() / samples as f64))
}

/// The error for a name that is not one of the run's speakers.
fn unknown_speaker(name: &str, data: &DataConfig) -> Error {
    let rare = match (data.min_count > 1, data.max_vocab > 0) {
        (true, _) => format!(", or its words are there less than {} times (data.min_count)", data.min_count),
        (false, true) => ", or its words are too rare for data.max_vocab".to_owned(),
        (false, false) => String::new(),
    };
    let error = Error::option("--speaker", format!("`{name}` does not speak in the training text{rare}"));
    match nearest(name, data.speakers.iter().map(String::as_str)) {
        Some(near) => error.mend(format!("did you mean `{near}`?")),
        None => error.mend(format!("there are {}", data.speakers[..data.speakers.len().min(20)].join(", "))),
    }
}

/// The number of samples generated at once.
const TOGETHER: usize = 16;

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
