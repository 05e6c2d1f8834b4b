//! Softmax with cross-entropy, for a character and a word vocabulary. The peer is the same in scalar code with the
//! standard library's functions, three passes over each row. Each call copies its logits first. The softmax of slices, and that
//! whose exponentials are kept in bf16, stand beside the same peer, which has all logits at once.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use unroll_benches::elementwise::{agree, group, noise, sets, tokens};
use unroll_kernels::softmax::{
    self, BinaryCrossEntropy, CrossEntropy, Keep, KeptGradient, NOTE, RowGradient, SliceGradient, Tally,
};
use unroll_kernels::{Bf16, Element, Isa, Mat, MatMut, activation};

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

fn plain_log_softmax(x: &mut [f32], v: usize) {
    for row in x.chunks_mut(v) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let log = max + row.iter().map(|x| (x - max).exp()).sum::<f32>().ln();
        row.iter_mut().for_each(|x| *x -= log);
    }
}

fn log_rows(criterion: &mut Criterion) {
    let [r, v] = SIZES[1];
    let (x, size) = (noise(r * v, 4.0, 1), format!("{r}x{v}"));
    let (mut y, mut want) = (x.clone(), x.clone());
    plain_log_softmax(&mut want, v);
    let mut group = group(criterion, "log_softmax/forward", r * v);
    for isa in sets() {
        let call = |y: &mut [f32]| {
            y.copy_from_slice(&x);
            softmax::log_softmax_rows(isa, MatMut::dense(y, r, v));
        };
        call(&mut y);
        agree("log-softmax", &y, &want, 1e-5);
        group.bench_function(BenchmarkId::new(isa.name(), &size), |b| b.iter(|| call(&mut y)));
    }
    group.bench_function(BenchmarkId::new("scalar", &size), |b| {
        b.iter(|| {
            y.copy_from_slice(&x);
            plain_log_softmax(&mut y, v);
        });
    });
}

fn plain_backward(y: &[f32], dy: &mut [f32], v: usize) {
    for (y, dy) in y.chunks(v).zip(dy.chunks_mut(v)) {
        let inner: f32 = y.iter().zip(&*dy).map(|(y, dy)| y * dy).sum();
        y.iter().zip(dy).for_each(|(y, dy)| *dy = y * (*dy - inner));
    }
}

fn rows_backward(criterion: &mut Criterion) {
    let [r, v] = SIZES[1];
    let (mut y, dy, size) = (noise(r * v, 4.0, 1), noise(r * v, 1.0, 2), format!("{r}x{v}"));
    plain_softmax(&mut y, v);
    let (mut got, mut want) = (dy.clone(), dy.clone());
    plain_backward(&y, &mut want, v);
    let mut group = group(criterion, "softmax/backward", r * v);
    for isa in sets() {
        let call = |got: &mut [f32]| {
            got.copy_from_slice(&dy);
            activation::softmax_backward(isa, Mat::dense(&y, r, v), MatMut::dense(got, r, v));
        };
        call(&mut got);
        agree("gradient", &got, &want, 1e-5);
        group.bench_function(BenchmarkId::new(isa.name(), &size), |b| b.iter(|| call(&mut got)));
    }
    group.bench_function(BenchmarkId::new("scalar", &size), |b| {
        b.iter(|| {
            got.copy_from_slice(&dy);
            plain_backward(&y, &mut got, v);
        });
    });
}

/// Columns of a slice, and of a block whose exponentials are kept.
const SLICE: usize = 1024;

/// The logits of a word vocabulary and their targets.
struct Words {
    x: Vec<f32>,
    targets: Vec<u32>,
}

impl Words {
    fn new() -> Self {
        let [r, v] = SIZES[1];
        Self { x: noise(r * v, 4.0, 1), targets: tokens(r, v, 2) }
    }

    /// The columns of every slice.
    fn slices() -> impl Iterator<Item = std::ops::Range<usize>> {
        let v = SIZES[1][1];
        (0..v).step_by(SLICE).map(move |first| first..v.min(first + SLICE))
    }

    fn tally(&self, isa: Isa, tallies: &mut [Tally]) {
        let [r, v] = SIZES[1];
        tallies.fill(Tally::default());
        for slice in Self::slices() {
            let first = slice.start;
            softmax::tally(isa, Mat::dense(&self.x, r, v).cols_range(slice), first, &self.targets, tallies);
        }
    }

    fn slice_gradients(&self, isa: Isa, tallies: &[Tally], y: &mut [f32]) {
        let [r, v] = SIZES[1];
        y.copy_from_slice(&self.x);
        for slice in Self::slices() {
            let first = slice.start;
            let logits = MatMut::dense(y, r, v).cols_range(slice);
            let args = SliceGradient { logits, first, targets: &self.targets, tallies, scale: 0.5 };
            softmax::slice_gradient(isa, args);
        }
    }

