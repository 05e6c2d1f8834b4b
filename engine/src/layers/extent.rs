//! Which positions of a batch exist, and where they stand in a sequence.
//!
//! A masked step leaves every state as it was, so a row can be computed from its unmasked steps alone, whatever the
//! pattern of the mask. An extent therefore drops the masked positions of a batch: step i of a row is the i-th of its
//! unmasked steps, rows are ordered longest first, and a sequence holds, step after step, the rows that have that step
//! (it is *packed*, as PyTorch's `PackedSequence`). So padding costs nothing, whether in front, behind or in between,
//! in any layer; and a row gives the same bits alone as beside others. Without a mask every step has every row, in the
//! batch's order. What has no time axis always stands in the batch's order.

use super::Dims;
use std::ops::Range;

/// Which of the T x N positions of a batch exist, and where they stand in a packed sequence. It is reused:
/// [`Self::build`] allocates nothing once it has seen the largest batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extent {
    /// T and N of the batch.
    batch: [usize; 2],
    /// The first row of each step in a packed sequence, and P.
    offsets: Vec<usize>,
    /// The rows of the batch, the longest first.
    order: Vec<usize>,
    /// Where each row of the batch stands in `order`.
    ranks: Vec<usize>,
    /// The number of steps of each row of the batch.
    lengths: Vec<usize>,
    /// `t N + n` for each row of a packed sequence; empty where that is the row itself.
    positions: Vec<usize>,
}

impl Extent {
    /// Room for batches up to this size.
    pub(crate) fn with_capacity(capacity: Dims) -> Self {
        let mut new = Self::default();
        new.offsets.reserve(capacity.steps + 1);
        for rows in [&mut new.order, &mut new.ranks, &mut new.lengths] {
            rows.reserve(capacity.rows);
        }
        new
    }

    /// Lays out a batch of `steps` x `rows`, of which position `t N + n` exists where `there` says so; all exist
    /// without it.
    pub(crate) fn build(&mut self, steps: usize, rows: usize, there: Option<impl Fn(usize) -> bool>) {
        self.batch = [steps, rows];
        self.positions.clear();
        self.lengths.clear();
        self.lengths.resize(rows, steps);
        if let Some(there) = &there {
            self.lengths.fill(0);
            for t in 0..steps {
                for n in 0..rows {
                    self.lengths[n] += usize::from(there(t * rows + n));
                }
            }
        }
        let Self { order, ranks, lengths, offsets, positions, .. } = self;
        order.clear();
        order.extend(0..rows);
        // Rows of one length keep their order, so that the result is one whatever the sort.
        order.sort_unstable_by_key(|&n| (std::cmp::Reverse(lengths[n]), n));
        ranks.clear();
        ranks.resize(rows, 0);
        order.iter().enumerate().for_each(|(rank, &n)| ranks[n] = rank);
        offsets.clear();
        offsets.push(0);
        let (mut count, mut sum) = (rows, 0);
        for step in 0..steps {
            while count > 0 && lengths[order[count - 1]] <= step {
                count -= 1;
            }
            if count == 0 {
                break;
            }
            sum += count;
            offsets.push(sum);
        }
        let Some(there) = there.filter(|_| sum < steps * rows) else { return };
        // Room for every position, so that later batches of this size allocate nothing.
        positions.reserve(steps * rows);
        positions.resize(sum, 0);
        for n in 0..rows {
            let mut step = 0;
            for t in 0..steps {
                if there(t * rows + n) {
                    positions[offsets[step] + ranks[n]] = t * rows + n;
                    step += 1;
                }
            }
        }
    }

