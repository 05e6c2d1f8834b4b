//! Cutting text into words.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use super::{END_OF_SENTENCE, TextOptions, UNKNOWN};

/// What text is cut into at word level.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A word, after lower-casing, and where it stands in the text (in bytes; with punctuation parted, where the
    /// white-space word that holds it stands).
    Word(&'a str, Range<usize>),
    /// A line feed, where line feeds are tokens.
    EndOfLine,
}

/// Cuts text into words by the options; holds the buffer that lower-casing needs.
#[derive(Debug)]
pub(crate) struct Splitter {
    lowercase: bool,
    punctuation: bool,
    eos: bool,
    lower: String,
}

impl Splitter {
    pub(crate) fn new(options: &TextOptions) -> Splitter {
        Splitter {
            lowercase: options.lowercase,
            punctuation: options.punctuation,
            eos: options.has_eos(),
            lower: String::new(),
        }
    }

    /// Calls `each` with every piece of the text in order, and ends with the first error.
    #[inline]
    pub(crate) fn split<E>(&mut self, text: &str, mut each: impl FnMut(Piece<'_>) -> Result<(), E>) -> Result<(), E> {
        let bytes = text.as_bytes();
        let mut start = 0;
        let mut at = 0;
        while at < bytes.len() {
            let class = CLASS[bytes[at] as usize];
            if class == INSIDE {
                at += 1;
                continue;
            }
            let space = if class == SPACE { 1 } else { wide_space(&bytes[at..]) };
            if space == 0 {
                at += 1;
                continue;
            }
            if start < at {
                self.word(text, start..at, &mut each)?;
            }
            if self.eos && bytes[at] == b'\n' {
                each(Piece::EndOfLine)?;
            }
            at += space;
            start = at;
        }
        if start < at {
            self.word(text, start..at, &mut each)?;
        }
        Ok(())
    }

    /// One word between white space: as it is, or lowered, or parted from its punctuation.
    #[inline]
    fn word<E>(
        &mut self,
        text: &str,
        place: Range<usize>,
        each: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let word = &text[place.clone()];
        if !(self.lowercase || self.punctuation) {
            return each(Piece::Word(word, place));
        }
        if word == UNKNOWN || word == END_OF_SENTENCE {
            return each(Piece::Word(word, place));
        }
        let word = if self.lowercase { lowered(word, &mut self.lower) } else { word };
        if self.punctuation && !word.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            for part in word.split_word_bounds() {
                each(Piece::Word(part, place.clone()))?;
            }
            return Ok(());
        }
        each(Piece::Word(word, place))
    }
}

/// The word in lower case, in the buffer where it differs.
fn lowered<'a>(word: &'a str, buffer: &'a mut String) -> &'a str {
    if !word.is_ascii() {
        *buffer = word.to_lowercase();
        return buffer;
    }
    if !word.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return word;
    }
    buffer.clear();
    buffer.push_str(word);
    buffer.make_ascii_lowercase();
    buffer
}

const INSIDE: u8 = 0;
const SPACE: u8 = 1;
const PERHAPS: u8 = 2;

/// What a byte can be: inside a word, white space, or the first byte of a character that may be white space.
const CLASS: [u8; 256] = {
    let mut class = [INSIDE; 256];
    let mut byte = 0x09;
    while byte <= 0x0d {
        class[byte] = SPACE;
        byte += 1;
    }
    class[b' ' as usize] = SPACE;
    class[0xc2] = PERHAPS;
    class[0xe1] = PERHAPS;
    class[0xe2] = PERHAPS;
    class[0xe3] = PERHAPS;
    class
};

/// The length of the white-space character beyond ASCII that `bytes` begin with, or 0. These are all of Unicode's:
/// U+0085, U+00A0, U+1680, U+2000 to U+200A, U+2028, U+2029, U+202F, U+205F, U+3000.
#[inline]
fn wide_space(bytes: &[u8]) -> usize {
    match bytes {
        [0xc2, 0x85 | 0xa0, ..] => 2,
        [0xe1, 0x9a, 0x80, ..] | [0xe2, 0x80, 0x80..=0x8a | 0xa8 | 0xa9 | 0xaf, ..] => 3,
        [0xe2, 0x81, 0x9f, ..] | [0xe3, 0x80, 0x80, ..] => 3,
        _ => 0,
    }
}

/// The end of the last white space in the text, where it can be cut without cutting a word.
pub(crate) fn last_whitespace_end(text: &str) -> Option<usize> {
    text.char_indices().rev().find(|(_, c)| c.is_whitespace()).map(|(at, c)| at + c.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Level;
    use proptest::prelude::*;

    fn split(text: &str, options: TextOptions) -> Vec<String> {
        let mut words = Vec::new();
        let done: Result<(), ()> = Splitter::new(&options).split(text, |piece| {
            words.push(match piece {
                Piece::Word(word, _) => word.to_owned(),
                Piece::EndOfLine => "\n".to_owned(),
            });
            Ok(())
        });
        assert!(done.is_ok());
        words
    }

    fn words() -> TextOptions {
        TextOptions::new(Level::Word)
    }

    #[test]
    fn lines_end_with_a_token() {
        assert_eq!(split(" a  b \n\n c", words()), ["a", "b", "\n", "\n", "c"]);
        let without = TextOptions { eos: Some(false), ..words() };
        assert_eq!(split(" a  b \r\n\n c", without), ["a", "b", "c"]);
    }

    #[test]
    fn punctuation_is_parted_and_case_lowered() {
        let options = TextOptions { lowercase: true, punctuation: true, ..words() };
        assert_eq!(
            split("\"Don't,\" ΣΑΣ said <unk> at 3.14!\n", options),
            ["\"", "don't", ",", "\"", "σας", "said", "<unk>", "at", "3.14", "!", "\n"]
        );
    }

    #[test]
    fn the_place_is_the_words_own() {
        let mut places = Vec::new();
        let done: Result<(), ()> = Splitter::new(&words()).split("ab\u{3000}c é", |piece| {
            if let Piece::Word(_, place) = piece {
                places.push(place);
            }
            Ok(())
        });
        assert!(done.is_ok());
        assert_eq!(places, [0..2, 5..6, 7..9]);
    }

    #[test]
    fn every_white_space_character_parts_words() {
        for c in '\0'..=char::MAX {
            let expected =
                if c.is_whitespace() { vec!["x".to_owned(), "y".to_owned()] } else { vec![format!("x{c}y")] };
            assert_eq!(split(&format!("x{c}y"), TextOptions { eos: Some(false), ..words() }), expected, "{c:?}");
        }
    }

    proptest! {
        #[test]
        fn words_are_those_of_the_standard_library(text in "[a-z \u{a0}\u{2003}\u{3000}é中\n\t]{0,60}") {
            let expected: Vec<&str> = text.split_whitespace().collect();
            prop_assert_eq!(split(&text, TextOptions { eos: Some(false), ..words() }), expected);
            let cut = last_whitespace_end(&text).unwrap_or(0);
            let mut halves = split(&text[..cut], words());
            halves.extend(split(&text[cut..], words()));
            prop_assert_eq!(halves, split(&text, words()));
        }
    }
}
