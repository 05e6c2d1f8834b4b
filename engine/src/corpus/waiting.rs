//! Reading from what may keep its reader waiting: a pipe, a terminal, a device.
//!
//! A thread opens and reads it, and hands over what it read. The reader waits for that thread and looks at the flag meanwhile,
//! so that neither a pipe that nobody writes to nor a slow one holds up a command that the user has stopped. A thread that is
//! still waiting then lives until its read returns or the process ends.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Bytes that are read at a time.
const BLOCK: usize = 64 << 10;

/// How long the reader waits before it looks at the flag again.
const LOOK: Duration = Duration::from_millis(20);

/// What the reading thread hands over: bytes, of which none are the end.
type Handed = io::Result<Vec<u8>>;

/// A stream that another thread reads.
pub(super) struct Waiting<'a> {
    blocks: Receiver<Handed>,
    cancel: &'a AtomicBool,
    /// What was handed over last, and how much of it was read.
    block: Vec<u8>,
    at: usize,
    ended: bool,
}

/// The flag was set while the reader waited. It is no [`io::ErrorKind::Interrupted`], after which readers try again.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
pub(super) struct Stopped;

impl<'a> Waiting<'a> {
    /// Reads what `open` opens, until `cancel` becomes true.
    pub(super) fn new<R: Read>(
        open: impl FnOnce() -> io::Result<R> + Send + 'static,
        cancel: &'a AtomicBool,
    ) -> Waiting<'a> {
        let (give, blocks) = sync_channel::<Handed>(1);
        std::thread::spawn(move || {
            let mut reader = match open() {
                Ok(reader) => reader,
                // Where nobody takes it any more, nobody asks for it.
                Err(error) => return drop(give.send(Err(error))),
            };
            loop {
                let mut block = vec![0; BLOCK];
                let read = loop {
                    match reader.read(&mut block) {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        read => break read,
                    }
                };
                let last = !matches!(read, Ok(1..));
                let handed = read.map(|count| {
                    block.truncate(count);
                    block
                });
                if give.send(handed).is_err() || last {
                    return;
                }
            }
        });
        Waiting { blocks, cancel, block: Vec::new(), at: 0, ended: false }
    }

    /// Waits for the next block.
    fn wait(&self) -> Handed {
        loop {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(io::Error::other(Stopped));
            }
            match self.blocks.recv_timeout(LOOK) {
                Ok(handed) => return handed,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("the thread that reads it ended")),
            }
        }
    }
}

impl Read for Waiting<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.block.len() && !self.ended {
            self.block = self.wait()?;
            self.at = 0;
            self.ended = self.block.is_empty();
        }
        let count = out.len().min(self.block.len() - self.at);
        out[..count].copy_from_slice(&self.block[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_is_written() {
        let text: Vec<u8> = (0..3 * BLOCK as u32 + 17).map(|i| (i.wrapping_mul(i) >> 5) as u8).collect();
        let (never, given, mut read) = (AtomicBool::new(false), text.clone(), Vec::new());
        let mut waiting = Waiting::new(move || Ok(io::Cursor::new(given)), &never);
        waiting.read_to_end(&mut read).expect("read");
        assert!(read == text);
        assert_eq!(waiting.read(&mut [0]).expect("the end stays"), 0);
        let mut absent = Waiting::new(|| std::fs::File::open("/no/such/file"), &never);
        assert_eq!(absent.read(&mut [0]).expect_err("absent").kind(), io::ErrorKind::NotFound);
    }

    /// Neither what cannot be opened yet nor what gives nothing holds up the reader.
    #[test]
    fn a_flag_ends_the_wait() {
        for opens in [true, false] {
            let (stop, (reader, _held)) = (AtomicBool::new(false), io::pipe().expect("a pipe"));
            let open = move || {
                let mut reader = reader;
                if !opens {
                    reader.read_exact(&mut [0])?;
                }
                Ok(reader)
            };
            let mut waiting = Waiting::new(open, &stop);
            let error = std::thread::scope(|scope| {
                let read = scope.spawn(|| waiting.read(&mut [0]));
                std::thread::sleep(3 * LOOK);
                assert!(!read.is_finished(), "nothing is there to read");
                stop.store(true, Ordering::Relaxed);
                read.join().expect("no panic").expect_err("stopped")
            });
            assert!(error.get_ref().is_some_and(|inner| inner.is::<Stopped>()), "{error}");
        }
    }
}
