//! The products of word2vec: pairs of words that are told from noise, by logistic regression on the product of their vectors.
//!
//! Inputs X (N, D) are vectors of words of the text, outputs Y vectors of the words (or of the nodes of a tree) that they
//! predict. For a logit z with the label t, 1 for a word that is there and 0 for one that is not:
//!
//! ```text
//! loss      l(z, t) = ln(1 + e^z) - t z           l'(z, t) = sigmoid(z) - t
//!
//! shared    Z = X Y^T                             Y (S, D), labels t (S), weights W (N, S)
//!           L = sum over n, s of W[n][s] l(Z[n][s], t[s])
//!           G = W l'(Z, t)        dX += G Y       dY = G^T X
//! pairs     z = X[n] . Y[m]       for n in the window of m, with the label 1
//!           L = sum l(z, 1)       g = l'(z, 1)    dX[n] += g Y[m]         dY[m] = sum over n, g X[n]
//! means     H[m] = 1/c sum of X[n], n in the window of m, which has c inputs; 0 for c = 0
//! spread    dX[n] += dH[m]        for n in the window of m
//! ```
//!
//! Skip-gram with negative sampling is `pairs` with the words of the text and `shared` with noise words that a group of
//! inputs has in common, W telling how often each counts: two small matrix products for the gradients instead of one row after
//! the other. CBOW is `means`, the same two on H, and `spread`, which is not the gradient of `means`: word2vec adds the
//! whole error to each word of the window. A way through a tree is `shared` with the nodes' labels and W = 1.
//!
//! # Error
//!
//! With u = 2^-24: products over D have |error| <= D u sum |x y|; a loss or its derivative 4 u relative to the terms that
//! it is made of and the error of its logit (both have a slope of at most 1); the sum of losses is kept in sixteen f32 a call, of T terms
//! each, T u sum |l|; the sums of dX and dY add N u and S u of the magnitudes that they add.
//! Each element is one chain of multiply-adds in the order of its index, so AVX2 and AVX-512 give the same bits.
//!
//! Source: T. Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality", 2013; as small
//! matrix products: S. Ji, N. Satish, S. Li and P. Dubey, "Parallelizing Word2Vec in Shared and Distributed Memory", 2016.

mod generic;
mod pairs;
pub mod reference;

use crate::gemm::transpose;
use crate::isa::Isa;
use crate::mat::{Buffer, Mat, MatMut};

/// The inputs that belong to an output: rows `first..own` and `after..end` of X, so that a word is not its own neighbour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The first.
    pub first: u32,
    /// The end of those before the word itself.
    pub own: u32,
    /// The first of those after it.
    pub after: u32,
    /// The end.
    pub end: u32,
}

impl Window {
    /// The inputs, in ascending order.
    #[inline(always)]
    pub fn inputs(self) -> impl Iterator<Item = usize> {
        (self.first as usize..self.own as usize).chain(self.after as usize..self.end as usize)
    }

    /// How many inputs there are.
    #[inline]
    pub fn count(self) -> usize {
        (self.own - self.first + self.end - self.after) as usize
    }
}

/// What a call needs beside its arguments; grows to the largest call and is kept from call to call.
#[derive(Default)]
pub struct Room {
    /// Logits, then their gradients.
    logits: Vec<f32>,
    /// Y^T, rows padded to whole vectors.
    transposed: Buffer,
}

/// The arguments of [`shared`].
pub struct Shared<'a> {
    /// X (N, D)
    pub inputs: Mat<'a>,
    /// Y (S, D)
    pub outputs: Mat<'a>,
    /// W (N, S)
    pub weights: Mat<'a>,
    /// t (S)
    pub labels: &'a [f32],
    /// dX (N, D) In and out: added to.
    pub dinputs: MatMut<'a>,
    /// dY (S, D) Out.
    pub doutputs: MatMut<'a>,
    /// Whatever earlier calls left.
    pub room: &'a mut Room,
}

/// The arguments of [`pairs`].
pub struct Pairs<'a> {
    /// X (N, D)
    pub inputs: Mat<'a>,
    /// Y (M, D)
    pub outputs: Mat<'a>,
    /// (M) The window of each output.
    pub windows: &'a [Window],
    /// dX (N, D) In and out: added to.
    pub dinputs: MatMut<'a>,
    /// dY (M, D) Out.
    pub doutputs: MatMut<'a>,
    /// Whatever earlier calls left.
    pub room: &'a mut Room,
}

