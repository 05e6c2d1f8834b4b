//! Batches of truncated back-propagation through time, and the parts of a text that train, validate and test.
//!
//! A batch is N rows of T steps; row n of the next batch goes on where row n of this one ended, so that the state of a
//! row can be carried. The target of a token is the token after it.

use std::ops::Range;

use super::TokenSource;
use crate::error::{Error, Result};

/// The target of a position that is not scored: a row that has run out, a step that only warms up.
pub use unroll_kernels::softmax::IGNORE;

/// Parallel streams over a source, cut into batches.
#[derive(Debug, Clone)]
pub struct Streams<S> {
    source: S,
    rows: Vec<Row>,
    steps: usize,
    /// Positions from here on are no targets.
    end: u64,
    /// The position of a target that is predicted from this token, not from the one before it.
    initial: Option<(u64, u32)>,
}

/// One row: step k has the input at `target + k - 1` and the target at `target + k`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    target: u64,
    len: u64,
    /// Steps at the start that are not scored.
    warmup: u64,
}

/// How a range is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evaluation {
    /// Tokens that every row but the first is fed, without being scored, before the first token that it scores. With
    /// enough of them the figure does not depend on the number of rows.
    pub warmup: u64,
    /// What the very first token of the range is predicted from (PTB's custom: `<eos>`). Without it, it is predicted
    /// from the token before the range, and not scored if there is none.
    pub initial: Option<u32>,
}

/// Which parts of a text are held out: after those that train come those that validate, and those that test at the end.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Split {
    /// The last parts of each training stream, as char-rnn does. With N rows of T steps the text is cut to B = floor(length / (N T))
    /// batches and viewed as N rows of B T tokens; the first floor(B (1 - valid - test)) batches train.
    Streams(HeldShares),
    /// The last parts of the text: the first floor(length (1 - valid - test)) tokens train.
    Tail(HeldShares),
    /// Nothing: all of the text trains.
    #[default]
    None,
}

/// A part of a text that is held out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It validates in the training.
    Valid,
    /// It tests the finished model.
    Test,
}

/// How much of a text is held out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeldShares {
    /// The share that validates, in \[0, 1).
    pub valid: f64,
    /// The share that tests, in \[0, 1).
    pub test: f64,
    /// Tokens that are enough to validate, however long the text is; parts that cannot be smaller, such as one batch, may have
    /// more.
    pub enough: u64,
}

impl HeldShares {
    /// This share of a text of whatever length validates, and nothing tests.
    pub fn valid(fraction: f64) -> HeldShares {
        HeldShares { valid: fraction, test: 0.0, enough: u64::MAX }
    }

    fn of(self, part: Held) -> f64 {
        match part {
            Held::Valid => self.valid,
            Held::Test => self.test,
        }
    }

    /// Where those of `count` pieces of `size` tokens end that train, and those that validate. The counts are char-rnn's: what trains
    /// is rounded down, and what validates where anything is to test, which gets the rest.
    fn ends(self, count: u64, size: u64) -> Result<[u64; 2]> {
        let HeldShares { valid, test, enough } = self;
        for (option, share) in [("valid-fraction", valid), ("test-fraction", test)] {
            if !(0.0..1.0).contains(&share) {
                return Err(Error::option(option, format!("must be at least 0 and less than 1, got {share}")));
            }
        }
        if valid + test >= 1.0 {
            let what = format!("{test} beside {valid} that validates leaves nothing to train on");
            return Err(Error::option("test-fraction", what));
        }
        // A product that should be whole is not spoilt by its rounding.
        let share = |fraction: f64| (count as f64 * fraction + 1e-6).floor() as u64;
        let held = count - share(1.0 - valid - test);
        let validate = if test > 0.0 { share(valid).min(held) } else { held };
        let train = count - held + (validate - validate.min(enough.div_ceil(size)));
        Ok([train, count - held + validate])
    }
}

