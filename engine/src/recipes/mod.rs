//! Known models as configurations: one TOML file each, embedded in the program.
//!
//! A recipe's `[about]` section says what it is, where it comes from, and whether anyone has run it to its end with
//! this program; the rest is a [`crate::config::RunConfig`].

use crate::config::{About, Origins, Resolver, RunConfig, nearest};
use crate::error::{Error, Result};

/// A recipe as it is embedded.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// The name it is called by.
    pub name: &'static str,
    /// Its TOML file.
    pub text: &'static str,
}

/// Every recipe, in the order that `unroll recipes` lists them.
pub const RECIPES: &[Recipe] = &[
    Recipe { name: "cicero", text: include_str!("cicero.toml") },
    Recipe { name: "min-char-rnn", text: include_str!("min-char-rnn.toml") },
    Recipe { name: "char-rnn", text: include_str!("char-rnn.toml") },
    Recipe { name: "char-rnn-large", text: include_str!("char-rnn-large.toml") },
    Recipe { name: "war-and-peace", text: include_str!("war-and-peace.toml") },
    Recipe { name: "char-gru", text: include_str!("char-gru.toml") },
    Recipe { name: "zaremba-small", text: include_str!("zaremba-small.toml") },
    Recipe { name: "zaremba-medium", text: include_str!("zaremba-medium.toml") },
    Recipe { name: "zaremba-large", text: include_str!("zaremba-large.toml") },
    Recipe { name: "tied-650", text: include_str!("tied-650.toml") },
    Recipe { name: "awd-lstm", text: include_str!("awd-lstm.toml") },
    Recipe { name: "nnlm", text: include_str!("nnlm.toml") },
    Recipe { name: "nnlm-brown", text: include_str!("nnlm-brown.toml") },
    Recipe { name: "nnlm-brown-adam", text: include_str!("nnlm-brown-adam.toml") },
    Recipe { name: "nnlm-brown-direct", text: include_str!("nnlm-brown-direct.toml") },
    Recipe { name: "sms-spam", text: include_str!("sms-spam.toml") },
    Recipe { name: "imdb", text: include_str!("imdb.toml") },
    Recipe { name: "topics", text: include_str!("topics.toml") },
    Recipe { name: "ud-ewt", text: include_str!("ud-ewt.toml") },
    Recipe { name: "next-word", text: include_str!("next-word.toml") },
    Recipe { name: "next-char", text: include_str!("next-char.toml") },
    Recipe { name: "headlines", text: include_str!("headlines.toml") },
    Recipe { name: "dialogue-char", text: include_str!("dialogue-char.toml") },
    Recipe { name: "dialogue-word", text: include_str!("dialogue-word.toml") },
    Recipe { name: "digit-captions", text: include_str!("digit-captions.toml") },
    Recipe { name: "captions-each-step", text: include_str!("captions-each-step.toml") },
    Recipe { name: "translate-char", text: include_str!("translate-char.toml") },
];

/// The recipe that stands for `unroll train` without data.
pub const FIRST: &str = "cicero";

/// The recipe of this name; `_` counts as `-`.
///
/// # Errors
/// Where there is none; the error offers the nearest.
pub fn find(name: &str) -> Result<&'static Recipe> {
    let wanted = name.replace('_', "-").to_lowercase();
    RECIPES.iter().find(|recipe| recipe.name == wanted).ok_or_else(|| {
        let names = || RECIPES.iter().map(|recipe| recipe.name);
        let error = Error::usage(format!("there is no recipe `{name}`"));
        match nearest(name, names()) {
            Some(near) => error.mend(format!("did you mean `{near}`? `unroll recipes` lists them")),
            None => error.mend(format!("there are {}", names().collect::<Vec<_>>().join(", "))),
        }
    })
}

impl Recipe {
    /// What the recipe says about itself.
    ///
    /// # Errors
    /// Where the file is malformed, which its test rules out for the embedded ones.
    pub fn about(&self) -> Result<About> {
        let file: RunConfig = toml::from_str(self.text)
            .map_err(|error| Error::run(format!("recipe {}: {}", self.name, error.message())))?;
        file.about.ok_or_else(|| Error::run(format!("recipe {} says nothing about itself", self.name)))
    }

    /// The configuration that the recipe gives over the defaults.
    ///
    /// # Errors
    /// Where the file is malformed, which its test rules out for the embedded ones.
    pub fn config(&self) -> Result<(RunConfig, Origins)> {
        let mut resolver = Resolver::new();
        resolver.recipe(self.name, self.text)?;
        resolver.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_is_valid_and_says_where_it_comes_from() {
        for recipe in RECIPES {
            let about = recipe.about().unwrap();
            assert_eq!(about.name, recipe.name);
            assert!(!about.source.is_empty() && !about.summary.is_empty());
            assert!(about.run_to_end || about.note.is_some(), "{}: a recipe that nobody ran says so", recipe.name);
            recipe.config().unwrap();
        }
    }

    #[test]
    fn an_unknown_recipe_is_refused_with_the_nearest() {
        assert_eq!(find("char_rnn").unwrap().name, "char-rnn");
        let error = find("zarembasmall").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        insta::assert_snapshot!(error, @"there is no recipe `zarembasmall` (did you mean `zaremba-small`? `unroll recipes` lists them)");
    }
}
