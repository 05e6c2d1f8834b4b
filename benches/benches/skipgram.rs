//! The products of word vectors, forward and backward: a group of 64 words as a training has it. The peer is word2vec's way, a
//! pair after the other in scalar code, which adds the gradients to the rows themselves.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use unroll_benches::elementwise::{agree, group, noise, sets, tokens};
use unroll_kernels::skipgram::{self, Gather, Gradients, Means, Room, RowGradients, Slopes, Spread, Window};
use unroll_kernels::{Isa, Mat, MatMut};

/// Words of a group, neighbours on a side, and noise words that a half of a group has in common.
const WORDS: usize = 64;
const WIDTH: usize = 3;
const NOISE: usize = 16;
/// A thread's columns: a block of 64, and whole vectors of 300.
const SIZES: [usize; 2] = [64, 300];
/// Rows of the tables.
const VOCABULARY: usize = 20_000;

/// The neighbours of each word of one long sentence.
fn windows() -> Vec<Window> {
    let window = |own: usize| {
        let [first, after, end] = [own.saturating_sub(WIDTH), own + 1, (own + 1 + WIDTH).min(WORDS)];
        let [first, own, after, end] = [first, own, after, end].map(|i| i as u32);
        Window { first, own, after, end }
    };
    (0..WORDS).map(window).collect()
}

fn dot(x: &[f32], y: &[f32]) -> f32 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// sigmoid(z) - t
fn slope(z: f32, t: f32) -> f32 {
    1.0 / (1.0 + (-z).exp()) - t
}

/// Vectors of a group, and the gradients of each pair of an input, an output and a label, one after the other.
struct Plain<'a> {
    dim: usize,
    x: &'a [f32],
    y: &'a [f32],
    dx: &'a mut [f32],
    dy: &'a mut [f32],
}

impl Plain<'_> {
    fn pair(&mut self, n: usize, m: usize, label: f32) {
        let (from, to) = (n * self.dim..(n + 1) * self.dim, m * self.dim..(m + 1) * self.dim);
        let (x, y) = (&self.x[from.clone()], &self.y[to.clone()]);
        let g = slope(dot(x, y), label);
        self.dx[from].iter_mut().zip(y).for_each(|(dx, y)| *dx += g * y);
        self.dy[to].iter_mut().zip(x).for_each(|(dy, x)| *dy += g * x);
    }
}

/// Slopes of logits that all have the label and the weight 1.
fn slopes(isa: Isa, logits: &[f32], label: f32, to: &mut [f32]) {
    let (count, weights, labels) = (logits.len(), vec![1.0; logits.len()], vec![label; logits.len()]);
    let logits = Mat::dense(logits, 1, count);
    let args = Slopes { logits, weights: &weights, labels: &labels, scale: 1.0, loss: false, slopes: to };
    skipgram::slopes(isa, args);
}

/// Each word with its neighbours, as skip-gram has them.
fn pairs(criterion: &mut Criterion) {
    let windows = windows();
    let count: usize = windows.iter().map(|window| window.count()).sum();
    for dim in SIZES {
        let (x, y, size) = (noise(WORDS * dim, 0.5, 1), noise(WORDS * dim, 0.5, 2), format!("{count}x{dim}"));
        let peer = |dx: &mut [f32], dy: &mut [f32]| {
            dx.fill(0.0);
            dy.fill(0.0);
            let mut plain = Plain { dim, x: &x, y: &y, dx, dy };
            for (m, window) in windows.iter().enumerate() {
                window.inputs().for_each(|n| plain.pair(n, m, 1.0));
            }
        };
        let zeros = || vec![0.0; WORDS * dim];
        let ((mut want_dx, mut want_dy), (mut dx, mut dy)) = ((zeros(), zeros()), (zeros(), zeros()));
        peer(&mut want_dx, &mut want_dy);
        let mut group = group(criterion, "skipgram/pairs", count * dim);
        for isa in sets() {
            let (mut logits, mut steps) = (vec![0.0; count], vec![0.0; count]);
            let mut call = |dx: &mut [f32], dy: &mut [f32]| {
                let (inputs, outputs) = (Mat::dense(&x, WORDS, dim), Mat::dense(&y, WORDS, dim));
                skipgram::pair_products(isa, inputs, outputs, &windows, &mut logits);
                slopes(isa, &logits, 1.0, &mut steps);
                dx.fill(0.0);
                let (dinputs, doutputs) = (MatMut::dense(dx, WORDS, dim), MatMut::dense(dy, WORDS, dim));
                skipgram::pair_gradients(isa, &steps, &windows, Gradients { inputs, outputs, dinputs, doutputs });
            };
            call(&mut dx, &mut dy);
            agree("dX", &dx, &want_dx, 1e-4);
            agree("dY", &dy, &want_dy, 1e-4);
            group.bench_function(BenchmarkId::new(isa.name(), &size), |b| b.iter(|| call(&mut dx, &mut dy)));
        }
        group.bench_function(BenchmarkId::new("pair after pair", &size), |b| b.iter(|| peer(&mut dx, &mut dy)));
    }
}

