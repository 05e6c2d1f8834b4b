//! `unroll inspect`: what a network has learned.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use unroll::config::{Cell, Resolver, RunConfig, TaskKind};
use unroll::corpus::{TokenSource, install_sigbus_handler};
use unroll::error::{Error, Result};
use unroll::graph::Graph;
use unroll::inspect::gradient::{self, Curve};
use unroll::inspect::page::{self, Unit};
use unroll::inspect::plot::{self, Line};
use unroll::labels::Encoder;
use unroll::network::{Batch, Network, NetworkOptions};
use unroll::recipes;
use unroll::report::{Align, Out, Table, json_line};
use unroll::run::Texts;
use unroll::text::{Level, Tokenizer};

use crate::labels::TrainedTask;
use crate::summary::{name_of, untrained};
use crate::trained::{Opened, Trained, Using, load};

/// Shows what a network has learned: how far back its gradients reach, and what its units do over a text.
#[derive(Debug, Args)]
pub(crate) struct InspectCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Gradient(GradientCommand),
    Units(UnitsCommand),
}

impl InspectCommand {
    pub(crate) fn run(self) -> Result<()> {
        match self.what {
            What::Gradient(command) => command.run(),
            What::Units(command) => command.run(),
        }
    }
}

/// The norm of the gradient of the loss at the last step by the hidden state d steps before it, of every recurrent layer.
///
/// A trained language model reads the texts of its run. Models that have not been trained, and those that were trained on
/// labelled samples, read random tokens; the table says beside each model what it read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll inspect gradient runs/1 --svg vanishing.svg\n  \
    unroll inspect gradient char-rnn --cells rnn,gru,lstm --svg cells.svg        untrained, on random tokens\n  \
    unroll inspect gradient runs/1 runs/1/checkpoints/step-100 char-gru --steps 200 --json")]
struct GradientCommand {
    /// Run folders or their checkpoints, recipes, and TOML files of models that have not been trained
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    /// Time steps: distances up to one less are measured
    #[arg(long, visible_alias = "seq-length", value_name = "N")]
    steps: Option<usize>,
    /// Sequences that the norm is the mean over
    #[arg(long, visible_alias = "batch-size", default_value_t = 32, value_name = "N")]
    rows: usize,
    /// The text that trained language models read [default: the run's test text, else its validation or training text]
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Each untrained model with each of these cells
    #[arg(long, value_name = "CELL", value_delimiter = ',')]
    cells: Vec<String>,
    /// Tokens in the vocabulary of models that have not been trained [default: as `unroll summary`]
    #[arg(long, value_name = "N")]
    vocab: Option<usize>,
    /// Writes the curves as a picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    using: Using,
    /// One JSON object
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

/// Steps where nothing says how many.
const STEPS: usize = 100;
/// The most steps and rows.
const MOST: usize = 100_000;
/// Tokens of a text that windows are taken from.
const WINDOWED: u64 = 1 << 22;
/// Distances that a table shows.
const SHOWN: [usize; 12] = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000];

/// A model that is measured.
struct Subject {
    title: String,
    config: RunConfig,
    graph: Graph,
    /// Of a trained one.
    run: Option<Run>,
}

struct Run {
    path: PathBuf,
    folder: PathBuf,
    /// Of a language model.
    tokenizer: Option<Tokenizer>,
}

impl GradientCommand {
    fn run(self) -> Result<()> {
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
            let what = "no model here was trained on a text: all of them read random tokens";
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
            let what = format!("`{wrong}` is no cell");
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
        let options = NetworkOptions {
            threads: self.using.threads()?,
            precision: self.using.precision(config),
            home: self.using.home(),
            seed: config.seed,
            ..NetworkOptions::default()
        };
        let mut network = Network::new(graph, gradient::options(&options, steps, self.rows))?;
        let (mut name, mut batch) = ("random tokens".to_owned(), None);
        if let Some(Run { path, folder, tokenizer }) = run {
            load(path, self.using.which()?, graph, network.params_mut())?;
            if let Some(tokenizer) = tokenizer {
                let (of, text) = self.text(config, folder, tokenizer)?;
                (name, batch) = (of, Some(gradient::windows(&text, size)?));
            }
        }
        let random = || gradient::random(graph.vocabulary(), graph.classes(), size, config.seed);
        let (tokens, targets) = batch.unwrap_or_else(random);
        let layers = gradient::measure(&mut network, &tokens, &targets)?;
        Ok(Measured { model: title.clone(), trained: run.is_some(), tokens: name, layers })
    }

