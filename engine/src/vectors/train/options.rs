//! What is trained and how.

use std::fmt;
use std::str::FromStr;

use unroll_kernels::Isa;

use crate::error::{Error, Result};
use crate::vectors::WordVectors;

/// What is predicted from what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// A word from the mean of its neighbours' vectors (continuous bag of words).
    Cbow,
    /// A word from each of its neighbours' vectors.
    SkipGram,
}

/// How a prediction is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Words are told from noise words (negative sampling).
    Negative,
    /// A word's probability is that of its path through Huffman's tree (hierarchical softmax).
    Hierarchical,
    /// A word's probability is its share of the softmax over all words (full softmax).
    Softmax,
}

/// Which words are a word's neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// Those before it and those after it.
    Both,
    /// Those before it alone: with a window of one word a model of bigrams.
    Previous,
}

impl FromStr for Model {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "cbow" => Ok(Self::Cbow),
            "skipgram" => Ok(Self::SkipGram),
            _ => Err(Error::option("--model", format!("`{name}` is not known")).mend("choose cbow or skipgram")),
        }
    }
}

impl FromStr for Loss {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "negative" => Ok(Self::Negative),
            "hierarchical" => Ok(Self::Hierarchical),
            "softmax" => Ok(Self::Softmax),
            _ => Err(Error::option("--loss", format!("`{name}` is not known"))
                .mend("choose negative, hierarchical or softmax")),
        }
    }
}

impl FromStr for Context {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "both" => Ok(Self::Both),
            "previous" => Ok(Self::Previous),
            _ => Err(Error::option("--context", format!("`{name}` is not known")).mend("choose both or previous")),
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cbow => "cbow",
            Self::SkipGram => "skipgram",
        })
    }
}

/// How word vectors are trained. The defaults are word2vec's and gensim's.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// What is predicted from what.
    pub model: Model,
    /// How a prediction is scored.
    pub loss: Loss,
    /// D, the elements of a vector.
    pub size: usize,
    /// The most neighbours on a side.
    pub window: usize,
    /// On which sides.
    pub context: Context,
    /// Whether a word has from one to so many on a side, drawn anew each time, and not as many as its sentence has.
    pub shrink_windows: bool,
    /// Noise words that a pair counts against, of [`Loss::Negative`].
    pub negative: usize,
    /// Words of a larger share of the text than this are left out now and then; 0 leaves none out.
    pub sample: f64,
    /// Words that are seen less often are left out.
    pub min_count: u64,
    /// Passes over the text.
    pub epochs: usize,
    /// The first learning rate, which falls in a straight line to nearly nothing at the end.
    pub learning_rate: f64,
    /// Words of a batch at most, whose gradients all belong to the same vectors; whole groups of 64, or one of a multiple of 4. Fewer
    /// where words come so often, or the rate is so high, that their vectors would move too far.
    pub batch: usize,
    /// Whether the output vectors are kept too, which takes memory for one more table.
    pub outputs: bool,
    /// What all random numbers follow from.
    pub seed: u64,
    /// Threads. Nothing of the result depends on them.
    pub threads: usize,
    /// The instruction set.
    pub isa: Isa,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            model: Model::Cbow,
            loss: Loss::Negative,
            size: 100,
            window: 5,
            context: Context::Both,
            shrink_windows: true,
            negative: 5,
            sample: 1e-3,
            min_count: 5,
            epochs: 5,
            learning_rate: 0.025,
            batch: 1024,
            outputs: false,
            seed: 1,
            threads: 1,
            isa: Isa::best(),
        }
    }
}

impl TrainOptions {
    /// Refuses what cannot be trained.
    ///
    /// # Errors
    /// [`Error::Usage`] names the option.
    pub fn check(&self) -> Result<()> {
        let ranges = [
            ("--size", self.size, 1, 16_384),
            ("--window", self.window, 1, 1000),
            ("--negative", self.negative, 1, 1000),
            ("--epochs", self.epochs, 1, 1_000_000),
            ("--batch-words", self.batch, 1, 1 << 24),
            ("--threads", self.threads, 1, 1024),
        ];
        if let Some((name, value, least, most)) = ranges.into_iter().find(|(_, v, least, most)| v < least || v > most) {
            return Err(Error::option(name, format!("must be from {least} to {most}, got {value}")));
        }
        if !(self.sample >= 0.0 && self.sample.is_finite()) {
            return Err(Error::option("--sample", format!("must be 0 or more, got {}", self.sample)));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return Err(Error::option("--learning-rate", format!("must be more than 0, got {}", self.learning_rate)));
        }
        if self.outputs { self.check_outputs("--output-vectors") } else { Ok(()) }
    }

    /// Refuses vectors of another size for an option.
    ///
    /// # Errors
    /// [`Error::Usage`] names the option and both sizes.
    pub fn check_size(&self, option: &str, vectors: &WordVectors) -> Result<()> {
        let (found, size) = (vectors.dim(), self.size);
        if found == size {
            return Ok(());
        }
        let what = format!("these vectors have {found} values, and --size is {size}");
        Err(Error::option(option, what).mend(format!("give --size {found}, or other vectors")))
    }

    /// Refuses an option about the output vectors of words, where these are of something else.
    ///
    /// # Errors
    /// [`Error::Usage`] names the option.
    pub fn check_outputs(&self, option: &str) -> Result<()> {
        if self.loss != Loss::Hierarchical {
            return Ok(());
        }
        let what = "with --loss hierarchical the output vectors are of the inner nodes of Huffman's tree, not of words";
        Err(Error::option(option, what).mend("leave it out, or choose --loss negative or softmax"))
    }
}
