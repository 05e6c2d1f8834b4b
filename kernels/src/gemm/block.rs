//! The loops around the register tile: which block of the operands stands in which cache.

use super::generic::{Operands, Start, column};
use super::pack::{PackedRef, copy, transpose, vectors};
use crate::simd::{Kernel, Simd};
use crate::{Buffer, GroupsMut, Mat, MatMut};

/// Rows of a panel that one pass of tiles reads: 64 columns of 128 rows are 32 KB, which stay in the first-level cache
/// while the tiles below each other read them again.
const KC: usize = 128;

/// Elements of A that one pass reads for all panels: 1 MB, half of the second-level cache.
const A_ROOM: usize = 1 << 18;

/// Rows and columns of B that are packed at once where B comes unpacked: 512 KB in the second-level cache.
const KC_UNPACKED: usize = 512;
const NC_UNPACKED: usize = 256;

/// `(start, length)` of each block of `size` in `total`; one empty block if there is nothing, so that a product over no
/// k still gives C its initial values.
#[inline(always)]
fn blocks(total: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..total.max(1)).step_by(size).map(move |at| (at, size.min(total - at)))
}

/// The product with packed panels.
///
/// Panel after panel, so that each is fetched once, all blocks along K before the next one, so that C's columns stay
/// near.
pub(super) struct Panels<'a, 'c, 'd> {
    pub(super) a: Mat<'a>,
    pub(super) b: PackedRef<'a>,
    pub(super) start: Start,
    pub(super) c: &'c mut GroupsMut<'d>,
}

impl Kernel for Panels<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { a, b, start, c } = self;
        let (ldc, apart, groups) = (c.stride(), c.group_stride(), b.groups());
        let row_len = |nv: usize| nv * S::LANES;
        for (m0, rows) in blocks(a.rows(), (A_ROOM / a.cols().max(1)).max(96)) {
            for p in 0..b.panels() {
                let (panel, col) = (b.panel(p), p * b.granule());
                let cols = b.granule().min(b.cols() - col);
                let nv = if groups == 1 { cols.div_ceil(S::LANES) } else { groups };
                for (k0, k) in blocks(a.cols(), KC) {
                    let o = Operands {
                        k,
                        a: a.as_ptr().wrapping_add(m0 * a.stride() + k0),
                        lda: a.stride(),
                        b: panel[k0 * row_len(nv)..(k0 + k) * row_len(nv)].as_ptr(),
                        start: start.at(k0, col),
                        c: c.as_mut_ptr().wrapping_add(m0 * ldc + col),
                        ldc,
                        apart: if groups == 1 { S::LANES } else { apart },
                        shift: if groups == 1 { S::LANES } else { 0 },
                        cols,
                    };
                    // SAFETY: the shapes of A, B, C and the biases were compared by the entry; rows m0.. and columns
                    // k0.., col.. lie within them, and `nv` vectors is what the panel's columns need.
                    unsafe { column(s, nv, false, rows, o) };
                }
            }
        }
    }
}

impl Start {
    /// What the tile at column `col` starts from in the block along K that begins at `k0`.
    #[inline(always)]
    fn at(self, k0: usize, col: usize) -> Self {
        match self {
            _ if k0 > 0 => Self::Load,
            Self::Row { ptr, stride } => Self::Row { ptr: ptr.wrapping_add(col), stride },
            other => other,
        }
    }
}

/// The left operand of a product whose B is not packed: (M, K), or its transpose.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) mat: Mat<'a>,
    pub(super) transposed: bool,
}

/// The product that packs blocks of B on the way.
pub(super) struct Unpacked<'a> {
    pub(super) a: Left<'a>,
    pub(super) b: Mat<'a>,
    pub(super) b_transposed: bool,
    pub(super) start: Start,
    pub(super) c: MatMut<'a>,
    pub(super) scratch: &'a mut Buffer,
}

impl Unpacked<'_> {
    /// Packs rows `k0..k0 + k` of the panel of `cols` columns from `col` on.
    #[inline(always)]
    fn pack(&mut self, to: usize, width: usize, [k0, k]: [usize; 2], [col, cols]: [usize; 2]) {
        let to = &mut self.scratch[to..to + k * width];
        if cols < width {
            for row in to.chunks_exact_mut(width) {
                row[cols..].fill(0.0);
            }
        }
        if self.b_transposed {
            transpose(to, width, self.b.rows_range(col..col + cols).cols_range(k0..k0 + k));
        } else {
            copy(to, width, self.b.rows_range(k0..k0 + k).cols_range(col..col + cols));
        }
    }
}

impl Kernel for Unpacked<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (a, lda) = (self.a.mat.as_ptr(), self.a.mat.stride());
        let (m, n, ldc) = (self.c.rows(), self.c.cols(), self.c.stride());
        let depth = if self.a.transposed { self.a.mat.rows() } else { self.a.mat.cols() };
        let granule = vectors(S::LANES) * S::LANES;
        self.scratch.reserve(KC_UNPACKED * NC_UNPACKED);
        for (n0, width) in blocks(n, NC_UNPACKED) {
            for (k0, k) in blocks(depth, KC_UNPACKED) {
                for (col, cols) in blocks(width, granule) {
                    self.pack(col * k, cols.next_multiple_of(S::LANES), [k0, k], [n0 + col, cols]);
                }
                for (m0, rows) in blocks(m, A_ROOM / KC_UNPACKED) {
                    for (col, cols) in blocks(width, granule) {
                        let at = if self.a.transposed { k0 * lda + m0 } else { m0 * lda + k0 };
                        let o = Operands {
                            k,
                            a: a.wrapping_add(at),
                            lda,
                            b: self.scratch[col * k..].as_ptr(),
                            start: self.start.at(k0, n0 + col),
                            c: self.c.as_mut_ptr().wrapping_add(m0 * ldc + n0 + col),
                            ldc,
                            apart: S::LANES,
                            shift: S::LANES,
                            cols,
                        };
                        // SAFETY: the shapes of A, B, C and the biases were compared by the entry; rows m0.. and
                        // columns k0.., n0 + col.. lie within them; the panel was packed above for `cols` columns.
                        unsafe { column(s, cols.div_ceil(S::LANES), self.a.transposed, rows, o) };
                    }
                }
            }
        }
    }
}

/// C += A B through `matrixmultiply`, which knows the vector sets of other processors. It allocates its own blocks.
pub(super) fn by_sgemm(args: Unpacked) {
    let Unpacked { a, b, b_transposed, mut c, .. } = args;
    let strides = |m: Mat, transposed| if transposed { (1, m.stride() as isize) } else { (m.stride() as isize, 1) };
    let depth = if a.transposed { a.mat.rows() } else { a.mat.cols() };
    let ((rsa, csa), (rsb, csb)) = (strides(a.mat, a.transposed), strides(b, b_transposed));
    // SAFETY: the views hold (m, depth), (depth, n) and (m, n) elements at these strides, checked by the entry; C is
    // borrowed exclusively.
    unsafe {
        matrixmultiply::sgemm(
            c.rows(),
            depth,
            c.cols(),
            1.0,
            a.mat.as_ptr(),
            rsa,
            csa,
            b.as_ptr(),
            rsb,
            csb,
            1.0,
            c.as_mut_ptr(),
            c.stride() as isize,
            1,
        );
    }
}
