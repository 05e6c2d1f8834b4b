//! Trains and runs recurrent and neural language models on CPUs.

pub mod config;
pub mod error;
pub mod exec;
pub mod graph;
pub mod random;
pub mod recipes;
pub mod report;

pub use error::{Error, Result};
