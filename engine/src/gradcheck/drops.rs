//! What dropout of every kind leaves: which elements fall is the network's choice, what becomes of the others is
//! written here anew.

use super::masked::Keep;
use super::model::{Model, Step};
use crate::graph::{Cell, Dropout};
use crate::layers::Mask;
use crate::random::Key;

impl Model<'_> {
    /// What stays of the states before each step of direction `d` of recurrent node `i`, in the order of time.
    pub(super) fn keep(&self, i: usize, d: usize, step: &Step<'_>, there: Option<&[bool]>) -> Option<Keep> {
        let (cell, options, _) = self.graph.nodes()[i].config.recurrence()?;
        let (units, rows) = (options.units, step.rows);
        let rates = [options.zoneout, options.zoneout_cell];
        if there.is_none() && rates == [0.0; 2] {
            return None;
        }
        let of = |state: usize| -> Vec<f64> {
            let mask = Mask::of_zone(i, d, state, rates[state], units);
            let row = |at: usize| -> Vec<f64> {
                if there.is_some_and(|there| !there[at]) {
                    return vec![1.0; units];
                }
                if !mask.drops() {
                    return vec![0.0; units];
                }
                let keeps = mask.keeps(step.key, mask.position(at / rows, at % rows, rows)).flatten().take(units);
                keeps.map(|keep| if keep { 0.0 } else { 1.0 }).collect()
            };
            (0..step.steps * rows).flat_map(row).collect()
        };
        Some(Keep { h: of(0), c: if cell == Cell::Lstm { of(1) } else { Vec::new() } })
    }

    /// What h is multiplied by in the recurrent products of direction `d` of recurrent node `i`, (N, H).
    pub(super) fn state_drop(&self, i: usize, d: usize, step: &Step<'_>) -> Option<Vec<f64>> {
        let (_, options, _) = self.graph.nodes()[i].config.recurrence()?;
        let mask = Mask::of_state(i, d, options.recurrent_dropout, options.units);
        let mut ones = vec![1.0; step.rows * options.units];
        drop_at(&mask, step.key, |row| row, &mut ones);
        mask.drops().then_some(ones)
    }

    /// What is dropped of the recurrent weights of direction `d` of a recurrent node.
    pub(super) fn weight_mask(&self, i: usize, d: usize) -> Mask {
        let recurrence = self.graph.nodes()[i].config.recurrence();
        let (rate, columns) = recurrence.map_or((0.0, 1), |(cell, o, _)| (o.weight_drop, cell.gates() * o.units));
        Mask::of_weights(i, d, rate, columns)
    }
}

/// The mask of a dropout layer.
pub(super) fn dropout(node: usize, layer: &Dropout, width: usize) -> Mask {
    Mask::new(node, layer.rate, width).for_all_steps(layer.variational)
}

/// Drops and scales the rows of `x` (T N or N, columns), forward and backward alike.
pub(super) fn drop(mask: &Mask, step: &Step<'_>, x: &mut [f64]) {
    let rows = step.rows;
    drop_at(mask, step.key, |at| mask.position(at / rows, at % rows, rows), x);
}

/// Drops and scales recurrent weights, or their gradient.
pub(super) fn drop_weights(mask: &Mask, key: Key, x: &mut [f64]) {
    drop_at(mask, key, |row| row, x);
}

fn drop_at(mask: &Mask, key: Key, position: impl Fn(usize) -> usize, x: &mut [f64]) {
    if !mask.drops() {
        return;
    }
    for (at, row) in x.chunks_exact_mut(mask.columns()).enumerate() {
        for (x, keep) in row.iter_mut().zip(mask.keeps(key, position(at)).flatten()) {
            *x = if keep { *x * mask.scale() } else { 0.0 };
        }
    }
}

/// Drops and scales the rows of `x` (T N, columns), each that of a token, forward and backward alike.
pub(super) fn drop_words(mask: &Mask, step: &Step<'_>, x: &mut [f64]) {
    if !mask.drops() {
        return;
    }
    let width = x.len() / step.tokens.len();
    for (row, &token) in x.chunks_exact_mut(width).zip(step.tokens) {
        let factor = if mask.keeps_word(step.key, token) { mask.scale() } else { 0.0 };
        row.iter_mut().for_each(|x| *x *= factor);
    }
}
