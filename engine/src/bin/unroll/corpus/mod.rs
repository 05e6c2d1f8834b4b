//! `unroll corpus`: token files and vocabularies from text, what is in them, and text whose entropy is known.

mod text;
mod vocabulary;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use unroll::corpus::synthetic::{Brackets, Markov, SyntheticSource};
use unroll::corpus::{Build, Corpus, Encoding, Progress, Source, TokenSource, build, check_output};
use unroll::error::{Error, Result};
use unroll::report::{Align, Out, Table, bytes, count, json_line};
use unroll::text::{Level, TextOptions, Tokenizer, Vocabulary};

use crate::interrupt;
use crate::train::threads;
use text::Tokens;

/// Builds token files and vocabularies, shows their contents, and generates text of known entropy.
#[derive(Debug, Args)]
pub(crate) struct CorpusCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Build(BuildFile),
    Vocabulary(vocabulary::VocabularyFile),
    Info(Info),
    Synthesize(Synthesize),
}

impl CorpusCommand {
    pub(crate) fn run(self) -> Result<()> {
        match self.what {
            What::Build(build) => build.run(),
            What::Vocabulary(vocabulary) => vocabulary.run(),
            What::Info(info) => info.run(),
            What::Synthesize(synthesize) => synthesize.run(),
        }
    }
}

/// Turns text into a token file, in bounded memory and on all cores.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll corpus build books/ --level word --min-count 5 --out books.tokens\n  \
    zcat huge.gz | unroll corpus build - --level byte --out huge.tokens\n  \
    unroll train --data books.tokens")]
struct BuildFile {
    /// Files, folders, gzip, or - for standard input
    #[arg(required = true)]
    text: Vec<PathBuf>,
    /// Token file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    tokens: Tokens,
    /// Use the vocabulary of this vocabulary file, token file or run, instead of building one from the text
    #[arg(long, value_name = "FILE", conflicts_with_all = ["level", "prepare", "lower", "split_punctuation", "no_eos", "min_count", "max_vocab", "memory"])]
    vocabulary: Option<PathBuf>,
    /// Number of threads [default: all cores]; the file does not depend on it
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl BuildFile {
    fn run(self) -> Result<()> {
        let stop = interrupt::flag("stopping")?;
        let options = self.tokens.options()?;
        if let Some(file) = self.vocabulary.as_deref().map(vocabulary_file) {
            check_output("--out", &[Source::Path(file)], &self.out)?;
        }
        let known = self.vocabulary.as_deref().map(read_vocabulary).transpose()?;
        let sources: Vec<Source> = self.text.iter().map(Source::from_argument).collect();
        let progress = |progress: Progress| {
            eprint!("\rpass {}: {}        ", progress.pass, bytes(progress.bytes));
        };
        let live = io::stderr().is_terminal();
        let report = build(Build {
            sources: &sources,
            output: &self.out,
            encoding: known.as_ref().map_or(Encoding::New(&options), Encoding::Known),
            errors: self.tokens.encoding.errors()?,
            threads: threads(self.threads)?,
            memory: self.tokens.memory,
            entropy_rate: None,
            progress: live.then_some(&progress),
            cancel: Some(&*stop),
        });
        if live {
            eprintln!();
        }
        let report = report?;
        let vocabulary = report.tokenizer.vocabulary().len();
        let mut out = Out::stdout();
        if self.json {
            return out.line(&json_line(&json!({
                "file": self.out, "tokens": report.tokens, "unknown": report.unknown, "vocabulary": vocabulary,
                "text_bytes": report.text_bytes, "text_chars": report.text_chars, "file_bytes": report.file_bytes,
                "inputs": report.inputs.len(),
            }))?);
        }
        out.line(&format!(
            "{}: {} tokens, {} different, {} unknown, from {} of text in {} files; {}",
            self.out.display(),
            count(report.tokens),
            count(vocabulary as u64),
            count(report.unknown),
            bytes(report.text_bytes),
            report.inputs.len(),
            bytes(report.file_bytes),
        ))
    }
}

/// The file with the vocabulary: the file itself, or that of a run.
fn vocabulary_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(unroll::train::VOCABULARY) } else { path.to_owned() }
}

