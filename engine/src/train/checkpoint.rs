//! Checkpoints: a folder each, written so that at every moment the newest whole one can be found.
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
//! Writing: every file into `.tmp-STEP-PID-N/`, each one synced; [`manifest.json`](super::manifest) last; the folder synced;
//! the folder renamed to `step-STEP`; the folder above synced. A reader takes the newest `step-` folder whose manifest,
//! lengths, checksums and tensors are in order, and says which ones it had to pass over. Deleting: rename to `.trash-`, then
//! unlink, so that a half-deleted checkpoint never has a checkpoint's name. Leftovers of both kinds are removed when a run
//! starts, under the run folder's lock.
//!
//! A write, sync or rename that fails ends the attempt; what was written is removed, nothing is synced twice, and the next
//! attempt has a new name. The earlier checkpoints are not touched before the new one is durable.

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::de::DeserializeOwned;

use crate::{Error, Result};

use super::manifest::{CHUNK, Checksums, FORMAT, MANIFEST, MANIFEST_LIMIT, Manifest};
use super::state::{Best, TrainerState};
use super::storage::{Storage, StorageFile, remove_tree, replace_file};
use super::tensors::{self, Checked, Refusal, TensorRef, TensorSpec};

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
    /// Whether a state is this run's; called before any tensor is looked at.
    pub accept: &'a dyn Fn(&TrainerState) -> Result<()>,
}

/// A checkpoint that was read and found in order; nothing of the model is changed before [`Loaded::copy_weights`].
pub struct Loaded {
    /// Counters and tallies.
    pub state: TrainerState,
    /// Newer checkpoints that were passed over, and why.
    pub passed_over: Vec<PassedOver>,
    weights: Checked,
    optimizer: Checked,
    carry: Checked,
}

/// The parameters of a checkpoint.
pub struct Weights {
    /// Counters and tallies of the run that trained them.
    pub state: TrainerState,
    weights: Checked,
}

impl Weights {
    /// Copies the parameter `name`. Panics if it is not among those that were asked for.
    #[track_caller]
    pub fn copy(&self, name: &str, out: &mut [f32]) {
        self.weights.copy(name, out);
    }
}

/// A checkpoint that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Its folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

impl Loaded {
    /// Copies the parameter `name`.
    pub fn copy_weights(&self, name: &str, out: &mut [f32]) {
        self.weights.copy(name, out);
    }
    /// Copies the optimiser's slot `name`.
    pub fn copy_optimizer(&self, name: &str, out: &mut [f32]) {
        self.optimizer.copy(name, out);
    }
    /// Copies the carried tensor `name`.
    pub fn copy_carry(&self, name: &str, out: &mut [f32]) {
        self.carry.copy(name, out);
    }
}

/// The folder `checkpoints` of a run.
pub struct Checkpoints {
    storage: Rc<dyn Storage>,
    dir: PathBuf,
    names: Cell<u64>,
}

/// Why one checkpoint was not loaded.
enum Problem {
    /// Damaged or unreadable: the one before may do.
    PassOver(String),
    /// Whole, but not this run's: no older one would be either.
    Stop(Error),
}

impl Checkpoints {
    /// The checkpoints in `dir`, which need not exist yet.
    pub fn new(storage: Rc<dyn Storage>, dir: impl Into<PathBuf>) -> Self {
        Self { storage, dir: dir.into(), names: Cell::new(0) }
    }

