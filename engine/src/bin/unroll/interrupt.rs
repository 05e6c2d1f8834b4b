//! Ctrl-C: once to end in good order, twice to end now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use unroll::error::{Error, Result};

/// A flag that the first Ctrl-C (or SIGTERM) sets, telling what is `done` now; the second ends the process with code 130.
pub(crate) fn flag(done: &'static str) -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("\n{done}; press Ctrl-C again to stop at once");
    })
    .map_err(|error| Error::run(format!("cannot listen for Ctrl-C: {error}")))?;
    Ok(flag)
}
