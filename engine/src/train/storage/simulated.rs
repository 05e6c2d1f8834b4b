//! A disk in memory that fails as it is told, and knows what a kill or a power loss would leave.
//!
//! Every call of [`Storage`] and [`StorageFile`] counts. A [`Fault`] says what happens at the n-th. Beside the present
//! contents each file remembers what was synced, and each folder which names were; [`Simulated::after_kill`] is the
//! disk that a killed process leaves, [`Simulated::after_power_loss`] the one that is found after the power was cut.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use super::{Storage, StorageFile, StorageReader};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Call `n` (from 0) fails with this kind of error; a write writes nothing, a sync forgets.
    Fail(u64, ErrorKind),
    /// Call `n` and every later one fail.
    FailFrom(u64, ErrorKind),
    /// A write at call `n` writes half of its bytes and says so; the next write fails with `StorageFull`.
    Short(u64),
    /// The process dies in call `n`: a write writes half, everything after fails.
    Kill(u64),
}

/// What a power loss leaves of things that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing: neither names nor bytes.
    Everything,
    /// All names, but only synced bytes: file systems that journal names alone do this.
    Bytes,
}

enum Node {
    File { data: Vec<u8>, synced: Vec<u8>, forgotten: usize },
    Dir { names: BTreeMap<String, usize>, synced: BTreeMap<String, usize> },
}

struct State {
    nodes: Vec<Node>,
    fault: Fault,
    calls: u64,
    full_next: bool,
    killed: bool,
    capacity: Option<u64>,
    locked: Rc<()>,
}

/// A disk in memory. Clones share it.
#[derive(Clone)]
pub(crate) struct Simulated(Rc<RefCell<State>>);

struct SimulatedFile {
    disk: Simulated,
    node: usize,
}

impl Simulated {
    /// An empty disk.
    pub(crate) fn new() -> Self {
        Self::with_nodes(vec![Node::Dir { names: BTreeMap::new(), synced: BTreeMap::new() }])
    }

    fn with_nodes(nodes: Vec<Node>) -> Self {
        let locked = Rc::new(());
        Self(Rc::new(RefCell::new(State {
            nodes,
            fault: Fault::None,
            calls: 0,
            full_next: false,
            killed: false,
            capacity: None,
            locked,
        })))
    }

    /// Sets what goes wrong, and counts calls from 0 again.
    pub(crate) fn set_fault(&self, fault: Fault) {
        let mut state = self.0.borrow_mut();
        state.fault = fault;
        state.calls = 0;
        state.full_next = false;
    }

    /// Lets the disk hold at most this many bytes of files.
    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        self.0.borrow_mut().capacity = bytes;
    }

    /// Calls since the fault was set.
    pub(crate) fn calls(&self) -> u64 {
        self.0.borrow().calls
    }

    /// Bytes of all files.
    pub(crate) fn used(&self) -> u64 {
        self.0.borrow().used()
    }

    /// The disk as a killed process leaves it.
    pub(crate) fn after_kill(&self) -> Self {
        self.image(|data, _| data.clone(), |names, _| names.clone())
    }

    /// The disk after the power was cut.
    pub(crate) fn after_power_loss(&self, loss: Loss) -> Self {
        match loss {
            Loss::Everything => self.image(|_, synced| synced.clone(), |_, synced| synced.clone()),
            Loss::Bytes => self.image(|_, synced| synced.clone(), |names, _| names.clone()),
        }
    }

    fn image(
        &self,
        bytes: impl Fn(&Vec<u8>, &Vec<u8>) -> Vec<u8>,
        entries: impl Fn(&BTreeMap<String, usize>, &BTreeMap<String, usize>) -> BTreeMap<String, usize>,
    ) -> Self {
        let state = self.0.borrow();
        let nodes = state.nodes.iter().map(|node| match node {
            Node::File { data, synced, .. } => {
                let data = bytes(data, synced);
                Node::File { synced: data.clone(), data, forgotten: 0 }
            }
            Node::Dir { names, synced } => {
                let names = entries(names, synced);
                Node::Dir { synced: names.clone(), names }
            }
        });
        Self::with_nodes(nodes.collect())
    }

    /// Overwrites a file's contents behind everybody's back: damage.
    pub(crate) fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.borrow_mut();
        let node = state.find(path).expect("the file to damage");
        match &mut state.nodes[node] {
            Node::File { data, synced, .. } => {
                change(data);
                synced.clone_from(data);
            }
            Node::Dir { .. } => panic!("{} is a folder", path.display()),
        }
    }

    /// The present contents of a file, without counting as a call.
    pub(crate) fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.0.borrow();
        match &state.nodes[state.find(path).ok()?] {
            Node::File { data, .. } => Some(data.clone()),
            Node::Dir { .. } => None,
        }
    }

    /// Counts a call, and fails it if that is its fate.
    fn call(&self) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        let n = state.calls;
        state.calls += 1;
        if state.killed {
            return Err(io::Error::other("the process is dead"));
        }
        match state.fault {
            Fault::Fail(at, kind) if n == at => Err(kind.into()),
            Fault::FailFrom(at, kind) if n >= at => Err(kind.into()),
            Fault::Kill(at) if n == at => {
                state.killed = true;
                Err(io::Error::other("killed"))
            }
            _ => Ok(()),
        }
    }
}

