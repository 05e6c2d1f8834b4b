//! The making of a vocabulary from a text: megabytes of text a second.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::cases::CaseOptions;
use super::{median, peak_memory};
use crate::corpus::{Counting, Source, vocabulary};
use crate::error::Result;
use crate::text::{Level, TextOptions};

/// How fast a vocabulary was made, and of what.
#[derive(Clone, Debug, serde::Serialize)]
pub struct VocabularyRate {
    /// The case.
    pub case: String,
    /// Threads used.
    pub threads: usize,
    /// Words counted a second, by the median time.
    pub per_s: f64,
    /// Text counted a second, in 10^6 bytes.
    pub megabytes_per_second: f64,
    /// Words of the text, and the ends of its lines.
    pub tokens: u64,
    /// Different ones that the vocabulary has.
    pub vocabulary: usize,
    /// Bytes of text.
    pub text_bytes: u64,
    /// The most memory the process held, in MiB.
    pub peak_mb: f64,
    /// Seconds of the median.
    pub step_s: f64,
}

/// Counts the words of `text` again and again, as `unroll corpus vocabulary` does, and makes the vocabulary of those
/// that are seen five times. The text is read anew each time, after the first from the system's cache where that holds
/// it; what does not fit into memory goes to `folder`.
///
/// # Errors
/// As [`vocabulary`].
pub fn time_vocabulary(text: &Path, folder: &Path, options: &CaseOptions) -> Result<VocabularyRate> {
    let sources = [Source::from_argument(text)];
    let words = TextOptions { level: Level::Word, min_count: 5, unknown: Some(true), ..TextOptions::default() };
    let cancel = AtomicBool::new(false);
    let beside = folder.join("words.json");
    let counting = Counting {
        sources: &sources,
        options: &words,
        beside: &beside,
        threads: options.threads,
        memory: None,
        progress: None,
        cancel: Some(&cancel),
    };
    let first = vocabulary(counting)?;
    let mut counted = Ok(first.clone());
    let time = median(options.length, || {
        if counted.is_ok() {
            counted = vocabulary(counting);
        }
    });
    let (counted, seconds) = (counted?, time.as_secs_f64());
    assert_eq!(counted.vocabulary.to_file(), first.vocabulary.to_file(), "a vocabulary follows from its text");
    Ok(VocabularyRate {
        case: "vocabulary".to_owned(),
        threads: options.threads,
        per_s: counted.tokens as f64 / seconds,
        megabytes_per_second: counted.text_bytes as f64 / 1e6 / seconds,
        tokens: counted.tokens,
        vocabulary: counted.vocabulary.len(),
        text_bytes: counted.text_bytes,
        peak_mb: peak_memory() as f64 / f64::from(1 << 20),
        step_s: seconds,
    })
}
