//! The loops around the register tile: which block of the operands stands in which cache.

use super::generic::{LINE, Operands, Start, column, row_of_two};
use super::pack::{PackedRef, copy, vectors};
use super::transpose::transpose;
use crate::cpuid::first_level_cache;
use crate::profile::{self, Phase};
use crate::simd::{Kernel, Simd};
use crate::{Buffer, Element, GroupsMut, Isa, Mat, MatMut};

/// Rows that are few: panels are fetched ahead for them, B is read where it lies, and blocks are of other lengths. With 96 rows of
/// 512 x 2048 that is 12 % faster than with what many rows have (85 for 76 GFLOP/s of one thread), with 160 no longer (Zen 4, 2026-11-23).
const FEW: usize = 96;

/// Terms of one block of packed panels where there are few rows. A first-level cache of 48 KB (Sapphire Rapids) holds 128 rows of
/// 64 columns, 32 KB, until the last tile has read them. A smaller one (Zen 4) has no room for them beside A and C, so that panels
/// come from the second-level cache in any case, and long blocks visit C less often. GFLOP/s of one thread of Zen 4 (2026-11-23) with
/// 64, 128, 256, 512, 1,024 terms: 20x650x2600 93, 93, 100, 100, 105; 64x512x2048 92, 95, 99, 104, 101.
fn few_terms() -> usize {
    if first_level_cache() < 48 << 10 { 512 } else { 128 }
}

/// Terms of one block where there are many rows: the panel comes from the second-level cache, and C is read and
/// written half as often (5 % faster at 700 rows, 10 % at 1,000; 64 to 384 tried).
const KC: usize = 256;

/// Elements of A that one pass reads for all panels: 1 MB, half of a Xeon's second-level cache. From a quarter to twice that all do
/// within 4 % (char256, Zen 4, 2026-11-23).
const A_ROOM: usize = 1 << 18;

/// Terms that are so few that operands are read where they lie, A across its rows, rather than copied first: a tile's lines
/// of them stay in the first-level cache. On Zen 4 copying first does as well (nnlm32: 58.8 for 55.5 GFLOP/s on one thread, 71.3 for
/// 72.6 on two, 2026-11-23).
const FEW_TERMS: usize = 64;

/// Terms of one block where B comes unpacked and there are few rows. For 32 rows of 661 x 17,964, 64 to 384 do alike on Zen 4.
const KC_FEW: usize = 128;

/// Terms and rows of one block where B comes unpacked otherwise: 1.1 MB of A. From 256 x 1,024 to 1,024 x 256 all do within 3 %.
const KC_UNPACKED: usize = 384;
const MC_UNPACKED: usize = 768;

/// Columns of an unpacked B that are packed together where there are many rows, and the terms that one panel gets of them before the
/// next panel does. AVX2's panels are a cache line wide: taken one by one, each line of B comes from another page than the one before.
/// Packing takes 109 ms of a step of char512 on one thread where B is packed 16 columns at a time, 52 with 64, 50 with 256 (Zen 3,
/// 2026-11-24). A panel of AVX-512 has as many columns by itself.
const COLS_TOGETHER: usize = 64;
const TERMS_TOGETHER: usize = 8;

/// Elements that a product in f32 with an unpacked operand takes of its scratch at most, on any set.
pub(super) const SCRATCH: usize = KC_UNPACKED * (MC_UNPACKED + COLS_TOGETHER);

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

impl Panels<'_, '_, '_> {
    /// Vectors of a row of panel `p`.
    #[inline(always)]
    fn vectors<S: Simd>(&self, p: usize) -> usize {
        let b = self.b;
        let cols = b.granule().min(b.cols() - p * b.granule());
        if b.groups() == 1 { cols.div_ceil(S::LANES) } else { b.groups() }
    }

    /// The rows of C from `m0` on, the columns of panel `p`, for the terms `k0..k0 + k`.
    #[inline(always)]
    fn operands<S: Simd>(&mut self, m0: usize, p: usize, [k0, k]: [usize; 2]) -> Operands {
        let width = self.vectors::<S>(p) * S::LANES;
        let (a, b, ldc, apart) = (self.a, self.b, self.c.stride(), self.c.group_stride());
        let (panel, col) = (b.panel(p), p * b.granule());
        Operands {
            k,
            a: a.as_ptr().wrapping_add(m0 * a.stride() + k0),
            lda: a.stride(),
            next: 1,
            b: panel[k0 * width..(k0 + k) * width].as_ptr(),
            ldb: width,
            start: self.start.at(k0, col),
            c: self.c.as_mut_ptr().wrapping_add(m0 * ldc + col),
            ldc,
            apart: if b.groups() == 1 { S::LANES } else { apart },
            shift: if b.groups() == 1 { S::LANES } else { 0 },
            cols: b.granule().min(b.cols() - col),
            ahead: panel.as_ptr().wrapping_add((k0 + k) * width),
            ahead_by: [LINE, LINE * k],
        }
    }
}

