//! `unroll vectors train`: word vectors from a text.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use unroll::config::{DataConfig, RunConfig};
use unroll::corpus::{Source, check_output, install_sigbus_handler, is_same_output};
use unroll::error::{Error, Result};
use unroll::report::{Progress, bytes, count, duration, json_line, per_second};
use unroll::run::{self, Texts, is_token_file};
use unroll::text::{EncodingErrors, Level};
use unroll::vectors::WordVectors;
use unroll::vectors::formats::{Format, check_name, check_words, files_written, write};
use unroll::vectors::train::{self, Context, Loss, Model, TrainOptions, Trainer};

use super::format_parser;
use super::open::Reading;
use crate::encoding::Encoding;
use crate::interrupt;
use crate::scratch::Scratch;
use crate::train::{TOKENS_ARE_MADE, threads};

/// The options that name vectors to begin with.
const INIT: &str = "--init";
const INIT_OUTPUT: &str = "--init-output";

/// Where nobody watches a bar, a line comes this often.
const EVERY: Duration = Duration::from_secs(15);

/// Trains word vectors on a text: one sentence a line, words separated by white space.
///
/// The vectors depend on the text, the options and the seed, but not on the number of threads.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll vectors train books.txt --out books.bin\n  \
    unroll vectors train books.txt --model skipgram --size 300 --epochs 10 --out books.safetensors\n  \
    zcat huge.gz | unroll vectors train - --min-count 20 --out huge.bin\n  \
    unroll vectors train small.txt --loss softmax --context previous --window 1 --out bigrams.bin\n  \
    unroll vectors train books.txt --out books.bin --output-vectors books.out.bin\n  \
    unroll vectors train more.txt --init books.bin --init-output books.out.bin --out both.bin\n\
    Ctrl-C ends the training early and writes the vectors learned so far.")]
