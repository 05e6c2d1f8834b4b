//! The optimiser's pass over the arena of parameters.
//!
//! The global norm is summed in f64 over fixed blocks of [`BLOCK`] gradients, then over the blocks in order: its bits
//! do not depend on who sums which block. The update is element-wise, so it may be cut anywhere; [`Optimizer::parts`]
//! cuts it at blocks for the members of a team. Elements whose gradient is known to be zero, the rows of tokens that
//! are not in the batch, are passed over where that changes nothing, in the norm always; and where the options say so.

use std::fmt;
use std::ops::Range;

use unroll_kernels::optimizer::{Rule, Update, average, clip_factor, sum_of_squares, update};
use unroll_kernels::{Buffer, Isa};

use crate::arena::Home;
use crate::error::Result;
use crate::exec::{Pieces, Team, Work};
use crate::gradient::GradientRef;
use crate::graph::ParamSpec;

use super::average::Averaging;
use super::tensors::TensorRef;

/// The elements of one block of the norm's sum: 256 KiB of gradients, a multiple of the kernel's own block of 4096.
pub const BLOCK: usize = 1 << 16;

/// The update rule, and what is done to gradients before it.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerOptions {
    /// The rule.
    pub rule: Rule,
    /// The whole gradient is scaled down to this Euclidean norm if it is longer, as PyTorch does it.
    pub clip_norm: Option<f64>,
    /// Each entry is then clamped to plus or minus this.
    pub clip_value: Option<f32>,
    /// Each parameter times this is then added to its gradient; 0 for none. [`Rule::AdamW`] has a decay of its own,
    /// which is not part of the gradient.
    pub weight_decay: f32,
    /// When averaging of the weights begins, if it does.
    pub average: Option<Averaging>,
    /// Whether rows of tables that have no gradient in a step keep their weights and slots, as in PyTorch's
    /// `SparseAdam`. A step then costs only what its own words cost, but rules with momentum or running means no longer
    /// move such rows, and weight decay reaches a row only when it has a gradient. SGD and Adagrad without decay give
    /// the same results either way.
    pub lazy: bool,
}

impl OptimizerOptions {
    /// The rule alone.
    pub fn new(rule: Rule) -> Self {
        Self { rule, clip_norm: None, clip_value: None, weight_decay: 0.0, average: None, lazy: false }
    }
}

/// A rule with its slots (momentum, mean squares) for one arena, and the averages of the parameters if there are any.
pub struct Optimizer {
    isa: Isa,
    options: OptimizerOptions,
    slots: [Buffer; 2],
    averages: Buffer,
    /// The sum of squares of each block.
    sums: Vec<f64>,
}

/// What one update needs besides the arenas.
#[derive(Debug, Clone, Copy)]
pub struct UpdateStep {
    /// The learning rate.
    pub lr: f32,
    /// The training step, from 1.
    pub step: u64,
    /// The Euclidean norm of the whole gradient.
    pub norm: f64,
    /// The weight with which the averages move towards the new parameters; `None`: they stay.
    pub average: Option<f32>,
}

/// A part of the arenas, for one thread.
pub struct Part<'a, P = ()> {
    isa: Isa,
    rule: Rule,
    /// Whether elements whose gradient is known to be zero are passed over.
    passes_over: bool,
    pieces: &'a P,
    gradient: GradientRef<'a>,
    /// The part's elements in the arena.
    range: Range<usize>,
    /// But for the gradient.
    update: Update<'a>,
    /// The averages, and how far they move.
    averages: Option<(&'a mut [f32], f32)>,
}

