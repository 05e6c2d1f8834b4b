//! Dense layers that are added, and nothing else: x W + b + x' W' + b' is [x, x'] [W; W'] + b + b', one product.

use super::config::{Activation, LayerConfig};
use super::params::Role;
use super::{Graph, Node, Source};
use std::ops::Range;

/// An `add` layer whose inputs are dense layers that nothing else takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    /// The `add` layer.
    pub(crate) node: usize,
    /// The dense layers, in the order in which it names them.
    pub(crate) terms: Vec<usize>,
}

impl Sum {
    /// The parameters that stand behind one another in the arena: the kernels of all terms, then the biases of all but the first
    /// that has one, each a row of the joint kernel whose input is 1.
    pub(super) fn joint(&self, graph: &Graph) -> Vec<usize> {
        let of = |role| self.terms.iter().filter_map(move |&term| graph.param(&graph.nodes[term], role));
        of(Role::Kernel).chain(of(Role::Bias).skip(1)).collect()
    }
}

/// The parameters of a sum as those of one dense layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JointParams {
    /// The joint kernel's elements in the arena.
    pub(crate) kernel: Range<usize>,
    /// Its rows: the inputs of all terms, then `ones`.
    pub(crate) inputs: usize,
    /// Biases that are rows of the kernel.
    pub(crate) ones: usize,
    /// The bias of the first term that has one.
    pub(crate) bias: Option<Range<usize>>,
}

impl Graph {
    /// The parameter of this role of a node that has one at most.
    fn param(&self, node: &Node, role: Role) -> Option<usize> {
        node.params.clone().find(|&p| self.params[p].role == role)
    }

    /// The sums of dense layers.
    pub(super) fn find_sums(&self) -> Vec<Sum> {
        let adds = self.nodes.iter().enumerate().filter(|(_, node)| matches!(node.config, LayerConfig::Add(_)));
        adds.filter_map(|(node, add)| {
            let terms: Option<Vec<usize>> = add.inputs.iter().map(|&source| self.term(source, node)).collect();
            Some(Sum { node, terms: terms? })
        })
        .collect()
    }

    /// The dense layer that is a term of the sum `add`: one without a function, with a kernel of its own, taken once.
    fn term(&self, source: Source, add: usize) -> Option<usize> {
        let Source::Node(i) = source else { return None };
        let LayerConfig::Dense(dense) = &self.nodes[i].config else { return None };
        let once = self.nodes[add].inputs.iter().filter(|&&input| input == source).count() == 1;
        let alone = once && self.consumers(i).eq([add]);
        (alone && dense.tied_to.is_none() && dense.activation == Activation::Linear).then_some(i)
    }

    /// The sum that ends in node `i`.
    pub(crate) fn sum(&self, i: usize) -> Option<&Sum> {
        self.sums.iter().find(|sum| sum.node == i)
    }

    /// The sum that node `i` is a term of.
    pub(crate) fn sum_of(&self, i: usize) -> Option<&Sum> {
        self.sums.iter().find(|sum| sum.terms.contains(&i))
    }

    /// The parameters of a sum.
    pub(crate) fn joint_params(&self, sum: &Sum) -> Option<JointParams> {
        let joint = sum.joint(self);
        let (first, last) = (self.params.get(*joint.first()?)?, self.params.get(*joint.last()?)?);
        let ones = joint.len() - sum.terms.len();
        let inputs: usize = sum.terms.iter().map(|&term| self.shape_of(self.nodes[term].inputs[0]).width()).sum();
        let bias = sum.terms.iter().find_map(|&term| self.param(&self.nodes[term], Role::Bias));
        Some(JointParams {
            kernel: first.range.start..last.range.end,
            inputs: inputs + ones,
            ones,
            bias: bias.map(|bias| self.params[bias].range.clone()),
        })
    }
}
