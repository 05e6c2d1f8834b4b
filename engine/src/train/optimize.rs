//! The optimiser's pass over the arena of parameters.
//!
//! The global norm is summed in f64 over fixed blocks of [`BLOCK`] gradients, then over the blocks in order: its bits do
//! not depend on who sums which block. The update is element-wise, so it may be cut anywhere; [`Optimizer::parts`] cuts it
//! at blocks for the members of a team. Elements whose gradient is known to be zero, the rows of tokens that are not in
//! the batch, are passed over where that changes nothing: exactly, and in the norm always.

use std::ops::Range;

use unroll_kernels::optimizer::{Rule, Update, clip_factor, sum_of_squares, update};
use unroll_kernels::{Buffer, Isa};

use crate::exec::{Pieces, Team, Work};
use crate::graph::ParamSpec;
use crate::network::GradientRef;

use super::tensors::{TensorRef, TensorSpec};

/// Elements of one block of the norm's sum: a multiple of the kernel's own block of 4096, and 256 KiB of gradients.
pub const BLOCK: usize = 1 << 16;

/// The rule and what is done to gradients before it.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerOptions {
    /// The rule.
    pub rule: Rule,
    /// The whole gradient is scaled down to this Euclidean norm if it is longer, as PyTorch does it.
    pub clip_norm: Option<f64>,
    /// Each entry is then clamped to plus or minus this.
    pub clip_value: Option<f32>,
}

/// A rule with its slots (momentum, mean squares) for one arena.
pub struct Optimizer {
    isa: Isa,
    options: OptimizerOptions,
    slots: [Buffer; 2],
    /// The sum of squares of each block.
    sums: Vec<f64>,
}

/// What one update needs beside the arenas.
#[derive(Debug, Clone, Copy)]
pub struct UpdateStep {
    /// The learning rate.
    pub lr: f32,
    /// The training step, from 1.
    pub step: u64,
    /// The Euclidean norm of the whole gradient.
    pub norm: f64,
}

/// A part of the arenas, for one thread.
pub struct Part<'a, P = ()> {
    isa: Isa,
    rule: Rule,
    pieces: &'a P,
    gradient: GradientRef<'a>,
    /// The part's elements in the arena.
    range: Range<usize>,
    update: Update<'a>,
}

impl<P: Pieces> Part<'_, P> {
    /// Updates the parameters of this part, piece by piece.
    pub fn run(self) {
        let Self { isa, rule, pieces, gradient, range, update: all } = self;
        let Update { param, grad, slots: [first, second], lr, grad_scale, clip_value, step } = all;
        let mut at = range.start;
        while at < range.end {
            let end = pieces.end(at).min(range.end);
            let mut change = |part: Range<usize>| {
                let part = part.start - range.start..part.end - range.start;
                let slots = [&mut *first, &mut *second].map(|slot| slot.get_mut(part.clone()).unwrap_or_default());
                let (param, grad) = (&mut param[part.clone()], &grad[part]);
                update(isa, rule, Update { param, grad, slots, lr, grad_scale, clip_value, step });
            };
            if rule.ignores_zero_gradients() {
                gradient.for_each_extent(at..end, change);
            } else {
                change(at..end);
            }
            pieces.changed(at, &param[at - range.start..end - range.start]);
            at = end;
        }
    }
}

impl Optimizer {
    /// Bytes that the slots of a rule take for an arena of `len` parameters.
    pub fn bytes(rule: Rule, len: usize) -> u64 {
        4 * (rule.slots() * len) as u64
    }

    /// A rule for an arena of `len` parameters, its slots zero.
    pub fn new(isa: Isa, options: OptimizerOptions, len: usize) -> Self {
        let slot = |i| Buffer::new(if i < options.rule.slots() { len } else { 0 });
        let slots = [slot(0), slot(1)];
        Self { isa, options, slots, sums: vec![0.0; len.div_ceil(BLOCK)] }
    }

