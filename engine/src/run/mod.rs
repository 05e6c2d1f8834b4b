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
    Cut, Reading, Texts, Tokens, WARM_UP, Walk, embedded_text, find_parts, find_speakers, keep_known_speakers,
    make_absolute, window_length,
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
    graph.require_unmasked("running text has no padding")?;
    graph.require_causal()?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Level, TextOptions, Tokenizer};

    #[test]
    fn running_text_is_neither_masked_nor_read_ahead() {
        let tokenizer = Tokenizer::from_text("abcab", &TextOptions::new(Level::Char)).unwrap();
        let graph = |layers: &str| {
            let text = format!("[model.graph]\n{layers}");
            let config: RunConfig = toml::from_str(&text).unwrap();
            text_graph(&config, tokenizer.vocabulary(), None)
        };
        let model = |layers: &str| format!("layers = [{layers}, {{ type = \"dense\" }}]");
        let (plain, masked) =
            ("{ type = \"embedding\", output_dim = 4 }", "{ type = \"embedding\", output_dim = 4, mask_zero = true }");
        let lstm = "{ type = \"lstm\", units = 3, return_sequences = true";
        assert!(graph(&model(&format!("{plain}, {lstm} }}"))).is_ok());
        let both = format!("{{ type = \"bidirectional\", layer = {lstm} }} }}");
        let state = format!(
            "{lstm}, return_state = true }}, {{ type = \"dense\", inputs = [\"lstm/h\"], units = 3, name = \"all\" }}, \
             {{ type = \"lstm\", name = \"two\", inputs = [\"lstm\"], units = 3, return_sequences = true, initial_state = [\"all\", \"lstm/c\"] }}"
        );
        for (layers, layer, what) in [
            (format!("{masked}, {lstm} }}"), "embedding", "masks steps, and running text has no padding"),
            (format!("{plain}, {{ type = \"masking\" }}, {lstm} }}"), "masking", "masks steps"),
            (format!("{plain}, {both}"), "bidirectional", "sees the tokens that the model should learn to predict"),
            (format!("{plain}, {lstm}, go_backwards = true }}"), "lstm", "sees the tokens"),
            (format!("{plain}, {state}"), "lstm/h", "sees the tokens"),
            (
                format!(
                    "{plain}, {}, {{ type = \"repeat_vector\" }}, {lstm} }}",
                    lstm.replace(", return_sequences = true", " }")
                ),
                "lstm",
                "sees the tokens",
            ),
        ] {
            let error = graph(&model(&layers)).unwrap_err().to_string();
            assert!(error.contains(&format!("layer `{layer}` {what}")), "{layers}: {error}");
        }
        // What is behind a window is not in it.
        let window = format!(
            "input_length = 3\n{}",
            model(&format!("{plain}, {}", both.replace(", return_sequences = true", "")))
        );
        assert!(graph(&window).is_ok());
    }
}
