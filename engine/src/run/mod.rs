//! A run put together: texts, tokens, graph, network and training loop, as the configuration says.

mod labelled;
mod model;
mod order;
mod settings;
mod task_graph;
mod texts;

pub use labelled::{DECISION, Decision, LABELLED_LOSS, Labelled, longest_source, read_encoder, sample_batches};
pub use model::{Speaker, load_weights, open_weights};
pub use order::{WORDS_ALIKE, learn_order, order_file, read_order};
pub use settings::identity;
pub use task_graph::{check_vectors, labelled_graph};
pub use texts::{
    Cut, Reading, Texts, Tokens, WARM_UP, Walk, embedded_text, find_parts, find_speakers, make_absolute, window_length,
};

use std::path::Path;
use std::sync::Arc;

use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::graph::{Graph, Loss, Words};
use crate::text::Vocabulary;
use crate::train::storage::{Storage, replace_file};
use crate::train::{CONFIG, VOCABULARY};

/// The configuration as a run folder keeps it.
///
/// # Errors
/// [`Error::Run`] where it cannot be written as TOML.
pub fn config_file(config: &RunConfig) -> Result<String> {
    let text =
        toml::to_string(config).map_err(|error| Error::run(format!("cannot write the configuration: {error}")))?;
    Ok(format!("# The configuration of this run, resolved by unroll {}.\n{text}", env!("CARGO_PKG_VERSION")))
}

/// The graph of a language model over a vocabulary, whose counts its head may need, as it may their order ([`learn_order`]).
///
/// # Errors
/// As [`Graph::with_words`], and [`Error::Usage`] where it takes more than a text has.
pub fn text_graph(config: &RunConfig, vocabulary: &Vocabulary, order: Option<Arc<[u32]>>) -> Result<Graph> {
    let counts = vocabulary.iter().map(|(_, count)| count).collect();
    let graph = Graph::with_words(&config.model.graph(), Words { counts, order })?;
    graph.require_text_alone()?;
    graph.require_one_sequence("the next token of a text is learned by")?;
    graph.require_one_output("the next token of a text is learned by")?;
    if graph.outputs()[0].loss() != Loss::CrossEntropy {
        return Err(Error::usage("the next token of a text is learned by the loss cross_entropy")
            .mend("leave `loss` out of the model, or learn from labelled samples by [task]"));
    }
    Ok(graph)
}

/// Writes the vocabulary of a run where it is missing or damaged: the tokens of the run, which were checked, have it too.
///
/// # Errors
/// [`Error::Io`] where it cannot be written.
pub fn restore_vocabulary(storage: &dyn Storage, run: &Path, vocabulary: &Vocabulary) -> Result<()> {
    let path = run.join(VOCABULARY);
    match Vocabulary::read(&path) {
        Ok(found) if found.hash() == vocabulary.hash() => Ok(()),
        _ => replace_file(storage, &path, vocabulary.to_file().as_bytes()).map_err(|error| Error::write(&path, error)),
    }
}

/// Replaces the configuration of a run: what was changed on resuming holds for the next time too.
///
/// # Errors
/// [`Error::Io`] where it cannot be written; the old one is then still whole.
pub fn rewrite_config(storage: &dyn Storage, run: &Path, config: &RunConfig) -> Result<()> {
    let path = run.join(CONFIG);
    replace_file(storage, &path, config_file(config)?.as_bytes()).map_err(|error| Error::write(&path, error))
}
