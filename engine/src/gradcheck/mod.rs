//! Gradients that anyone can check: a user's whole graph in f64, against differences and against every instruction set.
//!
//! [`check`] draws random parameters, tokens and targets and runs several training steps in a row, each of which takes
//! the state of the one before it as a constant (truncated back-propagation through time). On them it compares
//!
//! 1. the f64 gradient, made of the kernels' references, with central differences of the f64 loss (relative tolerance
//!    1e-5) on some entries of each parameter tensor, at the last step;
//! 2. the f32 gradient of [`Network::train_step`] on each instruction set, with fusions and without, with the f64
//!    gradient on every entry of every tensor, at every step.
//!
//! `model.rs` has the f64 forward pass, with `directions.rs` (recurrent layers), `drops.rs` (dropout of every kind),
//! `objective.rs` (the loss) and `words.rs` (heads for large vocabularies); `backward/` has the backward pass;
//! `differences.rs` makes the first comparison; `tolerance.rs` and `sizes.rs` say what is tolerated and why.
//!
//! ```
//! use unroll::gradcheck::{Options, check};
//! use unroll::graph::{Graph, ModelConfig};
//! let model: ModelConfig = toml::from_str(r#"
//!     [[layers]]
//!     type = "one_hot"
//!     [[layers]]
//!     type = "gru"
//!     units = 4
//!     return_sequences = true
//!     stateful = true
//!     [[layers]]
//!     type = "dense"
//! "#)?;
//! let report = check(&Graph::new(&model, 7)?, &Options::default())?;
//! assert!(report.passed, "{:?}", report.worst());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backward;
mod by_row;
mod differences;
mod directions;
mod draw;
mod drops;
mod masked;
mod model;
mod objective;
mod recurrent;
mod report;
mod sizes;
mod tolerance;
pub(crate) mod words;

pub use report::{Comparison, Finding, Report, TensorRow};

use crate::error::{Error, Result};
use crate::exec::Crew;
use crate::graph::{Axis, Graph, ParamSpec};
use crate::network::{Batch, FUSIONS, LossScale, Network, NetworkOptions, State, available_memory};
use crate::random::{Key, Purpose};
use backward::{Flow, Gradient, backward};
use differences::Differences;
use draw::Tokens;
use model::{Model, Params, Step};
use recurrent::Carried;
use unroll_kernels::Isa;
use words::WordHead;

/// How a check is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// T; absent: the model's `input_length`, else 3.
    pub steps: Option<usize>,
    /// N
    pub rows: usize,
    /// Consecutive steps.
    pub batches: usize,
    /// Entries of each tensor that differences are taken of, at least; all of a tensor that has fewer.
    pub entries: usize,
    /// What everything is drawn from.
    pub seed: u64,
    /// What the gradient is of.
    pub loss_scale: LossScale,
    /// Threads.
    pub threads: usize,
    /// The instruction sets whose f32 gradients are compared.
    pub sets: Vec<Isa>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            steps: None,
            rows: 2,
            batches: 2,
            entries: 200,
            seed: 123,
            loss_scale: LossScale::Mean,
            threads: 1,
            sets: Isa::available(),
        }
    }
}

/// Faults that tests put into the gradients: each function gets what it may change.
struct Faults<'a> {
    /// A node and the f64 gradient that it hands to one of its inputs.
    flow: Flow<'a>,
    /// The whole f64 gradient, before it is compared with differences.
    wide: &'a dyn Fn(&mut [Vec<f64>]),
    /// The arena of an f32 gradient, before it is compared.
    narrow: &'a dyn Fn(&mut [f32]),
    /// What the networks run instead of the graph that was asked for.
    graph: Option<&'a Graph>,
}

impl Faults<'_> {
    const NONE: Faults<'static> = Faults { flow: &|_, _| {}, wide: &|_| {}, narrow: &|_| {}, graph: None };
}

/// Checks the gradients of a graph; see the top of the module.
///
/// # Errors
///
/// [`Error::Usage`] for options out of range and for what [`Network::new`] refuses. A gradient that is wrong is no
/// error: see [`Report::passed`].
pub fn check(graph: &Graph, options: &Options) -> Result<Report> {
    check_with(graph, options, &mut |_, _| {})
}

/// The same, calling `progress` with the number and name of each parameter tensor before its differences are taken,
/// which is most of the work.
///
/// # Errors
///
/// As [`check`].
pub fn check_with(graph: &Graph, options: &Options, progress: &mut dyn FnMut(usize, &str)) -> Result<Report> {
    run(graph, options, progress, &Faults::NONE)
}

