//! Threads kept on cores.

use std::io;

/// The cores that this process may use.
///
/// # Errors
///
/// What the system says; `Unsupported` where threads cannot be kept on a core.
#[cfg(target_os = "linux")]
pub(super) fn cores() -> io::Result<Vec<usize>> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    // Asked once, before any thread is kept on one of them.
    static CORES: std::sync::OnceLock<Vec<usize>> = std::sync::OnceLock::new();
    if let Some(cores) = CORES.get() {
        return Ok(cores.clone());
    }
    let set = sched_getaffinity(None)?;
    Ok(CORES.get_or_init(|| (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect()).clone())
}

/// Keeps the calling thread on this core.
///
/// # Errors
///
/// As [`cores`].
#[cfg(target_os = "linux")]
pub(super) fn to(core: usize) -> io::Result<()> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// The cores that this process may use.
///
/// # Errors
///
/// Always: this system has no call for it that is known here.
#[cfg(not(target_os = "linux"))]
pub(super) fn cores() -> io::Result<Vec<usize>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Keeps the calling thread on this core.
///
/// # Errors
///
/// Always.
#[cfg(not(target_os = "linux"))]
pub(super) fn to(_core: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