impl Kernel for Panels<'_, '_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (m, k, panels) = (self.a.rows(), self.a.cols(), self.b.panels());
        let pairs = if m == 1 { panels / 2 } else { 0 };
        for p in (0..2 * pairs).step_by(2) {
            let vectors = [self.vectors::<S>(p), self.vectors::<S>(p + 1)];
            let (left, right) = (self.operands::<S>(0, p, [0, k]), self.operands::<S>(0, p + 1, [0, k]));
            // SAFETY: the shapes of A, B, C and the biases were compared by the entry; the columns of panels p and
            // p + 1 lie within them, and `vectors` is what these need.
            unsafe { row_of_two(s, vectors, left, right) };
        }
        if 2 * pairs == panels {
            return;
        }
        for (m0, rows) in blocks(m, (A_ROOM / k.max(1)).max(96)) {
            for p in 2 * pairs..panels {
                for terms in blocks(k, if m <= FEW { few_terms() } else { KC }) {
                    let o = self.operands::<S>(m0, p, terms.into());
                    // SAFETY: as above, for the rows from m0 on.
                    unsafe { column(s, self.vectors::<S>(p), rows, o) };
                }
            }
        }
    }
}

impl Start {
    /// What the tile at column `col` starts from in the block along K that begins at `k0`.
    #[inline(always)]
    pub(super) fn at(self, k0: usize, col: usize) -> Self {
        match self {
            _ if k0 > 0 => Self::Load,
            Self::Row { ptr, stride } => Self::Row { ptr: ptr.wrapping_add(col), stride },
            other => other,
        }
    }
}

/// An operand of a product whose B is not packed: as it is multiplied, or its transpose.
#[derive(Clone, Copy)]
pub(super) struct Source<'a, E = f32> {
    pub(super) mat: Mat<'a, E>,
    pub(super) transposed: bool,
}

impl<'a, E: Element> Source<'a, E> {
    fn plain(self) -> Option<Source<'a>> {
        Some(Source { mat: E::plain(self.mat)?, transposed: self.transposed })
    }
}

/// The product that packs blocks of B on the way.
pub(super) struct Unpacked<'a, A = f32, B = f32> {
    pub(super) isa: Isa,
    /// (M, K)
    pub(super) a: Source<'a, A>,
    /// (K, N)
    pub(super) b: Source<'a, B>,
    pub(super) start: Start,
    pub(super) c: MatMut<'a>,
    pub(super) scratch: &'a mut Buffer,
}

impl<'a, A: Element, B: Element> Unpacked<'a, A, B> {
    /// Terms of the sum.
    pub(super) fn depth(&self) -> usize {
        if self.a.transposed { self.a.mat.rows() } else { self.a.mat.cols() }
    }

    /// The same, if both operands are in f32.
    pub(super) fn plain(self) -> Option<Unpacked<'a>> {
        let Self { isa, a, b, start, c, scratch } = self;
        Some(Unpacked { isa, a: a.plain()?, b: b.plain()?, start, c, scratch })
    }
}

impl Unpacked<'_> {
    /// Packs columns `col..col + cols` of B for the terms `k0..k0 + k` as panels of `granule` columns, one after the other; the rows of
    /// the last have whole vectors of `lanes`.
    fn pack_b(&self, to: &mut [f32], [granule, lanes]: [usize; 2], [k0, k]: [usize; 2], [col, cols]: [usize; 2]) {
        let _span = profile::enter(Phase::Packing);
        // A single panel takes all terms at once, and so does the transpose, which lies along them.
        let terms_together = if self.b.transposed || cols <= granule { k.max(1) } else { TERMS_TOGETHER };
        for (term, terms) in blocks(k, terms_together) {
            for (at, cols) in blocks(cols, granule) {
                let (width, k0, col) = (cols.next_multiple_of(lanes), k0 + term, col + at);
                let to = &mut to[at * k + term * width..][..terms * width];
                if cols < width {
                    to.chunks_exact_mut(width).for_each(|row| row[cols..].fill(0.0));
                }
                if self.b.transposed {
                    transpose(self.isa, to, width, self.b.mat.rows_range(col..col + cols).cols_range(k0..k0 + terms));
                } else {
                    copy(self.isa, to, width, self.b.mat.rows_range(k0..k0 + terms).cols_range(col..col + cols));
                }
            }
        }
    }
}

