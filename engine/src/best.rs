//! The largest of many numbers, in one pass over them.

/// The `k` largest numbers so far, each with its place; of equal ones those that came first.
#[derive(Clone, Debug)]
pub(crate) struct Best {
    k: usize,
    /// The largest first.
    found: Vec<(u32, f32)>,
    /// What a number must be beyond to be taken.
    least: f32,
}

impl Best {
    pub(crate) fn new(k: usize) -> Self {
        let least = if k == 0 { f32::INFINITY } else { f32::NEG_INFINITY };
        Self { k, found: Vec::with_capacity(k.min(1 << 16) + 1), least }
    }

    /// Whether `x` is among the largest so far. NaN never is, nor is minus infinity.
    #[inline]
    pub(crate) fn wants(&self, x: f32) -> bool {
        x > self.least
    }

    /// Takes a number that is wanted.
    pub(crate) fn put(&mut self, place: u32, x: f32) {
        let at = self.found.partition_point(|&(_, other)| other >= x);
        self.found.insert(at, (place, x));
        self.found.truncate(self.k);
        if self.found.len() == self.k {
            self.least = self.found[self.k - 1].1;
        }
    }

    /// Looks at the numbers from place `first` on.
    pub(crate) fn take(&mut self, first: u32, numbers: &[f32]) {
        for (place, &x) in (first..).zip(numbers) {
            if self.wants(x) {
                self.put(place, x);
            }
        }
    }

    /// What `of` makes of each place and its number, the largest first.
    pub(crate) fn finish<T>(self, of: impl Fn(u32, f32) -> T) -> Vec<T> {
        self.found.into_iter().map(|(place, x)| of(place, x)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_a_stable_sort_puts_first(
            numbers in prop::collection::vec(prop_oneof![4 => (-5i8..5).prop_map(f32::from), 1 => Just(f32::NAN)], 0..60),
            k in 0usize..9,
            cut in 1usize..20,
        ) {
            let mut best = Best::new(k);
            for (i, part) in numbers.chunks(cut).enumerate() {
                best.take((i * cut) as u32, part);
            }
            let mut sorted: Vec<(u32, f32)> = (0..).zip(numbers).filter(|(_, x)| !x.is_nan()).collect();
            sorted.sort_by(|a, b| b.1.total_cmp(&a.1));
            sorted.truncate(k);
            prop_assert_eq!(best.finish(|place, x| (place, x)), sorted);
        }
    }
}
