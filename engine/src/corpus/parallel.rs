//! Chunks worked on by several threads, with results taken in the order of the text.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::chunks::{Chunk, Chunks};
use crate::error::{Error, Result};

/// Lets each worker in turn fill its chunk, work on it beside the others, and hand in what it made when all earlier
/// chunks have been handed in. Returns the workers.
///
/// The first failure in the order of the text ends it, whatever the number of threads.
pub(super) fn each_chunk<W: Send>(
    chunks: Chunks<'_>,
    workers: Vec<W>,
    work: impl Fn(&mut W, &Chunk) -> Result<()> + Sync,
    hand_in: impl FnMut(&mut W, &Chunk) -> Result<()> + Send,
) -> Result<Vec<W>> {
    let source = Mutex::new((chunks, 0_u64));
    let turn =
        Turn { state: Mutex::new(State { next: 0, ended: false, error: None, hand_in }), changed: Condvar::new() };
    let workers = std::thread::scope(|scope| {
        let spawn = |mut worker: W| {
            let (source, turn, work) = (&source, &turn, &work);
            scope.spawn(move || {
                let _guard = EndOnPanic(turn);
                let mut chunk = Chunk::default();
                loop {
                    let (filled, number) = {
                        let mut source = lock(source);
                        let filled = source.0.fill(&mut chunk);
                        let number = source.1;
                        // The end has no turn: nobody hands it in, and an interrupt after it may still be told.
                        source.1 += u64::from(!matches!(filled, Ok(false)));
                        (filled, number)
                    };
                    let worked = match filled {
                        Ok(false) => return worker,
                        Ok(true) => work(&mut worker, &chunk),
                        Err(error) => Err(error),
                    };
                    if !turn.take(number, worked, &mut worker, &chunk) {
                        return worker;
                    }
                }
            })
        };
        let threads: Vec<_> = workers.into_iter().map(spawn).collect();
        threads.into_iter().map(|thread| thread.join()).collect::<Result<Vec<W>, _>>()
    });
    let workers = workers.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    match lock(&turn.state).error.take() {
        Some(error) => Err(error),
        None => Ok(workers),
    }
}

/// Whose turn it is to hand in.
struct Turn<F> {
    state: Mutex<State<F>>,
    changed: Condvar,
}

struct State<F> {
    next: u64,
    ended: bool,
    error: Option<Error>,
    hand_in: F,
}

impl<F> Turn<F> {
    /// Waits for chunk `number`'s turn and hands it in, or its error; false if nothing more is to be done.
    fn take<W>(&self, number: u64, worked: Result<()>, worker: &mut W, chunk: &Chunk) -> bool
    where
        F: FnMut(&mut W, &Chunk) -> Result<()>,
    {
        let mut state = lock(&self.state);
        while state.next != number && !state.ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.ended {
            return false;
        }
        if let Err(error) = worked.and_then(|()| (state.hand_in)(worker, chunk)) {
            state.error = Some(error);
            state.ended = true;
        }
        state.next += 1;
        self.changed.notify_all();
        !state.ended
    }
}

/// Frees the other threads if this one panics.
struct EndOnPanic<'a, F>(&'a Turn<F>);

impl<F> Drop for EndOnPanic<'_, F> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.0.state).ended = true;
            self.0.changed.notify_all();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
