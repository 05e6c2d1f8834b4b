//! `unroll eval`: how well a model predicts a text.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;
use unroll::corpus::{Held, install_sigbus_handler};
use unroll::error::{Error, Result};
use unroll::eval::{Score, SpeakerScore, evaluate, score_lines, score_speakers};
use unroll::network::{LogPartitions, Network, NetworkOptions};
use unroll::report::{Align, Out, Table, count, json_line};
use unroll::run::{Cut, Reading, Texts, WARM_UP, Walk, is_token_file, window_length};
use unroll::text::EncodingErrors;

use unroll_kernels::gemm::Precision;

use crate::encoding::Encoding;
use crate::labels::{self, TrainedTask};
use crate::rescore::{Rescoring, in_file, read_lines};
use crate::scratch::Scratch;
use crate::search::SearchOptions;
use crate::show::{in_units, warn};
use crate::trained::{Opened, Trained, Using};

/// Scores a text with a trained model: loss, perplexity, bits.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll eval runs/1 --data test.txt\n  \
    unroll eval runs/1                       the run's own test part, otherwise its validation part\n  \
    unroll eval runs/1 --data lines.txt --per-line\n  \
    unroll eval runs/1 --data lists.tsv --n-best --best\n\
    Every token is scored once with carried state; --batch only sets how many parts are scored in parallel.")]
pub(crate) struct Eval {
    /// A run folder, or one of its checkpoints
    run: PathBuf,
    /// Text or token file to score [default: the run's test part, otherwise its validation part]
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Number of parts of the text scored in parallel
    #[arg(long, visible_alias = "batch-size", default_value_t = 10, value_name = "N")]
    batch: usize,
    /// Tokens to feed before scoring each part except the first
    #[arg(long, default_value_t = WARM_UP, value_name = "N")]
    warmup: u64,
    /// Print the log-probability of each line, each scored on its own
    #[arg(long, requires = "data")]
    per_line: bool,
    /// Score n-best lists: lines of `ID<tab>TEXT`, ranked by ln p / tokens^X with X from --length-power; - is standard input
    #[arg(long, requires = "data", conflicts_with = "per_line")]
    n_best: bool,
    /// Print only the best line of each list, as `ID<tab>TEXT`
    #[arg(long, requires = "n_best")]
    best: bool,
    /// With --per-line and --n-best: leave out characters and words missing from the vocabulary, instead of reading them as <unk> or
    /// refusing them
    #[arg(long)]
    skip_unknown: bool,
    #[command(flatten)]
    search: SearchOptions,
    #[command(flatten)]
    encoding: Encoding,
    #[command(flatten)]
    using: Using,
    /// Print JSON objects instead of text
    #[arg(long)]
    json: bool,
}

/// A score and, for a precision that loses accuracy, the score in f32.
#[derive(serde::Serialize)]
struct Beside {
    #[serde(flatten)]
    score: Score,
    #[serde(skip_serializing_if = "Option::is_none")]
    f32_perplexity: Option<f64>,
    /// The fraction by which the perplexity is higher.
    #[serde(skip_serializing_if = "Option::is_none")]
    perplexity_lost: Option<f64>,
    /// For outputs trained without normalisation: statistics of ln Z.
    #[serde(rename = "log_partition", skip_serializing_if = "LogPartitions::is_empty")]
    log_partitions: LogPartitions,
    /// For a script.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    speakers: Vec<SpeakerScore>,
}

/// Speakers that are shown to people.
const MOST_SPEAKERS: usize = 20;

/// The scores of speakers for people.
fn speaker_lines(speakers: &[SpeakerScore]) -> Vec<String> {
    if speakers.is_empty() {
        return Vec::new();
    }
    let right = Align::Right;
    let mut table =
        Table::new(&[("speaker", Align::Left), ("tokens", right), ("nats a token", right), ("perplexity", right)]);
    let (known, others): (Vec<_>, Vec<_>) = speakers.iter().partition(|score| score.speaker.is_some());
    for SpeakerScore { speaker, score } in known.iter().take(MOST_SPEAKERS).chain(&others) {
        let (loss, perplexity) = (format!("{:.4}", score.loss), format!("{:.3}", score.perplexity));
        let name = speaker.clone().unwrap_or_else(|| "(others, whom the run does not know)".to_owned());
        table.row([name, count(score.tokens), loss, perplexity]);
    }
    let mut lines = vec![String::new()];
    lines.extend(table.lines());
    if known.len() > MOST_SPEAKERS {
        lines.push(format!("and {} more speakers; --json lists all", known.len() - MOST_SPEAKERS));
    }
    lines
}

