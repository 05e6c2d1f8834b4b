//! The words that a model's options are chosen from: losses, initializers, functions, cells, ways to join two
//! directions.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use unroll_kernels::activation::Activation as Function;

/// The losses that training can minimise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// Softmax with cross-entropy against token targets: -ln p(target).
    #[default]
    CrossEntropy,
    /// Binary cross-entropy of one logit a sample against targets 0 and 1.
    BinaryCrossEntropy,
    /// (y - t)^2 of one number y a sample against a number t.
    MeanSquaredError,
}

impl Loss {
    /// The function that is part of the loss: the loss of a layer that ends in it takes the layer's output before it.
    pub fn ending(self) -> Option<Activation> {
        match self {
            Self::CrossEntropy => Some(Activation::Softmax),
            Self::BinaryCrossEntropy => Some(Activation::Sigmoid),
            Self::MeanSquaredError => None,
        }
    }
}

/// How initial values are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initializer {
    /// 0
    Zeros,
    /// 1
    Ones,
    /// The same value everywhere.
    Constant(f32),
    /// Uniform in ±limit.
    Uniform(f32),
    /// Normal with mean 0 and this standard deviation.
    Normal(f32),
    /// Uniform in ±sqrt(6 / (fan in + fan out)) (Glorot and Bengio 2010).
    GlorotUniform,
    /// Normal with mean 0 and deviation sqrt(2 / (fan in + fan out)), cut at twice that (Glorot and Bengio 2010).
    GlorotNormal,
    /// Uniform in ±sqrt(6 / fan in) (He, Zhang, Ren and Sun 2015).
    HeUniform,
    /// Normal with mean 0 and deviation sqrt(2 / fan in), cut at twice that (the same).
    HeNormal,
    /// Uniform in ±sqrt(3 / fan in) (LeCun, Bottou, Orr and Müller 1998).
    LecunUniform,
    /// Normal with mean 0 and deviation sqrt(1 / fan in), cut at twice that (the same).
    LecunNormal,
    /// Normal with mean 0 and this standard deviation, drawn again where it is more than twice that from 0.
    TruncatedNormal(f32),
    /// Ones on the diagonal, zeros elsewhere (of recurrent weights: Le, Jaitly and Hinton 2015).
    Identity,
    /// A random orthogonal matrix (Saxe, McClelland and Ganguli 2014), by Gram-Schmidt on normal values.
    Orthogonal,
}

impl Initializer {
    /// Checks the number that it has, of the parameter of this name.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] where nothing can be drawn with it.
    pub(in crate::graph) fn check(self, parameter: &str) -> Result<()> {
        let (what, number, least) = match self {
            Self::Constant(value) => ("constant", value, f32::MIN),
            Self::Uniform(limit) => ("uniform", limit, 0.0),
            Self::Normal(deviation) => ("normal", deviation, 0.0),
            Self::TruncatedNormal(deviation) => ("truncated_normal", deviation, 0.0),
            _ => return Ok(()),
        };
        if number.is_finite() && number >= least {
            return Ok(());
        }
        let mend = if least == 0.0 { "give a finite number, 0 or more" } else { "give a finite number" };
        Err(Error::usage(format!("`{parameter}` cannot be drawn by {what} = {number}")).mend(mend))
    }
}

/// An element-wise function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// x
    #[default]
    Linear,
    /// The hyperbolic tangent.
    Tanh,
    /// max(x, 0)
    Relu,
    /// 1 / (1 + exp(-x))
    Sigmoid,
    /// x / 5 + 1/2 within 0..1: Keras 1 and 2, TensorFlow.js, ONNX.
    HardSigmoid,
    /// x / 6 + 1/2 within 0..1: `hard_sigmoid` of Keras 3 and PyTorch.
    #[serde(rename = "hard_sigmoid_6")]
    HardSigmoid6,
    /// x / (1 + |x|)
    Softsign,
    /// exp(x) / sum exp(x) along the last axis.
    Softmax,
}

impl Activation {
    /// The element-wise function; `None` for softmax, which depends on a whole row.
    pub fn element_wise(self) -> Option<Function> {
        Some(match self {
            Self::Linear => Function::Linear,
            Self::Tanh => Function::Tanh,
            Self::Relu => Function::Relu,
            Self::Sigmoid => Function::Sigmoid,
            Self::HardSigmoid => Function::HardSigmoid,
            Self::HardSigmoid6 => Function::HardSigmoid6,
            Self::Softsign => Function::Softsign,
            Self::Softmax => return None,
        })
    }
}

/// The recurrent cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cell {
    /// Elman's simple recurrent network.
    #[serde(rename = "simple_rnn")]
    SimpleRnn,
    /// Long short-term memory with a forget gate.
    #[serde(rename = "lstm")]
    Lstm,
    /// Gated recurrent unit.
    #[serde(rename = "gru")]
    Gru,
}

impl Cell {
    /// Gates: columns of the kernel for each unit.
    pub fn gates(self) -> usize {
        match self {
            Self::SimpleRnn => 1,
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }
}

/// How the outputs of the two directions are joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeMode {
    /// Side by side.
    #[default]
    Concat,
    /// Added.
    Sum,
    /// Multiplied, element by element.
    Mul,
    /// Their mean.
    Ave,
    /// Not joined: other layers take them separately, as `layer/forward` and `layer/backward`.
    None,
}
