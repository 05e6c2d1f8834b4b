//! Hierarchical softmax: a decision at each node of the Huffman tree on the path to the target.
//!
//! ```text
//! p(w) = product over the nodes n on the path to w, sigmoid(+-(x . V_n + b_n))      + where the path goes to the second child
//! ```
//!
//! The average path is about as long as the entropy of a word in bits, however many words there are, so a step costs
//! the same for any vocabulary. Each node on a row's path pairs that row of x with a row of V: forward computes the
//! pairs' scalar products, backward the weighted sums that are the gradients. The probabilities add up to 1, so
//! evaluation needs no other form.
//!
//! Sources: F. Morin and Y. Bengio, "Hierarchical probabilistic neural network language model", 2005; T. Mikolov et
//! al., "Distributed representations of words and phrases and their compositionality", 2013.

use super::words::{Grouped, WordParams};
use super::{Backward, Scored};
use crate::exec::{Right, Start};
use crate::huffman::{Child, Huffman};
use crate::layers::Context;
use unroll_kernels::embedding::Distinct;
use unroll_kernels::mat::padded;
use unroll_kernels::pairs::{self, Pairs, Weighted};
use unroll_kernels::profile::{self, Phase};
use unroll_kernels::softmax::{self, BinaryCrossEntropy, IGNORE};
use unroll_kernels::{Buffer, Mat, MatMut};

/// The head; see the top of the file.
pub(crate) struct TreeHead {
    params: WordParams,
    tree: Huffman,
    /// (R + 1) Where the pairs of each row begin, and the number of pairs.
    starts: Vec<u32>,
    /// For each pair: its row, its node, whether the path goes to the second child, its logit or the gradient of that,
    /// its loss.
    rows: Vec<u32>,
    nodes: Vec<u32>,
    second: Vec<f32>,
    logits: Vec<f32>,
    losses: Vec<f32>,
    /// The nodes without repeats; the pairs of each together, with the gradients by their logits.
    distinct: Distinct,
    grouped: Grouped,
    /// For whole distributions: the logits of the nodes, and those of the words.
    decisions: Buffer,
    words: Buffer,
}

impl TreeHead {
    pub(crate) fn new(params: WordParams, tree: Huffman) -> Self {
        Self {
            params,
            tree,
            starts: Vec::new(),
            rows: Vec::new(),
            nodes: Vec::new(),
            second: Vec::new(),
            logits: Vec::new(),
            losses: Vec::new(),
            distinct: Distinct::default(),
            grouped: Grouped::default(),
            decisions: Buffer::default(),
            words: Buffer::default(),
        }
    }

    /// Bytes that the losses of `rows` rows need: the tree, and of each row some thirty nodes.
    pub(crate) fn bytes([rows, inputs, words]: [usize; 3]) -> u64 {
        let pairs = 32 * rows;
        4 * (5 * words + 8 * pairs + pairs.min(words) * padded(inputs)) as u64
    }

    pub(crate) fn run(
        &mut self,
        ctx: &Context<'_>,
        scored: &Scored<'_>,
        losses: &mut [f32],
        into: Option<Backward<'_>>,
    ) {
        {
            let _span = profile::enter(Phase::Head);
            self.walk(scored.targets);
            self.decide(ctx, scored, losses);
        }
        let Some(into) = into else { return };
        let _span = profile::enter(Phase::HeadGradient);
        self.backward(ctx, scored.x, into);
    }

    /// Lists the nodes on the path to each target.
    fn walk(&mut self, targets: &[u32]) {
        let Self { starts, rows, nodes, second, tree, .. } = self;
        starts.clear();
        rows.clear();
        nodes.clear();
        second.clear();
        starts.push(0);
        for (r, &target) in targets.iter().enumerate() {
            if target != IGNORE {
                for turn in tree.path(target) {
                    rows.push(r as u32);
                    nodes.push(turn.node);
                    second.push(if turn.second { 1.0 } else { 0.0 });
                }
            }
            starts.push(rows.len() as u32);
        }
    }

