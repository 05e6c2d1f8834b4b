//! Ids to text, one at a time.

use super::{EncodingErrors, Level, Vocabulary, decode_into};

/// Turns ids into text as they come. At byte level a character may be cut between two ids: its bytes are kept until
/// it is whole.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    vocabulary: &'a Vocabulary,
    /// Bytes of a character that is not whole yet; at most 3.
    bytes: Vec<u8>,
    /// Whether the next word needs a space before it.
    space: bool,
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(vocabulary: &'a Vocabulary) -> Decoder<'a> {
        Decoder { vocabulary, bytes: Vec::new(), space: false }
    }

    /// A decoder whose first word is parted from what already stands before it.
    #[must_use]
    pub fn after_text(mut self, text: &str) -> Decoder<'a> {
        self.space = !text.is_empty() && !text.ends_with(char::is_whitespace);
        self
    }

    /// Appends what this id adds to the text.
    ///
    /// # Panics
    /// Panics if the vocabulary has no such id.
    #[track_caller]
    pub fn push(&mut self, id: u32, out: &mut String) {
        let token = self.vocabulary.token(id);
        match self.vocabulary.options().level {
            Level::Byte => {
                self.bytes.push(id as u8);
                self.flush(false, out);
            }
            Level::Char | Level::Grapheme if Some(id) == self.vocabulary.unknown() => {
                out.push(char::REPLACEMENT_CHARACTER);
            }
            Level::Char | Level::Grapheme => out.push_str(token),
            Level::Word if Some(id) == self.vocabulary.eos() => {
                out.push('\n');
                self.space = false;
            }
            Level::Word => {
                if self.space {
                    out.push(' ');
                }
                out.push_str(token);
                self.space = true;
            }
        }
    }

    /// Ends the text: bytes of a character that never became whole are written as U+FFFD.
    pub fn finish(&mut self, out: &mut String) {
        self.flush(true, out);
    }

    fn flush(&mut self, last: bool, out: &mut String) {
        // Replacing never fails.
        if let Ok(used) = decode_into(&self.bytes, last, EncodingErrors::Replace, out) {
            self.bytes.drain(..used);
        }
    }
}
