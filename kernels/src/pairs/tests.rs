use super::reference as meaning;
use super::*;
use crate::check::{self, Claim, Framed, assert_close, narrow, numbers, on_every_set, wide};
use proptest::prelude::*;

/// Widths around the vectors' and the blocks' lengths.
const WIDTHS: [usize; 12] = [1, 7, 8, 15, 16, 17, 63, 64, 65, 129, 200, 321];

/// `n` rows below `count`.
fn rows(n: usize, count: usize, seed: u64) -> Vec<u32> {
    numbers(n, seed).iter().map(|x| (x.abs() * count as f64) as u32).collect()
}

/// Ascending starts of `groups` groups in `entries` entries, some of them empty.
fn starts(groups: usize, entries: usize, seed: u64) -> Vec<u32> {
    let mut starts = rows(groups + 1, entries + 1, seed);
    starts.sort_unstable();
    (starts[0], starts[groups]) = (0, entries as u32);
    starts
}

#[test]
fn products_follow_the_reference_and_are_equal_on_every_set() {
    for (i, d) in WIDTHS.into_iter().enumerate() {
        let (m, n, p) = (i + 1, 2 * i + 3, 3 * i + 1);
        let (a, b) = (narrow(&numbers(m * d, 1)), narrow(&numbers(n * d, 2)));
        let (left, right) = (rows(p, m, 3), rows(p, n, 4));
        let (fa, fb) = (Framed::new(m, d, &a), Framed::new(n, d, &b));
        let want = meaning::dots(&wide(&a), &wide(&b), d, &left, &right);
        let magnitudes = |x: &[f32]| wide(x).iter().map(|x| x.abs()).collect::<Vec<_>>();
        let sizes = meaning::dots(&magnitudes(&a), &magnitudes(&b), d, &left, &right);
        let results = on_every_set("dots", |isa| {
            let mut out = vec![f32::NAN; p];
            dots(isa, fa.mat(), fb.mat(), Pairs { left: &left, right: &right }, &mut out);
            out
        });
        for (isa, got) in results {
            let bound = |p: usize| (d as f64 / 32.0 + 8.0) * 2f64.powi(-24) * sizes[p];
            assert_close(&format!("{isa} dots, width {d}"), &got, &want, bound);
        }
    }
}

#[test]
fn weighted_sums_follow_the_reference_and_are_equal_on_every_set() {
    for (i, d) in WIDTHS.into_iter().enumerate() {
        let (m, groups, entries) = (i + 2, 2 * i + 1, 7 * i);
        let (x, start) = (narrow(&numbers(m * d, 5)), narrow(&numbers(groups * d, 6)));
        let (sources, weights) = (rows(entries, m, 7), narrow(&numbers(entries, 8)));
        let starts = starts(groups, entries, 9);
        let framed = Framed::new(m, d, &x);
        let sum = |x: &[f64], weights: &[f64], y: &[f64]| {
            let mut y = y.to_vec();
            meaning::add_weighted(x, d, (&starts, &sources, weights), &mut y);
            y
        };
        let want = sum(&wide(&x), &wide(&weights), &wide(&start));
        let magnitudes = |x: &[f32]| wide(x).iter().map(|x| x.abs()).collect::<Vec<_>>();
        let sizes = sum(&magnitudes(&x), &magnitudes(&weights), &magnitudes(&start));
        let results = on_every_set("add_weighted", |isa| {
            let mut out = Framed::new(groups, d, &start);
            let weighted = Weighted { starts: &starts, sources: &sources, weights: &weights };
            add_weighted(isa, framed.mat(), weighted, out.mat_mut());
            out.values()
        });
        for (isa, got) in results {
            let count = |i: usize| f64::from(starts[i / d + 1] - starts[i / d]);
            assert_close(&format!("{isa}, width {d}"), &got, &want, |i| 2.0 * count(i) * 2f64.powi(-24) * sizes[i]);
        }
    }
}

#[test]
fn groups_can_be_split() {
    let (m, d, entries, groups) = (9, 33, 40, 8);
    let (x, sources, weights) = (narrow(&numbers(m * d, 1)), rows(entries, m, 2), narrow(&numbers(entries, 3)));
    let starts = starts(groups, entries, 4);
    let x = Framed::new(m, d, &x);
    let run = |cut: usize| {
        let mut out = Framed::new(groups, d, &vec![1.0; groups * d]);
        for part in [0..cut, cut..groups] {
            let starts = &starts[part.start..=part.end];
            let weighted = Weighted { starts, sources: &sources, weights: &weights };
            add_weighted(Isa::best(), x.mat(), weighted, out.mat_mut().rows_range(part));
        }
        out.values()
    };
    (1..=groups).for_each(|cut| assert_eq!(run(cut), run(0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn weighted_sums_are_the_gradient_of_the_products(m in 1usize..5, n in 1usize..5, p in 0usize..9, d in 1usize..5, seed: u64) {
        let (a, b, dz) = (numbers(m * d, seed), numbers(n * d, seed ^ 1), numbers(p, seed ^ 2));
        let (left, right) = (rows(p, m, seed ^ 3), rows(p, n, seed ^ 4));
        let mut distinct = crate::embedding::Distinct::default();
        // Groups of pairs by the rows of A.
        distinct.build(&left, m);
        let order: Vec<u32> = (0..distinct.tokens().len()).flat_map(|u| distinct.positions(u).to_vec()).collect();
        let sources: Vec<u32> = order.iter().map(|&p| right[p as usize]).collect();
        let weights: Vec<f64> = order.iter().map(|&p| dz[p as usize]).collect();
        let mut starts = vec![0];
        for row in 0..m as u32 {
            starts.push(starts[row as usize] + left.iter().filter(|&&l| l == row).count() as u32);
        }
        let mut claimed = vec![0.0; m * d];
        meaning::add_weighted(&b, d, (&starts, &sources, &weights), &mut claimed);
        let claim = Claim { name: "a", at: &a, gradient: &claimed };
        let result = check::gradient(claim, 1e-7, |a| check::dot(&dz, &meaning::dots(a, &b, d, &left, &right)));
        prop_assert!(result.is_ok(), "{:?}", result);
    }
}

#[test]
#[should_panic(expected = "row 2 at position 1, but there are 2")]
fn a_row_that_is_not_there_is_refused() {
    let x = [0.0; 4];
    let mut out = [0.0; 2];
    let pairs = Pairs { left: &[0, 1], right: &[1, 2] };
    dots(Isa::best(), Mat::dense(&x, 2, 2), Mat::dense(&x, 2, 2), pairs, &mut out);
}
