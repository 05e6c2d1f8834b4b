//! The functions at arguments of any bits, against f64.

use super::input::Input;
use super::{Probe, Wanted};
use crate::Isa;
use crate::check::on_every_set;
use crate::math::{MAX_ULP, exp_slice, ln_slice, sigmoid_slice, tanh_slice};

/// Name, form over a slice, meaning.
type Function = (&'static str, fn(Isa, &mut [f32]), fn(f64) -> f64);

const FUNCTIONS: [Function; 4] = [
    ("exp", exp_slice, f64::exp),
    ("tanh", tanh_slice, f64::tanh),
    ("sigmoid", sigmoid_slice, |x| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }),
    ("ln", ln_slice, f64::ln),
];

/// The bytes are the arguments, four of them each.
pub(super) fn run(data: &[u8], probe: Probe<'_>) {
    let input = Input::new(data);
    let x: Vec<f32> = input.rest().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    for (name, function, meaning) in FUNCTIONS {
        let results = on_every_set(name, |isa| {
            let mut y = x.clone();
            function(isa, &mut y);
            y
        });
        let special = |want: f64| want.is_nan() || (want as f32).is_infinite() || want as f32 == f32::MAX;
        let mut want = Wanted::default();
        for &x in &x {
            let y = meaning(f64::from(x));
            let unit = 2f64.powi(((y.abs().to_bits() >> 52) as i32 - 1023).max(-126) - 23);
            if special(y) { want.push(0.0, 0.0) } else { want.push(y, MAX_ULP * unit) }
        }
        // NaN and infinities have no distance: they must be themselves, and are compared as zeros. Next to an overflow
        // the largest number and infinity are one unit apart.
        let results = results.into_iter().map(|(isa, mut y)| {
            for (&x, y) in x.iter().zip(&mut y) {
                let want = meaning(f64::from(x));
                if special(want) {
                    let same = (want.is_nan() && y.is_nan()) || *y == want as f32;
                    let border = want.is_finite() && (*y == f32::INFINITY || *y == f32::MAX);
                    assert!(same || border, "{isa} {name}({x:e}) is {y:e}, not {want:e}");
                    *y = 0.0;
                }
            }
            (isa, y)
        });
        want.compare(name, results.collect(), probe);
    }
}
