//! The standard cases: models, sizes and optimisers, and how a step of each is timed.

use super::{median, peak_memory};
use crate::error::{Error, Result};
use crate::exec::{Meeting, Profile};
use crate::graph::{Graph, ModelConfig};
use crate::network::{Batch, LossScale, Network, NetworkOptions, State};
use crate::random::{Key, Purpose};
use crate::train::{Optimizer, OptimizerOptions, Rule, StepAt, Stepped, step};
use std::sync::Arc;
use std::time::{Duration, Instant};
use unroll_kernels::Isa;
use unroll_kernels::gemm::Precision;
use unroll_kernels::profile::{self, Phase};

/// A recurrent language model as the cases describe them.
struct Lm {
    name: &'static str,
    cell: &'static str,
    vocabulary: usize,
    /// 0: one-hot.
    embedding: usize,
    hidden: usize,
    layers: usize,
    rows: usize,
    steps: usize,
}

const LMS: [Lm; 5] = [
    Lm { name: "char256", cell: "lstm", vocabulary: 65, embedding: 0, hidden: 256, layers: 2, rows: 50, steps: 50 },
    Lm { name: "char512", cell: "lstm", vocabulary: 65, embedding: 0, hidden: 512, layers: 2, rows: 64, steps: 100 },
    Lm {
        name: "word650",
        cell: "lstm",
        vocabulary: 10_000,
        embedding: 650,
        hidden: 650,
        layers: 2,
        rows: 20,
        steps: 35,
    },
    Lm { name: "gru650", cell: "gru", vocabulary: 10_000, embedding: 650, hidden: 650, layers: 2, rows: 20, steps: 35 },
    Lm {
        name: "minchar",
        cell: "simple_rnn",
        vocabulary: 65,
        embedding: 0,
        hidden: 100,
        layers: 1,
        rows: 1,
        steps: 25,
    },
];

/// Every case by name.
const NAMES: [&str; 11] =
    ["char256", "char512", "word650", "gru650", "minchar", "bilstm", "ragged", "nnlm32", "nnlm256", "gen512", "gen650"];

/// What is timed.
#[derive(Clone, Debug)]
pub struct Case {
    name: String,
    model: ModelConfig,
    vocabulary: usize,
    rows: usize,
    steps: usize,
    /// Words of each row, where the rows of a batch are padded.
    lengths: Option<Vec<usize>>,
    task: Task,
    optimizer: OptimizerOptions,
    lr: f32,
}

/// What a step does, and what is counted a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// A training step of a language model: tokens.
    Train,
    /// A training step with one target a row: rows, or the words of all rows where they are padded.
    Classify,
    /// One token at a time, sampled: tokens.
    Generate,
}

/// A model of one's own, as a case.
#[derive(Clone, Debug)]
pub struct OwnModel {
    /// What the case is called.
    pub name: String,
    /// The model.
    pub model: ModelConfig,
    /// V
    pub vocabulary: usize,
    /// N
    pub rows: usize,
    /// T
    pub steps: usize,
    /// The optimiser.
    pub optimizer: OptimizerOptions,
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

/// The tokens of a bench: N endless streams drawn uniformly at random.
///
/// Token `p` of stream `n` is a function of the two, so that a corpus with the same tokens can be written and trained on.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Tokens are below this.
    pub vocabulary: usize,
}

impl Stream {
    /// Token `position` of stream `row`.
    pub fn token(self, row: usize, position: u64) -> u32 {
        Key::new(1, Purpose::Bench).layer(row).below(position, self.vocabulary as u64) as u32
    }

    /// Fills inputs and next tokens, each (T, N), of batch `index`.
    pub fn batch(self, index: u64, rows: usize, inputs: &mut [u32], targets: &mut [u32]) {
        let steps = inputs.len() / rows;
        for t in 0..steps {
            for n in 0..rows {
                let position = index * steps as u64 + t as u64;
                inputs[t * rows + n] = self.token(n, position);
                if t * rows + n < targets.len() {
                    targets[t * rows + n] = self.token(n, position + 1);
                }
            }
        }
    }
}

