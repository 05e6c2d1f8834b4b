//! Bytes taken apart into sizes, choices and numbers.

use crate::check::numbers;

/// Reads the bytes of a case from the front; behind the last all are zero.
pub(super) struct Input<'a> {
    bytes: std::slice::Iter<'a, u8>,
    seed: u64,
}

impl<'a> Input<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        let mut new = Self { bytes: data.iter(), seed: 0 };
        new.seed = u64::from(new.byte()) << 32;
        new
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.bytes.next().copied().unwrap_or(0)
    }

    /// The bytes that are left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.as_slice()
    }

    /// 0 to `max`, at most 255.
    pub(super) fn up_to(&mut self, max: u8) -> usize {
        usize::from(self.byte()) % (usize::from(max) + 1)
    }

    /// 1 to `max`, at most 255.
    pub(super) fn size(&mut self, max: u8) -> usize {
        usize::from(self.byte()) % usize::from(max) + 1
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() % 2 == 1
    }

    pub(super) fn pick<T: Copy, const N: usize>(&mut self, of: [T; N]) -> T {
        of[usize::from(self.byte()) % N]
    }

    /// `n` numbers in [-scale, scale]: repeatable noise, of which up to three are replaced where the bytes say by zeros,
    /// the smallest numbers, the ends of the range or whole numbers.
    pub(super) fn values(&mut self, n: usize, scale: f64) -> Vec<f32> {
        self.seed += 1;
        let mut values: Vec<f32> = numbers(n, self.seed).iter().map(|x| (x * scale) as f32).collect();
        let end = scale as f32;
        let special = [0.0, -0.0, f32::from_bits(1), f32::MIN_POSITIVE, 1.0, -1.0, end, -end];
        for _ in 0..self.byte() % 4 {
            let at = usize::from(self.byte()) * 256 + usize::from(self.byte());
            let value = self.pick(special);
            if n > 0 {
                values[at % n] = value.clamp(-end, end);
            }
        }
        values
    }

    /// `n` tokens below `v`, often repeated.
    pub(super) fn tokens(&mut self, n: usize, v: usize) -> Vec<u32> {
        let distinct = self.size(255).min(v);
        let picks = self.values(n, 1.0);
        // Spread over the whole vocabulary, but only `distinct` of it.
        picks.iter().map(|x| (x.abs() * 0.999 * distinct as f32) as usize * (v / distinct)).map(|t| t as u32).collect()
    }
}

/// Where `byte` cuts `total` into two parts: at a multiple of `granule`, or at the end.
pub(super) fn cut_at(byte: u8, total: usize, granule: usize) -> usize {
    (usize::from(byte) % (total / granule + 1) * granule).min(total)
}
