//! The files that hold word vectors.
//!
//! | format | what it is |
//! |---|---|
//! | [`Format::Word2VecText`] | a line `V D`, then a line a word: the word, a space, D numbers (word2vec, gensim, fastText's `.vec`) |
//! | [`Format::Word2VecBinary`] | a line `V D`, then for each word its bytes, a space, D f32 of little end, and a line feed (word2vec) |
//! | [`Format::GensimBinary`] | the same without the line feeds (gensim) |
//! | [`Format::Glove`] | the lines of the first without the line before them (GloVe) |
//! | [`Format::Safetensors`] | a tensor (V, D) and beside it, in a file of its name and `.words`, the list of the words |
//! | [`Format::NumPy`] | the same with a matrix as `numpy.save` writes it |
//! | [`Format::Projector`] | the two tables of the Embedding Projector: `.tsv` with the vectors, `.metadata.tsv` with the words |
//!
//! A list of words has a line a word, with a tab and how often it was seen where that is known. Each matrix has its own:
//! `v.npy.words` for `v.npy`; without it, `v.words` is read.
//!
//! **Nothing is lost.** The bits of every f32 that is read are those that are written in any format, numbers in text being the
//! shortest that read back as the same f32; words are bytes, whatever their encoding. A word that a format cannot hold (one with
//! a space in word2vec's binary format, say) is refused by name, not changed. A binary file is written back byte for byte.
//!
//! **Nothing is believed.** Sizes that a file claims are compared with its length before memory is asked for, and a packed
//! file's by what really comes. A damaged file is refused by name, line or byte (of a packed file, of what it holds), and what
//! is wrong there.

mod binary;
mod detect;
#[doc(hidden)]
pub mod fuzzing;
mod input;
mod list;
mod matrix;
mod projector;
#[cfg(test)]
mod tests;
mod text;

use std::collections::HashSet;
use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::table::{Fault, WordVectors};
use crate::corpus::Draft;
use crate::error::{At, Error, Result};
use crate::report::visible;
use crate::text::MAX_TOKEN_BYTES;
use input::Input;
use list::List;
pub(super) use text::MARK;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// word2vec's text, as gensim and fastText write it too.
    Word2VecText,
    /// word2vec's binary format, a line feed behind each vector.
    Word2VecBinary,
    /// The same without line feeds, as gensim writes it.
    GensimBinary,
    /// GloVe's text: no line with the sizes.
    Glove,
    /// A safetensors file and a list of words.
    Safetensors,
    /// A NumPy array and a list of words.
    NumPy,
    /// The two tables of the Embedding Projector.
    Projector,
}

impl Format {
    /// All, and the names that they have on a command line.
    pub const ALL: [(Format, &'static str); 7] = [
        (Format::Word2VecText, "word2vec-text"),
        (Format::Word2VecBinary, "word2vec-binary"),
        (Format::GensimBinary, "gensim-binary"),
        (Format::Glove, "glove"),
        (Format::Safetensors, "safetensors"),
        (Format::NumPy, "numpy"),
        (Format::Projector, "projector"),
    ];

    /// The format that files with such a name usually have; text where it says nothing.
    pub fn of_name(path: &Path) -> Format {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("bin") => Format::Word2VecBinary,
            Some("safetensors") => Format::Safetensors,
            Some("npy") => Format::NumPy,
            Some("tsv") => Format::Projector,
            _ => Format::Word2VecText,
        }
    }