    /// Computes the losses, and the gradients of the logits.
    fn decide(&mut self, ctx: &Context<'_>, scored: &Scored<'_>, losses: &mut [f32]) {
        let pairs = self.rows.len();
        self.logits.resize(pairs, 0.0);
        self.losses.resize(pairs, 0.0);
        let (kernel, params) = (self.params.kernel(ctx), &self.params);
        let (rows, nodes, second) = (&self.rows, &self.nodes, &self.second);
        let columns = [MatMut::dense(&mut self.logits, pairs, 1), MatMut::dense(&mut self.losses, pairs, 1)];
        ctx.products().by_rows_of(columns, |range, [logits, losses]| {
            let (logits, losses) = (logits.into_slice(), losses.into_slice());
            let (left, right) = (&rows[range.clone()], &nodes[range.clone()]);
            pairs::dots(ctx.isa, scored.x, kernel, Pairs { left, right }, logits);
            logits.iter_mut().zip(right).for_each(|(logit, &node)| *logit += params.bias(ctx, node));
            let (targets, scale) = (&second[range], scored.scale);
            softmax::binary_cross_entropy(ctx.isa, BinaryCrossEntropy { logits, targets, scale, losses });
        });
        for (loss, row) in losses.iter_mut().zip(self.starts.windows(2)) {
            let way = &self.losses[row[0] as usize..row[1] as usize];
            *loss = way.iter().map(|&loss| f64::from(loss)).sum::<f64>() as f32;
        }
    }

    /// Adds the gradients of x, V and b.
    fn backward(&mut self, ctx: &Context<'_>, x: Mat<'_>, Backward { dx, grads }: Backward<'_>) {
        let (kernel, nodes, d, ways) = (self.params.kernel(ctx), &self.nodes, &self.logits, &self.starts);
        ctx.products().by_rows(dx, |range, part| {
            let weighted = Weighted { starts: &ways[range.start..=range.end], sources: nodes, weights: d };
            pairs::add_weighted(ctx.isa, kernel, weighted, part);
        });
        self.distinct.build(nodes, self.params.words());
        let (rows, touched) = (&self.rows, self.distinct.tokens());
        self.grouped.build(&self.distinct, |pair| (rows[pair as usize], d[pair as usize]));
        self.grouped.add_rows(ctx, x, touched, (&self.params.kernel, grads));
        self.params.add_bias_gradient(grads, touched, self.grouped.sums());
    }

    /// The logarithms of the probabilities of every word, (R, V): from the root down.
    pub(crate) fn logits<'s>(&'s mut self, ctx: &Context<'_>, x: Mat<'s>) -> Mat<'s> {
        let (rows, nodes, words) = (x.rows(), self.params.words(), self.tree.words());
        self.decisions.reserve(rows * padded(nodes));
        self.words.reserve(rows * padded(words));
        let mut decisions = MatMut::new(&mut self.decisions, rows, nodes, padded(nodes));
        let start = match &self.params.bias {
            Some(bias) => Start::Bias(&ctx.params[bias.clone()]),
            None => Start::Zero,
        };
        ctx.products().product(x, Right::Transposed(self.params.kernel(ctx)), start, decisions.reborrow());
        let (tree, out) = (&self.tree, MatMut::new(&mut self.words, rows, words, padded(words)));
        ctx.products().by_rows_of([decisions, out], |range, [mut decisions, mut out]| {
            let mut come = vec![0.0; nodes];
            (0..range.len()).for_each(|r| descend(tree, decisions.row_mut(r), &mut come, out.row_mut(r)));
        });
        Mat::new(&self.words, rows, words, padded(words))
    }
}

/// The logarithms of the probabilities of the words, from the logits of the nodes. `come` is scratch for the logarithm
/// of the probability of reaching each node; a node's number is less than its children's.
fn descend(tree: &Huffman, nodes: &[f32], come: &mut [f64], words: &mut [f32]) {
    if nodes.is_empty() || tree.nodes() == 0 {
        return words.fill(0.0);
    }
    come[0] = 0.0;
    for node in 0..tree.nodes() {
        let logit = f64::from(nodes[node]);
        // ln sigmoid, without the rounding of 1 - p.
        let (sum, here) = ((-logit.abs()).exp().ln_1p(), come[node]);
        let ways = [here - logit.max(0.0) - sum, here - (-logit).max(0.0) - sum];
        for (child, way) in tree.children(node as u32).into_iter().zip(ways) {
            match child {
                Child::Node(below) => come[below as usize] = way,
                Child::Word(word) => words[word as usize] = way as f32,
            }
        }
    }
}