impl Case {
    /// The names of all cases.
    pub fn names() -> &'static [&'static str] {
        &NAMES
    }

    /// The training of a model of one's own: `rows` streams of `steps` steps, of random tokens.
    ///
    /// # Errors
    ///
    /// As [`Graph::new`].
    pub fn of_model(model: OwnModel) -> Result<Self> {
        let OwnModel { name, model, vocabulary, rows, steps, optimizer } = model;
        let sequence = Graph::new(&model, vocabulary)?.is_sequence();
        let task = if sequence { Task::Train } else { Task::Classify };
        Ok(Self { name, model, vocabulary, rows, steps, lengths: None, task, optimizer, lr: 0.0 })
    }

    /// The case of this name, changed as the options say.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] for an unknown name, with those that are known.
    pub fn new(name: &str, options: &CaseOptions) -> Result<Self> {
        let (base, task) = match name {
            "gen512" => ("char512", Task::Generate),
            "gen650" => ("word650", Task::Generate),
            other => (other, Task::Train),
        };
        let mut case = match base {
            "bilstm" => bilstm(200, options)?,
            "ragged" => bilstm(600, options)?,
            "nnlm32" => nnlm(32)?,
            "nnlm256" => nnlm(256)?,
            _ => match LMS.iter().find(|lm| lm.name == base) {
                Some(lm) => language_model(lm, options)?,
                None => {
                    let known = NAMES.join(", ");
                    return Err(
                        Error::usage(format!("no case is named `{name}`")).mend(format!("known: {known}, gemm:MxKxN"))
                    );
                }
            },
        };
        name.clone_into(&mut case.name);
        case.rows = options.rows.unwrap_or(case.rows);
        if task == Task::Generate {
            case.task = task;
            (case.rows, case.steps) = (1, 1);
        } else if case.task == Task::Train {
            case.steps = options.steps.unwrap_or(case.steps);
        }
        case.lengths = (name == "ragged").then(|| ragged_lengths(case.rows, case.steps));
        Ok(case)
    }

    /// The tokens that the case trains on.
    pub fn stream(&self) -> Stream {
        Stream { vocabulary: self.vocabulary }
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
        Network::new(&Graph::new(&self.model, self.vocabulary)?, self.network_options(options))
    }

    fn network_options(&self, options: &CaseOptions) -> NetworkOptions {
        NetworkOptions {
            threads: options.threads,
            pin: options.pin,
            isa: options.isa,
            precision: options.precision,
            steps: self.steps,
            rows: self.rows,
            training: self.task != Task::Generate,
            loss_scale: if self.name == "minchar" { LossScale::Sum } else { LossScale::Mean },
            ..NetworkOptions::default()
        }
    }

    /// The case in training by a thread that does what one of `options.threads` threads would do: see
    /// [`Network::posing`].
    ///
    /// # Errors
    ///
    /// As [`Self::training`].
    pub(super) fn posing(&self, options: &CaseOptions) -> Result<Training<'_>> {
        self.check_trains()?;
        let graph = Graph::new(&self.model, self.vocabulary)?;
        Ok(Training::new(self, Network::posing(&graph, self.network_options(options))?))
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
        Self { rows, ..self }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The number of parameters.
    pub(super) fn parameters(&self) -> Result<usize> {
        Ok(Graph::new(&self.model, self.vocabulary)?.arena())
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
    /// As [`Network::new`].
    pub fn run(&self, options: &CaseOptions) -> Result<Outcome> {
        let mut network = self.network(options)?;
        let arena = 4 * network.params().len() as u64;
        let (time, count, profile) = match self.task {
            Task::Generate => {
                let (time, count) = self.time_generation(&mut network, options);
                (time, count, network.take_profile())
            }
            _ => {
                let mut training = Training::new(self, network);
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
        let own = if self.task == Task::Generate { arena } else { 2 * arena };
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        Ok(Outcome {
            case: self.name.clone(),
            precision: options.precision.to_string(),
            threads: options.threads,
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
        let mut training = Training::new(self, self.network(options)?);
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

    fn time_generation(&self, network: &mut Network, options: &CaseOptions) -> (Duration, usize) {
        const TOKENS: usize = 50;
        let key = Key::new(1, Purpose::Sample);
        let (mut state, mut token, mut drawn) = (network.new_state(1), 0u32, 0u64);
        if options.profile {
            network.start_profile();
        }
        let start = Instant::now();
        let time = median(options.length, || {
            for _ in 0..TOKENS {
                let logits = network.logits(&[token], 1, &mut state);
                token = draw(logits.row(0), key.uniform_f64(drawn));
                drawn += 1;
            }
        });
        debug_assert!(start.elapsed() >= time);
        (time, TOKENS)
    }

    /// Floating-point operations of the products for each thing counted: forward, and twice that for backward.
    fn flops(&self) -> Result<f64> {
        let graph = Graph::new(&self.model, self.vocabulary)?;
        let kernels = graph.params().iter().filter(|p| p.shape.len() == 2 && !p.name.ends_with("bias"));
        let one_hot = graph.nodes().first().is_some_and(|node| node.config.kind() == "one_hot");
        // Look-ups are no products: tables, and the kernel behind a one-hot input.
        let products = kernels.enumerate().filter(|(i, p)| !(p.name.ends_with("embeddings") || one_hot && *i == 0));
        let times = |name: &str| match (&self.lengths, self.task == Task::Classify && name.contains("bidirectional")) {
            (None, true) => self.steps as f64,
            // What is counted is words, of which a text has some.
            (Some(_), false) => self.rows as f64 / self.counted() as f64,
            _ => 1.0,
        };
        let sum: f64 = products.map(|(_, p)| 2.0 * p.len() as f64 * times(&p.name)).sum();
        Ok(sum * if self.task == Task::Generate { 1.0 } else { 3.0 })
    }
}

/// A case in training: the same step that the trainer makes.
pub struct Training<'a> {
    case: &'a Case,
    network: Network,
    optimizer: Optimizer,
    state: State,
    inputs: Vec<u32>,
    targets: Vec<u32>,
    mask: Option<Vec<bool>>,
    done: u64,
}

impl<'a> Training<'a> {
    fn new(case: &'a Case, network: Network) -> Self {
        let tokens = case.steps * case.rows;
        Self {
            optimizer: Optimizer::new(network.options().isa, case.optimizer.clone(), network.params().len()),
            state: network.new_state(case.rows),
            inputs: vec![0; tokens],
            targets: vec![0; if case.task == Task::Classify { case.rows } else { tokens }],
            mask: case.lengths.as_ref().map(|lengths| {
                let lengths = lengths.iter();
                (0..case.steps).flat_map(|t| lengths.clone().map(move |&length| t < length)).collect()
            }),
            network,
            case,
            done: 0,
        }
    }

    pub(super) fn start_profile(&mut self, options: &CaseOptions) {
        if options.profile {
            self.network.start_profile();
        }
    }

    /// Where the time went since the first step, if the options asked for it.
    pub fn take_profile(&mut self) -> Option<Profile> {
        self.network.take_profile()
    }

    /// [`Network::meet_at`] of the case's network.
    pub(super) fn meet_at(&self, meeting: Arc<Meeting>) {
        self.network.meet_at(meeting);
    }

    /// [`Network::take_posed`] of the case's network.
    pub(super) fn take_posed(&self) -> [usize; 2] {
        self.network.take_posed()
    }

    /// One step; returns its mean loss.
    pub fn step(&mut self) -> f64 {
        let (steps, rows) = (self.case.steps, self.case.rows);
        {
            let _span = profile::enter(Phase::Data);
            self.case.stream().batch(self.done, rows, &mut self.inputs, &mut self.targets);
            if self.case.vocabulary == BILSTM_WORDS {
                self.targets.iter_mut().for_each(|t| *t %= 2);
            }
        }
        self.done += 1;
        let batch = Batch {
            steps,
            rows,
            inputs: &self.inputs,
            targets: &self.targets,
            mask: self.mask.as_deref(),
            ..Batch::default()
        };
        let at = StepAt { number: self.done, lr: self.case.lr };
        match step(&mut self.network, &mut self.optimizer, &batch, &mut self.state, at) {
            Ok(Stepped::Done { loss, .. } | Stepped::LossNotFinite(loss)) => loss.mean(),
            Ok(Stepped::GradientNotFinite) | Err(_) => f64::NAN,
        }
    }
}

/// A token drawn from the softmax of `logits` by the inverse of its distribution.
fn draw(logits: &[f32], uniform: f64) -> u32 {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |z: f32| f64::from((z - top).exp());
    let total: f64 = logits.iter().map(|&z| weight(z)).sum();
    let mut left = uniform * total;
    for (i, &z) in logits.iter().enumerate() {
        left -= weight(z);
        if left < 0.0 {
            return i as u32;
        }
    }
    logits.len() as u32 - 1
}

const BILSTM_WORDS: usize = 1_000;

/// Words of a review of the IMDB set's 25,000 for training (Maas et al. 2011), parted at white space: the least, then each
/// twentieth part of them, and the most. On average they have 234.
const QUANTILES: [usize; 21] =
    [10, 64, 91, 110, 120, 127, 134, 142, 151, 162, 174, 188, 206, 227, 252, 284, 325, 376, 458, 598, 2470];

/// Lengths of `rows` texts as they are drawn from the IMDB set, in no order, cut at `most`.
fn ragged_lengths(rows: usize, most: usize) -> Vec<usize> {
    let length = |n: usize| {
        // The middle of the n-th of as many parts as there are rows.
        let at = (n as f64 + 0.5) / rows as f64 * (QUANTILES.len() - 1) as f64;
        let (below, above) = (QUANTILES[at as usize], QUANTILES[at as usize + 1]);
        (below as f64 + at.fract() * (above - below) as f64) as usize
    };
    let mut lengths: Vec<usize> = (0..rows).map(|n| length(n).min(most)).collect();
    let key = Key::new(2, Purpose::Bench);
    for n in (1..rows).rev() {
        lengths.swap(n, key.below(n as u64, n as u64 + 1) as usize);
    }
    lengths
}

fn parse(text: &str) -> Result<ModelConfig> {
    toml::from_str(text).map_err(|e| Error::run(format!("a case's model: {e}")))
}

fn language_model(lm: &Lm, options: &CaseOptions) -> Result<Case> {
    let hidden = options.hidden.unwrap_or(lm.hidden);
    let mut text = match lm.embedding {
        0 => "[[layers]]\ntype = \"one_hot\"\n".to_owned(),
        // The embedding of these models is as wide as their hidden layers.
        _ => format!("[[layers]]\ntype = \"embedding\"\noutput_dim = {hidden}\n"),
    };
    for _ in 0..lm.layers {
        let cell = lm.cell;
        text += &format!("[[layers]]\ntype = \"{cell}\"\nunits = {hidden}\nreturn_sequences = true\nstateful = true\n");
    }
    text += "[[layers]]\ntype = \"dense\"\nactivation = \"softmax\"\n";
    let minchar = lm.name == "minchar";
    let rule = if minchar { Rule::Adagrad { epsilon: 1e-8, epsilon_inside: true } } else { Rule::Sgd };
    let (clip_norm, clip_value) = if minchar { (None, Some(5.0)) } else { (Some(5.0), None) };
    Ok(Case {
        name: lm.name.to_owned(),
        model: parse(&text)?,
        vocabulary: lm.vocabulary,
        rows: lm.rows,
        steps: lm.steps,
        lengths: None,
        task: Task::Train,
        optimizer: OptimizerOptions { rule, clip_norm, clip_value },
        lr: 0.1,
    })
}

fn bilstm(steps: usize, options: &CaseOptions) -> Result<Case> {
    let hidden = options.hidden.unwrap_or(64);
    let text = format!(
        "loss = \"binary_cross_entropy\"\n[[layers]]\ntype = \"embedding\"\noutput_dim = 64\n\
         [[layers]]\ntype = \"bidirectional\"\nlayer = {{ type = \"lstm\", units = {hidden} }}\n\
         [[layers]]\ntype = \"dense\"\nunits = 64\nactivation = \"relu\"\n\
         [[layers]]\ntype = \"dense\"\nunits = 1\n"
    );
    Ok(Case {
        name: "bilstm".to_owned(),
        model: parse(&text)?,
        vocabulary: BILSTM_WORDS,
        rows: 64,
        steps: options.steps.unwrap_or(steps),
        lengths: None,
        task: Task::Classify,
        optimizer: OptimizerOptions {
            rule: Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
            clip_norm: None,
            clip_value: None,
        },
        lr: 1e-3,
    })
}

fn nnlm(rows: usize) -> Result<Case> {
    let text = "input_length = 6\n[[layers]]\ntype = \"embedding\"\noutput_dim = 100\n\
         [[layers]]\ntype = \"reshape\"\ntarget_shape = [600]\n\
         [[layers]]\ntype = \"dense\"\nname = \"hidden\"\nunits = 60\nactivation = \"tanh\"\n\
         [[layers]]\ntype = \"dense\"\nname = \"pre_output_1\"\n\
         [[layers]]\ntype = \"dense\"\nname = \"pre_output_2\"\ninputs = [\"reshape\"]\n\
         [[layers]]\ntype = \"add\"\ninputs = [\"pre_output_1\", \"pre_output_2\"]\n\
         [[layers]]\ntype = \"activation\"\nactivation = \"softmax\"\n";
    Ok(Case {
        name: "nnlm".to_owned(),
        model: parse(text)?,
        vocabulary: 17_964,
        rows,
        steps: 6,
        lengths: None,
        task: Task::Classify,
        optimizer: OptimizerOptions { rule: Rule::Sgd, clip_norm: None, clip_value: None },
        lr: 0.1,
    })
}
