//! The options of each layer: a struct a type, whose fields are the keys of its TOML.

use super::LayerConfig;
use super::words::{Activation, Cell, Initializer, MergeMode};
use serde::{Deserialize, Serialize};
use unroll_kernels::cells::Functions;

/// Declares the options of a layer: its own fields, and the two that every layer has.
macro_rules! options {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident : $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The layer's name; absent: its type with a number, as Keras does.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub name: Option<String>,
            /// The layers whose output this takes; absent: the layer before.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub inputs: Vec<String>,
            $($(#[$field_doc])* pub $field: $type,)*
        }
    };
}

/// Whether an option has its usual value and is not written.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(x: &f32) -> bool {
    *x == 0.0
}

options! {
    /// A table of vectors, one for each token.
    Embedding {
        /// Rows of the table; absent: the vocabulary's size.
        #[serde(default, skip_serializing_if = "Option::is_none")] input_dim: Option<usize>,
        /// The width of a vector.
        output_dim: usize,
        /// Whether token 0 is padding: no layer sees its steps, which pass every state unchanged, and their targets are
        /// not scored.
        #[serde(default)] mask_zero: bool,
        /// The part of the words, in [0, 1), whose vectors are zero in a training step, wherever they stand in its
        /// batch; the others are scaled by 1 / (1 - dropout) (Gal and Ghahramani 2016). Another layer that uses the
        /// table sees it whole.
        #[serde(default, skip_serializing_if = "is_zero")] dropout: f32,
        /// Draws the table; Keras: uniform ±0.05.
        #[serde(default, skip_serializing_if = "Option::is_none")] embeddings_initializer: Option<Initializer>,
    }
}
options! {
    /// Vectors that come with the batch, beside its tokens or instead of them.
    Input {
        /// The width of a vector.
        width: usize,
        /// Whether there is one for each step rather than one a row; true unless said otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")] sequence: Option<bool>,
        /// Rows that every batch has; absent: any number.
        #[serde(default, skip_serializing_if = "Option::is_none")] batch_size: Option<usize>,
    }
}
options! {
    /// A one-hot vector for each token: zeros, with a one at the token's number.
    OneHot {
        /// The width; absent: the vocabulary's size.
        #[serde(default, skip_serializing_if = "Option::is_none")] num_classes: Option<usize>,
    }
}
options! {
    /// A recurrent layer: simple_rnn, lstm or gru.
    Recurrent {
        /// Hidden units.
        units: usize,
        /// Of the output and of what a gated cell remembers; tanh unless said otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")] activation: Option<Activation>,
        /// Of lstm and gru: that of the gates; sigmoid unless said otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")] recurrent_activation: Option<Activation>,
        /// Of lstm: whether the gates see the cell state, i and f that before the step and o that after it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")] peephole: bool,
        /// Whether there is a bias; true unless said otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")] use_bias: Option<bool>,
        /// Of simple_rnn and lstm: a second bias, on the hidden side, as the cells of Torch and PyTorch have; false
        /// unless said otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")] recurrent_bias: Option<bool>,
        /// The output of every step rather than of the last.
        #[serde(default)] return_sequences: bool,
        /// Whether the final state is an output too: it is then in the [`crate::State`] of a batch, by the names
        /// `layer/h` and `layer/c` (`layer/forward/h`, ... of both directions), and other layers take it by them.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")] return_state: bool,
        /// Whether the state is carried from one batch to the next; with `initial_state` a text begins there.
        #[serde(default)] stateful: bool,
        /// Whether the sequence is read from its end. With return_sequences the outputs stand in the order of reading,
        /// as in Keras: the last step's first, of a row with masked steps those of the others among themselves.
        #[serde(default)] go_backwards: bool,
        /// With return_sequences: whether the output of a masked step is zero, where it is read, rather than that of
        /// the step before it. Both directions of a bidirectional layer always have zero, as in Keras.
        #[serde(default)] zero_output_for_mask: bool,
        /// The layers that give the state before the first step: that of h, and of lstm that of c after it; zero where
        /// none is named. A state is (units) a row: a dense layer's output, or `layer/h` and `layer/c` of a recurrent
        /// layer with `return_state`. Of a bidirectional layer they are named on it, the forward direction's first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")] initial_state: Vec<String>,
        /// The part of the recurrent weights, in [0, 1), that is zero in a training step, the same for all of its steps
        /// and rows; the others are scaled by 1 / (1 - weight_drop) (Wan et al. 2013, Merity, Keskar and Socher 2018).
        #[serde(default, skip_serializing_if = "is_zero")] weight_drop: f32,
        /// The part of the inputs, in [0, 1), that the layer does not see in a training step, one choice a row for all
        /// of its steps and gates, and of a bidirectional layer for both directions; the others are scaled by 1 / (1 -
        /// dropout) (Gal and Ghahramani 2016, Keras, whose directions choose apart). It is a variational dropout layer
        /// before this one.
        #[serde(default, skip_serializing_if = "is_zero")] dropout: f32,
        /// The part of the units of h, in [0, 1), that the recurrent product does not see in a training step, one
        /// choice a row for all of its steps; the others are scaled by 1 / (1 - recurrent_dropout) (Gal and Ghahramani
        /// 2016, Keras). What a gru mixes with its candidate is the whole h.
        #[serde(default, skip_serializing_if = "is_zero")] recurrent_dropout: f32,
        /// The part of the units of h, in [0, 1), that stay as they were before a step, chosen anew at each step of
        /// training; otherwise h is the mean of both (Krueger et al. 2017).
        #[serde(default, skip_serializing_if = "is_zero")] zoneout: f32,
        /// Of lstm: the same for c.
        #[serde(default, skip_serializing_if = "is_zero")] zoneout_cell: f32,
        /// Of gru: whether the reset gate is applied after the recurrent product; true (Keras, cuDNN) unless said
        /// otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")] reset_after: Option<bool>,
        /// Of lstm: whether the forget gate's bias starts at 1; true unless said otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")] unit_forget_bias: Option<bool>,
        /// Draws the kernel; Keras: glorot_uniform.
        #[serde(default, skip_serializing_if = "Option::is_none")] kernel_initializer: Option<Initializer>,
        /// Draws the recurrent kernel; Keras: orthogonal.
        #[serde(default, skip_serializing_if = "Option::is_none")] recurrent_initializer: Option<Initializer>,
        /// Draws the bias; Keras: zeros.
        #[serde(default, skip_serializing_if = "Option::is_none")] bias_initializer: Option<Initializer>,
    }
}
impl Recurrent {
    /// The functions of the cell.
    pub fn functions(&self) -> Functions {
        let named = |activation: Option<Activation>| activation.and_then(Activation::element_wise);
        let usual = Functions::default();
        Functions {
            activation: named(self.activation).unwrap_or(usual.activation),
            recurrent: named(self.recurrent_activation).unwrap_or(usual.recurrent),
        }
    }
}

