//! `unroll recipes`: the named recipes.

use clap::{Args, Subcommand};
use unroll::error::Result;
use unroll::recipes::{RECIPES, find};
use unroll::report::{Align, Out, Table, json_line};

/// Lists the recipes (models with known settings), or shows one.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  unroll recipes\n  unroll recipes show char-rnn > mine.toml\n  unroll train --recipe char-rnn --data input.txt"
)]
pub(crate) struct RecipesCommand {
    #[command(subcommand)]
    what: Option<What>,
    /// Print one JSON object per recipe
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists the recipes
    List,
    /// Shows a recipe: its description and its TOML
    Show {
        /// Name of the recipe
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
        out.line(&format!("# NOTE: {}\n", about.note.as_deref().unwrap_or("this recipe has not been run to its end")))?;
    }
    out.write(recipe.text)
}
