//! The sections of a [`RunConfig`] and their defaults.
//!
//! Every section refuses keys that it does not know. An absent key means its default; an `Option` that is `None` means
//! "as the chosen rule, schedule or cell has it", which the accessors resolve.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::About;
use super::choices::columns;
use super::task::TaskConfig;
use super::words::{
    AverageName, Cell, Init, InitBiases, LossScaleName, OptimizerName, PrecisionName, ReportStyle, RnnActivation,
    SampleState, ScheduleName, SplitName,
};
use crate::graph::{HeadConfig, ModelConfig};
use crate::text::{CleanOptions, EncodingErrors, Level};

/// The whole configuration of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// What a recipe says about itself; no setting, and not kept by a run.
    #[serde(skip_serializing)]
    pub about: Option<About>,
    /// Seed of every random number of the run.
    pub seed: u64,
    /// Where the text comes from, and how it is cut into tokens.
    pub data: DataConfig,
    /// Learning from labelled samples; absent: the next token of a text is learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskConfig>,
    /// The model.
    #[serde(serialize_with = "model")]
    pub model: ModelSection,
    /// The training loop.
    pub train: TrainSection,
    /// The rule that changes the parameters.
    pub optimizer: OptimizerConfig,
    /// How the learning rate changes.
    pub schedule: ScheduleConfig,
    /// The samples written while training and at its end.
    pub sample: SampleConfig,
    /// What is printed while training.
    pub report: ReportConfig,
}

impl Default for RunConfig {
    fn default() -> RunConfig {
        RunConfig {
            about: None,
            seed: 123,
            data: DataConfig::default(),
            task: None,
            model: ModelSection::default(),
            train: TrainSection::default(),
            optimizer: OptimizerConfig::default(),
            schedule: ScheduleConfig::default(),
            sample: SampleConfig::default(),
            report: ReportConfig::default(),
        }
    }
}

/// A model that is spelled out is written without the keys that have no meaning beside it, which would be refused on reading.
fn model<S: serde::Serializer>(model: &ModelSection, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Graph {
        graph: ModelConfig,
    }
    match &model.graph {
        Some(_) => Graph { graph: model.graph() }.serialize(serializer),
        None => model.serialize(serializer),
    }
}

/// Where the text comes from, and how it is cut into tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Files and folders to train on, `-` for standard input. None: the embedded text (Cicero).
    pub train: Vec<PathBuf>,
    /// Text to validate on, instead of a part of the training text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid: Option<PathBuf>,
    /// Text that the finished model is tested on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// Columns of CSV or TSV that are the text, a row a line: the text's, or the speaker's and the text's (`NAME: line`). By their
    /// names in the first row, or by their numbers from 0 where no row names them.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "columns")]
    pub columns: Vec<String>,
    /// The text is a script, whose lines begin with who speaks (`NAME: line`): speakers are found in the training text.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dialogue: bool,
    /// Who speaks in a script; a run keeps those that were found, and whose names its vocabulary has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub speakers: Vec<String>,
    /// What a token is: byte, char, grapheme or word.
    pub level: Level,
    /// What is done to the text before it is cut into tokens, and to every prompt.
    #[serde(skip_serializing_if = "CleanOptions::is_nothing")]
    pub prepare: CleanOptions,
    /// Words: lower-case the text first.
    pub lower: bool,
    /// Words: punctuation marks are tokens of their own.
    pub split_punctuation: bool,
    /// Tokens rarer than this become `<unk>`.
    pub min_count: u64,
    /// At most so many tokens in the vocabulary; 0 is no limit.
    pub max_vocab: u64,
    /// What happens on text that is not UTF-8: strict, replace or skip.
    pub encoding_errors: EncodingErrors,
    /// Which part of the training text is held out where `valid` is not given.
    pub split: SplitName,
    /// The share of the text that is held out; 0.05, but no more than a million tokens, unless given. Of labelled samples the share
    /// of them, 0.1 unless given; 0 is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_fraction: Option<f64>,
    /// The share of the text, or of the labelled samples, that is kept for the test at the end where `test` is not given; none
    /// unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_fraction: Option<f64>,
}

impl Default for DataConfig {
    fn default() -> DataConfig {
        DataConfig {
            train: Vec::new(),
            valid: None,
            test: None,
            columns: Vec::new(),
            dialogue: false,
            speakers: Vec::new(),
            level: Level::Char,
            prepare: CleanOptions::default(),
            lower: false,
            split_punctuation: false,
            min_count: 1,
            max_vocab: 0,
            encoding_errors: EncodingErrors::Strict,
            split: SplitName::Streams,
            valid_fraction: None,
            test_fraction: None,
        }
    }
}

