//! The figures of labelled samples, for people and for programs.

use serde_json::{Map, Value, json};
use unroll::config::{RunConfig, TaskKind};
use unroll::error::{Error, Result};
use unroll::labels::{
    BatchOptions, Encoder, Given, LeftOut, NumberScores, Sample, Scored, Search, WordScores, captions, exact, predict,
    score_words,
};
use unroll::network::Network;
use unroll::report::count;
use unroll::run::Decision;
use unroll::text::Level;
use unroll::train::Figures;

use crate::show::{in_units, plural};

/// How samples are measured.
#[derive(Clone, Copy)]
pub(crate) struct Measuring<'a> {
    pub(crate) encoder: &'a Encoder,
    pub(crate) batches: BatchOptions,
    /// Of texts that are written: hypotheses that go on side by side.
    pub(crate) beam: usize,
    /// The same: [`Search::length_power`].
    pub(crate) length_power: f64,
}

/// What was measured.
pub(crate) enum Scores {
    /// Of labels: of each output, with the name of its label where there are several.
    Labels(Vec<(String, OutputScores)>),
    /// Of words, and of captions how many texts were found word by word, of how many, by a beam of this width; what the words are.
    Words(WordScores, Option<(u64, u64, usize)>, Level),
}

/// What was measured of one output.
pub(crate) enum OutputScores {
    /// Of classes and tags.
    Classes(Box<Scored>),
    /// Of numbers.
    Numbers(NumberScores),
}

impl Measuring<'_> {
    /// The steps that a search of captions has room for.
    pub(crate) fn steps(encoder: &Encoder) -> usize {
        if encoder.kind().writes() { longest_caption(encoder) + 1 } else { 1 }
    }

    /// The figures of samples.
    pub(crate) fn scores(&self, network: &mut Network, samples: &[Sample], decision: &Decision) -> Result<Scores> {
        let Measuring { encoder, batches, beam, length_power } = *self;
        if encoder.kind().has_labels() {
            let predictions = predict(network, encoder, samples, batches)?;
            let of = |(o, found)| {
                let scores = if encoder.is_number(o) {
                    OutputScores::Numbers(NumberScores::of(encoder, o, samples, found))
                } else {
                    OutputScores::Classes(Box::new(Scored::of(encoder, o, samples, (found, decision.of(o)))))
                };
                (encoder.outputs()[o].name.clone(), scores)
            };
            return Ok(Scores::Labels(predictions.iter().enumerate().map(of).collect()));
        }
        let words = score_words(network, encoder, samples, batches)?;
        if !encoder.kind().writes() {
            return Ok(Scores::Words(words, None, encoder.prepare().level()));
        }
        let given: Vec<Given<'_>> = samples.iter().map(Sample::given).collect();
        let search = Search { beam, longest: longest_caption(encoder), length_power };
        let found = captions(network, encoder, &given, search)?;
        Ok(Scores::Words(
            words,
            Some((exact(encoder, samples, &found), samples.len() as u64, beam)),
            encoder.prepare().level(),
        ))
    }
}

/// The most words of a caption that is searched: twice as many as any that was read.
pub(crate) fn longest_caption(encoder: &Encoder) -> usize {
    2 * encoder.longest()
}

/// Refuses to choose the best evaluation by a metric that the evaluations do not have.
pub(crate) fn check_best_by(config: &RunConfig, encoder: &Encoder, validates: bool) -> Result<()> {
    let Some(name) = &config.train.best_by else { return Ok(()) };
    let names: Vec<String> = match encoder.kind() {
        TaskKind::Next => ["accuracy", "top_5"].map(str::to_owned).to_vec(),
        TaskKind::Caption | TaskKind::Translate => ["accuracy", "exact", "top_5"].map(str::to_owned).to_vec(),
        TaskKind::Classify | TaskKind::Tag => (0..encoder.outputs().len()).flat_map(|o| names_of(encoder, o)).collect(),
    };
    if !names.contains(name) {
        return Err(Error::option("train.best_by", format!("evaluations have no metric `{name}`"))
            .mend(format!("they have {}", names.join(", "))));
    }
    if !validates {
        return Err(Error::option(
            "train.best_by",
            "there are no validation samples, so there is no evaluation to choose",
        )
        .mend("leave it out, or hold samples out by data.valid_fraction"));
    }
    Ok(())
}