pub(crate) struct Train {
    /// Text files, folders, gzip files, - for standard input, or a token file of words
    #[arg(required = true)]
    text: Vec<PathBuf>,
    /// File to write the vectors to
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Also write the output vectors, those of predicted words (gensim's syn1neg); not with --loss hierarchical, which has none
    #[arg(long, value_name = "FILE")]
    output_vectors: Option<PathBuf>,
    /// Start from the vectors in this file or run (fastText's -pretrainedVectors), which must have --size elements; words that it
    /// lacks start at random
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,
    /// Start from the output vectors in this file, as --output-vectors writes them [default: zeros]
    #[arg(long, value_name = "FILE")]
    init_output: Option<PathBuf>,
    /// Format of the output [default: by the file's extension: .bin, .npy, .safetensors, .tsv, otherwise word2vec's text]
    #[arg(long, value_name = "FORMAT", value_parser = format_parser())]
    to: Option<Format>,
    /// cbow predicts a word from the mean of its neighbours, skipgram from each neighbour alone
    #[arg(long, default_value = "cbow", value_parser = ["cbow", "skipgram"])]
    model: String,
    /// Negative sampling, hierarchical softmax over a Huffman tree, or the full softmax, whose time grows with the vocabulary
    #[arg(long, default_value = "negative", value_parser = ["negative", "hierarchical", "softmax"])]
    loss: String,
    /// Elements of a vector
    #[arg(long, visible_aliases = ["dim", "vector-size"], default_value_t = 100, value_name = "N")]
    size: usize,
    /// Largest window: each word draws its own, from 1 to N neighbours on a side
    #[arg(long, default_value_t = 5, value_name = "N")]
    window: usize,
    /// Neighbours on both sides, or previous words only; previous with --window 1 is a bigram model
    #[arg(long, default_value = "both", value_parser = ["both", "previous"])]
    context: String,
    /// Always use --window neighbours on a side, within the sentence (gensim's shrink_windows=False)
    #[arg(long)]
    fixed_window: bool,
    /// Noise words per prediction, for --loss negative [default: 5]
    #[arg(long, value_name = "N")]
    negative: Option<usize>,
    /// Subsampling: words that make up a larger share of the text are skipped at random; 0 keeps all
    #[arg(long, default_value_t = 1e-3, value_name = "SHARE")]
    sample: f64,
    /// Leave out words that occur less often
    #[arg(long, default_value_t = 5, value_name = "N")]
    min_count: u64,
    /// Passes over the text
    #[arg(long, visible_alias = "iter", default_value_t = 5, value_name = "N")]
    epochs: usize,
    /// Initial learning rate, which decays linearly
    #[arg(long, visible_aliases = ["lr", "alpha"], default_value_t = 0.025, value_name = "RATE")]
    learning_rate: f64,
    /// Most words in a batch, whose gradients are all taken at its start; a small vocabulary or a high rate makes it smaller
    #[arg(long, default_value_t = TrainOptions::default().batch, value_name = "N")]
    batch_words: usize,
    #[command(flatten)]
    encoding: Encoding,
    /// Seed of all random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads [default: all cores]; the vectors do not depend on it
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print JSON, one object a line, instead of text
    #[arg(long)]
    json: bool,
}

impl Train {
    pub(crate) fn run(self) -> Result<()> {
        let options = self.options()?;
        options.check()?;
        let initial = self.initial(&options)?;
        let outputs = self.outputs(&initial)?;
        install_sigbus_handler()?;
        let stop = interrupt::flag("stopping; the vectors are written as they are")?;
        let encoding_errors = self.encoding_errors()?;
        let scratch = Scratch::make("vectors")?;
        let data = DataConfig {
            train: self.text.clone(),
            level: Level::Word,
            min_count: self.min_count,
            encoding_errors,
            ..DataConfig::default()
        };
        let reading = run::Reading {
            folder: scratch.path(),
            errors: None,
            threads: options.threads,
            progress: None,
            // Rare words have no vectors, and that is meant.
            warn: |_| {},
            cancel: Some(&*stop),
            columns: &[],
        };
        let texts = Texts::read(&RunConfig { data, ..RunConfig::default() }, reading, None)?;
        let level = texts.tokenizer.options().level;
        if level != Level::Word {
            let what = format!("is a token file of the level {}, not of words", level.name());
            return Err(Error::input(&self.text[0], what).mend("name the text itself, or a token file of words"));
        }
        let epochs = options.epochs;
        let mut trainer = Trainer::new(&*texts.train, texts.tokenizer.vocabulary(), options)?;
        outputs.iter().try_for_each(|output| check_words(trainer.list(), output.format))?;
        let mut show = Show::new(&trainer.progress(), trainer.words(), self.json)?;
        let only = Arc::new(trainer.list().map(<[u8]>::to_vec).collect::<HashSet<_>>());
        for Initial { option, path, .. } in initial {
            let read = Reading::default().read_words(path, Some(Arc::clone(&only)))?;
            let taken = match option {
                INIT => trainer.set_vectors(&read.vectors)?,
                _ => trainer.set_outputs(&read.vectors)?,
            };
            show.initial(option, path, taken, trainer.words())?;
        }
        // A training is not given up for a log that cannot be written.
        let (mut ended, mut told) = (0, Ok(()));
        while !stop.load(Ordering::Relaxed) && trainer.step()? {
            let losses = trainer.losses();
            if losses.len() > ended {
                ended = losses.len();
                told = told.and(show.epoch(ended, epochs, losses[ended - 1], &trainer.progress()));
            } else {
                told = told.and(show.at(&trainer.progress(), epochs));
            }
        }
        let stopped = ended < epochs;
        let progress = trainer.progress();
        let trained = trainer.finish()?;
        for (output, vectors) in outputs.iter().zip(std::iter::once(&trained.vectors).chain(&trained.outputs)) {
            told = output.write(vectors, &mut show).and(told);
        }
        told?;
        match stopped {
            true => Err(Error::interrupted(format!(
                "stopped after {} of {} words; the vectors are those that it had by then",
                count(progress.words),
                count(progress.of)
            ))),
            false => Ok(()),
        }
    }

