//! The options that set a key of the configuration, in one table.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use toml::Value;
use unroll::config::{AverageName, Cell, Init, LossScaleName, OptimizerName, PrecisionName, ScheduleName, SplitName};
use unroll::graph::HeadKind;

/// What an option takes.
enum Takes {
    /// One of these words.
    Word(&'static [&'static str]),
    /// A whole number.
    Whole,
    /// A number.
    Number,
    /// Text.
    Text,
    /// One file.
    File,
    /// One or more files.
    Files,
    /// Nothing: it sets the key to true.
    Nothing,
}

use Takes::{File, Files, Nothing, Number, Text, Whole, Word};

/// An option that sets a key of the configuration.
pub(super) struct Setting {
    name: &'static str,
    /// Names of the same option in other programs.
    aliases: &'static [&'static str],
    key: &'static str,
    takes: Takes,
    help: &'static str,
}

const fn setting(
    name: &'static str,
    aliases: &'static [&'static str],
    key: &'static str,
    takes: Takes,
    help: &'static str,
) -> Setting {
    Setting { name, aliases, key, takes, help }
}

const DATA: &[Setting] = &[
    setting(
        "data",
        &["data-dir"],
        "data.train",
        Files,
        "Text to train on: files, folders, gzip, - for standard input, or a token file [default: an embedded text]",
    ),
    setting("valid", &[], "data.valid", File, "Text to validate on [default: a part of the training text]"),
    setting("test", &[], "data.test", File, "Text to test the finished model on"),
    setting("level", &[], "data.level", Word(&["byte", "char", "grapheme", "word"]), "Unit of a token"),
    setting("lower", &[], "data.lower", Nothing, "With words: lower-case the text first"),
    setting(
        "split-punctuation",
        &[],
        "data.split_punctuation",
        Nothing,
        "With words: make punctuation marks separate tokens",
    ),
    setting("min-count", &[], "data.min_count", Whole, "Replace tokens rarer than this by <unk>"),
    setting("max-vocab", &[], "data.max_vocab", Whole, "Maximum size of the vocabulary, 0 for no limit"),
    setting(
        "encoding-errors",
        &[],
        "data.encoding_errors",
        Word(&["strict", "replace", "skip"]),
        "How to handle text that is not UTF-8",
    ),
    setting(
        "split",
        &[],
        "data.split",
        Word(SplitName::WORDS),
        "Where to hold out the validation and test parts: at the end of each stream, at the end of the text, or nowhere",
    ),
    setting(
        "valid-fraction",
        &["val-frac"],
        "data.valid_fraction",
        Number,
        "Fraction of the text held out for validation [default: 0.05, at most a million tokens]",
    ),
    setting(
        "test-fraction",
        &[],
        "data.test_fraction",
        Number,
        "Fraction of the text held out to test the finished model",
    ),
];

const MODEL: &[Setting] = &[
    setting(
        "model",
        &["model-type", "cell"],
        "model.cell",
        Word(Cell::WORDS),
        "Recurrent cell; PyTorch's RNN_TANH and RNN_RELU are accepted too",
    ),
    setting("rnn-size", &["nhid", "hidden"], "model.hidden", Whole, "Units in each recurrent layer"),
    setting("num-layers", &["nlayers", "layers"], "model.layers", Whole, "Number of recurrent layers"),
    setting(
        "emsize",
        &["embedding", "wordvec-size"],
        "model.embedding",
        Whole,
        "Width of the embedding, 0 for one-hot tokens",
    ),
    setting("dropout", &[], "model.dropout", Number, "Dropout rate after the embedding and each recurrent layer"),
    setting(
        "head",
        &[],
        "model.head.kind",
        Word(HeadKind::WORDS),
        "How the cross-entropy is computed: every logit, a sample of them, or a tree of decisions",
    ),
    setting("tied", &[], "model.tied", Nothing, "Tie the output layer's weights to the embedding"),
    setting("init", &[], "model.init", Word(Init::WORDS), "Distribution of the initial weights"),
    setting(
        "init-scale",
        &[],
        "model.init_scale",
        Number,
        "Half width (uniform) or standard deviation (normal) of the initial weights",
    ),
];

