//! What the tests of the recurrent cells share.

use crate::cells::reference::Dims;
use crate::check::{self, Claim, numbers, wide};
use crate::gemm::{Packed, Precision};
use crate::isa::{sets_under_test, who_differs};
use crate::{Isa, Mat, MatMut};
use proptest::prelude::*;

/// Reproducible numbers in (-1, 1), different for every seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03)
    }

    pub(crate) fn next(&mut self) -> f64 {
        // splitmix64 (Steele, Lea, Flood 2014)
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// `n` numbers in (-scale, scale).
    pub(crate) fn many(&mut self, n: usize, scale: f64) -> Vec<f64> {
        (0..n).map(|_| self.next() * scale).collect()
    }
}

/// Small sizes, mostly all different, and a seed.
pub(crate) fn sizes() -> impl Strategy<Value = (Dims, u64)> {
    (0usize..5, 1usize..4, 0usize..4, 1usize..6, any::<u64>())
        .prop_map(|(steps, rows, inputs, units, seed)| (Dims { steps, rows, inputs, units }, seed))
}

/// Compares each claimed gradient with the central differences of `loss`, a function of all the arrays in their order.
pub(crate) fn check_gradients(claims: &[Claim<'_>], loss: impl Fn(&[Vec<f64>]) -> f64) -> Result<(), String> {
    let mut at: Vec<Vec<f64>> = claims.iter().map(|claim| claim.at.to_vec()).collect();
    for (k, &claim) in claims.iter().enumerate() {
        check::gradient(claim, 1e-7, |x| {
            at[k].copy_from_slice(x);
            loss(&at)
        })?;
        at[k].copy_from_slice(claim.at);
    }
    Ok(())
}

/// Panics unless an f32 `gradient` agrees with the central differences of `loss` at `at`, and every fault injected into
/// it is caught.
#[track_caller]
pub(crate) fn check_with_faults(name: &str, at: &[f64], gradient: &[f32], loss: impl Fn(&[f64]) -> f64) {
    // A few roundings of 2^-24 a step; a fault of a thousandth of an entry of 0.01 is twice as large.
    let accepted = |gradient: &[f64]| check::gradient(Claim { name, at, gradient }, 5e-6, &loss).is_ok();
    check::assert_faults_caught(name, &wide(gradient), accepted);
}

/// A matrix in a field of NaN: `MARGIN` elements left and right of every row, which [`Field::dense`] checks.
#[derive(Clone)]
pub(crate) struct Field {
    data: Vec<f32>,
    rows: usize,
    cols: usize,
}

const MARGIN: usize = 5;

impl Field {
    /// A matrix of NaN, to be written.
    pub(crate) fn new(rows: usize, cols: usize) -> Self {
        Self { data: vec![f32::NAN; MARGIN + rows * (cols + MARGIN)], rows, cols }
    }

    /// A matrix of these elements.
    pub(crate) fn of(rows: usize, cols: usize, elements: &[f32]) -> Self {
        assert_eq!(elements.len(), rows * cols);
        let mut field = Self::new(rows, cols);
        for r in 0..rows {
            field.view_mut().row_mut(r).copy_from_slice(&elements[r * cols..][..cols]);
        }
        field
    }

    pub(crate) fn view(&self) -> Mat<'_> {
        Mat::new(&self.data[MARGIN..], self.rows, self.cols, self.cols + MARGIN)
    }

    pub(crate) fn view_mut(&mut self) -> MatMut<'_> {
        MatMut::new(&mut self.data[MARGIN..], self.rows, self.cols, self.cols + MARGIN)
    }

    /// Rows `t * rows..` for step `t` of `rows` rows.
    pub(crate) fn step(&mut self, t: usize, rows: usize) -> MatMut<'_> {
        self.view_mut().rows_range(t * rows..(t + 1) * rows)
    }

    /// The elements. Panics if somebody wrote into the margin.
    pub(crate) fn dense(&self) -> Vec<f32> {
        for (at, x) in self.data.iter().enumerate() {
            let inside = at >= MARGIN && (at - MARGIN) % (self.cols + MARGIN) < self.cols;
            assert!(inside || x.is_nan(), "the margin was written at {at}: {x}");
        }
        (0..self.rows).flat_map(|r| self.view().row(r)).copied().collect()
    }
}

