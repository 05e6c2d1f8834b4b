//! Trains and runs recurrent and neural language models on CPUs, at the speed the processor can really go.
//!
//! A model is a [`graph::Graph`] of layers in Keras' words; a [`Network`] runs it on any number of threads, with the
//! same bits on all; [`train`] has the loop, the optimiser's pass and the run folder; [`text`] and [`corpus`] turn text
//! into tokens; [`generate`] and [`eval`] use a trained model. The command `unroll` only reads arguments and calls this
//! library; the mathematics is in the crate `unroll_kernels`.
//!
//! | to | use |
//! |---|---|
//! | describe a model | [`graph::ModelConfig`], in Rust or from TOML by the crate `toml` 1; [`graph::Graph::new`] for words, [`with_classes`](graph::Graph::with_classes) for classes, [`with_source`](graph::Graph::with_source) for two sequences |
//! | take a known model | [`recipes::find`], then `config()` and `model.graph()` |
//! | make batches of a text | [`corpus::MemoryTokens`] or [`corpus::Corpus`], cut by [`corpus::Split`], [`corpus::Streams`] or [`corpus::Windows`]; your own as [`Batch`] |
//! | train | [`train::step`], one step; [`train::Trainer`], the loop with a schedule, evaluations and checkpoints |
//! | resume | [`train::RunFolder::resume`], then [`train::Trainer`] as before |
//! | load the weights of a run | [`run::load_weights`] |
//! | evaluate, predict | [`eval::evaluate`]; [`Network::evaluate`], [`Network::predict`], [`Network::top_k`] |
//! | generate | [`generate::generate`] with a [`run::Speaker`] |
//! | read or change weights | [`Network::params`], laid out as [`graph::Graph::params`] says |
//! | exchange weights | [`interop`]: PyTorch, Keras, ONNX |
//! | train word vectors | [`vectors::train`] |
//!
//! `examples/char_model.rs` does most of this with one text. Calls that return a [`Result`] refuse what does not fit with an
//! [`Error`]; those of [`Network`] that return numbers alone panic, and say so.
//!
//! ```
//! use unroll::graph::Graph;
//! use unroll::train::{Optimizer, OptimizerOptions, Rule, StepAt, StepOutcome, step};
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
//!     assert!(matches!(done, StepOutcome::Done { .. }));
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
