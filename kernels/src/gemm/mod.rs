//! Matrix products in f32 and of operands rounded to bf16 or int8, with operands packed once or on the fly.
//!
//! ```text
//! product          C = init + A B      A (M, K), B (K, groups x cols) packed, C (M, groups, cols)
//! direct_product   C = init + A B      A (M, K), B (K, N) or its transpose (N, K), C (M, N)
//! outer_product    C = init + A^T B    A (R, M), B (R, N), C (M, N); the sum runs over the R rows
//! ```
//!
//! `init` is zero, what C holds, or a row of biases ([`Init`]).
//!
//! What follows holds for f32; [`Precision::Bf16`] and [`Precision::Int8`] have other sums, other bounds and panels of
//! their own, see `bf16/mod.rs` and `int8/mod.rs`. There, too, bits depend on no tile, block, split or thread.
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

mod bands;
mod bf16;
mod block;
mod cached;
mod generic;
mod int8;
mod left;
mod pack;
#[cfg(test)]
mod tests;
mod transpose;

pub mod reference;

pub use bands::PackedBands;
pub(crate) use cached::CachedPanels;
pub use int8::MOST_TERMS as MOST_INT8_TERMS;
pub(crate) use left::tile_rows;
pub use left::{Left, LeftTiles};
pub use pack::{Packed, PackedMut, PackedRef};

use crate::faults::{Fault, spoil};
use crate::profile::{self, Phase};
use crate::{Bf16, Buffer, Element, GroupsMut, Isa, Mat, MatMut};
use block::{Source, Unpacked};
use generic::Start;
use left::Operand;
use std::ops::Range;

/// The most elements that the scratch of a product with unpacked operands ever has, on any instruction set and in any
/// precision.
pub const SCRATCH: usize = if bf16::SCRATCH > block::SCRATCH { bf16::SCRATCH } else { block::SCRATCH };

/// The number format to which the operands of a product are rounded. Sums and results are always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// f32: operands are not rounded.
    #[default]
    F32,
    /// bf16: eight bits of precision and the exponent range of f32; subnormal numbers become zero.
    Bf16,
    /// Integers of eight bits, with a scale for each row of A and each column of B. Only where B is packed; other
    /// products stay in f32. For running a trained model, not for training it.
    Int8,
}

/// Names of every precision.
pub const PRECISIONS: [&str; 3] = ["f32", "bf16", "int8"];

