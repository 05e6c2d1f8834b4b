//! Vocabulary files: UTF-8 text, one line a token in the order of ids.
//!
//! ```text
//! unroll vocabulary 1
//! level = word
//! lowercase = false
//! punctuation = false
//! eos = true
//! unknown = true
//! errors = strict
//! size = 3
//! hash = 0f9c2b6d51b7a803
//!
//! 50770<TAB>the
//! 45020<TAB><unk>
//! 42068<TAB><eos>
//! ```
//!
//! The ten lines before the tokens stand in this order; `prepare = nfkc lower`, behind `errors`, only where something
//! is done to the text ([`super::CleanOptions`]). A token's line is its count, a tab, and the token. In a token `\\` is
//! a backslash, `\n` `\r` `\t` are line feed, carriage return and tab, and `\u{1F600}` is the code point with that
//! hexadecimal number; every control or white-space character and backslash is written so, any character may be. At
//! byte level there are 256 lines in the order of the bytes, those beyond ASCII written `<0xE9>`.
//!
//! A file that is read is not trusted: each line is checked, no token occurs twice, the size must be the number of
//! tokens, and the hash must be theirs.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use super::table::{MAX_ENTRIES, Table};
use super::vocabulary::byte_token;
use super::{END_OF_SENTENCE, Level, MAX_TOKEN_BYTES, TextOptions, UNKNOWN, Vocabulary};
use crate::error::{At, Error, Result};

const MAGIC: &str = "unroll vocabulary ";
const VERSION: &str = "1";

/// Most bytes of a vocabulary file: some thirty million words.
const MAX_FILE_BYTES: u64 = 1 << 30;

impl Vocabulary {
    /// Reads a vocabulary file.
    ///
    /// # Errors
    /// [`Error::Input`] names the line that is wrong.
    pub fn read(path: impl AsRef<Path>) -> Result<Vocabulary> {
        let path = path.as_ref();
        let file = fs::File::open(path).map_err(|e| Error::read(path, e))?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| Error::read(path, e))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(Error::input(path, format!("larger than {MAX_FILE_BYTES} bytes, so not a vocabulary file")));
        }
        parse(&bytes, path)
    }

    /// The text of the vocabulary file.
    pub fn to_file(&self) -> String {
        let options = self.options();
        let prepare = match options.clean.is_nothing() {
            true => String::new(),
            false => format!("prepare = {}\n", options.clean),
        };
        let mut out = format!(
            "{MAGIC}{VERSION}\nlevel = {}\nlowercase = {}\npunctuation = {}\neos = {}\nunknown = {}\nerrors = {}\n{prepare}\
             size = {}\nhash = {:016x}\n\n",
            options.level,
            options.lowercase,
            options.punctuation,
            options.has_eos(),
            options.has_unknown(),
            options.errors,
            self.len(),
            self.hash(),
        );
        for (token, count) in self.iter() {
            // Writing to a string cannot fail.
            _ = write!(out, "{count}\t");
            escape(token, &mut out);
            out.push('\n');
        }
        out
    }
}

fn escape(token: &str, out: &mut String) {
    for c in token.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || c.is_whitespace() || c == '\u{feff}' => _ = write!(out, "\\u{{{:x}}}", c as u32),
            c => out.push(c),
        }
    }
}

fn unescape(escaped: &str, out: &mut String) -> Result<(), String> {
    out.clear();
    let mut rest = escaped;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let kind = rest.chars().next().ok_or("a backslash ends the token; write it as \\\\")?;
        rest = &rest[kind.len_utf8()..];
        match kind {
            '\\' => out.push('\\'),
            'n' => out.push('\n'),
            'r' => out.push('\r'),
            't' => out.push('\t'),
            'u' => {
                let (digits, after) =
                    rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).ok_or("\\u without {...}")?;
                let code = u32::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'));
                let c = code.and_then(char::from_u32).ok_or(format!("\\u{{{digits}}} is not a Unicode character"))?;
                out.push(c);
                rest = after;
            }
            other => return Err(format!("unknown escape \\{other}; there are \\\\ \\n \\r \\t and \\u{{...}}")),
        }
    }
    out.push_str(rest);
    Ok(())
}

/// Parses a vocabulary file that may hold anything.
pub(crate) fn parse(bytes: &[u8], path: &Path) -> Result<Vocabulary> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        Error::input_at(path, At::Byte(e.valid_up_to() as u64), "a vocabulary file is UTF-8 text, but this byte is not")
    })?;
    let mut lines = Lines { path, rest: text, number: 0 };
    let options = parse_options(&mut lines)?;
    let size: usize = lines.value("size")?.parse().map_err(|_| lines.error("size is not a number"))?;
    if size == 0 || size > MAX_ENTRIES {
        return Err(lines.error(format!("size is {size}, but must be from 1 to {MAX_ENTRIES}")));
    }
    let hash = lines.value("hash")?;
    let hash = u64::from_str_radix(hash, 16).map_err(|_| lines.error("hash is not a hexadecimal number"))?;
    if !lines.next()?.is_empty() {
        return Err(lines.error("an empty line should stand between the header and the tokens"));
    }
    let table = parse_tokens(&mut lines, &options, size)?;
    let vocabulary = Vocabulary::from_table(&options, table);
    if options.has_unknown() && vocabulary.unknown().is_none() {
        return Err(Error::input(path, format!("unknown = true, but {UNKNOWN} is not among the tokens")));
    }
    if options.has_eos() && vocabulary.eos().is_none() {
        return Err(Error::input(path, format!("eos = true, but {END_OF_SENTENCE} is not among the tokens")));
    }
    if vocabulary.hash() != hash {
        return Err(Error::input(
            path,
            format!("the tokens have the hash {:016x}, but the header says {hash:016x}", vocabulary.hash()),
        )
        .mend("the file was changed or damaged; build it again"));
    }
    Ok(vocabulary)
}

