//! The parameters of a model: names, shapes, initial values and places in the arena.

use super::config::Initializer;
use crate::error::{Error, Result};
use std::ops::Range;

/// The role of a parameter in its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A table of vectors (V, D).
    Embeddings,
    /// Weights from inputs to outputs (D, units), or to gates (D, gates * units).
    Kernel,
    /// Weights from the hidden state to the gates (H, gates * H).
    RecurrentKernel,
    /// The bias of outputs or gates; (2, 3 H) for a GRU that resets after the product, which has two.
    Bias,
    /// A second bias, on the hidden side (gates * H), where a cell is declared with it.
    RecurrentBias,
    /// Weights with a row for each word (V, D), of a head that reads few rows in a step.
    WordKernel,
    /// The bias of such a head (V).
    WordBias,
    /// Peephole weights: how the gates i, f and o see the cell state (3, H).
    Peephole,
    /// A layer normalisation's gain (D).
    Gamma,
    /// A layer normalisation's offset (D).
    Beta,
}

/// A parameter tensor and its place in the arena.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// `layer/kernel`, `bidirectional/forward/recurrent_kernel`, ...
    pub name: String,
    /// Its role.
    pub role: Role,
    /// The shape, row-major.
    pub shape: Vec<usize>,
    /// Its elements in the arena.
    pub range: Range<usize>,
    /// How its initial values are drawn.
    pub initializer: Initializer,
    /// Elements that start at 1 instead: the bias of an LSTM's forget gate.
    pub ones: Option<Range<usize>>,
}

impl ParamSpec {
    /// How many numbers it has.
    pub fn len(&self) -> usize {
        self.range.len()
    }
    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }
}

/// Elements of a cache line.
const LINE: usize = 16;

/// The parameters in the order of the layers, laid out in one arena, each on a cache line of its own.
#[derive(Default)]
pub(super) struct ParamList {
    specs: Vec<ParamSpec>,
    end: usize,
}

impl ParamList {
    pub(super) fn len(&self) -> usize {
        self.specs.len()
    }

    /// The biases from this parameter on are such of which few elements are read.
    pub(super) fn biases_by_words(&mut self, from: usize) {
        let biases = self.specs[from..].iter_mut().filter(|spec| spec.role == Role::Bias);
        biases.for_each(|spec| spec.role = Role::WordBias);
    }

    pub(super) fn finish(self) -> (Vec<ParamSpec>, usize) {
        (self.specs, self.end)
    }

    pub(super) fn push(
        &mut self,
        name: String,
        role: Role,
        shape: &[usize],
        initializer: Initializer,
    ) -> Result<&mut ParamSpec> {
        initializer.check(&name)?;
        let len = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
        let place = len.and_then(|len| Some((len, self.end.checked_add(len)?.checked_next_multiple_of(LINE)?)));
        let Some((len, end)) = place.filter(|&(_, end)| end <= isize::MAX as usize / 4) else {
            return Err(Error::usage(format!(
                "`{name}` of shape {shape:?} has more elements than a machine can address"
            )));
        };
        let range = self.end..self.end + len;
        self.end = end;
        self.specs.push(ParamSpec { name, role, shape: shape.to_vec(), range, initializer, ones: None });
        let last = self.specs.len() - 1;
        Ok(&mut self.specs[last])
    }
}

/// Gives every parameter its place, each on a cache line of its own; but those of a list of `joint` stand behind one
/// another, where the first of them would. Returns the end, which is no further than where all stand apart.
pub(super) fn lay_out(specs: &mut [ParamSpec], joint: &[Vec<usize>]) -> usize {
    let mut end = 0;
    let place = |spec: &mut ParamSpec, end: &mut usize| {
        spec.range = *end..*end + spec.len();
        *end = spec.range.end;
    };
    for i in 0..specs.len() {
        match joint.iter().find(|list| list.contains(&i)) {
            Some(list) if list[0] == i => list.iter().for_each(|&j| place(&mut specs[j], &mut end)),
            Some(_) => continue,
            None => place(&mut specs[i], &mut end),
        }
        end = end.next_multiple_of(LINE);
    }
    end
}