options! {
    /// A recurrent layer read in both directions.
    Bidirectional {
        /// How the two outputs are joined.
        #[serde(default)] merge_mode: MergeMode,
        /// The layers that give the states before the first steps: h (and c) of the forward direction, then of the
        /// backward one.
        #[serde(default, skip_serializing_if = "Vec::is_empty")] initial_state: Vec<String>,
        /// The recurrent layer; its weights are drawn twice.
        layer: RecurrentConfig,
    }
}
options! {
    /// y = activation(x W + b)
    Dense {
        /// Outputs; absent: as many as a target has values, the vocabulary's tokens or the classes.
        #[serde(default, skip_serializing_if = "Option::is_none")] units: Option<usize>,
        /// Applied to the outputs.
        #[serde(default)] activation: Activation,
        /// Whether there is a bias; true unless said otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")] use_bias: Option<bool>,
        /// An embedding layer whose transposed table is the kernel.
        #[serde(default, skip_serializing_if = "Option::is_none")] tied_to: Option<String>,
        /// Draws the kernel; Keras: glorot_uniform.
        #[serde(default, skip_serializing_if = "Option::is_none")] kernel_initializer: Option<Initializer>,
        /// Draws the bias; Keras: zeros.
        #[serde(default, skip_serializing_if = "Option::is_none")] bias_initializer: Option<Initializer>,
    }
}
options! {
    /// A layer applied to each step by itself: dense, activation, dropout or layer_normalization.
    TimeDistributed {
        /// The layer.
        layer: Box<LayerConfig>,
    }
}
options! {
    /// Sets a random part of its input to zero while training and scales the rest by 1 / (1 - rate).
    Dropout {
        /// The part that is dropped, in [0, 1).
        rate: f32,
        /// Whether one choice serves all steps of a row (Gal and Ghahramani 2016), as Keras' `noise_shape = (None, 1,
        /// units)` and the `dropout` of its recurrent layers do, rather than each step having its own.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")] variational: bool,
    }
}
options! {
    /// Gives the numbers of every step (or row) mean 0 and variance 1, then a gain and an offset of their own (Ba,
    /// Kiros and Hinton 2016).
    LayerNormalization {
        /// Added to the variance; Keras: 0.001.
        #[serde(default, skip_serializing_if = "Option::is_none")] epsilon: Option<f32>,
        /// Whether there is an offset, `beta`; true unless said otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")] center: Option<bool>,
        /// Whether there is a gain, `gamma`; true unless said otherwise.
        #[serde(default, skip_serializing_if = "Option::is_none")] scale: Option<bool>,
        /// Draws the offset, whatever the model's initializer is; Keras: zeros.
        #[serde(default, skip_serializing_if = "Option::is_none")] beta_initializer: Option<Initializer>,
        /// Draws the gain, whatever the model's initializer is; Keras: ones.
        #[serde(default, skip_serializing_if = "Option::is_none")] gamma_initializer: Option<Initializer>,
    }
}
impl LayerNormalization {
    /// What is added to the variance.
    pub fn epsilon(&self) -> f32 {
        self.epsilon.unwrap_or(1e-3)
    }
}

