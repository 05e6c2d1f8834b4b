//! How a model is declared, in Keras' words: the TOML (and Rust) form of a graph of layers.
//!
//! ```
//! let model: unroll::graph::ModelConfig = toml::from_str(r#"
//!     [[layers]]
//!     type = "one_hot"
//!     [[layers]]
//!     type = "lstm"
//!     units = 128
//!     return_sequences = true
//!     stateful = true
//!     [[layers]]
//!     type = "dense"
//!     activation = "softmax"
//! "#)?;
//!
//! use unroll::graph::{Activation, Dense, LayerConfig, ModelConfig, OneHot, Recurrent};
//! let lstm = Recurrent { units: 128, return_sequences: true, stateful: true, ..Recurrent::default() };
//! let dense = Dense { activation: Activation::Softmax, ..Dense::default() };
//! assert_eq!(model, ModelConfig::sequential([OneHot::default().into(), LayerConfig::Lstm(lstm), dense.into()]));
//! # Ok::<(), toml::de::Error>(())
//! ```
//!
//! Layers that take others than the one before them have names. A picture and what was said of it, of which it is
//! learned whether both belong together, and how good the picture is:
//!
//! ```
//! use unroll::graph::{Activation, Concatenate, Dense, Embedding, Graph, Input, LayerConfig, Loss, ModelConfig, OutputConfig, Recurrent};
//!
//! let table = Embedding { output_dim: 32, mask_zero: true, ..Embedding::default() };
//! let lstm = Recurrent { units: 64, ..Recurrent::default() };
//! let picture = Input { width: 256, sequence: Some(false), ..Input::default() };
//! let relu = Dense { units: Some(64), activation: Activation::Relu, ..Dense::default() };
//! let one = Dense { units: Some(1), ..Dense::default() };
//! let output = |layer: &str, loss| OutputConfig { layer: layer.into(), loss, ..OutputConfig::default() };
//! let model = ModelConfig {
//!     outputs: vec![output("belong", Loss::BinaryCrossEntropy), output("stars", Loss::MeanSquaredError)],
//!     ..ModelConfig::sequential([
//!         table.into(),
//!         LayerConfig::Lstm(lstm).named("text"),
//!         LayerConfig::from(picture).named("picture"),
//!         LayerConfig::from(Concatenate::default()).of(["text", "picture"]),
//!         LayerConfig::from(relu).named("both"),
//!         LayerConfig::from(Dense { activation: Activation::Sigmoid, ..one.clone() }).named("belong"),
//!         LayerConfig::from(one).named("stars").of(["both"]),
//!     ])
//! };
//! let graph = Graph::new(&model, 10_000)?;
//! assert_eq!(graph.parameter_count(), 32 * 10_000 + 4 * 64 * (32 + 64 + 1) + 64 * (64 + 256 + 1) + 2 * (64 + 1));
//! # Ok::<(), unroll::error::Error>(())
//! ```

mod head;
mod layers;
mod output;
mod words;

pub use head::{HeadConfig, HeadKind, Noise, WordOrder};
pub use layers::{
    ActivationLayer, ActivationRegularization, Add, Bidirectional, Concatenate, Dense, Dropout, Embedding, Input,
    LayerNormalization, Masking, OneHot, Recurrent, RecurrentConfig, RepeatVector, Reshape, TimeDistributed,
};
pub use output::OutputConfig;
pub use words::{Activation, Cell, Initializer, Loss, MergeMode};

use serde::{Deserialize, Serialize};

/// A model: its layers in order, and the loss that it is trained with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The number of tokens of every sample, such as 6 for a window of six words; absent: sequences of any length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_length: Option<usize>,
    /// How to draw the parameters of layers that name no initializer of their own, except the gains and offsets of
    /// `layer_normalization`; absent: Keras' defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initializer: Option<Initializer>,
    /// The loss to minimise.
    #[serde(default)]
    pub loss: Loss,
    /// How the cross-entropy is computed, and with which parameters in the place of the last dense layer's.
    #[serde(default, skip_serializing_if = "HeadConfig::is_default")]
    pub head: HeadConfig,
    /// The outputs of a model that has several, each with a loss and a head of its own in the place of `loss` and
    /// `head`; absent: the last layer is the one output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputConfig>,
    /// The layers; each takes the one before it unless `inputs` names others.
    pub layers: Vec<LayerConfig>,
}

