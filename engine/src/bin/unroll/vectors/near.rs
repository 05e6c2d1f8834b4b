//! `unroll vectors near`: the words nearest to others.

use std::io::{BufRead, IsTerminal, stdin};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use unroll::error::{Error, Result};
use unroll::report::{Out, json_line, visible};
use unroll::vectors::{Neighbours, WordVectors};

use super::open::Reading;
use super::{Searching, check_direction, cosines, find, table};
use crate::show::warn;

/// Finds the words whose vectors have the largest cosine with that of a word.
///
/// Several words in one argument, or on one line of standard input, stand for the sum of their vectors, each scaled to length 1.
/// The search compares every vector, so the answer is exact.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll vectors near books.safetensors king queen\n  \
    unroll vectors near books.safetensors \"river bank\" --top 20            near both\n  \
    unroll vectors near GoogleNews-vectors-negative300.bin < words.txt      one query per line\n  \
    unroll vectors near runs/words king                                     in a language model's embedding")]
pub(crate) struct NearCommand {
    /// The file of word vectors, or the run of a model with an embedding
    file: PathBuf,
    /// Words to look up [default: read from standard input, one query per line]
    query: Vec<String>,
    /// Number of neighbours to show
    #[arg(long, visible_alias = "topn", short = 'k', default_value_t = 10, value_name = "N")]
    top: usize,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    searching: Searching,
}

/// Questions that are answered in one pass over the table.
const TOGETHER: usize = 256;

impl NearCommand {
    pub(crate) fn run(self) -> Result<()> {
        self.searching.check()?;
        if self.top == 0 {
            return Err(Error::option("--top", "must be at least 1, got 0"));
        }
        let vectors = self.reading.read(&self.file)?.vectors;
        let near = self.searching.neighbours(&vectors)?;
        let mut out = Out::stdout();
        if !self.query.is_empty() {
            return self.answer(&near, &self.query, &mut out, false);
        }
        let (mut lines, input) = (Vec::new(), stdin());
        // A person is answered at once, a file in as few passes as may be.
        let together = if input.is_terminal() { 1 } else { TOGETHER };
        for line in input.lock().lines() {
            let line = line.map_err(|error| Error::read("standard input", error))?;
            if !line.trim().is_empty() {
                lines.push(line.trim().to_owned());
            }
            if lines.len() == together {
                self.answer(&near, &lines, &mut out, true)?;
                lines.clear();
            }
        }
        self.answer(&near, &lines, &mut out, true)
    }

    /// Answers each query; one with an unknown word is an error, or is left out with a warning where others follow.
    fn answer(
        &self,
        near: &Neighbours<'_>,
        queries: &[String],
        out: &mut Out<std::io::Stdout>,
        go_on: bool,
    ) -> Result<()> {
        let vectors = near.vectors();
        let (mut known, mut directions) = (Vec::new(), Vec::new());
        for query in queries {
            let asked = rows(vectors, query).and_then(|rows| {
                let direction = near.direction(&rows.iter().map(|&row| (row, 1.0)).collect::<Vec<_>>());
                check_direction(query, &direction).map(|()| (rows, direction))
            });
            match asked {
                Ok((rows, direction)) => {
                    known.push((query, rows));
                    directions.push(direction);
                }
                Err(error) if go_on => warn(&error.to_string()),
                Err(error) => return Err(error),
            }
        }
        let found = near.nearest(&directions, self.top, |query, row| known[query].1.contains(&row));
        for (index, ((query, _), found)) in known.iter().zip(&found).enumerate() {
            if self.searching.json {
                out.line(&json_line(&json!({ "query": query, "nearest": cosines(vectors, found) }))?)?;
                continue;
            }
            if queries.len() > 1 || go_on {
                out.line(&format!("{}{}", if index > 0 { "\n" } else { "" }, visible(query)))?;
            }
            table(vectors, found).iter().try_for_each(|line| out.line(line))?;
        }
        Ok(())
    }
}

/// The word that the query is, else the words in it.
fn rows(vectors: &WordVectors, query: &str) -> Result<Vec<usize>> {
    if let Some(row) = vectors.find(query) {
        return Ok(vec![row]);
    }
    let words: Vec<&str> = query.split_whitespace().collect();
    if words.is_empty() {
        return Err(Error::usage("no word was given"));
    }
    words.into_iter().map(|word| find(vectors, word)).collect()
}