    /// The Euclidean norm of the whole gradient, on the calling thread.
    pub fn norm<'a>(&mut self, gradient: impl Into<GradientRef<'a>>) -> f64 {
        let (isa, gradient) = (self.isa, gradient.into());
        for (i, sum) in self.sums.iter_mut().enumerate() {
            *sum = block_sum(isa, gradient, i);
        }
        self.sums.iter().sum::<f64>().sqrt()
    }

    /// The Euclidean norm of the whole gradient, by the members of a team; the same bits as [`Self::norm`].
    pub fn norm_by<'a>(&mut self, team: &Team, gradient: impl Into<GradientRef<'a>>) -> f64 {
        let (isa, gradient) = (self.isa, gradient.into());
        let len = gradient.values().len();
        assert_eq!(self.sums.len(), len.div_ceil(BLOCK), "an optimiser made for this arena");
        if self.is_small(team) {
            return self.norm(gradient);
        }
        let each = self.sums.len().div_ceil(team.parts()).max(1);
        let mut parts = self.sums.chunks_mut(each).enumerate();
        team.share_out(
            Work::pass(len),
            |_| parts.next(),
            |(part, sums)| {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = block_sum(isa, gradient, part * each + i);
                }
            },
        );
        self.sums.iter().sum::<f64>().sqrt()
    }

    /// The factor that scales the gradient down to the norm that is allowed.
    fn scale(&self, norm: f64) -> f32 {
        match self.options.clip_norm {
            Some(limit) => clip_factor(norm, limit),
            None => 1.0,
        }
    }

    /// Updates all parameters on the calling thread.
    pub fn update<'a>(&'a mut self, params: &'a mut [f32], gradient: impl Into<GradientRef<'a>>, step: UpdateStep) {
        self.parts(params, gradient.into(), (step, &()), 1).for_each(Part::run);
    }

    /// Updates all parameters by the members of a team, and does with each piece of them what is to be done with it; the same
    /// bits as [`Self::update`].
    pub fn update_by<'a, P: Pieces>(
        &'a mut self,
        team: &Team,
        params: &'a mut [f32],
        gradient: impl Into<GradientRef<'a>>,
        step: UpdateStep,
        pieces: &'a P,
    ) {
        let work = Work::pass(2 * params.len());
        let count = if self.is_small(team) { 1 } else { team.parts() };
        let mut parts = self.parts(params, gradient.into(), (step, pieces), count);
        if count == 1 {
            return parts.for_each(Part::run);
        }
        team.share_out(work, |_| parts.next(), Part::run);
    }

    /// Whether there is nothing to share out: a single block is done before a second thread would be awake.
    fn is_small(&self, team: &Team) -> bool {
        team.size() == 1 || self.sums.len() < 2
    }

    /// Cuts the update into `parts` contiguous parts at multiples of [`BLOCK`] or at the piece before, some of which may be empty.
    ///
    /// # Panics
    ///
    /// If the arenas have not the length that the optimiser was made for.
    #[track_caller]
    pub fn parts<'a, P: Pieces>(
        &'a mut self,
        params: &'a mut [f32],
        gradient: GradientRef<'a>,
        (step, pieces): (UpdateStep, &'a P),
        parts: usize,
    ) -> impl Iterator<Item = Part<'a, P>> {
        let (len, grads) = (params.len(), gradient.values());
        assert_eq!(grads.len(), len, "a gradient for each parameter");
        assert_eq!(self.sums.len(), len.div_ceil(BLOCK), "an optimiser made for this arena");
        let grad_scale = self.scale(step.norm);
        let (isa, rule, clip_value) = (self.isa, self.options.rule, self.options.clip_value);
        let blocks = len.div_ceil(BLOCK);
        let [first, second] = &mut self.slots;
        let mut rest = (params, grads, first.as_mut_slice(), second.as_mut_slice());
        let mut at = 0;
        (0..parts).map(move |part| {
            let end = (blocks * (part + 1) / parts * BLOCK).min(len);
            let range = at..if end < len { pieces.cut(end).max(at) } else { len };
            let n = range.len();
            at = range.end;
            let (param, grad) = (take(&mut rest.0, n), rest.1.split_off(..n).unwrap_or_default());
            let slots = [take(&mut rest.2, n), take(&mut rest.3, n)];
            let update = Update { param, grad, slots, lr: step.lr, grad_scale, clip_value, step: step.step };
            Part { isa, rule, pieces, gradient, range, update }
        })
    }

    /// The slots as tensors, for a checkpoint.
    pub fn tensors(&self, specs: &[ParamSpec]) -> Vec<TensorRef<'_>> {
        self.names(specs)
            .map(|(i, spec, name)| {
                let data = &self.slots[i].as_slice()[spec.range.clone()];
                TensorRef { name, shape: spec.shape.clone(), data }
            })
            .collect()
    }

    /// The names and shapes of [`Self::tensors`].
    pub fn tensor_specs(&self, specs: &[ParamSpec]) -> Vec<TensorSpec> {
        self.names(specs).map(|(_, spec, name)| TensorSpec { name, shape: spec.shape.clone() }).collect()
    }

    /// Fills the slots from a checkpoint.
    pub(crate) fn restore(&mut self, specs: &[ParamSpec], mut copy: impl FnMut(&str, &mut [f32])) {
        let names: Vec<_> = self.names(specs).map(|(i, spec, name)| (i, spec.range.clone(), name)).collect();
        for (i, range, name) in names {
            copy(&name, &mut self.slots[i].as_mut_slice()[range]);
        }
    }

    fn names<'s>(&self, specs: &'s [ParamSpec]) -> impl Iterator<Item = (usize, &'s ParamSpec, String)> {
        let slots = self.options.rule.slots();
        specs.iter().flat_map(move |spec| (0..slots).map(move |i| (i, spec, format!("{}/slot_{i}", spec.name))))
    }
}