impl<S: TokenSource> Streams<S> {
    /// Streams for training: the range is cut into `rows` rows of floor(length / rows) tokens, the last batch has as
    /// many steps as remain, and the last token of the range has no target. As PyTorch's `batchify` does, the last
    /// few tokens of the range that do not fill a row are left out.
    ///
    /// # Errors
    /// [`Error::Usage`] if the range is shorter than one batch.
    ///
    /// # Panics
    /// Panics if rows or steps are 0, or the range is not within the source.
    pub fn new(source: S, range: Range<u64>, rows: usize, steps: usize) -> Result<Streams<S>> {
        let len = check(&source, &range, rows, steps);
        let each = len / rows as u64;
        if each < steps as u64 || len < 2 {
            return Err(too_short(len, rows, steps));
        }
        let row = |n: u64| Row { target: range.start + n * each + 1, len: each, warmup: 0 };
        Ok(Streams { source, rows: (0..rows as u64).map(row).collect(), steps, end: range.end, initial: None })
    }

    /// Streams that score every token of the range exactly once. The rows' lengths, warm-up included, differ by at
    /// most one; where a row has run out, and in rows that a short range has no use for, targets are [`IGNORE`].
    ///
    /// # Errors
    /// [`Error::Usage`] if the range has no token to score.
    ///
    /// # Panics
    /// Panics if rows or steps are 0, or the range is not within the source.
    pub fn evaluation(source: S, range: Range<u64>, rows: usize, steps: usize, how: Evaluation) -> Result<Streams<S>> {
        let len = check(&source, &range, rows, steps);
        let skipped = u64::from(range.start == 0 && how.initial.is_none());
        if len <= skipped {
            return Err(Error::usage(format!("a text of {len} tokens has none to score")).mend("give a longer text"));
        }
        let (scored, warmup) = (len - skipped, how.warmup);
        let used = (rows as u64).min(scored.saturating_sub(warmup)).max(1);
        let total = scored + (used - 1) * warmup;
        let mut next = range.start + skipped;
        let mut cut = Vec::with_capacity(rows);
        for n in 0..rows as u64 {
            let len = if n < used { total / used + u64::from(n < total % used) } else { 0 };
            let warmup = if n == 0 || n >= used { 0 } else { warmup };
            cut.push(Row { target: next - warmup, len, warmup });
            next += len - warmup;
        }
        let initial = how.initial.map(|token| (range.start, token));
        Ok(Streams { source, rows: cut, steps, end: range.end, initial })
    }

    /// Batches that cover the streams.
    pub fn batches(&self) -> u64 {
        self.longest().div_ceil(self.steps as u64)
    }

    /// Rows of a batch (N).
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Steps of every batch but perhaps the last (T).
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Steps of a batch: [`steps`](Self::steps), or what remains for the last.
    ///
    /// # Panics
    /// Panics if there is no such batch.
    #[track_caller]
    pub fn steps_in(&self, index: u64) -> usize {
        assert!(index < self.batches(), "batch {index} of {}", self.batches());
        (self.longest() - index * self.steps as u64).min(self.steps as u64) as usize
    }

    /// Targets of all batches that are scored.
    pub fn scored(&self) -> u64 {
        let in_row = |row: &Row| {
            let last = (row.target + row.len).min(self.end);
            last.saturating_sub(row.target + row.warmup)
        };
        self.rows.iter().map(in_row).sum()
    }

    /// The source.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Steps of the longest row.
    pub(super) fn longest(&self) -> u64 {
        self.rows.iter().map(|row| row.len).max().unwrap_or(0)
    }

    /// Fills batch `index`, time-major (T, N): `inputs[t * N + n]` is row n's token at step t, `targets` likewise the
    /// token after it or [`IGNORE`]. Returns the batch's steps; what lies beyond them is input 0 and [`IGNORE`].
    /// Allocates nothing.
    ///
    /// # Errors
    /// [`Error::Input`] if the file behind the tokens turns out to be damaged.
    ///
    /// # Panics
    /// Panics if there is no such batch, or a slice is shorter than its steps times the rows.
    #[track_caller]
    pub fn batch(&self, index: u64, inputs: &mut [u32], targets: &mut [u32]) -> Result<usize> {
        self.fill(index * self.steps as u64, self.steps_in(index), inputs, targets)
    }

