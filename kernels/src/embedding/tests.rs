use super::reference as meaning;
use super::*;
use crate::check::{self, Claim, Framed, assert_close, narrow, numbers, on_every_set, wide};
use crate::isa::sets_under_test;
use proptest::prelude::*;

/// Widths around the vectors' and the blocks' lengths.
const WIDTHS: [usize; 12] = [1, 7, 8, 9, 15, 16, 17, 63, 64, 65, 129, 200];

/// `r` tokens below `v`, many of them repeated.
fn some_tokens(r: usize, v: usize, seed: u64) -> Vec<u32> {
    numbers(r, seed).iter().map(|x| ((x * x * x).abs() * v as f64) as u32).collect()
}

fn distinct(tokens: &[u32], v: usize) -> Distinct {
    let mut distinct = Distinct::default();
    distinct.build(tokens, v);
    distinct
}

#[test]
fn look_ups_are_exact_and_stay_in_their_rows() {
    for (i, d) in WIDTHS.into_iter().enumerate() {
        let (r, v) = (2 * i + 1, i + 2);
        let tokens = some_tokens(r, v, i as u64);
        let (kernel, bias) = (narrow(&numbers(v * d, 1)), narrow(&numbers(d, 2)));
        let table = Framed::new(v, d, &kernel);
        let want = |bias: &[f32]| -> Vec<f32> {
            tokens
                .iter()
                .flat_map(|&t| (0..d).map(move |c| (t as usize, c)))
                .map(|(t, c)| kernel[t * d + c] + bias[c])
                .collect()
        };
        let mut out = Framed::new(r, d, &vec![9.0; r * d]);
        gather(table.mat(), &tokens, out.mat_mut());
        assert_eq!(out.values(), want(&vec![0.0; d]));
        for isa in sets_under_test() {
            for b in [None, Some(&bias[..])] {
                let mut out = Framed::new(r, d, &vec![9.0; r * d]);
                project_one_hot(isa, table.mat(), b, &tokens, out.mat_mut());
                assert_eq!(out.values(), want(b.unwrap_or(&vec![0.0; d])), "{isa}, width {d}");
            }
        }
    }
}

#[test]
fn sums_follow_the_reference_on_every_set() {
    for (i, d) in WIDTHS.into_iter().enumerate() {
        for (r, v) in [(1, 1), (5 * i + 1, 3), (40, 1000), (300, 17)] {
            let tokens = some_tokens(r, v, i as u64);
            let distinct = distinct(&tokens, v);
            let u = distinct.tokens().len();
            let x = narrow(&numbers(r * d, 3));
            let start = narrow(&numbers(v * d, 4));
            let magnitude: Vec<f64> = wide(&x).iter().map(|x| x.abs()).collect();
            let magnitude = meaning::project_one_hot_backward(&magnitude, &tokens, v, d);
            let summed = meaning::project_one_hot_backward(&wide(&x), &tokens, v, d);
            let count = |v: usize| tokens.iter().filter(|&&t| t as usize == v).count() as f64;
            let dout = Framed::new(r, d, &x);

            let rows = on_every_set("sum_by_token", |isa| {
                let mut out = Framed::new(u, d, &vec![f32::NAN; u * d]);
                sum_by_token(isa, dout.mat(), &distinct, out.mat_mut());
                out.values()
            });
            let want: Vec<f64> =
                distinct.tokens().iter().flat_map(|&t| summed[t as usize * d..][..d].to_vec()).collect();
            let entry = |i: usize| distinct.tokens()[i / d] as usize * d + i % d;
            for (isa, got) in &rows {
                let bound = |i| count(entry(i) / d) * 2f64.powi(-24) * magnitude[entry(i)];
                assert_close(&format!("{isa} sum_by_token"), got, &want, bound);
            }

            let full = on_every_set("project_one_hot_backward", |isa| {
                let mut dkernel = Framed::new(v, d, &start);
                project_one_hot_backward(isa, dout.mat(), &distinct, dkernel.mat_mut());
                dkernel.values()
            });
            let want: Vec<f64> = summed.iter().zip(&start).map(|(a, &b)| a + f64::from(b)).collect();
            for (isa, got) in full {
                let bound =
                    |i: usize| (count(i / d) + 1.0) * 2f64.powi(-24) * (magnitude[i] + f64::from(start[i]).abs());
                assert_close(&format!("{isa} project_one_hot_backward"), &got, &want, bound);
            }

            let added = on_every_set("add_rows", |isa| {
                let mut table = Framed::new(v, d, &start);
                let sums = Framed::new(u, d, &rows[0].1);
                add_rows(isa, sums.mat(), distinct.tokens(), table.mat_mut());
                table.values()
            });
            for (isa, got) in added {
                let mut want = start.clone();
                for (i, x) in rows[0].1.iter().enumerate() {
                    want[entry(i)] += x;
                }
                assert_eq!(got, want, "{isa} add_rows");
            }
        }
    }
}

