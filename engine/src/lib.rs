//! Trains and runs recurrent and neural language models on CPUs.

pub mod error;
pub mod exec;
pub mod graph;
pub mod random;

pub use error::{Error, Result};
