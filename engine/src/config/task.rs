//! The section `[task]`: what is learned from labelled samples, and how their texts are prepared.

use serde::{Deserialize, Serialize};

use super::choices::{ClassWeights, Threshold, column, columns};
use super::words::words;
use crate::text::PrepareOptions;

words! {
    /// What is predicted.
    TaskKind {
        /// One class a text.
        Classify = "classify",
        /// One tag a word.
        Tag = "tag",
        /// The word that follows every prefix of a text.
        Next = "next",
        /// A text for a vector, word by word.
        Caption = "caption",
        /// A text for a text, word by word.
        Translate = "translate",
    }
}

words! {
    /// How a file of labelled samples is written.
    FormatName {
        /// A row a line, columns apart by tabs, nothing quoted.
        Tsv = "tsv",
        /// RFC 4180: columns apart by commas, quoted where they hold commas, quotes or line ends.
        Csv = "csv",
        /// A JSON object a line.
        JsonLines = "jsonl",
        /// CoNLL-U: ten columns a word, an empty line behind each sentence.
        Conllu = "conllu",
        /// NumPy's arrays: an archive (`.npz`) of `x` and `y`, or `a.npy` with its labels in `a.labels.npy`.
        Npy = "npy",
        /// A text a line. Captions: their vectors are the rows of the array in the file of the same name that ends in
        /// `.npy`.
        Lines = "lines",
    }
}

/// Learning from labelled samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskConfig {
    /// What is predicted; a class a text unless given.
    pub kind: TaskKind,
    /// How the files are written; by the endings of their names unless given. Where they have none that is known:
    /// conllu of tags, tsv of classes, else lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<FormatName>,
    /// tsv, csv: the first row has the columns' names.
    pub header: bool,
    /// The column of the label: its name or its number from 0. Unless given `label`, without a header 0. CoNLL-U:
    /// `upos` (as unless given) or `xpos`. npy: the array of the labels in an archive; `y` unless given.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "column")]
    pub label: Option<String>,
    /// Several labels, one for each output of the model (`model.graph.outputs`) in their order: their columns, instead
    /// of `label`. CoNLL-U: also `lemma`, `feats` and `deprel`. npy: the arrays in an archive. Those of an output whose
    /// loss is `mean_squared_error` are numbers, as the one of `label` then is.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "columns")]
    pub labels: Vec<String>,
    /// translate: the column of the text that is read, its name or its number from 0; `source` unless given, without a
    /// header 0.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "column")]
    pub source: Option<String>,
    /// The column of the text: its name or its number from 0. Unless given `text`, without a header 1, or 0 where there
    /// is no label nor source. Captions of tsv and csv: the numbers of all other columns are the vector. npy: the array
    /// of the samples in an archive, `x` unless given; of captions that of their token ids, `y` unless given.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "column")]
    pub text: Option<String>,
    /// Rows whose text, or source, is one of these are left out, whatever space is around it; an empty text has to be
    /// among them or is refused.
    pub drop: Vec<String>,
    /// caption, jsonl: the key of the vector, an array of numbers; `vector` unless given. npy: the array of the vectors
    /// in an archive; `x` unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vector: Option<String>,
    /// caption: what the numbers of a vector are multiplied by, so that pixels of 0 to 255 become shares.
    pub vector_scale: f32,
    /// The classes in their order; in that of the alphabet unless given. Of two the second is the one whose precision,
    /// recall and F1 are told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Factors of the losses of the classes of texts, or of tags: `none`, `balanced`, or a table, { ham = 1.0, spam =
    /// 2.0 }.
    pub class_weights: ClassWeights,
    /// Where a sample of two classes begins to be of the second: `half`, `accuracy`, `f1`, or a probability between 0
    /// and 1.
    pub threshold: Threshold,
    /// Parts of which one is kept out for the test at the end; 0: none.
    pub folds: usize,
    /// Which of them, from 0.
    pub fold: usize,
    /// The seed by which samples are shared out, apart from that of the training.
    pub split_seed: u64,
    /// tag: how often words are hidden in training, so that unknown ones are learned: one seen n times with probability
    /// a / (a + n) (Kiperwasser and Goldberg 2016); 0: never.
    pub word_dropout: f64,
    /// How texts become numbers.
    pub prepare: PrepareOptions,
}

impl Default for TaskConfig {
    fn default() -> TaskConfig {
        TaskConfig {
            kind: TaskKind::Classify,
            format: None,
            header: false,
            label: None,
            labels: Vec::new(),
            source: None,
            text: None,
            vector: None,
            vector_scale: 1.0,
            drop: Vec::new(),
            classes: Vec::new(),
            class_weights: ClassWeights::None,
            threshold: Threshold::Half,
            folds: 0,
            fold: 0,
            split_seed: 1,
            word_dropout: 0.0,
            prepare: PrepareOptions::default(),
        }
    }
}

impl TaskConfig {
    /// The columns of the labels as they are given, one for each output; none where the usual one is meant.
    pub fn label_columns(&self) -> Vec<Option<&str>> {
        match self.labels.as_slice() {
            [] => vec![self.label.as_deref()],
            several => several.iter().map(|name| Some(name.as_str())).collect(),
        }
    }
}

impl TaskKind {
    /// Whether the samples have labels of their own: the classes that a model chooses from. Else it chooses words.
    pub fn has_labels(self) -> bool {
        matches!(self, TaskKind::Classify | TaskKind::Tag)
    }

    /// What a run of it learned to do, as messages say it.
    pub fn doing(self) -> &'static str {
        match self {
            TaskKind::Classify => "classify",
            TaskKind::Tag => "tag",
            TaskKind::Next => "predict the next word",
            TaskKind::Caption => "write captions",
            TaskKind::Translate => "translate",
        }
    }

    /// Whether texts are written word by word, from a token that begins them to one that ends them.
    pub fn writes(self) -> bool {
        matches!(self, TaskKind::Caption | TaskKind::Translate)
    }
}

/// The share of the training samples that validates where the configuration does not say.
pub const VALID_SAMPLES: f64 = 0.1;
