//! Parameters with a row a word, of which a step reads and changes few.

use crate::layers::Cx;
use crate::network::Gradient;
use std::ops::Range;
use unroll_kernels::{Mat, MatMut};

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
    pub(crate) fn kernel<'a>(&self, cx: &Cx<'a>) -> Mat<'a> {
        Mat::dense(&cx.params[self.kernel.clone()], self.words(), self.inputs)
    }

    /// The bias of a word; 0 without.
    pub(crate) fn bias(&self, cx: &Cx<'_>, word: u32) -> f32 {
        self.bias.as_ref().map_or(0.0, |bias| cx.params[bias.start + word as usize])
    }

    /// The gradient of the kernel, to add to these rows only; they ascend.
    pub(crate) fn kernel_gradient<'g>(&self, grads: &'g mut Gradient, words: &[u32]) -> MatMut<'g> {
        let (rows, inputs) = (self.words(), self.inputs);
        MatMut::dense(grads.add_rows(&self.kernel, words), rows, inputs)
    }

    /// Adds `d[i]` to the gradient of the bias of word `words[i]`; they ascend, each once.
    pub(crate) fn add_bias_gradient(&self, grads: &mut Gradient, words: &[u32], d: &[f32]) {
        let Some(bias) = &self.bias else { return };
        let bias = grads.add_rows(bias, words);
        words.iter().zip(d).for_each(|(&word, d)| bias[word as usize] += d);
    }

    /// Adds `d`, element after element of these spans of words, which ascend, to the gradient of the bias.
    pub(crate) fn add_bias_spans(&self, grads: &mut Gradient, spans: &[Range<u32>], d: &[f32]) {
        let Some(bias) = &self.bias else { return };
        let (bias, mut rest) = (grads.add_spans(bias, spans), d);
        for span in spans {
            let own = rest.split_off(..span.len()).unwrap_or_default();
            bias[span.start as usize..span.end as usize].iter_mut().zip(own).for_each(|(sum, d)| *sum += d);
        }
    }
}
