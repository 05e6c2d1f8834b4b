//! Labelled samples: the files they come in, their classes, how they are split and batched, and how well they are
//! predicted.
//!
//! `table.rs` reads TSV, CSV and JSON lines, `conllu.rs` CoNLL-U, `lines.rs` plain lines, `arrays.rs` NumPy's arrays
//! (`npy.rs` one array, `npz.rs` archives of them). All give [`Record`]s, which an [`Encoder`] (`encoder/`) turns into
//! tokens and targets ([`Sample`]); a run keeps its encoder, so that a prompt is prepared as the training texts were.
//! `split.rs` splits the samples, `batches.rs` makes batches of them for the training loop. `metrics.rs` and
//! `predict.rs` score classes, `words.rs` scores words; `captions.rs` searches for the text that fits a vector, and
//! `next.rs` continues a prompt.

mod arrays;
mod batches;
mod captions;
mod conllu;
mod content;
mod encoder;
#[doc(hidden)]
pub mod fuzzing;
mod lines;
mod metrics;
mod next;
mod npy;
mod npz;
mod predict;
mod split;
mod table;
mod words;

pub use arrays::read_array;
pub use batches::{BatchOptions, SampleBatches};
pub use captions::{Caption, Given, Search, captions, exact};
pub use encoder::{Encoder, Labels, LeftOut, Sample, Samples, TASK};
pub use lines::read_vectors;
pub use metrics::{ClassScore, Confusion, NumberScores, Scored, TagScores, best_threshold};
pub use next::{NextWord, WordDecoder};
pub(crate) use npy::header as npy_header;
pub use npy::{Array, parse_npy, read_npy};
pub use predict::{Prediction, Predictions, predict};
pub use split::{Part, SplitOptions, share_out};
pub use words::{WordScores, score_words};

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::config::{FormatName, TaskConfig, TaskKind};
use crate::corpus::{Source, Whole};
use crate::error::{At, Error, Result};

/// One labelled sample as its file has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The file, by its place in the list of files.
    pub file: usize,
    /// The line it begins at, from 1.
    pub line: u64,
    /// The text.
    pub content: Content,
    /// What a caption is of, or the numbers of an array; empty of others.
    pub vector: Vec<f32>,
}

/// A text and its labels.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A text with a label for each output.
    Text {
        /// The text.
        text: String,
        /// Its labels.
        labels: Vec<String>,
    },
    /// A sentence whose words have tags.
    Sentence(Vec<Word>),
    /// A text whose own words are learned.
    Words(String),
    /// A text whose words are learned, and the one that is read before.
    Pair {
        /// What is read.
        source: String,
        /// What is written.
        text: String,
    },
    /// A row of an array.
    Array {
        /// Its token ids; none where it is numbers, the record's vector.
        tokens: Vec<u32>,
        /// Steps of the numbers; 0: they are one vector, or there are none.
        steps: usize,
        /// For each output its label alone, or one a step: the number of a class, -1 where none is scored, or any number.
        labels: Vec<Vec<f32>>,
        /// Its class, of a row that has one.
        label: String,
    },
}

/// A word of a sentence that is tagged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The word as it stands.
    pub text: String,
    /// A tag for each output.
    pub tags: Vec<String>,
    /// Its line.
    pub line: u64,
}

/// Labelled samples from files.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// The files.
    pub files: Vec<PathBuf>,
    /// What they hold, in their order.
    pub records: Vec<Record>,
    /// A hash of the files' bytes.
    pub fingerprint: u64,
}

/// What is called for every sample, with its line and its vector.
type Push<'a> = &'a mut dyn FnMut(u64, Content, Vec<f32>);

impl Records {
    /// Reads labelled samples.
    ///
    /// # Errors
    /// [`Error::Input`] with file and line where a row is not what it should be, and where there is no sample at all;
    /// [`Error::Usage`] where the format does not fit the task.
    pub fn read(task: &TaskConfig, files: &[PathBuf], how: Whole<'_>) -> Result<Records> {
        let mut all = Records { files: files.to_vec(), ..Records::default() };
        let mut hash = crc32c::crc32c(b"");
        for (file, path) in files.iter().enumerate() {
            let format = format_of(task, path)?;
            let mut push = |line, content, vector| all.records.push(Record { file, line, content, vector });
            if format == FormatName::Npy {
                all.fingerprint = all.fingerprint.rotate_left(7) ^ arrays::read(task, path, &mut push)?;
                continue;
            }
            let text = read_text(path, how)?;
            hash = crc32c::crc32c_append(hash, text.as_bytes());
            all.fingerprint = u64::from(hash) << 32 | (text.len() as u64 & 0xffff_ffff);
            match format {
                FormatName::Conllu => conllu::read(task, path, &text, &mut push)?,
                FormatName::Lines => {
                    let vectors = lines::read(task, path, &text, &mut push)?;
                    all.fingerprint = all.fingerprint.rotate_left(7) ^ vectors;
                }
                _ => table::read(task, format, path, &text, &mut push)?,
            }
        }
        all.check_widths()?;
        if all.records.is_empty()
            && let Some(path) = files.first()
        {
            return Err(Error::input(path, "contains no labelled sample").mend("give a file with samples"));
        }
        Ok(all)
    }

