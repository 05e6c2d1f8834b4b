//! Comparison of gradients with central differences, shared by the tests of all kernels.
//!
//! A test gives the forward pass of an operation as a function of one flat argument, and the gradient that the backward
//! pass claims; [`gradient`] differentiates the forward pass numerically and names the worst entry. A checker proves
//! something only if it also rejects a faulty gradient: [`assert_faults_caught`] feeds it such faults.

use crate::isa::{Isa, sets_under_test};
use crate::mat::{Mat, MatMut};

/// Step of the central difference, relative to max(1, |x|): the cube root of f64's 2^-52, where the error of
/// truncation (step^2) and the error of rounding (2^-52 / step) meet.
const STEP: f64 = 6.0e-6;

/// One value to differentiate by, with the gradient that is claimed for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    /// Its name in messages: `kernel`, `h_prev`.
    pub(crate) name: &'a str,
    /// Where it is differentiated.
    pub(crate) at: &'a [f64],
    /// The claimed gradient of the loss, of the same length.
    pub(crate) gradient: &'a [f64],
}

/// Compares a claimed gradient with central differences of `loss`, a scalar function of the value, entry by entry:
/// |claimed - numeric| <= rtol max(1, |claimed|, |numeric|). Differences are of the second order, or where these fail, of the
/// fourth.
///
/// # Errors
///
/// A message that names the worst entry, with both numbers.
///
/// # Panics
///
/// When the lengths differ.
#[track_caller]
pub(crate) fn gradient(claim: Claim<'_>, rtol: f64, mut loss: impl FnMut(&[f64]) -> f64) -> Result<(), String> {
    let Claim { name, at, gradient } = claim;
    assert_eq!(at.len(), gradient.len(), "{name}: {} values, {} claimed derivatives", at.len(), gradient.len());
    let mut x = at.to_vec();
    let (mut worst, mut message) = (1.0, None);
    for i in 0..x.len() {
        let mut difference = |step: f64| {
            x[i] = at[i] + step;
            let above = loss(&x);
            x[i] = at[i] - step;
            let below = loss(&x);
            x[i] = at[i];
            // The steps as rounded, not as wished.
            (above - below) / ((at[i] + step) - (at[i] - step))
        };
        let step = STEP * at[i].abs().max(1.0);
        let excess =
            |numeric: f64| (gradient[i] - numeric).abs() / (rtol * 1f64.max(gradient[i].abs()).max(numeric.abs()));
        let mut numeric = difference(step);
        if excess(numeric) > 1.0 {
            // The loss may bend so much that truncation shows: the difference of the fourth order (Richardson) decides.
            numeric = (4.0 * numeric - difference(2.0 * step)) / 3.0;
        }
        let excess = excess(numeric);
        let excess = if excess.is_nan() { f64::INFINITY } else { excess };
        if excess > worst {
            worst = excess;
            message = Some(format!(
                "d{name}[{i}]: claimed {:e}, central difference {numeric:e}, {excess:.1} times the tolerance",
                gradient[i]
            ));
        }
    }
    message.map_or(Ok(()), Err)
}

/// Injects faults into a gradient that the checker accepts and panics unless it rejects each of them: the sign turned,
/// a factor forgotten (everything doubled), nothing computed (all 0), two entries exchanged (a transposed index), one
/// entry off by a thousandth, one NaN.
///
/// `accepted` runs the test's own check on a claimed gradient. The true gradient must have an entry of at least 0.01
/// and two different entries, or it cannot show anything; that is asserted.
#[track_caller]
pub(crate) fn assert_faults_caught(name: &str, truth: &[f64], accepted: impl Fn(&[f64]) -> bool) {
    assert!(accepted(truth), "{name}: the checker refuses the gradient without a fault");
    let top = (0..truth.len()).max_by(|&a, &b| truth[a].abs().total_cmp(&truth[b].abs())).unwrap_or(0);
    assert!(truth[top].abs() >= 0.01, "{name}: the gradient is too small to show a fault");
    let other = (0..truth.len()).max_by(|&a, &b| {
        let distance = |i: usize| (truth[i] - truth[top]).abs();
        distance(a).total_cmp(&distance(b))
    });
    let other = other.unwrap_or(0);
    assert!((truth[other] - truth[top]).abs() > 1e-3, "{name}: all entries are alike, an exchange would not show");
    let change = |f: &dyn Fn(&mut [f64])| {
        let mut faulty = truth.to_vec();
        f(&mut faulty);
        faulty
    };
    let faults = [
        ("the sign turned", change(&|g| g.iter_mut().for_each(|g| *g = -*g))),
        ("everything doubled", change(&|g| g.iter_mut().for_each(|g| *g *= 2.0))),
        ("all zero", change(&|g| g.fill(0.0))),
        ("two entries exchanged", change(&|g| g.swap(top, other))),
        ("one entry off by a thousandth", change(&|g| g[top] *= 1.001)),
        ("one entry NaN", change(&|g| g[top] = f64::NAN)),
    ];
    for (fault, faulty) in faults {
        assert!(!accepted(&faulty), "{name}: the checker did not catch this fault: {fault}");
    }
}

