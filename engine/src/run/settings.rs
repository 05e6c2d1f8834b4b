//! A configuration as the settings of the parts that do the work.

use std::collections::BTreeMap;

use unroll_kernels::optimizer::Rule;

use crate::config::{
    AverageName, DataConfig, LossScaleName, OptimizerConfig, OptimizerName, RunConfig, SampleConfig, ScheduleConfig,
    ScheduleName, SplitName,
};
use crate::corpus::{HeldShares, Split, TokenSource};
use crate::error::{Error, Result};
use crate::generate::Sampling;
use crate::graph::Graph;
use crate::network::LossScale;
use crate::text::{Cast, Level, TextOptions, Tokenizer};
use crate::train::{Averaging, EarlyStopping, Every, Identity, OptimizerOptions, Schedule, ScheduleKind, TrainConfig};

use super::Texts;

/// Steps between two lines of the metrics where the configuration does not say.
const LOG_EVERY: u64 = 100;

/// What is held out where the configuration does not say: char-rnn's share, but of a text of gigabytes no more than tells
/// losses apart. A million tokens give the mean to a few thousandths of a nat, and are scored in seconds.
const VALID_FRACTION: f64 = 0.05;
const VALID_ENOUGH: u64 = 1_000_000;

impl DataConfig {
    /// Who speaks in the script, in the text of these tokens.
    pub fn cast(&self, tokenizer: &Tokenizer) -> Cast {
        Cast::new(&self.speakers, tokenizer.options(), self.has_speaker_column())
    }

    /// Says of the tokens what is true of these: those of a token file were made by its options.
    pub fn describe(&mut self, options: &TextOptions) {
        self.level = options.level;
        self.prepare = options.clean;
        self.lower = options.lowercase;
        self.split_punctuation = options.punctuation;
    }

    /// Whether a column of a table says who speaks, so that every row is a turn.
    fn has_speaker_column(&self) -> bool {
        self.columns.len() == 2
    }
}

impl RunConfig {
    /// How text becomes tokens.
    pub fn text_options(&self) -> TextOptions {
        let data = &self.data;
        let limited = data.min_count > 1 || data.max_vocab != 0;
        TextOptions {
            level: data.level,
            clean: data.prepare,
            lowercase: data.lower,
            punctuation: data.split_punctuation,
            eos: None,
            // What a limit leaves out has to become something.
            unknown: (limited && data.level != Level::Byte).then_some(true),
            errors: data.encoding_errors,
            min_count: data.min_count,
            max_size: data.max_vocab,
        }
    }

    /// Which parts of the training text validate and test: none where there is a text of its own for it.
    pub fn split(&self) -> Split {
        let data = &self.data;
        let (valid, enough) = match (&data.valid, data.valid_fraction) {
            (Some(_), _) => (0.0, 0),
            (None, Some(fraction)) => (fraction, u64::MAX),
            (None, None) => (VALID_FRACTION, VALID_ENOUGH),
        };
        let test = data.test_fraction.filter(|_| data.test.is_none()).unwrap_or(0.0);
        let shares = HeldShares { valid, test, enough };
        match data.split {
            _ if valid + test == 0.0 => Split::None,
            SplitName::None => Split::None,
            SplitName::Streams => Split::Streams(shares),
            SplitName::Tail => Split::Tail(shares),
        }
    }

    /// What the gradient is of.
    pub fn loss_scale(&self) -> LossScale {
        match self.train.loss {
            LossScaleName::Mean => LossScale::Mean,
            LossScaleName::Sum => LossScale::Sum,
            LossScaleName::SumOverTime => LossScale::SumOverTime,
        }
    }

    /// Streams side by side in an evaluation.
    pub fn eval_rows(&self) -> usize {
        if self.train.eval_batch == 0 { self.train.batch } else { self.train.eval_batch }
    }

    /// The settings of the training loop; `batches_of` says how many batches so many epochs have.
    pub fn train_config(&self, batches_of: impl Fn(u64) -> u64) -> TrainConfig {
        let train = &self.train;
        let limit = |number: u64| (number != 0).then_some(number);
        let every = |steps: u64| if steps == 0 { Every::Epochs(1) } else { Every::Steps(steps) };
        let mut config = TrainConfig {
            seed: self.seed,
            epochs: limit(train.epochs),
            max_steps: limit(train.max_steps),
            schedule: Schedule::constant(self.optimizer.lr()),
            optimizer: self.optimizer.options(),
            reset_state: train.reset_state,
            log_every: if self.report.every == 0 { LOG_EVERY } else { self.report.every },
            eval_every: every(train.eval_every),
            sample_every: self.sample.every,
            save_every: every(train.save_every),
            save_minutes: Some(SAVE_MINUTES),
            early_stop: limit(train.early_stop).map(|patience| EarlyStopping { patience, min_delta: 0.0 }),
            best_by: train.best_by.clone(),
        };
        config.schedule = self.schedule.schedule(self.optimizer.lr(), config.last_step(batches_of));
        config
    }
}

/// What `schedule.decay` is where the configuration does not say: that of Bengio and others (2003) for each example.
const INVERSE_DECAY: f64 = 1e-8;

/// A killed run loses at most about this much time, however long an epoch is.
const SAVE_MINUTES: f64 = 10.0;

