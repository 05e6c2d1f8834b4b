//! What is computed of some words of the text.

use std::ops::Range;
use std::sync::atomic::AtomicU64;

use unroll_kernels::skipgram::Window;

use super::exact::Aim;
use super::options::Model;
use super::sampling::{NOISE, Sample, Sampler, TILES, Text, Words};
use crate::huffman::Huffman;

/// How many rows of inputs and of outputs, and how many logits; or where those of a group begin among those of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    /// Of X, or of H.
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) logits: usize,
}

/// Inputs that are compared with outputs, each with each.
#[derive(Clone, Debug)]
pub(super) struct Tile {
    pub(super) inputs: Range<usize>,
    pub(super) outputs: Range<usize>,
}

/// A group's words, what they are compared with, and what each comparison counts.
#[derive(Default)]
pub(super) struct Group {
    sample: Sample,
    /// The rows of the outputs: the group's own words, then the noise; or the nodes of each word's path.
    pub(super) targets: Vec<u32>,
    /// How many of the first targets are compared with their own inputs: with those of their windows, or with the mean of these.
    pub(super) paired: usize,
    /// How many pairs these are, whose logits come first.
    pub(super) pairs: usize,
    /// The logits of these follow.
    pub(super) tiles: Vec<Tile>,
    /// With the full softmax which inputs predict which words, input after input, in place of all these.
    pub(super) aims: Vec<Aim>,
    /// W and t of each logit.
    pub(super) weights: Vec<f32>,
    pub(super) labels: Vec<f32>,
    pub(super) sizes: Sizes,
    /// Where its own begin in the batch.
    pub(super) first: Sizes,
    /// How many predictions there are.
    pub(super) predictions: u64,
    /// The bits of the sum of their losses, once a part has told it.
    pub(super) loss: AtomicU64,
}

impl Group {
    /// The rows of the inputs.
    pub(super) fn words(&self) -> &[u32] {
        &self.sample.words
    }

    /// The neighbours of each of the group's own words, among [`Self::words`].
    pub(super) fn windows(&self) -> &[Window] {
        &self.sample.windows
    }

    /// The windows of the first targets.
    pub(super) fn pair_windows(&self) -> &[Window] {
        &self.sample.windows[..self.paired]
    }

    /// Words of the text that it has read.
    pub(super) fn read(&self) -> u64 {
        self.sample.read
    }

    /// Draws what the group of the positions `range` trains on.
    pub(super) fn draw(&mut self, model: Model, sampler: &Sampler, text: &Text, range: Range<u64>) {
        sampler.draw(text, range, &mut self.sample);
        for list in [&mut self.weights, &mut self.labels] {
            list.clear();
        }
        self.targets.clear();
        self.tiles.clear();
        self.aims.clear();
        (self.paired, self.pairs) = (0, 0);
        let Sample { words, windows, .. } = &self.sample;
        let inputs = if model == Model::Cbow { windows.len() } else { words.len() };
        self.predictions = windows.iter().map(|window| predictions(model, window)).sum();
        if self.predictions > 0 {
            match sampler.predicted_by() {
                Words::Noise(_) => self.aim_at_words(model, sampler.share()),
                Words::Tree(tree) => self.aim_at_nodes(model, tree),
                Words::All => self.aim_at_all(model),
            }
        } else {
            self.sample.words.clear();
            self.sample.windows.clear();
        }
        let inputs = if self.predictions > 0 { inputs } else { 0 };
        self.sizes = Sizes { inputs, outputs: self.targets.len(), logits: self.weights.len() };
    }

    /// Words with the inputs of their windows, the inputs of each tile with its noise.
    fn aim_at_words(&mut self, model: Model, share: f32) {
        let Sample { words, own, noise, windows, .. } = &self.sample;
        self.targets.extend_from_slice(&words[own.clone()]);
        self.targets.extend_from_slice(noise);
        self.paired = own.len();
        match model {
            Model::SkipGram => self.weights.resize(self.predictions as usize, 1.0),
            Model::Cbow => self.weights.extend(windows.iter().map(|window| predictions(model, window) as f32)),
        }
        self.pairs = self.weights.len();
        self.labels.resize(self.pairs, 1.0);
        // How often each input counts against each noise word: as often as it is compared with a word of the text, but for those that are
        // the noise word themselves.
        let inputs = match model {
            Model::SkipGram => words.len(),
            Model::Cbow => windows.len(),
        };
        self.weights.resize(self.pairs + inputs * NOISE, 0.0);
        let (rows, _) = self.weights[self.pairs..].as_chunks_mut::<NOISE>();
        let (noise, size) = (noise.as_chunks::<NOISE>().0, inputs.div_ceil(TILES));
        for (i, (word, window)) in words[own.clone()].iter().zip(windows).enumerate() {
            let counts: [[f32; NOISE]; TILES] =
                std::array::from_fn(|tile| noise[tile].map(|noise| if noise == *word { 0.0 } else { share }));
            let mut add = |n: usize| rows[n].iter_mut().zip(counts[n / size]).for_each(|(w, count)| *w += count);
            match model {
                Model::SkipGram => window.inputs().for_each(add),
                Model::Cbow if window.count() > 0 => add(i),
                Model::Cbow => {}
            }
        }
        self.labels.resize(self.weights.len(), 0.0);
        let first = own.len();
        self.tiles.extend((0..TILES).map(|tile| Tile {
            inputs: (tile * size).min(inputs)..((tile + 1) * size).min(inputs),
            outputs: first + tile * NOISE..first + (tile + 1) * NOISE,
        }));
    }

    /// Each word's path with the inputs of its window.
    fn aim_at_nodes(&mut self, model: Model, tree: &Huffman) {
        let Sample { words, own, windows, .. } = &self.sample;
        for (i, (&word, window)) in words[own.clone()].iter().zip(windows).enumerate() {
            if window.count() == 0 {
                continue;
            }
            let start = self.targets.len();
            self.targets.extend(tree.path(word).map(|turn| turn.node));
            if self.targets.len() == start {
                continue; // The only word there is.
            }
            let inputs = match model {
                Model::SkipGram => window.first as usize..window.end as usize,
                Model::Cbow => i..i + 1,
            };
            let outputs = start..self.targets.len();
            for n in inputs.clone() {
                // The word itself stands among its neighbours.
                let own = model == Model::SkipGram && (window.own..window.after).contains(&(n as u32));
                self.weights.extend(outputs.clone().map(|_| f32::from(u8::from(!own))));
                self.labels.extend(tree.path(word).map(|turn| f32::from(u8::from(!turn.second))));
            }
            self.tiles.push(Tile { inputs, outputs });
        }
    }

    /// Each word with the inputs of its window, or with their mean.
    fn aim_at_all(&mut self, model: Model) {
        let Sample { words, own, windows, .. } = &self.sample;
        for (i, (&word, window)) in words[own.clone()].iter().zip(windows).enumerate() {
            let aim = |input: usize| Aim { input: input as u32, word };
            match model {
                Model::SkipGram => self.aims.extend(window.inputs().map(aim)),
                Model::Cbow if window.count() > 0 => self.aims.push(aim(i)),
                Model::Cbow => {}
            }
        }
        self.aims.sort_unstable();
    }
}

/// How many predictions a window makes.
fn predictions(model: Model, window: &Window) -> u64 {
    match model {
        Model::SkipGram => window.count() as u64,
        Model::Cbow => u64::from(window.count() > 0),
    }
}
