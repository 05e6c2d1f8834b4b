//! How a text is prepared before its words are looked up: Keras' Tokenizer, and what people do before it
//! ([`CleanOptions`], of running text too).
//!
//! ```text
//! line ends -> spaces; NFC or NFKC; ASCII folding; lower case; punctuation away    each where it is asked for
//! every character of `filters` -> `split`
//! parted at `split`; what is empty between two is left out                         or into characters (`char_level`)
//! ```
//!
//! The order of the last three lines, and their defaults, are those of
//! `keras.preprocessing.text.text_to_word_sequence`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

use super::Level;
use crate::error::{Error, Result};

/// The characters that Keras' Tokenizer filters: all of ASCII's punctuation but the apostrophe, tab and line feed.
pub const KERAS_FILTERS: &str = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n";

/// A normal form of Unicode (UAX #15).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalization {
    /// The text stays as it is.
    #[default]
    None,
    /// Canonical composition.
    Nfc,
    /// Compatibility decomposition, then canonical composition.
    Nfkc,
}

/// The side of a text that is padded or cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Its beginning.
    #[default]
    Pre,
    /// Its end.
    Post,
}

/// How texts become numbers. The defaults are those of Keras' Tokenizer and `pad_sequences`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrepareOptions {
    /// A normal form of Unicode.
    pub normalize: Normalization,
    /// Letters lose their accents, and typographic quotes, dashes and ligatures become ASCII's; what has no such form stays.
    pub ascii: bool,
    /// Line ends become spaces.
    pub join_lines: bool,
    /// Characters that are neither letters, digits, marks nor white space are left out, after `lower` and before `filters`.
    pub strip_punctuation: bool,
    /// Lower case (Unicode's full mapping).
    pub lower: bool,
    /// Characters that part words and are no part of them.
    pub filters: String,
    /// What stands between words.
    pub split: String,
    /// Each character is a word; `filters` and `split` have no part in it.
    pub char_level: bool,
    /// Words with this index and above are left out, or become `oov_token`: the `num_words - 1` most frequent stay. 0: all stay.
    pub num_words: usize,
    /// Stands for words that are not known, and has index 1. Absent: they are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oov_token: Option<String>,
    /// Words of a text at most; 0: as many as the longest of the training texts has.
    pub maxlen: usize,
    /// The side on which shorter texts are filled with 0.
    pub padding: Side,
    /// The side on which longer texts are cut.
    pub truncating: Side,
}

impl Default for PrepareOptions {
    fn default() -> PrepareOptions {
        PrepareOptions {
            normalize: Normalization::None,
            ascii: false,
            join_lines: false,
            strip_punctuation: false,
            lower: true,
            filters: KERAS_FILTERS.to_owned(),
            split: " ".to_owned(),
            char_level: false,
            num_words: 0,
            oov_token: None,
            maxlen: 0,
            padding: Side::Pre,
            truncating: Side::Pre,
        }
    }
}

/// What is done to a text before anything else is; nothing unless asked for. In a line of words, as a vocabulary file has it:
/// `nfc` or `nfkc`, `ascii`, `join_lines`, `strip_punctuation`, `lower`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CleanOptions {
    /// A normal form of Unicode: none, nfc or nfkc.
    pub normalize: Normalization,
    /// Letters lose their accents, and typographic quotes, dashes and ligatures become ASCII's; what has no such form stays.
    pub ascii: bool,
    /// Line ends become spaces; words then have no `<eos>`.
    pub join_lines: bool,
    /// Characters that are neither letters, digits, marks nor white space are left out, after `lower`.
    pub strip_punctuation: bool,
    /// Lower case (Unicode's full mapping).
    pub lower: bool,
}

impl fmt::Display for CleanOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (self.normalize == Normalization::Nfc, "nfc"),
            (self.normalize == Normalization::Nfkc, "nfkc"),
            (self.ascii, "ascii"),
            (self.join_lines, "join_lines"),
            (self.strip_punctuation, "strip_punctuation"),
            (self.lower, "lower"),
        ];
        let words: Vec<&str> = words.into_iter().filter(|(on, _)| *on).map(|(_, word)| word).collect();
        f.write_str(&words.join(" "))
    }
}

impl FromStr for CleanOptions {
    type Err = Error;

    fn from_str(words: &str) -> Result<CleanOptions> {
        let mut options = CleanOptions::default();
        for word in words.split([' ', ',']).filter(|word| !word.is_empty()) {
            match word {
                "nfc" => options.normalize = Normalization::Nfc,
                "nfkc" => options.normalize = Normalization::Nfkc,
                "ascii" => options.ascii = true,
                "join_lines" => options.join_lines = true,
                "strip_punctuation" => options.strip_punctuation = true,
                "lower" => options.lower = true,
                _ => {
                    let there = "nfc, nfkc, ascii, join_lines, strip_punctuation, lower";
                    return Err(Error::option("prepare", format!("`{word}` is not one of {there}")));
                }
            }
        }
        Ok(options)
    }
}

impl CleanOptions {
    /// Whether a text stays as it is.
    pub fn is_nothing(&self) -> bool {
        *self == CleanOptions::default()
    }

