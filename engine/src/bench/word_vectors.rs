//! The training of word vectors on a text of one's own: words read a second, everything but the vocabulary's making
//! included.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::cases::{CaseOptions, Outcome};
use super::peak_memory;
use crate::corpus::{Build, Corpus, Encoding, Source, build};
use crate::error::Result;
use crate::text::{Level, TextOptions};
use crate::vectors::train::{Model, TrainOptions, Trainer};

/// Trains vectors of `model` for two passes over `text`, with word2vec's defaults: size 100, window 5, 5 words of
/// noise, sample 1e-3, words that are seen five times. The words are counted before the clock starts; finding them in
/// the vocabulary and writing them as numbers to a file in `folder`, which is read in both passes, is timed.
///
/// # Errors
/// As [`build`] and [`Trainer::step`].
pub fn time_word_vectors(model: Model, text: &Path, folder: &Path, options: &CaseOptions) -> Result<Outcome> {
    let sources = [Source::from_argument(text)];
    let output = folder.join("words.tokens");
    let words = TextOptions { level: Level::Word, min_count: 5, unknown: Some(true), ..TextOptions::default() };
    let all = Build {
        sources: &sources,
        output: &output,
        encoding: Encoding::New(&words),
        errors: None,
        threads: options.threads,
        entropy_rate: None,
        memory: None,
        progress: None,
        cancel: Some(&AtomicBool::new(false)),
    };
    let tokenizer = build(all)?.tokenizer;
    let start = Instant::now();
    build(Build { encoding: Encoding::Known(&tokenizer), ..all })?;
    let corpus = Corpus::open(&output)?;
    let train =
        TrainOptions { model, epochs: 2, threads: options.threads, isa: options.isa, ..TrainOptions::default() };
    let dim = train.size;
    let mut trainer = Trainer::new(&corpus, tokenizer.vocabulary(), train)?;
    let mut steps = 0;
    while trainer.step()? {
        steps += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    let (peak, own) = (peak_memory(), (8 * dim * tokenizer.vocabulary().len()) as u64);
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Ok(Outcome {
        case: model.to_string(),
        precision: options.precision.to_string(),
        threads: options.threads,
        sizes: None,
        isa: options.isa.name().to_owned(),
        per_s: trainer.progress().words as f64 / seconds,
        gflops: trainer.products() as f64 * 2.0 / seconds / 1e9,
        peak_mb: mib(peak),
        extra_mb: mib(peak.saturating_sub(own)),
        step_s: seconds / f64::from(steps),
        profile: None,
    })
}
