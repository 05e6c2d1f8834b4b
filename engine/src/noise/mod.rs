//! Distributions over the words of a vocabulary that wrong answers are drawn from.

mod alias;

pub use alias::Alias;
