//! Shared pieces of the benches.

pub mod cells;
pub mod elementwise;
