//! The state that stateful layers carry from one batch to the next: an object outside the network, of any batch size.

use crate::graph::{Cell, Graph, Node, Reading, Recurrent};
use unroll_kernels::{Buffer, Mat, MatMut};

/// The state of one direction of a layer: h, and c of an LSTM, each (N, H).
#[derive(Clone)]
pub(crate) struct Carried {
    name: String,
    rows: usize,
    units: usize,
    /// Whether the next batch starts from it.
    pub(crate) starts: bool,
    h: Buffer,
    c: Option<Buffer>,
    /// Of a layer that other layers start: (N), 0 for a row that begins where they say, 1 for one that goes on from here.
    begun: Option<Buffer>,
}

impl Carried {
    /// h of `count` rows from `first` on.
    pub(crate) fn h(&self, first: usize, count: usize) -> Mat<'_> {
        Mat::dense(&self.h, self.rows, self.units).rows_range(first..first + count)
    }
    /// c of `count` rows from `first` on; empty for cells without it.
    pub(crate) fn c(&self, first: usize, count: usize) -> Mat<'_> {
        let c: &[f32] = self.c.as_ref().map_or(&[], |c| c);
        Mat::dense(c, self.rows, self.units).rows_range(first..first + count)
    }
    /// Whether a row goes on from this state rather than from the one that other layers give.
    pub(crate) fn has_begun(&self, row: usize) -> bool {
        self.begun.as_ref().is_none_or(|begun| begun[row] != 0.0)
    }
    /// From now on these rows go on from this state.
    pub(crate) fn begin(&mut self, first: usize, count: usize) {
        self.begun.iter_mut().for_each(|begun| begun[first..first + count].fill(1.0));
    }
    pub(crate) fn h_mut(&mut self, first: usize, count: usize) -> MatMut<'_> {
        MatMut::dense(&mut self.h, self.rows, self.units).rows_range(first..first + count)
    }
    pub(crate) fn c_mut(&mut self, first: usize, count: usize) -> MatMut<'_> {
        let c: &mut [f32] = self.c.as_mut().map_or(&mut [], |c| c);
        MatMut::dense(c, self.rows, self.units).rows_range(first..first + count)
    }
}

/// The recurrence of a node whose state is kept from one batch to the next, or given.
fn kept(node: &Node) -> Option<(Cell, &Recurrent, Reading)> {
    node.config.recurrence().filter(|(_, options, _)| options.stateful || options.return_state)
}

/// One tensor of a state, as a checkpoint stores it.
pub struct StateTensor<'a> {
    /// `lstm_1/h`, `bidirectional/backward/c`, ...; `lstm_1/begun` of a layer that other layers start.
    pub name: String,
    /// (N, H), or (N, 1)
    pub shape: [usize; 2],
    /// The values, row-major.
    pub values: &'a [f32],
}

/// The state of all stateful layers for N rows, zero at first, and that which layers with `return_state` give.
#[derive(Clone)]
pub struct State {
    rows: usize,
    /// One a direction of each node that carries or gives its state, none of others.
    pub(crate) carried: Vec<Vec<Carried>>,
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
            let len = rows * options.units;
            let direction = |name| {
                let c = (cell == Cell::Lstm).then(|| Buffer::new(len));
                let given = options.stateful && !node.config.initial_state().is_empty();
                let begun = given.then(|| Buffer::new(rows));
                Carried { name, rows, units: options.units, starts: options.stateful, h: Buffer::new(len), c, begun }
            };
            names.into_iter().map(direction).collect()
        });
        Self { rows, carried: carried.collect() }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether it is one of this model: has what each of its layers carries.
    pub fn fits(&self, graph: &Graph) -> bool {
        let nodes = graph.nodes();
        let own = |(node, carried): (&Node, &Vec<Carried>)| match kept(node) {
            Some((cell, options, reading)) => {
                let directions = if matches!(reading, Reading::Both(_)) { 2 } else { 1 };
                let same = |one: &Carried| one.units == options.units && one.c.is_some() == (cell == Cell::Lstm);
                carried.len() == directions && carried.iter().all(same)
            }
            None => carried.is_empty(),
        };
        nodes.len() == self.carried.len() && nodes.iter().zip(&self.carried).all(own)
    }

    /// Sets every value to zero: the start of a text. Layers that others start begin where those say.
    pub fn reset(&mut self) {
        for carried in self.carried.iter_mut().flatten() {
            carried.h.fill(0.0);
            carried.c.iter_mut().chain(&mut carried.begun).for_each(|state| state.fill(0.0));
        }
    }

    /// Sets one row to zero.
    pub fn reset_row(&mut self, row: usize) {
        for carried in self.carried.iter_mut().flatten() {
            let range = row * carried.units..(row + 1) * carried.units;
            carried.h[range.clone()].fill(0.0);
            carried.c.iter_mut().for_each(|c| c[range.clone()].fill(0.0));
            carried.begun.iter_mut().for_each(|begun| begun[row] = 0.0);
        }
    }

    /// Every tensor, in the order of the layers.
    pub fn tensors(&self) -> impl Iterator<Item = StateTensor<'_>> {
        self.carried.iter().flatten().flat_map(|carried| {
            let shape = [carried.rows, carried.units];
            let tensor =
                move |part: &str, values| StateTensor { name: format!("{}/{part}", carried.name), shape, values };
            let c = carried.c.as_ref().map(|c| tensor("c", c));
            let begun =
                carried.begun.as_ref().map(|begun| StateTensor { shape: [carried.rows, 1], ..tensor("begun", begun) });
            std::iter::once(tensor("h", &carried.h)).chain(c).chain(begun)
        })
    }

    /// The values of a tensor by its name, to set.
    pub fn tensor_mut(&mut self, name: &str) -> Option<&mut [f32]> {
        let (layer, part) = name.rsplit_once('/')?;
        let carried = self.carried.iter_mut().flatten().find(|carried| carried.name == layer)?;
        match part {
            "h" => Some(&mut carried.h),
            "c" => carried.c.as_deref_mut(),
            "begun" => carried.begun.as_deref_mut(),
            _ => None,
        }
    }
}
