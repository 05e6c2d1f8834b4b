//! `unroll bench`: the standard cases, and what this machine can do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use unroll::bench::{
    Case, CaseOptions, CaseSizes, DataSizes, Machine, Outcome, Shape, peak_memory, time_product, time_vocabulary,
    time_word_vectors,
};
use unroll::error::{Error, Result};
use unroll::report::{self, Align, Out, Table, count, json_line};
use unroll::vectors::train::Model;
use unroll_kernels::Isa;
use unroll_kernels::gemm::Precision;

use crate::options::precision;
use crate::plan;
use crate::scratch::Scratch;
use crate::train::threads;

/// Times a standard case, or measures what this machine can do.
///
/// A step is a complete training step (forward, loss, backward, clipping, update), run by the function that `unroll train`
/// calls, on tokens drawn uniformly at random for each step. The median step is reported.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  unroll bench\n  unroll bench char256 --json\n  unroll bench gemm:700x650x10000 --threads 1\n  \
    unroll bench --plan word650 --cores 16\n\
    \nCases: char256, char512, word650, gru650 (language models), minchar (min-char-rnn), bilstm (a classifier),\n\
    ragged (the same on texts of very different lengths, words), nnlm32, nnlm256 (Bengio's model),\n\
    head10k, head100k (a dense layer and the softmax over so many words, forward and backward),\n\
    gen512, gen650 (text, one token at a time),\n\
    zipf:WORDS:HEAD:RULE (a word model of 256 units with Zipf's words), gemm:MxKxN (one product),\n\
    cbow, skipgram (word vectors: two passes over --corpus with word2vec's defaults, words read a second),\n\
    vocabulary (that of the words of --corpus, megabytes a second)."
)]
pub(crate) struct Bench {
    /// Case to time; without one: the instruction sets found, peak multiply-add rate, memory bandwidth, and the share of the peak
    /// that each matrix product reaches
    case: Option<String>,
    /// Precision of the operands of matrix products: f32, bf16, and int8 for gen512, gen650 and gemm [default: f32, or that of the configuration]
    #[arg(long, value_name = "WORD", hide_possible_values = true, value_parser = precision())]
    precision: Option<Precision>,
    /// Number of threads [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Approximate time to measure for; with --plan, at most 1.5 for each split [default: 3]
    #[arg(long)]
    seconds: Option<f64>,
    /// Hidden units, instead of the case's own
    #[arg(long, value_name = "H")]
    hidden: Option<usize>,
    /// Rows (streams), instead of the case's own
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Time steps, instead of the case's own
    #[arg(long, value_name = "T")]
    steps: Option<usize>,
    /// Text for cbow, skipgram and vocabulary, one sentence per line
    #[arg(long, value_name = "FILE")]
    corpus: Option<PathBuf>,
    /// Print the losses of the first steps instead of timing [default count: 20]
    #[arg(long, value_name = "COUNT", num_args = 0..=1, default_missing_value = "20")]
    losses: Option<usize>,
    /// Report where the time went: each phase's share of all threads' time
    #[arg(long)]
    profile: bool,
    /// Model the training step of a case, recipe or configuration file on up to --cores cores, and recommend a split into replicas
    /// and threads; the number of replicas changes the bits of the result
    #[arg(long, value_name = "CONFIG", conflicts_with = "case", requires = "cores")]
    plan: Option<String>,
    /// Maximum number of cores to plan for
    #[arg(long, value_name = "N")]
    cores: Option<usize>,
    /// Size of the vocabulary, for the plan of a recipe or file
    #[arg(long, value_name = "V")]
    vocabulary: Option<usize>,
    /// Number of classes, for the plan of a recipe or file that learns labels and does not list them
    #[arg(long, value_name = "C")]
    classes: Option<usize>,
    /// Pin each thread to one core
    #[arg(long)]
    pin: bool,
    /// Keep parameters, gradients and optimiser state in files in this folder
    #[arg(long, value_name = "DIR")]
    memory_map: Option<PathBuf>,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

/// The options that change the sizes of a case.
const SIZES: [&str; 3] = ["--hidden", "--batch", "--steps"];

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        let options = self.options()?;
        if let (Some(name), Some(cores)) = (&self.plan, self.cores) {
            self.only(
                "--plan",
                &[&SIZES[..], &["--precision", "--seconds", "--memory-map", "--cores", "--vocabulary", "--classes"]]
                    .concat(),
            )?;
            if cores > 1024 {
                return Err(Error::option("--cores", format!("must be from 1 to 1024, got {cores}")));
            }
            let data_sizes = DataSizes { vocabulary: self.vocabulary, classes: self.classes };
            let case = plan::find(name, data_sizes, &options)?;
            // Each of many splits is timed: less than a single case would be.
            let length = options.length.min(Duration::from_millis(1500));
            let precision = self.precision.unwrap_or(case.precision());
            return plan::show(&case.plan(cores, &CaseOptions { length, precision, ..options })?, cores, self.json);
        }
        let Some(case) = self.case.as_deref() else {
            self.only("without a case bench", &["--threads", "--seconds"])?;
            return machine(&options, self.json);
        };
        if let Ok(model) = case.parse::<Model>() {
            self.only(case, &["--corpus", "--threads"])?;
            return self.word_vectors(model, &options);
        }
        if case == "vocabulary" {
            self.only(case, &["--corpus", "--threads", "--seconds"])?;
            return self.vocabulary(&options);
        }
        if let Some(shape) = case.strip_prefix("gemm:") {
            self.only(case, &["--precision", "--threads", "--seconds", "--pin"])?;
            return product(case, shape.parse()?, &options, self.json);
        }
        let alike = [&SIZES[..], &["--precision", "--threads", "--pin", "--memory-map"]].concat();
        if let Some(count) = self.losses {
            self.only("--losses", &[&alike[..], &["--losses"]].concat())?;
            return self.first_losses(&Case::new(case, &options)?, count, &options);
        }
        self.only(case, &[&alike[..], &["--seconds", "--profile"]].concat())?;
        self.tell(&Case::new(case, &options)?.run(&options)?, &mut Out::stdout())
    }

    /// Refuses all options except these and --json.
    fn only(&self, what: &str, takes: &[&str]) -> Result<()> {
        let given = [
            ("--precision", self.precision.is_some()),
            ("--threads", self.threads.is_some()),
            ("--seconds", self.seconds.is_some()),
            ("--hidden", self.hidden.is_some()),
            ("--batch", self.batch.is_some()),
            ("--steps", self.steps.is_some()),
            ("--corpus", self.corpus.is_some()),
            ("--losses", self.losses.is_some()),
            ("--profile", self.profile),
            ("--cores", self.cores.is_some()),
            ("--vocabulary", self.vocabulary.is_some()),
            ("--classes", self.classes.is_some()),
            ("--pin", self.pin),
            ("--memory-map", self.memory_map.is_some()),
        ];
        let Some((option, _)) = given.iter().find(|(option, given)| *given && !takes.contains(option)) else {
            return Ok(());
        };
        let mend = match *option {
            "--corpus" => "name cbow, skipgram or vocabulary for it",
            "--cores" | "--vocabulary" | "--classes" => "name what to plan with --plan",
            _ if self.case.is_none() && self.plan.is_none() => "name a case, such as char256",
            _ => "leave it out",
        };
        let takes = takes.join(", ");
        Err(Error::option(option, format!("{what} takes {takes} and --json only")).mend(mend))
    }

    fn options(&self) -> Result<CaseOptions> {
        let seconds = self.seconds.unwrap_or(3.0);
        if !(seconds > 0.0 && seconds <= 3600.0) {
            return Err(Error::option("--seconds", format!("must be in (0, 3600], got {seconds}")));
        }
        let given = [
            ("--hidden", self.hidden),
            ("--batch", self.batch),
            ("--steps", self.steps),
            ("--cores", self.cores),
            ("--vocabulary", self.vocabulary),
            ("--classes", self.classes),
        ];
        if let Some((name, _)) = given.iter().find(|(_, value)| *value == Some(0)) {
            return Err(Error::option(name, "must be at least 1"));
        }
        Ok(CaseOptions {
            threads: threads(self.threads)?,
            isa: Isa::best(),
            precision: self.precision.unwrap_or_default(),
            length: Duration::from_secs_f64(seconds),
            hidden: self.hidden,
            rows: self.batch,
            steps: self.steps,
            profile: self.profile,
            pin: self.pin,
            home: self.memory_map.clone().into(),
        })
    }

    fn first_losses(&self, case: &Case, count: usize, options: &CaseOptions) -> Result<()> {
        let mut out = Out::stdout();
        for (i, loss) in case.losses(options, count)?.into_iter().enumerate() {
            out.line(&if self.json {
                json_line(&json!({ "step": i + 1, "loss": loss }))?
            } else {
                format!("{loss:.9}")
            })?;
        }
        Ok(())
    }

    fn word_vectors(&self, model: Model, options: &CaseOptions) -> Result<()> {
        let corpus = self.text()?;
        let scratch = Scratch::make("bench")?;
        self.tell(&time_word_vectors(model, corpus, scratch.path(), options)?, &mut Out::stdout())
    }

    fn vocabulary(&self, options: &CaseOptions) -> Result<()> {
        let corpus = self.text()?;
        let scratch = Scratch::make("bench")?;
        let rate = time_vocabulary(corpus, scratch.path(), options)?;
        let mut out = Out::stdout();
        if self.json {
            return out.line(&json_line(&rate)?);
        }
        out.line(&format!(
            "{}: {:.0} MB/s, {:.0} words a second, {} threads, {} different of {} words, {:.0} MiB at most",
            rate.case,
            rate.megabytes_per_second,
            rate.per_s,
            rate.threads,
            count(rate.vocabulary as u64),
            count(rate.tokens),
            rate.peak_mb,
        ))
    }

    /// The text of a case that has one.
    fn text(&self) -> Result<&Path> {
        let none = || Error::option("--corpus", "no text was given").mend("name one with one sentence per line");
        self.corpus.as_deref().ok_or_else(none)
    }

    fn tell(&self, outcome: &Outcome, out: &mut Out<std::io::Stdout>) -> Result<()> {
        if self.json {
            return out.line(&json_line(outcome)?);
        }
        if let Some(profile) = &outcome.profile {
            let lines = report::profile(profile, Some(Duration::from_secs_f64(outcome.step_s)));
            lines.iter().try_for_each(|line| out.line(line))?;
        }
        let sizes = match outcome.sizes {
            Some(CaseSizes { hidden, rows, steps })
                if [self.hidden, self.batch, self.steps].iter().any(Option::is_some) =>
            {
                let hidden = hidden.map(|units| format!("{units} units, ")).unwrap_or_default();
                format!(" ({hidden}{rows} rows of {steps} steps)")
            }
            _ => String::new(),
        };
        out.line(&format!(
            "{}{sizes}: {:.0} a second, {:.1} GFLOP/s in products, {}, {} threads, {}, {:.0} MiB at most ({:.0} beyond weights and gradients)",
            outcome.case, outcome.per_s, outcome.gflops, outcome.precision, outcome.threads, outcome.isa, outcome.peak_mb, outcome.extra_mb,
        ))
    }
}

