//! The file system as checkpoints see it: a few calls, each of which a test can make fail.
//!
//! [`Disk`] is the real one. The tests have a simulated disk, which can fail at any chosen call, run full, be killed,
//! or lose power and with it everything that was not synced.
//!
//! The durability rules that callers rely on (Pillai et al., "All file systems are not created equal", OSDI
//! 2014; Rebello et al., "Can applications recover from fsync failures?", ATC 2020):
//!
//! * The bytes of a file survive a power loss only after [`StorageFile::sync`]; its name, and the effect of a
//!   [`Storage::rename`], only after [`Storage::sync_dir`] of the folder that holds it.
//! * After a failed sync the data may be lost *and forgotten*: a second sync of the same file may succeed without
//!   having written it. So a file whose sync failed is abandoned, and its contents are written again to a new one.

mod disk;
mod paced;
#[cfg(test)]
pub(crate) mod simulated;

pub use disk::Disk;
pub use paced::Paced;

use std::any::Any;
use std::io;
use std::path::{Path, PathBuf};

/// The calls that the run folder and its checkpoints make. Paths are as the caller gives them.
pub trait Storage {
    /// Makes one folder; its parent must exist.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes a file that does not exist yet, for writing.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;

    /// Opens an existing file to write at its end, which is first cut to `len` bytes.
    fn append(&self, path: &Path, len: u64) -> io::Result<Box<dyn StorageFile>>;

    /// The whole file. A file of more than `limit` bytes is refused (`InvalidData`) before anything is allocated.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;

    /// Opens an existing file to read pieces of it.
    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageReader>>;

    /// The length of a file in bytes.
    fn file_len(&self, path: &Path) -> io::Result<u64>;

    /// The names in a folder, in ascending order. Names that are not UTF-8 are left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Whether something of this name exists.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// The file that a name stands for: behind symbolic links their target, which need not be there.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;

    /// Renames a file (replacing another) or a folder (whose new name must be free).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Free bytes where `path` lies, or `None` where the system does not say.
    fn available(&self, path: &Path) -> io::Result<Option<u64>>;

    /// Takes a lock on a file (made if needed) that ends with the returned value or the process. `None`: another
    /// process holds it.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any>>>;
}

/// A file that is read piece by piece.
pub trait StorageReader {
    /// Reads the bytes from `start` on into `out`; fewer are an error.
    fn read_exact_at(&mut self, start: u64, out: &mut [u8]) -> io::Result<()>;
}

/// A file that is being written.
pub trait StorageFile {
    /// Writes some of the bytes and says how many, as [`io::Write::write`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Makes the contents durable. After a failure the file must not be used again.
    fn sync(&mut self) -> io::Result<()>;

    /// Writes all of the bytes.
    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Removes a folder with the files and folders in it.
pub(crate) fn remove_tree(storage: &dyn Storage, dir: &Path) -> io::Result<()> {
    for name in storage.list(dir)? {
        let path = dir.join(name);
        // What is not a file is taken for a folder: its failure to be listed is then the error.
        if storage.remove_file(&path).is_err() {
            remove_tree(storage, &path)?;
        }
    }
    storage.remove_dir(dir)
}

/// Writes a small file of a run so that `path` holds either its earlier contents or all of the new ones, durably: a
/// sibling `.tmp-NAME`, sync, rename, sync of the folder.
///
/// # Errors
/// What the storage says; and `InvalidInput` of a path without a folder or a name.
pub fn replace_file(storage: &dyn Storage, path: &Path, contents: &[u8]) -> io::Result<()> {
    let path = &*storage.resolve(path)?;
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file to replace needs a folder and a name"));
    };
    let temporary = dir.join(format!(".tmp-{}", name.to_string_lossy()));
    if storage.exists(&temporary)? {
        storage.remove_file(&temporary)?;
    }
    let mut file = storage.create_new(&temporary)?;
    file.write_all(contents)?;
    file.sync()?;
    drop(file);
    storage.rename(&temporary, path)?;
    storage.sync_dir(dir)
}