    /// Fills the batch of `steps` steps from step `first` of the rows on.
    #[track_caller]
    pub(super) fn fill(&self, first: u64, steps: usize, inputs: &mut [u32], targets: &mut [u32]) -> Result<usize> {
        let n = self.rows.len();
        assert!(
            inputs.len() >= steps * n && targets.len() == inputs.len(),
            "{} inputs and {} targets for {steps} steps of {n} rows",
            inputs.len(),
            targets.len()
        );
        inputs.fill(0);
        targets.fill(IGNORE);
        for (column, row) in self.rows.iter().enumerate() {
            let last = row.len.min(first + steps as u64);
            self.fill_row(row, first..last, column, inputs, targets)?;
        }
        Ok(steps)
    }

    /// Fills steps of one row, by way of a small buffer on the stack.
    fn fill_row(
        &self,
        row: &Row,
        steps: Range<u64>,
        column: usize,
        inputs: &mut [u32],
        targets: &mut [u32],
    ) -> Result<()> {
        let n = self.rows.len();
        let mut buffer = [0; 257];
        let mut step = steps.start;
        while step < steps.end {
            let count = (steps.end - step).min(256) as usize;
            let target = row.target + step;
            // Tokens target - 1 ..= target + count - 1, but for one that is replaced and one beyond the end.
            let replaced = self.initial.filter(|&(position, _)| position == target);
            let from = target - u64::from(replaced.is_none());
            let present = (self.source.len().min(target + count as u64) - from) as usize;
            let skip = usize::from(replaced.is_some());
            self.source.read(from, &mut buffer[skip..skip + present])?;
            if let Some((_, token)) = replaced {
                buffer[0] = token;
            }
            for k in 0..count {
                let at = ((step - steps.start) as usize + k) * n + column;
                inputs[at] = buffer[k];
                if step + k as u64 >= row.warmup && target + (k as u64) < self.end {
                    targets[at] = buffer[k + 1];
                }
            }
            step += count as u64;
        }
        Ok(())
    }
}

impl Split {
    /// Where the part of a text of `len` tokens ends that trains, and where the one that validates, if the text is taken as one
    /// piece; what follows tests.
    ///
    /// # Errors
    /// [`Error::Usage`] if a share is out of range.
    pub fn ends(self, len: u64) -> Result<[u64; 2]> {
        match self {
            Split::None => Ok([len, len]),
            Split::Streams(shares) | Split::Tail(shares) => shares.ends(len, 1),
        }
    }

    /// The parts of a text of `len` tokens that are read and predicted in training, where it is cut into streams of so many rows and
    /// steps.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    ///
    /// # Panics
    /// Panics if rows or steps are 0.
    pub fn training_parts(self, len: u64, rows: usize, steps: usize) -> Result<Vec<Range<u64>>> {
        match self {
            Split::Streams(shares) => {
                let (batches, [train, _]) = stream_batches(len, rows, steps, shares)?;
                let (each, train) = (batches * steps as u64, train * steps as u64);
                // The last token is a target.
                Ok((0..rows as u64).map(|row| row * each..(row * each + train + 1).min(len)).collect())
            }
            Split::None | Split::Tail(_) => self.ends(len).map(|[train, _]| std::iter::once(0..train).collect()),
        }
    }

    /// The streams that train.
    ///
    /// # Errors
    /// [`Error::Usage`] if a share is out of range or the training part is shorter than one batch.
    ///
    /// # Panics
    /// Panics if rows or steps are 0.
    pub fn train<S: TokenSource>(self, source: S, rows: usize, steps: usize) -> Result<Streams<S>> {
        let len = source.len();
        match self {
            Split::None => Streams::new(source, 0..len, rows, steps),
            Split::Tail(shares) => {
                let [train, _] = shares.ends(len, 1)?;
                Streams::new(source, 0..train, rows, steps)
            }
            Split::Streams(shares) => {
                let (batches, [train, _]) = stream_batches(len, rows, steps, shares)?;
                Ok(columns(source, rows, steps, batches, 0..train))
            }
        }
    }

