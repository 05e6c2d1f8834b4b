//! A run, assembled from its configuration: texts, tokens, graph, network and training loop.

mod labelled;
mod model;
mod order;
mod settings;
mod task_graph;
mod texts;
mod words;

pub use labelled::{DECISION, Decision, LABELLED_LOSS, Labelled, longest_source, read_encoder, sample_batches};
pub use model::{Speaker, load_weights, open_weights};
pub use order::{WORDS_ALIKE, learn_order, order_file};
pub use settings::identity;
pub use task_graph::{check_vectors, labelled_graph};
pub use texts::{
    Cut, Reading, Texts, Tokens, WARM_UP, Walk, embedded_text, find_parts, find_speakers, is_token_file,
    keep_known_speakers, make_absolute, window_length,
};
pub use words::{TextModel, open_text_model, restore_words, resumed_order};

use std::path::Path;
use std::sync::Arc;

use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::graph::{Graph, Loss, Words};
use crate::text::Vocabulary;
use crate::train::CONFIG;
use crate::train::storage::{Storage, replace_file};

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
/// As [`Graph::with_words`], and [`Error::Usage`] where it takes more than a text has, or needs an order that is not there.
pub fn text_graph(config: &RunConfig, vocabulary: &Vocabulary, order: Option<Arc<[u32]>>) -> Result<Graph> {
    if order.is_none() && order::needs_order(config) {
        return Err(Error::option("model.head.order", "is context, and the order of these words is not given")
            .mend("name a run that has the same words with --like RUN, or set model.head.order=frequency"));
    }
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
