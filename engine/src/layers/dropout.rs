//! Dropout (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov 2014), inverted: what is kept is scaled by
//! 1 / (1 - rate) while training, and nothing happens otherwise.
//!
//! The mask is a function of (seed, layer, training step, time, row of the whole batch, column). The backward pass
//! computes it again, so it takes no memory and does not depend on threads or replicas. Masks of words and of weights
//! depend on the token, or on the weight's row and column, instead of time and row.

use super::{Context, Inputs, InputsMut, LayerOutput};
use crate::random::Key;
use unroll_kernels::{MatMut, rows};

/// Which elements a dropout layer keeps, and what it scales them by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask {
    layer: usize,
    /// Random words below this keep their element.
    keep_below: u32,
    scale: f64,
    columns: usize,
    /// Whether one mask serves all steps.
    variational: bool,
}

impl Mask {
    pub(crate) fn new(layer: usize, rate: f32, columns: usize) -> Self {
        let keep = 1.0 - f64::from(rate);
        // A rate of 0 keeps all but one word in 2^32, which is why it is not applied at all (see `drops`).
        Self {
            layer,
            keep_below: (keep * 4_294_967_296.0).min(4_294_967_295.0) as u32,
            scale: 1.0 / keep,
            columns,
            variational: false,
        }
    }

    /// The mask of the recurrent weights of direction `d` of a layer (weight dropout): a position is a row of weights.
    pub(crate) fn of_weights(layer: usize, d: usize, rate: f32, columns: usize) -> Self {
        Self::of_direction(layer, d, rate, columns)
    }

    /// The mask of h in the recurrent products of direction `d` of a layer (recurrent dropout): one serves all steps.
    pub(crate) fn of_state(layer: usize, d: usize, rate: f32, columns: usize) -> Self {
        Self::of_direction(layer, 2 + d, rate, columns).for_all_steps(true)
    }

    /// The mask of zoneout of state `state` (0 h, 1 c) of direction `d` of a layer: what it drops stays as it was.
    pub(crate) fn of_zone(layer: usize, d: usize, state: usize, rate: f32, columns: usize) -> Self {
        Self::of_direction(layer, 4 + 2 * state + d, rate, columns)
    }

    /// One of the masks of the directions of a layer.
    fn of_direction(layer: usize, which: usize, rate: f32, columns: usize) -> Self {
        // Far above the number of any layer, so that no two masks are of one stream.
        Self::new(layer | (1 + which) << 20, rate, columns)
    }

    /// The same with one mask for all steps (`variational`) or one for each step.
    pub(crate) fn for_all_steps(self, variational: bool) -> Self {
        Self { variational, ..self }
    }

    /// The position of a time and a row of a batch of `rows`.
    pub(crate) fn position(&self, time: usize, row: usize, rows: usize) -> usize {
        if self.variational { row } else { time * rows + row }
    }

    /// Whether anything is dropped.
    pub(crate) fn drops(&self) -> bool {
        self.scale != 1.0
    }

    /// 1 / (1 - rate)
    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }

    /// The rate: the part that is dropped.
    pub(crate) fn rate(&self) -> f32 {
        (1.0 - 1.0 / self.scale) as f32
    }

    /// Columns of a row.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Which columns are kept, four at a time, at `position` = time * rows of the whole batch + row in it. `key` is
    /// that of the training step.
    pub(crate) fn keeps(&self, key: Key, position: usize) -> impl Iterator<Item = [bool; 4]> {
        let (key, keep_below) = (key.layer(self.layer), self.keep_below);
        let blocks = self.columns.div_ceil(4) as u64;
        let first = position as u64 * blocks;
        (first..first + blocks).map(move |block| key.words_at(block).map(|word| word < keep_below))
    }

    /// Drops and scales the elements of a position.
    pub(crate) fn apply(&self, key: Key, position: usize, x: &mut [f32]) {
        let scale = self.scale as f32;
        for (four, keeps) in x.chunks_mut(4).zip(self.keeps(key, position)) {
            for (x, keep) in four.iter_mut().zip(keeps) {
                *x = if keep { *x * scale } else { 0.0 };
            }
        }
    }

    /// Whether all elements of `word` are kept.
    pub(crate) fn keeps_word(&self, key: Key, word: u32) -> bool {
        key.layer(self.layer).word(u64::from(word)) < self.keep_below
    }

    /// Drops and scales whole rows, each that of a word.
    pub(crate) fn apply_to_words(&self, key: Key, words: &[u32], mut x: MatMut<'_>) {
        let scale = self.scale as f32;
        for (r, &word) in words.iter().enumerate() {
            let factor = if self.keeps_word(key, word) { scale } else { 0.0 };
            x.row_mut(r).iter_mut().for_each(|x| *x *= factor);
        }
    }
}

