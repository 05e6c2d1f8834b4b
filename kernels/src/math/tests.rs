use super::*;
use crate::isa::sets_under_test;

type Slice = fn(Isa, &mut [f32]);
type Reference = fn(f64) -> f64;

/// Every function beside its meaning.
const FUNCTIONS: [(&str, Slice, Reference); 5] = [
    ("exp", exp_slice, f64::exp),
    ("tanh", tanh_slice, f64::tanh),
    ("sigmoid", sigmoid_slice, |x| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) }),
    ("ln", ln_slice, f64::ln),
    ("inverse_root", inverse_root_slice, |x| 1.0 / x.clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX)).sqrt()),
];

/// |got - want| in units of the last place that f32 has around `want`; infinite where one is finite or NaN and the
/// other is not.
fn ulps(got: f32, want: f64) -> f64 {
    let rounded = want as f32;
    if want.is_nan() || rounded.is_infinite() || got.is_infinite() {
        // An overflow is right where the rounded value is infinite, or on the border, where it is one unit away.
        let same = got.is_nan() && want.is_nan() || got == rounded;
        let border = (got.is_infinite() && rounded == f32::MAX) || (rounded.is_infinite() && got == f32::MAX);
        return if same {
            0.0
        } else if border {
            1.0
        } else {
            f64::INFINITY
        };
    }
    if got.is_nan() {
        return f64::INFINITY;
    }
    let exponent = (want.abs().to_bits() >> 52) as i32 - 1023;
    let unit = 2f64.powi(exponent.max(-126) - 23);
    (f64::from(got) - want).abs() / unit
}

/// Bits that compare equal for every NaN.
fn bits(x: f32) -> u32 {
    if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }
}

/// Runs one function over `x` on every set; returns the worst distance of each set with its argument, and asserts
/// that AVX2 and AVX-512 agree in every bit and that zeros keep the sign the reference gives.
fn worst(name: &str, f: Slice, reference: Reference, x: &[f32]) -> Vec<(Isa, f64, f32)> {
    let want: Vec<f64> = x.iter().map(|&x| reference(f64::from(x))).collect();
    let mut fused: Option<(Isa, Vec<f32>)> = None;
    let mut result = Vec::new();
    for isa in sets_under_test() {
        let mut y = x.to_vec();
        f(isa, &mut y);
        let mut worst = (0.0, 0.0);
        for ((&x, &y), &want) in x.iter().zip(&y).zip(&want) {
            let u = ulps(y, want);
            if u > worst.0 {
                worst = (u, x);
            }
            let zero = want == 0.0 && y == 0.0;
            assert!(!zero || y.is_sign_negative() == want.is_sign_negative(), "{isa} {name}({x:e}): sign of zero");
        }
        result.push((isa, worst.0, worst.1));
        if isa == Isa::PORTABLE {
            continue;
        }
        if let Some((other, z)) = &fused {
            for i in 0..x.len() {
                assert_eq!(bits(y[i]), bits(z[i]), "{name}({:e}): {isa} and {other} differ", x[i]);
            }
        }
        fused = Some((isa, y));
    }
    result
}

fn edges() -> Vec<f32> {
    let ends =
        [0.0, f32::MIN_POSITIVE, f32::MAX, f32::INFINITY, f32::NAN, 1.0, 88.722_84, 88.02969, 9.010_914, 103.972_08];
    let more = [
        87.336_55,
        17.328_68,
        0.346_573_6,
        0.549_306_1,
        30.0,
        104.0,
        89.0,
        0.5,
        std::f32::consts::FRAC_1_SQRT_2,
        SQRT_2,
        2.0,
    ];
    let mut x = Vec::new();
    for end in ends.iter().chain(&more) {
        for step in -20i32..=20 {
            let near = f32::from_bits((end.to_bits() as i32).wrapping_add(step) as u32);
            x.extend([near, -near]);
        }
    }
    x
}

#[test]
fn within_two_ulp_on_a_sample_and_at_the_edges() {
    // An odd stride over all bit patterns: 2^20 arguments of every exponent, subnormals, infinities and NaN among them.
    let mut x: Vec<f32> = (0..1u32 << 20).map(|i| f32::from_bits(i.wrapping_mul(4097).wrapping_add(i >> 8))).collect();
    // And as many again where the functions are not trivial.
    x.extend((0..1 << 20).map(|i| (i as f32 - 524_288.0) * 2.1e-4));
    x.extend(edges());
    for (name, f, reference) in FUNCTIONS {
        for (isa, u, at) in worst(name, f, reference, &x) {
            println!("{name} on {isa}: {u:.3} ULP at {at:e}");
            assert!(u <= MAX_ULP, "{isa} {name}({at:e}): {u} ULP");
        }
    }
}

