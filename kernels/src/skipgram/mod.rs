//! The products of word2vec: logistic regression on the product of two words' vectors tells pairs of the text from
//! noise.
//!
//! Inputs X (N, D) are vectors of words of the text, outputs Y vectors of the words (or tree nodes) that they predict.
//! For a logit z of weight w with the label t, 1 for a word of the text and 0 for a noise word:
//!
//! ```text
//! slopes          L = sum of w l(z, t)                  l(z, t) = ln(1 + e^z) - t z
//!                 g = s w l'(z, t)                      l'(z, t) = sigmoid(z) - t          s a scale
//!
//! products        Z = X Y^T                             Y (S, D), Z (N, S)
//! gradients       dX += G Y          dY = G^T X
//! pair_products   z = X[n] . Y[m]                       for n in the window of m
//! pair_gradients  dX[n] += g Y[m]    dY[m] = sum over n, g X[n]
//! row_products    z[n] = X[n] . Y[n]
//! row_gradients   dX[n] += g Y[n]    Y'[n] += g X[n]
//! means           H[m] = 1/c sum of X[n]                for n in the window of m, which has c inputs; 0 for c = 0
//! spread          X'[n] += sum of dH[m]                 for m in whose window n is
//! ```
//!
//! where X' and Y' are rows of the tables from which X and Y were copied. Logits and slopes are computed by separate
//! calls, so that each thread can take some of the columns: its logits are parts of a sum, and the gradients of its
//! columns need those of no other.
//!
//! Skip-gram with negative sampling is `pair_products` with the words of the text and `products` with noise words that
//! a group of inputs shares, w telling how often each counts: the gradients are then two small matrix products instead
//! of one row after the other. CBOW is `means`, `row_products` and `products` on H, and `spread`. The latter is not the
//! gradient of `means`: word2vec adds the whole error to every word of the window. A path through a tree is `products`
//! with the nodes' labels and w = 1.
//!
//! # Error
//!
//! With u = 2^-24, the error is at most
//!
//! - D u sum |x y| for a product over D;
//! - 4 u of the magnitude of its terms for a loss or its derivative, plus the error of its logit (both have a slope of
//!   at most 1);
//! - T u sum |l| for a sum of losses, which is kept in sixteen f32 a call, of T terms each;
//! - N u and S u of the summed magnitudes for the sums in dX and dY;
//! - 4 (N + 4) u / c sum over all inputs |x| for a mean, which is a difference of two prefix sums over the inputs;
//! - (4 M + 2 N + 2) u of 4 sum over all windows |dh| for what `spread` adds, likewise. Windows are some ten of fifty
//!   neighbouring inputs, so prefix sums multiply the error of plain summation by about five.
//!
//! Each element is one chain of operations in the order of its index, so AVX2 and AVX-512 give the same bits.
//!
//! Source: T. Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality", 2013; as
//! small matrix products: S. Ji, N. Satish, S. Li and P. Dubey, "Parallelizing Word2Vec in Shared and Distributed
//! Memory", 2016.

mod generic;
mod pairs;
pub mod reference;

use self::generic::ByColumns;
use crate::gemm::transpose;
use crate::isa::Isa;
use crate::mat::{Buffer, Mat, MatMut};

/// The inputs that belong to an output: rows `first..own` and `after..end` of X. The word itself, which is not its own
/// neighbour, is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The first input.
    pub first: u32,
    /// The end of the inputs before the word itself.
    pub own: u32,
    /// The first input after the word.
    pub after: u32,
    /// The end of the inputs.
    pub end: u32,
}

impl Window {
    /// The inputs, in ascending order.
    #[inline(always)]
    pub fn inputs(self) -> impl Iterator<Item = usize> {
        (self.first as usize..self.own as usize).chain(self.after as usize..self.end as usize)
    }

    /// The ends of both ranges: first, own, after, end.
    #[inline(always)]
    fn ends(self) -> [usize; 4] {
        [self.first, self.own, self.after, self.end].map(|n| n as usize)
    }

