use unroll_kernels::isa::sets_under_test;

use super::super::batch::range;
use super::super::sampling::Sample;
use super::super::{Context, Loss, Model, TrainOptions, Trainer};
use super::*;
use crate::corpus::MemoryTokens;
use crate::exec::Crew;
use crate::random::{Key, Purpose};
use crate::text::{Level, TextOptions};

/// X (N, D), U (D, V), and the words that each row predicts: none, one, or several, some of them twice.
struct Case {
    sizes: [usize; 3],
    x: Vec<f64>,
    u: Vec<f64>,
    aims: Vec<Vec<u32>>,
}

fn case(sizes: [usize; 3], seed: u64) -> Case {
    let [n, d, v] = sizes;
    let key = Key::new(seed, Purpose::Check);
    // Numbers that f32 holds.
    let values = |key: Key, len: usize| (0..len as u64).map(|i| f64::from(2.0 * key.uniform(i) - 1.0)).collect();
    let words = |row: u64| {
        let drawn = (0..row % 4).map(|i| key.layer(3).below(4 * row + i, v as u64) as u32);
        let mut words: Vec<u32> = drawn.collect();
        words.extend(words.first().copied().filter(|_| row.is_multiple_of(3)));
        words
    };
    let aims = (0..n as u64).map(words).collect();
    Case { sizes, x: values(key.layer(1), n * d), u: values(key.layer(2), d * v), aims }
}

/// ln of the sum of e^z
fn log_sum(z: &[f64]) -> f64 {
    let most = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    most + z.iter().map(|z| (z - most).exp()).sum::<f64>().ln()
}

/// The logits of an input.
fn logits(x: &[f64], u: &[f64], v: usize) -> Vec<f64> {
    (0..v).map(|w| x.iter().enumerate().map(|(i, x)| x * u[i * v + w]).sum()).collect()
}

/// The sum of the losses by X and U.
fn loss(case: &Case, x: &[f64], u: &[f64]) -> f64 {
    let [_, d, v] = case.sizes;
    let rows = case.aims.iter().zip(x.chunks(d));
    let of = |(aims, x): (&Vec<u32>, &[f64])| {
        let z = logits(x, u, v);
        aims.iter().map(|&word| log_sum(&z) - z[word as usize]).sum::<f64>()
    };
    rows.map(of).sum()
}

/// Adds the gradients of the loss of a word to those of its input and of U.
fn add_gradient(x: &[f64], u: &[f64], word: usize, dx: &mut [f64], du: &mut [f64]) -> f64 {
    let v = u.len() / x.len();
    let z = logits(x, u, v);
    let sum = log_sum(&z);
    for w in 0..v {
        let g = (z[w] - sum).exp() - f64::from(u8::from(w == word));
        for i in 0..x.len() {
            dx[i] += g * u[i * v + w];
            du[i * v + w] += g * x[i];
        }
    }
    sum - z[word]
}

/// dX and dU.
fn gradients(case: &Case) -> [Vec<f64>; 2] {
    let [_, d, _] = case.sizes;
    let (mut dx, mut du) = (vec![0.0; case.x.len()], vec![0.0; case.u.len()]);
    for ((aims, x), dx) in case.aims.iter().zip(case.x.chunks(d)).zip(dx.chunks_mut(d)) {
        for &word in aims {
            add_gradient(x, &case.u, word as usize, dx, &mut du);
        }
    }
    [dx, du]
}

const SCALE: f32 = -0.5;

