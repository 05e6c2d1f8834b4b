//! The products over outputs that all inputs share: three matrix products of some forty rows, in registers.
//!
//! Each is the same loop: a tile of rows and whole vectors of columns stays in registers while one row of the right
//! side after the other is loaded and multiplied by a number of each row of the left. The logits' right side is Y^T, so
//! that no sum runs across a vector. Operands stay in the first-level cache, so nothing is packed.

use super::Slopes;
use crate::mat::{Mat, MatMut};
use crate::math;
use crate::simd::{Kernel, Simd, Wide16};
use crate::softmax::softplus_of_minus_abs;

/// Rows of a tile.
const ROWS: usize = 6;

/// See [`super::products`].
pub(super) struct Products<'a> {
    pub(super) inputs: Mat<'a>,
    /// Y^T (D, S)
    pub(super) transposed: Mat<'a>,
    pub(super) logits: MatMut<'a>,
}

impl Kernel for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { inputs: a, transposed: b, logits: out } = self;
        columns(s, b.cols(), Product::<false, false> { a, b, out });
    }
}

/// See [`super::gradients`].
pub(super) struct Gradients<'a> {
    pub(super) slopes: Mat<'a>,
    pub(super) add: bool,
    pub(super) args: super::Gradients<'a>,
}

impl Kernel for Gradients<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let super::Gradients { inputs, outputs, dinputs, doutputs } = self.args;
        let d = outputs.cols();
        if self.add {
            columns(s, d, Product::<false, true> { a: self.slopes, b: outputs, out: dinputs });
        } else {
            columns(s, d, Product::<false, false> { a: self.slopes, b: outputs, out: dinputs });
        }
        columns(s, d, Product::<true, false> { a: self.slopes, b: inputs, out: doutputs });
    }
}

impl Kernel for Slopes<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        if self.loss { slopes::<S, true>(s, self) } else { slopes::<S, false>(s, self) }
    }
}

/// The slopes, and the loss where it is wanted.
#[inline(always)]
fn slopes<S: Simd, const LOSS: bool>(s: S, args: Slopes<'_>) -> f64 {
    let Slopes { logits, weights, labels, scale, slopes, .. } = args;
    let (scale, mut sum) = (Wide16::splat(s, scale), Wide16::splat(s, 0.0));
    for (c, slopes) in slopes.chunks_mut(16).enumerate() {
        let at = 16 * c..16 * c + slopes.len();
        let mut z = Wide16::splat(s, 0.0);
        for block in 0..logits.rows() {
            z = z.plus(s, Wide16::load_or(s, &logits.row(block)[at.clone()], 0.0));
        }
        let w = Wide16::load_or(s, &weights[at.clone()], 0.0);
        let t = Wide16::load_or(s, &labels[at], 0.0);
        if LOSS {
            // What is not there has no weight, and so no loss.
            sum = sum.plus_product(s, loss(s, z, t), w);
        }
        slope(s, z, t).times(s, w).times(s, scale).store_partial(s, slopes);
    }
    f64::from(sum.sum(s))
}

/// sigmoid(z) - t
#[inline(always)]
fn slope<S: Simd>(s: S, z: Wide16<S>, t: Wide16<S>) -> Wide16<S> {
    z.zip(
        t,
        #[inline(always)]
        |z, t| s.sub(math::sigmoid(s, z), t),
    )
}

/// ln(1 + e^z) - t z
#[inline(always)]
fn loss<S: Simd>(s: S, z: Wide16<S>, t: Wide16<S>) -> Wide16<S> {
    z.zip(
        t,
        #[inline(always)]
        |z, t| {
            let linear = s.neg_mul_add(z, t, s.max(s.splat(0.0), z));
            s.add(linear, softplus_of_minus_abs(s, z))
        },
    )
}

/// What is done to all rows, some columns at a time.
pub(super) trait Columns {
    /// Whether half of the registers are for a tile's other rows.
    const TILE: bool;
    /// Columns `at..at + width`: C whole vectors, or a part of one.
    fn run<S: Simd, const C: usize>(&mut self, s: S, at: usize, width: usize);
}

/// A kernel over so many columns.
pub(super) struct ByColumns<K> {
    pub(super) cols: usize,
    pub(super) kernel: K,
}

impl<K: Columns> Kernel for ByColumns<K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        columns(s, self.cols, self.kernel);
    }
}

