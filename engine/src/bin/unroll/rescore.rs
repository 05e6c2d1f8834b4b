//! `unroll eval --n-best`: scores of the lines of n-best lists.

use std::collections::HashMap;
use std::path::Path;

use serde_json::json;
use unroll::corpus::{Source, Whole};
use unroll::error::{At, Error, Result};
use unroll::eval::{LineScore, score_lines};
use unroll::network::Network;
use unroll::report::{Out, json_line};
use unroll::text::{EncodingErrors, Tokenizer};

/// How lists are scored and printed.
pub(crate) struct Rescoring {
    /// Only the best line of each list is printed.
    pub(crate) best: bool,
    /// Lines are ranked by ln p / tokens^power.
    pub(crate) length_power: f64,
    /// What the vocabulary lacks is left out.
    pub(crate) skip_unknown: bool,
    pub(crate) json: bool,
}

/// A line of a list.
struct Candidate<'t> {
    id: &'t str,
    text: &'t str,
    score: LineScore,
    ranked_by: f64,
}

impl Rescoring {
    /// Scores the lists of a file with this text: `ID<tab>TEXT`; a line without a tab is a list of its own, named by its number.
    pub(crate) fn run(&self, network: &mut Network, tokenizer: &Tokenizer, (path, text): (&Path, &str)) -> Result<()> {
        let numbers: Vec<String> = (1..=text.lines().count()).map(|number| number.to_string()).collect();
        let mut lines = Vec::with_capacity(numbers.len());
        for (line, number) in text.lines().zip(&numbers) {
            let (id, text) = line.split_once('\t').unwrap_or((number, line));
            let wrong =
                |what: &str, mend| Err(Error::input_at(path, At::Line(lines.len() as u64 + 1), what).mend(mend));
            if text.trim().is_empty() {
                return wrong("there is no text to score", "give ID, a tab and a text");
            }
            if text.contains('\t') {
                return wrong(
                    "has more columns than ID and text",
                    "remove the other scores, and add them to the scores printed here",
                );
            }
            lines.push((id, text));
        }
        let mut scored: Vec<Candidate<'_>> = Vec::with_capacity(lines.len());
        let texts = (1..).zip(lines.iter().map(|(_, text)| *text));
        let found = score_lines(network, tokenizer, texts, self.skip_unknown, |score| {
            let (id, text) = lines[scored.len()];
            scored.push(Candidate { id, text, ranked_by: score.normalised(self.length_power), score });
            Ok(())
        });
        found.map_err(|error| in_file(path, error))?;
        self.tell(&scored)
    }

    fn tell(&self, scored: &[Candidate<'_>]) -> Result<()> {
        let mut out = Out::stdout();
        if !self.best && !self.json {
            out.line("id\tln p\ttokens\t<unk>\tscore\ttext")?;
        }
        for candidate in if self.best { best(scored) } else { scored.iter().collect() } {
            let Candidate { id, text, score, ranked_by } = candidate;
            let LineScore { tokens, unknown, log_probability, .. } = score;
            out.line(&match (self.json, self.best) {
                (true, _) => json_line(&json!({
                    "id": id, "text": text, "ln_p": log_probability, "tokens": tokens, "unknown": unknown,
                    "score": ranked_by,
                }))?,
                (false, true) => format!("{id}\t{text}"),
                (false, false) => format!("{id}\t{log_probability:.6}\t{tokens}\t{unknown}\t{ranked_by:.6}\t{text}"),
            })?;
        }
        Ok(())
    }
}

/// The best line of each list, the first of equals, in the order of the lists' first lines.
fn best<'c, 't>(scored: &'c [Candidate<'t>]) -> Vec<&'c Candidate<'t>> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut best: Vec<&Candidate<'_>> = Vec::new();
    for candidate in scored {
        let place = *places.entry(candidate.id).or_insert(best.len());
        match best.get_mut(place) {
            Some(other) if candidate.ranked_by > other.ranked_by => *other = candidate,
            Some(_) => {}
            None => best.push(candidate),
        }
    }
    best
}

/// An error of one of the lines of a file.
pub(crate) fn in_file(path: &Path, error: Error) -> Error {
    match error {
        Error::Usage(message) => Error::input(path, message.to_string()),
        error => error,
    }
}

/// The lines of a file, `-` for standard input; there is one at least.
pub(crate) fn read_lines(path: &Path, errors: EncodingErrors) -> Result<String> {
    let text = Whole { errors, cancel: None }.read(&Source::from_argument(path))?;
    if text.is_empty() {
        return Err(Error::input(path, "the text is empty").mend("give one text per line"));
    }
    Ok(text)
}