/// Times one product.
fn product(case: &str, shape: Shape, options: &CaseOptions, json: bool) -> Result<()> {
    let Shape { m, k, n } = shape;
    let time = time_product(shape, options)?;
    let gflops = 2.0 * m as f64 * k as f64 * n as f64 / time.as_secs_f64() / 1e9;
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    let (peak, own) = (peak_memory() as f64, 4.0 * (m * k + k * n + m * n) as f64);
    let mut out = Out::stdout();
    if json {
        return out.line(&json_line(&json!({
            "case": case, "precision": options.precision.name(), "threads": options.threads, "isa": options.isa.name(), "per_s": gflops,
            "gflops": gflops, "peak_mb": mib(peak), "extra_mb": mib((peak - own).max(0.0)),
        }))?);
    }
    out.line(&format!(
        "{case}: {gflops:.1} GFLOP/s, {}, {} threads, {}",
        options.precision, options.threads, options.isa
    ))
}

/// Products whose rates stand beside the peak: one of each size that the models have.
const PRODUCTS: [Shape; 5] = [
    Shape { m: 1, k: 512, n: 2048 },
    Shape { m: 20, k: 650, n: 2600 },
    Shape { m: 50, k: 256, n: 1024 },
    Shape { m: 64, k: 512, n: 2048 },
    Shape { m: 700, k: 650, n: 10_000 },
];

