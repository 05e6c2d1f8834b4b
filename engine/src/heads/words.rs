//! Parameters with a row for each word, of which a step reads and changes few.

use crate::gradient::Gradient;
use crate::layers::Context;
use std::ops::Range;
use unroll_kernels::embedding::Distinct;
use unroll_kernels::mat::padded;
use unroll_kernels::pairs::{self, Weighted};
use unroll_kernels::{Buffer, Mat, MatMut};

/// A kernel (V, D) and a bias (V), each of whose rows belongs to one word, class or node.
#[derive(Clone, Debug)]
pub(crate) struct WordParams {
    pub(crate) kernel: Range<usize>,
    pub(crate) bias: Option<Range<usize>>,
    /// D
    pub(crate) inputs: usize,
}

impl WordParams {
    /// V
    pub(crate) fn words(&self) -> usize {
        self.kernel.len() / self.inputs.max(1)
    }

    /// The kernel.
    pub(crate) fn kernel<'a>(&self, ctx: &Context<'a>) -> Mat<'a> {
        Mat::dense(&ctx.params[self.kernel.clone()], self.words(), self.inputs)
    }

    /// The bias of a word; 0 without.
    pub(crate) fn bias(&self, ctx: &Context<'_>, word: u32) -> f32 {
        self.bias.as_ref().map_or(0.0, |bias| ctx.params[bias.start + word as usize])
    }

    /// Adds `d[i]` to the gradient of the bias of word `words[i]`; they ascend, each once.
    pub(crate) fn add_bias_gradient(&self, grads: &mut Gradient, words: &[u32], d: &[f32]) {
        let Some(bias) = &self.bias else { return };
        let bias = grads.add_spans(bias, words.iter().map(|&word| word..word + 1));
        words.iter().zip(d).for_each(|(&word, d)| bias[word as usize] += d);
    }

    /// Adds `d`, element after element of these spans of words, which ascend, to the gradient of the bias.
    pub(crate) fn add_bias_spans(&self, grads: &mut Gradient, spans: &[Range<u32>], d: &[f32]) {
        let Some(bias) = &self.bias else { return };
        let (bias, mut rest) = (grads.add_spans(bias, spans.iter().cloned()), d);
        for span in spans {
            let own = rest.split_off(..span.len()).unwrap_or_default();
            bias[span.start as usize..span.end as usize].iter_mut().zip(own).for_each(|(sum, d)| *sum += d);
        }
    }
}

/// Weighted rows in groups, one group for each of some words: the gradient of a word's row is the sum of its group.
#[derive(Default)]
pub(crate) struct Grouped {
    starts: Vec<u32>,
    rows: Vec<u32>,
    weights: Vec<f32>,
    sums: Vec<f32>,
    kernel: Buffer,
}

impl Grouped {
    /// Groups the positions of each distinct word; `entry` tells the row and the weight of a position.
    pub(crate) fn build(&mut self, distinct: &Distinct, entry: impl Fn(u32) -> (u32, f32)) {
        self.starts.clear();
        self.rows.clear();
        self.weights.clear();
        self.starts.push(0);
        for u in 0..distinct.tokens().len() {
            for &position in distinct.positions(u) {
                let (row, weight) = entry(position);
                self.rows.push(row);
                self.weights.push(weight);
            }
            self.starts.push(self.rows.len() as u32);
        }
    }

    /// Adds the weighted sums of the rows of `x` to the gradient of these words' rows of a kernel, one a group.
    pub(crate) fn add_rows(
        &mut self,
        ctx: &Context<'_>,
        x: Mat<'_>,
        words: &[u32],
        (kernel, grads): (&Range<usize>, &mut Gradient),
    ) {
        let (count, inputs) = (words.len(), x.cols());
        let stride = padded(inputs);
        self.kernel.reserve(count * stride);
        let sums = MatMut::new(&mut self.kernel, count, inputs, stride);
        let (starts, sources, weights) = (&self.starts, &self.rows, &self.weights);
        ctx.products().by_rows(sums, |range, mut part| {
            (0..range.len()).for_each(|u| part.row_mut(u).fill(0.0));
            let starts = &starts[range.start..=range.end];
            pairs::add_weighted(ctx.isa, x, Weighted { starts, sources, weights }, part);
        });
        grads.add_rows(ctx.products(), kernel, words, (&mut self.kernel, stride));
    }

    /// The sum of the weights of each group.
    pub(crate) fn sums(&mut self) -> &[f32] {
        let weights = &self.weights;
        let of = |group: &[u32]| weights[group[0] as usize..group[1] as usize].iter().sum::<f32>();
        self.sums.clear();
        self.sums.extend(self.starts.windows(2).map(of));
        &self.sums
    }
}