    /// Makes the folder if there is none, and removes what a killed process left half-written or half-deleted. To be
    /// called by the one process that trains in this run folder.
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
            if name == format!(".tmp-{BEST}") {
                self.storage.remove_file(&path).map_err(failed)?;
            } else if name.starts_with(".tmp-") || name.starts_with(".trash-") {
                remove_tree(&*self.storage, &path).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The steps of which there is a folder, ascending, without a look inside.
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

    // ---- writing

    /// Writes a checkpoint. When this returns, it is durable; when it fails, the earlier ones are as they were.
    pub fn save(&self, snapshot: &Snapshot) -> Result<PathBuf> {
        let step = snapshot.state.step;
        let temporary = self.dir.join(self.unique(".tmp", step));
        match self.save_as(snapshot, &temporary) {
            Ok(()) => Ok(self.path(step)),
            Err(e) => {
                // To make room on a full disk. If this fails too, the next start of the run removes it.
                let _ = remove_tree(&*self.storage, &temporary);
                Err(Error::io(self.path(step), "cannot save the checkpoint", e))
            }
        }
    }

    fn save_as(&self, snapshot: &Snapshot, temporary: &Path) -> io::Result<()> {
        let storage = &*self.storage;
        self.check_room(snapshot)?;
        storage.create_dir(temporary)?;
        let mut manifest = Manifest { format: FORMAT, step: snapshot.state.step, chunk: CHUNK, files: Vec::new() };
        for (name, tensors) in [(WEIGHTS, snapshot.weights), (OPTIMIZER, snapshot.optimizer), (CARRY, snapshot.carry)] {
            let mut file = Written::create(storage, &temporary.join(name))?;
            tensors::write(tensors, |piece| file.write(piece))?;
            manifest.files.push(file.finish()?.entry(name));
        }
        let mut file = Written::create(storage, &temporary.join(STATE))?;
        file.write(&serde_json::to_vec_pretty(snapshot.state)?)?;
        manifest.files.push(file.finish()?.entry(STATE));

        let mut file = Written::create(storage, &temporary.join(MANIFEST))?;
        file.write(&manifest.encode()?)?;
        file.finish()?;
        storage.sync_dir(temporary)?;

        let path = self.path(snapshot.state.step);
        let trash = self.dir.join(self.unique(".trash", snapshot.state.step));
        let replaced = storage.exists(&path)?;
        if replaced {
            // A damaged one that the run was resumed before, or one whose last sync failed.
            storage.rename(&path, &trash)?;
        }
        storage.rename(temporary, &path)?;
        storage.sync_dir(&self.dir)?;
        if replaced {
            // The new one is durable; what remains of the old one is removed at the next start at the latest.
            let _ = remove_tree(storage, &trash);
        }
        Ok(())
    }

    /// Refuses to start what cannot fit, before bytes are written that other programs may need.
    fn check_room(&self, snapshot: &Snapshot) -> io::Result<()> {
        let tensors = [snapshot.weights, snapshot.optimizer, snapshot.carry];
        let needed: u64 = tensors.iter().flat_map(|t| t.iter()).map(|t| t.data.len() as u64 * 4).sum();
        match self.storage.available(&self.dir)? {
            Some(free) if free < needed => Err(io::Error::new(
                io::ErrorKind::StorageFull,
                format!("it needs {needed} bytes and the disk has {free} free"),
            )),
            _ => Ok(()),
        }
    }

    /// A name that this process has not used before and, as leftovers are removed, nobody else.
    fn unique(&self, prefix: &str, step: u64) -> String {
        let n = self.names.replace(self.names.get() + 1);
        format!("{prefix}-{step:08}-{}-{n}", std::process::id())
    }

    /// Records which checkpoint is the best.
    pub fn set_best(&self, best: Best) -> Result<()> {
        let path = self.dir.join(BEST);
        let contents = serde_json::to_vec(&best).map_err(io::Error::other);
        contents
            .and_then(|contents| replace_file(&*self.storage, &path, &contents))
            .map_err(|e| Error::io(path, "cannot record the best checkpoint", e))
    }

    /// Deletes all checkpoints before the last [`KEEP`], except that of step `best`. Those after `newest` (damaged ones, which
    /// the run has not yet reached again) neither count nor are deleted.
    pub fn prune(&self, newest: u64, best: Option<u64>) -> Result<()> {
        let mut steps = self.steps()?;
        steps.retain(|&step| step <= newest);
        let old = steps.len().saturating_sub(KEEP);
        for &step in steps[..old].iter().filter(|&&step| Some(step) != best) {
            let trash = self.dir.join(self.unique(".trash", step));
            self.storage
                .rename(&self.path(step), &trash)
                .and_then(|()| remove_tree(&*self.storage, &trash))
                .map_err(|e| Error::io(self.path(step), "cannot delete the old checkpoint", e))?;
        }
        Ok(())
    }

    // ---- reading

    /// The newest checkpoint that is in order; `None` if there is no checkpoint at all. Fails if there are some and none is
    /// in order, and if the newest whole one does not have the expected tensors.
    pub fn load_newest(&self, expected: &Expected) -> Result<Option<Loaded>> {
        let mut passed_over = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            match self.load(step, expected) {
                Ok(mut loaded) => {
                    loaded.passed_over = passed_over;
                    return Ok(Some(loaded));
                }
                Err(Problem::PassOver(reason)) => passed_over.push(PassedOver { path: self.path(step), reason }),
                Err(Problem::Stop(error)) => return Err(error),
            }
        }
        match passed_over.first() {
            None => Ok(None),
            Some(newest) => Err(none_in_order(newest, passed_over.len())),
        }
    }

