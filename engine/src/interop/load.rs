//! Sets the parameters of a model from a file of another program.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::graph::{Activation, Cell, Graph, HeadKind, HeadLayouts, LayerConfig, Node, ParamSpec, Recurrent, Role};

use super::adaptive::{Part, parts};
use super::file::WeightFile;
use super::layout::{add, bias_from_torch, from_torch, torch_gates};
use super::matching::{Mapping, pair};
use super::modules::{Dialect, Module, Modules};

/// How weights of a head that parts the words come to their words.
const TRAINED_IT: &str = "take model, words and their order from the run that trained it: \
    `unroll import FILE --like RUN --out NEW`, then `unroll train --resume NEW --data TEXT`";

impl WeightFile {
    /// Sets every parameter of a model, laid out in `params` as the graph says. Returns for each layer its name here and in
    /// the file.
    ///
    /// # Errors
    /// [`Error::Input`] that names what was expected and what was found: a layer or a tensor that is missing or is not the
    /// model's, another shape, a type that is not f32, f16 or bf16, a number that is not finite; [`Error::Usage`] where a
    /// layer computes what PyTorch's layer of the same name does not.
    ///
    /// # Panics
    /// Where `params` is not as long as the graph's arena.
    pub fn load(&mut self, graph: &Graph, mapping: &Mapping, params: &mut [f32]) -> Result<Vec<(String, String)>> {
        assert_eq!(params.len(), graph.arena(), "the arena of parameters");
        let ours = graph.head_layouts()?;
        // Classes of other sizes are no reason to take the file for another program's.
        self.check_words(graph, &ours, self.heads())?;
        if let Some(turned) = self.of_checkpoint(graph, &ours, mapping)? {
            return self.copy(graph, &turned, params);
        }
        let mut heads = graph.outputs().iter().map(|output| output.head().kind);
        let found = Modules::of(self, &mapping.ignore, heads.any(|kind| kind == HeadKind::AdaptiveSoftmax));
        if found.dialect == Dialect::Keras {
            graph.require_whole_words(
                "it is no checkpoint of this model, and Keras has no layer with the weights of the head",
                "take a file that `unroll export --to unroll` wrote of the same model",
            )?;
        }
        // What PyTorch cannot have is told before what the file lacks.
        graph.nodes().iter().try_for_each(|node| parts(graph, &node.name).map(|_| ()))?;
        let pairs = pair(graph, self, &found, mapping)?;
        let mut loading = Loading { file: self, graph, params, dialect: found.dialect, used: BTreeSet::new() };
        let mut layers = Vec::new();
        for (node, module) in pairs {
            let node = &graph.nodes()[node];
            let Some(module) = module.map(|module| &found.modules[module]) else { continue };
            loading.layer(node, module)?;
            layers.push((node.name.clone(), module.label.clone()));
        }
        let used = loading.used;
        let left = found.modules.iter().flat_map(|module| module.tensors.iter().map(|(_, _, name)| name));
        let mut left: Vec<&String> = left.chain(&found.strange).filter(|name| !used.contains(*name)).collect();
        left.sort();
        match left[..] {
            [] => Ok(layers),
            [first, ..] => Err(self.unused(graph, first, left.len())),
        }
    }

