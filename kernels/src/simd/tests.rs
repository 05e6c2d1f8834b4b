use super::*;
use crate::isa::sets_under_test;

/// Runs every operation on awkward values and returns the bits, so that sets can be compared.
struct Probe<'a> {
    a: &'a [f32],
    b: &'a [f32],
}

impl Kernel for Probe<'_> {
    type Output = Vec<(&'static str, Vec<u32>)>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let mut rows: Vec<(&'static str, Vec<u32>)> = Vec::new();
        let mut emit = |name: &'static str, v: S::F32| {
            let lanes = s.to_array(v);
            let bits = lanes[..S::LANES].iter().map(|x| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() });
            match rows.iter_mut().find(|(n, _)| *n == name) {
                Some((_, all)) => all.extend(bits),
                None => rows.push((name, bits.collect())),
            }
        };
        for (a, b) in self.a.chunks_exact(S::LANES).zip(self.b.chunks_exact(S::LANES)) {
            let (x, y) = (s.load(a), s.load(b));
            emit("add", s.add(x, y));
            emit("sub", s.sub(x, y));
            emit("mul", s.mul(x, y));
            emit("div", s.div(x, y));
            emit("min", s.min(x, y));
            emit("max", s.max(x, y));
            emit("sqrt", s.sqrt(x));
            emit("abs", s.abs(x));
            emit("copysign", s.copysign(x, y));
            emit("round", s.round(x));
            emit("lt", s.select(s.lt(x, y), x, y));
            emit("le", s.select(s.le(x, y), x, y));
            emit("eq", s.select(s.eq(x, x), x, s.splat(7.0)));
            emit("add_i32", s.f32_from_bits(s.add_i32(s.bits(x), s.splat_i32(1 << 23))));
            emit("sub_i32", s.f32_from_bits(s.sub_i32(s.bits(x), s.splat_i32(1))));
            emit("and_i32", s.f32_from_bits(s.and_i32(s.bits(x), s.bits(y))));
            emit("shl", s.f32_from_bits(s.shl::<3>(s.bits(x))));
            emit("shr", s.f32_from_bits(s.shr::<3>(s.bits(x))));
            let small = s.max(s.min(x, s.splat(1e6)), s.splat(-1e6));
            emit("to_i32", s.to_f32(s.to_i32(small)));
            emit("partial", s.load_partial(&a[..S::LANES - 3]));
        }
        rows
    }
}

fn values() -> (Vec<f32>, Vec<f32>) {
    let odd = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        2.5,
        3.5,
        -0.5,
        1e-40,
        -1e-40,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1e6,
        0.1,
    ];
    let a = odd.iter().flat_map(|&x| [x; 16]).collect();
    let b = odd.iter().cycle().take(odd.len() * 16).copied().collect();
    (a, b)
}

/// What each operation means, in scalar code.
fn scalar(name: &str, x: f32, y: f32) -> Option<f32> {
    let bits = |i: i32| f32::from_bits(i as u32);
    let i = x.to_bits() as i32;
    Some(match name {
        "add" => x + y,
        "sub" => x - y,
        "mul" => x * y,
        "div" => x / y,
        "min" => {
            if x < y {
                x
            } else {
                y
            }
        }
        "max" => {
            if x > y {
                x
            } else {
                y
            }
        }
        "sqrt" => x.sqrt(),
        "abs" => x.abs(),
        "copysign" => x.copysign(y),
        "round" => x.round_ties_even(),
        "lt" => {
            if x < y {
                x
            } else {
                y
            }
        }
        "le" => {
            if x <= y {
                x
            } else {
                y
            }
        }
        "eq" => {
            if x.is_nan() {
                7.0
            } else {
                x
            }
        }
        "add_i32" => bits(i.wrapping_add(1 << 23)),
        "sub_i32" => bits(i.wrapping_sub(1)),
        "and_i32" => bits(i & y.to_bits() as i32),
        "shl" => bits(i << 3),
        "shr" => bits(i >> 3),
        _ => return None,
    })
}

