//! How the cross-entropy over a vocabulary is computed: exactly, by sampling, or by a tree of decisions.

use serde::{Deserialize, Serialize};

/// The head of a model: how its cross-entropy is computed, in the place of the last dense layer and its softmax.
///
/// ```
/// use unroll::graph::{HeadConfig, HeadKind};
/// let head: HeadConfig = toml::from_str("kind = \"sampled_softmax\"\nsamples = 512")?;
/// assert_eq!((head.kind, head.samples), (HeadKind::SampledSoftmax, Some(512)));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadConfig {
    /// The kind of head.
    pub kind: HeadKind,
    /// softmax: the part of each target's weight, in [0, 1), that training gives to all words alike (Szegedy et al.
    /// 2016).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_smoothing: Option<f64>,
    /// softmax: the factor of ln^2 Z, which training adds to each loss to keep the partition sum Z near 1 (Chowdhery et
    /// al. 2022: 1e-4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub z_loss: Option<f64>,
    /// sampled_softmax, nce: how many words each training step draws, with replacement, for all of its rows together;
    /// 1024 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<usize>,
    /// sampled_softmax, nce: what they are drawn from; log_uniform unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
    /// unigram noise: the power of the counts; 0.75 unless given (Mikolov et al. 2013).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<f64>,
    /// nce: the value that ln Z is taken to have in every row. ln V unless given, so that training begins at the loss
    /// of a uniform softmax. With 0, scores are logarithms of probabilities (Mnih and Teh 2012), and training begins
    /// far from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_partition: Option<f64>,
    /// nce: whether a sampled word does not count as noise in rows whose target it is; false unless given. A few words
    /// make up most of any text: with true, such a word is hardly ever noise, and its score grows without bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove_hits: Option<bool>,
    /// adaptive_softmax: how many of the most frequent words are in the first softmax, then where each cluster but the
    /// last ends. Unless given, 2,000 words (of a vocabulary below 10,000, a fifth), and a further cluster wherever it
    /// makes a step a tenth cheaper.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cutoffs: Vec<usize>,
    /// adaptive_softmax: how many times fewer inputs each cluster has than the one before it (PyTorch's `div_value`); 4
    /// unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reduction: Option<f64>,
    /// class_softmax: the most classes that there may be; unless given, the number with the least cost. Classes get
    /// about equal sums of the square roots of their words' counts, and at least one word each, so that there may be
    /// fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// adaptive_softmax, class_softmax, hierarchical_softmax: which words stand together. By frequency unless given;
    /// but where a language model begins to learn from a text, by context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<WordOrder>,
}

/// Which words stand together in a head that divides them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WordOrder {
    /// Words of about the same frequency.
    Frequency,
    /// Words that follow the same words in the text: see [`crate::text::alike`].
    Context,
}

/// The ways to compute the cross-entropy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// The full softmax over every logit. Exact.
    #[default]
    Softmax,
    /// Training sees the target and a sample of the other words, each weighted by the inverse of its chance to be in
    /// the sample (Bengio and Senécal 2003, Jean et al. 2015). Evaluations and generation are exact.
    SampledSoftmax,
    /// Noise-contrastive estimation (Gutmann and Hyvärinen 2010, Mnih and Teh 2012): training tells the target from a
    /// sample of noise. Evaluations and generation normalise exactly.
    Nce,
    /// A softmax over the most frequent words and clusters of the others, each a softmax over fewer inputs (Grave et
    /// al. 2017). Exact.
    AdaptiveSoftmax,
    /// A softmax over classes of words, then one over the words of the class (Goodman 2001, Mikolov et al. 2011).
    /// Exact.
    ClassSoftmax,
    /// A decision at each node of the Huffman tree over the counts (Morin and Bengio 2005, Mikolov et al. 2013). Exact.
    HierarchicalSoftmax,
}

impl HeadKind {
    /// The kinds as they are written.
    pub const WORDS: &[&str] =
        &["softmax", "sampled_softmax", "nce", "adaptive_softmax", "class_softmax", "hierarchical_softmax"];

    /// The kind as it is written.
    pub fn name(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    /// Whether a training step draws words.
    pub fn samples_words(self) -> bool {
        matches!(self, Self::SampledSoftmax | Self::Nce)
    }

    /// Whether a word's probability is a product of several, each over a part of the words.
    pub fn partitions_words(self) -> bool {
        matches!(self, Self::AdaptiveSoftmax | Self::ClassSoftmax | Self::HierarchicalSoftmax)
    }
}

/// The distribution from which noise words are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Noise {
    /// The word of rank r (from 0, by frequency) with probability ln((r + 2) / (r + 1)) / ln(V + 1): Zipf's law.
    #[default]
    LogUniform,
    /// Every word in proportion to a power of its count.
    Unigram,
    /// Every word with the same probability.
    Uniform,
}

impl HeadConfig {
    /// Words that are drawn for a training step.
    pub(crate) fn sample_size(&self) -> usize {
        self.samples.unwrap_or(1024)
    }

    /// The power of the counts in unigram noise.
    pub(crate) fn noise_power(&self) -> f64 {
        self.power.unwrap_or(0.75)
    }

    /// What ln Z is taken to be, of so many words.
    pub(crate) fn taken_log_partition(&self, words: usize) -> f64 {
        self.log_partition.unwrap_or((words as f64).ln())
    }

    /// Whether a word that is drawn is no noise for rows whose target it is.
    pub(crate) fn removes_hits(&self) -> bool {
        self.remove_hits.unwrap_or(false)
    }

    /// How many times fewer inputs a tail has than what stands before it (Grave et al. 2017).
    pub(crate) fn tail_reduction(&self) -> f64 {
        self.reduction.unwrap_or(4.0)
    }

    /// Whether nothing is given.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The key of an option that is given and has no meaning beside the kind.
    pub(in crate::graph) fn stray(&self) -> Option<&'static str> {
        use HeadKind::{AdaptiveSoftmax, ClassSoftmax, Nce, Softmax};
        let sampled = self.kind.samples_words();
        let given = [
            ("label_smoothing", self.label_smoothing.is_some(), self.kind == Softmax),
            ("z_loss", self.z_loss.is_some(), self.kind == Softmax),
            ("samples", self.samples.is_some(), sampled),
            ("noise", self.noise.is_some(), sampled),
            ("power", self.power.is_some(), sampled && self.noise == Some(Noise::Unigram)),
            ("log_partition", self.log_partition.is_some(), self.kind == Nce),
            ("remove_hits", self.remove_hits.is_some(), self.kind == Nce),
            ("cutoffs", !self.cutoffs.is_empty(), self.kind == AdaptiveSoftmax),
            ("reduction", self.reduction.is_some(), self.kind == AdaptiveSoftmax),
            ("classes", self.classes.is_some(), self.kind == ClassSoftmax),
            ("order", self.order.is_some(), self.kind.partitions_words()),
        ];
        given.into_iter().find(|&(_, given, fits)| given && !fits).map(|(key, ..)| key)
    }
}
