//! Passes over the rows of matrices: copies, sums, and the column sums that are the gradient of a bias.
//!
//! ```text
//! copy:             y = x
//! convert:          y = x, rounded where y is kept in bf16
//! add:              y = y + x
//! add_column_sums:  s[j] = s[j] + sum over r of x[r][j], rows in ascending order
//! add_row_sums:     s[r] = s[r] + sum over j of x[r][j], in f64 over blocks of 1024 in sixteen lanes
//! ```
//!
//! Each column's sum is one chain of additions in f32, so it does not depend on how columns are split; its error is at
//! most R 2^-24 sum |x|. Results are equal on every instruction set.

use crate::faults::{Fault, spoil};
use crate::profile::{self, Phase};
use crate::simd::{Kernel, Simd, Wide16};
use crate::{Element, Isa, Mat, MatMut};

/// y = x.
///
/// # Panics
///
/// When the shapes differ.
#[track_caller]
pub fn copy(x: Mat<'_>, mut y: MatMut<'_>) {
    check(x, &y);
    for r in 0..x.rows() {
        y.row_mut(r).copy_from_slice(x.row(r));
    }
}

/// y = x, rounded if y is in bf16.
///
/// # Panics
///
/// When the shapes differ.
#[track_caller]
pub fn convert<E: Element>(isa: Isa, x: Mat<'_>, y: MatMut<'_, E>) {
    assert_eq!((x.rows(), x.cols()), (y.rows(), y.cols()), "matrices of different shapes");
    let _span = profile::enter(Phase::ElementWise);
    isa.run(Convert { x, y });
}

/// y = y + x.
///
/// # Panics
///
/// When the shapes differ.
#[track_caller]
pub fn add(isa: Isa, x: Mat<'_>, y: MatMut<'_>) {
    check(x, &y);
    isa.run(Add { x, y });
}

/// `s[j] = s[j] + the sum of column j`.
///
/// # Panics
///
/// When `sums` is not one element a column.
#[track_caller]
pub fn add_column_sums<E: Element>(isa: Isa, x: Mat<'_, E>, sums: &mut [f32]) {
    assert_eq!(x.cols(), sums.len(), "{} columns, {} sums", x.cols(), sums.len());
    let _span = profile::enter(Phase::ElementWise);
    isa.run(ColumnSums { x, sums: &mut *sums });
    spoil(Fault::ColumnSums, sums);
}

/// `s[r] = s[r] + the sum of row r`; a row's error is at most 64 2^-24 of the sum of its magnitudes.
///
/// # Panics
///
/// When `sums` is not one element a row.
#[track_caller]
pub fn add_row_sums(isa: Isa, x: Mat<'_>, sums: &mut [f64]) {
    assert_eq!(x.rows(), sums.len(), "{} rows, {} sums", x.rows(), sums.len());
    let _span = profile::enter(Phase::ElementWise);
    isa.run(RowSums { x, sums });
}

struct RowSums<'a> {
    x: Mat<'a>,
    sums: &'a mut [f64],
}

impl Kernel for RowSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (r, sum) in self.sums.iter_mut().enumerate() {
            for block in self.x.row(r).chunks(1024) {
                let mut lanes = Wide16::splat(s, 0.0);
                for piece in block.chunks(16) {
                    lanes = lanes.plus(s, Wide16::load_or(s, piece, 0.0));
                }
                *sum += f64::from(lanes.sum(s));
            }
        }
    }
}

#[track_caller]
fn check(x: Mat<'_>, y: &MatMut<'_>) {
    let (a, b) = ((x.rows(), x.cols()), (y.rows(), y.cols()));
    assert_eq!(a, b, "matrices of different shapes");
}

struct Convert<'a, E> {
    x: Mat<'a>,
    y: MatMut<'a, E>,
}

impl<E: Element> Kernel for Convert<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for r in 0..self.x.rows() {
            let (x, y) = (self.x.row(r), self.y.row_mut(r));
            let whole = x.len() - x.len() % S::LANES;
            for at in (0..whole).step_by(S::LANES) {
                E::store(s, &mut y[at..], s.load(&x[at..]));
            }
            E::store_partial(s, &mut y[whole..], s.load_partial(&x[whole..]));
        }
    }
}

struct Add<'a> {
    x: Mat<'a>,
    y: MatMut<'a>,
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for r in 0..self.x.rows() {
            let (mut x, mut y) = (self.x.row(r).chunks_exact(S::LANES), self.y.row_mut(r).chunks_exact_mut(S::LANES));
            for (x, y) in (&mut x).zip(&mut y) {
                s.store(y, s.add(s.load(y), s.load(x)));
            }
            let (x, y) = (x.remainder(), y.into_remainder());
            s.store_partial(y, s.add(s.load_partial(y), s.load_partial(x)));
        }
    }
}

/// `sums[j] += sum over r of a[r][j] b[r][j]`, one chain of multiply-adds a column: error (R + 1) 2^-24 sum |a b|.
///
/// # Panics
///
/// When the shapes do not agree.
#[track_caller]
pub fn add_product_sums<E: Element>(isa: Isa, a: Mat<'_, E>, b: Mat<'_>, sums: &mut [f32]) {
    assert_eq!((a.rows(), a.cols()), (b.rows(), b.cols()), "factors of different shapes");
    assert_eq!(a.cols(), sums.len(), "{} columns, {} sums", a.cols(), sums.len());
    isa.run(ProductSums { a, b, sums: &mut *sums });
    spoil(Fault::ProductSums, sums);
}

