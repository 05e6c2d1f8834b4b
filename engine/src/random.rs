//! Counter-based random numbers: a value is a function of its key and its counter, so nothing but the seed and the
//! training step need saving, and any thread can make any value.
//!
//! The generator is Philox-4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
//! SC'11), checked against its published known-answer vectors.

/// What a stream of random numbers is for; streams of different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial weights.
    Init = 1,
    /// Dropout masks.
    Dropout = 2,
    /// Sampling of text.
    Sample = 3,
    /// Order of data.
    Shuffle = 4,
    /// Synthetic sources.
    Source = 5,
    /// Data of benches.
    Bench = 6,
    /// Parameters, tokens and targets of gradient checks.
    Check = 7,
    /// Steps of batches.
    Steps = 8,
    /// Noise of sampled losses.
    Noise = 9,
    /// Words, windows and noise of word vectors.
    Vectors = 10,
}

/// The key of a stream: (seed, purpose, layer, training step).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    seed: u64,
    purpose: Purpose,
    layer: u32,
    step: u64,
}

impl Key {
    /// The stream of this seed and purpose, of layer 0 and step 0.
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Self { seed, purpose, layer: 0, step: 0 }
    }
    /// The same for another purpose.
    pub fn purpose(self, purpose: Purpose) -> Self {
        Self { purpose, ..self }
    }
    /// The same for another layer (or tensor, or sample). Layers below 2^24.
    pub fn layer(self, layer: usize) -> Self {
        Self { layer: layer as u32 & 0x00ff_ffff, ..self }
    }
    /// The same for another training step. Steps below 2^48.
    pub fn step(self, step: u64) -> Self {
        Self { step, ..self }
    }

    /// Four random words for this counter, which may be any 32-bit number (see [`Self::words_at`] for more).
    fn block(self, counter: u64) -> [u32; 4] {
        let tag = (self.purpose as u32) << 24 | self.layer;
        let high = (counter >> 32) as u32 ^ ((self.step >> 32) as u32).rotate_left(16);
        philox([counter as u32, self.step as u32, high, tag], [self.seed as u32, (self.seed >> 32) as u32])
    }

    /// Random word number `index`.
    pub fn word(self, index: u64) -> u32 {
        self.block(index / 4)[(index % 4) as usize]
    }

    /// Four random words: numbers `4 block .. 4 block + 4`.
    pub fn words_at(self, block: u64) -> [u32; 4] {
        self.block(block)
    }

    /// Uniform in [0, 1) with 24 bits.
    pub fn uniform(self, index: u64) -> f32 {
        (self.word(index) >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Numbers `4 block .. 4 block + 4` of [`Self::uniform`].
    pub fn uniforms(self, block: u64) -> [f32; 4] {
        self.block(block).map(|word| (word >> 8) as f32 * (1.0 / 16_777_216.0))
    }

    /// Uniform in [0, 1) with 53 bits, from words `2 index` and `2 index + 1`.
    pub fn uniform_f64(self, index: u64) -> f64 {
        let bits = u64::from(self.word(2 * index)) << 32 | u64::from(self.word(2 * index + 1));
        (bits >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Normal with mean 0 and variance 1 (Box and Muller 1958), from words `2 index` and `2 index + 1`.
    pub fn normal(self, index: u64) -> f32 {
        let unit = |word: u32| (f64::from(word) + 0.5) * (1.0 / 4_294_967_296.0);
        let (a, b) = (unit(self.word(2 * index)), unit(self.word(2 * index + 1)));
        ((-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()) as f32
    }

    /// Uniform in 0..n (Lemire's multiply-shift on 64 bits; the bias is below n / 2^64).
    pub fn below(self, index: u64, n: u64) -> u64 {
        let bits = u64::from(self.word(2 * index)) << 32 | u64::from(self.word(2 * index + 1));
        ((u128::from(bits) * u128::from(n)) >> 64) as u64
    }
}

/// The layer whose key the first round of a [`Permutation`] takes; the others take those behind it.
const FIRST_ROUND: usize = 16;

/// Rounds of a [`Permutation`], each of which changes one half of a place.
const ROUNDS: usize = 6;

/// A random order of so many items, each place of which is computed without the others.
///
/// A place is written as two digits that change each other in turn (Feistel), each added to what the other keys, modulo its own
/// base (J. Black and P. Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002). The bases are about the root of the
/// number of items; what falls beyond it is sent through again.
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    key: Key,
    count: u64,
    bases: [u64; 2],
}

impl Permutation {
    /// The order of `count` items that this key gives.
    pub fn new(key: Key, count: u64) -> Self {
        let root = count.isqrt().max(1);
        let first = if root * root < count { root + 1 } else { root };
        Self { key, count, bases: [first, count.div_ceil(first).max(1)] }
    }

    /// The item at a place.
    ///
    /// # Panics
    /// Panics if there is no such place.
    #[track_caller]
    pub fn at(&self, place: u64) -> u64 {
        assert!(place < self.count, "place {place} of {}", self.count);
        let a = self.bases[0];
        let mut item = place;
        loop {
            let mut digits = [item % a, item / a];
            for round in 0..ROUNDS {
                let (changed, other) = (round % 2, digits[1 - round % 2]);
                let base = self.bases[changed];
                digits[changed] = (digits[changed] + self.key.layer(FIRST_ROUND + round).below(other, base)) % base;
            }
            item = digits[0] + a * digits[1];
            if item < self.count {
                return item;
            }
        }
    }
}

/// Philox-4x32 with ten rounds.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_answers() {
        // Random123 1.09, kat_vectors.
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let counter = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(philox(counter, [0xa409_3822, 0x299f_31d0]), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn a_permutation_has_every_item_once_and_mixes_them() {
        for count in [1u64, 2, 3, 7, 8, 9, 10, 63, 64, 65, 1000, 65_537] {
            let order = |step| {
                let order = Permutation::new(Key::new(5, Purpose::Shuffle).step(step), count);
                (0..count).map(|place| order.at(place)).collect::<Vec<_>>()
            };
            let (first, second) = (order(1), order(2));
            for order in [&first, &second] {
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert!(sorted.into_iter().eq(0..count), "{count}");
            }
            if count >= 1000 {
                // Of n items about one stays where it is, and neighbours stand n / 3 apart (4 standard deviations).
                let same = |a: &[u64], b: &[u64]| a.iter().zip(b).filter(|(a, b)| a == b).count();
                let plain: Vec<u64> = (0..count).collect();
                assert!(same(&first, &plain) < 6 && same(&first, &second) < 6, "{count}");
                let apart = first.windows(2).map(|pair| pair[0].abs_diff(pair[1]) as f64).sum::<f64>() / count as f64;
                let deviation = count as f64 / 18f64.sqrt() / (count as f64).sqrt();
                assert!((apart - count as f64 / 3.0).abs() < 4.0 * deviation, "{count}: {apart}");
            }
        }
        let large = Permutation::new(Key::new(5, Purpose::Shuffle), 1 << 40);
        assert!((0..1000).map(|place| large.at(place)).any(|item| item > 1 << 39));
    }

    #[test]
    fn moments_are_right() {
        let key = Key::new(7, Purpose::Init).layer(3);
        let n = 100_000;
        let mean = (0..n).map(|i| f64::from(key.normal(i))).sum::<f64>() / n as f64;
        let variance = (0..n).map(|i| f64::from(key.normal(i)).powi(2)).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        let mean = (0..n).map(|i| f64::from(key.uniform(i))).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
    }
}