#[test]
fn every_set_does_what_the_scalar_code_does() {
    let (a, b) = values();
    for isa in sets_under_test() {
        for (name, got) in isa.run(Probe { a: &a, b: &b }) {
            for (n, &got) in got.iter().enumerate() {
                let Some(want) = scalar(name, a[n], b[n]) else { continue };
                let want = if want.is_nan() { 0x7fc0_0000 } else { want.to_bits() };
                assert_eq!(got, want, "{isa} {name}({}, {}): {got:08x}, not {want:08x}", a[n], b[n]);
            }
        }
    }
}

struct Sum<'a>(&'a [f32]);

impl Kernel for Sum<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> (f32, f32) {
        let (mut sum, mut max) = (Wide16::splat(s, 0.0), Wide16::splat(s, f32::NEG_INFINITY));
        let mut blocks = self.0.chunks_exact(16);
        for block in &mut blocks {
            let x = Wide16::load(s, block);
            sum = sum.zip(
                x,
                #[inline(always)]
                |a, b| s.add(a, b),
            );
            max = max.zip(
                x,
                #[inline(always)]
                |a, b| s.max(a, b),
            );
        }
        let x = Wide16::load_or(s, blocks.remainder(), 0.0);
        sum = sum.zip(
            x,
            #[inline(always)]
            |a, b| s.add(a, b),
        );
        (sum.sum(s), max.max(s))
    }
}

#[test]
fn horizontal_results_have_the_same_bits_on_every_set() {
    let x: Vec<f32> = (0..1000).map(|i| ((i * 7919 % 1000) as f32 - 500.0) * 1.1e-3).collect();
    for n in [0, 1, 15, 16, 17, 31, 500, 1000] {
        let want = Sum(&x[..n]).run(Portable);
        for isa in sets_under_test() {
            assert_eq!(isa.run(Sum(&x[..n])), want, "{isa}, {n} elements");
        }
    }
}

#[test]
fn partial_loads_and_stores_touch_nothing_else() {
    struct Copy<'a>(&'a [f32], &'a mut [f32]);
    impl Kernel for Copy<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            s.store_partial(self.1, s.load_partial(self.0));
        }
    }
    for isa in sets_under_test() {
        for n in 0..=isa.lanes() {
            let from: Vec<f32> = (1..=n).map(|i| i as f32).collect();
            let mut to = [9.0; 20];
            isa.run(Copy(&from, &mut to[2..2 + n]));
            assert_eq!(to[2..2 + n], from[..], "{isa}");
            assert!(to[..2].iter().chain(&to[2 + n..]).all(|&x| x == 9.0), "{isa} wrote beyond {n}");
        }
    }
}

#[test]
fn sixteen_lanes_are_filled_up_and_stored_in_part() {
    struct Fill<'a>(&'a [f32], &'a mut [f32], &'a mut [f32; 16]);
    impl Kernel for Fill<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let x = Wide16::load_or(s, self.0, -7.0);
            x.store_partial(s, self.1);
            *self.2 = x.to_array(s);
        }
    }
    for isa in sets_under_test() {
        for n in 0..=17 {
            let from: Vec<f32> = (1..=n).map(|i| i as f32).collect();
            let (mut to, mut all) = ([9.0; 24], [0.0; 16]);
            isa.run(Fill(&from, &mut to[2..2 + n], &mut all));
            let count = n.min(16);
            assert_eq!(all[..count], from[..count], "{isa}, {n}");
            assert!(all[count..].iter().all(|&x| x == -7.0), "{isa}, {n}: {all:?}");
            assert_eq!(to[2..2 + count], from[..count], "{isa}, {n}");
            assert!(to[..2].iter().chain(&to[2 + count..]).all(|&x| x == 9.0), "{isa} wrote beyond {n}");
        }
    }
}
