//! What a network has learned: how far back its gradients reach, and what its units do over a text.
//!
//! [`gradient`] computes the norms of a loss's gradients with respect to earlier states, [`plot`] draws them, and
//! [`page`] shows the activations of units as a page of coloured text.

pub mod gradient;
pub mod page;
pub mod plot;

#[cfg(test)]
mod tests;
