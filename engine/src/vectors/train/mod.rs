//! Training of word vectors: CBOW and skip-gram.
//!
//! A word w of the text, kept with the probability min(1, sqrt(t / f) + t / f) where f is its share of the text and t the option
//! `sample`, is predicted from its neighbours, those words of its sentence that were kept too and lie within a window whose
//! width is drawn uniformly from one to the largest. With input vectors v, output vectors u and K noise words drawn in
//! proportion to their counts to the power of 3/4:
//!
//! ```text
//! skip-gram   each neighbour n:  L = -ln sigmoid(v_n . u_w) - sum over the noise, ln sigmoid(-v_n . u_k)
//! CBOW        h = mean of v_n:   L = -ln sigmoid(h . u_w)   - sum over the noise, ln sigmoid(-h . u_k)
//! ```
//!
//! With the hierarchical softmax L is instead the sum over the nodes of the word's path in [Huffman's tree](crate::huffman),
//! -ln sigmoid(v_n . u_node) where it goes on to the first child and -ln sigmoid(-v_n . u_node) to the second.
//!
//! A step subtracts the learning rate times the gradient; to each v_n of a mean word2vec adds the gradient of h, not its share, and
//! so does this. The rate falls in a straight line with the words read, to 1/10,000 of what it was.
//!
//! # The same bits with any number of threads
//!
//! The text is taken in *batches* of a fixed number of words. The gradients of a batch all belong to the vectors as they were at its
//! start; they are kept until the batch is done, and then each row is changed by the one thread that owns its stripe, the
//! gradients of a row in the order of the text. Batches are short (a thousand words), so that frequent words change nearly as often
//! as if each word were a step of its own.
//!
//! # Where the speed comes from
//!
//! A batch consists of *groups* of 32 words, which share 16 noise words, each counted K/16 times: the expected
//! gradient is that of K words of noise for each pair, its work two small matrix products, and the vectors of neighbours, words and noise are
//! fetched once a group. (Ji et al. 2016 share K noise words among the neighbours of one word.)
//!
//! Source: T. Mikolov et al., "Efficient Estimation of Word Representations in Vector Space" and "Distributed Representations of
//! Words and Phrases and their Compositionality", 2013; S. Ji, N. Satish, S. Li and P. Dubey, "Parallelizing Word2Vec in
//! Shared and Distributed Memory", 2016.

mod group;
mod options;
mod rows;
mod sampling;

pub use options::{Loss, Model, TrainOptions};

use std::sync::atomic::{AtomicBool, Ordering};

use unroll_kernels::Buffer;
use unroll_kernels::mat::padded;

use self::group::{Group, Shape};
use self::rows::Rows;
use self::sampling::{GROUP, Sampler, Text};
use super::{Fault, WordVectors};
use crate::corpus::TokenSource;
use crate::error::{Error, Result};
use crate::exec::Crew;
use crate::huffman::Huffman;
use crate::random::{Key, Purpose};
use crate::text::Vocabulary;

/// The share of the first learning rate that is left in the end.
const LEAST_RATE: f64 = 1e-4;

/// How far a training is.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Progress {
    /// The pass, from 1.
    pub epoch: usize,
    /// Words read in all passes so far, those that have no vector too; the ends of sentences are not counted.
    pub words: u64,
    /// Words to read in all.
    pub of: u64,
    /// The loss of a prediction in nats, the mean of this pass so far.
    pub loss: f64,
    /// The learning rate.
    pub learning_rate: f64,
}

/// What a training has made.
pub struct Trained {
    /// The input vectors of all words, the most frequent first.
    pub vectors: WordVectors,
    /// The mean loss of a prediction in each pass, in nats.
    pub losses: Vec<f64>,
}

/// A training, from batch to batch.
pub struct Trainer<'a> {
    tokens: &'a dyn TokenSource,
    vocabulary: &'a Vocabulary,
    options: TrainOptions,
    shape: Shape,
    sampler: Sampler,
    crew: Crew,
    inputs: Rows,
    outputs: Rows,
    groups: Vec<Group>,
    /// The gradients of all groups, of inputs and of outputs.
    gradients: [Buffer; 2],
    text: Text,
    /// Tokens of the text before the next batch of this pass.
    at: u64,
    /// Words read so far, and multiply-adds of products.
    read: u64,
    products: u64,
    /// This pass's loss and predictions so far.
    tally: (f64, u64),
    losses: Vec<f64>,
}

