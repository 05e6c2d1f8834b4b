//! A folder for token files that nobody keeps.

use std::path::{Path, PathBuf};

use unroll::error::{Error, Result};

/// A folder among the system's temporary files, removed in the end.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// For the command of this name.
    pub(crate) fn make(command: &str) -> Result<Scratch> {
        let path = std::env::temp_dir().join(format!("unroll-{command}-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| Error::io(&path, "cannot make a folder", error))?;
        Ok(Scratch(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left for the system to clean where it fails.
        let _left = std::fs::remove_dir_all(&self.0);
    }
}
