//! Text to tokens and back: levels, vocabularies, encoding and decoding.
//!
//! | [`Level`] | a token is | `<unk>` | decoding gives back |
//! |---|---|---|---|
//! | byte | one of the 256 bytes; its id is its value | never needed | the same bytes |
//! | char | a Unicode scalar value | on request | the same text |
//! | grapheme | an extended grapheme cluster (UAX #29) | on request | the same text |
//! | word | what stands between white space | unless refused | the words, one space between two, lines where `<eos>` stands |
//!
//! **Words.** White space is Unicode's property White_Space. With `punctuation`, what stands between white space is
//! cut again at the word boundaries of UAX #29, which part punctuation from words and keep `don't` and `3.14` whole.
//! With `eos`, each line feed becomes the token `<eos>`, and so does the end of a file whose last line is not ended,
//! as in Zaremba's and PyTorch's word models. A word `<unk>` or `<eos>` in the text is that token.
//!
//! **Order of ids.** Byte level: by value. Every other level: most frequent first, and among equal counts by the
//! tokens' UTF-8 bytes (the order of code points). `<unk>`, counted with all that it replaces, and `<eos>` stand where
//! their counts put them. A maximum size keeps the first tokens of that order, `<unk>` and `<eos>` always among them.
//!
//! ```
//! use unroll::text::{Level, TextOptions, Tokenizer};
//! let tokenizer = Tokenizer::from_text("to be or not to be\n", &TextOptions::new(Level::Word))?;
//! let ids = tokenizer.encode("to be\n")?;
//! assert_eq!(tokenizer.decode(&ids), "to be\n");
//! # Ok::<(), unroll::Error>(())
//! ```

pub mod alike;
mod count;
mod decoder;
mod prepare;
mod script;
mod table;
mod tokenizer;
mod turns;
mod utf8;
mod vocabulary;
mod vocabulary_file;
mod word_index;
mod words;

pub use decoder::Decoder;
pub use prepare::{CleanOptions, KERAS_FILTERS, Normalization, PrepareOptions, Side};
pub use script::{SpeakerFinder, speaker_of};
pub use tokenizer::Tokenizer;
pub use turns::{Cast, NextTurn, turn_of};
pub use vocabulary::Vocabulary;
pub use word_index::{PADDING, WordIndex, start, truncate};

pub(crate) use count::Counter;
pub(crate) use table::{MAX_ENTRIES, Table};
pub(crate) use tokenizer::Unknown;
pub(crate) use turns::{Owners, Who};
pub(crate) use utf8::decode_into;
pub(crate) use vocabulary_file::{check_token, parse as parse_vocabulary};
pub(crate) use words::last_whitespace_end;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The token that stands for every word or character outside the vocabulary.
pub const UNKNOWN: &str = "<unk>";

/// The token that ends a line at word level.
pub const END_OF_SENTENCE: &str = "<eos>";

/// Longest token in bytes. A text without any white space for longer is no text of words.
pub const MAX_TOKEN_BYTES: usize = 1 << 16;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// A byte.
    Byte,
    /// A Unicode scalar value.
    #[default]
    Char,
    /// An extended grapheme cluster (UAX #29).
    Grapheme,
    /// What stands between white space.
    Word,
}

/// What is done with bytes that are not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EncodingErrors {
    /// Refuse the file and name the byte.
    #[default]
    Strict,
    /// Put U+FFFD in the place of each maximal invalid part.
    Replace,
    /// Leave the invalid bytes out.
    Skip,
}

/// How text becomes tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextOptions {
    /// What a token is.
    pub level: Level,
    /// What is done to the text before it is cut into tokens, and to every prompt; not for bytes.
    pub clean: CleanOptions,
    /// Words only: turn every word into lower case (Unicode's full mapping).
    pub lowercase: bool,
    /// Words only: part punctuation from words (UAX #29).
    pub punctuation: bool,
    /// Words only: a line feed is the token `<eos>`; unset means yes, unless `clean` joins lines.
    pub eos: Option<bool>,
    /// Have `<unk>` in the vocabulary; unset means yes for words, no for characters and clusters. Not for bytes.
    pub unknown: Option<bool>,
    /// What is done with bytes that are not UTF-8; never needed for bytes.
    pub errors: EncodingErrors,
    /// Tokens seen less often than this are replaced by `<unk>`; 1 keeps all.
    pub min_count: u64,
    /// Most tokens in the vocabulary, `<unk>` and `<eos>` included; 0 for no limit.
    pub max_size: u64,
}