/// The dot product: the loss sum(weights * outputs) makes `weights` the gradient that enters a backward.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// f32 numbers as f64.
pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// f64 numbers rounded to f32.
pub(crate) fn narrow(x: &[f64]) -> Vec<f32> {
    x.iter().map(|&x| x as f32).collect()
}

/// Repeatable numbers between -1 and 1 without symmetry: a stand-in for data in tests with fixed sizes.
pub(crate) fn numbers(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03;
    let mut next = || {
        // Splitmix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Whether |got - want| <= bound(i) for every entry of an f32 result.
///
/// # Errors
///
/// A message that names the worst entry.
///
/// # Panics
///
/// When the lengths differ.
#[track_caller]
pub(crate) fn close(what: &str, got: &[f32], want: &[f64], bound: impl Fn(usize) -> f64) -> Result<(), String> {
    assert_eq!(got.len(), want.len(), "{what}: {} entries, {} wanted", got.len(), want.len());
    let excess = |i: usize| {
        let e = (f64::from(got[i]) - want[i]).abs();
        if e == 0.0 {
            0.0
        } else if e.is_nan() {
            f64::INFINITY
        } else {
            e / bound(i)
        }
    };
    let Some(worst) = (0..got.len()).max_by(|&a, &b| excess(a).total_cmp(&excess(b))) else { return Ok(()) };
    let times = excess(worst);
    if times <= 1.0 {
        return Ok(());
    }
    Err(format!("{what}[{worst}]: {:e}, not {:e}: {times:.2} times the bound", got[worst], want[worst]))
}

/// [`close`] as an assertion.
#[track_caller]
pub(crate) fn assert_close(what: &str, got: &[f32], want: &[f64], bound: impl Fn(usize) -> f64) {
    if let Err(message) = close(what, got, want, bound) {
        panic!("{message}");
    }
}

/// A matrix inside a frame of NaN: before it, after it and between its rows. A kernel that reads the frame spoils its
/// result, and one that writes to it is found by [`Framed::values`].
#[derive(Clone)]
pub(crate) struct Framed {
    data: Vec<f32>,
    rows: usize,
    cols: usize,
}

impl Framed {
    /// Elements of the frame before the matrix and after each row.
    const MARGIN: usize = 3;

    /// `rows` x `cols` values in row-major order.
    #[track_caller]
    pub(crate) fn new(rows: usize, cols: usize, values: &[f32]) -> Self {
        assert_eq!(values.len(), rows * cols, "values of a {rows} x {cols} matrix");
        let mut data = vec![f32::NAN; Self::MARGIN + rows * (cols + Self::MARGIN)];
        for r in 0..rows {
            let start = Self::MARGIN + r * (cols + Self::MARGIN);
            data[start..start + cols].copy_from_slice(&values[r * cols..(r + 1) * cols]);
        }
        Self { data, rows, cols }
    }

    /// The matrix.
    pub(crate) fn mat(&self) -> Mat<'_> {
        Mat::new(&self.data[Self::MARGIN..], self.rows, self.cols, self.cols + Self::MARGIN)
    }

    /// The matrix.
    pub(crate) fn mat_mut(&mut self) -> MatMut<'_> {
        MatMut::new(&mut self.data[Self::MARGIN..], self.rows, self.cols, self.cols + Self::MARGIN)
    }

    /// The values in row-major order. Panics if the frame was written to.
    #[track_caller]
    pub(crate) fn values(&self) -> Vec<f32> {
        assert!(self.data[..Self::MARGIN].iter().all(|x| x.is_nan()), "written before the matrix");
        let mut values = Vec::with_capacity(self.rows * self.cols);
        for (r, row) in self.data[Self::MARGIN..].chunks(self.cols + Self::MARGIN).enumerate() {
            assert!(row[self.cols..].iter().all(|x| x.is_nan()), "written beyond row {r}");
            values.extend_from_slice(&row[..self.cols]);
        }
        values
    }
}

