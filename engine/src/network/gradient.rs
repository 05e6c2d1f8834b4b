//! The gradient of all parameters in one arena, as a step writes it.
//!
//! The first that writes a tensor in a step overwrites what the step before left there, and those after it add; so the
//! arena is never cleared as a whole. A table's gradient is rows: only the rows of the batch's tokens are cleared and
//! added to, and a rule for which a zero gradient changes nothing passes over the others. Read densely, the arena is
//! right at any time after a step.

use crate::exec::{Products, Start};
use crate::graph::{ParamSpec, Role};
use std::ops::Range;
use unroll_kernels::Buffer;

/// Which elements of a tensor may differ from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Nothing,
    /// Those of the listed rows.
    Rows,
    All,
}

/// Rows that room is made for when a table is first written to: what a step lists. Later steps allocate only where one lists more.
const LISTED: usize = 1 << 16;

/// One tensor of the gradient.
#[derive(Debug)]
struct Tensor {
    range: Range<usize>,
    /// Elements of a row.
    width: usize,
    /// Whether this step has written to it.
    written: bool,
    content: Content,
    /// Ascending, none touching another; with [`Content::Rows`].
    spans: Vec<Range<u32>>,
}

impl Tensor {
    /// The elements of some rows in the arena.
    fn elements(&self, span: &Range<u32>) -> Range<usize> {
        let at = |row: u32| self.range.start + row as usize * self.width;
        at(span.start)..at(span.end)
    }

    /// Sets what the step before left to zero.
    fn clear(&mut self, values: &mut [f32]) {
        match self.content {
            Content::Nothing => {}
            Content::Rows => self.clear_within(&(0..self.range.len()), &mut values[self.range.clone()]),
            Content::All => values[self.range.clone()].fill(0.0),
        }
        self.content = Content::Nothing;
    }

    /// Sets what the step before left in a part of the tensor, whose elements are counted from its first, to zero.
    fn clear_within(&self, range: &Range<usize>, part: &mut [f32]) {
        let at = |row: u32| row as usize * self.width;
        let begin = self.spans.partition_point(|span| at(span.end) <= range.start);
        for span in self.spans[begin..].iter().take_while(|span| at(span.start) < range.end) {
            let (from, to) = (at(span.start).max(range.start), at(span.end).min(range.end));
            part[from - range.start..to - range.start].fill(0.0);
        }
    }