impl Default for TextOptions {
    fn default() -> TextOptions {
        TextOptions {
            level: Level::default(),
            clean: CleanOptions::default(),
            lowercase: false,
            punctuation: false,
            eos: None,
            unknown: None,
            errors: EncodingErrors::default(),
            min_count: 1,
            max_size: 0,
        }
    }
}

impl TextOptions {
    /// The usual options for a level.
    pub fn new(level: Level) -> TextOptions {
        TextOptions { level, ..TextOptions::default() }
    }

    /// Whether a line feed is a token of its own.
    pub fn has_eos(&self) -> bool {
        self.level == Level::Word && self.eos.unwrap_or(!self.clean.join_lines)
    }

    /// Whether the vocabulary has `<unk>`.
    pub fn has_unknown(&self) -> bool {
        self.level != Level::Byte && self.unknown.unwrap_or(self.level == Level::Word)
    }

    /// Refuses options that contradict each other.
    ///
    /// # Errors
    /// [`Error::Usage`] names the option.
    pub fn check(&self) -> Result<()> {
        if self.level != Level::Word {
            for (on, name) in [
                (self.lowercase, "--lower"),
                (self.punctuation, "--split-punctuation"),
                (self.eos == Some(true), "eos"),
            ] {
                if on {
                    return Err(Error::option(name, format!("is for words, but the level is {}", self.level))
                        .mend("leave it out, or set the level to word"));
                }
            }
        }
        if self.clean.join_lines && self.eos == Some(true) {
            return Err(
                Error::option("join_lines", "leaves no line that could end in `<eos>`").mend("leave one of them out")
            );
        }
        if self.level == Level::Byte {
            for (on, name) in [
                (!self.clean.is_nothing(), "--prepare"),
                (self.unknown == Some(true), "unknown"),
                (self.min_count > 1, "--min-count"),
                (self.max_size != 0, "--max-vocab"),
            ] {
                if on {
                    return Err(Error::option(
                        name,
                        "at the byte level the vocabulary always has all 256 bytes, and nothing is unknown",
                    )
                    .mend("leave it out, or choose another level"));
                }
            }
        }
        if self.min_count > 1 && !self.has_unknown() {
            return Err(Error::option("--min-count", "rare tokens can only be dropped where `<unk>` stands for them")
                .mend("set unknown to true"));
        }
        let smallest = u64::from(self.has_unknown()) + u64::from(self.has_eos()) + 1;
        if self.max_size != 0 && self.max_size < smallest {
            let what = format!("must be 0 (no limit) or at least {smallest}, got {}", self.max_size);
            return Err(Error::option("--max-vocab", what));
        }
        Ok(())
    }
}

impl Level {
    /// What a token is called.
    pub fn unit(self) -> &'static str {
        match self {
            Level::Byte => "byte",
            Level::Char => "character",
            Level::Grapheme => "grapheme",
            Level::Word => "word",
        }
    }

    /// The level's name in options and files.
    pub fn name(self) -> &'static str {
        match self {
            Level::Byte => "byte",
            Level::Char => "char",
            Level::Grapheme => "grapheme",
            Level::Word => "word",
        }
    }
}

impl EncodingErrors {
    /// The policy's name in options and files.
    pub fn name(self) -> &'static str {
        match self {
            EncodingErrors::Strict => "strict",
            EncodingErrors::Replace => "replace",
            EncodingErrors::Skip => "skip",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for EncodingErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(name: &str) -> Result<Level> {
        [Level::Byte, Level::Char, Level::Grapheme, Level::Word]
            .into_iter()
            .find(|level| level.name() == name)
            .ok_or_else(|| Error::option("level", format!("`{name}` is not one of byte, char, grapheme, word")))
    }
}

impl FromStr for EncodingErrors {
    type Err = Error;

    fn from_str(name: &str) -> Result<EncodingErrors> {
        [EncodingErrors::Strict, EncodingErrors::Replace, EncodingErrors::Skip]
            .into_iter()
            .find(|policy| policy.name() == name)
            .ok_or_else(|| Error::option("errors", format!("`{name}` is not one of strict, replace, skip")))
    }
}

#[cfg(test)]
mod tests;