/// Half of a group with its words of noise.
fn shared(criterion: &mut Criterion) {
    let rows = WORDS / 2;
    for dim in SIZES {
        let (x, y, size) = (noise(rows * dim, 0.5, 3), noise(NOISE * dim, 0.5, 4), format!("{rows}x{NOISE}x{dim}"));
        let peer = |dx: &mut [f32], dy: &mut [f32]| {
            dx.fill(0.0);
            dy.fill(0.0);
            let mut plain = Plain { dim, x: &x, y: &y, dx, dy };
            (0..rows * NOISE).for_each(|i| plain.pair(i / NOISE, i % NOISE, 0.0));
        };
        let zeros = || (vec![0.0; rows * dim], vec![0.0; NOISE * dim]);
        let ((mut want_dx, mut want_dy), (mut dx, mut dy)) = (zeros(), zeros());
        peer(&mut want_dx, &mut want_dy);
        let mut group = group(criterion, "skipgram/shared", rows * NOISE * dim);
        for isa in sets() {
            let (mut logits, mut steps, mut room) = (vec![0.0; rows * NOISE], vec![0.0; rows * NOISE], Room::default());
            let mut call = |dx: &mut [f32], dy: &mut [f32]| {
                let (inputs, outputs) = (Mat::dense(&x, rows, dim), Mat::dense(&y, NOISE, dim));
                skipgram::products(isa, inputs, outputs, MatMut::dense(&mut logits, rows, NOISE), &mut room);
                slopes(isa, &logits, 0.0, &mut steps);
                let (dinputs, doutputs) = (MatMut::dense(dx, rows, dim), MatMut::dense(dy, NOISE, dim));
                let args = Gradients { inputs, outputs, dinputs, doutputs };
                skipgram::gradients(isa, Mat::dense(&steps, rows, NOISE), false, args);
            };
            call(&mut dx, &mut dy);
            agree("dX", &dx, &want_dx, 1e-4);
            agree("dY", &dy, &want_dy, 1e-4);
            group.bench_function(BenchmarkId::new(isa.name(), &size), |b| b.iter(|| call(&mut dx, &mut dy)));
        }
        group.bench_function(BenchmarkId::new("pair after pair", &size), |b| b.iter(|| peer(&mut dx, &mut dy)));
    }
}

