//! `unroll ngram`: n-gram models, alone and mixed with a network.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use clap::{Args, ValueEnum};
use unroll::config::{DataConfig, RunConfig, SplitName};
use unroll::corpus::install_sigbus_handler;
use unroll::error::{Error, Result};
use unroll::network::{Network, NetworkOptions, require_memory};
use unroll::ngram::{NGram, Pairs, Smoothing};
use unroll::recipes;
use unroll::report::{Align, Out, Table, count, json_line};
use unroll::run::{Cut, Reading, Texts, Tokens, Walk, is_token_file, window_length};
use unroll::text::Level;

use crate::encoding::Encoding;
use crate::eval::{MOST_ROWS, STEPS};
use crate::scratch::Scratch;
use crate::show::warn;
use crate::train::TOKENS_ARE_MADE;
use crate::trained::{Opened, Trained, Using};

/// Trains n-gram models, the baselines of language models, and interpolates one with a network.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll ngram --data train.txt --valid valid.txt --test test.txt\n  \
    unroll ngram --data train.txt --valid valid.txt --level char --order 6 --smoothing kneser-ney\n  \
    unroll ngram --data train.txt --valid valid.txt --recipe nnlm-brown --order 3\n  \
    unroll ngram runs/1                      on the run's texts, and interpolated with its network\n\
    The weights of the orders and of the network are fitted to the validation text only.")]