    /// Where the file has every parameter by its own name and nothing else, as a checkpoint does: whether each is turned over.
    fn of_checkpoint(&self, graph: &Graph, ours: &HeadLayouts, mapping: &Mapping) -> Result<Option<Vec<bool>>> {
        let taken = |name: &str| !mapping.ignore.iter().any(|start| name.starts_with(start.as_str()));
        if !mapping.layers.is_empty() || self.tensors().filter(|(name, _)| taken(name)).count() != graph.params().len()
        {
            return Ok(None);
        }
        let kernels: Vec<usize> = graph.outputs().iter().filter_map(|output| graph.whole_kernel(output)).collect();
        let turned = |(i, spec): (usize, &ParamSpec)| {
            let shape = &self.entry(&spec.name).filter(|_| taken(&spec.name))?.shape;
            let over = kernels.contains(&i) && shape.iter().rev().eq(&spec.shape);
            (*shape == spec.shape || over).then_some(*shape != spec.shape)
        };
        let turned: Option<Vec<bool>> = graph.params().iter().enumerate().map(turned).collect();
        let Some(mut turned) = turned else { return Ok(None) };
        self.check_words(graph, ours, self.likely_heads())?;
        // Layers without cells have the same names in Keras, which has words in columns as a softmax here.
        let keras = !graph.nodes().iter().any(|node| node.config.recurrence().is_some());
        for output in graph.outputs() {
            let layer = &graph.nodes()[output.logits()].name;
            if output.head().kind.partitions_words() && self.likely_heads().of(layer).is_none() {
                let what = format!("does not say which words the weights of layer `{layer}` belong to");
                return Err(Error::input(self.path(), what).mend(TRAINED_IT));
            }
            if let Some(kernel) = graph.whole_kernel(output) {
                let ParamSpec { name, shape, .. } = &graph.params()[kernel];
                let theirs = if keras { self.heads() } else { self.likely_heads() };
                match (theirs.by_words(layer), ours.by_words(layer)) {
                    _ if shape[0] != shape[1] => {}
                    (Some(theirs), by_words) => turned[kernel] = by_words != Some(theirs),
                    (None, Some(false)) if keras => {}
                    (None, _) => return Err(self.ambiguous(name, keras)),
                }
            }
        }
        Ok(Some(turned))
    }

    /// Refuses weights of heads that part the words, as far as the file says it, unless they have each word where the model has it.
    fn check_words(&self, graph: &Graph, ours: &HeadLayouts, theirs: &HeadLayouts) -> Result<()> {
        for output in graph.outputs().iter().filter(|output| output.head().kind.partitions_words()) {
            let layer = &graph.nodes()[output.logits()].name;
            let Some(head) = theirs.of(layer).filter(|head| ours.of(layer) != Some(head)) else { continue };
            let what = match theirs.moved(ours) {
                Some(_) => format!("has layer `{layer}` for words in another order or with other counts"),
                None => {
                    let kind = head.split(' ').next().unwrap_or(head);
                    format!("has the weights of a {kind} for layer `{layer}`")
                }
            };
            return Err(Error::input(self.path(), what).mend(TRAINED_IT));
        }
        Ok(())
    }

    /// A kernel that may lie by words or not.
    fn ambiguous(&self, name: &str, keras: bool) -> Error {
        let layer = name.split('/').next().unwrap_or_default();
        let what = format!("`{name}` is square, and the file does not say whether each row is a word's or each column");
        let export = "`unroll export RUN --to unroll` writes a file that says it";
        Error::input(self.path(), what).mend(match keras {
            true => format!("{export}; --map {layer}={layer} reads it as Keras wrote it"),
            false => format!("{export}, and `unroll import FILE --like RUN` takes it for what RUN has"),
        })
    }

    /// Sets every parameter from the tensor of its own name.
    fn copy(&mut self, graph: &Graph, turned: &[bool], params: &mut [f32]) -> Result<Vec<(String, String)>> {
        for (spec, turned) in graph.params().iter().zip(turned) {
            let (values, own) = (self.read(&spec.name)?, &mut params[spec.range.clone()]);
            match turned {
                true => from_torch(&values, &[0], spec.shape[0], own),
                false => own.copy_from_slice(&values),
            }
        }
        let own = graph.nodes().iter().filter(|node| !node.params.is_empty());
        Ok(own.map(|node| (node.name.clone(), node.name.clone())).collect())
    }