/// Time steps of a batch: the input part and the head are products over all of them.
pub(crate) const STEPS: usize = 100;

/// The most rows of an evaluation.
pub(crate) const MOST_ROWS: usize = 4096;

impl Eval {
    pub(crate) fn run(self) -> Result<()> {
        if self.batch == 0 || self.batch > MOST_ROWS {
            return Err(Error::option("--batch", format!("must be from 1 to {MOST_ROWS}, got {}", self.batch)));
        }
        if self.encoding.is_given() && self.data.as_deref().map_or(Ok(true), is_token_file)? {
            return Err(Error::option("--encoding-errors", "is for a text that is read").mend("name one with --data"));
        }
        install_sigbus_handler()?;
        let opened = Opened::open(&self.run)?;
        if opened.config.task.is_some() {
            return self.labelled(&TrainedTask::of(opened)?);
        }
        match self.n_best {
            true => self.search.refuse_beam("this is a language model")?,
            false => self.search.refuse("this is a language model")?,
        }
        let trained = Trained::of(opened)?;
        // The held-out parts of training streams are as many and as long as those were.
        let train = &trained.config.train;
        let (own, length) = (self.data.is_none(), window_length(&trained.graph)?);
        let room = match length {
            Some(length) => [length, self.batch * STEPS],
            None if own => [STEPS.max(train.steps), self.batch.max(train.batch)],
            None => [STEPS, self.batch],
        };
        self.check_windows(length)?;
        if self.skip_unknown && !(self.per_line || self.n_best) {
            return Err(Error::option("--skip-unknown", "is for lines that are scored on their own").mend(
                "give --per-line or --n-best; in a running text, words missing from the vocabulary are scored as <unk>",
            ));
        }
        let [steps, rows] = room;
        let options = NetworkOptions { steps, rows, ..self.using.network_options(&trained.config)? };
        if self.per_line || self.n_best {
            self.using.hint_at_cost(&self.run);
        }
        match &self.data {
            Some(path) if self.per_line => self.lines(&mut self.network(&trained, options)?, &trained, path),
            Some(path) if self.n_best => {
                let (best, length_power) = (self.best, self.search.length_power()?);
                let rescoring = Rescoring { best, length_power, skip_unknown: self.skip_unknown, json: self.json };
                let text = read_lines(path, self.errors(&trained)?)?;
                rescoring.run(&mut self.network(&trained, options)?, &trained.tokenizer, (path, &text))
            }
            _ => self.whole(options, &trained),
        }
    }

    fn labelled(&self, trained: &TrainedTask) -> Result<()> {
        for (option, given) in [("--per-line", self.per_line), ("--n-best", self.n_best)] {
            if given {
                return Err(Error::option(option, "is for language models").mend("use `unroll predict`"));
            }
        }
        if self.skip_unknown {
            return Err(Error::option("--skip-unknown", "is for language models"));
        }
        if self.warmup != WARM_UP {
            return Err(Error::option("--warmup", "is for language models; samples are independent of each other"));
        }
        let beam = self.search.beam(trained)?;
        let (using, rows, length_power) = (&self.using, self.batch.max(beam), self.search.length_power()?);
        let how = labels::Scoring { using, rows, beam, length_power, errors: self.encoding.errors()?, json: self.json };
        labels::eval(trained, self.data.as_deref(), &how)
    }

    /// What is done with bytes of lines that are not UTF-8.
    fn errors(&self, trained: &Trained) -> Result<EncodingErrors> {
        Ok(self.encoding.errors()?.unwrap_or(trained.tokenizer.options().errors))
    }

    fn network(&self, trained: &Trained, options: NetworkOptions) -> Result<Network> {
        let mut network = Network::new(&trained.graph, options)?;
        trained.load(self.using.which()?, network.params_mut())?;
        Ok(network)
    }

