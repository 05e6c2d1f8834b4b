//! The options that set a key of the configuration, in one table.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use std::path::PathBuf;
use toml::Value;
use unroll::config::{
    AverageName, Cell, Init, LossScaleName, OptimizerName, Origins, PrecisionName, Resolver, RunConfig, ScheduleName,
    SplitName,
};
use unroll::error::Result;
use unroll::graph::HeadKind;
use unroll::recipes;
use unroll_kernels::gemm::{PRECISIONS, Precision};

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
struct Setting {
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

const GROUPS: &[(&str, &[Setting])] = &[
    ("Data", DATA),
    ("Model", MODEL),
    ("Training", TRAINING),
    ("Optimiser and learning rate", OPTIMIZER),
    ("Samples and progress", SAMPLES),
];

/// Reads the name of a precision.
pub(crate) fn precision() -> impl TypedValueParser<Value = Precision> {
    PossibleValuesParser::new(PRECISIONS).map(|word| Precision::from_name(&word).unwrap_or_default())
}

/// Where a configuration comes from: `--recipe`, `--config`, and the options that set a key.
#[derive(Debug, Clone, Default)]
pub(crate) struct Configuration {
    /// The recipe.
    pub(crate) recipe: Option<String>,
    /// The file.
    pub(crate) file: Option<PathBuf>,
    /// (option, key, value), in the order of the table.
    settings: Vec<(&'static str, &'static str, Value)>,
    assignments: Vec<String>,
}

impl Configuration {
    /// The merged configuration. `first` sets the defaults that recipe, file and options override.
    pub(crate) fn resolve(&self, first: impl FnOnce(&mut Resolver) -> Result<()>) -> Result<(RunConfig, Origins)> {
        let mut resolver = Resolver::new();
        first(&mut resolver)?;
        if let Some(name) = &self.recipe {
            let recipe = recipes::find(name)?;
            resolver.recipe(recipe.name, recipe.text)?;
        }
        if let Some(path) = &self.file {
            resolver.file(path)?;
        }
        // char-rnn and torch-rnn have no option for the schedule: their options mean decay.
        let decays = |key: &str| ["schedule.factor", "schedule.after", "schedule.every"].contains(&key);
        let constant = resolver.value("schedule.kind").is_none_or(|kind| kind.as_str() == Some("constant"));
        if constant
            && !self.gives("schedule.kind")
            && let Some((option, ..)) = self.settings.iter().find(|(_, key, _)| decays(key))
        {
            resolver.set(&format!("--{option}"), "schedule.kind", "decay".into())?;
        }
        for (option, key, value) in &self.settings {
            resolver.set(&format!("--{option}"), key, value.clone())?;
        }
        for assignment in &self.assignments {
            resolver.assign(assignment)?;
        }
        resolver.finish()
    }

