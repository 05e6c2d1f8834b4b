//! How a text becomes tokens, and which of them make the vocabulary.

use clap::Args;
use unroll::error::Result;
use unroll::text::{CleanOptions, Level, TextOptions};

use crate::encoding::Encoding;

/// How text is split into tokens, and which of them make up the vocabulary.
#[derive(Debug, Args)]
pub(super) struct Tokens {
    /// Unit of a token
    #[arg(long, default_value = "char", value_parser = ["byte", "char", "grapheme", "word"])]
    level: String,
    /// Comma-separated steps that prepare the text and every prompt: nfc, nfkc, ascii, join_lines, strip_punctuation, lower
    #[arg(long, default_value = "", value_name = "WORDS")]
    prepare: String,
    /// With words: lower-case the text first
    #[arg(long)]
    lower: bool,
    /// With words: make punctuation marks separate tokens
    #[arg(long)]
    split_punctuation: bool,
    /// With words: do not end lines with <eos>
    #[arg(long)]
    no_eos: bool,
    /// Replace tokens rarer than this by <unk>
    #[arg(long, default_value_t = 1, value_name = "N")]
    min_count: u64,
    /// Maximum size of the vocabulary, 0 for no limit
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_vocab: u64,
    #[command(flatten)]
    pub(super) encoding: Encoding,
    /// Memory for the tables in which words are counted, such as 500M; beyond it they spill to disk [default: the memory available];
    /// a quarter of it must hold the vocabulary; the result does not depend on it
    #[arg(long, value_name = "BYTES", value_parser = size)]
    pub(super) memory: Option<u64>,
}

impl Tokens {
    pub(super) fn options(&self) -> Result<TextOptions> {
        let level: Level = self.level.parse()?;
        let limited = self.min_count > 1 || self.max_vocab != 0;
        Ok(TextOptions {
            level,
            clean: self.prepare.parse::<CleanOptions>()?,
            lowercase: self.lower,
            punctuation: self.split_punctuation,
            eos: self.no_eos.then_some(false),
            unknown: (limited && level != Level::Byte).then_some(true),
            errors: self.encoding.errors()?.unwrap_or_default(),
            min_count: self.min_count,
            max_size: self.max_vocab,
        })
    }
}

/// A number of bytes: `500M` is 500 x 1,048,576.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return Err("expected a number of bytes, optionally followed by K, M or G".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "expected a number of bytes, such as 500M".to_owned())?;
    number.checked_mul(1 << unit).ok_or_else(|| "too many bytes".to_owned())
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_have_units() {
        let expected = [("7", 7), ("500M", 500 << 20), ("2g", 2 << 30), ("1KiB", 1 << 10), ("3MB", 3 << 20)];
        for (text, bytes) in expected {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "1.5G", "-1", "1T", "99999999999999G"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
