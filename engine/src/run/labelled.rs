//! A run on labelled samples put together: files, their parts, the encoder, batches, identity.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use crate::config::{ClassWeights, DataConfig, RunConfig, TaskConfig, TaskKind, Threshold, VALID_SAMPLES};
use crate::corpus::{IGNORE, Whole};
use crate::error::{Error, Result};
use crate::graph::{Graph, Loss, ModelConfig};
use crate::labels::{
    BatchOptions, Encoder, LeftOut, Part, Predictions, Record, Records, Sample, SampleBatches, Samples, SplitOptions,
    Spot, TASK, best_threshold, share_out,
};
use crate::network::LossScale;
use crate::text::Side;
use crate::train::Identity;
use crate::train::storage::{Storage, replace_file};

use super::settings::settings_of;
use super::words::{check_tokens, saved_identity};

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
    /// What of the records of each gave no sample.
    pub left_out: [LeftOut; 3],
    /// Where the first sample stands.
    pub first: Option<Spot>,
    fingerprint: String,
}

/// What was chosen on the validation data after training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Of two classes: the probability from which on a text is of the second.
    pub threshold: f32,
    /// The same of each output behind the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<f32>,
}

impl Default for Decision {
    fn default() -> Decision {
        Decision { threshold: 0.5, further: Vec::new() }
    }
}

impl Labelled {
    /// Reads the samples that a configuration names and shares them out; the same again every time. `cancel` ends the reading when it
    /// becomes true.
    ///
    /// # Errors
    /// [`Error::Usage`] where no file is named or nothing is left to train on; [`Error::Input`] with file and line where a
    /// sample is not what it should be.
    pub fn read(config: &RunConfig, task: &TaskConfig, cancel: Option<&AtomicBool>) -> Result<Labelled> {
        let data = &config.data;
        if data.train.is_empty() {
            return Err(Error::option("--data", "no labelled samples were given").mend("name a file of them"));
        }
        let how = Whole { errors: data.encoding_errors, cancel };
        let records = Records::read(task, &data.train, how)?;
        let records_width = records.width();
        let other = |path: &Option<PathBuf>| {
            path.as_ref().map(|path| Records::read(task, std::slice::from_ref(path), how)).transpose()
        };
        let (valid, test) = (other(&data.valid)?, other(&data.test)?);
        let parts = parts(config, task, &records);
        check_parts(config, task, &parts)?;
        let is_train: Vec<bool> = parts.iter().map(|part| *part == Part::Train).collect();
        let encoder = Encoder::with_numbers(task, &records, &is_train, &numbers(&config.model.graph()))?;
        let mut of_part = [Samples::default(), Samples::default(), Samples::default()];
        for (record, part) in records.records.iter().zip(parts) {
            encoder.samples_of(&records, record, &mut of_part[part as usize])?;
        }
        for (records, part) in [(&valid, Part::Valid), (&test, Part::Test)] {
            let Some(records) = records else { continue };
            of_part[part as usize] = encoder.samples(records)?;
            records.check_width(records_width)?;
        }
        let left_out = [0, 1, 2].map(|part: usize| of_part[part].left_out);
        let [train, valid_samples, test_samples] = of_part.map(|part| part.samples);
        if train.is_empty() {
            return Err(match is_train.contains(&true) {
                true => encoder.nothing(&data.train[0]),
                false => Error::usage("no sample is left to train on").mend("hold out a smaller fraction"),
            });
        }
        let print = |records: Option<&Records>| format!("{:016x}", records.map_or(0, |records| records.fingerprint));
        let fingerprint = [Some(&records), valid.as_ref(), test.as_ref()].map(print).concat();
        Ok(Labelled {
            encoder,
            train,
            valid: valid_samples,
            test: test_samples,
            left_out,
            first: records.first(),
            fingerprint,
        })
    }

    /// What must be the same when the run goes on.
    ///
    /// # Errors
    /// [`Error::Run`] where the configuration cannot be written as TOML.
    pub fn identity(&self, config: &RunConfig, graph: &Graph) -> Result<Identity> {
        Ok(Identity {
            settings: settings_of(config)?,
            vocabulary: format!("{:016x}", self.encoder.hash()),
            corpus: self.fingerprint.clone(),
            heads: graph.head_layouts()?,
        })
    }

    /// The most tokens of a sample.
    pub fn longest(&self) -> usize {
        let all = self.train.iter().chain(&self.valid).chain(&self.test);
        all.map(|sample| sample.tokens.len()).max().unwrap_or(0).max(self.encoder.longest()).max(1)
    }

    /// The most steps of a source, where the model reads one; at least 1.
    pub fn longest_source(&self, batches: BatchOptions) -> usize {
        let all = self.train.iter().chain(&self.valid).chain(&self.test);
        longest_source(all, &self.encoder, batches)
    }

