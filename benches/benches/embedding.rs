//! One-hot projection and embedding, forward and backward. The peers are what frameworks do: the product with one-hot
//! rows (matrixmultiply), and a gradient that is added to the table row by row.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use unroll_benches::elementwise::{agree, group, noise, sets, tokens};
use unroll_kernels::embedding::{self, Distinct};
use unroll_kernels::{Mat, MatMut};

/// Positions, vocabulary and width: characters into an LSTM of 512, words into an embedding of 650.
const CHARACTERS: [usize; 3] = [1600, 65, 2048];
const WORDS: [usize; 3] = [700, 10_000, 650];

/// C = A B, A (m, k), B (k, n).
fn product([m, k, n]: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32]) {
    assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n);
    let (k_stride, n_stride) = (k as isize, n as isize);
    // SAFETY: the slices hold the three matrices, checked above.
    unsafe {
        let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        matrixmultiply::sgemm(m, k, n, 1.0, a, k_stride, 1, b, n_stride, 1, 0.0, c, n_stride, 1);
    }
}

fn project_one_hot(criterion: &mut Criterion) {
    let [r, v, d] = CHARACTERS;
    let (kernel, bias, list) = (noise(v * d, 1.0, 1), noise(d, 1.0, 2), tokens(r, v, 3));
    let mut one_hot = vec![0.0; r * v];
    list.iter().enumerate().for_each(|(row, &token)| one_hot[row * v + token as usize] = 1.0);
    let (mut out, mut want) = (vec![0.0; r * d], vec![0.0; r * d]);
    let peer = |out: &mut [f32]| {
        product([r, v, d], &one_hot, &kernel, out);
        out.chunks_mut(d).for_each(|row| row.iter_mut().zip(&bias).for_each(|(x, b)| *x += b));
    };
    peer(&mut want);
    let size = format!("{r}x{v}x{d}");
    let mut group = group(criterion, "project_one_hot/forward", r * d);
    for isa in sets() {
        let call = |out: &mut [f32]| {
            let table = Mat::dense(&kernel, v, d);
            embedding::project_one_hot(isa, table, Some(&bias), &list, MatMut::dense(out, r, d));
        };
        call(&mut out);
        agree("projection", &out, &want, 1e-6);
        group.bench_function(BenchmarkId::new(isa.name(), &size), |b| b.iter(|| call(&mut out)));
    }
    group.bench_function(BenchmarkId::new("matrixmultiply", &size), |b| b.iter(|| peer(&mut out)));
}

/// Adds each row of `dout` to its token's row.
fn scatter(dout: &[f32], list: &[u32], d: usize, table: &mut [f32]) {
    for (row, &token) in dout.chunks(d).zip(list) {
        let to = &mut table[token as usize * d..][..d];
        to.iter_mut().zip(row).for_each(|(to, x)| *to += x);
    }
}

fn backward(criterion: &mut Criterion) {
    for [r, v, d] in [CHARACTERS, WORDS] {
        let (dout, list, size) = (noise(r * d, 1.0, 4), tokens(r, v, 5), format!("{r}x{v}x{d}"));
        let (mut table, mut want) = (vec![0.0; v * d], vec![0.0; v * d]);
        scatter(&dout, &list, d, &mut want);
        let mut distinct = Distinct::with_capacity(r, v);
        let mut group = group(criterion, "project_one_hot/backward", r * d);
        for isa in sets() {
            let mut call = |table: &mut [f32]| {
                distinct.build(&list, v);
                let (dout, table) = (Mat::dense(&dout, r, d), MatMut::dense(table, v, d));
                embedding::project_one_hot_backward(isa, dout, &distinct, table);
            };
            table.fill(0.0);
            call(&mut table);
            agree("gradient", &table, &want, 1e-6);
            group.bench_function(BenchmarkId::new(isa.name(), &size), |b| b.iter(|| call(&mut table)));
        }
        group.bench_function(BenchmarkId::new("scatter", &size), |b| {
            b.iter(|| scatter(&dout, &list, d, &mut table));
        });
    }
}

fn sparse(criterion: &mut Criterion) {
    let [r, v, d] = WORDS;
    let (table, dout, list, size) =
        (noise(v * d, 1.0, 6), noise(r * d, 1.0, 7), tokens(r, v, 8), format!("{r}x{v}x{d}"));
    let mut distinct = Distinct::with_capacity(r, v);
    distinct.build(&list, v);
    let u = distinct.tokens().len();
    {
        let mut out = vec![0.0; r * d];
        let mut group = group(criterion, "gather/forward", r * d);
        let call = |out: &mut [f32]| embedding::gather(Mat::dense(&table, v, d), &list, MatMut::dense(out, r, d));
        let peer = |out: &mut [f32]| {
            let rows = list.iter().flat_map(|&t| &table[t as usize * d..][..d]);
            out.iter_mut().zip(rows).for_each(|(to, from)| *to = *from);
        };
        let mut want = vec![0.0; r * d];
        peer(&mut want);
        call(&mut out);
        agree("gather", &out, &want, 0.0);
        group.bench_function(BenchmarkId::new("any", &size), |b| b.iter(|| call(&mut out)));
        group.bench_function(BenchmarkId::new("element-wise", &size), |b| b.iter(|| peer(&mut out)));
    }
    {
        let mut sums = vec![0.0; u * d];
        let mut want = vec![0.0; u * d];
        scatter(&dout, distinct.index(), d, &mut want);
        let mut group = group(criterion, "sum_by_token/backward", r * d);
        for isa in sets() {
            let call = |sums: &mut [f32]| {
                embedding::sum_by_token(isa, Mat::dense(&dout, r, d), &distinct, MatMut::dense(sums, u, d));
            };
            call(&mut sums);
            agree("sums", &sums, &want, 1e-6);
            group.bench_function(BenchmarkId::new(isa.name(), &size), |b| b.iter(|| call(&mut sums)));
        }
        group.bench_function(BenchmarkId::new("scatter", &size), |b| {
            b.iter(|| {
                sums.fill(0.0);
                scatter(&dout, distinct.index(), d, &mut sums);
            });
        });
    }
    let mut group = group(criterion, "distinct/build", r);
    group.bench_function(BenchmarkId::new("any", &size), |b| b.iter(|| distinct.build(&list, v)));
    group.bench_function(BenchmarkId::new("sort", &size), |b| {
        b.iter(|| {
            let mut sorted: Vec<(u32, u32)> = list.iter().copied().zip(0..).collect();
            sorted.sort_unstable();
            sorted
        });
    });
}

criterion_group!(embedding_benches, project_one_hot, backward, sparse);
criterion_main!(embedding_benches);
