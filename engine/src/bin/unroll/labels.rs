//! Runs that learned from labelled samples, and `unroll eval` of them.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::json;
use unicode_segmentation::UnicodeSegmentation;
use unroll::config::TaskConfig;
use unroll::corpus::Whole;
use unroll::error::{Error, Result};
use unroll::graph::Graph;
use unroll::labels::{BatchOptions, Encoder, Part, Records, Sample, Samples};
use unroll::network::{Network, NetworkOptions};
use unroll::report::{Out, json_line};
use unroll::run::{Decision, Labelled, check_vectors, labelled_graph, longest_source, read_encoder, sample_batches};
use unroll::text::EncodingErrors;
use unroll::train::storage::Disk;

use unroll_kernels::gemm::Precision;

use crate::scores::{Measuring, left_out_lines};
use crate::trained::{Opened, Using, load};

/// A run on labelled samples that was trained.
pub(crate) struct TrainedTask {
    pub(crate) opened: Opened,
    pub(crate) task: TaskConfig,
    pub(crate) encoder: Encoder,
    pub(crate) graph: Graph,
    pub(crate) decision: Decision,
}

impl TrainedTask {
    /// The labelled run among what was opened.
    pub(crate) fn of(opened: Opened) -> Result<TrainedTask> {
        let Some(task) = opened.config.task.clone() else {
            return Err(Error::input(&opened.folder, "the run is a language model, which predicts no classes")
                .mend("use `unroll generate` or `unroll eval`"));
        };
        let encoder = read_encoder(Rc::new(Disk), &task, &opened.folder)?;
        let graph = labelled_graph(&opened.config, &encoder)?;
        let decision = Decision::read(&opened.folder)?;
        Ok(TrainedTask { opened, task, encoder, graph, decision })
    }

    /// A network for these samples, some rows at a time, with the parameters of a checkpoint; and how they become batches.
    pub(crate) fn network(&self, samples: &[Sample], using: &Using, rows: usize) -> Result<(Network, BatchOptions)> {
        self.network_in(using.precision(&self.opened.config), samples, using, rows)
    }

    /// The same in a precision that may be another.
    fn network_in(
        &self,
        precision: Precision,
        samples: &[Sample],
        using: &Using,
        rows: usize,
    ) -> Result<(Network, BatchOptions)> {
        let longest = samples.iter().map(|sample| sample.tokens.len()).max().unwrap_or(0);
        let longest = longest.max(self.encoder.longest()).max(1);
        let batches = sample_batches(&self.graph, &self.task, rows, longest);
        let options = NetworkOptions {
            precision,
            steps: batches.steps.max(Measuring::steps(&self.encoder)),
            source_steps: longest_source(samples.iter(), &self.encoder, batches),
            rows: batches.rows,
            ..using.network_options(&self.opened.config)?
        };
        let mut network = Network::new(&self.graph, options)?;
        load(&self.opened.path, using.which()?, &self.graph, network.params_mut())?;
        Ok((network, batches))
    }
}

/// The words of a sentence: by white space alone, or with punctuation apart too.
pub(crate) fn sentence_words(text: &str, by_space: bool) -> Vec<&str> {
    match by_space {
        true => text.split_whitespace().collect(),
        false => text.split_word_bounds().filter(|word| !word.trim().is_empty()).collect(),
    }
}

/// How labelled samples are scored.
pub(crate) struct Scoring<'a> {
    pub(crate) using: &'a Using,
    /// Samples side by side.
    pub(crate) rows: usize,
    /// Of captions: [`Measuring::beam`] and [`Measuring::length_power`].
    pub(crate) beam: usize,
    pub(crate) length_power: f64,
    /// What is done with bytes that are not UTF-8, where it is not what was done in training.
    pub(crate) errors: Option<EncodingErrors>,
    pub(crate) json: bool,
}

/// What is done about vectors that a trained model does not take.
pub(crate) fn like_the_training(_: usize) -> String {
    "give samples like those of the training".to_owned()
}

/// Scores labelled samples: a file's, else those that the run kept for its test, else for validation.
pub(crate) fn eval(trained: &TrainedTask, data: Option<&Path>, how: &Scoring<'_>) -> Result<()> {
    let TrainedTask { opened, task, encoder, decision, .. } = trained;
    let (name, Samples { samples, left_out }) = match data {
        Some(path) => {
            let errors = how.errors.unwrap_or(opened.config.data.encoding_errors);
            let records = Records::read(task, &[PathBuf::from(path)], Whole { errors, cancel: None })?;
            let samples = encoder.samples(&records)?;
            check_vectors(&trained.graph, &samples.samples, records.first().as_ref(), like_the_training)?;
            (path.display().to_string(), samples)
        }
        None => {
            let data = Labelled::read(&opened.config, task, None)?;
            if data.encoder.hash() != encoder.hash() {
                return Err(Error::input(&opened.folder, "the run's samples have changed since training")
                    .mend("name the samples to score with --data"));
            }
            check_vectors(&trained.graph, &data.train, data.first.as_ref(), like_the_training)?;
            let (name, samples, part) = match (data.test.is_empty(), data.valid.is_empty()) {
                (false, _) => ("the run's test samples", data.test, Part::Test),
                (true, false) => ("the run's validation samples", data.valid, Part::Valid),
                _ => {
                    return Err(Error::usage("this run has no validation or test samples to score")
                        .mend("name samples with --data"));
                }
            };
            (name.to_owned(), Samples { samples, left_out: data.left_out[part as usize] })
        }
    };
    let score = |precision| {
        let (mut network, batches) = trained.network_in(precision, &samples, how.using, how.rows)?;
        let measuring = Measuring { encoder, batches, beam: how.beam, length_power: how.length_power };
        measuring.scores(&mut network, &samples, decision)
    };
    let precision = how.using.precision(&opened.config);
    let exact = if precision == Precision::Int8 { Some(score(Precision::F32)?) } else { None };
    let scores = score(precision)?;
    let mut out = Out::stdout();
    if how.json {
        let mut object = scores.json();
        object["data"] = name.into();
        object["left_out"] = json!(left_out);
        if let Some(exact) = &exact {
            object["f32"] = exact.json();
        }
        if task.kind.has_labels() {
            object["threshold"] = decision.threshold.into();
        }
        return out.line(&json_line(&object)?);
    }
    let cost = exact.map_or_else(Vec::new, |exact| scores.cost_lines(&exact));
    let lines = scores.lines(&name).into_iter().skip(1).chain(cost).chain(left_out_lines(
        &name,
        left_out,
        encoder.prepare().level(),
    ));
    lines.into_iter().try_for_each(|line| out.line(&line))
}
