//! Embedding look-up and one-hot projection, with the gradients of repeated tokens summed in a fixed order.
//!
//! Let E (V, D) be a table and w a list of R tokens (the rows of all time steps, R = T N).
//!
//! ```text
//! gather            X[r] = E[w[r]]                                    X (R, D)
//! sum_by_token      S[u] = sum over r with w[r] = u-th token, dX[r]   S (U, D), U distinct tokens
//! add_rows          E[w[u]] += S[u]
//! project_one_hot   Y[r] = onehot(w[r]) K + b = K[w[r]] + b           K (V, G H), Y (R, G H)
//!        backward   dK[v] += sum over r with w[r] = v, dY[r]
//! ```
//!
//! Multiplying a one-hot row by the kernel looks up one row of the kernel, so no one-hot matrix is ever made. In the
//! gradient, the rows of equal tokens are added in the order of their positions, so the bits of the sum depend neither
//! on the threads (which split the columns) nor on the instruction set. A sum of n rows has |error| <= n 2^-24 sum |x|;
//! the look-up is exact.
//!
//! Source: Y. Bengio et al., "A Neural Probabilistic Language Model", 2003, section 2 (the matrix C).

mod distinct;
mod generic;
pub mod reference;

pub use distinct::Distinct;
pub(crate) use generic::look_up_row;

use crate::element::Element;
use crate::faults::{Fault, spoil};
use crate::isa::Isa;
use crate::mat::{Mat, MatMut};
use crate::profile::{self, Phase};

/// Copies row `tokens[r]` of `table` (V, D) to row r of `out` (R, D).
///
/// # Panics
///
/// When a token is not below V, `tokens` has not R elements, or the widths differ.
#[track_caller]
pub fn gather(table: Mat<'_>, tokens: &[u32], mut out: MatMut<'_>) {
    check_look_up(table, tokens, &out);
    let _span = profile::enter(Phase::ElementWise);
    for (r, &token) in tokens.iter().enumerate() {
        out.row_mut(r).copy_from_slice(table.row(token as usize));
    }
}

/// Writes row `tokens[r]` of `kernel` (V, G H) plus `bias` (G H) to row r of `out` (R, G H): the product of one-hot rows
/// and the kernel, for G gates of H units. Values are rounded if `out` is in bf16.
///
/// # Panics
///
/// When a token is not below V, `tokens` has not R elements, or the widths differ.
#[track_caller]
pub fn project_one_hot<E: Element>(
    isa: Isa,
    kernel: Mat<'_>,
    bias: Option<&[f32]>,
    tokens: &[u32],
    out: MatMut<'_, E>,
) {
    check_look_up(kernel, tokens, &out);
    if let Some(bias) = bias {
        assert_eq!(bias.len(), kernel.cols(), "a bias of {} for {} columns", bias.len(), kernel.cols());
    }
    isa.run(generic::GatherAdd { table: kernel, bias, tokens, out });
}

/// Sums the rows of equal tokens: row u of `out` (U, D) becomes the sum of the rows of `dout` (R, D) whose token is
/// `distinct.tokens()[u]`, added in the order of their positions.
///
/// # Panics
///
/// When the shapes differ from these.
#[track_caller]
pub fn sum_by_token<E: Element>(isa: Isa, dout: Mat<'_, E>, distinct: &Distinct, mut out: MatMut<'_>) {
    check_sum(dout, distinct, &out);
    let rows = distinct.tokens().len();
    assert_eq!(out.rows(), rows, "{} rows for {rows} distinct tokens", out.rows());
    let _span = profile::enter(Phase::ElementWise);
    isa.run(generic::SumByToken::<_, false> { dout, distinct, out: out.reborrow() });
    spoil(Fault::SumByToken, out);
}

/// Adds to row v of `dkernel` (V, G H) the rows of `dout` (R, G H) whose token is v, in the order of their positions:
/// the gradient of [`project_one_hot`]'s kernel, and of [`gather`]'s table. Rows of absent tokens are not touched.
///
/// # Panics
///
/// When `dkernel` has not the rows that `distinct` was built for, or the other shapes differ from these.
#[track_caller]
pub fn project_one_hot_backward(isa: Isa, dout: Mat<'_>, distinct: &Distinct, dkernel: MatMut<'_>) {
    check_sum(dout, distinct, &dkernel);
    let v = distinct.vocabulary();
    assert_eq!(dkernel.rows(), v, "{} rows for a vocabulary of {v}", dkernel.rows());
    let _span = profile::enter(Phase::ElementWise);
    isa.run(generic::SumByToken::<_, true> { dout, distinct, out: dkernel });
}

/// Adds row u of `rows` (U, D) to row `tokens[u]` of `table` (V, D), one after the other.
///
/// # Panics
///
/// When a token is not below V, `tokens` has not U elements, or the widths differ.
#[track_caller]
pub fn add_rows(isa: Isa, rows: Mat<'_>, tokens: &[u32], mut table: MatMut<'_>) {
    assert_eq!(tokens.len(), rows.rows(), "{} tokens for {} rows", tokens.len(), rows.rows());
    assert_eq!(rows.cols(), table.cols(), "rows of {} columns, a table of {}", rows.cols(), table.cols());
    check_tokens(tokens, table.rows());
    let _span = profile::enter(Phase::ElementWise);
    isa.run(generic::AddRows { rows, tokens, table: table.reborrow() });
    spoil(Fault::AddRows, table);
}

#[track_caller]
fn check_look_up<E: Element>(table: Mat<'_>, tokens: &[u32], out: &MatMut<'_, E>) {
    assert_eq!(tokens.len(), out.rows(), "{} tokens for {} rows", tokens.len(), out.rows());
    assert_eq!(table.cols(), out.cols(), "a table of {} columns, an output of {}", table.cols(), out.cols());
    check_tokens(tokens, table.rows());
}

#[track_caller]
fn check_sum<E: Element>(dout: Mat<'_, E>, distinct: &Distinct, out: &MatMut<'_>) {
    let positions = distinct.index().len();
    assert_eq!(dout.rows(), positions, "{} rows for {positions} positions", dout.rows());
    assert_eq!(dout.cols(), out.cols(), "rows of {} columns, sums of {}", dout.cols(), out.cols());
}

/// Panics unless every token is below `v`.
#[track_caller]
pub(crate) fn check_tokens(tokens: &[u32], v: usize) {
    if let Some(r) = tokens.iter().position(|&token| token as usize >= v) {
        panic!("token {} at position {r}, but the vocabulary has {v}", tokens[r]);
    }
}

#[cfg(test)]
mod tests;