    /// Notes that rows, in ascending spans, may differ from zero from now on.
    fn include(&mut self, spans: impl Iterator<Item = Range<u32>>) {
        match self.content {
            Content::All => return,
            Content::Rows => {}
            Content::Nothing => {
                self.spans.clear();
                self.spans.reserve((2 * self.range.len() / self.width.max(1)).min(LISTED));
            }
        }
        self.content = Content::Rows;
        let several = !self.spans.is_empty();
        self.spans.extend(spans);
        if several {
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
}

/// The arena of gradients.
pub(crate) struct Gradient {
    values: Buffer,
    tensors: Vec<Tensor>,
}

impl Gradient {
    /// For these parameters, in an arena that is zero.
    pub(super) fn new(specs: &[ParamSpec], values: Buffer) -> Self {
        let mut specs: Vec<&ParamSpec> = specs.iter().collect();
        specs.sort_unstable_by_key(|spec| spec.range.start);
        let tensors = specs.into_iter().map(|spec| Tensor {
            range: spec.range.clone(),
            // A bias of which few elements are read has a row a word, as its kernel.
            width: if spec.role == Role::WordBias { 1 } else { spec.shape.last().copied().unwrap_or(1) },
            written: false,
            content: Content::Nothing,
            spans: Vec::new(),
        });
        Self { values, tensors: tensors.collect() }
    }

    /// Begins a step. What rows of the step before have left is cleared here, by all threads.
    pub(super) fn begin(&mut self, products: Products<'_>) {
        for tensor in &mut self.tensors {
            tensor.written = false;
            if tensor.content == Content::Rows {
                let own = &mut self.values[tensor.range.clone()];
                products.by_blocks(own, 4096, |range, part| tensor.clear_within(&range, part));
                tensor.content = Content::Nothing;
            }
        }
    }

    /// Ends a step: what nobody wrote is zero.
    pub(super) fn finish(&mut self) {
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

    /// A whole tensor, or several that stand behind one another, for one who writes all their elements: from zero if he is the
    /// first in this step, else adding.
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
            if !std::mem::replace(&mut tensor.written, true) && begun {
                tensor.clear(values);
            }
            tensor.content = Content::All;
        }
        (if begun { Start::Keep } else { Start::Zero }, &mut values[range.clone()])
    }

    /// A tensor or a part of it, to add to.
    pub(crate) fn add(&mut self, range: &Range<usize>) -> &mut [f32] {
        let (tensor, values) = self.tensor(range);
        if !std::mem::replace(&mut tensor.written, true) {
            tensor.clear(values);
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

    /// A tensor, to add to these rows only; they ascend.
    pub(crate) fn add_rows(&mut self, range: &Range<usize>, rows: &[u32]) -> &mut [f32] {
        self.add_to(range, rows.iter().map(|&row| row..row + 1))
    }

    /// A tensor, to add to the rows of these spans only; they ascend.
    pub(crate) fn add_spans(&mut self, range: &Range<usize>, spans: &[Range<u32>]) -> &mut [f32] {
        self.add_to(range, spans.iter().cloned())
    }

    fn add_to(&mut self, range: &Range<usize>, spans: impl Iterator<Item = Range<u32>>) -> &mut [f32] {
        let (tensor, values) = self.tensor(range);
        assert_eq!(*range, tensor.range, "a whole tensor");
        if !std::mem::replace(&mut tensor.written, true) {
            tensor.clear(values);
        }
        tensor.include(spans);
        &mut values[range.clone()]
    }

    /// Nobody has written these tensors, for whoever wrote them for a moment.
    pub(super) fn forget(&mut self, range: &Range<usize>) {
        for tensor in self.tensors.iter_mut().filter(|t| range.start <= t.range.start && t.range.end <= range.end) {
            tensor.clear(&mut self.values);
            tensor.written = false;
        }
    }

    /// Adds another gradient of the same parameters.
    pub(super) fn add_all(&mut self, products: Products<'_>, other: &Self) {
        for (tensor, from) in self.tensors.iter_mut().zip(&other.tensors) {
            match from.content {
                Content::Nothing => {}
                Content::Rows => {
                    for span in from.spans.iter().map(|span| from.elements(span)) {
                        add(&mut self.values[span.clone()], &other.values[span]);
                    }
                    tensor.include(from.spans.iter().cloned());
                }
                Content::All => {
                    let from = &other.values[tensor.range.clone()];
                    let sums = &mut self.values[tensor.range.clone()];
                    products.by_blocks(sums, 4096, |range, part| add(part, &from[range]));
                    tensor.content = Content::All;
                }
            }
        }
    }

    /// To read.
    pub(super) fn view(&self) -> GradientRef<'_> {
        GradientRef { values: &self.values, tensors: &self.tensors }
    }

    /// All elements, to change at will.
    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        self.tensors.iter_mut().for_each(|tensor| tensor.content = Content::All);
        &mut self.values
    }
}

fn add(sums: &mut [f32], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, x)| *sum += x);
}

/// A gradient that is read: all its elements, and which of them may differ from zero.
#[derive(Clone, Copy)]
pub struct GradientRef<'a> {
    values: &'a [f32],
    tensors: &'a [Tensor],
}

impl<'a> From<&'a [f32]> for GradientRef<'a> {
    /// A gradient any element of which may differ from zero.
    fn from(values: &'a [f32]) -> Self {
        Self { values, tensors: &[] }
    }
}

