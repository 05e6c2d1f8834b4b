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
    /// The description of a recipe; not a setting, and not kept by a run.
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

/// A model that is spelled out is written without the keys that have no meaning beside it, which would be refused on
/// reading.
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
    /// Columns of CSV or TSV to read as text, one line per row: the column of the text, or those of the speaker and the
    /// text (`NAME: line`). Given by their names in the first row, or by their numbers from 0 if no row names them.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "columns")]
    pub columns: Vec<String>,
    /// The text is a script, whose lines begin with the speaker (`NAME: line`). Speakers are found in the training
    /// text.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dialogue: bool,
    /// The speakers of a script; a run keeps those that were found and whose names are in its vocabulary.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub speakers: Vec<String>,
    /// Unit of a token: byte, char, grapheme or word.
    pub level: Level,
    /// Steps that prepare the text, and every prompt, before tokenisation.
    #[serde(skip_serializing_if = "CleanOptions::is_nothing")]
    pub prepare: CleanOptions,
    /// With words: lower-case the text first.
    pub lower: bool,
    /// With words: punctuation marks are separate tokens.
    pub split_punctuation: bool,
    /// Tokens rarer than this become `<unk>`.
    pub min_count: u64,
    /// Maximum size of the vocabulary; 0 is no limit.
    pub max_vocab: u64,
    /// How to handle text that is not UTF-8: strict, replace or skip.
    pub encoding_errors: EncodingErrors,
    /// Which part of the training text is held out where `valid` is not given.
    pub split: SplitName,
    /// The fraction of the text held out for validation; by default 0.05, but at most a million tokens. For labelled
    /// samples, the fraction of the samples, by default 0.1; 0 is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_fraction: Option<f64>,
    /// The fraction of the text, or of the labelled samples, held out for the final test where `test` is not given;
    /// none by default.
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
/// The short form is one-hot or `embedding`, then `layers` recurrent layers of `hidden` units, each followed by
/// dropout, then a dense layer over the vocabulary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSection {
    /// The recurrent cell.
    pub cell: Cell,
    /// The simple cell's activation; tanh unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<RnnActivation>,
    /// The GRU's reset gate works after the recurrent product (true unless given, as in Keras and PyTorch) or before
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset_after: Option<bool>,
    /// Units of each recurrent layer.
    pub hidden: usize,
    /// Recurrent layers.
    pub layers: usize,
    /// Width of the embedding; 0 is one-hot.
    pub embedding: usize,
    /// Dropout rate of the outputs of the embedding and of each recurrent layer while training.
    pub dropout: f64,
    /// The output layer's weights are tied to the embedding.
    pub tied: bool,
    /// Distribution of the initial weights.
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
    /// The LSTM and the simple cell have a second bias, on the hidden side, as those of Torch and PyTorch; false unless
    /// given.
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
    /// Number of parallel streams in a batch (N).
    pub batch: usize,
    /// Time steps of truncated backpropagation through time (T).
    pub steps: usize,
    /// The steps of each batch are drawn anew, as AWD-LSTM does: about `steps` in 19 batches of 20, about half of it in
    /// the others, with a standard deviation of 5, at least 5; the learning rate of a batch follows its steps.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub variable_bptt: bool,
    /// Passes over the training text; 0 is no limit except `max_steps`.
    pub epochs: u64,
    /// Maximum number of optimiser steps; 0 is no limit.
    pub max_steps: u64,
    /// How the losses of a batch are reduced before the gradient is taken.
    pub loss: LossScaleName,
    /// The carried state is set to zero at the start of each epoch; char-rnn carries it on.
    pub reset_state: bool,
    /// Number of parts of a batch whose gradients are computed separately and added in a fixed order.
    pub replicas: usize,
    /// Precision of the operands of matrix products, in training and in evaluation; f32 is not written.
    #[serde(skip_serializing_if = "PrecisionName::is_f32")]
    pub precision: PrecisionName,
    /// Evaluate every so many steps; 0 is once an epoch.
    pub eval_every: u64,
    /// Number of parallel streams in an evaluation; 0 is the same as `batch`.
    pub eval_batch: usize,
    /// Save a checkpoint every so many steps; 0 is once an epoch.
    pub save_every: u64,
    /// Stop when the validation loss has not improved for so many evaluations; 0 is never.
    pub early_stop: u64,
    /// For labelled samples, the metric that decides the best evaluation and early stopping: accuracy, f1, macro_f1,
    /// exact, ... as evaluations print them. By default the loss.
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
    /// momentum, nesterov: momentum coefficient; 0.9 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// rmsprop: decay rate of the mean square; 0.95 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<f64>,
    /// adam, adamw: decay rate of the mean; 0.9 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta1: Option<f64>,
    /// adam, adamw: decay rate of the mean square; 0.999 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta2: Option<f64>,
    /// adagrad, rmsprop, adam, adamw: what keeps the divisor from 0; 1e-8 unless given (adagrad: 1e-10).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// adagrad: epsilon is added inside the root, as min-char-rnn does; false unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon_inside: Option<bool>,
    /// adamw: each step the weights shrink by the learning rate times this; 0.01 unless given. The other rules but
    /// adam: the weights times this are added to the gradient, after it was clipped (L2, torch's weight_decay); 0
    /// unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// momentum, nesterov, rmsprop, adam, adamw, and every rule with a weight decay: the vectors of words absent from a
    /// batch keep their weights and optimiser state unchanged (as PyTorch's SparseAdam does); a weight decay reaches
    /// them when they next occur.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lazy: bool,
    /// The weights are averaged over the steps, and the averages evaluated, saved and used, while training goes on from
    /// the weights themselves: asgd, nt_asgd; not at all unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub average: Option<AverageName>,
    /// asgd: steps before the averaging begins; 0 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub t0: Option<u64>,
    /// nt_asgd: number of latest evaluations whose losses do not count as the lowest; 5 unless given.
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
    /// decay, plateau: factor that the rate is multiplied by; 0.5 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// decay: epochs before the rate first decays; 0 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// decay: epochs between decays; 1 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// plateau: evaluations without improvement before the rate is lowered; 1 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// plateau, cosine: minimum learning rate; 0 unless given.
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
    /// Write a sample every so many steps; 0 is only at the end.
    pub every: u64,
    /// Length of a sample in tokens.
    pub length: usize,
    /// Prompt that a sample continues.
    pub prompt: String,
    /// What the samples while training start from where there is no prompt: nothing, or where the first stream stands.
    pub state: SampleState,
    /// Sampling temperature: 1 samples from the model's distribution, below 1 favours likely tokens, 0 always takes the
    /// likeliest.
    pub temperature: f64,
    /// Sample from this many of the likeliest tokens only; 0 is all.
    pub top_k: usize,
    /// Keep only the likeliest tokens whose probabilities add up to this; 1 is all.
    pub top_p: f64,
    /// Keep only tokens at least this many times as probable as the likeliest; 0 is all.
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
    /// Print a line every so many steps; 0 is about one every two seconds.
    pub every: u64,
}

impl Default for ReportConfig {
    fn default() -> ReportConfig {
        ReportConfig { style: ReportStyle::Standard, every: 0 }
    }
}
