//! The products of word vectors and their gradients, means of windows and what is spread over them, rows that are
//! copied and added to, against plain loops.

use super::input::{Input, cut_at};
use super::{Probe, TINY, U, Wanted};
use crate::Isa;
use crate::check::{Framed, on_every_set, wide};
use crate::mat::{Mat, MatMut};
use crate::skipgram::{self, Gather, Gradients, Means, Room, RowGradients, Slopes, Spread, Window, reference};

/// Vectors, which of them belong together, and where a thread's columns end.
struct Case {
    /// N, S and D.
    sizes: [usize; 3],
    cut: usize,
    x: Vec<f32>,
    y: Vec<f32>,
    dx: Vec<f32>,
    windows: Vec<Window>,
}

/// An input and an output that are compared, with label and weight.
type Pair = (usize, usize, f32, f32);

/// Reads inputs, outputs and their windows, and compares every operation on them.
pub(super) fn run(data: &[u8], probe: Probe<'_>) {
    let mut input = Input::new(data);
    let [n, s, d] = [input.size(50), input.up_to(40), input.size(70)];
    let cut = cut_at(input.byte(), d, 1);
    let scale = input.pick([1.0, 0.3, 1e-10]);
    let [x, y, dx] = [n, s, n].map(|rows| input.values(rows * d, scale));
    let windows = (0..s).map(|_| window(&mut input, n)).collect();
    let case = Case { sizes: [n, s, d], cut, x, y, dx, windows };
    shared(&case, &mut input, probe);
    pairs(&case, probe);
    rows(&case, probe);
    means_and_spread(&case, &mut input, probe);
    copies(&case, &mut input, probe);
}

/// Up to five inputs before a place and as many behind it, which is that of one input or of none.
fn window(input: &mut Input<'_>, n: usize) -> Window {
    let own = input.up_to(n as u8);
    let after = own + input.up_to(1).min(n - own);
    let [first, end] = [own - input.up_to(5).min(own), after + input.up_to(5).min(n - after)];
    let [first, own, after, end] = [first, own, after, end].map(|i| i as u32);
    Window { first, own, after, end }
}

impl Case {
    /// What the result of a kernel is compared with, dX, dY and the loss, within the bounds of the module's documentation. Twice
    /// these, for terms of second order and where no set fuses.
    fn wanted(&self, want: &reference::Gradients, list: &[Pair]) -> Wanted {
        let ([n, s, d], x, y) = (self.sizes, wide(&self.x), wide(&self.y));
        let (mut terms_x, mut terms_y) = (vec![1.0; n], vec![0.0; s]);
        list.iter().for_each(|&(n, m, ..)| (terms_x[n], terms_y[m]) = (terms_x[n] + 1.0, terms_y[m] + 1.0));
        let before = wide(&self.dx);
        let (mut dx, mut dy, mut total) = (vec![0.0; n * d], vec![0.0; s * d], 0.0);
        for (i, bound) in dx.iter_mut().enumerate() {
            *bound = terms_x[i / d] * before[i].abs();
        }
        for &(n, m, _, w) in list {
            let (x, y, w) = (&x[n * d..][..d], &y[m * d..][..d], f64::from(w));
            let z: f64 = x.iter().zip(y).map(|(x, y)| (x * y).abs()).sum();
            let slope = w * (d as f64 * z + 4.0);
            for i in 0..d {
                dx[n * d + i] += y[i].abs() * (slope + w * terms_x[n]);
                dy[m * d + i] += x[i].abs() * (slope + w * terms_y[m]);
            }
            total += slope + w * (z + 4.0) * (list.len() as f64 / 16.0 + 9.0);
        }
        let mut wanted = Wanted::default();
        let push = |(value, bound): (f64, f64)| wanted.push(value, 2.0 * U * bound + TINY);
        let inputs = before.iter().zip(&want.dinputs).map(|(before, change)| before + change);
        let values = inputs.chain(want.doutputs.iter().copied()).chain([want.loss]);
        values.zip(dx.into_iter().chain(dy).chain([total])).for_each(push);
        wanted
    }

