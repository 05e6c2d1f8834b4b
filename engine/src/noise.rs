//! Draws from any distribution over n outcomes in constant time.
//!
//! The table has n columns of the same mass. Column i holds outcome i up to its threshold and above it one other
//! outcome, its alias; a draw picks a column and a place in it, so it costs one multiplication and one look-up however
//! large n is.
//!
//! Weights become integers of sum n 2^32 before the columns are filled, so filling is exact: no outcome of weight 0
//! ever comes, every other can, and [`Alias::probability`] is what the table really draws.
//!
//! Source: A. J. Walker, "An Efficient Method for Generating Discrete Random Variables with General Distributions",
//! 1977; filled as by M. D. Vose, "A Linear Algorithm for Generating Random Numbers with a Given Distribution", 1991.

use crate::error::{Error, Result};
use crate::random::Key;

/// Mass of a column.
const COLUMN: u64 = 1 << 32;

/// The most outcomes: the sum of the masses stays below 2^63.
const MOST: usize = (1 << 31) - 1;

/// A table that draws from a distribution.
#[derive(Clone, Debug)]
pub struct Alias {
    columns: Vec<Column>,
    /// The mass of each outcome, of n 2^32 in all.
    masses: Vec<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Column {
    /// Places below this are the column's own outcome. A full column names itself as its alias.
    threshold: u32,
    alias: u32,
}

impl Alias {
    /// Outcomes `0..weights.len()` with probabilities in proportion to their weights. Those of positive weight get a
    /// probability of at least 2^-32 / n, however small the weight.
    ///
    /// ```
    /// use unroll::noise::Alias;
    /// use unroll::random::{Key, Purpose};
    /// let table = Alias::new(&[1.0, 0.0, 3.0])?;
    /// assert!((table.probability(2) - 0.75).abs() < 1e-9);
    /// let key = Key::new(1, Purpose::Sample);
    /// let twos = (0..1000).filter(|&i| table.draw(key, i) == 2).count();
    /// assert!((700..800).contains(&twos));
    /// # Ok::<(), unroll::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When there is no weight, or more than 2^31 - 1; when one is negative or not finite; when all are 0.
    pub fn new(weights: &[f64]) -> Result<Self> {
        let masses = masses(weights)?;
        Ok(Self { columns: fill(&masses), masses })
    }

    /// Words with probabilities in proportion to `counts[word]^power`: the unigram distribution for 1, that of word2vec's
    /// noise for 0.75, and the same for all words that occur for 0.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn unigram(counts: &[u64], power: f64) -> Result<Self> {
        let weight = |&count: &u64| if count == 0 { 0.0 } else { (count as f64).powf(power) };
        Self::new(&counts.iter().map(weight).collect::<Vec<_>>())
    }

    /// n
    #[expect(clippy::len_without_is_empty, reason = "a table is never empty")]
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// The outcome of 64 random bits. Its bias is below n / 2^64.
    #[inline]
    pub fn sample(&self, bits: u64) -> u32 {
        // The product's upper half is a column, and its lower half is where in the column (Lemire's multiply-shift).
        let place = u128::from(bits) * self.columns.len() as u128;
        let i = (place >> 64) as usize;
        let column = self.columns[i];
        if (place as u64 >> 32) as u32 >= column.threshold { column.alias } else { i as u32 }
    }

    /// Outcome number `index` of a stream of random numbers: of words `2 index` and `2 index + 1`.
    pub fn draw(&self, key: Key, index: u64) -> u32 {
        let words = key.words_at(index / 2);
        let at = (index % 2) as usize * 2;
        self.sample(u64::from(words[at]) << 32 | u64::from(words[at + 1]))
    }

    /// The probability of `outcome`, within 2^-32 / n of its weight's share (the likeliest one within 2^-32).
    ///
    /// # Panics
    ///
    /// When `outcome` is not below n.
    #[inline]
    pub fn probability(&self, outcome: u32) -> f64 {
        self.masses[outcome as usize] as f64 / (self.masses.len() as f64 * COLUMN as f64)
    }
}

/// Integers in proportion to the weights, with the sum n 2^32.
fn masses(weights: &[f64]) -> Result<Vec<u64>> {
    let n = weights.len();
    if n == 0 || n > MOST {
        return Err(Error::usage(format!("a distribution must have from 1 to {MOST} outcomes, got {n}")));
    }
    if let Some((i, w)) = weights.iter().enumerate().find(|(_, w)| !(w.is_finite() && **w >= 0.0)) {
        return Err(Error::usage(format!("the weight of outcome {i} must be finite and not negative, got {w}")));
    }
    // Scaled by the largest, so that no sum overflows.
    let (largest, &most) =
        weights.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).ok_or_else(|| Error::usage("no outcome"))?;
    if most == 0.0 {
        return Err(Error::usage("every outcome has the weight 0").mend("count words in a text that has some"));
    }
    let sum: f64 = weights.iter().map(|w| w / most).sum();
    let scale = n as f64 * COLUMN as f64 / sum;
    let mass = |w: &f64| if *w == 0.0 { 0 } else { ((w / most * scale).round() as u64).max(1) };
    let mut masses: Vec<u64> = weights.iter().map(mass).collect();
    // Roundings are at most 1 each, and the largest mass is at least 2^32 > n.
    let others: u64 = masses.iter().enumerate().filter(|(i, _)| *i != largest).map(|(_, m)| m).sum();
    masses[largest] = n as u64 * COLUMN - others;
    Ok(masses)
}

