//! Layer normalisation of rows as a recurrent language model has them. The peer is the same in scalar code, three passes
//! over each row.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use unroll_benches::elementwise::{agree, group, noise, sets};
use unroll_kernels::layer_norm::{self, Backward, Forward};
use unroll_kernels::{Mat, MatMut};

/// Rows and widths: the steps of a batch of 50 streams, and of 20 streams of a wide model.
const SIZES: [[usize; 2]; 2] = [[50, 128], [700, 650]];
const EPSILON: f32 = 1e-3;

/// y, n and r of all rows.
fn plain_forward(x: &[f32], gain: &[f32], offset: &[f32], normal: &mut [f32], scale: &mut [f32], y: &mut [f32]) {
    let width = gain.len();
    for (r, x) in x.chunks(width).enumerate() {
        let mean = x.iter().sum::<f32>() / width as f32;
        let variance = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / width as f32;
        scale[r] = 1.0 / (variance + EPSILON).sqrt();
        for (j, x) in x.iter().enumerate() {
            normal[r * width + j] = (x - mean) * scale[r];
            y[r * width + j] = normal[r * width + j] * gain[j] + offset[j];
        }
    }
}

fn plain_backward(normal: &[f32], scale: &[f32], gain: &[f32], dy: &[f32], dx: &mut [f32]) {
    let width = gain.len();
    for (r, dy) in dy.chunks(width).enumerate() {
        let n = &normal[r * width..(r + 1) * width];
        let (mut mean, mut along) = (0.0, 0.0);
        for j in 0..width {
            mean += dy[j] * gain[j];
            along += dy[j] * gain[j] * n[j];
        }
        let (mean, along) = (mean / width as f32, along / width as f32);
        for j in 0..width {
            dx[r * width + j] += scale[r] * (dy[j] * gain[j] - mean - n[j] * along);
        }
    }
}

fn layer_norm(criterion: &mut Criterion) {
    for [rows, width] in SIZES {
        let (x, dy, size) = (noise(rows * width, 2.0, 1), noise(rows * width, 1.0, 2), format!("{rows}x{width}"));
        let (gain, offset) = (noise(width, 1.0, 3), noise(width, 1.0, 4));
        let zeros = || vec![0.0; rows * width];
        let (mut want_y, mut want_normal, mut want_scale) = (zeros(), zeros(), vec![0.0; rows]);
        let (mut y, mut normal, mut scale, mut dx) = (zeros(), zeros(), vec![0.0; rows], zeros());
        plain_forward(&x, &gain, &offset, &mut want_normal, &mut want_scale, &mut want_y);
        {
            let mut group = group(criterion, "layer_norm/forward", rows * width);
            for isa in sets() {
                let mut call = |y: &mut [f32]| {
                    let args = Forward {
                        x: Mat::dense(&x, rows, width),
                        gain: Some(&gain),
                        offset: Some(&offset),
                        epsilon: EPSILON,
                        normal: MatMut::dense(&mut normal, rows, width),
                        scale: MatMut::dense(&mut scale, rows, 1),
                        y: MatMut::dense(y, rows, width),
                    };
                    layer_norm::forward(isa, args);
                };
                call(&mut y);
                agree("y", &y, &want_y, 1e-5);
                group.bench_function(BenchmarkId::new(isa.name(), &size), |b| b.iter(|| call(&mut y)));
            }
            let mut out = (zeros(), vec![0.0; rows]);
            group.bench_function(BenchmarkId::new("scalar", &size), |b| {
                b.iter(|| plain_forward(&x, &gain, &offset, &mut out.0, &mut out.1, &mut y));
            });
        }
        let mut want = zeros();
        plain_backward(&want_normal, &want_scale, &gain, &dy, &mut want);
        let mut group = group(criterion, "layer_norm/backward", rows * width);
        for isa in sets() {
            let call = |dx: &mut [f32]| {
                let args = Backward {
                    normal: Mat::dense(&want_normal, rows, width),
                    scale: Mat::dense(&want_scale, rows, 1),
                    gain: Some(&gain),
                    dy: Mat::dense(&dy, rows, width),
                    dx: MatMut::dense(dx, rows, width),
                };
                layer_norm::backward(isa, args);
            };
            dx.fill(0.0);
            call(&mut dx);
            agree("dx", &dx, &want, 1e-5);
            group.bench_function(BenchmarkId::new(isa.name(), &size), |b| {
                b.iter(|| {
                    dx.fill(0.0);
                    call(&mut dx);
                });
            });
        }
        group.bench_function(BenchmarkId::new("scalar", &size), |b| {
            b.iter(|| {
                dx.fill(0.0);
                plain_backward(&want_normal, &want_scale, &gain, &dy, &mut dx);
            });
        });
    }
}

criterion_group!(layer_norm_benches, layer_norm);
criterion_main!(layer_norm_benches);
