//! `unroll predict`: the classes of texts, the tags of sentences, the next words of texts, the captions of vectors.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};
use unroll::config::TaskKind;
use unroll::corpus::Whole;
use unroll::error::{Error, Result};
use unroll::graph::Axis;
use unroll::labels::{
    Caption, Encoder, Given, Prediction, Predictions, Sample, Search, Spot, captions, predict, read_array, read_vectors,
};
use unroll::report::{Out, json_line};
use unroll::run::check_vectors;

use crate::encoding::Encoding;
use crate::labels::{TrainedTask, like_the_training, sentence_words};
use crate::scores::longest_caption;
use crate::search::SearchOptions;
use crate::trained::{Opened, Using};

/// Predicts the class or the next word of each text, tags each sentence, or finds a caption for each vector.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll predict runs/spam --text \"You have won a prize, call now\"\n  \
    unroll predict runs/spam < messages.txt         one text per line\n  \
    unroll predict runs/tags --text \"The cat sat on the mat .\" --words\n  \
    unroll predict runs/captions --vectors images.npy --beam 4")]
pub(crate) struct Predict {
    /// A run folder, or one of its checkpoints
    run: PathBuf,
    /// Text to predict for; may be repeated [default: the lines of standard input]
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Vec<String>,
    /// Split sentences into words at white space only, instead of at punctuation too (UAX #29)
    #[arg(long)]
    words: bool,
    /// For captions: file of vectors, a NumPy array (.npy), rows of numbers (.csv, .tsv) or JSON lines. For a run on arrays: the
    /// samples, .npy or .npz
    #[arg(long, visible_alias = "array", value_name = "FILE")]
    vectors: Option<PathBuf>,
    #[command(flatten)]
    search: SearchOptions,
    /// Number of texts in a batch
    #[arg(long, visible_alias = "batch-size", default_value_t = 32, value_name = "N")]
    batch: usize,
    #[command(flatten)]
    encoding: Encoding,
    #[command(flatten)]
    using: Using,
    /// Print one JSON object per text
    #[arg(long)]
    json: bool,
}

/// Why a text has no prediction.
fn why_unread(encoder: &Encoder) -> String {
    format!("no {} that the model can read", encoder.prepare().level().unit())
}

/// The predictions for samples.
struct Said {
    /// Of each output, of those that it can read.
    predictions: Vec<Predictions>,
    /// The place of each sample among them.
    places: Vec<Option<usize>>,
}

/// The number of next words in the JSON output.
const MOST_WORDS: usize = 10;

/// The number of texts read before predictions are made.
const BLOCK: usize = 4096;

impl Predict {
    pub(crate) fn run(self) -> Result<()> {
        if !(1..=BLOCK).contains(&self.batch) {
            return Err(Error::option("--batch", format!("must be from 1 to {BLOCK}, got {}", self.batch)));
        }
        let trained = TrainedTask::of(Opened::open(&self.run)?)?;
        let kind = trained.task.kind;
        self.search.beam(&trained)?;
        if self.words && kind != TaskKind::Tag {
            return Err(Error::option("--words", format!("is for taggers; this run learned to {}", kind.doing())));
        }
        if self.encoding.is_given() && (!self.text.is_empty() || self.vectors.is_some()) {
            return Err(Error::option("--encoding-errors", "is for texts on standard input").mend("leave it out"));
        }
        let errors = self.encoding.errors()?.unwrap_or(trained.opened.config.data.encoding_errors);
        let texts = Whole { errors, cancel: None };
        self.using.hint_at_cost(&self.run);
        let mut telling = Telling { options: &self, trained: &trained, out: Out::stdout() };
        match (&self.vectors, kind) {
            (Some(path), TaskKind::Caption) if self.text.is_empty() => {
                let samples = vector_samples(&trained, path)?;
                return telling.written(0, &samples);
            }
            (_, TaskKind::Caption) => {
                return Err(
                    Error::usage("this model finds captions for vectors, not for texts").mend("give --vectors FILE")
                );
            }
            (Some(path), _) if self.text.is_empty() && trained.encoder.is_of_arrays() => {
                return telling.rows(path);
            }
            (None, _) if trained.encoder.is_of_arrays() => {
                return Err(Error::usage("this run learned from arrays, not from texts")
                    .mend("give rows of an array by --array FILE.npy"));
            }
            (Some(_), _) => {
                return Err(Error::option(
                    "--vectors",
                    format!("is for captions and arrays; this run learned to {}", kind.doing()),
                ));
            }
            (None, _) => {}
        }
        if !self.text.is_empty() {
            return telling.texts(0, &self.text);
        }
        if std::io::stdin().is_terminal() {
            return Err(
                Error::usage("no text was given").mend("give --text TEXT, or texts on standard input, one a line")
            );
        }
        let (mut first, mut block) = (0, Vec::with_capacity(BLOCK));
        for (number, line) in (1..).zip(std::io::stdin().lock().split(b'\n')) {
            let line = line.map_err(|error| Error::read("standard input", error))?;
            block.push(texts.line(number, &line)?);
            if block.len() == BLOCK {
                telling.texts(first, &block)?;
                first += block.len();
                block.clear();
            }
        }
        if block.is_empty() { Ok(()) } else { telling.texts(first, &block) }
    }
}

