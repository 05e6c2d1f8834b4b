//! The standard cases, and how a step of each is timed.

use super::models;
use super::training::{Stream, Training};
use super::{median, peak_memory};
use crate::arena::Home;
use crate::error::{Error, Result};
use crate::exec::Profile;
use crate::generate::{Sampler, Sampling};
use crate::graph::{Graph, ModelConfig, Role};
use crate::network::{LossScale, Network, NetworkOptions};
use crate::random::{Key, Purpose};
use crate::train::{OptimizerOptions, Rule};
use std::time::Duration;
use unroll_kernels::Isa;
use unroll_kernels::gemm::Precision;

/// What is timed.
#[derive(Clone, Debug)]
pub struct Case {
    pub(super) name: String,
    pub(super) model: ModelConfig,
    pub(super) vocabulary: usize,
    /// What the targets of each output may be; absent: the tokens of the vocabulary.
    pub(super) classes: Option<Vec<usize>>,
    pub(super) rows: usize,
    pub(super) steps: usize,
    /// Units of its hidden layers, of a standard case.
    pub(super) hidden: Option<usize>,
    /// The options whose sizes it does not take.
    pub(super) fixed: &'static [&'static str],
    /// What the operands of products are rounded to, unless another precision is asked for.
    pub(super) precision: Precision,
    /// Parts of a batch with gradients of their own that its training has.
    pub(super) replicas: usize,
    /// Words of each row, where the rows of a batch are padded.
    pub(super) lengths: Option<Vec<usize>>,
    /// Whether tokens come as often as Zipf's law says, rather than all alike.
    pub(super) zipf: bool,
    pub(super) task: Task,
    pub(super) loss_scale: LossScale,
    pub(super) optimizer: OptimizerOptions,
    pub(super) lr: f32,
}

/// What a step does, and what is counted a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// A training step of a language model: tokens.
    Train,
    /// A training step with one output a row: rows, or the words of all rows where they are padded.
    Classify,
    /// The gradient of random vectors and of all parameters, without an update: rows.
    Gradient {
        /// Elements of a vector.
        width: usize,
    },
    /// One token at a time, sampled: tokens.
    Generate,
}

/// How a case is changed and run.
#[derive(Clone, Debug)]
pub struct CaseOptions {
    /// Threads.
    pub threads: usize,
    /// The instruction set.
    pub isa: Isa,
    /// What the operands of products are rounded to.
    pub precision: Precision,
    /// About how long to time.
    pub length: Duration,
    /// Hidden units in place of the case's own.
    pub hidden: Option<usize>,
    /// Rows in place of the case's own.
    pub rows: Option<usize>,
    /// Time steps in place of the case's own.
    pub steps: Option<usize>,
    /// Whether to say where the time goes.
    pub profile: bool,
    /// Whether each thread is kept on one core.
    pub pin: bool,
    /// Where the arenas live.
    pub home: Home,
}

/// The case as it is, once, on one thread of the best instruction set.
impl Default for CaseOptions {
    fn default() -> Self {
        Self {
            threads: 1,
            isa: Isa::best(),
            precision: Precision::F32,
            length: Duration::ZERO,
            hidden: None,
            rows: None,
            steps: None,
            profile: false,
            pin: false,
            home: Home::Memory,
        }
    }
}

/// The sizes of a case that options may change.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct CaseSizes {
    /// Units of its hidden layers; absent for a model of one's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<usize>,
    /// N
    pub rows: usize,
    /// T
    pub steps: usize,
}

/// What was measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Outcome {
    /// The case.
    pub case: String,
    /// `f32` or `bf16`
    pub precision: String,
    /// Threads used.
    pub threads: usize,
    /// The sizes that options may change.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<CaseSizes>,
    /// The instruction set.
    pub isa: String,
    /// What the case counts, a second: the median over steps after warm-up.
    pub per_s: f64,
    /// Floating-point operations of the products of a step, a second, in 10^9.
    pub gflops: f64,
    /// The most memory the process held, in MiB.
    pub peak_mb: f64,
    /// That beyond weights, inputs and their gradients, in MiB.
    pub extra_mb: f64,
    /// Seconds of the median step.
    pub step_s: f64,
    /// Where the time went, if asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
}