pub(crate) struct NGramCommand {
    /// A run folder, whose texts are counted and whose network is interpolated with the n-gram model
    run: Option<PathBuf>,
    /// Texts or token files to count
    #[arg(long, value_name = "FILE", conflicts_with = "run", required_unless_present = "run")]
    data: Vec<PathBuf>,
    /// Validation text, to which the interpolation weights are fitted
    #[arg(long, value_name = "FILE", conflicts_with = "run", required_unless_present = "run")]
    valid: Option<PathBuf>,
    /// Test text
    #[arg(long, value_name = "FILE", conflicts_with = "run")]
    test: Option<PathBuf>,
    /// Recipe whose [data] section says how to tokenise the texts; `unroll recipes` lists them
    #[arg(long, value_name = "NAME", conflicts_with = "run")]
    recipe: Option<String>,
    /// Unit of a token: byte, char, grapheme or word [default: word, or the recipe's]
    #[arg(long, value_name = "WORD", conflicts_with = "run", value_parser = ["byte", "char", "grapheme", "word"])]
    level: Option<String>,
    /// Steps that prepare the texts before tokenisation, such as join_lines or nfc,lower [default: none, or the recipe's]
    #[arg(long, value_name = "STEPS", conflicts_with = "run")]
    prepare: Option<String>,
    /// Replace words rarer than this by <unk> [default: 1, or the recipe's]
    #[arg(long, value_name = "N", conflicts_with = "run")]
    min_count: Option<u64>,
    /// Order n of the longest n-grams
    #[arg(long, default_value_t = 3, value_name = "N")]
    order: usize,
    /// Smoothing method [default: each in turn]
    #[arg(long, value_name = "NAME")]
    smoothing: Option<SmoothingName>,
    /// Number of parts of a text that the network of a run scores in parallel [default: 10]
    #[arg(long, visible_alias = "batch-size", value_name = "N", conflicts_with = "data")]
    batch: Option<usize>,
    #[command(flatten)]
    encoding: Encoding,
    #[command(flatten)]
    using: Using,
    /// Print one JSON object per line instead of tables
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SmoothingName {
    Interpolated,
    KneserNey,
    KneserNeyBackoff,
}

impl SmoothingName {
    fn smoothing(self) -> Smoothing {
        match self {
            Self::Interpolated => Smoothing::Interpolated,
            Self::KneserNey => Smoothing::KneserNey,
            Self::KneserNeyBackoff => Smoothing::KneserNeyBackoff,
        }
    }
}

/// A model's perplexity on the texts.
#[derive(serde::Serialize)]
struct Line {
    model: String,
    /// How it is interpolated with the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    mixed: Option<&'static str>,
    /// The network's weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<f64>,
    valid_perplexity: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    test_perplexity: Option<f64>,
}

/// The texts, counted and scored.
struct Words {
    vocabulary: usize,
    /// What stands before the first word of a text, where line ends are tokens; else the first word is not scored.
    end: Option<u32>,
    train: Vec<u32>,
    valid: Vec<u32>,
    test: Option<Vec<u32>>,
}

impl Words {
    /// The perplexity of a text, whose words are scored as a network scores them.
    fn perplexity(&self, model: &NGram, text: &[u32]) -> f64 {
        let text: Vec<u32> = self.end.into_iter().chain(text.iter().copied()).collect();
        model.loss(&text, 1).exp()
    }
}

impl NGramCommand {
    pub(crate) fn run(self) -> Result<()> {
        if let Some(batch) = self.batch.filter(|batch| !(1..=MOST_ROWS).contains(batch)) {
            return Err(Error::option("--batch", format!("must be from 1 to {MOST_ROWS}, got {batch}")));
        }
        if self.run.is_some() && self.encoding.is_given() {
            return Err(Error::option("--encoding-errors", "is for texts that are read; a run's are token files")
                .mend("leave it out"));
        }
        if self.run.is_none() {
            self.using.refuse("is for the network of a run")?;
        }
        install_sigbus_handler()?;
        let scratch = Scratch::make("ngram")?.removed_at_interrupt()?;
        let trained = self.run.as_deref().map(|run| Trained::of(Opened::open(run)?)).transpose()?;
        let texts = match &trained {
            Some(trained) => Texts::open(&trained.config, &trained.folder)?,
            None => self.texts(&scratch)?,
        };
        let Some(valid) = &texts.valid else {
            return Err(Error::usage(
                "the run validates on a part of its training text, which would be counted along with the rest",
            )
            .mend("train it with a validation text of its own: --valid FILE"));
        };
        let words = Words {
            vocabulary: texts.tokenizer.vocabulary().len(),
            end: texts.tokenizer.vocabulary().eos(),
            train: read(&texts.train)?,
            valid: read(valid)?,
            test: texts.test.as_ref().map(read).transpose()?,
        };
        let mut lines = Vec::new();
        let mut network = trained.as_ref().map(|trained| self.network(trained)).transpose()?;
        let all = [SmoothingName::Interpolated, SmoothingName::KneserNey, SmoothingName::KneserNeyBackoff];
        let chosen = self.smoothing.as_ref().map_or(&all[..], std::slice::from_ref);
        for smoothing in chosen.iter().map(|name| name.smoothing()) {
            let model = NGram::new(&words.train, words.vocabulary, self.order, smoothing, &words.valid)?;
            let name = format!("{}-gram, {smoothing}", self.order);
            match &mut network {
                Some(network) => self.mix(&mut lines, (&name, &model), network, &texts)?,
                None => lines.push(Line {
                    model: name,
                    mixed: None,
                    weight: None,
                    valid_perplexity: words.perplexity(&model, &words.valid),
                    test_perplexity: words.test.as_ref().map(|test| words.perplexity(&model, test)),
                }),
            }
        }
        self.print(&words, &lines)
    }

    fn print(&self, words: &Words, lines: &[Line]) -> Result<()> {
        let mut out = Out::stdout();
        if self.json {
            return lines.iter().try_for_each(|line| out.line(&json_line(line)?));
        }
        let sizes = [count(words.train.len() as u64), count(words.valid.len() as u64), count(words.vocabulary as u64)];
        out.line(&format!("counted: {} tokens; validation: {}; vocabulary: {}", sizes[0], sizes[1], sizes[2]))?;
        let right = Align::Right;
        let mut table = Table::new(&[
            ("model", Align::Left),
            ("network's weight", right),
            ("valid perplexity", right),
            ("test", right),
        ]);
        for line in lines {
            let number = |x: Option<f64>, digits| x.map_or(String::new(), |x| format!("{x:.digits$}"));
            table.row([
                line.mixed.map_or_else(|| line.model.clone(), |mixed| format!("  mixed {mixed}")),
                number(line.weight, 3),
                number(Some(line.valid_perplexity), 3),
                number(line.test_perplexity, 3),
            ]);
        }
        table.lines().iter().try_for_each(|line| out.line(line))
    }