    fn encoding_errors(&self) -> Result<EncodingErrors> {
        match self.text.as_slice() {
            [path] if self.encoding.is_given() && is_token_file(path)? => {
                Err(Error::option("--encoding-errors", TOKENS_ARE_MADE))
            }
            _ => Ok(self.encoding.errors()?.unwrap_or_default()),
        }
    }

    fn options(&self) -> Result<TrainOptions> {
        let (loss, usual) = (self.loss.parse::<Loss>()?, TrainOptions::default());
        if self.negative.is_some() && loss != Loss::Negative {
            let what = format!("has no meaning with --loss {}, which needs no noise", self.loss);
            return Err(Error::option("--negative", what).mend("leave it out"));
        }
        Ok(TrainOptions {
            model: self.model.parse::<Model>()?,
            loss,
            size: self.size,
            window: self.window,
            context: self.context.parse::<Context>()?,
            shrink_windows: !self.fixed_window,
            negative: self.negative.unwrap_or(usual.negative),
            sample: self.sample,
            min_count: self.min_count,
            epochs: self.epochs,
            learning_rate: self.learning_rate,
            batch: self.batch_words,
            outputs: self.output_vectors.is_some(),
            seed: self.seed,
            threads: threads(self.threads)?,
            ..usual
        })
    }

    /// What the training begins with. Its vectors are read when the words of the text are known; now it is looked whether they fit.
    fn initial(&self, options: &TrainOptions) -> Result<Vec<Initial<'_>>> {
        let mut initial = Vec::new();
        for (option, path) in [(INIT, &self.init), (INIT_OUTPUT, &self.init_output)] {
            let Some(path) = path else { continue };
            if option == INIT_OUTPUT {
                options.check_outputs(option)?;
            }
            let metadata = path.metadata().map_err(|error| Error::read(path, error))?;
            // A pipe is read once.
            let files = if metadata.is_file() || metadata.is_dir() {
                let first = Reading::of_first_word().read(path)?;
                options.check_size(option, &first.vectors)?;
                first.files
            } else {
                Vec::new()
            };
            initial.push(Initial { option, path, files });
        }
        Ok(initial)
    }

    /// What is to be written: over no file that is read, nor over one another.
    fn outputs(&self, initial: &[Initial<'_>]) -> Result<Vec<Output<'_>>> {
        let mut sources: Vec<Source> = self.text.iter().map(Source::from_argument).collect();
        sources.extend(initial.iter().flat_map(|initial| &initial.files).cloned().map(Source::Path));
        let mut all: Vec<(&str, PathBuf)> = Vec::new();
        let mut outputs = Vec::new();
        for (option, path) in std::iter::once(("--out", &self.out))
            .chain(self.output_vectors.iter().map(|path| ("--output-vectors", path)))
        {
            writable(option, path)?;
            let format = self.to.unwrap_or_else(|| Format::of_name(path));
            check_name(path, format)?;
            let files = files_written(path, format);
            for file in &files {
                check_output(option, &sources, file)?;
                for (other, before) in &all {
                    if is_same_output(file, before)? {
                        let what = format!("{} is what {other} writes", file.display());
                        return Err(Error::option(option, what).mend("name another file"));
                    }
                }
            }
            all.extend(files.into_iter().map(|file| (option, file)));
            outputs.push(Output { path, format });
        }
        Ok(outputs)
    }
}

/// Vectors that a training begins with.
struct Initial<'a> {
    option: &'static str,
    path: &'a Path,
    /// The files that it is read from.
    files: Vec<PathBuf>,
}

/// A file that is written in the end.
struct Output<'a> {
    path: &'a Path,
    format: Format,
}

impl Output<'_> {
    /// Writes it; where that fails, among the temporary files, so that no training is lost.
    fn write(&self, vectors: &WordVectors, show: &mut Show) -> Result<()> {
        let written = write(self.path, vectors, self.format).map_err(|error| {
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            let rescue = std::env::temp_dir().join(format!("unroll-{}-{name}", std::process::id()));
            match write(&rescue, vectors, self.format) {
                Ok(_) => error.mend(format!("the vectors are in {}: move them", rescue.display())),
                Err(_) => error,
            }
        });
        for path in written? {
            let size = path.metadata().map_or(0, |metadata| metadata.len());
            show.line(&format!("{}: {}, {}", path.display(), self.format, bytes(size)))?;
            show.object(&json!({ "event": "written", "file": path, "bytes": size }))?;
        }
        Ok(())
    }
}

