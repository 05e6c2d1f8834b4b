//! The register tile, written once for every instruction set.
//!
//! A tile is MR rows by NV vectors of C, held in registers for a whole block along K: for each k it loads the NV
//! vectors of one panel row, broadcasts MR elements of A and does MR x NV multiply-adds. Both operands are read row by
//! row where they lie. Six rows of four AVX-512 vectors need 24 accumulators and 10 loads for 24 multiply-adds, so the
//! multiply-adds, two a cycle, are what limits, as long as B is there in time. Hence the two prefetches: rows of the
//! panel into the first-level cache shortly before they are needed, and, spread over the tiles of a block, the whole
//! next block into the second-level cache; with 20 rows of A and B in the third-level cache the latter makes 62 % of
//! the peak 91 %.
//!
//! Vector v of the tile is written to C at `v * apart`: the next vector of the same row where there is one group, the
//! next gate's group otherwise. Only the matrix's own columns are written.

use crate::simd::fetch::{FAR, NEAR};
use crate::simd::{Kernel, Simd, prefetch};

/// What a tile's accumulators start from.
#[derive(Clone, Copy)]
pub(super) enum Start {
    Zero,
    /// The tile of C.
    Load,
    /// A row of biases, `stride` apart from group to group.
    Row {
        ptr: *const f32,
        stride: usize,
    },
}

/// The most rows of a tile of `nv` vectors: the accumulators, the vectors of B (or of A, if they are fewer) that stay,
/// and what moves. AVX2 with three vectors keeps to three rows: with four the compiler spills, 59 % of the peak for 87 %.
const fn max_rows(registers: usize, nv: usize) -> usize {
    let mut rows = 12; // the tallest that `tile` knows
    while rows > 1 && rows * nv + if rows < nv { rows + 1 } else { nv + 2 } > registers {
        rows -= 1;
    }
    rows
}

/// The operands of a tile, or of a column of tiles one below the other.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    /// Terms of the block.
    pub(super) k: usize,
    /// Element (0, 0) of A, elements from row to row, and from term to term.
    pub(super) a: *const f32,
    pub(super) lda: usize,
    pub(super) next: usize,
    /// Row 0 of the panel, and elements from row to row.
    pub(super) b: *const f32,
    pub(super) ldb: usize,
    pub(super) start: Start,
    /// Element (0, 0) of the tile, and elements from row to row.
    pub(super) c: *mut f32,
    pub(super) ldc: usize,
    /// Elements of C from one vector of the tile to the next.
    pub(super) apart: usize,
    /// Columns that a vector is further to the right in its group than the one before: LANES or, with groups, 0.
    pub(super) shift: usize,
    /// Columns of the group from the tile's first on, at most the panel's.
    pub(super) cols: usize,
    /// What to fetch into the second-level cache meanwhile, `k` lines a tile: the block that comes next.
    pub(super) ahead: *const f32,
    /// From the line that is fetched at a term to that of the next, and from the first of a tile to that of the next.
    pub(super) ahead_by: [usize; 2],
}

/// Rows of the panel that are fetched into the first-level cache before they are needed. Without it, blocks of more
/// than 32 KB lose 5 % and matrix-vector products 10 %; 4, 8 and 16 rows do equally well.
const ROWS_AHEAD: usize = 8;

/// Elements of a cache line.
pub(super) const LINE: usize = 16;

/// `acc[i][v] += sum over k of A[i][k] B[k][v]`, one chain of multiply-adds an element, in the order of k.
///
/// # Safety
///
/// MR x k elements of A and k panel rows of `NV * LANES` must be readable.
#[inline(always)]
unsafe fn accumulate<S: Simd, const MR: usize, const NV: usize>(
    s: S,
    mut acc: [[S::F32; NV]; MR],
    o: Operands,
) -> [[S::F32; NV]; MR] {
    let Operands { k, mut a, lda, next, mut b, ldb, mut ahead, ahead_by, .. } = o;
    for _ in 0..k {
        prefetch::<FAR, _>(ahead);
        for line in 0..(NV * S::LANES).div_ceil(LINE) {
            prefetch::<NEAR, _>(b.wrapping_add(ROWS_AHEAD * ldb + line * LINE));
        }
        // SAFETY: the caller promises MR x k elements of A and k rows of the panel.
        unsafe {
            if MR < NV {
                let mut x = [s.splat(0.0); MR];
                for i in 0..MR {
                    x[i] = s.splat(*a.add(i * lda));
                }
                for v in 0..NV {
                    let y = s.load_ptr(b.add(v * S::LANES));
                    for i in 0..MR {
                        acc[i][v] = s.mul_add(x[i], y, acc[i][v]);
                    }
                }
            } else {
                let mut y = [s.splat(0.0); NV];
                for v in 0..NV {
                    y[v] = s.load_ptr(b.add(v * S::LANES));
                }
                for i in 0..MR {
                    let x = s.splat(*a.add(i * lda));
                    for v in 0..NV {
                        acc[i][v] = s.mul_add(x, y[v], acc[i][v]);
                    }
                }
            }
        }
        // After the last term these may leave the slices, hence `wrapping_add`.
        a = a.wrapping_add(next);
        b = b.wrapping_add(ldb);
        ahead = ahead.wrapping_add(ahead_by[0]);
    }
    acc
}

