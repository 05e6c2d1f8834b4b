//! The state that stateful layers carry from one batch to the next: an object outside the network, of any batch size.

use crate::graph::{Cell, Graph, Node, Reading, Recurrent};
use crate::layers::CarriedState;
use std::fmt;

/// The recurrence of a node whose state is kept from one batch to the next, or given.
fn kept(node: &Node) -> Option<(Cell, &Recurrent, Reading)> {
    node.config.recurrence().filter(|(_, options, _)| options.stateful || options.return_state)
}

/// One tensor of a state, as a checkpoint stores it.
#[derive(Clone, Debug)]
pub struct StateTensor<'a> {
    /// `lstm_1/h`, `bidirectional/backward/c`, ...; `lstm_1/begun` of a layer that other layers start.
    pub name: String,
    /// (N, H), or (N, 1)
    pub shape: [usize; 2],
    /// The values, row-major.
    pub values: &'a [f32],
}

/// The state of all stateful layers for N rows, zero at first, and the states of layers with `return_state`.
#[derive(Clone)]
pub struct State {
    rows: usize,
    /// For each node, a state for each of its directions, if it carries or gives its state; else none.
    pub(crate) carried: Vec<Vec<CarriedState>>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tensors: Vec<_> = self.tensors().map(|tensor| (tensor.name, tensor.shape)).collect();
        f.debug_struct("State").field("rows", &self.rows).field("tensors", &tensors).finish_non_exhaustive()
    }
}

impl State {
    /// The zero state of `rows` rows.
    pub fn new(graph: &Graph, rows: usize) -> Self {
        let carried = graph.nodes().iter().map(|node| {
            let Some((cell, options, reading)) = kept(node) else { return Vec::new() };
            let names = match reading {
                Reading::One { .. } => vec![node.name.clone()],
                Reading::Both(_) => ["forward", "backward"].map(|part| format!("{}/{part}", node.name)).to_vec(),
            };
            let given = !node.config.initial_state().is_empty();
            names.into_iter().map(|name| CarriedState::new(name, rows, cell, options, given)).collect()
        });
        Self { rows, carried: carried.collect() }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether it is a state of this model.
    pub fn fits(&self, graph: &Graph) -> bool {
        let nodes = graph.nodes();
        let own = |(node, carried): (&Node, &Vec<CarriedState>)| match kept(node) {
            Some((cell, options, reading)) => {
                let directions = if matches!(reading, Reading::Both(_)) { 2 } else { 1 };
                carried.len() == directions && carried.iter().all(|one| one.fits(cell, options))
            }
            None => carried.is_empty(),
        };
        nodes.len() == self.carried.len() && nodes.iter().zip(&self.carried).all(own)
    }

    /// Sets every value to zero, for the start of a text. Layers whose first state others give then begin with that.
    pub fn reset(&mut self) {
        (0..self.rows).for_each(|row| self.reset_row(row));
    }

    /// Sets one row to zero.
    pub fn reset_row(&mut self, row: usize) {
        self.carried.iter_mut().flatten().for_each(|carried| carried.reset_row(row));
    }

    /// Every tensor, in the order of the layers.
    pub fn tensors(&self) -> impl Iterator<Item = StateTensor<'_>> {
        self.carried.iter().flatten().flat_map(|carried| {
            let tensor = |(part, cols, values)| {
                let name = format!("{}/{part}", carried.name());
                StateTensor { name, shape: [self.rows, cols], values }
            };
            carried.tensors().map(tensor)
        })
    }

    /// The values of a tensor by its name, to set.
    pub fn tensor_mut(&mut self, name: &str) -> Option<&mut [f32]> {
        let (layer, part) = name.rsplit_once('/')?;
        self.carried.iter_mut().flatten().find(|carried| carried.name() == layer)?.tensor_mut(part)
    }
}
