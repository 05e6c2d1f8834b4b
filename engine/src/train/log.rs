//! A file that grows by whole records, and whose length a checkpoint records.
//!
//! Records reach the file at once, so that others can watch it, and the disk with [`Log::sync`], which every checkpoint
//! calls before it is written. What was not synced yet is also kept in memory: after a failed write or sync, the file
//! is not trusted any more, and the next sync writes a new one (the synced beginning of the old one, then what is in
//! memory) and renames it over.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::storage::{Storage, StorageFile};

/// An append-only file of records.
pub(crate) struct Log {
    storage: Rc<dyn Storage>,
    path: PathBuf,
    /// `None` after a failure.
    file: Option<Box<dyn StorageFile>>,
    /// Bytes that are known to be on the disk.
    synced: u64,
    /// What comes after them.
    tail: Vec<u8>,
    /// Whether the file's name is durable.
    named: bool,
    attempts: u64,
}

impl Log {
    /// Opens the file and cuts it to the `len` bytes that a checkpoint recorded, or makes it. A file that is shorter is
    /// taken as it is; the caller compares [`Self::len`].
    pub(crate) fn open(storage: Rc<dyn Storage>, path: &Path, len: u64) -> io::Result<Self> {
        let (file, synced, named) = if storage.exists(path)? {
            let len = len.min(storage.file_len(path)?);
            (storage.append(path, len)?, len, true)
        } else {
            (storage.create_new(path)?, 0, false)
        };
        Ok(Self { storage, path: path.into(), file: Some(file), synced, tail: Vec::new(), named, attempts: 0 })
    }

    /// Bytes of all records.
    pub(crate) fn len(&self) -> u64 {
        self.synced + self.tail.len() as u64
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a record. A failure to write it shows at the next sync.
    pub(crate) fn append(&mut self, record: &[u8]) {
        self.tail.extend_from_slice(record);
        if let Some(file) = &mut self.file
            && file.write_all(record).is_err()
        {
            self.file = None;
        }
    }

    /// Makes all records durable. After a failure they are kept, and the next call tries with a new file.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            return self.replace();
        }
        let synced = self.sync_file();
        if synced.is_err() {
            self.file = None;
        }
        synced
    }

    fn sync_file(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotConnected.into()) };
        if !self.tail.is_empty() {
            file.sync()?;
        }
        if !self.named {
            self.sync_folder()?;
        }
        self.done();
        Ok(())
    }

    fn done(&mut self) {
        self.synced += self.tail.len() as u64;
        self.tail.clear();
        self.named = true;
    }

    fn sync_folder(&self) -> io::Result<()> {
        match self.path.parent() {
            Some(dir) => self.storage.sync_dir(dir),
            None => Ok(()),
        }
    }

    /// Writes the whole file anew under another name and renames it.
    fn replace(&mut self) -> io::Result<()> {
        let name = self.path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
        let temporary = self.path.with_file_name(format!(".tmp-{name}-{}-{}", std::process::id(), self.attempts));
        self.attempts += 1;
        let result = self.replace_through(&temporary);
        if result.is_err() {
            // To make room on a full disk; the next start of the run removes what remains.
            let _ = self.storage.remove_file(&temporary);
        }
        result
    }

    fn replace_through(&mut self, temporary: &Path) -> io::Result<()> {
        let mut contents = match self.synced {
            0 => Vec::new(),
            _ => self.storage.read(&self.path, u64::MAX)?,
        };
        let synced = usize::try_from(self.synced).map_err(io::Error::other)?;
        if contents.len() < synced {
            return Err(io::Error::other(format!("{} bytes of it are gone", synced - contents.len())));
        }
        contents.truncate(synced);
        contents.extend_from_slice(&self.tail);
        let mut file = self.storage.create_new(temporary)?;
        file.write_all(&contents)?;
        file.sync()?;
        self.storage.rename(temporary, &self.path)?;
        self.sync_folder()?;
        self.file = Some(file);
        self.done();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::storage::simulated::{Fault, Loss, Simulated};
    use super::*;
    use io::ErrorKind::{Other, StorageFull};

    const PATH: &str = "metrics";

    /// Three records with two syncs between, which are repeated until they succeed.
    fn write(disk: &Simulated) -> io::Result<()> {
        let mut log = Log::open(Rc::new(disk.clone()), Path::new(PATH), 0)?;
        for record in [&b"one\n"[..], b"two\n", b"three\n"] {
            log.append(record);
            for attempt in 0.. {
                match log.sync() {
                    Ok(()) => break,
                    Err(e) if attempt == 3 => return Err(e),
                    Err(_) => {}
                }
            }
            let synced = disk.after_power_loss(Loss::Everything).contents(Path::new(PATH));
            assert_eq!(synced.map_or(0, |c| c.len() as u64), log.len(), "what was synced survives a power loss");
        }
        Ok(())
    }

    #[test]
    fn one_failed_call_loses_nothing() {
        let disk = Simulated::new();
        write(&disk).unwrap();
        let calls = disk.calls();
        assert!(calls > 6);
        for n in 2..calls + 8 {
            for fault in [Fault::Fail(n, Other), Fault::Fail(n, StorageFull), Fault::Short(n)] {
                let disk = Simulated::new();
                disk.set_fault(fault);
                write(&disk).unwrap_or_else(|e| panic!("{fault:?}: {e}"));
                let image = disk.after_power_loss(Loss::Everything);
                assert_eq!(image.contents(Path::new(PATH)).unwrap(), b"one\ntwo\nthree\n", "{fault:?}");
            }
        }
    }

    #[test]
    fn opening_cuts_to_the_recorded_length() {
        let disk = Simulated::new();
        write(&disk).unwrap();
        let mut log = Log::open(Rc::new(disk.clone()), Path::new(PATH), 8).unwrap();
        log.append(b"3\n");
        log.sync().unwrap();
        assert_eq!(disk.contents(Path::new(PATH)).unwrap(), b"one\ntwo\n3\n");
        let log = Log::open(Rc::new(disk.clone()), Path::new(PATH), 1000).unwrap();
        assert_eq!(log.len(), 10);
    }
}
