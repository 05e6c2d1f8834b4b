//! The texts of a run as tokens.
//!
//! Text is turned into token files in the run folder, which a resumed run opens again: a run from standard input can be
//! resumed, and a text that was changed or moved since does no harm. A token file that the user made (`unroll corpus
//! build`) is read where it lies.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::config::{DataConfig, RunConfig};
use crate::corpus::{
    Build, Corpus, Encoding, Evaluation, Held, LONGEST_WINDOW, MemoryTokens, Progress, Source, Split, Streams,
    TokenSource, VariableStreams, WindowOptions, Windows, build, speakers,
};
use crate::error::{At, Error, Place, Result};
use crate::generate::beginning;
use crate::graph::Graph;
use crate::text::{EncodingErrors, Tokenizer, turn_of};
use crate::train::Batches;

/// Tokens, wherever they lie.
pub type Tokens = Arc<dyn TokenSource>;

/// Tokens that every row of an evaluation but the first is fed before it is scored, so that the figure does not depend on
/// the number of rows.
pub const WARM_UP: u64 = 1000;

/// How a text is walked through to score it.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Streams side by side, at least 1.
    pub rows: usize,
    /// Time steps of a batch, at least 1. A model that reads windows is given `rows` times `steps` of them at a time.
    pub steps: usize,
    /// Tokens that each stream but the first is fed before it is scored.
    pub warmup: u64,
}

impl Walk {
    /// So many streams and steps at a time, warmed up by [`WARM_UP`] tokens.
    pub fn new(rows: usize, steps: usize) -> Walk {
        Walk { rows, steps, warmup: WARM_UP }
    }

    /// That of a training's evaluations of a model that reads windows of this length, if it does.
    pub fn in_training(config: &RunConfig, length: Option<usize>) -> Walk {
        Walk::new(config.eval_rows(), if length.is_some() { 1 } else { config.train.steps })
    }
}

/// The texts of a run.
pub struct Texts {
    /// The tokenizer, which all of them share.
    pub tokenizer: Tokenizer,
    /// The text that is trained on.
    pub train: Tokens,
    /// The text that validates, where it is a text of its own.
    pub valid: Option<Tokens>,
    /// The text that the finished model is tested on, where it is a text of its own.
    pub test: Option<Tokens>,
    /// The true entropy rate of the training text's source in nats a token, if it is known.
    pub entropy_rate: Option<f64>,
}

/// How texts are read.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// The folder that token files are written to.
    pub folder: &'a Path,
    /// What is done with bytes that are not UTF-8, where it is not what was done with the training text.
    pub errors: Option<EncodingErrors>,
    /// Threads.
    pub threads: usize,
    /// Told how far the work is.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
    /// Ends the work when it becomes true.
    pub cancel: Option<&'a AtomicBool>,
    /// Told what makes the figures of a text doubtful.
    pub warn: fn(&str),
    /// The columns of the texts, where these are tables: [`DataConfig::columns`].
    pub columns: &'a [String],
}

/// The embedded text: Cicero, De finibus bonorum et malorum, liber primus.
pub fn embedded_text() -> &'static str {
    lipsum::LIBER_PRIMUS
}

/// Finds the files of a folder in the form of PyTorch's examples: `train.txt`, `valid.txt` and perhaps `test.txt`.
pub fn find_parts(data: &mut DataConfig) {
    if let ([folder], None) = (data.train.as_slice(), &data.valid) {
        let file = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        if let (Some(train), Some(valid)) = (file("train.txt"), file("valid.txt")) {
            data.test = data.test.take().or_else(|| file("test.txt"));
            data.valid = Some(valid);
            data.train = vec![train];
        }
    }
}

/// Finds who speaks in the training text, where it is a script and nobody is named.
///
/// # Errors
/// As [`speakers`]; [`Error::Usage`] where nobody is found.
pub fn find_speakers(data: &mut DataConfig) -> Result<()> {
    if !data.dialogue || !data.speakers.is_empty() {
        return Ok(());
    }
    let sources: Vec<Source> =
        data.train.iter().map(|path| Source::with_columns(path, &data.columns)).collect::<Result<_>>()?;
    data.speakers = if sources.is_empty() { Vec::new() } else { speakers(&sources, data.encoding_errors)? };
    if data.speakers.is_empty() {
        let (what, mend) = match data.columns.as_slice() {
            [] => (
                "no line of the text begins with a speaker (`NAME: line`)",
                "give a script, or name the columns of a table by data.columns",
            ),
            [_] => (
                "no row of the column begins with a speaker (`NAME: line`)",
                "name the speaker's column before it in data.columns, or set data.dialogue=false for a text without speakers",
            ),
            _ => (
                "no row has a speaker and a line",
                "name the speaker's column first in data.columns, then that of what is said",
            ),
        };
        return Err(Error::option("data.dialogue", what).mend(mend));
    }
    Ok(())
}