impl Unpacked<'_> {
    /// What to fetch while the panel before column `col` is worked on, and how: where there are few rows the panels of B come
    /// from memory as fast as they are used, in pieces too short for the processor to see what comes next. Rows of B that is
    /// used as it lies are fetched for the terms of a tile, a line further by each tile; of its transpose those from `col` on
    /// (32 rows of 661 x 17,964: 90 GFLOP/s a thread, 82 without).
    #[inline(always)]
    fn ahead(&self, [k0, k]: [usize; 2], col: usize, few: bool) -> Option<(*const f32, [usize; 2])> {
        let (b, stride) = (self.b.mat, self.b.mat.stride());
        let from = match (few, self.b.transposed) {
            (false, _) => return None,
            (true, true) => b.as_ptr().wrapping_add(col * stride + k0),
            (true, false) if col < b.cols() => b.as_ptr().wrapping_add(k0 * stride + col),
            (true, false) => b.as_ptr().wrapping_add((k0 + k) * stride),
        };
        Some((from, [stride, LINE]))
    }
}

impl Kernel for Unpacked<'_> {
    type Output = ();

    /// For each block of terms, for each block of rows (A's part in the second-level cache), panel after panel.
    ///
    /// With few rows packing would cost more than it saves: whole vectors of B are then read where they lie (650 x 2600
    /// with 1, 8, 20 rows: 0.21, 0.28, 0.47 ms; packed first 0.31, 0.41, 0.67 ms; 64 rows of 512 x 2048 gain 5 %).
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let Source { mat: a, transposed } = self.a;
        let (m, n, ldc) = (self.c.rows(), self.c.cols(), self.c.stride());
        let depth = self.depth();
        let granule = vectors(S::LANES) * S::LANES;
        let mut scratch = std::mem::take(self.scratch);
        scratch.reserve(SCRATCH);
        let (panels, left) = scratch.split_at_mut(KC_UNPACKED * COLS_TOGETHER);
        for (k0, k) in blocks(depth, if m <= FEW { KC_FEW } else { KC_UNPACKED }) {
            let few = m <= FEW || k <= FEW_TERMS;
            for (m0, rows) in blocks(m, MC_UNPACKED) {
                let (a, lda, next) = if transposed && k <= FEW_TERMS {
                    (a.as_ptr().wrapping_add(k0 * a.stride() + m0), 1, a.stride())
                } else if transposed {
                    let _span = profile::enter(Phase::Packing);
                    transpose(self.isa, left, k, a.rows_range(k0..k0 + k).cols_range(m0..m0 + rows));
                    (left.as_ptr(), k, 1)
                } else {
                    (a.as_ptr().wrapping_add(m0 * a.stride() + k0), a.stride(), 1)
                };
                for (from, together) in blocks(n, if few { granule } else { COLS_TOGETHER }) {
                    let in_place = few && !self.b.transposed && together % S::LANES == 0;
                    if !in_place {
                        self.pack_b(panels, [granule, S::LANES], [k0, k], [from, together]);
                    }
                    for (at, cols) in blocks(together, granule) {
                        let col = from + at;
                        let (b, ldb) = if in_place {
                            (self.b.mat.as_ptr().wrapping_add(k0 * self.b.mat.stride() + col), self.b.mat.stride())
                        } else {
                            (panels[at * k..].as_ptr(), cols.next_multiple_of(S::LANES))
                        };
                        let (ahead, ahead_by) =
                            self.ahead([k0, k], col + granule, m <= FEW).unwrap_or((b, [LINE, LINE * k]));
                        let o = Operands {
                            k,
                            a,
                            lda,
                            next,
                            b,
                            ldb,
                            start: self.start.at(k0, col),
                            c: self.c.as_mut_ptr().wrapping_add(m0 * ldc + col),
                            ldc,
                            apart: S::LANES,
                            shift: S::LANES,
                            cols,
                            ahead,
                            ahead_by,
                        };
                        // SAFETY: the shapes of A, B, C and the biases were compared by the entry; rows m0.. and columns
                        // k0.., col.. lie within them; where B or A is packed, it was just done for this block.
                        unsafe { column(s, cols.div_ceil(S::LANES), rows, o) };
                    }
                }
            }
        }
        *self.scratch = scratch;
    }
}

/// C += A B through `matrixmultiply`, which knows the vector sets of other processors. It allocates its own blocks.
pub(super) fn by_sgemm(args: Unpacked<'_>) {
    let depth = args.depth();
    let Unpacked { a, b, mut c, .. } = args;
    let strides = |m: Mat, transposed| if transposed { (1, m.stride() as isize) } else { (m.stride() as isize, 1) };
    let ((rsa, csa), (rsb, csb)) = (strides(a.mat, a.transposed), strides(b.mat, b.transposed));
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
            b.mat.as_ptr(),
            rsb,
            csb,
            1.0,
            c.as_mut_ptr(),
            c.stride() as isize,
            1,
        );
    }
}