    /// Factors of the losses of the classes of each output.
    ///
    /// # Errors
    /// [`Error::Usage`] that names a label of none of the classes.
    pub fn class_weights(&self, task: &TaskConfig) -> Result<Vec<Vec<f32>>> {
        match &task.class_weights {
            ClassWeights::None => Ok(Vec::new()),
            ClassWeights::Balanced => Ok(self.balanced()),
            ClassWeights::Of(weights) => {
                let outputs = self.encoder.outputs();
                let is_class = |label: &&String| outputs.iter().any(|output| output.classes.contains(label));
                if let Some(label) = weights.keys().find(|label| !is_class(label)) {
                    let classes: Vec<&str> = outputs.iter().flat_map(|o| &o.classes).map(String::as_str).collect();
                    let what = format!("`{label}` is not one of the classes");
                    return Err(
                        Error::option("task.class_weights", what).mend(format!("there are {}", classes.join(", ")))
                    );
                }
                let weight = |class: &String| weights.get(class).map_or(1.0, |weight| *weight as f32);
                Ok(outputs.iter().map(|output| output.classes.iter().map(weight).collect()).collect())
            }
        }
    }

    /// Factors that let each class weigh the same.
    fn balanced(&self) -> Vec<Vec<f32>> {
        let targets = self.encoder.all_targets();
        let of_output = |(o, &classes): (usize, &usize)| {
            if self.encoder.is_number(o) {
                return Vec::new();
            }
            let mut counts = vec![0u64; classes];
            let own = |sample: &Sample| {
                let each = sample.targets.len() / targets.len();
                sample.targets[o * each..][..each].to_vec()
            };
            let of_samples = self.train.iter().flat_map(own).filter(|&target| target != IGNORE);
            of_samples.for_each(|target| counts[target as usize] += 1);
            let all = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
            counts.iter().map(|&count| if count == 0 { 1.0 } else { (all / count as f64) as f32 }).collect()
        };
        targets.iter().enumerate().map(of_output).collect()
    }