impl ModelConfig {
    /// A model of these layers, each of which takes the one before it unless it names its inputs, with defaults for all
    /// else.
    pub fn sequential(layers: impl IntoIterator<Item = LayerConfig>) -> ModelConfig {
        ModelConfig { layers: layers.into_iter().collect(), ..ModelConfig::default() }
    }
}

/// A part of what a recurrent layer computes, which other layers can take by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `layer/forward` or `layer/backward`: the output of one direction.
    Output {
        /// 0 forward, 1 backward.
        direction: usize,
    },
    /// `layer/h`, `layer/backward/c`, ...: the state after the last step of one direction.
    State {
        /// 0 forward, or the only one; 1 backward.
        direction: usize,
        /// c of an LSTM rather than h.
        cell: bool,
    },
}

impl Default for LayerConfig {
    fn default() -> Self {
        Self::Dense(Dense::default())
    }
}

/// A layer, by its `type`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LayerConfig {
    /// `input`
    Input(Input),
    /// `embedding`
    Embedding(Embedding),
    /// `one_hot`
    OneHot(OneHot),
    /// `simple_rnn`
    SimpleRnn(Recurrent),
    /// `lstm`
    Lstm(Recurrent),
    /// `gru`
    Gru(Recurrent),
    /// `bidirectional`
    Bidirectional(Bidirectional),
    /// `dense`
    Dense(Dense),
    /// `time_distributed`
    TimeDistributed(TimeDistributed),
    /// `dropout`
    Dropout(Dropout),
    /// `layer_normalization`
    LayerNormalization(LayerNormalization),
    /// `activation_regularization`
    ActivationRegularization(ActivationRegularization),
    /// `masking`
    Masking(Masking),
    /// `add`
    Add(Add),
    /// `concatenate`
    Concatenate(Concatenate),
    /// `repeat_vector`
    RepeatVector(RepeatVector),
    /// `reshape`
    Reshape(Reshape),
    /// `activation`
    Activation(ActivationLayer),
    /// A part of a recurrent layer's outputs. It is never declared: it is made where another layer names it.
    #[serde(skip)]
    Part(Part),
}

/// An expression of the options of a layer, whatever its type, and another for a part, which has none.
macro_rules! common {
    ($layer:expr, $options:ident => $value:expr, else $other:expr) => {
        common!($layer, $options => $value, else $other; Input Embedding OneHot SimpleRnn Lstm Gru Bidirectional Dense
            TimeDistributed Dropout LayerNormalization ActivationRegularization Masking Add Concatenate RepeatVector Reshape
            Activation)
    };
    ($layer:expr, $options:ident => $value:expr, else $other:expr; $($variant:ident)*) => {
        match $layer {
            $(Self::$variant($options) => $value,)*
            Self::Part(_) => $other,
        }
    };
}

/// What the options of a type that has its own are a layer of.
macro_rules! layers {
    ($($options:ident => $variant:ident)*) => {
        $(impl From<$options> for LayerConfig {
            fn from(options: $options) -> LayerConfig {
                LayerConfig::$variant(options)
            }
        })*
    };
}
layers! {
    Input => Input
    Embedding => Embedding
    OneHot => OneHot
    Bidirectional => Bidirectional
    Dense => Dense
    TimeDistributed => TimeDistributed
    Dropout => Dropout
    LayerNormalization => LayerNormalization
    ActivationRegularization => ActivationRegularization
    Masking => Masking
    Add => Add
    Concatenate => Concatenate
    RepeatVector => RepeatVector
    Reshape => Reshape
    ActivationLayer => Activation
}

