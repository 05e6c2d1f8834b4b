//! `unroll inspect units`: what units do over a text.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::Args;
use unroll::config::TaskKind;
use unroll::corpus::{Source, Whole};
use unroll::error::{Error, Result};
use unroll::inspect::page::{self, Unit};
use unroll::network::{Batch, Network, NetworkOptions};
use unroll::report::{Out, json_line};
use unroll::run::sample_batches;
use unroll::text::{EncodingErrors, Level, PADDING, start};

use super::{MOST, Subject, trained};
use crate::encoding::Encoding;
use crate::labels::{TrainedTask, sentence_words};
use crate::trained::{Opened, Using, load};

/// Shows the outputs of chosen units at each token of a text, as an HTML page of coloured text.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll inspect units runs/1 --unit lstm_1:7 --text \"if (x) { y(); }\" > page.html\n  \
    unroll inspect units runs/1 --unit lstm:0-3 --unit lstm_1:12 --out page.html < chapter.txt\n\
    The units of a recurrent layer are the elements of h after each step; in a bidirectional layer the forward ones come first.")]
pub(super) struct UnitsCommand {
    /// A run folder, or one of its checkpoints
    run: PathBuf,
    /// Units to show: LAYER:INDEX or LAYER:FIRST-LAST; may be repeated
    #[arg(long, required = true, value_name = "LAYER:INDEX")]
    unit: Vec<String>,
    /// Text to read [default: standard input]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Option<String>,
    /// File of text to read
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    data: Option<PathBuf>,
    /// For taggers: split sentences into words at white space only, instead of at punctuation too (UAX #29)
    #[arg(long)]
    words: bool,
    /// HTML file to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    encoding: Encoding,
    #[command(flatten)]
    using: Using,
    /// Print one JSON object instead of a page: the tokens, and one number per token for each unit
    #[arg(long)]
    json: bool,
}

/// The most units of one page.
const MOST_UNITS: usize = 1000;

