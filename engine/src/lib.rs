//! Trains and runs recurrent and neural language models on CPUs.

pub mod error;

pub use error::{Error, Result};
