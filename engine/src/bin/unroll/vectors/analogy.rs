//! `unroll vectors analogy`: what is to c as b is to a, and how many such questions are answered rightly.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use unroll::error::{Error, Result};
use unroll::report::{Align, Out, Table, count, json_line};
use unroll::vectors::analogy::{Answers, Evaluation, answer, evaluate, read_questions};
use unroll::vectors::{Neighbours, WordVectors};

use super::open::Reading;
use super::{Searching, check_direction, cosines, find, table};

/// Finds what is to C as B is to A, or counts the correct answers to a file of questions, section by section.
///
/// The answer is the word with the largest cosine to B - A + C, each vector scaled to length 1, other than A, B and C. Questions
/// with unknown words are counted separately. Questions from a file ignore case, unless --match-case is given.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll vectors analogy books.safetensors man king woman\n  \
    unroll vectors analogy books.safetensors --questions questions-words.txt --restrict-vocab 30000")]
pub(crate) struct AnalogyCommand {
    /// The file of word vectors, or the run of a model with an embedding
    file: PathBuf,
    /// A, B and C
    #[arg(num_args = 3, value_name = "WORD", required_unless_present = "questions", conflicts_with = "questions")]
    word: Vec<String>,
    /// File of questions: four words per line, `: NAME` before each section
    #[arg(long, value_name = "FILE")]
    questions: Option<PathBuf>,
    /// Match the case of the words in the file of questions
    #[arg(long, requires = "questions")]
    match_case: bool,
    /// Number of answers to show
    #[arg(
        long,
        visible_alias = "topn",
        short = 'k',
        default_value_t = 5,
        value_name = "N",
        conflicts_with = "questions"
    )]
    top: usize,
    #[command(flatten)]
    reading: Reading,
    #[command(flatten)]
    searching: Searching,
}

impl AnalogyCommand {
    pub(crate) fn run(self) -> Result<()> {
        self.searching.check()?;
        let vectors = self.reading.read(&self.file)?.vectors;
        let near = self.searching.neighbours(&vectors)?;
        match &self.questions {
            Some(questions) => self.evaluate(&near, questions),
            None => self.answer(&near, &vectors),
        }
    }

    fn answer(&self, near: &Neighbours<'_>, vectors: &WordVectors) -> Result<()> {
        let rows = self.word.iter().map(|word| find(vectors, word)).collect::<Result<Vec<_>>>()?;
        let Ok(rows) = <[usize; 3]>::try_from(rows) else {
            return Err(Error::usage(format!("an analogy takes three words, got {}", self.word.len())));
        };
        let [a, b, c] = rows;
        check_direction(&self.word.join(" "), &near.direction(&[(b, 1.0), (a, -1.0), (c, 1.0)]))?;
        let found = answer(near, rows, self.top);
        let mut out = Out::stdout();
        if self.searching.json {
            return out.line(&json_line(&json!({ "words": self.word, "answers": cosines(vectors, &found) }))?);
        }
        table(vectors, &found).iter().try_for_each(|line| out.line(line))
    }

    fn evaluate(&self, near: &Neighbours<'_>, questions: &Path) -> Result<()> {
        let sections = read_questions(questions)?;
        let Evaluation { sections, semantic, syntactic, total } = evaluate(near, &sections, !self.match_case);
        let mut out = Out::stdout();
        if self.searching.json {
            let object = |answers: &Answers| {
                let Answers { name, correct, asked, unknown } = answers;
                let accuracy = answers.accuracy();
                json!({ "section": name, "correct": correct, "asked": asked, "unknown": unknown, "accuracy": accuracy })
            };
            return out.line(&json_line(&json!({
                "words": near.words(),
                "sections": sections.iter().map(object).collect::<Vec<_>>(),
                "semantic": object(&semantic),
                "syntactic": object(&syntactic),
                "total": object(&total),
            }))?);
        }
        let right = Align::Right;
        let columns = [("section", Align::Left), ("right", right), ("asked", right), ("%", right), ("unknown", right)];
        let mut table = Table::new(&columns);
        let sums = [&semantic, &syntactic, &total].into_iter().filter(|sum| sum.asked + sum.unknown > 0);
        for answers in sections.iter().chain(sums) {
            let Answers { name, correct, asked, unknown } = answers;
            let share = answers.accuracy().map_or("-".to_owned(), |share| format!("{:.2}", 100.0 * share));
            table.row([name.clone(), count(*correct), count(*asked), share, count(*unknown)]);
        }
        table.lines().iter().try_for_each(|line| out.line(line))
    }
}
