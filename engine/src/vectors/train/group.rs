//! The gradients of some words of the text, the unit that threads share out.

use std::ops::Range;

use unroll_kernels::mat::padded;
use unroll_kernels::skipgram::{self, Pairs, Room, Shared, Window};
use unroll_kernels::{Buffer, Isa, Mat, MatMut};

use super::options::{Loss, Model};
use super::rows::{Rows, Slots};
use super::sampling::{GROUP, NOISE, Sample, Sampler};
use crate::exec::Work;

/// A group's words, copies of their vectors, and the gradients of these.
#[derive(Default)]
pub(super) struct Group {
    pub(super) sample: Sample,
    /// The rows of the outputs: the group's own words, then the noise; or the nodes of each word's path.
    targets: Vec<u32>,
    /// Where in `targets` each word's path is, and which way it goes at each node: 1 for the first child.
    paths: Vec<Range<usize>>,
    ways: Vec<f32>,
    /// X, of the sample's words.
    inputs: Buffer,
    /// Y, of the targets.
    outputs: Buffer,
    /// H, CBOW's means.
    hidden: Buffer,
    dhidden: Buffer,
    /// How often an input, or a mean, is compared with a word of the text.
    times: Vec<u32>,
    /// W: how often it counts against each noise word, or each node.
    weights: Vec<f32>,
    /// Windows of the means: each its own.
    alone: Vec<Window>,
    room: Room,
    /// Whose gradients those of the inputs are.
    pub(super) input_slots: Slots,
    /// Whose those of the outputs are.
    pub(super) output_slots: Slots,
    /// The sum of the losses, and of how many predictions.
    pub(super) loss: f64,
    pub(super) predictions: u64,
    /// Pairs of vectors that were multiplied, for the value and for two gradients.
    pub(super) products: u64,
}

/// What all groups share.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) isa: Isa,
    pub(super) model: Model,
    pub(super) loss: Loss,
    /// The nodes of the longest path of a word's, where words are leaves of a tree.
    pub(super) depth: usize,
    /// D
    pub(super) dim: usize,
    /// Noise words that a pair counts against, of those that it is compared with.
    pub(super) negative: usize,
    /// The most neighbours on a side.
    pub(super) window: usize,
    /// Stripes of the vectors.
    pub(super) stripes: usize,
}

impl Shape {
    /// Rows of a group's gradients at most: those of inputs, and those of outputs.
    pub(super) fn rows(&self) -> [usize; 2] {
        let outputs = match self.loss {
            Loss::Negative => GROUP + NOISE,
            Loss::Hierarchical => GROUP * self.depth,
        };
        [GROUP + 2 * self.window, outputs]
    }

    /// What a pass over this many groups costs: some thirty microseconds a hundred elements, most of it the way of vectors
    /// between the caches.
    pub(super) fn work(&self, groups: usize) -> Work {
        Work { flops: groups * self.dim * 40_000, bytes: 0 }
    }
}

impl Group {
    /// Computes the gradients by the vectors of inputs and outputs as they are, into a part of the batch's own.
    pub(super) fn compute(&mut self, shape: Shape, sampler: &Sampler, vectors: [&Rows; 2], gradients: [&mut [f32]; 2]) {
        let Shape { isa, model, dim, stripes, .. } = shape;
        let (span, centres) = (self.sample.words.len(), self.sample.own.len());
        (self.loss, self.predictions, self.products) = (0.0, 0, 0);
        self.targets.clear();
        if centres > 0 {
            self.count(shape);
            self.aim(shape, sampler);
        }
        self.input_slots.sort(if centres > 0 { &self.sample.words } else { &[] }, stripes);
        self.output_slots.sort(&self.targets, stripes);
        if self.targets.is_empty() {
            // Nobody changes, whatever the gradients were.
            self.input_slots.sort(&[], stripes);
            return;
        }
        let stride = padded(dim);
        self.inputs.reserve(span * stride);
        vectors[0].gather(&self.sample.words, &mut self.inputs);
        self.outputs.reserve(self.targets.len() * stride);
        vectors[1].gather(&self.targets, &mut self.outputs);
        let inputs = Mat::new(&self.inputs, span, dim, stride);
        let outputs = Mat::new(&self.outputs, self.targets.len(), dim, stride);
        let [dinputs, doutputs] = gradients;
        dinputs[..span * stride].fill(0.0);
        let mut dinputs = MatMut::new(dinputs, span, dim, stride);
        let doutputs = MatMut::new(doutputs, self.targets.len(), dim, stride);
        let (paths, ways) = (&self.paths, &self.ways[..]);
        let weights = &mut self.weights;
        let mut args = Args { shape, outputs, centres, weights, paths, ways, doutputs, room: &mut self.room };
        let windows = &self.sample.windows;
        self.loss = match model {
            Model::SkipGram => args.gradients(inputs, windows, dinputs),
            Model::Cbow => {
                self.hidden.reserve(centres * stride);
                let mut hidden = MatMut::new(&mut self.hidden, centres, dim, stride);
                skipgram::means(isa, inputs, windows, hidden.reborrow());
                self.dhidden.reserve(centres * stride);
                self.dhidden[..centres * stride].fill(0.0);
                let mut dhidden = MatMut::new(&mut self.dhidden, centres, dim, stride);
                let loss = args.gradients(hidden.as_ref(), &self.alone, dhidden.reborrow());
                skipgram::spread(isa, dhidden.as_ref(), windows, dinputs.reborrow());
                loss
            }
        };
    }