struct ProductSums<'a, E> {
    a: Mat<'a, E>,
    b: Mat<'a>,
    sums: &'a mut [f32],
}

impl<E: Element> Kernel for ProductSums<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for at in (0..self.sums.len()).step_by(S::LANES) {
            let sums = &mut self.sums[at..];
            let mut sum = s.load_partial(sums);
            for r in 0..self.a.rows() {
                sum = s.mul_add(E::load_partial(s, &self.a.row(r)[at..]), s.load_partial(&self.b.row(r)[at..]), sum);
            }
            s.store_partial(sums, sum);
        }
    }
}

struct ColumnSums<'a, E> {
    x: Mat<'a, E>,
    sums: &'a mut [f32],
}

impl<E: Element> Kernel for ColumnSums<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // Four rows at a time, so that the sums are loaded and stored a quarter as often; still one chain a column.
        let whole = self.x.rows() / 4 * 4;
        for r in (0..whole).step_by(4) {
            let rows: [&[E]; 4] = std::array::from_fn(
                #[inline(always)]
                |i| self.x.row(r + i),
            );
            let mut at = 0;
            while at < self.sums.len() {
                let sums = &mut self.sums[at..];
                let mut sum = s.load_partial(sums);
                for row in rows {
                    sum = s.add(sum, E::load_partial(s, &row[at..]));
                }
                s.store_partial(sums, sum);
                at += S::LANES;
            }
        }
        for r in whole..self.x.rows() {
            for at in (0..self.sums.len()).step_by(S::LANES) {
                let (sums, x) = (&mut self.sums[at..], &self.x.row(r)[at..]);
                let sum = s.add(s.load_partial(sums), E::load_partial(s, x));
                s.store_partial(sums, sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::sets_under_test;

    fn values(n: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + 13) % 1009) as f32 / 500.0 - 1.0).collect()
    }

    #[test]
    fn column_sums_are_chains_over_rows_on_every_set() {
        for (rows, cols) in [(0, 3), (1, 1), (3, 17), (4, 16), (9, 33), (70, 130)] {
            let (stride, x) = (cols + 3, values((rows + 1) * (cols + 3)));
            let x = Mat::new(&x, rows, cols, stride);
            let start = values(cols);
            let want: Vec<f32> = (0..cols).map(|j| (0..rows).fold(start[j], |sum, r| sum + x.row(r)[j])).collect();
            for isa in sets_under_test() {
                let mut got = start.clone();
                add_column_sums(isa, x, &mut got);
                assert_eq!(got, want, "{isa} {rows} x {cols}");
            }
        }
    }

    #[test]
    fn product_sums_are_chains_over_rows_on_every_set() {
        for (rows, cols) in [(0, 3), (1, 1), (3, 17), (4, 16), (9, 33)] {
            let (stride, x, y) = (cols + 3, values((rows + 1) * (cols + 3)), values((rows + 2) * (cols + 4)));
            let (a, b) = (Mat::new(&x, rows, cols, stride), Mat::new(&y, rows, cols, cols + 4));
            let start = values(cols);
            let fused = |j: usize| (0..rows).fold(start[j], |sum, r| a.row(r)[j].mul_add(b.row(r)[j], sum));
            for isa in sets_under_test() {
                let mut got = start.clone();
                add_product_sums(isa, a, b, &mut got);
                for (j, got) in got.iter().enumerate() {
                    let size: f32 = (0..rows).map(|r| (a.row(r)[j] * b.row(r)[j]).abs()).sum::<f32>() + start[j].abs();
                    let same = isa == Isa::PORTABLE || *got == fused(j);
                    let near = (got - fused(j)).abs() <= (rows as f32 + 1.0) * size * f32::EPSILON;
                    assert!(same && near, "{isa} {rows} x {cols}: {got}, not {}", fused(j));
                }
            }
        }
    }

    #[test]
    fn add_touches_its_columns_only() {
        for isa in sets_under_test() {
            for cols in [1, 7, 16, 37] {
                let x = values(3 * cols);
                let mut y = vec![f32::NAN; 3 * (cols + 2)];
                let mut view = MatMut::new(&mut y, 3, cols, cols + 2);
                copy(Mat::dense(&x, 3, cols), view.reborrow());
                add(isa, Mat::dense(&x, 3, cols), view);
                for (r, row) in y.chunks(cols + 2).enumerate() {
                    assert!(row[cols..].iter().all(|m| m.is_nan()), "{isa} wrote beyond the row");
                    assert!(row[..cols].iter().zip(&x[r * cols..]).all(|(y, x)| *y == 2.0 * x), "{isa}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "3 columns, 2 sums")]
    fn a_wrong_shape_is_refused() {
        add_column_sums(Isa::PORTABLE, Mat::dense(&[0.0; 3], 1, 3), &mut [0.0; 2]);
    }
}
