//! A network: a graph with its parameters and a plan to run it, on a crew of threads.
//!
//! A step takes a batch of N rows of T tokens. The rows are split among *replicas*, each with its own activations and
//! gradient; the gradients are added in the order of the replicas. The number of replicas changes the order of sums and
//! so belongs to the configuration of a run; the number of threads does not, and never changes a bit.

mod arenas;
mod batch;
mod head;
mod initial;
mod log_partition;
mod look;
mod memory;
mod options;
mod plan;
mod predict;
mod replica;
mod room;
mod state;
mod unmasked;

pub use batch::Batch;
pub(crate) use head::sampler;
pub use log_partition::{LogPartition, LogPartitions};
pub use look::StateGradient;
pub use memory::{Room, available_memory, require_memory};
pub use options::{LossScale, MOST_THREADS, NetworkOptions};
pub use plan::FUSIONS;
pub(crate) use replica::Replica;
pub use state::{State, StateTensor};

use crate::error::{Error, Result};
use crate::exec::{Crew, Meeting, Profile, Scratch, Team};
use crate::graph::{Axis, Graph, Output};
use crate::layers::{Context, Extent, Objective, PackSet};
use crate::random::{Key, Purpose};
use plan::Plan;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use unmasked::Unmasked;
use unroll_kernels::Buffer;

/// A sum of losses.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossSum {
    /// The sum of -ln p over scored positions.
    pub nats: f64,
    /// How many positions were scored.
    pub count: u64,
}

impl LossSum {
    /// The mean loss, in nats per position.
    pub fn mean(self) -> f64 {
        self.nats / self.count.max(1) as f64
    }
}

impl std::ops::AddAssign for LossSum {
    fn add_assign(&mut self, other: Self) {
        self.nats += other.nats;
        self.count += other.count;
    }
}

/// The purpose of a pass over a batch.
#[derive(Clone, Copy)]
struct Pass {
    /// The training step, by which dropout is keyed.
    step: u64,
    /// Whether there is a backward pass, with the factors that [`Network::set_scales`] found.
    backward: bool,
    objective: Objective,
    /// Whether anything is dropped.
    drops: bool,
}

/// A model with its parameters and threads, which can be trained and run.
pub struct Network {
    graph: Graph,
    options: NetworkOptions,
    params: Buffer,
    packs: PackSet,
    stale: bool,
    /// The training step for which weights with weight dropout are packed.
    dropped: Option<u64>,
    replicas: Vec<Mutex<Replica>>,
    /// For each replica, which positions of each sequence existed in the last step.
    extents: Vec<Mutex<[Extent; 2]>>,
    scratch: Vec<Scratch>,
    crew: Crew,
    /// The factor of each output's losses in the gradient, and their sums in the last step.
    scales: Vec<f32>,
    sums: Vec<LossSum>,
    /// Steps and rows of the last batch.
    last: [usize; 2],
}

impl Network {
    /// The room that [`Self::new`] would need.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] for a fusion that does not exist.
    pub fn room(graph: &Graph, options: &NetworkOptions) -> Result<Room> {
        Ok(Plan::new(graph, options)?.room())
    }

    /// Bytes of memory that [`Self::new`] would allocate.
    ///
    /// # Errors
    ///
    /// As [`Self::room`].
    pub fn bytes(graph: &Graph, options: &NetworkOptions) -> Result<u64> {
        Ok(Self::room(graph, options)?.memory)
    }

    /// Makes a network with initial parameters drawn as the graph says.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] for options out of range, and where the network would not fit in memory: with both figures, and
    /// before anything is allocated. [`Error::Run`] where the system refuses a thread.
    pub fn new(graph: &Graph, options: NetworkOptions) -> Result<Self> {
        Self::with_crew(graph, options, |options| {
            let (threads, teams) = (options.threads, options.replicas);
            let crew = if options.pin { Crew::pinned(threads, teams) } else { Crew::new(threads, teams) };
            crew.map_err(|error| match error.kind() {
                std::io::ErrorKind::Unsupported => {
                    Error::option("--pin", "this system cannot pin threads to cores").mend("leave it out")
                }
                _ => Error::run(format!("cannot start {threads} threads: {error}")),
            })
        })
    }