    /// Refuses a threshold where nothing has two classes.
    ///
    /// # Errors
    /// [`Error::Usage`] that says how many classes there are.
    pub fn check_threshold(&self, task: &TaskConfig) -> Result<()> {
        let mut targets = (0..).zip(self.encoder.all_targets()).filter(|(o, _)| !self.encoder.is_number(*o));
        if task.threshold == Threshold::Half || targets.clone().any(|(_, classes)| classes == 2) {
            return Ok(());
        }
        let found = targets.next().map_or_else(|| "these are numbers".to_owned(), |(_, n)| format!("there are {n}"));
        Err(Error::option("task.threshold", format!("is for two classes, {found}")).mend("leave it out"))
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

/// Whether the labels of each output are numbers.
fn numbers(model: &ModelConfig) -> Vec<bool> {
    match model.outputs.as_slice() {
        [] => vec![model.loss == Loss::MeanSquaredError],
        outputs => outputs.iter().map(|output| output.loss == Loss::MeanSquaredError).collect(),
    }
}

/// The part of each sample of the training files.
fn parts(config: &RunConfig, task: &TaskConfig, records: &Records) -> Vec<Part> {
    // Equal pictures stand on one side, as equal texts do.
    let key = |record: &Record| match record.vector.is_empty() {
        false => format!("{:08x}", crc32c::crc32c(bytemuck::cast_slice(&record.vector))),
        true => record.content.key(&task.prepare),
    };
    let keys: Vec<String> = records.records.iter().map(key).collect();
    let mut labels: Vec<&str> =
        records.records.iter().flat_map(|r| r.content.labels(0)).collect::<HashSet<_>>().into_iter().collect();
    labels.sort_unstable();
    let class = |label: &str| labels.binary_search(&label).unwrap_or(0) as u32;
    let classes: Vec<u32> = match task.kind {
        // Numbers are no classes, and are shared out as they come.
        TaskKind::Classify if !numbers(&config.model.graph())[0] => {
            records.records.iter().filter_map(|r| r.content.labels(0).next()).map(class).collect()
        }
        _ => vec![0; keys.len()],
    };
    let valid = if config.data.valid.is_some() { 0.0 } else { config.data.valid_fraction.unwrap_or(VALID_SAMPLES) };
    let TaskConfig { folds, fold, split_seed, .. } = *task;
    let test = tested(&config.data);
    // The share that validates is one of all, taken from what the test leaves.
    let left = if folds > 0 { 1.0 } else { 1.0 - test };
    share_out(&keys, &classes, &SplitOptions { valid: valid / left, test, folds, fold, seed: split_seed })
}

/// The share of the training files' samples that tests.
fn tested(data: &DataConfig) -> f64 {
    data.test_fraction.filter(|_| data.test.is_none()).unwrap_or(0.0)
}

/// Refuses shares that were asked for and that no sample fell to.
fn check_parts(config: &RunConfig, task: &TaskConfig, parts: &[Part]) -> Result<()> {
    let (data, count) = (&config.data, parts.len());
    let valid = data.valid_fraction.filter(|_| data.valid.is_none()).unwrap_or(0.0);
    for (key, share, part, does) in [
        ("data.test_fraction", tested(data), Part::Test, "test"),
        ("data.valid_fraction", valid, Part::Valid, "validate"),
    ] {
        if share > 0.0 && !parts.contains(&part) {
            let what = format!("{share} of {count} samples leaves none to {does}");
            return Err(Error::option(key, what)
                .mend("hold out a larger fraction (equal samples stay together), or leave it out"));
        }
    }
    match task.folds > 0 && !parts.contains(&Part::Test) {
        true => Err(Error::option(
            "task.fold",
            format!("none of {count} samples is in fold {} of {}", task.fold, task.folds),
        )
        .mend("ask for fewer folds")),
        false => Ok(()),
    }
}

/// The most steps of a source of these samples, or of those of the training; at least 1.
pub fn longest_source<'s>(
    samples: impl Iterator<Item = &'s Sample>,
    encoder: &Encoder,
    batches: BatchOptions,
) -> usize {
    let width = batches.source.unwrap_or(0);
    let steps = |sample: &Sample| sample.source.len().max(sample.vector.len().checked_div(width).unwrap_or(0));
    samples.map(steps).max().unwrap_or(0).max(encoder.longest_source()).max(1)
}

/// How samples become batches that are evaluated or predicted, of `rows` samples of at most `steps` tokens.
pub fn sample_batches(graph: &Graph, task: &TaskConfig, rows: usize, steps: usize) -> BatchOptions {
    let length = graph.config().input_length;
    BatchOptions {
        rows,
        steps: length.unwrap_or(0).max(steps),
        // Padding that is not masked has a part in the result, as in Keras.
        fixed: !graph.masks_padding() && matches!(task.kind, TaskKind::Classify | TaskKind::Next),
        padding: if task.kind.writes() { Side::Post } else { task.prepare.padding },
        source: graph.has_source().then(|| graph.vector_inputs().next().map_or(0, |(_, input)| input.width)),
        sequence: graph.is_sequence(),
        outputs: graph.outputs().len(),
        shuffle: None,
        word_dropout: 0.0,
    }
}

/// The loss of labelled samples is a mean.
pub const LABELLED_LOSS: LossScale = LossScale::Mean;

impl Decision {
    /// The thresholds that the configuration asks for, on predictions of validation samples by each output.
    pub fn choose(task: &TaskConfig, samples: &[Sample], predictions: &[Predictions]) -> Decision {
        let share = |part: u64, of: u64| if of == 0 { 0.0 } else { part as f64 / of as f64 };
        let choose = |(o, predictions): (usize, &Predictions)| {
            let two = |sample: usize| predictions.probabilities(sample).next().flatten().filter(|row| row.len() == 2);
            let pair = |(i, sample): (usize, &Sample)| Some((two(i)?[1], *sample.targets.get(o)? == 1));
            let pairs: Vec<(f32, bool)> = samples.iter().enumerate().filter_map(pair).collect();
            match task.threshold {
                Threshold::Half => 0.5,
                Threshold::Fixed(threshold) => threshold as f32,
                Threshold::Accuracy => best_threshold(&pairs, |[tp, _, _, tn]| share(tp + tn, pairs.len() as u64)),
                Threshold::F1 => best_threshold(&pairs, |[tp, fp, fne, _]| share(2 * tp, 2 * tp + fp + fne)),
            }
        };
        let mut chosen = predictions.iter().enumerate().map(choose);
        Decision { threshold: chosen.next().unwrap_or(0.5), further: chosen.collect() }
    }

    /// The threshold of an output.
    pub fn of(&self, output: usize) -> f32 {
        match output.checked_sub(1) {
            None => self.threshold,
            Some(place) => self.further.get(place).copied().unwrap_or(0.5),
        }
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
        let mut all = std::iter::once(&decision.threshold).chain(&decision.further);
        if let Some(other) = all.find(|threshold| !(0.0..=1.0).contains(*threshold)) {
            return Err(Error::input(&path, format!("{other} is no probability")));
        }
        Ok(decision)
    }
}

/// The encoder that a run keeps.
///
/// # Errors
/// [`Error::Input`] where it is missing or damaged, or not what the newest checkpoint was made with.
pub fn read_encoder(storage: Rc<dyn Storage>, task: &TaskConfig, run: &Path) -> Result<Encoder> {
    let path = run.join(TASK);
    let bytes = std::fs::read(&path).map_err(|error| Error::read(&path, error))?;
    let encoder = Encoder::from_json(task, &bytes)
        .map_err(|what| Error::input(&path, what).mend("resume the run: it is then rebuilt from its samples"))?;
    let saved = saved_identity(storage, run)?;
    check_tokens(run, TASK, ("the list of words and classes", encoder.hash()), &saved)?;
    Ok(encoder)
}
