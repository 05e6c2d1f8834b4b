//! Optimiser rules, each a single pass over parameters, gradients and state; and the norms that clipping needs.
//!
//! A pass first computes g = clamp(gradient grad_scale, -clip_value, clip_value) + weight_decay p. The scale is the
//! factor of clipping by norm (1 without it) and comes before clipping by value. The decay is the gradient of the
//! penalty weight_decay p^2 / 2, as PyTorch's `weight_decay` is for all rules but AdamW, and neither clip touches it.
//! Then, at step t = 1, 2, ... with learning rate l:
//!
//! ```text
//! Sgd        p -= l g
//! Momentum   b = mu b + g                                 p -= l b
//! Nesterov   b = mu b + g                                 p -= l (g + mu b)
//! Adagrad    m += g^2                                     p -= l g / (sqrt(m) + eps)   or   l g / sqrt(m + eps)
//! RmsProp    v = decay v + (1 - decay) g^2                p -= l g / (sqrt(v) + eps)
//! Adam       m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
//!                                                         p -= l m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
//! AdamW      p *= 1 - l weight_decay, then Adam
//! ```
//!
//! The rules are PyTorch's (`torch.optim` 2.x), except where a [`Rule`] says otherwise; all state starts at 0. Keras'
//! momentum (b = mu b - l g, p += b) is the same as long as l is constant. Keras and ONNX add Adam's eps to the
//! uncorrected sqrt(v), which is this rule with eps / sqrt(1 - b2^t).
//!
//! # Error
//!
//! Everything is element-wise, so a pass may be cut anywhere without changing a bit. Let u = 2^-24, m the sum of the
//! magnitudes of a state's terms, and s the size that a step would have if state and gradient had one sign. Then
//!
//! ```text
//! |error of a new state| <= 4 u m
//! |error of p|           <= 2 u |p| + 12 u s
//! ```
//!
//! With weight decay, g itself comes from one fused multiply-add, whose error of u |g| comes before these.
//!
//! Sources: B. T. Polyak 1964 (momentum); I. Sutskever et al. 2013 (Nesterov's in this form); J. Duchi et al. 2011
//! (Adagrad); T. Tieleman and G. Hinton 2012 (RMSprop); D. Kingma and J. Ba 2015 (Adam); I. Loshchilov and F. Hutter
//! 2019 (AdamW); B. T. Polyak and A. B. Juditsky 1992 ([`average`]).

mod generic;

pub mod reference;

use crate::isa::Isa;
use generic::{Adagrad, Adam, Apply, Momentum, RmsProp, Sgd};

/// An update rule with its constants. They are f64, so that 1 - beta is computed exactly before it is rounded to f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Plain stochastic gradient descent.
    Sgd,
    /// Heavy-ball momentum without dampening.
    Momentum {
        /// mu: the part of the last step that is kept.
        momentum: f64,
    },
    /// Nesterov's momentum.
    Nesterov {
        /// mu: the part of the last step that is kept.
        momentum: f64,
    },
    /// Adagrad without decay of the learning rate.
    Adagrad {
        /// eps: keeps the divisor away from zero.
        epsilon: f64,
        /// Whether the root includes epsilon: false in PyTorch and ONNX, true in min-char-rnn and Keras.
        epsilon_inside: bool,
    },
    /// RMSprop without centring and momentum, as Torch's `optim.rmsprop` (char-rnn) and PyTorch have it; Keras puts
    /// epsilon under the root.
    RmsProp {
        /// The part of the mean squared gradient that is kept: PyTorch's alpha, Keras' rho.
        decay: f64,
        /// eps: keeps the divisor away from zero.
        epsilon: f64,
    },
    /// Adam with bias correction.
    Adam {
        /// b1: the part of the mean gradient that is kept.
        beta1: f64,
        /// b2: the part of the mean squared gradient that is kept.
        beta2: f64,
        /// eps: keeps the divisor away from zero.
        epsilon: f64,
    },
    /// Adam with decoupled weight decay.
    AdamW {
        /// b1: the part of the mean gradient that is kept.
        beta1: f64,
        /// b2: the part of the mean squared gradient that is kept.
        beta2: f64,
        /// eps: keeps the divisor away from zero.
        epsilon: f64,
        /// Each step multiplies the parameters by 1 - lr weight_decay.
        weight_decay: f64,
    },
}

impl Rule {
    /// How many numbers of state the rule keeps for each parameter: 0, 1 or 2.
    pub fn slots(self) -> usize {
        match self {
            Self::Sgd => 0,
            Self::Momentum { .. } | Self::Nesterov { .. } | Self::Adagrad { .. } | Self::RmsProp { .. } => 1,
            Self::Adam { .. } | Self::AdamW { .. } => 2,
        }
    }

    /// Whether a gradient of zero changes neither parameter nor state, so that a pass may skip such elements. With the
    /// other rules the state decays even then.
    pub fn ignores_zero_gradients(self) -> bool {
        matches!(self, Self::Sgd | Self::Adagrad { .. })
    }
}

/// The arguments of [`update`]. All slices that are used have the same length.
pub struct Update<'a> {
    /// In: the parameters. Out: the parameters after the step.
    pub param: &'a mut [f32],
    /// Their gradient.
    pub grad: &'a [f32],
    /// The rule's state, in and out; the first [`Rule::slots`] are used, the others may be empty.
    pub slots: [&'a mut [f32]; 2],
    /// The learning rate.
    pub lr: f32,
    /// First, every gradient is multiplied by this: 1, or [`clip_factor`].
    pub grad_scale: f32,
    /// Then every gradient is clamped to this magnitude.
    pub clip_value: Option<f32>,
    /// Then the parameter times this is added to its gradient; 0 for none, as for AdamW, which has a decay of its own.
    pub weight_decay: f32,
    /// The number of this step, from 1; Adam's bias correction needs it.
    pub step: u64,
}

