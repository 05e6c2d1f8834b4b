//! Softmax with cross-entropy, for a character and a word vocabulary. The peer is the same in scalar code with the
//! standard library's functions, three passes over each row. Each call copies its logits first.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use unroll_benches::elementwise::{agree, group, noise, sets, tokens};
use unroll_kernels::softmax::{self, BinaryCrossEntropy, CrossEntropy};
use unroll_kernels::{Mat, MatMut};

/// Rows and vocabulary of one step: 50 streams of characters, 20 of words.
const SIZES: [[usize; 2]; 2] = [[50, 65], [20, 10_000]];

/// The exponentials of a row in place; returns their sum and what was subtracted.
fn exponentials(row: &mut [f32]) -> (f32, f32) {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in row {
        *x = (*x - max).exp();
        sum += *x;
    }
    (sum, max)
}

fn plain_softmax(x: &mut [f32], v: usize) {
    for row in x.chunks_mut(v) {
        let (sum, _) = exponentials(row);
        row.iter_mut().for_each(|x| *x /= sum);
    }
}

fn plain_losses(x: &mut [f32], v: usize, targets: &[u32], losses: &mut [f32]) {
    for ((row, &t), loss) in x.chunks_mut(v).zip(targets).zip(losses) {
        let logit = row[t as usize];
        let (sum, max) = exponentials(row);
        *loss = max - logit + sum.ln();
    }
}

fn plain_cross_entropy(x: &mut [f32], v: usize, targets: &[u32], scale: f32, losses: &mut [f32]) {
    for ((row, &t), loss) in x.chunks_mut(v).zip(targets).zip(losses) {
        let logit = row[t as usize];
        let (sum, max) = exponentials(row);
        *loss = max - logit + sum.ln();
        row.iter_mut().for_each(|x| *x *= scale / sum);
        row[t as usize] -= scale;
    }
}

fn cross_entropy(criterion: &mut Criterion) {
    for [r, v] in SIZES {
        let (x, targets, size) = (noise(r * v, 4.0, 1), tokens(r, v, 2), format!("{r}x{v}"));
        let (mut y, mut losses) = (x.clone(), vec![0.0; r]);
        let (mut want, mut want_losses) = (x.clone(), vec![0.0; r]);
        plain_cross_entropy(&mut want, v, &targets, 0.5, &mut want_losses);
        {
            let mut group = group(criterion, "cross_entropy/forward_backward", r * v);
            for isa in sets() {
                let mut call = |y: &mut [f32]| {
                    y.copy_from_slice(&x);
                    let logits = MatMut::dense(y, r, v);
                    softmax::cross_entropy(
                        isa,
                        CrossEntropy { logits, targets: &targets, scale: 0.5, losses: &mut losses },
                    );
                };
                call(&mut y);
                group.bench_function(BenchmarkId::new(isa.name(), &size), |b| b.iter(|| call(&mut y)));
                agree("gradient", &y, &want, 1e-5);
                agree("losses", &losses, &want_losses, 1e-5);
            }
            group.bench_function(BenchmarkId::new("scalar", &size), |b| {
                b.iter(|| {
                    y.copy_from_slice(&x);
                    plain_cross_entropy(&mut y, v, &targets, 0.5, &mut losses);
                });
            });
        }
        let mut group = group(criterion, "cross_entropy/forward", r * v);
        for isa in sets() {
            let call = |losses: &mut [f32]| {
                softmax::cross_entropy_forward(isa, Mat::dense(&x, r, v), &targets, losses);
            };
            call(&mut losses);
            agree("losses alone", &losses, &want_losses, 1e-5);
            group.bench_function(BenchmarkId::new(isa.name(), &size), |b| b.iter(|| call(&mut losses)));
        }
        group.bench_function(BenchmarkId::new("scalar", &size), |b| {
            b.iter(|| {
                y.copy_from_slice(&x);
                plain_losses(&mut y, v, &targets, &mut losses);
            });
        });
    }
}

fn rows(criterion: &mut Criterion) {
    let [r, v] = SIZES[1];
    let (x, size) = (noise(r * v, 4.0, 1), format!("{r}x{v}"));
    let (mut y, mut want) = (x.clone(), x.clone());
    plain_softmax(&mut want, v);
    let mut group = group(criterion, "softmax/forward", r * v);
    for isa in sets() {
        let call = |y: &mut [f32]| {
            y.copy_from_slice(&x);
            softmax::softmax_rows(isa, MatMut::dense(y, r, v));
        };
        call(&mut y);
        agree("softmax", &y, &want, 1e-6);
        group.bench_function(BenchmarkId::new(isa.name(), &size), |b| b.iter(|| call(&mut y)));
    }
    group.bench_function(BenchmarkId::new("scalar", &size), |b| {
        b.iter(|| {
            y.copy_from_slice(&x);
            plain_softmax(&mut y, v);
        });
    });
}

fn plain_binary(x: &mut [f32], y: &[f32], losses: &mut [f32]) {
    for ((x, &y), loss) in x.iter_mut().zip(y).zip(losses) {
        *loss = x.max(0.0) - *x * y + (-x.abs()).exp().ln_1p();
        *x = 1.0 / (1.0 + (-*x).exp()) - y;
    }
}

fn binary(criterion: &mut Criterion) {
    const N: usize = 4096;
    let x = noise(N, 6.0, 1);
    let targets: Vec<f32> = (0..N).map(|i| (i % 2) as f32).collect();
    let (mut y, mut losses, mut want, mut want_losses) = (x.clone(), vec![0.0; N], x.clone(), vec![0.0; N]);
    plain_binary(&mut want, &targets, &mut want_losses);
    let mut group = group(criterion, "binary_cross_entropy/forward_backward", N);
    for isa in sets() {
        let mut call = |y: &mut [f32]| {
            y.copy_from_slice(&x);
            let args = BinaryCrossEntropy { logits: y, targets: &targets, scale: 1.0, losses: &mut losses };
            softmax::binary_cross_entropy(isa, args);
        };
        call(&mut y);
        group.bench_function(BenchmarkId::new(isa.name(), N), |b| b.iter(|| call(&mut y)));
        agree("binary gradient", &y, &want, 1e-6);
        agree("binary losses", &losses, &want_losses, 1e-6);
    }
    group.bench_function(BenchmarkId::new("scalar", N), |b| {
        b.iter(|| {
            y.copy_from_slice(&x);
            plain_binary(&mut y, &targets, &mut losses);
        });
    });
}

criterion_group!(softmax_benches, cross_entropy, rows, binary);
criterion_main!(softmax_benches);
