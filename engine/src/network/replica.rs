//! One replica: a plan's nodes run in order over its rows of the batch, and back.

use super::state::State;
use super::unmasked::Unmasked;
use super::{Batch, LossSum};
use crate::exec::{Products, Start};
use crate::gradient::Gradient;
use crate::graph::{Axis, Graph, Source};
use crate::heads::{Backward, Head, LogPartitionSums, Scored};
use crate::layers::{Context, Dims, Extent, Inputs, InputsMut, Layer, Slot};
use std::ops::Range;
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::{Buffer, Mat, MatMut};

/// The layers of a plan with their activations and gradients, which compute some rows of every batch.
pub(crate) struct Replica {
    slots: Vec<Slot>,
    sources: Vec<Vec<Source>>,
    /// The sequence along which each node works.
    axes: Vec<Axis>,
    /// The head of each output.
    heads: Vec<Scoring>,
    /// The tokens of each sequence.
    tokens: [Vec<u32>; 2],
    pub(super) grads: Gradient,
    /// The rows of the last batch that this replica took.
    pub(super) rows: Range<usize>,
    /// The head's inputs after each row's last step, where these rows are not contiguous.
    last: Buffer,
    /// Scratch for [`Self::add_factors`].
    scaled: Buffer,
}

/// The head of an output, its targets and losses.
pub(super) struct Scoring {
    head: Head,
    /// The node whose output is its input.
    input: usize,
    /// Whether there is a target for each step.
    sequence: bool,
    targets: Vec<u32>,
    losses: Vec<f32>,
    sum: LossSum,
}

impl Scoring {
    /// With room for `positions` targets.
    pub(super) fn new(head: Head, input: usize, sequence: bool, positions: usize) -> Self {
        let (targets, losses) = (Vec::with_capacity(positions), vec![0.0; positions]);
        Self { head, input, sequence, targets, losses, sum: LossSum::default() }
    }

    /// Computes the losses and, in training, the gradients.
    fn run(&mut self, ctx: &Context<'_>, slots: &mut [Slot], training: Option<(f32, &mut Gradient)>) {
        let Self { head, targets, losses, .. } = self;
        let output = &mut slots[self.input].output;
        let losses = &mut losses[..targets.len()];
        match training {
            None => head.run(ctx, &Scored { x: output.y(ctx.dims), targets, scale: 0.0 }, losses, None),
            Some((scale, grads)) => {
                let (x, dx) = output.y_and_dy(ctx.dims);
                head.run(ctx, &Scored { x, targets, scale }, losses, Some(Backward { dx, grads }));
            }
        }
        self.tally();
    }

    /// Adds up the losses in the order of the positions.
    fn tally(&mut self) {
        let count = self.targets.iter().filter(|&&t| t != unroll_kernels::softmax::IGNORE).count() as u64;
        let nats = self.losses[..self.targets.len()].iter().map(|&loss| f64::from(loss)).sum();
        self.sum = LossSum { nats, count };
    }
}

impl Replica {
    pub(super) fn new(
        (slots, sources): (Vec<Slot>, Vec<Vec<Source>>),
        heads: Vec<Scoring>,
        graph: &Graph,
        capacity: [Dims; 2],
        grads: Gradient,
    ) -> Self {
        Self {
            slots,
            sources,
            heads,
            tokens: capacity.map(|capacity| Vec::with_capacity(capacity.tokens)),
            axes: graph.nodes().iter().map(|node| node.axis).collect(),
            grads,
            rows: 0..0,
            last: Buffer::default(),
            scaled: Buffer::default(),
        }
    }

