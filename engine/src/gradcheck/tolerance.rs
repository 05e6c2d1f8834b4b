//! The tolerances, and why they are what they are.
//!
//! **Rounding.** With the rounding errors of the operations taken as independent and of mean zero, each at most u times
//! the operation's result v, the error of a result L is to first order the sum of dL/dv v d over all operations, |d| <=
//! u, and by Hoeffding's inequality at most
//!
//! ```text
//! lambda u sqrt(sum (dL/dv v)^2)     but for a probability of 2 exp(-lambda^2 / 2)
//! ```
//!
//! (N. J. Higham and T. Mary, "A New Approach to Probabilistic Rounding Error Analysis", 2019). With [`CONFIDENCE`] =
//! lambda = 6 that is 3e-8. The deterministic bound, which puts n for sqrt(n), would be hundreds of times wider for
//! sums of thousands of terms and hide small faults.
//!
//! **Central differences** of the f64 loss over 2h err by the errors of two losses divided by 2h, which is the
//! [`floor`], and by h^2/6 of the third derivative. An entry that two points leave in doubt is therefore differentiated
//! again with four (Richardson's extrapolation, whose error is of order h^4) before it counts as wrong.
//!
//! **f32 against f64.** A gradient is a sum of products x d of an activation and a gradient flowing back. Both were
//! computed through a chain of roundings, the longest of which, forward and back, has n of them ([`roundings`]), and
//! each errs relative to its *size*: its magnitude, and what the sums that it came from would have been without
//! cancellation (`sizes.rs`). The size of a parameter's gradient is the sum of the products of both sizes:
//!
//! ```text
//! |g32 - g64| <= lambda u32 sqrt(n) size
//! ```

use crate::graph::{Graph, LayerConfig, Node, Output, Source};

/// The relative tolerance of central differences.
pub(super) const RTOL: f64 = 1e-5;

/// lambda; see the top of the file.
const CONFIDENCE: f64 = 6.0;

/// Half a unit in the last place of 1 in f64, and in f32.
const U64: f64 = 1.0 / (1u64 << 53) as f64;
const U32: f64 = 1.0 / (1u64 << 24) as f64;

/// What rounding may do to one f64 loss whose operations sum up to `noise`.
pub(super) fn floor(noise: f64) -> f64 {
    CONFIDENCE * U64 * noise.sqrt()
}

/// What rounding may do to an f32 gradient, relative to its size.
pub(super) fn single(roundings: f64) -> f64 {
    CONFIDENCE * U32 * roundings.sqrt()
}

/// The length of the longest chain of roundings from a parameter to the loss and back to its gradient.
pub(super) fn roundings(graph: &Graph, steps: usize, rows: usize) -> f64 {
    let mut longest: Vec<f64> = Vec::new();
    let by_parts = |node: &Node| {
        let own = |output: &&Output| std::ptr::eq(&graph.nodes()[output.logits()], node);
        graph.outputs().iter().find(own).is_some_and(|output| output.head().kind.partitions_words())
    };
    for node in graph.nodes() {
        let before = node.inputs.iter().map(|&s| if let Source::Node(n) = s { longest[n] } else { 0.0 });
        let before = before.fold(0.0, f64::max);
        let inputs = graph.shape_of(node.inputs[0]).width() as f64;
        // Sixteen for a cell's element-wise part, eight for an activation: their functions err by two units each.
        let own = match (&node.config, node.config.recurrence()) {
            (_, Some((cell, options, _))) => {
                let lookup = matches!(node.inputs[0], Source::Node(n) if graph.nodes()[n].config.kind() == "one_hot");
                let inputs = if lookup { 1.0 } else { inputs };
                // Backward a step's product is over the gates.
                let gates = cell.gates() as f64;
                steps as f64 * (inputs + (1.0 + gates) / 2.0 * options.units as f64 + 16.0)
            }
            // The projection of a tail comes before the product with its words.
            (LayerConfig::Dense(_), _) if by_parts(node) => inputs + node.shape.width() as f64 / 2.0 + 16.0,
            (LayerConfig::Dense(_), _) => (inputs + node.shape.width() as f64) / 2.0 + 8.0,
            // Backward, the sum over the steps.
            (LayerConfig::RepeatVector(_), _) => steps as f64,
            // The sums of either pass, in sixteen lanes, and what is made of them.
            (LayerConfig::LayerNormalization(_), _) => 16.0 + inputs / 8.0,
            (LayerConfig::Activation(_), _) => 8.0 + inputs / 16.0,
            (LayerConfig::Dropout(_) | LayerConfig::Add(_), _) => node.inputs.len() as f64,
            _ => 0.0,
        };
        longest.push(before + own);
    }
    // The loss: sums in 16 lanes over blocks, and a few functions. The sum over positions comes last.
    let chain = |output: &Output| {
        let width = graph.nodes()[output.logits()].shape.width() as f64;
        longest[output.logits()] + 16.0 + width.min(1024.0) / 16.0
    };
    2.0 * graph.outputs().iter().map(chain).fold(0.0, f64::max) + (steps * rows) as f64
}
