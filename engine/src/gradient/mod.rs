//! The gradient of all parameters in one arena, as a step writes it.
//!
//! The first writer of a tensor in a step overwrites what the step before left there, and later ones add to it, so the
//! arena is never cleared as a whole. The gradient of a table consists of rows. Those of the batch's tokens stand in a
//! separate list, sorted and each once, so that the table's part of the arena takes no memory; a rule that a zero
//! gradient leaves unchanged skips all other rows.

mod row_list;
mod view;

pub use view::GradientRef;

use crate::arena::Home;
use crate::error::Result;
use crate::exec::{Products, Start};
use crate::graph::{ParamSpec, Role};
use row_list::RowList;
use std::ops::Range;
use unroll_kernels::{Buffer, Mat, MatMut};

/// Which elements of a tensor may differ from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Nothing,
    /// Those of some rows, which are in a list of their own.
    RowList,
    /// Those of some rows, which are in the arena.
    Spans,
    All,
}

/// Room is made for this many spans when the first one comes. Later steps allocate only if there are more.
const EXPECTED: usize = 1 << 16;

/// One tensor of the gradient.
struct Tensor {
    range: Range<usize>,
    /// Elements of a row.
    width: usize,
    /// Whether this step has written to it.
    written: bool,
    content: Content,
    /// Ascending, none touching another; with [`Content::Spans`].
    spans: Vec<Range<u32>>,
    /// With [`Content::RowList`].
    row_list: RowList,
}

impl Tensor {
    /// The elements of some rows in the arena.
    fn elements(&self, span: &Range<u32>) -> Range<usize> {
        let at = |row: u32| self.range.start + row as usize * self.width;
        at(span.start)..at(span.end)
    }

    /// Sets to zero what the step before left.
    fn clear(&mut self, values: &mut [f32]) {
        match self.content {
            Content::Nothing => {}
            Content::RowList => self.row_list.clear(),
            Content::Spans => self.clear_within(&(0..self.range.len()), &mut values[self.range.clone()]),
            Content::All => values[self.range.clone()].fill(0.0),
        }
        self.content = Content::Nothing;
    }

    /// Sets to zero what the step before left in a part of the tensor; the range counts from the tensor's first
    /// element.
    fn clear_within(&self, range: &Range<usize>, part: &mut [f32]) {
        let at = |row: u32| row as usize * self.width;
        let begin = self.spans.partition_point(|span| at(span.end) <= range.start);
        for span in self.spans[begin..].iter().take_while(|span| at(span.start) < range.end) {
            let (from, to) = (at(span.start).max(range.start), at(span.end).min(range.end));
            part[from - range.start..to - range.start].fill(0.0);
        }
    }

    /// Notes that rows of the arena may differ from zero from now on.
    fn include(&mut self, spans: impl Iterator<Item = Range<u32>>) {
        match self.content {
            Content::All => return,
            Content::Spans => {}
            Content::Nothing | Content::RowList => {
                self.spans.clear();
                self.spans.reserve((2 * self.range.len() / self.width.max(1)).min(EXPECTED));
            }
        }
        self.content = Content::Spans;
        self.spans.extend(spans);
        if !self.spans.is_sorted_by_key(|span| span.start) {
            self.spans.sort_unstable_by_key(|span| span.start);
        }
        // Those that touch become one.
        self.spans.dedup_by(|next, last| {
            let touch = next.start <= last.end;
            if touch {
                last.end = last.end.max(next.end);
            }
            touch
        });
    }

    /// Moves rows from their list to their places in the arena.
    fn scatter(&mut self, values: &mut [f32]) {
        if self.content == Content::RowList {
            let (rows, from) = self.row_list.at(self.width);
            for (i, &row) in rows.iter().enumerate() {
                values[self.elements(&(row..row + 1))].copy_from_slice(from.row(i));
            }
            let row_list = std::mem::take(&mut self.row_list);
            self.include(row_list.rows().map(|row| row..row + 1));
            self.row_list = row_list;
            self.row_list.clear();
        }
    }

