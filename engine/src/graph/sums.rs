//! Dense layers that are added, and nothing else: x W + b + x' W' + b' is [x, x'] [W; W'] + b + b', one product.
//!
//! Where the sum gives the logits of a head that has parameters of its own, it is declared so from the start.

use super::config::{Activation, Concatenate, Dense, HeadConfig, HeadKind, LayerConfig, ModelConfig};
use super::output::Declared;
use super::params::Role;
use super::{Graph, INPUT, Node, SOURCE, Source};
use crate::error::{Error, Result};
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
    /// The parameters that stand behind one another in the arena: the kernels of all terms, then the biases of all but
    /// the first that has one, each a row of the joint kernel whose input is 1.
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

    /// The declaration with each sum whose head stands in the place of a dense layer as one such layer of what the
    /// terms take, side by side; `None` where there is no such sum.
    pub(super) fn join_sums(
        config: &ModelConfig,
        vocabularies: [usize; 2],
        classes: Option<&[usize]>,
    ) -> Result<Option<ModelConfig>> {
        if !config.layers.iter().any(|layer| matches!(layer, LayerConfig::Add(_))) {
            return Ok(None);
        }
        let declared = Declared::all(config, vocabularies[0], classes)?;
        let ends = declared.iter().filter(|output| {
            output.config.head.kind != HeadKind::Softmax && matches!(config.layers[output.layer], LayerConfig::Add(_))
        });
        let ends: Vec<usize> = ends.map(|output| output.layer).collect();
        if ends.is_empty() {
            return Ok(None);
        }
        let mut plain = ModelConfig { head: HeadConfig::default(), ..config.clone() };
        plain.outputs.iter_mut().for_each(|output| output.head = HeadConfig::default());
        let (graph, _, nodes) = Self::resolve_layers(&plain, vocabularies, classes, None)?;
        let sums: Vec<&Sum> = ends.iter().filter_map(|&end| graph.sum(nodes[end])).collect();
        if sums.is_empty() {
            return Ok(None);
        }
        let mut layers = Vec::with_capacity(config.layers.len());
        for (layer, &node) in config.layers.iter().zip(&nodes) {
            if sums.iter().any(|sum| sum.terms.contains(&node)) {
                continue;
            }
            // Names that were chosen stay as they are with fewer layers before them.
            let name = &graph.nodes[node].name;
            match sums.iter().find(|sum| sum.node == node) {
                Some(sum) => {
                    let inputs = format!("{name}_inputs");
                    let terms = sum.terms.iter().map(|&term| graph.source_name(graph.nodes[term].inputs[0]));
                    layers.push(LayerConfig::from(Concatenate::default()).named(&inputs).of(terms));
                    layers.push(LayerConfig::from(graph.joint_dense(sum)?).named(name).of([inputs]));
                }
                None => layers.push(layer.clone().named(name)),
            }
        }
        Ok(Some(ModelConfig { layers, ..config.clone() }))
    }

    /// What another layer names to take from this source.
    fn source_name(&self, source: Source) -> &str {
        match source {
            Source::Input => INPUT,
            Source::Second => SOURCE,
            Source::Node(i) => &self.nodes[i].name,
        }
    }

    /// The options of the one dense layer that the terms of a sum are.
    fn joint_dense(&self, sum: &Sum) -> Result<Dense> {
        let terms = || {
            sum.terms.iter().filter_map(|&term| match &self.nodes[term].config {
                LayerConfig::Dense(dense) => Some(dense),
                _ => None,
            })
        };
        let Some(first) = terms().next() else { return Ok(Dense::default()) };
        let biased = |dense: &&Dense| dense.use_bias.unwrap_or(true);
        let bias = terms().find(biased).and_then(|dense| dense.bias_initializer);
        let alike = terms().all(|dense| dense.kernel_initializer == first.kernel_initializer)
            && terms().filter(biased).all(|dense| dense.bias_initializer == bias);
        if !alike {
            let what = format!(
                "the dense layers that `{}` adds draw their parameters in different ways, and under this head they are one layer",
                self.nodes[sum.node].name
            );
            return Err(Error::usage(what).mend("give them the same kernel_initializer and the same bias_initializer"));
        }
        Ok(Dense {
            units: first.units,
            use_bias: Some(terms().any(|dense| biased(&dense))),
            kernel_initializer: first.kernel_initializer,
            bias_initializer: bias,
            ..Dense::default()
        })
    }
}