/// The loss, `SCALE` times dX, and U after the step.
fn run(case: &Case, isa: Isa, threads: usize, room: usize) -> (f64, Vec<f32>, Vec<f32>) {
    let [n, d, v] = case.sizes;
    let crew = Crew::new(threads, 1).unwrap();
    let mut exact = Exact::zeros(isa, threads, [d, v], room);
    let narrow = |row: &[f64], to: &mut [f32]| to.iter_mut().zip(row).for_each(|(to, x)| *to = *x as f32);
    exact.outputs.chunks_mut(padded(v)).zip(case.u.chunks(v)).for_each(|(to, row)| narrow(row, to));
    // As a part of the vectors has them: with zeros behind.
    let width = d.next_multiple_of(16);
    let mut x = Buffer::new(n * padded(width));
    x.chunks_mut(padded(width)).zip(case.x.chunks(d)).for_each(|(to, row)| narrow(row, to));
    let rows = case.aims.chunks(5).enumerate().map(|(i, rows)| {
        let mut group = Group::default();
        let aims = (0..).zip(rows).flat_map(|(input, words)| words.iter().map(move |&word| Aim { input, word }));
        group.aims = aims.collect();
        (group.first.inputs, group.sizes.inputs) = (5 * i, rows.len());
        group
    });
    let groups: Vec<Group> = rows.collect();
    let x = Mat::new(&x, n, width, padded(width));
    // Twice, the first time by nothing: what a step leaves behind does not reach the next.
    exact.train(&crew.team(), &groups, x, 0.0);
    let loss = exact.train(&crew.team(), &groups, x, SCALE);
    let dx = exact.errors(0..n, width);
    assert!((0..n).all(|r| dx.row(r)[d..].iter().all(|&x| x == 0.0)));
    let dx = (0..n).flat_map(|r| dx.row(r)[..d].to_vec()).collect();
    (loss, dx, exact.outputs.chunks(padded(v)).flat_map(|row| row[..v].to_vec()).collect())
}

#[track_caller]
fn assert_near(what: &str, got: &[f32], want: impl Iterator<Item = f64>) {
    for (i, (&got, want)) in got.iter().zip(want).enumerate() {
        let bound = 1e-5 * (1.0 + want.abs());
        assert!((f64::from(got) - want).abs() < bound, "{what}[{i}] is {got}, not {want}");
    }
}

#[test]
fn steps_are_the_reference_s() {
    for (i, sizes) in [[1, 1, 1], [3, 4, 2], [7, 5, 33], [30, 20, 130], [12, 33, 1025]].into_iter().enumerate() {
        let case = case(sizes, i as u64);
        let [dx, du] = gradients(&case);
        for isa in sets_under_test() {
            // All rows at once, some, and each alone.
            for room in [usize::MAX, 3 * padded(sizes[2]), 0] {
                let (sum, errors, outputs) = run(&case, isa, 1, room);
                let want = loss(&case, &case.x, &case.u);
                assert!((sum - want).abs() <= 1e-5 * (1.0 + want), "{isa}: a loss of {sum}, not {want}");
                assert_near(&format!("{isa} dX"), &errors, dx.iter().map(|g| f64::from(SCALE) * g));
                let changed = case.u.iter().zip(&du).map(|(u, g)| u + f64::from(SCALE) * g);
                assert_near(&format!("{isa} U"), &outputs, changed);
            }
        }
    }
}