fn parse_options(lines: &mut Lines<'_>) -> Result<TextOptions> {
    let version = lines
        .next()?
        .strip_prefix(MAGIC)
        .ok_or_else(|| lines.error(format!("not a vocabulary file: the first line should be `{MAGIC}{VERSION}`")))?;
    if version != VERSION {
        return Err(lines.error(format!("version {version:?} of the format; this program reads version {VERSION}")));
    }
    let mut options = TextOptions::new(Level::Char);
    options.level = lines.value("level")?.parse().map_err(|e: Error| lines.error(e.to_string()))?;
    options.lowercase = lines.flag("lowercase")?;
    options.punctuation = lines.flag("punctuation")?;
    let eos = lines.flag("eos")?;
    let unknown = lines.flag("unknown")?;
    // Left unset where the level has no such thing, as the usual options of that level leave it.
    options.eos = if options.level == Level::Word || eos { Some(eos) } else { None };
    options.unknown = if options.level != Level::Byte || unknown { Some(unknown) } else { None };
    options.check().map_err(|e| lines.error(e.to_string()))?;
    options.errors = lines.value("errors")?.parse().map_err(|e: Error| lines.error(e.to_string()))?;
    if lines.rest.starts_with("prepare = ") {
        options.clean = lines.value("prepare")?.parse().map_err(|e: Error| lines.error(e.to_string()))?;
        options.check().map_err(|e| lines.error(e.to_string()))?;
    }
    Ok(options)
}

fn parse_tokens(lines: &mut Lines<'_>, options: &TextOptions, size: usize) -> Result<Table> {
    let mut table = Table::new();
    let mut token = String::new();
    let mut total = 0_u64;
    while !lines.rest.is_empty() {
        let line = lines.next()?;
        let (count, escaped) =
            line.split_once('\t').ok_or_else(|| lines.error("a token's line is its count, a tab, and the token"))?;
        let count: u64 = count.parse().map_err(|_| lines.error(format!("{count:?} is not a count")))?;
        total = total.checked_add(count).ok_or_else(|| lines.error("the counts add up to more than 2^64"))?;
        unescape(escaped, &mut token).map_err(|what| lines.error(what))?;
        check_token(&token, options, table.len()).map_err(|what| lines.error(what))?;
        if table.len() == size {
            return Err(lines.error(format!("more than the {size} tokens that the header says")));
        }
        if table.add(&token, count) + 1 != table.len() {
            return Err(lines.error(format!("the token {token:?} occurs twice")));
        }
    }
    if table.len() != size {
        return Err(lines
            .error(format!("the file ends after {} of {size} tokens", table.len()))
            .mend("it was cut short; build it again"));
    }
    Ok(table)
}

/// Whether `token` may be token `index` of a vocabulary with these options; if not, why.
pub(crate) fn check_token(token: &str, options: &TextOptions, index: usize) -> Result<(), String> {
    if token.is_empty() {
        return Err("an empty token".to_owned());
    }
    if token.len() > MAX_TOKEN_BYTES {
        return Err(format!("a token of {} bytes; at most {MAX_TOKEN_BYTES} are read", token.len()));
    }
    let special = options.has_unknown() && token == UNKNOWN;
    match options.level {
        Level::Byte if u8::try_from(index).map(byte_token).as_deref() != Ok(token) => {
            Err("at byte level the tokens are the 256 bytes in order".to_owned())
        }
        Level::Char if !special && token.chars().nth(1).is_some() => {
            Err(format!("{token:?} is more than one character, but the level is char"))
        }
        _ => Ok(()),
    }
}

/// The lines of a vocabulary file, counted.
struct Lines<'a> {
    path: &'a Path,
    rest: &'a str,
    number: u64,
}

impl<'a> Lines<'a> {
    fn error(&self, what: impl Into<String>) -> Error {
        Error::input_at(self.path, At::Line(self.number), what)
    }

    fn next(&mut self) -> Result<&'a str> {
        self.number += 1;
        let cut_short = || self.error("the file ends in the middle").mend("it was cut short; build it again");
        let (line, rest) = self.rest.split_once('\n').ok_or_else(cut_short)?;
        self.rest = rest;
        Ok(line)
    }

    /// The value of `key = value`.
    fn value(&mut self, key: &str) -> Result<&'a str> {
        let line = self.next()?;
        line.strip_prefix(key)
            .and_then(|rest| rest.strip_prefix(" = "))
            .ok_or_else(|| self.error(format!("`{key} = ...` should stand here")))
    }

    fn flag(&mut self, key: &str) -> Result<bool> {
        self.value(key)?.parse().map_err(|_| self.error(format!("{key} must be true or false")))
    }
}

impl Vocabulary {
    /// Writes the vocabulary file's text to a stream.
    ///
    /// # Errors
    /// Whatever the stream answers.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(self.to_file().as_bytes())
    }
}
