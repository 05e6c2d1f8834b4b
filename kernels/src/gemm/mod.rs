//! Matrix products in f32, with operands packed once or on the fly.
//!
//! ```text
//! product          C = init + A B      A (M, K), B (K, groups x cols) packed, C (M, groups, cols)
//! direct_product   C = init + A B      A (M, K), B (K, N) or its transpose (N, K), C (M, N)
//! outer_product    C = init + A^T B    A (R, M), B (R, N), C (M, N); the sum runs over the R rows
//! ```
//!
//! `init` is zero, what C holds, or a row of biases ([`Init`]).
//!
//! **One chain.** Every element of C is one chain of multiply-adds over k in ascending order that starts from its
//! initial value: `c = fma(a[i][k], b[k][j], c)`. A block along K ends by storing c and the next begins by loading it,
//! which rounds nothing. So the bits depend on no tile, block, split of rows or columns, or thread, and are equal on
//! AVX2 and AVX-512. The portable set rounds each product where its target has no fused form, and its `outer_product`
//! and `direct_product` go through `matrixmultiply::sgemm`, which adds up blocks of K apart and allocates its own packing
//! room in each call; these bits differ from the AVX sets', and sgemm itself uses what its own detection finds. Splits
//! change nothing there either.
//!
//! **Error.** Each step of the chain rounds once (twice where there is no fused form), so with u = 2^-24
//! |error| <= 2 K u (|init| + sum_k |a| |b|) while K u is small (Higham, Accuracy and Stability of Numerical
//! Algorithms, 2nd edition, section 3.1; the factor 2 covers sgemm's second rounding too).
//!
//! **Form.** The register tile of MR rows and NV vectors, its panels and the loops around it are Goto's (Goto and van
//! de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008), with two changes that suit recurrent networks: A
//! is read in place, because its share of the traffic is small (A^T is copied row by row first), and C is loaded at the
//! start of a block along K.

mod block;
mod generic;
mod pack;
#[cfg(test)]
mod tests;
mod transpose;

pub mod reference;

pub use block::SCRATCH;
pub use pack::{Packed, PackedMut, PackedRef};

use crate::{Buffer, GroupsMut, Isa, Mat, MatMut, profile};
use generic::Start;

/// What C starts from.
#[derive(Clone, Copy, Debug)]
pub enum Init<'a> {
    /// Zero; C is not read.
    Zero,
    /// What C holds.
    Keep,
    /// The same row in every row of C: (groups * cols) elements, group after group; C is not read.
    Bias(&'a [f32]),
    /// As `Bias`, column c of group g at `bias[g * stride + c]`: the part of one thread in a bias for all units.
    GroupBias {
        /// The biases.
        bias: &'a [f32],
        /// Elements from one group's biases to the next's.
        stride: usize,
    },
}

impl Init<'_> {
    #[track_caller]
    fn check(&self, groups: usize, cols: usize) {
        match *self {
            Init::Zero | Init::Keep => {}
            Init::Bias(bias) => {
                assert_eq!(bias.len(), groups * cols, "the bias of {groups} x {cols} columns");
            }
            Init::GroupBias { bias, stride } => {
                let need = groups.saturating_sub(1) * stride + cols;
                assert!(need <= bias.len(), "biases for {groups} x {cols} columns: {need}, not {}", bias.len());
            }
        }
    }

    fn start(&self, cols: usize) -> Start {
        match *self {
            Init::Zero => Start::Zero,
            Init::Keep => Start::Load,
            Init::Bias(bias) => Start::Row { ptr: bias.as_ptr(), stride: cols },
            Init::GroupBias { bias, stride } => Start::Row { ptr: bias.as_ptr(), stride },
        }
    }

    /// Writes the initial values into C, for sgemm, which continues from there.
    fn fill(&self, c: &mut MatMut) {
        let cols = c.cols();
        for r in 0..c.rows() {
            match *self {
                Init::Zero => c.row_mut(r).fill(0.0),
                Init::Keep => return,
                Init::Bias(bias) | Init::GroupBias { bias, .. } => c.row_mut(r).copy_from_slice(&bias[..cols]),
            }
        }
    }
}