impl<'a> GradientRef<'a> {
    /// All elements, laid out as the parameters.
    pub fn values(self) -> &'a [f32] {
        self.values
    }

    /// Calls `body` with ascending ranges that cover every element of `range` that may differ from zero.
    pub fn for_each_extent(self, range: Range<usize>, mut body: impl FnMut(Range<usize>)) {
        let mut body = |from: usize, to: usize| {
            if from < to {
                body(from..to);
            }
        };
        let mut at = range.start;
        let first = self.tensors.partition_point(|tensor| tensor.range.end <= range.start);
        for tensor in self.tensors[first..].iter().take_while(|tensor| tensor.range.start < range.end) {
            if tensor.content == Content::All {
                continue;
            }
            body(at, tensor.range.start);
            at = tensor.range.end;
            if tensor.content == Content::Rows {
                let begin = tensor.spans.partition_point(|span| tensor.elements(span).end <= range.start);
                for span in tensor.spans[begin..].iter().map(|span| tensor.elements(span)) {
                    if span.start >= range.end {
                        break;
                    }
                    body(span.start.max(range.start), span.end.min(range.end));
                }
            }
        }
        body(at, range.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Crew, Scratch};
    use crate::graph::Initializer;
    use unroll_kernels::Isa;
    use unroll_kernels::gemm::Precision;

    /// A table of 5 rows of 3, a bias of 4 and a kernel of 2 x 3, each from a multiple of 16 on.
    fn gradient() -> Gradient {
        let spec = |shape: &[usize], start: usize| ParamSpec {
            name: format!("at {start}"),
            role: Role::Kernel,
            shape: shape.to_vec(),
            range: start..start + shape.iter().product::<usize>(),
            initializer: Initializer::Zeros,
            ones: None,
        };
        Gradient::new(&[spec(&[5, 3], 0), spec(&[4], 16), spec(&[2, 3], 32)], Buffer::new(48))
    }

    /// Begins a step on one thread.
    fn begin(gradient: &mut Gradient) {
        let (crew, scratch) = (Crew::posing(1), Scratch::new(1, Isa::best(), Precision::F32));
        let team = crew.team();
        gradient.begin(Products { team: &team, isa: Isa::best(), precision: Precision::F32, scratch: &scratch });
    }

    fn extents(gradient: &Gradient, range: Range<usize>) -> Vec<Range<usize>> {
        let mut all = Vec::new();
        gradient.view().for_each_extent(range, |extent| all.push(extent));
        all
    }

    #[test]
    fn the_first_to_write_overwrites_and_the_others_add() {
        let mut gradient = gradient();
        for step in 0..3 {
            begin(&mut gradient);
            let (start, kernel) = gradient.write(&(32..38));
            assert!(matches!(start, Start::Zero));
            kernel.fill(1.0);
            assert!(matches!(gradient.write(&(32..38)).0, Start::Keep));
            let bias = gradient.add(&(16..20));
            assert_eq!(bias, [0.0; 4], "step {step}");
            bias[1] = 7.0;
            // The second half of a bias that the first has begun.
            assert_eq!(gradient.add(&(18..20)), [0.0; 2]);
            assert_eq!(gradient.add(&(16..18)), [0.0, 7.0]);
            gradient.finish();
        }
        begin(&mut gradient);
        gradient.finish();
        assert!(gradient.view().values().iter().all(|&x| x == 0.0), "what nobody wrote is zero");
        assert_eq!(extents(&gradient, 0..48), [15..16, 20..32, 38..48], "only the room between tensors is left");
    }

    #[test]
    fn rows_of_the_step_before_are_cleared_and_the_others_passed_over() {
        let mut gradient = gradient();
        begin(&mut gradient);
        gradient.add_rows(&(0..15), &[1, 4])[3..6].fill(2.0);
        // A second look-up in the same table.
        gradient.add_rows(&(0..15), &[0, 1])[0..3].fill(3.0);
        gradient.finish();
        assert_eq!(extents(&gradient, 0..16), [0..6, 12..15, 15..16]);
        assert_eq!(extents(&gradient, 4..13), [4..6, 12..13]);

        begin(&mut gradient);
        gradient.add_rows(&(0..15), &[2])[6..9].fill(5.0);
        gradient.finish();
        assert_eq!(gradient.view().values()[..9], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 5.0, 5.0]);
        assert_eq!(extents(&gradient, 0..15), vec![6..9]);

        begin(&mut gradient);
        gradient.add_spans(&(0..15), &[0..2, 3..4])[9..12].fill(1.0);
        gradient.add_rows(&(0..15), &[2]);
        gradient.add_spans(&(0..15), &[1..2, 2..3]);
        gradient.finish();
        assert_eq!(extents(&gradient, 0..15), vec![0..12]);
        assert_eq!(gradient.view().values()[6..9], [0.0; 3], "of the step before");

        // A table that is also a kernel: whole, then rows on top.
        begin(&mut gradient);
        gradient.write(&(0..15)).1.fill(1.0);
        gradient.add_rows(&(0..15), &[2]);
        gradient.finish();
        assert_eq!(extents(&gradient, 0..15), vec![0..15]);
    }
}