    fn keep(&self, isa: Isa, y: &mut [f32], kept: &mut [Bf16], notes: &mut [f32]) {
        let ([r, v], width) = (SIZES[1], notes.len() / SIZES[1][0]);
        y.copy_from_slice(&self.x);
        for (block, slice) in Self::slices().enumerate() {
            let args = Keep {
                logits: MatMut::dense(y, r, v).cols_range(slice.clone()),
                first: slice.start,
                targets: &self.targets,
                sums: false,
                kept: MatMut::dense(kept, r, v).cols_range(slice),
                notes: MatMut::dense(notes, r, width).cols_range(NOTE * block..NOTE * (block + 1)),
            };
            softmax::keep(isa, args);
        }
    }

    fn kept_gradient(&self, isa: Isa, kept: &mut [Bf16], notes: &[f32], tallies: &mut [Tally]) {
        let ([r, v], width) = (SIZES[1], notes.len() / SIZES[1][0]);
        tallies.fill(Tally::default());
        let notes = Mat::dense(notes, r, width);
        softmax::add_notes(notes, &self.targets, tallies, &mut vec![0.0; r]);
        let rows = vec![RowGradient { probabilities: 0.5, every: 0.0, target: 0.5 }; r];
        let kept = MatMut::dense(kept, r, v);
        let args = KeptGradient { kept, notes, width: SLICE, targets: &self.targets, tallies, rows: &rows };
        softmax::kept_gradient(isa, args);
    }
}

fn by_slices(criterion: &mut Criterion) {
    let ([r, v], words) = (SIZES[1], Words::new());
    let (mut y, mut losses, size) = (words.x.clone(), vec![0.0; r], format!("{r}x{v}"));
    let (mut want, mut want_losses) = (words.x.clone(), vec![0.0; r]);
    plain_cross_entropy(&mut want, v, &words.targets, 0.5, &mut want_losses);
    let mut tallies = vec![Tally::default(); r];
    {
        let mut group = group(criterion, "slices/tally", r * v);
        for isa in sets() {
            words.tally(isa, &mut tallies);
            agree("losses", &tallies.iter().map(Tally::loss).collect::<Vec<_>>(), &want_losses, 1e-5);
            group.bench_function(BenchmarkId::new(isa.name(), &size), |b| b.iter(|| words.tally(isa, &mut tallies)));
        }
        group.bench_function(BenchmarkId::new("scalar", &size), |b| {
            b.iter(|| {
                y.copy_from_slice(&words.x);
                plain_losses(&mut y, v, &words.targets, &mut losses);
            });
        });
    }
    let mut group = group(criterion, "slices/gradient", r * v);
    for isa in sets() {
        words.tally(isa, &mut tallies);
        words.slice_gradients(isa, &tallies, &mut y);
        agree("gradient", &y, &want, 1e-5);
        group.bench_function(BenchmarkId::new(isa.name(), &size), |b| {
            b.iter(|| words.slice_gradients(isa, &tallies, &mut y));
        });
    }
    group.bench_function(BenchmarkId::new("scalar, losses too", &size), |b| {
        b.iter(|| {
            y.copy_from_slice(&words.x);
            plain_cross_entropy(&mut y, v, &words.targets, 0.5, &mut losses);
        });
    });
}

fn kept(criterion: &mut Criterion) {
    let ([r, v], words) = (SIZES[1], Words::new());
    let (mut y, mut losses, size) = (words.x.clone(), vec![0.0; r], format!("{r}x{v}"));
    let (mut want, mut want_losses) = (words.x.clone(), vec![0.0; r]);
    plain_cross_entropy(&mut want, v, &words.targets, 0.5, &mut want_losses);
    let mut tallies = vec![Tally::default(); r];
    let mut kept = vec![Bf16::of(0.0); r * v];
    let mut notes = vec![0.0; r * NOTE * v.div_ceil(SLICE)];
    {
        let mut group = group(criterion, "kept/forward", r * v);
        for isa in sets() {
            group.bench_function(BenchmarkId::new(isa.name(), &size), |b| {
                b.iter(|| words.keep(isa, &mut y, &mut kept, &mut notes));
            });
        }
    }
    let mut group = group(criterion, "kept/forward_backward", r * v);
    for isa in sets() {
        let mut call = |kept: &mut [Bf16], tallies: &mut [Tally]| {
            words.keep(isa, &mut y, kept, &mut notes);
            words.kept_gradient(isa, kept, &notes, tallies);
        };
        call(&mut kept, &mut tallies);
        // An exponential is rounded to 8 bits, and the gradient again.
        agree("gradient", &kept.iter().map(|&x| x.into()).collect::<Vec<f32>>(), &want, 2e-3);
        agree("losses", &tallies.iter().map(Tally::loss).collect::<Vec<_>>(), &want_losses, 1e-5);
        group.bench_function(BenchmarkId::new(isa.name(), &size), |b| b.iter(|| call(&mut kept, &mut tallies)));
    }
    group.bench_function(BenchmarkId::new("scalar", &size), |b| {
        b.iter(|| {
            y.copy_from_slice(&words.x);
            plain_cross_entropy(&mut y, v, &words.targets, 0.5, &mut losses);
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

criterion_group!(softmax_benches, cross_entropy, rows, log_rows, rows_backward, by_slices, kept, binary);
criterion_main!(softmax_benches);
