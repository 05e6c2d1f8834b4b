//! Writing token files.

use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use super::format::{self, CHUNK, HEADER, Header};
use super::open::Identity;
use crate::error::{Error, Result};
use crate::text::Vocabulary;

/// A token file being written under a temporary name beside its own, which it gets when it is whole. If it is dropped
/// before that, nothing is left.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    count: u64,
    checksums: Vec<u32>,
    /// The checksum of the chunk being written, and its bytes so far.
    crc: u32,
    filled: usize,
    finished: bool,
}

/// What the header is told when all tokens are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    pub(super) text_bytes: u64,
    pub(super) text_chars: u64,
    pub(super) entropy_rate: Option<f64>,
}

impl Writer {
    pub(super) fn create(path: &Path) -> Result<Writer> {
        let temporary = beside(path, "tmp")?;
        let mut file = claim(&temporary, path)?;
        let written = file.write_all(&[0; HEADER]);
        let writer = Writer {
            path: path.to_owned(),
            temporary,
            file,
            count: 0,
            checksums: Vec::new(),
            crc: 0,
            filled: 0,
            finished: false,
        };
        written.map_err(|e| Error::write(path, e))?;
        Ok(writer)
    }

    /// Appends the bytes of `count` tokens.
    pub(super) fn tokens(&mut self, count: u64, mut bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Error::write(&self.path, e))?;
        self.count += count;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK - self.filled));
            self.crc = crc32c::crc32c_append(self.crc, now);
            self.filled += now.len();
            if self.filled == CHUNK {
                self.end_chunk();
            }
            bytes = later;
        }
        Ok(())
    }

    fn end_chunk(&mut self) {
        self.checksums.push(self.crc);
        (self.crc, self.filled) = (0, 0);
    }

    /// Writes what follows the tokens and the header, and gives the file its name.
    pub(super) fn finish(mut self, vocabulary: &Vocabulary, totals: Totals) -> Result<()> {
        if self.filled > 0 {
            self.end_chunk();
        }
        let list: Vec<u8> = self.checksums.iter().flat_map(|crc| crc.to_le_bytes()).collect();
        let text = vocabulary.to_file();
        let header = Header {
            width: format::width(vocabulary.len() as u64),
            count: self.count,
            vocabulary_size: vocabulary.len() as u64,
            vocabulary_hash: vocabulary.hash(),
            vocabulary_bytes: text.len() as u64,
            text_bytes: totals.text_bytes,
            text_chars: totals.text_chars,
            entropy_rate: totals.entropy_rate.unwrap_or(f64::NAN),
            checksums_crc: crc32c::crc32c(&list),
            vocabulary_crc: crc32c::crc32c(text.as_bytes()),
        };
        self.end(&list, text.as_bytes(), &header.to_bytes()).map_err(|e| Error::write(&self.path, e))?;
        self.finished = true;
        Ok(())
    }

    fn end(&mut self, list: &[u8], vocabulary: &[u8], header: &[u8]) -> io::Result<()> {
        self.file.write_all(list)?;
        self.file.write_all(vocabulary)?;
        self.file.rewind()?;
        self.file.write_all(header)?;
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        sync_folder_of(&self.path)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: the error that ended the writing is the one to report.
            _ = fs::remove_file(&self.temporary);
        }
    }
}

/// The temporary file, empty and held by this process alone. What a killed process left of it is overwritten, so that
/// nothing gathers; a process that is still writing it is left in peace.
fn claim(temporary: &Path, path: &Path) -> Result<File> {
    let busy =
        || Error::run(format!("{}: another process is writing this file", path.display())).mend("wait for it to end");
    let fails = |e| Error::write(path, e);
    let file = File::options().read(true).write(true).create(true).truncate(false).open(temporary).map_err(fails)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(busy()),
        // Some network file systems have no locks; there the name alone must do.
        Err(TryLockError::Error(_)) => {}
    }
    // Between the opening and the lock the other process may have ended, and have given the file its name.
    if Identity::of(&file.metadata().map_err(fails)?).check(temporary).is_err() {
        return Err(busy());
    }
    file.set_len(0).map_err(fails)?;
    Ok(file)
}

/// A hidden name in the folder of `path`.
pub(super) fn beside(path: &Path, suffix: &str) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(Error::usage(format!("{}: not a name for a file", path.display())));
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{suffix}"));
    Ok(path.with_file_name(hidden))
}

/// Makes a rename in the folder of `path` durable. Systems that cannot sync a folder need not.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