/// Means of windows, their products with the words themselves, and the gradients on their way back, as CBOW has them.
fn cbow(criterion: &mut Criterion) {
    let windows = windows();
    for dim in SIZES {
        let size = format!("{WORDS}x{dim}");
        let (start, y) = (noise(VOCABULARY * dim, 0.5, 5), noise(WORDS * dim, 0.5, 6));
        // Each word once, so that one table can be changed and another read.
        let rows: Vec<u32> = (0..WORDS as u32).map(|i| i * 311).collect();
        let row = |i: usize| rows[i] as usize * dim..(rows[i] as usize + 1) * dim;
        // The changes of the rows of the inputs' table and of the outputs'.
        let peer = |inputs: &mut [f32], outputs: &mut [f32]| {
            for (m, window) in windows.iter().enumerate() {
                let mut mean = vec![0.0; dim];
                let share = 1.0 / window.count() as f32;
                window.inputs().for_each(|n| mean.iter_mut().zip(&start[row(n)]).for_each(|(h, x)| *h += share * x));
                let y = &y[m * dim..(m + 1) * dim];
                let g = slope(dot(&mean, y), 1.0);
                outputs[row(m)].iter_mut().zip(&mean).for_each(|(to, h)| *to += g * h);
                window.inputs().for_each(|n| inputs[row(n)].iter_mut().zip(y).for_each(|(to, y)| *to += g * y));
            }
        };
        let zeros = || vec![0.0; VOCABULARY * dim];
        let (mut want_inputs, mut want_outputs) = (zeros(), zeros());
        peer(&mut want_inputs, &mut want_outputs);
        let mut group = group(criterion, "skipgram/cbow", WORDS * dim);
        let (mut inputs, mut outputs) = (zeros(), zeros());
        for isa in sets() {
            let (mut sums, mut means) = (vec![0.0; (WORDS + 1) * dim], vec![0.0; WORDS * dim]);
            let (mut logits, mut steps, mut errors) = (vec![0.0; WORDS], vec![0.0; WORDS], vec![0.0; WORDS * dim]);
            let mut call = |inputs: &mut [f32], outputs: &mut [f32]| {
                let (table, to) = (Mat::dense(&start, VOCABULARY, dim), MatMut::dense(&mut means, WORDS, dim));
                let room = MatMut::dense(&mut sums, WORDS + 1, dim);
                skipgram::means(
                    isa,
                    Means { table, rows: &rows, ahead: &[], windows: &windows, sums: room, means: to },
                );
                let (h, words) = (Mat::dense(&means, WORDS, dim), Mat::dense(&y, WORDS, dim));
                skipgram::row_products(isa, h, words, &mut logits);
                slopes(isa, &logits, 1.0, &mut steps);
                errors.fill(0.0);
                let (dinputs, table) =
                    (MatMut::dense(&mut errors, WORDS, dim), MatMut::dense(outputs, VOCABULARY, dim));
                let args = RowGradients { inputs: h, outputs: words, slopes: &steps, dinputs, rows: &rows, table };
                skipgram::row_gradients(isa, args);
                let (errors, table) = (Mat::dense(&errors, WORDS, dim), MatMut::dense(inputs, VOCABULARY, dim));
                let sums = MatMut::dense(&mut sums, WORDS + 1, dim);
                skipgram::spread(isa, Spread { errors, windows: &windows, rows: &rows, sums, table });
            };
            inputs.fill(0.0);
            outputs.fill(0.0);
            call(&mut inputs, &mut outputs);
            agree("inputs", &inputs, &want_inputs, 1e-4);
            agree("outputs", &outputs, &want_outputs, 1e-4);
            group.bench_function(BenchmarkId::new(isa.name(), &size), |b| b.iter(|| call(&mut inputs, &mut outputs)));
        }
        group.bench_function(BenchmarkId::new("word after word", &size), |b| {
            b.iter(|| peer(&mut inputs, &mut outputs));
        });
    }
}

/// Rows of a table too large for the cache, as frequent as words are.
fn rows(criterion: &mut Criterion) {
    let dim = SIZES[1];
    let (table, list, size) = (noise(VOCABULARY * dim, 1.0, 7), tokens(WORDS, VOCABULARY, 8), format!("{WORDS}x{dim}"));
    let (changes, mut to) = (noise(WORDS * dim, 1.0, 9), vec![0.0; WORDS * dim]);
    let each = |row: usize| list[row] as usize * dim..(list[row] as usize + 1) * dim;
    {
        let peer =
            |to: &mut [f32]| to.chunks_mut(dim).enumerate().for_each(|(i, to)| to.copy_from_slice(&table[each(i)]));
        let mut want = to.clone();
        peer(&mut want);
        let mut group = group(criterion, "skipgram/gather", WORDS * dim);
        for isa in sets() {
            let call = |to: &mut [f32]| {
                let (table, to) = (Mat::dense(&table, VOCABULARY, dim), MatMut::dense(to, WORDS, dim));
                skipgram::gather(isa, Gather { table, rows: &list, ahead: &[], to });
            };
            call(&mut to);
            agree("rows", &to, &want, 0.0);
            group.bench_function(BenchmarkId::new(isa.name(), &size), |b| b.iter(|| call(&mut to)));
        }
        group.bench_function(BenchmarkId::new("row after row", &size), |b| b.iter(|| peer(&mut to)));
    }
    let peer = |table: &mut [f32]| {
        for (i, row) in changes.chunks(dim).enumerate() {
            table[each(i)].iter_mut().zip(row).for_each(|(to, x)| *to += x);
        }
    };
    let mut want = table.clone();
    peer(&mut want);
    let mut group = group(criterion, "skipgram/add_rows", WORDS * dim);
    let mut changed = table.clone();
    for isa in sets() {
        let call = |table: &mut [f32]| {
            skipgram::add_rows(isa, Mat::dense(&changes, WORDS, dim), &list, MatMut::dense(table, VOCABULARY, dim));
        };
        changed.copy_from_slice(&table);
        call(&mut changed);
        agree("table", &changed, &want, 0.0);
        group.bench_function(BenchmarkId::new(isa.name(), &size), |b| b.iter(|| call(&mut changed)));
    }
    group.bench_function(BenchmarkId::new("row after row", &size), |b| b.iter(|| peer(&mut changed)));
}

criterion_group!(skipgram_benches, pairs, shared, cbow, rows);
criterion_main!(skipgram_benches);