    /// Adds row i of `from` to row `rows[i]`, each once, wherever they stand.
    fn add_rows(&mut self, values: &mut [f32], products: Products<'_>, rows: &[u32], from: Mat<'_>) {
        match self.content {
            Content::Nothing | Content::RowList => {
                self.content = Content::RowList;
                self.row_list.add(products, rows, from);
            }
            Content::Spans | Content::All => {
                let own = &mut values[self.range.clone()];
                let count = own.len() / self.width;
                products.add_rows(from, rows, MatMut::dense(own, count, self.width));
                self.include(rows.iter().map(|&row| row..row + 1));
            }
        }
    }
}

/// The arena of gradients.
pub(crate) struct Gradient {
    values: Buffer,
    tensors: Vec<Tensor>,
}

impl Gradient {
    /// For these parameters in an arena of `len` elements, zero. The gradients of the tables among them come as rows.
    pub(crate) fn new(specs: &[ParamSpec], len: usize, tables: &[Range<usize>], home: &Home) -> Result<Self> {
        let mut specs: Vec<&ParamSpec> = specs.iter().collect();
        specs.sort_unstable_by_key(|spec| spec.range.start);
        let tensors = specs.into_iter().map(|spec| Tensor {
            range: spec.range.clone(),
            // A bias of which few elements are read has a row a word, as its kernel.
            width: if spec.role == Role::WordBias { 1 } else { spec.shape.last().copied().unwrap_or(1) },
            written: false,
            content: Content::Nothing,
            spans: Vec::new(),
            row_list: RowList::default(),
        });
        Ok(Self { tensors: tensors.collect(), values: home.sparse_arena(len, tables)? })
    }

    /// Begins a step. What the step before has left in rows is cleared here, by all threads.
    pub(crate) fn begin(&mut self, products: Products<'_>) {
        for tensor in &mut self.tensors {
            tensor.written = false;
            match tensor.content {
                Content::RowList => tensor.clear(&mut self.values),
                Content::Spans => {
                    let own = &mut self.values[tensor.range.clone()];
                    products.by_blocks(own, 4096, |range, part| tensor.clear_within(&range, part));
                    tensor.content = Content::Nothing;
                }
                Content::Nothing | Content::All => {}
            }
        }
    }

    /// Ends a step: tensors that nobody wrote become zero.
    pub(crate) fn finish(&mut self) {
        for tensor in self.tensors.iter_mut().filter(|tensor| !tensor.written) {
            tensor.clear(&mut self.values);
        }
    }

    /// The tensor that contains `range`, and the arena.
    fn tensor(&mut self, range: &Range<usize>) -> (&mut Tensor, &mut Buffer) {
        let i = self.tensors.partition_point(|tensor| tensor.range.end <= range.start);
        let tensor = &mut self.tensors[i];
        assert!(tensor.range.start <= range.start && range.end <= tensor.range.end, "a part of one tensor");
        (tensor, &mut self.values)
    }

    /// A whole tensor, or several contiguous ones, for a caller that writes all of their elements. The returned start
    /// is zero for the first caller in this step; later ones must add to what is there.
    pub(crate) fn write(&mut self, range: &Range<usize>) -> (Start<'static>, &mut [f32]) {
        let Self { values, tensors } = self;
        let first = tensors.partition_point(|tensor| tensor.range.end <= range.start);
        let count = tensors[first..].iter().take_while(|tensor| tensor.range.start < range.end).count();
        let tensors = &mut tensors[first..first + count];
        let mut end = range.start;
        for tensor in &*tensors {
            assert_eq!(tensor.range.start, end, "whole tensors");
            end = tensor.range.end;
        }
        assert_eq!(end, range.end, "whole tensors");
        let begun = tensors.iter().any(|tensor| tensor.written);
        for tensor in tensors {
            match std::mem::replace(&mut tensor.written, true) {
                true => tensor.scatter(values),
                false if begun => tensor.clear(values),
                false => {}
            }
            tensor.content = Content::All;
        }
        (if begun { Start::Keep } else { Start::Zero }, &mut values[range.clone()])
    }

    /// A tensor or a part of it, to add to.
    pub(crate) fn add(&mut self, range: &Range<usize>) -> &mut [f32] {
        let (tensor, values) = self.tensor(range);
        match std::mem::replace(&mut tensor.written, true) {
            true => tensor.scatter(values),
            false => tensor.clear(values),
        }
        tensor.content = Content::All;
        &mut values[range.clone()]
    }