/// C = init + A B with B packed.
pub struct Product<'a> {
    /// A (M, K).
    pub a: Mat<'a>,
    /// B (K, groups x cols).
    pub b: PackedRef<'a>,
    /// What C starts from.
    pub init: Init<'a>,
    /// Out: C (M, groups, cols).
    pub c: GroupsMut<'a>,
}

/// Computes a [`Product`] with the instruction set that B is packed for.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn product(args: Product) {
    let Product { a, b, init, mut c } = args;
    let (m, k) = (a.rows(), a.cols());
    assert_eq!(k, b.k(), "A has {k} columns, B {} rows", b.k());
    assert_eq!(m, c.rows(), "A has {m} rows, C {}", c.rows());
    assert_eq!(b.groups(), c.groups(), "B has {} groups, C {}", b.groups(), c.groups());
    assert_eq!(b.cols(), c.cols(), "a group of B has {} columns, of C {}", b.cols(), c.cols());
    init.check(b.groups(), b.cols());
    if m == 0 || b.cols() == 0 {
        return;
    }
    profile::count_flops(2 * m * k * b.groups() * b.cols());
    let start = init.start(b.cols());
    b.isa().run(block::Panels { a, b, start, c: &mut c });
}

/// C = init + A^T B: the gradient of weights, dW = X^T dY.
pub struct OuterProduct<'a> {
    /// A (R, M).
    pub a: Mat<'a>,
    /// B (R, N).
    pub b: Mat<'a>,
    /// What C starts from.
    pub init: Init<'a>,
    /// Out: C (M, N).
    pub c: MatMut<'a>,
    /// Room for packed blocks; grows at first use to a size that depends on the instruction set alone.
    pub scratch: &'a mut Buffer,
}

/// Computes an [`OuterProduct`].
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn outer_product(isa: Isa, args: OuterProduct) {
    let OuterProduct { a, b, init, c, scratch } = args;
    assert_eq!(a.rows(), b.rows(), "A has {} rows, B {}", a.rows(), b.rows());
    assert_eq!(a.cols(), c.rows(), "A has {} columns, C {} rows", a.cols(), c.rows());
    assert_eq!(b.cols(), c.cols(), "B has {} columns, C {}", b.cols(), c.cols());
    let left = block::Left { mat: a, transposed: true };
    unpacked(isa, block::Unpacked { isa, a: left, b, b_transposed: false, start: init.start(0), c, scratch }, init);
}

/// C = init + A B with B as it lies, for products whose B is used once.
pub struct DirectProduct<'a> {
    /// A (M, K).
    pub a: Mat<'a>,
    /// B (K, N), or (N, K) where `b_transposed`.
    pub b: Mat<'a>,
    /// Whether `b` holds the transpose.
    pub b_transposed: bool,
    /// What C starts from.
    pub init: Init<'a>,
    /// Out: C (M, N).
    pub c: MatMut<'a>,
    /// Room for packed blocks; grows at first use to a size that depends on the instruction set alone.
    pub scratch: &'a mut Buffer,
}

/// Computes a [`DirectProduct`].
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn direct_product(isa: Isa, args: DirectProduct) {
    let DirectProduct { a, b, b_transposed, init, c, scratch } = args;
    let (k, n) = if b_transposed { (b.cols(), b.rows()) } else { (b.rows(), b.cols()) };
    assert_eq!(a.cols(), k, "A has {} columns, B {k} rows", a.cols());
    assert_eq!(a.rows(), c.rows(), "A has {} rows, C {}", a.rows(), c.rows());
    assert_eq!(n, c.cols(), "B has {n} columns, C {}", c.cols());
    let left = block::Left { mat: a, transposed: false };
    unpacked(isa, block::Unpacked { isa, a: left, b, b_transposed, start: init.start(0), c, scratch }, init);
}

/// The two entries whose B is not packed yet.
#[track_caller]
fn unpacked(isa: Isa, mut args: block::Unpacked, init: Init) {
    init.check(1, args.c.cols());
    if args.c.rows() == 0 || args.c.cols() == 0 {
        return;
    }
    profile::count_flops(2 * args.c.rows() * args.c.cols() * args.depth());
    if isa == Isa::PORTABLE {
        init.fill(&mut args.c);
        block::by_sgemm(args);
    } else {
        isa.run(args);
    }
}
