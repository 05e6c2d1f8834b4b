//! Where text comes from: files, folders, gzip, standard input.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use flate2::bufread::MultiGzDecoder;

use super::draft::nameless_file;
use super::open::Identity;
use super::quotes::TableError;
use super::table::{Columns, TableReader};
use super::waiting::{Stopped, Waiting};
use crate::error::{At, Error, Result};
use crate::text::{EncodingErrors, SpeakerFinder, decode_into};

/// Bytes as they come from a source.
pub(super) type Raw<'a> = Box<dyn Read + Send + 'a>;

/// A source of text, as the user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, plain or gzip, or a folder with text files.
    Path(PathBuf),
    /// Columns of a table, plain or gzip.
    Table(PathBuf, Columns),
    /// Standard input, plain or gzip.
    Stdin,
}

impl Source {
    /// The source that a command-line argument names: `-` is standard input.
    pub fn from_argument(argument: impl Into<PathBuf>) -> Source {
        let path = argument.into();
        if path.as_os_str() == "-" { Source::Stdin } else { Source::Path(path) }
    }

    /// The same, or where columns are named those of a table: of tab-separated values where the name ends so, else of CSV.
    ///
    /// # Errors
    /// [`Error::Usage`] where columns are to be read from standard input or a folder.
    pub fn with_columns(argument: impl Into<PathBuf>, columns: &[String]) -> Result<Source> {
        match Source::from_argument(argument) {
            source if columns.is_empty() => Ok(source),
            Source::Path(path) if !path.is_dir() => {
                let name = path.as_os_str().as_encoded_bytes();
                let tabs = name.ends_with(b".tsv") || name.ends_with(b".tsv.gz");
                let columns = Columns { names: columns.to_vec(), tabs };
                Ok(Source::Table(path, columns))
            }
            _ => Err(Error::option("data.columns", "apply to a table, and this is standard input or a folder")
                .mend("name files of CSV or TSV")),
        }
    }
}

/// One file or stream to read, possibly twice.
#[derive(Debug)]
pub(super) struct Input {
    /// Its name in messages.
    pub(super) name: PathBuf,
    kind: Kind,
    /// What the first pass found, by which the second knows it again.
    identity: Option<Identity>,
    /// The copy that the first pass made of what cannot be read twice.
    spool: Option<File>,
    /// Which columns of it are read, where it is a table.
    columns: Option<Columns>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    /// A pipe or a device: can be opened by name, but not read twice.
    Pipe,
    Stdin,
}

/// The files and streams that the sources stand for, in their order. A folder stands for its files that end in `.txt`
/// or `.txt.gz`, and if there are none for all its files that hold text, in the order of their names; hidden files and
/// folders in it are left out.
pub(super) fn resolve(sources: &[Source]) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for source in sources {
        match source {
            Source::Stdin => inputs.push(Input::new(PathBuf::from("standard input"), Kind::Stdin)),
            Source::Table(path, columns) => {
                let metadata = fs::metadata(path).map_err(|e| Error::read(path, e))?;
                let kind = if metadata.is_file() { Kind::File } else { Kind::Pipe };
                inputs.push(Input { columns: Some(columns.clone()), ..Input::new(path.clone(), kind) });
            }
            Source::Path(path) => {
                let metadata = fs::metadata(path).map_err(|e| Error::read(path, e))?;
                if metadata.is_dir() {
                    inputs.extend(text_files(path)?.into_iter().map(|path| Input::new(path, Kind::File)));
                } else {
                    let kind = if metadata.is_file() { Kind::File } else { Kind::Pipe };
                    inputs.push(Input::new(path.clone(), kind));
                }
            }
        }
    }
    if inputs.is_empty() {
        return Err(Error::usage("no text was given").mend("name a file, a folder, or - for standard input"));
    }
    if inputs.iter().filter(|input| input.kind == Kind::Stdin).count() > 1 {
        return Err(Error::usage("standard input was named twice, but can be read only once"));
    }
    Ok(inputs)
}

/// Refuses the output of an option that is one of the files that are read: written, it would take the place of what the user has.
///
/// # Errors
/// [`Error::Usage`] that names it; [`Error::Input`] where a source is missing.
pub fn check_output(option: &str, sources: &[Source], output: &Path) -> Result<()> {
    let Ok(existing) = fs::metadata(output) else { return Ok(()) };
    for input in resolve(sources)? {
        let stdin = input.kind == Kind::Stdin;
        let read = fs::metadata(if stdin { Path::new("/dev/stdin") } else { &input.name });
        if existing.is_file() && read.is_ok_and(|read| Identity::of(&existing).is_same_file(&Identity::of(&read))) {
            let (output, input) = (output.display(), input.name.display());
            return Err(Error::option(option, format!("{output} would take the place of {input}, which is read"))
                .mend("name another file"));
        }
    }
    Ok(())
}

