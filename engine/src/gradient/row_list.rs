//! Rows of the gradient of a table that stand close together, whichever rows of the table they belong to.

use std::ops::Range;

use crate::exec::Products;
use unroll_kernels::mat::padded;
use unroll_kernels::{Buffer, Mat, MatMut};

/// Rows that room is made for at first, so that a step that lists more than those before it seldom allocates.
const EXPECTED: usize = 1 << 13;

/// The rows that a step has listed, each once, in the order in which they came.
#[derive(Default)]
pub(super) struct RowList {
    /// Which row of the table stands at each place.
    rows: Vec<u32>,
    /// The places in the order of their rows.
    order: Vec<u32>,
    values: Buffer,
    /// Elements from one place to the next.
    stride: usize,
    /// Where the rows that come stand.
    places: Vec<u32>,
}

impl RowList {
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.order.clear();
    }

    /// Begins with these rows, each once; their buffer is taken, and another left in its place.
    pub(super) fn take(&mut self, rows: &[u32], values: &mut Buffer, stride: usize) {
        self.clear();
        self.rows.reserve(EXPECTED);
        self.order.reserve(EXPECTED);
        self.rows.extend_from_slice(rows);
        // What is left in its place has as much room, so that the step after the first allocates nothing.
        self.values.reserve(values.len());
        std::mem::swap(&mut self.values, values);
        self.stride = stride;
        self.sort();
    }

    /// Adds row i of `from` to row `rows[i]` of the table, each once.
    pub(super) fn add(&mut self, products: Products<'_>, rows: &[u32], from: Mat<'_>) {
        let known = self.rows.len();
        self.places.clear();
        for &row in rows {
            let found = self.order.binary_search_by_key(&row, |&place| self.rows[place as usize]);
            self.places.push(match found {
                Ok(i) => self.order[i],
                Err(_) => {
                    self.rows.push(row);
                    self.rows.len() as u32 - 1
                }
            });
        }
        if known == 0 {
            self.stride = padded(from.cols());
        }
        let (count, stride) = (self.rows.len(), self.stride);
        self.values.reserve(count * stride);
        self.values[known * stride..count * stride].fill(0.0);
        products.add_rows(from, &self.places, MatMut::new(&mut self.values, count, from.cols(), stride));
        self.sort();
    }

    fn sort(&mut self) {
        self.order.extend(self.order.len() as u32..self.rows.len() as u32);
        let rows = &self.rows;
        if !self.order.is_sorted_by_key(|&place| rows[place as usize]) {
            self.order.sort_unstable_by_key(|&place| rows[place as usize]);
        }
    }

    /// Which row of the table stands at each place, and what stands there, each row of so many elements.
    pub(super) fn at(&self, width: usize) -> (&[u32], Mat<'_>) {
        (&self.rows, Mat::new(&self.values, self.rows.len(), width, self.stride))
    }

    /// The rows, which ascend.
    pub(super) fn rows(&self) -> impl Iterator<Item = u32> {
        self.order.iter().map(|&place| self.rows[place as usize])
    }

    /// Calls `body` with ascending ranges of a table whose rows have so many elements, and with what stands there: all
    /// that is within `range`.
    pub(super) fn for_each_extent<'a>(
        &'a self,
        width: usize,
        range: &Range<usize>,
        body: &mut impl FnMut(Range<usize>, &'a [f32]),
    ) {
        let (rows, order) = (&self.rows, &self.order);
        let start = |i: usize| rows[order[i] as usize] as usize * width;
        let mut i = order.partition_point(|&place| (rows[place as usize] as usize + 1) * width <= range.start);
        while i < order.len() && start(i) < range.end {
            // Rows that follow each other here and there are one extent.
            let (first, from) = (i, order[i] as usize);
            let follows =
                |i: usize| start(i) == start(first) + (i - first) * width && order[i] as usize == from + i - first;
            i += 1;
            while i < order.len() && self.stride == width && follows(i) {
                i += 1;
            }
            let extent = start(first).max(range.start)..(start(first) + (i - first) * width).min(range.end);
            let at = from * self.stride + extent.start - start(first);
            body(extent.clone(), &self.values[at..at + extent.len()]);
        }
    }
}