/// One tile. Only [`tile`] makes one, whose caller promises what the pointers need.
struct Tile<const MR: usize, const NV: usize>(Operands);

impl<const MR: usize, const NV: usize> Tile<MR, NV> {
    /// Columns that vector `v` has in the matrix.
    #[inline(always)]
    fn columns<S: Simd>(&self, v: usize) -> usize {
        (self.0.cols - v * self.0.shift).min(S::LANES)
    }

    /// Vector `v` at `p`, 0 beyond the matrix.
    ///
    /// # Safety
    ///
    /// The vector's columns must be readable.
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, s: S, p: *const f32, v: usize) -> S::F32 {
        let n = self.columns::<S>(v);
        // SAFETY: the caller's promise is the same.
        unsafe { if n == S::LANES { s.load_ptr(p) } else { s.load_partial(std::slice::from_raw_parts(p, n)) } }
    }

    /// The accumulators' initial values.
    ///
    /// # Safety
    ///
    /// The tile's columns of C or of the biases must be readable.
    #[inline(always)]
    unsafe fn initial<S: Simd>(&self, s: S) -> [[S::F32; NV]; MR] {
        let Operands { start, c, ldc, apart, shift, .. } = self.0;
        let mut acc = [[s.splat(0.0); NV]; MR];
        match start {
            Start::Zero => {}
            Start::Load => {
                for i in 0..MR {
                    for v in 0..NV {
                        // SAFETY: the caller's promise.
                        acc[i][v] = unsafe { self.load(s, c.add(i * ldc + v * apart), v) };
                    }
                }
            }
            Start::Row { ptr, stride } => {
                let apart = if shift == 0 { stride } else { shift };
                for v in 0..NV {
                    // SAFETY: the caller's promise.
                    let x = unsafe { self.load(s, ptr.add(v * apart), v) };
                    for i in 0..MR {
                        acc[i][v] = x;
                    }
                }
            }
        }
        acc
    }

    /// Writes the tile to C.
    ///
    /// # Safety
    ///
    /// The tile's columns of C must be writable.
    #[inline(always)]
    unsafe fn store<S: Simd>(&self, s: S, acc: [[S::F32; NV]; MR]) {
        let Operands { c, ldc, apart, .. } = self.0;
        for i in 0..MR {
            for v in 0..NV {
                let n = self.columns::<S>(v);
                // SAFETY: the caller's promise.
                unsafe {
                    let p = c.add(i * ldc + v * apart);
                    if n == S::LANES {
                        s.store_ptr(p, acc[i][v]);
                    } else {
                        s.store_partial(std::slice::from_raw_parts_mut(p, n), acc[i][v]);
                    }
                }
            }
        }
    }
}

impl<const MR: usize, const NV: usize> Kernel for Tile<MR, NV> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Operands { start, c, ldc, apart, .. } = self.0;
        // This tile's part of C is written at the end; where it is read at once, the next tile's is fetched instead.
        let below = if matches!(start, Start::Load) { MR } else { 0 };
        for i in 0..MR {
            for v in 0..NV {
                prefetch::<NEAR, _>(c.wrapping_add((i + below) * ldc + v * apart));
            }
        }
        // SAFETY: the tile's columns of C and of the biases are readable, see `tile`.
        let acc = unsafe { self.initial(s) };
        // SAFETY: A and the panel are readable, see `tile`.
        let acc = unsafe { accumulate::<S, MR, NV>(s, acc, self.0) };
        // SAFETY: the tile's columns of C are writable, see `tile`.
        unsafe { self.store(s, acc) };
    }
}

/// Elements of two panels that need no fetching ahead for one row: they are in the first-level cache for the most part,
/// and asking for lines takes as many loads as the row itself.
const FEW: usize = 1 << 14;

/// One row of C in two neighbouring panels: a tile of one row is a few chains of multiply-adds, each as long as K, and
/// waits for their latency; two panels together are twice as many.
struct RowOfTwo<const FETCH: bool, const LEFT: usize, const RIGHT: usize>(Tile<1, LEFT>, Tile<1, RIGHT>);

