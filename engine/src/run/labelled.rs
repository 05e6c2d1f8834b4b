//! A run on labelled samples put together: files, their parts, the encoder, batches, network options, identity.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::config::{ClassWeights, RunConfig, TaskConfig, TaskKind, ThresholdName, VALID_SAMPLES};
use crate::corpus::IGNORE;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::labels::{
    BatchOptions, Encoder, Part, Predictions, Records, Sample, SampleBatches, Shares, TASK, best_threshold, share_out,
};
use crate::network::LossScale;
use crate::train::Identity;
use crate::train::storage::{Storage, replace_file};

use super::settings::settings_of;

/// The file of a run that keeps what was chosen on the validation data.
pub const DECISION: &str = "decision.json";

/// The labelled samples of a run.
pub struct Labelled {
    /// Classes and words, of the training samples.
    pub encoder: Encoder,
    /// What is trained on.
    pub train: Vec<Sample>,
    /// What chooses the best weights and the threshold.
    pub valid: Vec<Sample>,
    /// What tests the finished model.
    pub test: Vec<Sample>,
    fingerprint: String,
}

/// What was chosen on the validation data after training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Of two classes: the probability from which on a text is of the second.
    pub threshold: f32,
}

impl Default for Decision {
    fn default() -> Decision {
        Decision { threshold: 0.5 }
    }
}

impl Labelled {
    /// Reads the samples that a configuration names and shares them out; the same again every time.
    ///
    /// # Errors
    /// [`Error::Usage`] where no file is named or nothing is left to train on; [`Error::Input`] with file and line where a
    /// sample is not what it should be.
    pub fn read(config: &RunConfig, task: &TaskConfig) -> Result<Labelled> {
        let data = &config.data;
        if data.train.is_empty() {
            return Err(Error::option("--data", "no labelled samples are named").mend("name a file of them"));
        }
        let records = Records::read(task, &data.train)?;
        let other = |path: &Option<PathBuf>| {
            path.as_ref().map(|path| Records::read(task, std::slice::from_ref(path))).transpose()
        };
        let (valid, test) = (other(&data.valid)?, other(&data.test)?);
        let parts = parts(config, task, &records);
        let is_train: Vec<bool> = parts.iter().map(|part| *part == Part::Train).collect();
        let encoder = Encoder::new(task, &records, &is_train)?;
        let (mut of_part, mut all) = ([Vec::new(), Vec::new(), Vec::new()], encoder.samples(&records)?.into_iter());
        for part in parts {
            of_part[part as usize].extend(all.next());
        }
        let [train, mut valid_samples, mut test_samples] = of_part;
        if let Some(records) = &valid {
            valid_samples = encoder.samples(records)?;
        }
        if let Some(records) = &test {
            test_samples = encoder.samples(records)?;
        }
        if train.is_empty() {
            return Err(Error::usage("no sample is left to train on").mend("hold a smaller share out"));
        }
        let print = |records: Option<&Records>| format!("{:016x}", records.map_or(0, |records| records.fingerprint));
        let fingerprint = [Some(&records), valid.as_ref(), test.as_ref()].map(print).concat();
        Ok(Labelled { encoder, train, valid: valid_samples, test: test_samples, fingerprint })
    }

    /// What must be the same when the run goes on.
    ///
    /// # Errors
    /// [`Error::Run`] where the configuration cannot be written as TOML.
    pub fn identity(&self, config: &RunConfig) -> Result<Identity> {
        Ok(Identity {
            settings: settings_of(config)?,
            vocabulary: format!("{:016x}", self.encoder.hash()),
            corpus: self.fingerprint.clone(),
        })
    }

    /// The most tokens of a sample.
    pub fn longest(&self) -> usize {
        let all = self.train.iter().chain(&self.valid).chain(&self.test);
        all.map(|sample| sample.tokens.len()).max().unwrap_or(0).max(1)
    }

    /// Factors of the classes' losses.
    pub fn class_weights(&self, task: &TaskConfig) -> Vec<f32> {
        if task.class_weights == ClassWeights::None {
            return Vec::new();
        }
        let mut counts = vec![0u64; self.encoder.classes().len()];
        let targets = self.train.iter().flat_map(|sample| &sample.targets).filter(|target| **target != IGNORE);
        targets.for_each(|&target| counts[target as usize] += 1);
        let all = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
        counts.iter().map(|&count| if count == 0 { 1.0 } else { (all / count as f64) as f32 }).collect()
    }

    /// The training samples as batches.
    pub fn train_batches<'a>(
        &'a self,
        config: &RunConfig,
        task: &TaskConfig,
        options: BatchOptions,
    ) -> SampleBatches<'a> {
        let word_dropout = task.word_dropout;
        let options = BatchOptions { shuffle: Some(config.seed), word_dropout, rows: config.train.batch, ..options };
        SampleBatches::new(&self.train, &self.encoder, options)
    }
}

/// The part of each sample of the training files.
fn parts(config: &RunConfig, task: &TaskConfig, records: &Records) -> Vec<Part> {
    let keys: Vec<String> = records.records.iter().map(|record| record.content.key(&task.prepare)).collect();
    let mut labels: Vec<&str> =
        records.records.iter().flat_map(|r| r.content.labels()).collect::<HashSet<_>>().into_iter().collect();
    labels.sort_unstable();
    let class = |label: &str| labels.binary_search(&label).unwrap_or(0) as u32;
    let classes: Vec<u32> = match task.kind {
        TaskKind::Classify => records.records.iter().filter_map(|r| r.content.labels().next()).map(class).collect(),
        TaskKind::Tag => vec![0; keys.len()],
    };
    let valid = if config.data.valid.is_some() { 0.0 } else { config.data.valid_fraction.unwrap_or(VALID_SAMPLES) };
    let TaskConfig { test_fraction, folds, fold, split_seed, .. } = *task;
    // The share that validates is one of all, taken from what the test leaves.
    let left = if folds > 0 { 1.0 } else { 1.0 - test_fraction };
    share_out(&keys, &classes, &Shares { valid: valid / left, test: test_fraction, folds, fold, seed: split_seed })
}