fn run(graph: &Graph, options: &Options, progress: &mut dyn FnMut(usize, &str), faults: &Faults<'_>) -> Result<Report> {
    let steps = time_steps(graph, options)?;
    check_sizes(graph, options)?;
    fits(graph, options, steps)?;
    let crew = Crew::new(options.threads, 1);
    let crew = crew.map_err(|e| Error::run(format!("cannot start {} threads: {e}", options.threads)))?;
    let plain = |graph: &Graph| graph.redeclared(&draw::without_initializers(graph.config()));
    let mut sets = Sets::new(plain(faults.graph.unwrap_or(graph))?, options, steps)?;
    let heads = WordHead::all(graph)?;
    let model = Model { graph, heads: &heads, loss_scale: options.loss_scale };
    let batches = draw::tokens(graph, steps, options.rows, options.batches, options.seed);
    let start = model.start(options.rows);
    let tensors = draw_params(&model, options, &batches, &start);
    let params = Params { tensors: &tensors, changed: None };
    sets.set_params(graph, &tensors);

    let single = tolerance::single(tolerance::roundings(graph, steps, options.rows));
    let mut comparisons = Vec::new();
    let (mut before, mut floor) = (start, 0.0);
    for (b, batch) in batches.iter().enumerate() {
        let step = step(options, batch, b, &before);
        let values = model.forward(&step, params);
        let loss = model.loss(&step, params, |n| &values[n]);
        let mut gradient = backward(&model, &step, params, &values, faults.flow);
        sets.compare(graph, batch, (b, loss, model.largest_factor(&step)), &gradient, single, faults.narrow)?;
        if b + 1 == batches.len() {
            (faults.wide)(&mut gradient.tensors);
            floor = tolerance::floor(gradient.noise);
            let differences = Differences {
                model: &model,
                step: &step,
                tensors: &tensors,
                values: &values,
                floor,
                entries: options.entries,
                seed: options.seed,
            };
            comparisons.push(differences.compare(&crew.team(), loss, &gradient, progress));
        }
        before = model.carry(&step, params, &values);
    }
    comparisons.extend(sets.comparisons);
    Ok(Report {
        passed: comparisons.iter().all(|c| c.tensors.iter().all(|row| row.wrong == 0)),
        parameters: graph.parameter_count(),
        vocabulary: graph.vocabulary(),
        steps,
        rows: options.rows,
        batches: options.batches,
        seed: options.seed,
        loss_scale: options.loss_scale,
        rtol: tolerance::RTOL,
        floor: floor / differences::STEP,
        single,
        comparisons,
    })
}

/// Refuses sizes of zero, and other rows than the model declares.
fn check_sizes(graph: &Graph, options: &Options) -> Result<()> {
    for (name, value) in [("rows", options.rows), ("batches", options.batches), ("entries", options.entries)] {
        if value == 0 {
            return Err(Error::usage(format!("the number of {name} must be at least 1")));
        }
    }
    match graph.batch_size().filter(|&declared| declared != options.rows) {
        Some(declared) => {
            let what = format!("{} rows, but the model's batch_size is {declared}", options.rows);
            Err(Error::usage(what).mend("check it with that many rows"))
        }
        None => Ok(()),
    }
}

/// T: as asked for, as the model has it, or 3.
fn time_steps(graph: &Graph, options: &Options) -> Result<usize> {
    match (options.steps, graph.config().input_length) {
        (Some(0), _) => Err(Error::usage("the number of time steps must be at least 1")),
        (Some(asked), Some(length)) if asked != length => {
            let what = format!("{asked} time steps, but the model's input_length is {length}");
            Err(Error::usage(what).mend("leave the number of time steps out"))
        }
        (asked, length) => Ok(asked.or(length).unwrap_or(3)),
    }
}

/// Refuses what would not fit in memory: parameters, gradients and sizes in f64, the changed tensors of every thread,
/// the outputs and their gradients; and a network.
fn fits(graph: &Graph, options: &Options, steps: usize) -> Result<()> {
    let largest = graph.params().iter().map(ParamSpec::len).max().unwrap_or(0);
    let outputs: u64 = graph.nodes().iter().map(|node| node.shape.width() as u64).sum();
    let tokens = steps as u64 * options.rows as u64;
    let f64s = 3 * graph.parameter_count() + options.threads as u64 * largest as u64;
    let source_steps = draw::source_steps(steps);
    let network = NetworkOptions { steps, source_steps, rows: options.rows, ..NetworkOptions::default() };
    let bytes = Network::bytes(graph, &network)? + 8 * (f64s + (2 + options.threads as u64) * tokens * outputs);
    match available_memory() {
        Some(available) if bytes > available => {
            let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
            let what = format!(
                "checking this model takes {:.2} GiB of memory, {:.2} GiB are available",
                gib(bytes),
                gib(available)
            );
            Err(Error::usage(what).mend("use a smaller vocabulary, fewer units or a smaller batch"))
        }
        _ => Ok(()),
    }
}

fn step<'a>(options: &Options, batch: &'a Tokens, b: usize, before: &'a [Vec<Carried>]) -> Step<'a> {
    Step {
        steps: batch.steps,
        rows: options.rows,
        tokens: &batch.inputs,
        axis: Axis::Main,
        other: (batch.source_steps, &batch.source),
        vectors: &batch.vectors,
        targets: &batch.scored,
        key: Key::new(options.seed, Purpose::Dropout).step(b as u64),
        before,
    }
}

