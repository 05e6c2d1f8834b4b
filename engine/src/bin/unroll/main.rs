//! The command `unroll`: parses the arguments, runs a command, and turns its failure into an exit code.
#![forbid(unsafe_code)]

mod argv;
mod bench;
mod corpus;
mod encoding;
mod eval;
mod export;
mod generate;
mod gradcheck;
mod import;
mod inspect;
mod interrupt;
mod labels;
mod ngram;
mod options;
mod plan;
mod predict;
mod recipes;
mod rescore;
mod scores;
mod scratch;
mod search;
mod show;
mod summary;
mod train;
mod trained;
mod vectors;

use std::process::ExitCode;

use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};
use unroll::{Error, Result};
use unroll_kernels::Isa;

/// Trains and runs recurrent and neural language models on CPUs.
#[derive(Debug, Parser)]
#[command(
    name = "unroll",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Start with `unroll train`: without data it trains a small model on an embedded text in about a minute.\n\
    Options have the names used by char-rnn, torch-rnn and PyTorch's word language model; _ in a name counts as -.\n\
    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad input file, 4 diverged, 5 reading or writing failed, 130 interrupted."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(train::Train),
    Generate(generate::Generate),
    Eval(eval::Eval),
    Predict(predict::Predict),
    #[command(name = "ngram")]
    NGram(ngram::NGramCommand),
    Summary(summary::Summary),
    Import(import::Import),
    Export(export::Export),
    Corpus(corpus::CorpusCommand),
    Recipes(recipes::RecipesCommand),
    Inspect(inspect::InspectCommand),
    Vectors(vectors::VectorsCommand),
    Gradcheck(gradcheck::Gradcheck),
    Bench(bench::Bench),
}

impl Command {
    fn run(self) -> Result<()> {
        match self {
            Self::Train(train) => train.run(),
            Self::Generate(generate) => generate.run(),
            Self::Eval(eval) => eval.run(),
            Self::Predict(predict) => predict.run(),
            Self::NGram(ngram) => ngram.run(),
            Self::Summary(summary) => summary.run(),
            Self::Import(import) => import.run(),
            Self::Export(export) => export.run(),
            Self::Corpus(corpus) => corpus.run(),
            Self::Recipes(recipes) => recipes.run(),
            Self::Inspect(inspect) => inspect.run(),
            Self::Vectors(vectors) => vectors.run(),
            Self::Gradcheck(gradcheck) => gradcheck.run(),
            Self::Bench(bench) => bench.run(),
        }
    }
}

/// Lets every option take a negative number, so that an invalid one is refused by the range of its option.
fn negative_values(command: clap::Command) -> clap::Command {
    let takes = |argument: &Arg| argument.get_long().is_some() && argument.get_action().takes_values();
    command
        .mut_args(|argument| if takes(&argument) { argument.allow_negative_numbers(true) } else { argument })
        .mut_subcommands(negative_values)
}

/// Parses the arguments and runs the command. The help shows defaults that depend on the instruction set, so that is
/// checked first.
fn run() -> Result<()> {
    Isa::from_environment().map_err(Error::usage)?;
    let command = negative_values(Cli::command());
    let arguments = argv::normalise(&command, std::env::args_os());
    let matches = command.get_matches_from(arguments);
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit()).command.run()
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match error {
                Error::Interrupted(_) => eprintln!("{error}"),
                _ => eprintln!("error: {error}"),
            }
            ExitCode::from(error.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_is_consistent() {
        <super::Cli as clap::CommandFactory>::command().debug_assert();
    }
}