impl<'a> Trainer<'a> {
    /// A training on these tokens of this vocabulary: words, and a token for the end of a sentence if there is one.
    ///
    /// # Errors
    /// [`Error::Usage`] for options that cannot be, or where no word comes often enough; [`Error::Run`] where no
    /// thread can be started.
    pub fn new(tokens: &'a dyn TokenSource, vocabulary: &'a Vocabulary, options: TrainOptions) -> Result<Self> {
        options.check()?;
        let sampler = Sampler::new(vocabulary, &options)?;
        let crew = Crew::new(options.threads, 1)
            .map_err(|error| Error::run(format!("cannot start {} threads: {error}", options.threads)))?;
        let (stripes, dim) = (crew.team().parts(), options.size);
        let mut inputs = Rows::zeros(vocabulary.len(), dim, stripes);
        inputs.randomize(Key::new(options.seed, Purpose::Init));
        let TrainOptions { isa, model, loss, negative, .. } = options;
        let batch = options.batch.min(sampler.most(options.learning_rate));
        let groups = (batch / GROUP).max(1);
        let depth = sampler.depth();
        let shape = Shape { isa, model, loss, depth, dim, negative, window: options.window, stripes };
        Ok(Self {
            tokens,
            vocabulary,
            shape,
            crew,
            inputs,
            outputs: Rows::zeros(sampler.tree().map_or(vocabulary.len(), Huffman::nodes), dim, stripes),
            groups: (0..groups).map(|_| Group::default()).collect(),
            sampler,
            gradients: shape.rows().map(|rows| Buffer::new(groups * rows * padded(dim))),
            text: Text { first: 0, tokens: Vec::new(), epoch: 0 },
            at: 0,
            read: 0,
            products: 0,
            tally: (0.0, 0),
            losses: Vec::new(),
            options,
        })
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let ends = self.vocabulary.eos().map_or(0, |eos| self.vocabulary.count(eos));
        Progress {
            epoch: (self.text.epoch as usize + 1).min(self.options.epochs),
            words: self.read,
            of: self.options.epochs as u64 * self.tokens.len().saturating_sub(ends),
            loss: self.tally.0 / self.tally.1.max(1) as f64,
            learning_rate: self.learning_rate(),
        }
    }

    /// How many words get a vector.
    pub fn words(&self) -> usize {
        self.sampler.words()
    }

    /// Multiply-adds of products of vectors so far, for values and gradients.
    pub fn products(&self) -> u64 {
        self.products
    }