    /// How often each input, or mean, is compared with a word of the text.
    fn count(&mut self, shape: Shape) {
        let Sample { words, windows, .. } = &self.sample;
        self.alone.clear();
        self.times.clear();
        match shape.model {
            Model::SkipGram => {
                self.times.resize(words.len(), 0);
                windows.iter().flat_map(|window| window.inputs()).for_each(|n| self.times[n] += 1);
            }
            Model::Cbow => {
                self.times.extend(windows.iter().map(|window| u32::from(window.count() > 0)));
                self.alone.extend((0..).zip(&self.times).map(|(i, &there)| {
                    let after = i + there;
                    Window { first: i, own: after, after, end: after }
                }));
            }
        }
        self.predictions = self.times.iter().map(|&times| u64::from(times)).sum();
    }

    /// What is predicted: words and noise, or the paths of words.
    fn aim(&mut self, shape: Shape, sampler: &Sampler) {
        let Sample { words, own, noise, windows, .. } = &self.sample;
        let Some(tree) = sampler.tree() else {
            self.targets.extend_from_slice(&words[own.clone()]);
            self.targets.extend_from_slice(noise);
            self.weigh(shape);
            self.products = 3 * (self.predictions + self.weights.len() as u64);
            return;
        };
        self.paths.clear();
        self.ways.clear();
        for (&word, window) in words[own.clone()].iter().zip(windows) {
            let start = self.targets.len();
            if window.count() > 0 {
                for turn in tree.path(word) {
                    self.targets.push(turn.node);
                    self.ways.push(f32::from(u8::from(!turn.second)));
                }
            }
            self.paths.push(start..self.targets.len());
            let inputs = if shape.model == Model::SkipGram { window.count() } else { 1 };
            self.products += 3 * (inputs * (self.targets.len() - start)) as u64;
        }
    }

    /// How often each input counts against each noise word: as often as it is compared with a word of the text, but for those
    /// that are the noise word themselves.
    fn weigh(&mut self, shape: Shape) {
        let Sample { words, own, windows, noise, .. } = &self.sample;
        let share = shape.negative as f32 / NOISE as f32;
        self.weights.clear();
        for &times in &self.times {
            self.weights.extend([share * times as f32; NOISE]);
        }
        for (i, (word, window)) in words[own.clone()].iter().zip(windows).enumerate() {
            for s in (0..NOISE).filter(|&s| noise[s] == *word) {
                match shape.model {
                    Model::SkipGram => window.inputs().for_each(|n| self.weights[n * NOISE + s] -= share),
                    Model::Cbow => self.weights[i * NOISE + s] = 0.0,
                }
            }
        }
    }
}

/// What the gradients of inputs, or of their means, are computed with.
struct Args<'a> {
    shape: Shape,
    outputs: Mat<'a>,
    /// How many words of the text are predicted.
    centres: usize,
    weights: &'a mut Vec<f32>,
    paths: &'a [Range<usize>],
    ways: &'a [f32],
    doutputs: MatMut<'a>,
    room: &'a mut Room,
}

impl Args<'_> {
    /// The gradients of words of the text with the inputs of their windows; returns the loss.
    fn gradients(&mut self, inputs: Mat<'_>, windows: &[Window], dinputs: MatMut<'_>) -> f64 {
        match self.shape.loss {
            Loss::Negative => self.with_noise(inputs, windows, dinputs),
            Loss::Hierarchical => self.along_paths(inputs, windows, dinputs),
        }
    }

    /// Of words with the inputs of their windows, and of all inputs with the noise.
    fn with_noise(&mut self, inputs: Mat<'_>, windows: &[Window], mut dinputs: MatMut<'_>) -> f64 {
        let Self { shape, outputs, centres, weights, doutputs, room, .. } = self;
        let (words, noise) = doutputs.reborrow().split_rows_at(*centres);
        let there = skipgram::pairs(
            shape.isa,
            Pairs {
                inputs,
                outputs: outputs.rows_range(0..*centres),
                windows,
                dinputs: dinputs.reborrow(),
                doutputs: words,
                room,
            },
        );
        let absent = skipgram::shared(
            shape.isa,
            Shared {
                inputs,
                outputs: outputs.rows_range(*centres..outputs.rows()),
                weights: Mat::dense(weights, inputs.rows(), NOISE),
                labels: &[0.0; NOISE],
                dinputs,
                doutputs: noise,
                room,
            },
        );
        there + absent
    }

    /// Of each word's path with the inputs of its window.
    fn along_paths(&mut self, inputs: Mat<'_>, windows: &[Window], mut dinputs: MatMut<'_>) -> f64 {
        let Self { shape, outputs, weights, paths, ways, doutputs, room, .. } = self;
        let mut loss = 0.0;
        for (window, path) in windows.iter().zip(*paths) {
            if path.is_empty() {
                continue;
            }
            let rows = window.first as usize..window.end as usize;
            weights.clear();
            weights.resize(rows.len() * path.len(), 1.0);
            // The word itself stands among its neighbours.
            let own = [window.own, window.after].map(|n| (n - window.first) as usize * path.len());
            weights[own[0]..own[1]].fill(0.0);
            loss += skipgram::shared(
                shape.isa,
                Shared {
                    inputs: inputs.rows_range(rows.clone()),
                    outputs: outputs.rows_range(path.clone()),
                    weights: Mat::dense(weights, rows.len(), path.len()),
                    labels: &ways[path.clone()],
                    dinputs: dinputs.reborrow().rows_range(rows),
                    doutputs: doutputs.reborrow().rows_range(path.clone()),
                    room,
                },
            );
        }
        loss
    }
}