/// A dropout layer.
pub(crate) struct DropoutLayer {
    mask: Mask,
    /// Whether its input has a time axis.
    sequence: bool,
}

impl DropoutLayer {
    pub(crate) fn new(mask: Mask, sequence: bool) -> Self {
        Self { mask, sequence }
    }

    pub(crate) fn forward(&self, ctx: &Context<'_>, inputs: Inputs<'_>, output: &mut LayerOutput) {
        let x = inputs.only();
        ctx.products().by_rows(output.y_mut(ctx.dims), |range, mut part| {
            rows::copy(x.rows_range(range.clone()), part.reborrow());
            if self.drops(ctx) {
                for (r, row) in range.enumerate() {
                    self.mask(ctx, row, part.row_mut(r));
                }
            }
        });
    }

    pub(crate) fn backward(&self, ctx: &Context<'_>, mut inputs: InputsMut<'_>, output: &mut LayerOutput) {
        if self.drops(ctx) {
            ctx.products().by_rows(output.dy_mut(ctx.dims), |range, mut part| {
                for (r, row) in range.enumerate() {
                    self.mask(ctx, row, part.row_mut(r));
                }
            });
        }
        let (_, dx) = inputs.get(0);
        let dy = output.dy(ctx.dims);
        ctx.products().add(dy, dx);
    }

    fn drops(&self, ctx: &Context<'_>) -> bool {
        ctx.training && self.mask.drops()
    }

    /// Drops and scales a row of (P, columns), or of (N, columns) as if it were the first step's.
    fn mask(&self, ctx: &Context<'_>, row: usize, x: &mut [f32]) {
        let (time, row) = if self.sequence { ctx.extent.position(row) } else { (0, row) };
        let row = row + ctx.first_row;
        self.mask.apply(ctx.key, self.mask.position(time, row, ctx.batch_rows), x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    fn kept(mask: &Mask, position: usize) -> Vec<bool> {
        let key = Key::new(5, Purpose::Dropout).step(9);
        mask.keeps(key, position).flatten().take(mask.columns()).collect()
    }

    #[test]
    fn one_mask_serves_all_steps_of_a_row_where_asked_and_each_row_has_its_own() {
        let (each, all) = (Mask::new(3, 0.5, 100), Mask::new(3, 0.5, 100).for_all_steps(true));
        let at = |mask: &Mask, time, row| kept(mask, mask.position(time, row, 7));
        assert_eq!(at(&all, 0, 2), at(&all, 5, 2));
        assert_ne!(at(&all, 0, 2), at(&all, 0, 3));
        assert_ne!(at(&each, 0, 2), at(&each, 5, 2));
    }

    #[test]
    fn so_many_weights_and_words_are_dropped_as_asked_and_no_two_masks_are_alike() {
        let key = Key::new(5, Purpose::Dropout).step(9);
        let near = |dropped: usize, of: usize, rate: f64| {
            let deviation = (of as f64 * rate * (1.0 - rate)).sqrt();
            assert!((dropped as f64 - of as f64 * rate).abs() < 4.0 * deviation, "{dropped} of {of}");
        };
        let weights = |mask: &Mask| -> Vec<bool> { (0..60).flat_map(|row| kept(mask, row)).collect() };
        let pair = |of: fn(usize, usize, f32, usize) -> Mask| [of(1, 0, 0.3, 97), of(1, 1, 0.3, 97)];
        let zones = [0, 1].map(|state| [0, 1].map(|d| Mask::of_zone(1, d, state, 0.3, 97)));
        let masks = [pair(Mask::of_weights), pair(Mask::of_state), zones[0], zones[1], [Mask::new(1, 0.3, 97); 2]];
        let masks = &masks.concat()[..9];
        for (i, mask) in masks.iter().enumerate() {
            let own = weights(mask);
            near(own.iter().filter(|keep| !**keep).count(), own.len(), 0.3);
            assert!(masks[..i].iter().all(|other| weights(other) != own));
        }
        let words = Mask::new(2, 0.1, 1);
        near((0..10_000).filter(|&word| !words.keeps_word(key, word)).count(), 10_000, 0.1);
        // A word is dropped wherever it stands, and what is kept is scaled.
        let mut x = [1.0; 12];
        words.apply_to_words(key, &[4, 7, 4, 8], MatMut::dense(&mut x, 4, 3));
        for (row, word) in x.chunks_exact(3).zip([4, 7, 4, 8]) {
            let want = if words.keeps_word(key, word) { 1.0 / 0.9 } else { 0.0 };
            assert!(row.iter().all(|x| (x - want).abs() < 1e-6));
        }
    }
}
