//! A gradient that is read.

use std::ops::Range;

use super::{Content, Tensor};

/// What stands where a gradient has nothing.
static ZEROS: [f32; 4096] = [0.0; 4096];

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
    pub(super) fn new(values: &'a [f32], tensors: &'a [Tensor]) -> Self {
        Self { values, tensors }
    }

    /// How many elements it has: as many as there are parameters.
    #[allow(clippy::len_without_is_empty, reason = "a model has parameters")]
    pub fn len(self) -> usize {
        self.values.len()
    }

    /// Calls `body` with ascending ranges, laid out as the parameters, and with their elements: with every element of
    /// `range` that may differ from zero.
    pub fn for_each_extent(self, range: Range<usize>, mut body: impl FnMut(Range<usize>, &'a [f32])) {
        fn dense<'a>(values: &'a [f32], range: Range<usize>, body: &mut impl FnMut(Range<usize>, &'a [f32])) {
            if range.start < range.end {
                body(range.clone(), &values[range]);
            }
        }
        let mut at = range.start;
        let first = self.tensors.partition_point(|tensor| tensor.range.end <= range.start);
        for tensor in self.tensors[first..].iter().take_while(|tensor| tensor.range.start < range.end) {
            let start = tensor.range.start;
            if tensor.content == Content::All {
                continue;
            }
            dense(self.values, at..start, &mut body);
            at = tensor.range.end;
            match tensor.content {
                Content::Spans => {
                    let begin = tensor.spans.partition_point(|span| tensor.elements(span).end <= range.start);
                    for span in tensor.spans[begin..].iter().map(|span| tensor.elements(span)) {
                        if span.start >= range.end {
                            break;
                        }
                        dense(self.values, span.start.max(range.start)..span.end.min(range.end), &mut body);
                    }
                }
                Content::RowList => {
                    let own = range.start.saturating_sub(start)..range.end - start;
                    let mut body =
                        |extent: Range<usize>, values| body(start + extent.start..start + extent.end, values);
                    tensor.row_list.for_each_extent(tensor.width, &own, &mut body);
                }
                Content::Nothing | Content::All => {}
            }
        }
        dense(self.values, at..range.end, &mut body);
    }

    /// [`Self::for_each_extent`] with every element of `range`, zeros among them.
    pub fn for_each(self, range: Range<usize>, mut body: impl FnMut(Range<usize>, &[f32])) {
        let mut at = range.start;
        let zeros = |from: usize, to: usize, body: &mut dyn FnMut(Range<usize>, &[f32])| {
            for start in (from..to).step_by(ZEROS.len()) {
                let end = to.min(start + ZEROS.len());
                body(start..end, &ZEROS[..end - start]);
            }
        };
        self.for_each_extent(range.clone(), |extent, values| {
            zeros(at, extent.start, &mut body);
            at = extent.end;
            body(extent, values);
        });
        zeros(at, range.end, &mut body);
    }
}