    /// dX, dY and the loss on every set: `products` makes logits of some columns, `change` gradients of slopes.
    fn on_every_set(
        &self,
        what: &str,
        list: &[Pair],
        products: impl Fn(Isa, [Mat<'_>; 2], &mut [f32]),
        change: impl Fn(Isa, &[f32], Gradients<'_>),
    ) -> Vec<(Isa, Vec<f32>)> {
        let [n, s, d] = self.sizes;
        let (labels, weights): (Vec<f32>, Vec<f32>) = list.iter().map(|&(.., label, weight)| (label, weight)).unzip();
        let (x, y) = (Framed::new(n, d, &self.x), Framed::new(s, d, &self.y));
        on_every_set(what, |isa| {
            let mut logits = Framed::new(2, list.len(), &vec![f32::NAN; 2 * list.len()]);
            for (block, cols) in [0..self.cut, self.cut..d].into_iter().enumerate() {
                let part = [x.mat().cols_range(cols.clone()), y.mat().cols_range(cols)];
                products(isa, part, logits.mat_mut().row_mut(block));
            }
            let mut slopes = vec![f32::NAN; list.len()];
            let (logits, labels, weights) = (logits.mat(), &labels[..], &weights[..]);
            let args = Slopes { logits, weights, labels, scale: 1.0, loss: true, slopes: &mut slopes };
            let loss = skipgram::slopes(isa, args) as f32;
            let mut dinputs = Framed::new(n, d, &self.dx);
            let mut doutputs = Framed::new(s, d, &vec![f32::NAN; s * d]);
            let (inputs, outputs) = (x.mat(), y.mat());
            let args = Gradients { inputs, outputs, dinputs: dinputs.mat_mut(), doutputs: doutputs.mat_mut() };
            change(isa, &slopes, args);
            [dinputs.values(), doutputs.values(), vec![loss]].concat()
        })
    }
}

/// Every input with every output.
fn shared(case: &Case, input: &mut Input<'_>, probe: Probe<'_>) {
    let [n, s, d] = case.sizes;
    let labels: Vec<f32> = (0..s).map(|_| f32::from(u8::from(input.flag()))).collect();
    let weights: Vec<f32> = input.values(n * s, 4.0).iter().map(|w| w.abs().floor()).collect();
    let list: Vec<Pair> = (0..n * s).map(|i| (i / s, i % s, labels[i % s], weights[i])).collect();
    let want = reference::shared(&wide(&case.x), &wide(&case.y), d, &wide(&weights), &wide(&labels));
    let products = |isa: Isa, [x, y]: [Mat<'_>; 2], to: &mut [f32]| {
        skipgram::products(isa, x, y, MatMut::dense(to, n, s), &mut Room::default());
    };
    let change =
        |isa: Isa, slopes: &[f32], args: Gradients<'_>| skipgram::gradients(isa, Mat::dense(slopes, n, s), true, args);
    let results = case.on_every_set("shared outputs", &list, products, change);
    case.wanted(&want, &list).compare("shared outputs", results, probe);
}

/// Each output with the inputs of its window.
fn pairs(case: &Case, probe: Probe<'_>) {
    let windows = &case.windows[..];
    let list: Vec<Pair> =
        windows.iter().enumerate().flat_map(|(m, w)| w.inputs().map(move |n| (n, m, 1.0, 1.0))).collect();
    let want = reference::pairs(&wide(&case.x), &wide(&case.y), case.sizes[2], windows);
    let products = |isa: Isa, [x, y]: [Mat<'_>; 2], to: &mut [f32]| skipgram::pair_products(isa, x, y, windows, to);
    let change = |isa: Isa, slopes: &[f32], args: Gradients<'_>| skipgram::pair_gradients(isa, slopes, windows, args);
    let results = case.on_every_set("pairs", &list, products, change);
    case.wanted(&want, &list).compare("pairs", results, probe);
}

/// Inputs with the outputs of the same number, whose gradients go to the rows of a table.
fn rows(case: &Case, probe: Probe<'_>) {
    let [n, s, d] = case.sizes;
    let count = n.min(s);
    let list: Vec<Pair> = (0..count).map(|i| (i, i, 1.0, 1.0)).collect();
    let alone = |i: u32| Window { first: i, own: i + 1, after: i + 1, end: i + 1 };
    let windows: Vec<Window> = (0..count as u32).map(alone).collect();
    let mut want = reference::pairs(&wide(&case.x), &wide(&case.y[..count * d]), d, &windows);
    want.doutputs.resize(s * d, 0.0);
    let products = |isa: Isa, rows: [Mat<'_>; 2], to: &mut [f32]| {
        let [inputs, outputs] = rows.map(|rows| rows.rows_range(0..count));
        skipgram::row_products(isa, inputs, outputs, to);
    };
    let change = |isa: Isa, slopes: &[f32], args: Gradients<'_>| {
        let Gradients { inputs, outputs, mut dinputs, doutputs: mut table } = args;
        (0..s).for_each(|r| table.row_mut(r).fill(0.0));
        let [inputs, outputs] = [inputs, outputs].map(|rows| rows.rows_range(0..count));
        let (dinputs, rows) = (dinputs.reborrow().rows_range(0..count), &(0..count as u32).collect::<Vec<_>>()[..]);
        skipgram::row_gradients(isa, RowGradients { inputs, outputs, slopes, dinputs, rows, table });
    };
    let results = case.on_every_set("rows", &list, products, change);
    case.wanted(&want, &list).compare("rows", results, probe);
}

fn means_and_spread(case: &Case, input: &mut Input<'_>, probe: Probe<'_>) {
    let ([n, s, d], windows) = (case.sizes, &case.windows[..]);
    let rows = input.tokens(n, n);
    let (table, errors) = (Framed::new(n, d, &case.x), Framed::new(s, d, &case.y));
    let sums = || Framed::new(n + 1, d, &vec![f32::NAN; (n + 1) * d]);
    let results = on_every_set("means", |isa| {
        let (mut sums, mut means) = (sums(), Framed::new(s, d, &vec![f32::NAN; s * d]));
        let (table, ahead, sums, to) = (table.mat(), &rows[..n / 2], sums.mat_mut(), means.mat_mut());
        skipgram::means(isa, Means { table, rows: &rows, ahead, windows, sums, means: to });
        means.values()
    });
    let x: Vec<f64> = rows.iter().flat_map(|&r| wide(&case.x[r as usize * d..][..d])).collect();
    let values = reference::means(&x, d, windows);
    let all = |c: usize| (0..n).map(|r| x[r * d + c].abs()).sum::<f64>();
    let share = |m: usize| 2.0 * (n + 4) as f64 * U / windows[m].count().max(1) as f64;
    let bounds = (0..s * d).map(|i| share(i / d) * all(i % d) + TINY).collect();
    Wanted { values, bounds }.compare("means", results, probe);
    let results = on_every_set("spread", |isa| {
        let (mut sums, mut table) = (sums(), Framed::new(n, d, &case.dx));
        let (sums, to) = (sums.mat_mut(), table.mat_mut());
        skipgram::spread(isa, Spread { errors: errors.mat(), windows, rows: &rows, sums, table: to });
        table.values()
    });
    let (mut values, changes) = (wide(&case.dx), reference::spread(&wide(&case.y), d, windows, n));
    let mut largest: Vec<f64> = values.iter().map(|x| x.abs()).collect();
    for (i, &r) in rows.iter().enumerate() {
        for c in 0..d {
            values[r as usize * d + c] += changes[i * d + c];
            largest[r as usize * d + c] += (0..s).map(|m| 4.0 * f64::from(case.y[m * d + c].abs())).sum::<f64>();
        }
    }
    let bounds = largest.iter().map(|x| U * (4 * s + 2 * n + 2) as f64 * x + TINY).collect();
    Wanted { values, bounds }.compare("spread", results, probe);
}

/// Rows of a table that are copied, and such that others are added to.
fn copies(case: &Case, input: &mut Input<'_>, probe: Probe<'_>) {
    let [n, s, d] = case.sizes;
    let rows = input.tokens(s, n);
    let (table, changes) = (Framed::new(n, d, &case.x), Framed::new(s, d, &case.y));
    let results = on_every_set("gather", |isa| {
        let mut to = Framed::new(s, d, &vec![f32::NAN; s * d]);
        skipgram::gather(isa, Gather { table: table.mat(), rows: &rows, ahead: &rows[..s / 2], to: to.mat_mut() });
        to.values()
    });
    let values: Vec<f64> = rows.iter().flat_map(|&r| wide(&case.x[r as usize * d..][..d])).collect();
    let bounds = vec![0.0; s * d];
    Wanted { values, bounds }.compare("gather", results, probe);
    let results = on_every_set("add rows", |isa| {
        let mut table = Framed::new(n, d, &case.dx);
        skipgram::add_rows(isa, changes.mat(), &rows, table.mat_mut());
        table.values()
    });
    // The same sums in the same order, exactly.
    let mut sums = case.dx.clone();
    for (i, &r) in rows.iter().enumerate() {
        (0..d).for_each(|c| sums[r as usize * d + c] += case.y[i * d + c]);
    }
    Wanted { values: wide(&sums), bounds: vec![0.0; n * d] }.compare("add rows", results, probe);
}
