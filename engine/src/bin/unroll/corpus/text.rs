//! How a text becomes tokens, and which of them make the vocabulary.

use clap::Args;
use unroll::error::Result;
use unroll::text::{CleanOptions, EncodingErrors, Level, TextOptions};

/// What a token is, and which make the vocabulary.
#[derive(Debug, Args)]
pub(super) struct Tokens {
    /// What a token is
    #[arg(long, default_value = "char", value_parser = ["byte", "char", "grapheme", "word"])]
    level: String,
    /// What is done to the text first, and to every prompt: nfc, nfkc, ascii, join_lines, strip_punctuation, lower, with commas
    /// between them
    #[arg(long, default_value = "", value_name = "WORDS")]
    prepare: String,
    /// Words: lower-case the text first
    #[arg(long)]
    lower: bool,
    /// Words: punctuation marks are tokens of their own
    #[arg(long)]
    split_punctuation: bool,
    /// Words: lines have no <eos> at their end
    #[arg(long)]
    no_eos: bool,
    /// Rarer tokens become <unk>
    #[arg(long, default_value_t = 1, value_name = "N")]
    min_count: u64,
    /// At most so many tokens in the vocabulary, 0 for no limit
    #[arg(long, default_value_t = 0, value_name = "N")]
    max_vocab: u64,
    /// What happens on text that is not UTF-8
    #[arg(long, default_value = "strict", value_parser = ["strict", "replace", "skip"])]
    encoding_errors: String,
    /// What tables of words may take while they are counted, such as 500M; beyond that they go to the disk for a while
    /// [default: what the machine has]; a quarter must hold the vocabulary, and the result does not depend on it
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
            errors: self.encoding_errors.parse::<EncodingErrors>()?,
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
        _ => return Err("a number of bytes, with K, M or G behind it for more".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "a number of bytes, such as 500M".to_owned())?;
    number.checked_mul(1 << unit).ok_or_else(|| "more bytes than there are".to_owned())
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