/// All 2^32 arguments: `cargo test --release -p unroll-kernels every_argument -- --ignored --nocapture` prints the
/// table of the module's documentation (13 minutes on one core).
#[test]
#[ignore = "takes minutes; run it after every change of the functions"]
fn every_argument() {
    let mut x = vec![0.0f32; 1 << 20];
    for (name, f, reference) in FUNCTIONS {
        let mut table: Vec<(Isa, f64, f32)> = Vec::new();
        for block in 0..1u32 << 12 {
            for (i, x) in x.iter_mut().enumerate() {
                *x = f32::from_bits(block << 20 | i as u32);
            }
            for (k, row) in worst(name, f, reference, &x).into_iter().enumerate() {
                if table.len() == k {
                    table.push(row);
                } else if row.1 > table[k].1 {
                    table[k] = row;
                }
            }
        }
        for (isa, u, at) in table {
            println!("{name} on {isa}: {u:.3} ULP at {at:e}");
            assert!(u <= MAX_ULP, "{isa} {name}({at:e}): {u} ULP");
        }
    }
}

#[test]
fn special_values() {
    for isa in sets_under_test() {
        let run = |f: Slice, x: f32| {
            let mut y = [x];
            f(isa, &mut y);
            y[0]
        };
        for f in [exp_slice, tanh_slice, sigmoid_slice, ln_slice] as [Slice; 4] {
            assert!(run(f, f32::NAN).is_nan() && run(f, -f32::NAN).is_nan(), "{isa}");
        }
        assert_eq!(run(exp_slice, 0.0), 1.0, "{isa}");
        assert_eq!(run(exp_slice, f32::INFINITY), f32::INFINITY, "{isa}");
        assert_eq!(run(exp_slice, f32::NEG_INFINITY), 0.0, "{isa}");
        assert_eq!(run(exp_slice, -103.9), f32::from_bits(1), "{isa}: the smallest subnormal");
        assert_eq!(run(tanh_slice, -0.0).to_bits(), (-0.0f32).to_bits(), "{isa}");
        assert_eq!(run(tanh_slice, f32::from_bits(3)), f32::from_bits(3), "{isa}: subnormal argument");
        assert_eq!(run(tanh_slice, f32::INFINITY), 1.0, "{isa}");
        assert_eq!(run(tanh_slice, f32::NEG_INFINITY), -1.0, "{isa}");
        assert_eq!(run(sigmoid_slice, 0.0), 0.5, "{isa}");
        assert_eq!(run(sigmoid_slice, f32::INFINITY), 1.0, "{isa}");
        assert_eq!(run(sigmoid_slice, f32::NEG_INFINITY), 0.0, "{isa}");
        assert_eq!(run(ln_slice, 1.0), 0.0, "{isa}");
        assert_eq!(run(ln_slice, -0.0), f32::NEG_INFINITY, "{isa}");
        assert_eq!(run(ln_slice, f32::INFINITY), f32::INFINITY, "{isa}");
        assert!(run(ln_slice, -1e-40).is_nan() && run(ln_slice, f32::NEG_INFINITY).is_nan(), "{isa}");
    }
}

#[test]
fn activations_never_leave_their_range() {
    // Backward passes compute 1 - tanh^2 and s (1 - s), which must not turn negative.
    let mut x: Vec<f32> = (0..1 << 18).map(|i| i as f32 * 1e-4 - 13.1).collect();
    x.extend(edges().iter().filter(|x| !x.is_nan()));
    for isa in sets_under_test() {
        let (mut t, mut g) = (x.clone(), x.clone());
        tanh_slice(isa, &mut t);
        sigmoid_slice(isa, &mut g);
        assert!(t.iter().all(|t| t.abs() <= 1.0), "{isa} tanh");
        assert!(g.iter().all(|g| (0.0..=1.0).contains(g)), "{isa} sigmoid");
    }
}

#[test]
fn slices_of_every_length_touch_only_themselves() {
    for isa in sets_under_test() {
        for n in 0..=2 * isa.lanes() + 1 {
            let mut x = vec![f32::NAN; n + 8];
            x[4..4 + n].iter_mut().enumerate().for_each(|(i, x)| *x = i as f32 * 0.25 - 2.0);
            let mut one_by_one = x[4..4 + n].to_vec();
            one_by_one.iter_mut().for_each(|x| tanh_slice(isa, std::slice::from_mut(x)));
            tanh_slice(isa, &mut x[4..4 + n]);
            assert_eq!(x[4..4 + n], one_by_one[..], "{isa}: an element's place changed its value");
            assert!(x[..4].iter().chain(&x[4 + n..]).all(|x| x.is_nan()), "{isa}: wrote beyond {n}");
        }
    }
}

#[test]
fn inverse_roots_are_within_two_ulp_of_every_mantissa() {
    // Four times x has half the inverse root, exactly: two binades stand for all.
    let x: Vec<f32> = (0..1u32 << 24).map(|i| f32::from_bits(1f32.to_bits() + i)).collect();
    let (name, f, reference) = FUNCTIONS[4];
    for (isa, u, at) in worst(name, f, reference, &x) {
        println!("{isa} {name}: {u:.3} ULP at {at:e}");
        assert!(u <= MAX_ULP, "{isa} {name}({at:e}): {u:.3} ULP");
    }
}
