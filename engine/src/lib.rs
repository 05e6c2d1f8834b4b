//! Trains and runs recurrent and neural language models on CPUs, at the speed the processor can really go.
//!
//! A model is a [`graph::Graph`] of layers in Keras' words; a [`Network`] runs it on any number of threads, with the
//! same bits on all; [`train`] has the loop, the optimiser's pass and the run folder; [`text`] and [`corpus`] turn text
//! into tokens; [`generate`] and [`eval`] use a trained model. The command `unroll` only reads arguments and calls this
//! library; the mathematics is in the crate `unroll_kernels`.
//!
//! ```
//! use unroll::graph::Graph;
//! use unroll::train::{Optimizer, OptimizerOptions, Rule, StepAt, Stepped, step};
//! use unroll::{Batch, Network, NetworkOptions};
//!
//! // An LSTM over four tokens learns to count: 0 1 2 3 0 1 2 3 ...
//! let model = r#"
//!     layers = [
//!         { type = "one_hot" },
//!         { type = "lstm", units = 8, return_sequences = true },
//!         { type = "dense", activation = "softmax" },
//!     ]
//! "#;
//! let graph = Graph::new(&toml::from_str(model)?, 4)?;
//! let (steps, rows) = (6, 2);
//! let mut network = Network::new(&graph, NetworkOptions { steps, rows, ..NetworkOptions::default() })?;
//! let rule = Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
//! let options = OptimizerOptions { clip_norm: Some(5.0), ..OptimizerOptions::new(rule) };
//! let mut optimizer = Optimizer::new(network.options().isa, options, network.params().len());
//!
//! let inputs: Vec<u32> = (0..12).map(|i| i / 2 % 4).collect(); // time-major: both rows read the same
//! let targets: Vec<u32> = inputs.iter().map(|t| (t + 1) % 4).collect();
//! let batch = Batch { steps, rows, inputs: &inputs, targets: &targets, ..Batch::default() };
//! let mut state = network.new_state(rows);
//! for number in 1..=200 {
//!     let at = StepAt { number, lr: 0.05, average: None, norm: false };
//!     let done = step(&mut network, &mut optimizer, &batch, &mut state, at)?;
//!     assert!(matches!(done, Stepped::Done { .. }));
//! }
//! assert!(network.evaluate(&batch, &mut state).mean() < 0.01);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod arena;
pub mod bench;
mod best;
pub mod config;
pub mod corpus;
pub mod error;
pub mod eval;
pub mod exec;
#[doc(hidden)]
pub mod fuzzing;
pub mod generate;
pub mod gradcheck;
pub mod gradient;
pub mod graph;
mod heads;
pub mod huffman;
pub mod inspect;
pub mod interop;
pub mod labels;
mod layers;
pub mod network;
pub mod ngram;
pub mod noise;
pub mod random;
pub mod recipes;
pub mod report;
pub mod run;
pub mod text;
pub mod train;
pub mod vectors;

pub use error::{Error, Result};
pub use network::{Batch, LossScale, LossSum, Network, NetworkOptions, State};