    fn unused(&self, graph: &Graph, name: &str, count: usize) -> Error {
        let shape = self.entry(name).map(super::file::Entry::describe).unwrap_or_default();
        let others = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
        let error = Error::input(self.path(), format!("the model has no place for `{name}` {shape}{others}"));
        let names = graph.params().iter().map(|spec| spec.name.as_str());
        match crate::config::nearest(name, names) {
            Some(near) if near != name => error.mend(format!("did you mean `{near}`? --ignore {name} leaves it out")),
            _ => error.mend(format!("describe the model as it is, or leave it out with --ignore {name}")),
        }
    }
}

struct Loading<'a> {
    file: &'a mut WeightFile,
    graph: &'a Graph,
    params: &'a mut [f32],
    dialect: Dialect,
    /// Tensors that have their place.
    used: BTreeSet<String>,
}

impl Loading<'_> {
    fn layer(&mut self, node: &Node, module: &Module) -> Result<()> {
        match (&node.config, node.config.recurrence()) {
            (_, Some((cell, options, reading))) => {
                if self.dialect == Dialect::PyTorch {
                    torch_can(node, cell, options)?;
                }
                (0..reading.directions().len())
                    .try_for_each(|direction| self.recurrent(node, module, (cell, options, direction)))
            }
            (LayerConfig::Dense(dense), _) => {
                let parts = parts(self.graph, &node.name)?;
                if !parts.is_empty() {
                    return parts.iter().try_for_each(|part| self.part(node, module, part));
                }
                if let Some(table) = &dense.tied_to {
                    self.tied(node, table, module)?;
                }
                self.specs(node).into_iter().try_for_each(|spec| self.dense(node, module, &spec))
            }
            _ => self.specs(node).into_iter().try_for_each(|spec| {
                let role = match (self.dialect, spec.role) {
                    (Dialect::PyTorch, Role::Embeddings) => Role::Kernel,
                    (Dialect::PyTorch, Role::Beta) => Role::Bias,
                    (_, role) => role,
                };
                let values = self.take(node, module, (0, role), &spec.shape)?;
                self.params[spec.range].copy_from_slice(&values);
                Ok(())
            }),
        }
    }

    fn specs(&self, node: &Node) -> Vec<ParamSpec> {
        self.graph.params()[node.params.clone()].to_vec()
    }

    /// A tensor of an adaptive softmax.
    fn part(&mut self, node: &Node, module: &Module, part: &Part) -> Result<()> {
        let name = format!("{}.{}", module.label, part.name);
        if self.file.entry(&name).is_none() {
            let what = format!("the tensor `{name}` {:?} of layer `{}` is missing", part.shape, node.name);
            return Err(Error::input(self.file.path(), what).mend("describe the model with its cutoffs"));
        }
        let theirs = self.read_shaped(node, &name, &part.shape)?;
        part.load(self.graph, &theirs, self.params);
        Ok(())
    }

    fn dense(&mut self, node: &Node, module: &Module, spec: &ParamSpec) -> Result<()> {
        if spec.role == Role::Kernel && self.dialect == Dialect::PyTorch {
            let turned = [spec.shape[1], spec.shape[0]];
            let weight = self.take(node, module, (0, Role::Kernel), &turned)?;
            from_torch(&weight, &[0], spec.shape[0], &mut self.params[spec.range.clone()]);
            return Ok(());
        }
        // A file that says it of itself has a checkpoint's layout under whatever names.
        let by_words = self.file.heads().by_words(&module.label) == Some(true);
        if self.dialect == Dialect::Keras && by_words != (spec.role == Role::WordKernel) && is_kernel(spec.role) {
            let turned = [spec.shape[1], spec.shape[0]];
            let kernel = self.take(node, module, (0, Role::Kernel), &turned)?;
            from_torch(&kernel, &[0], spec.shape[0], &mut self.params[spec.range.clone()]);
            return Ok(());
        }
        let role = match spec.role {
            Role::WordKernel => Role::Kernel,
            Role::WordBias => Role::Bias,
            role => role,
        };
        let values = self.take(node, module, (0, role), &spec.shape)?;
        self.params[spec.range.clone()].copy_from_slice(&values);
        Ok(())
    }

    /// The matrix of a layer that uses an embedding's table, where the file has it, must be that table.
    fn tied(&mut self, node: &Node, table: &str, module: &Module) -> Result<()> {
        let name = format!("{table}/embeddings");
        let Some(spec) = self.graph.params().iter().find(|spec| spec.name == name) else { return Ok(()) };
        let Some(tensor) = module.tensor(0, Role::Kernel).map(str::to_owned) else { return Ok(()) };
        let shape = match self.dialect {
            Dialect::PyTorch => spec.shape.clone(),
            Dialect::Keras => spec.shape.iter().rev().copied().collect(),
        };
        let mut values = self.take(node, module, (0, Role::Kernel), &shape)?;
        if self.dialect == Dialect::Keras {
            let kernel = std::mem::take(&mut values);
            values = super::layout::to_torch(&kernel, &[0], spec.shape[1]);
        }
        if values != self.params[spec.range.clone()] {
            let what = format!("`{tensor}` is not the table of `{table}`, to which layer `{}` is tied", node.name);
            return Err(Error::input(self.file.path(), what).mend("describe the layer without tied_to"));
        }
        Ok(())
    }

    fn recurrent(&mut self, node: &Node, module: &Module, which: (Cell, &Recurrent, usize)) -> Result<()> {
        let (cell, _, direction) = which;
        let directions = if matches!(node.config, LayerConfig::Bidirectional(_)) { 2 } else { 1 };
        let specs = self.specs(node);
        let each = specs.len() / directions;
        let specs = &specs[direction * each..(direction + 1) * each];
        if self.dialect == Dialect::Keras {
            return specs.iter().try_for_each(|spec| self.keras_part(node, module, spec, direction));
        }
        let two = specs.iter().any(|spec| spec.role == Role::RecurrentBias);
        specs.iter().try_for_each(|spec| self.torch_part(node, module, spec, (cell, direction, two)))
    }

    fn keras_part(&mut self, node: &Node, module: &Module, spec: &ParamSpec, direction: usize) -> Result<()> {
        // Keras has one bias: where there are two here, it is the first, unless the file has both.
        if spec.role == Role::RecurrentBias && module.tensor(direction, Role::RecurrentBias).is_none() {
            self.params[spec.range.clone()].fill(0.0);
            return Ok(());
        }
        let values = self.take(node, module, (direction, spec.role), &spec.shape)?;
        self.params[spec.range.clone()].copy_from_slice(&values);
        Ok(())
    }

    fn torch_part(
        &mut self,
        node: &Node,
        module: &Module,
        spec: &ParamSpec,
        (cell, direction, two): (Cell, usize, bool),
    ) -> Result<()> {
        let (gates, range) = (torch_gates(cell), spec.range.clone());
        let columns = spec.shape[spec.shape.len() - 1];
        let bias = |loading: &mut Self, role| loading.take(node, module, (direction, role), &[columns]);
        match spec.role {
            Role::Kernel | Role::RecurrentKernel => {
                let weight = self.take(node, module, (direction, spec.role), &[columns, spec.shape[0]])?;
                from_torch(&weight, gates, spec.shape[0], &mut self.params[range]);
            }
            Role::Bias if cell == Cell::Gru => {
                let both = [bias(self, Role::Bias)?, bias(self, Role::RecurrentBias)?];
                let rows = self.params[range].chunks_exact_mut(columns);
                rows.zip(&both).for_each(|(row, theirs)| bias_from_torch(theirs, gates, row));
            }
            Role::Bias => {
                let mut first = bias(self, Role::Bias)?;
                if !two {
                    add(&mut first, &bias(self, Role::RecurrentBias)?);
                }
                bias_from_torch(&first, gates, &mut self.params[range]);
            }
            Role::RecurrentBias => {
                let second = bias(self, Role::RecurrentBias)?;
                bias_from_torch(&second, gates, &mut self.params[range]);
            }
            Role::Embeddings | Role::WordKernel | Role::WordBias | Role::Peephole | Role::Gamma | Role::Beta => {}
        }
        Ok(())
    }

    /// The elements of a module's tensor, which must be there in this shape.
    fn take(
        &mut self,
        node: &Node,
        module: &Module,
        (direction, role): (usize, Role),
        shape: &[usize],
    ) -> Result<Vec<f32>> {
        let Some(name) = module.tensor(direction, role) else {
            let expected = expected_name(self.dialect, module, direction, role);
            let what = format!("the tensor `{expected}` {shape:?} of layer `{}` is missing", node.name);
            let error = Error::input(self.file.path(), what);
            return Err(match role {
                Role::Bias | Role::RecurrentBias => {
                    error.mend(format!("where it has no bias, set use_bias = false on layer `{}`", node.name))
                }
                _ if direction == 1 => error.mend("where it reads one way only, describe it so"),
                _ => error,
            });
        };
        self.read_shaped(node, name, shape)
    }

    /// The elements of a tensor of the file, which must have this shape.
    fn read_shaped(&mut self, node: &Node, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let found = self.file.entry(name).map(|entry| (entry.shape == shape, entry.describe()));
        if let Some((false, found)) = found {
            let what = format!("`{name}` is {found}, but layer `{}` of the model has F32 {shape:?} there", node.name);
            return Err(Error::input(self.file.path(), what).mend("describe the model with its sizes"));
        }
        self.used.insert(name.to_owned());
        self.file.read(name)
    }
}

