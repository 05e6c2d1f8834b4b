//! Sparse products: scalar products of some pairs of rows, and the weighted sums of rows that are their gradients.
//!
//! Let A (M, D) and B (N, D) be matrices and (l, r) a list of P pairs of a row of A and a row of B.
//!
//! ```text
//! dots           z[p] = A[l[p]] . B[r[p]]                                        z (P)
//! add_weighted   Y[g] += sum over the g-th group's entries e, w[e] X[s[e]]        Y (G, D), X (., D)
//!
//! dA[m] = sum over p with l[p] = m, dz[p] B[r[p]]      groups of pairs with the same l
//! dB[n] = sum over p with r[p] = n, dz[p] A[l[p]]      groups of pairs with the same r
//! ```
//!
//! A head uses them if it scores only a few words of each row: its target, or the nodes on the path to it.
//!
//! # Error
//!
//! A scalar product is summed in four times sixteen chains, so |error| <= (D / 32 + 8) 2^-24 sum |a b|. A weighted sum
//! is one chain an element, in the order of its n entries: |error| <= 2 n 2^-24 (|y| + sum |w x|). The terms with D and
//! n are half of that where a multiply-add rounds once. The bits do not depend on the threads (which split pairs and
//! groups), and AVX2 and AVX-512 agree.

mod generic;
pub mod reference;

pub(crate) use generic::dot;

use crate::faults::{Fault, spoil};
use crate::isa::Isa;
use crate::mat::{Mat, MatMut};
use crate::profile::{self, Phase};

/// Pairs of rows of two matrices, as two lists of the same length P.
#[derive(Clone, Copy, Debug)]
pub struct Pairs<'a> {
    /// (P) Rows of A.
    pub left: &'a [u32],
    /// (P) Rows of B.
    pub right: &'a [u32],
}

/// Rows with weights, in G groups: group g has entries `starts[g]..starts[g + 1]`.
#[derive(Clone, Copy, Debug)]
pub struct Weighted<'a> {
    /// (G + 1) Where each group starts, ascending, and the end of the last.
    pub starts: &'a [u32],
    /// The row of each entry.
    pub sources: &'a [u32],
    /// The weight of each entry; as many as `sources`.
    pub weights: &'a [f32],
}

impl Weighted<'_> {
    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }
}

/// Writes the scalar product of each pair of a row of `a` (M, D) and a row of `b` (N, D) to `out` (P).
///
/// ```
/// use unroll_kernels::pairs::{Pairs, dots};
/// use unroll_kernels::{Isa, Mat};
/// let (a, b) = ([1.0, 2.0], [3.0, 4.0, 5.0, 6.0]);
/// let mut out = [0.0; 2];
/// let pairs = Pairs { left: &[0, 0], right: &[1, 0] };
/// dots(Isa::best(), Mat::dense(&a, 1, 2), Mat::dense(&b, 2, 2), pairs, &mut out);
/// assert_eq!(out, [17.0, 11.0]);
/// ```
///
/// # Panics
///
/// When the widths differ, the lists or `out` have not the same length, or a row does not exist.
#[track_caller]
pub fn dots(isa: Isa, a: Mat<'_>, b: Mat<'_>, pairs: Pairs<'_>, out: &mut [f32]) {
    assert_eq!(a.cols(), b.cols(), "rows of {} and of {} columns", a.cols(), b.cols());
    let lengths = [pairs.left.len(), pairs.right.len()];
    assert!(lengths == [out.len(); 2], "lists of {} and {} rows for {} products", lengths[0], lengths[1], out.len());
    check_rows(pairs.left, a.rows());
    check_rows(pairs.right, b.rows());
    let _span = profile::enter(Phase::ElementWise);
    isa.run(generic::Dots { a, b, pairs, out });
}

/// Adds to row g of `out` (G, D) the weighted rows of `x` (M, D) of group g.
///
/// # Panics
///
/// When the widths or the lengths differ, `starts` does not ascend within the entries, or a row does not exist.
#[track_caller]
pub fn add_weighted(isa: Isa, x: Mat<'_>, weighted: Weighted<'_>, mut out: MatMut<'_>) {
    let Weighted { starts, sources, weights } = weighted;
    assert_eq!(x.cols(), out.cols(), "rows of {} columns, sums of {}", x.cols(), out.cols());
    assert_eq!(weights.len(), sources.len(), "{} weights for {} rows", weights.len(), sources.len());
    assert_eq!(out.rows(), weighted.groups(), "{} rows for {} groups", out.rows(), weighted.groups());
    assert!(starts.is_sorted(), "groups that do not ascend");
    let (first, last) = (starts.first().map_or(0, |&s| s as usize), starts.last().map_or(0, |&s| s as usize));
    assert!(last <= sources.len(), "a group ends at entry {last} of {}", sources.len());
    check_rows(&sources[first..last], x.rows());
    let _span = profile::enter(Phase::ElementWise);
    isa.run(generic::AddWeighted { x, weighted, out: out.reborrow() });
    spoil(Fault::AddWeighted, out);
}

#[track_caller]
fn check_rows(rows: &[u32], count: usize) {
    if let Some(i) = rows.iter().position(|&row| row as usize >= count) {
        panic!("row {} at position {i}, but there are {count}", rows[i]);
    }
}

#[cfg(test)]
mod tests;
