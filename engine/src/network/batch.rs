//! What a step takes, and whether it fits the model.

use super::NetworkOptions;
use crate::error::{Error, Result};
use crate::graph::{Axis, Graph, Loss, SOURCE};
use unroll_kernels::softmax::IGNORE;

/// Tokens, vectors and their targets: T steps of N rows, time-major.
#[derive(Clone, Copy, Debug, Default)]
pub struct Batch<'a> {
    /// T; 1 where nothing has a time axis.
    pub steps: usize,
    /// N
    pub rows: usize,
    /// (T, N) tokens, each less than the vocabulary; empty where no layer takes tokens.
    pub inputs: &'a [u32],
    /// S: steps of the second sequence, for models that read a `source`; otherwise 0.
    pub source_steps: usize,
    /// (S, N) tokens of the second sequence; empty where no layer takes them.
    pub source: &'a [u32],
    /// One slice per input layer, in the order of the layers: (T, N, width), or (S, N, width) for a layer that takes
    /// the source, or (N, width) where there is one vector per row.
    pub vectors: &'a [&'a [f32]],
    /// (T, N) targets, or (N) where the model gives one output per row; [`unroll_kernels::softmax::IGNORE`] is not
    /// scored. For a model with several outputs, the targets of each in turn; for a mean squared error, the bits of the
    /// numbers ([`f32::to_bits`]).
    pub targets: &'a [u32],
    /// (T, N), `false` where a position is padding: no layer sees it, every state passes it unchanged, and its target
    /// is not scored. Padding may be anywhere and takes no time. If absent, only positions that a layer of the model
    /// masks are padding.
    pub mask: Option<&'a [bool]>,
}

impl Batch<'_> {
    /// Checks that the batch fits a model, on a network made with these options.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] that says what was expected and what was found: sizes beyond the network's room, tokens,
    /// vectors, targets or a mask of other shapes, a token that is not in the vocabulary, a target that is no class of
    /// its output.
    pub fn check(&self, graph: &Graph, options: &NetworkOptions) -> Result<()> {
        let &Self { steps, rows, inputs, targets, mask, .. } = self;
        let sizes = || format!("a batch of {steps} x {rows}");
        if steps > options.steps || rows > options.rows {
            return Err(Error::usage(format!("{}, room for {} x {}", sizes(), options.steps, options.rows)));
        }
        if steps == 0 || rows == 0 {
            return Err(Error::usage(sizes()));
        }
        if let Some(declared) = graph.batch_size()
            && declared != rows
        {
            return Err(Error::usage(format!("{}, the model's batch_size is {declared}", sizes()))
                .mend("give batches of that many rows, or leave batch_size out of the input layer"));
        }
        let want = if graph.takes_tokens() { steps * rows } else { 0 };
        if inputs.len() != want {
            return Err(Error::usage(format!("{} tokens for {}, the model takes {want}", inputs.len(), sizes())));
        }
        self.check_source(graph, options)?;
        self.check_vectors(graph)?;
        let want = graph.outputs().iter().map(|output| output.positions(steps, rows)).sum::<usize>();
        if !targets.is_empty() && targets.len() != want {
            return Err(Error::usage(format!("{} targets, {want} outputs", targets.len())));
        }
        self.check_targets(graph)?;
        let positions = mask.map_or(steps * rows, <[bool]>::len);
        if positions != steps * rows {
            return Err(Error::usage(format!("a mask of {positions} positions for {}", sizes())));
        }
        if let (Some(_), Some(layer)) = (mask, graph.refuses_masks()) {
            let what = format!("a batch with a mask, but layer `{layer}` joins all steps of a sequence");
            return Err(Error::usage(what));
        }
        match inputs.iter().find(|&&token| token as usize >= graph.vocabulary()) {
            Some(token) => Err(Error::usage(format!("token {token} in a vocabulary of {}", graph.vocabulary()))),
            None => Ok(()),
        }
    }

    /// Checks that every target is a class of its output, a finite number, or not scored.
    fn check_targets(&self, graph: &Graph) -> Result<()> {
        if self.targets.is_empty() {
            return Ok(());
        }
        for (output, range) in graph.targets(self.steps, self.rows) {
            let own = self.targets[range].iter().filter(|&&target| target != IGNORE);
            let (name, classes) = (output.name(), graph.nodes()[output.logits()].shape.width());
            let found = match output.loss() {
                Loss::MeanSquaredError => {
                    own.map(|&bits| f32::from_bits(bits)).find(|number| !number.is_finite()).map(|number| {
                        format!("target {number} of output `{name}`, whose targets are the bits of finite numbers")
                    })
                }
                loss => {
                    let classes = if loss == Loss::BinaryCrossEntropy { 2 } else { classes };
                    let other = own.copied().find(|&target| target as usize >= classes);
                    other.map(|target| format!("target {target} of output `{name}`, which has {classes} classes"))
                }
            };
            if let Some(what) = found {
                return Err(
                    Error::usage(what).mend(format!("give targets of the model, or {IGNORE} where none is scored"))
                );
            }
        }
        Ok(())
    }

    /// Checks the second sequence.
    fn check_source(&self, graph: &Graph, options: &NetworkOptions) -> Result<()> {
        let Self { source_steps: steps, rows, source, .. } = *self;
        if graph.has_source() != (steps > 0) {
            let what = if steps > 0 { "is given, the model reads none" } else { "is missing, which the model reads" };
            return Err(Error::usage(format!("a `{SOURCE}` {what}")));
        }
        if steps > options.source_steps {
            let what = format!("a `{SOURCE}` of {steps} steps, room for {}", options.source_steps);
            return Err(Error::usage(what));
        }
        let want = if graph.takes_source_tokens() { steps * rows } else { 0 };
        if source.len() != want {
            let what =
                format!("{} tokens of the `{SOURCE}` for {steps} x {rows}, the model takes {want}", source.len());
            return Err(Error::usage(what));
        }
        let vocabulary = graph.source_vocabulary();
        match source.iter().find(|&&token| token as usize >= vocabulary) {
            Some(token) => Err(Error::usage(format!("token {token} in a vocabulary of {vocabulary}"))),
            None => Ok(()),
        }
    }

    fn check_vectors(&self, graph: &Graph) -> Result<()> {
        let Self { rows, vectors, .. } = *self;
        let want = graph.vector_inputs().count();
        if vectors.len() != want {
            let what = format!("vectors for {} input layers, the model has {want}", vectors.len());
            return Err(Error::usage(what).mend("give one slice for each, in the order of the layers"));
        }
        for ((node, input), vectors) in graph.vector_inputs().zip(vectors) {
            let node = &graph.nodes()[node];
            let (found, name) = (vectors.len(), &node.name);
            let steps = if node.axis == Axis::Source { self.source_steps } else { self.steps };
            let count = if node.shape.time.is_some() { steps * rows } else { rows };
            if found == count * input.width {
                continue;
            }
            let shape = match node.shape.time {
                Some(_) => format!("({steps}, {rows}, {})", input.width),
                None => format!("({rows}, {})", input.width),
            };
            let what = if found % count == 0 {
                format!("layer `{name}` takes vectors of width {}, these have width {}", input.width, found / count)
            } else {
                format!("layer `{name}` takes {shape} = {} numbers, {found} are given", count * input.width)
            };
            return Err(Error::usage(what));
        }
        Ok(())
    }
}
