//! The room that a network needs.

use std::ops::Range;

use super::memory::Room;
use super::plan::Plan;
use crate::graph::{Axis, HeadKind, LayerConfig, ParamSpec, Role};
use crate::layers::{CellParams, LayerNormLayer, LayerOutput};

impl Plan<'_> {
    /// The tables whose gradient comes as rows, in the order of the arena.
    pub(super) fn tables(&self) -> Vec<Range<usize>> {
        let outputs = self.graph.outputs();
        let reads_few = |i: usize| {
            let few = [HeadKind::SampledSoftmax, HeadKind::Nce, HeadKind::HierarchicalSoftmax];
            outputs.iter().any(|output| output.logits() == i && few.contains(&output.head().kind))
        };
        let nodes = 0..self.graph.nodes().len();
        let whole: Vec<_> =
            nodes.clone().filter(|&i| !reads_few(i)).filter_map(|i| self.dense(i)).map(|d| d.kernel).collect();
        let of_node = |i: usize| {
            let specs = &self.graph.params()[self.graph.nodes()[i].params.clone()];
            let is_table = move |spec: &&ParamSpec| match spec.role {
                Role::Embeddings => true,
                Role::WordKernel => reads_few(i),
                _ => false,
            };
            specs.iter().filter(is_table).map(|spec| spec.range.clone())
        };
        let mut tables: Vec<_> = nodes.flat_map(of_node).filter(|table| !whole.contains(table)).collect();
        tables.sort_unstable_by_key(|table| table.start);
        tables
    }

    /// The room that the network takes: parameters, gradients, packed weights, activations and logits.
    pub(super) fn room(&self) -> Room {
        let (nodes, replicas) = (self.graph.nodes(), self.options.replicas as u64);
        let in_memory = |elements: usize| if self.options.home.is_memory() { 4 * elements as u64 } else { 0 };
        let arena = in_memory(if self.options.own_params { self.graph.arena() } else { 0 });
        let tables = self.tables().iter().map(ExactSizeIterator::len).sum::<usize>();
        let gradients = if self.options.training { self.options.replicas } else { 0 };
        let reserved = in_memory(gradients * tables);
        let gradients = in_memory(gradients * (self.graph.arena() - tables));
        let per = |cell: &CellParams| if cell.drop.is_some() { 12 } else { 8 };
        let packs: u64 = self.packs().iter().map(|p| per(p) * p.recurrent_kernel.len() as u64).sum();
        let packs = packs + self.other_packs().iter().map(|w| 4 * w.range.len() as u64).sum::<u64>();
        let outputs =
            (0..nodes.len()).map(|i| LayerOutput::bytes(&self.shape(i), self.capacity(i), self.options.training));
        let outputs: u64 = outputs.sum();
        let normal = nodes.iter().filter(|node| matches!(node.config, LayerConfig::LayerNormalization(_)));
        let normal: u64 =
            normal.map(|node| LayerNormLayer::bytes(&node.shape, self.capacities[node.axis as usize])).sum();
        let cells = nodes.iter().flat_map(|node| self.cells(node).into_iter().map(|cell| (cell, node.axis)));
        let bytes = |(cell, axis): (CellParams, Axis)| {
            let ragged = self.options.training && self.graph.mask_rule_of(axis).is_some();
            cell.bytes(self.options.precision, self.capacities[axis as usize], ragged)
        };
        let cells: u64 = cells.map(bytes).sum();
        let logits: u64 = self.graph.outputs().iter().map(|output| self.head_bytes(output)).sum();
        Room { memory: arena + gradients + packs + replicas * (outputs + normal + cells + logits), reserved }
    }
}
