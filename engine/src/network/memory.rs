//! How much memory there is, so that a model that does not fit is refused before anything is allocated.

use crate::error::{Error, Result};

/// Bytes that this process may still allocate: the least of what the system has available and the limits set on the
/// process and its control group. `None` where the system does not tell.
pub fn available_memory() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let kib = |text: &str, key: &str| -> Option<u64> {
        let line = text.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|n| n * 1024)
    };
    let system = read("/proc/meminfo").and_then(|text| kib(&text, "MemAvailable:"));
    let number = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let group = number("/sys/fs/cgroup/memory.max")
        .map(|max| max.saturating_sub(number("/sys/fs/cgroup/memory.current").unwrap_or(0)));
    let status = read("/proc/self/status");
    let used = |key: &str| status.as_deref().and_then(|text| kib(text, key)).unwrap_or(0);
    let limit = |resource, key: &str| {
        let limit = rustix::process::getrlimit(resource).current;
        limit.map(|max| max.saturating_sub(used(key)))
    };
    let address = limit(rustix::process::Resource::As, "VmSize:");
    let data = limit(rustix::process::Resource::Data, "VmData:");
    [system, group, address, data].into_iter().flatten().min()
}

/// Refuses what would not fit: so many bytes for `what` ("the model").
///
/// # Errors
/// [`Error::Usage`] with both figures.
pub fn require_memory(what: &str, bytes: u64) -> Result<()> {
    match available_memory() {
        Some(available) if bytes > available => {
            let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
            let what = format!("{what} needs {:.2} GiB of memory, {:.2} GiB are available", gib(bytes), gib(available));
            Err(Error::usage(what).mend("use a smaller batch, fewer steps, fewer units or a smaller vocabulary"))
        }
        _ => Ok(()),
    }
}