/// Fills columns of mass 2^32 from outcomes of any mass, each column from two outcomes at most.
fn fill(masses: &[u64]) -> Vec<Column> {
    let mut left = masses.to_vec();
    let mut columns: Vec<Column> = (0..masses.len()).map(|i| Column { threshold: 0, alias: i as u32 }).collect();
    let (mut small, mut large): (Vec<u32>, Vec<u32>) =
        (0..masses.len() as u32).partition(|&i| left[i as usize] < COLUMN);
    // Masses add up to those of the columns left, so there is a large one as long as there is a small one; a column that is
    // not filled here is full of its own outcome.
    while let (Some(&part), Some(&whole)) = (small.last(), large.last()) {
        small.pop();
        columns[part as usize] = Column { threshold: left[part as usize] as u32, alias: whole };
        left[whole as usize] -= COLUMN - left[part as usize];
        if left[whole as usize] < COLUMN {
            large.pop();
            small.push(whole);
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;
    use proptest::prelude::*;

    /// The mass of each outcome that the columns hold.
    fn held(table: &Alias) -> Vec<u64> {
        let mut held = vec![0; table.len()];
        for (i, column) in table.columns.iter().enumerate() {
            held[i] += u64::from(column.threshold);
            held[column.alias as usize] += COLUMN - u64::from(column.threshold);
        }
        held
    }

    proptest! {
        #[test]
        fn columns_hold_the_distribution_exactly(
            weights in prop::collection::vec(prop_oneof![Just(0.0), 0.0..1.0f64, 0.0..1e300f64, Just(1e-300)], 1..200),
        ) {
            prop_assume!(weights.iter().any(|&w| w > 0.0));
            let table = Alias::new(&weights).unwrap();
            prop_assert_eq!(&held(&table), &table.masses);
            let (sum, n) = (weights.iter().map(|w| w / 2.0).sum::<f64>() * 2.0, weights.len() as f64);
            prop_assume!(sum.is_finite());
            for (i, w) in weights.iter().enumerate() {
                let p = table.probability(i as u32);
                prop_assert_eq!(p == 0.0, *w == 0.0);
                // Another outcome's rounding is at most 2^-32 / n, and the largest bears them all.
                let bound = if table.masses.iter().all(|&m| m <= table.masses[i]) { 1.0 } else { 1.0 / n };
                prop_assert!((p - w / sum).abs() <= bound / COLUMN as f64 + 1e-13, "{} {} {}", i, p, w / sum);
            }
        }
    }

    #[test]
    fn draws_come_as_often_as_their_probability_says() {
        let counts: Vec<u64> = (0..50).map(|i| if i % 7 == 3 { 0 } else { 1 + 100_000 / (i * i + 1) }).collect();
        let table = Alias::unigram(&counts, 0.75).unwrap();
        let (n, key) = (200_000, Key::new(5, Purpose::Sample).layer(2));
        let mut seen = [0u32; 50];
        (0..n).for_each(|i| seen[table.draw(key, i) as usize] += 1);
        let sum: f64 = counts.iter().map(|&c| (c as f64).powf(0.75)).sum();
        let mut chi_square = 0.0;
        for (i, &count) in counts.iter().enumerate() {
            let expected = (count as f64).powf(0.75) / sum * n as f64;
            if count == 0 {
                assert_eq!(seen[i], 0, "outcome {i} cannot come");
            } else {
                chi_square += (f64::from(seen[i]) - expected).powi(2) / expected;
            }
        }
        // 42 degrees of freedom: exceeded once in 10,000 streams, and this stream is always the same.
        assert!(chi_square < 82.0, "{chi_square}");
    }

    #[test]
    fn the_ends_of_the_range_are_in_the_table() {
        let table = Alias::new(&[1.0; 3]).unwrap();
        assert_eq!([table.sample(0), table.sample(u64::MAX)], [0, 2]);
        assert_eq!(Alias::new(&[7.0]).unwrap().sample(u64::MAX), 0);
        let one = Alias::new(&[0.0, 0.0, 5.0, 0.0]).unwrap();
        assert!((0..1000u64).all(|i| one.sample(i.wrapping_mul(0x9E37_79B9_7F4A_7C15)) == 2));
        assert_eq!(one.probability(2), 1.0);
    }

    #[test]
    fn what_is_no_distribution_is_refused() {
        for weights in [&[][..], &[1.0, -1.0], &[f64::NAN], &[f64::INFINITY, 1.0], &[0.0, 0.0]] {
            assert_eq!(Alias::new(weights).unwrap_err().exit_code(), 2, "{weights:?}");
        }
    }
}