const TRAINING: &[Setting] = &[
    setting("seed", &[], "seed", Whole, "Seed of the random numbers"),
    setting("batch-size", &["batch"], "train.batch", Whole, "Number of parallel streams in a batch"),
    setting(
        "seq-length",
        &["bptt", "steps"],
        "train.steps",
        Whole,
        "Time steps of truncated backpropagation through time",
    ),
    setting(
        "variable-bptt",
        &[],
        "train.variable_bptt",
        Nothing,
        "Draw the number of steps around --seq-length for each batch, as AWD-LSTM does",
    ),
    setting(
        "epochs",
        &["max-epochs"],
        "train.epochs",
        Whole,
        "Passes over the text, 0 for no limit except --max-steps",
    ),
    setting("max-steps", &[], "train.max_steps", Whole, "Maximum number of optimiser steps, 0 for no limit"),
    setting(
        "loss",
        &[],
        "train.loss",
        Word(LossScaleName::WORDS),
        "How the losses of a batch are reduced before the gradient is taken",
    ),
    setting(
        "replicas",
        &[],
        "train.replicas",
        Whole,
        "Number of parts of a batch whose gradients are computed separately",
    ),
    setting(
        "precision",
        &[],
        "train.precision",
        Word(PrecisionName::WORDS),
        "Precision of the operands of matrix products; everything else stays in f32",
    ),
    setting(
        "eval-every",
        &["eval-val-every"],
        "train.eval_every",
        Whole,
        "Evaluate every N steps, 0 for once an epoch",
    ),
    setting(
        "eval-batch",
        &["eval-batch-size"],
        "train.eval_batch",
        Whole,
        "Number of parallel streams in an evaluation, 0 for as many as in training",
    ),
    setting("save-every", &["checkpoint-every"], "train.save_every", Whole, "Save every N steps, 0 for once an epoch"),
    setting(
        "early-stop",
        &["patience"],
        "train.early_stop",
        Whole,
        "Stop after N evaluations without improvement, 0 for never",
    ),
];

const OPTIMIZER: &[Setting] = &[
    setting("optimizer", &["optim"], "optimizer.rule", Word(OptimizerName::WORDS), "Update rule"),
    setting("lr", &["learning-rate"], "optimizer.lr", Number, "Learning rate"),
    setting("momentum", &[], "optimizer.momentum", Number, "momentum, nesterov: momentum coefficient"),
    setting("decay-rate", &[], "optimizer.decay", Number, "rmsprop: decay rate of the mean square"),
    setting("weight-decay", &["wdecay"], "optimizer.weight_decay", Number, "Weight decay; for every rule except adam"),
    setting(
        "lazy",
        &[],
        "optimizer.lazy",
        Nothing,
        "Do not update the vectors of words absent from the batch; sgd and adagrad never do, except by weight decay",
    ),
    setting("average", &[], "optimizer.average", Word(AverageName::WORDS), "Average the weights, and use the averages"),
    setting(
        "nonmono",
        &[],
        "optimizer.nonmono",
        Whole,
        "nt_asgd: number of latest evaluations left out of the comparison [default: 5]",
    ),
    setting(
        "clip-norm",
        &["clip"],
        "optimizer.clip_norm",
        Number,
        "Scale the gradient down to this norm, 0 to disable",
    ),
    setting(
        "clip-value",
        &["grad-clip"],
        "optimizer.clip_value",
        Number,
        "Clamp each entry of the gradient to [-X, X], 0 to disable",
    ),
    setting("schedule", &[], "schedule.kind", Word(ScheduleName::WORDS), "Learning-rate schedule"),
    setting(
        "lr-factor",
        &["learning-rate-decay", "lr-decay-factor"],
        "schedule.factor",
        Number,
        "decay, plateau: factor the rate is multiplied by",
    ),
    setting(
        "lr-after",
        &["learning-rate-decay-after"],
        "schedule.after",
        Whole,
        "decay: epochs before the rate first decays",
    ),
    setting("lr-every", &["lr-decay-every"], "schedule.every", Whole, "decay: epochs between decays"),
    setting(
        "lr-patience",
        &[],
        "schedule.patience",
        Whole,
        "plateau: evaluations without improvement before the rate is lowered",
    ),
    setting("min-lr", &[], "schedule.min_lr", Number, "plateau, cosine: minimum learning rate"),
    setting("warmup", &[], "schedule.warmup", Whole, "Steps over which the rate rises at the start"),
];