/// The tokenizer of a vocabulary file, a token file or a run.
fn read_vocabulary(path: &Path) -> Result<Tokenizer> {
    match Vocabulary::read(vocabulary_file(path)) {
        Ok(vocabulary) => Ok(Tokenizer::new(vocabulary)),
        Err(error) if path.is_dir() => Err(error),
        Err(error) => match Corpus::open(path) {
            Ok(corpus) => Ok(corpus.tokenizer().clone()),
            Err(_) => Err(error),
        },
    }
}

/// Checks a token file and shows its contents.
#[derive(Debug, Args)]
struct Info {
    /// Token file
    file: PathBuf,
    /// Number of the most frequent tokens to show
    #[arg(long, default_value_t = 10, value_name = "N")]
    top: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Info {
    fn run(self) -> Result<()> {
        let corpus = Corpus::open(&self.file)?;
        corpus.verify()?;
        let info = corpus.info();
        let vocabulary = corpus.tokenizer().vocabulary();
        let mut ranked: Vec<(&str, u64)> = vocabulary.iter().collect();
        ranked.sort_by_key(|entry| std::cmp::Reverse(entry.1));
        ranked.truncate(self.top);
        let mut out = Out::stdout();
        if self.json {
            return out.line(&json_line(&json!({
                "file": self.file, "level": vocabulary.options().level, "tokens": info.tokens,
                "vocabulary": info.vocabulary_size, "token_bytes": info.token_bytes, "text_bytes": info.text_bytes,
                "text_chars": info.text_chars, "file_bytes": info.file_bytes, "entropy_rate": info.entropy_rate,
                "fingerprint": format!("{:016x}", corpus.fingerprint()),
                "top": ranked.iter().map(|(token, count)| json!([token, count])).collect::<Vec<_>>(),
            }))?);
        }
        let options = vocabulary.options();
        let mut rows = vec![
            ("level", options.level.to_string()),
            ("tokens", count(info.tokens)),
            ("different tokens", count(info.vocabulary_size)),
            ("bytes a token", info.token_bytes.to_string()),
            ("text", format!("{} ({} characters)", bytes(info.text_bytes), count(info.text_chars))),
            ("file", bytes(info.file_bytes)),
            ("fingerprint", format!("{:016x}", corpus.fingerprint())),
        ];
        if let Some(rate) = info.entropy_rate {
            rows.push(("entropy rate", format!("{rate:.6} nats a token")));
        }
        for (name, value) in rows {
            out.line(&format!("{name:<17} {value}"))?;
        }
        let mut table = Table::new(&[("token", Align::Left), ("count", Align::Right)]);
        for (token, times) in ranked {
            table.row([format!("{token:?}"), count(times)]);
        }
        out.line("")?;
        table.lines().iter().try_for_each(|line| out.line(line))
    }
}

/// Generates text from a random source of known entropy rate, and prints that rate.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll corpus synthesize --symbols 50 --order 2 --tokens 2000000 --out source.tokens\n  \
    unroll corpus synthesize --source brackets --kinds 4 --max-depth 20 --text nested.txt\n  \
    unroll train --data source.tokens        shows the distance to the limit")]
struct Synthesize {
    /// Kind of source
    #[arg(long, value_enum, default_value_t = Kind::Markov)]
    source: Kind,
    /// Token file to write
    #[arg(long, value_name = "FILE", required_unless_present = "text")]
    out: Option<PathBuf>,
    /// Text file to write
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Number of symbols to write
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    tokens: u64,
    /// Seed of the source
    #[arg(long, default_value_t = 123)]
    seed: u64,
    /// Which of the source's independent texts: 0 to train on, 1 to validate on, and so on
    #[arg(long, default_value_t = 0, value_name = "N")]
    walk: u64,
    /// markov: number of different symbols
    #[arg(long, default_value_t = 50, value_name = "N")]
    symbols: usize,
    /// markov: number of preceding symbols that the next one depends on
    #[arg(long, default_value_t = 2, value_name = "N")]
    order: usize,
    /// markov: number of symbols that can follow
    #[arg(long, default_value_t = 8, value_name = "N")]
    branching: usize,
    /// markov: exponent of Zipf's law
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    zipf: f64,
    /// brackets: number of kinds of brackets
    #[arg(long, default_value_t = 4, value_name = "N")]
    kinds: usize,
    /// brackets: maximum depth
    #[arg(long, default_value_t = 16, value_name = "N")]
    max_depth: usize,
    /// brackets: probability of an opening bracket
    #[arg(long, default_value_t = 0.45, value_name = "X")]
    open: f64,
    /// brackets: number of different filler symbols
    #[arg(long, default_value_t = 0, value_name = "N")]
    fillers: usize,
    /// brackets: probability of a filler
    #[arg(long, default_value_t = 0.0, value_name = "X")]
    filler: f64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// A sparse Markov chain
    Markov,
    /// Nested brackets, which need long memory
    Brackets,
}

impl Synthesize {
    fn run(self) -> Result<()> {
        let stop = interrupt::flag("stopping")?;
        if self.tokens == 0 {
            return Err(Error::option("--tokens", "must be at least 1, got 0"));
        }
        let source: Box<dyn SyntheticSource> = match self.source {
            Kind::Markov => Box::new(Markov::new(self.symbols, self.order, self.branching, self.zipf, self.seed)?),
            Kind::Brackets => {
                let fillers = (self.fillers, self.filler);
                Box::new(Brackets::new(self.kinds, self.max_depth, self.open, fillers, self.seed)?)
            }
        };
        let rate = source.entropy();
        let text = match (&self.text, &self.out) {
            (Some(text), _) => Text { path: text.clone(), passing: false },
            (None, Some(out)) => Text::beside(out)?,
            (None, None) => return Err(Error::usage("neither --out nor --text was given")),
        };
        self.write(&*source, &text.path, &stop)?;
        if let Some(out) = &self.out {
            // One symbol is one token: nothing is added at the end of the only line.
            let words = source.text(0).len() > 1;
            let level = if words { Level::Word } else { Level::Char };
            let options = TextOptions { eos: words.then_some(false), ..TextOptions::new(level) };
            build(Build {
                sources: &[Source::Path(text.path.clone())],
                output: out,
                encoding: Encoding::New(&options),
                errors: None,
                threads: threads(None)?,
                memory: None,
                entropy_rate: Some(rate.nats),
                progress: None,
                cancel: Some(&*stop),
            })?;
        }
        drop(text);
        let mut out = Out::stdout();
        if self.json {
            return out.line(&json_line(&json!({
                "tokens": self.tokens, "symbols": source.symbols(), "entropy_rate": rate.nats,
                "standard_error": rate.standard_error, "file": self.out, "text": self.text,
            }))?);
        }
        let bits = rate.nats / std::f64::consts::LN_2;
        out.line(&format!("{} symbols of {} different", count(self.tokens), count(source.symbols() as u64)))?;
        out.line(&format!(
            "entropy rate: {:.6} nats, {bits:.6} bits a symbol (standard error {:.1e} nats)",
            rate.nats, rate.standard_error
        ))
    }

