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
//! -ln sigmoid(v_n . u_node) where it goes on to the first child and -ln sigmoid(-v_n . u_node) to the second. With the full
//! softmax it is -ln of the word's share of e^(v_n . u_k) over all words k, the first of Mikolov's formulations, of which the two
//! others are cheap stand-ins: its products grow with the vocabulary (`exact.rs`), and threads share them by words, not columns.
//!
//! Neighbours may be those before a word alone ([`Context`]): with a window of one word and the full softmax that is Rong's
//! one-word context, a model of bigrams of rank D.
//!
//! A step subtracts the learning rate times the gradient; to each v_n of a mean word2vec adds the gradient of h, not its share, and
//! so does this. The rate falls in a straight line with the words read, to 1/10,000 of what it was.
//!
//! # The same bits with any number of threads
//!
//! The text is taken in *batches* of a fixed number of words. The gradients of a batch all belong to the vectors as they were at its
//! start. Batches are short (a thousand words at most, and few where few words are all that is read), so that words change nearly as
//! often as if each word of the text were a step of its own.
//!
//! Each thread owns some *columns* of all vectors, in blocks of 64, and does everything that is to be done with them: it looks up its part of
//! the rows, multiplies, and adds its part of the gradients, so that a vector never travels between the caches of two threads. What they tell
//! each other are the logits of each block, seventeen numbers a word, which everybody adds up in the order of the blocks. The price
//! is that vectors of D elements occupy D / 64 threads at most, rounded up; others help with drawing the words of the next batch only.
//!
//! # Where the speed comes from
//!
//! A batch consists of *groups* of 64 words (the only one of a shorter batch has fewer) in two *tiles*, each of which has 16 noise words of its own, each counted K/16 times: the
//! expected gradient is that of K words of noise for each pair, its work two small matrix products, and the vectors of neighbours, words
//! and noise are fetched once a group. (Ji et al. 2016 share K noise words among the neighbours of one word.) The means of CBOW, and the way
//! of their gradients back to the words, are differences of running sums, whose work does not grow with the window.
//!
//! How many words share noise is a choice between speed and quality: 16 for 64 words are faster by a fifth, but answered 0.45 % fewer analogies
//! than 16 for 32 (the mean of three seeds, CBOW, five passes over 20 MB of books); batches of 256 words instead of 832 changed nothing.
//! Vectors begin as uniform numbers in \[-1, 1) / D, as gensim's do.
//!
//! Source: T. Mikolov et al., "Efficient Estimation of Word Representations in Vector Space" and "Distributed Representations of
//! Words and Phrases and their Compositionality", 2013; S. Ji, N. Satish, S. Li and P. Dubey, "Parallelizing Word2Vec in
//! Shared and Distributed Memory", 2016; X. Rong, "word2vec Parameter Learning Explained", 2014.

mod batch;
mod exact;
mod group;
mod options;
mod part;
mod sampling;
mod tables;

pub use options::{Context, Loss, Model, TrainOptions};

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use unroll_kernels::mat::padded;
use unroll_kernels::{Mat, MatMut};

use self::batch::{Batch, range};
use self::exact::Exact;
use self::group::Group;
use self::part::{Part, blocks};
use self::sampling::{GROUP, Sampler, Words};
use super::WordVectors;
use crate::corpus::TokenSource;
use crate::error::{Error, Result};
use crate::exec::{Crew, Work};
use crate::heads::LOGITS;
use crate::network::require_memory;
use crate::random::{Key, Purpose};
use crate::text::Vocabulary;

/// The share of the first learning rate that is left in the end.
const LEAST_RATE: f64 = 1e-4;

/// A training whose mean loss in a pass is so many times that of vectors that have learned nothing has gone astray.
const ASTRAY: f64 = 2.0;

/// The mean of fewer predictions says little.
const FEW: u64 = 1000;

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
    /// Their output vectors, in the same order, where [`TrainOptions::outputs`] asks for them.
    pub outputs: Option<WordVectors>,
    /// The mean loss of a prediction in each pass, in nats.
    pub losses: Vec<f64>,
}

/// A training, from batch to batch.
pub struct Trainer<'a> {
    tokens: &'a dyn TokenSource,
    vocabulary: &'a Vocabulary,
    options: TrainOptions,
    sampler: Sampler,
    crew: Crew,
    parts: Vec<Part>,
    /// The output vectors where words are predicted by a softmax over all of them; one part has the whole inputs then.
    exact: Option<Exact>,
    /// The logits of all groups, block of columns after block of columns.
    logits: Vec<f32>,
    /// The batch that is trained on, and the one after it, which is drawn meanwhile.
    now: Batch,
    next: Batch,
    /// Words read so far, and multiply-adds of products.
    read: u64,
    products: u64,
    /// This pass's loss and predictions so far.
    tally: (f64, u64),
    losses: Vec<f64>,
}

/// The most pieces that work is handed out in.
const PIECES: usize = 64;