impl<const FETCH: bool, const LEFT: usize, const RIGHT: usize> Kernel for RowOfTwo<FETCH, LEFT, RIGHT> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self(left, right) = self;
        let Operands { k, a, b: mut b0, ldb: ldb0, .. } = left.0;
        let Operands { b: mut b1, ldb: ldb1, .. } = right.0;
        // SAFETY: the columns of C and of the biases are readable, see `row_of_two`.
        let ([mut x], [mut y]) = unsafe { (left.initial(s), right.initial(s)) };
        for i in 0..k {
            for line in 0..if FETCH { (LEFT * S::LANES).div_ceil(LINE) } else { 0 } {
                prefetch::<NEAR, _>(b0.wrapping_add(ROWS_AHEAD * ldb0 + line * LINE));
            }
            for line in 0..if FETCH { (RIGHT * S::LANES).div_ceil(LINE) } else { 0 } {
                prefetch::<NEAR, _>(b1.wrapping_add(ROWS_AHEAD * ldb1 + line * LINE));
            }
            // SAFETY: k elements of A and k rows of both panels are readable, see `row_of_two`.
            unsafe {
                let a = s.splat(*a.add(i));
                for v in 0..LEFT {
                    x[v] = s.mul_add(a, s.load_ptr(b0.add(v * S::LANES)), x[v]);
                }
                for v in 0..RIGHT {
                    y[v] = s.mul_add(a, s.load_ptr(b1.add(v * S::LANES)), y[v]);
                }
            }
            (b0, b1) = (b0.wrapping_add(ldb0), b1.wrapping_add(ldb1));
        }
        // SAFETY: the columns of C are writable, see `row_of_two`.
        unsafe {
            left.store(s, [x]);
            right.store(s, [y]);
        }
    }
}

/// Computes one row of C in two panels of `vectors` vectors each.
///
/// # Safety
///
/// As for [`tile`], for each panel; both have the same `a` and `k`.
#[inline(always)]
pub(super) unsafe fn row_of_two<S: Simd>(s: S, vectors: [usize; 2], left: Operands, right: Operands) {
    let near = left.k * (left.ldb + right.ldb) <= FEW;
    macro_rules! ladder {
        ($($left:literal $right:literal),*) => {
            match vectors {
                $([$left, $right] => {
                    let (l, r) = (Tile::<1, $left>(left), Tile::<1, $right>(right));
                    if near { s.vectorize(RowOfTwo::<false, $left, $right>(l, r)) } else { s.vectorize(RowOfTwo::<true, $left, $right>(l, r)) }
                })*
                _ => unreachable!("panels of {vectors:?} vectors"),
            }
        };
    }
    // Full panels on the left: 4 vectors on AVX-512, 2 elsewhere, or one of each group.
    ladder!(1 1, 2 1, 2 2, 3 3, 4 1, 4 2, 4 3, 4 4);
}

/// Computes one tile of `rows` rows, 1 to [`max_rows`].
///
/// # Safety
///
/// `rows` x k elements of A, k rows of the panel and the tile's columns of the biases must be readable, those of C
/// readable and writable; every vector of the tile must have a column.
#[inline(always)]
unsafe fn tile<S: Simd, const NV: usize>(s: S, rows: usize, o: Operands) {
    macro_rules! ladder {
        ($($mr:literal)*) => {
            match rows {
                // Only the heights that fit the set's registers are compiled, each a function of its own.
                $($mr => if const { $mr <= max_rows(S::REGISTERS, NV) } { s.vectorize(Tile::<$mr, NV>(o)) },)*
                _ => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    ladder!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// Computes `rows` rows of C in tiles of nearly equal height.
///
/// # Safety
///
/// As for [`tile`].
#[inline(always)]
unsafe fn tiles<S: Simd, const NV: usize>(s: S, rows: usize, mut o: Operands) {
    let count = rows.div_ceil(const { max_rows(S::REGISTERS, NV) });
    for t in 0..count {
        let height = rows / count + usize::from(t < rows % count);
        // SAFETY: the caller's promise covers all rows.
        unsafe { tile::<S, NV>(s, height, o) };
        o.a = o.a.wrapping_add(height * o.lda);
        o.c = o.c.wrapping_add(height * o.ldc);
        // The next block of a packed B has NV * LANES / LINE times `k` lines: the first tiles fetch them, a share each.
        let whole = o.ahead_by[0] == LINE && (t + 1) * LINE >= NV * S::LANES;
        o.ahead = if whole { o.b } else { o.ahead.wrapping_add(o.ahead_by[1]) };
    }
}

/// Computes `rows` rows of C for one block of one panel of `vectors` vectors.
///
/// # Safety
///
/// As for [`tile`].
#[inline(always)]
pub(super) unsafe fn column<S: Simd>(s: S, vectors: usize, rows: usize, o: Operands) {
    // SAFETY: the caller's promise is the same.
    unsafe {
        match vectors {
            1 => tiles::<S, 1>(s, rows, o),
            2 => tiles::<S, 2>(s, rows, o),
            3 => tiles::<S, 3>(s, rows, o),
            4 => tiles::<S, 4>(s, rows, o),
            _ => unreachable!("a panel of {vectors} vectors"),
        }
    }
}