    fn write(&self, source: &dyn SyntheticSource, path: &Path, stop: &AtomicBool) -> Result<()> {
        let file = File::create(path).map_err(|error| Error::write(path, error))?;
        let mut file = Until { file: BufWriter::new(file), stop };
        source.write_walk(&mut file, self.tokens, self.walk).and_then(|()| file.flush()).map_err(|error| {
            match stop.load(Ordering::Relaxed) {
                true => Error::interrupted("interrupted while the text was being written"),
                false => Error::write(path, error),
            }
        })
    }
}

/// The text of a source on its way to a token file.
struct Text {
    path: PathBuf,
    /// Whether it is removed at the end, on success and on failure.
    passing: bool,
}

impl Text {
    /// A hidden file of this process beside the token file.
    fn beside(out: &Path) -> Result<Text> {
        let Some(name) = out.file_name() else {
            return Err(Error::option("--out", format!("{} is not a name for a file", out.display())));
        };
        let hidden = format!(".{}.text-{}", name.to_string_lossy(), std::process::id());
        Ok(Text { path: out.with_file_name(hidden), passing: true })
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        if self.passing {
            let _never_made = std::fs::remove_file(&self.path);
        }
    }
}

/// A file that refuses writes once the user has asked to stop.
struct Until<'a> {
    file: BufWriter<File>,
    stop: &'a AtomicBool,
}

impl Write for Until<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(io::Error::other("interrupted")),
            false => self.file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
