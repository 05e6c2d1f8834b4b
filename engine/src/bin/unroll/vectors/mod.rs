//! `unroll vectors`: word vectors, their files, and what they are used for. A file a command.

mod analogy;
mod convert;
mod near;
mod open;
mod similarity;
mod train;

use clap::{Args, Subcommand};
use serde_json::json;
use unroll::error::{Error, Result};
use unroll::report::{Align, Table, count, visible};
use unroll::vectors::formats::Format;
use unroll::vectors::{Near, Neighbours, WordVectors};

use crate::train::threads;

/// Trains and uses word vectors: nearest words, analogies, similarities, and files of other programs.
#[derive(Debug, Args)]
pub(crate) struct VectorsCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Train(train::Train),
    Near(near::NearCommand),
    Analogy(analogy::AnalogyCommand),
    Similarity(similarity::SimilarityCommand),
    Export(convert::Export),
    Import(convert::Import),
}

impl VectorsCommand {
    pub(crate) fn run(self) -> Result<()> {
        match self.what {
            What::Train(train) => train.run(),
            What::Near(near) => near.run(),
            What::Analogy(analogy) => analogy.run(),
            What::Similarity(similarity) => similarity.run(),
            What::Export(export) => export.run(),
            What::Import(import) => import.run(),
        }
    }
}

/// Which words are searched, and how the result is shown.
#[derive(Debug, Args)]
pub(crate) struct Searching {
    /// Search only the first N words, which most programs sort by frequency [default: all]
    #[arg(long, value_name = "N")]
    restrict_vocab: Option<usize>,
    /// Number of threads [default: all cores]; the result does not depend on it
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
}

impl Searching {
    /// Refuses options that leave nothing to search.
    fn check(&self) -> Result<()> {
        at_least_one(self.restrict_vocab)
    }

    /// To search a table.
    fn neighbours<'v>(&self, vectors: &'v WordVectors) -> Result<Neighbours<'v>> {
        Neighbours::new(vectors, self.restrict_vocab, threads(self.threads)?)
    }
}

/// Refuses a --restrict-vocab that leaves no word.
fn at_least_one(restrict_vocab: Option<usize>) -> Result<()> {
    match restrict_vocab {
        Some(0) => Err(Error::option("--restrict-vocab", "must be at least 1, got 0")),
        _ => Ok(()),
    }
}

/// Refuses a direction that is none: no word is near to it.
fn check_direction(query: &str, direction: &[f32]) -> Result<()> {
    if direction.iter().any(|&x| x != 0.0) {
        return Ok(());
    }
    let what = format!("{query:?} has no direction: its vectors are zeros, or cancel each other out");
    Err(Error::usage(what).mend("ask for other words"))
}

/// The row of a word, or an error that says how else it may be known.
fn find(vectors: &WordVectors, word: &str) -> Result<usize> {
    if let Some(row) = vectors.find(word) {
        return Ok(row);
    }
    let error = Error::usage(format!("the word {word:?} is not known"));
    let mut first_upper = String::new();
    let mut letters = word.chars();
    first_upper.extend(letters.next().into_iter().flat_map(char::to_uppercase));
    first_upper.extend(letters.flat_map(char::to_lowercase));
    let others = [word.to_lowercase(), first_upper, word.to_uppercase()];
    Err(match others.iter().find(|other| vectors.find(other).is_some()) {
        Some(other) => error.mend(format!("did you mean {other:?}?")),
        None => error.mend(format!("there are {} words", count(vectors.len() as u64))),
    })
}

/// The words of rows and their cosines.
fn cosines(vectors: &WordVectors, found: &[Near]) -> Vec<serde_json::Value> {
    found.iter().map(|near| json!({ "word": vectors.text(near.row), "cosine": near.cosine })).collect()
}

/// The same as a table.
fn table(vectors: &WordVectors, found: &[Near]) -> Vec<String> {
    let mut table = Table::new(&[("word", Align::Left), ("cosine", Align::Right)]);
    for near in found {
        table.row([visible(&vectors.text(near.row)), format!("{:.4}", near.cosine)]);
    }
    table.lines()
}

/// The names of formats.
pub(crate) fn format_parser() -> impl clap::builder::TypedValueParser<Value = Format> {
    use clap::builder::TypedValueParser;
    let names = Format::ALL.map(|(_, name)| name);
    clap::builder::PossibleValuesParser::new(names).try_map(|name| name.parse::<Format>())
}
