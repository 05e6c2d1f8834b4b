//! The register tile, written once for every instruction set.
//!
//! A tile is MR rows by NV vectors of C, held in registers for a whole block along K: for each k it loads the NV
//! vectors of one panel row, broadcasts MR elements of A and does MR x NV multiply-adds. The panel's rows are
//! contiguous; A is read where it lies, by rows (element (i, k) at `i * stride + k`) or transposed (`k * stride + i`).
//! Six rows of four AVX-512 vectors need 24 accumulators and 10 loads for 24 multiply-adds, so the multiply-adds,
//! two a cycle, are what limits.
//!
//! Vector v of the tile is written to C at `v * apart`: the next vector of the same row where there is one group, the
//! next gate's group otherwise. Only the matrix's own columns are written.

use crate::simd::{Kernel, Simd};

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

/// The most rows of a tile of `nv` vectors: the accumulators, the vectors of B or of A that stay, and one that moves.
pub(super) const fn max_rows(registers: usize, nv: usize) -> usize {
    let mut rows = 12; // the widest that `run` knows
    while rows > 1 && rows * nv + if rows < nv { rows } else { nv } + 1 > registers {
        rows -= 1;
    }
    rows
}

/// `acc[i][v] += sum over k of A[i][k] B[k][v]`, one chain of multiply-adds an element, in the order of k.
///
/// `a` points to element (0, 0) of A, `lda` apart from row to row (from k to k where `T`); `b` to a panel of rows of
/// `NV * LANES`.
///
/// # Safety
///
/// MR x `k` elements of A and `k` rows of the panel must be readable.
#[inline(always)]
pub(crate) unsafe fn accumulate<S: Simd, const MR: usize, const NV: usize, const T: bool>(
    s: S,
    mut acc: [[S::F32; NV]; MR],
    k: usize,
    mut a: *const f32,
    lda: usize,
    mut b: *const f32,
) -> [[S::F32; NV]; MR] {
    let (row, next) = if T { (1, lda) } else { (lda, 1) };
    for _ in 0..k {
        // SAFETY: the caller promises MR x k elements of A and k rows of the panel. The last step of `a` and `b` may
        // leave the slice, hence `wrapping_add`; they are not read there.
        unsafe {
            if MR < NV {
                let mut x = [s.splat(0.0); MR];
                for i in 0..MR {
                    x[i] = s.splat(*a.add(i * row));
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
                    let x = s.splat(*a.add(i * row));
                    for v in 0..NV {
                        acc[i][v] = s.mul_add(x, y[v], acc[i][v]);
                    }
                }
            }
        }
        a = a.wrapping_add(next);
        b = b.wrapping_add(NV * S::LANES);
    }
    acc
}

/// The operands of a tile, or of a column of tiles one below the other.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    pub(super) k: usize,
    pub(super) a: *const f32,
    pub(super) lda: usize,
    pub(super) b: *const f32,
    pub(super) start: Start,
    pub(super) c: *mut f32,
    pub(super) ldc: usize,
    /// Elements of C from one vector of the tile to the next.
    pub(super) apart: usize,
    /// Columns that a vector is further to the right in its group than the one before: LANES or, with groups, 0.
    pub(super) shift: usize,
    /// Columns of the group from the tile's first on, at most the panel's.
    pub(super) cols: usize,
}

/// One tile. The fields are private, so that only [`tile`] makes one, whose caller promises what the pointers need.
struct Tile<const MR: usize, const NV: usize, const T: bool>(Operands);

impl<const MR: usize, const NV: usize, const T: bool> Tile<MR, NV, T> {
    /// Vector `v` of row pointer `p`, its columns beyond the group 0.
    ///
    /// # Safety
    ///
    /// The columns must be readable.
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, s: S, p: *const f32, v: usize) -> S::F32 {
        let n = (self.0.cols - v * self.0.shift).min(S::LANES);
        // SAFETY: the caller promises the columns of the group.
        unsafe { if n == S::LANES { s.load_ptr(p) } else { s.load_partial(std::slice::from_raw_parts(p, n)) } }
    }
}