    /// The mean loss of a prediction in each pass that has ended, in nats.
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }

    fn learning_rate(&self) -> f64 {
        let done = (self.text.epoch as f64 + self.at as f64 / self.tokens.len() as f64) / self.options.epochs as f64;
        self.options.learning_rate * (1.0 - done).max(LEAST_RATE)
    }

    /// Trains on the next batch; false where all passes are done.
    ///
    /// # Errors
    /// [`Error::Diverged`] where the loss is no longer finite; [`Error::Input`] where the tokens cannot be read.
    pub fn step(&mut self) -> Result<bool> {
        if self.text.epoch as usize == self.options.epochs {
            return Ok(false);
        }
        self.read()?;
        let rate = self.learning_rate();
        self.compute();
        self.update(-rate as f32);
        let sum = |of: fn(&Group) -> f64| self.groups.iter().map(of).sum::<f64>();
        let loss = sum(|group| group.loss);
        if !loss.is_finite() {
            let what =
                format!("the loss is {loss} near word {} of the text, with a learning rate of {rate:.2e}", self.at);
            return Err(Error::diverged(what).mend("lower --learning-rate or --batch-words"));
        }
        self.tally.0 += loss;
        self.tally.1 += self.groups.iter().map(|group| group.predictions).sum::<u64>();
        self.read += self.groups.iter().map(|group| group.sample.read).sum::<u64>();
        self.products += self.groups.iter().map(|group| group.products).sum::<u64>() * self.options.size as u64;
        self.at += (self.groups.len() * GROUP) as u64;
        if self.at >= self.tokens.len() {
            self.losses.push(self.tally.0 / self.tally.1.max(1) as f64);
            (self.at, self.tally) = (0, (0.0, 0));
            self.text.epoch += 1;
            self.tokens.recheck()?;
        }
        Ok(true)
    }

    /// The batch's words, and some before and after them.
    fn read(&mut self) -> Result<()> {
        let margin = self.sampler.margin() as u64;
        let first = self.at.saturating_sub(margin);
        let end = (self.at + (self.groups.len() * GROUP) as u64 + margin).min(self.tokens.len());
        self.text.first = first;
        self.text.tokens.resize((end - first) as usize, 0);
        self.tokens.read(first, &mut self.text.tokens)
    }

    /// The gradients of all groups.
    fn compute(&mut self) {
        let Self { text, sampler, shape, crew, inputs, outputs, groups, gradients, at, tokens, .. } = self;
        let (team, len, start) = (crew.team(), tokens.len(), *at);
        let size = groups.len().div_ceil(team.parts());
        let [a, b] = shape.rows().map(|rows| rows * padded(shape.dim));
        let work = shape.work(groups.len());
        let [dinputs, doutputs] = gradients;
        let parts = dinputs.chunks_mut(size * a).zip(doutputs.chunks_mut(size * b));
        let mut pieces = groups.chunks_mut(size).zip(parts).enumerate();
        team.share_out(
            work,
            |_| pieces.next(),
            |(piece, (groups, (dinputs, doutputs)))| {
                let gradients = dinputs.chunks_mut(a).zip(doutputs.chunks_mut(b));
                for (i, (group, (dinputs, doutputs))) in groups.iter_mut().zip(gradients).enumerate() {
                    let first = start + ((piece * size + i) * GROUP) as u64;
                    sampler.draw(text, first.min(len)..(first + GROUP as u64).min(len), &mut group.sample);
                    group.compute(*shape, sampler, [&*inputs, &*outputs], [dinputs, doutputs]);
                }
            },
        );
    }

    /// Adds `scale` times the gradients to the vectors.
    fn update(&mut self, scale: f32) {
        let Self { shape, crew, inputs, outputs, groups, gradients, .. } = self;
        let mut pieces = inputs.stripes_mut().iter_mut().zip(outputs.stripes_mut()).enumerate();
        let (groups, isa, [a, b], [dinputs, doutputs]) = (&*groups, shape.isa, shape.rows(), &*gradients);
        crew.team().share_out(
            shape.work(groups.len()),
            |_| pieces.next(),
            |(number, (inputs, outputs))| {
                let of = |i: usize| &groups[i];
                let all = 0..groups.len();
                inputs.add(isa, number, all.clone().map(|i| (&of(i).input_slots, i * a)), dinputs, scale);
                outputs.add(isa, number, all.map(|i| (&of(i).output_slots, i * b)), doutputs, scale);
            },
        );
    }

    /// The vectors as they are.
    ///
    /// # Errors
    /// [`Error::Diverged`] where an element is not finite.
    pub fn finish(self) -> Result<Trained> {
        let Self { vocabulary, sampler, inputs, options, losses, .. } = self;
        let ids: Vec<u32> = (0..vocabulary.len() as u32).filter(|&id| sampler.is_word(id)).collect();
        let counts: Vec<u64> = ids.iter().map(|&id| vocabulary.count(id)).collect();
        let mut values = Buffer::new(ids.len() * padded(options.size));
        inputs.gather(&ids, &mut values);
        drop(inputs);
        let words = ids.iter().map(|&id| vocabulary.token(id).as_bytes());
        let vectors =
            WordVectors::from_parts(words, Some(&counts), options.size, values).map_err(|fault| match fault {
                Fault::NotFinite { .. } => {
                    Error::diverged("a vector is no longer finite").mend("lower --learning-rate or --batch-words")
                }
                fault => Error::run(format!("the vocabulary cannot be a table of vectors: {fault}")),
            })?;
        Ok(Trained { vectors, losses })
    }
}

/// Trains until all passes are done, telling `watch` now and then how far it is.
///
/// ```
/// use std::sync::atomic::AtomicBool;
/// use unroll::corpus::MemoryTokens;
/// use unroll::text::{Level, TextOptions};
/// use unroll::vectors::train::{TrainOptions, train};
///
/// let text = "the cat sat on the mat\nthe dog sat on the rug\n".repeat(20);
/// let options = TextOptions { level: Level::Word, ..TextOptions::default() };
/// let (tokenizer, tokens) = MemoryTokens::from_text(&text, &options)?;
/// let options = TrainOptions { size: 8, epochs: 2, ..TrainOptions::default() };
/// let trained = train(&tokens, tokenizer.vocabulary(), options, |_| Ok(()), &AtomicBool::new(false))?;
/// assert_eq!(trained.vectors.word(0), b"the");
/// assert!(trained.losses[1] < trained.losses[0]);
/// # Ok::<(), unroll::Error>(())
/// ```
///
/// # Errors
/// As [`Trainer::new`], [`Trainer::step`] and `watch`; [`Error::Interrupted`] where `stop` becomes true.
pub fn train(
    tokens: &dyn TokenSource,
    vocabulary: &Vocabulary,
    options: TrainOptions,
    mut watch: impl FnMut(Progress) -> Result<()>,
    stop: &AtomicBool,
) -> Result<Trained> {
    let mut trainer = Trainer::new(tokens, vocabulary, options)?;
    while trainer.step()? {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::interrupted("stopped; no vectors were written"));
        }
        watch(trainer.progress())?;
    }
    trainer.finish()
}

#[cfg(test)]
mod tests;
