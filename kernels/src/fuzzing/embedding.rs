//! Look-ups and the sums of their gradients against the one-hot product.

use super::input::Input;
use super::{Probe, TINY, U, Wanted};
use crate::check::{Framed, bits, on_every_set, wide};
use crate::embedding::{
    Distinct, add_rows, gather, project_one_hot, project_one_hot_backward, reference, sum_by_token,
};

/// Reads a list of tokens and a table, and compares every operation on them.
pub(super) fn run(data: &[u8], probe: Probe<'_>) {
    let mut input = Input::new(data);
    let (positions, v, d) = (input.up_to(120), input.size(90), input.size(70));
    let tokens = input.tokens(positions, v);
    let table = input.values(v * d, 1.0);
    let bias = input.values(d, 1.0);
    look_up(&tokens, &table, &bias, probe);
    let scale = input.pick([1.0, 1e-30, 1e30]);
    let dout = input.values(positions * d, scale);
    let start = input.values(v * d, scale);
    gradient(&tokens, &dout, &start, [v, d], probe);
}

fn look_up(tokens: &[u32], table: &[f32], bias: &[f32], probe: Probe<'_>) {
    let (positions, d) = (tokens.len(), bias.len());
    let v = table.len() / d;
    let kernel = Framed::new(v, d, table);
    let nothing = vec![f32::NAN; positions * d];
    let results = on_every_set("project_one_hot", |isa| {
        let mut out = Framed::new(positions, d, &nothing);
        project_one_hot(isa, kernel.mat(), Some(bias), tokens, out.mat_mut());
        out.values()
    });
    let values = reference::project_one_hot(&wide(table), &wide(bias), tokens);
    let bounds = values.iter().map(|y| U * y.abs() + TINY).collect();
    Wanted { values, bounds }.compare("look-up with a bias", results, probe);
    let results = on_every_set("gather", |isa| {
        let mut out = Framed::new(positions, d, &nothing);
        gather(kernel.mat(), tokens, out.mat_mut());
        let mut same = Framed::new(positions, d, &nothing);
        project_one_hot(isa, kernel.mat(), None, tokens, same.mat_mut());
        assert_eq!(bits(&out.values()), bits(&same.values()), "{isa}: a projection without bias is a look-up");
        out.values()
    });
    let values = reference::project_one_hot(&wide(table), &vec![0.0; d], tokens);
    let bounds = vec![0.0; values.len()];
    Wanted { values, bounds }.compare("look-up", results, probe);
}

fn gradient(tokens: &[u32], dout: &[f32], start: &[f32], [v, d]: [usize; 2], probe: Probe<'_>) {
    let mut distinct = Distinct::default();
    distinct.build(tokens, v);
    check_distinct(&distinct, tokens);
    let u = distinct.tokens().len();
    let framed = Framed::new(tokens.len(), d, dout);
    let results = on_every_set("sums by token", |isa| {
        let mut sums = Framed::new(u, d, &vec![f32::NAN; u * d]);
        sum_by_token(isa, framed.mat(), &distinct, sums.mat_mut());
        let mut table = Framed::new(v, d, start);
        add_rows(isa, sums.mat(), distinct.tokens(), table.mat_mut());
        let mut kernel = Framed::new(v, d, start);
        project_one_hot_backward(isa, framed.mat(), &distinct, kernel.mat_mut());
        [sums.values(), table.values(), kernel.values()].concat()
    });
    let added = reference::project_one_hot_backward(&wide(dout), tokens, v, d);
    let sizes: Vec<f64> = wide(dout).into_iter().map(f64::abs).collect();
    let sizes = reference::project_one_hot_backward(&sizes, tokens, v, d);
    let (mut sums, mut table) = (Wanted::default(), Wanted::default());
    // A sum of n rows: |error| <= n u sum |x|; one more where it is added to the table.
    let terms = |token: usize| tokens.iter().filter(|&&t| t as usize == token).count() as f64 + 1.0;
    for &token in distinct.tokens() {
        for at in token as usize * d..(token as usize + 1) * d {
            sums.push(added[at], terms(token as usize) * U * sizes[at]);
        }
    }
    for at in 0..v * d {
        let before = f64::from(start[at]);
        let touched = if tokens.contains(&((at / d) as u32)) { 1.0 } else { 0.0 };
        table.push(before + added[at], touched * terms(at / d) * U * (before.abs() + sizes[at]));
    }
    let again = Wanted { values: table.values.clone(), bounds: table.bounds.clone() };
    Wanted::concat([sums, table, again]).compare("sums by token", results, probe);
}

/// The distinct tokens, against their definition.
fn check_distinct(distinct: &Distinct, tokens: &[u32]) {
    let mut want = tokens.to_vec();
    want.sort_unstable();
    want.dedup();
    assert_eq!(distinct.tokens(), want, "the distinct tokens");
    let back: Vec<u32> = distinct.index().iter().map(|&u| distinct.tokens()[u as usize]).collect();
    assert_eq!(back, tokens, "the index of each position");
    for (u, &token) in want.iter().enumerate() {
        let positions = tokens.iter().enumerate().filter(|&(_, &t)| t == token).map(|(r, _)| r as u32);
        assert_eq!(distinct.positions(u), positions.collect::<Vec<_>>(), "the positions of token {token}");
    }
}