impl Precision {
    /// The precision of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::F32, Self::Bf16, Self::Int8].into_iter().find(|precision| precision.name() == name)
    }

    /// `f32`, `bf16` or `int8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }

    /// `x` as a product sees it after rounding. Returns `x` itself for int8, whose scales follow from whole rows and columns.
    pub fn round(self, x: f32) -> f32 {
        match self {
            Self::F32 | Self::Int8 => x,
            Self::Bf16 => Bf16::round(x).into(),
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The initial value of C, to which the product is added.
#[derive(Clone, Copy, Debug)]
pub enum Init<'a> {
    /// Zero. What C holds is not read.
    Zero,
    /// What C holds.
    Keep,
    /// The same row of biases in every row of C: (groups * cols) elements, group after group. What C holds is not read.
    Bias(&'a [f32]),
    /// As `Bias`, where the bias of column c of group g is `bias[g * stride + c]`: a block of units within the biases of all
    /// units.
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

    /// Writes the initial values into C, for `sgemm`, which adds to them.
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

/// The arguments of [`product`]: C = init + A B with B packed.
pub struct Product<'a> {
    /// A (M, K), in the precision of B.
    pub a: Left<'a>,
    /// B (K, groups x cols).
    pub b: PackedRef<'a>,
    /// What C starts from.
    pub init: Init<'a>,
    /// Out: C (M, groups, cols).
    pub c: GroupsMut<'a>,
}

/// Computes a [`Product`] with the instruction set and precision that B is packed for.
///
/// # Panics
///
/// When the shapes or precisions do not agree.
#[track_caller]
pub fn product(args: Product) {
    let Product { a, b, init, c } = args;
    PreparedProduct::new(a, b).product(0..a.rows(), 0..b.cols(), init, c);
}

/// A product of one A with a packed B, to be computed part by part: what all parts need is set up once.
pub(crate) struct PreparedProduct<'a>(Prepared<'a>);

enum Prepared<'a> {
    F32(Mat<'a>, PackedRef<'a>),
    Bf16(bf16::PreparedProduct<'a>),
    Int8(int8::PreparedProduct<'a>),
}

impl<'a> PreparedProduct<'a> {
    /// # Panics
    ///
    /// When A has not as many columns as B rows, or another precision.
    #[track_caller]
    pub(crate) fn new(a: Left<'a>, b: PackedRef<'a>) -> Self {
        assert_eq!(a.k(), b.k(), "A has {} columns, B {} rows", a.k(), b.k());
        assert_eq!(a.precision(), b.precision(), "the precisions of A and B");
        Self(match a.0 {
            Operand::F32(a) => Prepared::F32(a, b),
            Operand::Bf16(a) => Prepared::Bf16(bf16::PreparedProduct::new(a, b)),
            Operand::Int8(a) => Prepared::Int8(int8::PreparedProduct::new(a, b)),
        })
    }

    /// C = init + A B for rows `rows` of A and columns `cols` of each group of B, which must fall on panels; C and the
    /// biases are those of this part. In bf16 the first row must be a multiple of [`tile_rows`].
    #[track_caller]
    pub(crate) fn product(&self, rows: Range<usize>, cols: Range<usize>, init: Init, mut c: GroupsMut) {
        let [k, groups] = match &self.0 {
            Prepared::F32(a, b) => [a.cols(), b.groups()],
            Prepared::Bf16(prepared) => prepared.terms_and_groups(),
            Prepared::Int8(prepared) => prepared.terms_and_groups(),
        };
        assert_eq!(rows.len(), c.rows(), "{} rows of A, C has {}", rows.len(), c.rows());
        assert_eq!(groups, c.groups(), "B has {groups} groups, C {}", c.groups());
        assert_eq!(cols.len(), c.cols(), "{} columns of a group of B, of C {}", cols.len(), c.cols());
        init.check(groups, cols.len());
        if rows.is_empty() || cols.is_empty() {
            return;
        }
        profile::count_flops(2 * rows.len() * k * groups * cols.len());
        let start = init.start(cols.len());
        match &self.0 {
            Prepared::F32(a, b) => {
                let (a, b) = (a.rows_range(rows), b.cols_range(cols));
                b.isa().run(block::Panels { a, b, start, c: &mut c });
            }
            Prepared::Bf16(prepared) => prepared.product(rows, cols, start, &mut c),
            Prepared::Int8(prepared) => prepared.product(rows, cols, init, &mut c),
        }
    }
}

/// The arguments of [`outer_product`]: C = init + A^T B, as the gradient of weights, dW = X^T dY.
pub struct OuterProduct<'a, A = f32, B = f32> {
    /// A (R, M).
    pub a: Mat<'a, A>,
    /// B (R, N).
    pub b: Mat<'a, B>,
    /// The format to which both operands are rounded.
    pub precision: Precision,
    /// What C starts from.
    pub init: Init<'a>,
    /// Out: C (M, N).
    pub c: MatMut<'a>,
    /// Room for packed blocks; grows at first use to at most [`SCRATCH`].
    pub scratch: &'a mut Buffer,
}

/// Computes an [`OuterProduct`].
///
/// # Panics
///
/// When the shapes do not agree, or an operand is in bf16 and the precision is another.
#[track_caller]
pub fn outer_product<A: Element, B: Element>(isa: Isa, args: OuterProduct<'_, A, B>) {
    let OuterProduct { a, b, precision, init, mut c, scratch } = args;
    assert_eq!(a.rows(), b.rows(), "A has {} rows, B {}", a.rows(), b.rows());
    assert_eq!(a.cols(), c.rows(), "A has {} columns, C {} rows", a.cols(), c.rows());
    assert_eq!(b.cols(), c.cols(), "B has {} columns, C {}", b.cols(), c.cols());
    let (start, c_again) = (init.start(0), c.reborrow());
    let a = Source { mat: a, transposed: true };
    let b = Source { mat: b, transposed: false };
    unpacked(precision, Unpacked { isa, a, b, start, c: c_again, scratch }, init);
    spoil(Fault::OuterProduct, c);
}

/// The arguments of [`direct_product`]: C = init + A B with a B that is not packed, because it is used once.
pub struct DirectProduct<'a, E = f32> {
    /// A (M, K).
    pub a: Mat<'a, E>,
    /// B (K, N), or (N, K) where `b_transposed`.
    pub b: Mat<'a>,
    /// Whether `b` holds the transpose.
    pub b_transposed: bool,
    /// The format to which both operands are rounded.
    pub precision: Precision,
    /// What C starts from.
    pub init: Init<'a>,
    /// Out: C (M, N).
    pub c: MatMut<'a>,
    /// Room for packed blocks; grows at first use to at most [`SCRATCH`].
    pub scratch: &'a mut Buffer,
}