/// Draws parameters, again where one stands too near a kink of a relu.
fn draw_params(model: &Model<'_>, options: &Options, batches: &[Tokens], start: &[Vec<Carried>]) -> Vec<Vec<f64>> {
    let steps: Vec<Step<'_>> = batches.iter().enumerate().map(|(b, batch)| step(options, batch, b, start)).collect();
    let draws = (0..16u64).map(|i| draw::params(model.graph, options.seed.wrapping_add(i << 32)));
    let mut draws = draws.peekable();
    loop {
        let tensors = draws.next().unwrap_or_default();
        // The last will do in any case: a kink then shows as a wrong f32 gradient, not as a right one.
        if draws.peek().is_none() || draw::is_steady(model, &tensors, &steps) {
            return tensors;
        }
    }
}

/// The f32 side: a network on each set, with fusions and without.
struct Sets {
    graph: Graph,
    options: NetworkOptions,
    params: Vec<f32>,
    runs: Vec<(Isa, bool, State)>,
    comparisons: Vec<Comparison>,
}

impl Sets {
    fn new(graph: Graph, options: &Options, steps: usize) -> Result<Self> {
        let network = NetworkOptions {
            threads: options.threads,
            steps,
            source_steps: draw::source_steps(steps),
            rows: options.rows,
            seed: options.seed,
            loss_scale: options.loss_scale,
            ..NetworkOptions::default()
        };
        // What a network cannot run is refused here, before anything is computed.
        drop(Network::new(&graph, network.clone())?);
        let runs = options.sets.iter().flat_map(|&isa| [true, false].map(|fused| (isa, fused)));
        let runs: Vec<_> = runs.map(|(isa, fused)| (isa, fused, State::new(&graph, options.rows))).collect();
        let comparison = |(isa, fused, _): &(Isa, bool, State)| Comparison {
            gradient: isa.name().into(),
            against: "f64".into(),
            fused: Some(*fused),
            loss: 0.0,
            tensors: graph.params().iter().map(TensorRow::new).chain([loss_row()]).collect(),
        };
        let comparisons = runs.iter().map(comparison).collect();
        Ok(Self { options: network, params: Vec::new(), runs, comparisons, graph })
    }

    fn set_params(&mut self, graph: &Graph, tensors: &[Vec<f64>]) {
        self.params = vec![0.0; self.graph.arena()];
        for (spec, tensor) in graph.params().iter().zip(tensors) {
            self.params[spec.range.clone()].iter_mut().zip(tensor).for_each(|(p, &x)| *p = x as f32);
        }
    }

    /// One step of every network against the f64 gradient of step `b` and its loss.
    fn compare(
        &mut self,
        graph: &Graph,
        batch: &Tokens,
        (b, loss, factor): (usize, f64, f64),
        gradient: &Gradient,
        single: f64,
        fault: &dyn Fn(&mut [f32]),
    ) -> Result<()> {
        let rows = self.options.rows;
        let vectors: Vec<&[f32]> = batch.narrow.iter().map(|v| &v[..]).collect();
        let batch = Batch {
            steps: batch.steps,
            rows,
            inputs: &batch.inputs,
            vectors: &vectors,
            targets: &batch.targets,
            source_steps: batch.source_steps,
            source: &batch.source,
            ..Batch::default()
        };
        for ((isa, fused, state), comparison) in self.runs.iter_mut().zip(&mut self.comparisons) {
            let no_fuse = if *fused { Vec::new() } else { FUSIONS.map(String::from).to_vec() };
            let mut network = Network::new(&self.graph, NetworkOptions { isa: *isa, no_fuse, ..self.options.clone() })?;
            network.params_mut().copy_from_slice(&self.params);
            let sum = network.train_step(&batch, state, b as u64);
            let (_, narrow) = network.params_and_gradient();
            fault(narrow);
            for (p, spec) in graph.params().iter().enumerate() {
                compare_tensor(
                    spec,
                    narrow,
                    (&gradient.tensors[p], &gradient.sizes[p]),
                    single,
                    &mut comparison.tensors[p],
                );
            }
            comparison.loss = sum.nats * factor;
            // Each position's loss is at least a logarithm of a sum near 1, whose error is absolute.
            let tolerance = single * (loss.abs() + factor * sum.count as f64);
            let finding = Finding::new(b, comparison.loss, loss, tolerance);
            comparison.tensors[graph.params().len()].add(finding);
        }
        Ok(())
    }
}

/// The losses, as if they were a tensor with an entry a step.
fn loss_row() -> TensorRow {
    TensorRow { tensor: "loss".into(), shape: vec![usize::MAX], checked: 0, kinks: 0, wrong: 0, worst: None }
}

fn compare_tensor(spec: &ParamSpec, narrow: &[f32], (wide, sizes): (&[f64], &[f64]), single: f64, row: &mut TensorRow) {
    let narrow = &narrow[spec.range.clone()];
    for (i, ((&claimed, &expected), size)) in narrow.iter().zip(wide).zip(sizes).enumerate() {
        row.add(Finding::new(i, f64::from(claimed), expected, single * size));
    }
}

#[cfg(test)]
mod tests;