const SAMPLES: &[Setting] = &[
    setting("sample-every", &[], "sample.every", Whole, "Write a sample every N steps, 0 for only at the end"),
    setting("sample-length", &[], "sample.length", Whole, "Length of a sample in tokens"),
    setting("primetext", &["prompt", "start-text"], "sample.prompt", Text, "Prompt that samples continue"),
    setting(
        "temperature",
        &[],
        "sample.temperature",
        Number,
        "Sampling temperature: below 1 favours likely tokens, 0 always takes the likeliest",
    ),
    setting("print-every", &["log-interval"], "report.every", Whole, "Print a line every N steps"),
];

/// The options under the headings of the help.
pub(super) const GROUPS: &[(&str, &[Setting])] = &[
    ("Data", DATA),
    ("Model", MODEL),
    ("Training", TRAINING),
    ("Optimiser and learning rate", OPTIMIZER),
    ("Samples and progress", SAMPLES),
];

impl Setting {
    /// The option as clap knows it.
    pub(super) fn arg(&self) -> Arg {
        let arg = Arg::new(self.name).long(self.name).visible_aliases(self.aliases.iter().copied()).help(self.help);
        match self.takes {
            Word(words) => {
                let parser = PossibleValuesParser::new(words.iter().copied().chain(self.more_words().iter().copied()));
                arg.value_parser(parser).ignore_case(true).value_name("WORD")
            }
            Whole => arg.value_parser(value_parser!(i64)).value_name("N"),
            Number => arg.value_parser(value_parser!(f64)).value_name("X"),
            Text => arg.value_name("TEXT").allow_hyphen_values(true),
            File => arg.value_name("FILE"),
            Files => arg.value_name("FILE").num_args(1..).action(ArgAction::Append),
            Nothing => arg.action(ArgAction::SetTrue),
        }
    }

    /// PyTorch's names that stand for a cell and its activation.
    fn more_words(&self) -> &'static [&'static str] {
        if self.key == "model.cell" { &["rnn_tanh", "rnn_relu"] } else { &[] }
    }

    /// Adds the keys that the option sets, if it is given.
    pub(super) fn read(&self, matches: &ArgMatches, settings: &mut Vec<(&'static str, &'static str, Value)>) {
        let text = || matches.get_one::<String>(self.name).cloned();
        let value = match self.takes {
            Word(_) => text().map(|word| Value::String(word.to_lowercase())),
            Text | File => text().map(Value::String),
            Whole => matches.get_one::<i64>(self.name).copied().map(Value::Integer),
            Number => matches.get_one::<f64>(self.name).copied().map(Value::Float),
            Files => matches
                .get_many::<String>(self.name)
                .map(|files| Value::Array(files.cloned().map(Value::String).collect())),
            Nothing => matches.get_flag(self.name).then_some(Value::Boolean(true)),
        };
        let Some(value) = value else { return };
        if let ("model.cell", Some(activation)) = (self.key, value.as_str().and_then(|word| word.strip_prefix("rnn_")))
        {
            settings.push((self.name, self.key, "rnn".into()));
            settings.push((self.name, "model.activation", activation.into()));
            return;
        }
        settings.push((self.name, self.key, value));
    }
}