/// The figures of an output that are the better the larger they are.
fn names_of(encoder: &Encoder, o: usize) -> Vec<String> {
    let output = &encoder.outputs()[o];
    let mut names = match output.classes.len() {
        _ if encoder.is_number(o) => vec!["r2"],
        2 => vec!["accuracy", "f1", "precision", "recall"],
        _ => vec!["accuracy", "macro_f1"],
    };
    if encoder.kind() == TaskKind::Tag && !encoder.is_of_arrays() && !encoder.is_number(o) {
        names.extend(["known_accuracy", "unknown_accuracy"]);
    }
    names.into_iter().map(|name| full_name(&output.name, name)).collect()
}

/// The name of a figure, behind that of the label where there are several.
fn full_name(label: &str, figure: &str) -> String {
    if label.is_empty() { figure.to_owned() } else { format!("{label}.{figure}") }
}

impl Scores {
    /// By name.
    pub(crate) fn figures(&self) -> Figures {
        let mut figures = Figures::new();
        match self {
            Scores::Labels(outputs) => {
                for (label, scores) in outputs {
                    figures.extend(scores.figures().into_iter().map(|(name, value)| (full_name(label, &name), value)));
                }
            }
            Scores::Words(words, texts, _) => {
                if let Some((right, of, _)) = texts {
                    figures.insert("exact".into(), (*right as f64 / (*of).max(1) as f64).into());
                }
                figures.insert("accuracy".into(), words.accuracy.into());
                figures.insert("top_5".into(), words.top_5.into());
            }
        }
        figures
    }

    /// The loss of each output, by name.
    fn losses(&self) -> Vec<(String, f64)> {
        match self {
            Scores::Labels(outputs) => {
                let of = |(label, scores): &(String, OutputScores)| {
                    let (name, loss) = scores.loss();
                    (full_name(label, name), loss)
                };
                outputs.iter().map(of).collect()
            }
            Scores::Words(words, ..) => vec![("loss".to_owned(), words.loss)],
        }
    }

    /// For people: what of these samples' scores in f32 is lost in int8, of each output its loss and its accuracy.
    pub(crate) fn cost_lines(&self, exact: &Scores) -> Vec<String> {
        let losses = self.losses().into_iter().zip(exact.losses()).map(|((name, loss), (_, exact))| {
            format!("{} in f32: {exact:.4}; int8 costs {:.4}", name.replace('_', " "), loss - exact)
        });
        let own = self.figures();
        let shares = exact.figures().into_iter().filter(|(name, _)| name.split('.').next_back() == Some("accuracy"));
        let shares = shares.filter_map(|(name, exact)| Some((own.get(&name)?.as_f64()?, exact.as_f64()?, name)));
        let accuracies = shares.map(|(own, exact, name)| {
            format!("{name} in f32: {:.2} %; int8 costs {:.2} points", 100.0 * exact, 100.0 * (exact - own))
        });
        losses.chain(accuracies).collect()
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        match self {
            Scores::Labels(outputs) => match outputs.as_slice() {
                [(_, scores)] => scores.json(),
                several => {
                    let of_each = several.iter().map(|(name, scores)| (name.clone(), scores.json()));
                    json!({ "figures": self.figures(), "outputs": of_each.collect::<Map<_, _>>() })
                }
            },
            Scores::Words(words, texts, _) => {
                let mut object = json!({
                    "loss": words.loss, "figures": self.figures(), "words": words.words, "perplexity": words.perplexity(),
                });
                if let Some((_, of, beam)) = texts {
                    object["texts"] = (*of).into();
                    object["beam"] = (*beam).into();
                }
                object
            }
        }
    }

    /// For people, an empty line first.
    pub(crate) fn lines(&self, name: &str) -> Vec<String> {
        match self {
            Scores::Labels(outputs) => {
                let lines = |(label, scores): &(String, OutputScores)| {
                    let name = if label.is_empty() { name.to_owned() } else { format!("{name}, {label}") };
                    scores.lines(&name)
                };
                outputs.iter().flat_map(lines).collect()
            }
            Scores::Words(words, texts, level) => {
                let mut lines = vec![
                    String::new(),
                    format!(
                        "{name}: {} {} scored, {:.2} % right, {:.2} % among the five likeliest, loss {:.4} nats, {}",
                        count(words.words),
                        plural(*level),
                        100.0 * words.accuracy,
                        100.0 * words.top_5,
                        words.loss,
                        in_units(*level, words.loss)
                    ),
                ];
                if let Some((right, of, beam)) = *texts {
                    let share = 100.0 * right as f64 / of.max(1) as f64;
                    let (right, of) = (count(right), count(of));
                    let how = if beam == 1 { "greedily".to_owned() } else { format!("by a beam of {beam}") };
                    lines.push(format!("texts found {how}: {right} of {of} exact, {share:.2} %"));
                }
                lines
            }
        }
    }
}

