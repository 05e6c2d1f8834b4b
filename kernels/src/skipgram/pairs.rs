//! Outputs and the inputs of their windows. A row's part of some vectors stays in registers while the inputs of its
//! window pass by; neighbouring windows share most of theirs, so that these come from the first-level cache.

use super::generic::{Columns, load, store};
use super::{Gather, Means, RowGradients, Spread, Window};
use crate::mat::{Mat, MatMut};
use crate::pairs::dot;
use crate::simd::{Kernel, Simd, fetch, prefetch};

/// See [`super::pair_products`].
pub(super) struct Bands<'a> {
    pub(super) inputs: Mat<'a>,
    pub(super) outputs: Mat<'a>,
    pub(super) windows: &'a [Window],
    pub(super) logits: &'a mut [f32],
}

impl Kernel for Bands<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { inputs, outputs, windows, logits } = self;
        let mut pair = 0;
        for (m, window) in windows.iter().enumerate() {
            let y = outputs.row(m);
            for n in window.inputs() {
                logits[pair] = dot(s, inputs.row(n), y);
                pair += 1;
            }
        }
    }
}

/// See [`super::pair_gradients`].
pub(super) struct Gradients<'a> {
    pub(super) slopes: &'a [f32],
    pub(super) windows: &'a [Window],
    pub(super) args: super::Gradients<'a>,
}

impl Columns for Gradients<'_> {
    const TILE: bool = false;

    #[inline(always)]
    fn run<S: Simd, const C: usize>(&mut self, s: S, at: usize, width: usize) {
        let super::Gradients { inputs, outputs, dinputs, doutputs } = &mut self.args;
        let part = at..at + width;
        let mut pair = 0;
        for (m, window) in self.windows.iter().enumerate() {
            let y: [S::F32; C] = load(s, &outputs.row(m)[part.clone()]);
            let mut sums = [s.splat(0.0); C];
            for n in window.inputs() {
                let g = s.splat(self.slopes[pair]);
                pair += 1;
                let x: [S::F32; C] = load(s, &inputs.row(n)[part.clone()]);
                let dx = &mut dinputs.row_mut(n)[part.clone()];
                let mut dxs: [S::F32; C] = load(s, dx);
                for c in 0..C {
                    sums[c] = s.mul_add(g, x[c], sums[c]);
                    dxs[c] = s.mul_add(g, y[c], dxs[c]);
                }
                store(s, dx, dxs);
            }
            store(s, &mut doutputs.row_mut(m)[part.clone()], sums);
        }
    }
}

impl Columns for Means<'_> {
    const TILE: bool = false;

    #[inline(always)]
    fn run<S: Simd, const C: usize>(&mut self, s: S, at: usize, width: usize) {
        let Self { table, rows, ahead, windows, sums, means } = self;
        let part = at..at + width;
        let mut sum = [s.splat(0.0); C];
        store(s, &mut sums.row_mut(0)[part.clone()], sum);
        for (i, &r) in rows.iter().enumerate() {
            if let Some(&r) = rows.get(i + AHEAD) {
                send_for::<{ fetch::NEAR }, S, C>(&table.row(r as usize)[part.clone()]);
            }
            if let Some(&r) = ahead.get(i) {
                send_for::<{ fetch::FAR }, S, C>(&table.row(r as usize)[part.clone()]);
            }
            let x: [S::F32; C] = load(s, &table.row(r as usize)[part.clone()]);
            for c in 0..C {
                sum[c] = s.add(sum[c], x[c]);
            }
            store(s, &mut sums.row_mut(i + 1)[part.clone()], sum);
        }
        let sums = sums.as_ref();
        for (m, window) in windows.iter().enumerate() {
            let share = s.splat(1.0 / window.count().max(1) as f32);
            let [first, own, after, end] = window.ends();
            let first: [S::F32; C] = load(s, &sums.row(first)[part.clone()]);
            let own: [S::F32; C] = load(s, &sums.row(own)[part.clone()]);
            let after: [S::F32; C] = load(s, &sums.row(after)[part.clone()]);
            let end: [S::F32; C] = load(s, &sums.row(end)[part.clone()]);
            let mut mean = [s.splat(0.0); C];
            for c in 0..C {
                mean[c] = s.mul(share, s.add(s.sub(own[c], first[c]), s.sub(end[c], after[c])));
            }
            store(s, &mut means.row_mut(m)[part.clone()], mean);
        }
    }
}