    fn whole(&self, options: NetworkOptions, trained: &Trained) -> Result<()> {
        let scratch = Scratch::make("eval")?.removed_at_interrupt()?;
        let (name, cut, entropy_rate) = self.cut(trained, &scratch)?;
        let score = |precision| {
            let mut network = self.network(trained, NetworkOptions { precision, ..options.clone() })?;
            let sum = evaluate(&mut network, cut.batches(), &AtomicBool::new(false))?;
            Ok((Score::new(sum, entropy_rate), network.log_partitions()))
        };
        let exact = match options.precision {
            Precision::Int8 => Some(score(Precision::F32)?.0.perplexity),
            _ => None,
        };
        let (score, log_partitions) = score(options.precision)?;
        let lost = exact.map(|exact| score.perplexity / exact - 1.0);
        let speakers = self.speakers(&options, trained, &cut)?;
        let mut out = Out::stdout();
        if self.json {
            return out.line(&json_line(&Beside {
                score,
                f32_perplexity: exact,
                perplexity_lost: lost,
                log_partitions,
                speakers,
            })?);
        }
        let level = trained.tokenizer.options().level;
        out.line(&format!("text: {name}, {} tokens scored", count(score.tokens)))?;
        out.line(&format!("loss: {:.6} nats a token", score.loss))?;
        out.line(&format!("perplexity: {:.4}", score.perplexity))?;
        out.line(&format!("bits: {:.6} a token ({})", score.bits_per_token, in_units(level, score.loss)))?;
        for (name, of) in log_partitions.named("ln Z of the scores") {
            out.line(&format!("{name}: {:.3} on average, standard deviation {:.3}", of.mean, of.deviation))?;
        }
        if let (Some(exact), Some(lost)) = (exact, lost) {
            out.line(&format!("perplexity in f32: {exact:.4}; int8 costs {:.3} % of it", 100.0 * lost))?;
        }
        if let (Some(rate), Some(excess)) = (score.entropy_rate, score.excess) {
            let percent = 100.0 * excess;
            out.line(&format!("entropy rate of the source: {rate:.6} nats; the model is {percent:.2} % above it"))?;
        }
        speaker_lines(&speakers).iter().try_for_each(|line| out.line(line))
    }

    /// The scores of the speakers of a script; none where the run learned another text.
    fn speakers(&self, options: &NetworkOptions, trained: &Trained, cut: &Cut) -> Result<Vec<SpeakerScore>> {
        let data = &trained.config.data;
        let (false, Cut::Streams(streams)) = (data.speakers.is_empty(), cut) else { return Ok(Vec::new()) };
        let (tokenizer, mut network) = (&trained.tokenizer, self.network(trained, options.clone())?);
        score_speakers(&mut network, streams, tokenizer, &data.cast(tokenizer), &AtomicBool::new(false))
    }

    /// Refuses options about streams where the model reads windows.
    fn check_windows(&self, length: Option<usize>) -> Result<()> {
        if length.is_none() {
            return Ok(());
        }
        let apart = "needs a carried state, and this model reads windows of a text";
        for (option, given) in [("--per-line", self.per_line), ("--n-best", self.n_best)] {
            if given {
                return Err(Error::option(option, apart).mend("leave it out, and score the text as a whole"));
            }
        }
        match self.warmup {
            WARM_UP => Ok(()),
            _ => Err(Error::option("--warmup", "is for models that carry a state; this one reads windows of a text")),
        }
    }

    /// The text as the model takes it, with its name and the entropy rate of its source.
    fn cut(&self, trained: &Trained, scratch: &Scratch) -> Result<(String, Cut, Option<f64>)> {
        let (config, tokenizer) = (&trained.config, &trained.tokenizer);
        let length = window_length(&trained.graph)?;
        let walk = Walk { rows: self.batch, steps: STEPS, warmup: self.warmup };
        if let Some(path) = &self.data {
            let reading = Reading {
                folder: scratch.path(),
                errors: self.encoding.errors()?,
                threads: self.using.threads()?,
                progress: None,
                warn,
                cancel: None,
                columns: &config.data.columns,
            };
            let (tokens, rate) = reading.other("eval", path, tokenizer)?;
            let cut = Cut::whole(&tokens, tokenizer, length, walk)?;
            return Ok((path.display().to_string(), cut, rate));
        }
        let texts = Texts::open(config, &trained.folder)?;
        for (part, does) in [(Held::Test, "test"), (Held::Valid, "validation")] {
            let Some(cut) = texts.held(part, config, length, walk)? else { continue };
            return Ok(match texts.own(part) {
                Some(_) => (format!("the run's {does} text"), cut, None),
                None => (format!("the run's {does} part"), cut, texts.entropy_rate),
            });
        }
        Err(Error::usage("this run has no validation or test part to score").mend("name a text with --data"))
    }

    fn lines(&self, network: &mut Network, trained: &Trained, path: &Path) -> Result<()> {
        let text = read_lines(path, self.errors(trained)?)?;
        let mut out = Out::stdout();
        let json = self.json;
        if !json {
            out.line("line\ttokens\tln p")?;
        }
        let lines = (1..).zip(text.lines());
        let found = score_lines(network, &trained.tokenizer, lines, self.skip_unknown, |score| {
            if json {
                return out.line(&json_line(&score)?);
            }
            out.line(&format!("{}\t{}\t{:.6}", score.line, score.tokens, score.log_probability))
        });
        found.map_err(|error| in_file(path, error))
    }
}