    /// Copies this replica's rows of the batch: the positions that exist.
    pub(super) fn take(
        &mut self,
        batch: &Batch<'_>,
        rows: Range<usize>,
        extents: &mut [Extent; 2],
        unmasked: [Option<Unmasked<'_>>; 2],
    ) {
        let _span = profile::enter(Phase::Data);
        let (all, first, width) = (batch.rows, rows.start, rows.len());
        let sequences = [(batch.steps, batch.inputs), (batch.source_steps, batch.source)];
        let copy = |extent: &Extent, from: &[u32], to: &mut Vec<u32>| {
            if extent.is_whole() {
                return from.chunks_exact(all).for_each(|step| to.extend_from_slice(&step[first..first + width]));
            }
            for p in 0..extent.dims().tokens {
                let (t, n) = extent.position(p);
                to.push(from[t * all + first + n]);
            }
        };
        for (axis, (steps, tokens)) in sequences.into_iter().enumerate() {
            let unmasked = unmasked[axis]
                .map(|unmasked| move |at: usize| unmasked.contains(at / width * all + first + at % width));
            extents[axis].build(steps, width, unmasked);
            self.tokens[axis].clear();
            if !tokens.is_empty() {
                copy(&extents[axis], tokens, &mut self.tokens[axis]);
            }
        }
        let mut given = batch.targets;
        for scoring in &mut self.heads {
            scoring.targets.clear();
            scoring.sum = LossSum::default();
            let count = if scoring.sequence { batch.steps * all } else { all };
            let Some(own) = given.split_off(..count) else { continue };
            if scoring.sequence {
                copy(&extents[0], own, &mut scoring.targets);
            } else {
                scoring.targets.extend_from_slice(&own[rows.clone()]);
            }
        }
        let slots = self.slots.iter_mut().zip(&self.axes);
        let inputs = slots.filter_map(|(Slot { layer, output }, axis)| match layer {
            Layer::Input(input) => Some((*input, output, *axis)),
            _ => None,
        });
        for ((input, output, axis), vectors) in inputs.zip(batch.vectors) {
            input.take(vectors, all, &rows, &extents[axis as usize], output);
        }
        self.rows = rows;
    }

    /// Runs the forward pass up to the heads' inputs.
    pub(super) fn forward(&mut self, ctx: &Context<'_>, state: &State) {
        for i in 0..self.slots.len() {
            let (axis, ctx) = (self.axes[i], &ctx.on(self.axes[i]));
            let (before, rest) = self.slots.split_at_mut(i);
            let Slot { layer, output } = &mut rest[0];
            let tokens = &self.tokens[axis as usize];
            let inputs = Inputs { tokens, before, sources: &self.sources[i], dims: ctx.dims };
            layer.forward(ctx, inputs, output, &state.carried[i]);
        }
    }

    /// Computes the losses of the last forward pass and, if the factors of the outputs' losses are given, runs the
    /// whole backward pass.
    pub(super) fn finish(&mut self, ctx: &Context<'_>, scales: Option<&[f32]>) {
        let Some(scales) = scales else {
            self.heads.iter_mut().for_each(|scoring| scoring.run(ctx, &mut self.slots, None));
            return;
        };
        {
            let _span = profile::enter(Phase::ElementWise);
            self.grads.begin(ctx.products());
        }
        for (slot, &axis) in self.slots.iter_mut().zip(&self.axes) {
            slot.clear_gradient(ctx.products(), ctx.on(axis).dims);
        }
        for (scoring, &scale) in self.heads.iter_mut().zip(scales) {
            scoring.run(ctx, &mut self.slots, Some((scale, &mut self.grads)));
        }
        for i in (0..self.slots.len()).rev() {
            let (axis, ctx) = (self.axes[i], &ctx.on(self.axes[i]));
            let (before, rest) = self.slots.split_at_mut(i);
            let Slot { layer, output } = &mut rest[0];
            let tokens = &self.tokens[axis as usize];
            let inputs = InputsMut { tokens, before, sources: &self.sources[i], dims: ctx.dims };
            layer.backward(ctx, inputs, output, &mut self.grads);
        }
        self.grads.finish();
    }

    /// The sums of each output's losses.
    pub(super) fn sums(&self) -> impl Iterator<Item = LossSum> {
        self.heads.iter().map(|scoring| scoring.sum)
    }

    /// The [`Head::log_partition`] of each output.
    pub(super) fn log_partitions(&self) -> impl Iterator<Item = Option<LogPartitionSums>> {
        self.heads.iter().map(|scoring| scoring.head.log_partition())
    }

    /// A step of a replica that has no rows: its gradient is zero.
    pub(super) fn rest(&mut self, ctx: &Context<'_>) {
        self.grads.begin(ctx.products());
        self.grads.finish();
    }

    /// Whether the gradient of the head's kernel may be left as its factors: of a model with one output.
    pub(super) fn want_factors(&mut self, want: bool) {
        if let [Scoring { head: Head::Softmax(head), .. }] = self.heads.as_mut_slice() {
            head.want_factors(want);
        }
    }

    /// Writes out the gradient that the last step left as its factors; returns its elements, if there is one.
    pub(super) fn write_factors(&mut self, products: Products<'_>, dims: Dims) -> Option<Range<usize>> {
        let [Scoring { head: Head::Softmax(head), input, .. }] = self.heads.as_slice() else { return None };
        let kernel = head.left()?.kernel.clone();
        let (start, values) = self.grads.write(&kernel);
        head.add_factors(products, self.slots[*input].output.y(dims), start, values);
        Some(kernel)
    }

    /// Treats the gradient that was written out as any other from now on.
    pub(super) fn settle_factors(&mut self) {
        if let [Scoring { head: Head::Softmax(head), .. }] = self.heads.as_mut_slice() {
            head.settle();
        }
    }

    /// Adds `factor` times the gradient that the last step left as its factors to the parameters, without ever writing
    /// that gradient.
    pub(super) fn add_factors(&mut self, products: Products<'_>, dims: Dims, factor: f32, params: &mut [f32]) {
        let [Scoring { head: Head::Softmax(head), input, .. }] = self.heads.as_slice() else { return };
        let Some(dense) = head.left() else { return };
        let x = self.slots[*input].output.y(dims);
        self.scaled.reserve(x.rows() * x.cols());
        let mut scaled = MatMut::dense(&mut self.scaled, x.rows(), x.cols());
        for r in 0..x.rows() {
            scaled.row_mut(r).iter_mut().zip(x.row(r)).for_each(|(to, x)| *to = factor * x);
        }
        head.add_factors(products, scaled.as_ref(), Start::Keep, &mut params[dense.kernel.clone()]);
    }

    /// The first node whose output in the last forward pass is not finite.
    pub(super) fn first_non_finite(&self, extents: &[Extent; 2]) -> Option<usize> {
        let isa = unroll_kernels::Isa::best();
        let finite = |y: Mat<'_>| (0..y.rows()).all(|r| unroll_kernels::optimizer::is_finite(isa, y.row(r)));
        let mut slots = self.slots.iter().zip(&self.axes);
        slots.position(|(slot, &axis)| {
            !matches!(slot.layer, Layer::Fused) && !finite(slot.output.y(extents[axis as usize].dims()))
        })
    }

    /// Writes the state after the last step.
    pub(super) fn carry(&mut self, extents: &[Extent; 2], state: &mut State) {
        let first = self.rows.start;
        for ((slot, &axis), carried) in self.slots.iter_mut().zip(&self.axes).zip(&mut state.carried) {
            if let Slot { layer: Layer::Recurrent(layer), output } = slot {
                layer.carry(output, &extents[axis as usize], first, carried);
            }
        }
    }

    /// Calls `found` with the gradients of h in the last backward pass: node, direction, whether it reads from the end,
    /// time and row.
    pub(super) fn state_gradients(
        &mut self,
        extents: &[Extent; 2],
        mut found: impl FnMut(usize, usize, bool, [usize; 2], &[f32]),
    ) {
        for (i, slot) in self.slots.iter_mut().enumerate() {
            if let Slot { layer: Layer::Recurrent(layer), output } = slot {
                let extent = &extents[self.axes[i] as usize];
                layer.state_gradients(output, extent, |direction, reverse, at, d| found(i, direction, reverse, at, d));
            }
        }
    }

    /// The output of a node in the last forward pass, (P, cols) or (N, cols); `None` if it is not computed.
    pub(super) fn output(&self, node: usize, ctx: &Context<'_>) -> Option<Mat<'_>> {
        let dims = ctx.on(*self.axes.get(node)?).dims;
        match self.slots.get(node)? {
            Slot { layer: Layer::Fused | Layer::Joint(_), .. } => None,
            Slot { layer: Layer::Recurrent(layer), output } => Some(layer.states(output, dims)),
            Slot { output, .. } => Some(output.y(dims)),
        }
    }

    /// Writes the losses of the last step to their places in a batch of `steps` x `all` rows.
    pub(super) fn losses(&self, extent: &Extent, [steps, all]: [usize; 2], mut out: &mut [f32]) {
        for scoring in &self.heads {
            let count = if scoring.sequence { steps * all } else { all };
            let own = out.split_off_mut(..count.min(out.len())).unwrap_or_default();
            for (p, &loss) in scoring.losses[..scoring.targets.len()].iter().enumerate() {
                let (t, n) = if scoring.sequence { extent.position(p) } else { (0, p) };
                own[t * all + self.rows.start + n] = loss;
            }
        }
    }

    /// The logits of the first output after each row's last step: (N, V).
    pub(super) fn logits<'s>(&'s mut self, ctx: &Context<'_>) -> Mat<'s> {
        let (head, last) = self.head_and_last(ctx);
        head.logits(ctx, last)
    }

    /// The most probable tokens after each row's last step.
    pub(super) fn best(&mut self, ctx: &Context<'_>, k: usize) -> Vec<Vec<(u32, f32)>> {
        let (head, last) = self.head_and_last(ctx);
        head.best(ctx, last, k)
    }

    /// The head of the first output, and its input after each row's last step, (N, D).
    fn head_and_last<'s>(&'s mut self, ctx: &Context<'_>) -> (&'s mut Head, Mat<'s>) {
        let Scoring { head, input, sequence, .. } = &mut self.heads[0];
        let y = self.slots[*input].output.y(ctx.dims);
        let Dims { rows, tokens, .. } = ctx.dims;
        let last = if !*sequence {
            y
        } else if ctx.extent.is_whole() {
            y.rows_range(tokens - rows..tokens)
        } else {
            self.last.reserve(rows * y.cols());
            let mut last = MatMut::dense(&mut self.last, rows, y.cols());
            for n in 0..rows {
                match ctx.extent.length(n) {
                    0 => last.row_mut(n).fill(0.0),
                    length => last.row_mut(n).copy_from_slice(y.row(ctx.extent.place(n, length - 1))),
                }
            }
            Mat::dense(&self.last, rows, y.cols())
        };
        (head, last)
    }

    /// The logits of output `o` of all positions, packed, or of all rows: (P, V) or (N, V).
    pub(super) fn all_logits<'s>(&'s mut self, ctx: &Context<'_>, o: usize) -> Mat<'s> {
        let Scoring { head, input, .. } = &mut self.heads[o];
        head.logits(ctx, self.slots[*input].output.y(ctx.dims))
    }
}
