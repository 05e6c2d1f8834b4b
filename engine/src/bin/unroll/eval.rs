//! `unroll eval`: how well a model predicts a text.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;
use unroll::corpus::{Evaluation, Split, Streams, install_sigbus_handler};
use unroll::error::{At, Error, Result};
use unroll::eval::{Score, evaluate, score_lines};
use unroll::network::{Network, NetworkOptions};
use unroll::report::{Out, count, json_line};
use unroll::run::{Reading, Texts, Tokens, WARM_UP};

use unroll_kernels::gemm::Precision;

use crate::labels::{self, TrainedTask};
use crate::show::in_units;
use crate::trained::{Opened, Trained, Using};

/// Scores a text with a trained model: loss, perplexity, bits.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll eval runs/1 --data test.txt\n  \
    unroll eval runs/1                       the run's own test text, else its validation text\n  \
    unroll eval runs/1 --data lines.txt --per-line\n\
    Every token is scored once with carried state; the batch only decides how many parts are scored side by side.")]
pub(crate) struct Eval {
    /// A run folder, or one of its checkpoints
    run: PathBuf,
    /// The text, or a token file [default: the run's test text, else its validation text]
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Parts of the text scored side by side
    #[arg(long, visible_alias = "batch-size", default_value_t = 10, value_name = "N")]
    batch: usize,
    /// Tokens that each part but the first is fed before it is scored
    #[arg(long, default_value_t = WARM_UP, value_name = "N")]
    warmup: u64,
    /// The log-probability of each line, scored apart from the others
    #[arg(long, requires = "data")]
    per_line: bool,
    #[command(flatten)]
    using: Using,
    /// JSON objects instead of text
    #[arg(long)]
    json: bool,
}

/// A score and, of a precision that loses some of it, what it is in f32.
#[derive(serde::Serialize)]
struct Beside {
    #[serde(flatten)]
    score: Score,
    #[serde(skip_serializing_if = "Option::is_none")]
    f32_perplexity: Option<f64>,
    /// The share by which the perplexity is higher.
    #[serde(skip_serializing_if = "Option::is_none")]
    perplexity_lost: Option<f64>,
}

/// Time steps of a batch: the input part and the head are products over all of them.
const STEPS: usize = 100;

/// The most rows of an evaluation.
const MOST_ROWS: usize = 4096;

impl Eval {
    pub(crate) fn run(self) -> Result<()> {
        if self.batch == 0 || self.batch > MOST_ROWS {
            return Err(Error::option("--batch", format!("must be from 1 to {MOST_ROWS}, got {}", self.batch)));
        }
        install_sigbus_handler()?;
        let opened = Opened::open(&self.run)?;
        if opened.config.task.is_some() {
            return self.labelled(&TrainedTask::of(opened)?);
        }
        let trained = Trained::of(opened)?;
        // The validation parts of training streams are as many and as long as those were.
        let train = &trained.config.train;
        let own = self.data.is_none();
        let options = NetworkOptions {
            threads: self.using.threads()?,
            steps: if own { STEPS.max(train.steps) } else { STEPS },
            rows: if own { self.batch.max(train.batch) } else { self.batch },
            training: false,
            precision: self.using.precision(&trained.config),
            ..NetworkOptions::default()
        };
        match &self.data {
            Some(path) if self.per_line => self.lines(&mut self.network(&trained, options)?, &trained, path),
            _ => self.whole(options, &trained),
        }
    }

    fn labelled(&self, trained: &TrainedTask) -> Result<()> {
        if self.per_line {
            return Err(Error::option("--per-line", "is for language models").mend("use `unroll predict`"));
        }
        if self.warmup != WARM_UP {
            return Err(Error::option("--warmup", "is for language models; samples stand apart from each other"));
        }
        labels::eval(trained, self.data.as_deref(), (&self.using, self.batch), self.json)
    }

    fn network(&self, trained: &Trained, options: NetworkOptions) -> Result<Network> {
        let mut network = Network::new(&trained.graph, options)?;
        trained.load(self.using.which()?, network.params_mut())?;
        Ok(network)
    }