    /// How many inputs there are.
    #[inline]
    pub fn count(self) -> usize {
        (self.own - self.first + self.end - self.after) as usize
    }
}

/// Scratch of [`products`]: grows to what the largest call needs, and is reused from call to call.
#[derive(Default)]
pub struct Room {
    /// Y^T, rows padded to whole vectors.
    transposed: Buffer,
}

/// Z = X Y^T: the logits of every input X (N, D) with every output Y (S, D), out (N, S).
///
/// # Panics
///
/// When the shapes differ from these.
#[track_caller]
pub fn products(isa: Isa, inputs: Mat<'_>, outputs: Mat<'_>, logits: MatMut<'_>, room: &mut Room) {
    let (n, s, d) = (inputs.rows(), outputs.rows(), inputs.cols());
    assert_eq!(d, outputs.cols(), "inputs of {d} columns, outputs of {}", outputs.cols());
    assert_eq!((logits.rows(), logits.cols()), (n, s), "logits of {n} inputs and {s} outputs");
    let width = s.next_multiple_of(16);
    room.transposed.reserve(d * width);
    transpose(isa, outputs, MatMut::dense(&mut room.transposed[..d * width], d, width));
    isa.run(generic::Products { inputs, transposed: Mat::new(&room.transposed, d, s, width), logits });
}

/// The logits of each output Y (M, D) with the inputs X (N, D) of its window: first all of output 0, then of output 1, ...,
/// inputs in ascending order.
///
/// # Panics
///
/// When the shapes differ, a window is not within the inputs, or there is not one logit for each pair.
#[track_caller]
pub fn pair_products(isa: Isa, inputs: Mat<'_>, outputs: Mat<'_>, windows: &[Window], logits: &mut [f32]) {
    assert_eq!(inputs.cols(), outputs.cols(), "inputs of {} columns, outputs of {}", inputs.cols(), outputs.cols());
    check_windows(windows, inputs.rows(), outputs.rows(), Some(logits.len()));
    isa.run(pairs::Bands { inputs, outputs, windows, logits });
}

/// The arguments of [`slopes`].
pub struct Slopes<'a> {
    /// (B, P) The logits: each of the B rows is the part from some of the columns of X and Y; the sum of the rows, in this
    /// order, is Z.
    pub logits: Mat<'a>,
    /// (P) The weights w.
    pub weights: &'a [f32],
    /// (P) The labels t: 1 for a word of the text, 0 for noise.
    pub labels: &'a [f32],
    /// The factor s of all slopes.
    pub scale: f32,
    /// Whether the loss is to be computed.
    pub loss: bool,
    /// (P) Out: the slopes g = s w l'(z, t).
    pub slopes: &'a mut [f32],
}

/// Computes the slopes of the losses of P logits. Returns the sum of w l(z, t), or 0 where the loss is not wanted.
///
/// # Panics
///
/// When the lengths differ.
#[track_caller]
pub fn slopes(isa: Isa, args: Slopes<'_>) -> f64 {
    let count = args.logits.cols();
    assert_eq!([args.weights.len(), args.labels.len(), args.slopes.len()], [count; 3], "of {count} logits");
    isa.run(args)
}

/// The arguments of [`gradients`] and [`pair_gradients`].
pub struct Gradients<'a> {
    /// X (N, D)
    pub inputs: Mat<'a>,
    /// Y, (S, D) or (M, D)
    pub outputs: Mat<'a>,
    /// dX (N, D). Out, or in and out where it is added to.
    pub dinputs: MatMut<'a>,
    /// Out: dY, of the shape of Y.
    pub doutputs: MatMut<'a>,
}

/// dX = G Y (dX += G Y where `add`) and dY = G^T X, where G (N, S) are the slopes of every input with every output.
///
/// # Panics
///
/// When the shapes differ from these.
#[track_caller]
pub fn gradients(isa: Isa, slopes: Mat<'_>, add: bool, args: Gradients<'_>) {
    args.check();
    let shape = (args.inputs.rows(), args.outputs.rows());
    assert_eq!((slopes.rows(), slopes.cols()), shape, "slopes of {} inputs and {} outputs", shape.0, shape.1);
    isa.run(generic::Gradients { slopes, add, args });
}

