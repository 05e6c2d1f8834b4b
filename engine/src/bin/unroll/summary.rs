//! `unroll summary`: Keras' table of a model.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use serde::Serialize;
use unroll::config::RunConfig;
use unroll::error::{Error, Result};
use unroll::graph::{Description, Graph, HeadSettings, LayerConfig, Loss, ModelConfig, SummaryRow};
use unroll::recipes;
use unroll::report::{Out, json_line, summary};
use unroll::run::{TextModel, labelled_graph, open_text_model, read_encoder, text_graph};
use unroll::text::Level;
use unroll::train::CONFIG;
use unroll::train::storage::Disk;

use crate::options::Configuration;
use crate::trained::Opened;

/// Prints Keras' table of a model: layers, output shapes, parameters, connections.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  unroll summary runs/1\n  unroll summary --recipe char-rnn\n  unroll summary --recipe zaremba-small --vocab 10000 --rnn-size 400"
)]
pub(crate) struct Summary {
    /// A run folder
    run: Option<PathBuf>,
    /// Size of the vocabulary, if no run is given [default: data.max_vocab if set, otherwise 65 for characters, 256 for bytes,
    /// 10000 for words]
    #[arg(long, value_name = "N", conflicts_with = "run")]
    vocab: Option<usize>,
    /// Print one JSON object
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
    heads: Vec<HeadSettings>,
}

impl Summary {
    pub(crate) fn run(self) -> Result<()> {
        let (title, vocabulary, description) = match &self.run {
            Some(run) => {
                let Model { title, graph, .. } = Model::find(Some(run), None, &self.configuration)?;
                (title, graph.vocabulary(), graph.description())
            }
            None => {
                let (config, _) = self.configuration.resolve(|_| Ok(()))?;
                let (model, vocabulary, classes) = sizes(&config, self.vocab)?;
                let description = Graph::describe(&model, vocabulary, classes.as_ref().map(std::slice::from_ref))?;
                (title_of(&self.configuration), vocabulary, description)
            }
        };
        let mut out = Out::stdout();
        if self.json {
            let Description { rows: layers, parameters, heads } = description;
            return out.line(&json_line(&Json { model: &title, vocabulary, parameters, layers, heads })?);
        }
        out.write(&summary(&title, &description))
    }
}

/// The name of a model that is not a run.
fn title_of(configuration: &Configuration) -> String {
    configuration.recipe.clone().unwrap_or_else(|| "model".to_owned())
}

/// A model, trained or not.
pub(crate) struct Model {
    /// The run's name, or the recipe's.
    pub(crate) title: String,
    pub(crate) config: RunConfig,
    pub(crate) graph: Graph,
}

impl Model {
    /// The model of a run, or of a configuration with so many tokens or as many as its level usually has.
    pub(crate) fn find(run: Option<&Path>, vocab: Option<usize>, configuration: &Configuration) -> Result<Model> {
        let file = run.map(|run| run.join(CONFIG));
        if let (Some(run), Some(file)) = (run, &file)
            && !file.exists()
        {
            let recipe = run.to_str().and_then(|name| recipes::find(name).ok());
            return Err(Error::input(run, format!("is not a run: it has no {CONFIG}")).mend(match recipe {
                Some(recipe) => format!("for the recipe give --recipe {}", recipe.name),
                None => "name a folder that `unroll train` has written".to_owned(),
            }));
        }
        let (config, _) = configuration.resolve(|resolver| match &file {
            Some(file) => resolver.file(file),
            None => Ok(()),
        })?;
        let encoder = match (&config.task, run) {
            (Some(task), Some(run)) => Some(read_encoder(Rc::new(Disk), task, run)?),
            _ => None,
        };
        let graph = match (&encoder, run) {
            (Some(encoder), _) => labelled_graph(&config, encoder)?,
            (None, Some(run)) => {
                let own = Opened::open(run)?;
                let TextModel { vocabulary, order, .. } = open_text_model(Rc::new(Disk), &own.config, &own.folder)?;
                text_graph(&config, &vocabulary, order)?
            }
            (None, None) => untrained(&config, vocab)?,
        };
        let title = match run {
            Some(run) => name_of(run),
            None => title_of(configuration),
        };
        Ok(Model { title, config, graph })
    }
}

/// The graph of a model that has not been trained, of so many tokens or as many as its level usually has.
pub(crate) fn untrained(config: &RunConfig, vocab: Option<usize>) -> Result<Graph> {
    match sizes(config, vocab)? {
        (model, vocabulary, Some(classes)) => Graph::with_classes(&model, vocabulary, &[classes]),
        (model, vocabulary, None) => Graph::new(&model, vocabulary),
    }
}

/// A model that has not been trained, its tokens, and what a target of its one output may be: less than that.
fn sizes(config: &RunConfig, vocab: Option<usize>) -> Result<(ModelConfig, usize, Option<usize>)> {
    let vocabulary = vocab.unwrap_or_else(|| usual(config));
    if vocabulary > i32::MAX as usize {
        return Err(Error::option("--vocab", format!("must be at most {}, got {vocabulary}", i32::MAX)));
    }
    // Targets are the vocabulary's tokens, or classes; as few as there may be where nothing names them.
    let labels = config.task.as_ref().filter(|task| task.kind.has_labels());
    let classes = labels.map_or(vocabulary, |task| task.classes.len().max(2));
    let mut model = config.model.graph();
    if model.outputs.is_empty() {
        let targets = if model.loss == Loss::MeanSquaredError { 1 } else { classes };
        return Ok((model, vocabulary, Some(targets)));
    }
    for layer in &mut model.layers {
        let output = model.outputs.iter().find(|output| layer.name_and_inputs().0 == Some(&output.layer));
        if let (Some(output), LayerConfig::Dense(dense)) = (output, layer) {
            dense.units.get_or_insert(if output.loss == Loss::CrossEntropy { classes } else { 1 });
        }
    }
    Ok((model, vocabulary, None))
}

/// The usual size of a vocabulary.
fn usual(config: &RunConfig) -> usize {
    match (config.data.level, &config.task) {
        (_, Some(task)) if task.prepare.num_words > 0 => task.prepare.num_words,
        (_, None) if config.data.max_vocab > 0 => config.data.max_vocab.try_into().unwrap_or(usize::MAX),
        (Level::Word, _) | (_, Some(_)) => 10_000,
        (Level::Byte, None) => 256,
        (Level::Char | Level::Grapheme, None) => 65,
    }
}

/// A run's name: that of its folder.
pub(crate) fn name_of(run: &Path) -> String {
    run.file_name().map_or_else(|| run.display().to_string(), |name| name.to_string_lossy().into_owned())
}