/// Keeps only those speakers of a script whose names the vocabulary has, so that a prompt can begin their turns.
///
/// # Errors
/// [`Error::Usage`] where it has none of them.
pub fn keep_known_speakers(data: &mut DataConfig, tokenizer: &Tokenizer) -> Result<()> {
    let count = data.speakers.len();
    data.speakers.retain(|name| turn_of(name, tokenizer).is_some());
    if count > 0 && data.speakers.is_empty() {
        return Err(Error::option("data.dialogue", "the vocabulary contains no speaker's name followed by a colon")
            .mend("put a space after the colons of the text, or keep more of its words by data.min_count and data.max_vocab"));
    }
    Ok(())
}

/// Makes the paths of the texts absolute, so that the run can be resumed from anywhere.
///
/// # Errors
/// [`Error::Io`] where there is no working folder.
pub fn make_absolute(data: &mut DataConfig) -> Result<()> {
    for path in data.train.iter_mut().chain(&mut data.valid).chain(&mut data.test) {
        if path.as_os_str() != "-" {
            *path = std::path::absolute(&*path).map_err(|error| Error::io(&*path, "cannot find", error))?;
        }
    }
    Ok(())
}

impl Texts {
    /// Turns the texts of a new run into tokens: those of a vocabulary that the model was trained with, or of the text's own.
    ///
    /// # Errors
    /// [`Error::Input`] where a text is missing, empty, or not what it should be; [`Error::Usage`] where texts and options
    /// contradict each other; [`Error::Io`] where a token file cannot be written.
    pub fn read(config: &RunConfig, reading: Reading<'_>, known: Option<Tokenizer>) -> Result<Texts> {
        let data = &config.data;
        let (tokenizer, train, entropy_rate) = match (data.train.as_slice(), known) {
            ([], Some(_)) => {
                return Err(Error::option("--data", "the model has a vocabulary and no text yet")
                    .mend("name a text to train it on"));
            }
            ([path], Some(tokenizer)) if is_token_file(path)? => {
                let (tokens, rate) = reading.other("train", path, &tokenizer)?;
                (tokenizer, tokens, rate)
            }
            (paths, Some(tokenizer)) => {
                let corpus = reading.build("train", paths, Encoding::Known(&tokenizer))?;
                (tokenizer, Arc::new(corpus) as Tokens, None)
            }
            ([], None) => {
                let (tokenizer, tokens) = MemoryTokens::from_text(embedded_text(), &config.text_options())?;
                (tokenizer, Arc::new(tokens) as Tokens, None)
            }
            ([path], None) if is_token_file(path)? => {
                let corpus = Corpus::open(path)?;
                let (tokenizer, rate) = (corpus.tokenizer().clone(), corpus.info().entropy_rate);
                (tokenizer, Arc::new(corpus) as Tokens, rate)
            }
            (paths, None) => {
                let options = config.text_options();
                let corpus = reading.build("train", paths, Encoding::New(&options))?;
                (corpus.tokenizer().clone(), Arc::new(corpus) as Tokens, None)
            }
        };
        let other = |name: &str, path: &Option<PathBuf>| -> Result<Option<Tokens>> {
            path.as_ref().map(|path| Ok(reading.other(name, path, &tokenizer)?.0)).transpose()
        };
        let (valid, test) = (other("valid", &data.valid)?, other("test", &data.test)?);
        Ok(Texts { tokenizer, train, valid, test, entropy_rate })
    }

    /// Opens the texts of a run that is resumed.
    ///
    /// # Errors
    /// [`Error::Input`] where a token file is missing or damaged.
    pub fn open(config: &RunConfig, folder: &Path) -> Result<Texts> {
        let data = &config.data;
        let open = |name: &str, path: &Path| {
            let built = token_file(folder, name);
            if !built.is_file() && is_token_file(path).unwrap_or(false) {
                return Corpus::open(path);
            }
            Corpus::open(&built).map_err(|error| match (built.exists(), built.display(), folder.display()) {
                (true, ..) => error,
                (false, built, run) => error.mend(format!(
                    "restore it from a copy, or by `unroll corpus build TEXT --vocabulary {run} --out {built}`"
                )),
            })
        };
        let other = |name: &str, path: &Option<PathBuf>| -> Result<Option<Tokens>> {
            path.as_ref().map(|path| Ok(Arc::new(open(name, path)?) as Tokens)).transpose()
        };
        let (valid, test) = (other("valid", &data.valid)?, other("test", &data.test)?);
        let (tokenizer, train, entropy_rate) = match data.train.as_slice() {
            [] => {
                let (tokenizer, tokens) = MemoryTokens::from_text(embedded_text(), &config.text_options())?;
                (tokenizer, Arc::new(tokens) as Tokens, None)
            }
            [path, ..] => {
                let corpus = open("train", path)?;
                let (tokenizer, rate) = (corpus.tokenizer().clone(), corpus.info().entropy_rate);
                (tokenizer, Arc::new(corpus) as Tokens, rate)
            }
        };
        Ok(Texts { tokenizer, train, valid, test, entropy_rate })
    }