    /// [`Self::write`] of one tensor and, where there is one, [`Self::add`] of another.
    pub(crate) fn write_and_add(
        &mut self,
        write: &Range<usize>,
        add: Option<&Range<usize>>,
    ) -> (Start<'static>, &mut [f32], Option<&mut [f32]>) {
        if let Some(add) = add {
            self.add(add);
        }
        let (start, _) = self.write(write);
        let values = &mut self.values[..];
        let Some(add) = add else { return (start, &mut values[write.clone()], None) };
        // Whichever comes first in the arena.
        let (left, right) = values.split_at_mut(write.start.max(add.start));
        if write.start < add.start {
            (start, &mut left[write.clone()], Some(&mut right[..add.len()]))
        } else {
            (start, &mut right[..write.len()], Some(&mut left[add.clone()]))
        }
    }

    /// Adds row i of `sums`, whose rows begin `stride` elements apart, to row `rows[i]` of a tensor; `rows` ascend,
    /// each once. The first caller in this step loses its buffer, and gets another in its place.
    pub(crate) fn add_rows(
        &mut self,
        products: Products<'_>,
        range: &Range<usize>,
        rows: &[u32],
        (sums, stride): (&mut Buffer, usize),
    ) {
        let (tensor, values) = self.tensor(range);
        assert_eq!(*range, tensor.range, "a whole tensor");
        debug_assert!(rows.is_sorted_by(|a, b| a < b), "rows that ascend");
        if !std::mem::replace(&mut tensor.written, true) {
            tensor.clear(values);
            tensor.content = Content::RowList;
            return tensor.row_list.take(rows, sums, stride);
        }
        let from = Mat::new(sums, rows.len(), tensor.width, stride);
        tensor.add_rows(values, products, rows, from);
    }

    /// A tensor, to add to the rows of these spans only; they ascend.
    pub(crate) fn add_spans(&mut self, range: &Range<usize>, spans: impl Iterator<Item = Range<u32>>) -> &mut [f32] {
        let (tensor, values) = self.tensor(range);
        assert_eq!(*range, tensor.range, "a whole tensor");
        match std::mem::replace(&mut tensor.written, true) {
            true => tensor.scatter(values),
            false => tensor.clear(values),
        }
        tensor.include(spans);
        &mut values[range.clone()]
    }

    /// Nobody has written these tensors, for whoever wrote them for a moment.
    pub(crate) fn forget(&mut self, range: &Range<usize>) {
        for tensor in self.tensors.iter_mut().filter(|t| range.start <= t.range.start && t.range.end <= range.end) {
            tensor.clear(&mut self.values);
            tensor.written = false;
        }
    }

    /// Adds another gradient of the same parameters.
    pub(crate) fn add_all(&mut self, products: Products<'_>, other: &Self) {
        for (tensor, from) in self.tensors.iter_mut().zip(&other.tensors) {
            match from.content {
                Content::Nothing => {}
                Content::RowList => {
                    let (rows, rows_of) = from.row_list.at(from.width);
                    tensor.add_rows(&mut self.values, products, rows, rows_of);
                }
                Content::Spans => {
                    tensor.scatter(&mut self.values);
                    for span in from.spans.iter().map(|span| from.elements(span)) {
                        add(&mut self.values[span.clone()], &other.values[span]);
                    }
                    tensor.include(from.spans.iter().cloned());
                }
                Content::All => {
                    tensor.scatter(&mut self.values);
                    let from = &other.values[tensor.range.clone()];
                    let sums = &mut self.values[tensor.range.clone()];
                    products.by_blocks(sums, 4096, |range, part| add(part, &from[range]));
                    tensor.content = Content::All;
                }
            }
        }
    }

    /// A view to read.
    pub(crate) fn view(&self) -> GradientRef<'_> {
        GradientRef::new(&self.values, &self.tensors)
    }

    /// All elements.
    pub(crate) fn whole(&mut self) -> &[f32] {
        self.tensors.iter_mut().for_each(|tensor| tensor.scatter(&mut self.values));
        &self.values
    }

    /// All elements, to change at will.
    pub(crate) fn whole_mut(&mut self) -> &mut [f32] {
        self.whole();
        self.tensors.iter_mut().for_each(|tensor| tensor.content = Content::All);
        &mut self.values
    }
}

fn add(sums: &mut [f32], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
}

#[cfg(test)]
mod tests;