    /// The texts that the options name.
    fn texts(&self, scratch: &Scratch) -> Result<Texts> {
        let mut config = match &self.recipe {
            Some(name) => recipes::find(name)?.config()?.0,
            None => {
                RunConfig { data: DataConfig { level: Level::Word, ..DataConfig::default() }, ..RunConfig::default() }
            }
        };
        if config.task.is_some() {
            return Err(Error::option("--recipe", "this recipe learns from labelled samples, not from running text")
                .mend("name the recipe of a language model"));
        }
        if let [path] = self.data.as_slice()
            && is_token_file(path)?
        {
            let given = [
                ("--level", self.level.is_some()),
                ("--prepare", self.prepare.is_some()),
                ("--min-count", self.min_count.is_some()),
                ("--encoding-errors", self.encoding.is_given()),
            ];
            if let Some((option, _)) = given.iter().find(|(_, given)| *given) {
                return Err(Error::option(option, TOKENS_ARE_MADE));
            }
        }
        let data = &mut config.data;
        (data.train, data.valid, data.test) = (self.data.clone(), self.valid.clone(), self.test.clone());
        data.split = SplitName::None;
        if let Some(level) = &self.level {
            data.level = level.parse()?;
        }
        if let Some(steps) = &self.prepare {
            data.prepare = steps.parse()?;
        }
        data.min_count = self.min_count.unwrap_or(data.min_count);
        data.encoding_errors = self.encoding.errors()?.unwrap_or(data.encoding_errors);
        let threads = self.using.threads()?;
        let columns = &config.data.columns;
        let reading =
            Reading { folder: scratch.path(), errors: None, threads, progress: None, cancel: None, warn, columns };
        Texts::read(&config, reading, None)
    }

    /// Parts of a text that the network scores side by side.
    fn rows(&self) -> usize {
        self.batch.unwrap_or(10)
    }

    fn network(&self, trained: &Trained) -> Result<Network> {
        let [steps, rows] = match window_length(&trained.graph)? {
            Some(length) => [length, self.rows() * STEPS],
            None => [STEPS, self.rows()],
        };
        let options = NetworkOptions { steps, rows, ..self.using.network_options(&trained.config)? };
        self.using.hint_at_cost(&trained.folder);
        let mut network = Network::new(&trained.graph, options)?;
        trained.load(self.using.which()?, network.params_mut())?;
        Ok(network)
    }

    /// Adds the lines of a model, of the network where they are the first, and of their mixtures.
    fn mix(
        &self,
        lines: &mut Vec<Line>,
        (name, model): (&str, &NGram),
        network: &mut Network,
        texts: &Texts,
    ) -> Result<()> {
        let mut score = |tokens: &Tokens| {
            let length = window_length(network.graph())?;
            let cut = Cut::whole(tokens, &texts.tokenizer, length, Walk::new(self.rows(), STEPS))?;
            Pairs::score(network, model, cut.batches(), &AtomicBool::new(false))
        };
        let valid = texts.valid.as_ref().map(&mut score).transpose()?.unwrap_or_default();
        let test = texts.test.as_ref().map(&mut score).transpose()?;
        let line = |model: &str, share: f64, mixed: Option<&'static str>| Line {
            model: model.to_owned(),
            mixed,
            weight: mixed.map(|_| share),
            valid_perplexity: valid.loss(share).exp(),
            test_perplexity: test.as_ref().map(|test| test.loss(share).exp()),
        };
        if lines.is_empty() {
            lines.push(line("the network", 1.0, None));
        }
        lines.push(line(name, 0.0, None));
        lines.push(line(name, 0.5, Some("half and half")));
        lines.push(line(name, valid.best_weight(), Some("by the validation text")));
        Ok(())
    }
}

/// Bytes that a word of the text takes at least: itself, its place among the sorted sequences, and the longest of them.
const OF_WORD: u64 = 4 + 8 + 20;

fn read(tokens: &Tokens) -> Result<Vec<u32>> {
    require_memory("counting the words of the text", tokens.len().saturating_mul(OF_WORD))
        .map_err(|error| error.mend("count a shorter text"))?;
    let mut all = vec![0; tokens.len() as usize];
    tokens.read(0, &mut all)?;
    Ok(all)
}