fn is_kernel(role: Role) -> bool {
    matches!(role, Role::Kernel | Role::WordKernel)
}

/// What a tensor would be called that a module lacks.
fn expected_name(dialect: Dialect, module: &Module, direction: usize, role: Role) -> String {
    let label = &module.label;
    if dialect == Dialect::PyTorch {
        return super::export::torch_name(label, module.kind() == super::modules::Kind::Recurrent, direction, role);
    }
    let part = match role {
        Role::Embeddings => "embeddings",
        Role::Kernel | Role::WordKernel => "kernel",
        Role::RecurrentKernel => "recurrent_kernel",
        Role::Bias | Role::WordBias => "bias",
        Role::RecurrentBias => "recurrent_bias",
        Role::Peephole => "peephole",
        Role::Gamma => "gamma",
        Role::Beta => "beta",
    };
    let backward = if direction == 1 { "/backward" } else { "" };
    format!("{label}{backward}/{part}")
}

/// Whether PyTorch's layer of the same name computes what this one does.
///
/// # Errors
/// [`Error::Usage`] that names the option that it lacks.
pub(super) fn torch_can(node: &Node, cell: Cell, options: &Recurrent) -> Result<()> {
    let lacks = |option: &str, mend: &str| {
        let what = format!("layer `{}`: PyTorch's layers have no {option}", node.name);
        Err(Error::usage(what).mend(mend.to_owned()))
    };
    let other = |set: Option<Activation>, usual: &[Activation]| set.is_some_and(|set| !usual.contains(&set));
    let usual: &[Activation] = match cell {
        Cell::SimpleRnn => &[Activation::Tanh, Activation::Relu],
        Cell::Lstm | Cell::Gru => &[Activation::Tanh],
    };
    if other(options.activation, usual) {
        return lacks("such activation", "leave activation out, or exchange weights with Keras");
    }
    if other(options.recurrent_activation, &[Activation::Sigmoid]) {
        return lacks("such recurrent_activation", "leave it out, or exchange weights with Keras");
    }
    if options.peephole {
        return lacks("peephole", "leave it out");
    }
    if options.zoneout > 0.0 || options.zoneout_cell > 0.0 {
        return lacks("zoneout, which goes on as a mean where nothing is trained", "leave it out");
    }
    if cell == Cell::Gru && options.reset_after == Some(false) {
        return lacks("gru with reset_after = false", "leave it out, or exchange weights with Keras");
    }
    Ok(())
}
