//! `unroll corpus vocabulary`: the vocabulary of a text.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use unroll::corpus::{Counting, Progress, Source, check_output, vocabulary, write_file};
use unroll::error::Result;
use unroll::report::{Out, bytes, count, json_line};

use super::text::Tokens;
use crate::interrupt;
use crate::train::threads;

/// Counts the tokens of a text on all cores and writes its vocabulary, the most frequent first and ties in byte order.
///
/// Every count is exact, whatever the memory: words that do not fit into it spill to disk, beside the file to write. The
/// vocabulary depends neither on the memory nor on the number of threads.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll corpus vocabulary books/ --level word --min-count 5 --out words.vocab\n  \
    zcat huge.gz | unroll corpus vocabulary - --level word --max-vocab 1000000 --memory 500M --out words.vocab\n  \
    unroll corpus build more.txt --vocabulary words.vocab --out more.tokens")]
pub(super) struct VocabularyFile {
    /// Files, folders, gzip, or - for standard input
    #[arg(required = true)]
    text: Vec<PathBuf>,
    /// Vocabulary file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    tokens: Tokens,
    /// Number of threads [default: all cores]; the vocabulary does not depend on it
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl VocabularyFile {
    pub(super) fn run(self) -> Result<()> {
        let stop = interrupt::flag("stopping")?;
        let options = self.tokens.options()?;
        let sources: Vec<Source> = self.text.iter().map(Source::from_argument).collect();
        check_output("--out", &sources, &self.out)?;
        let progress = |progress: Progress| eprint!("\r{}        ", bytes(progress.bytes));
        let live = io::stderr().is_terminal();
        let started = Instant::now();
        let counted = vocabulary(Counting {
            sources: &sources,
            options: &options,
            beside: &self.out,
            threads: threads(self.threads)?,
            memory: self.tokens.memory,
            progress: live.then_some(&progress),
            cancel: Some(&*stop),
        });
        let seconds = started.elapsed().as_secs_f64();
        if live {
            eprintln!();
        }
        let counted = counted?;
        write_file(&self.out, counted.vocabulary.to_file().as_bytes())?;
        let (vocabulary, unknown) = (&counted.vocabulary, counted.vocabulary.unknown());
        let (words, unknown) = (vocabulary.len() as u64, unknown.map_or(0, |unknown| vocabulary.count(unknown)));
        let rate = counted.text_bytes as f64 / 1e6 / seconds;
        let mut out = Out::stdout();
        if self.json {
            return out.line(&json_line(&json!({
                "file": self.out, "tokens": counted.tokens, "vocabulary": words, "unknown": unknown,
                "text_bytes": counted.text_bytes, "inputs": counted.inputs.len(), "lists_on_disk": counted.lists,
                "seconds": seconds, "megabytes_per_second": rate,
            }))?);
        }
        let (tokens, words, unknown) = (count(counted.tokens), count(words), count(unknown));
        let (text, file) = (bytes(counted.text_bytes), self.out.display());
        out.line(&format!("{file}: {words} different of {tokens} tokens, {unknown} unknown, from {text} of text"))?;
        out.line(&format!("{seconds:.2} s, {rate:.0} MB/s"))
    }
}
