//! The words that a setting is chosen from: each an enum whose values are written as one word.

use serde::{Deserialize, Serialize};
use unroll_kernels::gemm::Precision;

/// A word of the configuration, with the names it goes by.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$item:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$item])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// Every word that is understood.
            pub const WORDS: &'static [&'static str] = &[$($word),*];

            /// The word as it is written in a configuration.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(super) use words;

words! {
    /// Which part of the training text is held out for validation.
    SplitName {
        /// The last part of each training stream, as char-rnn does.
        Streams = "streams",
        /// The last part of the text.
        Tail = "tail",
        /// None: every token is trained on.
        None = "none",
    }
}

words! {
    /// The recurrent cell.
    Cell {
        /// Long short-term memory.
        Lstm = "lstm",
        /// Gated recurrent unit.
        Gru = "gru",
        /// The simple recurrent cell.
        Rnn = "rnn",
    }
}

words! {
    /// The activation of the simple recurrent cell.
    RnnActivation {
        /// Hyperbolic tangent.
        Tanh = "tanh",
        /// max(0, x).
        Relu = "relu",
    }
}

words! {
    /// What the weights start from.
    Init {
        /// Keras' own: Glorot uniform kernels, orthogonal recurrent kernels, embeddings uniform in +-0.05.
        Keras = "keras",
        /// Uniform in +-`init_scale`.
        Uniform = "uniform",
        /// Normal with standard deviation `init_scale`.
        Normal = "normal",
    }
}

words! {
    /// What the biases start from.
    InitBiases {
        /// Zero.
        Zeros = "zeros",
        /// The same distribution as the weights.
        Weights = "weights",
    }
}

words! {
    /// What the gradient is the gradient of.
    LossScaleName {
        /// The mean over the scored tokens of a step.
        Mean = "mean",
        /// The sum over the scored tokens of a step.
        Sum = "sum",
        /// The sum over time, averaged over the streams.
        SumOverTime = "sum_over_time",
    }
}

words! {
    /// What the operands of products are rounded to.
    PrecisionName {
        /// Not at all.
        F32 = "f32",
        /// To bf16; sums, parameters, states and losses stay in f32.
        Bf16 = "bf16",
    }
}

impl PrecisionName {
    pub(super) fn is_f32(&self) -> bool {
        *self == PrecisionName::F32
    }
}

impl From<PrecisionName> for Precision {
    fn from(name: PrecisionName) -> Precision {
        match name {
            PrecisionName::F32 => Precision::F32,
            PrecisionName::Bf16 => Precision::Bf16,
        }
    }
}

words! {
    /// The optimiser's rule.
    OptimizerName {
        /// p -= lr g.
        Sgd = "sgd",
        /// Heavy-ball momentum.
        Momentum = "momentum",
        /// Nesterov's momentum.
        Nesterov = "nesterov",
        /// Adagrad.
        Adagrad = "adagrad",
        /// RMSprop, as Torch and PyTorch have it.
        RmsProp = "rmsprop",
        /// Adam.
        Adam = "adam",
        /// Adam with decoupled weight decay.
        AdamW = "adamw",
    }
}

words! {
    /// Averages of the weights, which then are what is evaluated, saved and used.
    AverageName {
        /// From `t0` on, as torch's ASGD (with lambd 0).
        Asgd = "asgd",
        /// From when the validation loss is above the lowest but for those of the last `nonmono` evaluations:
        /// AWD-LSTM's NT-ASGD.
        NtAsgd = "nt_asgd",
    }
}

words! {
    /// How the learning rate changes.
    ScheduleName {
        /// It does not.
        Constant = "constant",
        /// From epoch `after` + 1 on it is multiplied by `factor` every `every` epochs.
        Decay = "decay",
        /// Multiplied by `factor` when the validation loss has not improved for `patience` evaluations.
        Plateau = "plateau",
        /// `lr` / (1 + `decay` t), t the steps before, as Bengio and others (2003) have it.
        Inverse = "inverse",
        /// Half a cosine from `lr` down to `min_lr` over the whole run.
        Cosine = "cosine",
    }
}

words! {
    /// What a sample starts from.
    SampleState {
        /// The zero state.
        Zero = "zero",
        /// The state that the first stream carries, and the character that it comes to next, as min-char-rnn does.
        Carried = "carried",
    }
}

words! {
    /// What is printed while training.
    ReportStyle {
        /// A line an interval with speed, loss and time left.
        Standard = "standard",
        /// Karpathy's gist: `iter N, loss: S`, S the smoothed sum over a step.
        MinCharRnn = "min_char_rnn",
    }
}