options! {
    /// Passes its input on unchanged and adds two penalties to what training minimises, though not to the losses that
    /// are reported: `alpha` times the mean square of the input (AR), and `beta` times the mean square of its change
    /// from step to step (TAR; Merity, McCann and Socher 2017). Masked steps count for neither.
    ActivationRegularization {
        /// The factor of the mean square.
        #[serde(default, skip_serializing_if = "is_zero")] alpha: f32,
        /// The factor of the mean square of the differences.
        #[serde(default, skip_serializing_if = "is_zero")] beta: f32,
    }
}
options! {
    /// Masks the steps at which every number of its input, the vectors of an embedding or of the batch, is
    /// `mask_value`.
    Masking {
        /// The number; Keras: 0.
        #[serde(default)] mask_value: f32,
    }
}
options! {
    /// The sum of its inputs.
    Add {}
}
options! {
    /// Its inputs side by side along the last axis.
    Concatenate {}
}
options! {
    /// Repeats the one vector of a row at every step: for instance what is known of a picture, beside each word about
    /// it.
    RepeatVector {
        /// Steps; absent: as many as the batch has.
        #[serde(default, skip_serializing_if = "Option::is_none")] n: Option<usize>,
    }
}
options! {
    /// The same values in another shape (without the batch axis).
    Reshape {
        /// The new shape; its product is that of the old one.
        target_shape: Vec<usize>,
    }
}
options! {
    /// An element-wise function.
    ActivationLayer {
        /// Which one.
        activation: Activation,
    }
}

/// A recurrent layer within another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RecurrentConfig {
    /// `simple_rnn`
    SimpleRnn(Recurrent),
    /// `lstm`
    Lstm(Recurrent),
    /// `gru`
    Gru(Recurrent),
}

impl Default for RecurrentConfig {
    fn default() -> Self {
        Self::Lstm(Recurrent::default())
    }
}

impl RecurrentConfig {
    /// The cell and its options.
    pub fn parts(&self) -> (Cell, &Recurrent) {
        match self {
            Self::SimpleRnn(options) => (Cell::SimpleRnn, options),
            Self::Lstm(options) => (Cell::Lstm, options),
            Self::Gru(options) => (Cell::Gru, options),
        }
    }
}
