//! What happens when a mapped file shrinks: the system raises SIGBUS when a page beyond the new end is touched.
//!
//! A library must not take signals away from its host, so this is done only when the command asks for it, by
//! [`install_sigbus_handler`]. The handler looks the faulting address up in a fixed table of maps, writes that map's
//! message, and ends the process with exit code 5. Any other SIGBUS is left to whoever handled it before.

use std::ops::Range;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// What the handler must know of a map. Free while `start` is 0, being filled while it is 1.
struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    message: AtomicPtr<u8>,
    message_len: AtomicUsize,
}

/// Maps at one time that have a message of their own; a command opens three or four.
const SLOTS: usize = 64;

static MAPS: [Slot; SLOTS] = [const {
    Slot {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        message: AtomicPtr::new(ptr::null_mut()),
        message_len: AtomicUsize::new(0),
    }
}; SLOTS];

/// Keeps a map in the handler's table for as long as it lives. The map must not be touched after that.
#[derive(Debug)]
pub(super) struct Watch {
    slot: Option<usize>,
    /// What the slot points to.
    _message: Box<[u8]>,
}

impl Watch {
    pub(super) fn new(addresses: Range<usize>, path: &Path) -> Watch {
        let message = format!(
            "\nerror: {}: the file shrank or its disk failed while it was being read (restore it or build it again, \
             then run the command again)\n",
            path.display()
        );
        let mut message = message.into_bytes().into_boxed_slice();
        let claim = |slot: &Slot| slot.start.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok();
        let slot = MAPS.iter().position(claim);
        if let Some(slot) = slot.map(|slot| &MAPS[slot]) {
            slot.end.store(addresses.end, Ordering::Relaxed);
            slot.message.store(message.as_mut_ptr(), Ordering::Relaxed);
            slot.message_len.store(message.len(), Ordering::Relaxed);
            slot.start.store(addresses.start, Ordering::Release);
        }
        Watch { slot, _message: message }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            MAPS[slot].start.store(0, Ordering::Release);
        }
    }
}

/// From now on, a corpus file that shrinks while it is mapped ends the process with a message and exit code 5 instead
/// of a bare signal. For the command to call once, before it starts threads; does nothing on systems without SIGBUS.
///
/// # Errors
/// [`crate::Error::Io`] if the system refuses the handler.
#[cfg(unix)]
pub fn install_sigbus_handler() -> crate::Result<()> {
    handler::install().map_err(|e| crate::Error::io("SIGBUS", "cannot handle the signal", e))
}

/// From now on, a corpus file that shrinks while it is mapped ends the process with a message and exit code 5; does
/// nothing on systems without SIGBUS, like this one.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn install_sigbus_handler() -> crate::Result<()> {
    Ok(())
}

#[cfg(unix)]
mod handler {
    use super::{MAPS, Ordering};
    use std::io;
    use std::mem::MaybeUninit;
    use std::ptr;
    use std::sync::OnceLock;

    /// Who handled the signal before. Set before the handler can run.
    static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

    pub(super) fn install() -> io::Result<()> {
        if BEFORE.get().is_some() {
            return Ok(());
        }
        let mut before = MaybeUninit::uninit();
        // SAFETY: asks for the present action only; `before` is valid for writing one.
        if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), before.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above succeeded, so it has filled `before`.
        _ = BEFORE.set(unsafe { before.assume_init() });
        // SAFETY: all zeros is a valid sigaction: no flags, an empty mask, the default action.
        let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_sigaction = on_sigbus as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: `action` is whole, and `on_sigbus` has the signature that SA_SIGINFO asks for and calls only
        // functions that are safe in a signal handler.
        if unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
        // SAFETY: the system gives a valid siginfo of a SIGBUS, which carries an address.
        let address = unsafe { (*info).si_addr() } as usize;
        for slot in &MAPS {
            let start = slot.start.load(Ordering::Acquire);
            if start > 1 && (start..slot.end.load(Ordering::Relaxed)).contains(&address) {
                let message = slot.message.load(Ordering::Relaxed);
                // SAFETY: the fault came from a reader of this map, which is borrowed for as long as it reads, so the
                // watch that owns the message is alive. `write` and `_exit` are safe in a signal handler.
                unsafe {
                    libc::write(libc::STDERR_FILENO, message.cast(), slot.message_len.load(Ordering::Relaxed));
                    libc::_exit(5);
                }
            }
        }
        // Not one of ours: the faulting instruction runs again under whoever handled the signal before.
        if let Some(before) = BEFORE.get() {
            // SAFETY: `before` is what `sigaction` itself gave; the call is safe in a signal handler.
            unsafe { libc::sigaction(signal, before, ptr::null_mut()) };
        }
    }
}