    /// The prepared text.
    pub fn clean<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut text = Cow::Borrowed(text);
        if self.join_lines {
            text = text.replace("\r\n", " ").replace(['\n', '\r', '\u{2028}', '\u{2029}'], " ").into();
        }
        match self.normalize {
            Normalization::None => {}
            Normalization::Nfc => text = text.nfc().collect::<String>().into(),
            Normalization::Nfkc => text = text.nfkc().collect::<String>().into(),
        }
        if self.ascii {
            text = fold(&text).into();
        }
        if self.lower {
            text = text.to_lowercase().into();
        }
        if self.strip_punctuation {
            let keeps = |c: &char| c.is_alphanumeric() || c.is_whitespace() || is_combining_mark(*c);
            text = text.chars().filter(keeps).collect::<String>().into();
        }
        text
    }
}

impl PrepareOptions {
    /// What the tokens are.
    pub fn level(&self) -> Level {
        if self.char_level { Level::Char } else { Level::Word }
    }

    /// The text before it is parted into words.
    pub fn clean<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let PrepareOptions { normalize, ascii, join_lines, strip_punctuation, lower, .. } = *self;
        CleanOptions { normalize, ascii, join_lines, strip_punctuation, lower }.clean(text)
    }

    /// Calls `found` with each word of a text.
    pub fn words(&self, text: &str, mut found: impl FnMut(&str)) {
        let text = self.clean(text);
        if self.char_level {
            let mut buffer = [0; 4];
            text.chars().for_each(|c| found(c.encode_utf8(&mut buffer)));
            return;
        }
        let filtered: String = text.chars().fold(String::with_capacity(text.len()), |mut filtered, c| {
            if self.filters.contains(c) {
                filtered.push_str(&self.split);
            } else {
                filtered.push(c);
            }
            filtered
        });
        if self.split.is_empty() {
            // Python's str.split() without an argument.
            return filtered.split_whitespace().for_each(found);
        }
        filtered.split(self.split.as_str()).filter(|word| !word.is_empty()).for_each(found);
    }
}

/// ASCII for what has a form in it: letters without their marks, ligatures parted, quotes and dashes plain. Everything else stays,
/// marks that belong to it too.
fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.chars() {
        if is_combining_mark(c) {
            if !folded.ends_with(|base: char| base.is_ascii()) {
                folded.push(c);
            }
            continue;
        }
        let before = folded.len();
        for part in std::iter::once(c).nfkd().filter(|part| !is_combining_mark(*part)) {
            match plain(part) {
                Some(plain) => folded.push_str(plain),
                None => folded.push(part),
            }
        }
        if !folded[before..].is_ascii() {
            folded.truncate(before);
            folded.push(c);
        }
    }
    folded
}

/// ASCII for a character that Unicode does not take apart.
fn plain(c: char) -> Option<&'static str> {
    Some(match c {
        '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{2032}' => "'",
        '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{00ab}' | '\u{00bb}' | '\u{2033}' => "\"",
        '\u{2010}'..='\u{2015}' | '\u{2212}' => "-",
        '\u{2044}' => "/",
        'ß' => "ss",
        'æ' => "ae",
        'Æ' => "AE",
        'œ' => "oe",
        'Œ' => "OE",
        'ø' => "o",
        'Ø' => "O",
        'đ' | 'ð' => "d",
        'Đ' | 'Ð' => "D",
        'ł' => "l",
        'Ł' => "L",
        'þ' => "th",
        'Þ' => "Th",
        'ı' => "i",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(options: &PrepareOptions, text: &str) -> Vec<String> {
        let mut words = Vec::new();
        options.words(text, |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn defaults_are_those_of_keras() {
        // text_to_word_sequence of Keras 2.
        let keras = PrepareOptions::default();
        assert_eq!(words(&keras, "Don't stop, NOW!\tIt's 10_000."), ["don't", "stop", "now", "it's", "10", "000"]);
        assert_eq!(words(&keras, " \n...  "), Vec::<String>::new());
        let kept = PrepareOptions { filters: String::new(), lower: false, split: ",".into(), ..keras.clone() };
        assert_eq!(words(&kept, "A b,,C"), ["A b", "C"]);
        let letters = PrepareOptions { char_level: true, ..keras };
        assert_eq!(words(&letters, "A! b"), ["a", "!", " ", "b"]);
    }

    #[test]
    fn each_option_does_its_part() {
        let none = PrepareOptions { filters: String::new(), lower: false, ..PrepareOptions::default() };
        let with = |change: fn(&mut PrepareOptions)| {
            let mut options = none.clone();
            change(&mut options);
            options
        };
        assert_eq!(with(|o| o.join_lines = true).clean("a\r\nb\nc\u{2028}d"), "a b c d");
        assert_eq!(with(|o| o.normalize = Normalization::Nfc).clean("e\u{301}ﬁ"), "éﬁ");
        assert_eq!(with(|o| o.normalize = Normalization::Nfkc).clean("e\u{301}ﬁ①"), "éfi1");
        assert_eq!(
            with(|o| o.ascii = true).clean("Ærøskøbing – “naïve” nai\u{308}ve ﬂoß ½ Ａ"),
            "AEroskobing - \"naive\" naive floss 1/2 A"
        );
        let others = "말 が ガ か\u{3099} й ά की が";
        assert_eq!(with(|o| o.ascii = true).clean(others), others, "what has no form in ASCII keeps its marks");
        assert_eq!(
            with(|o| o.strip_punctuation = true).clean("well-known, e\u{301}tat; 말!"),
            "wellknown e\u{301}tat 말"
        );
        assert_eq!(with(|o| o.lower = true).clean("ΟΔΟΣ İ"), "οδος i\u{307}");
        assert_eq!(words(&with(|o| o.split = String::new()), "a\u{a0}b  c\n"), ["a", "b", "c"]);
    }
}