/// The sum of squares of block `i`. Rows known to be zero are left out.
fn block_sum(isa: Isa, gradient: GradientRef<'_>, i: usize) -> f64 {
    let (values, mut sum) = (gradient.values(), 0.0);
    gradient.for_each_extent(i * BLOCK..values.len().min((i + 1) * BLOCK), |extent| {
        sum += sum_of_squares(isa, &values[extent]);
    });
    sum
}

/// The first `n` elements of a slice that is then shorter by them; nothing where the slot is not used.
fn take<'a>(slice: &mut &'a mut [f32], n: usize) -> &'a mut [f32] {
    slice.split_off_mut(..n).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Crew;
    use crate::random::{Key, Purpose};
    use unroll_kernels::isa::sets_under_test;

    /// An arena of a few blocks and a rest.
    const LEN: usize = 3 * BLOCK + 1234;

    fn numbers(layer: usize) -> Vec<f32> {
        let key = Key::new(3, Purpose::Bench).layer(layer);
        (0..LEN).map(|i| key.uniform(i as u64) - 0.5).collect()
    }

    fn options(clip_norm: Option<f64>) -> OptimizerOptions {
        let rule = Rule::Adam { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 };
        OptimizerOptions { rule, clip_norm, clip_value: Some(0.4) }
    }

    /// Parameters after three steps, and the norms.
    fn run(isa: Isa, threads: Option<usize>) -> (Vec<u32>, Vec<u64>) {
        let mut optimizer = Optimizer::new(isa, options(Some(100.0)), LEN);
        let crew = threads.map(|threads| Crew::new(threads, 1).unwrap());
        let mut params = numbers(0);
        let mut norms = Vec::new();
        for step in 1..4 {
            let grads = numbers(step as usize);
            let update = |norm| UpdateStep { lr: 0.01, step, norm };
            let norm = match &crew {
                Some(crew) => {
                    let norm = optimizer.norm_by(&crew.team(), &grads[..]);
                    optimizer.update_by(&crew.team(), &mut params, &grads[..], update(norm), &());
                    norm
                }
                None => {
                    let norm = optimizer.norm(&grads[..]);
                    optimizer.update(&mut params, &grads[..], update(norm));
                    norm
                }
            };
            norms.push(norm.to_bits());
        }
        (params.iter().map(|p| p.to_bits()).collect(), norms)
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        for isa in sets_under_test() {
            let alone = run(isa, None);
            for threads in [1, 2, 3, 5, 70] {
                assert!(run(isa, Some(threads)) == alone, "{threads} threads, {isa}");
            }
        }
    }

    #[test]
    fn the_norm_is_that_of_the_whole_gradient_and_is_clipped() {
        let grads = numbers(1);
        let exact = grads.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>().sqrt();
        let mut optimizer = Optimizer::new(Isa::best(), options(None), LEN);
        let norm = optimizer.norm(&grads[..]);
        assert!((norm - exact).abs() <= 1e-5 * exact, "{norm} {exact}");

        // Plain descent shows the scale: the step has the length lr * clip_norm.
        let options = OptimizerOptions { rule: Rule::Sgd, clip_norm: Some(2.0), clip_value: None };
        let mut optimizer = Optimizer::new(Isa::best(), options, LEN);
        let mut params = vec![0.0; LEN];
        optimizer.update(&mut params, &grads[..], UpdateStep { lr: 0.5, step: 1, norm });
        let length = optimizer.norm(&params[..]);
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }

    #[test]
    fn parts_cover_the_arena_once() {
        for parts in [1, 2, 3, 4, 5, 64] {
            let mut optimizer = Optimizer::new(Isa::best(), options(None), LEN);
            let (mut params, grads) = (vec![0.0; LEN], vec![1.0; LEN]);
            let step = UpdateStep { lr: 1.0, step: 1, norm: 1.0 };
            let lens: Vec<usize> = optimizer
                .parts(&mut params, grads.as_slice().into(), (step, &()), parts)
                .map(|part| part.update.param.len())
                .collect();
            assert_eq!((lens.len(), lens.iter().sum::<usize>()), (parts, LEN));
            assert!(lens[..parts - 1].iter().all(|len| len.is_multiple_of(BLOCK)), "{lens:?}");
        }
    }
}
