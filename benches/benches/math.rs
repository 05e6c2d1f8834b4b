//! exp, tanh, sigmoid and ln over a slice that stays in the first-level cache. The peer is the standard library's
//! function, element by element. Each call copies its arguments first, for repeated exponentials would overflow.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use unroll_benches::elementwise::{agree, group, noise, sets};
use unroll_kernels::{Isa, math};

const N: usize = 4096;

fn measure(criterion: &mut Criterion, name: &str, x: &[f32], slice: fn(Isa, &mut [f32]), peer: fn(f32) -> f32) {
    let want: Vec<f32> = x.iter().map(|&x| peer(x)).collect();
    let mut group = group(criterion, &format!("{name}/forward"), N);
    let mut y = x.to_vec();
    for isa in sets() {
        y.copy_from_slice(x);
        slice(isa, &mut y);
        agree(&format!("{name} on {isa}"), &y, &want, 1e-6);
        group.bench_function(BenchmarkId::new(isa.name(), N), |b| {
            b.iter(|| {
                y.copy_from_slice(x);
                slice(isa, &mut y);
            });
        });
    }
    group.bench_function(BenchmarkId::new("std", N), |b| {
        b.iter(|| {
            y.copy_from_slice(x);
            y.iter_mut().for_each(|x| *x = peer(*x));
        });
    });
}

fn benches(criterion: &mut Criterion) {
    let x = noise(N, 10.0, 1);
    let positive: Vec<f32> = x.iter().map(|x| x.abs()).collect();
    measure(criterion, "exp", &x, math::exp_slice, f32::exp);
    measure(criterion, "tanh", &x, math::tanh_slice, f32::tanh);
    measure(criterion, "sigmoid", &x, math::sigmoid_slice, |x| 1.0 / (1.0 + (-x).exp()));
    measure(criterion, "ln", &positive, math::ln_slice, f32::ln);
}

criterion_group!(math_benches, benches);
criterion_main!(math_benches);