/// Makes one step of a rule over all parameters, in one pass.
///
/// ```
/// use unroll_kernels::Isa;
/// use unroll_kernels::optimizer::{Rule, Update, update};
/// let (mut param, mut state) = ([1.0, 2.0], [0.0; 2]);
/// let args = Update {
///     param: &mut param,
///     grad: &[1.0, -80.0],
///     slots: [&mut state, &mut []],
///     lr: 0.5,
///     grad_scale: 1.0,
///     clip_value: Some(4.0),
///     weight_decay: 0.0,
///     step: 1,
/// };
/// update(Isa::best(), Rule::Momentum { momentum: 0.9 }, args);
/// assert_eq!((param, state), ([0.5, 4.0], [1.0, -4.0]));
/// ```
///
/// # Panics
///
/// When lengths differ, the step is 0, or the clip value is negative or NaN.
#[track_caller]
pub fn update(isa: Isa, rule: Rule, args: Update<'_>) {
    let n = args.param.len();
    assert_eq!(args.grad.len(), n, "{} gradients for {n} parameters", args.grad.len());
    for slot in &args.slots[..rule.slots()] {
        assert_eq!(slot.len(), n, "a state of {} for {n} parameters", slot.len());
    }
    assert!(args.step > 0, "steps count from 1");
    if let Some(clip) = args.clip_value {
        assert!(clip >= 0.0, "a clip value of {clip}");
    }
    let lr = f64::from(args.lr);
    match rule {
        Rule::Sgd => isa.run(Apply { formula: Sgd { lr: args.lr }, args }),
        Rule::Momentum { momentum } => {
            isa.run(Apply { formula: Momentum::<false> { lr: args.lr, mu: momentum as f32 }, args });
        }
        Rule::Nesterov { momentum } => {
            isa.run(Apply { formula: Momentum::<true> { lr: args.lr, mu: momentum as f32 }, args });
        }
        Rule::Adagrad { epsilon, epsilon_inside: false } => {
            isa.run(Apply { formula: Adagrad::<false> { lr: args.lr, epsilon: epsilon as f32 }, args });
        }
        Rule::Adagrad { epsilon, epsilon_inside: true } => {
            isa.run(Apply { formula: Adagrad::<true> { lr: args.lr, epsilon: epsilon as f32 }, args });
        }
        Rule::RmsProp { decay, epsilon } => {
            let formula =
                RmsProp { lr: args.lr, decay: decay as f32, rest: (1.0 - decay) as f32, epsilon: epsilon as f32 };
            isa.run(Apply { formula, args });
        }
        Rule::Adam { beta1, beta2, epsilon } => {
            let formula = Adam::<false>::new(lr, [beta1, beta2], epsilon, 0.0, args.step);
            isa.run(Apply { formula, args });
        }
        Rule::AdamW { beta1, beta2, epsilon, weight_decay } => {
            let formula = Adam::<true>::new(lr, [beta1, beta2], epsilon, weight_decay, args.step);
            isa.run(Apply { formula, args });
        }
    }
}

/// Moves running averages a towards the parameters p: a += weight (p - a), and a = p where the weight is 1.
///
/// With a weight of 1/n at the n-th call, a is the mean of the parameters of n calls. |error| <= 2 u |p - a| + u |a|.
///
/// # Panics
///
/// When lengths differ.
#[track_caller]
pub fn average(isa: Isa, averages: &mut [f32], params: &[f32], weight: f32) {
    assert_eq!(averages.len(), params.len(), "{} averages of {} parameters", averages.len(), params.len());
    if weight == 1.0 {
        averages.copy_from_slice(params);
    } else {
        isa.run(generic::Average { averages, params, weight });
    }
}

/// The number of squares that [`sum_of_squares`] adds up in f32 before it adds the sum to its f64 total.
pub const NORM_BLOCK: usize = 4096;

/// The sum of squares: in f32 within blocks of [`NORM_BLOCK`] elements from the start of the slice, in f64 over the
/// blocks. Its relative error is at most 2^-24 (4096 / 64 + 6).
///
/// Threads that share the work call it for whole blocks each and add the blocks' sums in their order: the bits are then
/// those of one call. A square that overflows f32 makes the sum infinite.
pub fn sum_of_squares(isa: Isa, x: &[f32]) -> f64 {
    isa.run(generic::SumOfSquares(x))
}

/// Whether no element is NaN or infinite.
pub fn is_finite(isa: Isa, x: &[f32]) -> bool {
    isa.run(generic::IsFinite(x))
}

/// The factor that scales a gradient of norm `norm` down to `max_norm`: min(1, max_norm / (norm + 1e-6)).
///
/// This is PyTorch's `clip_grad_norm_`, 1e-6 included, so that runs can be compared; Keras' `global_clipnorm` has none,
/// and differs by 1e-6 / norm. A NaN norm gives NaN.
pub fn clip_factor(norm: f64, max_norm: f64) -> f32 {
    let factor = max_norm / (norm + 1e-6);
    if factor > 1.0 { 1.0 } else { factor as f32 }
}

#[cfg(test)]
mod tests;