    /// What trains, and what validates if anything does: streams, or the windows of a model that reads those.
    ///
    /// # Errors
    /// [`Error::Input`] where the text is too short for them; [`Error::Usage`] where a model gives one output a text, and has no
    /// `input_length`.
    pub fn batches(&self, config: &RunConfig, graph: &Graph) -> Result<(Box<dyn Batches>, Option<Cut>)> {
        let length = window_length(graph)?;
        if length.is_some() && config.train.variable_bptt {
            return Err(Error::option("train.variable_bptt", "applies to streams, and this model reads windows")
                .mend("leave it out"));
        }
        let cut = self
            .train(config, length)
            .and_then(|train| Ok((train, self.held(Held::Valid, config, length, Walk::in_training(config, length))?)));
        cut.map_err(|error| in_training_text(config, error))
    }

    fn train(&self, config: &RunConfig, length: Option<usize>) -> Result<Box<dyn Batches>> {
        let (source, rows) = (Arc::clone(&self.train), config.train.batch);
        let Some(length) = length else {
            let train = config.split().train(source, rows, config.train.steps)?;
            return Ok(match config.train.variable_bptt {
                true => Box::new(VariableStreams::new(train, config.seed)),
                false => Box::new(train),
            });
        };
        let [trains, _] = config.split().ends(source.len())?;
        let options = WindowOptions { shuffle: Some(config.seed), ..window_options(&self.tokenizer, length, rows) };
        Ok(Box::new(Windows::new(source, 0..trains, options)?))
    }

    /// The parts of the training text that are not held out.
    ///
    /// # Errors
    /// As [`batches`](Self::batches).
    pub fn training_parts(&self, config: &RunConfig) -> Result<Vec<Range<u64>>> {
        let (len, vocabulary) = (self.train.len(), self.tokenizer.vocabulary().len());
        let windows = window_length(&Graph::new(&config.model.graph(), vocabulary)?)?.is_some();
        let split = match config.split() {
            // Windows stand apart from each other, so that what is held out is always the end of the text.
            Split::Streams(shares) if windows => Split::Tail(shares),
            split => split,
        };
        let parts = split.training_parts(len, config.train.batch, config.train.steps);
        parts.map_err(|error| in_training_text(config, error))
    }

    /// The text of its own that is for this, if there is one.
    pub fn own(&self, part: Held) -> Option<&Tokens> {
        match part {
            Held::Valid => self.valid.as_ref(),
            Held::Test => self.test.as_ref(),
        }
    }

    /// What is for this, if anything is: a text of its own, or a part of the training text. It is cut as by
    /// [`Cut::whole`], but for the last parts of training streams, which have the training's rows and steps.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no token to score.
    pub fn held(&self, part: Held, config: &RunConfig, length: Option<usize>, walk: Walk) -> Result<Option<Cut>> {
        if let Some(own) = self.own(part) {
            return Cut::whole(own, &self.tokenizer, length, walk).map(Some);
        }
        let Walk { rows, steps, warmup } = walk;
        let (split, source) = (config.split(), Arc::clone(&self.train));
        let Some(length) = length else {
            let [rows, steps] = match split {
                Split::Streams(_) => [config.train.batch, config.train.steps],
                _ => [rows, steps],
            };
            let how = Evaluation { warmup, initial: None };
            return Ok(split.held(part, source, rows, steps, how)?.map(Cut::Streams));
        };
        // Windows stand apart from each other, so that what is held out is always the end of the text.
        let range = part.of(split.ends(source.len())?, source.len());
        if range.is_empty() {
            return Ok(None);
        }
        let options = window_options(&self.tokenizer, length, rows * steps);
        Ok(Some(Cut::Windows(Windows::new(source, range, options)?)))
    }
}

/// A text that is scored, as a model takes it.
pub enum Cut {
    /// In streams, whose state is carried along.
    Streams(Streams<Tokens>),
    /// Window after window.
    Windows(Windows<Tokens>),
}

