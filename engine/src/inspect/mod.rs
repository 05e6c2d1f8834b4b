//! What a network has learned: how far back its gradients reach, and what its units do over a text.
//!
//! [`gradient`] has the norm of the gradient of a loss by the states before it, [`plot`] draws it, and [`page`] shows the
//! activations of units as a page of coloured text.

pub mod gradient;
pub mod page;
pub mod plot;

#[cfg(test)]
mod tests;
