//! The options that make up a configuration: `--recipe`, `--config`, `--set`, and one for each setting of the table.

mod settings;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use settings::GROUPS;
use std::path::PathBuf;
use toml::Value;
use unroll::config::{Origins, Resolver, RunConfig};
use unroll::error::Result;
use unroll::recipes;
use unroll_kernels::gemm::{PRECISIONS, Precision};

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

#[cfg(test)]
mod tests {
    use super::*;
    use unroll::config::{Cell, ScheduleName};

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