    /// Whether its words stand in a file of their own.
    fn keeps_words_apart(self) -> bool {
        matches!(self, Format::Safetensors | Format::NumPy | Format::Projector)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Format::ALL.iter().find(|(format, _)| format == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Format> {
        match Format::ALL.iter().find(|(_, known)| *known == name) {
            Some((format, _)) => Ok(*format),
            None => {
                let all = Format::ALL.map(|(_, name)| name).join(", ");
                Err(Error::usage(format!("`{name}` is not a format of word vectors")).mend(format!("one of: {all}")))
            }
        }
    }
}

/// How a file is read.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Its format, else found out from its first bytes.
    pub format: Option<Format>,
    /// The list of words, where the format has one; else the file of the matrix's name and `.words`, or `.metadata.tsv`.
    pub words: Option<PathBuf>,
    /// The tensor of a safetensors file that has several.
    pub tensor: Option<String>,
    /// Reads so many words and leaves the others.
    pub limit: Option<usize>,
    /// Of words that occur several times keeps the first; else they are refused.
    pub keep_first: bool,
    /// Keeps the vectors of these words alone, so that memory need not hold the others.
    pub only: Option<Arc<HashSet<Vec<u8>>>>,
}

impl ReadOptions {
    /// The most words that are kept of so many.
    fn most(&self, words: u64) -> u64 {
        let limits = [self.limit, self.only.as_ref().map(|only| only.len())];
        limits.into_iter().flatten().fold(words, |most, limit| most.min(limit as u64))
    }
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The words and their vectors.
    pub vectors: WordVectors,
    /// What the file was.
    pub format: Format,
    /// Rows that were left out, as their words had stood before.
    pub repeated: u64,
    /// What may be wrong with it although it could be read.
    pub doubts: Vec<String>,
}

/// Reads a file of word vectors, packed by gzip or not.
///
/// # Errors
/// [`Error::Input`] with the file, the line or byte, and what is wrong there; [`Error::Usage`] where memory does not suffice;
/// [`Error::Io`] where reading fails.
pub fn read(path: &Path, options: &ReadOptions) -> Result<Loaded> {
    read_input(Input::open(path)?, options)
}

/// The same of bytes in memory, which bear the name `path` in messages.
///
/// # Errors
/// As [`read`].
pub fn read_bytes(path: &Path, bytes: &[u8], options: &ReadOptions) -> Result<Loaded> {
    read_input(Input::of_bytes(path, bytes), options)
}

fn read_input(mut input: Input<'_>, options: &ReadOptions) -> Result<Loaded> {
    let format = match options.format {
        Some(format) => format,
        None => detect::format(&mut input)?,
    };
    let kept_apart = format.keeps_words_apart();
    for (option, refused, why) in [
        ("--words", options.words.is_some() && !kept_apart, "which has its words in it"),
        ("--tensor", options.tensor.is_some() && format != Format::Safetensors, "which has one matrix"),
    ] {
        if refused {
            let what = format!("{} is {format}, {why}", input.path().display());
            return Err(Error::option(option, what).mend("leave it out"));
        }
    }
    match format {
        Format::Word2VecText | Format::Glove => text::read(input, format, options),
        Format::Word2VecBinary | Format::GensimBinary => binary::read(input, options),
        Format::NumPy | Format::Safetensors | Format::Projector => {
            let words = list::found(input.path(), format, options)?;
            read_matrix(input, Input::open(&words)?, format, options)
        }
    }
}

/// The same of a matrix whose words are at hand.
fn read_matrix(input: Input<'_>, words: Input<'_>, format: Format, options: &ReadOptions) -> Result<Loaded> {
    match format {
        Format::Projector => projector::read(input, List::of_projector(words)?, options),
        Format::NumPy => matrix::numpy(input, List::new(words)?, options),
        _ => matrix::safetensors(input, List::new(words)?, options),
    }
}

/// Writes word vectors, each file whole or not at all; the files that were written.
///
/// # Errors
/// [`Error::Usage`] with the word that the format cannot hold; [`Error::Io`] where writing fails.
pub fn write(path: &Path, vectors: &WordVectors, format: Format) -> Result<Vec<PathBuf>> {
    check_name(path, format)?;
    let mut first = Out::create(path)?;
    write_main(&mut first, vectors, format)?;
    let mut written = vec![path.to_owned()];
    if let Some(second) = list::name_of(path, format) {
        let mut words = Out::create(&second)?;
        list::write(&mut words, vectors, format)?;
        words.keep()?;
        written.push(second);
    }
    first.keep()?;
    Ok(written)
}

/// The files that [`write()`] makes: `path`, and behind it the list of words of a format that keeps them apart.
pub fn files_written(path: &Path, format: Format) -> Vec<PathBuf> {
    std::iter::once(path.to_owned()).chain(list::name_of(path, format)).collect()
}

/// The files that [`read`] has read of `path`, found to be of this format.
///
/// # Errors
/// [`Error::Input`] where there is no list of words any more.
pub fn files_read(path: &Path, format: Format, options: &ReadOptions) -> Result<Vec<PathBuf>> {
    let words = if format.keeps_words_apart() { Some(list::found(path, format, options)?) } else { None };
    Ok(std::iter::once(path.to_owned()).chain(words).collect())
}

/// Refuses a name that no file of this format may have.
///
/// # Errors
/// [`Error::Usage`] with what is wrong about it.
pub fn check_name(path: &Path, format: Format) -> Result<()> {
    let extension = path.extension().and_then(|extension| extension.to_str());
    if extension == Some("gz") {
        let what = format!("{}: a file of word vectors is written unpacked", path.display());
        return Err(Error::usage(what).mend("leave .gz out, and compress it afterwards"));
    }
    if format == Format::Projector && extension != Some("tsv") {
        let what = format!("{}: a table of the Embedding Projector ends in .tsv", path.display());
        return Err(Error::usage(what).mend("name it so"));
    }
    Ok(())
}

/// Refuses words that a format has no way to write.
///
/// # Errors
/// [`Error::Usage`] with the first of them.
pub fn check_words<W: AsRef<[u8]>>(words: impl IntoIterator<Item = W>, format: Format) -> Result<()> {
    words.into_iter().enumerate().try_for_each(|(row, word)| check_word(word.as_ref(), row, format))
}

fn write_main<W: Write>(out: &mut Out<W>, vectors: &WordVectors, format: Format) -> Result<()> {
    match format {
        Format::Word2VecText | Format::Glove => text::write(out, vectors, format),
        Format::Word2VecBinary | Format::GensimBinary => binary::write(out, vectors, format),
        Format::Safetensors => matrix::write_safetensors(out, vectors),
        Format::NumPy => matrix::write_numpy(out, vectors),
        Format::Projector => projector::write(out, vectors),
    }
}

/// The bytes of the file that has the vectors, for tests and for what is sent elsewhere; see [`write()`].
///
/// # Errors
/// As [`write()`].
pub fn write_bytes(vectors: &WordVectors, format: Format) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write_main(&mut Out { name: PathBuf::from("memory"), sink: &mut bytes }, vectors, format)?;
    Ok(bytes)
}

