//! Writing checkpoints, and deleting old ones.

use std::io;
use std::path::{Path, PathBuf};

use crate::graph::HeadLayouts;
use crate::{Error, Result};

use super::super::manifest::{CHUNK, Checksums, FORMAT, MANIFEST, Manifest};
use super::super::state::{Best, Identity, TrainerState};
use super::super::storage::{Storage, StorageFile, remove_tree, replace_file};
use super::super::tensors::{self, TensorRef};
use super::{BEST, CARRY, Checkpoints, KEEP, OPTIMIZER, STATE, Snapshot, WEIGHTS};

impl Checkpoints {
    /// Writes a checkpoint. When this returns, it is durable; when it fails, the earlier ones are as they were.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be written, as on a full disk.
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

    /// Writes the first checkpoint of a run from the parameters of a model, the hash of its vocabulary and how its
    /// heads lie: what was not trained here has no text, no optimiser and no carried state.
    ///
    /// # Errors
    /// As [`Self::save`].
    pub fn save_weights(&self, weights: &[TensorRef], vocabulary: u64, heads: HeadLayouts) -> Result<PathBuf> {
        let state = TrainerState {
            writer: concat!("unroll ", env!("CARGO_PKG_VERSION")).into(),
            identity: Identity { vocabulary: format!("{vocabulary:016x}"), heads, ..Identity::default() },
            ..TrainerState::default()
        };
        self.save(&Snapshot { state: &state, weights, optimizer: &[], carry: &[] })
    }

    fn save_as(&self, snapshot: &Snapshot, temporary: &Path) -> io::Result<()> {
        let storage = &*self.storage;
        self.check_room(snapshot)?;
        storage.create_dir(temporary)?;
        let mut manifest = Manifest { format: FORMAT, step: snapshot.state.step, chunk: CHUNK, files: Vec::new() };
        let (heads, none) = (&snapshot.state.identity.heads, &HeadLayouts::default());
        for (name, tensors, heads) in
            [(WEIGHTS, snapshot.weights, heads), (OPTIMIZER, snapshot.optimizer, none), (CARRY, snapshot.carry, none)]
        {
            let mut file = Written::create(storage, &temporary.join(name))?;
            tensors::write(tensors, heads, |piece| file.write(piece))?;
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
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be written; what was recorded before is then kept.
    pub fn set_best(&self, best: Best) -> Result<()> {
        let path = self.dir.join(BEST);
        let contents = serde_json::to_vec(&best).map_err(io::Error::other);
        contents
            .and_then(|contents| replace_file(&*self.storage, &path, &contents))
            .map_err(|e| Error::io(path, "cannot record the best checkpoint", e))
    }

    /// Deletes all checkpoints before the last [`KEEP`], except that of step `best`. Those after `newest` (damaged
    /// ones, which the run has not yet reached again) neither count nor are deleted.
    ///
    /// # Errors
    /// [`Error::Io`] where the checkpoints cannot be listed or deleted.
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