impl OptimizerConfig {
    /// The learning rate at the start.
    pub fn lr(&self) -> f64 {
        self.lr.unwrap_or(match self.rule {
            OptimizerName::Sgd => 1.0,
            OptimizerName::Momentum | OptimizerName::Nesterov | OptimizerName::Adagrad => 0.1,
            OptimizerName::RmsProp | OptimizerName::Adam | OptimizerName::AdamW => 2e-3,
        })
    }

    /// The rule with its numbers, and the clipping before it.
    pub fn options(&self) -> OptimizerOptions {
        let number = |given: Option<f64>, usual: f64| given.unwrap_or(usual);
        let momentum = number(self.momentum, 0.9);
        let (beta1, beta2) = (number(self.beta1, 0.9), number(self.beta2, 0.999));
        let epsilon = number(self.epsilon, if self.rule == OptimizerName::Adagrad { 1e-10 } else { 1e-8 });
        let rule = match self.rule {
            OptimizerName::Sgd => Rule::Sgd,
            OptimizerName::Momentum => Rule::Momentum { momentum },
            OptimizerName::Nesterov => Rule::Nesterov { momentum },
            OptimizerName::Adagrad => Rule::Adagrad { epsilon, epsilon_inside: self.epsilon_inside.unwrap_or(false) },
            OptimizerName::RmsProp => Rule::RmsProp { decay: number(self.decay, 0.95), epsilon },
            OptimizerName::Adam => Rule::Adam { beta1, beta2, epsilon },
            OptimizerName::AdamW => {
                Rule::AdamW { beta1, beta2, epsilon, weight_decay: number(self.weight_decay, 0.01) }
            }
        };
        let given = |number: f64| (number > 0.0).then_some(number);
        OptimizerOptions {
            rule,
            clip_norm: given(self.clip_norm),
            clip_value: given(self.clip_value).map(|value| value as f32),
            weight_decay: if self.rule == OptimizerName::AdamW { 0.0 } else { number(self.weight_decay, 0.0) as f32 },
            lazy: self.lazy,
            average: self.average.map(|average| match average {
                AverageName::Asgd => Averaging::After { t0: self.t0.unwrap_or(0) },
                AverageName::NtAsgd => Averaging::NonMonotonic { nonmono: self.nonmono.unwrap_or(5) },
            }),
        }
    }
}

impl ScheduleConfig {
    /// The schedule from this rate on, in a run of at most so many steps.
    fn schedule(&self, lr: f64, last_step: Option<u64>) -> Schedule {
        let factor = self.factor.unwrap_or(0.5);
        let kind = match self.kind {
            ScheduleName::Constant => ScheduleKind::Constant,
            ScheduleName::Decay => {
                ScheduleKind::Decay { factor, after: self.after.unwrap_or(0), every: self.every.unwrap_or(1) }
            }
            ScheduleName::Plateau => {
                ScheduleKind::Plateau { factor, patience: self.patience.unwrap_or(1), min_delta: 0.0 }
            }
            ScheduleName::Inverse => ScheduleKind::Inverse { decay: self.decay.unwrap_or(INVERSE_DECAY) },
            ScheduleName::Cosine => ScheduleKind::Cosine { steps: last_step.unwrap_or(u64::MAX) },
        };
        Schedule { lr, kind, min_lr: self.min_lr.unwrap_or(0.0), warmup_steps: self.warmup }
    }
}

impl SampleConfig {
    /// How tokens are chosen.
    pub fn sampling(&self) -> Sampling {
        Sampling { temperature: self.temperature, top_k: self.top_k, top_p: self.top_p, min_p: self.min_p }
    }
}

/// Keys that may differ when a run goes on: they decide how long it goes on and what it tells, not its numbers. The texts
/// are compared by their contents.
const MAY_DIFFER: &[&str] = &[
    "data.train",
    "data.valid",
    "data.test",
    "sample",
    "report",
    "train.epochs",
    "train.max_steps",
    "train.eval_batch",
    "train.save_every",
    "train.early_stop",
];

/// The settings that must be the same when a run goes on. Who asks for more epochs of a cosine schedule gets a longer wave.
///
/// # Errors
/// [`Error::Run`] where the configuration cannot be written as TOML.
pub(super) fn settings_of(config: &RunConfig) -> Result<BTreeMap<String, String>> {
    let table = toml::Table::try_from(config)
        .map_err(|error| Error::run(format!("cannot write the configuration: {error}")))?;
    let mut settings = Identity::settings_of(&table);
    settings.retain(|key, _| {
        let within =
            |prefix: &&str| key.strip_prefix(*prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        !MAY_DIFFER.iter().any(within)
    });
    Ok(settings)
}

/// What must be the same when a run goes on.
///
/// # Errors
/// [`Error::Run`] where the configuration cannot be written as TOML.
pub fn identity(config: &RunConfig, texts: &Texts, graph: &Graph) -> Result<Identity> {
    let valid = texts.valid.as_ref().map_or(0, |tokens| tokens.fingerprint());
    Ok(Identity {
        settings: settings_of(config)?,
        vocabulary: format!("{:016x}", texts.tokenizer.vocabulary().hash()),
        corpus: format!("{:016x}{valid:016x}", texts.train.fingerprint()),
        heads: graph.head_layouts()?,
    })
}