    /// The sizes of sequences: steps of the longest row, N, and P.
    pub(crate) fn dims(&self) -> Dims {
        let steps = self.offsets.len().saturating_sub(1);
        Dims { steps, rows: self.batch[1], tokens: self.offsets.last().copied().unwrap_or(0) }
    }
    /// Whether every position exists.
    pub(crate) fn is_whole(&self) -> bool {
        self.positions.is_empty() && self.dims().tokens == self.batch[0] * self.batch[1]
    }
    /// The first row of each step in a packed sequence, and P.
    pub(crate) fn offsets(&self) -> &[usize] {
        &self.offsets
    }
    /// The rows of the batch in the order in which sequences have them.
    pub(crate) fn order(&self) -> &[usize] {
        &self.order
    }
    /// Steps of row `n` of the batch.
    pub(crate) fn length(&self, n: usize) -> usize {
        self.lengths[n]
    }
    /// The place in a packed sequence of step `i` of row `n` of the batch.
    pub(crate) fn place(&self, n: usize, i: usize) -> usize {
        self.offsets[i] + self.ranks[n]
    }
    /// The time and row in the batch of row `p` of a packed sequence.
    pub(crate) fn position(&self, p: usize) -> (usize, usize) {
        let position = if self.is_whole() { p } else { self.positions[p] };
        (position / self.batch[1], position % self.batch[1])
    }
    /// The rows, in a packed sequence, of the steps before and after that of row `p` in the same row of the batch.
    pub(crate) fn neighbours(&self, p: usize) -> [Option<usize>; 2] {
        let (step, n) = (self.offsets.partition_point(|&first| first <= p) - 1, self.position(p).1);
        let next = Some(step + 1).filter(|&next| next < self.lengths[n]);
        [step.checked_sub(1), next].map(|step| step.map(|step| self.place(n, step)))
    }
    /// The row, in a packed sequence, of the step that takes the place of row `p`'s step when its row of the batch is
    /// reversed.
    pub(crate) fn reversed(&self, p: usize) -> usize {
        let (step, n) = (self.offsets.partition_point(|&first| first <= p) - 1, self.position(p).1);
        self.place(n, self.lengths[n] - 1 - step)
    }
    /// The times in the batch from that of row `p` of a packed sequence up to the next step of the same row of the
    /// batch.
    pub(crate) fn times(&self, p: usize) -> Range<usize> {
        let (t, n) = self.position(p);
        if self.is_whole() {
            return t..t + 1;
        }
        let next = self.offsets.partition_point(|&first| first <= p);
        t..if next < self.lengths[n] { self.position(self.place(n, next)).0 } else { self.batch[0] }
    }
    /// The row, in a sequence with its edges, of the state of row `n` of the batch after the step that is read last; of
    /// the state before the first step, where the row has no step.
    pub(crate) fn last(&self, n: usize, reverse: bool) -> usize {
        let Dims { rows, tokens, .. } = self.dims();
        match (self.lengths[n], reverse) {
            (0, false) => self.ranks[n],
            (0, true) => rows + tokens + self.ranks[n],
            (_, true) => rows + self.place(n, 0),
            (length, false) => rows + self.place(n, length - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATTERNS: [&[&str]; 5] = [
        // Behind, in front, in between, all and nothing; rows of the batch are lines, times are columns.
        &["11000", "11111", "11100"],
        &["00011", "11111", "00111", "00001"],
        &["10101", "01010", "11011", "00000", "01110"],
        &["00", "00"],
        &["111", "111"],
    ];

    fn extent(pattern: &[&str]) -> Extent {
        let (rows, steps) = (pattern.len(), pattern[0].len());
        let mut extent = Extent::default();
        extent.build(steps, rows, Some(|at: usize| pattern[at % rows].as_bytes()[at / rows] == b'1'));
        extent
    }

    #[test]
    fn each_position_that_is_there_has_one_place_and_rows_keep_their_order() {
        for pattern in PATTERNS {
            let extent = extent(pattern);
            let dims = extent.dims();
            let mut places = Vec::new();
            for (n, row) in pattern.iter().enumerate() {
                let there: Vec<usize> = (0..row.len()).filter(|&t| row.as_bytes()[t] == b'1').collect();
                let places_of = (0..extent.length(n)).map(|i| extent.place(n, i));
                let steps: Vec<_> = places_of.map(|p| (p, extent.position(p).0)).collect();
                assert_eq!(steps.iter().map(|&(_, t)| t).collect::<Vec<_>>(), there, "{pattern:?}");
                assert!(steps.iter().all(|&(p, t)| extent.position(p) == (t, n)));
                places.extend(steps.iter().map(|&(p, _)| p));
            }
            places.sort_unstable();
            assert_eq!(places, (0..dims.tokens).collect::<Vec<_>>(), "{pattern:?}");
            assert_eq!(extent.is_whole(), pattern.iter().all(|row| !row.contains('0')));
            for n in 0..pattern.len() {
                let place = |i: usize| (i < extent.length(n)).then(|| extent.place(n, i));
                for i in 0..extent.length(n) {
                    let want = [i.checked_sub(1).and_then(place), place(i + 1)];
                    assert_eq!(extent.neighbours(extent.place(n, i)), want, "{pattern:?}");
                    let reversed = extent.reversed(extent.place(n, i));
                    assert_eq!(reversed, extent.place(n, extent.length(n) - 1 - i), "{pattern:?}");
                }
            }
            // The rows that have a step are the first of those that have the one before.
            let counts: Vec<usize> = extent.offsets().windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(counts.windows(2).all(|pair| pair[0] >= pair[1]) && counts.iter().all(|&n| n > 0));
        }
    }

    #[test]
    fn a_batch_without_a_mask_stands_as_it_is() {
        let (mut plain, mut full) = (Extent::default(), Extent::default());
        plain.build(3, 4, None::<fn(usize) -> bool>);
        full.build(3, 4, Some(|_| true));
        for extent in [plain, full] {
            assert_eq!(extent.offsets(), [0, 4, 8, 12]);
            assert_eq!(extent.order(), [0, 1, 2, 3]);
            assert!((0..12).all(|p| extent.position(p) == (p / 4, p % 4)));
            assert_eq!((0..4).map(|n| extent.last(n, false)).collect::<Vec<_>>(), [12, 13, 14, 15]);
            assert_eq!((0..4).map(|n| extent.last(n, true)).collect::<Vec<_>>(), [4, 5, 6, 7]);
        }
    }
}