    /// The width of the vectors; 0 where there are none.
    pub fn width(&self) -> usize {
        self.records.first().map_or(0, |record| record.vector.len())
    }

    /// Refuses vectors of another width than those of the training.
    ///
    /// # Errors
    /// [`Error::Input`] with file and line.
    pub fn check_width(&self, width: usize) -> Result<()> {
        match self.records.first().filter(|record| record.vector.len() != width) {
            None => Ok(()),
            Some(record) => {
                let what = format!("the vector has {} numbers, those of the training have {width}", self.width());
                Err(self.wrong(record, record.line, what).mend("give vectors like those of the training"))
            }
        }
    }

    fn check_widths(&self) -> Result<()> {
        let width = self.width();
        match self.records.iter().find(|record| record.vector.len() != width) {
            None => Ok(()),
            Some(record) => {
                let what = format!("the vector has {} numbers, the first one has {width}", record.vector.len());
                Err(self.wrong(record, record.line, what).mend("give vectors of one width"))
            }
        }
    }

    /// Where the first sample stands.
    pub fn first(&self) -> Option<Spot> {
        self.records.first().map(|record| self.spot(record, record.line))
    }

    fn spot(&self, record: &Record, line: u64) -> Spot {
        Spot { path: self.files[record.file].clone(), line, row: matches!(record.content, Content::Array { .. }) }
    }

    /// The error of a record.
    pub(crate) fn wrong(&self, record: &Record, line: u64, what: impl Into<String>) -> Error {
        self.spot(record, line).wrong(what)
    }
}

/// Where a sample stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The file.
    pub path: PathBuf,
    /// Its line, or its row, from 1.
    pub line: u64,
    /// Whether that is a row of an array.
    pub row: bool,
}

impl Spot {
    /// The error of what stands here.
    pub fn wrong(&self, what: impl Into<String>) -> Error {
        match self.row {
            true => Error::input(&self.path, format!("row {}: {}", self.line, what.into())),
            false => Error::input_at(&self.path, At::Line(self.line), what),
        }
    }
}

/// The text of a file, gzip or not, without a byte-order mark.
fn read_text(path: &Path, how: Whole<'_>) -> Result<String> {
    if path.as_os_str() == "-" {
        return Err(Error::usage("labelled samples are read from files, not from standard input")
            .mend("write them to a file first"));
    }
    how.read(&Source::Path(path.to_owned()))
}

/// How a file is written: as the configuration says, else by its name.
fn format_of(task: &TaskConfig, path: &Path) -> Result<FormatName> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let by_name = match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("csv") => FormatName::Csv,
        Some("jsonl" | "ndjson") => FormatName::JsonLines,
        Some("conllu") => FormatName::Conllu,
        Some("tsv") => FormatName::Tsv,
        Some("npy" | "npz") => FormatName::Npy,
        _ => match task.kind {
            TaskKind::Tag => FormatName::Conllu,
            TaskKind::Classify | TaskKind::Translate => FormatName::Tsv,
            TaskKind::Next | TaskKind::Caption => FormatName::Lines,
        },
    };
    let format = task.format.unwrap_or(by_name);
    let fits = match format {
        FormatName::Conllu => task.kind == TaskKind::Tag,
        FormatName::Lines => matches!(task.kind, TaskKind::Next | TaskKind::Caption),
        FormatName::Tsv | FormatName::Csv | FormatName::JsonLines => task.kind != TaskKind::Tag,
        FormatName::Npy => task.kind != TaskKind::Translate,
    };
    if !fits {
        return Err(Error::input(path, format!("samples of the task {} are not read from {format}", task.kind)).mend(
            "tags are read from CoNLL-U and npy, classes from tsv, csv, jsonl and npy, pairs of texts from tsv, csv and jsonl, texts \
             without labels from tsv, csv, jsonl, npy and lines: set task.format",
        ));
    }
    Ok(format)
}