/// The ends of blocks of units: one block, and one block a panel.
pub(crate) fn cuts(units: usize, granule: usize) -> [Vec<usize>; 2] {
    let panels = (0..units).step_by(granule).chain([units]).collect();
    [vec![0, units], panels]
}

/// Checks that a step over recurrent weights of `groups` gates gives the same bits in one block as in one block a panel, and on
/// all sets that agree in the precision.
#[track_caller]
pub(crate) fn assert_same_bits(
    what: &str,
    precision: Precision,
    [groups, units]: [usize; 2],
    run: impl Fn(Isa, &[usize]) -> Vec<u32>,
) {
    let on = |isa| {
        let granule = Packed::new(isa, precision, units, groups, units).granule();
        let [whole, panels] = cuts(units, granule).map(|cuts| run(isa, &cuts));
        assert!(whole == panels, "{isa} {what} in {precision}: blocks of one panel give other bits");
        (isa, whole)
    };
    let found: Vec<_> = sets_under_test().into_iter().map(on).collect();
    assert_eq!(who_differs(precision, &found), None, "{what} in {precision}");
}

/// Rows and units that are awkward for a set of `lanes` lanes; the last has more rows than a block.
pub(crate) fn awkward(lanes: usize) -> Vec<(usize, usize)> {
    let mut sizes = Vec::new();
    for units in [1, lanes - 1, lanes, lanes + 1, 33, 97] {
        sizes.extend([1, 2, 7, 33].map(|rows| (rows, units)));
    }
    sizes.push((64 + 5, 2 * lanes + 3));
    sizes
}

/// f32 noise in (-scale, scale).
pub(crate) fn noise(n: usize, scale: f64, seed: u64) -> Vec<f32> {
    numbers(n, seed).iter().map(|x| (x * scale) as f32).collect()
}

/// 2^-24: half a unit in the last place of 1.
pub(crate) const U: f64 = 1.0 / (1u64 << 24) as f64;

/// The precisions of products in training.
pub(crate) const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// The factor of the magnitudes in the bound of a product of `units` terms to which up to two numbers are added.
pub(crate) fn product_bound(precision: Precision, units: usize) -> f64 {
    match precision {
        Precision::F32 | Precision::Int8 => 2.0 * (units + 2) as f64 * U,
        Precision::Bf16 => (36.0 + units as f64 / 16.0) * U,
    }
}

/// The relative error of sigmoid and tanh in a step forward.
pub(crate) fn function_bound(precision: Precision) -> f64 {
    match precision {
        Precision::F32 | Precision::Int8 => 4.0 * U,
        Precision::Bf16 => f64::from(crate::math::rough::ERROR),
    }
}

/// Row `n`, column `j` of A B and of |A| |B| in f64, of rounded operands: A (N, H) and B (H, width), dense.
pub(crate) fn hidden_side(precision: Precision, [a, b]: [&[f32]; 2], width: usize, n: usize, j: usize) -> (f64, f64) {
    let k = b.len() / width;
    let seen = |x| f64::from(precision.round(x));
    let terms = (0..k).map(|k2| seen(a[n * k + k2]) * seen(b[k2 * width + j]));
    terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
}

/// Panics unless |got - want| <= bound; NaN equals NaN only.
#[track_caller]
pub(crate) fn within(what: &str, got: f32, want: f64, bound: f64) {
    let error = (f64::from(got) - want).abs();
    assert!(error <= bound, "{what}: {got:e}, not {want:e}: {:.2} times the bound", error / bound);
}

/// The bits of each array.
pub(crate) fn bits(arrays: &[&[f32]]) -> Vec<u32> {
    arrays.iter().flat_map(|array| array.iter().map(|x| x.to_bits())).collect()
}