    /// The streams that are held out for this, if any are. For [`Split::Streams`] they are the last parts of the training
    /// streams of so many rows and steps, whatever `how` says; for [`Split::Tail`] the last parts of the text, evaluated
    /// as `how` says.
    ///
    /// # Errors
    /// [`Error::Usage`] if a share is out of range or the text too short.
    ///
    /// # Panics
    /// Panics if rows or steps are 0.
    pub fn held<S: TokenSource>(
        self,
        part: Held,
        source: S,
        rows: usize,
        steps: usize,
        how: Evaluation,
    ) -> Result<Option<Streams<S>>> {
        let len = source.len();
        match self {
            Split::None => Ok(None),
            Split::Tail(shares) | Split::Streams(shares) if shares.of(part) == 0.0 => Ok(None),
            Split::Tail(shares) => {
                let range = part.of(shares.ends(len, 1)?, len);
                Streams::evaluation(source, range, rows, steps, how).map(Some)
            }
            Split::Streams(shares) => {
                let (batches, ends) = stream_batches(len, rows, steps, shares)?;
                Ok(Some(columns(source, rows, steps, batches, part.of(ends, batches))))
            }
        }
    }
}

impl Held {
    /// This part of a text whose training and validating parts end there.
    pub(crate) fn of(self, [train, valid]: [u64; 2], len: u64) -> Range<u64> {
        match self {
            Held::Valid => train..valid,
            Held::Test => valid..len,
        }
    }
}

/// The batches of a range of columns of the text viewed as (rows, batches x steps).
fn columns<S: TokenSource>(source: S, rows: usize, steps: usize, batches: u64, range: Range<u64>) -> Streams<S> {
    let (end, t) = (source.len(), steps as u64);
    let row =
        |n: u64| Row { target: (n * batches + range.start) * t + 1, len: (range.end - range.start) * t, warmup: 0 };
    Streams { source, rows: (0..rows as u64).map(row).collect(), steps, end, initial: None }
}

/// Whole batches of the text, and where those end that train and that validate.
fn stream_batches(len: u64, rows: usize, steps: usize, shares: HeldShares) -> Result<(u64, [u64; 2])> {
    assert!(rows > 0 && steps > 0, "{rows} rows of {steps} steps");
    let size = (rows as u64).saturating_mul(steps as u64);
    let batches = len / size;
    let ends = shares.ends(batches, size)?;
    if batches == 0 {
        return Err(too_short(len, rows, steps));
    }
    let none = |part: Held| shares.of(part) > 0.0 && part.of(ends, batches).is_empty();
    if ends[0] == 0 || none(Held::Valid) || none(Held::Test) {
        return Err(Error::usage(format!(
            "the text has {batches} batches of {rows} rows of {steps} tokens, too few to keep one for training and the \
             rest for validation and test"
        ))
        .mend("give a longer text, or fewer rows (--batch-size) or steps (--seq-length), or another --split"));
    }
    Ok((batches, ends))
}

fn too_short(len: u64, rows: usize, steps: usize) -> Error {
    Error::usage(format!("the text has {len} tokens, fewer than one batch of {rows} rows of {steps} steps"))
        .mend("give a longer text, or fewer rows (--batch-size) or steps (--seq-length)")
}

/// The length of the range, which must lie within the source.
#[track_caller]
fn check(source: &impl TokenSource, range: &Range<u64>, rows: usize, steps: usize) -> u64 {
    assert!(rows > 0 && steps > 0, "{rows} rows of {steps} steps");
    assert!(range.start <= range.end && range.end <= source.len(), "tokens {range:?} of {}", source.len());
    range.end - range.start
}