/// The graph of a labelled run.
///
/// # Errors
/// As [`Graph::with_classes`]; [`Error::Usage`] where the model does not fit the task.
pub fn labelled_graph(config: &RunConfig, encoder: &Encoder) -> Result<Graph> {
    let classes = encoder.classes().len();
    let graph = Graph::with_classes(&config.model.graph(), encoder.vocabulary(), classes)?;
    let wrong = |what: String, mend: &str| Err(Error::usage(what).mend(mend));
    graph.require_text_alone()?;
    match (encoder.kind(), graph.is_sequence()) {
        (TaskKind::Classify, true) => {
            return wrong(
                "the model gives an output a word, the task is one class a text".to_owned(),
                "let the last recurrent layer give its last state: return_sequences = false",
            );
        }
        (TaskKind::Tag, false) => {
            return wrong(
                "the model gives one output a text, the task is a tag a word".to_owned(),
                "set return_sequences = true on every recurrent layer",
            );
        }
        _ => {}
    }
    if graph.config().loss == crate::graph::Loss::BinaryCrossEntropy && classes != 2 {
        return wrong(
            format!("binary_cross_entropy is for two classes, there are {classes}"),
            "leave the loss out, and end the model in a dense layer without units",
        );
    }
    if let Some(node) = graph.nodes().iter().find(|node| node.config.recurrence().is_some_and(|(_, o, _)| o.stateful)) {
        return wrong(
            format!("layer `{}` is stateful, but samples stand apart from each other", node.name),
            "leave stateful out",
        );
    }
    Ok(graph)
}

/// How samples become batches that are evaluated or predicted, of `rows` samples of at most `steps` tokens.
pub fn sample_batches(graph: &Graph, task: &TaskConfig, rows: usize, steps: usize) -> BatchOptions {
    let length = graph.config().input_length;
    BatchOptions {
        rows,
        steps: length.unwrap_or(0).max(steps).max(task.prepare.maxlen),
        // Padding that is not masked has a part in the result, as in Keras.
        fixed: graph.mask_rule().is_none() && task.kind == TaskKind::Classify,
        padding: task.prepare.padding,
        sequence: graph.is_sequence(),
        shuffle: None,
        word_dropout: 0.0,
    }
}

/// The loss of labelled samples is a mean.
pub const LABELLED_LOSS: LossScale = LossScale::Mean;

impl Decision {
    /// The threshold that the configuration asks for, on predictions of validation samples.
    pub fn choose(task: &TaskConfig, samples: &[Sample], predictions: &Predictions) -> Decision {
        let two = |sample: usize| predictions.probabilities(sample).next().filter(|row| row.len() == 2);
        let pairs: Vec<(f32, bool)> =
            samples.iter().enumerate().filter_map(|(i, s)| Some((two(i)?[1], *s.targets.first()? == 1))).collect();
        let share = |part: u64, of: u64| if of == 0 { 0.0 } else { part as f64 / of as f64 };
        let threshold = match task.threshold {
            ThresholdName::Half => 0.5,
            ThresholdName::Accuracy => best_threshold(&pairs, |[tp, _, _, tn]| share(tp + tn, pairs.len() as u64)),
            ThresholdName::F1 => best_threshold(&pairs, |[tp, fp, fne, _]| share(2 * tp, 2 * tp + fp + fne)),
        };
        Decision { threshold }
    }

    /// Keeps it with the run.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be written.
    pub fn write(&self, storage: &dyn Storage, run: &Path) -> Result<()> {
        let path = run.join(DECISION);
        let text = serde_json::to_vec(self).map_err(|error| Error::run(format!("cannot write {DECISION}: {error}")))?;
        replace_file(storage, &path, &text).map_err(|error| Error::write(&path, error))
    }

    /// That of a run; one half where it has none, since it was not trained to its end.
    ///
    /// # Errors
    /// [`Error::Input`] where it is damaged.
    pub fn read(run: &Path) -> Result<Decision> {
        let path = run.join(DECISION);
        if !path.exists() {
            return Ok(Decision::default());
        }
        let bytes = std::fs::read(&path).map_err(|error| Error::read(&path, error))?;
        let decision: Decision =
            serde_json::from_slice(&bytes).map_err(|error| Error::input(&path, format!("does not parse: {error}")))?;
        if !(0.0..=1.0).contains(&decision.threshold) {
            return Err(Error::input(&path, format!("{} is no probability", decision.threshold)));
        }
        Ok(decision)
    }
}

/// The encoder that a run keeps.
///
/// # Errors
/// [`Error::Input`] where it is missing or damaged.
pub fn read_encoder(task: &TaskConfig, run: &Path) -> Result<Encoder> {
    let path = run.join(TASK);
    let bytes = std::fs::read(&path).map_err(|error| Error::read(&path, error))?;
    Encoder::from_json(task, &bytes)
        .map_err(|what| Error::input(&path, what).mend("resume the run: it is then written anew from its samples"))
}