fn text_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::read(folder, e))? {
        let path = entry.map_err(|e| Error::read(folder, e))?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    let ends_in_txt = |path: &&PathBuf| {
        let name = path.as_os_str().as_encoded_bytes();
        name.ends_with(b".txt") || name.ends_with(b".txt.gz")
    };
    let named: Vec<PathBuf> = files.iter().filter(ends_in_txt).cloned().collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let mut texts = Vec::new();
    for path in files {
        if holds_text(&path)? {
            texts.push(path);
        }
    }
    if texts.is_empty() {
        return Err(
            Error::input(folder, "no text file in this folder").mend("name a folder with .txt or .txt.gz files")
        );
    }
    Ok(texts)
}

/// Whether the first 8 KiB are without the byte zero, by which git too tells text from other files.
fn holds_text(path: &Path) -> Result<bool> {
    let file = File::open(path).map_err(|e| Error::read(path, e))?;
    let mut start = Vec::new();
    // What looks like gzip and is none is not text either.
    let read = unpacked(Box::new(file)).and_then(|(reader, _)| reader.take(8 << 10).read_to_end(&mut start));
    Ok(read.is_ok() && !start.is_empty() && !start.contains(&0))
}

impl Input {
    /// One file, or standard input.
    pub(super) fn whole(source: &Source) -> Result<Input> {
        let inputs = match source {
            // That it is a folder is told by whoever opens it.
            Source::Path(path) if path.is_dir() => vec![Input::new(path.clone(), Kind::File)],
            source => resolve(std::slice::from_ref(source))?,
        };
        inputs.into_iter().next().ok_or_else(|| Error::usage("no text was given"))
    }

    fn new(name: PathBuf, kind: Kind) -> Input {
        Input { name, kind, identity: None, spool: None, columns: None }
    }

    /// Opens the text, unpacked if it is gzip. What cannot be read twice is copied, if `again` names the file that it
    /// is to be copied beside, into a file without a name that the system removes by itself. What keeps its reader waiting is left
    /// when `cancel` becomes true. `errors` says what is done with bytes of a table that are not UTF-8; those of other texts are left
    /// as they are.
    pub(super) fn open<'a>(
        &mut self,
        again: Option<&Path>,
        cancel: Option<&'a AtomicBool>,
        errors: EncodingErrors,
    ) -> Result<Raw<'a>> {
        let text = self.open_whole(again, cancel)?;
        Ok(match &self.columns {
            Some(columns) => Box::new(TableReader::new(text, columns.clone(), errors)),
            None => text,
        })
    }

    /// The same of a table with all its columns.
    fn open_whole<'a>(&mut self, again: Option<&Path>, cancel: Option<&'a AtomicBool>) -> Result<Raw<'a>> {
        let raw: Raw<'a> = if self.kind == Kind::File {
            let file = File::open(&self.name).map_err(|e| Error::read(&self.name, e))?;
            let metadata = file.metadata().map_err(|e| Error::read(&self.name, e))?;
            match self.identity {
                None => self.identity = Some(Identity::of(&metadata)),
                Some(identity) => identity.check(&self.name)?,
            }
            Box::new(file)
        } else if let Some(mut spool) = self.spool.take() {
            spool.rewind().map_err(|e| Error::io(&self.name, "cannot read its copy again", e))?;
            Box::new(spool)
        } else {
            let raw: Raw<'a> = match (self.kind, cancel) {
                (Kind::Stdin, None) => Box::new(io::stdin()),
                (Kind::Stdin, Some(cancel)) => Box::new(Waiting::new(|| Ok(io::stdin()), cancel)),
                (_, None) => Box::new(File::open(&self.name).map_err(|e| Error::read(&self.name, e))?),
                (_, Some(cancel)) => {
                    let name = self.name.clone();
                    Box::new(Waiting::new(move || File::open(name), cancel))
                }
            };
            match again {
                None => raw,
                Some(output) => {
                    let spool = nameless_file(output, "text")?;
                    self.spool = Some(spool.try_clone().map_err(|e| Error::write(output, e))?);
                    Box::new(Tee { raw, spool })
                }
            }
        };
        let (text, _) = unpacked(raw).map_err(|e| self.read_error(e))?;
        Ok(text)
    }

    /// What a failed read of this input means.
    pub(super) fn read_error(&self, error: io::Error) -> Error {
        if let Some(SpoolError(kind, what)) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            let source = io::Error::new(*kind, what.clone());
            return Error::io(&self.name, "cannot write the copy of the text that is read twice", source);
        }
        if error.get_ref().is_some_and(|inner| inner.is::<Stopped>()) {
            return stopped();
        }
        if let Some(TableError { line, what, mend }) = TableError::of(&error) {
            return Error::input_at(&self.name, At::Line(*line), what.clone()).mend(*mend);
        }
        match error.kind() {
            // What the gzip decoder says of bad data; plain reading never answers so.
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                Error::input(&self.name, format!("the gzip data is damaged: {error}"))
                    .mend("download or compress it again")
            }
            io::ErrorKind::UnexpectedEof => {
                Error::input(&self.name, "the gzip data was cut short").mend("download or compress it again")
            }
            _ => Error::read(&self.name, error),
        }
    }
}

