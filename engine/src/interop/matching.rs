//! Which layer of a file is which layer of the model.
//!
//! In this order: what the user says; a layer that has the same name; the only one of its kind that is left on both
//! sides; among several, one that alone has the right shape; names that differ in a number only, in its order. A stack
//! of PyTorch is one module with the layers `l0`, `l1`, ... What is left then is named in an error.

use crate::error::{Error, Result};
use crate::graph::{Graph, HeadKind, LayerConfig, Node, Output, Role};

use super::export::language_model;
use super::file::WeightFile;
use super::modules::{Dialect, Kind, Module, Modules, stem};

/// What the user says about names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// A layer of the model, and its name in the file: `lstm` and `rnn.l0`, `dense` and `decoder`.
    pub layers: Vec<(String, String)>,
    /// Beginnings of names of tensors that are left out.
    pub ignore: Vec<String>,
}

impl Mapping {
    /// Reads `LAYER=NAME`.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no `=` between two names.
    pub fn parse(layers: &[String], ignore: &[String]) -> Result<Mapping> {
        let pair = |text: &String| match text.split_once('=') {
            Some((layer, name)) if !layer.is_empty() && !name.is_empty() => Ok((layer.to_owned(), name.to_owned())),
            _ => Err(Error::option("--map", format!("`{text}` is not LAYER=NAME, such as lstm=rnn.l0"))),
        };
        Ok(Mapping { layers: layers.iter().map(pair).collect::<Result<_>>()?, ignore: ignore.to_vec() })
    }

    /// The name of a layer in the file, where the user says it.
    pub(super) fn name_of(&self, layer: &str) -> Option<&str> {
        self.layers.iter().find(|(known, _)| known == layer).map(|(_, name)| name.as_str())
    }

    /// Refuses layers that the model does not have.
    pub(super) fn check(&self, graph: &Graph) -> Result<()> {
        for (layer, _) in &self.layers {
            if !graph.nodes().iter().any(|node| node.name == *layer && has_weights(node)) {
                let names: Vec<&str> =
                    graph.nodes().iter().filter(|n| has_weights(n)).map(|n| n.name.as_str()).collect();
                let what = format!("the model has no layer `{layer}` with weights");
                return Err(Error::option("--map", what).mend(format!("it has {}", names.join(", "))));
            }
        }
        Ok(())
    }
}

/// Whether a layer has weights of its own, or uses those of another.
pub(super) fn has_weights(node: &Node) -> bool {
    let tied = matches!(&node.config, LayerConfig::Dense(dense) if dense.tied_to.is_some());
    !node.params.is_empty() || tied
}

/// Whether a layer's name is one that nobody chose: its kind, perhaps with a number.
fn is_automatic(node: &Node) -> bool {
    let number = node.name.strip_prefix(node.config.kind());
    number.is_some_and(|rest| rest.trim_start_matches('_').bytes().all(|b| b.is_ascii_digit()))
}

/// A layer's node, and its module in the file; `None` of a layer without weights of its own that the file leaves out.
pub(super) type Pairs = Vec<(usize, Option<usize>)>;

pub(super) fn pair(graph: &Graph, file: &WeightFile, found: &Modules, mapping: &Mapping) -> Result<Pairs> {
    mapping.check(graph)?;
    let mut matching = Matching { graph, file, found, pairs: vec![None; graph.nodes().len()] };
    for (layer, name) in &mapping.layers {
        let node = graph.nodes().iter().position(|node| node.name == *layer);
        let first_of_stack = format!("{name}.l0");
        let module = found.modules.iter().position(|m| m.label == *name || m.label == first_of_stack);
        match (node, module) {
            (Some(node), Some(module)) => matching.pairs[node] = Some(module),
            _ => {
                let what = format!("there is no `{name}` in {}", file.path().display());
                return Err(Error::option("--map", what).mend(format!("it has {}", matching.labels())));
            }
        }
    }
    matching.by_name();
    for recurrent in [true, false] {
        matching.by_kind(recurrent)?;
    }
    let left = |&i: &usize| has_weights(&graph.nodes()[i]) && matching.pairs[i].is_none();
    let missing = (0..graph.nodes().len()).find(|i| left(i) && !graph.nodes()[*i].params.is_empty());
    match missing {
        Some(node) => Err(matching.missing(node)),
        None => {
            let weighted = (0..graph.nodes().len()).filter(|&i| has_weights(&graph.nodes()[i]));
            Ok(weighted.map(|i| (i, matching.pairs[i])).collect())
        }
    }
}

struct Matching<'a> {
    graph: &'a Graph,
    file: &'a WeightFile,
    found: &'a Modules,
    /// The module of each node.
    pairs: Vec<Option<usize>>,
}