impl<const MR: usize, const NV: usize, const T: bool> Kernel for Tile<MR, NV, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Operands { k, a, lda, b, start, c, ldc, apart, shift, cols } = self.0;
        let mut acc = [[s.splat(0.0); NV]; MR];
        match start {
            Start::Zero => {}
            Start::Load => {
                for i in 0..MR {
                    for v in 0..NV {
                        // SAFETY: the tile's columns of C are readable, see `tile`.
                        acc[i][v] = unsafe { self.load(s, c.add(i * ldc + v * apart), v) };
                    }
                }
            }
            Start::Row { ptr, stride } => {
                for v in 0..NV {
                    let apart = if shift == 0 { stride } else { S::LANES };
                    // SAFETY: the tile's columns of the biases are readable, see `tile`.
                    let x = unsafe { self.load(s, ptr.add(v * apart), v) };
                    for i in 0..MR {
                        acc[i][v] = x;
                    }
                }
            }
        }
        // SAFETY: A and the panel are readable, see `tile`.
        let acc = unsafe { accumulate::<S, MR, NV, T>(s, acc, k, a, lda, b) };
        for i in 0..MR {
            for v in 0..NV {
                let p = c.wrapping_add(i * ldc + v * apart);
                let n = (cols - v * shift).min(S::LANES);
                // SAFETY: the tile's columns of C are writable, see `tile`.
                unsafe {
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

/// Computes one tile of `rows` rows, 1 to [`max_rows`].
///
/// # Safety
///
/// `rows` x k elements of A, k rows of the panel, the tile's columns of the biases must be readable, and those of C
/// readable and writable; every vector of the tile must have a column.
#[inline(always)]
unsafe fn tile<S: Simd, const NV: usize, const T: bool>(s: S, rows: usize, o: Operands) {
    macro_rules! ladder {
        ($($mr:literal)*) => {
            match rows {
                // Only the heights that fit the set's registers are compiled.
                $($mr => if const { $mr <= max_rows(S::REGISTERS, NV) } { s.vectorize(Tile::<$mr, NV, T>(o)) },)*
                _ => unreachable!("a tile of {rows} rows"),
            }
        };
    }
    ladder!(1 2 3 4 5 6 7 8 9 10 11 12);
}

/// Computes `rows` rows of C for one block of one panel, in tiles of nearly equal height.
///
/// # Safety
///
/// As for [`tile`].
#[inline(always)]
unsafe fn column_nv<S: Simd, const NV: usize, const T: bool>(s: S, rows: usize, mut o: Operands) {
    let tiles = rows.div_ceil(const { max_rows(S::REGISTERS, NV) });
    let row = if T { 1 } else { o.lda };
    for t in 0..tiles {
        let height = rows / tiles + usize::from(t < rows % tiles);
        // SAFETY: the caller's promise covers all rows.
        unsafe { tile::<S, NV, T>(s, height, o) };
        o.a = o.a.wrapping_add(height * row);
        o.c = o.c.wrapping_add(height * o.ldc);
    }
}

/// Computes `rows` rows of C for one block of one panel of `vectors` vectors.
///
/// # Safety
///
/// As for [`tile`].
#[inline(always)]
pub(super) unsafe fn column<S: Simd>(s: S, vectors: usize, transposed: bool, rows: usize, o: Operands) {
    // SAFETY: the caller's promise is the same.
    unsafe {
        match (vectors, transposed) {
            (1, false) => column_nv::<S, 1, false>(s, rows, o),
            (2, false) => column_nv::<S, 2, false>(s, rows, o),
            (3, false) => column_nv::<S, 3, false>(s, rows, o),
            (4, false) => column_nv::<S, 4, false>(s, rows, o),
            (1, true) => column_nv::<S, 1, true>(s, rows, o),
            (2, true) => column_nv::<S, 2, true>(s, rows, o),
            (3, true) => column_nv::<S, 3, true>(s, rows, o),
            (4, true) => column_nv::<S, 4, true>(s, rows, o),
            _ => unreachable!("a panel of {vectors} vectors"),
        }
    }
}
