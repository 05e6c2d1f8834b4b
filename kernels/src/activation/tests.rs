use super::*;
use crate::isa::sets_under_test;
use proptest::prelude::*;

const ALL: [Activation; 7] = Activation::ALL;

/// A line that crosses zero errs relative to 1, not to its value.
fn kinks(function: Activation) -> f64 {
    if matches!(function, Activation::HardSigmoid | Activation::HardSigmoid6) { 2f64.powi(-23) } else { 0.0 }
}

proptest! {
    #[test]
    fn every_set_agrees_with_the_reference(rows in 1usize..5, cols in 1usize..40, x in prop::collection::vec(-4f32..4.0, 200), d in prop::collection::vec(-2f32..2.0, 200)) {
        for isa in sets_under_test() {
            for function in ALL {
                let (mut y, mut dx) = (x[..rows * cols].to_vec(), d[..rows * cols].to_vec());
                forward(isa, function, MatMut::dense(&mut y, rows, cols));
                backward(isa, function, Mat::dense(&y, rows, cols), MatMut::dense(&mut dx, rows, cols));
                for i in 0..rows * cols {
                    let want = reference::forward(function, f64::from(x[i]));
                    prop_assert!((f64::from(y[i]) - want).abs() <= 4.0 * 2f64.powi(-24) * want.abs() + kinks(function), "{isa} {function:?}({})", x[i]);
                    let want = reference::backward(function, f64::from(y[i]), f64::from(d[i]));
                    prop_assert!((f64::from(dx[i]) - want).abs() <= 4.0 * 2f64.powi(-24) * f64::from(d[i].abs()), "{isa} {function:?}");
                }
            }
            let y: Vec<f32> = x[..rows * cols].iter().map(|x| x.abs() / 4.0).collect();
            let mut dx = d[..rows * cols].to_vec();
            softmax_backward(isa, Mat::dense(&y, rows, cols), MatMut::dense(&mut dx, rows, cols));
            for r in 0..rows {
                let wide = |x: &[f32]| -> Vec<f64> { x[r * cols..(r + 1) * cols].iter().map(|&x| f64::from(x)).collect() };
                let (y, d, dx) = (wide(&y), wide(&d), wide(&dx));
                let size: f64 = y.iter().zip(&d).map(|(y, d)| (y * d).abs()).sum();
                for (j, want) in reference::softmax_backward(&y, &d).into_iter().enumerate() {
                    let bound = (cols + 4) as f64 * 2f64.powi(-24) * (y[j] * d[j].abs() + y[j] * size);
                    prop_assert!((dx[j] - want).abs() <= bound, "{isa} softmax {} not {want}", dx[j]);
                }
            }
        }
    }

    #[test]
    fn the_reference_gradient_is_the_slope(x in -3f64..3.0) {
        prop_assume!([0.0, 2.5, -2.5, 3.0, -3.0].iter().all(|kink| (x - kink).abs() > 1e-3));
        for function in ALL {
            let h = 1e-6;
            let slope = (reference::forward(function, x + h) - reference::forward(function, x - h)) / (2.0 * h);
            let got = reference::backward(function, reference::forward(function, x), 1.0);
            prop_assert!((slope - got).abs() < 1e-8, "{function:?} at {x}: {got}, not {slope}");
        }
    }
}

#[test]
fn nan_stays_nan() {
    for isa in sets_under_test() {
        for function in ALL {
            let mut x = [f32::NAN, 1.0, f32::NAN];
            forward(isa, function, MatMut::dense(&mut x, 1, 3));
            assert!(x[0].is_nan() && x[1].is_finite() && x[2].is_nan(), "{isa} {function:?}");
        }
    }
}
