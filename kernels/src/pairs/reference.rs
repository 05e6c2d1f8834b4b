//! Scalar products of pairs of rows and weighted sums of rows in f64 and plain loops: the meaning.

/// `z[p] = A[left[p]] . B[right[p]]`, rows of `d` numbers.
///
/// # Panics
///
/// When a row is not there; so does the other.
pub fn dots(a: &[f64], b: &[f64], d: usize, left: &[u32], right: &[u32]) -> Vec<f64> {
    let row = |x: &[f64], r: u32| x[r as usize * d..][..d].to_vec();
    left.iter().zip(right).map(|(&l, &r)| row(a, l).iter().zip(row(b, r)).map(|(a, b)| a * b).sum()).collect()
}

/// `Y[g] += sum of w[e] X[s[e]]` over the entries e of group g, rows of `d` numbers.
pub fn add_weighted(x: &[f64], d: usize, (starts, sources, weights): (&[u32], &[u32], &[f64]), y: &mut [f64]) {
    for (g, group) in starts.windows(2).enumerate() {
        for e in group[0] as usize..group[1] as usize {
            for c in 0..d {
                y[g * d + c] += weights[e] * x[sources[e] as usize * d + c];
            }
        }
    }
}
