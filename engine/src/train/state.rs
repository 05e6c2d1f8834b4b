//! What a run is at the end of a step, apart from its tensors: the counters and tallies of `state.json`.
//!
//! Random numbers are counter-based, keyed by seed, purpose and step, so the counters here are all of the random state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::average::AverageState;
use super::early_stop::EarlyStopState;
use super::schedule::ScheduleState;
use crate::graph::HeadLayouts;

/// The complete state of the loop after `step` steps: a run that continues from it ends with the same bits as one that
/// never stopped.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainerState {
    /// The program that wrote it, for the reader of the file.
    pub writer: String,
    /// The instruction set whose kernels computed the run so far.
    pub isa: String,
    /// What must not differ between the run that saved and the run that continues.
    pub identity: Identity,
    /// The seed of every random number.
    pub seed: u64,
    /// Steps done, which is also the optimiser's count of steps.
    pub step: u64,
    /// Epochs completed.
    pub epoch: u64,
    /// The batch of the present epoch that comes next.
    pub batch: u64,
    /// Targets scored since the start.
    pub tokens: u64,
    /// Loss since the last line of the metrics.
    pub report: Tally,
    /// Loss since the start of the epoch.
    pub epoch_tally: Tally,
    /// Exponentially smoothed sum of losses over a stream's steps, `S = 0.999 S + 0.001 loss`, which starts at
    /// `T ln V` (Karpathy's min-char-rnn).
    pub smooth_loss: f64,
    /// Where the schedule stands.
    pub schedule: ScheduleState,
    /// Where the averages of the weights stand.
    #[serde(default, skip_serializing_if = "AverageState::is_empty")]
    pub average: AverageState,
    /// Where early stopping stands.
    pub early_stop: EarlyStopState,
    /// The step of the last evaluation; 0: none yet.
    pub evaluated: u64,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Its figure, where a figure rather than the loss decides which is the best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_figure: Option<f64>,
    /// Bytes of `metrics.jsonl` that belong to these steps.
    pub metrics_bytes: u64,
    /// Bytes of `samples.txt` that belong to these steps.
    pub samples_bytes: u64,
}

/// The step that did best on the validation text: with the lowest loss, or with the highest figure where one is named.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// The step after which it was evaluated.
    pub step: u64,
    /// Its mean loss in nats.
    pub loss: f64,
}

/// A sum of losses and what it is the sum of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// The sum in nats, over the scored targets.
    pub nats: f64,
    /// The number of scored targets.
    pub count: u64,
}

impl Tally {
    /// Adds a step's losses.
    pub fn add(&mut self, nats: f64, count: u64) {
        self.nats += nats;
        self.count += count;
    }

    /// Nats per target; `None` where nothing was scored.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.nats / self.count as f64)
    }
}

/// What must be equal for two runs to be the same run. Resuming with another identity is refused, and both values are
/// named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The settings that decide the run's numbers, by dotted name (`train.batch_size`). Those that may change, such as
    /// the number of epochs or of threads, stay out.
    pub settings: BTreeMap<String, String>,
    /// The hash of the vocabulary, in hexadecimal digits.
    pub vocabulary: String,
    /// The fingerprint of the corpora, in hexadecimal digits.
    pub corpus: String,
    /// The layouts of the heads' weights, which follow from the settings and from the counts and order of the words.
    #[serde(default, skip_serializing_if = "HeadLayouts::is_empty")]
    pub heads: HeadLayouts,
}

impl Identity {
    /// Settings from a table of configuration, with the names of nested tables joined by dots. Array elements are named
    /// by their position.
    pub fn settings_of(table: &toml::Table) -> BTreeMap<String, String> {
        fn visit(name: &str, value: &toml::Value, out: &mut BTreeMap<String, String>) {
            let join = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
            match value {
                toml::Value::Table(table) => table.iter().for_each(|(key, value)| visit(&join(key), value, out)),
                toml::Value::Array(array) => {
                    array.iter().enumerate().for_each(|(i, value)| visit(&join(&i.to_string()), value, out));
                }
                value => {
                    out.insert(name.to_owned(), value.to_string());
                }
            }
        }
        let mut out = BTreeMap::new();
        visit("", &toml::Value::Table(table.clone()), &mut out);
        out
    }

    /// The differences to what a checkpoint was saved with, each with both values; empty if there are none.
    pub fn differences(&self, saved: &Identity) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |name: &str, saved: Option<&String>, ours: Option<&String>| {
            if saved != ours {
                let show = |value: Option<&String>| value.map_or("not set", String::as_str).to_owned();
                found.push(format!("{name} is {} in the checkpoint and {} now", show(saved), show(ours)));
            }
        };
        let names: std::collections::BTreeSet<_> = saved.settings.keys().chain(self.settings.keys()).collect();
        for name in names {
            compare(name, saved.settings.get(name), self.settings.get(name));
        }
        compare("the vocabulary", Some(&saved.vocabulary), Some(&self.vocabulary));
        compare("the corpus", Some(&saved.corpus), Some(&self.corpus));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_both_values() {
        let identity = |toml: &str, vocabulary: &str| Identity {
            settings: Identity::settings_of(&toml.parse().unwrap()),
            vocabulary: vocabulary.into(),
            corpus: "c".into(),
            heads: HeadLayouts::default(),
        };
        let saved = identity("seed = 1\n[train]\nbatch = 20\n[[model]]\nunits = 7", "aa");
        assert_eq!(saved.differences(&saved), Vec::<String>::new());
        let now = identity("seed = 1\n[train]\nbatch = 50\nx = \"y\"\n[[model]]\nunits = 8", "bb");
        assert_eq!(
            now.differences(&saved),
            [
                "model.0.units is 7 in the checkpoint and 8 now",
                "train.batch is 20 in the checkpoint and 50 now",
                "train.x is not set in the checkpoint and \"y\" now",
                "the vocabulary is aa in the checkpoint and bb now",
            ]
        );
    }
}
