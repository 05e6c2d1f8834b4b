//! Heads that part the words: the logarithm of the probability of every word, in the order of the vocabulary.

use super::{Attribute, Writer};
use crate::error::Result;
use crate::graph::{Output, TailShape, WordPartition};

const LAST: [(&str, Attribute); 1] = [("axis", Attribute::Int(-1))];

impl Writer<'_> {
    /// The logarithms of the probabilities of all words, of what the head takes.
    pub(super) fn words(&mut self, output: &Output, x: &str) -> Result<String> {
        let graph = self.graph;
        let node = &graph.nodes()[output.logits()];
        let axes = usize::from(node.shape.time.is_some()) + 1;
        match output.partition() {
            WordPartition::Clusters(frequent, tails) => {
                Ok(self.clusters(output, &node.name, (x, axes), (*frequent, tails)))
            }
            WordPartition::Whole => self.tree(output, &node.name, (x, axes)),
        }
    }

    /// Behind each other: the first softmax, and of each tail a row of words a cluster, all as long as the longest. The words are
    /// taken from there.
    fn clusters(
        &mut self,
        output: &Output,
        layer: &str,
        (x, axes): (&str, usize),
        (frequent, tails): (usize, &[TailShape]),
    ) -> String {
        let (ranks, words) = (self.graph.word_ranks(output), output.classes());
        // Where each rank stands among them.
        let mut places: Vec<i64> = (0..frequent as i64).collect();
        let mut parts = Vec::new();
        // Over one thing it has no parameters: left out of a tail's words, any number does for the only word there is.
        let columns = frequent + tails.len();
        let logits = match (columns, frequent) {
            (1, 0) => None,
            (1, _) => {
                let axis = self.ints(&format!("{layer}:axis"), &[-1]);
                Some(self.operation("ReduceSum", &format!("{layer}:any"), &[x, &axis], &[]))
            }
            _ => {
                let kernel = self.parameter(&format!("{layer}/kernel"));
                Some(self.product(layer, "", x, &kernel))
            }
        };
        let first = logits.map(|logits| self.operation("LogSoftmax", &format!("{layer}:first"), &[&logits], &LAST));
        let mut end = if first.is_some() { columns } else { 0 };
        parts.extend(first.clone());
        for (t, tail) in tails.iter().enumerate() {
            let longest = tail.starts.windows(2).map(|cluster| (cluster[1] - cluster[0]) as usize).max().unwrap_or(0);
            for (c, cluster) in tail.starts.windows(2).enumerate() {
                places.extend((0..cluster[1] - cluster[0]).map(|word| (end + c * longest) as i64 + i64::from(word)));
            }
            end += tail.clusters() * longest;
            let mut value = self.tail(layer, t, (x, axes), (tail, longest));
            if let Some(first) = &first {
                let at = self.ints(&format!("{layer}:tail_{t}_column"), &[(frequent + t) as i64]);
                let column = self.operation("Gather", &format!("{layer}:tail_{t}_chance"), &[first, &at], &LAST);
                value = self.operation("Add", &format!("{layer}:tail_{t}_all"), &[&value, &column], &[]);
            }
            parts.push(value);
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let all = self.operation("Concat", &format!("{layer}:parts"), &parts, &LAST);
        let places: Vec<i64> = (0..words as u32).map(|word| places[ranks.of(word) as usize]).collect();
        let places = self.ints(&format!("{layer}:places"), &places);
        self.operation("Gather", &format!("{layer}:words"), &[&all, &places], &LAST)
    }

    /// The logarithms of the probabilities of a tail's words within it, as many for each cluster as the longest has.
    fn tail(
        &mut self,
        layer: &str,
        t: usize,
        (x, axes): (&str, usize),
        (tail, longest): (&TailShape, usize),
    ) -> String {
        let part = |what: &str| format!("{layer}:tail_{t}_{what}");
        let h = match tail.inputs {
            None => x.to_owned(),
            Some(_) => {
                let projection = self.parameter(&format!("{layer}/tail_{t}_projection"));
                self.operation("MatMul", &part("projected"), &[x, &projection], &[])
            }
        };
        let kernel = self.cluster_kernels(&format!("{layer}/tail_{t}_kernel"), tail);
        let logits = self.product(layer, &format!("tail_{t}_"), &h, &kernel);
        let clusters = tail.clusters();
        if clusters == 1 {
            return self.operation("LogSoftmax", &part("within"), &[&logits], &LAST);
        }
        // Behind the words stands one that never comes, which fills the shorter clusters up.
        let mut taken = Vec::with_capacity(clusters * longest);
        for cluster in tail.starts.windows(2) {
            let [start, end] = [cluster[0], cluster[1]].map(|rank| i64::from(rank - tail.starts[0]));
            taken.extend(start..end);
            taken.resize(taken.len().next_multiple_of(longest), (tail.starts[clusters] - tail.starts[0]).into());
        }
        let never = self.floats(&part("never"), &[], &[f32::NEG_INFINITY]);
        let behind: Vec<i64> = [0].repeat(2 * axes + 1).into_iter().chain([1]).collect();
        let behind = self.ints(&part("behind"), &behind);
        let padded = self.operation("Pad", &part("padded"), &[&logits, &behind, &never], &[]);
        let taken = self.ints(&part("taken"), &taken);
        let filled = self.operation("Gather", &part("filled"), &[&padded, &taken], &LAST);
        let [rows, flat] = [vec![clusters as i64, longest as i64], vec![(clusters * longest) as i64]]
            .map(|sizes| [vec![0; axes], sizes].concat());
        let rows = self.ints(&part("rows"), &rows);
        let by_cluster = self.operation("Reshape", &part("by_cluster"), &[&filled, &rows], &[]);
        let within = self.operation("LogSoftmax", &part("within"), &[&by_cluster], &LAST);
        let kernel = self.parameter(&format!("{layer}/tail_{t}_clusters_kernel"));
        let logits = self.product(layer, &format!("tail_{t}_clusters_"), &h, &kernel);
        let chances = self.operation("LogSoftmax", &part("clusters"), &[&logits], &LAST);
        let axis = self.ints(&part("axis"), &[-1]);
        let chances = self.operation("Unsqueeze", &part("chances"), &[&chances, &axis], &[]);
        let both = self.operation("Add", &part("both"), &[&within, &chances], &[]);
        let flat = self.ints(&part("flat"), &flat);
        self.operation("Reshape", &part("words"), &[&both, &flat], &[])
    }

    /// The kernels of a tail's clusters, each (inputs, words) and behind one another, side by side.
    fn cluster_kernels(&mut self, name: &str, tail: &TailShape) -> String {
        let Some(spec) = self.graph.params().iter().find(|spec| spec.name == name) else { return String::new() };
        let ([words, inputs], values) = ([spec.shape[0], spec.shape[1]], &self.params[spec.range.clone()]);
        let mut kernel = vec![0.0; values.len()];
        for cluster in tail.starts.windows(2) {
            let [start, end] = [cluster[0], cluster[1]].map(|rank| (rank - tail.starts[0]) as usize);
            let own = values[start * inputs..end * inputs].chunks_exact(end - start);
            own.enumerate().for_each(|(k, row)| kernel[k * words + start..k * words + end].copy_from_slice(row));
        }
        self.floats(name, &[inputs, words], &kernel)
    }

    /// The sums of -ln p along the ways to all words: of each word and each node first its own decision, then in every round those of
    /// as many nodes more as it has.
    fn tree(&mut self, output: &Output, layer: &str, (x, axes): (&str, usize)) -> Result<String> {
        let (tree, words) = (self.graph.tree(output)?, output.classes());
        let kernel = self.kernel(&format!("{layer}/kernel"));
        let scores = self.product(layer, "", x, &kernel);
        // To the second child: softplus(-score). The root, which nothing decides on, has the zero behind them.
        let less = self.operation("Neg", &format!("{layer}:less"), &[&scores], &[]);
        let [second, first] = [("second", &less), ("first", &scores)]
            .map(|(what, score)| self.operation("Softplus", &format!("{layer}:{what}"), &[score], &[]));
        let both = self.operation("Concat", &format!("{layer}:decisions"), &[&second, &first], &LAST);
        let behind: Vec<i64> = [0].repeat(2 * axes + 1).into_iter().chain([1]).collect();
        let behind = self.ints(&format!("{layer}:behind"), &behind);
        let padded = self.operation("Pad", &format!("{layer}:padded"), &[&both, &behind], &[]);
        // Words, then nodes. A single word has no way; its kernel has a row all the same.
        let nodes = tree.nodes().max(1);
        let above = |entry: usize| match entry.checked_sub(words) {
            None => tree.path(entry as u32).next(),
            Some(node) if node < tree.nodes() => tree.parent(node as u32),
            Some(_) => None,
        };
        let turns: Vec<_> = (0..words + nodes).map(above).collect();
        let own = turns.iter().map(|turn| match turn {
            Some(turn) => i64::from(turn.node) + if turn.second { 0 } else { nodes as i64 },
            None => 2 * nodes as i64,
        });
        let own: Vec<i64> = own.collect();
        let own = self.ints(&format!("{layer}:own"), &own);
        let mut sum = self.operation("Gather", &format!("{layer}:sum0"), &[&padded, &own], &LAST);
        let mut next: Vec<usize> = turns.iter().map(|turn| words + turn.map_or(0, |turn| turn.node as usize)).collect();
        for round in 1.. {
            if next.iter().all(|&entry| entry == words) {
                break;
            }
            let part = |what: &str| format!("{layer}:{what}{round}");
            let above: Vec<i64> = next.iter().map(|&entry| entry as i64).collect();
            let above = self.ints(&part("above"), &above);
            let more = self.operation("Gather", &part("more"), &[&sum, &above], &LAST);
            sum = self.operation("Add", &part("sum"), &[&sum, &more], &[]);
            next = next.iter().map(|&entry| next[entry]).collect();
        }
        let bounds = [("from", 0), ("to", words as i64), ("axis", -1)];
        let [from, to, axis] = bounds.map(|(what, value)| self.ints(&format!("{layer}:{what}"), &[value]));
        let ways = self.operation("Slice", &format!("{layer}:ways"), &[&sum, &from, &to, &axis], &[]);
        Ok(self.operation("Neg", &format!("{layer}:words"), &[&ways], &[]))
    }
}