/// The model: either described by its cell and sizes, or spelled out as a graph of layers.
///
/// The short form is one-hot or `embedding`, then `layers` recurrent layers of `hidden` units, each followed by dropout,
/// then a dense layer over the vocabulary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSection {
    /// The recurrent cell.
    pub cell: Cell,
    /// The simple cell's activation; tanh unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<RnnActivation>,
    /// The GRU's reset gate works after the recurrent product (true unless given, as in Keras and PyTorch) or before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_after: Option<bool>,
    /// Units of each recurrent layer.
    pub hidden: usize,
    /// Recurrent layers.
    pub layers: usize,
    /// Numbers an input token is embedded in; 0 is one-hot.
    pub embedding: usize,
    /// Share of the embedding's and of each recurrent layer's outputs dropped while training.
    pub dropout: f64,
    /// The output layer uses the embedding's table.
    pub tied: bool,
    /// What the weights start from.
    pub init: Init,
    /// Half width or standard deviation of the initial weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_scale: Option<f64>,
    /// What the biases start from; zeros unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_biases: Option<InitBiases>,
    /// The biases of the LSTM's forget gates start from 1; unless given, true with Keras' init and false with others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_forget_bias: Option<bool>,
    /// The LSTM and the simple cell have a second bias, on the hidden side, as those of Torch and PyTorch; false unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recurrent_bias: Option<bool>,
    /// How the cross-entropy over the vocabulary is computed; where it is given, instead of the graph's own.
    #[serde(skip_serializing_if = "HeadConfig::is_default")]
    pub head: HeadConfig,
    /// The whole graph, layer by layer, instead of the keys above but `head`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graph: Option<ModelConfig>,
}

impl Default for ModelSection {
    fn default() -> ModelSection {
        ModelSection {
            cell: Cell::Lstm,
            activation: None,
            reset_after: None,
            hidden: 128,
            layers: 2,
            embedding: 0,
            dropout: 0.0,
            tied: false,
            init: Init::Keras,
            init_scale: None,
            init_biases: None,
            unit_forget_bias: None,
            recurrent_bias: None,
            head: HeadConfig::default(),
            graph: None,
        }
    }
}

/// The training loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSection {
    /// Streams that are trained on side by side (N).
    pub batch: usize,
    /// Time steps that the gradient reaches back (T).
    pub steps: usize,
    /// The steps of each batch are drawn anew, as AWD-LSTM does: about `steps` in 19 batches of 20, about half of it in the
    /// others, with a standard deviation of 5, at least 5; the learning rate of a batch follows its steps.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub variable_bptt: bool,
    /// Passes over the training text; 0 is no limit but `max_steps`.
    pub epochs: u64,
    /// Optimiser steps after which training ends; 0 is no limit.
    pub max_steps: u64,
    /// What the gradient is the gradient of.
    pub loss: LossScaleName,
    /// The carried state is set to zero at the start of each epoch; char-rnn carries it on.
    pub reset_state: bool,
    /// Parts of a batch whose gradients are computed apart and added in a fixed order.
    pub replicas: usize,
    /// What the operands of products are rounded to, in training and in evaluation; f32 is not written.
    #[serde(skip_serializing_if = "PrecisionName::is_f32")]
    pub precision: PrecisionName,
    /// Evaluate after so many steps; 0 is after each epoch.
    pub eval_every: u64,
    /// Streams side by side in an evaluation; 0 is as `batch`.
    pub eval_batch: usize,
    /// Save a checkpoint after so many steps; 0 is after each epoch.
    pub save_every: u64,
    /// Stop when the validation loss has not improved for so many evaluations; 0 is never.
    pub early_stop: u64,
    /// Labelled samples: the figure by which the best evaluation is chosen, and training ends early: accuracy, f1, macro_f1,
    /// exact, ... as evaluations tell them. Unless given the loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best_by: Option<String>,
}

impl Default for TrainSection {
    fn default() -> TrainSection {
        TrainSection {
            batch: 50,
            steps: 50,
            variable_bptt: false,
            epochs: 10,
            max_steps: 0,
            loss: LossScaleName::Mean,
            reset_state: true,
            replicas: 1,
            precision: PrecisionName::F32,
            eval_every: 0,
            eval_batch: 0,
            save_every: 0,
            early_stop: 0,
            best_by: None,
        }
    }
}

