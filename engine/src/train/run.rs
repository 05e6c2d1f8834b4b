//! The run folder.
//!
//! ```text
//! RUN/
//!   config.toml      the resolved configuration; written last of the first files: a folder that has it is a run
//!   vocabulary       the tokens
//!   words-alike      their order by their use, of a head that parts them by it
//!   metrics.jsonl    one JSON object a report or evaluation; no times, so that a resumed run's equals an unbroken one's
//!   samples.txt      the samples written while training
//!   timing.jsonl     speed
//!   checkpoints/     see [`super::checkpoint`]
//!   .lock            held by the process that trains here
//! ```

use std::any::Any;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::{Error, Result};

use super::checkpoint::{Checkpoints, UnusableCheckpoint};
use super::log::Log;
use super::storage::{Storage, replace_file};

/// The file of the resolved configuration.
pub const CONFIG: &str = "config.toml";
/// The file of the vocabulary.
pub const VOCABULARY: &str = "vocabulary";
/// The file of reports and evaluations.
pub const METRICS: &str = "metrics.jsonl";
/// The file of samples.
pub const SAMPLES: &str = "samples.txt";
/// The file of the speed over time.
pub const TIMING: &str = "timing.jsonl";
/// The folder of checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
const LOCK: &str = ".lock";

/// A run folder in which this process, and no other, trains.
pub struct RunFolder {
    storage: Rc<dyn Storage>,
    path: PathBuf,
    /// Ends the lock when dropped.
    _lock: Box<dyn Any>,
}

/// Which checkpoint of a run is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckpointChoice {
    /// The one with the lowest validation loss; the newest where none is recorded.
    Best,
    /// The newest one that is in order.
    Newest,
    /// The one of this step.
    Step(u64),
}

impl fmt::Debug for RunFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunFolder").field("path", &self.path).finish_non_exhaustive()
    }
}

impl RunFolder {
    /// Makes a run in `path` with its first files, as (name, contents); [`CONFIG`] is among them.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if the folder is a run already or another process trains there, [`Error::Io`] if it cannot be
    /// made.
    pub fn create(storage: Rc<dyn Storage>, path: impl Into<PathBuf>, files: &[(&str, &[u8])]) -> Result<Self> {
        let run = Self::claim(storage, path)?;
        run.begin(files)?;
        Ok(run)
    }

    /// Makes the folder and takes it for this process, so that no other writes there while the texts of a run are made
    /// ready. It becomes a run by [`begin`](Self::begin).
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create).
    pub fn claim(storage: Rc<dyn Storage>, path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        create_dirs(&*storage, &path).map_err(|e| Error::io(&path, "cannot make the run folder", e))?;
        let run = Self::lock(storage, path)?;
        if is_run(&*run.storage, &run.path)? {
            return Err(Error::usage(format!("{} is already a run", run.path.display()))
                .mend("resume it with --resume, or choose another --out"));
        }
        Ok(run)
    }

    /// Writes the first files of a run, as (name, contents); [`CONFIG`] is among them, and is written last.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if they cannot be written.
    pub fn begin(&self, files: &[(&str, &[u8])]) -> Result<()> {
        let config_last = files.iter().filter(|file| file.0 != CONFIG).chain(files.iter().filter(|f| f.0 == CONFIG));
        for (name, contents) in config_last {
            let file = self.path.join(name);
            replace_file(&*self.storage, &file, contents).map_err(|e| Error::write(&file, e))?;
        }
        self.checkpoints().prepare()
    }

    /// Gives up a folder that was claimed and did not become a run.
    pub fn abandon(self) {
        // Removed while it is held, so that it is not another process's.
        let _left = self.storage.remove_file(&self.path.join(LOCK));
    }

    /// Goes on with the run in `path`, and removes what a killed process left behind.
    ///
    /// # Errors
    ///
    /// [`Error::Input`] if there is no run, [`Error::Usage`] if another process trains there, [`Error::Io`] if
    /// leftovers cannot be removed.
    pub fn resume(storage: Rc<dyn Storage>, path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        if !is_run(&*storage, &path)? {
            return Err(not_a_run(&*storage, &path));
        }
        let run = Self::lock(storage, path)?;
        let failed = |e| Error::io(&run.path, "cannot remove the leftovers of a killed run", e);
        for name in run.storage.list(&run.path).map_err(failed)? {
            if name.starts_with(".tmp-") {
                run.storage.remove_file(&run.path.join(name)).map_err(failed)?;
            }
        }
        run.checkpoints().prepare()?;
        Ok(run)
    }

    fn lock(storage: Rc<dyn Storage>, path: PathBuf) -> Result<Self> {
        let file = path.join(LOCK);
        match storage.try_lock(&file).map_err(|e| Error::io(&file, "cannot lock the run folder", e))? {
            Some(lock) => Ok(Self { storage, path, _lock: lock }),
            None => Err(Error::usage(format!("another process is training in {}", path.display()))
                .mend("wait for it, stop it, or choose another folder")),
        }
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its checkpoints.
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(Rc::clone(&self.storage), self.path.join(CHECKPOINTS))
    }

    /// Opens one of the growing files, cut to what a checkpoint recorded.
    pub(crate) fn log(&self, name: &str, len: u64) -> Result<Log> {
        let path = self.path.join(name);
        Log::open(Rc::clone(&self.storage), &path, len).map_err(|e| Error::io(path, "cannot open", e))
    }

    /// Opens a growing file at its end.
    pub(crate) fn log_at_end(&self, name: &str) -> Result<Log> {
        self.log(name, u64::MAX)
    }
}

