//! Reading checkpoints: nothing is believed before it is checked.

use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::{Error, Result};

use super::super::manifest::{MANIFEST, MANIFEST_LIMIT, Manifest};
use super::super::state::{Best, Identity, TrainerState};
use super::super::tensors::{self, Checked, Pieces, Refusal, TensorSpec};
use super::contents::Contents;
use super::{
    BEST, CARRY, Checkpoints, Expected, Loaded, OPTIMIZER, STATE, STATE_LIMIT, UnusableCheckpoint, WEIGHTS, Weights,
};

/// Why one checkpoint was not loaded.
enum Problem {
    /// Damaged or unreadable: the one before may do.
    PassOver(String),
    /// Whole, but not this run's: no older one would be either.
    Stop(Error),
}

impl Checkpoints {
    /// The newest checkpoint that is in order; `None` if there is no checkpoint at all. Fails if there are some and
    /// none is in order, and if the newest whole one does not have the expected tensors.
    ///
    /// # Errors
    /// [`Error::Input`] where there are checkpoints and none is in order, or where the newest whole one is another
    /// model's; [`Error::Io`] where they cannot be listed.
    pub fn load_newest(&self, expected: &Expected) -> Result<Option<Loaded>> {
        let mut passed_over = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            match self.load(step, expected) {
                Ok(mut loaded) => {
                    loaded.passed_over = passed_over;
                    return Ok(Some(loaded));
                }
                Err(Problem::PassOver(reason)) => {
                    passed_over.push(UnusableCheckpoint { path: self.path(step), reason });
                }
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
    ///
    /// # Errors
    /// [`Error::Input`] where there are checkpoints and none is in order; [`Error::Io`] where they cannot be listed.
    pub fn newest_state(&self) -> Result<Option<(TrainerState, Vec<UnusableCheckpoint>)>> {
        let mut passed_over = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            match self.verify(step) {
                Ok(state) => return Ok(Some((state, passed_over))),
                Err(reason) => passed_over.push(UnusableCheckpoint { path: self.path(step), reason }),
            }
        }
        match passed_over.first() {
            None => Ok(None),
            Some(newest) => Err(none_in_order(newest, passed_over.len())),
        }
    }

    /// What must not differ between the run that saved its newest checkpoint and whoever goes on with it, if any can be
    /// read. Tensors are not looked at.
    ///
    /// # Errors
    /// [`Error::Io`] where the checkpoints cannot be listed.
    pub fn newest_identity(&self) -> Result<Option<Identity>> {
        let state = |step| self.manifest(step).and_then(|manifest| self.state(step, &manifest));
        Ok(self.steps()?.into_iter().rev().find_map(|step| state(step).ok()).map(|state| state.identity))
    }

    /// The state of a run that has weights and has not begun to learn from a text: one whose only checkpoint was made
    /// by [`Self::save_weights`].
    ///
    /// # Errors
    /// As [`Self::newest_state`].
    pub fn before_training(&self) -> Result<Option<TrainerState>> {
        if self.steps()? != [0] {
            return Ok(None);
        }
        let state = self.newest_state()?.map(|(state, _)| state);
        Ok(state.filter(|state| state.identity.corpus.is_empty()))
    }

    /// The step of the best checkpoint, if it is recorded, still there, and was the best when it was saved.
    pub fn best(&self) -> Option<u64> {
        let step = self.step_of_hint()?;
        let manifest = self.manifest(step).ok()?;
        let state = self.state(step, &manifest).ok()?;
        (state.best?.step == step).then_some(step)
    }

    /// The same for one whose parameters are to be used: if it is there and damaged, what is wrong with it.
    pub fn recorded_best(&self) -> Option<std::result::Result<u64, UnusableCheckpoint>> {
        let step = self.step_of_hint()?;
        self.steps().ok().filter(|steps| steps.contains(&step))?;
        let weights = |manifest| self.contents(step, &manifest, WEIGHTS, u64::MAX)?.verify();
        match self.manifest(step).and_then(weights) {
            Ok(_) => self.best().map(Ok),
            Err(reason) => Some(Err(UnusableCheckpoint { path: self.path(step), reason })),
        }
    }

    /// The step that the hint names.
    fn step_of_hint(&self) -> Option<u64> {
        let bytes = self.storage.read(&self.dir.join(BEST), 4096).ok()?;
        serde_json::from_slice::<Best>(&bytes).ok().map(|best| best.step)
    }

    fn load(&self, step: u64, expected: &Expected) -> std::result::Result<Loaded, Problem> {
        let manifest = self.manifest(step).map_err(Problem::PassOver)?;
        let state = self.state(step, &manifest).map_err(Problem::PassOver)?;
        (expected.accept)(&state).map_err(Problem::Stop)?;
        let tensors = |name, specs| self.tensors(step, &manifest, name, specs);
        Ok(Loaded {
            state,
            passed_over: Vec::new(),
            path: self.path(step),
            weights: tensors(WEIGHTS, expected.weights)?,
            optimizer: tensors(OPTIMIZER, expected.optimizer)?,
            carry: tensors(CARRY, expected.carry)?,
        })
    }

    fn verify(&self, step: u64) -> std::result::Result<TrainerState, String> {
        let manifest = self.manifest(step)?;
        for file in &manifest.files {
            self.contents(step, &manifest, &file.name, u64::MAX)?.verify()?;
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
        let contents = self.contents(step, manifest, STATE, STATE_LIMIT)?;
        let mut bytes = vec![0; contents.len() as usize];
        contents.read(0, &mut bytes)?;
        let state: TrainerState = parse(STATE, &bytes)?;
        if state.step != step {
            return Err(format!("{STATE} is that of step {}", state.step));
        }
        Ok(state)
    }

    /// A file of a checkpoint, of the length that the manifest says.
    fn contents(
        &self,
        step: u64,
        manifest: &Manifest,
        name: &str,
        limit: u64,
    ) -> std::result::Result<Contents, String> {
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
        Ok(Contents::new(entry, self.storage.open(&path).map_err(cannot)?))
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
        let contents = self.contents(step, manifest, name, limit).map_err(Problem::PassOver)?;
        Checked::new(name, Box::new(contents), specs).map_err(|refusal| match refusal {
            Refusal::Damaged(reason) => Problem::PassOver(reason),
            Refusal::Foreign(what) => Problem::Stop(foreign(&self.path(step), what)),
        })
    }

    /// Reads only the parameters of the checkpoint of `step`, for generation and evaluation.
    ///
    /// # Errors
    /// [`Error::Input`] where the checkpoint is missing or damaged, or has other tensors than `specs`.
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
        Ok(Weights { state, path, weights })
    }
}

fn none_in_order(newest: &UnusableCheckpoint, count: usize) -> Error {
    let what = match count {
        1 => format!("the only checkpoint is damaged: {}", newest.reason),
        n => format!("all {n} checkpoints are damaged; the newest: {}", newest.reason),
    };
    Error::input(&newest.path, what).mend("restore one from a copy, or train again in another folder")
}

fn foreign(path: &Path, what: String) -> Error {
    Error::input(path, what)
        .mend("use the configuration that the checkpoint was trained with: it lies in its run folder")
}

fn parse<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> std::result::Result<T, String> {
    serde_json::from_slice(bytes).map_err(|e| format!("{name} does not parse: {e}"))
}