/// The rule that changes the parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// The rule.
    pub rule: OptimizerName,
    /// The learning rate at the start; unless given, sgd 1, momentum, nesterov and adagrad 0.1, the others 0.002.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// momentum, nesterov: the share of the last change that is kept; 0.9 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// rmsprop: the share of the mean square that is kept; 0.95 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<f64>,
    /// adam, adamw: the share of the mean that is kept; 0.9 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta1: Option<f64>,
    /// adam, adamw: the share of the mean square that is kept; 0.999 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta2: Option<f64>,
    /// adagrad, rmsprop, adam, adamw: what keeps the divisor from 0; 1e-8 unless given (adagrad: 1e-10).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// adagrad: epsilon is added inside the root, as min-char-rnn does; false unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon_inside: Option<bool>,
    /// adamw: each step the weights shrink by the learning rate times this; 0.01 unless given. The other rules but adam: the weights
    /// times this are added to the gradient, after it was clipped (L2, torch's weight_decay); 0 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// momentum, nesterov, rmsprop, adam, adamw, and every rule with a weight decay: the vectors of words that are not in a batch keep
    /// their weights and what the rule remembers of them, instead of going on as before (as PyTorch's SparseAdam); a weight decay
    /// reaches them when they come.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lazy: bool,
    /// The weights are averaged over the steps, and the averages evaluated, saved and used, while training goes on from the weights
    /// themselves: asgd, nt_asgd; not at all unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average: Option<AverageName>,
    /// asgd: steps before the averaging begins; 0 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub t0: Option<u64>,
    /// nt_asgd: the latest evaluations, whose losses do not count as the lowest; 5 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonmono: Option<u64>,
    /// Scale the whole gradient down to this norm; 0 is off.
    pub clip_norm: f64,
    /// Clamp each entry of the gradient to +- this; 0 is off.
    pub clip_value: f64,
}

impl Default for OptimizerConfig {
    fn default() -> OptimizerConfig {
        OptimizerConfig {
            rule: OptimizerName::Adam,
            lr: None,
            momentum: None,
            decay: None,
            beta1: None,
            beta2: None,
            epsilon: None,
            epsilon_inside: None,
            weight_decay: None,
            lazy: false,
            average: None,
            t0: None,
            nonmono: None,
            clip_norm: 5.0,
            clip_value: 0.0,
        }
    }
}

/// How the learning rate changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleConfig {
    /// The kind.
    pub kind: ScheduleName,
    /// decay, plateau: what the rate is multiplied by; 0.5 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// decay: epochs at the full rate; 0 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// decay: epochs between two changes; 1 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// plateau: evaluations without improvement before a change; 1 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// plateau, cosine: the rate never falls below; 0 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_lr: Option<f64>,
    /// inverse: the share of the steps before that is added to 1 in the divisor; 1e-8 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<f64>,
    /// Steps over which the rate first rises from 0.
    pub warmup: u64,
}

impl Default for ScheduleConfig {
    fn default() -> ScheduleConfig {
        ScheduleConfig {
            kind: ScheduleName::Constant,
            factor: None,
            after: None,
            every: None,
            patience: None,
            min_lr: None,
            decay: None,
            warmup: 0,
        }
    }
}

/// The samples written while training and at its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SampleConfig {
    /// A sample after so many steps; 0 is only at the end.
    pub every: u64,
    /// Tokens of a sample.
    pub length: usize,
    /// What a sample goes on from.
    pub prompt: String,
    /// What the samples while training start from where there is no prompt: nothing, or where the first stream stands.
    pub state: SampleState,
    /// 1 samples from the model's distribution, less is more careful, 0 always takes the likeliest token.
    pub temperature: f64,
    /// Only the so many likeliest tokens; 0 is all.
    pub top_k: usize,
    /// Only the likeliest tokens that together have this probability; 1 is all.
    pub top_p: f64,
    /// Only tokens at least this times as probable as the likeliest; 0 is all.
    pub min_p: f64,
}

impl Default for SampleConfig {
    fn default() -> SampleConfig {
        SampleConfig {
            every: 0,
            length: 300,
            prompt: String::new(),
            state: SampleState::Zero,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
        }
    }
}

/// What is printed while training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportConfig {
    /// The form of a line.
    pub style: ReportStyle,
    /// A line after so many steps; 0 is about one every two seconds.
    pub every: u64,
}

impl Default for ReportConfig {
    fn default() -> ReportConfig {
        ReportConfig { style: ReportStyle::Standard, every: 0 }
    }
}