impl Cut {
    /// All of a text: in streams, or in windows where the model reads those of `length` tokens. Every token is scored once, the first
    /// predicted from the end of a line where line ends are tokens (the custom of the Penn Treebank's figures).
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no token to score.
    pub fn whole(tokens: &Tokens, tokenizer: &Tokenizer, length: Option<usize>, walk: Walk) -> Result<Cut> {
        let Walk { rows, steps, warmup } = walk;
        let (range, tokens) = (0..tokens.len(), Arc::clone(tokens));
        Ok(match length {
            Some(length) => Cut::Windows(Windows::new(tokens, range, window_options(tokenizer, length, rows * steps))?),
            None => {
                let how = Evaluation { warmup, initial: tokenizer.vocabulary().eos() };
                Cut::Streams(Streams::evaluation(tokens, range, rows, steps, how)?)
            }
        })
    }

    /// As batches.
    pub fn batches(&self) -> &dyn Batches {
        match self {
            Cut::Streams(streams) => streams,
            Cut::Windows(windows) => windows,
        }
    }
}

/// The tokens of the windows that a model reads; none where it reads on and on.
///
/// # Errors
/// [`Error::Usage`] where it gives one output a text, and does not say how many tokens it reads.
pub fn window_length(graph: &Graph) -> Result<Option<usize>> {
    match graph.config().input_length {
        _ if graph.is_sequence() => Ok(None),
        Some(length @ 1..=LONGEST_WINDOW) => Ok(Some(length)),
        Some(length) => {
            let what = format!("input_length is {length}; windows of a text have 1 to {LONGEST_WINDOW} tokens");
            Err(Error::usage(what))
        }
        None => Err(Error::usage("this model gives one output a text, not one a token").mend(
            "let its recurrent layers return sequences, or set model.graph.input_length for windows of that many tokens",
        )),
    }
}

/// How windows of a text that this tokenizer has cut are read in their order.
fn window_options(tokenizer: &Tokenizer, length: usize, rows: usize) -> WindowOptions {
    let first = tokenizer.vocabulary().eos().is_some();
    WindowOptions { rows, length, filler: beginning(tokenizer), first, shuffle: None }
}

impl Reading<'_> {
    /// Tokens of a text beside the training text, by its vocabulary, with the entropy rate of its source if it is known.
    ///
    /// # Errors
    /// As [`Texts::read`]; where a token file has another vocabulary, the error says how they differ.
    pub fn other(&self, name: &str, path: &Path, tokenizer: &Tokenizer) -> Result<(Tokens, Option<f64>)> {
        let corpus = if is_token_file(path)? {
            let corpus = Corpus::open(path)?;
            corpus.tokenizer().vocabulary().check_same(tokenizer.vocabulary()).map_err(|error| in_file(path, error))?;
            corpus
        } else {
            self.build(name, &[path.to_owned()], Encoding::Known(tokenizer))?
        };
        let rate = corpus.info().entropy_rate;
        Ok((Arc::new(corpus), rate))
    }

    fn build(&self, name: &str, paths: &[PathBuf], encoding: Encoding<'_>) -> Result<Corpus> {
        let sources =
            paths.iter().map(|path| Source::with_columns(path, self.columns)).collect::<Result<Vec<Source>>>()?;
        let output = token_file(self.folder, name);
        let report = build(Build {
            sources: &sources,
            output: &output,
            encoding,
            errors: self.errors,
            threads: self.threads,
            memory: None,
            entropy_rate: None,
            progress: self.progress,
            cancel: self.cancel,
        })?;
        if report.unknown > report.tokens / 2 {
            let share = 100.0 * report.unknown as f64 / report.tokens as f64;
            (self.warn)(&format!(
                "{}: {share:.0} % of its {}s are not in the vocabulary and are read as `<unk>`: its figures say little about them",
                paths[0].display(),
                report.tokenizer.options().level.unit(),
            ));
        }
        Corpus::open(&output)
    }
}

/// A text that is too short is bad input; the error names the file.
fn in_training_text(config: &RunConfig, error: Error) -> Error {
    match config.data.train.as_slice() {
        [path, ..] => in_file(path, error),
        [] => error,
    }
}

/// What does not fit is the text in this file, not an option.
pub(super) fn in_file(path: &Path, error: Error) -> Error {
    match error {
        Error::Usage(message) => Error::Input { place: Place { path: path.to_owned(), at: At::Whole }, message },
        error => error,
    }
}

fn token_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.tokens"))
}

/// Whether a file begins as a token file does.
///
/// # Errors
/// [`Error::Input`] or [`Error::Io`] where it cannot be read.
pub fn is_token_file(path: &Path) -> Result<bool> {
    if path.as_os_str() == "-" || path.is_dir() {
        return Ok(false);
    }
    // A pipe must not lose its first bytes, nor its only reader, to a look.
    if !path.metadata().map_err(|error| Error::read(path, error))?.is_file() {
        return Ok(false);
    }
    let mut start = [0; 8];
    let mut file = File::open(path).map_err(|error| Error::read(path, error))?;
    Ok(file.read_exact(&mut start).is_ok() && start == *b"\x93UNROLL\n")
}