impl Columns for Spread<'_> {
    const TILE: bool = false;

    #[inline(always)]
    fn run<S: Simd, const C: usize>(&mut self, s: S, at: usize, width: usize) {
        let Self { errors, windows, rows, sums, table } = self;
        let part = at..at + width;
        for n in 0..=rows.len() {
            store(s, &mut sums.row_mut(n)[part.clone()], [s.splat(0.0); C]);
        }
        // How the sum of an input differs from that of the input before it.
        for (m, window) in windows.iter().enumerate() {
            let error: [S::F32; C] = load(s, &errors.row(m)[part.clone()]);
            let ends = window.ends();
            for i in 0..4 {
                let to = &mut sums.row_mut(ends[i])[part.clone()];
                let mut sum: [S::F32; C] = load(s, to);
                for c in 0..C {
                    sum[c] = if i % 2 == 0 { s.add(sum[c], error[c]) } else { s.sub(sum[c], error[c]) };
                }
                store(s, to, sum);
            }
        }
        let mut sum = [s.splat(0.0); C];
        for (n, &r) in rows.iter().enumerate() {
            if let Some(&r) = rows.get(n + AHEAD) {
                send_for::<{ fetch::WRITE }, S, C>(&table.row_mut(r as usize)[part.clone()]);
            }
            let change: [S::F32; C] = load(s, &sums.row_mut(n)[part.clone()]);
            let row = &mut table.row_mut(r as usize)[part.clone()];
            let mut x: [S::F32; C] = load(s, row);
            for c in 0..C {
                sum[c] = s.add(sum[c], change[c]);
                x[c] = s.add(x[c], sum[c]);
            }
            store(s, row, x);
        }
    }
}

/// See [`super::row_products`].
pub(super) struct RowProducts<'a> {
    pub(super) inputs: Mat<'a>,
    pub(super) outputs: Mat<'a>,
    pub(super) logits: &'a mut [f32],
}

impl Kernel for RowProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { inputs, outputs, logits } = self;
        for (n, logit) in logits.iter_mut().enumerate() {
            *logit = dot(s, inputs.row(n), outputs.row(n));
        }
    }
}

impl Columns for RowGradients<'_> {
    const TILE: bool = false;

    #[inline(always)]
    fn run<S: Simd, const C: usize>(&mut self, s: S, at: usize, width: usize) {
        let Self { inputs, outputs, slopes, dinputs, rows, table } = self;
        let part = at..at + width;
        for (n, (&slope, &r)) in slopes.iter().zip(*rows).enumerate() {
            if let Some(&r) = rows.get(n + AHEAD) {
                send_for::<{ fetch::WRITE }, S, C>(&table.row_mut(r as usize)[part.clone()]);
            }
            let g = s.splat(slope);
            let x: [S::F32; C] = load(s, &inputs.row(n)[part.clone()]);
            let y: [S::F32; C] = load(s, &outputs.row(n)[part.clone()]);
            let dx = &mut dinputs.row_mut(n)[part.clone()];
            let mut dxs: [S::F32; C] = load(s, dx);
            let row = &mut table.row_mut(r as usize)[part.clone()];
            let mut rows: [S::F32; C] = load(s, row);
            for c in 0..C {
                dxs[c] = s.mul_add(g, y[c], dxs[c]);
                rows[c] = s.mul_add(g, x[c], rows[c]);
            }
            store(s, dx, dxs);
            store(s, row, rows);
        }
    }
}

/// Asks for the lines of C vectors.
#[inline(always)]
fn send_for<const TO: u8, S: Simd, const C: usize>(row: &[f32]) {
    for c in (0..C * S::LANES).step_by(LINE) {
        prefetch::<TO, _>(row.as_ptr().wrapping_add(c));
    }
}

/// Elements of a cache line.
const LINE: usize = 16;

/// Rows that are on their way while one is copied or changed.
const AHEAD: usize = 6;

impl Columns for Gather<'_> {
    const TILE: bool = false;

    #[inline(always)]
    fn run<S: Simd, const C: usize>(&mut self, s: S, at: usize, width: usize) {
        let Self { table, rows, ahead, to } = self;
        let part = at..at + width;
        for (i, &r) in rows.iter().enumerate() {
            if let Some(&r) = rows.get(i + AHEAD) {
                send_for::<{ fetch::NEAR }, S, C>(&table.row(r as usize)[part.clone()]);
            }
            if let Some(&r) = ahead.get(i) {
                send_for::<{ fetch::FAR }, S, C>(&table.row(r as usize)[part.clone()]);
            }
            let x: [S::F32; C] = load(s, &table.row(r as usize)[part.clone()]);
            store(s, &mut to.row_mut(i)[part.clone()], x);
        }
    }
}

/// See [`super::add_rows`].
pub(super) struct AddRows<'a> {
    pub(super) changes: Mat<'a>,
    pub(super) rows: &'a [u32],
    pub(super) table: MatMut<'a>,
}

impl Columns for AddRows<'_> {
    const TILE: bool = false;

    #[inline(always)]
    fn run<S: Simd, const C: usize>(&mut self, s: S, at: usize, width: usize) {
        let Self { changes, rows, table } = self;
        let part = at..at + width;
        for (i, &r) in rows.iter().enumerate() {
            if let Some(&r) = rows.get(i + AHEAD) {
                send_for::<{ fetch::WRITE }, S, C>(&table.row_mut(r as usize)[part.clone()]);
            }
            let change: [S::F32; C] = load(s, &changes.row(i)[part.clone()]);
            let row = &mut table.row_mut(r as usize)[part.clone()];
            let mut sums: [S::F32; C] = load(s, row);
            for c in 0..C {
                sums[c] = s.add(sums[c], change[c]);
            }
            store(s, row, sums);
        }
    }
}