/// Refuses an output that could not be written in the end.
fn writable(option: &str, path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let wrong = if path.is_dir() {
        format!("{} is a folder", path.display())
    } else if !folder.is_dir() {
        format!("there is no folder {}", folder.display())
    } else {
        return Ok(());
    };
    Err(Error::option(option, wrong).mend("name a file in a folder that exists"))
}

/// What is printed meanwhile.
struct Show {
    progress: Progress,
    json: bool,
    began: Instant,
    last: Instant,
}

impl Show {
    fn new(progress: &train::Progress, words: usize, json: bool) -> Result<Show> {
        let now = Instant::now();
        let mut show = Show { progress: Progress::new(progress.of, !json), json, began: now, last: now };
        show.line(&format!("{} words to read, vectors of {} different", count(progress.of), count(words as u64)))?;
        show.object(&json!({ "event": "begun", "words": progress.of, "vocabulary": words }))?;
        Ok(show)
    }

    fn line(&mut self, text: &str) -> Result<()> {
        if self.json { Ok(()) } else { self.progress.line(text) }
    }

    fn object(&mut self, object: &serde_json::Value) -> Result<()> {
        if self.json { self.progress.line(&json_line(object)?) } else { Ok(()) }
    }

    /// How many words begin with their vectors of a file.
    fn initial(&mut self, option: &str, path: &Path, taken: usize, words: usize) -> Result<()> {
        let what = if option == INIT { "vectors" } else { "output vectors" };
        let (begin, all) = (count(taken as u64), count(words as u64));
        self.line(&format!("{begin} of {all} words begin with their {what} in {}", path.display()))?;
        self.object(&json!({ "event": "initial", "vectors": what, "file": path, "words": taken }))
    }

    /// Words a second, and the time that is left.
    fn pace(&self, progress: &train::Progress) -> (f64, Duration) {
        let rate = progress.words as f64 / self.began.elapsed().as_secs_f64().max(1e-9);
        let left = (progress.of - progress.words) as f64 / rate.max(1e-9);
        (rate, Duration::from_secs_f64(left.min(1e9)))
    }

    fn at(&mut self, progress: &train::Progress, epochs: usize) -> Result<()> {
        // A look at the clock a batch costs nothing beside it.
        let live = self.progress.is_live();
        if self.last.elapsed() < if live { Duration::from_millis(100) } else { EVERY } {
            return Ok(());
        }
        self.last = Instant::now();
        let (rate, left) = self.pace(progress);
        let train::Progress { epoch, words, of, loss, learning_rate } = progress;
        if live {
            let rate = per_second(rate);
            self.progress.at(*words, format!("loss {loss:.4}  {rate} words/s  {} left", duration(left)));
            return Ok(());
        }
        self.line(&format!(
            "epoch {epoch}/{epochs} | {:.0} % | loss {loss:.4} | rate {learning_rate:.2e} | {} words/s | {} left",
            100.0 * *words as f64 / *of as f64,
            per_second(rate),
            duration(left)
        ))?;
        self.object(&json!({ "event": "step", "progress": progress, "words_per_s": rate }))
    }

    fn epoch(&mut self, ended: usize, epochs: usize, loss: f64, progress: &train::Progress) -> Result<()> {
        self.last = Instant::now();
        let (rate, left) = self.pace(progress);
        let left = if ended < epochs { format!(" | {} left", duration(left)) } else { String::new() };
        let time = duration(self.began.elapsed());
        self.line(&format!("epoch {ended}/{epochs} | loss {loss:.4} | {} words/s | {time}{left}", per_second(rate)))?;
        self.object(
            &json!({ "event": "epoch", "epoch": ended, "loss": loss, "words": progress.words, "words_per_s": rate }),
        )
    }
}