#[test]
fn sums_of_integers_are_exact_and_columns_can_be_split() {
    let (r, v, d) = (500, 11, 70);
    let tokens = some_tokens(r, v, 5);
    let distinct = distinct(&tokens, v);
    let x: Vec<f32> = (0..r * d).map(|i| (i * 31 % 17) as f32 - 8.0).collect();
    let want = narrow(&meaning::project_one_hot_backward(&wide(&x), &tokens, v, d));
    let dout = Framed::new(r, d, &x);
    for isa in sets_under_test() {
        for cut in [0, 1, 16, 33, 70] {
            let mut dkernel = Framed::new(v, d, &vec![0.0; v * d]);
            let (left, right) = dkernel.mat_mut().split_cols_at(cut);
            project_one_hot_backward(isa, dout.mat().cols_range(0..cut), &distinct, left);
            project_one_hot_backward(isa, dout.mat().cols_range(cut..d), &distinct, right);
            assert_eq!(dkernel.values(), want, "{isa}, cut at {cut}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn distinct_takes_any_list_apart(lists in prop::collection::vec((prop::collection::vec(0u32..50, 0..90), 50usize..60), 1..5)) {
        let mut d = Distinct::default();
        for (tokens, v) in lists {
            d.build(&tokens, v);
            let mut sorted = tokens.clone();
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(d.tokens(), &sorted[..]);
            prop_assert_eq!(d.index().iter().map(|&u| d.tokens()[u as usize]).collect::<Vec<_>>(), tokens.clone());
            for (u, &token) in d.tokens().iter().enumerate() {
                let at: Vec<u32> = (0..tokens.len() as u32).filter(|&r| tokens[r as usize] == token).collect();
                prop_assert_eq!(d.positions(u), &at[..]);
            }
            prop_assert_eq!(d.vocabulary(), v);
        }
    }

    #[test]
    fn the_reference_gradient_is_the_central_difference(r in 1usize..7, v in 2usize..6, d in 1usize..5, seed: u64) {
        let tokens = some_tokens(r, v, seed);
        let (kernel, bias, dout) = (numbers(v * d, seed ^ 1), numbers(d, seed ^ 2), numbers(r * d, seed ^ 3));
        let claimed = meaning::project_one_hot_backward(&dout, &tokens, v, d);
        let claim = Claim { name: "kernel", at: &kernel, gradient: &claimed };
        let result = check::gradient(claim, 1e-7, |k| check::dot(&dout, &meaning::project_one_hot(k, &bias, &tokens)));
        prop_assert!(result.is_ok(), "{:?}", result);
    }
}

#[test]
fn faults_in_the_gradient_are_caught() {
    let (r, v, d) = (23, 5, 19);
    let tokens = some_tokens(r, v, 8);
    let (kernel, bias, dout) = (numbers(v * d, 9), vec![0.0; d], wide(&narrow(&numbers(r * d, 10))));
    let truth = meaning::project_one_hot_backward(&dout, &tokens, v, d);
    let accepted = |g: &[f64]| {
        let loss = |k: &[f64]| check::dot(&dout, &meaning::project_one_hot(k, &bias, &tokens));
        check::gradient(Claim { name: "kernel", at: &kernel, gradient: g }, 1e-7, loss).is_ok()
    };
    check::assert_faults_caught("one-hot projection, reference", &truth, accepted);
    let (distinct, framed) = (distinct(&tokens, v), Framed::new(r, d, &narrow(&dout)));
    for isa in sets_under_test() {
        let mut dkernel = Framed::new(v, d, &vec![0.0; v * d]);
        project_one_hot_backward(isa, framed.mat(), &distinct, dkernel.mat_mut());
        let bound = |_| r as f64 * 2f64.powi(-24) * r as f64;
        let accepted = |g: &[f64]| check::close("dkernel", &narrow(g), &truth, bound).is_ok();
        check::assert_faults_caught("one-hot projection", &wide(&dkernel.values()), accepted);
    }
}

#[test]
#[should_panic(expected = "token 7 at position 1, but the vocabulary has 7")]
fn a_token_outside_the_vocabulary_is_refused() {
    let table = vec![0.0; 14];
    let mut out = vec![0.0; 4];
    gather(Mat::dense(&table, 7, 2), &[6, 7], MatMut::dense(&mut out, 2, 2));
}

#[test]
#[should_panic(expected = "token 4294967295 at position 0, but the vocabulary has 3")]
fn distinct_refuses_a_token_outside_the_vocabulary() {
    distinct(&[u32::MAX], 3);
}
