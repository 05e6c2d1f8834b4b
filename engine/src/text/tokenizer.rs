//! Text to ids and ids to text.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use super::words::{Piece, Splitter, Word};
use super::{Counter, Decoder, Level, TextOptions, Vocabulary};
use crate::error::{Error, Result};

/// Turns text into ids and ids into text, by a vocabulary and its options.
#[derive(Clone)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    /// At char level the id plus one of each code point, at grapheme level of each ASCII character; 0 for none.
    flat: Vec<u32>,
}

/// A part of a text that is not in the vocabulary, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unknown(pub(crate) Range<usize>);

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("vocabulary", &self.vocabulary).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// The tokenizer of a vocabulary.
    pub fn new(vocabulary: Vocabulary) -> Tokenizer {
        let codes = match vocabulary.options().level {
            Level::Char => char::MAX as usize + 1,
            Level::Grapheme => 128,
            Level::Byte | Level::Word => 0,
        };
        let mut flat = vec![0; codes];
        if codes > 0 {
            for (id, (token, _)) in vocabulary.iter().enumerate() {
                let mut chars = token.chars();
                if let (Some(c), None) = (chars.next(), chars.next())
                    && let Some(entry) = flat.get_mut(c as usize)
                {
                    *entry = id as u32 + 1;
                }
            }
        }
        Tokenizer { vocabulary, flat }
    }

    /// The tokenizer whose vocabulary is that of a text in memory.
    ///
    /// # Errors
    /// [`Error::Usage`] if the options contradict each other or the text has no token.
    pub fn from_text(text: &str, options: &TextOptions) -> Result<Tokenizer> {
        options.check()?;
        let mut counter = Counter::new(options);
        counter.text(text);
        if counter.total() == 0 {
            return Err(Error::usage("the text has no token").mend("give a text that is not empty"));
        }
        Ok(Tokenizer::new(counter.vocabulary()?))
    }

    /// The vocabulary.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The options by which text becomes tokens.
    pub fn options(&self) -> &TextOptions {
        self.vocabulary.options()
    }

    /// The token with this id as it is written in the vocabulary.
    ///
    /// # Panics
    /// Panics if the vocabulary has no such id.
    #[track_caller]
    pub fn token_text(&self, id: u32) -> &str {
        self.vocabulary.token(id)
    }

    /// The ids of a text. What is not in the vocabulary becomes `<unk>`.
    ///
    /// At word level a line feed becomes `<eos>` where the vocabulary has it; nothing is added at the end, so that a
    /// prompt can stop in the middle of a line.
    ///
    /// # Errors
    /// [`Error::Usage`] names the first token outside the vocabulary and its place, if there is no `<unk>`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        let text = &*self.prepare(text);
        self.encode_into(text, &mut ids).map_err(|unknown| {
            let before = &text[..unknown.0.start];
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
            let place = format!("at byte {} (line {line}, column {column})", unknown.0.start);
            Error::usage(format!("{} {place} is not in the vocabulary", self.describe(&text[unknown.0])))
                .mend("leave it out, or use a model whose vocabulary has `<unk>`")
        })?;
        Ok(ids)
    }

    /// What an unknown token is called in a message.
    pub(crate) fn describe(&self, token: &str) -> String {
        let shown: String = token.chars().take(40).collect();
        let shown = if shown.len() < token.len() { format!("{shown}...") } else { shown };
        let mut chars = token.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => format!("the character {shown:?} (U+{:04X})", c as u32),
            _ if self.options().level == Level::Grapheme => format!("the character {shown:?}"),
            _ => format!("the word {shown:?}"),
        }
    }

    /// A text as it is before it is cut into tokens. [`Self::encode`] does this itself.
    pub fn prepare<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.options().clean.clean(text)
    }

    /// Appends the ids of a piece of text that was prepared and cuts no token.
    pub(crate) fn encode_into(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), Unknown> {
        let unknown = self.vocabulary.unknown();
        match self.options().level {
            Level::Byte => ids.extend(text.bytes().map(u32::from)),
            Level::Char => {
                for (at, c) in text.char_indices() {
                    let id = self.flat[c as usize].checked_sub(1).or(unknown);
                    ids.push(id.ok_or(Unknown(at..at + c.len_utf8()))?);
                }
            }
            Level::Grapheme => {
                let mut at = 0;
                for cluster in clusters(text) {
                    let id = match cluster.as_bytes() {
                        [byte] => self.flat[*byte as usize].checked_sub(1),
                        _ => self.vocabulary.id(cluster),
                    };
                    ids.push(id.or(unknown).ok_or(Unknown(at..at + cluster.len()))?);
                    at += cluster.len();
                }
            }
            Level::Word => {
                let eos = self.vocabulary.eos();
                Splitter::new(self.options()).split(text, |piece| {
                    let id = match piece {
                        Piece::Word(Word { buffer, range, place }) => {
                            self.vocabulary.id_in(buffer, range).or(unknown).ok_or(Unknown(place))?
                        }
                        // Only a vocabulary with `<eos>` asks for ends of lines.
                        Piece::EndOfLine => eos.ok_or(Unknown(0..0))?,
                    };
                    ids.push(id);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// The text of the ids. Bytes that are not UTF-8 become U+FFFD, and so does `<unk>` between characters.
    ///
    /// # Panics
    /// Panics if the vocabulary has no such id.
    #[track_caller]
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut decoder = self.decoder();
        let mut text = String::new();
        for &id in ids {
            decoder.push(id, &mut text);
        }
        decoder.finish(&mut text);
        text
    }

    /// The bytes of the ids: exactly the text's own at byte level, UTF-8 at the other levels.
    ///
    /// # Panics
    /// Panics if the vocabulary has no such id.
    #[track_caller]
    pub fn decode_bytes(&self, ids: &[u32]) -> Vec<u8> {
        if self.options().level != Level::Byte {
            return self.decode(ids).into_bytes();
        }
        let byte = |&id: &u32| u8::try_from(id).unwrap_or_else(|_| panic!("token {id} of a vocabulary of 256"));
        ids.iter().map(byte).collect()
    }

    /// A decoder that is given one id at a time, for text shown while it is being generated.
    pub fn decoder(&self) -> Decoder<'_> {
        Decoder::new(&self.vocabulary)
    }
}

/// The extended grapheme clusters of a text, which must begin at a boundary.
///
/// Two ASCII characters are always parted, except carriage return and line feed, so that plain text needs no look-up
/// in Unicode's tables.
pub(crate) fn clusters(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at;
        let first = *bytes.get(start)?;
        let plain = first.is_ascii()
            && match bytes.get(start + 1) {
                Some(&next) => next.is_ascii() && (first, next) != (b'\r', b'\n'),
                None => true,
            };
        at += if plain { 1 } else { text[start..].graphemes(true).next().map_or(1, str::len) };
        Some(&text[start..at])
    })
}
