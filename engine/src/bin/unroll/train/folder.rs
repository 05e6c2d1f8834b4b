//! The folder of a new run, which is removed again unless the run starts.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use unroll::error::{Error, Result};
use unroll::train::RunFolder;
use unroll::train::storage::Storage;

/// `runs/N` with the first number that is free.
pub(super) fn free_run() -> PathBuf {
    let runs = Path::new("runs");
    (1..).map(|number: u64| runs.join(number.to_string())).find(|path| !path.exists()).unwrap_or_default()
}

/// A folder that is removed again unless the run in it starts.
pub(crate) struct NewFolder {
    run: Option<RunFolder>,
    /// The folders that were made, the innermost first.
    made: Vec<PathBuf>,
    /// The token files that will be made there.
    files: Vec<PathBuf>,
}

impl NewFolder {
    /// Takes a folder for a run.
    pub(crate) fn claim(storage: &Rc<dyn Storage>, path: &Path) -> Result<NewFolder> {
        let missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        let made = path.ancestors().take_while(missing).map(Path::to_owned).collect();
        let files = ["train", "valid", "test"].map(|name| path.join(format!("{name}.tokens")));
        let files = files.into_iter().filter(|file| !file.exists()).collect();
        let mut folder = NewFolder { run: None, made, files };
        folder.run = Some(RunFolder::claim(Rc::clone(storage), path)?);
        Ok(folder)
    }

    /// Makes it a run.
    pub(crate) fn begin(mut self, files: &[(&str, &[u8])]) -> Result<RunFolder> {
        if let Some(run) = &self.run {
            run.begin(files)?;
        }
        self.run.take().ok_or_else(|| Error::run("the run folder was given up"))
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        let Some(run) = self.run.take() else { return };
        for file in &self.files {
            let _absent = std::fs::remove_file(file);
        }
        run.abandon();
        // Removed only if nothing else is in them.
        let _not_empty = self.made.iter().try_for_each(std::fs::remove_dir);
    }
}