    /// The state of the newest checkpoint in order, and those passed over; `None` if there is no checkpoint at all.
    /// Tensors are not looked at beyond their checksums.
    pub fn newest_state(&self) -> Result<Option<(TrainerState, Vec<PassedOver>)>> {
        let mut passed_over = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            match self.verify(step) {
                Ok(state) => return Ok(Some((state, passed_over))),
                Err(reason) => passed_over.push(PassedOver { path: self.path(step), reason }),
            }
        }
        match passed_over.first() {
            None => Ok(None),
            Some(newest) => Err(none_in_order(newest, passed_over.len())),
        }
    }

    /// The step of the best checkpoint, if it is recorded, still there, and was the best when it was saved.
    pub fn best(&self) -> Option<u64> {
        let bytes = self.storage.read(&self.dir.join(BEST), 4096).ok()?;
        let best: Best = serde_json::from_slice(&bytes).ok()?;
        let manifest = self.manifest(best.step).ok()?;
        let state = self.state(best.step, &manifest).ok()?;
        (state.best?.step == best.step).then_some(best.step)
    }

    fn load(&self, step: u64, expected: &Expected) -> std::result::Result<Loaded, Problem> {
        let manifest = self.manifest(step).map_err(Problem::PassOver)?;
        let state = self.state(step, &manifest).map_err(Problem::PassOver)?;
        (expected.accept)(&state).map_err(Problem::Stop)?;
        let tensors = |name, specs| self.tensors(step, &manifest, name, specs);
        Ok(Loaded {
            state,
            passed_over: Vec::new(),
            weights: tensors(WEIGHTS, expected.weights)?,
            optimizer: tensors(OPTIMIZER, expected.optimizer)?,
            carry: tensors(CARRY, expected.carry)?,
        })
    }

    fn verify(&self, step: u64) -> std::result::Result<TrainerState, String> {
        let manifest = self.manifest(step)?;
        for file in &manifest.files {
            self.contents(step, &manifest, &file.name, u64::MAX)?;
        }
        self.state(step, &manifest)
    }

    fn manifest(&self, step: u64) -> std::result::Result<Manifest, String> {
        let bytes = self
            .storage
            .read(&self.path(step).join(MANIFEST), MANIFEST_LIMIT)
            .map_err(|e| format!("{MANIFEST} cannot be read: {e}"))?;
        let manifest = Manifest::decode(&bytes)?;
        if manifest.step != step {
            return Err(format!("it is the checkpoint of step {}, moved here", manifest.step));
        }
        Ok(manifest)
    }

    fn state(&self, step: u64, manifest: &Manifest) -> std::result::Result<TrainerState, String> {
        let state: TrainerState = parse(STATE, &self.contents(step, manifest, STATE, STATE_LIMIT)?)?;
        if state.step != step {
            return Err(format!("{STATE} is that of step {}", state.step));
        }
        Ok(state)
    }

    /// A file of a checkpoint, of the length and with the checksums that the manifest says.
    fn contents(&self, step: u64, manifest: &Manifest, name: &str, limit: u64) -> std::result::Result<Vec<u8>, String> {
        let entry = manifest.file(name).ok_or_else(|| format!("{name} is not in the manifest"))?;
        let path = self.path(step).join(name);
        let cannot = |e: io::Error| format!("{name} cannot be read: {e}");
        if entry.bytes > limit {
            return Err(format!("{name} has {} bytes where at most {limit} are expected", entry.bytes));
        }
        let found = self.storage.file_len(&path).map_err(cannot)?;
        if found != entry.bytes {
            return Err(format!("{name} has {found} bytes instead of {}", entry.bytes));
        }
        let contents = self.storage.read(&path, entry.bytes).map_err(cannot)?;
        entry.verify(&contents)?;
        Ok(contents)
    }

    fn tensors(
        &self,
        step: u64,
        manifest: &Manifest,
        name: &str,
        specs: &[TensorSpec],
    ) -> std::result::Result<Checked, Problem> {
        let limit = tensors::size_limit(specs);
        match manifest.file(name) {
            Some(entry) if entry.bytes > limit => {
                let what = format!("{name} has {} bytes, and the model's tensors at most {limit}", entry.bytes);
                return Err(Problem::Stop(foreign(&self.path(step), what)));
            }
            _ => {}
        }
        let bytes = self.contents(step, manifest, name, limit).map_err(Problem::PassOver)?;
        Checked::new(name, bytes, specs).map_err(|refusal| match refusal {
            Refusal::Damaged(reason) => Problem::PassOver(reason),
            Refusal::Foreign(what) => Problem::Stop(foreign(&self.path(step), what)),
        })
    }

    /// Reads only the parameters of the checkpoint of `step`, for generation and evaluation.
    pub fn load_weights(&self, step: u64, specs: &[TensorSpec]) -> Result<Weights> {
        let path = self.path(step);
        let damaged = |reason: String| {
            Error::input(&path, reason).mend("name another checkpoint of the run, or restore this one from a copy")
        };
        let manifest = self.manifest(step).map_err(damaged)?;
        let state = self.state(step, &manifest).map_err(damaged)?;
        let weights = self.tensors(step, &manifest, WEIGHTS, specs).map_err(|problem| match problem {
            Problem::PassOver(reason) => damaged(reason),
            Problem::Stop(error) => error,
        })?;
        Ok(Weights { state, weights })
    }
}

fn none_in_order(newest: &PassedOver, count: usize) -> Error {
    let what = match count {
        1 => format!("the only checkpoint is damaged: {}", newest.reason),
        n => format!("all {n} checkpoints are damaged; the newest: {}", newest.reason),
    };
    Error::input(&newest.path, what).mend("restore one from a copy, or train anew in another folder")
}

fn foreign(path: &Path, what: String) -> Error {
    Error::input(path, what)
        .mend("use the configuration that the checkpoint was trained with: it lies in its run folder")
}

fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> std::result::Result<T, String> {
    serde_json::from_slice(bytes).map_err(|e| format!("{name} does not parse: {e}"))
}

fn name_of(step: u64) -> String {
    format!("step-{step:08}")
}

fn step_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("step-")?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// A file with the checksums of what was written to it.
struct Written {
    file: Box<dyn StorageFile>,
    sums: Checksums,
}

impl Written {
    fn create(storage: &dyn Storage, path: &Path) -> io::Result<Self> {
        Ok(Self { file: storage.create_new(path)?, sums: Checksums::default() })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.sums.update(bytes);
        Ok(())
    }

    fn finish(mut self) -> io::Result<Checksums> {
        self.file.sync()?;
        Ok(self.sums)
    }
}