/// Whether a run lies in `path`.
///
/// # Errors
/// [`Error::Usage`] where no folder can be, since a file is there; [`Error::Io`] where the folder cannot be looked
/// into.
pub fn is_run(storage: &dyn Storage, path: &Path) -> Result<bool> {
    storage.exists(&path.join(CONFIG)).map_err(|e| match e.kind() {
        io::ErrorKind::NotADirectory => {
            Error::usage(format!("{}: is a file, or lies in one, and a run is a folder", path.display()))
                .mend("name a folder")
        }
        _ => Error::io(path, "cannot look for a run", e),
    })
}

/// The error of a folder in which no run lies.
pub fn not_a_run(storage: &dyn Storage, path: &Path) -> Error {
    let fold = path.join("fold-0");
    let mend = match is_run(storage, &fold) {
        Ok(true) => format!("its folds are runs; name one of them, such as {}", fold.display()),
        _ => "name a folder that `unroll train` has written".to_owned(),
    };
    Error::input(path, format!("is not a run: it has no {CONFIG}")).mend(mend)
}

/// The checkpoint that a user's path means.
pub struct FoundCheckpoint {
    /// The run folder.
    pub run: PathBuf,
    /// Its checkpoints.
    pub checkpoints: Checkpoints,
    /// The step of the checkpoint that is meant.
    pub step: u64,
    /// Damaged checkpoints that would have come first.
    pub passed_over: Vec<UnusableCheckpoint>,
}

/// The checkpoint that a user's path means: the path may be a run folder or one checkpoint in it. Where the best one is
/// damaged, the newest that is in order takes its place.
///
/// # Errors
///
/// [`Error::Input`] if there is no such checkpoint, or none that is in order.
pub fn find(storage: Rc<dyn Storage>, path: &Path, which: CheckpointChoice) -> Result<FoundCheckpoint> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let up = path.parent().and_then(Path::parent);
    let (run, which) = match (name.strip_prefix("step-").and_then(|digits| digits.parse().ok()), up) {
        (Some(step), Some(run)) => (run.to_path_buf(), CheckpointChoice::Step(step)),
        _ => (path.to_path_buf(), which),
    };
    let checkpoints = Checkpoints::new(storage, run.join(CHECKPOINTS));
    if let CheckpointChoice::Step(step) = which {
        let steps = checkpoints.steps()?;
        if steps.contains(&step) {
            return Ok(FoundCheckpoint { run, checkpoints, step, passed_over: Vec::new() });
        }
        let steps: Vec<String> = steps.iter().map(u64::to_string).collect();
        return Err(Error::input(path, format!("there is no checkpoint of step {step}"))
            .mend(format!("the steps with checkpoints are {}", steps.join(", "))));
    }
    let mut passed_over = Vec::new();
    match checkpoints.recorded_best().filter(|_| which == CheckpointChoice::Best) {
        Some(Ok(step)) => return Ok(FoundCheckpoint { run, checkpoints, step, passed_over }),
        Some(Err(damaged)) => passed_over.push(damaged),
        None => {}
    }
    let Some((state, damaged)) = checkpoints.newest_state()? else {
        return Err(Error::input(path, "there is no checkpoint").mend(
            "name a run whose training has saved one; `unroll train --resume RUN` goes on with one that has not",
        ));
    };
    for damaged in damaged {
        if !passed_over.iter().any(|passed| passed.path == damaged.path) {
            passed_over.push(damaged);
        }
    }
    Ok(FoundCheckpoint { run, checkpoints, step: state.step, passed_over })
}

fn create_dirs(storage: &dyn Storage, path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || storage.exists(path)? {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    create_dirs(storage, parent)?;
    storage.create_dir(path)?;
    storage.sync_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
}
