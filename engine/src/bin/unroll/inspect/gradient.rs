//! `unroll inspect gradient`: how far back the gradient of a loss reaches.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use unroll::config::{Cell, Resolver, RunConfig};
use unroll::corpus::{Source, TokenSource, Whole, install_sigbus_handler};
use unroll::error::{Error, Result};
use unroll::inspect::gradient::{self, Curve};
use unroll::inspect::plot::{self, Line};
use unroll::network::{Network, NetworkOptions};
use unroll::recipes;
use unroll::report::{Align, Out, Table, json_line};
use unroll::run::Texts;
use unroll::text::Tokenizer;

use super::{MOST, Run, Subject, trained};
use crate::summary::untrained;
use crate::trained::{Using, load};

/// Measures how far back gradients reach: the norm of the gradient of the last step's loss with respect to the hidden state d
/// steps earlier, for every recurrent layer.
///
/// A trained language model reads the texts of its run. Untrained models and models of labelled samples read random tokens, or
/// random numbers where they take vectors; the table shows what each model read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll inspect gradient runs/1 --svg vanishing.svg\n  \
    unroll inspect gradient char-rnn --cells rnn,gru,lstm --svg cells.svg        untrained, on random tokens\n  \
    unroll inspect gradient runs/1 runs/1/checkpoints/step-100 char-gru --steps 200 --json")]
pub(super) struct GradientCommand {
    /// Run folders or checkpoints; recipes and TOML files, for untrained models
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    /// Number of time steps N: distances d from 0 to N-1 are measured
    #[arg(long, visible_alias = "seq-length", value_name = "N")]
    steps: Option<usize>,
    /// Number of sequences to average the norm over
    #[arg(long, visible_alias = "batch-size", default_value_t = 32, value_name = "N")]
    rows: usize,
    /// Text for trained language models [default: the run's test text, otherwise its validation or training text]
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Measure each untrained model with each of these cells
    #[arg(long, value_name = "CELL", value_delimiter = ',')]
    cells: Vec<String>,
    /// Size of the vocabulary of untrained models [default: as for `unroll summary`]
    #[arg(long, value_name = "N")]
    vocab: Option<usize>,
    /// Write the curves as an SVG image
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    using: Using,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What a model was measured on, and the curves.
#[derive(Serialize)]
struct Measured {
    model: String,
    trained: bool,
    tokens: String,
    layers: Vec<Curve>,
}

#[derive(Serialize)]
struct Json<'a> {
    steps: usize,
    rows: usize,
    models: &'a [Measured],
}

/// The default number of steps.
const STEPS: usize = 100;
/// Tokens of a text that windows are taken from.
const WINDOWED: u64 = 1 << 22;
/// Distances that a table shows.
const SHOWN: [usize; 12] = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];

impl GradientCommand {
    pub(super) fn run(self) -> Result<()> {
        for (name, value) in [("--steps", self.steps.unwrap_or(STEPS)), ("--rows", self.rows)] {
            if !(1..=MOST).contains(&value) {
                return Err(Error::option(name, format!("must be from 1 to {MOST}, got {value}")));
            }
        }
        install_sigbus_handler()?;
        let subjects = self.models.iter().map(|model| self.subjects(model)).collect::<Result<Vec<_>>>()?;
        let subjects: Vec<Subject> = subjects.into_iter().flatten().collect();
        let reads = |subject: &Subject| subject.run.as_ref().is_some_and(|run| run.tokenizer.is_some());
        if self.data.is_some() && !subjects.iter().any(reads) {
            let what = "no model here was trained on a text: all of them read random tokens or numbers";
            return Err(Error::option("--data", what).mend("leave it out, or name the run of a language model"));
        }
        let measured = subjects.iter().map(|subject| self.measure(subject)).collect::<Result<Vec<_>>>()?;
        if let Some(path) = &self.svg {
            let picture = picture(&measured);
            std::fs::write(path, picture).map_err(|error| Error::io(path, "cannot write the picture", error))?;
        }
        let mut out = Out::stdout();
        if self.json {
            let steps = measured.iter().flat_map(|m| &m.layers).map(|curve| curve.norms.len()).max().unwrap_or(0);
            return out.line(&json_line(&Json { steps, rows: self.rows, models: &measured })?);
        }
        table(&measured).iter().try_for_each(|line| out.line(line))
    }