/// The user stopped the command while it read.
pub(super) fn stopped() -> Error {
    Error::interrupted("interrupted while reading the text; nothing was written")
}

/// Who speaks in a script, those with the most turns first: of a table those in the column of speakers, if two columns are read, else
/// whom lines begin with. Bytes that are not UTF-8 are skipped or replaced as `errors` says, and replaced where it refuses them.
///
/// # Errors
/// [`Error::Usage`] where the text is standard input or a pipe, which is read once; [`Error::Input`] where it cannot be read.
pub fn speakers(sources: &[Source], errors: EncodingErrors) -> Result<Vec<String>> {
    // They are refused, with their place, where the text is read to be trained on.
    let errors = if errors == EncodingErrors::Strict { EncodingErrors::Replace } else { errors };
    let mut inputs = resolve(sources)?;
    if let Some(input) = inputs.iter().find(|input| input.kind != Kind::File) {
        let what = format!("speakers cannot be found in {}, which can be read only once", input.name.display());
        return Err(Error::option("data.dialogue", what).mend("name them: --set data.speakers='[\"ANNA\", \"BEN\"]'"));
    }
    let mut finder = SpeakerFinder::default();
    for input in &mut inputs {
        match input.columns.clone().filter(|columns| columns.names.len() == 2) {
            Some(columns) => {
                let table = TableReader::new(input.open_whole(None, None)?, columns, errors);
                table.each_speaker(|name| finder.turn(name)).map_err(|e| input.read_error(e))?;
            }
            None => {
                let text = BufReader::with_capacity(64 << 10, input.open(None, None, errors)?);
                each_line(text, errors, |line| finder.line(line)).map_err(|e| input.read_error(e))?;
            }
        }
        // The next file does not go on with the speech of this one.
        finder.line("");
    }
    Ok(finder.names())
}

/// Calls this with the beginning of every line: a line without end takes no memory.
fn each_line(mut text: impl BufRead, errors: EncodingErrors, mut each: impl FnMut(&str)) -> io::Result<()> {
    const MOST: u64 = 4 << 10;
    let (mut bytes, mut line) = (Vec::new(), String::new());
    while text.by_ref().take(MOST).read_until(b'\n', &mut bytes)? > 0 {
        decode_into(&bytes, true, errors, &mut line).map_err(|_| io::Error::other("the text is not UTF-8"))?;
        each(&line);
        if !bytes.ends_with(b"\n") {
            text.skip_until(b'\n')?;
        }
        bytes.clear();
        line.clear();
    }
    Ok(())
}

/// The bytes of a file, unpacked if they are gzip.
///
/// # Errors
/// [`Error::Input`] where it is missing, a folder or damaged; [`Error::Io`] where reading fails.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut reader, _) = open_unpacked(path)?;
    reader.read_to_end(&mut bytes).map_err(|e| read_failed(path, e))?;
    Ok(bytes)
}

/// A file to read on from its beginning, unpacked if it is gzip; its length in bytes where that is known, as it is of a file
/// that is not packed.
///
/// # Errors
/// As [`read_file`].
pub(crate) fn open_unpacked(path: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>)> {
    let raw = File::open(path).map_err(|e| Error::read(path, e))?;
    let metadata = raw.metadata().map_err(|e| Error::read(path, e))?;
    let (reader, gzip) = unpacked(Box::new(raw)).map_err(|e| read_failed(path, e))?;
    Ok((reader, (metadata.is_file() && !gzip).then_some(metadata.len())))
}

/// What a failed read of what [`open_unpacked`] gave means.
pub(crate) fn read_failed(path: &Path, error: io::Error) -> Error {
    Input::new(path.to_owned(), Kind::File).read_error(error)
}

/// The same bytes, unpacked if they begin as gzip does, which is told too.
fn unpacked(mut raw: Raw<'_>) -> io::Result<(Raw<'_>, bool)> {
    let mut start = Vec::new();
    raw.by_ref().take(2).read_to_end(&mut start)?;
    let gzip = start == [0x1f, 0x8b];
    let whole = io::Cursor::new(start).chain(raw);
    let reader: Raw<'_> =
        if gzip { Box::new(MultiGzDecoder::new(BufReader::with_capacity(64 << 10, whole))) } else { Box::new(whole) };
    Ok((reader, gzip))
}

/// Reads on and writes down what was read.
struct Tee<'a> {
    raw: Raw<'a>,
    spool: File,
}

impl Read for Tee<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.raw.read(out)?;
        self.spool.write_all(&out[..count]).map_err(|e| {
            let kind = e.kind();
            io::Error::new(kind, SpoolError(kind, e.to_string()))
        })?;
        Ok(count)
    }
}

/// A failed write of the copy, on its way through a reader.
#[derive(Debug, thiserror::Error)]
#[error("{1}")]
struct SpoolError(io::ErrorKind, String);
