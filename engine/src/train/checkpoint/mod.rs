//! Checkpoints: a folder each, written so that the newest complete one can be found at any moment.
//!
//! ```text
//! checkpoints/
//!   step-00001200/            weights.safetensors  optimizer.safetensors  carry.safetensors  state.json  manifest.json
//!   step-00001234/            (the last three, and the best)
//!   best.json                 {"step":1200,"loss":1.38}: a hint; the checkpoint's own state confirms it
//!   .tmp-00001250-4711-9/     being written by process 4711 (its tenth new name)
//!   .trash-00000900-4711-8/   being deleted
//! ```
//!
//! Writing: every file goes into `.tmp-STEP-PID-N/` and is synced, [`manifest.json`](super::manifest) last; then the
//! folder is synced, renamed to `step-STEP`, and the folder above it synced. A reader takes the newest `step-` folder
//! whose manifest, lengths, checksums and tensors are in order, and says which ones it had to skip. Deleting: the
//! folder is renamed to `.trash-` before it is unlinked, so that a half-deleted checkpoint never has a checkpoint's
//! name. Leftovers of both kinds are removed when a run starts, under the run folder's lock.
//!
//! A write, sync or rename that fails ends the attempt: what was written is removed, nothing is synced twice, and the
//! next attempt takes a new name. Earlier checkpoints are not touched until the new one is durable.

mod contents;
mod read;
mod write;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::{Error, Result};

use super::state::TrainerState;
use super::storage::{Storage, remove_tree};
use super::tensors::{Checked, TensorRef, TensorSpec};

/// The parameters, under the names and in the shapes of the model.
pub const WEIGHTS: &str = "weights.safetensors";
/// The optimiser's slots, `NAME/slot_0` and `NAME/slot_1`.
pub const OPTIMIZER: &str = "optimizer.safetensors";
/// The recurrent state that the next step starts from.
pub const CARRY: &str = "carry.safetensors";
/// Counters and tallies.
pub const STATE: &str = "state.json";
/// The name of the hint to the best checkpoint.
pub const BEST: &str = "best.json";

/// Checkpoints kept beside the best one.
pub const KEEP: usize = 3;

/// A state is a page of JSON; a configuration of a thousand layers would make it a hundred.
const STATE_LIMIT: u64 = 16 << 20;

/// What a checkpoint saves.
pub struct Snapshot<'a> {
    /// Counters and tallies; its step names the checkpoint.
    pub state: &'a TrainerState,
    /// The parameters.
    pub weights: &'a [TensorRef<'a>],
    /// The optimiser's slots.
    pub optimizer: &'a [TensorRef<'a>],
    /// The carried state.
    pub carry: &'a [TensorRef<'a>],
}

/// The tensors that a checkpoint must hold to be loaded whole.
pub struct Expected<'a> {
    /// The parameters.
    pub weights: &'a [TensorSpec],
    /// The optimiser's slots.
    pub optimizer: &'a [TensorSpec],
    /// The carried state.
    pub carry: &'a [TensorSpec],
    /// Checks that a state is this run's; called before any tensor is read.
    pub accept: &'a dyn Fn(&TrainerState) -> Result<()>,
}

/// A checkpoint that was read and checked. The model does not change before [`Loaded::copy_weights`].
pub struct Loaded {
    /// Counters and tallies.
    pub state: TrainerState,
    /// Newer checkpoints that could not be used, and why.
    pub passed_over: Vec<UnusableCheckpoint>,
    path: PathBuf,
    weights: Checked,
    optimizer: Checked,
    carry: Checked,
}

/// The parameters of a checkpoint.
pub struct Weights {
    /// Counters and tallies of the run that trained them.
    pub state: TrainerState,
    path: PathBuf,
    weights: Checked,
}

