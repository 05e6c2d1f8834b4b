//! Ctrl-C: once to end in good order, twice to end now; where nothing is to be saved, once to end now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use unroll::error::{Error, Result};

/// A flag that the first Ctrl-C (or SIGTERM) sets, telling what is `done` now; the second ends the process with code 130.
pub(crate) fn flag(done: &'static str) -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    listen(move || {
        if set.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        eprintln!("\n{done}; press Ctrl-C again to stop at once");
    })?;
    Ok(flag)
}

/// Lets the first Ctrl-C (or SIGTERM) do this, and end the process.
pub(crate) fn end_after(last: impl Fn() + Send + 'static) -> Result<()> {
    listen(move || {
        last();
        std::process::exit(INTERRUPTED);
    })
}

/// The exit code of what the user interrupted.
const INTERRUPTED: i32 = 130;

fn listen(handler: impl FnMut() + Send + 'static) -> Result<()> {
    ctrlc::set_handler(handler).map_err(|error| Error::run(format!("cannot listen for Ctrl-C: {error}")))
}