/// What is being written, and its name in messages.
struct Out<W> {
    name: PathBuf,
    sink: W,
}

impl Out<BufWriter<DraftFile>> {
    fn create(path: &Path) -> Result<Self> {
        let file = DraftFile(Draft::create(path)?);
        Ok(Out { name: path.to_owned(), sink: BufWriter::with_capacity(1 << 20, file) })
    }

    fn keep(self) -> Result<()> {
        let kept = self.sink.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.0.keep());
        kept.map_err(|error| Error::write(self.name, error))
    }
}

impl<W: Write> Out<W> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write_all(bytes).map_err(|error| Error::write(&self.name, error))
    }
}

/// A [`Draft`] as something to write to.
struct DraftFile(Draft);

impl Write for DraftFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.file().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.file().flush()
    }
}

/// Refuses a word that a format has no way to write.
fn check_word(word: &[u8], row: usize, format: Format) -> Result<()> {
    let fault = |format| cannot_hold(format, word, row == 0);
    let Some(why) = fault(format) else { return Ok(()) };
    let others = [Format::Safetensors, Format::Word2VecBinary, Format::Word2VecText];
    let error = Error::usage(format!("word {} is {}: {format} cannot hold {why}", row + 1, shown(word)));
    Err(match others.into_iter().find(|&other| fault(other).is_none()) {
        Some(other) => error.mend(format!("write it as {other}: --to {other}")),
        None => error,
    })
}

/// What of a word, the first of its table or another, a format has no way to write.
fn cannot_hold(format: Format, word: &[u8], first: bool) -> Option<&'static str> {
    let has = |bytes: &[u8]| word.iter().any(|byte| bytes.contains(byte));
    let faults = match format {
        Format::Word2VecText | Format::Glove => {
            [(!text::fits(word), "a line feed, only blanks, or a number at the end"), (false, "")]
        }
        Format::Word2VecBinary | Format::GensimBinary => {
            [(has(b" \n"), "spaces or line feeds"), (word.len() > MAX_TOKEN_BYTES, "so many bytes")]
        }
        Format::Safetensors | Format::NumPy => [(has(b"\t\n\r"), "tabs or line breaks"), (false, "")],
        Format::Projector => {
            [(has(b"\t\n\r"), "tabs or line breaks"), (std::str::from_utf8(word).is_err(), "what is not UTF-8")]
        }
    };
    let begins = !matches!(format, Format::Word2VecText | Format::Word2VecBinary | Format::GensimBinary);
    let mark = (first && begins && word.starts_with(MARK), "a byte-order mark before the first word");
    faults.into_iter().chain([mark]).find_map(|(holds, why)| holds.then_some(why))
}

/// A word in a message: what is no text, or too long, is shortened and escaped.
fn shown(word: &[u8]) -> String {
    let start = &word[..word.len().min(60)];
    let dots = if start.len() < word.len() { "..." } else { "" };
    let text: String = start
        .utf8_chunks()
        .map(|chunk| {
            visible(chunk.valid()).escape_debug().to_string()
                + &chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>()
        })
        .collect();
    format!("\"{text}{dots}\"")
}

/// Takes rows as they come from a file.
struct Rows<'a> {
    path: &'a Path,
    vectors: WordVectors,
    keep_first: bool,
    only: Option<Arc<HashSet<Vec<u8>>>>,
    repeated: u64,
    doubts: Vec<String>,
}

impl<'a> Rows<'a> {
    fn new(path: &'a Path, dim: usize, counted: bool, options: &ReadOptions) -> Rows<'a> {
        Rows {
            path,
            vectors: WordVectors::new(dim, counted),
            keep_first: options.keep_first,
            only: options.only.clone(),
            repeated: 0,
            doubts: Vec::new(),
        }
    }

    fn push(&mut self, word: &[u8], count: u64, row: &[f32], at: At) -> Result<()> {
        if self.only.as_ref().is_some_and(|only| !only.contains(word)) {
            return Ok(());
        }
        match self.vectors.push(word, count, row) {
            Ok(()) => Ok(()),
            Err(Fault::Duplicate { .. }) if self.keep_first => {
                self.repeated += 1;
                Ok(())
            }
            Err(fault) => {
                let error = Error::input_at(self.path, at, format!("{}: {fault}", shown(word)));
                Err(if matches!(fault, Fault::Duplicate { .. }) {
                    error.mend("--keep-first takes the first of them")
                } else {
                    error
                })
            }
        }
    }

    fn loaded(self, format: Format) -> Result<Loaded> {
        if self.vectors.is_empty() && self.only.is_none() {
            return Err(Error::input(self.path, "has no word"));
        }
        Ok(Loaded { vectors: self.vectors, format, repeated: self.repeated, doubts: self.doubts })
    }
}