/// Something for whoever comes for it first.
type Piece<T> = Mutex<Option<T>>;

/// Pieces of work, as many as there are.
fn pieces<T>(mut next: impl FnMut() -> Option<T>) -> [Piece<T>; PIECES] {
    std::array::from_fn(|_| Mutex::new(next()))
}

fn take<T>(piece: &Piece<T>) -> Option<T> {
    piece.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Bytes that a training takes: the vectors, those of a batch, and the gradients of a group. The table that is made of them in the end
/// takes the place of the output vectors, where these are not kept.
fn room(sampler: &Sampler, options: &TrainOptions, (groups, group): (usize, usize)) -> u64 {
    let size = options.size;
    let [inputs, outputs] = sampler.most_rows(group).map(|rows| (rows * (groups + 2) * padded(size)) as u64);
    let (words, dim) = (sampler.words(), size);
    let tables = match sampler.predicted_by() {
        // Beside the output vectors their gradients; and those of the inputs.
        Words::All => (words * padded(dim) + 2 * dim * padded(words) + LOGITS) as u64 + inputs,
        Words::Noise(_) | Words::Tree(_) => 2 * (words * padded(dim)) as u64,
    };
    let kept = if options.outputs { words * padded(dim) } else { 0 };
    4 * (tables + inputs + outputs + kept as u64)
}

impl<'a> Trainer<'a> {
    /// A training on these tokens of this vocabulary: words, and a token for the end of a sentence if there is one.
    ///
    /// # Errors
    /// [`Error::Usage`] for options that cannot be, where no word comes often enough or memory does not suffice; [`Error::Run`] where no
    /// thread can be started.
    pub fn new(tokens: &'a dyn TokenSource, vocabulary: &'a Vocabulary, options: TrainOptions) -> Result<Self> {
        options.check()?;
        let sampler = Sampler::new(vocabulary, &options)?;
        let crew = Crew::new(options.threads, 1)
            .map_err(|error| Error::run(format!("cannot start {} threads: {error}", options.threads)))?;
        let TrainOptions { isa, model, size, batch, .. } = options;
        let blocks = blocks(size);
        let threads = crew.team().size();
        let (groups, group) = sampler.groups(batch, options.learning_rate);
        require_memory("training these vectors", room(&sampler, &options, (groups, group)))
            .map_err(|error| error.mend("lower --size, or raise --min-count"))?;
        let (count, outputs, exact) = match sampler.predicted_by() {
            Words::Noise(_) => (threads.min(blocks).min(PIECES), sampler.words(), None),
            Words::Tree(tree) => (threads.min(blocks).min(PIECES), tree.nodes(), None),
            Words::All => (1, 0, Some(Exact::zeros(isa, threads, [size, sampler.words()], LOGITS))),
        };
        let rows = [sampler.words(), outputs];
        let part = |p: usize| {
            let mut part = Part::zeros(isa, model, size, blocks * p / count..blocks * (p + 1) / count, rows);
            part.randomize(Key::new(options.seed, Purpose::Init), size, sampler.ids());
            part
        };
        let parts = (0..count).map(part).collect();
        let mut now = Batch::new(groups, group);
        now.read((0, 0), &sampler, tokens)?;
        Ok(Self {
            tokens,
            vocabulary,
            sampler,
            crew,
            parts,
            exact,
            logits: Vec::new(),
            now,
            next: Batch::new(groups, group),
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
            epoch: (self.now.text.epoch as usize + 1).min(self.options.epochs),
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

    /// These words, the most frequent first.
    pub fn list(&self) -> impl Iterator<Item = &[u8]> {
        self.sampler.ids().iter().map(|&id| self.vocabulary.token(id).as_bytes())
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
        let (epochs, epoch) = (self.options.epochs as f64, self.now.text.epoch as f64);
        let done = (epoch + self.now.at as f64 / self.tokens.len() as f64) / epochs;
        self.options.learning_rate * (1.0 - done).max(LEAST_RATE)
    }

    /// Trains on the next batch; false where all passes are done.
    ///
    /// # Errors
    /// [`Error::Diverged`] where the loss is far beyond what it was before anything was learned, or no longer finite; [`Error::Input`] where the tokens cannot be read; [`Error::Usage`]
    /// where a pass has learned nothing.
    pub fn step(&mut self) -> Result<bool> {
        let (epochs, len) = (self.options.epochs as u64, self.tokens.len());
        if self.now.text.epoch == epochs {
            return Ok(false);
        }
        if !self.now.drawn {
            self.draw();
        }
        let end = self.now.end(len);
        if end.0 < epochs {
            self.next.read(end, &self.sampler, self.tokens)?;
        } else {
            (self.next.text.epoch, self.next.at) = end;
        }
        let rate = self.learning_rate();
        let loss = self.train(-rate as f32);
        let sum = |of: fn(&Group) -> u64| self.now.groups.iter().map(of).sum::<u64>();
        self.tally.0 += loss;
        self.tally.1 += sum(|group| group.predictions);
        let bound = ASTRAY * self.sampler.first_loss().max(1.0) * self.tally.1.max(FEW) as f64;
        if !loss.is_finite() || self.tally.0 > bound {
            let (loss, at) = (self.tally.0 / self.tally.1.max(1) as f64, self.now.at);
            let what = format!("the loss is {loss:.4} near word {at} of the text, with a learning rate of {rate:.2e}");
            return Err(Error::diverged(what).mend("lower --learning-rate or --batch-words"));
        }
        self.read += sum(Group::read);
        let words = self.exact.as_ref().map_or(0, Exact::words) as u64;
        let logits = sum(|group| group.sizes.logits as u64) + words * sum(|group| group.sizes.inputs as u64);
        self.products += 3 * logits * self.options.size as u64;
        if end.0 > self.now.text.epoch {
            if self.tally.1 == 0 {
                let what = "not one word of the text was predicted: none was left with a neighbour";
                let mend = match self.options.sample > 0.0 {
                    true => "a larger --sample leaves fewer words out, 0 none",
                    false => "give a text with several words a line, or a smaller --min-count",
                };
                return Err(Error::usage(what).mend(mend));
            }
            self.losses.push(self.tally.0 / self.tally.1.max(1) as f64);
            self.tally = (0.0, 0);
            self.tokens.recheck()?;
        }
        std::mem::swap(&mut self.now, &mut self.next);
        Ok(true)
    }

    /// Draws the first batch.
    fn draw(&mut self) {
        let Self { now, sampler, options, tokens, .. } = self;
        let (len, at) = (tokens.len(), now.at);
        for (i, group) in now.groups.iter_mut().enumerate() {
            group.draw(options.model, sampler, &now.text, range(at, i, now.text.group, len));
        }
        now.drawn = true;
    }

    /// Trains on the batch and draws the next; returns the loss.
    fn train(&mut self, scale: f32) -> f64 {
        let Self { crew, parts, exact, logits, now, next, sampler, options, tokens, .. } = self;
        let sizes = now.lay_out();
        let all = blocks(options.size);
        logits.resize(logits.len().max(all * sizes.logits), 0.0);
        // What a word costs on one thread: a microsecond, about. Less than a whole group is not worth waking others for.
        let words = now.groups.len() * (now.text.group / GROUP * GROUP);
        let work = Work { flops: words * 130_000, bytes: 0 };
        let (len, groups) = (tokens.len(), &now.groups[..]);
        // The next batch is drawn by whoever is done with this one first, a half of it before each barrier.
        let (text, at, size) = (&next.text, next.at, next.groups.len().div_ceil(PIECES));
        let mut each = next.groups.chunks_mut(size).enumerate();
        let more = text.epoch < options.epochs as u64;
        let draws = pieces(|| if more { each.next() } else { None });
        let (early, late) = draws.split_at(now.groups.len().div_ceil(size) / 2);
        let draw = |draws: &[Piece<(usize, &mut [Group])>]| {
            for (piece, groups) in draws.iter().filter_map(take) {
                for (i, group) in groups.iter_mut().enumerate() {
                    group.draw(options.model, sampler, text, range(at, piece * size + i, text.group, len));
                }
            }
        };
        {
            let mut rest = &mut logits[..all * sizes.logits];
            let mut each = parts.iter_mut();
            let shares = pieces(|| {
                let part = each.next()?;
                let (own, others) = std::mem::take(&mut rest).split_at_mut(part.blocks() * sizes.logits);
                rest = others;
                Some((part, own))
            });
            crew.team().run(work, |member| {
                for share in shares.iter().skip(member.rank()).step_by(member.size()) {
                    if let Some((part, own)) = take(share) {
                        let to = MatMut::dense(own, part.blocks(), sizes.logits);
                        part.logits(groups, sizes, to);
                    }
                }
                draw(early);
            });
        }
        let exact_loss = match exact {
            Some(exact) => exact.train(&crew.team(), groups, parts[0].all_inputs(sizes), scale),
            None => 0.0,
        };
        let exact = exact.as_ref();
        let logits = Mat::dense(&logits[..all * sizes.logits], all, sizes.logits);
        let count = parts.len();
        let mut each = parts.iter_mut();
        let shares = pieces(|| each.next());
        crew.team().run(work, |member| {
            for (p, share) in shares.iter().enumerate().skip(member.rank()).step_by(member.size()) {
                if let Some(part) = take(share) {
                    match exact {
                        Some(exact) => part.change_inputs(groups, exact),
                        None => part.change(groups, logits, scale, |i| i % count == p),
                    }
                }
            }
            draw(late);
        });
        next.drawn = more;
        let losses = groups.iter().map(|group| f64::from_bits(group.loss.load(Ordering::Relaxed)));
        exact_loss + losses.sum::<f64>()
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