impl OutputScores {
    /// What is minimised, and its name.
    fn loss(&self) -> (&'static str, f64) {
        match self {
            OutputScores::Classes(scored) => ("loss", scored.loss),
            OutputScores::Numbers(scores) => ("mean_squared_error", scores.mean_squared_error),
        }
    }

    /// By name.
    fn figures(&self) -> Figures {
        let mut figures = Figures::new();
        match self {
            OutputScores::Classes(scored) => classes(scored, &mut figures),
            OutputScores::Numbers(scores) => {
                figures.insert("mean_squared_error".into(), scores.mean_squared_error.into());
                figures.insert("mean_absolute_error".into(), scores.mean_absolute_error.into());
                figures.insert("r2".into(), scores.r2.into());
            }
        }
        figures
    }

    /// For programs.
    fn json(&self) -> Value {
        match self {
            OutputScores::Classes(scored) => {
                json!({ "loss": scored.loss, "figures": self.figures(), "confusion": scored.confusion })
            }
            OutputScores::Numbers(scores) => {
                json!({ "loss": scores.mean_squared_error, "figures": self.figures(), "samples": scores.count })
            }
        }
    }

    /// For people, an empty line first.
    fn lines(&self, name: &str) -> Vec<String> {
        match self {
            OutputScores::Classes(scored) => class_lines(name, scored),
            OutputScores::Numbers(scores) => vec![
                String::new(),
                format!(
                    "{name}: {} scored, mean squared error {:.4}, mean absolute error {:.4}, R2 {:.4}",
                    count(scores.count),
                    scores.mean_squared_error,
                    scores.mean_absolute_error,
                    scores.r2
                ),
            ],
        }
    }
}

fn classes(scored: &Scored, figures: &mut Figures) {
    let confusion = &scored.confusion;
    figures.insert("accuracy".into(), confusion.accuracy().into());
    match confusion.positive() {
        Some(class) => {
            let score = confusion.class(class);
            figures.insert("precision".into(), score.precision.into());
            figures.insert("recall".into(), score.recall.into());
            figures.insert("f1".into(), score.f1.into());
        }
        None => _ = figures.insert("macro_f1".into(), confusion.macro_f1().into()),
    }
    if let Some(tags) = &scored.tags {
        figures.insert("known_accuracy".into(), tags.known_accuracy.into());
        figures.insert("unknown_accuracy".into(), tags.unknown_accuracy.into());
    }
}

fn class_lines(name: &str, scored: &Scored) -> Vec<String> {
    let confusion = &scored.confusion;
    let accuracy = format!("accuracy {:.2} %", 100.0 * confusion.accuracy());
    let mut lines = vec![
        String::new(),
        format!("{name}: {} scored, {accuracy}, loss {:.4} nats", count(confusion.total()), scored.loss),
    ];
    if let Some(tags) = &scored.tags {
        let (known, unknown) = (100.0 * tags.known_accuracy, 100.0 * tags.unknown_accuracy);
        lines.push(format!("known words {known:.2} %, the {} unknown ones {unknown:.2} %", count(tags.unknown)));
    }
    lines.push(String::new());
    lines.extend(confusion.tables());
    lines
}

/// What gave no sample.
pub(crate) fn left_out_lines(name: &str, left_out: LeftOut, level: Level) -> Vec<String> {
    let (one, all) = (level.unit(), plural(level));
    let told = [
        (left_out.texts, format!("texts without a {one} that the model can read, left out")),
        (left_out.words, format!("{all} that the model does not know, neither predicted nor read")),
    ];
    let told = told.into_iter().filter(|(number, _)| *number > 0);
    told.map(|(number, what)| format!("{name}: {what}: {}", count(number))).collect()
}
