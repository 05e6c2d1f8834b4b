//! Sharing samples out: by class, equal texts together, the same way every time.

use std::collections::HashMap;

use crate::random::{Key, Purpose};

/// What a sample is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Training.
    Train,
    /// Choosing the best weights and the threshold.
    Valid,
    /// The figures at the end.
    Test,
}

/// How samples are shared out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SplitOptions {
    /// The share that validates.
    pub valid: f64,
    /// The share that tests; has no part where there are folds.
    pub test: f64,
    /// Parts, of which one tests; 0: none.
    pub folds: usize,
    /// Which, from 0.
    pub fold: usize,
    /// Decides who goes where.
    pub seed: u64,
}

/// The part of each sample, from a key that equal texts share, and its class.
///
/// Samples of one key go together, with the class of their first. The groups of a class are put in a random order; each then
/// goes to the fold that lacks most of its class, or, without folds, to the test until that has its share. The validation's
/// share is taken from what is left in the same way. Every class is thus shared out as the whole is, up to the size of a group.
pub fn share_out(keys: &[String], classes: &[u32], options: &SplitOptions) -> Vec<Part> {
    let groups = groups(keys, classes);
    let random = Key::new(options.seed, Purpose::Shuffle).layer(1);
    let mut parts = vec![Part::Train; keys.len()];
    for class in 0..=classes.iter().copied().max().unwrap_or(0) {
        let mut own: Vec<&Vec<usize>> = groups.iter().filter(|group| classes[group[0]] == class).collect();
        for i in (1..own.len()).rev() {
            own.swap(i, random.step(u64::from(class)).below(i as u64, i as u64 + 1) as usize);
        }
        let size: usize = own.iter().map(|group| group.len()).sum();
        let mut filled = vec![0; options.folds.max(1)];
        let (mut test, mut valid) = (0, 0);
        let mut rest = Vec::new();
        for group in own {
            let tests = if options.folds > 0 {
                // Classes begin at different folds, so that what does not divide evenly does not pile up in the first.
                let begin = class as usize % options.folds;
                let order = (0..options.folds).map(|i| (begin + i) % options.folds);
                let fold = order.min_by_key(|&fold| filled[fold]).unwrap_or(0);
                filled[fold] += group.len();
                fold == options.fold
            } else {
                fits(test, group.len(), options.test, size)
            };
            if tests {
                test += group.len();
                group.iter().for_each(|&sample| parts[sample] = Part::Test);
            } else {
                rest.push(group);
            }
        }
        let left: usize = rest.iter().map(|group| group.len()).sum();
        for group in rest {
            if fits(valid, group.len(), options.valid, left) {
                valid += group.len();
                group.iter().for_each(|&sample| parts[sample] = Part::Valid);
            }
        }
    }
    parts
}

/// Whether a share of `of` samples that has `have` comes nearer to its size by so many more.
fn fits(have: usize, more: usize, share: f64, of: usize) -> bool {
    have as f64 + more as f64 / 2.0 <= share * of as f64
}

/// The samples of each key, keys in the order in which they came up.
fn groups(keys: &[String], classes: &[u32]) -> Vec<Vec<usize>> {
    assert_eq!(keys.len(), classes.len(), "a key and a class a sample");
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (sample, key) in keys.iter().enumerate() {
        let place = *places.entry(key).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        groups[place].push(sample);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 900 of class 0 and 100 of class 1; every tenth text stands three times.
    fn samples() -> (Vec<String>, Vec<u32>) {
        let (mut keys, mut classes) = (Vec::new(), Vec::new());
        for i in 0..1000u32 {
            keys.push(if i % 10 < 3 { format!("same {}", i / 10) } else { format!("text {i}") });
            classes.push(u32::from(i / 10 % 10 == 0));
        }
        (keys, classes)
    }

    fn together(keys: &[String], parts: &[Part]) -> bool {
        let mut of = HashMap::new();
        keys.iter().zip(parts).all(|(key, part)| of.insert(key, *part).is_none_or(|before| before == *part))
    }

    #[test]
    fn each_class_is_shared_out_alike_and_equal_texts_stay_together() {
        let (keys, classes) = samples();
        let options = SplitOptions { valid: 0.1, test: 0.2, folds: 0, fold: 0, seed: 7 };
        let parts = share_out(&keys, &classes, &options);
        assert!(together(&keys, &parts));
        let count = |part, class| parts.iter().zip(&classes).filter(|&(p, c)| (*p, *c) == (part, class)).count();
        for (class, size) in [(0, 900.0), (1, 100.0)] {
            assert!((count(Part::Test, class) as f64 - 0.2 * size).abs() <= 1.5, "{}", count(Part::Test, class));
            assert!((count(Part::Valid, class) as f64 - 0.08 * size).abs() <= 1.5, "{}", count(Part::Valid, class));
        }
        assert_eq!(parts, share_out(&keys, &classes, &options), "the same every time");
        assert_ne!(parts, share_out(&keys, &classes, &SplitOptions { seed: 8, ..options }));
    }

    #[test]
    fn every_sample_is_in_the_test_of_one_fold() {
        let (keys, classes) = samples();
        let mut tested = vec![0; keys.len()];
        for fold in 0..5 {
            let parts = share_out(&keys, &classes, &SplitOptions { valid: 0.1, test: 0.0, folds: 5, fold, seed: 1 });
            assert!(together(&keys, &parts));
            let of = |class| parts.iter().zip(&classes).filter(|&(p, c)| *p == Part::Test && *c == class).count();
            assert!((178..=182).contains(&of(0)) && (18..=22).contains(&of(1)), "{} {}", of(0), of(1));
            tested.iter_mut().zip(&parts).for_each(|(times, part)| *times += usize::from(*part == Part::Test));
        }
        assert!(tested.iter().all(|&times| times == 1));
    }
}