/// The bits of every number, one pattern for all NaN: what "the same bits" compares.
pub(crate) fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
}

/// Runs `f` on every set of this processor and asserts that all but the portable give the same bits; returns the results.
#[track_caller]
pub(crate) fn on_every_set(what: &str, mut f: impl FnMut(Isa) -> Vec<f32>) -> Vec<(Isa, Vec<f32>)> {
    let results: Vec<(Isa, Vec<f32>)> = sets_under_test().into_iter().map(|isa| (isa, f(isa))).collect();
    let mut fused = results.iter().filter(|(isa, _)| *isa != Isa::PORTABLE);
    if let Some((a, x)) = fused.next() {
        fused.for_each(|(b, y)| assert_eq!(bits(x), bits(y), "{what}: {a} and {b} differ"));
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_gradient_passes_and_each_fault_is_caught() {
        let x = numbers(7, 1);
        let ones = [1.0; 7];
        let sines = |x: &[f64]| -> Vec<f64> { x.iter().enumerate().map(|(i, x)| (x * (i + 1) as f64).sin()).collect() };
        let loss = |x: &[f64]| dot(&ones, &sines(x));
        let truth: Vec<f64> = x.iter().enumerate().map(|(i, x)| (i + 1) as f64 * (x * (i + 1) as f64).cos()).collect();
        let accepted = |g: &[f64]| gradient(Claim { name: "x", at: &x, gradient: g }, 1e-7, loss).is_ok();
        assert_faults_caught("sum of sines", &truth, accepted);
    }

    #[test]
    fn the_worst_entry_is_named() {
        let claim = Claim { name: "x", at: &[1.0, 2.0, 3.0], gradient: &[2.0, 4.1, 6.5] };
        let message = gradient(claim, 1e-6, |x| x.iter().map(|x| x * x).sum()).expect_err("two entries are wrong");
        assert!(message.starts_with("dx[2]: claimed 6.5e0, central difference 6e0"), "{message}");
    }

    #[test]
    #[should_panic(expected = "y[1]: 4.5e0, not 4e0: 5.00 times the bound")]
    fn a_result_outside_its_bound_is_named() {
        let (got, want) = (narrow(&[1.0, 4.5, 9.2]), wide(&[1.0, 4.0, 9.0]));
        assert_close("y", &got, &want, |_| 0.1);
    }

    #[test]
    #[should_panic(expected = "y[0]: NaN")]
    fn a_nan_is_outside_every_bound() {
        assert_close("y", &[f32::NAN], &[0.0], |_| f64::MAX);
    }

    #[test]
    #[should_panic(expected = "written beyond row 1")]
    fn a_write_into_the_frame_is_found() {
        let mut framed = Framed::new(3, 2, &[1.0; 6]);
        assert_eq!(framed.mat().row(2), [1.0; 2]);
        framed.mat_mut().row_mut(1)[1] = 2.0;
        assert_eq!(framed.values(), [1.0, 1.0, 1.0, 2.0, 1.0, 1.0]);
        framed.data[10] = 0.0;
        framed.values();
    }

    #[test]
    fn bits_tell_zeros_apart_and_nans_not() {
        let x = on_every_set("zeros", |_| vec![0.0, -0.0, f32::NAN, -f32::NAN]);
        let b = bits(&x[0].1);
        assert!(b[0] != b[1] && b[2] == b[3]);
    }
}