impl Case {
    /// The names of all cases.
    pub fn names() -> &'static [&'static str] {
        &models::NAMES
    }

    /// The training of a language model on `steps` steps of `rows` rows by plain descent, but for what the caller
    /// changes.
    pub(super) fn of(name: &str, model: ModelConfig, vocabulary: usize, [steps, rows]: [usize; 2]) -> Self {
        Self {
            name: name.to_owned(),
            model,
            vocabulary,
            classes: None,
            rows,
            steps,
            hidden: None,
            fixed: &[],
            precision: Precision::F32,
            replicas: 1,
            lengths: None,
            zipf: false,
            task: Task::Train,
            loss_scale: LossScale::Mean,
            optimizer: OptimizerOptions::new(Rule::Sgd),
            lr: 0.0,
        }
    }

    /// The case of this name, changed as the options say.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] for an unknown name, with those that are known; for a size that the case does not take.
    pub fn new(name: &str, options: &CaseOptions) -> Result<Self> {
        let Some(case) = models::find(name, options)? else {
            let known = models::NAMES.join(", ");
            return Err(Error::usage(format!("no case is named `{name}`"))
                .mend(format!("known: {known}, zipf:WORDS:HEAD:RULE, gemm:MxKxN, cbow, skipgram, vocabulary")));
        };
        let given = [("--hidden", options.hidden), ("--batch", options.rows), ("--steps", options.steps)];
        if let Some((option, _)) = given.iter().find(|(option, size)| size.is_some() && case.fixed.contains(option)) {
            return Err(Error::option(option, format!("{name} has its own")).mend("leave it out"));
        }
        let rows = options.rows.unwrap_or(case.rows);
        Ok(case.with_rows(rows))
    }

    /// The tokens that the case trains on.
    pub fn stream(&self) -> Stream {
        Stream { vocabulary: self.vocabulary, zipf: self.zipf }
    }
    /// T and N.
    pub fn sizes(&self) -> (usize, usize) {
        (self.steps, self.rows)
    }
    /// The model.
    pub fn model(&self) -> &ModelConfig {
        &self.model
    }
    /// The optimiser, and its learning rate.
    pub fn optimizer(&self) -> (&OptimizerOptions, f32) {
        (&self.optimizer, self.lr)
    }
    /// What the operands of products are rounded to, unless another precision is asked for.
    pub fn precision(&self) -> Precision {
        self.precision
    }
    /// The size of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The network of this case.
    ///
    /// # Errors
    ///
    /// As [`Network::new`].
    pub fn network(&self, options: &CaseOptions) -> Result<Network> {
        Network::new(&self.graph()?, self.network_options(options))
    }

    /// The graph of its model.
    pub(super) fn graph(&self) -> Result<Graph> {
        match &self.classes {
            Some(classes) => Graph::with_classes(&self.model, self.vocabulary, classes),
            None => Graph::new(&self.model, self.vocabulary),
        }
    }

    fn network_options(&self, options: &CaseOptions) -> NetworkOptions {
        NetworkOptions {
            threads: options.threads,
            pin: options.pin,
            home: options.home.clone(),
            isa: options.isa,
            precision: options.precision,
            steps: self.steps,
            source_steps: self.steps,
            rows: self.rows,
            training: self.task != Task::Generate,
            loss_scale: self.loss_scale,
            ..NetworkOptions::default()
        }
    }

    /// The case in training by a thread that does what one of `options.threads` threads would do: see
    /// [`Network::simulated`].
    ///
    /// # Errors
    ///
    /// As [`Self::training`].
    pub(super) fn simulated(&self, options: &CaseOptions) -> Result<Training<'_>> {
        self.check_trains()?;
        Training::new(self, Network::simulated(&self.graph()?, self.network_options(options))?, true)
    }

    fn check_trains(&self) -> Result<()> {
        match self.task {
            Task::Generate => {
                let what = format!("{} generates and does not train", self.name);
                Err(Error::usage(what).mend("choose a case that trains"))
            }
            _ => Ok(()),
        }
    }

    /// The case with other rows.
    pub(super) fn with_rows(self, rows: usize) -> Self {
        let lengths = self.lengths.map(|_| models::ragged_lengths(rows, self.steps));
        Self { rows, lengths, ..self }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The number of parameters.
    pub(super) fn parameters(&self) -> Result<usize> {
        Ok(self.graph()?.arena())
    }
    /// What is counted in a step.
    pub(super) fn counted(&self) -> usize {
        match &self.lengths {
            Some(lengths) => lengths.iter().sum(),
            None if self.task == Task::Train => self.steps * self.rows,
            None => self.rows,
        }
    }

    /// Times the case.
    ///
    /// # Errors
    ///
    /// As [`Network::new`], and [`Sampler::choose`] of a case that generates.
    pub fn run(&self, options: &CaseOptions) -> Result<Outcome> {
        let mut network = self.network(options)?;
        let arena = 4 * network.params().len() as u64;
        let (time, count, profile) = match self.task {
            Task::Generate => {
                let (time, count) = self.time_generation(&mut network, options)?;
                (time, count, network.take_profile())
            }
            _ => {
                let mut training = Training::new(self, network, false)?;
                // After two steps everything has its place in memory; then the profile begins anew.
                training.step();
                training.step();
                training.start_profile(options);
                let time = median(options.length, || {
                    training.step();
                });
                (time, self.counted(), training.take_profile())
            }
        };
        let (seconds, peak) = (time.as_secs_f64(), peak_memory());
        let own = match self.task {
            Task::Generate => arena,
            Task::Gradient { width } => 2 * (arena + 4 * (self.rows * width) as u64),
            _ => 2 * arena,
        };
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        Ok(Outcome {
            case: self.name.clone(),
            precision: options.precision.to_string(),
            threads: options.threads,
            sizes: Some(CaseSizes { hidden: self.hidden, rows: self.rows, steps: self.steps }),
            isa: options.isa.name().to_owned(),
            per_s: count as f64 / seconds,
            gflops: self.flops()? * count as f64 / seconds / 1e9,
            peak_mb: mib(peak),
            extra_mb: mib(peak.saturating_sub(own)),
            step_s: seconds,
            profile,
        })
    }

    /// The case ready to be trained a step at a time.
    ///
    /// # Errors
    ///
    /// As [`Network::new`]; [`Error::Usage`] for a case that does not train.
    pub fn training(&self, options: &CaseOptions) -> Result<Training<'_>> {
        self.check_trains()?;
        let mut training = Training::new(self, self.network(options)?, false)?;
        training.start_profile(options);
        Ok(training)
    }

    /// The losses of the first `count` steps, in nats a target.
    ///
    /// # Errors
    ///
    /// As [`Network::new`]; [`Error::Usage`] for a case that does not train.
    pub fn losses(&self, options: &CaseOptions, count: usize) -> Result<Vec<f64>> {
        let mut training = self.training(options)?;
        Ok((0..count).map(|_| training.step()).collect())
    }

    /// The time of some tokens, each chosen by the sampler of `unroll generate` as it chooses unless told otherwise;
    /// and how many.
    fn time_generation(&self, network: &mut Network, options: &CaseOptions) -> Result<(Duration, usize)> {
        const TOKENS: usize = 50;
        let (key, mut sampler) = (Key::new(1, Purpose::Sample), Sampler::new(Sampling::default())?);
        let (mut state, mut chosen, mut drawn) = (network.new_state(1), Ok(0), 0u64);
        if options.profile {
            network.start_profile();
        }
        let time = median(options.length, || {
            for _ in 0..TOKENS {
                let Ok(token) = chosen else { return };
                let logits = network.logits(&[token], 1, &mut state);
                chosen = sampler.choose(logits.row(0), key.uniform_f64(drawn));
                drawn += 1;
            }
        });
        chosen?;
        Ok((time, TOKENS))
    }

    /// Floating-point operations of the products for each thing counted: forward, and twice that for backward.
    fn flops(&self) -> Result<f64> {
        let graph = self.graph()?;
        // Of a head that reads some words a step, what it reads is not known here.
        let kernels = graph
            .params()
            .iter()
            .filter(|p| p.shape.len() == 2 && !p.name.ends_with("bias") && p.role != Role::WordKernel);
        let one_hot = graph.nodes().first().is_some_and(|node| node.config.kind() == "one_hot");
        // Look-ups are no products: tables, and the kernel behind a one-hot input.
        let products = kernels.enumerate().filter(|(i, p)| !(p.name.ends_with("embeddings") || one_hot && *i == 0));
        let one_target = self.task == Task::Classify;
        let times = |name: &str| match (&self.lengths, one_target && name.contains("bidirectional")) {
            (None, true) => self.steps as f64,
            // What is counted is words, of which a text has some.
            (Some(_), false) => self.rows as f64 / self.counted() as f64,
            _ => 1.0,
        };
        let sum: f64 = products.map(|(_, p)| 2.0 * p.len() as f64 * times(&p.name)).sum();
        Ok(sum * if self.task == Task::Generate { 1.0 } else { 3.0 })
    }
}