impl Weights {
    /// Copies the parameter `name`. Panics if it is not among those that were asked for.
    ///
    /// # Errors
    /// [`Error::Input`] where the file was changed since it was found in order.
    #[track_caller]
    pub fn copy(&self, name: &str, out: &mut [f32]) -> Result<()> {
        self.weights.copy(name, out).map_err(|reason| changed(&self.path, reason))
    }

    /// The file that holds the parameters.
    pub fn file(&self) -> PathBuf {
        self.path.join(WEIGHTS)
    }
}

/// A checkpoint that was in order and is so no more.
fn changed(path: &Path, reason: String) -> Error {
    Error::input(path, format!("it changed while it was read: {reason}")).mend("repeat it when nothing writes to it")
}

/// A checkpoint that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableCheckpoint {
    /// Its folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl Loaded {
    /// Copies the parameter `name`.
    ///
    /// # Errors
    /// [`Error::Input`], here and below, where the file was changed since it was found in order.
    pub fn copy_weights(&self, name: &str, out: &mut [f32]) -> Result<()> {
        self.weights.copy(name, out).map_err(|reason| changed(&self.path, reason))
    }
    /// Copies the optimiser's slot `name`.
    ///
    /// # Errors
    /// As [`Self::copy_weights`].
    pub fn copy_optimizer(&self, name: &str, out: &mut [f32]) -> Result<()> {
        self.optimizer.copy(name, out).map_err(|reason| changed(&self.path, reason))
    }
    /// Copies the carried tensor `name`.
    ///
    /// # Errors
    /// As [`Self::copy_weights`].
    pub fn copy_carry(&self, name: &str, out: &mut [f32]) -> Result<()> {
        self.carry.copy(name, out).map_err(|reason| changed(&self.path, reason))
    }
}

/// The folder `checkpoints` of a run.
pub struct Checkpoints {
    storage: Rc<dyn Storage>,
    dir: PathBuf,
    names: Cell<u64>,
}

impl Checkpoints {
    /// The checkpoints in `dir`, which need not exist yet.
    pub fn new(storage: Rc<dyn Storage>, dir: impl Into<PathBuf>) -> Self {
        Self { storage, dir: dir.into(), names: Cell::new(0) }
    }

    /// Makes the folder if there is none, and removes what a killed process left half-written or half-deleted. To be
    /// called by the one process that trains in this run folder.
    ///
    /// # Errors
    /// [`Error::Io`] where the folder cannot be made, listed or cleared.
    pub fn prepare(&self) -> Result<()> {
        let failed = |e| Error::io(&self.dir, "cannot prepare the folder of checkpoints", e);
        if !self.storage.exists(&self.dir).map_err(failed)? {
            self.storage.create_dir(&self.dir).map_err(failed)?;
            if let Some(parent) = self.dir.parent() {
                self.storage.sync_dir(parent).map_err(failed)?;
            }
        }
        for name in self.storage.list(&self.dir).map_err(failed)? {
            let path = self.dir.join(&name);
            let leftover = name.starts_with(".tmp-") || name.starts_with(".trash-");
            // The hint's leftover is a file, the others are folders.
            if leftover && self.storage.remove_file(&path).is_err() {
                remove_tree(&*self.storage, &path).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The steps of which there is a folder, ascending, without a look inside.
    ///
    /// # Errors
    /// [`Error::Io`] where the folder is there and cannot be listed.
    pub fn steps(&self) -> Result<Vec<u64>> {
        let failed = |e| Error::io(&self.dir, "cannot list the checkpoints", e);
        if !self.storage.exists(&self.dir).map_err(failed)? {
            return Ok(Vec::new());
        }
        let names = self.storage.list(&self.dir).map_err(failed)?;
        let mut steps: Vec<u64> =
            names.iter().filter_map(|name| step_of(name)).filter(|&step| names.contains(&name_of(step))).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// The folder of a step's checkpoint.
    pub fn path(&self, step: u64) -> PathBuf {
        self.dir.join(name_of(step))
    }
}

fn name_of(step: u64) -> String {
    format!("step-{step:08}")
}

fn step_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("step-")?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}
