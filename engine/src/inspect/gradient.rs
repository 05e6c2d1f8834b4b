//! How far back a loss reaches: the norm of its gradient by the hidden state d steps before it.
//!
//! ```text
//! g(d) = the mean over rows of || dL / dh_(T - 1 - d) ||
//! ```
//!
//! L is a row's loss at its last step T - 1 alone, h the state of a recurrent layer, and the gradient is the whole one:
//! what h does to later steps and layers counts, by the cell of an LSTM too. Nothing is dropped. Where g falls by a
//! steady factor a step, a network learns nothing from what lies far back (S. Hochreiter 1991; Y. Bengio, P. Simard and
//! P. Frasconi, "Learning Long-Term Dependencies with Gradient Descent is Difficult", 1994).

use crate::error::{Error, Result};
use crate::graph::{Cell, Graph, Input};
use crate::network::{Batch, LossScale, Network, NetworkOptions};
use crate::random::{Key, Purpose};
use serde::Serialize;
use unroll_kernels::softmax::IGNORE;

/// The norms of one direction of a recurrent layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Curve {
    /// The layer, and where it reads both ways `/forward` or `/backward`.
    pub layer: String,
    /// Its cell.
    pub cell: Cell,
    /// g(d) for d = 0, 1, ...
    pub norms: Vec<f64>,
}

impl Curve {
    /// The first distance at which the norm is less than this share of that at distance 0; `None` where there is none.
    pub fn falls_below(&self, share: f64) -> Option<usize> {
        let limit = share * self.norms.first()?;
        self.norms.iter().position(|norm| *norm < limit)
    }
}

/// How the network of a measurement of T steps of N rows is run.
pub fn options(options: &NetworkOptions, steps: usize, rows: usize) -> NetworkOptions {
    NetworkOptions {
        replicas: 1,
        steps,
        rows,
        training: true,
        // Each row has its own loss and states.
        loss_scale: LossScale::Sum,
        class_weights: Vec::new(),
        ..options.clone()
    }
}

/// Measures one batch: `tokens` is (T, N), `vectors` has what each input layer takes, and `targets` is (N), one for the last step of
/// each row.
///
/// A direction that reads from the end is measured where the model gives one output a row: from the first time on. Of a
/// sequence it does not see the steps before the loss, and is left out.
///
/// # Errors
///
/// [`Error::Usage`] where the model has no recurrent layer, or takes something else.
///
/// # Panics
///
/// Where the network was not made with [`options`], or for another size.
pub fn measure(network: &mut Network, (tokens, vectors): (&[u32], &[&[f32]]), targets: &[u32]) -> Result<Vec<Curve>> {
    let (rows, steps) = (targets.len(), network.options().steps);
    let graph = network.graph().clone();
    graph.require_one_sequence("gradients over time are measured of")?;
    graph.require_one_output("gradients over time are measured of")?;
    if graph.nodes().iter().all(|node| node.config.recurrence().is_none()) {
        return Err(Error::usage("the model has no recurrent layer, so no state to inspect")
            .mend("inspect a model with simple_rnn, lstm or gru"));
    }
    let sequence = graph.is_sequence();
    let mut all = vec![IGNORE; if sequence { (steps - 1) * rows } else { 0 }];
    all.extend_from_slice(targets);
    let batch = Batch { steps, rows, inputs: tokens, vectors, targets: &all, ..Batch::default() };
    batch.check(&graph, network.options())?;
    let mut sums: Vec<((usize, usize), Vec<f64>)> = Vec::new();
    let mut state = network.new_state(rows);
    network.state_gradients(&batch, &mut state, |found| {
        if found.reverse && sequence {
            return;
        }
        let place = (found.node, found.direction);
        if sums.last().is_none_or(|(last, _)| *last != place) {
            sums.push((place, vec![0.0; steps]));
        }
        let distance = if found.reverse { found.time } else { steps - 1 - found.time };
        if let Some((_, norms)) = sums.last_mut() {
            let square: f64 = found.gradient.iter().map(|g| f64::from(*g).powi(2)).sum();
            norms[distance] += square.sqrt() / rows as f64;
        }
    });
    let curves = sums.into_iter().filter_map(|((node, direction), norms)| {
        let node = &graph.nodes()[node];
        let (cell, _, reading) = node.config.recurrence()?;
        let both = reading.directions().len() > 1;
        let part = if both { ["/forward", "/backward"][direction] } else { "" };
        Some(Curve { layer: format!("{}{part}", node.name), cell, norms })
    });
    Ok(curves.collect())
}

/// T steps of N rows of random tokens, (T, N), and a random target a row: what an untrained model is measured on. Token 0,
/// which may be padding, is left out where there are others.
pub fn random(vocabulary: usize, classes: usize, [steps, rows]: [usize; 2], seed: u64) -> (Vec<u32>, Vec<u32>) {
    let (key, least) = (Key::new(seed, Purpose::Check), u64::from(vocabulary > 1));
    let token = |i: usize| (least + key.below(i as u64, vocabulary as u64 - least)) as u32;
    let target = |n: usize| key.layer(1).below(n as u64, classes.max(1) as u64) as u32;
    ((0..steps * rows).map(token).collect(), (0..rows).map(target).collect())
}

/// Numbers of a normal distribution for every input layer of a model: what it is measured on that takes vectors, for T steps of N rows.
pub fn random_vectors(graph: &Graph, [steps, rows]: [usize; 2], seed: u64) -> Vec<Vec<f32>> {
    let key = Key::new(seed, Purpose::Check);
    let of_input = |(i, (node, input)): (usize, (usize, &Input))| {
        let each = if graph.nodes()[node].shape.time.is_some() { steps * rows } else { rows };
        (0..each * input.width).map(|k| key.layer(2 + i).normal(k as u64)).collect()
    };
    graph.vector_inputs().enumerate().map(of_input).collect()
}

/// N windows of T tokens, (T, N), spread evenly over a text, and the token after each.
///
/// # Errors
///
/// [`Error::Usage`] where the text has not T + 1 tokens.
pub fn windows(text: &[u32], [steps, rows]: [usize; 2]) -> Result<(Vec<u32>, Vec<u32>)> {
    let Some(room) = text.len().checked_sub(steps + 1) else {
        return Err(Error::usage(format!("the text has {} tokens, {steps} steps need {}", text.len(), steps + 1))
            .mend("give a longer text, or fewer --steps"));
    };
    let first = |n: usize| room * n / rows.saturating_sub(1).max(1);
    let tokens = (0..steps).flat_map(|t| (0..rows).map(move |n| text[first(n) + t]));
    Ok((tokens.collect(), (0..rows).map(|n| text[first(n) + steps]).collect()))
}