/// Shows what this machine can do.
fn machine(options: &CaseOptions, json: bool) -> Result<()> {
    let length = options.length.min(Duration::from_millis(500));
    let machine = Machine::measure(options.threads, length)?;
    let mut products = Vec::new();
    for set in &machine.sets {
        let Some(isa) = Isa::from_name(&set.isa) else { continue };
        for shape in PRODUCTS {
            for threads in [1, options.threads] {
                let length = length.min(Duration::from_millis(200));
                let precision = Precision::from_name(&set.precision).unwrap_or_default();
                let time = time_product(shape, &CaseOptions { threads, isa, precision, length, ..options.clone() })?;
                let gflops = 2.0 * (shape.m * shape.k * shape.n) as f64 / time.as_secs_f64() / 1e9;
                let peak = if threads == 1 { set.fma_one } else { set.fma_all };
                products.push((set.isa.clone(), shape, threads, gflops, gflops / peak));
                if options.threads == 1 {
                    break;
                }
            }
        }
    }
    let mut out = Out::stdout();
    if json {
        let rows = products.iter().map(|(isa, s, threads, gflops, share)| {
            json!({ "isa": isa, "m": s.m, "k": s.k, "n": s.n, "threads": threads, "gflops": gflops, "share": share })
        });
        let rows: Vec<_> = rows.collect();
        return out.line(&json_line(&json!({ "machine": machine, "best": Isa::best().name(), "products": rows }))?);
    }
    let missing = if machine.missing.is_empty() { "none".to_owned() } else { machine.missing.join(", ") };
    out.line(&format!("{} threads; the best set here is {}; missing: {missing}", machine.threads, Isa::best()))?;
    out.line(&format!(
        "reading memory: {:.1} GB/s on one thread, {:.1} on all",
        machine.memory.read_one, machine.memory.read_all
    ))?;
    let mut table = Table::new(&[
        ("Set", Align::Left),
        ("", Align::Left),
        ("peak, 1 thread", Align::Right),
        ("all threads", Align::Right),
    ]);
    for set in &machine.sets {
        table.row([
            set.isa.clone(),
            set.precision.clone(),
            format!("{:.1} GFLOP/s", set.fma_one),
            format!("{:.1} GFLOP/s", set.fma_all),
        ]);
    }
    table.lines().iter().try_for_each(|line| out.line(line))?;
    let columns = [
        ("Product M x K x N", Align::Left),
        ("Set", Align::Left),
        ("Threads", Align::Right),
        ("GFLOP/s", Align::Right),
        ("of the peak", Align::Right),
    ];
    let mut table = Table::new(&columns);
    for (isa, Shape { m, k, n }, threads, gflops, share) in products {
        table.row([
            format!("{m} x {k} x {n}"),
            isa,
            threads.to_string(),
            format!("{gflops:.1}"),
            format!("{:.0} %", 100.0 * share),
        ]);
    }
    table.lines().iter().try_for_each(|line| out.line(line))
}
