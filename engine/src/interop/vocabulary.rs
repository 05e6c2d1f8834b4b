//! The vocabulary of a model that another program trained.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::text::{END_OF_SENTENCE, Level, TextOptions, UNKNOWN, Vocabulary, check_token};

/// Most bytes of a list of tokens.
const LARGEST: u64 = 1 << 28;

/// What stands for padding where a list begins at 1, as Keras' do.
const PADDING: &str = "\0";

/// A list of tokens as JSON has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum List {
    /// In the order of their ids.
    Tokens(Vec<String>),
    /// With their ids.
    Ids(BTreeMap<String, u64>),
}

/// Reads the tokens of a model: a vocabulary file as runs have it, or JSON: an array of tokens in the order of their ids
/// (PyTorch's `idx2word`), or an object of tokens and ids (`word2idx`, Keras' `word_index`). Ids that begin at 1 leave 0 to
/// padding, which becomes the character U+0000. `options` say how text becomes tokens, which JSON does not.
///
/// # Errors
/// [`Error::Input`] where it is neither, an id is missing or given twice, or a token is none of the level's.
pub fn read_vocabulary(path: &Path, options: &TextOptions) -> Result<Vocabulary> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| Error::read(path, error))?;
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|error| Error::read(path, error))?;
    if bytes.starts_with(b"unroll vocabulary ") {
        return Vocabulary::read(path);
    }
    if bytes.len() as u64 > LARGEST {
        return Err(Error::input(path, format!("larger than {LARGEST} bytes, so not a list of tokens")));
    }
    parse_list(&bytes, path, options)
}

/// The tokens of a list in JSON; `path` names it in messages.
pub(super) fn parse_list(bytes: &[u8], path: &Path, options: &TextOptions) -> Result<Vocabulary> {
    let wrong = |what: String| Error::input(path, what);
    let list: List = serde_json::from_slice(bytes).map_err(|error| {
        wrong(format!("is neither a vocabulary nor a list of tokens in JSON ({error})"))
            .mend("give [\"a\", \"b\", ...] in the order of the ids, or {\"a\": 0, \"b\": 1, ...}")
    })?;
    let tokens = in_order(list).map_err(wrong)?;
    let has = |token: &str| tokens.iter().any(|known| known == token);
    let options = TextOptions {
        eos: (options.level == Level::Word).then(|| has(END_OF_SENTENCE)),
        unknown: (options.level != Level::Byte).then(|| has(UNKNOWN)),
        ..options.clone()
    };
    for (id, token) in tokens.iter().enumerate() {
        check_token(token, &options, id).map_err(|what| wrong(format!("token {id}: {what}")))?;
    }
    let vocabulary = Vocabulary::from_ordered(&options, tokens.iter().map(|token| (token.as_str(), 0)));
    if vocabulary.len() != tokens.len() {
        return Err(wrong(format!("{} tokens, only {} of them different", tokens.len(), vocabulary.len())));
    }
    Ok(vocabulary)
}

/// The tokens by their ids, without gaps.
fn in_order(list: List) -> Result<Vec<String>, String> {
    let ids = match list {
        List::Tokens(tokens) if tokens.is_empty() => return Err("there are no tokens".to_owned()),
        List::Tokens(tokens) => return Ok(tokens),
        List::Ids(ids) => ids,
    };
    let mut by_id: Vec<(u64, String)> = ids.into_iter().map(|(token, id)| (id, token)).collect();
    by_id.sort();
    if by_id.first().is_some_and(|(first, _)| *first == 1) {
        by_id.insert(0, (0, PADDING.to_owned()));
    }
    if by_id.is_empty() {
        return Err("there are no tokens".to_owned());
    }
    for (expected, (id, token)) in by_id.iter().enumerate() {
        if *id != expected as u64 {
            return Err(format!("{token:?} has the id {id} where {expected} is expected: ids go from 0 without gaps"));
        }
    }
    Ok(by_id.into_iter().map(|(_, token)| token).collect())
}
