//! A folder for token files that nobody keeps.

use std::path::{Path, PathBuf};

use unroll::error::{Error, Result};

use crate::interrupt;

/// A folder among the system's temporary files, removed in the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// For the command of this name.
    pub(crate) fn make(command: &str) -> Result<Scratch> {
        let path = std::env::temp_dir().join(format!("unroll-{command}-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| Error::io(&path, "cannot make a folder", error))?;
        Ok(Scratch(path))
    }

    /// Lets the first Ctrl-C remove it and end the process, for a command that has nothing to save.
    pub(crate) fn removed_at_interrupt(self) -> Result<Scratch> {
        let path = self.0.clone();
        interrupt::end_after(move || remove(&path))?;
        Ok(self)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(folder: &Path) {
    // Left for the system to clean where it fails.
    let _left = std::fs::remove_dir_all(folder);
}
