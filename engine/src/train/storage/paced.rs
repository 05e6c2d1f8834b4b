//! A storage that takes its time, so that a test can kill the process between any two calls.

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::{Storage, StorageFile, StorageReader};

/// Waits before every call that changes something. The command offers it as a hidden option; the time between a
/// checkpoint's first write and its rename, a few milliseconds otherwise, then is long enough to be hit by a kill.
pub struct Paced<S> {
    storage: S,
    pause: Duration,
}

struct PacedFile {
    file: Box<dyn StorageFile>,
    pause: Duration,
}

impl<S> Paced<S> {
    /// Waits `pause` before each change of `storage`.
    pub fn new(storage: S, pause: Duration) -> Self {
        Self { storage, pause }
    }

    fn slowly(&self) -> &S {
        sleep(self.pause);
        &self.storage
    }
}

impl<S: Storage> Storage for Paced<S> {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.slowly().create_dir(path)
    }
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(PacedFile { file: self.slowly().create_new(path)?, pause: self.pause }))
    }
    fn append(&self, path: &Path, len: u64) -> io::Result<Box<dyn StorageFile>> {
        Ok(Box::new(PacedFile { file: self.slowly().append(path, len)?, pause: self.pause }))
    }
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.storage.read(path, limit)
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageReader>> {
        self.storage.open(path)
    }
    fn file_len(&self, path: &Path) -> io::Result<u64> {
        self.storage.file_len(path)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.storage.list(dir)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.storage.exists(path)
    }
    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.storage.resolve(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.slowly().rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.slowly().remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.slowly().remove_dir(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.slowly().sync_dir(path)
    }
    fn available(&self, path: &Path) -> io::Result<Option<u64>> {
        self.storage.available(path)
    }
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any>>> {
        self.storage.try_lock(path)
    }
}

impl StorageFile for PacedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        sleep(self.pause);
        self.file.write(bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        sleep(self.pause);
        self.file.sync()
    }
}