/// Every input with every output: the gradients; returns the loss.
///
/// # Panics
///
/// When the shapes differ from these.
#[track_caller]
pub fn shared(isa: Isa, args: Shared<'_>) -> f64 {
    let Shared { inputs, outputs, weights, labels, mut dinputs, mut doutputs, room } = args;
    let (n, s, d) = (inputs.rows(), outputs.rows(), inputs.cols());
    check(inputs, outputs, &dinputs, &doutputs);
    assert_eq!((weights.rows(), weights.cols()), (n, s), "weights of {n} inputs and {s} outputs");
    assert_eq!(labels.len(), s, "{} labels of {s} outputs", labels.len());
    let width = s.next_multiple_of(16);
    room.transposed.reserve(d * width);
    if room.logits.len() < n * width {
        room.logits.resize(n * width, 0.0);
    }
    transpose(isa, outputs, MatMut::dense(&mut room.transposed[..d * width], d, width));
    let transposed = Mat::new(&room.transposed, d, s, width);
    let logits = MatMut::new(&mut room.logits, n, s, width);
    let (dinputs, doutputs) = (dinputs.reborrow(), doutputs.reborrow());
    isa.run(generic::Products { inputs, outputs, transposed, weights, labels, logits, dinputs, doutputs })
}

/// Each output with the inputs of its window, all of which are there: the gradients; returns the loss.
///
/// # Panics
///
/// When the shapes differ from these, or a window is not within the inputs.
#[track_caller]
pub fn pairs(isa: Isa, args: Pairs<'_>) -> f64 {
    let Pairs { inputs, outputs, windows, dinputs, doutputs, room } = args;
    check(inputs, outputs, &dinputs, &doutputs);
    check_windows(windows, inputs.rows(), outputs.rows());
    let count: usize = windows.iter().map(|w| w.count()).sum();
    room.logits.resize(count.max(room.logits.len()), 0.0);
    let logits = &mut room.logits[..count];
    isa.run(pairs::Bands { inputs, outputs, windows, logits, dinputs, doutputs })
}

/// Writes the mean of each window's inputs to a row of `means` (M, D).
///
/// # Panics
///
/// When the shapes differ, or a window is not within the inputs.
#[track_caller]
pub fn means(isa: Isa, inputs: Mat<'_>, windows: &[Window], means: MatMut<'_>) {
    assert_eq!(inputs.cols(), means.cols(), "inputs of {} columns, means of {}", inputs.cols(), means.cols());
    check_windows(windows, inputs.rows(), means.rows());
    isa.run(pairs::Means { inputs, windows, means });
}

/// Adds row m of `errors` (M, D) to each row of `dinputs` (N, D) in the window of m, in the order of m.
///
/// # Panics
///
/// When the shapes differ, or a window is not within `dinputs`.
#[track_caller]
pub fn spread(isa: Isa, errors: Mat<'_>, windows: &[Window], dinputs: MatMut<'_>) {
    assert_eq!(errors.cols(), dinputs.cols(), "errors of {} columns, inputs of {}", errors.cols(), dinputs.cols());
    check_windows(windows, dinputs.rows(), errors.rows());
    isa.run(pairs::Spread { errors, windows, dinputs });
}

/// The arguments of [`descend`].
pub struct Descend<'a> {
    /// (R, D)
    pub gradients: Mat<'a>,
    /// Rows of the gradients and of the table that they are added to, in this order.
    pub picks: &'a [(u32, u32)],
    /// What gradients are multiplied with: the learning rate, negative.
    pub scale: f32,
    /// (V, D) In and out.
    pub table: MatMut<'a>,
}

/// Adds `scale` times row g of the gradients to row r of the table, for each (g, r) one after the other.
///
/// # Panics
///
/// When a row is not there, or the widths differ.
#[track_caller]
pub fn descend(isa: Isa, args: Descend<'_>) {
    let (d, width) = (args.gradients.cols(), args.table.cols());
    assert_eq!(d, width, "gradients of {d} columns, a table of {width}");
    isa.run(args);
}

#[track_caller]
fn check(inputs: Mat<'_>, outputs: Mat<'_>, dinputs: &MatMut<'_>, doutputs: &MatMut<'_>) {
    assert_eq!(inputs.cols(), outputs.cols(), "inputs of {} columns, outputs of {}", inputs.cols(), outputs.cols());
    let shapes = [(inputs.rows(), inputs.cols()), (outputs.rows(), outputs.cols())];
    assert_eq!([(dinputs.rows(), dinputs.cols()), (doutputs.rows(), doutputs.cols())], shapes, "gradients' shapes");
}

#[track_caller]
fn check_windows(windows: &[Window], inputs: usize, outputs: usize) {
    assert_eq!(windows.len(), outputs, "{} windows for {outputs} outputs", windows.len());
    let within = |w: &Window| w.first <= w.own && w.own <= w.after && w.after <= w.end && w.end as usize <= inputs;
    if let Some(w) = windows.iter().find(|w| !within(w)) {
        panic!("{w:?} of {inputs} inputs");
    }
}

#[cfg(test)]
mod tests;
