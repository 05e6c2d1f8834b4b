//! What the words of a trained run are: its vocabulary and their order, compared with what its checkpoints say of them.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use super::order::{WORDS_ALIKE, learn_order, needs_order, read_order};
use super::texts::in_file;
use super::{Texts, text_graph};
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::graph::{Graph, HeadLayouts};
use crate::report::argument;
use crate::text::Vocabulary;
use crate::train::storage::{Storage, replace_file};
use crate::train::{CHECKPOINTS, Checkpoints, Identity, VOCABULARY};

/// A language model as its run folder has it, without weights.
pub struct TextModel {
    /// Its tokens.
    pub vocabulary: Vocabulary,
    /// Their order, where its head asks for one.
    pub order: Option<Arc<[u32]>>,
    /// Its layers.
    pub graph: Graph,
}

/// Opens the language model in a run.
///
/// # Errors
/// [`Error::Input`] where its vocabulary or the order of its words is missing, damaged, or not what the newest checkpoint was made
/// with; as [`text_graph`].
pub fn open_text_model(storage: Rc<dyn Storage>, config: &RunConfig, run: &Path) -> Result<TextModel> {
    let path = run.join(VOCABULARY);
    let vocabulary = Vocabulary::read(&path)?;
    let saved = saved_identity(storage, run)?;
    check_tokens(run, VOCABULARY, ("the vocabulary", vocabulary.hash()), &saved)?;
    let order = read_order(config, run, vocabulary.len())?;
    let graph = text_graph(config, &vocabulary, order.clone())?;
    check_heads(config, run, &graph, &saved.heads)?;
    Ok(TextModel { vocabulary, order, graph })
}

/// What the newest checkpoint of a run says that it was made with; nothing where none can be read.
pub(super) fn saved_identity(storage: Rc<dyn Storage>, run: &Path) -> Result<Identity> {
    Ok(Checkpoints::new(storage, run.join(CHECKPOINTS)).newest_identity()?.unwrap_or_default())
}

/// Refuses the file of a run that says what its tokens are where they are those of another run, by their hash; a checkpoint that
/// does not say it is believed.
pub(super) fn check_tokens(run: &Path, file: &str, (what, hash): (&str, u64), saved: &Identity) -> Result<()> {
    let found = format!("{hash:016x}");
    if saved.vocabulary.is_empty() || saved.vocabulary == found {
        return Ok(());
    }
    let what = format!("is not {what} that the model was trained with: {found}, not {}", saved.vocabulary);
    Err(Error::input(run.join(file), what).mend(restore(run)))
}

/// Refuses words whose counts or order are not those that heads were trained with; those of an older checkpoint do not say it.
fn check_heads(config: &RunConfig, run: &Path, graph: &Graph, saved: &HeadLayouts) -> Result<()> {
    let path = run.join(if needs_order(config) { WORDS_ALIKE } else { VOCABULARY });
    let heads = graph.head_layouts().map_err(|error| in_file(&path, error).mend(restore(run)))?;
    match saved.moved(&heads) {
        None => Ok(()),
        Some(_) if needs_order(config) => {
            let what = format!(
                "is not the order of the words that the model was trained with, or their counts in `{VOCABULARY}` are not"
            );
            Err(Error::input(path, what).mend(restore(run)))
        }
        Some(_) => {
            let what = "the counts of the words are not those that the model was trained with";
            Err(Error::input(path, what).mend(restore(run)))
        }
    }
}

fn restore(run: &Path) -> String {
    format!("restore it from a copy, or by `unroll train --resume {}`", argument(run))
}

/// The order of the words of a run that goes on, where its head asks for one. What the file should have is learned from the text
/// again where it has not, if the model was trained on that text from its beginning.
///
/// # Errors
/// As where a run is opened, [`learn_order`] and [`Checkpoints::newest_identity`]; [`Error::Input`] where the order is lost.
pub fn resumed_order(
    checkpoints: &Checkpoints,
    config: &RunConfig,
    run: &Path,
    texts: &Texts,
) -> Result<Option<Arc<[u32]>>> {
    if !needs_order(config) {
        return Ok(None);
    }
    let vocabulary = texts.tokenizer.vocabulary();
    let saved = checkpoints.newest_identity()?.unwrap_or_default().heads;
    let check = |order: Option<Arc<[u32]>>| {
        check_heads(config, run, &text_graph(config, vocabulary, order.clone())?, &saved).map(|()| order)
    };
    let found = read_order(config, run, vocabulary.len()).and_then(check);
    match found {
        Err(error) if !saved.is_empty() => check(learn_order(config, texts)?).map_err(|_| error),
        found => found,
    }
}

/// Writes the words of a run where they are missing or damaged: the tokens of the run, which were checked, have them too.
///
/// # Errors
/// [`Error::Io`] where they cannot be written.
pub fn restore_words(storage: &dyn Storage, run: &Path, vocabulary: &Vocabulary, order: Option<&[u32]>) -> Result<()> {
    let vocabulary = (VOCABULARY, vocabulary.to_file());
    let order = order.map(|order| (WORDS_ALIKE, super::order_file(order)));
    for (name, contents) in std::iter::once(vocabulary).chain(order) {
        let path = run.join(name);
        let limit = contents.len() as u64;
        if storage.read(&path, limit).ok().as_deref() != Some(contents.as_bytes()) {
            replace_file(storage, &path, contents.as_bytes()).map_err(|error| Error::write(&path, error))?;
        }
    }
    Ok(())
}
