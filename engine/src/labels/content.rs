//! What a record holds, as an encoder and a split look at it.

use std::fmt;

use crate::text::PrepareOptions;

use super::Content;

/// Tokens, steps and labels of a row of an array.
pub(super) type OfArray<'a> = (&'a [u32], usize, &'a [Vec<f32>]);

/// What samples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Texts and sentences.
    Texts,
    /// Rows of token ids.
    Ids,
    /// A vector a row.
    Vectors,
    /// A vector a step of a row.
    Steps,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Texts => "texts",
            Form::Ids => "token ids (N, T), whole numbers",
            Form::Vectors => "numbers (N, D), floats",
            Form::Steps => "numbers (N, T, D)",
        })
    }
}

impl Content {
    /// What samples of its kind are.
    pub(super) fn form(&self) -> Form {
        match self {
            Content::Array { tokens, .. } if !tokens.is_empty() => Form::Ids,
            Content::Array { steps: 0, .. } => Form::Vectors,
            Content::Array { .. } => Form::Steps,
            Content::Text { .. } | Content::Sentence(_) | Content::Words(_) | Content::Pair { .. } => Form::Texts,
        }
    }

    /// Tokens, steps and labels of a row of an array.
    pub(super) fn array(&self) -> Option<OfArray<'_>> {
        match self {
            Content::Array { tokens, steps, labels, .. } => Some((tokens, *steps, labels)),
            _ => None,
        }
    }

    /// Its labels of an output.
    pub fn labels(&self, output: usize) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Content::Text { labels, .. } => (labels.get(output).map(String::as_str), &[][..]),
            Content::Array { label, .. } => (Some(label.as_str()).filter(|label| !label.is_empty()), &[][..]),
            Content::Sentence(words) => (None, words.as_slice()),
            Content::Words(_) | Content::Pair { .. } => (None, &[][..]),
        };
        one.into_iter().chain(many.iter().filter_map(move |word| word.tags.get(output)).map(String::as_str))
    }

    /// The text, of what is no sentence of single words.
    pub fn text(&self) -> Option<&str> {
        match self {
            Content::Text { text, .. } | Content::Words(text) | Content::Pair { text, .. } => Some(text),
            Content::Sentence(_) | Content::Array { .. } => None,
        }
    }

    /// The text that is read before this one is written.
    pub fn source(&self) -> Option<&str> {
        if let Content::Pair { source, .. } = self { Some(source) } else { None }
    }

    /// The words of a sentence.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        let words = match self {
            Content::Text { .. } | Content::Words(_) | Content::Pair { .. } | Content::Array { .. } => &[][..],
            Content::Sentence(words) => words.as_slice(),
        };
        words.iter().map(|word| word.text.as_str())
    }

    /// What two samples share that are the same text once they are prepared.
    pub fn key(&self, prepare: &PrepareOptions) -> String {
        let mut key = String::new();
        match self {
            // Equal sources stand on one side, whatever is written for them.
            Content::Text { text, .. } | Content::Words(text) | Content::Pair { source: text, .. } => {
                prepare.words(text, |word| {
                    key.push_str(word);
                    key.push('\n');
                });
            }
            Content::Sentence(words) => words.iter().for_each(|word| {
                key.push_str(&prepare.clean(&word.text));
                key.push('\n');
            }),
            Content::Array { tokens, .. } => tokens.iter().for_each(|token| key.push_str(&format!("{token} "))),
        }
        // What is left of it is nothing: such texts are not all one.
        match (self, key.is_empty()) {
            (Content::Text { text, .. } | Content::Words(text) | Content::Pair { source: text, .. }, true) => {
                text.clone()
            }
            _ => key,
        }
    }
}
