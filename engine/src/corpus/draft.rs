//! A file that gets its name when it is whole.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::open::Identity;
use crate::error::{Error, Result};

/// A file being written under a hidden name beside its own, which it gets when it is whole. If it is dropped before that,
/// nothing is left, and what stood there is untouched.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
    kept: bool,
}

impl Draft {
    /// An empty one, for the file `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be made, [`Error::Run`] if another process is writing the same file.
    pub(crate) fn create(path: &Path) -> Result<Draft> {
        let temporary = beside(path, "tmp")?;
        let file = claim(&temporary, path)?;
        Ok(Draft { path: path.to_owned(), temporary, file, kept: false })
    }

    /// The name that it will have.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// To write to.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives the file its name, durably.
    pub(crate) fn keep(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        self.kept = true;
        sync_folder_of(&self.path)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
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