    /// The text that a trained language model reads, and what it is called.
    fn text(&self, config: &RunConfig, folder: &Path, tokenizer: &Tokenizer) -> Result<(String, Vec<u32>)> {
        if let Some(path) = &self.data {
            let text = std::fs::read_to_string(path).map_err(|error| Error::read(path, error))?;
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

/// A run, or the run of a checkpoint.
fn trained(path: &Path) -> Result<Subject> {
    let opened = Opened::open(path)?;
    let title = name_of(path);
    let (path, folder) = (opened.path.clone(), opened.folder.clone());
    let config = opened.config.clone();
    let (graph, tokenizer) = match config.task {
        Some(_) => (TrainedTask::of(opened)?.graph, None),
        None => {
            let trained = Trained::of(opened)?;
            (trained.graph, Some(trained.tokenizer))
        }
    };
    Ok(Subject { title, config, graph, run: Some(Run { path, folder, tokenizer }) })
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

/// What chosen units do at each token of a text, as a page of coloured text.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll inspect units runs/1 --unit lstm_1:7 --text \"if (x) { y(); }\" > page.html\n  \
    unroll inspect units runs/1 --unit lstm:0-3 --unit lstm_1:12 --out page.html < chapter.txt\n\
    A recurrent layer's units are those of h after each step, of a bidirectional layer the forward ones first.")]
struct UnitsCommand {
    /// A run folder, or one of its checkpoints
    run: PathBuf,
    /// LAYER:INDEX or LAYER:FIRST-LAST; may be repeated
    #[arg(long, required = true, value_name = "LAYER:INDEX")]
    unit: Vec<String>,
    /// The text [default: standard input]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Option<String>,
    /// The page [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    using: Using,
    /// One JSON object instead of a page: the tokens, and of each unit a number for each
    #[arg(long)]
    json: bool,
}

/// The most units of one page.
const MOST_UNITS: usize = 1000;

impl UnitsCommand {
    fn run(self) -> Result<()> {
        let chosen = self.unit.iter().map(|unit| parse(unit)).collect::<Result<Vec<_>>>()?;
        if chosen.iter().map(|(_, units)| units.end() - units.start() + 1).sum::<usize>() > MOST_UNITS {
            return Err(Error::option("--unit", format!("more than {MOST_UNITS} units make no page to read")));
        }
        let text = self.read()?;
        let subject = trained(&self.run)?;
        let (ids, tokens, spaced) = tokens(&subject, &self.run, &text)?;
        if ids.is_empty() {
            return Err(Error::usage("the text has no token").mend("give a text with --text or on standard input"));
        }
        let Subject { title, config, graph, run } = &subject;
        let options = NetworkOptions {
            threads: self.using.threads()?,
            precision: self.using.precision(config),
            home: self.using.home(),
            steps: ids.len(),
            training: false,
            ..NetworkOptions::default()
        };
        let mut network = Network::new(graph, options)?;
        if let Some(run) = run {
            load(&run.path, self.using.which()?, graph, network.params_mut())?;
        }
        let mut units = Vec::new();
        for (layer, range) in chosen {
            units.extend(activations(&mut network, &ids, layer, range)?);
        }
        let page = if self.json {
            let units: Vec<_> =
                units.iter().map(|u| serde_json::json!({ "unit": u.name, "values": u.values })).collect();
            json_line(&serde_json::json!({ "model": title, "tokens": tokens, "units": units }))? + "\n"
        } else {
            page::html(&format!("Units of {title}"), &tokens, spaced, &units)
        };
        match &self.out {
            Some(path) => std::fs::write(path, page).map_err(|error| Error::io(path, "cannot write the page", error)),
            None => Out::stdout().write(&page),
        }
    }

    fn read(&self) -> Result<String> {
        if let Some(text) = &self.text {
            return Ok(text.clone());
        }
        if std::io::stdin().is_terminal() {
            return Err(Error::usage("no text is given").mend("give --text TEXT, or the text on standard input"));
        }
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(|error| Error::read("standard input", error))?;
        Ok(text)
    }
}

/// `layer:5` or `layer:5-7`.
fn parse(unit: &str) -> Result<(&str, std::ops::RangeInclusive<usize>)> {
    let parts = unit.rsplit_once(':').and_then(|(layer, units)| {
        let (first, last) = units.split_once('-').unwrap_or((units, units));
        Some((layer, first.parse().ok()?..=last.parse().ok()?))
    });
    match parts {
        Some((layer, units))
            if !layer.is_empty() && units.start() <= units.end() && units.end() - units.start() < MOST =>
        {
            Ok((layer, units))
        }
        _ => Err(Error::option("--unit", format!("`{unit}` is not LAYER:INDEX or LAYER:FIRST-LAST"))),
    }
}

/// The tokens of a text as the model takes them, what stands for each, and whether spaces stand between.
fn tokens(subject: &Subject, path: &Path, text: &str) -> Result<(Vec<u32>, Vec<String>, bool)> {
    if let Some(tokenizer) = subject.run.as_ref().and_then(|run| run.tokenizer.as_ref()) {
        let ids = tokenizer.encode(text)?;
        let words = tokenizer.options().level == Level::Word;
        let shown = |&id: &u32| match tokenizer.token_text(id) {
            "<eos>" if words => "\n".to_owned(),
            token => token.to_owned(),
        };
        return Ok((ids.clone(), ids.iter().map(shown).collect(), words));
    }
    let trained = TrainedTask::of(Opened::open(path)?)?;
    let encoder: &Encoder = &trained.encoder;
    if trained.task.kind != TaskKind::Classify {
        let what = format!(
            "the run learned to {}, and a page shows what a model does at each token of a text",
            trained.task.kind
        );
        return Err(Error::input(path, what).mend("inspect a language model or a classifier of texts"));
    }
    let words: Vec<&str> = encoder.words().iter().map(|(word, _)| word).collect();
    let ids = encoder.text(text);
    let shown = |&id: &u32| {
        let word = (id as usize).checked_sub(1).and_then(|place| words.get(place));
        word.map_or_else(|| "<unk>".to_owned(), |word| (*word).to_owned())
    };
    Ok((ids.clone(), ids.iter().map(shown).collect(), true))
}

/// What units of a layer do at each token.
fn activations(
    network: &mut Network,
    ids: &[u32],
    layer: &str,
    range: std::ops::RangeInclusive<usize>,
) -> Result<Vec<Unit>> {
    let batch = Batch { steps: ids.len(), rows: 1, inputs: ids, ..Batch::default() };
    batch.check(network.graph(), network.options())?;
    let mut units: Vec<Unit> =
        range.clone().map(|u| Unit { name: format!("{layer}:{u}"), values: vec![0.0; ids.len()] }).collect();
    let (mut state, mut width) = (network.new_state(1), 0);
    let mut places = 0;
    network.outputs(&batch, &mut state, layer, |time, _, values| {
        (width, places) = (values.len(), places + 1);
        for (unit, u) in units.iter_mut().zip(range.clone()) {
            unit.values[time] = values.get(u).copied().unwrap_or(f32::NAN);
        }
    })?;
    if places < ids.len() && width > 0 && places <= 1 && ids.len() > 1 {
        return Err(Error::option("--unit", format!("layer `{layer}` gives one output a text, not one a token")));
    }
    if *range.end() >= width {
        let what = format!("layer `{layer}` has {width} units, 0 to {}", width.saturating_sub(1));
        return Err(Error::option("--unit", what));
    }
    Ok(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_named_by_layer_and_number() {
        assert_eq!(parse("lstm_1:7").unwrap(), ("lstm_1", 7..=7));
        assert_eq!(parse("a:b:0-3").unwrap(), ("a:b", 0..=3));
        for wrong in ["lstm", "lstm:", ":3", "lstm:3-1", "lstm:x"] {
            let error = parse(wrong).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains("LAYER:INDEX"), "{error}");
        }
    }
}