/// dX\[n\] += g Y\[m\] and dY\[m\] = sum of g X\[n\] for each pair of an output and an input of its window, `slopes` in the order
/// of [`pair_products`].
///
/// # Panics
///
/// When the shapes differ, a window is not within the inputs, or there is not one slope for each pair.
#[track_caller]
pub fn pair_gradients(isa: Isa, slopes: &[f32], windows: &[Window], args: Gradients<'_>) {
    args.check();
    check_windows(windows, args.inputs.rows(), args.outputs.rows(), Some(slopes.len()));
    isa.run(ByColumns { cols: args.inputs.cols(), kernel: pairs::Gradients { slopes, windows, args } });
}

/// The arguments of [`means`].
pub struct Means<'a> {
    /// (V, D): the table of inputs.
    pub table: Mat<'a>,
    /// (N) The rows of the table that are X.
    pub rows: &'a [u32],
    /// The rows that the next call will read: they are prefetched.
    pub ahead: &'a [u32],
    /// (M) The inputs of each mean.
    pub windows: &'a [Window],
    /// (N + 1, D) Scratch, of any contents.
    pub sums: MatMut<'a>,
    /// Out: H (M, D).
    pub means: MatMut<'a>,
}

/// Computes the mean of each window's inputs, 0 where there are none. The sum of a window is the difference of two prefix
/// sums over the inputs, so that each input is added once, however many windows it is in.
///
/// # Panics
///
/// When the shapes differ, or a window is not within the inputs, or a row not within the table.
#[track_caller]
pub fn means(isa: Isa, args: Means<'_>) {
    let (n, d) = (args.rows.len(), args.table.cols());
    assert_eq!((args.sums.rows(), args.sums.cols()), (n + 1, d), "sums of {n} inputs of {d} columns");
    assert_eq!(args.means.cols(), d, "means of {} columns, inputs of {d}", args.means.cols());
    check_windows(args.windows, n, args.means.rows(), None);
    isa.run(ByColumns { cols: args.table.cols(), kernel: args });
}

/// The arguments of [`spread`].
pub struct Spread<'a> {
    /// dH (M, D)
    pub errors: Mat<'a>,
    /// (M) The inputs of each error.
    pub windows: &'a [Window],
    /// (N) The rows of the table that are X.
    pub rows: &'a [u32],
    /// (N + 1, D) Scratch, of any contents.
    pub sums: MatMut<'a>,
    /// In and out: the table of inputs (V, D).
    pub table: MatMut<'a>,
}

/// Adds to the table row of each input the sum of the errors of all windows that it is in, one input after the other.
///
/// # Panics
///
/// When the shapes differ, or a window is not within the inputs, or a row not within the table.
#[track_caller]
pub fn spread(isa: Isa, args: Spread<'_>) {
    let (n, d) = (args.rows.len(), args.table.cols());
    assert_eq!((args.sums.rows(), args.sums.cols()), (n + 1, d), "sums of {n} inputs of {d} columns");
    assert_eq!(args.errors.cols(), d, "errors of {} columns, inputs of {d}", args.errors.cols());
    check_windows(args.windows, n, args.errors.rows(), None);
    isa.run(ByColumns { cols: args.table.cols(), kernel: args });
}

/// The scalar products of the rows of X (N, D) with the rows of Y (N, D): z\[n\] = X\[n\] . Y\[n\].
///
/// # Panics
///
/// When the shapes differ.
#[track_caller]
pub fn row_products(isa: Isa, inputs: Mat<'_>, outputs: Mat<'_>, logits: &mut [f32]) {
    let shapes = [(inputs.rows(), inputs.cols()), (outputs.rows(), outputs.cols())];
    assert_eq!(shapes, [(logits.len(), inputs.cols()); 2], "shapes of {} logits", logits.len());
    isa.run(pairs::RowProducts { inputs, outputs, logits });
}

