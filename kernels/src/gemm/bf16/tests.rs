use super::*;
use crate::isa::sets_under_test;

/// A number in [-1, 1) that depends on its arguments.
fn noise(seed: u32, at: usize) -> f32 {
    let mut x = (at as u32).wrapping_mul(0x9e37_79b9) ^ seed.wrapping_mul(0x85eb_ca6b);
    x = (x ^ (x >> 15)).wrapping_mul(0x2c1b_3c6d);
    x = (x ^ (x >> 12)).wrapping_mul(0x297a_2d39);
    ((x ^ (x >> 15)) >> 8) as f32 / (1 << 23) as f32 - 1.0
}

/// Elements between two pages that may not be touched: at the end of the room, or at its beginning.
#[cfg(target_os = "linux")]
struct Guarded {
    base: *mut std::ffi::c_void,
    bytes: usize,
    data: *mut u32,
    len: usize,
}

#[cfg(target_os = "linux")]
impl Guarded {
    const PAGE: usize = 4096;

    fn new(words: &[u32], at_end: bool) -> Self {
        use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
        let inner = (4 * words.len()).next_multiple_of(Self::PAGE).max(Self::PAGE);
        let bytes = inner + 2 * Self::PAGE;
        // SAFETY: a fresh mapping, of which the first and the last page are taken away; the words fit in between.
        unsafe {
            let base =
                mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
                    .expect("a mapping");
            mprotect(base, Self::PAGE, MprotectFlags::empty()).expect("a guard before");
            mprotect(base.byte_add(Self::PAGE + inner), Self::PAGE, MprotectFlags::empty()).expect("a guard behind");
            let data =
                base.byte_add(if at_end { Self::PAGE + inner - 4 * words.len() } else { Self::PAGE }).cast::<u32>();
            std::ptr::copy_nonoverlapping(words.as_ptr(), data, words.len());
            Self { base, bytes, data, len: words.len() }
        }
    }

    fn of(values: &[f32], at_end: bool) -> Self {
        Self::new(bytemuck::cast_slice(values), at_end)
    }

    fn words(&self) -> &[u32] {
        // SAFETY: written by `new`.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

#[cfg(target_os = "linux")]
impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, which nothing refers to any more.
        unsafe { rustix::mm::munmap(self.base, self.bytes).expect("unmapped") };
    }
}

/// Rows, terms, groups and columns of a group.
const SIZES: [[usize; 4]; 13] = [
    [1, 1, 1, 1],
    [2, 33, 1, 16],
    [3, 64, 4, 17],
    [7, 31, 2, 15],
    [16, 32, 1, 48],
    [17, 40, 3, 20],
    [20, 70, 4, 16],
    [31, 96, 1, 49],
    [31, 70, 1, 33],
    [33, 5, 1, 64],
    [40, 400, 1, 35],
    [50, 33, 4, 31],
    [67, 350, 3, 16],
];

