//! The products in f64 and plain loops: what the other files mean.

/// Columns of C that are computed together: a few rows of them stay in the first-level cache while B passes by.
const BLOCK: usize = 512;

/// C += A B: A (M, K), B (K, N), C (M, N), row-major without gaps.
///
/// # Panics
///
/// When a slice has another length than its shape.
pub fn product([m, k, n]: [usize; 3], a: &[f64], b: &[f64], c: &mut [f64]) {
    assert_eq!([a.len(), b.len(), c.len()], [m * k, k * n, m * n]);
    for first in (0..n).step_by(BLOCK) {
        let width = BLOCK.min(n - first);
        for l in 0..k {
            let b = &b[l * n + first..][..width];
            for i in 0..m {
                let a = a[i * k + l];
                c[i * n + first..][..width].iter_mut().zip(b).for_each(|(c, b)| *c += a * b);
            }
        }
    }
}

/// C += A^T B: A (R, M), B (R, N), C (M, N), row-major without gaps. With A = X and B = dY this is dW of Y = X W.
///
/// # Panics
///
/// When a slice has another length than its shape.
pub fn outer_product([m, r, n]: [usize; 3], a: &[f64], b: &[f64], c: &mut [f64]) {
    assert_eq!([a.len(), b.len(), c.len()], [r * m, r * n, m * n]);
    for l in 0..r {
        for i in 0..m {
            for j in 0..n {
                c[i * n + j] += a[l * m + i] * b[l * n + j];
            }
        }
    }
}

/// C += A B^T: A (M, K), B (N, K), C (M, N), row-major without gaps. With A = dY and B = W this is dX of Y = X W.
///
/// # Panics
///
/// When a slice has another length than its shape.
pub fn transposed_product([m, k, n]: [usize; 3], a: &[f64], b: &[f64], c: &mut [f64]) {
    assert_eq!([a.len(), b.len(), c.len()], [m * k, n * k, m * n]);
    for i in 0..m {
        for j in 0..n {
            for l in 0..k {
                c[i * n + j] += a[i * k + l] * b[j * k + l];
            }
        }
    }
}