/// All columns, as many whole vectors at a time as registers allow, and what is left in a vector of its own.
#[inline(always)]
fn columns<S: Simd, K: Columns>(s: S, cols: usize, mut kernel: K) {
    let most = match (K::TILE, S::REGISTERS >= 32) {
        (true, false) => 2,
        (true, true) | (false, false) => 4,
        (false, true) => 8,
    };
    let whole = cols / S::LANES;
    let mut at = 0;
    while at < whole {
        let vectors = (whole - at).min(most);
        let (start, width) = (at * S::LANES, vectors * S::LANES);
        match vectors {
            8 => kernel.run::<S, 8>(s, start, width),
            7 => kernel.run::<S, 7>(s, start, width),
            6 => kernel.run::<S, 6>(s, start, width),
            5 => kernel.run::<S, 5>(s, start, width),
            4 => kernel.run::<S, 4>(s, start, width),
            3 => kernel.run::<S, 3>(s, start, width),
            2 => kernel.run::<S, 2>(s, start, width),
            _ => kernel.run::<S, 1>(s, start, width),
        }
        at += vectors;
    }
    if whole * S::LANES < cols {
        kernel.run::<S, 1>(s, whole * S::LANES, cols - whole * S::LANES);
    }
}

/// C vectors, or a part of one.
#[inline(always)]
pub(super) fn load<S: Simd, const C: usize>(s: S, x: &[f32]) -> [S::F32; C] {
    let mut vectors = [s.splat(0.0); C];
    if C > 1 || x.len() == S::LANES {
        let x = &x[..C * S::LANES];
        for c in 0..C {
            vectors[c] = s.load(&x[c * S::LANES..]);
        }
    } else {
        vectors[0] = s.load_partial(x);
    }
    vectors
}

/// As [`load`].
#[inline(always)]
pub(super) fn store<S: Simd, const C: usize>(s: S, to: &mut [f32], vectors: [S::F32; C]) {
    if C > 1 || to.len() == S::LANES {
        let to = &mut to[..C * S::LANES];
        for c in 0..C {
            s.store(&mut to[c * S::LANES..], vectors[c]);
        }
    } else {
        s.store_partial(to, vectors[0]);
    }
}

/// out = a b, or a^T b where `ACROSS`; added to `out` where `ADD`.
struct Product<'a, const ACROSS: bool, const ADD: bool> {
    a: Mat<'a>,
    b: Mat<'a>,
    out: MatMut<'a>,
}

impl<const ACROSS: bool, const ADD: bool> Columns for Product<'_, ACROSS, ADD> {
    const TILE: bool = true;

    #[inline(always)]
    fn run<S: Simd, const C: usize>(&mut self, s: S, at: usize, width: usize) {
        let rows = self.out.rows();
        let mut r = 0;
        if C == 1 {
            // More chains, to hide the latency of a multiply-add.
            while r + 2 * ROWS <= rows {
                self.tile::<S, { 2 * ROWS }, C>(s, r, at, width);
                r += 2 * ROWS;
            }
        }
        while r + ROWS <= rows {
            self.tile::<S, ROWS, C>(s, r, at, width);
            r += ROWS;
        }
        if r + 4 <= rows {
            self.tile::<S, 4, C>(s, r, at, width);
            r += 4;
        }
        if r + 2 <= rows {
            self.tile::<S, 2, C>(s, r, at, width);
            r += 2;
        }
        if r < rows {
            self.tile::<S, 1, C>(s, r, at, width);
        }
    }
}

impl<const ACROSS: bool, const ADD: bool> Product<'_, ACROSS, ADD> {
    #[inline(always)]
    fn tile<S: Simd, const R: usize, const C: usize>(&mut self, s: S, r0: usize, at: usize, width: usize) {
        let mut sums = [[s.splat(0.0); C]; R];
        if ADD {
            for r in 0..R {
                sums[r] = load(s, &self.out.row_mut(r0 + r)[at..at + width]);
            }
        }
        let (k, mut rows) = (self.b.rows(), [&[][..]; R]);
        if !ACROSS {
            for r in 0..R {
                rows[r] = &self.a.row(r0 + r)[..k];
            }
        }
        for q in 0..k {
            let b: [S::F32; C] = load(s, &self.b.row(q)[at..at + width]);
            let across = if ACROSS { &self.a.row(q)[r0..r0 + R] } else { &[] };
            for r in 0..R {
                let a = s.splat(if ACROSS { across[r] } else { rows[r][q] });
                for c in 0..C {
                    sums[r][c] = s.mul_add(a, b[c], sums[r][c]);
                }
            }
        }
        for r in 0..R {
            store(s, &mut self.out.row_mut(r0 + r)[at..at + width], sums[r]);
        }
    }
}
