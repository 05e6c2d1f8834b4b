//! `unroll summary`: Keras' table of a model.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use unroll::error::{Error, Result};
use unroll::graph::{Graph, SummaryRow};
use unroll::report::{Out, json_line, summary};
use unroll::text::Vocabulary;
use unroll::train::{CONFIG, VOCABULARY};

use crate::options::Configuration;

/// Prints Keras' table of a model: layers, output shapes, parameters, connections.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  unroll summary runs/1\n  unroll summary --recipe char-rnn\n  unroll summary --recipe zaremba-small --vocab 10000 --rnn-size 400"
)]
pub(crate) struct Summary {
    /// A run folder
    run: Option<PathBuf>,
    /// Tokens in the vocabulary, where no run says it [default: 65 for characters, 256 for bytes, 10000 for words]
    #[arg(long, value_name = "N", conflicts_with = "run")]
    vocab: Option<usize>,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: Configuration,
}

#[derive(Serialize)]
struct Json<'a> {
    model: &'a str,
    vocabulary: usize,
    parameters: u64,
    layers: Vec<SummaryRow>,
}

impl Summary {
    pub(crate) fn run(self) -> Result<()> {
        let file = self.run.as_deref().map(|run| run.join(CONFIG));
        let (config, _) = self.configuration.resolve(|resolver| match &file {
            Some(file) => resolver.file(file),
            None => Ok(()),
        })?;
        let (title, vocabulary) = match &self.run {
            Some(run) => (name_of(run), Vocabulary::read(run.join(VOCABULARY))?.len()),
            None => {
                let usual = match config.data.level {
                    unroll::text::Level::Byte => 256,
                    unroll::text::Level::Char | unroll::text::Level::Grapheme => 65,
                    unroll::text::Level::Word => 10_000,
                };
                let title = self.configuration.recipe.clone().unwrap_or_else(|| "model".to_owned());
                (title, self.vocab.unwrap_or(usual))
            }
        };
        if vocabulary > i32::MAX as usize {
            return Err(Error::option("--vocab", format!("must be at most {}, got {vocabulary}", i32::MAX)));
        }
        let graph = Graph::new(&config.model.graph(), vocabulary)?;
        let mut out = Out::stdout();
        if self.json {
            let parameters = graph.parameter_count();
            return out.line(&json_line(&Json { model: &title, vocabulary, parameters, layers: graph.rows() })?);
        }
        out.write(&summary(&title, &graph))
    }
}

/// A run's name: that of its folder.
pub(crate) fn name_of(run: &Path) -> String {
    run.file_name().map_or_else(|| run.display().to_string(), |name| name.to_string_lossy().into_owned())
}
