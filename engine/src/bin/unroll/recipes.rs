//! `unroll recipes`: the known models.

use clap::{Args, Subcommand};
use unroll::error::Result;
use unroll::recipes::{RECIPES, find};
use unroll::report::{Align, Out, Table, json_line};

/// Lists the known models, or shows one.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  unroll recipes\n  unroll recipes show char-rnn > mine.toml\n  unroll train --recipe char-rnn --data input.txt"
)]
pub(crate) struct RecipesCommand {
    #[command(subcommand)]
    what: Option<What>,
    /// One JSON object a recipe
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists them
    List,
    /// Shows one: what it says about itself, and its TOML
    Show {
        /// The recipe's name
        name: String,
    },
}

impl RecipesCommand {
    pub(crate) fn run(self) -> Result<()> {
        match self.what {
            None | Some(What::List) => list(self.json),
            Some(What::Show { name }) => show(&name, self.json),
        }
    }
}

fn list(json: bool) -> Result<()> {
    let mut out = Out::stdout();
    let mut table = Table::new(&[("Recipe", Align::Left), ("What it is", Align::Left)]);
    for recipe in RECIPES {
        let about = recipe.about()?;
        if json {
            out.line(&json_line(&about)?)?;
        }
        table.row([about.name, about.summary]);
    }
    if json {
        return Ok(());
    }
    table.lines().iter().try_for_each(|line| out.line(line))
}

fn show(name: &str, json: bool) -> Result<()> {
    let recipe = find(name)?;
    let about = recipe.about()?;
    let mut out = Out::stdout();
    if json {
        return out.line(&json_line(&about)?);
    }
    // What a reader must not miss stands above the file, as comments, so that the whole is valid TOML.
    if !about.run_to_end {
        out.line(&format!("# NOTE: {}\n", about.note.as_deref().unwrap_or("nobody has run this recipe to its end")))?;
    }
    out.write(recipe.text)
}