    /// A network whose calling thread does the work of one of `options.threads` threads ([`Crew::simulated`]). Its
    /// times are realistic; its results are wrong.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn simulated(graph: &Graph, options: NetworkOptions) -> Result<Self> {
        Self::with_crew(graph, options, |options| Ok(Crew::simulated(options.threads)))
    }

    fn with_crew(
        graph: &Graph,
        options: NetworkOptions,
        crew: impl FnOnce(&NetworkOptions) -> Result<Crew>,
    ) -> Result<Self> {
        options.check()?;
        let plan = Plan::new(graph, &options)?;
        require_memory("the model", plan.room())?;
        let replicas = (0..options.replicas).map(|_| Ok(Mutex::new(plan.replica()?))).collect::<Result<Vec<_>>>()?;
        let extents = replicas.iter().map(|_| Mutex::new(plan.extents())).collect();
        let packs = PackSet::new((options.isa, options.precision), plan.packs(), plan.other_packs());
        let crew = crew(&options)?;
        let members = options.threads.div_ceil(options.replicas.min(options.threads));
        let mut network = Self {
            params: options.home.arena(if options.own_params { graph.arena() } else { 0 })?,
            scales: vec![0.0; graph.outputs().len()],
            sums: vec![LossSum::default(); graph.outputs().len()],
            last: [0; 2],
            scratch: (0..options.replicas).map(|_| Scratch::new(members, options.isa, options.precision)).collect(),
            graph: graph.clone(),
            packs,
            stale: true,
            dropped: None,
            replicas,
            extents,
            crew,
            options,
        };
        if network.options.pin {
            // All else is written first by those who work on it.
            let team = network.crew.team();
            let products = network.options.products(&team, &network.scratch[0]);
            products.by_blocks(&mut network.params, 4096, |_, part| part.fill(0.0));
        }
        if network.options.own_params {
            network.initialize();
        }
        Ok(network)
    }

    /// Draws all parameters again from the seed.
    pub fn initialize(&mut self) {
        self.stale = true;
        let team = self.crew.team();
        let products = self.options.products(&team, &self.scratch[0]);
        for (i, spec) in self.graph.params().iter().enumerate() {
            let key = Key::new(self.options.seed, Purpose::Init).layer(i);
            initial::initialize(products, spec, key, &mut self.params[spec.range.clone()]);
        }
    }

    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }
    /// The options it runs with.
    pub fn options(&self) -> &NetworkOptions {
        &self.options
    }
    /// All threads.
    pub fn team(&self) -> Team<'_> {
        self.crew.team()
    }
    /// Starts to profile all threads, including the calling one.
    pub fn start_profile(&mut self) {
        self.crew.start_profile();
    }
    /// Ends what [`Self::start_profile`] began on the same thread; `None` if it did not.
    pub fn take_profile(&mut self) -> Option<Profile> {
        self.crew.take_profile()
    }
    /// The crew's [`Crew::meet_at`].
    pub fn meet_at(&self, meeting: Arc<Meeting>) {
        self.crew.meet_at(meeting);
    }
    /// The crew's [`Crew::take_counts`].
    pub fn take_counts(&self) -> [usize; 2] {
        self.crew.take_counts()
    }
    /// The zero state of `rows` rows.
    pub fn new_state(&self, rows: usize) -> State {
        State::new(&self.graph, rows)
    }

    /// One training step up to the gradient, which [`Self::gradient`] then returns. `state` is read and updated; `step`
    /// keys the dropout masks.
    ///
    /// # Panics
    ///
    /// Where [`Batch::check`] refuses the batch, or `state` is for other rows.
    #[track_caller]
    pub fn train_step(&mut self, batch: &Batch<'_>, state: &mut State, step: u64) -> LossSum {
        self.try_train_step(batch, state, step).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same; what it panics at is an error.
    pub(crate) fn try_train_step(&mut self, batch: &Batch<'_>, state: &mut State, step: u64) -> Result<LossSum> {
        if !self.options.training {
            let error = Error::usage("this network was made without room for gradients");
            return Err(error.mend("set NetworkOptions::training"));
        }
        self.check(batch, state)?;
        let mean = self.set_scales(batch);
        let objective = self.objective(batch, mean);
        let sum = self.run(batch, state, Pass { step, backward: true, objective, drops: true });
        self.reduce();
        Ok(sum)
    }

    /// The losses of a batch without training and without dropout. `state` is read and updated.
    ///
    /// # Panics
    ///
    /// As [`Self::train_step`].
    #[track_caller]
    pub fn evaluate(&mut self, batch: &Batch<'_>, state: &mut State) -> LossSum {
        self.try_evaluate(batch, state).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same; what it panics at is an error.
    pub(crate) fn try_evaluate(&mut self, batch: &Batch<'_>, state: &mut State) -> Result<LossSum> {
        self.check(batch, state)?;
        Ok(self.run(batch, state, Pass { step: 0, backward: false, objective: Objective::default(), drops: false }))
    }

    /// Statistics of ln Z of the scores in the evaluations since the last training step.
    pub fn log_partitions(&mut self) -> LogPartitions {
        let noted = self.replicas.iter_mut().map(|replica| lock_mut(replica).log_partitions().collect());
        LogPartitions::new(self.graph.outputs(), noted)
    }

    /// Sets the factor of each output's losses in the gradient of a batch; returns that which turns the first output's
    /// losses into their mean, or sum.
    fn set_scales(&mut self, batch: &Batch<'_>) -> f32 {
        let mut scales = std::mem::take(&mut self.scales);
        let factor = |count| self.options.loss_scale.factor(batch.rows, count);
        let mut first = None;
        for (scale, (output, count)) in scales.iter_mut().zip(self.scored(batch)) {
            *scale = output.weight() * factor(count);
            first.get_or_insert(factor(count) * count as f32);
        }
        self.scales = scales;
        first.unwrap_or_default()
    }

    /// How many targets of each output are scored in a batch.
    fn scored<'a>(&'a self, batch: &'a Batch<'a>) -> impl Iterator<Item = (&'a Output, u64)> {
        let unmasked = self.unmasked(batch)[0];
        self.graph.targets(batch.steps, batch.rows).map(move |(output, range)| {
            let targets = batch.targets.get(range).unwrap_or_default().iter().enumerate();
            let targets = targets.filter(|&(_, &t)| t != unroll_kernels::softmax::IGNORE);
            let count = match unmasked.filter(|_| output.is_sequence()) {
                Some(unmasked) => targets.filter(|&(at, _)| unmasked.contains(at)).count(),
                None => targets.count(),
            };
            (output, count as u64)
        })
    }

    /// Which positions of each sequence of a batch are not masked; `None` where none is.
    fn unmasked<'a>(&'a self, batch: &Batch<'a>) -> [Option<Unmasked<'a>>; 2] {
        Axis::ALL.map(|axis| Unmasked::new(&self.graph, axis, batch, &self.params))
    }

    /// The losses of the last step, one per target in the batch's order, 0 where not scored.
    pub fn losses(&mut self, out: &mut [f32]) {
        out.fill(0.0);
        let last = self.last;
        for (replica, extent) in self.replicas.iter_mut().zip(&mut self.extents) {
            lock_mut(replica).losses(&lock_mut(extent)[0], last, out);
        }
    }

    /// Whether the network can be run on this batch from this state.
    pub(crate) fn check(&self, batch: &Batch<'_>, state: &State) -> Result<()> {
        batch.check(&self.graph, &self.options)?;
        if self.params.len() < self.graph.arena() {
            let error = Error::usage("the network was made without parameters and was lent none");
            return Err(error.mend("set NetworkOptions::own_params, or run it by Speaker::speak_as"));
        }
        if state.rows() != batch.rows {
            let what = format!("a state of {} rows for a batch of {}", state.rows(), batch.rows);
            return Err(Error::usage(what).mend("take one from Network::new_state for as many rows"));
        }
        if !state.fits(&self.graph) {
            return Err(Error::usage("a state of another model").mend("take one from Network::new_state"));
        }
        Ok(())
    }

    /// [`Self::check`], for calls that return no error.
    #[track_caller]
    fn require(&self, batch: &Batch<'_>, state: &State) {
        self.check(batch, state).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Packs the recurrent weights if parameters have changed, or if other weights are dropped than before: those of
    /// training step `step`, or none.
    fn refresh(&mut self, step: Option<u64>) {
        let (changed, step) = (std::mem::take(&mut self.stale), step.filter(|_| self.packs.drops()));
        if changed || step != self.dropped {
            self.dropped = step;
            let team = self.crew.team();
            let products = self.options.products(&team, &self.scratch[0]);
            let dropping = step.map(|step| Key::new(self.options.seed, Purpose::Dropout).step(step));
            self.packs.pack(products, &self.params, (self.options.training, changed), dropping);
        }
    }

    /// What layers that add to the objective of this batch need, if there are any.
    fn objective(&self, batch: &Batch<'_>, mean: f32) -> Objective {
        if !self.graph.regularizes() {
            return Objective::default();
        }
        let (steps, rows, [unmasked, _]) = (batch.steps, batch.rows, self.unmasked(batch));
        let length =
            |n: usize| (0..steps).filter(|t| unmasked.is_none_or(|unmasked| unmasked.contains(t * rows + n))).count();
        let (positions, pairs) =
            (0..rows).map(length).fold((0, 0), |(all, pairs), n| (all + n, pairs + n.saturating_sub(1)));
        Objective { mean, positions, pairs }
    }

    fn run(&mut self, batch: &Batch<'_>, state: &mut State, pass: Pass) -> LossSum {
        let Pass { step, backward, objective, drops } = pass;
        self.refresh(drops.then_some(step));
        self.last = [batch.steps, batch.rows];
        let (o, carried, unmasked) = (&self.options, &*state, self.unmasked(batch));
        let scales = backward.then_some(&self.scales[..]);
        self.crew.replicas(o.replicas, |r, team| {
            let (mut replica, mut extents) = (lock(&self.replicas[r]), lock(&self.extents[r]));
            let rows = part(batch.rows, o.replicas, r);
            replica.take(batch, rows.clone(), &mut extents, unmasked);
            let [extent, other] = &*extents;
            let nothing = rows.is_empty();
            let ctx = Context {
                team,
                isa: o.isa,
                precision: o.precision,
                scratch: &self.scratch[r],
                dims: extent.dims(),
                extent,
                other,
                params: &self.params,
                packs: &self.packs,
                training: drops,
                key: Key::new(o.seed, Purpose::Dropout).step(step),
                first_row: rows.start,
                batch_rows: batch.rows,
                objective,
            };
            if nothing {
                return replica.rest(&ctx);
            }
            replica.forward(&ctx, carried);
            replica.finish(&ctx, scales);
        });
        self.sums.fill(LossSum::default());
        for (replica, extents) in self.replicas.iter_mut().zip(&mut self.extents) {
            let replica = lock_mut(replica);
            self.sums.iter_mut().zip(replica.sums()).for_each(|(sum, of_replica)| *sum += of_replica);
            if !replica.rows.is_empty() {
                replica.carry(lock_mut(extents), state);
            }
        }
        self.total(batch.rows)
    }

    /// The losses of all outputs as the one number that is minimised. Of several outputs it is the sum of their means
    /// (or sums) by their weights, times the number of targets of the output that has most.
    fn total(&self, rows: usize) -> LossSum {
        let outputs = self.graph.outputs();
        if let ([sum], [output]) = (&self.sums[..], outputs) {
            return LossSum { nats: sum.nats * f64::from(output.weight()), count: sum.count };
        }
        let factor = |count| f64::from(self.options.loss_scale.factor(rows, count));
        let count = self.sums.iter().map(|sum| sum.count).max().unwrap_or(0);
        let part = |(sum, output): (&LossSum, &Output)| f64::from(output.weight()) * factor(sum.count) * sum.nats;
        LossSum { nats: self.sums.iter().zip(outputs).map(part).sum::<f64>() / factor(count), count }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers: Vec<&str> = self.graph.nodes().iter().map(|node| node.name.as_str()).collect();
        f.debug_struct("Network").field("layers", &layers).field("options", &self.options).finish_non_exhaustive()
    }
}

/// The rows of replica `r` of `replicas`.
fn part(rows: usize, replicas: usize, r: usize) -> Range<usize> {
    let size = rows.div_ceil(replicas);
    (r * size).min(rows)..((r + 1) * size).min(rows)
}

fn lock<T>(of_replica: &Mutex<T>) -> MutexGuard<'_, T> {
    of_replica.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lock_mut<T>(of_replica: &mut Mutex<T>) -> &mut T {
    of_replica.get_mut().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
