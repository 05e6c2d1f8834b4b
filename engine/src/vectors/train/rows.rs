//! Vectors that all threads read and each thread writes its own of.

use unroll_kernels::mat::padded;
use unroll_kernels::skipgram::{Descend, descend};
use unroll_kernels::{Buffer, Isa, Mat, MatMut};

use crate::random::Key;

/// (V, D) vectors in stripes: row r is row r / P of stripe r % P. Words are sorted by how often they come, so each stripe has as
/// much to do as the others.
pub(super) struct Rows {
    stripes: Vec<Stripe>,
    dim: usize,
}

/// Some of the vectors, rows padded to cache lines.
pub(super) struct Stripe {
    values: Buffer,
    rows: usize,
    dim: usize,
    /// The gradients of a batch that are added to rows of this stripe, and these rows.
    picks: Vec<(u32, u32)>,
}

impl Rows {
    /// `rows` vectors of zeros.
    pub(super) fn zeros(rows: usize, dim: usize, stripes: usize) -> Self {
        let stripe = |p: usize| {
            let rows = (rows + stripes - 1 - p) / stripes;
            Stripe { values: Buffer::new(rows * padded(dim)), rows, dim, picks: Vec::new() }
        };
        Self { stripes: (0..stripes).map(stripe).collect(), dim }
    }

    /// Sets every element to a uniform number in [-1/2, 1/2) / D, as word2vec begins.
    pub(super) fn randomize(&mut self, key: Key) {
        let (count, stride, dim) = (self.stripes.len(), padded(self.dim), self.dim);
        for (p, stripe) in self.stripes.iter_mut().enumerate() {
            for (i, row) in stripe.values.chunks_exact_mut(stride).enumerate() {
                let first = ((i * count + p) * stride) as u64;
                for (c, four) in row[..dim].chunks_mut(4).enumerate() {
                    let words = key.words_at(first / 4 + c as u64);
                    let uniform = |word: u32| (word >> 8) as f32 * (1.0 / 16_777_216.0);
                    four.iter_mut().zip(words).for_each(|(x, word)| *x = (uniform(word) - 0.5) / dim as f32);
                }
            }
        }
    }

    /// Row `r`, with its padding.
    #[inline]
    pub(super) fn row(&self, r: u32) -> &[f32] {
        let (count, stride) = (self.stripes.len() as u32, padded(self.dim));
        let start = (r / count) as usize * stride;
        &self.stripes[(r % count) as usize].values[start..start + stride]
    }

    /// Copies rows one after the other, with their padding.
    pub(super) fn gather(&self, rows: &[u32], to: &mut [f32]) {
        for (to, &r) in to.chunks_exact_mut(padded(self.dim)).zip(rows) {
            to.copy_from_slice(self.row(r));
        }
    }

    /// The stripes.
    pub(super) fn stripes_mut(&mut self) -> &mut [Stripe] {
        &mut self.stripes
    }
}

/// Slots of a group's gradients by the stripe that their rows are in, each stripe's in the order of the slots.
#[derive(Default)]
pub(super) struct Slots {
    /// (slot, row within the stripe), stripe after stripe.
    sorted: Vec<(u32, u32)>,
    /// Where each stripe's begin, and the end.
    starts: Vec<u32>,
}

impl Slots {
    /// Sorts the slots of these rows by `count` stripes.
    pub(super) fn sort(&mut self, rows: &[u32], count: usize) {
        let Self { sorted, starts } = self;
        let stripes = count as u32;
        starts.clear();
        starts.resize(count + 2, 0);
        rows.iter().for_each(|r| starts[(r % stripes) as usize + 2] += 1);
        (2..starts.len()).for_each(|p| starts[p] += starts[p - 1]);
        sorted.clear();
        sorted.resize(rows.len(), (0, 0));
        for (slot, r) in rows.iter().enumerate() {
            let at = &mut starts[(r % stripes) as usize + 1];
            sorted[*at as usize] = (slot as u32, r / stripes);
            *at += 1;
        }
    }

    /// Those of one stripe.
    fn of(&self, stripe: usize) -> &[(u32, u32)] {
        let at = |p: usize| self.starts.get(p).map_or(0, |&at| at as usize);
        &self.sorted[at(stripe)..at(stripe + 1)]
    }
}

impl Stripe {
    /// Adds `scale` times the gradients of all groups whose rows are in this stripe, number `number`, in the order of groups and of
    /// their slots. `groups`: each group's slots, and the row of `gradients` where its own begin.
    pub(super) fn add<'a>(
        &mut self,
        isa: Isa,
        number: usize,
        groups: impl Iterator<Item = (&'a Slots, usize)>,
        gradients: &[f32],
        scale: f32,
    ) {
        let Self { values, rows, dim, picks } = self;
        picks.clear();
        for (slots, first) in groups {
            picks.extend(slots.of(number).iter().map(|&(slot, row)| (first as u32 + slot, row)));
        }
        let stride = padded(*dim);
        let gradients = Mat::new(gradients, gradients.len() / stride, *dim, stride);
        descend(isa, Descend { gradients, picks, scale, table: MatMut::new(values, *rows, *dim, stride) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    #[test]
    fn rows_are_the_same_in_any_number_of_stripes() {
        let key = Key::new(3, Purpose::Init);
        let (rows, dim) = (29, 5);
        let mut one = Rows::zeros(rows, dim, 1);
        one.randomize(key);
        for count in [2, 7, 40] {
            let mut many = Rows::zeros(rows, dim, count);
            many.randomize(key);
            assert!((0..rows as u32).all(|r| many.row(r) == one.row(r)), "{count} stripes");
        }
        assert!(one.row(28).iter().all(|x| x.abs() <= 0.1) && one.row(28)[..5].iter().any(|x| *x != 0.0));
    }

    #[test]
    fn gradients_reach_their_rows_in_order() {
        let (dim, stride) = (3, padded(3));
        let list = [4, 9, 4, 0, 17, 4];
        let gradients: Vec<f32> = (0..list.len() * stride).map(|i| (i / stride + 1) as f32).collect();
        for count in [1, 2, 5] {
            let (mut rows, mut slots) = (Rows::zeros(20, dim, count), Slots::default());
            slots.sort(&list, count);
            for (p, stripe) in rows.stripes_mut().iter_mut().enumerate() {
                stripe.add(Isa::best(), p, [(&slots, 0)].into_iter(), &gradients, -0.5);
            }
            let first: Vec<f32> = (0..20).map(|r| rows.row(r)[2]).collect();
            for (r, x) in first.iter().enumerate() {
                let want: f32 =
                    list.iter().enumerate().map(|(i, &l)| if l == r as u32 { i as f32 + 1.0 } else { 0.0 }).sum();
                assert_eq!(*x, -0.5 * want, "row {r} of {count} stripes");
            }
        }
    }
}
