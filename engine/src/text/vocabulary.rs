//! Vocabularies: tokens, their ids and their counts.

use std::ops::Range;

use super::table::Table;
use super::{END_OF_SENTENCE, Level, TextOptions, UNKNOWN};
use crate::error::{Error, Result};

/// The tokens that a model knows, by id, with how often each stood in the text that the vocabulary was made from, and
/// with the options by which text becomes these tokens.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    options: TextOptions,
    table: Table,
    unknown: Option<u32>,
    eos: Option<u32>,
    hash: u64,
}

impl Vocabulary {
    /// A vocabulary of these distinct tokens, in the order of their ids.
    pub(crate) fn from_ordered<'a>(
        options: &TextOptions,
        tokens: impl IntoIterator<Item = (&'a str, u64)>,
    ) -> Vocabulary {
        let mut table = Table::new();
        for (token, count) in tokens {
            table.add(token, count);
        }
        Vocabulary::from_table(options, table)
    }

    pub(crate) fn from_table(options: &TextOptions, table: Table) -> Vocabulary {
        let find = |wanted: bool, token| if wanted { table.find(token).map(|id| id as u32) } else { None };
        let (unknown, eos) = (find(options.has_unknown(), UNKNOWN), find(options.has_eos(), END_OF_SENTENCE));
        let hash = hash(options, &table);
        // Said outright, as the file says it; the limits have done their work.
        let options = TextOptions {
            eos: (options.level == Level::Word).then_some(options.has_eos()),
            unknown: (options.level != Level::Byte).then_some(options.has_unknown()),
            min_count: 1,
            max_size: 0,
            ..options.clone()
        };
        Vocabulary { options, table, unknown, eos, hash }
    }

    /// The 256 bytes: ASCII as it is, the others as `<0xE9>`, with these counts.
    pub(crate) fn of_bytes(counts: &[u64; 256]) -> Vocabulary {
        let mut table = Table::new();
        for (byte, &count) in counts.iter().enumerate() {
            table.add(&byte_token(byte as u8), count);
        }
        Vocabulary::from_table(&TextOptions::new(Level::Byte), table)
    }

    /// How many tokens there are; ids go from 0 to one less.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// The options by which text becomes these tokens; the limits on count and size are no part of them.
    pub fn options(&self) -> &TextOptions {
        &self.options
    }

    /// The id of a token, exactly as it is written (no lower-casing, no `<unk>`). At byte level a byte beyond ASCII
    /// is written `<0xE9>`.
    #[inline]
    pub fn id(&self, token: &str) -> Option<u32> {
        self.table.find(token).map(|id| id as u32)
    }

    /// The id of the token that stands in this range of a text; see [`id`](Self::id).
    #[inline]
    pub(crate) fn id_in(&self, text: &str, range: Range<usize>) -> Option<u32> {
        self.table.find_in(text, range).map(|id| id as u32)
    }

    /// The token with this id.
    ///
    /// # Panics
    /// Panics if the id is not less than [`len`](Self::len).
    #[track_caller]
    pub fn token(&self, id: u32) -> &str {
        assert!((id as usize) < self.len(), "token {id} of a vocabulary of {}", self.len());
        self.table.get(id as usize)
    }

    /// How often the token stood in the text.
    ///
    /// # Panics
    /// Panics if the id is not less than [`len`](Self::len).
    #[track_caller]
    pub fn count(&self, id: u32) -> u64 {
        assert!((id as usize) < self.len(), "token {id} of a vocabulary of {}", self.len());
        self.table.count(id as usize)
    }

    /// The tokens with their counts, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.table.iter()
    }

    /// The id of `<unk>`, if there is one.
    pub fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// The id of `<eos>`, if there is one.
    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    /// A number that is equal for vocabularies that turn every text into the same ids: of the tokens in their order
    /// and of the options that shape them, not of the counts. FNV-1a, 64 bits.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Refuses a vocabulary other than the one a model was trained with.
    ///
    /// # Errors
    /// [`Error::Usage`] says how the two differ.
    pub fn check_same(&self, model: &Vocabulary) -> Result<()> {
        if self.hash == model.hash {
            return Ok(());
        }
        let what = if self.options.level != model.options.level {
            format!("the text is cut into {}s, but the model knows {}s", self.options.level, model.options.level)
        } else if self.len() != model.len() {
            format!("the text's vocabulary has {} tokens, the model's {}", self.len(), model.len())
        } else {
            match (0..self.len() as u32).find(|&id| self.token(id) != model.token(id)) {
                Some(id) => {
                    format!(
                        "token {id} is {:?} in the text's vocabulary, {:?} in the model's",
                        self.token(id),
                        model.token(id)
                    )
                }
                None => "the options that turn text into tokens differ from the model's".to_owned(),
            }
        };
        Err(Error::usage(format!("the vocabulary does not fit the model: {what}")).mend(
            "build it with the model's own: `unroll corpus build TEXT --vocabulary FROM --out FILE`, \
                FROM being the run or the training text's token file",
        ))
    }
}

/// How a byte is written as a token.
pub(crate) fn byte_token(byte: u8) -> String {
    if byte.is_ascii() { char::from(byte).to_string() } else { format!("<0x{byte:02X}>") }
}

fn hash(options: &TextOptions, table: &Table) -> u64 {
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    let mut feed = |bytes: &[u8]| {
        for &byte in bytes {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    feed(options.level.name().as_bytes());
    feed(&[u8::from(options.lowercase), u8::from(options.punctuation)]);
    feed(&[u8::from(options.has_eos()), u8::from(options.has_unknown())]);
    if !options.clean.is_nothing() {
        feed(options.clean.to_string().as_bytes());
    }
    for (token, _) in table.iter() {
        feed(&(token.len() as u64).to_le_bytes());
        feed(token.as_bytes());
    }
    state
}