    fn whole(&self, options: NetworkOptions, trained: &Trained) -> Result<()> {
        let scratch = Scratch::make()?;
        let (name, streams, entropy_rate) = self.streams(trained, &scratch)?;
        let score = |precision| {
            let mut network = self.network(trained, NetworkOptions { precision, ..options.clone() })?;
            Ok(Score::new(evaluate(&mut network, &streams, &AtomicBool::new(false))?, entropy_rate))
        };
        let exact = match options.precision {
            Precision::Int8 => Some(score(Precision::F32)?.perplexity),
            _ => None,
        };
        let score = score(options.precision)?;
        let lost = exact.map(|exact| score.perplexity / exact - 1.0);
        let mut out = Out::stdout();
        if self.json {
            return out.line(&json_line(&Beside { score, f32_perplexity: exact, perplexity_lost: lost })?);
        }
        let level = trained.tokenizer.options().level;
        out.line(&format!("text: {name}, {} tokens scored", count(score.tokens)))?;
        out.line(&format!("loss: {:.6} nats a token", score.loss))?;
        out.line(&format!("perplexity: {:.4}", score.perplexity))?;
        out.line(&format!("bits: {:.6} a token ({})", score.bits_per_token, in_units(level, score.loss)))?;
        if let (Some(exact), Some(lost)) = (exact, lost) {
            out.line(&format!("perplexity in f32: {exact:.4}; int8 costs {:.3} % of it", 100.0 * lost))?;
        }
        if let (Some(rate), Some(excess)) = (score.entropy_rate, score.excess) {
            let percent = 100.0 * excess;
            out.line(&format!("entropy rate of the source: {rate:.6} nats; the model is {percent:.2} % above it"))?;
        }
        Ok(())
    }

    /// The text as streams, with its name and the entropy rate of its source.
    fn streams(&self, trained: &Trained, scratch: &Scratch) -> Result<(String, Streams<Tokens>, Option<f64>)> {
        let (config, tokenizer) = (&trained.config, &trained.tokenizer);
        let how = Evaluation { warmup: self.warmup, ..Texts::evaluation(tokenizer) };
        let all = |tokens: Tokens| {
            let range = 0..tokens.len();
            Streams::evaluation(tokens, range, self.batch, STEPS, how)
        };
        if let Some(path) = &self.data {
            let reading = Reading { folder: &scratch.0, threads: self.using.threads()?, progress: None, cancel: None };
            let (tokens, rate) = reading.other("eval", path, tokenizer)?;
            return Ok((path.display().to_string(), all(tokens)?, rate));
        }
        let texts = Texts::open(config, &trained.folder)?;
        let rate = texts.entropy_rate;
        if let Some(test) = texts.test {
            return Ok(("the run's test text".to_owned(), all(test)?, None));
        }
        if let Some(valid) = texts.valid {
            return Ok(("the run's validation text".to_owned(), all(valid)?, None));
        }
        let streams = match config.split() {
            // The last parts of the streams lie apart from each other; they are scored as they were in training.
            split @ Split::Streams(_) => split.valid(texts.train, config.train.batch, config.train.steps, how)?,
            split => split.valid(texts.train, self.batch, STEPS, Evaluation { initial: None, ..how })?,
        };
        let streams = streams
            .ok_or_else(|| Error::usage("this run held nothing out to score").mend("name a text with --data"))?;
        Ok(("the run's validation part".to_owned(), streams, rate))
    }

    fn lines(&self, network: &mut Network, trained: &Trained, path: &Path) -> Result<()> {
        let bytes = std::fs::read(path).map_err(|error| Error::read(path, error))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to() as u64;
            Error::input_at(path, At::Byte(at), "the text is not valid UTF-8")
        })?;
        let mut out = Out::stdout();
        let json = self.json;
        if !json {
            out.line("line\ttokens\tln p")?;
        }
        score_lines(network, &trained.tokenizer, &text, |score| {
            if json {
                return out.line(&json_line(&score)?);
            }
            out.line(&format!("{}\t{}\t{:.6}", score.line, score.tokens, score.log_probability))
        })
    }
}

/// A folder for the text's tokens that goes away at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn make() -> Result<Scratch> {
        let path = std::env::temp_dir().join(format!("unroll-eval-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| Error::io(&path, "cannot make a folder", error))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left for the system to clean where it fails.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}