/// Computes a [`DirectProduct`].
///
/// # Panics
///
/// When the shapes do not agree, or A is in bf16 and the precision is another.
#[track_caller]
pub fn direct_product<E: Element>(isa: Isa, args: DirectProduct<'_, E>) {
    let DirectProduct { a, b, b_transposed, precision, init, mut c, scratch } = args;
    let (k, n) = if b_transposed { (b.cols(), b.rows()) } else { (b.rows(), b.cols()) };
    assert_eq!(a.cols(), k, "A has {} columns, B {k} rows", a.cols());
    assert_eq!(a.rows(), c.rows(), "A has {} rows, C {}", a.rows(), c.rows());
    assert_eq!(n, c.cols(), "B has {n} columns, C {}", c.cols());
    let (start, c_again) = (init.start(0), c.reborrow());
    let a = Source { mat: a, transposed: false };
    let b = Source { mat: b, transposed: b_transposed };
    unpacked(precision, Unpacked { isa, a, b, start, c: c_again, scratch }, init);
    if b_transposed {
        spoil(Fault::DirectProduct, c);
    }
}

/// Copies the transpose of `a` (p, q) to the first p columns of `to`, which has q rows without gaps between them.
///
/// [`outer_product`] does this with its left operand. Threads that share such a product call this once instead of each
/// transposing the operand again.
///
/// # Panics
///
/// When `to` has gaps between its rows, not q rows, or fewer than p columns.
#[track_caller]
pub fn transpose(isa: Isa, a: Mat, to: MatMut) {
    assert_eq!(a.cols(), to.rows(), "rows of a transpose");
    let _span = profile::enter(Phase::Packing);
    let width = to.cols();
    transpose::transpose(isa, to.into_slice(), width, a);
}

/// Runs the bf16 product instructions of an instruction set on registers alone, `turns` times, to measure the peak rate of
/// the processor. Returns the number of floating-point operations, 0 on a set without such instructions.
pub fn spin_bf16(isa: Isa, turns: usize) -> usize {
    bf16::spin(isa, turns)
}

/// [`outer_product`] and [`direct_product`], whose operands are not packed.
#[track_caller]
fn unpacked<A: Element, B: Element>(precision: Precision, args: Unpacked<'_, A, B>, init: Init) {
    init.check(1, args.c.cols());
    if args.c.rows() == 0 || args.c.cols() == 0 {
        return;
    }
    profile::count_flops(2 * args.c.rows() * args.c.cols() * args.depth());
    match precision {
        Precision::Bf16 => bf16::unpacked(args),
        Precision::F32 | Precision::Int8 => {
            let Some(mut args) = args.plain() else { panic!("operands in bf16 of a product in {precision}") };
            if args.isa == Isa::PORTABLE {
                init.fill(&mut args.c);
                block::by_sgemm(args);
            } else {
                args.isa.run(args);
            }
        }
    }
}