impl Matching<'_> {
    fn free_nodes(&self) -> Vec<usize> {
        let nodes = self.graph.nodes();
        (0..nodes.len()).filter(|&i| self.pairs[i].is_none() && has_weights(&nodes[i])).collect()
    }

    fn free_modules(&self) -> Vec<usize> {
        (0..self.found.modules.len()).filter(|module| !self.pairs.contains(&Some(*module))).collect()
    }

    /// Pairs layers with modules of their own names. Names that nobody chose, such as `lstm_1`, are numbered anew by each
    /// program: they count where all layers of a kind have theirs.
    fn by_name(&mut self) {
        let nodes = self.graph.nodes();
        let usual = match self.found.dialect {
            Dialect::PyTorch => language_model(self.graph),
            Dialect::Keras => Vec::new(),
        };
        let free = self.free_nodes();
        let same = |node: usize| {
            let name = nodes[node].name.as_str();
            let usual = usual.iter().find(|(layer, _)| layer == name).map(|(_, usual)| usual.as_str());
            let mut same = self.free_modules();
            same.retain(|&m| {
                let label = self.found.modules[m].label.as_str();
                let last = label.rsplit(['.', '/']).next();
                let names = [Some(label), last, label.strip_suffix(".l0")];
                (names.contains(&Some(name)) || usual == Some(label)) && self.may_be(node, m)
            });
            if let [only] = same[..] { Some(only) } else { None }
        };
        let named: Vec<(usize, Option<usize>)> = free.into_iter().map(|node| (node, same(node))).collect();
        let kind = |node: usize| {
            let config = &nodes[node].config;
            (config.recurrence().is_some(), config.kind() == "embedding", config.kind() == "layer_normalization")
        };
        let whole = |of: usize| named.iter().all(|&(node, found)| kind(node) != kind(of) || found.is_some());
        let certain = |&(node, _): &(usize, _)| !is_automatic(&nodes[node]) || whole(node);
        let certain: Vec<_> = named.iter().copied().filter(certain).collect();
        for (node, module) in certain {
            if module.is_some() && !self.pairs.contains(&module) {
                self.pairs[node] = module;
            }
        }
    }

    /// Whether a module is of a node's kind.
    fn may_be(&self, node: usize, module: usize) -> bool {
        let (node, module) = (&self.graph.nodes()[node], &self.found.modules[module]);
        let kind = module.kind();
        match &node.config {
            LayerConfig::Embedding(_) => {
                kind == Kind::Embedding || kind == Kind::Matrix && module.tensor(0, Role::Bias).is_none()
            }
            LayerConfig::Dense(_) if kind == Kind::Adaptive => self.is_adaptive(&node.name),
            LayerConfig::Dense(_) if self.is_adaptive(&node.name) => false,
            LayerConfig::Dense(_) => matches!(kind, Kind::Dense | Kind::Matrix),
            LayerConfig::LayerNormalization(_) => kind == Kind::Norm,
            _ => kind == Kind::Recurrent,
        }
    }

    /// Whether a layer is an adaptive softmax.
    fn is_adaptive(&self, layer: &str) -> bool {
        let mut outputs = self.graph.outputs().iter();
        let of_layer = |output: &&Output| self.graph.nodes()[output.logits()].name == layer;
        outputs.find(of_layer).is_some_and(|output| output.head().kind == HeadKind::AdaptiveSoftmax)
    }

    /// Whether a module's matrix has the node's shape.
    fn fits(&self, node: usize, module: usize) -> bool {
        let (config, module) = (&self.graph.nodes()[node].config, &self.found.modules[module]);
        let embeddings = if module.kind() == Kind::Matrix { Role::Kernel } else { Role::Embeddings };
        let role = if matches!(config, LayerConfig::Embedding(_)) { embeddings } else { Role::Kernel };
        let Some(entry) = module.tensor(0, role).and_then(|name| self.file.entry(name)) else { return false };
        let turned = self.found.dialect == Dialect::PyTorch && !matches!(config, LayerConfig::Embedding(_));
        let mut shape = self.matrix(node);
        if turned {
            shape.reverse();
        }
        entry.shape == shape
    }

    /// The shape of a node's table, or of its kernel with a column an output.
    fn matrix(&self, node: usize) -> Vec<usize> {
        let nodes = self.graph.nodes();
        let node = &nodes[node];
        let of = |node: &Node| {
            let params = &self.graph.params()[node.params.clone()];
            params.iter().find_map(|p| match p.role {
                Role::Kernel | Role::Embeddings => Some(p.shape.clone()),
                Role::WordKernel => Some(p.shape.iter().rev().copied().collect()),
                _ => None,
            })
        };
        let tied = match &node.config {
            LayerConfig::Dense(dense) => nodes.iter().find(|n| Some(&n.name) == dense.tied_to.as_ref()),
            _ => None,
        };
        match tied.and_then(of) {
            Some(table) => table.into_iter().rev().collect(),
            None => of(node).unwrap_or_default(),
        }
    }

    /// Pairs what is left of the recurrent layers, or of the others.
    fn by_kind(&mut self, recurrent: bool) -> Result<()> {
        let is = |node: &Node| node.config.recurrence().is_some() == recurrent;
        loop {
            let mut nodes = self.free_nodes();
            nodes.retain(|&i| is(&self.graph.nodes()[i]));
            let mut modules = self.free_modules();
            modules.retain(|&m| (self.found.modules[m].kind() == Kind::Recurrent) == recurrent);
            // A kind first, since of one that is left the shapes are compared with a better message than "not found".
            let only = |fits: &dyn Fn(usize, usize) -> bool| {
                nodes.iter().find_map(|&node| {
                    let may: Vec<usize> = modules.iter().copied().filter(|&m| fits(node, m)).collect();
                    if let [module] = may[..] { Some((node, module)) } else { None }
                })
            };
            let found = only(&|node, module| self.may_be(node, module))
                .or_else(|| only(&|node, module| self.may_be(node, module) && self.fits(node, module)));
            match found {
                Some((node, module)) => self.pairs[node] = Some(module),
                None => return self.in_order(&nodes, &modules),
            }
        }
    }

    /// Pairs as many nodes and modules as there are, where the modules' names differ in a number only.
    fn in_order(&mut self, nodes: &[usize], modules: &[usize]) -> Result<()> {
        // A tied layer may stand in the file or not.
        let kinds = |kind: &str| {
            let of_kind = move |node: &Node| match node.config.kind() {
                own @ ("embedding" | "layer_normalization") => own == kind,
                _ => kind.is_empty(),
            };
            nodes.iter().copied().filter(|&i| of_kind(&self.graph.nodes()[i])).collect::<Vec<_>>()
        };
        for nodes in [kinds("embedding"), kinds("layer_normalization"), kinds("")] {
            let mut fitting = modules.to_vec();
            fitting.retain(|m| !self.pairs.contains(&Some(*m)));
            fitting.retain(|&m| nodes.iter().any(|&node| self.may_be(node, m)));
            let stems = fitting.iter().map(|&m| stem(&self.found.modules[m].label)).collect::<Vec<_>>();
            let numbered = stems.windows(2).all(|pair| pair[0] == pair[1]);
            if nodes.is_empty() || fitting.is_empty() {
                continue;
            }
            // What is left over of either is told later.
            if !numbered {
                return Err(self.ambiguous(&nodes, &fitting));
            }
            let pairs = nodes.iter().zip(fitting);
            pairs.for_each(|(&node, module)| self.pairs[node] = Some(module));
        }
        Ok(())
    }

    fn ambiguous(&self, nodes: &[usize], modules: &[usize]) -> Error {
        let name = |&i: &usize| format!("`{}`", self.graph.nodes()[i].name);
        let label = |&m: &usize| self.label(&self.found.modules[m]);
        let layers: Vec<String> = nodes.iter().map(name).collect();
        let labels: Vec<String> = modules.iter().map(label).collect();
        let what =
            format!("the layers {} cannot be distinguished by the names {}", layers.join(", "), labels.join(", "));
        Error::input(self.file.path(), what).mend("assign them with --map LAYER=NAME")
    }

    fn missing(&self, node: usize) -> Error {
        let node = &self.graph.nodes()[node];
        let params = &self.graph.params()[node.params.clone()];
        let expected: Vec<String> = params.iter().map(|p| format!("`{}` {:?}", p.name, p.shape)).collect();
        let what = format!(
            "nothing in it matches layer `{}` ({}), which has {}; the file has {}",
            node.name,
            node.class,
            expected.join(", "),
            self.labels()
        );
        Error::input(self.file.path(), what)
            .mend(format!("name it with --map {}=NAME, or describe the model as it is", node.name))
    }

    /// `rnn.l0` with the shape of its matrix.
    fn label(&self, module: &Module) -> String {
        let matrix = [Role::Kernel, Role::Embeddings].iter().find_map(|&role| module.tensor(0, role));
        let shape = matrix.and_then(|name| self.file.entry(name)).map(|entry| format!(" {:?}", entry.shape));
        format!("`{}`{}", module.label, shape.unwrap_or_default())
    }

    fn labels(&self) -> String {
        if self.found.modules.is_empty() {
            return "no layers".to_owned();
        }
        self.found.modules.iter().map(|module| self.label(module)).collect::<Vec<_>>().join(", ")
    }
}