impl LayerConfig {
    /// The type as TOML and automatic names spell it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Input(_) => "input",
            Self::Embedding(_) => "embedding",
            Self::OneHot(_) => "one_hot",
            Self::SimpleRnn(_) => "simple_rnn",
            Self::Lstm(_) => "lstm",
            Self::Gru(_) => "gru",
            Self::Bidirectional(_) => "bidirectional",
            Self::Dense(_) => "dense",
            Self::TimeDistributed(_) => "time_distributed",
            Self::Dropout(_) => "dropout",
            Self::LayerNormalization(_) => "layer_normalization",
            Self::ActivationRegularization(_) => "activation_regularization",
            Self::Masking(_) => "masking",
            Self::Add(_) => "add",
            Self::Concatenate(_) => "concatenate",
            Self::RepeatVector(_) => "repeat_vector",
            Self::Reshape(_) => "reshape",
            Self::Activation(_) => "activation",
            Self::Part(_) => "part",
        }
    }

    /// The type as Keras' table spells it.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Input(_) => "InputLayer",
            Self::Embedding(_) => "Embedding",
            Self::OneHot(_) => "OneHot",
            Self::SimpleRnn(_) => "SimpleRNN",
            Self::Lstm(_) => "LSTM",
            Self::Gru(_) => "GRU",
            Self::Bidirectional(_) => "Bidirectional",
            Self::Dense(_) => "Dense",
            Self::TimeDistributed(_) => "TimeDistributed",
            Self::Dropout(_) => "Dropout",
            Self::LayerNormalization(_) => "LayerNormalization",
            Self::ActivationRegularization(_) => "ActivationRegularization",
            Self::Masking(_) => "Masking",
            Self::Add(_) => "Add",
            Self::Concatenate(_) => "Concatenate",
            Self::RepeatVector(_) => "RepeatVector",
            Self::Reshape(_) => "Reshape",
            Self::Activation(_) => "Activation",
            Self::Part(_) => "Part",
        }
    }

    /// The declared name and inputs.
    pub fn name_and_inputs(&self) -> (Option<&str>, &[String]) {
        common!(self, layer => (layer.name.as_deref(), layer.inputs.as_slice()), else (None, &[]))
    }

    /// The same layer with this name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> LayerConfig {
        common!(&mut self, layer => layer.name = Some(name.into()), else ());
        self
    }

    /// The same layer with the layers of these names as its inputs.
    #[must_use]
    pub fn of<S: Into<String>>(mut self, inputs: impl IntoIterator<Item = S>) -> LayerConfig {
        let inputs = inputs.into_iter().map(S::into).collect();
        common!(&mut self, layer => layer.inputs = inputs, else ());
        self
    }

    /// The layers that give the state before the first step.
    pub fn initial_state(&self) -> &[String] {
        match self {
            Self::SimpleRnn(options) | Self::Lstm(options) | Self::Gru(options) => &options.initial_state,
            Self::Bidirectional(layer) => &layer.initial_state,
            _ => &[],
        }
    }

    /// The cell and its options, if this is a recurrent layer.
    pub fn recurrent(&self) -> Option<(Cell, &Recurrent)> {
        match self {
            Self::SimpleRnn(options) => Some((Cell::SimpleRnn, options)),
            Self::Lstm(options) => Some((Cell::Lstm, options)),
            Self::Gru(options) => Some((Cell::Gru, options)),
            _ => None,
        }
    }

    /// The cell, its options and how it is read, if this is a recurrent layer of one direction or of both.
    pub fn recurrence(&self) -> Option<(Cell, &Recurrent, Reading)> {
        match self {
            Self::Bidirectional(layer) => {
                let (cell, options) = layer.layer.parts();
                Some((cell, options, Reading::Both(layer.merge_mode)))
            }
            _ => {
                self.recurrent().map(|(cell, options)| (cell, options, Reading::One { reverse: options.go_backwards }))
            }
        }
    }
}

/// The direction or directions in which a recurrent layer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// One direction: from the first step to the last, or from the last to the first.
    One {
        /// The other way.
        reverse: bool,
    },
    /// Both directions, and how their outputs are joined.
    Both(MergeMode),
}

impl Reading {
    /// For each direction, whether it reads from the last step.
    pub fn directions(self) -> &'static [bool] {
        match self {
            Self::One { reverse: false } => &[false],
            Self::One { reverse: true } => &[true],
            Self::Both(_) => &[false, true],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ModelConfig, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn toml_round_trips() {
        let text = r#"
            initializer = { uniform = 0.08 }
            [[layers]]
            type = "embedding"
            output_dim = 20
            [[layers]]
            type = "bidirectional"
            layer = { type = "gru", units = 7, reset_after = false }
            [[layers]]
            type = "dense"
            units = 1
            kernel_initializer = "glorot_uniform"
        "#;
        let model = parse(text).unwrap();
        assert_eq!(parse(&toml::to_string(&model).unwrap()).unwrap(), model);
        assert_eq!(model.initializer, Some(Initializer::Uniform(0.08)));
    }

    #[test]
    fn unknown_fields_are_refused() {
        let error = parse("[[layers]]\ntype = \"lstm\"\nunits = 3\nunit = 4").unwrap_err().to_string();
        assert!(error.contains("unknown field `unit`"), "{error}");
    }
}
