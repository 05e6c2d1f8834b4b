//! Counting the tokens of a text on several threads, in bounded memory: what a vocabulary is made from.
//!
//! Each thread counts pieces of the text in a table of its own, and adds it to a common one when it has grown; sums do
//! not depend on the order. When the common table has reached its limit, its words are written to a file, sorted by
//! their bytes, and it starts afresh; in the end all these lists are merged word by word. So every count is exact, and
//! words too rare for the vocabulary never gather in memory. (word2vec instead drops the rarest words while it counts,
//! so that what it keeps depends on where words stood in the text.)

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use super::build::Progress;
use super::chunks::{Chunk, Chunks, Reading};
use super::parallel::each_chunk;
use super::runs::Runs;
use super::source::{Input, Source, resolve};
use crate::error::{Error, Result};
use crate::network::available_memory;
use crate::text::{Counter, Level, TextOptions, Vocabulary};

/// What [`vocabulary`] is told.
#[derive(Clone, Copy)]
pub struct Counting<'a> {
    /// The text, in this order.
    pub sources: &'a [Source],
    /// How text becomes tokens, and which are kept.
    pub options: &'a TextOptions,
    /// Beside this file stands what memory does not hold, without a name.
    pub beside: &'a Path,
    /// Threads to work with, at least 1. The vocabulary does not depend on it.
    pub threads: usize,
    /// Bytes that tables of words may take, beside those of the mebibyte of text that each thread works on; what there is in
    /// the machine unless set. The vocabulary does not depend on it.
    pub memory: Option<u64>,
    /// Told after each piece of text how far the work is.
    pub progress: Option<&'a (dyn Fn(Progress) + Sync)>,
    /// Ends the work with [`Error::Interrupted`] when it becomes true.
    pub cancel: Option<&'a AtomicBool>,
}

/// What [`vocabulary`] found.
#[derive(Debug, Clone)]
pub struct Counted {
    /// The most frequent token first, and of those as frequent the one whose bytes come first.
    pub vocabulary: Vocabulary,
    /// Tokens counted.
    pub tokens: u64,
    /// Bytes of text.
    pub text_bytes: u64,
    /// What was read, in order.
    pub inputs: Vec<PathBuf>,
    /// Lists of words that were written to a file, as memory did not hold them.
    pub lists: usize,
}

/// The vocabulary of a text.
///
/// # Errors
/// [`Error::Input`] if the text cannot be read, is not valid or has no token; [`Error::Usage`] if the options contradict each
/// other, or the words that are kept do not fit the memory; [`Error::Io`] if what memory does not hold cannot be written.
///
/// # Panics
/// Panics if `threads` is 0.
pub fn vocabulary(args: Counting<'_>) -> Result<Counted> {
    assert!(args.threads > 0, "words are counted by at least one thread");
    args.options.check()?;
    let mut inputs = resolve(args.sources)?;
    let reading = reading(args.options, 1, None, (args.progress, args.cancel));
    let tables = Tables { beside: args.beside, threads: args.threads, memory: args.memory };
    let (counter, text_bytes, lists) = count(args.options, &mut inputs, reading, tables)?;
    if counter.total() == 0 {
        return Err(no_tokens(&inputs));
    }
    let names = inputs.iter().map(|input| input.name.clone()).collect();
    Ok(Counted { vocabulary: counter.vocabulary()?, tokens: counter.total(), text_bytes, inputs: names, lists })
}

/// How far a pass tells that it is, and what ends it.
pub(super) type Watched<'a> = (Option<&'a (dyn Fn(Progress) + Sync)>, Option<&'a AtomicBool>);

/// How the text is read in a pass.
pub(super) fn reading<'a>(
    options: &TextOptions,
    pass: u32,
    again: Option<&'a Path>,
    (progress, cancel): Watched<'a>,
) -> Reading<'a> {
    let TextOptions { level, errors, .. } = *options;
    Reading { level, errors, cleans: !options.clean.is_nothing(), again, pass, progress, cancel }
}

pub(super) fn no_tokens(inputs: &[Input]) -> Error {
    let what = match inputs {
        [_] => "the text is empty".to_owned(),
        _ => format!("the text is empty, and so are the {} others", inputs.len() - 1),
    };
    Error::input(&inputs[0].name, what).mend("give a file with text")
}

/// Who counts, and in how much memory.
#[derive(Clone, Copy)]
pub(super) struct Tables<'a> {
    pub(super) beside: &'a Path,
    pub(super) threads: usize,
    pub(super) memory: Option<u64>,
}

/// When a thread has this many different strings it adds them to the common counter and starts anew: its table then stays in
/// its second-level cache. With 2^18 it took 1.2 times as long, with 2^14 1.1 times (2026-11).
const FLUSH: usize = 1 << 16;

/// The least memory for tables.
pub(super) const LEAST_MEMORY: u64 = 1 << 20;

/// Tables double as they grow, and stand twice while they do: so the common one may take a quarter of the memory, and those of
/// the threads an eighth, before they are emptied.
fn shares(memory: u64, threads: usize) -> (usize, usize) {
    let share = |part: u64| usize::try_from(memory / part).unwrap_or(usize::MAX);
    (share(4), share(8 * threads as u64))
}

struct Common<'a> {
    counter: Counter,
    runs: Runs<'a>,
}

/// Counts all tokens; also how many bytes of text there were, and how many lists were written.
pub(super) fn count(
    options: &TextOptions,
    inputs: &mut [Input],
    reading: Reading<'_>,
    tables: Tables<'_>,
) -> Result<(Counter, u64, usize)> {
    let Tables { beside, threads, memory } = tables;
    if memory.is_some_and(|memory| memory < LEAST_MEMORY) {
        return Err(Error::option("--memory", format!("must be at least {LEAST_MEMORY} bytes")));
    }
    let memory = memory.or_else(available_memory).unwrap_or(u64::MAX);
    let (most, most_of_thread) = shares(memory, threads);
    let counter = Counter::new(options);
    let counters = (0..threads).map(|_| (counter.another(), 0)).collect();
    let common = Mutex::new(Common { counter, runs: Runs::new(beside) });
    let take = |counter: &mut Counter| {
        let mut common = common.lock().unwrap_or_else(PoisonError::into_inner);
        let Common { counter: sum, runs } = &mut *common;
        sum.take(counter);
        if sum.memory() > most { runs.write(sum) } else { Ok(()) }
    };
    let work = |(counter, bytes): &mut (Counter, u64), chunk: &Chunk| {
        match options.level {
            Level::Byte => counter.bytes(&chunk.bytes),
            _ => counter.text(&chunk.text),
        }
        *bytes += chunk.len();
        if chunk.open_line && options.has_eos() {
            counter.end_of_line();
        }
        if counter.strings() > FLUSH || counter.memory() > most_of_thread { take(counter) } else { Ok(()) }
    };
    let mut counters = each_chunk(Chunks::new(inputs, reading), counters, work, |_, _| Ok(()))?;
    counters.iter_mut().try_for_each(|(counter, _)| take(counter))?;
    let bytes = counters.iter().map(|(_, bytes)| bytes).sum();
    let Common { mut counter, mut runs } = common.into_inner().unwrap_or_else(PoisonError::into_inner);
    let lists = runs.len();
    if lists > 0 {
        runs.write(&mut counter)?;
        runs.merge(&mut counter, most)?;
    }
    Ok((counter, bytes, lists))
}