/// A trained model, and where its predictions go.
struct Telling<'a> {
    options: &'a Predict,
    trained: &'a TrainedTask,
    out: Out<std::io::Stdout>,
}

impl Telling<'_> {
    /// What is said of some texts, the first of which is number `first` of all.
    fn texts(&mut self, first: usize, texts: &[String]) -> Result<()> {
        let Self { options, trained, .. } = *self;
        let encoder = &trained.encoder;
        if trained.task.kind == TaskKind::Translate {
            let sample = |text: &String| Sample { source: encoder.source(text), ..Sample::default() };
            let samples: Vec<Sample> = texts.iter().map(sample).collect();
            return self.written(first, &samples);
        }
        let parted: Vec<Vec<&str>> = texts.iter().map(|text| sentence_words(text, options.words)).collect();
        let tokens = |i: usize| match trained.task.kind {
            TaskKind::Tag => encoder.sentence(parted[i].iter().copied()),
            _ => encoder.text(&texts[i]),
        };
        let sample = |i| {
            let tokens = tokens(i);
            let targets = vec![unroll::corpus::IGNORE; encoder.outputs().len() * tokens.len().max(1)];
            Sample { targets, tokens, ..Sample::default() }
        };
        let samples: Vec<Sample> = (0..texts.len()).map(sample).collect();
        let Said { predictions, places } = self.predict(&samples)?;
        for (i, text) in texts.iter().enumerate() {
            let line = match (trained.task.kind, places[i]) {
                (TaskKind::Tag, place) => self.tags(&predictions, place, &parted[i])?,
                (_, Some(place)) => self.class(&predictions, place, text, &samples[i].tokens)?,
                (kind, None) => {
                    let key = if kind == TaskKind::Next { "word" } else { "class" };
                    let object = [("text".to_owned(), json!(text)), ("known_words".to_owned(), json!(0))];
                    self.unread(&why_unread(encoder), key, Some(text), Map::from_iter(object))?
                }
            };
            self.out.line(&line)?;
        }
        Ok(())
    }

    /// What the model says of the samples that it can read.
    fn predict(&self, samples: &[Sample]) -> Result<Said> {
        let Self { options, trained, .. } = *self;
        let is_read = |sample: &&Sample| !(sample.tokens.is_empty() && sample.vector.is_empty());
        let read: Vec<Sample> = samples.iter().filter(is_read).cloned().collect();
        let mut next = 0..read.len();
        let places = samples.iter().map(|sample| if is_read(&sample) { next.next() } else { None }).collect();
        if read.is_empty() {
            return Ok(Said { predictions: Vec::new(), places });
        }
        let (mut network, batches) = trained.network(&read, &options.using, options.batch.min(read.len()))?;
        Ok(Said { predictions: predict(&mut network, &trained.encoder, &read, batches)?, places })
    }

    /// The line of a sample that the model cannot read, and why: the class, or whatever `key` is, is none.
    fn unread(&self, why: &str, key: &str, text: Option<&str>, mut object: Map<String, Value>) -> Result<String> {
        let Self { options, trained, .. } = *self;
        if !options.json {
            // A line of words with their tags has none, and one of a translation nothing that is written.
            if matches!(trained.task.kind, TaskKind::Tag | TaskKind::Translate) {
                return Ok(String::new());
            }
            let none = format!("-\t{why}");
            return Ok(text.map_or_else(|| none.clone(), |text| format!("{none}\t{text}")));
        }
        let none = if trained.task.kind == TaskKind::Tag { json!([]) } else { Value::Null };
        for labels in trained.encoder.outputs() {
            let name = if labels.name.is_empty() || key == "words" { key } else { &labels.name };
            object.insert(name.to_owned(), none.clone());
        }
        object.insert("unread".to_owned(), json!(why));
        json_line(&Value::Object(object))
    }

    /// The class, or the tags, of each row of an array.
    fn rows(&mut self, path: &Path) -> Result<()> {
        let Self { options, trained, .. } = *self;
        let samples = read_array(&trained.task, &trained.encoder, path)?;
        let first = Spot { path: path.to_owned(), line: 1, row: true };
        check_vectors(&trained.graph, &samples, Some(&first), like_the_training)?;
        let Said { predictions, places } = self.predict(&samples)?;
        for (row, place) in places.into_iter().enumerate() {
            let mut object = Map::from_iter([("row".to_owned(), json!(row))]);
            let Some(place) = place else {
                let key = if trained.task.kind == TaskKind::Tag { "tags" } else { "class" };
                self.out.line(&self.unread("no token but padding", key, None, object)?)?;
                continue;
            };
            let mut shown = Vec::new();
            for (o, all) in predictions.iter().enumerate() {
                let (text, value) = match trained.task.kind {
                    TaskKind::Tag => {
                        let each: Vec<(String, Value)> = said(trained, o, all, place).collect();
                        let (texts, values): (Vec<String>, Vec<Value>) = each.into_iter().unzip();
                        let tag = |text: &String| text.split('\t').next().unwrap_or_default().to_owned();
                        (texts.iter().map(tag).collect::<Vec<_>>().join(" "), json!({ "tags": values }))
                    }
                    _ => said(trained, o, all, place).next().unwrap_or_default(),
                };
                shown.push(text);
                self.include(o, value, &mut object);
            }
            self.out.line(&if options.json { json_line(&Value::Object(object))? } else { shown.join("\t") })?;
        }
        Ok(())
    }

    /// Puts what an output says into the object of a sample: by the name of its label where there are several.
    fn include(&self, o: usize, value: Value, object: &mut Map<String, Value>) {
        let name = &self.trained.encoder.outputs()[o].name;
        match value {
            Value::Object(own) if name.is_empty() => object.extend(own),
            Value::Null if name.is_empty() => {}
            value => _ = object.insert(name.clone(), value),
        }
    }

    /// What each output says of a text: a class or a number, or the next word.
    fn class(&self, all: &[Predictions], i: usize, text: &str, tokens: &[u32]) -> Result<String> {
        let Self { options, trained, .. } = *self;
        let words = trained.encoder.known_words(tokens);
        if trained.task.kind == TaskKind::Next {
            return self.next(&all[0], i, text, words);
        }
        let mut object = Map::from_iter([("text".to_owned(), json!(text)), ("known_words".to_owned(), json!(words))]);
        let mut shown = Vec::new();
        for (o, all) in all.iter().enumerate() {
            let Some((text, value)) = said(trained, o, all, i).next() else {
                return Err(Error::run("a text has no prediction"));
            };
            shown.push(text);
            self.include(o, value, &mut object);
        }
        if options.json { json_line(&Value::Object(object)) } else { Ok(format!("{}\t{text}", shown.join("\t"))) }
    }

    /// The next word of a text.
    fn next(&self, all: &Predictions, i: usize, text: &str, known: usize) -> Result<String> {
        let Self { options, trained, .. } = *self;
        let encoder = &trained.encoder;
        let Some(Prediction { class, probability }) = all.of(i, 0.5).next().flatten() else {
            return Err(Error::run("a text has no prediction"));
        };
        let word = encoder.name(class);
        if !options.json {
            return Ok(format!("{word}\t{probability:.4}\t{text}"));
        }
        let mut likely: Vec<(&str, f32)> = (0..)
            .zip(all.probabilities(i).next().flatten().into_iter().flatten())
            .map(|(c, p)| (encoder.name(c), *p))
            .collect();
        likely.sort_by(|a, b| b.1.total_cmp(&a.1));
        // Padding has no name and is never meant.
        likely.retain(|(name, _)| !name.is_empty());
        let of_each: Map<_, _> =
            likely.into_iter().take(MOST_WORDS).map(|(name, p)| (name.to_owned(), json!(p))).collect();
        json_line(&json!({
            "text": text, "word": word, "probability": probability, "probabilities": of_each, "known_words": known,
        }))
    }

    /// A text a line for each vector or text that is given, the first of which is number `first` of all.
    fn written(&mut self, first: usize, samples: &[Sample]) -> Result<()> {
        let Self { options, trained, .. } = *self;
        let beam = options.search.beam(trained)?;
        let encoder = &trained.encoder;
        let is_read = |sample: &&Sample| !(sample.source.is_empty() && sample.vector.is_empty());
        let given: Vec<Given<'_>> = samples.iter().filter(is_read).map(Sample::given).collect();
        let (mut network, _) = trained.network(samples, &options.using, options.batch.max(beam))?;
        let search = Search { beam, longest: longest_caption(encoder), length_power: options.search.length_power()? };
        let which = if trained.task.kind == TaskKind::Caption { "vector" } else { "source" };
        let text = |caption: &Caption| {
            let between = if encoder.prepare().char_level { "" } else { " " };
            caption.words.iter().map(|&word| encoder.name(word)).collect::<Vec<_>>().join(between)
        };
        let mut all = captions(&mut network, encoder, &given, search)?.into_iter();
        for (place, sample) in (first..).zip(samples) {
            if !is_read(&sample) {
                let object = Map::from_iter([(which.to_owned(), json!(place))]);
                self.out.line(&self.unread(&why_unread(encoder), "text", None, object)?)?;
                continue;
            }
            let found = all.next().unwrap_or_default();
            let Some(best) = found.first() else { return Err(Error::run("nothing was found to write")) };
            let line = if options.json {
                let others =
                    found.iter().map(|c| json!({ "text": text(c), "ln_p": c.log_probability, "score": c.score }));
                json_line(&json!({
                    (which): place, "text": text(best), "ln_p": best.log_probability, "ended": best.ended,
                    "beam": others.collect::<Vec<_>>(),
                }))?
            } else {
                text(best)
            };
            self.out.line(&line)?;
        }
        Ok(())
    }

    /// The words of a sentence with what each output says of them; of one that has none there is nothing to say.
    fn tags(&self, all: &[Predictions], place: Option<usize>, words: &[&str]) -> Result<String> {
        let Self { options, trained, .. } = *self;
        let mut objects: Vec<Map<String, Value>> =
            words.iter().map(|word| Map::from_iter([("word".to_owned(), json!(word))])).collect();
        let mut shown: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let Some(place) = place else {
            return self.unread(&why_unread(&trained.encoder), "words", None, Map::new());
        };
        for (o, all) in all.iter().enumerate() {
            let said = said(trained, o, all, place);
            for ((text, value), (object, shown)) in said.zip(objects.iter_mut().zip(&mut shown)) {
                shown.push('/');
                shown.push_str(text.split('\t').next().unwrap_or_default());
                self.include(o, value, object);
            }
        }
        if options.json { json_line(&json!({ "words": objects })) } else { Ok(shown.join(" ")) }
    }
}