/// The arguments of [`row_gradients`].
pub struct RowGradients<'a> {
    /// X (N, D)
    pub inputs: Mat<'a>,
    /// Y (N, D)
    pub outputs: Mat<'a>,
    /// (N) g: the slope of each row's product.
    pub slopes: &'a [f32],
    /// In and out: dX (N, D), which is added to.
    pub dinputs: MatMut<'a>,
    /// (N) The rows of the table that are Y.
    pub rows: &'a [u32],
    /// In and out: the table of outputs (V, D). dY is added to its rows, one after the other.
    pub table: MatMut<'a>,
}

/// dX\[n\] += g\[n\] Y\[n\], and adds dY\[n\] = g\[n\] X\[n\] to row `rows[n]` of the table.
///
/// # Panics
///
/// When the shapes differ, or a row is not within the table.
#[track_caller]
pub fn row_gradients(isa: Isa, args: RowGradients<'_>) {
    let RowGradients { inputs, outputs, slopes, dinputs, rows, table } = &args;
    let shape = (inputs.rows(), inputs.cols());
    assert_eq!([(outputs.rows(), outputs.cols()), (dinputs.rows(), dinputs.cols())], [shape; 2], "gradients' shapes");
    assert_eq!([slopes.len(), rows.len(), table.cols()], [shape.0, shape.0, shape.1], "slopes, rows and columns");
    isa.run(ByColumns { cols: args.table.cols(), kernel: args });
}

/// The arguments of [`gather`].
pub struct Gather<'a> {
    /// (V, D)
    pub table: Mat<'a>,
    /// (N) The rows to copy.
    pub rows: &'a [u32],
    /// The rows that the next call will copy: they are prefetched.
    pub ahead: &'a [u32],
    /// Out: the copies (N, D).
    pub to: MatMut<'a>,
}

/// Copies row `rows[n]` of a table to row n of `to`, for each n.
///
/// # Panics
///
/// When a row is not in the table, or the shapes differ.
#[track_caller]
pub fn gather(isa: Isa, args: Gather<'_>) {
    let shape = (args.rows.len(), args.table.cols());
    assert_eq!((args.to.rows(), args.to.cols()), shape, "{} rows of {} columns", shape.0, shape.1);
    isa.run(ByColumns { cols: args.table.cols(), kernel: args });
}

/// Adds row i of the changes (N, D) to row `rows[i]` of the table (V, D), for each i one after the other.
///
/// # Panics
///
/// When a row is not in the table, or the shapes differ.
#[track_caller]
pub fn add_rows(isa: Isa, changes: Mat<'_>, rows: &[u32], table: MatMut<'_>) {
    let shape = (rows.len(), table.cols());
    assert_eq!((changes.rows(), changes.cols()), shape, "changes of {} rows of {} columns", shape.0, shape.1);
    isa.run(ByColumns { cols: table.cols(), kernel: pairs::AddRows { changes, rows, table } });
}

impl Gradients<'_> {
    #[track_caller]
    fn check(&self) {
        let Self { inputs, outputs, dinputs, doutputs } = self;
        assert_eq!(inputs.cols(), outputs.cols(), "inputs of {} columns, outputs of {}", inputs.cols(), outputs.cols());
        let shapes = [(inputs.rows(), inputs.cols()), (outputs.rows(), outputs.cols())];
        assert_eq!([(dinputs.rows(), dinputs.cols()), (doutputs.rows(), doutputs.cols())], shapes, "gradients' shapes");
    }
}

/// Refuses windows that are not within the inputs, are not one an output, or are not of so many pairs.
#[track_caller]
fn check_windows(windows: &[Window], inputs: usize, outputs: usize, pairs: Option<usize>) {
    assert_eq!(windows.len(), outputs, "{} windows for {outputs} outputs", windows.len());
    let within = |w: &Window| w.first <= w.own && w.own <= w.after && w.after <= w.end && w.end as usize <= inputs;
    let mut count = 0;
    for w in windows {
        assert!(within(w), "{w:?} of {inputs} inputs");
        count += w.count();
    }
    if let Some(pairs) = pairs {
        assert_eq!(pairs, count, "{pairs} of {count} pairs");
    }
}

#[cfg(test)]
mod tests;
