//! How much memory there is, so that a model that does not fit is refused before anything is allocated.

use std::ops::Add;

use crate::error::{Error, Result};

/// How much memory is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes that are reserved and take memory only where they are written. The system's limits on the data and
    /// addresses of a process count them as memory.
    pub reserved: u64,
}

impl From<u64> for Room {
    fn from(memory: u64) -> Self {
        Self { memory, reserved: 0 }
    }
}

impl Add for Room {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        let sum = |a: u64, b: u64| a.saturating_add(b);
        Self { memory: sum(self.memory, other.memory), reserved: sum(self.reserved, other.reserved) }
    }
}

/// Bytes that this process may still allocate: the least of what the system has available and the limits set on the
/// process and its control group. `None` where the system does not tell.
pub fn available_memory() -> Option<u64> {
    [free(), granted()].into_iter().flatten().min()
}

/// Bytes of memory that the system and the control group have left.
fn free() -> Option<u64> {
    let system = read("/proc/meminfo").and_then(|text| kib(&text, "MemAvailable:"));
    let number = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let group = number("/sys/fs/cgroup/memory.max")
        .map(|max| max.saturating_sub(number("/sys/fs/cgroup/memory.current").unwrap_or(0)));
    [system, group].into_iter().flatten().min()
}

/// Bytes that the limits on the process leave it, written to or not.
fn granted() -> Option<u64> {
    let status = read("/proc/self/status");
    let used = |key: &str| status.as_deref().and_then(|text| kib(text, key)).unwrap_or(0);
    let limit = |resource, key: &str| {
        let limit = rustix::process::getrlimit(resource).current;
        limit.map(|max| max.saturating_sub(used(key)))
    };
    let address = limit(rustix::process::Resource::As, "VmSize:");
    let data = limit(rustix::process::Resource::Data, "VmData:");
    [address, data].into_iter().flatten().min()
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn kib(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|n| n * 1024)
}

/// Refuses `what` (such as "the model") if the memory that it needs is not available.
///
/// # Errors
/// [`Error::Usage`] with both figures.
pub fn require_memory(what: &str, room: impl Into<Room>) -> Result<()> {
    let room = room.into();
    for (needed, available) in [(room.memory, free()), (room.memory.saturating_add(room.reserved), granted())] {
        if let Some(available) = available.filter(|&available| needed > available) {
            let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
            let what =
                format!("{what} needs {:.2} GiB of memory, {:.2} GiB are available", gib(needed), gib(available));
            return Err(Error::usage(what).mend(
                "use a smaller batch, fewer steps, fewer units or a smaller vocabulary; --memory-map DIR keeps tables in files",
            ));
        }
    }
    Ok(())
}
