//! Tokens of a text that fits in memory.

use super::{TokenSource, format};
use crate::error::{Error, Result};
use crate::text::{Counter, TextOptions, Tokenizer};

/// Tokens held in memory.
#[derive(Debug, Clone)]
pub struct MemoryTokens {
    tokens: Vec<u32>,
    vocabulary_size: usize,
}

impl MemoryTokens {
    /// These tokens of a vocabulary of this size.
    ///
    /// # Errors
    /// [`Error::Usage`] if a token is not less than the size.
    pub fn new(tokens: Vec<u32>, vocabulary_size: usize) -> Result<MemoryTokens> {
        match tokens.iter().position(|&token| token as usize >= vocabulary_size) {
            Some(at) => Err(Error::usage(format!(
                "token {at} is {}, but the vocabulary has only {vocabulary_size}",
                tokens[at]
            ))),
            None => Ok(MemoryTokens { tokens, vocabulary_size }),
        }
    }

    /// The tokens of a text and the tokenizer made from it. As for a file, a last line without a line feed is ended
    /// where line feeds are tokens.
    ///
    /// # Errors
    /// [`Error::Usage`] if the options contradict each other or the text has no token.
    pub fn from_text(text: &str, options: &TextOptions) -> Result<(Tokenizer, MemoryTokens)> {
        options.check()?;
        let mut counter = Counter::new(options);
        counter.text(text);
        if options.has_eos() && !text.is_empty() && !text.ends_with('\n') {
            counter.end_of_line();
        }
        if counter.total() == 0 {
            return Err(Error::usage("the text has no token").mend("give a text that is not empty"));
        }
        let tokenizer = Tokenizer::new(counter.vocabulary()?);
        let tokens = MemoryTokens::encode(text, &tokenizer)?;
        Ok((tokenizer, tokens))
    }

    /// The tokens of a text by a tokenizer that exists; a last line is ended as in [`from_text`](Self::from_text).
    ///
    /// # Errors
    /// [`Error::Usage`] names the first token outside the vocabulary, if there is no `<unk>`.
    pub fn encode(text: &str, tokenizer: &Tokenizer) -> Result<MemoryTokens> {
        let mut tokens = tokenizer.encode(text)?;
        if let Some(eos) = tokenizer.vocabulary().eos()
            && !text.is_empty()
            && !text.ends_with('\n')
        {
            tokens.push(eos);
        }
        Ok(MemoryTokens { tokens, vocabulary_size: tokenizer.vocabulary().len() })
    }

    /// The tokens.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
}

impl TokenSource for MemoryTokens {
    fn len(&self) -> u64 {
        self.tokens.len() as u64
    }

    fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    fn read(&self, start: u64, out: &mut [u32]) -> Result<()> {
        let start = format::checked_start(start, out.len(), self.len());
        out.copy_from_slice(&self.tokens[start as usize..start as usize + out.len()]);
        Ok(())
    }

    fn fingerprint(&self) -> u64 {
        let width = format::width(self.vocabulary_size as u64);
        let mut bytes = Vec::new();
        let checksums = self.tokens.chunks(format::CHUNK / width as usize).map(|chunk| {
            bytes.clear();
            format::narrow(chunk, width, &mut bytes);
            crc32c::crc32c(&bytes)
        });
        format::fingerprint(self.len(), self.vocabulary_size as u64, checksums)
    }
}