    /// Whether an option or `--set` gives this key.
    pub(crate) fn gives(&self, key: &str) -> bool {
        self.settings.iter().any(|(_, given, _)| *given == key)
            || self.assignments.iter().any(|given| given.split('=').next().is_some_and(|given| given.trim() == key))
    }
}

impl Args for Configuration {
    fn augment_args(mut command: Command) -> Command {
        let source = |arg: Arg| arg.help_heading("Configuration (options win over --config, which wins over --recipe)");
        command = command
            .arg(source(
                Arg::new("recipe")
                    .long("recipe")
                    .value_name("NAME")
                    .help("A named recipe; `unroll recipes` lists them"),
            ))
            .arg(source(
                Arg::new("config")
                    .long("config")
                    .value_name("FILE.toml")
                    .value_parser(value_parser!(PathBuf))
                    .help("A configuration file; `unroll recipes show NAME` prints examples"),
            ))
            .arg(source(
                Arg::new("set")
                    .long("set")
                    .value_name("KEY=VALUE")
                    .action(ArgAction::Append)
                    .help("Sets any key of the configuration, such as optimizer.beta2=0.99; may be repeated"),
            ));
        for (heading, settings) in GROUPS {
            for setting in *settings {
                command = command.arg(setting.arg().help_heading(*heading));
            }
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Configuration::augment_args(command)
    }
}

impl FromArgMatches for Configuration {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Configuration, clap::Error> {
        let mut configuration = Configuration {
            recipe: matches.get_one::<String>("recipe").cloned(),
            file: matches.get_one::<PathBuf>("config").cloned(),
            settings: Vec::new(),
            assignments: matches.get_many("set").into_iter().flatten().cloned().collect(),
        };
        for setting in GROUPS.iter().flat_map(|(_, settings)| *settings) {
            setting.read(matches, &mut configuration.settings);
        }
        Ok(configuration)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Configuration::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Setting {
    fn arg(&self) -> Arg {
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

    fn read(&self, matches: &ArgMatches, settings: &mut Vec<(&'static str, &'static str, Value)>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(arguments: &str) -> Result<RunConfig> {
        let command = crate::negative_values(Configuration::augment_args(Command::new("train").no_binary_name(true)));
        let arguments = crate::argv::normalise(&command, arguments.split_whitespace().map(Into::into));
        let matches = command.try_get_matches_from(arguments).unwrap();
        let configuration = Configuration::from_arg_matches(&matches).unwrap();
        Ok(configuration.resolve(|_| Ok(()))?.0)
    }

    #[test]
    fn options_of_other_programs_are_understood() {
        let torch =
            resolve("-data_dir d -model gru -rnn_size 7 -num_layers 3 -seq_length 9 -batch_size 11 -grad_clip 2")
                .unwrap();
        assert_eq!(torch.data.train, [PathBuf::from("d")]);
        assert_eq!((torch.model.cell, torch.model.hidden, torch.model.layers), (Cell::Gru, 7, 3));
        assert_eq!((torch.train.steps, torch.train.batch, torch.optimizer.clip_value), (9, 11, 2.0));
        let decays = resolve(
            "-learning_rate 0.1 -decay_rate 0.9 --optimizer rmsprop -learning_rate_decay 0.97 \
             -learning_rate_decay_after 10 -max_epochs 5 -eval_val_every 6 -val_frac 0.1 -print_every 3",
        )
        .unwrap();
        assert_eq!((decays.optimizer.lr, decays.optimizer.decay), (Some(0.1), Some(0.9)));
        assert_eq!(decays.schedule.kind, ScheduleName::Decay);
        assert_eq!((decays.schedule.factor, decays.schedule.after), (Some(0.97), Some(10)));
        assert_eq!((decays.train.epochs, decays.train.eval_every, decays.report.every), (5, 6, 3));
        assert_eq!(decays.data.valid_fraction, Some(0.1));
        let pytorch = resolve(
            "--data a b --model RNN_RELU --emsize 5 --nhid 5 --nlayers 2 --bptt 4 --clip 0.25 --tied --dropout 0.2 \
             --log-interval 200 --epochs 40 --lr 20 --optim sgd --seed 1111",
        )
        .unwrap();
        assert_eq!(pytorch.data.train, [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!((pytorch.model.cell, pytorch.model.activation.unwrap().as_str()), (Cell::Rnn, "relu"));
        assert_eq!((pytorch.model.embedding, pytorch.model.tied, pytorch.optimizer.clip_norm), (5, true, 0.25));
        assert_eq!((pytorch.seed, pytorch.optimizer.lr), (1111, Some(20.0)));
        assert_eq!(resolve("-wordvec_size 64 --lr_decay_every 5 --schedule decay").unwrap().model.embedding, 64);
    }

    #[test]
    fn a_refused_number_names_the_option() {
        assert_eq!(resolve("--lr=-1").unwrap_err().to_string(), "--lr: must be a number greater than 0, got -1");
        let negative = resolve("--rnn_size -5").unwrap_err().to_string();
        assert_eq!(negative, "--rnn-size: invalid value: integer `-5`, expected a whole number, 0 or more");
        assert_eq!(resolve("--dropout 1").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn set_wins_over_the_options() {
        let config = resolve("--set train.batch=3 --batch 5 --set optimizer.beta2=0.99").unwrap();
        assert_eq!((config.train.batch, config.optimizer.beta2), (3, Some(0.99)));
    }
}
