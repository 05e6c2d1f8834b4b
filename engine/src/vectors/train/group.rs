//! The gradients of some words of the text, the unit that threads share out.

use unroll_kernels::mat::padded;
use unroll_kernels::skipgram::{self, Pairs, Room, Shared, Window};
use unroll_kernels::{Buffer, Isa, Mat, MatMut};

use super::options::Model;
use super::rows::{Rows, Slots};
use super::sampling::{NOISE, Sample};

/// A group's words, copies of their vectors, and the gradients of these.
#[derive(Default)]
pub(super) struct Group {
    pub(super) sample: Sample,
    /// The rows of the outputs: the group's own words, then the noise.
    targets: Vec<u32>,
    /// X, of the sample's words.
    inputs: Buffer,
    /// Y, of the targets.
    outputs: Buffer,
    /// H, CBOW's means.
    hidden: Buffer,
    dhidden: Buffer,
    /// W: how often an input counts against each noise word.
    weights: Vec<f32>,
    /// Windows of the means: each its own.
    alone: Vec<Window>,
    room: Room,
    /// What the inputs change by.
    pub(super) dinputs: Buffer,
    pub(super) input_slots: Slots,
    /// What the outputs change by.
    pub(super) doutputs: Buffer,
    pub(super) output_slots: Slots,
    /// The sum of the losses, and of how many predictions.
    pub(super) loss: f64,
    pub(super) predictions: u64,
}

/// What all groups share.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) isa: Isa,
    pub(super) model: Model,
    /// D
    pub(super) dim: usize,
    /// Noise words that a pair counts against, of those that it is compared with.
    pub(super) negative: usize,
    /// Stripes of the vectors.
    pub(super) stripes: usize,
}

/// A view of the first rows of a buffer, which grows to hold them.
fn view(buffer: &mut Buffer, rows: usize, dim: usize) -> MatMut<'_> {
    buffer.reserve(rows * padded(dim));
    MatMut::new(buffer, rows, dim, padded(dim))
}

/// The same, of zeros.
fn zeros(buffer: &mut Buffer, rows: usize, dim: usize) -> MatMut<'_> {
    buffer.reserve(rows * padded(dim));
    buffer[..rows * padded(dim)].fill(0.0);
    MatMut::new(buffer, rows, dim, padded(dim))
}

impl Group {
    /// Computes the gradients by the vectors of inputs and outputs as they are.
    pub(super) fn compute(&mut self, shape: Shape, vectors: [&Rows; 2]) {
        let Shape { isa, model, dim, stripes, .. } = shape;
        let Sample { words, own, noise, .. } = &self.sample;
        let (span, centres) = (words.len(), own.len());
        self.targets.clear();
        if centres > 0 {
            self.targets.extend_from_slice(&words[own.clone()]);
            self.targets.extend_from_slice(noise);
        }
        self.input_slots.sort(if centres > 0 { words } else { &[] }, stripes);
        self.output_slots.sort(&self.targets, stripes);
        (self.loss, self.predictions) = (0.0, 0);
        if centres == 0 {
            return;
        }
        self.weigh(shape);
        let stride = padded(dim);
        self.inputs.reserve(span * stride);
        vectors[0].gather(&self.sample.words, &mut self.inputs);
        self.outputs.reserve(self.targets.len() * stride);
        vectors[1].gather(&self.targets, &mut self.outputs);
        let inputs = Mat::new(&self.inputs, span, dim, stride);
        let outputs = Mat::new(&self.outputs, self.targets.len(), dim, stride);
        let mut dinputs = zeros(&mut self.dinputs, span, dim);
        let doutputs = view(&mut self.doutputs, self.targets.len(), dim);
        let mut args = Args { isa, outputs, centres, weights: &self.weights, doutputs, room: &mut self.room };
        let windows = &self.sample.windows;
        self.loss = match model {
            Model::SkipGram => args.gradients(inputs, windows, dinputs),
            Model::Cbow => {
                let mut hidden = view(&mut self.hidden, centres, dim);
                skipgram::means(isa, inputs, windows, hidden.reborrow());
                let mut dhidden = zeros(&mut self.dhidden, centres, dim);
                let loss = args.gradients(hidden.as_ref(), &self.alone, dhidden.reborrow());
                skipgram::spread(isa, dhidden.as_ref(), windows, dinputs.reborrow());
                loss
            }
        };
    }

    /// How often each input counts against each noise word: as often as it is compared with a word of the text, but for those
    /// that are the noise word themselves.
    fn weigh(&mut self, shape: Shape) {
        let Sample { words, own, windows, noise, .. } = &self.sample;
        let share = shape.negative as f32 / NOISE as f32;
        let rows = if shape.model == Model::SkipGram { words.len() } else { own.len() };
        self.weights.clear();
        self.weights.resize(rows * NOISE, 0.0);
        self.alone.clear();
        let compared = |weights: &mut [f32], input: usize, by: f32| {
            weights[input * NOISE..][..NOISE].iter_mut().for_each(|w| *w += by);
        };
        for (i, window) in windows.iter().enumerate() {
            let there = u32::from(window.count() > 0);
            match shape.model {
                Model::SkipGram => {
                    window.inputs().for_each(|n| compared(&mut self.weights, n, share));
                    self.predictions += window.count() as u64;
                }
                Model::Cbow => {
                    compared(&mut self.weights, i, share * there as f32);
                    let i = i as u32;
                    self.alone.push(Window { first: i, own: i + there, after: i + there, end: i + there });
                    self.predictions += u64::from(there);
                }
            }
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
    isa: Isa,
    outputs: Mat<'a>,
    /// How many of the outputs are words of the text.
    centres: usize,
    weights: &'a [f32],
    doutputs: MatMut<'a>,
    room: &'a mut Room,
}

impl Args<'_> {
    /// The gradients of words of the text with the inputs of their windows, and of all inputs with the noise; returns the loss.
    fn gradients(&mut self, inputs: Mat<'_>, windows: &[Window], mut dinputs: MatMut<'_>) -> f64 {
        let Self { isa, outputs, centres, weights, doutputs, room } = self;
        let (words, noise) = doutputs.reborrow().split_rows_at(*centres);
        let there = skipgram::pairs(
            *isa,
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
            *isa,
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
}