impl UnitsCommand {
    pub(super) fn run(self) -> Result<()> {
        let chosen = self.unit.iter().map(|unit| parse(unit)).collect::<Result<Vec<_>>>()?;
        if chosen.iter().map(|(_, units)| units.end() - units.start() + 1).sum::<usize>() > MOST_UNITS {
            return Err(Error::option("--unit", format!("must name at most {MOST_UNITS} units")));
        }
        let subject = trained(&self.run)?;
        let text = self.read(subject.config.data.encoding_errors)?;
        let reading = Reading::of(&subject, &self.run, &text, self.words)?;
        if reading.shown.is_empty() {
            return Err(Error::usage("the text has no token that the model can read")
                .mend("give a text with --text, --data or on standard input"));
        }
        let Subject { title, config, graph, run } = &subject;
        let options = NetworkOptions { steps: reading.inputs.len(), ..self.using.network_options(config)? };
        let mut network = Network::new(graph, options)?;
        if let Some(run) = run {
            self.using.hint_at_cost(&run.path);
            load(&run.path, self.using.which()?, graph, network.params_mut())?;
        }
        let mut units = Vec::new();
        for (layer, range) in chosen {
            units.extend(activations(&mut network, &reading, layer, range)?);
        }
        let Reading { shown: tokens, spaced, .. } = reading;
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

    /// The text; with bytes that are not UTF-8 handled as in training, unless another way is asked for.
    fn read(&self, trained: EncodingErrors) -> Result<String> {
        if let Some(text) = &self.text {
            if self.encoding.is_given() {
                return Err(Error::option("--encoding-errors", "is for a text that is read").mend("leave it out"));
            }
            return Ok(text.clone());
        }
        let texts = Whole { errors: self.encoding.errors()?.unwrap_or(trained), cancel: None };
        if let Some(path) = &self.data {
            return texts.read(&Source::Path(path.clone()));
        }
        if std::io::stdin().is_terminal() {
            return Err(
                Error::usage("no text was given").mend("give --text TEXT, --data FILE, or the text on standard input")
            );
        }
        texts.read(&Source::Stdin)
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

/// A text as a model takes it.
struct Reading {
    /// Its tokens, with the padding that the model sees.
    inputs: Vec<u32>,
    /// How much of that stands before them.
    first: usize,
    /// What stands for each.
    shown: Vec<String>,
    /// Whether spaces stand between.
    spaced: bool,
}

impl Reading {
    fn of(subject: &Subject, path: &Path, text: &str, by_space: bool) -> Result<Reading> {
        if let Some(tokenizer) = subject.run.as_ref().and_then(|run| run.tokenizer.as_ref()) {
            refuse_words(by_space, "this is a language model")?;
            let inputs = tokenizer.encode(text)?;
            let words = tokenizer.options().level == Level::Word;
            let shown = |&id: &u32| match tokenizer.token_text(id) {
                "<eos>" if words => "\n".to_owned(),
                token => token.to_owned(),
            };
            return Ok(Reading { shown: inputs.iter().map(shown).collect(), inputs, first: 0, spaced: words });
        }
        Reading::of_task(&TrainedTask::of(Opened::open(path)?)?, path, text, by_space)
    }

    /// A text as a run on labelled samples takes it.
    fn of_task(trained: &TrainedTask, path: &Path, text: &str, by_space: bool) -> Result<Reading> {
        let (encoder, kind) = (&trained.encoder, trained.task.kind);
        let refused = |what: &str| {
            Err(Error::input(
                path,
                format!("the run learned {what}, and a page shows what a model does at each token of a text"),
            )
            .mend("inspect a language model, or a run that learned classes, tags or next words of texts"))
        };
        if encoder.is_of_arrays() {
            return refused("from arrays");
        }
        let (tokens, shown): (Vec<u32>, Vec<String>) = match kind {
            TaskKind::Tag => {
                let words = sentence_words(text, by_space);
                // Of each word its characters, then itself.
                let each = |word: &&str| word.chars().map(String::from).chain([(*word).to_owned()]).collect::<Vec<_>>();
                (encoder.sentence(words.iter().copied()), words.iter().flat_map(each).collect())
            }
            TaskKind::Classify | TaskKind::Next => {
                refuse_words(by_space, &format!("this run learned to {}", kind.doing()))?;
                let tokens = encoder.text(text);
                let shown = |&token: &u32| encoder.words().word(token).unwrap_or_default().to_owned();
                (tokens.clone(), tokens.iter().map(shown).collect())
            }
            TaskKind::Caption | TaskKind::Translate => return refused(&format!("to {}", kind.doing())),
        };
        let batches = sample_batches(&trained.graph, &trained.task, 1, tokens.len().max(encoder.longest()));
        let steps = if batches.fixed { batches.steps } else { tokens.len() };
        let first = start(tokens.len(), steps, batches.padding);
        let mut inputs = vec![PADDING; steps];
        inputs[first..first + tokens.len()].copy_from_slice(&tokens);
        Ok(Reading { inputs, first, shown, spaced: true })
    }
}

fn refuse_words(by_space: bool, why: &str) -> Result<()> {
    match by_space {
        true => Err(Error::option("--words", format!("is for taggers; {why}"))),
        false => Ok(()),
    }
}

/// What units of a layer do at each token.
fn activations(
    network: &mut Network,
    reading: &Reading,
    layer: &str,
    range: std::ops::RangeInclusive<usize>,
) -> Result<Vec<Unit>> {
    let Reading { inputs, first, shown, .. } = reading;
    let batch = Batch { steps: inputs.len(), rows: 1, inputs, ..Batch::default() };
    batch.check(network.graph(), network.options())?;
    let mut units: Vec<Unit> =
        range.clone().map(|u| Unit { name: format!("{layer}:{u}"), values: vec![0.0; shown.len()] }).collect();
    let (mut state, mut width) = (network.new_state(1), 0);
    let mut places = 0;
    network.outputs(&batch, &mut state, layer, |time, _, values| {
        (width, places) = (values.len(), places + 1);
        let Some(place) = time.checked_sub(*first).filter(|&place| place < shown.len()) else { return };
        for (unit, u) in units.iter_mut().zip(range.clone()) {
            unit.values[place] = values.get(u).copied().unwrap_or(f32::NAN);
        }
    })?;
    if places < inputs.len() && width > 0 && places <= 1 && inputs.len() > 1 {
        return Err(Error::option("--unit", format!("layer `{layer}` gives one output per text, not one per token")));
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
