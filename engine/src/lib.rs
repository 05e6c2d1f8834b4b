//! Trains and runs recurrent and neural language models on CPUs.

pub mod bench;
pub mod config;
pub mod corpus;
pub mod error;
pub mod eval;
pub mod exec;
pub mod generate;
pub mod graph;
mod heads;
mod layers;
pub mod network;
pub mod random;
pub mod recipes;
pub mod report;
pub mod run;
pub mod text;
pub mod train;

pub use error::{Error, Result};
pub use network::{Batch, LossScale, LossSum, Network, NetworkOptions, State};