/// The vectors of a file as samples without texts.
fn vector_samples(trained: &TrainedTask, path: &Path) -> Result<Vec<Sample>> {
    let first = trained.graph.vector_inputs().next();
    let of_steps = first.is_some_and(|(node, _)| trained.graph.nodes()[node].axis == Axis::Source);
    let width = first.map_or(0, |(_, input)| input.width);
    let vectors = read_vectors(&trained.task, path, (width, of_steps))?;
    Ok(vectors.into_iter().map(|vector| Sample { vector, ..Sample::default() }).collect())
}

/// What an output says of each text or word of a sample: for people the class and its probability, apart by a tab, or the number;
/// for programs an object. Of a step that the model masks it is a dash, and null.
fn said<'a>(
    trained: &'a TrainedTask,
    o: usize,
    all: &'a Predictions,
    sample: usize,
) -> impl Iterator<Item = (String, Value)> + 'a {
    let (encoder, tag) = (&trained.encoder, trained.task.kind == TaskKind::Tag);
    let classes = &encoder.outputs()[o].classes;
    let rows = all.probabilities(sample).zip(all.of(sample, trained.decision.of(o)));
    rows.map(move |said| {
        let (Some(row), Some(Prediction { class, probability })) = said else { return ("-".to_owned(), Value::Null) };
        if encoder.is_number(o) {
            return (format!("{:.4}", row[0]), json!({ "number": row[0] }));
        }
        let class = &classes[class as usize];
        let value = if tag {
            json!({ "tag": class, "probability": probability })
        } else {
            let of_each: Map<_, _> = classes.iter().cloned().zip(row.iter().map(|p| json!(p))).collect();
            json!({ "class": class, "probability": probability, "probabilities": of_each })
        };
        (format!("{class}\t{probability:.4}"), value)
    })
}