impl<P: Pieces> Part<'_, P> {
    /// Updates the parameters of this part, piece by piece.
    pub fn run(self) {
        let Self { isa, rule, passes_over, pieces, gradient, range, update: all, mut averages } = self;
        let Update { param, slots: [first, second], .. } = all;
        let mut at = range.start;
        while at < range.end {
            let end = pieces.end(at).min(range.end);
            let change = |part: Range<usize>, grad: &[f32]| {
                let part = part.start - range.start..part.end - range.start;
                let slots = [&mut *first, &mut *second].map(|slot| slot.get_mut(part.clone()).unwrap_or_default());
                update(isa, rule, Update { param: &mut param[part], grad, slots, ..all });
            };
            if passes_over {
                gradient.for_each_extent(at..end, change);
            } else {
                gradient.for_each(at..end, change);
            }
            let piece = at - range.start..end - range.start;
            pieces.changed(at, &param[piece.clone()]);
            if let Some((averages, weight)) = &mut averages {
                average(isa, &mut averages[piece.clone()], &param[piece], *weight);
            }
            at = end;
        }
    }
}

impl fmt::Debug for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Optimizer").field("isa", &self.isa).field("options", &self.options).finish_non_exhaustive()
    }
}

impl Optimizer {
    /// Bytes that slots and averages take for an arena of `len` parameters.
    pub fn bytes(options: &OptimizerOptions, len: usize) -> u64 {
        4 * ((options.rule.slots() + usize::from(options.average.is_some())) * len) as u64
    }

    /// A rule for an arena of `len` parameters, its slots zero.
    pub fn new(isa: Isa, options: OptimizerOptions, len: usize) -> Self {
        let arenas = Self::lens(&options, len).map(Buffer::new);
        Self::of_arenas(isa, options, len, arenas)
    }

    /// [`Self::new`] with the slots in memory that `home` gives.
    ///
    /// # Errors
    ///
    /// As [`Home::arena`].
    pub fn new_in(home: &Home, isa: Isa, options: OptimizerOptions, len: usize) -> Result<Self> {
        let [first, second, averages] = Self::lens(&options, len).map(|len| home.arena(len));
        Ok(Self::of_arenas(isa, options, len, [first?, second?, averages?]))
    }

    /// The lengths of the slots and of the averages.
    fn lens(options: &OptimizerOptions, len: usize) -> [usize; 3] {
        let slots = options.rule.slots();
        [slots > 0, slots > 1, options.average.is_some()].map(|there| if there { len } else { 0 })
    }

    fn of_arenas(isa: Isa, options: OptimizerOptions, len: usize, [first, second, averages]: [Buffer; 3]) -> Self {
        Self { isa, options, slots: [first, second], averages, sums: vec![0.0; len.div_ceil(BLOCK)] }
    }

    /// Whether an update only subtracts the gradient times the rate: plain SGD without clipping, decay or averages.
    /// Then a part of the gradient may come as the factors of a product, which is added to the parameters as it is
    /// computed.
    pub fn takes_factors(&self) -> bool {
        let OptimizerOptions { rule, clip_norm, clip_value, weight_decay, average, lazy: _ } = &self.options;
        *rule == Rule::Sgd && clip_norm.is_none() && clip_value.is_none() && *weight_decay == 0.0 && average.is_none()
    }

    /// The averages of the parameters, in the same layout; empty where nothing is averaged.
    pub fn averages(&self) -> &[f32] {
        self.averages.as_slice()
    }

    /// The averages, to set.
    pub(crate) fn averages_mut(&mut self) -> &mut [f32] {
        self.averages.as_mut_slice()
    }