impl State {
    fn used(&self) -> u64 {
        // Files without a name still count until the image is taken; tests that watch the space allow for that.
        self.reachable(0)
    }

    fn reachable(&self, node: usize) -> u64 {
        match &self.nodes[node] {
            Node::File { data, .. } => data.len() as u64,
            Node::Dir { names, .. } => names.values().map(|&n| self.reachable(n)).sum(),
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut at = 0;
        for part in path.components() {
            let Component::Normal(name) = part else { continue };
            let Node::Dir { names, .. } = &self.nodes[at] else { return Err(ErrorKind::NotADirectory.into()) };
            at = *names.get(&*name.to_string_lossy()).ok_or(ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    fn names(&mut self, dir: usize) -> io::Result<&mut BTreeMap<String, usize>> {
        match &mut self.nodes[dir] {
            Node::Dir { names, .. } => Ok(names),
            Node::File { .. } => Err(ErrorKind::NotADirectory.into()),
        }
    }

    /// The folder that holds `path`, and its name there.
    fn parent(&self, path: &Path) -> io::Result<(usize, String)> {
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
        Ok((self.find(path.parent().unwrap_or(Path::new("")))?, name))
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        let (dir, name) = self.parent(path)?;
        if self.names(dir)?.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.nodes.push(node);
        let id = self.nodes.len() - 1;
        self.names(dir)?.insert(name, id);
        Ok(id)
    }
}

impl Storage for Simulated {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        let node = Node::Dir { names: BTreeMap::new(), synced: BTreeMap::new() };
        self.0.borrow_mut().add(path, node).map(|_| ())
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.call()?;
        let node = Node::File { data: Vec::new(), synced: Vec::new(), forgotten: 0 };
        let node = self.0.borrow_mut().add(path, node)?;
        Ok(Box::new(SimulatedFile { disk: self.clone(), node }))
    }

    fn append(&self, path: &Path, len: u64) -> io::Result<Box<dyn StorageFile>> {
        self.call()?;
        let mut state = self.0.borrow_mut();
        let node = state.find(path)?;
        match &mut state.nodes[node] {
            Node::File { data, .. } => data.resize(len as usize, 0),
            Node::Dir { .. } => return Err(ErrorKind::IsADirectory.into()),
        }
        Ok(Box::new(SimulatedFile { disk: self.clone(), node }))
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.call()?;
        let state = self.0.borrow();
        match &state.nodes[state.find(path)?] {
            Node::File { data, .. } if data.len() as u64 > limit => Err(ErrorKind::InvalidData.into()),
            Node::File { data, .. } => Ok(data.clone()),
            Node::Dir { .. } => Err(ErrorKind::IsADirectory.into()),
        }
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn StorageReader>> {
        self.call()?;
        let node = self.0.borrow().find(path)?;
        match &self.0.borrow().nodes[node] {
            Node::File { .. } => Ok(Box::new(SimulatedFile { disk: self.clone(), node })),
            Node::Dir { .. } => Err(ErrorKind::IsADirectory.into()),
        }
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        self.call()?;
        let state = self.0.borrow();
        match &state.nodes[state.find(path)?] {
            Node::File { data, .. } => Ok(data.len() as u64),
            Node::Dir { .. } => Ok(4096),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.call()?;
        let mut state = self.0.borrow_mut();
        let dir = state.find(dir)?;
        Ok(state.names(dir)?.keys().cloned().collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.call()?;
        Ok(self.0.borrow().find(path).is_ok())
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call()?;
        let mut state = self.0.borrow_mut();
        let node = state.find(from)?;
        if let Ok(existing) = state.find(to) {
            match (&state.nodes[node], &state.nodes[existing]) {
                (Node::File { .. }, Node::File { .. }) => {}
                _ => return Err(ErrorKind::DirectoryNotEmpty.into()),
            }
        }
        let ((old_dir, old), (new_dir, new)) = (state.parent(from)?, state.parent(to)?);
        state.names(old_dir)?.remove(&old);
        state.names(new_dir)?.insert(new, node);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        let mut state = self.0.borrow_mut();
        let node = state.find(path)?;
        if matches!(state.nodes[node], Node::Dir { .. }) {
            return Err(ErrorKind::IsADirectory.into());
        }
        let (dir, name) = state.parent(path)?;
        state.names(dir)?.remove(&name);
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        let mut state = self.0.borrow_mut();
        let node = state.find(path)?;
        if !state.names(node)?.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        let (dir, name) = state.parent(path)?;
        state.names(dir)?.remove(&name);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.call()?;
        let mut state = self.0.borrow_mut();
        let dir = state.find(path)?;
        match &mut state.nodes[dir] {
            Node::Dir { names, synced } => {
                synced.clone_from(names);
                Ok(())
            }
            Node::File { .. } => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn available(&self, _path: &Path) -> io::Result<Option<u64>> {
        self.call()?;
        let state = self.0.borrow();
        Ok(state.capacity.map(|capacity| capacity.saturating_sub(state.used())))
    }

    fn try_lock(&self, _path: &Path) -> io::Result<Option<Box<dyn Any>>> {
        self.call()?;
        let state = self.0.borrow();
        Ok((Rc::strong_count(&state.locked) == 1).then(|| Box::new(Rc::clone(&state.locked)) as Box<dyn Any>))
    }
}

impl StorageReader for SimulatedFile {
    fn read_exact_at(&mut self, start: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.call()?;
        let Node::File { data, .. } = &self.disk.0.borrow().nodes[self.node] else { unreachable!("opened as a file") };
        let start = (start as usize).min(data.len());
        let found = data[start..].get(..out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }
}

impl StorageFile for SimulatedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fate = self.disk.call();
        let mut state = self.disk.0.borrow_mut();
        if std::mem::take(&mut state.full_next) {
            return Err(ErrorKind::StorageFull.into());
        }
        let (calls, fault) = (state.calls - 1, state.fault);
        let mut take = bytes.len();
        match fault {
            Fault::Short(at) if calls == at => {
                take = take.div_ceil(2);
                state.full_next = true;
            }
            // The dying write reaches the disk in part.
            Fault::Kill(at) if calls == at => take /= 2,
            _ if fate.is_err() => take = 0,
            _ => {}
        }
        if let Some(capacity) = state.capacity {
            let room = capacity.saturating_sub(state.used());
            if room == 0 && take > 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            take = take.min(room as usize);
        }
        if let Node::File { data, .. } = &mut state.nodes[self.node] {
            data.extend_from_slice(&bytes[..take]);
        }
        fate.map(|()| take)
    }

    fn sync(&mut self) -> io::Result<()> {
        let fate = self.disk.call();
        let mut state = self.disk.0.borrow_mut();
        if let Node::File { data, synced, forgotten } = &mut state.nodes[self.node] {
            if fate.is_err() {
                // The system marks the pages clean: a later sync will not write them.
                *forgotten = data.len();
            } else {
                let lost = (*forgotten).min(data.len());
                if lost > synced.len() {
                    synced.resize(lost, 0);
                    synced.extend_from_slice(&data[lost..]);
                } else {
                    synced.clone_from(data);
                }
            }
        }
        fate
    }
}