#[test]
fn the_reference_s_gradients_are_those_of_its_loss() {
    let case = case([9, 3, 11], 8);
    let [dx, du] = gradients(&case);
    let moved = |values: &[f64], i: usize, by: f64| {
        let mut values = values.to_vec();
        values[i] += by;
        values
    };
    let h = 1e-5;
    for (i, claimed) in dx.iter().enumerate() {
        let [above, below] = [h, -h].map(|by| loss(&case, &moved(&case.x, i, by), &case.u));
        assert!(((above - below) / (2.0 * h) - claimed).abs() < 1e-8, "dX[{i}]");
    }
    for (i, claimed) in du.iter().enumerate() {
        let [above, below] = [h, -h].map(|by| loss(&case, &case.x, &moved(&case.u, i, by)));
        assert!(((above - below) / (2.0 * h) - claimed).abs() < 1e-8, "dU[{i}]");
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    let case = case([130, 40, 3000], 3);
    for isa in sets_under_test() {
        for room in [usize::MAX, 50 * padded(3000)] {
            let one = run(&case, isa, 1, room);
            for threads in [2, 5] {
                assert!(run(&case, isa, threads, room) == one, "{isa}: {threads} threads");
            }
        }
    }
}

/// A text whose words are not all as frequent.
fn text() -> String {
    let key = Key::new(2, Purpose::Source);
    let line = |i: u64| (0..7).map(|j| format!("w{}", key.below(8 * i + j, 5 + 3 * j))).collect::<Vec<_>>().join(" ");
    (0..60).map(|i| line(i) + "\n").collect::<String>() + "once\n"
}

/// A batch of a training against the sums over its words and their windows in f64, from vectors that have been trained before.
#[test]
fn a_batch_changes_vectors_by_the_gradients_of_all_its_predictions() {
    let options = TextOptions { level: Level::Word, ..TextOptions::default() };
    let (tokenizer, tokens) = MemoryTokens::from_text(&text(), &options).unwrap();
    let vocabulary = tokenizer.vocabulary();
    for (model, context) in [Model::Cbow, Model::SkipGram].into_iter().zip([Context::Both, Context::Previous]) {
        let options = TrainOptions {
            model,
            context,
            loss: Loss::Softmax,
            size: 20,
            window: 3,
            sample: 0.02,
            min_count: 2,
            learning_rate: 0.01,
            batch: 128,
            ..TrainOptions::default()
        };
        let d = options.size;
        // Batches of two groups, at a rate that would have shorter ones.
        let mut trainer = Trainer::new(&tokens, vocabulary, options).unwrap();
        trainer.options.learning_rate = 0.2;
        for _ in 0..4 {
            assert!(trainer.step().unwrap());
        }
        let v = trainer.words();
        assert!(v > 10 && v < vocabulary.len() - 1, "some words of the text have no vector");
        let vectors = |trainer: &Trainer<'_>| -> [Vec<f64>; 2] {
            let mut inputs = vec![0.0; v * d];
            inputs.chunks_mut(d).zip(0..).for_each(|(row, place)| row.copy_from_slice(trainer.parts[0].input(place)));
            let outputs = &trainer.exact.as_ref().unwrap().outputs;
            let outputs = outputs.chunks(padded(v)).flat_map(|row| &row[..v]).map(|&u| f64::from(u));
            [inputs.into_iter().map(f64::from).collect(), outputs.collect()]
        };
        let [x, u] = vectors(&trainer);
        let (mut dx, mut du, mut total, mut count) = (vec![0.0; x.len()], vec![0.0; u.len()], 0.0, 0);
        let (at, len) = (trainer.now.at, trainer.tokens.len());
        for i in 0..trainer.now.groups.len() {
            let mut sample = Sample::default();
            trainer.sampler.draw(&trainer.now.text, range(at, i, trainer.now.text.group, len), &mut sample);
            let own = &sample.words[sample.own.clone()];
            for (word, window) in own.iter().zip(&sample.windows) {
                let near: Vec<usize> = window.inputs().map(|n| sample.words[n] as usize).collect();
                let row = |n: usize| x[n * d..(n + 1) * d].to_vec();
                let groups: Vec<Vec<usize>> = match model {
                    Model::SkipGram => near.into_iter().map(|n| vec![n]).collect(),
                    Model::Cbow => Some(near).filter(|near| !near.is_empty()).into_iter().collect(),
                };
                for near in groups {
                    let mean = |i: usize| near.iter().map(|&n| row(n)[i]).sum::<f64>() / near.len() as f64;
                    let (h, mut dh) = ((0..d).map(mean).collect::<Vec<_>>(), vec![0.0; d]);
                    total += add_gradient(&h, &u, *word as usize, &mut dh, &mut du);
                    count += 1;
                    near.iter().for_each(|n| (0..d).for_each(|i| dx[n * d + i] += dh[i]));
                }
            }
        }
        assert!(count > 20, "{model}: {count} predictions");
        let (rate, tally) = (trainer.learning_rate(), trainer.tally);
        assert!(trainer.step().unwrap());
        let told = trainer.tally;
        assert_eq!(told.1 - tally.1, count, "{model}: predictions");
        assert!((told.0 - tally.0 - total).abs() < 1e-5 * total, "{model}: the loss");
        for (got, (old, gradient)) in vectors(&trainer).into_iter().zip([(x, dx), (u, du)]) {
            let largest = gradient.iter().fold(0.0, |most: f64, g| most.max(g.abs()));
            assert!(largest > 0.1, "{model}: the gradients are {largest} at most");
            for (i, got) in got.into_iter().enumerate() {
                let want = old[i] - rate * gradient[i];
                assert!(
                    (got - want).abs() < 1e-5 * rate * largest + 1e-6 * want.abs(),
                    "{model} [{i}]: {got}, not {want}"
                );
            }
        }
    }
}