    /// What a word on the command line names: one model, or an untrained one with each of the cells.
    fn subjects(&self, model: &str) -> Result<Vec<Subject>> {
        let path = Path::new(model);
        if path.is_dir() {
            return Ok(vec![trained(path)?]);
        }
        let file = path.extension().is_some_and(|end| end == "toml");
        let untrained = |cell: Option<&str>| {
            let mut resolver = Resolver::new();
            let name = if file {
                resolver.file(path)?;
                path.file_stem().map_or_else(|| model.to_owned(), |stem| stem.to_string_lossy().into_owned())
            } else {
                let recipe = recipes::find(model)?;
                resolver.recipe(recipe.name, recipe.text)?;
                recipe.name.to_owned()
            };
            if let Some(cell) = cell {
                resolver.set("cells", "model.cell", cell.into())?;
            }
            let (config, _) = resolver.finish()?;
            let graph = untrained(&config, self.vocab)?;
            let title = cell.map_or(name.clone(), |cell| format!("{name}, {cell}"));
            Ok(Subject { title, config, graph, run: None })
        };
        if let Some(wrong) = self.cells.iter().find(|cell| !Cell::WORDS.contains(&cell.as_str())) {
            let what = format!("`{wrong}` is not a cell");
            return Err(Error::option("--cells", what).mend(format!("known: {}", Cell::WORDS.join(", "))));
        }
        match self.cells.is_empty() {
            true => Ok(vec![untrained(None)?]),
            false => self.cells.iter().map(|cell| untrained(Some(cell))).collect(),
        }
    }

    fn measure(&self, subject: &Subject) -> Result<Measured> {
        let Subject { title, config, graph, run } = subject;
        let steps = self.steps.or(graph.config().input_length).unwrap_or(STEPS);
        let size = [steps, self.rows];
        let options = NetworkOptions { seed: config.seed, ..self.using.network_options(config)? };
        let mut network = Network::new(graph, gradient::options(&options, steps, self.rows))?;
        let vectors = gradient::random_vectors(graph, size, config.seed);
        let random = match (graph.takes_tokens(), vectors.is_empty()) {
            (true, true) => "random tokens",
            (true, false) => "random tokens and numbers",
            (false, _) => "random numbers",
        };
        let (mut name, mut batch) = (random.to_owned(), None);
        if let Some(Run { path, folder, tokenizer }) = run {
            self.using.hint_at_cost(path);
            load(path, self.using.which()?, graph, network.params_mut())?;
            if let Some(tokenizer) = tokenizer {
                let (of, text) = self.text(config, folder, tokenizer)?;
                (name, batch) = (of, Some(gradient::windows(&text, size)?));
            }
        }
        let random = || gradient::random(graph.vocabulary(), graph.classes(), size, config.seed);
        let (mut tokens, targets) = batch.unwrap_or_else(random);
        if !graph.takes_tokens() {
            tokens.clear();
        }
        let vectors: Vec<&[f32]> = vectors.iter().map(Vec::as_slice).collect();
        let layers = gradient::measure(&mut network, (&tokens, &vectors), &targets)?;
        Ok(Measured { model: title.clone(), trained: run.is_some(), tokens: name, layers })
    }

    /// The text that a trained language model reads, and what it is called.
    fn text(&self, config: &RunConfig, folder: &Path, tokenizer: &Tokenizer) -> Result<(String, Vec<u32>)> {
        if let Some(path) = &self.data {
            let text = Whole { errors: tokenizer.options().errors, cancel: None }.read(&Source::Path(path.clone()))?;
            return Ok((path.display().to_string(), tokenizer.encode(&text)?));
        }
        let texts = Texts::open(config, folder)?;
        let (name, tokens) = match (texts.test, texts.valid) {
            (Some(test), _) => ("the run's test text", test),
            (None, Some(valid)) => ("the run's validation text", valid),
            (None, None) => ("the run's training text", texts.train),
        };
        let mut text = vec![0; tokens.len().min(WINDOWED) as usize];
        // From the end, where what was held out stands.
        tokens.read(tokens.len() - text.len() as u64, &mut text)?;
        Ok((name.to_owned(), text))
    }
}

fn picture(measured: &[Measured]) -> String {
    let lines: Vec<Line> = measured
        .iter()
        .flat_map(|m| {
            m.layers
                .iter()
                .map(|curve| Line { name: format!("{}: {}", m.model, curve.layer), values: curve.norms.clone() })
        })
        .collect();
    let labels = ["steps between the state and the loss", "norm of the gradient by the state"];
    plot::svg("How far back the gradient of a loss reaches", labels, &lines)
}

fn table(measured: &[Measured]) -> Vec<String> {
    let longest = measured.iter().flat_map(|m| &m.layers).map(|curve| curve.norms.len()).max().unwrap_or(0);
    let shown: Vec<usize> = SHOWN.into_iter().filter(|&d| d < longest).collect();
    let distances: Vec<String> = shown.iter().map(usize::to_string).collect();
    let mut columns = vec![("model", Align::Left), ("layer", Align::Left), ("tokens", Align::Left)];
    columns.extend(distances.iter().map(|d| (&d[..], Align::Right)));
    columns.push(("below 1 % at", Align::Right));
    let mut table = Table::new(&columns);
    for m in measured {
        for curve in &m.layers {
            let mut row = vec![m.model.clone(), curve.layer.clone(), m.tokens.clone()];
            row.extend(shown.iter().map(|&d| curve.norms.get(d).map_or(String::new(), |norm| format!("{norm:.1e}"))));
            row.push(curve.falls_below(0.01).map_or("-".to_owned(), |d| d.to_string()));
            table.row(row);
        }
    }
    table.lines()
}
