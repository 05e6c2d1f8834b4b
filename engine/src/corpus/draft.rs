//! A file that gets its name when it is whole.

use std::fs::{self, File, TryLockError};
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use super::open::Identity;
use crate::error::{Error, Result};

/// Symbolic links that are followed one after another, as Linux has it.
const MOST_LINKS: usize = 40;

/// A file being written under a hidden name beside its own, which it gets when it is whole. If it is dropped before that,
/// nothing is left, and what stood there is untouched. What a pipe or a device is asked to take goes into it when it is whole.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    file: File,
    /// The hidden name and the file's own; neither of a pipe or a device.
    names: Option<(PathBuf, PathBuf)>,
    kept: bool,
}

impl Draft {
    /// An empty one, for the file `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be made, [`Error::Run`] if another process is writing the same file.
    pub(crate) fn create(path: &Path) -> Result<Draft> {
        let draft = |file, names| Draft { path: path.to_owned(), file, names, kept: false };
        let Some(target) = target(path).map_err(|e| Error::write(path, e))? else {
            return Ok(draft(tempfile::tempfile().map_err(|e| Error::write(path, e))?, None));
        };
        let temporary = hidden(&target, "tmp")?;
        Ok(draft(claim(&temporary, path)?, Some((temporary, target))))
    }

    /// The name that was asked for.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// To write to.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file its name, durably.
    pub(crate) fn keep(mut self) -> io::Result<()> {
        let Some((temporary, target)) = &self.names else {
            self.file.rewind()?;
            let mut stream = File::options().write(true).open(&self.path)?;
            return io::copy(&mut self.file, &mut stream).map(|_| ());
        };
        self.file.sync_all()?;
        fs::rename(temporary, target)?;
        self.kept = true;
        sync_folder_of(target)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some((temporary, _)) = self.names.as_ref().filter(|_| !self.kept) {
            // Best effort: the error that ended the writing is the one to report.
            _ = fs::remove_file(temporary);
        }
    }
}

/// Writes a file that is whole or not there, like a token file.
///
/// # Errors
/// [`Error::Io`] if it cannot be written, [`Error::Run`] if another process is writing the same file; what stood there is
/// untouched then.
pub fn write_file(path: &Path, contents: &[u8]) -> Result<()> {
    let mut draft = Draft::create(path)?;
    draft.file().write_all(contents).and_then(|()| draft.keep()).map_err(|error| Error::write(path, error))
}

/// The name that a whole file takes which is asked for under `path`: behind symbolic links the file that they stand for, which
/// need not be there yet. None where that is a pipe or a device, which has no contents to be replaced.
pub(crate) fn target(path: &Path) -> io::Result<Option<PathBuf>> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(metadata) if !metadata.is_file() => return Ok(None),
        _ => {}
    }
    let mut name = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&name) {
            Ok(link) => name = name.with_file_name(link),
            Err(_) => return Ok(Some(name)),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// Whether what is written under either name is one file, which need not be there yet.
///
/// # Errors
/// [`Error::Io`] where a name cannot be followed.
pub fn is_same_output(a: &Path, b: &Path) -> Result<bool> {
    let file = |path: &Path| {
        let Some(target) = target(path).map_err(|error| Error::write(path, error))? else { return Ok(None) };
        let folder = fs::canonicalize(folder_of(&target)).map_err(|error| Error::write(path, error))?;
        Ok(target.file_name().map(|name| folder.join(name)))
    };
    let (a, b) = (file(a)?, file(b)?);
    Ok(a.is_some() && a == b)
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

/// A file for what is worked on, on the disk that the output goes to. Where the system allows it, the file has no name any more,
/// so that nothing is left of it however the process ends.
pub(super) fn nameless_file(output: &Path, what: &str) -> Result<File> {
    let Some(target) = target(output).map_err(|e| Error::write(output, e))? else {
        return tempfile::tempfile().map_err(|e| Error::write(output, e));
    };
    let path = hidden(&target, &format!("{what}-{}", std::process::id()))?;
    let options = File::options().read(true).write(true).create(true).truncate(true).clone();
    let file = options.open(&path).map_err(|e| Error::write(&path, e))?;
    if cfg!(unix) {
        fs::remove_file(&path).map_err(|e| Error::write(&path, e))?;
    }
    Ok(file)
}

/// A hidden name in the folder of `path`.
fn hidden(path: &Path, suffix: &str) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(Error::usage(format!("{}: not a name for a file", path.display())));
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{suffix}"));
    Ok(path.with_file_name(hidden))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a rename in the folder of `path` durable. Systems that cannot sync a folder need not.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(folder_of(path))?.sync_all()?;
    }
    Ok(())
}
