//! `unroll vectors similarity`: how well cosines agree with what people say.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use unroll::error::{Error, Result};
use unroll::report::{Align, Out, Table, count, json_line};
use unroll::vectors::similarity::{correlate, cosine, read_pairs};

use super::open::Reading;
use super::{at_least_one, find};

/// The cosine of two words; or, for files of pairs that people judged (WordSim-353, SimLex-999), the correlation of cosines
/// and judgements: Spearman's of the ranks, equal values sharing their mean rank, and Pearson's.
///
/// Pairs with a word that is not known are left out and counted. In files case does not count, unless --match-case is given.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll vectors similarity books.safetensors king queen\n  \
    unroll vectors similarity books.safetensors --pairs wordsim353.tsv --pairs simlex999.txt")]
pub(crate) struct SimilarityCommand {
    /// The file of word vectors, or the run of a model with an embedding
    file: PathBuf,
    /// Two words
    #[arg(num_args = 2, value_name = "WORD", required_unless_present = "pairs", conflicts_with = "pairs")]
    word: Vec<String>,
    /// File of pairs: two words and a number per line; may be repeated
    #[arg(long, value_name = "FILE")]
    pairs: Vec<PathBuf>,
    /// Match the case of the words in the files
    #[arg(long, requires = "pairs")]
    match_case: bool,
    /// Use only the first N words
    #[arg(long, value_name = "N", requires = "pairs")]
    restrict_vocab: Option<usize>,
    #[command(flatten)]
    reading: Reading,
    /// Print one JSON object per line instead of a table
    #[arg(long)]
    json: bool,
}

impl SimilarityCommand {
    pub(crate) fn run(self) -> Result<()> {
        at_least_one(self.restrict_vocab)?;
        let vectors = self.reading.read(&self.file)?.vectors;
        let mut out = Out::stdout();
        if let [a, b] = &self.word[..] {
            let cosine = cosine(vectors.row(find(&vectors, a)?), vectors.row(find(&vectors, b)?));
            return match self.json {
                true => out.line(&json_line(&json!({ "words": [a, b], "cosine": cosine }))?),
                false => out.line(&format!("{cosine:.4}")),
            };
        }
        let right = Align::Right;
        let columns =
            [("file", Align::Left), ("Spearman", right), ("Pearson", right), ("pairs", right), ("known", right)];
        let mut table = Table::new(&columns);
        for file in &self.pairs {
            let found = correlate(&vectors, &read_pairs(file)?, self.restrict_vocab, !self.match_case);
            if self.json {
                let mut object = serde_json::to_value(found).map_err(|error| Error::run(error.to_string()))?;
                object["file"] = json!(file);
                out.line(&json_line(&object)?)?;
                continue;
            }
            let number = |x: Option<f64>| x.map_or("-".to_owned(), |x| format!("{x:.4}"));
            table.row([
                file.display().to_string(),
                number(found.spearman),
                number(found.pearson),
                count(found.pairs),
                count(found.covered),
            ]);
        }
        if self.json { Ok(()) } else { table.lines().iter().try_for_each(|line| out.line(line)) }
    }
}
