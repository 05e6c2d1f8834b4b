//! `unroll predict`: the classes of texts, the tags of sentences.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, json};
use unicode_segmentation::UnicodeSegmentation;
use unroll::config::TaskKind;
use unroll::error::{Error, Result};
use unroll::labels::{Prediction, Predictions, Sample, predict};
use unroll::report::{Out, json_line};

use crate::labels::TrainedTask;
use crate::trained::{Opened, Using};

/// Predicts the class of each text, or tags each sentence, with a model trained on labelled samples.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll predict runs/spam --text \"You have won a prize, call now\"\n  \
    unroll predict runs/spam < messages.txt         a text a line\n  \
    unroll predict runs/tags --text \"The cat sat on the mat .\" --words")]
pub(crate) struct Predict {
    /// A run folder, or one of its checkpoints
    run: PathBuf,
    /// The text; may be repeated [default: the lines of standard input]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Vec<String>,
    /// Sentences are parted into words by white space alone; else punctuation is parted from words too (UAX #29)
    #[arg(long)]
    words: bool,
    /// Texts side by side
    #[arg(long, visible_alias = "batch-size", default_value_t = 32, value_name = "N")]
    batch: usize,
    #[command(flatten)]
    using: Using,
    /// A JSON object a text
    #[arg(long)]
    json: bool,
}

/// Texts that are predicted before more are read.
const BLOCK: usize = 4096;

impl Predict {
    pub(crate) fn run(self) -> Result<()> {
        if !(1..=BLOCK).contains(&self.batch) {
            return Err(Error::option("--batch", format!("must be from 1 to {BLOCK}, got {}", self.batch)));
        }
        let trained = TrainedTask::of(Opened::open(&self.run)?)?;
        if self.words && trained.task.kind == TaskKind::Classify {
            return Err(Error::option("--words", "is for sentences that are tagged, this run classifies texts"));
        }
        let mut out = Out::stdout();
        if !self.text.is_empty() {
            return self.texts(&trained, &self.text, &mut out);
        }
        if std::io::stdin().is_terminal() {
            return Err(
                Error::usage("no text is given").mend("give --text TEXT, or texts on standard input, one a line")
            );
        }
        let mut block = Vec::with_capacity(BLOCK);
        for line in std::io::stdin().lock().lines() {
            block.push(line.map_err(|error| Error::read("standard input", error))?);
            if block.len() == BLOCK {
                self.texts(&trained, &block, &mut out)?;
                block.clear();
            }
        }
        if block.is_empty() { Ok(()) } else { self.texts(&trained, &block, &mut out) }
    }

    fn texts(&self, trained: &TrainedTask, texts: &[String], out: &mut Out<std::io::Stdout>) -> Result<()> {
        let encoder = &trained.encoder;
        let parted: Vec<Vec<&str>> = texts.iter().map(|text| self.part(text)).collect();
        let tokens = |i: usize| match trained.task.kind {
            TaskKind::Classify => encoder.text(&texts[i]),
            TaskKind::Tag => encoder.sentence(parted[i].iter().copied()),
        };
        let sample = |i| {
            let tokens = tokens(i);
            Sample { targets: vec![unroll::corpus::IGNORE; tokens.len().max(1)], tokens }
        };
        let samples: Vec<Sample> = (0..texts.len()).map(sample).collect();
        let (mut network, batches) = trained.network(&samples, (&self.using, self.batch.min(samples.len())))?;
        let predictions = predict(&mut network, encoder, &samples, batches)?;
        for (i, text) in texts.iter().enumerate() {
            let line = match trained.task.kind {
                TaskKind::Classify => self.class(trained, &predictions, i, text, samples[i].tokens.len())?,
                TaskKind::Tag => self.tags(trained, &predictions, i, &parted[i])?,
            };
            out.line(&line)?;
        }
        Ok(())
    }

    /// The words of a sentence.
    fn part<'t>(&self, text: &'t str) -> Vec<&'t str> {
        if self.words {
            return text.split_whitespace().collect();
        }
        text.split_word_bounds().filter(|word| !word.trim().is_empty()).collect()
    }

    fn class(&self, trained: &TrainedTask, all: &Predictions, i: usize, text: &str, words: usize) -> Result<String> {
        let classes = trained.encoder.classes();
        let Some(Prediction { class, probability }) = all.of(i, trained.decision.threshold).next() else {
            return Err(Error::run("a text has no prediction"));
        };
        let class = &classes[class as usize];
        if !self.json {
            return Ok(format!("{class}\t{probability:.4}\t{text}"));
        }
        let of_class = all.probabilities(i).next().into_iter().flatten();
        let of_class: Map<_, _> = classes.iter().zip(of_class).map(|(class, p)| (class.clone(), json!(p))).collect();
        json_line(&json!({
            "text": text, "class": class, "probability": probability, "probabilities": of_class, "known_words": words,
        }))
    }

    fn tags(&self, trained: &TrainedTask, all: &Predictions, i: usize, words: &[&str]) -> Result<String> {
        let classes = trained.encoder.classes();
        let tagged = words.iter().zip(all.of(i, 0.5));
        let tagged = tagged.map(|(word, found)| (*word, &classes[found.class as usize], found.probability));
        if self.json {
            let words: Vec<_> =
                tagged.map(|(word, tag, p)| json!({ "word": word, "tag": tag, "probability": p })).collect();
            return json_line(&json!({ "words": words }));
        }
        Ok(tagged.map(|(word, tag, _)| format!("{word}/{tag}")).collect::<Vec<_>>().join(" "))
    }
}