    /// The Euclidean norm of the whole gradient, on the calling thread.
    pub fn norm<'a>(&mut self, gradient: impl Into<GradientRef<'a>>) -> f64 {
        let (isa, gradient) = (self.isa, gradient.into());
        for (i, sum) in self.sums.iter_mut().enumerate() {
            *sum = block_sum(isa, gradient, i);
        }
        self.sums.iter().sum::<f64>().sqrt()
    }

    /// The Euclidean norm of the whole gradient, computed by the members of a team. The same bits as [`Self::norm`].
    ///
    /// # Panics
    /// When the gradient has another length than the arena that the optimiser was made for.
    pub fn norm_by<'a>(&mut self, team: &Team, gradient: impl Into<GradientRef<'a>>) -> f64 {
        let (isa, gradient) = (self.isa, gradient.into());
        let len = gradient.len();
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

    /// Updates all parameters with the members of a team, and hands each changed piece to `pieces`. The same bits as
    /// [`Self::update`].
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

    /// Cuts the update into `parts` contiguous parts, some of which may be empty. Each begins at a multiple of
    /// [`BLOCK`], or at the last place before it where `pieces` allows a cut.
    ///
    /// # Panics
    ///
    /// When the arenas have not the length for which the optimiser was made.
    #[track_caller]
    pub fn parts<'a, P: Pieces>(
        &'a mut self,
        params: &'a mut [f32],
        gradient: GradientRef<'a>,
        (step, pieces): (UpdateStep, &'a P),
        parts: usize,
    ) -> impl Iterator<Item = Part<'a, P>> {
        let len = params.len();
        assert_eq!(gradient.len(), len, "a gradient for each parameter");
        assert_eq!(self.sums.len(), len.div_ceil(BLOCK), "an optimiser made for this arena");
        let grad_scale = self.scale(step.norm);
        let (isa, rule, clip_value) = (self.isa, self.options.rule, self.options.clip_value);
        let weight_decay = self.options.weight_decay;
        let passes_over = self.options.lazy || rule.ignores_zero_gradients() && weight_decay == 0.0;
        let moved = step.average.filter(|_| self.options.average.is_some());
        let blocks = len.div_ceil(BLOCK);
        let [first, second] = &mut self.slots;
        let mut rest = (params, first.as_mut_slice(), second.as_mut_slice());
        let mut averages = self.averages.as_mut_slice();
        let mut at = 0;
        (0..parts).map(move |part| {
            let end = (blocks * (part + 1) / parts * BLOCK).min(len);
            let range = at..if end < len { pieces.cut(end).max(at) } else { len };
            let n = range.len();
            at = range.end;
            let param = take(&mut rest.0, n);
            let slots = [take(&mut rest.1, n), take(&mut rest.2, n)];
            let UpdateStep { lr, step, .. } = step;
            let update = Update { param, grad: &[], slots, lr, grad_scale, clip_value, weight_decay, step };
            let averages = moved.map(|weight| (take(&mut averages, n), weight));
            Part { isa, rule, passes_over, pieces, gradient, range, update, averages }
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

    /// Fills the slots from a checkpoint.
    pub(crate) fn restore(
        &mut self,
        specs: &[ParamSpec],
        mut copy: impl FnMut(&str, &mut [f32]) -> Result<()>,
    ) -> Result<()> {
        let names: Vec<_> = self.names(specs).map(|(i, spec, name)| (i, spec.range.clone(), name)).collect();
        names.into_iter().try_for_each(|(i, range, name)| copy(&name, &mut self.slots[i].as_mut_slice()[range]))
    }

    fn names<'s>(&self, specs: &'s [ParamSpec]) -> impl Iterator<Item = (usize, &'s ParamSpec, String)> {
        let slots = self.options.rule.slots();
        specs.iter().flat_map(move |spec| (0..slots).map(move |i| (i, spec, format!("{}/slot_{i}", spec.name))))
    }
}

/// The sum of squares of block `i`. Rows known to be zero are left out.
fn block_sum(isa: Isa, gradient: GradientRef<'_>, i: usize) -> f64 {
    let mut sum = 0.0;
    gradient.for_each_extent(i * BLOCK..gradient.len().min((i + 1) * BLOCK), |_, values| {
        sum += sum_of_squares(isa, values);
    });
    sum
}

/// The first `n` elements of a slice that is then shorter by them; nothing where the slot is not used.
fn take<'a>(slice: &mut &'a mut [f32], n: usize) -> &'a mut [f32] {
    slice.split_off_mut(..n).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::average::AverageState;
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
        let average = Some(Averaging::After { t0: 0 });
        OptimizerOptions { clip_norm, clip_value: Some(0.4), weight_decay: 0.1, average, ..OptimizerOptions::new(rule) }
    }

    /// Parameters and averages after three steps, and the norms.
    fn run(isa: Isa, threads: Option<usize>) -> (Vec<u32>, Vec<u64>) {
        let mut optimizer = Optimizer::new(isa, options(Some(100.0)), LEN);
        let crew = threads.map(|threads| Crew::new(threads, 1).unwrap());
        let mut params = numbers(0);
        let mut norms = Vec::new();
        for step in 1..4 {
            let grads = numbers(step as usize);
            let update = |norm| UpdateStep { lr: 0.01, step, norm, average: Some(1.0 / step as f32) };
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
        (params.iter().chain(optimizer.averages()).map(|p| p.to_bits()).collect(), norms)
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
        let options = OptimizerOptions { clip_norm: Some(2.0), ..OptimizerOptions::new(Rule::Sgd) };
        let mut optimizer = Optimizer::new(Isa::best(), options, LEN);
        let mut params = vec![0.0; LEN];
        optimizer.update(&mut params, &grads[..], UpdateStep { lr: 0.5, step: 1, norm, average: None });
        let length = optimizer.norm(&params[..]);
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }

    /// Numbers of `torch.optim.ASGD(lr=0.1, lambd=0, t0=2, weight_decay=0.5)` of PyTorch 2 on the sum of c (p - m)^2 /
    /// 2 with c = (1, 3), m = (1/4, 1/2), from p = (1, -2): parameters and averages after six steps.
    #[test]
    fn a_quadratic_is_averaged_as_pytorch_does() {
        let average = Some(Averaging::After { t0: 2 });
        let options = OptimizerOptions { weight_decay: 0.5, average, ..OptimizerOptions::new(Rule::Sgd) };
        let mut optimizer = Optimizer::new(Isa::best(), options, 2);
        let state = AverageState::new(average);
        let mut params = [1.0f32, -2.0];
        let close = |found: &[f32], want: [f64; 2]| {
            let near = |(&found, want): (&f32, f64)| (f64::from(found) - want).abs() <= 2e-7;
            assert!(found.iter().zip(want).all(near), "{found:?} {want:?}");
        };
        for step in 1..=6 {
            let grads = [params[0] - 0.25, 3.0 * (params[1] - 0.5)];
            let norm = optimizer.norm(&grads[..]);
            let at = UpdateStep { lr: 0.1, step, norm, average: state.weight(step) };
            optimizer.update(&mut params, &grads[..], at);
            if step == 4 {
                close(&params, [0.6016718745231628, -0.004943736828863621]);
                assert_eq!(optimizer.averages(), params);
            }
        }
        close(&params, [0.480957955121994, 0.24541127681732178]);
        close(optimizer.averages(), [0.5396836400032043, 0.12908470630645752]);
    }

    #[test]
    fn parts_cover_the_arena_once() {
        for parts in [1, 2, 3, 4, 5, 64] {
            let mut optimizer = Optimizer::new(Isa::best(), options(None), LEN);
            let (mut params, grads) = (vec![0.0; LEN], vec![1.0; LEN]);
            let step = UpdateStep { lr: 1.0, step: 1, norm: 1.0, average: None };
            let lens: Vec<usize> = optimizer
                .parts(&mut params, grads.as_slice().into(), (step, &()), parts)
                .map(|part| part.update.param.len())
                .collect();
            assert_eq!((lens.len(), lens.iter().sum::<usize>()), (parts, LEN));
            assert!(lens[..parts - 1].iter().all(|len| len.is_multiple_of(BLOCK)), "{lens:?}");
        }
    }
}