/// Every operand ends, or begins, where a page begins that may not be touched.
#[test]
#[cfg(target_os = "linux")]
fn nothing_beyond_the_operands_is_touched() {
    for isa in sets_under_test() {
        for [m, k, groups, n] in SIZES {
            for (at_end, kind) in [(true, 0), (false, 1), (true, 2), (false, 2)] {
                let (tiles, ldc) = (n.div_ceil(SIDE) * groups, groups * n + 3);
                let values: Vec<f32> = (0..m * k).map(|at| noise(1, at)).collect();
                let from = Guarded::of(&values, at_end);
                let from = Mat::<f32>::dense(bytemuck::cast_slice(from.words()), m, k);
                let mut room = vec![0; Rounded::words(m, k)];
                let rounded = Rounded::new(isa, from, false, &mut room);
                let (lda, high) = (rounded.tile(), rounded.high);
                let a = Guarded::new(&rounded.words[..m.div_ceil(high) * lda], at_end);

                let values: Vec<f32> = (0..k * n).map(|at| noise(2, at)).collect();
                let from = Guarded::of(&values, at_end);
                let from = Mat::<f32>::dense(bytemuck::cast_slice(from.words()), k, n);
                let tile = blocks_of(k) * BLOCK_WORDS;
                let mut packed = vec![0u32; tiles * tile];
                for g in 0..groups {
                    pack_tiles(isa, from, false, &mut packed[g * tile..], groups * tile);
                }
                let b = Guarded::new(&packed, at_end);

                let before: Vec<f32> = (0..(m - 1) * ldc + groups * n).map(|at| noise(3, at)).collect();
                let c = Guarded::of(&before, at_end);
                let bias: Vec<f32> = (0..groups * n).map(|at| noise(4, at)).collect();
                let bias = Guarded::of(&bias, at_end);
                let o = Operands {
                    a: a.data,
                    lda,
                    high,
                    rows: [0, m],
                    blocks: blocks_of(k),
                    b: b.data,
                    ldb: tile,
                    tiles,
                    groups,
                    start: match kind {
                        0 => Start::Zero,
                        1 => Start::Load,
                        _ => Start::Row { ptr: bias.data.cast(), stride: n },
                    },
                    c: c.data.cast(),
                    ldc,
                    apart: n,
                    cols: n,
                };
                // SAFETY: the operands were laid out as described; C is borrowed by nothing else.
                unsafe { Runner::new(isa, high).run(&o) };
                let got: &[f32] = bytemuck::cast_slice(c.words());
                for (at, (&got, &before)) in got.iter().zip(&before).enumerate() {
                    let (r, column) = (at / ldc, at % ldc);
                    if column >= groups * n {
                        assert_eq!(got.to_bits(), before.to_bits(), "{isa}: written beside row {r}");
                        continue;
                    }
                    let start = match kind {
                        0 => 0.0,
                        1 => before,
                        _ => noise(4, column),
                    };
                    let term = |l: usize| {
                        let value = |x| f64::from(crate::gemm::Precision::Bf16.round(x));
                        value(noise(1, r * k + l)) * value(noise(2, l * n + column % n))
                    };
                    let (sum, size) = (0..k)
                        .map(term)
                        .fold((f64::from(start), f64::from(start).abs()), |(s, m), t| (s + t, m + t.abs()));
                    let roundings = if isa.name() == "avx512_bf16" { 1.0 + k as f64 } else { 34.0 + k as f64 / 16.0 };
                    let bound = roundings * 2f64.powi(-24) * size;
                    let error = (f64::from(got) - sum).abs();
                    assert!(error <= bound, "{isa} {m} x {k} x {groups} x {n} ({r}, {column}): {got}, not {sum}");
                }
            }
        }
    }
}

#[test]
fn rows_are_spread_evenly_over_tiles() {
    assert_eq!([1, 16, 17, 20, 32, 33, 50, 64, 700].map(crate::gemm::tile_rows), [1, 16, 9, 10, 16, 11, 13, 16, 16]);
}

/// A prepared product in any parts that begin with a tile gives the bits of the whole.
#[test]
fn parts_of_a_product_give_the_bits_of_the_whole() {
    use crate::gemm::{Init, Left, Packed, Precision};
    use crate::{Buffer, MatMut};
    let (m, k, groups, n) = (130, 70, 4, 40);
    let a: Vec<f32> = (0..m * k).map(|at| noise(1, at)).collect();
    let b: Vec<f32> = (0..k * groups * n).map(|at| noise(2, at)).collect();
    for isa in sets_under_test() {
        let mut packed = Packed::new(isa, Precision::Bf16, k, groups, n);
        packed.pack(Mat::dense(&b, k, groups * n));
        let run = |row_cuts: &[usize], col_cuts: &[usize]| {
            let mut room = Buffer::default();
            let left = Left::of(packed.view(), Mat::dense(&a, m, k), &mut room);
            let prepared = crate::gemm::PreparedProduct::new(left, packed.view());
            let mut c = vec![f32::NAN; m * groups * n];
            for rows in row_cuts.windows(2) {
                for cols in col_cuts.windows(2) {
                    let part = MatMut::dense(&mut c, m, groups * n).rows_range(rows[0]..rows[1]).into_groups(groups);
                    let part = part.cols_range(cols[0]..cols[1]);
                    prepared.product(rows[0]..rows[1], cols[0]..cols[1], Init::Zero, part);
                }
            }
            c.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let whole = run(&[0, m], &[0, n]);
        assert!(run(&[0, 15, 75, 120, 130], &[0, 16, 40]) == whole, "{isa}");
        assert!(run(&[0, 30, 45, 130], &[0, 32, 40]) == whole, "{isa}");
    }
}
